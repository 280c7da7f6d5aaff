package plumbline.iam_test

import data.plumbline.iam
import data.plumbline.plan_test

document(statement) := json.marshal({"Statement": object.union({"Effect": "Allow"}, statement)})

test_policy[name] if {
	some name, t in {
		"everything": {"s": {"Action": "*", "Resource": "*"}, "n": 1},
		"everything in a list": {"s": {"Action": ["s3:*", "*:*"], "Resource": ["*"]}, "n": 1},
		"all of IAM": {"s": {"Action": "IAM:*", "Resource": "*"}, "n": 1},
		"all but a little": {"s": {"NotAction": "s3:DeleteBucket", "Resource": "*"}, "n": 1},
		"all but IAM": {"s": {"NotAction": ["iam:*", "organizations:*"], "Resource": "*"}, "n": 0},
		"on all but one": {"s": {"Action": "*", "NotResource": "arn:aws:s3:::x"}, "n": 1},
		"one service": {"s": {"Action": "s3:*", "Resource": "*"}, "n": 0},
		"one resource": {"s": {"Action": "*", "Resource": "arn:aws:s3:::x"}, "n": 0},
		"denied": {"s": {"Effect": "Deny", "Action": "*", "Resource": "*"}, "n": 0},
		"odd": {"s": {"Action": 1, "Resource": [null]}, "n": 0},
	}
	count(iam.deny) == t.n with input as plan_test.of_one(plan_test.created("aws_iam_policy", {"policy": document(t.s)}))
}

admin := document({"Action": "*", "Resource": "*"})

test_where_policies_are[type] if {
	some type, after in {
		"aws_iam_role_policy": {"policy": admin},
		"aws_iam_user_policy": {"policy": admin},
		"aws_iam_group_policy": {"policy": admin},
		"aws_iam_role": {"inline_policy": [{"name": "x", "policy": admin}]},
		"aws_ssoadmin_permission_set_inline_policy": {"inline_policy": admin},
	}
	count(iam.deny) == 1 with input as plan_test.of_one(plan_test.created(type, after))
}

test_attached[type] if {
	some type, after in {
		"aws_iam_role_policy_attachment": {"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"},
		"aws_iam_user_policy_attachment": {"policy_arn": "arn:aws-cn:iam::aws:policy/AdministratorAccess"},
		"aws_iam_role": {"managed_policy_arns": ["arn:aws:iam::aws:policy/AdministratorAccess"]},
		"aws_ssoadmin_managed_policy_attachment": {"managed_policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess"},
	}
	count(iam.deny) == 1 with input as plan_test.of_one(plan_test.created(type, after))
}

test_others_may_be_attached if {
	after := {"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess-Amplify"}
	count(iam.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_iam_role_policy_attachment", after))
	count(iam.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_iam_role", {"managed_policy_arns": null, "inline_policy": null}))
}

test_policy_that_is_not_known if {
	count(iam.warn) == 1 with input as plan_test.of_one(plan_test.unknown("aws_iam_policy", ["create"], "policy"))
	count(iam.warn) == 0 with input as plan_test.of_one(plan_test.created("aws_iam_policy", {"policy": admin}))
}
