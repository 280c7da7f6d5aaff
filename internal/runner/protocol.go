// Package runner is the child process in which Terraform runs, seen from both sides.
//
// Terraform must not die with the daemon. So a Host starts each phase of a run as a process in a session of its own, and the two
// meet in the run's directory only:
//
//	src/            the commit's files, laid out before the start
//	lock            locked (flock) by the process for all its life; holds its id
//	job.json        what it works on, without secrets
//	log             what people read, masked, written as it comes
//	events.jsonl    Terraform's own events, masked: the record of what an apply made
//	tfplan          the saved plan, in clear: sealed and removed by the worker
//	plan.json       the plan in the domain's words, masked
//	result.json     how it ended; written last, as a whole
//	runner.err      what the process itself had to say, normally nothing
//	credentials.json what Terraform is on AWS, where the run has credentials of its own; renewed by the worker
//	home/ tmp/      Terraform's HOME and TMPDIR
//
// Secrets (variables, environment, the digest's key) come through the standard input, so that they are in no file but those
// that Terraform needs for the time it needs them.
//
//	lock held               it is going on: attach
//	lock free, result       it has ended: take the result
//	lock free, no result    it was killed: plumbline.ErrLost
//
// A plan phase is init, plan, show with the policies beside it, and then the checks: whatever they come to, and however long they take, the plan
// has been made by then. Plan JSON, which has secrets in clear, is in no file: it goes from Terraform to tfplan and to the policies in memory.
//
// The Host takes the lock before it writes job.json and the process inherits it, so there is no moment at which a starting process
// looks like a lost one.
package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
)

// The files of a run's directory.
const (
	srcDir     = "src"
	lockFile   = "lock"
	jobFile    = "job.json"
	logFile    = "log"
	eventsFile = "events.jsonl"
	planFile   = "tfplan"
	masksFile  = "masks.json" // values that the plan marks as sensitive, for the log of the apply
	docFile    = "plan.json"
	resultFile = "result.json"
	errFile    = "runner.err"
	homeDir    = "home"
	tmpDir     = "tmp"

	readyFile   = "ready.json" // says that init was done here, with what
	rcFile      = "terraform.rc"
	varsFile    = "vars.tfvars.json"
	backendFile = "backend.tfvars.json"
	storedFile  = "tfplan-stored" // the second plan of a drift check
)

// holdsSecrets lists what Clear removes first.
var holdsSecrets = []string{varsFile, backendFile, planFile, storedFile, masksFile, CredentialsFile}

// wire is a job as the process reads it. Unlike plumbline.Job it spells secrets out.
type wire struct {
	Job       plumbline.Job // without Vars, Backend, Env
	Vars      []wireVar
	Backend   []wireVar
	Env       []wireEnv
	Binary    terraform.Binary
	Mirror    string
	DigestKey []byte
	Secrets   []string
	Timeout   time.Duration
	Grace     time.Duration
}

type wireVar struct {
	Name      string
	JSON      string
	Sensitive []string
}

type wireEnv struct {
	Name      string
	Value     string
	Sensitive bool
}

func spellOut(vars []plumbline.Variable) []wireVar {
	out := make([]wireVar, len(vars))
	for i, v := range vars {
		out[i] = wireVar{Name: v.Name, JSON: v.JSON.Reveal(), Sensitive: v.Sensitive}
	}
	return out
}

// bare is a job without what must not be written down.
func bare(j plumbline.Job) plumbline.Job {
	j.Vars, j.Backend, j.Env, j.Mask = nil, nil, nil, nil
	return j
}

// same reports whether two jobs are one phase of one claim.
func same(a, b plumbline.Job) bool {
	return a.Run == b.Run && a.Attempt == b.Attempt && a.Phase == b.Phase && a.Claim == b.Claim
}

// secrets lists all that must be masked.
func (w wire) secrets() []string {
	out := append([]string(nil), w.Secrets...)
	for _, vars := range [][]wireVar{w.Vars, w.Backend} {
		for _, v := range vars {
			out = append(out, v.Sensitive...)
		}
	}
	for _, e := range w.Env {
		if e.Sensitive {
			out = append(out, e.Value)
		}
	}
	return out
}

// writeWhole replaces a file so that a reader sees all of it or none. With sync it survives a power cut too.
func writeWhole(path string, b []byte, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func writeJSON(path string, v any, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeWhole(path, b, sync)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// openLock opens a run's lock file and takes the lock if nobody has it.
func openLock(dir string) (f *os.File, taken bool, err error) {
	f, err = os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, f.Close()
	}
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f, true, nil
}

// held reports whether the process of a run is alive.
func held(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only asked for its lock
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// process identifies a process beyond the reuse of its number.
type process struct {
	pid   int
	start uint64 // when it began, in the kernel's own unit; 0 where that is not known
}

func (p process) String() string { return fmt.Sprintf("%d %d\n", p.pid, p.start) }

// holder reads who holds or held the lock; false before the process has said so.
func holder(dir string) (process, bool) {
	b, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil {
		return process{}, false
	}
	var p process
	pid, start, ok := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
	if !ok || !strings.HasSuffix(string(b), "\n") {
		return process{}, false
	}
	if p.pid, err = strconv.Atoi(pid); err != nil || p.pid <= 1 {
		return process{}, false
	}
	if p.start, err = strconv.ParseUint(start, 10, 64); err != nil {
		return process{}, false
	}
	return p, true
}
