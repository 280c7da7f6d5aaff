package plumbline

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var t0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const (
	digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// inState returns a deploy run as it is in a state.
func inState(s State, kind Kind, mode ApplyMode) Run {
	r := Run{
		ID: 7, Kind: kind, State: s, Stack: StackRef{"infra", "production", "live/net"}, Commit: "c1", Attempt: 1,
		Claim: Claim{"w", 3}, Policy: Policy{Apply: mode, Approval: ApprovalRule{Count: 1, Expires: time.Hour}},
	}
	if s.Active() {
		r.LeaseUntil = t0.Add(time.Minute)
	}
	switch s {
	case StateQueued, StatePlanning:
	default:
		r.Plan, r.Planned = &PlanInfo{Digest: digestA, Changes: true, Summary: Summary{Create: 1}}, t0
	}
	switch s {
	case StateApproved, StateApplying, StateApplied, StateInterrupted:
		r.Approvals = []Approval{{By: "ops", Digest: digestA, At: t0, Expires: t0.Add(time.Hour)}}
	}
	return r
}

func changes(digest string) (Outcome, *PlanInfo) {
	return Outcome{Plan: &Plan{Digest: digest}}, &PlanInfo{Digest: digest, Changes: true, Summary: Summary{Create: 1}}
}

// events is everything that can happen to a run.
var events = []struct {
	name string
	do   func(r *Run) error
}{
	{"claim", func(r *Run) error { return r.Start("w2", t0, time.Minute) }},
	{"renew", func(r *Run) error { return r.Renew(r.Claim, t0, time.Minute) }},
	{"renew by a late worker", func(r *Run) error { return r.Renew(Claim{"w", 2}, t0, time.Minute) }},
	{"plan: no changes", func(r *Run) error { return r.Finish(r.Claim, Outcome{Plan: &Plan{}}, &PlanInfo{Digest: digestB}, t0) }},
	{"plan: changes", func(r *Run) error { o, i := changes(digestB); return r.Finish(r.Claim, o, i, t0) }},
	{"plan: drift", func(r *Run) error {
		o, i := changes(digestB)
		o.Differences = []Difference{{Address: "a.b"}}
		return r.Finish(r.Claim, o, i, t0)
	}},
	{"plan by a late worker", func(r *Run) error { o, i := changes(digestB); return r.Finish(Claim{"w", 2}, o, i, t0) }},
	{"applied", func(r *Run) error { return r.Finish(r.Claim, Outcome{Applied: true}, nil, t0) }},
	{"stale", func(r *Run) error { return r.Finish(r.Claim, Outcome{Stale: true}, nil, t0) }},
	{"failed", func(r *Run) error { return r.Finish(r.Claim, Outcome{Failure: &Failure{Text: "boom"}}, nil, t0) }},
	{"stopped", func(r *Run) error { return r.Finish(r.Claim, Outcome{Interrupted: true}, nil, t0) }},
	{"given back", func(r *Run) error { return r.GiveBack(r.Claim, t0) }},
	{"approve this plan", func(r *Run) error { return r.Approve(Person{Name: "ops"}, Access{}, digestA, t0) }},
	{"approve another plan", func(r *Run) error { return r.Approve(Person{Name: "ops"}, Access{}, digestB, t0) }},
	{"approve too late", func(r *Run) error { return r.Approve(Person{Name: "ops"}, Access{}, digestA, t0.Add(2*time.Hour)) }},
	{"reject", func(r *Run) error { return r.Reject("ops", "no", t0) }},
	{"cancel", func(r *Run) error { return r.Cancel("ops", t0) }},
	{"supersede", func(r *Run) error { return r.Supersede(t0) }},
	{"retry", func(r *Run) error { return r.Retry("ops", t0) }},
	{"expire in time", func(r *Run) error { return r.Expire(t0) }},
	{"expire too late", func(r *Run) error { return r.Expire(t0.Add(2 * time.Hour)) }},
	{"adopt", func(r *Run) error { return r.Adopt(r.Claim, t0, time.Minute) }},
	{"adopt by a late worker", func(r *Run) error { return r.Adopt(Claim{"w", 2}, t0, time.Minute) }},
}

// TestMachine walks every (state, event) pair for each kind of run and apply mode: a new transition is a visible diff of the golden table.
func TestMachine(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		kind  Kind
		mode  ApplyMode
		mends string // what puts drift right
	}{
		{KindDeploy, ApplyApproval, ""}, {KindDeploy, ApplyAutomatic, ""}, {KindDeploy, ApplyNever, ""}, {KindProposal, ApplyApproval, ""}, {KindDrift, ApplyApproval, ""},
		{KindDestroy, ApplyAutomatic, ""}, {KindDeploy, ApplyAutomatic, "by asking"}, {KindDeploy, ApplyAutomatic, "alone"},
	} {
		fmt.Fprintf(&b, "== %s, apply = %s", c.kind, c.mode)
		all := slices.Clone(events)
		if c.mends != "" {
			fmt.Fprintf(&b, ", puts drift right %s", c.mends)
			all = append(all, struct {
				name string
				do   func(r *Run) error
			}{"plan: within the limits", func(r *Run) error { o, i := within(digestB); return r.Finish(r.Claim, o, i, t0) }})
		}
		b.WriteString("\n")
		for _, s := range States {
			for _, e := range all {
				r := inState(s, c.kind, c.mode)
				if c.mends != "" {
					r = mended(s, c.mode, c.mends == "alone")
				}
				before := r
				err := e.do(&r)
				what := string(r.State)
				switch {
				case errors.Is(err, ErrLost):
					what = "lost"
				case errors.Is(err, ErrConflict):
					what = "conflict"
				case errors.Is(err, ErrInvalid):
					what = "invalid"
				case err != nil:
					t.Errorf("%s + %s: error of no kind: %v", s, e.name, err)
				case r.Wish != before.Wish:
					what += " (" + string(r.Wish) + ")"
				}
				if err != nil && r.State != before.State {
					t.Errorf("%s + %s: refused with %v, yet now %s", s, e.name, err, r.State)
				}
				if what != "conflict" && what != "lost" {
					fmt.Fprintf(&b, "%-12s %-24s %s\n", s, e.name, what)
				}
			}
		}
	}
	golden(t, "testdata/machine.golden", b.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", path, got)
	}
}

// TestNothingUnapproved tries all sequences of events up to a length: no run of an environment with apply = "approval" is ever applying with
// a plan whose digest nobody approved.
func TestNothingUnapproved(t *testing.T) {
	type node struct {
		r     Run
		trail []string
	}
	seen := map[string]bool{}
	frontier := []node{{r: inState(StateQueued, KindDeploy, ApplyApproval)}}
	steps := 0
	for depth := 0; depth < 9; depth++ {
		var next []node
		for _, n := range frontier {
			for _, e := range append(events, []struct {
				name string
				do   func(r *Run) error
			}{
				{"plan: changes A", func(r *Run) error { o, i := changes(digestA); return r.Finish(r.Claim, o, i, t0) }},
			}...) {
				r := n.r
				r.Approvals = append([]Approval(nil), n.r.Approvals...)
				if e.do(&r) != nil {
					continue
				}
				steps++
				trail := append(append([]string{}, n.trail...), e.name)
				if r.State == StateApplying || r.State == StateApplied {
					ok := false
					for _, a := range r.Approvals {
						ok = ok || r.Plan != nil && a.Digest == r.Plan.Digest
					}
					if !ok {
						t.Fatalf("applying without approval after %v", trail)
					}
				}
				plan := ""
				if r.Plan != nil {
					plan = r.Plan.Digest
				}
				key := fmt.Sprint(r.State, plan, r.Approvals, r.Wish)
				if !seen[key] {
					seen[key] = true
					next = append(next, node{r, trail})
				}
			}
		}
		frontier = next
	}
	if steps < 150 {
		t.Errorf("only %d steps were walked", steps)
	}
}

func TestStalePlan(t *testing.T) {
	for _, c := range []struct {
		digest string
		want   State
	}{{digestA, StateApproved}, {digestB, StateAwaiting}} {
		r := inState(StateApplying, KindDeploy, ApplyApproval)
		must(t, r.Finish(r.Claim, Outcome{Stale: true}, nil, t0))
		must(t, r.Start("w", t0, time.Minute))
		o, i := changes(c.digest)
		must(t, r.Finish(r.Claim, o, i, t0))
		if r.State != c.want {
			t.Errorf("planned again with %s…: %s, want %s", c.digest[:3], r.State, c.want)
		}
	}
}

func TestApprovalExpires(t *testing.T) {
	r := inState(StateAwaiting, KindDeploy, ApplyApproval)
	must(t, r.Approve(Person{Name: "ops"}, Access{}, digestA[:12], t0))
	if err := r.Start("w", t0.Add(2*time.Hour), time.Minute); !errors.Is(err, ErrConflict) {
		t.Errorf("an approval past its time was applied: %v", err)
	}
	must(t, r.Expire(t0.Add(2*time.Hour)))
	if r.State != StateExpired {
		t.Errorf("state %s", r.State)
	}
}

func TestTwoApprovals(t *testing.T) {
	r := inState(StateAwaiting, KindDeploy, ApplyApproval)
	r.Policy.Approval.Count = 2
	must(t, r.Approve(Person{Name: "ops-a"}, Access{}, digestA, t0))
	must(t, r.Approve(Person{Name: "ops-a"}, Access{}, digestA, t0))
	if r.State != StateAwaiting {
		t.Fatal("one person twice is not two people")
	}
	must(t, r.Approve(Person{Name: "ops-b"}, Access{}, digestA, t0))
	if r.State != StateApproved {
		t.Errorf("state %s", r.State)
	}
}

func TestShortDigestRefused(t *testing.T) {
	r := inState(StateAwaiting, KindDeploy, ApplyApproval)
	for _, d := range []string{"", "a", digestA[:MinDigest-1], digestA + "0"} {
		if err := r.Approve(Person{Name: "ops"}, Access{}, d, t0); err == nil {
			t.Errorf("digest %q was taken", d)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
