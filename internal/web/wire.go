package web

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The types in this file are the API's JSON. They are apart from the domain's so that neither ties the other, and so that nothing
// leaves which was not meant to: a field that is not named here is not sent.

// RunJSON is a run.
type RunJSON struct {
	ID          plumbline.RunID `json:"id"`
	Kind        plumbline.Kind  `json:"kind"`
	State       plumbline.State `json:"state"`
	Label       string          `json:"label"` // the state in words
	Repository  string          `json:"repository"`
	Environment string          `json:"environment"`
	Stack       string          `json:"stack"`
	Commit      string          `json:"commit"`
	Base        string          `json:"base,omitempty"`
	MR          string          `json:"merge_request,omitempty"`
	Deployment  int64           `json:"deployment,omitempty"`
	Because     string          `json:"because"`
	By          string          `json:"by"`
	WaitsFor    []string        `json:"waits_for,omitempty"`
	Attempt     int             `json:"attempt"`
	Worker      string          `json:"worker,omitempty"`
	Plan        *PlanInfoJSON   `json:"plan,omitempty"`
	Approvals   []ApprovalJSON  `json:"approvals,omitempty"`
	Missing     int             `json:"approvals_missing,omitempty"` // while it awaits approval
	Needs       string          `json:"needs,omitempty"`             // what Demands come to, in words
	Demands     []DemandJSON    `json:"demands,omitempty"`           // agreement that the plan still needs
	Closed      *ClosedJSON     `json:"closed,omitempty"`            // while it waits: its environment takes no changes now
	Glass       *GlassJSON      `json:"glass,omitempty"`             // somebody has it applied against the rules
	Authors     []string        `json:"authors,omitempty"`           // of the change, as far as is known
	ValidUntil  time.Time       `json:"valid_until,omitzero"`        // the plan can be approved until then
	Unapplied   bool            `json:"unapplied,omitempty"`
	DriftOpen   int             `json:"drift_open,omitempty"`
	Failure     *FailureJSON    `json:"failure,omitempty"`
	Created     []CreatedJSON   `json:"created,omitempty"`
	RejectedBy  string          `json:"rejected_by,omitempty"`
	Reason      string          `json:"reason,omitempty"`
	Queued      time.Time       `json:"queued"`
	NotBefore   time.Time       `json:"not_before,omitzero"` // it is not begun sooner
	Started     time.Time       `json:"started,omitzero"`
	Planned     time.Time       `json:"planned,omitzero"`
	Finished    time.Time       `json:"finished,omitzero"`
	Since       time.Time       `json:"since"` // it is in its state since then
	URL         string          `json:"url,omitempty"`
}

// Ended reports whether nothing more happens to the run by itself.
func (r RunJSON) Ended() bool { return r.State.Ended() }

// PlanInfoJSON is what a run keeps of its plan.
type PlanInfoJSON struct {
	Digest   string            `json:"digest"`
	Engine   string            `json:"engine"`
	Version  string            `json:"version"`
	Summary  plumbline.Summary `json:"summary"`
	Text     string            `json:"text"` // the summary in short
	NoState  bool              `json:"no_state,omitempty"`
	Destroys []NamedJSON       `json:"destroys,omitempty"` // the first of what is destroyed or replaced
}

// NamedJSON is a resource that is destroyed or replaced.
type NamedJSON struct {
	Address string           `json:"address"`
	Action  plumbline.Action `json:"action"`
	Why     string           `json:"why,omitempty"`
}

// ApprovalJSON is a person's yes to one digest.
type ApprovalJSON struct {
	By      string         `json:"by"`
	Door    plumbline.Door `json:"door,omitempty"`
	Carried string         `json:"carried,omitempty"` // where it was given, if not to this run
	Counts  bool           `json:"counts"`            // for the plan at hand, now
	Digest  string         `json:"digest"`
	At      time.Time      `json:"at"`
	Expires time.Time      `json:"expires,omitzero"`
}

// DemandJSON is agreement that a plan still needs.
type DemandJSON struct {
	Count int      `json:"count"`          // how many more people
	From  []string `json:"from,omitempty"` // "group:sre", "user:alice@example.com", "role:approver": any of them; none: everybody who may approve
	Why   string   `json:"why,omitempty"`  // what a policy says; none: the environment's own rule
	Text  string   `json:"text"`
}

// ClosedJSON is why an environment takes no changes.
type ClosedJSON struct {
	Why   string    `json:"why"`
	Until time.Time `json:"until,omitzero"` // left out where nobody knows
}

// GlassJSON is that somebody had a plan applied against the rules.
type GlassJSON struct {
	By     string         `json:"by"`
	Door   plumbline.Door `json:"door,omitempty"`
	Reason string         `json:"reason"`
	Digest string         `json:"digest"`
	At     time.Time      `json:"at"`
}

// CheckResultJSON is what one check beside the plan came to.
type CheckResultJSON struct {
	Name     plumbline.CheckName `json:"name"`
	Verdict  plumbline.Verdict   `json:"verdict"`
	Text     string              `json:"text,omitempty"`
	Findings []FindingJSON       `json:"findings,omitempty"`
	Output   string              `json:"output,omitempty"`
}

// PolicyFindingJSON is what one rule of a policy says about a plan.
type PolicyFindingJSON struct {
	Policy  string                `json:"policy"`
	Level   plumbline.PolicyLevel `json:"level"`
	Message string                `json:"message"`
	Address string                `json:"address,omitempty"`
	From    []string              `json:"from,omitempty"`
}

// SinceJSON is how the plan at hand differs from the newest other plan that somebody has agreed to.
type SinceJSON struct {
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Carried   string    `json:"carried,omitempty"`
	Digest    string    `json:"digest"`            // of the plan that was agreed to
	Text      string    `json:"text"`              // one sentence
	Way       bool      `json:"way,omitempty"`     // the changes are the same, made in another way: only Plan.Config differs
	Missing   bool      `json:"missing,omitempty"` // one of the plans is not kept any more: nobody can tell the difference
	More      []string  `json:"more,omitempty"`    // addresses of what only the plan at hand does
	Fewer     []string  `json:"fewer,omitempty"`
	Different []string  `json:"different,omitempty"`
	Lines     []string  `json:"lines,omitempty"` // the difference as people read it
}

// FailureJSON is why a run failed.
type FailureJSON struct {
	Kind        plumbline.FailureKind `json:"kind"`
	Text        string                `json:"text"`
	Next        string                `json:"next,omitempty"`
	Diagnostics []DiagnosticJSON      `json:"diagnostics,omitempty"`
}

// DiagnosticJSON is one message of Terraform's own.
type DiagnosticJSON struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail,omitempty"`
	Address  string `json:"address,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Snippet  string `json:"snippet,omitempty"`
}

// CreatedJSON is one object that an apply reported as done.
type CreatedJSON struct {
	Address string           `json:"address"`
	Action  plumbline.Action `json:"action"`
	ID      string           `json:"id,omitempty"`
}

// EventJSON is one line of a run's history.
type EventJSON struct {
	At   time.Time       `json:"at"`
	From plumbline.State `json:"from,omitempty"`
	To   plumbline.State `json:"to"`
	Who  string          `json:"who,omitempty"`
	Text string          `json:"text,omitempty"`
}

// RunDetailJSON is a run with all that is told of it beside its plan and log.
type RunDetailJSON struct {
	Run         RunJSON             `json:"run"`
	Explanation string              `json:"explanation"`
	Since       *SinceJSON          `json:"since,omitempty"` // somebody has agreed to another plan
	Checks      []CheckResultJSON   `json:"checks,omitempty"`
	Findings    []PolicyFindingJSON `json:"findings,omitempty"` // of policies
	Events      []EventJSON         `json:"events"`
	Siblings    []RunJSON           `json:"siblings"` // the other runs of its deployment
}

// RunsJSON is a listing of runs.
type RunsJSON struct {
	Runs []RunJSON `json:"runs"`
}

// EnvironmentJSON is an environment as it stands.
type EnvironmentJSON struct {
	Repository   string                     `json:"repository"`
	Environment  string                     `json:"environment"`
	Branch       string                     `json:"branch"`
	Apply        plumbline.ApplyMode        `json:"apply"`
	State        plumbline.EnvironmentState `json:"state"`
	Commit       string                     `json:"commit,omitempty"`
	Cause        string                     `json:"cause,omitempty"`
	Stacks       int                        `json:"stacks"`
	OutOfSync    int                        `json:"out_of_sync"`
	NeverApplied int                        `json:"never_applied"`
	Drift        int                        `json:"drift"`
	Waiting      []plumbline.RunID          `json:"waiting"`
	Failed       []plumbline.RunID          `json:"failed"`
}

// EnvironmentsJSON is a listing of environments.
type EnvironmentsJSON struct {
	Environments []EnvironmentJSON `json:"environments"`
}

// EnvironmentDetailJSON is an environment with its stacks and what moves.
type EnvironmentDetailJSON struct {
	EnvironmentJSON
	StackList  []StackJSON     `json:"stack_list"`
	Deployment *DeploymentJSON `json:"deployment,omitempty"` // the newest
	Runs       []RunJSON       `json:"runs"`                 // of the newest deployment
	Findings   []FindingJSON   `json:"findings"`
	Calendar   CalendarJSON    `json:"calendar"`
	Promotion  *PromotionJSON  `json:"promotion,omitempty"` // where it promotes to another
}

// CalendarJSON is when an environment takes changes.
type CalendarJSON struct {
	Closed   *ClosedJSON  `json:"closed,omitempty"` // now
	Windows  []WindowJSON `json:"windows"`          // none: at all times
	Freezes  []FreezeJSON `json:"freezes"`          // those that are over are left out
	Openings []SpanJSON   `json:"openings"`         // the next; the first has begun if it is open now
}

// WindowJSON is a time in which changes may be applied.
type WindowJSON struct {
	Name     string `json:"name"`
	Allow    string `json:"allow"` // when it opens, as cron writes it
	For      string `json:"for"`
	Timezone string `json:"timezone"`
}

// FreezeJSON is a time in which nothing is applied.
type FreezeJSON struct {
	ID     int64     `json:"id,omitempty"` // of one that a person has set; else it comes from the configuration
	Name   string    `json:"name,omitempty"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until,omitzero"` // left out: until it is lifted
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// SpanJSON is the time from an instant until just before another.
type SpanJSON struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"` // left out: no end is known
}

// ThawedJSON is how many freezes were lifted, and when the environment takes changes now.
type ThawedJSON struct {
	Lifted   int          `json:"lifted"`
	Calendar CalendarJSON `json:"calendar"`
}

// PromotionJSON is what an environment has that the one it promotes to does not.
type PromotionJSON struct {
	To           string           `json:"to"`
	Source       string           `json:"source"` // branches
	Target       string           `json:"target"`
	Same         bool             `json:"same"`                    // the target has all that the source has
	MergeRequest string           `json:"merge_request,omitempty"` // open, from one to the other
	Ahead        int              `json:"ahead"`                   // how many stacks are
	Stacks       []PromotableJSON `json:"stacks"`
}

// PromotableJSON is how far a stack is in both environments.
type PromotableJSON struct {
	Stack   string          `json:"stack"`
	Here    string          `json:"here,omitempty"`    // commit that it is in sync with
	There   string          `json:"there,omitempty"`   // likewise
	Missing bool            `json:"missing,omitempty"` // there is none there
	Ahead   bool            `json:"ahead"`             // what is here is not there
	Pending plumbline.RunID `json:"pending,omitempty"` // run there that has not ended
	State   plumbline.State `json:"state,omitempty"`   // its state
}

// StackJSON is a stack as it stands.
type StackJSON struct {
	Name         string          `json:"name"`
	Alias        string          `json:"alias,omitempty"`
	Dir          string          `json:"dir"`
	State        string          `json:"state"`            // in words
	Commit       string          `json:"commit,omitempty"` // in sync with, as far as was last seen
	Checked      bool            `json:"checked"`
	NeverApplied bool            `json:"never_applied,omitempty"`
	Removed      bool            `json:"removed,omitempty"`
	Drift        int             `json:"drift"`
	LastRun      plumbline.RunID `json:"last_run,omitempty"`
	LastKind     plumbline.Kind  `json:"last_kind,omitempty"`
	LastState    plumbline.State `json:"last_state,omitempty"`
	DependsOn    []string        `json:"depends_on,omitempty"`
}

// DeploymentJSON is all deploy runs of one commit on one environment.
type DeploymentJSON struct {
	ID       int64                   `json:"id"`
	Commit   string                  `json:"commit"`
	Previous string                  `json:"previous,omitempty"`
	By       string                  `json:"by"`
	Created  time.Time               `json:"created"`
	State    string                  `json:"state"`
	Runs     int                     `json:"runs"`
	Counts   map[plumbline.State]int `json:"counts"`
}

// DeploymentsJSON is an environment's history, newest first.
type DeploymentsJSON struct {
	Deployments []DeploymentJSON `json:"deployments"`
}

// FindingJSON is something in a commit that cannot be used, with its place.
type FindingJSON struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Source  string `json:"source,omitempty"`
	Message string `json:"message"`
}

// ValueJSON is a value of an attribute or output, in the domain's form. In JSON it is the value itself; where that is hidden or too long, a
// string that says so: "(sensitive)" or "(70000 bytes, hash …)". Where there is no value, it is left out.
type ValueJSON string

// MarshalJSON returns the value itself.
func (v ValueJSON) MarshalJSON() ([]byte, error) {
	if plumbline.IsJSON(string(v)) && json.Valid([]byte(v)) { // masking can take a quote along
		return []byte(v), nil
	}
	return json.Marshal(string(v))
}

// UnmarshalJSON takes what MarshalJSON made.
func (v *ValueJSON) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil && strings.HasPrefix(word, "(") && strings.HasSuffix(word, ")") {
		*v = ValueJSON(word)
		return nil
	}
	var compact bytes.Buffer
	err := json.Compact(&compact, b)
	*v = ValueJSON(compact.String())
	return err
}

// AttributeJSON is one changed attribute.
type AttributeJSON struct {
	Path      string    `json:"path"`
	Before    ValueJSON `json:"before,omitempty"`
	After     ValueJSON `json:"after,omitempty"`
	Sensitive bool      `json:"sensitive,omitempty"`
	Unknown   bool      `json:"unknown,omitempty"`
	Forces    bool      `json:"forces_replacement,omitempty"`
	Beside    string    `json:"beside,omitempty"` // what has not changed beside it, for people to tell the element of a list that it is in
	Whole     int       `json:"whole,omitempty"`  // length of the part of the path that is wholly new or goes away wholly
}

// PlanJSON is a plan. Nothing sensitive is in it.
type PlanJSON struct {
	Digest    string            `json:"digest"`
	Keyed     bool              `json:"keyed,omitempty"` // the digest covers sensitive values: it compares only under one key
	Engine    string            `json:"engine"`
	Version   string            `json:"version"`
	Summary   plumbline.Summary `json:"summary"`
	NoState   bool              `json:"no_state"`
	Errored   bool              `json:"errored"`
	Partial   bool              `json:"partial,omitempty"` // another plan is needed after it
	Truncated bool              `json:"truncated"`
	Changes   []ChangeJSON      `json:"changes"`
	Outputs   []OutputJSON      `json:"outputs"`
	Drift     []ChangeJSON      `json:"drift"`
	Deferred  []ChangeJSON      `json:"deferred,omitempty"` // left to a later plan
	Checks    []CheckJSON       `json:"checks,omitempty"`   // that did not pass
}

// CheckJSON is a condition of the configuration that did not pass.
type CheckJSON struct {
	Address  string                `json:"address"`
	Status   plumbline.CheckStatus `json:"status"`
	Problems []string              `json:"problems,omitempty"`
}

// ChangeJSON is what happens to one resource.
type ChangeJSON struct {
	Address      string           `json:"address"`
	Previous     string           `json:"previous_address,omitempty"`
	Type         string           `json:"type"`
	Provider     string           `json:"provider,omitempty"`
	Action       plumbline.Action `json:"action"`
	Reason       string           `json:"reason,omitempty"`
	Deposed      string           `json:"deposed,omitempty"`
	Importing    string           `json:"importing,omitempty"`
	ReplacePaths []string         `json:"replace_paths,omitempty"`
	Attributes   []AttributeJSON  `json:"attributes,omitempty"`
	Omitted      int              `json:"attributes_omitted,omitempty"` // how many more have changed, in a very large plan
}

// OutputJSON is a change of an output value.
type OutputJSON struct {
	Name      string           `json:"name"`
	Action    plumbline.Action `json:"action"`
	Before    ValueJSON        `json:"before,omitempty"`
	After     ValueJSON        `json:"after,omitempty"`
	Sensitive bool             `json:"sensitive,omitempty"`
	Unknown   bool             `json:"unknown,omitempty"`
}

// MergeRequestJSON is a proposed change with the newest run of each stack that it touches.
type MergeRequestJSON struct {
	Repository string            `json:"repository"`
	ID         string            `json:"id"`
	Name       string            `json:"name"` // "!42"
	Title      string            `json:"title"`
	Author     string            `json:"author"`
	URL        string            `json:"url,omitempty"` // on its forge
	Source     string            `json:"source"`
	Target     string            `json:"target"`
	Head       string            `json:"head"`
	State      plumbline.MRState `json:"state"`
	Draft      bool              `json:"draft,omitempty"`
	Fork       bool              `json:"fork,omitempty"`
	Conflict   bool              `json:"conflict,omitempty"`
	Skipped    string            `json:"skipped,omitempty"`
	Removed    []string          `json:"removed,omitempty"`
	Findings   []FindingJSON     `json:"findings,omitempty"`
	Updated    time.Time         `json:"updated,omitzero"`
	Runs       []RunJSON         `json:"runs"`
}

// MergeRequestsJSON is a listing of merge requests.
type MergeRequestsJSON struct {
	MergeRequests []MergeRequestJSON `json:"merge_requests"`
}

// WhyJSON is why runs exist and what they wait for.
type WhyJSON struct {
	Answers []AnswerJSON `json:"answers"`
}

// AnswerJSON is why one run exists.
type AnswerJSON struct {
	Run   RunJSON      `json:"run"`
	Text  string       `json:"text"`
	Chain []ReasonJSON `json:"chain"`
}

// ReasonJSON is one link of the chain that leads to where a run stands.
type ReasonJSON struct {
	What    string          `json:"what"`
	Because string          `json:"because,omitempty"`
	Run     plumbline.RunID `json:"run,omitempty"` // that it is about, or that is in the way
}

// RequestedJSON is a wish that was filed. Once it is not among the requests any more, its runs are queued: those of Stacks with an ID
// above After, or where a stack was being looked at already, the run that did.
type RequestedJSON struct {
	Request int64           `json:"request"`
	At      time.Time       `json:"at"`
	After   plumbline.RunID `json:"after"`
	Stacks  []string        `json:"stacks"`
}

// ProposedJSON is a wish for a merge request, or for a commit, that was filed.
type ProposedJSON struct {
	Request int64     `json:"request"`
	At      time.Time `json:"at"`
	Source  string    `json:"source,omitempty"` // branch of a promotion
	Target  string    `json:"target"`           // branch that it is to change
	To      string    `json:"to,omitempty"`     // commit of a rollback; left out: the newest with which everything was in sync
	Direct  bool      `json:"direct,omitempty"` // a commit is pushed; there is no merge request
	Text    string    `json:"text"`             // where it will appear
}

// RequestJSON is a wish that nobody has fulfilled yet.
type RequestJSON struct {
	ID     int64                 `json:"id"`
	Kind   plumbline.RequestKind `json:"kind"`
	Stacks []string              `json:"stacks,omitempty"` // none: all
	To     string                `json:"to,omitempty"`     // of a rollback
	By     string                `json:"by"`
	At     time.Time             `json:"at"`
}

// RequestsJSON is a listing of wishes, oldest first.
type RequestsJSON struct {
	Requests []RequestJSON `json:"requests"`
}

// ApproveJSON is the body of an approval: the digest that was seen, or its first characters.
type ApproveJSON struct {
	Digest string `json:"digest"`
}

// BreakGlassJSON is the body of an apply against the rules.
type BreakGlassJSON struct {
	Digest string `json:"digest"`
	Reason string `json:"reason"`
}

// FreezeForJSON is the body of a freeze.
type FreezeForJSON struct {
	Until  time.Time `json:"until,omitzero"` // left out: until it is lifted
	Reason string    `json:"reason"`
}

// ThawJSON is the body that lifts freezes.
type ThawJSON struct {
	ID     int64  `json:"id,omitempty"` // left out: all that people have set
	Reason string `json:"reason"`
}

// RollbackJSON is the body of a rollback.
type RollbackJSON struct {
	To string `json:"to,omitempty"` // commit, or its first 7 digits or more
}

// AuditJSON is a listing of the audit log.
type AuditJSON struct {
	Entries []plumbline.AuditRow `json:"entries"` // the domain's own form: their text is what their hashes cover
}

// RejectJSON is the body of a rejection.
type RejectJSON struct {
	Reason string `json:"reason"`
}

// StacksJSON is the body of a deploy or a drift check; no stacks means all.
type StacksJSON struct {
	Stacks []string `json:"stacks"`
}

// LoopsJSON is a listing of the daemon's loops.
type LoopsJSON struct {
	Loops []Loop `json:"loops"`
}
