package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite what is wanted in the golden files")

var testFacts = plumbline.Facts{
	Kind: plumbline.KindDeploy, Repository: "infra", Environment: "production", Stack: "live/db", Directory: "live/db", Branch: "env/production",
	Commit: "8f31c2d", MergeRequest: "42", Authors: []string{"corp/alice"}, By: "poll", Time: time.Date(2026, 7, 10, 15, 4, 5, 0, time.UTC), // a Friday
}

// TestLoad, TestEvaluate and TestTests each run the cases of one directory: an archive has policies/, a plan where one is needed, and what is wanted.
func TestLoad(t *testing.T) {
	cases(t, "load", func(*txtar.Archive) string {
		s, err := Load([]string{"policies"})
		if err != nil {
			if !errors.Is(err, plumbline.ErrInvalid) {
				t.Errorf("%v is no plumbline.ErrInvalid", err)
			}
			return err.Error() + "\n"
		}
		var b strings.Builder
		for _, d := range s.decisions {
			fmt.Fprintf(&b, "%s %s\n", d.level, d)
		}
		return b.String()
	})
}

func TestEvaluate(t *testing.T) {
	cases(t, "evaluate", func(a *txtar.Archive) string {
		s, err := Load([]string{"policies"})
		if err != nil {
			return err.Error() + "\n"
		}
		plan := `{"format_version":"1.2","resource_changes":[]}`
		if p := part(a, "plan.json"); p != nil {
			plan = string(p.Data)
		}
		findings, err := s.Evaluate(t.Context(), strings.NewReader(plan), testFacts)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		return show(findings)
	})
}

func TestTests(t *testing.T) {
	cases(t, "tests", func(a *txtar.Archive) string {
		filter := ""
		if p := part(a, "filter"); p != nil {
			filter = strings.TrimSpace(string(p.Data))
		}
		results, err := Test(t.Context(), []string{"policies"}, filter)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		var b strings.Builder
		for _, r := range results {
			fmt.Fprintf(&b, "%s %s %s:%d\n", r.Outcome, r.Name, filepath.ToSlash(r.File), r.Line)
			for _, c := range r.Cases {
				fmt.Fprintf(&b, "  case %s\n", c)
			}
			if r.Why != "" {
				fmt.Fprintf(&b, "  why %s\n", r.Why)
			}
			if r.Output != "" {
				fmt.Fprintf(&b, "  said %q\n", r.Output)
			}
		}
		return b.String()
	})
}

// show writes findings as goldens have them.
func show(findings []plumbline.PolicyFinding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s [%s] %s", f.Level, f.Policy, f.Address, f.Message)
		if len(f.From) > 0 {
			fmt.Fprintf(&b, " (from %s)", strings.Join(f.From, ", "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func part(a *txtar.Archive, name string) *txtar.File {
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	return nil
}

// cases runs every archive of a directory of testdata in a directory of its own and compares with its part "want".
func cases(t *testing.T, dir string, run func(*txtar.Archive) string) {
	files, err := filepath.Glob("testdata/" + dir + "/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			file, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tmp := t.TempDir()
			if err := txtar.Write(a, tmp); err != nil {
				t.Fatal(err)
			}
			t.Chdir(tmp)
			got := run(a)
			want := part(a, "want")
			if want == nil {
				a.Files = append(a.Files, txtar.File{Name: "want"})
				want = &a.Files[len(a.Files)-1]
			}
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if string(want.Data) != got {
				t.Errorf("got:\n%s\nwant:\n%s", got, want.Data)
			}
		})
	}
}

const starter = "../../examples/policies"

// TestStarter holds plans that Terraform and OpenTofu made against the starter set.
func TestStarter(t *testing.T) {
	s, err := Load([]string{starter})
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, glob := range []string{"testdata/plans/*.json", "../tfplan/testdata/real/*.json"} {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatalf("no plans in %s: %v", glob, err)
		}
		for _, file := range files {
			plan, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			findings, err := s.Evaluate(t.Context(), bytes.NewReader(plan), testFacts)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			fmt.Fprintf(&got, "== %s\n%s", filepath.Base(file), show(findings))
		}
	}
	const golden = "testdata/starter.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", &got, want)
	}
}

// TestStarterTestsBite takes each rule of the starter set away in turn, and wants its tests to notice.
func TestStarterTestsBite(t *testing.T) {
	results, err := Test(t.Context(), []string{starter}, "")
	if err != nil {
		t.Fatal(err)
	}
	if n := results.Count(Passed); n != len(results) || n < 40 {
		t.Fatalf("%d of %d tests pass", n, len(results))
	}
	s, err := read([]string{starter}, true)
	if err != nil {
		t.Fatal(err)
	}
	for file, m := range s.modules {
		if isTest(file) {
			continue
		}
		own := strings.TrimSuffix(file, ".rego") + "_test.rego"
		for i, rule := range m.Rules {
			without := sources{modules: map[string]*ast.Module{}, data: s.data, text: s.text}
			for _, name := range []string{file, own, filepath.Join(starter, "plan.rego"), filepath.Join(starter, "plan_test.rego")} {
				without.modules[name] = s.modules[name].Copy()
			}
			less := without.modules[file]
			less.Rules = slices.Delete(less.Rules, i, i+1)
			list, err := without.run(t.Context(), "^"+regexp.QuoteMeta(without.modules[own].Package.Path.String()), false)
			if err == nil && len(list) == 0 {
				t.Fatalf("%s has no tests", own)
			}
			if err == nil && !slices.ContainsFunc(list, func(r *tester.Result) bool { return !r.Pass() }) { // an error: it does not compile without the rule
				t.Errorf("%s:%d: no test fails without %s", filepath.Base(file), rule.Loc().Row, rule.Head.Name)
			}
		}
	}
}

// A large plan, made of a true one.
func grown(tb testing.TB, bytes int) []byte {
	tb.Helper()
	text, err := os.ReadFile("testdata/plans/change.json")
	if err != nil {
		tb.Fatal(err)
	}
	var plan map[string]any
	if err := json.Unmarshal(text, &plan); err != nil {
		tb.Fatal(err)
	}
	repeat := func(object map[string]any, name string) {
		list := object[name].([]any)
		out := make([]any, 0, len(list)*(bytes/len(text)+1))
		for range bytes/len(text) + 1 {
			out = append(out, list...)
		}
		object[name] = out
	}
	repeat(plan, "resource_changes")
	repeat(plan["planned_values"].(map[string]any)["root_module"].(map[string]any), "resources")
	repeat(plan["prior_state"].(map[string]any)["values"].(map[string]any)["root_module"].(map[string]any), "resources")
	out, err := json.Marshal(plan)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
