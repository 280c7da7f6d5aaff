package watch

import (
	"errors"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestRemovedStack(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.push("main", map[string]string{"live/db/main.tf": state + "# good\n"})
	r.poll()
	r.applied(r.newest("production", "live/db").ID)
	good := r.status("production", "live/db").Commit
	r.push("main", map[string]string{"live/db/main.tf": state + "# never planned\n"})
	r.poll()
	since := r.last()
	r.push("main", map[string]string{"live/db/main.tf": testenv.Removed})
	r.poll()
	equal(t, "runs", r.news(&since), []string{"destroy production/live/db@" + plumbline.Short(good)})
	if !r.status("production", "live/db").Removed {
		t.Error("the ledger does not say that the stack was removed")
	}

	// Another commit: the destroy goes on waiting, as a run of the new deployment, from the same commit.
	r.plan(r.newest("production", "live/db").ID, digest)
	r.push("main", map[string]string{"README.md": "# 2\n"})
	r.poll()
	equal(t, "runs", r.news(&since), []string{"destroy production/live/db@" + plumbline.Short(good)})

	// The stack comes back before that: it is deployed, nothing is destroyed.
	back := r.push("main", map[string]string{"live/db/main.tf": state + "# good\n"})
	r.poll()
	equal(t, "runs", r.news(&since), []string{"deploy production/live/db@" + plumbline.Short(back)})
	if n := r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDestroy}, States: []plumbline.State{plumbline.StateQueued, plumbline.StateAwaiting}}); len(n) != 0 {
		t.Errorf("still to be destroyed: %+v", n)
	}
	r.applied(r.newest("production", "live/db").ID)

	// Removed and destroyed: it is over. Back again: a new stack.
	r.push("main", map[string]string{"live/db/main.tf": testenv.Removed})
	r.poll()
	r.applied(r.newest("production", "live/db").ID)
	since = r.last()
	r.push("main", map[string]string{"README.md": "# 3\n"})
	r.poll()
	equal(t, "runs of a stack that is gone", r.news(&since), nil)
	again := r.push("main", map[string]string{"live/db/main.tf": state})
	r.poll()
	equal(t, "runs", r.news(&since), []string{"deploy production/live/db@" + plumbline.Short(again)})
	if n := r.newest("production", "live/db"); n.Base != "" || n.HadState {
		t.Errorf("a stack that was destroyed is as a new one: base %q, had state %t", n.Base, n.HadState)
	}
}

// TestRemovedHalfMade: a new stack whose first apply has begun is not forgotten when the next commit removes it.
func TestRemovedHalfMade(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		until func(r *rig, id plumbline.RunID)
		want  bool
	}{
		{"queued", func(*rig, plumbline.RunID) {}, false},
		{"plan failed", func(r *rig, id plumbline.RunID) { r.start(id); r.finish(id, failure(), nil) }, false},
		{"approved", func(r *rig, id plumbline.RunID) { r.plan(id, digest); r.approve(id) }, true},
		{"applying", (*rig).applying, true},
		{"apply failed", func(r *rig, id plumbline.RunID) { r.applying(id); r.finish(id, failure(), nil) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := sighted(t)
			made := r.push("main", map[string]string{"live/new/main.tf": state})
			r.poll()
			tt.until(r, r.newest("production", "live/new").ID)
			since := r.last()
			r.push("main", map[string]string{"live/new/main.tf": testenv.Removed})
			r.poll()
			var want []string
			if tt.want {
				want = []string{"destroy production/live/new@" + plumbline.Short(made)}
			}
			equal(t, "runs", r.news(&since), want)
		})
	}
}

func TestRewrittenHistory(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	first := r.head("main")
	second := r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
	r.poll()
	r.applied(r.newest("production", "live/db").ID)
	since := r.last()

	// Back to the old commit, and to the new one again: each is a move.
	r.branch("main", first)
	r.poll()
	equal(t, "back", r.news(&since), []string{"deploy production/live/db@" + plumbline.Short(first)})
	r.applied(r.newest("production", "live/db").ID)
	r.branch("main", second)
	r.poll()
	equal(t, "forth", r.news(&since), []string{"deploy production/live/db@" + plumbline.Short(second)})
	r.applied(r.newest("production", "live/db").ID)

	// The branch goes away: a warning, nothing else. It comes back elsewhere.
	testenv.Git(t, r.remote, "update-ref", "-d", "refs/heads/main")
	r.warned("branch main of infra does not exist")
	equal(t, "deleted", r.news(&since), nil)
	r.branch("main", first)
	r.poll()
	equal(t, "elsewhere", r.news(&since), []string{"deploy production/live/db@" + plumbline.Short(first)})
	r.applied(r.newest("production", "live/db").ID)

	// A history without any commit of before, which a mirror that begins anew has never seen: all is touched, nothing is guessed.
	other := testenv.Git(t, r.remote, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit-tree", "-m", "new root", second+"^{tree}")
	for _, b := range []string{"main", "env/staging"} {
		r.branch(b, other)
	}
	testenv.Git(t, r.remote, "reflog", "expire", "--expire=now", "--all")
	testenv.Git(t, r.remote, "gc", "--quiet", "--prune=now")
	r.w = r.watcher()
	r.poll()
	got := r.news(&since)
	if len(got) != 8 {
		t.Errorf("runs after the history was replaced: %q", got)
	}
	if b := r.newest("production", "live/app").Because; !strings.Contains(b, "history was rewritten") {
		t.Errorf("because %q", b)
	}
}

func TestBrokenStack(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]string{
		"half a block":        state + "resource \"a\" \"b\" {\n",
		"the backend is torn": "terraform {\n  backend \"local\" {\n",
		"not HCL":             "\x00\x01 {{{",
		"nothing left":        "}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sighted(t)
			since := r.last()
			head := r.push("main", map[string]string{"live/db/main.tf": broken, "live/app/main.tf": state + "# 2\n"})
			r.poll()
			equal(t, "runs", r.news(&since), []string{"deploy production/live/app@" + plumbline.Short(head), "deploy production/live/db@" + plumbline.Short(head)})
			db := r.newest("production", "live/db")
			if db.State != plumbline.StateFailed || db.Failure == nil || db.Failure.Kind != plumbline.FailConfig || len(db.Failure.Diagnostics) == 0 || db.Failure.Diagnostics[0].File != "live/db/main.tf" {
				t.Errorf("the broken stack's run: %+v", db)
			}
			if app := r.newest("production", "live/app"); app.State != plumbline.StateQueued {
				t.Errorf("the other stack's run is %s", app.State)
			}
			// Mended with the next commit, even by taking the mistake back.
			head = r.push("main", map[string]string{"live/db/main.tf": fleet()["live/db/main.tf"]})
			r.poll()
			if db := r.newest("production", "live/db"); db.State != plumbline.StateQueued || db.Commit != head {
				t.Errorf("after it was mended: %s at %s", db.State, db.Commit)
			}
		})
	}
}

// TestNewEnvironment: what the configuration has only now let in is looked at, not deployed by the next commit.
func TestNewEnvironment(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	since := r.last()
	r.repo.Environments = append(r.repo.Environments, plumbline.Environment{Repository: "infra", Name: "all", Branch: "main", Apply: plumbline.ApplyAutomatic})
	r.repo.Environments[1].Include = append(r.repo.Environments[1].Include, "live/app")
	r.w = r.watcher()
	r.poll()
	head := plumbline.Short(r.head("main"))
	equal(t, "a new environment", r.news(&since), []string{"drift all/lab/one@" + head, "drift all/live/app@" + head, "drift all/live/db@" + head, "drift all/live/net@" + head})
	for _, run := range r.runs(plumbline.RunFilter{Environment: "all"}) {
		r.plan(run.ID, "")
	}
	r.w = r.watcher() // and only once, whoever looks
	r.poll()
	head = plumbline.Short(r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"}))
	r.poll()
	equal(t, "a wider one", r.news(&since), []string{"deploy production/live/db@" + head, "deploy all/live/db@" + head, "drift lab/live/app@" + head})

	// The first stack of an environment without any is deployed: it is new.
	r = newRig(t)
	r.repo.Environments = []plumbline.Environment{{Repository: "infra", Name: "empty", Branch: "main", Include: []string{"new/**"}}}
	r.w = r.watcher()
	r.poll()
	since = 0
	equal(t, "nothing to look at", r.news(&since), nil)
	head = plumbline.Short(r.push("main", map[string]string{"new/one/main.tf": state}))
	r.poll()
	equal(t, "the first stack", r.news(&since), []string{"deploy empty/new/one@" + head})

	// An environment that changes its branch is compared, not deployed.
	r = sighted(t)
	r.push("env/next", map[string]string{"live/db/main.tf": state + "# other\n"})
	r.repo.Environments[0].Branch = "env/next"
	r.w = r.watcher()
	since = r.last()
	r.poll()
	head = plumbline.Short(r.head("env/next"))
	equal(t, "another branch", r.news(&since), []string{"drift production/live/app@" + head, "drift production/live/db@" + head, "drift production/live/net@" + head})
}

// TestChecksFollow: a drift check that waits is not made at a commit that the stack has left.
func TestChecksFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.poll()
	since := r.last()
	r.push("main", map[string]string{"README.md": "# 2\n"})
	r.poll()
	equal(t, "a commit that touches nothing leaves the checks alone", r.news(&since), nil)
	head := plumbline.Short(r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"}))
	r.poll()
	equal(t, "a commit that touches one", r.news(&since), []string{"deploy production/live/db@" + head, "drift production/live/app@" + head, "drift production/live/net@" + head})
	live := r.runs(plumbline.RunFilter{Environment: "production", Kinds: []plumbline.Kind{plumbline.KindDrift}, States: []plumbline.State{plumbline.StateQueued}})
	if len(live) != 2 || live[0].Because != "first look at main" {
		t.Errorf("checks that wait: %+v", live)
	}
}

// TestOneBranchFails: what cannot be read of one branch keeps no other from being seen, and is seen once it can be read.
func TestOneBranchFails(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	c := r.config()
	broken := true
	c.Git = &git1{Git: c.Git, fetch: func(refs map[string]string) error {
		if _, ok := refs["refs/heads/main"]; ok && broken {
			return errors.New("the disk is full")
		}
		return nil
	}}
	r.w = New(c)
	since := r.last()
	before := plumbline.Short(r.head("main"))
	main := plumbline.Short(r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"}))
	staging := plumbline.Short(r.push("env/staging", map[string]string{"live/db/main.tf": state + "# 2\n"}))
	r.ask(plumbline.RequestDrift, "production")
	r.warned("branch main of infra: fetch: the disk is full")
	equal(t, "runs", r.news(&since), []string{"deploy staging/live/db@" + staging})
	if r.requests() != 1 {
		t.Error("the wish for the branch that cannot be read is gone")
	}
	broken = false
	r.poll()
	equal(t, "runs", r.news(&since), []string{"deploy production/live/db@" + main, "drift production/live/app@" + main, "drift production/live/db@" + before, "drift production/live/net@" + main})
	if r.requests() != 0 {
		t.Error("the wish was not fulfilled")
	}
}
