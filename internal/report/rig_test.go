package report

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
)

const digest = "0123456789abcdef"

// rig is a store, a forge in memory, a Reporter between them.
type rig struct {
	t     *testing.T
	store *store.Store
	forge *forgetest.Forge
	now   time.Time
	repo  plumbline.Repository
	plans fakePlans
	sinks []plumbline.Sink // outside the forge
	r     *Reporter
}

type fakePlans struct {
	asked *int
	docs  map[string]plumbline.Plan // by name of the artifact
}

func (f fakePlans) PlanDocument(_ context.Context, doc plumbline.Blob) (plumbline.Plan, error) {
	p, ok := f.docs[doc.Name]
	if !ok {
		return p, plumbline.ErrNotFound
	}
	return p, nil
}

func (f fakePlans) Plan(_ context.Context, run plumbline.Run) (plumbline.Plan, error) {
	*f.asked++
	if p, ok := f.docs[run.Plan.Doc.Name]; ok {
		return p, nil
	}
	return plumbline.Plan{Digest: run.Plan.Digest, Changes: []plumbline.Change{{Address: "a." + run.Stack.Name, Action: plumbline.ActionCreate}}, Summary: plumbline.Summary{Create: 1}}, nil
}

// empty is a database without anything in it: hundreds of rigs need one, and migrations take longer than a copy.
var empty = sync.OnceValues(func() (b []byte, err error) {
	dir, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "plumbline.db")
	s, err := store.Open(context.Background(), store.Config{DSN: "sqlite:" + path, AuditKey: make([]byte, 32)})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func newRig(t *testing.T) *rig {
	t.Helper()
	db, err := empty()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plumbline.db")
	if err := os.WriteFile(path, db, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Config{DSN: "sqlite:" + path, AuditKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, store: s, forge: &forgetest.Forge{}, now: t0, plans: fakePlans{new(int), map[string]plumbline.Plan{}}}
	r.repo = plumbline.Repository{Name: "infra", Environments: []plumbline.Environment{
		{Repository: "infra", Name: "production", Branch: "main", Apply: plumbline.ApplyApproval},
		{Repository: "infra", Name: "lab", Branch: "main", Apply: plumbline.ApplyAutomatic},
	}}
	r.restart(nil)
	return r
}

// restart is another daemon; wrap changes its ledger.
func (r *rig) restart(wrap func(Ledger) Ledger) {
	var l Ledger = r.store
	if wrap != nil {
		l = wrap(l)
	}
	r.r = New(Config{Repository: r.repo, Forge: r.forge.Client(), Ledger: l, Plans: r.plans, PublicURL: "https://p.example.com", Now: func() time.Time { return r.now },
		Sinks: r.sinks, Mask: func(text string) string { return strings.ReplaceAll(text, "hunter2", plumbline.Masked) }})
}

func (r *rig) observe(o plumbline.Observation) []plumbline.RunID {
	r.t.Helper()
	o.Repository, o.At = "infra", r.now
	ids, err := r.store.Observe(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

func (r *rig) newRun(kind plumbline.Kind, env, stack, commit string) plumbline.Run {
	e, _ := r.repo.Environment(env)
	return plumbline.Run{
		Kind: kind, State: plumbline.StateQueued, Stack: plumbline.StackRef{Repository: "infra", Environment: env, Name: stack},
		Spec: plumbline.StackSpec{Name: stack, Dir: stack}, Commit: commit, Policy: plumbline.Policy{Apply: e.Apply, Approval: e.Approval, Calendar: e.Calendar}, Queued: r.now,
	}
}

// open opens a merge request, or pushes to it, that touches stacks ("production/a").
func (r *rig) open(mr *plumbline.MergeRequest, stacks ...string) []plumbline.RunID {
	r.t.Helper()
	if mr.ID == "" {
		mr.Source, mr.Target = "x", "main"
		*mr = r.forge.MR(r.forge.OpenMR(*mr))
		mr.Repository, mr.Base = "infra", "base"
	}
	var runs []plumbline.Run
	for _, s := range stacks {
		env, stack, _ := strings.Cut(s, "/")
		run := r.newRun(plumbline.KindProposal, env, stack, mr.Head)
		run.MR, run.Base, run.Subject = mr.ID, mr.Base, plumbline.SubjectMR(mr.ID)
		runs = append(runs, run)
	}
	return r.observe(plumbline.Observation{MergeRequest: mr, Runs: runs, Supersede: []string{plumbline.SubjectMR(mr.ID)}})
}

// deploy is a move of the branch: each environment gets a deployment, the stacks theirs.
func (r *rig) deploy(commit string, stacks ...string) []plumbline.RunID {
	r.t.Helper()
	o := plumbline.Observation{}
	for i, e := range r.repo.Environments {
		o.Deployments = append(o.Deployments, plumbline.Deployment{Repository: "infra", Environment: e.Name, Commit: commit})
		o.Supersede = append(o.Supersede, plumbline.SubjectDeploy(e.Name))
		for _, s := range stacks {
			stack, ok := strings.CutPrefix(s, e.Name+"/")
			kind := plumbline.KindDeploy
			if !ok {
				if stack, ok = strings.CutPrefix(s, "-"+e.Name+"/"); !ok {
					continue
				}
				kind = plumbline.KindDestroy
			}
			run := r.newRun(kind, e.Name, stack, commit)
			if kind == plumbline.KindDestroy {
				run.Commit = "the last that had it"
			}
			run.Subject, run.Deployment = plumbline.SubjectDeploy(e.Name), -int64(i+1)
			o.Runs = append(o.Runs, run)
		}
	}
	return r.observe(o)
}

func (r *rig) update(id plumbline.RunID, rule plumbline.Rule) {
	r.t.Helper()
	if _, err := r.store.Update(r.t.Context(), id, r.now, rule); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start(id plumbline.RunID) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Start("w", now, time.Hour) })
}

func (r *rig) finish(id plumbline.RunID, o plumbline.Outcome, info *plumbline.PlanInfo) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Finish(run.Claim, o, info, now) })
}

func info() *plumbline.PlanInfo {
	return &plumbline.PlanInfo{Digest: digest, Changes: true, Summary: plumbline.Summary{Create: 1}, Doc: plumbline.Blob{Name: "doc"}}
}

func (r *rig) plan(ids ...plumbline.RunID) {
	r.t.Helper()
	for _, id := range ids {
		r.start(id)
		r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
	}
}

func (r *rig) apply(id plumbline.RunID) {
	r.t.Helper()
	run, err := r.store.Run(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	if run.State == plumbline.StateQueued {
		r.plan(id)
	}
	if run, _ = r.store.Run(r.t.Context(), id); run.State == plumbline.StateAwaiting {
		r.update(id, func(run *plumbline.Run, now time.Time) error {
			return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, digest, now)
		})
	}
	r.start(id)
	r.finish(id, plumbline.Outcome{Applied: true}, nil)
}

func (r *rig) fail(id plumbline.RunID) {
	r.t.Helper()
	r.start(id)
	r.finish(id, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "boom"}}, nil)
}

func (r *rig) flush() (told int, again time.Duration) {
	r.t.Helper()
	told, again, err := r.r.Flush(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return told, again
}

// settle flushes until nothing is kept back.
func (r *rig) settle() {
	r.t.Helper()
	for range 20 {
		_, again := r.flush()
		if again == 0 {
			return
		}
		r.now = r.now.Add(again)
	}
	r.t.Fatal("it never comes to rest")
}

func (r *rig) unreported() int {
	r.t.Helper()
	runs, err := r.store.Unreported(r.t.Context(), "infra", 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	mrs, err := r.store.UnreportedMRs(r.t.Context(), "infra")
	if err != nil {
		r.t.Fatal(err)
	}
	return len(runs) + len(mrs)
}

func (r *rig) note(id string) string {
	r.t.Helper()
	notes := r.forge.Notes(id)
	if len(notes) != 1 {
		r.t.Fatalf("%d notes, want 1: %+v", len(notes), notes)
	}
	return notes[0].Body
}

// says checks the newest statuses of a commit, as "context: state"; others may be there.
func (r *rig) says(commit string, want ...string) {
	r.t.Helper()
	newest := r.forge.Newest(commit)
	for _, w := range want {
		context, state, _ := strings.Cut(w, ": ")
		if s := newest[context]; string(s.State) != state {
			r.t.Errorf("%s of %s is %q (%s), want %s; there are %q", context, commit, s.State, s.Description, state, slices.Sorted(maps.Keys(newest)))
		}
	}
}

func (r *rig) requests() int { return r.forge.Requests("UpsertNote") + r.forge.Requests("SetStatus") }
