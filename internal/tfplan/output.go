package tfplan

import (
	"cmp"
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// output adds one member of output_changes to the plan.
func (r *reader) output(name string) error {
	r.hold = r.hold[:0]
	var d delta
	if err := r.delta(&d); err != nil {
		return err
	}
	if err := r.decide(&d); err != nil {
		return err
	}
	if d.action != plumbline.ActionCreate {
		r.hasState = true
	}
	w := r.walker
	w.tellPlace(d.place)
	w.tellNamed(r.finder.find(name, d.before, d.after))
	if d.action == plumbline.ActionNoOp {
		return nil
	}
	o := plumbline.OutputChange{
		Name: name, Action: d.action, Unknown: isTrue(d.unknown),
		Sensitive: anyTrue(d.beforeSensitive) || anyTrue(d.afterSensitive),
	}
	w.begin(true, room{}, nil)
	w.record = appendS(w.record, name)
	w.record = appendList(w.record, d.actions)
	o.Before = w.output(d.before, nil, o.Sensitive, anyTrue(d.beforeSensitive))
	o.After = w.output(d.after, d.unknown, o.Sensitive, anyTrue(d.afterSensitive))
	if d.action == plumbline.ActionCreate && kindOf(d.before) == null {
		o.Before = ""
	}
	if d.action == plumbline.ActionDelete && kindOf(d.after) == null {
		o.After = ""
	}
	r.record(&r.outputs, name, "")
	o.Before, o.After = r.fit(o.Before, d.before), r.fit(o.After, d.after)
	r.plan.Outputs = append(r.plan.Outputs, o)
	if r.plan.Summary.Output++; len(r.plan.Outputs) >= 2*r.maxOutputs { // so that sorting is rare
		r.pruneOutputs()
	}
	return nil
}

// output writes one side of an output to the record and returns how it is shown.
func (w *walker) output(v, unknown []byte, sensitive, marked bool) string {
	switch {
	case isTrue(unknown):
		w.notKnown(marked)
		return ""
	case sensitive:
		w.hidden(v, unknown, marked)
		if anyTrue(unknown) {
			return plumbline.Masked
		}
		return masked(v)
	}
	w.whole(v)
	if anyTrue(unknown) {
		w.record = appendS(append(w.record, '?'), appendJSON(nil, unknown, true))
		v = appendPartly(nil, v, unknown)
	}
	return w.kept(v)
}

// appendPartly appends a value with each part that is not known replaced by a string that says so. The plan leaves such members of objects out, and
// has a null for such elements of lists.
func appendPartly(dst, v, unknown []byte) []byte {
	switch {
	case isTrue(unknown):
		return appendQuoted(dst, []byte(notKnown))
	case !anyTrue(unknown):
		if kindOf(v) == absent {
			return append(dst, "null"...)
		}
		return append(dst, v...)
	case kindOf(unknown) == array:
		elements, masks := appendElements(nil, v), appendElements(nil, unknown)
		dst = append(dst, '[')
		for i := range max(len(elements), len(masks)) {
			if i > 0 {
				dst = append(dst, comma)
			}
			dst = appendPartly(dst, at(elements, i), at(masks, i))
		}
		return append(dst, ']')
	}
	members, masks := appendMembers(nil, v), appendMembers(nil, unknown)
	dst = append(dst, '{')
	some := false
	for name, ok := first(members, masks); ok; name, ok = first(members, masks) {
		value, mask := take(&members, name), take(&masks, name)
		if value == nil && !anyTrue(mask) {
			continue
		}
		if some {
			dst = append(dst, comma)
		}
		some = true
		dst = appendPartly(append(appendQuoted(dst, name), colon), value, mask)
	}
	return append(dst, '}')
}

// pruneOutputs keeps the first outputs by name, as many as may be kept.
func (r *reader) pruneOutputs() {
	p := &r.plan
	slices.SortFunc(p.Outputs, func(a, b plumbline.OutputChange) int { return cmp.Compare(a.Name, b.Name) })
	if len(p.Outputs) > r.maxOutputs {
		clear(p.Outputs[r.maxOutputs:])
		p.Outputs, p.Truncated = p.Outputs[:r.maxOutputs], true
	}
}

// fit returns how the value of an output is shown if there is still room for it, and otherwise what stands for one that is too long.
func (r *reader) fit(shown string, v []byte) string {
	if !plumbline.IsJSON(shown) {
		return shown
	}
	if r.outputRoom -= len(shown); r.outputRoom >= 0 {
		return shown
	}
	r.outputRoom, r.plan.Truncated = 0, true
	return r.walker.tooLong(len(shown), appendJSON(nil, v, true))
}
