# What holds data holds it encrypted.
package plumbline.encryption

import data.plumbline.plan

# By type, the attribute that says so. What is left out here is always encrypted (S3, DynamoDB).
says := {
	"aws_db_instance": "storage_encrypted",
	"aws_rds_cluster": "storage_encrypted",
	"aws_docdb_cluster": "storage_encrypted",
	"aws_neptune_cluster": "storage_encrypted",
	"aws_redshift_cluster": "encrypted",
	"aws_ebs_volume": "encrypted",
	"aws_efs_file_system": "encrypted",
	"aws_elasticache_replication_group": "at_rest_encryption_enabled",
}

deny contains {"address": rc.address, "msg": sprintf("it would not be encrypted at rest; set %s = true", [attribute])} if {
	some rc in plan.kept
	attribute := says[rc.type]
	not rc.change.after[attribute] == true
	not inherits(rc)
	gets_worse(rc, attribute)
}

# What has been so for a while cannot be encrypted without being replaced.
warn contains {"address": rc.address, "msg": sprintf("it is not encrypted at rest; %s = true would replace it", [attribute])} if {
	some rc in plan.kept
	attribute := says[rc.type]
	not rc.change.after[attribute] == true
	not inherits(rc)
	not gets_worse(rc, attribute)
}

deny contains {"address": rc.address, "msg": sprintf("a disk (%s) would not be encrypted at rest; set encrypted = true", [kind])} if {
	some rc in plan.kept
	plan.is_new(rc)
	rc.type == "aws_instance"
	some kind in ["root_block_device", "ebs_block_device"]
	some disk in rc.change.after[kind]
	not disk.encrypted == true
}

# Queues are encrypted unless somebody turns it off.
deny contains {"address": rc.address, "msg": "the queue would not be encrypted; leave sqs_managed_sse_enabled out, or name a key in kms_master_key_id"} if {
	some rc in plan.kept
	rc.type == "aws_sqs_queue"
	rc.change.after.sqs_managed_sse_enabled == false
	not is_string(object.get(rc.change.after, "kms_master_key_id", null))
	not plan.is_unknown(rc, "kms_master_key_id")
}

# Left unset, it is as the account's own setting has it, or off: nobody can tell from the plan.
gets_worse(rc, _) if plan.is_new(rc)

gets_worse(rc, attribute) if rc.change.before[attribute] == true

# A copy is as its original is.
inherits(rc) if {
	rc.type == "aws_db_instance"
	is_string(rc.change.after.replicate_source_db)
}

inherits(rc) if plan.is_unknown(rc, "replicate_source_db")
