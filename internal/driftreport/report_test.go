package driftreport_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", file, got)
	}
}

// sent is a report as it arrives where it is rendered.
func sent(t *testing.T, r driftreport.Report) (driftreport.Report, string) {
	t.Helper()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var out driftreport.Report
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out, string(b) + "\n"
}

func page(t *testing.T, r driftreport.Report, o driftreport.PageOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := driftreport.HTML(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func table(t *testing.T, r driftreport.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := driftreport.CSV(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReport(t *testing.T) {
	for name, in := range map[string]driftreport.Input{"report": sample(), "nothing": {Now: now, Since: ago(6 * day), Scope: driftreport.Scope{Environment: "staging"}}} {
		r, doc := sent(t, driftreport.Build(in))
		golden(t, name+".json", doc)
		golden(t, name+".md", driftreport.Markdown(r, 0))
		golden(t, name+".csv", table(t, r))
		golden(t, name+".html", page(t, r, driftreport.PageOptions{Items: "https://plumbline.example.com/drift/", Version: "1.2.3"}))
	}
	golden(t, "short.md", driftreport.Markdown(driftreport.Build(sample()), 2500))
}

func TestMarkdownFits(t *testing.T) {
	r := driftreport.Build(sample())
	whole := driftreport.Markdown(r, 0)
	for limit := driftreport.LeastLimit; limit <= len(whole)+10; limit += 37 {
		text := driftreport.Markdown(r, limit)
		if len(text) > limit || !strings.HasPrefix(text, "### Drift: 16 open") || !strings.HasSuffix(text, "\n") {
			t.Fatalf("limit %d: %d bytes: %.200s", limit, len(text), text)
		}
	}
	if driftreport.Markdown(r, len(whole)) != whole {
		t.Error("it is shortened although it fits")
	}
}

// TestNothingDeceives: what people write neither becomes markup, nor a formula, nor turns what stands around it.
func TestNothingDeceives(t *testing.T) {
	in := sample()
	in.Scope.Stack = "=" + hostile
	in.Items[0].Difference.Address = "=cmd|' /C calc'!A1"
	in.Items[1].How = "@SUM(1)"
	r := driftreport.Build(in)
	html, md := page(t, r, driftreport.PageOptions{}), driftreport.Markdown(r, 0)
	for _, bad := range []string{"<script", "\u202e", "onload", "style=\"", "http:", "https:"} {
		if strings.Contains(html, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(html, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("what is hostile is not shown")
	}
	spans := regexp.MustCompile("(?s)(`+)[^`].*?[^`](`+)")
	for _, line := range strings.Split(md, "\n") {
		outside := line
		for {
			m := spans.FindStringSubmatchIndex(outside)
			if m == nil {
				break
			}
			if outside[m[2]:m[3]] != outside[m[4]:m[5]] {
				// The run that ends a span is as long as the one that begins it.
				n := m[3] - m[2]
				end := strings.Index(outside[m[3]:], strings.Repeat("`", n))
				if end < 0 {
					break
				}
				outside = outside[:m[0]] + outside[m[3]+end+n:]
				continue
			}
			outside = outside[:m[0]] + outside[m[1]:]
		}
		for _, bad := range []string{"<script", "@everyone", "\u202e"} {
			if strings.Contains(outside, bad) {
				t.Errorf("%q outside of code: %s", bad, line)
			}
		}
	}
	if strings.Contains(md, "\n# a heading") || strings.Contains(md, "\u202e") {
		t.Error("a heading, or a mark that turns text, comes from outside")
	}
	rows, err := csv.NewReader(strings.NewReader(table(t, r))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		for _, c := range row {
			if strings.IndexAny(c, "=+-@\t\r|%") == 0 || strings.Contains(c, "\u202e") {
				t.Errorf("a formula, or a mark that turns text: %q", c)
			}
		}
	}
	if !slices.ContainsFunc(rows, func(r []string) bool { return r[4] == "'=cmd|' /C calc'!A1" }) {
		t.Error("the formula is gone, not made inert")
	}
}

// TestPageIsAlone: a browser fetches nothing for the page, and it says so itself.
func TestPageIsAlone(t *testing.T) {
	html := page(t, driftreport.Build(sample()), driftreport.PageOptions{Items: "/drift/", Home: "/drift"})
	if !strings.Contains(html, `content="default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-`) {
		t.Errorf("no policy: %.600s", html)
	}
	if m := regexp.MustCompile(`(src|srcset|data|action|formaction)=|<(script|iframe|object|embed|form|base)|@import|url\(`).FindString(html); m != "" {
		t.Errorf("the page has %s", m)
	}
	for _, m := range regexp.MustCompile(`(?:xlink:)?href="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if m[1] != "data:," && m[1] != "/drift" && !strings.HasPrefix(m[1], "/drift/") {
			t.Errorf("it leads to %s", m[1])
		}
	}
	if n := strings.Count(html, "<title>"); n < 500 {
		t.Errorf("only %d titles in the pictures", n)
	}
}

func TestSchema(t *testing.T) {
	f, err := os.Open("../../docs/drift-report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	compile := func(closed bool) *jsonschema.Schema {
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if closed {
			objects := []any{doc}
			for _, def := range doc.(map[string]any)["$defs"].(map[string]any) {
				objects = append(objects, def)
			}
			for _, o := range objects {
				if o := o.(map[string]any); o["type"] == "object" {
					o["additionalProperties"] = false
				}
			}
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("drift.json", doc); err != nil {
			t.Fatal(err)
		}
		schema, err := c.Compile("drift.json")
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
	value := func(text string) any {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	schema := compile(true)
	for _, in := range []driftreport.Input{sample(), {Now: now, Since: now}, {Now: now, Since: ago(400 * day), Scope: driftreport.Scope{Repository: "a", Environment: "b", Stack: "c"}}} {
		_, doc := sent(t, driftreport.Build(in))
		if err := schema.Validate(value(doc)); err != nil {
			t.Error(err)
		}
	}
	_, good := sent(t, driftreport.Build(sample()))
	for _, wrong := range [][2]string{
		{`"drift_report_version": 1`, `"drift_report_version": 2`}, {`"kind": "changed"`, `"kind": "strange"`}, {`"open": 16`, `"open": -1`}, {`"state": "open"`, `"state": "closed"`},
		{`"checks": `, `"cheques": `}, {`"cells": [`, `"cells": ["x",`},
	} {
		doc := strings.Replace(good, wrong[0], wrong[1], 1)
		if doc == good {
			t.Fatalf("there is no %s", wrong[0])
		}
		if schema.Validate(value(doc)) == nil {
			t.Errorf("the schema takes %s", wrong[1])
		}
	}
	if err := compile(false).Validate(value(strings.Replace(good, `"drift_report_version": 1`, `"drift_report_version": 1, "later": true`, 1))); err != nil {
		t.Errorf("the published schema must leave room for later members: %v", err)
	}
}

// TestTrend: an item counts from when it is opened until it is resolved, but not while rules hide it or it is noise.
func TestTrend(t *testing.T) {
	midnight := now.Truncate(day)
	at := func(d int, h time.Duration) time.Time { return midnight.Add(time.Duration(d-5)*day + h*hour) } // day 5 is today
	event := func(d int, h time.Duration, what plumbline.DriftEventKind) plumbline.DriftEvent {
		return plumbline.DriftEvent{Item: 1, At: at(d, h), What: what}
	}
	item := plumbline.DriftItem{ID: 1, Stack: ref("production", "net"), Difference: changed("a.b", "a", "x", "1", "2"), Opened: at(1, 10)}
	for _, tt := range []struct {
		name   string
		change func(*plumbline.DriftItem)
		events []plumbline.DriftEvent
		open   string // at the end of each day, 0 to 5
		heat   string // objects that differed on it
	}{
		{"open", func(*plumbline.DriftItem) {}, nil, "0 1 1 1 1 1", "- 1 1 1 1 1"},
		{"resolved", func(it *plumbline.DriftItem) { it.Resolved = at(3, 4) }, nil, "0 1 1 0 0 0", "- 1 1 1 - -"},
		{"ignored later", func(it *plumbline.DriftItem) { it.Ignored = &plumbline.Ignored{} },
			[]plumbline.DriftEvent{event(1, 10, "opened"), event(3, 6, "ignored")}, "0 1 1 0 0 0", "- 1 1 1 - -"},
		{"ignored from the first", func(it *plumbline.DriftItem) { it.Ignored = &plumbline.Ignored{} },
			[]plumbline.DriftEvent{event(1, 10, "opened"), event(1, 10, "ignored")}, "0 0 0 0 0 0", ""},
		{"ignored, and back", func(*plumbline.DriftItem) {},
			[]plumbline.DriftEvent{event(1, 10, "opened"), event(2, 6, "ignored"), event(4, 6, "expired")}, "0 1 0 0 1 1", "- 1 1 - 1 1"},
		{"the rule has run out, nobody looked since", func(it *plumbline.DriftItem) { it.Ignored = &plumbline.Ignored{Until: at(4, 0)} },
			[]plumbline.DriftEvent{event(1, 10, "opened"), event(1, 10, "ignored")}, "0 0 0 0 1 1", "- - - - 1 1"},
		{"hidden and back within one day", func(*plumbline.DriftItem) {},
			[]plumbline.DriftEvent{event(1, 10, "opened"), event(2, 6, "ignored"), event(2, 9, "expired")}, "0 1 1 1 1 1", "- 1 1 1 1 1"},
		{"hidden since before the report", func(it *plumbline.DriftItem) { it.Opened, it.Ignored = at(-4, 0), &plumbline.Ignored{} },
			[]plumbline.DriftEvent{event(-4, 0, "opened"), event(-3, 0, "ignored")}, "0 0 0 0 0 0", ""},
		{"resolved at midnight", func(it *plumbline.DriftItem) { it.Resolved = at(3, 0) }, nil, "0 1 0 0 0 0", "- 1 1 - - -"},
		{"noise, then other values", func(*plumbline.DriftItem) {},
			[]plumbline.DriftEvent{event(1, 10, "opened"), event(2, 1, "noise"), event(4, 1, "changed")}, "0 1 0 0 1 1", "- 1 1 - 1 1"},
		{"noise without a history", func(it *plumbline.DriftItem) { it.Noise = "it is" }, nil, "0 0 0 0 0 0", ""},
	} {
		it := item
		tt.change(&it)
		r := driftreport.Build(driftreport.Input{Now: now, Since: at(0, 12), Items: []plumbline.DriftItem{it}, Histories: tt.events})
		var open, heat []string
		for _, d := range r.Trend {
			open = append(open, fmt.Sprint(d.Open))
		}
		for _, row := range r.Heat {
			for _, n := range row.Cells {
				if n == nil {
					heat = append(heat, "-")
				} else {
					heat = append(heat, fmt.Sprint(*n))
				}
			}
		}
		if got := strings.Join(open, " "); got != tt.open {
			t.Errorf("%s: open %q, want %q", tt.name, got, tt.open)
		}
		if got := strings.Join(heat, " "); got != tt.heat {
			t.Errorf("%s: the map has %q, want %q", tt.name, got, tt.heat)
		}
	}
}

func TestRepair(t *testing.T) {
	resolved := func(id int64, took time.Duration, change func(*plumbline.DriftItem)) plumbline.DriftItem {
		it := plumbline.DriftItem{ID: id, Stack: ref("production", "net"), Opened: ago(5 * day), Resolved: ago(5*day - took)}
		change(&it)
		return it
	}
	as := func(*plumbline.DriftItem) {}
	n := driftreport.Count([]plumbline.DriftItem{
		resolved(1, hour, as), resolved(2, 2*hour, as), resolved(3, 9*hour, as), resolved(4, 4*hour, as),
		resolved(5, 90*hour, func(it *plumbline.DriftItem) { it.Ignored = &plumbline.Ignored{} }),
		resolved(6, 90*hour, func(it *plumbline.DriftItem) { it.Noise = "it is" }),
		resolved(7, 90*hour, func(it *plumbline.DriftItem) { it.Opened, it.Resolved = ago(99*day), ago(98*day) }),
	}, now, ago(7*day))
	if n.Resolved != 6 || n.Mean != (4*hour).Seconds() || n.Median != (3*hour).Seconds() {
		t.Errorf("%+v", n)
	}
}

func TestNumbersInWords(t *testing.T) {
	until := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		n    driftreport.Numbers
		want string
	}{
		{driftreport.Numbers{}, "Nothing is changed outside Git, as far as was last seen"},
		{driftreport.Numbers{Open: 2, Ignored: 1, IgnoredUntil: until, Resolved: 3, Mean: (5 * hour).Seconds()}, "2 open, 1 ignored until 2027-03-01, 3 resolved this week (mean time to repair 5 h)"},
		{driftreport.Numbers{Open: 1, Acknowledged: 1, Ignored: 3, IgnoredUntil: until, Noise: 1}, "1 open (1 acknowledged), 3 ignored, the first until 2027-03-01, 1 noise"},
		{driftreport.Numbers{Ignored: 1, Resolved: 1}, "Nothing is changed outside Git, as far as was last seen; 1 ignored, 1 resolved this week"},
	} {
		if got := tt.n.String("this week"); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestWhat(t *testing.T) {
	long := strings.Repeat("x", 500)
	for _, tt := range []struct {
		d    plumbline.Difference
		want string
	}{
		{changed("a.b", "a", "gateway", `"a"`, `"b"`), `outside: gateway "a" → "b"`},
		{plumbline.Difference{Kind: plumbline.DriftDeleted}, "outside: deleted"},
		{plumbline.Difference{Kind: plumbline.DriftAppeared}, "in the state, not in Git"},
		{plumbline.Difference{Kind: plumbline.DriftForgotten, Origin: plumbline.FromState}, "taken out of the state, by another Terraform"},
		{plumbline.Difference{Kind: plumbline.DriftSelf, Attributes: []plumbline.Attribute{{Path: "at", Before: "1", After: "2"}}}, "by itself: at 1 → 2"},
		{plumbline.Difference{Kind: plumbline.DriftChanged}, "outside"},
		{plumbline.Difference{Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "p", Before: "s1", After: "s2", Sensitive: true}, {Path: "a", Before: long}, {Path: "b"}, {Path: "c"}}},
			"outside: p (sensitive) → (sensitive), a " + strings.Repeat("x", 40) + "… → nothing, 2 more"},
	} {
		if got := driftreport.What(tt.d); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// BenchmarkBuild is a year of an estate of a thousand stacks.
func BenchmarkBuild(b *testing.B) {
	in := driftreport.Input{Now: now, Since: ago(365 * day)}
	for i := range 1000 {
		st := ref("production", fmt.Sprint("team/", i))
		in.Stacks = append(in.Stacks, st)
		for d := range 365 {
			in.Days = append(in.Days, plumbline.DriftDay{Stack: st, Day: ago(time.Duration(d) * day).Truncate(day), Checks: 4})
		}
		for j := range 10 {
			opened := ago(time.Duration((i*37+j*61)%360) * day)
			it := plumbline.DriftItem{ID: int64(10*i + j), Stack: st, Difference: changed("a.b", "a", "x", "1", "2"), Opened: opened, Cause: plumbline.Cause{Text: fmt.Sprint("cause ", j)}}
			if j > 0 {
				it.Resolved = opened.Add(time.Duration(j) * 9 * hour)
			}
			in.Items = append(in.Items, it)
		}
	}
	for b.Loop() {
		r := driftreport.Build(in)
		if err := driftreport.HTML(io.Discard, r, driftreport.PageOptions{}); err != nil || len(r.Items) < 9000 {
			b.Fatal(err, len(r.Items))
		}
	}
}
