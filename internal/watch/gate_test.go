package watch

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// carrying is a listening rig whose production carries approvals over, with a rule.
func carrying(t *testing.T, rule plumbline.ApprovalRule) *rig {
	t.Helper()
	r := sighted(t)
	r.repo.Forge = "corp"
	rule.Carry = true
	r.repo.Environments[0].Approval = rule
	r.w = r.listener()
	r.poll()
	return r
}

// agreed opens a merge request on live/net whose plan ann has agreed to.
func (r *rig) agreed() (id string) {
	r.t.Helper()
	id = r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{MR: id}) {
		r.plan(run.ID, digest)
	}
	r.told()
	r.pass(time.Second)
	r.say(id, "ann", "plumbline approve", "approve of corp/ann: done")
	return id
}

// TestCarriedOver: a yes on the merge request counts for the same plan after the merge, whichever is seen first, and for no other.
func TestCarriedOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		do    func(r *rig, id string) plumbline.Run
		state plumbline.State
	}{
		{"planned after the merge was seen", func(r *rig, id string) plumbline.Run {
			r.forge.Merge(id, r.merge("main", "x"))
			r.poll()
			run := r.newest("production", "live/net")
			r.plan(run.ID, digest)
			return run
		}, plumbline.StateApproved},
		{"planned before the forge said so", func(r *rig, id string) plumbline.Run {
			merged := r.merge("main", "x", "--squash")
			r.poll()
			run := r.newest("production", "live/net")
			r.plan(run.ID, digest)
			if s := r.run(run.ID).State; s != plumbline.StateAwaiting {
				r.t.Errorf("before the merge is known it is %s", s)
			}
			r.forge.Merge(id, merged)
			r.poll()
			return run
		}, plumbline.StateApproved},
		{"another plan", func(r *rig, id string) plumbline.Run {
			r.forge.Merge(id, r.merge("main", "x"))
			r.poll()
			run := r.newest("production", "live/net")
			r.plan(run.ID, "fedcba9876543210")
			return run
		}, plumbline.StateAwaiting},
		{"superseded by a later commit, with the same plan", func(r *rig, id string) plumbline.Run {
			r.forge.Merge(id, r.merge("main", "x"))
			r.poll()
			r.push("main", map[string]string{"live/net/more.tf": "# more\n"})
			r.poll()
			run := r.newest("production", "live/net")
			r.plan(run.ID, digest)
			return run
		}, plumbline.StateApproved},
		{"pushed to after the yes", func(r *rig, id string) plumbline.Run {
			r.again(id, "x", map[string]string{"live/net/main.tf": state + "# late\n"})
			r.forge.Merge(id, r.merge("main", "x"))
			r.poll()
			r.poll()
			run := r.newest("production", "live/net")
			r.plan(run.ID, "fedcba9876543210")
			return run
		}, plumbline.StateAwaiting},
		{"a daemon that died between the two", func(r *rig, id string) plumbline.Run {
			r.forge.Merge(id, r.merge("main", "x"))
			c := r.config()
			c.Access = r.listener().access
			c.Ledger = &deadLedger{Ledger: c.Ledger}
			_, _ = New(c).Poll(r.t.Context()) // dies when it writes the merge request down
			r.w = r.listener()
			r.poll()
			run := r.newest("production", "live/net")
			r.plan(run.ID, digest)
			return run
		}, plumbline.StateApproved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := carrying(t, plumbline.ApprovalRule{})
			run := r.run(tt.do(r, r.agreed()).ID)
			if run.State != tt.state {
				t.Errorf("%s, want %s: %+v", run.State, tt.state, run.Approvals)
			}
			if tt.state == plumbline.StateApproved && (len(run.Approvals) != 1 || run.Approvals[0].By != "corp/ann" || !strings.Contains(run.Approvals[0].Carried, "!1")) {
				t.Errorf("approvals %+v", run.Approvals)
			}
		})
	}
}

// deadLedger cannot write a merge request that is merged.
type deadLedger struct{ Ledger }

func (d *deadLedger) Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error) {
	if o.MergeRequest != nil && o.MergeRequest.State == plumbline.MRMerged {
		return nil, os.ErrClosed
	}
	return d.Ledger.Observe(ctx, o)
}

// TestAuthors: who wrote a change is known from its commits, and from its merge request, before anybody can agree to it.
func TestAuthors(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Not: []plumbline.Exclusion{plumbline.NotAuthor, plumbline.NotLastPusher}})
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Author, mr.LastPusher = "ann", "bob" })
	r.poll()
	proposal := r.runs(plumbline.RunFilter{MR: id})[0]
	if !slices.Contains(proposal.Authors, "corp/ann") || len(proposal.Authors) < 2 || !slices.Equal(proposal.Pushers, []string{"corp/bob"}) {
		t.Errorf("authors %q, pushers %q", proposal.Authors, proposal.Pushers)
	}
	r.plan(proposal.ID, digest)
	r.told()
	r.pass(time.Second)
	r.say(id, "ann", "plumbline approve", "does not count the yes of its author")
	// The branch shows it before the forge says that it is merged: its author is known all the same.
	r.merge("main", "x", "--no-ff", "-m", "merge")
	r.poll()
	run := r.newest("production", "live/net")
	if !slices.Contains(run.Authors, "corp/ann") || !slices.Contains(run.Pushers, "corp/bob") {
		t.Errorf("authors %q, pushers %q of %s", run.Authors, run.Pushers, run.Kind)
	}
}

// TestForgeApproval: an approval on the forge counts when it was given after the plan was shown, by somebody who may approve.
func TestForgeApproval(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Forge: true})
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	approve := func(who ...string) {
		r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.ApprovedBy = who })
		r.pass(time.Minute)
		r.poll()
	}
	yeses := func() (out []string) {
		for _, run := range r.runs(plumbline.RunFilter{MR: id, States: []plumbline.State{plumbline.StatePlanned}}) {
			for _, a := range run.Approvals {
				out = append(out, a.By+" "+string(a.Door))
			}
		}
		return out
	}
	r.poll()
	run := r.runs(plumbline.RunFilter{MR: id})[0]
	approve("ann") // before there is a plan
	r.plan(run.ID, digest)
	approve("ann") // before it is shown
	r.told()
	approve("ann")
	approve("ann")
	equal(t, "of what was given before the plan was shown", yeses(), nil)
	approve("ann", "eve")
	equal(t, "of somebody who may not approve", yeses(), nil)
	approve()
	approve("ann")
	equal(t, "taken back and given again", yeses(), []string{"corp/ann forge"})
	r.again(id, "x", map[string]string{"live/net/main.tf": state + "# late\n"})
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{MR: id, States: []plumbline.State{plumbline.StateQueued}}) {
		r.plan(run.ID, "fedcba9876543210")
	}
	r.told()
	approve("ann") // the forge keeps it, though the head is another
	head := r.head("x")
	for _, run := range r.runs(plumbline.RunFilter{MR: id, States: []plumbline.State{plumbline.StatePlanned}}) {
		if run.Commit == head && run.Missing(r.clock()) == 0 {
			t.Errorf("a yes to an earlier head counts: %+v", run.Approvals)
		}
	}
}

// signer makes an SSH key and commits with it.
type signer struct {
	key, public string
}

func newSigner(t *testing.T) signer {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("there is no ssh-keygen here")
	}
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ann@example.com", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	b, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, string(b)}
}

// commit adds a commit to a branch of the remote, signed if a key is given.
func (r *rig) commit(branch, file, content string, s *signer) string {
	r.t.Helper()
	dir := r.t.TempDir()
	testenv.Git(r.t, dir, "clone", "--quiet", "--branch", branch, r.remote, ".")
	if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
	args := []string{"-c", "user.name=Ann", "-c", "user.email=ann@example.com"}
	commit := []string{"commit", "--quiet", "-m", "change"}
	if s != nil {
		args = append(args, "-c", "gpg.format=ssh", "-c", "user.signingkey="+s.key)
		commit = append(commit, "-S")
	}
	testenv.Git(r.t, dir, "add", "-A")
	testenv.Git(r.t, dir, append(args, commit...)...)
	testenv.Git(r.t, dir, "push", "--quiet", "origin", "HEAD")
	return testenv.Git(r.t, dir, "rev-parse", "HEAD")
}

// TestSigned: a commit that is not signed keeps an environment from being deployed until it is out of the branch, whatever comes on top of it.
func TestSigned(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	r := sighted(t)
	r.repo.Environments[0].Signed = plumbline.SignedRule{Commits: plumbline.SignedAll, Keys: map[string]string{"keys[0]": s.public}}
	r.w = r.watcher()
	r.poll()
	good := r.commit("main", "live/net/a.tf", "# a\n", &s)
	r.poll()
	if run := r.newest("production", "live/net"); run.Commit != good || run.State != plumbline.StateQueued {
		t.Fatalf("a signed commit: %s %+v", run.State, run.Failure)
	}
	bad := r.commit("main", "live/net/b.tf", "# b\n", nil)
	r.poll()
	run := r.newest("production", "live/net")
	if run.State != plumbline.StateFailed || run.Failure.Kind != plumbline.FailUnsigned || !strings.Contains(run.Failure.Text, plumbline.Short(bad)) || !strings.Contains(run.Failure.Text, "ann@example.com") {
		t.Fatalf("an unsigned commit: %s %+v", run.State, run.Failure)
	}
	if _, err := r.store.Update(t.Context(), run.ID, r.clock(), func(r *plumbline.Run, now time.Time) error { return r.Retry("ann", now) }); err == nil {
		t.Error("it could be tried again")
	}
	r.commit("main", "live/net/c.tf", "# c\n", &s)
	r.poll()
	if run := r.newest("production", "live/net"); run.State != plumbline.StateFailed || !strings.Contains(run.Failure.Text, plumbline.Short(bad)) {
		t.Errorf("a signed commit on top of it: %s %+v", run.State, run.Failure)
	}
	if _, err := r.store.Request(t.Context(), plumbline.Request{Repository: "infra", Environment: "production", Kind: plumbline.RequestDeploy, By: "ann", At: r.clock()}); err != nil {
		t.Fatal(err)
	}
	r.poll()
	if run := r.newest("production", "live/net"); run.State != plumbline.StateFailed {
		t.Errorf("deployed by a person's wish: %s", run.State)
	}
	r.branch("main", good)
	next := r.commit("main", "live/net/d.tf", "# d\n", &s)
	r.poll()
	if run := r.newest("production", "live/net"); run.State != plumbline.StateQueued || run.Commit != next {
		t.Errorf("when it is out of the branch: %s %+v", run.State, run.Failure)
	}
}

// TestUnsignedProposal: what is not signed is not planned, since a plan runs its author's code.
func TestUnsignedProposal(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	r := sighted(t)
	r.repo.Proposals.Signed = true
	for i := range r.repo.Environments {
		r.repo.Environments[i].Signed = plumbline.SignedRule{Commits: plumbline.SignedMerge, Keys: map[string]string{"k": s.public}}
	}
	r.w = r.watcher()
	r.poll()
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	if mr := r.mr(id); !strings.Contains(mr.Skipped, "is not signed") || len(r.proposals(id)) != 0 {
		t.Errorf("skipped %q, runs %q", mr.Skipped, r.proposals(id))
	}
}

// TestPromote: an environment in sync promotes to the next, by one merge request that follows it.
func TestPromote(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.repo.Environments[2].PromotesTo = "production"
	r.w = r.watcher()
	r.poll()
	requests := func() (out []string) {
		for _, mr := range r.open1() {
			out = append(out, mr.Source+" → "+mr.Target+": "+mr.Title)
		}
		return out
	}
	equal(t, "while there is nothing new", requests(), nil)
	r.push("env/staging", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	run := r.newest("staging", "live/net")
	equal(t, "while it is deployed", requests(), nil)
	r.applied(run.ID)
	r.poll()
	want := []string{"env/staging → main: Promote staging to production"}
	equal(t, "in sync", requests(), want)
	asked := r.forge.Requests("OpenMergeRequest")
	r.poll()
	r.poll()
	if n := r.forge.Requests("OpenMergeRequest"); n != asked {
		t.Errorf("asked %d times more though nothing moved", n-asked)
	}
	r.poll() // the next poll has seen it as any other merge request
	if len(r.proposals(r.open1()[0].ID)) == 0 {
		t.Error("the promotion is not planned")
	}
}

// open1 lists the open merge requests of the forge.
func (r *rig) open1() []plumbline.MergeRequest {
	r.t.Helper()
	list, err := r.forge.Client().MergeRequests(r.t.Context(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// TestRollback: the files of the last good commit come back by a merge request, or directly where the environment says so.
func TestRollback(t *testing.T) {
	t.Parallel()
	for _, mode := range []plumbline.RollbackMode{plumbline.RollbackRequest, plumbline.RollbackDirect} {
		r := sighted(t)
		r.repo.Environments[0].Rollback = mode
		r.w = r.watcher()
		r.poll()
		first := r.push("main", map[string]string{"live/net/main.tf": state + "# good\n", "lab/one/main.tf": state + "# lab good\n"})
		r.poll()
		r.applied(r.newest("production", "live/net").ID)
		r.push("main", map[string]string{"live/net/main.tf": state + "# bad\n", "live/net/more.tf": "# bad\n", "lab/one/main.tf": state + "# lab new\n"})
		r.poll()
		run := r.newest("production", "live/net")
		r.applying(run.ID)
		r.finish(run.ID, failure(), nil)
		if _, err := r.store.Request(t.Context(), plumbline.Request{Repository: "infra", Environment: "production", Kind: plumbline.RequestRollback, By: "ann", At: r.clock()}); err != nil {
			t.Fatal(err)
		}
		r.poll()
		branch := "main"
		if mode == plumbline.RollbackRequest {
			open := r.open1()
			if len(open) != 1 || open[0].Target != "main" || !strings.Contains(open[0].Title, plumbline.Short(first)) {
				t.Fatalf("open: %+v", open)
			}
			branch = open[0].Source
		}
		show := func(file string) string { return testenv.Git(t, r.remote, "show", branch+":"+file) }
		if !strings.Contains(show("live/net/main.tf"), "# good") || !strings.Contains(show("lab/one/main.tf"), "# lab new") {
			t.Errorf("%s: net %q, lab %q", mode, show("live/net/main.tf"), show("lab/one/main.tf"))
		}
		if out := testenv.Git(t, r.remote, "ls-tree", "--name-only", branch, "live/net/"); strings.Contains(out, "more.tf") {
			t.Errorf("%s: what was added stays: %s", mode, out)
		}
		if reqs, err := r.store.Requests(t.Context(), "infra"); err != nil || len(reqs) != 0 {
			t.Errorf("%s: the wish stays: %v %v", mode, reqs, err)
		}
	}

}
