// Package report tells people on the forge what became of their runs.
package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Forge is where people are told.
type Forge interface {
	// UpsertNote writes the one note of a merge request that carries marker.
	UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error
	SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error
	// NoteLimit is the longest note in bytes that the forge takes.
	NoteLimit() int
}

// RunVersion is what a run was when people were told of it.
type RunVersion = plumbline.RunVersion

// Ledger tells what people have not been told yet.
type Ledger interface {
	Unreported(ctx context.Context, repo string, limit int) ([]plumbline.Run, error)
	UnreportedMRs(ctx context.Context, repo string) ([]plumbline.MRVersion, error)
	MarkReported(ctx context.Context, runs []plumbline.RunVersion) error
	MarkMRReported(ctx context.Context, repo, id string, version int64) error
	MergeRequest(ctx context.Context, repo, id string) (plumbline.MergeRequest, error)
	MergeRequests(ctx context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error)
	RunsOfMR(ctx context.Context, repo, id string) ([]plumbline.Run, error)
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	RunsOfDeployment(ctx context.Context, id int64) ([]plumbline.Run, error)
	DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error)
	Told(ctx context.Context, repo, key string) (string, error)
	Tell(ctx context.Context, repo, key, hash string) error
}

// Plans reads a run's plan.
type Plans interface {
	Plan(ctx context.Context, run plumbline.Run) (plumbline.Plan, error)
}

// Config makes a Reporter.
type Config struct {
	Repository plumbline.Repository
	Forge      Forge
	Ledger     Ledger
	Plans      Plans
	PublicURL  string           // for links; "": none
	Patience   time.Duration    // how long what is still under way is kept from people; default 1.5 s
	Now        func() time.Time // default time.Now
}

// Reporter tells of one repository's runs. It is level-triggered: it tells what is the case now, so that a crash, a forge that was away
// or five changes in a second end in one edit.
type Reporter struct {
	c    Config
	last map[string]time.Time // when a subject was last told of, while it is under way
}

// New returns a Reporter.
func New(c Config) *Reporter {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Patience == 0 {
		c.Patience = 1500 * time.Millisecond
	}
	return &Reporter{c: c, last: map[string]time.Time{}}
}

const (
	batch = 500
	// followed is through how many later deployments a merged request is followed when commits come faster than they can be applied.
	followed = 20
	// perStack is up to how many stacks each has a status of its own; beyond, each environment has one.
	perStack = 20
)

// Flush tells what is new. It returns how many subjects were told of and, when something under way is kept back for a moment, when to
// come again (zero: when something changes).
func (r *Reporter) Flush(ctx context.Context) (told int, again time.Duration, err error) {
	repo := r.c.Repository.Name
	runs, err := r.c.Ledger.Unreported(ctx, repo, batch)
	if err != nil {
		return 0, 0, err
	}
	changed, err := r.c.Ledger.UnreportedMRs(ctx, repo)
	if err != nil {
		return 0, 0, err
	}
	if len(runs) == 0 && len(changed) == 0 {
		return 0, 0, nil
	}
	var mrs []string
	want := func(id string) {
		if id != "" && !slices.Contains(mrs, id) {
			mrs = append(mrs, id)
		}
	}
	var deployments []int64
	for _, v := range changed {
		want(v.ID)
	}
	for _, run := range runs {
		want(run.MR)
		if run.Deployment > 0 && !slices.Contains(deployments, run.Deployment) {
			deployments = append(deployments, run.Deployment)
		}
	}
	if len(deployments) > 0 {
		merged, err := r.c.Ledger.MergeRequests(ctx, repo, plumbline.MRMerged)
		if err != nil {
			return 0, 0, err
		}
		first, last := slices.Min(deployments), slices.Max(deployments)
		for _, mr := range merged {
			if mr.Deployment > 0 && mr.Deployment >= first-followed && mr.Deployment <= last {
				want(mr.ID)
			}
		}
	}

	var errs []error
	held := map[string]bool{} // subjects kept back or failed: their runs stay unreported
	tell := func(subject string, live bool, f func() (bool, error)) {
		if wait := r.hold(subject, live); wait > 0 {
			held[subject] = true
			if again == 0 || wait < again {
				again = wait
			}
			return
		}
		did, err := f()
		if err != nil {
			errs = append(errs, err)
			held[subject] = true
		} else if did {
			told++
		}
	}
	for _, id := range mrs {
		v, err := r.view(ctx, id)
		if err != nil {
			errs = append(errs, err)
			held["mr "+id] = true
			continue
		}
		tell("mr "+id, v.live(), func() (bool, error) { return r.tellMR(ctx, v) })
	}
	for _, id := range deployments {
		siblings, err := r.c.Ledger.RunsOfDeployment(ctx, id)
		if err != nil {
			errs = append(errs, err)
			held[fmt.Sprint("deployment ", id)] = true
			continue
		}
		live := slices.ContainsFunc(siblings, func(s plumbline.Run) bool { return !s.State.Ended() && s.State != plumbline.StateAwaiting })
		tell(fmt.Sprint("deployment ", id), live, func() (bool, error) { return r.tellCommit(ctx, siblings) })
	}
	for _, run := range runs {
		if run.Kind == plumbline.KindDrift && run.DriftNews {
			tell(fmt.Sprint("drift ", run.ID), false, func() (bool, error) { return r.tellDrift(ctx, run) })
		}
	}

	var done []RunVersion
	for _, run := range runs {
		if (run.MR != "" && held["mr "+run.MR]) || (run.Deployment > 0 && held[fmt.Sprint("deployment ", run.Deployment)]) || held[fmt.Sprint("drift ", run.ID)] {
			continue
		}
		done = append(done, RunVersion{ID: run.ID, Version: run.Version})
	}
	if err := r.c.Ledger.MarkReported(ctx, done); err != nil {
		errs = append(errs, err)
	}
	for _, v := range changed {
		if !held["mr "+v.ID] {
			if err := r.c.Ledger.MarkMRReported(ctx, repo, v.ID, v.Version); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return told, again, errors.Join(errs...)
}

// hold keeps what is still under way back for a moment, so that a plan of a second makes one note and no flicker.
func (r *Reporter) hold(subject string, live bool) time.Duration {
	if !live {
		delete(r.last, subject)
		return 0
	}
	now := r.c.Now()
	last, ok := r.last[subject]
	if !ok {
		r.last[subject] = now
		return r.c.Patience
	}
	if wait := last.Add(r.c.Patience).Sub(now); wait > 0 {
		return wait
	}
	r.last[subject] = now
	return 0
}

// once calls f unless the very same was told before.
func (r *Reporter) once(ctx context.Context, key, what string, f func() error) (bool, error) {
	sum := sha256.Sum256([]byte(what))
	hash := hex.EncodeToString(sum[:16])
	was, err := r.c.Ledger.Told(ctx, r.c.Repository.Name, key)
	if err != nil || was == hash {
		return false, err
	}
	if err := f(); err != nil {
		return false, err
	}
	return true, r.c.Ledger.Tell(ctx, r.c.Repository.Name, key, hash)
}

func (r *Reporter) status(ctx context.Context, commit string, s plumbline.CommitStatus) (bool, error) {
	did, err := r.once(ctx, "status "+commit+" "+s.Context, string(s.State)+"\n"+s.Description+"\n"+s.URL, func() error {
		return r.c.Forge.SetStatus(ctx, commit, s)
	})
	if err != nil {
		return did, fmt.Errorf("status %s of %s: %w", s.Context, plumbline.Short(commit), err)
	}
	return did, nil
}

// teller is a forge that takes the note of a merge request, with the statuses of its head, in one go.
type teller interface {
	Tell(ctx context.Context, mr plumbline.MergeRequest, marker, body string, all []plumbline.CommitStatus) error
}

// batcher is a forge that takes all statuses of a commit in one go.
type batcher interface {
	SetStatuses(ctx context.Context, commit string, all []plumbline.CommitStatus) error
}

// statuses tells what is new of a subject's statuses.
func (r *Reporter) statuses(ctx context.Context, subject, commit string, all []plumbline.CommitStatus) (bool, error) {
	if len(all) == 0 {
		return false, nil
	}
	if f, ok := r.c.Forge.(batcher); ok {
		did, err := r.once(ctx, "statuses "+subject, commit+fmt.Sprint(all), func() error { return f.SetStatuses(ctx, commit, all) })
		if err != nil {
			return did, fmt.Errorf("statuses of %s: %w", plumbline.Short(commit), err)
		}
		return did, nil
	}
	did := false
	for _, s := range all {
		one, err := r.status(ctx, commit, s)
		if err != nil {
			return did, err
		}
		did = did || one
	}
	return did, nil
}

// Marker is the hidden line by which the note of a merge request is found again.
func Marker(repo, id string) string {
	return "<!-- plumbline:" + safeMarker(repo) + "!" + safeMarker(id) + " -->"
}

func safeMarker(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '<' || r == '>' || r == '!' || r == '-' && strings.Contains(s, "--") {
			return '_'
		}
		return printable(r)
	}, oneLine(s))
}

func (r *Reporter) tellMR(ctx context.Context, v view) (bool, error) {
	mr := v.MR
	all := v.statuses(r.c.PublicURL)
	if !v.worthNote() {
		return r.statuses(ctx, "mr "+mr.ID, mr.Head, all)
	}
	marker := Marker(mr.Repository, mr.ID)
	key, news := "note "+mr.ID, v.fingerprint()
	write := func(tell func(body string) error) func() error {
		return func() error {
			if err := r.plans(ctx, v); err != nil {
				return err
			}
			return tell(Note(v.Note(r.c.PublicURL, r.c.Now()), marker, r.c.Forge.NoteLimit()))
		}
	}
	if f, ok := r.c.Forge.(teller); ok {
		did, err := r.once(ctx, key, news+fmt.Sprint(all), write(func(body string) error { return f.Tell(ctx, mr, marker, body, all) }))
		if err != nil {
			err = fmt.Errorf("note on %s: %w", mr.Name(), err)
		}
		return did, err
	}
	did, err := r.once(ctx, key, news, write(func(body string) error { return r.c.Forge.UpsertNote(ctx, mr, marker, body) }))
	if err != nil {
		return did, fmt.Errorf("note on %s: %w", mr.Name(), err)
	}
	one, err := r.statuses(ctx, "mr "+mr.ID, mr.Head, all)
	return did || one, err
}

func (r *Reporter) tellCommit(ctx context.Context, runs []plumbline.Run) (bool, error) {
	if len(runs) == 0 {
		return false, nil
	}
	commit := ""
	for _, run := range runs {
		if run.Kind == plumbline.KindDeploy {
			commit = run.Commit
		}
	}
	if commit == "" {
		return false, nil // nothing but removed stacks: their commit is not the branch's
	}
	return r.statuses(ctx, fmt.Sprint("deployment ", runs[0].Deployment), commit, statuses(runs, r.c.PublicURL))
}

// tellDrift sets one status per environment on the commit that reality was compared with.
func (r *Reporter) tellDrift(ctx context.Context, run plumbline.Run) (bool, error) {
	items, err := r.c.Ledger.DriftItems(ctx, plumbline.DriftFilter{Repository: run.Stack.Repository, Environment: run.Stack.Environment})
	if err != nil {
		return false, err
	}
	s := plumbline.CommitStatus{Context: "plumbline/" + run.Stack.Environment + "/drift", State: plumbline.ToldSuccess, Description: "No drift.", URL: link(r.c.PublicURL, "drift")}
	if len(items) > 0 {
		stacks := map[string]bool{}
		for _, it := range items {
			stacks[it.Stack.Name] = true
		}
		s.State = plumbline.ToldFailure
		s.Description = fmt.Sprintf("%s changed outside Git in %s.", count(len(items), "resource"), count(len(stacks), "stack"))
	}
	return r.status(ctx, run.Commit, s)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func link(base string, parts ...string) string {
	if base == "" {
		return ""
	}
	return strings.TrimSuffix(base, "/") + "/" + strings.Join(parts, "/")
}
