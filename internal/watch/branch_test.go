package watch

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestFirstSight(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	res := r.poll()
	main, staging := plumbline.Short(r.head("main")), plumbline.Short(r.head("env/staging"))
	var since plumbline.RunID
	equal(t, "runs at first sight", r.news(&since), []string{
		"drift production/live/app@" + main, "drift production/live/db@" + main, "drift production/live/net@" + main,
		"drift lab/lab/one@" + main,
		"drift staging/lab/one@" + staging, "drift staging/live/app@" + staging, "drift staging/live/db@" + staging, "drift staging/live/net@" + staging,
	})
	if res.Queued != 8 {
		t.Errorf("%d are said to be queued, want 8", res.Queued)
	}
	s := r.status("production", "live/net")
	if s.Commit != r.head("main") || s.Checked || s.Removed {
		t.Errorf("status after the first look: %+v", s)
	}
	if d, err := r.store.Deployments(t.Context(), "infra", "production", 10); err != nil || len(d) != 0 {
		t.Errorf("a first look deploys: %+v %v", d, err)
	}
}

func TestSameHead(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	since := r.last()
	for range 100 {
		if res := r.poll(); res.Moved+res.Queued != 0 {
			t.Fatalf("an idle poll moved %+v", res)
		}
	}
	r.w = r.watcher() // as after a restart
	r.poll()
	r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
	for range 100 {
		r.poll()
	}
	equal(t, "runs", r.news(&since), []string{"deploy production/live/db@" + plumbline.Short(r.head("main"))})
}

// TestManyWatchers: however many machines look at once, each move queues once, and never one back.
func TestManyWatchers(t *testing.T) {
	t.Parallel()
	for _, db := range []string{"sqlite", "postgres"} {
		t.Run(db, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			if db == "postgres" {
				r.dsn = testenv.Postgres(t)
				r.store = r.open()
			}
			var nodes []*Watcher
			for range 8 {
				nodes = append(nodes, r.watcher())
			}
			all := func() {
				var wg sync.WaitGroup
				for _, w := range nodes {
					wg.Go(func() {
						for range 3 {
							if _, err := w.Poll(t.Context()); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
			}
			all()
			if n := len(r.runs(plumbline.RunFilter{})); n != 8 {
				t.Errorf("%d runs at first sight, want 8", n)
			}
			mr := r.forge.OpenMR(plumbline.MergeRequest{Source: "x", Target: "main", Head: r.push("x", map[string]string{"lab/one/main.tf": state})})
			head := r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
			all()
			all()
			if n := len(r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}})); n != 1 {
				t.Errorf("%d deploy runs, want 1", n)
			}
			if n := len(r.runs(plumbline.RunFilter{MR: mr})); n != 1 {
				t.Errorf("%d proposals, want 1", n)
			}
			// Pushes while all of them look: the last one wins.
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range 5 {
					head = r.push("main", map[string]string{"live/db/main.tf": fmt.Sprintf("%s# push %d\n", state, i)})
				}
			})
			for range 5 {
				all()
			}
			wg.Wait()
			all()
			if h, err := r.store.Head(t.Context(), "infra", "main"); err != nil || h != head {
				t.Errorf("the head is %s %v, want %s", h, err, head)
			}
			live := r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}, States: []plumbline.State{plumbline.StateQueued}})
			if len(live) != 1 || live[0].Commit != head {
				t.Errorf("queued in the end: %+v, want one of %s", live, head)
			}
			commits := testenv.Git(t, r.remote, "rev-list", "--reverse", "main")
			at := -1
			for _, run := range r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDeploy}}) {
				if i := strings.Index(commits, run.Commit); i < at {
					t.Errorf("run %s goes back to %s", run.ID, run.Commit)
				} else {
					at = i
				}
			}
		})
	}
}

// TestLateLook: a machine that looked before another and writes after it must not take the branch back.
func TestLateLook(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	other := r.watcher()
	first := r.push("main", map[string]string{"live/db/main.tf": state + "# 1\n"})
	c := r.config()
	slow := &git1{Git: c.Git}
	c.Git = slow
	w := New(c)
	var second string
	slow.refs = func(refs map[string]string, err error) (map[string]string, error) {
		if second == "" && refs["refs/heads/main"] == first {
			// While the answer is on its way, the branch moves on and the other machine is quicker.
			second = r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
			if _, err := other.Poll(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return refs, err
	}
	for range 2 {
		if _, err := w.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h, err := r.store.Head(t.Context(), "infra", "main"); err != nil || h != second {
			t.Fatalf("the head is %s %v, want %s", h, err, second)
		}
	}
}

func TestPushByBranchAndPath(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	since := r.last()
	for _, tt := range []struct {
		name   string
		branch string
		files  map[string]string
		want   []string
	}{
		{"module three levels deep", "main", map[string]string{"modules/tags/main.tf": "output \"tags\" {\n  value = 2\n}\n"}, []string{"deploy production/live/net", "deploy lab/lab/one"}},
		{"module two levels deep", "main", map[string]string{"modules/subnet/main.tf": "module \"tags\" {\n  source = \"../tags\"\n}\n# 2\n"}, []string{"deploy production/live/net"}},
		{"nothing of a stack's", "main", map[string]string{"README.md": "# 2\n"}, nil},
		{"the other branch", "env/staging", map[string]string{"modules/tags/main.tf": "output \"tags\" {\n  value = 3\n}\n"}, []string{"deploy staging/live/net", "deploy staging/lab/one"}},
		{"a branch of nobody's", "feature", map[string]string{"live/db/main.tf": "# 2\n"}, nil},
	} {
		head := r.push(tt.branch, tt.files)
		r.poll()
		for i := range tt.want {
			tt.want[i] += "@" + plumbline.Short(head)
		}
		equal(t, tt.name, r.news(&since), tt.want)
		for _, run := range r.runs(plumbline.RunFilter{States: []plumbline.State{plumbline.StateQueued}}) {
			r.applied(run.ID)
		}
	}
	because := r.newest("staging", "live/net").Because
	if want := "env/staging moved: modules/tags/main.tf → modules/tags → modules/subnet → modules/vpc → live/net"; because != want {
		t.Errorf("because %q, want %q", because, want)
	}
	run := r.newest("staging", "live/net")
	d, err := r.store.Deployment(t.Context(), run.Deployment)
	if err != nil || d.Environment != "staging" || d.Commit != run.Commit || d.By != plumbline.ByPoll {
		t.Errorf("deployment %+v %v", d, err)
	}
}

// TestCoalesce: a commit C1 touches a stack; while its run is in each of the states, C2 comes, which touches another stack, or reverts C1.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		until func(r *rig, id plumbline.RunID)
		state plumbline.State // of C1's run after C2
		wish  plumbline.Wish
		other bool // C2 touches another stack: the stack is planned at C2 too
		back  bool // C2 reverts C1: the stack is planned at C2
	}{
		{"queued", func(*rig, plumbline.RunID) {}, plumbline.StateSuperseded, "", true, true},
		{"planning", (*rig).start, plumbline.StatePlanning, plumbline.WishSupersede, true, true},
		{"awaiting", func(r *rig, id plumbline.RunID) { r.plan(id, digest) }, plumbline.StateSuperseded, "", true, true},
		{"approved", func(r *rig, id plumbline.RunID) { r.plan(id, digest); r.approve(id) }, plumbline.StateSuperseded, "", true, true},
		{"applying", (*rig).applying, plumbline.StateApplying, "", true, true},
		{"applied", (*rig).applied, plumbline.StateApplied, "", false, true},
		{"clean", func(r *rig, id plumbline.RunID) { r.plan(id, "") }, plumbline.StateClean, "", false, true},
		{"plan failed", func(r *rig, id plumbline.RunID) { r.start(id); r.finish(id, failure(), nil) }, plumbline.StateFailed, "", true, true},
		{"apply failed", func(r *rig, id plumbline.RunID) { r.applying(id); r.finish(id, failure(), nil) }, plumbline.StateFailed, "", true, true},
		{"rejected", func(r *rig, id plumbline.RunID) {
			r.plan(id, digest)
			r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Reject("ops", "no", now) })
		}, plumbline.StateRejected, "", true, false},
		// What a failed apply left behind stays a reason through whatever comes after it.
		{"apply failed, then looked at", func(r *rig, id plumbline.RunID) {
			r.applying(id)
			r.finish(id, failure(), nil)
			r.ask(plumbline.RequestDrift, "production", "live/db")
			r.poll()
			r.plan(r.newest("production", "live/db").ID, digest)
		}, plumbline.StateFailed, "", true, true},
		{"apply failed, retried, rejected", func(r *rig, id plumbline.RunID) {
			r.applying(id)
			r.finish(id, failure(), nil)
			r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Retry("ops", now) })
			r.plan(id, digest)
			r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Reject("ops", "no", now) })
		}, plumbline.StateRejected, "", true, true},
	} {
		for _, revert := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, revert=%t", tt.name, revert), func(t *testing.T) {
				t.Parallel()
				r := sighted(t)
				base := r.status("production", "live/db").Commit
				c1 := r.push("main", map[string]string{"live/db/main.tf": state + "# C1\n"})
				r.poll()
				run1 := r.newest("production", "live/db")
				if run1.Commit != c1 || run1.Base != base {
					t.Fatalf("C1's run is at %s from %s", run1.Commit, run1.Base)
				}
				tt.until(r, run1.ID)
				since := r.last()
				c2files, want := map[string]string{"lab/one/main.tf": state + "# C2\n"}, tt.other
				if revert {
					c2files, want = map[string]string{"live/db/main.tf": fleet()["live/db/main.tf"]}, tt.back
				}
				c2 := r.push("main", c2files)
				r.poll()
				got := r.news(&since)
				planned := slices.Contains(got, "deploy production/live/db@"+plumbline.Short(c2))
				if planned != want {
					t.Errorf("at C2 the stack is planned: %t, want %t (%q)", planned, want, got)
				}
				if now := r.run(run1.ID); now.State != tt.state || now.Wish != tt.wish {
					t.Errorf("C1's run is %s with the wish %q, want %s with %q", now.State, now.Wish, tt.state, tt.wish)
				}
				if !planned {
					return
				}
				// However C1's run ends, the stack ends at C2.
				switch now := r.run(run1.ID); now.State {
				case plumbline.StatePlanning:
					r.finish(run1.ID, plumbline.Outcome{Interrupted: true}, nil)
				case plumbline.StateApplying:
					r.finish(run1.ID, plumbline.Outcome{Applied: true}, nil)
				}
				r.applied(r.newest("production", "live/db").ID)
				if s := r.status("production", "live/db"); s.Commit != c2 {
					t.Errorf("the stack ends at %s, want %s", s.Commit, c2)
				}
				r.push("main", map[string]string{"README.md": "# 3\n"})
				r.poll()
				if n := r.newest("production", "live/db"); n.Commit != c2 {
					t.Errorf("planned again at %s though all is in sync", n.Commit)
				}
			})
		}
	}
}

// TestRunEndsMeanwhile: a run that is applied while the watcher reads Git is not forgotten when the new head takes it back.
func TestRunEndsMeanwhile(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.push("main", map[string]string{"live/db/main.tf": state + "# C1\n"})
	r.poll()
	run := r.newest("production", "live/db")
	r.push("main", map[string]string{"live/db/main.tf": fleet()["live/db/main.tf"]})
	c := r.config()
	c.Git = &git1{Git: c.Git, changed: sync.OnceFunc(func() { r.applied(run.ID) })}
	r.w = New(c)
	r.poll()
	if n := r.newest("production", "live/db"); n.ID == run.ID {
		t.Error("C1 was applied, C2 reverts it, and nothing is planned")
	}
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.push("main", map[string]string{"modules/vpc/main.tf": fleet()["modules/vpc/main.tf"] + "# 2\n", "live/app/main.tf": state + "# app 2\n"})
	r.poll()
	if app := r.newest("production", "live/app"); !slices.Equal(app.WaitsFor, []string{"live/net"}) {
		t.Errorf("app waits for %q", app.WaitsFor)
	}
	net := r.newest("production", "live/net")
	r.applying(net.ID)
	r.finish(r.superseded("production", "live/app"), plumbline.Outcome{}, nil)

	// The next commit touches app alone while net is still being applied: app must not be planned against the net of before.
	head := r.push("main", map[string]string{"live/app/main.tf": state + "# app 3\n"})
	r.poll()
	app := r.newest("production", "live/app")
	if app.Commit != head || !slices.Equal(app.WaitsFor, []string{"live/net"}) {
		t.Errorf("app at %s waits for %q", plumbline.Short(app.Commit), app.WaitsFor)
	}
	if again := r.newest("production", "live/net"); again.Commit != head || again.Deployment != app.Deployment {
		t.Errorf("nothing in the deployment tells app when net is done: %+v", again)
	}

	// So it is when nothing but a person's wish is the reason why net is applied, and for a deployment that a person asks for.
	r.finish(net.ID, plumbline.Outcome{Applied: true}, nil)
	r.applied(r.newest("production", "live/net").ID)
	r.ask(plumbline.RequestDeploy, "production", "network")
	r.poll()
	r.applying(r.newest("production", "live/net").ID)
	head = r.push("main", map[string]string{"live/app/main.tf": state + "# app 4\n"})
	r.poll()
	if app := r.newest("production", "live/app"); app.Commit != head || !slices.Equal(app.WaitsFor, []string{"live/net"}) {
		t.Errorf("app at %s waits for %q", plumbline.Short(app.Commit), app.WaitsFor)
	}
	r.ask(plumbline.RequestDeploy, "production", "shop")
	r.poll()
	if app := r.newest("production", "live/app"); app.By != "ann" || !slices.Equal(app.WaitsFor, []string{"live/net"}) {
		t.Errorf("app, asked for by %s, waits for %q", app.By, app.WaitsFor)
	}
}

// superseded cancels nothing: it returns a run in planning that the caller ends, so that a newer one can be claimed.
func (r *rig) superseded(env, stack string) plumbline.RunID {
	r.t.Helper()
	id := r.newest(env, stack).ID
	r.start(id)
	r.update(id, func(run *plumbline.Run, now time.Time) error { return run.Cancel("ops", now) })
	return id
}
