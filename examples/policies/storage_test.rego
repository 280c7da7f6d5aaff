package plumbline.storage_test

import data.plumbline.plan_test
import data.plumbline.storage

private := {"block_public_acls": true, "block_public_policy": true, "ignore_public_acls": true, "restrict_public_buckets": true}

test_acl[name] if {
	some name, t in {
		"public": {"type": "aws_s3_bucket_acl", "acl": "public-read", "n": 1},
		"writable": {"type": "aws_s3_bucket_acl", "acl": "public-read-write", "n": 1},
		"all AWS accounts": {"type": "aws_s3_bucket_acl", "acl": "authenticated-read", "n": 1},
		"on the bucket": {"type": "aws_s3_bucket", "acl": "public-read", "n": 1},
		"private": {"type": "aws_s3_bucket_acl", "acl": "private", "n": 0},
		"of something else": {"type": "aws_other", "acl": "public-read", "n": 0},
	}
	count(storage.deny) == t.n with input as plan_test.of_one(plan_test.created(t.type, {"acl": t.acl}))
}

test_update_counts if {
	count(storage.deny) == 1 with input as plan_test.of_one(plan_test.updated("aws_s3_bucket_acl", {"acl": "private"}, {"acl": "public-read"}))
}

grants(uri) := {"access_control_policy": [{"grant": [{"grantee": [{"type": "Group", "uri": uri}], "permission": "READ"}]}]}

test_grant if {
	count(storage.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_s3_bucket_acl", grants("http://acs.amazonaws.com/groups/global/AllUsers")))
	count(storage.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_s3_bucket_acl", grants("http://acs.amazonaws.com/groups/s3/LogDelivery")))
}

test_grant_of_the_bucket if {
	after := {"grant": [{"type": "Group", "uri": "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"}]}
	count(storage.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_s3_bucket", after))
}

test_block_is_on if {
	count(storage.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_s3_bucket_public_access_block", private))
}

test_block_is_off[attribute] if {
	some attribute in storage.blocks
	off := object.union(private, {attribute: false})
	count(storage.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_s3_bucket_public_access_block", off))
	count(storage.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_s3_account_public_access_block", off))
}

test_block_left_unset_is_off if {
	count(storage.deny) == 4 with input as plan_test.of_one(plan_test.created("aws_s3_bucket_public_access_block", {}))
}

test_block_goes_away if {
	gone := plan_test.change("aws_s3_bucket_public_access_block", ["delete"], {"bucket": "x"}, null)
	count(storage.deny) == 1 with input as plan_test.of_one(gone)
	count(storage.deny) == 0 with input as plan_test.of([gone, plan_test.destroyed("aws_s3_bucket")])
}

bucket_policy(statement) := plan_test.of_one(plan_test.created("aws_s3_bucket_policy", {"policy": json.marshal({"Statement": [object.union(
	{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
	statement,
)]})}))

test_policy[name] if {
	some name, t in {
		"anybody": {"s": {"Principal": "*"}, "n": 1},
		"any AWS": {"s": {"Principal": {"AWS": "*"}}, "n": 1},
		"any among others": {"s": {"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, "n": 1},
		"all but one": {"s": {"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}, "n": 1},
		"one account": {"s": {"Principal": {"AWS": "arn:aws:iam::1:root"}}, "n": 0},
		"a service": {"s": {"Principal": {"Service": "cloudfront.amazonaws.com"}}, "n": 0},
		"denied": {"s": {"Effect": "Deny", "Principal": "*"}, "n": 0},
		"from an endpoint": {"s": {"Principal": "*", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}, "n": 0},
		"of an organisation": {"s": {"Principal": "*", "Condition": {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-1/*"]}}}, "n": 0},
		"from addresses": {"s": {"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24"]}}}, "n": 0},
		"from every address": {"s": {"Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "0.0.0.0/0"]}}}, "n": 1},
		"from any endpoint": {"s": {"Principal": "*", "Condition": {"StringLike": {"aws:SourceVpce": "*"}}}, "n": 1},
		"if it exists": {"s": {"Principal": "*", "Condition": {"StringEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}}, "n": 1},
		"but encrypted on the way": {"s": {"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}, "n": 1},
	}
	count(storage.deny) == t.n with input as bucket_policy(t.s)
}

test_policy_of_the_bucket if {
	text := `{"Statement": {"Effect": "Allow", "Principal": "*"}}`
	count(storage.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_s3_bucket", {"policy": text}))
}

test_policy_that_is_not_known if {
	count(storage.warn) == 1 with input as plan_test.of_one(plan_test.unknown("aws_s3_bucket_policy", ["create"], "policy"))
	count(storage.warn) == 0 with input as bucket_policy({"Principal": "*"})
}
