package codecommit

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Comments returns the general comments of others on a pull request, replies to them included, and replies to ours. Those in files are not among
// them. CodeCommit moves the date of the last change when a comment is edited; that it moves it for nothing else is our reading.
func (c *Client) Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error) {
	me, err := c.whoami(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.general(ctx, mr.ID)
	if err != nil {
		return nil, err
	}
	var out []plumbline.Comment
	for _, one := range all {
		if one.Deleted || me.same(one.AuthorArn) || one.CreationDate.Before(since) {
			continue
		}
		out = append(out, plumbline.Comment{
			ID: *one.CommentId, Author: person(one.AuthorArn), Body: aws.ToString(one.Content), At: *one.CreationDate,
			Edited: one.LastModifiedDate != nil && one.LastModifiedDate.After(*one.CreationDate),
			URL:    c.page(mr.ID) + "/activity#" + *one.CommentId,
		})
	}
	return out, nil
}

// values are what stands for a reaction, the first that CodeCommit takes. The user guide's table of them is on its page "Comment on a commit"; what
// its examples show are thumbs and a smile.
var values = map[plumbline.Reaction][]string{
	plumbline.ReactionSeen:    {":eyes:", ":smile:"},
	plumbline.ReactionDone:    {":thumbsup:"},
	plumbline.ReactionRefused: {":thumbsdown:"},
}

// React puts our reaction to a comment in the place of the one before: CodeCommit keeps one for each user.
func (c *Client) React(ctx context.Context, _ plumbline.MergeRequest, comment string, r plumbline.Reaction) error {
	if comment == "" {
		return fmt.Errorf("a comment without ID: %w", plumbline.ErrNotFound)
	}
	err := fmt.Errorf("reaction %q: %w", r, plumbline.ErrInvalid)
	for _, value := range values[r] {
		_, err = c.api.PutCommentReaction(ctx, &api.PutCommentReactionInput{CommentId: &comment, ReactionValue: &value})
		if err = c.toAPI.refused("PutCommentReaction", err); !is(err, codeReaction) {
			return err
		}
	}
	return err
}
