package tfplan

import (
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Classify tells what was changed outside Git from what was never applied, from two plans made at one commit: the full one,
// and one with -refresh=false, which compares the configuration with the state and so cannot see reality.
//
//	situation                               norefresh   full                    drift in full   unapplied   differences
//	nothing                                 empty       empty                   none            no          none
//	drift that is ignored (ignore_changes)  empty       empty                   yes             no          none
//	changed outside                         empty       undoes it, + followers  yes             no          the drift
//	deleted outside                         empty       creates it, + followers delete          no          the deletion
//	configuration not applied               changes     the same changes        none            yes         none
//	… and something else changed outside    changes     those, and undoes it    yes             yes         the drift
//	… and the same resource changed outside changes     overwrites both         yes             yes         the drift
//	… and reality is like that already      changes     no-op, + followers      yes             yes         none
//	reality is wholly as configured         changes     empty                   yes             no          none
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
// Actions that are invoked, deferred changes and checks are no differences: what is not a resource's own does not drift. An action
// that norefresh has, too, is unapplied like any change.
//
// A full plan with no changes has no differences and nothing unapplied: norefresh may then be the zero Plan.
func Classify(full, norefresh plumbline.Plan) (differences []plumbline.Difference, unapplied bool) {
	if !full.HasChanges() {
		return nil, false
	}
	wanted, pending := byObject(full.Changes), byObject(norefresh.Changes)
	for _, drift := range full.Drift {
		change, ok := wanted[objectOf(drift)]
		if !ok || change.Action == plumbline.ActionNoOp {
			continue
		}
		if drift.Action == plumbline.ActionDelete {
			differences = append(differences, difference(drift, plumbline.DriftDeleted, drift.Attributes))
			continue
		}
		if other, ok := pending[objectOf(drift)]; ok && explains(other, change, drift, full.Truncated) {
			continue
		}
		attributes := overlap(drift.Attributes, change.Attributes, false)
		if len(attributes) == 0 || full.Truncated {
			attributes = drift.Attributes
		}
		differences = append(differences, difference(drift, plumbline.DriftChanged, attributes))
	}
	return differences, norefresh.HasChanges()
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

func difference(c plumbline.Change, kind plumbline.DifferenceKind, attributes []plumbline.Attribute) plumbline.Difference {
	return plumbline.Difference{Address: c.Address, Type: c.Type, Kind: kind, Attributes: attributes}
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
