package plumbline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// life is a stack whose drift is looked at again and again.
type life struct {
	t     *testing.T
	items []DriftItem
	rules []IgnoreRule
	now   time.Time
	run   RunID
	at    time.Time // of the last apply
	next  int64
}

func newLife(t *testing.T) *life { return &life{t: t, now: t0, run: 1} }

// look is one check, an hour after the one before.
func (l *life) look(found ...Difference) (events []string, news bool) {
	l.t.Helper()
	l.now, l.run = l.now.Add(time.Hour), l.run+1
	writes, news := ReconcileDrift(l.items, DriftLook{
		Stack: StackRef{"infra", "production", "live/net"}, Run: l.run, At: l.now, Found: found, Rules: l.rules, Applied: l.at,
	})
	return l.write(writes...), news
}

func (l *life) write(writes ...DriftWrite) (events []string) {
	for _, w := range writes {
		if w.Item.ID == 0 {
			l.next++
			w.Item.ID = l.next
			l.items = append(l.items, w.Item)
		} else {
			l.items[slices.IndexFunc(l.items, func(it DriftItem) bool { return it.ID == w.Item.ID })] = w.Item
		}
		for _, e := range w.Events {
			events = append(events, fmt.Sprintf("%d %s", w.Item.ID, e.What))
		}
	}
	return events
}

func (l *life) apply() { l.now = l.now.Add(time.Minute); l.at = l.now }

func (l *life) item(id int64) DriftItem {
	l.t.Helper()
	i := slices.IndexFunc(l.items, func(it DriftItem) bool { return it.ID == id })
	if i < 0 {
		l.t.Fatalf("no item %d in %+v", id, l.items)
	}
	return l.items[i]
}

func (l *life) want(step string, events []string, news bool, wantNews bool, want ...string) {
	l.t.Helper()
	if !slices.Equal(events, want) || news != wantNews {
		l.t.Errorf("%s: %q, news %t; want %q, news %t", step, events, news, want, wantNews)
	}
}

func changed(address, path, after string) Difference {
	return Difference{Address: address, Type: strings.Split(address, ".")[0], Kind: DriftChanged, Attributes: []Attribute{{Path: path, Before: `"git"`, After: after}}}
}

func TestLifeOfDrift(t *testing.T) {
	l := newLife(t)
	a, b := changed("aws_route.a", "gateway_id", `"x"`), Difference{Address: "aws_eip.b", Type: "aws_eip", Kind: DriftDeleted}
	events, news := l.look(a, b)
	l.want("first", events, news, true, "1 opened", "2 opened")
	events, news = l.look(a, b)
	l.want("the same again makes no noise", events, news, false)
	if it := l.item(1); it.Seen != 2 || !it.Opened.Equal(t0.Add(time.Hour)) || !it.LastSeen.Equal(l.now) {
		t.Errorf("seen again: %+v", it)
	}
	events, news = l.look(changed("aws_route.a", "gateway_id", `"y"`), b)
	l.want("another value of the same object is the same item", events, news, true, "1 changed")
	events, news = l.look(b)
	l.want("mended by hand", events, news, true, "1 resolved")
	if it := l.item(1); it.State(l.now) != DriftResolved || it.How != "reality is again as Git asks for" {
		t.Errorf("mended: %+v", it)
	}
	l.apply()
	events, news = l.look()
	l.want("mended by an apply", events, news, true, "2 resolved")
	if it := l.item(2); it.How != "applied" {
		t.Errorf("applied: %+v", it)
	}
}

func TestAcknowledgedDriftIsQuietUntilItChanges(t *testing.T) {
	l := newLife(t)
	l.look(changed("aws_route.a", "gateway_id", `"x"`))
	w, err := l.item(1).Acknowledge(Person{Name: "ann"}, "looking", l.now)
	if err != nil {
		t.Fatal(err)
	}
	l.write(w)
	if s := l.item(1).State(l.now); s != DriftAcknowledged || !l.item(1).Counts(l.now) {
		t.Errorf("state %s", s)
	}
	_, news := l.look(changed("aws_route.a", "gateway_id", `"x"`))
	if news {
		t.Error("what somebody knows is no news")
	}
	events, news := l.look(changed("aws_route.a", "gateway_id", `"z"`))
	l.want("another value", events, news, true, "1 changed")
	if s := l.item(1).State(l.now); s != DriftOpen {
		t.Errorf("nobody knows of the other value, yet it is %s", s)
	}
	l.look()
	if _, err := l.item(1).Acknowledge(Person{Name: "ann"}, "", l.now); !errors.Is(err, ErrConflict) {
		t.Errorf("a resolved one cannot be acknowledged: %v", err)
	}
}

func TestIgnoreRules(t *testing.T) {
	l := newLife(t)
	l.rules = []IgnoreRule{{Address: "aws_autoscaling_group.*", Attribute: "desired_capacity", Owner: "sre", Reason: "autoscaled", Until: t0.Add(3 * time.Hour)}}
	d := changed("module.web.aws_autoscaling_group.web[\"a.b\"]", "desired_capacity", "6")
	d.Type = "aws_autoscaling_group"
	events, news := l.look(d)
	l.want("it is kept, and nobody is told", events, news, false, "1 opened", "1 ignored")
	if it := l.item(1); it.State(l.now) != DriftIgnored || it.Counts(l.now) || it.Ignored.Owner != "sre" {
		t.Errorf("%+v", it)
	}
	events, news = l.look(d)
	l.want("again", events, news, false)
	both := d
	both.Attributes = append(slices.Clone(d.Attributes), Attribute{Path: `tags["x"]`, Before: `"1"`, After: `"2"`})
	events, news = l.look(both) // exactly when the rule ends
	l.want("the rule has run out", events, news, true, "1 expired", "1 changed")
	if it := l.item(1); it.State(l.now) != DriftOpen || len(it.Shown().Attributes) != 2 {
		t.Errorf("%+v", it)
	}
	l.rules[0].Until = time.Time{}
	w, did, news := l.item(1).Reconsider(l.rules, l.now)
	if !did || news {
		t.Errorf("hidden in part: changed %t, news %t", did, news)
	}
	l.write(w)
	if got := l.item(1).Shown().Attributes; len(got) != 1 || got[0].Path != `tags["x"]` {
		t.Errorf("shown: %+v", got)
	}
	more := both
	more.Attributes = slices.Clone(both.Attributes)
	more.Attributes[0].After = "7"
	events, news = l.look(more)
	l.want("churn of what is ignored is nothing", events, news, false)
}

func TestRulesThatMatch(t *testing.T) {
	asg := changed("aws_autoscaling_group.web", "desired_capacity", "6")
	inModule := changed("module.a.aws_autoscaling_group.web", "tags.x", `"6"`)
	inModule.Type = "aws_autoscaling_group"
	gone := Difference{Address: "aws_autoscaling_group.web", Type: "aws_autoscaling_group", Kind: DriftDeleted, Attributes: asg.Attributes}
	for _, c := range []struct {
		rule IgnoreRule
		d    Difference
		want bool
	}{
		{IgnoreRule{Address: "aws_autoscaling_group.web"}, asg, true},
		{IgnoreRule{Address: "aws_autoscaling_group.*"}, asg, true},
		{IgnoreRule{Address: "aws_autoscaling_group.*"}, inModule, true},
		{IgnoreRule{Address: "aws_autoscaling_group.web", Attribute: "tags"}, inModule, false}, // it names another one
		{IgnoreRule{Address: "module.a.aws_autoscaling_group.web", Attribute: "tags"}, inModule, true},
		{IgnoreRule{Address: "*", Attribute: "tags"}, inModule, true},
		{IgnoreRule{Address: "*", Attribute: "tag"}, inModule, false},
		{IgnoreRule{Address: "aws_autoscaling_group.we"}, asg, false},
		{IgnoreRule{Address: "aws_autoscaling_group.web", Attribute: "desired_capacity"}, gone, false}, // what is gone is not explained by an attribute
		{IgnoreRule{Address: "aws_autoscaling_group.web"}, gone, true},
		{IgnoreRule{Address: "aws_autoscaling_group.web", Stack: "live/*"}, asg, true},
		{IgnoreRule{Address: "aws_autoscaling_group.web", Stack: "live/db"}, asg, false},
		{IgnoreRule{Address: "aws_autoscaling_group.web", Until: t0}, asg, false}, // at its end it is over
		{IgnoreRule{Address: "aws_autoscaling_group.web", Until: t0.Add(1)}, asg, true},
		{IgnoreRule{Address: "aws_instance.*"}, asg, false},
	} {
		if why, _ := ignored(StackRef{"infra", "production", "live/net"}, c.d, []IgnoreRule{c.rule}, t0); (why != nil) != c.want {
			t.Errorf("%s for %s: ignored %t, want %t", c.rule, c.d.Address, why != nil, c.want)
		}
	}
	for _, r := range []IgnoreRule{{}, {Address: "*", Owner: "a", Reason: "b"}, {Address: "*", Attribute: "*", Owner: "a", Reason: "b"}, {Address: "a.b", Owner: "a"}, {Address: "a.b", Reason: "b"}, {Address: "a.b", Owner: "a", Reason: "b", Until: t0}} {
		if err := r.Check(t0); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if err := (IgnoreRule{Address: "*", Attribute: "tags", Owner: "a", Reason: "b"}).Check(t0); err != nil {
		t.Error(err)
	}
}

func TestNoise(t *testing.T) {
	l := newLife(t)
	d := changed("aws_iam_policy.p", "policy", `"{}"`)
	l.look(d)
	l.apply()
	events, news := l.look(d)
	l.want("one apply had no effect", events, news, false)
	events, news = l.look(d)
	l.want("no apply in between", events, news, false)
	l.apply()
	events, news = l.look(d)
	l.want("the second had none either", events, news, true, "1 noise")
	if it := l.item(1); it.State(l.now) != DriftNoise || it.Counts(l.now) {
		t.Errorf("%+v", it)
	}
	events, news = l.look(d)
	l.want("noise is quiet", events, news, false)
	events, news = l.look(changed("aws_iam_policy.p", "policy", `"other"`))
	l.want("another value is not that noise", events, news, true, "1 changed")
	harmless := changed("aws_iam_policy.q", "policy", `"{ }"`)
	harmless.Noise = "the same policy, written otherwise"
	l = newLife(t)
	if events, news := l.look(harmless); len(events) != 0 || news {
		t.Errorf("what means the same was never an item: %q", events)
	}
}

func TestComingAndGoing(t *testing.T) {
	l := newLife(t)
	d := changed("aws_instance.i", "tags", `{}`)
	var told int
	for i := range 8 {
		if _, news := l.look(d); news {
			told++
		}
		if it := l.items[len(l.items)-1]; it.Returned != i || it.Flapping != (i >= flappingTimes-1) {
			t.Errorf("the %s time: returned %d, flapping %t", ordinal(i+1), it.Returned, it.Flapping)
		}
		if _, news := l.look(); news {
			told++
		}
	}
	if told != 2*(flappingTimes-1)+1 {
		t.Errorf("told %d times", told)
	}
	l.now = l.now.Add(flappingSpan)
	if events, news := l.look(d); !news || len(events) != 1 {
		t.Errorf("a week later it is told again: %q", events)
	}
}

func TestWhatIsNoItem(t *testing.T) {
	l := newLife(t)
	pending := changed("aws_a.a", "x", "1")
	pending.Kind = DriftPending
	itself := changed("aws_b.b", "x", "1")
	itself.Kind = DriftSelf
	twice := changed("aws_c.c", "x", "1")
	events, news := l.look(pending, itself, twice, twice)
	l.want("look", events, news, true, "1 opened", "2 opened")
	itself.Attributes = []Attribute{{Path: "x", After: "2"}}
	events, news = l.look(itself, twice)
	l.want("a clock goes on ticking", events, news, false)
}

func TestFingerprint(t *testing.T) {
	stack := StackRef{"infra", "production", "live/net"}
	base := changed("aws_a.a", "x", "1")
	seen := map[string]string{base.Fingerprint(stack): "base"}
	change := func(name string, f func(d *Difference)) {
		d := base
		d.Attributes = slices.Clone(base.Attributes)
		f(&d)
		if was, ok := seen[d.Fingerprint(stack)]; ok {
			t.Errorf("%s has the fingerprint of %s", name, was)
		}
		seen[d.Fingerprint(stack)] = name
	}
	change("address", func(d *Difference) { d.Address = "aws_a.b" })
	change("deposed", func(d *Difference) { d.Deposed = "abc" })
	change("kind", func(d *Difference) { d.Kind = DriftDeleted })
	change("origin", func(d *Difference) { d.Origin = FromState })
	change("path", func(d *Difference) { d.Attributes[0].Path = "y" })
	change("value", func(d *Difference) { d.Attributes[0].After = "2" })
	change("a boundary moved", func(d *Difference) { d.Attributes[0].Path, d.Attributes[0].After = "x1", "" })
	if base.Fingerprint(StackRef{"infra", "production", "live/ne"}) == base.Fingerprint(stack) {
		t.Error("another stack has the same fingerprint")
	}
	before := base
	before.Attributes = []Attribute{{Path: "x", Before: "other", After: "1"}}
	if before.Fingerprint(stack) != base.Fingerprint(stack) {
		t.Error("what Git asks for is no part of what was found")
	}
}

func TestCausesAreSharedAcrossStacks(t *testing.T) {
	a, b := changed(`aws_x.a["1"]`, `rule[0].port`, "1"), changed("aws_x.b", `rule[7].port`, "2")
	l := DriftLook{}
	if l.cause(a) != l.cause(b) || l.cause(a).Text != "rule[].port of aws_x changed outside" {
		t.Errorf("%+v, %+v", l.cause(a), l.cause(b))
	}
	const aws, random = "registry.terraform.io/hashicorp/aws", "registry.terraform.io/hashicorp/random"
	l.Causes = ProviderCauses(map[string]string{aws: "6.1.0", random: "3.7.1"}, map[string]string{aws: "6.2.0", random: "3.7.1", "registry.terraform.io/hashicorp/tls": "4.0.6"})
	a.Provider = aws
	if got := l.cause(a).Text; got != "provider aws 6.1.0 → 6.2.0" || len(l.Causes) != 1 {
		t.Errorf("%q of %v", got, l.Causes)
	}
	gone := Difference{Address: "aws_x.a", Type: "aws_x", Provider: aws, Kind: DriftDeleted}
	if got := l.cause(gone).Text; got != "aws_x deleted outside" {
		t.Errorf("no provider deletes anything: %q", got)
	}
}

// A rule for one attribute of an item hides a part of it: that part comes back as loudly as a whole item does.
func TestAPartThatIsNotIgnoredAnyMoreIsNews(t *testing.T) {
	two := changed("aws_route.a", "gateway_id", `"x"`)
	two.Attributes = append(two.Attributes, Attribute{Path: "tags", Before: `"git"`, After: `"y"`})
	begin := func(until time.Time) *life {
		l := newLife(t)
		l.rules = []IgnoreRule{{Address: "aws_route.a", Attribute: "tags", Owner: "sre", Reason: "tagged by a tool", Until: until}}
		l.look(two)
		w, err := l.item(1).Acknowledge(Person{Name: "ann"}, "", l.now)
		if err != nil {
			t.Fatal(err)
		}
		l.write(w)
		return l
	}
	whole := func(l *life, step string) {
		t.Helper()
		it := l.item(1)
		if it.State(l.now) != DriftOpen || len(it.Shown().Attributes) != 2 || !it.Changed.IsZero() {
			t.Errorf("%s: %s with %d attributes, changed %s; want open, as it was", step, it.State(l.now), len(it.Shown().Attributes), it.Changed)
		}
	}

	l := begin(time.Time{})
	w, changed, news := l.item(1).Reconsider(nil, l.now)
	if !changed {
		t.Fatal("nothing changed")
	}
	l.want("the rule is lifted", l.write(w), news, true, "1 expired")
	whole(l, "lifted")

	l = begin(t0.Add(2 * time.Hour)) // the very instant of the next look
	events, news := l.look(two)
	l.want("the rule has run out", events, news, true, "1 expired")
	whole(l, "run out")
	l.rules[0].Until = time.Time{}
	events, news = l.look(two)
	l.want("the rule is set again", events, news, false)
}

func TestOtherValuesThatMeanTheSameAreNoDrift(t *testing.T) {
	l := newLife(t)
	l.look(changed("aws_route.a", "gateway_id", `"x"`))
	same := changed("aws_route.a", "gateway_id", `"git "`)
	same.Noise = "the same in other words"
	events, news := l.look(same)
	l.want("back to what means the same", events, news, true, "1 changed", "1 noise")
	if it := l.item(1); it.Counts(l.now) {
		t.Errorf("it counts: %s", it.State(l.now))
	}
	events, news = l.look(same)
	l.want("and again", events, news, false)
}

// That a tag comes and goes is told once. That its object is gone is something else.
func TestWhatComesAndGoesIsToldOfWhenItIsGone(t *testing.T) {
	l := newLife(t)
	for range flappingTimes - 1 {
		l.look(changed("aws_route.a", "tags", `"x"`))
		l.look()
	}
	events, news := l.look(changed("aws_route.a", "tags", `"x"`))
	l.want("it comes and goes", events, news, true, "4 opened", "4 flapping")
	events, news = l.look(changed("aws_route.a", "tags", `"y"`))
	l.want("other values", events, news, false, "4 changed")
	events, news = l.look(Difference{Address: "aws_route.a", Type: "aws_route", Kind: DriftDeleted})
	l.want("deleted", events, news, true, "4 changed")
	events, news = l.look()
	l.want("made again", events, news, true, "4 resolved")
}

func TestWhatComesBackBetweenChecksIsNewsWithTheNext(t *testing.T) {
	l := newLife(t)
	l.rules = []IgnoreRule{{Address: "aws_route.a", Owner: "sre", Reason: "a test", Until: t0.Add(90 * time.Minute)}}
	d := changed("aws_route.a", "gateway_id", `"x"`)
	l.look(d)
	l.now = t0.Add(95 * time.Minute)
	w, did, _ := l.item(1).Reconsider(l.rules, l.now)
	if !did {
		t.Fatal("the rule has run out")
	}
	l.write(w)
	events, news := l.look(d)
	l.want("the next check", events, news, true)
	if it := l.item(1); !it.Back.Equal(it.LastSeen) {
		t.Errorf("back at %v, seen at %v", it.Back, it.LastSeen)
	}
	events, news = l.look(d)
	l.want("and once only", events, news, false)
}

func TestWhatIsPutRightWithoutAskingIsNoNoise(t *testing.T) {
	l := newLife(t)
	d := changed("aws_route.a", "gateway_id", `"x"`)
	l.look(d)
	for range noiseAfter + 1 {
		l.items[0].Remedy = &Remedy{What: RemediateApply, Run: 7, Tries: 1, Begun: true}
		l.apply()
		l.look(d)
	}
	if it := l.item(1); it.Noise != "" || it.State(l.now) != DriftOpen {
		t.Errorf("somebody who is quicker than the checks is taken for the provider: %+v", it)
	}
}
