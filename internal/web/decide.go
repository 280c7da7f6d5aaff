package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// What people decide, from whichever door they come.

// decide lets somebody change a run when they may do that in its environment.
func (s *Server) decide(ctx context.Context, who Identity, a Action, id string, rule plumbline.Rule) (plumbline.Run, error) {
	r, err := s.run(ctx, id)
	if err != nil {
		return r, err
	}
	if err := authorize(s.c.Access, who, a, r.Stack.Repository+"/"+r.Stack.Environment); err != nil {
		return r, err
	}
	return s.c.Store.Update(ctx, r.ID, s.c.Now(), plumbline.Through(who.person(s.c.Access).Door, rule))
}

// about is the run and the environment that a request is about, as far as there are such.
func (s *Server) about(r *http.Request) (run plumbline.Run, environment string) {
	if env := r.PathValue("env"); env != "" {
		return run, r.PathValue("repo") + "/" + env
	}
	if id := r.PathValue("run"); id != "" {
		if run, err := s.run(r.Context(), id); err == nil {
			return run, run.Stack.Repository + "/" + run.Stack.Environment
		}
	}
	if id := r.PathValue("item"); id != "" {
		if it, err := s.driftItem(r.Context(), id); err == nil {
			return run, it.Stack.Repository + "/" + it.Stack.Environment
		}
	}
	return run, "" // only those who may everywhere are told more
}

// refused notes in the audit log that somebody was not let do something. Strangers are not noted, for everybody can send anything; neither is who only
// wanted to look.
func (s *Server) refused(r *http.Request, a Action, who Identity, run plumbline.Run, environment string, err error) {
	var why *plumbline.Refusal
	if who.Name == "" || a == ActionView || a == ActionPublic || !errors.Is(err, plumbline.ErrDenied) || !errors.As(err, &why) {
		return
	}
	p := who.person(s.c.Access)
	repo, env, _ := strings.Cut(environment, "/")
	e := plumbline.AuditEntry{
		At: s.c.Now(), Who: p.Name, Door: p.Door, Action: plumbline.AuditRefused, Repository: repo, Environment: env, Stack: run.Stack.Name, Run: run.ID, MR: run.MR,
		Commit: run.Commit, Outcome: "refused", Detail: string(a) + ": " + why.What,
	}
	if run.Plan != nil {
		e.Digest = run.Plan.Digest
	}
	// Whoever is refused must not keep it out of the log by going away.
	if err := s.c.Store.Audit(context.WithoutCancel(r.Context()), e); err != nil {
		s.c.Log.Error("note a refusal in the audit log", zap.String("who", p.Name), zap.String("what", string(a)), zap.Error(err))
	}
}

func (s *Server) approve(ctx context.Context, who Identity, id, digest string) (plumbline.Run, error) {
	return s.decide(ctx, who, ActionApprove, id, func(r *plumbline.Run, now time.Time) error {
		return r.Approve(who.person(s.c.Access), s.c.Access, strings.ToLower(strings.TrimSpace(digest)), now)
	})
}

// maxReason is the longest reason in bytes.
const maxReason = 2000

// because is a reason in one line. missing says what needs one.
func because(reason, missing, next string) (string, error) {
	reason = strings.Join(strings.Fields(reason), " ")
	switch {
	case reason == "":
		return "", refuse(plumbline.ErrInvalid, next, "%s needs a reason.", missing)
	case len(reason) > maxReason:
		return "", refuse(plumbline.ErrInvalid, "", "The reason is longer than %d bytes.", maxReason)
	}
	return reason, nil
}

func (s *Server) reject(ctx context.Context, who Identity, id, reason string) (plumbline.Run, error) {
	reason, err := because(reason, "A rejection", "Say why, so that its author can do something about it.")
	if err != nil {
		return plumbline.Run{}, err
	}
	return s.decide(ctx, who, ActionReject, id, func(r *plumbline.Run, now time.Time) error { return r.Reject(who.person(s.c.Access).Name, reason, now) })
}

func (s *Server) breakGlass(ctx context.Context, who Identity, id, digest, reason string) (plumbline.Run, error) {
	reason, err := because(reason, "Breaking the glass", "It is told to everybody and stays in the audit log.")
	if err != nil {
		return plumbline.Run{}, err
	}
	return s.decide(ctx, who, plumbline.MayBreakGlass, id, func(r *plumbline.Run, now time.Time) error {
		return r.BreakGlass(who.person(s.c.Access), strings.ToLower(strings.TrimSpace(digest)), reason, now)
	})
}

func (s *Server) retry(ctx context.Context, who Identity, id string) (plumbline.Run, error) {
	return s.decide(ctx, who, ActionRetry, id, func(r *plumbline.Run, now time.Time) error { return r.Retry(who.person(s.c.Access).Name, now) })
}

func (s *Server) cancel(ctx context.Context, who Identity, id string) (plumbline.Run, error) {
	return s.decide(ctx, who, ActionCancel, id, func(r *plumbline.Run, now time.Time) error { return r.Cancel(who.person(s.c.Access).Name, now) })
}

// ask files a wish about an environment's stacks, all of them when none is named.
func (s *Server) ask(ctx context.Context, who Identity, kind plumbline.RequestKind, repo, env string, only []string) (RequestedJSON, error) {
	e, err := s.environment(repo, env)
	if err != nil {
		return RequestedJSON{}, err
	}
	stacks, err := s.c.Store.Stacks(ctx, repo, env)
	if err != nil {
		return RequestedJSON{}, err
	}
	names := map[string]string{} // by name and alias
	var all []string
	for _, st := range stacks {
		if st.Removed {
			continue
		}
		all = append(all, st.Stack.Name)
		names[st.Stack.Name] = st.Stack.Name
		if st.Spec.Alias != "" {
			names[st.Spec.Alias] = st.Stack.Name
		}
	}
	var chosen []string
	for _, o := range only {
		name, ok := names[o]
		if !ok {
			return RequestedJSON{}, refuse(plumbline.ErrNotFound, choices("Stacks", all), "There is no stack %s in %s.", o, e.Key())
		}
		if !slices.Contains(chosen, name) {
			chosen = append(chosen, name)
		}
	}
	out := RequestedJSON{At: s.c.Now(), Stacks: chosen}
	if len(only) == 0 {
		out.Stacks = append([]string{}, all...)
	}
	if len(out.Stacks) == 0 {
		return out, refuse(plumbline.ErrConflict, "Its branch is "+e.Branch+"; when Plumbline has seen it, its stacks are listed.", "%s has no stacks yet.", e.Key())
	}
	newest, err := s.c.Store.Runs(ctx, plumbline.RunFilter{Limit: 1})
	if err != nil {
		return out, err
	}
	if len(newest) > 0 {
		out.After = newest[0].ID
	}
	out.Request, err = s.c.Store.Request(ctx, plumbline.Request{Repository: repo, Environment: env, Kind: kind, Stacks: chosen, By: who.person(s.c.Access).Name, At: out.At})
	return out, err
}

// here finds an environment in which somebody may do something.
func (s *Server) here(who Identity, a Action, repo, env string) (plumbline.Environment, error) {
	e, err := s.environment(repo, env)
	if err != nil {
		return e, err
	}
	return e, authorize(s.c.Access, who, a, e.Key())
}

// freeze keeps what is approved in an environment from being applied, until a time or until it is lifted.
func (s *Server) freeze(ctx context.Context, who Identity, repo, env, reason string, until time.Time) (FreezeJSON, error) {
	e, err := s.here(who, plumbline.MayFreeze, repo, env)
	if err != nil {
		return FreezeJSON{}, err
	}
	if reason, err = because(reason, "A freeze", "Say why, for those who wait."); err != nil {
		return FreezeJSON{}, err
	}
	now, by := s.c.Now(), who.person(s.c.Access)
	f := plumbline.Freeze{From: now, Until: until, Reason: reason, By: by.Name}
	id, err := s.c.Store.Freeze(ctx, e.Repository, e.Name, f, by, now)
	return freezeJSON(plumbline.Frozen{ID: id, Freeze: f}), err
}

// thaw lifts one of the freezes that people have set, or all of them for the ID 0, and tells how many.
func (s *Server) thaw(ctx context.Context, who Identity, repo, env string, id int64, reason string) (int, error) {
	e, err := s.here(who, plumbline.MayFreeze, repo, env)
	if err != nil {
		return 0, err
	}
	if reason, err = because(reason, "A thaw", "It stays in the audit log."); err != nil {
		return 0, err
	}
	if id < 0 {
		return 0, refuse(plumbline.ErrInvalid, "", "Freezes are numbered from 1.")
	}
	return s.c.Store.Thaw(ctx, e.Repository, e.Name, id, who.person(s.c.Access), reason, s.c.Now())
}

// promote asks for a merge request with what an environment has, to the one that it promotes to.
func (s *Server) promote(ctx context.Context, who Identity, repo, env string) (ProposedJSON, error) {
	e, err := s.here(who, plumbline.MayPropose, repo, env)
	if err != nil {
		return ProposedJSON{}, err
	}
	p, err := s.promotion(ctx, e)
	switch {
	case err != nil:
		return ProposedJSON{}, err
	case p.Same:
		return ProposedJSON{}, refuse(plumbline.ErrConflict, "There is nothing to promote.", "%s has everything that %s has.", p.To.Name, e.Name)
	}
	return s.propose(ctx, who, plumbline.Request{Repository: repo, Environment: env, Kind: plumbline.RequestPromote}, ProposedJSON{
		Source: e.Branch, Target: p.To.Branch,
		Text: fmt.Sprintf("A merge request from %s into %s appears on the forge, and among the merge requests here, with the next poll of %s.", e.Branch, p.To.Branch, repo),
	})
}

// rollback asks for an environment's files to be put back to those of an earlier commit.
func (s *Server) rollback(ctx context.Context, who Identity, repo, env, to string) (ProposedJSON, error) {
	e, err := s.here(who, plumbline.MayPropose, repo, env)
	if err != nil {
		return ProposedJSON{}, err
	}
	if e.Rollback == plumbline.RollbackDirect { // what is pushed is deployed
		if _, err := s.here(who, plumbline.MayDeploy, repo, env); err != nil {
			return ProposedJSON{}, err
		}
	}
	head, err := s.c.Store.Head(ctx, repo, e.Branch)
	if err != nil {
		return ProposedJSON{}, err
	}
	deployed, err := s.c.Store.Deployments(ctx, repo, env, maxListing)
	if err != nil {
		return ProposedJSON{}, err
	}
	if to, err = e.RollbackTo(to, head, deployed); err != nil {
		return ProposedJSON{}, err
	}
	back := "the newest commit with which everything was in sync"
	if to != "" {
		back = plumbline.Short(to)
	}
	text := fmt.Sprintf("A merge request into %s that puts its files back to those of %s appears on the forge, and among the merge requests here, with the next poll of %s.", e.Branch, back, repo)
	if e.Rollback == plumbline.RollbackDirect {
		text = fmt.Sprintf("A commit that puts the files back to those of %s is pushed to %s with the next poll of %s; what it would do is planned and agreed to as ever.", back, e.Branch, repo)
	}
	return s.propose(ctx, who, plumbline.Request{Repository: repo, Environment: env, Kind: plumbline.RequestRollback, To: to}, ProposedJSON{
		Target: e.Branch, To: to, Direct: e.Rollback == plumbline.RollbackDirect, Text: text,
	})
}

func (s *Server) propose(ctx context.Context, who Identity, q plumbline.Request, out ProposedJSON) (ProposedJSON, error) {
	q.By, q.At = who.person(s.c.Access).Name, s.c.Now()
	out.At = q.At
	var err error
	out.Request, err = s.c.Store.Request(ctx, q)
	return out, err
}
