package github_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// people act on a GitHub that is not ours through its API, by other means than the adapter.
type people struct {
	api, repo string // repo is "owner/name"
	token     string // of somebody who may write
	us        string // login that Plumbline writes as
	branch    map[string]string
}

var counter atomic.Int64

// call asks; anything but a success fails the test.
func (p *people) call(t testing.TB, method, path string, in, out any) {
	t.Helper()
	status, body := p.try(t, method, path, in)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %.300s", method, path, status, body)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

func (p *people) try(t testing.TB, method, path string, in any) (int, []byte) {
	t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	// A test that cleans up has no context any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.api+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Accept", "application/vnd.github+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func (p *people) path(format string, args ...any) string {
	return "/repos/" + p.repo + fmt.Sprintf(format, args...)
}

func ref(branch string) string { return (&url.URL{Path: branch}).EscapedPath() }

func (p *people) tip(t testing.TB, branch string) string {
	t.Helper()
	var out struct{ Object struct{ SHA string } }
	p.call(t, "GET", p.path("/git/ref/heads/%s", ref(branch)), nil, &out)
	return out.Object.SHA
}

func (p *people) create(t testing.TB, branch, commit string) {
	t.Helper()
	p.call(t, "POST", p.path("/git/refs"), map[string]string{"ref": "refs/heads/" + branch, "sha": commit}, nil)
}

// commit adds a commit with a file to a branch.
func (p *people) commit(t testing.TB, branch string) string {
	t.Helper()
	name := fmt.Sprintf("file-%d-%d.tf", time.Now().UnixNano(), counter.Add(1))
	var out struct{ Commit struct{ SHA string } }
	p.call(t, "PUT", p.path("/contents/%s", name), map[string]string{
		"message": "change", "content": base64.StdEncoding.EncodeToString([]byte("# nothing\n")), "branch": branch,
	}, &out)
	return out.Commit.SHA
}

func (p *people) OpenMR(t *testing.T, name, target, title string) string {
	t.Helper()
	branch := fmt.Sprintf("feature/%d-%s", counter.Add(1), name)
	p.create(t, branch, p.tip(t, target))
	p.commit(t, branch)
	var out struct{ Number int }
	p.call(t, "POST", p.path("/pulls"), map[string]string{"title": title, "head": branch, "base": target, "body": "A change."}, &out)
	id := strconv.Itoa(out.Number)
	p.branch[id] = branch
	return id
}

func (p *people) Push(t *testing.T, id string) string { return p.commit(t, p.branch[id]) }

func (p *people) Merge(t *testing.T, id string) string {
	t.Helper()
	var out struct{ SHA string }
	p.call(t, "PUT", p.path("/pulls/%s/merge", id), map[string]string{}, &out)
	p.call(t, "DELETE", p.path("/git/refs/heads/%s", ref(p.branch[id])), nil, nil)
	return out.SHA
}

func (p *people) Close(t *testing.T, id string) {
	t.Helper()
	p.call(t, "PATCH", p.path("/pulls/%s", id), map[string]string{"state": "closed"}, nil)
}

func (p *people) Comment(t *testing.T, id, body string) {
	t.Helper()
	p.call(t, "POST", p.path("/issues/%s/comments", id), map[string]string{"body": body}, nil)
}

func (p *people) Head(t *testing.T, id string) string {
	t.Helper()
	var out struct{ Head struct{ SHA string } }
	p.call(t, "GET", p.path("/pulls/%s", id), nil, &out)
	return out.Head.SHA
}

func (p *people) Refs(*testing.T) map[string]string { return nil }

func (p *people) by(t testing.TB, id string, ours bool) (out []string) {
	t.Helper()
	var all []struct {
		Body string
		User struct{ Login string }
	}
	p.call(t, "GET", p.path("/issues/%s/comments?per_page=100", id), nil, &all)
	for _, c := range all {
		if (c.User.Login == p.us) == ours {
			out = append(out, c.Body)
		}
	}
	return out
}

func (p *people) Notes(t *testing.T, id string) []string    { return p.by(t, id, true) }
func (p *people) Comments(t *testing.T, id string) []string { return p.by(t, id, false) }

func (p *people) Statuses(t *testing.T, commit string) (out []plumbline.CommitStatus) {
	t.Helper()
	var all []struct {
		Context, State, Description string
		TargetURL                   string `json:"target_url"`
	}
	p.call(t, "GET", p.path("/commits/%s/statuses?per_page=100", commit), nil, &all)
	for _, s := range slices.Backward(all) { // newest first
		out = append(out, plumbline.CommitStatus{Context: s.Context, State: plumbline.Told(s.State), Description: s.Description, URL: s.TargetURL})
	}
	return out
}

func (p *people) Edit(t *testing.T, _, comment, body string) {
	t.Helper()
	p.call(t, "PATCH", p.path("/issues/comments/%s", comment), map[string]string{"body": body}, nil)
}

func (p *people) Reactions(t *testing.T, _, comment string) (out []plumbline.Reaction) {
	t.Helper()
	var all []struct {
		Content string
		User    struct{ Login string }
	}
	p.call(t, "GET", p.path("/issues/comments/%s/reactions?per_page=100", comment), nil, &all)
	for _, r := range all {
		if r.User.Login == p.us {
			out = append(out, signs[r.Content])
		}
	}
	return out
}

// issue is one in the API.
type issue struct {
	Number      int
	Title, Body string
	State       string
	User        struct{ Login string }
	Locked      bool
	Labels      []struct{ Name string }
	PullRequest any `json:"pull_request"`
}

func (p *people) issues(t testing.TB, state string) []issue {
	t.Helper()
	var all []issue
	p.call(t, "GET", p.path("/issues?state=%s&per_page=100&direction=asc", state), nil, &all)
	return slices.DeleteFunc(all, func(i issue) bool { return i.PullRequest != nil })
}

func (p *people) Issues(t *testing.T) (out []forgetest.Issue) {
	t.Helper()
	all := p.issues(t, "all")
	slices.SortFunc(all, func(a, b issue) int { return a.Number - b.Number })
	for _, i := range all {
		if i.User.Login != p.us {
			continue
		}
		out = append(out, i.seen())
	}
	return out
}

func (i issue) seen() forgetest.Issue {
	out := forgetest.Issue{Number: int64(i.Number), Title: i.Title, Body: i.Body, Open: i.State == "open", Locked: i.Locked}
	for _, l := range i.Labels {
		out.Labels = append(out.Labels, l.Name)
	}
	return out
}

func (p *people) Issue(t *testing.T, number int64) forgetest.Issue {
	t.Helper()
	var i issue
	p.call(t, "GET", p.path("/issues/%d", number), nil, &i)
	return i.seen()
}

func (p *people) OpenIssue(t *testing.T, title, body string) int64 {
	t.Helper()
	var i issue
	p.call(t, "POST", p.path("/issues"), map[string]string{"title": title, "body": body}, &i)
	return int64(i.Number)
}

func (p *people) CloseIssue(t *testing.T, number int64) {
	t.Helper()
	p.call(t, "PATCH", p.path("/issues/%d", number), map[string]string{"state": "closed"}, nil)
}

func (p *people) LockIssue(t *testing.T, number int64) {
	t.Helper()
	p.call(t, "PUT", p.path("/issues/%d/lock", number), map[string]string{"lock_reason": "resolved"}, nil)
}

func (p *people) Branch(t *testing.T, name, from string) {
	t.Helper()
	p.create(t, name, p.tip(t, from))
	p.commit(t, name)
}

func (p *people) Deployments(t *testing.T, environment string) (out []forge.Deployment) {
	t.Helper()
	var all []struct {
		ID      int64
		SHA     string
		Creator struct{ Login string }
	}
	p.call(t, "GET", p.path("/deployments?environment=%s&per_page=100", url.QueryEscape(environment)), nil, &all)
	for _, d := range slices.Backward(all) {
		var said []struct{ State string }
		p.call(t, "GET", p.path("/deployments/%d/statuses", d.ID), nil, &said)
		one := forge.Deployment{Environment: environment, Commit: d.SHA}
		if len(said) > 0 {
			one.State = states[said[0].State]
		}
		out = append(out, one)
	}
	return out
}

// clear makes the repository as the suite wants it at the beginning of each part: without open pull requests and issues, and with two
// branches.
func (p *people) clear(t testing.TB) {
	t.Helper()
	var pulls []struct{ Number int }
	p.call(t, "GET", p.path("/pulls?state=open&per_page=100"), nil, &pulls)
	for _, pr := range pulls {
		p.call(t, "PATCH", p.path("/pulls/%d", pr.Number), map[string]string{"state": "closed"}, nil)
	}
	for _, i := range p.issues(t, "open") {
		p.call(t, "PATCH", p.path("/issues/%d", i.Number), map[string]string{"state": "closed"}, nil)
	}
	var branches []struct{ Name string }
	p.call(t, "GET", p.path("/branches?per_page=100"), nil, &branches)
	production := false
	for _, b := range branches {
		production = production || b.Name == "env/production"
		if strings.HasPrefix(b.Name, "feature/") || strings.HasPrefix(b.Name, "promote/") {
			p.call(t, "DELETE", p.path("/git/refs/heads/%s", ref(b.Name)), nil, nil)
		}
	}
	if !production {
		p.create(t, "env/production", p.tip(t, "main"))
	}
}
