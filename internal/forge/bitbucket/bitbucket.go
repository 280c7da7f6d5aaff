// Package bitbucket speaks for a repository on Bitbucket Cloud.
//
// Nobody has run it against Bitbucket itself yet: live_test.go does, for whoever has an account. What was checked, and against what:
//
//   - every request and answer of the tests against Atlassian's own description of the API (testdata/README.md says which edition, and where
//     it is known to be behind);
//   - what the API does beyond that, limits above all, was read in Atlassian's documentation and tracker and in what users of the API
//     report; the place is named where it matters. The server of the tests does what was read there.
//
// What Bitbucket does not have:
//
//   - refs of pull requests (BCLOUD-5814, open since 2012): the head is fetched as the source's branch, and the head of a fork not at all;
//   - a user behind an access token that the API would name (BCLOUD-23528): see UpsertNote;
//   - labels, reactions, and since August 2026 issues: there is no forge.Issuer here;
//   - a word in a pull request about conflicts: MergeRequest.Conflicts is never set.
package bitbucket

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config says which repository. There are two kinds of tokens (https://developer.atlassian.com/cloud/bitbucket/rest/intro/#authentication);
// app passwords, the third, ended in June 2026.
//
// Every access token is a user of its own. When it is replaced, the notes and statuses of the old one are somebody else's: the notes stay as
// they are beside new ones, and Bitbucket lets only their author, or an administrator's token, overwrite statuses
// (https://developer.atlassian.com/cloud/bitbucket/bitbucket-api-changes-commit-status/). A person's API token has no such end.
type Config struct {
	URL     string // of the API; default https://api.bitbucket.org/2.0. Git and pages are on the same host without "api."
	Project string // "workspace/repository"
	// Token is an access token of a repository, project or workspace with the scopes repository and pullrequest, and pullrequest:write for
	// opening pull requests; or, with a Username, somebody's API token with read:user:bitbucket, read:repository:bitbucket,
	// read:pullrequest:bitbucket and write:pullrequest:bitbucket.
	Token    plumbline.Secret
	Username string // the e-mail address that an API token belongs to; empty for an access token
	forge.Dial
}

const (
	defaultURL = "https://api.bitbucket.org/2.0"

	// Data Center refuses more with "less than 32768 characters". For the Cloud no limit is written down; others who write to both use the
	// same. Bytes are never fewer than characters.
	noteLimit = 32_767
	// A status is kept under a key, which may have 40 characters: a longer one is refused with "at most 40 characters"
	// (buildbot/buildbot#7049).
	keyLimit = 40
	// The name that is shown may have less than 255 characters (jenkinsci/bitbucket-branch-source-plugin#928). No limit of the description is
	// known; one line of it is shown.
	nameLimit, descriptionLimit = 250, 250
	titleLimit                  = 255

	// The most that is given of pull requests, half of what is given of comments: a full page of the longest comments fits into an answer.
	pageSize = 50
	maxPages = 100

	maxCommits = 10_000 // whose whole names are remembered
)

// Client is a repository on Bitbucket Cloud. It is a forge.Client, a forge.Commenter, a forge.Proposer and a forge.Plainer.
type Client struct {
	api      *forge.API
	repo     string // API path of the repository
	page     string // address of the repository for people
	username string // for Git
	named    bool   // the token is somebody's, whom the API names
	perPage  int

	mu      sync.Mutex
	user    string            // UUID of who writes our notes; "": not known (yet)
	asked   bool              // the API does not name the user
	commits map[string]string // shortened hash to whole one
}

var (
	_ forge.Client    = (*Client)(nil)
	_ forge.Commenter = (*Client)(nil)
	_ forge.Proposer  = (*Client)(nil)
	_ forge.Plainer   = (*Client)(nil)
)

// New returns a Client. It does not connect.
func New(c Config) (*Client, error) {
	workspace, name, ok := strings.Cut(c.Project, "/")
	if !ok || workspace == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("bitbucket project %q: write it as workspace/repository: %w", c.Project, plumbline.ErrInvalid)
	}
	c.URL = cmp.Or(strings.TrimRight(c.URL, "/"), defaultURL)
	authorize := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+c.Token.Reveal()) }
	git := "x-token-auth"
	if c.Username != "" {
		authorize = func(r *http.Request) { r.SetBasicAuth(c.Username, c.Token.Reveal()) }
		git = "x-bitbucket-api-token-auth"
	}
	a, err := forge.NewAPI(forge.APIConfig{URL: c.URL, Authorize: authorize, Secret: c.Token, Dial: c.Dial})
	if err != nil {
		return nil, fmt.Errorf("bitbucket project %s: %w", c.Project, err)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("bitbucket project %s: the url is none: %w", c.Project, plumbline.ErrInvalid)
	}
	repo := url.PathEscape(workspace) + "/" + url.PathEscape(name)
	return &Client{
		api: a, repo: "/repositories/" + repo, page: u.Scheme + "://" + strings.TrimPrefix(u.Host, "api.") + "/" + repo,
		username: git, named: c.Username != "", perPage: pageSize, commits: map[string]string{},
	}, nil
}

// Remote returns where Git finds the repository and the user name that goes with the token as password. Both names are fixed
// (https://support.atlassian.com/bitbucket-cloud/docs/using-workspace-access-tokens/ and .../using-api-tokens/).
func (c *Client) Remote() (url, username string) { return c.page + ".git", c.username }

// NoteLimit is the longest note in bytes.
func (c *Client) NoteLimit() int { return noteLimit }

// Plain is true: Bitbucket's Markdown escapes HTML, comments of it included
// (https://support.atlassian.com/bitbucket-cloud/docs/markup-comments/; measured in September 2026 by The-PR-Agent/pr-agent#3283).
func (c *Client) Plain() bool { return true }

// What is read of the API's answers.
type (
	account struct {
		Type      string `json:"type"` // "user", "app_user" (a token or an app), "team"
		UUID      string `json:"uuid"`
		AccountID string `json:"account_id"`
	}
	hash struct {
		Hash string `json:"hash"`
	}
	endpoint struct {
		Branch *struct {
			Name string `json:"name"`
		} `json:"branch"`
		Commit     *hash `json:"commit"`
		Repository *struct {
			UUID string `json:"uuid"`
		} `json:"repository"`
	}
	links struct {
		HTML *struct {
			Href string `json:"href"`
		} `json:"html"`
	}
	participant struct {
		User     *account `json:"user"`
		Approved bool     `json:"approved"`
	}
	pullRequest struct {
		ID           int64          `json:"id"`
		Title        string         `json:"title"`
		Description  string         `json:"description"`
		State        string         `json:"state"`
		Draft        bool           `json:"draft"`
		Author       *account       `json:"author"`
		Source       *endpoint      `json:"source"`
		Destination  *endpoint      `json:"destination"`
		MergeCommit  *hash          `json:"merge_commit"`
		Participants []*participant `json:"participants"`
		Reviewers    []*account     `json:"reviewers"`
		CommentCount int64          `json:"comment_count"`
		UpdatedOn    time.Time      `json:"updated_on"`
		Links        links          `json:"links"`
	}
)

// name is how people are known by Plumbline: the Atlassian account ID, which stays. Nicknames are not unique, as the API's own description
// says, and everybody chooses theirs. Raw Markdown mentions somebody as @{account ID}.
func (a *account) name() string {
	if a == nil {
		return "" // an account that was deleted
	}
	return cmp.Or(a.AccountID, a.UUID)
}

// person reports whether it is somebody, and not a token, an app or an account that was deleted.
func (a *account) person() bool { return a != nil && a.Type == "user" && a.name() != "" }

// address returns the page of something, if it has one.
func (l links) address() string {
	if l.HTML != nil && (strings.HasPrefix(l.HTML.Href, "https://") || strings.HasPrefix(l.HTML.Href, "http://")) {
		return l.HTML.Href
	}
	return ""
}

// MergeRequests lists the open pull requests. More than 5,000 are an error. One that moves between two pages while they are read can be
// missed, until the next call.
//
// A pull request's head is the commit at which refs has its branch: that one can be fetched, and the API only tells the first twelve digits of
// one. One whose branch is gone stays open on Bitbucket, and is left out. Where nobody looked, the API is asked for each commit that is new.
//
// One from a fork is listed without a HeadRef, as there is none in this repository.
func (c *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	prs, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	var out []plumbline.MergeRequest
	for _, pr := range prs {
		mr, err := mergeRequest(pr)
		if err != nil {
			return nil, err
		}
		switch {
		case mr.Fork:
			mr.Head, err = c.forkHead(ctx, pr.ID, mr.Head)
		case refs != nil:
			mr.Head = refs[mr.HeadRef]
		default:
			mr.Head, err = c.whole(ctx, mr.Head)
		}
		if err != nil {
			return nil, err
		}
		if mr.Head == "" && !mr.Fork {
			continue
		}
		out = append(out, mr)
	}
	return out, nil
}

// open reads the open pull requests. The texts are left out: everybody can write megabytes into a description, and it comes three times.
// Participants come where they are asked for (https://developer.atlassian.com/cloud/bitbucket/rest/intro/#partial-response).
func (c *Client) open(ctx context.Context) ([]*pullRequest, error) {
	path := fmt.Sprintf("%s/pullrequests?state=OPEN&pagelen=%d&fields=%s", c.repo, c.perPage,
		url.QueryEscape("-values.description,-values.summary,-values.rendered,+values.participants"))
	var out []*pullRequest
	seen := map[int64]bool{}
	err := pages(ctx, c.api, path, func(pr *pullRequest) {
		if !seen[pr.ID] && pr.State == "OPEN" || pr.ID < 1 {
			out = append(out, pr) // one without a number is complained of where it is translated
		}
		seen[pr.ID] = true
	})
	return out, err
}

// MergeRequest returns a pull request, whatever its state. Of commits that are gone it has what Bitbucket still tells: twelve digits of the
// head, nothing of the merge.
func (c *Client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	number, err := index(id)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	pr := new(pullRequest)
	if _, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/pullrequests/%d?fields=-description,-summary,-rendered", c.repo, number), nil, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return c.complete(ctx, pr)
}

func index(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("pull request %q is not a number: %w", id, plumbline.ErrNotFound)
	}
	return n, nil
}

// complete translates one pull request and finds out the whole names of its commits.
func (c *Client) complete(ctx context.Context, pr *pullRequest) (plumbline.MergeRequest, error) {
	mr, err := mergeRequest(pr)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	head := mr.Head
	if mr.Fork {
		head, err = c.forkHead(ctx, pr.ID, head)
	} else {
		head, err = c.whole(ctx, head)
	}
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	mr.Head = cmp.Or(head, mr.Head)
	if mr.MergeCommit, err = c.whole(ctx, mr.MergeCommit); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mr, nil
}

var isHash = regexp.MustCompile(`^[0-9a-f]{7,64}$`).MatchString

// mergeRequest translates; its commits are shortened, as the API's are. What comes from another repository is a fork, and from one that is
// not told (a fork that was deleted) as well.
func mergeRequest(pr *pullRequest) (plumbline.MergeRequest, error) {
	if pr == nil || pr.ID < 1 || pr.Source == nil || pr.Destination == nil || pr.Destination.Branch == nil || pr.Destination.Branch.Name == "" {
		return plumbline.MergeRequest{}, unexpected("a pull request without id, source or destination")
	}
	mr := plumbline.MergeRequest{
		ID:        strconv.FormatInt(pr.ID, 10),
		Title:     pr.Title,
		Author:    pr.Author.name(),
		URL:       pr.Links.address(),
		Target:    pr.Destination.Branch.Name,
		Draft:     pr.Draft,
		UpdatedAt: pr.UpdatedOn,
		Activity:  fmt.Sprintf("%s %d", pr.UpdatedOn.UTC().Format(time.RFC3339Nano), pr.CommentCount),
	}
	from, to := pr.Source.Repository, pr.Destination.Repository
	mr.Fork = from == nil || to == nil || from.UUID == "" || from.UUID != to.UUID
	if pr.Source.Branch != nil {
		mr.Source = pr.Source.Branch.Name
	}
	if !mr.Fork {
		if mr.Source == "" {
			return plumbline.MergeRequest{}, unexpected("a pull request without a source branch")
		}
		mr.HeadRef = "refs/heads/" + mr.Source
	}
	var err error
	if mr.Head, err = pr.Source.Commit.short(); err != nil {
		return plumbline.MergeRequest{}, err
	}
	switch pr.State {
	case "OPEN":
		mr.State = plumbline.MROpen
	case "MERGED":
		mr.State = plumbline.MRMerged
		if mr.MergeCommit, err = pr.MergeCommit.short(); err != nil {
			return plumbline.MergeRequest{}, err
		}
	case "DECLINED", "SUPERSEDED":
		mr.State = plumbline.MRClosed
	default:
		return plumbline.MergeRequest{}, unexpected("a pull request in the state " + strconv.Quote(forge.Shorten(pr.State, 20)))
	}
	for _, p := range pr.Participants {
		if p != nil && p.Approved && p.User.person() {
			mr.ApprovedBy = append(mr.ApprovedBy, p.User.name())
		}
	}
	slices.Sort(mr.ApprovedBy)
	mr.ApprovedBy = slices.Compact(mr.ApprovedBy)
	return mr, nil
}

// short returns a commit's name as told, which goes into addresses and names of objects.
func (h *hash) short() (string, error) {
	if h == nil || h.Hash == "" {
		return "", nil // its branch or repository is gone
	}
	if !isHash(h.Hash) {
		return "", unexpected("a commit that is no hash")
	}
	return h.Hash, nil
}

func unexpected(what string) error { return errors.New("bitbucket: unexpected answer: " + what) }

// whole returns the whole name of a commit of this repository, "" if it is not there.
func (c *Client) whole(ctx context.Context, short string) (string, error) {
	if full, ok := c.known(short); ok {
		return full, nil
	}
	var commit hash
	_, err := c.api.Call(ctx, "GET", c.repo+"/commit/"+short+"?fields=hash,type", nil, &commit)
	if errors.Is(err, plumbline.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !c.learn(short, commit.Hash) {
		return "", unexpected("another commit than the one that was asked for")
	}
	return commit.Hash, nil
}

// forkHead returns the whole name of the head of a fork's pull request, or short where Bitbucket does not tell. A fork's commits are not in
// this repository, but the pull request lists its own: the first page of them is looked at.
func (c *Client) forkHead(ctx context.Context, number int64, short string) (string, error) {
	if full, ok := c.known(short); ok {
		return full, nil
	}
	var all struct {
		Values []*hash `json:"values"`
	}
	path := fmt.Sprintf("%s/pullrequests/%d/commits?pagelen=%d&fields=values.hash,values.type", c.repo, number, pageSize)
	_, err := c.api.Call(ctx, "GET", path, nil, &all)
	if errors.Is(err, plumbline.ErrNotFound) {
		return short, nil // the fork is gone
	}
	if err != nil {
		return "", err
	}
	for _, h := range all.Values {
		if h != nil && c.learn(short, h.Hash) {
			return h.Hash, nil
		}
	}
	return short, nil
}

// known looks up what was learned; nothing and whole names need no looking up.
func (c *Client) known(short string) (string, bool) {
	if short == "" || len(short) >= 40 {
		return short, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	full, ok := c.commits[short]
	return full, ok
}

// learn remembers a commit's whole name, if it is that.
func (c *Client) learn(short, full string) bool {
	if len(full) < 40 || !isHash(full) || !strings.HasPrefix(full, short) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.commits) >= maxCommits {
		clear(c.commits)
	}
	c.commits[short] = full
	return true
}

// OpenMergeRequest opens a pull request, or changes the one that is open for these branches. Bitbucket has no labels.
func (c *Client) OpenMergeRequest(ctx context.Context, p forge.Proposal) (plumbline.MergeRequest, error) {
	ctx = forge.Urgent(ctx)
	p.Title = forge.Shorten(forge.OneLine(p.Title), titleLimit)
	prs, err := c.open(ctx)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	for _, pr := range prs {
		mr, err := mergeRequest(pr)
		if err != nil {
			return plumbline.MergeRequest{}, err
		}
		if !mr.Fork && mr.Source == p.Source && mr.Target == p.Target {
			return c.edit(ctx, pr.ID, p)
		}
	}
	type branch struct {
		Branch struct {
			Name string `json:"name"`
		} `json:"branch"`
	}
	in := struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		Source      branch `json:"source"`
		Destination branch `json:"destination"`
		Draft       bool   `json:"draft,omitempty"`
	}{Title: p.Title, Description: p.Body, Draft: p.Draft}
	in.Source.Branch.Name, in.Destination.Branch.Name = p.Source, p.Target
	pr := new(pullRequest)
	if _, err := c.api.Call(ctx, "POST", c.repo+"/pullrequests", in, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return c.complete(ctx, pr)
}

// edit changes title and body. Reviewers that a PUT does not name are taken off, so those that are there are named.
func (c *Client) edit(ctx context.Context, number int64, p forge.Proposal) (plumbline.MergeRequest, error) {
	path := fmt.Sprintf("%s/pullrequests/%d", c.repo, number)
	pr := new(pullRequest)
	if _, err := c.api.Call(ctx, "GET", path, nil, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if pr.Title == p.Title && pr.Description == p.Body {
		return c.complete(ctx, pr)
	}
	type reviewer struct {
		UUID string `json:"uuid"`
	}
	in := struct {
		Title       string     `json:"title"`
		Description string     `json:"description"`
		Reviewers   []reviewer `json:"reviewers"`
	}{p.Title, p.Body, []reviewer{}}
	for _, a := range pr.Reviewers {
		if a != nil && a.UUID != "" {
			in.Reviewers = append(in.Reviewers, reviewer{a.UUID})
		}
	}
	pr = new(pullRequest)
	if _, err := c.api.Call(ctx, "PUT", path, in, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return c.complete(ctx, pr)
}

// states are those of a status. A merge check counts failed builds, and not stopped ones: what went wrong beside the change must not look
// like less than that.
var states = map[plumbline.Told]string{
	plumbline.ToldPending: "INPROGRESS",
	plumbline.ToldSuccess: "SUCCESSFUL",
	plumbline.ToldFailure: "FAILED",
	plumbline.ToldError:   "FAILED",
}

// SetStatus sends a status. Bitbucket keeps one of each key and overwrites it, so it is not asked first: a token has a thousand requests an
// hour (https://support.atlassian.com/bitbucket-cloud/docs/api-request-limits/).
//
// A status needs an address: where there is none that Bitbucket takes, it is the commit's page. A commit that is only in a fork has
// no statuses here: plumbline.ErrNotFound.
func (c *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	state, ok := states[s.State]
	if !ok {
		return fmt.Errorf("status %q: %w", s.State, plumbline.ErrInvalid)
	}
	s = forge.Fit(s, nameLimit, descriptionLimit)
	_, err := c.api.Call(ctx, "POST", c.repo+"/commit/"+url.PathEscape(commit)+"/statuses/build", struct {
		Key         string `json:"key"`
		Name        string `json:"name"`
		State       string `json:"state"`
		URL         string `json:"url"`
		Description string `json:"description"`
	}{key(s.Context), s.Context, state, c.address(commit, s.URL), s.Description}, nil)
	return err
}

// key is what a status is kept under: the context, or a hash of one that is too long.
func key(name string) string {
	if utf8.RuneCountInString(name) <= keyLimit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:keyLimit/2])
}

// address makes an address one that Bitbucket takes: a host without a dot is refused with "Enter a valid URL."
// (nishio-dens/bitbucket-pullrequest-builder-plugin#174), and braces are variables
// (https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/).
func (c *Client) address(commit, address string) string {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || !strings.Contains(u.Hostname(), ".") {
		return c.page + "/commits/" + url.PathEscape(commit)
	}
	return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(address)
}

// pages reads a listing, page by page. Of the address of the next page only its "page" is used, whatever host stands before it. A listing
// that cannot be read to its end is an error: half of one looks like a whole one.
func pages[T any](ctx context.Context, api *forge.API, path string, each func(*T)) error {
	seen := map[string]bool{}
	for page := "1"; ; {
		if seen[page] || len(seen) >= maxPages {
			return unexpected(fmt.Sprintf("a listing without an end after %d pages", len(seen)))
		}
		seen[page] = true
		var answer struct {
			Values *[]*T  `json:"values"`
			Next   string `json:"next"`
		}
		if _, err := api.Call(ctx, "GET", path+"&page="+url.QueryEscape(page), nil, &answer); err != nil {
			return err
		}
		if answer.Values == nil {
			return unexpected("a listing without values")
		}
		for _, v := range *answer.Values {
			if v == nil {
				return unexpected("a listing of nothing")
			}
			each(v)
		}
		if answer.Next == "" {
			return nil
		}
		next, err := url.Parse(answer.Next)
		if err != nil || next.Query().Get("page") == "" {
			return unexpected("a next page without its number")
		}
		page = next.Query().Get("page")
	}
}
