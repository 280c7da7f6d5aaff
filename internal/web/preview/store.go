package preview

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Store keeps in memory what the real store keeps in a database: it lists, filters, applies rules, wakes. Fields are filled before it is used.
type Store struct {
	Heads        map[string]string              // by repository and branch, with a space between them
	Broken       map[string][]plumbline.Finding // likewise
	Status       []plumbline.StackStatus
	Deployed     []plumbline.Deployment
	Proposed     []plumbline.MergeRequest
	Drift        []plumbline.DriftItem
	PlanOf       map[plumbline.RunID]plumbline.Plan
	LogOf        map[plumbline.RunID]string
	OnRequest    func(plumbline.Request) // what the watcher does, at once; nil: wishes stay
	mu           sync.Mutex
	runs         map[plumbline.RunID]plumbline.Run
	events       []plumbline.Event
	requests     []plumbline.Request // not fulfilled
	filed        []plumbline.Request // all
	waiting      map[chan struct{}]struct{}
	repositories []plumbline.Repository
	Documents    map[string]plumbline.Plan // plans by the name of their blob, besides those of runs
	frozen       []plumbline.Frozen
	audit        []plumbline.AuditRow
	tokens       []plumbline.Token
	history      []plumbline.DriftEvent
	rules        []ruled
}

// Put adds a run, or takes the place of the one with its ID.
func (s *Store) Put(r plumbline.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs == nil {
		s.runs = map[plumbline.RunID]plumbline.Run{}
	}
	s.runs[r.ID] = r
	s.wake()
}

// Say adds to a run's log.
func (s *Store) Say(id plumbline.RunID, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.LogOf[id] += text
	s.wake()
}

// Filed returns all wishes that were ever filed.
func (s *Store) Filed() []plumbline.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.filed)
}

func (s *Store) wake() {
	for c := range s.waiting {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Run returns one run.
func (s *Store) Run(_ context.Context, id plumbline.RunID) (plumbline.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run(id)
}

func (s *Store) run(id plumbline.RunID) (plumbline.Run, error) {
	r, ok := s.runs[id]
	if !ok {
		return plumbline.Run{}, fmt.Errorf("run %s: %w", id, plumbline.ErrNotFound)
	}
	return r, nil
}

// clone copies a run with all that it points to.
func clone(r plumbline.Run) (plumbline.Run, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	var out plumbline.Run
	return out, json.Unmarshal(b, &out)
}

// Runs lists runs, newest first.
func (s *Store) Runs(_ context.Context, f plumbline.RunFilter) ([]plumbline.Run, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	out := s.matching(func(r plumbline.Run) bool {
		return (f.Repository == "" || r.Stack.Repository == f.Repository) &&
			(f.Environment == "" || r.Stack.Environment == f.Environment) &&
			(f.Stack == "" || r.Stack.Name == f.Stack) &&
			(f.MR == "" || r.MR == f.MR) &&
			(f.Deployment == 0 || r.Deployment == f.Deployment) &&
			(len(f.Kinds) == 0 || slices.Contains(f.Kinds, r.Kind)) &&
			(len(f.States) == 0 || slices.Contains(f.States, r.State)) &&
			(f.Before == 0 || r.ID < f.Before)
	})
	slices.Reverse(out)
	return out[:min(len(out), f.Limit)], nil
}

// matching returns the runs that match, oldest first.
func (s *Store) matching(match func(plumbline.Run) bool) []plumbline.Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []plumbline.Run
	for _, r := range s.runs {
		if match(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b plumbline.Run) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// RunsOfDeployment returns all runs of a deployment, oldest first.
func (s *Store) RunsOfDeployment(_ context.Context, id int64) ([]plumbline.Run, error) {
	return s.matching(func(r plumbline.Run) bool { return r.Deployment == id }), nil
}

// RunsOfMR returns all proposal runs of a merge request, oldest first.
func (s *Store) RunsOfMR(_ context.Context, repo, id string) ([]plumbline.Run, error) {
	return s.matching(func(r plumbline.Run) bool {
		return r.Kind == plumbline.KindProposal && r.Stack.Repository == repo && r.MR == id
	}), nil
}

// Events returns a run's history, oldest first.
func (s *Store) Events(_ context.Context, id plumbline.RunID) ([]plumbline.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []plumbline.Event
	for _, e := range s.events {
		if e.Run == id {
			out = append(out, e)
		}
	}
	return out, nil
}

// Update applies a rule to a run.
func (s *Store) Update(_ context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule) (plumbline.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := s.run(id)
	if err != nil {
		return before, err
	}
	after, err := clone(before)
	if err != nil {
		return before, err
	}
	if err := rule(&after, now); err != nil {
		return before, err
	}
	after.Version++
	s.runs[id] = after
	who := after.By
	if n := len(after.Approvals); n > len(before.Approvals) {
		who = after.Approvals[n-1].By
	} else if after.RejectedBy != "" {
		who = after.RejectedBy
	}
	for _, e := range plumbline.Audit(before, after) {
		e.At = now
		if err := s.tell(e); err != nil {
			return before, err
		}
	}
	s.events = append(s.events, plumbline.Event{Run: id, At: now, From: before.State, To: after.State, Who: who, Text: after.Reason})
	s.wake()
	return after, nil
}

// Head returns the commit at the head of a branch; "" when it was never seen.
func (s *Store) Head(_ context.Context, repo, branch string) (string, error) {
	return s.Heads[repo+" "+branch], nil
}

// Findings returns what cannot be used in a branch's head.
func (s *Store) Findings(_ context.Context, repo, branch string) ([]plumbline.Finding, error) {
	return s.Broken[repo+" "+branch], nil
}

// Stacks returns the stacks of an environment in order of name.
func (s *Store) Stacks(_ context.Context, repo, env string) ([]plumbline.StackStatus, error) {
	var out []plumbline.StackStatus
	for _, st := range s.Status {
		if st.Stack.Repository == repo && st.Stack.Environment == env {
			out = append(out, st)
		}
	}
	slices.SortFunc(out, func(a, b plumbline.StackStatus) int { return strings.Compare(a.Stack.Name, b.Stack.Name) })
	return out, nil
}

// Deployments lists an environment's deployments, newest first.
func (s *Store) Deployments(_ context.Context, repo, env string, limit int) ([]plumbline.Deployment, error) {
	var out []plumbline.Deployment
	for _, d := range s.Deployed {
		if d.Repository == repo && d.Environment == env {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b plumbline.Deployment) int { return cmp.Compare(b.ID, a.ID) })
	return out[:min(len(out), limit)], nil
}

// MergeRequest returns one merge request.
func (s *Store) MergeRequest(_ context.Context, repo, id string) (plumbline.MergeRequest, error) {
	for _, m := range s.Proposed {
		if m.Repository == repo && m.ID == id {
			return m, nil
		}
	}
	return plumbline.MergeRequest{}, fmt.Errorf("merge request %s of %s: %w", id, repo, plumbline.ErrNotFound)
}

// MergeRequests returns the merge requests in a state, or all for "", the latest changed first.
func (s *Store) MergeRequests(_ context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error) {
	var out []plumbline.MergeRequest
	for _, m := range s.Proposed {
		if m.Repository == repo && (state == "" || m.State == state) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b plumbline.MergeRequest) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	return out, nil
}

// Request files a wish.
func (s *Store) Request(_ context.Context, r plumbline.Request) (int64, error) {
	s.mu.Lock()
	r.ID = int64(len(s.filed) + 1)
	s.filed = append(s.filed, r)
	if s.OnRequest == nil {
		s.requests = append(s.requests, r)
	}
	s.wake()
	s.mu.Unlock()
	if s.OnRequest != nil {
		s.OnRequest(r)
	}
	return r.ID, nil
}

// Requests returns the wishes that are not fulfilled, oldest first.
func (s *Store) Requests(_ context.Context, repo string) ([]plumbline.Request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.requests), func(r plumbline.Request) bool { return r.Repository != repo }), nil
}

// Subscribe returns a channel that receives after changes.
func (s *Store) Subscribe() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[chan struct{}]struct{}{}
	}
	s.waiting[c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, c)
	}
}

// Plan returns a run's plan.
func (s *Store) Plan(_ context.Context, r plumbline.Run) (plumbline.Plan, error) {
	p, ok := s.PlanOf[r.ID]
	if !ok {
		return p, fmt.Errorf("plan of run %s: %w", r.ID, plumbline.ErrNotFound)
	}
	return p, nil
}

// WriteLog writes a run's log from a byte on.
func (s *Store) WriteLog(_ context.Context, w io.Writer, r plumbline.Run, from int64) (int64, error) {
	s.mu.Lock()
	text := s.LogOf[r.ID]
	s.mu.Unlock()
	if from >= int64(len(text)) {
		return 0, nil
	}
	n, err := io.WriteString(w, text[from:])
	return int64(n), err
}
