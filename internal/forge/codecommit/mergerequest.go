package codecommit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"
	"github.com/aws/aws-sdk-go-v2/service/codecommit/types"
	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const branches = "refs/heads/"

// MergeRequests lists the open pull requests. The head is the commit that refs has for the source branch, CodeCommit's own where nobody looked. One
// whose branch is not among the refs is left out: there is nothing to fetch.
func (c *Client) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	ids, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]*plumbline.MergeRequest, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, id := range ids {
		group.Go(func() error {
			var err error
			found[i], err = c.listed(ctx, id, refs)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []plumbline.MergeRequest
	for _, mr := range found {
		if mr != nil {
			out = append(out, *mr)
		}
	}
	c.mu.Lock()
	maps.DeleteFunc(c.known, func(id string, _ known) bool { return !slices.Contains(ids, id) })
	c.mu.Unlock()
	return out, nil
}

// open returns the numbers of the open pull requests, each once.
func (c *Client) open(ctx context.Context) ([]string, error) {
	var ids []string
	err := pages("ListPullRequests", func(token *string) (*string, error) {
		out, err := c.api.ListPullRequests(ctx, &api.ListPullRequestsInput{
			RepositoryName: &c.project, PullRequestStatus: types.PullRequestStatusEnumOpen, NextToken: token,
		})
		if err != nil {
			return nil, c.toAPI.refused("ListPullRequests", err)
		}
		if out.PullRequestIds == nil {
			return nil, unexpected("ListPullRequests", "no list")
		}
		for _, id := range out.PullRequestIds {
			if number(id) != nil {
				return nil, unexpected("ListPullRequests", "a pull request without a number")
			}
		}
		ids = append(ids, out.PullRequestIds...)
		return out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // as numbers
	return slices.Compact(ids), nil
}

// listed returns a pull request as a listing shows it, nil when it is not to be shown.
func (c *Client) listed(ctx context.Context, id string, refs map[string]string) (*plumbline.MergeRequest, error) {
	pr, target, err := c.pullRequest(ctx, id)
	if err != nil {
		return nil, err // not found is no exception: CodeCommit deletes no pull request
	}
	mr, err := c.mergeRequest(pr, target)
	if err != nil || mr.State != plumbline.MROpen {
		return nil, err
	}
	if refs != nil {
		if mr.Head = refs[mr.HeadRef]; mr.Head == "" {
			return nil, nil
		}
	}
	mr.LastPusher, err = c.pusher(ctx, mr, target)
	if err != nil {
		return nil, err
	}
	return &mr, nil
}

// MergeRequest returns a pull request, whatever its state, with who approved its newest revision, and whether it can be merged. What it costs beside
// GetPullRequest is up to three requests while it is open.
func (c *Client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	pr, target, err := c.pullRequest(ctx, id)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	mr, err := c.mergeRequest(pr, target)
	if err != nil || mr.State != plumbline.MROpen {
		return mr, err
	}
	if mr.LastPusher, err = c.pusher(ctx, mr, target); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if mr.ApprovedBy, err = c.approvedBy(ctx, id, pr.RevisionId); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if mr.Conflicts, err = c.conflicts(ctx, target); err != nil {
		return plumbline.MergeRequest{}, err
	}
	return mr, nil
}

// number checks that an ID is one that CodeCommit could have given out.
func number(id string) error {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != id {
		return fmt.Errorf("pull request %q is not a number: %w", id, plumbline.ErrNotFound)
	}
	return nil
}

// pullRequest asks for a pull request. Numbers are those of the account in the region: one of another repository is none of ours.
func (c *Client) pullRequest(ctx context.Context, id string) (*types.PullRequest, *types.PullRequestTarget, error) {
	if err := number(id); err != nil {
		return nil, nil, err
	}
	out, err := c.api.GetPullRequest(ctx, &api.GetPullRequestInput{PullRequestId: &id})
	if err != nil {
		return nil, nil, c.toAPI.refused("GetPullRequest", err)
	}
	pr := out.PullRequest
	if pr == nil || aws.ToString(pr.PullRequestId) != id || len(pr.PullRequestTargets) == 0 {
		return nil, nil, unexpected("GetPullRequest", "a pull request without number or targets, or another one")
	}
	for i, t := range pr.PullRequestTargets {
		if aws.ToString(t.RepositoryName) == c.project {
			return pr, &pr.PullRequestTargets[i], nil
		}
	}
	return nil, nil, fmt.Errorf("pull request %s is another repository's: %w", id, plumbline.ErrNotFound)
}

// mergeRequest translates. A pull request has both branches in one repository: there are no forks, and no drafts either.
func (c *Client) mergeRequest(pr *types.PullRequest, t *types.PullRequestTarget) (plumbline.MergeRequest, error) {
	source, ok := strings.CutPrefix(aws.ToString(t.SourceReference), branches)
	target, ok2 := strings.CutPrefix(aws.ToString(t.DestinationReference), branches)
	if !ok || !ok2 || source == "" || target == "" || !isCommit(aws.ToString(t.SourceCommit)) {
		return plumbline.MergeRequest{}, unexpected("GetPullRequest", "a pull request without branches or head")
	}
	id := aws.ToString(pr.PullRequestId)
	mr := plumbline.MergeRequest{
		ID: id, Title: aws.ToString(pr.Title), Author: person(pr.AuthorArn), URL: c.page(id),
		Source: source, HeadRef: branches + source, Head: aws.ToString(t.SourceCommit), Target: target,
	}
	if at := pr.LastActivityDate; at != nil {
		mr.UpdatedAt, mr.Activity = *at, at.UTC().Format(time.RFC3339Nano)
	}
	merged := t.MergeMetadata
	switch {
	case pr.PullRequestStatus == types.PullRequestStatusEnumOpen:
		mr.State = plumbline.MROpen
	case pr.PullRequestStatus != types.PullRequestStatusEnumClosed:
		return plumbline.MergeRequest{}, unexpected("GetPullRequest", "a pull request that is neither open nor closed")
	case merged == nil || !merged.IsMerged:
		mr.State = plumbline.MRClosed
	default:
		mr.State, mr.MergeCommit = plumbline.MRMerged, aws.ToString(merged.MergeCommitId)
		if mr.MergeCommit == "" && merged.MergeOption == types.MergeOptionTypeEnumFastForwardMerge {
			mr.MergeCommit = mr.Head // which makes no commit of its own
		}
	}
	return mr, nil
}

// isCommit keeps anything else from being handed to Git.
func isCommit(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// pusher returns who pushed the head, "" when nobody pushed since the pull request was opened. It is asked for once for each head.
func (c *Client) pusher(ctx context.Context, mr plumbline.MergeRequest, t *types.PullRequestTarget) (string, error) {
	c.mu.Lock()
	k := c.known[mr.ID]
	c.mu.Unlock()
	if k.pushed && k.head == mr.Head {
		return k.pusher, nil
	}
	k = known{source: mr.HeadRef, target: branches + mr.Target, head: mr.Head}
	var newest time.Time
	err := pages("DescribePullRequestEvents", func(token *string) (*string, error) {
		out, err := c.api.DescribePullRequestEvents(ctx, &api.DescribePullRequestEventsInput{
			PullRequestId: &mr.ID, PullRequestEventType: types.PullRequestEventTypePullRequestSourceReferenceUpdated, NextToken: token,
		})
		if err != nil {
			return nil, c.toAPI.refused("DescribePullRequestEvents", err)
		}
		for _, e := range out.PullRequestEvents {
			moved := e.PullRequestSourceReferenceUpdatedEventMetadata
			if moved != nil && aws.ToString(moved.AfterCommitId) == mr.Head && !aws.ToTime(e.EventDate).Before(newest) {
				k.pusher, newest = person(e.ActorArn), aws.ToTime(e.EventDate)
			}
		}
		return out.NextToken, nil
	})
	if err != nil {
		return "", err
	}
	// The refs can be ahead of the pull request, whose event is still to come then.
	k.pushed = k.pusher != "" || aws.ToString(t.SourceCommit) == mr.Head
	c.mu.Lock()
	c.known[mr.ID] = k
	c.mu.Unlock()
	return k.pusher, nil
}

// approvedBy returns who approved a revision, sorted. Ours is left out: that a plan succeeded is nobody's consent.
func (c *Client) approvedBy(ctx context.Context, id string, revision *string) ([]string, error) {
	all, err := c.approvals(ctx, id, revision)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	me, err := c.whoami(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range all {
		if !me.same(a.UserArn) {
			out = append(out, person(a.UserArn))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// approvals returns those of a revision that were given and not revoked.
func (c *Client) approvals(ctx context.Context, id string, revision *string) ([]types.Approval, error) {
	if aws.ToString(revision) == "" {
		return nil, unexpected("GetPullRequest", "a pull request without revision")
	}
	out, err := c.api.GetPullRequestApprovalStates(ctx, &api.GetPullRequestApprovalStatesInput{PullRequestId: &id, RevisionId: revision})
	if err != nil {
		return nil, c.toAPI.refused("GetPullRequestApprovalStates", err)
	}
	return slices.DeleteFunc(out.Approvals, func(a types.Approval) bool {
		return a.ApprovalState != types.ApprovalStateApprove || aws.ToString(a.UserArn) == ""
	}), nil
}

// conflicts reports whether CodeCommit could not merge. What is too large for it to tell it does not tell.
func (c *Client) conflicts(ctx context.Context, t *types.PullRequestTarget) (bool, error) {
	out, err := c.api.GetMergeConflicts(ctx, &api.GetMergeConflictsInput{
		RepositoryName: &c.project, DestinationCommitSpecifier: t.DestinationReference, SourceCommitSpecifier: t.SourceCommit,
		MergeOption: types.MergeOptionTypeEnumThreeWayMerge,
	})
	err = c.toAPI.refused("GetMergeConflicts", err)
	if is(err, "TipsDivergenceExceededException", "MaximumFileContentToLoadExceededException", "MaximumItemsToCompareExceededException",
		"CommitDoesNotExistException") {
		return false, nil
	}
	return err == nil && !out.Mergeable, err
}
