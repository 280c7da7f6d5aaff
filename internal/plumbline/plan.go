package plumbline

import (
	"fmt"
	"strings"
)

// Plan is what Terraform says it would do to one stack. Nothing sensitive is in it: values that the plan marks as
// sensitive are Masked before a Plan exists.
type Plan struct {
	Digest    string            // hex SHA-256 of the canonical change set
	Config    string            // keyed hash of what decides what an apply does and is no change: providers' settings, provisioners, variables, the engine's version; "": not known
	Keyed     bool              // the digest covers sensitive values: it compares only with digests made with the same key
	Engine    string            // "terraform" or "tofu"
	Version   string            // the engine's
	Providers map[string]string `json:",omitempty"` // versions by source address, as they are locked
	Summary   Summary
	Changes   []Change       // managed resources that are not no-ops, and actions that are invoked, sorted by address
	Outputs   []OutputChange // Summary.Output counts them all; of very many, not all are kept
	Drift     []Change       // what Terraform saw changed outside since the last state, sorted by address
	Deferred  []Change       // what this plan leaves to a later one, sorted by address; applying it does none of it
	Checks    []Check        // of the configuration's own, those that did not pass, sorted by address
	NoState   bool           // there was no state, or an empty one: the stack was never applied here
	Errored   bool           // Terraform could not finish the plan
	Partial   bool           // after it another plan is needed, to reach what the configuration asks for
	Truncated bool           // attribute details were left out because of the size
}

// Check is a condition of the configuration (a check block, a pre- or postcondition, a variable's validation) that did not pass.
type Check struct {
	Address  string      // of the object that has it, as Terraform shows it
	Status   CheckStatus // never a pass
	Problems []string    // the configuration's own error messages
}

// CheckStatus is what became of a check.
type CheckStatus string

// The states of a check that did not pass (https://developer.hashicorp.com/terraform/internals/json-format#checks-representation).
const (
	CheckFailed  CheckStatus = "fail"
	CheckErrored CheckStatus = "error"
	CheckUnknown CheckStatus = "unknown" // it can be told only after the apply
)

// Words says what became of it.
func (s CheckStatus) Words() string {
	switch s {
	case CheckFailed:
		return "failed"
	case CheckErrored:
		return "could not be evaluated"
	}
	return "can be told only after the apply"
}

// HasChanges reports whether applying would do anything. Counting creates, updates and deletes is not enough:
// moves, imports and forgets count nowhere in Terraform's own summary.
func (p Plan) HasChanges() bool { return len(p.Changes) > 0 || len(p.Outputs) > 0 }

// Action is what happens to one resource.
type Action string

// The actions of a resource change.
const (
	ActionCreate       Action = "create"
	ActionUpdate       Action = "update"
	ActionDelete       Action = "delete"
	ActionReplace      Action = "replace"       // destroyed, then created
	ActionReplaceFirst Action = "create-delete" // created, then the old one destroyed
	ActionForget       Action = "forget"        // leaves the state, stays in reality
	ActionForgetCreate Action = "forget-create" // the old one leaves the state and stays in reality, a new one is created
	ActionInvoke       Action = "invoke"        // an action of a provider is run; it leaves nothing in the state
	ActionNoOp         Action = "no-op"         // only moved or imported
	ActionRead         Action = "read"
)

// Replaces reports whether the resource is destroyed and made anew.
func (a Action) Replaces() bool { return a == ActionReplace || a == ActionReplaceFirst }

// Destroys reports whether something real goes away.
func (a Action) Destroys() bool { return a == ActionDelete || a.Replaces() }

// Change is what happens to one resource.
type Change struct {
	Address      string
	Previous     string // address before a move
	Type         string
	Provider     string
	Action       Action
	Reason       string // Terraform's action_reason; for ActionInvoke what triggers it; for a deferred change why it is
	Deposed      string
	Importing    string // id
	ReplacePaths []string
	Attributes   []Attribute // changed ones; members of objects by name, elements of lists by index
	Omitted      int         // how many more have changed and are not kept, because the plan is very large

	Known map[string]string `json:",omitempty"` // of drift: what tells the object to its cloud, as in Difference
}

// OnlyEmpties reports whether nothing differs but that an empty value (a text, a list or a map) stands where there was nothing, or the other way
// round. Providers read such values back by themselves, so outside of a plan it is no sign that anybody changed anything.
func (c Change) OnlyEmpties() bool {
	empty := func(v string) bool { return v == "" || v == "null" || v == `""` || v == "[]" || v == "{}" }
	for _, a := range c.Attributes {
		if a.Sensitive || a.Unknown || !empty(a.Before) || !empty(a.After) {
			return false
		}
	}
	return c.Action == ActionUpdate && len(c.Attributes) > 0 && c.Omitted == 0
}

// Attribute is one changed attribute, at its leaf: `tags["a.b"]`, `ingress[0].from_port`. Before and After are values: JSON, or Masked,
// or what [TooLong] makes of a value that is too long to be kept, or "" where there is nothing.
//
// Elements of lists that are on both sides are told by what they hold, not by their index: when the first of three goes away, the other two
// have not changed. An index is the one that the element has in the list where it is, after if in both.
type Attribute struct {
	Path      string
	Before    string
	After     string
	Sensitive bool
	Unknown   bool   // known after apply
	Forces    bool   // forces replacement
	Beside    string // what has not changed beside it and tells the element of a list that it is in, for people: "from_port 443"; of the first of an element
	Whole     int    // length of the part of Path that is wholly new or goes away wholly, such as a list element; 0: what is around it stays
}

// TooLong stands for a value that is too long to be kept: its size, and a hash by which it can be told from others. Like Masked it is not JSON.
func TooLong(size int, hash string) string { return fmt.Sprintf("(%d bytes, hash %s)", size, hash) }

// IsJSON reports whether a value of an Attribute or OutputChange is JSON, and not one of the words that stand for one.
func IsJSON(value string) bool { return value != "" && value[0] != '(' }

// OutputChange is a change of a root module's output value. Where only a part of After is not known, that part is the string
// "(known after apply)".
type OutputChange struct {
	Name      string
	Action    Action
	Before    string // JSON or Masked
	After     string
	Sensitive bool
	Unknown   bool
}

// Summary counts what a plan would do.
type Summary struct {
	Create  int `json:"create"`
	Update  int `json:"update"`
	Delete  int `json:"delete"`
	Replace int `json:"replace"`
	Move    int `json:"move"`
	Import  int `json:"import"`
	Forget  int `json:"forget"`
	Invoke  int `json:"invoke"`
	Output  int `json:"output"`
}

// Add returns the sum of two summaries.
func (s Summary) Add(o Summary) Summary {
	return Summary{
		Create: s.Create + o.Create, Update: s.Update + o.Update, Delete: s.Delete + o.Delete, Replace: s.Replace + o.Replace,
		Move: s.Move + o.Move, Import: s.Import + o.Import, Forget: s.Forget + o.Forget, Invoke: s.Invoke + o.Invoke, Output: s.Output + o.Output,
	}
}

// IsZero reports whether nothing is counted.
func (s Summary) IsZero() bool { return s == Summary{} }

// String is the short form: "+2 ~3 -1 ±1", with what Terraform's own summary forgets written out.
func (s Summary) String() string {
	var parts []string
	short := func(n int, sign string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s%d", sign, n))
		}
	}
	short(s.Create, "+")
	short(s.Update, "~")
	short(s.Delete, "-")
	short(s.Replace, "±")
	long := func(n int, word string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
	}
	long(s.Move, "moved")
	long(s.Import, "imported")
	long(s.Forget, "forgotten")
	if s.Invoke > 0 {
		parts = append(parts, map[bool]string{true: "1 action", false: fmt.Sprintf("%d actions", s.Invoke)}[s.Invoke == 1])
	}
	if s.Output > 0 && len(parts) == 0 {
		long(s.Output, "output")
	}
	if len(parts) == 0 {
		return "no changes"
	}
	return strings.Join(parts, " ")
}

// PlanInfo is what a run keeps of its plan; the Plan itself lies sealed among the artifacts.
type PlanInfo struct {
	Digest    string
	Config    string `json:",omitempty"` // as in Plan, and of the files
	Given     string `json:",omitempty"` // as Plan's Config: what the files do not say, variables and the engine's version
	Engine    string
	Version   string
	Providers map[string]string `json:",omitempty"` // as in Plan
	Summary   Summary
	Changes   bool
	NoState   bool
	Destroy   []Named // the first of what is destroyed or replaced
	File      Blob    // the saved plan
	Masks     Blob    // what the log of its apply has to mask: the values that it marks as sensitive
	Doc       Blob    // the Plan as JSON
	Lock      Blob    // the dependency lock file that the plan was made with
}

// Named is a resource that is destroyed or replaced, with the attributes that force it.
type Named struct {
	Address string
	Action  Action
	Why     string
}

// Blob is a sealed artifact.
type Blob struct {
	Name   string
	Size   int64
	SHA256 string // of the plaintext
}

// namedLimit is how many destroyed resources a run's row keeps; all of them are in the plan document.
const namedLimit = 50

// Info is what a run keeps of the plan.
func (p Plan) Info() PlanInfo {
	info := PlanInfo{
		Digest: p.Digest, Config: p.Config, Given: p.Config, Engine: p.Engine, Version: p.Version, Providers: p.Providers,
		Summary: p.Summary, Changes: p.HasChanges(), NoState: p.NoState,
	}
	for _, c := range p.Changes {
		if c.Action.Destroys() && len(info.Destroy) < namedLimit {
			why := c.Reason
			if len(c.ReplacePaths) > 0 {
				why = strings.Join(c.ReplacePaths, ", ")
			}
			info.Destroy = append(info.Destroy, Named{Address: c.Address, Action: c.Action, Why: why})
		}
	}
	return info
}
