package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestApproval(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "live/net")[0]
		r.is(id, plumbline.StatePlanning)
		r.ends(id, planned(digest))
		run := r.is(id, plumbline.StateAwaiting)
		for _, name := range []string{"tfplan", "masks.json"} {
			if _, err := os.Stat(filepath.Join(r.dir, id.String(), name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s lies about in clear: %v", name, err)
			}
		}
		if got := r.read(run.Plan.File.Name); got != "plan "+digest+" in clear" {
			t.Errorf("sealed plan: %q", got)
		}
		if got := r.read(run.Plan.Lock.Name); got != "lock of c1" {
			t.Errorf("sealed lock file: %q", got)
		}
		if got := r.read(run.Plan.Doc.Name); !strings.Contains(got, `"a.b"`) {
			t.Errorf("plan document: %q", got)
		}
		r.approve(id)
		r.is(id, plumbline.StateApplying)
		if p := r.proc(id); !strings.Contains(p.log, "applies plan "+digest+" in clear") {
			t.Errorf("it applies something else: %q", p.log)
		}
		r.ends(id, plumbline.Outcome{Applied: true, Created: []plumbline.Created{{Address: "a.b", ID: "1"}}})
		if run = r.is(id, plumbline.StateApplied); len(run.Created) != 1 {
			t.Errorf("created: %+v", run.Created)
		}
		if r.source.calls != 1 {
			t.Errorf("%d checkouts, want 1: the plan's directory serves the apply", r.source.calls)
		}
		if _, err := os.Stat(filepath.Join(r.dir, id.String())); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory stays: %v", err)
		}
		d.end()
		r.sealed("plan "+digest, "lock of c1", "plan begins", `"a.b"`, "a secret")
	})
}

// sealed looks for texts in clear among the artifacts.
func (r *rig) sealed(texts ...string) {
	r.t.Helper()
	n := 0
	err := filepath.WalkDir(r.keys, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		b, err := os.ReadFile(path)
		for _, text := range texts {
			if bytes.Contains(b, []byte(text)) {
				r.t.Errorf("%s holds %q in clear", path, text)
			}
		}
		return err
	})
	if err != nil || n < 5 {
		r.t.Errorf("%d artifacts, %v", n, err)
	}
}

func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode plumbline.ApplyMode
		kind plumbline.Kind
		plan plumbline.Outcome
		want plumbline.State
	}{
		{"automatic", plumbline.ApplyAutomatic, plumbline.KindDeploy, planned(digest), plumbline.StateApplied},
		{"no changes", plumbline.ApplyAutomatic, plumbline.KindDeploy, planned(""), plumbline.StateClean},
		{"never", plumbline.ApplyNever, plumbline.KindDeploy, planned(digest), plumbline.StatePlanned},
		{"destroy waits for a person", plumbline.ApplyAutomatic, plumbline.KindDestroy, planned(digest), plumbline.StateAwaiting},
		{"proposal", plumbline.ApplyAutomatic, plumbline.KindProposal, planned(digest), plumbline.StatePlanned},
		{"drift", plumbline.ApplyAutomatic, plumbline.KindDrift, plumbline.Outcome{Plan: planned(digest).Plan, Differences: []plumbline.Difference{{Address: "a.b", Kind: plumbline.DriftChanged}}}, plumbline.StateDrifted},
		{"failure", plumbline.ApplyAutomatic, plumbline.KindDeploy, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "boom"}}, plumbline.StateFailed},
		{"failed drift check", plumbline.ApplyAutomatic, plumbline.KindDrift, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "boom"}}, plumbline.StateFailed},
		// It makes no sense, and must not stay claimed all the same.
		{"nothing at all", plumbline.ApplyAutomatic, plumbline.KindDeploy, plumbline.Outcome{}, plumbline.StateFailed},
		{"of another phase", plumbline.ApplyAutomatic, plumbline.KindDeploy, plumbline.Outcome{Applied: true}, plumbline.StateFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.auto = func(job plumbline.Job) *plumbline.Outcome {
					out := tt.plan
					if job.Phase == plumbline.PhaseApply {
						out = applied
					}
					return &out
				}
				d := r.daemon()
				id := r.queue(tt.mode, tt.kind, "live/net")[0]
				run := r.is(id, tt.want)
				if tt.want == plumbline.StateFailed && run.Failure == nil {
					t.Error("it fails without a reason")
				}
				items, err := r.store.DriftItems(t.Context(), plumbline.DriftFilter{Repository: "infra"})
				if want := len(tt.plan.Differences); err != nil || len(items) != want {
					t.Errorf("%d drift items %v, want %d", len(items), err, want)
				}
				d.end()
			})
		})
	}
}

func TestStalePlan(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "live/net")[0]
		r.ends(id, planned(digest))
		r.approve(id)
		r.ends(id, plumbline.Outcome{Stale: true})
		// Planned again at once, in a directory of its own time.
		if run := r.is(id, plumbline.StatePlanning); run.Attempt != 2 {
			t.Errorf("attempt %d", run.Attempt)
		}
		r.ends(id, planned(digest)) // the same digest: the approval counts
		r.is(id, plumbline.StateApplying)
		r.ends(id, plumbline.Outcome{Stale: true})
		r.ends(id, planned("another digest")) // another: it waits again
		r.is(id, plumbline.StateAwaiting)
		d.end()
	})
}

func TestCheckout(t *testing.T) {
	away := errors.New("the forge is away")
	for _, tt := range []struct {
		name  string
		err   func(call int) error
		calls int
		want  plumbline.State
	}{
		{"away for a moment", func(n int) error {
			if n < 4 {
				return away
			}
			return nil
		}, 4, plumbline.StateAwaiting},
		{"away for good", func(int) error { return away }, 4, plumbline.StateFailed},
		{"a conflict stays one", func(int) error { return fmt.Errorf("main.tf: %w", plumbline.ErrMergeConflict) }, 1, plumbline.StateFailed},
		{"a commit that is gone", func(int) error { return fmt.Errorf("c1: %w", plumbline.ErrNotFound) }, 1, plumbline.StateFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.source.err, r.auto = tt.err, both
				d := r.daemon()
				id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "live/net")[0]
				tick(time.Minute)
				run := r.is(id, tt.want)
				if r.source.calls != tt.calls {
					t.Errorf("%d checkouts, want %d", r.source.calls, tt.calls)
				}
				if tt.want == plumbline.StateFailed && (run.Failure.Kind != plumbline.FailCheckout || !strings.Contains(run.Failure.Text, "lay out infra at c1")) {
					t.Errorf("failure: %+v", run.Failure)
				}
				d.end()
			})
		})
	}
}

func TestTamperedPlan(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tamper func(r *rig, run plumbline.Run)
		text   string
	}{
		{"another plan in its place", func(r *rig, run plumbline.Run) {
			if _, _, err := r.blobs.Put(r.t.Context(), run.Plan.File.Name, strings.NewReader("evil")); err != nil {
				r.t.Fatal(err)
			}
		}, "refused: the saved plan is not the one that was approved: its SHA-256 is"},
		{"another hash in the database", func(r *rig, run plumbline.Run) {
			r.update(run.ID, func(run *plumbline.Run, _ time.Time) error {
				run.Plan.File.SHA256 = strings.Repeat("0", 64)
				return nil
			})
		}, "refused: the saved plan is not the one that was approved: its SHA-256 is"},
		{"another artifact", func(r *rig, run plumbline.Run) {
			r.update(run.ID, func(run *plumbline.Run, _ time.Time) error { run.Plan.File.Name = run.Plan.Doc.Name; return nil })
		}, "refused: the saved plan is not the one that was approved: its SHA-256 is"},
		{"gone", func(r *rig, run plumbline.Run) {
			if err := r.blobs.Delete(r.t.Context(), run.Plan.File.Name); err != nil {
				r.t.Fatal(err)
			}
		}, "refused: the saved plan is not the one that was approved: "},
		{"a bit flipped on disk", func(r *rig, _ plumbline.Run) { r.flip() }, "refused: "},
		{"another lock file", func(r *rig, run plumbline.Run) {
			if _, _, err := r.blobs.Put(r.t.Context(), run.Plan.Lock.Name, strings.NewReader("evil")); err != nil {
				r.t.Fatal(err)
			}
		}, "refused: the lock file of the plan: its SHA-256 is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.auto = both
				d := r.daemon()
				id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "live/net")[0]
				tt.tamper(r, r.is(id, plumbline.StateAwaiting))
				r.approve(id)
				run := r.is(id, plumbline.StateFailed)
				if run.Failure.Kind != plumbline.FailArtifact || !strings.Contains(run.Failure.Text, tt.text) {
					t.Errorf("failure: %+v", run.Failure)
				}
				if slices.Contains(r.started, "apply "+id.String()) {
					t.Error("it was applied")
				}
				d.end()
			})
		})
	}
}

// flip changes one bit in each artifact but the logs.
func (r *rig) flip() {
	r.t.Helper()
	err := filepath.WalkDir(filepath.Join(r.keys, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "log") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)-1] ^= 1
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestOtherNode: what another node planned is applied with its files laid out anew, with its lock file, even where an older attempt left
// files behind.
func TestOtherNode(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		d := r.daemon()
		id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "live/net")[0]
		r.ends(id, planned(digest))
		// As if an older attempt had been here: its job, some of its files, another lock file.
		dir := filepath.Join(r.dir, id.String())
		for name, text := range map[string]string{"job.json": `{"Run":1,"Phase":"plan","Attempt":1,"Claim":{"Worker":"node","Fence":77}}`, "src/old.tf": "old", "src/live/net/" + lockFile: "old"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r.approve(id)
		r.is(id, plumbline.StateApplying)
		if _, err := os.Stat(filepath.Join(dir, "src/old.tf")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("files of an older attempt are applied: %v", err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "src/live/net", lockFile)); err != nil || string(b) != "lock of c1" {
			t.Errorf("lock file %q %v", b, err)
		}
		r.ends(id, applied)
		r.is(id, plumbline.StateApplied)
		d.end()
	})
}

func TestSlots(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) { c.Slots = 3 }
		d := r.daemon()
		ids := r.queue(plumbline.ApplyAutomatic, plumbline.KindProposal, "a", "b", "c", "d", "e", "f", "g")
		for range ids {
			synctest.Wait()
			for _, id := range ids {
				if p := r.proc(id); p != nil && p.alive() {
					r.ends(id, planned(digest))
					break
				}
			}
		}
		for _, id := range ids {
			r.is(id, plumbline.StatePlanned)
		}
		if r.most != 3 {
			t.Errorf("%d at once, want 3", r.most)
		}
		d.end()
	})
}

// TestNoSpin: a store that answers with errors, and wakes everybody with each, is asked once in a while.
func TestNoSpin(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var n atomic.Int32
		r.wrap = func(q Queue) Queue { return brokenQueue{q, &n} }
		d := r.daemon()
		tick(time.Minute)
		if got := n.Load(); got < 10 || got > 14 {
			t.Errorf("%d claims in a minute, want 12", got)
		}
		d.end()
	})
}

type brokenQueue struct {
	Queue
	n *atomic.Int32
}

func (q brokenQueue) Claim(context.Context, string, time.Time, time.Duration, ...plumbline.Kind) (plumbline.Run, error) {
	q.n.Add(1)
	return plumbline.Run{}, errors.New("no database")
}

func (q brokenQueue) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{})
	close(c) // awake all the time
	return c, func() {}
}

func TestPanic(t *testing.T) {
	for _, phase := range []plumbline.Phase{plumbline.PhasePlan, plumbline.PhaseApply} {
		t.Run(string(phase), func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				r.auto = both
				r.do = panics(r, phase)
				d := r.daemon()
				ids := r.queue(plumbline.ApplyAutomatic, plumbline.KindDeploy, "bad", "good")
				want := plumbline.StateFailed
				if phase == plumbline.PhaseApply {
					want = plumbline.StateInterrupted // only a person can know what it did
				}
				run := r.is(ids[0], want)
				if run.Failure == nil || run.Failure.Kind != plumbline.FailInternal || strings.Contains(run.Failure.Text, "cheese") {
					t.Errorf("failure: %+v", run.Failure)
				}
				r.is(ids[1], plumbline.StateApplied)
				d.end()
			})
		})
	}
	t.Run("while it is settled", func(t *testing.T) {
		in(t, func(t *testing.T, r *rig) {
			r.auto = both
			r.blobsW = func(b Blobs) Blobs { return panickyBlobs{b} }
			d := r.daemon()
			id := r.queue(plumbline.ApplyAutomatic, plumbline.KindDeploy, "bad")[0]
			if run := r.is(id, plumbline.StateFailed); run.Failure.Kind != plumbline.FailInternal {
				t.Errorf("failure: %+v", run.Failure)
			}
			d.end()
		})
	})
}

// panics is a Do that panics for the stack "bad".
func panics(r *rig, phase plumbline.Phase) func(plumbline.Job) error {
	return func(job plumbline.Job) error {
		if job.Phase == phase && job.Stack.Name == "bad" {
			r.mu.Unlock() // it is Do's, which does not come to it
			panic("out of cheese")
		}
		return nil
	}
}

type panickyBlobs struct{ Blobs }

func (b panickyBlobs) Put(ctx context.Context, name string, r io.Reader) (int64, string, error) {
	if strings.Contains(name, planFile) {
		panic("out of cheese")
	}
	return b.Blobs.Put(ctx, name, r)
}

// TestDiskFull: a plan that cannot be kept fails with that reason; what an apply did is written down when there is room again.
func TestDiskFull(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		var full atomic.Bool
		r.blobsW = func(b Blobs) Blobs { return fullBlobs{b, &full} }
		d := r.daemon()
		full.Store(true)
		ids := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "a", "b")
		r.ends(ids[0], planned(digest))
		tick(10 * time.Second)
		run := r.is(ids[0], plumbline.StateFailed)
		if run.Failure.Kind != plumbline.FailArtifact || !strings.Contains(run.Failure.Text, "no space left on device") {
			t.Errorf("failure: %+v", run.Failure)
		}
		full.Store(false)
		r.ends(ids[1], planned(digest))
		r.approve(ids[1])
		state := filepath.Join(r.dir, ids[1].String(), "errored.tfstate")
		if err := os.WriteFile(state, []byte("state in clear"), 0o600); err != nil {
			t.Fatal(err)
		}
		full.Store(true)
		r.ends(ids[1], plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailApply, Text: "no upload"}, StateFile: state})
		tick(10 * time.Minute) // far beyond the lease, which is renewed all the while
		r.is(ids[1], plumbline.StateApplying)
		full.Store(false)
		tick(time.Minute)
		if run := r.is(ids[1], plumbline.StateFailed); r.read(run.ErroredFile.Name) != "state in clear" {
			t.Errorf("errored state: %+v", run.ErroredFile)
		}
		d.end()
		r.sealed("state in clear")
	})
}

type fullBlobs struct {
	Blobs
	full *atomic.Bool
}

func (b fullBlobs) Put(ctx context.Context, name string, r io.Reader) (int64, string, error) {
	if b.full.Load() {
		return 0, "", errors.New("no space left on device")
	}
	return b.Blobs.Put(ctx, name, r)
}

func TestSettings(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.config = func(c *Config) {
			c.Settings = func(_ context.Context, run plumbline.Run) (Settings, error) {
				return Settings{}, fmt.Errorf("%s is not in the configuration any more", run.Stack)
			}
		}
		d := r.daemon()
		id := r.queue(plumbline.ApplyApproval, plumbline.KindDeploy, "a")[0]
		if run := r.is(id, plumbline.StateFailed); run.Failure.Kind != plumbline.FailConfig {
			t.Errorf("failure: %+v", run.Failure)
		}
		d.end()
	})
}

func TestRunOne(t *testing.T) {
	in(t, func(t *testing.T, r *rig) {
		r.auto = both
		w := r.worker()
		if did, err := w.RunOne(t.Context()); did || err != nil {
			t.Errorf("with nothing to do: %t %v", did, err)
		}
		id := r.queue(plumbline.ApplyAutomatic, plumbline.KindDeploy, "a")[0]
		for _, want := range []plumbline.State{plumbline.StateApproved, plumbline.StateApplied} {
			if did, err := w.RunOne(t.Context()); !did || err != nil {
				t.Errorf("RunOne: %t %v", did, err)
			}
			r.is(id, want)
		}
	})
}
