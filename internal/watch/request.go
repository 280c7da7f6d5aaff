package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// requests does what people asked for on a page or a command line.
func (w *Watcher) requests(ctx context.Context, refs, heads map[string]string, res *Result) error {
	reqs, err := w.ledger.Requests(ctx, w.repo.Name)
	if err != nil {
		return err
	}
	for _, q := range reqs {
		if err := w.request(ctx, q, refs, heads, res); err != nil {
			res.warn("%s of %s asked for by %s: %v", q.Kind, q.Environment, q.By, err)
		}
	}
	return nil
}

func (w *Watcher) request(ctx context.Context, q plumbline.Request, refs, heads map[string]string, res *Result) error {
	if q.Kind == plumbline.RequestPoll {
		return w.ledger.DoneRequests(ctx, []int64{q.ID})
	}
	env, ok := w.repo.Environment(q.Environment)
	if !ok {
		res.warn("%s of %s asked for by %s: there is no such environment", q.Kind, q.Environment, q.By)
		return w.ledger.DoneRequests(ctx, []int64{q.ID})
	}
	head, err := w.ledger.Head(ctx, w.repo.Name, env.Branch)
	if err != nil {
		return err
	}
	if head == "" || head != heads[env.Branch] {
		return nil // the branch could not be read this time; the wish stays
	}
	switch q.Kind {
	case plumbline.RequestPromote, plumbline.RequestRollback:
		return w.requestMerge(ctx, q, env, refs, heads, res)
	}
	flow, err := w.underWay(ctx, env)
	if err != nil {
		return err
	}
	if missing := unknown(q.Stacks, flow.known); len(missing) > 0 {
		res.warn("%s of %s asked for by %s: there is no stack %s", q.Kind, q.Environment, q.By, strings.Join(missing, ", "))
		if len(missing) == len(q.Stacks) {
			return w.ledger.DoneRequests(ctx, []int64{q.ID})
		}
	}
	// The mark is compared though it stays: when another machine sees the branch move meanwhile, this is about the past, and the wish
	// stays for the next poll.
	branch := plumbline.SubjectBranch(env.Branch)
	o := plumbline.Observation{Repository: w.repo.Name, Subject: branch, Was: head, Now: head, At: w.now(), Requests: []int64{q.ID}}
	switch q.Kind {
	case plumbline.RequestDrift:
		o.Runs, err = w.driftChecks(ctx, env, head, q.By, time.Time{}, flow.known, q.Stacks, o.At, res)
		if err != nil {
			return err
		}
	case plumbline.RequestDeploy:
		o.Deployments = []plumbline.Deployment{{Repository: w.repo.Name, Environment: env.Name, Commit: head, Previous: head, By: q.By, Created: o.At}}
		o.Runs = plumbline.Deploys(env, head, "asked for by "+q.By, q.By, wished(q, flow), flow.known, o.At)
		for i := range o.Runs {
			o.Runs[i].Deployment = -1
			o.Runs[i].Because = strings.TrimSuffix(o.Runs[i].Because, ": "+o.Runs[i].Stack.Name)
		}
		unsigned, err := w.unsigned(ctx, env, head, head)
		if err != nil {
			return err
		}
		plumbline.Refuse(o.Runs, unsigned, o.At)
		if err := w.known(ctx, env, o.Runs, head, head, res); err != nil {
			return err
		}
		o.Supersede = append(remedies(env, o.Runs), plumbline.SubjectDeploy(env.Name))
		if len(q.Stacks) == 0 {
			// Everything is planned now: a look that has not begun would only tell the same, or fail for want of what is being made.
			o.Supersede = append(o.Supersede, plumbline.SubjectDrift(env.Name))
		}
	default:
		return fmt.Errorf("%w: a request of kind %q", plumbline.ErrInvalid, q.Kind)
	}
	return w.observe(ctx, o, res)
}

// requestMerge opens the merge request that somebody asked for. What cannot be done is said once; what did not work is tried again at the next poll.
func (w *Watcher) requestMerge(ctx context.Context, q plumbline.Request, env plumbline.Environment, refs, heads map[string]string, res *Result) error {
	if w.asked() != nil {
		return nil
	}
	var err error
	p, ok := w.forge.(proposer)
	switch {
	case q.Kind == plumbline.RequestRollback:
		err = w.rollback(ctx, q, env, refs, heads[env.Branch])
	case !ok:
		err = refused(plumbline.ErrConflict, "This forge has no merge requests that could be opened.")
	default:
		err = w.promotion(ctx, p, env, heads, true)
	}
	var refusal *plumbline.Refusal
	if errors.As(err, &refusal) || errors.Is(err, errors.ErrUnsupported) {
		res.warn("%s of %s asked for by %s: %v", q.Kind, q.Environment, q.By, err)
		err = nil
	}
	if err != nil {
		return w.heed(err)
	}
	return w.ledger.DoneRequests(ctx, []int64{q.ID})
}

// wished returns what a request to deploy comes to. The new deployment takes the place of the one under way: what that had not done yet
// is done by this one.
func wished(q plumbline.Request, f flow) []plumbline.Pending {
	var out []plumbline.Pending
	add := func(s plumbline.StackStatus, because, base string, removed bool) {
		out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: because, Removed: removed}, Base: base})
	}
	for _, s := range f.known {
		r := f.run(s.Stack.Name, plumbline.StateQueued, plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved)
		switch {
		case s.Removed && r != nil && r.Kind == plumbline.KindDestroy:
			add(s, "removed", r.Commit, true)
		case s.Removed:
		case len(q.Stacks) == 0 || slices.ContainsFunc(q.Stacks, func(name string) bool { return called(s, name) }):
			add(s, s.Stack.Name, s.Commit, false)
		case r != nil:
			add(s, r.Because, s.Commit, false)
		}
	}
	return awaitApplies(out, f.known, f)
}

func called(s plumbline.StackStatus, name string) bool {
	return name == s.Stack.Name || (s.Spec.Alias != "" && name == s.Spec.Alias)
}

// unknown returns the names that no stack goes by.
func unknown(stacks []string, known []plumbline.StackStatus) []string {
	return slices.DeleteFunc(slices.Clone(stacks), func(name string) bool {
		return slices.ContainsFunc(known, func(s plumbline.StackStatus) bool { return !s.Removed && called(s, name) })
	})
}
