package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Announce writes notices that are to be sent and returns how many of them are new: one whose sink and key are known is left as it is, whatever
// became of it.
func (s *Store) Announce(ctx context.Context, notices []plumbline.Notice, now time.Time) (added int, err error) {
	if len(notices) == 0 {
		return 0, nil
	}
	for _, n := range notices {
		if err := names(n.Sink, n.Key); err != nil {
			return 0, fmt.Errorf("announce: %w", err)
		}
	}
	// Without a transaction that writes: mostly everything is known, since what is under way is looked at again and again.
	var fresh []plumbline.Notice
	for _, n := range notices {
		known := false
		if err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM notice WHERE sink = $1 AND key = $2)`, n.Sink, n.Key).Scan(&known); err != nil {
			return 0, fmt.Errorf("announce: %w", err)
		}
		if !known {
			fresh = append(fresh, n)
		}
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	err = s.inTx(ctx, func(t *tx) error {
		added = 0
		for _, n := range fresh {
			id, err := t.next(ctx, "notice", 1)
			if err != nil {
				return err
			}
			n.At = exact(n.At)
			doc, err := encode(n)
			if err != nil {
				return err
			}
			wrote, err := t.exec(ctx, `
				INSERT INTO notice (id, sink, key, state, at, claim, until, attempts, alone, reason, doc) VALUES ($1, $2, $3, 'waiting', $4, 0, 0, 0, 0, '', $5)
				ON CONFLICT (sink, key) DO NOTHING`, id, n.Sink, n.Key, now.UnixMicro(), doc)
			if err != nil {
				return err
			}
			added += int(wrote)
		}
		t.changed = added > 0
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("announce: %w", err)
	}
	return added, nil
}

// ClaimNotices takes what a sink is to be sent at once, for a lease within which nobody else sends it: everything that waits, once the oldest has waited
// for the sink's window, the sink is not to be left alone, and its limit allows a message. Else it says when to come again.
//
// Whoever claims must tell how it ended, by NoticesSent or NoticesFailed. What nothing is heard of is claimed again when the lease is over, and
// is sent a second time if it had been sent: a sink is told at least once.
func (s *Store) ClaimNotices(ctx context.Context, sink plumbline.Sink, now time.Time, lease time.Duration) (plumbline.Parcel, error) {
	// Without a transaction that writes: mostly nothing waits.
	var waiting bool
	if err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM notice WHERE sink = $1 AND state = 'waiting')`, sink.Name).Scan(&waiting); err != nil || !waiting {
		return plumbline.Parcel{Sink: sink.Name}, err
	}
	var p plumbline.Parcel
	err := s.inTx(ctx, func(t *tx) (err error) {
		p, err = t.claimNotices(ctx, sink, exact(now), lease)
		return err
	})
	if err != nil {
		return plumbline.Parcel{}, fmt.Errorf("claim notices for %s: %w", sink.Name, err)
	}
	return p, nil
}

func (t *tx) claimNotices(ctx context.Context, sink plumbline.Sink, now time.Time, lease time.Duration) (plumbline.Parcel, error) {
	p := plumbline.Parcel{Sink: sink.Name}
	row, err := t.lockSink(ctx, sink.Name)
	if err != nil {
		return p, err
	}
	type waiting struct {
		plumbline.Notice
		at, until, alone int64
	}
	scan := func(row scanner) (w waiting, err error) {
		var doc string
		if err := row.Scan(&w.ID, &w.at, &w.until, &w.Attempts, &w.alone, &doc); err != nil {
			return w, err
		}
		id, attempts := w.ID, w.Attempts
		err = decode("notice", fmt.Sprintf("notice %d", id), doc, &w.Notice)
		w.ID, w.Attempts = id, attempts
		return w, err
	}
	list, err := collect(ctx, t, scan, `
		SELECT id, at, until, attempts, alone, doc FROM notice WHERE sink = $1 AND state = 'waiting' ORDER BY id LIMIT $2`, sink.Name, 2*sink.Parcel())
	if err != nil {
		return p, err
	}
	later := func(at time.Time, why string) {
		if p.Again.IsZero() || at.Before(p.Again) {
			p.Again, p.Why = at, why
		}
	}
	oldest, full := int64(0), false
	for _, w := range list {
		switch {
		case w.until > now.UnixMicro():
			// Somebody is at it; this is for when nothing is heard of it again.
			later(time.UnixMicro(w.until).UTC(), "")
			continue
		case oldest == 0:
			oldest = w.at
		}
		if full = full || w.alone != 0 && len(p.Notices) > 0; !full {
			p.Notices = append(p.Notices, w.Notice)
			full = w.alone != 0 || len(p.Notices) == sink.Parcel()
		}
	}
	if len(p.Notices) == 0 {
		return p, nil
	}
	back := func(at time.Time, why string) (plumbline.Parcel, error) {
		p.Notices = nil
		later(at, why)
		return p, nil
	}
	if opens := time.UnixMicro(oldest).Add(sink.Group); opens.After(now) && !full {
		return back(opens.UTC(), "")
	}
	if row.paused.After(now) {
		return back(row.paused, row.reason)
	}
	mark, ok, when := plumbline.Pace{Limit: sink.Limit}.Take(row.pace, now)
	if !ok {
		return back(exact(when).Add(time.Microsecond), fmt.Sprintf("%d messages an hour are its limit", sink.Limit))
	}
	if p.Claim, err = t.next(ctx, "claim", 1); err != nil {
		return p, err
	}
	until := now.Add(lease).UnixMicro()
	for _, n := range p.Notices {
		if _, err := t.exec(ctx, `UPDATE notice SET claim = $1, until = $2 WHERE id = $3`, p.Claim, until, n.ID); err != nil {
			return p, err
		}
	}
	if _, err := t.exec(ctx, `UPDATE sink SET pace = $1 WHERE name = $2`, mark.UnixMicro(), sink.Name); err != nil {
		return p, err
	}
	p.Again = time.Time{}
	return p, nil
}

// sinkRow is how a sink is.
type sinkRow struct {
	pace, paused time.Time
	failures     int
	reason       string
}

func (t *tx) lockSink(ctx context.Context, name string) (row sinkRow, err error) {
	if _, err := t.exec(ctx, `INSERT INTO sink (name, pace, failures, paused, reason) VALUES ($1, 0, 0, 0, '') ON CONFLICT (name) DO NOTHING`, name); err != nil {
		return row, err
	}
	var pace, paused int64
	err = t.QueryRowContext(ctx, `SELECT pace, failures, paused, reason FROM sink WHERE name = $1`+t.dialect.forUpdate, name).Scan(&pace, &row.failures, &paused, &row.reason)
	row.pace, row.paused = time.UnixMicro(pace).UTC(), time.UnixMicro(paused).UTC()
	return row, err
}

// NoticesSent notes that a parcel has arrived. It returns ErrLost when the claim had ended, and somebody else has sent the same, or will.
func (s *Store) NoticesSent(ctx context.Context, p plumbline.Parcel, now time.Time) error {
	return s.settle(ctx, p, func(t *tx) (int64, error) {
		if _, err := t.exec(ctx, `UPDATE sink SET failures = 0, paused = 0, reason = '' WHERE name = $1`, p.Sink); err != nil {
			return 0, err
		}
		return t.exec(ctx, `UPDATE notice SET state = 'sent', ended = $1, claim = 0, until = 0, reason = '' WHERE claim = $2`, now.UnixMicro(), p.Claim)
	})
}

// NoticesFailed notes that a parcel has not arrived, and why. The sink is left alone until pause at least, and longer from one failure to the next. A
// notice is given up after NoticeTries, or at once when the sink will never take it, and the sink is not left alone then; of several, each is sent
// by itself first, since one of them may be to blame. It returns until when the sink is left alone, and how many notices were given up.
func (s *Store) NoticesFailed(ctx context.Context, p plumbline.Parcel, reason string, forGood bool, pause, now time.Time) (until time.Time, lost int, err error) {
	now = exact(now)
	err = s.settle(ctx, p, func(t *tx) (int64, error) {
		row, err := t.lockSink(ctx, p.Sink)
		if err != nil {
			return 0, err
		}
		until = now
		if !forGood {
			row.failures++
			until = now.Add(plumbline.SinkPause(row.failures))
			if pause.After(until) {
				until = exact(pause)
			}
		}
		if _, err := t.exec(ctx, `UPDATE sink SET failures = $1, paused = $2, reason = $3 WHERE name = $4`, row.failures, until.UnixMicro(), reason, p.Sink); err != nil {
			return 0, err
		}
		tries, alone := plumbline.NoticeTries, 0
		switch {
		case forGood && len(p.Notices) > 1:
			alone = 1
		case forGood:
			tries = 0
		}
		gone, err := t.exec(ctx, `
			UPDATE notice SET state = 'given up', ended = $1, claim = 0, until = 0, attempts = attempts + 1, reason = $2
			WHERE claim = $3 AND attempts + 1 >= $4`, now.UnixMicro(), reason, p.Claim, tries)
		if err != nil {
			return 0, err
		}
		lost = int(gone)
		left, err := t.exec(ctx, `UPDATE notice SET claim = 0, until = 0, attempts = attempts + 1, alone = $1, reason = $2 WHERE claim = $3`, alone, reason, p.Claim)
		return gone + left, err
	})
	return until, lost, err
}

func (s *Store) settle(ctx context.Context, p plumbline.Parcel, f func(*tx) (int64, error)) error {
	if p.Claim == 0 {
		return fmt.Errorf("%w: nothing of %s was claimed", plumbline.ErrInvalid, p.Sink)
	}
	err := s.inTx(ctx, func(t *tx) error {
		if _, err := t.lockSink(ctx, p.Sink); err != nil {
			return err
		}
		n, err := f(t)
		if err == nil && n != int64(len(p.Notices)) {
			err = plumbline.ErrLost
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("note what became of the notices for %s: %w", p.Sink, err)
	}
	return nil
}

// SweepNotices gives up what nobody sends, since its sink is not in any configuration or was away for too long, and forgets what ended before a time.
func (s *Store) SweepNotices(ctx context.Context, now, before time.Time) (lost, forgotten int, err error) {
	err = s.inTx(ctx, func(t *tx) error {
		stale, err := t.exec(ctx, `
			UPDATE notice SET state = 'given up', ended = $1, claim = 0, until = 0,
				reason = CASE WHEN reason = '' THEN 'nobody has sent it' ELSE reason END
			WHERE state = 'waiting' AND at < $2 AND until <= $1`, now.UnixMicro(), now.Add(-plumbline.NoticeStale).UnixMicro())
		if err != nil {
			return err
		}
		old, err := t.exec(ctx, `DELETE FROM notice WHERE ended < $1`, before.UnixMicro())
		lost, forgotten = int(stale), int(old)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("sweep notices: %w", err)
	}
	return lost, forgotten, nil
}

// SinkStatus is how a sink is, for people.
func (s *Store) SinkStatus(ctx context.Context, name string) (plumbline.SinkStatus, error) {
	st := plumbline.SinkStatus{Name: name}
	var paused int64
	err := s.read.QueryRowContext(ctx, `SELECT failures, paused, reason FROM sink WHERE name = $1`, name).Scan(&st.Failures, &paused, &st.Reason)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return st, fmt.Errorf("look up the sink %s: %w", name, err)
	}
	if paused > 0 {
		st.Paused = time.UnixMicro(paused).UTC()
	}
	type counted struct {
		state string
		n     int
	}
	scan := func(row scanner) (c counted, err error) {
		err = row.Scan(&c.state, &c.n)
		return c, err
	}
	list, err := collect(ctx, s.read, scan, `SELECT state, COUNT(*) FROM notice WHERE sink = $1 GROUP BY state`, name)
	if err != nil {
		return st, fmt.Errorf("count the notices of %s: %w", name, err)
	}
	for _, c := range list {
		switch c.state {
		case "waiting":
			st.Waiting = c.n
		case "sent":
			st.Sent = c.n
		case "given up":
			st.GivenUp = c.n
		}
	}
	if st.GivenUp == 0 {
		return st, nil
	}
	reasons, err := collect(ctx, s.read, func(row scanner) (why string, err error) {
		err = row.Scan(&why)
		return why, err
	}, `SELECT reason FROM notice WHERE sink = $1 AND state = 'given up' ORDER BY ended DESC, id DESC LIMIT 1`, name)
	if err != nil {
		return st, fmt.Errorf("look up why notices of %s were given up: %w", name, err)
	}
	st.Lost = slices.Concat(reasons, []string{""})[0]
	return st, nil
}
