package report

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestQuickPlan(t *testing.T) {
	r := newRig(t)
	if told, again := r.flush(); told != 0 || again != 0 || r.requests() != 0 {
		t.Errorf("nothing is new: %d told, again %s, %d requests", told, again, r.requests())
	}
	mr := plumbline.MergeRequest{}
	ids := r.open(&mr, "production/a", "production/b")
	if told, again := r.flush(); told != 0 || again != 1500*time.Millisecond {
		t.Errorf("queued: %d told, again %s", told, again)
	}
	r.start(ids[0])
	r.now = r.now.Add(time.Second)
	if told, again := r.flush(); told != 0 || again != 500*time.Millisecond {
		t.Errorf("planning: %d told, again %s", told, again)
	}
	if r.unreported() != 3 || r.requests() != 0 {
		t.Errorf("%d unreported, %d requests", r.unreported(), r.requests())
	}
	r.finish(ids[0], plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
	r.plan(ids[1])
	if told, again := r.flush(); told != 1 || again != 0 {
		t.Errorf("planned: %d told, again %s", told, again)
	}
	for _, s := range r.forge.Statuses(mr.Head) {
		if s.State != plumbline.ToldSuccess {
			t.Errorf("it flickers: %+v", s)
		}
	}
	if n := len(r.forge.Statuses(mr.Head)); n != 3 || r.forge.Requests("UpsertNote") != 1 || r.unreported() != 0 {
		t.Errorf("%d statuses, %d notes, %d unreported", n, r.forge.Requests("UpsertNote"), r.unreported())
	}
	if !strings.Contains(r.note(mr.ID), "production · a") {
		t.Errorf("note:\n%s", r.note(mr.ID))
	}
	before, asked := r.requests(), *r.plans.asked
	for range 10 {
		r.flush()
	}
	r.restart(nil)
	r.flush()
	if r.requests() != before || *r.plans.asked != asked {
		t.Error("nothing is new, and the forge or the artifacts are asked")
	}
	if len(r.r.last) != 0 {
		t.Errorf("kept in memory: %v", r.r.last)
	}
}

func TestLongPlan(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	ids := r.open(&mr, "production/a")
	r.start(ids[0])
	_, again := r.flush()
	r.now = r.now.Add(again)
	if told, again := r.flush(); told != 1 || again != 0 {
		t.Errorf("%d told, again %s", told, again)
	}
	r.says(mr.Head, "plumbline: pending", "plumbline/production/a: pending")
	if !strings.Contains(r.note(mr.ID), "⏳") {
		t.Errorf("note:\n%s", r.note(mr.ID))
	}
	r.finish(ids[0], plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
	r.flush()
	r.says(mr.Head, "plumbline: success", "plumbline/production/a: success")
	if len(r.forge.Notes(mr.ID)) != 1 || strings.Contains(r.note(mr.ID), "⏳") || r.unreported() != 0 {
		t.Errorf("note:\n%s", r.note(mr.ID))
	}
}

func TestForgeDown(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.plan(r.open(&mr, "production/a", "lab/b")...)
	for name, fault := range map[string]func(context.Context, string) error{
		"down": forgetest.Outage, "rate limit": forgetest.RateLimit(t0.Add(time.Hour)), "wrong token": forgetest.Denied,
		"statuses only": func(ctx context.Context, method string) error {
			if method == "SetStatus" {
				return forgetest.Outage(ctx, method)
			}
			return nil
		},
	} {
		r.forge.Fault(fault)
		for range 3 {
			if _, _, err := r.r.Flush(t.Context()); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if r.unreported() != 3 {
			t.Errorf("%s: %d unreported, want all 3", name, r.unreported())
		}
	}
	r.forge.Fault(nil)
	r.flush()
	if r.unreported() != 0 || len(r.forge.Statuses(mr.Head)) != 3 {
		t.Errorf("once it is back: %d unreported, statuses %+v", r.unreported(), r.forge.Statuses(mr.Head))
	}
	r.note(mr.ID)
}

// TestNoteFails: statuses do not wait for a note that cannot be written.
func TestNoteFails(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.plan(r.open(&mr, "production/a")...)
	r.forge.Fault(func(ctx context.Context, method string) error {
		if method == "UpsertNote" {
			return forgetest.Denied(ctx, method)
		}
		return nil
	})
	if _, _, err := r.r.Flush(t.Context()); err == nil {
		t.Error("no error")
	}
	r.says(mr.Head, "plumbline: success")
}

// TestGone: a merge request or commit that the forge does not know any more is told of once more, and not forever.
func TestGone(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.plan(r.open(&mr, "production/a")...)
	r.forge.Fault(func(context.Context, string) error { return &forge.HTTPError{Method: "GET", Path: "/", Status: 404} })
	if _, _, err := r.r.Flush(t.Context()); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("flush: %v", err)
	}
	if r.unreported() != 0 {
		t.Errorf("%d are tried again forever", r.unreported())
	}
}

// crashing is a ledger whose daemon dies between telling people and writing that down.
type crashing struct {
	Ledger
	tell, mark bool
}

var errCrash = errors.New("crash")

func (c crashing) Tell(ctx context.Context, repo, key, hash string) error {
	if c.tell {
		return errCrash
	}
	return c.Ledger.Tell(ctx, repo, key, hash)
}

func (c crashing) MarkReported(ctx context.Context, runs []plumbline.RunVersion) error {
	if c.mark {
		return errCrash
	}
	return c.Ledger.MarkReported(ctx, runs)
}

func TestCrash(t *testing.T) {
	for _, c := range []crashing{{tell: true}, {mark: true}, {tell: true, mark: true}} {
		r := newRig(t)
		mr := plumbline.MergeRequest{}
		r.plan(r.open(&mr, "production/a", "lab/b")...)
		r.restart(func(l Ledger) Ledger { c.Ledger = l; return c })
		for range 3 {
			if _, _, err := r.r.Flush(t.Context()); !errors.Is(err, errCrash) {
				t.Fatalf("flush: %v", err)
			}
		}
		r.restart(nil)
		r.settle()
		r.note(mr.ID)
		if n := len(r.forge.Statuses(mr.Head)); n != 3 || r.unreported() != 0 {
			t.Errorf("%d statuses, want 3; %d unreported", n, r.unreported())
		}
	}
}

func TestChangesMeanwhile(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	var stacks []string
	for i := range 100 {
		stacks = append(stacks, fmt.Sprintf("production/s%02d", i))
	}
	ids := r.open(&mr, stacks...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, id := range ids {
			r.plan(id)
		}
	})
	for range 20 {
		if _, _, err := r.r.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	r.settle()
	if r.unreported() != 0 {
		t.Errorf("%d unreported", r.unreported())
	}
	r.says(mr.Head, "plumbline: success", "plumbline/production: success")
	if s := r.forge.Newest(mr.Head); len(s) != 2 || s["plumbline"].Description != "100 stacks: +100" {
		t.Errorf("statuses: %+v", s)
	}
}

func TestManyStacks(t *testing.T) {
	for n, want := range map[int]int{20: 21, 21: 3} {
		r := newRig(t)
		mr := plumbline.MergeRequest{}
		var stacks []string
		for i := range n {
			stacks = append(stacks, fmt.Sprintf("%s/s%02d", []string{"production", "lab"}[i%2], i))
		}
		r.plan(r.open(&mr, stacks...)...)
		r.settle()
		if got := r.forge.Newest(mr.Head); len(got) != want {
			t.Errorf("%d stacks: %d statuses, want %d: %q", n, len(got), want, slices.Sorted(maps.Keys(got)))
		}
	}
}

// TestNeverPending: whatever a run ends as, no status stays pending.
func TestNeverPending(t *testing.T) {
	end := map[plumbline.State]func(r *rig, id plumbline.RunID){
		plumbline.StateClean: func(r *rig, id plumbline.RunID) {
			r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, &plumbline.PlanInfo{})
		},
		plumbline.StateFailed: func(r *rig, id plumbline.RunID) {
			r.finish(id, plumbline.Outcome{Failure: &plumbline.Failure{Text: "boom"}}, nil)
		},
		plumbline.StateCanceled: func(r *rig, id plumbline.RunID) {
			r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Cancel("ops", now) })
			r.finish(id, plumbline.Outcome{Interrupted: true}, nil)
		},
		plumbline.StateRejected: func(r *rig, id plumbline.RunID) {
			r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
			r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Reject("ann", "not today", now) })
		},
		plumbline.StateExpired: func(r *rig, id plumbline.RunID) {
			r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
			r.update(id, func(run *plumbline.Run, _ time.Time) error {
				run.State, run.Finished = plumbline.StateExpired, r.now
				return nil
			})
		},
		plumbline.StateInterrupted: func(r *rig, id plumbline.RunID) {
			r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
			r.update(id, func(run *plumbline.Run, now time.Time) error {
				return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, digest, now)
			})
			r.start(id)
			r.finish(id, plumbline.Outcome{Interrupted: true}, nil)
		},
	}
	want := map[plumbline.State]plumbline.Told{
		plumbline.StateClean: plumbline.ToldSuccess, plumbline.StateFailed: plumbline.ToldFailure, plumbline.StateCanceled: plumbline.ToldError,
		plumbline.StateRejected: plumbline.ToldFailure, plumbline.StateExpired: plumbline.ToldFailure, plumbline.StateInterrupted: plumbline.ToldError,
	}
	for state, f := range end {
		for _, stacks := range [][]string{{"production/a"}, {"production/a", "production/b"}} {
			r := newRig(t)
			ids := r.deploy("c1", stacks...)
			r.start(ids[0])
			r.settle()
			r.says("c1", "plumbline/production/a: pending", "plumbline: pending")
			f(r, ids[0])
			for _, id := range ids[1:] {
				r.apply(id)
			}
			r.settle()
			r.says("c1", "plumbline/production/a: "+string(want[state]), "plumbline: "+string(want[state]))
			if s := r.forge.Newest("c1")["plumbline/production/a"]; state == plumbline.StateRejected && s.Description != "rejected by ann: not today" {
				t.Errorf("description %q", s.Description)
			}
		}
	}
}

func TestSecondPush(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.plan(r.open(&mr, "production/a")...)
	r.settle()
	first := mr.Head
	r.forge.Push(mr.ID, "head2")
	mr.Head = "head2"
	ids := r.open(&mr, "production/b")
	r.settle()
	r.plan(ids...)
	r.settle()
	if n := r.note(mr.ID); strings.Contains(n, "production · a") || !strings.Contains(n, "production · b") {
		t.Errorf("note of the second push:\n%s", n)
	}
	// The third touches nothing: the note must not go on telling of plans that are no more.
	mr.Head = "head3"
	r.open(&mr)
	r.settle()
	if n := r.note(mr.ID); strings.Contains(n, "production · b") || !strings.Contains(n, "no stack touched") {
		t.Errorf("note of a push that touches nothing:\n%s", n)
	}
	r.says("head3", "plumbline: success")
	// The same head, proposed to another target: plans for the first do not count.
	mr.Target, mr.Base = "other", "base2"
	r.plan(r.open(&mr, "lab/c")...)
	r.settle()
	mr.Base = "base3"
	r.plan(r.open(&mr, "lab/d")...)
	r.settle()
	if n := r.note(mr.ID); strings.Contains(n, "lab · c") || !strings.Contains(n, "lab · d") {
		t.Errorf("note of another target:\n%s", n)
	}
	r.says(first, "plumbline: success")
}

// TestUntouched: a merge request that touches no stack gets a status and no note.
func TestUntouched(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.open(&mr)
	r.settle()
	if s := r.forge.Newest(mr.Head)["plumbline"]; s.State != plumbline.ToldSuccess || s.Description != "Touches no stack." || len(r.forge.Notes(mr.ID)) != 0 {
		t.Errorf("status %+v, notes %+v", s, r.forge.Notes(mr.ID))
	}
}

func TestSpecialRequests(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mr     plumbline.MergeRequest
		state  plumbline.Told
		status string
		note   string
	}{
		{"skipped", plumbline.MergeRequest{Skipped: "It is a draft."}, plumbline.ToldFailure, "Not planned. It is a draft.", "Not planned"},
		{"conflict", plumbline.MergeRequest{Conflict: true, Findings: []plumbline.Finding{{File: "a.tf"}}}, plumbline.ToldFailure, "Conflicts with main.", "conflicts with"},
		{"findings", plumbline.MergeRequest{Findings: []plumbline.Finding{{File: ".plumbline.hcl", Line: 3, Message: "unclosed block"}}}, plumbline.ToldFailure, ".plumbline.hcl:3: unclosed block", "unclosed block"},
		{"removed", plumbline.MergeRequest{Removed: []string{"production/a"}}, plumbline.ToldSuccess, "Removes 1 stack.", "go away"},
	} {
		r := newRig(t)
		r.open(&tt.mr)
		r.settle()
		s := r.forge.Newest(tt.mr.Head)["plumbline"]
		if s.State != tt.state || s.Description != tt.status || !strings.Contains(r.note(tt.mr.ID), tt.note) {
			t.Errorf("%s: %+v, note:\n%s", tt.name, s, r.note(tt.mr.ID))
		}
	}
}
