package preview

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Commits and digests of the canned data.
const (
	commitNew    = "5d0c1aa4c19f0e2c7d3b8a6f5e4d3c2b1a09f8e7"
	commitOld    = "3a9be015e6f7a8b9c0d1e2f3a4b5c6d7e8f90a1b"
	commitHead   = "8f31c2d7b6a5948372615f4e3d2c1b0a99887766"
	commitEdge   = "c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7"
	digestNet    = "b41f9c0e6a7d5c3b2a190807f6e5d4c3b2a1f0e9d8c7b6a5948372615f4e3d2c"
	digestOldNet = "77aa01d2c3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382716253443526170"
	digestDB     = "0c5e71aa94b3d2e1f0c9b8a7968574635241302f1e0d9c8b7a6958473625140f"
)

func before(d time.Duration) time.Time { return Now.Add(-d) }

// Repositories of the canned data.
func (s *Store) Repositories() []plumbline.Repository { return s.repositories }

// NewStore returns a store with something of everything in it.
func NewStore() *Store {
	day := 24 * time.Hour
	infra := plumbline.Repository{Name: "infra", Environments: []plumbline.Environment{
		{Repository: "infra", Name: "staging", Branch: "env/staging", Apply: plumbline.ApplyAutomatic},
		{Repository: "infra", Name: "production", Branch: "env/production", Apply: plumbline.ApplyApproval, Approval: plumbline.ApprovalRule{Count: 1, Expires: day}},
	}}
	edge := plumbline.Repository{Name: "edge", Environments: []plumbline.Environment{
		{Repository: "edge", Name: "live", Branch: "main", Apply: plumbline.ApplyApproval, Approval: plumbline.ApprovalRule{Count: 2, Expires: day}},
		{Repository: "edge", Name: "sandbox", Branch: "sandbox", Apply: plumbline.ApplyNever},
	}}
	s := &Store{
		repositories: []plumbline.Repository{infra, edge},
		Heads: map[string]string{
			"infra env/staging": commitNew, "infra env/production": commitNew, "edge main": commitEdge,
		},
		Broken: map[string][]plumbline.Finding{"edge main": {
			{File: "live/broken/main.tf", Line: 7, Column: 3, Source: `resource "aws_eip" "a" {`, Message: `unclosed block "resource"`},
		}},
		PlanOf: map[plumbline.RunID]plumbline.Plan{},
		LogOf:  map[plumbline.RunID]string{},
	}
	s.Status = statuses()
	s.Deployed = []plumbline.Deployment{
		{ID: 31, Repository: "infra", Environment: "production", Commit: commitNew, Previous: commitOld, By: "poll", Created: before(13 * time.Minute)},
		{ID: 30, Repository: "infra", Environment: "staging", Commit: commitNew, Previous: commitOld, By: "poll", Created: before(3 * time.Hour)},
		{ID: 28, Repository: "infra", Environment: "production", Commit: commitOld, By: "local", Created: before(9 * day)},
		{ID: 32, Repository: "edge", Environment: "live", Commit: commitEdge, Previous: commitOld, By: "poll", Created: before(6 * time.Minute)},
	}
	s.Proposed = proposed()
	s.addDrift()
	for _, r := range runs(infra.Environments[1].Approval) {
		s.Put(r)
	}
	s.plans()
	s.logs()
	s.events = history()
	s.requests = []plumbline.Request{{ID: 1000, Repository: "edge", Environment: "live", Kind: plumbline.RequestDrift, Stacks: []string{"live/cdn"}, By: "local", At: before(4 * time.Second)}}
	return s
}

func stackOf(repo, env, name string) plumbline.StackRef {
	return plumbline.StackRef{Repository: repo, Environment: env, Name: name}
}

func statuses() []plumbline.StackStatus {
	status := func(repo, env, name, commit string, last plumbline.RunID, kind plumbline.Kind, state plumbline.State, deps ...string) plumbline.StackStatus {
		return plumbline.StackStatus{
			Stack: stackOf(repo, env, name), Spec: plumbline.StackSpec{Name: name, Dir: name, DependsOn: deps},
			Commit: commit, Checked: true, LastRun: last, LastKind: kind, LastState: state,
		}
	}
	broken := status("edge", "live", "live/broken", "", 0, "", "")
	broken.Checked = false
	broken.Spec.Broken = []plumbline.Finding{{File: "live/broken/main.tf", Line: 7, Column: 3, Message: `unclosed block "resource"`}}
	fresh := status("infra", "production", "live/cache", "", 9789, plumbline.KindDrift, plumbline.StatePlanned)
	fresh.NeverApplied = true
	net := status("infra", "production", "live/net", commitOld, 9815, plumbline.KindDeploy, plumbline.StateAwaiting, "live/dns")
	net.Drifted = 1
	app := status("infra", "production", "live/app", commitOld, 9816, plumbline.KindDeploy, plumbline.StateQueued, "live/net", "live/db")
	app.Drifted = 1
	app.Spec.Alias = "app"
	old := status("infra", "production", "live/legacy", commitOld, 9700, plumbline.KindDrift, plumbline.StateClean)
	old.Removed = true
	return []plumbline.StackStatus{
		net, app, fresh, old, broken,
		status("infra", "production", "live/db", commitOld, 9814, plumbline.KindDeploy, plumbline.StateApplying),
		status("infra", "production", "live/dns", commitNew, 9790, plumbline.KindDrift, plumbline.StateClean),
		status("infra", "staging", "live/net", commitNew, 9811, plumbline.KindDeploy, plumbline.StateApplied),
		status("infra", "staging", "live/db", commitNew, 9812, plumbline.KindDeploy, plumbline.StateClean),
		status("edge", "live", "live/cdn", commitOld, 9820, plumbline.KindDeploy, plumbline.StateInterrupted),
		status("edge", "live", "live/dns", commitOld, 9818, plumbline.KindDeploy, plumbline.StateFailed),
	}
}

func runs(rule plumbline.ApprovalRule) []plumbline.Run {
	worker := plumbline.Claim{Worker: "worker-1", Fence: 1}
	info := func(digest string, sum plumbline.Summary, destroy ...plumbline.Named) *plumbline.PlanInfo {
		return &plumbline.PlanInfo{Digest: digest, Engine: "terraform", Version: "1.11.4", Summary: sum, Changes: !sum.IsZero(), Destroy: destroy}
	}
	deploy := func(id plumbline.RunID, deployment int64, ref plumbline.StackRef, state plumbline.State, age time.Duration) plumbline.Run {
		r := plumbline.Run{
			ID: id, Kind: plumbline.KindDeploy, State: state, Stack: ref, Spec: plumbline.StackSpec{Name: ref.Name, Dir: ref.Name},
			Subject: plumbline.SubjectDeploy(ref.Environment), Commit: commitNew, Base: commitOld, Deployment: deployment,
			Because: "merge of !42: " + ref.Name + "/main.tf", By: "poll", Attempt: 1, Claim: worker, Version: 4,
			Policy: plumbline.Policy{Apply: plumbline.ApplyApproval, Approval: rule}, Queued: before(age),
		}
		if state != plumbline.StateQueued {
			r.Started, r.Planned = before(age-10*time.Second), before(age-20*time.Second)
		}
		if state.Ended() {
			r.Finished = before(age - 40*time.Second)
		}
		return r
	}
	db := stackOf("infra", "production", "live/db")
	replaced := plumbline.Named{Address: "aws_db_instance.main", Action: plumbline.ActionReplace, Why: "storage_encrypted"}

	net := deploy(9815, 31, stackOf("infra", "production", "live/net"), plumbline.StateAwaiting, 12*time.Minute+20*time.Second)
	net.Because = "merge of !42: modules/subnet/main.tf → modules/vpc → live/net"
	net.Plan = info(digestNet, plumbline.Summary{Create: 2, Update: 3, Delete: 1}, plumbline.Named{Address: "aws_eip.old", Action: plumbline.ActionDelete, Why: "delete_because_no_resource_config"})
	net.Approvals = []plumbline.Approval{{By: "ops-b", Digest: digestOldNet, At: before(50 * time.Minute), Expires: Now.Add(23 * time.Hour)}}

	applying := deploy(9814, 31, db, plumbline.StateApplying, 13*time.Minute)
	applying.Plan = info(digestDB, plumbline.Summary{Update: 1, Replace: 1}, replaced)
	applying.Approvals = []plumbline.Approval{{By: "ops-b", Digest: digestDB, At: before(50 * time.Second)}, {By: "ops-c", Digest: digestDB, At: before(45 * time.Second)}}
	applying.Started, applying.LeaseUntil = before(41*time.Second), Now.Add(20*time.Second)

	queued := deploy(9816, 31, stackOf("infra", "production", "live/app"), plumbline.StateQueued, 13*time.Minute)
	queued.WaitsFor, queued.Attempt, queued.Claim = []string{"live/db", "live/net"}, 0, plumbline.Claim{}

	applied := deploy(9811, 30, stackOf("infra", "staging", "live/net"), plumbline.StateApplied, 3*time.Hour)
	applied.Policy.Apply = plumbline.ApplyAutomatic
	applied.Plan = info(digestOldNet, plumbline.Summary{Create: 2, Update: 2, Move: 1})
	same := deploy(9812, 30, stackOf("infra", "staging", "live/db"), plumbline.StateClean, 3*time.Hour)
	same.Plan = info("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", plumbline.Summary{})

	interrupted := deploy(9820, 32, stackOf("edge", "live", "live/cdn"), plumbline.StateInterrupted, 5*time.Minute)
	interrupted.Commit, interrupted.Because = commitEdge, "push by dev-c: live/cdn/main.tf"
	interrupted.Plan = info("91be22c4d6e8f0a1b3c5d7e9f1a3b5c7d9ebfd0f2143658798badcfe10325476", plumbline.Summary{Create: 3})
	interrupted.Failure = &plumbline.Failure{
		Kind: plumbline.FailApply,
		Text: "The machine that applied live/cdn (worker-2) went away; what it had done by then is not certain.",
		Next: "Look at the log for what was created, make sure that no Terraform is still at work, release the state lock if it is held, then `plumbline runs retry 9820` plans again.",
	}
	interrupted.Created = []plumbline.Created{{Address: "aws_eip.nat", Action: plumbline.ActionCreate, ID: "eipalloc-0a1b2c3d"}, {Address: "aws_cloudfront_distribution.site", Action: plumbline.ActionUpdate, ID: "E2QWRUHAPOMQZL"}}

	failed := deploy(9818, 32, stackOf("edge", "live", "live/dns"), plumbline.StateFailed, 6*time.Minute)
	failed.Commit, failed.Because = commitEdge, "push by dev-c: live/dns/main.tf"
	failed.Failure = &plumbline.Failure{
		Kind: plumbline.FailPlan, Text: "Terraform could not plan live/dns: 1 error.", Next: "Mend the file; the next push is planned again.",
		Diagnostics: []plumbline.Diagnostic{{
			Severity: "error", Summary: "Reference to undeclared input variable", Address: "aws_route53_record.www",
			Detail: `An input variable with the name "zone" has not been declared. This variable can be declared with a variable "zone" {} block.`,
			File:   "live/dns/main.tf", Line: 12, Snippet: `  zone_id = var.zone`,
		}},
	}

	check := func(id plumbline.RunID, name string, state plumbline.State, age time.Duration) plumbline.Run {
		r := deploy(id, 0, stackOf("infra", "production", name), state, age)
		r.Kind, r.Subject, r.Because, r.By, r.Commit = plumbline.KindDrift, plumbline.SubjectDrift("production"), "the schedule of production", "schedule", commitOld
		r.Plan = info(digestOldNet, plumbline.Summary{})
		return r
	}
	clean := check(9790, "live/dns", plumbline.StateClean, 2*time.Hour)
	never := check(9789, "live/cache", plumbline.StatePlanned, 2*time.Hour)
	never.Plan = info(digestDB, plumbline.Summary{Create: 4})
	never.Plan.NoState = true
	drifted := check(9788, "live/net", plumbline.StateDrifted, 2*time.Hour)
	drifted.Plan = info(digestDB, plumbline.Summary{Update: 1})
	drifted.DriftOpen, drifted.DriftNews = 1, true

	proposal := func(id plumbline.RunID, ref plumbline.StackRef, state plumbline.State, mr, author string, p *plumbline.PlanInfo) plumbline.Run {
		r := deploy(id, 0, ref, state, 40*time.Minute)
		r.Kind, r.Subject, r.MR, r.By, r.Commit, r.Base = plumbline.KindProposal, plumbline.SubjectMR(mr), mr, author, commitHead, commitNew
		r.Because, r.Plan = ref.Name+"/main.tf", p
		return r
	}
	broken := proposal(9810, stackOf("infra", "staging", "live/app"), plumbline.StateFailed, "43", "dev-a", nil)
	broken.Failure = failed.Failure
	superseded := deploy(9760, 28, stackOf("infra", "production", "live/net"), plumbline.StateSuperseded, 9*24*time.Hour)
	rejected := deploy(9761, 28, db, plumbline.StateRejected, 9*24*time.Hour)
	rejected.RejectedBy, rejected.Reason = "ops-b", "not on a Friday"

	return []plumbline.Run{
		net, applying, queued, applied, same, interrupted, failed, clean, never, drifted, broken, superseded, rejected,
		proposal(9807, stackOf("infra", "staging", "live/net"), plumbline.StateClean, "43", "dev-a", info("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", plumbline.Summary{})),
		proposal(9808, stackOf("infra", "production", "live/net"), plumbline.StatePlanned, "43", "dev-a", info(digestNet, plumbline.Summary{Create: 2, Update: 3, Import: 1})),
		proposal(9809, db, plumbline.StatePlanned, "43", "dev-a", info(digestDB, plumbline.Summary{Update: 1, Replace: 1}, replaced)),
	}
}

// policy is the JSON of a string that holds an IAM policy.
func policy(actions ...string) string {
	doc := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"Write","Effect":"Allow","Action":["%s"],"Resource":"arn:aws:s3:::flow-logs/*"}]}`, strings.Join(actions, `","`))
	return strconv.Quote(doc)
}

func (s *Store) plans() {
	attr := func(path, from, to string) plumbline.Attribute {
		return plumbline.Attribute{Path: path, Before: from, After: to}
	}
	db := plumbline.Plan{
		Digest: digestDB, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 1, Replace: 1},
		Changes: []plumbline.Change{
			{Address: "aws_db_instance.main", Type: "aws_db_instance", Action: plumbline.ActionReplace, Reason: "replace_because_cannot_update", ReplacePaths: []string{"storage_encrypted"},
				Attributes: []plumbline.Attribute{
					{Path: "endpoint", Before: `"main.c9x.eu-west-1.rds.amazonaws.com:5432"`, Unknown: true},
					{Path: "password", Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true},
					{Path: "storage_encrypted", Before: "false", After: "true", Forces: true},
				}},
			{Address: `aws_security_group_rule.in["a b"]`, Type: "aws_security_group_rule", Action: plumbline.ActionUpdate,
				Attributes: []plumbline.Attribute{{Path: "cidr_blocks[1]", After: `"10.1.0.0/16"`, Whole: len("cidr_blocks[1]")}, attr("description", "", `"<b>from the office</b> & home"`)}},
		},
	}
	net := plumbline.Plan{
		Digest: digestNet, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Create: 2, Update: 3, Delete: 1},
		Changes: []plumbline.Change{
			{Address: "aws_eip.old", Type: "aws_eip", Action: plumbline.ActionDelete, Reason: "delete_because_no_resource_config", Attributes: []plumbline.Attribute{attr("public_ip", `"203.0.113.7"`, "")}},
			{Address: "aws_route.nat", Type: "aws_route", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{attr("nat_gateway_id", `"nat-0b"`, `"nat-0a"`)}},
			{Address: "aws_iam_policy.flow_logs", Type: "aws_iam_policy", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{
				attr("policy", policy("s3:GetObject", "s3:ListBucket"), policy("s3:GetObject", "s3:PutObject", "s3:ListBucket")), attr(`tags["team"]`, `"net"`, `"platform"`),
			}},
			{Address: "module.vpc.aws_subnet.a", Type: "aws_subnet", Action: plumbline.ActionUpdate, Previous: "aws_subnet.a", Attributes: []plumbline.Attribute{attr("map_public_ip_on_launch", "true", "false")}},
			{Address: "module.vpc.aws_subnet.b", Type: "aws_subnet", Action: plumbline.ActionCreate, Attributes: []plumbline.Attribute{attr("cidr_block", "", `"10.0.2.0/24"`), {Path: "id", Unknown: true}}},
			{Address: "module.vpc.aws_subnet.c", Type: "aws_subnet", Action: plumbline.ActionCreate, Attributes: []plumbline.Attribute{attr("cidr_block", "", `"10.0.3.0/24"`), {Path: "id", Unknown: true}}},
		},
		Checks:  []plumbline.Check{{Address: "check.certificate", Status: plumbline.CheckFailed, Problems: []string{"The certificate of net.example.com ends in 12 days."}}},
		Partial: true,
		Deferred: []plumbline.Change{
			{Address: "module.vpc.aws_vpc_endpoint.s3", Type: "aws_vpc_endpoint", Action: plumbline.ActionCreate, Reason: "deferred_prereq"},
		},
		Outputs: []plumbline.OutputChange{{Name: "subnets", Action: plumbline.ActionUpdate, Before: `["a"]`, Unknown: true}},
	}
	s.PlanOf[9814], s.PlanOf[9809] = db, db
	s.PlanOf[9815], s.PlanOf[9808] = net, net
	s.PlanOf[9790] = plumbline.Plan{Digest: digestOldNet, Engine: "terraform", Version: "1.11.4"}
	s.PlanOf[9788] = plumbline.Plan{
		Digest: digestDB, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 1},
		Changes: []plumbline.Change{{Address: "aws_route.nat", Type: "aws_route", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{attr("nat_gateway_id", `"nat-0b"`, `"nat-0a"`)}}},
		Drift:   []plumbline.Change{{Address: "aws_route.nat", Type: "aws_route", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{attr("nat_gateway_id", `"nat-0a"`, `"nat-0b"`)}}},
	}
}

func (s *Store) logs() {
	s.LogOf[9814] = "Initializing the backend...\nInitializing provider plugins...\n- Reusing previous version of hashicorp/aws from the dependency lock file\n\nTerraform has been successfully initialized!\n\naws_db_instance.main: Destroying... [id=main]\naws_db_instance.main: Still destroying... [id=main, 10s elapsed]\naws_db_instance.main: Still destroying... [id=main, 20s elapsed]\n"
	s.LogOf[9815] = "Initializing the backend...\nInitializing provider plugins...\n\nTerraform will perform the following actions:\n\n  # aws_eip.old will be destroyed\n  - resource \"aws_eip\" \"old\" {}\n\nPlan: 2 to add, 3 to change, 1 to destroy.\n"
	s.LogOf[9820] = "aws_eip.nat: Creating...\naws_eip.nat: Creation complete after 2s [id=eipalloc-0a1b2c3d]\naws_nat_gateway.a: Creating...\n"
}

func history() []plumbline.Event {
	line := func(id plumbline.RunID, age time.Duration, from, to plumbline.State, who, text string) plumbline.Event {
		return plumbline.Event{Run: id, At: before(age), From: from, To: to, Who: who, Text: text}
	}
	return []plumbline.Event{
		line(9815, 12*time.Minute+20*time.Second, "", plumbline.StateQueued, "poll", "merge of !42: modules/subnet/main.tf → modules/vpc → live/net"),
		line(9815, 12*time.Minute+10*time.Second, plumbline.StateQueued, plumbline.StatePlanning, "worker-1", "attempt 1"),
		line(9815, 12*time.Minute, plumbline.StatePlanning, plumbline.StateAwaiting, "worker-1", "+2 ~3 -1"),
		line(9814, 13*time.Minute, "", plumbline.StateQueued, "poll", "merge of !42: live/db/main.tf"),
		line(9814, 12*time.Minute+50*time.Second, plumbline.StateQueued, plumbline.StatePlanning, "worker-1", "attempt 1"),
		line(9814, 12*time.Minute+40*time.Second, plumbline.StatePlanning, plumbline.StateAwaiting, "worker-1", "~1 ±1"),
		line(9814, 45*time.Second, plumbline.StateAwaiting, plumbline.StateApproved, "ops-c", "approved 0c5e71aa94b3"),
		line(9814, 41*time.Second, plumbline.StateApproved, plumbline.StateApplying, "worker-1", "attempt 1"),
		line(9820, 5*time.Minute, plumbline.StateApplying, plumbline.StateInterrupted, "worker-2", "The machine that applied live/cdn (worker-2) went away; what it had done by then is not certain."),
		line(9818, 6*time.Minute, plumbline.StatePlanning, plumbline.StateFailed, "worker-1", "Terraform could not plan live/dns: 1 error."),
	}
}

func proposed() []plumbline.MergeRequest {
	return []plumbline.MergeRequest{
		{Repository: "infra", ID: "43", Title: "Encrypt the main database", Author: "dev-a", URL: "https://gitlab.example.com/platform/infra/-/merge_requests/43",
			Source: "encrypt-db", Head: commitHead, Target: "env/production", State: plumbline.MROpen, UpdatedAt: before(41 * time.Minute), Base: commitNew,
			Removed:  []string{"production/live/legacy"},
			Findings: []plumbline.Finding{{File: "live/app/.plumbline.hcl", Line: 3, Column: 1, Source: `stak "app" {`, Message: `unknown block "stak"; did you mean "stack"?`}}},
		{Repository: "infra", ID: "tidy/names", Title: "Tidy up names", Author: "dev-b", Source: "propose/env/staging/tidy/names", Head: commitOld, Target: "env/staging",
			State: plumbline.MROpen, Draft: true, Skipped: "It is a draft; it is planned when it is marked as ready.", UpdatedAt: before(26 * time.Hour)},
		{Repository: "edge", ID: "7", Title: "Move the zone", Author: "dev-c", Source: "zone", Head: commitHead, Target: "main", State: plumbline.MROpen, Conflict: true, UpdatedAt: before(2 * time.Hour)},
		{Repository: "infra", ID: "42", Title: "A third subnet", Author: "dev-a", Source: "subnet-c", Head: commitNew, Target: "env/production", State: plumbline.MRMerged,
			MergeCommit: commitNew, Deployment: 31, UpdatedAt: before(14 * time.Minute)},
	}
}
