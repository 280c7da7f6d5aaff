package diff

import (
	"cmp"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Comparison is how a plan differs from one that was approved. More, Fewer and Different are addresses, of outputs "output." and the name, what
// is most dangerous first.
type Comparison struct {
	Equal     bool     // both plans are finished and their digests are equal: the two do the same
	More      []string // what only the new plan does
	Fewer     []string // what only the approved plan did
	Different []string // what both do, in another way
	Truncated bool     // details of one of the plans were left out because of its size, of all or of some resources

	errored int      // how many of the plans could not be finished
	keyed   int      // how many of the digests cover sensitive values
	unlike  bool     // the digests cannot be compared
	masked  bool     // a plan holds values that were masked although it does not mark them as sensitive
	tooLong bool     // a plan holds values that are too long to be kept
	secret  []string // addresses of what has values that are not shown
	omitted []string // addresses of what has attributes that are not kept
	entries []entry
}

// entry is one difference: a change in one of the plans, or one in both.
type entry struct {
	approved, now *plumbline.Change
	was, is       *plumbline.OutputChange // of an output, instead
}

const (
	maxEntryLines = 40 // of one resource in a comparison, so that others are seen, too
	maxNamed      = 5  // names of what has values that are not shown, or not kept
)

// Compare finds out how now differs from approved. Only the digests tell whether two plans are equal: they cover what a Plan does not keep,
// such as sensitive values. A plan that could not be finished equals none, for nobody knows what the rest of it would do.
func Compare(approved, now plumbline.Plan) Comparison {
	same := approved.Digest != "" && approved.Digest == now.Digest && approved.Keyed == now.Keyed
	c := Comparison{
		Equal:     same && !approved.Errored && !now.Errored,
		Truncated: approved.Truncated || now.Truncated,
		unlike:    approved.Keyed != now.Keyed,
	}
	if c.Equal {
		return c
	}
	for _, p := range []plumbline.Plan{approved, now} {
		if p.Errored {
			c.errored++
		}
		if p.Keyed {
			c.keyed++
		}
		c.survey(p)
	}
	c.changes(approved.Changes, now.Changes)
	c.outputs(approved.Outputs, now.Outputs)
	c.Truncated = c.Truncated || len(c.omitted) > 0
	slices.SortStableFunc(c.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.danger(), a.danger()), strings.Compare(a.name(), b.name()))
	})
	for _, e := range c.entries {
		switch name := Clean(e.name()); {
		case e.approved == nil && e.was == nil:
			c.More = append(c.More, name)
		case e.now == nil && e.is == nil:
			c.Fewer = append(c.Fewer, name)
		default:
			c.Different = append(c.Different, name)
		}
	}
	return c
}

// survey finds out what a plan holds in which it may differ invisibly.
func (c *Comparison) survey(p plumbline.Plan) {
	look := func(sensitive bool, values ...string) {
		for _, v := range values {
			c.masked = c.masked || !sensitive && isMasked(v)
			c.tooLong = c.tooLong || v != "" && v != plumbline.Masked && !plumbline.IsJSON(v)
		}
	}
	for _, change := range p.Changes {
		for _, a := range change.Attributes {
			look(a.Sensitive, a.Before, a.After)
		}
	}
	for _, o := range p.Outputs {
		look(o.Sensitive, o.Before, o.After)
	}
}

type changeKey struct{ address, deposed string }

func (c *Comparison) changes(approved, now []plumbline.Change) {
	old := map[changeKey][]*plumbline.Change{}
	pair := make([]*plumbline.Change, len(now))
	for i := range approved {
		k := changeKey{approved[i].Address, approved[i].Deposed}
		old[k] = append(old[k], &approved[i])
	}
	take := func(i int, k changeKey) {
		if pair[i] == nil && len(old[k]) > 0 {
			pair[i], old[k] = old[k][0], old[k][1:]
		}
	}
	for i, n := range now {
		take(i, changeKey{n.Address, n.Deposed})
	}
	// Of a resource whose deposed object is another one than when it was approved, that is what differs.
	for i := range approved {
		a := &approved[i]
		if k := (changeKey{a.Address, a.Deposed}); a.Deposed != "" && len(old[k]) > 0 && old[k][0] == a {
			old[k] = old[k][1:]
			k.deposed = anyDeposed
			old[k] = append(old[k], a)
		}
	}
	for i, n := range now {
		if n.Deposed != "" {
			take(i, changeKey{n.Address, anyDeposed})
		}
	}
	for i := range now {
		c.change(pair[i], &now[i])
	}
	for i := range approved {
		for _, k := range []changeKey{{approved[i].Address, approved[i].Deposed}, {approved[i].Address, anyDeposed}} {
			if len(old[k]) > 0 && old[k][0] == &approved[i] {
				old[k] = old[k][1:]
				c.change(&approved[i], nil)
				break
			}
		}
	}
}

// anyDeposed is no key of an object: those are hexadecimal.
const anyDeposed = "*"

// change notes in what a change that is in both plans, or in one of them, differs.
func (c *Comparison) change(was, is *plumbline.Change) {
	one := *cmp.Or(is, was)
	if one.Omitted > 0 || was != nil && was.Omitted > 0 {
		c.omitted = append(c.omitted, Clean(one.Address))
	}
	switch {
	case was == nil || is == nil, len(facts(*was, *is)) > 0, len(attributeDiffs(was.Attributes, is.Attributes)) > 0:
		c.entries = append(c.entries, entry{approved: was, now: is})
	case slices.ContainsFunc(is.Attributes, func(a plumbline.Attribute) bool { return c.mayDiffer(a.Sensitive, a.Before, a.After) }):
		c.secret = append(c.secret, Clean(is.Address))
	}
}

// mayDiffer reports whether values that look the same may be different ones although the digest covers them.
func (c *Comparison) mayDiffer(sensitive bool, before, after string) bool {
	if sensitive {
		return c.keyed > 0
	}
	return isHidden(before) || isHidden(after)
}

func (c *Comparison) outputs(approved, now []plumbline.OutputChange) {
	old := map[string]*plumbline.OutputChange{}
	for i := range approved {
		old[approved[i].Name] = &approved[i]
	}
	for i := range now {
		n := &now[i]
		was := old[n.Name]
		delete(old, n.Name)
		switch {
		case was == nil || *was != *n:
			c.entries = append(c.entries, entry{was: was, is: n})
		case c.mayDiffer(n.Sensitive, n.Before, n.After):
			c.secret = append(c.secret, Clean("output."+n.Name))
		}
	}
	for i := range approved {
		if old[approved[i].Name] == &approved[i] {
			c.entries = append(c.entries, entry{was: &approved[i]})
		}
	}
}

// isHidden reports whether not all of a value is there.
func isHidden(value string) bool {
	return value != "" && !plumbline.IsJSON(value) || isMasked(value)
}

func (e entry) name() string {
	switch {
	case e.now != nil:
		return e.now.Address
	case e.approved != nil:
		return e.approved.Address
	case e.is != nil:
		return "output." + e.is.Name
	default:
		return "output." + e.was.Name
	}
}

// danger ranks entries, those that are seen first the highest. What is not done any more cannot do harm.
func (e entry) danger() int {
	switch {
	case e.now != nil:
		return e.now.Action.Danger()
	case e.is != nil:
		return -1
	default:
		return -2
	}
}

// Summary says in one clause how the plans differ.
func (c Comparison) Summary() string {
	if c.Equal {
		return "the same changes"
	}
	var parts []string
	for _, group := range []struct {
		word  string
		names []string
	}{{"more", c.More}, {"fewer", c.Fewer}, {"different", c.Different}} {
		n := len(group.names)
		if n == 0 {
			continue
		}
		part := thousands(n) + " " + group.word
		if len(parts) == 0 {
			part = quantity(n, group.word+" change")
		}
		if n == 1 || n == 2 && group.word == "more" {
			part += " (" + cut(strings.Join(group.names, ", "), maxText) + ")"
		}
		parts = append(parts, part)
	}
	switch {
	case c.errored == 1:
		parts = append(parts, "one of the plans could not be finished")
	case c.errored > 1:
		parts = append(parts, "neither of the plans could be finished")
	case len(parts) == 0:
		return c.invisible()
	}
	if c.Truncated {
		parts = append(parts, "perhaps others in details that were left out because of the size")
	}
	return strings.Join(parts, ", ")
}

// invisible says where a difference is that cannot be seen.
func (c Comparison) invisible() string {
	if c.unlike {
		return "nothing that is shown differs, but the digests were made in different ways and cannot be compared"
	}
	var where []string
	if c.keyed > 0 || c.masked {
		where = append(where, "in sensitive values")
	}
	if c.tooLong {
		where = append(where, "in what is too long to be kept")
	}
	if c.Truncated {
		where = append(where, "in details that were left out because of the size")
	}
	if c.keyed > 0 {
		where = append(where, "in the key of the digest")
	}
	switch n := len(where); n {
	case 0:
		return "differs in something that is not shown here"
	case 1, 2:
		return "differs only " + strings.Join(where, " or ")
	default:
		return "differs only " + strings.Join(where[:n-1], ", ") + ", or " + where[n-1]
	}
}

// Lines lays out the differences in at most 400 lines, what is most dangerous first. There are none when the plans are equal, or when nothing
// is known but what [Comparison.Summary] says.
func (c Comparison) Lines() []Line {
	if c.Equal {
		return nil
	}
	var out []Line
	for i, e := range c.entries {
		lines := e.lines()
		if len(out)+len(lines) > maxLines-3 {
			out = append(out, Line{Sign: " ", Text: "… " + quantity(len(c.entries)-i, "more difference")})
			break
		}
		out = append(out, lines...)
	}
	if len(c.entries) == 0 && len(c.secret) > 0 {
		out = append(out, Line{Sign: " ", Text: "values that are not shown: " + someOf(c.secret)})
	}
	if len(c.omitted) > 0 {
		out = append(out, Line{Sign: " ", Text: "details left out: " + someOf(c.omitted)})
	}
	return out
}

// someOf names the first of them.
func someOf(names []string) string {
	text := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if rest := len(names) - maxNamed; rest > 0 {
		text += " and " + thousands(rest) + " more"
	}
	return cut(text, 2*maxText)
}

const (
	moreNote      = "not in the approved plan"
	fewerNote     = "approved; not done any more"
	differentNote = "not as approved"
	staleNote     = "its present value has changed since"
	approvedText  = "approved: "
	nowText       = "now:      "
)

func (e entry) lines() []Line {
	var out []Line
	switch {
	case e.is != nil && e.was != nil:
		return differentOutput(*e.was, *e.is)
	case e.is != nil:
		out = Output(*e.is)
	case e.was != nil:
		return []Line{{Sign: " ", Text: shortName(e.name()), Note: fewerNote}}
	case e.approved == nil:
		out = changeLines(*e.now, maxEntryLines)
	case e.now == nil:
		return []Line{{Sign: " ", Text: shortName(e.name()), Note: fewerNote + ": " + e.approved.Action.Verb()}}
	default:
		return different(*e.approved, *e.now)
	}
	out[0].Note = remarks(moreNote, out[0].Note)
	if over := len(out) - maxEntryLines; over > 0 {
		out = append(out[:maxEntryLines-1], Line{Sign: " ", Depth: 1, Text: "… " + quantity(over+1, "more line")})
	}
	return out
}
