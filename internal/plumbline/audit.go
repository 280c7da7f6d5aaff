package plumbline

import (
	"strings"
	"time"
)

// AuditAction is what somebody decided, or what came of it.
type AuditAction string

// What the audit log tells of.
const (
	AuditApprove    AuditAction = "approve"
	AuditReject     AuditAction = "reject"
	AuditRetry      AuditAction = "retry"
	AuditCancel     AuditAction = "cancel"
	AuditBreakGlass AuditAction = "break-glass"
	AuditCarry      AuditAction = "carry" // a yes that was given elsewhere came to count for a run
	AuditGate       AuditAction = "gate"  // a plan may be applied now, or may not any more
	AuditApply      AuditAction = "apply" // an apply began, or ended
	AuditRequest    AuditAction = "request"
	AuditFreeze     AuditAction = "freeze"
	AuditThaw       AuditAction = "thaw"
	AuditSignIn     AuditAction = "sign-in"
	AuditToken      AuditAction = "token" // one was made or revoked
	AuditDrift      AuditAction = "drift" // a difference was acknowledged, a rule set or lifted
	AuditRefused    AuditAction = "refused"
	AuditConfigured AuditAction = "configured" // a configuration came into force
)

// AuditEntry is one line of the audit log. The log only grows; each entry's hash covers the one before it.
type AuditEntry struct {
	Seq         int64       `json:"seq"` // from 1, without gaps
	At          time.Time   `json:"at"`
	Who         string      `json:"who"` // a person, a worker, "poll", "schedule"
	Door        Door        `json:"door,omitempty"`
	Action      AuditAction `json:"action"`
	Repository  string      `json:"repository,omitempty"`
	Environment string      `json:"environment,omitempty"`
	Stack       string      `json:"stack,omitempty"`
	Run         RunID       `json:"run,omitempty"`
	MR          string      `json:"merge_request,omitempty"`
	Commit      string      `json:"commit,omitempty"`
	Digest      string      `json:"digest,omitempty"`
	Credentials string      `json:"credentials,omitempty"` // role and session name with which it was done, where it was done with any
	Outcome     string      `json:"outcome"`               // the run's state, "done", "refused"
	Detail      string      `json:"detail,omitempty"`      // a reason, an ID, one sentence
}

// AuditFilter narrows a listing of the audit log. Zero fields do not narrow.
type AuditFilter struct {
	Repository  string
	Environment string
	Stack       string
	Who         string
	Action      AuditAction
	Run         RunID
	Since       time.Time
	Until       time.Time
	After       int64 // entries with a greater number
	Before      int64 // entries with a lesser number
	Newest      bool  // newest first, else oldest first
	Limit       int   // default 200
}

// Audit lists what the audit log must tell of a change of a run: who decided what, and what came of it. What only the journey of a plan is, its
// history tells.
func Audit(before, after Run) []AuditEntry {
	at := AuditEntry{
		Repository: after.Stack.Repository, Environment: after.Stack.Environment, Stack: after.Stack.Name, Run: after.ID, MR: after.MR,
		Commit: after.Commit, Outcome: string(after.State),
	}
	if after.Plan != nil {
		at.Digest = after.Plan.Digest
	} else if before.Plan != nil {
		at.Digest = before.Plan.Digest
	}
	var out []AuditEntry
	add := func(action AuditAction, who string, door Door, detail string) {
		e := at
		e.Action, e.Who, e.Door, e.Detail = action, who, door, detail
		if action == AuditApply && before.State == StateApplying {
			e.Credentials = after.Credentials
		}
		out = append(out, e)
	}
	for _, a := range after.Approvals {
		if hasApproval(before, a) {
			continue
		}
		e := at
		e.Who, e.Door, e.Digest, e.Action = a.By, a.Door, a.Digest, AuditApprove
		if a.Carried != "" {
			e.Action, e.Detail = AuditCarry, "given on "+a.Carried
		}
		out = append(out, e)
	}
	if after.State != StateQueued || !before.State.Ended() { // else everything is begun anew
		for _, a := range before.Approvals {
			if !hasApproval(after, a) {
				add(AuditGate, "", "", "the yes of "+a.By+" does not count any more")
			}
		}
	}
	if before.Glass != nil && after.Glass == nil && after.State != StateQueued {
		add(AuditGate, "", "", "the glass that "+before.Glass.By+" broke counts no more")
	}
	if g := after.Glass; g != nil && (before.Glass == nil || !before.Glass.At.Equal(g.At) || before.Glass.Digest != g.Digest || before.Glass.By != g.By) {
		add(AuditBreakGlass, g.By, g.Door, g.Reason)
	}
	if after.Wish == WishCancel && before.Wish != WishCancel {
		add(AuditCancel, after.WishBy, after.Door, "asked to stop")
	}
	if before.State == after.State {
		return out
	}
	worker := after.Claim.Worker
	switch after.State {
	case StateRejected:
		add(AuditReject, after.RejectedBy, after.Door, after.Reason)
	case StateCanceled:
		if !before.State.Active() { // else it was told when it was asked for
			add(AuditCancel, strings.TrimPrefix(after.Reason, "canceled by "), after.Door, after.Reason)
		}
	case StateSuperseded:
		if before.State == StateApproved {
			add(AuditGate, "", "", "a newer run took its place")
		}
	case StateQueued:
		if before.State == StateApplying {
			add(AuditApply, worker, "", after.Because)
		}
		if before.State.Ended() && before.State != "" {
			add(AuditRetry, after.By, after.Door, "was "+string(before.State))
		}
	case StateApproved:
		add(AuditGate, worker, "", after.agreement())
	case StateAwaiting:
		switch {
		case before.State == StateApproved && after.Mending != nil && after.Mending.Why != "":
			add(AuditGate, worker, "", "not applied without asking: "+after.Mending.Why)
		case before.State == StateApproved:
			add(AuditGate, worker, "", "a yes does not count any more")
		}
	case StateExpired:
		add(AuditGate, "", "", "too old")
	case StateApplying:
		add(AuditApply, worker, "", after.agreement())
	case StateApplied, StateInterrupted:
		add(AuditApply, worker, "", failure(after))
	case StateFailed:
		if before.State == StateApplying || after.Failure != nil && (after.Failure.Kind == FailPolicy || after.Failure.Kind == FailUnsigned || after.Failure.Kind == FailArtifact) {
			add(AuditApply, worker, "", failure(after))
		}
	}
	return out
}

func hasApproval(r Run, a Approval) bool {
	for _, b := range r.Approvals {
		if a.By == b.By && a.Digest == b.Digest && a.Config == b.Config && a.At.Equal(b.At) {
			return true
		}
	}
	return false
}

func failure(r Run) string {
	if r.Failure == nil {
		return ""
	}
	return r.Failure.Text
}

// Token is what a program signs in with in somebody's name. The token itself is shown once and kept nowhere.
type Token struct {
	ID       int64
	Name     string // what it is for
	By       string // in whose name it acts
	Groups   []string
	Limit    Limit
	Hash     string // hex SHA-256 of the token, which is 256 random bits
	Created  time.Time
	Expires  time.Time // zero: never
	LastUsed time.Time // to the minute or so; zero: never
	Revoked  time.Time // zero: it is good
	Revoker  string
}

// Good reports whether the token may be used.
func (t Token) Good(now time.Time) bool {
	return t.Revoked.IsZero() && (t.Expires.IsZero() || now.Before(t.Expires))
}

// AuditActions lists them all, in the order in which they are declared.
var AuditActions = []AuditAction{
	AuditApprove, AuditReject, AuditRetry, AuditCancel, AuditBreakGlass, AuditCarry, AuditGate, AuditApply, AuditRequest, AuditFreeze, AuditThaw,
	AuditSignIn, AuditToken, AuditDrift, AuditRefused, AuditConfigured,
}
