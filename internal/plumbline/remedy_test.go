package plumbline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var limits = ApplyOnly{Actions: []Action{ActionUpdate}, Types: []string{"aws_route", "aws_security*"}, MaxChanges: 2, PerDay: 3}

func change(address string, a Action) Change {
	kind, _, _ := strings.Cut(address, ".")
	return Change{Address: address, Type: kind, Action: a, Attributes: []Attribute{{Path: "gateway", Before: `"b"`, After: `"a"`}}}
}

// TestBeyond tries each limit at its edge.
func TestBeyond(t *testing.T) {
	objects := []Mendable{{Address: "aws_route.nat", Hidden: []string{"tags"}}, {Address: "aws_security_group_rule.in"}, {Address: "aws_vpc.main"}, {Address: "aws_route.two"}}
	one := func() Plan { return Plan{Changes: []Change{change("aws_route.nat", ActionUpdate)}} }
	with := func(f func(p *Plan)) Plan { p := one(); f(&p); return p }
	change1 := func(f func(c *Change)) Plan { return with(func(p *Plan) { f(&p.Changes[0]) }) }
	creating := limits
	creating.Actions = []Action{ActionUpdate, ActionCreate}
	everything := limits
	everything.Actions = []Action{ActionUpdate, ActionCreate, ActionDelete, ActionReplace, ActionReplaceFirst, ActionForget, ActionForgetCreate, ActionInvoke, ActionNoOp, ActionRead}
	for _, tt := range []struct {
		name     string
		limits   ApplyOnly
		plan     Plan
		findings []PolicyFinding
		want     string // "": within the limits
	}{
		{"an update", limits, one(), nil, ""},
		{"as many as there may be", limits, with(func(p *Plan) { p.Changes = append(p.Changes, change("aws_security_group_rule.in", ActionUpdate)) }), nil, ""},
		{"one more", limits, with(func(p *Plan) {
			p.Changes = append(p.Changes, change("aws_security_group_rule.in", ActionUpdate), change("aws_route.two", ActionUpdate))
		}), nil, "the plan has 3 changes, and max_changes is 2"},
		{"a type that is not named", limits, Plan{Changes: []Change{change("aws_vpc.main", ActionUpdate)}}, nil, "aws_vpc is not among the types of apply_only"},
		{"an action that is not named", limits, Plan{Changes: []Change{change("aws_route.nat", ActionCreate)}}, nil, "aws_route.nat would be created, and create is not among the actions of apply_only"},
		{"an action that is", creating, Plan{Changes: []Change{change("aws_route.nat", ActionCreate)}}, nil, ""},
		{"what is no drift", limits, Plan{Changes: []Change{change("aws_route.three", ActionUpdate)}}, nil, "aws_route.three would be changed in place too, and is no drift that people want to be rid of"},
		{"a move", limits, change1(func(c *Change) { c.Previous = "aws_route.old" }), nil, "aws_route.nat would be moved or imported, or is a deposed object"},
		{"an import", limits, change1(func(c *Change) { c.Importing = "r-1" }), nil, "aws_route.nat would be moved or imported, or is a deposed object"},
		{"a deposed object", limits, change1(func(c *Change) { c.Deposed = "abc" }), nil, "aws_route.nat would be moved or imported, or is a deposed object"},
		{"an ignored attribute", limits, change1(func(c *Change) { c.Attributes = append(c.Attributes, Attribute{Path: `tags["a"]`}) }), nil, `tags["a"] of aws_route.nat would be changed too, which a rule ignores`},
		{"what is not told", limits, change1(func(c *Change) { c.Omitted = 1 }), nil, "the plan does not tell all that is to be done"},
		{"an output", limits, with(func(p *Plan) { p.Outputs = []OutputChange{{Name: "a"}} }), nil, "outputs would change, which others may read"},
		{"an output that was not kept", limits, with(func(p *Plan) { p.Summary.Output = 1 }), nil, "outputs would change, which others may read"},
		{"nothing", limits, Plan{}, nil, "the plan changes nothing"},
		{"errored", limits, with(func(p *Plan) { p.Errored = true }), nil, "the plan does not tell all that is to be done"},
		{"partial", limits, with(func(p *Plan) { p.Partial = true }), nil, "the plan does not tell all that is to be done"},
		{"truncated", limits, with(func(p *Plan) { p.Truncated = true }), nil, "the plan does not tell all that is to be done"},
		{"deferred", limits, with(func(p *Plan) { p.Deferred = make([]Change, 1) }), nil, "the plan does not tell all that is to be done"},
		{"a policy asks", limits, one(), []PolicyFinding{{Policy: "p", Level: PolicyApprove, Message: "a route"}}, "p says: a route"},
		{"a policy forbids", limits, one(), []PolicyFinding{{Policy: "p", Level: PolicyDeny, Message: "a route"}}, "p says: a route"},
		{"a policy warns", limits, one(), []PolicyFinding{{Policy: "p", Level: PolicyWarn, Message: "a route"}}, ""},
	} {
		if got := tt.limits.Beyond(&tt.plan, objects, tt.findings); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := limits.Beyond(nil, objects, nil); got == "" {
		t.Error("no plan at all is within the limits")
	}
	// Whatever a configuration comes to say: what destroys, replaces or forgets is never within the limits.
	for _, a := range []Action{ActionDelete, ActionReplace, ActionReplaceFirst, ActionForget, ActionForgetCreate, ActionInvoke, ActionNoOp, ActionRead} {
		if got := everything.Beyond(&Plan{Changes: []Change{change("aws_route.nat", a)}}, objects, nil); !strings.Contains(got, "never done without asking") {
			t.Errorf("%s: %q", a, got)
		}
	}
}

func driftItem(id int64, address string) DriftItem {
	kind, _, _ := strings.Cut(address, ".")
	d := Difference{Address: address, Type: kind, Kind: DriftChanged, Attributes: []Attribute{{Path: "gateway", Before: `"a"`, After: `"b"`}}}
	stack := StackRef{"infra", "production", "live/net"}
	return DriftItem{ID: id, Stack: stack, Fingerprint: d.Fingerprint(stack), Difference: d, Opened: t0, LastSeen: t0, Seen: 1, LastRun: 40}
}

func TestRemedyFor(t *testing.T) {
	env := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval, Drift: DriftPolicy{Remediate: RemediateApply, ApplyOnly: limits}}
	nat, rule, other := driftItem(1, "aws_route.nat"), driftItem(2, "aws_security_group_rule.in"), driftItem(3, "aws_route.two")
	item := func(f func(it *DriftItem)) []DriftItem { it := nat; f(&it); return []DriftItem{it} }
	mending := func(s State, items ...DriftItem) Run {
		return Run{ID: 50, Kind: KindDeploy, State: s, Mending: &Mending{Prints: prints(items)}}
	}
	tries := func(n int) []DriftItem { return item(func(it *DriftItem) { it.Remedy = &Remedy{Tries: n} }) }
	for _, tt := range []struct {
		name string
		env  func(e *Environment)
		a    Ailing
		want string
	}{
		{"report", func(e *Environment) { e.Drift.Remediate = RemediateReport }, Ailing{Items: []DriftItem{nat}}, "report []"},
		{"nothing said", func(e *Environment) { e.Drift.Remediate = "" }, Ailing{Items: []DriftItem{nat}}, "report []"},
		{"propose", func(e *Environment) { e.Drift.Remediate = RemediatePropose }, Ailing{Items: []DriftItem{nat}}, "propose [1]"},
		{"apply", nil, Ailing{Items: []DriftItem{nat}}, "apply [1]"},
		{"as many as there may be", nil, Ailing{Items: []DriftItem{nat, rule}}, "apply [1 2]"},
		{"one more", nil, Ailing{Items: []DriftItem{nat, rule, other}}, "propose [1 2 3]: 3 resources differ, and max_changes is 2"},
		{"the last of the day", nil, Ailing{Items: []DriftItem{nat}, Applied: 2}, "apply [1]"},
		{"the day is spent", nil, Ailing{Items: []DriftItem{nat}, Applied: 3}, "propose [1]: production was put right without asking 3 times within 24 hours, and per_day is 3"},
		{"another type", nil, Ailing{Items: []DriftItem{driftItem(4, "aws_vpc.main")}}, "propose [4]: aws_vpc is not among the types of apply_only"},
		{"acknowledged", nil, Ailing{Items: item(func(it *DriftItem) { it.Acknowledged = &Acknowledgement{By: "ann"} })}, "report []"},
		{"ignored", nil, Ailing{Items: item(func(it *DriftItem) { it.Ignored = &Ignored{} })}, "report []"},
		{"ignored until now", nil, Ailing{Items: item(func(it *DriftItem) { it.Ignored = &Ignored{Until: t0} })}, "apply [1]"},
		{"noise", nil, Ailing{Items: item(func(it *DriftItem) { it.Noise = "so" })}, "report []"},
		{"the configuration's own", nil, Ailing{Items: item(func(it *DriftItem) { it.Difference.Kind = DriftSelf })}, "report []"},
		{"comes and goes", nil, Ailing{Items: item(func(it *DriftItem) { it.Flapping = true })}, "report []"},
		{"deleted", nil, Ailing{Items: item(func(it *DriftItem) { it.Difference.Kind = DriftDeleted })},
			"propose [1]: aws_route.nat would be created, and create is not among the actions of apply_only"},
		{"deleted, and may be created", func(e *Environment) { e.Drift.ApplyOnly.Actions = []Action{ActionCreate} },
			Ailing{Items: item(func(it *DriftItem) { it.Difference.Kind = DriftDeleted })}, "apply [1]"},
		{"appeared", nil, Ailing{Items: item(func(it *DriftItem) { it.Difference.Kind = DriftAppeared })},
			"propose [1]: aws_route.nat is in the state, not in Git, which people must look at"},
		{"forgotten", nil, Ailing{Items: item(func(it *DriftItem) { it.Difference.Kind = DriftForgotten })},
			"propose [1]: aws_route.nat is taken out of the state, which people must look at"},
		{"would be replaced", nil, Ailing{Items: item(func(it *DriftItem) { it.Difference.Action = ActionReplace })},
			"propose [1]: aws_route.nat would be destroyed, then created anew, which is never done without asking"},
		{"the third time", nil, Ailing{Items: tries(RemedyTries - 1)}, "apply [1]"},
		{"the breaker", nil, Ailing{Items: tries(RemedyTries)}, "propose [1]: the very same difference of aws_route.nat is there again after it was put right 3 times; " +
			"it is not put right without asking again until somebody acknowledges it, or it becomes another one"},
		{"the breaker, and it comes and goes by that", nil, Ailing{Items: []DriftItem{func() DriftItem { it := tries(RemedyTries)[0]; it.Flapping = true; return it }()}},
			"propose [1]: the very same difference of aws_route.nat is there again after it was put right 3 times; " +
				"it is not put right without asking again until somebody acknowledges it, or it becomes another one"},
		{"unapplied", nil, Ailing{Items: []DriftItem{nat}, Check: Run{Unapplied: true}}, "report [1]: Git asks for changes that were never applied; what deploys them settles both"},
		{"the last apply failed", nil, Ailing{Items: []DriftItem{nat}, Stack: StackStatus{Unsettled: true}}, "propose [1]: the last apply of the stack has not ended well"},
		{"removed", nil, Ailing{Items: []DriftItem{nat}, Stack: StackStatus{Removed: true}}, "report [1]: the stack is not in the branch any more"},
		{"nothing is applied there", func(e *Environment) { e.Apply, e.Drift.Remediate = ApplyNever, RemediatePropose }, Ailing{Items: []DriftItem{nat}},
			`propose [1] without a run: production has apply = "never", so that Plumbline puts nothing right there`},
		{"a deployment", nil, Ailing{Items: []DriftItem{nat}, Runs: []Run{{ID: 51, State: StateAwaiting}}}, "report [1]: a deployment of the stack is under way"},
		{"a deployment, and a remedy before it", nil, Ailing{Items: []DriftItem{nat}, Runs: []Run{{ID: 51, State: StateQueued}, mending(StateAwaiting, nat)}},
			"report [1]: a deployment of the stack is under way; drop 50"},
		{"the same is under way", nil, Ailing{Items: []DriftItem{nat}, Runs: []Run{mending(StateAwaiting, nat)}}, "report [1] stays"},
		{"another is under way", nil, Ailing{Items: []DriftItem{nat, rule}, Runs: []Run{mending(StateAwaiting, nat)}}, "apply [1 2]; drop 50"},
		{"another is being applied", nil, Ailing{Items: []DriftItem{nat, rule}, Runs: []Run{mending(StateApplying, nat)}}, "report [1 2] stays"},
		{"a person has said no", nil, Ailing{Items: []DriftItem{nat}, Rejected: Run{RejectedBy: "ann", Finished: t0, Mending: &Mending{Prints: prints([]DriftItem{nat})}}},
			"report [1]: ann has rejected what would put it right"},
		{"a person has said no to something else", nil, Ailing{Items: []DriftItem{nat}, Rejected: Run{Finished: t0, Mending: &Mending{Prints: prints([]DriftItem{rule})}}}, "apply [1]"},
		{"a person has said no, before it came back", nil, Ailing{Items: []DriftItem{nat}, Rejected: Run{Finished: t0.Add(-1), Mending: &Mending{Prints: prints([]DriftItem{nat})}}}, "apply [1]"},
		{"a person has said no to a deployment", nil, Ailing{Items: []DriftItem{nat}, Rejected: Run{Finished: t0}}, "apply [1]"},
		{"gone", nil, Ailing{Runs: []Run{mending(StateAwaiting, nat)}}, "report []; drop 50"},
		{"not to be put right any more", func(e *Environment) { e.Drift.Remediate = RemediateReport }, Ailing{Items: []DriftItem{nat}, Runs: []Run{mending(StateApproved, nat)}}, "report []; drop 50"},
	} {
		e := env
		if tt.env != nil {
			tt.env(&e)
		}
		c := RemedyFor(e, tt.a, t0)
		ids := []int64{}
		for _, it := range c.Items {
			ids = append(ids, it.ID)
		}
		got := fmt.Sprintf("%s %v", c.What, ids)
		if c.Stay {
			got += " stays"
		}
		if c.NoRun {
			got += " without a run"
		}
		if c.Why != "" {
			got += ": " + c.Why
		}
		for _, r := range c.Drop {
			got += "; drop " + r.ID.String()
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// mended is a run that puts drift right, as it is in a state.
func mended(s State, mode ApplyMode, alone bool) Run {
	r := inState(s, KindDeploy, mode)
	r.Approvals = nil
	r.Mending = &Mending{Items: []int64{1}, Objects: []Mendable{{Address: "aws_route.nat"}}, Alone: alone, Limits: limits}
	if r.Plan != nil && alone && s == StateApproved {
		r.Mending.Cleared = &Cleared{Digest: r.Plan.Digest, Config: r.Plan.Config, At: t0}
	}
	return r
}

func within(digest string) (Outcome, *PlanInfo) {
	return Outcome{Plan: &Plan{Digest: digest, Changes: []Change{change("aws_route.nat", ActionUpdate)}}}, &PlanInfo{Digest: digest, Changes: true}
}

// TestMending: what puts drift right is always asked about, even where changes that come by Git are not, unless it is within the limits.
func TestMending(t *testing.T) {
	for _, mode := range []ApplyMode{ApplyAutomatic, ApplyApproval} {
		for _, alone := range []bool{false, true} {
			r := mended(StatePlanning, mode, alone)
			o, i := within(digestA)
			must(t, r.Finish(r.Claim, o, i, t0))
			if want := map[bool]State{false: StateAwaiting, true: StateApproved}[alone]; r.State != want {
				t.Errorf("apply = %s, alone %t: within the limits it is %s, want %s", mode, alone, r.State, want)
			}
			r = mended(StatePlanning, mode, alone)
			o, i = within(digestA)
			o.Plan.Changes[0].Type = "aws_vpc"
			must(t, r.Finish(r.Claim, o, i, t0))
			if r.State != StateAwaiting || alone && r.Mending.Why == "" {
				t.Errorf("apply = %s, alone %t: beyond the limits it is %s (%q)", mode, alone, r.State, r.Mending.Why)
			}
			must(t, r.Approve(Person{Name: "ops"}, Access{}, digestA, t0))
			if r.State != StateApproved || r.Cleared() {
				t.Errorf("agreed to, it is %s, cleared %t", r.State, r.Cleared())
			}
		}
	}
	r := mended(StatePlanning, ApplyNever, true)
	o, i := within(digestA)
	must(t, r.Finish(r.Claim, o, i, t0))
	if r.State != StatePlanned {
		t.Errorf("where nothing is applied it is %s", r.State)
	}
}

func TestMendingOnlyThisPlan(t *testing.T) {
	// Terraform called it stale; the new plan does something else.
	r := mended(StateApproved, ApplyAutomatic, true)
	must(t, r.Start("w", t0, time.Minute))
	must(t, r.Finish(r.Claim, Outcome{Stale: true}, nil, t0))
	must(t, r.Start("w", t0, time.Minute))
	o, i := changes(digestB)
	must(t, r.Finish(r.Claim, o, i, t0))
	if r.State != StateAwaiting || r.Cleared() {
		t.Errorf("it is %s", r.State)
	}
	// The same changes made in another way are another plan.
	r = mended(StateApproved, ApplyAutomatic, true)
	r.Plan.Config = "another"
	if err := r.Start("w", t0, time.Minute); err == nil {
		t.Error("a plan of other settings was applied")
	}
	// Too old.
	r = mended(StateApproved, ApplyAutomatic, true)
	if err := r.Start("w", t0.Add(2*time.Hour), time.Minute); err == nil {
		t.Error("a plan that was good for an hour was applied after two")
	}
	// A person has it done again after it failed: nothing is applied twice by itself.
	r = mended(StateFailed, ApplyAutomatic, true)
	must(t, r.Retry("ann", t0))
	must(t, r.Start("w", t0, time.Minute))
	o, i = within(digestA)
	must(t, r.Finish(r.Claim, o, i, t0))
	if r.State != StateAwaiting {
		t.Errorf("retried, it is %s", r.State)
	}
	// Windows and freezes keep it back like anything else.
	r = mended(StateApproved, ApplyAutomatic, true)
	r.Policy.Calendar.Freezes = []Freeze{{From: t0.Add(-1), Until: t0.Add(time.Minute)}}
	var notYet *NotYet
	if err := r.Start("w", t0, time.Minute); !errors.As(err, &notYet) {
		t.Errorf("in a freeze: %v", err)
	}
	must(t, r.Start("w", t0.Add(time.Minute), time.Minute))
	if got := Audit(mended(StateApproved, ApplyAutomatic, true), r); len(got) != 1 ||
		got[0].Detail != "approved without asking by remediate = apply of production (limits: update of aws_route, aws_security*, at most 2 changes, 3 a day)" {
		t.Errorf("the audit log says %+v", got)
	}
	// The day is spent when its turn comes.
	r = mended(StateApproved, ApplyApproval, true)
	before := r
	must(t, r.Withhold("spent", t0))
	if r.State != StateAwaiting || r.Cleared() || r.Mending.Why != "spent" || !before.Cleared() {
		t.Errorf("withheld: %s %+v; before: cleared %t", r.State, r.Mending, before.Cleared())
	}
	if got := Audit(before, r); len(got) != 1 || got[0].Detail != "not applied without asking: spent" {
		t.Errorf("the audit log says %+v", got)
	}
	if err := r.Withhold("again", t0); !errors.Is(err, ErrConflict) {
		t.Errorf("withheld twice: %v", err)
	}
	// An exclusion of authors is about what somebody wrote.
	r = mended(StateAwaiting, ApplyApproval, false)
	r.Policy.Approval.Not = []Exclusion{NotAuthor, NotLastPusher}
	must(t, r.Approve(Person{Name: "ops"}, Access{}, digestA, t0))
}

func TestMendingUnderOtherRules(t *testing.T) {
	env := Environment{Repository: "infra", Name: "production", Apply: ApplyAutomatic, Approval: ApprovalRule{Count: 1, Expires: time.Hour}, Drift: DriftPolicy{Remediate: RemediateApply, ApplyOnly: limits}}
	narrow := limits
	narrow.MaxChanges = 1
	for _, tt := range []struct {
		name  string
		state State
		drift DriftPolicy
		want  State
		alone bool
	}{
		{"the same", StateApproved, env.Drift, StateApproved, true},
		{"no more", StateApproved, DriftPolicy{Remediate: RemediatePropose}, StateAwaiting, false},
		{"other limits", StateApproved, DriftPolicy{Remediate: RemediateApply, ApplyOnly: narrow}, StateAwaiting, false},
		{"other limits before there is a plan", StateQueued, DriftPolicy{Remediate: RemediateApply, ApplyOnly: narrow}, StateQueued, true},
		{"no more before there is a plan", StatePlanning, DriftPolicy{}, StatePlanning, false},
	} {
		r := mended(tt.state, ApplyAutomatic, true)
		before := *r.Mending
		e := env
		e.Drift = tt.drift
		changed := r.Adapt(e, Access{}, t0)
		if r.State != tt.want || r.Mending.Alone != tt.alone || changed != (tt.name != "the same") {
			t.Errorf("%s: %s, alone %t, changed %t", tt.name, r.State, r.Mending.Alone, changed)
		}
		if tt.alone && !r.Mending.Limits.equal(tt.drift.ApplyOnly) {
			t.Errorf("%s: limits %s", tt.name, r.Mending.Limits)
		}
		if (before.Cleared != nil) != (tt.state == StateApproved) {
			t.Errorf("%s: what it was copied from has changed", tt.name)
		}
	}
}

// TestNothingMendedUnasked tries all sequences of events up to a length: a run that puts drift right is applying only with a plan that lies within the
// limits, or that somebody has agreed to.
func TestNothingMendedUnasked(t *testing.T) {
	type node struct {
		r     Run
		trail []string
	}
	all := append(slices.Clone(events), []struct {
		name string
		do   func(r *Run) error
	}{
		{"plan: within the limits", func(r *Run) error { o, i := within(digestA); return r.Finish(r.Claim, o, i, t0) }},
		{"plan: within the limits, as B", func(r *Run) error { o, i := within(digestB); return r.Finish(r.Claim, o, i, t0) }},
		{"withheld", func(r *Run) error { return r.Withhold("spent", t0) }},
	}...)
	inLimits := map[string]bool{}
	steps, alone := 0, 0
	for _, mode := range []ApplyMode{ApplyAutomatic, ApplyApproval} {
		seen, frontier := map[string]bool{}, []node{{r: mended(StateQueued, mode, true)}}
		for depth := 0; depth < 8; depth++ {
			var next []node
			for _, n := range frontier {
				for _, e := range all {
					r := n.r
					r.Approvals = slices.Clone(n.r.Approvals)
					if e.do(&r) != nil {
						continue
					}
					steps++
					trail := append(slices.Clone(n.trail), e.name)
					if r.State == StateApplying || r.State == StateApplied {
						last := "" // the event that made the plan at hand
						for _, name := range trail {
							if strings.HasPrefix(name, "plan:") {
								last = name
							}
						}
						inLimits[last] = true
						agreed := slices.ContainsFunc(r.Approvals, func(a Approval) bool { return a.Digest == r.Plan.Digest })
						if !agreed && !strings.HasPrefix(last, "plan: within") {
							t.Fatalf("applying beyond the limits after %v", trail)
						}
						if !agreed && slices.Contains(trail, "retry") || !agreed && trail[len(trail)-1] == "claim" && slices.Contains(trail[max(0, len(trail)-3):], "withheld") {
							t.Fatalf("applying although somebody was to be asked, after %v", trail)
						}
						if !agreed {
							alone++
						}
					}
					plan := ""
					if r.Plan != nil {
						plan = r.Plan.Digest
					}
					key := fmt.Sprint(r.State, plan, r.Approvals, r.Wish, r.Cleared(), r.Mending.Alone)
					if !seen[key] {
						seen[key] = true
						next = append(next, node{r, trail})
					}
				}
			}
			frontier = next
		}
	}
	if steps < 150 || alone == 0 || !inLimits["plan: changes"] {
		t.Errorf("%d steps were walked, %d applied alone, plans %v", steps, alone, inLimits)
	}
}

// TestBreaker: a difference that comes back after it was put right counts on, until it is another one or a person has taken note of it.
func TestBreaker(t *testing.T) {
	stack := StackRef{"infra", "production", "live/net"}
	nat := driftItem(0, "aws_route.nat").Difference
	at := t0
	look := func(items []DriftItem, found ...Difference) DriftItem {
		t.Helper()
		at = at.Add(48 * time.Hour)
		write, _ := ReconcileDrift(items, DriftLook{Stack: stack, Run: 9, At: at, Found: found, Applied: at.Add(-time.Hour)})
		if len(write) != 1 {
			t.Fatalf("%d writes", len(write))
		}
		return write[0].Item
	}
	mend := func(it DriftItem) DriftItem {
		w, _ := it.Mend(Remedy{What: RemediateApply, Run: 50, At: at, Begun: true, Tries: it.tries() + 1})
		return look([]DriftItem{w.Item}) // resolved
	}
	it := look(nil, nat)
	for n := range RemedyTries {
		if it.tries() != n {
			t.Fatalf("after %d times it counts %d", n, it.tries())
		}
		it = look([]DriftItem{mend(it)}, nat)
	}
	if it.tries() != RemedyTries || it.Returned != RemedyTries {
		t.Errorf("it counts %d, and came back %d times", it.tries(), it.Returned)
	}
	w, err := it.Acknowledge(Person{Name: "ann"}, "", at)
	must(t, err)
	if w.Item.tries() != 0 || it.tries() != RemedyTries {
		t.Errorf("acknowledged, it counts %d, the one before %d", w.Item.tries(), it.tries())
	}
	another := nat
	another.Attributes = []Attribute{{Path: "gateway", Before: `"a"`, After: `"c"`}}
	if got := look([]DriftItem{it}, another); got.tries() != 0 {
		t.Errorf("another difference counts %d", got.tries())
	}
	if got := look([]DriftItem{mend(it)}, another); got.tries() != 0 {
		t.Errorf("another one that comes counts %d", got.tries())
	}
}

func TestMend(t *testing.T) {
	it := driftItem(1, "aws_route.nat")
	var got []string
	for _, r := range []Remedy{
		{What: RemediateReport, Why: "a deployment of the stack is under way"},
		{What: RemediateReport, Why: "a deployment of the stack is under way"},
		{What: RemediateApply, Run: 50},
		{What: RemediateApply, Run: 50, Begun: true, Tries: 1},
		{What: RemediatePropose, Run: 51, Why: "per_day is 3"},
		{What: RemediatePropose, MR: "7"},
	} {
		r.At = t0
		w, changed := it.Mend(r)
		if !changed {
			got = append(got, "nothing new")
		}
		for _, e := range w.Events {
			got = append(got, e.Text)
		}
		it = w.Item
	}
	want := []string{
		"nothing is done about it: a deployment of the stack is under way", "nothing new", "run 50 is to put it right without asking",
		"run 50 puts it right without asking, for the first time", "run 51 would put it right and waits for a yes: per_day is 3",
		"merge request !7 would have Git say what is the case",
	}
	if !slices.Equal(got, want) || it.Remedy.Tries != 1 {
		t.Errorf("%q, %+v", got, it.Remedy)
	}
}

func TestMendingRun(t *testing.T) {
	env := Environment{Repository: "infra", Name: "production", Apply: ApplyAutomatic, Drift: DriftPolicy{Remediate: RemediateApply, ApplyOnly: limits}}
	items := []DriftItem{driftItem(3, "aws_route.c"), driftItem(1, "aws_route.a"), driftItem(2, "aws_route.b"), driftItem(4, "aws_route.d")}
	items[0].Hidden = []string{"tags"}
	a := Ailing{Stack: StackStatus{Stack: items[0].Stack, Spec: StackSpec{Name: "live/net"}, Commit: "c0"}, Check: Run{ID: 40, Commit: "c1"}}
	r := MendingRun(env, a, Cure{What: RemediateApply, Items: items}, t0)
	if r.Because != "drift that run 40 found: aws_route.c, aws_route.a, aws_route.b, 1 more" || r.Commit != "c1" || r.Subject != "remedy production/live/net" || !r.Mending.Alone ||
		!slices.Equal(r.Mending.Items, []int64{3, 1, 2, 4}) || !slices.Equal(r.Mending.Objects[0].Hidden, []string{"tags"}) {
		t.Errorf("%+v, %+v", r, r.Mending)
	}
	if _, ok := r.Recheck(t0); ok {
		t.Error("it is looked at before it was applied")
	}
	r.ID, r.State = 50, StateApplied
	check, ok := r.Recheck(t0)
	if !ok || check.Kind != KindDrift || check.Commit != "c1" || check.Because != "run 50 was to put it right" || !check.NotBefore.IsZero() {
		t.Errorf("%+v", check)
	}
	r.Mending = nil
	if _, ok := r.Recheck(t0); ok {
		t.Error("every deployment is looked at")
	}
	// A remedy that waits, or was refused, does not say what an environment is.
	runs := []Run{{ID: 9, Stack: r.Stack, State: StateAwaiting, Mending: &Mending{}}, {ID: 8, Stack: r.Stack, State: StateRejected, Mending: &Mending{}}, {ID: 7, Stack: r.Stack, State: StateApplied}}
	if got := NewestPerStack(runs); len(got) != 1 || got[0].ID != 7 {
		t.Errorf("%+v", got)
	}
	runs[0].State, runs[0].Failure = StateFailed, &Failure{Kind: FailApply}
	if got := NewestPerStack(runs); len(got) != 1 || got[0].ID != 9 {
		t.Errorf("%+v", got)
	}
}
