// Package gitea speaks for a repository on Gitea or Forgejo.
package gitea

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

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

	pageSize = 50 // the most that a default installation returns
	maxPages = 40
)

// Client is a repository on a Gitea server. It is a forge.Client.
type Client struct {
	api   *forge.API
	url   string
	repo  string // API path of the repository
	git   string // path of the repository for Git
	limit int    // of a page

	mu sync.Mutex
	id int64 // of the token's user; 0: not asked yet
}

var _ forge.Client = (*Client)(nil)

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
	repo := url.PathEscape(owner) + "/" + url.PathEscape(name)
	return &Client{api: a, url: c.URL, repo: "/api/v1/repos/" + repo, git: repo + ".git", limit: pageSize}, nil
}

// Remote returns where Git finds the repository. The token is the password; Gitea does not look at the user name beside it.
func (c *Client) Remote() (url, username string) { return c.url + "/" + c.git, "plumbline" }

// NoteLimit is the longest note in bytes.
func (c *Client) NoteLimit() int { return noteLimit }

// MergeRequests lists the open pull requests: the 2,000 that were updated last, if there are more. One that moves between
// two pages while they are read can be missed, until the next call.
//
// A pull request's head is the commit that refs has for it: that one can be fetched. Gitea's API shows the branch, which
// is ahead of the pull request's ref for a moment after each push, and in a fork altogether another repository's.
func (c *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	var out []plumbline.MergeRequest
	seen := map[string]bool{}
	for page, n := 1, 0; n < maxPages; n++ {
		var prs []*api.PullRequest
		h, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/pulls?state=open&sort=recentupdate&limit=%d&page=%d", c.repo, c.limit, page), nil, &prs)
		if err != nil {
			return nil, err
		}
		for _, pr := range prs {
			mr, err := mergeRequest(pr)
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
			if mr.Head == "" {
				continue // its branch is gone; Gitea is about to close it
			}
			out = append(out, mr)
		}
		next := forge.NextPage(h)
		if next <= page || len(prs) == 0 {
			break
		}
		page = next
	}
	return out, nil
}

// MergeRequest returns a pull request, whatever its state.
func (c *Client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	number, err := index(id)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	pr := new(api.PullRequest)
	if _, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/pulls/%d", c.repo, number), nil, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mergeRequest(pr)
}

func index(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("pull request %q is not a number: %w", id, plumbline.ErrNotFound)
	}
	return n, nil
}

// mergeRequest translates. What comes from outside the repository counts as a fork: a head in another repository or in
// none (a fork that was deleted), and a push to refs/for (AGit), which readers may do without a branch of their own.
func mergeRequest(pr *api.PullRequest) (plumbline.MergeRequest, error) {
	if pr == nil || pr.Index < 1 || pr.Head == nil || pr.Base == nil || pr.Base.Ref == "" {
		return plumbline.MergeRequest{}, errors.New("gitea: unexpected answer: a pull request without number, head or base")
	}
	mr := plumbline.MergeRequest{
		ID:      strconv.FormatInt(pr.Index, 10),
		Title:   pr.Title,
		URL:     pr.HTMLURL,
		Source:  cmp.Or(pr.Head.Name, pr.Head.Ref),
		HeadRef: fmt.Sprintf("refs/pull/%d/head", pr.Index),
		Head:    pr.Head.Sha,
		Target:  pr.Base.Ref,
		Draft:   pr.Draft,
		Fork:    pr.Head.RepoID != pr.Base.RepoID || pr.Head.Name == "",
		State:   plumbline.MROpen,
	}
	if pr.Poster != nil {
		mr.Author = pr.Poster.UserName
	}
	if pr.Updated != nil {
		mr.UpdatedAt = *pr.Updated // whole seconds
	}
	switch {
	case pr.HasMerged:
		mr.State = plumbline.MRMerged
		if pr.MergedCommitID != nil {
			mr.MergeCommit = *pr.MergedCommitID
		}
	case pr.State != api.StateOpen:
		mr.State = plumbline.MRClosed
	}
	return mr, nil
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
	me, err := c.me(ctx)
	if err != nil {
		return err
	}
	for range 3 { // a comment that was listed can be deleted before it is edited
		ours, err := c.notes(ctx, number, me, marker)
		if err != nil {
			return err
		}
		if len(ours) == 0 {
			_, err := c.api.Call(ctx, "POST", fmt.Sprintf("%s/issues/%d/comments", c.repo, number), api.CreateIssueCommentOption{Body: body}, nil)
			if err != nil {
				return err
			}
			// Another daemon may have looked in the same moment, found none and written one as well.
			if ours, err = c.notes(ctx, number, me, marker); err != nil {
				return err
			}
			if len(ours) == 0 {
				continue
			}
		}
		for _, extra := range ours[1:] {
			err := c.comment(ctx, "DELETE", extra.ID, nil)
			if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
				return err
			}
		}
		if ours[0].Body == body {
			return nil
		}
		err = c.comment(ctx, "PATCH", ours[0].ID, api.EditIssueCommentOption{Body: body})
		if !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("pull request %d: its note was deleted each time it was written: %w", number, plumbline.ErrConflict)
}

func (c *Client) comment(ctx context.Context, method string, id int64, in any) error {
	_, err := c.api.Call(ctx, method, fmt.Sprintf("%s/issues/comments/%d", c.repo, id), in, nil)
	return err
}

// notes returns the user's comments with the marker, oldest first. Plumbline could edit those of others too: only the
// author tells them apart.
func (c *Client) notes(ctx context.Context, number, user int64, marker string) ([]*api.Comment, error) {
	var out []*api.Comment
	for page, n := 1, 0; n < maxPages; n++ {
		var all []*api.Comment
		// Gitea up to 1.26 returns all at once; a later one may page.
		h, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/issues/%d/comments?limit=%d&page=%d", c.repo, number, c.limit, page), nil, &all)
		if err != nil {
			return nil, err
		}
		for _, note := range all {
			if note != nil && note.Poster != nil && note.Poster.ID == user && strings.Contains(note.Body, marker) {
				out = append(out, note)
			}
		}
		next := forge.NextPage(h)
		if next <= page {
			break
		}
		page = next
	}
	slices.SortFunc(out, func(a, b *api.Comment) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(out, func(a, b *api.Comment) bool { return a.ID == b.ID }), nil
}

// me returns the ID of the token's user, asked for once.
func (c *Client) me(ctx context.Context) (int64, error) {
	c.mu.Lock()
	id := c.id
	c.mu.Unlock()
	if id != 0 {
		return id, nil
	}
	var u api.User
	if _, err := c.api.Call(ctx, "GET", "/api/v1/user", nil, &u); err != nil {
		return 0, err
	}
	if u.ID < 1 {
		return 0, errors.New("gitea: unexpected answer: a user without ID")
	}
	c.mu.Lock()
	c.id = u.ID
	c.mu.Unlock()
	return u.ID, nil
}

// SetStatus adds a status, since Gitea only ever adds, unless the newest of its context says the same.
func (c *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	s = forge.Fit(s, contextLimit, descriptionLimit)
	now, err := c.status(ctx, commit, s.Context)
	if err != nil {
		return err
	}
	if now != nil && string(now.State) == string(s.State) && now.Description == s.Description && now.TargetURL == s.URL {
		return nil
	}
	_, err = c.api.Call(ctx, "POST", c.repo+"/statuses/"+url.PathEscape(commit), api.CreateStatusOption{
		State: api.StatusState(s.State), TargetURL: s.URL, Description: s.Description, Context: s.Context,
	}, nil)
	return err
}

// status returns the newest status of a context, or nil. The combined status lists each context's newest one.
func (c *Client) status(ctx context.Context, commit, name string) (*api.Status, error) {
	for page, n := 1, 0; n < maxPages; n++ {
		var all api.CombinedStatus
		h, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/commits/%s/status?limit=%d&page=%d", c.repo, url.PathEscape(commit), c.limit, page), nil, &all)
		if errors.Is(err, io.EOF) {
			return nil, nil // older versions answer nothing at all where there is no status
		}
		if err != nil {
			return nil, err
		}
		for _, s := range all.Statuses {
			if s != nil && s.Context == name {
				return s, nil
			}
		}
		next := forge.NextPage(h)
		if next <= page {
			break
		}
		page = next
	}
	return nil, nil
}
