package plumbline

import "time"

// Phase is the part of a run that needs Terraform.
type Phase string

// The phases of a run.
const (
	PhasePlan  Phase = "plan"
	PhaseApply Phase = "apply"
)

// EngineRef says which program plans and applies.
type EngineRef struct {
	Name       string // "terraform" or "tofu"
	Constraint string // version constraint; "" any
}

// Job is everything one phase of a run needs to know.
type Job struct {
	Run      RunID
	Attempt  int
	Claim    Claim
	Phase    Phase
	Kind     Kind
	Stack    StackRef
	Spec     StackSpec
	Dir      string // absolute; the run's own directory, the same path on every node; the commit's files are in Dir/src
	Engine   EngineRef
	Vars     []Variable
	Backend  []Variable
	Env      []EnvVar
	Destroy  bool        // plan the destruction of everything
	Checks   []CheckName // what to check beside the plan, never CheckPolicy; a plan is made whatever they come to
	Policies []string    // absolute directories of policies that the plan is held against; none: it is not
	Facts    Facts       // for the policies
	// NoState of the last plan of this stack: false means a state was known, so that one that is suddenly empty is refused
	// rather than planned as "create everything".
	HadState bool
	// InSync: drift checks only. The stack was last applied at these very files, and well: whatever a plan wants to do that does not look at
	// reality was not asked for by Git. Never guessed: false means that Git may have asked for it.
	InSync bool
	Given  string // InSync: what it was applied with beside its files, as in PlanInfo; a plan with other variables asks for something new

	Mask        []string `json:"-"`          // secrets besides those in Vars, Backend and Env, to be masked in the log
	Credentials string   `json:",omitempty"` // as whom it works in its cloud, for the audit log
}

// Outcome is how a phase ended. Exactly one of Plan (a plan), Applied, Stale, Failure, Interrupted says what happened.
type Outcome struct {
	Plan        *Plan
	PlanFile    string          // path of the saved plan, to be sealed and removed
	MasksFile   string          // path of the list of values that the plan marks as sensitive, for the apply; as secret as the plan; "": there are none
	Checks      []CheckResult   // of Job.Checks, in their order, also where the plan failed
	Findings    []PolicyFinding // what the policies say of the plan; one that could not be asked is a Failure
	Differences []Difference    // drift: those that count, and those that are noise; none that is pending
	Pending     int             // drift: how many changes Git asks for that were never applied
	Unapplied   bool            // drift: Git asks for changes that were never applied
	Undecided   bool            // drift: with other variables than it was applied with, a stack is not in sync
	Partial     string          // drift: why reality was compared with the state alone; "": it was not
	Applied     bool
	Stale       bool // Terraform refused the saved plan because the state has moved since
	Interrupted bool // it was asked to stop, and did
	Failure     *Failure
	Created     []Created // what an apply is known to have made, changed or destroyed, in order
	StateFile   string    // errored.tfstate: the state that Terraform could not upload, to be sealed and removed
	Started     time.Time
	Finished    time.Time
	Credentials string `json:",omitempty"` // as whom it was done in its cloud: a role, with the name of its session
}

// Created is one object that an apply reported as done.
type Created struct {
	Address string
	Action  Action
	ID      string
}

// FailureKind says in what the run failed.
type FailureKind string

// The kinds of failures.
const (
	FailConfig   FailureKind = "configuration" // the stack's own files
	FailCheckout FailureKind = "checkout"
	FailEngine   FailureKind = "engine" // no program that satisfies the version
	FailInit     FailureKind = "init"
	FailPlan     FailureKind = "plan"
	FailApply    FailureKind = "apply"
	FailState    FailureKind = "state" // a state that was known is gone
	FailTimeout  FailureKind = "timeout"
	FailInternal FailureKind = "internal"
	FailArtifact FailureKind = "artifact" // the saved plan is missing or was tampered with
	FailPolicy   FailureKind = "policy"   // a policy forbids the plan, or could not be asked
	FailUnsigned FailureKind = "unsigned" // a commit does not carry the signature that the environment asks for
)

// FailCredentials is a run that gets no credentials for its cloud.
const FailCredentials FailureKind = "credentials"

// Failure is why a run failed, for people. Text is redacted.
type Failure struct {
	Kind        FailureKind
	Text        string // one sentence
	Diagnostics []Diagnostic
	Next        string // what to do
}

// Diagnostic is one message of Terraform's own, redacted.
type Diagnostic struct {
	Severity string // "error" or "warning"
	Summary  string
	Detail   string
	Address  string
	File     string
	Line     int
	Snippet  string
}
