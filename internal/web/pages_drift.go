package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// driftBody is the body of the page of drift.
type driftBody struct {
	Text     string // the numbers in words
	Median   time.Duration
	Filters  []filter
	Narrow   []string     // what it is narrowed to besides, in words
	Groups   []driftGroup // what is open, by cause; what has a cause of its own is in the last one
	Flapping []driftRow
	Ignored  []plumbline.DriftItem
	Noise    []plumbline.DriftItem
	Resolved []plumbline.DriftItem
	Asked    bool // for what is in some state, or has moved since some time
	More     int  // open ones that are not shown
	Rules    []ruleRow
	Expired  int    // of the rules
	Report   string // address of the report of the same
}

// driftGroup are items that have a cause in common; Cause "": those that have none.
type driftGroup struct {
	Cause        string
	Stacks       int
	Environments int
	Rows         []driftRow
}

// driftRow is a drift item with what a page says of it.
type driftRow struct {
	plumbline.DriftItem
	History    []plumbline.DriftEvent
	May        driftOffers
	Form       string
	Alone      bool // the page is about it
	Deployable bool // its environment's stacks are applied by Plumbline
}

// driftOffers are what the person may do about a drift item.
type driftOffers struct{ Acknowledge, Ignore, Deploy bool }

// ruleRow is a rule that hides drift, with its environment.
type ruleRow struct {
	Environment plumbline.Environment
	Rule        plumbline.IgnoreRule
	Expired     bool
	May         bool // the person may lift it
}

// driftShown is how many items a page shows with all that there is to them; an estate in which more has changed needs another look than one by one.
const driftShown = 200

// driftListed is how many rows of what is over, or hidden, a page has.
const driftListed = 100

func (s *Server) driftPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	values := r.URL.Query()
	q, err := s.driftQuery(values)
	if err != nil {
		return err
	}
	d, err := s.drift(r.Context(), q)
	if err != nil {
		return err
	}
	now := s.c.Now()
	b := driftBody{Text: d.Numbers.String(thisWeek), Median: time.Duration(d.Numbers.Median * float64(time.Second)), Report: "/drift/report"}
	b.Filters = s.driftFilters(q)
	if narrow := (url.Values{}); q.Repository+q.Environment+q.Stack != "" {
		for k, v := range map[string]string{"repository": q.Repository, "environment": q.Environment, "stack": q.Stack} {
			if v != "" {
				narrow.Set(k, v)
			}
		}
		b.Report += "?" + narrow.Encode()
	}
	for _, k := range []string{"stack", "state", "since", "cause"} {
		if v := values.Get(k); v != "" {
			b.Narrow = append(b.Narrow, k+" "+plain(v))
		}
	}
	// Narrowed to some states, the page has what was asked for; else everything, each where it belongs.
	list := d.All
	if b.Asked = len(q.States) > 0 || !q.Since.IsZero(); b.Asked {
		list = d.Items
	}
	var open, flapping []plumbline.DriftItem
	for _, it := range list {
		switch state := it.State(now); {
		case state == plumbline.DriftResolved:
			b.Resolved = append(b.Resolved, it)
		case state == plumbline.DriftIgnored:
			b.Ignored = append(b.Ignored, it)
		case state == plumbline.DriftNoise:
			b.Noise = append(b.Noise, it)
		case it.Flapping:
			flapping = append(flapping, it)
		default:
			open = append(open, it)
		}
	}
	slices.SortStableFunc(b.Resolved, func(x, y plumbline.DriftItem) int { return y.Resolved.Compare(x.Resolved) })
	b.Resolved = b.Resolved[:min(len(b.Resolved), driftListed)]
	if b.Groups, err = s.driftGroups(r.Context(), who, open); err != nil {
		return err
	}
	if b.Flapping, err = s.driftRows(r.Context(), who, flapping[:min(len(flapping), driftListed)]); err != nil {
		return err
	}
	shown := len(b.Flapping)
	for _, g := range b.Groups {
		shown += len(g.Rows)
	}
	b.More = len(open) + len(flapping) - shown
	if b.Rules, err = s.ruleRows(r.Context(), who, q.Repository, q.Environment); err != nil {
		return err
	}
	for _, row := range b.Rules {
		if row.Expired {
			b.Expired++
		}
	}
	return s.show(w, who, "drift", view{Title: "Drift", Section: "/drift", Body: b})
}

// driftFilters lead to the drift of each environment.
func (s *Server) driftFilters(q driftQuery) []filter {
	out := []filter{{Name: "all", On: q.Repository == "" && q.Environment == ""}}
	for _, repo := range s.c.Repositories {
		for _, e := range repo.Environments {
			name := e.Name
			if len(s.c.Repositories) > 1 {
				name = e.Repository + " · " + e.Name
			}
			out = append(out, filter{
				Name: name, Query: url.Values{"repository": {e.Repository}, "environment": {e.Name}}.Encode(), On: q.Environment == e.Name && (q.Repository == e.Repository || q.Repository == ""),
			})
		}
	}
	return out
}

// driftGroups puts items that have a cause in common together, what is in most stacks first, and those that have none at the end.
func (s *Server) driftGroups(ctx context.Context, who Identity, items []plumbline.DriftItem) ([]driftGroup, error) {
	type group struct {
		cause  string
		items  []plumbline.DriftItem
		stacks map[plumbline.StackRef]bool
		places map[string]bool
	}
	byCause := map[string]*group{}
	for _, it := range items {
		g := byCause[it.Cause.Key]
		if g == nil {
			g = &group{cause: it.Cause.Text, stacks: map[plumbline.StackRef]bool{}, places: map[string]bool{}}
			byCause[it.Cause.Key] = g
		}
		g.items = append(g.items, it)
		g.stacks[it.Stack] = true
		g.places[it.Stack.Repository+"/"+it.Stack.Environment] = true
	}
	var groups []*group
	alone := &group{}
	for key, g := range byCause {
		if key == "" || len(g.items) == 1 {
			alone.items = append(alone.items, g.items...)
		} else {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(x, y *group) int {
		return cmp.Or(cmp.Compare(len(y.stacks), len(x.stacks)), cmp.Compare(len(y.items), len(x.items)), cmp.Compare(worst(x.items[0]), worst(y.items[0])), strings.Compare(x.cause, y.cause))
	})
	slices.SortFunc(alone.items, func(x, y plumbline.DriftItem) int {
		return cmp.Or(cmp.Compare(worst(x), worst(y)), cmp.Compare(y.ID, x.ID))
	})
	if len(alone.items) > 0 {
		groups = append(groups, alone)
	}
	left := driftShown
	var out []driftGroup
	for i, g := range groups {
		// Every cause shows something, however many items the one before it has.
		n := min(len(g.items), max(1, left/(len(groups)-i)))
		rows, err := s.driftRows(ctx, who, g.items[:n])
		if err != nil {
			return nil, err
		}
		left = max(0, left-n)
		out = append(out, driftGroup{Cause: g.cause, Stacks: len(g.stacks), Environments: len(g.places), Rows: rows})
	}
	return out, nil
}

// worst is what is told first.
func worst(it plumbline.DriftItem) int { return slices.Index(plumbline.DriftKinds, it.Difference.Kind) }

// driftRows adds what a page says of items.
func (s *Server) driftRows(ctx context.Context, who Identity, items []plumbline.DriftItem) ([]driftRow, error) {
	if len(items) == 0 {
		return nil, nil
	}
	ids := make([]int64, len(items))
	for i, it := range items {
		ids[i] = it.ID
	}
	events, err := s.c.Store.DriftHistories(ctx, ids...)
	if err != nil {
		return nil, err
	}
	histories := map[int64][]plumbline.DriftEvent{}
	for _, e := range events {
		histories[e.Item] = append(histories[e.Item], e)
	}
	form := ""
	if who.session != nil {
		form = who.session.form
	}
	out := make([]driftRow, 0, len(items))
	for _, it := range items {
		place := it.Stack.Repository + "/" + it.Stack.Environment
		may := func(a Action) bool { return it.Open() && authorize(s.c.Access, who, a, place) == nil }
		e, err := s.environment(it.Stack.Repository, it.Stack.Environment)
		row := driftRow{DriftItem: it, History: histories[it.ID], Form: form, Deployable: err == nil && e.Apply != plumbline.ApplyNever}
		// What is no longer configured can be looked at, and nothing else.
		if err == nil {
			row.May = driftOffers{
				Acknowledge: may(plumbline.MayAcknowledgeDrift) && it.State(s.c.Now()) == plumbline.DriftOpen, Ignore: may(plumbline.MayIgnoreDrift) && it.State(s.c.Now()) != plumbline.DriftIgnored,
				Deploy: may(ActionDeploy) && row.Deployable,
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// ruleRows are the rules of the environments that a page is about.
func (s *Server) ruleRows(ctx context.Context, who Identity, repo, env string) ([]ruleRow, error) {
	var out []ruleRow
	for _, r := range s.c.Repositories {
		for _, e := range r.Environments {
			if repo != "" && e.Repository != repo || env != "" && e.Name != env {
				continue
			}
			rules, err := s.rules(ctx, e)
			if err != nil {
				return nil, err
			}
			may := authorize(s.c.Access, who, plumbline.MayIgnoreDrift, e.Key()) == nil
			for _, rule := range rules {
				out = append(out, ruleRow{Environment: e, Rule: rule, Expired: !rule.InForce(s.c.Now()), May: may && rule.ID != 0})
			}
		}
	}
	return out, nil
}

// driftDetail is the body of a drift item's page.
type driftDetail struct {
	Row   driftRow
	State plumbline.DriftState
	Cause string // address of what has the same cause; "": it has none
}

func (s *Server) driftItemPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	it, err := s.driftItem(r.Context(), r.PathValue("item"))
	if err != nil {
		return err
	}
	rows, err := s.driftRows(r.Context(), who, []plumbline.DriftItem{it})
	if err != nil {
		return err
	}
	d := driftDetail{Row: rows[0], State: it.State(s.c.Now())}
	d.Row.Alone = true
	if it.Cause.Key != "" {
		d.Cause = "/drift?" + url.Values{"cause": {it.Cause.Key}}.Encode()
	}
	return s.show(w, who, "driftitem", view{Title: plain(it.Difference.Address) + " · drift", Section: "/drift", Body: d})
}

func (s *Server) driftReportPage(w http.ResponseWriter, r *http.Request, _ Identity) error {
	report, err := s.driftReport(r.Context(), r.URL.Query())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := driftreport.HTML(&b, report, driftreport.PageOptions{Items: "/drift/", Home: "/drift", Version: s.c.Version}); err != nil {
		return err
	}
	// It is the very page that the command line writes to a file, with its style in it, which the policy of the other pages would not let in.
	w.Header().Set("Content-Security-Policy", driftreport.PagePolicy()+"; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err = w.Write(b.Bytes())
	return gone(err)
}

func (s *Server) acknowledgeForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	it, err := s.acknowledge(r.Context(), who, r.PathValue("item"), r.PostForm.Get("note"))
	if err != nil {
		return err
	}
	return toItem(w, r, it.ID)
}

// pathKey names an attribute in a form: paths have keys of maps in them, which others have written.
func pathKey(path string) string {
	h := sha256.Sum256([]byte(path))
	return hex.EncodeToString(h[:8])
}

// ignoreForm sets a rule about the very object that the form stands at.
func (s *Server) ignoreForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	it, err := s.driftItem(r.Context(), r.PathValue("item"))
	if err != nil {
		return err
	}
	until, err := formTime(r.PostForm.Get("until"))
	if err != nil {
		return err
	}
	attribute := ""
	if key := r.PostForm.Get("attribute"); key != "" {
		i := slices.IndexFunc(it.Difference.Attributes, func(a plumbline.Attribute) bool { return pathKey(a.Path) == key })
		if i < 0 {
			return refuse(plumbline.ErrConflict, "Load the page again.", "The attribute that was meant is not among those that differ any more.")
		}
		attribute = it.Difference.Attributes[i].Path
	}
	want := IgnoreJSON{Address: it.Difference.Address, Attribute: attribute, Owner: r.PostForm.Get("owner"), Reason: r.PostForm.Get("reason"), Until: until}
	if r.PostForm.Get("where") != "everywhere" {
		want.Stack = it.Stack.Name
	}
	if _, err := s.ignore(r.Context(), who, it.Stack.Repository, it.Stack.Environment, want); err != nil {
		return err
	}
	return toItem(w, r, it.ID)
}

func toItem(w http.ResponseWriter, r *http.Request, id int64) error {
	http.Redirect(w, r, path("drift", strconv.FormatInt(id, 10)), http.StatusSeeOther)
	return nil
}

func (s *Server) liftForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	repo, env := r.PathValue("repo"), r.PathValue("env")
	if err := s.lift(r.Context(), who, repo, env, r.PathValue("rule")); err != nil {
		return err
	}
	http.Redirect(w, r, "/drift?"+url.Values{"repository": {repo}, "environment": {env}}.Encode()+"#rules", http.StatusSeeOther)
	return nil
}
