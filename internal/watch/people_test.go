package watch

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func (r *rig) by(who, file, content string) string {
	r.t.Helper()
	return testenv.Push(r.t, r.remote, testenv.Change{Branch: "main", Author: who, Files: map[string]string{file: content}, When: r.clock()})
}

// Ann's change waits; somebody else pushes to the same stack; the run that replaces hers carries her change and does not know her.
func TestPeopleAuthorsForgotten(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Not: []plumbline.Exclusion{plumbline.NotAuthor}})
	r.by("Ann <ann@example.com>", "live/net/evil.tf", "# by ann\n")
	r.poll()
	first := r.newest("production", "live/net")
	r.plan(first.ID, digest)
	r.by("Bob <bob@example.com>", "live/net/typo.tf", "# by bob\n")
	r.poll()
	run := r.newest("production", "live/net")
	if run.ID == first.ID || r.run(first.ID).State != plumbline.StateSuperseded {
		t.Fatalf("%+v", run)
	}
	r.plan(run.ID, "fedcba9876543210")
	t.Logf("first %q, second %q, base %s", first.Authors, run.Authors, run.Base)
	r.update(run.ID, func(x *plumbline.Run, now time.Time) error {
		if err := x.Approve(plumbline.Person{Name: "ann@example.com"}, plumbline.Access{}, "fedcba9876543210", now); err == nil {
			t.Errorf("ann agreed to a plan with her own change, since its authors are %q", x.Authors)
		}
		return nil
	})
}

// Likewise who opened the merge request: known to the first run by the forge, forgotten by the one that replaces it.
func TestPeopleForgeAuthorForgotten(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"next commit", "env deploy"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := carrying(t, plumbline.ApprovalRule{Not: []plumbline.Exclusion{plumbline.NotAuthor, plumbline.NotLastPusher}})
			id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
			r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Author, mr.LastPusher = "ann", "ann" })
			r.poll()
			r.forge.Merge(id, r.merge("main", "x", "--squash"))
			r.poll()
			first := r.newest("production", "live/net")
			if !slices.Contains(first.Authors, "corp/ann") {
				t.Fatalf("%q", first.Authors)
			}
			if how == "env deploy" {
				r.ask(plumbline.RequestDeploy, "production")
			} else {
				r.by("Bob <bob@example.com>", "live/net/typo.tf", "# by bob\n")
			}
			r.poll()
			run := r.newest("production", "live/net")
			if run.ID == first.ID {
				t.Fatal("not replaced")
			}
			if !slices.Contains(run.Authors, "corp/ann") || !slices.Contains(run.Pushers, "corp/ann") {
				t.Errorf("authors %q, pushers %q", run.Authors, run.Pushers)
			}
		})
	}
}

// People were told that the run is queued. That is not its plan.
func TestPeopleForgeApprovalBeforePlanShown(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Forge: true})
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.told() // the note says "queued"
	run := r.runs(plumbline.RunFilter{MR: id})[0]
	r.pass(time.Minute)
	r.plan(run.ID, digest)
	r.poll() // nobody has approved yet; the plan is not shown
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.ApprovedBy = []string{"ann"} })
	r.pass(time.Minute)
	r.poll()
	if run := r.run(run.ID); run.Reported < run.Version-1 && len(run.Approvals) > 0 {
		t.Errorf("approved before the plan was shown (reported %d, version %d): %+v", run.Reported, run.Version, run.Approvals)
	}
}

func TestPeopleForgeApprovalTakenBack(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Forge: true})
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	run := r.runs(plumbline.RunFilter{MR: id})[0]
	r.plan(run.ID, digest)
	r.told()
	for _, who := range [][]string{nil, {"ann"}, nil} {
		r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.ApprovedBy = who })
		r.pass(time.Minute)
		r.poll()
	}
	if n := len(r.run(run.ID).Approvals); n != 0 {
		t.Errorf("ann took her approval back on the forge; %d still counts", n)
	}
	r.forge.Merge(id, r.merge("main", "x"))
	r.poll()
	d := r.newest("production", "live/net")
	r.plan(d.ID, digest)
	if s := r.run(d.ID).State; s == plumbline.StateApproved {
		t.Errorf("it is %s by an approval that was taken back", s)
	}
}

// A yes on a merge request by somebody who may not approve any more when it is merged.
func TestPeopleCarriedFromRevoked(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{})
	id := r.agreed()
	r.w = r.watcher() // another configuration: nobody may approve
	merged := r.merge("main", "x", "--squash")
	r.poll()
	run := r.newest("production", "live/net")
	r.plan(run.ID, digest)
	r.forge.Merge(id, merged)
	r.poll()
	if run := r.run(run.ID); run.State == plumbline.StateApproved {
		t.Errorf("approved by %s, who may approve nothing", run.Approvals[0].By)
	}
}

// Merge requests that are pushed to and merged between two polls.
func TestPeopleLastPusherLate(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Not: []plumbline.Exclusion{plumbline.NotLastPusher}})
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Author, mr.LastPusher = "bob", "bob" })
	r.poll()
	r.again(id, "x", map[string]string{"live/net/main.tf": state + "# late, by ann\n"})
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.LastPusher = "ann" })
	r.forge.Merge(id, r.merge("main", "x", "--no-ff", "-m", "merge"))
	r.poll()
	r.poll()
	if run := r.newest("production", "live/net"); !slices.Contains(run.Pushers, "corp/ann") {
		t.Errorf("pushers %q", run.Pushers)
	}
}

// A new stack that is deployed by a wish: only the head's author is known.
func TestPeopleNewStackAuthor(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Not: []plumbline.Exclusion{plumbline.NotAuthor}})
	r.by("Ann <ann@example.com>", "live/fresh/main.tf", state)
	r.poll()
	r.by("Bob <bob@example.com>", "README.md", "typo\n")
	r.poll()
	r.ask(plumbline.RequestDeploy, "production", "live/fresh")
	r.poll()
	run := r.newest("production", "live/fresh")
	if run.Kind != plumbline.KindDeploy || !slices.Contains(run.Authors, "ann@example.com") {
		t.Errorf("%s: ann wrote live/fresh, its authors are %q", run.Kind, run.Authors)
	}
}

// Too many commits to know their authors: the merge request's alone is known then.
func TestPeopleAuthorsPartlyKnown(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{Not: []plumbline.Exclusion{plumbline.NotAuthor}})
	c := r.config()
	c.Git = blind{c.Git}
	r.w = New(c)
	if _, err := r.w.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# by many, ann among them\n"})
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Author = "bob" })
	_, _ = r.w.Poll(t.Context())
	r.forge.Merge(id, r.merge("main", "x", "--no-ff", "-m", "m"))
	_, _ = r.w.Poll(t.Context())
	run := r.newest("production", "live/net")
	r.plan(run.ID, digest)
	r.update(run.ID, func(x *plumbline.Run, now time.Time) error {
		if err := x.Approve(plumbline.Person{Name: "ann"}, plumbline.Access{}, digest, now); err == nil {
			t.Errorf("who wrote the commits is not known, and ann could agree; authors %q", x.Authors)
		}
		return nil
	})
}

type blind struct{ Git }

func (b blind) Authors(context.Context, string, string, []string, int) ([]string, error) {
	return nil, plumbline.ErrInvalid // more than 1000 commits
}

// A comment of somebody who may not.
func TestPeopleRefusedCommentIsNotAudited(t *testing.T) {
	t.Parallel()
	r := carrying(t, plumbline.ApprovalRule{})
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{MR: id}) {
		r.plan(run.ID, digest)
	}
	r.told()
	r.pass(time.Second)
	r.say(id, "eve", "plumbline approve", "may not approve")
	rows, err := r.store.AuditEntries(t.Context(), plumbline.AuditFilter{Action: plumbline.AuditRefused})
	if err != nil || len(rows) == 0 {
		t.Errorf("the same on a page is in the audit log; by a comment it is not: %v", err)
	}
}
