package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// carried is a run that this worker has, or waits for another of its own hands to let go of.
type carried struct {
	run   plumbline.RunID
	phase plumbline.Phase
	done  chan struct{} // closed when it was let go of

	ctx  context.Context // ends when it is to stop
	halt context.CancelFunc

	started atomic.Bool // there may be a process
	told    atomic.Bool // the process has been interrupted: once, since a second time kills
	lost    atomic.Bool // the claim is not ours any more
	settled atomic.Bool // what became of it is being written: the claim may end at any moment
}

func newCarried(job plumbline.Job) *carried {
	c := &carried{run: job.Run, phase: job.Phase, done: make(chan struct{})}
	c.ctx, c.halt = context.WithCancel(context.Background())
	return c
}

// halted reports whether it is to stop.
func (c *carried) halted() bool { return c.ctx.Err() != nil }

// enter takes the run's directory, waiting for whoever has it: the hand that has just written what became of the run's last phase, or one
// that has lost the run and is stopping its Terraform.
func (w *Worker) enter(me *carried) {
	for {
		w.mu.Lock()
		other := w.active[me.run]
		if other == nil {
			w.active[me.run] = me
		}
		w.mu.Unlock()
		if other == nil {
			return
		}
		<-other.done
	}
}

func (w *Worker) tryEnter(me *carried) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active[me.run] != nil {
		return false
	}
	w.active[me.run] = me
	return true
}

func (w *Worker) leave(me *carried) {
	w.mu.Lock()
	delete(w.active, me.run)
	w.mu.Unlock()
	me.halt()
	close(me.done)
}

// interrupt passes on to the process that it is to stop. There may be none yet: the heartbeat tries again.
func (w *Worker) interrupt(me *carried, log *zap.Logger) {
	if !me.started.Load() || me.told.Load() {
		return
	}
	err := w.c.Engine.Interrupt(me.run)
	switch {
	case err == nil:
		me.told.Store(true)
	case !errors.Is(err, plumbline.ErrNotFound):
		log.Warn("interrupt", zap.Error(err))
	}
}

// heartbeat renews the lease until ctx ends, and stops the run when somebody wishes it, when its claim is lost, when the worker is to
// stop (halted), or, a plan, when no new runs are wanted (drained).
func (w *Worker) heartbeat(ctx context.Context, me *carried, run plumbline.Run, halted, drained <-chan struct{}, log *zap.Logger) {
	changed, cancel := w.c.Queue.Subscribe()
	defer cancel()
	if me.phase != plumbline.PhasePlan {
		drained = nil
	}
	// How soon a wish, or an interruption that found no process, is looked at again.
	soon := w.c.Lease / 30
	beat := time.NewTicker(w.c.Lease / 3)
	defer beat.Stop()
	again := time.NewTimer(soon)
	again.Stop()
	defer again.Stop()
	renewed := w.c.Now()
	looked := renewed
	for {
		renew := false
		select {
		case <-ctx.Done():
			return
		case <-halted:
			halted = nil
			me.halt()
		case <-drained:
			drained = nil
			me.halt()
		case <-beat.C:
			renew = true
		case <-again.C:
			renew = true
		case <-changed:
			// Somebody's wish should not wait for the next beat; a busy store should not be asked at every change either.
			if wait := soon - w.c.Now().Sub(looked); wait > 0 {
				again.Reset(wait)
			} else {
				renew = true
			}
		}
		if renew && !me.lost.Load() && !me.settled.Load() {
			looked = w.c.Now()
			if w.renew(ctx, me, run, log) {
				renewed = looked
			} else if me.phase == plumbline.PhasePlan && w.c.Now().Sub(renewed) > w.c.Lease {
				me.halt() // somebody else may have it by now, which nobody can tell us
			}
		}
		if me.halted() && !me.told.Load() {
			w.interrupt(me, log)
			if !me.told.Load() {
				again.Reset(soon)
			}
		}
	}
}

// renew renews the lease once and reports whether that worked.
func (w *Worker) renew(ctx context.Context, me *carried, run plumbline.Run, log *zap.Logger) bool {
	ctx, cancel := context.WithTimeout(ctx, w.c.Lease/3)
	defer cancel()
	wish, err := w.c.Queue.Renew(ctx, run.ID, run.Claim, w.c.Now(), w.c.Lease)
	switch {
	case err == nil && wish == plumbline.WishNone:
		return true
	case err == nil:
		me.halt()
		return true
	case me.settled.Load():
	case errors.Is(err, plumbline.ErrLost):
		log.Warn("lease lost; stopping Terraform")
		me.lost.Store(true)
		me.halt()
	case !errors.Is(err, context.Canceled):
		log.Warn("renew", zap.Error(err)) // the next beat tries again; the lease bears two that fail
	}
	return false
}
