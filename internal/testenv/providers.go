package testenv

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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
// CLOUDSIM_DIR names, and hashicorp/random 3.7.2. Its first call builds it, which takes ten seconds or, with nothing
// downloaded, a minute; from then on it lies in the cache. Without the source, which is beside the checkout and not part
// of it, the test is skipped.
func SimulatedAWS(t testing.TB) (mirror string) {
	t.Helper()
	source, err := cloudsimSource()
	if err != nil {
		unavailable(t, "no simulated AWS to test with: %v", err)
	}
	mirror, err = cloudsim(source)
	if err != nil {
		t.Fatalf("build %s: %v", source, err)
	}
	return mirror
}

// cloudsimSource finds ../shared/cloudsim, seen from the top of the checkout.
func cloudsimSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the test does not run in the checkout")
		}
		dir = parent
	}
	source := filepath.Join(filepath.Dir(dir), "shared", "cloudsim")
	_, err = os.Stat(filepath.Join(source, "mirror.sh"))
	return source, err
}

var cloudsimOnce struct {
	sync.Once
	mirror string
	err    error
}

// cloudsim returns the mirror made of that source; the first call of this process makes it, unless it is in the cache.
func cloudsim(source string) (string, error) {
	cloudsimOnce.Do(func() { cloudsimOnce.mirror, cloudsimOnce.err = makeCloudsim(source) })
	return cloudsimOnce.mirror, cloudsimOnce.err
}

// makeCloudsim runs the source's own script. The result appears in the cache whole or not at all, under a name that
// tells what it was made of; of two processes that make it at once, the later one's is dropped.
func makeCloudsim(source string) (_ string, err error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	sum, err := hashTree(source)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "cloudsim", sum)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), ".build-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	cmd := exec.Command(filepath.Join(source, "mirror.sh"), filepath.Join(fresh, "mirror"))
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CLOUDSIM_PROVIDERS=aws 6.20.0\nrandom 3.7.2")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mirror.sh: %w\n%s", err, out)
	}
	// What the script says of its own directory is about to be wrong.
	if err := os.Remove(filepath.Join(fresh, "mirror", "terraformrc")); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(fresh, "mirror"), dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}

// hashTree hashes names and contents of the files below dir.
func hashTree(dir string) (string, error) {
	h := sha256.New()
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%x %s\n", sha256.Sum256(b), path)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}
