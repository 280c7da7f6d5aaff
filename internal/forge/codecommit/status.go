package codecommit

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"
	"github.com/aws/aws-sdk-go-v2/service/codecommit/types"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// aggregate is the context of the status that speaks for a whole pull request.
const aggregate = "plumbline"

// SetStatus shows nothing: CodeCommit has no statuses of commits. With Config.Approve, the status "plumbline" still makes or revokes our approval of
// the open pull requests that were at that commit when they were last listed.
func (c *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	if !c.approve || s.Context != aggregate {
		return nil
	}
	var ids []string
	c.mu.Lock()
	for id, k := range c.known {
		if k.head == commit {
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	slices.Sort(ids)
	var errs []error
	for _, id := range ids {
		errs = append(errs, c.keepApproval(ctx, id, commit, s.State == plumbline.ToldSuccess))
	}
	return errors.Join(errs...)
}

// Tell writes the note of a pull request with as many of the statuses of its head in the last line as there is room for. With Config.Approve, the
// status "plumbline" makes or revokes our approval besides.
func (c *Client) Tell(ctx context.Context, mr plumbline.MergeRequest, marker, body string, all []plumbline.CommitStatus) error {
	if err := forge.CheckNote(marker, body, noteLimit); err != nil {
		return err
	}
	var approval error
	i := slices.IndexFunc(all, func(s plumbline.CommitStatus) bool { return s.Context == aggregate })
	if c.approve && i >= 0 && (mr.State == plumbline.MROpen || mr.State == "") {
		approval = c.keepApproval(ctx, mr.ID, mr.Head, all[i].State == plumbline.ToldSuccess)
	}
	return errors.Join(approval, c.UpsertNote(ctx, mr, marker, withStatuses(body, all)))
}

// withStatuses adds a line of statuses to a note, of which each is a piece of code: nothing in it is Markdown.
func withStatuses(body string, all []plumbline.CommitStatus) string {
	line := ""
	for _, s := range all {
		text := s.Context + " " + string(s.State)
		if s.Description != "" {
			text += ": " + s.Description
		}
		next := line + " · "
		if line == "" {
			next = strings.TrimRight(body, "\n") + "\n\n"
		}
		next += "`" + strings.ReplaceAll(forge.OneLine(text), "`", "'") + "`"
		if len(next) > noteLimit {
			break
		}
		line = next
	}
	if line == "" {
		return body
	}
	return line
}

// keepApproval gives our approval of a pull request, or takes it back. It is about the commit that was looked at: when the head is another one by
// now, its revision is a new one, which nobody approved. A pull request of our own and a closed one cannot be approved by us.
func (c *Client) keepApproval(ctx context.Context, id, commit string, yes bool) error {
	pr, t, err := c.pullRequest(ctx, id)
	if err != nil {
		return err
	}
	if pr.PullRequestStatus != types.PullRequestStatusEnumOpen || aws.ToString(t.SourceCommit) != commit {
		return nil
	}
	me, err := c.whoami(ctx)
	if err != nil || me.same(pr.AuthorArn) {
		return err
	}
	all, err := c.approvals(ctx, id, pr.RevisionId)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(a types.Approval) bool { return me.same(a.UserArn) }) == yes {
		return nil
	}
	state := types.ApprovalStateRevoke
	if yes {
		state = types.ApprovalStateApprove
	}
	_, err = c.api.UpdatePullRequestApprovalState(ctx, &api.UpdatePullRequestApprovalStateInput{
		PullRequestId: &id, RevisionId: pr.RevisionId, ApprovalState: state,
	})
	err = c.toAPI.refused("UpdatePullRequestApprovalState", err)
	if is(err, codeOutdated, "PullRequestCannotBeApprovedByAuthorException", "PullRequestAlreadyClosedException") {
		return nil
	}
	return err
}
