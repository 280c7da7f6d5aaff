package plumbline.destroys_test

import data.plumbline.destroys
import data.plumbline.plan_test

plan_of(n) := plan_test.of([plan_test.destroyed(sprintf("t%d", [i])) | some i in numbers.range(1, n)])

test_up_to_the_limit if {
	count(destroys.require_approval) == 0 with input as plan_of(3) with data.settings.most_destroys as 3
}

test_above_the_limit if {
	some found in destroys.require_approval with input as plan_of(4) with data.settings as {"most_destroys": 3, "destroy_approvers": ["group:a"]}
	found == {"msg": "4 resources are destroyed or replaced; up to 3 need no approval", "from": ["group:a"]}
}

test_replacements_count if {
	changes := [plan_test.replaced("a"), plan_test.destroyed("b")]
	count(destroys.require_approval) == 1 with input as plan_test.of(changes) with data.settings.most_destroys as 1
}

test_without_settings if {
	some found in destroys.require_approval with input as plan_of(11) with data.settings as {}
	found.from == ["role:admin"]
	count(destroys.require_approval) == 0 with input as plan_of(10) with data.settings as {}
}
