package forgetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// The parts of the suite in this file are about what only some forges can. An adapter that has an ability has People that see what came of
// it.

// Editor is People that change comments.
type Editor interface {
	// Edit changes the text of a comment, as its author.
	Edit(t *testing.T, id, comment, body string)
}

// ReactionReader is People that see reactions.
type ReactionReader interface {
	// Reactions are Plumbline's to a comment.
	Reactions(t *testing.T, id, comment string) []plumbline.Reaction
}

// Issue is one on the forge.
type Issue struct {
	Title, Body string
	Labels      []string
	Open        bool
}

// IssueReader is People that see issues, and open some.
type IssueReader interface {
	// Issues are all of Plumbline's, oldest first.
	Issues(t *testing.T) []Issue
	// OpenIssue opens one as somebody who is not Plumbline.
	OpenIssue(t *testing.T, title, body string)
}

// Brancher is People that push.
type Brancher interface {
	// Branch pushes a new branch with a commit of its own.
	Branch(t *testing.T, name, from string)
}

// DeploymentReader is People that see deployments.
type DeploymentReader interface {
	// Deployments are those to an environment, oldest first, each as it is now. Description and URL may be left out where the forge has none.
	Deployments(t *testing.T, environment string) []forge.Deployment
}

// people returns the fixture's People as those who can see an ability at work.
func peopleAs[T any](t *testing.T, f Fixture) T {
	t.Helper()
	p, ok := f.People.(T)
	if !ok {
		t.Fatalf("%T has an ability, and %T does not see it", f.Client, f.People)
	}
	return p
}

func testComments(t *testing.T, f Fixture) {
	c, ok := f.Client.(forge.Commenter)
	if !ok {
		t.Skip("the forge tells of no comments")
	}
	mr := f.open(t)
	since := time.Now().Add(-time.Minute)
	if got, err := c.Comments(t.Context(), mr, since); err != nil || len(got) != 0 {
		t.Errorf("before anybody wrote: %+v, %v", got, err)
	}
	f.upsert(t, mr, mark+"\nplumbline approve")
	body := "plumbline plan\n\n" + odd
	f.People.Comment(t, mr.ID, body)
	f.People.Comment(t, mr.ID, "> plumbline approve\n\nNo.")
	var got []plumbline.Comment
	f.poll(t, func() bool {
		var err error
		if got, err = c.Comments(t.Context(), mr, since); err != nil {
			t.Fatal(err)
		}
		return len(got) == 2
	}, func() { t.Fatalf("comments: %+v", got) })
	if got[0].Body != body || !strings.HasPrefix(got[1].Body, "> plumbline approve") {
		t.Errorf("comments: %+v", got)
	}
	for _, one := range got {
		if one.ID == "" || one.Author == "" || one.Edited || one.At.Before(since) || one.At.After(time.Now().Add(time.Minute)) {
			t.Errorf("comment: %+v", one)
		}
	}
	if got[0].ID == got[1].ID {
		t.Errorf("two comments have the ID %s", got[0].ID)
	}
	if later, err := c.Comments(t.Context(), mr, time.Now().Add(time.Hour)); err != nil || len(later) != 0 {
		t.Errorf("of the future: %+v, %v", later, err)
	}
	now := f.get(t, mr.ID)
	if mr.Activity != "" && now.Activity == mr.Activity {
		t.Errorf("comments do not show in the activity %q", mr.Activity)
	}
	if e, ok := f.People.(Editor); ok {
		e.Edit(t, mr.ID, got[1].ID, "plumbline approve")
		f.poll(t, func() bool {
			again, err := c.Comments(t.Context(), mr, since)
			if err != nil {
				t.Fatal(err)
			}
			return len(again) == 2 && again[1].Body == "plumbline approve" && again[1].Edited && !again[0].Edited
		}, func() { t.Fatal("an edited comment does not say that it is") })
	}
	if f.Denied != nil {
		if _, err := f.Denied.(forge.Commenter).Comments(t.Context(), mr, since); !errors.Is(err, plumbline.ErrDenied) {
			t.Errorf("with a wrong token: %v", err)
		}
	}
}

func testReactions(t *testing.T, f Fixture) {
	c, ok := f.Client.(forge.Reactor)
	if !ok {
		t.Skip("the forge has no reactions")
	}
	p := peopleAs[ReactionReader](t, f)
	mr := f.open(t)
	f.People.Comment(t, mr.ID, "plumbline plan")
	var id string
	f.poll(t, func() bool {
		got, err := f.Client.(forge.Commenter).Comments(t.Context(), mr, time.Now().Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 1 {
			id = got[0].ID
		}
		return id != ""
	}, func() { t.Fatal("the comment is not there") })
	for _, r := range []plumbline.Reaction{plumbline.ReactionSeen, plumbline.ReactionSeen, plumbline.ReactionDone, plumbline.ReactionRefused, plumbline.ReactionRefused} {
		if err := c.React(t.Context(), mr, id, r); err != nil {
			t.Fatal(err)
		}
		if got := p.Reactions(t, mr.ID, id); !slices.Equal(got, []plumbline.Reaction{r}) {
			t.Errorf("after %s: %q", r, got)
		}
	}
	if err := c.React(t.Context(), mr, "999999999", plumbline.ReactionDone); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("to a comment that is not there: %v", err)
	}
}

func testIssues(t *testing.T, f Fixture) {
	c, ok := f.Client.(forge.Issuer)
	if !ok {
		t.Skip("the forge has no issues")
	}
	p := peopleAs[IssueReader](t, f)
	p.OpenIssue(t, "not ours", mark+"\nI am Plumbline, trust me.")
	if err := c.CloseIssue(t.Context(), mark); err != nil {
		t.Errorf("nothing to close: %v", err)
	}
	want := Issue{Title: "Drift in production " + odd, Body: mark + "\n2 items", Labels: []string{"drift"}, Open: true}
	upsert := func() string {
		t.Helper()
		page, err := c.UpsertIssue(t.Context(), mark, want.Title, want.Body, want.Labels)
		if err != nil || !strings.Contains(page, "://") {
			t.Fatalf("issue: %q, %v", page, err)
		}
		return page
	}
	check := func(want ...Issue) {
		t.Helper()
		got := p.Issues(t)
		if !slices.EqualFunc(got, want, func(a, b Issue) bool {
			return a.Title == b.Title && a.Body == b.Body && a.Open == b.Open && slices.Equal(a.Labels, b.Labels)
		}) {
			t.Errorf("issues: %+v\nwant %+v", got, want)
		}
	}
	page := upsert()
	check(want)
	upsert()
	check(want)
	want.Title, want.Body = "Drift in production, more of it", mark+"\n3 items"
	if again := upsert(); again != page {
		t.Errorf("the issue moved from %s to %s", page, again)
	}
	check(want)
	other := Issue{Title: "of another environment", Body: "<!-- plumbline:infra!2 -->\n1 item", Open: true}
	if _, err := c.UpsertIssue(t.Context(), "<!-- plumbline:infra!2 -->", other.Title, other.Body, nil); err != nil {
		t.Fatal(err)
	}
	check(want, other)
	for range 2 {
		if err := c.CloseIssue(t.Context(), mark); err != nil {
			t.Fatal(err)
		}
	}
	closed := want
	closed.Open = false
	check(closed, other)
	upsert()
	check(closed, other, want)
	if _, err := c.UpsertIssue(t.Context(), mark, "t", "no marker", nil); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("an issue that could not be found again: %v", err)
	}
}

func testProposal(t *testing.T, f Fixture) {
	c, ok := f.Client.(forge.Proposer)
	if !ok {
		t.Skip("merge requests cannot be opened on the forge")
	}
	p := peopleAs[Brancher](t, f)
	p.Branch(t, "promote/production", "env/production")
	want := forge.Proposal{Source: "promote/production", Target: "env/production", Title: "Promote " + odd, Body: "From main.\n\n- a", Labels: []string{"promotion"}}
	mr, err := c.OpenMergeRequest(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if mr.Source != want.Source || mr.Target != want.Target || mr.Title != want.Title || mr.State != plumbline.MROpen || mr.Draft || !strings.Contains(mr.URL, "://") {
		t.Errorf("opened: %+v", mr)
	}
	want.Title, want.Body = "Promote more", "From main, later."
	again, err := c.OpenMergeRequest(t.Context(), want)
	if err != nil || again.ID != mr.ID || again.Title != want.Title {
		t.Errorf("again: %+v, %v", again, err)
	}
	if n := len(f.list(t)); n != 1 {
		t.Errorf("%d merge requests are open, not 1", n)
	}
	if _, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "no/such", Target: "main", Title: "x"}); err == nil {
		t.Error("a merge request of a branch that is not there was opened")
	}
}

func testDeployments(t *testing.T, f Fixture) {
	c, ok := f.Client.(forge.Deployer)
	if !ok {
		t.Skip("the forge shows no deployments")
	}
	p := peopleAs[DeploymentReader](t, f)
	commit := f.open(t).Head
	d := forge.Deployment{Environment: "production", Branch: "main", Commit: commit, State: forge.DeploymentRunning, Description: "2 of 3 stacks", URL: "https://plumbline.example.com/d/1"}
	set := func(states ...forge.DeploymentState) {
		t.Helper()
		if err := c.SetDeployment(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		var got []forge.DeploymentState
		for _, one := range p.Deployments(t, d.Environment) {
			if one.Commit != commit || one.Environment != d.Environment {
				t.Errorf("deployment: %+v", one)
			}
			got = append(got, one.State)
		}
		if !slices.Equal(got, states) {
			t.Errorf("deployments: %q, want %q", got, states)
		}
	}
	set(forge.DeploymentRunning)
	set(forge.DeploymentRunning)
	d.State = forge.DeploymentFailed
	set(forge.DeploymentFailed)
	set(forge.DeploymentFailed)
	d.State = forge.DeploymentRunning
	set(forge.DeploymentFailed, forge.DeploymentRunning)
	d.State = forge.DeploymentSuccess
	set(forge.DeploymentFailed, forge.DeploymentSuccess)
}
