package driftreport_test

import (
	"fmt"
	"time"

	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var now = time.Date(2026, 11, 20, 14, 42, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

const (
	hour    = time.Hour
	day     = 24 * hour
	hostile = "<script>alert(1)</script> | `x` @everyone \u202eevil\n# a heading"
)

func ref(env, name string) plumbline.StackRef {
	return plumbline.StackRef{Repository: "infra", Environment: env, Name: name}
}

func changed(address, kind, path, from, to string) plumbline.Difference {
	return plumbline.Difference{Address: address, Type: kind, Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: path, Before: from, After: to}}}
}

// sample is thirty days of an estate in which everything happens that can happen to drift.
func sample() driftreport.Input {
	in := driftreport.Input{Now: now, Since: ago(29 * day), Rules: map[string][]plumbline.IgnoreRule{"infra/production": {
		{Address: "aws_autoscaling_group.*", Attribute: "desired_capacity", Owner: "sre", Reason: "autoscaled", Until: now.AddDate(0, 3, 0)},
		{ID: 4, Stack: "live/app", Address: "aws_ecs_service.web", Owner: hostile, Reason: "a test of the load " + hostile, Until: ago(3 * day)},
	}}}
	event := func(id int64, at time.Time, what plumbline.DriftEventKind) {
		in.Histories = append(in.Histories, plumbline.DriftEvent{Item: id, At: at, What: what})
	}
	put := func(it plumbline.DriftItem) {
		if it.Cause.Text == "" {
			it.Cause.Text = it.Difference.Type + " " + it.Difference.Kind.Words()
		}
		if it.LastSeen.IsZero() {
			it.LastSeen = ago(hour)
		}
		if it.Seen == 0 {
			it.Seen = 1 + int(it.LastSeen.Sub(it.Opened)/(6*hour))
		}
		in.Items = append(in.Items, it)
		event(it.ID, it.Opened, plumbline.EventOpened)
		if !it.Resolved.IsZero() {
			event(it.ID, it.Resolved, plumbline.EventResolved)
		}
	}
	put(plumbline.DriftItem{
		ID: 1, Stack: ref("production", "live/net"), Difference: changed("aws_route.nat", "aws_route", "nat_gateway_id", `"nat-0a"`, `"nat-0b"`), Opened: ago(2 * hour),
		Actor: &plumbline.Actor{Who: "arn:aws:iam::111122223333:user/ops-k", How: "the console"},
	})
	put(plumbline.DriftItem{
		ID: 2, Stack: ref("production", "live/app"), Difference: changed("aws_ecs_service.web", "aws_ecs_service", "desired_count", "4", "6"), Opened: ago(8 * day),
		Acknowledged: &plumbline.Acknowledgement{By: "ops-b", At: ago(7 * day)}, Actor: &plumbline.Actor{Unknown: "nobody was asked"},
	})
	put(plumbline.DriftItem{
		ID: 3, Stack: ref("production", "live/asg"), Difference: changed("aws_autoscaling_group.web", "aws_autoscaling_group", "desired_capacity", "2", "5"), Opened: ago(20 * day),
		Ignored: &plumbline.Ignored{Owner: "sre", Reason: "autoscaled", Until: now.AddDate(0, 3, 0)},
	})
	event(3, ago(18*day), plumbline.EventIgnored)
	put(plumbline.DriftItem{
		ID: 4, Stack: ref("production", "live/db"), Difference: changed("aws_db_instance.main", "aws_db_instance", "password", "", ""), Opened: ago(12 * day),
		Ignored: &plumbline.Ignored{Rule: 7, Owner: hostile, Reason: hostile, Until: now.AddDate(0, 0, 9)},
	})
	event(4, ago(12*day), plumbline.EventIgnored)
	put(plumbline.DriftItem{
		ID: 5, Stack: ref("staging", "live/"+hostile), Difference: changed(`aws_instance.a["`+hostile+`"]`, "aws_instance", hostile, `"`+hostile+`"`, `"b"`), Opened: ago(4 * day),
		Cause: plumbline.Cause{Key: hostile, Text: hostile}, Actor: &plumbline.Actor{Who: hostile},
	})
	put(plumbline.DriftItem{
		ID: 6, Stack: ref("production", "live/dns"), Difference: changed("aws_route53_record.a", "aws_route53_record", "ttl", "60", "300"), Opened: ago(9 * day), Noise: "2 applies had no effect on it",
	})
	event(6, ago(6*day), plumbline.EventNoise)
	put(plumbline.DriftItem{
		ID: 7, Stack: ref("production", "live/net"), Difference: changed("aws_security_group_rule.in", "aws_security_group_rule", "cidr_blocks", `["10.0.0.0/8"]`, `["0.0.0.0/0"]`),
		Opened: ago(30 * hour), Flapping: true, Returned: 4, Openings: []time.Time{ago(4 * day), ago(3 * day), ago(2 * day), ago(30 * hour)},
	})
	for i := range 12 {
		put(plumbline.DriftItem{
			ID: int64(20 + i), Stack: ref("production", fmt.Sprintf("team/%02d", i)), Difference: changed(fmt.Sprintf("aws_instance.app[%d]", i), "aws_instance", `tags["owner"]`, `"a"`, "null"),
			Opened: ago(time.Duration(5+i%3) * day), Cause: plumbline.Cause{Key: "tags", Text: "tags[] of aws_instance changed outside"},
		})
	}
	for i := range 9 {
		opened := ago(time.Duration(27-2*i) * day)
		put(plumbline.DriftItem{
			ID: int64(40 + i), Stack: ref([]string{"production", "staging"}[i%2], "live/net"), Difference: plumbline.Difference{Address: fmt.Sprintf("aws_eip.spare[%d]", i), Type: "aws_eip", Kind: plumbline.DriftDeleted},
			Opened: opened, LastSeen: opened.Add(time.Duration(i+1) * 5 * hour), Resolved: opened.Add(time.Duration(i+2) * 5 * hour), How: "applied by run 9640",
		})
	}
	in.Stacks = []plumbline.StackRef{ref("production", "live/quiet"), ref("production", "live/blind")}
	seen := map[plumbline.StackRef]bool{}
	for _, it := range in.Items {
		if !seen[it.Stack] {
			seen[it.Stack] = true
			in.Stacks = append(in.Stacks, it.Stack)
		}
	}
	for _, st := range in.Stacks {
		for d := range 30 {
			if st.Name == "live/blind" || d%11 == 10 {
				continue // nobody looked
			}
			c := plumbline.DriftDay{Stack: st, Day: ago(time.Duration(d) * day).Truncate(day), Checks: 4}
			if d == 6 {
				c.Failed = 1
			}
			in.Days = append(in.Days, c)
		}
	}
	return in
}
