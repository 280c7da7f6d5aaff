package plumbline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecret("hunter2-hunter2")
	j, err := json.Marshal(struct{ S Secret }{s})
	must(t, err)
	for _, got := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), string(j), fmt.Sprintf("%+v", Variable{JSON: s}), fmt.Sprintf("%+v %#v", struct{ s Secret }{s}, struct{ s Secret }{s})} {
		if strings.Contains(got, "hunter2") {
			t.Errorf("printed: %s", got)
		}
	}
	j, err = json.Marshal(WireSecret{s})
	must(t, err)
	var back WireSecret
	must(t, json.Unmarshal(j, &back))
	if back.Reveal() != s.Reveal() {
		t.Error("the wire form does not come back")
	}
}

func TestContains(t *testing.T) {
	for _, c := range []struct {
		include, exclude []string
		dir              string
		want             bool
	}{
		{nil, nil, "live/net", true},
		{[]string{"live/**"}, nil, "live/net", true},
		{[]string{"live/**"}, nil, "live/net/eu", true},
		{[]string{"live/**"}, nil, "lives/net", false},
		{[]string{"live/**"}, []string{"live/sandbox/**"}, "live/sandbox/x", false},
		{[]string{"live/**"}, []string{"live/sandbox"}, "live/sandbox/x", false},
		{[]string{"live/*/eu"}, nil, "live/net/eu", true},
		{[]string{"live/*/eu"}, nil, "live/net/us", false},
		{[]string{"."}, nil, ".", true},
	} {
		e := Environment{Include: c.include, Exclude: c.exclude}
		if got := e.Contains(c.dir); got != c.want {
			t.Errorf("include %v exclude %v contains %s: %v", c.include, c.exclude, c.dir, got)
		}
	}
}

func stack(dir string, reaches ...Reach) StackSpec {
	return StackSpec{Name: dir, Dir: dir, Reaches: append([]Reach{{Path: dir, Kind: PathDir}}, reaches...)}
}

func TestTouched(t *testing.T) {
	vpc := Reach{Path: "modules/vpc", Kind: PathDir, Via: nil}
	subnet := Reach{Path: "modules/subnet", Kind: PathDir, Via: []string{"modules/vpc"}}
	before := Layout{Stacks: []StackSpec{stack("live/net", vpc, subnet), stack("live/old"), stack("live/loose", vpc)}}
	after := Layout{Stacks: []StackSpec{stack("live/net", vpc, subnet), stack("live/new"), stack("live/loose"), stack("live/deep/sub")}}
	got := map[string]string{}
	for _, tc := range Touched(before, after, []string{"modules/subnet/main.tf", "modules/vpc/x.tf", "live/deep/readme.md"}) {
		got[tc.Stack.Name] = fmt.Sprint(tc.Because, " ", tc.Removed)
	}
	want := map[string]string{
		"live/net":      "modules/vpc/x.tf → modules/vpc → live/net false",
		"live/loose":    "modules/vpc/x.tf → modules/vpc → live/loose false", // it called the module before
		"live/new":      "new stack false",
		"live/deep/sub": "new stack false",
		"live/old":      "removed true",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %q, want %q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("touched %v", got)
	}
	chain := Touched(before, before, []string{"modules/subnet/main.tf"})
	if len(chain) != 1 || chain[0].Because != "modules/subnet/main.tf → modules/subnet → modules/vpc → live/net" {
		t.Errorf("chain %v", chain)
	}
}

func TestForeign(t *testing.T) {
	all := []StackSpec{stack("."), stack("live/net"), stack("live/net/eu"), stack("live/db"), stack("live/app"), stack("lib/x"), stack("glob/a")}
	for _, c := range []struct {
		s    StackSpec
		want string
	}{
		{stack("live/net"), "[glob/a lib/x live/app live/db live/net/eu]"},
		{stack("live/net/eu"), "[glob/a lib/x live/app live/db]"},                                         // live/net holds it
		{stack("live/db", Reach{Path: "live/net", Kind: PathDir}), "[glob/a lib/x live/app live/net/eu]"}, // calls another stack as a module
		{stack("live/db", Reach{Path: "live", Kind: PathFile}), "[glob/a lib/x]"},                         // zips all of live
		{stack("live/db", Reach{Path: "glob/*/x.json", Kind: PathGlob}), "[lib/x live/app live/net live/net/eu]"},
		{stack("live/db", Reach{Path: ".", Kind: PathFile}), "[]"},
		{stack("."), "[glob/a lib/x live/app live/db live/net live/net/eu]"},
	} {
		var got []string
		for d := range (Layout{Stacks: all}).Foreign(c.s) {
			got = append(got, d)
		}
		slices.Sort(got)
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s, which reaches %v: foreign %v, want %s", c.s.Name, c.s.Reaches, got, c.want)
		}
	}
}

func TestTouchedBySettings(t *testing.T) {
	before, after := stack("live/app"), stack("live/app")
	after.VarFiles = []string{"blue.tfvars"}
	if got := Touched(Layout{Stacks: []StackSpec{before}}, Layout{Stacks: []StackSpec{after}}, []string{".plumbline.hcl"}); len(got) != 1 {
		t.Errorf("another var file touches the stack: %v", got)
	}
	after = before
	after.DependsOn = []string{"live/net"}
	if got := Touched(Layout{Stacks: []StackSpec{before}}, Layout{Stacks: []StackSpec{after}}, []string{".plumbline.hcl"}); len(got) != 0 {
		t.Errorf("the order alone changes nothing to plan: %v", got)
	}
}

func TestDeploysWaitForEachOther(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyAutomatic}
	app, net, db := stack("app"), stack("net"), stack("db")
	app.DependsOn, db.DependsOn = []string{"net", "db", "elsewhere"}, []string{"net"}
	runs := Deploys(e, "c2", "moved", ByPoll, []Pending{{Touch: Touch{Stack: app}}, {Touch: Touch{Stack: net}}, {Touch: Touch{Stack: db}}}, nil, t0)
	if fmt.Sprint(runs[0].WaitsFor, runs[1].WaitsFor, runs[2].WaitsFor) != "[db net] [] [net]" {
		t.Errorf("waits: %v %v %v", runs[0].WaitsFor, runs[1].WaitsFor, runs[2].WaitsFor)
	}
	gone := Deploys(e, "c3", "moved", ByPoll, []Pending{
		{Touch: Touch{Stack: app, Removed: true}, Base: "c1"}, {Touch: Touch{Stack: net, Removed: true}, Base: "c1"}, {Touch: Touch{Stack: db, Removed: true}, Base: "c1"}}, nil, t0)
	if fmt.Sprint(gone[0].WaitsFor, gone[1].WaitsFor, gone[2].WaitsFor) != "[] [app db] [app]" {
		t.Errorf("destroys wait: %v %v %v", gone[0].WaitsFor, gone[1].WaitsFor, gone[2].WaitsFor)
	}
	if gone[0].Kind != KindDestroy || gone[0].Commit != "c1" {
		t.Errorf("a removed stack is destroyed from the last commit that had it: %+v", gone[0])
	}
}

func TestBrokenStackFailsAtOnce(t *testing.T) {
	s := stack("live/broken")
	s.Broken = []Finding{{File: "live/broken/main.tf", Line: 7, Column: 3, Message: `unclosed block "resource"`, Source: "resource {"}}
	runs := Proposals([]Environment{{Repository: "infra", Name: "production"}}, MergeRequest{ID: "1", Head: "h"}, []Touch{{Stack: s}}, nil, t0)
	if len(runs) != 1 || runs[0].State != StateFailed || !strings.Contains(runs[0].Failure.Text, `live/broken/main.tf:7:3: unclosed block`) {
		t.Errorf("%+v", runs)
	}
}

func TestStatusOf(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production"}
	run := func(id RunID, name string, s State, waits ...string) Run {
		return Run{ID: id, Kind: KindDeploy, Deployment: 1, Stack: StackRef{"infra", "production", name}, State: s, WaitsFor: waits}
	}
	ok := []StackStatus{{Checked: true, Commit: "c"}}
	for _, c := range []struct {
		runs   []Run
		stacks []StackStatus
		want   EnvironmentState
	}{
		{nil, ok, EnvInSync},
		{nil, []StackStatus{{}}, EnvUnknown},
		{[]Run{run(1, "a", StateApplied), run(2, "b", StateClean)}, ok, EnvInSync},
		{[]Run{run(1, "a", StateApplied), run(2, "b", StateQueued)}, ok, EnvDeploying},
		{[]Run{run(1, "a", StateAwaiting), run(2, "b", StateApplied)}, ok, EnvWaiting},
		{[]Run{run(1, "a", StateAwaiting), run(2, "b", StateQueued, "a")}, ok, EnvWaiting},
		{[]Run{run(1, "a", StateFailed), run(2, "b", StateApplying)}, ok, EnvDegraded},
		{[]Run{run(1, "a", StateInterrupted)}, ok, EnvDegraded},
		{[]Run{run(1, "a", StatePlanned)}, ok, EnvWaiting},
	} {
		if got := StatusOf(e, "c", c.runs, c.stacks); got.State != c.want {
			t.Errorf("%v: %s (%s), want %s", c.runs, got.State, got.Cause, c.want)
		}
	}
}

func TestCycle(t *testing.T) {
	a, b, c := stack("a"), stack("b"), stack("c")
	a.DependsOn, b.DependsOn, c.DependsOn = []string{"b"}, []string{"c"}, nil
	if got := Cycle([]StackSpec{a, b, c}); got != nil {
		t.Errorf("no cycle, got %v", got)
	}
	c.DependsOn = []string{"b"}
	if got := fmt.Sprint(Cycle([]StackSpec{a, b, c})); got != "[b c b]" {
		t.Errorf("cycle %v", got)
	}
}

func TestSummaryString(t *testing.T) {
	for _, c := range []struct {
		s    Summary
		want string
	}{
		{Summary{}, "no changes"}, {Summary{Create: 12, Update: 4, Delete: 1, Replace: 1}, "+12 ~4 -1 ±1"}, {Summary{Move: 1, Import: 2}, "1 moved 2 imported"}, {Summary{Output: 1}, "1 output"},
	} {
		if got := c.s.String(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
}

// TestExplain keeps the sentences that people read.
func TestExplain(t *testing.T) {
	var b strings.Builder
	now := t0.Add(12 * time.Minute)
	for _, kind := range []Kind{KindProposal, KindDeploy, KindDrift, KindDestroy} {
		for _, s := range States {
			r := inState(s, kind, ApplyApproval)
			r.MR, r.Because, r.Started, r.Finished, r.Deployment = "42", "modules/subnet/main.tf → modules/vpc → live/net", t0, t0, 1
			r.Commit = "5d0c1aa5d0c1aa"
			var siblings []Run
			switch s {
			case StateQueued:
				r.WaitsFor = []string{"live/dns"}
				siblings = []Run{{ID: 6, Deployment: 1, Stack: StackRef{"infra", "production", "live/dns"}, State: StateFailed}}
			case StateAwaiting:
				r.Approvals = []Approval{{By: "ops-b", Digest: digestB, At: t0}}
			case StateDrifted:
				r.DriftOpen = 2
			case StateFailed, StateInterrupted:
				r.Failure = &Failure{Text: "The provider said no.", Next: "Ask it why."}
			case StateCanceled:
				r.Reason = "canceled by ops"
			case StateRejected:
				r.RejectedBy, r.Reason = "ops", "not today"
			}
			fmt.Fprintf(&b, "%s, %s (%s):\n  %s\n", kind, s, r.Label(), Explain(r, siblings, now))
		}
	}
	for _, s := range []State{StatePlanned, StateDrifted} { // of a check that did not compare with the head, or could not plan
		for _, c := range []Run{{Ahead: "8f31c2d8f31c2d", Unapplied: true}, {Partial: "terraform plan of live/net failed: no."}} {
			r := inState(s, KindDrift, ApplyApproval)
			r.Because, r.Commit, r.DriftOpen, r.Ahead, r.Unapplied, r.Partial = "the schedule of production", "5d0c1aa5d0c1aa", 1, c.Ahead, c.Unapplied, c.Partial
			fmt.Fprintf(&b, "%s, %s (%s):\n  %s\n", r.Kind, s, r.Label(), Explain(r, nil, now))
		}
	}
	golden(t, "testdata/explain.golden", b.String())
}

// TestActions keeps the words for what happens to a resource.
func TestActions(t *testing.T) {
	var b strings.Builder
	p := Plan{
		Changes: []Change{
			{Address: "aws_db_instance.main", Action: ActionReplace, ReplacePaths: []string{"storage_encrypted"}, Attributes: []Attribute{
				{Path: "endpoint", Before: `"main.c9x"`, Unknown: true}, {Path: "password", Before: Masked, After: Masked, Sensitive: true},
				{Path: "storage_encrypted", Before: "false", After: "true", Forces: true}, {Path: `tags["a.b"]`, After: `"x"`}, {Path: "old", Before: "1"},
			}},
			{Address: "aws_eip.old", Action: ActionDelete, Reason: "delete_because_no_resource_config", Attributes: []Attribute{{Path: "id", Before: `"eip-1"`}}},
			{Address: "aws_eip.new", Action: ActionCreate, Attributes: []Attribute{{Path: "long", After: `"` + strings.Repeat("ä", 300) + `"`}, {Path: "arn", Unknown: true}}},
			{Address: "b.moved", Previous: "a.moved", Action: ActionNoOp}, {Address: "b.imported", Importing: "id-1", Action: ActionNoOp}, {Address: "b.gone", Action: ActionForget},
		},
		Outputs: []OutputChange{{Name: "a", Action: ActionUpdate, Before: "1", After: "2"}, {Name: "s", Action: ActionCreate, After: Masked, Sensitive: true}},
	}
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%-3s %s is %s  # %s\n", c.Action.Sign(), c.Address, c.Action.Verb(), c.Remark())
	}
	golden(t, "testdata/actions.golden", b.String())
	if !p.HasChanges() || (Plan{}).HasChanges() {
		t.Error("HasChanges")
	}
}

// TestOnlyEmpties: what providers read back by themselves is told from a change.
func TestOnlyEmpties(t *testing.T) {
	for _, tt := range []struct {
		before, after string
		want          bool
	}{
		{"", "[]", true}, {"null", "{}", true}, {`""`, "null", true}, {"[]", "", true},
		{"", `"a"`, false}, {"false", "", false}, {"0", "null", false}, {`"a"`, `""`, false}, {Masked, "", false},
	} {
		c := Change{Action: ActionUpdate, Attributes: []Attribute{{Path: "x", Before: "", After: "[]"}, {Path: "y", Before: tt.before, After: tt.after}}}
		if got := c.OnlyEmpties(); got != tt.want {
			t.Errorf("%s to %s: %t, want %t", tt.before, tt.after, got, tt.want)
		}
	}
	if (Change{Action: ActionUpdate, Attributes: []Attribute{{Path: "x", Before: "", After: "[]"}}, Omitted: 1}).OnlyEmpties() {
		t.Error("what is not kept may be anything")
	}
	if (Change{Action: ActionDelete, Attributes: []Attribute{{Path: "x", Before: "[]"}}}).OnlyEmpties() || (Change{Action: ActionUpdate}).OnlyEmpties() {
		t.Error("a deleted resource, or one of which nothing is known, says something")
	}
}

// TestUnsettled: an apply that has begun is remembered until the stack is confirmed again, whatever happens in between.
func TestUnsettled(t *testing.T) {
	var s StackStatus
	for _, step := range []struct {
		kind  Kind
		state State
		want  bool
	}{
		{KindDeploy, StatePlanning, false}, {KindDeploy, StateApplying, true}, {KindDeploy, StateFailed, true}, {KindDrift, StatePlanned, true},
		{KindProposal, StateClean, true}, {KindDeploy, StateRejected, true}, {KindDrift, StateClean, false},
		{KindDestroy, StateApplying, true}, {KindDestroy, StateApplied, false},
	} {
		s = s.After(Run{Kind: step.kind, State: step.state})
		if s.Unsettled != step.want {
			t.Errorf("after a %s run is %s: %t, want %t", step.kind, step.state, s.Unsettled, step.want)
		}
	}
}
