package gitea_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/gitea"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const token = "c0ffee0123456789c0ffee0123456789c0ffee01"

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// serve returns a client of a server that answers as told.
func serve(t *testing.T, h http.HandlerFunc) *gitea.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return clientOf(t, srv.URL, time.Minute)
}

func clientOf(t *testing.T, url string, timeout time.Duration) *gitea.Client {
	t.Helper()
	c, err := gitea.New(gitea.Config{URL: url, Project: "acme/infra", Token: plumbline.NewSecret(token), Dial: forge.Dial{Timeout: timeout, Now: func() time.Time { return now }}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t *testing.T, c *gitea.Client) error {
	t.Helper()
	_, err := c.MergeRequests(t.Context(), nil)
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the token is in the error: %v", err)
	}
	return err
}

func TestNew(t *testing.T) {
	for _, c := range []gitea.Config{
		{URL: "https://gitea.example.com", Project: "infra"},
		{URL: "https://gitea.example.com", Project: "a/b/c"},
		{URL: "https://gitea.example.com", Project: "/b"},
		{URL: "gitea.example.com", Project: "a/b"},
		{URL: "ftp://gitea.example.com", Project: "a/b"},
		{URL: "https://me:" + token + "@gitea.example.com", Project: "a/b"},
		{URL: "https://gitea.example.com/?token=" + token, Project: "a/b"},
		{URL: "https://%zz" + token, Project: "a/b"},
		{Project: "a/b"},
	} {
		if _, err := gitea.New(c); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), token) {
			t.Errorf("%q, %q: %v", c.URL, c.Project, err)
		}
	}
	c, err := gitea.New(gitea.Config{URL: "https://example.com/git/", Project: "acme/my infra"})
	if err != nil {
		t.Fatal(err)
	}
	if u, user := c.Remote(); u != "https://example.com/git/acme/my%20infra.git" || user == "" {
		t.Errorf("remote %s, user %q", u, user)
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
		if err := c.SetStatus(t.Context(), strings.Repeat("a", 40), plumbline.CommitStatus{Context: "a"}); err == nil {
			t.Errorf("%d: a status was set", code)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// TestRenamed follows a redirect within the host, as Gitea sends after a repository was renamed; a POST stays a POST.
func TestRenamed(t *testing.T) {
	var posted atomic.Int64
	h := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "token "+token {
				t.Errorf("authorization %q", got)
			}
			if got := r.Header.Get("User-Agent"); got != "plumbline" {
				t.Errorf("user agent %q", got)
			}
			if path, ok := strings.CutPrefix(r.URL.Path, "/api/v1/repos/acme/infra/"); ok {
				http.Redirect(w, r, "/api/v1/repos/acme/platform/"+path, code)
				return
			}
			if r.Method == "POST" {
				posted.Add(1)
				w.WriteHeader(http.StatusCreated)
			}
			_, _ = io.WriteString(w, "{}") // the client sees what is missing
		}
	}
	s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
	if err := serve(t, h(307)).SetStatus(t.Context(), strings.Repeat("a", 40), s); err != nil || posted.Load() != 1 {
		t.Errorf("307: %v, %d posts", err, posted.Load())
	}
	if err := serve(t, h(301)).SetStatus(t.Context(), strings.Repeat("a", 40), s); err == nil || posted.Load() != 1 {
		t.Errorf("301 turns a POST into a GET, which was taken for a success: %v", err)
	}
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	})
	if err := list(t, loop); err == nil {
		t.Error("a loop has an end")
	}
}

// TestPagesElsewhere: the number of the next page is taken from the Link header, its host is not.
func TestPagesElsewhere(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var pages []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		pages = append(pages, page)
		if page == "1" {
			w.Header().Set("Link", fmt.Sprintf(`<%s/api/v1/x?page=2>; rel="next",<%s/api/v1/x?page=9>; rel="last"`, other.URL, other.URL))
		}
		fmt.Fprintf(w, `[{"number":%s,"state":"open","head":{"label":"b","ref":"b","sha":"%s","repo_id":1},"base":{"ref":"main","repo_id":1}}]`, page, strings.Repeat(page, 40))
	})
	mrs, err := c.MergeRequests(t.Context(), nil)
	if err != nil || len(mrs) != 2 || mrs[1].ID != "2" {
		t.Errorf("%+v, %v", mrs, err)
	}
	if strings.Join(pages, ",") != "1,2" || elsewhere.Load() != 0 {
		t.Errorf("pages %v; the other host was asked %d times", pages, elsewhere.Load())
	}
	// A server whose last page is never reached.
	var asked atomic.Int64
	endless := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`</?page=%d>; rel="next"`, asked.Add(1)+1))
		_, _ = io.WriteString(w, `[{"number":1,"state":"open","head":{"sha":"a"},"base":{"ref":"main"}}]`)
	})
	if err := list(t, endless); err != nil || asked.Load() > 100 {
		t.Errorf("%v after %d pages", err, asked.Load())
	}
	back := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", `</?page=1>; rel="next"`)
		_, _ = io.WriteString(w, `[{"number":1,"state":"open","head":{"sha":"a"},"base":{"ref":"main"}}]`)
	})
	if err := list(t, back); err != nil {
		t.Error(err)
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
		{status: 401, body: `{"message":"user does not exist [token ` + token + `]"}`, kind: plumbline.ErrDenied, text: "401 Unauthorized: user does not exist [token (sensitive)]"},
		{status: 403, body: `{"message":"token does not have scope\n` + strings.Repeat("x", 5000) + `"}`, kind: plumbline.ErrDenied, text: "does not have scope xxx"},
		{status: 404, body: `<html>not here</html>`, kind: plumbline.ErrNotFound, text: "404 Not Found"},
		{status: 409, body: `{"message":7}`, kind: plumbline.ErrConflict},
		{status: 422, body: `{"message":"no"}`, kind: plumbline.ErrInvalid},
		{status: 500, body: strings.Repeat("oops ", 1<<20)},
		{status: 502, body: "bad gateway"},
		{status: 503, body: ""},
		{status: 503, header: map[string]string{"Retry-After": "120"}, until: now.Add(2 * time.Minute)},
		{status: 429, header: map[string]string{"Retry-After": "7"}, until: now.Add(7 * time.Second)},
		{status: 429, header: map[string]string{"Retry-After": now.Add(time.Minute).Format(http.TimeFormat)}, until: now.Add(time.Minute)},
		{status: 429, header: map[string]string{"Retry-After": "-5"}, until: now.Add(time.Second)},
		{status: 429, header: map[string]string{"Retry-After": "999999999"}, until: now.Add(time.Hour)},
		{status: 429, header: map[string]string{"Retry-After": "soon"}, until: now.Add(time.Minute)},
		{status: 429, until: now.Add(time.Minute)},
		{status: 403, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(now.Unix() + 90)}, until: now.Add(90 * time.Second)},
		{status: 403, header: map[string]string{"X-RateLimit-Remaining": "17", "X-RateLimit-Reset": fmt.Sprint(now.Unix() + 90)}, kind: plumbline.ErrDenied},
		{status: 429, header: map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": fmt.Sprint(now.Unix() + 30)}, until: now.Add(30 * time.Second)},
		{status: 404, header: map[string]string{"Retry-After": "7"}, kind: plumbline.ErrNotFound},
	} {
		t.Run(fmt.Sprint(c.status, c.header), func(t *testing.T) {
			err := list(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
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
			case len(err.Error()) > 500:
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
	for _, answer := range []string{
		"", "nonsense", "{", "[", "[1]", `{"message":"a page"}`, "<html>sign in</html>", `[{"number":1,"head":`, "[null]", "[{}]",
		`[{"number":-1,"head":{},"base":{"ref":"x"}}]`, `[{"number":1}]`, `[{"number":1,"head":null,"base":{"ref":"main"}}]`,
		`[{"number":1e40,"head":{},"base":{"ref":"x"}}]`, `[{"number":"1"}]`,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		if err := list(t, c); err == nil {
			t.Errorf("%q was taken for a list of pull requests", answer)
		}
		if mr, err := c.MergeRequest(t.Context(), "1"); err == nil {
			t.Errorf("%q was taken for a pull request: %+v", answer, mr)
		}
		if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: "1"}, "m", "m"); err == nil {
			t.Errorf("a note was written by an answer of %q", answer)
		}
	}
	if err := list(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "null") })); err != nil {
		t.Errorf("nothing is an empty list: %v", err)
	}
}

// TestTruncated: a connection that breaks in the middle is an error, not an end.
func TestTruncated(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `[`)
		panic(http.ErrAbortHandler)
	})
	if err := list(t, c); err == nil {
		t.Error("no error")
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

// comments is a server with the comments of one pull request, on which another daemon can be quick.
type comments struct {
	mu      sync.Mutex
	next    int64
	all     []comment
	posted  func() // called before a POST is answered
	patched func() // before a PATCH
}

type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		ID int64 `json:"id"`
	} `json:"user"`
}

func (s *comments) add(user int64, body string) {
	s.next++
	c := comment{ID: s.next, Body: body}
	c.User.ID = user
	s.all = append(s.all, c)
}

func (s *comments) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in struct{ Body string }
	if r.ContentLength > 0 {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	var id int64
	_, _ = fmt.Sscanf(r.URL.Path, "/api/v1/repos/acme/infra/issues/comments/%d", &id) // 0: another path
	var err error
	switch {
	case r.URL.Path == "/api/v1/user":
		_, err = io.WriteString(w, `{"id":1,"login":"plumbline"}`)
	case r.Method == "GET":
		err = json.NewEncoder(w).Encode(s.all)
	case r.Method == "POST":
		s.add(1, in.Body)
		if s.posted != nil {
			s.posted()
		}
		_, err = io.WriteString(w, `{}`)
	default:
		if r.Method == "PATCH" && s.patched != nil {
			s.patched()
		}
		for i := range s.all {
			if s.all[i].ID == id {
				if r.Method == "PATCH" {
					s.all[i].Body = in.Body
				} else {
					s.all = append(s.all[:i], s.all[i+1:]...)
				}
				return
			}
		}
		http.Error(w, `{"message":"no such comment"}`, http.StatusNotFound)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (s *comments) show() string {
	var out []string
	for _, c := range s.all {
		out = append(out, fmt.Sprintf("%d:%s", c.User.ID, c.Body))
	}
	return strings.Join(out, " ")
}

func TestRaces(t *testing.T) {
	mr := plumbline.MergeRequest{ID: "1"}
	t.Run("another daemon wrote one before", func(t *testing.T) {
		s := &comments{}
		s.add(2, "m pasted")
		s.add(1, "m theirs")
		s.add(1, "m twice")
		s.add(1, "ours without")
		if err := serve(t, s.ServeHTTP).UpsertNote(t.Context(), mr, "m ", "m new"); err != nil {
			t.Fatal(err)
		}
		if got := s.show(); got != "2:m pasted 1:m new 1:ours without" {
			t.Errorf("%s", got)
		}
	})
	t.Run("another daemon writes one at the same time", func(t *testing.T) {
		s := &comments{}
		s.posted = func() { s.add(1, "m theirs") }
		if err := serve(t, s.ServeHTTP).UpsertNote(t.Context(), mr, "m", "m ours"); err != nil {
			t.Fatal(err)
		}
		if got := s.show(); got != "1:m ours" {
			t.Errorf("%s", got)
		}
	})
	t.Run("deleted while it is edited", func(t *testing.T) {
		s := &comments{}
		s.add(1, "m old")
		s.patched = func() { s.all, s.patched = nil, nil }
		if err := serve(t, s.ServeHTTP).UpsertNote(t.Context(), mr, "m", "m new"); err != nil {
			t.Fatal(err)
		}
		if got := s.show(); got != "1:m new" {
			t.Errorf("%s", got)
		}
	})
	t.Run("deleted each time", func(t *testing.T) {
		s := &comments{}
		s.posted = func() { s.all = nil }
		if err := serve(t, s.ServeHTTP).UpsertNote(t.Context(), mr, "m", "m new"); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("%v", err)
		}
	})
}

// TestHead: what can be fetched is what counts.
func TestHead(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `[
			{"number":1,"state":"open","head":{"label":"b","sha":"new","repo_id":1},"base":{"ref":"main","repo_id":1}},
			{"number":2,"state":"open","head":{"label":"b","sha":"api","repo_id":1},"base":{"ref":"main","repo_id":1}},
			{"number":3,"state":"open","head":{"label":"b","sha":"","repo_id":-1},"base":{"ref":"main","repo_id":1}},
			{"number":4,"state":"closed","head":{"label":"b","sha":"x","repo_id":1},"base":{"ref":"main","repo_id":1}}]`)
	})
	mrs, err := c.MergeRequests(t.Context(), map[string]string{"refs/pull/1/head": "fetchable"})
	if err != nil || len(mrs) != 2 || mrs[0].Head != "fetchable" || mrs[1].Head != "api" {
		t.Errorf("%+v, %v", mrs, err)
	}
}
