// Package github speaks for a repository on GitHub.
//
// It is for github.com, for GHE.com and for GitHub Enterprise Server. In the tests every request of it, and every answer of the server that
// they run against, is checked against GitHub's own OpenAPI description (testdata/README.md). That server is ours; a second one, the npm
// package emulate, is somebody else's, and covers less (TestSuiteOnEmulate says what). A few answers that GitHub gave to others are read in
// TestRecorded. What GitHub itself does with our requests is shown by TestSuiteLive alone, which runs where somebody gives it a repository;
// until then nothing here was tried on GitHub. For GHE.com and GitHub Enterprise Server the addresses are taken from the documentation.
package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	api "github.com/google/go-github/v89/github"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config says which repository on which server, and as whom. One of Token and App is set.
type Config struct {
	URL     string // of the server as people see it; default https://github.com. Its API's address will do as well.
	API     string // of its API; default: what belongs to URL
	Project string // "owner/name"

	// Token is a classic one with scope repo, or a fine-grained one that may read metadata and write contents, pull requests, issues,
	// commit statuses and deployments.
	Token plumbline.Secret
	App   *App
	forge.Dial
}

const (
	// GitHub counts 65,536 characters ("Body is too long (maximum is 65536 characters)"), in comments as in issues; no text has more
	// characters than bytes, however they are counted.
	noteLimit = 65_000
	// GitHub says "description is too long (maximum is 140 characters)"; the description of the API says the same of deployments only. The
	// limit of a context is written nowhere; it is a name in a column that holds 255 characters.
	contextLimit, descriptionLimit = 255, 140

	pageSize = 100 // the most that GitHub returns (https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api)
	maxPages = 100
)

// Client is a repository on GitHub. It is a forge.Client with all that a forge can; SetCheck needs an App.
type Client struct {
	api         *forge.API
	gh          *api.Client
	app         *app // nil: there is a token
	token       plumbline.Secret
	url         string // of the server for people and Git
	owner, name string
	limit       int // of a page
	now         func() time.Time

	mu   sync.Mutex
	self *identity
}

var (
	_ forge.Client    = (*Client)(nil)
	_ forge.Commenter = (*Client)(nil)
	_ forge.Reactor   = (*Client)(nil)
	_ forge.Issuer    = (*Client)(nil)
	_ forge.Proposer  = (*Client)(nil)
	_ forge.Deployer  = (*Client)(nil)
	_ forge.Checker   = (*Client)(nil)
)

// New returns a Client. It does not connect.
func New(c Config) (*Client, error) {
	owner, name, ok := strings.Cut(c.Project, "/")
	if !ok || !isName(owner) || !isName(name) {
		return nil, fmt.Errorf("github project %q: write it as owner/name: %w", c.Project, plumbline.ErrInvalid)
	}
	site, base, err := addresses(cmp.Or(c.URL, "https://github.com"), c.API)
	if err != nil {
		return nil, fmt.Errorf("github project %s: %w", c.Project, err)
	}
	if c.Token.IsZero() == (c.App == nil) {
		return nil, fmt.Errorf("github project %s: give it either a token or an app: %w", c.Project, plumbline.ErrInvalid)
	}
	a, err := forge.NewAPI(forge.APIConfig{URL: base, Secret: c.Token, Dial: c.Dial})
	if err != nil {
		return nil, fmt.Errorf("github project %s: %w", c.Project, err)
	}
	out := &Client{api: a, token: c.Token, url: site, owner: owner, name: name, limit: pageSize, now: c.Now}
	if out.now == nil {
		out.now = time.Now
	}
	if out.gh, err = library(a, base, out.Password); err != nil {
		return nil, fmt.Errorf("github project %s: %w", c.Project, err)
	}
	if c.App != nil {
		if out.app, err = newApp(*c.App, a, base, owner, name, out.now); err != nil {
			return nil, fmt.Errorf("github project %s: %w", c.Project, err)
		}
	}
	return out, nil
}

// isName is whether GitHub could call an owner or a repository that. The library does not escape what it puts into a path.
func isName(s string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	}
	return s != "" && s != "." && s != ".." && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

// addresses returns where people and Git go, and where the API is: api.github.com, api.NAME.ghe.com
// (https://docs.github.com/en/enterprise-cloud@latest/admin/data-residency), or /api/v3 on the server itself
// (https://docs.github.com/en/enterprise-server@latest/rest/quickstart).
func addresses(raw, base string) (site, apiBase string, err error) {
	raw = strings.TrimRight(raw, "/")
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/api/v3") {
		return "", "", fmt.Errorf("the forge's url must be https:// with a host and nothing else: %w", plumbline.ErrInvalid)
	}
	u.Path = ""
	host := strings.ToLower(u.Host)
	cloud := func(h string) bool { return h == "github.com" || strings.HasSuffix(h, ".ghe.com") }
	if bare, ok := strings.CutPrefix(host, "api."); ok && cloud(bare) {
		host, u.Host = bare, bare
	}
	site = u.String()
	switch {
	case base != "":
		return site, strings.TrimRight(base, "/"), nil
	case cloud(host):
		return site, u.Scheme + "://api." + host, nil
	}
	return site, site + "/api/v3", nil
}

// Remote returns where Git finds the repository. The password is what Password returns, asked for at each operation.
func (c *Client) Remote() (url, username string) {
	return c.url + "/" + c.owner + "/" + c.name + ".git", "x-access-token"
}

// Password returns the token for the API and for Git. That of an App lives for an hour; it is renewed here in time.
func (c *Client) Password(ctx context.Context) (plumbline.Secret, error) {
	if c.app == nil {
		return c.token, nil
	}
	return c.app.installationToken(ctx)
}

// NoteLimit is the longest note in bytes.
func (c *Client) NoteLimit() int { return noteLimit }

// MergeRequests lists the open pull requests, newest first. One that moves between two pages because another is closed while they are read
// can be missed, until the next call.
//
// A pull request's head is the commit that refs has for it: that one can be fetched.
func (c *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	var out []plumbline.MergeRequest
	seen := map[string]bool{}
	err := c.pages(func(o api.ListOptions) (*api.Response, error) {
		prs, resp, err := c.gh.PullRequests.List(ctx, c.owner, c.name, &api.PullRequestListOptions{
			State: "open", Sort: "created", Direction: "desc", ListOptions: o,
		})
		for _, pr := range prs {
			mr, err := mergeRequest(pr)
			if err != nil {
				return resp, err
			}
			if seen[mr.ID] || mr.State != plumbline.MROpen {
				continue
			}
			seen[mr.ID] = true
			if head := refs[mr.HeadRef]; head != "" {
				mr.Head = head
			}
			if refs != nil && refs[mr.MergeRef] == "" {
				mr.MergeRef = "" // it conflicts, or GitHub has not tried yet
			}
			mr.Activity = c.activity(mr.UpdatedAt, resp)
			out = append(out, mr)
		}
		return resp, listed(prs, err)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// MergeRequest returns a pull request, whatever its state. That GitHub shows nothing of a repository to those who may not see it is told
// apart from a pull request that is not there.
func (c *Client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	number, err := index(id)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	pr, resp, err := c.gh.PullRequests.Get(ctx, c.owner, c.name, number)
	if err = c.explain(err); err != nil {
		return plumbline.MergeRequest{}, c.missing(ctx, err)
	}
	mr, err := mergeRequest(pr)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	mr.Activity = c.activity(mr.UpdatedAt, resp)
	if mr.ApprovedBy, err = c.approvals(ctx, number); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if mr.State == plumbline.MROpen && !mr.Fork {
		mr.LastPusher, err = c.pusher(ctx, mr)
	}
	return mr, err
}

// missing returns plumbline.ErrDenied in place of a pull request that is not found when the repository is not found either.
func (c *Client) missing(ctx context.Context, err error) error {
	if !errors.Is(err, plumbline.ErrNotFound) {
		return err
	}
	_, _, repoErr := c.gh.Repositories.Get(ctx, c.owner, c.name)
	repoErr = c.explain(repoErr)
	if errors.Is(repoErr, plumbline.ErrNotFound) {
		return fmt.Errorf("%s/%s is not there, or these credentials may not see it: %w", c.owner, c.name, plumbline.ErrDenied)
	}
	return cmp.Or(repoErr, err)
}

func index(id string) (int, error) {
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("pull request %q is not a number: %w", id, plumbline.ErrNotFound)
	}
	return int(n), nil
}

// mergeRequest translates. A head in another repository, or in none because the fork was deleted, counts as a fork.
func mergeRequest(pr *api.PullRequest) (plumbline.MergeRequest, error) {
	if pr.GetNumber() < 1 || pr.GetHead().GetSHA() == "" || pr.GetBase().GetRef() == "" {
		return plumbline.MergeRequest{}, errors.New("github: unexpected answer: a pull request without number, head or base")
	}
	from, to := pr.Head.GetRepo().GetID(), pr.Base.GetRepo().GetID()
	mr := plumbline.MergeRequest{
		ID:        strconv.Itoa(pr.GetNumber()),
		Title:     pr.GetTitle(),
		Author:    login(pr.User),
		URL:       pr.GetHTMLURL(),
		Source:    pr.Head.GetRef(),
		HeadRef:   fmt.Sprintf("refs/pull/%d/head", pr.GetNumber()),
		Head:      pr.Head.GetSHA(),
		Target:    pr.Base.GetRef(),
		Draft:     pr.GetDraft(),
		Fork:      from == 0 || from != to,
		State:     plumbline.MROpen,
		UpdatedAt: pr.GetUpdatedAt().Time, // whole seconds
		Conflicts: pr.Mergeable != nil && !*pr.Mergeable,
	}
	for _, l := range pr.Labels {
		if l.GetName() != "" {
			mr.Labels = append(mr.Labels, l.GetName())
		}
	}
	slices.Sort(mr.Labels)
	switch {
	case pr.GetMerged() || pr.MergedAt != nil: // a list has only the latter
		mr.State, mr.MergeCommit, mr.Conflicts = plumbline.MRMerged, pr.GetMergeCommitSHA(), false
	case pr.GetState() != "open":
		mr.State, mr.Conflicts = plumbline.MRClosed, false // its merge commit is the one of a trial
	case !mr.Conflicts:
		mr.MergeRef = fmt.Sprintf("refs/pull/%d/merge", pr.GetNumber())
	}
	return mr, nil
}

// login is how a user is mentioned. GitHub shows those who are gone as the user ghost.
func login(u *api.User) string { return cmp.Or(u.GetLogin(), "ghost") }

// activity changes when a pull request does. GitHub counts in whole seconds: what happens later in the same second does not show. Hence
// whoever looks within two seconds of a change gets a value that the next look does not get again. The clock is GitHub's.
func (c *Client) activity(updated time.Time, resp *api.Response) string {
	at := updated.UTC().Format(time.RFC3339Nano)
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = c.now()
	}
	if now.Sub(updated) < 2*time.Second {
		return at + " seen " + now.UTC().Format(time.RFC3339)
	}
	return at
}

// approvals returns who approves: those whose newest review that is more than a comment is an approval, and was not dismissed. GitHub
// keeps an approval after a push unless the rules of the branch dismiss it, and lets everybody approve who may read: who of them may decide
// is not said here.
func (c *Client) approvals(ctx context.Context, number int) ([]string, error) {
	newest := map[int64]*api.PullRequestReview{}
	err := c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.PullRequests.ListReviews(ctx, c.owner, c.name, number, &o)
		for _, r := range all { // oldest first
			switch r.GetState() {
			case "APPROVED", "CHANGES_REQUESTED", "DISMISSED":
				newest[r.GetUser().GetID()] = r
			}
		}
		return resp, listed(all, err)
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for user, r := range newest {
		if user != 0 && r.GetState() == "APPROVED" && r.User.GetLogin() != "" {
			out = append(out, r.User.GetLogin())
		}
	}
	slices.Sort(out)
	return out, nil
}

// pusher returns who pushed the head of a branch of the repository, "" where GitHub does not tell: the activity of a repository is kept
// for a while only, older servers have none, and a fork's is not ours to read.
func (c *Client) pusher(ctx context.Context, mr plumbline.MergeRequest) (string, error) {
	all, _, err := c.gh.Repositories.ListRepositoryActivities(ctx, c.owner, c.name, &api.ListRepositoryActivityOptions{
		Ref: "refs/heads/" + mr.Source, PerPage: c.limit,
	})
	err = c.explain(err)
	var wait *plumbline.Retry
	var refused *forge.HTTPError
	switch {
	case errors.As(err, &refused) && !errors.As(err, &wait) && slices.Contains([]int{403, 404, 422}, refused.Status):
		return "", nil
	case err != nil:
		return "", err
	}
	for _, a := range all { // newest first
		if a != nil && a.After == mr.Head && a.Ref == "refs/heads/"+mr.Source {
			return a.Actor.GetLogin(), nil
		}
	}
	return "", nil
}

// UpsertNote writes the one comment of ours that carries marker.
func (c *Client) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return err
	}
	number, err := index(mr.ID)
	if err != nil {
		return err
	}
	ctx = forge.Urgent(ctx)
	for range 3 { // a comment that was listed can be deleted before it is edited
		ours, err := c.notes(ctx, number, marker)
		if err != nil {
			return err
		}
		if len(ours) == 0 {
			if ours, err = c.post(ctx, number, marker, body); err != nil {
				return err
			}
		}
		for _, extra := range ours[1:] {
			if err := c.deleteComment(ctx, extra.GetID()); err != nil {
				return err
			}
		}
		if ours[0].GetBody() == body {
			return nil
		}
		_, _, err = c.gh.Issues.EditComment(ctx, c.owner, c.name, ours[0].GetID(), &api.IssueComment{Body: &body})
		if err = c.explain(err); !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("pull request %d: its note was deleted each time it was written: %w", number, plumbline.ErrConflict)
}

// post writes a comment and returns all of ours with the marker, oldest first: another daemon may have looked in the same moment, found
// none and written one as well. GitHub may answer from a copy that does not have the new one yet.
func (c *Client) post(ctx context.Context, number int, marker, body string) ([]*api.IssueComment, error) {
	made, _, err := c.gh.Issues.CreateComment(ctx, c.owner, c.name, number, &api.IssueComment{Body: &body})
	if err = c.explain(err); err != nil {
		return nil, err
	}
	if made.GetID() < 1 {
		return nil, errors.New("github: unexpected answer: a new comment without ID")
	}
	ours, err := c.notes(ctx, number, marker)
	if err != nil {
		return nil, err
	}
	return byID(append(ours, made)), nil
}

func (c *Client) deleteComment(ctx context.Context, id int64) error {
	_, err := c.gh.Issues.DeleteComment(ctx, c.owner, c.name, id)
	if err = c.explain(err); errors.Is(err, plumbline.ErrNotFound) {
		return nil
	}
	return err
}

// notes returns our comments with the marker, oldest first. Plumbline could edit those of others too: only the author tells them apart.
func (c *Client) notes(ctx context.Context, number int, marker string) ([]*api.IssueComment, error) {
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	var out []*api.IssueComment
	err = c.comments(ctx, number, nil, func(note *api.IssueComment) {
		if note.GetUser().GetID() == me.id && strings.Contains(note.GetBody(), marker) {
			out = append(out, note)
		}
	})
	return byID(out), err
}

func byID(notes []*api.IssueComment) []*api.IssueComment {
	slices.SortStableFunc(notes, func(a, b *api.IssueComment) int { return cmp.Compare(a.GetID(), b.GetID()) })
	return slices.CompactFunc(notes, func(a, b *api.IssueComment) bool { return a.GetID() == b.GetID() })
}

// comments hands on each comment of a pull request that was written or changed at since or later.
func (c *Client) comments(ctx context.Context, number int, since *time.Time, each func(*api.IssueComment)) error {
	return c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.Issues.ListComments(ctx, c.owner, c.name, number, &api.IssueListCommentsOptions{Since: since, ListOptions: o})
		for _, note := range all {
			if note.GetID() < 1 {
				return resp, errors.New("github: unexpected answer: a comment without ID")
			}
			each(note)
		}
		return resp, listed(all, err)
	})
}

// SetStatus adds a status, since GitHub only ever adds, unless the newest of its context says the same. GitHub takes 1,000 for each context
// of a commit (https://docs.github.com/en/rest/commits/statuses#create-a-commit-status).
func (c *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	if err := isCommit(commit); err != nil {
		return err
	}
	ctx, s = forge.Urgent(ctx), forge.Fit(s, contextLimit, descriptionLimit)
	now, err := c.status(ctx, commit, s.Context)
	if err != nil {
		return err
	}
	if now != nil && now.GetState() == string(s.State) && now.GetDescription() == s.Description && now.GetTargetURL() == s.URL {
		return nil
	}
	_, _, err = c.gh.Repositories.CreateStatus(ctx, c.owner, c.name, commit, api.RepoStatus{
		State: api.Ptr(string(s.State)), TargetURL: some(s.URL), Description: some(s.Description), Context: &s.Context,
	})
	return c.explain(err)
}

// isCommit keeps out what would be a path of its own, or a branch whose commit changes.
func isCommit(s string) error {
	if len(s) < 40 || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("%q is not a commit: %w", s, plumbline.ErrInvalid)
	}
	return nil
}

// status returns the newest status of a context, or nil. The combined status lists each context's newest one.
func (c *Client) status(ctx context.Context, commit, name string) (*api.RepoStatus, error) {
	var found *api.RepoStatus
	err := c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.Repositories.GetCombinedStatus(ctx, c.owner, c.name, commit, &o)
		if err != nil || all == nil {
			return resp, listed([]int(nil), err)
		}
		for _, s := range all.Statuses {
			if found == nil && s.GetContext() == name {
				found = s
			}
		}
		if found != nil {
			return nil, nil
		}
		return resp, listed(all.Statuses, nil)
	})
	return found, err
}

// some returns nil for "".
func some(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
