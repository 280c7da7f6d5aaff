package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/tfplan"
)

// realPlans returns the JSON of the plans that real engines made, by name.
func realPlans(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../../internal/tfplan/testdata/real/*.json*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err == nil && strings.HasSuffix(file, ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(doc)); err == nil {
				doc, err = io.ReadAll(z)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".gz"), ".json")] = doc
	}
	return out
}

// reportSchema compiles the published schema. closed: nothing may be in a report that the schema does not name.
func reportSchema(t *testing.T, closed bool) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("../../docs/report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
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
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// reported runs the command and returns what it prints. A plan that could not be finished is a failure, whose report is printed all the same.
func reported(t *testing.T, name string, in []byte, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	want := exitDone
	if strings.Contains(name, "errored") {
		want = exitFailed
	}
	if code := run(t.Context(), append([]string{"report", "-"}, args...), bytes.NewReader(in), &out, &errOut); code != want {
		t.Fatalf("exit code %d: %s", code, &errOut)
	}
	return out.String()
}

// TestReportJSONIsPrintJSON holds what is written as it is made against what all other commands print.
func TestReportJSONIsPrintJSON(t *testing.T) {
	var plans []named
	for name, doc := range realPlans(t) {
		p, err := tfplan.Read(bytes.NewReader(doc), tfplan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, named{NamedPlan: report.NamedPlan{Name: name, Plan: p}, since: &plumbline.Plan{}})
	}
	odd := plumbline.Plan{Changes: []plumbline.Change{{Address: "a.b[\"<&>\u2028\xff\"]"}}, Deferred: []plumbline.Change{{}}, Checks: []plumbline.Check{{Problems: []string{}}}}
	for _, v := range []string{
		"", "(known after apply)", `"<&>` + "\u2028" + `\u003c\/\u0041é"`, "\"\xff\"", `{"b":1,"a":{},"b":[],"c":[{}]}`, "1E400", "-0.0", "12345678901234567890123", "[1, 2,\n 3]", " null ", `{"a`,
		strings.Repeat("[", 200) + strings.Repeat("]", 200),
	} {
		odd.Changes[0].Attributes = append(odd.Changes[0].Attributes, plumbline.Attribute{Path: v, Before: v, After: v})
		odd.Outputs = append(odd.Outputs, plumbline.OutputChange{Name: v, After: v})
	}
	plans = append(plans, named{NamedPlan: report.NamedPlan{Name: "odd", Plan: odd}}, named{NamedPlan: report.NamedPlan{Name: "bad", Err: errors.New("<no>")}})
	for _, list := range [][]named{nil, plans} {
		var got, want bytes.Buffer
		r := newReportJSON(list)
		if err := errors.Join(r.write(&got), printJSON(&want, r)); err != nil {
			t.Fatal(err)
		}
		said := strings.NewReplacer(`\ufffd`, "\ufffd", "\u2028", `\u2028`).Replace(want.String()) // the same, spelled otherwise
		g, w := strings.Split(got.String(), "\n"), strings.Split(said, "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d: got\n%.300q\nwant\n%.300q", i+1, g[i], w[i])
			}
		}
		if len(g) != len(w) {
			t.Fatalf("got %d lines, want %d", len(g), len(w))
		}
	}
}

// TestReportJSONSaysWhatFails has nowhere to write to.
func TestReportJSONSaysWhatFails(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // only read
	if err := (reportJSON{}).write(file); err == nil {
		t.Error("a report was written to a file that is open for reading only")
	}
}

// TestReportSchema holds the JSON of every real plan against the published schema, and the schema against what it has to refuse.
func TestReportSchema(t *testing.T) {
	schema := reportSchema(t, true)
	earlier := filepath.Join(t.TempDir(), "earlier.json")
	plans := realPlans(t)
	if err := os.WriteFile(earlier, plans["0-create"], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, doc := range plans {
		for _, args := range [][]string{{"--json"}, {"--json", "--since", earlier}} {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(reported(t, name, doc, args...)))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(value); err != nil {
				t.Errorf("%s %v: %v", name, args, err)
			}
		}
	}
	for _, wrong := range []string{
		`{"stacks":[]}`, `{"report_version":2,"stacks":[]}`, `{"report_version":1,"stacks":[{"name":"a"}]}`, `{"report_version":1,"stacks":[{"name":"a","error":"x","more":1}]}`,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("the schema takes %s", wrong)
		}
	}
	if err := reportSchema(t, false).Validate(map[string]any{"report_version": json.Number("1"), "stacks": []any{}, "later": true}); err != nil {
		t.Errorf("the published schema must leave room for later members: %v", err)
	}
}
