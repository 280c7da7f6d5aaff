//go:build linux

package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/testenv"
)

// A file of tests is run only if nothing in it can make anything.
func TestTestFiles(t *testing.T) {
	t.Parallel()
	const applies = "run \"a\" {\n}\n"
	const mock = "mock_provider \"local\" {}\n"
	const file = "resource \"local_file\" \"a\" {}\n"
	for name, c := range map[string]struct {
		test   string
		as     string // default main.tftest.hcl
		files  map[string]string
		engine string
		why    string // "": it is run; "-": it is none
	}{
		"plans":                 {test: "run \"a\" {\n  command = plan\n}\n"},
		"plans, in JSON":        {as: "main.tftest.json", test: `{"run":{"a":{"command":"plan"}}}`},
		"applies by default":    {test: applies, files: map[string]string{"main.tf": file}, why: `run "a" applies, and there is no mock of the provider hashicorp/local`},
		"applies, in JSON":      {as: "tests/main.tftest.json", test: `{"run":{"a":{}}}`, files: map[string]string{"main.tf": file}, why: `run "a" applies, and there is no mock`},
		"applies":               {test: "run \"a\" {\n  command = apply\n}\n", files: map[string]string{"main.tf": file}, why: `run "a" applies`},
		"one of two applies":    {test: "run \"b\" {\n  command = plan\n}\n" + applies, files: map[string]string{"main.tf": file}, why: `run "a" applies`},
		"a command unheard of":  {test: "run \"a\" {\n  command = \"plan\"\n}\n", files: map[string]string{"main.tf": file}, why: `run "a" applies`},
		"a backend":             {test: "run \"a\" {\n  command = plan\n  backend \"local\" {}\n}\n", why: `run "a" has a state in a backend`},
		"mocked":                {test: mock + applies, files: map[string]string{"main.tf": file}},
		"nothing but a builtin": {test: applies, files: map[string]string{"main.tf": "resource \"terraform_data\" \"a\" {}\n"}},
		"a builtin's provisioner": {test: applies, files: map[string]string{"main.tf": "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" {\n    command = \"x\"\n  }\n}\n"},
			why: "main.tf:1 has a provisioner, which no mock replaces"},
		"a provisioner, in JSON": {test: applies, files: map[string]string{"main.tf.json": `{"resource":{"terraform_data":{"a":{"provisioner":{"local-exec":{"command":"x"}}}}}}`}, why: "has a provisioner"},
		"an action":              {test: mock + applies, files: map[string]string{"main.tf": file + "action \"local_command\" \"a\" {}\n"}, why: "main.tf:2 has an action"},
		"a real provider beside": {test: mock + "provider \"local\" {\n  alias = \"real\"\n}\n" + applies, files: map[string]string{"main.tf": file}, why: `with a provider "local" that is no mock`},
		"handed on":              {test: mock + "run \"a\" {\n  providers = {\n    local = local\n  }\n}\n", files: map[string]string{"main.tf": file}, why: "with providers of its own choice"},
		"another module":         {test: mock + "run \"a\" {\n  module {\n    source = \"./x\"\n  }\n}\n", files: map[string]string{"main.tf": file}, why: "applies another module"},
		"one of two mocked":      {test: mock + applies, files: map[string]string{"main.tf": file + "data \"http\" \"a\" {}\n"}, why: "no mock of the provider hashicorp/http"},
		"an alias not mocked":    {test: mock + applies, files: map[string]string{"main.tf": file + "provider \"local\" {\n  alias = \"west\"\n}\n"}, why: "no mock of the provider local.west"},
		"an alias mocked": {test: mock + "mock_provider \"local\" {\n  alias = \"west\"\n}\n" + applies,
			files: map[string]string{"main.tf": file + "provider \"local\" {\n  alias = \"west\"\n}\n"}},
		"only an alias mocked": {test: "mock_provider \"local\" {\n  alias = \"west\"\n}\n" + applies, files: map[string]string{"main.tf": file}, why: "no mock of the provider hashicorp/local"},
		"a name for another's": {test: "mock_provider \"local\" {}\nmock_provider \"l\" {}\n" + applies,
			files: map[string]string{"main.tf": "terraform {\n  required_providers {\n    l = {\n      source = \"registry.terraform.io/Hashicorp/Local\"\n    }\n    local = {\n      source = \"corp/local\"\n    }\n  }\n}\n" + file}},
		"a name for another's, not mocked": {test: mock + applies,
			files: map[string]string{"main.tf": "terraform {\n  required_providers {\n    l = {\n      source = \"corp/local\"\n    }\n  }\n}\n" + file}, why: "no mock of the provider corp/local"},
		"the other engine's registry": {test: mock + applies,
			files: map[string]string{"main.tf": file, "x.tf": "terraform {\n  required_providers {\n    o = {\n      source = \"registry.opentofu.org/hashicorp/local\"\n    }\n  }\n}\n"}, why: "no mock of the provider registry.opentofu.org/hashicorp/local"},
		"two files disagree": {test: mock + applies, files: map[string]string{"main.tf": "terraform {\n  required_providers {\n    local = {\n      source = \"hashicorp/local\"\n    }\n  }\n}\n" + file,
			"z_override.tf": "terraform {\n  required_providers {\n    local = {\n      source = \"corp/local\"\n    }\n  }\n}\n"}, why: "no mock of the provider corp/local"},
		"what init chose": {test: mock + applies, files: map[string]string{"main.tf": file, ".terraform.lock.hcl": "provider \"registry.terraform.io/corp/other\" {\n  version = \"1.0.0\"\n}\n"},
			why: "no mock of the provider corp/other"},
		"a module's": {test: mock + applies, files: map[string]string{"main.tf": file, "m/main.tf": "resource \"aws_eip\" \"a\" {}\n",
			".terraform/modules/modules.json": `{"Modules":[{"Key":"","Dir":"."},{"Key":"m","Dir":"m"}]}`}, why: "no mock of the provider hashicorp/aws"},
		"a module's own provider": {test: mock + applies, files: map[string]string{"main.tf": file, "m/main.tf": "provider \"local\" {}\n",
			".terraform/modules/modules.json": `{"Modules":[{"Key":"m","Dir":"m"}]}`}, why: "m/main.tf:1 has a provider of its own"},
		"a module that is gone": {test: mock + applies, files: map[string]string{"main.tf": file, ".terraform/modules/modules.json": `{"Modules":[{"Key":"m","Dir":"m"}]}`}, why: "no such file"},
		"modules elsewhere":     {test: mock + applies, files: map[string]string{"main.tf": file + "module \"m\" {\n  source = \"./m\"\n}\n"}, why: "its modules are not where init leaves them"},
		"broken":                {test: "run \"a\" {\n", why: "it cannot be read: "},
		"broken configuration":  {test: mock + applies, files: map[string]string{"main.tf": "resource {\n"}, why: "main.tf cannot be read"},
		"nested":                {test: "x = " + strings.Repeat("[", 500_000), why: "it is too large to be looked at"},
		"of OpenTofu's":         {as: "main.tofutest.hcl", test: goodTests, why: "-"},
		"OpenTofu's":            {as: "main.tofutest.hcl", test: goodTests, engine: terraform.Tofu},
		"hidden":                {as: ".main.tftest.hcl", test: goodTests, why: "-"},
		"elsewhere":             {as: "more/main.tftest.hcl", test: goodTests, why: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			as := c.as
			if as == "" {
				as = "main.tftest.hcl"
			}
			put(t, filepath.Join(dir, as), c.test)
			for name, text := range c.files {
				put(t, filepath.Join(dir, name), text)
			}
			if c.engine == "" {
				c.engine = terraform.Terraform
			}
			got, err := readTests(dir, filepath.Join(dir, ".terraform"), c.engine)
			switch {
			case err != nil:
				t.Fatal(err)
			case c.why == "-":
				if len(got) != 0 {
					t.Errorf("%+v", got)
				}
			case len(got) != 1 || got[0].name != as:
				t.Errorf("%+v", got)
			case (c.why == "") != (got[0].why == "") || !strings.Contains(got[0].why, c.why):
				t.Errorf("why %q, want %q", got[0].why, c.why)
			}
		})
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// OpenTofu runs its own of two files with one name.
func TestTestFilesOfBothEngines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "tests/a.tftest.hcl"), goodTests)
	put(t, filepath.Join(dir, "tests/a.tofutest.hcl"), goodTests)
	for engine, want := range map[string]string{terraform.Terraform: "tests/a.tftest.hcl", terraform.Tofu: "tests/a.tofutest.hcl"} {
		if got, err := readTests(dir, filepath.Join(dir, ".terraform"), engine); err != nil || len(got) != 1 || got[0].name != want {
			t.Errorf("%s: %+v, %v", engine, got, err)
		}
	}
}

// Both engines run what is let through, and nothing real comes of it.
func TestTestFilesMakeNothing(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, testenv.ProviderMirror(t))})
		made := filepath.Join(t.TempDir(), "made")
		config := local + "\nresource \"local_file\" \"a\" {\n  filename = \"" + made + "\"\n  content  = \"x\"\n}\n"
		j := s.proposal(map[string]string{
			"main.tf":                  config,
			"tests/mocked.tftest.hcl":  "mock_provider \"local\" {}\n\nrun \"mocked\" {\n}\n",
			"tests/applies.tftest.hcl": "run \"real\" {\n}\n",
		})
		j.Checks = []plumbline.CheckName{plumbline.CheckTest}
		out, log := s.do(j)
		if verdicts(out.Checks) != "test pass" {
			t.Fatalf("%s\n%s", describe(out), log)
		}
		r := out.Checks[0]
		if r.Text != "1 passed; 1 file is not run, since real resources would be made" || len(r.Findings) != 1 ||
			r.Findings[0].File != "live/net/tests/applies.tftest.hcl" || r.Findings[0].Line != 1 || !strings.Contains(r.Findings[0].Message, "no mock of the provider hashicorp/local") {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(log, `"mocked"... pass`) || strings.Contains(log, `"real"...`) {
			t.Errorf("log:\n%s", log)
		}
		if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a test made something: %v", err)
		}
	})
}
