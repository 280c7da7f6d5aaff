package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestAdopt(t *testing.T) {
	for _, tt := range []struct {
		name  string
		phase plumbline.Phase
		away  func(r *rig, id plumbline.RunID) // while no daemon is there
		after func(r *rig, id plumbline.RunID) // once the next is there
		want  plumbline.State
		start int // processes in all
	}{
		{"a plan at work", plumbline.PhasePlan, nil, func(r *rig, id plumbline.RunID) { r.ends(id, planned(digest)) }, plumbline.StateAwaiting, 1},
		{"a plan that has ended", plumbline.PhasePlan, func(r *rig, id plumbline.RunID) { r.ends(id, planned(digest)) }, nil, plumbline.StateAwaiting, 1},
		{"a plan that was lost", plumbline.PhasePlan, (*rig).killed, func(r *rig, id plumbline.RunID) { r.ends(id, planned(digest)) }, plumbline.StateAwaiting, 2},
		{"an apply at work", plumbline.PhaseApply, nil, func(r *rig, id plumbline.RunID) { r.ends(id, applied) }, plumbline.StateApplied, 2},
		{"an apply that has ended", plumbline.PhaseApply, func(r *rig, id plumbline.RunID) { r.ends(id, applied) }, nil, plumbline.StateApplied, 2},
		{"an apply that was lost", plumbline.PhaseApply, (*rig).killed, nil, plumbline.StateInterrupted, 2},
		{"an apply that was declared interrupted", plumbline.PhaseApply, (*rig).expire, func(r *rig, id plumbline.RunID) { r.ends(id, applied) }, plumbline.StateApplied, 2},
		{"a plan whose lease is over", plumbline.PhasePlan, (*rig).expire, func(r *rig, id plumbline.RunID) {
			// The new claim waits until the old process is stopped.
			r.is(id, plumbline.StatePlanning)
			r.interrupts(id, 1)
			tick(time.Hour)
			if n := len(r.started); n != 1 {
				r.t.Errorf("%d processes: %q", n, r.started)
			}
			r.ends(id, interrupted)
			r.ends(id, planned(digest))
		}, plumbline.StateAwaiting, 2},
		{"a plan that another node has", plumbline.PhasePlan, (*rig).steal, func(r *rig, id plumbline.RunID) {
			r.interrupts(id, 1)
			r.ends(id, interrupted)
			r.gone(id)
		}, plumbline.StatePlanning, 1},
		{"an apply that was canceled meanwhile", plumbline.PhaseApply, (*rig).cancel, func(r *rig, id plumbline.RunID) {
			tick(lease)
			r.interrupts(id, 1)
			r.ends(id, interrupted)
		}, plumbline.StateInterrupted, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.config = func(c *Config) { c.Slots = 2 }
				d := r.daemon()
				id := r.started1(tt.phase, "a")
				d.crash()
				if tt.away != nil {
					tt.away(r, id)
				}
				d = r.daemon()
				if tt.after != nil {
					tt.after(r, id)
				}
				tick(time.Second)
				r.is(id, tt.want)
				if len(r.started) != tt.start {
					t.Errorf("started: %q, want %d", r.started, tt.start)
				}
				if tt.want == plumbline.StateAwaiting {
					r.approve(id)
					r.ends(id, applied)
					r.is(id, plumbline.StateApplied)
				}
				d.end()
			})
		})
	}
}

// TestAdoptWithoutSettings: an apply goes on though its environment has left the configuration.
func TestAdoptWithoutSettings(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.started1(plumbline.PhaseApply, "a")
		d.crash()
		r.config = func(c *Config) {
			c.Settings = func(context.Context, plumbline.Run) (Settings, error) { return Settings{}, errors.New("gone") }
		}
		d = r.daemon()
		r.is(id, plumbline.StateApplying)
		r.ends(id, applied)
		r.is(id, plumbline.StateApplied)
		d.end()
	})
}

// TestAdoptAwaiting: a directory that waits for an approval is not a run that goes on.
func TestAdoptAwaiting(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.started1(plumbline.PhasePlan, "a")
		r.ends(id, planned(digest))
		d.end()
		d = r.daemon()
		r.is(id, plumbline.StateAwaiting)
		r.approve(id)
		r.ends(id, applied)
		r.is(id, plumbline.StateApplied)
		d.end()
	})
}

// TestAdoptedTakeSlots: what an earlier daemon left counts among the processes at once, and is given back by a drain.
func TestAdoptedTakeSlots(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 2 }
		d := r.daemon()
		apply, plan := r.started1(plumbline.PhaseApply, "a"), r.started1(plumbline.PhasePlan, "b")
		d.crash()
		waits := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "c")[0]
		r.config = nil // one slot
		d = r.daemon()
		tick(time.Minute)
		r.is(waits, plumbline.StateQueued)
		r.ends(apply, applied)
		tick(time.Minute)
		r.is(waits, plumbline.StatePlanning)
		d.drain()
		tick(time.Minute)
		r.interrupts(plan, 1)
		r.ends(plan, interrupted)
		r.ends(waits, interrupted)
		r.is(plan, plumbline.StateQueued)
		r.is(waits, plumbline.StateQueued)
		d.end()
	})
}

// TestLostAgain: a plan whose process is killed each time does not go on forever.
func TestLostAgain(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.started1(plumbline.PhasePlan, "a")
		for range lostTries {
			r.is(id, plumbline.StatePlanning)
			r.killed(id)
		}
		if run := r.is(id, plumbline.StateFailed); !strings.Contains(run.Failure.Text, "was killed") {
			t.Errorf("failure: %+v", run.Failure)
		}
		d.end()
	})
}

// TestLostApplyKeepsItsRecord: what a killed apply is known to have made is told with the run, since the state may not know of it.
func TestLostApplyKeepsItsRecord(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.started1(plumbline.PhaseApply, "a")
		r.killed(id)
		if run := r.is(id, plumbline.StateInterrupted); len(run.Created) != 1 || run.Created[0].ID != "i-1" || run.Failure == nil {
			t.Errorf("%+v", run)
		}
		d.end()
	})
}

// TestDatabaseAway: while the store is out of reach an apply goes on and its result is written when it is back; a plan, which somebody
// else may have by then, is stopped.
func TestDatabaseAway(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 2 }
		d := r.daemon()
		apply, plan := r.started1(plumbline.PhaseApply, "a"), r.started1(plumbline.PhasePlan, "b")
		q := d.w.c.Queue.(*queue1)
		q.set(errAway)
		tick(20 * time.Second)
		r.interrupts(plan, 0)
		tick(time.Minute)
		r.interrupts(plan, 1)
		r.interrupts(apply, 0)
		r.ends(plan, interrupted)
		r.ends(apply, applied)
		tick(10 * time.Minute)
		r.is(apply, plumbline.StateApplying)
		r.expire(apply) // another node sees the lease
		q.set(nil)
		tick(time.Minute)
		r.is(apply, plumbline.StateApplied)
		r.is(plan, plumbline.StatePlanning) // given back, taken again
		if run := r.run(plan); run.Claim.Fence != 2 {
			t.Errorf("claim: %+v", run.Claim)
		}
		r.ends(plan, planned(digest))
		d.end()
	})
}

// TestEngineFails: an engine that fails is asked again; what stays unknown of an apply is not called a failure.
func TestEngineFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		phase plumbline.Phase
		fails int
		want  plumbline.State
	}{
		{"a plan, for a moment", plumbline.PhasePlan, 3, plumbline.StateApplied},
		{"a plan, for good", plumbline.PhasePlan, 100, plumbline.StateFailed},
		{"an apply, for a moment", plumbline.PhaseApply, 3, plumbline.StateApplied},
		{"an apply, for good", plumbline.PhaseApply, 100, plumbline.StateInterrupted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				calls := 0
				r.auto = both
				r.do = func(job plumbline.Job) error {
					if job.Phase != tt.phase {
						return nil
					}
					if calls++; calls > tt.fails {
						return nil
					}
					return errors.New("too many open files")
				}
				d := r.daemon()
				id := r.queue(plumbline.ApplyAutomatic, plumbline.KindDeploy, "a")[0]
				tick(time.Minute)
				r.is(id, tt.want)
				d.end()
			})
		})
	}
}

func TestLog(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.source.left = []plumbline.Finding{{File: "big.bin", Message: "too large"}}
		d := r.daemon()
		id := r.started1(plumbline.PhasePlan, "a")
		want := "left out: big.bin: too large\nplan begins\n"
		tick(2 * time.Second)
		if got := r.log(id, plumbline.PhasePlan); got != want {
			t.Errorf("while it goes on: %q", got)
		}
		// A new daemon gets the whole log once more.
		r.says(id, "one\n")
		d.crash()
		r.says(id, "two\n")
		d = r.daemon()
		tick(2 * time.Second)
		if got := r.log(id, plumbline.PhasePlan); got != want+"one\ntwo\n" {
			t.Errorf("after a crash: %q", got)
		}
		// Given back and begun again: what was said before stays, and nothing is said twice.
		d.drain()
		tick(time.Second)
		r.ends(id, interrupted)
		d.end()
		before := want + "one\ntwo\nplan ends\n"
		d = r.daemon()
		tick(2 * time.Second)
		if got := r.log(id, plumbline.PhasePlan); got != before+begunAgain+want {
			t.Errorf("begun again: %q", got)
		}
		d.crash()
		d = r.daemon()
		r.says(id, "three\n")
		r.ends(id, planned(digest))
		r.is(id, plumbline.StateAwaiting)
		if got := r.log(id, plumbline.PhasePlan); got != before+begunAgain+want+"three\nplan ends\n" {
			t.Errorf("at the end: %q", got)
		}
		r.approve(id)
		r.ends(id, applied)
		if got := r.log(id, plumbline.PhaseApply); got != "apply begins\napplies plan "+digest+" in clear\napply ends\n" {
			t.Errorf("apply: %q", got)
		}
		d.end()
		r.sealed("plan begins", "three")
	})
}

// TestLogKept: what cannot be kept for a while is kept later, in order, and is not without a limit.
func TestLogKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept []string
		var unread, full atomic.Bool
		broken := errors.New("no room")
		c := &chunkWriter{
			every: time.Second,
			load: func() (int, int64, bool, error) {
				if unread.Load() {
					return 0, 0, false, broken
				}
				return 3, 5, false, nil
			},
			put: func(seq int, b []byte) error {
				if full.Load() {
					return broken
				}
				if want := 3 + len(kept); seq != want {
					t.Errorf("chunk %d, want %d", seq, want)
				}
				kept = append(kept, string(b))
				return nil
			},
		}
		write := func(s string) {
			if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
				t.Errorf("write: %d %v", n, err)
			}
		}
		unread.Store(true)
		full.Store(true)
		write("known, ")
		tick(2 * time.Second)
		write("new, ")
		tick(2 * time.Second)
		unread.Store(false)
		tick(2 * time.Second)
		write("newer.")
		full.Store(false)
		tick(2 * time.Second)
		write(strings.Repeat("x", chunkBytes)) // at once
		if want := []string{", new, newer.", strings.Repeat("x", chunkBytes)}; !slices.Equal(kept, want) {
			t.Errorf("kept: %.100q", kept)
		}
		full.Store(true)
		for range 2*keepBytes/chunkBytes + 1 {
			write(strings.Repeat("y", chunkBytes))
		}
		if err := c.Close(); !errors.Is(err, broken) {
			t.Errorf("close: %v", err)
		}
		full.Store(false)
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if last := kept[len(kept)-1]; len(last) > keepBytes+100 || !strings.Contains(last, "bytes of the log could not be kept") {
			t.Errorf("%d bytes are kept in memory", len(last))
		}
	})
}

func TestSweep(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 4 }
		d := r.daemon()
		awaiting, busy := r.started1(plumbline.PhasePlan, "a"), r.started1(plumbline.PhaseApply, "b")
		r.ends(awaiting, planned(digest))
		rejected := r.started1(plumbline.PhasePlan, "c")
		r.ends(rejected, planned(digest))
		r.update(rejected, func(run *plumbline.Run, now time.Time) error { return run.Reject("ops", "no", now) })
		if err := os.MkdirAll(filepath.Join(r.dir, "4711", "src"), 0o700); err != nil { // of a run that a restored database does not know
			t.Fatal(err)
		}
		if n, err := d.w.Sweep(t.Context()); n != 2 || err != nil {
			t.Errorf("%d swept %v, want 2", n, err)
		}
		r.gone(rejected)
		r.gone(4711)
		for _, id := range []plumbline.RunID{awaiting, busy} {
			if _, err := os.Stat(filepath.Join(r.dir, id.String(), "src")); err != nil {
				t.Error(err)
			}
		}
		// Ended for the store, at work here all the same: it is left alone.
		r.expire(busy)
		if n, err := d.w.Sweep(t.Context()); n != 0 || err != nil {
			t.Errorf("%d swept %v, want 0", n, err)
		}
		r.ends(busy, applied)
		d.end()
	})
}

// TestHands: the hand that ends a run's phase and the hand that begins the next do not get into each other's way.
func TestHands(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 4 }
		stale := map[plumbline.RunID]int{}
		r.auto = func(job plumbline.Job) *plumbline.Outcome {
			out := planned(digest)
			if job.Phase == plumbline.PhaseApply {
				out = plumbline.Outcome{Stale: true}
				if stale[job.Run]++; stale[job.Run] > 5 {
					out = applied
				}
			}
			return &out
		}
		d := r.daemon()
		ids := r.queue(plumbline.ApplyAutomatic, plumbline.KindDeploy, "a", "b", "c", "d", "e", "f", "g", "h")
		tick(time.Minute)
		for _, id := range ids {
			r.is(id, plumbline.StateApplied)
			r.gone(id)
		}
		if n := len(d.w.active); n != 0 {
			t.Errorf("%d runs are still held", n)
		}
		d.end()
	})
}
