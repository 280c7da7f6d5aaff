package tfplan

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// resource is one element of resource_changes or resource_drift, as far as we look at it.
type resource struct {
	address, previous, mode, kind, provider, deposed, reason string
	delta
}

// delta is the "change" of a resource or an output. Its values are in the reader's hold, until that is emptied.
type delta struct {
	place
	actions   []string
	action    plumbline.Action
	replaces  []string // paths, sorted
	imports   bool
	importing string   // id, JSON of an identity, or notKnown
	imported  string   // the same for the digest: the identity is canonical
	named     []string // what stands under the names of secrets
}

// managed reports whether it is neither a data source nor ephemeral. Only then its action is decided.
func (c *resource) managed() bool { return c.mode == "managed" }

// resource reads one element.
func (r *reader) resource() (c resource, err error) {
	err = r.object(func(name []byte) error {
		switch string(name) {
		case "address":
			err := r.string(&c.address)
			r.at.address = c.address
			return err
		case "previous_address":
			return r.string(&c.previous)
		case "mode":
			return r.word(&c.mode)
		case "type":
			return r.word(&c.kind)
		case "provider_name":
			return r.word(&c.provider)
		case "deposed":
			return r.string(&c.deposed)
		case "action_reason":
			return r.word(&c.reason)
		case "change":
			return r.delta(&c.delta)
		default:
			return r.pass()
		}
	})
	switch {
	case err != nil:
		return c, err
	case c.address == "":
		return c, r.wrong(errors.New("no address"))
	case c.mode == "":
		return c, r.wrong(errors.New("no mode"))
	case len(c.actions) == 0:
		return c, r.wrong(errors.New("no actions"))
	}
	c.named = r.finder.find("", c.before, c.after)
	if !c.managed() {
		return c, nil
	}
	if err := r.decide(&c.delta); err != nil {
		return c, err
	}
	if c.action == plumbline.ActionRead {
		return c, r.wrong(errors.New("a managed resource cannot be read only"))
	}
	return c, nil
}

// delta reads the "change" of a resource, or a member of output_changes.
func (r *reader) delta(d *delta) error {
	return r.object(func(name []byte) error {
		switch string(name) {
		case "actions":
			return r.elements(func(int) error {
				var action string
				err := r.word(&action)
				d.actions = append(d.actions, action)
				return err
			})
		case "before":
			return r.copy(&d.before)
		case "after":
			return r.copy(&d.after)
		case "after_unknown":
			return r.copy(&d.unknown)
		case "before_sensitive":
			return r.copy(&d.beforeSensitive)
		case "after_sensitive":
			return r.copy(&d.afterSensitive)
		case "replace_paths":
			err := r.elements(func(int) error {
				v, err := r.value()
				if err != nil {
					return err
				}
				path, err := replacePath(v)
				d.replaces = append(d.replaces, path)
				return r.wrong(err)
			})
			slices.Sort(d.replaces)
			return err
		case "importing":
			v, err := r.value()
			d.imports = isValue(v)
			d.importing, d.imported = importing(v, false), importing(v, true)
			return err
		default:
			return r.pass()
		}
	})
}

// actionOf maps Terraform's lists of actions to ours. Lists that are not here must not be counted as something else: a plan
// with one is refused.
var actionOf = map[string]plumbline.Action{
	"no-op":         plumbline.ActionNoOp,
	"create":        plumbline.ActionCreate,
	"read":          plumbline.ActionRead,
	"update":        plumbline.ActionUpdate,
	"delete":        plumbline.ActionDelete,
	"forget":        plumbline.ActionForget,
	"delete create": plumbline.ActionReplace,
	"create delete": plumbline.ActionReplaceFirst,
	"forget create": plumbline.ActionForgetCreate,
	"create forget": plumbline.ActionForgetCreate,
}

// decide finds out what is to be done.
func (r *reader) decide(d *delta) error {
	var ok bool
	if d.action, ok = actionOf[strings.Join(d.actions, " ")]; !ok {
		return r.wrong(fmt.Errorf("actions %q are not known to this version of Plumbline", d.actions))
	}
	return nil
}

// replacePath reads one element of replace_paths: names and indexes.
func replacePath(v []byte) (string, error) {
	if kindOf(v) != array {
		return "", errors.New("replace_paths holds something other than paths")
	}
	var path []byte
	for _, step := range appendElements(nil, v) {
		switch kindOf(step) {
		case str:
			path = appendName(path, text(step))
		case number:
			index, err := strconv.ParseFloat(string(step), 64) // 1.0 is an index, too
			if err != nil || index != float64(int(index)) {
				return "", errors.New("an index in replace_paths is not an integer")
			}
			path = appendIndex(path, int(index))
		default:
			return "", errors.New("a step in replace_paths is neither a name nor an index")
		}
	}
	return string(path), nil
}

// notKnown stands for the id of an import that depends on what the plan creates.
const notKnown = "(known after apply)"

// importing reads what identifies the object to be imported.
func importing(v []byte, canonical bool) string {
	id := ""
	for _, m := range appendMembers(nil, v) {
		switch {
		case string(m.name) == "id" && kindOf(m.value) == str && len(m.value) > 2:
			return string(text(m.value))
		case string(m.name) == "identity" && isValue(m.value):
			id = string(appendJSON(nil, m.value, canonical))
		case string(m.name) == "unknown" && isTrue(m.value) && id == "":
			id = notKnown
		}
	}
	return id
}

// record is the digest's hash of one change or output, with what it is sorted by.
type record struct {
	name, deposed string
	sum           [sha256.Size]byte
}

// changed adds one element of resource_changes to the plan.
func (r *reader) changed(c *resource) {
	r.walker.tellNamed(c.named)
	if !c.managed() {
		r.walker.tellPlace(c.place)
		return
	}
	r.provider(c.provider)
	if c.imports {
		r.imports++
	} else if c.action != plumbline.ActionCreate {
		r.hasState = true
	}
	if c.action == plumbline.ActionNoOp && c.previous == "" && !c.imports {
		r.walker.tellPlace(c.place)
		return
	}
	out := c.domain()
	w := r.walker
	w.begin(true, r.changes.room(out), c.replaces)
	w.record = appendS(w.record, c.address)
	w.record = appendS(w.record, c.deposed)
	w.record = appendS(w.record, c.previous)
	w.record = appendS(w.record, c.provider)
	w.record = appendList(w.record, c.actions)
	w.record = appendS(w.record, c.reason)
	w.record = appendS(w.record, c.imported)
	w.record = appendS(w.record, c.object())
	w.record = appendList(w.record, c.replaces)
	w.resource(c.place)
	r.record(&r.records, c.address, c.deposed)
	r.keep(&r.changes, out)
	r.plan.Summary = r.plan.Summary.Add(count(out, c.imports))
}

// object is the id of the object that is changed, if it has one that may be told: a change of another is another change. It is empty for what
// is created, moved or imported only.
func (c *resource) object() []byte {
	if c.action == plumbline.ActionCreate || c.action == plumbline.ActionNoOp {
		return nil
	}
	for _, mask := range [][]byte{c.beforeSensitive, c.afterSensitive} {
		if isTrue(mask) || anyTrue(valueOf(mask, "id")) {
			return nil
		}
	}
	if v := valueOf(c.before, "id"); kindOf(v) == str {
		return text(v)
	}
	return nil
}

// drifted adds one element of resource_drift to the plan. Terraform lists resources that were moved and not changed there, too.
func (r *reader) drifted(c *resource) {
	r.walker.tellNamed(c.named)
	if !c.managed() {
		r.walker.tellPlace(c.place)
		return
	}
	r.provider(c.provider)
	r.hasState = true
	if c.action == plumbline.ActionNoOp {
		r.walker.tellPlace(c.place)
		return
	}
	out := c.domain()
	out.Known = known(c.kind, c.place)
	r.walker.begin(false, r.drift.room(out), nil)
	r.walker.resource(c.place)
	r.keep(&r.drift, out)
}

// record takes what the walker has recorded into the digest.
func (r *reader) record(list *[]record, name, deposed string) {
	*list = append(*list, record{name, deposed, sha256.Sum256(r.walker.record)})
	r.plan.Keyed = r.plan.Keyed || r.walker.keyed
}

// keep adds a change with the attributes that the walker has listed.
func (r *reader) keep(k *keeper, c plumbline.Change) {
	c.Attributes, c.Omitted = append([]plumbline.Attribute(nil), r.walker.list...), r.walker.omitted // none is nil
	k.add(c)
}

func (c *resource) domain() plumbline.Change {
	return plumbline.Change{
		Address: c.address, Previous: c.previous, Type: c.kind, Provider: shortProvider(c.provider),
		Action: c.action, Reason: c.reason, Deposed: c.deposed, Importing: c.importing, ReplacePaths: c.replaces,
	}
}

// shortProvider leaves out the host where it is a default registry: "hashicorp/aws".
func shortProvider(name string) string {
	for _, host := range []string{terraformRegistry, tofuRegistry} {
		if short, ok := strings.CutPrefix(name, host); ok {
			return short
		}
	}
	return name
}

func count(c plumbline.Change, imports bool) (s plumbline.Summary) {
	switch {
	case c.Action.Replaces():
		s.Replace = 1
	case c.Action == plumbline.ActionCreate:
		s.Create = 1
	case c.Action == plumbline.ActionUpdate:
		s.Update = 1
	case c.Action == plumbline.ActionDelete:
		s.Delete = 1
	case c.Action == plumbline.ActionForget:
		s.Forget = 1
	case c.Action == plumbline.ActionForgetCreate:
		s.Forget, s.Create = 1, 1
	case c.Action == plumbline.ActionInvoke:
		s.Invoke = 1
	}
	if c.Previous != "" {
		s.Move = 1
	}
	if imports {
		s.Import = 1
	}
	return s
}

func appendList(dst []byte, list []string) []byte {
	dst = appendN(dst, len(list))
	for _, s := range list {
		dst = appendS(dst, s)
	}
	return dst
}
