package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// TestExamples plans every stack of the example repositories, in every environment that has it, with the variables of that environment, and holds the
// plans against the starter policies.
func TestExamples(t *testing.T) {
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	mirror := testenv.SimulatedAWS(t)
	engine := testenv.Engines(t)[0]
	for name, want := range map[string]int{"branches": 6, "paths": 3, "accounts": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join("../../examples/aws", name)
			layout, err := discover.Stacks(t.Context(), checkedIn{os.DirFS(root)}, discover.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(layout.Findings) > 0 {
				t.Errorf("findings: %v", layout.Findings)
			}
			planned := 0
			for _, env := range example(t, root) {
				for _, spec := range layout.Stacks {
					if len(spec.Broken) > 0 {
						t.Errorf("%s: %v", spec.Name, spec.Broken)
					}
					if env.Contains(spec.Dir) {
						s := inExample(t, engine, mirror, root, spec.Dir, given(t, env.Vars))
						s.allowed(s.shown())
						planned++
					}
				}
			}
			if planned != want {
				t.Errorf("%d stacks of all environments were planned, want %d", planned, want)
			}
		})
	}
	// By hand, in every account.
	t.Run("bootstrap", func(t *testing.T) {
		t.Parallel()
		s := inExample(t, engine, mirror, "../..", "examples/aws/bootstrap", map[string]json.RawMessage{"account": []byte(`"111122223333"`), "name": []byte(`"development"`)})
		s.allowed(s.shown())
	})
}

// example is the environments of an example's configuration.
func example(t *testing.T, root string) []plumbline.Environment {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "plumbline.hcl")
	cfg, err := config.Parse(map[string][]byte{file: []byte(read(t, file))}, config.System{
		Getenv: func(name string) (string, bool) { return "planted-" + name, true }, Stat: os.Stat,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Repositories[0].Environments
}

func given(t *testing.T, vars []plumbline.Variable) map[string]json.RawMessage {
	t.Helper()
	out := map[string]json.RawMessage{}
	for _, v := range vars {
		out[v.Name] = json.RawMessage(v.JSON.Reveal())
	}
	return out
}

// inExample lays out a copy of a repository whose stack in dir keeps its state beside it.
func inExample(t *testing.T, engine testenv.Engine, mirror, root, dir string, vars map[string]json.RawMessage) *stack {
	t.Helper()
	s := newStack(t, engine, dir, mirror, "CLOUDSIM_DIR="+filepath.Join(tempDir(t), "cloud"))
	if account, ok := vars["account"]; ok {
		s.set("CLOUDSIM_ACCOUNT", strings.Trim(string(account), `"`))
	}
	for _, part := range []string{dir, "modules"} {
		from := filepath.Join(root, part)
		if _, err := os.Stat(from); part == "modules" && err != nil {
			continue // it has none
		}
		if err := os.CopyFS(filepath.Join(s.dir, part), checkedIn{os.DirFS(from)}); err != nil {
			t.Fatal(err)
		}
	}
	s.dir = filepath.Join(s.dir, filepath.FromSlash(dir))
	write(t, filepath.Join(s.dir, "backend_override.tf"), "terraform {\n  backend \"local\" {}\n}\n")
	b, err := json.Marshal(vars)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, "vars.tfvars.json"), string(b))
	s.run("fmt", "-check", "-diff", ".")
	s.run("init", "-input=false")
	s.run("validate")
	return s
}

// shown is the plan's JSON.
func (s *stack) shown() []byte {
	s.t.Helper()
	file := filepath.Join(tempDir(s.t), "plan")
	s.run("plan", "-input=false", "-var-file=vars.tfvars.json", "-out="+file)
	return s.run("show", "-json", file)
}
