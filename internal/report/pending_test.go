package report

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// life is how many writes, to the forge or the ledger, a daemon still does before it dies. The last of them is carried out, and nobody hears of it.
type life struct{ left int }

func (l *life) write(do func() error) error {
	if l.left <= 0 {
		return errCrash
	}
	l.left--
	if err := do(); err != nil || l.left > 0 {
		return err
	}
	return errCrash
}

type mortalLedger struct {
	Ledger
	life *life
}

func (m mortalLedger) Tell(ctx context.Context, repo, key, hash string) error {
	return m.life.write(func() error { return m.Ledger.Tell(ctx, repo, key, hash) })
}

func (m mortalLedger) MarkReported(ctx context.Context, runs []plumbline.RunVersion) error {
	return m.life.write(func() error { return m.Ledger.MarkReported(ctx, runs) })
}

func (m mortalLedger) MarkMRReported(ctx context.Context, repo, id string, version int64) error {
	return m.life.write(func() error { return m.Ledger.MarkMRReported(ctx, repo, id, version) })
}

type mortalForge struct {
	forge.Client
	life *life
}

func (m mortalForge) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	return m.life.write(func() error { return m.Client.UpsertNote(ctx, mr, marker, body) })
}

func (m mortalForge) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	return m.life.write(func() error { return m.Client.SetStatus(ctx, commit, s) })
}

// born is a daemon that dies after some writes. Its forge may take all of a commit in one go.
func (r *rig) born(writes int, batches bool) *life {
	l := &life{writes}
	c := Config{Repository: r.repo, Forge: mortalForge{r.forge.Client(), l}, Ledger: mortalLedger{r.store, l}, Plans: r.plans, PublicURL: "https://p.example.com", Now: func() time.Time { return r.now }}
	if batches {
		c.Forge = batching{c.Forge.(forge.Client), new(int), new(int)}
	}
	r.r = New(c)
	return l
}

// lives flushes until nothing is kept back, or the daemon is dead.
func (r *rig) lives() bool {
	r.t.Helper()
	for range 50 {
		_, again, err := r.r.Flush(r.t.Context())
		switch {
		case errors.Is(err, errCrash):
			return false
		case err != nil:
			r.t.Fatal(err)
		case again == 0:
			return true
		}
		r.now = r.now.Add(again)
	}
	r.t.Fatal("it never comes to rest")
	return false
}

const immortal = 1 << 30

// cancel stops a run, and its worker obeys; so does a worker whose run was superseded.
func (r *rig) cancel(id plumbline.RunID) {
	r.t.Helper()
	run := r.get(id)
	if run.Wish == plumbline.WishNone {
		r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Cancel("ops", now) })
	}
	if run = r.get(id); run.State.Active() {
		r.finish(id, plumbline.Outcome{Interrupted: true}, nil)
	}
}

func (r *rig) get(id plumbline.RunID) plumbline.Run {
	r.t.Helper()
	run, err := r.store.Run(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

// underWay are the contexts, after a commit and a space, of runs that have not ended.
func (r *rig) underWay() []string {
	r.t.Helper()
	runs, err := r.store.Runs(r.t.Context(), plumbline.RunFilter{Repository: "infra", Limit: 100000})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, run := range runs {
		if run.State.Ended() {
			continue
		}
		commit := run.Commit
		if run.Deployment > 0 {
			d, err := r.store.Deployment(r.t.Context(), run.Deployment)
			if err != nil {
				r.t.Fatal(err)
			}
			commit = d.Commit
		}
		for _, c := range []string{"plumbline", "plumbline/" + run.Stack.Environment, "plumbline/" + run.Stack.Environment + "/" + run.Stack.Name} {
			out = append(out, commit+" "+c)
		}
	}
	return out
}

// checkPending checks, when nothing is kept back, that only what is under way is pending on the forge and noted as such, and that
// nothing was said to be over twice, but by two merge requests.
func (r *rig) checkPending(what string) {
	r.t.Helper()
	if n := r.unreported(); n != 0 {
		r.t.Errorf("%s: %d unreported", what, n)
	}
	underWay := r.underWay()
	shared := r.shared()
	for _, commit := range r.forge.Commits() {
		for _, s := range r.forge.Newest(commit) {
			if s.State == plumbline.ToldPending && !slices.Contains(underWay, commit+" "+s.Context) {
				r.t.Errorf("%s: %s of %s is pending for ever: %s", what, s.Context, commit, s.Description)
			}
		}
		over := map[string]string{}
		for _, s := range r.forge.Statuses(commit) {
			for _, end := range []string{"Superseded by ", "Closed before", "Merged before", "Not planned any more", "Has no status"} {
				if strings.HasPrefix(s.Description, end) {
					if over[s.Context] != "" && !shared[commit] {
						r.t.Errorf("%s: %s of %s is over twice: %s, then %s", what, s.Context, commit, over[s.Context], s.Description)
					}
					over[s.Context] = s.Description
				}
			}
			if s.State == plumbline.ToldPending {
				over[s.Context] = ""
			}
		}
	}
	open, err := r.store.MergeRequests(r.t.Context(), "infra", "")
	if err != nil {
		r.t.Fatal(err)
	}
	subjects := []string{"branch main"}
	for _, mr := range open {
		subjects = append(subjects, subjectMR(mr.ID))
	}
	for _, subject := range subjects {
		noted, err := r.r.noted(r.t.Context(), subject)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, p := range noted {
			if !slices.Contains(underWay, p.Commit+" "+p.Context) || p.State != "" {
				r.t.Errorf("%s: %+v of %s is noted for ever", what, p, subject)
			}
		}
	}
}

// shared are the commits that are planned for several merge requests.
func (r *rig) shared() map[string]bool {
	r.t.Helper()
	runs, err := r.store.Runs(r.t.Context(), plumbline.RunFilter{Repository: "infra", Limit: 100000})
	if err != nil {
		r.t.Fatal(err)
	}
	first, out := map[string]string{}, map[string]bool{}
	for _, run := range runs {
		if run.MR != "" && cmp.Or(first[run.Commit], run.MR) != run.MR {
			out[run.Commit] = true
		}
		first[run.Commit] = cmp.Or(first[run.Commit], run.MR)
	}
	return out
}

// journeys are what happens to one merge request or branch, step by step. Between the steps people are told.
var journeys = map[string]func(r *rig) []func(){
	"planned": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.open(mr, "production/a", "lab/b") }, func() { r.start(ids[0]) },
			func() { r.finish(ids[0], plumbline.Outcome{Plan: &plumbline.Plan{}}, info()) }, func() { r.fail(ids[1]) },
		}
	},
	"pushed": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.open(mr, "production/a", "lab/b"); r.start(ids[0]) },
			func() { mr.Head = "2222222222"; r.open(mr, "production/a") },
			func() { r.cancel(ids[0]) },
			func() { mr.Head = "3333333333"; ids = r.open(mr, "lab/b") },
			func() { r.plan(ids...) },
		}
	},
	"pushed to what touches nothing": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		return []func(){func() { r.open(mr, "production/a", "lab/b") }, func() { mr.Head = "2222222222"; r.open(mr) }}
	},
	"pushed back": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		first := ""
		return []func(){
			func() { r.open(mr, "production/a", "lab/b"); first = mr.Head },
			func() { mr.Head = "2222222222"; r.open(mr, "production/a") },
			func() { mr.Head = first; ids = r.open(mr, "production/a", "lab/b") },
			func() { r.plan(ids...) },
		}
	},
	"its target moves": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { r.open(mr, "production/a", "lab/b") },
			func() { mr.Base = "base2"; ids = r.open(mr, "lab/b") },
			func() { r.plan(ids...) },
			func() { mr.Base = "base3"; ids = r.open(mr, "production/a", "lab/b") },
			func() { r.plan(ids...) },
		}
	},
	"a draft": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.open(mr, "production/a", "lab/b"); r.start(ids[0]) },
			func() { mr.Draft, mr.Skipped, mr.Base = true, "It is a draft.", "base2"; r.open(mr) },
			func() { r.cancel(ids[0]) },
			func() { mr.Draft, mr.Skipped = false, ""; ids = r.open(mr, "production/a", "lab/b") },
			func() { r.plan(ids...) },
		}
	},
	"a conflict": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		return []func(){
			func() { r.open(mr, "production/a") },
			func() {
				mr.Conflict, mr.Findings, mr.Base = true, []plumbline.Finding{{File: "a.tf"}}, "base2"
				r.open(mr)
			},
		}
	},
	"very many stacks": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { r.open(mr, "production/a", "lab/b") },
			func() { mr.Base = "base2"; r.open(mr, stacks(perStack+1)...) },
			func() { mr.Base = "base3"; ids = r.open(mr, "production/a", "lab/b") },
			func() { r.plan(ids...) },
		}
	},
	"closed": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.open(mr, "production/a", "lab/b"); r.start(ids[0]) },
			func() { mr.State = plumbline.MRClosed; r.open(mr) },
			func() { r.cancel(ids[0]) },
			func() { mr.State = plumbline.MROpen; ids = r.open(mr, "production/a") },
			func() { r.plan(ids...) },
		}
	},
	"pushed and closed": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		return []func(){
			func() { r.open(mr, "production/a", "lab/b") },
			func() { mr.Head, mr.State = "2222222222", plumbline.MRClosed; r.open(mr) },
		}
	},
	"merged": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.open(mr, "production/a", "lab/b"); r.start(ids[0]) },
			func() { r.deploy("4444444444", "production/a"); r.merge(mr, "4444444444") },
			func() { r.cancel(ids[0]) },
		}
	},
	"merged as it is": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { r.open(mr, "production/a", "lab/b") },
			func() { ids = r.deploy(mr.Head, "production/a") },
			func() { r.merge(mr, mr.Head) },
			func() { r.apply(ids[0]) },
		}
	},
	"pushed and merged": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		return []func(){
			func() { r.open(mr, "production/a", "lab/b") },
			func() { mr.Head = "2222222222"; r.deploy("4444444444", "production/a"); r.merge(mr, "4444444444") },
		}
	},
	"merged, nobody knows as what": func(r *rig) []func() {
		mr := &plumbline.MergeRequest{}
		return []func(){func() { r.open(mr, "production/a") }, func() { r.deploy("4444444444", "production/a"); r.merge(mr, "") }}
	},
	"two of the same head": func(r *rig) []func() {
		one, two := &plumbline.MergeRequest{}, &plumbline.MergeRequest{}
		var ids []plumbline.RunID
		return []func(){
			func() { r.open(one, "production/a") },
			func() { r.open(two); two.Head = one.Head; ids = r.open(two, "production/a", "lab/b") },
			func() { one.State = plumbline.MRClosed; r.open(one) },
			func() { r.plan(ids...) },
		}
	},
	"deployed": func(r *rig) []func() {
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.deploy("4444444444", "production/a", "production/c", "lab/b") },
			func() { r.plan(ids[0]) },
			func() { r.deploy("5555555555", "production/a", "lab/b") },
			func() { ids = r.deploy("6666666666", "lab/b") },
			func() { r.apply(ids[0]) },
		}
	},
	"deployed again, with more": func(r *rig) []func() {
		var ids []plumbline.RunID
		return []func(){
			func() { r.deploy("4444444444", "production/a") },
			func() { ids = r.deploy("4444444444", stacks(perStack+1)...) },
			func() {
				for _, id := range ids {
					r.cancel(id)
				}
			},
		}
	},
	"expired": func(r *rig) []func() {
		var ids []plumbline.RunID
		return []func(){
			func() { ids = r.deploy("4444444444", "production/a", "production/c") },
			func() { r.plan(ids...) },
			func() {
				r.update(ids[0], func(run *plumbline.Run, now time.Time) error {
					run.State, run.Finished = plumbline.StateExpired, now
					return nil
				})
			},
			func() { r.cancel(ids[1]) },
		}
	},
}

// stacks are the names of n stacks.
func stacks(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s/s%02d", []string{"production", "lab"}[i%2], i))
	}
	return out
}

// TestKilledAnywhere kills the daemon after each of its writes: between noting, telling people and writing down that they were told. It comes back
// at once, or when all has happened without it.
func TestKilledAnywhere(t *testing.T) {
	for name, journey := range journeys {
		for _, how := range []struct {
			name            string
			atOnce, batches bool
			step            int
		}{{"at once", true, false, 3}, {"later", false, false, 9}, {"in one go", true, true, 9}} {
			t.Run(name+"/"+how.name, func(t *testing.T) {
				t.Parallel()
				atOnce, batches := how.atOnce, how.batches
				for writes := len(name) % how.step; ; writes += how.step + writes/8 { // later ones are much like earlier ones, and journeys like each other
					r := newRig(t)
					l, alive := r.born(writes, batches), true
					for _, step := range journey(r) {
						step()
						r.now = r.now.Add(time.Second)
						if alive = alive && r.lives(); !alive && atOnce {
							l, alive = r.born(immortal, batches), true
							r.lives()
						}
					}
					r.born(immortal, batches)
					r.lives()
					r.checkPending(fmt.Sprintf("killed after %d writes", writes))
					if t.Failed() {
						return
					}
					if alive && l.left > 0 && l.left < immortal/2 {
						return // it did not live to die
					}
					if writes > 200 {
						t.Fatal("it never lives")
					}
				}
			})
		}
	}
}

// TestPendingWords checks what is said last of a commit.
func TestPendingWords(t *testing.T) {
	for name, want := range map[string]string{
		"pushed":                         "error Superseded by 2222222.",
		"pushed to what touches nothing": "error Superseded by 2222222.",
		"pushed and closed":              "error Closed before it was planned.",
		"pushed and merged":              "error superseded",
		"merged, nobody knows as what":   "error Merged before it was planned.",
		"a draft":                        "error Not planned any more.",
		"its target moves":               "success Has no status of its own any more.",
	} {
		r := newRig(t)
		for i, step := range journeys[name](r) {
			step()
			r.settle()
			if i == 1 {
				break
			}
		}
		commits := slices.DeleteFunc(r.forge.Commits(), func(c string) bool { return len(c) == 10 })
		if len(commits) != 1 {
			t.Fatalf("%s: statuses on %q", name, r.forge.Commits())
		}
		if s := r.forge.Newest(commits[0])["plumbline/production/a"]; string(s.State)+" "+s.Description != want {
			t.Errorf("%s: %s %s, want %s", name, s.State, s.Description, want)
		}
	}
}

// TestGoneStatus: that one commit is gone keeps nobody from telling of the others, nor hides that the forge was away.
func TestGoneStatus(t *testing.T) {
	r := newRig(t)
	mr := plumbline.MergeRequest{}
	r.open(&mr, "production/a")
	r.settle()
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "UpsertNote" {
			return &forge.HTTPError{Method: "GET", Path: "/", Status: 404}
		}
		return &forge.HTTPError{Method: "GET", Path: "/", Status: 502}
	})
	mr.Head = "2222222222"
	r.plan(r.open(&mr, "production/a")...)
	if _, _, err := r.r.Flush(t.Context()); err == nil || r.unreported() == 0 {
		t.Errorf("flush: %v, %d unreported", err, r.unreported())
	}
	invalid := 0
	r.forge.Fault(func(_ context.Context, method string) error {
		if invalid++; method == "SetStatus" && invalid == 2 {
			return fmt.Errorf("that commit: %w", plumbline.ErrInvalid)
		}
		return nil
	})
	_, _, _ = r.r.Flush(t.Context())
	if invalid < 4 || r.unreported() != 0 || len(r.forge.Newest("2222222222")) != 2 {
		t.Errorf("%d requests, %d unreported, %v", invalid, r.unreported(), r.forge.Newest("2222222222"))
	}
}

var seeds = flag.Int("histories", 4, "how many random histories TestNeverPendingForEver drives")

// TestNeverPendingForEver drives random histories with daemons that die at random.
func TestNeverPendingForEver(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			randomHistory(t, rand.New(rand.NewPCG(seed, 5)), 60)
		})
	}
}

func randomHistory(t *testing.T, rnd *rand.Rand, steps int) {
	r := newRig(t)
	batches := rnd.IntN(3) == 0
	l := r.born(immortal, batches)
	var mrs []*plumbline.MergeRequest
	heads := []string{}
	serial := 0
	commit := func() string {
		serial++
		return fmt.Sprintf("%07d%03d", serial, serial)
	}
	some := func() []string {
		if rnd.IntN(12) == 0 {
			return stacks(perStack + 1)
		}
		var out []string
		for _, s := range []string{"production/a", "production/b", "lab/a", "lab/c"} {
			if rnd.IntN(2) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	for range steps {
		var mr *plumbline.MergeRequest
		if len(mrs) > 0 {
			mr = mrs[rnd.IntN(len(mrs))]
		}
		open := mr != nil && mr.State == plumbline.MROpen
		switch n := rnd.IntN(20); {
		case n < 3 && len(mrs) < 4 || mr == nil:
			mr = &plumbline.MergeRequest{Head: commit()}
			if len(heads) > 0 && rnd.IntN(3) == 0 {
				mr.Head = heads[rnd.IntN(len(heads))]
			}
			mrs = append(mrs, mr)
			heads = append(heads, mr.Head)
			r.open(mr, some()...)
		case n < 6 && open: // push, perhaps back
			if mr.Head = commit(); rnd.IntN(3) == 0 {
				mr.Head = heads[rnd.IntN(len(heads))]
			}
			heads = append(heads, mr.Head)
			mr.Skipped, mr.Conflict, mr.Draft = "", false, false
			r.open(mr, some()...)
		case n < 7 && open:
			mr.Base, mr.Skipped, mr.Conflict, mr.Draft = commit(), "", false, false
			r.open(mr, some()...)
		case n < 8 && open:
			mr.Base, mr.Draft, mr.Skipped = commit(), true, "It is a draft."
			r.open(mr)
		case n < 9 && open:
			mr.Base, mr.Conflict = commit(), true
			r.open(mr)
		case n < 10 && open:
			mr.State = plumbline.MRClosed
			r.open(mr)
		case n < 11 && mr.State == plumbline.MRClosed:
			mr.State = plumbline.MROpen
			r.open(mr, some()...)
		case n < 12 && open:
			merged := mr.Head
			switch rnd.IntN(4) {
			case 0:
				merged = commit()
			case 1:
				mr.Head = commit() // pushed and merged
				merged = commit()
			}
			r.deploy(merged, some()...)
			if rnd.IntN(4) == 0 {
				merged = ""
			}
			r.merge(mr, merged)
		case n < 13:
			r.deploy(commit(), some()...)
		default:
			r.advance(rnd)
		}
		r.now = r.now.Add(time.Duration(rnd.IntN(4)) * time.Second)
		switch rnd.IntN(6) {
		case 0:
			l = r.born(1+rnd.IntN(12), batches)
			fallthrough
		case 1, 2:
			if !r.lives() {
				l = r.born(immortal, batches)
			}
		case 3:
			if _, _, err := r.r.Flush(t.Context()); err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
		}
	}
	for range rnd.IntN(30) {
		r.advance(rnd)
	}
	if l.left < immortal/2 || rnd.IntN(2) == 0 {
		r.born(immortal, batches)
	}
	r.lives()
	r.checkPending("at the end")
	r.checkHeads(mrs)
}

// advance moves one run on that has not ended.
func (r *rig) advance(rnd *rand.Rand) {
	r.t.Helper()
	runs, err := r.store.Runs(r.t.Context(), plumbline.RunFilter{Repository: "infra", Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	runs = slices.DeleteFunc(runs, func(run plumbline.Run) bool { return run.State.Ended() })
	if len(runs) == 0 {
		return
	}
	run := runs[rnd.IntN(len(runs))]
	switch {
	case run.Wish != plumbline.WishNone && run.State == plumbline.StatePlanning:
		r.cancel(run.ID)
	case rnd.IntN(8) == 0 && run.State != plumbline.StateApplying:
		r.cancel(run.ID)
	case run.State == plumbline.StatePlanning && rnd.IntN(4) == 0:
		r.finish(run.ID, plumbline.Outcome{Failure: &plumbline.Failure{Text: "boom"}}, nil)
	case run.State == plumbline.StatePlanning:
		r.finish(run.ID, plumbline.Outcome{Plan: &plumbline.Plan{}}, info())
	case run.State == plumbline.StateAwaiting:
		r.update(run.ID, func(run *plumbline.Run, now time.Time) error {
			return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, digest, now)
		})
	case run.State == plumbline.StateApplying:
		r.finish(run.ID, plumbline.Outcome{Applied: true}, nil)
	case r.busy(run.Stack): // another one goes first
	default:
		r.start(run.ID)
	}
}

// busy reports whether a worker has a run of a stack.
func (r *rig) busy(stack plumbline.StackRef) bool {
	r.t.Helper()
	runs, err := r.store.Runs(r.t.Context(), plumbline.RunFilter{Repository: "infra", Environment: stack.Environment, Stack: stack.Name, Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.ContainsFunc(runs, func(run plumbline.Run) bool { return run.State.Active() })
}

// checkHeads checks that the heads of open merge requests say what is the case, where nobody else speaks of the same commit.
func (r *rig) checkHeads(mrs []*plumbline.MergeRequest) {
	r.t.Helper()
	for _, mr := range mrs {
		if mr.State != plumbline.MROpen {
			continue
		}
		v, err := r.r.view(r.t.Context(), mr.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		others, err := r.r.othersOn(r.t.Context(), mr.Head, mr.ID)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(others) > 0 {
			continue
		}
		for _, want := range v.statuses("https://p.example.com") {
			if got := r.forge.Newest(mr.Head)[want.Context]; got != want {
				r.t.Errorf("%s of %s is %+v, want %+v", want.Context, mr.Name(), got, want)
			}
		}
	}
}
