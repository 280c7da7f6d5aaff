package diff

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func many(n int) plumbline.Change {
	c := plumbline.Change{Address: "a.b", Action: plumbline.ActionUpdate}
	for i := range n {
		path := fmt.Sprintf("block[%d].inner[%d].name_%d", i%100, i%7, i)
		c.Attributes = append(c.Attributes, plumbline.Attribute{Path: path, Before: `"a"`, After: `"b"`})
	}
	return c
}

func TestChangeIsBounded(t *testing.T) {
	for _, action := range fuzzActions {
		c := many(2_000)
		c.Action = action
		lines := Change(c)
		check(t, lines)
		checkBounds(t, c, lines)
		checkAccount(t, c, lines)
		if last := lines[len(lines)-1]; !moreLine.MatchString(last.Text) {
			t.Errorf("%s: the last line is %q", action, last.Text)
		}
		c.Omitted = 1_000
		lines = Change(c)
		check(t, lines)
		checkBounds(t, c, lines)
		if last := lines[len(lines)-1]; last.Text != "… 1,000 more attributes changed (left out: the plan is very large)" {
			t.Errorf("%s: the last line is %q", action, last.Text)
		}
	}
	deep := plumbline.Change{Address: "a.b", Action: plumbline.ActionUpdate}
	for i := range 500 {
		prefix := strings.Repeat("x.", i%(maxSteps-1))
		deep.Attributes = append(deep.Attributes, plumbline.Attribute{Path: fmt.Sprintf("%sy%d", prefix, i), Before: "1", After: "2"})
	}
	lines := Change(deep)
	checkBounds(t, deep, lines)
	checkAccount(t, deep, lines)
}

// TestChangeIsLinear has room enough for a busy machine with the race detector; a tree that is built in quadratic time takes minutes.
func TestChangeIsLinear(t *testing.T) {
	const limit = 20 * time.Second
	wide := plumbline.Change{Address: "a.b", Action: plumbline.ActionReplace}
	long := strings.Repeat("k", 1000)
	for i := range 100_000 {
		wide.Attributes = append(wide.Attributes, plumbline.Attribute{Path: fmt.Sprintf(`m[%q]`, long[:i%50]+fmt.Sprint(i)), Before: `"a"`, After: `"b"`})
	}
	lists := func(step int) string {
		var all []map[string]int
		for i := range 6_000 {
			all = append(all, map[string]int{"a": i, "b": i * step, "c": 1})
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(appendQuoted(nil, string(b)))
	}
	for name, c := range map[string]plumbline.Change{
		"nested": many(100_000),
		"wide":   wide,
		"list":   {Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "x", Before: lists(2), After: lists(3)}}},
		"text": {Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{
			Path:   "x",
			Before: string(appendQuoted(nil, strings.Repeat("a\nb\nc\n", 50_000))),
			After:  string(appendQuoted(nil, strings.Repeat("b\na\nd\n", 50_000))),
		}}},
		"flow": {Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{
			Path: "x", Before: `"\n` + strings.Repeat("[", 60_000) + `"`, After: `"\n` + strings.Repeat("{a: ", 15_000) + `"`,
		}}},
	} {
		start := time.Now()
		lines := Change(c)
		if took := time.Since(start); took > limit {
			t.Errorf("%s: %d lines took %s", name, len(lines), took)
		}
		if len(lines) > maxLines {
			t.Errorf("%s: %d lines", name, len(lines))
		}
	}
}

func BenchmarkChange(b *testing.B) {
	c := many(10_000)
	b.ReportAllocs()
	for b.Loop() {
		Change(c)
	}
}

func TestComparisonIsBounded(t *testing.T) {
	approved, now := plumbline.Plan{Digest: "a"}, plumbline.Plan{Digest: "b"}
	for i := range 3_000 {
		old, c := many(60), many(60)
		old.Address, c.Address = fmt.Sprintf("a.b[%d]", i), fmt.Sprintf("a.b[%d]", i)
		for j := range c.Attributes {
			c.Attributes[j].After = `"c"`
		}
		if i%3 != 1 {
			approved.Changes = append(approved.Changes, old)
		}
		if i%3 != 2 {
			now.Changes = append(now.Changes, c)
		}
	}
	c := Compare(approved, now)
	lines := c.Lines()
	check(t, lines)
	if len(lines) > maxLines || !strings.HasPrefix(lines[len(lines)-1].Text, "… ") {
		t.Errorf("%d lines, the last one is %q", len(lines), lines[len(lines)-1].Text)
	}
	if want := "1,000 more changes, 1,000 fewer, 1,000 different"; c.Summary() != want {
		t.Errorf("summary %q, want %q", c.Summary(), want)
	}
}

// TestCompareNeverClaimsEqual: only the digests can say so.
func TestCompareNeverClaimsEqual(t *testing.T) {
	plan := plumbline.Plan{Digest: "a", Changes: []plumbline.Change{many(3)}}
	other := plan
	other.Digest = "b"
	errored := plan
	errored.Errored = true
	for name, c := range map[string]Comparison{
		"other digest": Compare(plan, other),
		"errored":      Compare(plan, errored),
		"no digest":    Compare(plumbline.Plan{}, plumbline.Plan{}),
		"keyed":        Compare(plumbline.Plan{Digest: "a", Keyed: true}, plumbline.Plan{Digest: "a"}),
	} {
		if c.Equal || c.Summary() == "the same changes" {
			t.Errorf("%s: equal %t, %s", name, c.Equal, c.Summary())
		}
	}
	if c := Compare(plan, plan); !c.Equal || len(c.Lines()) != 0 {
		t.Errorf("the same plan twice: %+v", c)
	}
}
