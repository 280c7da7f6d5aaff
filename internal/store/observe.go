package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Seen returns the mark that was last seen of a subject; "" when it was never seen.
func (s *Store) Seen(ctx context.Context, repo, subject string) (mark string, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT mark FROM seen WHERE repository = $1 AND subject = $2`, repo, subject).Scan(&mark)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look up what was seen of %s: %w", subject, err)
	}
	return mark, nil
}

// Observe writes an observation and returns the IDs of its runs in their order. It returns ErrConflict, and has written nothing, when
// somebody else saw the subject move first or fulfilled one of the requests.
//
// A deployment's ID is assigned here; runs and the merge request refer to the i-th by Deployment = -(i+1). A stack that is known
// already keeps everything but Spec and Removed.
func (s *Store) Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error) {
	if err := check(o); err != nil {
		return nil, fmt.Errorf("observe %s of %s: %w", o.Subject, o.Repository, err)
	}
	o.At = exact(o.At)
	var queued []plumbline.RunID
	err := s.inTx(ctx, func(t *tx) (err error) {
		queued, err = t.observe(ctx, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("observe %s of %s: %w", o.Subject, o.Repository, err)
	}
	return queued, nil
}

func check(o plumbline.Observation) error {
	errs := []error{names(o.Repository, o.Subject, o.Was, o.Now, o.Branch, o.Head)}
	if mr := o.MergeRequest; mr != nil {
		errs = append(errs, names(mr.Repository, mr.ID))
		if mr.Deployment < -int64(len(o.Deployments)) {
			errs = append(errs, fmt.Errorf("%w: merge request %s has no deployment %d", plumbline.ErrInvalid, mr.Name(), mr.Deployment))
		}
	}
	for _, c := range o.Commands {
		errs = append(errs, names(c.Repository, c.MR, c.Comment))
	}
	for _, d := range o.Deployments {
		errs = append(errs, names(d.Repository, d.Environment, d.Commit))
	}
	for _, st := range o.Stacks {
		errs = append(errs, names(st.Stack.Repository, st.Stack.Environment, st.Stack.Name))
	}
	for _, m := range o.Remedies {
		if m.Remedy.Run < -plumbline.RunID(len(o.Runs)) {
			errs = append(errs, fmt.Errorf("%w: the remedy of drift item %d names run %d, which is not among the observation's", plumbline.ErrInvalid, m.Item, m.Remedy.Run))
		}
	}
	for _, r := range o.Runs {
		errs = append(errs, names(r.Stack.Repository, r.Stack.Environment, r.Stack.Name, r.Subject, r.MR), names(r.WaitsFor...))
		if r.State != plumbline.StateQueued && r.State != plumbline.StateFailed {
			errs = append(errs, fmt.Errorf("%w: a new run of %s is %s", plumbline.ErrInvalid, r.Stack.Name, r.State))
		}
		if r.Deployment > 0 || r.Deployment < -int64(len(o.Deployments)) {
			errs = append(errs, fmt.Errorf("%w: a run of %s names deployment %d, which is not among the observation's", plumbline.ErrInvalid, r.Stack.Name, r.Deployment))
		}
	}
	return errors.Join(errs...)
}

func (t *tx) observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error) {
	if o.Subject != "" {
		if err := t.see(ctx, o); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(slices.Values(o.Requests)) {
		n, err := t.exec(ctx, `DELETE FROM request WHERE id = $1`, id)
		if err != nil {
			return nil, fmt.Errorf("delete request %d: %w", id, err)
		}
		if n == 0 {
			return nil, fmt.Errorf("request %d: %w: somebody else fulfilled it", id, plumbline.ErrConflict)
		}
	}
	live, err := t.live(ctx, o.Repository, o.Supersede)
	if err != nil {
		return nil, err
	}
	if err := t.lockDrift(ctx, o.Remedies); err != nil {
		return nil, err
	}
	refs := make([]plumbline.StackRef, 0, len(live)+len(o.Stacks)+len(o.Runs))
	for _, r := range live {
		refs = append(refs, r.Stack)
	}
	for _, st := range o.Stacks {
		refs = append(refs, st.Stack)
	}
	for _, r := range o.Runs {
		refs = append(refs, r.Stack)
	}
	if err := t.leave(ctx, o.Stacks, o.At); err != nil {
		return nil, err
	}
	stacks, err := t.lockStacks(ctx, refs...)
	if err != nil {
		return nil, err
	}
	var replaced []plumbline.Run
	for _, r := range live {
		before := r
		if err := r.Supersede(o.At); err != nil {
			return nil, err
		}
		if r.State == before.State && r.Wish == before.Wish {
			continue // it is being applied, or asked to stop already
		}
		if err := t.updateRun(ctx, before, &r, o.At); err != nil {
			return nil, err
		}
		if r.State != before.State {
			stacks.follow(r)
		}
		replaced = append(replaced, r)
	}
	for _, st := range o.Stacks {
		if known := stacks[st.Stack]; known != nil {
			known.Spec, known.Removed = st.Spec, st.Removed
			if st.Removed {
				known.Drifted = 0
			}
		} else {
			stacks[st.Stack] = &st
		}
	}
	deployments, err := t.insertDeployments(ctx, o.Deployments)
	if err != nil {
		return nil, err
	}
	if o.Branch != "" {
		if err := t.writeHead(ctx, o); err != nil {
			return nil, err
		}
	}
	if o.MergeRequest != nil {
		mr := *o.MergeRequest
		mr.Deployment = deployments.resolve(mr.Deployment)
		if err := t.writeMR(ctx, mr); err != nil {
			return nil, err
		}
	}
	if err := t.insertCommands(ctx, o.Commands); err != nil {
		return nil, err
	}
	if o.Carries != nil {
		first := *o.Carries
		first.Outcome = "" // it must be pending
		if err := t.carry(ctx, first); err != nil {
			return nil, err
		}
		if err := t.carry(ctx, *o.Carries); err != nil {
			return nil, err
		}
	}
	queued, err := t.insertRuns(ctx, o, deployments, stacks, replaced)
	if err != nil {
		return nil, err
	}
	for _, m := range o.Remedies {
		if m.Remedy.Run < 0 {
			m.Remedy.Run = queued[-m.Remedy.Run-1]
		}
		if err := t.remedy(ctx, []int64{m.Item}, func(plumbline.DriftItem) plumbline.Remedy { return m.Remedy }); err != nil {
			return nil, err
		}
	}
	return queued, t.writeStacks(ctx, stacks)
}

// lockDrift locks items before stacks are, as everybody does who writes both.
func (t *tx) lockDrift(ctx context.Context, list []plumbline.ItemRemedy) error {
	if t.dialect.forUpdate == "" {
		return nil
	}
	for _, m := range list {
		if _, err := t.exec(ctx, `SELECT id FROM drift WHERE id = $1`+t.dialect.forUpdate, m.Item); err != nil {
			return fmt.Errorf("lock drift item %d: %w", m.Item, err)
		}
	}
	return nil
}

// see compares and sets the mark. The row is locked from here on, so that a rival waits and then finds another mark.
func (t *tx) see(ctx context.Context, o plumbline.Observation) error {
	var (
		n   int64
		err error
	)
	if o.Was == "" {
		n, err = t.exec(ctx, `
			INSERT INTO seen (repository, subject, mark, at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (repository, subject) DO UPDATE SET mark = excluded.mark, at = excluded.at WHERE seen.mark = ''`,
			o.Repository, o.Subject, o.Now, o.At.UnixMicro())
	} else {
		n, err = t.exec(ctx, `UPDATE seen SET mark = $1, at = $2 WHERE repository = $3 AND subject = $4 AND mark = $5`,
			o.Now, o.At.UnixMicro(), o.Repository, o.Subject, o.Was)
	}
	if err != nil {
		return fmt.Errorf("set the mark: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("%w: its mark is not %q any more", plumbline.ErrConflict, o.Was)
	}
	return nil
}

// live locks the runs of subjects that have not ended.
func (t *tx) live(ctx context.Context, repo string, subjects []string) ([]plumbline.Run, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	var w where
	w.and("repository = ?", repo)
	in(&w, "subject", subjects)
	query := `SELECT ` + runColumns + ` FROM run` + w.String() +
		` AND state IN ('queued', 'planning', 'awaiting', 'approved', 'applying') ORDER BY id` + t.dialect.forUpdate
	return collect(ctx, t, scanRun, query, w.args...)
}

// deploymentIDs are those of an observation's deployments.
type deploymentIDs []int64

func (ids deploymentIDs) resolve(ref int64) int64 {
	if ref < 0 {
		return ids[-ref-1]
	}
	return ref
}

func (t *tx) insertDeployments(ctx context.Context, list []plumbline.Deployment) (deploymentIDs, error) {
	if len(list) == 0 {
		return nil, nil
	}
	first, err := t.next(ctx, "deployment", len(list))
	if err != nil {
		return nil, err
	}
	ids := make(deploymentIDs, len(list))
	for i, d := range list {
		d.ID = first + int64(i)
		ids[i] = d.ID
		doc, err := encode(d)
		if err != nil {
			return nil, err
		}
		if _, err := t.exec(ctx, `INSERT INTO deployment (id, repository, environment, doc) VALUES ($1, $2, $3, $4)`,
			d.ID, d.Repository, d.Environment, doc); err != nil {
			return nil, fmt.Errorf("insert deployment %d: %w", d.ID, err)
		}
	}
	t.changed = true
	return ids, nil
}

func (t *tx) writeHead(ctx context.Context, o plumbline.Observation) error {
	findings, err := encode(o.Findings)
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, `
		INSERT INTO head (repository, branch, commit_id, at, findings) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (repository, branch) DO UPDATE SET commit_id = excluded.commit_id, at = excluded.at, findings = excluded.findings`,
		o.Repository, o.Branch, o.Head, o.At.UnixMicro(), findings); err != nil {
		return fmt.Errorf("write the head of %s: %w", o.Branch, err)
	}
	t.changed = true
	return nil
}

// writeMR counts a merge request's version up only when something about it is new, since people are told of each version.
func (t *tx) writeMR(ctx context.Context, mr plumbline.MergeRequest) error {
	doc, err := encode(mr)
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, `
		INSERT INTO merge_request (repository, id, state, updated, version, reported, doc) VALUES ($1, $2, $3, $4, 1, 0, $5)
		ON CONFLICT (repository, id) DO UPDATE
		SET state = excluded.state, updated = excluded.updated, version = merge_request.version + 1, doc = excluded.doc
		WHERE merge_request.doc <> excluded.doc`,
		mr.Repository, mr.ID, string(mr.State), mr.UpdatedAt.UnixMicro(), doc)
	if err != nil {
		return fmt.Errorf("write merge request %s: %w", mr.Name(), err)
	}
	t.changed = t.changed || n > 0
	return nil
}

// insertRuns writes new runs. They take over what people agreed to on those that they replace.
func (t *tx) insertRuns(ctx context.Context, o plumbline.Observation, deployments deploymentIDs, stacks statuses, replaced []plumbline.Run) ([]plumbline.RunID, error) {
	if len(o.Runs) == 0 {
		return nil, nil
	}
	first, err := t.next(ctx, "run", len(o.Runs))
	if err != nil {
		return nil, err
	}
	ids := make([]plumbline.RunID, len(o.Runs))
	for i, r := range o.Runs {
		r.ID = plumbline.RunID(first + int64(i))
		head := ""
		if r.Deployment < 0 {
			head = o.Deployments[-r.Deployment-1].Commit
		}
		r.Deployment = deployments.resolve(r.Deployment)
		for _, old := range replaced {
			if old.Stack == r.Stack && old.Kind == r.Kind && old.Subject == r.Subject {
				r.Succeed(old, o.At)
			}
		}
		if err := t.insertRun(ctx, &r, head, o.At); err != nil {
			return nil, err
		}
		ids[i] = r.ID
		stacks.follow(r)
	}
	t.changed = true
	return ids, nil
}

// Head returns the commit last seen at the head of a branch; "" when the branch was never seen or is gone.
func (s *Store) Head(ctx context.Context, repo, branch string) (commit string, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT commit_id FROM head WHERE repository = $1 AND branch = $2`, repo, branch).Scan(&commit)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look up the head of %s: %w", branch, err)
	}
	return commit, nil
}

// Findings returns what was found wrong in a branch's head, beside its stacks.
func (s *Store) Findings(ctx context.Context, repo, branch string) ([]plumbline.Finding, error) {
	list, err := scanDoc[[]plumbline.Finding]("head")(s.read.QueryRowContext(ctx,
		`SELECT branch, findings FROM head WHERE repository = $1 AND branch = $2`, repo, branch))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return list, err
}

// Deployment returns one deployment.
func (s *Store) Deployment(ctx context.Context, id int64) (plumbline.Deployment, error) {
	d, err := scanDoc[plumbline.Deployment]("deployment")(s.read.QueryRowContext(ctx, `SELECT id, doc FROM deployment WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("deployment %d: %w", id, plumbline.ErrNotFound)
	}
	return d, err
}

// Deployments lists an environment's deployments, newest first; a limit of 0 means 100.
func (s *Store) Deployments(ctx context.Context, repo, env string, most int) ([]plumbline.Deployment, error) {
	return collect(ctx, s.read, scanDoc[plumbline.Deployment]("deployment"),
		`SELECT id, doc FROM deployment WHERE repository = $1 AND environment = $2 ORDER BY id DESC LIMIT $3`, repo, env, limit(most, 100))
}
