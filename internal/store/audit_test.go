package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var alice = plumbline.Person{Name: "corp/alice", Door: plumbline.DoorWeb}

// entries appends n entries in one transaction.
func entries(t testing.TB, s *Store, n int) {
	t.Helper()
	err := s.inTx(t.Context(), func(tx *tx) error {
		for i := range n {
			tx.tell(t0.Add(time.Duration(i)*time.Second), plumbline.AuditEntry{
				Who: fmt.Sprintf("corp/user-%d", i%7), Door: plumbline.DoorWeb, Action: plumbline.AuditApprove, Repository: "infra", Environment: "production",
				Stack: "net", Run: plumbline.RunID(1 + i%3), Commit: "c1", Digest: digest, Outcome: "approved", Detail: fmt.Sprintf("<%d & more>", i),
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// whole checks that the audit log is, and has n entries, any number for less than 0.
func whole(t testing.TB, s *Store, n int64, anchors ...plumbline.Anchor) plumbline.AuditReport {
	t.Helper()
	report := must[plumbline.AuditReport](t)(s.VerifyAudit(t.Context(), anchors...))
	if report.Fault != nil || n >= 0 && (report.Checked != n || report.Head.Seq != n) {
		t.Fatalf("the report is %+v, fault %+v; want %d sound entries", report, report.Fault, n)
	}
	return report
}

// told lists the audit log as people would read it.
func told(t testing.TB, s *Store, f plumbline.AuditFilter) (lines []string) {
	t.Helper()
	err := s.AuditEach(t.Context(), f, func(r plumbline.AuditRow) error {
		place := strings.Trim(r.Repository+"/"+r.Environment+"/"+r.Stack, "/")
		lines = append(lines, fmt.Sprintf("%d %s|%s|%s|%s|run %s|%s|%s", r.Seq, r.Action, r.Who, r.Door, place, r.Run, r.Outcome, r.Detail))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func wantLines(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("it is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAuditTellsWhoDecidedWhat(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		now := t0.Add(1500 * time.Nanosecond) // columns keep microseconds
		yes := func(r *plumbline.Run, now time.Time) error {
			return r.Approve(plumbline.Person{Name: "corp/bob", Door: plumbline.DoorComment}, plumbline.Access{}, digest, now)
		}
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		r := planned(t, s, now)
		must[plumbline.Run](t)(s.Update(ctx, r.ID, now, yes))
		r = must[plumbline.Run](t)(s.Claim(ctx, "worker-1", now, lease))
		must[plumbline.Run](t)(s.Update(ctx, r.ID, now, finish(r.Claim, plumbline.Outcome{Applied: true}, nil)))
		// What is refused, or fails, is not told, nor is what a rule decides before.
		if _, err := s.Update(ctx, r.ID, now, yes); !errors.Is(err, plumbline.ErrConflict) {
			t.Fatal(err)
		}
		broken := errors.New("broken")
		err := s.inTx(ctx, func(t *tx) error {
			t.tell(now, plumbline.AuditEntry{Who: "nobody", Action: plumbline.AuditApprove})
			return broken
		})
		wantErr(t, err, broken)

		id := must[int64](t)(s.Freeze(ctx, "infra", "production", plumbline.Freeze{Until: t0.Add(time.Hour), Reason: "year end"}, alice, now))
		must[int](t)(s.Thaw(ctx, "infra", "production", id, alice, "over", now))
		must[int64](t)(s.Request(ctx, plumbline.Request{Repository: "infra", Environment: "production", Kind: plumbline.RequestPoll, By: "webhook", At: now}))
		must[int64](t)(s.Request(ctx, plumbline.Request{Repository: "infra", Environment: "production", Kind: plumbline.RequestRollback, To: "1a2b3c4d5e6f", Stacks: []string{"net", "app"}, By: "corp/bob", At: now}))
		tok := must[int64](t)(s.CreateToken(ctx, plumbline.Token{Name: "ci", By: "corp/bob", Hash: "h1", Created: now}))
		if err := s.RevokeToken(ctx, tok, alice, now); err != nil {
			t.Fatal(err)
		}
		if err := s.Audit(ctx, plumbline.AuditEntry{At: now, Who: "caf\xe9\x00", Action: plumbline.AuditSignIn, Outcome: "refused", Detail: "no group"}); err != nil {
			t.Fatal(err)
		}
		wantErr(t, s.Audit(ctx, plumbline.AuditEntry{Who: "corp/bob", Action: plumbline.AuditSignIn}), plumbline.ErrInvalid)

		wantLines(t, told(t, s, plumbline.AuditFilter{}), []string{
			"1 approve|corp/bob|comment|infra/production/net|run 1|approved|",
			"2 gate|worker-1||infra/production/net|run 1|approved|approved by corp/bob",
			"3 apply|worker-1||infra/production/net|run 1|applying|approved by corp/bob",
			"4 apply|worker-1||infra/production/net|run 1|applied|",
			"5 freeze|corp/alice|web|infra/production|run 0|done|freeze 1 until 2026-11-20T13:00:00Z: year end",
			"6 thaw|corp/alice|web|infra/production|run 0|done|freeze 1: over",
			"7 request|corp/bob||infra/production|run 0|done|rollback to 1a2b3c4: net, app",
			"8 token|corp/bob|||run 0|done|token 1 (ci) was made",
			"9 token|corp/alice|web||run 0|done|token 1 (ci) of corp/bob was revoked",
			"10 sign-in|caf\uFFFD\uFFFD|||run 0|refused|no group",
		})
		for _, row := range must[[]plumbline.AuditRow](t)(s.AuditEntries(ctx, plumbline.AuditFilter{})) {
			if want := t0.Add(time.Microsecond); !row.At.Equal(want) {
				t.Errorf("entry %d is of %v, want %v", row.Seq, row.At, want)
			}
		}
		whole(t, s, 10)
	})
}

func TestAuditFilter(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		for i, e := range []plumbline.AuditEntry{
			{Who: "a", Action: plumbline.AuditSignIn},
			{Who: "a", Action: plumbline.AuditApprove, Repository: "infra", Environment: "production", Stack: "net", Run: 7},
			{Who: "b", Action: plumbline.AuditApprove, Repository: "infra", Environment: "staging", Stack: "net", Run: 8},
			{Who: "b", Action: plumbline.AuditReject, Repository: "apps", Environment: "production", Stack: "web", Run: 9},
		} {
			e.At = t0.Add(time.Duration(i) * time.Hour)
			if err := s.Audit(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			f    plumbline.AuditFilter
			want string
		}{
			{plumbline.AuditFilter{}, "[1 2 3 4]"},
			{plumbline.AuditFilter{Newest: true}, "[4 3 2 1]"},
			{plumbline.AuditFilter{Newest: true, Limit: 2}, "[4 3]"},
			{plumbline.AuditFilter{Newest: true, Before: 3}, "[2 1]"},
			{plumbline.AuditFilter{After: 1, Limit: 2}, "[2 3]"},
			{plumbline.AuditFilter{Repository: "infra"}, "[2 3]"},
			{plumbline.AuditFilter{Repository: "infra", Environment: "staging"}, "[3]"},
			{plumbline.AuditFilter{Environment: "production"}, "[2 4]"},
			{plumbline.AuditFilter{Stack: "web"}, "[4]"},
			{plumbline.AuditFilter{Who: "b"}, "[3 4]"},
			{plumbline.AuditFilter{Action: plumbline.AuditApprove}, "[2 3]"},
			{plumbline.AuditFilter{Run: 8}, "[3]"},
			{plumbline.AuditFilter{Since: t0.Add(time.Hour), Until: t0.Add(3 * time.Hour)}, "[2 3]"},
			{plumbline.AuditFilter{Who: "b' OR 1=1 --"}, "[]"},
		} {
			list, streamed := []int64{}, []int64{}
			for _, r := range must[[]plumbline.AuditRow](t)(s.AuditEntries(ctx, tc.f)) {
				list = append(list, r.Seq)
			}
			if err := s.AuditEach(ctx, tc.f, func(r plumbline.AuditRow) error { streamed = append(streamed, r.Seq); return nil }); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(list) != tc.want || fmt.Sprint(streamed) != tc.want {
				t.Errorf("%+v lists %v and streams %v, want %s", tc.f, list, streamed, tc.want)
			}
		}
	})
}

// Logs longer than what is read at once, in both directions, while others append.
func TestAuditIsReadInParts(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const n = 2*auditPage + 17
		ctx := t.Context()
		s, other := open(t, dsn), open(t, dsn)
		entries(t, s, n)
		for _, tc := range []struct {
			f           plumbline.AuditFilter
			first, last int64
			count       int
		}{
			{plumbline.AuditFilter{}, 1, n + 1, n + 1}, // with the one that comes meanwhile
			{plumbline.AuditFilter{Newest: true}, n + 1, 1, n + 1},
			{plumbline.AuditFilter{Limit: auditPage + 5}, 1, auditPage + 5, auditPage + 5},
			{plumbline.AuditFilter{Limit: auditPage}, 1, auditPage, auditPage},
		} {
			var got []int64
			err := s.AuditEach(ctx, tc.f, func(r plumbline.AuditRow) error {
				if len(got) == 0 && !tc.f.Newest && tc.f.Limit == 0 {
					entries(t, other, 1)
				}
				got = append(got, r.Seq)
				return nil
			})
			if err != nil || len(got) != tc.count || got[0] != tc.first || got[len(got)-1] != tc.last {
				t.Errorf("%+v: %d entries from %d to %d (%v), want %d from %d to %d", tc.f, len(got), got[0], got[len(got)-1], err, tc.count, tc.first, tc.last)
			}
		}
		stop, calls := errors.New("enough"), 0
		err := s.AuditEach(ctx, plumbline.AuditFilter{}, func(plumbline.AuditRow) error { calls++; return stop })
		if !errors.Is(err, stop) || calls != 1 {
			t.Errorf("after %d calls: %v", calls, err)
		}
		whole(t, s, n+1)
		export := func(yield func(plumbline.AuditRow, error) bool) {
			err := s.AuditEach(ctx, plumbline.AuditFilter{After: 5}, func(r plumbline.AuditRow) error {
				if !yield(r, nil) {
					return stop
				}
				return nil
			})
			if err != nil {
				yield(plumbline.AuditRow{}, err)
			}
		}
		report, err := plumbline.VerifyChain(export, must[plumbline.Anchor](t)(s.AuditAnchor(ctx)))
		if err != nil || report.Fault != nil || report.Checked != n-4 || report.First != 6 {
			t.Errorf("the export: %+v, %+v, %v", report, report.Fault, err)
		}
	})
}

func TestAuditOnlyGrows(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		entries(t, s, 2)
		statements := []string{
			`UPDATE audit SET who = 'mallory'`, `DELETE FROM audit`, `DELETE FROM audit WHERE seq = 2`,
			`INSERT INTO audit (seq, at, who, action, repository, environment, stack, run, doc, prev, hash, mac)
				SELECT seq, at, 'mallory', action, repository, environment, stack, run, doc, prev, hash, mac FROM audit`,
		}
		if strings.HasPrefix(dsn, "sqlite:") {
			statements = append(statements, `INSERT OR REPLACE INTO audit SELECT seq, at, 'mallory', action, repository, environment, stack, run, doc, prev, hash, mac FROM audit`)
		} else {
			statements = append(statements, `TRUNCATE audit`)
		}
		for _, q := range statements {
			if _, err := s.write.ExecContext(t.Context(), q); err == nil {
				t.Errorf("%s: done", q)
			}
		}
		whole(t, s, 2)
	})
}

// unguarded lets a test do what only the owner of the tables can.
func unguarded(t testing.TB, s *Store) {
	t.Helper()
	if s.dialect.forUpdate != "" {
		s.sqlExec(t, `DROP FUNCTION audit_only_grows CASCADE`)
		return
	}
	for _, name := range []string{"audit_no_update", "audit_no_delete", "audit_no_replace"} {
		s.sqlExec(t, `DROP TRIGGER `+name)
	}
}

// logCopy is a log with its end, as a person with the database would save it.
type logCopy struct {
	rows []sealed
	end  [3]any
}

func save(t testing.TB, s *Store) (c logCopy) {
	t.Helper()
	c.rows = must[[]sealed](t)(collect(t.Context(), s.read, scanSealed, `
		SELECT seq, at, who, action, repository, environment, stack, run, doc, prev, hash, mac FROM audit ORDER BY seq`))
	var (
		seq       int64
		hash, mac string
	)
	if err := s.read.QueryRowContext(t.Context(), `SELECT seq, hash, mac FROM audit_head`).Scan(&seq, &hash, &mac); err != nil {
		t.Fatal(err)
	}
	c.end = [3]any{seq, hash, mac}
	return c
}

func restore(t testing.TB, s *Store, c logCopy) {
	t.Helper()
	s.sqlExec(t, `DELETE FROM audit`)
	for _, r := range c.rows {
		insertSealed(t, s, r)
	}
	s.sqlExec(t, `UPDATE audit_head SET seq = $1, hash = $2, mac = $3`, c.end[:]...)
}

func insertSealed(t testing.TB, s *Store, r sealed) {
	t.Helper()
	s.sqlExec(t, `INSERT INTO audit (seq, at, who, action, repository, environment, stack, run, doc, prev, hash, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		r.seq, r.at, r.who, r.action, r.repository, r.environment, r.name, r.run, r.doc, r.prev, r.hash, r.mac)
}

// forge writes a row as somebody would who has all but the key.
func forge(t testing.TB, prev plumbline.Anchor, e plumbline.AuditEntry) sealed {
	t.Helper()
	e.Seq = prev.Seq + 1
	hash := must[string](t)(plumbline.Seal(prev.Hash, e))
	return sealed{
		seq: e.Seq, at: e.At.UnixMicro(), who: e.Who, action: string(e.Action), repository: e.Repository, environment: e.Environment, name: e.Stack, run: int64(e.Run),
		doc: must[string](t)(e.Canonical()), prev: prev.Hash, hash: hash, mac: mac([]byte("not the key, but as long as one is"), hash),
	}
}

func TestTamperingIsFound(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const n = 12
		ctx := t.Context()
		s := open(t, dsn)
		entries(t, s, n)
		unguarded(t, s)
		sound := save(t, s)
		anchorOf := func(seq int64) plumbline.Anchor {
			return plumbline.Anchor{Seq: seq, Hash: sound.rows[seq-1].hash}
		}
		forged := plumbline.AuditEntry{At: t0, Who: "corp/mallory", Action: plumbline.AuditApprove, Outcome: "approved"}

		type tampering struct {
			name    string
			do      func()
			anchors []plumbline.Anchor
			seq     int64
			kind    plumbline.AuditFaultKind
		}
		cases := []tampering{
			{name: "swap two documents", seq: 5, kind: plumbline.FaultOrder, do: func() {
				a, b := sound.rows[4], sound.rows[7]
				a.seq, b.seq = b.seq, a.seq
				s.sqlExec(t, `DELETE FROM audit WHERE seq IN (5, 8)`)
				insertSealed(t, s, a)
				insertSealed(t, s, b)
			}},
			{name: "delete the first", seq: 1, kind: plumbline.FaultMissing, do: func() { s.sqlExec(t, `DELETE FROM audit WHERE seq = 1`) }},
			{name: "delete one in the middle", seq: 6, kind: plumbline.FaultMissing, do: func() { s.sqlExec(t, `DELETE FROM audit WHERE seq = 6`) }},
			{name: "delete the last", seq: n, kind: plumbline.FaultCut, do: func() { s.sqlExec(t, `DELETE FROM audit WHERE seq = $1`, n) }},
			{name: "delete all", seq: 1, kind: plumbline.FaultCut, do: func() { s.sqlExec(t, `DELETE FROM audit`) }},
			{name: "delete one and count anew", seq: 6, kind: plumbline.FaultOrder, do: func() {
				s.sqlExec(t, `DELETE FROM audit WHERE seq = 6`)
				for seq := 7; seq <= n; seq++ {
					s.sqlExec(t, `UPDATE audit SET seq = seq - 1 WHERE seq = $1`, seq)
				}
			}},
			{name: "cut, and put the end back", seq: 10, kind: plumbline.FaultCut, do: func() {
				s.sqlExec(t, `DELETE FROM audit WHERE seq > 9`)
				s.sqlExec(t, `UPDATE audit_head SET seq = 9, hash = $1, mac = $2`, sound.rows[8].hash, sound.rows[8].mac)
			}},
			{name: "another end", seq: n + 1, kind: plumbline.FaultCut, do: func() { s.sqlExec(t, `UPDATE audit_head SET mac = ''`) }},
			{name: "no end", seq: 1, kind: plumbline.FaultKey, do: func() { s.sqlExec(t, `UPDATE audit_head SET seq = 0, hash = '', mac = ''`) }},
			{name: "a row after the end", seq: n + 1, kind: plumbline.FaultKey, do: func() { insertSealed(t, s, forge(t, anchorOf(n), forged)) }},
			{name: "a row at a new end", seq: n + 1, kind: plumbline.FaultKey, do: func() {
				r := forge(t, anchorOf(n), forged)
				insertSealed(t, s, r)
				s.sqlExec(t, `UPDATE audit_head SET seq = $1, hash = $2, mac = $3`, r.seq, r.hash, r.mac)
			}},
			{name: "a row before the first", seq: 0, kind: plumbline.FaultKey, do: func() { insertSealed(t, s, forge(t, plumbline.Anchor{Seq: -1}, forged)) }},
			{name: "all written anew without the key", seq: 4, kind: plumbline.FaultKey, do: func() {
				s.sqlExec(t, `DELETE FROM audit WHERE seq > 3`)
				prev := anchorOf(3)
				for seq := 4; seq <= n; seq++ {
					r := forge(t, prev, forged)
					insertSealed(t, s, r)
					prev = plumbline.Anchor{Seq: r.seq, Hash: r.hash}
				}
				s.sqlExec(t, `UPDATE audit_head SET hash = $1`, prev.Hash)
			}},
			{name: "a document that is none", seq: 3, kind: plumbline.FaultAltered, do: func() { s.sqlExec(t, `UPDATE audit SET doc = '{' WHERE seq = 3`) }},
			{name: "another text of the same document", seq: 3, kind: plumbline.FaultAltered, do: func() { s.sqlExec(t, `UPDATE audit SET doc = ' ' || doc WHERE seq = 3`) }},
		}
		for seq := int64(1); seq <= n; seq += 5 { // the first, one in the middle, a late one
			for _, column := range []string{"at", "who", "action", "repository", "environment", "stack", "run", "doc", "prev", "hash", "mac"} {
				kind, value := plumbline.FaultAltered, `'mallory'`
				switch column {
				case "at", "run":
					value = column + " + 1"
				case "doc":
					value = `replace(doc, 'corp/user', 'corp/admin')`
				case "mac":
					kind, value = plumbline.FaultKey, "hash"
				}
				cases = append(cases, tampering{name: fmt.Sprintf("%s of entry %d", column, seq), seq: seq, kind: kind, do: func() {
					s.sqlExec(t, `UPDATE audit SET `+column+` = `+value+` WHERE seq = $1`, seq)
				}})
			}
		}
		for _, tc := range cases {
			tc.do()
			report := must[plumbline.AuditReport](t)(s.VerifyAudit(ctx, tc.anchors...))
			if f := report.Fault; f == nil || f.Kind != tc.kind || f.Seq != tc.seq || !strings.Contains(f.Text, fmt.Sprint("ntry ", tc.seq)) && tc.kind != plumbline.FaultCut {
				t.Errorf("%s: fault is %+v, want %s at %d", tc.name, f, tc.kind, tc.seq)
			} else if tc.seq > 0 && report.Checked != tc.seq-1 {
				t.Errorf("%s: %d entries are said to be sound, want %d", tc.name, report.Checked, tc.seq-1)
			}
			restore(t, s, sound)
		}
		whole(t, s, n, anchorOf(1), anchorOf(n), plumbline.Anchor{})
	})
}

// Who can write to the database can put all of it back to what it was. Then what was kept elsewhere tells.
func TestAnchorsFindAnOldLog(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		unguarded(t, s)
		empty := save(t, s)
		before := must[plumbline.Anchor](t)(s.AuditAnchor(ctx))
		entries(t, s, 5)
		old := save(t, s)
		entries(t, s, 3)
		anchor := must[plumbline.Anchor](t)(s.AuditAnchor(ctx))
		whole(t, s, 8, before, anchor)

		want := func(what string, seq int64) {
			t.Helper()
			report := must[plumbline.AuditReport](t)(s.VerifyAudit(ctx, before, anchor))
			if f := report.Fault; f == nil || f.Kind != plumbline.FaultAnchor || f.Seq != seq {
				t.Errorf("%s: fault is %+v, want the anchor's at %d", what, f, seq)
			}
		}
		restore(t, s, old)
		whole(t, s, 5) // this is why
		want("an old log", 8)
		for range 3 { // Plumbline went on with it: the same number of entries, but other ones
			if err := s.Audit(ctx, plumbline.AuditEntry{At: t0, Who: "corp/bob", Action: plumbline.AuditSignIn}); err != nil {
				t.Fatal(err)
			}
		}
		want("an old log that has grown", 8)
		restore(t, s, empty)
		want("an empty log", 8)
	})
}

// Whatever is done to a log, and however often, is found, unless it comes to the same log in the end.
func TestRandomTamperingIsFound(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const n, rounds = 9, 60
		ctx := t.Context()
		s := open(t, dsn)
		entries(t, s, n)
		unguarded(t, s)
		sound := save(t, s)
		anchor := must[plumbline.Anchor](t)(s.AuditAnchor(ctx))
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 1))
		flip := func(s string) string {
			if s == "" {
				return "x"
			}
			b := []byte(s)
			b[rng.IntN(len(b))] ^= 1
			return string(bytes.ToValidUTF8(bytes.ReplaceAll(b, []byte{0}, []byte("?")), []byte("?")))
		}
		for range rounds {
			c := logCopy{rows: slices.Clone(sound.rows), end: sound.end}
			var did []string
			for range 1 + rng.IntN(3) {
				i, j := rng.IntN(len(c.rows)), rng.IntN(len(c.rows))
				op := rng.IntN(7)
				did = append(did, fmt.Sprint(op, i, j))
				r := &c.rows[i]
				switch op {
				case 0:
					text := []*string{&r.who, &r.action, &r.repository, &r.environment, &r.name, &r.doc, &r.prev, &r.hash, &r.mac}[rng.IntN(9)]
					*text = flip(*text)
				case 1:
					*[]*int64{&r.at, &r.run}[rng.IntN(2)] += 1 + rng.Int64N(5)
				case 2:
					c.rows[i], c.rows[j] = c.rows[j], c.rows[i]
					c.rows[i].seq, c.rows[j].seq = c.rows[j].seq, c.rows[i].seq
				case 3:
					if len(c.rows) > 1 {
						c.rows = slices.Delete(c.rows, i, i+1)
					}
				case 4:
					c.rows = c.rows[:i+1]
					c.end = [3]any{r.seq, r.hash, r.mac}
				case 5:
					last := c.rows[len(c.rows)-1]
					c.rows = append(c.rows, forge(t, plumbline.Anchor{Seq: last.seq, Hash: last.hash}, plumbline.AuditEntry{At: t0, Who: "corp/mallory", Action: plumbline.AuditApprove}))
				case 6:
					e := plumbline.AuditEntry{At: t0, Who: "corp/mallory", Action: plumbline.AuditReject}
					*r = forge(t, plumbline.Anchor{Seq: r.seq - 1, Hash: r.prev}, e)
				}
			}
			restore(t, s, c)
			same := slices.Equal(c.rows, sound.rows) && c.end == sound.end
			report := must[plumbline.AuditReport](t)(s.VerifyAudit(ctx, anchor))
			if same != (report.Fault == nil) {
				t.Errorf("seed %d, %v: the log is the same: %t, and the report is %+v", seed, did, same, report)
			}
		}
	})
}

// Nothing is built on an end that was tampered with: a good seal behind it would hide that.
func TestNothingIsDecidedBehindABadEnd(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		r := planned(t, s, t0)
		entries(t, s, 3)
		unguarded(t, s)
		s.sqlExec(t, `DELETE FROM audit WHERE seq = 3`)
		s.sqlExec(t, `UPDATE audit_head SET seq = 2, hash = (SELECT hash FROM audit WHERE seq = 2), mac = (SELECT mac FROM audit WHERE seq = 2)`)

		_, err := s.Update(ctx, r.ID, t0, approve("ops-b"))
		if err == nil || !strings.Contains(err.Error(), "audit verify") {
			t.Errorf("approved behind a bad end: %v", err)
		}
		if got := stateOf(t, s, r.ID); got != plumbline.StateAwaiting {
			t.Errorf("the run is %s", got)
		}
		if _, err := s.AuditAnchor(ctx); !errors.Is(err, errKey) {
			t.Errorf("took a bad end for an anchor: %v", err)
		}
		s.sqlExec(t, `DELETE FROM audit_head`)
		if _, err := s.Update(ctx, r.ID, t0, approve("ops-b")); !errors.Is(err, errKey) {
			t.Errorf("approved without an end: %v", err)
		}
		if report := must[plumbline.AuditReport](t)(s.VerifyAudit(ctx)); report.Fault == nil {
			t.Errorf("without an end: %+v", report)
		}
	})
}

func TestAuditKey(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		for _, n := range []int{0, 31} {
			if _, err := Open(ctx, Config{DSN: dsn, AuditKey: make([]byte, n)}); !errors.Is(err, plumbline.ErrInvalid) {
				t.Errorf("a key of %d bytes: %v", n, err)
			}
		}
		other := Config{DSN: dsn, AuditKey: []byte(strings.Repeat("k", 40))}
		openWith(t, other) // nothing is sealed yet
		s := open(t, dsn)
		entries(t, s, 2)
		if _, err := Open(ctx, other); !errors.Is(err, errKey) || !strings.Contains(err.Error(), "give the key") {
			t.Errorf("opened with another key: %v", err)
		}
		other.AuditKeyLost = true
		o := openWith(t, other)
		entries(t, o, 1)
		for _, tc := range []struct {
			s   *Store
			seq int64
		}{{o, 1}, {s, 3}} {
			report := must[plumbline.AuditReport](t)(tc.s.VerifyAudit(ctx))
			if f := report.Fault; f == nil || f.Kind != plumbline.FaultKey || f.Seq != tc.seq {
				t.Errorf("fault is %+v, want another key at %d", f, tc.seq)
			}
		}
	})
}

// Two machines append, others check meanwhile: no number is given twice or left out.
func TestManyAppend(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const writers, times = 8, 25
		stores := []*Store{open(t, dsn), open(t, dsn)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg, checks sync.WaitGroup
		checks.Go(func() {
			var last plumbline.Anchor
			for ctx.Err() == nil {
				report, err := stores[1].VerifyAudit(t.Context(), last)
				if err != nil || report.Fault != nil {
					t.Errorf("while others append: %+v, %v", report.Fault, err)
					return
				}
				last = report.Head
			}
		})
		for i := range writers {
			wg.Go(func() {
				for j := range times {
					if err := stores[i%2].Audit(t.Context(), plumbline.AuditEntry{At: t0, Who: fmt.Sprint(i), Action: plumbline.AuditSignIn, Detail: fmt.Sprint(j)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		cancel()
		checks.Wait()
		whole(t, stores[0], writers*times)
		next := map[string]int{}
		for _, r := range must[[]plumbline.AuditRow](t)(stores[0].AuditEntries(t.Context(), plumbline.AuditFilter{Limit: writers * times})) {
			if r.Detail != fmt.Sprint(next[r.Who]) {
				t.Errorf("entry %d of %s is its number %s, want %d", r.Seq, r.Who, r.Detail, next[r.Who])
			}
			next[r.Who]++
		}
		if got := slices.Sorted(maps.Values(next)); got[0] != times || got[writers-1] != times {
			t.Errorf("appended %v", next)
		}
	})
}
