package codecommit_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// lostOnce loses the answer of an operation, once.
func (f *fake) lostOnce(operation string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = func(o string) error {
		if o == operation {
			f.lose = nil
			return errLost
		}
		return nil
	}
}

// TestLost: a note whose answer was lost is not written twice.
func TestLost(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	mr := plumbline.MergeRequest{ID: f.OpenMR(t, "a", "main", "a")}
	for i, operation := range []string{"PostCommentForPullRequest", "UpdateComment", "GetCommentsForPullRequest"} {
		body := fmt.Sprintf("%s\n%d", mark, i)
		f.lostOnce(operation)
		if err := c.UpsertNote(t.Context(), mr, mark, body); err == nil {
			t.Errorf("%s: an answer that was lost was read", operation)
		}
		if err := f.client(t, daemon).UpsertNote(t.Context(), mr, mark, body); err != nil {
			t.Errorf("%s: %v", operation, err)
		}
		if got := f.Notes(t, mr.ID); !slices.Equal(got, []string{body}) {
			t.Errorf("%s: notes %q", operation, got)
		}
	}
}

// TestLostBlind: the answer was lost, and the comment is not to be seen yet. The token keeps a second one from being written.
func TestLostBlind(t *testing.T) {
	f := newFake(t)
	conf, at := f.config(daemon), time.Now()
	conf.Now = func() time.Time { return at }
	mr := plumbline.MergeRequest{ID: f.OpenMR(t, "a", "main", "a")}
	f.lostOnce("PostCommentForPullRequest")
	if err := newClient(t, conf).UpsertNote(t.Context(), mr, mark, mark); err == nil {
		t.Fatal("an answer that was lost was read")
	}
	f.mu.Lock()
	hidden := f.comments
	f.comments = nil
	f.fault = func(operation string) error {
		if operation == "PostCommentForPullRequest" {
			f.comments = hidden
		}
		return nil
	}
	f.mu.Unlock()
	if err := newClient(t, conf).UpsertNote(t.Context(), mr, mark, mark); err != nil {
		t.Fatal(err)
	}
	if got := f.Notes(t, mr.ID); !slices.Equal(got, []string{mark}) {
		t.Errorf("notes %q", got)
	}
}

// TestDeletedNote: a note that was deleted is written again, although its words, and so its token, were there before.
func TestDeletedNote(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	mr := plumbline.MergeRequest{ID: f.OpenMR(t, "a", "main", "a")}
	for _, shown := range []bool{true, false} { // whether CodeCommit lists deleted comments
		for range 3 {
			if err := c.UpsertNote(t.Context(), mr, mark, mark+" same"); err != nil {
				t.Fatal(err)
			}
			if got := f.Notes(t, mr.ID); !slices.Equal(got, []string{mark + " same"}) {
				t.Errorf("notes %q", got)
			}
			for _, one := range f.comments {
				one.deleted, one.content = true, ""
			}
			if !shown {
				f.comments = nil
			}
		}
		f.done = map[string]done{}
	}
	f.fault = func(string) error {
		for _, one := range f.comments {
			one.deleted, one.content = true, ""
		}
		return nil
	}
	if err := c.UpsertNote(t.Context(), mr, mark, mark); !errors.Is(err, plumbline.ErrConflict) {
		t.Errorf("deleted each time: %v", err)
	}
}

// TestSessions: sessions of our role have one note, whether one may edit what another wrote or not.
func TestSessions(t *testing.T) {
	for _, anybody := range []bool{true, false} {
		f := newFake(t)
		f.anybody = anybody
		mr := plumbline.MergeRequest{ID: f.OpenMR(t, "a", "main", "a")}
		f.commentAs(t, mr.ID, other, mark+"\npasted")
		if err := f.client(t, renamed).UpsertNote(t.Context(), mr, mark, mark+"\nof a session"); err != nil {
			t.Fatal(err)
		}
		c := f.client(t, daemon)
		for i := range 3 {
			if err := c.UpsertNote(t.Context(), mr, mark, fmt.Sprintf("%s\n%d", mark, i)); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{mark + "\n2"}
		if !anybody {
			want = []string{mark + "\nof a session", mark + "\n2"}
		}
		if got := f.Notes(t, mr.ID); !slices.Equal(got, want) {
			t.Errorf("anybody %t: notes %q", anybody, got)
		}
		if got := f.Comments(t, mr.ID); !slices.Equal(got, []string{mark + "\npasted"}) {
			t.Errorf("comments %q", got)
		}
		// One that was just started finds its own note again.
		if err := f.client(t, daemon).UpsertNote(t.Context(), mr, mark, mark+"\nlast"); err != nil {
			t.Fatal(err)
		}
		want[len(want)-1] = mark + "\nlast"
		if got := f.Notes(t, mr.ID); !slices.Equal(got, want) {
			t.Errorf("anybody %t: in the end %q", anybody, got)
		}
	}
}

// TestTwice: of several notes of ours the oldest stays.
func TestTwice(t *testing.T) {
	f := newFake(t)
	mr := plumbline.MergeRequest{ID: f.OpenMR(t, "a", "main", "a")}
	f.commentAs(t, mr.ID, daemon.arn, "without")
	oldest := f.commentAs(t, mr.ID, daemon.arn, mark+" 1")
	f.commentAs(t, mr.ID, daemon.arn, mark+" 2")
	f.commentAs(t, mr.ID, daemon.arn, mark+" 3").file = "main.tf"
	if err := f.client(t, daemon).UpsertNote(t.Context(), mr, mark, mark+" new"); err != nil {
		t.Fatal(err)
	}
	if got := f.Notes(t, mr.ID); !slices.Equal(got, []string{"without", mark + " new", mark + " 3"}) || oldest.content != mark+" new" {
		t.Errorf("notes %q", got)
	}
}

// TestCharacters: CodeCommit counts characters, and so takes what fits into as many bytes.
func TestCharacters(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	mr := plumbline.MergeRequest{ID: f.OpenMR(t, "a", "main", "a")}
	body := mark + strings.Repeat("日", (c.NoteLimit()-len(mark))/3)
	if err := c.UpsertNote(t.Context(), mr, mark, body); err != nil || !slices.Equal(f.Notes(t, mr.ID), []string{body}) {
		t.Errorf("%v", err)
	}
	if !c.Plain() {
		t.Error("HTML is promised")
	}
}

func TestTell(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	id := f.OpenMR(t, "a", "main", "a")
	mr, err := c.MergeRequest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	all := []plumbline.CommitStatus{
		{Context: "plumbline", State: plumbline.ToldSuccess, Description: "2 stacks\nplanned.", URL: "https://plumbline.example.com"},
		{Context: "plumbline/production/a`b", State: plumbline.ToldPending},
	}
	body := mark + "\nplan"
	if err := c.Tell(t.Context(), mr, mark, body, all); err != nil {
		t.Fatal(err)
	}
	if got, want := f.Notes(t, id), body+"\n\n`plumbline success: 2 stacks planned.` · `plumbline/production/a'b pending`"; !slices.Equal(got, []string{want}) {
		t.Errorf("%q, want %q", got, want)
	}
	// Where there is no room, what does not fit is left out, and nothing else.
	body = mark + strings.Repeat("x", c.NoteLimit()-len(mark)-45)
	if err := c.Tell(t.Context(), mr, mark, body, all); err != nil {
		t.Fatal(err)
	}
	if got, want := f.Notes(t, id), body+"\n\n`plumbline success: 2 stacks planned.`"; !slices.Equal(got, []string{want}) {
		t.Errorf("…%q, want …%q", got[0][len(got[0])-60:], want[len(want)-60:])
	}
	body = mark + strings.Repeat("x", c.NoteLimit()-len(mark))
	if err := c.Tell(t.Context(), mr, mark, body, all); err != nil || !slices.Equal(f.Notes(t, id), []string{body}) {
		t.Errorf("a full note: %v", err)
	}
	if err := c.Tell(t.Context(), mr, mark, body+"x", all); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("too long a note: %v", err)
	}
	if err := c.SetStatus(t.Context(), mr.Head, all[0]); err != nil || len(f.find(t, id).approvals) != 0 {
		t.Errorf("approvals %v, though nobody asked for them: %v", f.find(t, id).approvals, err)
	}
}

// TestApprove: the status "plumbline" of the head is our approval of its revision, and of no other.
func TestApprove(t *testing.T) {
	f := newFake(t)
	conf := f.config(daemon)
	conf.Approve = true
	c := newClient(t, conf)
	id := f.OpenMR(t, "a", "main", "a")
	p := f.find(t, id)
	look := func() plumbline.MergeRequest {
		t.Helper()
		mrs, err := c.MergeRequests(t.Context(), f.Refs(t))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(mrs, func(mr plumbline.MergeRequest) bool { return mr.ID == id })
		return mrs[i]
	}
	mr := look()
	tell := func(want bool, all ...plumbline.CommitStatus) {
		t.Helper()
		if err := c.Tell(t.Context(), mr, mark, mark, all); err != nil {
			t.Error(err)
		}
		if got := p.approvals[p.revision][daemon.arn]; got != want {
			t.Errorf("%+v: approved %t", all, got)
		}
	}
	success := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
	pending := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldPending}
	part := plumbline.CommitStatus{Context: "plumbline/production/net", State: plumbline.ToldSuccess}
	tell(false, part)
	tell(true, part, success)
	tell(true, part)
	f.count()
	tell(true, success)
	if n := f.count()["UpdatePullRequestApprovalState"]; n != 0 {
		t.Errorf("saying it again cost %d approvals", n)
	}
	tell(false, pending, part)
	tell(true, success)
	tell(false, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldError})

	// A plan of the old head says nothing of the new one.
	f.Push(t, id)
	tell(false, success)
	mr = look()
	tell(true, success)

	// The head moves between the look and the approval.
	old := p.revision
	f.fault = func(operation string) error {
		if operation == "UpdatePullRequestApprovalState" {
			p.revision = commit()
		}
		return nil
	}
	tell(false, pending)
	f.fault = nil
	if !p.approvals[old][daemon.arn] {
		t.Error("an outdated revision was changed")
	}

	// Where there is nothing to note, the status comes alone.
	if err := c.SetStatus(t.Context(), mr.Head, success); err != nil || !p.approvals[p.revision][daemon.arn] {
		t.Errorf("a status alone: %v, %v", p.approvals, err)
	}
	if err := c.SetStatus(t.Context(), mr.Head, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldFailure}); err != nil || p.approvals[p.revision][daemon.arn] {
		t.Errorf("a failure alone: %v, %v", p.approvals, err)
	}
	if err := c.SetStatus(t.Context(), commit(), success); err != nil || p.approvals[p.revision][daemon.arn] {
		t.Errorf("of another commit: %v, %v", p.approvals, err)
	}

	// Nobody approves what they proposed themselves, and nothing can be approved that is closed.
	p.author = renamed.arn
	tell(false, success)
	p.author = dev
	f.fault = func(operation string) error {
		if operation == "UpdatePullRequestApprovalState" {
			return refuse("PullRequestCannotBeApprovedByAuthorException")
		}
		return nil
	}
	tell(false, success)
	f.fault = nil
	f.Close(t, id)
	tell(false, success)

	f.fault = func(operation string) error {
		if operation == "UpdatePullRequestApprovalState" {
			return refuse("AccessDeniedException")
		}
		return nil
	}
	p.open = true
	body := mark + "\nwritten all the same"
	if err := c.Tell(t.Context(), mr, mark, body, []plumbline.CommitStatus{success}); !errors.Is(err, plumbline.ErrDenied) || !strings.HasPrefix(f.Notes(t, id)[0], body) {
		t.Errorf("without the permission: %v, %q", err, f.Notes(t, id))
	}
}

// TestIdentity: STS is asked once, or never, and what it refuses does not tell the token.
func TestIdentity(t *testing.T) {
	f := newFake(t)
	id := f.OpenMR(t, "a", "main", "a")
	var mu sync.Mutex
	asked := 0
	sts := whoami(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked++
		mu.Unlock()
		sts.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	conf := f.config(daemon)
	conf.STSEndpoint = srv.URL
	c := newClient(t, conf)
	for range 3 {
		if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, mark, mark); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("STS was asked %d times", asked)
	}
	conf.Identity = daemon.arn
	if err := newClient(t, conf).UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, mark, mark+"!"); err != nil || asked != 1 {
		t.Errorf("%v; STS was asked %d times", err, asked)
	}
	conf = f.config(wrong)
	conf.STSEndpoint = srv.URL
	err := newClient(t, conf).UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, mark, mark)
	if !errors.Is(err, plumbline.ErrDenied) || strings.Contains(err.Error(), wrong.token) {
		t.Errorf("%v", err)
	}
	for _, answer := range []string{"", "<", "<GetCallerIdentityResponse/>", `{"Arn":"x"}`,
		"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:ec2:x</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"} {
		odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/xml")
			_, _ = w.Write([]byte(answer)) // the client may have gone
		}))
		conf := f.config(daemon)
		conf.STSEndpoint = odd.URL
		if err := newClient(t, conf).UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, mark, mark+"?"); err == nil {
			t.Errorf("%q is nobody", answer)
		}
		odd.Close()
	}
	if got := f.Notes(t, id); !slices.Equal(got, []string{mark + "!"}) {
		t.Errorf("notes %q", got)
	}
}
