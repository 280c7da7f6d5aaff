package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestDrift(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		route := plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"b"`}}}
		service := plumbline.Difference{Address: "aws_ecs_service.web", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "desired", Before: "4", After: "6"}}}
		now := t0
		check := func(found ...plumbline.Difference) plumbline.Run {
			t.Helper()
			now = now.Add(time.Hour)
			enqueue(t, s, queued(plumbline.KindDrift, "net", "c1"))
			r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", now, lease))
			return must[plumbline.Run](t)(s.FinishDrift(ctx, r.ID, now, finish(r.Claim, plumbline.Outcome{Differences: found}, &plumbline.PlanInfo{}), plumbline.DriftLook{Found: found}))
		}
		want := func(step string, r plumbline.Run, news bool, open int) {
			t.Helper()
			if stored := must[plumbline.Run](t)(s.Run(ctx, r.ID)); stored.DriftNews != news || r.DriftNews != news {
				t.Errorf("%s: news is %t and %t in the store, want %t", step, r.DriftNews, stored.DriftNews, news)
			}
			if n := len(must[[]plumbline.DriftItem](t)(s.DriftItems(ctx, plumbline.DriftFilter{Repository: "infra", Environment: "production", Stack: "net"}))); n != open {
				t.Errorf("%s: %d items are open, want %d", step, n, open)
			}
			if st := must[[]plumbline.StackStatus](t)(s.Stacks(ctx, "infra", "production"))[0]; st.Drifted != open || st.LastRun != r.ID {
				t.Errorf("%s: the stack is %+v, want %d drifted", step, st, open)
			}
		}
		want("first", check(route, service, route), true, 2)
		want("the same again", check(service, route), false, 2)

		enqueue(t, s, queued(plumbline.KindDrift, "net", "c1"))
		r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", now, lease))
		r = must[plumbline.Run](t)(s.FinishDrift(ctx, r.ID, now, finish(r.Claim, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "no"}}, nil), plumbline.DriftLook{}))
		want("a check that failed", r, false, 2)

		want("one is gone", check(route), true, 1)
		resolvedAt := now
		want("all gone", check(), true, 0)
		want("still clean", check(), false, 0)
		want("back again", check(route), true, 1)

		all := must[[]plumbline.DriftItem](t)(s.DriftItems(ctx, plumbline.DriftFilter{Resolved: true}))
		var got []string
		for _, it := range all {
			got = append(got, fmt.Sprintf("%d %s seen %d open=%t", it.ID, it.Difference.Address, it.Seen, it.Open()))
		}
		if want := []string{"3 aws_route.nat seen 1 open=true", "2 aws_ecs_service.web seen 2 open=false", "1 aws_route.nat seen 3 open=false"}; !slices.Equal(got, want) {
			t.Errorf("the items are %q, want %q", got, want)
		}
		if !all[1].Resolved.Equal(resolvedAt) {
			t.Errorf("resolved at %v, want %v", all[1].Resolved, resolvedAt)
		}
		since := must[[]plumbline.DriftItem](t)(s.DriftItems(ctx, plumbline.DriftFilter{Resolved: true, ResolvedSince: resolvedAt.Add(time.Minute)}))
		if len(since) != 2 || since[0].ID != 3 || since[1].ID != 1 {
			t.Errorf("open or resolved since are %v", since)
		}
		if one := must[[]plumbline.DriftItem](t)(s.DriftItems(ctx, plumbline.DriftFilter{Resolved: true, Limit: 1})); len(one) != 1 {
			t.Errorf("limited to one: %v", one)
		}
	})
}

func TestRunsFilter(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		other := queued(plumbline.KindDeploy, "net", "c1")
		other.Stack.Repository, other.Stack.Environment, other.Deployment = "apps", "staging", -1
		broken := queued(plumbline.KindDeploy, "app", "c1")
		broken.State = plumbline.StateFailed
		must[[]plumbline.RunID](t)(s.Observe(t.Context(), plumbline.Observation{
			Repository: "infra", At: t0, Deployments: []plumbline.Deployment{{Repository: "apps", Environment: "staging", Commit: "c1"}},
			Runs: []plumbline.Run{queued(plumbline.KindDeploy, "net", "c1"), queued(plumbline.KindProposal, "net", "c2"), queued(plumbline.KindDrift, "app", "c1"), other, broken},
		}))
		for _, tc := range []struct {
			f    plumbline.RunFilter
			want string
		}{
			{plumbline.RunFilter{}, "[5 4 3 2 1]"},
			{plumbline.RunFilter{Repository: "infra"}, "[5 3 2 1]"},
			{plumbline.RunFilter{Environment: "staging"}, "[4]"},
			{plumbline.RunFilter{Repository: "infra", Stack: "net"}, "[2 1]"},
			{plumbline.RunFilter{MR: "42"}, "[2]"},
			{plumbline.RunFilter{Deployment: 1}, "[4]"},
			{plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDrift}}, "[5 4 3 1]"},
			{plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}, States: []plumbline.State{plumbline.StateFailed, plumbline.StateClean}}, "[5]"},
			{plumbline.RunFilter{Limit: 2}, "[5 4]"},
			{plumbline.RunFilter{Limit: 2, Before: 4}, "[3 2]"},
			{plumbline.RunFilter{Stack: "net' OR 1=1 --"}, "[]"},
		} {
			ids := []plumbline.RunID{}
			for _, r := range must[[]plumbline.Run](t)(s.Runs(t.Context(), tc.f)) {
				ids = append(ids, r.ID)
			}
			if got := fmt.Sprint(ids); got != tc.want {
				t.Errorf("%+v lists %s, want %s", tc.f, got, tc.want)
			}
		}
		if rs := must[[]plumbline.Run](t)(s.RunsOfMR(t.Context(), "infra", "42")); len(rs) != 1 || rs[0].ID != 2 {
			t.Errorf("the merge request has %v", rs)
		}
		_, err := s.Run(t.Context(), 99)
		wantErr(t, err, plumbline.ErrNotFound)
		_, err = s.Deployment(t.Context(), 99)
		wantErr(t, err, plumbline.ErrNotFound)
	})
}

func TestToldAndLogs(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		for _, hash := range []string{"", "h1", "h2"} {
			if got := must[string](t)(s.Told(ctx, "infra", "note 42")); got != hash {
				t.Errorf("told %q, want %q", got, hash)
			}
			if err := s.Tell(ctx, "infra", "note 42", map[string]string{"": "h1", "h1": "h2", "h2": "h3"}[hash]); err != nil {
				t.Fatal(err)
			}
		}
		if got := must[string](t)(s.Told(ctx, "apps", "note 42")); got != "" {
			t.Errorf("another repository was told %q", got)
		}

		id := enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))[0]
		for _, c := range []struct {
			phase plumbline.Phase
			seq   int
			name  string
		}{{plumbline.PhasePlan, 1, "p1"}, {plumbline.PhasePlan, 0, "p0"}, {plumbline.PhaseApply, 0, "a0"}, {plumbline.PhasePlan, 1, "p1 again"}} {
			if err := s.AppendLog(ctx, id, 1, c.phase, c.seq, plumbline.Blob{Name: c.name, Size: 7}); err != nil {
				t.Fatal(err)
			}
		}
		got := must[[]plumbline.Blob](t)(s.LogChunks(ctx, id, 1, plumbline.PhasePlan))
		if want := []plumbline.Blob{{Name: "p0", Size: 7}, {Name: "p1 again", Size: 7}}; !slices.Equal(got, want) {
			t.Errorf("the log is %v, want %v", got, want)
		}
		if err := s.AppendLog(ctx, 99, 1, plumbline.PhasePlan, 0, plumbline.Blob{}); err == nil {
			t.Error("a run that does not exist has a log")
		}
	})
}

func TestLease(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		take := func(holder string, now time.Time, want bool) {
			t.Helper()
			if got := must[bool](t)(s.Lease(ctx, "poll infra", holder, now, time.Minute)); got != want {
				t.Errorf("%s has the lease: %t, want %t", holder, got, want)
			}
		}
		take("a", t0, true)
		take("b", t0.Add(59*time.Second), false)
		take("a", t0.Add(59*time.Second), true)
		take("b", t0.Add(time.Minute), false)
		take("b", t0.Add(2*time.Minute), true)
		if err := s.ReleaseLease(ctx, "poll infra", "a"); err != nil { // not a's any more
			t.Fatal(err)
		}
		take("a", t0.Add(2*time.Minute), false)
		if err := s.ReleaseLease(ctx, "poll infra", "b"); err != nil {
			t.Fatal(err)
		}
		take("a", t0.Add(2*time.Minute), true)
	})
}

func TestUnreported(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		ids := enqueue(t, s, queued(plumbline.KindDeploy, "a", "c1"), queued(plumbline.KindDeploy, "b", "c1"), queued(plumbline.KindDeploy, "c", "c1"))
		first := must[[]plumbline.Run](t)(s.Unreported(ctx, "infra", 2))
		if len(first) != 2 || first[0].ID != ids[0] || first[1].ID != ids[1] {
			t.Fatalf("unreported are %v", first)
		}
		r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease)) // a moves on while it is being told
		if err := s.MarkReported(ctx, []plumbline.RunVersion{{ID: ids[0], Version: 1}, {ID: ids[1], Version: 1}}); err != nil {
			t.Fatal(err)
		}
		must[plumbline.Wish](t)(s.Renew(ctx, r.ID, r.Claim, t0, lease)) // a heartbeat is not news
		var got []string
		for _, r := range must[[]plumbline.Run](t)(s.Unreported(ctx, "infra", 0)) {
			got = append(got, fmt.Sprint(r.Stack.Name, " ", r.Version, ">", r.Reported))
		}
		if want := []string{"a 2>1", "c 1>0"}; !slices.Equal(got, want) {
			t.Errorf("unreported are %q, want %q", got, want)
		}
		// A late note of an older version does not undo a newer one.
		for _, v := range []int64{2, 1} {
			if err := s.MarkReported(ctx, []plumbline.RunVersion{{ID: ids[0], Version: v}}); err != nil {
				t.Fatal(err)
			}
		}
		if r := must[plumbline.Run](t)(s.Run(ctx, ids[0])); r.Reported != 2 {
			t.Errorf("run %v is reported at %d", r.ID, r.Reported)
		}
		if other := must[[]plumbline.Run](t)(s.Unreported(ctx, "other", 0)); len(other) != 0 {
			t.Errorf("another repository has %v", other)
		}
	})
}

func TestAttention(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		want := func(step, want string) {
			t.Helper()
			report, request, err := s.Attention(ctx)
			if got := fmt.Sprint(report, request, err); got != want {
				t.Errorf("%s: %s, want %s", step, got, want)
			}
		}
		want("at first", "[] [] <nil>")
		enqueue(t, s, queued(plumbline.KindDeploy, "a", "c1"), queued(plumbline.KindDeploy, "b", "c1"))
		must[[]plumbline.RunID](t)(s.Observe(ctx, plumbline.Observation{Repository: "infra", At: t0, MergeRequest: &plumbline.MergeRequest{Repository: "infra", ID: "1", State: plumbline.MROpen}}))
		must[int64](t)(s.Request(ctx, plumbline.Request{Repository: "apps", Kind: plumbline.RequestPoll}))
		want("something for each", "[infra] [apps] <nil>")
		if err := s.MarkReported(ctx, []plumbline.RunVersion{{ID: 1, Version: 1}, {ID: 2, Version: 1}}); err != nil {
			t.Fatal(err)
		}
		want("runs reported", "[infra] [apps] <nil>")
		if err := s.MarkMRReported(ctx, "infra", "1", 1); err != nil {
			t.Fatal(err)
		}
		want("all reported", "[] [apps] <nil>")
	})
}

// The history tells who did what on the longest way that a run can take.
func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		r := queued(plumbline.KindDeploy, "net", "c1")
		r.Policy.Approval.Count = 2
		id := enqueue(t, s, r)[0]
		now := t0
		do := func(rule plumbline.Rule) {
			t.Helper()
			now = now.Add(time.Second)
			must[plumbline.Run](t)(s.Update(ctx, id, now, rule))
		}
		claim := func(worker string) plumbline.Claim {
			t.Helper()
			now = now.Add(time.Second)
			return must[plumbline.Run](t)(s.Claim(ctx, worker, now, lease)).Claim
		}
		expire := func() {
			t.Helper()
			now = now.Add(lease)
			must[[]plumbline.Run](t)(s.Expire(ctx, now, nil))
		}
		giveBack := func(c plumbline.Claim) plumbline.Rule {
			return func(r *plumbline.Run, now time.Time) error { return r.GiveBack(c, now) }
		}
		cancel := func(r *plumbline.Run, now time.Time) error { return r.Cancel("ops-b\x00", now) }
		retry := func(r *plumbline.Run, now time.Time) error { return r.Retry("ops-c", now) }

		do(giveBack(claim("worker-1")))
		claim("worker-1")
		expire()
		c := claim("worker-2")
		do(cancel)
		do(finish(c, plumbline.Outcome{Interrupted: true}, nil))
		do(retry)
		do(finish(claim("worker-2"), plumbline.Outcome{}, changes(digest)))
		do(approve("ops-b"))
		do(approve("ops-c"))
		do(finish(claim("worker-1"), plumbline.Outcome{Stale: true}, nil))
		do(finish(claim("worker-2"), plumbline.Outcome{}, changes(digest)))
		c = claim("worker-2")
		expire()
		do(func(r *plumbline.Run, now time.Time) error { return r.Adopt(c, now, lease) })
		do(finish(c, plumbline.Outcome{Applied: true}, nil))

		var lines []string
		last := t0.Add(-1)
		for _, e := range must[[]plumbline.Event](t)(s.Events(ctx, id)) {
			text := e.Text
			if len(text) > 44 {
				text = text[:44]
			}
			lines = append(lines, fmt.Sprintf("%s>%s|%s|%s", e.From, e.To, e.Who, text))
			if e.Run != id || !e.At.After(last) {
				t.Errorf("%+v does not come after %v", e, last)
			}
			last = e.At
		}
		want := []string{
			">queued|poll|net/main.tf",
			"queued>planning|worker-1|attempt 1",
			"planning>queued|worker-1|given back",
			"queued>planning|worker-1|attempt 1",
			"planning>queued||the lease of worker-1 ran out",
			"queued>planning|worker-2|attempt 2",
			"planning>planning|ops-b\uFFFD|asked to stop",
			"planning>canceled|ops-b\uFFFD|canceled by ops-b\uFFFD",
			"canceled>queued|ops-c|retried by ops-c",
			"queued>planning|worker-2|attempt 3",
			"planning>awaiting|worker-2|+2 ~1",
			"awaiting>awaiting|ops-b|approved b41f9c0d5e6f; more approvals are ne",
			"awaiting>approved|ops-c|approved b41f9c0d5e6f",
			"approved>applying|worker-1|attempt 3",
			"applying>queued|worker-1|the state had moved since the plan was made",
			"queued>planning|worker-2|attempt 4",
			"planning>approved|worker-2|the plan is the one that was approved",
			"approved>applying|worker-2|attempt 4",
			"applying>interrupted|worker-2|The machine that applied net (worker-2) went",
			"interrupted>applying|worker-2|taken up again: its Terraform had not gone a",
			"applying>applied|worker-2|",
		}
		if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("the history is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}
