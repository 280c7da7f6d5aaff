package testenv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// PostgresProvider returns a filesystem mirror that holds the genuine cyrilgdn/postgresql provider, for Terraform and for
// OpenTofu. Without it the test is skipped: it takes its time to build, so only "make e2e" does. Treat it as read-only.
func PostgresProvider(t testing.TB) (mirror string) {
	t.Helper()
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, "providers")
	if _, err := os.Stat(filepath.Join(dir, "registry.terraform.io", "cyrilgdn", "postgresql")); err != nil {
		unavailable(t, "no provider for PostgreSQL to test with (run make e2e): %v", err)
	}
	return dir
}

// SimulatedAWS returns a filesystem mirror that holds a simulated hashicorp/aws 6.20.0, whose cloud is the directory that
// CLOUDSIM_DIR names, and hashicorp/random 3.7.2. When it is not in the cache, .ci/tools builds it, which takes ten seconds or, with
// nothing downloaded, a minute. Without the source, which is beside the checkout and not part of it, the test is
// skipped, even where everything is required: a checkout alone cannot have it.
func SimulatedAWS(t testing.TB) (mirror string) {
	t.Helper()
	mirror, err := cloudsim()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 3:
		t.Skipf("no simulated AWS to test with: %s", bytes.TrimSpace(exit.Stderr))
	case errors.As(err, &exit):
		t.Fatalf("no simulated AWS to test with: %v\n%s", err, exit.Stderr)
	case err != nil:
		t.Fatal(err)
	}
	return mirror
}

var cloudsim = sync.OnceValues(func() (string, error) {
	root, err := Checkout()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(root, ".ci", "tools"), "cloudsim").Output()
	return strings.TrimSpace(string(out)), err
})

// Checkout returns the top of the checkout that the test runs in.
func Checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the test does not run in the checkout")
		}
		dir = parent
	}
}
