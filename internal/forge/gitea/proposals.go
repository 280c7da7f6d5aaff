package gitea

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// wip at the beginning of a title makes a draft, unless an administrator chose other words (app.ini, [repository.pull-request]
// WORK_IN_PROGRESS_PREFIXES).
const wip = "WIP: "

// OpenMergeRequest opens a pull request, or brings the open one up to date. Whether that is a draft, and which labels people added, stays.
func (c *Client) OpenMergeRequest(ctx context.Context, p forge.Proposal) (plumbline.MergeRequest, error) {
	p.Title = forge.Shorten(forge.OneLine(p.Title), titleLimit-len(wip))
	if p.Title == "" || p.Source == "" || p.Target == "" || p.Source == p.Target {
		return plumbline.MergeRequest{}, fmt.Errorf("a pull request from %q to %q with the title %q: %w", p.Source, p.Target, p.Title, plumbline.ErrInvalid)
	}
	pr, err := c.propose(ctx, p)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if err := c.amend(ctx, pr, p); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if err := c.label(ctx, pr.Index, names(pr.Labels), p.Labels); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return c.MergeRequest(ctx, strconv.FormatInt(pr.Index, 10))
}

// propose returns the open pull request for two branches, which it opens where there is none.
func (c *Client) propose(ctx context.Context, p forge.Proposal) (*api.PullRequest, error) {
	pr, err := c.proposed(ctx, p)
	if pr != nil || err != nil {
		return pr, err
	}
	in := api.CreatePullRequestOption{Head: p.Source, Base: p.Target, Title: p.Title, Body: p.Body}
	if p.Draft {
		in.Title = wip + p.Title
	}
	if _, err = c.api.Call(ctx, "POST", c.repo+"/pulls", in, nil); err != nil && !errors.Is(err, plumbline.ErrConflict) {
		return nil, err
	}
	pr, another := c.proposed(ctx, p) // ours, or that of another daemon, which was quicker
	if pr == nil && another == nil {
		another = cmp.Or(err, unexpected("a pull request that was opened and is not there"))
	}
	return pr, another
}

// proposed returns the open pull request for two branches of the repository, or nil. Gitea's own way to find one by its branches returns closed
// ones as well.
func (c *Client) proposed(ctx context.Context, p forge.Proposal) (*api.PullRequest, error) {
	prs, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	for _, pr := range prs {
		if mr, err := mergeRequest(pr); err != nil {
			return nil, err
		} else if mr.State == plumbline.MROpen && !mr.Fork && mr.Source == p.Source && mr.Target == p.Target {
			return pr, nil
		}
	}
	return nil, nil
}

// amend brings title and body up to date.
func (c *Client) amend(ctx context.Context, pr *api.PullRequest, p forge.Proposal) error {
	title := p.Title
	switch {
	case pr.Draft && strings.HasSuffix(pr.Title, p.Title):
		title = pr.Title // whatever it is that makes it a draft
	case pr.Draft:
		title = wip + p.Title
	}
	if pr.Title == title && pr.Body == p.Body {
		return nil
	}
	_, err := c.api.Call(ctx, "PATCH", fmt.Sprintf("%s/pulls/%d", c.repo, pr.Index), api.EditPullRequestOption{Title: title, Body: &p.Body}, nil)
	return err
}
