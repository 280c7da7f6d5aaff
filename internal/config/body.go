package config

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// body is a block's inside while its settings are taken out one by one. Taking a setting makes its name a known one, so what a block
// accepts is written down once, where it is read; done reports the rest.
type body struct {
	r      *reader
	in     *hclsyntax.Body
	what   string   // `environment "production"`, for messages
	labels []string // of the block
	label  hcl.Range
	at     hcl.Range // the block's header
	attrs  []string  // names that were asked for
	blocks []string
}

// text is a string setting with its place.
type text struct {
	value  string
	at     hcl.Range
	set    bool // it stands in the file
	ok     bool // and has a value of the right type
	secret bool
}

// String is the value as messages show it.
func (t text) String() string {
	if t.secret || (strings.Contains(t.value, "://") && len(addressSecrets(t.value)) > 0) {
		return plumbline.Masked
	}
	return fmt.Sprintf("%q", t.value)
}

// sensitive marks values that came from outside the file and are not to be shown.
type sensitive struct{}

// value evaluates an attribute. A null counts as not set.
func (b *body) value(name string) (v cty.Value, at hcl.Range, ok bool) {
	b.attrs = append(b.attrs, name)
	a := b.in.Attributes[name]
	if a == nil {
		return cty.NilVal, b.at, false
	}
	at = a.Expr.Range()
	if !b.r.known(a.Expr) {
		return cty.NilVal, at, false
	}
	v, diags := a.Expr.Value(b.r.contexts[at.Filename])
	if diags.HasErrors() {
		b.r.evaluation(a.Expr, diags)
		return cty.NilVal, at, false
	}
	if !v.IsWhollyKnown() {
		b.r.problem(at, "%s in %s has no definite value", name, b.what)
		return cty.NilVal, at, false
	}
	return v, at, !v.IsNull()
}

// has reports whether an attribute stands in the file, whatever its value.
func (b *body) has(name string) bool {
	return b.in.Attributes[name] != nil
}

// holds reports whether a block of that type stands in the file, whatever its labels.
func (b *body) holds(kind string) bool {
	return slices.ContainsFunc(b.in.Blocks, func(blk *hclsyntax.Block) bool { return blk.Type == kind })
}

// place is where an attribute's value stands; the block's header when there is none.
func (b *body) place(name string) hcl.Range {
	if a := b.in.Attributes[name]; a != nil {
		return a.Expr.Range()
	}
	return b.at
}

// nameAt is where an attribute's name stands.
func (b *body) nameAt(name string) hcl.Range { return b.in.Attributes[name].NameRange }

func (b *body) text(name string) text {
	v, at, ok := b.value(name)
	t := text{at: at, set: b.has(name)}
	if !ok {
		return t
	}
	v, marks := v.UnmarkDeep()
	t.secret = has(marks)
	got, err := convert.Convert(v, cty.String)
	if err != nil {
		b.r.problem(at, "%s in %s must be one text, not %s; write %s = \"…\"", name, b.what, typeName(v), name)
		return t
	}
	t.value, t.ok = got.AsString(), true
	return t
}

func has(marks cty.ValueMarks) bool {
	_, ok := marks[sensitive{}]
	return ok
}

func typeName(v cty.Value) string {
	switch t := v.Type(); {
	case v.IsNull():
		return "null"
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "a map"
	default:
		return "a " + t.FriendlyName()
	}
}

// or is the value, or a default when there is none.
func (t text) or(value string) string {
	if t.ok {
		return t.value
	}
	return value
}

// required is text that must stand in the file and not be empty.
func (b *body) required(name, example string) text {
	t := b.text(name)
	switch {
	case !t.set:
		b.r.problem(b.at, "%s has no %s; add %s = %s", b.what, name, name, example)
	case t.ok && t.value == "":
		b.r.problem(t.at, "%s in %s is empty; write %s = %s", name, b.what, name, example)
		t.ok = false
	}
	return t
}

// confidential is text that is a secret wherever it comes from.
func (b *body) confidential(name string) plumbline.Secret {
	t := b.text(name)
	if !t.ok {
		return plumbline.Secret{}
	}
	b.r.secret(t.value)
	switch {
	case t.value == "":
		b.r.problem(t.at, "%s in %s is empty; leave it out, or fill it", name, b.what)
	case strings.TrimSpace(t.value) != t.value:
		b.r.problem(t.at, "%s in %s begins or ends with white space, such as the line break at the end of a file; write %s = trimspace(…)", name, b.what, name)
	case strings.ContainsFunc(t.value, func(c rune) bool { return c < ' ' || c == 0x7f }):
		b.r.problem(t.at, "%s in %s has a line break or another control character in it", name, b.what)
	}
	return plumbline.NewSecret(t.value)
}

// oneOf is text with few possible values, the first of which is the default.
func (b *body) oneOf(name string, t text, values ...string) string {
	if !t.ok {
		return values[0]
	}
	if !slices.Contains(values, t.value) {
		list := make([]string, len(values))
		for i, v := range values {
			list[i] = fmt.Sprintf("%q", v)
		}
		last := len(list) - 1
		b.r.problem(t.at, "%s in %s is %s; it can be %s or %s", name, b.what, t, strings.Join(list[:last], ", "), list[last])
	}
	return t.value
}

func (b *body) texts(name string) []text {
	v, at, ok := b.value(name)
	if !ok {
		return nil
	}
	v, marks := v.Unmark()
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		b.r.problem(at, "%s in %s must be a list, not %s; write %s = [\"…\"]", name, b.what, typeName(v), name)
		return nil
	}
	places := items(b.in.Attributes[name].Expr)
	out := []text{}
	for i, v := range v.AsValueSlice() {
		place := at
		if i < len(places) {
			place = places[i]
		}
		v, inner := v.UnmarkDeep()
		got, err := convert.Convert(v, cty.String)
		if err != nil || got.IsNull() {
			b.r.problem(place, "%s in %s must hold only texts; this is %s", name, b.what, typeName(v))
			continue
		}
		t := text{value: got.AsString(), at: place, set: true, ok: true, secret: has(marks) || has(inner)}
		out = append(out, t)
	}
	return out
}

// items are the places of the elements of a list that is written out.
func items(e hclsyntax.Expression) []hcl.Range {
	list, ok := e.(*hclsyntax.TupleConsExpr)
	if !ok {
		return nil
	}
	out := make([]hcl.Range, len(list.Exprs))
	for i, e := range list.Exprs {
		out[i] = e.Range()
	}
	return out
}

// number is a whole number between two bounds.
func (b *body) number(name string, def, least, most int) int {
	v, at, ok := b.value(name)
	if !ok {
		return def
	}
	v, _ = v.UnmarkDeep()
	got, err := convert.Convert(v, cty.Number)
	if err == nil {
		if n, exact := got.AsBigFloat().Int64(); exact == big.Exact && n >= int64(least) && n <= int64(most) {
			return int(n)
		}
	}
	b.r.problem(at, "%s in %s must be a whole number from %d to %d", name, b.what, least, most)
	return def
}

func (b *body) boolean(name string, def bool) bool {
	v, at, ok := b.value(name)
	if !ok {
		return def
	}
	v, _ = v.UnmarkDeep()
	got, err := convert.Convert(v, cty.Bool)
	if err != nil {
		b.r.problem(at, "%s in %s must be true or false", name, b.what)
		return def
	}
	return got.True()
}

// each takes the blocks of a type. Labels are the words that stand for them in a message.
func (b *body) each(kind string, labels ...string) []*body {
	b.blocks = append(b.blocks, kind)
	var out []*body
	for _, blk := range b.in.Blocks {
		if blk.Type != kind {
			continue
		}
		if len(blk.Labels) != len(labels) {
			usage := kind
			for _, l := range labels {
				usage += fmt.Sprintf(" %q", l)
			}
			b.r.problem(blk.DefRange(), "%s needs %s, not %d; write %s { … }", kind, count(len(labels), "label"), len(blk.Labels), usage)
			continue
		}
		c := &body{r: b.r, in: blk.Body, what: kind, labels: blk.Labels, at: blk.DefRange()}
		c.label = c.at
		switch len(labels) {
		case 0:
			if b.what != "the configuration" {
				c.what = kind + " of " + b.what
			}
		default:
			c.what = fmt.Sprintf("%s %q", kind, blk.Labels[len(labels)-1])
			c.label = blk.LabelRanges[len(labels)-1]
		}
		out = append(out, c)
	}
	return out
}

// one takes a block that may stand at most once; nil when it is absent.
func (b *body) one(kind string) *body {
	all := b.each(kind)
	if len(all) == 0 {
		return nil
	}
	for _, again := range all[1:] {
		b.r.problem(again.at, "%s stands twice in %s, first on line %d; merge the two", kind, b.what, all[0].at.Start.Line)
	}
	return all[0]
}

// done reports every name that nobody asked for.
func (b *body) done() {
	for name, a := range b.in.Attributes {
		if slices.Contains(b.attrs, name) {
			continue
		}
		switch {
		case slices.Contains(b.blocks, name):
			b.r.problem(a.NameRange, "%q in %s is a block, not an attribute; write %s { … }", name, b.what, name)
		case slices.Contains(later[b.kind()], name):
			b.r.problem(a.NameRange, "%s is not supported by this version of Plumbline; take it out, since it would not be kept", b.inside(name))
		default:
			b.r.problem(a.NameRange, "unknown attribute %q in %s; %s", name, b.what, b.suggest(name, false))
		}
	}
	for _, blk := range b.in.Blocks {
		at := blk.TypeRange
		switch {
		case slices.Contains(b.blocks, blk.Type):
		case slices.Contains(b.attrs, blk.Type):
			b.r.problem(at, "%q in %s is an attribute, not a block; write %s = …", blk.Type, b.what, blk.Type)
		case slices.Contains(later[b.kind()], blk.Type):
			b.r.problem(at, "%s is not supported by this version of Plumbline; take it out, since it would not be kept", b.inside(blk.Type))
		default:
			b.r.problem(at, "unknown block %q in %s; %s", blk.Type, b.what, b.suggest(blk.Type, true))
		}
	}
}

func (b *body) inside(name string) string {
	if b.kind() == "" {
		return name
	}
	return name + " in " + b.what
}

// kind is the block's type, "" at the top.
func (b *body) kind() string {
	kind, _, _ := strings.Cut(b.what, " ")
	if kind == "the" {
		return ""
	}
	return kind
}

// later are the names that Plumbline's configuration language has, per block, and this version does not: what is written there would
// be a promise that is not kept.
var later = map[string][]string{
	"providers":   {"allow"},
	"environment": {"sops"},
}

// suggest says what to write instead of an unknown name.
func (b *body) suggest(name string, block bool) string {
	known := append(slices.Clone(b.attrs), b.blocks...)
	slices.Sort(known)
	known = slices.Compact(known)
	near := nearest(name, known)
	switch isBlock := slices.Contains(b.blocks, near); {
	case near == "" && len(b.attrs) == 0:
		return "there are only blocks: " + strings.Join(known, ", ")
	case near == "":
		return "known there: " + strings.Join(known, ", ")
	case isBlock && !block:
		return fmt.Sprintf("did you mean the block %q?", near)
	case !isBlock && block:
		return fmt.Sprintf("did you mean the attribute %q?", near)
	}
	return fmt.Sprintf("did you mean %q?", near)
}

// nearest is the name that s was most likely meant to be, "" when none is near.
func nearest(s string, names []string) string {
	best, least := "", min(2, len(s)/2)+1
	for _, n := range names {
		if d := levenshtein.Distance(strings.ToLower(s), n, nil); d < least {
			best, least = n, d
		}
	}
	return best
}
