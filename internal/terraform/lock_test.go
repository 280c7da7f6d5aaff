package terraform

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestLocked(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want map[string]string
	}{
		"two": {
			"provider \"registry.terraform.io/hashicorp/aws\" {\n  version     = \"6.2.0\"\n  constraints = \"~> 6.0\"\n  hashes = [\"h1:x\"]\n}\nprovider \"registry.terraform.io/hashicorp/random\" {\n  version = \"3.7.2\"\n}\n",
			map[string]string{"registry.terraform.io/hashicorp/aws": "6.2.0", "registry.terraform.io/hashicorp/random": "3.7.2"},
		},
		"broken":         {"provider \"a\" {\n version = ", nil},
		"no text":        {"provider \"a\" {\n version = 6\n}\n", nil},
		"a computed one": {"provider \"a\" {\n version = file(\"/etc/passwd\")\n}\n", nil},
		"something else": {"module \"a\" {\n version = \"1.0\"\n}\n", nil},
		"empty":          {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ".terraform.lock.hcl"), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Locked(dir)
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
	if got, err := Locked(t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("without a file: %v, %v", got, err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".terraform.lock.hcl"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Locked(dir); err != nil || len(got) != 0 {
		t.Errorf("a directory: %v, %v", got, err)
	}
}
