package forge_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v89/github"

	"github.com/plumbline/plumbline/internal/forge"
)

// library is how a client library asks: with headers of its own.
func library(t *testing.T, a *forge.API, path string, headers ...string) (answer, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://forge.example.com"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := a.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Status, resp.ContentLength, resp.Header}, string(b)
}

// answer is one whose body was read.
type answer struct {
	StatusCode    int
	Status        string
	ContentLength int64
	Header        http.Header
}

// TestRemembered: an answer that is as before is sent once.
func TestRemembered(t *testing.T) {
	version, sent, same := 1, 0, 0
	b := &forge.Budget{}
	a := api(t, b, nil, func(r *http.Request) *http.Response {
		etag := fmt.Sprintf(`W/"%d"`, version)
		if r.Header.Get("If-None-Match") == etag {
			same++
			return says(304, "", "ETag", etag, "X-RateLimit-Remaining", "17", "X-New", "1")
		}
		sent++
		return says(200, fmt.Sprintf(`[{"version":%d}]`, version), "ETag", etag, "Link", `</x?page=2>; rel="next"`, "X-RateLimit-Remaining", "18", "Content-Type", "application/json")
	})
	for round := range 6 {
		version = 1 + round/3
		var got []struct{ Version int }
		h, err := a.Call(t.Context(), "GET", "/x?page=1", nil, &got)
		if err != nil || len(got) != 1 || got[0].Version != version || forge.NextPage(h) != 2 || h.Get("Content-Type") != "application/json" {
			t.Errorf("round %d: %+v, %v, %v", round, got, h, err)
		}
		if first := round%3 == 0; h.Get("X-New") == "" != first {
			t.Errorf("round %d: headers %v", round, h)
		}
	}
	resp, body := library(t, a, "/x?page=1", "Accept", "application/json")
	if resp.StatusCode != 200 || resp.Status != "200 OK" || body != `[{"version":2}]` || resp.ContentLength != int64(len(body)) {
		t.Errorf("%+v, %s", resp, body)
	}
	if s := b.State(); sent != 2 || same != 5 || s.Saved != 5 || s.Asked != 7 || s.Left != 17 {
		t.Errorf("%d sent, %d as before, %+v", sent, same, s)
	}
}

// TestNotRemembered lists what must be asked for again.
func TestNotRemembered(t *testing.T) {
	const body = `{"a":1}`
	old := func(d time.Duration) string { return noon.Add(-d).Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		answer   func() *http.Response
		second   []string // headers of the second request
		expected bool     // that the second is conditional
	}{
		"with a version":    {answer: func() *http.Response { return says(200, body, "ETag", `"1"`) }, expected: true},
		"without":           {answer: func() *http.Response { return says(200, body) }},
		"no-store":          {answer: func() *http.Response { return says(200, body, "ETag", `"1"`, "Cache-Control", "private, No-Store") }},
		"private":           {answer: func() *http.Response { return says(200, body, "ETag", `"1"`, "Cache-Control", "private, max-age=60") }, expected: true},
		"varies with all":   {answer: func() *http.Response { return says(200, body, "ETag", `"1"`, "Vary", "*") }},
		"other credentials": {answer: func() *http.Response { return says(200, body, "ETag", `"1"`) }, second: []string{"Authorization", "token other"}},
		"other format":      {answer: func() *http.Response { return says(200, body, "ETag", `"1"`) }, second: []string{"Accept", "text/plain"}},
		"asked not to":      {answer: func() *http.Response { return says(200, body, "ETag", `"1"`) }, second: []string{"Cache-Control", "no-store"}},
		"a part":            {answer: func() *http.Response { return says(200, body, "ETag", `"1"`) }, second: []string{"Range", "bytes=0-1"}},
		"created":           {answer: func() *http.Response { return says(201, body, "ETag", `"1"`) }},
		"a page":            {answer: func() *http.Response { return says(200, "<html>", "ETag", `"1"`) }},
		"half, framed well": {answer: func() *http.Response { return says(200, `{"a":`, "ETag", `"1"`) }},
		"two values":        {answer: func() *http.Response { return says(200, `{} {}`, "ETag", `"1"`) }},
		"nothing":           {answer: func() *http.Response { return says(200, "", "ETag", `"1"`) }},
		"long":              {answer: func() *http.Response { return says(200, `"`+strings.Repeat("x", 5<<20)+`"`, "ETag", `"1"`) }},
		"long, unannounced": {answer: func() *http.Response {
			resp := says(200, `"`+strings.Repeat("x", 5<<20)+`"`, "ETag", `"1"`)
			resp.ContentLength = -1
			return resp
		}},
		"shorter than said": {answer: func() *http.Response {
			resp := says(200, body, "ETag", `"1"`)
			resp.ContentLength = 100
			return resp
		}},
		"long unchanged": {answer: func() *http.Response { return says(200, body, "Last-Modified", old(time.Hour), "Date", old(0)) }, expected: true},
		"just changed":   {answer: func() *http.Response { return says(200, body, "Last-Modified", old(time.Second), "Date", old(0)) }},
		"unknown when":   {answer: func() *http.Response { return says(200, body, "Last-Modified", old(time.Hour)) }},
	} {
		t.Run(name, func(t *testing.T) {
			var conditional bool
			a := api(t, nil, nil, func(r *http.Request) *http.Response {
				conditional = r.Header.Get("If-None-Match") == `"1"` || r.Header.Get("If-Modified-Since") == old(time.Hour)
				return c.answer()
			})
			library(t, a, "/x")
			library(t, a, "/x", c.second...)
			if conditional != c.expected {
				t.Errorf("conditional: %t", conditional)
			}
			if library(t, a, "/y"); conditional {
				t.Error("another address")
			}
			if err := call(t.Context(), a, "PUT", "/x"); conditional {
				t.Errorf("a PUT: %v", err)
			}
		})
	}
}

// TestUnread: what was not read to its end is not known to be whole, unless the end comes at once.
func TestUnread(t *testing.T) {
	for name, c := range map[string]struct {
		body     func(io.ReadCloser) io.ReadCloser
		read     int
		expected bool
	}{
		"all but the end":   {func(b io.ReadCloser) io.ReadCloser { return b }, len(`{"a":1}`), true},
		"the beginning":     {func(b io.ReadCloser) io.ReadCloser { return b }, 0, false},
		"it breaks":         {func(b io.ReadCloser) io.ReadCloser { return io.NopCloser(io.MultiReader(b, broken{})) }, 3, false},
		"there is too much": {func(b io.ReadCloser) io.ReadCloser { return io.NopCloser(strings.NewReader(strings.Repeat(" ", 2000))) }, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			var conditional bool
			a := api(t, nil, nil, func(r *http.Request) *http.Response {
				conditional = r.Header.Get("If-None-Match") != ""
				resp := says(200, `{"a":1}`, "ETag", `"1"`)
				resp.Body, resp.ContentLength = c.body(resp.Body), -1
				return resp
			})
			for range 2 {
				resp, err := a.HTTP().Get("https://forge.example.com/x")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.ReadFull(resp.Body, make([]byte, c.read)) // may break
				_ = resp.Body.Close()
			}
			if conditional != c.expected {
				t.Errorf("conditional: %t", conditional)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("reset") }

// TestUnexpected304: nobody asked whether it changed.
func TestUnexpected304(t *testing.T) {
	a := api(t, nil, nil, func(*http.Request) *http.Response { return says(304, "", "ETag", `"1"`) })
	var out any
	if _, err := a.Call(t.Context(), "GET", "/x", nil, &out); err == nil {
		t.Error("nothing was taken for an answer")
	}
}

// TestRememberedBounds: many and long answers do not fill the memory, and the newest stay.
func TestRememberedBounds(t *testing.T) {
	var conditional atomic.Bool
	noise := func(path string) string { // hardly to be compressed
		b := make([]byte, 128<<10)
		_, _ = rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%32s", path)))).Read(b) // never fails
		return hex.EncodeToString(b)
	}
	a := api(t, nil, nil, func(r *http.Request) *http.Response {
		conditional.Store(r.Header.Get("If-None-Match") != "")
		if strings.HasPrefix(r.URL.Path, "/long/") {
			return says(200, `"`+noise(r.URL.Path)+`"`, "ETag", `"1"`)
		}
		return says(200, "{}", "ETag", `"1"`)
	})
	asks := func(path string) bool { library(t, a, path); return conditional.Load() }
	for i := range 300 {
		asks(fmt.Sprintf("/%d", i))
	}
	if !asks("/299") || !asks("/100") || asks("/0") {
		t.Error("of 300 small answers, not the newest are known")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 40 {
		asks(fmt.Sprintf("/long/%d", i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if !asks("/long/39") || asks("/long/2") {
		t.Error("of 40 long answers, not the newest are known")
	}
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 16<<20 {
		t.Errorf("%d MiB are held", held>>20)
	}
}

// TestRememberedByLibrary: go-github never hears of a 304; the server is net/http's, with compression and an ETag of the
// content.
func TestRememberedByLibrary(t *testing.T) {
	var title atomic.Value
	title.Store("one")
	var same, sent atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", fmt.Sprintf(`"%s"`, title.Load()))
		if r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
			same.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		sent.Add(1)
		_ = json.NewEncoder(w).Encode([]map[string]any{{"number": 1, "title": title.Load(), "body": strings.Repeat("x", 100<<10)}})
	}))
	defer srv.Close()
	b := &forge.Budget{}
	a, err := forge.NewAPI(forge.APIConfig{URL: srv.URL, Dial: forge.Dial{Budget: b}})
	if err != nil {
		t.Fatal(err)
	}
	gh, err := github.NewClient(github.WithHTTPClient(a.HTTP()), github.WithEnterpriseURLs(srv.URL, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	list := func(ctx context.Context) string {
		prs, _, err := gh.PullRequests.List(ctx, "a", "b", nil)
		if err != nil || len(prs) != 1 {
			t.Errorf("%v, %v", prs, err)
			return ""
		}
		return prs[0].GetTitle()
	}
	var got []string
	for _, now := range []string{"one", "one", "two", "two"} {
		title.Store(now)
		got = append(got, list(t.Context()))
	}
	if !slices.Equal(got, []string{"one", "one", "two", "two"}) || same.Load() != 2 || sent.Load() != 2 || b.State().Saved != 2 {
		t.Errorf("%q; %d sent, %d as before, %+v", got, sent.Load(), same.Load(), b.State())
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { list(t.Context()) })
	}
	wg.Wait()
}
