package gitlab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/gitlab"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// serve returns a client of a server that answers as told.
func serve(t *testing.T, h http.HandlerFunc) *gitlab.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return clientOf(t, srv.URL, time.Minute)
}

func clientOf(t *testing.T, url string, timeout time.Duration) *gitlab.Client {
	t.Helper()
	c, err := gitlab.New(gitlab.Config{
		URL: url, Project: projectPath, Token: plumbline.NewSecret(token), Dial: forge.Dial{Timeout: timeout, Now: func() time.Time { return now }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t *testing.T, c *gitlab.Client) error {
	t.Helper()
	_, err := c.MergeRequests(t.Context(), nil)
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the token is in the error: %v", err)
	}
	return err
}

// open is a merge request as the API lists it.
func open(iid int, more string) string {
	return fmt.Sprintf(`{"iid":%d,"state":"opened","title":"t","source_branch":"b","target_branch":"main","source_project_id":42,"target_project_id":42,
		"updated_at":"2026-11-20T12:00:00.123Z","sha":"%s"%s}`, iid, strings.Repeat("a", 40), more)
}

// without is open without a key.
func without(key string) string { return strings.Replace(open(1, ""), `"`+key+`"`, `"x"`, 1) }

func TestNew(t *testing.T) {
	for _, c := range []gitlab.Config{
		{URL: "https://gitlab.example.com", Project: "infra"},
		{URL: "https://gitlab.example.com", Project: ""},
		{URL: "https://gitlab.example.com", Project: "0"},
		{URL: "https://gitlab.example.com", Project: "-1"},
		{URL: "https://gitlab.example.com", Project: "a/b/"},
		{URL: "https://gitlab.example.com", Project: "/a/b"},
		{URL: "https://gitlab.example.com", Project: "a/../b"},
		{URL: "https://gitlab.example.com", Project: "a/b.git"},
		{URL: "https://gitlab.example.com", Project: "a/b?c"},
		{URL: "https://gitlab.example.com", Project: "a/b c"},
		{URL: "gitlab.example.com", Project: "a/b"},
		{URL: "ftp://gitlab.example.com", Project: "a/b"},
		{URL: "https://me:" + token + "@gitlab.example.com", Project: "a/b"},
		{URL: "https://gitlab.example.com/?token=" + token, Project: "a/b"},
		{URL: "https://%zz" + token, Project: "a/b"},
		{Project: "a/b"},
	} {
		if _, err := gitlab.New(c); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), token) {
			t.Errorf("%q, %q: %v", c.URL, c.Project, err)
		}
	}
}

func TestRemote(t *testing.T) {
	c, err := gitlab.New(gitlab.Config{URL: "https://example.com/git/", Project: "group/sub/my.infra"})
	if err != nil {
		t.Fatal(err)
	}
	if u, user := c.Remote(); u != "https://example.com/git/group/sub/my.infra.git" || user != "oauth2" {
		t.Errorf("remote %s, user %q", u, user)
	}
	f := newFake(t)
	numbered := f.clientOf("42", token)
	if u, _ := numbered.Remote(); u != "" {
		t.Errorf("a number's remote is guessed as %s", u)
	}
	want := f.url + "/" + projectPath + ".git"
	for range 2 {
		if u, user, err := numbered.FindRemote(t.Context()); err != nil || u != want || user != "oauth2" {
			t.Errorf("remote %s, user %q, %v", u, user, err)
		}
	}
	if u, _ := numbered.Remote(); u != want || len(f.asked) != 1 {
		t.Errorf("remote %s after %q", u, f.asked)
	}
	if _, _, err := f.clientOf("43", token).FindRemote(t.Context()); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("another project: %v", err)
	}
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"path_with_namespace":"../x"}`)
	}))
	defer odd.Close()
	if c, err = gitlab.New(gitlab.Config{URL: odd.URL, Project: "42"}); err != nil {
		t.Fatal(err)
	}
	if u, _, err := c.FindRemote(t.Context()); err == nil {
		t.Errorf("remote %s", u)
	}
}

// TestRedirectElsewhere: nothing is sent to where a redirect leads, the token least of all.
func TestRedirectElsewhere(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+r.URL.Path, code) })
		if err := list(t, c); err == nil || !strings.Contains(err.Error(), other.URL) {
			t.Errorf("%d: %v", code, err)
		}
		if err := c.SetStatus(t.Context(), strings.Repeat("a", 40), plumbline.CommitStatus{Context: "a", State: plumbline.ToldSuccess}); err == nil {
			t.Errorf("%d: a status was set", code)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// TestRenamed follows a redirect within the host, as GitLab sends after a project was moved; a POST does not become a GET.
func TestRenamed(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("authorization %q", got)
		}
		if got := r.Header.Get("User-Agent"); got != "plumbline" {
			t.Errorf("user agent %q", got)
		}
		switch {
		case strings.HasPrefix(r.URL.EscapedPath(), "/api/v4/projects/group%2Fsub%2Fname/"):
			http.Redirect(w, r, strings.Replace(r.URL.RequestURI(), "group%2Fsub%2Fname", "42", 1), http.StatusMovedPermanently)
		case r.URL.Path == "/api/v4/user":
			_, _ = io.WriteString(w, `{"id":7}`)
		case r.Method != "GET":
			t.Errorf("%s %s", r.Method, r.URL)
		default:
			_, _ = io.WriteString(w, "[]")
		}
	})
	if err := list(t, c); err != nil {
		t.Error(err)
	}
	if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: "1"}, "m", "m"); err == nil || !strings.Contains(err.Error(), "redirects a POST") {
		t.Errorf("a POST that would become a GET: %v", err)
	}
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) })
	if err := list(t, loop); err == nil {
		t.Error("a loop has an end")
	}
}

// TestPages: only numbers of pages are taken from an answer, and no list that is not whole.
func TestPages(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var asked []string
	two := func(header func(http.Header)) *gitlab.Client {
		asked = nil
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			page := r.URL.Query().Get("page")
			asked = append(asked, page)
			if page == "1" {
				header(w.Header())
			}
			iid := 1
			if page != "1" {
				iid = 2
			}
			_, _ = io.WriteString(w, "["+open(iid, "")+"]")
		})
	}
	for name, header := range map[string]func(http.Header){
		"X-Next-Page": func(h http.Header) {
			h.Set("X-Next-Page", "2")
			h.Set("Link", fmt.Sprintf(`<%s/api/v4/x?page=7>; rel="next"`, other.URL))
		},
		"Link": func(h http.Header) { h.Set("Link", fmt.Sprintf(`<%s/api/v4/x?page=2>; rel="next"`, other.URL)) },
	} {
		mrs, err := two(header).MergeRequests(t.Context(), nil)
		if err != nil || len(mrs) != 2 || mrs[1].ID != "2" || strings.Join(asked, ",") != "1,2" {
			t.Errorf("%s: %+v, %v, pages %v", name, mrs, err, asked)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
	var pages atomic.Int64
	for name, next := range map[string]func(n int64) int64{
		"endless":   func(n int64) int64 { return n + 1 },
		"back":      func(int64) int64 { return 1 },
		"far ahead": func(n int64) int64 { return n + 1000 },
		"negative":  func(int64) int64 { return -1 },
	} {
		pages.Store(0)
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Next-Page", fmt.Sprint(next(pages.Add(1))))
			_, _ = io.WriteString(w, "["+open(1, "")+"]")
		})
		if err := list(t, c); err == nil || pages.Load() > gitlab.MaxPages {
			t.Errorf("%s: %v after %d pages", name, err, pages.Load())
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status int
		header map[string]string
		body   string
		kind   error
		until  time.Time // zero: no Retry
		text   string
	}{
		{status: 401, body: `{"message":"401 Unauthorized"}`, kind: plumbline.ErrDenied, text: "401 Unauthorized"},
		{status: 401, body: `{"error":"invalid_token","error_description":"Token was revoked: ` + token + `"}`, kind: plumbline.ErrDenied, text: "(sensitive)"},
		{status: 403, body: `{"error":"insufficient_scope","scope":"api ` + strings.Repeat("x", 5000) + `"}`, kind: plumbline.ErrDenied, text: "insufficient_scope"},
		{status: 404, body: `{"message":"404 Project Not Found"}`, kind: plumbline.ErrNotFound, text: "404 Not Found"},
		{status: 404, body: `<html>not here</html>`, kind: plumbline.ErrNotFound, text: "404 Not Found"},
		{status: 400, body: `{"message":{"title":["is too long","is odd"]}}`, kind: plumbline.ErrInvalid, text: "is too long"},
		{status: 400, body: `{"error":"state does not have a valid value"}`, kind: plumbline.ErrInvalid, text: "state does not have a valid value"},
		{status: 409, body: `{"message":["Another open merge request already exists"]}`, kind: plumbline.ErrConflict, text: "Another open"},
		{status: 409, body: `{"message":7}`, kind: plumbline.ErrConflict},
		{status: 422, body: `{"message":"no"}`, kind: plumbline.ErrInvalid},
		{status: 500, body: strings.Repeat("oops ", 1<<20)},
		{status: 502, body: "<html><body>" + token + " bad gateway</body></html>"},
		{status: 503, body: ""},
		{status: 503, header: map[string]string{"Retry-After": "120"}, until: now.Add(2 * time.Minute)},
		{status: 429, body: "Retry later\n", header: map[string]string{"Retry-After": "7"}, until: now.Add(7 * time.Second)},
		{status: 429, body: `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`, until: now.Add(time.Minute)},
		{status: 429, header: map[string]string{"Retry-After": "999999999"}, until: now.Add(time.Hour)},
		{status: 429, header: map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": fmt.Sprint(now.Unix() + 30)}, until: now.Add(30 * time.Second)},
	} {
		t.Run(fmt.Sprint(c.status, c.header), func(t *testing.T) {
			var asked atomic.Int64
			err := list(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body) // the client may have gone
			}))
			var retry *plumbline.Retry
			switch {
			case err == nil:
				t.Fatal("no error")
			case asked.Load() != 1:
				t.Errorf("asked %d times", asked.Load())
			case len(err.Error()) > 500 || strings.Contains(err.Error(), "<html>"):
				t.Errorf("%d bytes: %.600s", len(err.Error()), err)
			case !strings.Contains(err.Error(), c.text):
				t.Errorf("%v does not say %q", err, c.text)
			case c.kind != nil && !errors.Is(err, c.kind):
				t.Errorf("%v is no %v", err, c.kind)
			}
			if errors.As(err, &retry) != !c.until.IsZero() {
				t.Errorf("retry: %v", err)
			} else if retry != nil && !retry.At.Equal(c.until) {
				t.Errorf("again at %s, not %s", retry.At, c.until)
			}
		})
	}
}

// TestHugeAnswer: an answer of 500 MB is given up long before its end.
func TestHugeAnswer(t *testing.T) {
	var sent atomic.Int64
	gone := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(gone)
		chunk := []byte(strings.Repeat("x", 1<<20))
		copy(chunk, `[{"title":"`)
		for range 500 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
			copy(chunk, "xxxxxxxxxxx")
		}
	})
	if err := list(t, c); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("%v", err)
	}
	<-gone
	if n := sent.Load(); n > 100<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestGarbage(t *testing.T) {
	answers := []string{
		"", "nonsense", "{", "[", "[1]", `{"message":"a page"}`, "<html>sign in</html>", `[{"iid":1,"sha":`, "[null]", "[{}]", `[{"iid":-1}]`, `[{"iid":"1"}]`,
		`[{"iid":1e40}]`, "[" + open(1, `,"state":"beheaded"`) + "]", "[" + open(1, `,"sha":"HEAD"`) + "]", "[" + open(1, `,"sha":"--upload-pack=x"`) + "]",
		"[" + without("target_project_id") + "]", "[" + without("updated_at") + "]", "[" + without("source_branch") + "]", "[" + open(1, `,"updated_at":"soon"`) + "]",
		"[" + open(1, `,"labels":"a"`) + "]", "[" + open(1, `,"author":"a"`) + "]", "[" + open(1, `,"target_branch":""`) + "]",
	}
	for _, answer := range answers {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		if err := list(t, c); err == nil {
			t.Errorf("%q was taken for a list of merge requests", answer)
		}
		single := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.TrimSuffix(strings.TrimPrefix(answer, "["), "]"))
		})
		if mr, err := single.MergeRequest(t.Context(), "1"); err == nil {
			t.Errorf("%q was taken for a merge request: %+v", answer, mr)
		}
		mr := plumbline.MergeRequest{ID: "1"}
		// Who we are is known, so that the answer is what a list of something is.
		known := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v4/user" {
				_, _ = io.WriteString(w, `{"id":7}`)
				return
			}
			if r.Method != "GET" {
				t.Errorf("%s %s after an answer of %q", r.Method, r.URL, answer)
			}
			_, _ = io.WriteString(w, answer)
		})
		_, commented := known.Comments(t.Context(), mr, now)
		_, issued := known.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "t", Body: "m", Open: true})
		_, proposed := known.OpenMergeRequest(t.Context(), forge.Proposal{Source: "a", Target: "b", Title: "t"})
		for what, err := range map[string]error{
			"a list of notes": known.UpsertNote(t.Context(), mr, "m", "m"), "a list of comments": commented, "a list of issues": issued,
			"a list of proposals": proposed,
		} {
			if err == nil {
				t.Errorf("%q was taken for %s", answer, what)
			}
		}
	}
	if err := list(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "null") })); err == nil {
		t.Error("nothing was taken for an empty list")
	}
	nobody := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":0}`) })
	if err := nobody.UpsertNote(t.Context(), plumbline.MergeRequest{ID: "1"}, "m", "m"); err == nil {
		t.Error("a user without number")
	}
}

// TestTruncated: a connection that breaks in the middle is an error, not an end.
func TestTruncated(t *testing.T) {
	for _, start := range []string{"[", "[]", "[" + open(1, "")} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10000")
			_, _ = io.WriteString(w, start)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		if err := list(t, c); err == nil && start != "[]" { // whole as JSON
			t.Errorf("%q: no error", start)
		}
	}
}

// TestDrip: a server that never ends its answer is left at the time limit, and at once when nobody waits any more.
func TestDrip(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "[")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	if err := list(t, clientOf(t, srv.URL, 50*time.Millisecond)); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := clientOf(t, srv.URL, time.Hour).MergeRequests(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestDown(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	err := list(t, clientOf(t, srv.URL, time.Minute))
	var retry *plumbline.Retry
	if err == nil || errors.As(err, &retry) || errors.Is(err, plumbline.ErrNotFound) || errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("%v", err)
	}
}

// TestMergeRequests: what can be fetched is what counts, and what comes from elsewhere is a fork.
func TestMergeRequests(t *testing.T) {
	f := newFake(t)
	p := people{f}
	f.mu.Lock()
	for _, name := range []string{"plain", "fork", "draft", "conflict", "new", "labels"} {
		f.push(name, "main", dev)
		f.open(name, "main", name, "", nil, dev)
	}
	f.mrs[1].from = 99
	f.mrs[2].title = "Draft: draft"
	f.mrs[3].conflict = true
	f.mrs[4].head = "" // GitLab is still working on it
	f.mrs[5].labels = []string{"b", "a"}
	f.mu.Unlock()
	refs := p.Refs(t)
	fetchable := strings.Repeat("f", 40)
	refs["refs/merge-requests/1/head"] = fetchable
	refs["refs/merge-requests/1/merge"] = strings.Repeat("e", 40)
	delete(refs, "refs/merge-requests/5/head")
	mrs, err := f.client(token).MergeRequests(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]plumbline.MergeRequest{}
	for _, mr := range mrs {
		got[strings.TrimPrefix(mr.Title, "Draft: ")] = mr
	}
	if mr := got["plain"]; mr.Head != fetchable || mr.HeadRef != "refs/merge-requests/1/head" || mr.MergeRef != "refs/merge-requests/1/merge" || mr.Fork || mr.Draft ||
		mr.Author != "dev" || mr.Source != "plain" || mr.Conflicts || len(mr.Labels) != 0 || mr.Activity == "" {
		t.Errorf("plain: %+v", mr)
	}
	if !got["fork"].Fork || got["conflict"].Fork || !got["draft"].Draft || !got["conflict"].Conflicts {
		t.Errorf("%+v", got)
	}
	if got["fork"].MergeRef != "" {
		t.Errorf("a merge ref that is not on the remote: %+v", got["fork"])
	}
	if _, ok := got["new"]; ok || len(got) != 5 {
		t.Errorf("%d merge requests, one of them without a head", len(got))
	}
	if !slices.Equal(got["labels"].Labels, []string{"a", "b"}) {
		t.Errorf("labels %q", got["labels"].Labels)
	}
	if mrs, err := f.client(token).MergeRequests(t.Context(), nil); err != nil || mrs[0].Head == fetchable || mrs[0].MergeRef == "" {
		t.Errorf("where nobody looked: %+v, %v", mrs[0], err)
	}
	// A fork that was deleted is none of ours either.
	gone := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "["+without("source_project_id")+","+strings.Replace(open(2, ""), `"source_project_id":42`, `"source_project_id":null`, 1)+"]")
	})
	if mrs, err := gone.MergeRequests(t.Context(), nil); err != nil || len(mrs) != 2 || !mrs[0].Fork || !mrs[1].Fork {
		t.Errorf("from forks that are gone: %+v, %v", mrs, err)
	}
}

func TestMergeCommit(t *testing.T) {
	a, b, c := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
	for name, one := range map[string]struct{ merge, squash, want string }{
		"merge commit": {b, "", b}, "merge commit of a squash": {b, c, b}, "squashed and fast-forward": {"", c, c}, "fast-forward": {"", "", a},
	} {
		f := newFake(t)
		id := people{f}.OpenMR(t, "x", "main", "x")
		f.mrs[0].state, f.mrs[0].head, f.mrs[0].merge, f.mrs[0].squash = "merged", a, one.merge, one.squash
		mr, err := f.client(token).MergeRequest(t.Context(), id)
		if err != nil || mr.State != plumbline.MRMerged || mr.MergeCommit != one.want || mr.MergeRef != "" {
			t.Errorf("%s: %+v, %v", name, mr, err)
		}
	}
}

// TestMergeRequest: one that is asked for has more, where GitLab tells.
func TestMergeRequest(t *testing.T) {
	f := newFake(t)
	p := people{f}
	c := f.client(token)
	id := p.OpenMR(t, "x", "main", "x")
	f.mu.Lock()
	f.mrs[0].approved = []account{manager, dev}
	f.mrs[0].head = f.push("feature/x", "", manager)
	f.push("other", "main", dev)
	// Somebody else made a branch of it later.
	f.events = append(f.events, fakeEvent{f.next(), dev, "pushed new", "copy", f.mrs[0].head, f.now()})
	f.mu.Unlock()
	mr, err := c.MergeRequest(t.Context(), id)
	if err != nil || !slices.Equal(mr.ApprovedBy, []string{"manager", "dev"}) || mr.LastPusher != "manager" || mr.Author != "dev" {
		t.Errorf("%+v, %v", mr, err)
	}
	for _, status := range []int{403, 404} {
		f.hide = func(r *http.Request) int {
			if strings.HasSuffix(r.URL.Path, "/approvals") || strings.HasSuffix(r.URL.Path, "/events") {
				return status
			}
			return 0
		}
		if mr, err := c.MergeRequest(t.Context(), id); err != nil || mr.ApprovedBy != nil || mr.LastPusher != "" || mr.Title != "x" {
			t.Errorf("%d: %+v, %v", status, mr, err)
		}
	}
	for _, what := range []string{"/approvals", "/events"} {
		for _, status := range []int{500, 401, 429} {
			f.hide = func(r *http.Request) int {
				if strings.HasSuffix(r.URL.Path, what) {
					return status
				}
				return 0
			}
			if _, err := f.client(token).MergeRequest(t.Context(), id); err == nil {
				t.Errorf("%s is %d, and nobody is told", what, status)
			}
		}
	}
	f.hide = nil
	f.mrs[0].from = 99
	if mr, err := c.MergeRequest(t.Context(), id); err != nil || mr.LastPusher != "" || !mr.Fork {
		t.Errorf("a fork's pusher: %+v, %v", mr, err)
	}
}

// TestRequests: what is asked is what the documentation says, in this order.
func TestRequests(t *testing.T) {
	const p = "/api/v4/projects/group%2Fsub%2Fname"
	f := newFake(t)
	id := people{f}.OpenMR(t, "x", "main", "x")
	people{f}.Comment(t, id, "hi")
	note := fmt.Sprint(f.mrs[0].notes[0].id)
	head := f.mrs[0].head
	c := f.client(token)
	mr := plumbline.MergeRequest{ID: id, URL: "https://x/1"}
	ctx := t.Context()
	const (
		open   = "GET " + p + "/issues?author_id=7&order_by=created_at&page=1&per_page=100&scope=all&sort=asc&state=opened"
		closed = "GET " + p + "/issues?author_id=7&order_by=created_at&page=1&per_page=100&scope=all&sort=desc&state=closed"
	)
	upsert := func(body string, open bool) func() error {
		return func() error {
			_, err := c.UpsertIssue(ctx, forge.Issue{Marker: "m", Title: "t", Body: body, Open: open})
			return err
		}
	}
	for _, one := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"list", func() error { _, err := c.MergeRequests(ctx, nil); return err },
			[]string{"GET " + p + "/merge_requests?order_by=created_at&page=1&per_page=100&scope=all&sort=asc&state=opened"}},
		{"get", func() error { _, err := c.MergeRequest(ctx, id); return err },
			[]string{"GET " + p + "/merge_requests/1", "GET " + p + "/merge_requests/1/approvals", "GET " + p + "/events?action=pushed&per_page=100&sort=desc"}},
		{"note", func() error { return c.UpsertNote(ctx, mr, "m", "m") },
			[]string{"GET /api/v4/user", "GET " + p + "/merge_requests/1/notes?order_by=created_at&page=1&per_page=100&sort=asc", "POST " + p + "/merge_requests/1/notes",
				"GET " + p + "/merge_requests/1/notes?order_by=created_at&page=1&per_page=100&sort=asc"}},
		{"same note", func() error { return c.UpsertNote(ctx, mr, "m", "m") },
			[]string{"GET " + p + "/merge_requests/1/notes?order_by=created_at&page=1&per_page=100&sort=asc"}},
		{"comments", func() error { _, err := c.Comments(ctx, mr, now.AddDate(-9, 0, 0)); return err },
			[]string{"GET " + p + "/merge_requests/1/notes?order_by=created_at&page=1&per_page=100&sort=desc"}},
		{"reaction", func() error { return c.React(ctx, mr, note, plumbline.ReactionSeen) },
			[]string{"GET " + p + "/merge_requests/1/notes/" + note + "/award_emoji?page=1&per_page=100", "POST " + p + "/merge_requests/1/notes/" + note + "/award_emoji"}},
		{"comments that were reacted to", func() error { _, err := c.Comments(ctx, mr, now.AddDate(-9, 0, 0)); return err },
			[]string{"GET " + p + "/merge_requests/1/notes?order_by=created_at&page=1&per_page=100&sort=desc", "POST /api/graphql"}},
		{"status", func() error {
			return c.SetStatus(ctx, head, plumbline.CommitStatus{Context: "a b", State: plumbline.ToldPending})
		},
			[]string{"GET " + p + "/repository/commits/" + head + "/statuses?name=a+b&page=1&per_page=100", "GET " + p + "/repository/commits/" + head + "?stats=false",
				"GET " + p + "/repository/commits/" + head + "/merge_requests", "POST " + p + "/statuses/" + head}},
		{"second status", func() error {
			return c.SetStatus(ctx, head, plumbline.CommitStatus{Context: "b", State: plumbline.ToldPending})
		},
			[]string{"GET " + p + "/repository/commits/" + head + "/statuses?name=b&page=1&per_page=100", "POST " + p + "/statuses/" + head}},
		{"issue", upsert("m", true), []string{open, closed, "POST " + p + "/issues", open}},
		{"the same issue", upsert("m", true), []string{open}},
		{"changed issue", upsert("m 2", true), []string{open, "PUT " + p + "/issues/1"}},
		{"closed issue", upsert("m over", false), []string{open, "PUT " + p + "/issues/1"}},
		{"issue opened again", upsert("m 3", true), []string{open, closed, "PUT " + p + "/issues/1"}},
		{"proposal", func() error {
			_, err := c.OpenMergeRequest(ctx, forge.Proposal{Source: "feature/x", Target: "env/production", Title: "t"})
			return err
		},
			[]string{"GET " + p + "/merge_requests?order_by=created_at&page=1&per_page=100&scope=all&sort=asc&source_branch=feature%2Fx&state=opened&target_branch=env%2Fproduction",
				"POST " + p + "/merge_requests"}},
		{"deployment", func() error {
			return c.SetDeployment(ctx, forge.Deployment{Environment: "prod/eu", Branch: "main", Commit: head, State: forge.DeploymentRunning})
		},
			[]string{"GET " + p + "/deployments?environment=prod%2Feu&order_by=id&page=1&per_page=100&sort=desc", "POST " + p + "/deployments"}},
	} {
		f.asked = nil
		if err := one.do(); err != nil {
			t.Errorf("%s: %v", one.name, err)
		}
		if !slices.Equal(f.asked, one.want) {
			t.Errorf("%s asks\n%s\nwant\n%s", one.name, strings.Join(f.asked, "\n"), strings.Join(one.want, "\n"))
		}
	}
}

// TestLostAnswers: what was done although nobody was told of it is not done twice.
func TestLostAnswers(t *testing.T) {
	f := newFake(t)
	p := people{f}
	id := p.OpenMR(t, "x", "main", "x")
	p.Comment(t, id, "hi")
	p.Branch(t, "promote", "main")
	note := fmt.Sprint(f.mrs[0].notes[0].id)
	mr := plumbline.MergeRequest{ID: id}
	head := f.mrs[0].head
	c := f.client(token)
	for name, do := range map[string]func() error{
		"note":     func() error { return c.UpsertNote(t.Context(), mr, "m", "m") },
		"reaction": func() error { return c.React(t.Context(), mr, note, plumbline.ReactionDone) },
		"status": func() error {
			return c.SetStatus(t.Context(), head, plumbline.CommitStatus{Context: "a", State: plumbline.ToldPending})
		},
		"issue": func() error {
			_, err := c.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "t", Body: "m", Open: true})
			return err
		},
		"proposal": func() error {
			_, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "promote", Target: "env/production", Title: "t"})
			return err
		},
		"deployment": func() error {
			return c.SetDeployment(t.Context(), forge.Deployment{Environment: "e", Branch: "main", Commit: head, State: forge.DeploymentRunning})
		},
	} {
		var posted atomic.Int64
		lose := func(lose func(*http.Request) bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.lose = lose
		}
		lose(func(r *http.Request) bool {
			if r.Method == "POST" {
				posted.Add(1)
			}
			return r.Method == "POST"
		})
		if err := do(); err == nil || posted.Load() != 1 {
			t.Errorf("%s: %v after %d tries", name, err, posted.Load())
		}
		lose(nil)
		for range 2 {
			if err := do(); err != nil {
				t.Errorf("%s again: %v", name, err)
			}
		}
	}
	if n := p.Notes(t, id); len(n) != 1 {
		t.Errorf("notes %q", n)
	}
	if len(f.mrs[0].notes[0].awards) != 1 || len(f.statuses) != 1 || len(f.issues) != 1 || len(f.mrs) != 2 || len(f.deployments) != 1 {
		t.Errorf("%d awards, %d statuses, %d issues, %d merge requests, %d deployments", len(f.mrs[0].notes[0].awards), len(f.statuses), len(f.issues),
			len(f.mrs), len(f.deployments))
	}
}

func FuzzMergeRequest(f *testing.F) {
	f.Add([]byte(open(1, "")))
	f.Add([]byte(open(2, `,"state":"merged","merge_commit_sha":null,"labels":["b","a"],"author":null`)))
	f.Add([]byte(`{"iid":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var one *api.BasicMergeRequest
		if json.Unmarshal(b, &one) != nil {
			return
		}
		mr, err := gitlab.MergeRequestOf(one)
		if err != nil {
			return
		}
		hex := func(s string) bool {
			return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
		}
		if strings.Trim(mr.ID, "0123456789") != "" || mr.ID == "0" || mr.Target == "" || mr.Source == "" || mr.State == "" || mr.UpdatedAt.IsZero() != one.UpdatedAt.IsZero() {
			t.Errorf("%s became %+v", b, mr)
		}
		if (mr.Head != "" && !hex(mr.Head)) || (mr.MergeCommit != "" && !hex(mr.MergeCommit)) {
			t.Errorf("commits %q, %q", mr.Head, mr.MergeCommit)
		}
		if mr.URL != "" && !strings.HasPrefix(strings.ToLower(mr.URL), "http") {
			t.Errorf("url %q", mr.URL)
		}
		if mr.Fork != (one.SourceProjectID != one.TargetProjectID) || (mr.State != plumbline.MRMerged && mr.MergeCommit != "") {
			t.Errorf("%s became %+v", b, mr)
		}
	})
}
