package runner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
)

// HostConfig is what a Host needs.
type HostConfig struct {
	Dir       string             // the run with id N works in Dir/N; absolute, at most 70 bytes: providers make sockets below
	Exe       string             // the program to start; default: this one
	Args      []string           // before the directory; default: "runner"
	Engines   *terraform.Engines // finds the engine of a job
	DigestKey []byte             // keys the hashes of sensitive values in digests
	Secrets   []string           // masked everywhere

	PlanTimeout  time.Duration // default 1 h
	ApplyTimeout time.Duration // default 6 h
	Grace        time.Duration // from the interruption of an apply until it is killed; default 30 min. A plan gets at most 10 s
}

// planGrace is how long an interrupted plan may take to end. It loses nothing when it is killed.
const planGrace = 10 * time.Second

// dirLimit bounds Dir, since the path of a Unix socket has 107 bytes and a provider's is DIR/12345678/tmp/plugin1234567890.
const dirLimit = 70

// Host starts the processes and follows them: the daemon's side.
type Host struct {
	c HostConfig

	mu   sync.Mutex
	runs map[plumbline.RunID]*following
}

// following is a process that this Host follows, or has followed to its end.
type following struct {
	job    plumbline.Job
	dir    string
	mine   chan struct{} // closed when the process that this Host started has ended; nil for an adopted one
	copied int64         // how much of the log has been passed on. Only one Do at a time uses it
}

// NewHost returns a Host. It starts nothing.
func NewHost(c HostConfig) *Host {
	if len(c.Args) == 0 {
		c.Args = []string{"runner"}
	}
	c.PlanTimeout = cmp.Or(c.PlanTimeout, time.Hour)
	c.ApplyTimeout = cmp.Or(c.ApplyTimeout, 6*time.Hour)
	c.Grace = cmp.Or(c.Grace, 30*time.Minute)
	return &Host{c: c, runs: map[plumbline.RunID]*following{}}
}

// Dir is the run's own directory. The commit's files belong in Dir/src before Do.
func (h *Host) Dir(run plumbline.RunID) string { return filepath.Join(h.c.Dir, run.String()) }

// Runs lists the runs that have a directory here, in order.
func (h *Host) Runs() ([]plumbline.RunID, error) {
	entries, err := os.ReadDir(h.c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []plumbline.RunID
	for _, e := range entries {
		if id, err := strconv.ParseInt(e.Name(), 10, 64); err == nil && e.IsDir() && id > 0 {
			ids = append(ids, plumbline.RunID(id))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Leftovers lists the jobs whose processes were started here and whose directories are still there: at work, ended or lost. Do
// tells which. The jobs carry no secrets; Do needs none to attach.
func (h *Host) Leftovers(ctx context.Context) ([]plumbline.Job, error) {
	ids, err := h.Runs()
	if err != nil {
		return nil, err
	}
	var jobs []plumbline.Job
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var job plumbline.Job
		err := readJSON(filepath.Join(h.Dir(id), jobFile), &job)
		if errors.Is(err, fs.ErrNotExist) {
			continue // nothing was started
		}
		if err != nil {
			return nil, err
		}
		job.Dir = h.Dir(id)
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// Do starts the job's process, or attaches to it when the same job (run, attempt, phase, claim) is going on or has ended already, and
// returns how it ended. Meanwhile new parts of its log go to log; a Host passes each part on once, a new Host begins anew.
//
// When ctx ends, Do detaches: it returns the context's error, and the process goes on. plumbline.ErrLost: the process is gone and
// has left no result; of an apply, Created is what its events say was done. plumbline.ErrConflict: another phase of the run is still at work.
func (h *Host) Do(ctx context.Context, job plumbline.Job, log io.Writer) (plumbline.Outcome, error) {
	f, err := h.attach(job)
	if err != nil {
		return plumbline.Outcome{}, err
	}
	if f == nil {
		bin, err := h.c.Engines.Find(ctx, job.Engine)
		var missing *terraform.MissingError
		if errors.As(err, &missing) {
			return plumbline.Outcome{Failure: &plumbline.Failure{
				Kind: plumbline.FailEngine,
				Text: job.Stack.Name + " " + missing.Error() + ".",
				Next: "Install a version that fits, or change the version that the stack or the configuration asks for.",
			}}, nil
		}
		if err != nil {
			return plumbline.Outcome{}, err
		}
		if f, err = h.start(job, bin); err != nil {
			return plumbline.Outcome{}, fmt.Errorf("start run %s: %w", job.Run, err)
		}
	}
	if err := f.wait(ctx, log); err != nil {
		return plumbline.Outcome{}, err
	}
	out, err := readResult(f.dir)
	if err != nil {
		lost := f.lost(err)
		return plumbline.Outcome{Created: f.made()}, lost
	}
	return out, nil
}

// attach finds a job that was started already; nil: it was not.
func (h *Host) attach(job plumbline.Job) (*following, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.runs[job.Run]; f != nil && same(f.job, job) {
		return f, nil
	}
	var have plumbline.Job
	err := readJSON(filepath.Join(h.Dir(job.Run), jobFile), &have)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !same(have, job) {
		return nil, nil
	}
	f := &following{job: bare(job), dir: h.Dir(job.Run)}
	h.runs[job.Run] = f
	return f, nil
}

// start starts the process of a job.
func (h *Host) start(job plumbline.Job, bin terraform.Binary) (f *following, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	dir := h.Dir(job.Run)
	if len(h.c.Dir) > dirLimit || !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("the work directory %s must be an absolute path of at most %d bytes", h.c.Dir, dirLimit)
	}
	exe := h.c.Exe
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // whoever laid out src may have made it
		return nil, err
	}
	lock, taken, err := openLock(dir)
	if err != nil {
		return nil, err
	}
	if !taken {
		return nil, fmt.Errorf("another phase is still at work in %s: %w", dir, plumbline.ErrConflict)
	}
	defer func() { _ = lock.Close() }() // the process has its own copy by then
	// What an earlier phase left must not be taken for this one's.
	for _, name := range []string{resultFile, docFile, logFile, eventsFile, errFile, jobFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := lock.Truncate(0); err != nil {
		return nil, err
	}
	job.Dir = dir
	in, err := json.Marshal(h.wire(job, bin))
	if err != nil {
		return nil, err
	}
	if err := writeJSON(filepath.Join(dir, jobFile), bare(job), false); err != nil {
		return nil, err
	}
	said, err := os.OpenFile(filepath.Join(dir, errFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = said.Close() }() // the process has its own copy by then

	cmd := command(exe, h.c.Args, dir)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.ExtraFiles = []*os.File{lock}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.Remove(filepath.Join(dir, jobFile)))
	}
	f = &following{job: bare(job), dir: dir, mine: make(chan struct{})}
	go func() {
		defer close(f.mine)
		// What it has to say is in its result or in the lack of one.
		_ = cmd.Wait()
	}()
	h.runs[job.Run] = f
	return f, nil
}

// command builds the process apart from running it. Its environment holds nothing of this process's, since everything that runs as the
// same user can read it.
func command(exe string, args []string, dir string) *exec.Cmd {
	cmd := exec.Command(exe, append(slices.Clone(args), dir)...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + filepath.Join(dir, homeDir), "TMPDIR=" + filepath.Join(dir, tmpDir)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// wire is the job with its secrets, for the process alone.
func (h *Host) wire(job plumbline.Job, bin terraform.Binary) wire {
	w := wire{
		Job: bare(job), Vars: spellOut(job.Vars), Backend: spellOut(job.Backend),
		Binary: bin, Mirror: h.c.Engines.ProviderMirror(), DigestKey: h.c.DigestKey, Secrets: append(slices.Clone(h.c.Secrets), job.Mask...),
		Timeout: h.c.PlanTimeout, Grace: min(planGrace, h.c.Grace),
	}
	if job.Phase == plumbline.PhaseApply {
		w.Timeout, w.Grace = h.c.ApplyTimeout, h.c.Grace
	}
	for _, e := range job.Env {
		w.Env = append(w.Env, wireEnv{Name: e.Name, Value: e.Value.Reveal(), Sensitive: e.Sensitive})
	}
	return w
}

// How often a log is looked at: at once after it grew, ever less while it does not. The end of a process that this Host started is known
// without looking.
const (
	soon        = 5 * time.Millisecond
	late        = 200 * time.Millisecond
	lateAdopted = 50 * time.Millisecond
)

// wait passes the log on until the process has ended.
func (f *following) wait(ctx context.Context, log io.Writer) error {
	slowest := late
	if f.mine == nil {
		slowest = lateAdopted
	}
	delay := soon
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		ended, err := f.ended()
		if err != nil {
			return err
		}
		if f.pass(log) > 0 {
			delay = soon
		} else {
			delay = min(2*delay, slowest)
		}
		if ended {
			return nil
		}
		timer.Reset(delay)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.mine:
		case <-timer.C:
		}
	}
}

func (f *following) ended() (bool, error) {
	if f.mine != nil {
		select {
		case <-f.mine:
			return true, nil
		default:
			return false, nil
		}
	}
	alive, err := held(f.dir)
	return !alive, err
}

// pass copies what is new in the log. A log that cannot be read or passed on is no reason to let go of the process.
func (f *following) pass(log io.Writer) int64 {
	file, err := os.Open(filepath.Join(f.dir, logFile))
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }() // only read
	if _, err := file.Seek(f.copied, io.SeekStart); err != nil {
		return 0
	}
	n, _ := io.Copy(log, file)
	f.copied += n
	return n
}

// made is what the events of a lost apply say was done: the only record of objects that the state may not know. The last line may be half
// a line.
func (f *following) made() []plumbline.Created {
	if f.job.Phase != plumbline.PhaseApply {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(f.dir, eventsFile))
	if err != nil {
		return nil
	}
	var out []plumbline.Created
	for line := range bytes.Lines(b) {
		if e, ok := terraform.ParseEvent(bytes.TrimSpace(line)); ok && e.Done != nil {
			out = append(out, *e.Done)
		}
	}
	return out
}

// lost is the error for a process that left no result. What it started goes with it.
func (f *following) lost(err error) error {
	facts := []error{plumbline.ErrLost}
	if !errors.Is(err, fs.ErrNotExist) {
		facts = append(facts, err)
	}
	if b, readErr := os.ReadFile(filepath.Join(f.dir, errFile)); readErr == nil && len(b) > 0 {
		facts = append(facts, errors.New(strings.TrimSpace(string(b[:min(len(b), 2000)]))))
	}
	if p, ok := holder(f.dir); ok {
		if err := endSession(p, f.dir); err != nil {
			facts = append(facts, fmt.Errorf("end what it left behind: %w", err))
		}
	}
	return fmt.Errorf("the process of run %s ended without a result: %w", f.job.Run, errors.Join(facts...))
}

// interruptWait is how long Interrupt waits for a process that has just been started to be ready for it.
const interruptWait = 5 * time.Second

// Interrupt asks the process of a run to stop: it interrupts Terraform once, and reports what became of it in its result.
// plumbline.ErrNotFound: there is no such process.
func (h *Host) Interrupt(run plumbline.RunID) error {
	dir := h.Dir(run)
	for deadline := time.Now().Add(interruptWait); ; time.Sleep(soon) {
		h.mu.Lock() // looking at the lock of a run that is just being started would make it seem taken
		alive, err := held(dir)
		h.mu.Unlock()
		if err != nil {
			return fmt.Errorf("interrupt run %s: %w", run, err)
		}
		if !alive {
			return fmt.Errorf("interrupt run %s: no process: %w", run, plumbline.ErrNotFound)
		}
		if p, ok := holder(dir); ok {
			return h.signal(run, p)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("interrupt run %s: the process does not say who it is", run)
		}
	}
}

// signal sends SIGTERM to the process that wrote p. The handle is taken before it is verified, so that no other process can get the
// signal (on Linux a handle stands for a process, not for a number).
func (h *Host) signal(run plumbline.RunID, p process) error {
	proc, err := os.FindProcess(p.pid)
	if err != nil {
		return fmt.Errorf("interrupt run %s: %w", run, err)
	}
	defer func() { _ = proc.Release() }()
	if startOf(p.pid) != p.start {
		return fmt.Errorf("interrupt run %s: no process: %w", run, plumbline.ErrNotFound)
	}
	if err := proc.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("interrupt run %s: %w", run, err)
	}
	return nil
}

// Clear removes the run's directory, secrets first. plumbline.ErrConflict: its process is at work.
func (h *Host) Clear(run plumbline.RunID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	dir := h.Dir(run)
	alive, err := held(dir)
	if err != nil {
		return fmt.Errorf("clear run %s: %w", run, err)
	}
	if alive {
		return fmt.Errorf("clear run %s: its process is at work: %w", run, plumbline.ErrConflict)
	}
	delete(h.runs, run)
	var errs []error
	for _, name := range holdsSecrets {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, os.RemoveAll(dir))...); err != nil {
		return fmt.Errorf("clear run %s: %w", run, err)
	}
	return nil
}
