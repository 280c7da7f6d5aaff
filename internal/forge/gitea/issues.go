package gitea

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/forge"
)

// closedPages is how many pages of our closed issues are looked through.
const closedPages = 10

// UpsertIssue writes the one issue of ours that carries i.Marker.
func (c *Client) UpsertIssue(ctx context.Context, i forge.Issue) (string, error) {
	i.Title = forge.Shorten(forge.OneLine(i.Title), titleLimit)
	if err := forge.CheckIssue(i, noteLimit); err != nil {
		return "", err
	}
	return forge.KeepIssue(ctx, issues{c}, i)
}

type issues struct{ c *Client }

// Own asks Gitea's database: a search by words would go through an index that is behind. Gitea lists the newest first.
func (s issues) Own(ctx context.Context, marker string, open bool) ([]forge.OwnIssue, error) {
	me, err := s.c.user(ctx) // asked for again: the ID stays, the name may not
	if err != nil {
		return nil, err
	}
	state, pages := api.StateOpen, maxPages
	if !open {
		state, pages = api.StateClosed, closedPages
	}
	all, whole, err := listUpTo[*api.Issue](ctx, s.c, pages, "/issues", "&state="+string(state)+"&type=issues&created_by="+url.QueryEscape(me.UserName))
	if err != nil {
		return nil, err
	}
	if open && !whole {
		return nil, fmt.Errorf("more than %d open issues of %s", len(all)-1, me.UserName)
	}
	var out []forge.OwnIssue
	for _, i := range all {
		if i == nil || i.Index < 1 || i.HTMLURL == "" {
			return nil, errPageless
		}
		if i.PullRequest == nil && i.State == state && i.Poster != nil && i.Poster.ID == me.ID && strings.Contains(i.Body, marker) {
			out = append(out, ownIssue(i))
		}
	}
	return out, nil
}

var errPageless = unexpected("an issue without number or page")

func ownIssue(i *api.Issue) forge.OwnIssue {
	return forge.OwnIssue{
		Number: i.Index, Title: i.Title, Body: i.Body, Labels: names(i.Labels), Open: i.State == api.StateOpen, Locked: i.IsLocked, URL: i.HTMLURL,
	}
}

// Make opens an issue, then gives it its labels: Gitea wants their numbers when it is opened.
func (s issues) Make(ctx context.Context, title, body string, labels []string) (forge.OwnIssue, error) {
	var made api.Issue
	if _, err := s.c.api.Call(ctx, "POST", s.c.repo+"/issues", api.CreateIssueOption{Title: title, Body: body}, &made); err != nil {
		return forge.OwnIssue{}, err
	}
	if made.Index < 1 || made.HTMLURL == "" {
		return forge.OwnIssue{}, errPageless
	}
	return ownIssue(&made), s.c.label(ctx, made.Index, nil, labels)
}

func (s issues) Change(ctx context.Context, was forge.OwnIssue, e forge.IssueEdit) (forge.OwnIssue, error) {
	if e.Title != nil || e.Body != nil || e.Open != nil {
		in := api.EditIssueOption{Body: e.Body}
		if e.Title != nil {
			in.Title = *e.Title
		}
		if e.Open != nil {
			state := api.StateClosed
			if *e.Open {
				state = api.StateOpen
			}
			in.State = &state
		}
		var now api.Issue
		if _, err := s.c.api.Call(ctx, "PATCH", fmt.Sprintf("%s/issues/%d", s.c.repo, was.Number), in, &now); err != nil {
			return forge.OwnIssue{}, err
		}
		if now.Index != was.Number || now.HTMLURL == "" {
			return forge.OwnIssue{}, errPageless
		}
		was = ownIssue(&now)
	}
	return was, s.c.label(ctx, was.Number, was.Labels, e.Labels)
}

// labelColor is that of labels that Plumbline makes. Gitea wants one.
const labelColor = "#ededed"

// label adds to an issue or pull request those labels that it lacks. What the repository lacks is made. What Plumbline may not do is left out: a
// label is never worth the text that it stands on.
func (c *Client) label(ctx context.Context, number int64, has, want []string) error {
	want = missing(want, has)
	if len(want) == 0 {
		return nil
	}
	now, err := c.addLabels(ctx, number, want) // those that are not there are ignored
	if err == nil {
		want = missing(want, names(now))
		for _, name := range want {
			if _, err = c.api.Call(ctx, "POST", c.repo+"/labels", api.CreateLabelOption{Name: name, Color: labelColor}, nil); err != nil {
				break
			}
		}
	}
	if err == nil && len(want) > 0 {
		_, err = c.addLabels(ctx, number, want)
	}
	var refused *forge.HTTPError
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return nil
	}
	return err
}

// addLabels adds labels by their names, as Gitea takes them since 1.22, and returns all that there are then.
func (c *Client) addLabels(ctx context.Context, number int64, names []string) ([]*api.Label, error) {
	var now []*api.Label
	_, err := c.api.Call(ctx, "POST", fmt.Sprintf("%s/issues/%d/labels", c.repo, number), map[string][]string{"labels": names}, &now)
	return now, err
}

// missing returns those names that are not among the labels. Some databases do not tell upper case from lower: nor does this.
func missing(want, has []string) []string {
	there := map[string]bool{"": true}
	for _, name := range has {
		there[strings.ToLower(name)] = true
	}
	var out []string
	for _, name := range want {
		name = forge.Shorten(forge.OneLine(name), labelLimit)
		if key := strings.ToLower(name); !there[key] {
			there[key] = true
			out = append(out, name)
		}
	}
	return out
}

// names returns those of labels, sorted.
func names(labels []*api.Label) []string {
	var out []string
	for _, l := range labels {
		if l != nil {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}
