//go:build linux

package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact/redacttest"
	"github.com/plumbline/plumbline/internal/testenv"
)

// each runs a test with every engine of the machine.
func each(t *testing.T, f func(*testing.T, testenv.Engine)) {
	t.Parallel()
	for _, e := range testenv.Engines(t) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			f(t, e)
		})
	}
}

const local = "terraform {\n  backend \"local\" {}\n}\n"

// slow takes a while to create, in seconds.
func slow(seconds string) string {
	return local + `
resource "terraform_data" "first" { input = "first" }
resource "terraform_data" "slow" {
  input = terraform_data.first.output
  provisioner "local-exec" {
    interpreter = ["sleep"]
    command     = "` + seconds + `"
  }
}
`
}

func TestPlanApplyClean(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.job(map[string]string{"main.tf": local + `
variable "region" {}
variable "size" { default = 1 }
resource "terraform_data" "a" { input = "${var.region}-${var.size}" }
output "a" { value = terraform_data.a.output }
`, "prod.tfvars": "region = \"from the file\"\nsize = 3\n"})
		j.Spec.VarFiles = []string{"prod.tfvars"}
		j.Vars = []plumbline.Variable{{Name: "region", JSON: plumbline.NewSecret(`"eu"`)}, {Name: "unused", JSON: plumbline.NewSecret(`{"a":1}`)}}
		j.Backend = s.backend()
		// A .terraform that a commit brings along is not used.
		evil := filepath.Join(s.host.Dir(j.Run), srcDir, "live/net/.terraform/terraform.tfstate")
		if err := errors.Join(os.MkdirAll(filepath.Dir(evil), 0o700), os.WriteFile(evil, []byte("evil"), 0o600)); err != nil {
			t.Fatal(err)
		}

		out, log := s.do(j)
		if out.Plan == nil || out.Failure != nil || out.Plan.Summary.Create != 1 || !out.Plan.NoState || out.Plan.Engine != e.Name || out.Plan.Version != e.Version {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		if got := out.Plan.Changes[0].Attributes; !slices.ContainsFunc(got, func(a plumbline.Attribute) bool { return a.After == `"eu-3"` }) {
			t.Errorf("attributes: %+v", got)
		}
		if out.PlanFile != filepath.Join(s.host.Dir(j.Run), "tfplan") {
			t.Errorf("plan file: %s", out.PlanFile)
		}
		for _, want := range []string{"$ " + e.Name + " init\n", "$ " + e.Name + " plan\n", e.Version, "terraform_data.a: Plan to create"} {
			if !strings.Contains(log, want) {
				t.Errorf("no %q in the log:\n%s", want, log)
			}
		}
		if strings.Contains(log, "undeclared") || strings.Contains(log, "You may now begin") {
			t.Errorf("noise in the log:\n%s", log)
		}
		digest := out.Plan.Digest

		out, log = s.do(applyOf(j))
		if !out.Applied || len(out.Created) != 1 || out.Created[0].Address != "terraform_data.a" || out.Created[0].Action != plumbline.ActionCreate || out.Created[0].ID == "" {
			t.Fatalf("apply: %s\n%s", describe(out), log)
		}
		if strings.Contains(log, "init") || !strings.Contains(log, "$ "+e.Name+" apply\n") {
			t.Errorf("the apply did not begin where the plan ended:\n%s", log)
		}
		events, err := os.ReadFile(filepath.Join(s.host.Dir(j.Run), "events.jsonl"))
		if err != nil || !bytes.Contains(events, []byte(`"apply_complete"`)) {
			t.Errorf("events: %v\n%s", err, events)
		}
		state := strings.ReplaceAll(strings.Trim(j.Backend[0].JSON.Reveal(), `"`), "{stack}", "live/net")
		if _, err := os.Stat(state); err != nil {
			t.Errorf("the backend's {stack}: %v", err)
		}

		again := s.job(map[string]string{"main.tf": local + `resource "terraform_data" "a" { input = "eu-3" }` + "\noutput \"a\" { value = terraform_data.a.output }\n"})
		again.Backend, again.HadState = j.Backend, true
		if out, log = s.do(again); out.Plan == nil || out.Plan.HasChanges() || out.Plan.Digest == digest {
			t.Errorf("the second plan: %s\n%s", describe(out), log)
		}
		destroy := s.job(map[string]string{"main.tf": local})
		destroy.Backend, destroy.HadState, destroy.Destroy, destroy.Kind = j.Backend, true, true, plumbline.KindDestroy
		if out := s.applied(destroy); len(out.Created) != 1 || out.Created[0].Action != plumbline.ActionDelete {
			t.Errorf("destroy: %s", describe(out))
		}
	})
}

// What the plan marks as sensitive is masked in the log of the apply, which does not read the plan, wherever else the value stands.
func TestApplyMasksWhatThePlanMarks(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.job(map[string]string{"main.tf": local + `
resource "terraform_data" "a" {
  input = sensitive("/planted-7Qz41")
}
resource "terraform_data" "b" {
  provisioner "local-exec" {
    interpreter = ["ls"]
    command     = "/planted-7Qz41"
  }
}
`})
		j.Backend = s.backend()
		out, log := s.do(j)
		if out.Plan == nil || out.MasksFile == "" {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		out, log = s.do(applyOf(j))
		if out.Failure == nil || !strings.Contains(log, "'(sensitive)'") {
			t.Fatalf("apply: %s\n%s", describe(out), log)
		}
		events, err := os.ReadFile(filepath.Join(s.host.Dir(j.Run), "events.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{"log": log, "events": string(events), "outcome": fmt.Sprintf("%+v", *out.Failure)} {
			if strings.Contains(text, "planted") {
				t.Errorf("the %s shows it:\n%s", what, text)
			}
		}
	})
}

// What nobody configured or marked and looks like a secret is masked, too: in the log, in the plan, in the lines of a key that come one by one.
func TestShapes(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		token := "ghp_" + strings.Repeat("aB3dE6gH9", 4)
		key := []string{"-----BEGIN RSA PRIVATE " + "KEY-----", "MIIEowIBAAKCAQEAr1Vw7nXKq0yD5mZfP2kQhTgB8uJcLxWsNe3aRi6oYtVbHdMz", "p9Gf4jXnQ2wEoLs8CvUy1kRaTq6BhZm3NdWxJe7PiFg5Ycu0rSlKtOvDb", "-----END RSA PRIVATE " + "KEY-----"}
		j := s.job(map[string]string{"main.tf": local + fmt.Sprintf(`
resource "terraform_data" "a" {
  input = { text = "use %s here", env = [{ name = "DB_PASSWORD", value = "n0b0dy-marked" }] }
}
check "prints" {
  assert {
    condition     = length(terraform_data.a.input.text) > 1000
    error_message = "the key is\n%s\nand the password n0b0dy-marked"
  }
}
`, token, strings.Join(key, "\\n"))})
		j.Backend = s.backend()
		out, log := s.do(j)
		if out.Plan == nil || !strings.Contains(log, "the key is") {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		doc, err := json.Marshal(out.Plan)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{token[4:], key[1], key[2], "n0b0dy"} {
			for what, text := range map[string]string{"log": log, "plan": string(doc), "outcome": describe(out)} {
				// What only its name gives away is known when the plan has been read; the log was written before.
				if strings.Contains(text, secret) && (what != "log" || secret != "n0b0dy") {
					t.Errorf("the %s shows %s:\n%s", what, secret, text)
				}
			}
		}
		if !strings.Contains(string(doc), "use (sensitive) here") || !strings.Contains(string(doc), "DB_PASSWORD") {
			t.Errorf("the plan hides more than it should: %s", doc)
		}
	})
}

// TestCorpus has a provisioner print the corpus of secrets line by line, and checks quote it in their messages: neither the log, nor the events, nor the
// outcome shows one. Ordinary lines come through as they are.
func TestCorpus(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		var secrets, messages strings.Builder
		var env []plumbline.EnvVar
		for i, secret := range redacttest.Secrets() {
			if secret.Configured {
				env = append(env, plumbline.EnvVar{Name: fmt.Sprintf("PLANTED_%d", i), Value: plumbline.NewSecret(secret.Value), Sensitive: true})
			}
			secrets.WriteString(secret.Text + "\n")
			fmt.Fprintf(&messages, "check \"c%d\" {\n  assert {\n    condition     = length(terraform_data.a.input) > 1000\n    error_message = %q\n  }\n}\n",
				i, strings.NewReplacer("${", "$${", "%{", "%%{").Replace("it said "+secret.Text))
		}
		ordinary := strings.Join(redacttest.Ordinary(), "\n")
		j := s.job(map[string]string{"secrets.txt": secrets.String(), "ordinary.txt": ordinary, "main.tf": local + messages.String() + `
resource "terraform_data" "a" {
  input = "x"
  provisioner "local-exec" {
    interpreter = ["cat"]
    command     = "secrets.txt"
    quiet       = true
  }
  provisioner "local-exec" {
    interpreter = ["cat"]
    command     = "ordinary.txt"
    quiet       = true
  }
}
`})
		j.Backend, j.Env = s.backend(), env
		shows := func(what, text string) {
			t.Helper()
			for _, secret := range redacttest.Secrets() {
				if secret.Shown(text) {
					t.Errorf("%s: shows %s (%s)", what, secret.Name, secret.Kind)
				}
			}
		}
		out, log := s.do(j)
		if out.Plan == nil || strings.Count(log, "it said ") < 200 {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		shows("the log of the plan", log)
		doc, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		shows("the outcome of the plan", string(doc))
		apply := applyOf(j)
		out, log = s.do(apply)
		if !out.Applied {
			t.Fatalf("apply: %s\n%s", describe(out), log)
		}
		events, err := os.ReadFile(filepath.Join(s.host.Dir(j.Run), eventsFile))
		if err != nil {
			t.Fatal(err)
		}
		shows("the log of the apply", log)
		shows("the events", string(events))
		lost := 0
		for _, line := range redacttest.Ordinary() {
			if strings.TrimSpace(line) != "" && !strings.Contains(log, strings.TrimSpace(line)) {
				lost++
				t.Logf("not as it was: %q", line)
			}
		}
		if lost > 0 {
			t.Errorf("%d ordinary lines were changed", lost)
		}
	})
}

// An apply that finds no .terraform, because the run's directory was made anew, does init itself.
func TestApplyInNewDirectory(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		files := map[string]string{"main.tf": local + `resource "terraform_data" "a" { input = terraform.workspace }`}
		j := s.job(files)
		j.Backend, j.Spec.Workspace = s.backend(), "blue"
		out, log := s.do(j)
		if out.Plan == nil {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		saved, err := os.ReadFile(out.PlanFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.host.Clear(j.Run); err != nil {
			t.Fatal(err)
		}
		s.next--
		s.job(files)
		if err := os.WriteFile(filepath.Join(s.host.Dir(j.Run), "tfplan"), saved, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, log = s.do(applyOf(j)); !out.Applied || !strings.Contains(log, "init") {
			t.Fatalf("apply: %s\n%s", describe(out), log)
		}
		// The workspace is there now, and its state is not the default one's.
		again := s.job(files)
		again.Backend, again.Spec.Workspace, again.HadState = j.Backend, "blue", true
		if out, log = s.do(again); out.Plan == nil || out.Plan.HasChanges() {
			t.Errorf("blue: %s\n%s", describe(out), log)
		}
		def := s.job(files)
		def.Backend, def.Spec.Workspace = j.Backend, "default"
		if out, log = s.do(def); out.Plan == nil || !out.Plan.NoState {
			t.Errorf("default: %s\n%s", describe(out), log)
		}
	})
}

func TestDrift(t *testing.T) {
	mirror := testenv.ProviderMirror(t)
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, mirror)})
		real := t.TempDir()
		config := func(motd, extra string) map[string]string {
			return map[string]string{"main.tf": `
terraform {
  required_providers {
    local = { source = "hashicorp/local" }
  }
  backend "local" {}
}
resource "local_file" "motd" {
  filename = "` + real + `/motd"
  content  = "` + motd + `"
}
` + extra}
		}
		backend, given := s.backend(), ""
		check := func(files map[string]string) (plumbline.Outcome, string) {
			t.Helper()
			j := s.job(files)
			j.Kind, j.Backend, j.HadState, j.InSync, j.Given = plumbline.KindDrift, backend, true, given != "", given
			out, log := s.do(j)
			if out.Plan == nil && out.Failure == nil {
				t.Fatalf("drift: %s\n%s", describe(out), log)
			}
			if _, err := os.Stat(filepath.Join(s.host.Dir(j.Run), storedFile)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the second plan is still there: %v", err)
			}
			return out, log
		}
		j := s.job(config("hello", ""))
		j.Backend = backend
		s.applied(j)

		if out, log := check(config("hello", "")); out.Plan.HasChanges() || len(out.Differences) != 0 || out.Unapplied || strings.Contains(log, "-refresh=false") {
			t.Errorf("clean: %s\n%s", describe(out), log)
		}
		if out, _ := check(config("hello", `resource "terraform_data" "new" {}`)); len(out.Differences) != 0 || !out.Unapplied {
			t.Errorf("unapplied: %s", describe(out))
		}
		if err := os.WriteFile(filepath.Join(real, "motd"), []byte("changed by hand"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, log := check(config("hello", "")); len(out.Differences) != 1 || out.Differences[0].Address != "local_file.motd" || out.Unapplied || !strings.Contains(log, "-refresh=false") {
			t.Errorf("drifted: %s\n%s", describe(out), log)
		}
		if out, _ := check(config("hello", `resource "terraform_data" "new" {}`)); len(out.Differences) != 1 || !out.Unapplied || out.Pending != 1 {
			t.Errorf("drifted, unapplied: %s", describe(out))
		}

		// What cannot be planned does not hide it. Nothing is said of what the configuration may ignore, and where nothing is found the check has failed.
		unplannable := func(lifecycle string) map[string]string {
			files := config("hello", "")
			files["main.tf"] = strings.Replace(files["main.tf"], `content  = "hello"`, `content  = "hello"
  lifecycle {
    precondition {
      condition     = terraform.workspace == "never"
      error_message = "not today"
    }`+"\n"+lifecycle+"\n  }", 1)
			return files
		}
		if out, log := check(unplannable("")); len(out.Differences) != 1 || out.Differences[0].Kind != plumbline.DriftDeleted || !strings.Contains(out.Partial, "failed") || !strings.Contains(log, "-refresh-only") {
			t.Errorf("drifted, unplannable: %s\n%s", describe(out), log)
		}
		if err := os.WriteFile(filepath.Join(real, "motd"), []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, log := check(unplannable("")); out.Failure == nil || out.Failure.Kind != plumbline.FailPlan || !strings.Contains(log, "-refresh-only") {
			t.Errorf("unplannable: %s\n%s", describe(out), log)
		}

		// In sync, what the state lacks was taken out of it, and a time that goes on is nobody's doing.
		synced := func(extra string) plumbline.Outcome {
			t.Helper()
			given = ""
			out, _ := check(config("hello", extra))
			given = out.Plan.Config
			out, _ = check(config("hello", extra))
			return out
		}
		if out := synced(`resource "terraform_data" "new" {}`); len(out.Differences) != 1 || out.Differences[0].Kind != plumbline.DriftForgotten || out.Unapplied || out.Undecided {
			t.Errorf("forgotten: %s", describe(out))
		}
		if out := synced("output \"now\" {\n  value = timestamp()\n}\n"); len(out.Differences) != 0 || out.Unapplied || out.Undecided {
			t.Errorf("an output: %s", describe(out))
		}
		given = "with other variables"
		if out, _ := check(config("hello", `resource "terraform_data" "new" {}`)); len(out.Differences) != 0 || !out.Unapplied || !out.Undecided {
			t.Errorf("other variables: %s", describe(out))
		}
	})
}

func TestFailures(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		for _, tc := range []struct {
			name   string
			config string
			change func(*site, *plumbline.Job)
			kind   plumbline.FailureKind
			text   string // part of it
			place  string // of the first message
		}{
			{name: "unclosed", config: "resource \"terraform_data\" \"a\" {\n", kind: plumbline.FailConfig, place: "live/net/main.tf:1"},
			{name: "provider", config: "terraform {\n  required_providers {\n    x = { source = \"example.invalid/none/x\" }\n  }\n}\nprovider \"x\" {}\n", kind: plumbline.FailInit, text: e.Name + " init of live/net failed: "},
			{name: "reference", config: "\noutput \"x\" {\n  value = var.nope\n}\n", kind: plumbline.FailPlan, text: "Reference to undeclared input variable (live/net/main.tf:3).", place: "live/net/main.tf:3"},
			{name: "variable", config: `variable "x" {}`, kind: plumbline.FailPlan, text: "No value for required variable", place: "live/net/main.tf:1"},
			{name: "backend", config: local, kind: plumbline.FailInit, change: func(s *site, j *plumbline.Job) {
				j.Backend = []plumbline.Variable{{Name: "bogus", JSON: plumbline.NewSecret("1")}}
			}},
			{name: "workspace", config: "", kind: plumbline.FailInit, text: e.Name + " workspace of live/net failed: ", change: func(_ *site, j *plumbline.Job) { j.Spec.Workspace = "not / a name" }},
			{name: "value", config: "", kind: plumbline.FailConfig, text: "The value of x is not JSON.", change: func(_ *site, j *plumbline.Job) {
				j.Vars = []plumbline.Variable{{Name: "x", JSON: plumbline.NewSecret("{")}}
			}},
			{name: "var file", config: "", kind: plumbline.FailConfig, text: `"../../../secret" is outside`, change: func(_ *site, j *plumbline.Job) { j.Spec.VarFiles = []string{"../../../secret"} }},
			{name: "no var file", config: "", kind: plumbline.FailPlan, text: "Failed to read variables file", change: func(_ *site, j *plumbline.Job) { j.Spec.VarFiles = []string{"none.tfvars"} }},
			{name: "directory", config: "", kind: plumbline.FailConfig, text: `no directory "live/gone"`, change: func(_ *site, j *plumbline.Job) { j.Spec.Dir = "live/gone" }},
			{name: "outside", config: "", kind: plumbline.FailConfig, text: "outside of the repository", change: func(_ *site, j *plumbline.Job) { j.Spec.Dir = "../x" }},
			{name: "environment", config: "", kind: plumbline.FailConfig, text: "The environment variable HOME cannot be set", change: func(_ *site, j *plumbline.Job) {
				j.Env = []plumbline.EnvVar{{Name: "HOME", Value: plumbline.NewSecret("/")}}
			}},
			{name: "engine", config: "", kind: plumbline.FailEngine, text: "live/net wants " + e.Name + " >= 99; found " + e.Name + " " + e.Version, change: func(_ *site, j *plumbline.Job) { j.Engine = plumbline.EngineRef{Constraint: ">= 99"} }},
			{name: "state", config: local, kind: plumbline.FailState, text: "live/net had a state", change: func(s *site, j *plumbline.Job) { j.Backend, j.HadState = s.backend(), true }},
			{name: "phase", config: "", kind: plumbline.FailInternal, text: `there is no phase "dance"`, change: func(_ *site, j *plumbline.Job) { j.Phase = "dance" }},
			{name: "no plan", config: "", kind: plumbline.FailArtifact, text: "is missing", change: func(_ *site, j *plumbline.Job) { j.Phase = plumbline.PhaseApply }},
		} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, HostConfig{Engines: engine(e, "")})
				j := s.job(map[string]string{"main.tf": tc.config})
				if tc.change != nil {
					tc.change(s, &j)
				}
				out, log := s.do(j)
				if out.Failure == nil || out.Failure.Kind != tc.kind || !strings.Contains(out.Failure.Text, tc.text) || out.Plan != nil || out.PlanFile != "" {
					t.Fatalf("want %s: %s\ngot %s\n%s", tc.kind, tc.text, describe(out), log)
				}
				if tc.place != "" {
					d := out.Failure.Diagnostics
					if len(d) == 0 || fmt.Sprintf("%s:%d", d[0].File, d[0].Line) != tc.place || !strings.Contains(log, "  "+tc.place) {
						t.Errorf("want %s: %+v\n%s", tc.place, d, log)
					}
				}
				for _, name := range holdsSecrets {
					if _, err := os.Stat(filepath.Join(s.host.Dir(j.Run), name)); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s is still there: %v", name, err)
					}
				}
			})
		}
	})
}

func TestStalePlan(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		files := map[string]string{"main.tf": local + `
resource "terraform_data" "a" { input = "x" }
output "a" { value = "x" }
`}
		one, two := s.job(files), s.job(files)
		one.Backend = s.backend()
		two.Backend = one.Backend
		if out, log := s.do(one); out.Plan == nil {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		s.applied(two)
		if out, log := s.do(applyOf(one)); !out.Stale || out.Failure != nil || out.Applied {
			t.Fatalf("stale: %s\n%s", describe(out), log)
		}
	})
}

func TestFailedApply(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.job(map[string]string{"main.tf": local + `
resource "terraform_data" "a" {}
resource "terraform_data" "b" {
  input = terraform_data.a.id
  provisioner "local-exec" {
    interpreter = ["ls"]
    command     = "/nonexistent"
  }
}
`})
		j.Backend = s.backend()
		if out, log := s.do(j); out.Plan == nil {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		out, log := s.do(applyOf(j))
		if f := out.Failure; f == nil || f.Kind != plumbline.FailApply || len(f.Diagnostics) == 0 || !strings.Contains(f.Text, "local-exec") || f.Diagnostics[0].Address != "terraform_data.b" {
			t.Errorf("apply: %s\n%s", describe(out), log)
		}
		if len(out.Created) == 0 || out.Created[0].Address != "terraform_data.a" {
			t.Errorf("created: %+v", out.Created)
		}
	})
}

// No secret is in anything but what Terraform itself needs, and nothing is left of that once the run is cleared.
func TestSecrets(t *testing.T) {
	const variable, output, environment, own = "hunter2-\"variable\"", "hunter2-output-value", "hunter2-environment", "hunter2-of-the-daemon"
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, ""), Secrets: []string{own}})
		j := s.job(map[string]string{"main.tf": local + `
variable "password" {}
resource "terraform_data" "unmarked" {
  input = "password=${var.password}"
  provisioner "local-exec" {
    interpreter = ["printenv"]
    command     = "TOKEN"
  }
}
resource "terraform_data" "marked" { input = sensitive("` + output + `") }
# It reaches the plan unmarked, too.
resource "terraform_data" "derived" { input = "` + own + ` and ` + output + `" }
output "marked" {
  value     = terraform_data.marked.output
  sensitive = true
}
output "unmarked" { value = var.password }
check "prints" {
  assert {
    condition     = length(var.password) > 1000
    error_message = "the password is ${var.password}"
  }
}
`})
		quoted, err := json.Marshal(variable)
		if err != nil {
			t.Fatal(err)
		}
		j.Vars = []plumbline.Variable{{Name: "password", JSON: plumbline.NewSecret(string(quoted)), Sensitive: []string{variable}}}
		j.Env = []plumbline.EnvVar{{Name: "TOKEN", Value: plumbline.NewSecret(environment), Sensitive: true}}
		j.Backend = s.backend()
		check := func(phase string, out plumbline.Outcome, log string, inClear ...string) {
			t.Helper()
			texts := map[string]string{"the outcome": describe(out), "the returned log": log}
			for name, text := range read(t, s.host.Dir(j.Run)) {
				if !slices.Contains(inClear, name) && !strings.HasPrefix(name, "src/live/net/main.tf") {
					texts[name] = text
				}
			}
			for name, text := range texts {
				for _, secret := range []string{"hunter2-\"", `hunter2-\"`, `hunter2-\\\"`, output, environment, own} {
					if strings.Contains(text, secret) {
						t.Errorf("%s: %s has %s:\n%s", phase, name, secret, text)
					}
				}
			}
		}
		out, log := s.do(j)
		if out.Plan == nil || !strings.Contains(log, "the password is (sensitive)") {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		check("plan", out, log, "tfplan", "masks.json")
		out, log = s.do(applyOf(j))
		if !out.Applied || !strings.Contains(log, "(sensitive)") {
			t.Fatalf("apply: %s\n%s", describe(out), log)
		}
		check("apply", out, log, "tfplan")
		if err := s.host.Clear(j.Run); err != nil {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(filepath.Join(s.conf.Dir, "*")); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// read returns the text of all files below dir.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(dir, path)
		texts[rel] = string(b)
		if info, statErr := d.Info(); statErr == nil && info.Mode().Perm()&0o077 != 0 && !strings.HasPrefix(rel, srcDir) {
			t.Errorf("others may read %s (%v)", rel, info.Mode())
		}
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestEnvironmentOfTerraform(t *testing.T) {
	t.Setenv("PLUMBLINE_TEST_LEAK", "of the daemon")
	for _, e := range testenv.Engines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := newSite(t, HostConfig{Engines: engine(e, "")})
			j := s.job(map[string]string{"main.tf": local + `
resource "terraform_data" "a" {
  provisioner "local-exec" {
    interpreter = ["cp", "/proc/self/environ"]
    command     = "environ"
  }
}
`})
			j.Backend = s.backend()
			j.Env = []plumbline.EnvVar{{Name: "AWS_REGION", Value: plumbline.NewSecret("eu-west-1")}}
			s.applied(j)
			dir := s.host.Dir(j.Run)
			b, err := os.ReadFile(filepath.Join(dir, "src/live/net/environ"))
			if err != nil {
				t.Fatal(err)
			}
			env := map[string]string{}
			for entry := range strings.SplitSeq(strings.Trim(string(b), "\x00"), "\x00") {
				k, v, _ := strings.Cut(entry, "=")
				env[k] = v
			}
			for k, v := range map[string]string{"AWS_REGION": "eu-west-1", "HOME": dir + "/home", "TMPDIR": dir + "/tmp", "TF_CLI_CONFIG_FILE": dir + "/terraform.rc", "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"} {
				if env[k] != v {
					t.Errorf("%s=%q; want %q", k, env[k], v)
				}
				delete(env, k)
			}
			// The rest is terraform-exec's and Terraform's own.
			for _, k := range []string{"PATH", "TF_APPEND_USER_AGENT", "TF_LOG", "TF_LOG_CORE", "TF_LOG_PATH", "TF_LOG_PROVIDER", "PWD", "OPENTOFU_STATEKEY"} {
				delete(env, k)
			}
			if len(env) != 0 {
				t.Errorf("inherited: %v", env)
			}
		})
	}
}
