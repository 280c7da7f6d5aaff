package plumbline

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Window is a time in which changes may be applied.
//
// It is reckoned as people read clocks: 22:00 for 8h ends at 06:00, also in a night in which the clocks change. Both ends follow one rule:
// a time has come at the first instant at which the clocks of the zone show it, or a later one. So
//
//   - a window that opens in the hour that spring leaves out opens when the clocks jump, on the same day;
//   - a window that opens in the hour that comes twice in autumn opens the first time only;
//   - it closes when the clocks show For more than they showed when it opened. In autumn 01:30 for 1h in London ends at 02:30, two hours
//     later; in spring 00:30 for 2h ends at 02:30, one hour later. Where the opening was left out, For counts from what the clocks show
//     after the jump, so that no window is ever empty or shorter on the clock than it says.
//
// Counted in elapsed time, 22:00 for 8h would run until 07:00 after one night of the year, into the hours that the window is there to
// spare. A date that a zone leaves out altogether (Pacific/Apia, 30 December 2011) has no windows: they would open on a day they do not name.
type Window struct {
	Name     string
	Allow    string        // when it opens, in Timezone: a robfig/cron expression of five fields, or @hourly, @daily, @weekly, @monthly, @yearly
	For      time.Duration // how long it stays open on the clocks of Timezone; from a minute to 366 days
	Timezone string        // IANA name; "": UTC
}

// Freeze is a time in which nothing is applied, whatever the windows say.
type Freeze struct {
	Name   string
	From   time.Time // the first instant of it
	Until  time.Time // the first instant after it; zero: until it is lifted
	Reason string
	By     string // who, where a person has frozen it; "": it comes from the configuration
}

// Calendar is when an environment takes changes: in any of its windows, at all times when it has none, and never in a freeze.
type Calendar struct {
	Windows []Window
	Freezes []Freeze
}

// Span is the time from an instant until just before another.
type Span struct {
	From  time.Time
	Until time.Time // zero: no end is known, or none within five years
}

const (
	shortestWindow = time.Minute
	longestWindow  = 366 * 24 * time.Hour

	// No zone is a day ahead of UTC or behind it, and clocks jump by less than a day, or by one that they leave out.
	day = 24 * time.Hour

	// How many windows that touch are joined to one span: five years of daily ones, a day of those by the minute.
	joined = 2000
)

// Check reports a window that cannot be used: an expression that is not one, that names its own zone, or that never comes; an unknown zone;
// a length out of bounds.
func (w Window) Check() error {
	h, err := w.hours()
	if err != nil {
		return err
	}
	// From any fixed time: cron looks five years ahead, which include a 29th of February.
	if h.opens.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return fmt.Errorf("window %q: allow %q never comes: no month that it names has such a day", w.Name, w.Allow)
	}
	return nil
}

// Closed tells whether nothing may be applied now, why in one short phrase for people, and the first instant at which something may be
// again (zero: not before somebody lifts a freeze, or not within five years). The phrase names what is in the way now and when that ends;
// it says so when the environment stays closed after that. Times are in the zone of the window that opens, of the first window
// where a freeze ends, in UTC without windows. A window that Check would refuse never opens, so that a mistake keeps changes back.
func (c Calendar) Closed(now time.Time) (why string, until time.Time, closed bool) {
	hours := c.hours()
	first, closed := c.obstacle(hours, now)
	if !closed {
		return "", time.Time{}, false
	}
	until = c.reopens(hours, now)
	more := ""
	switch {
	case first.end.IsZero() || until.Equal(first.end):
	case until.IsZero():
		more = ", and no opening is known after that"
	default:
		more = ", open from " + moment(until, now)
	}
	return first.what + first.ending(now) + more + first.reason, until, true
}

// Openings returns the next n spans in which changes may be applied, as long as they can be: windows that touch or overlap are one span,
// and freezes cut them. The first begins now if it is open now. There are fewer than n when no more are known.
func (c Calendar) Openings(now time.Time, n int) []Span {
	hours := c.hours()
	var out []Span
	for from := now.In(zoneOf(hours)); len(out) < n; {
		if from = c.reopens(hours, from); from.IsZero() {
			break
		}
		until := c.closes(hours, from)
		out = append(out, Span{From: from, Until: until})
		if until.IsZero() {
			break
		}
		from = until
	}
	return out
}

// obstacle is what keeps changes back at some instant.
type obstacle struct {
	what   string
	end    time.Time // zero: nobody knows
	by     string    // what ends it, where that may be one of several
	never  string    // what is said instead of an end
	reason string    // comes last
}

func (o obstacle) ending(now time.Time) string {
	if o.end.IsZero() {
		return o.never
	}
	return " until " + moment(o.end, now) + o.by
}

// obstacle says what keeps changes back at an instant. Of several freezes it is the one that lasts longest.
func (c Calendar) obstacle(hours []hours, t time.Time) (obstacle, bool) {
	var longest *Freeze
	for i, f := range c.Freezes {
		if f.holds(t) && (longest == nil || !longest.Until.IsZero() && (f.Until.IsZero() || f.Until.After(longest.Until))) {
			longest = &c.Freezes[i]
		}
	}
	if longest != nil {
		return longest.obstacle(zoneOf(hours)), true
	}
	if len(c.Windows) == 0 {
		return obstacle{}, false
	}
	o := obstacle{what: "outside the windows", never: ", which do not open within five years"}
	if len(c.Windows) == 1 {
		o = obstacle{what: "outside the window " + phrase(c.Windows[0].Name), never: ", which does not open within five years"}
	}
	for _, h := range hours {
		if !h.openUntil(t).IsZero() {
			return obstacle{}, false
		}
		if at := h.opening(t); !at.IsZero() && (o.end.IsZero() || at.Before(o.end)) {
			o.end = at
			if len(c.Windows) > 1 {
				o.by = " (" + phrase(h.name) + ")"
			}
		}
	}
	return o, true
}

// reopens is the first instant from t on that is open, or zero. It ends: each round leaves a freeze behind or comes to an opening, which
// only a freeze can close.
func (c Calendar) reopens(hours []hours, t time.Time) time.Time {
	for {
		o, closed := c.obstacle(hours, t)
		if !closed {
			return t
		}
		if o.end.IsZero() {
			return time.Time{}
		}
		t = o.end
	}
}

// closes is the end of the span that is open at t, or zero.
func (c Calendar) closes(hours []hours, t time.Time) time.Time {
	var frozen time.Time
	for _, f := range c.Freezes {
		lasts := f.Until.IsZero() || f.Until.After(f.From)
		if lasts && f.From.After(t) && (frozen.IsZero() || f.From.Before(frozen)) {
			frozen = f.From.In(zoneOf(hours))
		}
	}
	if len(c.Windows) == 0 {
		return frozen
	}
	from := t
	for range joined {
		if t.Sub(from) > 5*366*day {
			break
		}
		var end time.Time
		for _, h := range hours {
			if until := h.openUntil(t); until.After(end) {
				end = until
			}
		}
		switch {
		case end.IsZero():
			return t
		case !frozen.IsZero() && !end.Before(frozen):
			return frozen
		}
		t = end
	}
	return time.Time{}
}

func (f Freeze) holds(t time.Time) bool {
	return !t.Before(f.From) && (f.Until.IsZero() || t.Before(f.Until))
}

func (f Freeze) obstacle(zone *time.Location) obstacle {
	name, reason, by := phrase(f.Name), phrase(f.Reason), phrase(f.By)
	o := obstacle{what: "frozen", never: " until it is lifted"}
	if !f.Until.IsZero() {
		o.end = f.Until.In(zone)
	}
	switch {
	case by != "":
		o.what += " by " + by
		if reason != "" {
			o.reason = ": " + reason
		}
	case name != "" && reason != "":
		o.what += " (" + name + ": " + reason + ")"
	case name+reason != "":
		o.what += " (" + name + reason + ")"
	}
	return o
}

// hours is a window made ready for use. It knows when the window opens by a clock that never jumps, which is written as a time in UTC: what
// the clocks of the zone would show.
type hours struct {
	name   string
	opens  *cron.SpecSchedule
	length time.Duration
	zone   *time.Location
}

func (c Calendar) hours() []hours {
	var out []hours
	for _, w := range c.Windows {
		if h, err := w.hours(); err == nil {
			out = append(out, h)
		}
	}
	return out
}

func zoneOf(hours []hours) *time.Location {
	if len(hours) == 0 {
		return time.UTC
	}
	return hours[0].zone
}

func (w Window) hours() (hours, error) {
	fail := func(format string, args ...any) (hours, error) {
		return hours{}, fmt.Errorf("window %q: %s", w.Name, fmt.Sprintf(format, args...))
	}
	switch {
	// Before the parser sees it: robfig/cron v3.0.1 panics on "TZ=" alone.
	case strings.HasPrefix(w.Allow, "TZ="), strings.HasPrefix(w.Allow, "CRON_TZ="):
		return fail("allow %q has a timezone in it; write it as timezone = \"…\" beside it", w.Allow)
	case strings.HasPrefix(w.Allow, "@every"):
		return fail("allow %q says how often, not when; write for example \"0 9 * * MON-FRI\"", w.Allow)
	case w.For < shortestWindow:
		return fail("it is open for %s; the least is 1m", w.For)
	case w.For > longestWindow:
		return fail("it is open for %s; the most is a year, 8784h", w.For)
	case w.Timezone == "Local":
		return fail("timezone %q is another one on each machine; write for example \"Europe/London\"", w.Timezone)
	}
	zone, err := time.LoadLocation(w.Timezone)
	if err != nil {
		return fail("timezone %q is not known; write an IANA name, for example \"Europe/London\"", w.Timezone)
	}
	schedule, err := cron.ParseStandard(w.Allow)
	if err != nil {
		return fail("allow %q cannot be read: %v; write for example \"0 9 * * MON-FRI\"", w.Allow, err)
	}
	opens, ok := schedule.(*cron.SpecSchedule)
	// The parser takes "," for a field, which then never matches; looking for a match would take millions of steps.
	if !ok || slices.Contains([]uint64{opens.Minute, opens.Hour, opens.Dom, opens.Month, opens.Dow}, 0) {
		return fail("allow %q has an empty field; write for example \"0 9 * * MON-FRI\"", w.Allow)
	}
	return hours{name: w.Name, opens: opens, length: w.For, zone: zone}, nil
}

// opening is when the window opens next after t, or zero.
func (h hours) opening(t time.Time) time.Time {
	next := h.next(furthest(t.In(h.zone)))
	if next.IsZero() {
		return next
	}
	return reached(next, h.zone)
}

// openUntil is when the window that is open at t closes, or zero if it is not open. Whatever opened last closes last, so that one opening
// needs to be found. cron only looks ahead: the search looks back twice as far each time, then halves, in some thirty steps where a window
// of a year has been open for long, in three where it opened just now.
func (h hours) openUntil(t time.Time) time.Time {
	shown := furthest(t.In(h.zone))
	last := func(minutes int) time.Time { return h.next(shown.Add(-time.Duration(minutes) * time.Minute)) }
	past := func(minutes int) bool { opening := last(minutes); return !opening.IsZero() && !opening.After(shown) }
	most := int((h.length + day) / time.Minute)
	if !past(most) {
		return time.Time{}
	}
	near, far := 0, 1
	for far < most && !past(far) {
		near, far = far, 2*far
	}
	opened := last(near + sort.Search(far-near, func(minutes int) bool { return past(near + minutes) }))
	closes := reached(shows(reached(opened, h.zone)).Add(h.length), h.zone)
	if !closes.After(t) {
		return time.Time{}
	}
	return closes
}

// next is what the clocks show when the window opens next, after they have shown a time.
func (h hours) next(shown time.Time) time.Time {
	next := h.opens.Next(shown)
	if next.IsZero() {
		return next
	}
	at := reached(next, h.zone)
	after := shows(at)
	if after.Equal(next) {
		return next
	}
	if before := shows(at.Add(-1)); after.Sub(before) > day { // the clocks jumped over a whole date
		return h.opens.Next(after.Add(-1))
	}
	return next
}

// shows is what the clocks show at an instant in its zone.
func shows(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// furthest is the latest time that clocks have shown up to t. In an hour that comes a second time it is the end of the first.
func furthest(t time.Time) time.Time {
	most := shows(t)
	for start, _ := t.ZoneBounds(); !start.IsZero() && t.Sub(start) < 2*day; {
		before := start.Add(-1)
		if s := shows(before); s.After(most) {
			most = s
		}
		start, _ = before.ZoneBounds()
	}
	return most
}

// reached is the first instant at which the clocks of a zone show a time or a later one: reached(s) is not after t exactly if s is not
// after furthest(t). It walks through the periods between changes of the clocks.
func reached(shown time.Time, zone *time.Location) time.Time {
	from := shown.Add(-day).In(zone)
	for {
		_, offset := from.Zone()
		_, end := from.ZoneBounds()
		if !end.IsZero() && !end.After(from) {
			end = from.Add(day) // Go 1.26 ends the last period of a leap year 365 days after the year began, on the 31st of December
		}
		at := shown.Add(-time.Duration(offset) * time.Second)
		switch {
		case at.Before(from):
			return from // left out: the clocks jumped over it just now
		case end.IsZero() || at.Before(end):
			return at.In(zone)
		}
		from = end
	}
}

// moment is a time in its zone as people write it: with the weekday while that can only be one day, with the date otherwise.
func moment(t, now time.Time) string {
	layout := "2 Jan 2006 15:04 "
	if t.Sub(now) < 6*day {
		layout = "Mon 15:04 "
	}
	zone, _ := t.Zone()
	if strings.HasPrefix(zone, "+") || strings.HasPrefix(zone, "-") {
		zone = "UTC" + zone // a zone without a name of its own, as Australia/Lord_Howe
	}
	return t.Format(layout) + zone
}

// phrase keeps what people have written short, in one line.
func phrase(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	return s
}
