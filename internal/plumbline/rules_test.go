package plumbline

import (
	"testing"
	"time"
)

func waiting(rule ApprovalRule) Run {
	r := Run{ID: 7, Kind: KindDeploy, State: StateAwaiting, Stack: StackRef{"infra", "production", "net"}, Subject: "deploy production", Commit: "c2", Planned: t0,
		Plan: &PlanInfo{Digest: "0123456789abcdef", Config: "C2", Changes: true}}
	r.Policy = Policy{Apply: ApplyApproval, Approval: rule}
	return r
}

// A comment with the digest of a plan that was read agrees to a plan with another Config that nobody was shown.
func TestRulesAgreeDigestOtherConfig(t *testing.T) {
	// The reader saw run 6 (commit c1, digest D, Config C1). Meanwhile somebody pushed c2: run 7, digest D, Config C2, which was never told.
	r := waiting(ApprovalRule{})
	r.Version, r.Reported = 5, 0
	c := Command{Verb: VerbApprove, At: t0.Add(-time.Minute)}
	err := c.Agree(Person{Name: "ann"}, Access{}, "0123456789ab")(&r, t0)
	if err == nil && r.State == StateApproved {
		t.Errorf("approved config %s that was never shown to anybody", r.Approvals[0].Config)
	}
}

func TestRulesAdaptConfiguredGroup(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval, Approval: ApprovalRule{From: []string{"group:sre"}}}
	roles := []Role{{Name: RoleApprover, Groups: []string{"sre"}}}
	before := Access{Roles: roles, People: []Known{{Name: "ann", Groups: []string{"sre"}}}}
	after := Access{Roles: roles, People: []Known{{Name: "ann"}}} // ann was taken out of sre in the configuration
	r := waiting(e.Approval)
	if err := r.Approve(before.Person("ann", nil, DoorComment), before, "0123456789abcdef", t0); err != nil {
		t.Fatal(err)
	}
	if after.Allow(after.Person("ann", nil, DoorComment), MayApprove, e.Key()) == nil {
		t.Fatal("ann still may")
	}
	r.Adapt(e, after, t0)
	if r.State == StateApproved {
		t.Error("the yes of somebody who may not approve any more still counts")
	}
}

func TestRulesAdaptAlias(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval, Approval: ApprovalRule{Count: 2}}
	roles := []Role{{Name: RoleApprover, Users: []string{"*"}}}
	before := Access{Roles: roles}
	after := Access{Roles: roles, People: []Known{{Name: "ann@example.com", Also: []string{"corp/ann"}}}}
	r := waiting(e.Approval)
	for _, name := range []string{"corp/ann", "ann@example.com"} {
		if err := r.Approve(before.Person(name, nil, DoorComment), before, "0123456789abcdef", t0); err != nil {
			t.Fatal(err)
		}
	}
	r.Adapt(e, after, t0) // the configuration now knows that both are one person
	if r.State == StateApproved {
		t.Errorf("one person agreed twice: %+v", r.Approvals)
	}
}

func TestRulesAdaptAliasAuthor(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval, Approval: ApprovalRule{Not: []Exclusion{NotAuthor}}}
	roles := []Role{{Name: RoleApprover, Users: []string{"*"}}}
	before := Access{Roles: roles}
	after := Access{Roles: roles, People: []Known{{Name: "corp/ann", Also: []string{"ann@example.com"}}}}
	r := waiting(e.Approval)
	r.Authors = []string{"ann@example.com"}
	if err := r.Approve(before.Person("corp/ann", nil, DoorComment), before, "0123456789abcdef", t0); err != nil {
		t.Fatal(err)
	}
	r.Adapt(e, after, t0)
	if r.State == StateApproved {
		t.Error("the author's own yes counts although the configuration says who it is")
	}
}

func TestRulesAdaptCarryOff(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval}
	access := Access{Roles: []Role{{Name: RoleApprover, Users: []string{"*"}}}}
	r := waiting(ApprovalRule{Carry: true, Forge: true})
	r.Approvals = []Approval{{By: "ann", Digest: r.Plan.Digest, Config: r.Plan.Config, Carried: "merge request !1", Door: DoorForge, At: t0}}
	r.agree(t0)
	r.Adapt(e, access, t0) // neither carry nor forge are allowed any more
	if r.State == StateApproved {
		t.Error("a yes that was carried over counts where the rules in force carry none")
	}
}

func TestRulesAdaptExpires(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval, Approval: ApprovalRule{Expires: time.Hour}}
	access := Access{Roles: []Role{{Name: RoleApprover, Users: []string{"*"}}}}
	r := waiting(ApprovalRule{})
	if err := r.Approve(Person{Name: "ann"}, access, "0123456789abcdef", t0); err != nil {
		t.Fatal(err)
	}
	r.Adapt(e, access, t0)
	if err := r.Start("w", t0.Add(1000*time.Hour), time.Minute); err == nil {
		t.Error("a yes of 1000 hours ago is applied under a rule of 1 hour")
	}
}

func TestRulesAdaptPolicies(t *testing.T) {
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyAutomatic}
	r := waiting(ApprovalRule{})
	r.Policy, r.State = e.policy(), StateApproved
	e.PolicySum = "of other policies"
	if !r.Adapt(e, Access{}, t0) && r.State == StateApproved {
		t.Error("a plan that no policy in force was asked about stays approved")
	}
}

func TestRulesTooOldIsApplied(t *testing.T) {
	r := waiting(ApprovalRule{Expires: time.Hour})
	r.Policy.Apply, r.State = ApplyAutomatic, StateApproved // waited for a freeze
	late := t0.Add(500 * time.Hour)
	if r.ValidUntil().After(late) {
		t.Fatal("not too old")
	}
	if err := r.Start("w", late, time.Minute); err == nil {
		t.Error("a plan that is 500 hours old was applied; it was good for one")
	}
}

func TestRulesGlassNeverExpires(t *testing.T) {
	r := waiting(ApprovalRule{Expires: time.Hour})
	if err := r.BreakGlass(Person{Name: "root"}, "0123456789abcdef", "fire", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Expire(t0.Add(500 * time.Hour)); err == nil {
		return
	}
	if err := r.Start("w", t0.Add(500*time.Hour), time.Minute); err == nil {
		t.Error("glass broken 500 hours ago applies a plan that was good for one")
	}
}

func TestRulesGlassOtherConfigOpensFreeze(t *testing.T) {
	r := waiting(ApprovalRule{})
	r.Policy.Calendar.Freezes = []Freeze{{Name: "x", From: t0.Add(-time.Hour)}}
	if err := r.BreakGlass(Person{Name: "root"}, "0123456789abcdef", "fire", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Start("w", t0, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(r.Claim, Outcome{Stale: true}, nil, t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Start("w", t0, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(r.Claim, Outcome{}, &PlanInfo{Digest: "0123456789abcdef", Config: "OTHER", Changes: true}, t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Approve(Person{Name: "ann"}, Access{}, "0123456789abcdef", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Start("w", t0, time.Minute); err == nil {
		t.Errorf("applied in a freeze, %s", r.agreement())
	}
}

func TestRulesLastPusherUnknown(t *testing.T) {
	r := waiting(ApprovalRule{Not: []Exclusion{NotLastPusher}})
	if err := r.Approve(Person{Name: "ann"}, Access{}, "0123456789abcdef", t0); err == nil {
		t.Error("nobody knows who pushed, and anybody may agree")
	}
}

func TestRulesEarlierApproverRetry(t *testing.T) {
	r := waiting(ApprovalRule{Count: 2, Not: []Exclusion{NotEarlierApprover}})
	if err := r.Approve(Person{Name: "ann"}, Access{}, "0123456789abcdef", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Cancel("ann", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Retry("ann", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Start("w", t0, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(r.Claim, Outcome{}, &PlanInfo{Digest: "fedcba9876543210", Changes: true}, t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Approve(Person{Name: "ann"}, Access{}, "fedcba9876543210", t0); err == nil {
		t.Error("who agreed to the earlier plan agrees to the new one after a retry")
	}
}

func TestRulesCancelLostInStale(t *testing.T) {
	r := waiting(ApprovalRule{})
	if err := r.Approve(Person{Name: "ann"}, Access{}, "0123456789abcdef", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Start("w", t0, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.Cancel("bob", t0); err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(r.Claim, Outcome{Stale: true}, nil, t0); err != nil {
		t.Fatal(err)
	}
	if r.State == StateCanceled {
		return
	}
	info := *r.Plan
	if r.Plan == nil {
		t.Fatal()
	}
	_ = r.Start("w", t0, time.Minute)
	_ = r.Finish(r.Claim, Outcome{}, &info, t0)
	if err := r.Start("w", t0, time.Minute); err == nil {
		t.Errorf("bob stopped the apply; it is %s again", r.State)
	}
}

func TestRulesAuditStaleApply(t *testing.T) {
	r := waiting(ApprovalRule{})
	_ = r.Approve(Person{Name: "ann"}, Access{}, "0123456789abcdef", t0)
	_ = r.Start("w", t0, time.Minute)
	before := r
	_ = r.Finish(r.Claim, Outcome{Stale: true}, nil, t0)
	if len(Audit(before, r)) == 0 {
		t.Error("the audit log says that an apply began and never that it ended without doing anything")
	}
	a := waiting(ApprovalRule{Count: 2})
	a.Approvals = []Approval{{By: "ann", Digest: a.Plan.Digest, Config: a.Plan.Config, At: t0}}
	b := a
	e := Environment{Repository: "infra", Name: "production", Apply: ApplyApproval, Approval: ApprovalRule{Count: 2}}
	b.Adapt(e, Access{}, t0)
	if len(b.Approvals) == 0 && len(Audit(a, b)) == 0 {
		t.Error("a yes was dropped and the audit log says nothing")
	}
}
