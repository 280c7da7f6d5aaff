package gitea

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// UpsertIssue writes the one open issue of ours that carries marker. Labels that people added stay.
func (c *Client) UpsertIssue(ctx context.Context, marker, title, body string, labels []string) (string, error) {
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return "", err
	}
	title = forge.Shorten(forge.OneLine(title), titleLimit)
	if title == "" {
		return "", fmt.Errorf("an issue without title: %w", plumbline.ErrInvalid)
	}
	for range 3 { // an issue that was listed can be deleted before it is edited
		ours, err := c.issues(ctx, marker)
		if err != nil {
			return "", err
		}
		if len(ours) == 0 {
			if _, err := c.api.Call(ctx, "POST", c.repo+"/issues", api.CreateIssueOption{Title: title, Body: body}, nil); err != nil {
				return "", err
			}
			// Another daemon may have opened one in the same moment.
			if ours, err = c.issues(ctx, marker); err != nil {
				return "", err
			}
			if len(ours) == 0 {
				continue
			}
		}
		if err := c.closeIssues(ctx, ours[1:]); err != nil {
			return "", err
		}
		kept := ours[0]
		if kept.Title != title || kept.Body != body {
			err := c.editIssue(ctx, kept.Index, api.EditIssueOption{Title: title, Body: &body})
			if errors.Is(err, plumbline.ErrNotFound) {
				continue
			}
			if err != nil {
				return "", err
			}
		}
		return kept.HTMLURL, c.label(ctx, kept.Index, kept.Labels, labels)
	}
	return "", fmt.Errorf("the issue %q was deleted each time it was written: %w", title, plumbline.ErrConflict)
}

// CloseIssue closes the open issues of ours that carry marker.
func (c *Client) CloseIssue(ctx context.Context, marker string) error {
	if err := forge.CheckNote(marker, marker, noteLimit); err != nil {
		return err
	}
	ours, err := c.issues(ctx, marker)
	if err != nil {
		return err
	}
	return c.closeIssues(ctx, ours)
}

func (c *Client) closeIssues(ctx context.Context, all []*api.Issue) error {
	closed := api.StateClosed
	for _, one := range all {
		err := c.editIssue(ctx, one.Index, api.EditIssueOption{State: &closed})
		if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (c *Client) editIssue(ctx context.Context, number int64, in api.EditIssueOption) error {
	_, err := c.api.Call(ctx, "PATCH", fmt.Sprintf("%s/issues/%d", c.repo, number), in, nil)
	return err
}

// issues returns the open issues of the token's user with the marker, oldest first. A search by words would go through an index that is behind.
func (c *Client) issues(ctx context.Context, marker string) ([]*api.Issue, error) {
	me, err := c.user(ctx) // asked for again: the ID stays, the name may not
	if err != nil {
		return nil, err
	}
	all, whole, err := list[*api.Issue](ctx, c, "/issues", "&state=open&type=issues&created_by="+url.QueryEscape(me.UserName))
	if err != nil {
		return nil, err
	}
	if !whole {
		return nil, fmt.Errorf("more than %d open issues of %s", len(all)-1, me.UserName)
	}
	for _, one := range all {
		if one == nil || one.Index < 1 || one.HTMLURL == "" {
			return nil, unexpected("an issue without number or page")
		}
	}
	all = slices.DeleteFunc(all, func(one *api.Issue) bool {
		return one.PullRequest != nil || one.State != api.StateOpen || one.Poster == nil || one.Poster.ID != me.ID || !strings.Contains(one.Body, marker)
	})
	slices.SortFunc(all, func(a, b *api.Issue) int { return cmp.Compare(a.Index, b.Index) })
	return slices.CompactFunc(all, func(a, b *api.Issue) bool { return a.Index == b.Index }), nil
}

// labelColor is that of labels that Plumbline makes. Gitea wants one.
const labelColor = "#ededed"

// label adds to an issue or pull request those labels that it lacks. What the repository lacks is made. What Plumbline may not do is left out: a
// label is never worth the text that it stands on.
func (c *Client) label(ctx context.Context, number int64, has []*api.Label, want []string) error {
	want = missing(want, has)
	if len(want) == 0 {
		return nil
	}
	has, err := c.addLabels(ctx, number, want) // those that are not there are ignored
	if err == nil {
		want = missing(want, has)
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
func missing(want []string, has []*api.Label) []string {
	there := map[string]bool{"": true}
	for _, name := range names(has) {
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
