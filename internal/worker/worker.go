// Package worker claims one run at a time to carry out its next step.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Queue is the store as a worker needs it.
type Queue interface {
	// Claim gives one run to a worker, of another kind than those in without.
	Claim(ctx context.Context, worker string, now time.Time, lease time.Duration, without ...plumbline.Kind) (plumbline.Run, error)
	Renew(ctx context.Context, id plumbline.RunID, c plumbline.Claim, now time.Time, lease time.Duration) (plumbline.Wish, error)
	Run(ctx context.Context, id plumbline.RunID) (plumbline.Run, error)
	Update(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule) (plumbline.Run, error)
	FinishDrift(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule, look plumbline.DriftLook) (plumbline.Run, error)
	AppendLog(ctx context.Context, run plumbline.RunID, attempt int, phase plumbline.Phase, seq int, blob plumbline.Blob) error
	LogChunks(ctx context.Context, run plumbline.RunID, attempt int, phase plumbline.Phase) ([]plumbline.Blob, error)
	Subscribe() (changed <-chan struct{}, cancel func())
}

// Source lays out the files that a run plans.
type Source interface {
	// Checkout writes them into dir, which it creates, and tells what it had to leave out.
	Checkout(ctx context.Context, run plumbline.Run, dir string) ([]plumbline.Finding, error)
}

// Engine runs Terraform in processes that outlive this one.
type Engine interface {
	Dir(run plumbline.RunID) string
	// Do starts the job, or attaches to it when it is going on already, and returns how it ended. When ctx ends it detaches: the
	// process goes on. plumbline.ErrLost: the process is gone without a result; of an apply, Created is what it is known to have done.
	Do(ctx context.Context, job plumbline.Job, log io.Writer) (plumbline.Outcome, error)
	// Interrupt asks the process to stop. plumbline.ErrNotFound: there is none, not yet or not any more.
	Interrupt(run plumbline.RunID) error
	// Leftovers lists what an earlier daemon started here and nobody has settled.
	Leftovers(ctx context.Context) ([]plumbline.Job, error)
	// Runs lists the runs that have a directory here.
	Runs() ([]plumbline.RunID, error)
	Clear(run plumbline.RunID) error
}

// Blobs keeps sealed artifacts.
type Blobs interface {
	Put(ctx context.Context, name string, r io.Reader) (size int64, sha256 string, err error)
	Get(ctx context.Context, name string) (io.ReadCloser, error)
}

// Settings are what the configuration says for one stack.
type Settings struct {
	Engine  plumbline.EngineRef
	Vars    []plumbline.Variable
	Backend []plumbline.Variable
	Env     []plumbline.EnvVar

	Checks   []plumbline.CheckName // of proposals
	Policies []string              // directories
	Facts    plumbline.Facts       // for the policies
}

// Config makes a Worker.
type Config struct {
	Name     string // of this node; stable across restarts, so that it knows its own runs again
	Queue    Queue
	Source   Source
	Engine   Engine
	Blobs    Blobs
	Cloud    Cloud // nil: runs have no credentials of their own
	Settings func(ctx context.Context, run plumbline.Run) (Settings, error)
	Rules    func(plumbline.StackRef) (plumbline.Environment, plumbline.Access, bool) // in force now; false: the environment is not in the configuration any more; nil: a run's own stay
	Log      *zap.Logger
	Slots    int              // concurrent Terraform processes; default 1
	Drift    int              // how many of them at most compare reality with Git, so that one is left for whoever waits; default half of Slots, at least 1
	Lease    time.Duration    // default 30 s; renewed every third of it
	Idle     time.Duration    // longest wait between two looks at the queue; default 5 s
	Backoff  time.Duration    // first wait after something of ours has failed, doubled each time; default 1 s
	Now      func() time.Time // default time.Now
}

// Worker carries out runs.
type Worker struct {
	c Config

	mu     sync.Mutex
	active map[plumbline.RunID]*carried // whoever has a run here has its directory
	drift  int                          // drift checks that are carried out, or may be the next to be claimed
}

// New returns a Worker.
func New(c Config) *Worker {
	c.Slots = max(c.Slots, 1)
	if c.Drift == 0 {
		c.Drift = c.Slots / 2
	}
	c.Drift = max(c.Drift, 1)
	if c.Lease == 0 {
		c.Lease = 30 * time.Second
	}
	if c.Idle == 0 {
		c.Idle = 5 * time.Second
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return &Worker{c: c, active: map[plumbline.RunID]*carried{}}
}

// Run works until drain ends: no new runs are claimed, plans are given back, applies finish. When ctx ends before they have, they are
// interrupted, once, and waited for. Stopping and cancelling are two things.
func (w *Worker) Run(ctx, drain context.Context) error {
	drain, stop := context.WithCancel(drain)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	jobs := w.leftovers(ctx)
	adopted := make([]*carried, len(jobs))
	for i, job := range jobs {
		adopted[i] = newCarried(job)
		w.enter(adopted[i]) // before anybody claims the same run anew and lays out files under its feet
		if job.Kind == plumbline.KindDrift {
			w.takeDrift(true)
		}
	}
	// What an earlier daemon started takes up slots like everything else.
	var wg sync.WaitGroup
	for i := range max(w.c.Slots, len(jobs)) {
		wg.Go(func() {
			if i < len(jobs) {
				w.adopt(ctx, drain, jobs[i], adopted[i])
				if jobs[i].Kind == plumbline.KindDrift {
					w.leaveDrift()
				}
			}
			if i < w.c.Slots {
				w.loop(ctx, drain)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (w *Worker) loop(ctx, drain context.Context) {
	changed, cancel := w.c.Queue.Subscribe()
	defer cancel()
	for drain.Err() == nil {
		did, err := w.runOne(ctx, drain)
		if err != nil && drain.Err() == nil {
			w.c.Log.Error("work", zap.Error(err))
		}
		if did && err == nil {
			continue
		}
		t := time.NewTimer(w.c.Idle)
		select {
		case <-drain.Done():
		case <-changed:
			if err != nil {
				// A database that answers with errors also wakes everybody with every try.
				select {
				case <-drain.Done():
				case <-t.C:
				}
			}
		case <-t.C:
		}
		t.Stop()
	}
}

// RunOne claims one run and carries out its next step. False: nothing was due.
func (w *Worker) RunOne(ctx context.Context) (bool, error) { return w.runOne(ctx, ctx) }

func (w *Worker) runOne(ctx, drain context.Context) (bool, error) {
	if err := drain.Err(); err != nil {
		return false, err
	}
	// A claim that is cut short may have been written all the same: then nobody would know of it until its lease is over.
	claiming, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.c.Lease)
	defer cancel()
	var without []plumbline.Kind
	mayCheck := w.takeDrift(false)
	if !mayCheck {
		without = []plumbline.Kind{plumbline.KindDrift}
	}
	run, err := w.c.Queue.Claim(claiming, w.c.Name, w.c.Now(), w.c.Lease, without...)
	if mayCheck && (err != nil || run.Kind != plumbline.KindDrift) {
		w.leaveDrift()
	} else if mayCheck {
		defer w.leaveDrift()
	}
	if errors.Is(err, plumbline.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim: %w", err)
	}
	job := w.job(run)
	return true, w.carry(ctx, drain, run, job, newCarried(job))
}

// takeDrift reserves a place among the drift checks. Anyway: although there is none left, for one that is at work already.
func (w *Worker) takeDrift(anyway bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.drift >= w.c.Drift && !anyway {
		return false
	}
	w.drift++
	return true
}

func (w *Worker) leaveDrift() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drift--
}

func (w *Worker) job(run plumbline.Run) plumbline.Job {
	phase := plumbline.PhasePlan
	if run.State == plumbline.StateApplying {
		phase = plumbline.PhaseApply
	}
	return plumbline.Job{
		Run: run.ID, Attempt: run.Attempt, Claim: run.Claim, Phase: phase, Kind: run.Kind, Stack: run.Stack, Spec: run.Spec,
		Dir: w.c.Engine.Dir(run.ID), Destroy: run.Kind == plumbline.KindDestroy, HadState: run.HadState, InSync: run.InSync, Given: run.Given,
	}
}

// leftovers are the jobs of an earlier daemon.
func (w *Worker) leftovers(ctx context.Context) []plumbline.Job {
	jobs, err := w.c.Engine.Leftovers(ctx)
	if err != nil {
		w.c.Log.Error("look for runs of an earlier daemon", zap.Error(err))
	}
	return jobs
}

// adopt takes up a run that an earlier daemon on this node had started: its Terraform went on without anybody watching.
func (w *Worker) adopt(ctx, drain context.Context, job plumbline.Job, me *carried) {
	log := w.c.Log.With(zap.Stringer("run", job.Run), zap.String("phase", string(job.Phase)))
	var run plumbline.Run
	err := w.insist(ctx, log, never, func(ctx context.Context) (err error) {
		run, err = w.c.Queue.Update(ctx, job.Run, w.c.Now(), func(r *plumbline.Run, now time.Time) error {
			return r.Adopt(job.Claim, now, w.c.Lease)
		})
		if errors.Is(err, plumbline.ErrConflict) {
			err = fmt.Errorf("another run of %s is at work: %w", job.Stack, errLater)
		}
		return err
	})
	switch {
	case errors.Is(err, plumbline.ErrLost) || errors.Is(err, plumbline.ErrNotFound):
		defer w.leave(me)
		log.Info("a run of an earlier daemon is settled, or not ours any more")
		if err := w.c.Engine.Interrupt(job.Run); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			log.Warn("interrupt", zap.Error(err))
		}
		if _, err := w.c.Engine.Do(ctx, job, io.Discard); ctx.Err() == nil {
			log.Info("its process has ended", zap.Error(err))
			w.clear(job.Run)
		}
	case err != nil:
		defer w.leave(me)
		log.Error("adopt", zap.Error(err)) // its directory stays for the next daemon
	default:
		log.Info("re-adopted")
		if err := w.carry(ctx, drain, run, job, me); err != nil && ctx.Err() == nil {
			log.Error("carry on", zap.Error(err))
		}
	}
}

func (w *Worker) clear(id plumbline.RunID) bool {
	err := w.c.Engine.Clear(id)
	if err != nil {
		w.c.Log.Warn("clear", zap.Stringer("run", id), zap.Error(err))
	}
	return err == nil
}

// Sweep clears the directories of runs that have ended; those that await an approval keep theirs. It returns how many went.
func (w *Worker) Sweep(ctx context.Context) (int, error) {
	ids, err := w.c.Engine.Runs()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, id := range ids {
		gone, err := w.sweep(ctx, id)
		if err != nil {
			return n, err
		}
		if gone {
			n++
		}
	}
	return n, nil
}

func (w *Worker) sweep(ctx context.Context, id plumbline.RunID) (bool, error) {
	me := newCarried(plumbline.Job{Run: id})
	if !w.tryEnter(me) {
		return false, nil
	}
	// As long as this has the directory, whoever claims the run (it was retried) waits.
	defer w.leave(me)
	run, err := w.c.Queue.Run(ctx, id)
	if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
		return false, err
	}
	if err == nil && !run.State.Ended() {
		return false, nil
	}
	return w.clear(id), nil
}
