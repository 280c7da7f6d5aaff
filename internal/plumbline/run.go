package plumbline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RunID numbers runs from 1.
type RunID int64

func (id RunID) String() string { return strconv.FormatInt(int64(id), 10) }

// Kind is why a run exists.
type Kind string

// The kinds of runs.
const (
	KindProposal Kind = "proposal" // a merge request
	KindDeploy   Kind = "deploy"   // the branch moved
	KindDrift    Kind = "drift"    // the schedule
	KindDestroy  Kind = "destroy"  // the stack's directory went away
)

// State is where a run is on its journey; doc.go draws it.
type State string

// The states of a run.
const (
	StateQueued      State = "queued"
	StatePlanning    State = "planning"
	StateClean       State = "clean"
	StatePlanned     State = "planned"
	StateDrifted     State = "drifted"
	StateAwaiting    State = "awaiting"
	StateApproved    State = "approved"
	StateApplying    State = "applying"
	StateApplied     State = "applied"
	StateFailed      State = "failed"
	StateInterrupted State = "interrupted"
	StateSuperseded  State = "superseded"
	StateCanceled    State = "canceled"
	StateRejected    State = "rejected"
	StateExpired     State = "expired"
)

// States lists them all, in the order of a journey.
var States = []State{
	StateQueued, StatePlanning, StateClean, StatePlanned, StateDrifted, StateAwaiting, StateApproved, StateApplying, StateApplied,
	StateFailed, StateInterrupted, StateSuperseded, StateCanceled, StateRejected, StateExpired,
}

// Active reports whether a worker has it: at most one run per stack is.
func (s State) Active() bool { return s == StatePlanning || s == StateApplying }

// Ended reports whether nothing more happens by itself.
func (s State) Ended() bool {
	switch s {
	case StateQueued, StatePlanning, StateAwaiting, StateApproved, StateApplying:
		return false
	}
	return true
}

// Good reports whether what Git asked for is the case.
func (s State) Good() bool { return s == StateApplied || s == StateClean }

// Claim says whose a run is. A claim of the same run by another worker, or again by the same, has another Fence.
type Claim struct {
	Worker string
	Fence  int64
}

// Wish is what somebody wants of a run that a worker holds; its heartbeat brings it to the worker.
type Wish string

// The wishes.
const (
	WishNone      Wish = ""
	WishCancel    Wish = "cancel"
	WishSupersede Wish = "supersede"
)

// Policy is the environment's as it stood when the run was queued, or when a newer configuration came into force.
type Policy struct {
	Apply    ApplyMode
	Approval ApprovalRule
	Calendar Calendar `json:",omitzero"`
	Policies string   `json:",omitempty"` // what tells the policies of one day from those of another
	Order    int
}

// Run is one journey of one stack at one commit.
type Run struct {
	ID         RunID
	Kind       Kind
	State      State
	Stack      StackRef
	Spec       StackSpec
	Subject    string // what it follows: "mr 42", "deploy production", "drift production"; a newer run of a subject supersedes
	Commit     string // proposal: head of the merge request; else a commit of the environment's branch
	Base       string // proposal: the target's head it is merged into; deploy: what the stack was in sync with
	MR         string
	Deployment int64
	Tick       time.Time // drift: the tick of the schedule; zero: by hand
	NotBefore  time.Time `json:",omitzero"` // while it is queued: no worker has it sooner
	Because    string    // why it exists, for people
	By         string    // who asked: a user, "schedule", "poll"
	Policy     Policy
	WaitsFor   []string // names of stacks of the same deployment that go first

	Attempt    int
	Claim      Claim
	LeaseUntil time.Time
	Wish       Wish
	WishBy     string
	HadState   bool     // the stack is known to have had a state
	InSync     bool     `json:",omitempty"` // drift: the stack was applied at these very files, and well
	Given      string   `json:",omitempty"` // drift, InSync: what it was applied with beside its files, as in PlanInfo
	Ahead      string   `json:",omitempty"` // drift: the branch's head, when it has commits for the stack that were not applied; Commit is then what was
	Mending    *Mending `json:",omitempty"` // it puts right what was changed outside Git

	Plan        *PlanInfo
	Approvals   []Approval
	Glass       *Glass          `json:",omitempty"` // somebody has it applied against the rules
	Authors     []string        `json:",omitempty"` // who wrote the change: "corp/alice", addresses in Git; none: not known
	Pushers     []string        `json:",omitempty"` // who pushed the head of its merge request, where the forge tells
	Anonymous   bool            `json:",omitempty"` // Authors may not be all
	Earlier     []Approval      `json:",omitempty"` // of earlier plans of the same change, which count for nothing any more
	PlanVersion int64           `json:",omitempty"` // the version that has the plan at hand
	Door        Door            `json:",omitempty"` // by which the person came who did the last thing that a person did
	Findings    []PolicyFinding `json:",omitempty"` // what policies say of the plan
	Checks      []CheckResult   `json:",omitempty"` // what was checked beside the plan
	Unapplied   bool            // drift: Git asks for changes that were never applied
	Pending     int             `json:",omitempty"` // drift: how many, where they were planned
	Partial     string          `json:",omitempty"` // drift: why reality was compared with the state alone
	DriftOpen   int             // drift: differences found
	DriftNews   bool            // drift: opened or resolved any
	Failure     *Failure
	Created     []Created
	Credentials string `json:",omitempty"` // as whom the last phase was done in its cloud
	ErroredFile Blob   // the state that could not be uploaded
	RejectedBy  string
	Reason      string // of a rejection or a cancellation

	Queued   time.Time
	Started  time.Time // of the current or last phase
	Planned  time.Time
	Finished time.Time
	Version  int64     // counts every write
	Reported int64     // the version that people were told about
	Told     time.Time // when they were, the plan at hand for the first time
}

// Rule changes a run, or returns an error and changes nothing. It is pure: the store may call it more than once.
type Rule func(r *Run, now time.Time) error

func (r *Run) to(s State, now time.Time) {
	r.State = s
	if !s.Active() {
		r.LeaseUntil, r.Wish = time.Time{}, WishNone
	}
	if s.Ended() {
		r.Finished = now
	}
}

func (r *Run) cannot(what string) error {
	return refuse(ErrConflict, "", "Run %s of %s is %s; it cannot be %s.", r.ID, r.Stack.Name, r.State, what)
}

func (r *Run) held(c Claim) error {
	if !r.State.Active() || r.Claim != c {
		return ErrLost
	}
	return nil
}

// Start gives the run to a worker for a lease: queued becomes planning, approved becomes applying.
func (r *Run) Start(worker string, now time.Time, lease time.Duration) error {
	switch r.State {
	case StateQueued:
		if now.Before(r.NotBefore) {
			return &NotYet{Why: "the checks of one tick are spread, and it is not this one's turn", Until: r.NotBefore}
		}
		r.to(StatePlanning, now)
		r.Attempt++
		r.Failure, r.Finished, r.Plan, r.Findings, r.Checks = nil, time.Time{}, nil, nil, nil
	case StateApproved:
		if !r.approved(now) {
			return r.cannot("applied without a valid approval")
		}
		if why, until, closed := r.Closed(now); closed {
			return &NotYet{Why: why, Until: until}
		}
		r.to(StateApplying, now)
	default:
		return r.cannot("started")
	}
	r.Claim = Claim{Worker: worker, Fence: r.Claim.Fence + 1}
	r.Started, r.LeaseUntil = now, now.Add(lease)
	return nil
}

// Renew prolongs the lease.
func (r *Run) Renew(c Claim, now time.Time, lease time.Duration) error {
	if err := r.held(c); err != nil {
		return err
	}
	r.LeaseUntil = now.Add(lease)
	return nil
}

// Finish takes the outcome of the phase that the claim was for and decides what the run is next.
func (r *Run) Finish(c Claim, o Outcome, info *PlanInfo, now time.Time) error {
	if err := r.held(c); err != nil {
		return err
	}
	return r.settle(o, info, now)
}

func (r *Run) settle(o Outcome, info *PlanInfo, now time.Time) error {
	applying := r.State == StateApplying || r.State == StateInterrupted
	if len(o.Created) > 0 {
		r.Created = o.Created
	}
	r.Credentials = o.Credentials
	switch {
	case o.Stale && !applying, !o.Stale && !o.Interrupted && o.Failure == nil && o.Applied != applying:
		return fmt.Errorf("%w: the outcome of another phase for run %s, which is %s", ErrInvalid, r.ID, r.State)
	case o.Stale && r.Wish == WishCancel: // nothing was done
		r.Reason = "canceled by " + r.WishBy
		r.to(StateCanceled, now)
		return nil
	case o.Stale:
		// The approvals stay: they name a digest, and count again if the new plan has the same.
		r.to(StateQueued, now)
		r.Because = "the state had moved since the plan was made"
		return nil
	case o.Interrupted && applying:
		r.Failure = o.Failure
		r.to(StateInterrupted, now)
		return nil
	case o.Interrupted || (!applying && r.Wish != WishNone):
		if r.Wish == WishSupersede {
			r.to(StateSuperseded, now)
		} else {
			r.Reason = "canceled by " + r.WishBy
			r.to(StateCanceled, now)
		}
		return nil
	case o.Failure != nil:
		r.Failure = o.Failure
		if !applying {
			r.Checks, r.Findings = o.Checks, o.Findings
		}
		r.to(StateFailed, now)
		return nil
	case applying:
		r.to(StateApplied, now)
		return nil
	case info == nil:
		return fmt.Errorf("%w: run %s has ended its plan without one", ErrInvalid, r.ID)
	}
	r.Plan, r.Planned, r.PlanVersion = info, now, r.Version+1
	r.InSync = r.InSync && !o.Undecided
	r.Unapplied, r.Pending, r.Partial = o.Unapplied || r.Ahead != "", o.Pending, o.Partial
	r.DriftOpen, r.Checks, r.Findings = counted(o.Differences), o.Checks, o.Findings
	switch r.Kind {
	case KindProposal:
		if info.Changes {
			r.to(StatePlanned, now)
		} else {
			r.to(StateClean, now)
		}
	case KindDrift:
		switch {
		case r.DriftOpen > 0:
			r.to(StateDrifted, now)
		case r.Unapplied, info.Changes && !r.InSync:
			r.to(StatePlanned, now)
		default:
			r.to(StateClean, now)
		}
	default:
		r.judge(o.Plan, now)
		switch {
		case !info.Changes:
			r.to(StateClean, now)
		case r.Policy.Apply == ApplyNever:
			r.to(StatePlanned, now)
		case len(r.denied()) > 0:
			r.Failure = &Failure{Kind: FailPolicy, Text: forbids(r.Stack.Name, r.denied()), Next: "Change the code, or the policy; the next commit is planned again."}
			r.to(StateFailed, now)
		case r.approved(now):
			r.to(StateApproved, now)
		default:
			r.to(StateAwaiting, now)
		}
	}
	return nil
}

// counted is how many differences mean that reality has drifted, before rules are asked.
func counted(found []Difference) int {
	n := 0
	for _, d := range found {
		if d.Counts() {
			n++
		}
	}
	return n
}

// Weigh is told how many of the differences that a drift check found count, once rules were asked and noise was told from drift. A check that found nothing
// but those is clean, unless it could see a part only.
func (r *Run) Weigh(counting int, now time.Time) {
	if r.Kind != KindDrift || r.State != StateDrifted && r.State != StateClean && r.State != StatePlanned {
		return
	}
	r.DriftOpen = counting
	switch {
	case counting > 0:
		r.to(StateDrifted, now)
	case r.State != StateDrifted:
	case r.Unapplied, r.Partial != "":
		r.to(StatePlanned, now)
	default:
		r.to(StateClean, now)
	}
}

// Follow brings a drift check that waits to what its stack has come to since it was queued: what was applied meanwhile must not be looked at
// in the light of what was applied before.
func (r *Run) Follow(st StackStatus) {
	if r.Kind != KindDrift || !r.InSync {
		return
	}
	r.Given = st.Given
	if st.InSyncAt(r.Base) {
		return
	}
	if r.Ahead != "" {
		r.Commit, r.Spec, r.Ahead = r.Ahead, st.Spec, ""
	}
	r.Base = st.Commit
	r.InSync = st.InSyncAt(r.Commit)
}

// Reject is a person's no.
func (r *Run) Reject(by, reason string, now time.Time) error {
	if r.State != StateAwaiting && (r.State != StatePlanned || r.Kind != KindProposal || r.Policy.Apply != ApplyApproval) {
		return r.cannot("rejected")
	}
	r.RejectedBy, r.Reason = by, reason
	r.to(StateRejected, now)
	return nil
}

// Cancel ends the run, or asks its worker to stop it.
func (r *Run) Cancel(by string, now time.Time) error {
	switch {
	case r.State.Active():
		r.Wish, r.WishBy = WishCancel, by
	case r.State.Ended():
		return r.cannot("canceled")
	default:
		r.Reason = "canceled by " + by
		r.to(StateCanceled, now)
	}
	return nil
}

// Supersede ends the run because a newer one takes its place. What is being applied is left to finish: stopping it half-way would
// leave reality between two commits.
func (r *Run) Supersede(now time.Time) error {
	switch r.State {
	case StateQueued, StateAwaiting, StateApproved:
		r.to(StateSuperseded, now)
	case StatePlanning:
		if r.Wish == WishNone {
			r.Wish = WishSupersede
		}
	case StateApplying:
	default:
		return r.cannot("superseded")
	}
	return nil
}

// Retry queues an ended run again, because a person asks for it.
func (r *Run) Retry(by string, now time.Time) error {
	switch r.State {
	case StateFailed, StateInterrupted, StateRejected, StateExpired, StateCanceled:
	default:
		return r.cannot("retried")
	}
	if r.Failure != nil && r.Failure.Kind == FailUnsigned {
		return refuse(ErrConflict, r.Failure.Next, "Run %s stays refused: %s", r.ID, r.Failure.Text)
	}
	r.forget()
	r.ask("somebody has asked for it again")
	r.By, r.Because = by, "retried by "+by
	r.Queued, r.NotBefore = now, time.Time{}
	r.to(StateQueued, now)
	return nil
}

// forget begins anew: what was agreed to was another plan's.
func (r *Run) forget() {
	r.Earlier = append(slices.Clip(r.Earlier), r.Approvals...)
	r.Approvals, r.Glass, r.RejectedBy, r.Reason = nil, nil, "", ""
}

// Expire ends what has waited too long: leases of workers that went away, plans and approvals past their time.
func (r *Run) Expire(now time.Time) error {
	switch r.State {
	case StatePlanning:
		if now.Before(r.LeaseUntil) {
			return r.cannot("expired yet")
		}
		if r.Wish != WishNone {
			return r.settle(Outcome{Interrupted: true}, nil, now)
		}
		r.to(StateQueued, now)
	case StateApplying:
		if now.Before(r.LeaseUntil) {
			return r.cannot("expired yet")
		}
		r.Failure = &Failure{
			Kind: FailApply,
			Text: "The machine that applied " + r.Stack.Name + " (" + r.Claim.Worker + ") went away; what it had done by then is not certain.",
			Next: "Look at the log for what was created, make sure that no Terraform is still at work, release the state lock if it is held, then `plumbline runs retry " + r.ID.String() + "` plans again.",
		}
		r.to(StateInterrupted, now)
	case StateAwaiting:
		until := r.ValidUntil()
		if until.IsZero() || now.Before(until) {
			return r.cannot("expired yet")
		}
		r.to(StateExpired, now)
	case StateApproved:
		if r.approved(now) {
			return r.cannot("expired yet")
		}
		r.to(StateExpired, now)
	default:
		return r.cannot("expired")
	}
	return nil
}

// Adopt gives a run back to the worker that already had it, when a daemon comes back and finds its Terraform still at work or finished.
// An apply that was declared interrupted meanwhile is taken up again: its own result is better than a guess.
func (r *Run) Adopt(c Claim, now time.Time, lease time.Duration) error {
	if r.Claim != c {
		return ErrLost
	}
	switch r.State {
	case StatePlanning, StateApplying:
	case StateInterrupted:
		r.Failure, r.Finished = nil, time.Time{}
		r.State = StateApplying
	default:
		return ErrLost
	}
	r.LeaseUntil = now.Add(lease)
	return nil
}

// GiveBack returns a run whose plan was not finished to the queue, for reasons that are not the run's. What was being applied cannot be
// given back: something may have been done.
func (r *Run) GiveBack(c Claim, now time.Time) error {
	if err := r.held(c); err != nil {
		return err
	}
	if r.State != StatePlanning {
		return r.cannot("given back")
	}
	if r.Wish != WishNone {
		return r.settle(Outcome{Interrupted: true}, nil, now)
	}
	r.Attempt--
	r.to(StateQueued, now)
	return nil
}

// Priority orders the queue: what is applied first goes first.
func (r *Run) Priority() int {
	switch {
	case r.State == StateApproved:
		return 0
	case r.Kind == KindDeploy, r.Kind == KindDestroy:
		return 10 + min(max(r.Policy.Order, 0), 80)
	case r.Kind == KindProposal:
		return 100
	default:
		return 200
	}
}

// forbids says in one sentence what policies forbid of a stack's plan.
func forbids(stack string, findings []PolicyFinding) string {
	text := fmt.Sprintf("%s forbids the plan of %s: %s", findings[0].Policy, stack, findings[0].Message)
	if n := len(findings) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return strings.TrimSuffix(text, ".") + "."
}

// Label is the state as people read it.
func (r *Run) Label() string {
	switch {
	case r.State == StateAwaiting:
		return "awaiting approval"
	case r.State == StatePlanned && r.Kind == KindDrift && r.Plan != nil && r.Plan.NoState:
		return "never applied here"
	case r.State == StatePlanned && r.Kind == KindDrift:
		return "not yet applied"
	case r.State == StatePlanned && r.Kind != KindProposal:
		return "planned, never applied"
	case r.State == StateClean && r.Kind == KindProposal:
		return "no changes"
	case r.State == StateClean:
		return "in sync"
	case r.Wish == WishCancel:
		return "stopping"
	}
	return string(r.State)
}
