# Nothing by which machines are ruled, and no database, is open to the world, or has an address there.
package plumbline.network

import data.plumbline.plan

guarded := {
	22: "SSH",
	1433: "SQL Server",
	1521: "Oracle",
	3306: "MySQL",
	3389: "RDP",
	5432: "PostgreSQL",
	5439: "Redshift",
	6379: "Redis",
	9200: "Elasticsearch",
	11211: "Memcached",
	27017: "MongoDB",
}

deny contains {"address": found.address, "msg": sprintf("%s (port %d) is open to %s", [what, port, found.range])} if {
	some found in ingress
	is_world(found.range)
	some port, what in guarded
	found.protocol in {"tcp", "udp", "6", "17"}
	found.from <= port
	port <= found.to
}

deny contains {"address": found.address, "msg": sprintf("every port is open to %s", [found.range])} if {
	some found in ingress
	is_world(found.range)
	found.protocol in {"-1", "all"}
}

deny contains {"address": rc.address, "msg": "it has an address on the Internet; set publicly_accessible = false"} if {
	some rc in plan.kept
	rc.type in {"aws_db_instance", "aws_rds_cluster_instance", "aws_redshift_cluster", "aws_dms_replication_instance", "aws_mq_broker"}
	rc.change.after.publicly_accessible == true
}

# A rule for every range of every security group, however it is written.
ingress contains rule(rc, r, r.protocol, range) if {
	some rc in plan.kept
	rc.type in {"aws_security_group", "aws_default_security_group"}
	some r in rc.change.after.ingress
	some attribute in ["cidr_blocks", "ipv6_cidr_blocks"]
	some range in r[attribute]
}

ingress contains rule(rc, r, r.protocol, range) if {
	some rc in plan.kept
	rc.type == "aws_security_group_rule"
	r := rc.change.after
	r.type == "ingress"
	some attribute in ["cidr_blocks", "ipv6_cidr_blocks"]
	some range in r[attribute]
}

ingress contains rule(rc, r, r.ip_protocol, r[attribute]) if {
	some rc in plan.kept
	rc.type == "aws_vpc_security_group_ingress_rule"
	r := rc.change.after
	some attribute in ["cidr_ipv4", "cidr_ipv6"]
}

rule(rc, r, protocol, range) := {
	"address": rc.address, "protocol": lower(protocol), "range": range,
	"from": object.get(r, "from_port", null), "to": object.get(r, "to_port", null),
} if {
	is_string(protocol)
	is_string(range)
}

# The whole Internet, or so much of it that it makes no difference: 0.0.0.0/1 and 128.0.0.0/1 together are all of it.
is_world(range) if {
	not contains(range, ":")
	prefix(range) < 8
}

is_world(range) if {
	contains(range, ":")
	prefix(range) < 16
	not regex.match("^(?i)f[cd]", range) # private networks
}

prefix(range) := to_number(split(range, "/")[1]) if regex.match(`/\d+$`, range)
