package worker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var interrupted = plumbline.Outcome{Interrupted: true}

// steal has another node take the run, whose lease it thinks is over.
func (r *rig) steal(id plumbline.RunID) {
	r.t.Helper()
	r.expire(id)
	if r.run(id).State == plumbline.StateInterrupted {
		r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Retry("ops", now) })
	}
	r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Start("other", now, lease) })
}

func (r *rig) expire(id plumbline.RunID) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error { run.LeaseUntil = now; return run.Expire(now) })
}

func (r *rig) interrupts(id plumbline.RunID, want int) {
	r.t.Helper()
	p := r.proc(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == nil || p.interrupted != want {
		r.t.Errorf("run %s: process %+v, want it interrupted %d times", id, p, want)
	}
}

// gone reports a directory that is still there.
func (r *rig) gone(id plumbline.RunID) {
	r.t.Helper()
	if _, err := os.Stat(filepath.Join(r.dir, id.String())); !errors.Is(err, fs.ErrNotExist) {
		r.t.Errorf("the directory of run %s is still there: %v", id, err)
	}
}

// started1 puts a run as far as a phase is at work.
func (r *rig) started1(phase plumbline.Phase, stack string) plumbline.RunID {
	r.t.Helper()
	id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, stack)[0]
	if phase == plumbline.PhaseApply {
		r.ends(id, planned(digest))
		r.approve(id)
		r.is(id, plumbline.StateApplying)
	}
	if p := r.proc(id); p == nil || !p.alive() {
		r.t.Fatalf("no process of run %s", id)
	}
	return id
}

func TestLeaseKept(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.started1(plumbline.PhaseApply, "a")
		for range 60 {
			tick(time.Minute)
			if left := time.Until(r.run(id).LeaseUntil); left < lease/2 {
				t.Fatalf("%s of the lease are left", left)
			}
		}
		r.ends(id, applied)
		r.is(id, plumbline.StateApplied)
		d.end()
	})
}

func TestLeaseLost(t *testing.T) {
	for _, phase := range []plumbline.Phase{plumbline.PhasePlan, plumbline.PhaseApply} {
		t.Run(string(phase), func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				d := r.daemon()
				id := r.started1(phase, "a")
				r.steal(id)
				tick(lease)
				r.interrupts(id, 1)
				before := r.run(id)
				if phase == plumbline.PhasePlan {
					r.ends(id, planned(digest))
				} else {
					r.ends(id, plumbline.Outcome{Interrupted: true, Created: []plumbline.Created{{Address: "a.b"}}})
				}
				tick(time.Minute)
				after := r.run(id)
				if after.Version != before.Version || after.Claim.Worker != "other" || after.State != plumbline.StatePlanning {
					t.Errorf("a late worker writes: %+v", after)
				}
				names, err := r.blobs.List(t.Context(), "runs/")
				if err != nil {
					t.Error(err)
				}
				for _, n := range names {
					if phase == plumbline.PhasePlan && strings.Contains(n, planFile) {
						t.Errorf("a late worker seals %s", n)
					}
				}
				r.gone(id)
				d.end()
			})
		})
	}
}

// TestLateResult: an apply that was declared interrupted, and that nobody has taken since, gets its own result after all.
func TestLateResult(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.started1(plumbline.PhaseApply, "a")
		r.expire(id)
		r.is(id, plumbline.StateInterrupted)
		tick(lease)
		r.interrupts(id, 1)
		r.ends(id, applied)
		r.is(id, plumbline.StateApplied)
		d.end()
	})
}

func TestWishes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		phase plumbline.Phase
		wish  plumbline.Rule
		out   plumbline.Outcome
		want  plumbline.State
		told  int
	}{
		{"cancel a plan", plumbline.PhasePlan, cancel, interrupted, plumbline.StateCanceled, 1},
		{"cancel a plan that is quicker", plumbline.PhasePlan, cancel, planned(digest), plumbline.StateCanceled, 1},
		{"supersede a plan", plumbline.PhasePlan, supersede, interrupted, plumbline.StateSuperseded, 1},
		{"cancel an apply", plumbline.PhaseApply, cancel, interrupted, plumbline.StateInterrupted, 1},
		{"cancel an apply that is quicker", plumbline.PhaseApply, cancel, applied, plumbline.StateApplied, 1},
		{"supersede an apply", plumbline.PhaseApply, supersede, applied, plumbline.StateApplied, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				d := r.daemon()
				id := r.started1(tt.phase, "a")
				r.unready = 3 // it has just been started
				r.update(id, tt.wish)
				tick(5 * time.Second) // less than a beat
				r.interrupts(id, tt.told)
				tick(2 * time.Minute)
				r.interrupts(id, tt.told)
				r.ends(id, tt.out)
				run := r.is(id, tt.want)
				if tt.want == plumbline.StateCanceled && run.Reason != "canceled by ops" {
					t.Errorf("reason %q", run.Reason)
				}
				r.gone(id)
				d.end()
			})
		})
	}
}

func cancel(r *plumbline.Run, now time.Time) error    { return r.Cancel("ops", now) }
func supersede(r *plumbline.Run, now time.Time) error { return r.Supersede(now) }

// TestStoppedBeforeStart: a wish, a drain or the end that comes while files are laid out starts no Terraform.
func TestStoppedBeforeStart(t *testing.T) {
	for _, tt := range []struct {
		name  string
		apply bool
		stop  func(d *daemon, id plumbline.RunID)
		want  plumbline.State
	}{
		{"cancel a plan", false, func(d *daemon, id plumbline.RunID) { d.r.cancel(id) }, plumbline.StateCanceled},
		{"drain a plan", false, func(d *daemon, _ plumbline.RunID) { d.drain() }, plumbline.StateQueued},
		{"end a plan", false, func(d *daemon, _ plumbline.RunID) { d.stop() }, plumbline.StateQueued},
		{"cancel an apply", true, func(d *daemon, id plumbline.RunID) { d.r.cancel(id) }, plumbline.StateInterrupted},
		{"end an apply", true, func(d *daemon, _ plumbline.RunID) { d.stop() }, plumbline.StateInterrupted},
		{"lose an apply", true, func(d *daemon, id plumbline.RunID) { d.r.steal(id) }, plumbline.StatePlanning},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				var id plumbline.RunID
				if tt.apply {
					d := r.daemon()
					id = r.started1(plumbline.PhasePlan, "a")
					r.ends(id, planned(digest))
					d.end()
					if err := os.RemoveAll(filepath.Join(r.dir, id.String())); err != nil { // as on another node
						t.Fatal(err)
					}
					r.approve(id)
				}
				r.source.gate = make(chan struct{}) // never opens
				d := r.daemon()
				if !tt.apply {
					id = r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "a")[0]
				}
				starts := len(r.started)
				tt.stop(d, id)
				tick(time.Minute)
				run := r.run(id)
				if run.State != tt.want || len(r.started) != starts {
					t.Errorf("it is %s (%+v), want %s; started: %q", run.State, run.Failure, tt.want, r.started)
				}
				if run.State == plumbline.StateInterrupted && (run.Failure == nil || !strings.Contains(run.Failure.Text, "nothing was applied")) {
					t.Errorf("failure: %+v", run.Failure)
				}
				d.drain()
				d.stop()
				if err := <-d.done; err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

func TestDrain(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 2 }
		d := r.daemon()
		apply := r.started1(plumbline.PhaseApply, "a")
		plan := r.started1(plumbline.PhasePlan, "b")
		waits := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "c")[0]
		d.drain()
		tick(time.Second)
		r.interrupts(plan, 1)
		r.interrupts(apply, 0)
		r.ends(plan, interrupted)
		if run := r.is(plan, plumbline.StateQueued); run.Attempt != 0 {
			t.Errorf("given back at attempt %d", run.Attempt)
		}
		r.gone(plan)
		tick(time.Hour)
		r.is(waits, plumbline.StateQueued)
		select {
		case err := <-d.done:
			t.Fatalf("the worker ends during an apply: %v", err)
		default:
		}
		r.ends(apply, applied)
		r.is(apply, plumbline.StateApplied)
		d.end()
	})
}

func TestHardStop(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 2 }
		d := r.daemon()
		apply := r.started1(plumbline.PhaseApply, "a")
		plan := r.started1(plumbline.PhasePlan, "b")
		d.drain()
		tick(time.Minute)
		d.stop()
		tick(10 * time.Minute)
		r.interrupts(apply, 1)
		r.interrupts(plan, 1)
		r.ends(plan, interrupted)
		r.ends(apply, plumbline.Outcome{Interrupted: true, Created: []plumbline.Created{{Address: "a.b"}}, Failure: &plumbline.Failure{Text: "interrupted"}})
		if err := <-d.done; err == nil {
			t.Error("Run does not say that it was cut short")
		}
		r.is(plan, plumbline.StateQueued)
		if run := r.is(apply, plumbline.StateInterrupted); len(run.Created) != 1 {
			t.Errorf("what it made is lost: %+v", run)
		}
	})
}
