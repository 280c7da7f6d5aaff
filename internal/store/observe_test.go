package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// moved is a branch that moved and asks for one run.
func moved(was, now string) plumbline.Observation {
	return plumbline.Observation{
		Repository: "infra", Subject: plumbline.SubjectBranch("env/production"), Was: was, Now: now, At: t0,
		Branch: "env/production", Head: now,
		Findings:    []plumbline.Finding{{File: "live/broken/main.tf", Line: 7, Message: "unclosed block in " + now}},
		Deployments: []plumbline.Deployment{{Repository: "infra", Environment: "production", Commit: now, Previous: was, Created: t0}},
		Runs: []plumbline.Run{func() plumbline.Run {
			r := queued(plumbline.KindDeploy, "net", now)
			r.Deployment = -1
			return r
		}()},
		Supersede: []string{plumbline.SubjectDeploy("production")},
	}
}

func TestSameObservationQueuesOnce(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		stores := []*Store{open(t, dsn), open(t, dsn)}
		for _, o := range []plumbline.Observation{moved("", "c1"), moved("c1", "c2")} {
			var (
				wg   sync.WaitGroup
				left atomic.Int64
				won  atomic.Int64
			)
			left.Store(100)
			for i := range 12 {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						switch ids, err := stores[i%2].Observe(t.Context(), o); {
						case err == nil && len(ids) == 1:
							won.Add(1)
						case err == nil:
							t.Errorf("queued %v", ids)
						case !errors.Is(err, plumbline.ErrConflict):
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%s was queued %d times, want once", o.Now, won.Load())
			}
		}
		s := stores[0]
		if runs := must[[]plumbline.Run](t)(s.Runs(t.Context(), plumbline.RunFilter{})); len(runs) != 2 {
			t.Errorf("%d runs, want 2", len(runs))
		}
		if ds := must[[]plumbline.Deployment](t)(s.Deployments(t.Context(), "infra", "production", 0)); len(ds) != 2 {
			t.Errorf("%d deployments, want 2", len(ds))
		}
	})
}

func TestReturnToAnOldCommitQueuesAgain(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		was := ""
		var ids []plumbline.RunID
		for _, head := range []string{"c1", "c2", "c1"} {
			ids = append(ids, must[[]plumbline.RunID](t)(s.Observe(t.Context(), moved(was, head)))...)
			was = head
		}
		if len(ids) != 3 {
			t.Fatalf("queued %v, want three runs", ids)
		}
		for i, want := range []plumbline.State{plumbline.StateSuperseded, plumbline.StateSuperseded, plumbline.StateQueued} {
			if got := stateOf(t, s, ids[i]); got != want {
				t.Errorf("run %v is %s, want %s", ids[i], got, want)
			}
		}
		// What was seen before the last move is not news.
		_, err := s.Observe(t.Context(), moved("c2", "c1"))
		wantErr(t, err, plumbline.ErrConflict)
	})
}

func TestObserveWritesAll(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		mr := plumbline.MergeRequest{Repository: "infra", ID: "42", Title: "Grow", State: plumbline.MRMerged, Head: "c9", UpdatedAt: t0, Deployment: -2}
		o := moved("", "c1")
		o.MergeRequest = &mr
		o.Deployments = append(o.Deployments, plumbline.Deployment{Repository: "infra", Environment: "staging", Commit: "c1"})
		staging := queued(plumbline.KindDeploy, "net", "c1")
		staging.Stack.Environment, staging.Deployment = "staging", -2
		broken := queued(plumbline.KindDeploy, "app", "c1")
		broken.State, broken.Failure = plumbline.StateFailed, &plumbline.Failure{Kind: plumbline.FailConfig, Text: "app cannot be read"}
		o.Runs = append(o.Runs, staging, broken)
		o.Stacks = []plumbline.StackStatus{
			{Stack: ref("net"), Spec: plumbline.StackSpec{Name: "net", Rule: "backend"}, Commit: "c0"},
			{Stack: ref("old"), Spec: plumbline.StackSpec{Name: "old"}, Removed: true},
		}
		ids := must[[]plumbline.RunID](t)(s.Observe(ctx, o))

		if mark := must[string](t)(s.Seen(ctx, "infra", o.Subject)); mark != "c1" {
			t.Errorf("the mark is %q", mark)
		}
		if head := must[string](t)(s.Head(ctx, "infra", "env/production")); head != "c1" {
			t.Errorf("the head is %q", head)
		}
		if f := must[[]plumbline.Finding](t)(s.Findings(ctx, "infra", "env/production")); len(f) != 1 || f[0].Message != "unclosed block in c1" {
			t.Errorf("the findings are %v", f)
		}
		for i, env := range []string{"production", "staging", "production"} {
			r := must[plumbline.Run](t)(s.Run(ctx, ids[i]))
			if r.Stack.Environment != env || r.Version != 1 || r.Reported != 0 {
				t.Errorf("run %v is of %s at version %d, reported %d", ids[i], r.Stack, r.Version, r.Reported)
			}
			if i == 2 {
				continue
			}
			d := must[plumbline.Deployment](t)(s.Deployment(ctx, r.Deployment))
			if d.Environment != env || d.ID != r.Deployment {
				t.Errorf("run %v is of deployment %+v", ids[i], d)
			}
			if rs := must[[]plumbline.Run](t)(s.RunsOfDeployment(ctx, d.ID)); len(rs) != 1 || rs[0].ID != r.ID {
				t.Errorf("deployment %d has runs %v", d.ID, rs)
			}
		}
		got := must[plumbline.MergeRequest](t)(s.MergeRequest(ctx, "infra", "42"))
		if d := must[plumbline.Deployment](t)(s.Deployment(ctx, got.Deployment)); d.Environment != "staging" || got.Title != "Grow" {
			t.Errorf("the merge request is %+v of %+v", got, d)
		}
		stacks := map[string]plumbline.StackStatus{}
		for _, st := range must[[]plumbline.StackStatus](t)(s.Stacks(ctx, "infra", "production")) {
			stacks[st.Stack.Name] = st
		}
		if st := stacks["net"]; st.Commit != "c0" || st.LastRun != ids[0] || st.LastState != plumbline.StateQueued {
			t.Errorf("net is %+v", st)
		}
		if st := stacks["app"]; st.LastState != plumbline.StateFailed {
			t.Errorf("app is %+v", st)
		}
		if !stacks["old"].Removed || len(stacks) != 3 {
			t.Errorf("the stacks are %+v", stacks)
		}
		if ev := must[[]plumbline.Event](t)(s.Events(ctx, ids[2])); len(ev) != 1 || ev[0].To != plumbline.StateFailed || ev[0].Text != "app cannot be read" {
			t.Errorf("the history of the broken run is %v", ev)
		}

		// Known stacks keep what runs have found out.
		o = plumbline.Observation{Repository: "infra", At: t0, Stacks: []plumbline.StackStatus{{Stack: ref("net"), Spec: plumbline.StackSpec{Name: "net", Rule: "provider"}, Commit: "c5", Removed: true}}}
		must[[]plumbline.RunID](t)(s.Observe(ctx, o))
		for _, st := range must[[]plumbline.StackStatus](t)(s.Stacks(ctx, "infra", "production")) {
			if st.Stack.Name == "net" && (st.Commit != "c0" || st.Spec.Rule != "provider" || !st.Removed || st.LastRun != ids[0]) {
				t.Errorf("net is %+v", st)
			}
		}
	})
}

func TestObserveRefusesWhatMakesNoSense(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		for name, spoil := range map[string]func(*plumbline.Observation){
			"stack in Latin-1":   func(o *plumbline.Observation) { o.Runs[0].Stack.Name = "caf\xe9" },
			"stack with a NUL":   func(o *plumbline.Observation) { o.Stacks = []plumbline.StackStatus{{Stack: ref("a\x00b")}} },
			"branch in Latin-1":  func(o *plumbline.Observation) { o.Branch = "caf\xe9" },
			"run at work":        func(o *plumbline.Observation) { o.Runs[0].State = plumbline.StatePlanning },
			"missing deployment": func(o *plumbline.Observation) { o.Runs[0].Deployment = -2 },
			"merge request of a missing deployment": func(o *plumbline.Observation) {
				o.MergeRequest = &plumbline.MergeRequest{Repository: "infra", ID: "1", State: plumbline.MROpen, Deployment: -7}
			},
		} {
			o := moved("", "c1")
			spoil(&o)
			if _, err := s.Observe(t.Context(), o); !errors.Is(err, plumbline.ErrInvalid) {
				t.Errorf("%s: error is %v, want %v", name, err, plumbline.ErrInvalid)
			}
		}
		// The database itself refuses what is none of the states.
		o := moved("", "c1")
		o.MergeRequest = &plumbline.MergeRequest{Repository: "infra", ID: "1", State: "odd"}
		if ids, err := s.Observe(t.Context(), o); err == nil {
			t.Errorf("queued %v with a merge request in an odd state", ids)
		}
		if mark := must[string](t)(s.Seen(t.Context(), "infra", o.Subject)); mark != "" {
			t.Errorf("a refused observation left the mark %q", mark)
		}
	})
}

func TestSupersede(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		ids := enqueue(t, s, queued(plumbline.KindDeploy, "applying", "c1"), queued(plumbline.KindDeploy, "awaiting", "c1"),
			queued(plumbline.KindDeploy, "planning", "c1"), queued(plumbline.KindDeploy, "queued", "c1"), queued(plumbline.KindProposal, "other", "c9"))
		planned(t, s, t0)
		planned(t, s, t0)
		must[plumbline.Run](t)(s.Update(ctx, ids[0], t0, approve("ops-b")))
		applying := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		planning := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		if applying.ID != ids[0] || planning.ID != ids[2] {
			t.Fatalf("claimed %v and %v", applying.ID, planning.ID)
		}

		next := queued(plumbline.KindDeploy, "queued", "c2")
		newer := must[[]plumbline.RunID](t)(s.Observe(ctx, plumbline.Observation{Repository: "infra", At: t0, Runs: []plumbline.Run{next}, Supersede: []string{next.Subject}}))
		for id, want := range map[plumbline.RunID]plumbline.State{
			ids[0]: plumbline.StateApplying, ids[1]: plumbline.StateSuperseded, ids[2]: plumbline.StatePlanning,
			ids[3]: plumbline.StateSuperseded, ids[4]: plumbline.StateQueued, newer[0]: plumbline.StateQueued,
		} {
			if got := stateOf(t, s, id); got != want {
				t.Errorf("run %v is %s, want %s", id, got, want)
			}
		}
		if wish := must[plumbline.Wish](t)(s.Renew(ctx, planning.ID, planning.Claim, t0, lease)); wish != plumbline.WishSupersede {
			t.Errorf("the worker of the plan hears %q", wish)
		}
		if wish := must[plumbline.Wish](t)(s.Renew(ctx, applying.ID, applying.Claim, t0, lease)); wish != plumbline.WishNone {
			t.Errorf("the worker of the apply hears %q", wish)
		}
		must[plumbline.Run](t)(s.Update(ctx, planning.ID, t0, finish(planning.Claim, plumbline.Outcome{Interrupted: true}, nil)))
		if got := stateOf(t, s, planning.ID); got != plumbline.StateSuperseded {
			t.Errorf("the plan that was stopped is %s", got)
		}
	})
}

// A run that ends after a newer one of its stack was queued is not the stack's last run.
func TestStackFollowsItsLastRun(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		planned(t, s, t0)
		must[plumbline.Run](t)(s.Update(ctx, 1, t0, approve("ops-b")))
		old := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		newer := enqueue(t, s, queued(plumbline.KindDeploy, "net", "c2"))[0]
		must[plumbline.Run](t)(s.Update(ctx, old.ID, t0, finish(old.Claim, plumbline.Outcome{Applied: true}, nil)))

		st := must[[]plumbline.StackStatus](t)(s.Stacks(ctx, "infra", "production"))[0]
		if st.Commit != "c1" || !st.Checked || st.LastRun != newer || st.LastState != plumbline.StateQueued {
			t.Errorf("the stack is %+v, want it at c1 with run %v queued", st, newer)
		}

		// A stack that only a merge request has is not the environment's.
		enqueue(t, s, queued(plumbline.KindProposal, "new", "c9"))
		if all := must[[]plumbline.StackStatus](t)(s.Stacks(ctx, "infra", "production")); len(all) != 1 {
			t.Errorf("the stacks are %+v", all)
		}
	})
}

func TestRequests(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		var ids []int64
		for _, env := range []string{"production", "staging", "test"} {
			ids = append(ids, must[int64](t)(s.Request(ctx, plumbline.Request{Repository: "infra", Environment: env, Kind: plumbline.RequestDeploy, By: "ops-b", At: t0})))
		}
		list := must[[]plumbline.Request](t)(s.Requests(ctx, "infra"))
		if len(list) != 3 || list[0].ID != ids[0] || list[2].Environment != "test" || list[1].By != "ops-b" {
			t.Fatalf("the requests are %+v", list)
		}

		// Two watchers fulfil the same request; one of them does.
		o := plumbline.Observation{Repository: "infra", At: t0, Requests: ids[:1], Runs: []plumbline.Run{queued(plumbline.KindDeploy, "net", "c1")}}
		var wg sync.WaitGroup
		var won atomic.Int64
		for range 2 {
			wg.Go(func() {
				switch _, err := s.Observe(ctx, o); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, plumbline.ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(must[[]plumbline.Run](t)(s.Runs(ctx, plumbline.RunFilter{}))); won.Load() != 1 || n != 1 {
			t.Errorf("%d observations and %d runs for one request", won.Load(), n)
		}

		if err := s.DoneRequests(ctx, []int64{ids[2], ids[0]}); err != nil {
			t.Fatal(err)
		}
		if list := must[[]plumbline.Request](t)(s.Requests(ctx, "infra")); len(list) != 1 || list[0].ID != ids[1] {
			t.Errorf("the requests left are %+v", list)
		}
	})
}

func TestMergeRequests(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		see := func(mr plumbline.MergeRequest) {
			t.Helper()
			mr.Repository = "infra"
			must[[]plumbline.RunID](t)(s.Observe(ctx, plumbline.Observation{Repository: "infra", At: t0, MergeRequest: &mr}))
		}
		unreported := func() []plumbline.MRVersion {
			t.Helper()
			return must[[]plumbline.MRVersion](t)(s.UnreportedMRs(ctx, "infra"))
		}
		one := plumbline.MergeRequest{ID: "1", State: plumbline.MROpen, Head: "c1", UpdatedAt: t0}
		see(one)
		see(plumbline.MergeRequest{ID: "2", State: plumbline.MRMerged, Head: "c2", UpdatedAt: t0.Add(time.Hour)})
		if got, want := unreported(), []plumbline.MRVersion{{ID: "1", Version: 1}, {ID: "2", Version: 1}}; !slices.Equal(got, want) {
			t.Fatalf("unreported are %v, want %v", got, want)
		}
		one.Head = "c3"
		see(one) // moves on while version 1 is being told
		if err := s.MarkMRReported(ctx, "infra", "1", 1); err != nil {
			t.Fatal(err)
		}
		if err := s.MarkMRReported(ctx, "infra", "2", 1); err != nil {
			t.Fatal(err)
		}
		if got, want := unreported(), []plumbline.MRVersion{{ID: "1", Version: 2}}; !slices.Equal(got, want) {
			t.Fatalf("unreported are %v, want %v", got, want)
		}
		if err := s.MarkMRReported(ctx, "infra", "1", 2); err != nil {
			t.Fatal(err)
		}
		see(one) // the same again is not news
		if got := unreported(); len(got) != 0 {
			t.Errorf("unreported are %v, want none", got)
		}

		ids := func(state plumbline.MRState) (out []string) {
			for _, mr := range must[[]plumbline.MergeRequest](t)(s.MergeRequests(ctx, "infra", state)) {
				out = append(out, mr.ID)
			}
			return out
		}
		if got := fmt.Sprint(ids(""), ids(plumbline.MROpen), ids(plumbline.MRClosed)); got != "[2 1] [1] []" {
			t.Errorf("listed %s", got)
		}
		_, err := s.MergeRequest(ctx, "infra", "99")
		wantErr(t, err, plumbline.ErrNotFound)
	})
}

// Commits keep coming while workers work: whatever the order in which transactions meet, nothing fails, and the last commit is done
// everywhere.
func TestCommitsComeWhileWorkersWork(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const heads, stacks, workers = 25, 8, 4
		watcher, worker := open(t, dsn), open(t, dsn)
		ctx := t.Context()
		observed := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(observed)
			for h := range heads {
				was, now := "", fmt.Sprintf("c%02d", h)
				if h > 0 {
					was = fmt.Sprintf("c%02d", h-1)
				}
				o := moved(was, now)
				o.Runs = nil
				for i := range stacks {
					r := queued(plumbline.KindDeploy, fmt.Sprintf("stack-%d", (i+h)%stacks), now)
					r.Deployment, r.Policy.Apply = -1, plumbline.ApplyAutomatic
					o.Runs = append(o.Runs, r)
					o.Stacks = append(o.Stacks, plumbline.StackStatus{Stack: r.Stack, Spec: r.Spec})
				}
				if _, err := watcher.Observe(ctx, o); err != nil {
					t.Error(err)
					return
				}
				if _, err := watcher.Expire(ctx, t0, nil); err != nil {
					t.Error(err)
				}
			}
		})
		for i := range workers {
			wg.Go(func() {
				for last := false; ; {
					r, err := worker.Claim(ctx, fmt.Sprintf("worker-%d", i), t0, lease)
					switch {
					case errors.Is(err, plumbline.ErrNotFound) && last:
						return
					case errors.Is(err, plumbline.ErrNotFound):
						<-observed
						last = true
						continue
					case err != nil:
						t.Error(err)
						return
					}
					outcome := plumbline.Outcome{Applied: r.State == plumbline.StateApplying}
					if _, err := worker.Update(ctx, r.ID, t0, finish(r.Claim, outcome, changes(digest))); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()

		last := fmt.Sprintf("c%02d", heads-1)
		for _, st := range must[[]plumbline.StackStatus](t)(watcher.Stacks(ctx, "infra", "production")) {
			if st.Commit != last || st.LastState != plumbline.StateApplied {
				t.Errorf("%s is %s at %s, want it applied at %s", st.Stack.Name, st.LastState, st.Commit, last)
			}
		}
		for _, r := range must[[]plumbline.Run](t)(watcher.Runs(ctx, plumbline.RunFilter{Limit: heads * stacks})) {
			if !r.State.Ended() {
				t.Errorf("run %v of %s is still %s", r.ID, r.Commit, r.State)
			}
		}
	})
}
