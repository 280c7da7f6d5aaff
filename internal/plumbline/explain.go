package plumbline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explain tells in a paragraph why a run exists and what it waits for. Siblings are the runs of its deployment.
func Explain(r Run, siblings []Run, now time.Time) string {
	var b strings.Builder
	say := func(format string, args ...any) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, format, args...)
	}
	switch r.Kind {
	case KindProposal:
		say("Run %s plans %s in %s because merge request %s (%s) touches it: %s.", r.ID, r.Stack.Name, r.Stack.Environment, MergeRequest{ID: r.MR}.Name(), Short(r.Commit), r.Because)
	case KindDrift:
		say("Run %s compares %s in %s with %s: %s.", r.ID, r.Stack.Name, r.Stack.Environment, Short(r.Commit), r.Because)
	case KindDestroy:
		say("Run %s plans to destroy %s in %s, which is not in the branch any more (%s).", r.ID, r.Stack.Name, r.Stack.Environment, r.Because)
	default:
		say("Run %s plans %s in %s at %s: %s.", r.ID, r.Stack.Name, r.Stack.Environment, Short(r.Commit), r.Because)
	}
	switch r.State {
	case StateQueued:
		if bl := Blockers(r, siblings); len(bl) > 0 {
			var names []string
			for _, s := range bl {
				names = append(names, fmt.Sprintf("%s (run %s, %s)", s.Stack.Name, s.ID, s.Label()))
			}
			say("It waits for %s, which it depends on.", strings.Join(names, ", "))
		} else if due := r.Due(now); due != "" {
			say("It is due %s: the checks of one tick are spread. `plumbline drift check` begins it now.", due)
		} else {
			say("It waits for a worker.")
		}
	case StatePlanning:
		say("%s has been planning it for %s.", r.Claim.Worker, ago(now.Sub(r.Started)))
	case StateAwaiting:
		say("The plan %s (%s) waits for %s.", ShortDigest(r.Plan.Digest), r.Plan.Summary, r.Needs(now))
		if m := r.Mending; m != nil && m.Why != "" {
			say("It is not applied without asking: %s.", m.Why)
		}
		if stale := r.staleApprovals(now); stale != "" {
			say("%s", stale)
		}
		if why, _, closed := r.Closed(now); closed {
			say("Besides, %s is %s.", r.Stack.Environment, why)
		}
		if until := r.ValidUntil(); !until.IsZero() {
			say("The plan can be approved until %s.", until.UTC().Format("2006-01-02 15:04 MST"))
		}
		say("`plumbline runs approve %s --digest %s` approves it.", r.ID, ShortDigest(r.Plan.Digest))
	case StateApproved:
		waits := "it waits for a worker"
		if why, _, closed := r.Closed(now); closed {
			waits = r.Stack.Environment + " is " + why
		}
		say("The plan %s is %s; %s.", ShortDigest(r.Plan.Digest), r.agreement(), waits)
	case StateApplying:
		say("%s has been applying the plan %s for %s, %s.", r.Claim.Worker, ShortDigest(r.Plan.Digest), ago(now.Sub(r.Started)), r.agreement())
	case StateApplied:
		say("It was applied %s ago, %s.", ago(now.Sub(r.Finished)), r.agreement())
	case StateClean:
		say("Nothing is to be done.")
	case StatePlanned:
		switch {
		case r.Kind == KindProposal:
			say("It ends here; what it would do (%s) is planned again after the merge.", r.Plan.Summary)
		case r.Kind == KindDrift && r.Plan.NoState:
			say("The stack was never applied here; `plumbline env deploy %s %s` would.", r.Stack.Environment, r.Stack.Name)
		case r.Kind == KindDrift && r.Partial != "":
			say("The configuration cannot be planned; only what is known to have been made was compared with reality. %s", r.Partial)
		case r.Kind == KindDrift && r.Ahead != "":
			say("%s asks for changes that were never applied. Compared with %s, which was, nothing was changed outside Git.", Short(r.Ahead), Short(r.Commit))
		case r.Kind == KindDrift:
			say("Git asks for changes that were never applied (%s); nothing was changed outside Git.", r.Plan.Summary)
		default:
			say("%s has apply = \"never\": the plan is shown, nobody applies it here.", r.Stack.Environment)
		}
	case StateDrifted:
		what := fmt.Sprintf("%d resources were", r.DriftOpen)
		if r.DriftOpen == 1 {
			what = "1 resource was"
		}
		say("%s changed outside Git; `plumbline drift list` names what.", what)
		switch {
		case r.Ahead != "":
			say("That is compared with %s, which was applied last; %s asks for changes that were never applied.", Short(r.Commit), Short(r.Ahead))
		case r.Unapplied:
			say("Besides, Git asks for changes that were never applied.")
		}
		if r.Partial != "" {
			say("The configuration cannot be planned, so that there may be more. %s", r.Partial)
		}
	case StateFailed, StateInterrupted:
		if r.Failure != nil {
			verb := "failed"
			if r.State == StateInterrupted {
				verb = "was interrupted"
			}
			say("It %s: %s.", verb, strings.TrimSuffix(r.Failure.Text, "."))
			if r.Failure.Next != "" {
				say("Next: %s", r.Failure.Next)
			}
		}
		if r.Kind == KindDeploy || r.Kind == KindDestroy {
			say("Stacks that depend on it are held back; others go on. `plumbline runs retry %s` plans it again.", r.ID)
		}
	case StateSuperseded:
		say("A newer run took its place.")
	case StateCanceled:
		say("It was %s.", r.Reason)
	case StateRejected:
		say("%s rejected it: %s.", r.RejectedBy, strings.TrimSuffix(r.Reason, "."))
	case StateExpired:
		say("Nobody approved it in time; `plumbline runs retry %s` plans it again.", r.ID)
	}
	return b.String()
}

func (r *Run) agreement() string {
	if g := r.Glass; r.broken() {
		return fmt.Sprintf("against the rules, as %s broke the glass (%s)", g.By, strings.TrimSuffix(g.Reason, "."))
	}
	var by []string
	for _, a := range r.Approvals {
		if r.Plan == nil || a.Digest != r.Plan.Digest || a.Config != r.Plan.Config {
			continue
		}
		who := a.By
		if a.Carried != "" {
			who += " on " + a.Carried
		}
		by = append(by, who)
	}
	switch {
	case len(by) == 0 && r.Cleared():
		return fmt.Sprintf("approved without asking by remediate = apply of %s (limits: %s)", r.Stack.Environment, r.Mending.Limits)
	case len(by) == 0:
		return "as its environment applies automatically"
	}
	return "approved by " + strings.Join(by, ", ")
}

// staleApprovals says why a yes that was given does not count.
func (r *Run) staleApprovals(now time.Time) string {
	for _, a := range r.Approvals {
		switch why := r.excluded(a.person()); {
		case a.Digest != r.Plan.Digest:
			return fmt.Sprintf("The approval of %s was for the plan %s and does not count for this one: the plan has changed since.", a.By, ShortDigest(a.Digest))
		case a.Config != r.Plan.Config:
			return fmt.Sprintf("The approval of %s was for the same changes made in another way: the settings of a provider, a provisioner, a variable or the engine have changed since.", a.By)
		case why != "":
			return why
		case !a.Expires.IsZero() && !now.Before(a.Expires):
			return fmt.Sprintf("The approval of %s was good until %s.", a.By, a.Expires.UTC().Format("2006-01-02 15:04 MST"))
		}
	}
	return ""
}

// Needs says what the plan at hand still needs: "2 approvals by group:sre, and an approval by group:dba (plumbline.storage: …)".
func (r *Run) Needs(now time.Time) string {
	var parts []string
	for _, d := range r.Unmet(now) {
		parts = append(parts, d.String())
	}
	if len(parts) == 0 {
		return "an approval"
	}
	return strings.Join(parts, ", and ")
}

func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Ago is a duration as people say it.
func Ago(d time.Duration) string { return ago(d) }

// Frozen returns the run with the freezes of its environment that people have set, beside those of its configuration.
func (r Run) Frozen(set []Frozen) Run {
	freezes := slices.Clone(r.Policy.Calendar.Freezes)
	for _, f := range set {
		if f.Repository == r.Stack.Repository && f.Environment == r.Stack.Environment {
			freezes = append(freezes, f.Freeze)
		}
	}
	r.Policy.Calendar.Freezes = freezes
	return r
}

// Outdated returns the newest yes that was given to another plan than the one at hand: what has changed since is what there is to read.
func (r *Run) Outdated() (Approval, bool) {
	var newest Approval
	found := false
	for _, a := range r.Approvals {
		if r.Plan != nil && (a.Digest != r.Plan.Digest || a.Config != r.Plan.Config) && (!found || a.At.After(newest.At)) {
			newest, found = a, true
		}
	}
	return newest, found
}

// Reason is one link of the chain that leads to where a run stands.
type Reason struct {
	What    string // "run 17 waits for live/net"
	Because string // why; "" where What says all
	Run     RunID  // that it is about, or that is in the way; 0: none
}

// Reasons tells link by link why a run was planned, what it waits for, what that waits for, or what ended it. around are the runs of its deployment and
// others of its stack, history its own.
func Reasons(r Run, around []Run, history []Event, now time.Time) []Reason {
	c := &trail{around: around, now: now, told: map[RunID]bool{}}
	what := fmt.Sprintf("run %s plans %s in %s at %s", r.ID, r.Stack.Name, r.Stack.Environment, Short(r.Commit))
	switch r.Kind {
	case KindProposal:
		what = fmt.Sprintf("run %s plans %s in %s for merge request %s at %s", r.ID, r.Stack.Name, r.Stack.Environment, MergeRequest{ID: r.MR}.Name(), Short(r.Commit))
	case KindDrift:
		what = fmt.Sprintf("run %s compares %s in %s with %s", r.ID, r.Stack.Name, r.Stack.Environment, Short(r.Commit))
	case KindDestroy:
		what = fmt.Sprintf("run %s plans to destroy %s in %s", r.ID, r.Stack.Name, r.Stack.Environment)
	}
	first := r.Because
	for _, e := range history {
		if e.From == "" && e.Text != "" {
			first = e.Text // a retry writes its own reason over that of the run
		}
	}
	c.add(r.ID, what, first)
	for _, e := range history {
		if e.From != "" && e.To == StateQueued {
			c.add(r.ID, fmt.Sprintf("run %s was queued again %s ago", r.ID, ago(now.Sub(e.At))), e.Text)
		}
	}
	c.stands(r)
	return c.list
}

type trail struct {
	around []Run
	now    time.Time
	told   map[RunID]bool
	list   []Reason
}

func (c *trail) add(run RunID, what, because string) {
	c.list = append(c.list, Reason{What: what, Because: strings.TrimSuffix(because, "."), Run: run})
}

// stands says what a run waits for, or what ended it, then the same of each run in its way.
func (c *trail) stands(r Run) {
	if c.told[r.ID] {
		return
	}
	c.told[r.ID] = true
	name := "run " + r.ID.String()
	switch r.State {
	case StateQueued:
		c.queued(r, name)
	case StatePlanning:
		c.add(r.ID, fmt.Sprintf("%s has been planning for %s", r.Claim.Worker, ago(c.now.Sub(r.Started))), "")
	case StateAwaiting:
		for _, d := range r.Unmet(c.now) {
			because := d.Why
			if because == "" {
				because = r.Stack.Environment + " asks for it"
			}
			d.Why = ""
			c.add(r.ID, name+" waits for "+d.String(), because)
		}
		if stale := r.staleApprovals(c.now); stale != "" {
			c.add(r.ID, "not everybody's yes counts", stale)
		}
		c.closed(r)
	case StateApproved:
		c.add(r.ID, name+" may be applied", r.agreement())
		if !c.closed(r) {
			c.behind(r, name)
		}
	case StateApplying:
		c.add(r.ID, fmt.Sprintf("%s has been applying it for %s", r.Claim.Worker, ago(c.now.Sub(r.Started))), r.agreement())
	case StateApplied:
		c.add(r.ID, fmt.Sprintf("%s was applied %s ago", name, ago(c.now.Sub(r.Finished))), r.agreement())
	case StateClean:
		c.add(r.ID, name+" is done", "nothing is to be changed")
	case StatePlanned, StateDrifted:
		if r.Kind == KindProposal {
			c.add(r.ID, name+" ends here", "what it would do is planned again after the merge")
			return
		}
		c.add(r.ID, name+" is done", r.Label())
	default:
		c.ended(r, name)
	}
}

func (c *trail) queued(r Run, name string) {
	blockers := Blockers(r, c.around)
	for _, b := range blockers {
		c.add(b.ID, name+" waits for "+b.Stack.Name, fmt.Sprintf("it depends on it (run %s, %s)", b.ID, b.Label()))
		c.stands(b)
	}
	if len(blockers) == 0 {
		c.behind(r, name)
	}
}

// behind is what keeps a run from being taken up that needs nothing more.
func (c *trail) behind(r Run, name string) {
	for _, o := range c.around {
		if o.ID != r.ID && o.Stack == r.Stack && o.State.Active() {
			c.add(o.ID, name+" waits for run "+o.ID.String(), fmt.Sprintf("that is %s, and a stack has one run at a time", o.State))
			return
		}
	}
	if due := r.Due(c.now); due != "" {
		c.add(r.ID, name+" is due "+due, "the checks of one tick are spread")
		return
	}
	c.add(r.ID, name+" waits for a worker", "")
}

// Due says when a queued run may be begun that may not be yet, as in "at 12:03:07 UTC"; "" if it may.
func (r *Run) Due(now time.Time) string {
	if r.State != StateQueued || !r.NotBefore.After(now) {
		return ""
	}
	return fmt.Sprintf("at %s", r.NotBefore.UTC().Format("15:04:05 MST"))
}

func (c *trail) closed(r Run) bool {
	why, _, closed := r.Closed(c.now)
	if closed {
		c.add(r.ID, r.Stack.Environment+" takes no changes now", why)
	}
	return closed
}

// ended says what ended a run before it was good.
func (c *trail) ended(r Run, name string) {
	switch r.State {
	case StateFailed, StateInterrupted:
		c.failed(r, name)
	case StateSuperseded:
		var next *Run
		for i, o := range c.around {
			if o.Stack == r.Stack && o.Subject == r.Subject && o.ID > r.ID && (next == nil || o.ID < next.ID) {
				next = &c.around[i]
			}
		}
		if next == nil {
			c.add(r.ID, name+" was superseded", "a newer commit took its place")
			return
		}
		c.add(next.ID, fmt.Sprintf("%s was superseded by run %s at %s", name, next.ID, Short(next.Commit)), next.Because)
		c.stands(*next)
	case StateCanceled:
		c.add(r.ID, name+" was canceled", r.Reason)
	case StateRejected:
		c.add(r.ID, name+" was rejected by "+r.RejectedBy, r.Reason)
	case StateExpired:
		c.add(r.ID, name+" expired", "nobody agreed in time")
	}
}

func (c *trail) failed(r Run, name string) {
	switch {
	case r.Failure == nil:
		c.add(r.ID, name+" "+string(r.State), "")
	case r.Failure.Kind == FailPolicy && len(r.denied()) > 0:
		for _, f := range r.denied() {
			text := f.Message
			if f.Address != "" {
				text = f.Address + ": " + text
			}
			c.add(r.ID, name+" is forbidden by "+f.Policy, text)
		}
	case r.Failure.Kind == FailUnsigned:
		c.add(r.ID, name+" was refused for what "+Short(r.Commit)+" brings", r.Failure.Text)
	case r.State == StateInterrupted:
		c.add(r.ID, name+" was interrupted", r.Failure.Text)
	default:
		c.add(r.ID, name+" failed", r.Failure.Text)
	}
}
