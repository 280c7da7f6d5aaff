package bitbucket_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/bitbucket"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// noted is a pull request with the notes that are there already.
func noted(t *testing.T, notes ...note) (*fake, plumbline.MergeRequest) {
	t.Helper()
	f := newFake(t)
	id := people{f, bot}.OpenMR(t, "x", "main", "change")
	for _, n := range notes {
		f.write(f.pulls[0], n)
	}
	return f, plumbline.MergeRequest{ID: id}
}

// show tells the notes that are left as author:text.
func (f *fake) show() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, n := range f.pulls[0].notes {
		if !n.deleted {
			by := map[user]string{bot: "we", robin: "robin", dev: "dev", otherBot: "bot"}[n.by]
			out = append(out, by+":"+n.raw)
		}
	}
	return strings.Join(out, ", ")
}

// otherBot is another token.
var otherBot = user{"app_user", "{0b000000-0000-4000-8000-000000000009}", "712020:0b", "plumbline"}

// TestWhoseNote: only what the token itself wrote is edited or deleted, whatever is known of it at the time, and the oldest stays.
func TestWhoseNote(t *testing.T) {
	for name, c := range map[string]struct {
		notes []note
		want  string
	}{
		"none":                {nil, "we:m new"},
		"pasted":              {[]note{{by: dev, raw: "m pasted"}}, "dev:m pasted, we:m new"},
		"of a bot":            {[]note{{by: otherBot, raw: "m theirs"}}, "bot:m theirs, we:m new"},
		"ours":                {[]note{{by: dev, raw: "m pasted"}, {by: bot, raw: "m old"}, {by: bot, raw: "other"}}, "dev:m pasted, we:m new, we:other"},
		"ours already, twice": {[]note{{by: bot, raw: "m new"}, {by: bot, raw: "m new"}, {by: dev, raw: "m new"}}, "we:m new, dev:m new"},
		"to a line":           {[]note{{by: bot, raw: "m line", line: 3}, {by: bot, raw: "m answer", parent: 573568563}}, "we:m line, we:m answer, we:m new"},
		"deleted":             {[]note{{by: bot, raw: "m gone", deleted: true}}, "we:m new"},
	} {
		t.Run(name, func(t *testing.T) {
			f, mr := noted(t, c.notes...)
			client := f.client(t, token, "")
			for range 2 {
				if err := client.UpsertNote(t.Context(), mr, "m ", "m new"); err != nil {
					t.Fatal(err)
				}
				if got := f.show(); got != c.want {
					t.Errorf("%s\nwant %s", got, c.want)
				}
			}
			posts := 0
			for _, r := range f.asked {
				if strings.HasPrefix(r, "POST") {
					posts++
				}
			}
			if posts != 1 {
				t.Errorf("%d notes were written", posts)
			}
		})
	}
	t.Run("by somebody's token", func(t *testing.T) {
		f, mr := noted(t, note{by: bot, raw: "m bot"}, note{by: robin, raw: "m old"})
		if err := f.client(t, token, "robin@example.com").UpsertNote(t.Context(), mr, "m ", "m new"); err != nil {
			t.Fatal(err)
		}
		if got := f.show(); got != "we:m bot, robin:m new" {
			t.Error(got)
		}
		if slices.ContainsFunc(f.asked, func(r string) bool { return strings.HasPrefix(r, "POST") }) {
			t.Error("it was written anew")
		}
	})
}

// TestLostAnswers: whatever was lost on the way, there is one note in the end.
func TestLostAnswers(t *testing.T) {
	for _, username := range []string{"", "robin@example.com"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			t.Run(username+method, func(t *testing.T) {
				me := bot
				if username != "" {
					me = robin
				}
				f, mr := noted(t)
				if method == "PUT" || method == "DELETE" {
					f.write(f.pulls[0], note{by: me, raw: "m old"})
				}
				if method == "DELETE" {
					f.write(f.pulls[0], note{by: me, raw: "m old"})
				}
				f.lose = method
				c := f.client(t, token, username)
				err := c.UpsertNote(t.Context(), mr, "m ", "m first")
				if method != "GET" && err == nil { // a GET is asked again where the connection ends before its answer
					t.Error("the answer was lost")
				}
				for _, again := range []*bitbucket.Client{c, f.client(t, token, username)} {
					if err := again.UpsertNote(t.Context(), mr, "m ", "m second"); err != nil {
						t.Fatal(err)
					}
					if got := f.show(); strings.Count(got, ":") != 1 || !strings.HasSuffix(got, "m second") {
						t.Error(got)
					}
				}
			})
		}
	}
}

// TestNoteDeleted: a note that vanishes is written again, but not for ever.
func TestNoteDeleted(t *testing.T) {
	f, mr := noted(t, note{by: robin, raw: "m old"})
	posts := 0
	vanish := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			posts++
		}
		f.ServeHTTP(w, r)
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.Method == "POST" || r.Method == "GET" && posts == 0 && strings.Contains(r.URL.Path, "comments") {
			for _, n := range f.pulls[0].notes {
				n.deleted = true
			}
		}
	}
	if err := serve(t, vanish).UpsertNote(t.Context(), mr, "m ", "m new"); !errors.Is(err, plumbline.ErrConflict) || posts != 3 {
		t.Errorf("%v after %d notes", err, posts)
	}
}

// TestNoteWithoutAuthor: without an author nobody knows whose the note is.
func TestNoteWithoutAuthor(t *testing.T) {
	for _, made := range []string{`{}`, `{"id":1,"user":null}`, `{"id":1,"user":{"uuid":""}}`, ``, `[]`} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/user"):
				w.WriteHeader(http.StatusUnauthorized)
			case r.Method == "POST":
				_, _ = io.WriteString(w, made)
			case r.Method == "GET":
				_, _ = io.WriteString(w, `{"values":[{"id":1,"created_on":"2026-11-20T12:00:00Z","content":{"raw":"m"},"user":{"uuid":""}},
					{"id":2,"created_on":"2026-11-20T12:00:00Z","content":{"raw":"m"}}]}`)
			default:
				t.Errorf("%s %s", r.Method, r.URL)
			}
		})
		if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: "1"}, "m", "m"); err == nil {
			t.Errorf("%s", made)
		}
	}
}

// TestComments: people's words to the pull request count, and nobody else's.
func TestComments(t *testing.T) {
	nobody := user{"user", "", "", ""}
	f, mr := noted(t,
		note{by: dev, raw: "first"},                          // 573568563
		note{by: dev, raw: "line", line: 3},                  // ...585
		note{by: dev, raw: "answer", parent: 573568563},      //
		note{by: dev, raw: "to the line", parent: 573568585}, // ...629
		note{by: dev, raw: "and so on", parent: 573568629},
		note{by: dev, raw: "gone", deleted: true},
		note{by: dev, raw: "not sent", pending: true},
		note{by: bot, raw: "plumbline approve"},
		note{by: otherBot, raw: "plumbline approve"},
		note{by: nobody, raw: "a deleted account"},
		note{by: user{"team", "{7ea00000-0000-4000-8000-000000000000}", "", "team"}, raw: "team"},
		note{by: robin, raw: "last"},
	)
	notes := f.pulls[0].notes
	notes[2].updated = notes[2].created.Add(2 * time.Second)
	for username, want := range map[string][]string{"": {"first", "answer", "last"}, "robin@example.com": {"first", "answer"}} {
		c := f.client(t, token, username)
		c.SetPageSize(5)
		got, err := c.Comments(t.Context(), mr, notes[0].created.Truncate(time.Microsecond))
		if err != nil {
			t.Fatal(err)
		}
		var bodies []string
		for _, one := range got {
			bodies = append(bodies, one.Body)
			if one.Edited != (one.Body == "answer") || !strings.HasSuffix(one.URL, "#comment-"+one.ID) || one.Author != dev.account && one.Author != robin.account {
				t.Errorf("%+v", one)
			}
		}
		if !slices.Equal(bodies, want) {
			t.Errorf("%q, want %q", bodies, want)
		}
		if got, err := c.Comments(t.Context(), mr, notes[11].created); err != nil || len(got) > 1 {
			t.Errorf("since the last: %+v, %v", got, err)
		}
	}
	for _, id := range []string{"", "0", "x", "4711"} {
		if _, err := f.client(t, token, "").Comments(t.Context(), plumbline.MergeRequest{ID: id}, now); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("of pull request %q: %v", id, err)
		}
	}
}

// TestRecorded reads a comment in the form in which one was recorded: it has more than the description tells of.
func TestRecorded(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/user") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, `{"values":[{"id":573568542,"created_on":"2024-12-04T13:24:24.297625+00:00","updated_on":"2024-12-04T13:24:24.297708+00:00",
			"content":{"type":"rendered","raw":"test","markup":"markdown","html":"<p>test</p>"},"deleted":false,"pending":false,"type":"pullrequest_comment",
			"user":{"display_name":"Some Body","links":{},"type":"user","uuid":"{d}","account_id":"557058:e","nickname":"Some Body"},
			"links":{"self":{"href":"https://api.bitbucket.org/2.0/x"},"html":{"href":"https://bitbucket.org/a/b/pull-requests/4/_/diff#comment-573568542"}},
			"pullrequest":{"type":"pullrequest","id":4,"title":"a commit"}}],"pagelen":10,"size":1,"page":1}`)
	})
	got, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: "4"}, time.Time{})
	if err != nil || len(got) != 1 || got[0].Edited || got[0].ID != "573568542" || got[0].Author != "557058:e" || got[0].Body != "test" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestUnknownUser: with somebody's token whose scopes do not tell who it is, nobody's comments are taken for others'.
func TestUnknownUser(t *testing.T) {
	f, mr := noted(t)
	f.users["Basic "+basic("robin@example.com", token)] = bot
	c := f.client(t, token, "robin@example.com")
	if _, err := c.Comments(t.Context(), mr, now); !errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("%v", err)
	}
	if err := c.UpsertNote(t.Context(), mr, "m", "m"); !errors.Is(err, plumbline.ErrDenied) || len(f.pulls[0].notes) != 0 {
		t.Errorf("%v", err)
	}
}
