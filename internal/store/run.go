package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// runColumns are what scanRun reads.
const runColumns = `id, state, due, version, reported, told, doc`

func scanRun(row scanner) (plumbline.Run, error) {
	var (
		id, version, reported, told int64
		state, doc                  string
		due                         sql.NullInt64
		r                           plumbline.Run
	)
	if err := row.Scan(&id, &state, &due, &version, &reported, &told, &doc); err != nil {
		return r, err
	}
	if err := decode("run", "run "+strconv.FormatInt(id, 10), doc, &r); err != nil {
		return plumbline.Run{}, err
	}
	r.ID, r.State, r.Version, r.Reported = plumbline.RunID(id), plumbline.State(state), version, reported
	r.Told = fromMicros(sql.NullInt64{Int64: told, Valid: told > 0})
	if r.State.Active() {
		r.LeaseUntil = fromMicros(due) // Renew writes the column alone
	}
	return r, nil
}

// due is the first moment at which Expire has something to do with the run; zero: never.
func due(r plumbline.Run) time.Time {
	at := []time.Time{r.LeaseUntil, r.ValidUntil()}
	for _, a := range r.Approvals {
		at = append(at, a.Expires)
	}
	slices.SortFunc(at, time.Time.Compare)
	for _, t := range at {
		probe := r
		if !t.IsZero() && probe.Expire(t) == nil {
			return t
		}
	}
	return time.Time{}
}

// opens is when a worker can have a run at the earliest: when its turn comes, or its calendar lets it be applied.
func opens(r plumbline.Run, now time.Time) int64 {
	switch {
	case r.State == plumbline.StateQueued && !r.NotBefore.IsZero():
		return r.NotBefore.UnixMicro()
	case r.State != plumbline.StateApproved:
		return 0
	}
	if _, at, closed := r.Closed(now); closed {
		return until(at)
	}
	return 0
}

// glass is 1 for a run for whose plan at hand somebody has broken the glass.
func glass(r plumbline.Run) int {
	if r.Glass != nil && r.Plan != nil && r.Glass.Digest == r.Plan.Digest && r.Glass.Config == r.Plan.Config {
		return 1
	}
	return 0
}

// lockRun reads a run that is about to be written.
func (t *tx) lockRun(ctx context.Context, id plumbline.RunID) (plumbline.Run, error) {
	r, err := scanRun(t.QueryRowContext(ctx, `SELECT `+runColumns+` FROM run WHERE id = $1`+t.dialect.forUpdate, int64(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("run %s: %w", id, plumbline.ErrNotFound)
	}
	return r, err
}

// insertRun writes a new run, whose ID is set, with the first line of its history. Head is the commit of its deployment.
func (t *tx) insertRun(ctx context.Context, r *plumbline.Run, head string, now time.Time) error {
	r.Version, r.Reported = 1, 0
	doc, err := encode(*r)
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, `
		INSERT INTO run (id, repository, environment, stack, kind, state, subject, mr, deployment, head, env_order, priority, due, opens, version, reported, doc)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, 0, $15)`,
		int64(r.ID), r.Stack.Repository, r.Stack.Environment, r.Stack.Name, string(r.Kind), string(r.State), r.Subject, r.MR,
		r.Deployment, head, r.Policy.Order, r.Priority(), micros(due(*r)), opens(*r, now), doc); err != nil {
		return fmt.Errorf("insert run %s: %w", r.ID, err)
	}
	if r.Deployment != 0 {
		for _, name := range slices.Compact(slices.Sorted(slices.Values(r.WaitsFor))) {
			if _, err := t.exec(ctx, `INSERT INTO run_wait (run, stack) VALUES ($1, $2)`, int64(r.ID), name); err != nil {
				return fmt.Errorf("insert what run %s waits for: %w", r.ID, err)
			}
		}
	}
	t.tell(now, plumbline.Audit(plumbline.Run{}, *r)...)
	return t.insertEvent(ctx, plumbline.Run{}, *r, now)
}

// updateRun writes a run that was locked and changed, with a line of history if there is something to tell.
func (t *tx) updateRun(ctx context.Context, before plumbline.Run, r *plumbline.Run, now time.Time) error {
	r.ID, r.Stack, r.Version, r.Reported = before.ID, before.Stack, before.Version+1, before.Reported
	doc, err := encode(*r)
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, `UPDATE run SET state = $1, priority = $2, due = $3, opens = $4, glass = $5, env_order = $6, version = $7, doc = $8 WHERE id = $9 AND version = $10`,
		string(r.State), r.Priority(), micros(due(*r)), opens(*r, now), glass(*r), r.Policy.Order, r.Version, doc, int64(r.ID), before.Version)
	switch {
	case err != nil && t.dialect.duplicate(err):
		return busyError{r.Stack, err}
	case err != nil:
		return fmt.Errorf("update run %s: %w", r.ID, err)
	case n != 1:
		return fmt.Errorf("update run %s: %w: it is not at version %d any more", r.ID, plumbline.ErrConflict, before.Version)
	}
	t.changed = true
	t.tell(now, plumbline.Audit(before, *r)...)
	return t.insertEvent(ctx, before, *r, now)
}

// busyError says that the database refused a second active run of a stack.
type busyError struct {
	stack plumbline.StackRef
	err   error
}

func (e busyError) Error() string   { return "Another run of " + e.stack.Name + " is at work." }
func (e busyError) Unwrap() []error { return []error{plumbline.ErrConflict, e.err} }

// insertEvent writes the line of history that tells how a run came from one version to the next, if it needs telling.
func (t *tx) insertEvent(ctx context.Context, before, after plumbline.Run, now time.Time) error {
	who, text, tell := describe(before, after)
	if !tell {
		return nil
	}
	if _, err := t.exec(ctx, `INSERT INTO run_event (run, version, at, from_state, to_state, who, text) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		int64(after.ID), after.Version, exact(now).UnixMicro(), string(before.State), string(after.State), printable(who), printable(text)); err != nil {
		return fmt.Errorf("write the history of run %s: %w", after.ID, err)
	}
	return nil
}

// printable makes any text one that both databases keep.
func printable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// describe tells who brought a run from one version to the next and how; tell is false where nothing happened that people look
// for in a history. A run that was not there before has the zero State.
func describe(before, after plumbline.Run) (who, text string, tell bool) {
	worker := after.Claim.Worker
	fresh, gone := approvals(before, after), approvals(after, before)
	same := before.State == after.State
	switch {
	case before.State == "":
		text = after.Because
		if after.Failure != nil {
			text = after.Failure.Text
		}
		for _, a := range fresh {
			text += "; " + a.By + " " + agreed(a)
		}
		return after.By, text, true
	case after.Glass != nil && (before.Glass == nil || !before.Glass.At.Equal(after.Glass.At) || before.Glass.Reason != after.Glass.Reason):
		return after.Glass.By, "broke the glass for " + plumbline.ShortDigest(after.Glass.Digest) + ": " + after.Glass.Reason, true
	case len(fresh) > 0:
		a := fresh[0]
		text = agreed(a)
		for _, b := range fresh[1:] {
			text += ", and " + b.By + " " + agreed(b)
		}
		return a.By, text + counts(after, fresh), true
	case before.State == plumbline.StateApproved && after.State == plumbline.StateAwaiting && len(gone) == 0 && after.Mending != nil && after.Mending.Why != "":
		return "", "not applied without asking: " + after.Mending.Why, true
	case same && len(gone) > 0, before.State == plumbline.StateApproved && after.State == plumbline.StateAwaiting:
		return "", lost(gone), true
	case same && before.Wish != after.Wish && after.Wish == plumbline.WishCancel:
		return after.WishBy, "asked to stop", true
	case same && before.Wish != after.Wish && after.Wish == plumbline.WishSupersede:
		return plumbline.ByPoll, "asked to stop for a newer commit", true
	case same:
		return "", "", false
	}
	switch after.State {
	case plumbline.StatePlanning, plumbline.StateApplying:
		if before.State == plumbline.StateInterrupted {
			return worker, "taken up again: its Terraform had not gone away", true
		}
		return worker, fmt.Sprintf("attempt %d", after.Attempt), true
	case plumbline.StateQueued:
		switch {
		case before.State.Ended():
			return after.By, after.Because, true
		case before.State == plumbline.StateApplying:
			return worker, after.Because, true
		case after.Attempt < before.Attempt:
			return worker, "given back", true
		}
		return "", "the lease of " + worker + " ran out", true
	case plumbline.StateAwaiting, plumbline.StatePlanned, plumbline.StateDrifted, plumbline.StateClean:
		if after.Plan != nil {
			text = after.Plan.Summary.String()
		}
		if m := after.Mending; m != nil && m.Why != "" && after.State == plumbline.StateAwaiting {
			text += "; not applied without asking: " + m.Why
		}
		return worker, text, true
	case plumbline.StateApproved:
		switch {
		case after.Cleared():
			return worker, "it puts drift right within the limits of what is done without asking", true
		case before.State == plumbline.StateAwaiting:
			return "", "the rules that are in force now ask for no more", true
		case len(after.Approvals) > 0:
			return worker, "the plan is the one that was approved", true
		}
		return worker, "its environment applies automatically", true
	case plumbline.StateFailed, plumbline.StateInterrupted:
		if after.Failure != nil {
			text = after.Failure.Text
		}
		return worker, text, true
	case plumbline.StateRejected:
		return after.RejectedBy, after.Reason, true
	case plumbline.StateCanceled:
		return after.WishBy, after.Reason, true
	case plumbline.StateSuperseded:
		return plumbline.ByPoll, "a newer commit took its place", true
	case plumbline.StateExpired:
		if before.State == plumbline.StateApproved {
			return "", "its approval ran out before it was applied", true
		}
		return "", "nobody approved it in time", true
	}
	return worker, text, true
}

// approvals lists those of a run that another version of it does not have.
func approvals(without, with plumbline.Run) (out []plumbline.Approval) {
	for _, a := range with.Approvals {
		if !slices.ContainsFunc(without.Approvals, func(b plumbline.Approval) bool {
			return a.By == b.By && a.Digest == b.Digest && a.Config == b.Config && a.At.Equal(b.At)
		}) {
			out = append(out, a)
		}
	}
	return out
}

// agreed is "approved b41f9c0d5e6f on merge request !42".
func agreed(a plumbline.Approval) string {
	text := "approved " + plumbline.ShortDigest(a.Digest)
	if a.Carried != "" {
		text += " on " + a.Carried
	}
	return text
}

// counts says what became of approvals that have just come.
func counts(r plumbline.Run, fresh []plumbline.Approval) string {
	switch {
	case r.Plan == nil || r.State == plumbline.StateApproved:
		return ""
	case r.Kind == plumbline.KindProposal:
		return "; it counts after the merge if the plan is the same then"
	case !slices.ContainsFunc(fresh, func(a plumbline.Approval) bool { return a.Digest == r.Plan.Digest && a.Config == r.Plan.Config }):
		return "; the plan is another one now"
	}
	return "; more approvals are needed"
}

// lost says which approvals ended, or that something else did not count any more.
func lost(gone []plumbline.Approval) string {
	if len(gone) == 0 {
		return "a yes does not count any more"
	}
	var by []string
	for _, a := range gone {
		by = append(by, a.By)
	}
	return "a yes does not count any more: that of " + strings.Join(by, ", ")
}

// Run returns one run.
func (s *Store) Run(ctx context.Context, id plumbline.RunID) (plumbline.Run, error) {
	r, err := scanRun(s.read.QueryRowContext(ctx, `SELECT `+runColumns+` FROM run WHERE id = $1`, int64(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("run %s: %w", id, plumbline.ErrNotFound)
	}
	return r, err
}

// Runs lists runs, newest first.
func (s *Store) Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error) {
	var w where
	w.eq("repository", f.Repository)
	w.eq("environment", f.Environment)
	w.eq("stack", f.Stack)
	w.eq("mr", f.MR)
	if f.Deployment != 0 {
		w.and("deployment = ?", f.Deployment)
	}
	if f.Before != 0 {
		w.and("id < ?", int64(f.Before))
	}
	in(&w, "kind", f.Kinds)
	in(&w, "state", f.States)
	query := `SELECT ` + runColumns + ` FROM run` + w.String() + ` ORDER BY id DESC LIMIT ` + w.arg(limit(f.Limit, 100))
	return collect(ctx, s.read, scanRun, query, w.args...)
}

// RunsOfMR returns all proposal runs of a merge request, oldest first.
func (s *Store) RunsOfMR(ctx context.Context, repo, mr string) ([]plumbline.Run, error) {
	return collect(ctx, s.read, scanRun, `SELECT `+runColumns+` FROM run WHERE repository = $1 AND mr = $2 ORDER BY id`, repo, mr)
}

// RunsOfDeployment returns all runs of a deployment, oldest first.
func (s *Store) RunsOfDeployment(ctx context.Context, deployment int64) ([]plumbline.Run, error) {
	return collect(ctx, s.read, scanRun, `SELECT `+runColumns+` FROM run WHERE deployment = $1 ORDER BY id`, deployment)
}

// Events returns a run's history, oldest first.
func (s *Store) Events(ctx context.Context, id plumbline.RunID) ([]plumbline.Event, error) {
	scan := func(row scanner) (plumbline.Event, error) {
		e := plumbline.Event{Run: id}
		var at int64
		err := row.Scan(&at, &e.From, &e.To, &e.Who, &e.Text)
		e.At = time.UnixMicro(at).UTC()
		return e, err
	}
	return collect(ctx, s.read, scan, `SELECT at, from_state, to_state, who, text FROM run_event WHERE run = $1 ORDER BY version`, int64(id))
}

// where collects conditions, each with "?" in the place of its argument.
type where struct {
	conds []string
	args  []any
}

// arg adds an argument and returns its placeholder.
func (w *where) arg(v any) string {
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

func (w *where) and(cond string, v any) {
	w.conds = append(w.conds, strings.ReplaceAll(cond, "?", w.arg(v)))
}

// eq adds a condition unless the value is empty.
func (w *where) eq(column, v string) {
	if v != "" {
		w.and(column+" = ?", v)
	}
}

// in adds a condition unless there are no values.
func in[T ~string](w *where, column string, values []T) {
	if len(values) == 0 {
		return
	}
	places := make([]string, len(values))
	for i, v := range values {
		places[i] = w.arg(string(v))
	}
	w.conds = append(w.conds, column+" IN ("+strings.Join(places, ", ")+")")
}

func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}
