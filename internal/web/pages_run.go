package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// runDetail is the body of a run's page.
type runDetail struct {
	Run         plumbline.Run
	Explanation string
	Chain       []ReasonJSON
	Gate        *agreement // nil: nobody is asked
	Needs       string     // what the plan still needs; "": nothing
	Held        *held      // nil: its environment takes changes, or it does not wait for that
	Since       *SinceJSON
	Findings    []plumbline.PolicyFinding // denials first
	Checks      []plumbline.CheckResult
	Plan        *plumbline.Plan // nil: none, or not kept any more
	Changes     []plumbline.Change
	Hidden      int // changes that are left out of the page
	Red         []plumbline.Change
	Log         string
	LogCut      bool // the log is longer
	Events      []plumbline.Event
	Siblings    []plumbline.Run
	Imports     string // import blocks for what the state may not know
	Offers      offers
}

// agreement is who must agree to a plan, and who has.
type agreement struct {
	Demands   []demand
	Approvals []approval
	Note      string // of a merge request: when that counts
}

// demand is agreement that a plan needs.
type demand struct {
	plumbline.Demand
	Have int // of Count
}

// approval is a person's yes.
type approval struct {
	plumbline.Approval
	Not string // why it does not count; "": it does
}

// held is why nothing is applied now.
type held struct {
	Why      string
	Openings []plumbline.Span
}

// gateOf tells who must agree to the plan of a run and who has, as it stood when the run ended if it has.
func gateOf(r plumbline.Run, access plumbline.Access, now time.Time) *agreement {
	if r.Plan == nil || r.Kind == plumbline.KindDrift || r.Policy.Apply == plumbline.ApplyNever {
		return nil
	}
	switch {
	case r.State == plumbline.StatePlanned && r.Kind == plumbline.KindProposal:
	case r.State.Ended() && !r.Finished.IsZero() && r.Started.After(r.Planned):
		now = r.Started // it was applied: what counted then is what mattered
	case r.State.Ended() && !r.Finished.IsZero():
		now = r.Finished
	case r.State == plumbline.StateApplying:
		now = r.Started
	}
	blank := r
	blank.Approvals, blank.Glass = nil, nil
	unbroken := r
	unbroken.Glass = nil
	missing := unbroken.Unmet(now)
	g := &agreement{}
	switch {
	case r.Kind == plumbline.KindProposal && r.Policy.Approval.Carry:
		g.Note = "what is agreed to here counts after the merge, if the plan is the same then"
	case r.Kind == plumbline.KindProposal:
		g.Note = "they are asked after the merge"
	}
	for _, d := range blank.Unmet(now) {
		have := d.Count
		for _, m := range missing {
			if m.Why == d.Why && slices.Equal(m.From, d.From) {
				have -= m.Count
			}
		}
		g.Demands = append(g.Demands, demand{d, have})
	}
	for _, a := range r.Approvals {
		g.Approvals = append(g.Approvals, approval{a, whyNot(r, access, a, now)})
	}
	if !r.Plan.Changes || len(g.Demands)+len(g.Approvals) == 0 || denied(r) && len(g.Approvals) == 0 {
		return nil
	}
	return g
}

// whyNot says why a yes does not count, "" if it does.
func whyNot(r plumbline.Run, access plumbline.Access, a plumbline.Approval, now time.Time) string {
	switch {
	case a.Digest != r.Plan.Digest:
		return "It was for another plan."
	case a.Config != r.Plan.Config:
		return "It was for the same changes, made in another way."
	case !a.Expires.IsZero() && !now.Before(a.Expires):
		return "It is too old."
	}
	if !r.Counts(a, now) {
		// Somebody whose yes does not count would be told why if they gave it now. A plan that is too old makes no difference to that.
		trial := r
		trial.State, trial.Planned = plumbline.StateAwaiting, now
		who := plumbline.Person{Name: a.By, Also: a.Also, Groups: a.Groups, Door: a.Door}
		return refusal(trial.Approve(who, access, a.Digest, now))
	}
	alone, nobody := r, r
	alone.Approvals, alone.Glass, nobody.Approvals, nobody.Glass = []plumbline.Approval{a}, nil, nil, nil
	if n := needs(nobody, now); n > 0 && needs(alone, now) == n {
		return "They are none of those who must agree."
	}
	return ""
}

// refusal is what an error tells people.
func refusal(err error) string {
	var r *plumbline.Refusal
	switch {
	case errors.As(err, &r):
		return strings.TrimSpace(r.What + " " + r.Next)
	case err != nil:
		return err.Error()
	}
	return ""
}

// heldBack tells why a run that waits cannot be applied now, and when it can.
func heldBack(r plumbline.Run, now time.Time) *held {
	if r.State != plumbline.StateAwaiting && r.State != plumbline.StateApproved {
		return nil
	}
	why, _, closed := r.Closed(now)
	if !closed {
		return nil
	}
	return &held{why, r.Policy.Calendar.Openings(now, 3)}
}

// offers are the decisions that a run's state and the person's roles allow.
type offers struct {
	Approve, Reject, Retry, Cancel, Glass bool
	Not                                   string // why this person's yes is not asked for although somebody's is; "" where nobody's is, or theirs
}

// offersFor tries the decisions on a copy of the run: what is offered is what would be taken. seen: its plan is kept, as nobody agrees to what they
// cannot see.
func offersFor(r plumbline.Run, access plumbline.Access, who plumbline.Person, seen bool, now time.Time) offers {
	may := func(p plumbline.Permission) bool {
		return access.Allow(who, p, r.Stack.Repository+"/"+r.Stack.Environment) == nil
	}
	var o offers
	ahead := r.Kind == plumbline.KindProposal && r.State == plumbline.StatePlanned && r.Policy.Apply == plumbline.ApplyApproval
	switch r.State {
	case plumbline.StateAwaiting:
		o.Cancel = may(plumbline.MayCancel)
	case plumbline.StateFailed, plumbline.StateInterrupted, plumbline.StateRejected, plumbline.StateExpired, plumbline.StateCanceled:
		o.Retry = may(plumbline.MayRetry) && (r.Failure == nil || r.Failure.Kind != plumbline.FailUnsigned)
	default:
		o.Cancel = !r.State.Ended() && r.Wish == plumbline.WishNone && may(plumbline.MayCancel)
	}
	if r.State == plumbline.StateAwaiting || ahead {
		o.Reject = may(plumbline.MayReject)
	}
	if !seen {
		return o
	}
	if r.State == plumbline.StateAwaiting || ahead && r.Policy.Approval.Carry {
		o.Not = notAsked(r, access, who, now)
		o.Approve = o.Not == ""
	}
	_, _, closed := r.Closed(now)
	trial := r
	o.Glass = (r.State == plumbline.StateAwaiting || r.State == plumbline.StateApproved && closed) &&
		may(plumbline.MayBreakGlass) && trial.BreakGlass(who, r.Plan.Digest, "trial", now) == nil
	return o
}

// notAsked says why a person's yes would be refused or change nothing, "" when it is what the plan waits for.
func notAsked(r plumbline.Run, access plumbline.Access, who plumbline.Person, now time.Time) string {
	if denied(r) {
		return "A policy forbids this plan; nobody can approve it."
	}
	if err := access.Allow(who, plumbline.MayApprove, r.Stack.Repository+"/"+r.Stack.Environment); err != nil {
		return refusal(err)
	}
	trial := r
	if err := trial.Approve(who, access, r.Plan.Digest, now); err != nil {
		return refusal(err)
	}
	if needs(trial, now) == needs(r, now) && len(r.Unmet(now)) > 0 {
		return "You have agreed to this plan; somebody else has to agree as well."
	}
	if len(r.Unmet(now)) == 0 && r.State != plumbline.StateAwaiting {
		return "Everybody who must agree has agreed."
	}
	return ""
}

// denied reports whether a policy forbids the plan of a run.
func denied(r plumbline.Run) bool {
	return slices.ContainsFunc(r.Findings, func(f plumbline.PolicyFinding) bool { return f.Level == plumbline.PolicyDeny })
}

// needs is how many approvals are still missing, of all demands.
func needs(r plumbline.Run, now time.Time) int {
	n := 0
	for _, d := range r.Unmet(now) {
		n += d.Count
	}
	return n
}

const (
	// pageChanges is how many changes a page shows unless it is asked for all.
	pageChanges = 1000
	// pageLog is how much of a log's end a page shows, in bytes.
	pageLog = 64 << 10
)

func (s *Server) runPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	ctx, now := r.Context(), s.c.Now()
	run, err := s.run(ctx, r.PathValue("run"))
	if err != nil {
		return err
	}
	inForce, err := s.inForce(ctx, run)
	if err != nil {
		return err
	}
	run = inForce[0]
	d := runDetail{
		Run: run, Gate: gateOf(run, s.c.Access, now), Held: heldBack(run, now), Findings: slices.Clone(run.Findings), Checks: run.Checks,
		Imports: s.runJSON(run).ImportBlocks(),
	}
	slices.SortStableFunc(d.Findings, func(a, b plumbline.PolicyFinding) int { return cmp.Compare(severity(b.Level), severity(a.Level)) })
	why, err := s.why(ctx, run)
	if err != nil {
		return err
	}
	if len(run.Unmet(now)) > 0 {
		d.Needs = run.Needs(now)
	}
	d.Explanation, d.Chain = why.Text, why.Chain
	siblings, err := s.siblings(ctx, run)
	if err != nil {
		return err
	}
	d.Siblings = slices.DeleteFunc(siblings, func(sib plumbline.Run) bool { return sib.ID == run.ID })
	if !run.State.Ended() || run.State == plumbline.StatePlanned {
		if d.Since, err = s.sinceApproval(ctx, run); err != nil {
			return err
		}
	}
	if err := s.planOf(ctx, &d, r.URL.Query().Get("all") != ""); err != nil {
		return err
	}
	d.Offers = offersFor(run, s.c.Access, who.person(s.c.Access), d.Plan != nil, now)
	if d.Events, err = s.c.Store.Events(ctx, run.ID); err != nil {
		return err
	}
	end := tail{most: pageLog}
	logged, err := s.c.Logs.WriteLog(ctx, &end, run, 0)
	if err != nil {
		return err
	}
	d.Log, d.LogCut = end.String()
	v := view{Title: "Run " + run.ID.String() + " · " + run.Stack.Environment + " · " + run.Stack.Name, Section: "/runs", Body: d}
	if !run.State.Ended() {
		v.Live, v.LiveVersion = path("runs", run.ID.String())+"/events", liveVersion(run, logged)
	}
	return s.show(w, who, "run", v)
}

// planOf adds a run's plan to its page, the most dangerous changes first.
func (s *Server) planOf(ctx context.Context, d *runDetail, all bool) error {
	var err error
	if d.Plan, err = s.plan(ctx, d.Run); err != nil || d.Plan == nil {
		return err
	}
	d.Changes = slices.Clone(d.Plan.Changes)
	slices.SortStableFunc(d.Changes, func(a, b plumbline.Change) int { return cmp.Compare(b.Action.Danger(), a.Action.Danger()) })
	for _, c := range d.Changes {
		if c.Action.Destroys() {
			d.Red = append(d.Red, c)
		}
	}
	if !all && len(d.Changes) > pageChanges {
		// The least dangerous are at the end.
		d.Hidden = len(d.Changes) - pageChanges
		d.Changes = d.Changes[:pageChanges]
	}
	return nil
}

// severity orders what policies say: what is forbidden first.
func severity(l plumbline.PolicyLevel) int {
	return slices.Index([]plumbline.PolicyLevel{plumbline.PolicyWarn, plumbline.PolicyApprove, plumbline.PolicyDeny}, l)
}

func (s *Server) approveForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	run, err := s.approve(r.Context(), who, r.PathValue("run"), r.PostForm.Get("digest"))
	return s.back(w, r, run, err)
}

func (s *Server) rejectForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	run, err := s.reject(r.Context(), who, r.PathValue("run"), r.PostForm.Get("reason"))
	return s.back(w, r, run, err)
}

func (s *Server) breakGlassForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	if err := parseForm(r); err != nil {
		return err
	}
	if r.PostForm.Get("sure") != "yes" {
		return refuse(plumbline.ErrInvalid, "Tick the box if it cannot wait.", "Nothing was done: the box that says that you have read the plan is not ticked.")
	}
	run, err := s.breakGlass(r.Context(), who, r.PathValue("run"), r.PostForm.Get("digest"), r.PostForm.Get("reason"))
	return s.back(w, r, run, err)
}

func (s *Server) retryForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	run, err := s.retry(r.Context(), who, r.PathValue("run"))
	return s.back(w, r, run, err)
}

func (s *Server) cancelForm(w http.ResponseWriter, r *http.Request, who Identity) error {
	run, err := s.cancel(r.Context(), who, r.PathValue("run"))
	return s.back(w, r, run, err)
}

// back leads to the run's page after a decision.
func (s *Server) back(w http.ResponseWriter, r *http.Request, run plumbline.Run, err error) error {
	if err != nil {
		return err
	}
	http.Redirect(w, r, path("runs", run.ID.String()), http.StatusSeeOther)
	return nil
}
