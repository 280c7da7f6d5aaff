package plain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// page is the Git note of one commit: Plumbline's notes, its statuses, then whatever people wrote.
//
//	Plumbline note 3fa9c1d20b7e of 2 lines:
//	<!-- plumbline:infra!env/production/net -->
//	### Plumbline · 1 stack · 1 to add
//
//	Statuses:
//	success  plumbline  1 stack planned.  (https://plumbline.example.com/runs/7)
//
//	Seen and liked. -- Ann
//
// The count of lines delimits a note, whose text is anybody's: it may contain all the other forms. People's text comes
// last, so that nothing of ours follows a line of theirs that looks like ours.
type page struct {
	notes    []note
	statuses []plumbline.CommitStatus // sorted by context, each once
	text     string                   // other people's
}

type note struct {
	key  string // of the marker
	body string
}

// keyOf names a marker in a page.
func keyOf(marker string) string {
	sum := sha256.Sum256([]byte(marker))
	return hex.EncodeToString(sum[:6])
}

const statusHead = "Statuses:"

var noteHead = regexp.MustCompile(`^Plumbline note ([0-9a-f]{12}) of ([1-9][0-9]{0,6}) lines:$`)

// parsePage reads a Git note, whoever wrote it. What is not in the form above is people's text.
func parsePage(b []byte) page {
	var p page
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	var text []string // pieces
	from := 0         // where the piece begins that is being read
	piece := func(to int) {
		if t := trimBlank(lines[from:to]); t != "" {
			text = append(text, t)
		}
	}
	for i := 0; i < len(lines); {
		if m := noteHead.FindStringSubmatch(lines[i]); m != nil {
			n, _ := strconv.Atoi(m[2]) // digits, by the expression
			if i+1+n <= len(lines) {
				piece(i)
				p.notes = append(p.notes, note{m[1], strings.Join(lines[i+1:i+1+n], "\n")})
				i += 1 + n
				from = i
				continue
			}
		}
		if lines[i] == statusHead {
			n := 1
			for ; i+n < len(lines); n++ {
				s, ok := parseStatus(lines[i+n])
				if !ok {
					break
				}
				p.setStatus(s)
			}
			if n > 1 {
				piece(i)
				i += n
				from = i
				continue
			}
		}
		i++
	}
	piece(len(lines))
	p.text = strings.Join(text, "\n\n")
	return p
}

// trimBlank joins lines without the blank ones around them.
func trimBlank(lines []string) string {
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1]) == "" {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

// format is the Git note, nil when the page is empty.
func (p *page) format() []byte {
	var parts []string
	for _, n := range p.notes {
		parts = append(parts, fmt.Sprintf("Plumbline note %s of %d lines:\n%s", n.key, strings.Count(n.body, "\n")+1, n.body))
	}
	if len(p.statuses) > 0 {
		block := []string{statusHead}
		for _, s := range p.statuses {
			block = append(block, formatStatus(s))
		}
		parts = append(parts, strings.Join(block, "\n"))
	}
	if p.text != "" {
		parts = append(parts, p.text)
	}
	if len(parts) == 0 {
		return nil
	}
	return []byte(strings.Join(parts, "\n\n") + "\n")
}

func (p *page) setNote(key, body string) {
	i := slices.IndexFunc(p.notes, func(n note) bool { return n.key == key })
	p.dropNote(key)
	if i < 0 {
		i = len(p.notes)
	}
	p.notes = slices.Insert(p.notes, i, note{key, body})
}

func (p *page) dropNote(key string) {
	p.notes = slices.DeleteFunc(p.notes, func(n note) bool { return n.key == key })
}

func (p *page) setStatus(s plumbline.CommitStatus) {
	i, ok := slices.BinarySearchFunc(p.statuses, s, func(a, b plumbline.CommitStatus) int { return strings.Compare(a.Context, b.Context) })
	if ok {
		p.statuses[i] = s
	} else {
		p.statuses = slices.Insert(p.statuses, i, s)
	}
}

const (
	gap    = "  "
	absent = "-" // stands for no description
)

var states = []plumbline.Told{plumbline.ToldPending, plumbline.ToldSuccess, plumbline.ToldFailure, plumbline.ToldError}

// clean leaves single spaces only, so that two delimit.
func clean(s plumbline.CommitStatus) plumbline.CommitStatus {
	s.Context, s.Description = single(s.Context), single(s.Description)
	s.URL = strings.ReplaceAll(single(s.URL), " ", "%20")
	if s.Description == absent {
		s.Description = ""
	}
	return s
}

func single(s string) string { return strings.Join(strings.Fields(s), " ") }

// sayable reports whether a clean status can be written as a line that is read back as the same.
func sayable(s plumbline.CommitStatus) bool {
	return s.Context != "" && slices.Contains(states, s.State)
}

func formatStatus(s plumbline.CommitStatus) string {
	line := string(s.State) + gap + s.Context + gap
	if s.Description == "" {
		line += absent
	} else {
		line += s.Description
	}
	if s.URL != "" {
		line += gap + "(" + s.URL + ")"
	}
	return line
}

func parseStatus(line string) (plumbline.CommitStatus, bool) {
	f := strings.Split(line, gap)
	if len(f) != 3 && len(f) != 4 {
		return plumbline.CommitStatus{}, false
	}
	s := plumbline.CommitStatus{State: plumbline.Told(f[0]), Context: f[1], Description: f[2]}
	if f[2] == absent {
		s.Description = ""
	}
	if len(f) == 4 {
		url := strings.TrimSuffix(strings.TrimPrefix(f[3], "("), ")")
		if url == "" || f[3] != "("+url+")" {
			return plumbline.CommitStatus{}, false
		}
		s.URL = url
	}
	return s, sayable(s) && clean(s) == s && formatStatus(s) == line
}
