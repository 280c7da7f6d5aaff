package plumbline.encryption_test

import data.plumbline.encryption
import data.plumbline.plan_test

test_new[type] if {
	some type, attribute in encryption.says
	count(encryption.deny) == 1 with input as plan_test.of_one(plan_test.created(type, {attribute: false}))
	count(encryption.deny) == 1 with input as plan_test.of_one(plan_test.unknown(type, ["create"], attribute))
	count(encryption.deny) == 0 with input as plan_test.of_one(plan_test.created(type, {attribute: true}))
	count(encryption.warn) == 0 with input as plan_test.of_one(plan_test.created(type, {attribute: false}))
}

test_old if {
	off := {"storage_encrypted": false}
	count(encryption.deny) == 0 with input as plan_test.of_one(plan_test.updated("aws_db_instance", off, off))
	count(encryption.warn) == 1 with input as plan_test.of_one(plan_test.updated("aws_db_instance", off, off))
}

test_gets_worse if {
	change := plan_test.updated("aws_db_instance", {"storage_encrypted": true}, {"storage_encrypted": false})
	count(encryption.deny) == 1 with input as plan_test.of_one(change)
}

test_replica if {
	after := {"storage_encrypted": false, "replicate_source_db": "main"}
	count(encryption.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_db_instance", after))
	count(encryption.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_db_instance", object.union(after, {"replicate_source_db": null})))
	count(encryption.warn) == 0 with input as plan_test.of_one(plan_test.updated("aws_db_instance", after, after))
}

test_replica_of_what_is_not_known if {
	change := plan_test.unknown("aws_db_instance", ["create"], "replicate_source_db")
	count(encryption.deny) == 0 with input as plan_test.of_one(change)
}

test_disks if {
	after := {"root_block_device": [{"encrypted": false}], "ebs_block_device": [{"encrypted": true}, {}]}
	count(encryption.deny) == 2 with input as plan_test.of_one(plan_test.created("aws_instance", after))
	count(encryption.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_instance", {"root_block_device": [{"encrypted": true}]}))
	count(encryption.deny) == 0 with input as plan_test.of_one(plan_test.updated("aws_instance", after, after))
}

test_queue[name] if {
	some name, t in {
		"off": {"after": {"sqs_managed_sse_enabled": false, "kms_master_key_id": null}, "n": 1},
		"off, and no key at all": {"after": {"sqs_managed_sse_enabled": false}, "n": 1},
		"AWS's key": {"after": {"sqs_managed_sse_enabled": true}, "n": 0},
		"left out": {"after": {}, "n": 0},
		"a key of one's own": {"after": {"sqs_managed_sse_enabled": false, "kms_master_key_id": "alias/x"}, "n": 0},
	}
	count(encryption.deny) == t.n with input as plan_test.of_one(plan_test.created("aws_sqs_queue", t.after))
}

test_queue_with_a_key_that_is_not_known if {
	change := plan_test.change("aws_sqs_queue", ["create"], null, {"sqs_managed_sse_enabled": false})
	keyed := object.union(change, {"change": {"after_unknown": {"kms_master_key_id": true}}})
	count(encryption.deny) == 0 with input as plan_test.of_one(keyed)
}
