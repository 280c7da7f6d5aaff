package codecommit_test

import (
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

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/codecommit"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const mark = "[plumbline]: # (infra!1)"

func TestNew(t *testing.T) {
	f := newFake(t)
	for name, change := range map[string]func(*codecommit.Config){
		"no project":        func(c *codecommit.Config) { c.Project = "" },
		"a path":            func(c *codecommit.Config) { c.Project = "../infra" },
		"an owner":          func(c *codecommit.Config) { c.Project = "acme/infra" },
		"a long name":       func(c *codecommit.Config) { c.Project = strings.Repeat("x", 101) },
		"no region":         func(c *codecommit.Config) { c.Region = "" },
		"a host for region": func(c *codecommit.Config) { c.Region = "evil.example.com/" },
		"no credentials":    func(c *codecommit.Config) { c.Credentials = nil },
		"an endpoint with a user": func(c *codecommit.Config) {
			c.Endpoint = "https://me:" + daemon.secret + "@vpce.example.com"
		},
		"no endpoint":   func(c *codecommit.Config) { c.STSEndpoint = "sts.example.com" },
		"no Git":        func(c *codecommit.Config) { c.GitEndpoint = "ssh://git.example.com" },
		"Git with user": func(c *codecommit.Config) { c.GitEndpoint = "https://me@git.example.com" },
		"identity":      func(c *codecommit.Config) { c.Identity = "Plumbline" },
		"a bare role":   func(c *codecommit.Config) { c.Identity = "arn:aws:sts::1:assumed-role/Plumbline" },
	} {
		c := f.config(daemon)
		change(&c)
		if _, err := codecommit.New(c); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), daemon.secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRemote: the addresses are those of "Regions and Git connection endpoints" in the user guide.
func TestRemote(t *testing.T) {
	f := newFake(t)
	for _, c := range []struct {
		region string
		fips   bool
		git    string
		want   string
	}{
		{region: "us-east-2", want: "https://git-codecommit.us-east-2.amazonaws.com/v1/repos/infra"},
		{region: "us-east-2", fips: true, want: "https://git-codecommit-fips.us-east-2.amazonaws.com/v1/repos/infra"},
		{region: "ca-central-1", fips: true, want: "https://git-codecommit-fips.ca-central-1.amazonaws.com/v1/repos/infra"},
		{region: "us-gov-west-1", want: "https://git-codecommit.us-gov-west-1.amazonaws.com/v1/repos/infra"},
		{region: "us-gov-east-1", fips: true, want: "https://git-codecommit-fips.us-gov-east-1.amazonaws.com/v1/repos/infra"},
		{region: "cn-north-1", want: "https://git-codecommit.cn-north-1.amazonaws.com.cn/v1/repos/infra"},
		{region: "cn-northwest-1", want: "https://git-codecommit.cn-northwest-1.amazonaws.com.cn/v1/repos/infra"},
		{region: "eu-west-1", git: "https://vpce-1.git-codecommit.eu-west-1.vpce.amazonaws.com/", want: "https://vpce-1.git-codecommit.eu-west-1.vpce.amazonaws.com/v1/repos/infra"},
	} {
		conf := f.config(daemon)
		conf.Region, conf.FIPS, conf.GitEndpoint, conf.Endpoint = c.region, c.fips, c.git, ""
		if got := newClient(t, conf).Remote(); got != c.want {
			t.Errorf("%s: %s, want %s", c.region, got, c.want)
		}
	}
}

// TestPollCost: a poll is one request for each page of numbers and one for each open pull request, and one more for each head that is new.
func TestPollCost(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	ids := []string{f.OpenMR(t, "a", "main", "a"), f.OpenMR(t, "b", "main", "b"), f.OpenMR(t, "c", "main", "c")}
	poll := func(want string) {
		t.Helper()
		f.count()
		mrs, err := c.MergeRequests(t.Context(), f.Refs(t))
		if err != nil || len(mrs) != len(ids) {
			t.Fatalf("%+v, %v", mrs, err)
		}
		for i, mr := range mrs {
			if mr.ID != ids[i] {
				t.Errorf("%s is at place %d", mr.ID, i)
			}
		}
		if got := fmt.Sprint(f.count()); got != want {
			t.Errorf("a poll cost %s, want %s", got, want)
		}
	}
	poll("map[DescribePullRequestEvents:3 GetPullRequest:3 ListPullRequests:2]")
	poll("map[GetPullRequest:3 ListPullRequests:2]")
	f.Push(t, ids[1])
	poll("map[DescribePullRequestEvents:1 GetPullRequest:3 ListPullRequests:2]")
	poll("map[GetPullRequest:3 ListPullRequests:2]")
}

// TestHead: what can be fetched is what counts.
func TestHead(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	id, gone := f.OpenMR(t, "a", "main", "a"), f.OpenMR(t, "b", "main", "b")
	refs := f.Refs(t)
	delete(refs, "refs/heads/feature/b")
	refs["refs/heads/feature/a"] = commit()
	mrs, err := c.MergeRequests(t.Context(), refs)
	if err != nil || len(mrs) != 1 || mrs[0].ID != id || mrs[0].Head != refs["refs/heads/feature/a"] {
		t.Errorf("with refs: %+v, %v", mrs, err)
	}
	mrs, err = c.MergeRequests(t.Context(), nil)
	if err != nil || len(mrs) != 2 || mrs[0].Head != f.Head(t, id) || mrs[1].Head != f.Head(t, gone) {
		t.Errorf("without: %+v, %v", mrs, err)
	}
}

func TestPeople(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	id := f.OpenMR(t, "a", "main", "a")
	get := func() plumbline.MergeRequest {
		t.Helper()
		mr, err := c.MergeRequest(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return mr
	}
	if mr := get(); mr.Author != "dev" || mr.LastPusher != "" || mr.Fork || mr.Draft || mr.ApprovedBy != nil || mr.Conflicts ||
		mr.URL != "https://eu-west-1.console.aws.amazon.com/codesuite/codecommit/repositories/infra/pull-requests/"+id {
		t.Errorf("%+v", mr)
	}
	for _, who := range []struct{ arn, name string }{
		{dev, "dev"}, {other, "Developer/ann@example.com"}, {"arn:aws:iam::123456789012:user/bob", "bob"},
		{"arn:aws:sts::123456789012:federated-user/bob", "federated-user/bob"}, {"arn:aws:iam::123456789012:root", "root"},
		{"arn:aws-cn:sts::123456789012:assumed-role/bob/x", "bob/x"}, {"bob\nand more", "bob and more"},
	} {
		f.pushAs(t, id, who.arn)
		if mr := get(); mr.LastPusher != who.name {
			t.Errorf("%s is called %q, not %q", who.arn, mr.LastPusher, who.name)
		}
	}
	p := f.find(t, id)
	f.mu.Lock()
	p.approvals[p.revision] = map[string]bool{dev: true, other: true, daemon.arn: true, renamed.arn: true}
	p.conflicts = true
	f.mu.Unlock()
	if mr := get(); !slices.Equal(mr.ApprovedBy, []string{"Developer/ann@example.com", "dev"}) || !mr.Conflicts {
		t.Errorf("approved by %q, conflicts %t", mr.ApprovedBy, mr.Conflicts)
	}
	f.Push(t, id)
	if mr := get(); mr.ApprovedBy != nil {
		t.Errorf("a new revision is approved by %q", mr.ApprovedBy)
	}
}

// TestMerges: a fast-forward makes no commit, and a merge by hand is told of without one.
func TestMerges(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	id := f.OpenMR(t, "a", "main", "a")
	f.Merge(t, id)
	p := f.find(t, id)
	for _, m := range []struct{ option, commit, want string }{
		{"SQUASH_MERGE", commit(), ""}, {"FAST_FORWARD_MERGE", "", p.head}, {"", "", ""},
	} {
		f.mu.Lock()
		p.option, p.merge = m.option, m.commit
		f.mu.Unlock()
		mr, err := c.MergeRequest(t.Context(), id)
		if want := m.want + m.commit; err != nil || mr.State != plumbline.MRMerged || mr.MergeCommit != want {
			t.Errorf("%s: %s as %q, not %q, %v", m.option, mr.State, mr.MergeCommit, want, err)
		}
	}
}

// TestAnotherRepository: numbers are the account's, and what is not ours is neither shown nor touched.
func TestAnotherRepository(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	mr := plumbline.MergeRequest{ID: "40", State: plumbline.MROpen, Head: f.Head(t, "40")}
	if _, err := c.MergeRequest(t.Context(), "40"); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if err := c.UpsertNote(t.Context(), mr, mark, mark); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("note: %v", err)
	}
	if got := f.Notes(t, "40"); len(got) != 0 {
		t.Errorf("notes there: %q", got)
	}
}

// TestComments: what people write in files is not for us, what they reply is.
func TestComments(t *testing.T) {
	f := newFake(t)
	c := f.client(t, daemon)
	id := f.OpenMR(t, "a", "main", "a")
	f.Comment(t, id, "general")
	f.commentAs(t, id, dev, "in a file").file = "main.tf"
	first := f.commentAs(t, id, renamed.arn, mark)
	f.commentAs(t, id, other, "plumbline approve").reply = first.id
	deleted := f.commentAs(t, id, dev, "")
	deleted.deleted = true
	got, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: id}, time.Now().Add(-time.Minute))
	if err != nil || len(got) != 2 || got[0].Author != "dev" || got[1].Author != "Developer/ann@example.com" || got[1].Body != "plumbline approve" {
		t.Fatalf("%+v, %v", got, err)
	}
	if want := "/pull-requests/" + id + "/activity#" + got[1].ID; !strings.HasSuffix(got[1].URL, want) {
		t.Errorf("%s does not end in %s", got[1].URL, want)
	}
	since, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: id}, got[1].At)
	if err != nil || len(since) != 1 {
		t.Errorf("since the second: %+v, %v", since, err)
	}
}

// TestReactionNotOffered: where CodeCommit does not take one sign, another one is shown.
func TestReactionNotOffered(t *testing.T) {
	f := newFake(t)
	f.emojis = []string{":smile:", ":thumbsup:"}
	c := f.client(t, daemon)
	id := f.OpenMR(t, "a", "main", "a")
	one := f.commentAs(t, id, dev, "plumbline plan").id
	if err := c.React(t.Context(), plumbline.MergeRequest{ID: id}, one, plumbline.ReactionSeen); err != nil || f.comments[0].reactions[daemon.arn] != ":smile:" {
		t.Errorf("%q, %v", f.comments[0].reactions, err)
	}
	for _, r := range []plumbline.Reaction{plumbline.ReactionRefused, "odd"} {
		if err := c.React(t.Context(), plumbline.MergeRequest{ID: id}, one, r); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("%s: %v", r, err)
		}
	}
}

// TestProposals: a pull request whose answer was lost is found, and one that was closed is not brought back.
func TestProposals(t *testing.T) {
	f := newFake(t)
	now := time.Now()
	conf := f.config(daemon)
	conf.Now = func() time.Time { return now }
	c := newClient(t, conf)
	f.Branch(t, "promote", "")
	want := forge.Proposal{Source: "promote", Target: "main", Title: "Promote\n" + strings.Repeat("ü", 200), Body: strings.Repeat("日", 20_000)}
	f.lostOnce("CreatePullRequest")
	if _, err := c.OpenMergeRequest(t.Context(), want); err == nil {
		t.Error("an answer that was lost was read")
	}
	var seen []string
	for i := range 26 {
		if i%13 == 12 {
			now = now.Add(time.Hour)
		}
		first, err := c.OpenMergeRequest(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.OpenMergeRequest(t.Context(), want)
		if err != nil || again.ID != first.ID || first.Title != "Promote "+strings.Repeat("ü", 141)+"…" {
			t.Errorf("%s, %s %q, %v", first.ID, again.ID, again.Title, err)
		}
		if slices.Contains(seen, first.ID) {
			t.Errorf("%s was closed, and is the proposal again", first.ID)
		}
		f.mu.Lock()
		if len(f.pulls) != 2+len(seen) {
			t.Errorf("%d pull requests", len(f.pulls))
		}
		f.mu.Unlock()
		seen = append(seen, first.ID)
		f.Close(t, first.ID)
	}
	if _, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "no", Target: "main", Title: "x"}); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("of a branch that is not there: %v", err)
	}
	if _, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "main", Target: "main", Title: "x"}); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("of a branch to itself: %v", err)
	}
}

// serve returns a client of a server that answers as told.
func serve(t *testing.T, h http.HandlerFunc) *codecommit.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	f := fake{url: srv.URL, sts: srv.URL}
	c := f.config(daemon)
	c.Identity = daemon.arn
	return newClient(t, c)
}

func send(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client may have gone
}

func operation(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "CodeCommit_20150413.")
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status       int
		body         string
		kind         error
		retry        bool
		says, hidden string
	}{
		{400, `{"__type":"AccessDeniedException","Message":"User: arn:aws:sts::1:assumed-role/x/y is not authorized to perform: codecommit:ListPullRequests"}`, plumbline.ErrDenied, false, "is not authorized to perform: codecommit:ListPullRequests", ""},
		{400, `{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}`, plumbline.ErrDenied, false, "security token", ""},
		{403, `{"__type":"InvalidSignatureException","message":"should have been 'x-amz-security-token:` + daemon.token + `'"}`, plumbline.ErrDenied, false, "InvalidSignatureException", "should have"},
		{400, `{"__type":"ExpiredTokenException","message":"` + daemon.token + ` is expired"}`, plumbline.ErrDenied, false, "(sensitive) is expired", daemon.token},
		{400, `{"__type":"com.amazonaws.codecommit#ThrottlingException","message":"Rate exceeded"}`, nil, true, "Rate exceeded", ""},
		{400, `{"__type":"TooManyRequestsException"}`, nil, true, "TooManyRequestsException", ""},
		{429, `slow down`, nil, true, "429", ""},
		{400, `{"__type":"RepositoryDoesNotExistException","message":"infra does not exist"}`, plumbline.ErrNotFound, false, "infra does not exist", ""},
		{400, `{"__type":"EncryptionKeyAccessDeniedException"}`, plumbline.ErrDenied, false, "EncryptionKeyAccessDenied", ""},
		{400, `{"__type":"EncryptionKeyUnavailableException"}`, nil, false, "EncryptionKeyUnavailable", ""},
		{400, `{"__type":"InvalidContinuationTokenException"}`, plumbline.ErrInvalid, false, "InvalidContinuationToken", ""},
		{400, `{"__type":"SomethingNewException","message":"a\nb"}`, nil, false, "SomethingNewException: a b", ""},
		{500, `{"__type":"InternalServerError"}`, nil, false, "500", ""},
		{503, `{"__type":"ServiceUnavailable"}`, nil, false, "503", ""},
		{404, `<html>not here</html>`, plumbline.ErrNotFound, false, "404", "html"},
		{400, `{"__type":7}`, nil, false, "", ""},
		{400, `{"__type":"` + strings.Repeat("x", 10_000) + `"}`, nil, false, "xxx", ""},
	} {
		_, err := serve(t, func(w http.ResponseWriter, _ *http.Request) { send(w, c.status, c.body) }).MergeRequests(t.Context(), nil)
		var retry *plumbline.Retry
		switch {
		case err == nil:
			t.Errorf("%s: no error", c.body)
			continue
		case len(err.Error()) > 500 || strings.Contains(err.Error(), "\n"):
			t.Errorf("%.60s: %.600q", c.body, err)
		case c.kind != nil && !errors.Is(err, c.kind):
			t.Errorf("%v is no %v", err, c.kind)
		case c.kind == nil && (errors.Is(err, plumbline.ErrDenied) || errors.Is(err, plumbline.ErrNotFound) || errors.Is(err, plumbline.ErrConflict)):
			t.Errorf("%v has a kind", err)
		case errors.As(err, &retry) != c.retry:
			t.Errorf("retry: %v", err)
		case !strings.Contains(err.Error(), c.says) || (c.hidden != "" && strings.Contains(err.Error(), c.hidden)):
			t.Errorf("%q says %q, or not %q", err, c.hidden, c.says)
		}
	}
}

// TestPages: a list that does not end, or goes in circles, is no list.
func TestPages(t *testing.T) {
	for name, token := range map[string]func(n int64) string{
		"for ever":   func(n int64) string { return fmt.Sprint("page-", n) },
		"in circles": func(n int64) string { return fmt.Sprint("page-", n%3) },
	} {
		for _, sick := range []string{"ListPullRequests", "DescribePullRequestEvents", "GetCommentsForPullRequest"} {
			var asked atomic.Int64
			f := newFake(t)
			id := f.OpenMR(t, "a", "main", "a")
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if operation(r) != sick {
					f.handler.ServeHTTP(w, r)
					return
				}
				send(w, 200, fmt.Sprintf(`{"nextToken":%q,"pullRequestIds":["%s"],"pullRequestEvents":[],"commentsForPullRequestData":[]}`, token(asked.Add(1)), id))
			})
			_, err := c.MergeRequests(t.Context(), nil)
			if sick == "GetCommentsForPullRequest" {
				err = c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, mark, mark)
			}
			if err == nil || !strings.Contains(err.Error(), "unexpected answer") || asked.Load() > 100 {
				t.Errorf("%s %s: %v after %d pages", sick, name, err, asked.Load())
			}
			if got := f.Notes(t, id); len(got) != 0 {
				t.Errorf("%s %s: notes %q", sick, name, got)
			}
		}
	}
}

// TestOddAnswers changes each part of each answer into something else. Nothing panics, nobody's comment is touched, and what comes out is whole.
func TestOddAnswers(t *testing.T) {
	f := newFake(t)
	f.page = 10
	id := f.OpenMR(t, "a", "main", "a")
	f.Push(t, id)
	f.commentAs(t, id, dev, mark+"\npasted")
	f.commentAs(t, id, daemon.arn, mark+"\nold")
	p := f.find(t, id)
	p.approvals[p.revision] = map[string]bool{dev: true}
	var target, path, with string // what is changed
	var paths []string            // of the target's answer
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		f.handler.ServeHTTP(rec, r)
		body := rec.Body.String()
		if operation(r) == target {
			var v any
			if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
				t.Error(err)
			}
			paths = nil
			v = mutate(v, "", path, with, &paths)
			b, err := json.Marshal(v)
			if err != nil {
				t.Error(err)
			}
			body = string(b)
		}
		send(w, rec.Code, body)
	})
	mr := plumbline.MergeRequest{ID: id, State: plumbline.MROpen, Head: f.Head(t, id)}
	n := 0
	try := func() {
		n++
		mrs, err := c.MergeRequests(t.Context(), nil)
		for _, mr := range mrs {
			if err == nil && (mr.ID != id || mr.Source == "" || mr.Target == "" || len(mr.Head) != 40 || mr.State != plumbline.MROpen) {
				t.Errorf("%s%s is %s: listed %+v", target, path, with, mr)
			}
		}
		one, err := c.MergeRequest(t.Context(), id)
		if err == nil && (one.ID != id || one.Source == "" || one.Target == "" || len(one.Head) != 40 || one.State == "") {
			t.Errorf("%s%s is %s: %+v", target, path, with, one)
		}
		_, _ = c.Comments(t.Context(), mr, time.Time{}) // that it does not panic is what counts
		_ = c.UpsertNote(t.Context(), mr, mark, fmt.Sprintf("%s\n%d", mark, n))
		if got := f.Comments(t, id); len(got) != 1 || got[0] != mark+"\npasted" {
			t.Fatalf("%s%s is %s: comments of others are %q", target, path, with, got)
		}
	}
	for _, target = range []string{
		"ListPullRequests", "GetPullRequest", "DescribePullRequestEvents", "GetPullRequestApprovalStates", "GetMergeConflicts",
		"GetCommentsForPullRequest", "PostCommentForPullRequest", "UpdateComment",
	} {
		path, with = "-", ""
		if target == "PostCommentForPullRequest" { // it is asked for when there is no note
			f.mu.Lock()
			f.comments = f.comments[:1]
			f.mu.Unlock()
		}
		try()
		all := slices.Clone(paths)
		if len(all) == 0 {
			t.Errorf("%s was not asked for", target)
		}
		for _, path = range all {
			for _, with = range []string{`gone`, `null`, `"odd"`, `-7`, `1e300`, `{}`, `[]`, `[null]`, `true`, `""`} {
				try()
			}
		}
	}
	t.Logf("%d answers", n)
}

// mutate returns v with something else at a path, and lists the paths that there are.
func mutate(v any, at, path, with string, all *[]string) any {
	*all = append(*all, at)
	if at == path {
		var other any
		_ = json.Unmarshal([]byte(with), &other) // gone is null at the top
		return other
	}
	switch v := v.(type) {
	case map[string]any:
		for k, one := range v {
			v[k] = mutate(one, at+"."+k, path, with, all)
			if at+"."+k == path && with == "gone" {
				delete(v, k)
			}
		}
	case []any:
		for i, one := range v {
			v[i] = mutate(one, fmt.Sprintf("%s[%d]", at, i), path, with, all)
		}
	}
	return v
}
