package gitlab_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/gitlab"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// show is a merge request's notes as author:text.
func (f *fake) show(mr *fakeMR) string {
	var out []string
	for _, n := range mr.notes {
		out = append(out, fmt.Sprintf("%d:%s", n.author.id, n.body))
	}
	return strings.Join(out, " ")
}

func TestNoteRaces(t *testing.T) {
	mr := plumbline.MergeRequest{ID: "1"}
	for name, c := range map[string]struct {
		before func(f *fake, mr *fakeMR)
		after  func(f *fake, mr *fakeMR, r *http.Request)
		want   string
		kind   error
	}{
		"another daemon wrote one before": {
			before: func(f *fake, mr *fakeMR) {
				f.note(mr, dev, "m pasted", false)
				f.note(mr, bot, "m theirs", false)
				f.note(mr, bot, "m twice", false)
				f.note(mr, bot, "ours without", false)
				f.note(mr, bot, "changed the description to m ", true)
				f.note(mr, dev, "mentioned in m ", true)
			},
			want: "8:m pasted 7:m new 7:ours without 7:changed the description to m  8:mentioned in m ",
		},
		"another daemon writes one at the same time": {
			after: func(f *fake, mr *fakeMR, r *http.Request) {
				if r.Method == "POST" {
					f.note(mr, bot, "m theirs", false)
				}
			},
			want: "7:m new",
		},
		"deleted while it is edited": {
			before: func(f *fake, mr *fakeMR) { f.note(mr, bot, "m old", false) },
			after: func(f *fake, mr *fakeMR, r *http.Request) {
				if r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/notes") && f.show(mr) == "7:m old" {
					mr.notes = nil
				}
			},
			want: "7:m new",
		},
		"deleted each time": {
			after: func(_ *fake, mr *fakeMR, r *http.Request) {
				if r.Method == "POST" {
					mr.notes = nil
				}
			},
			kind: plumbline.ErrConflict,
		},
	} {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		if c.before != nil {
			c.before(f, f.mrs[0])
		}
		if c.after != nil {
			f.after = func(r *http.Request) { c.after(f, f.mrs[0], r) }
		}
		if err := f.client(token).UpsertNote(t.Context(), mr, "m ", "m new"); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.show(f.mrs[0]); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestQuickActions: what stands in a plan is never done in our name.
func TestQuickActions(t *testing.T) {
	f := newFake(t)
	id := people{f}.OpenMR(t, "x", "main", "x")
	c := f.client(token)
	mr := plumbline.MergeRequest{ID: id}
	body := "m\r\n/close\n/merge now\n  /close\n/usr/bin/x\n```\n/approve\n```\n/ 2\n\x00end \n\n"
	want := "m\n\\/close\n\\/merge now\n  /close\n\\/usr/bin/x\n```\n\\/approve\n```\n/ 2\nend"
	for range 3 {
		if err := c.UpsertNote(t.Context(), mr, "m", body); err != nil {
			t.Fatal(err)
		}
	}
	n := f.mrs[0].notes
	if len(n) != 1 || n[0].body != want || !n[0].edited.IsZero() || f.mrs[0].state != "opened" {
		t.Errorf("%q, edited %s, the merge request is %s", n[0].body, n[0].edited, f.mrs[0].state)
	}
	if _, err := c.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "/close\nt", Body: body, Open: true}); err != nil || f.issues[0].body != want || f.issues[0].title != "/close t" {
		t.Errorf("issue %+v, %v", f.issues, err)
	}
	people{f}.Branch(t, "b", "main")
	one, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "b", Target: "main", Title: "t", Body: body})
	if err != nil || f.mrs[1].body != want || one.State != plumbline.MROpen {
		t.Errorf("merge request %+v, %v", one, err)
	}
	if got := gitlab.Text(gitlab.Text(body)); got != want {
		t.Errorf("twice: %q", got)
	}
	if err := c.UpsertNote(t.Context(), mr, "/x", "/x"); err != nil {
		t.Errorf("a marker that looks like an action: %v", err)
	}
}

// TestEdited: a reaction to a comment moves its time, and does not edit it.
func TestEdited(t *testing.T) {
	f := newFake(t)
	p := people{f}
	id := p.OpenMR(t, "x", "main", "x")
	for _, body := range []string{"plain", "reacted", "edited", "edited and reacted", "resolved"} {
		p.Comment(t, id, body)
	}
	notes := f.mrs[0].notes
	f.note(f.mrs[0], dev, "changed the title", true)
	c := f.client(token)
	mr := plumbline.MergeRequest{ID: id, URL: "https://gitlab.example.com/g/p/-/merge_requests/1"}
	number := func(i int) string { return fmt.Sprint(notes[i].id) }
	p.Edit(t, id, number(2), "edited")
	p.Edit(t, id, number(3), "edited and reacted")
	for _, i := range []int{1, 3} {
		if err := c.React(t.Context(), mr, number(i), plumbline.ReactionSeen); err != nil {
			t.Fatal(err)
		}
	}
	notes[4].updated = f.now()
	look := func() map[string]bool {
		t.Helper()
		got, err := c.Comments(t.Context(), mr, time.Now().Add(-time.Hour))
		if err != nil || len(got) != 5 {
			t.Fatalf("%+v, %v", got, err)
		}
		out := map[string]bool{}
		for _, one := range got {
			out[one.Body] = one.Edited
			if one.URL != mr.URL+"#note_"+one.ID {
				t.Errorf("url %s", one.URL)
			}
		}
		return out
	}
	if got := look(); got["plain"] || got["reacted"] || got["resolved"] || !got["edited"] || !got["edited and reacted"] {
		t.Errorf("%v", got)
	}
	// Where nobody tells, what has moved counts as edited.
	old := func(what string) {
		t.Helper()
		if got := look(); got["plain"] || !got["reacted"] || !got["resolved"] || !got["edited"] {
			t.Errorf("%s: %v", what, got)
		}
	}
	f.old = true
	old("an old GitLab")
	f.hide = func(r *http.Request) int {
		if r.URL.Path == "/api/graphql" {
			return 403
		}
		return 0
	}
	old("without GraphQL")
	f.hide = func(r *http.Request) int {
		if r.URL.Path == "/api/graphql" {
			return 502
		}
		return 0
	}
	if got, err := c.Comments(t.Context(), mr, time.Time{}); err == nil {
		t.Errorf("an outage: %+v", got)
	}
}

// TestCommentsEnd: no more pages are read than are new.
func TestCommentsEnd(t *testing.T) {
	f := newFake(t)
	p := people{f}
	id := p.OpenMR(t, "x", "main", "x")
	for i := range 10 {
		p.Comment(t, id, fmt.Sprint(i))
	}
	c := f.client(token)
	c.SetPageSize(2)
	got, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: id}, f.mrs[0].notes[7].created)
	if err != nil || len(got) != 3 || got[0].Body != "7" || len(f.asked) != 3 { // who we are, and 2 pages
		t.Errorf("%+v, %v, %q", got, err, f.asked)
	}
}

// TestReactions: other people's emoji stay, and other emoji of ours.
func TestReactions(t *testing.T) {
	f := newFake(t)
	p := people{f}
	id := p.OpenMR(t, "x", "main", "x")
	p.Comment(t, id, "hi")
	n := f.mrs[0].notes[0]
	for i, a := range []fakeAward{{name: "eyes", by: dev}, {name: "rocket", by: bot}, {name: "thumbsup", by: bot}, {name: "thumbsdown", by: bot}} {
		a.id = int64(900 + i)
		n.awards = append(n.awards, a)
	}
	c := f.client(token)
	mr := plumbline.MergeRequest{ID: id}
	if err := c.React(t.Context(), mr, fmt.Sprint(n.id), plumbline.ReactionSeen); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range n.awards {
		got = append(got, a.by.name+" "+a.name)
	}
	if want := []string{"dev eyes", bot.name + " rocket", bot.name + " eyes"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, comment := range []string{"", "x", "-1", "1/../2"} {
		if err := c.React(t.Context(), mr, comment, plumbline.ReactionSeen); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("comment %q: %v", comment, err)
		}
	}
	if err := c.React(t.Context(), mr, fmt.Sprint(n.id), "love"); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// rows are the statuses of a commit as ref, state and text.
func (f *fake) rows(commit string) (out []string) {
	for _, s := range f.statuses {
		if s.sha == commit {
			out = append(out, strings.TrimSpace(s.ref+" "+s.state+" "+s.description+" "+s.url))
		}
	}
	return out
}

// TestStatusChanges goes through the drawing above SetStatus.
func TestStatusChanges(t *testing.T) {
	f := newFake(t)
	people{f}.OpenMR(t, "x", "main", "x")
	commit := f.mrs[0].head
	c := f.client(token)
	for _, step := range []struct {
		state     plumbline.Told
		text, url string
		want      []string
	}{
		{plumbline.ToldPending, "one", "", []string{"feature/x pending one"}},
		{plumbline.ToldPending, "one", "", []string{"feature/x pending one"}},
		{plumbline.ToldPending, "two", "", []string{"feature/x running two"}},
		{plumbline.ToldPending, "two", "", []string{"feature/x running two"}},
		{plumbline.ToldPending, "three", "", []string{"feature/x canceled three", "feature/x pending three"}},
		{plumbline.ToldFailure, "four", "https://x/4", []string{"feature/x canceled three", "feature/x failed four https://x/4"}},
		{plumbline.ToldError, "four", "https://x/4", []string{"feature/x canceled three", "feature/x failed four https://x/4"}},
	} {
		if err := c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "a", State: step.state, Description: step.text, URL: step.url}); err != nil {
			t.Errorf("%s: %v", step.text, err)
		}
		if got := f.rows(commit); !slices.Equal(got, step.want) {
			t.Errorf("after %s: %q", step.text, got)
		}
	}
	// A text or an address is taken away by a new status.
	f.statuses = nil
	for _, text := range []string{"some", ""} {
		if err := c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "a", State: plumbline.ToldPending, Description: text}); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.rows(commit); !slices.Equal(got, []string{"feature/x canceled some", "feature/x pending"}) {
		t.Errorf("%q", got)
	}
	f.statuses = nil
	s := plumbline.CommitStatus{Context: "a", State: plumbline.ToldPending, URL: "https://x/1"}
	for _, url := range []string{"https://x/1", ""} {
		s.URL = url
		if err := c.SetStatus(t.Context(), commit, s); err != nil {
			t.Fatal(err)
		}
	}
	s.State, s.URL = plumbline.ToldSuccess, "https://x/"+strings.Repeat("y", 300)
	for range 2 {
		if err := c.SetStatus(t.Context(), commit, s); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.rows(commit); !slices.Equal(got, []string{"feature/x canceled  https://x/1", "feature/x success"}) {
		t.Errorf("%q", got)
	}
	if err := c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "a", State: "great"}); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if err := c.SetStatus(t.Context(), strings.Repeat("0", 40), s); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("a commit that is not there: %v", err)
	}
}

// TestStatusPipelines: a status belongs to the pipeline that the merge request shows.
func TestStatusPipelines(t *testing.T) {
	s := plumbline.CommitStatus{Context: "a", State: plumbline.ToldPending, Description: "x"}
	t.Run("of a branch whose commit others have too", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		f.branches["aaa"], f.history["aaa"] = f.mrs[0].head, []string{f.mrs[0].head}
		if err := f.client(token).SetStatus(t.Context(), f.mrs[0].head, s); err != nil || f.pipelines[0].ref != "feature/x" {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("of an older commit", func(t *testing.T) {
		f := newFake(t)
		id := people{f}.OpenMR(t, "x", "main", "x")
		older := f.mrs[0].head
		f.branches["aaa"], f.history["aaa"] = older, []string{older}
		people{f}.Push(t, id)
		if err := f.client(token).SetStatus(t.Context(), older, s); err != nil || f.pipelines[0].ref != "feature/x" {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("of the head of one and the middle of another", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		head := f.mrs[0].head
		f.push("aaa", "feature/x", dev)
		f.open("aaa", "main", "more", "", nil, dev)
		slices.Reverse(f.mrs)
		if err := f.client(token).SetStatus(t.Context(), head, s); err != nil || f.pipelines[0].ref != "feature/x" {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("of a merged one", func(t *testing.T) {
		f := newFake(t)
		id := people{f}.OpenMR(t, "x", "main", "x")
		people{f}.Merge(t, id)
		if err := f.client(token).SetStatus(t.Context(), f.mrs[0].head, s); err != nil || f.pipelines[0].ref != "main" {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("of a fork", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		f.mrs[0].from = 99
		delete(f.branches, "feature/x")
		delete(f.history, "feature/x")
		if err := f.client(token).SetStatus(t.Context(), f.mrs[0].head, s); err != nil || f.pipelines[0].ref != "refs/merge-requests/1/head" {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("of no merge request", func(t *testing.T) {
		f := newFake(t)
		if err := f.client(token).SetStatus(t.Context(), f.branches["env/production"], s); err != nil || f.pipelines[0].ref != "env/production" {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("beside a CI pipeline of the merge request", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		commit := f.mrs[0].head
		f.pipelines = []fakePipeline{{11, commit, "feature/x"}, {12, commit, "refs/merge-requests/1/head"}}
		if err := f.client(token).SetStatus(t.Context(), commit, s); err != nil || len(f.pipelines) != 2 || f.statuses[0].pipeline != 12 {
			t.Errorf("%+v, %v", f.pipelines, err)
		}
	})
	t.Run("a newer pipeline in between", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		commit := f.mrs[0].head
		c := f.client(token)
		s := s
		for _, state := range []plumbline.Told{plumbline.ToldPending, plumbline.ToldSuccess, plumbline.ToldPending} {
			s.State = state
			if err := c.SetStatus(t.Context(), commit, s); err != nil {
				t.Fatal(err)
			}
			f.pipelines = append(f.pipelines, fakePipeline{f.next(), commit, "feature/x"})
		}
		var got []string
		for _, s := range f.statuses {
			got = append(got, s.state)
		}
		// The first ended where it began; the run after it is in what was the newest pipeline by then.
		if !slices.Equal(got, []string{"success", "pending"}) || f.statuses[0].pipeline != f.pipelines[0].id || f.statuses[1].pipeline != f.pipelines[2].id {
			t.Errorf("%q in %+v", got, f.pipelines)
		}
	})
	t.Run("another daemon is quicker", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		commit := f.mrs[0].head
		c, second := f.client(token), f.client(token)
		done := make(chan error, 1)
		once := false
		f.after = func(r *http.Request) {
			if r.Method == "GET" && strings.HasSuffix(r.URL.Path, "/merge_requests") && !once {
				once = true
				f.mu.Unlock()
				done <- second.SetStatus(t.Context(), commit, s)
				f.mu.Lock()
			}
		}
		if err := c.SetStatus(t.Context(), commit, s); err != nil || len(f.statuses) != 1 {
			t.Errorf("%q, %v", f.rows(commit), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("changed each time", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`)
				return
			}
			switch {
			case strings.HasSuffix(r.URL.Path, "/statuses"), strings.HasSuffix(r.URL.Path, "/merge_requests"):
				fmt.Fprint(w, "[]")
			default:
				fmt.Fprint(w, "{}")
			}
		})
		if err := c.SetStatus(t.Context(), f.mrs[0].head, s); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("%v", err)
		}
	})
	t.Run("of somebody else", func(t *testing.T) {
		f := newFake(t)
		people{f}.OpenMR(t, "x", "main", "x")
		commit := f.mrs[0].head
		other := s
		other.Description = "theirs"
		if err := f.client(otherToken).SetStatus(t.Context(), commit, other); err != nil {
			t.Fatal(err)
		}
		if err := f.client(token).SetStatus(t.Context(), commit, s); err != nil {
			t.Fatal(err)
		}
		if got := f.rows(commit); !slices.Equal(got, []string{"feature/x pending theirs", "feature/x pending x"}) || !f.statuses[0].retried {
			t.Errorf("%q", got)
		}
	})
}

// TestIssueRaces: the oldest stays.
func TestIssueRaces(t *testing.T) {
	f := newFake(t)
	f.after = func(r *http.Request) {
		if r.Method == "POST" && len(f.issues) == 1 {
			f.openIssue("theirs", "m", nil, bot)
		}
	}
	wanted := forge.Issue{Marker: "m", Title: "t", Body: "m", Labels: []string{"a", "b"}, Open: true}
	if _, err := f.client(token).UpsertIssue(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	if len(f.issues) != 2 || f.issues[0].closed || !f.issues[1].closed || f.issues[1].body != "The same as #1." || !slices.Equal(f.issues[0].labels, []string{"a", "b"}) {
		t.Errorf("%+v, %+v", f.issues[0], f.issues[1])
	}
	f.after = func(r *http.Request) {
		if r.Method == "POST" {
			f.issues[len(f.issues)-1].closed = true
		}
	}
	wanted.Marker, wanted.Body = "other", "other"
	if page, err := f.client(token).UpsertIssue(t.Context(), wanted); err != nil || !strings.HasSuffix(page, "/3") || len(f.issues) != 3 {
		t.Errorf("closed at once by somebody: %q, %v", page, err)
	}
}

func TestProposals(t *testing.T) {
	f := newFake(t)
	people{f}.Branch(t, "b", "main")
	// Somebody's fork has a branch of that name.
	fork := f.open("b", "main", "fork", "", nil, dev)
	fork.from = 99
	c := f.client(token)
	p := forge.Proposal{Source: "b", Target: "main", Title: strings.Repeat("ü", 300), Body: "x", Labels: []string{"a"}, Draft: true}
	mr, err := c.OpenMergeRequest(t.Context(), p)
	if err != nil || !mr.Draft || mr.ID != "2" || len([]rune(mr.Title)) > 255 || mr.Fork {
		t.Fatalf("%+v, %v", mr, err)
	}
	f.asked = nil
	if _, err := c.OpenMergeRequest(t.Context(), p); err != nil || len(f.asked) != 1 {
		t.Errorf("the same again: %v, %q", err, f.asked)
	}
	// People made it ready and gave it a label.
	f.mrs[1].title, f.mrs[1].labels = "ready", []string{"theirs"}
	p.Labels = []string{"a", "theirs"}
	if mr, err = c.OpenMergeRequest(t.Context(), p); err != nil || mr.Draft || !slices.Equal(mr.Labels, []string{"a", "theirs"}) || len(f.mrs) != 2 {
		t.Errorf("%+v, %v", mr, err)
	}
	f.mrs[1].title, p.Draft, p.Title = "Draft: not yet", false, "t"
	if mr, err = c.OpenMergeRequest(t.Context(), p); err != nil || !mr.Draft || mr.Title != "Draft: t" {
		t.Errorf("what people made a draft: %+v, %v", mr, err)
	}
	if f.mrs[0].title != "fork" {
		t.Errorf("the fork's became %q", f.mrs[0].title)
	}
}

func TestDeployments(t *testing.T) {
	f := newFake(t)
	commit := f.branches["main"]
	add := func(env, sha, state string, by account) *fakeDeployment {
		d := &fakeDeployment{id: f.next(), env: env, ref: "main", sha: sha, state: state, by: by, created: f.now(), updated: f.now()}
		f.deployments = append(f.deployments, d)
		return d
	}
	others := []*fakeDeployment{
		add("production", commit, "running", dev), add("staging", commit, "running", bot),
		add("production", f.branches["env/production"], "running", bot),
	}
	c := f.client(token)
	d := forge.Deployment{Environment: "production", Branch: "main", Commit: commit, State: forge.DeploymentRunning}
	if err := c.SetDeployment(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	// Many others come in between.
	for range 150 {
		add("production", f.branches["env/production"], "success", bot)
	}
	for _, state := range []forge.DeploymentState{forge.DeploymentCanceled, forge.DeploymentCanceled} {
		d.State = state
		if err := c.SetDeployment(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.deployments) != 154 || f.deployments[3].state != "canceled" {
		t.Errorf("%d deployments, ours is %+v", len(f.deployments), f.deployments[3])
	}
	for _, o := range others {
		if o.state != "running" {
			t.Errorf("not ours, and %+v", o)
		}
	}
	d.State = "great"
	if err := c.SetDeployment(t.Context(), d); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
	d.State, d.Branch = forge.DeploymentRunning, "no/such"
	if err := c.SetDeployment(t.Context(), d); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("a branch that is not there: %v", err)
	}
}

// TestDeploymentOfJob: GitLab refuses to have a CI job's deployment changed, and it is not ours; nor is one to another environment.
func TestDeploymentOfJob(t *testing.T) {
	commit := strings.Repeat("a", 40)
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method)
		switch {
		case r.URL.Path == "/api/v4/user":
			fmt.Fprint(w, `{"id":7}`)
		case r.Method == "GET":
			fmt.Fprintf(w, `[{"id":2,"sha":"%[1]s","status":"running","user":{"id":7},"environment":{"name":"other"}},{"id":1,"sha":"%[1]s","status":"running","user":{"id":7},"environment":{"name":"e"},"deployable":{"id":5}}]`, commit)
		default:
			fmt.Fprint(w, `{}`)
		}
	})
	err := c.SetDeployment(t.Context(), forge.Deployment{Environment: "e", Branch: "main", Commit: commit, State: forge.DeploymentRunning})
	if err != nil || strings.Join(asked, " ") != "GET GET POST" {
		t.Errorf("%q, %v", asked, err)
	}
}

// TestIssuesOfOthers: a server that does not filter cannot make us close, or open again, what is somebody else's.
func TestIssuesOfOthers(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/v4/user":
			fmt.Fprint(w, `{"id":7}`)
		case r.Method == "GET":
			fmt.Fprint(w, `[{"iid":1,"state":"opened","description":"m","author":{"id":8}},{"iid":2,"state":"closed","description":"m","author":{"id":8}},
				{"iid":3,"state":"locked","description":"m","author":{"id":7}},{"iid":4,"state":"closed","description":"n","author":{"id":7}}]`)
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	})
	if page, err := c.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "t", Body: "m"}); err != nil || page != "" {
		t.Errorf("%q, %v", page, err)
	}
}

// TestUnlockable: GitLab keeps an issue closed that cannot be opened again, and says nothing.
func TestUnlockable(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		const closed = `{"iid":1,"title":"t","state":"closed","description":"m","author":{"id":7},"web_url":"https://gitlab.example.com/1"}`
		switch {
		case r.URL.Path == "/api/v4/user":
			fmt.Fprint(w, `{"id":7}`)
			return
		case r.Method == "GET" && r.URL.Query().Get("state") == "closed":
			fmt.Fprintf(w, "[%s]", closed)
		case r.Method == "GET":
			fmt.Fprint(w, `[]`)
		case r.Method == "PUT":
			fmt.Fprint(w, closed)
		default:
			fmt.Fprint(w, `{"iid":2,"title":"t","state":"opened","description":"m","author":{"id":7},"web_url":"https://gitlab.example.com/2"}`)
		}
		asked = append(asked, r.Method)
	})
	page, err := c.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "t", Body: "m", Open: true})
	if err != nil || page != "https://gitlab.example.com/2" || strings.Join(asked, " ") != "GET GET PUT POST GET" {
		t.Errorf("%q, %q, %v", asked, page, err)
	}
}
