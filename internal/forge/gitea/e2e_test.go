package gitea_test

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/gitea"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestSuiteOnGitea(t *testing.T) {
	g := testenv.Gitea(t)
	dev := g.CreateUser(t, "suite-dev")
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		p := newPeople(t, g)
		p.repo.AddCollaborator(t, "suite-dev")
		p.dev = dev
		return forgetest.Fixture{
			Client: p.client(t, g.BotToken), Second: p.client(t, g.BotToken), Denied: p.client(t, strings.Repeat("0", 40)),
			People: p,
		}
	})
}

// people act on a repository on a real Gitea.
type people struct {
	g      *testenv.GiteaServer
	repo   *testenv.GiteaRepo
	dev    string            // token of somebody
	remote string            // as the adapter says, with the bot's token
	branch map[string]string // by merge request
	suffix string            // of branches, on a server that keeps them
	before int64             // issues up to this number are not of this test
}

var repos atomic.Int64

func newPeople(t *testing.T, g *testenv.GiteaServer) *people {
	name := fmt.Sprintf("suite-%d", repos.Add(1))
	p := &people{g: g, repo: g.CreateRepo(t, name), branch: map[string]string{}}
	p.repo.Push(t, testenv.Change{Files: map[string]string{"main.tf": "# nothing\n"}})
	p.repo.Push(t, testenv.Change{Branch: "env/production", From: "main", Message: "production"})
	p.connect(t)
	return p
}

// connect says where the remote is, as the adapter says.
func (p *people) connect(t *testing.T) {
	raw, user := p.client(t, p.g.BotToken).Remote()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, p.g.BotToken)
	p.remote = u.String()
}

func (p *people) client(t *testing.T, token string) *gitea.Client {
	c, err := gitea.New(gitea.Config{URL: p.g.URL + "/", Project: p.repo.Project, Token: plumbline.NewSecret(token)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *people) OpenMR(t *testing.T, name, target, title string) string {
	branch := "feature/" + name + p.suffix
	p.repo.Push(t, testenv.Change{Branch: branch, From: target, Files: map[string]string{"a.tf": "# " + branch}})
	id := strconv.FormatInt(p.repo.OpenPull(t, branch, target, title).Number, 10)
	p.branch[id] = branch
	return id
}

func number(t *testing.T, id string) int64 {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *people) Push(t *testing.T, id string) string {
	return p.repo.Push(t, testenv.Change{Branch: p.branch[id], Message: "more"})
}

func (p *people) Merge(t *testing.T, id string) string { return p.repo.Merge(t, number(t, id)) }
func (p *people) Close(t *testing.T, id string)        { p.repo.Close(t, number(t, id)) }

func (p *people) Comment(t *testing.T, id, body string) {
	p.repo.Comment(t, p.dev, number(t, id), body)
}

func (p *people) Head(t *testing.T, id string) string {
	return p.repo.Pull(t, number(t, id)).Head.SHA
}

func (p *people) Refs(t *testing.T) map[string]string {
	refs := map[string]string{}
	for line := range strings.SplitSeq(testenv.Git(t, t.TempDir(), "ls-remote", p.remote), "\n") {
		commit, name, _ := strings.Cut(line, "\t")
		refs[name] = commit
	}
	return refs
}

func (p *people) Notes(t *testing.T, id string) []string {
	return p.by(t, id, func(login string) bool { return login == p.g.BotUser })
}

func (p *people) Comments(t *testing.T, id string) []string {
	return p.by(t, id, func(login string) bool { return login != p.g.BotUser })
}

func (p *people) by(t *testing.T, id string, want func(login string) bool) (out []string) {
	for _, c := range p.repo.Comments(t, number(t, id)) {
		if want(c.User.Login) {
			out = append(out, c.Body)
		}
	}
	return out
}

func (p *people) Statuses(t *testing.T, commit string) []plumbline.CommitStatus {
	var rows []testenv.GiteaStatus
	p.g.Call(t, p.g.AdminToken, "GET", "/repos/"+p.repo.Project+"/commits/"+commit+"/statuses?limit=50", nil, &rows)
	slices.SortFunc(rows, func(a, b testenv.GiteaStatus) int { return int(a.ID - b.ID) })
	var out []plumbline.CommitStatus
	for _, r := range rows {
		out = append(out, plumbline.CommitStatus{Context: r.Context, State: plumbline.Told(r.State), Description: r.Description, URL: r.TargetURL})
	}
	return out
}

func (p *people) Edit(t *testing.T, _, comment, body string) {
	p.repo.EditComment(t, p.dev, number(t, comment), body)
}

func (p *people) Reactions(t *testing.T, _, comment string) []plumbline.Reaction {
	var out []plumbline.Reaction
	for _, r := range p.repo.Reactions(t, number(t, comment)) {
		if r.User.Login == p.g.BotUser {
			out = append(out, map[string]plumbline.Reaction{
				"eyes": plumbline.ReactionSeen, "+1": plumbline.ReactionDone, "-1": plumbline.ReactionRefused,
			}[r.Content])
		}
	}
	return out
}

func (p *people) Issues(t *testing.T) []forgetest.Issue {
	var out []forgetest.Issue
	for _, one := range p.repo.Issues(t) {
		if one.User.Login != p.g.BotUser || one.Number <= p.before {
			continue
		}
		out = append(out, seen(one))
	}
	return out
}

func seen(i testenv.GiteaIssue) forgetest.Issue {
	out := forgetest.Issue{Number: i.Number, Title: i.Title, Body: i.Body, Open: i.State == "open", Locked: i.Locked}
	for _, l := range i.Labels {
		out.Labels = append(out.Labels, l.Name)
	}
	return out
}

func (p *people) Issue(t *testing.T, number int64) forgetest.Issue {
	return seen(p.repo.Issue(t, number))
}

func (p *people) OpenIssue(t *testing.T, title, body string) int64 {
	return p.repo.OpenIssue(t, p.dev, title, body).Number
}

func (p *people) CloseIssue(t *testing.T, number int64)  { p.repo.CloseIssue(t, number) }
func (p *people) LockIssue(t *testing.T, number int64)   { p.repo.LockIssue(t, number) }
func (p *people) DeleteIssue(t *testing.T, number int64) { p.repo.DeleteIssue(t, number) }

func (p *people) Branch(t *testing.T, name, from string) {
	p.repo.Push(t, testenv.Change{Branch: name, From: from, Files: map[string]string{"promoted.tf": "# " + name}})
}

// TestForksAndDrafts: whoever may only read can propose from a fork or by pushing to refs/for, and must not be taken for
// somebody who may write.
func TestForksAndDrafts(t *testing.T) {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	c := p.client(t, g.BotToken)
	name := strings.TrimPrefix(p.repo.Project, g.AdminUser+"/")
	token := g.CreateUser(t, name+"-reader")
	g.Call(t, g.AdminToken, "PUT", "/repos/"+p.repo.Project+"/collaborators/"+name+"-reader", map[string]any{"permission": "read"}, nil)

	g.Call(t, token, "POST", "/repos/"+p.repo.Project+"/forks", map[string]any{}, nil)
	u, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name+"-reader", token)
	fork := u.JoinPath(name+"-reader", name+".git").String()
	t.Cleanup(func() { g.Call(t, g.AdminToken, "DELETE", "/repos/"+name+"-reader/"+name, nil, nil) })
	head := testenv.Push(t, fork, testenv.Change{Branch: "mine", Files: map[string]string{"a.tf": ""}})
	var pull testenv.GiteaPull
	g.Call(t, token, "POST", "/repos/"+p.repo.Project+"/pulls", map[string]any{"head": name + "-reader:mine", "base": "main", "title": "WIP: from a fork"}, &pull)
	dir := t.TempDir()
	testenv.Git(t, dir, "clone", "--quiet", u.JoinPath(p.repo.Project+".git").String(), ".")
	testenv.Git(t, dir, "-c", "user.name=Reader", "-c", "user.email=r@example.com", "commit", "--quiet", "--allow-empty", "-m", "without a branch")
	testenv.Git(t, dir, "push", "--quiet", "origin", "HEAD:refs/for/main/topic")
	p.OpenMR(t, "ours", "main", "ours")

	mrs, err := c.MergeRequests(t.Context(), p.Refs(t))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]plumbline.MergeRequest{}
	for _, mr := range mrs {
		got[mr.Title] = mr
	}
	if mr := got["WIP: from a fork"]; !mr.Fork || !mr.Draft || mr.Head != head || mr.Source != "mine" || mr.Author != name+"-reader" {
		t.Errorf("from a fork: %+v", mr)
	}
	if mr := got["without a branch"]; !mr.Fork || mr.Draft || len(mr.Head) != 40 {
		t.Errorf("pushed to refs/for: %+v", mr)
	}
	if mr := got["ours"]; mr.Fork || mr.Draft {
		t.Errorf("ours: %+v", mr)
	}
	// Both heads can be fetched from the repository itself.
	for _, mr := range mrs {
		testenv.Git(t, dir, "fetch", "--quiet", p.remote, mr.HeadRef)
		if fetched := testenv.Git(t, dir, "rev-parse", "FETCH_HEAD"); fetched != mr.Head {
			t.Errorf("%s of %q is %s, not %s", mr.HeadRef, mr.Title, fetched, mr.Head)
		}
	}
}

// TestReviews: who may write approves, who may only read does not; a push takes it back, and a comment on a line is no comment.
func TestReviews(t *testing.T) {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	c := p.client(t, g.BotToken)
	name := strings.TrimPrefix(p.repo.Project, g.AdminUser+"/")
	writer, reader := g.CreateUser(t, name+"-writer"), g.CreateUser(t, name+"-reader")
	p.repo.AddCollaborator(t, name+"-writer")
	g.Call(t, g.AdminToken, "PUT", "/repos/"+p.repo.Project+"/collaborators/"+name+"-reader", map[string]any{"permission": "read"}, nil)
	id := p.OpenMR(t, "x", "main", "change")
	approved := func(when string, want ...string) {
		t.Helper()
		mr, err := c.MergeRequest(t.Context(), id)
		if err != nil || !slices.Equal(mr.ApprovedBy, want) {
			t.Errorf("%s: %q, %v", when, mr.ApprovedBy, err)
		}
	}
	approved("at first")
	p.repo.Review(t, reader, number(t, id), "APPROVED")
	approved("by a reader")
	p.repo.Review(t, writer, number(t, id), "APPROVED")
	approved("by a writer", name+"-writer")
	p.repo.Review(t, writer, number(t, id), "COMMENT")
	approved("commented since", name+"-writer")
	p.repo.Review(t, writer, number(t, id), "REQUEST_CHANGES")
	approved("changed their mind")
	review := p.repo.Review(t, writer, number(t, id), "APPROVED")
	approved("and back", name+"-writer")
	g.Call(t, g.AdminToken, "POST", fmt.Sprintf("/repos/%s/pulls/%s/reviews/%d/dismissals", p.repo.Project, id, review), map[string]any{"message": "no"}, nil)
	approved("dismissed")
	p.repo.Review(t, writer, number(t, id), "APPROVED")
	approved("once more", name+"-writer")
	p.Push(t, id) // an empty commit: Gitea keeps the approval
	approved("of an earlier head")

	g.Call(t, writer, "POST", fmt.Sprintf("/repos/%s/pulls/%s/reviews", p.repo.Project, id), map[string]any{
		"event": "COMMENT", "body": "plumbline approve", "comments": []map[string]any{{"path": "a.tf", "body": "plumbline approve", "new_position": 1}},
	}, nil)
	if got, err := c.Comments(t.Context(), plumbline.MergeRequest{ID: id}, time.Time{}); err != nil || len(got) != 0 {
		t.Errorf("reviews are taken for comments: %+v, %v", got, err)
	}
}

// TestConflictsOnGitea: what is not mergeable yet is no conflict, what is not a minute later is one.
func TestConflictsOnGitea(t *testing.T) {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	later := time.Now()
	c, err := gitea.New(gitea.Config{
		URL: g.URL, Project: p.repo.Project, Token: plumbline.NewSecret(g.BotToken), Dial: forge.Dial{Now: func() time.Time { return later }},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(id string) plumbline.MergeRequest {
		t.Helper()
		mr, err := c.MergeRequest(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return mr
	}
	clean := p.OpenMR(t, "clean", "env/production", "clean")
	broken := p.OpenMR(t, "broken", "main", "broken")
	p.repo.AwaitMergeable(t, number(t, clean), true)
	p.repo.AwaitMergeable(t, number(t, broken), true)
	p.repo.Push(t, testenv.Change{Files: map[string]string{"a.tf": "# of somebody else, in the same place"}})
	p.repo.AwaitMergeable(t, number(t, broken), false)
	for range 2 {
		if get(broken).Conflicts {
			t.Error("a conflict before Gitea had the time to look")
		}
		get(clean)
		later = later.Add(30 * time.Second)
	}
	if !get(broken).Conflicts {
		t.Error("no conflict, a minute later")
	}
	if get(clean).Conflicts {
		t.Error("a conflict where there is none")
	}
}

// TestLabelsOnGitea: labels are found or made; what people added stays; who may not make one still opens issues.
func TestLabelsOnGitea(t *testing.T) {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	c := p.client(t, g.BotToken)
	p.Branch(t, "promote", "main")
	want := forge.Proposal{Source: "promote", Target: "main", Title: "Promote", Labels: []string{"promotion"}, Draft: true}
	mr, err := c.OpenMergeRequest(t.Context(), want)
	if err != nil || !mr.Draft || !slices.Equal(mr.Labels, want.Labels) {
		t.Fatalf("opened: %+v, %v", mr, err)
	}
	g.Call(t, g.AdminToken, "POST", "/repos/"+p.repo.Project+"/labels", map[string]any{"name": "urgent", "color": "#ff0000"}, nil)
	g.Call(t, g.AdminToken, "POST", "/repos/"+p.repo.Project+"/issues/"+mr.ID+"/labels", map[string]any{"labels": []string{"urgent"}}, nil)
	g.Call(t, g.AdminToken, "PATCH", "/repos/"+p.repo.Project+"/pulls/"+mr.ID, map[string]any{"title": "Promote"}, nil)
	want.Title, want.Labels = "Promote more", []string{"promotion", "infra"}
	if mr, err = c.OpenMergeRequest(t.Context(), want); err != nil || mr.Draft || mr.Title != "Promote more" || !slices.Equal(mr.Labels, []string{"infra", "promotion", "urgent"}) {
		t.Errorf("when somebody called it ready: %+v, %v", mr, err)
	}

	name := strings.TrimPrefix(p.repo.Project, g.AdminUser+"/") + "-reader"
	token := g.CreateUser(t, name)
	g.Call(t, g.AdminToken, "PUT", "/repos/"+p.repo.Project+"/collaborators/"+name, map[string]any{"permission": "read"}, nil)
	if _, err := p.client(t, token).UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "Drift", Body: "m", Labels: []string{"urgent", "new"}, Open: true}); err != nil {
		t.Error(err)
	}
	issues := p.repo.Issues(t)
	if len(issues) != 1 || len(issues[0].Labels) != 0 {
		t.Errorf("of somebody who may not label: %+v", issues)
	}
}

// TestPages reads more than a page of pull requests, and of contexts on one commit.
func TestPages(t *testing.T) {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	c := p.client(t, g.BotToken)
	c.SetPageSize(2)
	const n = 5
	dir := t.TempDir()
	testenv.Git(t, dir, "clone", "--quiet", p.remote, ".")
	push := []string{"push", "--quiet", "origin"}
	testenv.Git(t, dir, "-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "--allow-empty", "-m", "change")
	for i := range n {
		push = append(push, fmt.Sprintf("HEAD:refs/heads/f%d", i))
	}
	testenv.Git(t, dir, push...)
	for i := range n {
		p.repo.OpenPull(t, fmt.Sprintf("f%d", i), "main", fmt.Sprintf("change %d", i))
	}
	mrs, err := c.MergeRequests(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, mr := range mrs {
		seen[mr.ID] = true
	}
	if len(mrs) != n || len(seen) != n {
		t.Errorf("%d pull requests, %d different, of %d", len(mrs), len(seen), n)
	}
	commit := mrs[0].Head
	s := plumbline.CommitStatus{State: plumbline.ToldSuccess, Description: "ok"}
	for range 2 {
		for i := range n {
			s.Context = fmt.Sprintf("plumbline/%02d", i)
			if err := c.SetStatus(t.Context(), commit, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := p.Statuses(t, commit); len(got) != n {
		t.Errorf("%d statuses, though the second round said nothing new: %d were expected", len(got), n)
	}
}
