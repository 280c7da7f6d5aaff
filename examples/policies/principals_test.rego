package plumbline.principals_test

import data.plumbline.plan_test
import data.plumbline.principals

document(statement) := json.marshal({"Statement": object.union({"Effect": "Allow", "Action": "*"}, statement)})

test_every_type[type] if {
	some type, attribute in principals.documents
	count(principals.deny) == 1 with input as plan_test.of_one(plan_test.created(type, {attribute: document({"Principal": "*"})}))
	count(principals.deny) == 0 with input as plan_test.of_one(plan_test.created(type, {attribute: document({"Principal": {"Service": "ecs-tasks.amazonaws.com"}})}))
}

test_conditions if {
	narrow := document({"Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}})
	count(principals.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_iam_role", {"assume_role_policy": narrow}))
	wide := document({"Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}})
	count(principals.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_iam_role", {"assume_role_policy": wide}))
}

test_says_what if {
	some found in principals.deny with input as plan_test.of_one(plan_test.created("aws_iam_role", {"assume_role_policy": document({"Principal": "*"})}))
	found == {"address": "aws_iam_role.x", "msg": "its assume_role_policy lets anybody in"}
}

test_other_types if {
	count(principals.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_iam_policy", {"policy": document({"Principal": "*"})}))
}

test_function[name] if {
	some name, t in {
		"anybody": {"after": {"principal": "*"}, "n": 1},
		"one account's": {"after": {"principal": "*", "source_account": "111122223333"}, "n": 0},
		"one rule's": {"after": {"principal": "*", "source_arn": "arn:aws:events:eu-west-1:111122223333:rule/x"}, "n": 0},
		"one organisation's": {"after": {"principal": "*", "principal_org_id": "o-1"}, "n": 0},
		"a service": {"after": {"principal": "events.amazonaws.com", "source_arn": null}, "n": 0},
	}
	count(principals.deny) == t.n with input as plan_test.of_one(plan_test.created("aws_lambda_permission", t.after))
}

test_unknown if {
	count(principals.warn) == 1 with input as plan_test.of_one(plan_test.unknown("aws_sqs_queue_policy", ["create"], "policy"))
	count(principals.warn) == 1 with input as plan_test.of_one(plan_test.unknown("aws_iam_role", ["create"], "assume_role_policy"))
	count(principals.warn) == 0 with input as plan_test.of_one(plan_test.unknown("aws_sqs_queue", ["create"], "policy"))
}
