package watch

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var route = plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"b"`}}}

// remediating is a rig whose production does something about drift.
func remediating(t *testing.T, how plumbline.Remediation) *rig {
	t.Helper()
	r := sighted(t)
	r.repo.Environments[0].Drift = plumbline.DriftPolicy{Remediate: how, ApplyOnly: plumbline.ApplyOnly{
		Actions: []plumbline.Action{plumbline.ActionUpdate}, Types: []string{"aws_route"}, MaxChanges: 2, PerDay: 2,
	}}
	r.w = r.watcher()
	r.poll()
	return r
}

// found has a drift check of a stack of production find differences.
func (r *rig) found(stack string, unapplied bool, found ...plumbline.Difference) plumbline.RunID {
	r.t.Helper()
	r.pass(time.Minute)
	env := r.repo.Environments[0]
	known, err := r.store.Stacks(r.t.Context(), "infra", env.Name)
	if err != nil {
		r.t.Fatal(err)
	}
	ids, err := r.store.Observe(r.t.Context(), plumbline.Observation{
		Repository: "infra", At: r.clock(), Runs: plumbline.DriftChecks(env, r.head("main"), "ann", time.Time{}, known, nil, []string{stack}, r.clock()),
	})
	if err != nil || len(ids) != 1 {
		r.t.Fatalf("%v %v", ids, err)
	}
	r.see(ids[0], unapplied, found...)
	return ids[0]
}

// see carries out a drift check that is queued.
func (r *rig) see(id plumbline.RunID, unapplied bool, found ...plumbline.Difference) {
	r.t.Helper()
	r.start(id)
	_, err := r.store.FinishDrift(r.t.Context(), id, r.clock(), func(run *plumbline.Run, now time.Time) error {
		return run.Finish(run.Claim, plumbline.Outcome{Differences: found, Unapplied: unapplied}, &plumbline.PlanInfo{Changes: len(found) > 0 || unapplied}, now)
	}, plumbline.DriftLook{Found: found})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) items(stack string) []plumbline.DriftItem {
	r.t.Helper()
	list, err := r.store.DriftItems(r.t.Context(), plumbline.DriftFilter{Repository: "infra", Environment: "production", Stack: stack})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// mends are the runs that put drift right, oldest first.
func (r *rig) mends() []plumbline.Run {
	r.t.Helper()
	return slices.DeleteFunc(r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}}), func(run plumbline.Run) bool { return run.Mending == nil })
}

// planned has a worker make the plan that puts the route right.
func (r *rig) planned(id plumbline.RunID) plumbline.Run {
	r.t.Helper()
	r.start(id)
	p := plumbline.Plan{Digest: digest, Changes: []plumbline.Change{{Address: route.Address, Type: route.Type, Action: plumbline.ActionUpdate}}}
	r.finish(id, plumbline.Outcome{Plan: &p}, &plumbline.PlanInfo{Digest: digest, Changes: true})
	return r.run(id)
}

func TestRemedyReport(t *testing.T) {
	t.Parallel()
	r := remediating(t, plumbline.RemediateReport)
	r.found("live/net", false, route)
	r.poll()
	if n := len(r.mends()); n > 0 || r.items("live/net")[0].Remedy != nil {
		t.Errorf("%d runs", n)
	}
}

// TestRemedyPropose: a run waits for a yes, one for each difference; it goes when the difference does, and gives way to deployments.
func TestRemedyPropose(t *testing.T) {
	t.Parallel()
	r := remediating(t, plumbline.RemediatePropose)
	r.repo.Environments[0].Apply = plumbline.ApplyAutomatic
	r.repo.Environments[0].Approval.Not = []plumbline.Exclusion{plumbline.NotAuthor}
	r.w = r.watcher()
	check := r.found("live/net", false, route)
	for range 3 {
		r.poll()
	}
	list := r.mends()
	if len(list) != 1 {
		t.Fatalf("%d runs, want 1", len(list))
	}
	run := list[0]
	if run.Because != "drift that run "+check.String()+" found: aws_route.nat" || run.Commit != r.head("main") || run.Mending.Alone || run.By != plumbline.BySchedule {
		t.Errorf("%+v %+v", run, run.Mending)
	}
	if it := r.items("live/net")[0]; it.Remedy == nil || it.Remedy.Run != run.ID || it.Remedy.What != plumbline.RemediatePropose {
		t.Errorf("the item has %+v", it.Remedy)
	}
	if run = r.planned(run.ID); run.State != plumbline.StateAwaiting {
		t.Fatalf("where deployments are applied without asking it is %s", run.State)
	}
	// The same again is nothing new.
	events := r.items("live/net")[0].Events
	r.found("live/net", false, route)
	r.poll()
	if n := len(r.mends()); n != 1 || r.items("live/net")[0].Events != events || r.run(run.ID).State != plumbline.StateAwaiting {
		t.Errorf("%d runs after the same was found again, %d events", n, r.items("live/net")[0].Events)
	}
	// Another difference of the same resource: what waits is not what would be done.
	other := route
	other.Attributes = []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"c"`}}
	r.found("live/net", false, other)
	r.poll()
	list = r.mends()
	if len(list) != 2 || list[0].State != plumbline.StateSuperseded || list[1].State != plumbline.StateQueued {
		t.Fatalf("%+v", list)
	}
	// A person says no: nobody is asked again about the same.
	r.planned(list[1].ID)
	r.update(list[1].ID, func(run *plumbline.Run, now time.Time) error { return run.Reject("ann", "it is meant so", now) })
	r.found("live/net", false, other)
	r.poll()
	if n := len(r.mends()); n != 2 || r.items("live/net")[0].Remedy.Why != "ann has rejected what would put it right" {
		t.Errorf("%d runs after a no, %+v", n, r.items("live/net")[0].Remedy)
	}
	third := other
	third.Attributes = []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"e"`}}
	r.found("live/net", false, third)
	r.poll()
	if list = r.mends(); len(list) != 3 {
		t.Fatalf("%d runs", len(list))
	}
	// It is gone.
	list[1] = list[2]
	r.planned(list[1].ID)
	r.found("live/net", false)
	r.poll()
	if got := r.run(list[1].ID); got.State != plumbline.StateCanceled || !strings.Contains(got.Reason, "the drift that it was for is gone") {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
	// It is back, a person agrees, it is applied, and looked at.
	r.found("live/net", false, route)
	r.poll()
	list = r.mends()
	run = list[len(list)-1]
	r.planned(run.ID)
	r.approve(run.ID)
	r.start(run.ID)
	r.finish(run.ID, plumbline.Outcome{Applied: true}, nil)
	again := r.newest("production", "live/net")
	if again.Kind != plumbline.KindDrift || again.State != plumbline.StateQueued || again.Because != "run "+run.ID.String()+" was to put it right" {
		t.Errorf("%+v", again)
	}
	r.pass(time.Minute)
	r.see(again.ID, false)
	r.poll()
	if n := len(r.items("live/net")); n != 0 || len(r.mends()) != len(list) {
		t.Errorf("%d items, %d runs", n, len(r.mends()))
	}
}

// TestRemedyGivesWay: a commit that comes is deployed, and what was to put drift right goes; other stacks' remedies stay.
func TestRemedyGivesWay(t *testing.T) {
	t.Parallel()
	r := remediating(t, plumbline.RemediatePropose)
	r.found("live/net", false, route)
	r.found("live/db", false, route)
	r.poll()
	list := r.mends()
	if len(list) != 2 {
		t.Fatalf("%d runs", len(list))
	}
	for _, run := range list {
		r.planned(run.ID)
	}
	r.push("main", map[string]string{"live/db/main.tf": state + "# db 2\n"})
	r.poll()
	for _, run := range r.mends() {
		want := plumbline.StateAwaiting
		if run.Stack.Name == "live/db" {
			want = plumbline.StateSuperseded
		}
		if run.State != want {
			t.Errorf("the remedy of %s is %s, want %s", run.Stack.Name, run.State, want)
		}
	}
	// While it is under way, a check of the stack makes no other.
	r.found("live/db", true, route)
	r.poll()
	if n := len(r.mends()); n != 2 {
		t.Errorf("%d runs beside a deployment", n)
	}
	if it := r.items("live/db")[0]; it.Remedy.What != plumbline.RemediateReport || it.Remedy.Why != "a deployment of the stack is under way" {
		t.Errorf("%+v", it.Remedy)
	}
	// One that somebody asks for does not bring the other stacks' along.
	before := r.last()
	r.ask(plumbline.RequestDeploy, "production", "live/app")
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{}) {
		if run.ID > before && run.Stack.Name == "live/net" {
			t.Errorf("run %s deploys %s, which nobody asked for", run.ID, run.Stack.Name)
		}
	}
}

// TestRemedyApply: within the limits it is applied without asking; with unapplied commits, or after an apply that failed, it is not.
func TestRemedyApply(t *testing.T) {
	t.Parallel()
	r := remediating(t, plumbline.RemediateApply)
	r.found("live/net", false, route)
	r.poll()
	run := r.mends()[0]
	if !run.Mending.Alone {
		t.Fatalf("%+v", run.Mending)
	}
	if run = r.planned(run.ID); run.State != plumbline.StateApproved || !run.Cleared() {
		t.Fatalf("%s, %s", run.State, run.Mending.Why)
	}
	r.start(run.ID)
	r.finish(run.ID, failure(), nil)
	if !r.status("production", "live/net").Unsettled {
		t.Error("an apply that failed leaves nothing behind")
	}
	r.found("live/net", false, route)
	r.poll()
	list := r.mends()
	if len(list) != 2 || list[1].Mending.Alone || list[1].Mending.Why != "the last apply of the stack has not ended well" {
		t.Fatalf("%d runs, %+v", len(list), list[len(list)-1].Mending)
	}
	r.found("live/db", true, route)
	r.poll()
	if n := len(r.mends()); n != 2 {
		t.Errorf("%d runs although Git asks for more", n)
	}
	if it := r.items("live/db")[0]; it.Remedy == nil || !strings.HasPrefix(it.Remedy.Why, "Git asks for changes that were never applied") {
		t.Errorf("%+v", it.Remedy)
	}
}

// TestRemedyThatFails: a remedy that could not be planned is no reason to deploy the stack, nor to keep a deployment before it from being retried.
func TestRemedyThatFails(t *testing.T) {
	t.Parallel()
	r := remediating(t, plumbline.RemediatePropose)
	r.push("main", map[string]string{"live/net/main.tf": state + "# 2\n"})
	r.poll()
	deployed := r.newest("production", "live/net")
	r.applying(deployed.ID)
	r.finish(deployed.ID, failure(), nil)
	r.found("live/net", false, route)
	r.found("live/db", false, route)
	r.poll()
	for _, run := range r.mends() {
		r.start(run.ID)
		r.finish(run.ID, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "boom"}}, nil)
	}
	if n := len(r.mends()); n != 2 {
		t.Fatalf("%d runs", n)
	}
	r.update(deployed.ID, func(run *plumbline.Run, now time.Time) error { return run.Retry("ann", now) })
	since := r.last()
	r.push("main", map[string]string{"README.md": "# 2\n"})
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}}) {
		if run.ID > since && run.Stack.Name == "live/db" {
			t.Errorf("%s is deployed: %s", run.Stack.Name, run.Because)
		}
	}
}

// TestRemedyOnce: however many machines see what a check has found, one run comes of it.
func TestRemedyOnce(t *testing.T) {
	t.Parallel()
	r := remediating(t, plumbline.RemediateApply)
	nodes := []*Watcher{r.watcher(), r.watcher(), r.watcher(), r.watcher()}
	for _, w := range nodes {
		if _, err := w.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.found("live/net", false, route)
	r.found("live/app", false, route)
	var wg sync.WaitGroup
	for _, w := range nodes {
		wg.Go(func() {
			if _, err := w.Poll(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(r.mends()); n != 2 {
		t.Errorf("%d runs, want one for each stack", n)
	}
	for _, stack := range []string{"live/net", "live/app"} {
		if it := r.items(stack)[0]; it.Remedy == nil || it.Events != 2 {
			t.Errorf("%s: %+v, %d events", stack, it.Remedy, it.Events)
		}
	}
}

// TestDetectionGoesOn: a schedule looks at stacks whose last run failed or was interrupted, and at those for which Git asks for more than was applied.
func TestDetectionGoesOn(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.check(r.w, "@hourly", "")
	r.push("main", map[string]string{"live/net/main.tf": state + "# 2\n", "live/db/main.tf": state + "# 2\n", "live/app/main.tf": state + "# 2\n"})
	r.poll()
	for stack, what := range map[string]func(id plumbline.RunID){
		"live/net": func(id plumbline.RunID) { r.applying(id); r.finish(id, failure(), nil) },
		"live/db": func(id plumbline.RunID) {
			r.applying(id)
			r.finish(id, plumbline.Outcome{Interrupted: true}, nil)
		},
	} {
		what(r.newest("production", stack).ID)
	}
	if got := r.newest("production", "live/app"); got.State != plumbline.StateQueued { // its network failed: it waits with what was never applied
		t.Fatalf("live/app is %s", got.State)
	}
	r.pass(time.Hour)
	if queued, _ := r.check(r.w, "@hourly", ""); queued != 3 {
		t.Fatalf("%d checks are queued, want all 3", queued)
	}
	for _, stack := range []string{"live/net", "live/db", "live/app"} {
		run := r.newest("production", stack)
		if run.Kind != plumbline.KindDrift {
			t.Fatalf("the newest run of %s is a %s", stack, run.Kind)
		}
		r.see(run.ID, true, route)
		if got := r.run(run.ID); got.State != plumbline.StateDrifted || !got.Unapplied {
			t.Errorf("%s is %s, unapplied %t", stack, got.State, got.Unapplied)
		}
		if len(r.items(stack)) != 1 || r.status("production", stack).Drifted != 1 {
			t.Errorf("%s has %d items, %d drifted", stack, len(r.items(stack)), r.status("production", stack).Drifted)
		}
	}
	if !r.status("production", "live/net").Unsettled || !r.status("production", "live/db").Unsettled {
		t.Error("a check has made good what was not applied")
	}
}

// TestCheckByHandIsNotKeptWaiting: a check that waits for its turn is begun when a person asks for it, and is not made twice.
func TestCheckByHandIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.check(r.w, "@daily", "")
	r.pass(24 * time.Hour)
	if queued, _ := r.check(r.w, "@daily", ""); queued != 3 {
		t.Fatalf("%d queued", queued)
	}
	waiting := r.newest("production", "live/net")
	if !waiting.NotBefore.After(waiting.Tick) {
		t.Fatalf("it is due at %s", waiting.NotBefore)
	}
	r.mu.Lock()
	r.now = waiting.Tick
	r.mu.Unlock()
	r.ask(plumbline.RequestDrift, "production", "live/net")
	r.poll()
	got := r.newest("production", "live/net")
	if got.ID != waiting.ID || !got.NotBefore.IsZero() || got.By != "ann" {
		t.Errorf("run %s, due %s, by %s; want run %s, now, by ann", got.ID, got.NotBefore, got.By, waiting.ID)
	}
	if other := r.newest("production", "live/db"); other.NotBefore.IsZero() || other.By != plumbline.BySchedule {
		t.Errorf("another stack's check: %+v", other)
	}
}
