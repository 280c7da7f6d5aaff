package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// What people were told may become wrong although nothing happens to any run: a window opens, a yes is not good any more, somebody freezes an
// environment, another configuration comes into force. So the ledger keeps the next moment at which that may be the case, for each run that has
// one, and by which rules people were told last. At that moment, and when the rules are others, the subjects are looked at again; that nothing is
// said where nothing differs is what fingerprints are for. It is in the ledger, as another daemon may be the one that is there by then.

// momentsKey is where the ledger keeps them.
const momentsKey = "moments"

// moments are when runs are to be looked at again.
type moments struct {
	Rules string                        `json:",omitempty"` // hash of those by which people were told
	At    map[plumbline.RunID]time.Time `json:",omitempty"`
}

func (r *Reporter) moments(ctx context.Context) (m moments, doc string, err error) {
	doc, err = r.c.Ledger.Told(ctx, r.c.Repository.Name, momentsKey)
	if err == nil && doc != "" {
		err = json.Unmarshal([]byte(doc), &m)
	}
	if err != nil {
		return m, doc, fmt.Errorf("read when %s is to be looked at again: %w", r.c.Repository.Name, err)
	}
	if m.At == nil {
		m.At = map[plumbline.RunID]time.Time{}
	}
	return m, doc, nil
}

// keep writes them down, if they are others than doc.
func (m moments) keep(ctx context.Context, r *Reporter, doc string) error {
	b, err := json.Marshal(m)
	if err != nil || string(b) == doc {
		return err
	}
	return r.c.Ledger.Tell(ctx, r.c.Repository.Name, momentsKey, string(b))
}

// due are the runs whose moment has come.
func (m moments) due(ctx context.Context, r *Reporter, now time.Time) ([]plumbline.Run, error) {
	var out []plumbline.Run
	for id, at := range m.At {
		if at.After(now) {
			continue
		}
		run, err := r.c.Ledger.Run(ctx, id)
		if errors.Is(err, plumbline.ErrNotFound) {
			delete(m.At, id)
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, run)
	}
	return out, nil
}

// again is how long it is until the next one; 0: there is none.
func (m moments) again(now time.Time) time.Duration {
	var next time.Time
	for _, at := range m.At {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if next.IsZero() {
		return 0
	}
	return next.Sub(now)
}

// sooner is the shorter of two times to wait, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// rules is a hash of what is in force: configuration, and what people froze.
func (r *Reporter) rules() (string, error) {
	type rules struct {
		Name     string
		Apply    plumbline.ApplyMode
		Approval plumbline.ApprovalRule
		Calendar plumbline.Calendar
	}
	var all []rules
	for _, e := range r.c.Repository.Environments {
		all = append(all, rules{e.Name, e.Apply, e.Approval, e.Calendar})
	}
	b, err := json.Marshal([]any{all, r.frozen})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), nil
}

// ruled are the subjects of which something else may have to be told when the rules are others: what is deployed, what is proposed.
func (r *Reporter) ruled(ctx context.Context) (runs []plumbline.Run, mrs []plumbline.MRVersion, err error) {
	runs, err = r.c.Ledger.Runs(ctx, plumbline.RunFilter{
		Repository: r.c.Repository.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy},
		States: []plumbline.State{plumbline.StateAwaiting, plumbline.StateApproved}, Limit: 100_000,
	})
	if err != nil {
		return nil, nil, err
	}
	open, err := r.c.Ledger.MergeRequests(ctx, r.c.Repository.Name, plumbline.MROpen)
	for _, mr := range open {
		mrs = append(mrs, plumbline.MRVersion{ID: mr.ID})
	}
	return runs, mrs, err
}

// inForce is a run with what people froze, where that keeps it back.
func (r *Reporter) inForce(run plumbline.Run) plumbline.Run {
	if run.State.Ended() && run.Kind != plumbline.KindProposal {
		return run
	}
	freezes := run.Policy.Calendar.Freezes
	freezes = freezes[:len(freezes):len(freezes)]
	for _, f := range r.frozen {
		if f.Environment == run.Stack.Environment {
			freezes = append(freezes, f.Freeze)
		}
	}
	run.Policy.Calendar.Freezes = freezes
	return run
}

// byDate is from when on a time that is still to come is said as a weekday, not as a date (plumbline.Calendar).
const byDate = 6 * 24 * time.Hour

// moment is the next time at which something else may have to be said of a run; zero: none.
func moment(mr plumbline.MergeRequest, r plumbline.Run, now time.Time) time.Time {
	switch {
	case r.State == plumbline.StateAwaiting, r.State == plumbline.StateApproved:
	case r.Kind == plumbline.KindProposal && r.State == plumbline.StatePlanned && mr.State == plumbline.MROpen:
	default:
		return time.Time{}
	}
	var next time.Time
	at := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	said := func(t time.Time) {
		at(t)
		at(t.Add(time.Second - byDate))
	}
	for _, a := range r.Approvals {
		at(a.Expires)
	}
	at(r.ValidUntil())
	if broken(r) || r.Policy.Apply == plumbline.ApplyNever {
		return next
	}
	c := r.Policy.Calendar
	for _, f := range c.Freezes {
		at(f.From)
		said(f.Until)
	}
	_, opens, _ := plumbline.Calendar{Windows: c.Windows}.Closed(now)
	said(opens)
	if _, until, closed := c.Closed(now); closed {
		said(until)
	} else if open := c.Openings(now, 1); len(open) > 0 {
		at(open[0].Until)
	}
	return next
}
