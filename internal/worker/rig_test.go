package worker

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/artifact"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
)

const (
	digest = "0123456789abcdef"
	lease  = 30 * time.Second
)

// rig is a store, artifacts and one machine, in a bubble of its own time.
type rig struct {
	*machine
	store  *store.Store
	blobs  *artifact.Dir
	keys   string
	source *source
	wrap   func(Queue) Queue
	blobsW func(Blobs) Blobs
	config func(*Config)
}

// source lays out one file, unless told otherwise.
type source struct {
	mu    sync.Mutex
	calls int
	err   func(call int) error
	gate  chan struct{} // nil: open
	left  []plumbline.Finding
}

func (s *source) Checkout(ctx context.Context, run plumbline.Run, dir string) ([]plumbline.Finding, error) {
	s.mu.Lock()
	s.calls++
	n, err := s.calls, s.err
	s.mu.Unlock()
	if err := os.MkdirAll(filepath.Join(dir, run.Spec.Dir), 0o700); err != nil {
		return nil, err
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err != nil {
		if err := err(n); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{"main.tf": "# " + run.Commit, filepath.Join(run.Spec.Dir, lockFile): "lock of " + run.Commit} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return s.left, nil
}

// in runs a test in a bubble.
func in(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{machine: &machine{t: t, dir: t.TempDir(), procs: map[plumbline.RunID]*process{}}, source: &source{}}
		var err error
		if r.store, err = store.Open(t.Context(), store.Config{DSN: "sqlite:" + filepath.Join(t.TempDir(), "plumbline.db"), AuditKey: make([]byte, 32)}); err != nil {
			t.Fatal(err)
		}
		r.keys = t.TempDir()
		key, err := artifact.LoadKey(filepath.Join(r.keys, "key"))
		if err != nil {
			t.Fatal(err)
		}
		if r.blobs, err = artifact.OpenDir(artifact.DirConfig{Path: filepath.Join(r.keys, "blobs"), Key: key}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := errors.Join(r.store.Close(), r.blobs.Close()); err != nil {
				t.Error(err)
			}
		}()
		f(t, r)
	})
}

// worker is a daemon's on the machine.
func (r *rig) worker() *Worker {
	c := Config{
		Name: "node", Queue: &queue1{Queue: r.store}, Source: r.source, Engine: &engine{r.machine, map[plumbline.RunID]int{}, make(chan struct{})}, Blobs: r.blobs,
		Settings: func(context.Context, plumbline.Run) (Settings, error) { return Settings{}, nil },
		Lease:    lease,
	}
	if r.wrap != nil {
		c.Queue = r.wrap(c.Queue)
	}
	if r.blobsW != nil {
		c.Blobs = r.blobsW(c.Blobs)
	}
	if r.config != nil {
		r.config(&c)
	}
	return New(c)
}

// daemon runs a worker until the test stops it.
type daemon struct {
	r           *rig
	w           *Worker
	drain, stop context.CancelFunc
	done        chan error
}

func (r *rig) daemon() *daemon {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	draining, drain := context.WithCancel(context.Background())
	d := &daemon{r: r, w: r.worker(), drain: drain, stop: stop, done: make(chan error, 1)}
	go func() { d.done <- d.w.Run(ctx, draining) }()
	synctest.Wait()
	return d
}

// crash has the daemon die as by kill -9: from here on nothing it does has an effect. It is let go of when the test ends.
func (d *daemon) crash() {
	d.r.t.Helper()
	synctest.Wait()
	d.w.c.Queue.(*queue1).set(errDead)
	close(d.w.c.Engine.(*engine).dead)
	synctest.Wait()
	d.stop()
	d.r.t.Cleanup(func() {
		if err := <-d.done; err == nil {
			d.r.t.Error("a worker that was cut short does not say so")
		}
	})
}

// end drains the daemon and waits until it has ended.
func (d *daemon) end() {
	d.r.t.Helper()
	d.drain()
	synctest.Wait()
	select {
	case err := <-d.done:
		if err != nil {
			d.r.t.Errorf("the worker ends with %v", err)
		}
	default:
		d.r.t.Fatal("the worker does not end")
	}
	d.stop()
}

// queue1 is a store that can be out of reach.
type queue1 struct {
	Queue
	mu   sync.Mutex
	away error
}

var (
	errDead = errors.New("this daemon is dead")
	errAway = errors.New("no database")
)

func (c *queue1) set(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = err
}

func (c *queue1) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

func (c *queue1) Claim(ctx context.Context, worker string, now time.Time, lease time.Duration, without ...plumbline.Kind) (plumbline.Run, error) {
	if err := c.err(); err != nil {
		return plumbline.Run{}, err
	}
	return c.Queue.Claim(ctx, worker, now, lease, without...)
}

func (c *queue1) Renew(ctx context.Context, id plumbline.RunID, claim plumbline.Claim, now time.Time, lease time.Duration) (plumbline.Wish, error) {
	if err := c.err(); err != nil {
		return "", err
	}
	return c.Queue.Renew(ctx, id, claim, now, lease)
}

func (c *queue1) Update(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule) (plumbline.Run, error) {
	if err := c.err(); err != nil {
		return plumbline.Run{}, err
	}
	return c.Queue.Update(ctx, id, now, rule)
}

func (c *queue1) AppendLog(ctx context.Context, run plumbline.RunID, attempt int, phase plumbline.Phase, seq int, blob plumbline.Blob) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Queue.AppendLog(ctx, run, attempt, phase, seq, blob)
}

// queue files runs of stacks with a mode.
func (r *rig) queue(mode plumbline.ApplyMode, kind plumbline.Kind, stacks ...string) []plumbline.RunID {
	r.t.Helper()
	var runs []plumbline.Run
	for _, s := range stacks {
		runs = append(runs, plumbline.Run{
			Kind: kind, State: plumbline.StateQueued, Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: s},
			Spec: plumbline.StackSpec{Name: s, Dir: s}, Subject: string(kind) + " production", Commit: "c1", Policy: plumbline.Policy{Apply: mode}, Queued: time.Now(),
		})
	}
	ids, err := r.store.Observe(r.t.Context(), plumbline.Observation{Repository: "infra", At: time.Now(), Runs: runs})
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	return ids
}

func (r *rig) run(id plumbline.RunID) plumbline.Run {
	r.t.Helper()
	run, err := r.store.Run(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

func (r *rig) is(id plumbline.RunID, want plumbline.State) plumbline.Run {
	r.t.Helper()
	synctest.Wait()
	run := r.run(id)
	if run.State != want {
		r.t.Fatalf("run %s is %s (%+v), want %s", id, run.State, run.Failure, want)
	}
	return run
}

func (r *rig) update(id plumbline.RunID, rule plumbline.Rule) {
	r.t.Helper()
	if _, err := r.store.Update(context.Background(), id, time.Now(), rule); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

func (r *rig) approve(id plumbline.RunID) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error {
		return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, run.Plan.Digest, now)
	})
}

func (r *rig) cancel(id plumbline.RunID) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Cancel("ops", now) })
}

// proc returns the process of a run, nil when there is none.
func (r *rig) proc(id plumbline.RunID) *process {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.procs[id]
}

// ends has the process of a run end.
func (r *rig) ends(id plumbline.RunID, out plumbline.Outcome) {
	r.t.Helper()
	p := r.proc(id)
	if p == nil || !p.alive() {
		r.t.Fatalf("no process of run %s", id)
	}
	r.mu.Lock()
	r.end(p, out)
	r.mu.Unlock()
	synctest.Wait()
}

// killed has the process of a run vanish.
func (r *rig) killed(id plumbline.RunID) {
	r.t.Helper()
	p := r.proc(id)
	r.mu.Lock()
	p.lost = true
	close(p.done)
	r.mu.Unlock()
	synctest.Wait()
}

// says adds to the log of a process.
func (r *rig) says(id plumbline.RunID, text string) {
	p := r.proc(id)
	r.mu.Lock()
	p.log += text
	r.mu.Unlock()
}

func planned(digest string) plumbline.Outcome {
	p := plumbline.Plan{Digest: digest}
	if digest != "" {
		p.Changes = []plumbline.Change{{Address: "a.b", Action: plumbline.ActionCreate}}
	}
	return plumbline.Outcome{Plan: &p}
}

var applied = plumbline.Outcome{Applied: true}

// both plans and applies at once.
func both(job plumbline.Job) *plumbline.Outcome {
	out := applied
	if job.Phase == plumbline.PhasePlan {
		out = planned(digest)
	}
	return &out
}

// read returns a sealed artifact in clear.
func (r *rig) read(name string) string {
	r.t.Helper()
	f, err := r.blobs.Get(context.Background(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// log is a phase's log as people read it.
func (r *rig) log(id plumbline.RunID, phase plumbline.Phase) string {
	r.t.Helper()
	chunks, err := r.store.LogChunks(context.Background(), id, r.run(id).Attempt, phase)
	if err != nil {
		r.t.Fatal(err)
	}
	out := ""
	for _, c := range chunks {
		out += r.read(c.Name)
	}
	return out
}

// tick lets time pass, with all that is due in it.
func tick(d time.Duration) {
	time.Sleep(d) // the bubble's time
	synctest.Wait()
}
