# What the other policies ask of a plan.
package plumbline.plan

# Managed resources that the plan changes. What it leaves alone is not looked at: an old mistake does not stop an unrelated change.
# Lists, not sets: a set of large objects is slow, as it has to be sorted.
changes := [rc |
	some rc in input.resource_changes
	rc.mode == "managed"
	not rc.change.actions in [["no-op"], ["read"]]
]

# Those that exist afterwards, with what they will be.
kept := [rc |
	some rc in changes
	is_object(rc.change.after)
]

# Those whose object goes away, whether another one comes in its place or not. Not those that are only forgotten.
destroyed := [rc |
	some rc in changes
	"delete" in rc.change.actions
]

is_new(rc) if "create" in rc.change.actions

# An attribute that is only known once the plan is applied.
is_unknown(rc, attribute) if rc.change.after_unknown[attribute] == true

# What is a list in some versions of a provider and one value in others.
as_list(x) := x if is_array(x)

as_list(x) := [x] if not is_array(x)

# The statements of an IAM policy that allow something. None if it is not JSON, which the cloud would refuse.
allowed(text) := [s |
	is_string(text)
	json.is_valid(text)
	some s in as_list(json.unmarshal(text).Statement)
	is_object(s)
	s.Effect == "Allow"
]

# Statements that are for everybody.
for_anybody(statement) if {
	some who in as_list(statement.Principal)
	who == "*"
}

for_anybody(statement) if {
	some who in as_list(statement.Principal.AWS)
	who == "*"
}

# Everybody but those named.
for_anybody(statement) if statement.NotPrincipal

# Conditions that AWS counts as narrowing when it says whether a bucket is public, and those that name the caller's account.
narrowing := {
	"aws:sourceaccount", "aws:sourcearn", "aws:sourceowner", "aws:sourcevpc", "aws:sourcevpce", "aws:principalaccount", "aws:principalarn",
	"aws:principalorgid", "aws:principalorgpaths", "aws:sourceorgid", "aws:userid", "kms:calleraccount", "s3:dataaccesspointaccount", "s3:dataaccesspointarn",
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
	texts := [v | some v in as_list(values); is_string(v)]
	count(texts) > 0
]
