package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// carry takes a claimed run through one phase: files, Terraform, artifacts, verdict. Meanwhile the lease is renewed; whoever loses it
// stops its Terraform and lets go. An error is ours, not the run's: the run stays claimed, and whoever finds its lease over decides.
func (w *Worker) carry(ctx, drain context.Context, run plumbline.Run, job plumbline.Job, me *carried) error {
	log := w.c.Log.With(zap.Stringer("run", run.ID), zap.String("stack", run.Stack.String()), zap.String("phase", string(job.Phase)))
	beat, stop := context.WithCancel(context.WithoutCancel(ctx))
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		w.heartbeat(beat, me, run, ctx.Done(), drain.Done(), log)
	}()
	w.mu.Lock()
	mine := w.active[run.ID] == me // an adopted run has its directory already
	w.mu.Unlock()
	if !mine {
		w.enter(me)
	}
	defer func() {
		stop()
		<-beating
		w.leave(me)
	}()

	out, err := w.guarded(ctx, run, job, me, log)
	me.settled.Store(true)
	switch {
	case errors.Is(err, plumbline.ErrLost):
		return w.processLost(ctx, run, job, out, err, log)
	case err != nil:
		return fmt.Errorf("run %s: %w", run.ID, err)
	case job.Phase == plumbline.PhasePlan && me.lost.Load():
		log.Warn("the run was taken from us; letting go")
		w.clear(run.ID)
		return nil
	case job.Phase == plumbline.PhasePlan && out.Interrupted:
		return w.giveBack(ctx, run, log)
	}
	done, err := w.settle(ctx, run, job, out, log)
	if errors.Is(err, plumbline.ErrLost) {
		log.Warn("the run was taken from us; letting go")
		w.clear(run.ID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", run.ID, err) // its directory stays for the next daemon
	}
	log.Info("done", zap.String("state", string(done.State)))
	if done.State != plumbline.StateAwaiting && done.State != plumbline.StateApproved {
		w.clear(run.ID)
		return nil
	}
	// The rest of the directory is for the apply.
	for _, p := range []string{out.PlanFile, filepath.Join(job.Dir, planFile), out.MasksFile} {
		if err := os.Remove(p); err != nil && p != "" && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("run %s: a plan stays in clear: %w", run.ID, err)
		}
	}
	return nil
}

const (
	planFile    = "tfplan"
	masksFile   = "masks.json"
	lockFile    = ".terraform.lock.hcl"
	leftOutFile = "left-out" // what the checkout had to leave out: the beginning of the log
)

// guarded is phase, whose panics end the run and not the daemon.
func (w *Worker) guarded(ctx context.Context, run plumbline.Run, job plumbline.Job, me *carried, log *zap.Logger) (out plumbline.Outcome, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		log.Error("panic", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		err = nil
		out = plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailInternal, Text: "Plumbline itself failed; its log says where.", Next: again(run)}}
		if !me.started.Load() {
			return
		}
		// There may be a process that nobody follows.
		if err := w.c.Engine.Interrupt(run.ID); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			log.Warn("interrupt", zap.Error(err))
		}
		out.Interrupted = job.Phase == plumbline.PhaseApply
	}()
	return w.phase(ctx, run, job, me, log)
}

func again(run plumbline.Run) string {
	return "`plumbline runs retry " + run.ID.String() + "` plans again."
}

// phase prepares the directory and has Terraform do the work. plumbline.ErrLost: its process has gone without a result.
func (w *Worker) phase(ctx context.Context, run plumbline.Run, job plumbline.Job, me *carried, log *zap.Logger) (plumbline.Outcome, error) {
	chunks := w.newLog(ctx, run, job)
	defer func() {
		if err := chunks.Close(); err != nil {
			log.Error("keep the log", zap.Error(err))
		}
	}()
	have, ok := jobIn(job.Dir)
	adopted := ok && have.Attempt == job.Attempt && have.Phase == job.Phase && have.Claim == job.Claim
	if !adopted {
		settings, err := w.c.Settings(ctx, run)
		if err != nil {
			return failed(plumbline.FailConfig, "", err), nil
		}
		job.Engine, job.Vars, job.Backend, job.Env = settings.Engine, settings.Vars, settings.Backend, settings.Env
		job.Policies, job.Facts = settings.Policies, settings.Facts
		if run.Kind == plumbline.KindProposal {
			job.Checks = settings.Checks
		}
		if run.Kind == plumbline.KindDrift {
			job.Policies = nil // nothing of it is applied
		}
		failure := w.prepare(me.ctx, run, job)
		if failure == nil {
			var end func()
			end, failure = w.lend(me.ctx, run, &job, log)
			defer end()
		}
		if failure != nil && !me.halted() && ctx.Err() == nil {
			return plumbline.Outcome{Failure: failure}, nil
		}
	} else {
		job.Credentials = have.Credentials
		defer w.relend(context.WithoutCancel(ctx), run, job, log)()
	}
	if b, err := os.ReadFile(filepath.Join(job.Dir, leftOutFile)); err == nil {
		_, _ = chunks.Write(b) // never fails; Close tells
	}
	// From here on the heartbeat interrupts the process; it may have been too early for that.
	me.started.Store(true)
	if !adopted && (me.halted() || ctx.Err() != nil) {
		me.started.Store(false)
		return notBegun(run, job), nil
	}
	return w.do(ctx, run, job, chunks, log)
}

// notBegun is the outcome of a phase that was stopped before there was a process.
func notBegun(run plumbline.Run, job plumbline.Job) plumbline.Outcome {
	out := plumbline.Outcome{Interrupted: true}
	if job.Phase == plumbline.PhaseApply {
		out.Failure = &plumbline.Failure{Kind: plumbline.FailApply, Text: "It was stopped before Terraform was started; nothing was applied.", Next: again(run)}
	}
	return out
}

// do has the engine do the job. An engine that fails is asked again: its process, if there is one, goes on all the while.
func (w *Worker) do(ctx context.Context, run plumbline.Run, job plumbline.Job, chunks io.Writer, log *zap.Logger) (plumbline.Outcome, error) {
	wait := w.c.Backoff
	for try := 0; ; try++ {
		out, err := w.c.Engine.Do(ctx, job, chunks)
		out.Credentials = job.Credentials
		switch {
		case err == nil || errors.Is(err, plumbline.ErrLost):
			return out, err
		case ctx.Err() != nil:
			// Told to stop for good while Terraform is at work: it is being interrupted; what it says is worth waiting for.
			ctx = context.WithoutCancel(ctx)
			continue
		case try < 3:
			log.Warn("engine", zap.Error(err), zap.Duration("again", wait))
			pause(ctx, wait)
			wait *= 2
			continue
		}
		out = failed(plumbline.FailInternal, again(run), err)
		// Nobody knows what became of an apply whose process cannot be followed.
		out.Interrupted = job.Phase == plumbline.PhaseApply
		return out, nil
	}
}

func failed(kind plumbline.FailureKind, next string, err error) plumbline.Outcome {
	return plumbline.Outcome{Failure: &plumbline.Failure{Kind: kind, Text: err.Error(), Next: next}}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// jobIn reads the job whose process was started last in a directory.
func jobIn(dir string) (job plumbline.Job, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, "job.json"))
	return job, err == nil && json.Unmarshal(b, &job) == nil
}

// plannedIn reports whether the directory is still as the plan left it that is to be applied.
func plannedIn(job plumbline.Job) bool {
	have, ok := jobIn(job.Dir)
	return ok && have.Phase == plumbline.PhasePlan && have.Attempt == job.Attempt &&
		have.Claim == plumbline.Claim{Worker: job.Claim.Worker, Fence: job.Claim.Fence - 1}
}

// prepare lays out the commit's files and, for an apply, the very plan that was agreed to.
func (w *Worker) prepare(ctx context.Context, run plumbline.Run, job plumbline.Job) *plumbline.Failure {
	src := filepath.Join(job.Dir, "src")
	leftOut := filepath.Join(job.Dir, leftOutFile)
	if job.Phase == plumbline.PhaseApply && plannedIn(job) {
		if err := os.Remove(leftOut); err != nil && !errors.Is(err, os.ErrNotExist) {
			return failed(plumbline.FailCheckout, again(run), err).Failure
		}
	} else {
		w.clear(run.ID)
		left, err := w.checkout(ctx, run, src)
		if err == nil && len(left) > 0 {
			var text []byte
			for _, f := range left {
				text = fmt.Appendf(text, "left out: %s\n", f)
			}
			err = os.WriteFile(leftOut, text, 0o600)
		}
		if err != nil {
			return failed(plumbline.FailCheckout, again(run), fmt.Errorf("lay out %s at %s: %w", run.Stack.Repository, plumbline.Short(run.Commit), err)).Failure
		}
	}
	if job.Phase == plumbline.PhasePlan {
		return nil
	}
	if run.Plan == nil {
		return failed(plumbline.FailArtifact, again(run), fmt.Errorf("run %s has no plan", run.ID)).Failure
	}
	if run.Plan.Lock.Name != "" {
		if err := w.unseal(ctx, run.Plan.Lock, filepath.Join(src, filepath.FromSlash(run.Spec.Dir), lockFile)); err != nil {
			return failed(plumbline.FailArtifact, again(run), fmt.Errorf("refused: the lock file of the plan: %w", err)).Failure
		}
	}
	if run.Plan.Masks.Name != "" {
		if err := w.unseal(ctx, run.Plan.Masks, filepath.Join(job.Dir, masksFile)); err != nil {
			return failed(plumbline.FailArtifact, again(run), fmt.Errorf("refused: what its log has to mask: %w", err)).Failure
		}
	}
	if err := w.unseal(ctx, run.Plan.File, filepath.Join(job.Dir, planFile)); err != nil {
		return failed(plumbline.FailArtifact, again(run), fmt.Errorf("refused: the saved plan is not the one that was approved: %w", err)).Failure
	}
	return nil
}

// checkout tries a few times: a forge that is away for a moment fails no run.
func (w *Worker) checkout(ctx context.Context, run plumbline.Run, src string) (left []plumbline.Finding, err error) {
	wait := w.c.Backoff
	for try := 0; ; try++ {
		left, err = w.c.Source.Checkout(ctx, run, src)
		if err == nil || try == 3 || ctx.Err() != nil || errors.Is(err, plumbline.ErrMergeConflict) || errors.Is(err, plumbline.ErrInvalid) || errors.Is(err, plumbline.ErrNotFound) {
			return left, err
		}
		pause(ctx, wait)
		wait *= 2
		if err := os.RemoveAll(src); err != nil {
			return nil, err
		}
	}
}
