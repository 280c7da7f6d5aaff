package plumbline

import (
	"fmt"
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
		} else {
			say("It waits for a worker.")
		}
	case StatePlanning:
		say("%s has been planning it for %s.", r.Claim.Worker, ago(now.Sub(r.Started)))
	case StateAwaiting:
		more := "an approval"
		if n := r.Missing(now); n > 1 {
			more = fmt.Sprintf("%d approvals", n)
		}
		say("It waits for %s of the plan %s (%s).", more, ShortDigest(r.Plan.Digest), r.Plan.Summary)
		if stale := r.staleApprovals(); stale != "" {
			say("%s", stale)
		}
		if until := r.ValidUntil(); !until.IsZero() {
			say("The plan can be approved until %s.", until.UTC().Format("2006-01-02 15:04 MST"))
		}
		say("`plumbline runs approve %s --digest %s` approves it.", r.ID, ShortDigest(r.Plan.Digest))
	case StateApproved:
		say("The plan %s is %s; it waits for a worker.", ShortDigest(r.Plan.Digest), r.agreement())
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
		if r.Unapplied {
			say("Besides, Git asks for changes that were never applied.")
		}
	case StateFailed, StateInterrupted:
		if r.Failure != nil {
			verb := "failed"
			if r.State == StateInterrupted {
				verb = "was interrupted"
			}
			say("It %s: %s", verb, r.Failure.Text)
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
		say("%s rejected it: %s.", r.RejectedBy, r.Reason)
	case StateExpired:
		say("Nobody approved it in time; `plumbline runs retry %s` plans it again.", r.ID)
	}
	return b.String()
}

func (r *Run) agreement() string {
	var by []string
	for _, a := range r.Approvals {
		if r.Plan != nil && a.Digest == r.Plan.Digest {
			by = append(by, a.By)
		}
	}
	if len(by) == 0 {
		return "as its environment applies automatically"
	}
	return "approved by " + strings.Join(by, ", ")
}

func (r *Run) staleApprovals() string {
	for _, a := range r.Approvals {
		if a.Digest != r.Plan.Digest {
			return fmt.Sprintf("The approval of %s was for the plan %s and does not count for this one: the plan has changed since.", a.By, ShortDigest(a.Digest))
		}
	}
	return ""
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
