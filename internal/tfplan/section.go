package tfplan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The functions in this file read the sections beside changes, drift and outputs.

// invocation is one element of action_invocations.
type invocation struct {
	address, kind, provider string
	place
	lifecycle, invoke []byte   // canonical JSON of what triggers it; nil: not given
	reason            string   // the same in words
	named             []string // what stands under the names of secrets
}

// invocation reads one element.
func (r *reader) invocation() (v invocation, err error) {
	err = r.object(func(name []byte) error {
		switch string(name) {
		case "address":
			err := r.string(&v.address)
			r.at.address = v.address
			return err
		case "type":
			return r.word(&v.kind)
		case "provider_name":
			return r.word(&v.provider)
		case "config_values":
			return r.copy(&v.after)
		case "config_unknown":
			return r.copy(&v.unknown)
		case "config_sensitive":
			return r.copy(&v.afterSensitive)
		case "lifecycle_action_trigger":
			var trigger []byte
			if err := r.copy(&trigger); err != nil || !isValue(trigger) {
				return err
			}
			v.lifecycle, v.reason = appendJSON(nil, trigger, true), cmp.Or(lifecycle(trigger), v.reason)
			return nil
		case "invoke_action_trigger":
			var trigger []byte
			if err := r.copy(&trigger); err != nil || !isValue(trigger) {
				return err
			}
			v.invoke, v.reason = appendJSON(nil, trigger, true), cmp.Or(v.reason, "asked for by hand")
			return nil
		default:
			return r.pass()
		}
	})
	if err == nil && v.address == "" {
		err = r.wrong(errors.New("no address"))
	}
	v.named = r.finder.find("", nil, v.after)
	return v, err
}

// lifecycle says in words what triggers an action. Terraform writes the event as AfterCreate.
func lifecycle(trigger []byte) string {
	var address, event string
	for _, m := range appendMembers(nil, trigger) {
		switch {
		case kindOf(m.value) != str:
		case string(m.name) == "triggering_resource_address":
			address = string(text(m.value))
		case string(m.name) == "action_trigger_event":
			event = string(text(m.value))
		}
	}
	short := strings.ToLower(strings.ReplaceAll(event, "_", ""))
	for _, when := range []string{"before", "after"} {
		for what, participle := range map[string]string{"create": "created", "update": "updated", "destroy": "destroyed"} {
			if short == when+what {
				return fmt.Sprintf("runs %s %s is %s", when, cmp.Or(address, "its resource"), participle)
			}
		}
	}
	return strings.TrimSpace(strings.Join([]string{"triggered by", address, event}, " "))
}

func (v invocation) domain() plumbline.Change {
	return plumbline.Change{
		Address: v.address, Type: v.kind, Provider: shortProvider(v.provider), Action: plumbline.ActionInvoke, Reason: v.reason,
	}
}

// invoked adds one element of action_invocations to the plan.
func (r *reader) invoked() error {
	v, err := r.invocation()
	if err != nil {
		return err
	}
	r.provider(v.provider)
	out := v.domain()
	w := r.walker
	w.begin(true, r.changes.room(out), nil)
	w.record = appendS(w.record, v.address)
	w.record = appendS(w.record, v.provider)
	w.record = appendS(w.record, v.lifecycle)
	w.record = appendS(w.record, v.invoke)
	w.tellNamed(v.named)
	w.resource(v.place)
	r.record(&r.invocations, v.address, "")
	r.keep(&r.changes, out)
	r.plan.Summary = r.plan.Summary.Add(count(out, false))
	return nil
}

// deferredChange adds one element of deferred_changes to the plan.
func (r *reader) deferredChange() error {
	var reason string
	var c resource
	err := r.object(func(name []byte) (err error) {
		switch string(name) {
		case "reason":
			return r.word(&reason)
		case "resource_change":
			c, err = r.resource()
			return err
		default:
			return r.pass()
		}
	})
	switch {
	case err != nil:
		return err
	case c.address == "":
		return r.wrong(errors.New("no resource_change"))
	}
	r.walker.tellNamed(c.named)
	if !c.managed() {
		r.walker.tellPlace(c.place)
		return nil
	}
	r.provider(c.provider)
	r.hasState = r.hasState || c.action != plumbline.ActionCreate && !c.imports
	out := c.domain()
	out.Reason = reason
	r.postpone(out, c.place, c.replaces)
	return nil
}

// deferredInvocation adds one element of deferred_action_invocations to the plan.
func (r *reader) deferredInvocation() error {
	var reason string
	var v invocation
	err := r.object(func(name []byte) (err error) {
		switch string(name) {
		case "reason":
			return r.word(&reason)
		case "action_invocation":
			v, err = r.invocation()
			return err
		default:
			return r.pass()
		}
	})
	switch {
	case err != nil:
		return err
	case v.address == "":
		return r.wrong(errors.New("no action_invocation"))
	}
	r.provider(v.provider)
	out := v.domain()
	out.Reason = reason
	r.walker.tellNamed(v.named)
	r.postpone(out, v.place, nil)
	return nil
}

func (r *reader) postpone(c plumbline.Change, p place, replaces []string) {
	r.walker.begin(false, r.deferred.room(c), replaces)
	r.walker.resource(p)
	r.keep(&r.deferred, c)
}

// maxChecks is how many checks of each status are kept. One more says how many others there are.
const maxChecks = 1000

// check adds one element of checks to the plan: each of its instances that failed, and, if some are not known, the object once more.
func (r *reader) check() error {
	var whole plumbline.Check
	var status string
	instances, unknown := 0, false
	err := r.object(func(name []byte) error {
		switch string(name) {
		case "address":
			return r.member("to_display", func() error {
				err := r.string(&whole.Address)
				r.at.address = whole.Address
				return err
			})
		case "status":
			return r.word(&status)
		case "instances":
			return r.elements(func(int) error {
				c, err := r.checkInstance()
				switch c.Status {
				case "":
				case plumbline.CheckUnknown:
					unknown = true
				default:
					instances++
					r.addCheck(c)
				}
				return err
			})
		default:
			return r.pass()
		}
	})
	if err != nil {
		return err
	}
	switch whole.Status = checkStatus(status); {
	case whole.Status == "":
	case unknown:
		whole.Status = plumbline.CheckUnknown
		r.addCheck(whole)
	case instances == 0:
		r.addCheck(whole)
	}
	return nil
}

func (r *reader) checkInstance() (c plumbline.Check, err error) {
	var status string
	err = r.object(func(name []byte) error {
		switch string(name) {
		case "address":
			return r.member("to_display", func() error { return r.string(&c.Address) })
		case "status":
			return r.word(&status)
		case "problems":
			return r.elements(func(int) error {
				return r.member("message", func() error {
					var message string
					err := r.string(&message)
					if len(message) > maxValue {
						message = r.walker.tooLong(len(message), []byte(message))
					}
					switch {
					case message == "":
					case len(message) > r.checkRoom:
						r.checkRoom, r.plan.Truncated = 0, true
					default:
						r.checkRoom -= len(message)
						c.Problems = append(c.Problems, message)
					}
					return err
				})
			})
		default:
			return r.pass()
		}
	})
	if c.Status = checkStatus(status); c.Status == plumbline.CheckUnknown || c.Status == "" {
		c.Problems = nil
	}
	return c, err
}

// checkStatus is "" for a pass. What is not known to us is not known.
func checkStatus(s string) plumbline.CheckStatus {
	switch c := plumbline.CheckStatus(s); c {
	case "pass":
		return ""
	case plumbline.CheckFailed, plumbline.CheckErrored:
		return c
	default:
		return plumbline.CheckUnknown
	}
}

func (r *reader) addCheck(c plumbline.Check) {
	if r.checks[c.Status]++; r.checks[c.Status] <= maxChecks {
		r.plan.Checks = append(r.plan.Checks, c)
	}
}

// sortedChecks returns the checks by address; after them, what stands for those that are not kept.
func (r *reader) sortedChecks() []plumbline.Check {
	list := r.plan.Checks
	slices.SortStableFunc(list, func(a, b plumbline.Check) int { return cmp.Compare(a.Address, b.Address) })
	for _, s := range []plumbline.CheckStatus{plumbline.CheckFailed, plumbline.CheckErrored, plumbline.CheckUnknown} {
		if more := r.checks[s] - maxChecks; more > 0 {
			list = append(list, plumbline.Check{Address: fmt.Sprintf("(%d more)", more), Status: s})
		}
	}
	return list
}

// variables are the values of the root module's variables, which the plan holds in clear, until the configuration tells which
// of them are sensitive.
type variables struct {
	values    map[string][]byte
	size      int
	sensitive map[string]bool
}

// maxVariables bounds the bytes that are held of variables. What does not fit is told as if it were sensitive.
const maxVariables = 4 << 20

// variable reads one member of variables.
func (r *reader) variable(name []byte) error {
	key := string(name)
	return r.member("value", func() error {
		r.hold = r.hold[:0]
		var v []byte
		if err := r.copy(&v); err != nil {
			return err
		}
		if r.settings.variables != nil {
			put(r.settings.variables, []byte(key), v)
		}
		if r.walker.secrets == nil {
			return nil
		}
		vars := &r.variables
		r.walker.tellNamed(r.finder.find(key, nil, v))
		if vars.sensitive[key] || vars.size+len(v) > maxVariables {
			r.walker.tell(v)
			return nil
		}
		if vars.values == nil {
			vars.values = map[string][]byte{}
		}
		vars.values[key] = slices.Clone(v)
		vars.size += len(v)
		return nil
	})
}

// declared reads one member of the root module's variables in the configuration.
func (r *reader) declared(name []byte) error {
	key := string(name)
	return r.member("sensitive", func() error {
		v, err := r.value()
		if err != nil || !isTrue(v) || r.walker.secrets == nil {
			return err
		}
		vars := &r.variables
		r.walker.tell(vars.values[key])
		if vars.sensitive == nil {
			vars.sensitive = map[string]bool{}
		}
		vars.sensitive[key] = true
		return nil
	})
}
