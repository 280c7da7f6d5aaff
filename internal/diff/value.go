package diff

import (
	"strings"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// value is how a leaf is shown: in text, or with lines between text and end.
type value struct {
	text string
	body []Line // depths count from the leaf's
	end  string
	note string
}

// value lays out one leaf.
func (l *layout) value(lf leaf, s side) value {
	if l.mode == modeDelete && lf.absentAfter() {
		return value{text: oneLine(lf.before, maxDeleteText)}
	}
	if lf.unknown {
		if lf.absentBefore() {
			return value{text: knownAfterApply}
		}
		return value{text: oneLine(lf.before, maxDeleteText) + " -> " + knownAfterApply}
	}
	if lf.before == plumbline.Masked && lf.after == plumbline.Masked {
		return value{text: plumbline.Masked, note: "changed"}
	}
	if lf.before == lf.after && lf.before != "" {
		return value{text: oneLine(lf.before, maxText), note: secretNote}
	}
	before, beforeIsText := unquote(lf.before)
	after, afterIsText := unquote(lf.after)
	switch {
	case beforeIsText && afterIsText:
		return l.texts(before, after)
	case afterIsText && lf.absentBefore():
		return l.newText(after, "+")
	case beforeIsText && lf.absentAfter():
		v := l.newText(before, "-")
		if v.body == nil && s != goes && !lf.exact {
			v.text += " -> null"
		}
		return v
	case lf.absentBefore():
		return value{text: oneLine(lf.after, maxText)}
	case lf.absentAfter() && (s == goes || lf.exact):
		return value{text: oneLine(lf.before, maxText)}
	case sameDocument(lf.before, lf.after):
		return value{note: sameNote(lf.before, lf.after)}
	default:
		return value{text: oneLine(lf.before, maxText) + " -> " + oneLine(lf.after, maxText)}
	}
}

// sameDocument reports whether two values are the same object or array, written in another way.
func sameDocument(before, after string) bool {
	b, a := parseJSON(before), parseJSON(after)
	return before != after && b != nil && a != nil && b.key == a.key
}

// sameNote is the remark on two JSON texts that mean the same. An escape in a string is neither white space nor order.
func sameNote(before, after string) string {
	var count [256]int
	for i := range len(before) {
		count[before[i]]++
	}
	for i := range len(after) {
		count[after[i]]--
	}
	for _, space := range []byte(" \t\r\n") {
		count[space] = 0
	}
	if count != [256]int{} {
		return unlessMasked(escapesNote, before+after)
	}
	return unlessMasked(layoutNote, before+after)
}

// unlessMasked is the remark that only the layout of two texts differs, or what can still be said when parts of them are masked.
func unlessMasked(note, texts string) string {
	if isMasked(texts) {
		return note + ", or what is sensitive"
	}
	return note
}

// oneLine is a value, JSON or not, on one line.
func oneLine(v string, most int) string {
	switch text, ok := unquote(v); {
	case ok:
		return shorten(text, most)
	case v == "":
		return "null"
	}
	if d := parseJSON(v); d.isContainer() && len(v) <= most {
		return Clean(d.spaced())
	}
	return cut(v, most)
}

// texts lays out a string that changes: as the documents that the two are, as lines, or as the part that differs.
func (l *layout) texts(before, after string) value {
	if l.nested < maxNested {
		if v, ok := l.documents(before, after); ok {
			return v
		}
	}
	if hasLines(before) || hasLines(after) {
		return value{text: heredoc, body: lineDiff(before, after), end: heredocEnd}
	}
	return value{text: pair(before, after)}
}

// newText lays out a string that is new or gone.
func (l *layout) newText(s, sign string) value {
	if l.nested < maxNested {
		if d := parseJSON(s); d.isContainer() && len(d.items) > 0 {
			if text := d.spaced(); len(text) <= maxSummary {
				return value{text: "jsonencode(" + Clean(text) + ")"}
			}
			sub := &layout{mode: modeUpdate, nested: l.nested + 1, max: maxNewLines}
			body := []Line(nil)
			if sign == "+" {
				body = sub.document(nil, d)
			} else {
				body = sub.document(d, nil)
			}
			return value{text: "jsonencode(", body: body, end: ")"}
		}
	}
	if hasLines(s) {
		return value{text: heredoc, body: linesOf(s, sign), end: heredocEnd}
	}
	return value{text: shorten(s, maxText)}
}

// Terraform's users know strings of many lines in this form.
const (
	heredoc    = "<<-EOT"
	heredocEnd = "EOT"
)

// hasLines reports whether s has more than one line.
func hasLines(s string) bool {
	return strings.Contains(strings.TrimSuffix(s, "\n"), "\n")
}

// around is how many bytes of what two long strings have in common are shown on either side of what differs.
const around = 24

// pair is two strings of one line: of long ones only where they differ.
func pair(before, after string) string {
	if len(before)+len(after) <= maxText {
		return quote(before) + " -> " + quote(after)
	}
	start, end := common(before, after)
	if start+end < 2*around {
		return shorten(before, maxText/2) + " -> " + shorten(after, maxText/2)
	}
	return middle(before, start, end) + " -> " + middle(after, start, end)
}

// common is the length in bytes of what two strings begin with, and of what they end with, whole runes.
func common(a, b string) (start, end int) {
	most := min(len(a), len(b))
	for start < most && a[start] == b[start] {
		start++
	}
	for start > 0 && (start < len(a) && !utf8.RuneStart(a[start]) || start < len(b) && !utf8.RuneStart(b[start])) {
		start--
	}
	for end < most-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	for end > 0 && !utf8.RuneStart(a[len(a)-end]) {
		end--
	}
	return start, end
}

// middle is s without most of its first start and its last end bytes.
func middle(s string, start, end int) string {
	from, to := start-around, len(s)-end+around
	for from > 0 && !utf8.RuneStart(s[from]) {
		from--
	}
	for to < len(s) && !utf8.RuneStart(s[to]) {
		to++
	}
	from, to = max(from, 0), min(to, len(s))
	part := s[from:to]
	size := ""
	if len(part) > maxText {
		part, to, size = head(part, maxText*3/5), 0, " "+measured(s)
	}
	if from > 0 {
		part = "…" + part
	}
	if to < len(s) {
		part += "…"
	}
	return quote(part) + size
}
