package preview

import (
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Digests and commits of the lake, and what people and policies might write to deceive others.
const (
	commitLake    = "7be10f22a1c3d5e7f9012345678abcdef0123456"
	commitTrial   = "3c0de5a1b2c3d4e5f60718293a4b5c6d7e8f9001"
	commitLakeOld = "1f00ba4c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f40"
	commitLakeOne = "90abcde01234f56789abcde01234f56789abcde0"
	digestLake    = "5ca1ab1e0ddba11c0ffee0ddba115ca1ab1e0ddba11c0ffee0ddba115ca1ab1e"
	digestLakeWas = "c0ffee11deadbea70123456789abcdef0123456789abcdefdeadbea7c0ffee11"
	digestEvents  = "feedface0123456789abcdef0123456789abcdef0123456789abcdeffeedface"
	hostile       = "<script>alert(1)</script> \u202eevorppa ot erus s'ti"
)

// AddLake puts a repository into the store in which every rule of the gate shows: a plan that waits and differs from the approved one, one that a policy
// forbids, broken glass, a freeze, a promotion, a way back.
func (s *Store) AddLake() {
	hour, day := time.Hour, 24*time.Hour
	rule := plumbline.ApprovalRule{
		Count: 2, From: []string{"group:sre"}, Not: []plumbline.Exclusion{plumbline.NotAuthor, plumbline.NotLastPusher}, Expires: day, Carry: true, Forge: true,
	}
	calendar := plumbline.Calendar{
		Windows: []plumbline.Window{{Name: "office-hours", Allow: "0 9 * * MON-FRI", For: 8 * hour, Timezone: "Europe/London"}},
		Freezes: []plumbline.Freeze{{
			Name: "year-end", From: time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC), Until: time.Date(2027, 1, 3, 0, 0, 0, 0, time.UTC), Reason: "change freeze",
		}},
	}
	s.repositories = append(s.repositories, plumbline.Repository{Name: "lake", Environments: []plumbline.Environment{
		{Repository: "lake", Name: "trial", Branch: "env/trial", Apply: plumbline.ApplyAutomatic, PromotesTo: "main"},
		{Repository: "lake", Name: "main", Branch: "env/main", Apply: plumbline.ApplyApproval, Approval: rule, Calendar: calendar},
	}})
	s.Heads["lake env/trial"], s.Heads["lake env/main"] = commitTrial, commitLake
	s.frozen = append(s.frozen, plumbline.Frozen{ID: 1, Repository: "lake", Environment: "main", Freeze: plumbline.Freeze{
		From: before(3 * hour), Until: Now.Add(3 * day), Reason: "incident 4711, the warehouse is being restored " + hostile, By: "ops-b",
	}})
	deployed := func(id int64, env, commit, previous string, age time.Duration) plumbline.Deployment {
		return plumbline.Deployment{ID: id, Repository: "lake", Environment: env, Commit: commit, Previous: previous, By: "poll", Created: before(age)}
	}
	s.Deployed = append(s.Deployed,
		deployed(27, "main", commitLake, commitLakeOld, 2*hour), deployed(24, "main", commitLakeOld, commitLakeOne, 4*day), deployed(22, "main", commitLakeOne, "", 11*day),
		deployed(26, "trial", commitTrial, commitLakeOld, 5*hour), deployed(23, "trial", commitLakeOld, "", 5*day),
	)
	for _, r := range lakeRuns(plumbline.Policy{Apply: plumbline.ApplyApproval, Approval: rule, Calendar: calendar}) {
		s.Put(r)
	}
	stands := func(env, name, commit string, last plumbline.RunID, state plumbline.State) plumbline.StackStatus {
		return plumbline.StackStatus{
			Stack: stackOf("lake", env, name), Spec: plumbline.StackSpec{Name: name, Dir: name}, Commit: commit, Checked: true,
			LastRun: last, LastKind: plumbline.KindDeploy, LastState: state,
		}
	}
	s.Status = append(s.Status,
		stands("main", "warehouse", commitLakeOld, 9770, plumbline.StateAwaiting), stands("main", "events", commitLakeOld, 9771, plumbline.StateFailed),
		stands("main", "catalog", commitLakeOld, 9772, plumbline.StateApplying),
		stands("trial", "warehouse", commitTrial, 9765, plumbline.StateApplied), stands("trial", "events", commitLakeOld, 9766, plumbline.StateApplied),
		stands("trial", "search", commitTrial, 9767, plumbline.StateApplied),
	)
	s.lakePlans()
	s.Proposed = append(s.Proposed, plumbline.MergeRequest{
		Repository: "lake", ID: "52", Title: "Keep events for a year " + hostile, Author: "dev-a", Source: "keep-events", Head: commitHead, Target: "env/main",
		State: plumbline.MROpen, UpdatedAt: before(30 * time.Minute), Base: commitLake, URL: "https://gitlab.example.com/data/lake/-/merge_requests/52",
	})
	s.lakeAudit()
	s.addLakeDrift()
}

func lakeRuns(policy plumbline.Policy) []plumbline.Run {
	hour := time.Hour
	run := func(id plumbline.RunID, deployment int64, env, name string, state plumbline.State, age time.Duration) plumbline.Run {
		r := plumbline.Run{
			ID: id, Kind: plumbline.KindDeploy, State: state, Stack: stackOf("lake", env, name), Spec: plumbline.StackSpec{Name: name, Dir: name},
			Subject: plumbline.SubjectDeploy(env), Commit: commitLake, Base: commitLakeOld, Deployment: deployment, Because: "merge of !51: " + name + "/main.tf", By: "poll",
			Attempt: 1, Claim: plumbline.Claim{Worker: "worker-1", Fence: 1}, Version: 3, Policy: policy,
			Authors: []string{"corp/dev-a", "dev-a"}, Pushers: []string{"dev-b"},
			Queued: before(age), Started: before(age - 10*time.Second), Planned: before(age - 30*time.Second),
			Plan: &plumbline.PlanInfo{Digest: digestLakeWas, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 1}, Changes: true},
		}
		if state.Ended() {
			r.Finished = before(age - time.Minute)
		}
		return r
	}
	sre := func(by, digest string, age time.Duration, door plumbline.Door, carried string) plumbline.Approval {
		return plumbline.Approval{By: by, Groups: []string{"sre"}, Digest: digest, At: before(age), Expires: Now.Add(24*time.Hour - age), Door: door, Carried: carried}
	}
	waits := run(9770, 27, "main", "warehouse", plumbline.StateAwaiting, 2*hour)
	waits.Plan = &plumbline.PlanInfo{
		Digest: digestLake, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 2, Replace: 1, Create: 1}, Changes: true,
		Destroy: []plumbline.Named{{Address: "aws_redshift_cluster.main", Action: plumbline.ActionReplace, Why: "node_type"}},
	}
	older := sre("ops-c", digestLakeWas, 3*hour, plumbline.DoorForge, "merge request !51")
	older.Plan = plumbline.Blob{Name: "lake-approved"}
	late := sre("ops-d", digestLake, 26*hour, plumbline.DoorWeb, "run 9764")
	waits.Approvals = []plumbline.Approval{
		sre("ops-b", digestLake, 90*time.Minute, plumbline.DoorComment, "merge request !51"), sre("dev-a", digestLake, time.Hour, plumbline.DoorWeb, ""), older, late,
		{By: "guest " + hostile, Digest: digestLake, At: before(50 * time.Minute), Expires: Now.Add(23 * time.Hour), Door: plumbline.DoorAPI},
	}
	waits.Findings = []plumbline.PolicyFinding{
		{Policy: "plumbline.tags", Level: plumbline.PolicyWarn, Message: "It has no owner " + hostile, Address: "aws_s3_bucket.landing"},
		{Policy: "plumbline.storage", Level: plumbline.PolicyApprove, Message: "A cluster that holds data is replaced.", Address: "aws_redshift_cluster.main", From: []string{"group:dba", "user:owner@example.com"}},
	}
	waits.Checks = []plumbline.CheckResult{{Name: plumbline.CheckPolicy, Verdict: plumbline.VerdictPass, Text: "2 findings, none of which forbids the plan"}}

	denied := run(9771, 27, "main", "events", plumbline.StateFailed, 2*hour)
	denied.Plan = &plumbline.PlanInfo{Digest: digestEvents, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Create: 1, Delete: 1}, Changes: true}
	denied.Findings = []plumbline.PolicyFinding{
		{Policy: "plumbline.tags", Level: plumbline.PolicyWarn, Message: "It has no owner.", Address: "aws_s3_bucket.events"},
		{Policy: "plumbline.storage", Level: plumbline.PolicyDeny, Message: "A bucket with objects in it must not be destroyed.", Address: "aws_s3_bucket.archive"},
		{Policy: "plumbline.public", Level: plumbline.PolicyDeny, Message: hostile, Address: "aws_s3_bucket.events"},
	}
	denied.Failure = &plumbline.Failure{
		Kind: plumbline.FailPolicy, Text: "Policies forbid the plan of events: plumbline.storage: A bucket with objects in it must not be destroyed. (and 1 more)",
		Next: "Change the code, or the policy; the next commit is planned again.",
	}

	broken := run(9772, 27, "main", "catalog", plumbline.StateApplying, 2*hour)
	broken.Started, broken.LeaseUntil = before(40*time.Second), Now.Add(20*time.Second)
	broken.Glass = &plumbline.Glass{By: "root@example.com", Door: plumbline.DoorWeb, Reason: "incident 4711: the catalog answers nobody; " + hostile, Digest: digestLakeWas, At: before(time.Minute)}

	held := run(9773, 27, "main", "jobs", plumbline.StateApproved, 2*hour)
	held.Approvals = []plumbline.Approval{sre("ops-b", digestLakeWas, hour, plumbline.DoorWeb, ""), sre("ops-c", digestLakeWas, 50*time.Minute, plumbline.DoorComment, "")}

	proposal := run(9774, 0, "main", "events", plumbline.StatePlanned, 30*time.Minute)
	proposal.Kind, proposal.Subject, proposal.MR, proposal.By, proposal.Commit, proposal.Base = plumbline.KindProposal, plumbline.SubjectMR("52"), "52", "dev-a", commitHead, commitLake
	proposal.Because = "events/main.tf"
	proposal.Approvals = []plumbline.Approval{sre("ops-b", digestLakeWas, 20*time.Minute, plumbline.DoorForge, "")}
	proposal.Checks = []plumbline.CheckResult{
		{Name: plumbline.CheckFmt, Verdict: plumbline.VerdictFail, Text: "1 file is not formatted.", Findings: []plumbline.Finding{
			{File: "events/main.tf", Line: 4, Source: "  retention   = 365 # " + hostile, Message: "is not formatted as `terraform fmt` does"},
		}},
		{Name: plumbline.CheckValidate, Verdict: plumbline.VerdictPass, Text: "The configuration is valid."},
		{Name: plumbline.CheckTest, Verdict: plumbline.VerdictError, Text: "A test could not be run.", Output: "tests/keep.tftest.hcl... in progress\n  run \"keeps\"... \x1b[31mfail\x1b[0m\n\nError: " + hostile + "\n"},
		{Name: plumbline.CheckPolicy, Verdict: plumbline.VerdictSkipped, Text: "No policy is configured."},
	}

	refused := proposal
	refused.ID, refused.Stack, refused.Checks, refused.Approvals = 9775, stackOf("lake", "main", "jobs"), nil, nil
	refused.Findings = []plumbline.PolicyFinding{{Policy: "plumbline.public", Level: plumbline.PolicyDeny, Message: "The role can be assumed by anybody.", Address: "aws_iam_role.load"}}

	out := []plumbline.Run{waits, denied, broken, held, proposal, refused}
	for i, name := range []string{"warehouse", "events", "search"} {
		r := run(plumbline.RunID(9765+i), 26, "trial", name, plumbline.StateApplied, 5*hour)
		r.Commit, r.Policy, r.Started = commitTrial, plumbline.Policy{Apply: plumbline.ApplyAutomatic}, before(5*hour-40*time.Second)
		out = append(out, r)
	}
	for i, age := range []time.Duration{4 * 24 * hour, 11 * 24 * hour} {
		r := run(plumbline.RunID(9755-i), []int64{24, 22}[i], "main", "warehouse", plumbline.StateApplied, age)
		r.Commit, r.Started = []string{commitLakeOld, commitLakeOne}[i], before(age-40*time.Second)
		r.Approvals = []plumbline.Approval{sre("ops-b", digestLakeWas, age-35*time.Second, plumbline.DoorWeb, ""), sre("ops-c", digestLakeWas, age-36*time.Second, plumbline.DoorWeb, "")}
		out = append(out, r)
	}
	return out
}

func (s *Store) lakePlans() {
	set := func(path, from, to string, forces bool) plumbline.Attribute {
		return plumbline.Attribute{Path: path, Before: from, After: to, Forces: forces}
	}
	bucket := plumbline.Change{Address: "aws_s3_bucket.landing", Type: "aws_s3_bucket", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{set("force_destroy", "false", "true", false)}}
	role := plumbline.Change{Address: "aws_iam_role.load", Type: "aws_iam_role", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{set("max_session_duration", "3600", "7200", false)}}
	cluster := plumbline.Change{
		Address: "aws_redshift_cluster.main", Type: "aws_redshift_cluster", Action: plumbline.ActionReplace, Reason: "replace_because_cannot_update", ReplacePaths: []string{"node_type"},
		Attributes: []plumbline.Attribute{set("node_type", `"dc2.large"`, `"ra3.xlplus"`, true)},
	}
	snapshot := plumbline.Change{Address: "aws_redshift_snapshot_schedule.main", Type: "aws_redshift_snapshot_schedule", Action: plumbline.ActionCreate, Attributes: []plumbline.Attribute{set("definitions[0]", "", `"rate(12 hours)"`, false)}}
	now := plumbline.Plan{Digest: digestLake, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 2, Replace: 1, Create: 1}, Changes: []plumbline.Change{cluster, bucket, role, snapshot}}
	approvedRole := role
	approvedRole.Attributes = []plumbline.Attribute{set("max_session_duration", "3600", "5400", false)}
	if s.Documents == nil {
		s.Documents = map[string]plumbline.Plan{}
	}
	s.Documents["lake-approved"] = plumbline.Plan{Digest: digestLakeWas, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 2, Create: 1}, Changes: []plumbline.Change{bucket, approvedRole, snapshot}}
	small := plumbline.Plan{Digest: digestLakeWas, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Update: 1}, Changes: []plumbline.Change{role}}
	s.PlanOf[9770] = now
	for _, id := range []plumbline.RunID{9754, 9755, 9765, 9766, 9767, 9772, 9773, 9774, 9775} {
		s.PlanOf[id] = small
	}
	s.PlanOf[9771] = plumbline.Plan{Digest: digestEvents, Engine: "terraform", Version: "1.11.4", Summary: plumbline.Summary{Create: 1, Delete: 1}, Changes: []plumbline.Change{
		{Address: "aws_s3_bucket.archive", Type: "aws_s3_bucket", Action: plumbline.ActionDelete, Reason: "delete_because_no_resource_config", Attributes: []plumbline.Attribute{set("bucket", `"lake-archive"`, "", false)}},
		{Address: "aws_s3_bucket.events", Type: "aws_s3_bucket", Action: plumbline.ActionCreate, Attributes: []plumbline.Attribute{set("bucket", "", `"lake-events"`, false)}},
	}}
}

func (s *Store) lakeAudit() {
	entry := func(age time.Duration, who string, door plumbline.Door, action plumbline.AuditAction, stack string, run plumbline.RunID, digest, outcome, detail string) plumbline.AuditEntry {
		return plumbline.AuditEntry{
			At: before(age), Who: who, Door: door, Action: action, Repository: "lake", Environment: "main", Stack: stack, Run: run, Digest: digest, Outcome: outcome, Detail: detail,
		}
	}
	web, nobody := plumbline.DoorWeb, plumbline.Door("")
	applied := entry(40*time.Second, "worker-1", nobody, plumbline.AuditApply, "catalog", 9772, digestLakeWas, "applying", "against the rules, as root@example.com broke the glass")
	applied.Credentials = "arn:aws:iam::111122223333:role/plumbline-apply/plumbline-9772"
	entries := []plumbline.AuditEntry{
		{At: before(30 * time.Hour), Who: "root@example.com", Door: web, Action: plumbline.AuditSignIn, Outcome: "done"},
		{At: before(29 * time.Hour), Who: "mallory " + hostile, Door: web, Action: plumbline.AuditRefused, Repository: "lake", Environment: "main", Outcome: "refused", Detail: "freeze: mallory may not freeze in lake/main."},
		entry(3*time.Hour, "ops-b", web, plumbline.AuditFreeze, "", 0, "", "done", "incident 4711, the warehouse is being restored "+hostile),
		entry(2*time.Hour, "ops-c", plumbline.DoorForge, plumbline.AuditCarry, "warehouse", 9770, digestLakeWas, "awaiting", "given on merge request !51"),
		entry(90*time.Minute, "ops-b", plumbline.DoorComment, plumbline.AuditApprove, "warehouse", 9770, digestLake, "awaiting", ""),
		entry(time.Minute, "root@example.com", web, plumbline.AuditBreakGlass, "catalog", 9772, digestLakeWas, "approved", "incident 4711: the catalog answers nobody; "+hostile),
		applied,
	}
	slices.SortStableFunc(entries, func(a, b plumbline.AuditEntry) int { return a.At.Compare(b.At) })
	for _, e := range entries {
		_ = s.tell(e) // it fails on what JSON cannot hold
	}
}
