package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// driftLife is a stack that is looked at once an hour.
type driftLife struct {
	t   *testing.T
	s   *Store
	env plumbline.Environment
	now time.Time
}

func (l *driftLife) check(found ...plumbline.Difference) plumbline.Run {
	l.t.Helper()
	ctx := l.t.Context()
	l.now = l.now.Add(time.Hour)
	enqueue(l.t, l.s, queued(plumbline.KindDrift, "net", "c1"))
	r := must[plumbline.Run](l.t)(l.s.Claim(ctx, "worker-1", l.now, lease))
	look := plumbline.DriftLook{Found: found, Rules: l.env.Drift.Ignore}
	return must[plumbline.Run](l.t)(l.s.FinishDrift(ctx, r.ID, l.now, finish(r.Claim, plumbline.Outcome{Differences: found}, &plumbline.PlanInfo{Changes: len(found) > 0}), look))
}

func (l *driftLife) history(id int64) (out []string) {
	l.t.Helper()
	for _, e := range must[[]plumbline.DriftEvent](l.t)(l.s.DriftEvents(l.t.Context(), id)) {
		out = append(out, strings.TrimSpace(string(e.What)+" "+e.Who))
	}
	return out
}

func (l *driftLife) version() int64 {
	l.t.Helper()
	list := must[[]plumbline.DriftVersion](l.t)(l.s.UnreportedDrift(l.t.Context(), "infra"))
	if len(list) == 0 {
		return 0
	}
	return list[0].Version
}

func (l *driftLife) drifted() int {
	l.t.Helper()
	return must[[]plumbline.StackStatus](l.t)(l.s.Stacks(l.t.Context(), "infra", "production"))[0].Drifted
}

var ann = plumbline.Person{Name: "ann@example.com", Door: plumbline.DoorAPI}

func TestLifeOfADriftItem(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		l := &driftLife{t: t, s: open(t, dsn), env: plumbline.Environment{Repository: "infra", Name: "production"}, now: t0}
		route := plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"b"`}}}
		if r := l.check(route); r.State != plumbline.StateDrifted || r.DriftOpen != 1 {
			t.Fatalf("%s, %d open", r.State, r.DriftOpen)
		}
		v := l.version()
		if l.check(route); l.version() != v {
			t.Error("the same again is news")
		}
		if err := l.s.MarkDriftReported(ctx, "infra", plumbline.DriftVersion{Environment: "production", Version: v}); err != nil || l.version() != 0 {
			t.Errorf("told, yet unreported at %d (%v)", l.version(), err)
		}

		it, err := l.s.UpdateDrift(ctx, 1, l.now, func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error) {
			return it.Acknowledge(ann, "looking", now)
		})
		if err != nil || it.State(l.now) != plumbline.DriftAcknowledged || l.drifted() != 1 || l.version() != v+1 {
			t.Errorf("%v, %s, %d drifted, news %d", err, it.State(l.now), l.drifted(), l.version())
		}
		refusal := &plumbline.Refusal{}
		if _, err := l.s.UpdateDrift(ctx, 99, l.now, nil); !errors.As(err, &refusal) || !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("an item that is not there: %v", err)
		}

		rule := plumbline.IgnoreRule{Address: "aws_route.*", Owner: "sre", Reason: "the failover", Until: l.now.Add(90 * time.Minute)}
		id := must[int64](t)(l.s.IgnoreDrift(ctx, l.env, rule, ann, l.now))
		it = must[plumbline.DriftItem](t)(l.s.DriftItem(ctx, 1))
		if it.State(l.now) != plumbline.DriftIgnored || it.Ignored.Rule != id || l.drifted() != 0 {
			t.Errorf("%+v, %d drifted", it, l.drifted())
		}
		if r := l.check(route); r.State != plumbline.StateClean || r.DriftOpen != 0 || r.DriftNews {
			t.Errorf("a check that finds what is ignored: %s, %d open, news %t", r.State, r.DriftOpen, r.DriftNews)
		}
		if n := must[int](t)(l.s.Reconsider(ctx, l.env, l.now)); n != 0 {
			t.Errorf("%d items changed before the rule ran out", n)
		}
		l.now = rule.Until
		if n := must[int](t)(l.s.Reconsider(ctx, l.env, l.now)); n != 1 || l.drifted() != 1 {
			t.Errorf("%d items came back, %d drifted", n, l.drifted())
		}
		if n := must[int](t)(l.s.Reconsider(ctx, l.env, l.now)); n != 0 {
			t.Errorf("%d items changed again", n)
		}
		l.env.Drift.Ignore = []plumbline.IgnoreRule{{Address: "aws_route.nat", Owner: "ops", Reason: "configured"}}
		if must[int](t)(l.s.Reconsider(ctx, l.env, l.now)); l.drifted() != 0 {
			t.Error("a rule of the configuration came into force without effect")
		}
		l.env.Drift.Ignore = nil
		must[int](t)(l.s.Reconsider(ctx, l.env, l.now))
		if err := l.s.LiftIgnore(ctx, l.env, id, ann, l.now); err != nil {
			t.Error(err)
		}
		if err := l.s.LiftIgnore(ctx, l.env, id, ann, l.now); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("lifted twice: %v", err)
		}
		l.check()
		want := []string{"opened", "acknowledged ann@example.com", "ignored", "expired", "ignored", "expired", "resolved"}
		if got := l.history(1); !slices.Equal(got, want) {
			t.Errorf("its history is %q, want %q", got, want)
		}
		var told []string
		for _, e := range must[[]plumbline.AuditRow](t)(l.s.AuditEntries(ctx, plumbline.AuditFilter{Action: plumbline.AuditDrift})) {
			told = append(told, e.Who+" ("+string(e.Door)+"): "+e.Detail)
		}
		wantTold := []string{
			"ann@example.com (api): drift item 1, aws_route.nat: acknowledged looking",
			"ann@example.com (api): rule 1 ignores aws_route.* until 2026-01-02: the failover (sre)",
			"ann@example.com (api): rule 1 lifted",
		}
		if len(told) != 3 || told[0] != wantTold[0] || told[2] != wantTold[2] || !strings.HasPrefix(told[1], "ann@example.com (api): rule 1 ignores aws_route.* until ") {
			t.Errorf("the audit log has %q", told)
		}
	})
}

func TestAnApplyResolvesOrHasNoEffect(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		l := &driftLife{t: t, s: open(t, dsn), now: t0}
		d := plumbline.Difference{Address: "aws_iam_policy.p", Type: "aws_iam_policy", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "policy", After: `"x"`}}}
		apply := func() plumbline.RunID {
			t.Helper()
			l.now = l.now.Add(time.Minute)
			q := queued(plumbline.KindDeploy, "net", "c1")
			q.Policy.Apply = plumbline.ApplyAutomatic
			enqueue(t, l.s, q)
			r := must[plumbline.Run](t)(l.s.Claim(ctx, "worker-1", l.now, lease))
			r = must[plumbline.Run](t)(l.s.Update(ctx, r.ID, l.now, finish(r.Claim, plumbline.Outcome{}, changes("d1"))))
			r = must[plumbline.Run](t)(l.s.Claim(ctx, "worker-1", l.now, lease))
			r = must[plumbline.Run](t)(l.s.Update(ctx, r.ID, l.now, finish(r.Claim, plumbline.Outcome{Applied: true}, nil)))
			if r.State != plumbline.StateApplied {
				t.Fatalf("it is %s", r.State)
			}
			return r.ID
		}
		l.check(d)
		by := apply()
		l.check()
		if it := must[plumbline.DriftItem](t)(l.s.DriftItem(ctx, 1)); it.How != fmt.Sprintf("applied by run %s", by) {
			t.Errorf("resolved: %q", it.How)
		}
		l.check(d)
		apply()
		l.check(d)
		apply()
		l.check(d)
		it := must[plumbline.DriftItem](t)(l.s.DriftItem(ctx, 2))
		if it.State(l.now) != plumbline.DriftNoise || it.Returned != 1 || l.drifted() != 0 {
			t.Errorf("%+v, %d drifted", it, l.drifted())
		}
	})
}

// TestClaimFollows: a check that waited while its stack was applied is begun in the light of what is applied now, and one that could not tell leaves items
// alone, which still count.
func TestClaimFollows(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		apply := func() {
			t.Helper()
			planned(t, s, t0)
			r := must[[]plumbline.Run](t)(s.Runs(ctx, plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}, Limit: 1}))[0]
			must[plumbline.Run](t)(s.Update(ctx, r.ID, t0, approve("ops-b")))
			r = must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
			must[plumbline.Run](t)(s.Update(ctx, r.ID, t0, finish(r.Claim, plumbline.Outcome{Applied: true}, nil)))
		}
		apply()
		check := queued(plumbline.KindDrift, "net", "c1")
		check.InSync, check.Base, check.Ahead = true, "c1", "c2"
		enqueue(t, s, check)
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c2"))
		apply() // deployments go first
		r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		if r.Kind != plumbline.KindDrift || r.Commit != "c2" || r.Base != "c2" || !r.InSync || r.Ahead != "" {
			t.Fatalf("%s at %s from %s, in sync %t, ahead %q", r.Kind, r.Commit, r.Base, r.InSync, r.Ahead)
		}
		stray := []plumbline.Difference{{Address: "aws_route.stray", Kind: plumbline.DriftAppeared, Origin: plumbline.FromState}}
		r = must[plumbline.Run](t)(s.FinishDrift(ctx, r.ID, t0, finish(r.Claim, plumbline.Outcome{Differences: stray}, &plumbline.PlanInfo{Changes: true}), plumbline.DriftLook{Found: stray}))
		if r.State != plumbline.StateDrifted || r.DriftOpen != 1 {
			t.Fatalf("%s, %d open", r.State, r.DriftOpen)
		}

		enqueue(t, s, queued(plumbline.KindDrift, "net", "c2")) // not known to be in sync
		r = must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		r = must[plumbline.Run](t)(s.FinishDrift(ctx, r.ID, t0, finish(r.Claim, plumbline.Outcome{Unapplied: true}, &plumbline.PlanInfo{Changes: true}), plumbline.DriftLook{}))
		if r.State != plumbline.StateDrifted || r.DriftOpen != 1 || r.DriftNews {
			t.Errorf("%s, %d open, news %t", r.State, r.DriftOpen, r.DriftNews)
		}
	})
}

// Nothing looks at a stack that is not in Git any more: what was known to differ there must not stay open for good, nor come from a check that ends late.
func TestDriftOfARemovedStackIsOver(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		l := &driftLife{t: t, s: open(t, dsn), env: plumbline.Environment{Repository: "infra", Name: "production"}, now: t0}
		route := plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftDeleted}
		l.check(route)
		before := l.version()
		enqueue(t, l.s, queued(plumbline.KindDrift, "net", "c1"))
		late := must[plumbline.Run](t)(l.s.Claim(ctx, "worker-1", l.now, lease))
		st := must[[]plumbline.StackStatus](t)(l.s.Stacks(ctx, "infra", "production"))[0]
		st.Removed = true
		l.now = l.now.Add(time.Hour)
		if _, err := l.s.Observe(ctx, plumbline.Observation{Repository: "infra", At: l.now, Stacks: []plumbline.StackStatus{st}}); err != nil {
			t.Fatal(err)
		}
		if it := must[plumbline.DriftItem](t)(l.s.DriftItem(ctx, 1)); it.State(l.now) != plumbline.DriftResolved || it.How != "its stack is not in Git any more" {
			t.Errorf("%s, %q", it.State(l.now), it.How)
		}
		if l.drifted() != 0 || l.version() == before {
			t.Errorf("the stack has %d, version %d as before", l.drifted(), l.version())
		}
		look := plumbline.DriftLook{Found: []plumbline.Difference{route}}
		must[plumbline.Run](t)(l.s.FinishDrift(ctx, late.ID, l.now, finish(late.Claim, plumbline.Outcome{Differences: look.Found}, &plumbline.PlanInfo{Changes: true}), look))
		if open := must[[]plumbline.DriftItem](t)(l.s.DriftItems(ctx, plumbline.DriftFilter{})); len(open) != 0 || l.drifted() != 0 {
			t.Errorf("open again: %+v, the stack has %d", open, l.drifted())
		}
	})
}
