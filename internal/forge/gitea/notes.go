package gitea

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	api "code.gitea.io/sdk/gitea"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

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
	all, err := c.comments(ctx, number, "")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(note *api.Comment) bool {
		return note.Poster == nil || note.Poster.ID != user || !strings.Contains(note.Body, marker)
	}), nil
}

// comments returns those of a pull request, oldest first, each once. Gitea up to 1.26 returns all at once; a later one may page. What belongs to
// a review is not among them.
func (c *Client) comments(ctx context.Context, number int64, query string) ([]*api.Comment, error) {
	all, whole, err := list[*api.Comment](ctx, c, fmt.Sprintf("/issues/%d/comments", number), query)
	if err != nil {
		return nil, err
	}
	if !whole {
		return nil, fmt.Errorf("pull request %d: more than %d comments", number, len(all)-1)
	}
	for _, one := range all {
		if one == nil || one.ID < 1 {
			return nil, unexpected("a comment without ID")
		}
	}
	slices.SortFunc(all, func(a, b *api.Comment) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b *api.Comment) bool { return a.ID == b.ID }), nil
}

// Comments returns what other people wrote below a pull request. Texts of reviews and comments on lines are not among it.
//
// Gitea keeps whole seconds: what was written in the second of since is returned, and a change in the second in which a comment was written
// does not show as one. Whoever may write to the repository may change anybody's comments.
func (c *Client) Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error) {
	number, err := index(mr.ID)
	if err != nil {
		return nil, err
	}
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	since = since.UTC().Truncate(time.Second)
	query := ""
	if since.Unix() > 0 {
		query = "&since=" + url.QueryEscape(since.Format(time.RFC3339)) // Gitea compares it with when a comment was changed last
	}
	all, err := c.comments(ctx, number, query)
	if err != nil {
		return nil, err
	}
	var out []plumbline.Comment
	for _, one := range all {
		if one.Poster == nil || one.Poster.UserName == "" || one.Created.IsZero() {
			return nil, unexpected("a comment without author or date")
		}
		if one.Poster.ID == me || one.Created.Before(since) {
			continue
		}
		out = append(out, plumbline.Comment{
			ID:     strconv.FormatInt(one.ID, 10),
			Author: one.Poster.UserName,
			Body:   one.Body,
			At:     one.Created,
			Edited: !one.Updated.Equal(one.Created),
			URL:    one.HTMLURL,
		})
	}
	slices.SortStableFunc(out, func(a, b plumbline.Comment) int { return a.At.Compare(b.At) })
	return out, nil
}

// signs are reactions in Gitea's words. An administrator can take some away (app.ini, [ui] REACTIONS): setting one is plumbline.ErrDenied then.
var signs = map[plumbline.Reaction]string{
	plumbline.ReactionSeen:    "eyes",
	plumbline.ReactionDone:    "+1",
	plumbline.ReactionRefused: "-1",
}

// React adds a reaction to a comment, then takes away the others of ours.
func (c *Client) React(ctx context.Context, _ plumbline.MergeRequest, comment string, r plumbline.Reaction) error {
	sign, ok := signs[r]
	if !ok {
		return fmt.Errorf("reaction %q: %w", r, plumbline.ErrInvalid)
	}
	id, err := strconv.ParseInt(comment, 10, 64)
	if err != nil || id < 1 {
		return fmt.Errorf("comment %q is not a number: %w", comment, plumbline.ErrNotFound)
	}
	me, err := c.me(ctx)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("%s/issues/comments/%d/reactions", c.repo, id)
	var now []*api.Reaction
	if _, err := c.api.Call(ctx, "GET", path, nil, &now); err != nil {
		return err
	}
	var ours []string
	for _, one := range now {
		if one != nil && one.User != nil && one.User.ID == me {
			ours = append(ours, one.Reaction)
		}
	}
	if !slices.Contains(ours, sign) {
		if _, err := c.api.Call(ctx, "POST", path, reaction{sign}, nil); err != nil {
			return err
		}
	}
	for _, other := range ours {
		if other == sign {
			continue
		}
		if _, err := c.api.Call(ctx, "DELETE", path, reaction{other}, nil); err != nil {
			return err
		}
	}
	return nil
}

type reaction struct {
	Content string `json:"content"`
}
