package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// A check whose turn has not come is not claimed, whatever else there is, until it is due or somebody asks for it.
func TestClaimNotBefore(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s, ctx := open(t, dsn), t.Context()
		check := func(stack string, after time.Duration) plumbline.Run {
			r := queued(plumbline.KindDrift, stack, "c1")
			r.NotBefore = t0.Add(after)
			return r
		}
		ids := enqueue(t, s, check("a", 2*time.Minute), check("b", time.Minute), check("c", time.Hour))
		claim := func(after time.Duration) plumbline.RunID {
			t.Helper()
			r, err := s.Claim(ctx, "w", t0.Add(after), lease)
			if errors.Is(err, plumbline.ErrNotFound) {
				return 0
			}
			return must[plumbline.Run](t)(r, err).ID
		}
		for _, c := range []struct {
			after time.Duration
			want  plumbline.RunID
		}{{0, 0}, {time.Minute - time.Microsecond, 0}, {time.Minute, ids[1]}, {time.Minute, 0}, {2 * time.Minute, ids[0]}, {30 * time.Minute, 0}} {
			if got := claim(c.after); got != c.want {
				t.Errorf("after %s run %v is claimed, want %v", c.after, got, c.want)
			}
		}
		must[plumbline.Run](t)(s.Update(ctx, ids[2], t0.Add(30*time.Minute), func(r *plumbline.Run, now time.Time) error { return r.Hurry("ann", now) }))
		if got := claim(30 * time.Minute); got != ids[2] {
			t.Errorf("hurried, and run %v is claimed", got)
		}
		// What was lost was begun before: it has its turn behind it.
		must[[]plumbline.Run](t)(s.Expire(ctx, t0.Add(31*time.Minute), nil))
		if got := claim(31 * time.Minute); got == 0 {
			t.Error("a lost check is not claimed again")
		}
	})
}

// A thousand checks wait, and a proposal does not wait for any of them; a worker that has enough checks is given none.
func TestClaimWithoutDrift(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s, ctx := open(t, dsn), t.Context()
		var list []plumbline.Run
		for i := range 1000 {
			list = append(list, queued(plumbline.KindDrift, fmt.Sprintf("stack-%04d", i), "c1"))
		}
		enqueue(t, s, list...)
		if r, err := s.Claim(ctx, "w", t0, lease, plumbline.KindDrift); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("run %v is claimed (%v), want none", r.ID, err)
		}
		proposal := enqueue(t, s, queued(plumbline.KindProposal, "stack-0500", "c2"))[0]
		for _, without := range [][]plumbline.Kind{{plumbline.KindDrift}, nil} {
			r := must[plumbline.Run](t)(s.Claim(ctx, "w", t0, lease, without...))
			if want := map[bool]plumbline.Kind{true: plumbline.KindProposal, false: plumbline.KindDrift}[without != nil]; r.Kind != want {
				t.Errorf("without %v a %s is claimed, want a %s", without, r.Kind, want)
			}
			if without != nil && r.ID != proposal {
				t.Errorf("run %v, want %v", r.ID, proposal)
			}
		}
	})
}

// ladder is an environment that puts routes right without asking.
type ladder struct {
	t   *testing.T
	s   *Store
	env plumbline.Environment
	now time.Time
}

func newLadder(t *testing.T, s *Store, perDay int) *ladder {
	env := plumbline.Environment{
		Repository: "infra", Name: "production", Branch: "main", Apply: plumbline.ApplyApproval, Approval: plumbline.ApprovalRule{Count: 1},
		Drift: plumbline.DriftPolicy{Remediate: plumbline.RemediateApply, ApplyOnly: plumbline.ApplyOnly{
			Actions: []plumbline.Action{plumbline.ActionUpdate}, Types: []string{"aws_route"}, MaxChanges: 5, PerDay: perDay,
		}},
	}
	return &ladder{t: t, s: s, env: env, now: t0}
}

var nat = plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"b"`}}}

// check looks at a stack.
func (l *ladder) check(stack string, found ...plumbline.Difference) plumbline.Run {
	l.t.Helper()
	l.now = l.now.Add(time.Minute)
	return l.look(enqueue(l.t, l.s, queued(plumbline.KindDrift, stack, "c1"))[0], found...)
}

// look carries out a check that is queued.
func (l *ladder) look(id plumbline.RunID, found ...plumbline.Difference) plumbline.Run {
	l.t.Helper()
	ctx := l.t.Context()
	r := must[plumbline.Run](l.t)(l.s.Update(ctx, id, l.now, func(r *plumbline.Run, now time.Time) error { return r.Start("w", now, lease) }))
	return must[plumbline.Run](l.t)(l.s.FinishDrift(ctx, id, l.now, finish(r.Claim, plumbline.Outcome{Differences: found}, &plumbline.PlanInfo{Changes: len(found) > 0}), plumbline.DriftLook{Found: found}))
}

// cure queues what is to be done about a stack, as the watcher does.
func (l *ladder) cure(stack string, check plumbline.Run) (plumbline.Run, plumbline.Cure) {
	l.t.Helper()
	ctx := l.t.Context()
	a := plumbline.Ailing{Check: check, Stack: plumbline.StackStatus{Stack: ref(stack), Spec: plumbline.StackSpec{Name: stack, Dir: stack}, Commit: "c1", Checked: true}}
	a.Items = must[[]plumbline.DriftItem](l.t)(l.s.DriftItems(ctx, plumbline.DriftFilter{Repository: "infra", Environment: "production", Stack: stack}))
	a.Applied = must[int](l.t)(l.s.Remedied(ctx, "infra", "production", l.now))
	c := plumbline.RemedyFor(l.env, a, l.now)
	o := plumbline.Observation{Repository: "infra", At: l.now, Runs: []plumbline.Run{plumbline.MendingRun(l.env, a, c, l.now)}}
	for _, it := range c.Items {
		o.Remedies = append(o.Remedies, plumbline.ItemRemedy{Item: it.ID, Remedy: plumbline.Remedy{What: c.What, Run: -1, At: l.now, Why: c.Why}})
	}
	id := must[[]plumbline.RunID](l.t)(l.s.Observe(ctx, o))[0]
	return must[plumbline.Run](l.t)(l.s.Run(ctx, id)), c
}

// plan takes a run through a plan that changes routes.
func (l *ladder) plan(id plumbline.RunID, addresses ...string) plumbline.Run {
	l.t.Helper()
	r := must[plumbline.Run](l.t)(l.s.Update(l.t.Context(), id, l.now, func(r *plumbline.Run, now time.Time) error { return r.Start("w", now, lease) }))
	p := plumbline.Plan{}
	for _, a := range addresses {
		p.Changes = append(p.Changes, plumbline.Change{Address: a, Type: "aws_route", Action: plumbline.ActionUpdate})
	}
	return must[plumbline.Run](l.t)(l.s.Update(l.t.Context(), id, l.now, finish(r.Claim, plumbline.Outcome{Plan: &p}, changes("digest-"+id.String()))))
}

// apply has a worker apply whatever may be, and returns what it was.
func (l *ladder) apply() plumbline.Run {
	l.t.Helper()
	r, err := l.s.Claim(l.t.Context(), "w", l.now, lease, plumbline.KindDrift)
	if errors.Is(err, plumbline.ErrNotFound) {
		return plumbline.Run{}
	}
	r = must[plumbline.Run](l.t)(r, err)
	return must[plumbline.Run](l.t)(l.s.Update(l.t.Context(), r.ID, l.now, finish(r.Claim, plumbline.Outcome{Applied: true}, nil)))
}

func (l *ladder) item(stack string) plumbline.DriftItem {
	l.t.Helper()
	list := must[[]plumbline.DriftItem](l.t)(l.s.DriftItems(l.t.Context(), plumbline.DriftFilter{Repository: "infra", Environment: "production", Stack: stack, Resolved: true, Limit: 1}))
	return list[0]
}

func (l *ladder) queuedChecks(stack string) []plumbline.Run {
	l.t.Helper()
	return must[[]plumbline.Run](l.t)(l.s.Runs(l.t.Context(), plumbline.RunFilter{
		Repository: "infra", Stack: stack, Kinds: []plumbline.Kind{plumbline.KindDrift}, States: []plumbline.State{plumbline.StateQueued},
	}))
}

// What is within the limits is applied without asking, told on the item and in the audit log, and looked at again at once. The third time that the very
// same comes back, people are asked.
func TestMendWithoutAsking(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		l := newLadder(t, open(t, dsn), 100)
		check := l.check("net", nat)
		for n := 1; n <= plumbline.RemedyTries; n++ {
			run, c := l.cure("net", check)
			if c.What != plumbline.RemediateApply {
				t.Fatalf("the %d. time: %s, %s", n, c.What, c.Why)
			}
			if it := l.item("net"); it.Remedy == nil || it.Remedy.Run != run.ID || it.Remedy.Tries != n-1 {
				t.Errorf("the %d. time, before it is applied: %+v", n, it.Remedy)
			}
			if run = l.plan(run.ID, nat.Address); run.State != plumbline.StateApproved {
				t.Fatalf("the %d. time it is %s: %s", n, run.State, run.Mending.Why)
			}
			l.now = l.now.Add(time.Second)
			if run = l.apply(); run.State != plumbline.StateApplied {
				t.Fatalf("the %d. time it is %s", n, run.State)
			}
			if it := l.item("net"); it.Remedy == nil || !it.Remedy.Begun || it.Remedy.Tries != n || it.Remedy.Run != run.ID {
				t.Errorf("the %d. time: %+v", n, it.Remedy)
			}
			again := l.queuedChecks("net")
			if len(again) != 1 || again[0].Because != fmt.Sprintf("run %s was to put it right", run.ID) {
				t.Fatalf("the %d. time, to be looked at: %+v", n, again)
			}
			l.now = l.now.Add(time.Minute)
			l.look(again[0].ID)
			if it := l.item("net"); it.Open() || it.How != "applied by run "+run.ID.String() {
				t.Errorf("the %d. time: %s, %s", n, it.State(l.now), it.How)
			}
			l.now = l.now.Add(72 * time.Hour)
			check = l.check("net", nat)
		}
		run, c := l.cure("net", check)
		if c.What != plumbline.RemediatePropose || !strings.Contains(c.Why, "is there again after it was put right 3 times") {
			t.Errorf("after that: %s, %s", c.What, c.Why)
		}
		if run = l.plan(run.ID, nat.Address); run.State != plumbline.StateAwaiting || l.apply().ID != 0 {
			t.Errorf("after that the run is %s", run.State)
		}
		var told []string
		for _, e := range must[[]plumbline.DriftEvent](t)(l.s.DriftEvents(ctx, l.item("net").ID)) {
			told = append(told, string(e.What)+" "+e.Text)
		}
		if len(told) != 2 || told[0] != "opened for the 4th time" || !strings.Contains(told[1], "waits for a yes: the very same difference of aws_route.nat is there again") {
			t.Errorf("the item tells %q", told)
		}
		var audit []string
		for _, e := range must[[]plumbline.AuditRow](t)(l.s.AuditEntries(ctx, plumbline.AuditFilter{Run: 2})) {
			audit = append(audit, fmt.Sprintf("%s %s: %s", e.Action, e.Outcome, e.Detail))
		}
		const by = "approved without asking by remediate = apply of production (limits: update of aws_route, at most 5 changes, 100 a day)"
		if want := []string{"gate approved: " + by, "apply applying: " + by, "apply applied: "}; !slices.Equal(audit, want) {
			t.Errorf("the audit log has %q, want %q", audit, want)
		}
		// Somebody takes note of it: it counts from the beginning when it comes back after that.
		must[plumbline.DriftItem](t)(l.s.UpdateDrift(ctx, l.item("net").ID, l.now, func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error) {
			return it.Acknowledge(plumbline.Person{Name: "ann"}, "", now)
		}))
		l.check("net")
		l.now = l.now.Add(200 * time.Hour)
		if _, c = l.cure("net", l.check("net", nat)); c.What != plumbline.RemediateApply {
			t.Errorf("acknowledged, gone and back: %s, %s", c.What, c.Why)
		}
	})
}

// Beyond the limits, a run waits for a person, and the item tells why.
func TestMendBeyondTheLimits(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		l := newLadder(t, open(t, dsn), 3)
		run, _ := l.cure("net", l.check("net", nat))
		run = l.plan(run.ID, nat.Address, "aws_route.other")
		const why = "aws_route.other would be changed in place too, and is no drift that people want to be rid of"
		if run.State != plumbline.StateAwaiting || run.Mending.Why != why || l.apply().ID != 0 {
			t.Errorf("%s, %q", run.State, run.Mending.Why)
		}
		if it := l.item("net"); it.Remedy.What != plumbline.RemediatePropose || it.Remedy.Why != why || it.Remedy.Tries != 0 {
			t.Errorf("%+v", it.Remedy)
		}
		var told []string
		for _, e := range must[[]plumbline.Event](t)(l.s.Events(t.Context(), run.ID)) {
			told = append(told, string(e.To)+" "+e.Text)
		}
		if len(told) == 0 || told[len(told)-1] != "awaiting +2 ~1; not applied without asking: "+why {
			t.Errorf("its history tells %q", told)
		}
		// A person agrees: that is no apply without asking.
		must[plumbline.Run](t)(l.s.Update(t.Context(), run.ID, l.now, func(r *plumbline.Run, now time.Time) error {
			return r.Approve(ann, plumbline.Access{}, r.Plan.Digest, now)
		}))
		if run = l.apply(); run.State != plumbline.StateApplied {
			t.Errorf("agreed to, it is %s", run.State)
		}
		if n := must[int](t)(l.s.Remedied(t.Context(), "infra", "production", l.now)); n != 0 {
			t.Errorf("%d applies without asking are counted", n)
		}
		if len(l.queuedChecks("net")) != 1 {
			t.Error("it is not looked at afterwards")
		}
	})
}

// Of one day there are as many as per_day says, and not one more, whoever claims; a day after the first, there is one again.
func TestMendPerDay(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const perDay, stacks = 3, 8
		l := newLadder(t, open(t, dsn), perDay)
		second := open(t, dsn)
		for i := range stacks {
			name := fmt.Sprintf("stack-%d", i)
			run, c := l.cure(name, l.check(name, nat))
			if c.What != plumbline.RemediateApply {
				t.Fatalf("%s: %s, %s", name, c.What, c.Why)
			}
			if run = l.plan(run.ID, nat.Address); run.State != plumbline.StateApproved {
				t.Fatalf("%s is %s", name, run.State)
			}
		}
		var (
			wg    sync.WaitGroup
			mu    sync.Mutex
			begun []plumbline.Run
		)
		for i := range 4 {
			s := []*Store{l.s, second}[i%2]
			wg.Go(func() {
				for {
					r, err := s.Claim(t.Context(), "w", l.now, lease, plumbline.KindDrift)
					if errors.Is(err, plumbline.ErrNotFound) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					begun = append(begun, r)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(begun) != perDay {
			t.Errorf("%d were begun, want %d", len(begun), perDay)
		}
		waiting := must[[]plumbline.Run](t)(l.s.Runs(t.Context(), plumbline.RunFilter{Repository: "infra", States: []plumbline.State{plumbline.StateAwaiting}}))
		if len(waiting) != stacks-perDay || waiting[0].Mending.Why != "production was put right without asking 3 times within 24 hours, and per_day is 3" {
			t.Errorf("%d wait: %+v", len(waiting), waiting)
		}
		if it := l.item(waiting[0].Stack.Name); it.Remedy.What != plumbline.RemediatePropose || it.Remedy.Why != waiting[0].Mending.Why {
			t.Errorf("its item has %+v", it.Remedy)
		}
		// Terraform called the plan stale: the same run is not counted twice.
		r := begun[0]
		r = must[plumbline.Run](t)(l.s.Update(t.Context(), r.ID, l.now, finish(r.Claim, plumbline.Outcome{Stale: true}, nil)))
		if l.plan(r.ID, nat.Address); l.apply().State != plumbline.StateApplied {
			t.Error("a plan that was stale is not applied again")
		}
		if it := l.item(r.Stack.Name); it.Remedy.Tries != 1 {
			t.Errorf("it counts %d tries", it.Remedy.Tries)
		}
		edge := l.now.Add(24 * time.Hour)
		for _, c := range []struct {
			at   time.Time
			want int
		}{{edge.Add(-time.Microsecond), perDay}, {edge, 0}} {
			if n := must[int](t)(l.s.Remedied(t.Context(), "infra", "production", c.at)); n != c.want {
				t.Errorf("at %s %d are counted, want %d", c.at, n, c.want)
			}
		}
		l.now = edge
		if _, c := l.cure("late", l.check("late", nat)); c.What != plumbline.RemediateApply {
			t.Errorf("a day later: %s, %s", c.What, c.Why)
		}
	})
}

// What may be applied without asking still waits for its window, and counts when it begins.
func TestMendInItsWindow(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		l := newLadder(t, open(t, dsn), 1)
		l.env.Calendar.Windows = []plumbline.Window{{Name: "night", Allow: "0 22 * * *", For: 2 * time.Hour}}
		for _, stack := range []string{"a", "b"} {
			run, _ := l.cure(stack, l.check(stack, nat))
			if run = l.plan(run.ID, nat.Address); run.State != plumbline.StateApproved {
				t.Fatalf("%s is %s", stack, run.State)
			}
		}
		night := time.Date(2026, 11, 20, 22, 0, 0, 0, time.UTC)
		for l.now = t0.Add(time.Hour); l.now.Before(night); l.now = l.now.Add(time.Hour) {
			if r := l.apply(); r.ID != 0 {
				t.Fatalf("at %s run %s is %s", l.now, r.ID, r.State)
			}
		}
		if n := must[int](t)(l.s.Remedied(t.Context(), "infra", "production", l.now)); n != 0 {
			t.Errorf("%d are counted before anything was applied", n)
		}
		l.now = night
		if r := l.apply(); r.State != plumbline.StateApplied || r.Stack.Name != "a" {
			t.Errorf("in the window, %s of %s", r.State, r.Stack)
		}
		if r := l.apply(); r.ID != 0 {
			t.Errorf("one more than per_day: %s of %s", r.State, r.Stack)
		}
		list := must[[]plumbline.Run](t)(l.s.Runs(t.Context(), plumbline.RunFilter{Repository: "infra", Stack: "b", Kinds: []plumbline.Kind{plumbline.KindDeploy}}))
		if list[0].State != plumbline.StateAwaiting {
			t.Errorf("the other one is %s", list[0].State)
		}
		if r := l.check("a"); r.State != plumbline.StateClean {
			t.Errorf("%s", r.State)
		}
	})
}

func TestObserveRemedyOfNoRun(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := plumbline.Observation{Repository: "infra", At: t0, Remedies: []plumbline.ItemRemedy{{Item: 1, Remedy: plumbline.Remedy{Run: -1}}}}
		if _, err := s.Observe(t.Context(), o); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("a remedy by a run that is not there: %v", err)
		}
		o.Remedies[0].Remedy.Run = 0
		if _, err := s.Observe(t.Context(), o); err != nil {
			t.Errorf("of an item that is resolved by now: %v", err)
		}
	})
}
