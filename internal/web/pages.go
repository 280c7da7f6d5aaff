package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// overview is the body of the first page.
type overview struct {
	Mine      []plumbline.Run      // that the person's yes would bring on
	Waiting   []plumbline.Run      // for others: what went wrong first, then what awaits approval
	Broken    []plumbline.AuditRow // glass that was broken within a day
	Frozen    []frozen
	Places    []place
	Proposals []proposal
	Forges    []Forge
}

// frozen is an environment that people or its configuration keep from taking changes now.
type frozen struct {
	Environment plumbline.Environment
	Why         string
}

// brokenSince is how long it is told on the first page that glass was broken.
const brokenSince = 24 * time.Hour

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	ctx, now := r.Context(), s.c.Now()
	var o overview
	var err error
	if o.Places, err = s.places(ctx); err != nil {
		return err
	}
	for _, p := range o.Places {
		for _, run := range p.Runs {
			if slices.Contains(p.Status.Failed, run.ID) {
				o.Waiting = append(o.Waiting, run)
			}
		}
	}
	if o.Proposals, err = s.proposals(ctx, "", plumbline.MROpen); err != nil {
		return err
	}
	awaiting, err := s.c.Store.Runs(ctx, plumbline.RunFilter{States: []plumbline.State{plumbline.StateAwaiting}})
	if err != nil {
		return err
	}
	person := who.person(s.c.Access)
	for _, run := range awaiting {
		if offersFor(run, s.c.Access, person, run.Plan != nil, now).Approve {
			o.Mine = append(o.Mine, run)
		} else {
			o.Waiting = append(o.Waiting, run)
		}
	}
	for _, p := range o.Proposals {
		for _, run := range p.Runs {
			if !p.Draft && offersFor(run, s.c.Access, person, run.Plan != nil, now).Approve {
				o.Mine = append(o.Mine, run)
			}
		}
	}
	if o.Frozen, err = s.frozen(ctx, now); err != nil {
		return err
	}
	if o.Broken, err = s.c.Store.AuditEntries(ctx, plumbline.AuditFilter{Action: plumbline.AuditBreakGlass, Since: now.Add(-brokenSince), Newest: true}); err != nil {
		return err
	}
	if s.c.Forges != nil {
		o.Forges = s.c.Forges()
	}
	return s.show(w, who, "overview", view{Title: "Overview", Section: "/", Body: o})
}

// frozen lists the environments in which a freeze is in force.
func (s *Server) frozen(ctx context.Context, now time.Time) ([]frozen, error) {
	set, err := s.c.Store.Freezes(ctx, "", "", now)
	if err != nil {
		return nil, err
	}
	var out []frozen
	for _, repo := range s.c.Repositories {
		for _, e := range repo.Environments {
			c := plumbline.Calendar{Windows: e.Calendar.Windows, Freezes: slices.Clone(e.Calendar.Freezes)}
			for _, f := range set {
				if f.Repository == e.Repository && f.Environment == e.Name {
					c.Freezes = append(c.Freezes, f.Freeze)
				}
			}
			// Windows alone make nobody frozen; with a freeze they say when it opens after it.
			if _, _, closed := (plumbline.Calendar{Freezes: c.Freezes}).Closed(now); closed {
				why, _, _ := c.Closed(now)
				out = append(out, frozen{e, why})
			}
		}
	}
	return out, nil
}

// runList is the body of the listing of runs.
type runList struct {
	Runs    []plumbline.Run
	Filters []filter
	Narrow  []string // what the listing is narrowed to, in words
	Older   string   // address of the next page; "" none
}

// filter is a listing that people often want.
type filter struct {
	Name, Query string
	On          bool
}

var runFilters = []filter{
	{Name: "all"},
	{Name: "awaiting approval", Query: "state=awaiting"},
	{Name: "under way", Query: "state=queued,planning,approved,applying"},
	{Name: "went wrong", Query: "state=failed,interrupted,rejected,expired"},
	{Name: "proposals", Query: "kind=proposal"},
	{Name: "deploys", Query: "kind=deploy,destroy"},
	{Name: "drift checks", Query: "kind=drift"},
}

func (s *Server) runsPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	q := r.URL.Query()
	f, err := runFilter(q)
	if err != nil {
		return err
	}
	list := runList{}
	if list.Runs, err = s.c.Store.Runs(r.Context(), f); err != nil {
		return err
	}
	for _, f := range runFilters {
		want, _ := url.ParseQuery(f.Query)
		f.On = q.Get("state") == want.Get("state") && q.Get("kind") == want.Get("kind")
		for _, keep := range []string{"repository", "environment", "stack", "mr", "deployment"} {
			if v := q.Get(keep); v != "" {
				want.Set(keep, v)
			}
		}
		f.Query = want.Encode()
		list.Filters = append(list.Filters, f)
	}
	for _, k := range []string{"repository", "environment", "stack", "mr", "deployment"} {
		if v := q.Get(k); v != "" {
			list.Narrow = append(list.Narrow, k+" "+v)
		}
	}
	if len(list.Runs) == f.Limit {
		q.Set("before", list.Runs[len(list.Runs)-1].ID.String())
		list.Older = "/runs?" + q.Encode()
	}
	return s.show(w, who, "runs", view{Title: "Runs", Section: "/runs", Body: list})
}

// mrList is the body of the listing of merge requests.
type mrList struct {
	State     plumbline.MRState
	Proposals []proposal
}

func (s *Server) mergeRequestsPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	state, err := mrState(r.URL.Query())
	if err != nil {
		return err
	}
	list, err := s.proposals(r.Context(), "", state)
	if err != nil {
		return err
	}
	return s.show(w, who, "mergerequests", view{Title: "Merge requests", Section: "/merge-requests", Body: mrList{state, list}})
}

// mrDetail is the body of a merge request's page.
type mrDetail struct {
	proposal
	Rows []mrRow
}

// mrRow is one stack that a merge request touches.
type mrRow struct {
	plumbline.Run
	After   string // what happens after the merge
	Approve bool   // the person's yes would count after it
}

func (s *Server) mergeRequestPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	repo, err := s.repository(r.PathValue("repo"))
	if err != nil {
		return err
	}
	m, err := s.c.Store.MergeRequest(r.Context(), repo.Name, r.PathValue("id"))
	if err != nil {
		return err
	}
	d := mrDetail{}
	if d.proposal, err = s.proposal(r.Context(), m); err != nil {
		return err
	}
	set, err := s.c.Store.Freezes(r.Context(), repo.Name, "", s.c.Now())
	if err != nil {
		return err
	}
	for _, run := range d.Runs {
		e, _ := repo.Environment(run.Stack.Environment)
		row := mrRow{Run: run, After: afterMerge(run.Frozen(set), e, s.c.Now())}
		row.Approve = offersFor(run, s.c.Access, who.person(s.c.Access), run.Plan != nil, s.c.Now()).Approve
		d.Rows = append(d.Rows, row)
	}
	return s.show(w, who, "mergerequest", view{Title: plain(m.Name() + " " + m.Title), Section: "/merge-requests", Body: d})
}

// afterMerge says what becomes of a plan after the merge, if it is the same then.
func afterMerge(r plumbline.Run, e plumbline.Environment, now time.Time) string {
	switch {
	case r.State == plumbline.StateClean:
		return "nothing to do"
	case r.State != plumbline.StatePlanned:
		return ""
	case e.Apply == plumbline.ApplyNever:
		return "is not applied by Plumbline"
	case denied(r):
		return "is never applied: a policy forbids it"
	}
	r.Policy.Apply = e.Apply
	unmet, text := r.Unmet(now), ""
	switch {
	case len(unmet) > 0:
		for i := range unmet {
			unmet[i].Why = "" // the run's page says it
			text += ", and " + unmet[i].String()
		}
		text = "waits for " + strings.TrimPrefix(text, ", and ")
	case e.Apply == plumbline.ApplyAutomatic && len(r.Approvals) == 0:
		text = "applies automatically"
	default:
		text = "is agreed to"
	}
	if why, _, closed := r.Policy.Calendar.Closed(now); closed {
		text += "; " + e.Name + " is " + why
	}
	return text
}

func (s *Server) debugPage(w http.ResponseWriter, _ *http.Request, who Identity) error {
	return s.show(w, who, "debug", view{Title: "Loops", Section: "/debug", Body: s.c.Debug()})
}
