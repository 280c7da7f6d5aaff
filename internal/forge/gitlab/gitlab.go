// Package gitlab speaks for a project on GitLab.com or on a GitLab of one's own, from version 15.
//
// Requests and answers are those of GitLab's own client library. No GitLab was at hand when this was written, so that nothing here has run
// against one. What the tests show, they show on a server in the tests that behaves as GitLab's documentation and source say. The shape of
// each of its answers is held to what others wrote: the JSON schemas that GitLab tests its API with, the payloads that its client library is
// tested with, and that library's types. For a commit's status there is neither a schema nor a payload, but the list of fields in GitLab's
// source; for GraphQL there is only its description. How GitLab behaves, such as which change of a status it refuses, is our reading of its
// source. TestSuiteOnGitLab runs the same suite on a real project when it is told one, which nobody has done yet.
package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config says which project on which server.
type Config struct {
	URL     string // of the server, with the path it lives under, if any
	Project string // "group/name", "group/sub/name", or the project's number
	// Of a user, a project or a group, with the scope api and the role Developer. On commits of protected branches GitLab takes statuses only
	// from those who may push or merge there (app/policies/ci/pipeline_policy.rb), and to protected environments deployments only from those
	// who may deploy there.
	Token plumbline.Secret
	forge.Dial
}

// Limits of GitLab. A text that is too long is refused, not cut.
const (
	// Characters by https://docs.gitlab.com/api/notes/; as bytes it is within the limit whatever they are.
	noteLimit = 1_000_000
	// Characters of an issue's or a merge request's title: app/models/concerns/issuable.rb.
	titleLimit = 255
	// Characters of a status's description and target_url: https://docs.gitlab.com/api/commits/#set-commit-pipeline-status. For its name no
	// limit is given; GitLab keeps it in one line of a job.
	contextLimit, descriptionLimit, urlLimit = 255, 255, 255

	// The most that GitLab returns: https://docs.gitlab.com/api/rest/#pagination.
	pageSize = 100
	// A list that is longer is an error: half of it would be taken for the whole.
	maxPages = 100
)

// Client is a project on a GitLab server. It is a forge.Client that can all that a forge can, but for checks.
type Client struct {
	api     *forge.API
	gl      *api.Client
	url     string
	project string
	limit   int64 // of a page

	mu    sync.Mutex
	id    int64  // of the token's user; 0: not asked yet
	path  string // of the project for Git; "": not known yet
	piped string // a commit that has a pipeline
}

var _ interface {
	forge.Client
	forge.Commenter
	forge.Reactor
	forge.Issuer
	forge.Proposer
	forge.Deployer
} = (*Client)(nil)

var (
	projectPath   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$`)
	projectNumber = regexp.MustCompile(`^[1-9][0-9]{0,17}$`)
	commitID      = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// New returns a Client. It does not connect.
func New(c Config) (*Client, error) {
	number := projectNumber.MatchString(c.Project)
	if !number && (!projectPath.MatchString(c.Project) || strings.HasSuffix(c.Project, ".git")) {
		return nil, fmt.Errorf("gitlab project %q: write it as group/name, or as its number: %w", c.Project, plumbline.ErrInvalid)
	}
	c.URL = strings.TrimRight(c.URL, "/")
	a, err := forge.NewAPI(forge.APIConfig{
		URL: c.URL,
		// Tokens of all kinds work this way: https://docs.gitlab.com/api/rest/authentication/.
		Authorize: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+c.Token.Reveal()) },
		Secret:    c.Token,
		Dial:      c.Dial,
	})
	if err != nil {
		return nil, fmt.Errorf("gitlab project %s: %w", c.Project, err)
	}
	gl, err := api.NewAuthSourceClient(api.Unauthenticated{}, api.WithBaseURL(c.URL), api.WithHTTPClient(a.Whole()), api.WithoutRetries(),
		api.WithCustomLimiter(unlimited{}))
	if err != nil {
		return nil, fmt.Errorf("gitlab project %s: %w", c.Project, err)
	}
	client := &Client{api: a, gl: gl, url: c.URL, project: c.Project, limit: pageSize}
	if !number {
		client.path = c.Project
	}
	return client, nil
}

// unlimited keeps the library from measuring out requests by itself.
type unlimited struct{}

func (unlimited) Wait(context.Context) error { return nil }

// Remote returns where Git finds the project, "" as long as only its number is known: see FindRemote. The token is the password; GitLab
// does not look at the user name beside it, which only has to be there, and names this one for tokens of OAuth.
func (c *Client) Remote() (url, username string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path == "" {
		return "", user
	}
	return c.url + "/" + c.path + ".git", user
}

const user = "oauth2"

// FindRemote returns what Remote does, after asking GitLab for the path of a project that is configured by its number.
func (c *Client) FindRemote(ctx context.Context) (url, username string, err error) {
	if url, username = c.Remote(); url != "" {
		return url, username, nil
	}
	p, resp, err := c.gl.Projects.GetProject(c.project, nil, api.WithContext(ctx))
	if err := some(p, c.check(resp, err)); err != nil {
		return "", "", err
	}
	if !projectPath.MatchString(p.PathWithNamespace) {
		return "", "", unexpected("project %s without a path", c.project)
	}
	c.mu.Lock()
	c.path = p.PathWithNamespace // and not its address: that is whatever the server believes to be called
	c.mu.Unlock()
	url, username = c.Remote()
	return url, username, nil
}

// NoteLimit is the longest note in bytes.
func (c *Client) NoteLimit() int { return noteLimit }

// check returns the house's error for what the library made of an answer.
func (c *Client) check(resp *api.Response, err error) error {
	switch {
	case err == nil:
		return nil
	case resp == nil || resp.Response == nil:
		var u *url.Error // repeats method and address
		if errors.As(err, &u) {
			return fmt.Errorf("%s %s: %w", strings.ToUpper(u.Op), bare(u.URL), u.Err)
		}
		return err
	case resp.StatusCode/100 == 2:
		return fmt.Errorf("%s %s: unexpected answer: %w", resp.Request.Method, resp.Request.URL.Path, err)
	}
	message := ""
	var refusal *api.ErrorResponse
	if errors.As(err, &refusal) && !strings.HasPrefix(refusal.Message, "failed to parse") { // a page for people
		message = refusal.Message
	}
	return c.api.Refused(resp.Response, message)
}

// some is what check says, and an error for a null, which the library returns as nil.
func some[T any](v *T, err error) error {
	if err == nil && v == nil {
		return unexpected("null")
	}
	return err
}

func bare(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address
}

func unexpected(format string, args ...any) error {
	return fmt.Errorf("gitlab: unexpected answer: "+format, args...)
}

// list reads all pages, or until enough says so. Only numbers of pages are taken from an answer, never an address.
func list[T any](c *Client, get func(api.ListOptions) ([]*T, *api.Response, error), enough func(page []*T) bool) ([]*T, error) {
	var all []*T
	for page := int64(1); page <= maxPages; {
		some, resp, err := get(api.ListOptions{Page: page, PerPage: c.limit})
		if err := c.check(resp, err); err != nil {
			return nil, err
		}
		if slices.Contains(some, nil) {
			return nil, unexpected("a list with nothing in it")
		}
		all = append(all, some...)
		// A proxy may drop one of the two headers.
		next := cmp.Or(resp.NextPage, int64(forge.NextPage(resp.Header)))
		if next == 0 || (enough != nil && enough(some)) {
			return all, nil
		}
		if next != page+1 {
			return nil, unexpected("after page %d comes page %d", page, next)
		}
		page = next
	}
	return nil, unexpected("a list of more than %d pages", maxPages)
}

// MergeRequests lists the open ones. One that moves between two pages while they are read, as others are closed, can be missed until the
// next call.
//
// A merge request's head is the commit that refs has for it: that one can be fetched. GitLab's API is ahead of the ref for a moment after
// each push. Whether it conflicts is what GitLab found when it last looked, which it does when somebody visits.
func (c *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	all, err := c.open(ctx, api.ListProjectMergeRequestsOptions{})
	if err != nil {
		return nil, err
	}
	var out []plumbline.MergeRequest
	seen := map[string]bool{}
	for _, one := range all {
		mr, err := mergeRequest(one)
		if err != nil {
			return nil, err
		}
		if seen[mr.ID] || mr.State != plumbline.MROpen {
			continue
		}
		seen[mr.ID] = true
		if head := refs[mr.HeadRef]; head != "" {
			mr.Head = head
		}
		if refs != nil && refs[mr.MergeRef] == "" {
			mr.MergeRef = ""
		}
		if mr.Head == "" {
			continue // GitLab is still working on it
		}
		out = append(out, mr)
	}
	return out, nil
}

// open lists open merge requests to the project. The library's own method panics where a list has a null in it.
func (c *Client) open(ctx context.Context, o api.ListProjectMergeRequestsOptions) ([]*api.BasicMergeRequest, error) {
	o.State, o.Scope, o.OrderBy, o.Sort = new("opened"), new("all"), new("created_at"), new("asc")
	return list(c, func(l api.ListOptions) ([]*api.BasicMergeRequest, *api.Response, error) {
		o.ListOptions = l
		req, err := c.gl.NewRequest("GET", "projects/"+api.PathEscape(c.project)+"/merge_requests", &o, []api.RequestOptionFunc{api.WithContext(ctx)})
		if err != nil {
			return nil, nil, err
		}
		var all []*api.BasicMergeRequest
		resp, err := c.gl.Do(req, &all)
		return all, resp, err
	}, nil)
}

// MergeRequest returns a merge request, whatever its state, with who approved it and, for a head that was pushed to the project itself, who
// pushed it. Both stay empty where the token may not see them, and the pusher where the push is older than the newest 100.
func (c *Client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	iid, err := number(id)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	one, resp, err := c.gl.MergeRequests.GetMergeRequest(c.project, iid, nil, api.WithContext(ctx))
	if err := some(one, c.check(resp, err)); err != nil {
		return plumbline.MergeRequest{}, err
	}
	mr, err := mergeRequest(&one.BasicMergeRequest)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if mr.ApprovedBy, err = c.approvals(ctx, iid); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if mr.LastPusher, err = c.pusher(ctx, mr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mr, nil
}

// number reads a merge request's or a note's.
func number(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a number: %w", id, plumbline.ErrNotFound)
	}
	return n, nil
}

// hidden tells that the token may not see something, or that the server is of a tier without it.
func hidden(err error) bool {
	var refusal *forge.HTTPError
	var retry *plumbline.Retry
	return errors.As(err, &refusal) && !errors.As(err, &retry) && (refusal.Status == http.StatusForbidden || refusal.Status == http.StatusNotFound)
}

// approvals returns the names of those who approved. Whether a push takes approvals back is a setting of the project.
func (c *Client) approvals(ctx context.Context, iid int64) ([]string, error) {
	a, resp, err := c.gl.MergeRequests.GetMergeRequestApprovals(c.project, iid, api.WithContext(ctx))
	if err := some(a, c.check(resp, err)); err != nil {
		if hidden(err) {
			return nil, nil
		}
		return nil, err
	}
	var out []string
	for _, by := range a.ApprovedBy {
		if by == nil || by.User == nil || by.User.Username == "" {
			return nil, unexpected("merge request %d: an approval of nobody", iid)
		}
		out = append(out, by.User.Username)
	}
	return out, nil
}

// pusher finds the push that made the head in the project's activity: https://docs.gitlab.com/api/events/. GitLab keeps no pusher with a
// merge request, and the activity of a fork is not ours to read.
func (c *Client) pusher(ctx context.Context, mr plumbline.MergeRequest) (string, error) {
	if mr.Fork || mr.Head == "" || mr.State != plumbline.MROpen {
		return "", nil
	}
	events, resp, err := c.gl.Events.ListProjectVisibleEvents(c.project, &api.ListProjectVisibleEventsOptions{
		ListOptions: api.ListOptions{PerPage: c.limit}, Action: new(api.PushedEventType), Sort: new("desc"),
	}, api.WithContext(ctx))
	if err := c.check(resp, err); err != nil {
		if hidden(err) {
			return "", nil
		}
		return "", err
	}
	for _, e := range events {
		if e != nil && e.PushData.CommitTo == mr.Head && e.PushData.Ref == mr.Source && e.PushData.RefType == "branch" {
			return cmp.Or(e.AuthorUsername, e.Author.Username), nil
		}
	}
	return "", nil
}

// mergeRequest translates. A fork is what comes from another project, or from one that was deleted since.
func mergeRequest(one *api.BasicMergeRequest) (plumbline.MergeRequest, error) {
	if one == nil || one.IID < 1 || one.TargetProjectID < 1 || one.SourceBranch == "" || one.TargetBranch == "" || one.UpdatedAt == nil {
		return plumbline.MergeRequest{}, unexpected("a merge request without number, project, branches or time")
	}
	mr := plumbline.MergeRequest{
		ID:        strconv.FormatInt(one.IID, 10),
		Title:     one.Title,
		URL:       page(one.WebURL),
		Source:    one.SourceBranch,
		HeadRef:   fmt.Sprintf("refs/merge-requests/%d/head", one.IID),
		Head:      one.SHA,
		Target:    one.TargetBranch,
		Draft:     one.Draft,
		Fork:      one.SourceProjectID != one.TargetProjectID,
		UpdatedAt: *one.UpdatedAt,
		Activity:  fmt.Sprintf("%s %d", one.UpdatedAt.UTC().Format(time.RFC3339Nano), one.UserNotesCount),
		Labels:    slices.Sorted(slices.Values(one.Labels)),
	}
	if one.Author != nil {
		mr.Author = one.Author.Username
	}
	switch one.State {
	case "opened", "locked": // for the moment in which it is merged
		mr.State = plumbline.MROpen
		mr.MergeRef = fmt.Sprintf("refs/merge-requests/%d/merge", one.IID)
		mr.Conflicts = one.HasConflicts || one.DetailedMergeStatus == "conflict"
	case "merged":
		mr.State = plumbline.MRMerged
		// A fast-forward makes no commit; the target is at the head then, or at what it was squashed to.
		mr.MergeCommit = cmp.Or(one.MergeCommitSHA, one.SquashCommitSHA, one.SHA)
	case "closed":
		mr.State = plumbline.MRClosed
	default:
		return plumbline.MergeRequest{}, unexpected("merge request %d is %q", one.IID, forge.Shorten(one.State, 20))
	}
	for _, commit := range []string{mr.Head, mr.MergeCommit} {
		if commit != "" && !commitID.MatchString(commit) {
			return plumbline.MergeRequest{}, unexpected("merge request %d with a commit that is none", one.IID)
		}
	}
	return mr, nil
}

// page returns an address that a browser may be sent to, or "".
func page(address string) string {
	if u, err := url.Parse(address); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	return address
}

// me returns the number of the token's user, asked for once. A project's or a group's token has a user of its own.
func (c *Client) me(ctx context.Context) (int64, error) {
	c.mu.Lock()
	id := c.id
	c.mu.Unlock()
	if id != 0 {
		return id, nil
	}
	u, resp, err := c.gl.Users.CurrentUser(api.WithContext(ctx))
	if err := some(u, c.check(resp, err)); err != nil {
		return 0, err
	}
	if u.ID < 1 {
		return 0, unexpected("a user without number")
	}
	c.mu.Lock()
	c.id = u.ID
	c.mu.Unlock()
	return u.ID, nil
}
