# Nothing that has a policy of its own lets anybody in. Buckets: storage.rego.
package plumbline.principals

import data.plumbline.plan

# By type, the attribute that holds the policy.
documents := {
	"aws_backup_vault_policy": "policy",
	"aws_cloudwatch_event_bus_policy": "policy",
	"aws_ecr_repository_policy": "policy",
	"aws_efs_file_system_policy": "policy",
	"aws_iam_role": "assume_role_policy",
	"aws_kms_key": "policy",
	"aws_kms_key_policy": "policy",
	"aws_opensearch_domain": "access_policies",
	"aws_opensearch_domain_policy": "access_policies",
	"aws_secretsmanager_secret": "policy",
	"aws_secretsmanager_secret_policy": "policy",
	"aws_sns_topic": "policy",
	"aws_sns_topic_policy": "policy",
	"aws_sqs_queue": "policy",
	"aws_sqs_queue_policy": "policy",
}

deny contains {"address": rc.address, "msg": sprintf("its %s lets anybody in", [documents[rc.type]])} if {
	some rc in plan.kept
	some statement in plan.allowed(rc.change.after[documents[rc.type]])
	plan.for_anybody(statement)
	not plan.narrowed(statement)
}

deny contains {"address": rc.address, "msg": "anybody may call the function"} if {
	some rc in plan.kept
	rc.type == "aws_lambda_permission"
	rc.change.after.principal == "*"
	not is_string(object.get(rc.change.after, "source_account", null))
	not is_string(object.get(rc.change.after, "source_arn", null))
	not is_string(object.get(rc.change.after, "principal_org_id", null))
}

# Those that are nothing but a policy; a queue or a key without one has a policy of AWS's own.
alone := {type | some type, _ in documents; endswith(type, "_policy")} | {"aws_iam_role"}

warn contains {"address": rc.address, "msg": sprintf("its %s is not known before it is applied, so nobody has looked at it", [documents[rc.type]])} if {
	some rc in plan.kept
	rc.type in alone
	plan.is_unknown(rc, documents[rc.type])
}
