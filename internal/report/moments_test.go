package report

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// waits flushes until nothing is kept back for a moment, and returns when something else is to be said.
func (r *rig) waits() time.Duration {
	r.t.Helper()
	for range 20 {
		_, again := r.flush()
		if again == 0 || again > r.r.c.Patience {
			return again
		}
		r.now = r.now.Add(again)
	}
	r.t.Fatal("it never comes to rest")
	return 0
}

// windowed is a rig whose production is open in office hours, and a merge request that is planned for it, on a Saturday.
func windowed(t *testing.T) (*rig, *plumbline.MergeRequest) {
	r := newRig(t)
	r.now = saturday
	r.repo.Environments[0].Calendar.Windows = []plumbline.Window{london}
	r.restart(nil)
	mr := &plumbline.MergeRequest{}
	r.plan(r.open(mr, "production/a")...)
	return r, mr
}

// TestWindowOpens: a note is rewritten when the window opens and when it closes, and in between by nobody, however often it is looked at.
func TestWindowOpens(t *testing.T) {
	r, mr := windowed(t)
	monday := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	again := r.waits()
	if at := r.now.Add(again); !at.Equal(monday) {
		t.Fatalf("it comes again at %s, want %s", at, monday)
	}
	checkHas(t, "closed", r.note(mr.ID), "| waits for an approval; outside the window office-hours until Mon 09:00 GMT |")
	for _, c := range []struct {
		until time.Time
		want  string
	}{{monday, "office-hours until Mon 09:00 GMT |"}, {monday.Add(8 * time.Hour), "| waits for an approval |"}, {monday.Add(24 * time.Hour), "office-hours until Tue 09:00 GMT |"}} {
		before := r.requests()
		for range 5 {
			if at := r.now.Add(r.waits()); !at.Equal(c.until) {
				t.Fatalf("at %s it comes again at %s, want %s", r.now, at, c.until)
			}
			r.now = r.now.Add(time.Minute)
			r.restart(nil)
		}
		if r.requests() != before {
			t.Errorf("until %s: %d requests", c.until, r.requests()-before)
		}
		checkHas(t, c.until.String(), r.note(mr.ID), c.want)
		r.now = c.until
		r.waits()
		if n := r.requests() - before; n != 1 {
			t.Errorf("at %s: %d requests, want one", c.until, n)
		}
	}
	mr.State = plumbline.MRClosed
	r.open(mr)
	if again := r.waits(); again != 0 {
		r.now = r.now.Add(again)
		r.waits()
	}
	if again := r.waits(); again != 0 {
		t.Errorf("closed, it is looked at in %s", again)
	}
}

// TestMomentOutage: what could not be said at its moment is said later, also by another daemon.
func TestMomentOutage(t *testing.T) {
	r, mr := windowed(t)
	r.now = r.now.Add(r.waits())
	r.forge.Fault(forgetest.Outage)
	for range 3 {
		if _, _, err := r.r.Flush(t.Context()); err == nil {
			t.Error("no error")
		}
		r.restart(nil)
	}
	r.restart(func(l Ledger) Ledger { return crashing{Ledger: l, tell: true} })
	r.forge.Fault(nil)
	if _, _, err := r.r.Flush(t.Context()); !errors.Is(err, errCrash) {
		t.Errorf("flush: %v", err)
	}
	r.restart(nil)
	r.waits()
	checkHas(t, "open", r.note(mr.ID), "| waits for an approval |")
}

// TestApprovalExpires: a yes that is not good any more is not told as one, and approvals are offered while they can be given.
func TestApprovalExpires(t *testing.T) {
	r := newRig(t)
	r.repo.Environments[0].Approval = plumbline.ApprovalRule{Count: 2, From: []string{"user:ann", "user:bob"}, Carry: true, Expires: 24 * time.Hour}
	r.restart(nil)
	mr := &plumbline.MergeRequest{}
	ids := r.open(mr, "production/a")
	r.plan(ids...)
	r.waits()
	checkHas(t, "planned", r.note(mr.ID), "waits for 2 approvals by `user:ann` or `user:bob`", "`plumbline approve a "+digest[:12]+"`")
	r.now = r.now.Add(time.Hour)
	r.update(ids[0], func(run *plumbline.Run, now time.Time) error {
		return run.Approve(plumbline.Person{Name: "ann"}, plumbline.Access{}, digest, now)
	})
	r.waits()
	checkHas(t, "approved", r.note(mr.ID), "waits for an approval by `user:ann` or `user:bob`; agreed by ann (carried over after the merge if the plan is the same)")
	r.now = r.now.Add(r.waits()) // the plan is too old
	r.waits()
	if n := r.note(mr.ID); strings.Contains(n, "plumbline approve") || !strings.Contains(n, "agreed by ann") {
		t.Errorf("after a day:\n%s", n)
	}
	r.now = r.now.Add(r.waits())
	if again := r.waits(); again != 0 {
		t.Errorf("again %s", again)
	}
	checkHas(t, "expired", r.note(mr.ID), "waits for 2 approvals by `user:ann` or `user:bob`; the yes of ann was good until 2026-11-21 15:00 UTC")
}

// TestRulesChange: a freeze, its end, another configuration: notes and statuses say what is in force.
func TestRulesChange(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.plan(r.open(mr, "production/a", "lab/b")...)
	ids := r.deploy("c1", "production/c")
	r.plan(ids...)
	r.settle()
	before := r.requests()
	who := plumbline.Person{Name: "ops-b"}
	if _, err := r.store.Freeze(t.Context(), "infra", "production", plumbline.Freeze{Reason: "moving house"}, who, r.now); err != nil {
		t.Fatal(err)
	}
	r.settle()
	frozen := "frozen by ops-b until it is lifted: moving house"
	checkHas(t, "frozen", r.note(mr.ID), "| waits for an approval; "+frozen+" |", "| applies automatically |")
	if s := r.forge.Newest("c1")["plumbline/production/c"]; s.State != plumbline.ToldPending || s.Description != "waits for an approval; "+frozen+": +1" {
		t.Errorf("status: %+v", s)
	}
	if n := r.requests() - before; n != 3 {
		t.Errorf("%d requests, want a note and two statuses", n)
	}
	if _, err := r.store.Thaw(t.Context(), "infra", "production", 0, who, "", r.now); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if n := r.note(mr.ID); strings.Contains(n, "frozen") {
		t.Errorf("thawed:\n%s", n)
	}
	r.repo.Environments[0].Approval = plumbline.ApprovalRule{Count: 3, From: []string{"group:sre"}}
	r.restart(nil)
	r.settle()
	checkHas(t, "another configuration", r.note(mr.ID), "waits for 3 approvals by `group:sre`")
	before = r.requests()
	r.restart(nil)
	r.settle()
	if r.requests() != before {
		t.Error("the same configuration is news")
	}
}

// TestRulesChangeFails: while one merge request cannot be told of, the rules stay news.
func TestRulesChangeFails(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.plan(r.open(mr, "production/a")...)
	r.settle()
	r.repo.Environments[0].Approval.Count = 2
	r.restart(nil)
	r.forge.Fault(forgetest.Outage)
	if _, _, err := r.r.Flush(t.Context()); err == nil {
		t.Error("no error")
	}
	r.forge.Fault(nil)
	r.settle()
	checkHas(t, "once it is back", r.note(mr.ID), "waits for 2 approvals")
}

// carried has ann agree to a plan with another digest or configuration, as if on the merge request, of a run that waits for two.
func (r *rig) carried(id plumbline.RunID, digest, config, doc string) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error {
		run.Approvals = []plumbline.Approval{{By: "ann", Digest: digest, Config: config, Plan: plumbline.Blob{Name: doc}, At: now, Carried: "merge request !1"}}
		return nil
	})
}

// TestSince shows what has come to a plan since it was approved.
func TestSince(t *testing.T) {
	change := func(address string) plumbline.Change {
		return plumbline.Change{Address: address, Type: "aws_route", Action: plumbline.ActionCreate}
	}
	for name, c := range map[string]struct {
		digest, config, doc string
		want                []string
		not                 string
	}{
		"more":       {"1111111111", "c", "approved", []string{"the yes of ann was to another plan", "differs from what was approved: 1 more change (<code>aws_route.nat</code>)</summary>", "+   aws_route.nat", "# not in the approved plan"}, "To know"},
		"not kept":   {"1111111111", "c", "lost", []string{"differs from what was approved: that plan is not kept any more"}, "not in the approved plan"},
		"not known":  {"1111111111", "c", "", []string{"differs from what was approved: that plan is not kept any more"}, "not in the approved plan"},
		"otherwise":  {digest, "another", "approved", []string{"the yes of ann was to the same changes made in another way", "differs from what was approved: " + inAnotherWay}, "not in the approved plan"},
		"same as it": {digest, "c", "approved", []string{"waits for an approval; agreed by ann on merge request `!1`"}, "differs from"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.repo.Environments[0].Approval = plumbline.ApprovalRule{Count: 2, Carry: true}
			r.restart(nil)
			r.plans.docs["approved"] = plumbline.Plan{Digest: "1111111111", Changes: []plumbline.Change{change("aws_route.a")}}
			r.plans.docs["doc"] = plumbline.Plan{Digest: digest, Changes: []plumbline.Change{change("aws_route.a"), change("aws_route.nat")}}
			mr := &plumbline.MergeRequest{}
			r.plan(r.open(mr, "production/a")...)
			r.settle()
			id := r.deploy("c1", "production/a")[0]
			r.merge(mr, "c1")
			r.start(id)
			i := info()
			i.Config = "c"
			r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, i)
			r.carried(id, c.digest, c.config, c.doc)
			r.settle()
			checkHas(t, name, r.note(mr.ID), c.want...)
			if strings.Contains(r.note(mr.ID), c.not) {
				t.Errorf("%q in\n%s", c.not, r.note(mr.ID))
			}
			if s := r.forge.Newest("c1")["plumbline/production/a"]; s.State != plumbline.ToldPending || !strings.HasPrefix(s.Description, "waits for ") {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestDegraded: after a failure a note says what is held back and how to go on, and stops to say so when it has.
func TestDegraded(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.plan(r.open(mr, "production/a", "production/b")...)
	r.settle()
	ids := r.deploy("c1", "production/a", "production/b", "production/c")
	for i, first := range []string{"a", "b"} {
		r.update(ids[i+1], func(run *plumbline.Run, _ time.Time) error { run.WaitsFor = []string{first}; return nil })
	}
	r.merge(mr, "c1")
	r.fail(ids[0])
	r.settle()
	checkHas(t, "failed", r.note(mr.ID), "**production is degraded** · a failed; held back: b, c\n", "held back by a (failed)", "- a comment with `plumbline retry a` plans it again\n",
		"- `plumbline env deploy production` plans", "- `plumbline env rollback production` opens a merge request with the last good files\n")
	r.says("c1", "plumbline/production/a: failure", "plumbline: failure")
	r.update(ids[0], func(run *plumbline.Run, now time.Time) error { return run.Retry("ops", now) })
	r.apply(ids[0])
	r.settle()
	if n := r.note(mr.ID); strings.Contains(n, "degraded") || strings.Contains(n, "held back") {
		t.Errorf("applied after all:\n%s", n)
	}
}

// TestGlass: what is done against the rules stands at the top.
func TestGlass(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.plan(r.open(mr, "production/a")...)
	id := r.deploy("c1", "production/a")[0]
	r.merge(mr, "c1")
	r.plan(id)
	r.settle()
	r.update(id, func(run *plumbline.Run, now time.Time) error {
		return run.BreakGlass(plumbline.Person{Name: "root"}, digest, "the site is down", now)
	})
	r.settle()
	_, after, _ := strings.Cut(r.note(mr.ID), "\n### ")
	_, after, _ = strings.Cut(after, "\n\n")
	if !strings.HasPrefix(after, "⚠ **Break glass** by root: the site is down ([a](https://p.example.com/runs/2))\n\n|") {
		t.Errorf("note:\n%s", r.note(mr.ID))
	}
}

// TestCheckStatuses: what policies forbid and checks find fault with is no success, and each check has a status while there are few.
func TestCheckStatuses(t *testing.T) {
	deny := []plumbline.PolicyFinding{{Policy: "a.b", Level: plumbline.PolicyDeny, Message: "No."}, {Policy: "a.c", Level: plumbline.PolicyDeny, Message: "Never."}}
	check := func(v plumbline.Verdict, text string) []plumbline.CheckResult {
		return []plumbline.CheckResult{{Name: plumbline.CheckFmt, Verdict: v, Text: text}}
	}
	for name, c := range map[string]struct {
		outcome   plumbline.Outcome
		want      string
		aggregate string
	}{
		"well":    {plumbline.Outcome{Checks: check(plumbline.VerdictPass, "all files are formatted")}, "success +1", "success 2 stacks: +2"},
		"skipped": {plumbline.Outcome{Checks: check(plumbline.VerdictSkipped, "none")}, "success +1", "success 2 stacks: +2"},
		"warned":  {plumbline.Outcome{Findings: []plumbline.PolicyFinding{{Policy: "a.b", Level: plumbline.PolicyWarn}}}, "success +1", "success 2 stacks: +2"},
		"denied":  {plumbline.Outcome{Findings: deny}, "failure forbidden by a.b: No. (and 1 more)", "failure 1 of 2 stacks refused, a: forbidden by a.b: No. (and 1 more)"},
		"fault":   {plumbline.Outcome{Checks: check(plumbline.VerdictFail, "2 files are not formatted")}, "failure fmt: 2 files are not formatted", "failure 1 of 2 stacks refused, a: fmt: 2 files are not formatted"},
		"error":   {plumbline.Outcome{Checks: check(plumbline.VerdictError, "not made: no time")}, "error fmt: not made: no time", "error 1 of 2 stacks could not be checked, a: fmt: not made: no time"},
	} {
		r := newRig(t)
		mr := &plumbline.MergeRequest{}
		ids := r.open(mr, "production/a", "production/b")
		r.start(ids[0])
		c.outcome.Plan = &plumbline.Plan{}
		r.finish(ids[0], c.outcome, info())
		r.plan(ids[1])
		r.settle()
		newest := r.forge.Newest(mr.Head)
		for context, want := range map[string]string{"plumbline/production/a": c.want, "plumbline": c.aggregate} {
			if s := newest[context]; string(s.State)+" "+s.Description != want {
				t.Errorf("%s: %s is %s %s, want %s", name, context, s.State, s.Description, want)
			}
		}
		if n := len(c.outcome.Checks); len(newest) != 3+n {
			t.Errorf("%s: %d statuses, want %d", name, len(newest), 3+n)
		}
		for _, check := range c.outcome.Checks {
			want := map[plumbline.Verdict]plumbline.Told{plumbline.VerdictFail: plumbline.ToldFailure, plumbline.VerdictError: plumbline.ToldError}[check.Verdict]
			if want == "" {
				want = plumbline.ToldSuccess
			}
			if s := newest["plumbline/production/a/fmt"]; s.State != want || s.Description != check.Text || s.URL != "https://p.example.com/runs/1" {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
}

// TestCheckStatusesAreBounded: stacks have theirs first; a stack keeps its own where a check would have the same.
func TestCheckStatusesAreBounded(t *testing.T) {
	contexts := func(stacks, checks int, name string) []string {
		var runs []plumbline.Run
		for i := range stacks {
			r := plumbline.Run{State: plumbline.StatePlanned, Stack: plumbline.StackRef{Environment: "p", Name: name + strings.Repeat("x", i)}}
			for _, c := range []plumbline.CheckName{plumbline.CheckFmt, plumbline.CheckTest}[:checks] {
				r.Checks = append(r.Checks, plumbline.CheckResult{Name: c, Verdict: plumbline.VerdictPass})
			}
			runs = append(runs, r)
		}
		if name == "a/" {
			runs[0].Stack.Name = "a/x/fmt"
		}
		var out []string
		for _, s := range statuses(runs, "", t0) {
			if slices.Contains(out, s.Context) {
				t.Errorf("%s twice", s.Context)
			}
			out = append(out, s.Context)
		}
		return out
	}
	for _, c := range []struct{ stacks, checks, want int }{{10, 1, 21}, {11, 1, 12}, {6, 2, 19}, {7, 2, 8}, {20, 0, 21}, {20, 1, 21}, {21, 1, 2}} {
		if got := contexts(c.stacks, c.checks, "s"); len(got) != c.want {
			t.Errorf("%d stacks with %d checks: %d statuses, want %d: %q", c.stacks, c.checks, len(got), c.want, got)
		}
	}
	if got := contexts(2, 1, "a/"); !slices.Equal(got, []string{"plumbline/p/a/x/fmt", "plumbline/p/a/x", "plumbline/p/a/x/fmt/fmt", "plumbline"}) &&
		!slices.Equal(got, []string{"plumbline/p/a/x", "plumbline/p/a/x/fmt", "plumbline/p/a/x/fmt/fmt", "plumbline"}) {
		t.Errorf("%q", got)
	}
}

// TestRejectedProposal: a no on the merge request is a failure there, with its reason.
func TestRejectedProposal(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	ids := r.open(mr, "production/a")
	r.plan(ids...)
	r.settle()
	r.update(ids[0], func(run *plumbline.Run, now time.Time) error { return run.Reject("ann", "not today", now) })
	r.settle()
	if s := r.forge.Newest(mr.Head)["plumbline/production/a"]; s.State != plumbline.ToldFailure || s.Description != "rejected by ann: not today" {
		t.Errorf("status %+v", s)
	}
	r.says(mr.Head, "plumbline: failure")
	checkHas(t, "rejected", r.note(mr.ID), "| rejected by ann: not today |")
}

// reading counts what is read of a ledger while nothing is new.
type reading struct {
	Ledger
	runs *int
}

func (l reading) RunsOfMR(ctx context.Context, repo, id string) ([]plumbline.Run, error) {
	*l.runs++
	return l.Ledger.RunsOfMR(ctx, repo, id)
}

// TestQuietIsCheap: while nothing is new and no moment has come, no merge request is looked at.
func TestQuietIsCheap(t *testing.T) {
	r, _ := windowed(t)
	r.waits()
	l := reading{runs: new(int)}
	r.restart(func(ledger Ledger) Ledger { l.Ledger = ledger; return l })
	for range 10 {
		r.waits()
	}
	if *l.runs != 0 {
		t.Errorf("%d looks", *l.runs)
	}
}
