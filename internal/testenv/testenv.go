// Package testenv finds or starts the real programs that tests run against.
//
// Nothing here needs a server running beforehand. A server is started once per test process, on its first use, and is
// gone with its files when that process ends, however it ends. Programs that have to be built first come from the cache
// that .ci/tools fills ("make tools", "make e2e").
//
// Environment:
//
//	PLUMBLINE_CACHE          the cache of .ci/tools; default $XDG_CACHE_HOME/plumbline or ~/.cache/plumbline
//	PLUMBLINE_REQUIRE_ALL=1  a missing program fails the test instead of skipping it
//	PLUMBLINE_E2E=1          tests that need Gitea or MinIO run
//	PLUMBLINE_TEST_POSTGRES  URL of a PostgreSQL server to use instead of a private one
package testenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"golang.org/x/mod/semver"
)

// leastTerraform is the oldest Terraform that Plumbline supports.
const leastTerraform = "1.11.0"

// An Engine is a program that Plumbline can plan and apply with.
type Engine struct {
	Name    string // "terraform" or "tofu", as in the configuration
	Path    string // absolute
	Version string // "1.11.4"
}

// Engines returns the engines of this machine, Terraform first: both from PATH, OpenTofu also from the cache. It fails
// the test when there is none, since every installation of Plumbline has one.
func Engines(t testing.TB) []Engine {
	t.Helper()
	found, err := engines()
	if err != nil {
		t.Fatalf("no engine to test with (run make tools): %v", err)
	}
	return slices.Clone(found)
}

var engines = sync.OnceValues(func() ([]Engine, error) {
	var found []Engine
	path, err := exec.LookPath("terraform")
	if err == nil {
		var e Engine
		if e, err = engine("terraform", path); err == nil && semver.Compare("v"+e.Version, "v"+leastTerraform) < 0 {
			err = fmt.Errorf("%s is %s, want %s or newer", path, e.Version, leastTerraform)
		}
		if err == nil {
			found = append(found, e)
		}
	}
	path, tofuErr := exec.LookPath("tofu")
	if tofuErr != nil {
		path, tofuErr = cached("tofu")
	}
	if tofuErr == nil {
		var e Engine
		if e, tofuErr = engine("tofu", path); tofuErr == nil {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		return nil, errors.Join(err, tofuErr)
	}
	return found, nil
})

// engine asks the program at path for its version.
func engine(name, path string) (Engine, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Engine{}, err
	}
	cmd := exec.Command(path, "version", "-json")
	// Whoever runs the tests may have settings of their own, which may even be missing: tofu then warns before its JSON.
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := cmd.Output()
	if err != nil {
		return Engine{}, fmt.Errorf("%s version: %w", path, err)
	}
	var v struct {
		Version string `json:"terraform_version"` // OpenTofu kept the name
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return Engine{}, fmt.Errorf("%s version: %w", path, err)
	}
	return Engine{Name: name, Path: path, Version: v.Version}, nil
}

// ProviderMirror returns a filesystem mirror that holds the genuine hashicorp/local provider, for Terraform and for
// OpenTofu. It fails the test when the mirror is not there. Treat it as read-only: other processes use it.
func ProviderMirror(t testing.TB) string {
	t.Helper()
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "providers")
	if _, err := os.Stat(filepath.Join(dir, "registry.terraform.io", "hashicorp", "local")); err != nil {
		t.Fatalf("no provider to test with (run make tools): %v", err)
	}
	return dir
}

// unavailable ends a test that needs what this machine lacks: as skipped, or as failed where everything is required.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// cacheDir is where .ci/tools installs; the rule is the same as there.
func cacheDir() (string, error) {
	if dir := os.Getenv("PLUMBLINE_CACHE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "plumbline"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("locate the cache of .ci/tools: %w", err)
	}
	return filepath.Join(home, ".cache", "plumbline"), nil
}

// cached returns the newest program of that name in the cache.
func cached(name string) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	pattern := filepath.Join(dir, name, "*", name)
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", pattern, err)
	}
	if len(paths) == 0 {
		return "", fmt.Errorf("%s: %w", pattern, os.ErrNotExist)
	}
	return slices.MaxFunc(paths, func(a, b string) int {
		return semver.Compare("v"+filepath.Base(filepath.Dir(a)), "v"+filepath.Base(filepath.Dir(b)))
	}), nil
}
