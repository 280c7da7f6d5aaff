package tfplan

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// sample reads a real plan. "name:old=new" reads it with one text for another: a plan made by hand from a real one.
func sample(t *testing.T, name string) plumbline.Plan {
	t.Helper()
	name, edit, edited := strings.Cut(name, ":")
	doc := sampleJSON(t, name)
	if edited {
		from, to, _ := strings.Cut(edit, "=")
		if !bytes.Contains(doc, []byte(from)) {
			t.Fatalf("%s does not contain %s", name, from)
		}
		doc = bytes.ReplaceAll(doc, []byte(from), []byte(to))
	}
	p, err := Read(bytes.NewReader(doc), Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// verdict is what the tests of reality look at; those of the state spell more.
func verdict(v Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "unapplied %t\n", v.Unapplied)
	for _, d := range v.Differences {
		fmt.Fprintf(&b, "%s %s (%s)\n", d.Kind, d.Address, d.Type)
		writeAttributes(&b, d.Attributes)
	}
	return b.String()
}

// TestClassifyReal classifies every real sample. A plan with -refresh=false compares configuration and state only, so those of
// the samples that share a configuration and a state are one: 2c where both agree, 3 where a's content is not applied.
func TestClassifyReal(t *testing.T) {
	const (
		inSync    = "2c-drift-norefresh"
		pending   = "3-config-only"
		none      = "unapplied false\n"
		unapplied = "unapplied true\n"
		c         = "changed fsx_file.c (fsx_file)\n" +
			"\tcontent: \"c independent\" => \"hacked\"\n" +
			"\tsha256: \"b42911dc6dafa1c2a03cfc5fd0098b63453601d8b48e91a9aa773ba99c488ca9\" => \"b794894489893eac1f2dbfffb17b85e50edd5ba8de0005b0f4a42b2488319b18\"\n"
		a = "changed fsx_file.a (fsx_file)\n" +
			"\tcontent: \"one\" => \"hackedA\"\n" +
			"\tsha256: \"7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\" => \"bca5f386e82d721e6587d0c75ebf8c18c0047616fb87ce15d458f4b750ea540e\"\n"
		gone = "deleted fsx_file.c (fsx_file)\n" +
			"\tcontent: \"c independent\" => -\n" +
			"\tid: \"/srv/demo/files/c.txt\" => -\n" +
			"\tpath: \"c.txt\" => -\n" +
			"\tsha256: \"b42911dc6dafa1c2a03cfc5fd0098b63453601d8b48e91a9aa773ba99c488ca9\" => -\n"
	)
	for _, test := range []struct{ full, norefresh, want string }{
		{"0-create", "0-create", unapplied},
		{"1-clean", inSync, none},
		{"2-drift-only", inSync, none + c},
		{"2b-drift-refresh-only", inSync, none}, // not a full plan: it changes nothing
		{"2c-drift-norefresh", inSync, none},
		{"3-config-only", pending, unapplied},
		{"4-both-different-resources", pending, unapplied + c},
		{"5-both-same-resource", pending, unapplied + a},
		{"5b-config-equals-drift", pending + `:"two"="hackedA"`, unapplied},
		{"6-drift-upstream-of-dependent", inSync, none + a},
		{"7-deleted-out-of-band", inSync, none + gone},
		{"7b-deleted-refresh-only", inSync, none},
		{"8-drift-ignored-by-ignore_changes", inSync, none},
		{"9-moved", "9-moved", unapplied},
		{"10-delete-from-config", "10-delete-from-config", unapplied},
		{"11-removed-forget", "11-removed-forget", unapplied},
		{"12-import", "12-import", unapplied},
		{"13-replace", "13-replace", unapplied},
		{"14-target", inSync, none},
		{"tofu-drift", inSync, none + c},
	} {
		t.Run(test.full, func(t *testing.T) {
			compare(t, test.want, verdict(Classify(sample(t, test.full), sample(t, test.norefresh), Circumstances{})))
		})
	}
}

// TestClassifyLists reads plans in which the elements of a list were changed, added and moved outside.
func TestClassifyLists(t *testing.T) {
	const doc = `{"format_version":"1.2","resource_drift":[{"address":"x.a","mode":"managed","type":"x","change":{"actions":["update"],
		"before":{"l":[{"name":"a","n":1},{"name":"b","n":1}]},"after":{"l":[{"name":"new","n":5},{"name":"a","n":1},{"name":"b","n":2}]}}}],
		"resource_changes":[{"address":"x.a","mode":"managed","type":"x","change":{"actions":["update"],
		"before":{"l":[{"name":"new","n":5},{"name":"a","n":1},{"name":"b","n":2}]},"after":{"l":[{"name":"a","n":1},{"name":"b","n":1}]}}}],
		"deferred_changes":[{"reason":"unknown","resource_change":{"address":"x.b","mode":"managed","type":"x","change":{"actions":["create"]}}}],
		"checks":[{"address":{"to_display":"x.a"},"status":"fail"}]}`
	p, err := Read(strings.NewReader(doc), Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	const want = "unapplied false\nchanged x.a (x)\n" +
		"\tl[0].n: - => 5 [whole l[0]]\n\tl[0].name: - => \"new\" [whole l[0]]\n\tl[2].n: 1 => 2 [beside name \"b\"]\n"
	compare(t, want, verdict(Classify(p, plumbline.Plan{}, Circumstances{})))
}

func TestMeet(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "", true}, {"a[0]", "a[12]", true}, {"a[0].b", "a[12]", true}, {"a[0].b", "a[12].c", false},
		{"a[0]", "ab", false}, {"a", "ab", false}, {"a.b", "a", true}, {"a", "a[1]", true}, {"a[1]", `a["1"]`, false},
		{`a["x[1]"]`, `a["x[2]"]`, false}, {`a["x\"[1]"]`, `a["x\"[2]"]`, false}, {`a["x\"[1]"][1].c`, `a["x\"[1]"][2]`, true}, {`a["x\`, `a["x\`, false},
	} {
		if got := meet(test.a, test.b) && meet(test.b, test.a); got != test.want {
			t.Errorf("%s and %s: got %t", test.a, test.b, got)
		}
	}
}

// TestClassifyRules is about what the samples do not show.
func TestClassifyRules(t *testing.T) {
	attribute := func(path, before, after string) plumbline.Attribute {
		return plumbline.Attribute{Path: path, Before: before, After: after}
	}
	later := func(path, before string) plumbline.Attribute {
		return plumbline.Attribute{Path: path, Before: before, Unknown: true}
	}
	hidden := func(path string) plumbline.Attribute {
		return plumbline.Attribute{Path: path, Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true}
	}
	change := func(action plumbline.Action, attributes ...plumbline.Attribute) []plumbline.Change {
		return []plumbline.Change{{Address: "x.a", Type: "x", Action: action, Attributes: attributes}}
	}
	const update, remove, replace = plumbline.ActionUpdate, plumbline.ActionDelete, plumbline.ActionReplace
	for _, test := range []struct {
		name                   string
		full, drift, norefresh []plumbline.Change
		truncated              bool
		want                   string
	}{
		{
			name:  "attributes that are ignored are not listed with the ones that are not",
			full:  change(update, attribute("size", "2", "1")),
			drift: change(update, attribute("capacity", "4", "6"), attribute("size", "1", "2")),
			want:  "unapplied false\nchanged x.a (x)\n\tsize: 1 => 2\n",
		},
		{
			name:      "ignored drift of a resource with an unapplied change",
			full:      change(update, attribute("name", `"a"`, `"b"`)),
			drift:     change(update, attribute("capacity", "4", "6")),
			norefresh: change(update, attribute("name", `"a"`, `"b"`)),
			want:      "unapplied true\n",
		},
		{
			name:      "an attribute that is computed anew by an unapplied change",
			full:      change(update, attribute("name", `"a"`, `"b"`), later("modified", `"tue"`)),
			drift:     change(update, attribute("modified", `"mon"`, `"tue"`)),
			norefresh: change(update, attribute("name", `"a"`, `"b"`), later("modified", `"mon"`)),
			want:      "unapplied true\n",
		},
		{
			name:      "drift beside an unapplied change of the resource",
			full:      change(update, attribute("name", `"a"`, `"b"`), attribute("size", "2", "1")),
			drift:     change(update, attribute("size", "1", "2")),
			norefresh: change(update, attribute("name", `"a"`, `"b"`)),
			want:      "unapplied true\nchanged x.a (x)\n\tsize: 1 => 2\n",
		},
		{
			name:      "a sensitive attribute, changed on both sides: nothing to compare but that it is there",
			full:      change(update, hidden("password")),
			drift:     change(update, hidden("password")),
			norefresh: change(update, hidden("password")),
			want:      "unapplied true\nchanged x.a (x)\n\tpassword: (sensitive) => (sensitive) [sensitive]\n",
		},
		{
			name:      "drift that makes an update a replacement",
			full:      change(replace, later("zone", `"b"`)),
			drift:     change(update, attribute("zone", `"a"`, `"b"`)),
			norefresh: change(update, attribute("name", `"a"`, `"b"`)),
			want:      "unapplied true\nchanged x.a (x)\n\tzone: \"a\" => \"b\"\n",
		},
		{
			name:      "what is to be removed has drifted",
			full:      change(remove, attribute("size", "2", "")),
			drift:     change(update, attribute("size", "1", "2")),
			norefresh: change(remove, attribute("size", "1", "")),
			want:      "unapplied true\n",
		},
		{
			name:      "what is to be removed is gone already",
			full:      []plumbline.Change{{Address: "x.other", Type: "x", Action: update}},
			drift:     change(remove, attribute("size", "1", "")),
			norefresh: change(remove, attribute("size", "1", "")),
			want:      "unapplied true\n",
		},
		{
			name:      "what is to be changed is gone",
			full:      change(plumbline.ActionCreate, attribute("size", "", "2")),
			drift:     change(remove, attribute("size", "1", "")),
			norefresh: change(update, attribute("size", "1", "2")),
			want:      "unapplied true\ndeleted x.a (x)\n\tsize: 1 => -\n",
		},
		{
			name:      "reality is wholly as configured",
			drift:     change(update, attribute("size", "1", "2")),
			norefresh: change(update, attribute("size", "1", "2")),
			want:      "unapplied false\n",
		},
		{
			name:      "moved, and drift that is ignored",
			full:      []plumbline.Change{{Address: "x.a", Type: "x", Previous: "x.b", Action: plumbline.ActionNoOp}},
			drift:     change(update, attribute("size", "1", "2")),
			norefresh: []plumbline.Change{{Address: "x.a", Type: "x", Previous: "x.b", Action: plumbline.ActionNoOp}},
			want:      "unapplied true\n",
		},
		{
			name:  "the drift of a deposed object is not that of its resource",
			full:  change(update, attribute("size", "1", "2")),
			drift: []plumbline.Change{{Address: "x.a", Type: "x", Deposed: "0badf00d", Action: update}},
			want:  "unapplied false\n",
		},
		{
			name:  "elements of a set have other indexes on the other side",
			full:  change(update, attribute("rule[1].port", "2", "1")),
			drift: change(update, attribute("rule[0].port", "1", "2")),
			want:  "unapplied false\nchanged x.a (x)\n\trule[0].port: 1 => 2\n",
		},
		{
			name:  "an element of a list that has another index in the configuration than in reality",
			full:  change(update, attribute("rule[0]", `"new"`, ""), attribute("rule[1].port", "2", "1"), attribute("rule[3].port", "7", "8")),
			drift: change(update, attribute("rule[0]", "", `"new"`), attribute("rule[2].port", "1", "2"), attribute("rule[4].port", "5", "6")),
			want:  "unapplied false\nchanged x.a (x)\n\trule[0]: - => \"new\"\n\trule[2].port: 1 => 2\n",
		},
		{
			name:      "the same, beside an unapplied change of the resource",
			full:      change(update, attribute("rule[1].port", "2", "1"), attribute("name", `"a"`, `"b"`)),
			drift:     change(update, attribute("rule[2].port", "1", "2")),
			norefresh: change(update, attribute("name", `"a"`, `"b"`)),
			want:      "unapplied true\nchanged x.a (x)\n\trule[2].port: 1 => 2\n",
		},
		{
			name: "an action is run because of an unapplied change",
			full: []plumbline.Change{
				{Address: "action.x.a", Type: "x", Action: plumbline.ActionInvoke}, {Address: "x.b", Type: "x", Action: update},
			},
			drift:     []plumbline.Change{{Address: "action.x.a", Type: "x", Action: update}},
			norefresh: []plumbline.Change{{Address: "x.b", Type: "x", Action: update}},
			want:      "unapplied true\n",
		},
		{
			name:      "what is to be let go of has drifted",
			full:      change(plumbline.ActionForgetCreate, attribute("size", "2", "1")),
			drift:     change(update, attribute("size", "1", "2")),
			norefresh: change(plumbline.ActionForgetCreate, later("id", `"1"`)),
			want:      "unapplied true\n",
		},
		{
			name:  "a container that is unknown as a whole",
			full:  change(update, later("tags", `{"a":"2"}`)),
			drift: change(update, attribute("tags.a", `"1"`, `"2"`), attribute("tags_all.a", `"1"`, `"2"`)),
			want:  "unapplied false\nchanged x.a (x)\n\ttags.a: \"1\" => \"2\"\n",
		},
		{
			name:      "details are missing: better one difference too many",
			full:      change(update),
			drift:     change(update, attribute("size", "1", "2")),
			norefresh: change(update, attribute("name", `"a"`, `"b"`)),
			truncated: true,
			want:      "unapplied true\nchanged x.a (x)\n\tsize: 1 => 2\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			full := plumbline.Plan{Changes: test.full, Drift: test.drift, Truncated: test.truncated}
			compare(t, test.want, verdict(Classify(full, plumbline.Plan{Changes: test.norefresh}, Circumstances{})))
		})
	}
}
