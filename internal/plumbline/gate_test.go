package plumbline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRulesInForce plays random journeys of one run, in which everything may happen at any time: plans and plans again, a yes by anybody through any
// door, rules and roles that change, authors that become known late, time that passes. Whenever the run is applied, a record that was kept
// beside it must say that what is applied was agreed to, by the rules of that moment.
func TestRulesInForce(t *testing.T) {
	applied, glass, refused, alone := 0, 0, 0, 0
	for seed := range uint64(6000) {
		j := newJourney(seed)
		for range 60 {
			j.step()
			if j.r.State != StateApplying {
				continue
			}
			if why := j.forbidden(); why != "" {
				t.Fatalf("journey %d: applied although %s\n%s", seed, why, strings.Join(j.trail, "\n"))
			}
			applied++
			switch {
			case j.r.Glass != nil:
				glass++
			case j.r.Cleared():
				alone++
			}
			j.finish()
		}
		refused += j.refused
	}
	if applied < 2000 || glass < 50 || refused < 10000 || alone < 200 {
		t.Errorf("the journeys say little: %d applied, %d with a broken glass, %d without asking, %d refused", applied, glass, alone, refused)
	}
}

// journey is a run, with a record of what people did and what the rules are. The record is kept apart from the run: it is the test's own.
type journey struct {
	rnd     *rand.Rand
	now     time.Time
	r       Run
	env     Environment
	access  Access
	yeses   []yes
	broken  *yes
	authors map[string]bool
	pushers map[string]bool
	denied  bool
	dba     bool // a policy wants a yes of group dba
	alone   bool // drift may be put right without asking
	within  bool // the limits, of the plan at hand
	refused int
	trail   []string
}

type yes struct {
	person, plan string
	at           time.Time
	expires      time.Duration // by the rule when it was given
	groups       []string
}

var people = []string{"ann", "bob", "cyd", "dan", "eve"}

func newJourney(seed uint64) *journey {
	j := &journey{rnd: rand.New(rand.NewPCG(seed, 7)), now: t0, authors: map[string]bool{}, pushers: map[string]bool{}}
	j.r = Run{ID: 7, Kind: KindDeploy, State: StateQueued, Stack: StackRef{"infra", "production", "net"}, Subject: "deploy production", Commit: "c"}
	j.rules()
	j.r.Policy = j.env.policy()
	switch j.rnd.IntN(8) {
	case 0:
		j.r.Kind = KindDestroy
	case 1, 2, 3:
		j.alone = j.env.Drift.Remediate == RemediateApply
		j.r.Mending = &Mending{Objects: []Mendable{{Address: "aws_route.nat"}}, Alone: j.alone, Limits: j.env.Drift.ApplyOnly}
	}
	return j
}

// groups are what the sign-in system says of somebody. They do not change here.
func groups(person string) []string {
	return map[string][]string{"ann": {"sre"}, "bob": {"sre", "dba"}, "cyd": {"dba"}, "dan": nil, "eve": {"sre"}}[person]
}

// rules makes up an environment and roles.
func (j *journey) rules() {
	pick := func(list ...string) []string { return list[:j.rnd.IntN(len(list)+1)] }
	j.env = Environment{Repository: "infra", Name: "production", Branch: "main", Apply: ApplyApproval}
	if j.rnd.IntN(5) == 0 {
		j.env.Apply = ApplyAutomatic
	}
	if j.rnd.IntN(12) == 0 {
		j.env.Apply = ApplyNever
	}
	j.env.Drift = DriftPolicy{Remediate: RemediatePropose}
	if j.rnd.IntN(4) > 0 {
		j.env.Drift = DriftPolicy{Remediate: RemediateApply, ApplyOnly: ApplyOnly{Actions: []Action{ActionUpdate}, Types: []string{"aws_route"}, MaxChanges: 1 + j.rnd.IntN(2), PerDay: 3}}
	}
	a := &j.env.Approval
	a.Count = 1 + j.rnd.IntN(2)
	a.Carry = j.rnd.IntN(2) == 0
	a.From = pick("group:sre", "user:dan")
	if j.rnd.IntN(3) == 0 {
		a.Expires = time.Duration(1+j.rnd.IntN(3)) * time.Hour
	}
	for _, x := range []Exclusion{NotAuthor, NotLastPusher, NotEarlierApprover} {
		if j.rnd.IntN(4) == 0 {
			a.Not = append(a.Not, x)
		}
	}
	if j.rnd.IntN(4) == 0 {
		from := j.now.Add(time.Duration(j.rnd.IntN(4)-2) * time.Hour)
		j.env.Calendar.Freezes = []Freeze{{Name: "x", From: from, Until: from.Add(2 * time.Hour), Reason: "r"}}
	}
	j.access = Access{Roles: []Role{{Name: RoleApprover, Groups: []string{"sre", "dba"}, Users: []string{"dan"}}, {Name: RoleAdmin, Users: []string{"root"}}}, People: []Known{{Name: "ann", Also: []string{"corp/ann"}}}}
	if j.rnd.IntN(3) == 0 {
		j.access.Roles[0].Groups = []string{"sre"}
	}
	if j.rnd.IntN(4) == 0 {
		j.access.Roles[0].Users = nil
	}
}

func (j *journey) plan() string { return j.r.Plan.Digest + " " + j.r.Plan.Config }

func (j *journey) try(what string, err error) bool {
	j.trail = append(j.trail, fmt.Sprintf("%s %-40s %v → %s", j.now.Format("15:04"), what, err, j.r.State))
	if err != nil {
		j.refused++
	}
	return err == nil
}

// step lets one thing happen.
func (j *journey) step() {
	digests := []string{digestA, digestB}
	who := people[j.rnd.IntN(len(people))]
	switch j.rnd.IntN(14) {
	case 0, 1, 2:
		if j.r.State == StateQueued || j.r.State == StateApproved {
			j.try("claim", j.r.Start("w", j.now, time.Hour))
		}
	case 3, 4:
		if j.r.State != StatePlanning {
			return
		}
		o, i := changes(digests[j.rnd.IntN(2)])
		i.Config = []string{"c1", "c1", "c1", "c2"}[j.rnd.IntN(4)]
		j.denied, j.dba = j.rnd.IntN(10) == 0, j.rnd.IntN(5) == 0
		if j.denied {
			o.Findings = append(o.Findings, PolicyFinding{Policy: "p", Level: PolicyDeny, Message: "no"})
		}
		if j.dba {
			o.Findings = append(o.Findings, PolicyFinding{Policy: "p", Level: PolicyApprove, Message: "ask", From: []string{"group:dba"}})
		}
		o.Plan.Changes, j.within = j.changes()
		j.adapt() // as whoever finishes a plan does
		j.try(fmt.Sprintf("planned %s %s denied=%t dba=%t", i.Digest[:3], i.Config, j.denied, j.dba), j.r.Finish(j.r.Claim, o, i, j.now))
	case 5, 6, 7:
		name := who
		if who == "ann" && j.rnd.IntN(2) == 0 {
			name = "corp/ann"
		}
		p := j.access.Person(name, groups(who), DoorWeb)
		if j.access.Allow(p, MayApprove, "infra/production") != nil {
			return // the door does not open
		}
		if j.try(who+" approves", j.r.Approve(p, j.access, digests[j.rnd.IntN(2)], j.now)) {
			j.yeses = append(j.yeses, yes{who, j.plan(), j.now, j.r.Policy.Approval.Expires, groups(who)})
		}
	case 8:
		if j.rnd.IntN(6) == 0 && j.try("root breaks the glass", j.r.BreakGlass(Person{Name: "root"}, digests[j.rnd.IntN(2)], "fire", j.now)) {
			j.broken = &yes{person: "root", plan: j.plan(), at: j.now}
		}
	case 9:
		if j.rnd.IntN(3) == 0 {
			was := j.env.Drift.ApplyOnly.MaxChanges
			j.rules()
			if was != j.env.Drift.ApplyOnly.MaxChanges && (j.r.State == StateAwaiting || j.r.State == StateApproved) {
				j.alone = false // the plan at hand was held against other limits
			}
			j.adapt()
			j.try(fmt.Sprintf("rules: %s %+v %v %s", j.env.Apply, j.env.Approval, j.access.Roles, j.env.Drift.Remediate), nil)
		}
	case 10:
		if j.rnd.IntN(3) == 0 {
			switch {
			case j.r.State.Ended():
			case j.rnd.IntN(2) == 0:
				j.authors[who] = true
				j.r.Concern([]string{who}, nil, j.now)
				j.try(who+" turns out to have written it", nil)
			default:
				j.pushers[who] = true
				j.r.Concern(nil, []string{who}, j.now)
				j.try(who+" turns out to have pushed it", nil)
			}
		}
	case 11:
		j.now = j.now.Add(time.Duration(j.rnd.IntN(90)) * time.Minute)
		j.try("time passes; expire", j.r.Expire(j.now))
	case 12:
		if j.r.State.Ended() && j.try("retry", j.r.Retry("ops", j.now)) {
			j.yeses, j.broken, j.alone = nil, nil, false
		}
	case 13: // what was agreed to on the merge request, for one plan or the other
		from := Run{ID: 3, Kind: KindProposal, State: StatePlanned, MR: "42", Stack: j.r.Stack}
		if j.rnd.IntN(4) == 0 {
			from.Stack.Name = "other"
		}
		d := digests[j.rnd.IntN(2)]
		p := j.access.Person(who, groups(who), DoorComment)
		if j.access.Allow(p, MayApprove, "infra/production") != nil || j.rnd.IntN(2) == 0 {
			return
		}
		a := Approval{By: p.Name, Also: p.Also, Groups: p.Groups, Roles: j.access.RolesOf(p, "infra/production"), Digest: d, Config: "c1", At: j.now}
		life := j.env.Approval.Expires
		if life > 0 {
			a.Expires = j.now.Add(life)
		}
		from.Approvals = []Approval{a}
		if j.r.Carry(from, j.now) {
			j.yeses = append(j.yeses, yes{who, d + " c1", j.now, life, groups(who)})
			j.try(who+"'s yes to "+d[:3]+" on the merge request comes along", nil)
			if from.Stack != j.r.Stack {
				j.yeses = j.yeses[:len(j.yeses)-1] // it was another stack's: if the run takes it, that is found
			}
		}
	}
}

// adapt puts the run under the rules in force.
func (j *journey) adapt() {
	if !j.r.State.Ended() && j.r.State != StateApplying && j.env.Drift.Remediate != RemediateApply {
		j.alone = false
	}
	j.r.Adapt(j.env, j.access, j.now)
}

// changes makes up those of a plan, and tells whether they are within the limits in force.
func (j *journey) changes() (list []Change, within bool) {
	pick := func(usual string, others ...string) string {
		if j.rnd.IntN(6) > 0 {
			return usual
		}
		within = false
		return others[j.rnd.IntN(len(others))]
	}
	within = true
	for range 1 + j.rnd.IntN(3)*j.rnd.IntN(2) {
		list = append(list, Change{
			Address: pick("aws_route.nat", "aws_route.other", "module.m.aws_route.nat"), Type: pick("aws_route", "aws_vpc"),
			Action: Action(pick("update", "create", "delete", "create-delete", "forget", "replace")),
		})
	}
	return list, within && len(list) <= j.env.Drift.ApplyOnly.MaxChanges
}

// forbidden says why the plan that is being applied must not be; "" if it may.
func (j *journey) forbidden() string {
	e := j.env
	switch {
	case e.Apply == ApplyNever:
		return "nothing is ever applied here"
	case j.denied:
		return "a policy forbids it"
	case j.broken != nil && j.broken.plan == j.plan():
		return ""
	}
	for _, f := range e.Calendar.Freezes {
		if !j.now.Before(f.From) && j.now.Before(f.Until) {
			return "it is frozen"
		}
	}
	if j.alone && j.within && !j.dba && j.env.Drift.Remediate == RemediateApply {
		return ""
	}
	may := func(who string) bool {
		role := j.access.Roles[0]
		return slices.Contains(role.Users, who) || slices.ContainsFunc(groups(who), func(g string) bool { return slices.Contains(role.Groups, g) })
	}
	good, dba := map[string]bool{}, false
	for _, y := range j.yeses {
		earlier := slices.ContainsFunc(j.yeses, func(o yes) bool { return o.person == y.person && o.plan != j.plan() })
		not := func(x Exclusion) bool {
			return slices.Contains(e.Approval.Not, x) && (j.r.Mending == nil || x == NotEarlierApprover) // nobody wrote what puts drift right
		}
		switch {
		case y.plan != j.plan(), y.expires > 0 && !j.now.Before(y.at.Add(y.expires)), !may(y.person),
			not(NotAuthor) && (len(j.authors) == 0 || j.authors[y.person]), not(NotLastPusher) && j.pushers[y.person], not(NotEarlierApprover) && earlier && j.kept(y.person):
			continue
		}
		if slices.Contains(y.groups, "dba") {
			dba = true
		}
		if len(e.Approval.From) == 0 || slices.Contains(y.groups, "sre") || y.person == "dan" && slices.Contains(e.Approval.From, "user:dan") {
			good[y.person] = true
		}
	}
	if j.dba && !dba {
		return "the policy's group has not agreed"
	}
	if e.Apply == ApplyAutomatic && j.r.Kind == KindDeploy && j.r.Mending == nil {
		return ""
	}
	if len(good) < e.Approval.Count {
		return fmt.Sprintf("only %v have agreed to %s", good, j.plan()[:3])
	}
	return ""
}

// kept reports whether the run still has a yes of somebody to another plan: one that was taken away with a role is forgotten.
func (j *journey) kept(who string) bool {
	return slices.ContainsFunc(j.r.Approvals, func(a Approval) bool { return a.By == who && a.Digest+" "+a.Config != j.plan() })
}

// finish ends the apply, in one way or another, and begins anew.
func (j *journey) finish() {
	switch j.rnd.IntN(3) {
	case 0:
		j.try("stale", j.r.Finish(j.r.Claim, Outcome{Stale: true}, nil, j.now))
	case 1:
		j.try("failed", j.r.Finish(j.r.Claim, Outcome{Failure: &Failure{Text: "boom"}}, nil, j.now))
	default:
		j.try("applied", j.r.Finish(j.r.Claim, Outcome{Applied: true}, nil, j.now))
		j.r.State = StateQueued // a new journey of the same run, for the test's sake
		j.r.Approvals, j.r.Glass, j.yeses, j.broken = nil, nil, nil, nil
	}
}

// TestDemands walks who may agree to what.
func TestDemands(t *testing.T) {
	access := Access{
		Roles:  []Role{{Name: RoleApprover, Groups: []string{"*"}}, {Name: RoleAdmin, Users: []string{"root@example.com"}}},
		People: []Known{{Name: "ann@example.com", Also: []string{"corp/ann", "ann@git.example.com"}, Groups: []string{"sre"}}},
	}
	person := func(name string, groups ...string) Person { return access.Person(name, groups, DoorWeb) }
	for _, c := range []struct {
		name     string
		rule     ApprovalRule
		findings []PolicyFinding
		authors  []string
		pushers  []string
		by       []Person
		want     State
		err      string // of the last
	}{
		{"anybody", ApprovalRule{Count: 1}, nil, nil, nil, []Person{person("bob")}, StateApproved, ""},
		{"one of a group", ApprovalRule{Count: 1, From: []string{"group:sre"}}, nil, nil, nil, []Person{person("corp/ann")}, StateApproved, ""},
		{"nobody of the group", ApprovalRule{Count: 1, From: []string{"group:sre"}}, nil, nil, nil, []Person{person("bob", "dev")}, StateAwaiting, "bob is none of them"},
		{"a role", ApprovalRule{Count: 1, From: []string{"role:admin"}}, nil, nil, nil, []Person{person("root@example.com")}, StateApproved, ""},
		{"not the role", ApprovalRule{Count: 1, From: []string{"role:admin"}}, nil, nil, nil, []Person{person("bob")}, StateAwaiting, "needs an approval by role:admin"},
		{"a user under another name", ApprovalRule{Count: 1, From: []string{"user:CORP/ann"}}, nil, nil, nil, []Person{person("ann@example.com")}, StateApproved, ""},
		{"two doors are one person", ApprovalRule{Count: 2}, nil, nil, nil, []Person{person("corp/ann"), person("ann@example.com")}, StateAwaiting, ""},
		{"two people", ApprovalRule{Count: 2}, nil, nil, nil, []Person{person("corp/ann"), person("bob")}, StateApproved, ""},
		{"the author, by an address in Git", ApprovalRule{Count: 1, Not: []Exclusion{NotAuthor}}, nil, []string{"ann@git.example.com"}, nil, []Person{person("ann@example.com")}, StateAwaiting, "its author"},
		{"nobody knows the author", ApprovalRule{Count: 1, Not: []Exclusion{NotAuthor}}, nil, nil, nil, []Person{person("bob")}, StateAwaiting, "not known who wrote"},
		{"not the author", ApprovalRule{Count: 1, Not: []Exclusion{NotAuthor}}, nil, []string{"corp/ann"}, nil, []Person{person("bob")}, StateApproved, ""},
		{"the last pusher", ApprovalRule{Count: 1, Not: []Exclusion{NotLastPusher}}, nil, nil, []string{"corp/ann"}, []Person{person("ann@example.com")}, StateAwaiting, "last pusher"},
		{"a policy's group besides", ApprovalRule{Count: 1}, []PolicyFinding{{Policy: "p", Level: PolicyApprove, Message: "a database goes", From: []string{"group:dba"}}}, nil, nil, []Person{person("bob")}, StateAwaiting, ""},
		{"both", ApprovalRule{Count: 1}, []PolicyFinding{{Policy: "p", Level: PolicyApprove, Message: "a database goes", From: []string{"group:dba"}}}, nil, nil, []Person{person("bob"), person("cyd", "dba")}, StateApproved, ""},
		{"one for both", ApprovalRule{Count: 1}, []PolicyFinding{{Policy: "p", Level: PolicyApprove, Message: "a database goes", From: []string{"group:dba"}}}, nil, nil, []Person{person("cyd", "dba")}, StateApproved, ""},
	} {
		r := inState(StatePlanning, KindDeploy, ApplyApproval)
		r.Policy.Approval, r.Authors, r.Pushers, r.Approvals = c.rule, c.authors, c.pushers, nil
		o, i := changes(digestA)
		o.Findings = c.findings
		must(t, r.Finish(r.Claim, o, i, t0))
		var err error
		for _, p := range c.by {
			err = r.Approve(p, access, digestA, t0)
		}
		if r.State != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %s, %v; want %s, %q", c.name, r.State, err, c.want, c.err)
		}
		if err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: an error of another kind: %v", c.name, err)
		}
	}
}

// TestFreezeDuringApply: what is being applied when a freeze begins is finished, what comes next waits for its end.
func TestFreezeDuringApply(t *testing.T) {
	calendar := Calendar{Freezes: []Freeze{{Name: "launch", From: t0.Add(time.Minute), Until: t0.Add(time.Hour), Reason: "launch"}}}
	first, next := inState(StateApproved, KindDeploy, ApplyAutomatic), inState(StateApproved, KindDeploy, ApplyAutomatic)
	first.Policy.Calendar, next.Policy.Calendar = calendar, calendar
	first.Policy.Approval.Expires, next.Policy.Approval.Expires = 0, 0
	must(t, first.Start("w", t0, time.Hour))
	var notYet *NotYet
	if err := next.Start("w", t0.Add(2*time.Minute), time.Hour); !errors.As(err, &notYet) || !notYet.Until.Equal(t0.Add(time.Hour)) || next.State != StateApproved {
		t.Fatalf("in the freeze: %v, %s", err, next.State)
	}
	must(t, first.Finish(first.Claim, Outcome{Applied: true}, nil, t0.Add(3*time.Minute)))
	if first.State != StateApplied {
		t.Errorf("the apply that the freeze met is %s", first.State)
	}
	must(t, next.Start("w", t0.Add(time.Hour), time.Hour))
}

// TestApprovalExpiresInTheQueue: a yes that runs out while the run waits for its window is none when the window opens.
func TestApprovalExpiresInTheQueue(t *testing.T) {
	r := inState(StateAwaiting, KindDeploy, ApplyApproval)
	r.Approvals = nil
	r.Policy.Approval.Expires = 2 * time.Hour
	r.Policy.Calendar = Calendar{Freezes: []Freeze{{Name: "f", From: t0, Until: t0.Add(3 * time.Hour), Reason: "r"}}}
	must(t, r.Approve(Person{Name: "ops"}, Access{}, digestA, t0.Add(time.Minute)))
	var notYet *NotYet
	if err := r.Start("w", t0.Add(time.Hour), time.Hour); !errors.As(err, &notYet) {
		t.Errorf("frozen: %v", err)
	}
	if err := r.Start("w", t0.Add(3*time.Hour), time.Hour); err == nil || errors.As(err, &notYet) {
		t.Errorf("after the freeze, with a yes that is over: %v", err)
	}
	must(t, r.Expire(t0.Add(3*time.Hour)))
	if r.State != StateExpired {
		t.Errorf("%s", r.State)
	}
}
