package gitlab

import (
	"context"
	"slices"
	"strings"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// closedPages is how many pages of our closed issues are looked through.
const closedPages = 5

// UpsertIssue writes the one issue of ours that carries i.Marker.
func (c *Client) UpsertIssue(ctx context.Context, i forge.Issue) (string, error) {
	i.Title, i.Body = forge.Shorten(forge.OneLine(i.Title), titleLimit), text(i.Body)
	if err := forge.CheckIssue(i, noteLimit); err != nil {
		return "", err
	}
	return forge.KeepIssue(ctx, issues{c}, i)
}

type issues struct{ c *Client }

// Own asks GitLab's database: a list without a word to search for goes through no index.
func (s issues) Own(ctx context.Context, marker string, open bool) ([]forge.OwnIssue, error) {
	c := s.c
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	state, sort := "opened", "asc"
	var enough func([]*api.Issue) bool
	if !open {
		state, sort = "closed", "desc"
		pages := 0
		enough = func([]*api.Issue) bool { pages++; return pages >= closedPages }
	}
	all, err := list(c, func(l api.ListOptions) ([]*api.Issue, *api.Response, error) {
		return c.gl.Issues.ListProjectIssues(c.project, &api.ListProjectIssuesOptions{
			ListOptions: l, State: &state, Scope: new("all"), AuthorID: &me, OrderBy: new("created_at"), Sort: &sort,
		}, api.WithContext(ctx))
	}, enough)
	if err != nil {
		return nil, err
	}
	var out []forge.OwnIssue
	for _, i := range all {
		if i.IID < 1 || i.Author == nil {
			return nil, unexpected("an issue without number or author")
		}
		if i.Author.ID == me && i.State == state && strings.Contains(i.Description, marker) {
			out = append(out, ownIssue(i))
		}
	}
	return out, nil
}

func ownIssue(i *api.Issue) forge.OwnIssue {
	return forge.OwnIssue{
		Number: i.IID, Title: i.Title, Body: i.Description, Labels: i.Labels, Open: i.State == "opened", Locked: i.DiscussionLocked, URL: page(i.WebURL),
	}
}

// Make opens an issue. GitLab makes labels that are missing.
func (s issues) Make(ctx context.Context, title, body string, labels []string) (forge.OwnIssue, error) {
	made, resp, err := s.c.gl.Issues.CreateIssue(s.c.project, &api.CreateIssueOptions{Title: &title, Description: &body, Labels: labelsOf(labels)}, api.WithContext(ctx))
	return s.one(made, resp, err)
}

// Change changes an issue. GitLab does not open one again whose discussion is locked, and answers as if all were well: the state that it tells
// then is the old one.
func (s issues) Change(ctx context.Context, was forge.OwnIssue, e forge.IssueEdit) (forge.OwnIssue, error) {
	o := &api.UpdateIssueOptions{Title: e.Title, Description: e.Body, AddLabels: labelsOf(e.Labels)}
	if e.Open != nil {
		o.StateEvent = new("close")
		if *e.Open {
			o.StateEvent = new("reopen")
		}
	}
	now, resp, err := s.c.gl.Issues.UpdateIssue(s.c.project, was.Number, o, api.WithContext(ctx))
	return s.one(now, resp, err)
}

func (s issues) one(i *api.Issue, resp *api.Response, err error) (forge.OwnIssue, error) {
	if err := some(i, s.c.check(resp, err)); err != nil {
		return forge.OwnIssue{}, err
	}
	if i.IID < 1 {
		return forge.OwnIssue{}, unexpected("an issue without number")
	}
	return ownIssue(i), nil
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
