package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// never is as many tries as insist likes.
const never = 0

// errLater marks an error that would count as the last word as one that may go away.
var errLater = errors.New("not now")

// insist does f until it works, at most most times (never: without a limit) and until ctx ends, and at least once. An error that will be the
// same next time is returned at once. What was carried out is written down even when the daemon is being stopped, so f's context does not
// end.
func (w *Worker) insist(ctx context.Context, log *zap.Logger, most int, f func(context.Context) error) error {
	wait := w.c.Backoff
	for try := 1; ; try++ {
		err := f(context.WithoutCancel(ctx))
		if err == nil || final(err) || try == most || ctx.Err() != nil {
			return err
		}
		log.Warn("write down what became of the run", zap.Error(err), zap.Duration("again", wait))
		pause(ctx, wait)
		wait = min(2*wait, w.c.Lease)
	}
}

func final(err error) bool {
	if errors.Is(err, errLater) {
		return false
	}
	for _, kind := range []error{plumbline.ErrLost, plumbline.ErrNotFound, plumbline.ErrConflict, plumbline.ErrInvalid, errPanic} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

var errPanic = errors.New("panic")

// update writes a rule's verdict.
func (w *Worker) update(ctx context.Context, id plumbline.RunID, rule plumbline.Rule, log *zap.Logger) (run plumbline.Run, err error) {
	err = w.insist(ctx, log, never, func(ctx context.Context) (err error) {
		run, err = w.c.Queue.Update(ctx, id, w.c.Now(), rule)
		return err
	})
	return run, err
}

// giveBack returns a plan that was stopped to the queue, unless somebody wished it to end.
func (w *Worker) giveBack(ctx context.Context, run plumbline.Run, log *zap.Logger) error {
	done, err := w.update(ctx, run.ID, func(r *plumbline.Run, now time.Time) error { return r.GiveBack(run.Claim, now) }, log)
	if err != nil && !errors.Is(err, plumbline.ErrLost) {
		return fmt.Errorf("give run %s back: %w", run.ID, err)
	}
	log.Info("stopped", zap.String("state", string(done.State)))
	w.clear(run.ID)
	return nil
}

// lostTries is how often a plan is begun whose process is killed each time, as for want of memory.
const lostTries = 3

// processLost settles a run whose process has gone and left no result: a plan is queued again; an apply is interrupted, the same as when
// a machine goes away, and known at once, with what it is known to have made: the state may not know of it.
func (w *Worker) processLost(ctx context.Context, run plumbline.Run, job plumbline.Job, out plumbline.Outcome, lost error, log *zap.Logger) error {
	log.Warn("process lost", zap.Error(lost))
	_, err := w.update(ctx, run.ID, func(r *plumbline.Run, now time.Time) error {
		switch {
		case r.Claim != run.Claim || !r.State.Active():
			return plumbline.ErrLost
		case job.Phase == plumbline.PhasePlan && r.Wish == plumbline.WishNone && r.Attempt >= lostTries:
			return r.Finish(run.Claim, plumbline.Outcome{Failure: &plumbline.Failure{
				Kind: plumbline.FailInternal, Next: "Look whether the machine has enough memory; " + again(run),
				Text: fmt.Sprintf("The process that planned %s was killed before it could say how it ended, at attempt %d.", r.Stack.Name, r.Attempt),
			}}, nil, now)
		}
		if len(out.Created) > 0 {
			r.Created = out.Created
		}
		r.Credentials = out.Credentials
		r.LeaseUntil = now
		return r.Expire(now)
	}, log)
	if err != nil && !errors.Is(err, plumbline.ErrLost) {
		return fmt.Errorf("run %s: %w", run.ID, err)
	}
	if job.Phase == plumbline.PhasePlan {
		w.clear(run.ID)
	}
	return nil
}

// settle seals what the phase made and writes the verdict. Nothing is removed: until the verdict is written, a daemon that comes back
// must find all of it again.
func (w *Worker) settle(ctx context.Context, run plumbline.Run, job plumbline.Job, out plumbline.Outcome, log *zap.Logger) (done plumbline.Run, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
		if err == nil || errors.Is(err, plumbline.ErrLost) || errors.Is(err, plumbline.ErrNotFound) || !final(err) {
			return
		}
		// It will not be otherwise next time: the run must not stay claimed.
		log.Error("the outcome cannot be written down", zap.Error(err))
		out := failed(plumbline.FailInternal, again(run), fmt.Errorf("the outcome cannot be written down: %w", err))
		out.Interrupted = job.Phase == plumbline.PhaseApply
		done, err = w.update(ctx, run.ID, finish(run, out, nil, plumbline.Blob{}, w.c.Lease), log)
	}()
	kept := keeper{w: w, run: run, job: job}
	most := never // what an apply left behind is nowhere else
	if job.Phase == plumbline.PhasePlan {
		most = 4
	}
	if err := w.insist(ctx, log, most, func(ctx context.Context) error { return kept.keep(ctx, out) }); err != nil {
		if job.Phase == plumbline.PhaseApply || errors.Is(err, plumbline.ErrLost) {
			return run, err
		}
		out = failed(plumbline.FailArtifact, again(run), fmt.Errorf("the plan cannot be kept: %w", err))
		kept.info = nil
	}
	rule := w.underRules(run, finish(run, out, kept.info, kept.errored, w.c.Lease))
	if run.Kind == plumbline.KindDrift && out.Plan != nil && out.Failure == nil {
		look := plumbline.DriftLook{Found: out.Differences}
		if w.c.Rules != nil {
			env, _, _ := w.c.Rules(run.Stack)
			look.Rules = env.Drift.Ignore
		}
		err = w.insist(ctx, log, never, func(ctx context.Context) (err error) {
			done, err = w.c.Queue.FinishDrift(ctx, run.ID, w.c.Now(), rule, look)
			return err
		})
		return done, err
	}
	return w.update(ctx, run.ID, rule, log)
}

// underRules has a run that ends its plan go on by the rules that are in force by then, which may not be those of the day when it was queued.
func (w *Worker) underRules(run plumbline.Run, rule plumbline.Rule) plumbline.Rule {
	if w.c.Rules == nil {
		return rule
	}
	env, access, ok := w.c.Rules(run.Stack)
	if !ok {
		return rule
	}
	return func(r *plumbline.Run, now time.Time) error {
		r.Adapt(env, access, now)
		if err := rule(r, now); err != nil {
			return err
		}
		r.Adapt(env, access, now) // a plan that other policies were asked about is made again
		return nil
	}
}

// finish is the rule that writes an outcome down. An apply that was declared interrupted meanwhile is taken up again for it: its own result
// is better than a guess.
func finish(run plumbline.Run, out plumbline.Outcome, info *plumbline.PlanInfo, errored plumbline.Blob, lease time.Duration) plumbline.Rule {
	return func(r *plumbline.Run, now time.Time) error {
		if r.State == plumbline.StateInterrupted {
			if err := r.Adopt(run.Claim, now, lease); err != nil {
				return err
			}
		}
		if errored.Name != "" {
			r.ErroredFile = errored
		}
		return r.Finish(run.Claim, out, info, now)
	}
}

// keeper seals what one phase made; what it has sealed it does not seal again.
type keeper struct {
	w       *Worker
	run     plumbline.Run
	job     plumbline.Job
	info    *plumbline.PlanInfo
	errored plumbline.Blob
}

func (k *keeper) keep(ctx context.Context, out plumbline.Outcome) (err error) {
	// The fence keeps a late worker's artifacts apart from those of the one that took its place.
	prefix := fmt.Sprintf("runs/%d/%d-%d-", k.run.ID, k.run.Attempt, k.run.Claim.Fence)
	if out.Plan != nil && out.Failure == nil && k.info == nil {
		info := out.Plan.Info()
		lock := filepath.Join(k.job.Dir, "src", filepath.FromSlash(k.run.Spec.Dir), lockFile)
		if info.Config, err = madeOf(info.Config, filepath.Join(k.job.Dir, "src"), k.run.Spec); err != nil {
			return err
		}
		doc, err := json.Marshal(out.Plan)
		if err != nil {
			return err
		}
		if info.Doc, err = k.w.put(ctx, prefix+"plan.json", bytes.NewReader(doc)); err != nil {
			return err
		}
		if (k.run.Kind == plumbline.KindDeploy || k.run.Kind == plumbline.KindDestroy) && info.Changes {
			// It may be applied: the saved plan is kept, with the lock file that it was made with. Any other goes with the directory.
			if info.File, err = k.w.seal(ctx, prefix+planFile, out.PlanFile); err != nil {
				return err
			}
			if out.MasksFile != "" {
				if info.Masks, err = k.w.seal(ctx, prefix+masksFile, out.MasksFile); err != nil {
					return err
				}
			}
			if info.Lock, err = k.w.seal(ctx, prefix+"lock.hcl", lock); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		k.info = &info
	}
	if out.StateFile != "" && k.errored.Name == "" {
		if k.errored, err = k.w.seal(ctx, prefix+"errored.tfstate", out.StateFile); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) seal(ctx context.Context, name, path string) (plumbline.Blob, error) {
	f, err := os.Open(path)
	if err != nil {
		return plumbline.Blob{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	return w.put(ctx, name, f)
}

func (w *Worker) put(ctx context.Context, name string, r io.Reader) (plumbline.Blob, error) {
	size, sum, err := w.c.Blobs.Put(ctx, name, r)
	if err != nil {
		return plumbline.Blob{}, fmt.Errorf("seal %s: %w", name, err)
	}
	return plumbline.Blob{Name: name, Size: size, SHA256: sum}, nil
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
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), r)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != b.SHA256 {
		return errors.Join(fmt.Errorf("its SHA-256 is %s, not %s", plumbline.Short(got), plumbline.Short(b.SHA256)), os.Remove(path))
	}
	return nil
}
