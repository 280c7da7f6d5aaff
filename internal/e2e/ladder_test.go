package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

const ladderConfig = `
server {
  listen   = "127.0.0.1:0"
  data_dir = "@DIR@/data"
  workers  = 2
}
terraform {
  engine  = "@ENGINE@"
  install = "path"
  providers {
    mirror = "@MIRROR@"
  }
}
forge "git" "local" {
  url = "file://@DIR@"
}
repository "infra" {
  forge   = "local"
  project = "infra.git"
  poll    = "@every 1s"

  environment "production" {
    branch = "main"
    apply  = "automatic"
    vars   = { world = "@DIR@/world" }

    drift {
      schedule  = "@daily"
      remediate = "apply"

      apply_only {
        actions     = ["create"]
        types       = ["local_file"]
        max_changes = 1
        per_day     = 2
      }
    }
  }
}
`

// TestLadder has files changed behind Git's back: one is put right without asking, two at once are not, and no third one on the same day.
func TestLadder(t *testing.T) {
	engine := testenv.Engines(t)[0]
	dir := tempDir(t)
	remote := filepath.Join(dir, "infra.git")
	testenv.Git(t, dir, "init", "--quiet", "--bare", "--initial-branch=main", remote)
	two := simple(dir, "two", "1") + "resource \"local_file\" \"y\" {\n  filename = \"${var.world}/too\"\n  content  = \"1\"\n}\n"
	testenv.Push(t, remote, testenv.Change{Branch: "main", Files: map[string]string{
		"live/one/main.tf": simple(dir, "one", "1"), "live/two/main.tf": two, "live/three/main.tf": simple(dir, "three", "1"), "live/four/main.tf": simple(dir, "four", "1"),
	}})
	write(t, filepath.Join(dir, "plumbline.hcl"), strings.NewReplacer("@DIR@", dir, "@ENGINE@", engine.Name, "@MIRROR@", testenv.ProviderMirror(t)).Replace(ladderConfig))
	d := start(t, dir, environ(engine), "serve", "--config", "plumbline.hcl")
	d.await("kind=drift", "production/live/four", plumbline.StatePlanned)
	d.must("env", "deploy", "infra/production")
	stacks := []string{"live/one", "live/two", "live/three", "live/four"}
	for _, s := range stacks {
		d.await("kind=deploy", "production/"+s, plumbline.StateApplied)
	}
	deployed := d.states("kind=deploy")
	world := func(name string) string { return filepath.Join(dir, "world", name) }
	check := func(stack string) {
		t.Helper()
		if out, code := d.cli("drift", "check", "infra/production", stack); code != 3 {
			t.Fatalf("drift check %s: exit code %d\n%s", stack, code, out)
		}
	}
	right := func(stack, name string) {
		t.Helper()
		d.eventually(stack+" is looked at after it was put right", time.Minute, func() error {
			run := d.states("kind=drift")["production/"+stack]
			if run.State != plumbline.StateClean {
				return fmt.Errorf("run %s (%s) is %s", run.ID, run.Because, run.State)
			}
			return nil
		})
		if got := read(t, world(name)); got != "1" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	waits := func(stack, why string) {
		t.Helper()
		d.eventually(stack+" waits for a person", time.Minute, func() error {
			run := d.states("kind=deploy")["production/"+stack]
			if run.State != plumbline.StateAwaiting {
				return fmt.Errorf("run %s is %s", run.ID, run.State)
			}
			return nil
		})
		run := d.states("kind=deploy")["production/"+stack]
		if out := d.must("why", run.ID.String()); !strings.Contains(d.must("runs", "show", run.ID.String())+out, why) {
			t.Errorf("run %s does not say %q:\n%s", run.ID, why, out)
		}
	}
	write(t, world("one"), "hacked\n")
	check("live/one")
	right("live/one", "one")
	if run := d.states("kind=deploy")["production/live/one"]; run.ID == deployed["production/live/one"].ID || run.State != plumbline.StateApplied {
		t.Errorf("%s is put right by run %s, which is %s", run.Stack, run.ID, run.State)
	}
	if out := d.must("audit", "list"); !strings.Contains(out, "without asking by remediate = apply of production") {
		t.Errorf("the audit log does not tell:\n%s", out)
	}

	write(t, world("two"), "hacked\n")
	if err := os.Remove(world("too")); err != nil {
		t.Fatal(err)
	}
	check("live/two")
	waits("live/two", "2 resources differ, and max_changes is 1")

	if err := os.Remove(world("three")); err != nil {
		t.Fatal(err)
	}
	check("live/three")
	right("live/three", "three")
	write(t, world("four"), "hacked\n")
	check("live/four")
	waits("live/four", "production was put right without asking 2 times within 24 hours, and per_day is 2")
	run := d.states("kind=deploy")["production/live/four"]
	d.must("runs", "approve", run.ID.String(), "--digest", run.Plan.Digest)
	right("live/four", "four")

	// By hand, what waits has nothing to do any more.
	write(t, world("two"), "1")
	write(t, world("too"), "1")
	if out, code := d.cli("drift", "check", "infra/production", "live/two"); code != 0 {
		t.Errorf("mended by hand: exit code %d\n%s", code, out)
	}
	d.await("kind=deploy", "production/live/two", plumbline.StateCanceled)
}
