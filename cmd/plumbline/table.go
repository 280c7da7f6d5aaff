package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

// table prints aligned columns. It is not text/tabwriter because that counts colours as width.
type table struct {
	head  []string
	rows  [][]string
	paint map[int]func(string) string // by column: the escape sequences around a cell, "" none
}

func newTable(head ...string) *table {
	return &table{head: head, paint: map[int]func(string) string{}}
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = legible(strings.ReplaceAll(fmt.Sprint(c), "\n", " "))
	}
	t.rows = append(t.rows, row)
}

// state says that a column holds states, which have colours.
func (t *table) state(column int) { t.paint[column] = colourOf }

// gap is what stands between two columns.
const gap = "   "

func (t *table) write(o *options) error {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	line := func(row []string, head bool) {
		var l strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			switch paint := t.paint[i]; {
			case !o.Color:
			case head:
				c = paintText("2", c)
			case paint != nil:
				c = paintText(paint(c), c)
			}
			l.WriteString(c + pad)
			if i < len(row)-1 {
				l.WriteString(gap)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	line(t.head, true)
	for _, row := range t.rows {
		line(row, false)
	}
	_, err := io.WriteString(o.Out, b.String())
	return err
}

func paintText(code, s string) string {
	if code == "" || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// colourOf is the colour of a state: red what is wrong, yellow what waits, blue what moves, green what is well.
func colourOf(state string) string {
	switch state {
	case "failed", "interrupted", "drifted", "open", "degraded", "cannot be read", "check failed", "removed, not destroyed":
		return "31"
	case "awaiting", "awaiting approval", "acknowledged", "waiting", "rejected", "expired", "not yet applied", "never applied here":
		return "33"
	case "queued", "planning", "approved", "applying", "deploying", "stopping", "being checked":
		return "36"
	case "applied", "clean", "resolved", "in sync", "no changes":
		return "32"
	}
	return ""
}

// state colours one state in running text.
func (o *options) state(s string) string {
	if !o.Color {
		return legible(s)
	}
	return paintText(colourOf(s), legible(s))
}

// legible takes away what could steer a terminal: names, titles and reasons are written by others.
func legible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return -1
		}
		return r
	}, s)
}

// legibleWriter is legible for a stream. A rune that is cut in two by a chunk's end waits for its other half.
type legibleWriter struct {
	w    io.Writer
	rest []byte
}

func (p *legibleWriter) Write(b []byte) (int, error) {
	all := slices.Concat(p.rest, b)
	end := len(all)
	for back := 1; back < utf8.UTFMax && back <= len(all); back++ {
		if i := len(all) - back; utf8.RuneStart(all[i]) {
			if !utf8.FullRune(all[i:]) {
				end = i
			}
			break
		}
	}
	p.rest = append([]byte(nil), all[end:]...)
	if _, err := io.WriteString(p.w, legible(string(all[:end]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ago is how long something has been so.
func (o *options) ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return plumbline.Ago(o.Now().Sub(t))
}

// whatOf is what a run would do or did.
func whatOf(r web.RunJSON) string {
	switch {
	case r.State == plumbline.StateDrifted:
		return counted(r.DriftOpen, "difference")
	case r.Plan != nil:
		return minus(r.Plan.Text)
	case r.Failure != nil:
		return string(r.Failure.Kind) + " error"
	}
	return ""
}

// minus is a plan's counts with a minus sign as wide as the plus.
func minus(s string) string { return strings.ReplaceAll(s, "-", "−") }

// byOf is on whose word a run is where it is.
func byOf(r web.RunJSON) string {
	var by []string
	for _, a := range r.Approvals {
		if r.Plan != nil && a.Digest == r.Plan.Digest {
			by = append(by, a.By)
		}
	}
	cause, _, _ := strings.Cut(r.Because, ": ")
	switch {
	case len(by) > 0:
		return "approved by " + strings.Join(by, ", ")
	case r.Kind == plumbline.KindProposal:
		name := plumbline.MergeRequest{ID: r.MR}.Name()
		if r.By == "" { // plain Git names no author before the commit was fetched
			return name
		}
		return name + " by " + r.By
	case r.Kind == plumbline.KindDrift && r.By == plumbline.BySchedule:
		return "drift check"
	case r.Kind == plumbline.KindDrift:
		return "drift check, " + cause
	}
	return cause
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// runTable lists runs; the environment and the repository are columns when they are not the same for all.
func runTable(o *options, runs []web.RunJSON) error {
	envs, repos := map[string]bool{}, map[string]bool{}
	for _, r := range runs {
		envs[r.Repository+"/"+r.Environment], repos[r.Repository] = true, true
	}
	head := []string{"RUN"}
	if len(repos) > 1 {
		head = append(head, "REPOSITORY")
	}
	if len(envs) > 1 {
		head = append(head, "ENVIRONMENT")
	}
	t := newTable(append(head, "STACK", "COMMIT", "STATE", "FOR", "WHAT", "BY")...)
	t.state(len(head) + 2)
	for _, r := range runs {
		row := []any{r.ID}
		if len(repos) > 1 {
			row = append(row, r.Repository)
		}
		if len(envs) > 1 {
			row = append(row, r.Environment)
		}
		t.add(append(row, r.Stack, plumbline.Short(r.Commit), r.Label, o.ago(r.Since), whatOf(r), byOf(r))...)
	}
	return t.write(o)
}
