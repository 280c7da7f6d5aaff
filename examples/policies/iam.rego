# Nobody may do everything.
package plumbline.iam

import data.plumbline.plan

deny contains {"address": rc.address, "msg": "the policy allows every action on every resource"} if {
	some rc in plan.kept
	some text in policies(rc)
	some statement in plan.allowed(text)
	every_action(statement)
	every_resource(statement)
}

deny contains {"address": rc.address, "msg": sprintf("%s may do everything", [arn])} if {
	some rc in plan.kept
	some arn in attached(rc)
	is_string(arn)
	regex.match(`^arn:aws[a-z-]*:iam::aws:policy/AdministratorAccess$`, arn)
}

warn contains {"address": rc.address, "msg": "the policy is not known before it is applied, so nobody has looked at it"} if {
	some rc in plan.kept
	rc.type in documents
	plan.is_unknown(rc, "policy")
}

documents := {"aws_iam_policy", "aws_iam_role_policy", "aws_iam_user_policy", "aws_iam_group_policy"}

policies(rc) := [rc.change.after.policy] if rc.type in documents

policies(rc) := [p.policy | some p in rc.change.after.inline_policy] if rc.type == "aws_iam_role"

policies(rc) := [rc.change.after.inline_policy] if rc.type == "aws_ssoadmin_permission_set_inline_policy"

attached(rc) := [rc.change.after.policy_arn] if {
	rc.type in {"aws_iam_policy_attachment", "aws_iam_role_policy_attachment", "aws_iam_user_policy_attachment", "aws_iam_group_policy_attachment"}
}

attached(rc) := plan.as_list(rc.change.after.managed_policy_arns) if rc.type == "aws_iam_role"

attached(rc) := [rc.change.after.managed_policy_arn] if rc.type == "aws_ssoadmin_managed_policy_attachment"

# Whoever may do everything in IAM may give the rest to himself.
every_action(statement) if {
	some action in texts(statement.Action)
	action in {"*", "*:*", "iam:*"}
}

# Everything but what is named, and IAM is not.
every_action(statement) if {
	statement.NotAction
	not "iam:*" in texts(statement.NotAction)
}

every_resource(statement) if "*" in texts(statement.Resource)

every_resource(statement) if statement.NotResource

texts(x) := [lower(v) | some v in plan.as_list(x); is_string(v)]
