package gitlab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	api "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// SetStatus makes the newest status of a context say s. GitLab has no word of its own for an error, so that both it and a failure are
// "failed" there. A URL of more than 255 characters is left out, since GitLab refuses it.
//
// A status on GitLab is a job of a pipeline. One that is pending or running is changed in place, and only to another state; an ended one
// is followed by a new one, as if the job were retried (app/services/ci/create_commit_status_service.rb):
//
//	nothing, ended --pending--> pending --running--> running
//	       |                       |                    |
//	       +--success, failed------+----success, failed-+--> ended
//
// Another text while it is pending makes it run, since the same state again is refused; another text while it runs cancels it for a new one,
// and so does one that is to be empty, since GitLab would keep what it has.
//
// Where the commit has a pipeline, the status joins the newest, which is the one that the merge request shows. Where it has none, GitLab
// makes one that is called external. A ref is then named only when the commit is in an open merge request, best as its head: its branch, so
// that the merge request shows the pipeline, or, for a fork, the ref that the head can be fetched from, which is a pipeline that the merge
// request does not show: writing to the fork is not ours. Without a ref GitLab takes the first branch that contains the commit. A pipeline of a
// protected branch takes statuses only from those who may merge or push there.
func (c *Client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	s = forge.Fit(s, contextLimit, descriptionLimit)
	if utf8.RuneCountInString(s.URL) > urlLimit {
		s.URL = ""
	}
	want := states[s.State]
	if want == "" {
		return fmt.Errorf("status %q: %w", s.State, plumbline.ErrInvalid)
	}
	var err error
	for range 3 { // another daemon may have said something in between
		var now *api.CommitStatus
		if now, err = c.status(ctx, commit, s.Context); err != nil {
			return err
		}
		if now != nil && says(now, want, s) {
			return nil
		}
		if err = c.say(ctx, commit, now, want, s); !refusedTransition(err) {
			return err
		}
	}
	return fmt.Errorf("status %s of %s changes each time it is set: %w: %w", s.Context, plumbline.Short(commit), plumbline.ErrConflict, err)
}

// states are GitLab's words.
var states = map[plumbline.Told]api.BuildStateValue{
	plumbline.ToldPending: api.Pending,
	plumbline.ToldSuccess: api.Success,
	plumbline.ToldFailure: api.Failed,
	plumbline.ToldError:   api.Failed,
}

func says(now *api.CommitStatus, want api.BuildStateValue, s plumbline.CommitStatus) bool {
	same := now.Status == string(want) || (want == api.Pending && now.Status == string(api.Running))
	return same && now.Description == s.Description && now.TargetURL == s.URL
}

func refusedTransition(err error) bool {
	var refusal *forge.HTTPError
	return errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest && strings.Contains(refusal.Message, "Cannot transition status")
}

// say brings the status now, which may be nil, to where it says s.
func (c *Client) say(ctx context.Context, commit string, now *api.CommitStatus, want api.BuildStateValue, s plumbline.CommitStatus) error {
	o := api.SetCommitStatusOptions{Name: &s.Context}
	if s.Description != "" { // GitLab overlooks what is empty (lib/api/helpers.rb, attributes_for_keys)
		o.Description = &s.Description
	}
	if s.URL != "" {
		o.TargetURL = &s.URL
	}
	changeable, err := c.changeable(ctx, now)
	if err != nil {
		return err
	}
	if !changeable {
		if now == nil {
			if o.Ref, err = c.ref(ctx, commit); err != nil {
				return err
			}
		}
		return c.post(ctx, commit, o, want)
	}
	if now.PipelineID > 0 {
		o.PipelineID = &now.PipelineID // a newer one would get a status of its own, and this one never end
	}
	stuck := want == api.Pending && now.Status == string(api.Running)
	emptied := (s.Description == "" && now.Description != "") || (s.URL == "" && now.TargetURL != "")
	if stuck || emptied {
		if err := c.post(ctx, commit, o, api.Canceled); err != nil {
			return err
		}
	} else if want == api.Pending {
		want = api.Running
	}
	return c.post(ctx, commit, o, want)
}

// changeable tells whether GitLab would change this status: an active one of ours.
func (c *Client) changeable(ctx context.Context, now *api.CommitStatus) (bool, error) {
	if now == nil || (now.Status != string(api.Pending) && now.Status != string(api.Running)) {
		return false, nil
	}
	me, err := c.me(ctx)
	return err == nil && now.Author.ID == me, err
}

func (c *Client) post(ctx context.Context, commit string, o api.SetCommitStatusOptions, state api.BuildStateValue) error {
	o.State = state
	_, resp, err := c.gl.Commits.SetCommitStatus(c.project, commit, &o, api.WithContext(ctx))
	if err := c.check(resp, err); err != nil {
		return err
	}
	c.mu.Lock()
	c.piped = commit
	c.mu.Unlock()
	return nil
}

// status returns the newest status of a context, or nil. GitLab lists the last one of each of the commit's pipelines.
func (c *Client) status(ctx context.Context, commit, name string) (*api.CommitStatus, error) {
	all, err := list(c, func(l api.ListOptions) ([]*api.CommitStatus, *api.Response, error) {
		return c.gl.Commits.GetCommitStatuses(c.project, commit, &api.GetCommitStatusesOptions{ListOptions: l, Name: &name}, api.WithContext(ctx))
	}, nil)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s *api.CommitStatus) bool { return s.Name != name })
	if len(all) == 0 {
		return nil, nil
	}
	return slices.MaxFunc(all, func(a, b *api.CommitStatus) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// ref returns what the pipeline of a commit's first status is to be of; nil leaves it to GitLab.
func (c *Client) ref(ctx context.Context, commit string) (*string, error) {
	c.mu.Lock()
	piped := c.piped == commit
	c.mu.Unlock()
	if piped {
		return nil, nil
	}
	it, resp, err := c.gl.Commits.GetCommit(c.project, commit, &api.GetCommitOptions{Stats: new(false)}, api.WithContext(ctx))
	if err := some(it, c.check(resp, err)); err != nil {
		return nil, err
	}
	if it.LastPipeline != nil {
		return nil, nil
	}
	mrs, resp, err := c.gl.Commits.ListMergeRequestsByCommit(c.project, commit, api.WithContext(ctx))
	if err := c.check(resp, err); err != nil {
		return nil, err
	}
	var found *string
	for _, one := range mrs {
		mr, err := mergeRequest(one)
		if err != nil {
			return nil, err
		}
		if mr.State != plumbline.MROpen {
			continue
		}
		ref := mr.Source
		if mr.Fork {
			ref = mr.HeadRef
		}
		if found == nil || mr.Head == commit {
			found = &ref
		}
	}
	return found, nil
}
