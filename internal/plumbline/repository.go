package plumbline

import (
	"fmt"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Repository is one Git repository on a forge.
type Repository struct {
	Name         string
	Forge        string // name of the forge block
	Project      string // the forge's own name for it
	Poll         string // robfig/cron expression
	Proposals    ProposalPolicy
	Environments []Environment
}

// Environment returns the environment with that name.
func (r Repository) Environment(name string) (Environment, bool) {
	for _, e := range r.Environments {
		if e.Name == name {
			return e, true
		}
	}
	return Environment{}, false
}

// Branches returns the environments' branches, each once, in the order of the environments.
func (r Repository) Branches() []string {
	var out []string
	seen := map[string]bool{}
	for _, e := range r.Environments {
		if !seen[e.Branch] {
			seen[e.Branch] = true
			out = append(out, e.Branch)
		}
	}
	return out
}

// OnBranch returns the environments of a branch in their order.
func (r Repository) OnBranch(branch string) []Environment {
	var out []Environment
	for _, e := range r.Environments {
		if e.Branch == branch {
			out = append(out, e)
		}
	}
	return out
}

// ProposalPolicy says which merge requests are planned. A plan runs the author's code.
type ProposalPolicy struct {
	Drafts bool // plan drafts too
	Forks  bool // plan merge requests that come from forks
	Signed bool // plan only what consists of commits that carry a signature by a key of the environment's
}

// Skips says in one sentence why a merge request is not planned, or "".
func (p ProposalPolicy) Skips(mr MergeRequest) string {
	switch {
	case mr.Fork && !p.Forks:
		return "It comes from a fork, whose plans run a stranger's code; this repository does not plan forks."
	case mr.Draft && !p.Drafts:
		return "It is a draft; it is planned when it is marked as ready."
	}
	return ""
}

// ApplyMode says what happens when a commit lands on an environment's branch.
type ApplyMode string

// The apply modes of an environment.
const (
	ApplyAutomatic ApplyMode = "automatic" // the plan is applied without asking
	ApplyApproval  ApplyMode = "approval"  // the plan waits until the right people have agreed to it
	ApplyNever     ApplyMode = "never"     // the plan is shown, nobody can apply it
)

// Environment is a branch of a repository, optionally narrowed by path globs, with its policy.
type Environment struct {
	Repository string
	Name       string
	Branch     string
	Include    []string // doublestar globs over stack directories; none: all
	Exclude    []string
	Apply      ApplyMode
	Order      int // among the environments of one commit: a lower one is deployed first
	Approval   ApprovalRule
	Calendar   Calendar
	Signed     SignedRule
	Rollback   RollbackMode
	PromotesTo string      // name of an environment of the same repository; "": none
	Checks     []CheckName // of proposals, beside the plan
	Policies   []string    // absolute directories of policies
	PolicySum  string      // hash of what is in them, when the daemon started
	Drift      DriftPolicy
	Notify     []string `json:",omitempty"` // names of sinks that are told of it
	Vars       []Variable
	Backend    []Variable // -backend-config; "{stack}" in a string stands for the stack's name
	Env        []EnvVar
	AWS        AWS `json:",omitzero"`
}

// SignedRule says which commits must carry a signature by a listed key.
type SignedRule struct {
	Commits SignedCommits
	Keys    map[string]string // name of where it stands to text: OpenPGP or SSH public keys
}

// SignedCommits is which commits must be signed.
type SignedCommits string

// What must be signed.
const (
	SignedNone  SignedCommits = ""
	SignedAll   SignedCommits = "all"   // every commit that comes to the branch
	SignedMerge SignedCommits = "merge" // the branch's new head alone, as a forge signs merge commits
)

// RollbackMode says what becomes of somebody's wish to put an environment's files back.
type RollbackMode string

// The modes of a rollback.
const (
	RollbackRequest RollbackMode = "merge-request" // a merge request is opened
	RollbackDirect  RollbackMode = "direct"        // the commit is pushed to the environment's branch; its plans are approved as any other
)

// policy is what a run is to keep to.
func (e Environment) policy() Policy {
	return Policy{Apply: e.Apply, Approval: e.Approval, Calendar: e.Calendar, Policies: e.PolicySum, Order: e.Order}
}

// Key names the environment across repositories.
func (e Environment) Key() string { return e.Repository + "/" + e.Name }

// Contains reports whether a stack's directory belongs to the environment.
func (e Environment) Contains(dir string) bool {
	match := func(globs []string) bool {
		for _, g := range globs {
			if doublestar.MatchUnvalidated(g, dir) {
				return true
			}
			// "live/**" is meant to hold "live/net" and all below; "live/net" alone holds what is below it too.
			if doublestar.MatchUnvalidated(strings.TrimSuffix(g, "/")+"/**", dir) {
				return true
			}
		}
		return false
	}
	if len(e.Include) > 0 && !match(e.Include) {
		return false
	}
	return !match(e.Exclude)
}

// DriftPolicy is when and how reality is compared with Git.
type DriftPolicy struct {
	Schedule  string        // robfig/cron expression; "": only by hand
	Timezone  string        // IANA name; "": UTC
	Spread    time.Duration // over which the checks of one tick are spread; 0: a tenth of the time to the next tick, at most 15 minutes
	Remediate Remediation   // "": report
	ApplyOnly ApplyOnly
	Ignore    []IgnoreRule
	NoIssue   bool // no issue on the forge is kept
}

// MRState is a merge request's state on its forge.
type MRState string

// The states of a merge request.
const (
	MROpen   MRState = "open"
	MRMerged MRState = "merged"
	MRClosed MRState = "closed"
)

// MergeRequest is a proposed change to an environment branch.
type MergeRequest struct {
	Repository  string
	ID          string // the forge's number; on a bare remote the proposal's name
	Title       string
	Author      string
	LastPusher  string // who pushed the head, where the forge tells
	URL         string
	Source      string // branch it comes from
	HeadRef     string // ref to fetch the head from
	Head        string // commit
	Target      string // branch it wants to change
	Draft       bool
	Fork        bool
	State       MRState
	MergeCommit string // once merged, where the forge tells
	UpdatedAt   time.Time
	Activity    string // anything that changes when there may be new comments; "": the forge does not tell

	// What the forge tells where one merge request is asked for, and in listings where it comes for nothing.
	MergeRef   string   // ref of the merge result, where the forge makes one
	Labels     []string // sorted
	ApprovedBy []string // the forge's names of people who approved the head, or an earlier one where the forge keeps approvals
	Conflicts  bool     // the forge says that it cannot be merged

	// What Plumbline knows of it.
	Base       string    // head of the target when it was last planned
	Findings   []Finding // what could not be read in it, beside broken stacks
	Removed    []string  // stacks that it takes away, as environment/name
	Skipped    string    // why it is not planned
	Conflict   bool      // the head cannot be merged into the target
	Deployment int64     // first deployment that contains it, once merged
}

// NewMergeRequest is a merge request to be opened. Its branches exist.
type NewMergeRequest struct {
	Source, Target string // branches
	Title, Body    string
	Labels         []string // left out where a forge has none
	Draft          bool
}

// Issue is what the one issue of Plumbline's on a forge that carries Marker is to be.
type Issue struct {
	Marker      string // hidden in Body; by it the issue is found again
	Title, Body string
	Labels      []string // left out where they cannot be had
	Open        bool
	Stay        bool // it is no news: one that somebody has closed is brought up to date and stays closed, and none is made
}

// Restoration is a commit that puts files back to what they were.
type Restoration struct {
	Onto    string   // commit on which it stands
	To      string   // commit whose files come back
	Dirs    []string // only what is in these directories; none: the whole tree
	Branch  string   // that it is pushed to
	Expect  string   // commit at which the branch is; "": it does not exist
	Message string
	When    time.Time
}

// Edition is a commit that changes what is in files.
type Edition struct {
	Onto    string            // commit on which it stands
	Files   map[string][]byte // path to content
	Branch  string            // that it is pushed to, of which nobody else has a part
	Expect  string            // commit at which the branch is, and which is left behind; "": it does not exist
	Message string
	When    time.Time
}

// Unsigned is a commit that does not carry a signature that counts.
type Unsigned struct {
	Commit string
	Author string // "Name <address>"
	Why    string // "not signed", "signed by SSH key SHA256:…, which is not listed"
}

// Name is how people write it: !42, or the proposal's name.
func (m MergeRequest) Name() string {
	for _, c := range m.ID {
		if c < '0' || c > '9' {
			return m.ID
		}
	}
	return "!" + m.ID
}

// Where is its head, target and state: what decides whether it must be looked at again.
func (m MergeRequest) Where() string {
	return fmt.Sprintf("%s %s draft=%t %s", m.Head, m.Target, m.Draft, m.State)
}

// Mark is what the watcher compares to know whether anything moved.
func (m MergeRequest) Mark() string {
	return fmt.Sprintf("%s deployment=%d", m.Where(), m.Deployment)
}

// Short is a commit as people write it.
func Short(commit string) string {
	if len(commit) > 7 {
		return commit[:7]
	}
	return commit
}
