package report

import (
	"fmt"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	// openNames is how many resources each list in the open names. All of them are in the stacks' own sections.
	openNames = 20
	// linkedNames is up to how many names each has a link to its stack's page; in longer lists that is mostly noise.
	linkedNames = 8
)

// names are the pieces in the open that name a change.
type names map[*plumbline.Change]*piece

// lists are the sections in the open: what must not be missed, by name.
func (v voice) lists(parts []part) ([]*section, names) {
	var out []*section
	named := names{}
	for _, l := range []struct {
		will, was string
		pick      func(plumbline.Action) bool
		counted   func(plumbline.Summary) int // how many there are, where only the first names of a plan are kept
	}{
		{"Will be replaced", "Was replaced", plumbline.Action.Replaces, func(s plumbline.Summary) int { return s.Replace }},
		{"Will be destroyed", "Was destroyed", func(a plumbline.Action) bool { return a == plumbline.ActionDelete }, func(s plumbline.Summary) int { return s.Delete }},
		{"Will be forgotten", "Was forgotten", func(a plumbline.Action) bool { return a == plumbline.ActionForget || a == plumbline.ActionForgetCreate }, nil},
		{"Actions that will be run", "Actions that were run", func(a plumbline.Action) bool { return a == plumbline.ActionInvoke }, nil},
	} {
		for _, done := range []bool{false, true} {
			title := l.will
			if done {
				title = l.was
			}
			if s := named.list(v, parts, title, done, l.pick, l.counted); len(s.pieces) > 0 {
				out = append(out, s)
			}
		}
	}
	return out, named
}

func (n names) list(v voice, parts []part, title string, done bool, pick func(plumbline.Action) bool, counted func(plumbline.Summary) int) *section {
	s := &section{open: v.title(title)}
	type entry struct {
		part
		change *plumbline.Change
	}
	var entries []entry
	unnamed := 0
	var links []string // to where those without a name are
	for _, p := range parts {
		if p.done != done {
			continue
		}
		for i := range p.plan.Changes {
			if c := &p.plan.Changes[i]; pick(c.Action) {
				entries = append(entries, entry{p, c})
			}
		}
		if len(p.plan.Changes) > 0 {
			continue
		}
		from := len(entries)
		for _, r := range p.named {
			if !pick(r.Action) {
				continue
			}
			c := plumbline.Change{Address: r.Address, Action: r.Action, Reason: r.Why}
			if r.Action.Replaces() && c.Remark() == "" && r.Why != "" {
				c.ReplacePaths = strings.Split(r.Why, ", ")
			}
			entries = append(entries, entry{p, &c})
		}
		if !p.lost || counted == nil {
			continue
		}
		if more := counted(p.summary) - (len(entries) - from); more > 0 {
			unnamed += more
			links = append(links, p.link)
		}
	}
	for _, e := range entries[:min(len(entries), openNames)] {
		line := "- " + v.code(e.change.Address)
		if why := v.because(*e.change); why != "" {
			line += ": " + why
		}
		where := e.link
		if len(entries) > linkedNames {
			where = e.short
		}
		s.add(rankNamed, kindName, line+" ("+where+")\n")
		n[e.change] = s.pieces[len(s.pieces)-1]
	}
	beyond := len(entries) - len(s.pieces) + unnamed
	if len(entries) == 0 && unnamed > 0 {
		s.add(rankNamed, kindNone, "- "+count(unnamed, "resource")+", whose names are not kept any more ("+strings.Join(links[:min(len(links), linkedNames)], ", ")+")\n")
		beyond = 0
	}
	s.close = listEnd(beyond)
	return s
}

// listEnd ends a list; beyond says how many were not meant for it from the start.
func listEnd(beyond int) func(tally) string {
	return func(left tally) string {
		if n := left[kindName] + beyond; n > 0 {
			return fmt.Sprintf("- … and %d more\n\n", n)
		}
		return "\n"
	}
}
