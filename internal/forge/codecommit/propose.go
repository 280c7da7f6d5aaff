package codecommit

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"
	"github.com/aws/aws-sdk-go-v2/service/codecommit/types"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// OpenMergeRequest opens a pull request, or brings title and description of the open one for its branches up to date. CodeCommit has neither labels
// nor drafts. Looking for it costs a request for each open pull request that was not listed before.
func (c *Client) OpenMergeRequest(ctx context.Context, p forge.Proposal) (plumbline.MergeRequest, error) {
	title, body := forge.Shorten(forge.OneLine(p.Title), titleLimit), forge.Shorten(p.Body, descriptionLimit)
	if title == "" || p.Source == "" || p.Target == "" {
		return plumbline.MergeRequest{}, fmt.Errorf("a pull request without title or branches: %w", plumbline.ErrInvalid)
	}
	pr, t, err := c.find(ctx, branches+p.Source, branches+p.Target)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if pr == nil {
		if pr, t, err = c.create(ctx, p, title, body); err != nil {
			return plumbline.MergeRequest{}, err
		}
	}
	if err := c.describe(ctx, pr, title, body); err != nil {
		return plumbline.MergeRequest{}, err
	}
	pr.Title = &title
	return c.mergeRequest(pr, t)
}

// find returns the open pull request for two branches with the lowest number, nil when there is none.
func (c *Client) find(ctx context.Context, source, target string) (*types.PullRequest, *types.PullRequestTarget, error) {
	ids, err := c.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		c.mu.Lock()
		k, seen := c.known[id]
		c.mu.Unlock()
		if seen && (k.source != source || k.target != target) {
			continue
		}
		pr, t, err := c.pullRequest(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		same := aws.ToString(t.SourceReference) == source && aws.ToString(t.DestinationReference) == target
		if same && pr.PullRequestStatus == types.PullRequestStatusEnumOpen {
			return pr, t, nil
		}
	}
	return nil, nil, nil
}

// create opens a pull request. The same proposal has the same clientRequestToken for an hour, so that an answer that was lost leaves one and not two.
// When that brings back one that was closed since, its number goes into the next token.
func (c *Client) create(ctx context.Context, p forge.Proposal, title, body string) (*types.PullRequest, *types.PullRequestTarget, error) {
	source, target, after := branches+p.Source, branches+p.Target, ""
	for range 20 {
		token := c.requestToken("pull request", c.project, source, target, title, body, after)
		out, err := c.api.CreatePullRequest(ctx, &api.CreatePullRequestInput{
			Title: &title, Description: &body, ClientRequestToken: &token,
			Targets: []types.Target{{RepositoryName: &c.project, SourceReference: &source, DestinationReference: &target}},
		})
		if err != nil {
			return nil, nil, c.toAPI.refused("CreatePullRequest", err)
		}
		if out.PullRequest == nil {
			return nil, nil, unexpected("CreatePullRequest", "no pull request")
		}
		after = aws.ToString(out.PullRequest.PullRequestId)
		pr, t, err := c.pullRequest(ctx, after)
		if err != nil {
			return nil, nil, err
		}
		if pr.PullRequestStatus == types.PullRequestStatusEnumOpen {
			return pr, t, nil
		}
	}
	return nil, nil, fmt.Errorf("a pull request from %s to %s is closed as soon as it is opened: %w", p.Source, p.Target, plumbline.ErrConflict)
}

// describe changes what is not as it should be.
func (c *Client) describe(ctx context.Context, pr *types.PullRequest, title, body string) error {
	if aws.ToString(pr.Title) != title {
		_, err := c.api.UpdatePullRequestTitle(ctx, &api.UpdatePullRequestTitleInput{PullRequestId: pr.PullRequestId, Title: &title})
		if err != nil {
			return c.toAPI.refused("UpdatePullRequestTitle", err)
		}
	}
	if aws.ToString(pr.Description) != body {
		_, err := c.api.UpdatePullRequestDescription(ctx, &api.UpdatePullRequestDescriptionInput{PullRequestId: pr.PullRequestId, Description: &body})
		return c.toAPI.refused("UpdatePullRequestDescription", err)
	}
	return nil
}
