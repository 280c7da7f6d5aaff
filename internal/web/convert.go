package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func convert[T, U any](in []T, f func(T) U) []U {
	out := make([]U, 0, len(in))
	for _, v := range in {
		out = append(out, f(v))
	}
	return out
}

func diagnosticJSON(d plumbline.Diagnostic) DiagnosticJSON { return DiagnosticJSON(d) }
func findingJSON(f plumbline.Finding) FindingJSON          { return FindingJSON(f) }

// since is when a run came to its state, as far as the run itself tells.
func since(r plumbline.Run) time.Time {
	switch {
	case r.State == plumbline.StateQueued:
		return r.Queued
	case r.State.Active():
		return r.Started
	case r.State == plumbline.StateAwaiting:
		return r.Planned
	case r.State == plumbline.StateApproved:
		at := r.Planned // what was agreed to before counts from then on
		for _, a := range r.Approvals {
			if r.Plan != nil && a.Digest == r.Plan.Digest && a.At.After(at) {
				at = a.At
			}
		}
		if r.Glass != nil && r.Glass.At.After(at) {
			at = r.Glass.At
		}
		return at
	}
	return r.Finished
}

func (s *Server) runJSON(r plumbline.Run) RunJSON {
	j := RunJSON{
		ID: r.ID, Kind: r.Kind, State: r.State, Label: r.Label(),
		Repository: r.Stack.Repository, Environment: r.Stack.Environment, Stack: r.Stack.Name,
		Commit: r.Commit, Base: r.Base, MR: r.MR, Deployment: r.Deployment, Because: r.Because, By: r.By, WaitsFor: r.WaitsFor, Authors: r.Authors,
		Attempt: r.Attempt, Worker: r.Claim.Worker, Unapplied: r.Unapplied, DriftOpen: r.DriftOpen,
		RejectedBy: r.RejectedBy, Reason: r.Reason,
		Queued: r.Queued, NotBefore: r.NotBefore, Started: r.Started, Planned: r.Planned, Finished: r.Finished, Since: since(r),
		URL: s.link("runs", r.ID.String()),
	}
	if due := r.Due(s.c.Now()); due != "" {
		j.Label = "due " + due
	}
	if p := r.Plan; p != nil {
		j.Plan = &PlanInfoJSON{
			Digest: p.Digest, Engine: p.Engine, Version: p.Version, Summary: p.Summary, Text: p.Summary.String(), NoState: p.NoState,
			Destroys: convert(p.Destroy, func(n plumbline.Named) NamedJSON { return NamedJSON(n) }),
		}
	}
	for _, a := range r.Approvals {
		j.Approvals = append(j.Approvals, ApprovalJSON{
			By: a.By, Door: a.Door, Carried: a.Carried, Counts: r.Counts(a, s.c.Now()), Digest: a.Digest, At: a.At, Expires: a.Expires,
		})
	}
	if r.State == plumbline.StateAwaiting {
		j.Missing, j.ValidUntil = r.Missing(s.c.Now()), r.ValidUntil()
	}
	if r.State == plumbline.StateAwaiting || r.State == plumbline.StatePlanned && r.Kind == plumbline.KindProposal {
		if unmet := r.Unmet(s.c.Now()); len(unmet) > 0 {
			j.Needs = r.Needs(s.c.Now())
			j.Demands = convert(unmet, func(d plumbline.Demand) DemandJSON {
				return DemandJSON{Count: d.Count, From: d.From, Why: d.Why, Text: d.String()}
			})
		}
	}
	if r.State == plumbline.StateAwaiting || r.State == plumbline.StateApproved {
		if why, until, closed := r.Closed(s.c.Now()); closed {
			j.Closed = &ClosedJSON{why, until}
		}
	}
	if g := r.Glass; g != nil {
		j.Glass = &GlassJSON{By: g.By, Door: g.Door, Reason: g.Reason, Digest: g.Digest, At: g.At}
	}
	if f := r.Failure; f != nil {
		j.Failure = &FailureJSON{Kind: f.Kind, Text: f.Text, Next: f.Next, Diagnostics: convert(f.Diagnostics, diagnosticJSON)}
	}
	for _, c := range r.Created {
		j.Created = append(j.Created, CreatedJSON(c))
	}
	return j
}

// ImportBlocks are Terraform's import blocks for what a broken-off apply made and the state may not know; "" when there is nothing.
func (r RunJSON) ImportBlocks() string {
	if r.State != plumbline.StateInterrupted && r.State != plumbline.StateFailed {
		return ""
	}
	var b strings.Builder
	for _, c := range r.Created {
		if c.ID != "" && (c.Action == plumbline.ActionCreate || c.Action.Replaces()) {
			fmt.Fprintf(&b, "import {\n  to = %s\n  id = %s\n}\n", c.Address, quoteHCL(c.ID))
		}
	}
	return b.String()
}

// quoteHCL writes a string that HCL reads back as it is.
func quoteHCL(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(strconv.Quote(s))
}

// link is the address of a page for people elsewhere; "" when it is not known.
func (s *Server) link(parts ...string) string {
	if s.c.PublicURL == "" {
		return ""
	}
	return strings.TrimSuffix(s.c.PublicURL, "/") + path(parts...)
}

// path joins the escaped parts of a path of ours. Slashes in the last one stay: names of proposals have them.
func path(parts ...string) string {
	var b strings.Builder
	for i, p := range parts {
		p = url.PathEscape(p)
		if i == len(parts)-1 {
			p = strings.ReplaceAll(p, "%2F", "/")
		}
		b.WriteString("/" + p)
	}
	return b.String()
}

func eventJSON(e plumbline.Event) EventJSON {
	return EventJSON{At: e.At, From: e.From, To: e.To, Who: e.Who, Text: e.Text}
}

func environmentJSON(st plumbline.EnvironmentStatus) EnvironmentJSON {
	e := st.Environment
	return EnvironmentJSON{
		Repository: e.Repository, Environment: e.Name, Branch: e.Branch, Apply: e.Apply,
		State: st.State, Commit: st.Commit, Cause: st.Cause, Stacks: st.Stacks, OutOfSync: st.OutOfSync, NeverApplied: st.NeverApplied,
		Drift: st.Drifted, Waiting: append([]plumbline.RunID{}, st.Waiting...), Failed: append([]plumbline.RunID{}, st.Failed...),
	}
}

func stackJSON(st plumbline.StackStatus) StackJSON {
	return StackJSON{
		Name: st.Stack.Name, Alias: st.Spec.Alias, Dir: st.Spec.Dir, State: stackLabel(st), Commit: st.Commit, Checked: st.Checked,
		NeverApplied: st.NeverApplied, Removed: st.Removed, Drift: st.Drifted,
		LastRun: st.LastRun, LastKind: st.LastKind, LastState: st.LastState, DependsOn: st.Spec.DependsOn,
	}
}

// stackLabel is what a stack is, the worst first.
func stackLabel(st plumbline.StackStatus) string {
	landing := st.LastKind == plumbline.KindDeploy || st.LastKind == plumbline.KindDestroy
	switch {
	case st.Removed && st.NeverApplied:
		return "removed"
	case len(st.Spec.Broken) > 0:
		return "cannot be read"
	case landing && !st.LastState.Good() && st.LastState != "" && st.LastState != plumbline.StateSuperseded:
		return (&plumbline.Run{Kind: st.LastKind, State: st.LastState}).Label()
	case st.Removed:
		return "removed, not destroyed"
	case st.Drifted > 0:
		return "drifted"
	case st.LastKind == plumbline.KindDrift && (st.LastState == plumbline.StateFailed || st.LastState.Active()):
		return map[bool]string{true: "being checked", false: "check failed"}[st.LastState.Active()]
	case st.NeverApplied:
		return "never applied here"
	case st.LastKind == plumbline.KindDrift && st.LastState == plumbline.StatePlanned:
		return "not yet applied"
	case !st.Checked:
		return "not checked yet"
	}
	return "in sync"
}

func deploymentJSON(d plumbline.Deployment, runs []plumbline.Run) DeploymentJSON {
	j := DeploymentJSON{
		ID: d.ID, Commit: d.Commit, Previous: d.Previous, By: d.By, Created: d.Created, Runs: len(runs),
		State: deploymentState(runs), Counts: map[plumbline.State]int{},
	}
	for _, r := range runs {
		j.Counts[r.State]++
	}
	return j
}

// deploymentState is what became of a deployment as a whole.
func deploymentState(runs []plumbline.Run) string {
	gone := 0
	for _, r := range runs {
		if r.State == plumbline.StateSuperseded {
			gone++
		}
	}
	switch st := plumbline.StatusOf(plumbline.Environment{}, "head", runs, nil).State; {
	case len(runs) == 0:
		return "nothing to do"
	case gone == len(runs):
		return "superseded"
	case st != plumbline.EnvInSync:
		return string(st)
	}
	return "applied"
}

func attributeJSON(a plumbline.Attribute) AttributeJSON {
	return AttributeJSON{
		Path: a.Path, Before: ValueJSON(a.Before), After: ValueJSON(a.After), Sensitive: a.Sensitive, Unknown: a.Unknown, Forces: a.Forces, Beside: a.Beside, Whole: a.Whole,
	}
}

func outputJSON(o plumbline.OutputChange) OutputJSON {
	return OutputJSON{Name: o.Name, Action: o.Action, Before: ValueJSON(o.Before), After: ValueJSON(o.After), Sensitive: o.Sensitive, Unknown: o.Unknown}
}

func changeJSON(c plumbline.Change) ChangeJSON {
	return ChangeJSON{
		Address: c.Address, Previous: c.Previous, Type: c.Type, Provider: c.Provider, Action: c.Action, Reason: c.Reason, Deposed: c.Deposed,
		Importing: c.Importing, ReplacePaths: c.ReplacePaths, Attributes: convert(c.Attributes, attributeJSON), Omitted: c.Omitted,
	}
}

// NewPlanJSON is a plan as the API and the command line give it to programs.
func NewPlanJSON(p plumbline.Plan) PlanJSON {
	return PlanJSON{
		Digest: p.Digest, Keyed: p.Keyed, Engine: p.Engine, Version: p.Version, Summary: p.Summary, NoState: p.NoState, Errored: p.Errored, Partial: p.Partial, Truncated: p.Truncated,
		Changes: convert(p.Changes, changeJSON), Outputs: convert(p.Outputs, outputJSON), Drift: convert(p.Drift, changeJSON),
		Deferred: convert(p.Deferred, changeJSON), Checks: convert(p.Checks, func(c plumbline.Check) CheckJSON { return CheckJSON(c) }),
	}
}

func (s *Server) mergeRequestJSON(m plumbline.MergeRequest, runs []plumbline.Run) MergeRequestJSON {
	return MergeRequestJSON{
		Repository: m.Repository, ID: m.ID, Name: m.Name(), Title: m.Title, Author: m.Author, URL: m.URL, Source: m.Source, Target: m.Target,
		Head: m.Head, State: m.State, Draft: m.Draft, Fork: m.Fork, Conflict: m.Conflict, Skipped: m.Skipped, Removed: m.Removed,
		Findings: convert(m.Findings, findingJSON), Updated: m.UpdatedAt, Runs: convert(runs, s.runJSON),
	}
}

func checkResultJSON(c plumbline.CheckResult) CheckResultJSON {
	return CheckResultJSON{Name: c.Name, Verdict: c.Verdict, Text: c.Text, Findings: convert(c.Findings, findingJSON), Output: c.Output}
}

func policyFindingJSON(f plumbline.PolicyFinding) PolicyFindingJSON { return PolicyFindingJSON(f) }
func reasonJSON(r plumbline.Reason) ReasonJSON                      { return ReasonJSON(r) }

func freezeJSON(f plumbline.Frozen) FreezeJSON {
	return FreezeJSON{ID: f.ID, Name: f.Name, From: f.From, Until: f.Until, Reason: f.Reason, By: f.By}
}

// openings is how many of the next are shown.
const openings = 5

func calendarJSON(c plumbline.Calendar, set []plumbline.Frozen, now time.Time) CalendarJSON {
	j := CalendarJSON{Freezes: []FreezeJSON{}}
	for _, f := range c.Freezes {
		if f.Until.IsZero() || f.Until.After(now) {
			j.Freezes = append(j.Freezes, freezeJSON(plumbline.Frozen{Freeze: f}))
		}
	}
	freezes := slices.Clone(c.Freezes)
	for _, f := range set {
		j.Freezes, freezes = append(j.Freezes, freezeJSON(f)), append(freezes, f.Freeze)
	}
	c.Freezes = freezes
	j.Windows = convert(c.Windows, func(w plumbline.Window) WindowJSON {
		return WindowJSON{Name: w.Name, Allow: w.Allow, For: hours(w.For), Timezone: cmp.Or(w.Timezone, "UTC")}
	})
	if why, until, closed := c.Closed(now); closed {
		j.Closed = &ClosedJSON{why, until}
	}
	j.Openings = convert(c.Openings(now, openings), func(o plumbline.Span) SpanJSON { return SpanJSON(o) })
	return j
}

// hours is a window's length without the zeros at its end: "8h", "90m" is "1h30m".
func hours(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "0s")
	if d >= time.Hour && d%time.Hour == 0 {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func promotionJSON(p plumbline.Promotion) PromotionJSON {
	j := PromotionJSON{
		To: p.To.Name, Source: p.From.Branch, Target: p.To.Branch, Same: p.Same, MergeRequest: p.Open,
		Stacks: convert(p.Stacks, func(s plumbline.Promotable) PromotableJSON { return PromotableJSON(s) }),
	}
	for _, s := range p.Stacks {
		if s.Ahead {
			j.Ahead++
		}
	}
	return j
}
