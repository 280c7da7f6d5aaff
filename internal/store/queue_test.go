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
	"github.com/plumbline/plumbline/internal/testenv"
)

// Two daemons with sixteen workers: no stack ever has two active runs, no run is lost, none is done twice.
func TestManyWorkers(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const runs, stacks, workers = 200, 20, 16
		stores := []*Store{open(t, dsn), open(t, dsn)}
		var list []plumbline.Run
		for i := range runs {
			r := queued(plumbline.KindDeploy, fmt.Sprintf("stack-%02d", i%stacks), "c1")
			r.Policy.Apply = plumbline.ApplyAutomatic
			list = append(list, r)
		}
		ids := enqueue(t, stores[0], list...)

		var (
			mu     sync.Mutex
			atWork = map[plumbline.StackRef]plumbline.RunID{}
			did    = map[plumbline.RunID][]plumbline.State{}
			ended  int
			freed  = make(chan struct{}, workers) // a phase has ended
			over   = make(chan struct{})          // all runs have, or the test has failed
		)
		begin := func(r plumbline.Run) {
			mu.Lock()
			defer mu.Unlock()
			if other, busy := atWork[r.Stack]; busy {
				t.Errorf("runs %v and %v of %s are active at once", other, r.ID, r.Stack)
			}
			atWork[r.Stack] = r.ID
			did[r.ID] = append(did[r.ID], r.State)
		}
		// The claim may be gone from the database, and taken by the next worker, before Update returns: so end is called
		// inside the rule, while the row is locked.
		end := func(r plumbline.Run) {
			mu.Lock()
			defer mu.Unlock()
			delete(atWork, r.Stack)
		}
		stop := sync.OnceFunc(func() { close(over) })
		tell := func(r plumbline.Run) {
			mu.Lock()
			defer mu.Unlock()
			if r.State.Ended() {
				ended++
			}
			if ended == runs || t.Failed() {
				stop()
			}
			select {
			case freed <- struct{}{}:
			default:
			}
		}

		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				s, name, ctx := stores[i%2], fmt.Sprintf("worker-%d", i), t.Context()
				for {
					r, err := s.Claim(ctx, name, t0, lease)
					if errors.Is(err, plumbline.ErrNotFound) {
						select {
						case <-over:
							return
						case <-freed:
							continue
						}
					}
					if err != nil {
						t.Error(err)
						stop()
						return
					}
					begin(r)
					<-time.After(time.Duration(i%4) * 100 * time.Microsecond) // the work
					if _, err := s.Renew(ctx, r.ID, r.Claim, t0, lease); err != nil {
						t.Error(err)
					}
					outcome := plumbline.Outcome{Applied: r.State == plumbline.StateApplying}
					r, err = s.Update(ctx, r.ID, t0, func(r *plumbline.Run, now time.Time) error {
						end(*r)
						return r.Finish(r.Claim, outcome, changes(digest), now)
					})
					if err != nil {
						t.Error(err)
					}
					tell(r)
				}
			})
		}
		wg.Wait()

		// Each run tells that it may be applied, that this began, and how it ended.
		whole(t, stores[0], 3*runs)
		want := []plumbline.State{plumbline.StatePlanning, plumbline.StateApplying}
		for _, id := range ids {
			if !slices.Equal(did[id], want) {
				t.Errorf("run %v was %v, want each of %v once", id, did[id], want)
			}
			var path []plumbline.State
			for _, e := range must[[]plumbline.Event](t)(stores[1].Events(t.Context(), id)) {
				path = append(path, e.To)
			}
			if got := fmt.Sprint(path); got != "[queued planning approved applying applied]" {
				t.Errorf("run %v went %s", id, got)
			}
		}
	})
}

// The index holds the invariant alone: whatever goes behind the back of the queries is refused, and without it is not.
func TestDatabaseRefusesSecondActiveRun(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		ids := enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"), queued(plumbline.KindDeploy, "net", "c2"))
		must[plumbline.Run](t)(s.Claim(t.Context(), "worker-1", t0, lease))
		force := func() error {
			_, err := s.write.ExecContext(t.Context(), `UPDATE run SET state = 'applying', due = 1 WHERE id = $1`, int64(ids[1]))
			return err
		}
		if err := force(); !s.dialect.duplicate(err) {
			t.Fatalf("a second active run of the stack: error is %v, want a duplicate", err)
		}
		s.sqlExec(t, `DROP INDEX run_one_active`)
		if err := force(); err != nil {
			t.Fatalf("without the index: %v", err)
		}
	})
}

// An apply that turns up after all cannot be taken up again beside another run of its stack.
func TestUpdateRefusesSecondActiveRun(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		planned(t, s, t0)
		must[plumbline.Run](t)(s.Update(ctx, 1, t0, approve("ops-b")))
		lost := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		later := t0.Add(time.Minute)
		if out := must[[]plumbline.Run](t)(s.Expire(ctx, later, nil)); len(out) != 1 || out[0].State != plumbline.StateInterrupted {
			t.Fatalf("expired %v", out)
		}
		adopt := func(r *plumbline.Run, now time.Time) error { return r.Adopt(lost.Claim, now, lease) }

		enqueue(t, s, queued(plumbline.KindDrift, "net", "c1"))
		other := must[plumbline.Run](t)(s.Claim(ctx, "worker-2", later, lease))
		_, err := s.Update(ctx, lost.ID, later, adopt)
		wantErr(t, err, plumbline.ErrConflict)
		if !strings.Contains(err.Error(), "Another run of net") {
			t.Errorf("error is %v", err)
		}
		must[plumbline.Run](t)(s.FinishDrift(ctx, other.ID, later, finish(other.Claim, plumbline.Outcome{}, &plumbline.PlanInfo{}), plumbline.DriftLook{}))
		if r := must[plumbline.Run](t)(s.Update(ctx, lost.ID, later, adopt)); r.State != plumbline.StateApplying {
			t.Errorf("the run is %s", r.State)
		}
	})
}

// On PostgreSQL a claim cannot see one that is being committed beside it. The index makes it wait, and lose; it then takes another run.
func TestLoserOfARaceTakesAnotherRun(t *testing.T) {
	dsn := testenv.Postgres(t)
	s := open(t, dsn)
	ids := enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"), queued(plumbline.KindDeploy, "net", "c1"), queued(plumbline.KindDeploy, "app", "c1"))
	rival, err := s.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rival.Rollback() }() // of a test that has failed already
	if _, err := rival.ExecContext(t.Context(), `UPDATE run SET state = 'planning', due = $1 WHERE id = $2`, t0.Add(lease).UnixMicro(), int64(ids[0])); err != nil {
		t.Fatal(err)
	}
	type claimed struct {
		run plumbline.Run
		err error
	}
	got := make(chan claimed, 1)
	go func() {
		r, err := s.Claim(t.Context(), "worker-2", t0, lease)
		got <- claimed{r, err}
	}()
	for waiting := 0; waiting == 0; { // until it hangs on the index entry of the rival
		select {
		case c := <-got:
			t.Fatalf("claimed run %v (%v) beside the rival", c.run.ID, c.err)
		default:
		}
		if err := s.read.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := rival.Commit(); err != nil {
		t.Fatal(err)
	}
	c := <-got
	if c.err != nil || c.run.ID != ids[2] {
		t.Errorf("claimed run %v (%v), want run %v of app", c.run.ID, c.err, ids[2])
	}
	if got := stateOf(t, s, ids[1]); got != plumbline.StateQueued {
		t.Errorf("the run that lost is %s", got)
	}
}

func TestClaimOrder(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		enqueue(t, s, queued(plumbline.KindDeploy, "approved", "c1"))
		planned(t, s, t0)
		must[plumbline.Run](t)(s.Update(ctx, 1, t0, approve("ops-b")))
		enqueue(t, s, queued(plumbline.KindDrift, "drift", "c1"), queued(plumbline.KindProposal, "proposal", "c1"), queued(plumbline.KindDeploy, "deploy", "c1"),
			queued(plumbline.KindDestroy, "destroy", "c1"), queued(plumbline.KindDeploy, "approved", "c2"))
		var got []string
		for {
			r, err := s.Claim(ctx, "worker-1", t0, lease)
			if errors.Is(err, plumbline.ErrNotFound) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Stack.Name+" "+string(r.State))
		}
		// The second run of "approved" waits while the first is applied.
		want := []string{"approved applying", "deploy planning", "destroy planning", "proposal planning", "drift planning"}
		if !slices.Equal(got, want) {
			t.Errorf("claimed %q, want %q", got, want)
		}
	})
}

func TestClaimWaitsForDependencies(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		deploy := func(stack string, deployment int64, after ...string) plumbline.Run {
			r := queued(plumbline.KindDeploy, stack, "c1")
			r.Deployment, r.WaitsFor = deployment, after
			r.Policy.Apply = plumbline.ApplyAutomatic
			return r
		}
		o := plumbline.Observation{
			Repository: "infra", At: t0,
			Deployments: []plumbline.Deployment{{Repository: "infra", Environment: "production", Commit: "c0"}, {Repository: "infra", Environment: "production", Commit: "c1"}},
			Runs:        []plumbline.Run{deploy("app", -2, "db", "net", "net", "absent"), deploy("db", -2, "net"), deploy("net", -2), deploy("other", -1, "net")},
		}
		ids := must[[]plumbline.RunID](t)(s.Observe(ctx, o))
		claim := func(want plumbline.RunID, outcome plumbline.Outcome, info *plumbline.PlanInfo) {
			t.Helper()
			r, err := s.Claim(ctx, "worker-1", t0, lease)
			if err != nil || r.ID != want {
				t.Fatalf("claimed run %v (%v), want %v", r.ID, err, want)
			}
			must[plumbline.Run](t)(s.Update(ctx, r.ID, t0, finish(r.Claim, outcome, info)))
		}
		claim(ids[2], plumbline.Outcome{}, changes(digest)) // net, which nothing holds back
		claim(ids[2], plumbline.Outcome{Applied: true}, nil)
		claim(ids[1], plumbline.Outcome{}, changes(digest)) // db
		claim(ids[1], plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailApply, Text: "no"}}, nil)
		claim(ids[3], plumbline.Outcome{}, &plumbline.PlanInfo{}) // the other deployment has no net
		_, err := s.Claim(ctx, "worker-1", t0, lease)
		wantErr(t, err, plumbline.ErrNotFound) // app is held back by db, which failed
		must[plumbline.Run](t)(s.Update(ctx, ids[1], t0, func(r *plumbline.Run, now time.Time) error { return r.Retry("ops-b", now) }))
		claim(ids[1], plumbline.Outcome{}, &plumbline.PlanInfo{})
		claim(ids[0], plumbline.Outcome{}, &plumbline.PlanInfo{})
	})
}

func TestClaimFollowsTheOrderOfEnvironments(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		o := plumbline.Observation{Repository: "infra", At: t0}
		for i, e := range []struct {
			env, commit string
			order       int
		}{{"production", "c1", 10}, {"staging", "c1", 5}, {"elsewhere", "c2", 20}} {
			o.Deployments = append(o.Deployments, plumbline.Deployment{Repository: "infra", Environment: e.env, Commit: e.commit})
			r := queued(plumbline.KindDeploy, "net", e.commit)
			r.Stack.Environment, r.Deployment, r.Policy.Order = e.env, -int64(i+1), e.order
			o.Runs = append(o.Runs, r)
		}
		o.Runs[0].Kind, o.Runs[0].Commit = plumbline.KindDestroy, "c0" // planned from the last commit that had it
		must[[]plumbline.RunID](t)(s.Observe(ctx, o))

		staging := planned(t, s, t0) // and waits for an approval
		if staging.Stack.Environment != "staging" {
			t.Fatalf("claimed %s first", staging.Stack)
		}
		if r := planned(t, s, t0); r.Stack.Environment != "elsewhere" {
			t.Fatalf("claimed %s while staging waits", r.Stack)
		}
		_, err := s.Claim(ctx, "worker-1", t0, lease)
		wantErr(t, err, plumbline.ErrNotFound)
		must[plumbline.Run](t)(s.Update(ctx, staging.ID, t0, func(r *plumbline.Run, now time.Time) error { return r.Reject("ops-b", "not today", now) }))
		if r := planned(t, s, t0); r.Stack.Environment != "production" {
			t.Fatalf("claimed %s", r.Stack)
		}
	})
}

func TestLateWorkerWritesNothing(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		enqueue(t, s, queued(plumbline.KindDrift, "net", "c1"))
		late := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		later := t0.Add(lease)
		if out := must[[]plumbline.Run](t)(s.Expire(ctx, later, nil)); len(out) != 1 || out[0].State != plumbline.StateQueued {
			t.Fatalf("expired %v", out)
		}
		// Even the same worker: what counts is the fence.
		now := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", later, lease))
		if now.Claim.Fence == late.Claim.Fence || now.Attempt != 2 {
			t.Fatalf("claimed as %+v, attempt %d", now.Claim, now.Attempt)
		}
		before := snapshot(t, s, now.ID)
		_, err := s.Renew(ctx, late.ID, late.Claim, later, lease)
		wantErr(t, err, plumbline.ErrLost)
		_, err = s.Update(ctx, late.ID, later, finish(late.Claim, plumbline.Outcome{}, changes(digest)))
		wantErr(t, err, plumbline.ErrLost)
		found := []plumbline.Difference{{Address: "aws_route.nat", Kind: plumbline.DriftDeleted}}
		_, err = s.FinishDrift(ctx, late.ID, later, finish(late.Claim, plumbline.Outcome{Differences: found}, changes(digest)), plumbline.DriftLook{Found: found})
		wantErr(t, err, plumbline.ErrLost)
		if after := snapshot(t, s, now.ID); after != before {
			t.Errorf("a late worker wrote\n%s\nover\n%s", after, before)
		}
		_, err = s.Renew(ctx, 99, late.Claim, later, lease)
		wantErr(t, err, plumbline.ErrLost)
	})
}

// snapshot is all that hangs on a run.
func snapshot(t testing.TB, s *Store, id plumbline.RunID) string {
	t.Helper()
	ctx := t.Context()
	r := must[plumbline.Run](t)(s.Run(ctx, id))
	return must[string](t)(encode([]any{
		r, must[[]plumbline.Event](t)(s.Events(ctx, id)), must[[]plumbline.StackStatus](t)(s.Stacks(ctx, r.Stack.Repository, r.Stack.Environment)),
		must[[]plumbline.DriftItem](t)(s.DriftItems(ctx, plumbline.DriftFilter{Resolved: true})),
	}))
}

func TestExpire(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		approval := queued(plumbline.KindDeploy, "awaiting", "c1")
		approval.Policy.Approval.Expires = time.Hour
		approved := approval
		approved.Stack.Name = "approved"
		forever := approval
		forever.Stack.Name, forever.Policy.Approval.Expires = "forever", 0
		var ids []plumbline.RunID
		for _, r := range []plumbline.Run{approval, approved, forever} {
			ids = append(ids, enqueue(t, s, r)...)
			planned(t, s, t0)
		}
		must[plumbline.Run](t)(s.Update(ctx, ids[1], t0, approve("ops-b")))
		must[plumbline.Run](t)(s.Update(ctx, ids[2], t0, approve("ops-b")))

		// At the end of the hour the approval counts no more, whether it was swept or not.
		hour := t0.Add(time.Hour)
		applying := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", hour, lease))
		if applying.ID != ids[2] {
			t.Fatalf("claimed run %v, want %v", applying.ID, ids[2])
		}
		if r, err := s.Claim(ctx, "worker-1", hour, lease); !errors.Is(err, plumbline.ErrNotFound) {
			t.Fatalf("claimed %+v (%v) though its approval ran out", r, err)
		}
		more := enqueue(t, s, queued(plumbline.KindDrift, "planning", "c1"), queued(plumbline.KindDrift, "stopped", "c1"), queued(plumbline.KindDrift, "kept", "c1"), queued(plumbline.KindDrift, "renewed", "c1"))
		for range more {
			r := must[plumbline.Run](t)(s.Claim(ctx, "worker-2", hour, lease))
			if r.Stack.Name == "renewed" {
				must[plumbline.Wish](t)(s.Renew(ctx, r.ID, r.Claim, hour.Add(lease/2), lease))
			}
		}
		must[plumbline.Run](t)(s.Update(ctx, more[1], hour, func(r *plumbline.Run, now time.Time) error { return r.Cancel("ops-b", now) }))
		if out := must[[]plumbline.Run](t)(s.Expire(ctx, hour.Add(-time.Microsecond), nil)); len(out) != 0 {
			t.Fatalf("expired %v before their time", out)
		}

		now := hour.Add(lease)
		out := must[[]plumbline.Run](t)(s.Expire(ctx, now, func(r plumbline.Run) bool { return r.Stack.Name == "kept" }))
		got := map[string]plumbline.State{}
		for _, r := range out {
			got[r.Stack.Name] = r.State
		}
		want := map[string]plumbline.State{
			"awaiting": plumbline.StateExpired, "approved": plumbline.StateExpired, "forever": plumbline.StateInterrupted,
			"planning": plumbline.StateQueued, "stopped": plumbline.StateCanceled,
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("expired %v, want %v", got, want)
		}
		for _, id := range more[2:] {
			if st := stateOf(t, s, id); st != plumbline.StatePlanning {
				t.Errorf("run %v is %s", id, st)
			}
		}
		if out := must[[]plumbline.Run](t)(s.Expire(ctx, now, func(plumbline.Run) bool { return true })); len(out) != 0 {
			t.Errorf("expired %v, which is kept", out)
		}
	})
}

func TestRuleThatErrsChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		id := enqueue(t, s, queued(plumbline.KindDrift, "net", "c1"))[0]
		before := snapshot(t, s, id)
		refusal := &plumbline.Refusal{Kind: plumbline.ErrDenied, What: "No."}
		rule := func(r *plumbline.Run, now time.Time) error {
			r.State, r.Because, r.Attempt, r.Approvals = plumbline.StateClean, "spoiled", 7, append(r.Approvals, plumbline.Approval{By: "x"})
			return refusal
		}
		if _, err := s.Update(ctx, id, t0, rule); !errors.Is(err, refusal) {
			t.Errorf("error is %v, want the rule's own", err)
		}
		if _, err := s.FinishDrift(ctx, id, t0, rule, plumbline.DriftLook{Found: []plumbline.Difference{{Address: "a"}}}); !errors.Is(err, refusal) {
			t.Errorf("error is %v, want the rule's own", err)
		}
		if after := snapshot(t, s, id); after != before {
			t.Errorf("the rule left\n%s\nover\n%s", after, before)
		}
		_, err := s.Update(ctx, 99, t0, rule)
		wantErr(t, err, plumbline.ErrNotFound)
	})
}

func TestUpdatesOfOneRunFollowEachOther(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const writers, times = 8, 25
		stores := []*Store{open(t, dsn), open(t, dsn)}
		id := enqueue(t, stores[0], queued(plumbline.KindDeploy, "net", "c1"))[0]
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for range times {
					if _, err := stores[i%2].Update(t.Context(), id, t0, func(r *plumbline.Run, _ time.Time) error {
						r.DriftOpen++
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		r := must[plumbline.Run](t)(stores[0].Run(t.Context(), id))
		if r.DriftOpen != writers*times || r.Version != writers*times+1 {
			t.Errorf("counted to %d at version %d, want %d and one more", r.DriftOpen, r.Version, writers*times)
		}
	})
}
