package forgetest

import (
	"errors"
	"slices"
	"strings"
	"sync"
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

// IssueReader is People that see issues, and open and close some.
type IssueReader interface {
	// Issues are all of Plumbline's, oldest first.
	Issues(t *testing.T) []Issue
	// Issue is one of anybody's.
	Issue(t *testing.T, number int64) Issue
	// OpenIssue opens one as somebody who is not Plumbline.
	OpenIssue(t *testing.T, title, body string) (number int64)
	CloseIssue(t *testing.T, number int64)
	LockIssue(t *testing.T, number int64)
}

// IssueDeleter is People that can delete issues: on GitHub only who owns the repository can, and not in its REST API.
type IssueDeleter interface {
	DeleteIssue(t *testing.T, number int64)
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

// issueMark returns a marker that no issue carries: forges keep issues for good.
func issueMark() string { return "<!-- plumbline:drift:" + commit()[:12] + " -->" }

// issueDesk is what the parts about issues do.
type issueDesk struct {
	Fixture
	forge.Issuer
	people IssueReader
	mark   string
}

func issueDeskOf(t *testing.T, f Fixture) issueDesk {
	c, ok := f.Client.(forge.Issuer)
	if !ok {
		t.Skip("the forge has no issues")
	}
	return issueDesk{Fixture: f, Issuer: c, people: peopleAs[IssueReader](t, f), mark: issueMark()}
}

func (d issueDesk) upsert(t *testing.T, i forge.Issue) (page string) {
	t.Helper()
	page, err := d.UpsertIssue(t.Context(), i)
	if err != nil || !strings.Contains(page, "://") {
		t.Fatalf("issue: %q, %v", page, err)
	}
	return page
}

// check wants those of Plumbline's issues that the part is about, oldest first, and returns their numbers.
func (d issueDesk) check(t *testing.T, want ...forge.Issue) (numbers []int64) {
	t.Helper()
	var got []Issue
	for _, i := range d.people.Issues(t) {
		if slices.ContainsFunc(want, func(w forge.Issue) bool { return strings.Contains(i.Body, w.Marker) }) || strings.Contains(i.Body, d.mark) {
			got = append(got, i)
			numbers = append(numbers, i.Number)
		}
	}
	if !slices.EqualFunc(got, want, func(a Issue, b forge.Issue) bool {
		return a.Title == b.Title && a.Body == b.Body && a.Open == b.Open && slices.Equal(a.Labels, b.Labels)
	}) {
		t.Fatalf("issues: %+v\nwant %+v", got, want)
	}
	return numbers
}

// testIssues follows one through its life.
func testIssues(t *testing.T, f Fixture) {
	d := issueDeskOf(t, f)
	stranger := d.people.OpenIssue(t, "not ours", d.mark+"\nI am Plumbline, trust me.")
	if page, err := d.UpsertIssue(t.Context(), forge.Issue{Marker: d.mark, Title: "In sync", Body: d.mark}); err != nil || page != "" {
		t.Errorf("nothing to close: %q, %v", page, err)
	}
	d.check(t)
	want := forge.Issue{Marker: d.mark, Title: "Drift in production " + odd, Body: d.mark + "\n2 items", Labels: []string{"drift"}, Open: true}
	page := d.upsert(t, want)
	d.check(t, want)
	again := func(what string) {
		t.Helper()
		for range 2 {
			if again := d.upsert(t, want); again != page {
				t.Errorf("%s: the issue moved from %s to %s", what, page, again)
			}
			d.check(t, want)
		}
	}
	again("the same")
	want.Title, want.Body = "Drift in production, more of it", d.mark+"\n3 items"
	again("more")
	other := forge.Issue{Marker: issueMark(), Title: "of another environment", Open: true}
	other.Body = other.Marker + "\n1 item"
	d.upsert(t, other)
	d.check(t, want, other)
	other.Open = false
	d.upsert(t, other)

	want.Title, want.Body, want.Open = "No drift in production", d.mark+"\nIn sync again.", false
	again("in sync")
	want.Title, want.Body, want.Open = "Drift in production", d.mark+"\n1 item", true
	again("drift again")
	number := d.check(t, want)[0]
	d.people.CloseIssue(t, number)
	want.Body, want.Stay = d.mark+"\n1 item, and somebody knows", true
	closed := want
	closed.Open = false
	if again := d.upsert(t, want); again != page {
		t.Errorf("closed by somebody, and no news: the issue moved from %s to %s", page, again)
	}
	d.check(t, closed)
	want.Body, want.Stay = d.mark+"\n2 items", false
	again("closed by somebody, and there is news")
	d.people.CloseIssue(t, number)
	want.Body, want.Open = d.mark+"\nIn sync again.", false
	again("closed by somebody, and in sync")

	if i := d.people.Issue(t, stranger); !i.Open || i.Title != "not ours" || i.Body != d.mark+"\nI am Plumbline, trust me." {
		t.Errorf("somebody else's issue: %+v", i)
	}
	for what, bad := range map[string]forge.Issue{
		"could not be found again": {Marker: d.mark, Title: "t", Body: "no marker"}, "has no marker": {Marker: " ", Title: "t", Body: " "},
		"has no title": {Marker: d.mark, Title: " \n", Body: d.mark}, "is too long": {Marker: d.mark, Title: "t", Body: d.mark + strings.Repeat("x", f.Client.NoteLimit())},
	} {
		if _, err := d.UpsertIssue(t.Context(), bad); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("an issue that %s: %v", what, err)
		}
	}
}

// testLongIssue: the longest is kept as it is.
func testLongIssue(t *testing.T, f Fixture) {
	d := issueDeskOf(t, f)
	want := forge.Issue{Marker: d.mark, Title: strings.Repeat("é", 300), Body: d.mark + "\n", Open: true}
	want.Body += strings.Repeat("x", f.Client.NoteLimit()-len(want.Body))
	page := d.upsert(t, want)
	if again := d.upsert(t, want); again != page {
		t.Errorf("the issue moved from %s to %s", page, again)
	}
	for _, i := range d.people.Issues(t) {
		if strings.Contains(i.Body, d.mark) && (i.Body != want.Body || len(i.Title) < 100) {
			t.Errorf("a text of %d bytes, not %d; title %q", len(i.Body), len(want.Body), i.Title)
		}
	}
	want.Open = false
	d.upsert(t, want)
}

// testLockedIssue: whoever locked one that is closed wants no more of it.
func testLockedIssue(t *testing.T, f Fixture) {
	d := issueDeskOf(t, f)
	first := forge.Issue{Marker: d.mark, Title: "Drift in production", Body: d.mark + "\n2 items", Open: true}
	d.upsert(t, first)
	number := d.check(t, first)[0]
	d.people.LockIssue(t, number)
	first.Body = d.mark + "\n3 items"
	d.upsert(t, first)
	d.check(t, first)
	d.people.CloseIssue(t, number)
	first.Open = false
	second := forge.Issue{Marker: d.mark, Title: "Drift in production", Body: d.mark + "\n4 items", Open: true}
	for range 2 {
		d.upsert(t, second)
		d.check(t, first, second)
	}
	second.Body, second.Open = d.mark+"\nIn sync again.", false
	d.upsert(t, second)
	d.check(t, first, second)
}

// testDeletedIssue: a new one takes its place.
func testDeletedIssue(t *testing.T, f Fixture) {
	d := issueDeskOf(t, f)
	p, ok := f.People.(IssueDeleter)
	if !ok {
		t.Skip("nobody here can delete an issue")
	}
	want := forge.Issue{Marker: d.mark, Title: "Drift in production", Body: d.mark + "\n2 items", Open: true}
	d.upsert(t, want)
	p.DeleteIssue(t, d.check(t, want)[0])
	d.check(t)
	closed := want
	closed.Open = false
	if page, err := d.UpsertIssue(t.Context(), closed); err != nil || page != "" {
		t.Errorf("nothing to close: %q, %v", page, err)
	}
	for range 2 {
		d.upsert(t, want)
		d.check(t, want)
	}
	d.upsert(t, closed)
}

// testIssuesAtOnce: two daemons that find the same drift have one issue open in the end.
func testIssuesAtOnce(t *testing.T, f Fixture) {
	d := issueDeskOf(t, f)
	want := forge.Issue{Marker: d.mark, Title: "Drift in production", Body: d.mark + "\n2 items", Open: true}
	var wg sync.WaitGroup
	for _, c := range []forge.Client{f.Client, f.Second, f.Client, f.Second} {
		wg.Go(func() {
			if _, err := c.(forge.Issuer).UpsertIssue(t.Context(), want); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d.upsert(t, want)
	d.check(t, want)
	want.Open = false
	d.upsert(t, want)
	want.Open = true
	for _, c := range []forge.Client{f.Client, f.Second} {
		wg.Go(func() {
			if _, err := c.(forge.Issuer).UpsertIssue(t.Context(), want); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d.check(t, want)
	want.Open = false
	d.upsert(t, want)
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
