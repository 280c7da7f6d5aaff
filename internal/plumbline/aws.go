package plumbline

import (
	"cmp"

	"github.com/bmatcuk/doublestar/v4"
)

// AWS says who the runs of an environment are on AWS. Zero: nobody, and what Terraform uses there comes from elsewhere.
type AWS struct {
	Region      string // "": where the daemon is
	PlanRole    string // ARN: for proposals, drift and the plans of deployments
	ApplyRole   string // ARN: for what was agreed to; "": nothing is applied
	ExternalID  string
	Trail       bool   // CloudTrail is asked who made what was found changed, with the plan role
	WebIdentity string // path of a token that proves who asks, in place of the daemon's own credentials
	Stacks      []AWSStack
}

// AWSStack is what is different for some stacks; what is empty is as for the others.
type AWSStack struct {
	Stacks     string // doublestar glob over their names
	Region     string
	PlanRole   string
	ApplyRole  string
	ExternalID string
}

// For is what holds for one stack: the first entry that matches its name.
func (a AWS) For(stack string) AWS {
	for _, s := range a.Stacks {
		if doublestar.MatchUnvalidated(s.Stacks, stack) {
			a.Region, a.PlanRole, a.ApplyRole = cmp.Or(s.Region, a.Region), cmp.Or(s.PlanRole, a.PlanRole), cmp.Or(s.ApplyRole, a.ApplyRole)
			a.ExternalID = cmp.Or(s.ExternalID, a.ExternalID)
			break
		}
	}
	a.Stacks = nil
	return a
}

// Role is the ARN of the role for a phase; "": there is none. Only an apply gets the apply role.
func (a AWS) Role(phase Phase) string {
	if phase == PhaseApply {
		return a.ApplyRole
	}
	return a.PlanRole
}

// Roles are all of them, each once.
func (a AWS) Roles() []string {
	var out []string
	seen := map[string]bool{"": true}
	add := func(arns ...string) {
		for _, arn := range arns {
			if !seen[arn] {
				seen[arn] = true
				out = append(out, arn)
			}
		}
	}
	add(a.PlanRole, a.ApplyRole)
	for _, s := range a.Stacks {
		add(s.PlanRole, s.ApplyRole)
	}
	return out
}
