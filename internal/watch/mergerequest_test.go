package watch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// propose pushes a change to a branch and opens a merge request to main.
func (r *rig) propose(branch string, files map[string]string) (id string) {
	r.t.Helper()
	testenv.Push(r.t, r.remote, testenv.Change{Branch: branch, From: "main", Files: files})
	if r.forge == nil {
		return branch[len("propose/"):]
	}
	return r.forge.OpenMR(plumbline.MergeRequest{Source: branch, Target: "main", Head: r.head(branch)})
}

// again pushes to the branch of a merge request.
func (r *rig) again(id, branch string, files map[string]string) string {
	r.t.Helper()
	head := r.push(branch, files)
	if r.forge != nil {
		r.forge.Push(id, head)
	}
	return head
}

func (r *rig) proposals(id string, states ...plumbline.State) []string {
	r.t.Helper()
	var out []string
	for _, run := range r.runs(plumbline.RunFilter{MR: id, States: states}) {
		out = append(out, run.Stack.Environment+"/"+run.Stack.Name+"@"+plumbline.Short(run.Commit))
	}
	slices.Sort(out)
	return out
}

func TestOpenAndPush(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{
		"modules/tags/main.tf": "output \"tags\" {\n  value = 2\n}\n", "live/db/main.tf": testenv.Removed, "live/new/main.tf": state,
	})
	head := r.head("x")
	for range 3 {
		r.poll()
	}
	at := "@" + plumbline.Short(head)
	equal(t, "proposals", r.proposals(id), []string{"production/live/net" + at, "production/live/new" + at, "lab/lab/one" + at})
	mr := r.mr(id)
	if mr.State != plumbline.MROpen || mr.Base != r.head("main") || !slices.Equal(mr.Removed, []string{"production/live/db"}) {
		t.Errorf("merge request: %+v", mr)
	}
	if run := r.runs(plumbline.RunFilter{MR: id})[0]; run.Base != mr.Base || run.By != "dev" {
		t.Errorf("proposal: %+v", run)
	}
	if s, err := r.store.Stacks(t.Context(), "infra", "production"); err != nil || len(s) != 3 {
		t.Errorf("a proposal adds to what the environment has: %d stacks %v", len(s), err)
	}

	// The second push supersedes the first.
	r.start(r.runs(plumbline.RunFilter{MR: id})[0].ID)
	head = r.again(id, "x", map[string]string{"live/db/main.tf": state + "# kept\n"})
	for range 3 {
		r.poll()
	}
	at = "@" + plumbline.Short(head)
	equal(t, "after the second push", r.proposals(id, plumbline.StateQueued), []string{"production/live/net" + at, "production/live/new" + at, "production/live/db" + at, "lab/lab/one" + at})
	if n := len(r.proposals(id, plumbline.StateSuperseded)); n != 2 {
		t.Errorf("%d of the first push are superseded, want 2", n)
	}
	if run := r.runs(plumbline.RunFilter{MR: id})[0]; run.Wish != plumbline.WishSupersede {
		t.Errorf("the one that is being planned has the wish %q", run.Wish)
	}
	if mr := r.mr(id); len(mr.Removed) != 0 {
		t.Errorf("still said to be removed: %q", mr.Removed)
	}
}

func TestRetarget(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/db/main.tf": state + "# 2\n"})
	r.poll()
	at := "@" + plumbline.Short(r.head("x"))
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Target = "env/staging" })
	r.poll()
	equal(t, "to another environment", r.proposals(id, plumbline.StateQueued), []string{"staging/live/db" + at})
	if mr := r.mr(id); mr.Target != "env/staging" || mr.State != plumbline.MROpen {
		t.Errorf("merge request: %+v", mr)
	}
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Target = "somewhere" })
	r.poll()
	equal(t, "to a branch of nobody's", r.proposals(id, plumbline.StateQueued), nil)
	if mr := r.mr(id); mr.State != plumbline.MRClosed {
		t.Errorf("as far as the environments go it is closed, not %s", mr.State)
	}
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Target = "main" })
	for range 2 {
		r.poll()
	}
	equal(t, "and back", r.proposals(id, plumbline.StateQueued), []string{"production/live/db" + at})
	if mr := r.mr(id); mr.State != plumbline.MROpen {
		t.Errorf("it is %s", mr.State)
	}
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.repo.Proposals = plumbline.ProposalPolicy{}
	r.w = r.watcher()
	id := r.propose("x", map[string]string{"live/db/main.tf": state + "# 2\n"})
	for _, tt := range []struct {
		draft, fork bool
		runs        int
	}{{true, false, 0}, {false, true, 0}, {true, true, 0}, {false, false, 1}, {true, false, 0}} {
		r.forge.Edit(id, func(mr *plumbline.MergeRequest) {
			mr.Draft, mr.Fork = tt.draft, tt.fork
			mr.Head = r.push("x", map[string]string{"note": time.Now().String()})
		})
		r.poll()
		mr := r.mr(id)
		if n := len(r.proposals(id, plumbline.StateQueued)); n != tt.runs || (mr.Skipped == "") != (tt.runs > 0) {
			t.Errorf("draft %t, fork %t: %d runs, %q", tt.draft, tt.fork, n, mr.Skipped)
		}
	}
}

func TestMergeConflict(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/db/main.tf": state + "# ours\n"})
	base := r.head("main")
	r.push("main", map[string]string{"live/db/main.tf": state + "# theirs\n"})
	r.poll()
	mr := r.mr(id)
	if !mr.Conflict || len(mr.Findings) != 1 || mr.Findings[0].File != "live/db/main.tf" {
		t.Errorf("merge request: %+v", mr)
	}
	equal(t, "proposals of a conflict", r.proposals(id), nil)
	r.push("main", map[string]string{"README.md": "# 2\n"})
	if res := r.poll(); res.Moved != 1 {
		t.Errorf("a conflict that stays is no news: %+v", res)
	}
	// The target takes its change back: the conflict is gone though nobody pushed to the request.
	r.branch("main", base)
	for range 2 {
		r.poll()
	}
	if r.mr(id).Conflict || len(r.proposals(id)) != 1 {
		t.Errorf("it is planned when that is mended: %+v", r.mr(id))
	}
}

func TestBrokenProposal(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/db/main.tf": "resource \"a\" {", "live/app/main.tf": state + "# 2\n", ".plumbline.hcl": fleet()[".plumbline.hcl"] + "stack {\n"})
	r.poll()
	states := map[string]plumbline.State{}
	for _, run := range r.runs(plumbline.RunFilter{MR: id}) {
		states[run.Stack.Name] = run.State
	}
	if states["live/db"] != plumbline.StateFailed || states["live/app"] == "" {
		t.Errorf("states: %v", states)
	}
}

// TestMerged: however it is merged, the merge request ends as merged and knows the deployment that brought it.
func TestMerged(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		bare  bool
		merge func(r *rig, id, branch string)
		state plumbline.MRState
	}{
		{"merge commit", false, func(r *rig, id, x string) { r.forge.Merge(id, r.merge("main", x, "--no-ff", "-m", "merge")) }, plumbline.MRMerged},
		{"squash", false, func(r *rig, id, x string) { r.forge.Merge(id, r.merge("main", x, "--squash")) }, plumbline.MRMerged},
		{"fast-forward", false, func(r *rig, id, x string) { r.forge.Merge(id, r.merge("main", x, "--ff-only")) }, plumbline.MRMerged},
		{"the forge tells no commit", false, func(r *rig, id, x string) { r.merge("main", x, "--no-ff", "-m", "merge"); r.forge.Merge(id, "") }, plumbline.MRMerged},
		{"pushed to and merged at once", false, func(r *rig, id, x string) {
			r.again(id, x, map[string]string{"live/app/main.tf": state + "# late\n"})
			r.forge.Merge(id, r.merge("main", x, "--no-ff", "-m", "merge"))
		}, plumbline.MRMerged},
		{"closed", false, func(r *rig, id, x string) {
			r.forge.Close(id)
			r.push("main", map[string]string{"live/db/main.tf": state + "# own\n"})
		}, plumbline.MRClosed},
		{"bare: fast-forward, branch kept", true, func(r *rig, id, x string) { r.merge("main", x, "--ff-only") }, plumbline.MRMerged},
		{"bare: merge commit, branch kept", true, func(r *rig, id, x string) { r.merge("main", x, "--no-ff", "-m", "merge") }, plumbline.MRMerged},
		{"bare: fast-forward, branch deleted", true, func(r *rig, id, x string) {
			r.merge("main", x, "--ff-only")
			testenv.Git(r.t, r.remote, "update-ref", "-d", "refs/heads/"+x)
		}, plumbline.MRMerged},
		{"bare: pushed to and merged at once", true, func(r *rig, id, x string) {
			r.again(id, x, map[string]string{"live/app/main.tf": state + "# late\n"})
			r.merge("main", x, "--ff-only")
		}, plumbline.MRMerged},
		{"bare: branch deleted unmerged", true, func(r *rig, id, x string) {
			testenv.Git(r.t, r.remote, "update-ref", "-d", "refs/heads/"+x)
			r.push("main", map[string]string{"live/db/main.tf": state + "# own\n"})
		}, plumbline.MRClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, branch := sighted(t), "x"
			if tt.bare {
				r, branch = bare(t), "propose/main/x"
			}
			// Two deployments go before, one comes after.
			for _, n := range []string{"1", "2"} {
				r.push("main", map[string]string{"README.md": n})
				r.poll()
			}
			id := r.propose(branch, map[string]string{"live/db/main.tf": state + "# 2\n", "live/net/main.tf": testenv.Removed, "live/net/other.tf": "# no backend\n"})
			r.poll()
			planned := r.mr(id)
			if len(r.proposals(id)) == 0 {
				t.Fatal("not planned")
			}
			tt.merge(r, id, branch)
			r.poll()
			r.push("main", map[string]string{"README.md": "3"})
			for range 3 {
				r.poll()
			}
			mr := r.mr(id)
			if mr.State != tt.state {
				t.Fatalf("it is %s, want %s", mr.State, tt.state)
			}
			if n := r.proposals(id, plumbline.StateQueued, plumbline.StatePlanning); len(n) != 0 {
				t.Errorf("still planned: %q", n)
			}
			if tt.state == plumbline.MRClosed {
				if mr.Deployment != 0 {
					t.Errorf("deployment %d of what was never merged", mr.Deployment)
				}
				return
			}
			ds, err := r.store.Deployments(t.Context(), "infra", "production", 10)
			if err != nil || len(ds) != 4 {
				t.Fatalf("deployments: %+v %v", ds, err)
			}
			if d, err := r.store.Deployment(t.Context(), mr.Deployment); err != nil || d.Commit != ds[1].Commit {
				t.Errorf("brought by deployment %d at %s %v, want the one at %s", mr.Deployment, d.Commit, err, ds[1].Commit)
			}
			if mr.Base != planned.Base || len(mr.Removed) != len(planned.Removed) {
				t.Errorf("what was known of it is lost: %+v, was %+v", mr, planned)
			}
		})
	}
}

// TestMergedLate: the forge's interface was away while it was merged and more came after.
func TestMergedLate(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/db/main.tf": state + "# 2\n"})
	r.poll()
	merged := r.merge("main", "x", "--no-ff", "-m", "merge")
	r.forge.Merge(id, merged)
	r.forge.Fault(forgetest.Outage)
	r.warned("not listed")
	for _, n := range []string{"1", "2", "3"} {
		r.push("main", map[string]string{"README.md": n})
		r.warned("not listed")
	}
	if mr := r.mr(id); mr.State != plumbline.MROpen {
		t.Errorf("without the forge's word it is %s", mr.State)
	}
	r.forge.Fault(nil)
	r.poll()
	mr := r.mr(id)
	d, err := r.store.Deployment(t.Context(), mr.Deployment)
	if err != nil || mr.State != plumbline.MRMerged || d.Commit != merged {
		t.Errorf("%s by deployment %d at %s %v, want the one at %s", mr.State, mr.Deployment, d.Commit, err, merged)
	}
}

// TestMergedBetween: it is merged after the refs were listed and before the merge requests were, or the other way round.
func TestMergedBetween(t *testing.T) {
	t.Parallel()
	for _, refsFirst := range []bool{true, false} {
		r := sighted(t)
		id := r.propose("x", map[string]string{"live/db/main.tf": state + "# 2\n"})
		r.poll()
		c := r.config()
		merge := func() { r.forge.Merge(id, r.merge("main", "x", "--no-ff", "-m", "merge")) }
		calls := 0
		if refsFirst {
			c.Git = &git1{Git: c.Git, refs: func(refs map[string]string, err error) (map[string]string, error) {
				if calls++; calls == 2 {
					merge()
				}
				return refs, err
			}}
		} else {
			stale := r.forge.MR(id)
			c.Forge = &staleForge{Forge: c.Forge, list: []plumbline.MergeRequest{stale}}
			merge()
		}
		r.w = New(c)
		r.poll()
		if f, ok := c.Forge.(*staleForge); ok {
			f.list = nil
		}
		r.poll()
		mr := r.mr(id)
		d, err := r.store.Deployment(t.Context(), mr.Deployment)
		if err != nil || mr.State != plumbline.MRMerged || d.Commit != r.head("main") {
			t.Errorf("refs first %t: %s by %+v %v", refsFirst, mr.State, d, err)
		}
		if n := r.newest("production", "live/db"); n.Commit != r.head("main") {
			t.Errorf("refs first %t: deployed at %s", refsFirst, n.Commit)
		}
	}
}

// staleForge lists what was open a moment ago.
type staleForge struct {
	Forge
	list []plumbline.MergeRequest // nil: what is open now
}

func (f *staleForge) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	if f.list != nil {
		return f.list, nil
	}
	return f.Forge.MergeRequests(ctx, refs)
}

// TestLateListing: a listing that is older than what another machine has written does not take a merge request back.
func TestLateListing(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/db/main.tf": state + "# 1\n"})
	other := r.watcher()
	c := r.config()
	late := &lateForge{Forge: c.Forge}
	c.Forge = late
	w := New(c)
	var head string
	late.after = func() {
		if head == "" {
			head = r.again(id, "x", map[string]string{"live/db/main.tf": state + "# 2\n"})
			if _, err := other.Poll(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 {
		if _, err := w.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if mr := r.mr(id); mr.Head != head {
			t.Fatalf("it is at %s, want %s", mr.Head, head)
		}
	}
	equal(t, "proposals", r.proposals(id, plumbline.StateQueued), []string{"production/live/db@" + plumbline.Short(head)})
}

// lateForge is slow to deliver its answer.
type lateForge struct {
	Forge
	after func()
}

func (f *lateForge) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	list, err := f.Forge.MergeRequests(ctx, refs)
	f.after()
	return list, err
}

// TestForgeAway: a forge whose interface does not answer, or wants to be left alone, stops no deployment; nothing is lost.
func TestForgeAway(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/db/main.tf": state + "# 2\n"})
	ended := r.propose("y", map[string]string{"live/net/main.tf": state + "# 2\n"})
	r.poll()
	since := r.last()
	moved := func(n string) []string {
		return []string{"deploy production/live/app@" + plumbline.Short(r.push("main", map[string]string{"live/app/main.tf": state + "# " + n + "\n"}))}
	}

	r.forge.Fault(forgetest.Outage)
	want := moved("1")
	r.warned("merge requests of infra are not listed")
	equal(t, "while the forge is down", r.news(&since), want)

	// Left alone until the time it names.
	at := r.clock().Add(time.Hour)
	r.forge.Fault(forgetest.RateLimit(at))
	asked := func() int { return r.forge.Requests("MergeRequests") + r.forge.Requests("MergeRequest") }
	r.warned("again after 2026-11-20T13:00:00Z")
	before := asked()
	head := r.again(id, "x", map[string]string{"live/db/main.tf": state + "# 3\n"})
	r.forge.Close(ended)
	want = moved("2")
	r.warned("again after 2026-11-20T13:00:00Z")
	equal(t, "while the forge is left alone", r.news(&since), want)
	r.ask(plumbline.RequestDrift, "lab")
	r.warned("again after")
	if r.requests() != 0 {
		t.Error("a wish waits for a forge that has no part in it")
	}
	if n := asked() - before; n != 0 {
		t.Errorf("it was asked %d times", n)
	}
	if r.mr(ended).State != plumbline.MROpen {
		t.Error("a list that could not be had counts as empty")
	}
	r.forge.Fault(nil)
	r.pass(time.Hour)
	r.poll()
	equal(t, "proposals", r.proposals(id, plumbline.StateQueued), []string{"production/live/db@" + plumbline.Short(head)})
	if r.mr(ended).State != plumbline.MRClosed {
		t.Error("what became of the other was lost")
	}

	// Only the question what became of one is refused.
	ended = r.propose("z", map[string]string{"live/net/main.tf": state + "# 4\n"})
	r.poll()
	r.forge.Close(ended)
	r.forge.Fault(func(ctx context.Context, method string) error {
		if method == "MergeRequest" {
			return forgetest.RateLimit(r.clock().Add(time.Minute))(ctx, method)
		}
		return nil
	})
	r.warned("merge request !3 of infra")
	r.forge.Fault(nil)
	r.warned("again after")
	r.pass(time.Minute)
	r.poll()
	if r.mr(ended).State != plumbline.MRClosed {
		t.Error("it is still open")
	}
}

func TestRemoteAway(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	c := r.config()
	away := errors.New("no route to host")
	g := &git1{Git: c.Git, refs: func(map[string]string, error) (map[string]string, error) { return nil, away }}
	c.Git = g
	w := New(c)
	if _, err := w.Poll(t.Context()); !errors.Is(err, away) {
		t.Errorf("poll: %v", err)
	}
	g.refs = nil
	r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
	if res, err := w.Poll(t.Context()); err != nil || res.Queued != 1 {
		t.Errorf("poll: %+v %v", res, err)
	}
}

func TestBareProposal(t *testing.T) {
	t.Parallel()
	r := bare(t)
	r.branch("propose/main/x", "main") // nothing to propose yet
	r.poll()
	if list, err := r.store.MergeRequests(t.Context(), "infra", ""); err != nil || len(list) != 0 {
		t.Errorf("a branch without a change is a merge request: %+v %v", list, err)
	}
	head := r.push("propose/main/x", map[string]string{"live/db/main.tf": state + "# 2\n"})
	r.poll()
	equal(t, "proposals", r.proposals("main/x"), []string{"production/live/db@" + plumbline.Short(head)})
	r.merge("main", "propose/main/x", "--ff-only")
	r.poll()
	if mr := r.mr("main/x"); mr.State != plumbline.MRMerged || mr.Deployment == 0 {
		t.Errorf("merged: %+v", mr)
	}
	for range 3 {
		if res := r.poll(); res.Moved != 0 {
			t.Fatalf("a merged branch that is kept moves: %+v", res)
		}
	}
	r.w = r.watcher()
	if res := r.poll(); res.Moved != 0 {
		t.Errorf("after a restart it moves: %+v", res)
	}
	// More on the same branch: it is open again.
	head = r.push("propose/main/x", map[string]string{"live/app/main.tf": state + "# 2\n"})
	r.poll()
	if mr := r.mr("main/x"); mr.State != plumbline.MROpen || mr.Head != head {
		t.Errorf("open again: %+v", mr)
	}
}
