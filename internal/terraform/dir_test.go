package terraform

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		got  []string
		want string
	}{
		{"init", initArgs(InitOptions{}, Binary{Name: Terraform, Version: "1.11.4"}), "init -no-color -input=false -json"},
		{"init with a backend", initArgs(InitOptions{BackendConfig: "/run/1/backend.tfvars.json"}, Binary{Name: Tofu, Version: "1.12.6"}),
			"init -no-color -input=false -json -backend-config=/run/1/backend.tfvars.json"},
		{"init, old terraform", initArgs(InitOptions{}, Binary{Name: Terraform, Version: "1.8.5"}), "init -no-color -input=false"},
		{"init, old tofu", initArgs(InitOptions{}, Binary{Name: Tofu, Version: "1.6.3"}), "init -no-color -input=false"},
		{"init, prerelease", initArgs(InitOptions{}, Binary{Name: Terraform, Version: "1.9.0-beta1"}), "init -no-color -input=false -json"},
		{"plan", planArgs(PlanOptions{Out: "/run/1/tfplan"}), "plan -no-color -input=false -json -detailed-exitcode -out=/run/1/tfplan -lock=false"},
		{"plan with all", planArgs(PlanOptions{Out: "p", VarFiles: []string{"a.tfvars", "b.json"}, Destroy: true, NoRefresh: true, LockTimeout: 90 * time.Second}),
			"plan -no-color -input=false -json -detailed-exitcode -out=p -lock-timeout=90s -destroy -refresh=false -var-file=a.tfvars -var-file=b.json"},
		{"show", showArgs("/run/1/tfplan"), "show -no-color -json /run/1/tfplan"},
		{"init without a backend", initArgs(InitOptions{NoBackend: true}, Binary{Name: Terraform, Version: "1.11.4"}), "init -no-color -input=false -json -backend=false"},
		{"fmt", fmtArgs(false, []string{".", "tests"}), "fmt -no-color -write=false -check . tests"},
		{"fmt, what it would change", fmtArgs(true, []string{"."}), "fmt -no-color -write=false -list=false -diff ."},
		{"validate", validateArgs(), "validate -no-color -json"},
		{"test", testArgs([]string{"a.tftest.hcl", "tests/b.tftest.hcl"}), "test -no-color -json -filter=a.tftest.hcl -filter=tests/b.tftest.hcl"},
	} {
		if got := strings.Join(tc.got, " "); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

func TestEnv(t *testing.T) {
	t.Setenv("PLUMBLINE_TOKEN", "of the daemon")
	secret := plumbline.NewSecret
	c := EnvConfig{Home: "/run/1/home", Tmp: "/run/1/tmp", CLIConfig: "/run/1/terraform.rc", Vars: []plumbline.EnvVar{
		{Name: "AWS_REGION", Value: secret("eu-west-1")}, {Name: "PATH", Value: secret("/opt/bin")},
	}}
	got, err := Env(c)
	want := map[string]string{
		"AWS_REGION": "eu-west-1", "PATH": "/opt/bin", "HOME": "/run/1/home", "TMPDIR": "/run/1/tmp",
		"TF_CLI_CONFIG_FILE": "/run/1/terraform.rc", "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Env = %v, %v\nwant %v", got, err, want)
	}
	for _, name := range []string{"HOME", "TF_VAR_region", "TF_CLI_ARGS", "TF_CLI_ARGS_plan", "TF_WORKSPACE", "TF_LOG", "TF_CLI_CONFIG_FILE", "TF_REATTACH_PROVIDERS", "", "A=B"} {
		c.Vars = []plumbline.EnvVar{{Name: name, Value: secret("x")}}
		if env, err := Env(c); err == nil {
			t.Errorf("Env with %q = %v; want an error", name, env)
		}
	}
}

func TestCLIConfig(t *testing.T) {
	t.Parallel()
	mirror := t.TempDir()
	for _, d := range []string{"registry.terraform.io/hashicorp/local/2.6.1", "registry.terraform.io/hashicorp/aws/6.0.0"} {
		if err := os.MkdirAll(filepath.Join(mirror, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got, err := CLIConfig(mirror)
	want := `disable_checkpoint = true

provider_installation {
  filesystem_mirror {
    path    = "` + mirror + `"
    include = ["registry.terraform.io/hashicorp/aws", "registry.terraform.io/hashicorp/local"]
  }
  direct {
    exclude = ["registry.terraform.io/hashicorp/aws", "registry.terraform.io/hashicorp/local"]
  }
}
`
	if err != nil || string(got) != want {
		t.Errorf("CLIConfig = %s, %v\nwant %s", got, err, want)
	}
	direct := "disable_checkpoint = true\n\nprovider_installation {\n  direct {\n  }\n}\n"
	for _, dir := range []string{"", t.TempDir()} {
		if got, err := CLIConfig(dir); err != nil || string(got) != direct {
			t.Errorf("CLIConfig(%q) = %s, %v", dir, got, err)
		}
	}
	if _, err := CLIConfig("/nonexistent"); err == nil {
		t.Error("a mirror that is not there was taken for an empty one")
	}
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, line string
		want       Event
		ok         bool
	}{
		{name: "text", line: "Terraform has been initialized"},
		{name: "empty"},
		{name: "cut off", line: `{"@level":"info","@mess`},
		{name: "an object of somebody else's", line: `{"a":1}`},
		{name: "message", line: `{"@level":"info","@message":"Terraform 1.11.4","type":"version"}`, ok: true, want: Event{Type: "version", Message: "Terraform 1.11.4"}},
		{name: "diagnostic", ok: true,
			line: `{"@level":"error","@message":"Error: Bad","type":"diagnostic","diagnostic":{"severity":"error","summary":"Bad","detail":"Very.","address":"a.b","range":{"filename":"main.tf","start":{"line":3}},"snippet":{"code":"x = y"}}}`,
			want: Event{Type: "diagnostic", Message: "Error: Bad", Diagnostic: &plumbline.Diagnostic{Severity: "error", Summary: "Bad", Detail: "Very.", Address: "a.b", File: "main.tf", Line: 3, Snippet: "x = y"}}},
		{name: "created", ok: true,
			line: `{"@level":"info","@message":"done","type":"apply_complete","hook":{"resource":{"addr":"m.x[\"k\"]"},"action":"create","id_key":"id","id_value":"i-1"}}`,
			want: Event{Type: "apply_complete", Message: "done", Done: &plumbline.Created{Address: `m.x["k"]`, Action: plumbline.ActionCreate, ID: "i-1"}}},
		{name: "a data source", ok: true,
			line: `{"@level":"info","@message":"done","type":"apply_complete","hook":{"resource":{"addr":"data.x.y"},"action":"read"}}`,
			want: Event{Type: "apply_complete", Message: "done"}},
		{name: "the end", ok: true, line: `{"@level":"info","@message":"Apply complete!","type":"change_summary","changes":{"operation":"apply"}}`,
			want: Event{Type: "change_summary", Message: "Apply complete!", Operation: "apply"}},
	} {
		if got, ok := ParseEvent([]byte(tc.line)); ok != tc.ok || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, %v; want %+v, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestTextDiagnostics(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want []plumbline.Diagnostic
	}{
		{"", nil},
		{"\nno idea what happened\nreally\n", []plumbline.Diagnostic{{Severity: "error", Summary: "no idea what happened", Detail: "really"}}},
		{"\nWarning: Old\n\nUse new.\n\nError: Bad\n\n  on main.tf line 1:\n", []plumbline.Diagnostic{
			{Severity: "warning", Summary: "Old", Detail: "Use new."}, {Severity: "error", Summary: "Bad", Detail: "on main.tf line 1:"}}},
		{"╷\n│ Error: Boxed\n│ \n│ In a box.\n╵\n", []plumbline.Diagnostic{{Severity: "error", Summary: "Boxed", Detail: "In a box."}}},
	} {
		if got := TextDiagnostics(tc.text); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("TextDiagnostics(%q) = %+v; want %+v", tc.text, got, tc.want)
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxLine)
	for _, tc := range []struct {
		writes, want []string
	}{
		{[]string{"a\nb", "c\n", "\n", "d"}, []string{"a", "bc", "", "d"}},
		{[]string{"a\r\n"}, []string{"a"}},
		{[]string{long + "y", "z\n"}, []string{long + "y", "z"}},
		{nil, nil},
	} {
		var got []string
		l := &lines{f: func(b []byte) { got = append(got, string(b)) }}
		for _, w := range tc.writes {
			if n, err := l.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
		}
		l.end()
		if !slices.Equal(got, tc.want) {
			t.Errorf("%.20q: got %.20q", tc.writes, got)
		}
	}
}

// engineDir is a Dir of a real engine in a new root module.
func engineDir(t *testing.T, e testenv.Engine, config string, line func([]byte)) *Dir {
	t.Helper()
	path := t.TempDir()
	write(t, filepath.Join(path, "main.tf"), config)
	rc := filepath.Join(t.TempDir(), "rc")
	write(t, rc, "")
	env, err := Env(EnvConfig{Home: t.TempDir(), Tmp: t.TempDir(), CLIConfig: rc})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDir(DirConfig{Binary: Binary{Path: e.Path, Name: e.Name, Version: e.Version}, Path: path, Env: env, Line: line, ErrLine: func(b []byte) { t.Logf("%s", b) }})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for _, e := range testenv.Engines(t) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			var events []Event
			d := engineDir(t, e, `resource "terraform_data" "a" { input = "${terraform.workspace}" }`, func(b []byte) {
				if ev, ok := ParseEvent(b); ok {
					events = append(events, ev)
				}
			})
			ctx := t.Context()
			if err := d.Init(ctx, InitOptions{}); err != nil {
				t.Fatal(err)
			}
			for range 2 { // made, then selected
				if err := d.Workspace(ctx, "blue"); err != nil {
					t.Fatal(err)
				}
			}
			plan := filepath.Join(t.TempDir(), "tfplan")
			if changes, err := d.Plan(ctx, PlanOptions{Out: plan, LockTimeout: time.Second}); err != nil || !changes {
				t.Fatalf("Plan = %v, %v", changes, err)
			}
			var shown []byte
			read := func(r io.Reader) (err error) { shown, err = io.ReadAll(r); return err }
			if err := d.Show(ctx, plan, read); err != nil || !strings.Contains(string(shown), `"blue"`) {
				t.Fatalf("Show: %v\n%s", err, shown)
			}
			broken := errors.New("not what I expected")
			if err := d.Show(ctx, plan, func(io.Reader) error { return broken }); !errors.Is(err, broken) {
				t.Errorf("Show with a reader that gives up: %v", err)
			}
			if err := d.Apply(ctx, plan, time.Second); err != nil {
				t.Fatal(err)
			}
			if last := events[len(events)-1]; !slices.ContainsFunc(events, func(e Event) bool { return e.Operation == "apply" }) {
				t.Errorf("the last of %d events is %+v", len(events), last)
			}
			if changes, err := d.Plan(ctx, PlanOptions{Out: plan}); err != nil || changes {
				t.Errorf("Plan after Apply = %v, %v", changes, err)
			}
			var cmd *CommandError
			if err := d.Show(ctx, plan+"-gone", read); !errors.As(err, &cmd) || cmd.Command != e.Name+" show" || cmd.Stderr == "" {
				t.Errorf("Show of nothing: %#v", err)
			}
			ended, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := d.Plan(ended, PlanOptions{Out: plan}); !errors.Is(err, context.Canceled) {
				t.Errorf("Plan with a context that has ended: %v", err)
			}
			if err := d.Apply(ended, plan, 0); !errors.Is(err, context.Canceled) {
				t.Errorf("Apply with a context that has ended: %v", err)
			}
		})
	}
}

func TestNewDirWantsAnEnvironment(t *testing.T) {
	t.Parallel()
	if _, err := NewDir(DirConfig{Binary: Binary{Path: "/bin/true"}, Path: t.TempDir()}); err == nil {
		t.Error("a Dir without an environment would inherit this one")
	}
}

func TestKilled(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !Killed(&CommandError{Err: err}) {
		t.Errorf("Killed(%v) = false", err)
	}
	if Killed(errors.New("exit status 1")) {
		t.Error("Killed = true for another error")
	}
}
