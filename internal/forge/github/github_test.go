package github_test

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
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

var commit = strings.Repeat("c", 40)

// serve returns a client of a server that answers as told.
func serve(t *testing.T, h http.HandlerFunc) *github.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return clientOf(t, srv.URL, time.Minute)
}

func clientOf(t *testing.T, url string, timeout time.Duration) *github.Client {
	t.Helper()
	c, err := github.New(github.Config{
		API: url, Project: "acme/infra", Token: plumbline.NewSecret(token),
		Dial: forge.Dial{Timeout: timeout, Now: func() time.Time { return now }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t *testing.T, c *github.Client) error {
	t.Helper()
	_, err := c.MergeRequests(t.Context(), nil)
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the token is in the error: %v", err)
	}
	return err
}

func TestNew(t *testing.T) {
	secret := plumbline.NewSecret(token)
	app := &github.App{ID: 1, Key: plumbline.NewSecret(pemOf(key()))}
	for _, c := range []github.Config{
		{Project: "infra", Token: secret},
		{Project: "a/b/c", Token: secret},
		{Project: "/b", Token: secret},
		{Project: "a/..", Token: secret},
		{Project: "a/b?x=", Token: secret},
		{Project: "a/b"},
		{Project: "a/b", Token: secret, App: app},
		{URL: "github.com", Project: "a/b", Token: secret},
		{URL: "ftp://github.com", Project: "a/b", Token: secret},
		{URL: "https://github.com/acme", Project: "a/b", Token: secret},
		{URL: "https://me:" + token + "@github.com", Project: "a/b", Token: secret},
		{URL: "https://github.com/?token=" + token, Project: "a/b", Token: secret},
		{URL: "https://%zz" + token, Project: "a/b", Token: secret},
		{API: "https://%zz" + token, Project: "a/b", Token: secret},
		{Project: "a/b", App: &github.App{Key: app.Key}},
		{Project: "a/b", App: &github.App{ID: 1}},
		{Project: "a/b", App: &github.App{ID: 1, Key: secret}},
	} {
		if _, err := github.New(c); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), token) {
			t.Errorf("%q, %q: %v", c.URL, c.Project, err)
		}
	}
	for url, want := range map[string][2]string{
		"":                                    {"https://github.com", "https://api.github.com"},
		"https://github.com/":                 {"https://github.com", "https://api.github.com"},
		"https://api.github.com":              {"https://github.com", "https://api.github.com"},
		"https://acme.ghe.com":                {"https://acme.ghe.com", "https://api.acme.ghe.com"},
		"https://api.acme.ghe.com":            {"https://acme.ghe.com", "https://api.acme.ghe.com"},
		"https://git.example.com:8443":        {"https://git.example.com:8443", "https://git.example.com:8443/api/v3"},
		"https://git.example.com/api/v3/":     {"https://git.example.com", "https://git.example.com/api/v3"},
		"https://github.com.evil.example":     {"https://github.com.evil.example", "https://github.com.evil.example/api/v3"},
		"https://api.github.com.evil.example": {"https://api.github.com.evil.example", "https://api.github.com.evil.example/api/v3"},
	} {
		c, err := github.New(github.Config{URL: url, Project: "acme/infra", Token: secret})
		if err != nil {
			t.Fatal(err)
		}
		if remote, user := c.Remote(); remote != want[0]+"/acme/infra.git" || user != "x-access-token" || github.APIOf(c) != want[1] {
			t.Errorf("%s: remote %s, API %s", url, remote, github.APIOf(c))
		}
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
		if err := c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "a"}); err == nil {
			t.Errorf("%d: a status was set", code)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// TestRenamed follows a redirect within the host, as GitHub sends after a repository was renamed: 301 to a GET, 307 to the others
// (https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects).
func TestRenamed(t *testing.T) {
	var posted atomic.Int64
	h := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Bearer "+token {
				t.Errorf("authorization %q", got)
			}
			if got := r.Header.Get("User-Agent"); got != "plumbline" {
				t.Errorf("user agent %q", got)
			}
			if path, ok := strings.CutPrefix(r.URL.Path, "/repos/acme/infra/"); ok {
				status := http.StatusMovedPermanently
				if r.Method != "GET" {
					status = code
				}
				http.Redirect(w, r, "/repositories/1296269/"+path, status)
				return
			}
			if r.Method == "POST" {
				posted.Add(1)
				w.WriteHeader(http.StatusCreated)
			}
			_, _ = io.WriteString(w, `{"statuses":[]}`) // the client sees what is missing
		}
	}
	s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
	if err := serve(t, h(307)).SetStatus(t.Context(), commit, s); err != nil || posted.Load() != 1 {
		t.Errorf("307: %v, %d posts", err, posted.Load())
	}
	if err := serve(t, h(301)).SetStatus(t.Context(), commit, s); err == nil || posted.Load() != 1 {
		t.Errorf("301 turns a POST into a GET, which was taken for a success: %v", err)
	}
	loop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
	})
	if err := list(t, loop); err == nil {
		t.Error("a loop has an end")
	}
}

const onePull = `[{"number":%s,"state":"open","head":{"ref":"b","sha":"%s","repo":{"id":1}},"base":{"ref":"main","repo":{"id":1}}}]`

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
			w.Header().Set("Link", fmt.Sprintf(`<%s/x?page=2>; rel="next",<%s/x?page=9>; rel="last"`, other.URL, other.URL))
		}
		fmt.Fprintf(w, onePull, page, strings.Repeat(page, 40))
	})
	mrs, err := c.MergeRequests(t.Context(), nil)
	if err != nil || len(mrs) != 2 || mrs[1].ID != "2" {
		t.Errorf("%+v, %v", mrs, err)
	}
	if strings.Join(pages, ",") != "1,2" || elsewhere.Load() != 0 {
		t.Errorf("pages %v; the other host was asked %d times", pages, elsewhere.Load())
	}
}

// TestPagesAstray: a list whose end is not seen is no list.
func TestPagesAstray(t *testing.T) {
	for name, link := range map[string]string{
		"endless":     `</?page=%d>; rel="next"`,
		"back":        `</?page=1>; rel="next"`,
		"far":         `</?page=7>; rel="next"`,
		"by a cursor": `</?after=Y3Vyc29y>; rel="next"`,
	} {
		var asked atomic.Int64
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			n := asked.Add(1)
			if strings.Contains(link, "%d") {
				w.Header().Set("Link", fmt.Sprintf(link, n+1))
			} else {
				w.Header().Set("Link", link)
			}
			fmt.Fprintf(w, onePull, "1", commit)
		})
		if mrs, err := c.MergeRequests(t.Context(), nil); err == nil || mrs != nil || asked.Load() > 100 {
			t.Errorf("%s: %d pull requests, %v after %d pages", name, len(mrs), err, asked.Load())
		}
	}
}

func TestRefusals(t *testing.T) {
	secondary := `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
	for _, c := range []struct {
		status int
		header map[string]string
		body   string
		kind   error
		until  time.Time // zero: no Retry
		text   string
	}{
		{status: 401, body: `{"message":"Bad credentials [token ` + token + `]"}`, kind: plumbline.ErrDenied, text: "401 Unauthorized: Bad credentials [token (sensitive)]"},
		{status: 401, header: map[string]string{"X-GitHub-OTP": "required; app"}, body: `{"message":"Must specify two-factor authentication OTP code."}`, kind: plumbline.ErrDenied, text: "second factor"},
		{status: 403, body: `{"message":"Resource not accessible by personal access token\n` + strings.Repeat("x", 5000) + `"}`, kind: plumbline.ErrDenied, text: "not accessible by personal access token xxx"},
		{status: 404, body: `<html>not here</html>`, kind: plumbline.ErrNotFound, text: "404 Not Found"},
		{status: 409, body: `{"message":7}`, kind: plumbline.ErrConflict},
		{status: 410, body: `{"message":"Issues are disabled for this repo"}`, kind: plumbline.ErrNotFound, text: "Issues are disabled"},
		{status: 422, body: `{"message":"Validation Failed","errors":[{"resource":"IssueComment","code":"unprocessable","field":"data","message":"Body is too long (maximum is 65536 characters)"}]}`, kind: plumbline.ErrInvalid, text: "Validation Failed: Body is too long (maximum is 65536 characters)"},
		{status: 422, body: `{"message":"Validation Failed","errors":[{"resource":"PullRequest","code":"invalid","field":"head"},{"code":"missing"},"a word"]}`, kind: plumbline.ErrInvalid, text: "Validation Failed: head: invalid, missing, a word"},
		{status: 422, body: `{"message":"Validation Failed","errors":"a sentence"}`, kind: plumbline.ErrInvalid},
		{status: 304, text: "304 Not Modified"},
		{status: 500, body: strings.Repeat("oops ", 1<<20)},
		{status: 502, body: "bad gateway"},
		{status: 503, body: ""},
		{status: 503, header: map[string]string{"Retry-After": "120"}, until: now.Add(2 * time.Minute)},
		{status: 429, header: map[string]string{"Retry-After": "7"}, until: now.Add(7 * time.Second)},
		{status: 429, header: map[string]string{"Retry-After": "999999999"}, until: now.Add(time.Hour)},
		{status: 429, header: map[string]string{"Retry-After": "soon"}, until: now.Add(time.Minute)},
		{status: 429, until: now.Add(time.Minute)},
		{status: 403, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(now.Unix() + 90)}, body: `{"message":"API rate limit exceeded for user ID 1."}`, until: now.Add(90 * time.Second), text: "API rate limit exceeded"},
		{status: 429, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(now.Unix() + 90)}, until: now.Add(90 * time.Second)},
		{status: 403, header: map[string]string{"X-RateLimit-Remaining": "17", "X-RateLimit-Reset": fmt.Sprint(now.Unix() + 90)}, kind: plumbline.ErrDenied},
		{status: 403, header: map[string]string{"Retry-After": "33"}, body: secondary, until: now.Add(33 * time.Second), text: "secondary rate limit"},
		{status: 403, header: map[string]string{"X-RateLimit-Remaining": "17"}, body: secondary, until: now.Add(time.Minute)},
		{status: 429, body: secondary, until: now.Add(time.Minute)},
		{status: 403, body: `{"message":"You have triggered an abuse detection mechanism. Please wait a few minutes before you try again."}`, until: now.Add(time.Minute), text: "abuse detection"},
		{status: 404, header: map[string]string{"Retry-After": "7"}, kind: plumbline.ErrNotFound},
		{status: 202, body: `{}`, text: "job scheduled"},
	} {
		t.Run(fmt.Sprint(c.status, c.header, c.text), func(t *testing.T) {
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
			case len(err.Error()) > 500 || strings.Contains(err.Error(), "\n"):
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

// TestNotHeldBack: when the time that GitHub named has come it is asked again, whatever the library remembers.
func TestNotHeldBack(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("X-RateLimit-Remaining", "0")
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Unix()))
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, "[]")
	}))
	t.Cleanup(srv.Close)
	clock := time.Now()
	c, err := github.New(github.Config{API: srv.URL, Project: "acme/infra", Token: plumbline.NewSecret(token), Dial: forge.Dial{Now: func() time.Time { return clock }}})
	if err != nil {
		t.Fatal(err)
	}
	var wait *plumbline.Retry
	if err := list(t, c); !errors.As(err, &wait) {
		t.Errorf("%v", err)
	}
	clock = clock.Add(2 * time.Hour)
	if err := list(t, c); err != nil || asked.Load() != 2 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

// TestHugeAnswer: an answer of 100 MB is given up long before its end.
func TestHugeAnswer(t *testing.T) {
	var sent atomic.Int64
	gone := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(gone)
		chunk := []byte(strings.Repeat("x", 1<<20))
		copy(chunk, `[{"title":"`)
		for range 100 {
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
	if n := sent.Load(); n > 60<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

// TestGarbage answers everything with the same nonsense, after which nothing is listed, written or deleted.
func TestGarbage(t *testing.T) {
	long := strings.Repeat("long", 100_000)
	for _, answer := range []string{
		"", " \n", "nonsense", "{", "[", "[1]", `{"message":"a page"}`, "<html>sign in</html>", `[{"number":1,"head":`, "[null]", "[{}]", "null", "{}",
		`[{"number":-1,"head":{"sha":"x"},"base":{"ref":"x"}}]`, `[{"number":1}]`, `[{"number":1,"head":null,"base":{"ref":"main"}}]`,
		`[{"number":1e40,"head":{},"base":{"ref":"x"}}]`, `[{"number":"1"}]`, `[{"number":1,"head":{"sha":""},"base":{"ref":"x"}}]`,
		`[{"number":1,"updated_at":"` + long + `","head":{"sha":"a"},"base":{"ref":"x"}}]`,
	} {
		var wrote atomic.Int64
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/user" && len(answer) > 2 {
				_, _ = io.WriteString(w, `{"id":1,"login":"me"}`)
				return
			}
			if r.Method == "PATCH" || r.Method == "DELETE" {
				wrote.Add(1)
			}
			_, _ = io.WriteString(w, answer)
		})
		mr := plumbline.MergeRequest{ID: "1"}
		_, getErr := c.MergeRequest(t.Context(), "1")
		_, commentsErr := c.Comments(t.Context(), mr, now)
		_, issueErr := c.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "t", Body: "m", Open: true})
		_, proposalErr := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "a", Target: "b", Title: "t"})
		for what, err := range map[string]error{
			"list": list(t, c), "get": getErr, "comments": commentsErr, "issue": issueErr, "proposal": proposalErr,
			"note":       c.UpsertNote(t.Context(), mr, "m", "m"),
			"status":     c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "c", State: plumbline.ToldError}),
			"deployment": c.SetDeployment(t.Context(), forge.Deployment{Commit: commit, Environment: "e", State: forge.DeploymentFailed}),
		} {
			if what == "status" && strings.HasPrefix(answer, `{"message`) {
				continue
			}
			if err == nil || len(err.Error()) > 500 {
				t.Errorf("%s with answers of %.40q: %.600v", what, answer, err)
			}
		}
		if n := wrote.Load(); n != 0 {
			t.Errorf("%.40q: %d things were changed", answer, n)
		}
	}
}

// TestMissingParts is what GitHub leaves out, whether its description says so or not: the repository of a deleted fork, users who are gone,
// what is not known yet.
func TestMissingParts(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/user":
			_, _ = io.WriteString(w, `{"id":1,"login":"me"}`)
		case "/repos/acme/infra/pulls":
			_, _ = io.WriteString(w, `[{"number":2,"state":"open","user":null,"head":{"ref":"b","sha":"x","repo":null,"user":null},"base":{"ref":"main","repo":{"id":1}}}]`)
		case "/repos/acme/infra/pulls/1":
			_, _ = io.WriteString(w, `{"number":1,"state":"open","user":null,"mergeable":null,"labels":null,"head":{"ref":"b","sha":"x","repo":null,"user":null},"base":{"ref":"main","repo":{"id":1}}}`)
		case "/repos/acme/infra/pulls/1/reviews":
			_, _ = io.WriteString(w, `[{"user":null,"state":"APPROVED"},{"user":{"id":5,"login":"a"},"state":"APPROVED"},null]`)
		case "/repos/acme/infra/issues/1/comments":
			_, _ = io.WriteString(w, `[{"id":7,"user":null,"body":null,"created_at":"2030-01-01T00:00:00Z","updated_at":"2030-01-01T00:00:00Z"}]`)
		}
	})
	mr, err := c.MergeRequest(t.Context(), "1")
	if err != nil || !mr.Fork || mr.Author != "ghost" || mr.Conflicts || !slices.Equal(mr.ApprovedBy, []string{"a"}) || mr.MergeRef != "refs/pull/1/merge" {
		t.Errorf("%+v, %v", mr, err)
	}
	if all, err := c.MergeRequests(t.Context(), nil); err != nil || len(all) != 1 || !all[0].Fork || all[0].Author != "ghost" {
		t.Errorf("%+v, %v", all, err)
	}
	got, err := c.Comments(t.Context(), mr, now)
	if err != nil || len(got) != 1 || got[0].Author != "ghost" || got[0].ID != "7" {
		t.Errorf("%+v, %v", got, err)
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

// FuzzMergeRequest: no JSON makes the translation panic, and what it makes can be fetched and found again.
func FuzzMergeRequest(f *testing.F) {
	f.Add([]byte(`{"number":7,"state":"closed","merged":true,"merged_at":"2026-11-20T12:00:00Z","merge_commit_sha":"c","mergeable":false,"draft":true,
		"title":"t","html_url":"https://github.com/a/b/pull/7","user":{"login":"u","id":1},"labels":[{"name":"z"},{"name":"a"}],"updated_at":"2026-11-20T12:00:00Z",
		"head":{"ref":"b","sha":"a","repo":{"id":1},"user":null},"base":{"ref":"main","sha":"b","repo":{"id":2}}}`))
	f.Add([]byte(`{"number":1,"head":{"sha":"a"},"base":{"ref":"b"},"labels":[null,{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		mr, err := github.MergeRequest(b)
		if err != nil {
			return
		}
		switch {
		case mr.ID == "" || mr.Head == "" || mr.Target == "" || mr.Author == "" || mr.HeadRef != "refs/pull/"+mr.ID+"/head":
			t.Errorf("%+v", mr)
		case mr.MergeCommit != "" && mr.State != plumbline.MRMerged, mr.MergeRef != "" && mr.State != plumbline.MROpen:
			t.Errorf("%+v", mr)
		case !slices.IsSorted(mr.Labels):
			t.Errorf("%q", mr.Labels)
		}
	})
}
