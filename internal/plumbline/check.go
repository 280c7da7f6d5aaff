package plumbline

import "time"

// CheckName is one of the checks that a proposal goes through beside its plan.
type CheckName string

// The checks. Policies are checked wherever a plan is made, the others on proposals alone.
const (
	CheckFmt      CheckName = "fmt"
	CheckValidate CheckName = "validate"
	CheckTest     CheckName = "test"
	CheckPolicy   CheckName = "policy"
)

// Verdict is what a check came to.
type Verdict string

// The verdicts.
const (
	VerdictPass    Verdict = "pass"
	VerdictFail    Verdict = "fail"    // the change is at fault
	VerdictError   Verdict = "error"   // the check itself could not be made
	VerdictSkipped Verdict = "skipped" // there is nothing to check, as without test files
)

// CheckResult is what one check came to.
type CheckResult struct {
	Name     CheckName
	Verdict  Verdict
	Text     string    // one sentence: "2 files are not formatted"
	Findings []Finding // with their places, as far as the check knows them; redacted
	Output   string    // what the program said, redacted, of at most 8 KiB; "" where Findings say all
}

// PolicyLevel is what a rule of a policy wants.
type PolicyLevel string

// The levels of policy findings.
const (
	PolicyDeny    PolicyLevel = "deny"             // the plan is never applied
	PolicyWarn    PolicyLevel = "warn"             // people are told
	PolicyApprove PolicyLevel = "require-approval" // somebody of those in From must agree, besides whom the environment asks
)

// PolicyFinding is what one rule of a policy says about a plan.
type PolicyFinding struct {
	Policy  string // the rule's package: "plumbline.storage"
	Level   PolicyLevel
	Message string   // one sentence
	Address string   // of the resource that it is about; "" the plan as a whole
	From    []string // of PolicyApprove: "group:dba", "user:alice@example.com", "role:admin"; any one of them is enough
}

// Facts is what policies know of a run beside its plan. Its JSON is the document that rules see as input.run.
type Facts struct {
	Kind         Kind      `json:"kind"`
	Repository   string    `json:"repository"`
	Environment  string    `json:"environment"`
	Stack        string    `json:"stack"`
	Directory    string    `json:"directory"`
	Branch       string    `json:"branch"` // of the environment
	Commit       string    `json:"commit"`
	MergeRequest string    `json:"merge_request"` // the forge's number; "": none is known
	Authors      []string  `json:"authors"`       // who wrote the change, as far as is known: "corp/alice", "alice@example.com"
	Labels       []string  `json:"labels"`        // of the merge request
	By           string    `json:"by"`            // who asked: a person, "poll", "schedule"
	Time         time.Time `json:"time"`          // when the plan was asked for
	Drift        int       `json:"drift"`         // open drift items of the stack
}
