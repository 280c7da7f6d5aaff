package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/tfplan"
)

// tampering is what somebody does to one object of a module's example behind Terraform's back.
type tampering struct {
	object  string // in the cloud
	address string
	edit    func(object map[string]any)
}

// modules are those of the directory modules. One that is not here is one that nobody has tried.
var modules = map[string]tampering{
	"state-backend": {
		object: "aws_s3_bucket_versioning/acme-terraform-states", address: "module.state.aws_s3_bucket_versioning.this",
		edit: func(o map[string]any) { o["versioning_configuration"] = []any{map[string]any{"status": "Suspended"}} },
	},
	"runner-roles": {
		object: "aws_iam_role/plumbline-apply", address: "module.roles.aws_iam_role.apply",
		edit: func(o map[string]any) { delete(o, "permissions_boundary") },
	},
	"codecommit-events": {
		object: "aws_cloudwatch_event_rule/plumbline-codecommit-comment", address: `module.events.aws_cloudwatch_event_rule.this["comment"]`,
		edit: func(o map[string]any) { o["event_pattern"] = `{"source":["aws.codecommit"]}` },
	},
	"plumbline-ecs": {
		object: "aws_db_instance/*", address: "module.plumbline.aws_db_instance.this",
		edit: func(o map[string]any) { o["publicly_accessible"] = true },
	},
}

// TestModules installs the example of every module on a simulated AWS with the true provider's schemas, holds what it plans and what it has made
// against the starter policies, finds what somebody changed, and takes all of it away again.
func TestModules(t *testing.T) {
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	mirror := testenv.SimulatedAWS(t)
	found, err := filepath.Glob("../../modules/*/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range found {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	if want := slices.Sorted(maps.Keys(modules)); !slices.Equal(names, want) {
		t.Fatalf("there are modules %q, and %q are tried", names, want)
	}
	for _, engine := range testenv.Engines(t) {
		for _, name := range names {
			t.Run(engine.Name+"/"+name, func(t *testing.T) {
				t.Parallel()
				livesAndDies(t, engine, mirror, name, modules[name])
			})
		}
	}
}

func livesAndDies(t *testing.T, engine testenv.Engine, mirror, name string, d tampering) {
	cloud := filepath.Join(tempDir(t), "cloud")
	s := newStack(t, engine, name, mirror, "CLOUDSIM_DIR="+cloud)
	if err := os.CopyFS(s.dir, checkedIn{os.DirFS(filepath.Join("../../modules", name))}); err != nil {
		t.Fatal(err)
	}
	s.run("fmt", "-check", "-recursive", "-diff")
	s.run("init", "-input=false", "-backend=false")
	s.run("validate")
	s.run("test")

	s.dir = filepath.Join(s.dir, "examples", "complete")
	s.run("init", "-input=false")
	file := filepath.Join(tempDir(t), "plan")
	s.run("plan", "-input=false", "-out="+file)
	s.allowed(s.run("show", "-json", file))
	s.run("apply", "-input=false", file)
	if code := s.code("plan", "-input=false", "-detailed-exitcode"); code != 0 {
		t.Errorf("the second plan ends with %d, want 0: nothing to do", code)
	}
	s.allowed(made(t, cloud))
	switch name {
	case "plumbline-ecs":
		s.configured()
	case "runner-roles":
		trusts(t, read(t, object(t, cloud, "aws_iam_role/plumbline-plan")), read(t, object(t, cloud, "aws_iam_role/plumbline-apply")))
	}

	editObject(t, cloud, d.object, d.edit)
	if code := s.code("plan", "-input=false", "-detailed-exitcode", "-out="+file); code != 2 {
		t.Errorf("after %s was changed the plan ends with %d, want 2", d.object, code)
	}
	p, err := tfplan.Read(bytes.NewReader(s.run("show", "-json", file)), tfplan.Options{Key: []byte("any")})
	if err != nil {
		t.Fatal(err)
	}
	shows(t, p.Drift, d.address, plumbline.ActionUpdate, plumbline.Attribute{})

	s.run("destroy", "-input=false", "-auto-approve")
	if left, err := filepath.Glob(filepath.Join(cloud, "aws", "*", "*.json")); err != nil || len(left) > 0 {
		t.Errorf("left after all was destroyed: %q, %v", left, err)
	}
}

// checkedIn hides what an engine leaves behind when somebody tries a module by hand.
type checkedIn struct{ fs.FS }

func (c checkedIn) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(c.FS, name)
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".terraform") || strings.HasPrefix(e.Name(), "terraform.tfstate")
	}), err
}

// code runs the engine and returns how it ends, where more than one end is a good one.
func (s *stack) code(args ...string) int {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.engine.Path, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code == 0 || code == 2 {
		return code
	}
	s.t.Fatalf("%s %s: %v\n%s", s.engine.Name, strings.Join(args, " "), err, tail(string(out), 4000))
	return 0
}

// allowed holds a plan against the starter set.
func (s *stack) allowed(plan []byte) {
	s.t.Helper()
	rules, err := policy.Load([]string{"../../examples/policies"})
	if err != nil {
		s.t.Fatal(err)
	}
	findings, err := rules.Evaluate(context.WithoutCancel(s.t.Context()), bytes.NewReader(plan), plumbline.Facts{
		Kind: plumbline.KindDeploy, Repository: "infra", Environment: "production", Stack: s.name, Directory: s.name, Branch: "main",
		Commit: "8f31c2d", By: "poll", Time: time.Date(2026, 7, 8, 9, 0, 0, 0, time.UTC), // a Wednesday
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range findings {
		// What AWS has yet to name is looked at when it has been made.
		if f.Level != plumbline.PolicyWarn || !strings.Contains(f.Message, "is not known before it is applied") {
			s.t.Errorf("%s: %s: %s", f.Level, f.Address, f.Message)
		}
	}
}

// made is what lies in the cloud, as a plan that has just made it all: nothing in it is unknown.
func made(t testing.TB, cloud string) []byte {
	t.Helper()
	type change struct {
		Actions []string       `json:"actions"`
		Before  map[string]any `json:"before"`
		After   map[string]any `json:"after"`
		Unknown map[string]any `json:"after_unknown"`
	}
	type resource struct {
		Address string `json:"address"`
		Mode    string `json:"mode"`
		Type    string `json:"type"`
		Change  change `json:"change"`
	}
	paths, err := filepath.Glob(filepath.Join(cloud, "aws", "*", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing in the cloud: %v", err)
	}
	var all []resource
	for _, path := range paths {
		r := resource{Mode: "managed", Type: filepath.Base(filepath.Dir(path)), Change: change{Actions: []string{"create"}, Unknown: map[string]any{}}}
		r.Address = r.Type + "." + strings.TrimSuffix(filepath.Base(path), ".json")
		if err := json.Unmarshal([]byte(read(t, path)), &r.Change.After); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, r)
	}
	b, err := json.Marshal(map[string]any{"format_version": "1.2", "resource_changes": all})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// configured reads what the module plumbline-ecs lays before Plumbline as Plumbline does.
func (s *stack) configured() {
	s.t.Helper()
	var server string
	if err := json.Unmarshal(s.run("output", "-json", "server"), &server); err != nil {
		s.t.Fatal(err)
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg, err := config.Parse(map[string][]byte{
		filepath.Join(dir, "server.hcl"):    []byte(server),
		filepath.Join(dir, "plumbline.hcl"): []byte(read(s.t, filepath.Join(dir, "plumbline.hcl"))),
	}, config.System{
		Getenv: func(name string) (string, bool) { return "planted-" + strings.ToLower(name), true },
		Stat:   os.Stat, ReadFile: os.ReadFile,
	})
	if err != nil {
		s.t.Fatalf("Plumbline would not start with what the module has written: %v\n%s", err, server)
	}
	if cfg.OIDC == nil || cfg.Server.Artifacts == nil || !strings.HasPrefix(cfg.Server.EncryptionKey, "arn:aws:kms:") || cfg.Server.Listen != "0.0.0.0:8080" || !strings.HasPrefix(cfg.Server.Database, "postgres://plumbline:") {
		s.t.Errorf("the server would be %+v", cfg.Server)
	}
}
