package store

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// approved are runs that wait for a worker to apply them.
func approved(t testing.TB, s *Store, runs ...plumbline.Run) []plumbline.RunID {
	t.Helper()
	ids := enqueue(t, s, runs...)
	for range ids {
		planned(t, s, t0)
	}
	for _, id := range ids {
		if r := must[plumbline.Run](t)(s.Update(t.Context(), id, t0, approve("ops-b"))); r.State != plumbline.StateApproved {
			t.Fatalf("run %v is %s", id, r.State)
		}
	}
	return ids
}

// claims checks which runs can be claimed, and takes them.
func claims(t testing.TB, s *Store, now time.Time, want ...plumbline.RunID) {
	t.Helper()
	var got []plumbline.RunID
	for {
		r, err := s.Claim(t.Context(), "worker-1", now, lease)
		if errors.Is(err, plumbline.ErrNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("at %s claimed %v, want %v", now.Format(time.DateTime), got, want)
	}
}

func breakGlass(who plumbline.Person, reason string) plumbline.Rule {
	return func(r *plumbline.Run, now time.Time) error { return r.BreakGlass(who, digest, reason, now) }
}

func TestFreeze(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		other := queued(plumbline.KindDeploy, "net", "c1")
		other.Stack.Environment, other.Subject = "staging", plumbline.SubjectDeploy("staging")
		ids := approved(t, s, queued(plumbline.KindDeploy, "frozen", "c1"), queued(plumbline.KindDeploy, "urgent", "c1"), other)
		frozen, urgent, elsewhere := ids[0], ids[1], ids[2]

		from, to := t0.Add(time.Hour), t0.Add(3*time.Hour)
		set := func(f plumbline.Freeze) int64 {
			t.Helper()
			return must[int64](t)(s.Freeze(ctx, "infra", "production", f, alice, t0))
		}
		first := set(plumbline.Freeze{From: from, Until: to, Reason: "year end"})
		must[plumbline.Run](t)(s.Update(ctx, urgent, t0, breakGlass(alice, "fire")))
		plan := enqueue(t, s, queued(plumbline.KindDeploy, "unplanned", "c1"))[0]
		claims(t, s, from, urgent, elsewhere, plan) // what only plans changes nothing
		claims(t, s, to.Add(-time.Microsecond))
		second := set(plumbline.Freeze{Reason: "fire"})
		third := set(plumbline.Freeze{From: t0.Add(4 * time.Hour), Until: t0.Add(5 * time.Hour)})
		claims(t, s, to)

		list := func(env string, now time.Time) (out []string) {
			for _, f := range must[[]plumbline.Frozen](t)(s.Freezes(ctx, "infra", env, now)) {
				out = append(out, fmt.Sprintf("%d %s by %s until %s: %s", f.ID, f.Environment, f.By, f.Until.Format(time.TimeOnly), f.Reason))
			}
			return out
		}
		wantLines(t, list("production", t0), []string{
			fmt.Sprintf("%d production by corp/alice until 00:00:00: fire", second),
			fmt.Sprintf("%d production by corp/alice until 15:00:00: year end", first),
			fmt.Sprintf("%d production by corp/alice until 17:00:00: ", third),
		})
		if got := list("", to); len(got) != 2 {
			t.Errorf("after the first is over: %q", got)
		}
		if got := list("staging", t0); len(got) != 0 {
			t.Errorf("staging has %q", got)
		}

		thaw := func(env string, id int64) error {
			_, err := s.Thaw(ctx, "infra", env, id, alice, "enough", to)
			return err
		}
		for _, no := range []struct {
			env string
			id  int64
		}{{"production", first}, {"production", 99}, {"staging", second}, {"staging", 0}} {
			if err := thaw(no.env, no.id); !errors.Is(err, plumbline.ErrNotFound) {
				t.Errorf("thaw %d of %s: %v", no.id, no.env, err)
			}
		}
		if err := thaw("production", second); err != nil {
			t.Fatal(err)
		}
		claims(t, s, to, frozen)
		late := approved(t, s, queued(plumbline.KindDeploy, "late", "c1"))[0]
		claims(t, s, t0.Add(4*time.Hour))
		fourth := set(plumbline.Freeze{Reason: "again"})
		if n := must[int](t)(s.Thaw(ctx, "infra", "production", 0, alice, "", to)); n != 2 {
			t.Errorf("lifted %d, want 2", n)
		}
		claims(t, s, t0.Add(4*time.Hour), late)
		if got := list("", t0); len(got) != 1 {
			t.Errorf("left are %q, want the one that ran its course", got)
		}

		for _, f := range []plumbline.Freeze{{Until: t0}, {Until: t0.Add(-time.Hour), From: t0.Add(-2 * time.Hour)}, {From: to, Until: from}} {
			if _, err := s.Freeze(ctx, "infra", "production", f, alice, t0); !errors.Is(err, plumbline.ErrInvalid) {
				t.Errorf("froze %+v: %v", f, err)
			}
		}
		wantLines(t, told(t, s, plumbline.AuditFilter{Action: plumbline.AuditThaw})[1:], []string{
			fmt.Sprintf("%d thaw|corp/alice|web|infra/production|run 0|done|freeze %d", whole(t, s, -1).Head.Seq-2, third),
			fmt.Sprintf("%d thaw|corp/alice|web|infra/production|run 0|done|freeze %d", whole(t, s, -1).Head.Seq-1, fourth),
		})
	})
}

// A freeze leaves alone what is being applied.
func TestFreezeDuringAnApply(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		id := approved(t, s, queued(plumbline.KindDeploy, "net", "c1"))[0]
		r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		must[int64](t)(s.Freeze(ctx, "infra", "production", plumbline.Freeze{Reason: "fire"}, alice, t0))
		if wish := must[plumbline.Wish](t)(s.Renew(ctx, id, r.Claim, t0, lease)); wish != plumbline.WishNone {
			t.Errorf("the worker hears %q", wish)
		}
		if r := must[plumbline.Run](t)(s.Update(ctx, id, t0, finish(r.Claim, plumbline.Outcome{Applied: true}, nil))); r.State != plumbline.StateApplied {
			t.Errorf("the run is %s", r.State)
		}
	})
}

// A broken glass is for one plan: another plan of the run is kept back.
func TestFreezeHoldsAnotherPlan(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		id := approved(t, s, queued(plumbline.KindDeploy, "net", "c1"))[0]
		must[int64](t)(s.Freeze(ctx, "infra", "production", plumbline.Freeze{Reason: "fire"}, alice, t0))
		must[plumbline.Run](t)(s.Update(ctx, id, t0, breakGlass(alice, "fire")))
		r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		must[plumbline.Run](t)(s.Update(ctx, id, t0, finish(r.Claim, plumbline.Outcome{Stale: true}, nil)))
		r = must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))
		const another = "ffff9c0d5e6f"
		must[plumbline.Run](t)(s.Update(ctx, id, t0, finish(r.Claim, plumbline.Outcome{}, changes(another))))
		r = must[plumbline.Run](t)(s.Update(ctx, id, t0, func(r *plumbline.Run, now time.Time) error {
			return r.Approve(plumbline.Person{Name: "ops-b"}, plumbline.Access{}, another, now)
		}))
		if r.State != plumbline.StateApproved {
			t.Fatalf("the run is %s", r.State)
		}
		claims(t, s, t0)
	})
}

// The window opens at 22:00 for two hours; t0 is noon.
func withWindow(r plumbline.Run) plumbline.Run {
	r.Policy.Calendar.Windows = []plumbline.Window{{Name: "night", Allow: "0 22 * * *", For: 2 * time.Hour}}
	return r
}

// opensOf reads what the queue knows of a run's calendar.
func opensOf(t testing.TB, s *Store, id plumbline.RunID) (opens int64) {
	t.Helper()
	if err := s.read.QueryRowContext(t.Context(), `SELECT opens FROM run WHERE id = $1`, int64(id)).Scan(&opens); err != nil {
		t.Fatal(err)
	}
	return opens
}

func TestCalendar(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		core, logs := observer.New(zap.DebugLevel)
		cfg := config(dsn)
		cfg.Log = zap.New(core)
		s := openWith(t, cfg)
		night, tomorrow := t0.Add(10*time.Hour), t0.Add(34*time.Hour)
		forever := queued(plumbline.KindDeploy, "frozen", "c1")
		forever.Policy.Approval.Expires = 0
		forever.Policy.Calendar.Freezes = []plumbline.Freeze{{Name: "audit", From: t0}}
		waiting := withWindow(queued(plumbline.KindDeploy, "waiting", "c1"))
		waiting.Policy.Approval.Expires = 0
		urgent := withWindow(queued(plumbline.KindDeploy, "urgent", "c1"))

		ids := approved(t, s, forever, waiting, urgent, queued(plumbline.KindDeploy, "open", "c1"))
		frozen, id, glass, open := ids[0], ids[1], ids[2], ids[3]
		must[plumbline.Run](t)(s.Update(ctx, glass, t0, breakGlass(alice, "fire")))
		for id, want := range map[plumbline.RunID]int64{frozen: math.MaxInt64, id: night.UnixMicro(), glass: 0, open: 0} {
			if got := opensOf(t, s, id); got != want {
				t.Errorf("run %v opens at %d, want %d", id, got, want)
			}
		}
		claims(t, s, t0, glass, open)
		claims(t, s, night.Add(-time.Microsecond))

		// The column was written while the window was open, and it has closed since: the run is put off, and others go on.
		s.sqlExec(t, `UPDATE run SET opens = 0 WHERE state = 'approved'`)
		behind := enqueue(t, s, queued(plumbline.KindDrift, "drift", "c1"))[0]
		version := must[plumbline.Run](t)(s.Run(ctx, id)).Version
		missed := night.Add(2 * time.Hour)
		claims(t, s, missed, behind)
		if got := opensOf(t, s, id); got != tomorrow.UnixMicro() {
			t.Errorf("put off until %d, want %d", got, tomorrow.UnixMicro())
		}
		if got := opensOf(t, s, frozen); got != math.MaxInt64 {
			t.Errorf("what is frozen for good is put off until %d", got)
		}
		if r := must[plumbline.Run](t)(s.Run(ctx, id)); r.Version != version || r.State != plumbline.StateApproved {
			t.Errorf("the run that was put off is %s at version %d, want it as it was at %d", r.State, r.Version, version)
		}
		claims(t, s, tomorrow.Add(-time.Microsecond))
		claims(t, s, tomorrow, id)

		// New rules come, and the freeze is not among them.
		must[plumbline.Run](t)(s.Update(ctx, frozen, tomorrow, func(r *plumbline.Run, now time.Time) error {
			access := plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleApprover, Users: []string{"ops-b"}}}}
			r.Adapt(plumbline.Environment{Repository: "infra", Name: "production", Apply: plumbline.ApplyApproval, Approval: r.Policy.Approval}, access, now)
			return nil
		}))
		claims(t, s, tomorrow, frozen)
		if logs.Len() != 0 {
			t.Errorf("it was logged: %v", logs.All())
		}
	})
}

// More runs than are put off together are put off in one claim, each once.
func TestClosedRunsDoNotHoldUpTheRest(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const n = 230
		s := open(t, dsn)
		var list []plumbline.Run
		for i := range n {
			list = append(list, withWindow(queued(plumbline.KindDeploy, fmt.Sprintf("stack-%04d", i), "c1")))
		}
		enqueue(t, s, list...)
		err := s.inTx(t.Context(), func(tx *tx) error {
			for id := range plumbline.RunID(n) {
				r, err := tx.lockRun(t.Context(), id+1)
				if err != nil {
					return err
				}
				before := r
				r.State, r.Plan = plumbline.StateApproved, changes(digest)
				r.Approvals = []plumbline.Approval{{By: "ops-b", Digest: digest, At: t0}}
				if err := tx.updateRun(t.Context(), before, &r, t0.Add(10*time.Hour)); err != nil { // it is open then
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		last := enqueue(t, s, queued(plumbline.KindDrift, "drift", "c1"))[0]
		claims(t, s, t0.Add(12*time.Hour), last)
		var left int
		if err := s.read.QueryRowContext(t.Context(), `SELECT count(*) FROM run WHERE state = 'approved' AND opens = 0`).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d runs were not put off (%v)", left, err)
		}
	})
}

// A calendar that contradicts itself costs a look a second, no more.
func TestPutOffAlwaysEnds(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		id := approved(t, s, queued(plumbline.KindDeploy, "net", "c1"))[0]
		for _, at := range []time.Time{t0, t0.Add(-time.Hour)} {
			if err := s.inTx(t.Context(), func(tx *tx) error { return tx.putOff(t.Context(), id, at, t0) }); err != nil {
				t.Fatal(err)
			}
			if got := opensOf(t, s, id); got != t0.Add(time.Second).UnixMicro() {
				t.Errorf("put off until %d", got)
			}
		}
		claims(t, s, t0)
		claims(t, s, t0.Add(time.Second), id)
	})
}

func TestNewRunsTakeOverApprovals(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		carrying := func(stack, commit string) plumbline.Run {
			r := queued(plumbline.KindDeploy, stack, commit)
			r.Policy.Approval.Carry, r.Policy.Approval.Count = true, 2
			return r
		}
		var ids []plumbline.RunID
		for _, stack := range []string{"net", "app"} {
			ids = append(ids, enqueue(t, s, carrying(stack, "c1"))...)
			planned(t, s, t0)
			must[plumbline.Run](t)(s.Update(ctx, ids[len(ids)-1], t0, approve("ops-b")))
		}
		// Being applied: it is not replaced, and what was agreed to is being done.
		must[plumbline.Run](t)(s.Update(ctx, ids[1], t0, approve("ops-c")))
		must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease))

		replace := func(commit string, more ...plumbline.Run) []plumbline.RunID {
			t.Helper()
			o := plumbline.Observation{Repository: "infra", At: t0, Runs: append([]plumbline.Run{carrying("net", commit), carrying("app", commit)}, more...), Supersede: []string{plumbline.SubjectDeploy("production")}}
			return must[[]plumbline.RunID](t)(s.Observe(ctx, o))
		}
		names := func(id plumbline.RunID) (out []string) {
			for _, a := range must[plumbline.Run](t)(s.Run(ctx, id)).Approvals {
				out = append(out, a.By+" on "+a.Carried)
			}
			return out
		}
		destroy := carrying("net", "c2")
		destroy.Kind = plumbline.KindDestroy
		second := replace("c2", destroy)
		third := replace("c3") // over a run that was never planned
		for id, want := range map[plumbline.RunID]string{
			second[0]: "[ops-b on run 1]", second[1]: "[]", second[2]: "[]", third[0]: "[ops-b on run 1]", third[1]: "[]",
		} {
			if got := fmt.Sprint(names(id)); got != want {
				t.Errorf("run %v has the approvals %s, want %s", id, got, want)
			}
		}
		wantLines(t, told(t, s, plumbline.AuditFilter{Action: plumbline.AuditCarry}), []string{
			fmt.Sprintf("6 carry|ops-b||infra/production/net|run %v|queued|given on run 1", second[0]),
			fmt.Sprintf("7 carry|ops-b||infra/production/net|run %v|queued|given on run 1", third[0]),
		})
		if first := must[[]plumbline.Event](t)(s.Events(ctx, third[0]))[0]; first.Text != "net/main.tf; ops-b approved b41f9c0d5e6f on run 1" {
			t.Errorf("the history begins with %q", first.Text)
		}
		// The same plan again: one yes more is enough.
		if r := planned(t, s, t0); r.ID != third[0] || r.State != plumbline.StateAwaiting {
			t.Fatalf("planned run %v, which is %s", r.ID, r.State)
		}
		if r := must[plumbline.Run](t)(s.Update(ctx, third[0], t0, approve("ops-c"))); r.State != plumbline.StateApproved {
			t.Errorf("the run is %s", r.State)
		}
		whole(t, s, -1)
	})
}

// The history of what people decide, beside the way that TestHistory tells.
func TestHistoryOfDecisions(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		update := func(id plumbline.RunID, rule plumbline.Rule) {
			t.Helper()
			must[plumbline.Run](t)(s.Update(ctx, id, t0, rule))
		}
		history := func(id plumbline.RunID) (lines []string) {
			for _, e := range must[[]plumbline.Event](t)(s.Events(ctx, id)) {
				if e.To != plumbline.StatePlanning && e.From != plumbline.StatePlanning {
					lines = append(lines, fmt.Sprintf("%s>%s|%s|%s", e.From, e.To, e.Who, e.Text))
				}
			}
			return lines
		}
		adapt := func(rule plumbline.ApprovalRule, approvers ...string) plumbline.Rule {
			return func(r *plumbline.Run, now time.Time) error {
				access := plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleApprover, Users: approvers}}}
				if !r.Adapt(plumbline.Environment{Repository: "infra", Name: "production", Apply: plumbline.ApplyApproval, Approval: rule}, access, now) {
					t.Error("nothing was adapted")
				}
				return nil
			}
		}
		one, two := plumbline.ApprovalRule{Count: 1, Carry: true}, plumbline.ApprovalRule{Count: 2, Carry: true}

		r := queued(plumbline.KindProposal, "net", "c1")
		r.Policy.Approval.Carry = true
		proposal := enqueue(t, s, r)[0]
		planned(t, s, t0)
		update(proposal, approve("ops-b"))
		merged := must[plumbline.Run](t)(s.Run(ctx, proposal))
		update(proposal, func(r *plumbline.Run, now time.Time) error { return r.Reject("ops-c", "too big", now) })
		wantLines(t, history(proposal), []string{
			">queued|poll|net/main.tf",
			"planned>planned|ops-b|approved b41f9c0d5e6f; it counts after the merge if the plan is the same then",
			"planned>rejected|ops-c|too big",
		})

		r = queued(plumbline.KindDeploy, "net", "c1")
		r.Policy.Approval = plumbline.ApprovalRule{Count: 2, Carry: true}
		id := enqueue(t, s, r)[0]
		planned(t, s, t0)
		other := merged
		other.Approvals = slices.Clone(merged.Approvals)
		other.Approvals[0].By, other.Approvals[0].Digest = "ops-x", "0000aaaabbbb"
		for _, from := range []plumbline.Run{merged, other} {
			update(id, func(r *plumbline.Run, now time.Time) error { r.Carry(from, now); return nil })
		}
		update(id, adapt(one, "ops-b"))
		update(id, adapt(two, "ops-b", "ops-c"))
		update(id, approve("ops-c"))
		update(id, adapt(two, "ops-b"))
		update(id, adapt(two, "ops-d"))
		update(id, breakGlass(alice, "fire"))
		update(id, breakGlass(alice, "bigger fire"))
		wantLines(t, history(id), []string{
			">queued|poll|net/main.tf",
			"awaiting>awaiting|ops-b|approved b41f9c0d5e6f on merge request !42; more approvals are needed",
			"awaiting>awaiting|ops-x|approved 0000aaaabbbb on merge request !42; the plan is another one now",
			"awaiting>approved||the rules that are in force now ask for no more",
			"approved>awaiting||a yes does not count any more",
			"awaiting>approved|ops-c|approved b41f9c0d5e6f",
			"approved>awaiting||a yes does not count any more: that of ops-c",
			"awaiting>awaiting||a yes does not count any more: that of ops-b",
			"awaiting>approved|corp/alice|broke the glass for b41f9c0d5e6f: fire",
			"approved>approved|corp/alice|broke the glass for b41f9c0d5e6f: bigger fire",
		})

		r = queued(plumbline.KindDeploy, "app", "c1")
		r.Policy.Approval = plumbline.ApprovalRule{Count: 2, Carry: true}
		must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease)) // the one before
		id = enqueue(t, s, r)[0]
		planned(t, s, t0)
		merged.Stack = ref("app")
		second := merged.Approvals[0]
		second.By = "ops-c"
		merged.Approvals = append(slices.Clip(merged.Approvals), second)
		update(id, func(r *plumbline.Run, now time.Time) error { r.Carry(merged, now); return nil })
		if got := strings.Join(history(id)[1:], ""); got != "awaiting>approved|ops-b|approved b41f9c0d5e6f on merge request !42, and ops-c approved b41f9c0d5e6f on merge request !42" {
			t.Errorf("the history goes on with %q", got)
		}
		whole(t, s, -1)
	})
}
