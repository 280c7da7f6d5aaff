package bitbucket_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/bitbucket"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const liveEnv = "PLUMBLINE_LIVE_BITBUCKET_"

// TestLive runs the suite on Bitbucket itself. The repository has branches main and env/production, and nothing that anybody needs: all of
// its pull requests are declined. The variables, each with PLUMBLINE_LIVE_BITBUCKET_ before it:
//
//	PROJECT         workspace/repository
//	TOKEN           Plumbline's; an access token, or with USERNAME an API token
//	USERNAME        empty for an access token
//	OTHER_TOKEN     an API token of a person who may write to the repository
//	OTHER_USERNAME  that person's e-mail address
func TestLive(t *testing.T) {
	for _, name := range []string{"PROJECT", "TOKEN", "OTHER_TOKEN", "OTHER_USERNAME"} {
		if os.Getenv(liveEnv+name) == "" {
			t.Skipf("%s%s is not set: nothing is run on Bitbucket itself", liveEnv, name)
		}
	}
	client := func(token string) *bitbucket.Client {
		c, err := bitbucket.New(bitbucket.Config{
			Project: os.Getenv(liveEnv + "PROJECT"), Token: plumbline.NewSecret(token), Username: os.Getenv(liveEnv + "USERNAME"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	token := os.Getenv(liveEnv + "TOKEN")
	open := func(t *testing.T) forgetest.Fixture {
		return forgetest.Fixture{Client: client(token), Second: client(token), Denied: client("wrong"), People: newPerson(t), Told: told}
	}
	forgetest.Suite(t, open)
	t.Run("draft", func(t *testing.T) {
		// BCLOUD-23659: drafts were missing among the open ones for a while.
		p, c := newPerson(t), client(token)
		p.Branch(t, "plumbline-draft", "main")
		mr, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "plumbline-draft", Target: "main", Title: "draft", Draft: true})
		if err != nil || !mr.Draft {
			t.Fatalf("%+v, %v", mr, err)
		}
		mrs, err := c.MergeRequests(t.Context(), nil)
		if err != nil || !slices.ContainsFunc(mrs, func(one plumbline.MergeRequest) bool { return one.ID == mr.ID && one.Draft }) {
			t.Errorf("a draft is not listed: %+v, %v", mrs, err)
		}
	})
	t.Run("plain", func(t *testing.T) {
		p, c := newPerson(t), client(token)
		id := p.OpenMR(t, "plain", "main", "plain")
		if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, "plain", "<!-- plain -->\n<details><summary>a</summary>b</details>"); err != nil {
			t.Fatal(err)
		}
		for _, n := range p.all(t, id) {
			if strings.Contains(n.Content.HTML, "<details") || strings.Contains(n.Content.HTML, "<!--") {
				t.Errorf("Bitbucket does not show HTML as text: %s", n.Content.HTML)
			}
		}
	})
}

// person acts on Bitbucket with an API token.
type person struct {
	api  *forge.API
	repo string
	uuid string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	username, token := os.Getenv(liveEnv+"OTHER_USERNAME"), os.Getenv(liveEnv+"OTHER_TOKEN")
	api, err := forge.NewAPI(forge.APIConfig{
		URL: liveURL, Secret: plumbline.NewSecret(token), Authorize: func(r *http.Request) { r.SetBasicAuth(username, token) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{api: api, repo: "/repositories/" + os.Getenv(liveEnv+"PROJECT")}
	var me struct{ UUID string }
	p.call(t, "GET", "/user", nil, &me)
	p.uuid = me.UUID
	var open struct{ Values []struct{ ID int64 } }
	p.call(t, "GET", p.repo+"/pullrequests?state=OPEN&pagelen=50", nil, &open)
	for _, pr := range open.Values {
		p.Close(t, strconv.FormatInt(pr.ID, 10))
	}
	return p
}

const liveURL = "https://api.bitbucket.org/2.0"

func (p *person) call(t *testing.T, method, path string, in, out any) {
	t.Helper()
	if _, err := p.api.Call(t.Context(), method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

// push commits to a branch, which is made if it is not there.
func (p *person) push(t *testing.T, branch, from string) {
	t.Helper()
	form := url.Values{"branch": {branch}, "message": {"change"}, "plumbline.txt": {time.Now().String()}}
	if from != "" {
		var at struct{ Target struct{ Hash string } }
		p.call(t, "GET", p.repo+"/refs/branches/"+url.PathEscape(from), nil, &at)
		form.Set("parents", at.Target.Hash)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", liveURL+p.repo+"/src", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.api.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatal(p.api.Refused(resp, ""))
	}
}

type livePull struct {
	ID     int64
	Source struct {
		Branch struct{ Name string }
		Commit struct{ Hash string }
	}
	MergeCommit struct{ Hash string } `json:"merge_commit"`
}

func (p *person) get(t *testing.T, id string) (pr livePull) {
	t.Helper()
	p.call(t, "GET", p.repo+"/pullrequests/"+id, nil, &pr)
	return pr
}

func (p *person) whole(t *testing.T, short string) string {
	t.Helper()
	var c struct{ Hash string }
	p.call(t, "GET", p.repo+"/commit/"+short, nil, &c)
	return c.Hash
}

func (p *person) OpenMR(t *testing.T, name, target, title string) string {
	t.Helper()
	branch := fmt.Sprintf("change/%d-%s", time.Now().UnixNano(), name)
	p.push(t, branch, target)
	t.Cleanup(func() { p.drop(t, branch) })
	var pr livePull
	p.call(t, "POST", p.repo+"/pullrequests", obj{
		"title": title, "source": obj{"branch": obj{"name": branch}}, "destination": obj{"branch": obj{"name": target}},
	}, &pr)
	return strconv.FormatInt(pr.ID, 10)
}

// drop deletes a branch that may be gone.
func (p *person) drop(t *testing.T, branch string) {
	t.Helper()
	_, err := p.api.Call(context.WithoutCancel(t.Context()), "DELETE", p.repo+"/refs/branches/"+url.PathEscape(branch), nil, nil)
	if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
		t.Error(err)
	}
}

func (p *person) Branch(t *testing.T, name, from string) {
	t.Helper()
	p.drop(t, name)
	p.push(t, name, from)
	t.Cleanup(func() { p.drop(t, name) })
}

func (p *person) Push(t *testing.T, id string) string {
	t.Helper()
	p.push(t, p.get(t, id).Source.Branch.Name, "")
	return p.Head(t, id)
}

func (p *person) Merge(t *testing.T, id string) string {
	t.Helper()
	p.call(t, "POST", p.repo+"/pullrequests/"+id+"/merge", obj{"type": "pullrequest", "close_source_branch": true}, nil)
	return p.whole(t, p.get(t, id).MergeCommit.Hash)
}

func (p *person) Close(t *testing.T, id string) {
	t.Helper()
	p.call(t, "POST", p.repo+"/pullrequests/"+id+"/decline", nil, nil)
}

func (p *person) Comment(t *testing.T, id, body string) {
	t.Helper()
	p.call(t, "POST", p.repo+"/pullrequests/"+id+"/comments", obj{"content": obj{"raw": body}}, nil)
}

// Edit lets the moment pass in which an edit cannot be told from the writing.
func (p *person) Edit(t *testing.T, id, comment, body string) {
	t.Helper()
	<-time.After(2 * time.Second)
	p.call(t, "PUT", p.repo+"/pullrequests/"+id+"/comments/"+comment, obj{"content": obj{"raw": body}}, nil)
}

// Head is the branch's, which the pull request shows a moment later.
func (p *person) Head(t *testing.T, id string) string {
	t.Helper()
	var at struct{ Target struct{ Hash string } }
	p.call(t, "GET", p.repo+"/refs/branches/"+url.PathEscape(p.get(t, id).Source.Branch.Name), nil, &at)
	return at.Target.Hash
}

func (p *person) Refs(*testing.T) map[string]string { return nil }

type liveNote struct {
	Content struct{ Raw, HTML string }
	User    struct{ UUID string }
	Deleted bool
}

func (p *person) all(t *testing.T, id string) []liveNote {
	t.Helper()
	var all struct{ Values []liveNote }
	p.call(t, "GET", p.repo+"/pullrequests/"+id+"/comments?pagelen=100", nil, &all)
	return slices.DeleteFunc(all.Values, func(n liveNote) bool { return n.Deleted })
}

func (p *person) Notes(t *testing.T, id string) (out []string) {
	t.Helper()
	for _, n := range p.all(t, id) {
		if n.User.UUID != p.uuid {
			out = append(out, n.Content.Raw)
		}
	}
	return out
}

func (p *person) Comments(t *testing.T, id string) (out []string) {
	t.Helper()
	for _, n := range p.all(t, id) {
		if n.User.UUID == p.uuid {
			out = append(out, n.Content.Raw)
		}
	}
	return out
}

func (p *person) Statuses(t *testing.T, commit string) (out []plumbline.CommitStatus) {
	t.Helper()
	var all struct {
		Values []struct{ Name, State, Description, URL string }
	}
	p.call(t, "GET", p.repo+"/commit/"+commit+"/statuses?pagelen=100&sort=created_on", nil, &all)
	for _, s := range all.Values {
		out = append(out, toldAs(s.Name, s.State, s.Description, s.URL, commit))
	}
	return out
}
