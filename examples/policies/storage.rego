# No bucket is public.
package plumbline.storage

import data.plumbline.plan

public_acls := {"public-read", "public-read-write", "authenticated-read"}

public_groups := {
	"http://acs.amazonaws.com/groups/global/AllUsers",
	"http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
}

deny contains {"address": rc.address, "msg": sprintf("the access control list %q lets anybody in", [rc.change.after.acl])} if {
	some rc in plan.kept
	rc.type in {"aws_s3_bucket", "aws_s3_bucket_acl"}
	rc.change.after.acl in public_acls
}

deny contains {"address": rc.address, "msg": "a grant lets anybody in"} if {
	some rc in plan.kept
	rc.type in {"aws_s3_bucket", "aws_s3_bucket_acl"}
	some attribute in ["grant", "access_control_policy"]
	walk(rc.change.after[attribute], [path, uri])
	path[count(path) - 1] == "uri"
	uri in public_groups
}

blocks := ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"]

deny contains {"address": rc.address, "msg": sprintf("%s is off, so the bucket can be made public", [attribute])} if {
	some rc in plan.kept
	rc.type in {"aws_s3_bucket_public_access_block", "aws_s3_account_public_access_block"}
	some attribute in blocks
	not rc.change.after[attribute] == true
	not plan.is_unknown(rc, attribute)
}

# The block goes away while its bucket stays.
deny contains {"address": rc.address, "msg": "the block of public access goes away, and the bucket stays"} if {
	some rc in plan.destroyed
	rc.type == "aws_s3_bucket_public_access_block"
	not plan.is_new(rc)
	not bucket_goes(rc.change.before.bucket)
}

bucket_goes(name) if {
	some rc in plan.destroyed
	rc.type == "aws_s3_bucket"
	rc.change.before.id == name
}

deny contains {"address": rc.address, "msg": "the bucket's policy lets anybody in"} if {
	some rc in plan.kept
	rc.type in {"aws_s3_bucket", "aws_s3_bucket_policy"}
	some statement in plan.allowed(rc.change.after.policy)
	plan.for_anybody(statement)
	not plan.narrowed(statement)
}

# A policy that names the bucket it is for is not known before the bucket is there.
warn contains {"address": rc.address, "msg": "the bucket's policy is not known before it is applied, so nobody has looked at it"} if {
	some rc in plan.kept
	rc.type == "aws_s3_bucket_policy"
	plan.is_unknown(rc, "policy")
}
