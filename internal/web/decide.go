package web

import (
	"context"
	"slices"
	"strings"
	"time"

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

func (s *Server) approve(ctx context.Context, who Identity, id, digest string) (plumbline.Run, error) {
	return s.decide(ctx, who, ActionApprove, id, func(r *plumbline.Run, now time.Time) error {
		return r.Approve(who.person(s.c.Access), s.c.Access, strings.ToLower(strings.TrimSpace(digest)), now)
	})
}

// maxReason is the longest reason in bytes.
const maxReason = 2000

func (s *Server) reject(ctx context.Context, who Identity, id, reason string) (plumbline.Run, error) {
	reason = strings.Join(strings.Fields(reason), " ")
	switch {
	case reason == "":
		return plumbline.Run{}, refuse(plumbline.ErrInvalid, "Say why, so that its author can do something about it.", "A rejection needs a reason.")
	case len(reason) > maxReason:
		return plumbline.Run{}, refuse(plumbline.ErrInvalid, "", "The reason is longer than %d bytes.", maxReason)
	}
	return s.decide(ctx, who, ActionReject, id, func(r *plumbline.Run, now time.Time) error { return r.Reject(who.person(s.c.Access).Name, reason, now) })
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
	out.Request, err = s.c.Store.Request(ctx, plumbline.Request{Repository: repo, Environment: env, Kind: kind, Stacks: chosen, By: who.Name, At: out.At})
	return out, err
}
