package diff

import "strings"

// Code is a code span of Markdown in one line. A bar ends a cell of a table, in a code span too, so that bars stand between spans. The text is [Clean].
func Code(s string) string {
	parts := strings.Split(s, "|")
	for i, p := range parts {
		if p != "" {
			parts[i] = Ticked(p)
		}
	}
	return strings.Join(parts, "&#124;")
}

// Ticked is a code span with bars, for where no table is.
func Ticked(s string) string {
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	// One space at each end belongs to the span's marks, unless there is nothing else.
	if strings.Trim(s, " ") != "" && (strings.ContainsAny(s[:1], " `") || strings.ContainsAny(s[len(s)-1:], " `")) {
		s = " " + s + " "
	}
	return ticks + s + ticks
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

// Cell is a cell of CSV that no spreadsheet takes for a formula: names and reasons are written by anybody
// (https://owasp.org/www-community/attacks/CSV_Injection).
func Cell(s string) string {
	if strings.IndexAny(strings.TrimLeft(s, " \u00a0\ufeff"), "=+-@\t\r\n|%\uff1d\uff0b\uff0d\uff20") == 0 {
		return "'" + s
	}
	return s
}
