package plumbline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"
)

var auditEntry = AuditEntry{
	Seq: 17, At: time.Date(2026, 11, 20, 12, 0, 0, 123456000, time.UTC), Who: "corp/alice", Door: DoorWeb, Action: AuditApprove,
	Repository: "infra", Environment: "production", Stack: "net", Run: 42, MR: "7", Commit: "c0ffee", Digest: "b41f9c0d5e6f",
	Credentials: "arn:aws:iam::1:role/apply", Outcome: "approved", Detail: `<"yes"> & né`,
}

// The text and the hash of an entry never change: a log of ten years must still be checked. The hash was computed with sha256sum.
func TestSealStaysTheSame(t *testing.T) {
	const (
		text = `{"seq":17,"at":"2026-11-20T12:00:00.123456Z","who":"corp/alice","door":"web","action":"approve","repository":"infra","environment":"production","stack":"net","run":42,"merge_request":"7","commit":"c0ffee","digest":"b41f9c0d5e6f","credentials":"arn:aws:iam::1:role/apply","outcome":"approved","detail":"<\"yes\"> & né"}`
		prev = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
		hash = "069d1450d2a519ed9aed81d6578bf1c488a52aa6611c8ea01c5303f0a47f6fae"
	)
	got, err := auditEntry.Canonical()
	must(t, err)
	if got != text {
		t.Errorf("the text is\n%s\nwant\n%s", got, text)
	}
	sealed, err := Seal(prev, auditEntry)
	must(t, err)
	if sealed != hash {
		t.Errorf("the hash is %s, want %s", sealed, hash)
	}
	// An export holds the text, so that no Plumbline is needed to check it.
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	must(t, enc.Encode(AuditRow{AuditEntry: auditEntry, Prev: prev, Hash: hash}))
	if line := strings.TrimSpace(b.String()); line != strings.TrimSuffix(text, "}")+`,"prev":"`+prev+`","hash":"`+hash+`"}` {
		t.Errorf("a row is %s", line)
	}

	few, err := AuditEntry{Seq: 1, At: time.Date(2026, 11, 20, 13, 0, 0, 0, time.FixedZone("CET", 3600)), Action: AuditSignIn}.Canonical()
	must(t, err)
	if want := `{"seq":1,"at":"2026-11-20T12:00:00Z","who":"","action":"sign-in","outcome":""}`; few != want {
		t.Errorf("an entry with little in it is %s, want %s", few, want)
	}
	if _, err := Seal("", AuditEntry{At: time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("sealed a time that cannot be written")
	}
}

// chain is a log of n entries.
func chain(t *testing.T, n int) (rows []AuditRow) {
	t.Helper()
	prev := ""
	for i := range n {
		e := AuditEntry{Seq: int64(i + 1), At: t0, Who: fmt.Sprint("user-", i), Action: AuditApprove}
		hash, err := Seal(prev, e)
		must(t, err)
		rows = append(rows, AuditRow{AuditEntry: e, Prev: prev, Hash: hash})
		prev = hash
	}
	return rows
}

func each(rows []AuditRow, err error) iter.Seq2[AuditRow, error] {
	return func(yield func(AuditRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(AuditRow{}, err)
		}
	}
}

func TestVerifyChain(t *testing.T) {
	sound := chain(t, 9)
	anchor := func(seq int) Anchor { return Anchor{Seq: int64(seq), Hash: sound[seq-1].Hash} }
	other := Anchor{Seq: 5, Hash: sound[5].Hash}
	resealed := slices.Clone(sound)
	resealed[3].Who = "mallory"
	resealed[3].Hash, _ = Seal(resealed[3].Prev, resealed[3].AuditEntry)
	edit := func(i int, f func(*AuditRow)) []AuditRow {
		rows := slices.Clone(sound)
		f(&rows[i])
		return rows
	}
	without := func(i int) []AuditRow { return slices.Delete(slices.Clone(sound), i, i+1) }
	swapped := slices.Clone(sound)
	swapped[2], swapped[3] = swapped[3], swapped[2]

	for _, tc := range []struct {
		name    string
		rows    []AuditRow
		anchors []Anchor
		checked int64
		fault   string // "kind seq"
	}{
		{"whole", sound, nil, 9, ""},
		{"whole, with anchors", sound, []Anchor{anchor(9), anchor(1), anchor(5), {}}, 9, ""},
		{"nothing", nil, nil, 0, ""},
		{"nothing, as it was", nil, []Anchor{{}}, 0, ""},
		{"nothing, where something was", nil, []Anchor{anchor(9), anchor(2)}, 0, "anchor 2"},
		{"the end of a log", sound[4:], nil, 5, ""},
		{"the end of a log after an anchor", sound[4:], []Anchor{anchor(4), anchor(9)}, 5, ""},
		{"the end of a log, with an anchor before it", sound[4:], []Anchor{anchor(3)}, 5, "anchor 3"},
		{"the end of a log after another anchor", sound[5:], []Anchor{other}, 0, "anchor 5"},
		{"cut off, which only an anchor tells", sound[:7], nil, 7, ""},
		{"cut off", sound[:7], []Anchor{anchor(3), anchor(8)}, 7, "anchor 8"},
		{"another log", sound, []Anchor{anchor(3), other}, 4, "anchor 5"},
		{"who", edit(3, func(r *AuditRow) { r.Who = "mallory" }), nil, 3, "altered 4"},
		{"when", edit(3, func(r *AuditRow) { r.At = r.At.Add(1) }), nil, 3, "altered 4"},
		{"hash", edit(3, func(r *AuditRow) { r.Hash = sound[4].Hash }), nil, 3, "altered 4"},
		{"prev", edit(3, func(r *AuditRow) { r.Prev = sound[4].Hash }), nil, 3, "altered 4"},
		{"number", edit(3, func(r *AuditRow) { r.Seq = 9 }), nil, 3, "missing 4"},
		{"sealed anew", resealed, nil, 4, "order 5"},
		{"sealed anew at the end", resealed[:4], []Anchor{anchor(4)}, 3, "anchor 4"},
		{"one is missing", without(3), nil, 3, "missing 4"},
		{"out of order", swapped, nil, 2, "missing 3"},
		{"twice", append(slices.Clone(sound[:4]), sound[3]), nil, 4, "order 4"},
		{"the first follows another", edit(0, func(r *AuditRow) { r.Prev = "x"; r.Hash, _ = Seal("x", r.AuditEntry) }), nil, 0, "order 1"},
		{"a number before the first", edit(0, func(r *AuditRow) { r.Seq = -3 }), nil, 0, "order -3"},
		{"a time that cannot be written", edit(2, func(r *AuditRow) { r.At = time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC) }), nil, 2, "altered 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			report, err := VerifyChain(each(tc.rows, nil), tc.anchors...)
			must(t, err)
			got := ""
			if f := report.Fault; f != nil {
				got = fmt.Sprint(f.Kind, " ", f.Seq)
				if !strings.Contains(f.Text, fmt.Sprint("Entry ", f.Seq)) || !strings.HasSuffix(f.Text, ".") {
					t.Errorf("it says %q", f.Text)
				}
			}
			if tc.fault != got || report.Checked != tc.checked {
				t.Errorf("the report is %+v with %q, want %d sound entries and %q", report, got, tc.checked, tc.fault)
			}
		})
	}
	broken := errors.New("broken")
	if report, err := VerifyChain(each(sound[:2], broken)); !errors.Is(err, broken) || report.Checked != 2 {
		t.Errorf("what cannot be read to its end: %+v, %v", report, err)
	}
}

func TestAnchorText(t *testing.T) {
	for _, a := range []Anchor{{}, {Seq: 17, Hash: strings.Repeat("ab", 32)}} {
		got, err := ParseAnchor(" " + strings.ToUpper(a.String()) + "\n")
		if err != nil || got != a {
			t.Errorf("%s comes back as %s (%v)", a, got, err)
		}
	}
	for _, bad := range []string{"", "17", ":", "17:", "17:zz", "-1:" + strings.Repeat("ab", 32), "17:" + strings.Repeat("ab", 31), "0:" + strings.Repeat("ab", 32)} {
		if a, err := ParseAnchor(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is %s (%v)", bad, a, err)
		}
	}
}
