package plumbline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// DifferenceKind says what is different between Git and reality.
type DifferenceKind string

// The kinds of differences. Two plans at one commit tell them apart; tfplan.Classify has the table.
const (
	DriftChanged   DifferenceKind = "changed"   // attributes differ
	DriftDeleted   DifferenceKind = "deleted"   // it is gone
	DriftAppeared  DifferenceKind = "appeared"  // it is in the state, and Git never asked for it
	DriftForgotten DifferenceKind = "forgotten" // Git asks for it, and somebody took it out of the state
	DriftSelf      DifferenceKind = "itself"    // the configuration asks for something else as time goes by: timestamp(), a data source, another provider
	DriftPending   DifferenceKind = "pending"   // Git asks for it and it was never applied: no drift, and never an item
)

// DriftKinds lists those that become items, what is worst first.
var DriftKinds = []DifferenceKind{DriftDeleted, DriftForgotten, DriftAppeared, DriftChanged, DriftSelf}

// DriftOrigin is where somebody changed something outside Git.
type DriftOrigin string

// The origins of a difference.
const (
	FromReality DriftOrigin = ""      // the object itself
	FromState   DriftOrigin = "state" // the state: somebody applied, imported or removed with a Terraform of their own
)

// Difference is one object that is not as Git asks for.
type Difference struct {
	Address    string
	Deposed    string `json:",omitempty"`
	Type       string
	Provider   string `json:",omitempty"` // its source address
	Kind       DifferenceKind
	Origin     DriftOrigin       `json:",omitempty"`
	Action     Action            `json:",omitempty"` // what an apply would do about it; "": not known
	Attributes []Attribute       // Before: as Git has it, After: as found
	Noise      string            `json:",omitempty"` // why it means nothing, such as "the same rules in another order"; "": it does
	Known      map[string]string `json:",omitempty"` // what tells the object to its cloud, such as id and arn; nothing sensitive
}

// Counts reports whether it means that reality has drifted, before rules are asked: Git's own wishes are no drift, nor is what means the same.
func (d Difference) Counts() bool { return d.Kind != DriftPending && d.Noise == "" }

// Key tells the object among those of its stack.
func (d Difference) Key() string {
	if d.Deposed == "" {
		return d.Address
	}
	return d.Address + " deposed " + d.Deposed
}

// Fingerprint identifies the very same difference in later checks: stack, object, attribute paths and a hash of the values found. What the
// configuration asks for by itself is another value each time, so there the paths alone count.
func (d Difference) Fingerprint(stack StackRef) string {
	h := sha256.New()
	put := func(s string) { fmt.Fprintf(h, "%d:%s", len(s), s) }
	put(stack.String())
	put(d.Key())
	put(string(d.Kind))
	put(string(d.Origin))
	for _, a := range d.Attributes {
		put(a.Path)
		if d.Kind != DriftSelf {
			put(a.After)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// without returns the difference less the attributes at these paths.
func (d Difference) without(paths []string) Difference {
	if len(paths) > 0 {
		d.Attributes = slices.DeleteFunc(slices.Clone(d.Attributes), func(a Attribute) bool { return slices.Contains(paths, a.Path) })
	}
	return d
}

// DriftState is where a drift item is in its life.
type DriftState string

// The states of a drift item.
const (
	DriftOpen         DriftState = "open"
	DriftAcknowledged DriftState = "acknowledged" // somebody knows, and nobody else need be told
	DriftIgnored      DriftState = "ignored"      // until a rule ends
	DriftNoise        DriftState = "noise"        // an apply has no effect on it: the provider makes it up
	DriftResolved     DriftState = "resolved"
)

// DriftItem is one object that differs, with a life of its own. It is the same item while the object stays different, whatever the values.
type DriftItem struct {
	ID          int64
	Stack       StackRef
	Fingerprint string // of what is shown of it
	Difference  Difference
	Hidden      []string `json:",omitempty"` // attributes that rules ignore
	Opened      time.Time
	Changed     time.Time `json:",omitzero"` // when the values were last others
	Back        time.Time `json:",omitzero"` // when a rule last let go of it, or of a part of it
	LastSeen    time.Time
	Seen        int
	Resolved    time.Time // zero: it is still there, as far as is known
	How         string    `json:",omitempty"` // how it was resolved
	FirstRun    RunID
	LastRun     RunID

	Acknowledged *Acknowledgement `json:",omitempty"`
	Ignored      *Ignored         `json:",omitempty"` // all that is different is ignored
	Noise        string           `json:",omitempty"` // why it is taken for noise
	Survived     int              `json:",omitempty"` // applies since it was first seen that left it as it was
	Returned     int              `json:",omitempty"` // times the very same was resolved and came back
	Openings     []time.Time      `json:",omitempty"` // when the object became different, the last ones, this time included
	Flapping     bool             `json:",omitempty"` // it comes and goes: people are told once, not each time
	Actor        *Actor           `json:",omitempty"` // who changed it; nil: nobody has asked yet
	Cause        Cause            `json:",omitzero"`
	Remedy       *Remedy          `json:",omitempty"` // what is being done, or was done last
	Events       int              `json:",omitempty"` // how many there are
}

// Acknowledgement is that somebody has taken note of a drift item.
type Acknowledgement struct {
	By   string
	At   time.Time
	Note string `json:",omitempty"`
}

// Ignored is why a drift item is kept from people, and until when.
type Ignored struct {
	Rule   int64     `json:",omitempty"` // of those set on a page; 0: of the configuration
	Owner  string    `json:",omitempty"`
	Reason string    `json:",omitempty"`
	Until  time.Time `json:",omitzero"` // zero: for good
}

// Actor is who changed something outside Git, as far as anybody knows.
type Actor struct {
	Who     string    `json:",omitempty"` // a user, or a role with its session
	From    string    `json:",omitempty"` // an address
	How     string    `json:",omitempty"` // "the console", "the command line", "Terraform"
	At      time.Time `json:",omitzero"`
	Event   string    `json:",omitempty"` // what was called, such as AuthorizeSecurityGroupIngress
	Source  string    `json:",omitempty"` // who told, such as CloudTrail
	Unknown string    `json:",omitempty"` // why it is not known; "": it is
}

// String is "arn:…:user/ops-k from the console", or "unknown".
func (a *Actor) String() string {
	if a == nil || a.Unknown != "" || a.Who == "" {
		return "unknown"
	}
	if a.How == "" {
		return a.Who
	}
	return a.Who + " from " + a.How
}

// Cause is what drift items of several stacks may have in common.
type Cause struct {
	Key  string // the same for all that have it
	Text string
}

// State is where the item is in its life.
func (d DriftItem) State(now time.Time) DriftState {
	switch {
	case !d.Resolved.IsZero():
		return DriftResolved
	case d.Noise != "":
		return DriftNoise
	case d.Ignored != nil && (d.Ignored.Until.IsZero() || now.Before(d.Ignored.Until)):
		return DriftIgnored
	case d.Acknowledged != nil:
		return DriftAcknowledged
	}
	return DriftOpen
}

// Open reports whether the difference is still there as far as is known, whatever people or rules say of it.
func (d DriftItem) Open() bool { return d.Resolved.IsZero() }

// Counts reports whether the item is a difference that people should do something about: neither resolved nor ignored nor noise.
func (d DriftItem) Counts(now time.Time) bool {
	s := d.State(now)
	return s == DriftOpen || s == DriftAcknowledged
}

// Shown is the difference less what rules ignore of it.
func (d DriftItem) Shown() Difference {
	if d.Ignored != nil {
		return d.Difference
	}
	return d.Difference.without(d.Hidden)
}

// DriftEvent is one line of a drift item's history.
type DriftEvent struct {
	Item int64
	At   time.Time
	What DriftEventKind
	Who  string // a person, "schedule", "" a check
	Door Door   // by which the person came; it is in the audit log alone
	Text string
}

// DriftEventKind is what happened to a drift item.
type DriftEventKind string

// What happens to a drift item.
const (
	EventOpened       DriftEventKind = "opened"
	EventChanged      DriftEventKind = "changed" // other values than before
	EventAcknowledged DriftEventKind = "acknowledged"
	EventIgnored      DriftEventKind = "ignored"
	EventExpired      DriftEventKind = "expired" // the rule that ignored it has ended
	EventNoise        DriftEventKind = "noise"
	EventFlapping     DriftEventKind = "flapping"
	EventAttributed   DriftEventKind = "attributed"
	EventRemedy       DriftEventKind = "remedy"
	EventResolved     DriftEventKind = "resolved"
)

// news reports whether people should hear of it.
func (k DriftEventKind) news() bool {
	switch k {
	case EventOpened, EventChanged, EventExpired, EventFlapping, EventResolved:
		return true
	}
	return false
}

// DriftLook is what a check of one stack found.
type DriftLook struct {
	Stack     StackRef
	Run       RunID
	At        time.Time
	Found     []Difference
	Rules     []IgnoreRule
	Applied   time.Time // when the stack was applied last; zero: never, or nobody knows
	AppliedBy RunID
	Causes    map[string]Cause // by provider, for what came with another version of it

	// What was not found is not there any more, unless the check could not tell.
	Undecided bool // it could not tell what was written to the state from elsewhere, nor what is asked for anew, from what was never applied
	Partial   bool // it could not tell anything: the configuration cannot be planned
}

// cannotTell reports whether an item that was not found may still be there.
func (l DriftLook) cannotTell(it DriftItem) bool {
	return l.Partial || l.Undecided && (it.Difference.Origin == FromState || it.Difference.Kind == DriftSelf)
}

// DriftWrite is an item as it is to be written, with what happened to it.
type DriftWrite struct {
	Item   DriftItem
	Events []DriftEvent
	untold bool // what happened between two checks is news with the second: only checks are told of outside the forge
}

func (w *DriftWrite) tell(at time.Time, what DriftEventKind, text string) {
	w.Events = append(w.Events, DriftEvent{Item: w.Item.ID, At: at, What: what, Text: text})
}

// news reports whether people should hear of what happened: not of what is ignored, noise, or comes and goes.
func (w *DriftWrite) news(was DriftState, now time.Time) bool {
	is := w.Item.State(now)
	quiet := func(s DriftState) bool { return s == DriftIgnored || s == DriftNoise }
	if quiet(is) || is == DriftResolved && quiet(was) {
		return quiet(is) != quiet(was) && was != "" // that it has become quiet is news to those who were told of it
	}
	return w.untold || slices.ContainsFunc(w.Events, func(e DriftEvent) bool {
		return e.What.news() && (!w.Item.Flapping || e.What == EventFlapping || e.What == EventExpired)
	})
}

const (
	// An object that became different so many times within the span comes and goes.
	flappingTimes = 4
	flappingSpan  = 7 * 24 * time.Hour
	// A difference that so many applies left as it was is the provider's.
	noiseAfter = 2
	openings   = 20 // that an item remembers
)

// ReconcileDrift compares what is known of a stack with what a check found. Items are those of the stack that are not resolved, and of each object
// the one that was resolved last. It returns what is to be written, and whether any of it is news: a second identical check makes no noise.
func ReconcileDrift(items []DriftItem, look DriftLook) (write []DriftWrite, news bool) {
	open, last := map[string]DriftItem{}, map[string]DriftItem{}
	var twice []DriftItem // of an object that has another: once, items were of values, and did not tell deposed objects apart
	for _, it := range items {
		key := it.Difference.Key()
		if was, ok := open[key]; ok && it.Open() {
			twice, open[key] = append(twice, was), it
		} else if it.Open() {
			open[key] = it
		} else if was, ok := last[key]; !ok || it.Resolved.After(was.Resolved) {
			last[key] = it
		}
	}
	found := map[string]bool{}
	for _, d := range look.Found {
		key := d.Key()
		if d.Kind == DriftPending || found[key] {
			continue
		}
		known, ok := open[key]
		if !ok && d.Noise != "" {
			continue // it never meant anything
		}
		found[key] = true
		var w DriftWrite
		was := DriftState("")
		if ok {
			was = known.State(look.At)
			w = look.again(known, d)
		} else {
			w = look.open(d, last[key])
		}
		write, news = append(write, w), news || w.news(was, look.At)
	}
	var gone []DriftItem
	for key, it := range open {
		if !found[key] && !look.cannotTell(it) {
			gone = append(gone, it)
		}
	}
	sort.Slice(gone, func(i, j int) bool { return gone[i].ID < gone[j].ID })
	for _, it := range gone {
		w := look.resolve(it)
		write, news = append(write, w), news || w.news(it.State(look.At), look.At)
	}
	for _, it := range twice {
		w := DriftWrite{Item: it}
		w.Item.Resolved, w.Item.LastRun, w.Item.How = look.At, look.Run, fmt.Sprintf("it is the same as item %d", open[it.Difference.Key()].ID)
		w.tell(look.At, EventResolved, w.Item.How)
		write = append(write, w)
	}
	return write, news
}

// open begins the life of an item. Earlier is the one that the same object had before; zero: none.
func (l DriftLook) open(d Difference, earlier DriftItem) DriftWrite {
	w := DriftWrite{Item: DriftItem{Stack: l.Stack, Difference: d, Opened: l.At, LastSeen: l.At, Seen: 1, FirstRun: l.Run, LastRun: l.Run}}
	it := &w.Item
	it.Cause = l.cause(d)
	l.ignore(&w, nil)
	for _, at := range earlier.Openings {
		if l.At.Sub(at) < flappingSpan && len(it.Openings) < openings {
			it.Openings = append(it.Openings, at)
		}
	}
	it.Openings = append(it.Openings, l.At)
	if earlier.Fingerprint == it.Fingerprint {
		it.Returned, it.Remedy = earlier.Returned+1, earlier.Remedy
	}
	text := ""
	if it.Returned > 0 {
		text = fmt.Sprintf("for the %s time", ordinal(it.Returned+1))
	}
	ignored := w.Events
	w.Events = nil
	w.tell(l.At, EventOpened, text)
	w.Events = append(w.Events, ignored...)
	if len(it.Openings) >= flappingTimes {
		it.Flapping = true
		if !earlier.Flapping {
			w.tell(l.At, EventFlapping, fmt.Sprintf("it has come and gone %d times within a week", len(it.Openings)))
		}
	}
	return w
}

// again is an item whose object is still different.
func (l DriftLook) again(it DriftItem, d Difference) DriftWrite {
	was, applied := it, !l.Applied.IsZero() && l.Applied.After(it.LastSeen)
	it.Difference, it.LastSeen, it.LastRun = d, l.At, l.Run
	it.Seen++
	w := DriftWrite{Item: it}
	if len(was.Openings) == 0 {
		// It was written when items had no history, and nobody was told of it.
		w.Item.Openings, w.Item.Cause = []time.Time{was.Opened}, l.cause(d)
		w.tell(was.Opened, EventOpened, "")
	}
	l.ignore(&w, &was)
	if was.Back.After(was.LastSeen) {
		w.Item.Back, w.untold = l.At, true
	}
	// What was known is held against what is found by the rules of today: that they hide more or less than before changes no value.
	known := was
	known.Ignored, known.Hidden = w.Item.Ignored, w.Item.Hidden
	switch {
	case w.Item.Fingerprint != known.Shown().Fingerprint(it.Stack) && was.Fingerprint != "":
		w.Item.Changed, w.Item.Survived, w.Item.Noise, w.Item.Acknowledged, w.Item.Actor = l.At, 0, "", nil, nil
		w.Item.Cause = l.cause(d)
		w.Item.forgive()
		if was.Difference.Kind != d.Kind {
			w.Item.Flapping = false // what came and went was something else
		}
		w.tell(l.At, EventChanged, "")
		if d.Noise != "" {
			w.Item.Noise = d.Noise
			w.tell(l.At, EventNoise, d.Noise)
		}
	case applied && w.Item.Noise == "" && w.Item.tries() == 0: // else the circuit breaker counts: it may be somebody who is quicker than the checks
		w.Item.Survived++
		if w.Item.Survived >= noiseAfter {
			w.Item.Noise = fmt.Sprintf("%d applies had no effect on it", w.Item.Survived)
			w.tell(l.At, EventNoise, w.Item.Noise)
		}
	case d.Noise != "" && w.Item.Noise == "":
		w.Item.Noise = d.Noise
		w.tell(l.At, EventNoise, d.Noise)
	}
	return w
}

func (l DriftLook) resolve(it DriftItem) DriftWrite {
	w := DriftWrite{Item: it}
	w.Item.Resolved, w.Item.LastRun, w.Item.How = l.At, l.Run, "reality is again as Git asks for"
	if !l.Applied.IsZero() && l.Applied.After(it.LastSeen) {
		w.Item.How = "applied"
		if l.AppliedBy != 0 {
			w.Item.How = "applied by run " + l.AppliedBy.String()
		}
	}
	w.tell(l.At, EventResolved, w.Item.How)
	return w
}

// ignore holds the item against the rules, and finds its fingerprint. before is the item as it was known; nil: it is new.
func (l DriftLook) ignore(w *DriftWrite, before *DriftItem) {
	it := &w.Item
	var was *Ignored
	if before != nil {
		was = before.Ignored
	}
	it.Ignored, it.Hidden = ignored(it.Stack, it.Difference, l.Rules, l.At)
	it.Fingerprint = it.Shown().Fingerprint(it.Stack)
	switch {
	case it.Ignored != nil && (was == nil || *was != *it.Ignored):
		w.tell(l.At, EventIgnored, it.Ignored.String())
	case it.Ignored == nil && was != nil:
		it.Back = l.At
		w.tell(l.At, EventExpired, was.ended(l.At))
	case it.Ignored == nil && before != nil:
		// Whoever knew of the item has not seen these.
		if shown := unhidden(it.Difference, before.Hidden, it.Hidden); len(shown) > 0 {
			it.Acknowledged, it.Back = nil, l.At
			w.tell(l.At, EventExpired, strings.Join(shown, ", ")+": no rule ignores it any more")
		}
	}
}

// unhidden are the paths of a difference that were hidden and are not any more.
func unhidden(d Difference, before, now []string) (paths []string) {
	for _, a := range d.Attributes {
		if slices.Contains(before, a.Path) && !slices.Contains(now, a.Path) && !slices.Contains(paths, a.Path) {
			paths = append(paths, a.Path)
		}
	}
	return paths
}

// Reconsider holds an item that is not resolved against other rules than before. It reports whether anything about it changed, and whether that is news.
func (d DriftItem) Reconsider(rules []IgnoreRule, now time.Time) (w DriftWrite, changed, news bool) {
	// A rule that has run out has not hidden the item since, though its word still stands there.
	was := d.State(now)
	if d.Ignored != nil {
		was = DriftIgnored
	}
	hidden := d.Hidden
	w = DriftWrite{Item: d}
	look := DriftLook{Stack: d.Stack, At: now, Rules: rules}
	look.ignore(&w, &d)
	return w, len(w.Events) > 0 || !slices.Equal(hidden, w.Item.Hidden), w.news(was, now)
}

// Leave ends an item whose stack is not in Git any more: nothing says how its objects should be, and no check looks at them.
func (d DriftItem) Leave(now time.Time) DriftWrite {
	w := DriftWrite{Item: d}
	w.Item.Resolved, w.Item.How = now, "its stack is not in Git any more"
	w.tell(now, EventResolved, w.Item.How)
	return w
}

// Acknowledge notes that somebody knows.
func (d DriftItem) Acknowledge(who Person, note string, now time.Time) (DriftWrite, error) {
	if !d.Open() {
		return DriftWrite{}, refuse(ErrConflict, "", "Drift item %d is resolved.", d.ID)
	}
	w := DriftWrite{Item: d}
	w.Item.Acknowledged = &Acknowledgement{By: who.Name, At: now, Note: note}
	w.Item.forgive()
	w.tell(now, EventAcknowledged, note)
	w.Events[0].Who, w.Events[0].Door = who.Name, who.Door
	return w, nil
}

// Attribute notes who changed it, or why that is not known.
func (d DriftItem) Attribute(a Actor, now time.Time) DriftWrite {
	w := DriftWrite{Item: d}
	w.Item.Actor = &a
	if a.Unknown == "" {
		w.tell(now, EventAttributed, a.String())
	}
	return w
}

// cause is what a difference may have in common with those of other stacks.
func (l DriftLook) cause(d Difference) Cause {
	if c, ok := l.Causes[d.Provider]; ok && d.Kind != DriftDeleted {
		return c
	}
	var paths []string
	for _, a := range d.Attributes {
		if p := index.ReplaceAllString(a.Path, "[]"); !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	c := Cause{Text: fmt.Sprintf("%s %s", d.Type, d.Kind.Words())}
	if d.Kind != DriftDeleted && d.Kind != DriftForgotten && d.Kind != DriftAppeared && len(paths) > 0 {
		c.Text = fmt.Sprintf("%s of %s %s", strings.Join(paths, ", "), d.Type, d.Kind.Words())
	}
	c.Key = c.Text
	return c
}

// ProviderCauses are the causes that differences of providers have whose version is another than it was when the stack was last in sync.
func ProviderCauses(was, is map[string]string) map[string]Cause {
	out := map[string]Cause{}
	for source, version := range is {
		if old := was[source]; old != "" && old != version {
			text := fmt.Sprintf("provider %s %s → %s", source[strings.LastIndex(source, "/")+1:], old, version)
			out[source] = Cause{Key: source + " " + old + " " + version, Text: text}
		}
	}
	return out
}

// index is the place of an element in a list, or a key of a map, which differ from stack to stack.
var index = regexp.MustCompile(`\[[^\]]*\]`)

// Words says what happened, as in "a bucket was …".
func (k DifferenceKind) Words() string {
	switch k {
	case DriftDeleted:
		return "deleted outside"
	case DriftAppeared:
		return "in the state, not in Git"
	case DriftForgotten:
		return "taken out of the state"
	case DriftSelf:
		return "asked for anew by the configuration itself"
	case DriftPending:
		return "not yet applied"
	}
	return "changed outside"
}

func ordinal(n int) string {
	switch n {
	case 1:
		return "first"
	case 2:
		return "second"
	case 3:
		return "third"
	}
	return fmt.Sprintf("%dth", n)
}
