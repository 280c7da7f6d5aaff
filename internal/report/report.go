// Package report tells people on the forge what became of their runs.
package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
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

// Ledger tells what people have not been told yet.
type Ledger interface {
	Unreported(ctx context.Context, repo string, limit int) ([]plumbline.Run, error)
	UnreportedMRs(ctx context.Context, repo string) ([]plumbline.MRVersion, error)
	MarkReported(ctx context.Context, runs []plumbline.RunVersion) error
	MarkMRReported(ctx context.Context, repo, id string, version int64) error
	UnreportedDrift(ctx context.Context, repo string) ([]plumbline.DriftVersion, error)
	MarkDriftReported(ctx context.Context, repo string, v plumbline.DriftVersion) error
	MergeRequest(ctx context.Context, repo, id string) (plumbline.MergeRequest, error)
	MergeRequests(ctx context.Context, repo string, state plumbline.MRState) ([]plumbline.MergeRequest, error)
	RunsOfMR(ctx context.Context, repo, id string) ([]plumbline.Run, error)
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	Deployment(ctx context.Context, id int64) (plumbline.Deployment, error)
	Deployments(ctx context.Context, repo, env string, limit int) ([]plumbline.Deployment, error) // newest first
	RunsOfDeployment(ctx context.Context, id int64) ([]plumbline.Run, error)
	DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error)
	Run(ctx context.Context, id plumbline.RunID) (plumbline.Run, error)
	// Freezes are those that people have set, in force or still to come; of all environments for "".
	Freezes(ctx context.Context, repo, env string, now time.Time) ([]plumbline.Frozen, error)
	Told(ctx context.Context, repo, key string) (string, error)
	Tell(ctx context.Context, repo, key, hash string) error
	Unanswered(ctx context.Context, repo string) ([]plumbline.Command, error)
	Answered(ctx context.Context, id int64) error
	// Announce writes what sinks outside the forge are to be told, what is known left out, and returns how much of it is new.
	Announce(ctx context.Context, notices []plumbline.Notice, now time.Time) (int, error)
}

// Plans reads plans. One that is not kept any more is plumbline.ErrNotFound.
type Plans interface {
	Plan(ctx context.Context, run plumbline.Run) (plumbline.Plan, error)
	// PlanDocument reads one by the artifact that holds it.
	PlanDocument(ctx context.Context, doc plumbline.Blob) (plumbline.Plan, error)
}

// Config makes a Reporter.
type Config struct {
	Repository plumbline.Repository
	Forge      Forge
	Ledger     Ledger
	Plans      Plans
	PublicURL  string                   // for links; "": none
	Sinks      []plumbline.Sink         // outside the forge
	Mask       func(text string) string // masks secrets in what sinks are told; nil: only what was masked before
	Announced  func()                   // is called when sinks are to be told something; may be nil
	Patience   time.Duration            // how long what is still under way is kept from people; default 1.5 s
	Now        func() time.Time         // default time.Now
}

// Reporter tells of one repository's runs. It is level-triggered: it tells what is the case now, so that a crash, a forge that was away
// or five changes in a second end in one edit.
type Reporter struct {
	c      Config
	last   map[string]look    // when a subject was last told of, while it is under way
	frozen []plumbline.Frozen // what people froze, as of the last look
}

// look is when a subject was looked at, and what was new of it.
type look struct {
	at   time.Time
	news string // "": it was kept back
}

// New returns a Reporter.
func New(c Config) *Reporter {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Patience == 0 {
		c.Patience = 1500 * time.Millisecond
	}
	return &Reporter{c: c, last: map[string]look{}}
}

const (
	batch = 500
	// announced is how many runs are looked through for what sinks outside the forge are to be told.
	announced = 20_000
	// followed is through how many later deployments of its environment a merged request is followed, when commits come faster than they
	// can be applied.
	followed = 20
	// perStack is up to how many stacks each has a status of its own; beyond, each environment has one.
	perStack = 20
)

// Flush answers people, then tells what is new. It returns how many subjects were told of and, when something under way is kept back for a
// moment or something else is to be said later, when to come again (zero: when something changes).
func (r *Reporter) Flush(ctx context.Context) (told int, again time.Duration, err error) {
	answered, unanswered := r.answers(ctx)
	told, again, err = r.news(ctx)
	return told + answered, again, errors.Join(unanswered, err)
}

func (r *Reporter) news(ctx context.Context) (told int, again time.Duration, err error) {
	repo := r.c.Repository.Name
	runs, err := r.c.Ledger.Unreported(ctx, repo, batch)
	if err != nil {
		return 0, 0, err
	}
	// Beyond what is told of at once, too: a forge that is away may keep many runs from being marked, and no pager waits for it.
	all, err := runs, error(nil)
	if len(runs) == batch {
		all, err = r.c.Ledger.Unreported(ctx, repo, announced)
	}
	if err == nil {
		err = r.announce(ctx, all)
	}
	if err != nil {
		return 0, 0, err
	}
	changed, err := r.c.Ledger.UnreportedMRs(ctx, repo)
	if err != nil {
		return 0, 0, err
	}
	drifted, err := r.c.Ledger.UnreportedDrift(ctx, repo)
	if err != nil {
		return 0, 0, err
	}
	now := r.c.Now()
	if r.frozen, err = r.c.Ledger.Freezes(ctx, repo, "", now); err != nil {
		return 0, 0, err
	}
	m, doc, err := r.moments(ctx)
	if err != nil {
		return 0, 0, err
	}
	due, err := m.due(ctx, r, now)
	if err != nil {
		return 0, 0, err
	}
	rules, err := r.rules()
	if err != nil {
		return 0, 0, err
	}
	f := flush{
		Reporter: r, runs: runs, due: due, at: m.At, changed: changed, kept: map[string]bool{}, subjects: map[plumbline.RunID][]string{},
		deployments: map[string][]plumbline.Deployment{}, moments: map[plumbline.RunID]time.Time{},
	}
	also := changed
	if m.Rules != rules {
		ruled, open, err := r.ruled(ctx)
		if err != nil {
			return 0, 0, err
		}
		f.rules, f.due, also = rules, slices.Concat(due, ruled), slices.Concat(changed, open)
	}
	if len(runs) == 0 && len(also) == 0 && len(f.due) == 0 && len(drifted) == 0 {
		m.Rules = rules
		return 0, m.again(now), m.keep(ctx, r, doc)
	}
	mrs, commits, err := f.concerned(ctx, slices.Concat(runs, f.due), also)
	if err != nil {
		return 0, 0, err
	}
	for _, id := range mrs {
		v, err := r.view(ctx, id)
		if err != nil {
			f.fail(subjectMR(id), err)
			continue
		}
		for _, row := range v.Rows {
			f.moments[row.Run.ID] = row.again
		}
		f.tell(subjectMR(id), v.live(), func() (bool, error) {
			did, err := r.tellMR(ctx, v)
			return did, worst(err, r.findings(ctx, v))
		})
	}
	for _, c := range commits {
		siblings, err := f.runsOf(ctx, c)
		if err != nil {
			f.fail(c.subject(), err)
			continue
		}
		for _, run := range siblings {
			f.moments[run.ID] = moment(plumbline.MergeRequest{}, run, now)
		}
		f.tell(c.subject(), live(siblings), func() (bool, error) {
			did, err := r.statuses(ctx, "branch "+c.branch, c.id, statuses(siblings, r.c.PublicURL, now), overBranch(c.id, siblings))
			deployed, failed := r.deploying(ctx, c, siblings)
			return did || deployed, worst(err, failed)
		})
	}
	for _, v := range drifted {
		f.tell(subjectDrift(v.Environment), false, func() (bool, error) { return r.tellDrift(ctx, v.Environment) })
	}

	var done []plumbline.RunVersion
	for _, run := range runs {
		if !f.back(run.ID) {
			done = append(done, plumbline.RunVersion{ID: run.ID, Version: run.Version, At: r.c.Now()})
		}
	}
	for _, run := range f.due {
		if !f.back(run.ID) {
			delete(m.At, run.ID)
		}
	}
	for id, at := range f.moments {
		switch {
		case f.back(id): // what is due stays due
		case at.IsZero():
			delete(m.At, id)
		default:
			m.At[id] = at
		}
	}
	if len(f.kept) == 0 {
		m.Rules = rules
	}
	// Before anything is marked as told: else nobody would come again.
	if err := m.keep(ctx, r, doc); err != nil {
		return f.told, f.again, errors.Join(append(f.errs, err)...)
	}
	if err := r.c.Ledger.MarkReported(ctx, done); err != nil {
		f.errs = append(f.errs, err)
	}
	for _, v := range changed {
		if !f.kept[subjectMR(v.ID)] {
			if err := r.c.Ledger.MarkMRReported(ctx, repo, v.ID, v.Version); err != nil {
				f.errs = append(f.errs, err)
			}
		}
	}
	for _, v := range drifted {
		if !f.kept[subjectDrift(v.Environment)] {
			if err := r.c.Ledger.MarkDriftReported(ctx, repo, v); err != nil {
				f.errs = append(f.errs, err)
			}
		}
	}
	// Subjects that nobody asked about for long have ended under somebody else's eyes.
	maps.DeleteFunc(r.last, func(_ string, l look) bool { return now.Sub(l.at) > 100*r.c.Patience })
	if len(done) == batch && f.again == 0 {
		f.again = time.Millisecond // there may be more
	}
	return f.told, sooner(f.again, m.again(now)), errors.Join(f.errs...)
}

func subjectMR(id string) string { return "mr " + id }

func subjectDrift(env string) string { return "drift " + env }

// flush is one Flush.
type flush struct {
	*Reporter
	runs        []plumbline.Run
	due         []plumbline.Run               // to be looked at again although they are what they were
	at          map[plumbline.RunID]time.Time // since when
	rules       string                        // that have come into force; "": those by which people were told
	changed     []plumbline.MRVersion
	told        int
	again       time.Duration
	errs        []error
	kept        map[string]bool // subjects kept back or failed: their runs stay unreported
	subjects    map[plumbline.RunID][]string
	deployments map[string][]plumbline.Deployment // by environment
	moments     map[plumbline.RunID]time.Time     // when something else may have to be said of a run; zero: when something changes
}

// commit is a commit of an environment branch.
type commit struct {
	branch, id string
	deployment int64 // one of those that are known to have it
}

func commitOf(env plumbline.Environment, d plumbline.Deployment) commit {
	return commit{branch: env.Branch, id: d.Commit, deployment: d.ID}
}

func (c commit) subject() string { return "commit " + c.id + " of " + c.branch }

func (f *flush) concerns(run plumbline.Run, subject string) {
	f.subjects[run.ID] = append(f.subjects[run.ID], subject)
}

// back reports whether somebody who is to be told of a run was not.
func (f *flush) back(run plumbline.RunID) bool {
	return slices.ContainsFunc(f.subjects[run], func(s string) bool { return f.kept[s] })
}

// fail notes an error. What will be the same next time is not tried again.
func (f *flush) fail(subject string, err error) {
	f.errs = append(f.errs, err)
	if !gone(err) {
		f.kept[subject] = true
	}
}

func (f *flush) tell(subject string, live bool, tell func() (bool, error)) {
	news := f.news(subject)
	if wait := f.hold(subject, live); wait > 0 {
		// What was told of a moment ago keeps nothing back, when only somebody else has to tell of the same runs.
		if f.last[subject].news == news {
			return
		}
		f.kept[subject] = true
		if f.again == 0 || wait < f.again {
			f.again = wait
		}
		return
	}
	did, err := tell()
	if err != nil {
		f.fail(subject, err)
	} else if did {
		f.told++
	}
	if l, ok := f.last[subject]; ok && err == nil {
		l.news = news
		f.last[subject] = l
	}
}

// news is what is new of a subject: versions of runs, and of the merge request; moments that have come; rules.
func (f *flush) news(subject string) string {
	var b strings.Builder
	b.WriteString(f.rules)
	for _, run := range f.due {
		if slices.Contains(f.subjects[run.ID], subject) {
			fmt.Fprint(&b, "due ", run.ID, " ", f.at[run.ID].UnixNano(), " ")
		}
	}
	for _, run := range f.runs {
		if slices.Contains(f.subjects[run.ID], subject) {
			fmt.Fprint(&b, run.ID, ":", run.Version, " ")
		}
	}
	for _, v := range f.changed {
		if subject == subjectMR(v.ID) {
			fmt.Fprint(&b, v.Version)
		}
	}
	return b.String()
}

// concerned returns the merge requests and commits that changed runs and merge requests are about, in the order in which they changed.
func (f *flush) concerned(ctx context.Context, runs []plumbline.Run, changed []plumbline.MRVersion) (mrs []string, commits []commit, err error) {
	repo := f.c.Repository.Name
	want := func(id string) {
		if !slices.Contains(mrs, id) {
			mrs = append(mrs, id)
		}
	}
	for _, v := range changed {
		want(v.ID)
	}
	oldest, newest := int64(math.MaxInt64), int64(0)
	at := map[int64]commit{}
	for _, run := range runs {
		if run.MR != "" {
			want(run.MR)
			f.concerns(run, subjectMR(run.MR))
		}
		if run.Deployment <= 0 {
			continue
		}
		c, ok := at[run.Deployment]
		if !ok {
			d, err := f.c.Ledger.Deployment(ctx, run.Deployment)
			if err != nil {
				return nil, nil, err
			}
			env, _ := f.c.Repository.Environment(d.Environment)
			c = commitOf(env, d)
			at[run.Deployment] = c
			list, err := f.recent(ctx, d.Environment)
			if err != nil {
				return nil, nil, err
			}
			newest, oldest = max(newest, d.ID), min(oldest, d.ID)
			if len(list) > 0 {
				oldest = min(oldest, list[len(list)-1].ID)
			}
			if !slices.ContainsFunc(commits, func(o commit) bool { return o.subject() == c.subject() }) {
				commits = append(commits, c)
			}
		}
		f.concerns(run, c.subject())
	}
	if len(commits) == 0 {
		return mrs, nil, nil
	}
	merged, err := f.c.Ledger.MergeRequests(ctx, repo, plumbline.MRMerged)
	if err != nil {
		return nil, nil, err
	}
	for _, mr := range merged {
		if mr.Deployment >= oldest && mr.Deployment <= newest {
			want(mr.ID)
			for _, run := range runs {
				if run.Deployment >= mr.Deployment {
					f.concerns(run, subjectMR(mr.ID))
				}
			}
		}
	}
	return mrs, commits, nil
}

// recent returns an environment's newest deployments, newest first.
func (f *flush) recent(ctx context.Context, env string) ([]plumbline.Deployment, error) {
	if list, ok := f.deployments[env]; ok {
		return list, nil
	}
	list, err := f.c.Ledger.Deployments(ctx, f.c.Repository.Name, env, followed)
	if err == nil {
		f.deployments[env] = list
	}
	return list, err
}

// runsOf returns the newest run of each stack in the deployments of a commit, to all environments of its branch.
func (f *flush) runsOf(ctx context.Context, c commit) ([]plumbline.Run, error) {
	ids := []int64{c.deployment}
	for _, env := range f.c.Repository.OnBranch(c.branch) {
		list, err := f.recent(ctx, env.Name)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if d.Commit == c.id && !slices.Contains(ids, d.ID) {
				ids = append(ids, d.ID)
			}
		}
	}
	newest := map[plumbline.StackRef]plumbline.Run{}
	for _, id := range ids {
		runs, err := f.c.Ledger.RunsOfDeployment(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, run := range runs {
			if run.ID > newest[run.Stack].ID {
				newest[run.Stack] = f.inForce(run)
			}
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b plumbline.Run) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// live reports whether any of the runs goes on by itself.
func live(runs []plumbline.Run) bool {
	return slices.ContainsFunc(runs, func(r plumbline.Run) bool { return !r.State.Ended() && r.State != plumbline.StateAwaiting })
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
		r.last[subject] = look{at: now}
		return r.c.Patience
	}
	if wait := last.at.Add(r.c.Patience).Sub(now); wait > 0 {
		return wait
	}
	r.last[subject] = look{at: now}
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

// talker is a forge that tells what people write.
type talker interface {
	Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error)
}

// plainer is a forge whose Markdown shows raw HTML as text.
type plainer interface{ Plain() bool }

// teller is a forge that takes the note of a merge request, with the statuses of its head, in one go.
type teller interface {
	Tell(ctx context.Context, mr plumbline.MergeRequest, marker, body string, all []plumbline.CommitStatus) error
}

// batcher is a forge that takes all statuses of a commit in one go.
type batcher interface {
	SetStatuses(ctx context.Context, commit string, all []plumbline.CommitStatus) error
}

// statuses tells what is new of a subject's statuses, and ends those that are not among them any more. A subject is not a commit: what was
// told would be kept for each commit forever.
func (r *Reporter) statuses(ctx context.Context, subject, commit string, all []plumbline.CommitStatus, over func(p pending) (verdict, error)) (bool, error) {
	noted, err := r.noted(ctx, subject)
	if err != nil {
		return false, err
	}
	t := telling{subject: subject, commit: commit, all: all, noted: noted, over: over}
	return r.tell(ctx, t, func() (bool, error) { return r.tellStatuses(ctx, subject, commit, all) })
}

// tell calls do, which tells of t's statuses, between noting what becomes pending and forgetting what does not stay so.
func (r *Reporter) tell(ctx context.Context, t telling, do func() (bool, error)) (bool, error) {
	noted, did, err := r.before(ctx, t)
	if err != nil {
		return did, err
	}
	one, err := do()
	if err != nil && !gone(err) {
		return did || one, err
	}
	return did || one, worst(err, r.after(ctx, t, noted))
}

func (r *Reporter) tellStatuses(ctx context.Context, subject, commit string, all []plumbline.CommitStatus) (bool, error) {
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
	var errs []error
	for _, s := range all {
		one, err := r.once(ctx, statusKey(subject, s.Context), commit+fmt.Sprint(s), func() error { return r.c.Forge.SetStatus(ctx, commit, s) })
		if err != nil {
			errs = append(errs, fmt.Errorf("status %s of %s: %w", s.Context, plumbline.Short(commit), err))
			if !gone(err) {
				break // the others would fare no better now
			}
		}
		did = did || one
	}
	return did, worst(errs...)
}

func statusKey(subject, context string) string { return "status " + subject + " " + context }

// Marker is the hidden line by which the note of a merge request is found again.
func Marker(repo, id string) string {
	return "<!-- plumbline:" + safeMarker(repo) + "!" + safeMarker(id) + " -->"
}

func safeMarker(s string) string {
	s = diff.Clean(s)
	return strings.Map(func(r rune) rune {
		if r == '<' || r == '>' || r == '!' || r == '-' && strings.Contains(s, "--") {
			return '_'
		}
		return r
	}, s)
}

// tellMR writes the note and the statuses of a merge request. A change that touches no stack gets a status and no noise, unless there is a
// note from when it did.
func (r *Reporter) tellMR(ctx context.Context, v view) (bool, error) {
	mr := v.MR
	subject, key := subjectMR(mr.ID), "note "+mr.ID
	was, err := r.c.Ledger.Told(ctx, mr.Repository, key)
	if err != nil {
		return false, err
	}
	noted, err := r.noted(ctx, subject)
	if err != nil {
		return false, err
	}
	t := telling{subject: subject, commit: v.commit(), noted: noted, over: r.overMR(ctx, v)}
	if t.all, err = r.statusesOf(v, t); err != nil {
		return false, err
	}
	alone := func() (bool, error) {
		return r.tell(ctx, t, func() (bool, error) { return r.tellStatuses(ctx, subject, t.commit, t.all) })
	}
	if was == "" && !v.worthNote() {
		return alone()
	}
	marker, news := Marker(mr.Repository, mr.ID), v.fingerprint()
	plain := false
	if f, ok := r.c.Forge.(plainer); ok && f.Plain() {
		plain = true
		marker = PlainMarker(mr.Repository, mr.ID)
	}
	write := func(tell func(body string) error) func() error {
		return func() error {
			if err := r.plans(ctx, v); err != nil {
				return err
			}
			d := v.Note(r.c.PublicURL, r.c.Now())
			d.Plain = plain
			_, d.Talks = r.c.Forge.(talker)
			return tell(Note(d, marker, r.c.Forge.NoteLimit()))
		}
	}
	if f, ok := r.c.Forge.(teller); ok && t.commit == mr.Head {
		did, err := r.tell(ctx, t, func() (bool, error) {
			return r.once(ctx, key, news+fmt.Sprint(t.all), write(func(body string) error { return f.Tell(ctx, mr, marker, body, t.all) }))
		})
		if err != nil {
			err = fmt.Errorf("note on %s: %w", mr.Name(), err)
		}
		return did, err
	}
	did, err := r.once(ctx, key, news, write(func(body string) error { return r.c.Forge.UpsertNote(ctx, mr, marker, body) }))
	if err != nil {
		err = fmt.Errorf("note on %s: %w", mr.Name(), err)
	}
	one, statusErr := alone()
	return did || one, worst(err, statusErr)
}

// statusesOf are the statuses that a merge request should have. One that is not open any more gets none that it never had: only what was told
// of it must not stay pending. Nor does it speak of what others tell of the same commit.
func (r *Reporter) statusesOf(v view, t telling) ([]plumbline.CommitStatus, error) {
	all := v.statuses(r.c.PublicURL)
	if v.MR.State == plumbline.MROpen {
		return all, nil
	}
	var out []plumbline.CommitStatus
	for _, s := range all {
		i := slices.IndexFunc(t.noted, func(p pending) bool { return p.Commit == t.commit && p.Context == s.Context })
		if i < 0 {
			continue
		}
		verdict, err := t.over(t.noted[i])
		if err != nil {
			return nil, err
		}
		if verdict.other == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// tellDrift sets one status per environment on the commit that reality was compared with last, and keeps the environment's issue.
func (r *Reporter) tellDrift(ctx context.Context, env string) (bool, error) {
	repo := r.c.Repository.Name
	looks, err := r.c.Ledger.Runs(ctx, plumbline.RunFilter{
		Repository: repo, Environment: env, Kinds: []plumbline.Kind{plumbline.KindDrift},
		States: []plumbline.State{plumbline.StateClean, plumbline.StatePlanned, plumbline.StateDrifted}, Limit: 1,
	})
	if err != nil || len(looks) == 0 {
		return false, err
	}
	items, err := r.c.Ledger.DriftItems(ctx, plumbline.DriftFilter{Repository: repo, Environment: env})
	if err != nil {
		return false, err
	}
	now := r.c.Now()
	items = slices.DeleteFunc(items, func(it plumbline.DriftItem) bool { return !it.Counts(now) })
	s := plumbline.CommitStatus{Context: "plumbline/" + env + "/drift", State: plumbline.ToldSuccess, Description: "No drift.", URL: link(r.c.PublicURL, "drift")}
	if len(items) > 0 {
		stacks := map[string]bool{}
		for _, it := range items {
			stacks[it.Stack.Name] = true
		}
		s.State = plumbline.ToldFailure
		s.Description = fmt.Sprintf("%s changed outside Git in %s.", count(len(items), "resource"), count(len(stacks), "stack"))
	}
	did, err := r.statuses(ctx, subjectDrift(env), looks[0].Commit, []plumbline.CommitStatus{s}, nil)
	wrote, issueErr := r.tellIssue(ctx, env, looks[0].Commit)
	return did || wrote, worst(err, issueErr)
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
