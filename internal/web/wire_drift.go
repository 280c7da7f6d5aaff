package web

import (
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// DriftJSON is one object that is not as Git asks for.
type DriftJSON struct {
	ID           int64                    `json:"id"`
	State        plumbline.DriftState     `json:"state"`
	Repository   string                   `json:"repository"`
	Environment  string                   `json:"environment"`
	Stack        string                   `json:"stack"`
	Address      string                   `json:"address"`
	Deposed      string                   `json:"deposed,omitempty"`
	Type         string                   `json:"type"`
	Provider     string                   `json:"provider,omitempty"`
	Kind         plumbline.DifferenceKind `json:"kind"`
	Origin       plumbline.DriftOrigin    `json:"origin,omitempty"`     // "state": somebody changed the state, not the object
	Action       plumbline.Action         `json:"action,omitempty"`     // what an apply would do about it
	What         string                   `json:"what"`                 // in words: "outside: gateway a → b"
	Attributes   []AttributeJSON          `json:"attributes,omitempty"` // before: as Git has it; after: as found
	Hidden       []string                 `json:"hidden,omitempty"`     // paths of attributes that rules ignore
	Known        map[string]string        `json:"known,omitempty"`      // what tells the object to its cloud
	Opened       time.Time                `json:"opened"`
	Changed      time.Time                `json:"changed,omitzero"` // when its values were last others
	LastSeen     time.Time                `json:"last_seen"`
	Seen         int                      `json:"seen"`
	Resolved     time.Time                `json:"resolved,omitzero"`
	How          string                   `json:"how,omitempty"` // it was resolved
	FirstRun     plumbline.RunID          `json:"first_run"`
	LastRun      plumbline.RunID          `json:"last_run"`
	Acknowledged *AcknowledgedJSON        `json:"acknowledged,omitempty"`
	Ignored      *IgnoredJSON             `json:"ignored,omitempty"` // a rule hides all of it; one that has run out is left out
	Noise        string                   `json:"noise,omitempty"`   // why it is taken for noise
	Flapping     bool                     `json:"flapping,omitempty"`
	Returned     int                      `json:"returned,omitempty"` // times the very same was resolved and came back
	Openings     []time.Time              `json:"openings,omitempty"`
	Actor        ActorJSON                `json:"actor"`
	Cause        CauseJSON                `json:"cause,omitzero"`
	Remedy       *RemedyJSON              `json:"remedy,omitempty"`
	URL          string                   `json:"url,omitempty"`
}

// AcknowledgedJSON is that somebody has taken note of a drift item.
type AcknowledgedJSON struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Note string    `json:"note,omitempty"`
}

// IgnoredJSON is why a drift item is kept from people, and until when.
type IgnoredJSON struct {
	Rule   int64     `json:"rule,omitempty"` // of those set by people; left out: of the configuration
	Owner  string    `json:"owner,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Until  time.Time `json:"until,omitzero"` // left out: for good
}

// ActorJSON is who changed something outside Git.
type ActorJSON struct {
	Text    string    `json:"text"` // "unknown" where nobody knows
	Who     string    `json:"who,omitempty"`
	From    string    `json:"from,omitempty"`
	How     string    `json:"how,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Event   string    `json:"event,omitempty"`
	Source  string    `json:"source,omitempty"`
	Unknown string    `json:"unknown,omitempty"` // why it is not known
}

// CauseJSON is what drift items of several stacks have in common.
type CauseJSON struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// RemedyJSON is what Plumbline does about a drift item.
type RemedyJSON struct {
	What  plumbline.Remediation `json:"what"`
	Text  string                `json:"text"`
	Run   plumbline.RunID       `json:"run,omitempty"`
	MR    string                `json:"merge_request,omitempty"`
	At    time.Time             `json:"at,omitzero"`
	Tries int                   `json:"tries,omitempty"`
	Why   string                `json:"why,omitempty"` // no more is done
}

// DriftListJSON is a listing of drift items. The numbers are of all items that the repository, the environment, the stack and the cause leave,
// whatever the state that was asked for.
type DriftListJSON struct {
	Items        []DriftJSON `json:"items"`
	Open         int         `json:"open"`         // that people should do something about, those acknowledged included
	Acknowledged int         `json:"acknowledged"` // of them
	Flapping     int         `json:"flapping"`     // of them
	Ignored      int         `json:"ignored"`
	IgnoredUntil time.Time   `json:"ignored_until,omitzero"` // when the first of the rules ends
	Noise        int         `json:"noise"`
	Resolved     int         `json:"resolved_this_week"`
	Repair       float64     `json:"mean_seconds_to_repair"` // of those resolved this week, without what was ignored or noise
	Text         string      `json:"text"`                   // the numbers in words
}

// DriftDetailJSON is a drift item with its history.
type DriftDetailJSON struct {
	Item    DriftJSON        `json:"item"`
	History []DriftEventJSON `json:"history"` // oldest first
}

// DriftEventJSON is one line of a drift item's history.
type DriftEventJSON struct {
	At   time.Time                `json:"at"`
	What plumbline.DriftEventKind `json:"what"`
	Who  string                   `json:"who,omitempty"`
	Text string                   `json:"text,omitempty"`
}

// AcknowledgeJSON is the body that acknowledges a drift item.
type AcknowledgeJSON struct {
	Note string `json:"note,omitempty"`
}

// IgnoreJSON is the body that sets a rule which hides drift of an environment.
type IgnoreJSON struct {
	Stack     string    `json:"stack,omitempty"`     // name, or glob; left out: all of the environment
	Address   string    `json:"address"`             // glob: "*" stands for any text, brackets for themselves
	Attribute string    `json:"attribute,omitempty"` // glob over paths; left out: the whole object
	Owner     string    `json:"owner"`
	Reason    string    `json:"reason"`
	Until     time.Time `json:"until,omitzero"` // left out: for good
}

// DriftRuleJSON is a rule that hides drift.
type DriftRuleJSON struct {
	ID        int64     `json:"id,omitempty"` // of one that somebody has set; left out: of the configuration
	Stack     string    `json:"stack,omitempty"`
	Address   string    `json:"address"`
	Attribute string    `json:"attribute,omitempty"`
	Owner     string    `json:"owner,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	From      time.Time `json:"from,omitzero"`
	Until     time.Time `json:"until,omitzero"`
	By        string    `json:"by,omitempty"`
	Expired   bool      `json:"expired,omitempty"` // it has no effect any more
}

// IgnoringJSON is a rule that was set, with how many items it hides, all of each or some attributes, that were not hidden before.
type IgnoringJSON struct {
	Rule  DriftRuleJSON `json:"rule"`
	Hides int           `json:"hides"`
}

// DriftRulesJSON is a listing of the rules of an environment: those of its configuration, then those that people have set.
type DriftRulesJSON struct {
	Rules []DriftRuleJSON `json:"rules"`
}
