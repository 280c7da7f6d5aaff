package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var london = plumbline.Window{Name: "office-hours", Allow: "0 9 * * MON-FRI", For: 8 * time.Hour, Timezone: "Europe/London"}

// saturday is outside office hours.
var saturday = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// judged are the rows of a note with what the rules make of them.
func judged(d NoteData, siblings ...plumbline.Run) NoteData {
	for i := range d.Rows {
		d.Rows[i].Next = next(d.MR, d.Rows[i].Run, siblings, d.Now)
	}
	return d
}

// gated is a merge request of which policies, checks and people have something to say.
func gated() NoteData {
	d := sample()
	d.Now, d.Talks = saturday, true
	broken, db, net, clean := &d.Rows[0], &d.Rows[1], &d.Rows[2], &d.Rows[3]
	broken.Run.Checks = []plumbline.CheckResult{{Name: plumbline.CheckValidate, Verdict: plumbline.VerdictError, Text: "not made: terraform init failed"}}
	db.Run.Policy.Approval = plumbline.ApprovalRule{Count: 2, From: []string{"group:sre"}, Carry: true, Not: []plumbline.Exclusion{plumbline.NotAuthor}}
	db.Run.Findings = []plumbline.PolicyFinding{
		{Policy: "plumbline.storage", Level: plumbline.PolicyDeny, Message: "A database is not replaced without a snapshot.", Address: "aws_db_instance.main"},
		{Policy: "plumbline.cost", Level: plumbline.PolicyWarn, Message: "Costs 40 EUR a month more.", Address: "aws_db_instance.main"},
		{Policy: "plumbline.cost", Level: plumbline.PolicyWarn, Message: "Costs 40 EUR a month more.", Address: "aws_db_instance.copy"},
	}
	db.Run.Checks = []plumbline.CheckResult{
		{Name: plumbline.CheckFmt, Verdict: plumbline.VerdictFail, Text: "1 file is not formatted", Output: "--- old/main.tf\n+++ new/main.tf\n@@ -3 +3 @@\n-  family=\"pg16\"\n+  family = \"pg16\"\n", Findings: []plumbline.Finding{
			{File: "live/db/main.tf", Line: 3, Source: `  family="pg16"`, Message: "not formatted"},
		}},
		{Name: plumbline.CheckTest, Verdict: plumbline.VerdictSkipped, Text: "there are no test files"},
		{Name: plumbline.CheckPolicy, Verdict: plumbline.VerdictFail, Text: "12 rules: 1 denial, 1 warning"},
	}
	net.Run.Policy.Approval = plumbline.ApprovalRule{Count: 2, From: []string{"group:sre"}, Carry: true, Forge: true, Expires: 72 * time.Hour, Not: []plumbline.Exclusion{plumbline.NotAuthor, plumbline.NotLastPusher}}
	net.Run.Policy.Calendar.Windows = []plumbline.Window{london}
	net.Run.Authors, net.Run.Pushers = []string{"corp/dev-a"}, []string{"corp/dev-a"}
	net.Run.Findings = []plumbline.PolicyFinding{{Policy: "plumbline.network", Level: plumbline.PolicyApprove, Message: "An address goes away that others may use.", Address: "aws_eip.old", From: []string{"group:net"}}}
	net.Run.Approvals = []plumbline.Approval{
		{By: "ann", Groups: []string{"sre"}, Digest: net.Run.Plan.Digest, Expires: saturday.Add(24 * time.Hour)},
		{By: "bob", Groups: []string{"sre"}, Digest: net.Run.Plan.Digest, Expires: saturday.Add(-time.Hour)},
	}
	net.Run.Checks = []plumbline.CheckResult{{Name: plumbline.CheckFmt, Verdict: plumbline.VerdictPass, Text: "all files are formatted"}, {Name: plumbline.CheckTest, Verdict: plumbline.VerdictPass, Text: "4 tests passed"}}
	agreed := proposal(9815, "production", "live/web", plumbline.Plan{Changes: []plumbline.Change{{Address: "aws_lb.web", Action: plumbline.ActionUpdate}}})
	agreed.Run.Policy.Approval = plumbline.ApprovalRule{Count: 2, Carry: true}
	agreed.Run.Approvals = []plumbline.Approval{{By: "ann", Digest: agreed.Run.Plan.Digest}, {By: "bob", Digest: agreed.Run.Plan.Digest}}
	automatic := proposal(9816, "staging", "live/web", plumbline.Plan{Changes: []plumbline.Change{{Address: "aws_lb.web", Action: plumbline.ActionUpdate}}})
	automatic.Run.Policy.Apply = plumbline.ApplyAutomatic
	automatic.Run.Policy.Calendar.Freezes = []plumbline.Freeze{{From: t0, Until: t0.Add(1000 * time.Hour), By: "ops-b", Reason: "moving house"}}
	d.Rows = []NoteRow{*broken, *db, *net, agreed, automatic, *clean}
	return judged(d)
}

// deployed is a merged change on which everything has happened that people must know of.
func deployed() NoteData {
	d := sample()
	d.Now, d.Talks = saturday, true
	d.MR.State, d.MR.MergeCommit = plumbline.MRMerged, "5d0c1aa000"
	deploy := func(id plumbline.RunID, stack string, s plumbline.State) NoteRow {
		r := proposal(id, "production", stack, plumbline.Plan{Changes: []plumbline.Change{{Address: "aws_route.nat", Action: plumbline.ActionUpdate}}})
		r.Run.Kind, r.Run.State, r.Run.MR, r.Run.Deployment = plumbline.KindDeploy, s, "", 7
		r.Run.Policy.Approval = plumbline.ApprovalRule{Count: 2, From: []string{"group:sre"}, Carry: true, Expires: 72 * time.Hour}
		r.Run.Planned = saturday.Add(-time.Hour)
		return r
	}
	failed := deploy(9820, "live/net", plumbline.StateFailed)
	failed.Run.Failure = &plumbline.Failure{Kind: plumbline.FailApply, Text: "Terraform could not apply live/net."}
	failed.Held = []string{"live/app", "live/web"}
	denied := deploy(9821, "live/db", plumbline.StateFailed)
	denied.Run.Findings = []plumbline.PolicyFinding{{Policy: "plumbline.storage", Level: plumbline.PolicyDeny, Message: "A database is not replaced without a snapshot.", Address: "aws_db_instance.main"}}
	denied.Run.Failure = &plumbline.Failure{Kind: plumbline.FailPolicy, Text: "plumbline.storage forbids the plan of live/db: A database is not replaced without a snapshot.", Next: "Change the code, or the policy; the next commit is planned again."}
	app := deploy(9822, "live/app", plumbline.StateQueued)
	app.Run.Plan, app.Plan, app.Run.WaitsFor = nil, plumbline.Plan{}, []string{"live/net"}
	differs := deploy(9823, "live/dns", plumbline.StateAwaiting)
	differs.Run.Approvals = []plumbline.Approval{{By: "ann", Digest: "another", Carried: "merge request !42"}}
	differs.Since = []diff.Line{{Sign: "~", Text: "aws_route.nat", Note: "not in the approved plan"}}
	differs.SinceSummary = "1 more change (aws_route.nat)"
	otherwise := deploy(9824, "live/log", plumbline.StateAwaiting)
	otherwise.Run.Plan.Config = "new"
	otherwise.Run.Approvals = []plumbline.Approval{{By: "ann", Digest: otherwise.Run.Plan.Digest, Config: "old", Carried: "merge request !42"}}
	otherwise.SinceSummary = inAnotherWay
	waits := deploy(9825, "live/iam", plumbline.StateApproved)
	waits.Run.Policy.Calendar.Windows = []plumbline.Window{london}
	waits.Run.Approvals = []plumbline.Approval{
		{By: "ann", Groups: []string{"sre"}, Digest: waits.Run.Plan.Digest, Carried: "merge request !42"}, {By: "bob", Groups: []string{"sre"}, Digest: waits.Run.Plan.Digest},
	}
	forced := deploy(9826, "live/cdn", plumbline.StateApplying)
	forced.Run.Glass = &plumbline.Glass{By: "root", Reason: "the site is down", Digest: forced.Run.Plan.Digest}
	d.Rows = []NoteRow{failed, denied, app, differs, otherwise, waits, forced}
	return judged(d, failed.Run, app.Run)
}

func TestGateGolden(t *testing.T) {
	golden(t, "gated.md", Note(gated(), Marker("infra", "42"), 65536))
	golden(t, "deployed.md", Note(deployed(), Marker("infra", "42"), 65536))
	golden(t, "plain-gated.md", Note(plain(gated()), PlainMarker("infra", "42"), 32768))
	golden(t, "plain-deployed.md", Note(plain(deployed()), PlainMarker("infra", "42"), 32768))

	d := gated()
	for i := range 100 { // a policy that says something of everything
		for _, level := range []plumbline.PolicyLevel{plumbline.PolicyDeny, plumbline.PolicyWarn} {
			d.Rows[1].Run.Findings = append(d.Rows[1].Run.Findings, plumbline.PolicyFinding{
				Policy: "plumbline.tags", Level: level, Message: fmt.Sprintf("Thing %d has no owner, so that nobody knows whom to ask about it, or who pays.", i), Address: fmt.Sprint("aws_thing.a", i),
			})
		}
	}
	for i := range 200 {
		c := &d.Rows[1].Run.Checks[0]
		c.Findings = append(c.Findings, plumbline.Finding{File: "live/db/more.tf", Line: i + 1, Source: "a=1", Message: "not formatted"})
	}
	got := Note(plain(d), PlainMarker("infra", "42"), 10240)
	golden(t, "plain-gated-10240.md", got)
	checkPlainWhole(t, got)
	checkHas(t, "10240", got, "- `plumbline.storage`: A database", "more ([all of them](https://plumbline.example.com/runs/9812))", "`aws_db_instance.main`: `storage_encrypted`", "`aws_eip.old`", "`plumbline approve production/live/net b41fb41fb41f`")
	if strings.Contains(got, "approve live/db") || strings.Contains(got, "`plumbline approve production/live/web") {
		t.Errorf("what is forbidden, or agreed to, can be approved:\n%s", got)
	}
}

// TestNext checks what is said in the last column of the table.
func TestNext(t *testing.T) {
	open := plumbline.MergeRequest{State: plumbline.MROpen}
	yes := func(by string) plumbline.Approval { return plumbline.Approval{By: by, Digest: digest} }
	make := func(kind plumbline.Kind, s plumbline.State, change func(r *plumbline.Run)) plumbline.Run {
		r := plumbline.Run{ID: 9, Kind: kind, State: s, Stack: plumbline.StackRef{Environment: "production", Name: "live/net"}, Plan: &plumbline.PlanInfo{Digest: digest, Changes: true}}
		r.Policy.Apply = plumbline.ApplyApproval
		change(&r)
		return r
	}
	for _, c := range []struct {
		kind   plumbline.Kind
		state  plumbline.State
		change func(r *plumbline.Run)
		want   string
	}{
		{plumbline.KindProposal, plumbline.StateClean, func(*plumbline.Run) {}, "no changes"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) {
			r.Policy.Approval = plumbline.ApprovalRule{Count: 2, From: []string{"group:sre", "user:ann"}}
		}, "waits for 2 approvals by group:sre or user:ann"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) { r.Policy.Apply = plumbline.ApplyAutomatic }, "applies automatically"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) {
			r.Policy.Apply = plumbline.ApplyAutomatic
			r.Findings = []plumbline.PolicyFinding{{Policy: "a.b", Level: plumbline.PolicyApprove, Message: "Why.", From: []string{"group:dba"}}}
		}, "waits for an approval by group:dba (a.b)"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) { r.Policy.Apply = plumbline.ApplyNever }, "is not applied by Plumbline"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) {
			r.Policy.Approval.Carry = true
			r.Approvals = []plumbline.Approval{yes("ann"), yes("bob")}
		}, "agreed by ann, bob (carried over after the merge if the plan is the same)"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) { r.Approvals = []plumbline.Approval{yes("ann")} }, "waits for an approval"}, // nothing is carried over
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) {
			r.Policy.Calendar.Windows = []plumbline.Window{london}
		}, "waits for an approval; outside the window office-hours until Mon 09:00 GMT"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) {
			r.Policy.Calendar.Freezes = []plumbline.Freeze{{From: t0, By: "ops-b", Reason: "moving house"}}
		}, "waits for an approval; frozen by ops-b until it is lifted: moving house"},
		{plumbline.KindProposal, plumbline.StatePlanned, func(r *plumbline.Run) {
			r.Findings = []plumbline.PolicyFinding{{Policy: "a.b", Level: plumbline.PolicyDeny}, {Policy: "a.b", Level: plumbline.PolicyDeny}, {Policy: "a.c", Level: plumbline.PolicyDeny}}
		}, "forbidden by a.b, a.c"},
		{plumbline.KindProposal, plumbline.StateRejected, func(r *plumbline.Run) { r.RejectedBy, r.Reason = "ann", "not today" }, "rejected by ann: not today"},
		{plumbline.KindDeploy, plumbline.StateAwaiting, func(r *plumbline.Run) {
			r.Policy.Approval = plumbline.ApprovalRule{Count: 3, Not: []plumbline.Exclusion{plumbline.NotAuthor, plumbline.NotLastPusher}}
			r.Authors, r.Pushers = []string{"eve"}, []string{"fay"}
			expired, other, way := yes("bob"), yes("cat"), yes("dan")
			expired.Expires, other.Digest, way.Config = saturday, "another", "another"
			r.Approvals = []plumbline.Approval{yes("ann"), expired, other, way, yes("eve"), yes("fay")}
		}, "waits for 2 approvals; agreed by ann; the yes of bob was good until 2026-11-21 10:00 UTC, the yes of cat was to another plan, the yes of dan was to the same changes made in another way, " +
			"the yes of eve, fay does not count here: not for its author, nor for who pushed it last"},
		{plumbline.KindDeploy, plumbline.StateApproved, func(r *plumbline.Run) {
			a := yes("ann")
			a.Carried = "merge request !42"
			r.Approvals = []plumbline.Approval{a}
			r.Policy.Calendar.Windows = []plumbline.Window{london}
		}, "agreed by ann on merge request !42; outside the window office-hours until Mon 09:00 GMT"},
		{plumbline.KindDeploy, plumbline.StateApproved, func(r *plumbline.Run) { r.Policy.Apply = plumbline.ApplyAutomatic }, "applies automatically; is applied next"},
		{plumbline.KindDeploy, plumbline.StateApplying, func(r *plumbline.Run) {
			a := yes("ann")
			a.Expires, r.Started = saturday, saturday.Add(-time.Hour)
			r.Approvals = []plumbline.Approval{a}
		}, "applying; agreed by ann"},
		{plumbline.KindDeploy, plumbline.StateApplied, func(r *plumbline.Run) {
			r.Glass = &plumbline.Glass{By: "root", Digest: digest}
		}, "applied; break glass by root"},
		{plumbline.KindDeploy, plumbline.StateApplied, func(r *plumbline.Run) {
			r.Glass = &plumbline.Glass{By: "root", Digest: digest, Config: "another"}
		}, "applied"},
		{plumbline.KindDeploy, plumbline.StateExpired, func(*plumbline.Run) {}, "expired: nobody agreed in time"},
		{plumbline.KindDeploy, plumbline.StatePlanned, func(*plumbline.Run) {}, "planned, never applied"},
	} {
		if got := next(open, make(c.kind, c.state, c.change), nil, saturday); got != c.want {
			t.Errorf("%s %s:\n%s\nwant\n%s", c.kind, c.state, got, c.want)
		}
	}
}

// TestHeld follows what waits for something that has failed, also by way of others.
func TestHeld(t *testing.T) {
	run := func(name string, s plumbline.State, waits ...string) plumbline.Run {
		return plumbline.Run{Deployment: 1, State: s, Kind: plumbline.KindDeploy, Stack: plumbline.StackRef{Environment: "production", Name: name}, WaitsFor: waits}
	}
	all := []plumbline.Run{
		run("net", plumbline.StateFailed), run("dns", plumbline.StatePlanning), run("app", plumbline.StateQueued, "net", "dns"), run("web", plumbline.StateQueued, "app"), run("log", plumbline.StateQueued, "dns"),
		run("ring", plumbline.StateQueued, "ring", "web"),
	}
	if got := fmt.Sprint(held(all[0], all)); got != "[app web ring]" {
		t.Errorf("held back: %s", got)
	}
	for i, want := range map[int]string{2: "held back by net (failed)", 3: "queued, after app", 4: "queued, after dns"} {
		if got := next(plumbline.MergeRequest{}, all[i], all, saturday); got != want {
			t.Errorf("%s: %q, want %q", all[i].Stack.Name, got, want)
		}
	}
	all[1].State = plumbline.StateApplied
	if got := next(plumbline.MergeRequest{}, all[4], all, saturday); got != "queued" {
		t.Errorf("behind what was applied: %q", got)
	}
}

// TestOffered offers an approval where the domain would take it, and nowhere else.
func TestOffered(t *testing.T) {
	approver := plumbline.Person{Name: "ann"}
	tried := map[bool]int{}
	for _, kind := range []plumbline.Kind{plumbline.KindProposal, plumbline.KindDeploy} {
		for _, state := range plumbline.States {
			for _, apply := range []plumbline.ApplyMode{plumbline.ApplyApproval, plumbline.ApplyAutomatic, plumbline.ApplyNever} {
				for bits := range 4 {
					r := plumbline.Run{Kind: kind, State: state, Plan: &plumbline.PlanInfo{Digest: digest, Changes: true}, Planned: t0}
					r.Policy = plumbline.Policy{Apply: apply, Approval: plumbline.ApprovalRule{Carry: bits&1 != 0, Expires: time.Hour}}
					now := t0.Add(time.Minute)
					if bits&2 != 0 {
						now = t0.Add(2 * time.Hour)
					}
					ask := r
					takes := ask.Approve(approver, plumbline.Access{}, digest, now) == nil
					tried[takes]++
					if got := offered(plumbline.MergeRequest{State: plumbline.MROpen}, r, now); got != takes {
						t.Errorf("%s %s %s %d: offered %t, taken %t", kind, state, apply, bits, got, takes)
					}
				}
			}
		}
	}
	if tried[true] == 0 || tried[false] == 0 {
		t.Errorf("tried: %v", tried)
	}
}

// TestMoment checks that what is said of a run stays the same until its moment: it is followed through a fortnight, minute by minute.
func TestMoment(t *testing.T) {
	mr := plumbline.MergeRequest{State: plumbline.MROpen}
	day := 24 * time.Hour
	for name, change := range map[string]func(r *plumbline.Run){
		"window": func(r *plumbline.Run) { r.Policy.Calendar.Windows = []plumbline.Window{london} },
		"windows": func(r *plumbline.Run) {
			r.Policy.Calendar.Windows = []plumbline.Window{london, {Name: "night", Allow: "0 2 * * SUN", For: 2 * time.Hour}}
		},
		"freeze": func(r *plumbline.Run) {
			r.Policy.Calendar.Freezes = []plumbline.Freeze{{Name: "year-end", From: saturday.Add(3 * day), Until: saturday.Add(11 * day)}}
		},
		"both": func(r *plumbline.Run) {
			r.Policy.Calendar = plumbline.Calendar{Windows: []plumbline.Window{london}, Freezes: []plumbline.Freeze{{From: saturday.Add(day), Until: saturday.Add(10 * day), By: "ops"}, {From: saturday.Add(9 * day), By: "root"}}}
		},
		"seldom": func(r *plumbline.Run) {
			r.Policy.Calendar.Windows = []plumbline.Window{{Name: "monthly", Allow: "30 1 1 * *", For: 90 * time.Minute}}
		},
		"approvals": func(r *plumbline.Run) {
			r.Policy.Approval = plumbline.ApprovalRule{Count: 3, Carry: true, Expires: 12 * day}
			for i := range 3 {
				r.Approvals = append(r.Approvals, plumbline.Approval{By: fmt.Sprint("a", i), Digest: digest, Expires: saturday.Add(time.Duration(i+1) * 50 * time.Hour)})
			}
		},
		"nothing": func(*plumbline.Run) {},
	} {
		for _, kind := range []plumbline.Kind{plumbline.KindProposal, plumbline.KindDeploy} {
			r := plumbline.Run{Kind: kind, State: plumbline.StateAwaiting, Plan: &plumbline.PlanInfo{Digest: digest, Changes: true}, Planned: saturday, Policy: plumbline.Policy{Apply: plumbline.ApplyApproval}}
			if kind == plumbline.KindProposal {
				r.State = plumbline.StatePlanned
			}
			change(&r)
			says := func(now time.Time) string { return next(mr, r, nil, now) + fmt.Sprint(offered(mr, r, now)) }
			said, at, looks := says(saturday), moment(mr, r, saturday), 0
			for now := saturday; now.Before(saturday.Add(15 * day)); now = now.Add(time.Minute) {
				if !at.IsZero() && !now.Before(at) {
					said, at = says(now), moment(mr, r, now)
					looks++
				}
				if got := says(now); got != said {
					t.Fatalf("%s, %s: at %s\n%s\nis still told as\n%s\n, to be looked at again at %s", name, kind, now, got, said, at)
				}
			}
			if (looks > 0) != (name != "nothing") || looks > 60 {
				t.Errorf("%s, %s: %d looks", name, kind, looks)
			}
		}
	}
}
