package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// plainForge makes a bare repository and the configuration's words for it.
func plainForge(t *testing.T, dir string, files map[string]string) (remote, forge string) {
	remote = filepath.Join(dir, "git", "infra.git")
	if err := os.MkdirAll(remote, 0o755); err != nil {
		t.Fatal(err)
	}
	testenv.Git(t, remote, "init", "-q", "--bare", "--initial-branch=main")
	if files != nil {
		testenv.Push(t, remote, testenv.Change{Branch: "main", Files: files})
	}
	return remote, fmt.Sprintf("forge \"git\" \"forge\" {\n  url = \"file://%s/git\"\n}\n", dir)
}

// TestKillDaemonInApply kills the daemon with -9 in the middle of an apply of 20 s: the apply finishes, the restarted daemon re-adopts
// it, the state is whole, its lock is released, nothing was made twice, the note and the statuses say applied.
func TestKillDaemonInApply(t *testing.T) {
	mirror := testenv.ProviderMirror(t)
	for _, engine := range testenv.Engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			dir := tempDir(t)
			write(t, filepath.Join(dir, "world/.keep"), "")
			remote, forge := plainForge(t, dir, map[string]string{"lab/slow/main.tf": chained(dir, 1)})
			write(t, filepath.Join(dir, "plumbline.hcl"), fleetConfig(dir, "sqlite:"+dir+"/data/plumbline.db", engine.Name, mirror, forge, "infra.git"))
			env := environ(engine, "DB_PASSWORD="+password, "DB_PIN="+pin)
			d := start(t, dir, env, "serve", "--config", "plumbline.hcl")
			d.await("kind=drift", "lab/lab/slow", plumbline.StatePlanned)

			head := testenv.Push(t, remote, testenv.Change{Branch: "propose/main/slow", From: "main", Files: map[string]string{"lab/slow/main.tf": chained(dir, 20)}})
			proposal := d.await("kind=proposal", "lab/lab/slow", plumbline.StatePlanned)
			if proposal.Commit != head {
				t.Fatalf("plans %s, want %s", proposal.Commit, head)
			}
			testenv.Git(t, remote, "update-ref", "refs/heads/main", head)
			run := d.await("kind=deploy", "lab/lab/slow", plumbline.StateApplying)
			made := filepath.Join(dir, "world/made")
			eventually(t, "the apply is half-way", time.Minute, func() error {
				if n := strings.Count(readIf(made), "\n"); n < 5 {
					return fmt.Errorf("%d made", n)
				}
				return nil
			})
			d.kill()
			at := strings.Count(readIf(made), "\n")
			if at >= 20 {
				t.Fatalf("the apply had finished before the kill (%d made)", at)
			}
			eventually(t, "the apply goes on without a daemon", time.Minute, func() error {
				if n := strings.Count(readIf(made), "\n"); n <= at {
					return fmt.Errorf("%d made", n)
				}
				return nil
			})
			d.again(env)
			done := d.await("kind=deploy", "lab/lab/slow", plumbline.StateApplied)
			if done.ID != run.ID || done.Attempt != run.Attempt || !done.Started.Equal(run.Started) {
				t.Errorf("not the same apply: %+v, then %+v", run, done)
			}
			if lines := strings.Split(strings.TrimSpace(readIf(made)), "\n"); len(lines) != 20 {
				t.Errorf("%d were made, want 20 once each:\n%s", len(lines), strings.Join(lines, "\n"))
			}
			if n := strings.Count(read(t, filepath.Join(dir, "state/slow.tfstate")), `"index_key"`) + strings.Count(read(t, filepath.Join(dir, "state/slow.tfstate")), `"type": "terraform_data"`); n < 20 {
				t.Errorf("the state is not whole: %d", n)
			}
			if _, err := os.Stat(filepath.Join(dir, "state/.slow.tfstate.lock.info")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the lock is not released: %v", err)
			}
			if log := d.must("runs", "logs", done.ID.String()); strings.Count(log, "Apply complete") != 1 {
				t.Errorf("the log is not whole, or there twice:\n%s", log)
			}
			eventually(t, "the note says applied", time.Minute, func() error {
				if note := testenv.Git(t, remote, "notes", "--ref=plumbline", "show", head); !strings.Contains(note, "applied") {
					return errors.New(note)
				}
				return nil
			})
		})
	}
}

// makeSlowly is the verb under which this test's own program takes a second to leave a line in a file: the slow thing that Terraform makes.
const makeSlowly = "make-slowly"

func slowly(args string) error {
	path, line, _ := strings.Cut(args, " ")
	<-time.After(time.Second)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// chained is a stack whose n resources are made one after the other, a second each.
func chained(dir string, n int) string {
	var b strings.Builder
	b.WriteString(backend(dir, "slow") + "variable \"world\" { type = string }\n")
	for i := range n {
		after := ""
		if i > 0 {
			after = fmt.Sprintf("  depends_on = [terraform_data.x%d]\n", i-1)
		}
		fmt.Fprintf(&b, `resource "terraform_data" "x%d" {
  input = "chained"
%s  provisioner "local-exec" {
    command     = "${var.world}/made x%d"
    interpreter = [%q, %q]
  }
}
`, i, after, i, os.Args[0], makeSlowly)
	}
	return b.String()
}

func readIf(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// TestKillEverythingInApply kills the daemon and the runner: what was applied by then is not certain, so that the run is interrupted, is never
// repeated by itself, and can be retried by a person.
func TestKillEverythingInApply(t *testing.T) {
	engine := testenv.Engines(t)[0]
	dir := tempDir(t)
	write(t, filepath.Join(dir, "world/.keep"), "")
	_, forge := plainForge(t, dir, map[string]string{"lab/slow/main.tf": chained(dir, 8)})
	write(t, filepath.Join(dir, "plumbline.hcl"), fleetConfig(dir, "sqlite:"+dir+"/data/plumbline.db", engine.Name, testenv.ProviderMirror(t), forge, "infra.git"))
	env := environ(engine, "DB_PASSWORD="+password, "DB_PIN="+pin)
	d := start(t, dir, env, "serve", "--config", "plumbline.hcl")
	d.await("kind=drift", "lab/lab/slow", plumbline.StatePlanned)
	d.must("env", "deploy", "infra/lab", "lab/slow")
	run := d.await("kind=deploy", "lab/lab/slow", plumbline.StateApplying)
	eventually(t, "something is made", time.Minute, func() error {
		if readIf(filepath.Join(dir, "world/made")) == "" {
			return errors.New("nothing yet")
		}
		return nil
	})
	d.kill()
	for _, pid := range processesWith(t, dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	made := strings.Count(readIf(filepath.Join(dir, "world/made")), "\n")
	d.again(env)
	d.await("kind=deploy", "lab/lab/slow", plumbline.StateInterrupted)
	if out := d.must("runs", "show", run.ID.String()); !strings.Contains(out, "terraform_data.x0") {
		t.Errorf("runs show does not say what was made:\n%s", out)
	}
	if out := d.must("why", run.ID.String()); !strings.Contains(out, "retry") {
		t.Errorf("why does not say what to do:\n%s", out)
	}
	if n := strings.Count(readIf(filepath.Join(dir, "world/made")), "\n"); n > made+1 {
		t.Errorf("it was repeated: %d made, then %d", made, n)
	}
	d.must("runs", "retry", run.ID.String())
	d.await("kind=deploy", "lab/lab/slow", plumbline.StateApplied)
}

// processesWith lists the processes whose command line names the directory, but for the daemon of the test itself.
func processesWith(t *testing.T, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == os.Getpid() {
			continue
		}
		if strings.Contains(readIf(filepath.Join("/proc", e.Name(), "cmdline")), dir+"/data/work/") || strings.Contains(link(e.Name()), dir+"/data/work/") {
			out = append(out, pid)
		}
	}
	return out
}

func link(pid string) string {
	s, err := os.Readlink(filepath.Join("/proc", pid, "cwd"))
	if err != nil {
		return ""
	}
	return s
}
