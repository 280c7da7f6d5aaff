package tfplan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestClassifyState is the second table of Classify: what a plan wants that does not look at reality, while Git has asked for nothing.
func TestClassifyState(t *testing.T) {
	known := plumbline.Attribute{Path: "size", Before: "2", After: "1"}
	unknown := plumbline.Attribute{Path: "triggers.at", Before: `"mon"`, Unknown: true}
	change := func(address string, action plumbline.Action, attributes ...plumbline.Attribute) plumbline.Change {
		return plumbline.Change{Address: address, Type: "x", Action: action, Attributes: attributes}
	}
	because := func(c plumbline.Change, reason string) plumbline.Change {
		c.Reason = reason
		return c
	}
	moved := change("x.a", plumbline.ActionNoOp)
	moved.Previous = "x.b"
	imported := change("x.a", plumbline.ActionNoOp)
	imported.Importing = "i-1"
	one, sync, self := Circumstances{}, Circumstances{InSync: true}, Circumstances{InSync: true, ByItself: true}
	for _, test := range []struct {
		name      string
		around    Circumstances
		norefresh []plumbline.Change
		want      string
	}{
		{"Git has asked", one, []plumbline.Change{change("x.a", plumbline.ActionUpdate, known), change("x.b", plumbline.ActionCreate)}, "2 pending"},
		{"taken out of the state", sync, []plumbline.Change{change("x.a", plumbline.ActionCreate, plumbline.Attribute{Path: "size", After: "1"})}, "forgotten/state x.a size: 1 => -"},
		{"an import block whose object is out of the state again", sync, []plumbline.Change{imported}, "forgotten/state x.a"},
		{"one instance taken out of the state", sync, []plumbline.Change{change("x.a[1]", plumbline.ActionCreate)}, "forgotten/state x.a[1]"},
		{"one instance more, of as many as a data source says", self, []plumbline.Change{change("x.a[1]", plumbline.ActionCreate)}, "itself/ x.a[1]"},
		{"one resource taken out of the state, beside a data source", self, []plumbline.Change{change("x.a", plumbline.ActionCreate)}, "forgotten/state x.a"},
		{"imported by hand", sync, []plumbline.Change{because(change("x.a", plumbline.ActionDelete, plumbline.Attribute{Path: "size", Before: "1"}), noConfig)}, "appeared/state x.a size: - => 1"},
		{"imported by hand, beside a data source", self, []plumbline.Change{because(change("x.a", plumbline.ActionDelete), noConfig)}, "appeared/state x.a"},
		{"a module imported by hand, beside a data source", self, []plumbline.Change{because(change("module.m[0].x.a", plumbline.ActionDelete), noModule)}, "appeared/state module.m[0].x.a"},
		{"one instance imported by hand", sync, []plumbline.Change{because(change("x.a[7]", plumbline.ActionDelete), "delete_because_count_index")}, "appeared/state x.a[7]"},
		{"one instance less, of as many as a data source says", self, []plumbline.Change{because(change("x.a[7]", plumbline.ActionDelete), "delete_because_count_index")}, "itself/ x.a[7]"},
		{"imported by hand what Git has let go of", sync, []plumbline.Change{change("x.a", plumbline.ActionForget)}, "appeared/state x.a"},
		{"tainted", sync, []plumbline.Change{because(change("x.a", plumbline.ActionReplace, unknown), tainted)}, `changed/state x.a triggers.at: "mon" => (unknown)`},
		{"applied from other files", sync, []plumbline.Change{change("x.a", plumbline.ActionUpdate, known)}, "changed/state x.a size: 1 => 2"},
		{"another version of the provider", sync, []plumbline.Change{change("x.a", plumbline.ActionUpdate, unknown)}, `itself/ x.a triggers.at: "mon" => (unknown)`},
		{"applied from other files, and computed anew because of it", sync, []plumbline.Change{change("x.a", plumbline.ActionUpdate, unknown, known)},
			`changed/state x.a triggers.at: "mon" => (unknown), size: 1 => 2`},
		{"timestamp(), and what is known besides", self, []plumbline.Change{change("x.a", plumbline.ActionUpdate, unknown, known)}, `itself/ x.a triggers.at: "mon" => (unknown), size: 1 => 2`},
		{"plantimestamp()", self, []plumbline.Change{change("x.a", plumbline.ActionUpdate, known)}, "itself/ x.a size: 1 => 2"},
		{"what follows something that is forgotten", sync, []plumbline.Change{change("x.a", plumbline.ActionCreate), change("x.b", plumbline.ActionUpdate, unknown)}, "forgotten/state x.a"},
		{"timestamp() beside something that is forgotten", self, []plumbline.Change{change("x.a", plumbline.ActionCreate), change("x.b", plumbline.ActionReplace, unknown)},
			`forgotten/state x.a; itself/ x.b triggers.at: "mon" => (unknown)`},
		{"moved, and an action", sync, []plumbline.Change{moved, change("action.x.a", plumbline.ActionInvoke)}, ""},
		{"applied from files that write it otherwise", sync, []plumbline.Change{change("x.a", plumbline.ActionUpdate, plumbline.Attribute{Path: "size", Before: `"5"`, After: "5"})},
			"changed/state x.a size: 5 => \"5\" (noise)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := plumbline.Plan{Changes: test.norefresh}
			v := Classify(p, p, test.around)
			var got []string
			for _, d := range v.Differences {
				line := fmt.Sprintf("%s/%s %s", d.Kind, d.Origin, d.Address)
				for i, a := range d.Attributes {
					line += map[bool]string{true: " ", false: ", "}[i == 0] + fmt.Sprintf("%s: %s => %s", a.Path, or(a.Before), or(a.After))
					if a.Unknown {
						line = strings.TrimSuffix(line, "-") + "(unknown)"
					}
				}
				if d.Noise != "" {
					line += " (noise)"
				}
				got = append(got, line)
			}
			if len(v.Pending) > 0 {
				got = append(got, fmt.Sprintf("%d pending", len(v.Pending)))
			}
			if text := strings.Join(got, "; "); text != test.want || v.Unapplied != !test.around.InSync {
				t.Errorf("got %q, unapplied %t\nwant %q", text, v.Unapplied, test.want)
			}
		})
	}
}

func or(value string) string {
	if value == "" {
		return "-"
	}
	return value
}

// TestClassifyNoState: where there is no state, nothing was taken out of it.
func TestClassifyNoState(t *testing.T) {
	p := plumbline.Plan{NoState: true, Changes: []plumbline.Change{{Address: "x.a", Action: plumbline.ActionCreate}}}
	if v := Classify(p, p, Circumstances{InSync: true}); len(v.Differences) != 0 || len(v.Pending) != 1 || !v.Unapplied {
		t.Errorf("%+v", v)
	}
}

// TestClassifyFollowers: a resource that is to be changed because of another one has not drifted by what is only computed anew.
func TestClassifyFollowers(t *testing.T) {
	update := func(address string, attributes ...plumbline.Attribute) plumbline.Change {
		return plumbline.Change{Address: address, Type: "x", Action: plumbline.ActionUpdate, Attributes: attributes}
	}
	a := update("x.a", plumbline.Attribute{Path: "size", Before: "1", After: "2"})
	back := update("x.a", plumbline.Attribute{Path: "size", Before: "2", After: "1"})
	churn := update("x.b", plumbline.Attribute{Path: "modified", Before: `"mon"`, After: `"tue"`})
	follows := update("x.b", plumbline.Attribute{Path: "source", Before: "1", Unknown: true}, plumbline.Attribute{Path: "modified", Before: `"tue"`, Unknown: true})
	ignored := update("x.c", plumbline.Attribute{Path: "capacity", Before: "1", After: "4"})
	named := update("x.c", plumbline.Attribute{Path: "source", Before: "1", Unknown: true})
	full := plumbline.Plan{Changes: []plumbline.Change{back, follows, named}, Drift: []plumbline.Change{a, churn, ignored}}
	compare(t, "unapplied false\nchanged x.a (x)\n\tsize: 1 => 2\n", verdict(Classify(full, plumbline.Plan{}, Circumstances{InSync: true})))

	full = plumbline.Plan{Changes: []plumbline.Change{follows}, Drift: []plumbline.Change{churn}}
	compare(t, "unapplied false\nchanged x.b (x)\n\tmodified: \"mon\" => \"tue\"\n", verdict(Classify(full, plumbline.Plan{}, Circumstances{InSync: true})))
}

// TestOutsideAlone: with nothing but reality and the state, what the configuration may ignore is not told.
func TestOutsideAlone(t *testing.T) {
	skip := func(address string) bool { return address == "fsx_file.a" }
	text := func(sample plumbline.Plan) (s string) {
		for _, d := range OutsideAlone(sample, skip) {
			s += fmt.Sprintf("%s/%s %s %q\n", d.Kind, d.Origin, d.Address, d.Noise)
		}
		return s
	}
	compare(t, "changed/ fsx_file.c \"\"\n", text(sample(t, "2b-drift-refresh-only")))
	compare(t, "deleted/ fsx_file.c \"\"\n", text(sample(t, "7b-deleted-refresh-only")))
	compare(t, "", text(sample(t, "1-clean")))
	ignored := plumbline.Plan{Drift: []plumbline.Change{
		{Address: "fsx_file.a", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "n", Before: "1", After: "2"}}},
		{Address: "fsx_file.b", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "n", Before: "null", After: "[]"}}},
	}}
	compare(t, "changed/ fsx_file.b \"an empty value stands where there was nothing, or the other way round\"\n", text(ignored))
}

// TestRotation: time_rotating leaves the state by itself.
func TestRotation(t *testing.T) {
	full := plumbline.Plan{
		Drift:   []plumbline.Change{{Address: "time_rotating.key", Type: "time_rotating", Action: plumbline.ActionDelete}},
		Changes: []plumbline.Change{{Address: "time_rotating.key", Type: "time_rotating", Action: plumbline.ActionCreate}},
	}
	v := Classify(full, plumbline.Plan{}, Circumstances{InSync: true})
	if len(v.Differences) != 1 || v.Differences[0].Kind != plumbline.DriftSelf || v.Differences[0].Origin != "" {
		t.Errorf("%+v", v)
	}
}

func TestNoise(t *testing.T) {
	const (
		policy = `"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\",\"s3:ListBucket\"],\"Resource\":\"*\"},{\"Effect\":\"Deny\",\"Action\":\"s3:*\",\"Resource\":\"x\"}]}"`
		other  = `"{ \"Statement\":[{\"Resource\":[\"x\"],\"Effect\":\"Deny\",\"Action\":[\"s3:*\"]},{\"Effect\":\"Allow\",\"Action\":[\"s3:ListBucket\",\"s3:GetObject\"],\"Resource\":\"*\"}],\"Version\":\"2012-10-17\"}"`
		wider  = `"{ \"Statement\":[{\"Resource\":[\"x\"],\"Effect\":\"Deny\",\"Action\":[\"s3:*\"]},{\"Effect\":\"Allow\",\"Action\":[\"s3:*\",\"s3:GetObject\"],\"Resource\":\"*\"}],\"Version\":\"2012-10-17\"}"`
	)
	for _, test := range []struct {
		before, after string
		noise         bool
	}{
		{"null", "[]", true}, {"", `""`, true}, {"{}", "", true},
		{"5", `"5"`, true}, {"1", "1.0", true}, {`"1.50"`, "1.5", true}, {"true", `"true"`, true}, {"false", `"true"`, false},
		{"5", `"6"`, false}, {`"5"`, `"5.0"`, false}, {"0", `""`, false}, {"false", "null", false}, {"1e3", "1000", false},
		{`"a"`, `"a "`, false}, {`"a"`, `"A"`, false},
		{`"{\"a\":1,\"b\":[1,2]}"`, `"{ \"b\": [1,2],\n \"a\":1 }\n"`, true},
		{`"{\"a\":1,\"b\":[1,2]}"`, `"{\"a\":1,\"b\":[2,1]}"`, false}, // order counts but in a policy
		{`"{\"a\":1}"`, `"{\"a\":1} {}"`, false}, {`"{\"a\":1}"`, `"{\"a\":12345678901234567890}"`, false},
		{`"{\"a\":12345678901234567890}"`, `"{\"a\":12345678901234567891}"`, false},
		{policy, other, true}, {policy, wider, false},
		{plumbline.Masked, plumbline.Masked, false},
	} {
		for _, pair := range [][2]string{{test.before, test.after}, {test.after, test.before}} {
			if why := noise([]plumbline.Attribute{{Path: "a", Before: pair[0], After: pair[1]}}); (why != "") != test.noise {
				t.Errorf("%s and %s: %q", pair[0], pair[1], why)
			}
		}
	}
	empty := plumbline.Attribute{Path: "a", Before: "null", After: "[]"}
	for name, second := range map[string]plumbline.Attribute{
		"one that is not": {Path: "b", Before: "1", After: "2"},
		"a secret":        {Path: "b", Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true},
		"an unknown":      {Path: "b", Before: "null", Unknown: true},
	} {
		if why := noise([]plumbline.Attribute{empty, second}); why != "" {
			t.Errorf("beside %s: %s", name, why)
		}
	}
	if noise([]plumbline.Attribute{empty, empty}) == "" || noise(nil) != "" {
		t.Error("two are noise, none is not")
	}
}

func TestMirrors(t *testing.T) {
	tag := func(path, after string) plumbline.Attribute {
		return plumbline.Attribute{Path: path, Before: `"a"`, After: after}
	}
	got := withoutMirrors([]plumbline.Attribute{tag("tags.owner", `"b"`), tag("tags_all.owner", `"b"`), tag("tags_all.team", `"b"`), tag(`tags["x.y"]`, `"b"`), tag(`tags_all["x.y"]`, `"c"`)})
	var paths []string
	for _, a := range got {
		paths = append(paths, a.Path)
	}
	if text := strings.Join(paths, " "); text != `tags.owner tags_all.team tags["x.y"] tags_all["x.y"]` {
		t.Error(text)
	}
}

// TestDifferenceTells: whoever asks a cloud who changed something needs its names there.
func TestDifferenceTells(t *testing.T) {
	drift := plumbline.Change{
		Address: "x.a", Type: "x", Provider: "example.com/x/x", Deposed: "0badf00d", Action: plumbline.ActionUpdate, Known: map[string]string{"id": "i-1"},
		Attributes: []plumbline.Attribute{{Path: "size", Before: "1", After: "2"}},
	}
	back := drift
	back.Action, back.Attributes = plumbline.ActionReplace, []plumbline.Attribute{{Path: "size", Before: "2", After: "1"}}
	v := Classify(plumbline.Plan{Drift: []plumbline.Change{drift}, Changes: []plumbline.Change{back}}, plumbline.Plan{}, Circumstances{})
	if len(v.Differences) != 1 {
		t.Fatalf("%+v", v)
	}
	if d := v.Differences[0]; d.Known["id"] != "i-1" || d.Provider != drift.Provider || d.Deposed != drift.Deposed || d.Action != plumbline.ActionReplace {
		t.Errorf("%+v", d)
	}
}

// TestClassifyBoth: an object that differs in reality and in the state is told once.
func TestClassifyBoth(t *testing.T) {
	update := func(path, before, after string) []plumbline.Change {
		return []plumbline.Change{{Address: "x.a", Type: "x", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: path, Before: before, After: after}}}}
	}
	state := plumbline.Plan{Changes: update("name", `"b"`, `"a"`)}
	for _, test := range []struct {
		name          string
		before, after string
		origin        plumbline.DriftOrigin
	}{
		{"reality counts", "1", "2", plumbline.FromReality},
		{"reality means the same", "1", `"1"`, plumbline.FromState},
	} {
		full := plumbline.Plan{Drift: update("size", test.before, test.after)}
		full.Changes = update("size", test.after, test.before)
		v := Classify(full, state, Circumstances{InSync: true})
		if len(v.Differences) != 1 || v.Differences[0].Origin != test.origin || !v.Differences[0].Counts() {
			t.Errorf("%s: %+v", test.name, v.Differences)
		}
	}
}
