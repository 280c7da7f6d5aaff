package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// What pages and the API both ask the store for.

// week is how far back listings tell of what is over.
const week = 7 * 24 * time.Hour

// place is an environment with all that is known of it.
type place struct {
	Environment plumbline.Environment
	Status      plumbline.EnvironmentStatus
	Stacks      []plumbline.StackStatus
	Deployment  *plumbline.Deployment // the newest
	Runs        []plumbline.Run       // of the newest deployment
	Findings    []plumbline.Finding
}

// requests are the wishes about an environment that wait for the watcher.
func (s *Server) requests(ctx context.Context, e plumbline.Environment) ([]plumbline.Request, error) {
	all, err := s.c.Store.Requests(ctx, e.Repository)
	return slices.DeleteFunc(all, func(r plumbline.Request) bool { return r.Environment != e.Name }), err
}

// deploysLookedAt is how far back a stack's newest deploy run is looked for; what lies further back is told by the drift checks since.
const deploysLookedAt = 1000

func (s *Server) place(ctx context.Context, e plumbline.Environment) (place, error) {
	p := place{Environment: e}
	head, err := s.c.Store.Head(ctx, e.Repository, e.Branch)
	if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
		return p, err
	}
	if p.Stacks, err = s.c.Store.Stacks(ctx, e.Repository, e.Name); err != nil {
		return p, err
	}
	newest, err := s.c.Store.Deployments(ctx, e.Repository, e.Name, 1)
	if err != nil {
		return p, err
	}
	if len(newest) > 0 {
		p.Deployment = &newest[0]
		if p.Runs, err = s.c.Store.RunsOfDeployment(ctx, newest[0].ID); err != nil {
			return p, err
		}
	}
	if p.Findings, err = s.c.Store.Findings(ctx, e.Repository, e.Branch); err != nil {
		return p, err
	}
	deploys, err := s.c.Store.Runs(ctx, plumbline.RunFilter{
		Repository: e.Repository, Environment: e.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy}, Limit: deploysLookedAt,
	})
	if err != nil {
		return p, err
	}
	current := plumbline.NewestPerStack(deploys)
	slices.Reverse(current) // oldest first, as the cause names the oldest failure
	p.Status = plumbline.StatusOf(e, head, current, p.Stacks)
	return p, nil
}

func (s *Server) places(ctx context.Context) ([]place, error) {
	var out []place
	for _, r := range s.c.Repositories {
		for _, e := range r.Environments {
			p, err := s.place(ctx, e)
			if err != nil {
				return nil, fmt.Errorf("look at %s: %w", e.Key(), err)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// deployment is a deployment with its runs.
type deployment struct {
	plumbline.Deployment
	Runs []plumbline.Run
}

func (s *Server) history(ctx context.Context, e plumbline.Environment, limit int) ([]deployment, error) {
	list, err := s.c.Store.Deployments(ctx, e.Repository, e.Name, limit)
	if err != nil {
		return nil, err
	}
	out := make([]deployment, 0, len(list))
	for _, d := range list {
		runs, err := s.c.Store.RunsOfDeployment(ctx, d.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, deployment{d, runs})
	}
	return out, nil
}

// proposal is a merge request with the newest run of each stack at its head, or at the newest commit that was planned.
type proposal struct {
	plumbline.MergeRequest
	Runs []plumbline.Run
}

func (s *Server) proposal(ctx context.Context, m plumbline.MergeRequest) (proposal, error) {
	runs, err := s.c.Store.RunsOfMR(ctx, m.Repository, m.ID)
	if err != nil {
		return proposal{}, err
	}
	newest := map[plumbline.StackRef]plumbline.Run{}
	for _, r := range runs {
		if r.Commit == m.Head && r.ID > newest[r.Stack].ID {
			newest[r.Stack] = r
		}
	}
	p := proposal{MergeRequest: m}
	for _, r := range newest {
		p.Runs = append(p.Runs, r)
	}
	slices.SortFunc(p.Runs, func(a, b plumbline.Run) int {
		if d := danger(b) - danger(a); d != 0 {
			return d
		}
		return strings.Compare(a.Stack.String(), b.Stack.String())
	})
	return p, nil
}

// danger orders runs: red first.
func danger(r plumbline.Run) int {
	switch {
	case r.State == plumbline.StateFailed || r.State == plumbline.StateInterrupted:
		return 4
	case r.Plan != nil && r.Plan.Summary.Replace+r.Plan.Summary.Delete > 0:
		return 3
	case r.Plan != nil && r.Plan.Changes:
		return 2
	case !r.State.Ended():
		return 1
	}
	return 0
}

func (s *Server) proposals(ctx context.Context, repo string, state plumbline.MRState) ([]proposal, error) {
	var out []proposal
	for _, r := range s.c.Repositories {
		if repo != "" && r.Name != repo {
			continue
		}
		list, err := s.c.Store.MergeRequests(ctx, r.Name, state)
		if err != nil {
			return nil, err
		}
		for _, m := range list {
			p, err := s.proposal(ctx, m)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func parseRunID(text string) (plumbline.RunID, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, refuse(plumbline.ErrInvalid, "Runs are numbered from 1.", "%q is not a run's number.", text)
	}
	return plumbline.RunID(id), nil
}

// kinds of runs, in the order in which they are offered.
var kinds = []plumbline.Kind{plumbline.KindProposal, plumbline.KindDeploy, plumbline.KindDrift, plumbline.KindDestroy}

// maxListing is the longest listing in rows.
const maxListing = 1000

// runFilter reads a filter from a query. What it does not know is an error: a misspelt filter would otherwise show everything.
func runFilter(q url.Values) (plumbline.RunFilter, error) {
	f := plumbline.RunFilter{Limit: 100}
	if err := known(q, "repository", "environment", "stack", "mr", "state", "kind", "deployment", "limit", "before"); err != nil {
		return f, err
	}
	f.Repository, f.Environment, f.Stack, f.MR = q.Get("repository"), q.Get("environment"), q.Get("stack"), q.Get("mr")
	var err error
	if f.States, err = among("state", q["state"], plumbline.States); err != nil {
		return f, err
	}
	if f.Kinds, err = among("kind", q["kind"], kinds); err != nil {
		return f, err
	}
	if f.Deployment, err = number(q, "deployment", 0); err != nil {
		return f, err
	}
	before, err := number(q, "before", 0)
	if err != nil {
		return f, err
	}
	f.Before = plumbline.RunID(before)
	limit, err := number(q, "limit", 100)
	f.Limit = int(min(limit, maxListing))
	return f, err
}

func known(q url.Values, names ...string) error {
	for k := range q {
		if !slices.Contains(names, k) {
			return refuse(plumbline.ErrInvalid, choices("Filters", names), "There is no filter %q.", k)
		}
	}
	return nil
}

// among reads values that are given several times, or with commas between them.
func among[T ~string](name string, given []string, allowed []T) ([]T, error) {
	var out []T
	for _, v := range strings.FieldsFunc(strings.Join(given, ","), func(c rune) bool { return c == ',' }) {
		if !slices.Contains(allowed, T(v)) {
			return nil, refuse(plumbline.ErrInvalid, choices("There are", convert(allowed, func(t T) string { return string(t) })), "There is no %s %q.", name, v)
		}
		out = append(out, T(v))
	}
	return out, nil
}

func number(q url.Values, name string, otherwise int64) (int64, error) {
	v := q.Get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 {
		return 0, refuse(plumbline.ErrInvalid, "", "%s is a number from 1, not %q.", name, v)
	}
	return n, nil
}

// mrState reads which merge requests are wanted: the open ones unless said otherwise.
func mrState(q url.Values) (plumbline.MRState, error) {
	v := q.Get("state")
	switch v {
	case "":
		return plumbline.MROpen, nil
	case "all":
		return "", nil
	}
	states, err := among("state", []string{v}, []plumbline.MRState{plumbline.MROpen, plumbline.MRMerged, plumbline.MRClosed})
	if err != nil || len(states) != 1 {
		return "", refuse(plumbline.ErrInvalid, "There are: open, merged, closed, all.", "There is no state %q.", v)
	}
	return states[0], nil
}

// answers explains a run, or the newest run that says how a stack stands in each environment that has it.
func (s *Server) answers(ctx context.Context, q url.Values) ([]plumbline.Run, error) {
	if err := known(q, "run", "stack", "environment", "repository"); err != nil {
		return nil, err
	}
	if id := q.Get("run"); id != "" {
		r, err := s.run(ctx, id)
		return []plumbline.Run{r}, err
	}
	stack := q.Get("stack")
	if stack == "" {
		return nil, refuse(plumbline.ErrInvalid, "Give run=NUMBER or stack=NAME.", "Nothing is asked about.")
	}
	var out []plumbline.Run
	var names []string
	found := false
	for _, repo := range s.c.Repositories {
		for _, e := range repo.Environments {
			if (q.Get("repository") != "" && q.Get("repository") != repo.Name) || (q.Get("environment") != "" && q.Get("environment") != e.Name) {
				continue
			}
			stacks, err := s.c.Store.Stacks(ctx, repo.Name, e.Name)
			if err != nil {
				return nil, err
			}
			for _, st := range stacks {
				if !slices.Contains(names, st.Stack.Name) {
					names = append(names, st.Stack.Name)
				}
				if st.Stack.Name != stack && (st.Spec.Alias == "" || st.Spec.Alias != stack) {
					continue
				}
				found = true
				runs, err := s.c.Store.Runs(ctx, plumbline.RunFilter{Repository: repo.Name, Environment: e.Name, Stack: st.Stack.Name,
					Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy, plumbline.KindDrift}, Limit: 1})
				if err != nil {
					return nil, err
				}
				out = append(out, runs...)
			}
		}
	}
	switch {
	case !found:
		return nil, refuse(plumbline.ErrNotFound, choices("Stacks", names), "There is no stack %s.", stack)
	case len(out) == 0:
		return nil, refuse(plumbline.ErrNotFound, "`plumbline drift check` looks at it.", "Nothing has run for %s yet.", stack)
	}
	return out, nil
}

// inForce returns runs with the freezes of their environments that people have set. Those that have ended do not wait for anything.
func (s *Server) inForce(ctx context.Context, runs ...plumbline.Run) ([]plumbline.Run, error) {
	if !slices.ContainsFunc(runs, func(r plumbline.Run) bool { return !r.State.Ended() }) {
		return runs, nil
	}
	set, err := s.c.Store.Freezes(ctx, "", "", s.c.Now())
	if err != nil {
		return nil, err
	}
	return convert(runs, func(r plumbline.Run) plumbline.Run { return r.Frozen(set) }), nil
}

// listed are runs as the API gives them.
func (s *Server) listed(ctx context.Context, runs []plumbline.Run) ([]RunJSON, error) {
	runs, err := s.inForce(ctx, runs...)
	return convert(runs, s.runJSON), err
}

// why explains a run, in a paragraph and link by link.
func (s *Server) why(ctx context.Context, run plumbline.Run) (AnswerJSON, error) {
	siblings, err := s.siblings(ctx, run)
	if err != nil {
		return AnswerJSON{}, err
	}
	// Of its stack, what took its place, or else what is in its way.
	f := plumbline.RunFilter{Repository: run.Stack.Repository, Environment: run.Stack.Environment, Stack: run.Stack.Name, Limit: maxListing}
	if run.State != plumbline.StateSuperseded {
		f.States = []plumbline.State{plumbline.StatePlanning, plumbline.StateApplying}
	}
	others, err := s.c.Store.Runs(ctx, f)
	if err != nil {
		return AnswerJSON{}, err
	}
	for _, o := range others {
		if !slices.ContainsFunc(siblings, func(r plumbline.Run) bool { return r.ID == o.ID }) {
			siblings = append(siblings, o)
		}
	}
	events, err := s.c.Store.Events(ctx, run.ID)
	if err != nil {
		return AnswerJSON{}, err
	}
	all, err := s.inForce(ctx, append(siblings, run)...)
	if err != nil {
		return AnswerJSON{}, err
	}
	around, run := all[:len(all)-1], all[len(all)-1]
	return AnswerJSON{
		Run: s.runJSON(run), Text: plumbline.Explain(run, around, s.c.Now()), Chain: convert(plumbline.Reasons(run, around, events, s.c.Now()), reasonJSON),
	}, nil
}

// sinceApproval tells how a run's plan differs from another that somebody has agreed to; nil where nobody has.
func (s *Server) sinceApproval(ctx context.Context, run plumbline.Run) (*SinceJSON, error) {
	a, ok := run.Outdated()
	if !ok {
		return nil, nil
	}
	j := &SinceJSON{By: a.By, At: a.At, Carried: a.Carried, Digest: a.Digest}
	if a.Digest == run.Plan.Digest {
		j.Way = true
		j.Text = "The changes are those that " + a.By + " agreed to, made in another way: the settings of a provider, a provisioner, a variable or the engine have changed since."
		return j, nil
	}
	approved, err := s.c.Plans.PlanDocument(ctx, a.Plan)
	if errors.Is(err, plumbline.ErrNotFound) {
		j.Missing, j.Text = true, "The plan that "+a.By+" agreed to is not kept any more."
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("plan that %s agreed to: %w", a.By, err)
	}
	now, err := s.plan(ctx, run)
	if err != nil {
		return nil, err
	}
	if now == nil {
		j.Missing, j.Text = true, "The plan of this run is not kept any more."
		return j, nil
	}
	c := diff.Compare(approved, *now)
	j.More, j.Fewer, j.Different = c.More, c.Fewer, c.Different
	j.Text = fmt.Sprintf("Since %s agreed to %s: %s.", a.By, plumbline.ShortDigest(a.Digest), c.Summary())
	j.Lines = convert(c.Lines(), diff.Line.String)
	return j, nil
}

func (s *Server) calendar(ctx context.Context, e plumbline.Environment) (CalendarJSON, error) {
	set, err := s.c.Store.Freezes(ctx, e.Repository, e.Name, s.c.Now())
	return calendarJSON(e.Calendar, set, s.c.Now()), err
}

// promotion compares an environment with the one that it promotes to.
func (s *Server) promotion(ctx context.Context, e plumbline.Environment) (plumbline.Promotion, error) {
	repo, err := s.repository(e.Repository)
	if err != nil {
		return plumbline.Promotion{}, err
	}
	to, err := repo.Next(e)
	if err != nil {
		return plumbline.Promotion{}, err
	}
	var here, there []plumbline.StackStatus
	var heads [2]string
	for i, of := range []plumbline.Environment{e, to} {
		if heads[i], err = s.c.Store.Head(ctx, e.Repository, of.Branch); err != nil {
			return plumbline.Promotion{}, err
		}
	}
	if here, err = s.c.Store.Stacks(ctx, e.Repository, e.Name); err != nil {
		return plumbline.Promotion{}, err
	}
	if there, err = s.c.Store.Stacks(ctx, e.Repository, to.Name); err != nil {
		return plumbline.Promotion{}, err
	}
	deployed, err := s.c.Store.Deployments(ctx, e.Repository, e.Name, maxListing)
	if err != nil {
		return plumbline.Promotion{}, err
	}
	requests, err := s.c.Store.MergeRequests(ctx, e.Repository, "")
	if err != nil {
		return plumbline.Promotion{}, err
	}
	runs, err := s.c.Store.Runs(ctx, plumbline.RunFilter{
		Repository: e.Repository, Environment: to.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy}, Limit: deploysLookedAt,
		States: []plumbline.State{plumbline.StateQueued, plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved, plumbline.StateApplying},
	})
	return plumbline.PromotionOf(e, to, heads[0], heads[1], here, there, deployed, requests, runs), err
}
