package diff

import (
	"strings"

	"znkr.io/diff"
)

const (
	contextLines = 3
	manyLines    = 5_000 // from here on a worse diff is better than a late one
	noBreakNote  = "no line break at the end"
	spaceNote    = "only white space differs"
)

// lineDiff lays out how a text of many lines changes.
func lineDiff(before, after string) []Line {
	x, y := splitLines(before), splitLines(after)
	options := []diff.Option{diff.Context(contextLines)}
	if len(x)+len(y) > manyLines {
		options = append(options, diff.Fast())
	}
	var out []Line
	at, cutOff := 0, 0
	for _, h := range diff.Hunks(x, y, options...) {
		if cutOff == 0 {
			out = append(out, unchanged(x[at:h.PosX])...)
		}
		at = h.EndX
		gone, asIs := map[string]bool{}, map[string]bool{} // a line that is only moved differs in nothing
		for _, e := range h.Edits {
			if e.Op == diff.Delete {
				gone[spaceless(e.X)], asIs[e.X] = true, true
			}
		}
		for _, e := range h.Edits {
			if len(out) >= maxValueLines {
				cutOff++
				continue
			}
			switch e.Op {
			case diff.Delete:
				out = append(out, textLine("-", e.X))
			case diff.Insert:
				l := textLine("+", e.Y)
				if l.Note == "" && gone[spaceless(e.Y)] && !asIs[e.Y] {
					l.Note = spaceNote
				}
				out = append(out, l)
			default:
				out = append(out, textLine(" ", e.X))
			}
		}
	}
	if cutOff > 0 {
		return append(out, Line{Sign: " ", Depth: 1, Text: "… " + quantity(cutOff, "more line")})
	}
	return append(out, unchanged(x[at:])...)
}

// linesOf lays out a text of many lines that is new or gone.
func linesOf(s, sign string) []Line {
	lines := splitLines(s)
	show := len(lines)
	if show > maxNewLines {
		show = maxNewLines - 1
	}
	out := make([]Line, 0, show+1)
	for _, l := range lines[:show] {
		out = append(out, textLine(sign, l))
	}
	if rest := len(lines) - show; rest > 0 {
		out = append(out, Line{Sign: sign, Depth: 1, Text: "… " + quantity(rest, "more line") + " " + measured(s)})
	}
	return out
}

// splitLines returns the lines of s with their line breaks: a last line without one is another than the same with one.
func splitLines(s string) []string {
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func textLine(sign, s string) Line {
	text, found := strings.CutSuffix(s, "\n")
	l := Line{Sign: sign, Depth: 1, Text: cut(text, maxText)}
	if !found && sign != " " {
		l.Note = noBreakNote
	}
	return l
}

// unchanged stands for lines that are not shown. One line takes no more room than to say that it is left out.
func unchanged(lines []string) []Line {
	switch len(lines) {
	case 0:
		return nil
	case 1:
		return []Line{textLine(" ", lines[0])}
	default:
		return []Line{{Sign: " ", Depth: 1, Text: "… " + quantity(len(lines), "unchanged line")}}
	}
}

// spaceless is a line in which only the words count.
func spaceless(s string) string { return strings.Join(strings.Fields(s), " ") }
