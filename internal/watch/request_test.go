package watch

import (
	"context"
	"sync"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestDeployRequests(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	since := r.last()
	at := "@" + plumbline.Short(r.head("main"))
	for _, tt := range []struct {
		name   string
		env    string
		stacks []string
		want   []string
		warn   string
	}{
		{"all", "production", nil, []string{"deploy production/live/app" + at, "deploy production/live/db" + at, "deploy production/live/net" + at}, ""},
		{"named, with what was under way", "production", []string{"live/db"}, []string{"deploy production/live/app" + at, "deploy production/live/db" + at, "deploy production/live/net" + at}, ""},
		{"the other environment", "lab", []string{"lab/one"}, []string{"deploy lab/lab/one" + at}, ""},
		{"no such stack", "production", []string{"live/nope"}, nil, "deploy of production asked for by ann: there is no stack live/nope"},
		{"no such environment", "moon", nil, nil, "deploy of moon asked for by ann: there is no such environment"},
	} {
		r.ask(plumbline.RequestDeploy, tt.env, tt.stacks...)
		if tt.warn != "" {
			r.warned(tt.warn)
		} else {
			r.poll()
		}
		equal(t, tt.name, r.news(&since), tt.want)
		if r.requests() != 0 {
			t.Errorf("%s: the wish stays", tt.name)
		}
	}
	if app := r.newest("production", "live/app"); app.By != "ann" {
		t.Errorf("by %q because %q", app.By, app.Because)
	}
	for _, run := range r.runs(plumbline.RunFilter{States: []plumbline.State{plumbline.StateQueued}}) {
		r.applied(run.ID)
	}
	r.ask(plumbline.RequestDeploy, "production", "network")
	r.poll()
	equal(t, "by alias", r.news(&since), []string{"deploy production/live/net" + at})
	if net := r.newest("production", "live/net"); net.Because != "asked for by ann" || net.Policy.Apply != plumbline.ApplyApproval {
		t.Errorf("run: %+v", net)
	}
	r.ask(plumbline.RequestPoll, "")
	r.poll()
	if r.requests() != 0 {
		t.Error("a wish to poll stays")
	}
}

func TestDriftRequests(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	since := r.last()
	at := "@" + plumbline.Short(r.head("main"))
	r.ask(plumbline.RequestDrift, "production", "shop")
	r.poll()
	equal(t, "one", r.news(&since), []string{"drift production/live/app" + at})
	r.ask(plumbline.RequestDrift, "production")
	r.poll()
	equal(t, "all but the one that is being checked", r.news(&since), []string{"drift production/live/db" + at, "drift production/live/net" + at})
	if n := r.newest("production", "live/db"); n.Because != "asked for by ann" || !n.Tick.IsZero() {
		t.Errorf("run: %+v", n)
	}
	r.ask(plumbline.RequestDeploy, "production")
	r.poll()
	if n := r.runs(plumbline.RunFilter{Environment: "production", Kinds: []plumbline.Kind{plumbline.KindDrift}, States: []plumbline.State{plumbline.StateQueued}}); len(n) != 0 {
		t.Errorf("everything is planned, and %d looks wait still", len(n))
	}
}

// TestRequestOnce: a wish is fulfilled once, whoever polls.
func TestRequestOnce(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	since := r.last()
	var nodes []*Watcher
	for range 8 {
		nodes = append(nodes, r.watcher())
	}
	for range 3 {
		r.ask(plumbline.RequestDeploy, "lab")
		var wg sync.WaitGroup
		for _, w := range nodes {
			wg.Go(func() {
				if _, err := w.Poll(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		equal(t, "runs", r.news(&since), []string{"deploy lab/lab/one@" + plumbline.Short(r.head("main"))})
	}
}

// TestRequestAndMove: the branch moves, and another machine deploys that, while a wish is being fulfilled: the wish must not take the
// branch back.
func TestRequestAndMove(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	c := r.config()
	ledger := &slowLedger{Ledger: c.Ledger}
	c.Ledger = ledger
	oc := r.config()
	oc.Ledger = deafLedger{oc.Ledger}
	other := New(oc)
	w := New(c)
	if _, err := w.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	var head string
	ledger.before = sync.OnceFunc(func() {
		head = r.push("main", map[string]string{"live/db/main.tf": state + "# 2\n"})
		if _, err := other.Poll(t.Context()); err != nil {
			t.Error(err)
		}
	})
	r.ask(plumbline.RequestDeploy, "production", "live/app")
	for range 2 {
		if _, err := w.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, run := range r.runs(plumbline.RunFilter{Environment: "production", Kinds: []plumbline.Kind{plumbline.KindDeploy}, States: []plumbline.State{plumbline.StateQueued}}) {
		if run.Commit != head {
			t.Errorf("%s is deployed at %s, want %s", run.Stack.Name, run.Commit, head)
		}
	}
	if n := r.newest("production", "live/db"); n.Commit != head || n.State != plumbline.StateQueued {
		t.Errorf("what the move brought is %s at %s", n.State, n.Commit)
	}
	if n := r.newest("production", "live/app"); n.By != "ann" || r.requests() != 0 {
		t.Errorf("the wish is not fulfilled: %+v", n)
	}
}

// slowLedger gives others time before a wish is fulfilled.
type slowLedger struct {
	Ledger
	before func()
}

func (l *slowLedger) Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error) {
	if len(o.Requests) > 0 && l.before != nil {
		l.before()
	}
	return l.Ledger.Observe(ctx, o)
}

// deafLedger knows of no wishes yet.
type deafLedger struct{ Ledger }

func (deafLedger) Requests(context.Context, string) ([]plumbline.Request, error) { return nil, nil }
