package plumbline

import "strings"

// Sign is the mark that Terraform's users know for an action.
func (a Action) Sign() string {
	switch a {
	case ActionCreate:
		return "+"
	case ActionUpdate:
		return "~"
	case ActionDelete:
		return "-"
	case ActionReplace:
		return "-/+"
	case ActionReplaceFirst:
		return "+/-"
	case ActionForget:
		return "."
	case ActionForgetCreate:
		return "./+"
	case ActionInvoke:
		return ">"
	case ActionRead:
		return "<="
	}
	return "<"
}

// Danger ranks actions by what is lost if they are a mistake, 0 the least. Whatever has no room for all shows the highest first.
func (a Action) Danger() int {
	switch a {
	case ActionDelete:
		return 6
	case ActionReplace, ActionReplaceFirst:
		return 5
	case ActionForget, ActionForgetCreate:
		return 4
	case ActionInvoke: // it may do anything
		return 3
	case ActionUpdate:
		return 2
	case ActionCreate:
		return 1
	}
	return 0
}

// Verb says what happens, in the passive.
func (a Action) Verb() string {
	switch a {
	case ActionCreate:
		return "created"
	case ActionUpdate:
		return "changed in place"
	case ActionDelete:
		return "destroyed"
	case ActionReplace:
		return "destroyed, then created anew"
	case ActionReplaceFirst:
		return "created anew, then the old one destroyed"
	case ActionForget:
		return "forgotten (it stays in reality)"
	case ActionForgetCreate:
		return "created anew; the old one is forgotten (it stays in reality)"
	case ActionInvoke:
		return "run"
	case ActionRead:
		return "read"
	}
	return "kept"
}

// Remark is what stands behind the resource's line.
func (c Change) Remark() string {
	var parts []string
	if c.Action.Replaces() && len(c.ReplacePaths) > 0 {
		parts = append(parts, "replaced: "+strings.Join(c.ReplacePaths, ", "))
	} else if why := reasons[c.Reason]; why != "" {
		parts = append(parts, why)
	}
	if c.Action == ActionInvoke && c.Reason != "" {
		parts = append(parts, c.Reason)
	}
	if c.Previous != "" {
		parts = append(parts, "moved from "+c.Previous)
	}
	if c.Importing != "" {
		parts = append(parts, "imported: "+c.Importing)
	}
	switch c.Action {
	case ActionForget:
		parts = append(parts, "leaves the state, stays in reality")
	case ActionForgetCreate:
		parts = append(parts, "the old one leaves the state, stays in reality")
	}
	if c.Deposed != "" {
		parts = append(parts, "deposed object "+c.Deposed)
	}
	return strings.Join(parts, "; ")
}

// reasons are Terraform's values of action_reason, and of the reason of deferred_changes, in words
// (https://developer.hashicorp.com/terraform/internals/json-format#change-representation).
var reasons = map[string]string{
	"replace_because_tainted":           "tainted: its last creation failed half-way",
	"replace_because_cannot_update":     "cannot be changed in place",
	"replace_by_request":                "replacement was asked for",
	"replace_by_triggers":               "replace_triggered_by",
	"delete_because_no_resource_config": "not in the configuration any more",
	"delete_because_no_module":          "its module is not in the configuration any more",
	"delete_because_wrong_repetition":   "count or for_each was added or taken away",
	"delete_because_count_index":        "its index is beyond count",
	"delete_because_each_key":           "its key is not in for_each any more",
	"delete_because_no_move_target":     "its move target is not in the configuration",
	"delete_because_enabled_false":      "enabled is false",
	"read_because_config_unknown":       "its configuration is known after apply",
	"read_because_dependency_pending":   "something it depends on changes",
	"read_because_check_nested":         "read by a check",

	"forgot_because_lifecycle_destroy_in_state":  "lifecycle says destroy = false", // in the state; OpenTofu's own
	"forgot_because_lifecycle_destroy_in_config": "lifecycle says destroy = false",

	"instance_count_unknown":  "how many there will be is known after apply",
	"resource_config_unknown": "its configuration is known after apply",
	"provider_config_unknown": "its provider's configuration is known after apply",
	"absent_prereq":           "something it needs is not there yet",
	"deferred_prereq":         "something it depends on is left for later",
	"unknown":                 "it has to wait for another plan",
}
