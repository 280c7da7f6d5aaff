package watch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// footing asks for a check of production/live/db and returns the run, not begun yet.
func (r *rig) footing() plumbline.Run {
	r.t.Helper()
	r.ask(plumbline.RequestDrift, "production", "live/db")
	r.poll()
	run := r.newest("production", "live/db")
	if run.Kind != plumbline.KindDrift || run.State != plumbline.StateQueued {
		r.t.Fatalf("no check was queued, but %s %s", run.Kind, run.State)
	}
	return run
}

// TestFooting: drift is what differs from what was applied, so the commit that was is compared, and whether it was for certain comes along.
func TestFooting(t *testing.T) {
	t.Parallel()
	db := func(r *rig, text string) string {
		r.t.Helper()
		return r.push("main", map[string]string{"live/db/main.tf": state + text})
	}
	for _, tt := range []struct {
		name string
		make func(r *rig) (commit, ahead string, inSync bool)
	}{
		{"nothing has moved", func(r *rig) (string, string, bool) { return r.head("main"), "", true }},
		{"another stack has moved", func(r *rig) (string, string, bool) {
			return r.push("main", map[string]string{"live/app/main.tf": state + "# 2\n"}), "", true
		}},
		{"a commit that was not applied", func(r *rig) (string, string, bool) {
			before := r.head("main")
			return before, db(r, "# 2\n"), true
		}},
		{"a commit that cannot be read", func(r *rig) (string, string, bool) {
			before := r.head("main")
			return before, db(r, "resource {\n"), true
		}},
		{"a commit that was applied", func(r *rig) (string, string, bool) {
			head := db(r, "# 2\n")
			r.poll()
			r.applied(r.newest("production", "live/db").ID)
			return head, "", true
		}},
		{"a commit whose plan failed", func(r *rig) (string, string, bool) {
			before, head := r.head("main"), db(r, "# 2\n")
			r.poll()
			id := r.newest("production", "live/db").ID
			r.start(id)
			r.finish(id, failure(), nil)
			return before, head, true
		}},
		{"an apply that failed", func(r *rig) (string, string, bool) {
			head := db(r, "# 2\n")
			r.poll()
			id := r.newest("production", "live/db").ID
			r.applying(id)
			r.finish(id, failure(), nil)
			return head, "", false
		}},
		{"an apply that failed, and a newer commit whose plan did", func(r *rig) (string, string, bool) {
			begun := db(r, "# 2\n")
			r.poll()
			id := r.newest("production", "live/db").ID
			r.applying(id)
			r.finish(id, failure(), nil)
			db(r, "# 3\n")
			r.poll()
			id = r.newest("production", "live/db").ID
			r.start(id)
			r.finish(id, failure(), nil)
			return begun, "", false
		}},
		{"an apply that was interrupted", func(r *rig) (string, string, bool) {
			head := db(r, "# 2\n")
			r.poll()
			id := r.newest("production", "live/db").ID
			r.applying(id)
			r.finish(id, plumbline.Outcome{Interrupted: true}, nil)
			return head, "", false
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := sighted(t)
			commit, ahead, inSync := tt.make(r)
			run := r.footing()
			if run.Commit != commit || run.Ahead != ahead || run.InSync != inSync {
				t.Errorf("commit %s, ahead %s, in sync %t; want %s, %s, %t", run.Commit, run.Ahead, run.InSync, commit, ahead, inSync)
			}
			if run.Spec.Dir != "live/db" || len(run.Spec.Broken) > 0 {
				t.Errorf("spec %+v", run.Spec)
			}
		})
	}
}

// TestFootingUnknown: what nobody has confirmed is not taken for granted.
func TestFootingUnknown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDrift}}) {
		if run.InSync || run.Ahead != "" {
			t.Errorf("first look: %+v", run)
		}
	}
}

// TestFootingElsewhere: where others apply, the head may have been applied by them.
func TestFootingElsewhere(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.repo.Environments[0].Apply = plumbline.ApplyNever
	r.w = r.watcher()
	r.poll()
	head := r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
	if run := r.footing(); run.Commit != head || run.Ahead != "" || run.InSync {
		t.Errorf("commit %s, ahead %s, in sync %t", run.Commit, run.Ahead, run.InSync)
	}
}

// TestFootingWithoutGit: checks go on where Git does not answer, and it is said that they are less.
func TestFootingWithoutGit(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.check(r.w, "@hourly", "")
	r.pass(time.Hour)
	c := r.config() // a mirror that has nothing yet
	c.Git = &git1{Git: c.Git, fetch: func(map[string]string) error { return errors.New("the remote does not answer") }}
	env := r.repo.Environments[0]
	env.Drift = plumbline.DriftPolicy{Schedule: "@hourly"}
	res, _, err := New(c).CheckDrift(t.Context(), env)
	if err != nil || res.Queued != 3 || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "the remote does not answer") {
		t.Fatalf("%v: %+v", err, res)
	}
	if run := r.newest("production", "live/db"); run.InSync || run.Commit != r.head("main") {
		t.Errorf("%+v", run)
	}

	r.finishChecks()
	r.pass(time.Hour)
	res, _, err = New(r.config()).CheckDrift(t.Context(), env) // another machine, which can fetch
	if err != nil || res.Queued != 3 || len(res.Warnings) != 0 {
		t.Fatalf("%v: %+v", err, res)
	}
	if run := r.newest("production", "live/db"); !run.InSync {
		t.Errorf("%+v", run)
	}
}
