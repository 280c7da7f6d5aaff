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
	for_anybody(statement)
	not narrowed(statement)
}

# A policy that names the bucket it is for is not known before the bucket is there.
warn contains {"address": rc.address, "msg": "the bucket's policy is not known before it is applied, so nobody has looked at it"} if {
	some rc in plan.kept
	rc.type == "aws_s3_bucket_policy"
	plan.is_unknown(rc, "policy")
}

for_anybody(statement) if {
	some who in plan.as_list(statement.Principal)
	who == "*"
}

for_anybody(statement) if {
	some who in plan.as_list(statement.Principal.AWS)
	who == "*"
}

# Everybody but those named.
for_anybody(statement) if statement.NotPrincipal

# Conditions that AWS counts as narrowing when it says whether a bucket is public.
narrowing := {
	"aws:sourceaccount", "aws:sourcearn", "aws:sourceowner", "aws:sourcevpc", "aws:sourcevpce", "aws:principalaccount", "aws:principalarn",
	"aws:principalorgid", "aws:principalorgpaths", "aws:sourceorgid", "aws:userid", "s3:dataaccesspointaccount", "s3:dataaccesspointarn",
}

narrowed(statement) if {
	some condition in conditions(statement)
	condition.operator in {"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"}
	condition.key in narrowing
	every value in condition.values {
		not startswith(value, "*")
	}
}

narrowed(statement) if {
	some condition in conditions(statement)
	condition.operator == "ipaddress"
	condition.key == "aws:sourceip"
	every value in condition.values {
		not endswith(value, "/0")
	}
}

# Not those with IfExists, or for all values: they hold where there is no such key.
conditions(statement) := [{"operator": trim_prefix(lower(operator), "foranyvalue:"), "key": lower(key), "values": texts} |
	is_object(statement.Condition)
	some operator, keys in statement.Condition
	is_object(keys)
	some key, values in keys
	texts := [v | some v in plan.as_list(values); is_string(v)]
	count(texts) > 0
]
