package gitea_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/gitea"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	repo = "/api/v1/repos/acme/infra"
	head = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	base = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	meJS = `{"id":1,"login":"plumbline"}`
)

// script answers requests by "METHOD path below the repository"; what is not in it is 404. It writes down what changed something.
type script struct {
	answers map[string]string
	sent    []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, repo)
	if r.Method != "GET" {
		b, _ := io.ReadAll(r.Body) // what is missing shows in the comparison
		s.sent = append(s.sent, key+" "+string(b))
	}
	answer, ok := s.answers[key]
	switch status, body, refused := strings.Cut(answer, "|"); {
	case !ok && r.URL.Path == "/api/v1/user":
		_, _ = io.WriteString(w, meJS)
	case !ok:
		http.Error(w, `{"message":"not there"}`, http.StatusNotFound)
	case refused && len(status) == 3:
		var code int
		_, _ = fmt.Sscan(status, &code)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	default:
		_, _ = io.WriteString(w, answer)
	}
}

func (s *script) client(t *testing.T) *gitea.Client { return serve(t, s.ServeHTTP) }

func pull(more string) string {
	return `{"number":1,"title":"t","body":"b","state":"open","html_url":"https://gitea.example.com/1","updated_at":"2026-11-20T11:00:00Z","comments":3,` +
		`"head":{"label":"b","ref":"b","sha":"` + head + `","repo_id":1},"base":{"ref":"main","sha":"` + base + `","repo_id":1}` + more + `}`
}

func TestComments(t *testing.T) {
	since := time.Date(2026, 11, 20, 12, 0, 0, 500_000_000, time.UTC)
	comment := func(id int, user int64, created, updated string) string {
		return fmt.Sprintf(`{"id":%d,"body":"c%d","html_url":"u","user":{"id":%d,"login":"p%d"},"created_at":"2026-11-20T%sZ","updated_at":"2026-11-20T%sZ"}`,
			id, id, user, user, created, updated)
	}
	var asked string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/user" {
			_, _ = io.WriteString(w, meJS)
			return
		}
		asked = r.URL.Query().Get("since")
		fmt.Fprintf(w, "[%s]", strings.Join([]string{
			comment(7, 2, "12:00:05", "12:00:05"),
			comment(3, 2, "11:59:59", "12:30:00"), // written before, changed since
			comment(4, 3, "12:00:00", "12:00:00"), // in the second of since
			comment(5, 1, "12:00:01", "12:00:01"), // ours
			comment(6, 2, "12:00:03", "12:00:09"),
			comment(6, 2, "12:00:03", "12:00:09"), // on two pages
		}, ","))
	})
	got, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: "1"}, since)
	if err != nil || asked != "2026-11-20T12:00:00Z" {
		t.Fatalf("%v; asked for %s", err, asked)
	}
	var show []string
	for _, one := range got {
		show = append(show, fmt.Sprintf("%s %s %s %t", one.ID, one.Author, one.Body, one.Edited))
	}
	if !slices.Equal(show, []string{"4 p3 c4 false", "6 p2 c6 true", "7 p2 c7 false"}) {
		t.Errorf("%q", show)
	}
	if _, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: "1"}, time.Time{}); err != nil || asked != "" {
		t.Errorf("since ever: %v, asked for %q", err, asked)
	}
	for _, answer := range []string{
		"[null]", "[{}]", `[{"id":1}]`, `[{"id":-1,"user":{"id":2,"login":"p"},"created_at":"2026-11-20T12:00:00Z"}]`, `[{"id":1,"user":null,"created_at":"2026-11-20T12:00:00Z"}]`,
		`[{"id":1,"user":{"id":2},"created_at":"2026-11-20T12:00:00Z"}]`, `[{"id":1,"user":{"id":2,"login":"p"},"created_at":"yesterday"}]`, `{}`, "", "404|",
	} {
		s := &script{answers: map[string]string{"GET /issues/1/comments": answer}}
		if got, err := s.client(t).Comments(t.Context(), plumbline.MergeRequest{ID: "1"}, since); err == nil || len(got) != 0 {
			t.Errorf("%q was taken for comments: %+v", answer, got)
		}
	}
}

func TestReactions(t *testing.T) {
	const path = "/issues/comments/7/reactions"
	mr := plumbline.MergeRequest{ID: "1"}
	s := &script{answers: map[string]string{
		"GET " + path:  `[{"user":{"id":1},"content":"eyes"},{"user":{"id":2},"content":"-1"},{"user":null,"content":"+1"},null,{"user":{"id":1},"content":"heart"}]`,
		"POST " + path: "{}", "DELETE " + path: "",
	}}
	if err := s.client(t).React(t.Context(), mr, "7", plumbline.ReactionDone); err != nil {
		t.Fatal(err)
	}
	want := []string{"POST " + path + ` {"content":"+1"}`, "DELETE " + path + ` {"content":"eyes"}`, "DELETE " + path + ` {"content":"heart"}`}
	if !slices.Equal(s.sent, want) {
		t.Errorf("%q", s.sent)
	}
	s = &script{answers: map[string]string{"GET " + path: "null", "POST " + path: `403|{"message":"'eyes' is not an allowed reaction"}`}}
	if err := s.client(t).React(t.Context(), mr, "7", plumbline.ReactionSeen); !errors.Is(err, plumbline.ErrDenied) || !strings.Contains(err.Error(), "not an allowed") {
		t.Errorf("a sign that the administrator took away: %v", err)
	}
	for comment, kind := range map[string]error{"8": plumbline.ErrNotFound, "": plumbline.ErrNotFound, "-7": plumbline.ErrNotFound, "7/../8": plumbline.ErrNotFound} {
		if err := s.client(t).React(t.Context(), mr, comment, plumbline.ReactionSeen); !errors.Is(err, kind) {
			t.Errorf("comment %q: %v", comment, err)
		}
	}
	if err := s.client(t).React(t.Context(), mr, "7", "love"); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestIssues(t *testing.T) {
	issue := func(number, user int, more string) string {
		return fmt.Sprintf(`{"number":%d,"title":"old","body":"m","state":"open","html_url":"https://gitea.example.com/i/%d","user":{"id":%d}%s}`, number, number, user, more)
	}
	wanted := forge.Issue{Marker: "m", Title: "new", Body: "m new", Open: true}
	t.Run("which is ours", func(t *testing.T) {
		s := &script{answers: map[string]string{
			"GET /issues": "[" + strings.Join([]string{
				issue(9, 1, ""), issue(2, 2, ""), issue(3, 1, `,"pull_request":{}`), issue(4, 1, `,"state":"closed"`), issue(5, 1, `,"body":"another"`), issue(6, 1, ""), issue(1, 1, `,"user":null`),
			}, ",") + "]",
			"PATCH /issues/6": issue(6, 1, ""), "PATCH /issues/9": issue(9, 1, ""),
		}}
		page, err := s.client(t).UpsertIssue(t.Context(), wanted)
		if err != nil || page != "https://gitea.example.com/i/6" {
			t.Errorf("%q, %v", page, err)
		}
		if len(s.sent) != 2 || !strings.HasPrefix(s.sent[0], `PATCH /issues/9 {"title":"","body":"The same as #6.",`) || !strings.Contains(s.sent[0], `"state":"closed"`) || !strings.HasPrefix(s.sent[1], `PATCH /issues/6 {"title":"new","body":"m new",`) {
			t.Errorf("%q", s.sent)
		}
	})
	t.Run("gone each time", func(t *testing.T) {
		s := &script{answers: map[string]string{"GET /issues": "[" + issue(6, 1, "") + "]", "PATCH /issues/6": "404|"}}
		if _, err := s.client(t).UpsertIssue(t.Context(), wanted); !errors.Is(err, plumbline.ErrConflict) || len(s.sent) != 3 {
			t.Errorf("%v, %q", err, s.sent)
		}
	})
	t.Run("no such label, and none may be made", func(t *testing.T) {
		labeled := issue(6, 1, `,"labels":[{"name":"Drift"},null]`)
		s := &script{answers: map[string]string{
			"GET /issues": "[" + labeled + "]", "PATCH /issues/6": labeled,
			"POST /issues/6/labels": `[{"name":"Drift"},{"name":"found"}]`, "POST /labels": "403|",
		}}
		wanted := wanted
		wanted.Labels = []string{"drift", "found", "made", " ", "made"}
		if _, err := s.client(t).UpsertIssue(t.Context(), wanted); err != nil {
			t.Error(err)
		}
		want := []string{`POST /issues/6/labels {"labels":["found","made"]}`, `POST /labels {"name":"made","color":"#ededed","description":"","exclusive":false,"is_archived":false}`}
		if !slices.Equal(s.sent[1:], want) {
			t.Errorf("%q", s.sent)
		}
	})
	t.Run("refused", func(t *testing.T) {
		s := &script{answers: map[string]string{"GET /issues": "404|"}}
		if _, err := s.client(t).UpsertIssue(t.Context(), wanted); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("issues are turned off: %v", err)
		}
	})
	for _, answer := range []string{"[null]", "[{}]", `[{"number":1}]`, "{}", "", `[{"number":"1"}]`} {
		s := &script{answers: map[string]string{"GET /issues": answer, "POST /issues": "{}"}}
		for _, open := range []bool{true, false} {
			wanted.Open = open
			if _, err := s.client(t).UpsertIssue(t.Context(), wanted); err == nil || len(s.sent) != 0 {
				t.Errorf("%q was taken for issues: %v, %q", answer, err, s.sent)
			}
		}
	}
	wanted.Open = true
	for _, answer := range []string{"{}", "null", `{"number":7}`, issue(8, 1, `,"title":"new","body":"m new"`)} {
		s := &script{answers: map[string]string{"GET /issues": "[]", "POST /issues": answer}}
		_, err := s.client(t).UpsertIssue(t.Context(), wanted)
		if made := strings.Contains(answer, `"number":8`); made != (err == nil) {
			t.Errorf("%q for a new issue: %v", answer, err)
		}
		s = &script{answers: map[string]string{"GET /issues": "[" + issue(7, 1, "") + "]", "PATCH /issues/7": answer}}
		if _, err := s.client(t).UpsertIssue(t.Context(), wanted); err == nil {
			t.Errorf("%q for issue 7, changed", answer)
		}
	}
}

func TestProposal(t *testing.T) {
	p := forge.Proposal{Source: "b", Target: "main", Title: "t", Body: "b"}
	t.Run("up to date", func(t *testing.T) {
		s := &script{answers: map[string]string{"GET /pulls": "[" + pull("") + "]", "GET /pulls/1": pull(""), "GET /pulls/1/reviews": "[]"}}
		if mr, err := s.client(t).OpenMergeRequest(t.Context(), p); err != nil || mr.ID != "1" || len(s.sent) != 0 {
			t.Errorf("%+v, %v, %q", mr, err, s.sent)
		}
	})
	t.Run("drafts stay what they are", func(t *testing.T) {
		for _, c := range []struct{ draft, title, want string }{
			{"true", "[WIP] t", ""}, {"true", "[WIP] u", `"WIP: t"`}, {"false", "u", `"t"`},
		} {
			s := &script{answers: map[string]string{"PATCH /pulls/1": "{}", "GET /pulls/1": pull(""), "GET /pulls/1/reviews": "[]"}}
			s.answers["GET /pulls"] = "[" + pull(`,"draft":`+c.draft+`,"title":"`+c.title+`"`) + "]"
			if _, err := s.client(t).OpenMergeRequest(t.Context(), p); err != nil {
				t.Error(err)
			}
			if c.want == "" && len(s.sent) != 0 || c.want != "" && (len(s.sent) != 1 || !strings.HasPrefix(s.sent[0], `PATCH /pulls/1 {"title":`+c.want)) {
				t.Errorf("%+v: %q", c, s.sent)
			}
		}
	})
	t.Run("of a fork, from elsewhere, closed", func(t *testing.T) {
		s := &script{answers: map[string]string{
			"GET /pulls": "[" + strings.Join([]string{
				pull(`,"head":{"label":"b","ref":"b","sha":"x","repo_id":2}`), pull(`,"base":{"ref":"other","repo_id":1}`), pull(`,"state":"closed"`),
			}, ",") + "]",
			"POST /pulls": `409|{"message":"pull request already exists"}`,
		}}
		_, err := s.client(t).OpenMergeRequest(t.Context(), forge.Proposal{Source: "b", Target: "main", Title: strings.Repeat("日", 300), Draft: true})
		if !errors.Is(err, plumbline.ErrConflict) || len(s.sent) != 1 || !strings.Contains(s.sent[0], `"title":"WIP: 日`) || !strings.Contains(s.sent[0], `日…"`) {
			t.Errorf("%v, %q", err, s.sent)
		}
	})
	t.Run("opened by another daemon", func(t *testing.T) {
		s := &script{answers: map[string]string{"GET /pulls/1": pull(""), "GET /pulls/1/reviews": "[]"}}
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method + " " + strings.TrimPrefix(r.URL.Path, repo) {
			case "GET /pulls":
				if len(s.sent) == 0 {
					_, _ = io.WriteString(w, "[]")
					return
				}
				_, _ = io.WriteString(w, "["+pull("")+"]")
			case "POST /pulls":
				s.sent = append(s.sent, "POST")
				w.WriteHeader(http.StatusConflict)
			default:
				s.ServeHTTP(w, r)
			}
		})
		if mr, err := c.OpenMergeRequest(t.Context(), p); err != nil || mr.ID != "1" {
			t.Errorf("%+v, %v", mr, err)
		}
	})
	for _, p := range []forge.Proposal{{}, {Source: "a", Target: "a", Title: "t"}, {Source: "a", Target: "b"}, {Source: "a", Title: "t"}} {
		if _, err := (&script{}).client(t).OpenMergeRequest(t.Context(), p); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestApprovers(t *testing.T) {
	review := func(id int, who, state, commit, more string) string {
		return fmt.Sprintf(`{"id":%d,"user":{"id":5,"login":%q},"state":%q,"commit_id":%q,"official":true%s}`, id, who, state, commit, more)
	}
	const yes, no = "APPROVED", "REQUEST_CHANGES"
	for name, c := range map[string]struct {
		reviews []string
		want    string
	}{
		"none":                  {nil, ""},
		"two":                   {[]string{review(1, "zoe", yes, head, ""), review(2, "ann", yes, head, "")}, "ann zoe"},
		"changed their mind":    {[]string{review(3, "ann", no, head, ""), review(2, "ann", yes, head, "")}, ""},
		"and back":              {[]string{review(1, "ann", no, head, ""), review(2, "ann", yes, head, "")}, "ann"},
		"commented since":       {[]string{review(1, "ann", yes, head, ""), review(2, "ann", "COMMENT", head, ""), review(3, "ann", "REQUEST_REVIEW", head, "")}, "ann"},
		"an earlier head":       {[]string{review(1, "ann", yes, base, "")}, ""},
		"no commit":             {[]string{review(1, "ann", yes, "", "")}, ""},
		"dismissed":             {[]string{review(1, "ann", yes, head, `,"dismissed":true`)}, ""},
		"may not write":         {[]string{review(1, "ann", yes, head, `,"official":false`)}, ""},
		"dismissed, once more":  {[]string{review(1, "ann", yes, head, `,"dismissed":true`), review(2, "ann", yes, head, "")}, "ann"},
		"a team, a nobody":      {[]string{review(1, "", yes, head, ""), `{"id":2,"team":{"id":1},"state":"APPROVED","official":true}`}, ""},
		"official no, since":    {[]string{review(2, "ann", no, head, ""), review(1, "ann", yes, head, "")}, ""},
		"somebody else's no":    {[]string{review(1, "ann", yes, head, ""), review(2, "bob", no, head, "")}, "ann"},
		"not sent, seen by bot": {[]string{review(1, "ann", "PENDING", head, "")}, ""},
	} {
		s := &script{answers: map[string]string{"GET /pulls/1": pull(""), "GET /pulls/1/reviews": "[" + strings.Join(c.reviews, ",") + "]"}}
		mr, err := s.client(t).MergeRequest(t.Context(), "1")
		if err != nil || strings.Join(mr.ApprovedBy, " ") != c.want {
			t.Errorf("%s: %q, %v", name, mr.ApprovedBy, err)
		}
	}
	for _, answer := range []string{"[null]", "[{}]", "{}", "", `[{"id":1,"user":"ann"}]`, "404|", "500|"} {
		s := &script{answers: map[string]string{"GET /pulls/1": pull(""), "GET /pulls/1/reviews": answer}}
		if mr, err := s.client(t).MergeRequest(t.Context(), "1"); err == nil {
			t.Errorf("%q was taken for reviews: %+v", answer, mr)
		}
	}
}

// TestReviewPages: reviews have no Link header, and those that are not sent yet are counted without being shown.
func TestReviewPages(t *testing.T) {
	var asked []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/reviews") {
			_, _ = io.WriteString(w, pull(""))
			return
		}
		page := r.URL.Query().Get("page")
		asked = append(asked, page)
		w.Header().Set("X-Total-Count", "6")
		_, _ = io.WriteString(w, map[string]string{
			"1": `[{"id":1,"user":{"login":"ann"},"state":"APPROVED","official":true,"commit_id":"` + head + `"},{"id":2,"user":{"login":"bob"},"state":"COMMENT"}]`,
			"2": `[]`,
			"3": `[{"id":5,"user":{"login":"ann"},"state":"REQUEST_CHANGES","official":true,"commit_id":"` + head + `"}]`,
			"4": `[]`,
		}[page])
	})
	c.SetPageSize(2)
	mr, err := c.MergeRequest(t.Context(), "1")
	if err != nil || len(mr.ApprovedBy) != 0 || strings.Join(asked, "") != "1234" {
		t.Errorf("%q, %v, pages %v", mr.ApprovedBy, err, asked)
	}
	// Nobody has 2,000 reviews: half of them are no answer.
	n := 0
	endless := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/reviews") {
			_, _ = io.WriteString(w, pull(""))
			return
		}
		n++
		w.Header().Set("X-Total-Count", "999999999")
		fmt.Fprintf(w, `[{"id":%d,"user":{"login":"ann"},"state":"APPROVED","official":true,"commit_id":"%s"}]`, n, head)
	})
	if mr, err := endless.MergeRequest(t.Context(), "1"); err == nil || n > 100 {
		t.Errorf("%+v after %d pages", mr, n)
	}
}

func TestMergeRequestExtras(t *testing.T) {
	s := &script{answers: map[string]string{"GET /pulls/1": pull(`,"labels":[{"name":"b"},null,{"name":"a"}]`), "GET /pulls/1/reviews": "[]"}}
	mr, err := s.client(t).MergeRequest(t.Context(), "1")
	if err != nil || !slices.Equal(mr.Labels, []string{"a", "b"}) || mr.MergeRef != "" {
		t.Errorf("%+v, %v", mr, err)
	}
	was := mr.Activity
	s.answers["GET /pulls/1"] = pull(`,"comments":4`)
	if mr, err = s.client(t).MergeRequest(t.Context(), "1"); err != nil || was == "" || mr.Activity == was {
		t.Errorf("a comment in the same second: %q, then %q, %v", was, mr.Activity, err)
	}
}

// TestConflicts: "not mergeable" is not yet a conflict.
func TestConflicts(t *testing.T) {
	s := &script{answers: map[string]string{"GET /pulls/1/reviews": "[]"}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	at := now
	c, err := gitea.New(gitea.Config{URL: srv.URL, Project: "acme/infra", Token: plumbline.NewSecret(token), Dial: forge.Dial{Now: func() time.Time { return at }}})
	if err != nil {
		t.Fatal(err)
	}
	step := func(after time.Duration, answer string, want bool) {
		t.Helper()
		at = at.Add(after)
		if !json.Valid([]byte(answer)) {
			t.Fatal(answer)
		}
		s.answers["GET /pulls/1"] = answer
		if mr, err := c.MergeRequest(t.Context(), "1"); err != nil || mr.Conflicts != want {
			t.Errorf("after %s: conflicts %t, %v", after, mr.Conflicts, err)
		}
	}
	step(0, pull(""), false)
	step(30*time.Second, pull(""), false)
	step(30*time.Second, pull(""), true)
	step(0, pull(`,"base":{"ref":"main","sha":"`+head+`","repo_id":1}`), false) // the target moved: it looks again
	step(time.Minute, pull(`,"base":{"ref":"main","sha":"`+head+`","repo_id":1}`), true)
	step(0, pull(`,"mergeable":true`), false)
	step(0, pull(""), false)
	step(time.Minute, pull(`,"draft":true`), false)
	step(time.Hour, pull(""), false)
	step(time.Minute, pull(`,"state":"closed"`), false)
	step(time.Hour, pull(""), false)
	step(time.Minute, pull(""), true)
}
