package forgetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Fixture is a repository on a forge whose branches "main" and "env/production" exist and have one commit.
type Fixture struct {
	Client forge.Client
	Second forge.Client // the same user in another daemon
	Denied forge.Client // with a wrong token; nil where there are none
	People People
	// Bare means that the forge has no API: it knows neither titles nor who wrote what on a merge request, and cannot
	// tell merged from open.
	Bare bool
	// Silent means that the forge has no statuses of commits.
	Silent bool
	// Told maps states of statuses that the forge does not know to those that it has in their place.
	Told map[plumbline.Told]plumbline.Told
}

// People act on the forge as others do, by other means than the adapter. Their methods fail the test when something
// goes wrong.
type People interface {
	// OpenMR pushes a commit to a new branch whose name has name in it, and proposes it to target.
	OpenMR(t *testing.T, name, target, title string) (id string)
	// Push adds a commit to a merge request's branch and returns it.
	Push(t *testing.T, id string) (commit string)
	// Merge merges it and deletes its branch.
	Merge(t *testing.T, id string) (commit string)
	// Close makes it neither open nor merged.
	Close(t *testing.T, id string)
	// Comment writes a note as somebody who is not Plumbline, and is seen by the forge as a comment of its own.
	Comment(t *testing.T, id, body string)
	// Head returns the commit it is at.
	Head(t *testing.T, id string) string
	// Refs lists the remote's refs; nil where there is no remote.
	Refs(t *testing.T) map[string]string
	// Notes returns Plumbline's notes on a merge request, oldest first.
	Notes(t *testing.T, id string) []string
	// Comments returns the notes of the others.
	Comments(t *testing.T, id string) []string
	// Statuses returns the statuses of a commit as the forge keeps them, the newest of a context last.
	Statuses(t *testing.T, commit string) []plumbline.CommitStatus
}

// odd are characters that something between us and a reader gives a meaning to.
const odd = "`x`|<script>alert(1)</script>&amp;'ünïcode-日本"

// Suite checks an adapter. open is called for each part.
func Suite(t *testing.T, open func(t *testing.T) Fixture) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"no merge requests", testNone},
		{"open merge request", testOpen},
		{"push", testPush},
		{"merged", testMerged},
		{"closed", testClosed},
		{"unknown", testUnknown},
		{"note", testNote},
		{"note of others", testOthers},
		{"notes at once", testAtOnce},
		{"note follows the head", testNoteFollows},
		{"refused notes", testRefusedNotes},
		{"statuses", testStatuses},
		{"long statuses", testLongStatuses},
		{"statuses beside a note", testBeside},
		{"wrong token", testDenied},
		{"canceled", testCanceled},
		{"comments", testComments},
		{"reactions", testReactions},
		{"issues", testIssues},
		{"long issue", testLongIssue},
		{"locked issue", testLockedIssue},
		{"deleted issue", testDeletedIssue},
		{"issues at once", testIssuesAtOnce},
		{"opened merge request", testProposal},
		{"deployments", testDeployments},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

const mark = "<!-- plumbline:infra!1 -->"

func testNone(t *testing.T, f Fixture) {
	if got := f.list(t); len(got) != 0 {
		t.Errorf("merge requests of a repository without any: %+v", got)
	}
}

func testOpen(t *testing.T, f Fixture) {
	title := "Title " + odd
	before := time.Now().Add(-time.Minute)
	id := f.People.OpenMR(t, "x-"+odd, "env/production", title)
	other := f.People.OpenMR(t, "y", "main", "second")
	head := f.People.Head(t, id)
	got := f.await(t, id, func(mr plumbline.MergeRequest) bool { return mr.Head == head })
	if n := len(f.list(t)); n != 2 {
		t.Errorf("%d merge requests are listed, not 2", n)
	}
	if got.Target != "env/production" || !strings.Contains(got.Source, "x-"+odd) {
		t.Errorf("from %q to %q", got.Source, got.Target)
	}
	if refs := f.People.Refs(t); refs != nil && refs[got.HeadRef] != head {
		t.Errorf("head ref %q is at %q on the remote, not at the head %s", got.HeadRef, refs[got.HeadRef], head)
	}
	if got.Draft || got.Fork || got.MergeCommit != "" {
		t.Errorf("draft %t, fork %t, merge commit %q", got.Draft, got.Fork, got.MergeCommit)
	}
	if mr := f.await(t, other, func(plumbline.MergeRequest) bool { return true }); mr.Target != "main" {
		t.Errorf("the second wants to change %q", mr.Target)
	}
	if f.Bare {
		if got.State != "" || !strings.Contains(got.Title, "x-"+odd) {
			t.Errorf("state %q, title %q", got.State, got.Title)
		}
		return
	}
	if got.State != plumbline.MROpen || got.Title != title || got.Author == "" || !strings.Contains(got.URL, "://") {
		t.Errorf("state %q, title %q, author %q, url %q", got.State, got.Title, got.Author, got.URL)
	}
	if got.UpdatedAt.Before(before) || got.UpdatedAt.After(time.Now().Add(time.Minute)) {
		t.Errorf("updated at %s, now it is %s", got.UpdatedAt, time.Now())
	}
	single := f.get(t, id)
	if single.ID != got.ID || single.Head != got.Head || single.Target != got.Target || single.HeadRef != got.HeadRef || single.Title != got.Title {
		t.Errorf("alone:  %+v\nlisted: %+v", single, got)
	}
}

func testPush(t *testing.T, f Fixture) {
	id := f.People.OpenMR(t, "x", "main", "change")
	first := f.People.Head(t, id)
	f.await(t, id, func(mr plumbline.MergeRequest) bool { return mr.Head == first })
	second := f.People.Push(t, id)
	if first == second {
		t.Fatal("the push is no push")
	}
	f.await(t, id, func(mr plumbline.MergeRequest) bool { return mr.Head == second })
}

func testMerged(t *testing.T, f Fixture) {
	id := f.People.OpenMR(t, "x", "main", "change")
	f.await(t, id, func(plumbline.MergeRequest) bool { return true })
	commit := f.People.Merge(t, id)
	f.gone(t, id)
	if f.Bare {
		f.unknown(t, id)
		return
	}
	mr := f.get(t, id)
	if mr.State != plumbline.MRMerged || mr.MergeCommit != commit || mr.Target != "main" {
		t.Errorf("state %q, merge commit %q, target %q; it was merged as %s", mr.State, mr.MergeCommit, mr.Target, commit)
	}
	body := mark + "\napplied"
	if err := f.Client.UpsertNote(t.Context(), mr, mark, body); err != nil {
		t.Errorf("a note after the merge: %v", err)
	}
	f.notes(t, id, body)
}

func testClosed(t *testing.T, f Fixture) {
	id := f.People.OpenMR(t, "x", "main", "change")
	f.await(t, id, func(plumbline.MergeRequest) bool { return true })
	f.People.Close(t, id)
	f.gone(t, id)
	if f.Bare {
		f.unknown(t, id)
		return
	}
	if mr := f.get(t, id); mr.State != plumbline.MRClosed || mr.MergeCommit != "" {
		t.Errorf("state %q, merge commit %q", mr.State, mr.MergeCommit)
	}
}

func testUnknown(t *testing.T, f Fixture) {
	f.list(t)
	for _, id := range []string{"4711", "", "-1", "0", "main/nothing", "../../etc", "1/../2", "9999999999999999999999"} {
		f.unknown(t, id)
	}
}

func testNote(t *testing.T, f Fixture) {
	mr := f.open(t)
	body := mark + "\n### Plumbline · 1 stack\n\n| | " + odd + " |\n  indented\n\n\n```diff\n+ a\n```"
	f.upsert(t, mr, body)
	f.notes(t, mr.ID, body)
	f.upsert(t, mr, body)
	f.notes(t, mr.ID, body)
	line := "ünïcode 日本 🔴\n"
	long := mark + "\n" + strings.Repeat(line, (min(60_000, f.Client.NoteLimit())-100)/len(line)) + "end"
	f.upsert(t, mr, long)
	f.notes(t, mr.ID, long)
	short := mark + "\nshort: a line that says\nStatuses:\nsuccess  a  b\n" + mark
	f.upsert(t, mr, short)
	f.notes(t, mr.ID, short)
}

func testOthers(t *testing.T, f Fixture) {
	mr := f.open(t)
	pasted := mark + "\nI am Plumbline, trust me."
	f.People.Comment(t, mr.ID, pasted)
	body := mark + "\nfirst"
	f.upsert(t, mr, body)
	f.notes(t, mr.ID, body)
	f.People.Comment(t, mr.ID, "> "+mark+"\n> first\n\nLooks good.")
	body = mark + "\nsecond"
	f.upsert(t, mr, body)
	f.notes(t, mr.ID, body)
	all := strings.Join(f.People.Comments(t, mr.ID), "\n")
	for _, want := range []string{pasted, "> first\n\nLooks good."} {
		if !strings.Contains(all, want) {
			t.Errorf("somebody's comment %q is not there as it was; there is\n%s", want, all)
		}
	}
}

// testAtOnce lets two daemons write the same note at the same time, as happens when one takes over.
func testAtOnce(t *testing.T, f Fixture) {
	mr := f.open(t)
	bodies := []string{mark + "\nof one", mark + "\nof two"}
	var wg sync.WaitGroup
	for i, c := range []forge.Client{f.Client, f.Second} {
		wg.Go(func() {
			if err := c.UpsertNote(t.Context(), mr, mark, bodies[i]); err != nil {
				t.Errorf("daemon %d: %v", i+1, err)
			}
		})
	}
	wg.Wait()
	if got := f.People.Notes(t, mr.ID); len(got) == 0 || !slices.Contains(bodies, got[0]) {
		t.Errorf("notes of two daemons: %q", got)
	}
	last := mark + "\nof one, later"
	f.upsert(t, mr, last)
	f.notes(t, mr.ID, last)
	last = mark + "\nof two, later"
	if err := f.Second.UpsertNote(t.Context(), mr, mark, last); err != nil {
		t.Fatal(err)
	}
	f.notes(t, mr.ID, last)
}

func testNoteFollows(t *testing.T, f Fixture) {
	mr := f.open(t)
	f.upsert(t, mr, mark+"\nfirst")
	second := f.People.Push(t, mr.ID)
	mr = f.await(t, mr.ID, func(mr plumbline.MergeRequest) bool { return mr.Head == second })
	body := mark + "\nsecond"
	f.upsert(t, mr, body)
	f.notes(t, mr.ID, body)
	// A daemon that was just started remembers nothing.
	third := f.People.Push(t, mr.ID)
	mr = f.await(t, mr.ID, func(mr plumbline.MergeRequest) bool { return mr.Head == third })
	body = mark + "\nthird"
	if err := f.Second.UpsertNote(t.Context(), mr, mark, body); err != nil {
		t.Fatal(err)
	}
	f.notes(t, mr.ID, body)
}

func testRefusedNotes(t *testing.T, f Fixture) {
	mr := f.open(t)
	limit := f.Client.NoteLimit()
	if limit < 10_000 {
		t.Errorf("a note may have %d bytes", limit)
	}
	full := mark + strings.Repeat("x", limit-len(mark))
	f.upsert(t, mr, full)
	f.notes(t, mr.ID, full)
	for name, c := range map[string]struct{ marker, body string }{
		"without its marker": {mark, "no marker"},
		"no marker":          {"", "body"},
		"marker of 2 lines":  {"a\nb", "a\nb"},
		"too long":           {mark, full + "x"},
	} {
		if err := f.Client.UpsertNote(t.Context(), mr, c.marker, c.body); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("note %s: %v", name, err)
		}
	}
	f.notes(t, mr.ID, full)
}

func testStatuses(t *testing.T, f Fixture) {
	if f.Silent {
		t.Skip("the forge has no statuses")
	}
	commit := f.open(t).Head
	s := plumbline.CommitStatus{Context: "plumbline/production/live/net", State: plumbline.ToldPending, Description: "Planning.", URL: "https://plumbline.example.com/runs/7"}
	f.status(t, commit, s)
	f.newest(t, commit, s)
	rows := len(f.People.Statuses(t, commit))
	f.status(t, commit, s)
	if n := len(f.People.Statuses(t, commit)); n != rows {
		t.Errorf("saying it again made %d statuses of %d", n, rows)
	}
	for _, state := range []plumbline.Told{plumbline.ToldSuccess, plumbline.ToldFailure, plumbline.ToldError, plumbline.ToldPending, plumbline.ToldSuccess} {
		s.State, s.Description = state, "+2 ~1 "+odd+" is "+string(state)
		f.status(t, commit, s)
		f.newest(t, commit, s)
	}
	s.URL = ""
	f.status(t, commit, s)
	f.newest(t, commit, s)
	other := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldFailure, URL: "https://plumbline.example.com/"}
	f.status(t, commit, other)
	f.newest(t, commit, s, other)
}

func testLongStatuses(t *testing.T, f Fixture) {
	if f.Silent {
		t.Skip("the forge has no statuses")
	}
	commit := f.open(t).Head
	long := strings.Repeat("日本ü ", 500)
	a := plumbline.CommitStatus{Context: "plumbline/" + long + "a", State: plumbline.ToldSuccess, Description: "two\nlines " + long}
	b := a
	b.Context, b.State = "plumbline/"+long+"b", plumbline.ToldFailure
	for range 2 {
		f.status(t, commit, a)
		f.status(t, commit, b)
	}
	got := f.People.Statuses(t, commit)
	if len(got) != 2 || got[0].Context == got[1].Context {
		t.Fatalf("%d statuses in place of two: %+v", len(got), got)
	}
	for _, s := range got {
		if !strings.HasPrefix(s.Context, "plumbline/日本ü") || !utf8.ValidString(s.Context) {
			t.Errorf("context %q", s.Context)
		}
		text, cut := strings.CutSuffix(s.Description, "…")
		if !cut || !strings.HasPrefix("two lines "+long, text) || len(text) < 100 || strings.HasSuffix(text, " ") {
			t.Errorf("description %q", s.Description)
		}
	}
}

func testBeside(t *testing.T, f Fixture) {
	mr := f.open(t)
	s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldPending, Description: "Planning."}
	f.status(t, mr.Head, s)
	body := mark + "\nplan"
	f.upsert(t, mr, body)
	if f.Silent {
		f.notes(t, mr.ID, body)
		return
	}
	f.newest(t, mr.Head, s)
	s.State, s.Description = plumbline.ToldSuccess, "1 stack planned."
	f.status(t, mr.Head, s)
	f.newest(t, mr.Head, s)
	f.notes(t, mr.ID, body)
}

func testDenied(t *testing.T, f Fixture) {
	if f.Denied == nil {
		return // such a forge has no tokens
	}
	mr := f.open(t)
	if !f.Bare { // whose list is the refs that the caller could read
		if _, err := f.Denied.MergeRequests(t.Context(), nil); !errors.Is(err, plumbline.ErrDenied) {
			t.Errorf("list: %v", err)
		}
		if _, err := f.Denied.MergeRequest(t.Context(), mr.ID); !errors.Is(err, plumbline.ErrDenied) {
			t.Errorf("get: %v", err)
		}
	}
	if err := f.Denied.UpsertNote(t.Context(), mr, mark, mark); !errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("note: %v", err)
	}
	err := f.Denied.SetStatus(t.Context(), mr.Head, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess})
	if !f.Silent && !errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("status: %v", err)
	}
	f.notes(t, mr.ID)
}

func testCanceled(t *testing.T, f Fixture) {
	mr := f.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Client.UpsertNote(ctx, mr, mark, mark); !errors.Is(err, context.Canceled) {
		t.Errorf("note: %v", err)
	}
	f.notes(t, mr.ID)
}

func (f Fixture) list(t *testing.T) []plumbline.MergeRequest {
	t.Helper()
	got, err := f.Client.MergeRequests(t.Context(), f.People.Refs(t))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (f Fixture) get(t *testing.T, id string) plumbline.MergeRequest {
	t.Helper()
	mr, err := f.Client.MergeRequest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return mr
}

// open opens a merge request to main and returns it as listed.
func (f Fixture) open(t *testing.T) plumbline.MergeRequest {
	t.Helper()
	id := f.People.OpenMR(t, "x", "main", "change")
	head := f.People.Head(t, id)
	return f.await(t, id, func(mr plumbline.MergeRequest) bool { return mr.Head == head })
}

// await lists until a merge request is there and as it should be: a forge works out a push after it has answered it.
func (f Fixture) await(t *testing.T, id string, as func(plumbline.MergeRequest) bool) plumbline.MergeRequest {
	t.Helper()
	var seen []plumbline.MergeRequest
	var mr plumbline.MergeRequest
	f.poll(t, func() bool {
		seen = f.list(t)
		i := slices.IndexFunc(seen, func(mr plumbline.MergeRequest) bool { return mr.ID == id })
		if i >= 0 {
			mr = seen[i]
		}
		return i >= 0 && as(mr)
	}, func() { t.Fatalf("merge request %s is not listed as it should be: %+v", id, seen) })
	return mr
}

func (f Fixture) gone(t *testing.T, id string) {
	t.Helper()
	f.poll(t, func() bool {
		return !slices.ContainsFunc(f.list(t), func(mr plumbline.MergeRequest) bool { return mr.ID == id })
	}, func() { t.Fatalf("merge request %s is still listed as open", id) })
}

func (f Fixture) poll(t *testing.T, done func() bool, late func()) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit.C:
			late()
		case <-tick.C:
		}
	}
}

func (f Fixture) unknown(t *testing.T, id string) {
	t.Helper()
	if mr, err := f.Client.MergeRequest(t.Context(), id); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("merge request %q: %+v, %v", id, mr, err)
	}
}

func (f Fixture) upsert(t *testing.T, mr plumbline.MergeRequest, body string) {
	t.Helper()
	if err := f.Client.UpsertNote(t.Context(), mr, mark, body); err != nil {
		t.Fatal(err)
	}
}

func (f Fixture) notes(t *testing.T, id string, want ...string) {
	t.Helper()
	if got := f.People.Notes(t, id); !slices.Equal(got, want) {
		t.Errorf("notes of merge request %s: %.300q\nwant %.300q", id, got, want)
	}
}

func (f Fixture) status(t *testing.T, commit string, s plumbline.CommitStatus) {
	t.Helper()
	if err := f.Client.SetStatus(t.Context(), commit, s); err != nil {
		t.Fatal(err)
	}
}

// newest checks that these and no others count.
func (f Fixture) newest(t *testing.T, commit string, want ...plumbline.CommitStatus) {
	t.Helper()
	got := map[string]plumbline.CommitStatus{}
	for _, s := range f.People.Statuses(t, commit) {
		got[s.Context] = s
	}
	for _, s := range want {
		if other := f.Told[s.State]; other != "" {
			s.State = other
		}
		if got[s.Context] != s {
			t.Errorf("status of %s is %+v\nwant %+v", s.Context, got[s.Context], s)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d contexts, not %d: %+v", len(got), len(want), got)
	}
}
