package gitlab_test

import (
	"strconv"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/gitlab"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestSuite runs the suite on the fake.
func TestSuite(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		f := newFake(t)
		return forgetest.Fixture{
			Client: f.client(token), Second: f.client(token), Denied: f.client("glpat-wrong000000000000000"), People: people{f}, Told: told,
		}
	})
}

// TestSuiteInPages is the suite with pages of two and a project by its number.
func TestSuiteInPages(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		f := newFake(t)
		c, second := f.clientOf(strconv.Itoa(projectID), token), f.client(token)
		c.SetPageSize(2)
		second.SetPageSize(1)
		return forgetest.Fixture{Client: c, Second: second, Denied: f.client("glpat-wrong000000000000000"), People: people{f}, Told: told}
	})
}

var told = map[plumbline.Told]plumbline.Told{plumbline.ToldError: plumbline.ToldFailure}

func (f *fake) client(token string) *gitlab.Client { return f.clientOf(projectPath, token) }

func (f *fake) clientOf(project, token string) *gitlab.Client {
	f.t.Helper()
	c, err := gitlab.New(gitlab.Config{URL: f.url + "/", Project: project, Token: plumbline.NewSecret(token)})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// people act on the fake's state.
type people struct{ f *fake }

func (p people) of(t *testing.T, id string) *fakeMR {
	t.Helper()
	iid, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	mr := p.f.mr(iid)
	if mr == nil {
		t.Fatalf("no merge request %s", id)
	}
	return mr
}

func (p people) OpenMR(_ *testing.T, name, target, title string) string {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	branch := "feature/" + name
	p.f.push(branch, target, dev)
	return strconv.FormatInt(p.f.open(branch, target, title, "", nil, dev).iid, 10)
}

func (p people) Push(t *testing.T, id string) string {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	mr := p.of(t, id)
	mr.head = p.f.push(mr.source, "", dev)
	p.f.note(mr, dev, "added 1 commit", true)
	return mr.head
}

func (p people) Merge(t *testing.T, id string) string {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	mr := p.of(t, id)
	mr.state, mr.merge, mr.updated = "merged", p.f.push(mr.target, "", manager), p.f.now()
	p.f.history[mr.target] = append(p.f.history[mr.target], p.f.history[mr.source]...)
	delete(p.f.branches, mr.source)
	delete(p.f.history, mr.source)
	return mr.merge
}

func (p people) Close(t *testing.T, id string) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	mr := p.of(t, id)
	mr.state, mr.updated = "closed", p.f.now()
}

func (p people) Comment(t *testing.T, id, body string) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.note(p.of(t, id), dev, body, false)
}

func (p people) Edit(t *testing.T, id, comment, body string) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	for _, n := range p.of(t, id).notes {
		if strconv.FormatInt(n.id, 10) == comment {
			n.body, n.edited = body, p.f.now()
			n.updated = n.edited
		}
	}
}

func (p people) Head(t *testing.T, id string) string {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.of(t, id).head
}

func (p people) Refs(*testing.T) map[string]string {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	refs := map[string]string{}
	for name, head := range p.f.branches {
		refs["refs/heads/"+name] = head
	}
	for _, mr := range p.f.mrs {
		refs["refs/merge-requests/"+strconv.FormatInt(mr.iid, 10)+"/head"] = mr.head
	}
	return refs
}

func (p people) Notes(t *testing.T, id string) []string {
	return p.by(t, id, func(a account) bool { return a == bot })
}

func (p people) Comments(t *testing.T, id string) []string {
	return p.by(t, id, func(a account) bool { return a != bot })
}

func (p people) by(t *testing.T, id string, want func(account) bool) (out []string) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	for _, n := range p.of(t, id).notes {
		if !n.system && want(n.author) {
			out = append(out, n.body)
		}
	}
	return out
}

// Statuses are all that GitLab shows, with those that were retried.
func (p people) Statuses(_ *testing.T, commit string) (out []plumbline.CommitStatus) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	state := map[string]plumbline.Told{
		"pending": plumbline.ToldPending, "running": plumbline.ToldPending, "success": plumbline.ToldSuccess, "failed": plumbline.ToldFailure,
	}
	for _, s := range p.f.statuses {
		if s.sha == commit && s.state != "canceled" {
			out = append(out, plumbline.CommitStatus{Context: s.name, State: state[s.state], Description: s.description, URL: s.url})
		}
	}
	return out
}

func (p people) Reactions(t *testing.T, id, comment string) (out []plumbline.Reaction) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	names := map[string]plumbline.Reaction{"eyes": plumbline.ReactionSeen, "thumbsup": plumbline.ReactionDone, "thumbsdown": plumbline.ReactionRefused}
	for _, n := range p.of(t, id).notes {
		for _, a := range n.awards {
			if strconv.FormatInt(n.id, 10) == comment && a.by == bot {
				out = append(out, names[a.name])
			}
		}
	}
	return out
}

func (p people) Issues(*testing.T) (out []forgetest.Issue) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	for _, i := range p.f.issues {
		if i.author == bot && !i.deleted {
			out = append(out, i.seen())
		}
	}
	return out
}

func (i *fakeIssue) seen() forgetest.Issue {
	return forgetest.Issue{Number: i.iid, Title: i.title, Body: i.body, Labels: i.labels, Open: !i.closed, Locked: i.locked}
}

func (p people) Issue(_ *testing.T, number int64) forgetest.Issue {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.f.issues[number-1].seen()
}

func (p people) OpenIssue(_ *testing.T, title, body string) int64 {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	return p.f.openIssue(title, body, nil, dev).iid
}

func (p people) CloseIssue(_ *testing.T, number int64) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.issues[number-1].closed = true
}

func (p people) LockIssue(_ *testing.T, number int64) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.issues[number-1].locked = true
}

func (p people) DeleteIssue(_ *testing.T, number int64) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.issues[number-1].deleted = true
}

func (p people) Branch(_ *testing.T, name, from string) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.f.push(name, from, dev)
}

func (p people) Deployments(_ *testing.T, environment string) (out []forge.Deployment) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	for _, d := range p.f.deployments {
		if d.env == environment {
			out = append(out, forge.Deployment{Environment: d.env, Branch: d.ref, Commit: d.sha, State: forge.DeploymentState(d.state)})
		}
	}
	return out
}
