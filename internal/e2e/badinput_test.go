package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// TestBadInput throws at one running daemon what repositories can be: each is a clear finding, the daemon lives and goes on with the
// next good commit.
func TestBadInput(t *testing.T) {
	engine := testenv.Engines(t)[0]
	dir := tempDir(t)
	remote, forge := plainForge(t, dir, nil)
	write(t, filepath.Join(dir, "plumbline.hcl"), fleetConfig(dir, "sqlite:"+dir+"/data/plumbline.db", engine.Name, testenv.ProviderMirror(t), forge, "infra.git"))
	d := start(t, dir, environ(engine, "DB_PASSWORD="+password, "DB_PIN="+pin), "serve", "--config", "plumbline.hcl")
	says := func(what string) {
		t.Helper()
		d.eventually(fmt.Sprintf("the daemon says %q", what), time.Minute, func() error {
			d.alive()
			if !strings.Contains(d.output.String(), what) {
				return errors.New("not yet")
			}
			return nil
		})
	}

	// An empty repository.
	says("branch main of infra does not exist")

	// The first commit.
	testenv.Push(t, remote, testenv.Change{Branch: "main", Files: map[string]string{"lab/one/main.tf": simple(dir, "one", "1"), "lab/two/main.tf": simple(dir, "two", "1")}})
	d.await("kind=drift", "lab/lab/one", plumbline.StatePlanned)

	// A symlink out of the tree, a file of 200 MB, beside a good change.
	clone := filepath.Join(dir, "clone")
	testenv.Git(t, dir, "clone", "-q", remote, clone)
	testenv.Git(t, clone, "config", "user.name", "Dev")
	testenv.Git(t, clone, "config", "user.email", "dev@example.com")
	if err := os.Symlink("/etc/passwd", filepath.Join(clone, "lab/one/passwd.tf")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../../etc", filepath.Join(clone, "lab/two/etc")); err != nil {
		t.Fatal(err)
	}
	big, err := os.Create(filepath.Join(clone, "lab/two/big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(200<<20), big.Close()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(clone, "lab/two/main.tf"), simple(dir, "two", "2"))
	testenv.Git(t, clone, "add", "-A")
	testenv.Git(t, clone, "commit", "-q", "-m", "odd files")
	testenv.Git(t, clone, "push", "-q", "origin", "HEAD:main")
	run := d.await("kind=deploy", "lab/lab/two", plumbline.StateApplied)
	if log := d.must("runs", "logs", run.ID.String()); !strings.Contains(log, "left out: lab/two/big.bin") || !strings.Contains(log, "left out: lab/two/etc") {
		t.Errorf("the log does not say what was left out:\n%s", log)
	}
	linked := d.await("kind=deploy", "lab/lab/one", plumbline.StateFailed)
	if out := d.must("runs", "show", linked.ID.String()); !strings.Contains(out, "lab/one/passwd.tf") {
		t.Errorf("the link is no finding:\n%s", out)
	}

	// Refs with odd characters.
	for _, name := range []string{"propose/main/ünï#1%20x", "propose/main/-x", "propose/main/a|b<script>", "feature/$(id)", "propose/main/" + strings.Repeat("x", 180)} {
		testenv.Git(t, clone, "push", "-q", "origin", "HEAD:refs/heads/"+name)
	}
	write(t, filepath.Join(clone, "lab/two/main.tf"), simple(dir, "two", "3"))
	testenv.Git(t, clone, "commit", "-q", "-am", "a proposal of an odd name")
	testenv.Git(t, clone, "push", "-q", "origin", "HEAD:refs/heads/propose/main/ünï#1%20x")
	d.await("kind=proposal", "lab/lab/two", plumbline.StatePlanned)

	// A force-push that takes away the commit everything is based on.
	testenv.Git(t, clone, "checkout", "-q", "--orphan", "fresh")
	write(t, filepath.Join(clone, "lab/two/main.tf"), simple(dir, "two", "4"))
	testenv.Git(t, clone, "rm", "-q", "-f", "--cached", "lab/two/big.bin", "lab/one/passwd.tf", "lab/two/etc")
	testenv.Git(t, clone, "add", "lab/two/main.tf")
	testenv.Git(t, clone, "commit", "-q", "-m", "history rewritten")
	testenv.Git(t, clone, "push", "-q", "-f", "origin", "HEAD:main")
	head := strings.TrimSpace(testenv.Git(t, clone, "rev-parse", "HEAD"))
	d.eventually("the rewritten history is applied", 2*time.Minute, func() error {
		if r := d.states("kind=deploy")["lab/lab/two"]; r.Commit != head || r.State != plumbline.StateApplied {
			return fmt.Errorf("%s is %s", plumbline.Short(r.Commit), r.State)
		}
		return nil
	})

	// The repository disappears, and comes back.
	if err := os.Rename(remote, remote+".away"); err != nil {
		t.Fatal(err)
	}
	says("list refs of infra")
	if err := os.Rename(remote+".away", remote); err != nil {
		t.Fatal(err)
	}
	testenv.Push(t, remote, testenv.Change{Branch: "main", Files: map[string]string{"lab/one/main.tf": simple(dir, "one", "5")}})
	d.await("kind=deploy", "lab/lab/one", plumbline.StateApplied)
	d.alive()
	if strings.Contains(d.output.String(), "panic") {
		t.Error("something panicked")
	}
}
