package plumbline.network_test

import data.plumbline.network
import data.plumbline.plan_test

rule(range, port) := {"protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": [range], "ipv6_cidr_blocks": null}

group(r) := plan_test.of_one(plan_test.created("aws_security_group", {"ingress": [r]}))

test_port[name] if {
	some name, t in {
		"SSH": {"port": 22, "n": 1},
		"RDP": {"port": 3389, "n": 1},
		"a database": {"port": 5432, "n": 1},
		"the web": {"port": 443, "n": 0},
	}
	count(network.deny) == t.n with input as group(rule("0.0.0.0/0", t.port))
}

test_range[range] if {
	some range, n in {"0.0.0.0/0": 1, "128.0.0.0/1": 1, "10.0.0.0/8": 0, "192.0.2.1/32": 0, "::/0": 1, "2000::/3": 1, "fd00::/8": 0, "fc00::/7": 0, "2001:db8::/32": 0, "odd": 0}
	count(network.deny) == n with input as group(rule(range, 22))
}

test_ports_between if {
	count(network.deny) == 2 with input as group(object.union(rule("0.0.0.0/0", 0), {"from_port": 3000, "to_port": 3400})) # MySQL, RDP
}

test_protocol[protocol] if {
	some protocol, n in {"-1": 1, "all": 1, "TCP": 1, "17": 1, "icmp": 0}
	count(network.deny) == n with input as group(object.union(rule("0.0.0.0/0", 22), {"protocol": protocol}))
}

test_default_group if {
	count(network.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_default_security_group", {"ingress": [rule("0.0.0.0/0", 22)]}))
}

test_rule_of_its_own if {
	in_ := object.union(rule("0.0.0.0/0", 22), {"type": "ingress"})
	out := object.union(in_, {"type": "egress"})
	count(network.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_security_group_rule", in_))
	count(network.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_security_group_rule", out))
}

test_ingress_rule if {
	all := {"ip_protocol": "-1", "cidr_ipv4": null, "cidr_ipv6": "::/0"}
	count(network.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_vpc_security_group_ingress_rule", all))
	one := {"ip_protocol": "tcp", "cidr_ipv4": "0.0.0.0/0", "from_port": 22, "to_port": 22}
	count(network.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_vpc_security_group_ingress_rule", one))
}

test_says_what_and_where if {
	some found in network.deny with input as group(rule("0.0.0.0/0", 5432))
	found == {"address": "aws_security_group.x", "msg": "PostgreSQL (port 5432) is open to 0.0.0.0/0"}
}

test_what_is_not_known_is_no_error if {
	count(network.deny) == 0 with input as group({"protocol": null, "from_port": null, "to_port": null, "cidr_blocks": [null]})
}

test_public_database if {
	count(network.deny) == 1 with input as plan_test.of_one(plan_test.created("aws_db_instance", {"publicly_accessible": true}))
	count(network.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_db_instance", {"publicly_accessible": false}))
	count(network.deny) == 0 with input as plan_test.of_one(plan_test.created("aws_other", {"publicly_accessible": true}))
}
