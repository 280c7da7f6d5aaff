package plumbline

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestReasons keeps the chains that people read.
func TestReasons(t *testing.T) {
	now := t0.Add(12 * time.Minute)
	stack := func(name string) StackRef { return StackRef{"infra", "production", name} }
	run := func(id RunID, name string, s State) Run {
		r := inState(s, KindDeploy, ApplyApproval)
		r.ID, r.Stack, r.Deployment, r.Subject, r.Commit = id, stack(name), 3, "deploy production", "5d0c1aa5d0c1aa"
		r.Because, r.Started, r.Finished = "merge of !42: "+name+"/main.tf", t0, t0
		return r
	}
	awaiting := run(15, "live/net", StateAwaiting)
	awaiting.Policy.Approval.Count, awaiting.Policy.Approval.From = 2, []string{"group:sre"}
	awaiting.Approvals = []Approval{{By: "ops-b", Digest: digestB, At: t0}}
	awaiting.Findings = []PolicyFinding{
		{Policy: "plumbline.storage", Level: PolicyApprove, Message: "a database is replaced", From: []string{"group:dba"}},
		{Policy: "plumbline.tags", Level: PolicyWarn, Message: "no owner"},
	}
	frozen := []Frozen{
		{Repository: "infra", Environment: "production", Freeze: Freeze{From: t0, Reason: "the auditors are here", By: "ops-c"}},
		{Repository: "infra", Environment: "staging", Freeze: Freeze{From: t0, Reason: "another environment's", By: "ops-c"}},
	}
	queued := func(id RunID, name string, waits ...string) Run {
		r := run(id, name, StateQueued)
		r.WaitsFor = waits
		return r
	}
	failed := run(12, "live/dns", StateFailed)
	failed.Failure = &Failure{Kind: FailPlan, Text: "Terraform could not plan live/dns: 1 error."}
	forbidden := run(13, "live/db", StateFailed)
	forbidden.Failure = &Failure{Kind: FailPolicy, Text: "forbidden"}
	forbidden.Findings = []PolicyFinding{
		{Policy: "plumbline.storage", Level: PolicyDeny, Message: "a bucket is public", Address: "aws_s3_bucket.a"},
		{Policy: "plumbline.cost", Level: PolicyDeny, Message: "it costs too much"},
	}
	unsigned := run(14, "live/db", StateFailed)
	unsigned.Failure = &Failure{Kind: FailUnsigned, Text: "Commit 5d0c1aa by Dev <dev@example.com>: not signed."}
	superseded := run(8, "live/net", StateSuperseded)
	newer := run(9, "live/net", StateSuperseded)
	newer.Commit = "7777777aaaa"
	approved := run(20, "live/net", StateApproved)
	active := run(19, "live/net", StatePlanning)
	active.Kind, active.Subject, active.Claim.Worker = KindDrift, "drift production", "worker-1"
	proposal := inState(StatePlanned, KindProposal, ApplyApproval)
	proposal.MR, proposal.Because, proposal.Commit = "42", "live/net/main.tf", "8f31c2d"
	retried := run(21, "live/dns", StateFailed)
	retried.Because, retried.Failure = "retried by ops-b", failed.Failure
	history := []Event{
		{To: StateQueued, At: t0, Text: "merge of !42: live/dns/main.tf"}, {From: StateQueued, To: StatePlanning, At: t0},
		{From: StatePlanning, To: StateFailed, At: t0}, {From: StateFailed, To: StateQueued, At: t0.Add(2 * time.Minute), Who: "ops-b", Text: "retried by ops-b"},
	}
	var b strings.Builder
	for _, tt := range []struct {
		name    string
		run     Run
		around  []Run
		history []Event
	}{
		{"two steps to a person and a freeze", queued(17, "live/app", "live/mid"), []Run{queued(16, "live/mid", "live/net"), awaiting.Frozen(frozen)}, nil},
		{"a diamond is told once", queued(17, "live/app", "live/a", "live/b"), []Run{queued(15, "live/a", "live/dns"), queued(16, "live/b", "live/dns"), failed}, nil},
		{"a cycle ends", queued(17, "live/app", "live/a"), []Run{queued(15, "live/a", "live/app"), queued(17, "live/app", "live/a")}, nil},
		{"nothing in the way", queued(17, "live/app", "live/done"), []Run{run(15, "live/done", StateApplied)}, nil},
		{"another run of the stack", approved, []Run{active}, nil},
		{"forbidden", forbidden, nil, nil},
		{"unsigned", unsigned, nil, nil},
		{"superseded twice", superseded, []Run{awaiting, newer, active}, nil},
		{"superseded by nobody knows what", superseded, nil, nil},
		{"retried", retried, nil, history},
		{"proposal", proposal, nil, nil},
		{"applied", run(30, "live/net", StateApplied), nil, nil},
	} {
		fmt.Fprintf(&b, "%s\n", tt.name)
		for _, r := range Reasons(tt.run, tt.around, tt.history, now) {
			fmt.Fprintf(&b, "  %-4s %s", r.Run, r.What)
			if r.Because != "" {
				fmt.Fprintf(&b, ": %s", r.Because)
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	golden(t, "testdata/reasons.golden", b.String())
}

// TestEveryStateHasItsReason: nobody is left without a second line.
func TestEveryStateHasItsReason(t *testing.T) {
	for _, kind := range []Kind{KindProposal, KindDeploy, KindDrift, KindDestroy} {
		for _, s := range States {
			if got := Reasons(inState(s, kind, ApplyApproval), nil, nil, t0); len(got) < 2 {
				t.Errorf("%s, %s: %v", kind, s, got)
			}
		}
	}
}

func TestFrozenIsACopy(t *testing.T) {
	r := inState(StateAwaiting, KindDeploy, ApplyApproval)
	r.Policy.Calendar.Freezes = make([]Freeze, 0, 8)
	set := []Frozen{{Repository: r.Stack.Repository, Environment: r.Stack.Environment, Freeze: Freeze{From: t0}}}
	if _, _, closed := r.Frozen(set).Policy.Calendar.Closed(t0); !closed {
		t.Error("the freeze does not hold")
	}
	if _, _, closed := r.Closed(t0); closed || r.Policy.Calendar.Freezes[:1][0] != (Freeze{}) {
		t.Error("the run itself was frozen")
	}
}

func TestOutdated(t *testing.T) {
	r := inState(StateAwaiting, KindDeploy, ApplyApproval)
	r.Approvals = nil
	if a, ok := r.Outdated(); ok {
		t.Errorf("nobody has agreed, and yet %v", a)
	}
	r.Approvals = []Approval{{By: "a", Digest: digestB, At: t0}, {By: "b", Digest: r.Plan.Digest, Config: "another", At: t0.Add(1)}, {By: "c", Digest: r.Plan.Digest, Config: r.Plan.Config, At: t0.Add(2)}}
	if a, ok := r.Outdated(); !ok || a.By != "b" {
		t.Errorf("the newest yes to another plan is %q's", a.By)
	}
	r.Plan = nil
	if a, ok := r.Outdated(); ok {
		t.Errorf("there is no plan to differ from, and yet %v", a)
	}
}

func TestPromotionOf(t *testing.T) {
	from := Environment{Repository: "infra", Name: "staging", Branch: "env/staging", PromotesTo: "production"}
	to := Environment{Repository: "infra", Name: "production", Branch: "env/production", Exclude: []string{"live/sandbox"}}
	at := func(env, name, commit string) StackStatus {
		return StackStatus{Stack: StackRef{"infra", env, name}, Spec: StackSpec{Name: name, Dir: name}, Commit: commit, Checked: true}
	}
	here := []StackStatus{at("staging", "live/net", "c3"), at("staging", "live/db", "c2"), at("staging", "live/new", "c3"), at("staging", "live/sandbox", "c3"), at("staging", "live/old", "c1")}
	there := []StackStatus{at("production", "live/net", "m1"), at("production", "live/db", "m1"), at("production", "live/old", "m1")}
	deployed := []Deployment{{Commit: "c3", Previous: "c2"}, {Commit: "c2", Previous: "c1"}}
	open := MergeRequest{ID: "9", Source: from.Branch, Target: to.Branch, State: MROpen, Head: "c3"}
	merged := MergeRequest{ID: "8", Source: from.Branch, Target: to.Branch, State: MRMerged, Head: "c2"}
	strange := MergeRequest{ID: "7", Source: from.Branch, Target: to.Branch, State: MRMerged, Head: "c3", Fork: true}
	busy := []Run{
		{ID: 5, Kind: KindDeploy, Stack: StackRef{"infra", "production", "live/db"}, State: StateAwaiting},
		{ID: 4, Kind: KindDeploy, Stack: StackRef{"infra", "production", "live/net"}, State: StateApplied},
		{ID: 3, Kind: KindDeploy, Stack: StackRef{"infra", "production", "live/net"}, State: StateAwaiting},
	}
	for _, tt := range []struct {
		name      string
		headThere string
		requests  []MergeRequest
		want      string
	}{
		{"nothing was ever promoted", "m1", []MergeRequest{open}, "same=false open=9 [live/db ahead 5 awaiting] [live/net ahead] [live/new ahead missing] [live/old ahead]"},
		{"an older commit was merged", "m1", []MergeRequest{open, merged, strange}, "same=false open=9 [live/db level 5 awaiting] [live/net ahead] [live/new ahead missing] [live/old level]"},
		{"the branch was moved by hand", "c2", nil, "same=false open= [live/db level 5 awaiting] [live/net ahead] [live/new ahead missing] [live/old level]"},
		{"the heads are one", "c3", nil, "same=true open= [live/db level 5 awaiting] [live/net level] [live/new level missing] [live/old level]"},
	} {
		p := PromotionOf(from, to, "c3", tt.headThere, here, there, deployed, tt.requests, busy)
		got := fmt.Sprintf("same=%t open=%s", p.Same, p.Open)
		for _, s := range p.Stacks {
			got += " [" + s.Stack + map[bool]string{true: " ahead", false: " level"}[s.Ahead] + map[bool]string{true: " missing"}[s.Missing]
			if s.Pending > 0 {
				got += fmt.Sprintf(" %s %s", s.Pending, s.State)
			}
			got += "]"
		}
		if got != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.name, got, tt.want)
		}
	}
}
