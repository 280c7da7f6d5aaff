package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// How long a message is at most: far above what anybody reads, below what every medium takes.
const (
	maxTitle = 200 // characters
	maxLine  = 500
	maxLines = 40
)

// plain is text of one line without anything that would be more than a character somewhere: control characters, among them those that break
// lines, and what makes text read in another order than it is written.
func plain(s string, most int) string {
	var b strings.Builder
	n, blank := 0, true
	for _, c := range s { // what is not UTF-8 comes as unicode.ReplacementChar
		switch {
		case unicode.IsSpace(c) || unicode.IsControl(c):
			if blank {
				continue
			}
			c, blank = ' ', true
		case unicode.Is(unicode.Cf, c) || unicode.Is(unicode.Zl, c) || unicode.Is(unicode.Zp, c) || unicode.Is(unicode.Co, c):
			continue
		default:
			blank = false
		}
		if n == most {
			return strings.TrimSpace(b.String()) + "…"
		}
		b.WriteRune(c)
		n++
	}
	return strings.TrimSpace(b.String())
}

// bounded is a message whose text every sink can take as it is, but for what is special in its medium.
func bounded(m plumbline.Message) plumbline.Message {
	m.Title = plain(m.Title, maxTitle)
	lines := m.Lines
	m.Lines = nil
	for _, l := range lines {
		if l = plain(l, maxLine); l == "" {
			continue
		}
		if len(m.Lines) == maxLines {
			m.Lines = append(m.Lines, "…")
			break
		}
		m.Lines = append(m.Lines, l)
	}
	m.Link = plain(m.Link, 1000)
	return m
}

// within is a message whose text takes no more bytes of JSON than that, each line with as many around it. What is left out is said.
func within(m plumbline.Message, most, around int) plumbline.Message {
	size := func(s string) int {
		b, err := json.Marshal(s)
		if err != nil { // of a string: never
			return most
		}
		return len(b) + around
	}
	left := most - size(m.Title) - size(m.Link) - around
	for i, l := range m.Lines {
		if left -= size(l); left < 0 {
			m.Lines = append(m.Lines[:i:i], fmt.Sprintf("… and %d more lines", len(m.Lines)-i))
			break
		}
	}
	return m
}
