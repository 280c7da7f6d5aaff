package codecommit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"
	"github.com/aws/aws-sdk-go-v2/service/codecommit/types"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// UpsertNote writes the one general comment of ours that carries marker.
//
// A comment whose answer was lost is not written twice: it is looked for first, and its clientRequestToken follows from what it says, for the hour.
// Since the token of a comment that was deleted would only bring that one back, the ID of the last one deleted goes into the next token.
func (c *Client) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return err
	}
	if err := number(mr.ID); err != nil {
		return err
	}
	me, err := c.whoami(ctx)
	if err != nil {
		return err
	}
	last := ""    // comment that we wrote and that is not there
	for range 4 { // a comment that was listed can be deleted before it is edited
		ours, deleted, err := c.notes(ctx, mr.ID, me, marker)
		if err != nil {
			return err
		}
		if len(ours) == 0 {
			if last, err = c.post(ctx, mr.ID, body, cmp.Or(last, deleted)); err != nil {
				return err
			}
			// Another daemon may have looked in the same moment, found none and written one as well.
			if ours, _, err = c.notes(ctx, mr.ID, me, marker); err != nil {
				return err
			}
			if len(ours) == 0 {
				continue
			}
		}
		// The oldest is edited before the others are deleted: it may be one of another session that we may not edit.
		err = c.edit(ctx, ours[0], body)
		if errors.Is(err, plumbline.ErrNotFound) {
			continue
		}
		if is(err, codeNotOurs) {
			c.disown(aws.ToString(ours[0].CommentId))
			continue
		}
		if err != nil {
			return err
		}
		return c.deleteAll(ctx, ours[1:])
	}
	return fmt.Errorf("pull request %s: its note was deleted each time it was written: %w", mr.ID, plumbline.ErrConflict)
}

func (c *Client) edit(ctx context.Context, note types.Comment, body string) error {
	if aws.ToString(note.Content) == body {
		return nil
	}
	_, err := c.api.UpdateComment(ctx, &api.UpdateCommentInput{CommentId: note.CommentId, Content: &body})
	return c.toAPI.refused("UpdateComment", err)
}

// deleteAll deletes comments of ours. One of another session that we may not delete stays.
func (c *Client) deleteAll(ctx context.Context, extra []types.Comment) error {
	for _, note := range extra {
		_, err := c.api.DeleteCommentContent(ctx, &api.DeleteCommentContentInput{CommentId: note.CommentId})
		err = c.toAPI.refused("DeleteCommentContent", err)
		if is(err, codeNotOurs) {
			c.disown(aws.ToString(note.CommentId))
			continue
		}
		if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (c *Client) disown(comment string) {
	c.mu.Lock()
	c.disowned[comment] = true
	c.mu.Unlock()
}

// post writes a general comment and returns its ID. A repetition of one that was asked for already, word for word and after the same comment, is
// none.
func (c *Client) post(ctx context.Context, id, body, after string) (comment string, err error) {
	_, t, err := c.pullRequest(ctx, id)
	if err != nil {
		return "", err
	}
	before, head := aws.ToString(t.DestinationCommit), aws.ToString(t.SourceCommit)
	if before == head {
		before = aws.ToString(t.MergeBase)
	}
	if !isCommit(before) || !isCommit(head) {
		return "", unexpected("GetPullRequest", "a pull request without commits")
	}
	token := c.requestToken("note", c.project, id, before, head, body, after)
	out, err := c.api.PostCommentForPullRequest(ctx, &api.PostCommentForPullRequestInput{
		PullRequestId: &id, RepositoryName: &c.project, BeforeCommitId: &before, AfterCommitId: &head, Content: &body, ClientRequestToken: &token,
	})
	if err != nil {
		return "", c.toAPI.refused("PostCommentForPullRequest", err)
	}
	if out.Comment == nil || aws.ToString(out.Comment.CommentId) == "" {
		return "", unexpected("PostCommentForPullRequest", "a comment without ID")
	}
	return *out.Comment.CommentId, nil
}

// requestToken returns the same token for the same request within an hour, in the form of those that the SDK makes up. How long CodeCommit remembers
// one is not documented; what is asked for in the same words each month is meant each month.
func (c *Client) requestToken(parts ...string) string {
	h := sha256.New()
	for _, p := range append(parts, c.now().UTC().Format("2006-01-02T15")) {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	s := h.Sum(nil)
	return fmt.Sprintf("%x-%x-%x-%x-%x", s[:4], s[4:6], s[6:8], s[8:10], s[10:16])
}

// notes returns our general comments with the marker, oldest first, and the ID of the last one of ours that was deleted.
func (c *Client) notes(ctx context.Context, id string, me principal, marker string) (ours []types.Comment, deleted string, err error) {
	all, err := c.general(ctx, id)
	if err != nil {
		return nil, "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range all {
		switch {
		case !me.same(n.AuthorArn) || c.disowned[aws.ToString(n.CommentId)]:
		case n.Deleted:
			deleted = aws.ToString(n.CommentId)
		case strings.Contains(aws.ToString(n.Content), marker):
			ours = append(ours, n)
		}
	}
	return ours, deleted, nil
}

// general returns the comments on a pull request as a whole, with the replies to them, each once, oldest first.
func (c *Client) general(ctx context.Context, id string) ([]types.Comment, error) {
	if err := number(id); err != nil {
		return nil, err
	}
	var out []types.Comment
	seen := map[string]bool{}
	err := pages("GetCommentsForPullRequest", func(token *string) (*string, error) {
		page, err := c.api.GetCommentsForPullRequest(ctx, &api.GetCommentsForPullRequestInput{PullRequestId: &id, NextToken: token})
		if err != nil {
			return nil, c.toAPI.refused("GetCommentsForPullRequest", err)
		}
		for _, data := range page.CommentsForPullRequestData {
			if aws.ToString(data.PullRequestId) != id {
				return nil, unexpected("GetCommentsForPullRequest", "comments on another pull request")
			}
			if data.Location != nil || (data.RepositoryName != nil && *data.RepositoryName != c.project) {
				continue
			}
			for _, one := range data.Comments {
				comment := aws.ToString(one.CommentId)
				if comment == "" || one.CreationDate == nil {
					return nil, unexpected("GetCommentsForPullRequest", "a comment without ID or date")
				}
				if !seen[comment] {
					seen[comment], out = true, append(out, one)
				}
			}
		}
		return page.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b types.Comment) int {
		return cmp.Or(a.CreationDate.Compare(*b.CreationDate), cmp.Compare(*a.CommentId, *b.CommentId))
	})
	return out, nil
}
