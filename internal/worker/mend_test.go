package worker

import (
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// mending files a run that puts a route right.
func (r *rig) mending(env plumbline.Environment, stack string) plumbline.RunID {
	r.t.Helper()
	ref := plumbline.StackRef{Repository: env.Repository, Environment: env.Name, Name: stack}
	item := plumbline.DriftItem{ID: 1, Stack: ref, Difference: plumbline.Difference{Address: "a.b", Type: "a", Kind: plumbline.DriftChanged}}
	a := plumbline.Ailing{
		Stack: plumbline.StackStatus{Stack: ref, Spec: plumbline.StackSpec{Name: stack, Dir: stack}, Commit: "c1", Checked: true}, Check: plumbline.Run{ID: 1, Commit: "c1"},
		Items: []plumbline.DriftItem{item},
	}
	c := plumbline.RemedyFor(env, a, time.Now())
	ids, err := r.store.Observe(r.t.Context(), plumbline.Observation{Repository: env.Repository, At: time.Now(), Runs: []plumbline.Run{plumbline.MendingRun(env, a, c, time.Now())}})
	if err != nil {
		r.t.Fatal(err)
	}
	return ids[0]
}

// TestMend: the plan that Terraform made decides whether somebody is asked, by the limits that are in force when it has ended; what was applied is looked at.
func TestMend(t *testing.T) {
	update := func(n int) plumbline.Outcome {
		p := plumbline.Plan{Digest: digest}
		for range n {
			p.Changes = append(p.Changes, plumbline.Change{Address: "a.b", Type: "a", Action: plumbline.ActionUpdate})
		}
		return plumbline.Outcome{Plan: &p}
	}
	destroys := planned(digest)
	destroys.Plan.Changes[0].Action = plumbline.ActionDelete
	asks := update(1)
	asks.Findings = []plumbline.PolicyFinding{{Policy: "p", Level: plumbline.PolicyApprove, Message: "ask"}}
	for _, tt := range []struct {
		name  string
		out   plumbline.Outcome
		rules func(e *plumbline.Environment) // in force when the plan has ended
		want  plumbline.State
		why   string
	}{
		{"within the limits", update(1), nil, plumbline.StateApplied, ""},
		{"as many as there may be", update(2), nil, plumbline.StateApplied, ""},
		{"one more", update(3), nil, plumbline.StateAwaiting, "the plan has 3 changes, and max_changes is 2"},
		{"it destroys", destroys, nil, plumbline.StateAwaiting, "a.b would be destroyed, which is never done without asking"},
		{"a policy asks", asks, nil, plumbline.StateAwaiting, "p says: ask"},
		{"narrower by then", update(2), func(e *plumbline.Environment) { e.Drift.ApplyOnly.MaxChanges = 1 }, plumbline.StateAwaiting, "the plan has 2 changes, and max_changes is 1"},
		{"not any more by then", update(1), func(e *plumbline.Environment) { e.Drift.Remediate = plumbline.RemediateReport }, plumbline.StateAwaiting, "production puts nothing right without asking any more"},
		{"never any more by then", update(1), func(e *plumbline.Environment) { e.Apply = plumbline.ApplyNever }, plumbline.StatePlanned, ""},
		{"nothing is left to do", planned(""), nil, plumbline.StateClean, "the plan changes nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, r *rig) {
				env := plumbline.Environment{Repository: "infra", Name: "production", Apply: plumbline.ApplyAutomatic, Drift: plumbline.DriftPolicy{
					Remediate: plumbline.RemediateApply, ApplyOnly: plumbline.ApplyOnly{Actions: []plumbline.Action{plumbline.ActionUpdate}, Types: []string{"a"}, MaxChanges: 2, PerDay: 9},
				}}
				now := env
				if tt.rules != nil {
					tt.rules(&now)
				}
				r.config = func(c *Config) {
					c.Rules = func(plumbline.StackRef) (plumbline.Environment, plumbline.Access, bool) {
						return now, plumbline.Access{}, true
					}
				}
				r.auto = func(job plumbline.Job) *plumbline.Outcome {
					if job.Kind == plumbline.KindDrift {
						return nil
					}
					if job.Phase == plumbline.PhaseApply {
						return &applied
					}
					return &tt.out
				}
				d := r.daemon()
				id := r.mending(env, "net")
				run := r.is(id, tt.want)
				if run.Mending.Why != tt.why {
					t.Errorf("somebody is asked because %q, want %q", run.Mending.Why, tt.why)
				}
				looks := tt.want == plumbline.StateApplied || tt.want == plumbline.StateClean
				if p := r.proc(id + 1); (p != nil) != looks {
					t.Errorf("it is looked at afterwards: %t", p != nil)
				}
				if looks {
					r.ends(id+1, planned(""))
				}
				d.end()
			})
		})
	}
}
