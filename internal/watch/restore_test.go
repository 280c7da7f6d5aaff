package watch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// back asks for a rollback of production to a commit; "" is the last good one.
func (r *rig) back(to, by string) {
	r.t.Helper()
	if _, err := r.store.Request(r.t.Context(), plumbline.Request{Repository: "infra", Environment: "production", Kind: plumbline.RequestRollback, To: to, By: by, At: r.clock()}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) show(file string) string {
	r.t.Helper()
	return testenv.Git(r.t, r.remote, "show", file)
}

// TestRollbackSigned: no commit of Plumbline's is put where it would keep everything after it from being deployed.
func TestRollbackSigned(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	all := plumbline.SignedRule{Commits: plumbline.SignedAll, Keys: map[string]string{"keys[0]": s.public}}
	merge := plumbline.SignedRule{Commits: plumbline.SignedMerge, Keys: all.Keys}
	for _, tt := range []struct {
		name   string
		rule   func(r *plumbline.Repository)
		refuse string
	}{
		{"all, direct", func(r *plumbline.Repository) {
			r.Environments[0].Signed, r.Environments[0].Rollback = all, plumbline.RollbackDirect
		}, "environment production"},
		{"all, by merge request", func(r *plumbline.Repository) { r.Environments[0].Signed = all }, "environment production"},
		{"all, of another environment of the branch", func(r *plumbline.Repository) { r.Environments[1].Signed = all }, "environment lab"},
		{"of another branch", func(r *plumbline.Repository) { r.Environments[2].Signed = all }, ""},
		{"merge, direct", func(r *plumbline.Repository) {
			r.Environments[0].Signed, r.Environments[0].Rollback = merge, plumbline.RollbackDirect
		}, "environment production"},
		{"merge, by merge request", func(r *plumbline.Repository) { r.Environments[0].Signed = merge }, ""},
		{"proposals", func(r *plumbline.Repository) { r.Proposals.Signed = true }, "repository infra"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := sighted(t)
			tt.rule(&r.repo)
			r.w = r.watcher()
			r.poll()
			old := r.head("main")
			bad := r.commit("main", "live/net/a.tf", "# bad\n", &s)
			r.poll()
			r.back(old, "ann")
			if tt.refuse == "" {
				r.poll()
				if n := len(r.open1()); n != 1 {
					t.Errorf("%d merge requests are open", n)
				}
				return
			}
			r.warned("rollback of production asked for by ann: Plumbline's commits carry no signature, and " + tt.refuse + " takes none without. Put the files back yourself, by git revert --no-commit " + plumbline.Short(old) + "..")
			if r.head("main") != bad || len(r.open1()) > 0 || r.requests() > 0 {
				t.Errorf("main is at %s, open %v, %d wishes", r.head("main"), r.open1(), r.requests())
			}
			r.commit("main", "live/net/b.tf", "# signed, afterwards\n", &s)
			r.poll()
			if run := r.newest("production", "live/net"); run.State != plumbline.StateQueued {
				t.Errorf("what comes after it is %s: %+v", run.State, run.Failure)
			}
		})
	}
}

// TestSignedFirst: what is deployed as the first thing after signatures are asked for must be signed too.
func TestSignedFirst(t *testing.T) {
	t.Parallel()
	for _, commits := range []plumbline.SignedCommits{plumbline.SignedAll, plumbline.SignedMerge} {
		s := newSigner(t)
		r := newRig(t)
		r.repo.Environments[0].Signed = plumbline.SignedRule{Commits: commits, Keys: map[string]string{"keys[0]": s.public}}
		r.w = r.watcher()
		r.poll()
		for _, run := range r.runs(plumbline.RunFilter{}) {
			r.plan(run.ID, "")
		}
		for range 2 { // once told, it is told again
			r.ask(plumbline.RequestDeploy, "production")
			r.poll()
			if run := r.newest("production", "live/net"); run.Kind != plumbline.KindDeploy || run.State != plumbline.StateFailed || run.Failure.Kind != plumbline.FailUnsigned {
				t.Fatalf("%s: %s of what is not signed is %s %+v", commits, run.Kind, run.State, run.Failure)
			}
		}
		good := r.commit("main", "live/net/a.tf", "# a\n", &s)
		r.poll()
		if run := r.newest("production", "live/net"); run.Commit != good || run.State != plumbline.StateQueued {
			t.Errorf("%s: the first signed commit: %s %+v", commits, run.State, run.Failure)
		}
		r.ask(plumbline.RequestDeploy, "production")
		r.poll()
		if run := r.newest("production", "live/net"); run.State != plumbline.StateQueued {
			t.Errorf("%s: a wish for it: %s %+v", commits, run.State, run.Failure)
		}
	}
}

// TestSignedWishOnFreshNode: a node that has no commit yet finds the one to look at.
func TestSignedWishOnFreshNode(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	r := sighted(t)
	r.repo.Environments[0].Signed = plumbline.SignedRule{Commits: plumbline.SignedAll, Keys: map[string]string{"keys[0]": s.public}}
	r.w = r.watcher()
	r.poll()
	r.ask(plumbline.RequestDeploy, "production")
	r.w = r.watcher()
	r.poll()
	if run := r.newest("production", "live/net"); run.Kind != plumbline.KindDeploy || run.State != plumbline.StateFailed {
		t.Errorf("%s of what is not signed is %s", run.Kind, run.State)
	}
}

// forget rewrites a branch to a commit so that what it had besides is nowhere any more, and goes on with a node that has never seen it.
func (r *rig) forget(branch, commit string) {
	r.t.Helper()
	r.branch(branch, commit)
	testenv.Git(r.t, r.remote, "reflog", "expire", "--expire=now", "--all")
	testenv.Git(r.t, r.remote, "gc", "--quiet", "--prune=now")
	r.w = r.watcher()
}

// TestSignedMarkGone: when the newest signed commit is nowhere any more, what is signed is deployed and what is not stays out.
func TestSignedMarkGone(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	start := func(t *testing.T) (r *rig, base string) {
		t.Helper()
		r = sighted(t)
		r.repo.Environments[0].Signed = plumbline.SignedRule{Commits: plumbline.SignedAll, Keys: map[string]string{"keys[0]": s.public}}
		r.w = r.watcher()
		r.poll()
		base = r.head("main")
		r.commit("main", "live/net/a.tf", "# a\n", &s)
		r.poll()
		return r, base
	}
	failed := func(t *testing.T, r *rig, commit, bad string) {
		t.Helper()
		r.poll()
		if run := r.newest("production", "live/net"); run.Commit != commit || run.State != plumbline.StateFailed || !strings.Contains(run.Failure.Text, plumbline.Short(bad)) {
			t.Errorf("%s of %s is %s %+v, want it to tell of %s", run.Kind, plumbline.Short(run.Commit), run.State, run.Failure, plumbline.Short(bad))
		}
	}
	t.Run("signed", func(t *testing.T) {
		t.Parallel()
		r, base := start(t)
		r.branch("main", base)
		next := r.commit("main", "live/net/b.tf", "# b\n", &s)
		r.forget("main", next)
		r.poll()
		if run := r.newest("production", "live/net"); run.Commit != next || run.State != plumbline.StateQueued {
			t.Errorf("%s of %s is %s %+v", run.Kind, plumbline.Short(run.Commit), run.State, run.Failure)
		}
	})
	t.Run("not signed, and a signed one on top", func(t *testing.T) {
		t.Parallel()
		r, base := start(t)
		r.branch("main", base)
		bad := r.commit("main", "live/net/b.tf", "# b\n", nil)
		r.forget("main", bad)
		failed(t, r, bad, bad)
		top := r.commit("main", "live/net/c.tf", "# c\n", &s)
		failed(t, r, top, bad)
		r.w = r.watcher()
		r.ask(plumbline.RequestDeploy, "production")
		failed(t, r, top, bad)
	})
	t.Run("with all that was there", func(t *testing.T) {
		t.Parallel()
		r, _ := start(t)
		dir := t.TempDir()
		testenv.Git(t, dir, "clone", "--quiet", r.remote, ".")
		testenv.Git(t, dir, "checkout", "--quiet", "--orphan", "anew")
		testenv.Git(t, dir, "-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "--quiet", "-m", "anew")
		bad := testenv.Git(t, dir, "rev-parse", "HEAD")
		testenv.Git(t, dir, "push", "--quiet", "--force", "origin", "HEAD:main", "HEAD:env/staging")
		r.forget("main", bad)
		failed(t, r, bad, bad)
		top := r.commit("main", "live/net/c.tf", "# c\n", &s)
		failed(t, r, top, bad)
	})
}

// TestRollbackLastGood: a deployment of one stack is no moment at which all was well.
func TestRollbackLastGood(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.repo.Environments[0].Rollback = plumbline.RollbackDirect
	r.w = r.watcher()
	r.poll()
	r.push("main", map[string]string{"live/net/main.tf": state + "# good\n", "live/db/main.tf": state + "# good\n"})
	r.poll()
	r.applied(r.newest("production", "live/net").ID)
	r.applied(r.newest("production", "live/db").ID)
	r.push("main", map[string]string{"live/net/main.tf": state + "# bad\n", "live/db/main.tf": state + "# fine\n"})
	r.poll()
	r.applied(r.newest("production", "live/db").ID)
	net := r.newest("production", "live/net")
	r.applying(net.ID)
	r.finish(net.ID, failure(), nil)
	r.ask(plumbline.RequestDeploy, "production", "live/db")
	r.poll()
	r.plan(r.newest("production", "live/db").ID, "")
	r.push("main", map[string]string{"live/net/main.tf": state + "# worse\n"})
	r.poll()
	r.back("", "ann")
	r.poll()
	if got := r.show("main:live/net/main.tf"); !strings.Contains(got, "# good") {
		t.Errorf("rolled back to a commit that was never in sync: %q", got)
	}
}

// TestRollbackAuthor: who asks for a rollback is among its authors, and nobody else by their name.
func TestRollbackAuthor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ by, author string }{
		{"ann", "ann"},
		{"corp/ann", "corp/ann"},
		{"Ann@example.com", "ann@example.com"},
		{"ann\nCo-authored-by: bob <bob>", "annco-authored-by: bob bob"},
	} {
		r := sighted(t)
		r.repo.Environments[0].Rollback = plumbline.RollbackDirect
		r.repo.Environments[0].Approval.Not = []plumbline.Exclusion{plumbline.NotAuthor}
		r.w = r.watcher()
		r.poll()
		old := r.head("main")
		r.push("main", map[string]string{"live/net/main.tf": state + "# good\n"})
		r.poll()
		r.back(old, tt.by)
		r.poll()
		r.poll()
		run := r.newest("production", "live/net")
		r.plan(run.ID, digest)
		if got := r.run(run.ID).Authors; !slices.Contains(got, tt.author) || slices.Contains(got, "bob") {
			t.Errorf("%q: authors %q, want %q among them", tt.by, got, tt.author)
		}
		r.update(run.ID, func(x *plumbline.Run, now time.Time) error {
			if err := x.Approve(plumbline.Person{Name: tt.author}, plumbline.Access{}, digest, now); err == nil {
				t.Errorf("%q made this change through Plumbline and agreed to it; its authors are %q", tt.by, x.Authors)
			}
			return nil
		})
	}
}

// TestRollbackNested: what another environment has below a stack's directory is not this one's to put back.
func TestRollbackNested(t *testing.T) {
	t.Parallel()
	for _, changed := range []bool{true, false} {
		r := sighted(t)
		r.repo.Environments[0].Rollback = plumbline.RollbackDirect
		r.repo.Environments[0].Exclude = []string{"live/net/lab"}
		r.repo.Environments[1].Include = []string{"lab/**", "live/net/lab"}
		r.w = r.watcher()
		r.poll()
		r.push("main", map[string]string{"live/net/main.tf": state + "# good\n", "live/net/lab/main.tf": state + "# lab old\n"})
		r.poll()
		r.applied(r.newest("production", "live/net").ID)
		old := r.head("main")
		files := map[string]string{"live/net/main.tf": state + "# bad\n"}
		if changed {
			files["live/net/lab/main.tf"] = state + "# lab new\n"
		}
		bad := r.push("main", files)
		r.poll()
		r.back(old, "ann")
		if !changed {
			r.poll()
			if got := r.show("main:live/net/main.tf"); !strings.Contains(got, "# good") {
				t.Errorf("nothing of lab would change, and it is not put back: %q", got)
			}
			continue
		}
		r.warned("Directory live/net of production holds stack live/net/lab, which is not this environment's")
		if r.head("main") != bad || r.requests() > 0 {
			t.Errorf("main is at %s, %d wishes", r.head("main"), r.requests())
		}
	}
}

// promoting is a rig whose staging promotes to production, with a merge request open that brings a change.
func promoting(t *testing.T, content string) *rig {
	t.Helper()
	r := sighted(t)
	r.repo.Environments[2].PromotesTo = "production"
	r.w = r.watcher()
	r.poll()
	r.push("env/staging", map[string]string{"live/net/main.tf": content})
	r.poll()
	r.applied(r.newest("staging", "live/net").ID)
	r.poll()
	if n := len(r.open1()); n != 1 {
		t.Fatalf("%d merge requests are open", n)
	}
	return r
}

// TestPromoteSquash: what was merged by squashing is there, whether Plumbline had opened it or not.
func TestPromoteSquash(t *testing.T) {
	t.Parallel()
	r := promoting(t, state+"# new\n")
	r.forge.Merge(r.open1()[0].ID, r.merge("main", "env/staging", "--squash"))
	r.poll()
	r.poll()
	r.push("main", map[string]string{"README.md": "unrelated"})
	r.poll()
	if open := r.open1(); len(open) > 0 {
		t.Errorf("%q is open though it would change nothing", open[0].Title)
	}
	// People push the next change to both branches themselves.
	r.push("env/staging", map[string]string{"live/db/main.tf": state + "# by hand\n"})
	r.push("main", map[string]string{"live/db/main.tf": state + "# by hand\n"})
	r.poll()
	r.applied(r.newest("staging", "live/db").ID)
	r.poll()
	if open := r.open1(); len(open) > 0 {
		t.Errorf("%q is open though production has it", open[0].Title)
	}
	r.ask(plumbline.RequestPromote, "staging")
	r.warned("production has everything that staging has")
	r.push("main", map[string]string{"live/db/main.tf": state + "# taken out again\n"})
	r.poll()
	if open := r.open1(); len(open) > 0 {
		t.Errorf("%q is open again with what was taken out", open[0].Title)
	}
	r.push("env/staging", map[string]string{"live/app/main.tf": state + "# later\n"})
	r.poll()
	r.applied(r.newest("staging", "live/app").ID)
	r.poll()
	if n := len(r.open1()); n != 1 {
		t.Errorf("%d merge requests are open for what came later", n)
	}
}

// TestPromoteConflict: what cannot be merged is shown all the same, for people to see why.
func TestPromoteConflict(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.repo.Environments[2].PromotesTo = "production"
	r.w = r.watcher()
	r.poll()
	r.push("main", map[string]string{"live/net/main.tf": state + "# one\n"})
	r.push("env/staging", map[string]string{"live/net/main.tf": state + "# other\n"})
	r.poll()
	r.applied(r.newest("staging", "live/net").ID)
	r.poll()
	if n := len(r.open1()); n != 1 {
		t.Errorf("%d merge requests are open", n)
	}
}

// TestPromoteClosed: what people closed stays closed until the source moves, or somebody asks for it.
func TestPromoteClosed(t *testing.T) {
	t.Parallel()
	r := promoting(t, state+"# new\n")
	r.forge.Close(r.open1()[0].ID)
	r.poll()
	r.push("main", map[string]string{"README.md": "unrelated"})
	r.poll()
	if open := r.open1(); len(open) > 0 {
		t.Fatalf("people closed the promotion of this very head; %s is open again", open[0].ID)
	}
	r.ask(plumbline.RequestPromote, "staging")
	r.poll()
	if n := len(r.open1()); n != 1 {
		t.Errorf("%d merge requests are open though somebody asked for it", n)
	}
}

// TestPromoteAfterRollback: what production had and has not any more does not come back by itself.
func TestPromoteAfterRollback(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"--squash", "--no-ff"} {
		r := promoting(t, state+"# bad\n")
		good := r.show("main:live/net/main.tf") + "\n"
		args := []string{how}
		if how == "--no-ff" {
			args = append(args, "-m", "promote")
		}
		r.forge.Merge(r.open1()[0].ID, r.merge("main", "env/staging", args...))
		r.poll()
		r.push("main", map[string]string{"live/net/main.tf": good})
		r.poll()
		r.poll()
		if open := r.open1(); len(open) > 0 {
			t.Errorf("%s: production was rolled back and %q is open again with what was taken out", how, open[0].Title)
		}
	}
}
