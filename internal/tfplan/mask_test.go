package tfplan

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func hide(secret string) func(string) string {
	return func(s string) string { return strings.ReplaceAll(s, secret, plumbline.Masked) }
}

// TestMaskEverywhere has a secret in every text of a plan.
func TestMaskEverywhere(t *testing.T) {
	const s = "plum-1"
	change := func(action plumbline.Action) plumbline.Change {
		return plumbline.Change{
			Address: `x.a["` + s + `"]`, Previous: `x.b["` + s + `"]`, Importing: "id/" + s, Action: action, ReplacePaths: []string{"a", `m["` + s + `"]`},
			Attributes: []plumbline.Attribute{
				{Path: `m["` + s + `"].x`, Before: `"` + s + `"`, After: `{"` + s + `":["` + s + `"]}`, Whole: len(`m["` + s + `"]`)},
			},
		}
	}
	invoke := change(plumbline.ActionInvoke)
	invoke.Reason = "runs after x." + s + " is created"
	p := plumbline.Plan{
		Changes: []plumbline.Change{change(plumbline.ActionUpdate), invoke}, Drift: []plumbline.Change{change(plumbline.ActionUpdate)},
		Deferred: []plumbline.Change{change(plumbline.ActionCreate)},
		Outputs:  []plumbline.OutputChange{{Name: s, Before: `"` + s + `"`, After: `[1,"` + s + `"]`}},
		Checks:   []plumbline.Check{{Address: `check.x["` + s + `"]`, Status: plumbline.CheckFailed, Problems: []string{"It is " + s, "ok"}}},
	}
	Mask(&p, hide(s))
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	noSecret(t, string(text))
	wellFormed(t, p)
	a := p.Changes[0].Attributes[0]
	if a.Path != `m["(sensitive)"].x` || a.Path[:a.Whole] != `m["(sensitive)"]` || a.After != `{"(sensitive)":["(sensitive)"]}` {
		t.Errorf("got %+v", a)
	}

	differences := []plumbline.Difference{{Address: `x.a["` + s + `"]`, Attributes: []plumbline.Attribute{{Path: "a." + s, Before: `"` + s + `"`, After: "1"}}}}
	MaskDifferences(differences, hide(s))
	noSecret(t, differences[0].Address+differences[0].Attributes[0].Path+differences[0].Attributes[0].Before)
}

// TestMaskMany masks more changes than one goroutine does. What goes wrong in one of them reaches the caller.
func TestMaskMany(t *testing.T) {
	var p plumbline.Plan
	for i := range 10*minPart + 1 {
		p.Changes = append(p.Changes, plumbline.Change{Address: fmt.Sprintf(`x.a["plum-%d"]`, i)})
	}
	Mask(&p, hide("plum"))
	for i, c := range p.Changes {
		if want := fmt.Sprintf(`x.a["(sensitive)-%d"]`, i); c.Address != want {
			t.Fatalf("got %s, want %s", c.Address, want)
		}
	}
	defer func() {
		if p := recover(); p != "plum" {
			t.Errorf("recovered %v", p)
		}
	}()
	Mask(&p, func(s string) string {
		if strings.HasSuffix(s, "-7") {
			panic("plum")
		}
		return s
	})
	t.Error("the panic is lost")
}

// TestMaskAddress shows that only keys are masked, unless it is no address.
func TestMaskAddress(t *testing.T) {
	for _, test := range []struct{ address, secret, want string }{
		{"aws_db_instance.prod", "prod", "aws_db_instance.prod"},
		{"postgresql_role.x", "postgres", "postgresql_role.x"},
		{`module.prod["prod"].aws_db.prod["a-prod-b"]`, "prod", `module.prod["(sensitive)"].aws_db.prod["a-(sensitive)-b"]`},
		{"module.a[5432].data.x.y[5432]", "5432", "module.a[5432].data.x.y[5432]"},
		{`x.y["a.b[\"prod\"]"]`, "prod", `x.y["a.b[\"(sensitive)\"]"]`},
		{`x.y["say \"hi\""]`, `say "hi"`, `x.y["(sensitive)"]`},
		{`x.y["a"].z`, `"a"`, `x.y["a"].z`},
		{`x.größe["größe"]`, "größe", `x.größe["(sensitive)"]`},
		{"prod", "prod", "(sensitive)"},
		{"x.prod and more", "prod", "x.(sensitive) and more"},
		{`x.y["prod]`, "prod", `x.y["(sensitive)]`},
		{"x..prod", "prod", "x..(sensitive)"},
		{"x.prod.", "prod", "x.(sensitive)."},
		{"", "prod", ""},
	} {
		if got := maskAddress(test.address, hide(test.secret)); got != test.want {
			t.Errorf("%s without %s: got %s, want %s", test.address, test.secret, got, test.want)
		}
	}
}

func TestMaskValue(t *testing.T) {
	for _, test := range []struct{ name, value, secret, want string }{
		{"nothing to mask", `{"b":1.0,"a":"x y"}`, "other", `{"b":1.0,"a":"x y"}`},
		{"nothing there", "", "x", ""},
		{"what stands for a value", plumbline.Masked, "sensitive", plumbline.Masked},
		{"a value that is too long", plumbline.TooLong(12, "abcdef"), "abc", plumbline.TooLong(12, "abcdef")},
		{"string", `"a secret b"`, "secret", `"a (sensitive) b"`},
		{"string with escapes", `"a\"b\\c"`, `a"b\c`, `"(sensitive)"`},
		{"number", `{"a":123456,"b":7}`, "123456", `{"a":"(sensitive)","b":7}`},
		{"part of a number", `1234567`, "345", `"12(sensitive)67"`},
		{"name", `{"secret":1}`, "secret", `{"(sensitive)":1}`},
		{"JSON in a string", `"{\"password\": \"a\\\"b\", \"n\": 1}"`, `a"b`, `"{\"n\":1,\"password\":\"(sensitive)\"}"`},
		{"JSON in JSON in a string", `"[\"{\\\"p\\\":\\\"x\\\\\\\"y\\\"}\"]"`, `x"y`, `"[\"{\\\"p\\\":\\\"(sensitive)\\\"}\"]"`},
		{"JSON in a string that stays as it is", `"{ \"b\": 1, \"a\": 2 }"`, "other", `"{ \"b\": 1, \"a\": 2 }"`},
		{"nearly JSON in a string", `"{ secret"`, "secret", `"{ (sensitive)"`},
		{"HTML stays readable", `{"a":"<b>&secret"}`, "secret", `{"a":"<b>&(sensitive)"}`},
		{"across strings", `["a","b"]`, `a","b`, `["(sensitive)"]`},
		{"across the structure", `{"a":[1]}`, `":[1`, plumbline.Masked},
	} {
		if got := maskValue(test.value, hide(test.secret)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestMaskWhole has secrets that reach over the end of what is wholly new.
func TestMaskWhole(t *testing.T) {
	for _, test := range []struct{ path, whole, secret, want, wantWhole string }{
		{"a.b[0].c", "a.b[0]", "zzzz", "a.b[0].c", "a.b[0]"},
		{"a.b[0].c", "a.b[0]", "c", "a.b[0].(sensitive)", "a.b[0]"},
		{"a.b[0].c", "a.b[0]", "a.b", "(sensitive)[0].c", "(sensitive)[0]"},
		{"a.b[0].c", "a.b[0]", "].c", "a.b[0(sensitive)", ""},
		{"a.b[0].c", "a.b[0]", "0].", "a.b[(sensitive)c", ""},
		{"a.b", "a.b", "a", "(sensitive).b", "(sensitive).b"},
		{"a.b", "", "a", "(sensitive).b", ""},
	} {
		list := []plumbline.Attribute{{Path: test.path, Whole: len(test.whole)}}
		maskAttributes(list, hide(test.secret))
		if a := list[0]; a.Path != test.want || a.Path[:a.Whole] != test.wantWhole {
			t.Errorf("%s, %s masked: got %s, wholly %s", test.path, test.secret, a.Path, a.Path[:a.Whole])
		}
	}
}
