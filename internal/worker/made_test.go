package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestMadeOf: whatever an apply would read tells two plans of the same changes apart, and nothing else does.
func TestMadeOf(t *testing.T) {
	spec := plumbline.StackSpec{Dir: "live/net", Reaches: []plumbline.Reach{
		{Path: "live/net", Kind: plumbline.PathDir}, {Path: "modules/vpc", Kind: plumbline.PathDir}, {Path: "shared/a.json", Kind: plumbline.PathFile},
		{Path: "data/*.json", Kind: plumbline.PathGlob}, {Path: "not/there.tfvars", Kind: plumbline.PathFile},
	}}
	base := map[string]string{
		"live/net/main.tf": `module "vpc" {}`, "live/net/.terraform.lock.hcl": "v1", "live/net/templates/x.tpl": "x", "modules/vpc/main.tf": "#", "shared/a.json": "{}",
		"data/b.json": "{}", "docs/README.md": "#", "scripts/deploy.sh": "true",
	}
	sum := func(change map[string]string) string {
		t.Helper()
		src := t.TempDir()
		for _, files := range []map[string]string{base, change} {
			for name, text := range files {
				name = filepath.Join(src, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		s, err := madeOf("c", src, spec)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := sum(nil)
	same := map[string]map[string]string{
		"again": nil, "a file that nothing of it reads": {"docs/README.md": "# 2"}, "another script, which nothing runs": {"scripts/deploy.sh": "false"},
		"what init leaves": {"live/net/.terraform/environment": "x", "live/net/.terraform/providers/p": "1", "live/net/.terraform/modules/m/.git/HEAD": "x"},
	}
	for name, change := range same {
		if sum(change) != want {
			t.Errorf("%s counts", name)
		}
	}
	for name, change := range map[string]map[string]string{
		"the stack": {"live/net/main.tf": "#"}, "the lock file": {"live/net/.terraform.lock.hcl": "v2"}, "a template below it": {"live/net/templates/x.tpl": "y"},
		"a module": {"modules/vpc/main.tf": "##"}, "a file below a module": {"modules/vpc/files/x": "1"}, "a file it names": {"shared/a.json": "[]"},
		"a file of a glob": {"data/c.json": "{}"}, "a module from elsewhere": {"live/net/.terraform/modules/m/main.tf": "#"}, "a state that is committed": {"live/net/x.tfstate": "1"},
	} {
		if sum(change) == want {
			t.Errorf("%s does not count", name)
		}
	}
	program := map[string]string{"live/net/run.tf": `resource "terraform_data" "a" { provisioner "local-exec" { command = "../../scripts/deploy.sh" } }`}
	with := sum(program)
	program["scripts/deploy.sh"] = "false"
	if sum(program) == with {
		t.Error("the script that a provisioner runs does not count")
	}
	elsewhere := map[string]string{"live/net/.terraform/modules/m/main.tf": "data external x {\n program = [\"../../scripts/deploy.sh\"]\n}"}
	with = sum(elsewhere)
	elsewhere["scripts/deploy.sh"] = "false"
	if sum(elsewhere) == with {
		t.Error("the script that a module from elsewhere runs does not count")
	}
	if s, err := madeOf("", t.TempDir(), spec); s != "" || err != nil {
		t.Errorf("without a key: %q %v", s, err)
	}
}
