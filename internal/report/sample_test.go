package report

import (
	"errors"
	"fmt"
	"strings"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// rich is a note with one of everything.
func rich() NoteData {
	policy := func(actions string) string {
		return fmt.Sprintf("%q", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[`+actions+`],"Resource":"*"}]}`)
	}
	d := sample()
	db := proposal(9812, "production", "live/db", plumbline.Plan{
		Changes: []plumbline.Change{
			{Address: "action.aws_lambda_invoke.warm", Type: "aws_lambda_invoke", Action: plumbline.ActionInvoke, Reason: "after aws_db_instance.main is created"},
			{Address: "aws_db_instance.main", Type: "aws_db_instance", Action: plumbline.ActionReplace, ReplacePaths: []string{"storage_encrypted"}, Attributes: []plumbline.Attribute{
				{Path: "endpoint", Before: `"main.c9x.rds.amazonaws.com:5432"`, Unknown: true}, {Path: "password", Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true},
				{Path: "storage_encrypted", Before: "false", After: "true", Forces: true}}},
			{Address: `aws_db_proxy.reader["eu|1"]`, Type: "aws_db_proxy", Action: plumbline.ActionReplaceFirst, Reason: "replace_because_tainted"},
			{Address: "aws_db_parameter_group.main", Type: "aws_db_parameter_group", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "family", Before: `"pg15"`, After: `"pg16"`}}},
			{Address: "aws_iam_policy.backup", Type: "aws_iam_policy", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "policy", Before: policy(`"s3:GetObject"`), After: policy(`"s3:GetObject","s3:PutObject"`)}}},
			{Address: "aws_db_snapshot.last", Type: "aws_db_snapshot", Action: plumbline.ActionForget},
		},
		Outputs: []plumbline.OutputChange{{Name: "endpoint", Action: plumbline.ActionUpdate, Before: `"main.c9x.rds.amazonaws.com:5432"`, Unknown: true}},
		Drift: []plumbline.Change{
			{Address: "aws_security_group.db", Type: "aws_security_group", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "description", Before: `"db"`, After: `"db (opened by hand)"`}}},
			{Address: "aws_db_parameter_group.main", Type: "aws_db_parameter_group", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "tags.owner", Before: `"sre"`}}},
		},
		Deferred: []plumbline.Change{{Address: "aws_db_cluster_endpoint.reader", Type: "aws_db_cluster_endpoint", Action: plumbline.ActionCreate, Reason: "instance_count_unknown"}},
		Checks: []plumbline.Check{
			{Address: "check.backup_is_recent", Status: plumbline.CheckFailed, Problems: []string{"The last backup is 3 days old.\nRun `make backup` first."}},
			{Address: "aws_db_instance.main", Status: plumbline.CheckUnknown},
		},
		Partial: true, Keyed: true,
	})
	db.Plan.Summary.Invoke, db.Plan.Summary.Forget, db.Plan.Summary.Output = 1, 1, 1
	db.Run.Plan.Summary = db.Plan.Summary
	db.Since = []diff.Line{{Sign: "~", Text: "aws_iam_policy.backup", Note: "not in the approved plan"}, {Sign: "~", Depth: 1, Text: `policy.Statement[0].Action[1] = "s3:PutObject"`}}
	db.SinceSummary = "1 more change (aws_iam_policy.backup)"
	d.Rows[1] = db
	first := proposal(9815, "production", "live/new", plumbline.Plan{NoState: true, Changes: []plumbline.Change{
		{Address: "aws_vpc.main", Type: "aws_vpc", Action: plumbline.ActionCreate, Attributes: []plumbline.Attribute{{Path: "cidr_block", After: `"10.0.0.0/16"`}, {Path: "id", Unknown: true}, {Path: "arn", Unknown: true}}},
		{Address: "aws_vpc.old", Type: "aws_vpc", Action: plumbline.ActionNoOp, Importing: "vpc-1"},
	}})
	d.Rows = append(d.Rows[:3:3], first, d.Rows[3])
	return d
}

func namedOf(d NoteData) []NamedPlan {
	var plans []NamedPlan
	for _, r := range d.Rows {
		plans = append(plans, NamedPlan{Name: r.Run.Stack.Name, Plan: r.Plan, Since: r.Since, SinceSummary: r.SinceSummary})
	}
	plans[0] = NamedPlan{Name: "live/dead", Err: errors.New("terraform init: exit status 1\n  main.tf:3: Unsupported block type")}
	return plans
}

// large is a plan of n changes in each of three stacks, as a refactoring of a real environment has them.
func large(n int) NoteData {
	d := sample()
	d.Rows = nil
	types := []string{"aws_instance", "aws_route53_record", "aws_security_group_rule", "aws_iam_role_policy_attachment", "aws_subnet"}
	for s := range 3 {
		p := plumbline.Plan{Changes: make([]plumbline.Change, 0, n)}
		for i := range n {
			typ := types[i%len(types)]
			c := plumbline.Change{Type: typ, Address: fmt.Sprintf(`module.zone[%q].%s.this[%d]`, string(rune('a'+i%3)), typ, i)}
			switch {
			case i%41 == 7:
				c.Action, c.Reason = plumbline.ActionDelete, "delete_because_each_key"
				c.Attributes = []plumbline.Attribute{{Path: "id", Before: fmt.Sprintf(`"i-%08x"`, i)}, {Path: "name", Before: `"old"`}}
			case i%53 == 9:
				c.Action, c.ReplacePaths = plumbline.ActionReplace, []string{"subnet_id"}
				c.Attributes = []plumbline.Attribute{{Path: "id", Before: fmt.Sprintf(`"i-%08x"`, i), Unknown: true}, {Path: "subnet_id", Before: `"subnet-1"`, After: `"subnet-2"`, Forces: true}}
			case i%5 == 2:
				c.Action = plumbline.ActionUpdate
				c.Attributes = []plumbline.Attribute{{Path: "tags.owner", Before: `"sre"`, After: `"platform"`}, {Path: "tags.cost", After: `"42"`}}
			default:
				c.Action = plumbline.ActionCreate
				c.Attributes = []plumbline.Attribute{{Path: "arn", Unknown: true}, {Path: "name", After: fmt.Sprintf(`"thing-%d"`, i)}, {Path: "type", After: `"t3.micro"`}}
			}
			p.Changes = append(p.Changes, c)
		}
		d.Rows = append(d.Rows, proposal(plumbline.RunID(9900+s), "production", "live/"+strings.Repeat("x", s+1), p))
	}
	return d
}
