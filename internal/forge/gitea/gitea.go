// Package gitea speaks for a repository on Gitea or Forgejo.
//
// The two have the same HTTP interface as far as it is used here. Neither shows deployments, and a commit has statuses but no checks: a Client
// is no forge.Deployer and no forge.Checker. Neither makes a ref of the merge result: MergeRef stays empty. What differs:
//
//   - On Forgejo whoever administrates a repository may date comments and their changes back: such a change does not show.
//   - Labels of the organization are found on Gitea; on Forgejo 10 the repository gets one of the same name.
//   - Forgejo 10 gives a commit's statuses in pages without a Link header.
//
// The suite runs on Gitea 1.26. docs/forges.md says what was tried on Forgejo.
package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config says which repository on which server.
type Config struct {
	URL     string           // of the server, with the path it lives under, if any
	Project string           // "owner/name"
	Token   plumbline.Secret // scopes write:repository, write:issue and read:user
	forge.Dial
}

const (
	// Gitea sets no limit and accepted 8 MiB, in 5 s; a note that long nobody reads, and it is rendered at each visit.
	noteLimit = 256 << 10
	// Gitea keeps any length and shows one line.
	contextLimit, descriptionLimit = 255, 255
	// Gitea cuts titles of issues and pull requests to that many columns (models/issues/issue_update.go).
	titleLimit = 255
	// Gitea's pages refuse labels with longer names (services/forms/repo_form.go).
	labelLimit = 50

	pageSize = 50 // the most that a default installation returns
	maxPages = 40
)

// Client is a repository on a Gitea server. Its methods are safe for concurrent use.
type Client struct {
	api   *forge.API
	url   string
	repo  string // API path of the repository
	git   string // path of the repository for Git
	limit int    // of a page
	now   func() time.Time

	mu    sync.Mutex
	id    int64              // of the token's user; 0: not asked yet
	stuck map[int64]sighting // pull requests that Gitea did not call mergeable when it was asked last, by number
}

var (
	_ forge.Client    = (*Client)(nil)
	_ forge.Commenter = (*Client)(nil)
	_ forge.Reactor   = (*Client)(nil)
	_ forge.Issuer    = (*Client)(nil)
	_ forge.Proposer  = (*Client)(nil)
)

// New returns a Client. It does not connect.
func New(c Config) (*Client, error) {
	owner, name, ok := strings.Cut(c.Project, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("gitea project %q: write it as owner/name: %w", c.Project, plumbline.ErrInvalid)
	}
	c.URL = strings.TrimRight(c.URL, "/")
	a, err := forge.NewAPI(forge.APIConfig{
		URL:       c.URL,
		Authorize: func(r *http.Request) { r.Header.Set("Authorization", "token "+c.Token.Reveal()) },
		Secret:    c.Token,
		Dial:      c.Dial,
	})
	if err != nil {
		return nil, fmt.Errorf("gitea project %s: %w", c.Project, err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	repo := url.PathEscape(owner) + "/" + url.PathEscape(name)
	return &Client{api: a, url: c.URL, repo: "/api/v1/repos/" + repo, git: repo + ".git", limit: pageSize, now: c.Now, stuck: map[int64]sighting{}}, nil
}

// Remote returns where Git finds the repository. The token is the password; Gitea does not look at the user name beside it.
func (c *Client) Remote() (url, username string) { return c.url + "/" + c.git, "plumbline" }

// NoteLimit is the longest note in bytes.
func (c *Client) NoteLimit() int { return noteLimit }

// me returns the ID of the token's user, asked for once.
func (c *Client) me(ctx context.Context) (int64, error) {
	c.mu.Lock()
	id := c.id
	c.mu.Unlock()
	if id != 0 {
		return id, nil
	}
	u, err := c.user(ctx)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.id = u.ID
	c.mu.Unlock()
	return u.ID, nil
}

// user asks whose token it is.
func (c *Client) user(ctx context.Context) (api.User, error) {
	var u api.User
	if _, err := c.api.Call(ctx, "GET", "/api/v1/user", nil, &u); err != nil {
		return api.User{}, err
	}
	if u.ID < 1 || u.UserName == "" {
		return api.User{}, unexpected("a user without ID or name")
	}
	return u, nil
}

// list reads all pages of a list of the repository, at most maxPages; whole is false when there are more. query begins with "&", unless it is empty.
func list[T any](ctx context.Context, c *Client, path, query string) (all []T, whole bool, err error) {
	return listUpTo[T](ctx, c, maxPages, path, query)
}

func listUpTo[T any](ctx context.Context, c *Client, most int, path, query string) (all []T, whole bool, err error) {
	for page, n := 1, 0; n < most; n++ {
		var some []T
		h, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s%s?limit=%d&page=%d%s", c.repo, path, c.limit, page, query), nil, &some)
		if err != nil {
			return nil, false, err
		}
		all = append(all, some...)
		next := forge.NextPage(h)
		if next == 0 && c.more(h, page, len(some), len(all)) {
			next = page + 1
		}
		if next <= page || (len(some) == 0 && forge.NextPage(h) != 0) {
			return all, true, nil
		}
		page = next
	}
	return all, false, nil
}

// more tells whether there is another page of a list for which Gitea sends no Link header but only how many there are, as with reviews. An
// empty page is not always the last one: reviews that are not sent yet are counted, but shown to their authors only.
func (c *Client) more(h http.Header, page, got, sum int) bool {
	total, err := strconv.Atoi(h.Get("X-Total-Count"))
	return err == nil && sum < total && (got > 0 || page*c.limit < total)
}

// unexpected is the error for an answer that no Gitea gives.
func unexpected(what string) error { return errors.New("gitea: unexpected answer: " + what) }

// index returns the number of a pull request or issue.
func index(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("pull request %q is not a number: %w", id, plumbline.ErrNotFound)
	}
	return n, nil
}
