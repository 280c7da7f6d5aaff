//go:build linux

package runner

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/testenv"
)

var allChecks = []plumbline.CheckName{plumbline.CheckFmt, plumbline.CheckValidate, plumbline.CheckTest}

// proposal is a job with all checks.
func (s *site) proposal(files map[string]string) plumbline.Job {
	j := s.job(files)
	j.Kind, j.Checks, j.Backend = plumbline.KindProposal, allChecks, s.backend()
	j.Facts = plumbline.Facts{Kind: j.Kind, Stack: j.Stack.Name, Time: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}
	return j
}

// verdicts is a result in short: "fmt pass, test skipped".
func verdicts(list []plumbline.CheckResult) string {
	var s []string
	for _, r := range list {
		s = append(s, string(r.Name)+" "+string(r.Verdict))
	}
	return strings.Join(s, ", ")
}

const goodTests = `run "plans" {
  command = plan
}
`

func TestChecksPass(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.proposal(map[string]string{"main.tf": local, "tests/main.tftest.hcl": goodTests})
		out, log := s.do(j)
		if out.Plan == nil || verdicts(out.Checks) != "fmt pass, validate pass, test pass" || out.Checks[2].Text != "1 passed" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		for _, want := range []string{"$ " + e.Name + " fmt -check . tests\n", "$ " + e.Name + " validate\n", "$ " + e.Name + " test tests/main.tftest.hcl\n", "\"plans\"... pass"} {
			if !strings.Contains(log, want) {
				t.Errorf("no %q in the log:\n%s", want, log)
			}
		}
		if out, _ := s.do(s.proposal(map[string]string{"main.tf": local})); verdicts(out.Checks) != "fmt pass, validate pass, test skipped" || out.Checks[2].Text != "there are no test files" {
			t.Errorf("without tests: %s", describe(out))
		}
	})
}

// What checks find is told with its place, and without the secrets that stand there, whoever knows of them: the daemon, the plan, or their shape.
func TestChecksFailMasked(t *testing.T) {
	const told, marked, diffed = "told-4Rk29xQz", "marked-7Qz41pLm", "shaped-Zz81LqPw03"
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, ""), Secrets: []string{told}})
		j := s.proposal(map[string]string{
			"main.tf": local + `
variable "size" {
  default = 1
}
resource "terraform_data" "a" {
  input = sensitive("` + marked + `")
}
locals {
   password = "` + diffed + `"
  # ` + told + ` ` + marked + `
}
`,
			"vars/prod.tfvars": "size   =   1\n",
			"tests/main.tftest.hcl": `run "says" {
  command = plan
  assert {
    condition     = var.size == 2 # ` + told + `
    error_message = "not ` + told + ` nor ` + marked + `, password=` + diffed + `"
  }
}
`,
		})
		j.Spec.VarFiles = []string{"vars/prod.tfvars"}
		out, log := s.do(j)
		if out.Plan == nil || verdicts(out.Checks) != "fmt fail, validate pass, test fail" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		fmtd, test := out.Checks[0], out.Checks[2]
		if fmtd.Text != "2 files are not formatted" || !slices.Equal(fmtd.Findings, []plumbline.Finding{
			{File: "live/net/main.tf", Line: 12, Source: `   password = "(sensitive)"`, Message: "not formatted"},
			{File: "live/net/vars/prod.tfvars", Line: 1, Source: "size   =   1", Message: "not formatted"},
		}) {
			t.Errorf("fmt: %+v", fmtd)
		}
		if !strings.Contains(fmtd.Output, `+  password = "(sensitive)"`) || !strings.Contains(fmtd.Output, "# (sensitive) (sensitive)") {
			t.Errorf("the diff: %s", fmtd.Output)
		}
		if len(test.Findings) != 1 || test.Findings[0].File != "live/net/tests/main.tftest.hcl" || test.Findings[0].Line != 4 ||
			test.Findings[0].Message != "Test assertion failed: not (sensitive) nor (sensitive), password=(sensitive)" || !strings.Contains(test.Findings[0].Source, "var.size == 2 # (sensitive)") {
			t.Errorf("test: %+v", test)
		}
		texts := read(t, s.host.Dir(j.Run))
		texts["the outcome"], texts["the returned log"] = describe(out), log
		for name, text := range texts {
			if name == planFile || name == masksFile || strings.HasPrefix(name, srcDir) {
				continue
			}
			for _, secret := range []string{told, marked, diffed} {
				if strings.Contains(text, secret) {
					t.Errorf("%s has %s:\n%s", name, secret, text)
				}
			}
		}
	})
}

// validate finds what a plan fails with: it is made nevertheless, and so are the other checks.
func TestChecksOfAFailedPlan(t *testing.T) {
	const told = "told-4Rk29xQz"
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, ""), Secrets: []string{told}})
		j := s.proposal(map[string]string{"main.tf": local, "bad.tf": "output \"a\" {\n  value = local.absent # " + told + "\n}\n", "main.tftest.hcl": goodTests})
		out, log := s.do(j)
		if out.Failure == nil || out.Failure.Kind != plumbline.FailPlan || verdicts(out.Checks) != "fmt pass, validate fail, test fail" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		v := out.Checks[1]
		if v.Text != "the configuration has 1 error" || len(v.Findings) != 1 || v.Findings[0].File != "live/net/bad.tf" || v.Findings[0].Line != 2 ||
			v.Findings[0].Source != "  value = local.absent # (sensitive)" || !strings.HasPrefix(v.Findings[0].Message, "Reference to undeclared local value: ") {
			t.Errorf("validate: %+v", v)
		}
		if _, err := os.Stat(filepath.Join(s.host.Dir(j.Run), planFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the plan that failed left a file: %v", err)
		}
	})
}

func TestChecksWithoutInit(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		out, log := s.do(s.proposal(map[string]string{"main.tf": local, "bad.tf": "resource \"x\" {\n"}))
		if out.Failure == nil || verdicts(out.Checks) != "fmt fail, validate error, test error" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		if f := out.Checks[0]; f.Text != "1 file cannot be parsed" || len(f.Findings) != 1 || f.Findings[0].File != "live/net/bad.tf" || f.Findings[0].Line != 1 {
			t.Errorf("fmt: %+v", f)
		}
		if got := out.Checks[1].Text; got != "not made: the stack could not be initialized" {
			t.Errorf("validate: %q", got)
		}
		gone := s.proposal(map[string]string{"main.tf": local})
		gone.Spec.Dir = "live/absent"
		if out, _ := s.do(gone); out.Failure == nil || verdicts(out.Checks) != "fmt error, validate error, test error" {
			t.Errorf("without a directory: %s", describe(out))
		}
	})
}

// Tests that do not end cost no plan when the time is up; whoever interrupts them wants none.
func TestChecksStopped(t *testing.T) {
	t.Parallel()
	files := map[string]string{"main.tftest.hcl": goodTests}
	t.Run("time is up", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, HostConfig{Engines: misbehaving(t, "tests"), PlanTimeout: 5 * time.Second})
		j := s.job(files)
		j.Checks = []plumbline.CheckName{plumbline.CheckTest, plumbline.CheckFmt, "colour"}
		out, log := s.do(j)
		if out.Plan == nil || out.Failure != nil || verdicts(out.Checks) != "test error, fmt error, colour error" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		if a, b := out.Checks[0].Text, out.Checks[1].Text; a != "not made to its end: the time for the plan with its checks was up" || b != "not made: the time for the plan with its checks was up" {
			t.Errorf("%q, %q", a, b)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, HostConfig{Engines: misbehaving(t, "tests")})
		j := s.job(files)
		j.Checks = []plumbline.CheckName{plumbline.CheckTest}
		run := begin(t, s.host, j)
		run.await("at work")
		if err := s.host.Interrupt(j.Run); err != nil {
			t.Fatal(err)
		}
		out, err := run.end()
		if err != nil || !out.Interrupted || out.Plan != nil || out.PlanFile != "" {
			t.Errorf("%s, %v", describe(out), err)
		}
		if _, err := os.Stat(filepath.Join(s.host.Dir(j.Run), planFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the saved plan is still there: %v", err)
		}
	})
}

// rules writes policies into a directory of their own.
func rules(t *testing.T, rego string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.rego"), []byte(rego), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const quoting = `package plumbline.quoting

deny contains {"msg": msg, "address": r.address} if {
	some r in input.resource_changes
	msg := sprintf("%s of %s has the input %v", [r.address, input.run.stack, r.change.after.input])
}

warn contains "the plan is made by hand" if input.run.kind == "proposal"
`

func TestPolicies(t *testing.T) {
	const marked = "marked-7Qz41pLm"
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		files := map[string]string{"main.tf": local + "\nresource \"terraform_data\" \"a\" {\n  input = sensitive(\"" + marked + "\")\n}\n"}
		j := s.proposal(files)
		j.Checks, j.Policies = []plumbline.CheckName{plumbline.CheckFmt}, []string{rules(t, quoting)}
		out, log := s.do(j)
		if out.Plan == nil || verdicts(out.Checks) != "fmt pass, policy fail" || out.Checks[1].Text != "2 rules, 1 denial, 1 warning" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		if len(out.Findings) != 2 || out.Findings[0].Message != "terraform_data.a of live/net has the input (sensitive)" || out.Findings[0].Address != "terraform_data.a" ||
			out.Findings[0].Level != plumbline.PolicyDeny || out.Findings[1].Level != plumbline.PolicyWarn {
			t.Errorf("findings: %+v", out.Findings)
		}
		if !strings.Contains(log, "Policies: 2 rules, 1 denial, 1 warning\n  deny (plumbline.quoting): terraform_data.a: terraform_data.a of live/net has the input (sensitive)\n") {
			t.Errorf("log:\n%s", log)
		}
		for name, text := range read(t, s.host.Dir(j.Run)) {
			if name != planFile && name != masksFile && !strings.HasPrefix(name, srcDir) && strings.Contains(text, marked) {
				t.Errorf("%s has what the plan marks:\n%s", name, text)
			}
		}

		broken := s.proposal(files)
		broken.Policies = []string{rules(t, "package a\n\ndeny contains msg if {\n")}
		out, log = s.do(broken)
		if out.Plan != nil || out.Failure == nil || out.Failure.Kind != plumbline.FailPolicy || len(out.Failure.Diagnostics) == 0 || out.Failure.Diagnostics[0].Line == 0 || out.Failure.Next == "" {
			t.Fatalf("policies that cannot be compiled: %s\n%s", describe(out), log)
		}
		if verdicts(out.Checks) != "fmt pass, validate pass, test skipped, policy error" {
			t.Errorf("checks: %s", verdicts(out.Checks))
		}

		unasked := s.proposal(files)
		unasked.Policies = []string{rules(t, "package a\n\ndeny contains msg if {\n\tmsg := to_number(input.resource_changes[0].change.after.input)\n}\n")}
		out, log = s.do(unasked)
		if out.Plan != nil || out.PlanFile != "" || out.Failure == nil || out.Failure.Kind != plumbline.FailPolicy || strings.Contains(describe(out)+log, marked) {
			t.Fatalf("a rule that cannot be evaluated: %s\n%s", describe(out), log)
		}
		if _, err := os.Stat(filepath.Join(s.host.Dir(unasked.Run), planFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a plan without a verdict was kept: %v", err)
		}

		failed := s.proposal(map[string]string{"main.tf": local, "bad.tf": "output \"a\" {\n  value = local.absent\n}\n"})
		failed.Checks, failed.Policies = nil, j.Policies
		if out, _ := s.do(failed); out.Failure == nil || out.Failure.Kind != plumbline.FailPlan || verdicts(out.Checks) != "policy error" || out.Findings != nil {
			t.Errorf("policies of a plan that failed: %s", describe(out))
		}
	})
}

// answering is policies that do as they are told.
type answering func(context.Context, io.Reader) ([]plumbline.PolicyFinding, error)

func (a answering) Evaluate(ctx context.Context, plan io.Reader, _ plumbline.Facts) ([]plumbline.PolicyFinding, error) {
	return a(ctx, plan)
}
func (answering) Rules() int { return 1 }

// Whatever policies do, the plan is read to its end; whatever becomes of the plan, they are told.
func TestAsk(t *testing.T) {
	t.Parallel()
	const plan = `{"format_version":"1.2"}` + "\n"
	whole := func(r io.Reader) error { _, err := io.ReadAll(r); return err }
	all := answering(func(_ context.Context, r io.Reader) ([]plumbline.PolicyFinding, error) {
		b, err := io.ReadAll(r)
		return []plumbline.PolicyFinding{{Message: string(b)}}, err
	})
	a, err := ask(t.Context(), all, plumbline.Facts{}, strings.NewReader(plan), func(r io.Reader) error { _, err := r.Read(make([]byte, 3)); return err })
	if err != nil || a.err != nil || a.findings[0].Message != plan {
		t.Errorf("a reader that stops early: %+v, %v", a, err)
	}
	gone := errors.New("gone")
	a, err = ask(t.Context(), all, plumbline.Facts{}, strings.NewReader(plan), func(io.Reader) error { return gone })
	if !errors.Is(err, gone) || !errors.Is(a.err, gone) {
		t.Errorf("a plan that cannot be read: %v, %v", a.err, err)
	}
	deaf := answering(func(context.Context, io.Reader) ([]plumbline.PolicyFinding, error) { return nil, gone })
	if a, err = ask(t.Context(), deaf, plumbline.Facts{}, strings.NewReader(plan), whole); err != nil || !errors.Is(a.err, gone) {
		t.Errorf("policies that do not listen: %v, %v", a.err, err)
	}
	wild := answering(func(context.Context, io.Reader) ([]plumbline.PolicyFinding, error) { panic("wild") })
	if a, err = ask(t.Context(), wild, plumbline.Facts{}, strings.NewReader(plan), whole); err != nil || a.err == nil || !strings.Contains(a.err.Error(), "panic: wild") {
		t.Errorf("policies that panic: %v, %v", a.err, err)
	}
	if a, err = ask(t.Context(), nil, plumbline.Facts{}, strings.NewReader(plan), whole); err != nil || a.err != nil || a.findings != nil {
		t.Errorf("no policies: %+v, %v", a, err)
	}
}

func TestCheckInPlace(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		root, home := t.TempDir(), t.TempDir()
		at := filepath.Join(root, "live", "net")
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		const away = "terraform {\n  backend \"http\" {\n    address = \"http://127.0.0.1:1/\"\n  }\n}\n"
		const config = "resource \"terraform_data\" \"a\" {\n  input = sensitive(\"marked-7Qz41pLm\")\n}\n"
		if err := os.WriteFile(filepath.Join(at, "main.tf"), []byte(away+config), 0o600); err != nil {
			t.Fatal(err)
		}
		rc := filepath.Join(home, "rc")
		if err := os.WriteFile(rc, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		env, err := terraform.Env(terraform.EnvConfig{Home: home, Tmp: home, CLIConfig: rc})
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		c := CheckConfig{
			Binary: terraform.Binary{Path: e.Path, Name: e.Name, Version: e.Version}, Root: root, Spec: plumbline.StackSpec{Name: "live/net", Dir: "live/net"},
			Env: env, Checks: allChecks, Tmp: home, Log: &log, Facts: plumbline.Facts{Stack: "live/net", Time: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)},
		}
		// A backend that nobody answers for is no hindrance.
		results, _ := Check(t.Context(), c)
		if verdicts(results) != "fmt pass, validate pass, test skipped" {
			t.Fatalf("%+v\n%s", results, &log)
		}
		if c.Policies, err = policy.Load([]string{rules(t, quoting)}); err != nil {
			t.Fatal(err)
		}
		results, findings := Check(t.Context(), c)
		if !strings.HasSuffix(verdicts(results), "policy error") || findings != nil {
			t.Errorf("policies without a backend: %+v", results)
		}
		if err := os.WriteFile(filepath.Join(at, "main.tf"), []byte(local+config), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(at, ".terraform")); err != nil {
			t.Fatal(err)
		}
		results, findings = Check(t.Context(), c)
		if verdicts(results) != "fmt pass, validate pass, test skipped, policy fail" || len(findings) != 1 || findings[0].Message != "terraform_data.a of live/net has the input (sensitive)" {
			t.Errorf("%+v, %+v\n%s", results, findings, &log)
		}
		if strings.Contains(log.String(), "marked-7Qz41pLm") {
			t.Errorf("log:\n%s", &log)
		}
	})
}

func TestShorten(t *testing.T) {
	t.Parallel()
	if s := strings.Repeat("x", maxOutput); shorten(s) != s {
		t.Error("a text of the greatest length was shortened")
	}
	for _, s := range []string{strings.Repeat("line\n", maxOutput), strings.Repeat("é", maxOutput)} {
		got := shorten(s)
		if len(got) > maxOutput || !strings.HasSuffix(got, "\n… (shortened; the log has all)\n") || !strings.HasPrefix(s, strings.TrimSuffix(got, "\n… (shortened; the log has all)\n")) {
			t.Errorf("%d bytes, ends %q", len(got), got[len(got)-60:])
		}
	}
}

func TestFirstChanges(t *testing.T) {
	t.Parallel()
	got := firstChanges("--- old/a.tf\n+++ new/a.tf\n@@ -3,4 +3,4 @@ x\n same\n-bad\n+good\n@@ -90 +90 @@\n-later\n--- old/b c.tf\n+++ new/b c.tf\n@@ -0,0 +1 @@\n+x\n--- old/c.tf\n@@ nonsense @@\n-x\n@@ -a\n-y\n")
	want := map[string]plumbline.Finding{"a.tf": {Line: 4, Source: "bad"}}
	if len(got) != len(want) || got["a.tf"] != want["a.tf"] {
		t.Errorf("%+v", got)
	}
}
