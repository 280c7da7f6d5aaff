package testenv

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// A GiteaRepo is a private repository of the administrator.
type GiteaRepo struct {
	Project  string // "administrator/name", as in Plumbline's configuration
	CloneURL string // with the administrator's credentials
	server   *GiteaServer
}

// A GiteaPull is a pull request as Gitea tells of it.
type GiteaPull struct {
	Number         int64     `json:"number"`
	Title          string    `json:"title"`
	State          string    `json:"state"` // "open" or "closed"
	Merged         bool      `json:"merged"`
	MergeCommitSHA string    `json:"merge_commit_sha"`
	Head           GiteaSide `json:"head"`
	Base           GiteaSide `json:"base"`
	// Mergeable is false as well for as long as Gitea has not looked for conflicts.
	Mergeable bool         `json:"mergeable"`
	Labels    []GiteaLabel `json:"labels"`
}

// A GiteaSide is one of the two branches of a pull request.
type GiteaSide struct {
	Ref string `json:"ref"`
	SHA string `json:"sha"`
}

// A GiteaComment is a comment on a pull request.
type GiteaComment struct {
	ID   int64     `json:"id"`
	Body string    `json:"body"`
	User GiteaUser `json:"user"`
}

// A GiteaReaction is one sign of one person under a comment.
type GiteaReaction struct {
	Content string    `json:"content"` // "+1", "eyes"
	User    GiteaUser `json:"user"`
}

// A GiteaIssue is an issue.
type GiteaIssue struct {
	Number int64        `json:"number"`
	Title  string       `json:"title"`
	Body   string       `json:"body"`
	State  string       `json:"state"` // "open" or "closed"
	User   GiteaUser    `json:"user"`
	Labels []GiteaLabel `json:"labels"`
	Locked bool         `json:"is_locked"`
}

// A GiteaLabel is one on an issue or a pull request.
type GiteaLabel struct {
	Name string `json:"name"`
}

// A GiteaUser is somebody who wrote a comment.
type GiteaUser struct {
	Login string `json:"login"`
}

// A GiteaStatus is one status of a commit. Gitea keeps all that were ever posted: the highest ID of a context counts.
type GiteaStatus struct {
	ID          int64  `json:"id"`
	Context     string `json:"context"`
	State       string `json:"status"`
	Description string `json:"description"`
	TargetURL   string `json:"target_url"`
}

// CreateRepo creates an empty repository that the bot may write to. It is deleted when the test ends.
func (g *GiteaServer) CreateRepo(t testing.TB, name string) *GiteaRepo {
	t.Helper()
	g.Call(t, g.AdminToken, "POST", "/user/repos", map[string]any{"name": name, "private": true, "default_branch": "main"}, nil)
	t.Cleanup(func() { g.Call(t, g.AdminToken, "DELETE", "/repos/"+g.AdminUser+"/"+name, nil, nil) })
	r := g.Repo(t, g.AdminUser+"/"+name)
	r.AddCollaborator(t, g.BotUser)
	return r
}

// Repo returns a repository that exists already and that the owner of AdminToken may write to. AdminUser is that person.
func (g *GiteaServer) Repo(t testing.TB, project string) *GiteaRepo {
	t.Helper()
	u, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(g.AdminUser, g.AdminToken)
	return &GiteaRepo{Project: project, CloneURL: u.JoinPath(project + ".git").String(), server: g}
}

// CreateUser adds a person until the test ends and returns a token that acts as them, with the scopes of the bot's.
func (g *GiteaServer) CreateUser(t testing.TB, name string) (token string) {
	t.Helper()
	token, err := g.createUser(name, "write:repository", "write:issue", "read:user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Call(t, g.AdminToken, "DELETE", "/admin/users/"+name+"?purge=true", nil, nil) })
	return token
}

// AddCollaborator lets a user write to the repository.
func (r *GiteaRepo) AddCollaborator(t testing.TB, name string) {
	t.Helper()
	r.call(t, "PUT", "/collaborators/"+name, map[string]any{"permission": "write"}, nil)
}

// AddHook makes Gitea deliver pushes, pull requests and their comments to the URL, signed with the secret. It does so 0.1
// to 4 s after the event.
func (r *GiteaRepo) AddHook(t testing.TB, target, secret string) {
	t.Helper()
	r.call(t, "POST", "/hooks", map[string]any{
		"type":   "gitea",
		"active": true,
		"events": []string{"push", "pull_request", "pull_request_sync", "pull_request_comment", "issue_comment"},
		"config": map[string]string{"url": target, "content_type": "json", "secret": secret},
	}, nil)
}

// Push pushes the change as Push does, then waits until Gitea shows it. Gitea answers the push first and works out what
// came of it afterwards: until then a repository counts as empty and has no pull requests, and an open pull request still
// shows the commit before.
func (r *GiteaRepo) Push(t testing.TB, c Change) (commit string) {
	t.Helper()
	commit = Push(t, r.CloneURL, c)
	branch := orDefault(c.Branch, "main")
	r.await(t, "shows "+commit+" on "+branch, func() bool {
		if r.empty(t) {
			return false // the branches of an empty repository are a panic in Gitea 1.26
		}
		var b struct {
			Commit struct {
				ID string `json:"id"`
			} `json:"commit"`
		}
		r.call(t, "GET", "/branches/"+url.PathEscape(branch), nil, &b)
		if b.Commit.ID != commit {
			return false
		}
		for _, p := range r.OpenPulls(t) {
			if p.Head.Ref == branch && p.Head.SHA != commit {
				return false
			}
		}
		return true
	})
	return commit
}

// DropBranch deletes a branch, if it is there.
func (r *GiteaRepo) DropBranch(t testing.TB, name string) {
	t.Helper()
	path := "/repos/" + r.Project + "/branches/" + url.PathEscape(name)
	status, answer, err := r.server.do(token(r.server.AdminToken), "DELETE", path, nil)
	if err != nil || (status/100 != 2 && status != http.StatusNotFound) {
		t.Errorf("DELETE %s: %d %s %v", path, status, answer, err)
	}
}

// OpenPulls returns the open pull requests, at most 50.
func (r *GiteaRepo) OpenPulls(t testing.TB) []GiteaPull {
	t.Helper()
	var open []GiteaPull
	r.call(t, "GET", "/pulls?state=open&limit=50", nil, &open)
	return open
}

// OpenPull opens a pull request as the administrator.
func (r *GiteaRepo) OpenPull(t testing.TB, head, base, title string) GiteaPull {
	t.Helper()
	r.await(t, "has seen the first push", func() bool { return !r.empty(t) })
	var p GiteaPull
	r.call(t, "POST", "/pulls", map[string]any{"head": head, "base": base, "title": title}, &p)
	return p
}

// empty tells whether Gitea takes the repository for empty.
func (r *GiteaRepo) empty(t testing.TB) bool {
	t.Helper()
	var state struct {
		Empty bool `json:"empty"`
	}
	r.call(t, "GET", "", nil, &state)
	return state.Empty
}

// Pull returns the pull request as it is now.
func (r *GiteaRepo) Pull(t testing.TB, number int64) GiteaPull {
	t.Helper()
	var p GiteaPull
	r.call(t, "GET", fmt.Sprintf("/pulls/%d", number), nil, &p)
	return p
}

// Merge merges the pull request with a merge commit and returns that commit's ID. Gitea refuses for as long as it has not
// found out whether there is a conflict; Merge asks again.
func (r *GiteaRepo) Merge(t testing.TB, number int64) (commit string) {
	t.Helper()
	path := fmt.Sprintf("/repos/%s/pulls/%d/merge", r.Project, number)
	r.await(t, fmt.Sprintf("merges pull request %d", number), func() bool {
		status, answer, err := r.server.do(token(r.server.AdminToken), "POST", path, map[string]any{"Do": "merge"})
		switch {
		case err != nil:
			t.Fatal(err)
		case status == http.StatusMethodNotAllowed && bytes.Contains(answer, []byte("try again later")):
			return false
		case status/100 != 2:
			t.Fatalf("POST %s: %d %s", path, status, answer)
		}
		return true
	})
	return r.Pull(t, number).MergeCommitSHA
}

// AwaitMergeable waits until Gitea calls the pull request mergeable, or does not.
func (r *GiteaRepo) AwaitMergeable(t testing.TB, number int64, want bool) {
	t.Helper()
	r.await(t, fmt.Sprintf("calls pull request %d mergeable: %t", number, want), func() bool { return r.Pull(t, number).Mergeable == want })
}

// Close closes the pull request without merging it.
func (r *GiteaRepo) Close(t testing.TB, number int64) {
	t.Helper()
	r.call(t, "PATCH", fmt.Sprintf("/pulls/%d", number), map[string]any{"state": "closed"}, nil)
}

// Comment writes a comment as the owner of the token.
func (r *GiteaRepo) Comment(t testing.TB, token string, number int64, body string) GiteaComment {
	t.Helper()
	var c GiteaComment
	r.server.Call(t, token, "POST", fmt.Sprintf("/repos/%s/issues/%d/comments", r.Project, number), map[string]any{"body": body}, &c)
	return c
}

// EditComment changes the text of a comment as the owner of the token, in another second than the one in which it was written: Gitea shows no
// change before that.
func (r *GiteaRepo) EditComment(t testing.TB, token string, id int64, body string) {
	t.Helper()
	seen := time.Now() // it was written before, whatever the server's clock says
	r.await(t, "is past the second of the comment", func() bool { return time.Since(seen) > time.Second })
	r.server.Call(t, token, "PATCH", fmt.Sprintf("/repos/%s/issues/comments/%d", r.Project, id), map[string]any{"body": body}, nil)
}

// Reactions returns those to a comment.
func (r *GiteaRepo) Reactions(t testing.TB, comment int64) []GiteaReaction {
	t.Helper()
	var all []GiteaReaction
	r.call(t, "GET", fmt.Sprintf("/issues/comments/%d/reactions", comment), nil, &all)
	return all
}

// Issues returns all issues of the repository, oldest first.
func (r *GiteaRepo) Issues(t testing.TB) []GiteaIssue {
	t.Helper()
	var all []GiteaIssue
	r.call(t, "GET", "/issues?state=all&type=issues&limit=50", nil, &all)
	slices.SortFunc(all, func(a, b GiteaIssue) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// OpenIssue opens an issue as the owner of the token.
func (r *GiteaRepo) OpenIssue(t testing.TB, token, title, body string) GiteaIssue {
	t.Helper()
	var i GiteaIssue
	r.server.Call(t, token, "POST", "/repos/"+r.Project+"/issues", map[string]any{"title": title, "body": body}, &i)
	return i
}

// Issue returns one.
func (r *GiteaRepo) Issue(t testing.TB, number int64) GiteaIssue {
	t.Helper()
	var i GiteaIssue
	r.call(t, "GET", fmt.Sprintf("/issues/%d", number), nil, &i)
	return i
}

// LockIssue ends the conversation on an issue.
func (r *GiteaRepo) LockIssue(t testing.TB, number int64) {
	t.Helper()
	r.call(t, "PUT", fmt.Sprintf("/issues/%d/lock", number), map[string]any{}, nil)
}

// DeleteIssue takes an issue away for good.
func (r *GiteaRepo) DeleteIssue(t testing.TB, number int64) {
	t.Helper()
	r.call(t, "DELETE", fmt.Sprintf("/issues/%d", number), nil, nil)
}

// CloseIssue closes an issue.
func (r *GiteaRepo) CloseIssue(t testing.TB, number int64) {
	t.Helper()
	r.call(t, "PATCH", fmt.Sprintf("/issues/%d", number), map[string]any{"state": "closed"}, nil)
}

// Review reviews the head of a pull request as the owner of the token. The event is "APPROVED", "REQUEST_CHANGES" or "COMMENT".
func (r *GiteaRepo) Review(t testing.TB, token string, number int64, event string) (id int64) {
	t.Helper()
	var review struct {
		ID int64 `json:"id"`
	}
	path := fmt.Sprintf("/repos/%s/pulls/%d/reviews", r.Project, number)
	r.server.Call(t, token, "POST", path, map[string]any{"event": event, "body": "a review"}, &review)
	return review.ID
}

// Comments returns all comments of a pull request, oldest first.
func (r *GiteaRepo) Comments(t testing.TB, number int64) []GiteaComment {
	t.Helper()
	var all []GiteaComment
	r.call(t, "GET", fmt.Sprintf("/issues/%d/comments", number), nil, &all)
	return all
}

// Statuses returns the statuses of a commit that count, by context.
func (r *GiteaRepo) Statuses(t testing.TB, commit string) map[string]GiteaStatus {
	t.Helper()
	counts := make(map[string]GiteaStatus)
	for page := 1; ; page++ {
		var all []GiteaStatus
		r.call(t, "GET", fmt.Sprintf("/commits/%s/statuses?limit=50&page=%d", commit, page), nil, &all)
		if len(all) == 0 {
			return counts
		}
		for _, s := range all {
			if s.ID > counts[s.Context].ID {
				counts[s.Context] = s
			}
		}
	}
}

// await asks done every 100 ms until it is true. After a minute it fails the test, and says what Gitea does not do.
func (r *GiteaRepo) await(t testing.TB, what string, done func() bool) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit.C:
			t.Fatalf("a minute went by before Gitea %s (%s)", what, r.Project)
		case <-tick.C:
		}
	}
}

// call calls the API of the repository as the administrator.
func (r *GiteaRepo) call(t testing.TB, method, path string, in, out any) {
	t.Helper()
	r.server.Call(t, r.server.AdminToken, method, "/repos/"+r.Project+path, in, out)
}

// Call calls the HTTP API at a path below /api/v1, sends in as JSON unless nil and decodes the answer into out unless
// nil. Anything but success fails the test.
func (g *GiteaServer) Call(t testing.TB, tok, method, path string, in, out any) {
	t.Helper()
	if err := g.call(token(tok), method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

// createUser adds a user and returns a token with the scopes.
func (g *GiteaServer) createUser(name string, scopes ...string) (string, error) {
	password := rand.Text()
	err := g.call(token(g.AdminToken), "POST", "/admin/users", map[string]any{
		"username":             name,
		"email":                name + "@example.com",
		"password":             password,
		"must_change_password": false,
	}, nil)
	if err != nil {
		return "", err
	}
	return g.createToken(name, password, scopes...)
}

// createToken signs in with the password, as Gitea demands for this call alone.
func (g *GiteaServer) createToken(name, password string, scopes ...string) (string, error) {
	var answer struct {
		SHA1 string `json:"sha1"` // the token, by an old name
	}
	auth := func(r *http.Request) { r.SetBasicAuth(name, password) }
	err := g.call(auth, "POST", "/users/"+name+"/tokens", map[string]any{"name": "testenv", "scopes": scopes}, &answer)
	return answer.SHA1, err
}

// An authorizer adds credentials to a request.
type authorizer func(*http.Request)

func token(t string) authorizer {
	return func(r *http.Request) { r.Header.Set("Authorization", "token "+t) }
}

// call is Call for those who have no test.
func (g *GiteaServer) call(auth authorizer, method, path string, in, out any) error {
	status, answer, err := g.do(auth, method, path, in)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, status, bytes.TrimSpace(answer))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// do makes one request, whatever its answer.
func (g *GiteaServer) do(auth authorizer, method, path string, in any) (status int, answer []byte, err error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, g.URL+"/api/v1"+path, body)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	auth(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return resp.StatusCode, answer, nil
}
