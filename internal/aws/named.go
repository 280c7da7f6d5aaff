package aws

import (
	"regexp"
	"slices"
	"strings"
)

// Resource is an object as far as it is known after it has drifted.
type Resource struct {
	Type       string            // aws_security_group
	Address    string            // aws_security_group.web, for people
	Attributes map[string]string // of those in Identifying that are known; other names do no harm
	Deleted    bool
}

// Identifying are the attributes of an object by which it is looked for, and the region that it is in.
var Identifying = []string{"arn", "id", "name", "region"}

// maxNames is how many names of one object are looked for.
const maxNames = 3

// Identifiers are the names under which CloudTrail may list an object: services log its ID, its name or its ARN, and only the documentation of each
// tells which. The likeliest come first.
func Identifiers(kind string, attributes map[string]string) []string {
	if !strings.HasPrefix(kind, "aws_") {
		return nil
	}
	var out []string
	add := func(s string) {
		// One letter, or a path of Terraform's own, names too much or nothing.
		if len(s) >= 3 && len(s) <= 2000 && len(out) < maxNames && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	id, arn := attributes["id"], attributes["arn"]
	part := made.FindStringSubmatch(id)
	if !strings.HasPrefix(id, "arn:") {
		// An ID that Terraform puts together, such as r-rtb-0a11080289494 or sgrule-1234 or bucket/key, stands in no log; its parts may.
		if part != nil {
			add(part[1])
		} else if !strings.ContainsAny(id, ",|_/:") || strings.HasPrefix(id, "https://") || kind == "aws_iam_role" {
			add(id)
		}
	}
	add(attributes["name"])
	add(arn)
	if strings.HasPrefix(id, "arn:") {
		add(id)
	}
	if arn != "" {
		last := arn[strings.LastIndexByte(arn, ':')+1:]
		add(last[strings.LastIndexByte(last, '/')+1:])
	}
	// Parts of an ID that was put together, as the last resort.
	for piece := range strings.FieldsFuncSeq(id, func(c rune) bool { return strings.ContainsRune(",|/", c) }) {
		if part == nil && !strings.HasPrefix(id, "arn:") {
			add(piece)
		}
	}
	return out
}

// made are IDs that Terraform puts together around one of AWS's.
var made = regexp.MustCompile(`^r-(rtb-(?:[0-9a-f]{17}|[0-9a-f]{8}))[0-9]{1,10}$`)

// regionOf is the region whose CloudTrail has the events of an object: those of global services are all in one.
func regionOf(r Resource, region string) string {
	partition, own := "aws", ""
	if part := strings.SplitN(r.Attributes["arn"], ":", 6); len(part) == 6 && part[0] == "arn" {
		partition, own = part[1], part[3]
	} else if strings.HasPrefix(region, "cn-") {
		partition = "aws-cn"
	} else if strings.HasPrefix(region, "us-gov-") {
		partition = "aws-us-gov"
	}
	for _, prefix := range []string{"iam_", "cloudfront_", "route53_", "organizations_", "shield_", "account_", "budgets_"} {
		if !strings.HasPrefix(r.Type, "aws_"+prefix) || strings.HasPrefix(r.Type, "aws_route53_resolver") {
			continue
		}
		switch partition {
		case "aws-cn":
			return "cn-north-1"
		case "aws-us-gov":
			return "us-gov-west-1"
		}
		return "us-east-1"
	}
	for _, one := range []string{own, r.Attributes["region"]} {
		if regionName.MatchString(one) {
			return one
		}
	}
	return region
}

// services are the first words of types that name the service and not the thing.
var services = []string{
	"acm", "api", "apigatewayv2", "cloudtrail", "cloudwatch", "codebuild", "codecommit", "db", "dynamodb", "ebs", "ec2", "ecr", "ecs", "efs", "eks", "elasticache",
	"glue", "iam", "kinesis", "kms", "lambda", "msk", "opensearch", "organizations", "rds", "redshift", "route53", "s3", "secretsmanager", "sfn", "sns", "sqs", "ssm", "vpc", "wafv2",
}

// common are words of types that stand in the names of events about anything.
var common = []string{
	"association", "attachment", "configuration", "default", "main", "option", "options", "group", "policy", "resource", "rule", "set", "version", "log", "event",
	"target", "member", "membership", "settings", "access", "managed",
}

// aliases are words of events for what Terraform calls otherwise.
var aliases = map[string][]string{
	"alb": {"loadbalancer"}, "lb": {"loadbalancer"}, "elb": {"loadbalancer"}, "lb_listener": {"listener"}, "lb_listener_rule": {"rule"},
	"eip": {"address"}, "ami": {"image"}, "instance": {"attachvolume", "detachvolume", "address", "networkinterface"},
	"route53_record": {"resourcerecordset"}, "route53_zone": {"hostedzone"}, "cloudwatch_event_rule": {"rule"}, "cloudwatch_event_target": {"targets"},
	"cloudwatch_log_group": {"retentionpolicy"}, "rds_cluster": {"dbcluster"}, "rds_cluster_instance": {"dbinstance"},
	"autoscaling_group": {"desiredcapacity", "attachinstances", "detachinstances", "processes"}, "security_group_rule": {"securitygroup"},
	"dynamodb_table": {"timetolive", "continuousbackups"}, "ecr_repository": {"lifecyclepolicy"}, "elasticache_cluster": {"cachecluster"},
	"iam_role_policy": {"rolepolicy"}, "iam_policy": {"policyversion"}, "default_security_group": {"securitygroup"}, "default_network_acl": {"networkacl"},
	"s3_object": {"putobject", "deleteobject", "copyobject"}, "sfn_state_machine": {"statemachine"}, "api_gateway_rest_api": {"restapi"},
}

// about reports whether an event changes the kind of object that it names. Many only use one: RunInstances names a security group and changes none.
func about(kind, event string) bool {
	event = strings.ToLower(event)
	if strings.Contains(event, "tag") && (strings.HasPrefix(event, "tag") || strings.HasPrefix(event, "untag") || strings.HasSuffix(event, "tags") || strings.HasSuffix(event, "tagging")) {
		return true
	}
	kind = strings.TrimPrefix(kind, "aws_")
	for _, alias := range aliases[kind] {
		if strings.Contains(event, alias) {
			return true
		}
	}
	words := strings.Split(kind, "_")
	service := len(words) > 1 && slices.Contains(services, words[0])
	if service {
		words = words[1:]
	}
	for i := range words {
		for j := i + 1; j <= len(words); j++ {
			phrase := words[i:j]
			whole := service && len(phrase) == len(words) // what is left of iam_policy is "policy"
			plain := !slices.ContainsFunc(phrase, func(w string) bool { return !slices.Contains(common, w) })
			if joined := strings.Join(phrase, ""); len(joined) >= 3 && (whole || !plain) && strings.Contains(event, joined) {
				return true
			}
		}
	}
	return false
}

// deletes reports whether an event takes away what it is about.
func deletes(event string) bool {
	for _, verb := range []string{"Delete", "Terminate", "Remove", "Release", "Deregister", "Destroy", "Revoke", "Detach", "Disassociate", "ScheduleKeyDeletion", "BatchDelete"} {
		if strings.HasPrefix(event, verb) {
			return true
		}
	}
	return false
}
