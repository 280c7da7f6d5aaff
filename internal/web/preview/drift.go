package preview

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// ruled is a rule that somebody has set, with its environment.
type ruled struct {
	repository, environment string
	rule                    plumbline.IgnoreRule
}

// DriftItems lists drift items, newest first.
func (s *Store) DriftItems(_ context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []plumbline.DriftItem
	for _, it := range s.Drift {
		switch {
		case f.Repository != "" && it.Stack.Repository != f.Repository,
			f.Environment != "" && it.Stack.Environment != f.Environment,
			f.Stack != "" && it.Stack.Name != f.Stack,
			len(f.IDs) > 0 && !slices.Contains(f.IDs, it.ID),
			!f.Resolved && !it.Open(),
			f.Resolved && !it.Open() && it.Resolved.Before(f.ResolvedSince):
			continue
		}
		out = append(out, it)
	}
	slices.SortFunc(out, func(a, b plumbline.DriftItem) int { return cmp.Compare(b.ID, a.ID) })
	return out[:min(len(out), cmp.Or(f.Limit, 1000))], nil
}

// DriftItem returns one drift item.
func (s *Store) DriftItem(_ context.Context, id int64) (plumbline.DriftItem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.place(id); i >= 0 {
		return s.Drift[i], nil
	}
	return plumbline.DriftItem{}, noDrift(id)
}

func (s *Store) place(id int64) int {
	return slices.IndexFunc(s.Drift, func(it plumbline.DriftItem) bool { return it.ID == id })
}

func noDrift(id int64) error {
	return &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("There is no drift item %d.", id), Next: "`plumbline drift list` shows those there are."}
}

// DriftHistories returns the histories of drift items.
func (s *Store) DriftHistories(_ context.Context, items ...int64) ([]plumbline.DriftEvent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(s.history), func(e plumbline.DriftEvent) bool { return !slices.Contains(items, e.Item) })
	slices.SortStableFunc(out, func(a, b plumbline.DriftEvent) int { return cmp.Or(cmp.Compare(a.Item, b.Item), a.At.Compare(b.At)) })
	return out, nil
}

// UpdateDrift applies a rule to a drift item.
func (s *Store) UpdateDrift(_ context.Context, id int64, now time.Time, rule func(it plumbline.DriftItem, now time.Time) (plumbline.DriftWrite, error)) (plumbline.DriftItem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.place(id)
	if i < 0 {
		return plumbline.DriftItem{}, noDrift(id)
	}
	w, err := rule(s.Drift[i], now)
	if err != nil {
		return plumbline.DriftItem{}, err
	}
	for _, e := range w.Events {
		if e.Who == "" {
			continue
		}
		at := w.Item.Stack
		if err := s.tell(plumbline.AuditEntry{
			At: now, Who: e.Who, Action: plumbline.AuditDrift, Repository: at.Repository, Environment: at.Environment, Stack: at.Name, Outcome: "done",
			Detail: fmt.Sprintf("drift item %d, %s: %s %s", id, w.Item.Difference.Address, e.What, e.Text),
		}); err != nil {
			return w.Item, err
		}
	}
	s.write(i, w, now)
	return s.Drift[i], nil
}

// write takes an item in the place of the i-th.
func (s *Store) write(i int, w plumbline.DriftWrite, now time.Time) {
	w.Item.Events += len(w.Events)
	s.Drift[i] = w.Item
	s.history = append(s.history, w.Events...)
	s.recount(now)
	s.wake()
}

// recount brings the numbers that stacks have of their drift to what their items say.
func (s *Store) recount(now time.Time) {
	for i := range s.Status {
		s.Status[i].Drifted = 0
		for _, it := range s.Drift {
			if it.Stack == s.Status[i].Stack && it.Counts(now) {
				s.Status[i].Drifted++
			}
		}
	}
}

// IgnoreDrift has a rule hide drift.
func (s *Store) IgnoreDrift(_ context.Context, env plumbline.Environment, rule plumbline.IgnoreRule, who plumbline.Person, now time.Time) (int64, error) {
	if err := rule.Check(now); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rule.ID, rule.By, rule.From = 1, who.Name, now
	for _, r := range s.rules {
		rule.ID = max(rule.ID, r.rule.ID+1)
	}
	s.rules = append(s.rules, ruled{env.Repository, env.Name, rule})
	s.reconsider(env, now)
	return rule.ID, s.tell(plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditDrift, Repository: env.Repository, Environment: env.Name, Stack: rule.Stack, Outcome: "done",
		Detail: fmt.Sprintf("rule %d ignores %s %s", rule.ID, rule, plumbline.Ignored{Owner: rule.Owner, Reason: rule.Reason, Until: rule.Until}),
	})
}

// LiftIgnore takes a rule back.
func (s *Store) LiftIgnore(_ context.Context, env plumbline.Environment, id int64, who plumbline.Person, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.rules)
	s.rules = slices.DeleteFunc(s.rules, func(r ruled) bool {
		return r.repository == env.Repository && r.environment == env.Name && r.rule.ID == id
	})
	if len(s.rules) == n {
		return &plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("%s has no rule %d, or it was lifted.", env.Key(), id), Next: "What its configuration ignores is changed there."}
	}
	s.reconsider(env, now)
	return s.tell(plumbline.AuditEntry{
		At: now, Who: who.Name, Door: who.Door, Action: plumbline.AuditDrift, Repository: env.Repository, Environment: env.Name, Outcome: "done", Detail: fmt.Sprintf("rule %d lifted", id),
	})
}

func (s *Store) rulesOf(repo, env string) []plumbline.IgnoreRule {
	var out []plumbline.IgnoreRule
	for _, r := range s.rules {
		if r.repository == repo && r.environment == env {
			out = append(out, r.rule)
		}
	}
	return out
}

func (s *Store) reconsider(env plumbline.Environment, now time.Time) {
	rules := slices.Concat(env.Drift.Ignore, s.rulesOf(env.Repository, env.Name))
	for i, it := range s.Drift {
		if !it.Open() || it.Stack.Repository != env.Repository || it.Stack.Environment != env.Name {
			continue
		}
		if w, changed, _ := it.Reconsider(rules, now); changed {
			s.write(i, w, now)
		}
	}
}

// IgnoreRules lists the rules that people have set.
func (s *Store) IgnoreRules(_ context.Context, repo, env string) ([]plumbline.IgnoreRule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rulesOf(repo, env), nil
}

// DriftDays tells how often stacks were looked at: of the canned ones four times a day, except on one.
func (s *Store) DriftDays(_ context.Context, repo, env, stack string, since time.Time) ([]plumbline.DriftDay, error) {
	var out []plumbline.DriftDay
	day := 24 * time.Hour
	for _, st := range s.Status {
		if repo != "" && st.Stack.Repository != repo || env != "" && st.Stack.Environment != env || stack != "" && st.Stack.Name != stack || st.NeverApplied {
			continue
		}
		for at := since.UTC().Truncate(day); !at.After(Now); at = at.Add(day) {
			d := plumbline.DriftDay{Stack: st.Stack, Day: at, Checks: 4}
			switch at.Day() {
			case 9:
				continue
			case 13:
				d.Failed = 4
			}
			out = append(out, d)
		}
	}
	return out, nil
}

// differs is an object with one attribute that is not as Git has it.
func differs(address, kind, path, from, to string) plumbline.Difference {
	return plumbline.Difference{Address: address, Type: kind, Kind: plumbline.DriftChanged, Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: path, Before: from, After: to}}}
}

// put adds a drift item with the beginning of its history, and its end.
func (s *Store) put(it plumbline.DriftItem, more ...plumbline.DriftEvent) {
	if it.Cause.Text == "" {
		it.Cause.Text = it.Difference.Type + " " + it.Difference.Kind.Words()
		it.Cause.Key = it.Cause.Text
	}
	events := append([]plumbline.DriftEvent{{At: it.Opened, What: plumbline.EventOpened}}, more...)
	if !it.Open() {
		events = append(events, plumbline.DriftEvent{At: it.Resolved, What: plumbline.EventResolved, Text: it.How})
	}
	for i := range events {
		events[i].Item = it.ID
	}
	it.Events = len(events)
	s.Drift, s.history = append(s.Drift, it), append(s.history, events...)
}

// addDrift is what an operator finds in the morning.
func (s *Store) addDrift() {
	net, app := stackOf("infra", "production", "live/net"), stackOf("infra", "production", "live/app")
	hour, day := time.Hour, 24*time.Hour
	route := differs("aws_route.nat", "aws_route", "nat_gateway_id", `"nat-0a"`, `"nat-0b"`)
	route.Known = map[string]string{"id": "r-rtb-0a1b2c3d1080289494"}
	s.put(plumbline.DriftItem{
		ID: 3, Stack: net, Difference: route, Opened: before(2 * hour), LastSeen: before(22 * time.Minute), Seen: 4, FirstRun: 9788, LastRun: 9788,
		Actor: &plumbline.Actor{
			Who: "arn:aws:iam::111122223333:user/ops-k", From: "203.0.113.7", How: "the console", At: before(2*hour + 14*time.Minute), Event: "ReplaceRoute", Source: "CloudTrail",
		},
	}, plumbline.DriftEvent{At: before(2*hour - 5*time.Minute), What: plumbline.EventAttributed, Text: "arn:aws:iam::111122223333:user/ops-k from the console"})
	s.put(plumbline.DriftItem{
		ID: 2, Stack: app, Difference: differs("aws_ecs_service.web", "aws_ecs_service", "desired_count", "4", "6"), Opened: before(26 * hour), LastSeen: before(2 * hour), Seen: 9, FirstRun: 9701, LastRun: 9787,
	})
	until := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	s.put(plumbline.DriftItem{
		ID: 4, Stack: app, Difference: differs("aws_autoscaling_group.web", "aws_autoscaling_group", "desired_capacity", "2", "5"), Opened: before(9 * day), LastSeen: before(2 * hour), Seen: 36, FirstRun: 9500, LastRun: 9787,
		Ignored: &plumbline.Ignored{Owner: "sre", Reason: "autoscaled", Until: until},
	}, plumbline.DriftEvent{At: before(9 * day), What: plumbline.EventIgnored, Text: "until 2027-03-01: autoscaled (sre)"})
	s.put(plumbline.DriftItem{
		ID: 1, Stack: net, Difference: plumbline.Difference{Address: "aws_eip.spare", Type: "aws_eip", Kind: plumbline.DriftDeleted}, Opened: before(50 * hour), LastSeen: before(46 * hour),
		Resolved: before(45 * hour), Seen: 1, FirstRun: 9600, LastRun: 9640, How: "applied by run 9640",
	})
	s.put(plumbline.DriftItem{
		ID: 5, Stack: app, Difference: differs("aws_ecs_service.web", "aws_ecs_service", "desired_count", "4", "5"), Opened: before(4 * day), LastSeen: before(93 * hour), Resolved: before(91 * hour), Seen: 1,
		FirstRun: 9520, LastRun: 9530, How: "reality is again as Git asks for",
	})
	s.put(plumbline.DriftItem{
		ID: 6, Stack: net, Difference: differs("aws_security_group_rule.ssh", "aws_security_group_rule", "cidr_blocks", `["10.0.0.0/8"]`, `["0.0.0.0/0"]`), Opened: before(5 * day), LastSeen: before(117 * hour),
		Resolved: before(115 * hour), Seen: 1, FirstRun: 9510, LastRun: 9515, How: "reality is again as Git asks for",
	})
	for i := range s.repositories {
		for j, e := range s.repositories[i].Environments {
			if e.Key() == "infra/production" {
				s.repositories[i].Environments[j].Drift.Ignore = []plumbline.IgnoreRule{
					{Address: "aws_autoscaling_group.*", Attribute: "desired_capacity", Owner: "sre", Reason: "autoscaled", Until: until},
					{Address: "aws_ecs_service.batch", Owner: "data", Reason: "a test of the load", Until: before(3 * day)},
				}
			}
		}
	}
}

// addLakeDrift has what concerns many stacks, what comes and goes, what means nothing, what people and clouds write.
func (s *Store) addLakeDrift() {
	hour, day := time.Hour, 24*time.Hour
	provider := plumbline.Cause{Key: "provider aws 6.1.0 6.2.0", Text: "provider registry.terraform.io/hashicorp/aws 6.1.0 → 6.2.0"}
	id := int64(30)
	for _, st := range []plumbline.StackRef{
		stackOf("lake", "main", "warehouse"), stackOf("lake", "main", "events"), stackOf("lake", "main", "catalog"), stackOf("lake", "trial", "warehouse"), stackOf("lake", "trial", "events"),
	} {
		d := differs("aws_s3_bucket.store", "aws_s3_bucket", "bucket_namespace", "", `"global"`)
		d.Kind = plumbline.DriftSelf
		s.put(plumbline.DriftItem{ID: id, Stack: st, Difference: d, Opened: before(20 * hour), LastSeen: before(2 * hour), Seen: 4, FirstRun: 9780, LastRun: 9781, Cause: provider,
			Actor: &plumbline.Actor{Unknown: "nobody changed the object"}})
		id++
	}
	for i, name := range []string{"warehouse", "events", "search"} {
		d := differs(`aws_instance.loader["a"]`, "aws_instance", `tags["owner"]`, `"data"`, "")
		d.Attributes = append(d.Attributes, plumbline.Attribute{Path: `tags_all["owner"]`, Before: `"data"`})
		it := plumbline.DriftItem{
			ID: id, Stack: stackOf("lake", "trial", name), Difference: d, Opened: before(time.Duration(3+i) * day), LastSeen: before(2 * hour), Seen: 12, FirstRun: 9700, LastRun: 9781,
			Cause: plumbline.Cause{Key: "tags", Text: "tags[], tags_all[] of aws_instance changed outside"},
		}
		if i == 0 {
			it.Remedy = &plumbline.Remedy{What: plumbline.RemediatePropose, Run: 9765, MR: "52", At: before(2 * hour)}
		}
		s.put(it)
		id++
	}
	hostileItem := plumbline.DriftItem{
		ID: 20, Stack: stackOf("lake", "main", "catalog"), Opened: before(30 * hour), LastSeen: before(2 * hour), Seen: 6, FirstRun: 9710, LastRun: 9781,
		Difference: plumbline.Difference{Address: `aws_glue_catalog_table.t["` + hostile + `"]`, Type: "aws_glue_catalog_table", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{
			{Path: "description", Before: `"events"`, After: `"` + hostile + `"`}, {Path: "owner " + hostile, Before: `"data"`, After: `"x"`},
			{Path: "password", Sensitive: true, Before: "(sensitive)", After: "(sensitive)"},
		}},
		Acknowledged: &plumbline.Acknowledgement{By: "ops-b " + hostile, At: before(3 * hour), Note: "we are on it " + hostile},
		Actor:        &plumbline.Actor{Who: hostile, From: hostile, How: hostile, Event: hostile, Source: hostile},
		Cause:        plumbline.Cause{Key: hostile, Text: hostile},
		Remedy:       &plumbline.Remedy{What: plumbline.RemediateApply, Run: 9772, At: before(hour), Tries: 3, Begun: true, Why: "it came back three times, so somebody has to look: " + hostile},
	}
	s.put(hostileItem, plumbline.DriftEvent{At: before(3 * hour), What: plumbline.EventAcknowledged, Who: "ops-b " + hostile, Text: hostile})
	s.put(plumbline.DriftItem{
		ID: 21, Stack: stackOf("lake", "main", "events"), Difference: differs("aws_security_group_rule.in", "aws_security_group_rule", "cidr_blocks", `["10.0.0.0/8"]`, `["0.0.0.0/0"]`),
		Opened: before(31 * hour), LastSeen: before(2 * hour), Seen: 3, FirstRun: 9711, LastRun: 9781, Flapping: true, Returned: 4,
		Openings: []time.Time{before(5 * day), before(4 * day), before(3 * day), before(2 * day), before(31 * hour)},
	}, plumbline.DriftEvent{At: before(31 * hour), What: plumbline.EventFlapping, Text: "it has come and gone 5 times within a week"})
	s.put(plumbline.DriftItem{
		ID: 22, Stack: stackOf("lake", "main", "warehouse"), Difference: differs("aws_route53_record.a", "aws_route53_record", "records", `["a","b"]`, `["b","a"]`), Opened: before(6 * day), LastSeen: before(2 * hour),
		Seen: 24, FirstRun: 9650, LastRun: 9781, Noise: "2 applies had no effect on it", Survived: 2,
	}, plumbline.DriftEvent{At: before(4 * day), What: plumbline.EventNoise, Text: "2 applies had no effect on it"})
	s.put(plumbline.DriftItem{
		ID: 23, Stack: stackOf("lake", "main", "warehouse"), Difference: plumbline.Difference{Address: "aws_iam_role.debug", Type: "aws_iam_role", Kind: plumbline.DriftAppeared, Origin: plumbline.FromState,
			Attributes: []plumbline.Attribute{{Path: "name", After: `"debug"`}}},
		Opened: before(70 * hour), LastSeen: before(2 * hour), Seen: 12, FirstRun: 9690, LastRun: 9781,
	})
	partly := differs("aws_autoscaling_group.loader", "aws_autoscaling_group", "desired_capacity", "2", "7")
	partly.Attributes = append(partly.Attributes, plumbline.Attribute{Path: "max_size", Before: "8", After: "20"})
	s.put(plumbline.DriftItem{
		ID: 24, Stack: stackOf("lake", "main", "events"), Difference: partly, Hidden: []string{"desired_capacity"}, Opened: before(50 * hour), LastSeen: before(2 * hour), Changed: before(20 * hour), Seen: 9, FirstRun: 9695, LastRun: 9781,
	}, plumbline.DriftEvent{At: before(20 * hour), What: plumbline.EventChanged})
	s.put(plumbline.DriftItem{
		ID: 25, Stack: stackOf("lake", "main", "search"), Difference: plumbline.Difference{Address: "aws_opensearch_domain.logs", Type: "aws_opensearch_domain", Kind: plumbline.DriftDeleted, Action: plumbline.ActionCreate,
			Attributes: []plumbline.Attribute{{Path: "domain_name", Before: `"logs"`}, {Path: "engine_version", Before: `"OpenSearch_2.11"`}}},
		Opened: before(40 * hour), LastSeen: before(2 * hour), Seen: 7, FirstRun: 9699, LastRun: 9781, Ignored: &plumbline.Ignored{Rule: 2, Owner: "data " + hostile, Reason: "is being moved " + hostile, Until: Now.AddDate(0, 0, 9)},
	}, plumbline.DriftEvent{At: before(39 * hour), What: plumbline.EventIgnored, Text: "until 2026-11-29: is being moved (data)"})
	s.rules = append(s.rules,
		ruled{"lake", "main", plumbline.IgnoreRule{ID: 1, Address: "aws_autoscaling_group.*", Attribute: "desired_capacity", Owner: "data", Reason: "autoscaled", From: before(8 * day), By: "ops-c"}},
		ruled{"lake", "main", plumbline.IgnoreRule{
			ID: 2, Stack: "search", Address: "aws_opensearch_domain.logs", Owner: "data " + hostile, Reason: "is being moved " + hostile, From: before(39 * hour), Until: Now.AddDate(0, 0, 9), By: "ops-c",
		}},
		ruled{"lake", "main", plumbline.IgnoreRule{ID: 3, Address: "aws_iam_role.debug", Owner: "ops-b", Reason: "incident 4711", From: before(6 * day), Until: before(3 * day), By: "ops-b"}},
	)
	s.recount(Now)
}
