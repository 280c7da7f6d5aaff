package bitbucket

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

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

type comment struct {
	ID      int64 `json:"id"`
	Content struct {
		Raw string `json:"raw"`
	} `json:"content"`
	User      *account  `json:"user"`
	CreatedOn time.Time `json:"created_on"`
	UpdatedOn time.Time `json:"updated_on"`
	Deleted   bool      `json:"deleted"` // it stays in the list, without its text
	Pending   bool      `json:"pending"` // part of a review that was not sent; only its author sees it
	Inline    *struct{} `json:"inline"`  // about lines of a file
	Parent    *struct {
		ID int64 `json:"id"`
	} `json:"parent"` // what it answers
	Links links `json:"links"`

	wanted bool
}

// written is what is sent of one.
type written struct {
	Content struct {
		Raw string `json:"raw"`
	} `json:"content"`
}

// UpsertNote writes the one comment of ours that carries marker. Only its author tells whose it is, as anybody can paste a marker.
//
// The API does not name the user behind an access token: it shows as the author of what was written with it. With such a token, and until
// one was written, no comment counts as ours. The first note of a Client is written anew then; what it replaces is found by its author,
// and the oldest is kept.
func (c *Client) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return err
	}
	number, err := index(mr.ID)
	if err != nil {
		return err
	}
	ctx = forge.Urgent(ctx)
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
			if me, err = c.post(ctx, number, body); err != nil {
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
			err := c.change(ctx, "DELETE", number, extra.ID, nil)
			if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
				return err
			}
		}
		if ours[0].Content.Raw == body {
			return nil
		}
		err = c.change(ctx, "PUT", number, ours[0].ID, text(body))
		if !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("pull request %d: its note was deleted each time it was written: %w", number, plumbline.ErrConflict)
}

func text(body string) written {
	var w written
	w.Content.Raw = body
	return w
}

// post writes a comment and returns who wrote it: us.
func (c *Client) post(ctx context.Context, number int64, body string) (me string, err error) {
	var made comment
	if _, err := c.api.Call(ctx, "POST", fmt.Sprintf("%s/pullrequests/%d/comments", c.repo, number), text(body), &made); err != nil {
		return "", err
	}
	if made.User == nil || made.User.UUID == "" {
		return "", unexpected("a comment without its author")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user = made.User.UUID
	return c.user, nil
}

func (c *Client) change(ctx context.Context, method string, number, id int64, in any) error {
	_, err := c.api.Call(ctx, method, fmt.Sprintf("%s/pullrequests/%d/comments/%d", c.repo, number, id), in, nil)
	return err
}

// notes returns the comments of a user with the marker, oldest first. What was written to lines of a file or as an answer is none of
// Plumbline's, even if somebody lent it their token.
func (c *Client) notes(ctx context.Context, number int64, user, marker string) ([]*comment, error) {
	return c.comments(ctx, number, func(n *comment) bool {
		return user != "" && n.User != nil && n.User.UUID == user && n.Parent == nil && strings.Contains(n.Content.Raw, marker)
	})
}

// Comments returns what people wrote, answers included, but not what they wrote to lines of a file, nor answers to that: a word there
// belongs to the line. What tokens and apps wrote is no person's. The author is an Atlassian account ID.
func (c *Client) Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error) {
	number, err := index(mr.ID)
	if err != nil {
		return nil, err
	}
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.comments(ctx, number, func(n *comment) bool {
		return n.User.person() && n.User.UUID != me && !n.CreatedOn.Before(since)
	})
	if err != nil {
		return nil, err
	}
	var out []plumbline.Comment
	for _, n := range all {
		out = append(out, plumbline.Comment{
			ID: strconv.FormatInt(n.ID, 10), Author: n.User.name(), Body: n.Content.Raw, At: n.CreatedOn, Edited: n.edited(), URL: n.Links.address(),
		})
	}
	return out, nil
}

// edited tells whether a comment was changed. Bitbucket sets both times of a new one, one after the other: a tenth of a millisecond lies
// between them.
func (n *comment) edited() bool { return n.UpdatedOn.Sub(n.CreatedOn) > time.Second }

// comments returns the wanted ones of what everybody can see beneath a pull request, oldest first: not what was written to lines of a file,
// and no answer to that. Others' texts are not kept, as there may be much of them.
func (c *Client) comments(ctx context.Context, number int64, wanted func(*comment) bool) ([]*comment, error) {
	path := fmt.Sprintf("%s/pullrequests/%d/comments?pagelen=%d&fields=%s", c.repo, number, c.perPage,
		url.QueryEscape("-values.content.html,-values.pullrequest"))
	var all []*comment
	bad := false
	err := pages(ctx, c.api, path, func(n *comment) {
		bad = bad || n.ID < 1 || n.CreatedOn.IsZero()
		n.wanted = !n.Deleted && !n.Pending && wanted(n)
		if !n.wanted {
			n.Content.Raw = ""
		}
		all = append(all, n)
	})
	if err != nil {
		return nil, err
	}
	if bad {
		return nil, unexpected("a comment without id or time")
	}
	slices.SortStableFunc(all, func(a, b *comment) int { return cmp.Compare(a.ID, b.ID) })
	all = slices.CompactFunc(all, func(a, b *comment) bool { return a.ID == b.ID }) // one that moved to the next page meanwhile
	inline := map[int64]bool{}
	for _, n := range all { // an answer is newer than what it answers
		inline[n.ID] = n.Inline != nil || n.Parent != nil && inline[n.Parent.ID]
	}
	return slices.DeleteFunc(all, func(n *comment) bool { return !n.wanted || inline[n.ID] }), nil
}

// me returns the UUID of the user that the token belongs to, asked for once; "" where the API does not name one.
func (c *Client) me(ctx context.Context) (string, error) {
	c.mu.Lock()
	user, asked := c.user, c.asked
	c.mu.Unlock()
	if user != "" || asked {
		return user, nil
	}
	var u account
	_, err := c.api.Call(ctx, "GET", "/user", nil, &u)
	var later *plumbline.Retry
	switch {
	case err != nil && (c.named || !errors.Is(err, plumbline.ErrDenied) || errors.As(err, &later)):
		return "", err
	case err == nil && u.UUID == "":
		return "", unexpected("a user without UUID")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user, c.asked = cmp.Or(c.user, u.UUID), true
	return c.user, nil
}
