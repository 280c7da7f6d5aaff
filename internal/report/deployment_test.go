package report

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func (r *rig) rule(id plumbline.RunID, rule plumbline.Rule) {
	r.t.Helper()
	if _, err := r.store.Update(r.t.Context(), id, r.now, rule); err != nil {
		r.t.Fatal(err)
	}
}

// TestDeploymentsOnTheForge: a forge with environments shows one deployment of a commit to each, as it goes.
func TestDeploymentsOnTheForge(t *testing.T) {
	r := newRig(t)
	ids := r.deploy("c1", "production/a", "production/b", "lab/c")
	flush := func() {
		t.Helper()
		for range 3 { // what is under way is held back for a moment
			r.now = r.now.Add(time.Minute)
			if _, _, err := r.r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(env string, want ...forge.Deployment) {
		t.Helper()
		got := r.forge.Deployments(env)
		for i := range want {
			want[i].Environment, want[i].Branch, want[i].URL = env, "main", "https://p.example.com/environments/infra/"+env
		}
		if !slices.Equal(got, want) {
			t.Errorf("deployments to %s: %+v\nwant %+v", env, got, want)
		}
	}
	flush()
	check("production", forge.Deployment{Commit: "c1", State: forge.DeploymentRunning, Description: "0 of 2 stacks done"})
	plan := func(id plumbline.RunID, changes bool) {
		r.rule(id, func(run *plumbline.Run, now time.Time) error { return run.Start("w", now, time.Hour) })
		r.rule(id, func(run *plumbline.Run, now time.Time) error {
			return run.Finish(run.Claim, plumbline.Outcome{Plan: &plumbline.Plan{}}, &plumbline.PlanInfo{Digest: "0123456789", Changes: changes}, now)
		})
	}
	plan(ids[0], true)
	plan(ids[1], false)
	plan(ids[2], false)
	flush()
	check("production", forge.Deployment{Commit: "c1", State: forge.DeploymentRunning, Description: "1 of 2 stacks done, 1 waiting for approval"})
	check("lab", forge.Deployment{Commit: "c1", State: forge.DeploymentSuccess, Description: "1 of 1 stacks done"})
	r.deploy("c2", "production/a")
	flush()
	check("production",
		forge.Deployment{Commit: "c1", State: forge.DeploymentCanceled, Description: "1 of 2 stacks done"},
		forge.Deployment{Commit: "c2", State: forge.DeploymentRunning, Description: "0 of 1 stacks done"})

	asked := r.forge.Requests("SetDeployment")
	r.restart(nil)
	flush()
	if n := r.forge.Requests("SetDeployment"); n != asked {
		t.Errorf("after a restart, %d deployments were told again", n-asked)
	}
}

// TestDeploymentsDenied: a token that may not write deployments keeps nothing else from being told.
func TestDeploymentsDenied(t *testing.T) {
	r := newRig(t)
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "SetDeployment" {
			return &forge.HTTPError{Method: "POST", Path: "/deployments", Status: 403}
		}
		return nil
	})
	r.deploy("c1", "production/a")
	for range 3 {
		r.now = r.now.Add(time.Minute)
		if _, _, err := r.r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r.forge.Newest("c1")["plumbline"].State != plumbline.ToldPending {
		t.Errorf("statuses: %+v", r.forge.Newest("c1"))
	}
	if left, err := r.store.Unreported(t.Context(), "infra", 10); err != nil || len(left) != 0 {
		t.Errorf("unreported: %+v, %v", left, err)
	}
}

func TestFindingsOnTheForge(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{Findings: []plumbline.Finding{{File: "live/x/main.tf", Line: 3, Message: "an argument is missing"}}}
	ids := r.open(mr, "production/live/net")
	r.rule(ids[0], func(run *plumbline.Run, now time.Time) error { return run.Start("w", now, time.Hour) })
	r.rule(ids[0], func(run *plumbline.Run, now time.Time) error {
		return run.Finish(run.Claim, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "It failed.", Diagnostics: []plumbline.Diagnostic{
			{Severity: "error", Summary: "Unsupported argument", Detail: "There is none.", File: "../../modules/vpc/main.tf", Line: 7},
			{Severity: "warning", Summary: "Old", File: "main.tf", Line: 1},
			{Severity: "error", Summary: "no file"},
		}}, Checks: []plumbline.CheckResult{
			{Name: plumbline.CheckFmt, Verdict: plumbline.VerdictFail, Findings: []plumbline.Finding{{File: "live/net/main.tf", Line: 9, Message: "not formatted"}, {Message: "no file"}}},
			{Name: plumbline.CheckTest, Verdict: plumbline.VerdictSkipped, Findings: []plumbline.Finding{{File: "live/net/a.tftest.hcl", Message: "not run"}}},
		}}, nil, now)
	})
	for range 2 {
		r.now = r.now.Add(time.Minute)
		if _, _, err := r.r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := r.forge.Checks(mr.Head)[findingsCheck]
	want := []plumbline.Finding{
		{File: "live/x/main.tf", Line: 3, Message: "an argument is missing"},
		{File: "live/net/main.tf", Line: 9, Message: "fmt: not formatted"},
		{File: "modules/vpc/main.tf", Line: 7, Message: "Unsupported argument. There is none."},
	}
	if !slices.Equal(got.Findings, want) || got.State != plumbline.ToldFailure || got.Description != "3 findings" {
		t.Errorf("check: %+v", got)
	}
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "SetCheck" {
			return errors.ErrUnsupported
		}
		return nil
	})
	mr.Head, mr.Findings = "c9", want[:1]
	r.open(mr)
	r.now = r.now.Add(time.Minute)
	if _, _, err := r.r.Flush(t.Context()); err != nil {
		t.Errorf("a token that may not write checks: %v", err)
	}
}
