package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// drifting counts the processes that compare reality with Git.
func (r *rig) drifting() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.procs {
		if p.alive() && p.job.Kind == plumbline.KindDrift {
			n++
		}
	}
	return n
}

// Checks never take all workers: a proposal that comes while a thousand of them wait and as many are at work as may be is planned at once.
func TestDriftLeavesRoom(t *testing.T) {
	for _, c := range []struct{ slots, drift, want int }{{4, 0, 2}, {4, 3, 3}, {4, 1, 1}, {5, 0, 2}, {2, 0, 1}} {
		t.Run(fmt.Sprintf("%d of %d", c.drift, c.slots), func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.config = func(w *Config) { w.Slots, w.Drift = c.slots, c.drift }
				var stacks []string
				for i := range 1000 {
					stacks = append(stacks, fmt.Sprintf("live/%04d", i))
				}
				checks := r.queue(plumbline.ApplyApproval, plumbline.KindDrift, stacks...)
				d := r.daemon()
				tick(time.Minute)
				if n := r.drifting(); n != c.want {
					t.Fatalf("%d checks are at work, want %d", n, c.want)
				}
				for i := range c.slots - c.want {
					id := r.queue(plumbline.ApplyApproval, plumbline.KindProposal, fmt.Sprintf("live/new-%d", i))[0]
					r.is(id, plumbline.StatePlanning)
				}
				// One that ends makes room for the next check, and for no more.
				r.ends(checks[0], planned(""))
				tick(time.Minute)
				if n := r.drifting(); n != c.want {
					t.Errorf("%d checks are at work after one has ended, want %d", n, c.want)
				}
				// What was at work when a daemon died takes up its place in the next.
				d.crash()
				d = r.daemon()
				tick(time.Minute)
				if n := r.drifting(); n != c.want {
					t.Errorf("%d checks are at work after a crash, want %d", n, c.want)
				}
				for _, id := range r.all() {
					if p := r.proc(id); p != nil && p.alive() {
						r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Cancel("ops", now) })
					}
				}
				d.drain()
				for _, id := range r.all() {
					if p := r.proc(id); p != nil && p.alive() {
						r.ends(id, plumbline.Outcome{Interrupted: true})
					}
				}
				d.end()
			})
		})
	}
}

// all are the runs that had a process.
func (r *rig) all() (ids []plumbline.RunID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.procs {
		ids = append(ids, id)
	}
	return ids
}
