package plumbline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// AuditRow is an entry of the audit log with its place in the chain. Written as JSON it is the entry's Canonical text with two fields more at its end.
type AuditRow struct {
	AuditEntry
	Prev string `json:"prev"` // hash of the entry before; "" of the first
	Hash string `json:"hash"` // Seal of both
}

// Canonical is the one text of an entry that its hash covers: JSON without spaces, its fields in the order of AuditEntry, those left out that are
// empty, the time in UTC. A field that is added to AuditEntry must be left out when empty, or no older log can be checked any more.
func (e AuditEntry) Canonical() (string, error) {
	e.At = e.At.UTC()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return "", fmt.Errorf("encode entry %d of the audit log: %w", e.Seq, err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Seal is the hash of an entry that follows the one with the hash prev, in hexadecimal digits: SHA-256 of prev as it is written and of the entry's
// Canonical text. It needs no key, so that everybody can check an export.
func Seal(prev string, e AuditEntry) (hash string, err error) {
	text, err := e.Canonical()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(prev + text))
	return hex.EncodeToString(sum[:]), nil
}

// Anchor names an entry of the audit log and all before it. One that is kept outside of the database proves that the log still holds them: whoever
// rewrites a log cannot give it the same hash again.
type Anchor struct {
	Seq  int64  `json:"seq"` // 0: the log was empty
	Hash string `json:"hash"`
}

// String is "17:" and the hash.
func (a Anchor) String() string { return strconv.FormatInt(a.Seq, 10) + ":" + a.Hash }

// ParseAnchor reads what String writes.
func ParseAnchor(s string) (Anchor, error) {
	number, hash, _ := strings.Cut(strings.TrimSpace(s), ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	raw, errHex := hex.DecodeString(hash)
	if err != nil || errHex != nil || seq < 0 || seq > 0 && len(raw) != sha256.Size || seq == 0 && hash != "" {
		return Anchor{}, fmt.Errorf("%w: %q is not an anchor; one is an entry's number, a colon and its hash of 64 digits", ErrInvalid, s)
	}
	return Anchor{Seq: seq, Hash: strings.ToLower(hash)}, nil
}

// AuditFaultKind is in what way an audit log is not what was written.
type AuditFaultKind string

// The kinds of faults.
const (
	FaultAltered AuditFaultKind = "altered" // the entry is not what was sealed
	FaultMissing AuditFaultKind = "missing" // the entry is not there, later ones are
	FaultOrder   AuditFaultKind = "order"   // a sound entry that does not follow the one before it
	FaultCut     AuditFaultKind = "cut"     // entries at the end are not there
	FaultAnchor  AuditFaultKind = "anchor"  // the log is not the one that the anchor was taken of
	FaultKey     AuditFaultKind = "key"     // the entry was sealed without the key, or with another
)

// AuditFault is the first thing that is wrong with an audit log.
type AuditFault struct {
	Seq  int64          `json:"seq"` // of the entry
	Kind AuditFaultKind `json:"kind"`
	Text string         `json:"text"` // one sentence
}

// AuditReport is what came of checking an audit log.
type AuditReport struct {
	Checked int64       `json:"checked"` // how many entries are sound
	First   int64       `json:"first"`   // number of the first that was looked at; 0: there is none
	Head    Anchor      `json:"head"`    // the last sound entry
	Fault   *AuditFault `json:"fault,omitempty"`
}

// Chain checks entries one after the other, from the first of a log or of an export. It holds none of them.
type Chain struct {
	report  AuditReport
	anchors map[int64][]string // hashes that entries must have
}

// NewChain begins a check. All anchors must be found.
func NewChain(anchors ...Anchor) *Chain {
	c := &Chain{anchors: map[int64][]string{}}
	for _, a := range anchors {
		c.anchors[a.Seq] = append(c.anchors[a.Seq], a.Hash)
	}
	return c
}

// Head is the last sound entry so far.
func (c *Chain) Head() Anchor { return c.report.Head }

// Fail notes what is wrong, unless something is already.
func (c *Chain) Fail(seq int64, kind AuditFaultKind, format string, args ...any) {
	if c.report.Fault == nil {
		c.report.Fault = &AuditFault{Seq: seq, Kind: kind, Text: fmt.Sprintf(format, args...)}
	}
}

// Add checks the next entry and reports whether all is well so far. What comes after a fault proves nothing.
func (c *Chain) Add(row AuditRow) bool {
	if c.report.First == 0 {
		c.begin(row)
	}
	next := c.report.Head.Seq + 1
	hash, err := Seal(row.Prev, row.AuditEntry)
	switch {
	case c.report.Fault != nil:
	case row.Seq > next:
		c.Fail(next, FaultMissing, "Entry %d is missing: entry %d comes after entry %d.", next, row.Seq, next-1)
	case row.Seq < next:
		c.Fail(row.Seq, FaultOrder, "Entry %d comes after entry %d.", row.Seq, next-1)
	case err != nil:
		c.Fail(row.Seq, FaultAltered, "Entry %d was altered: %v.", row.Seq, err)
	case hash != row.Hash:
		c.Fail(row.Seq, FaultAltered, "Entry %d was altered: its hash does not fit it.", row.Seq)
	case row.Prev != c.report.Head.Hash:
		c.Fail(row.Seq, FaultOrder, "Entry %d is sound, but was not written after this entry %d.", row.Seq, next-1)
	default:
		c.report.Head = Anchor{Seq: row.Seq, Hash: row.Hash}
		c.anchored()
	}
	if c.report.Fault != nil {
		return false
	}
	c.report.Checked++
	return true
}

// begin takes the place before the first entry from it: an export may begin anywhere, and only the first entry of all follows none.
func (c *Chain) begin(row AuditRow) {
	c.report.First = row.Seq
	if row.Seq > 1 {
		c.report.Head = Anchor{Seq: row.Seq - 1, Hash: row.Prev}
	}
	c.anchored()
}

// anchored checks the head against the anchors that name its number.
func (c *Chain) anchored() {
	head := c.report.Head
	if slices.ContainsFunc(c.anchors[head.Seq], func(hash string) bool { return hash != head.Hash }) {
		c.Fail(head.Seq, FaultAnchor, "Entry %d is not the one that the anchor names: the log was rewritten since, or is another one.", head.Seq)
	}
	delete(c.anchors, head.Seq)
}

// End returns what came of it.
func (c *Chain) End() AuditReport {
	if c.report.First == 0 {
		c.anchored()
	}
	for seq := range c.anchors {
		if f := c.report.Fault; f == nil || f.Kind == FaultAnchor && seq < f.Seq {
			c.report.Fault = &AuditFault{Seq: seq, Kind: FaultAnchor, Text: fmt.Sprintf("Entry %d, which an anchor names, is not among the entries, which end with %d.", seq, c.report.Head.Seq)}
		}
	}
	return c.report
}

// VerifyChain checks the entries of an export, oldest first and none left out, without the database and without its key. It can begin anywhere. What
// it cannot tell is whether entries are missing at its end, but by an anchor; and that nobody has written all of it anew, which
// an anchor excludes too.
func VerifyChain(rows iter.Seq2[AuditRow, error], anchors ...Anchor) (AuditReport, error) {
	c := NewChain(anchors...)
	for row, err := range rows {
		if err != nil {
			return c.report, err
		}
		if !c.Add(row) {
			return c.report, nil
		}
	}
	return c.End(), nil
}
