package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// command is a line that GitLab may take for a quick action and would do in our name, then take out of the text:
// https://docs.gitlab.com/user/project/quick_actions/. What we write holds other people's words.
var command = regexp.MustCompile(`(?m)^/[A-Za-z]`)

// text is body as GitLab keeps it: it drops carriage returns and the white space at the end (lib/gitlab/quick_actions/extractor.rb), and
// refuses a zero byte. A line that could be a quick action gets a backslash, which Markdown does not show; in a block of code it does.
// GitLab looks for no actions there, yet where a block ends it judges otherwise than Markdown does.
func text(body string) string {
	body = strings.NewReplacer("\r", "", "\x00", "").Replace(strings.ToValidUTF8(body, "\uFFFD"))
	return strings.TrimRightFunc(command.ReplaceAllStringFunc(body, func(s string) string { return `\` + s }), unicode.IsSpace)
}

// UpsertNote writes the one note of ours that carries marker.
func (c *Client) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	body = text(body)
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return err
	}
	iid, err := number(mr.ID)
	if err != nil {
		return err
	}
	for range 3 { // a note that was listed can be deleted before it is edited
		ours, err := c.notes(ctx, iid, marker)
		if err != nil {
			return err
		}
		if len(ours) == 0 {
			_, resp, err := c.gl.Notes.CreateMergeRequestNote(c.project, iid, &api.CreateMergeRequestNoteOptions{Body: &body}, api.WithContext(ctx))
			if err := c.check(resp, err); err != nil {
				return err
			}
			// Another daemon may have looked in the same moment, found none and written one as well.
			if ours, err = c.notes(ctx, iid, marker); err != nil {
				return err
			}
			if len(ours) == 0 {
				continue
			}
		}
		for _, extra := range ours[1:] {
			resp, err := c.gl.Notes.DeleteMergeRequestNote(c.project, iid, extra.ID, api.WithContext(ctx))
			if err := c.check(resp, err); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
				return err
			}
		}
		if ours[0].Body == body {
			return nil
		}
		_, resp, err := c.gl.Notes.UpdateMergeRequestNote(c.project, iid, ours[0].ID, &api.UpdateMergeRequestNoteOptions{Body: &body}, api.WithContext(ctx))
		if err := c.check(resp, err); !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("merge request %d: its note was deleted each time it was written: %w", iid, plumbline.ErrConflict)
}

// notes returns our notes with the marker, oldest first. A maintainer's token could edit those of others too: only the author tells them
// apart. What GitLab itself notes in our name is left out.
func (c *Client) notes(ctx context.Context, iid int64, marker string) ([]*api.Note, error) {
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.allNotes(ctx, iid, "asc", nil)
	if err != nil {
		return nil, err
	}
	ours := slices.DeleteFunc(all, func(n *api.Note) bool { return n.Author.ID != me || n.System || !strings.Contains(n.Body, marker) })
	slices.SortFunc(ours, func(a, b *api.Note) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(ours, func(a, b *api.Note) bool { return a.ID == b.ID }), nil
}

func (c *Client) allNotes(ctx context.Context, iid int64, sort string, enough func([]*api.Note) bool) ([]*api.Note, error) {
	all, err := list(c, func(l api.ListOptions) ([]*api.Note, *api.Response, error) {
		o := &api.ListMergeRequestNotesOptions{ListOptions: l, OrderBy: new("created_at"), Sort: &sort}
		return c.gl.Notes.ListMergeRequestNotes(c.project, iid, o, api.WithContext(ctx))
	}, enough)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if n.ID < 1 || n.Author.ID < 1 || n.CreatedAt == nil || n.UpdatedAt == nil {
			return nil, unexpected("merge request %d: a note without number, author or time", iid)
		}
	}
	return all, nil
}

// Comments returns what other people wrote. Drafts of a review are not among a merge request's notes until they are sent.
func (c *Client) Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error) {
	iid, err := number(mr.ID)
	if err != nil {
		return nil, err
	}
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	// From the newest on, so that reading ends where it was read before.
	all, err := c.allNotes(ctx, iid, "desc", func(page []*api.Note) bool {
		return len(page) > 0 && page[len(page)-1].CreatedAt != nil && page[len(page)-1].CreatedAt.Before(since)
	})
	if err != nil {
		return nil, err
	}
	theirs := slices.DeleteFunc(all, func(n *api.Note) bool { return n.System || n.Author.ID == me || n.CreatedAt.Before(since) })
	slices.SortFunc(theirs, func(a, b *api.Note) int { return cmp.Or(a.CreatedAt.Compare(*b.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	theirs = slices.CompactFunc(theirs, func(a, b *api.Note) bool { return a.ID == b.ID })
	edited, err := c.edited(ctx, theirs)
	if err != nil {
		return nil, err
	}
	var out []plumbline.Comment
	for _, n := range theirs {
		if n.Author.Username == "" {
			return nil, unexpected("merge request %d: note %d of nobody", iid, n.ID)
		}
		one := plumbline.Comment{ID: strconv.FormatInt(n.ID, 10), Author: n.Author.Username, Body: n.Body, At: *n.CreatedAt, Edited: edited[n.ID]}
		if mr.URL != "" {
			one.URL = mr.URL + "#note_" + one.ID
		}
		out = append(out, one)
	}
	return out, nil
}

// editedAtOnce is how many notes one question is about: GitLab refuses those that are too complex
// (https://docs.gitlab.com/api/graphql/#maximum-query-complexity).
const editedAtOnce = 20

// edited tells which notes have other words than at first. A note's updated_at also moves when somebody reacts to it, we among them, or when
// its thread is resolved (app/models/note.rb, bump_updated_at). Who edited it only GraphQL tells; one that has updated_at and where it does
// not tell counts as edited.
func (c *Client) edited(ctx context.Context, notes []*api.Note) (map[int64]bool, error) {
	var moved []*api.Note
	for _, n := range notes {
		if !n.UpdatedAt.Equal(*n.CreatedAt) {
			moved = append(moved, n)
		}
	}
	out := map[int64]bool{}
	for some := range slices.Chunk(moved, editedAtOnce) {
		told, err := c.editors(ctx, some)
		if err != nil && !hidden(err) {
			return nil, err
		}
		for _, n := range some {
			t := told[fmt.Sprintf("n%d", n.ID)]
			out[n.ID] = t == nil || t.LastEditedBy != nil || t.LastEditedAt != t.UpdatedAt
		}
	}
	return out, nil
}

// editor is what GraphQL tells of a note. Of one that was never edited LastEditedBy is null, and LastEditedAt what UpdatedAt is.
type editor struct {
	LastEditedAt string `json:"lastEditedAt"`
	LastEditedBy *struct {
		ID string `json:"id"`
	} `json:"lastEditedBy"`
	UpdatedAt string `json:"updatedAt"`
}

// editors asks about some notes. What an old server does not know is missing in what it returns.
func (c *Client) editors(ctx context.Context, notes []*api.Note) (map[string]*editor, error) {
	var q strings.Builder
	for _, n := range notes {
		fmt.Fprintf(&q, ` n%d: note(id: "gid://gitlab/Note/%d") { lastEditedAt lastEditedBy { id } updatedAt }`, n.ID, n.ID)
	}
	var answer struct {
		Data map[string]*editor `json:"data"`
	}
	_, err := c.api.Call(ctx, "POST", "/api/graphql", map[string]string{"query": "query {" + q.String() + " }"}, &answer)
	return answer.Data, err
}

// reactions are the emoji that stand for ours.
var reactions = map[plumbline.Reaction]string{
	plumbline.ReactionSeen:    "eyes",
	plumbline.ReactionDone:    "thumbsup",
	plumbline.ReactionRefused: "thumbsdown",
}

// React makes r the one of our three emoji on a note. Others that somebody gave with the same token stay.
func (c *Client) React(ctx context.Context, mr plumbline.MergeRequest, comment string, r plumbline.Reaction) error {
	want := reactions[r]
	if want == "" {
		return fmt.Errorf("reaction %q: %w", r, plumbline.ErrInvalid)
	}
	iid, err := number(mr.ID)
	if err != nil {
		return err
	}
	note, err := number(comment)
	if err != nil {
		return err
	}
	ours, err := c.awards(ctx, iid, note)
	if err != nil {
		return err
	}
	// The new one first: giving one twice is refused, and it must not look as if nobody had seen the comment.
	if !slices.ContainsFunc(ours, func(a *api.AwardEmoji) bool { return a.Name == want }) {
		_, resp, err := c.gl.AwardEmoji.CreateMergeRequestAwardEmojiOnNote(c.project, iid, note, &api.CreateAwardEmojiOptions{Name: want}, api.WithContext(ctx))
		if err := c.check(resp, err); err != nil {
			return err
		}
	}
	for _, a := range ours {
		if a.Name == want {
			continue
		}
		resp, err := c.gl.AwardEmoji.DeleteMergeRequestAwardEmojiOnNote(c.project, iid, note, a.ID, api.WithContext(ctx))
		if err := c.check(resp, err); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return nil
}

// awards returns ours on a note.
func (c *Client) awards(ctx context.Context, iid, note int64) ([]*api.AwardEmoji, error) {
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	all, err := list(c, func(l api.ListOptions) ([]*api.AwardEmoji, *api.Response, error) {
		return c.gl.AwardEmoji.ListMergeRequestAwardEmojiOnNote(c.project, iid, note, &api.ListAwardEmojiOptions{ListOptions: l}, api.WithContext(ctx))
	}, nil)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(a *api.AwardEmoji) bool {
		ours := a.Name == "eyes" || a.Name == "thumbsup" || a.Name == "thumbsdown"
		return !ours || a.User.ID != me || a.ID < 1
	}), nil
}
