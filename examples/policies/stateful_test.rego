package plumbline.stateful_test

import data.plumbline.plan_test
import data.plumbline.stateful

test_destroyed if {
	some found in stateful.require_approval with input as plan_test.of_one(plan_test.destroyed("aws_db_instance"))
		with data.settings.stateful_approvers as ["group:keepers"]
	found == {"address": "aws_db_instance.x", "msg": "a stateful resource is destroyed", "from": ["group:keepers"]}
}

test_replaced if {
	some found in stateful.require_approval with input as plan_test.of_one(plan_test.replaced("aws_kms_key"))
	startswith(found.msg, "a stateful resource is replaced")
}

test_every_cloud[type] if {
	some type in ["aws_dynamodb_table", "aws_efs_file_system", "google_sql_database_instance", "azurerm_storage_account"]
	count(stateful.require_approval) == 1 with input as plan_test.of_one(plan_test.destroyed(type))
}

test_without_settings_somebody_is_asked if {
	some found in stateful.require_approval with input as plan_test.of_one(plan_test.destroyed("aws_s3_bucket")) with data.settings as {}
	found.from == ["role:admin"]
}

test_others_go if {
	count(stateful.require_approval) == 0 with input as plan_test.of([plan_test.destroyed("aws_ssm_parameter"), plan_test.updated("aws_db_instance", {}, {})])
}
