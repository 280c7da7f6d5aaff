package gitlab

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// deploymentPages is how far back a deployment is looked for. One with so many after it is history: it would run there for ever.
const deploymentPages = 3

// SetDeployment brings the newest of our deployments of a commit to an environment up to date, among the last 300 to it, or makes one;
// GitLab makes the environment with the first. It has no place for a description or an address.
func (c *Client) SetDeployment(ctx context.Context, d forge.Deployment) error {
	state := api.DeploymentStatusValue(d.State)
	switch d.State {
	case forge.DeploymentRunning, forge.DeploymentSuccess, forge.DeploymentFailed, forge.DeploymentCanceled:
	default:
		return fmt.Errorf("deployment state %q: %w", d.State, plumbline.ErrInvalid)
	}
	now, err := c.deployment(ctx, d)
	switch {
	case err != nil:
		return err
	case now != nil && now.Status == string(state):
		return nil
	case now != nil && !ended(now.Status):
		o := &api.UpdateProjectDeploymentOptions{Status: &state}
		_, resp, err := c.gl.Deployments.UpdateProjectDeployment(c.project, now.ID, o, api.WithContext(ctx))
		return c.check(resp, err)
	}
	_, resp, err := c.gl.Deployments.CreateProjectDeployment(c.project, &api.CreateProjectDeploymentOptions{
		Environment: &d.Environment, Ref: &d.Branch, SHA: &d.Commit, Tag: new(false), Status: &state,
	}, api.WithContext(ctx))
	return c.check(resp, err)
}

func ended(status string) bool {
	return status == "success" || status == "failed" || status == "canceled" || status == "skipped"
}

// deployment returns the newest of ours, or nil. Those of a CI job are the job's: GitLab refuses to have them changed.
func (c *Client) deployment(ctx context.Context, d forge.Deployment) (*api.Deployment, error) {
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	pages := 0
	all, err := list(c, func(l api.ListOptions) ([]*api.Deployment, *api.Response, error) {
		return c.gl.Deployments.ListProjectDeployments(c.project, &api.ListProjectDeploymentsOptions{
			ListOptions: l, Environment: &d.Environment, OrderBy: new("id"), Sort: new("desc"),
		}, api.WithContext(ctx))
	}, func(page []*api.Deployment) bool {
		pages++
		return pages == deploymentPages || slices.ContainsFunc(page, ours(d, me))
	})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(one *api.Deployment) bool { return !ours(d, me)(one) })
	if len(all) == 0 {
		return nil, nil
	}
	return slices.MaxFunc(all, func(a, b *api.Deployment) int { return cmp.Compare(a.ID, b.ID) }), nil
}

func ours(d forge.Deployment, me int64) func(*api.Deployment) bool {
	return func(one *api.Deployment) bool {
		return one != nil && one.ID > 0 && one.SHA == d.Commit && one.User != nil && one.User.ID == me && one.Deployable.ID == 0 &&
			one.Environment != nil && one.Environment.Name == d.Environment
	}
}
