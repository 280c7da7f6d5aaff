package report

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// merge merges a request in the ledger, as brought by the newest deployments.
func (r *rig) merge(mr *plumbline.MergeRequest, commit string) {
	r.t.Helper()
	ds, err := r.store.Deployments(r.t.Context(), "infra", "production", 1)
	if err != nil || len(ds) == 0 {
		r.t.Fatal(err)
	}
	mr.State, mr.MergeCommit, mr.Deployment = plumbline.MRMerged, commit, ds[0].ID
	r.observe(plumbline.Observation{MergeRequest: mr, Supersede: []string{plumbline.SubjectMR(mr.ID)}})
}

func TestMergedFollows(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after func(r *rig, id plumbline.RunID)
		want  string
	}{
		{"applied", func(r *rig, id plumbline.RunID) { r.apply(id) }, "| applied |"},
		{"waits", func(r *rig, id plumbline.RunID) { r.plan(id) }, "waits for an approval"},
		{"superseded, then applied", func(r *rig, _ plumbline.RunID) { r.apply(r.deploy("c2", "production/a")[0]) }, "| applied |"},
		{"failed, then applied with the next commit", func(r *rig, id plumbline.RunID) {
			r.fail(id)
			r.settle()
			r.apply(r.deploy("c2", "production/a")[0])
		}, "| applied |"},
		{"applied, and a later commit fails", func(r *rig, id plumbline.RunID) {
			r.apply(id)
			r.fail(r.deploy("c2", "production/a")[0])
		}, "| applied |"},
		{"superseded many times", func(r *rig, _ plumbline.RunID) {
			for i := range 15 {
				r.deploy(fmt.Sprint("c", i+2), "production/a")
				r.settle()
			}
			r.apply(r.deploy("last", "production/a")[0])
		}, "| applied |"},
		{"fails", func(r *rig, id plumbline.RunID) { r.fail(id) }, "| failed |"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			mr := plumbline.MergeRequest{}
			r.plan(r.open(&mr, "production/a")...)
			r.settle()
			id := r.deploy("c1", "production/a")[0]
			r.merge(&mr, "c1")
			r.settle()
			tt.after(r, id)
			r.settle()
			if n := r.note(mr.ID); !strings.Contains(n, tt.want) {
				t.Errorf("note:\n%s", n)
			}
			r.says(mr.Head, "plumbline: success", "plumbline/production/a: success")
			if r.unreported() != 0 {
				t.Errorf("%d unreported", r.unreported())
			}
		})
	}
}

// TestMergedNoteFails: the last edit of a merged request's note is tried again like any other.
func TestMergedNoteFails(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.plan(r.open(&mr, "production/a")...)
	id := r.deploy("c1", "production/a")[0]
	r.merge(&mr, "c1")
	r.settle()
	r.apply(id)
	r.forge.Fault(func(ctx context.Context, method string) error {
		if method == "UpsertNote" {
			return forgetest.Outage(ctx, method)
		}
		return nil
	})
	if _, _, err := r.r.Flush(t.Context()); err == nil {
		t.Error("no error")
	}
	r.forge.Fault(nil)
	r.settle()
	if !strings.Contains(r.note(mr.ID), "| applied |") {
		t.Errorf("note:\n%s", r.note(mr.ID))
	}
}

func TestMergedUnplanned(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{Removed: []string{"production/old"}}
	r.plan(r.open(&mr, "production/a")...)
	r.settle()
	// Pushed to and merged before the new head could be planned; it removes a stack as well.
	mr.Head = "late"
	ids := r.deploy("c1", "production/a", "-production/old")
	r.merge(&mr, "c1")
	r.settle()
	for _, id := range ids {
		r.apply(id)
	}
	r.settle()
	if n := r.note(mr.ID); strings.Count(n, "| applied |") != 2 {
		t.Errorf("note:\n%s", n)
	}
}

// TestClosedWhilePending: a request that is closed while it is planned leaves nothing pending; one that was never told of gets nothing.
func TestClosedWhilePending(t *testing.T) {
	for _, quick := range []bool{false, true} {
		for _, fastForward := range []bool{false, true} {
			r := newRig(t)
			mr := plumbline.MergeRequest{}
			r.open(&mr, "production/a")
			if !quick {
				r.settle()
				r.says(mr.Head, "plumbline: pending")
			}
			if fastForward {
				id := r.deploy(mr.Head, "production/a")[0]
				r.merge(&mr, mr.Head)
				r.apply(id)
				r.settle()
				r.says(mr.Head, "plumbline: success", "plumbline/production/a: success")
				continue
			}
			mr.State = plumbline.MRClosed
			r.open(&mr)
			r.settle()
			if quick {
				if n := len(r.forge.Statuses(mr.Head)); n != 0 {
					t.Errorf("%d statuses of a request that was closed before anything was said", n)
				}
				continue
			}
			r.says(mr.Head, "plumbline: error", "plumbline/production/a: error")
		}
	}
}

// TestCommitOfTwoEnvironments: the aggregate of a commit is of all its environments, whichever changed last, and a deployment of the same
// commit that somebody asked for takes the place of the first.
func TestCommitOfTwoEnvironments(t *testing.T) {
	r := newRig(t)
	ids := r.deploy("c1", "production/a", "lab/b")
	r.apply(ids[1])
	r.settle()
	r.says("c1", "plumbline/lab/b: success", "plumbline/production/a: pending", "plumbline: pending")
	r.plan(ids[0])
	r.settle()
	if s := r.forge.Newest("c1")["plumbline"]; s.State != plumbline.ToldPending || !strings.HasPrefix(s.Description, "1 of 2 stacks awaiting approval") {
		t.Errorf("aggregate: %+v", s)
	}
	again := r.deploy("c1", "production/a")
	r.settle()
	r.says("c1", "plumbline/production/a: pending", "plumbline/lab/b: success", "plumbline: pending")
	r.apply(again[0])
	r.settle()
	r.says("c1", "plumbline/production/a: success", "plumbline: success")
	for _, s := range r.forge.Statuses("c1") {
		if s.State == plumbline.ToldError || s.State == plumbline.ToldFailure {
			t.Errorf("it flickers: %+v", s)
		}
	}
}

// TestRemovedOnly: a commit that only removes stacks is told of too.
func TestRemovedOnly(t *testing.T) {
	r := newRig(t)
	id := r.deploy("c1", "-production/old")[0]
	r.plan(id)
	r.settle()
	r.says("c1", "plumbline/production/old: pending")
	r.apply(id)
	r.settle()
	r.says("c1", "plumbline/production/old: success", "plumbline: success")
	if c := r.forge.Commits(); !slices.Equal(c, []string{"c1"}) {
		t.Errorf("statuses on %q", c)
	}
}

func TestDrift(t *testing.T) {
	r := newRig(t)
	check := func(stack string, found ...plumbline.Difference) {
		t.Helper()
		r.look(stack, found...)
		r.settle()
	}
	check("a")
	if r.requests() != 0 {
		t.Error("a check that finds nothing is no news")
	}
	d := plumbline.Difference{Address: "a.b", Kind: plumbline.DriftChanged}
	for range 3 {
		check("a", d)
	}
	if s := r.forge.Statuses("c1"); len(s) != 1 || s[0].State != plumbline.ToldFailure || s[0].Description != "1 resource changed outside Git in 1 stack." {
		t.Errorf("statuses: %+v", s)
	}
	check("b", d, plumbline.Difference{Address: "c.d", Kind: plumbline.DriftDeleted})
	if s := r.forge.Newest("c1")["plumbline/production/drift"]; s.Description != "3 resources changed outside Git in 2 stacks." {
		t.Errorf("status: %+v", s)
	}
	check("a")
	check("b")
	if s := r.forge.Newest("c1")["plumbline/production/drift"]; s.State != plumbline.ToldSuccess || len(r.forge.Statuses("c1")) != 4 {
		t.Errorf("statuses: %+v", r.forge.Statuses("c1"))
	}
}

// counted counts the keys under which it is kept what people were told.
type counted struct {
	Ledger
	keys map[string]bool
}

func (l counted) Tell(ctx context.Context, repo, key, hash string) error {
	l.keys[key] = true
	return l.Ledger.Tell(ctx, repo, key, hash)
}

// TestToldIsBounded: what was told is kept for each stack and merge request, not for each commit.
func TestToldIsBounded(t *testing.T) {
	r := newRig(t)
	l := counted{keys: map[string]bool{}}
	r.restart(func(ledger Ledger) Ledger { l.Ledger = ledger; return l })
	for i := range 30 {
		for _, id := range r.deploy(fmt.Sprint("c", i), "production/a", "lab/b") {
			r.apply(id)
		}
		r.settle()
	}
	if len(l.keys) != 6 {
		t.Errorf("%d keys after 30 commits: %q", len(l.keys), slices.Sorted(maps.Keys(l.keys)))
	}
}

// TestHoldForgets: a subject that went on under another daemon's eyes is not remembered here forever.
func TestHoldForgets(t *testing.T) {
	r := newRig(t)
	for i := range 50 {
		mr := plumbline.MergeRequest{}
		ids := r.open(&mr, fmt.Sprint("production/s", i))
		r.flush()
		other := New(Config{Repository: r.repo, Forge: r.forge.Client(), Ledger: r.store, Plans: r.plans, Now: func() time.Time { return r.now }})
		r.plan(ids...)
		if _, _, err := other.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.now = r.now.Add(time.Minute)
	}
	if n := len(r.r.last); n > 5 {
		t.Errorf("%d subjects are remembered", n)
	}
}

// TestMoreThanABatch: what does not fit one look is looked at soon.
func TestMoreThanABatch(t *testing.T) {
	r := newRig(t)
	var runs []plumbline.Run
	for i := range batch + 10 {
		runs = append(runs, r.newRun(plumbline.KindDrift, "production", fmt.Sprint("s", i), "c1"))
	}
	r.observe(plumbline.Observation{Runs: runs})
	if _, again := r.flush(); again == 0 {
		t.Error("the rest waits for something to change")
	}
	r.settle()
	if r.unreported() != 0 {
		t.Errorf("%d unreported", r.unreported())
	}
}

// TestOrder: the same changes are told in the same order.
func TestOrder(t *testing.T) {
	var first []string
	for range 5 {
		r := newRig(t)
		var order []string
		r.forge.Fault(func(_ context.Context, method string) error { order = append(order, method); return nil })
		for range 3 {
			mr := plumbline.MergeRequest{}
			r.plan(r.open(&mr, "production/a", "lab/b", "lab/a")...)
		}
		r.plan(r.deploy("c1", "production/a", "lab/b")...)
		r.settle()
		if first == nil {
			first = order
		} else if !slices.Equal(order, first) {
			t.Errorf("order:\n%q\n%q", order, first)
		}
	}
}

// batching is a forge that takes a note with its statuses in one go, as a bare remote does.
type batching struct {
	forge.Client
	tells, sets *int
}

func (b batching) Tell(ctx context.Context, mr plumbline.MergeRequest, marker, body string, all []plumbline.CommitStatus) error {
	*b.tells++
	if err := b.UpsertNote(ctx, mr, marker, body); err != nil {
		return err
	}
	return b.set(ctx, mr.Head, all)
}

func (b batching) SetStatuses(ctx context.Context, commit string, all []plumbline.CommitStatus) error {
	*b.sets++
	return b.set(ctx, commit, all)
}

func (b batching) set(ctx context.Context, commit string, all []plumbline.CommitStatus) error {
	for _, s := range all {
		if err := b.SetStatus(ctx, commit, s); err != nil {
			return err
		}
	}
	return nil
}

func TestBatching(t *testing.T) {
	r := newRig(t)
	b := batching{r.forge.Client(), new(int), new(int)}
	r.r = New(Config{Repository: r.repo, Forge: b, Ledger: r.store, Plans: r.plans, Now: func() time.Time { return r.now }})
	mr := plumbline.MergeRequest{}
	r.open(&mr, "production/a", "lab/b")
	r.settle()
	r.says(mr.Head, "plumbline: pending")
	mr.State = plumbline.MRClosed
	r.open(&mr)
	r.settle()
	r.says(mr.Head, "plumbline: error")
	if *b.tells != 2 || *b.sets != 0 {
		t.Errorf("%d pushes with a note, %d without, want 2 and 0", *b.tells, *b.sets)
	}
	for _, id := range r.deploy("c1", "production/a", "lab/b") {
		r.apply(id)
	}
	r.settle()
	r.says("c1", "plumbline: success")
	if *b.sets != 1 {
		t.Errorf("%d pushes for a commit, want 1", *b.sets)
	}
}
