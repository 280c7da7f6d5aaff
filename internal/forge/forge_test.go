package forge_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"", 5, ""}, {"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"日本語", 2, "日…"}, {"日本語", 3, "日本語"},
		{"ab cdef", 4, "ab…"}, {"abc", 1, "…"}, {"abc", 0, ""}, {"abc", -1, ""},
	} {
		if got := forge.Shorten(c.in, c.max); got != c.want {
			t.Errorf("Shorten(%q, %d) = %q, not %q", c.in, c.max, got, c.want)
		}
	}
}

func TestOneLine(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a\r\n\tb  c ", "a b c"}, {"\x1b[31mred\x00", "[31mred"}, {"a\xffb", "a\uFFFDb"}, {"\u00a0ü\u2028x", "ü x"},
	} {
		if got := forge.OneLine(c.in); got != c.want {
			t.Errorf("OneLine(%q) = %q, not %q", c.in, got, c.want)
		}
	}
}

func FuzzFit(f *testing.F) {
	f.Add("plumbline/production/live/net", "+2 ~1\nx", 20, 3)
	f.Fuzz(func(t *testing.T, context, description string, a, b int) {
		a, b = 12+a&0xff, 1+b&0xff
		s := forge.Fit(plumbline.CommitStatus{Context: context, Description: description}, a, b)
		if n := utf8.RuneCountInString(s.Context); n > a || !utf8.ValidString(s.Context) {
			t.Errorf("context of %d characters, %d allowed: %q", n, a, s.Context)
		}
		if n := utf8.RuneCountInString(s.Description); n > b || !utf8.ValidString(s.Description) || strings.ContainsAny(s.Description, "\r\n") {
			t.Errorf("description of %d characters, %d allowed: %q", n, b, s.Description)
		}
		if again := forge.Fit(s, a, b); again != s {
			t.Errorf("what fits is changed: %+v, %+v", s, again)
		}
	})
}

// TestLibrary: the client that is handed to a library keeps the same promises.
func TestLibrary(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Private-Token") != "secret" {
			t.Error("no credentials")
		}
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer srv.Close()
	a, err := forge.NewAPI(forge.APIConfig{URL: srv.URL, Authorize: func(r *http.Request) { r.Header.Set("Private-Token", "secret") }})
	if err != nil {
		t.Fatal(err)
	}
	body := strings.NewReader("x")
	resp, err := a.HTTP().Post(other.URL, "text/plain", io.NopCloser(body))
	if err == nil {
		t.Error("a library may ask another host")
		resp.Body.Close()
	}
	resp, err = a.HTTP().Get(srv.URL + "/x?private=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	err = a.Refused(resp, "slow down")
	var retry *plumbline.Retry
	var status *forge.HTTPError
	if !errors.As(err, &retry) || !errors.As(err, &status) || status.Status != 429 || status.Path != "/x" {
		t.Errorf("%#v", err)
	}
}

func TestNextPage(t *testing.T) {
	for link, want := range map[string]int{
		"": 0, "<https://a/?page=3>; rel=\"next\"": 3, "<https://a/?page=9>; rel=\"last\"": 0, "<https://a/?page=x>; rel=\"next\"": 0,
		"<https://a/?page=-1>; rel=\"next\"": 0, "<%zz>; rel=\"next\"": 0, "rel=\"next\"": 0,
		"<https://a/?page=1>; rel=\"prev\", <https://a/?x=1&page=3>; rel=\"next\"": 3,
	} {
		if got := forge.NextPage(http.Header{"Link": {link}}); got != want {
			t.Errorf("next page of %q: %d, not %d", link, got, want)
		}
	}
}

// TestAnswers: what is no answer of an API is no success, whether somebody looks at it or not.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		body, kind  string
		read, write bool // is it a success?
	}{
		{"{}", "application/json", true, true}, {" {}\n", "", true, true}, {"[1]", "text/plain", true, true}, {"null", "", true, false},
		{"", "", false, true}, {"\n", "", false, true},
		{`"yes"`, "application/json", true, false}, {"7", "", true, false},
		{"{", "", false, false}, {"{} x", "", false, false}, {"{}{}", "", false, false}, {"OK", "", false, false},
		{"{}", "text/html; charset=utf-8", false, false}, {"", "text/html", false, false}, {"<html></html>", "text/plain", false, false},
	} {
		a := api(t, nil, nil, func(*http.Request) *http.Response { return says(200, c.body, "Content-Type", c.kind) })
		var out any
		_, err := a.Call(t.Context(), "GET", "/x", nil, &out)
		if (err == nil) != c.read {
			t.Errorf("read %q (%s): %v", c.body, c.kind, err)
		}
		if _, err := a.Call(t.Context(), "POST", "/x", nil, nil); (err == nil) != c.write {
			t.Errorf("write %q (%s): %v", c.body, c.kind, err)
		}
	}
}
