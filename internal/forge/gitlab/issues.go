package gitlab

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// UpsertIssue writes the one open issue of ours that carries marker. Labels are given when it is opened; what people make of them later is
// theirs.
func (c *Client) UpsertIssue(ctx context.Context, marker, title, body string, labels []string) (string, error) {
	title, body = forge.Shorten(forge.OneLine(title), titleLimit), text(body)
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return "", err
	}
	ours, err := c.issues(ctx, marker)
	if err != nil {
		return "", err
	}
	if len(ours) == 0 {
		_, resp, err := c.gl.Issues.CreateIssue(c.project, &api.CreateIssueOptions{Title: &title, Description: &body, Labels: labelsOf(labels)}, api.WithContext(ctx))
		if err := c.check(resp, err); err != nil {
			return "", err
		}
		// Another daemon may have opened one in the same moment.
		if ours, err = c.issues(ctx, marker); err != nil {
			return "", err
		}
		if len(ours) == 0 {
			return "", fmt.Errorf("the issue %q was closed as soon as it was open: %w", title, plumbline.ErrConflict)
		}
	}
	for _, extra := range ours[1:] {
		if err := c.closeIssue(ctx, extra.IID); err != nil {
			return "", err
		}
	}
	if ours[0].Title != title || ours[0].Description != body {
		_, resp, err := c.gl.Issues.UpdateIssue(c.project, ours[0].IID, &api.UpdateIssueOptions{Title: &title, Description: &body}, api.WithContext(ctx))
		if err := c.check(resp, err); err != nil {
			return "", err
		}
	}
	return page(ours[0].WebURL), nil
}

// CloseIssue closes all open issues of ours that carry marker.
func (c *Client) CloseIssue(ctx context.Context, marker string) error {
	ours, err := c.issues(ctx, marker)
	if err != nil {
		return err
	}
	for _, one := range ours {
		if err := c.closeIssue(ctx, one.IID); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) closeIssue(ctx context.Context, iid int64) error {
	_, resp, err := c.gl.Issues.UpdateIssue(c.project, iid, &api.UpdateIssueOptions{StateEvent: new("close")}, api.WithContext(ctx))
	return c.check(resp, err)
}

// issues returns our open issues with the marker, oldest first.
func (c *Client) issues(ctx context.Context, marker string) ([]*api.Issue, error) {
	if strings.TrimSpace(marker) == "" {
		return nil, fmt.Errorf("issues without a marker: %w", plumbline.ErrInvalid)
	}
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	all, err := list(c, func(l api.ListOptions) ([]*api.Issue, *api.Response, error) {
		return c.gl.Issues.ListProjectIssues(c.project, &api.ListProjectIssuesOptions{
			ListOptions: l, State: new("opened"), Scope: new("all"), AuthorID: &me, OrderBy: new("created_at"), Sort: new("asc"),
		}, api.WithContext(ctx))
	}, nil)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.IID < 1 || one.Author == nil {
			return nil, unexpected("an issue without number or author")
		}
	}
	ours := slices.DeleteFunc(all, func(i *api.Issue) bool {
		return i.Author.ID != me || i.State != "opened" || !strings.Contains(i.Description, marker)
	})
	slices.SortFunc(ours, func(a, b *api.Issue) int { return cmp.Compare(a.IID, b.IID) })
	return slices.CompactFunc(ours, func(a, b *api.Issue) bool { return a.IID == b.IID }), nil
}

// labelsOf returns nil for none: an empty list would be a label without a name.
func labelsOf(labels []string) *api.LabelOptions {
	if len(labels) == 0 {
		return nil
	}
	l := api.LabelOptions(labels)
	return &l
}

// draft is how GitLab tells a draft: by its title.
const draft = "Draft: "

// OpenMergeRequest opens a merge request within the project, or brings the open one up to date. One that was opened stays a draft, or
// ready, as people made it, and keeps labels that they gave.
func (c *Client) OpenMergeRequest(ctx context.Context, p forge.Proposal) (plumbline.MergeRequest, error) {
	title, body := forge.Shorten(forge.OneLine(p.Title), titleLimit-len(draft)), text(p.Body)
	one, err := c.proposed(ctx, p)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if one == nil {
		if p.Draft {
			title = draft + title
		}
		o := &api.CreateMergeRequestOptions{Title: &title, Description: &body, SourceBranch: &p.Source, TargetBranch: &p.Target, Labels: labelsOf(p.Labels)}
		made, resp, err := c.gl.MergeRequests.CreateMergeRequest(c.project, o, api.WithContext(ctx))
		if err := some(made, c.check(resp, err)); err != nil {
			return plumbline.MergeRequest{}, err
		}
		return mergeRequest(&made.BasicMergeRequest)
	}
	if one.Draft {
		title = draft + title
	}
	missing := slices.DeleteFunc(slices.Clone(p.Labels), func(l string) bool { return slices.Contains(one.Labels, l) })
	if one.Title == title && one.Description == body && len(missing) == 0 {
		return mergeRequest(one)
	}
	o := &api.UpdateMergeRequestOptions{Title: &title, Description: &body, AddLabels: labelsOf(missing)}
	changed, resp, err := c.gl.MergeRequests.UpdateMergeRequest(c.project, one.IID, o, api.WithContext(ctx))
	if err := some(changed, c.check(resp, err)); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mergeRequest(&changed.BasicMergeRequest)
}

// proposed returns the open merge request between two branches of the project, or nil. GitLab allows one.
func (c *Client) proposed(ctx context.Context, p forge.Proposal) (*api.BasicMergeRequest, error) {
	all, err := c.open(ctx, api.ListProjectMergeRequestsOptions{SourceBranch: &p.Source, TargetBranch: &p.Target})
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if mr, err := mergeRequest(one); err != nil {
			return nil, err
		} else if mr.Source == p.Source && mr.Target == p.Target && !mr.Fork && mr.State == plumbline.MROpen {
			return one, nil
		}
	}
	return nil, nil
}
