package driftreport

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// What says in a few words how an object differs: "outside: gateway a → b".
func What(d plumbline.Difference) string {
	text := d.Kind.Words()
	switch d.Kind {
	case plumbline.DriftDeleted:
		text = "outside: deleted"
	case plumbline.DriftChanged:
		text = "outside"
	case plumbline.DriftSelf:
		text = "by itself"
	}
	if d.Origin == plumbline.FromState {
		text += ", by another Terraform"
	}
	if d.Kind != plumbline.DriftChanged && d.Kind != plumbline.DriftSelf {
		return text
	}
	const most = 2
	var parts []string
	for i, a := range d.Attributes {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(d.Attributes)-most))
			break
		}
		parts = append(parts, brief(a.Path, 80)+" "+value(a.Before, a.Sensitive)+" → "+value(a.After, a.Sensitive))
	}
	if len(parts) == 0 {
		return text
	}
	return text + ": " + strings.Join(parts, ", ")
}

func value(v string, sensitive bool) string {
	switch {
	case sensitive:
		return plumbline.Masked
	case v == "":
		return "nothing"
	}
	return brief(v, 40)
}

// brief is a text in one line that says what is in it, cut where it is longer than so many letters.
func brief(s string, most int) string {
	if len(s) > 4*most { // what is cut off anyway need not be looked at
		s = strings.ToValidUTF8(s[:4*most], "") + "…"
	}
	s = diff.Clean(strings.Join(strings.Fields(s), " "))
	if utf8.RuneCountInString(s) > most {
		return string([]rune(s)[:most]) + "…"
	}
	return s
}

// Numbers are how many drift items there are, by what people should know of them.
type Numbers struct {
	Open         int       `json:"open"`         // that people should do something about, those acknowledged included
	Acknowledged int       `json:"acknowledged"` // of them
	Flapping     int       `json:"flapping"`     // of them
	Ignored      int       `json:"ignored"`
	IgnoredUntil time.Time `json:"ignored_until,omitzero"` // when the first of the rules ends; left out: none does
	Noise        int       `json:"noise"`
	Resolved     int       `json:"resolved"` // in the time that was asked for
	Mean         float64   `json:"mean_seconds_to_repair"`
	Median       float64   `json:"median_seconds_to_repair"`
}

// Count counts items, and those resolved since a time.
func Count(items []plumbline.DriftItem, now, since time.Time) Numbers {
	var n Numbers
	var took []time.Duration
	for _, it := range items {
		switch it.State(now) {
		case plumbline.DriftAcknowledged:
			n.Acknowledged++
			fallthrough
		case plumbline.DriftOpen:
			n.Open++
			if it.Flapping {
				n.Flapping++
			}
		case plumbline.DriftIgnored:
			n.Ignored++
			if u := it.Ignored.Until; !u.IsZero() && (n.IgnoredUntil.IsZero() || u.Before(n.IgnoredUntil)) {
				n.IgnoredUntil = u
			}
		case plumbline.DriftNoise:
			n.Noise++
		case plumbline.DriftResolved:
			if !it.Resolved.Before(since) {
				n.Resolved++
				if wanted(it) {
					took = append(took, it.Resolved.Sub(it.Opened))
				}
			}
		}
	}
	n.Mean, n.Median = mean(took), median(took)
	return n
}

// wanted reports whether anybody wanted a resolved item repaired: how long something was ignored is no time to repair.
func wanted(it plumbline.DriftItem) bool {
	return it.Noise == "" && (it.Ignored == nil || !it.Ignored.Until.IsZero() && !it.Resolved.Before(it.Ignored.Until))
}

// String is "2 open, 1 ignored until 2027-03-01, 3 resolved this week (mean time to repair 5 h)"; in is the time in words.
func (n Numbers) String(in string) string {
	text := fmt.Sprintf("%d open", n.Open)
	if n.Acknowledged > 0 {
		text += fmt.Sprintf(" (%d acknowledged)", n.Acknowledged)
	}
	if n.Open == 0 {
		text = "Nothing is changed outside Git, as far as was last seen"
	}
	var rest []string
	if n.Ignored > 0 {
		until := ""
		if !n.IgnoredUntil.IsZero() {
			until = " until " + day(n.IgnoredUntil)
			if n.Ignored > 1 {
				until = ", the first" + until
			}
		}
		rest = append(rest, fmt.Sprintf("%d ignored%s", n.Ignored, until))
	}
	if n.Noise > 0 {
		rest = append(rest, fmt.Sprintf("%d noise", n.Noise))
	}
	if n.Resolved > 0 {
		t := fmt.Sprintf("%d resolved %s", n.Resolved, in)
		if n.Mean > 0 {
			t += " (mean time to repair " + lasting(n.Mean) + ")"
		}
		rest = append(rest, t)
	}
	if len(rest) == 0 {
		return text
	}
	if n.Open == 0 {
		return text + "; " + strings.Join(rest, ", ")
	}
	return text + ", " + strings.Join(rest, ", ")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// lasting is a number of seconds as people say it.
func lasting(seconds float64) string {
	return plumbline.Ago(time.Duration(seconds * float64(time.Second)))
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
