package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/terraform"
)

// inheritedLock is the number of the file descriptor by which the Host hands the lock over.
const inheritedLock = 3

// Why a phase is being stopped.
var (
	errInterrupted = errors.New("asked to stop")
	errTimeout     = errors.New("took too long")
)

// Main is the process's side: `plumbline runner DIR`, and `plumbline runner credentials DIR`, which Terraform starts. The first reads the job from stdin, carries it out and returns the exit code: 0 when there is a
// result, whatever it says. SIGTERM and SIGINT interrupt Terraform, once.
func Main(ctx context.Context, args []string, stdin io.Reader) int {
	if len(args) == 2 && args[0] == "credentials" {
		if err := PrintCredentials(ctx, args[1], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "plumbline:", err)
			return 1
		}
		return 0
	}
	// Terraform is killed with the thread that started it.
	runtime.LockOSThread()
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: plumbline runner DIR (started by plumbline serve)")
		return 2
	}
	if err := serve(ctx, args[0], stdin); err != nil {
		fmt.Fprintln(os.Stderr, "plumbline runner:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, dir string, stdin io.Reader) error {
	lock, err := takeLock(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // the kernel would do it; this keeps the file alive until here
	var w wire
	if err := json.NewDecoder(stdin).Decode(&w); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	if err := adoptOrphans(); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	// From here on the process can be interrupted, and says so by its number in the lock file.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	me := process{pid: os.Getpid(), start: startOf(os.Getpid())}
	if _, err := lock.WriteAt([]byte(me.String()), 0); err != nil {
		return fmt.Errorf("write %s: %w", lock.Name(), err)
	}

	c := newChild(dir, w)
	out := c.run(ctx, c.phase)
	if err := endOrphans(); err != nil {
		fmt.Fprintln(os.Stderr, "plumbline runner:", err) // the result counts nevertheless
	}
	return writeResult(dir, w.Job.Phase, out)
}

// takeLock returns the lock that the Host handed over, or takes it when the process was started by hand.
func takeLock(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	syscall.CloseOnExec(inheritedLock) // Terraform must not hold it
	if f := os.NewFile(inheritedLock, name); f != nil {
		have, err := f.Stat()
		want, wantErr := os.Stat(name)
		if err == nil && wantErr == nil && os.SameFile(have, want) {
			return f, nil
		}
	}
	f, taken, err := openLock(dir)
	if err == nil && !taken {
		err = fmt.Errorf("%s is locked: another process works there", dir)
	}
	return f, err
}

// writeResult makes the outcome known. The result of an apply must survive a power cut; a plan is simply made again.
func writeResult(dir string, phase plumbline.Phase, out plumbline.Outcome) error {
	if out.Plan != nil {
		if err := writeJSON(filepath.Join(dir, docFile), out.Plan, false); err != nil {
			return fmt.Errorf("write the plan: %w", err)
		}
		out.Plan = nil
	}
	if err := writeJSON(filepath.Join(dir, resultFile), out, phase == plumbline.PhaseApply); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// readResult returns an outcome; fs.ErrNotExist: there is none.
func readResult(dir string) (plumbline.Outcome, error) {
	var out plumbline.Outcome
	if err := readJSON(filepath.Join(dir, resultFile), &out); err != nil {
		return plumbline.Outcome{}, err
	}
	if out.PlanFile != "" {
		out.Plan = new(plumbline.Plan)
		if err := readJSON(filepath.Join(dir, docFile), out.Plan); err != nil {
			return plumbline.Outcome{}, err
		}
	}
	return out, nil
}

// child carries out one job.
type child struct {
	wire
	run0   string // the run's directory
	module string // the root module's
	j      *journal
	killed atomic.Bool // the grace was over

	sensitive []string // values that the plan marks as such
	files     []*os.File

	dir   *terraform.Dir // once the root module can be worked in
	ready bool           // init was done
	rules int            // of the policies that were asked
}

func newChild(dir string, w wire) *child {
	src := filepath.Join(dir, srcDir)
	return &child{
		wire:   w,
		run0:   dir,
		module: filepath.Join(src, filepath.FromSlash(w.Job.Spec.Dir)),
		j: &journal{
			log: io.Discard, events: io.Discard,
			src: src, dir: w.Job.Spec.Dir, ownVars: filepath.Join(dir, varsFile),
			mask: redact.New(w.secrets()...).WithShapes(),
		},
	}
}

func (c *child) path(name string) string { return filepath.Join(c.run0, name) }

// phase carries out what the job asks for.
func (c *child) phase(ctx context.Context) plumbline.Outcome {
	switch c.Job.Phase {
	case plumbline.PhasePlan:
		return c.plan(ctx)
	case plumbline.PhaseApply:
		return c.apply(ctx)
	}
	return c.internal(fmt.Errorf("there is no phase %q", c.Job.Phase))
}

// run has the work done within its time. Whatever happens, it returns an outcome: a panic is a failure of ours.
func (c *child) run(ctx context.Context, work func(context.Context) plumbline.Outcome) (out plumbline.Outcome) {
	started := time.Now()
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(os.Stderr, "panic: %s\n%s", c.j.masker().String(fmt.Sprint(p)), debug.Stack())
			out = c.internal(fmt.Errorf("panic: %v", p))
		}
		out.Started, out.Finished = started, time.Now()
		for _, f := range c.files {
			if err := f.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "plumbline runner:", err)
			}
		}
	}()
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
		defer cancel()
	}
	defer c.killAfterGrace(ctx)()
	if err := c.open(); err != nil {
		return c.internal(err)
	}
	return work(ctx)
}

// open makes the private directories and the files of the journal.
func (c *child) open() error {
	for _, d := range []string{homeDir, tmpDir} {
		if err := os.MkdirAll(c.path(d), 0o700); err != nil {
			return err
		}
	}
	for name, to := range map[string]*io.Writer{logFile: &c.j.log, eventsFile: &c.j.events} {
		f, err := os.OpenFile(c.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		c.files = append(c.files, f)
		*to = f
	}
	return nil
}

// killAfterGrace kills what is still at work a while after ctx has ended, and returns the function that calls it off.
func (c *child) killAfterGrace(ctx context.Context) (off func()) {
	done := make(chan struct{})
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		c.j.note("\nStopping (%v): Terraform is interrupted, and killed if it has not ended after %v.", context.Cause(ctx), c.Grace)
		t := time.NewTimer(c.Grace)
		defer t.Stop()
		select {
		case <-done:
			return
		case <-t.C:
		}
		c.killed.Store(true)
		if err := endDescendants(); err != nil {
			fmt.Fprintln(os.Stderr, "plumbline runner:", err)
		}
	})
	return func() {
		close(done)
		if !stop() {
			<-stopped
		}
	}
}
