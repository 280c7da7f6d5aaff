// Package driftreport tells what became of drift over some time.
//
// It is as pure as the domain: the page, the API, the command line show one value, made from drift items, their histories, the days on which
// stacks were looked at.
package driftreport

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Input is what a report is made from.
type Input struct {
	Scope     Scope
	Now       time.Time
	Since     time.Time                         // the report begins with this day
	Items     []plumbline.DriftItem             // those not resolved, and those resolved since
	Histories []plumbline.DriftEvent            // of the items; one without is taken to have been all the time as it is now
	Stacks    []plumbline.StackRef              // that are watched
	Days      []plumbline.DriftDay              // on which they were looked at, since
	Rules     map[string][]plumbline.IgnoreRule // by "repository/environment": those of the configuration and those that people have set
}

// Scope is what a report is narrowed to; "" does not narrow.
type Scope struct {
	Repository  string `json:"repository,omitempty"`
	Environment string `json:"environment,omitempty"`
	Stack       string `json:"stack,omitempty"`
}

// Report is what became of drift. docs/drift-report.schema.json describes its JSON.
type Report struct {
	Version  int       `json:"drift_report_version"` // 1
	At       time.Time `json:"at"`
	Since    time.Time `json:"since"` // midnight, UTC
	Scope    Scope     `json:"scope"`
	Totals   Totals    `json:"totals"`
	Trend    []Day     `json:"trend"`
	Heat     []Row     `json:"heat"` // of stacks that differed at some time, what was worst first
	Kinds    []Group   `json:"kinds"`
	Causes   []Group   `json:"causes"`
	Stacks   []Group   `json:"stacks"`
	Oldest   []int64   `json:"oldest"`   // items that people should do something about, the oldest first
	Flapping []int64   `json:"flapping"` // items that come and go
	Ignored  []int64   `json:"ignored"`  // items that rules hide: those whose rule ends soon first
	Expired  []Rule    `json:"expired_rules"`
	Items    []Item    `json:"items"` // all that were there at some time, newest first
}

// Totals are the numbers of all of it.
type Totals struct {
	Numbers
	Opened        int `json:"opened"`         // within the time
	Returned      int `json:"returned"`       // of those open: the very same was there before
	Stacks        int `json:"stacks"`         // that are watched
	StacksDrifted int `json:"stacks_drifted"` // now
	Quiet         int `json:"stacks_quiet"`   // that never differed within the time
	Unseen        int `json:"stacks_unseen"`  // of them, nobody looked at them within the time
	Checks        int `json:"checks"`
	Failed        int `json:"checks_failed"`
}

// Day is one day of the trend.
type Day struct {
	Day      string `json:"day"`
	Open     int    `json:"open"` // at its end
	Opened   int    `json:"opened"`
	Resolved int    `json:"resolved"`
	Checks   int    `json:"checks"`
}

// Row is a stack, day by day.
type Row struct {
	Repository  string `json:"repository"`
	Environment string `json:"environment"`
	Stack       string `json:"stack"`
	Cells       []*int `json:"cells"` // objects that differed at some time of the day; null: nobody looked, nothing is known
}

// Group is what items have in common.
type Group struct {
	Name     string  `json:"name"`
	Open     int     `json:"open"`
	Quiet    int     `json:"quiet"` // ignored, or noise
	Opened   int     `json:"opened"`
	Resolved int     `json:"resolved"`
	Stacks   int     `json:"stacks"`
	Mean     float64 `json:"mean_seconds_to_repair"`
}

// Item is one drift item.
type Item struct {
	ID           int64                    `json:"id"`
	Repository   string                   `json:"repository"`
	Environment  string                   `json:"environment"`
	Stack        string                   `json:"stack"`
	Address      string                   `json:"address"`
	Type         string                   `json:"type"`
	Kind         plumbline.DifferenceKind `json:"kind"`
	State        plumbline.DriftState     `json:"state"`
	What         string                   `json:"what"`
	Cause        string                   `json:"cause,omitempty"`
	Actor        string                   `json:"actor"`
	Opened       time.Time                `json:"opened"`
	LastSeen     time.Time                `json:"last_seen"`
	Seen         int                      `json:"seen"`
	Resolved     time.Time                `json:"resolved,omitzero"`
	How          string                   `json:"how,omitempty"`
	Seconds      float64                  `json:"seconds"` // from when it was opened until it was resolved, or now
	Acknowledged string                   `json:"acknowledged_by,omitempty"`
	Owner        string                   `json:"ignored_owner,omitempty"`
	Reason       string                   `json:"ignored_reason,omitempty"`
	Until        time.Time                `json:"ignored_until,omitzero"`
	Soon         bool                     `json:"ignored_ends_soon,omitempty"`
	Noise        string                   `json:"noise,omitempty"`
	Flapping     bool                     `json:"flapping,omitempty"`
	Openings     int                      `json:"openings,omitempty"` // how often it became different, as far as is remembered
	Returned     int                      `json:"returned,omitempty"`
}

// Rule is one that has run out: what it hid has come back.
type Rule struct {
	ID          int64     `json:"id,omitempty"` // of one set on a page; left out: of the configuration
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Stack       string    `json:"stack,omitempty"`
	Address     string    `json:"address"`
	Attribute   string    `json:"attribute,omitempty"`
	Owner       string    `json:"owner,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Until       time.Time `json:"until"`
}

// soon is how long before its end a rule is told of first.
const soon = 14 * 24 * time.Hour

const oneDay = 24 * time.Hour

// Build makes a report.
func Build(in Input) Report {
	b := builder{in: in, first: in.Since.UTC().Truncate(oneDay), days: 1}
	b.days += int(in.Now.UTC().Truncate(oneDay).Sub(b.first) / oneDay)
	b.days = max(1, b.days)
	b.life = map[int64][]span{}
	histories := map[int64][]plumbline.DriftEvent{}
	for _, e := range in.Histories {
		histories[e.Item] = append(histories[e.Item], e)
	}
	b.items = slices.DeleteFunc(slices.Clone(in.Items), func(it plumbline.DriftItem) bool { return !it.Open() && it.Resolved.Before(b.first) })
	slices.SortFunc(b.items, func(x, y plumbline.DriftItem) int { return cmp.Compare(y.ID, x.ID) })
	for _, it := range b.items {
		b.life[it.ID] = life(it, histories[it.ID], in.Now)
	}
	r := Report{
		Version: 1, At: in.Now.UTC(), Since: b.first, Scope: in.Scope, Trend: b.trend(), Oldest: []int64{}, Flapping: []int64{}, Ignored: []int64{}, Expired: b.expired(), Items: []Item{},
	}
	for _, it := range b.items {
		r.Items = append(r.Items, b.item(it))
	}
	b.totals(&r)
	b.heat(&r)
	b.lists(&r)
	r.Kinds = b.groups(kindOf)
	r.Causes = b.groups(func(it plumbline.DriftItem) string { return it.Cause.Text })
	r.Stacks = b.groups(func(it plumbline.DriftItem) string {
		return it.Stack.Repository + " · " + it.Stack.Environment + " · " + it.Stack.Name
	})
	return r
}

type builder struct {
	in    Input
	first time.Time
	days  int
	items []plumbline.DriftItem
	life  map[int64][]span
}

// span is a time in which an item counted, from an instant until just before another.
type span struct{ from, until time.Time }

// life is when an item counted: neither ignored nor noise.
func life(it plumbline.DriftItem, events []plumbline.DriftEvent, now time.Time) []span {
	end := now
	if !it.Open() {
		end = it.Resolved
	}
	ignored, noise := len(events) == 0 && it.Ignored != nil, len(events) == 0 && it.Noise != ""
	var out []span
	from, on := it.Opened, !ignored && !noise
	turn := func(at time.Time) {
		is := !ignored && !noise
		if on && !is && at.After(from) {
			out = append(out, span{from, at})
		}
		if !on && is {
			from = at
		}
		on = is
	}
	for _, e := range events {
		switch e.What {
		case plumbline.EventIgnored:
			ignored = true
		case plumbline.EventExpired:
			ignored = false
		case plumbline.EventNoise:
			noise = true
		case plumbline.EventChanged:
			noise = false
		}
		turn(e.At)
	}
	// A rule that has run out hides nothing, though nobody has looked since.
	if u := it.Ignored; ignored && u != nil && !u.Until.IsZero() && u.Until.Before(end) {
		ignored = false
		turn(u.Until)
	}
	if on && end.After(from) {
		out = append(out, span{from, end})
	}
	return out
}

func (b *builder) since(t time.Time) bool { return !t.IsZero() && !t.Before(b.first) }

// dayOf is the place of a time's day, below 0 before the first.
func (b *builder) dayOf(t time.Time) int {
	const seconds = int64(oneDay / time.Second)
	n := t.Unix() - b.first.Unix()
	if n < 0 {
		n -= seconds - 1
	}
	return int(n / seconds)
}

// touched are the first and the last day of which a time has a part.
func (b *builder) touched(s span) (first, last int) {
	return max(0, b.dayOf(s.from)), min(b.days-1, b.dayOf(s.until.Add(-1)))
}

func (b *builder) trend() []Day {
	out := make([]Day, b.days)
	more := make([]int, b.days+1) // how many more are open at the end of a day than at that of the day before
	for _, it := range b.items {
		for _, s := range b.life[it.ID] {
			// Of the last day that it touches it is not there to see the end.
			if first, last := b.touched(s); first < last {
				more[first]++
				more[last]--
			}
		}
		if i := b.dayOf(it.Opened); i >= 0 && i < b.days && len(b.life[it.ID]) > 0 {
			out[i].Opened++
		}
		if !it.Open() && wanted(it) {
			if i := b.dayOf(it.Resolved); i >= 0 && i < b.days {
				out[i].Resolved++
			}
		}
	}
	open := 0
	for i := range out {
		open += more[i]
		out[i].Day, out[i].Open = day(b.first.Add(time.Duration(i)*oneDay)), open
	}
	// The day that is not over yet stands as it is now.
	out[b.days-1].Open = 0
	for _, it := range b.items {
		if it.Counts(b.in.Now) {
			out[b.days-1].Open++
		}
	}
	for _, d := range b.in.Days {
		if i := b.dayOf(d.Day); i >= 0 && i < len(out) {
			out[i].Checks += d.Checks
		}
	}
	return out
}

func (b *builder) totals(r *Report) {
	t := &r.Totals
	t.Numbers = Count(b.items, b.in.Now, b.first)
	drifted := map[plumbline.StackRef]bool{}
	for _, it := range b.items {
		if b.since(it.Opened) && len(b.life[it.ID]) > 0 {
			t.Opened++
		}
		if it.Counts(b.in.Now) {
			drifted[it.Stack] = true
			if it.Returned > 0 {
				t.Returned++
			}
		}
	}
	t.Stacks, t.StacksDrifted = len(b.in.Stacks), len(drifted)
	for _, d := range b.in.Days {
		t.Checks += d.Checks
		t.Failed += d.Failed
	}
}

func (b *builder) heat(r *Report) {
	r.Heat = []Row{}
	looked := map[plumbline.StackRef]map[int]bool{}
	for _, d := range b.in.Days {
		if looked[d.Stack] == nil {
			looked[d.Stack] = map[int]bool{}
		}
		if d.Checks > d.Failed {
			looked[d.Stack][b.dayOf(d.Day)] = true
		}
	}
	cells := map[plumbline.StackRef][]int{}
	weight := map[plumbline.StackRef]int{}
	for _, it := range b.items {
		marked := -1 // an item is one object, however often it was hidden on a day
		for _, s := range b.life[it.ID] {
			first, last := b.touched(s)
			if first <= last && cells[it.Stack] == nil {
				cells[it.Stack] = make([]int, b.days)
			}
			for i := max(first, marked+1); i <= last; i++ {
				cells[it.Stack][i]++
				weight[it.Stack]++
				marked = i
			}
		}
	}
	for _, ref := range b.in.Stacks {
		if cells[ref] == nil {
			r.Totals.Quiet++
			if len(looked[ref]) == 0 {
				r.Totals.Unseen++
			}
		}
	}
	refs := make([]plumbline.StackRef, 0, len(cells))
	for ref := range cells {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(x, y plumbline.StackRef) int {
		return cmp.Or(cmp.Compare(weight[y], weight[x]), strings.Compare(x.String(), y.String()))
	})
	for _, ref := range refs {
		row := Row{Repository: ref.Repository, Environment: ref.Environment, Stack: ref.Name, Cells: make([]*int, b.days)}
		for i, n := range cells[ref] {
			if n > 0 || looked[ref][i] {
				row.Cells[i] = &n
			}
		}
		r.Heat = append(r.Heat, row)
	}
}

// lists picks the items that a report names.
func (b *builder) lists(r *Report) {
	var oldest, ignored []plumbline.DriftItem
	for _, it := range b.items {
		switch {
		case it.Counts(b.in.Now):
			oldest = append(oldest, it)
			if it.Flapping {
				r.Flapping = append(r.Flapping, it.ID)
			}
		case it.State(b.in.Now) == plumbline.DriftIgnored:
			ignored = append(ignored, it)
		}
	}
	slices.SortFunc(oldest, func(x, y plumbline.DriftItem) int { return cmp.Or(x.Opened.Compare(y.Opened), cmp.Compare(x.ID, y.ID)) })
	slices.SortFunc(ignored, func(x, y plumbline.DriftItem) int {
		xu, yu := x.Ignored.Until, y.Ignored.Until
		switch {
		case xu.IsZero() != yu.IsZero() && xu.IsZero():
			return 1
		case xu.IsZero() != yu.IsZero():
			return -1
		}
		return cmp.Or(xu.Compare(yu), cmp.Compare(x.ID, y.ID))
	})
	for _, it := range oldest {
		r.Oldest = append(r.Oldest, it.ID)
	}
	for _, it := range ignored {
		r.Ignored = append(r.Ignored, it.ID)
	}
}

func (b *builder) expired() []Rule {
	out := []Rule{}
	for key, rules := range b.in.Rules {
		repo, env, _ := strings.Cut(key, "/")
		for _, r := range rules {
			if !r.InForce(b.in.Now) {
				out = append(out, Rule{
					ID: r.ID, Repository: repo, Environment: env, Stack: r.Stack, Address: r.Address, Attribute: r.Attribute, Owner: r.Owner, Reason: r.Reason, Until: r.Until,
				})
			}
		}
	}
	slices.SortFunc(out, func(x, y Rule) int {
		return cmp.Or(y.Until.Compare(x.Until), strings.Compare(x.Repository+"/"+x.Environment, y.Repository+"/"+y.Environment), strings.Compare(x.Address, y.Address), cmp.Compare(x.ID, y.ID))
	})
	return out
}

func (b *builder) item(it plumbline.DriftItem) Item {
	end := b.in.Now
	if !it.Open() {
		end = it.Resolved
	}
	out := Item{
		ID: it.ID, Repository: it.Stack.Repository, Environment: it.Stack.Environment, Stack: it.Stack.Name, Address: it.Difference.Address, Type: it.Difference.Type,
		Kind: it.Difference.Kind, State: it.State(b.in.Now), What: What(it.Shown()), Cause: it.Cause.Text, Actor: it.Actor.String(),
		Opened: it.Opened, LastSeen: it.LastSeen, Seen: it.Seen, Resolved: it.Resolved, How: it.How, Seconds: end.Sub(it.Opened).Seconds(),
		Noise: it.Noise, Flapping: it.Flapping, Openings: len(it.Openings), Returned: it.Returned,
	}
	if it.Acknowledged != nil {
		out.Acknowledged = it.Acknowledged.By
	}
	if it.Ignored != nil {
		out.Owner, out.Reason, out.Until = it.Ignored.Owner, it.Ignored.Reason, it.Ignored.Until
		out.Soon = out.State == plumbline.DriftIgnored && !out.Until.IsZero() && out.Until.Sub(b.in.Now) <= soon
	}
	return out
}

// kindOf is the class of an item in words.
func kindOf(it plumbline.DriftItem) string {
	if it.Noise != "" {
		return "provider noise"
	}
	return it.Difference.Kind.Words()
}

// groups gathers items by a name; those without are in none.
func (b *builder) groups(name func(plumbline.DriftItem) string) []Group {
	byName := map[string]*Group{}
	stacks := map[string]map[plumbline.StackRef]bool{}
	took := map[string][]time.Duration{}
	for _, it := range b.items {
		n := name(it)
		if n == "" {
			continue
		}
		g := byName[n]
		if g == nil {
			g = &Group{Name: n}
			byName[n], stacks[n] = g, map[plumbline.StackRef]bool{}
		}
		stacks[n][it.Stack] = true
		switch {
		case it.Counts(b.in.Now):
			g.Open++
		case it.Open():
			g.Quiet++
		default:
			g.Resolved++
			if wanted(it) {
				took[n] = append(took[n], it.Resolved.Sub(it.Opened))
			}
		}
		if b.since(it.Opened) {
			g.Opened++
		}
	}
	out := make([]Group, 0, len(byName))
	for n, g := range byName {
		g.Stacks, g.Mean = len(stacks[n]), mean(took[n])
		out = append(out, *g)
	}
	slices.SortFunc(out, func(x, y Group) int {
		return cmp.Or(cmp.Compare(y.Open, x.Open), cmp.Compare(y.Stacks, x.Stacks), cmp.Compare(y.Quiet, x.Quiet), cmp.Compare(y.Opened, x.Opened), strings.Compare(x.Name, y.Name))
	})
	return out
}

func mean(took []time.Duration) float64 {
	if len(took) == 0 {
		return 0
	}
	var sum float64
	for _, d := range took {
		sum += d.Seconds()
	}
	return sum / float64(len(took))
}

func median(took []time.Duration) float64 {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	n := len(took)
	return (took[(n-1)/2].Seconds() + took[n/2].Seconds()) / 2
}
