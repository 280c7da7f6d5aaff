package plumbline

import "time"

// Remediation is how far an environment goes about drift by itself.
type Remediation string

// The rungs of the ladder.
const (
	RemediateReport  Remediation = "report"  // people are told
	RemediatePropose Remediation = "propose" // something is put before people that they can agree to
	RemediateApply   Remediation = "apply"   // what is within limits is put right without asking
)

// ApplyOnly are the limits of RemediateApply. What destroys or replaces something is never within them.
type ApplyOnly struct {
	Actions    []Action // default: update
	Types      []string // of resources; none: nothing is within the limits
	MaxChanges int      // in one plan; default 5
	PerDay     int      // applies in one environment within 24 hours; default 3
}

// Remedy is what Plumbline does about a drift item, or did last.
type Remedy struct {
	What  Remediation
	Run   RunID  `json:",omitempty"` // that puts reality right, or would if people agreed
	MR    string `json:",omitempty"` // that would have Git say what is the case
	At    time.Time
	Tries int    `json:",omitempty"` // applies without asking, of this very difference
	Why   string `json:",omitempty"` // why no more is done, for people
}
