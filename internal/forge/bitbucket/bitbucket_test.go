package bitbucket_test

import (
	"context"
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

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/bitbucket"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const token = "ATCTT3xFfGN0c0ffee0123456789c0ffee01=C0FFEE01"

var (
	now   = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	whole = strings.Repeat("a1", 20)
)

// serve returns a client of a server that answers as told.
func serve(t *testing.T, h http.HandlerFunc) *bitbucket.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return clientOf(t, srv.URL, time.Minute)
}

func clientOf(t *testing.T, url string, timeout time.Duration) *bitbucket.Client {
	t.Helper()
	c, err := bitbucket.New(bitbucket.Config{
		URL: url + "/2.0", Project: project, Token: plumbline.NewSecret(token), Dial: forge.Dial{Timeout: timeout, Now: func() time.Time { return now }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t *testing.T, c *bitbucket.Client) error {
	t.Helper()
	_, err := c.MergeRequests(t.Context(), nil)
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the token is in the error: %v", err)
	}
	return err
}

// everything calls each method once.
func everything(t *testing.T, c *bitbucket.Client) map[string]error {
	t.Helper()
	mr := plumbline.MergeRequest{ID: "1"}
	out := map[string]error{"list": list(t, c)}
	_, out["get"] = c.MergeRequest(t.Context(), "1")
	out["note"] = c.UpsertNote(t.Context(), mr, "m", "m")
	_, out["comments"] = c.Comments(t.Context(), mr, now)
	_, out["proposal"] = c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "a", Target: "b", Title: "t"})
	return out
}

// one is a pull request as the API tells it, with the rest of its fields.
func one(id int, rest string) string {
	return fmt.Sprintf(`{"id":%d,"state":"OPEN","source":{"branch":{"name":"b"},"commit":{"hash":"a1a1a1a1a1a1"},"repository":{"uuid":"{r}"}},
		"destination":{"branch":{"name":"main"},"repository":{"uuid":"{r}"}}%s}`, id, rest)
}

func TestNew(t *testing.T) {
	for _, c := range []bitbucket.Config{
		{Project: "infra"},
		{Project: "a/b/c"},
		{Project: "/b"},
		{Project: "a/"},
		{URL: "api.bitbucket.org", Project: "a/b"},
		{URL: "ftp://api.bitbucket.org", Project: "a/b"},
		{URL: "https://me:" + token + "@api.bitbucket.org", Project: "a/b"},
		{URL: "https://api.bitbucket.org/2.0?token=" + token, Project: "a/b"},
		{URL: "https://%zz" + token, Project: "a/b"},
	} {
		if _, err := bitbucket.New(c); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), token) {
			t.Errorf("%q, %q: %v", c.URL, c.Project, err)
		}
	}
	for _, c := range []struct{ url, username, remote, user string }{
		{"", "", "https://bitbucket.org/acme/my%20infra.git", "x-token-auth"},
		{"https://api.bitbucket.org/2.0/", "me@example.com", "https://bitbucket.org/acme/my%20infra.git", "x-bitbucket-api-token-auth"},
		{"http://127.0.0.1:8080/2.0", "", "http://127.0.0.1:8080/acme/my%20infra.git", "x-token-auth"},
	} {
		client, err := bitbucket.New(bitbucket.Config{URL: c.url, Project: "acme/my infra", Username: c.username})
		if err != nil {
			t.Fatal(err)
		}
		if u, user := client.Remote(); u != c.remote || user != c.user {
			t.Errorf("remote %s, user %q", u, user)
		}
		if !client.Plain() {
			t.Error("Bitbucket shows HTML as text")
		}
	}
}

// TestDescriptionHolds: what is not as described does not pass unseen.
func TestDescriptionHolds(t *testing.T) {
	f := newFake(t)
	build := "/2.0/repositories/acme/infra/commit/" + whole + "/statuses/build"
	for body, good := range map[string]bool{
		`{"key":"k","state":"SUCCESSFUL","url":"https://example.com"}`: true,
		`{"key":"k","state":"success"}`:                                false,
		`{"key":7}`:                                                    false,
		`[]`:                                                           false,
	} {
		r := httptest.NewRequest("POST", build, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if _, err := f.request(r); (err == nil) != good {
			t.Errorf("request %s: %v", body, err)
		}
	}
	if _, err := f.request(httptest.NewRequest("GET", "/2.0/repositories/acme/infra/pull-requests", nil)); err == nil {
		t.Error("there is no such operation")
	}
	for path, bodies := range map[string]map[string]bool{
		"/2.0/repositories/acme/infra/pullrequests?state=OPEN": {
			`{"values":[{"type":"pullrequest","id":1,"draft":true}]}`: true,
			`{"values":[{"id":1}]}`:                                   false,
			`{"values":[{"type":"pullrequest","id":"1"}]}`:            false,
			`{"values":[{"type":"pullrequest","draft":"yes"}]}`:       false,
			`{"values":[],"more":1}`:                                  false,
		},
		"/2.0/user": {`{"type":"user","uuid":"{a}"}`: true, `{"uuid":"{a}"}`: false},
	} {
		for body, good := range bodies {
			r := httptest.NewRequest("GET", path, nil)
			input, err := f.request(r)
			if err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			rec.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rec, body) // into memory
			if err := f.answered(input, r, rec); (err == nil) != good {
				t.Errorf("answer %s: %v", body, err)
			}
		}
	}
}

// TestRequests is what is asked of Bitbucket, in order.
func TestRequests(t *testing.T) {
	f := newFake(t)
	c := f.client(t, token, "")
	p := people{f, bot}
	id := p.OpenMR(t, "x", "main", "change")
	head := p.Head(t, id)
	check := func(want ...string) {
		t.Helper()
		for i := range want {
			method, path, _ := strings.Cut(want[i], " ")
			want[i] = method + " /2.0" + strings.Replace(path, "REPO", "/repositories/acme/infra", 1)
		}
		if !slices.Equal(f.asked, want) {
			t.Errorf("asked\n%s\nwant\n%s", strings.Join(f.asked, "\n"), strings.Join(want, "\n"))
		}
		f.asked = nil
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const (
		open = "GET REPO/pullrequests?state=OPEN&pagelen=50&fields=-values.description%2C-values.summary%2C-values.rendered%2C%2Bvalues.participants&page=1"
		said = "GET REPO/pullrequests/1/comments?pagelen=50&fields=-values.content.html%2C-values.pullrequest&page=1"
		get  = "GET REPO/pullrequests/1?fields=-description,-summary,-rendered"
	)
	commit := "GET REPO/commit/" + head[:12] + "?fields=hash,type"
	_, err := c.MergeRequests(t.Context(), p.Refs(t))
	must(err)
	check(open)
	_, err = c.MergeRequests(t.Context(), nil)
	must(err)
	check(open, commit)
	mr, err := c.MergeRequest(t.Context(), id)
	must(err)
	check(get) // the commit is known by now
	_, err = c.Comments(t.Context(), mr, now)
	must(err)
	check("GET /user", said)
	must(c.UpsertNote(t.Context(), mr, mark, mark))
	check(said, "POST REPO/pullrequests/1/comments", said)
	must(c.UpsertNote(t.Context(), mr, mark, mark+" again"))
	check(said, fmt.Sprintf("PUT REPO/pullrequests/1/comments/%d", f.last))
	must(c.SetStatus(t.Context(), head, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}))
	check("POST REPO/commit/" + head + "/statuses/build")
	_, err = c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "change/x", Target: "main", Title: "other"})
	must(err)
	check(open, "GET REPO/pullrequests/1", "PUT REPO/pullrequests/1")
	p.Branch(t, "promote", "main")
	_, err = c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "promote", Target: "main", Title: "other", Draft: true})
	must(err)
	check(open, "POST REPO/pullrequests", "GET REPO/commit/"+f.branches["promote"][:12]+"?fields=hash,type")
	if !f.pulls[1].draft {
		t.Error("the draft is none")
	}
}

const mark = "[plumbline:infra!1]: https://plumbline.example.com"

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
		if err := c.SetStatus(t.Context(), whole, plumbline.CommitStatus{Context: "a", State: plumbline.ToldSuccess}); err == nil {
			t.Errorf("%d: a status was set", code)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// TestMoved follows a redirect within the host, as after a workspace was renamed; a POST stays a POST.
func TestMoved(t *testing.T) {
	var posted atomic.Int64
	h := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+token {
				t.Errorf("authorization %q", got)
			}
			if got := r.Header.Get("User-Agent"); got != "plumbline" {
				t.Errorf("user agent %q", got)
			}
			if path, ok := strings.CutPrefix(r.URL.Path, "/2.0/repositories/acme/"); ok {
				http.Redirect(w, r, "/2.0/repositories/acme-corp/"+path, code)
				return
			}
			if r.Method == "POST" {
				posted.Add(1)
				w.WriteHeader(http.StatusCreated)
			}
		}
	}
	s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
	if err := serve(t, h(307)).SetStatus(t.Context(), whole, s); err != nil || posted.Load() != 1 {
		t.Errorf("307: %v, %d posts", err, posted.Load())
	}
	if err := serve(t, h(301)).SetStatus(t.Context(), whole, s); err == nil || posted.Load() != 1 {
		t.Errorf("301 turns a POST into a GET, which was taken for a success: %v", err)
	}
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	})
	if err := list(t, loop); err == nil {
		t.Error("a loop has an end")
	}
}

// TestPages: of the next page's address its page is taken, its host is not; a listing without an end is none.
func TestPages(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		asked = append(asked, page)
		if page == "1" {
			fmt.Fprintf(w, `{"values":[%s,%s],"next":"%s/2.0/else?page=x%%26y&state=MERGED"}`, one(1, ""), one(2, ""), other.URL)
			return
		}
		fmt.Fprintf(w, `{"values":[%s,%s,%s]}`, one(2, ""), one(3, ""), strings.Replace(one(4, ""), "OPEN", "MERGED", 1))
	})
	mrs, err := c.MergeRequests(t.Context(), map[string]string{"refs/heads/b": whole})
	if err != nil || len(mrs) != 3 || mrs[2].ID != "3" {
		t.Errorf("%+v, %v", mrs, err)
	}
	if strings.Join(asked, ",") != "1,x&y" || elsewhere.Load() != 0 {
		t.Errorf("pages %q; the other host was asked %d times", asked, elsewhere.Load())
	}
	var n atomic.Int64
	for name, next := range map[string]func() string{
		"endless":     func() string { return fmt.Sprintf("https://x/?page=%d", n.Add(1)+1) },
		"back":        func() string { return "https://x/?page=1" },
		"in circles":  func() string { return fmt.Sprintf("https://x/?page=%d", n.Add(1)%3+1) },
		"no page":     func() string { return "https://x/" },
		"no address":  func() string { return "%zz://" },
		"empty pages": func() string { return fmt.Sprintf("/?page=%d", n.Add(1)+1) },
	} {
		n.Store(0)
		var asked atomic.Int64
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			fmt.Fprintf(w, `{"values":[],"next":%q}`, next())
		})
		if err := list(t, c); err == nil || asked.Load() > 100 {
			t.Errorf("%s: %v after %d pages", name, err, asked.Load())
		}
		for what, err := range everything(t, c) {
			if err == nil && what != "get" {
				t.Errorf("%s: %s", name, what)
			}
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
	}{
		{status: 401, body: `{"type":"error","error":{"message":"Token ` + token + ` is invalid"}}`, kind: plumbline.ErrDenied},
		{status: 403, body: `{"type":"error","error":{"message":"scope\n` + strings.Repeat("x", 5000) + `"}}`, kind: plumbline.ErrDenied},
		{status: 404, body: `<html>not here</html>`, kind: plumbline.ErrNotFound},
		{status: 400, body: `{"type":"error","error":{"fields":{"key":["no"]},"message":"no"}}`, kind: plumbline.ErrInvalid},
		{status: 409, body: `{"error":7}`, kind: plumbline.ErrConflict},
		{status: 500, body: strings.Repeat("oops ", 1<<20)},
		{status: 502, body: "bad gateway"},
		{status: 503, header: map[string]string{"Retry-After": "120"}, until: now.Add(2 * time.Minute)},
		{status: 429, header: map[string]string{"Retry-After": "7"}, until: now.Add(7 * time.Second)},
		{status: 429, header: map[string]string{
			"X-RateLimit-Limit": "1000", "X-RateLimit-Resource": "api-repositories", "X-RateLimit-NearLimit": "true",
		}, until: now.Add(time.Minute)},
		{status: 429, body: `{"type":"error","error":{"message":"Rate limit for this resource has been exceeded"}}`, until: now.Add(time.Minute)},
	} {
		t.Run(fmt.Sprint(c.status, c.header), func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				for k, v := range c.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body) // the client may have gone
			})
			for what, err := range everything(t, client) {
				var retry *plumbline.Retry
				switch {
				case err == nil:
					t.Errorf("%s: no error", what)
				case len(err.Error()) > 500 || strings.Contains(err.Error(), token):
					t.Errorf("%s: %.600s", what, err)
				case c.kind != nil && !errors.Is(err, c.kind):
					t.Errorf("%s: %v is no %v", what, err, c.kind)
				}
				if errors.As(err, &retry) != !c.until.IsZero() || retry != nil && !retry.At.Equal(c.until) {
					t.Errorf("%s: retry: %v, want %s", what, err, c.until)
				}
			}
		})
	}
}

// TestHugeAnswer: an answer of 100 MB is given up long before its end.
func TestHugeAnswer(t *testing.T) {
	var sent atomic.Int64
	gone := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(gone)
		chunk := []byte(strings.Repeat("x", 1<<20))
		copy(chunk, `{"values":[{"title":"`)
		for range 100 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
			copy(chunk, "xxxxxxxxxxxxxxxxxxxxx")
		}
	})
	if err := list(t, c); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("%v", err)
	}
	<-gone
	if n := sent.Load(); n >= 100<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestGarbage(t *testing.T) {
	for _, answer := range []string{
		"", "nonsense", "null", "{}", "{", "[", "[]", "[1]", "7", `""`, `{"type":"error"}`, "<html>sign in</html>",
		`{"values":null}`, `{"values":{}}`, `{"values":[null]}`, `{"values":[1]}`, `{"values":[{}]}`, `{"values":[],"next":7}`, `{"values":[{"id":1,`,
		`{"values":[` + one(-1, "") + `]}`, `{"values":[` + one(1, `,"source":null`) + `]}`, `{"values":[` + one(1, `,"destination":{"branch":null}`) + `]}`,
		`{"values":[` + one(1, `,"id":"1"`) + `]}`, `{"values":[` + one(1, `,"id":1e40`) + `]}`, `{"values":[` + one(1, `,"draft":"yes"`) + `]}`,
		`{"values":[` + one(1, `,"source":{"branch":{"name":"b"},"commit":{"hash":"../../user"},"repository":{"uuid":"{r}"}}`) + `]}`,
		`{"values":[` + one(1, `,"updated_on":"yesterday"`) + `]}`,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
		for what, err := range everything(t, c) {
			if err == nil {
				t.Errorf("%s by an answer of %s", what, answer)
			}
		}
	}
	for _, answer := range []string{"{}", `{"hash":"` + strings.Repeat("b", 40) + `"}`, `{"hash":"a1a1a1a1a1a1"}`, `{"hash":7}`} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/commit/") {
				_, _ = io.WriteString(w, answer)
				return
			}
			fmt.Fprintf(w, `{"values":[%s]}`, one(1, ""))
		})
		if err := list(t, c); err == nil {
			t.Errorf("%s was taken for another commit", answer)
		}
	}
}

// TestTruncated: a connection that breaks in the middle is an error, not an end.
func TestTruncated(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"values":[`)
		panic(http.ErrAbortHandler)
	})
	for what, err := range everything(t, c) {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestDrip: a server that never ends its answer is left at the time limit, and at once when nobody waits any more.
func TestDrip(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{")
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

// TestHead: what can be fetched is what counts.
func TestHead(t *testing.T) {
	f := newFake(t)
	p := people{f, bot}
	c := f.client(t, token, "")
	id := p.OpenMR(t, "x", "main", "change")
	api := p.Head(t, id)
	pushed := strings.Repeat("c2", 20)
	mrs, err := c.MergeRequests(t.Context(), map[string]string{"refs/heads/change/x": pushed})
	if err != nil || len(mrs) != 1 || mrs[0].Head != pushed || mrs[0].HeadRef != "refs/heads/change/x" {
		t.Errorf("with refs: %+v, %v", mrs, err)
	}
	if mrs, err = c.MergeRequests(t.Context(), map[string]string{"refs/heads/main": pushed}); err != nil || len(mrs) != 0 {
		t.Errorf("with its branch gone: %+v, %v", mrs, err)
	}
	for range 2 {
		if mrs, err = c.MergeRequests(t.Context(), nil); err != nil || len(mrs) != 1 || mrs[0].Head != api {
			t.Errorf("without refs: %+v, %v", mrs, err)
		}
	}
	asked := 0
	for _, r := range f.asked {
		if strings.Contains(r, "/commit/") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the commit was asked for %d times", asked)
	}
	// Nobody has the commit any more.
	f.pulls[0].head = strings.Repeat("d3", 20)
	if mrs, err = c.MergeRequests(t.Context(), nil); err != nil || len(mrs) != 0 {
		t.Errorf("without its commit: %+v, %v", mrs, err)
	}
	if mr, err := c.MergeRequest(t.Context(), id); err != nil || mr.Head != "d3d3d3d3d3d3" {
		t.Errorf("alone, without its commit: %+v, %v", mr, err)
	}
	f.pulls[0].head, f.pulls[0].state, f.pulls[0].merge = "", "MERGED", strings.Repeat("e4", 20)
	if mr, err := c.MergeRequest(t.Context(), id); err != nil || mr.Head != "" || mr.MergeCommit != "" || mr.State != plumbline.MRMerged {
		t.Errorf("merged as a commit that is gone: %+v, %v", mr, err)
	}
}

// TestFork: a pull request from a fork has a head that nothing here can fetch, least of all this repository's branch of that name.
func TestFork(t *testing.T) {
	f := newFake(t)
	p := people{f, bot}
	c := f.client(t, token, "")
	id := p.OpenMR(t, "x", "main", "change")
	pr := f.pulls[0]
	pr.source, pr.fork, pr.head = "main", "{f0400000-0000-4000-8000-000000000000}", strings.Repeat("f0", 20)
	for _, refs := range []map[string]string{nil, p.Refs(t)} {
		mrs, err := c.MergeRequests(t.Context(), refs)
		if err != nil || len(mrs) != 1 || !mrs[0].Fork || mrs[0].HeadRef != "" || mrs[0].Head != pr.head || mrs[0].Source != "main" {
			t.Errorf("%+v, %v", mrs, err)
		}
	}
	pr.head = strings.Repeat("e4", 20)
	short := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/commits") {
			pr.head = strings.Repeat("f5", 20) // pushed in between
		}
		f.ServeHTTP(w, r)
	})
	if mrs, err := short.MergeRequests(t.Context(), nil); err != nil || len(mrs) != 1 || mrs[0].Head != "e4e4e4e4e4e4" {
		t.Errorf("%+v, %v", mrs, err)
	}
	pr.head = "" // the fork is gone
	if mrs, err := c.MergeRequests(t.Context(), nil); err != nil || len(mrs) != 1 || !mrs[0].Fork || mrs[0].Head != "" {
		t.Errorf("%+v, %v", mrs, err)
	}
	if mr, err := c.MergeRequest(t.Context(), id); err != nil || !mr.Fork {
		t.Errorf("%+v, %v", mr, err)
	}
	err := c.SetStatus(t.Context(), strings.Repeat("f0", 20), plumbline.CommitStatus{Context: "a", State: plumbline.ToldSuccess})
	if !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("a status of a fork's commit: %v", err)
	}
	for name, rest := range map[string]string{
		"no repository":      `,"source":{"branch":{"name":"b"},"commit":{"hash":"a1a1a1a1a1a1"},"repository":null}`,
		"no uuid":            `,"source":{"branch":{"name":"b"},"repository":{"uuid":""}},"destination":{"branch":{"name":"main"},"repository":{"uuid":""}}`,
		"nothing but null":   `,"source":{"branch":null,"commit":null,"repository":null}`,
		"target is not told": `,"destination":{"branch":{"name":"main"},"repository":null}`,
	} {
		if mr, err := bitbucket.Translate([]byte(one(1, rest))); err != nil || !mr.Fork || mr.HeadRef != "" {
			t.Errorf("%s: %+v, %v", name, mr, err)
		}
	}
}

func TestTranslate(t *testing.T) {
	mr, err := bitbucket.Translate([]byte(one(7, `,"draft":true,"title":"T","comment_count":3,"updated_on":"2026-11-20T12:00:00.250000+00:00",
		"author":{"type":"user","uuid":"{u}","account_id":"557058:x","nickname":"admin"},
		"links":{"html":{"href":"https://bitbucket.org/acme/infra/pull-requests/7"}},
		"participants":[{"approved":true,"user":{"type":"user","account_id":"b"}},{"approved":false,"user":{"type":"user","account_id":"c"}},
			{"approved":true,"user":{"type":"user","uuid":"{a}"}},{"approved":true,"user":{"type":"user","account_id":"b"}},
			{"approved":true,"user":{"type":"app_user","account_id":"ci"}},{"approved":true,"user":{"type":"user"}},{"approved":true,"user":null},null]`)))
	want := plumbline.MergeRequest{
		ID: "7", Title: "T", Author: "557058:x", URL: "https://bitbucket.org/acme/infra/pull-requests/7",
		Source: "b", HeadRef: "refs/heads/b", Head: "a1a1a1a1a1a1", Target: "main", Draft: true, State: plumbline.MROpen,
		UpdatedAt: now.Add(250 * time.Millisecond), Activity: "2026-11-20T12:00:00.25Z 3", ApprovedBy: []string{"b", "{a}"},
	}
	mr.UpdatedAt = mr.UpdatedAt.UTC()
	if err != nil || fmt.Sprintf("%+v", mr) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v, %v\nwant %+v", mr, err, want)
	}
	for state, want := range map[string]plumbline.MRState{
		"OPEN": plumbline.MROpen, "MERGED": plumbline.MRMerged, "DECLINED": plumbline.MRClosed, "SUPERSEDED": plumbline.MRClosed,
		"": "", "open": "", "QUEUED": "",
	} {
		mr, err := bitbucket.Translate([]byte(one(1, `,"state":"`+state+`","merge_commit":{"hash":"bbbbbbbbbbbb"},"author":null,
			"links":{"html":{"href":"javascript:alert(1)//://"}}`)))
		if (err == nil) != (want != "") || mr.State != want || (mr.MergeCommit != "") != (want == plumbline.MRMerged) || mr.Author != "" || mr.URL != "" {
			t.Errorf("%q: %+v, %v", state, mr, err)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	for _, rest := range []string{
		"", `,"source":null`, `,"state":"MERGED","merge_commit":{"hash":"bbbbbbbbbbbb"}`, `,"participants":[null,{"approved":true}]`, `,"updated_on":null`,
	} {
		f.Add([]byte(one(1, rest)))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		mr, err := bitbucket.Translate(answer)
		if err != nil {
			return
		}
		for _, commit := range []string{mr.Head, mr.MergeCommit} {
			if strings.Trim(commit, "0123456789abcdef") != "" || len(commit) > 64 {
				t.Errorf("commit %q", commit)
			}
		}
		if mr.ID == "" || mr.Target == "" || mr.State == "" || mr.Fork != (mr.HeadRef == "") || strings.Contains(mr.URL, "script:") && !strings.HasPrefix(mr.URL, "http") {
			t.Errorf("%+v", mr)
		}
	})
}

func TestStatus(t *testing.T) {
	f := newFake(t)
	c := f.client(t, token, "")
	commit := f.branches["main"]
	page := f.url + "/acme/infra/commits/" + commit
	long := "plumbline/" + strings.Repeat("日", 300)
	for _, x := range []struct {
		in   plumbline.CommitStatus
		want status
	}{
		{plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldPending, URL: "https://plumbline.example.com/runs/7?a=b"},
			status{key: "plumbline", name: "plumbline", state: "INPROGRESS", url: "https://plumbline.example.com/runs/7?a=b"}},
		{plumbline.CommitStatus{Context: "plumbline/production/live/network-eu-cen", State: plumbline.ToldError, Description: "a\nb"},
			status{key: "plumbline/production/live/network-eu-cen", name: "plumbline/production/live/network-eu-cen", state: "FAILED", url: page,
				text: "a b"}},
		{plumbline.CommitStatus{Context: "plumbline/production/live/network-eu-cent", State: plumbline.ToldFailure, URL: "http://plumbline:8080/runs/7"},
			status{key: "531511bc05ff06fe755e0756ecd5182e7fd5923c", name: "plumbline/production/live/network-eu-cent", state: "FAILED", url: page}},
		{plumbline.CommitStatus{Context: "a", State: plumbline.ToldSuccess, URL: "https://example.com/{repository.full_name}"},
			status{key: "a", name: "a", state: "SUCCESSFUL", url: "https://example.com/%7Brepository.full_name%7D"}},
		{plumbline.CommitStatus{Context: "b", State: plumbline.ToldSuccess, URL: "javascript:alert(1)"}, status{key: "b", name: "b", state: "SUCCESSFUL", url: page}},
	} {
		if err := c.SetStatus(t.Context(), commit, x.in); err != nil {
			t.Errorf("%+v: %v", x.in, err)
			continue
		}
		got := *f.statuses[commit][len(f.statuses[commit])-1]
		got.by = user{}
		if got != x.want {
			t.Errorf("%+v\nwant %+v", got, x.want)
		}
	}
	if err := c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: long, State: plumbline.ToldSuccess}); err != nil {
		t.Error(err)
	}
	if err := c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "a", State: "odd"}); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("a state that is none: %v", err)
	}
	// A token that was replaced.
	f.users["Bearer new"] = otherBot
	err := f.client(t, "new", "").SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "a", State: plumbline.ToldPending})
	if !errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("another's status: %v", err)
	}
	// An answer that was lost: it is said again, and is there once.
	n := len(f.statuses[commit])
	s := plumbline.CommitStatus{Context: "lost", State: plumbline.ToldSuccess}
	f.lose = "POST"
	if err := c.SetStatus(t.Context(), commit, s); err == nil {
		t.Error("the answer was lost")
	}
	if err := c.SetStatus(t.Context(), commit, s); err != nil || len(f.statuses[commit]) != n+1 {
		t.Errorf("%d statuses, %v", len(f.statuses[commit])-n, err)
	}
}

func TestProposal(t *testing.T) {
	f := newFake(t)
	p := people{f, bot}
	c := f.client(t, token, "")
	p.Branch(t, "promote", "main")
	want := forge.Proposal{Source: "promote", Target: "main", Title: "Promote\n" + strings.Repeat("x", 300), Body: "b"}
	f.lose = "POST"
	if _, err := c.OpenMergeRequest(t.Context(), want); err == nil {
		t.Error("the answer was lost")
	}
	mr, err := c.OpenMergeRequest(t.Context(), want)
	if err != nil || len(f.pulls) != 1 || mr.ID != "1" || mr.Head != f.branches["promote"] || !strings.HasPrefix(mr.Title, "Promote x") {
		t.Errorf("%d pull requests, %+v, %v", len(f.pulls), mr, err)
	}
	if n := len(f.asked); strings.HasPrefix(f.asked[n-1], "PUT") {
		t.Error("what says the same already was changed")
	}
	want.Body = "c"
	if _, err := c.OpenMergeRequest(t.Context(), want); err != nil || f.pulls[0].text != "c" || len(f.pulls[0].reviewers) != 1 {
		t.Errorf("text %q, reviewers %v, %v", f.pulls[0].text, f.pulls[0].reviewers, err)
	}
	// Somebody's fork has a branch of that name.
	f.pulls[0].fork = "{f0400000-0000-4000-8000-000000000000}"
	if mr, err := c.OpenMergeRequest(t.Context(), want); err != nil || mr.ID != "2" {
		t.Errorf("%+v, %v", mr, err)
	}
}
