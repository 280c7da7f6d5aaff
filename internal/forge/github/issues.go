package github

import (
	"context"
	"errors"
	"slices"
	"strings"

	api "github.com/google/go-github/v89/github"

	"github.com/plumbline/plumbline/internal/forge"
)

// titleLimit is in characters: GitHub says "title is too long (maximum is 256 characters)".
const titleLimit = 256

// closedPages is how many pages of our closed issues are looked through. Pull requests that we opened are among them.
const closedPages = 5

// UpsertIssue writes the one issue of ours that carries i.Marker.
func (c *Client) UpsertIssue(ctx context.Context, i forge.Issue) (url string, err error) {
	i.Title = forge.Shorten(forge.OneLine(i.Title), titleLimit)
	if err := forge.CheckIssue(i, noteLimit); err != nil {
		return "", err
	}
	return forge.KeepIssue(ctx, issues{c}, i)
}

type issues struct{ c *Client }

// Own lists by the name that the user has today, and looks at its ID. GitHub answers from its database; a copy of it may be late by seconds.
func (s issues) Own(ctx context.Context, marker string, open bool) ([]forge.OwnIssue, error) {
	c := s.c
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	state := "open"
	o := api.IssueListByRepoOptions{State: state, Creator: me.login}
	if !open {
		state = "closed"
		o.State, o.Sort, o.Direction = state, "updated", "desc"
	}
	var out []forge.OwnIssue
	err = c.pages(func(l api.ListOptions) (*api.Response, error) {
		o.ListOptions = l
		all, resp, err := c.gh.Issues.ListByRepo(ctx, c.owner, c.name, &o)
		for _, i := range all {
			if i.GetNumber() < 1 {
				return resp, errNumberless
			}
			if !i.IsPullRequest() && i.GetUser().GetID() == me.id && i.GetState() == state && strings.Contains(i.GetBody(), marker) {
				out = append(out, ownIssue(i))
			}
		}
		if err == nil && !open && l.Page >= closedPages {
			return nil, listed(all, nil)
		}
		return resp, listed(all, err)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

var errNumberless = errors.New("github: unexpected answer: an issue without number")

func ownIssue(i *api.Issue) forge.OwnIssue {
	return forge.OwnIssue{
		Number: int64(i.GetNumber()), Title: i.GetTitle(), Body: i.GetBody(), Labels: withLabels(i.Labels, nil), Open: i.GetState() == "open",
		Locked: i.GetLocked(), URL: i.GetHTMLURL(),
	}
}

// Make opens an issue. Labels that the repository lacks are made; of a token that may not give any, they are left out by GitHub.
func (s issues) Make(ctx context.Context, title, body string, labels []string) (forge.OwnIssue, error) {
	wanted := api.IssueRequest{Title: &title, Body: &body}
	if len(labels) > 0 {
		wanted.Labels = &labels
	}
	made, _, err := s.c.gh.Issues.Create(ctx, s.c.owner, s.c.name, &wanted)
	return s.one(made, err)
}

func (s issues) Change(ctx context.Context, was forge.OwnIssue, e forge.IssueEdit) (forge.OwnIssue, error) {
	edit := api.IssueRequest{Title: e.Title, Body: e.Body}
	if e.Open != nil {
		state, why := "closed", "completed"
		if *e.Open {
			state, why = "open", "reopened"
		}
		edit.State, edit.StateReason = &state, &why
	}
	if len(e.Labels) > 0 {
		all := slices.Concat(was.Labels, e.Labels)
		edit.Labels = &all
	}
	now, _, err := s.c.gh.Issues.Edit(ctx, s.c.owner, s.c.name, int(was.Number), &edit)
	return s.one(now, err)
}

func (s issues) one(i *api.Issue, err error) (forge.OwnIssue, error) {
	if err = s.c.explain(err); err != nil {
		return forge.OwnIssue{}, err
	}
	if i.GetNumber() < 1 {
		return forge.OwnIssue{}, errNumberless
	}
	return ownIssue(i), nil
}
