package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// once checks the name of a window or a freeze, by which people are told of it.
func (r *reader) once(b *body, environment, repository string) {
	r.name(b, "a "+b.kind())
	r.declare(fmt.Sprintf("%s of environment %q of repository %q", b.what, environment, repository), b.label, "give one another name")
}

func (r *reader) window(b *body) plumbline.Window {
	allow := b.required("allow", `"0 9 * * MON-FRI"`)
	length := b.required("for", `"8h"`)
	zone := b.text("timezone")
	b.done()
	w := plumbline.Window{Name: b.labels[0], Allow: allow.value, Timezone: zone.value}
	before := len(r.problems)
	if strings.HasPrefix(allow.value, "@every") {
		r.problem(allow.at, "allow %s in %s says how often, not when; write for example \"0 9 * * MON-FRI\"", allow, b.what)
	} else if allow.ok {
		r.schedule("allow", allow)
	}
	if length.ok {
		var err error
		w.For, err = time.ParseDuration(length.value)
		switch {
		case err != nil:
			r.problem(length.at, "for %s in %s is not a duration; write hours, minutes and seconds: \"8h\", \"1h30m\"", length, b.what)
		case w.For < time.Minute:
			r.problem(length.at, "for %s in %s is too short to apply anything; the least is \"1m\"", length, b.what)
		case w.For > 366*24*time.Hour:
			r.problem(length.at, "for %s in %s is longer than a year; without windows, changes are applied at all times", length, b.what)
		}
	}
	_ = r.zone(b, zone)
	if len(r.problems) > before || !allow.ok || !length.ok {
		return w
	}
	// What the checks above let through although the domain could not use it: it would keep every change back.
	if err := w.Check(); err != nil {
		r.problem(b.at, "%s cannot be used: %s", b.what, text{secret: allow.secret || length.secret || zone.secret}.reason(err.Error(), "it would never open"))
	}
	return w
}

// zone is where a timezone's clocks are; UTC where none is set, or it is not known.
func (r *reader) zone(b *body, t text) *time.Location {
	if !t.ok {
		return time.UTC
	}
	zone, err := time.LoadLocation(t.value)
	if err != nil || t.value == "" || t.value == "Local" {
		r.problem(t.at, "timezone %s in %s is not known; write a name of the IANA database: \"Europe/London\", \"UTC\"", t, b.what)
		return time.UTC
	}
	return zone
}

func (r *reader) freeze(b *body) plumbline.Freeze {
	from := b.required("from", `"2026-12-20"`)
	until := b.required("until", `"2027-01-03"`)
	reason := b.required("reason", `"nobody is there to look after it"`)
	named := b.text("timezone")
	b.done()
	zone := r.zone(b, named)
	f := plumbline.Freeze{Name: b.labels[0], Reason: reason.value}
	var dates [2]bool
	f.From, dates[0] = r.moment(b, "from", from, zone)
	f.Until, dates[1] = r.moment(b, "until", until, zone)
	switch {
	case f.From.IsZero() || f.Until.IsZero():
	case !f.From.Before(f.Until):
		r.problem(until.at, "until %s in %s is not after from; a date is the first instant of its day, so that a freeze of one day ends on the next", until, b.what)
	case named.ok && !dates[0] && !dates[1]:
		r.problem(named.at, "timezone in %s has no effect on times with an offset of their own; take it out", b.what)
	}
	if reason.ok && strings.TrimSpace(reason.value) == "" {
		r.problem(reason.at, "reason in %s is blank; people who are kept from applying read it", b.what)
	}
	return f
}

// moment reads a date, which stands for the first instant of that day in a zone, or a time with its offset. It is zero where it cannot be read.
func (r *reader) moment(b *body, name string, t text, zone *time.Location) (at time.Time, date bool) {
	if !t.ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, t.value)
	if err != nil {
		date = true
		at, err = time.ParseInLocation(time.DateOnly, t.value, zone)
	}
	// The zero time would mean that the freeze has no end.
	if err != nil || at.IsZero() {
		r.problem(t.at, "%s %s in %s is neither a date nor a time with its offset; write \"2026-12-20\" or \"2026-12-20T18:00:00Z\"", name, t, b.what)
		return time.Time{}, false
	}
	// Where clocks jump at midnight, Go may come out an hour before the day.
	if _, jump := at.ZoneBounds(); date && at.Format(time.DateOnly) != t.value {
		at = jump
	}
	return at.UTC(), date
}
