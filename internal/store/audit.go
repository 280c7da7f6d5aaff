package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// auditPage is how many entries are read at once: nobody who reads the log holds a connection while its reader is slow.
const auditPage = 1000

// errKey says that the end of the audit log does not fit the key.
var errKey = errors.New("the end of the audit log is not sealed with this key")

// mac proves that whoever wrote something about the audit log had the key.
func mac(key []byte, text string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// sealOf is the mac of the log's end. It is none that an entry has: else whoever cut the log could take that of the entry that is its last by then.
func sealOf(key []byte, head plumbline.Anchor) string {
	if head == (plumbline.Anchor{}) {
		return "" // as the migration leaves it, which has no key
	}
	return mac(key, "head "+head.String())
}

// tell notes what the audit log must tell of this transaction.
func (t *tx) tell(now time.Time, entries ...plumbline.AuditEntry) {
	for _, e := range entries {
		e.At = exact(now)
		t.entries = append(t.entries, e)
	}
}

// appendAudit writes what was noted. It is the last thing that a transaction does, so that those who wait for the log's end wait for a commit at most,
// and nobody who has it waits for anything.
func (t *tx) appendAudit(ctx context.Context) error {
	if len(t.entries) == 0 {
		return nil
	}
	head, err := auditHead(ctx, t, t.auditKey, t.dialect.forUpdate)
	if err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	for _, e := range t.entries {
		e = entry(e)
		e.Seq = head.Seq + 1
		doc, err := e.Canonical()
		if err != nil {
			return err
		}
		hash, err := plumbline.Seal(head.Hash, e)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `
			INSERT INTO audit (seq, at, who, action, repository, environment, stack, run, doc, prev, hash, mac)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			e.Seq, e.At.UnixMicro(), e.Who, string(e.Action), e.Repository, e.Environment, e.Stack, int64(e.Run), doc, head.Hash, hash, mac(t.auditKey, hash)); err != nil {
			return fmt.Errorf("append entry %d to the audit log: %w", e.Seq, err)
		}
		head = plumbline.Anchor{Seq: e.Seq, Hash: hash}
	}
	return t.writeAuditHead(ctx, head)
}

func (t *tx) writeAuditHead(ctx context.Context, head plumbline.Anchor) error {
	if _, err := t.exec(ctx, `UPDATE audit_head SET seq = $1, hash = $2, mac = $3`, head.Seq, head.Hash, sealOf(t.auditKey, head)); err != nil {
		return fmt.Errorf("write the end of the audit log: %w", err)
	}
	return nil
}

// auditHead reads the log's end. errKey comes with it: nothing may be built on it then, since a good seal behind a bad one would hide it.
func auditHead(ctx context.Context, q querier, key []byte, lock string) (plumbline.Anchor, error) {
	var (
		head plumbline.Anchor
		seal string
	)
	err := q.QueryRowContext(ctx, `SELECT seq, hash, mac FROM audit_head`+lock).Scan(&head.Seq, &head.Hash, &seal)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return head, fmt.Errorf("%w: table audit_head is empty", errKey)
	case err != nil:
		return head, fmt.Errorf("read the end of the audit log: %w", err)
	case !hmac.Equal([]byte(seal), []byte(sealOf(key, head))):
		return head, fmt.Errorf("%w: it says entry %d; `plumbline audit verify` tells more", errKey, head.Seq)
	}
	return head, nil
}

// takeOver checks that the log's end was sealed with the key, or seals it anew if the operator has said that the key is lost.
func (s *Store) takeOver(ctx context.Context, anew bool) error {
	head, err := auditHead(ctx, s.read, s.auditKey, "")
	if !errors.Is(err, errKey) {
		return err
	}
	if !anew {
		return fmt.Errorf("%w; give the key that this database was used with before, or say that it is lost, and all later checks will find where another began", err)
	}
	return s.inTx(ctx, func(t *tx) error {
		if head == (plumbline.Anchor{}) {
			return err
		}
		return t.writeAuditHead(ctx, head)
	})
}

// entry makes an entry one that both databases keep as it is.
func entry(e plumbline.AuditEntry) plumbline.AuditEntry {
	for _, text := range []*string{
		&e.Who, (*string)(&e.Door), (*string)(&e.Action), &e.Repository, &e.Environment, &e.Stack, &e.MR, &e.Commit, &e.Digest, &e.Credentials, &e.Outcome, &e.Detail,
	} {
		*text = printable(*text)
	}
	return e
}

// Audit appends an entry about something that the store has no part in: a sign-in, a refusal, a configuration. Its number is given here.
func (s *Store) Audit(ctx context.Context, e plumbline.AuditEntry) error {
	if e.At.IsZero() || e.Action == "" {
		return fmt.Errorf("append to the audit log: %w: an entry needs a time and an action", plumbline.ErrInvalid)
	}
	return s.inTx(ctx, func(t *tx) error {
		t.tell(e.At, e)
		return nil
	})
}

// AuditEntries lists entries of the audit log.
func (s *Store) AuditEntries(ctx context.Context, f plumbline.AuditFilter) ([]plumbline.AuditRow, error) {
	var w where
	w.eq("repository", f.Repository)
	w.eq("environment", f.Environment)
	w.eq("stack", f.Stack)
	w.eq("who", f.Who)
	w.eq("action", string(f.Action))
	if f.Run != 0 {
		w.and("run = ?", int64(f.Run))
		w.conds = append(w.conds, "run <> 0") // for the index
	}
	if !f.Since.IsZero() {
		w.and("at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		w.and("at < ?", f.Until.UnixMicro())
	}
	if f.After != 0 {
		w.and("seq > ?", f.After)
	}
	if f.Before != 0 {
		w.and("seq < ?", f.Before)
	}
	order := " ORDER BY seq"
	if f.Newest {
		order += " DESC"
	}
	scan := func(row scanner) (r plumbline.AuditRow, err error) {
		var seq, doc string
		if err := row.Scan(&seq, &doc, &r.Prev, &r.Hash); err != nil {
			return r, err
		}
		return r, decode("audit", seq, doc, &r.AuditEntry)
	}
	query := `SELECT seq, doc, prev, hash FROM audit` + w.String() + order + ` LIMIT ` + w.arg(limit(f.Limit, 200))
	return collect(ctx, s.read, scan, query, w.args...)
}

// AuditEach calls do with each entry, as many as the filter's limit says, 0 being all, until do returns an error. It holds no connection meanwhile.
func (s *Store) AuditEach(ctx context.Context, f plumbline.AuditFilter, do func(plumbline.AuditRow) error) error {
	for left := limit(f.Limit, math.MaxInt); left > 0; {
		f.Limit = min(left, auditPage)
		rows, err := s.AuditEntries(ctx, f)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := do(r); err != nil {
				return err
			}
		}
		if len(rows) < f.Limit {
			return nil
		}
		left -= len(rows)
		if last := rows[len(rows)-1].Seq; f.Newest {
			f.Before = last
		} else {
			f.After = last
		}
	}
	return nil
}

// AuditAnchor returns the end of the audit log, to be kept elsewhere.
func (s *Store) AuditAnchor(ctx context.Context) (plumbline.Anchor, error) {
	return auditHead(ctx, s.read, s.auditKey, "")
}

// sealed is a row of the audit log with all its columns.
type sealed struct {
	seq, at, run                               int64
	who, action, repository, environment, name string
	doc, prev, hash, mac                       string
}

func scanSealed(row scanner) (r sealed, err error) {
	err = row.Scan(&r.seq, &r.at, &r.who, &r.action, &r.repository, &r.environment, &r.name, &r.run, &r.doc, &r.prev, &r.hash, &r.mac)
	return r, err
}

// VerifyAudit checks every entry up to the log's end as it is now, and that it holds the entries that the anchors name. What is wrong is in the report; an
// error means that the log could not be read.
//
// Whoever has the database alone can change nothing that this does not find, but for one thing: to put the log back to what it was at some time,
// end included. Only an anchor from after that time finds it.
func (s *Store) VerifyAudit(ctx context.Context, anchors ...plumbline.Anchor) (plumbline.AuditReport, error) {
	fail := func(err error) (plumbline.AuditReport, error) {
		return plumbline.AuditReport{}, fmt.Errorf("check the audit log: %w", err)
	}
	head, unsealed := auditHead(ctx, s.read, s.auditKey, "")
	if unsealed != nil && !errors.Is(unsealed, errKey) {
		return fail(unsealed)
	}
	chain := plumbline.NewChain(anchors...)
	// From the least number on: a row before the first is one too many.
	for last, more := int64(math.MinInt64), true; more; {
		rows, err := collect(ctx, s.read, scanSealed, `
			SELECT seq, at, who, action, repository, environment, stack, run, doc, prev, hash, mac FROM audit
			WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3`, last, head.Seq, auditPage)
		if err != nil {
			return fail(err)
		}
		for _, r := range rows {
			if !r.check(chain, s.auditKey) {
				return chain.End(), nil
			}
			last = r.seq
		}
		more = len(rows) == auditPage
	}
	// The end is read together with what may be after it: others append meanwhile.
	var beyond sql.NullInt64
	if err := s.read.QueryRowContext(ctx, `SELECT min(a.seq) FROM audit a, audit_head h WHERE a.seq > h.seq`).Scan(&beyond); err != nil {
		return fail(err)
	}
	switch found := chain.Head(); {
	case found.Seq < head.Seq:
		chain.Fail(found.Seq+1, plumbline.FaultCut, "Entries %d to %d are missing: the log was cut off at its end.", found.Seq+1, head.Seq)
	case beyond.Valid:
		chain.Fail(beyond.Int64, plumbline.FaultKey, "Entry %d is after the end of the log: it was not written by Plumbline, or the end was put back.", beyond.Int64)
	case unsealed != nil:
		chain.Fail(found.Seq+1, plumbline.FaultCut, "The end of the log, after entry %d, is not sealed with this key: entries may have been cut off.", found.Seq)
	case found != head:
		chain.Fail(found.Seq, plumbline.FaultAltered, "The end of the log names another entry %d than the one that is there.", found.Seq)
	}
	return chain.End(), nil
}

// check adds a row to the chain and reports whether all is well so far.
func (r sealed) check(chain *plumbline.Chain, key []byte) bool {
	row := plumbline.AuditRow{Prev: r.prev, Hash: r.hash}
	if err := decode("audit", "", r.doc, &row.AuditEntry); err != nil {
		chain.Fail(r.seq, plumbline.FaultAltered, "Entry %d was altered: its document cannot be read.", r.seq)
		return false
	}
	e := row.AuditEntry
	text, err := e.Canonical()
	hash, _ := plumbline.Seal(r.prev, e) // it fails where Canonical does
	columns := sealed{
		seq: r.seq, at: e.At.UnixMicro(), run: int64(e.Run), who: e.Who, action: string(e.Action), repository: e.Repository, environment: e.Environment,
		name: e.Stack, doc: text, prev: r.prev, hash: hash, mac: r.mac,
	}
	// A chain begins at any number, the log at 1.
	switch next := chain.Head().Seq + 1; {
	case r.seq > next:
		chain.Fail(next, plumbline.FaultMissing, "Entry %d is missing: entry %d comes after entry %d.", next, r.seq, next-1)
	case err != nil || r != columns:
		chain.Fail(r.seq, plumbline.FaultAltered, "Entry %d was altered: its columns, its document and its hash do not fit each other.", r.seq)
	case !hmac.Equal([]byte(r.mac), []byte(mac(key, r.hash))):
		chain.Fail(r.seq, plumbline.FaultKey, "Entry %d was not sealed with this key: it was forged, or made with another key.", r.seq)
	case e.Seq != r.seq:
		chain.Fail(r.seq, plumbline.FaultOrder, "In the place of entry %d is entry %d.", r.seq, e.Seq)
	default:
		return chain.Add(row)
	}
	return false
}
