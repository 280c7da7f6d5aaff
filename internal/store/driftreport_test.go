package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestDriftDaysAndHistories(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		l := &driftLife{t: t, s: open(t, dsn), env: plumbline.Environment{Repository: "infra", Name: "production"}, now: t0}
		route := plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway", After: `"b"`}}}
		other := plumbline.Difference{Address: "aws_eip.a", Type: "aws_eip", Kind: plumbline.DriftDeleted}
		l.check(route)
		l.check(route, other)
		l.now = l.now.Add(24 * time.Hour)
		l.check(other)
		failed := enqueueAndClaim(l)
		must[plumbline.Run](t)(l.s.Update(ctx, failed.ID, l.now, finish(failed.Claim, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "no"}}, nil)))

		var got []string
		for _, d := range must[[]plumbline.DriftDay](t)(l.s.DriftDays(ctx, "infra", "production", "", t0)) {
			got = append(got, fmt.Sprintf("%s %s %d %d", d.Stack.Name, d.Day.Format(time.DateOnly), d.Checks, d.Failed))
		}
		first := t0.UTC().Format(time.DateOnly)
		second := l.now.UTC().Format(time.DateOnly)
		if want := []string{"net " + first + " 2 0", "net " + second + " 2 1"}; !slices.Equal(got, want) {
			t.Errorf("days %q, want %q", got, want)
		}
		if n := len(must[[]plumbline.DriftDay](t)(l.s.DriftDays(ctx, "infra", "", "net", l.now.Add(-time.Hour)))); n != 1 {
			t.Errorf("%d days since an hour ago", n)
		}
		if n := len(must[[]plumbline.DriftDay](t)(l.s.DriftDays(ctx, "", "staging", "", t0))); n != 0 {
			t.Errorf("%d days of another environment", n)
		}

		var told []string
		for _, e := range must[[]plumbline.DriftEvent](t)(l.s.DriftHistories(ctx, 2, 1, 99)) {
			told = append(told, fmt.Sprint(e.Item, " ", e.What))
		}
		if want := []string{"1 opened", "1 resolved", "2 opened"}; !slices.Equal(told, want) {
			t.Errorf("histories %q, want %q", told, want)
		}
		if n := len(must[[]plumbline.DriftEvent](t)(l.s.DriftHistories(ctx))); n != 0 {
			t.Errorf("%d events of no item", n)
		}
	})
}

func enqueueAndClaim(l *driftLife) plumbline.Run {
	l.t.Helper()
	enqueue(l.t, l.s, queued(plumbline.KindDrift, "net", "c1"))
	return must[plumbline.Run](l.t)(l.s.Claim(l.t.Context(), "worker-1", l.now, lease))
}
