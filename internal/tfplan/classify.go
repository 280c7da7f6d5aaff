package tfplan

import (
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Circumstances are what two plans cannot tell.
type Circumstances struct {
	// InSync: the stack was last applied at the very files of these plans, and well. Git has asked for nothing since.
	InSync bool
	// ByItself: what the stack's files ask for may be something else today: they call timestamp(), read data sources, and the like.
	ByItself bool
}

// Verdict is what two plans say.
type Verdict struct {
	Differences []plumbline.Difference // none is pending
	Pending     []plumbline.Difference // what Git asks for that was never applied, all of that kind
	Unapplied   bool                   // it asks for anything, moved and output values included
}

// Classify tells what was changed outside Git from what was never applied, from two plans made at one commit: the full one,
// and one with -refresh=false, which compares the configuration with the state and so cannot see reality.
//
//	situation                               norefresh   full                    drift in full   pending     differences of reality
//	nothing                                 empty       empty                   none            none        none
//	drift that is ignored (ignore_changes)  empty       empty                   yes             none        none
//	changed outside                         empty       undoes it, + followers  yes             none        the drift
//	deleted outside                         empty       creates it, + followers delete          none        the deletion
//	configuration not applied               changes     the same changes        none            norefresh   none
//	… and something else changed outside    changes     those, and undoes it    yes             norefresh   the drift
//	… and the same resource changed outside changes     overwrites both         yes             norefresh   the drift
//	… and reality is like that already      changes     no-op, + followers      yes             norefresh   none
//	reality is wholly as configured         changes     empty                   yes             none        none
//
// Followers are changes of resources that depend on a drifted one; they have no drift of their own and are not listed.
//
// A resource is different when full has drift and a change for it, and norefresh does not explain that change. Where norefresh
// has no change for the resource, the drift alone can have caused it. Where it has one, too, the drift counts if the two
// actions differ, or if the full plan sets a drifted attribute to a known value: one that is only computed anew
// (a time stamp that goes to "known after apply") is a consequence of the unapplied change. When both only
// remove the resource, what happened to it before does not matter any more.
//
// A difference lists the drifted attributes that the full plan would change, not those that the configuration ignores or already
// agrees with; a deletion lists all. Where no path is in both lists (sets count their elements anew), or the full plan
// is Truncated, it lists everything that drifted.
//
// What norefresh has is pending unless the stack is InSync: then Git has asked for nothing that was not applied, so that somebody has written the
// state from elsewhere, or the configuration asks for something else by itself.
//
//	norefresh, in sync                              class      origin
//	create                                          forgotten  state    taken out of the state, or applied without it
//	create of one instance of many, ByItself        itself
//	import                                          forgotten  state    the import block is still there
//	delete, the configuration does not have it      appeared   state    imported by hand, or applied from other files
//	delete of one instance of many                  appeared   state
//	delete of one instance of many, ByItself        itself
//	forget                                          appeared   state
//	update or replace, tainted                      changed    state
//	update or replace, ByItself                     itself              timestamp(), plantimestamp(), uuid(), bcrypt(), a data source
//	update or replace, something is known           changed    state    applied from other files, or with other values
//	… nothing is known, something is to be made     not listed          it follows a resource that is forgotten or tainted
//	… nothing is known, nothing is to be made       itself              another version of the provider
//	moved, data sources, outputs, actions, checks   never listed
//
// Actions that are invoked, deferred changes and checks are no differences: what is not a resource's own does not drift. An action
// that norefresh has, too, is unapplied like any change.
//
// A difference that means the same on both sides is Noise from the start; see noise.
//
// A full plan with no changes has no differences and nothing pending: norefresh may then be the zero Plan.
func Classify(full, norefresh plumbline.Plan, c Circumstances) Verdict {
	if !full.HasChanges() {
		return Verdict{}
	}
	v := Verdict{Differences: outside(full, norefresh)}
	if c.InSync && !norefresh.NoState {
		// An object that differs in both is one item: it is told of what happened in reality, if that means anything.
		for _, d := range elsewhere(norefresh, c.ByItself) {
			same := func(o plumbline.Difference) bool { return o.Address == d.Address && o.Deposed == d.Deposed }
			if slices.ContainsFunc(v.Differences, func(o plumbline.Difference) bool { return same(o) && o.Counts() }) {
				continue
			}
			v.Differences = append(slices.DeleteFunc(v.Differences, same), d)
		}
		return v
	}
	v.Unapplied = norefresh.HasChanges()
	for _, change := range norefresh.Changes {
		d := difference(change, plumbline.DriftPending, change.Attributes)
		d.Action = change.Action
		v.Pending = append(v.Pending, d)
	}
	return v
}

// outside returns what differs in reality from what was applied.
func outside(full, norefresh plumbline.Plan) []plumbline.Difference {
	wanted, pending := byObject(full.Changes), byObject(norefresh.Changes)
	var sure, perhaps []plumbline.Difference
	for _, drift := range full.Drift {
		change, ok := wanted[objectOf(drift)]
		if !ok || change.Action == plumbline.ActionNoOp {
			continue
		}
		if drift.Action == plumbline.ActionDelete {
			d := vanished(drift)
			d.Action = change.Action
			sure = append(sure, d)
			continue
		}
		other, both := pending[objectOf(drift)]
		if both && explains(other, change, drift, full.Truncated) {
			continue
		}
		switch d, undone := changed(drift, change, full.Truncated); {
		case both || undone:
			sure = append(sure, d)
		default:
			perhaps = append(perhaps, d)
		}
	}
	if len(sure) == 0 { // nothing else can be why those are to be changed
		sure = perhaps
	}
	slices.SortStableFunc(sure, func(a, b plumbline.Difference) int { return strings.Compare(a.Address, b.Address) })
	return sure
}

// changed is the drift of one resource as a difference, and whether the plan undoes any of it. One that does not may be going to change this resource because
// of another one that has drifted.
func changed(drift, change plumbline.Change, truncated bool) (d plumbline.Difference, undone bool) {
	attributes := overlap(drift.Attributes, change.Attributes, false)
	undone = truncated || change.Omitted > 0 || len(overlap(drift.Attributes, change.Attributes, true)) > 0 || sameRoot(drift.Attributes, change.Attributes)
	if len(attributes) == 0 || truncated {
		attributes = drift.Attributes
	}
	d = difference(drift, plumbline.DriftChanged, attributes)
	d.Action = change.Action
	if !truncated && drift.Omitted == 0 {
		d.Noise = noise(attributes)
	}
	return d, undone
}

// sameRoot reports whether the plan sets something known in an attribute in which something has drifted, as in a set, whose elements have other
// indexes then.
func sameRoot(drifted, planned []plumbline.Attribute) bool {
	root := func(a plumbline.Attribute) string {
		name, _, _ := strings.Cut(a.Path, ".")
		name, _, _ = strings.Cut(name, "[")
		return name
	}
	return slices.ContainsFunc(planned, func(p plumbline.Attribute) bool {
		return !p.Unknown && slices.ContainsFunc(drifted, func(d plumbline.Attribute) bool { return root(d) == root(p) })
	})
}

// OutsideAlone returns what differs in reality from what was applied, from a plan with -refresh-only: all that is left where the configuration
// cannot be planned. Such a plan does not know what the configuration ignores; skip reports whether that may be anything of a resource.
func OutsideAlone(refreshed plumbline.Plan, skip func(address string) bool) (differences []plumbline.Difference) {
	for _, drift := range refreshed.Drift {
		switch {
		case drift.Action == plumbline.ActionDelete:
			differences = append(differences, vanished(drift))
		case drift.Action == plumbline.ActionNoOp || skip(drift.Address):
		default:
			d := difference(drift, plumbline.DriftChanged, drift.Attributes)
			if !refreshed.Truncated && drift.Omitted == 0 {
				d.Noise = noise(drift.Attributes)
			}
			differences = append(differences, d)
		}
	}
	return differences
}

// elsewhere returns what a stack that is in sync with Git would do all the same.
func elsewhere(norefresh plumbline.Plan, byItself bool) (differences []plumbline.Difference) {
	made := slices.ContainsFunc(norefresh.Changes, func(c plumbline.Change) bool { return isForgotten(c, byItself) || c.Reason == tainted })
	add := func(c plumbline.Change, kind plumbline.DifferenceKind) {
		d := difference(c, kind, backwards(c.Attributes))
		d.Origin, d.Action = plumbline.FromState, c.Action
		switch kind {
		case plumbline.DriftSelf:
			d.Origin = plumbline.FromReality
		case plumbline.DriftChanged:
			if !norefresh.Truncated && c.Omitted == 0 {
				d.Noise = noise(d.Attributes)
			}
		}
		differences = append(differences, d)
	}
	for _, c := range norefresh.Changes {
		switch {
		case c.Action == plumbline.ActionInvoke:
		case isForgotten(c, byItself):
			add(c, plumbline.DriftForgotten)
		case c.Action == plumbline.ActionNoOp: // moved
		case c.Action == plumbline.ActionCreate:
			add(c, plumbline.DriftSelf)
		case c.Action == plumbline.ActionDelete && byItself && instanceOfMany(c.Address) && c.Reason != noConfig && c.Reason != noModule:
			add(c, plumbline.DriftSelf)
		case c.Action == plumbline.ActionDelete, c.Action == plumbline.ActionForget:
			add(c, plumbline.DriftAppeared)
		case c.Reason == tainted:
			add(c, plumbline.DriftChanged)
		case byItself:
			add(c, plumbline.DriftSelf)
		case slices.ContainsFunc(c.Attributes, func(a plumbline.Attribute) bool { return !a.Unknown }):
			add(c, plumbline.DriftChanged) // what is unknown besides is computed anew because of that
		case made: // it follows
		case len(c.Attributes) > 0:
			add(c, plumbline.DriftSelf)
		default:
			add(c, plumbline.DriftChanged)
		}
	}
	return differences
}

// Terraform's words for why it wants a change (https://developer.hashicorp.com/terraform/internals/json-format#change-representation).
const (
	noConfig = "delete_because_no_resource_config"
	noModule = "delete_because_no_module"
	tainted  = "replace_because_tainted"
)

func isForgotten(c plumbline.Change, byItself bool) bool {
	return c.Importing != "" || c.Action == plumbline.ActionCreate && (!byItself || !instanceOfMany(c.Address))
}

// instanceOfMany reports whether count or for_each made the resource, or a module that it is in.
func instanceOfMany(address string) bool { return strings.Contains(address, "[") }

// backwards is a change as what has happened before it: it undoes that.
func backwards(attributes []plumbline.Attribute) []plumbline.Attribute {
	out := slices.Clone(attributes)
	for i := range out {
		if !out[i].Unknown {
			out[i].Before, out[i].After = out[i].After, out[i].Before
		}
	}
	return out
}

// explains reports whether an unapplied change is why the full plan has one, whatever the drift.
func explains(pending, change, drift plumbline.Change, truncated bool) bool {
	if pending.Action != change.Action {
		return false
	}
	if change.Action == plumbline.ActionDelete || change.Action == plumbline.ActionForget || change.Action == plumbline.ActionForgetCreate {
		return true
	}
	return !truncated && len(overlap(drift.Attributes, change.Attributes, true)) == 0
}

// overlap returns those of drifted that planned has, too, or has something inside or around of.
func overlap(drifted, planned []plumbline.Attribute, knownOnly bool) []plumbline.Attribute {
	var both []plumbline.Attribute
	for _, d := range drifted {
		if slices.ContainsFunc(planned, func(p plumbline.Attribute) bool {
			return (!knownOnly || !p.Unknown) && (within(p.Path, d.Path) || within(d.Path, p.Path) || undoes(p, d))
		}) {
			both = append(both, d)
		}
	}
	return both
}

// undoes reports whether planned is drifted the other way round, in an element that has another index in another list: in
// drift an index counts in reality, in a plan that changes an element it counts in the configuration.
func undoes(planned, drifted plumbline.Attribute) bool {
	return drifted.After == planned.Before && (drifted.After != "" || drifted.Before == planned.After) && meet(planned.Path, drifted.Path)
}

// vanished is a resource that is not there any more. One that has come to the end of its time says so in this way.
func vanished(drift plumbline.Change) plumbline.Difference {
	d := difference(drift, plumbline.DriftDeleted, drift.Attributes)
	if drift.Type == "time_rotating" {
		d.Kind = plumbline.DriftSelf
	}
	return d
}

func difference(c plumbline.Change, kind plumbline.DifferenceKind, attributes []plumbline.Attribute) plumbline.Difference {
	return plumbline.Difference{
		Address: c.Address, Deposed: c.Deposed, Type: c.Type, Provider: c.Provider, Kind: kind, Attributes: withoutMirrors(attributes), Known: c.Known,
	}
}

// key names one object of a resource: the current one, or a deposed one.
type key struct{ address, deposed string }

func objectOf(c plumbline.Change) key { return key{c.Address, c.Deposed} }

func byObject(changes []plumbline.Change) map[key]plumbline.Change {
	m := make(map[key]plumbline.Change, len(changes))
	for _, c := range changes {
		if c.Action != plumbline.ActionInvoke { // of no resource
			m[objectOf(c)] = c
		}
	}
	return m
}
