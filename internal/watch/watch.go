// Package watch notices that Git, a merge request or the clock moved, for which it queues runs.
package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Git answers about one repository.
type Git interface {
	// Refs lists the remote's refs in one request, without cloning.
	Refs(ctx context.Context) (map[string]string, error)
	// Fetch brings these refs, at these commits, into the mirror.
	Fetch(ctx context.Context, refs map[string]string) error
	// Merge returns the tree of head merged into base, or plumbline.ErrMergeConflict with the paths.
	Merge(ctx context.Context, base, head string) (tree string, conflicts []string, err error)
	Changed(ctx context.Context, a, b string) ([]string, error)
	IsAncestor(ctx context.Context, a, b string) (bool, error)
	// Layout reads the Terraform files of a commit or tree.
	Layout(ctx context.Context, treeish string) (plumbline.Layout, error)
	History
	Restorer
	Editor
}

// Forge tells of the repository's merge requests.
type Forge interface {
	// MergeRequests lists the open ones. A forge without an API reads them off the refs and leaves State empty.
	MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error)
	// MergeRequest returns one, whatever its state; plumbline.ErrNotFound when the forge does not know it any more.
	MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error)
}

// Ledger is where runs are queued.
type Ledger interface {
	Seen(ctx context.Context, repo, subject string) (mark string, err error)
	Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error)
	Head(ctx context.Context, repo, branch string) (string, error)
	Stacks(ctx context.Context, repo, env string) ([]plumbline.StackStatus, error)
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	MergeRequests(ctx context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error)
	Deployments(ctx context.Context, repo, env string, limit int) ([]plumbline.Deployment, error)
	Requests(ctx context.Context, repo string) ([]plumbline.Request, error)
	DoneRequests(ctx context.Context, ids []int64) error
	Commands(ctx context.Context, repo string) ([]plumbline.Command, error)
	// Carry does what a command asks for and writes what came of it, or returns plumbline.ErrConflict when somebody else has.
	Carry(ctx context.Context, c plumbline.Command, now time.Time, deeds []plumbline.Deed, conclude func(refused []error) plumbline.Command) error
	MergeRequest(ctx context.Context, repo, id string) (plumbline.MergeRequest, error)
	RunsOfMR(ctx context.Context, repo, id string) ([]plumbline.Run, error)
	RunsOfDeployment(ctx context.Context, id int64) ([]plumbline.Run, error)
	Run(ctx context.Context, id plumbline.RunID) (plumbline.Run, error)
	DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error)
	// Remedied is how often an environment was put right without asking within the last day.
	Remedied(ctx context.Context, repo, env string, now time.Time) (int, error)
	// Audit notes what the ledger has no part in: somebody who was refused.
	Audit(ctx context.Context, e plumbline.AuditEntry) error
	// Update applies a rule to a run in one transaction; the rule's error is returned as it is.
	Update(ctx context.Context, id plumbline.RunID, now time.Time, rule plumbline.Rule) (plumbline.Run, error)
}

// Config makes a Watcher.
type Config struct {
	Repository plumbline.Repository
	Git        Git
	Forge      Forge
	Ledger     Ledger
	Adopt      Adopter          // default: Git is never made to say what is the case
	Access     plumbline.Access // who may give commands in comments; default: nobody
	Now        func() time.Time // default time.Now
}

// Watcher watches one repository, so that a slow forge delays only its own.
type Watcher struct {
	repo   plumbline.Repository
	git    Git
	forge  Forge
	ledger Ledger
	access plumbline.Access
	adopt  Adopter
	now    func() time.Time

	mu      sync.Mutex
	heads   map[string]string          // branches as of the last poll that went through, so that an idle poll asks for no marks
	mrs     map[string]string          // marks of open merge requests, likewise
	heard   map[string]string          // activity of open merge requests whose comments were all looked at
	merges  merges                     // that were deployed last
	visited map[string]time.Time       // when the comments on merged requests were looked at
	cured   map[string]plumbline.RunID // checks that were dealt with by stack, so that an idle poll asks for no marks
	quiet   *plumbline.Retry           // the forge wants to be left alone until then
}

// New returns a Watcher.
func New(c Config) *Watcher {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Watcher{repo: c.Repository, git: c.Git, forge: c.Forge, ledger: c.Ledger, access: c.Access, adopt: c.Adopt, now: c.Now}
}

// Result is what one poll did.
type Result struct {
	Moved    int      // branches and merge requests that had moved
	Queued   int      // runs
	Warnings []string // what an operator should know though the poll went on
}

func (r *Result) add(ids []plumbline.RunID) { r.Moved++; r.Queued += len(ids) }

func (r *Result) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Poll looks once: lists refs, lists open merge requests, compares both with what was last seen, queues what moved, does what people
// asked for. An error means that the remote or the ledger did not answer. What fails for one branch, one merge request, one wish or
// the forge's interface is a warning: it keeps nothing else from being seen, and the next poll tries again.
//
// A forge that asks to be left alone is, until the time it names; branches are still watched, through Git.
func (w *Watcher) Poll(ctx context.Context) (Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var res Result
	known, err := w.ledger.MergeRequests(ctx, w.repo.Name, plumbline.MROpen)
	if err != nil {
		return res, err
	}
	now, err := w.look(ctx)
	if err != nil {
		return res, err
	}
	marks := map[string]string{}
	if moved := w.moved(now, known); len(moved) > 0 {
		// The marks are read before the look that is compared with them. The other way round, another machine may have looked later
		// and written sooner: what this one saw would be the past, and the branch would be taken back to it.
		for _, subject := range moved {
			if marks[subject], err = w.ledger.Seen(ctx, w.repo.Name, subject); err != nil {
				return res, err
			}
		}
		if now, err = w.look(ctx); err != nil {
			return res, err
		}
	}
	if now.err != nil {
		res.warn("merge requests of %s are not listed: %v", w.repo.Name, now.err)
	}
	heads := w.branches(ctx, now.refs, marks, &res)
	w.heads, w.mrs = heads, nil
	if now.err == nil {
		w.mrs = w.mergeRequests(ctx, now.open, known, heads, marks, &res)
		if err := w.comments(ctx, now.open, &res); err != nil {
			return res, err
		}
	}
	if now.err == nil {
		if err := w.forgeApprovals(ctx, now.open, &res); err != nil {
			return res, err
		}
	}
	if err := w.commands(ctx, heads, &res); err != nil {
		return res, err
	}
	if err := w.requests(ctx, now.refs, heads, &res); err != nil {
		return res, err
	}
	w.cures(ctx, now.refs, heads, &res)
	return res, w.promote(ctx, heads, &res)
}

// look is what the remote and the forge showed at one moment.
type look struct {
	refs map[string]string
	open []plumbline.MergeRequest // those that want to change a branch of ours
	err  error                    // why open could not be had
}

func (w *Watcher) look(ctx context.Context) (look, error) {
	refs, err := w.git.Refs(ctx)
	if err != nil {
		return look{}, fmt.Errorf("list refs of %s: %w", w.repo.Name, err)
	}
	l := look{refs: refs}
	if l.err = w.asked(); l.err != nil {
		return l, nil
	}
	open, err := w.forge.MergeRequests(ctx, refs)
	if l.err = w.heed(err); l.err != nil {
		return l, nil
	}
	branches := w.repo.Branches()
	for _, mr := range open {
		if slices.Contains(branches, mr.Target) {
			mr.Repository = w.repo.Name
			l.open = append(l.open, mr)
		}
	}
	return l, nil
}

// asked returns an error while the forge wants to be left alone.
func (w *Watcher) asked() error {
	if w.quiet != nil && w.now().Before(w.quiet.At) {
		return w.quiet
	}
	return nil
}

// heed remembers until when the forge wants to be left alone.
func (w *Watcher) heed(err error) error {
	var retry *plumbline.Retry
	if errors.As(err, &retry) {
		w.quiet = retry
	}
	return err
}

// moved returns the subjects that are not as they were at the last poll.
func (w *Watcher) moved(now look, known []plumbline.MergeRequest) []string {
	var out []string
	for _, b := range w.repo.Branches() {
		if head := now.refs["refs/heads/"+b]; head != "" && w.heads[b] != head {
			out = append(out, plumbline.SubjectBranch(b))
		}
	}
	if now.err != nil {
		return out
	}
	for _, mr := range now.open {
		if w.stale(mr, now.refs["refs/heads/"+mr.Target], known) {
			out = append(out, plumbline.SubjectMR(mr.ID))
		}
	}
	for _, mr := range known {
		if find(now.open, mr.ID) == nil {
			out = append(out, plumbline.SubjectMR(mr.ID))
		}
	}
	return out
}

// stale reports whether a merge request must be looked at again: it moved, or its target did and that decides something.
func (w *Watcher) stale(mr plumbline.MergeRequest, target string, known []plumbline.MergeRequest) bool {
	bare := mr.State == ""
	mr.State = plumbline.MROpen
	if w.mrs[mr.ID] != mr.Mark() {
		return true
	}
	was := find(known, mr.ID)
	return w.heads[mr.Target] != target && (bare || (was != nil && was.Conflict))
}

func find(list []plumbline.MergeRequest, id string) *plumbline.MergeRequest {
	for i := range list {
		if list[i].ID == id {
			return &list[i]
		}
	}
	return nil
}

// observe writes one observation. That somebody else was first is not an error: it is queued.
func (w *Watcher) observe(ctx context.Context, o plumbline.Observation, res *Result) error {
	ids, err := w.ledger.Observe(ctx, o)
	if errors.Is(err, plumbline.ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	res.add(ids)
	return nil
}
