package plumbline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ApprovalRule says who must agree to a plan, and how long a plan or a yes is good for.
type ApprovalRule struct {
	Count   int           // default 1
	From    []string      // "group:sre", "user:alice@example.com", "role:approver": any of them; none: everybody who may approve
	Not     []Exclusion   // whose yes does not count
	Expires time.Duration // 0: never
	Carry   bool          // a yes that was given on the merge request, or to a run that a newer one has replaced, counts for the same plan
	Forge   bool          // an approval of the merge request on its forge is a yes to the plan that was shown there
}

// Exclusion is somebody whose yes does not count although they may approve.
type Exclusion string

// The exclusions.
const (
	NotAuthor          Exclusion = "author"           // who wrote the change: the merge request's author, and the authors of its commits
	NotLastPusher      Exclusion = "last-pusher"      // who pushed the head of the merge request
	NotEarlierApprover Exclusion = "earlier-approver" // who agreed to another plan of the same change: the new one is for fresh eyes
)

// Approval is a person's yes to one plan.
type Approval struct {
	By      string
	Also    []string   `json:",omitempty"` // other names of theirs
	Groups  []string   `json:",omitempty"` // that they were in
	Told    []string   `json:",omitempty"` // of them, those that the sign-in system told
	Roles   []RoleName `json:",omitempty"` // that they had in the environment
	Door    Door       `json:",omitempty"`
	Digest  string
	Config  string `json:",omitempty"` // PlanInfo.Config of the plan
	Plan    Blob   `json:",omitzero"`  // document of the plan that was agreed to, for comparing another with it
	At      time.Time
	Expires time.Time // zero: never
	Carried string    `json:",omitempty"` // where it was given, if not to this run: "merge request !42", "run 17"
}

func (a Approval) person() Person { return Person{Name: a.By, Also: a.Also, Groups: a.Groups} }

// Demand is agreement that a plan needs.
type Demand struct {
	Count int      // people, or how many more
	From  []string // as in ApprovalRule
	Why   string   // "" the environment's own rule; else what a policy says
}

// String is "2 approvals by group:sre".
func (d Demand) String() string {
	s := "an approval"
	if d.Count > 1 {
		s = fmt.Sprintf("%d approvals", d.Count)
	}
	if len(d.From) > 0 {
		s += " by " + strings.Join(d.From, " or ")
	}
	if d.Why != "" {
		s += " (" + d.Why + ")"
	}
	return s
}

// Glass is that somebody had a plan applied against the rules.
type Glass struct {
	By     string
	Told   []string `json:",omitempty"` // groups that the sign-in system told of
	Door   Door
	Reason string
	Digest string
	Config string
	At     time.Time
}

// demands lists what the plan at hand needs. A destroy always needs a person, whatever the environment says, and so does what puts drift right, unless it
// is within the limits of what is done without asking.
func (r *Run) demands() []Demand {
	var out []Demand
	if (r.Policy.Apply != ApplyAutomatic || r.Kind == KindDestroy || r.Mending != nil) && !r.Cleared() {
		out = append(out, Demand{Count: max(r.Policy.Approval.Count, 1), From: r.Policy.Approval.From})
	}
	for _, f := range r.Findings {
		if f.Level != PolicyApprove {
			continue
		}
		same := func(d Demand) bool { return d.Why != "" && slices.Equal(d.From, f.From) }
		if !slices.ContainsFunc(out, same) {
			out = append(out, Demand{Count: 1, From: f.From, Why: f.Policy + ": " + f.Message})
		}
	}
	return out
}

// Unmet lists what the plan at hand still needs, Count being how many more.
func (r *Run) Unmet(now time.Time) []Demand {
	if r.broken() {
		return nil
	}
	var out []Demand
	for _, d := range r.demands() {
		by := map[string]bool{}
		for _, a := range r.Approvals {
			if r.Counts(a, now) && r.meets(a, d.From) {
				by[folded(a.By)] = true
			}
		}
		if d.Count -= len(by); d.Count > 0 {
			out = append(out, d)
		}
	}
	return out
}

// broken reports whether the glass was broken for the plan at hand.
func (r *Run) broken() bool {
	return r.Plan != nil && r.Glass != nil && r.Glass.Digest == r.Plan.Digest && r.Glass.Config == r.Plan.Config
}

// Counts reports whether a yes is to the plan at hand, by somebody whose yes may count, and still good.
func (r *Run) Counts(a Approval, now time.Time) bool {
	return r.Plan != nil && a.Digest == r.Plan.Digest && a.Config == r.Plan.Config &&
		(a.Expires.IsZero() || now.Before(a.Expires)) && r.excluded(a.person()) == ""
}

// meets reports whether a yes is by one of those who are asked for.
func (r *Run) meets(a Approval, from []string) bool {
	return len(from) == 0 || slices.ContainsFunc(from, func(who string) bool {
		kind, name, _ := strings.Cut(who, ":")
		switch kind {
		case "user":
			return a.person().Is(name)
		case "group":
			return slices.Contains(a.Groups, name)
		case "role":
			return slices.Contains(a.Roles, RoleName(name))
		}
		return false
	})
}

// excluded says why somebody's yes does not count, "" if it does. Where it is not known who wrote the change, nobody can be told from its author.
func (r *Run) excluded(p Person) string {
	for _, x := range r.Policy.Approval.Not {
		if r.Mending != nil && x != NotEarlierApprover {
			continue // it brings nothing that somebody wrote
		}
		var who []string
		switch x {
		case NotAuthor:
			if who = r.Authors; len(who) == 0 || r.Anonymous {
				return "It is not known who wrote the change, and " + r.Stack.Environment + " does not count the yes of its author."
			}
		case NotLastPusher:
			if who = r.Pushers; len(who) == 0 {
				return "It is not known who pushed the change, and " + r.Stack.Environment + " does not count the yes of its last pusher."
			}
		case NotEarlierApprover:
			for _, a := range append(slices.Clone(r.Earlier), r.Approvals...) {
				if r.Plan != nil && (a.Digest != r.Plan.Digest || a.Config != r.Plan.Config) {
					who = append(who, a.By)
				}
			}
		}
		if slices.ContainsFunc(who, p.Is) {
			return fmt.Sprintf("%s does not count the yes of its %s, who is %s.", r.Stack.Environment, strings.ReplaceAll(string(x), "-", " "), p.Name)
		}
	}
	return ""
}

// denied lists what policies forbid.
func (r *Run) denied() []PolicyFinding {
	var out []PolicyFinding
	for _, f := range r.Findings {
		if f.Level == PolicyDeny {
			out = append(out, f)
		}
	}
	return out
}

// approved reports whether the plan at hand is agreed to.
func (r *Run) approved(now time.Time) bool {
	if until := r.ValidUntil(); !until.IsZero() && !now.Before(until) {
		return false
	}
	return r.Plan != nil && r.Policy.Apply != ApplyNever && len(r.denied()) == 0 && len(r.Unmet(now)) == 0
}

// Missing is how many approvals the plan at hand still needs.
func (r *Run) Missing(now time.Time) int {
	n := 0
	for _, d := range r.Unmet(now) {
		n = max(n, d.Count)
	}
	return n
}

// Closed tells whether the environment takes no changes now, why, and until when at least (zero: nobody knows). A broken glass opens it.
func (r *Run) Closed(now time.Time) (why string, until time.Time, closed bool) {
	if r.broken() {
		return "", time.Time{}, false
	}
	return r.Policy.Calendar.Closed(now)
}

// NotYet says that a run may go on, but not now.
type NotYet struct {
	Why   string
	Until time.Time // zero: not known
}

func (e *NotYet) Error() string { return e.Why }

// Unwrap makes it a conflict with the state of things.
func (e *NotYet) Unwrap() error { return ErrConflict }

// ValidUntil is when the plan at hand is too old to be approved or applied; zero: never.
func (r *Run) ValidUntil() time.Time {
	if r.Policy.Approval.Expires == 0 || r.Planned.IsZero() {
		return time.Time{}
	}
	return r.Planned.Add(r.Policy.Approval.Expires)
}

// MinDigest is how much of a digest a person must give at least.
const MinDigest = 6

// Approve records a person's yes to the digest they saw, which may be shortened to MinDigest characters. access knows their roles.
func (r *Run) Approve(who Person, access Access, digest string, now time.Time) error {
	if err := r.seen(digest); err != nil {
		return err
	}
	if err := r.approvable(); err != nil {
		return err
	}
	if err := r.same(digest); err != nil {
		return err
	}
	if until := r.ValidUntil(); !until.IsZero() && !now.Before(until) {
		return refuse(ErrConflict, "`plumbline runs retry "+r.ID.String()+"` plans again.", "Refused: the plan of run %s is too old; it was good until %s.", r.ID, until.UTC().Format(time.RFC3339))
	}
	if why := r.excluded(who); why != "" {
		return refuse(ErrDenied, "Somebody else has to agree.", "%s", why)
	}
	a := Approval{
		By: who.Name, Also: who.Also, Groups: who.Groups, Told: who.Told, Roles: access.RolesOf(who, r.Stack.Repository+"/"+r.Stack.Environment), Door: who.Door,
		Digest: r.Plan.Digest, Config: r.Plan.Config, Plan: r.Plan.Doc, At: now,
	}
	demands := r.demands()
	if !slices.ContainsFunc(demands, func(d Demand) bool { return r.meets(a, d.From) }) && len(demands) > 0 {
		var from []string
		for _, d := range demands {
			from = append(from, d.String())
		}
		return refuse(ErrDenied, "", "The plan of %s needs %s; %s is none of them.", r.Stack.Name, strings.Join(from, ", and "), who.Name)
	}
	if d := r.Policy.Approval.Expires; d > 0 {
		a.Expires = now.Add(d)
	}
	r.Approvals = slices.DeleteFunc(slices.Clone(r.Approvals), func(b Approval) bool { return who.Is(b.By) && b.Digest == a.Digest && b.Config == a.Config })
	r.Approvals, r.Door = append(r.Approvals, a), who.Door
	r.agree(now)
	return nil
}

// approvable returns an error in a state in which nothing can be agreed to.
func (r *Run) approvable() error {
	switch {
	case r.State == StateAwaiting:
		return nil
	case r.State != StatePlanned || r.Kind != KindProposal:
		return r.cannot("approved")
	case r.Policy.Apply != ApplyApproval:
		return refuse(ErrConflict, "", "Nothing in %s waits for an approval of a merge request.", r.Stack.Environment)
	case !r.Policy.Approval.Carry:
		return refuse(ErrConflict, "Approve what is planned after the merge.", "%s does not carry approvals over from merge requests.", r.Stack.Environment)
	}
	return nil
}

// agree moves the run on, or back, if what is agreed to by now decides that.
func (r *Run) agree(now time.Time) {
	switch ok := r.approved(now); {
	case r.State == StateAwaiting && ok:
		r.to(StateApproved, now)
	case r.State == StateApproved && !ok:
		r.to(StateAwaiting, now)
	}
}

func (r *Run) seen(digest string) error {
	if len(digest) < MinDigest {
		return refuse(ErrInvalid, "", "The digest %q is too short; give at least %d characters of it.", digest, MinDigest)
	}
	return nil
}

func (r *Run) same(digest string) error {
	if !strings.HasPrefix(r.Plan.Digest, digest) {
		return refuse(ErrConflict, "Read it first.", "Refused: the plan of run %s is %s now, not %s.", r.ID, ShortDigest(r.Plan.Digest), ShortDigest(digest))
	}
	return nil
}

// BreakGlass has the plan that somebody saw applied although others should have agreed, or although it is not the time for it. What a policy
// forbids stays forbidden.
func (r *Run) BreakGlass(who Person, digest, reason string, now time.Time) error {
	if err := r.seen(digest); err != nil {
		return err
	}
	if reason == "" {
		return refuse(ErrInvalid, "It is told to everybody and stays in the audit log.", "Breaking the glass needs a reason.")
	}
	if r.State != StateAwaiting && r.State != StateApproved {
		return r.cannot("applied against the rules")
	}
	if err := r.same(digest); err != nil {
		return err
	}
	if until := r.ValidUntil(); !until.IsZero() && !now.Before(until) {
		return refuse(ErrConflict, "`plumbline runs retry "+r.ID.String()+"` plans again.", "Refused: the plan of run %s is too old; it was good until %s.", r.ID, until.UTC().Format(time.RFC3339))
	}
	r.Glass = &Glass{By: who.Name, Told: who.Told, Door: who.Door, Reason: reason, Digest: r.Plan.Digest, Config: r.Plan.Config, At: now}
	r.Door = who.Door
	r.agree(now)
	return nil
}

// Carry takes over what people agreed to on another run of the same change: the proposal that was merged, or a run that this one replaces. What they
// agreed to counts if the plan is the same; it is kept if not, so that the difference can be shown. It reports whether there was anything new.
func (r *Run) Carry(from Run, now time.Time) bool {
	if !r.Policy.Approval.Carry || r.Stack != from.Stack || r.ID == from.ID || r.State.Ended() || r.State == StateApplying {
		return false
	}
	where := "run " + from.ID.String()
	if from.Kind == KindProposal {
		where = "merge request " + MergeRequest{ID: from.MR}.Name()
	}
	before := len(r.Approvals)
	for _, a := range from.Approvals {
		if from.RejectedBy != "" || !a.Expires.IsZero() && !now.Before(a.Expires) {
			continue
		}
		have := func(b Approval) bool { return b.By == a.By && b.Digest == a.Digest && b.Config == a.Config }
		if slices.ContainsFunc(r.Approvals, have) {
			continue
		}
		if a.Carried == "" {
			a.Carried = where
		}
		r.Approvals = append(slices.Clip(r.Approvals), a)
	}
	r.agree(now)
	return len(r.Approvals) > before
}

// Succeed takes over what is known of the people behind the run that this one replaces: what that one would have brought, this one brings.
func (r *Run) Succeed(old Run, now time.Time) {
	r.Concern(old.Authors, old.Pushers, now)
	r.Earlier = append(slices.Clip(old.Earlier), old.Approvals...)
	r.Carry(old, now)
}

// Withdraw takes back what somebody has agreed to by approving the merge request on its forge. It reports whether there was anything.
func (r *Run) Withdraw(who Person, now time.Time) bool {
	kept := slices.DeleteFunc(slices.Clone(r.Approvals), func(a Approval) bool { return a.Door == DoorForge && who.Is(a.By) })
	if len(kept) == len(r.Approvals) || r.State == StateApplying {
		return false
	}
	r.Approvals = kept
	r.agree(now)
	return true
}

// Shown reports whether people have been told of the plan at hand.
func (r *Run) Shown() bool {
	since := r.PlanVersion
	if since == 0 { // written by a Plumbline that did not note it
		since = max(r.Version, 1)
	}
	return r.Plan != nil && r.Reported >= since
}

// Concern notes who wrote the change and who pushed it, as far as is known by now: their yes may stop to count. It reports whether that was news.
func (r *Run) Concern(authors, pushers []string, now time.Time) bool {
	add := func(have, more []string) []string {
		all := append(slices.Clone(have), more...)
		all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
		slices.Sort(all)
		return slices.Compact(all)
	}
	a, p := add(r.Authors, authors), add(r.Pushers, pushers)
	if r.State.Ended() || slices.Equal(a, r.Authors) && slices.Equal(p, r.Pushers) {
		return false
	}
	r.Authors, r.Pushers = a, p
	r.agree(now)
	return true
}

// Adapt puts the run under the rules that are in force now. A yes of somebody who may not approve any more does not count any more, nor does one that
// came in a way that is not open any more; who is who, and in which groups, is as the configuration says now. It reports whether anything changed.
func (r *Run) Adapt(e Environment, access Access, now time.Time) bool {
	if r.State.Ended() || r.State == StateApplying {
		return false
	}
	policy := e.policy()
	if r.State == StatePlanning { // it is held against those with which it was begun; when it has ended, this is asked again
		policy.Policies = r.Policy.Policies
	}
	rule := policy.Approval
	var kept []Approval
	for _, a := range r.Approvals {
		who := access.Person(a.By, a.Told, a.Door)
		if access.Allow(who, MayApprove, e.Key()) != nil || a.Carried != "" && !rule.Carry || a.Door == DoorForge && !rule.Forge {
			continue
		}
		a.By, a.Also, a.Groups, a.Roles = who.Name, who.Also, who.Groups, access.RolesOf(who, e.Key())
		if until := a.At.Add(rule.Expires); rule.Expires > 0 && (a.Expires.IsZero() || until.Before(a.Expires)) {
			a.Expires = until
		}
		kept = append(kept, a)
	}
	same := func(a, b Approval) bool {
		return a.By == b.By && a.Expires.Equal(b.Expires) && slices.Equal(a.Also, b.Also) && slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Roles, b.Roles)
	}
	glass := r.Glass
	if glass != nil && access.Allow(access.Person(glass.By, glass.Told, glass.Door), MayBreakGlass, e.Key()) != nil {
		glass = nil
	}
	mending := r.mendUnder(e.Drift)
	if glass == r.Glass && mending == r.Mending && policy.equal(r.Policy) && slices.EqualFunc(kept, r.Approvals, same) {
		return false
	}
	asked := policy.Policies != r.Policy.Policies
	r.Policy, r.Approvals, r.Glass, r.Mending = policy, kept, glass, mending
	switch {
	case asked && (r.State == StateAwaiting || r.State == StateApproved):
		r.Because = "the policies have changed since the plan was made"
		r.to(StateQueued, now)
	case r.State == StateAwaiting && policy.Apply == ApplyNever:
		r.to(StatePlanned, now)
	default:
		r.agree(now)
	}
	return true
}

func (p Policy) equal(q Policy) bool {
	a, b := p.Approval, q.Approval
	return p.Apply == q.Apply && p.Order == q.Order && p.Policies == q.Policies && a.Count == b.Count && a.Expires == b.Expires && a.Carry == b.Carry && a.Forge == b.Forge &&
		slices.Equal(a.From, b.From) && slices.Equal(a.Not, b.Not) &&
		slices.Equal(p.Calendar.Windows, q.Calendar.Windows) && slices.EqualFunc(p.Calendar.Freezes, q.Calendar.Freezes, func(x, y Freeze) bool {
		return x.Name == y.Name && x.From.Equal(y.From) && x.Until.Equal(y.Until) && x.Reason == y.Reason && x.By == y.By
	})
}

// Through notes the door by which somebody came whose wish the rule carries out.
func Through(door Door, rule Rule) Rule {
	return func(r *Run, now time.Time) error {
		before := r.Door
		r.Door = door
		if err := rule(r, now); err != nil {
			r.Door = before
			return err
		}
		return nil
	}
}

// ShortDigest is a digest as people write it.
func ShortDigest(d string) string {
	if len(d) > 12 {
		return d[:12]
	}
	return d
}
