package plumbline

import (
	"encoding/json"
	"time"
)

// Observation is one thing that was seen to have moved, with all that follows from it. It is written in one transaction or not at
// all: whoever compares the mark first wins, so that the same move seen by two machines, or a hundred times, queues once.
type Observation struct {
	Repository string
	Subject    string // "branch env/production", "mr 42", "drift production"; "": nothing to compare
	Was, Now   string // mark last seen ("" never), mark seen now
	At         time.Time

	Branch       string // the branch whose head moved; "" none
	Head         string
	MergeRequest *MergeRequest
	Deployments  []Deployment // without IDs; a run refers to the i-th by Deployment = -(i+1)
	Stacks       []StackStatus
	Findings     []Finding // of the branch's head
	Runs         []Run     // queued, or failed at once when the stack's files are broken
	Supersede    []string  // subjects of runs: those not ended are superseded before Runs are added
	Requests     []int64   // requests that this fulfils
	Commands     []Command // from comments; those that are known already do not matter
	Carries      *Command  // a pending command that this carries out, with its outcome
	Remedies     []ItemRemedy
}

// RequestKind is what a person wants the watcher to do.
type RequestKind string

// The kinds of requests.
const (
	RequestPoll   RequestKind = "poll"
	RequestDrift  RequestKind = "drift"  // check an environment, or some of its stacks, now
	RequestDeploy RequestKind = "deploy" // deploy the current head of an environment, or some of its stacks

	RequestPromote  RequestKind = "promote"  // open a merge request with what the environment has, to the one that it promotes to
	RequestRollback RequestKind = "rollback" // open a merge request that puts the environment's files back to those of an earlier commit
)

// Request is a person's wish that needs Git to be fulfilled; the web stage files it, the watch stage picks it up.
type Request struct {
	ID          int64
	Repository  string
	Environment string
	Kind        RequestKind
	Stacks      []string // none: all
	To          string   // of a rollback: the commit whose files come back; "": the newest one with which everything was in sync
	By          string
	Door        Door
	At          time.Time
}

// RunFilter narrows a listing of runs. Zero fields do not narrow.
type RunFilter struct {
	Repository  string
	Environment string
	Stack       string
	MR          string
	Deployment  int64
	Kinds       []Kind
	States      []State
	Limit       int // default 100
	Before      RunID
}

// DriftFilter narrows a listing of drift items. Zero fields do not narrow.
type DriftFilter struct {
	Repository    string
	Environment   string
	Stack         string
	IDs           []int64
	Resolved      bool      // resolved ones too
	ResolvedSince time.Time // with Resolved: only those resolved since
	Limit         int       // default 1000
}

// DriftVersion is what there was to tell of an environment's drift when people were told of it.
type DriftVersion struct {
	Environment string
	Version     int64
}

// Event is one line of a run's history.
type Event struct {
	Run  RunID
	At   time.Time
	From State
	To   State
	Who  string // worker, user, "poll"
	Text string
}

// Subjects of runs.

// SubjectMR is what proposal runs of a merge request follow.
func SubjectMR(id string) string { return "mr " + id }

// SubjectDeploy is what deploy runs of an environment follow.
func SubjectDeploy(env string) string { return "deploy " + env }

// SubjectDrift is what drift runs of an environment follow.
func SubjectDrift(env string) string { return "drift " + env }

// SubjectBranch is what the watcher keeps a branch's head under.
func SubjectBranch(branch string) string { return "branch " + branch }

// WireSecret lets a process hand a Secret to its child on a pipe, the one place where a Secret is encoded in clear.
type WireSecret struct{ Secret }

// MarshalJSON writes the value in clear.
func (w WireSecret) MarshalJSON() ([]byte, error) { return json.Marshal(w.Reveal()) }

// UnmarshalJSON reads the value.
func (w *WireSecret) UnmarshalJSON(b []byte) error {
	var v string
	err := json.Unmarshal(b, &v)
	w.Secret = NewSecret(v)
	return err
}

// RunVersion is a run as it was when people were told of it.
type RunVersion struct {
	ID      RunID
	Version int64
	At      time.Time
}

// MRVersion is a merge request as it was when people were told of it.
type MRVersion struct {
	ID      string
	Version int64
}
