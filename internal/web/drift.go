package web

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// allDrift is more drift items than anybody has: what is counted must not be cut off without a word.
const allDrift = 1 << 20

// driftQuery narrows a listing of drift.
type driftQuery struct {
	plumbline.DriftFilter
	States []plumbline.DriftState // none: those that people should do something about
	Since  time.Time              // only what was opened, changed or resolved since; zero: whenever
	Cause  string                 // the key of one; "": any
}

var driftStates = []plumbline.DriftState{plumbline.DriftOpen, plumbline.DriftAcknowledged, plumbline.DriftIgnored, plumbline.DriftNoise, plumbline.DriftResolved}

// driftQuery reads a filter from a query.
func (s *Server) driftQuery(q url.Values) (driftQuery, error) {
	var out driftQuery
	if err := known(q, "repository", "environment", "stack", "state", "since", "cause"); err != nil {
		return out, err
	}
	out.DriftFilter = plumbline.DriftFilter{Repository: q.Get("repository"), Environment: q.Get("environment"), Stack: q.Get("stack")}
	out.Cause = q.Get("cause")
	if err := s.configured(out.Repository, out.Environment); err != nil {
		return out, err
	}
	var err error
	if q.Get("state") == "all" {
		out.States = driftStates
	} else if out.States, err = among("state", q["state"], driftStates); err != nil {
		return out, refuse(plumbline.ErrInvalid, "There are: open, acknowledged, ignored, noise, resolved, all.", "There is no state %q.", strings.Join(q["state"], ","))
	}
	out.Since, err = sinceTime(q.Get("since"), s.c.Now())
	return out, err
}

// configured reports whether there are such a repository and environment; "" is any.
func (s *Server) configured(repo, env string) error {
	if repo == "" && env == "" {
		return nil
	}
	for _, r := range s.c.Repositories {
		if repo != "" && r.Name != repo {
			continue
		}
		if env == "" || slices.ContainsFunc(r.Environments, func(e plumbline.Environment) bool { return e.Name == env }) {
			return nil
		}
	}
	if env == "" {
		_, err := s.repository(repo)
		return err
	}
	if repo != "" {
		_, err := s.environment(repo, env)
		return err
	}
	var names []string
	for _, r := range s.c.Repositories {
		for _, e := range r.Environments {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return refuse(plumbline.ErrNotFound, choices("Environments", slices.Compact(names)), "There is no environment %s.", env)
}

// sinceTime reads a time that was: a date, a time, or how long ago it was, in days or hours; nothing is the zero time.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text = strings.TrimSpace(text); text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse(time.DateOnly, text)
	}
	if err != nil {
		var ago time.Duration
		if days, ok := strings.CutSuffix(text, "d"); ok {
			var n int
			n, err = strconv.Atoi(days)
			n = max(min(n, 100_000), -1)
			ago = time.Duration(n) * 24 * time.Hour
		} else {
			ago, err = time.ParseDuration(text)
		}
		if ago < 0 {
			return t, refuse(plumbline.ErrInvalid, "", "%q is in the future.", text)
		}
		t = now.Add(-ago)
	}
	switch {
	case err != nil:
		return t, refuse(plumbline.ErrInvalid, "Write it as 2026-12-24, 2026-12-24T18:00:00Z or, from now back, 30d or 12h.", "%q is not a time.", text)
	case t.After(now):
		return t, refuse(plumbline.ErrInvalid, "", "%q is in the future.", text)
	}
	return t, nil
}

// drift is a listing of drift items.
type drift struct {
	Items   []plumbline.DriftItem // those that were asked for, newest first
	All     []plumbline.DriftItem // whatever their state; of those resolved, those of the week at least
	Numbers driftreport.Numbers
}

const thisWeek = "this week"

func (s *Server) drift(ctx context.Context, q driftQuery) (drift, error) {
	now := s.c.Now()
	weekAgo := now.Add(-week)
	f := q.DriftFilter
	f.Resolved, f.ResolvedSince, f.Limit = true, weekAgo, allDrift
	if !q.Since.IsZero() && q.Since.Before(weekAgo) {
		f.ResolvedSince = q.Since
	}
	all, err := s.c.Store.DriftItems(ctx, f)
	if err != nil {
		return drift{}, err
	}
	if q.Cause != "" {
		all = slices.DeleteFunc(all, func(it plumbline.DriftItem) bool { return it.Cause.Key != q.Cause })
	}
	d := drift{All: all, Numbers: driftreport.Count(all, now, weekAgo)}
	for _, it := range all {
		wanted := it.Counts(now)
		if len(q.States) > 0 {
			wanted = slices.Contains(q.States, it.State(now))
		}
		if !q.Since.IsZero() {
			wanted = wanted && (!it.Opened.Before(q.Since) || !it.Changed.Before(q.Since) || !it.Resolved.Before(q.Since))
		}
		if wanted {
			d.Items = append(d.Items, it)
		}
	}
	return d, nil
}

// driftItem finds a drift item by what stands in a path.
func (s *Server) driftItem(ctx context.Context, text string) (plumbline.DriftItem, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return plumbline.DriftItem{}, refuse(plumbline.ErrInvalid, "Drift items are numbered from 1.", "%q is not a drift item's number.", text)
	}
	return s.c.Store.DriftItem(ctx, id)
}

// acknowledge notes that somebody knows of a drift item.
func (s *Server) acknowledge(ctx context.Context, who Identity, id, note string) (plumbline.DriftItem, error) {
	it, err := s.driftItem(ctx, id)
	if err != nil {
		return it, err
	}
	if err := authorize(s.c.Access, who, plumbline.MayAcknowledgeDrift, it.Stack.Repository+"/"+it.Stack.Environment); err != nil {
		return it, err
	}
	if note, err = line("The note", note); err != nil {
		return it, err
	}
	return s.c.Store.UpdateDrift(ctx, it.ID, s.c.Now(), func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error) {
		return it.Acknowledge(who.person(s.c.Access), note, now)
	})
}

// line is what people write in one line. what is how it is called.
func line(what, text string) (string, error) {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxReason {
		return "", refuse(plumbline.ErrInvalid, "", "%s is longer than %d bytes.", what, maxReason)
	}
	return text, nil
}

// ignore sets a rule that hides drift of an environment.
func (s *Server) ignore(ctx context.Context, who Identity, repo, env string, want IgnoreJSON) (IgnoringJSON, error) {
	var out IgnoringJSON
	e, err := s.here(who, plumbline.MayIgnoreDrift, repo, env)
	if err != nil {
		return out, err
	}
	rule := plumbline.IgnoreRule{Stack: want.Stack, Address: want.Address, Attribute: want.Attribute, Owner: want.Owner, Reason: want.Reason, Until: want.Until}
	for _, f := range []struct {
		what string
		text *string
	}{{"The stack", &rule.Stack}, {"The address", &rule.Address}, {"The attribute", &rule.Attribute}, {"The owner", &rule.Owner}, {"The reason", &rule.Reason}} {
		if *f.text, err = line(f.what, *f.text); err != nil {
			return out, err
		}
	}
	now, by := s.c.Now(), who.person(s.c.Access)
	if err := rule.Check(now); err != nil {
		return out, err
	}
	before, err := s.hidden(ctx, e)
	if err != nil {
		return out, err
	}
	if rule.ID, err = s.c.Store.IgnoreDrift(ctx, e, rule, by, now); err != nil {
		return out, err
	}
	rule.By, rule.From = by.Name, now
	after, err := s.hidden(ctx, e)
	for id, hides := range after {
		if hides > before[id] {
			out.Hides++
		}
	}
	out.Rule = driftRuleJSON(rule, now)
	return out, err
}

// hidden is how much rules hide of each open item of an environment: attributes, or all of it, which is more than there can be attributes.
func (s *Server) hidden(ctx context.Context, e plumbline.Environment) (map[int64]int, error) {
	items, err := s.c.Store.DriftItems(ctx, plumbline.DriftFilter{Repository: e.Repository, Environment: e.Name, Limit: allDrift})
	out := make(map[int64]int, len(items))
	for _, it := range items {
		out[it.ID] = len(it.Hidden)
		if it.State(s.c.Now()) == plumbline.DriftIgnored {
			out[it.ID] = allDrift
		}
	}
	return out, err
}

// lift takes a rule back that somebody has set.
func (s *Server) lift(ctx context.Context, who Identity, repo, env, rule string) error {
	e, err := s.here(who, plumbline.MayIgnoreDrift, repo, env)
	if err != nil {
		return err
	}
	id, err := strconv.ParseInt(rule, 10, 64)
	if err != nil || id < 1 {
		return refuse(plumbline.ErrInvalid, "Rules are numbered from 1; what its configuration ignores is changed there.", "%q is not a rule's number.", rule)
	}
	return s.c.Store.LiftIgnore(ctx, e, id, who.person(s.c.Access), s.c.Now())
}

// rules are those that hide drift of an environment: of its configuration, then those that people have set.
func (s *Server) rules(ctx context.Context, e plumbline.Environment) ([]plumbline.IgnoreRule, error) {
	set, err := s.c.Store.IgnoreRules(ctx, e.Repository, e.Name)
	return slices.Concat(e.Drift.Ignore, set), err
}

// maxReport is how far back a report goes at most.
const maxReport = 366 * oneDay

const oneDay = 24 * time.Hour

// driftReport makes the report that a query asks for.
func (s *Server) driftReport(ctx context.Context, q url.Values) (driftreport.Report, error) {
	var none driftreport.Report
	if err := known(q, "repository", "environment", "stack", "since"); err != nil {
		return none, err
	}
	now := s.c.Now()
	in := driftreport.Input{
		Now: now, Rules: map[string][]plumbline.IgnoreRule{},
		Scope: driftreport.Scope{Repository: q.Get("repository"), Environment: q.Get("environment"), Stack: q.Get("stack")},
	}
	if err := s.configured(in.Scope.Repository, in.Scope.Environment); err != nil {
		return none, err
	}
	since, err := sinceTime(q.Get("since"), now)
	switch {
	case err != nil:
		return none, err
	case now.Sub(since) > maxReport && !since.IsZero():
		return none, refuse(plumbline.ErrInvalid, "", "A report goes back %d days at most.", int(maxReport/oneDay))
	case since.IsZero():
		since = now.Add(-30 * oneDay)
	}
	// It begins with the first whole day, so that 7d are seven days, today included.
	first := since.UTC().Add(oneDay - 1).Truncate(oneDay)
	if today := now.UTC().Truncate(oneDay); first.After(today) {
		first = today
	}
	in.Since = first
	f := plumbline.DriftFilter{
		Repository: in.Scope.Repository, Environment: in.Scope.Environment, Stack: in.Scope.Stack, Resolved: true, ResolvedSince: first, Limit: allDrift,
	}
	if in.Items, err = s.c.Store.DriftItems(ctx, f); err != nil {
		return none, err
	}
	ids := make([]int64, len(in.Items))
	for i, it := range in.Items {
		ids[i] = it.ID
	}
	if in.Histories, err = s.c.Store.DriftHistories(ctx, ids...); err != nil {
		return none, err
	}
	if in.Days, err = s.c.Store.DriftDays(ctx, f.Repository, f.Environment, f.Stack, first); err != nil {
		return none, err
	}
	for _, repo := range s.c.Repositories {
		for _, e := range repo.Environments {
			if f.Repository != "" && f.Repository != e.Repository || f.Environment != "" && f.Environment != e.Name {
				continue
			}
			stacks, err := s.c.Store.Stacks(ctx, e.Repository, e.Name)
			if err != nil {
				return none, err
			}
			for _, st := range stacks {
				if !st.Removed && (f.Stack == "" || f.Stack == st.Stack.Name) {
					in.Stacks = append(in.Stacks, st.Stack)
				}
			}
			if in.Rules[e.Key()], err = s.rules(ctx, e); err != nil {
				return none, err
			}
		}
	}
	return driftreport.Build(in), nil
}

// remedyText says what Plumbline does about a drift item.
func remedyText(r *plumbline.Remedy) string {
	if r == nil {
		return "nothing by itself: people are told"
	}
	return r.String()
}

// driftDiff lays out the attributes of a difference: as Git has it, then as found.
func driftDiff(d plumbline.Difference) []diff.Line {
	c := plumbline.Change{Address: d.Address, Type: d.Type, Action: plumbline.ActionUpdate, Attributes: d.Attributes}
	switch d.Kind {
	case plumbline.DriftDeleted:
		c.Action = plumbline.ActionDelete
	case plumbline.DriftAppeared:
		c.Action = plumbline.ActionCreate
	}
	return diff.Change(c)[1:]
}

// eventText is one line of a drift item's history in words, without who it was.
func eventText(e plumbline.DriftEvent) string {
	text := string(e.What)
	switch e.What {
	case plumbline.EventChanged:
		text = "other values than before"
	case plumbline.EventExpired:
		text = "not ignored any more"
	case plumbline.EventFlapping:
		text = "it comes and goes"
	case plumbline.EventAttributed:
		text = "changed by"
	case plumbline.EventNoise:
		text = "taken for noise"
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return plain(text)
}
