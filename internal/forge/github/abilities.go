package github

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/google/go-github/v89/github"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// together is how far apart the times of a comment may be that nobody has edited. GitHub tells seconds; what stands in for it may read its clock twice.
const together = time.Millisecond

// Comments returns what others wrote in the conversation. Comments on lines and the texts of reviews are elsewhere and are not read; who may
// write can change the comments of others, which then say that they were edited.
func (c *Client) Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error) {
	number, err := index(mr.ID)
	if err != nil {
		return nil, err
	}
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	since = since.UTC().Truncate(time.Second) // GitHub's times are whole seconds
	var out []plumbline.Comment
	err = c.comments(ctx, number, &since, func(note *api.IssueComment) {
		at := note.GetCreatedAt().Time
		if note.GetUser().GetID() == me.id || at.Before(since) { // GitHub's since is about changes
			return
		}
		out = append(out, plumbline.Comment{
			ID: strconv.FormatInt(note.GetID(), 10), Author: login(note.User), Body: note.GetBody(), URL: note.GetHTMLURL(),
			At: at, Edited: note.GetUpdatedAt().Sub(at) > together,
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b plumbline.Comment) int { return a.At.Compare(b.At) })
	return slices.CompactFunc(out, func(a, b plumbline.Comment) bool { return a.ID == b.ID }), nil
}

var reactions = map[plumbline.Reaction]string{
	plumbline.ReactionSeen:    "eyes",
	plumbline.ReactionDone:    "+1",
	plumbline.ReactionRefused: "-1",
}

// React adds a reaction, then takes away those of ours that say something else.
func (c *Client) React(ctx context.Context, _ plumbline.MergeRequest, comment string, r plumbline.Reaction) error {
	id, err := strconv.ParseInt(comment, 10, 64)
	if err != nil || id < 1 {
		return fmt.Errorf("comment %q is not a number: %w", comment, plumbline.ErrNotFound)
	}
	sign := reactions[r]
	if sign == "" {
		return fmt.Errorf("reaction %q: %w", r, plumbline.ErrInvalid)
	}
	ctx = forge.Urgent(ctx)
	me, err := c.me(ctx)
	if err != nil {
		return err
	}
	var others []int64
	there := false
	err = c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.Reactions.ListIssueCommentReactions(ctx, c.owner, c.name, id, &api.ListReactionOptions{ListOptions: o})
		for _, one := range all {
			switch {
			case one.GetUser().GetID() != me.id:
			case one.GetContent() == sign:
				there = true
			case slices.Contains([]string{"eyes", "+1", "-1"}, one.GetContent()):
				others = append(others, one.GetID())
			}
		}
		return resp, listed(all, err)
	})
	if err != nil {
		return err
	}
	if !there {
		if _, _, err := c.gh.Reactions.CreateIssueCommentReaction(ctx, c.owner, c.name, id, sign); err != nil {
			return c.explain(err)
		}
	}
	for _, other := range others {
		_, err := c.gh.Reactions.DeleteIssueCommentReaction(ctx, c.owner, c.name, id, other)
		if err = c.explain(err); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
			return err
		}
	}
	return nil
}

// withLabels returns the names of those that are there, then of those that are missing. GitHub does not tell upper from lower case in them.
func withLabels(there []*api.Label, wanted []string) []string {
	var all []string
	for _, l := range there {
		all = append(all, l.GetName())
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(l string) bool { return strings.EqualFold(l, w) }) {
			all = append(all, w)
		}
	}
	return all
}

// OpenMergeRequest opens a pull request, or brings the one that is open for these branches up to date.
func (c *Client) OpenMergeRequest(ctx context.Context, p forge.Proposal) (plumbline.MergeRequest, error) {
	ctx, p.Title = forge.Urgent(ctx), forge.Shorten(forge.OneLine(p.Title), titleLimit)
	pr, err := c.proposed(ctx, p)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if pr == nil {
		made, _, createErr := c.gh.PullRequests.Create(ctx, c.owner, c.name, &api.NewPullRequest{
			Title: &p.Title, Body: &p.Body, Head: &p.Source, Base: &p.Target, Draft: &p.Draft, MaintainerCanModify: api.Ptr(false),
		})
		pr, createErr = made, c.explain(createErr)
		if errors.Is(createErr, plumbline.ErrInvalid) { // perhaps because another daemon was quicker
			if pr, err = c.proposed(ctx, p); err != nil {
				return plumbline.MergeRequest{}, err
			}
		}
		if createErr != nil && pr == nil {
			return plumbline.MergeRequest{}, createErr
		}
	}
	if _, err := mergeRequest(pr); err != nil {
		return plumbline.MergeRequest{}, err
	}
	if pr.GetTitle() != p.Title || pr.GetBody() != p.Body {
		edit := &api.PullRequest{Title: &p.Title, Body: &p.Body}
		edited, _, err := c.gh.PullRequests.Edit(ctx, c.owner, c.name, pr.GetNumber(), edit)
		if err = c.explain(err); err != nil {
			return plumbline.MergeRequest{}, err
		}
		pr = edited
	}
	mr, err := mergeRequest(pr)
	if err != nil {
		return plumbline.MergeRequest{}, err
	}
	if all := withLabels(pr.Labels, p.Labels); len(all) > len(pr.Labels) {
		if err := c.label(ctx, pr.GetNumber(), all[len(pr.Labels):]); err != nil {
			return plumbline.MergeRequest{}, err
		}
		mr.Labels = slices.Sorted(slices.Values(all))
	}
	return mr, nil
}

// label adds labels. The library would send a bare list, which GitHub's description does not have any more.
func (c *Client) label(ctx context.Context, number int, labels []string) error {
	path := fmt.Sprintf("repos/%s/%s/issues/%d/labels", c.owner, c.name, number)
	req, err := c.gh.NewRequest(ctx, "POST", path, map[string][]string{"labels": labels})
	if err != nil {
		return err
	}
	_, err = c.gh.Do(req, nil)
	return c.explain(err)
}

// proposed returns the open pull request for the branches, or nil. GitHub could search for the source as well, but only under its owner's
// name of today, and ignores what it does not understand.
func (c *Client) proposed(ctx context.Context, p forge.Proposal) (*api.PullRequest, error) {
	var found *api.PullRequest
	err := c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.PullRequests.List(ctx, c.owner, c.name, &api.PullRequestListOptions{State: "open", Base: p.Target, ListOptions: o})
		for _, pr := range all {
			mr, err := mergeRequest(pr)
			if err != nil {
				return resp, err
			}
			if found == nil && mr.State == plumbline.MROpen && !mr.Fork && mr.Source == p.Source && mr.Target == p.Target {
				found = pr
			}
		}
		return resp, listed(all, err)
	})
	return found, err
}

// deploymentStates are the words of GitHub. What was given up is inactive there, as what was replaced.
var deploymentStates = map[forge.DeploymentState]string{
	forge.DeploymentRunning:  "in_progress",
	forge.DeploymentSuccess:  "success",
	forge.DeploymentFailed:   "failure",
	forge.DeploymentCanceled: "inactive",
}

// SetDeployment adds a status to our newest deployment of the commit to the environment, which it makes first when there is none, or when the
// newest has ended and another begins. GitHub makes the environment.
func (c *Client) SetDeployment(ctx context.Context, d forge.Deployment) error {
	if err := isCommit(d.Commit); err != nil {
		return err
	}
	state := deploymentStates[d.State]
	if state == "" {
		return fmt.Errorf("deployment %q: %w", d.State, plumbline.ErrInvalid)
	}
	ctx, d.Description = forge.Urgent(ctx), forge.Shorten(forge.OneLine(d.Description), descriptionLimit)
	newest, err := c.deployment(ctx, d)
	if err != nil {
		return err
	}
	ended := false
	if newest != nil {
		said, err := c.said(ctx, newest.GetID())
		if err != nil {
			return err
		}
		for _, s := range said {
			if s.GetState() == state && s.GetDescription() == d.Description && cmp.Or(s.GetLogURL(), s.GetTargetURL()) == d.URL {
				return nil
			}
		}
		ended = len(said) > 0 && said[0].GetState() != "in_progress"
	}
	if newest == nil || ended && d.State == forge.DeploymentRunning {
		if newest, err = c.deploy(ctx, d); err != nil {
			return err
		}
	}
	_, _, err = c.gh.Repositories.CreateDeploymentStatus(ctx, c.owner, c.name, newest.GetID(), api.DeploymentStatusRequest{
		State: state, Description: &d.Description, LogURL: some(d.URL),
	})
	return c.explain(err)
}

// deployment returns our newest one of the commit to the environment, or nil.
func (c *Client) deployment(ctx context.Context, d forge.Deployment) (*api.Deployment, error) {
	me, err := c.me(ctx)
	if err != nil {
		return nil, err
	}
	var newest *api.Deployment
	err = c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.Repositories.ListDeployments(ctx, c.owner, c.name, &api.DeploymentsListOptions{
			SHA: d.Commit, Environment: d.Environment, ListOptions: o,
		})
		for _, one := range all {
			if one.GetCreator().GetID() == me.id && one.GetSHA() == d.Commit && one.GetEnvironment() == d.Environment && one.GetID() > newest.GetID() {
				newest = one
			}
		}
		return resp, listed(all, err)
	})
	return newest, err
}

func (c *Client) deploy(ctx context.Context, d forge.Deployment) (*api.Deployment, error) {
	made, _, err := c.gh.Repositories.CreateDeployment(ctx, c.owner, c.name, api.DeploymentRequest{
		Ref: d.Commit, Environment: &d.Environment, Description: &d.Description,
		AutoMerge: api.Ptr(false), TransientEnvironment: api.Ptr(false),
		RequiredContexts: []string{}, // none: our own statuses are pending while we deploy
	})
	if err = c.explain(err); err != nil {
		return nil, err
	}
	if made.GetID() < 1 {
		return nil, errors.New("github: unexpected answer: a new deployment without ID")
	}
	return made, nil
}

// said returns the newest status of a deployment, if any. When a later deployment succeeds GitHub adds a status to those that succeeded
// before, which says that they are inactive; what we said is the one below it, which is returned as well.
func (c *Client) said(ctx context.Context, deployment int64) ([]*api.DeploymentStatus, error) {
	all, _, err := c.gh.Repositories.ListDeploymentStatuses(ctx, c.owner, c.name, deployment, &api.ListOptions{PerPage: c.limit})
	if err = c.explain(listed(all, err)); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s *api.DeploymentStatus) bool { return s.GetID() < 1 })
	slices.SortStableFunc(all, func(a, b *api.DeploymentStatus) int { return cmp.Compare(b.GetID(), a.GetID()) })
	if len(all) > 1 && all[0].GetState() == "inactive" && all[1].GetState() == "success" {
		return all[:2], nil
	}
	return all[:min(1, len(all))], nil
}

const (
	annotationsAtOnce = 50  // (https://docs.github.com/en/rest/checks/runs#update-a-check-run)
	annotationsMost   = 500 // the rest is counted in the summary; GitHub shows few of them anyway
	checkTextLimit    = 65_000
	annotationLimit   = 16_000 // GitHub takes 64 KB
)

// SetCheck makes a check run, or completes the one that is in progress. It is errors.ErrUnsupported without an App: GitHub takes check runs
// from Apps only. What it says already it does not say again.
func (c *Client) SetCheck(ctx context.Context, commit string, check forge.Check) error {
	if c.app == nil {
		return fmt.Errorf("check runs need a GitHub App: %w", errors.ErrUnsupported)
	}
	if err := isCommit(commit); err != nil {
		return err
	}
	ctx = forge.Urgent(ctx)
	run := newRun(check)
	last, err := c.check(ctx, commit, run.name)
	if err != nil {
		return err
	}
	if last.GetExternalID() == run.digest {
		return nil
	}
	first, rest := run.notes, []*api.CheckRunAnnotation(nil)
	if len(first) > annotationsAtOnce {
		first, rest = first[:annotationsAtOnce], first[annotationsAtOnce:]
	}
	id := last.GetID()
	// Annotations are only ever added, and a run that is completed stays what it is; the newest of a name is the one that is shown.
	if last == nil || last.GetStatus() == "completed" || last.GetOutput().GetAnnotationsCount() > 0 {
		made, _, err := c.gh.Checks.CreateCheckRun(ctx, c.owner, c.name, run.create(commit, first, len(rest) == 0))
		if err = c.explain(err); err != nil {
			return err
		}
		if id = made.GetID(); id < 1 {
			return errors.New("github: unexpected answer: a new check run without ID")
		}
	} else if err := c.updateCheck(ctx, id, run.update(first, len(rest) == 0)); err != nil {
		return err
	}
	for part := range slices.Chunk(rest, annotationsAtOnce) {
		rest = rest[len(part):]
		if err := c.updateCheck(ctx, id, run.update(part, len(rest) == 0)); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) updateCheck(ctx context.Context, id int64, o api.UpdateCheckRunOptions) error {
	_, _, err := c.gh.Checks.UpdateCheckRun(ctx, c.owner, c.name, id, o)
	return c.explain(err)
}

// check returns our newest check run of a name, or nil.
func (c *Client) check(ctx context.Context, commit, name string) (*api.CheckRun, error) {
	var newest *api.CheckRun
	err := c.pages(func(o api.ListOptions) (*api.Response, error) {
		all, resp, err := c.gh.Checks.ListCheckRunsForRef(ctx, c.owner, c.name, commit, &api.ListCheckRunsOptions{
			CheckName: &name, Filter: api.Ptr("latest"), AppID: &c.app.ID, ListOptions: o,
		})
		if err != nil || all == nil {
			return resp, listed([]int(nil), err)
		}
		for _, one := range all.CheckRuns {
			if one.GetApp().GetID() == c.app.ID && one.GetName() == name && one.GetID() > newest.GetID() {
				newest = one
			}
		}
		return resp, listed(all.CheckRuns, nil)
	})
	return newest, err
}

// run is a check run as it is to be.
type run struct {
	name, url          string
	status, conclusion string
	title, summary     string
	notes              []*api.CheckRunAnnotation
	digest             string // of all of it; a run that has it is complete
}

func newRun(check forge.Check) run {
	s := forge.Fit(check.CommitStatus, contextLimit, titleLimit)
	r := run{name: s.Context, url: s.URL, status: "completed", title: cmp.Or(s.Description, s.Context)}
	level := "failure"
	switch s.State {
	case plumbline.ToldPending:
		r.status, level = "in_progress", "warning"
	case plumbline.ToldSuccess:
		r.conclusion, level = "success", "warning"
	default: // GitHub does not tell who is at fault
		r.conclusion = "failure"
	}
	var loose []string
	left := 0
	for _, f := range check.Findings {
		switch {
		case f.File == "":
			loose = append(loose, "- "+forge.OneLine(f.Message))
		case len(r.notes) >= annotationsMost:
			left++
		default:
			r.notes = append(r.notes, annotation(f, level))
		}
	}
	if left > 0 {
		loose = append(loose, fmt.Sprintf("- %d more findings are not shown in the files.", left))
	}
	r.summary = bytesOf(strings.TrimSpace(check.Summary+"\n\n"+strings.Join(loose, "\n")), checkTextLimit)
	if r.summary == "" {
		r.summary = r.title // GitHub wants one
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", []string{r.name, r.url, r.status, r.conclusion, r.title, check.Summary, level}, fmt.Sprint(check.Findings)))
	r.digest = hex.EncodeToString(sum[:])
	return r
}

func annotation(f plumbline.Finding, level string) *api.CheckRunAnnotation {
	line := max(f.Line, 1)
	a := &api.CheckRunAnnotation{
		Path: &f.File, StartLine: &line, EndLine: &line, AnnotationLevel: &level, Message: api.Ptr(bytesOf(cmp.Or(f.Message, f.File), annotationLimit)),
	}
	if f.Line > 0 && f.Column > 0 {
		a.StartColumn, a.EndColumn = &f.Column, &f.Column
	}
	return a
}

// bytesOf returns at most so many bytes of s, without half a character.
func bytesOf(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
}

func (r run) create(commit string, notes []*api.CheckRunAnnotation, last bool) api.CreateCheckRunOptions {
	u := r.update(notes, last)
	return api.CreateCheckRunOptions{
		Name: u.Name, HeadSHA: commit, DetailsURL: u.DetailsURL, ExternalID: u.ExternalID, Status: u.Status, Conclusion: u.Conclusion, Output: u.Output,
	}
}

// update is complete with the last annotations only: what is broken off is done again.
func (r run) update(notes []*api.CheckRunAnnotation, last bool) api.UpdateCheckRunOptions {
	u := api.UpdateCheckRunOptions{
		Name: r.name, DetailsURL: some(r.url), Status: api.Ptr("in_progress"),
		Output: &api.CheckRunOutput{Title: &r.title, Summary: &r.summary, Annotations: notes},
	}
	if last {
		u.ExternalID, u.Status, u.Conclusion = &r.digest, &r.status, some(r.conclusion)
	}
	return u
}
