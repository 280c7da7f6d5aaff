package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// carry takes a claimed run through one phase: files, Terraform, artifacts, verdict. Meanwhile the lease is renewed; whoever loses it
// stops its Terraform and lets go.
func (w *Worker) carry(ctx context.Context, run plumbline.Run, job plumbline.Job) error {
	log := w.c.Log.With(zap.Stringer("run", run.ID), zap.String("stack", run.Stack.String()), zap.String("phase", string(job.Phase)))
	me := &carried{phase: job.Phase}
	w.mu.Lock()
	w.active[run.ID] = me
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.active, run.ID)
		w.mu.Unlock()
	}()
	beat, stop := context.WithCancel(context.WithoutCancel(ctx))
	beating := make(chan struct{})
	go func() { defer close(beating); w.heartbeat(beat, run, log) }()
	defer func() { stop(); <-beating }()

	out := w.phase(ctx, run, job, log)
	if errors.Is(out.err, errDetached) {
		return context.Cause(ctx)
	}
	if out.err != nil {
		return fmt.Errorf("run %s: %w", run.ID, out.err)
	}
	w.mu.Lock()
	giveBack := me.giveBack
	w.mu.Unlock()
	// What was carried out is written down even when the daemon is being stopped.
	ctx = context.WithoutCancel(ctx)
	if giveBack && out.Interrupted {
		_, err := w.c.Queue.Update(ctx, run.ID, w.c.Now(), func(r *plumbline.Run, now time.Time) error { return r.GiveBack(run.Claim, now) })
		w.clear(run.ID)
		return w.letGo(err, log)
	}
	done, err := w.settle(ctx, run, job, out.Outcome)
	if err != nil {
		return w.letGo(err, log)
	}
	log.Info("done", zap.String("state", string(done.State)))
	if done.State != plumbline.StateAwaiting && done.State != plumbline.StateApproved {
		w.clear(run.ID)
	}
	return nil
}

func (w *Worker) letGo(err error, log *zap.Logger) error {
	if errors.Is(err, plumbline.ErrLost) {
		log.Warn("the run was taken from us; letting go")
		return nil
	}
	return err
}

var errDetached = errors.New("detached")

type phaseResult struct {
	plumbline.Outcome
	err error // of ours, not of the run: it stays claimed, and whoever finds its lease over decides
}

func fail(kind plumbline.FailureKind, next string, err error) phaseResult {
	return phaseResult{Outcome: plumbline.Outcome{Failure: &plumbline.Failure{Kind: kind, Text: err.Error(), Next: next}}}
}

// phase prepares the directory and has Terraform do the work.
func (w *Worker) phase(ctx context.Context, run plumbline.Run, job plumbline.Job, log *zap.Logger) phaseResult {
	settings, err := w.c.Settings(run.Stack, run.Spec)
	if err != nil {
		return fail(plumbline.FailConfig, "", err)
	}
	job.Engine, job.Vars, job.Backend, job.Env = settings.Engine, settings.Vars, settings.Backend, settings.Env

	chunks := &chunkWriter{put: func(seq int, b []byte) error { return w.putLog(context.WithoutCancel(ctx), run, job, seq, b) }, now: w.c.Now, every: time.Second}
	defer func() {
		if err := chunks.Close(); err != nil {
			log.Error("keep the log", zap.Error(err))
		}
	}()
	if res, ok := w.prepare(ctx, run, job, chunks); !ok {
		return res
	}
	out, err := w.c.Engine.Do(ctx, job, chunks)
	switch {
	case err == nil:
		return phaseResult{Outcome: out}
	case errors.Is(err, plumbline.ErrLost) && job.Phase == plumbline.PhaseApply:
		// The process is gone and left no result: the same as a machine that went away, and known at once.
		_, err := w.c.Queue.Update(context.WithoutCancel(ctx), run.ID, w.c.Now(), func(r *plumbline.Run, now time.Time) error {
			if r.Claim != run.Claim {
				return plumbline.ErrLost
			}
			r.LeaseUntil = now
			return r.Expire(now)
		})
		if err == nil {
			err = plumbline.ErrLost
		}
		return phaseResult{err: err}
	case errors.Is(err, plumbline.ErrLost):
		_, err := w.c.Queue.Update(context.WithoutCancel(ctx), run.ID, w.c.Now(), func(r *plumbline.Run, now time.Time) error { return r.GiveBack(run.Claim, now) })
		w.clear(run.ID)
		if err == nil {
			err = plumbline.ErrLost
		}
		return phaseResult{err: err}
	case ctx.Err() != nil:
		// Told to stop for good while Terraform is at work: it has been interrupted; what it says is worth waiting for.
		out, err = w.c.Engine.Do(context.WithoutCancel(ctx), job, chunks)
		if err != nil {
			return phaseResult{err: errDetached}
		}
		return phaseResult{Outcome: out}
	}
	return fail(plumbline.FailInternal, "", err)
}

// prepare lays out the commit's files and, for an apply, the very plan that was agreed to. False: the phase ends here.
func (w *Worker) prepare(ctx context.Context, run plumbline.Run, job plumbline.Job, log io.Writer) (phaseResult, bool) {
	if _, err := os.Stat(filepath.Join(job.Dir, "job.json")); err == nil && sameJob(job) {
		return phaseResult{}, true // adopted: all is there
	}
	src := filepath.Join(job.Dir, "src")
	_, err := os.Stat(src)
	fresh := job.Phase == plumbline.PhasePlan || err != nil
	if fresh {
		w.clear(run.ID)
		left, err := w.checkout(ctx, run, src)
		if err != nil {
			return fail(plumbline.FailCheckout, "`plumbline runs retry "+run.ID.String()+"` tries again.", fmt.Errorf("lay out %s at %s: %w", run.Stack.Repository, plumbline.Short(run.Commit), err)), false
		}
		for _, f := range left {
			fmt.Fprintf(log, "left out: %s\n", f)
		}
	}
	if job.Phase == plumbline.PhasePlan {
		return phaseResult{}, true
	}
	if run.Plan == nil {
		return fail(plumbline.FailArtifact, "", fmt.Errorf("run %s has no plan", run.ID)), false
	}
	again := "`plumbline runs retry " + run.ID.String() + "` plans again."
	if fresh && run.Plan.Lock.Name != "" {
		if err := w.unseal(ctx, run.Plan.Lock, filepath.Join(src, filepath.FromSlash(run.Spec.Dir), lockFile)); err != nil {
			return fail(plumbline.FailArtifact, again, fmt.Errorf("the lock file of the plan: %w", err)), false
		}
	}
	if err := w.unseal(ctx, run.Plan.File, filepath.Join(job.Dir, "tfplan")); err != nil {
		return fail(plumbline.FailArtifact, again, fmt.Errorf("refused: the saved plan is not the one that was approved: %w", err)), false
	}
	return phaseResult{}, true
}

const lockFile = ".terraform.lock.hcl"

func sameJob(job plumbline.Job) bool {
	var have plumbline.Job
	b, err := os.ReadFile(filepath.Join(job.Dir, "job.json"))
	return err == nil && json.Unmarshal(b, &have) == nil && have.Attempt == job.Attempt && have.Phase == job.Phase && have.Claim == job.Claim
}

// checkout tries a few times: a forge that is away for a moment fails no run.
func (w *Worker) checkout(ctx context.Context, run plumbline.Run, src string) (left []plumbline.Finding, err error) {
	wait := w.c.Backoff
	for try := 0; ; try++ {
		left, err = w.c.Source.Checkout(ctx, run, src)
		if err == nil || try == 3 || ctx.Err() != nil || errors.Is(err, plumbline.ErrMergeConflict) || errors.Is(err, plumbline.ErrInvalid) || errors.Is(err, plumbline.ErrNotFound) {
			return left, err
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, err
		case <-t.C:
		}
		wait *= 2
		if err := os.RemoveAll(src); err != nil {
			return nil, err
		}
	}
}

// unseal writes an artifact to a file and checks that it is what it was when it was sealed.
func (w *Worker) unseal(ctx context.Context, b plumbline.Blob, path string) error {
	r, err := w.c.Blobs.Get(ctx, b.Name)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	h := newHash()
	_, err = io.Copy(io.MultiWriter(f, h), r)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	if got := h.hex(); got != b.SHA256 {
		return errors.Join(fmt.Errorf("its SHA-256 is %s, not %s", plumbline.Short(got), plumbline.Short(b.SHA256)), os.Remove(path))
	}
	return nil
}

// settle seals what the phase made, removes it in clear, and writes the verdict.
func (w *Worker) settle(ctx context.Context, run plumbline.Run, job plumbline.Job, out plumbline.Outcome) (plumbline.Run, error) {
	prefix := fmt.Sprintf("runs/%d/%d/", run.ID, run.Attempt)
	var info *plumbline.PlanInfo
	if out.Plan != nil && out.Failure == nil {
		i := out.Plan.Info()
		var err error
		if i.File, err = w.seal(ctx, prefix+"tfplan", out.PlanFile); err != nil {
			return run, err
		}
		doc, err := json.Marshal(out.Plan)
		if err != nil {
			return run, err
		}
		if i.Doc, err = w.put(ctx, prefix+"plan.json", bytes.NewReader(doc)); err != nil {
			return run, err
		}
		lock := filepath.Join(job.Dir, "src", filepath.FromSlash(run.Spec.Dir), lockFile)
		if i.Lock, err = w.seal(ctx, prefix+"lock.hcl", lock); err != nil && !errors.Is(err, os.ErrNotExist) {
			return run, err
		}
		info = &i
	}
	var errored plumbline.Blob
	if out.StateFile != "" {
		var err error
		if errored, err = w.seal(ctx, prefix+"errored.tfstate", out.StateFile); err != nil {
			return run, err
		}
		if err := os.Remove(out.StateFile); err != nil {
			return run, err
		}
	}
	for _, p := range []string{out.PlanFile, filepath.Join(job.Dir, "tfplan")} {
		if p == "" {
			continue
		}
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return run, err
		}
	}
	rule := func(r *plumbline.Run, now time.Time) error {
		if errored.Name != "" {
			r.ErroredFile = errored
		}
		return r.Finish(run.Claim, out, info, now)
	}
	if run.Kind == plumbline.KindDrift && out.Plan != nil && out.Failure == nil {
		return w.c.Queue.FinishDrift(ctx, run.ID, w.c.Now(), rule, out.Differences)
	}
	return w.c.Queue.Update(ctx, run.ID, w.c.Now(), rule)
}

func (w *Worker) seal(ctx context.Context, name, path string) (plumbline.Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return plumbline.Blob{}, err
	}
	defer f.Close()
	return w.put(ctx, name, f)
}

func (w *Worker) put(ctx context.Context, name string, r io.Reader) (plumbline.Blob, error) {
	size, sum, err := w.c.Blobs.Put(ctx, name, r)
	if err != nil {
		return plumbline.Blob{}, fmt.Errorf("seal %s: %w", name, err)
	}
	return plumbline.Blob{Name: name, Size: size, SHA256: sum}, nil
}

// heartbeat renews the lease until ctx ends, and brings wishes to the process.
func (w *Worker) heartbeat(ctx context.Context, run plumbline.Run, log *zap.Logger) {
	changed, cancel := w.c.Queue.Subscribe()
	defer cancel()
	t := time.NewTicker(w.c.Lease / 3)
	defer t.Stop()
	looked := w.c.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-changed:
			// Somebody's wish should not wait for the next beat; a busy store should not be asked at every change either.
			if w.c.Now().Sub(looked) < w.c.Lease/30 {
				continue
			}
		}
		looked = w.c.Now()
		wish, err := w.c.Queue.Renew(ctx, run.ID, run.Claim, looked, w.c.Lease)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, plumbline.ErrLost):
			log.Warn("lease lost; stopping Terraform")
			w.interrupt1(run.ID)
			return
		case err != nil:
			log.Warn("renew", zap.Error(err)) // the next beat tries again; the lease bears two that fail
		case wish != plumbline.WishNone:
			w.interrupt1(run.ID)
		}
	}
}

func (w *Worker) interrupt1(id plumbline.RunID) {
	w.mu.Lock()
	a := w.active[id]
	w.mu.Unlock()
	if a != nil {
		w.interrupt(func(b *carried) bool { return a == b })
	}
}
