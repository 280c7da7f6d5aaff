package report

import (
	"strings"
	"unicode"
)

// text escapes a string for running Markdown, also inside a table: it comes out as the very characters it consists of.
func text(s string) string {
	var b strings.Builder
	for _, r := range oneLine(s) {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '@':
			b.WriteString("@\u200b") // no mention: a resource's name must not call people
		case strings.ContainsRune("\\`*_{}[]()#+!|~$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ':':
			b.WriteString("&#58;") // no automatic links, no emoji codes
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cell is text in which `code` that Plumbline itself wrote stays code.
func cell(s string) string {
	parts := strings.Split(s, "`")
	if len(parts)%2 == 0 {
		return text(s)
	}
	for i, p := range parts {
		if i%2 == 0 {
			parts[i] = text(p)
		} else {
			parts[i] = code(p)
		}
	}
	return strings.Join(parts, "")
}

// code is a code span. What could be mistaken for anything else by some renderer (a table ends a code span at a bar, escaped or not) becomes
// escaped text instead.
func code(s string) string {
	s = oneLine(s)
	if s == "" || strings.ContainsAny(s, "|<>`&") {
		return text(s)
	}
	return "`" + s + "`"
}

// fenced is a code block that nothing in s can end.
func fenced(lang, s string) string {
	fence := strings.Repeat("`", max(3, longestRun(s, '`')+1))
	return fence + lang + "\n" + strings.Map(printable, s) + "\n" + fence + "\n"
}

func longestRun(s string, c rune) int {
	best, n := 0, 0
	for _, r := range s {
		if r == c {
			n++
			best = max(best, n)
		} else {
			n = 0
		}
	}
	return best
}

// oneLine folds white space and drops what a terminal or a browser could be fooled with.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return printable(r)
	}, s)
}

func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case unicode.IsControl(r):
		return -1
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f':
		return '\ufffd' // direction marks: what is read must be what is there
	}
	return r
}

// linkTo is a link to one of our pages, or the bare label where there is no public address.
func linkTo(base, label, path string) string {
	if base == "" {
		return label
	}
	return "[" + label + "](" + strings.TrimSuffix(base, "/") + "/" + path + ")"
}
