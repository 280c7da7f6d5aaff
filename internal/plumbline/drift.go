package plumbline

import (
	"crypto/sha256"
	"encoding/hex"
	"sort"
	"time"
)

// DifferenceKind says what happened to a resource outside Git.
type DifferenceKind string

// The kinds of differences.
const (
	DriftChanged DifferenceKind = "changed" // attributes differ
	DriftDeleted DifferenceKind = "deleted" // it is gone
)

// Difference is one thing in reality that Git did not ask for.
type Difference struct {
	Address    string
	Type       string
	Kind       DifferenceKind
	Attributes []Attribute // Before: as applied, After: as found
}

// Fingerprint identifies the very same difference in later checks: stack, address and values.
func (d Difference) Fingerprint(stack StackRef) string {
	h := sha256.New()
	put := func(s string) { h.Write([]byte(s)); h.Write([]byte{0}) }
	put(stack.String())
	put(d.Address)
	put(string(d.Kind))
	for _, a := range d.Attributes {
		put(a.Path)
		put(a.After)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// DriftItem is one difference with a life of its own.
type DriftItem struct {
	ID          int64
	Stack       StackRef
	Fingerprint string
	Difference  Difference
	Opened      time.Time
	LastSeen    time.Time
	Seen        int
	Resolved    time.Time // zero: open
	FirstRun    RunID
	LastRun     RunID
}

// Open reports whether the difference is still there as far as is known.
func (d DriftItem) Open() bool { return d.Resolved.IsZero() }

// ReconcileDrift compares the open items of a stack with what a check found. It returns the items to write (new, seen again,
// resolved) and whether anything is news, that is, opened or resolved: a second identical check makes no noise.
func ReconcileDrift(open []DriftItem, found []Difference, r Run, now time.Time) (write []DriftItem, news bool) {
	have := map[string]DriftItem{}
	for _, it := range open {
		have[it.Fingerprint] = it
	}
	for _, d := range found {
		fp := d.Fingerprint(r.Stack)
		it, ok := have[fp]
		if !ok {
			it = DriftItem{Stack: r.Stack, Fingerprint: fp, Difference: d, Opened: now, FirstRun: r.ID}
			news = true
		}
		delete(have, fp)
		it.Seen++
		it.LastSeen, it.LastRun = now, r.ID
		write = append(write, it)
	}
	gone := make([]DriftItem, 0, len(have))
	for _, it := range have {
		it.Resolved, it.LastRun = now, r.ID
		gone = append(gone, it)
		news = true
	}
	sort.Slice(gone, func(i, j int) bool { return gone[i].ID < gone[j].ID })
	return append(write, gone...), news
}
