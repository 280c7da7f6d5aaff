package gitea

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// MergeRequests lists the open pull requests: the 2,000 that were updated last, if there are more. One that moves between
// two pages while they are read can be missed, until the next call.
//
// A pull request's head is the commit that refs has for it: that one can be fetched. Gitea's API shows the branch, which
// is ahead of the pull request's ref for a moment after each push, and in a fork altogether another repository's.
func (c *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	prs, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	var out []plumbline.MergeRequest
	seen := map[string]bool{}
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
	return out, nil
}

func (c *Client) open(ctx context.Context) ([]*api.PullRequest, error) {
	prs, _, err := list[*api.PullRequest](ctx, c, "/pulls", "&state=open&sort=recentupdate")
	return prs, err
}

// MergeRequest returns a pull request, whatever its state, with those who approved its head. An approval of an earlier head does not count,
// though Gitea may keep it: it finds out only after a push, and not always, whether the change is still the one that was approved.
//
// Conflicts is true from the second call on, a minute after the first that saw the same two commits: Gitea does not tell a conflict from what it
// has not looked at yet, and being asked for a pull request is what makes it look (services/pull/check.go). Of a draft it does not tell.
func (c *Client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	number, err := index(id)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	pr := new(api.PullRequest)
	if _, err := c.api.Call(ctx, "GET", fmt.Sprintf("%s/pulls/%d", c.repo, number), nil, pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	mr, err := mergeRequest(pr)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if mr.ApprovedBy, err = c.approvers(ctx, number, mr.Head); err != nil {
		return plumbline.MergeRequest{}, err
	}
	mr.Conflicts = c.conflicts(pr)
	return mr, nil
}

// mergeRequest translates. What comes from outside the repository counts as a fork: a head in another repository or in
// none (a fork that was deleted), and a push to refs/for (AGit), which readers may do without a branch of their own.
func mergeRequest(pr *api.PullRequest) (plumbline.MergeRequest, error) {
	if pr == nil || pr.Index < 1 || pr.Head == nil || pr.Base == nil || pr.Base.Ref == "" {
		return plumbline.MergeRequest{}, unexpected("a pull request without number, head or base")
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
		Fork:    foreign(pr),
		State:   plumbline.MROpen,
		Labels:  names(pr.Labels),
	}
	if pr.Poster != nil {
		mr.Author = pr.Poster.UserName
	}
	if pr.Updated != nil {
		mr.UpdatedAt = *pr.Updated // whole seconds, in which there may be several comments
		mr.Activity = fmt.Sprintf("%d comments=%d", pr.Updated.Unix(), pr.Comments)
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

func foreign(pr *api.PullRequest) bool { return pr.Head.RepoID != pr.Base.RepoID || pr.Head.Name == "" }

// approvers returns who approved a commit, sorted. Of each person the newest review counts that Gitea calls official: by somebody who may write,
// or whom the protection of the branch names. Comments and requests for a review are no reviews in this sense.
func (c *Client) approvers(ctx context.Context, number int64, commit string) ([]string, error) {
	reviews, whole, err := list[*api.PullReview](ctx, c, fmt.Sprintf("/pulls/%d/reviews", number), "")
	if err != nil {
		return nil, err
	}
	if !whole {
		return nil, fmt.Errorf("pull request %d: more than %d reviews", number, len(reviews)-1)
	}
	newest := map[string]*api.PullReview{}
	for _, r := range reviews {
		if r == nil || r.ID < 1 {
			return nil, unexpected("a review without ID")
		}
		if r.Reviewer == nil || !r.Official || (r.State != api.ReviewStateApproved && r.State != api.ReviewStateRequestChanges) {
			continue
		}
		if was := newest[r.Reviewer.UserName]; was == nil || was.ID < r.ID {
			newest[r.Reviewer.UserName] = r
		}
	}
	var out []string
	for name, r := range newest {
		if name != "" && r.State == api.ReviewStateApproved && !r.Dismissed && r.CommitID == commit && commit != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// sighting is when a pull request was first seen as it is, not mergeable.
type sighting struct {
	head, base string // commits
	at         time.Time
}

// settled is how long Gitea may take to find out whether there is a conflict.
const settled = time.Minute

// conflicts tells whether Gitea has had the time to look at an open pull request and still does not call it mergeable.
func (c *Client) conflicts(pr *api.PullRequest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pr.Mergeable || pr.HasMerged || pr.Draft || pr.State != api.StateOpen || pr.Head.Sha == "" || pr.Base.Sha == "" {
		delete(c.stuck, pr.Index)
		return false
	}
	was, ok := c.stuck[pr.Index]
	if !ok || was.head != pr.Head.Sha || was.base != pr.Base.Sha {
		c.stuck[pr.Index] = sighting{head: pr.Head.Sha, base: pr.Base.Sha, at: c.now()}
		return false
	}
	return c.now().Sub(was.at) >= settled
}
