package plumbline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Occasion is what people outside the forge are told of.
type Occasion string

// The occasions.
const (
	OccasionAwaiting    Occasion = "awaiting-approval"
	OccasionFailed      Occasion = "failed"
	OccasionInterrupted Occasion = "interrupted"
	OccasionDrift       Occasion = "drift"
	OccasionApplied     Occasion = "applied"
	OccasionDigest      Occasion = "digest" // of drift, on a schedule of the sink's own
)

// Occasions lists those that a sink can be told of, the most urgent first. A digest is asked for by its schedule.
var Occasions = []Occasion{OccasionInterrupted, OccasionFailed, OccasionAwaiting, OccasionDrift, OccasionApplied}

// Severity is how urgent something is.
type Severity string

// The severities.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityError    Severity = "error"
	SeverityCritical Severity = "critical"
)

// Severities lists them, the least urgent first.
var Severities = []Severity{SeverityInfo, SeverityWarning, SeverityError, SeverityCritical}

// Sink is a place outside the forge where people are told. What is secret of it is not here.
type Sink struct {
	Name     string
	Kind     string
	On       []Occasion
	Group    time.Duration // notices that come within it are one message
	Limit    int           // messages an hour; 0: as many as there are
	Digest   string        // robfig/cron expression; "": none
	Timezone string        // of Digest; "": UTC
}

// Wants reports whether a sink is told of an occasion.
func (s Sink) Wants(o Occasion) bool {
	return slices.Contains(s.On, o) || o == OccasionDigest && s.Digest != ""
}

// Incidents reports whether a sink keeps what is wrong until it is told that it is not, and knows one thing from another by itself: it is told of each,
// and at once.
func (s Sink) Incidents() bool { return s.Kind == "pagerduty" }

// Parcel is how many notices a sink is sent at once at most. What has incidents is sent them one by one: one that is refused takes no other with it.
func (s Sink) Parcel() int {
	if s.Incidents() {
		return 1
	}
	return 200 // whatever makes more at a time, nobody reads on
}

// Notice is one thing that one sink is to be told of. It is kept in the store until it is sent, and for a while after.
type Notice struct {
	ID       int64 `json:"-"`
	Sink     string
	Key      string // the same for the same thing, whoever notices it, and however often
	Occasion Occasion
	Severity Severity
	Subject  string // what it is about: a stack's deployments, its drift. What begins is over with a notice of the same subject
	Over     bool   // what earlier notices of the subject told of is the case no more

	Stack  StackRef // without a name: the environment as a whole
	Run    RunID    `json:",omitempty"`
	MR     string   `json:",omitempty"`
	Commit string   `json:",omitempty"`
	What   string   // what follows the stack's name: "awaits approval: +2 ~3"
	Detail []string `json:",omitempty"` // lines of their own
	At     time.Time
	Drift  *DriftDigest `json:",omitempty"`

	Attempts int `json:"-"` // that have failed
}

// Message is what one sink is sent at once.
type Message struct {
	Key      string // the same for the same notices
	Occasion Occasion
	Severity Severity
	Title    string
	Lines    []string
	Link     string // "": there is none
	At       time.Time
	Notices  []Notice
	Links    map[int64]string // of each notice, by its ID
}

// MessageKey identifies a message by what it tells of.
func MessageKey(notices []Notice) string {
	if len(notices) == 1 {
		return notices[0].Key
	}
	keys := make([]string, len(notices))
	for i, n := range notices {
		keys[i] = n.Key
	}
	slices.Sort(keys)
	h := sha256.New()
	for _, k := range keys {
		h.Write([]byte(k))
		h.Write([]byte{0})
	}
	return "several/" + hex.EncodeToString(h.Sum(nil))[:32]
}

// Parcel is what a sender has claimed of a sink's notices.
type Parcel struct {
	Claim   int64 // 0: there is nothing to send now
	Sink    string
	Notices []Notice  // the oldest first
	Again   time.Time // when there may be something; zero: when something comes
	Why     string    // why it is kept back until then, where somebody should know
}

// SinkStatus is how a sink is. Counts are of what the store still keeps.
type SinkStatus struct {
	Name     string
	Waiting  int
	Sent     int
	GivenUp  int
	Lost     string    // why the last one was given up
	Failures int       // on end
	Paused   time.Time // until when it is left alone
	Reason   string    // of the last failure; "": the last message arrived
}

// How often it is tried to send a notice, and for how long it is worth sending.
const (
	NoticeTries = 16
	NoticeStale = 3 * 24 * time.Hour
)

// Back-off of a sink that cannot be reached.
const (
	firstPause = 10 * time.Second
	maxPause   = time.Hour
)

// SinkPause is how long a sink is left alone after so many failures on end: 10 s, 20 s, … 1 h. With NoticeTries, a notice is given up after about
// nine hours.
func SinkPause(failures int) time.Duration {
	pause := firstPause
	for ; failures > 1 && pause < maxPause; failures-- {
		pause *= 2
	}
	return min(pause, maxPause)
}

// Pace keeps a sink to its limit: no hour sees more messages than that, whatever its beginning. Half of them may come at once; the rest is
// spread, so that nobody waits an hour for the next message after a bad minute. The mark is kept with the sink.
type Pace struct{ Limit int }

// Take says whether a message may go now, and then what the mark is; else when one may.
func (p Pace) Take(mark, now time.Time) (after time.Time, ok bool, when time.Time) {
	if p.Limit <= 0 {
		return mark, true, now
	}
	burst := max(p.Limit/2, 1)
	// In half-open hours: burst at once, and then one after each step that ends within the hour.
	step := time.Hour / time.Duration(p.Limit-burst+1)
	if mark.Before(now) {
		mark = now
	}
	if first := mark.Add(-time.Duration(burst-1) * step); first.After(now) {
		return mark, false, first
	}
	return mark.Add(step), true, now
}

// DriftDigest is what became of an environment's drift since a time.
type DriftDigest struct {
	Since    time.Time
	Open     int
	New      int       // of those open, what was found since
	Resolved int       // since
	Stacks   int       // with something open
	Known    int       // stacks that there are
	Unseen   int       // of those, what no check has come to a result for since
	OldestAt time.Time `json:",omitzero"`
	OldestIs string    `json:",omitempty"` // stack and address
}

// DigestDrift counts an environment's drift items, but for those that rules ignore and those that are noise.
func DigestDrift(items []DriftItem, since, now time.Time) DriftDigest {
	d := DriftDigest{Since: since}
	stacks := map[StackRef]bool{}
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b DriftItem) int { return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID)) })
	for _, it := range items {
		switch {
		case !it.Open():
			if it.Resolved.After(since) && it.Noise == "" && it.Ignored == nil {
				d.Resolved++
			}
			continue
		case !it.Counts(now):
			continue
		case d.Open == 0:
			d.OldestAt, d.OldestIs = it.Opened, it.Stack.Name+": "+it.Difference.Key()
		}
		d.Open++
		stacks[it.Stack] = true
		if it.Opened.After(since) {
			d.New++
		}
	}
	d.Stacks = len(stacks)
	return d
}

// Title says in one line what a notice tells of.
func (n Notice) Title() string { return n.Stack.Place() + " " + n.What }

// Place is how people outside the forge, who may be told of many repositories, read where something is: "live/net of infra/production".
func (s StackRef) Place() string {
	place := s.Repository + "/" + s.Environment
	if s.Name != "" {
		place = s.Name + " of " + place
	}
	return place
}
