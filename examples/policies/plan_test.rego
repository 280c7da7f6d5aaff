package plumbline.plan_test

import data.plumbline.plan

# What the tests of the policies are made of.
change(type, actions, before, after) := {
	"address": sprintf("%s.x", [type]), "mode": "managed", "type": type,
	"change": {"actions": actions, "before": before, "after": after, "after_unknown": {}},
}

created(type, after) := change(type, ["create"], null, after)

updated(type, before, after) := change(type, ["update"], before, after)

destroyed(type) := change(type, ["delete"], {"id": "x"}, null)

replaced(type) := change(type, ["delete", "create"], {"id": "x"}, {})

unknown(type, actions, attribute) := object.union(change(type, actions, null, {}), {"change": {"after_unknown": {attribute: true}}})

of(changes) := {"format_version": "1.2", "resource_changes": changes}

of_one(c) := of([c])

data_source := object.union(created("aws_s3_bucket", {"acl": "public-read"}), {"mode": "data"})

test_what_does_not_change_is_left_alone if {
	plan.changes == [] with input as of([data_source, change("a", ["no-op"], {}, {}), change("a", ["read"], {}, {})])
	count(plan.changes) == 1 with input as of_one(created("a", {}))
}

test_kept if {
	count(plan.kept) == 2 with input as of([created("a", {}), updated("b", {}, {}), destroyed("c")])
}

test_forgotten_is_not_destroyed if {
	plan.destroyed == [] with input as of([change("a", ["forget"], {}, null)])
	count(plan.destroyed) == 2 with input as of([replaced("a"), destroyed("b"), created("c", {})])
}

test_create_before_destroy_is_new if {
	plan.is_new(change("a", ["create", "delete"], {}, {}))
	not plan.is_new(updated("a", {}, {}))
}

test_allowed[name] if {
	some name, t in {
		"one statement": {"text": `{"Statement": {"Effect": "Allow"}}`, "n": 1},
		"some": {"text": `{"Statement": [{"Effect": "Allow"}, {"Effect": "Deny"}, {"Effect": "Allow"}]}`, "n": 2},
		"not JSON": {"text": "{", "n": 0},
		"not an object": {"text": "[]", "n": 0},
		"nothing": {"text": null, "n": 0},
		"odd": {"text": `{"Statement": ["*"]}`, "n": 0},
	}
	count(plan.allowed(t.text)) == t.n
}

test_unknown if {
	plan.is_unknown(unknown("a", ["create"], "b"), "b")
	not plan.is_unknown(created("a", {"b": 1}), "b")
}

test_for_anybody[name] if {
	some name, t in {
		"anybody": {"s": {"Principal": "*"}, "is": true},
		"any AWS among others": {"s": {"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, "is": true},
		"all but one": {"s": {"NotPrincipal": {"AWS": "arn:aws:iam::1:root"}}, "is": true},
		"one account": {"s": {"Principal": {"AWS": "arn:aws:iam::1:root"}}, "is": false},
		"a service": {"s": {"Principal": {"Service": "sns.amazonaws.com"}}, "is": false},
	}
	count([1 | plan.for_anybody(t.s)]) == {true: 1, false: 0}[t.is]
}

test_narrowed[name] if {
	some name, t in {
		"from an account": {"c": {"StringEquals": {"aws:SourceAccount": "1"}}, "is": true},
		"of an organisation": {"c": {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-1/*"]}}, "is": true},
		"from addresses": {"c": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, "is": true},
		"from every address": {"c": {"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "0.0.0.0/0"]}}, "is": false},
		"of any account": {"c": {"StringLike": {"aws:SourceAccount": "*"}}, "is": false},
		"if it exists": {"c": {"StringEqualsIfExists": {"aws:SourceAccount": "1"}}, "is": false},
		"over TLS": {"c": {"Bool": {"aws:SecureTransport": "true"}}, "is": false},
		"odd": {"c": "aws:SourceAccount", "is": false},
		"odd inside": {"c": {"StringEquals": ["aws:SourceAccount"]}, "is": false},
	}
	count([1 | plan.narrowed({"Condition": t.c})]) == {true: 1, false: 0}[t.is]
}

test_not_narrowed_without_condition if not plan.narrowed({"Principal": "*"})
