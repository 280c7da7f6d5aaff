package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// machine is a node: its processes and directories outlive the daemons on it.
type machine struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	procs   map[plumbline.RunID]*process
	started []string // phases of runs in the order of their starts
	most    int      // processes at once
	cleared []plumbline.RunID
	auto    func(job plumbline.Job) *plumbline.Outcome // ends a process at once; nil: a test does
	do      func(job plumbline.Job) error              // fails Do
	unready int                                        // interruptions that find no process yet
}

// process is a Terraform at work.
type process struct {
	job         plumbline.Job
	log         string
	interrupted int
	lost        bool
	out         plumbline.Outcome
	done        chan struct{}
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// engine is what one daemon sees of its machine.
type engine struct {
	*machine
	copied map[plumbline.RunID]int // of the log; a new daemon begins anew
	dead   chan struct{}           // closed when the daemon has died: nothing it does has an effect
}

func (e *engine) isDead() bool {
	select {
	case <-e.dead:
		return true
	default:
		return false
	}
}

func (e *engine) Dir(run plumbline.RunID) string { return filepath.Join(e.dir, run.String()) }

func same(a, b plumbline.Job) bool {
	return a.Run == b.Run && a.Attempt == b.Attempt && a.Phase == b.Phase && a.Claim == b.Claim
}

func (e *engine) Do(ctx context.Context, job plumbline.Job, log io.Writer) (plumbline.Outcome, error) {
	if e.isDead() {
		return plumbline.Outcome{}, errDead
	}
	e.mu.Lock()
	if e.do != nil {
		if err := e.do(job); err != nil {
			e.mu.Unlock()
			return plumbline.Outcome{}, err
		}
	}
	p := e.procs[job.Run]
	if p == nil || !same(p.job, job) {
		if p != nil && p.alive() {
			e.mu.Unlock()
			return plumbline.Outcome{}, fmt.Errorf("another phase is at work: %w", plumbline.ErrConflict)
		}
		if _, err := os.Stat(filepath.Join(job.Dir, "src", "main.tf")); err != nil {
			e.t.Errorf("run %s is started without its files: %v", job.Run, err)
		}
		p = &process{job: job, done: make(chan struct{}), log: string(job.Phase) + " begins\n"}
		e.procs[job.Run], e.copied[job.Run] = p, 0
		e.started = append(e.started, fmt.Sprintf("%s %s", job.Phase, job.Run))
		bare := job
		bare.Vars, bare.Backend, bare.Env = nil, nil, nil
		b, err := json.Marshal(bare)
		if err == nil {
			err = os.WriteFile(filepath.Join(job.Dir, "job.json"), b, 0o600)
		}
		if err != nil {
			e.t.Error(err)
		}
		if job.Phase == plumbline.PhaseApply {
			b, err := os.ReadFile(filepath.Join(job.Dir, "tfplan"))
			if err != nil {
				e.t.Errorf("an apply without a plan: %v", err)
			}
			p.log += "applies " + string(b) + "\n"
			masks, err := os.ReadFile(filepath.Join(job.Dir, "masks.json"))
			if err != nil || string(masks) != `["a secret in clear"]` {
				e.t.Errorf("an apply that does not know what to mask: %q, %v", masks, err)
			}
		}
		alive := 0
		for _, q := range e.procs {
			if q.alive() {
				alive++
			}
		}
		e.most = max(e.most, alive)
		if e.auto != nil {
			if out := e.auto(job); out != nil {
				e.end(p, *out)
			}
		}
	}
	e.mu.Unlock()
	pass := func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		n, err := io.WriteString(log, p.log[e.copied[job.Run]:])
		e.copied[job.Run] += n
		return err
	}
	if err := pass(); err != nil {
		return plumbline.Outcome{}, err
	}
	select {
	case <-ctx.Done():
		return plumbline.Outcome{}, ctx.Err()
	case <-e.dead:
		return plumbline.Outcome{}, errDead
	case <-p.done:
	}
	if err := pass(); err != nil {
		return plumbline.Outcome{}, err
	}
	if p.lost {
		if p.job.Phase == plumbline.PhaseApply {
			return plumbline.Outcome{Created: []plumbline.Created{{Address: "a.b", ID: "i-1"}}}, fmt.Errorf("killed: %w", plumbline.ErrLost)
		}
		return plumbline.Outcome{}, fmt.Errorf("killed: %w", plumbline.ErrLost)
	}
	return p.out, nil
}

// end ends a process. A plan's file appears where a plan says.
func (m *machine) end(p *process, out plumbline.Outcome) {
	if out.Plan != nil {
		out.PlanFile = filepath.Join(p.job.Dir, "tfplan")
		if err := os.WriteFile(out.PlanFile, []byte("plan "+out.Plan.Digest+" in clear"), 0o600); err != nil {
			m.t.Error(err)
		}
		out.MasksFile = filepath.Join(p.job.Dir, "masks.json")
		if err := os.WriteFile(out.MasksFile, []byte(`["a secret in clear"]`), 0o600); err != nil {
			m.t.Error(err)
		}
	}
	p.out = out
	p.log += string(p.job.Phase) + " ends\n"
	close(p.done)
}

func (e *engine) Interrupt(run plumbline.RunID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.procs[run]
	if p != nil && e.unready > 0 {
		e.unready--
		return plumbline.ErrNotFound
	}
	if p == nil || !p.alive() || e.isDead() {
		return plumbline.ErrNotFound
	}
	p.interrupted++
	return nil
}

func (e *engine) Leftovers(context.Context) ([]plumbline.Job, error) {
	ids, err := e.Runs()
	if err != nil {
		return nil, err
	}
	var jobs []plumbline.Job
	for _, id := range ids {
		if job, ok := jobIn(e.Dir(id)); ok {
			jobs = append(jobs, job)
		}
	}
	return jobs, nil
}

func (e *engine) Runs() ([]plumbline.RunID, error) {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, err
	}
	var ids []plumbline.RunID
	for _, d := range entries {
		id, err := strconv.Atoi(d.Name())
		if err != nil {
			return nil, err
		}
		ids = append(ids, plumbline.RunID(id))
	}
	slices.Sort(ids)
	return ids, nil
}

func (e *engine) Clear(run plumbline.RunID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isDead() {
		return errDead
	}
	if p := e.procs[run]; p != nil && p.alive() {
		return fmt.Errorf("its process is at work: %w", plumbline.ErrConflict)
	}
	delete(e.copied, run)
	delete(e.procs, run)
	e.cleared = append(e.cleared, run)
	return os.RemoveAll(e.Dir(run))
}
