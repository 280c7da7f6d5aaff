package report

import (
	"cmp"
	"slices"
	"strings"
)

// A note that must fit a limit is composed, not cut. It consists of pieces of whole lines in an order of danger that does not depend on the
// limit. What is shown is the longest beginning of that order for which there is room: so a higher limit never shows less, and
// nothing is shown in the place of something more dangerous.

// rank is the danger of leaving a piece out: the lowest go in first.
type rank int

const (
	rankGlass      rank = iota // that somebody has a plan applied against the rules
	rankRedRow                 // stacks that failed, or lose something
	rankDenied                 // the first of what policies forbid
	rankSince                  // that a stack's plan differs from the approved one, in a line
	rankNamed                  // what is destroyed or replaced, by name
	rankFailure                // what went wrong, in a sentence
	rankDiagnostic             // Terraform's own words
	rankCheck                  // checks that failed, what could not be read, whose approval policies ask for
	rankAct                    // what to do next, for each stack
	rankDiffers                // the first lines of that difference
	rankRow                    // the other stacks
	rankWarned                 // what policies warn of, the rest of what they forbid
	rankFound                  // the first of what checks found, with its place
	rankDestroy                // one line for each resource that is destroyed or replaced
	rankReplaced               // the attributes of what is replaced
	rankForget
	rankForgotten
	rankInvoke
	rankInvoked
	rankUpdate
	rankUpdated
	rankOutput
	rankCreate
	rankMove
	rankInfo      // what can be told only later, what is left for another plan, checks that passed, the rest of what policies warn of
	rankDrift     // what changed outside, one line each
	rankDrifted   // its attributes, and the rest of what differs from the approved plan
	rankDestroyed // what a destroyed resource was: its name says most of it
	rankCreated   // the attributes of what is new
	rankMoved
	rankRest // what is behind the first lines of a very long change
)

// kind says what is missing when a piece is.
type kind int

const (
	kindNone kind = iota // somebody else says it
	kindRow
	kindName
	kindReplaced
	kindDestroyed
	kindForgotten
	kindInvoked
	kindChanged
	kindOutput
	kindCreated
	kindMoved
	kindDrifted
	kindDeferred
	kindFinding    // of a check
	kindAttributes // of a change that is shown
	kindRest       // the end of attributes that are shown
	kinds
)

// tally counts pieces by kind.
type tally [kinds]int

func (t tally) add(o tally) tally {
	for k, n := range o {
		t[k] += n
	}
	return t
}

// piece is some whole lines, shown or not.
type piece struct {
	rank rank
	kind kind
	of   *piece // what it belongs to: when that is missing, it is not missed beside it
	// named names it elsewhere: when that is shown and it is not, its attributes are what is missing
	named *piece
	text  func() string // "": nothing to show, nothing missing
	// instead stands in the place of the pieces behind this one in the section, when it is shown and the next one is not.
	instead func() string

	cached *string
	shown  bool
}

func (p *piece) String() string {
	if p.cached == nil {
		s := p.text()
		p.cached = &s
	}
	return *p.cached
}

// section is what stands around pieces. It is there when one of them is.
type section struct {
	open   string
	close  func(left tally) string // more pieces left never make it shorter
	pieces []*piece
	opened bool
}

func (s *section) add(r rank, k kind, text string) {
	s.pieces = append(s.pieces, &piece{rank: r, kind: k, cached: &text})
}

func (s *section) all() tally {
	var t tally
	for _, p := range s.pieces {
		t[p.kind]++
	}
	return t
}

func (s *section) left() tally {
	var t tally
	for _, p := range s.pieces {
		if p.shown || p.of != nil && (!p.of.shown || p.String() == "") {
			continue
		}
		if p.named != nil && p.named.shown {
			t[kindAttributes]++
			continue
		}
		t[p.kind]++
	}
	return t
}

func closing(s string) func(tally) string { return func(tally) string { return s } }

// sheet is a note before it is known how much of it there is room for.
type sheet struct {
	head, foot string // always there
	sections   []*section
	left       func(tally) string // says what was left out; more left never makes it shorter
	unfolded   bool               // nothing in it can be folded
}

// room is how long the sheet may be for pieces of a rank to be shown; 0: as long as it likes. Later ranks have no more than earlier ones.
func (s *sheet) room(r rank, limit int) int {
	if !s.unfolded || r <= rankRow {
		return limit
	}
	most := unfoldedChanges
	if r > rankDrift {
		most = unfoldedMore
	}
	if limit > 0 {
		most = min(most, limit)
	}
	return most
}

// fit renders as much as fits limit bytes; 0 is no limit. ok is false when there is no room for head and foot.
func (s *sheet) fit(limit int) (out string, ok bool) {
	type placed struct {
		*piece
		in *section
	}
	var order []placed
	var all tally
	for _, in := range s.sections {
		all = all.add(in.all())
		for _, p := range in.pieces {
			order = append(order, placed{p, in})
		}
	}
	slices.SortStableFunc(order, func(a, b placed) int { return cmp.Compare(a.rank, b.rank) })

	// exact is how long it is when all of it is shown. bound is how long it can be at most when it ends here; it only grows, so that what
	// is shown is a beginning of the order whatever comes behind.
	exact := len(s.head) + len(s.foot)
	bound := exact + len(s.left(all))
	fits := len(order) // how many are shown when not all are
	bare := limit > 0 && bound > limit
	cut := limit > 0 && exact > limit
	if bare {
		fits = 0
	}
	opened := map[*section]bool{}
	for i, p := range order {
		text := p.String()
		if text == "" {
			continue
		}
		exact, bound = exact+len(text), bound+len(text)
		if !opened[p.in] {
			opened[p.in] = true
			exact += len(p.in.open) + len(p.in.close(tally{}))
			bound += len(p.in.open) + len(p.in.close(p.in.all()))
		}
		if p.instead != nil {
			bound += len(p.instead())
		}
		room := s.room(p.rank, limit)
		if room > 0 && bound > room && i < fits {
			fits = i
		}
		if room > 0 && exact > room {
			cut = true
			break
		}
	}
	switch {
	case !cut:
		fits = len(order)
	case bare:
		return "", false
	}
	for _, p := range order[:fits] {
		p.shown = true
		p.in.opened = p.in.opened || p.String() != ""
	}
	return s.render(), true
}

func (s *sheet) render() string {
	var b strings.Builder
	var missing tally
	b.WriteString(s.head)
	for _, in := range s.sections {
		left := in.left()
		missing = missing.add(left)
		if !in.opened {
			continue
		}
		b.WriteString(in.open)
		for i, p := range in.pieces {
			if !p.shown {
				continue
			}
			b.WriteString(p.String())
			if p.instead != nil && i+1 < len(in.pieces) && !in.pieces[i+1].shown {
				b.WriteString(p.instead())
			}
		}
		b.WriteString(in.close(left))
	}
	if missing != (tally{}) {
		b.WriteString(s.left(missing))
	}
	b.WriteString(s.foot)
	return b.String()
}

// cutLines is the beginning of s that fits, in whole lines.
func cutLines(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	if limit <= 0 {
		return ""
	}
	return s[:strings.LastIndexByte(s[:limit], '\n')+1]
}
