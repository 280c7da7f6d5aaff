package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// overview is the body of the first page.
type overview struct {
	Places    []place
	Waiting   []plumbline.Run // for a person: what went wrong first, then what awaits approval
	Proposals []proposal
	Forges    []Forge
}

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	var o overview
	var err error
	if o.Places, err = s.places(r.Context()); err != nil {
		return err
	}
	for _, p := range o.Places {
		for _, run := range p.Runs {
			if slices.Contains(p.Status.Failed, run.ID) {
				o.Waiting = append(o.Waiting, run)
			}
		}
	}
	awaiting, err := s.c.Store.Runs(r.Context(), plumbline.RunFilter{States: []plumbline.State{plumbline.StateAwaiting}})
	if err != nil {
		return err
	}
	o.Waiting = append(o.Waiting, awaiting...)
	if o.Proposals, err = s.proposals(r.Context(), "", plumbline.MROpen); err != nil {
		return err
	}
	if s.c.Forges != nil {
		o.Forges = s.c.Forges()
	}
	return s.show(w, who, "overview", view{Title: "Overview", Section: "/", Body: o})
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

// runDetail is the body of a run's page.
type runDetail struct {
	Run         plumbline.Run
	Explanation string
	Plan        *plumbline.Plan // nil: none, or not kept any more
	Changes     []plumbline.Change
	Hidden      int // changes that are left out of the page
	Red         []plumbline.Change
	Missing     int
	Log         string
	LogCut      bool // the log is longer
	Events      []plumbline.Event
	Siblings    []plumbline.Run
	Imports     string // import blocks for what the state may not know
	Offers      offers
}

// offers are the decisions that a run's state allows.
type offers struct{ Approve, Reject, Retry, Cancel bool }

func offersFor(r plumbline.Run) offers {
	var o offers
	switch r.State {
	case plumbline.StateAwaiting:
		o = offers{Approve: true, Reject: true, Cancel: true}
	case plumbline.StateFailed, plumbline.StateInterrupted, plumbline.StateRejected, plumbline.StateExpired, plumbline.StateCanceled:
		o.Retry = true
	default:
		o.Cancel = !r.State.Ended() && r.Wish == plumbline.WishNone
	}
	return o
}

const (
	// pageChanges is how many changes a page shows unless it is asked for all.
	pageChanges = 1000
	// pageLog is how much of a log's end a page shows, in bytes.
	pageLog = 64 << 10
)

func (s *Server) runPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	ctx := r.Context()
	run, err := s.run(ctx, r.PathValue("run"))
	if err != nil {
		return err
	}
	d := runDetail{Run: run, Offers: offersFor(run), Imports: s.runJSON(run).ImportBlocks()}
	siblings, err := s.siblings(ctx, run)
	if err != nil {
		return err
	}
	d.Explanation = plumbline.Explain(run, siblings, s.c.Now())
	if run.State == plumbline.StateAwaiting {
		d.Missing = run.Missing(s.c.Now())
	}
	for _, sib := range siblings {
		if sib.ID != run.ID {
			d.Siblings = append(d.Siblings, sib)
		}
	}
	if d.Plan, err = s.plan(ctx, run); err != nil {
		return err
	}
	if d.Plan != nil {
		d.Changes = slices.Clone(d.Plan.Changes)
		slices.SortStableFunc(d.Changes, func(a, b plumbline.Change) int { return cmp.Compare(b.Action.Danger(), a.Action.Danger()) })
		for _, c := range d.Changes {
			if c.Action.Destroys() {
				d.Red = append(d.Red, c)
			}
		}
		if r.URL.Query().Get("all") == "" && len(d.Changes) > pageChanges {
			// The least dangerous are at the end.
			d.Hidden = len(d.Changes) - pageChanges
			d.Changes = d.Changes[:pageChanges]
		}
	} else if d.Offers.Approve {
		// Nobody approves what they cannot see.
		d.Offers.Approve = false
	}
	if d.Events, err = s.c.Store.Events(ctx, run.ID); err != nil {
		return err
	}
	end := tail{most: pageLog}
	logged, err := s.c.Logs.WriteLog(ctx, &end, run, 0)
	if err != nil {
		return err
	}
	d.Log, d.LogCut = end.String()
	v := view{Title: "Run " + run.ID.String() + " · " + run.Stack.Environment + " · " + run.Stack.Name, Section: "/runs", Body: d}
	if !run.State.Ended() {
		v.Live, v.LiveVersion = path("runs", run.ID.String())+"/events", liveVersion(run, logged)
	}
	return s.show(w, who, "run", v)
}

func (s *Server) approveForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	run, err := s.approve(r.Context(), who, r.PathValue("run"), r.PostForm.Get("digest"))
	return s.back(w, r, run, err)
}

func (s *Server) rejectForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	run, err := s.reject(r.Context(), who, r.PathValue("run"), r.PostForm.Get("reason"))
	return s.back(w, r, run, err)
}

func (s *Server) retryForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	run, err := s.retry(r.Context(), who, r.PathValue("run"))
	return s.back(w, r, run, err)
}

func (s *Server) cancelForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	run, err := s.cancel(r.Context(), who, r.PathValue("run"))
	return s.back(w, r, run, err)
}

// back leads to the run's page after a decision.
func (s *Server) back(w http.ResponseWriter, r *http.Request, run plumbline.Run, err error) error {
	if err != nil {
		return err
	}
	http.Redirect(w, r, path("runs", run.ID.String()), http.StatusSeeOther)
	return nil
}

// environmentDetail is the body of an environment's page.
type environmentDetail struct {
	place
	History []deployment
	Asked   []plumbline.Request // what waits for the watcher
}

func (s *Server) environmentPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	e, err := s.environment(r.PathValue("repo"), r.PathValue("env"))
	if err != nil {
		return err
	}
	d := environmentDetail{}
	if d.place, err = s.place(r.Context(), e); err != nil {
		return err
	}
	if d.History, err = s.history(r.Context(), e, 10); err != nil {
		return err
	}
	if d.Asked, err = s.requests(r.Context(), e); err != nil {
		return err
	}
	return s.show(w, who, "environment", view{Title: e.Name + " · " + e.Repository, Section: "/", Body: d})
}

func (s *Server) deployForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.askForm(w, r, who, plumbline.RequestDeploy)
}

func (s *Server) driftCheckForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	return s.askForm(w, r, who, plumbline.RequestDrift)
}

func (s *Server) askForm(w http.ResponseWriter, r *http.Request, who Identity, kind plumbline.RequestKind) error {
	if err := parseForm(r); err != nil {
		return err
	}
	repo, env := r.PathValue("repo"), r.PathValue("env")
	if _, err := s.ask(r.Context(), who, kind, repo, env, r.PostForm["stack"]); err != nil {
		return err
	}
	http.Redirect(w, r, path("environments", repo, env), http.StatusSeeOther)
	return nil
}

func (s *Server) driftPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	f, err := driftFilter(r.URL.Query())
	if err != nil {
		return err
	}
	d, err := s.drift(r.Context(), f)
	if err != nil {
		return err
	}
	return s.show(w, who, "drift", view{Title: "Drift", Section: "/drift", Body: d})
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
	After string // what happens after the merge
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
	for _, run := range d.Runs {
		e, _ := repo.Environment(run.Stack.Environment)
		d.Rows = append(d.Rows, mrRow{run, afterMerge(run, e)})
	}
	return s.show(w, who, "mergerequest", view{Title: m.Name() + " " + m.Title, Section: "/merge-requests", Body: d})
}

func afterMerge(r plumbline.Run, e plumbline.Environment) string {
	switch {
	case r.State == plumbline.StateClean:
		return "nothing to do"
	case r.State != plumbline.StatePlanned:
		return ""
	case e.Apply == plumbline.ApplyAutomatic:
		return "applies automatically"
	case e.Apply == plumbline.ApplyNever:
		return "is not applied by Plumbline"
	}
	if n := max(e.Approval.Count, 1); n > 1 {
		return "waits for " + counted(n, "approval")
	}
	return "waits for an approval"
}

func (s *Server) debugPage(w http.ResponseWriter, _ *http.Request, who Identity) error {
	return s.show(w, who, "debug", view{Title: "Loops", Section: "/debug", Body: s.c.Debug()})
}
