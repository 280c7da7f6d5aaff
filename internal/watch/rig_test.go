package watch

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/adopt"
	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/plain"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
	"github.com/plumbline/plumbline/internal/testenv"
)

var t0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const state = "terraform {\n  backend \"local\" {}\n}\n"

// fleet is what the tests begin with: three environments on two branches, a module three levels deep, a dependency.
func fleet() map[string]string {
	return map[string]string{
		".plumbline.hcl":         "stack \"network\" {\n  dir = \"live/net\"\n}\nstack \"shop\" {\n  dir        = \"live/app\"\n  depends_on = [\"network\"]\n}\n",
		"live/net/main.tf":       state + "module \"vpc\" {\n  source = \"../../modules/vpc\"\n}\n",
		"live/app/main.tf":       state + "# app\n",
		"live/db/main.tf":        state + "# db\n",
		"lab/one/main.tf":        state + "module \"tags\" {\n  source = \"../../modules/tags\"\n}\n",
		"modules/vpc/main.tf":    "module \"subnet\" {\n  source = \"../subnet\"\n}\n",
		"modules/subnet/main.tf": "module \"tags\" {\n  source = \"../tags\"\n}\n",
		"modules/tags/main.tf":   "output \"tags\" {\n  value = 1\n}\n",
		"README.md":              "# Fleet\n",
	}
}

func environments() []plumbline.Environment {
	return []plumbline.Environment{
		{Repository: "infra", Name: "production", Branch: "main", Include: []string{"live/**"}, Apply: plumbline.ApplyApproval, Order: 10},
		{Repository: "infra", Name: "lab", Branch: "main", Include: []string{"lab/**"}, Apply: plumbline.ApplyAutomatic, Order: 20},
		{Repository: "infra", Name: "staging", Branch: "env/staging", Apply: plumbline.ApplyAutomatic},
	}
}

// rig is a remote, its forge, a ledger and Watchers on them.
type rig struct {
	t      *testing.T
	remote string
	dsn    string
	store  *store.Store
	forge  *forgetest.Forge // nil: the remote is bare
	repo   plumbline.Repository
	w      *Watcher

	mu  sync.Mutex
	now time.Time
}

// newRig pushes the fleet to both branches. Nobody has looked yet.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, remote: filepath.Join(t.TempDir(), "infra.git"), now: t0}
	r.dsn = "sqlite:" + filepath.Join(t.TempDir(), "plumbline.db")
	r.repo = plumbline.Repository{Name: "infra", Environments: environments(), Proposals: plumbline.ProposalPolicy{Drafts: true}}
	testenv.Git(t, t.TempDir(), "init", "--quiet", "--bare", "--initial-branch=main", r.remote)
	r.push("main", fleet())
	r.branch("env/staging", "main")
	r.forge = &forgetest.Forge{Now: r.clock, Head: func(branch string) string {
		out, err := exec.CommandContext(t.Context(), "git", "-C", r.remote, "rev-parse", "--quiet", "--verify", "refs/heads/"+branch).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}}
	r.store = r.open()
	r.w = r.watcher()
	return r
}

// sighted is a rig after the first look, whose drift checks found that all is in sync.
func sighted(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{}) {
		r.plan(run.ID, "")
	}
	return r
}

func bare(t *testing.T) *rig {
	t.Helper()
	r := sighted(t)
	r.forge = nil
	r.w = r.watcher()
	r.poll()
	return r
}

func (r *rig) open() *store.Store {
	r.t.Helper()
	s, err := store.Open(r.t.Context(), store.Config{DSN: r.dsn, AuditKey: make([]byte, 32)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return s
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

// mirror is a repository that also reads its files.
type mirror struct {
	*git.Repo
	cache *discover.Cache
}

func (m mirror) Layout(ctx context.Context, treeish string) (plumbline.Layout, error) {
	fsys, err := m.FS(treeish)
	if err != nil {
		return plumbline.Layout{}, err
	}
	return discover.Stacks(ctx, fsys, discover.Options{Cache: m.cache})
}

func (m mirror) Unsigned(ctx context.Context, base, head string, keys map[string]string, mergeOnly bool) ([]plumbline.Unsigned, error) {
	parsed, err := git.ParseKeys(keys)
	if err != nil {
		return nil, err
	}
	list, err := m.Verify(ctx, base, head, parsed, mergeOnly, time.Now())
	var out []plumbline.Unsigned
	for _, u := range list {
		out = append(out, plumbline.Unsigned{Commit: u.Commit, Author: u.Author, Why: u.Reason})
	}
	return out, err
}

func (m mirror) Restore(ctx context.Context, r plumbline.Restoration) (string, bool, error) {
	return m.PushRestore(ctx, git.Restore{
		Onto: r.Onto, To: r.To, Dirs: r.Dirs, Ref: "refs/heads/" + r.Branch, Expect: r.Expect, Message: r.Message, Author: "Plumbline <plumbline@example.com>", When: r.When,
	})
}

func (m mirror) Edit(ctx context.Context, e plumbline.Edition) (string, error) {
	return m.PushEdit(ctx, git.Edit{
		Onto: e.Onto, Files: e.Files, Ref: "refs/heads/" + e.Branch, Expect: e.Expect, Message: e.Message, Author: "Plumbline <plumbline@example.com>", When: e.When,
	})
}

// config is that of another node: a mirror and a forge client of its own, the same ledger.
func (r *rig) config() Config {
	r.t.Helper()
	repo, err := git.Open(git.Config{Dir: r.t.TempDir()}, "infra", git.Remote{URL: "file://" + r.remote})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := repo.Close(); err != nil {
			r.t.Error(err)
		}
	})
	c := Config{Repository: r.repo, Git: mirror{repo, discover.NewCache(1000)}, Ledger: r.store, Now: r.clock, Adopt: adopt.Literals}
	if r.forge != nil {
		c.Forge = r.forge.Client()
	} else {
		c.Forge = plain.New(plain.Config{Branches: r.repo.Branches()})
	}
	return c
}

func (r *rig) watcher() *Watcher { return New(r.config()) }

func (r *rig) push(branch string, files map[string]string) string {
	r.t.Helper()
	return testenv.Push(r.t, r.remote, testenv.Change{Branch: branch, Files: files, When: r.clock()})
}

// branch makes a branch point to a commit, whatever it was.
func (r *rig) branch(name, commit string) {
	r.t.Helper()
	testenv.Git(r.t, r.remote, "update-ref", "refs/heads/"+name, r.head(commit))
}

func (r *rig) head(rev string) string {
	r.t.Helper()
	return testenv.Git(r.t, r.remote, "rev-parse", "--verify", rev+"^{commit}")
}

// merge merges a branch of the remote into another, as a forge does.
func (r *rig) merge(into, from string, args ...string) string {
	r.t.Helper()
	dir := r.t.TempDir()
	testenv.Git(r.t, dir, "clone", "--quiet", r.remote, ".")
	testenv.Git(r.t, dir, "checkout", "--quiet", into)
	id := []string{"-c", "user.name=Forge", "-c", "user.email=forge@example.com"}
	testenv.Git(r.t, dir, append(append(slices.Clone(id), append([]string{"merge", "--quiet"}, args...)...), "origin/"+from)...)
	if slices.Contains(args, "--squash") {
		testenv.Git(r.t, dir, append(id, "commit", "--quiet", "-m", "squashed")...)
	}
	testenv.Git(r.t, dir, "push", "--quiet", "origin", "HEAD:refs/heads/"+into)
	return testenv.Git(r.t, dir, "rev-parse", "HEAD")
}

// poll polls without expecting a warning.
func (r *rig) poll() Result {
	r.t.Helper()
	res, err := r.w.Poll(r.t.Context())
	if err != nil || len(res.Warnings) > 0 {
		r.t.Fatalf("poll: %v %q", err, res.Warnings)
	}
	return res
}

// warned polls, expecting one warning that contains text.
func (r *rig) warned(text string) Result {
	r.t.Helper()
	res, err := r.w.Poll(r.t.Context())
	if err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], text) {
		r.t.Fatalf("poll: %v %q, want one warning about %q", err, res.Warnings, text)
	}
	return res
}

func (r *rig) runs(f plumbline.RunFilter) []plumbline.Run {
	r.t.Helper()
	f.Repository, f.Limit = "infra", 1000
	runs, err := r.store.Runs(r.t.Context(), f)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(runs)
	return runs
}

// news returns the runs that came since the last call with that mark, as "kind environment/stack@commit".
func (r *rig) news(since *plumbline.RunID) []string {
	r.t.Helper()
	var out []string
	for _, run := range r.runs(plumbline.RunFilter{}) {
		if run.ID > *since {
			out = append(out, fmt.Sprintf("%s %s/%s@%s", run.Kind, run.Stack.Environment, run.Stack.Name, plumbline.Short(run.Commit)))
		}
	}
	*since = r.last()
	slices.Sort(out)
	return out
}

func (r *rig) last() plumbline.RunID {
	runs := r.runs(plumbline.RunFilter{})
	if len(runs) == 0 {
		return 0
	}
	return runs[len(runs)-1].ID
}

// newest returns the newest run of a stack that is not a proposal's.
func (r *rig) newest(env, stack string) plumbline.Run {
	r.t.Helper()
	runs := r.runs(plumbline.RunFilter{Environment: env, Stack: stack, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy, plumbline.KindDrift}})
	if len(runs) == 0 {
		r.t.Fatalf("no run of %s/%s", env, stack)
	}
	return runs[len(runs)-1]
}

func (r *rig) run(id plumbline.RunID) plumbline.Run {
	r.t.Helper()
	run, err := r.store.Run(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

func (r *rig) update(id plumbline.RunID, rule plumbline.Rule) {
	r.t.Helper()
	if _, err := r.store.Update(r.t.Context(), id, r.clock(), rule); err != nil {
		r.t.Fatal(err)
	}
}

// start has a worker take a run, as soon as it may.
func (r *rig) start(id plumbline.RunID) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error {
		if now.Before(run.NotBefore) {
			now = run.NotBefore
		}
		return run.Start("w", now, time.Minute)
	})
}

func (r *rig) finish(id plumbline.RunID, o plumbline.Outcome, info *plumbline.PlanInfo) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Finish(run.Claim, o, info, now) })
}

const digest = "0123456789abcdef"

// plan takes a run through its plan: with that digest, or without changes.
func (r *rig) plan(id plumbline.RunID, digest string) {
	r.t.Helper()
	r.start(id)
	r.finish(id, plumbline.Outcome{Plan: &plumbline.Plan{}}, &plumbline.PlanInfo{Digest: digest, Changes: digest != ""})
}

func (r *rig) approve(id plumbline.RunID) {
	r.t.Helper()
	r.update(id, func(run *plumbline.Run, now time.Time) error {
		return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, digest, now)
	})
}

// applying takes a run as far as Terraform is at work.
func (r *rig) applying(id plumbline.RunID) {
	r.t.Helper()
	r.plan(id, digest)
	if r.run(id).State == plumbline.StateAwaiting {
		r.approve(id)
	}
	r.start(id)
}

func (r *rig) applied(id plumbline.RunID) {
	r.t.Helper()
	r.applying(id)
	r.finish(id, plumbline.Outcome{Applied: true}, nil)
}

func failure() plumbline.Outcome {
	return plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailApply, Text: "boom"}}
}

func (r *rig) status(env, stack string) plumbline.StackStatus {
	r.t.Helper()
	list, err := r.store.Stacks(r.t.Context(), "infra", env)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range list {
		if s.Stack.Name == stack {
			return s
		}
	}
	r.t.Fatalf("the ledger knows no stack %s/%s", env, stack)
	return plumbline.StackStatus{}
}

func (r *rig) mr(id string) plumbline.MergeRequest {
	r.t.Helper()
	mr, err := r.store.MergeRequest(r.t.Context(), "infra", id)
	if err != nil {
		r.t.Fatal(err)
	}
	return mr
}

func (r *rig) ask(kind plumbline.RequestKind, env string, stacks ...string) int64 {
	r.t.Helper()
	id, err := r.store.Request(r.t.Context(), plumbline.Request{Repository: "infra", Environment: env, Kind: kind, Stacks: stacks, By: "ann", At: r.clock()})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) requests() int {
	r.t.Helper()
	list, err := r.store.Requests(r.t.Context(), "infra")
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// git1 is a Git whose answers a test can change or delay.
type git1 struct {
	Git
	refs    func(map[string]string, error) (map[string]string, error)
	fetch   func(map[string]string) error
	changed func()
}

func (g *git1) Refs(ctx context.Context) (map[string]string, error) {
	refs, err := g.Git.Refs(ctx)
	if g.refs != nil {
		return g.refs(refs, err)
	}
	return refs, err
}

func (g *git1) Fetch(ctx context.Context, refs map[string]string) error {
	if g.fetch != nil {
		if err := g.fetch(refs); err != nil {
			return err
		}
	}
	return g.Git.Fetch(ctx, refs)
}

func (g *git1) Changed(ctx context.Context, a, b string) ([]string, error) {
	if g.changed != nil {
		g.changed()
	}
	return g.Git.Changed(ctx, a, b)
}
