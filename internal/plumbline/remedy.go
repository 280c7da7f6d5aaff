package plumbline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Remediation is how far an environment goes about drift by itself.
type Remediation string

// The rungs of the ladder.
const (
	RemediateReport  Remediation = "report"  // people are told
	RemediatePropose Remediation = "propose" // something is put before people that they can agree to
	RemediateApply   Remediation = "apply"   // what is within limits is put right without asking
)

// ApplyOnly are the limits of RemediateApply. What destroys or replaces something is never within them.
type ApplyOnly struct {
	Actions    []Action // ActionUpdate, ActionCreate
	Types      []string // of resources, "*" standing for any text; none: nothing is within the limits
	MaxChanges int      // in one plan
	PerDay     int      // applies in one environment within 24 hours
}

// The limits that hold where the configuration names none.
const (
	DefaultMaxChanges = 5
	DefaultPerDay     = 3
)

// RemedyTries is how often the very same difference is put right without asking. When it is there again after that, somebody or something wants it so,
// and people have to decide.
const RemedyTries = 3

// Remedy is what Plumbline does about a drift item, or did last.
type Remedy struct {
	What  Remediation
	Run   RunID  `json:",omitempty"` // that puts reality right, or would if people agreed
	MR    string `json:",omitempty"` // that would have Git say what is the case
	At    time.Time
	Begun bool   `json:",omitempty"` // RemediateApply: it has begun to be applied
	Tries int    `json:",omitempty"` // applies without asking, of this very difference
	Why   string `json:",omitempty"` // why no more is done, for people
}

// String is what is done, for people.
func (r Remedy) String() string {
	s := "nothing is done about it"
	switch {
	case r.What == RemediateApply && r.Begun:
		s = fmt.Sprintf("run %s puts it right without asking, for the %s time", r.Run, ordinal(r.Tries))
	case r.What == RemediateApply:
		s = fmt.Sprintf("run %s is to put it right without asking", r.Run)
	case r.MR != "":
		s = fmt.Sprintf("merge request %s would have Git say what is the case", MergeRequest{ID: r.MR}.Name())
	case r.Run != 0:
		s = fmt.Sprintf("run %s would put it right and waits for a yes", r.Run)
	}
	if r.Why != "" {
		s += ": " + r.Why
	}
	return s
}

// ItemRemedy is what is done about a drift item from now on.
type ItemRemedy struct {
	Item   int64
	Remedy Remedy // Run = -(i+1) is the i-th run of the observation
}

// Mend notes what is done about an item. It reports whether that is anything new; how often the difference was put right before stays.
func (d DriftItem) Mend(r Remedy) (w DriftWrite, changed bool) {
	var was Remedy
	if d.Remedy != nil {
		was = *d.Remedy
	}
	r.Tries = max(r.Tries, was.Tries)
	w = DriftWrite{Item: d}
	w.Item.Remedy = &r
	if was.What == r.What && was.Run == r.Run && was.MR == r.MR && was.Why == r.Why && was.Begun == r.Begun && was.Tries == r.Tries {
		return w, false
	}
	w.tell(r.At, EventRemedy, r.String())
	return w, true
}

// tries is how often the very same difference was put right without asking.
func (d DriftItem) tries() int {
	if d.Remedy == nil {
		return 0
	}
	return d.Remedy.Tries
}

// forgive begins to count anew how often the difference was put right: it is another one, or a person has taken note of it.
func (d *DriftItem) forgive() {
	if d.tries() > 0 {
		r := *d.Remedy
		r.Tries = 0
		d.Remedy = &r
	}
}

// Mending makes a deploy run one that puts right what was changed outside Git. Whatever its environment does with changes that come by Git, somebody
// has to agree to it, unless it may be applied Alone and the plan lies within the limits.
type Mending struct {
	Items   []int64    // of drift, that it is for
	Prints  []string   // their fingerprints, sorted
	Objects []Mendable // what it may change Alone, and nothing else
	Alone   bool       // it is applied without asking, within Limits
	Limits  ApplyOnly
	Why     string   `json:",omitempty"` // why somebody is asked, where RemediateApply would not
	Cleared *Cleared `json:",omitempty"` // the plan that lies within the limits
}

// Mendable is an object that a remedy is about.
type Mendable struct {
	Address string
	Hidden  []string `json:",omitempty"` // attributes that rules ignore: what an apply would do about them nobody has asked for
}

// Cleared is a plan that may be applied without asking.
type Cleared struct {
	Digest string
	Config string
	At     time.Time
}

// Cleared reports whether the plan at hand is one that may be applied although nobody was asked.
func (r *Run) Cleared() bool {
	return r.Mending != nil && r.Mending.Alone && r.Mending.Cleared != nil && r.Plan != nil &&
		r.Mending.Cleared.Digest == r.Plan.Digest && r.Mending.Cleared.Config == r.Plan.Config
}

// judge holds a plan against the limits within which it may be applied without asking. Rules may run more than once: what they share is not written to.
func (r *Run) judge(p *Plan, now time.Time) {
	if r.Mending == nil || !r.Mending.Alone {
		return
	}
	m := *r.Mending
	m.Cleared, m.Why = nil, m.Limits.Beyond(p, m.Objects, r.Findings)
	if m.Why == "" {
		m.Cleared = &Cleared{Digest: r.Plan.Digest, Config: r.Plan.Config, At: now}
	}
	r.Mending = &m
}

// Withhold takes back that a run may be applied without asking.
func (r *Run) Withhold(why string, now time.Time) error {
	if !r.Cleared() || r.State != StateApproved {
		return r.cannot("withheld")
	}
	r.ask(why)
	r.agree(now)
	return nil
}

// ask has somebody asked from now on.
func (r *Run) ask(why string) {
	if r.Mending != nil {
		m := *r.Mending
		m.Alone, m.Cleared, m.Why = false, nil, why
		r.Mending = &m
	}
}

// mendUnder is how a run mends under the rules in force now. A plan that was held against other limits waits for a person.
func (r *Run) mendUnder(p DriftPolicy) *Mending {
	if r.Mending == nil || !r.Mending.Alone {
		return r.Mending
	}
	m := *r.Mending
	switch {
	case p.Remediate != RemediateApply:
		m.Alone, m.Cleared, m.Why = false, nil, r.Stack.Environment+" puts nothing right without asking any more"
	case m.Limits.equal(p.ApplyOnly):
		return r.Mending
	case r.State == StateAwaiting || r.State == StateApproved:
		m.Alone, m.Cleared, m.Why = false, nil, "the limits of what is put right without asking have changed since the plan was made"
	default:
		m.Limits = p.ApplyOnly
	}
	return &m
}

func (l ApplyOnly) equal(o ApplyOnly) bool {
	return slices.Equal(l.Actions, o.Actions) && slices.Equal(l.Types, o.Types) && l.MaxChanges == o.MaxChanges && l.PerDay == o.PerDay
}

// String is "update of aws_security_group_rule, at most 5 changes, 3 a day".
func (l ApplyOnly) String() string {
	var actions []string
	for _, a := range l.Actions {
		actions = append(actions, string(a))
	}
	return fmt.Sprintf("%s of %s, at most %s, %d a day", strings.Join(actions, " and "), strings.Join(l.Types, ", "), plural(l.MaxChanges, "change"), l.PerDay)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// mendable are the actions that limits may name at all.
var mendable = []Action{ActionUpdate, ActionCreate}

func (l ApplyOnly) allows(address, kind string, a Action) string {
	switch {
	case !slices.Contains(mendable, a):
		return fmt.Sprintf("%s would be %s, which is never done without asking", address, a.Verb())
	case !slices.Contains(l.Actions, a):
		return fmt.Sprintf("%s would be %s, and %s is not among the actions of apply_only", address, a.Verb(), a)
	case !slices.ContainsFunc(l.Types, func(t string) bool { return glob(t, kind) }):
		return fmt.Sprintf("%s is not among the types of apply_only", kind)
	}
	return ""
}

// Beyond says in one phrase why a plan is not within the limits, "" if it is. Objects are those that the plan may change.
func (l ApplyOnly) Beyond(p *Plan, objects []Mendable, findings []PolicyFinding) string {
	switch {
	case p == nil || p.Errored || p.Partial || p.Truncated || len(p.Deferred) > 0:
		return "the plan does not tell all that is to be done"
	case len(p.Changes) > l.MaxChanges:
		return fmt.Sprintf("the plan has %s, and max_changes is %d", plural(len(p.Changes), "change"), l.MaxChanges)
	}
	for _, f := range findings {
		if f.Level == PolicyDeny || f.Level == PolicyApprove {
			return fmt.Sprintf("%s says: %s", f.Policy, f.Message)
		}
	}
	for _, c := range p.Changes {
		if why := l.allows(c.Address, c.Type, c.Action); why != "" {
			return why
		}
		i := slices.IndexFunc(objects, func(o Mendable) bool { return o.Address == c.Address })
		switch {
		case c.Previous != "" || c.Importing != "" || c.Deposed != "":
			return fmt.Sprintf("%s would be moved or imported, or is a deposed object", c.Address)
		case c.Omitted > 0:
			return "the plan does not tell all that is to be done"
		case i < 0:
			return fmt.Sprintf("%s would be %s too, and is no drift that people want to be rid of", c.Address, c.Action.Verb())
		}
		for _, a := range c.Attributes {
			for _, h := range objects[i].Hidden {
				if a.Path == h || inside(h, a.Path) || inside(a.Path, h) {
					return fmt.Sprintf("%s of %s would be changed too, which a rule ignores", a.Path, c.Address)
				}
			}
		}
	}
	if len(p.Outputs) > 0 || p.Summary.Output > 0 {
		return "outputs would change, which others may read"
	}
	if len(p.Changes) == 0 {
		return "the plan changes nothing"
	}
	return ""
}

// SubjectRemedy is what runs follow that put a stack right, and what a watcher keeps under which check was dealt with.
func SubjectRemedy(env, stack string) string { return "remedy " + env + "/" + stack }

// Ailing is what is known of a stack that was found not to be as Git asks for.
type Ailing struct {
	Stack    StackStatus
	Check    Run         // that looked last
	Items    []DriftItem // that are open
	Runs     []Run       // to deploy or destroy it, that have not ended, newest first
	Rejected Run         // the one to deploy it that a person rejected last; zero: none
	Applied  int         // how often its environment was put right without asking within the last day
}

// Cure is what is to be done about a stack.
type Cure struct {
	What  Remediation
	Items []DriftItem // that it is for
	Why   string      // why no more is done
	Stay  bool        // a run that is under way does that already
	NoRun bool        // nothing can be put right by a run
	Drop  []Run       // runs that were to put right what is not there any more, or another one by now
}

// RemedyFor decides what is done about a stack's drift.
func RemedyFor(e Environment, a Ailing, now time.Time) Cure {
	c := Cure{What: RemediateReport}
	var mending *Run
	var other bool
	for i, r := range a.Runs {
		switch {
		case r.Mending == nil:
			other = true
		case mending == nil:
			mending = &a.Runs[i]
		}
	}
	for _, it := range a.Items {
		// What comes and goes by itself is left alone; what comes back after it was put right three times has its reason there.
		if it.State(now) == DriftOpen && it.Difference.Kind != DriftSelf && (!it.Flapping || it.tries() >= RemedyTries) {
			c.Items = append(c.Items, it)
		}
	}
	if mending != nil && mending.State == StateApplying {
		c.Stay = true
		return c
	}
	if e.Drift.Remediate == "" || e.Drift.Remediate == RemediateReport {
		c.Items = nil
	}
	switch {
	case len(c.Items) == 0:
	case a.Stack.Removed:
		c.Why = "the stack is not in the branch any more"
	case other:
		c.Why = "a deployment of the stack is under way"
	case a.Check.Unapplied || a.Check.Ahead != "":
		c.Why = "Git asks for changes that were never applied; what deploys them settles both"
	case mending != nil && slices.Equal(mending.Mending.Prints, prints(c.Items)):
		c.Stay = true
		return c
	case a.refused(c.Items):
		c.Why = a.Rejected.RejectedBy + " has rejected what would put it right"
	case e.Apply == ApplyNever:
		c.What, c.NoRun, c.Why = RemediatePropose, true, e.Name+" has apply = \"never\", so that Plumbline puts nothing right there"
	case e.Drift.Remediate == RemediatePropose:
		c.What = RemediatePropose
	default:
		c.What = RemediateApply
		if c.Why = e.mayNot(a, c.Items); c.Why != "" {
			c.What = RemediatePropose
		}
	}
	if mending != nil {
		c.Drop = append(c.Drop, *mending)
	}
	return c
}

// refused reports whether a person has said no to putting these very differences right, since they are there.
func (a Ailing) refused(items []DriftItem) bool {
	r := a.Rejected
	return r.Mending != nil && slices.Equal(r.Mending.Prints, prints(items)) &&
		!slices.ContainsFunc(items, func(it DriftItem) bool { return it.Opened.After(r.Finished) || it.Changed.After(r.Finished) })
}

// mayNot says why drift is not put right without asking, before there is a plan.
func (e Environment) mayNot(a Ailing, items []DriftItem) string {
	l := e.Drift.ApplyOnly
	if a.Stack.Unsettled {
		return "the last apply of the stack has not ended well"
	}
	if len(items) > l.MaxChanges {
		return fmt.Sprintf("%d resources differ, and max_changes is %d", len(items), l.MaxChanges)
	}
	for _, it := range items {
		d := it.Difference
		action := d.Action
		switch {
		case it.tries() >= RemedyTries:
			return fmt.Sprintf("the very same difference of %s is there again after it was put right %d times; "+
				"it is not put right without asking again until somebody acknowledges it, or it becomes another one", d.Address, it.tries())
		case d.Kind == DriftAppeared || d.Kind == DriftForgotten:
			return fmt.Sprintf("%s is %s, which people must look at", d.Address, d.Kind.Words())
		case action == "" && d.Kind == DriftDeleted:
			action = ActionCreate
		case action == "":
			action = ActionUpdate
		}
		if why := l.allows(d.Address, d.Type, action); why != "" {
			return why
		}
	}
	if a.Applied >= l.PerDay {
		return l.Spent(e.Name)
	}
	return ""
}

// Spent is why nothing more is put right without asking today.
func (l ApplyOnly) Spent(env string) string {
	return fmt.Sprintf("%s was put right without asking %d times within 24 hours, and per_day is %d", env, l.PerDay, l.PerDay)
}

// Prints tells these differences from others.
func (c Cure) Prints() string {
	h := sha256.New()
	for _, p := range prints(c.Items) {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func prints(items []DriftItem) []string {
	var out []string
	for _, it := range items {
		out = append(out, it.Fingerprint)
	}
	slices.Sort(out)
	return out
}

// MendingRun is the run that puts a stack right: as Git has asked for since before the drift was found. c says how.
func MendingRun(e Environment, a Ailing, c Cure, now time.Time) Run {
	r := newRun(e, KindDeploy, a.Stack.Spec, now)
	r.Subject, r.Commit, r.Base, r.By = SubjectRemedy(e.Name, r.Stack.Name), a.Check.Commit, a.Check.Commit, BySchedule
	r.HadState = !a.Stack.NeverApplied
	m := &Mending{Alone: c.What == RemediateApply, Limits: e.Drift.ApplyOnly, Why: c.Why, Prints: prints(c.Items)}
	var names []string
	for _, it := range c.Items {
		m.Items = append(m.Items, it.ID)
		m.Objects = append(m.Objects, Mendable{Address: it.Difference.Address, Hidden: it.Hidden})
		names = append(names, it.Difference.Address)
	}
	r.Mending = m
	const most = 3
	if n := len(names) - most; n > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", n))
	}
	r.Because = fmt.Sprintf("drift that run %s found: %s", a.Check.ID, strings.Join(names, ", "))
	return r
}

// Recheck is the look at a stack after a run has put it right, which tells whether it is.
func (r Run) Recheck(now time.Time) (Run, bool) {
	if r.Mending == nil || r.State != StateApplied && r.State != StateClean {
		return Run{}, false
	}
	return Run{
		Kind: KindDrift, State: StateQueued, Stack: r.Stack, Spec: r.Spec, Subject: SubjectDrift(r.Stack.Environment), Commit: r.Commit, Base: r.Commit,
		Because: fmt.Sprintf("run %s was to put it right", r.ID), By: BySchedule, Policy: r.Policy, Queued: now, HadState: true,
	}, true
}
