package plumbline_test

import (
	"slices"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestAWSRoles(t *testing.T) {
	a := plumbline.AWS{
		Region: "eu-west-1", PlanRole: "plan", ApplyRole: "apply", ExternalID: "x",
		Stacks: []plumbline.AWSStack{{Stacks: "live/net/**", PlanRole: "net-plan", Region: "eu-north-1"}, {Stacks: "live/**", PlanRole: "live-plan", ApplyRole: "live-apply", ExternalID: "y"}},
	}
	for _, c := range []struct{ stack, plan, apply, region, id string }{
		{"live/net", "net-plan", "apply", "eu-north-1", "x"},
		{"live/net/vpc", "net-plan", "apply", "eu-north-1", "x"},
		{"live/db", "live-plan", "live-apply", "eu-west-1", "y"},
		{"other", "plan", "apply", "eu-west-1", "x"},
	} {
		got := a.For(c.stack)
		if got.Role(plumbline.PhasePlan) != c.plan || got.Role(plumbline.PhaseApply) != c.apply || got.Region != c.region || got.ExternalID != c.id {
			t.Errorf("%s: %+v, want %+v", c.stack, got, c)
		}
	}
	if got, want := a.Roles(), []string{"plan", "apply", "net-plan", "live-plan", "live-apply"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (plumbline.AWS{PlanRole: "plan"}).Role(plumbline.PhaseApply); got != "" {
		t.Errorf("an apply gets the role %q, which is that of plans", got)
	}
}
