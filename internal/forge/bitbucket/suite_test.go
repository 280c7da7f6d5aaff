package bitbucket_test

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func basic(username, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
}

// told: Bitbucket has one state for what failed.
var told = map[plumbline.Told]plumbline.Told{plumbline.ToldError: plumbline.ToldFailure}

// TestSuite runs the suite with both kinds of tokens: one whose user the API does not name, and somebody's.
func TestSuite(t *testing.T) {
	for _, c := range []struct {
		name, username string
		me             user
	}{{"access token", "", bot}, {"API token", "robin@example.com", robin}} {
		t.Run(c.name, func(t *testing.T) {
			forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
				f := newFake(t)
				client := f.client(t, token, c.username)
				client.SetPageSize(2)
				return forgetest.Fixture{
					Client: client, Second: f.client(t, token, c.username), Denied: f.client(t, "wrong", c.username),
					People: people{f, c.me}, Told: told,
				}
			})
		})
	}
}

// people act on the fake from inside.
type people struct {
	*fake
	me user // Plumbline
}

func (p people) OpenMR(_ *testing.T, name, target, title string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := "change/" + name
	p.branches[from] = p.commit()
	return strconv.FormatInt(p.open(dev, from, target, title).id, 10)
}

func (p people) with(id string, do func(*pull)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do(p.pull(id))
}

func (p people) Push(_ *testing.T, id string) (commit string) {
	p.with(id, func(pr *pull) {
		commit = p.commit()
		p.branches[pr.source], pr.head, pr.updated = commit, commit, time.Now()
	})
	return commit
}

func (p people) Merge(_ *testing.T, id string) (commit string) {
	p.with(id, func(pr *pull) {
		commit = p.commit()
		p.branches[pr.target], pr.merge, pr.state, pr.updated = commit, commit, "MERGED", time.Now()
		delete(p.branches, pr.source)
	})
	return commit
}

func (p people) Close(_ *testing.T, id string) {
	p.with(id, func(pr *pull) { pr.state, pr.updated = "DECLINED", time.Now() })
}

func (p people) Comment(_ *testing.T, id, body string) {
	p.with(id, func(pr *pull) { p.write(pr, note{by: dev, raw: body}) })
}

// Edit comes later than a moment after the comment was written, as with people.
func (p people) Edit(t *testing.T, id, comment, body string) {
	p.with(id, func(pr *pull) {
		for _, n := range pr.notes {
			if strconv.FormatInt(n.id, 10) == comment {
				n.raw, n.updated = body, n.created.Add(5*time.Second)
				return
			}
		}
		t.Errorf("no comment %s", comment)
	})
}

func (p people) Head(_ *testing.T, id string) (head string) {
	p.with(id, func(pr *pull) { head = pr.head })
	return head
}

func (p people) Refs(*testing.T) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	refs := map[string]string{}
	for name, c := range p.branches {
		refs["refs/heads/"+name] = c
	}
	return refs
}

func (p people) written(id string, ours bool) (out []string) {
	p.with(id, func(pr *pull) {
		for _, n := range pr.notes {
			if !n.deleted && (n.by == p.me) == ours {
				out = append(out, n.raw)
			}
		}
	})
	return out
}

func (p people) Notes(_ *testing.T, id string) []string    { return p.written(id, true) }
func (p people) Comments(_ *testing.T, id string) []string { return p.written(id, false) }

func (p people) Statuses(_ *testing.T, commit string) []plumbline.CommitStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []plumbline.CommitStatus
	for _, s := range p.statuses[commit] {
		out = append(out, toldAs(s.name, s.state, s.text, s.url, commit))
	}
	return out
}

// toldAs is a status in the domain's words. Its context is the name that is shown, and the commit's page is no address.
func toldAs(name, state, text, address, commit string) plumbline.CommitStatus {
	s := plumbline.CommitStatus{Context: name, Description: text, URL: address}
	s.State = map[string]plumbline.Told{"INPROGRESS": plumbline.ToldPending, "SUCCESSFUL": plumbline.ToldSuccess, "FAILED": plumbline.ToldFailure}[state]
	if strings.HasSuffix(address, "/commits/"+commit) {
		s.URL = ""
	}
	return s
}

func (p people) Branch(_ *testing.T, name, _ string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.branches[name] = p.commit()
}
