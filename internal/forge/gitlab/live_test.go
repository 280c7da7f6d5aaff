package gitlab_test

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/gitlab"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestSuiteOnGitLab runs the suite on a real project that is there for nothing else: all of its open merge requests are closed. Two tokens
// with the scope api are needed, of two users: Plumbline's with the role Developer or more, and another's with the role Maintainer.
//
//	PLUMBLINE_LIVE_GITLAB_URL=https://gitlab.com PLUMBLINE_LIVE_GITLAB_PROJECT=group/plumbline-suite \
//	PLUMBLINE_LIVE_GITLAB_TOKEN=... PLUMBLINE_LIVE_GITLAB_OTHER_TOKEN=... go test -run OnGitLab -v ./internal/forge/gitlab
func TestSuiteOnGitLab(t *testing.T) {
	env := map[string]string{}
	for _, name := range []string{"URL", "PROJECT", "TOKEN", "OTHER_TOKEN"} {
		name = "PLUMBLINE_LIVE_GITLAB_" + name
		if env[name] = os.Getenv(name); env[name] == "" {
			t.Skipf("no GitLab to test with: %s is not set", name)
		}
	}
	url, project := env["PLUMBLINE_LIVE_GITLAB_URL"], env["PLUMBLINE_LIVE_GITLAB_PROJECT"]
	ours, theirs := env["PLUMBLINE_LIVE_GITLAB_TOKEN"], env["PLUMBLINE_LIVE_GITLAB_OTHER_TOKEN"]
	client := func(t *testing.T, token string) *gitlab.Client {
		t.Helper()
		c, err := gitlab.New(gitlab.Config{URL: url, Project: project, Token: plumbline.NewSecret(token)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		p := newLivePeople(t, client(t, ours), url, project, ours, theirs)
		return forgetest.Fixture{
			Client: client(t, ours), Second: client(t, ours), Denied: client(t, "glpat-00000000000000000000"), People: p, Told: told,
		}
	})
}

// live are people on a real project.
type live struct {
	project   string
	remote    string
	token     string // for Git
	bot       int64
	ours      *api.Client
	theirs    *api.Client
	branch    map[string]string // by merge request
	issue     int64             // the last before this part of the suite
	deploy    int64
	beginning time.Time
}

var liveBranches atomic.Int64

func newLivePeople(t *testing.T, c *gitlab.Client, url, project, ours, theirs string) *live {
	t.Helper()
	p := &live{project: project, token: theirs, branch: map[string]string{}, beginning: time.Now()}
	for token, to := range map[string]**api.Client{ours: &p.ours, theirs: &p.theirs} {
		gl, err := api.NewClient(token, api.WithBaseURL(url))
		if err != nil {
			t.Fatal(err)
		}
		*to = gl
	}
	me, _, err := p.ours.Users.CurrentUser()
	if err != nil {
		t.Fatal(err)
	}
	p.bot = me.ID
	if p.remote, _, err = c.FindRemote(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.clean(t)
	refs := p.Refs(t)
	if refs["refs/heads/main"] == "" {
		p.push(t, "main", "")
	}
	if refs["refs/heads/env/production"] == "" {
		p.push(t, "env/production", "main")
	}
	return p
}

// clean closes what an earlier part left open, and remembers what is there.
func (p *live) clean(t *testing.T) {
	t.Helper()
	mrs, _, err := p.theirs.MergeRequests.ListProjectMergeRequests(p.project, &api.ListProjectMergeRequestsOptions{
		State: new("opened"), Scope: new("all"), ListOptions: api.ListOptions{PerPage: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, mr := range mrs {
		if _, _, err := p.theirs.MergeRequests.UpdateMergeRequest(p.project, mr.IID, &api.UpdateMergeRequestOptions{StateEvent: new("close")}); err != nil {
			t.Fatal(err)
		}
	}
	if p.Refs(t)["refs/heads/promote/production"] != "" {
		if _, err := p.theirs.Branches.DeleteBranch(p.project, "promote/production"); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range p.issues(t, "desc") {
		p.issue = max(p.issue, i.IID)
		if i.State != "opened" {
			continue
		}
		if _, _, err := p.theirs.Issues.UpdateIssue(p.project, i.IID, &api.UpdateIssueOptions{StateEvent: new("close")}); err != nil {
			t.Fatal(err)
		}
	}
	ds, _, err := p.ours.Deployments.ListProjectDeployments(p.project, &api.ListProjectDeploymentsOptions{OrderBy: new("id"), Sort: new("desc")})
	if err != nil {
		t.Fatal(err)
	}
	if len(ds) > 0 {
		p.deploy = ds[0].ID
	}
}

// git runs Git with the credentials where no list of processes and no log shows them.
func (p *live) git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	auth := base64.StdEncoding.EncodeToString([]byte("oauth2:" + p.token))
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=http.extraHeader", "GIT_CONFIG_VALUE_0=Authorization: Basic "+auth)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		_ = errors.As(err, &exit)
		t.Fatalf("git %s: %v\n%s", args[0], err, exit.Stderr)
	}
	return strings.TrimSpace(string(out))
}

func (p *live) push(t *testing.T, branch, from string) string {
	t.Helper()
	dir := t.TempDir()
	p.git(t, dir, "init", "--quiet", "--initial-branch", "work")
	if from != "" {
		p.git(t, dir, "fetch", "--quiet", "--depth", "50", p.remote, "refs/heads/"+from)
		p.git(t, dir, "reset", "--quiet", "--hard", "FETCH_HEAD")
	}
	name := fmt.Sprintf("file-%d.tf", time.Now().UnixNano())
	if err := os.WriteFile(dir+"/"+name, []byte("# nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.git(t, dir, "add", name)
	p.git(t, dir, "-c", "user.name=Dev", "-c", "user.email=dev@example.com", "commit", "--quiet", "--message", "change")
	p.git(t, dir, "push", "--quiet", p.remote, "HEAD:refs/heads/"+branch)
	return p.git(t, dir, "rev-parse", "HEAD")
}

func (p *live) OpenMR(t *testing.T, name, target, title string) string {
	t.Helper()
	branch := fmt.Sprintf("feature/%d-%d-%s", p.beginning.Unix(), liveBranches.Add(1), name)
	p.push(t, branch, target)
	mr, _, err := p.theirs.MergeRequests.CreateMergeRequest(p.project, &api.CreateMergeRequestOptions{Title: &title, SourceBranch: &branch, TargetBranch: &target})
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.FormatInt(mr.IID, 10)
	p.branch[id] = branch
	return id
}

func (p *live) Push(t *testing.T, id string) string { return p.push(t, p.branch[id], p.branch[id]) }

func (p *live) iid(t *testing.T, id string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Merge asks until GitLab has found out that it can be merged.
func (p *live) Merge(t *testing.T, id string) string {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		mr, _, err := p.theirs.MergeRequests.AcceptMergeRequest(p.project, p.iid(t, id), &api.AcceptMergeRequestOptions{ShouldRemoveSourceBranch: new(true)})
		if err == nil {
			return cmp.Or(mr.MergeCommitSHA, mr.SquashCommitSHA, mr.SHA)
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

func (p *live) Close(t *testing.T, id string) {
	t.Helper()
	if _, _, err := p.theirs.MergeRequests.UpdateMergeRequest(p.project, p.iid(t, id), &api.UpdateMergeRequestOptions{StateEvent: new("close")}); err != nil {
		t.Fatal(err)
	}
}

func (p *live) Comment(t *testing.T, id, body string) {
	t.Helper()
	if _, _, err := p.theirs.Notes.CreateMergeRequestNote(p.project, p.iid(t, id), &api.CreateMergeRequestNoteOptions{Body: &body}); err != nil {
		t.Fatal(err)
	}
}

func (p *live) Edit(t *testing.T, id, comment, body string) {
	t.Helper()
	if _, _, err := p.theirs.Notes.UpdateMergeRequestNote(p.project, p.iid(t, id), p.iid(t, comment), &api.UpdateMergeRequestNoteOptions{Body: &body}); err != nil {
		t.Fatal(err)
	}
}

func (p *live) Head(t *testing.T, id string) string {
	t.Helper()
	return p.Refs(t)["refs/heads/"+p.branch[id]]
}

func (p *live) Refs(t *testing.T) map[string]string {
	t.Helper()
	refs := map[string]string{}
	for line := range strings.Lines(p.git(t, t.TempDir(), "ls-remote", p.remote)) {
		commit, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		refs[name] = commit
	}
	return refs
}

func (p *live) Notes(t *testing.T, id string) []string {
	return p.by(t, id, func(author int64) bool { return author == p.bot })
}

func (p *live) Comments(t *testing.T, id string) []string {
	return p.by(t, id, func(author int64) bool { return author != p.bot })
}

func (p *live) by(t *testing.T, id string, want func(author int64) bool) (out []string) {
	t.Helper()
	notes, _, err := p.theirs.Notes.ListMergeRequestNotes(p.project, p.iid(t, id), &api.ListMergeRequestNotesOptions{
		Sort: new("asc"), OrderBy: new("created_at"), ListOptions: api.ListOptions{PerPage: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		if !n.System && want(n.Author.ID) {
			out = append(out, n.Body)
		}
	}
	return out
}

func (p *live) Statuses(t *testing.T, commit string) (out []plumbline.CommitStatus) {
	t.Helper()
	all, _, err := p.theirs.Commits.GetCommitStatuses(p.project, commit, &api.GetCommitStatusesOptions{All: new(true), ListOptions: api.ListOptions{PerPage: 100}})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b *api.CommitStatus) int { return cmp.Compare(a.ID, b.ID) })
	state := map[string]plumbline.Told{
		"pending": plumbline.ToldPending, "running": plumbline.ToldPending, "success": plumbline.ToldSuccess, "failed": plumbline.ToldFailure,
	}
	for _, s := range all {
		if s.Author.ID == p.bot && s.Status != "canceled" {
			out = append(out, plumbline.CommitStatus{Context: s.Name, State: state[s.Status], Description: s.Description, URL: s.TargetURL})
		}
	}
	return out
}

func (p *live) Reactions(t *testing.T, id, comment string) (out []plumbline.Reaction) {
	t.Helper()
	all, _, err := p.theirs.AwardEmoji.ListMergeRequestAwardEmojiOnNote(p.project, p.iid(t, id), p.iid(t, comment), nil)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]plumbline.Reaction{"eyes": plumbline.ReactionSeen, "thumbsup": plumbline.ReactionDone, "thumbsdown": plumbline.ReactionRefused}
	for _, a := range all {
		if a.User.ID == p.bot {
			out = append(out, names[a.Name])
		}
	}
	return out
}

func (p *live) issues(t *testing.T, sort string) []*api.Issue {
	t.Helper()
	all, _, err := p.theirs.Issues.ListProjectIssues(p.project, &api.ListProjectIssuesOptions{
		Scope: new("all"), OrderBy: new("created_at"), Sort: &sort, ListOptions: api.ListOptions{PerPage: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (p *live) Issues(t *testing.T) (out []forgetest.Issue) {
	for _, i := range slices.Backward(p.issues(t, "desc")) {
		if i.Author.ID == p.bot && i.IID > p.issue {
			out = append(out, seen(i))
		}
	}
	return out
}

func seen(i *api.Issue) forgetest.Issue {
	var labels []string
	labels = append(labels, i.Labels...)
	return forgetest.Issue{Number: i.IID, Title: i.Title, Body: i.Description, Labels: labels, Open: i.State == "opened", Locked: i.DiscussionLocked}
}

func (p *live) Issue(t *testing.T, number int64) forgetest.Issue {
	t.Helper()
	i, _, err := p.theirs.Issues.GetIssue(p.project, number)
	if err != nil {
		t.Fatal(err)
	}
	return seen(i)
}

func (p *live) OpenIssue(t *testing.T, title, body string) int64 {
	t.Helper()
	i, _, err := p.theirs.Issues.CreateIssue(p.project, &api.CreateIssueOptions{Title: &title, Description: &body})
	if err != nil {
		t.Fatal(err)
	}
	return i.IID
}

func (p *live) CloseIssue(t *testing.T, number int64) {
	t.Helper()
	p.changeIssue(t, number, &api.UpdateIssueOptions{StateEvent: new("close")})
}

func (p *live) LockIssue(t *testing.T, number int64) {
	t.Helper()
	p.changeIssue(t, number, &api.UpdateIssueOptions{DiscussionLocked: new(true)})
}

// DeleteIssue may be refused: who deletes owns the project.
func (p *live) DeleteIssue(t *testing.T, number int64) {
	t.Helper()
	if _, err := p.theirs.Issues.DeleteIssue(p.project, number); err != nil {
		t.Skipf("the other token may not delete an issue: %v", err)
	}
}

func (p *live) changeIssue(t *testing.T, number int64, o *api.UpdateIssueOptions) {
	t.Helper()
	if _, _, err := p.theirs.Issues.UpdateIssue(p.project, number, o); err != nil {
		t.Fatal(err)
	}
}

func (p *live) Branch(t *testing.T, name, from string) { p.push(t, name, from) }

func (p *live) Deployments(t *testing.T, environment string) (out []forge.Deployment) {
	t.Helper()
	all, _, err := p.theirs.Deployments.ListProjectDeployments(p.project, &api.ListProjectDeploymentsOptions{
		Environment: &environment, OrderBy: new("id"), Sort: new("desc"), ListOptions: api.ListOptions{PerPage: 100},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range slices.Backward(all) {
		if d.ID > p.deploy {
			out = append(out, forge.Deployment{Environment: environment, Branch: d.Ref, Commit: d.SHA, State: forge.DeploymentState(d.Status)})
		}
	}
	return out
}
