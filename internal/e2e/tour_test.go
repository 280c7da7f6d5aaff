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

// TestDemoTour does by itself what the demo's text proposes: a proposal, its note, the merge, the approval, a change behind Terraform's back,
// its discovery and correction, and the way back.
func TestDemoTour(t *testing.T) {
	for _, engine := range testenv.Engines(t) {
		t.Run(engine.Name, func(t *testing.T) { tour(t, engine) })
	}
}

func tour(t *testing.T, engine testenv.Engine) {
	dir := tempDir(t)
	say := func(format string, args ...any) { t.Logf("── "+format, args...) }

	say("plumbline demo: one process, nothing to configure")
	// The demo takes what it finds first: only this engine is on its PATH, as far as a test can tell.
	path := "PATH=" + filepath.Dir(engine.Path) + ":/usr/bin:/bin"
	d := start(t, dir, environ(engine, path), "demo", "--dir", dir, "--listen", "127.0.0.1:0", "--providers", testenv.ProviderMirror(t))
	for _, stack := range []string{"staging/live/monitoring", "production/live/monitoring"} {
		d.await("kind=deploy", stack, plumbline.StateApplied)
	}
	say("five stacks in two environments, in the order of their dependencies:\n%s", d.must("env", "list"))

	clone := filepath.Join(dir, "infra")
	git := func(args ...string) string { t.Helper(); return testenv.Git(t, clone, args...) }

	say("a proposal: a branch propose/env/production/…")
	git("checkout", "-q", "-b", "propose/env/production/bigger", "env/production")
	database := filepath.Join(clone, "live/database/main.tf")
	write(t, database, strings.Replace(read(t, database), `"100"`, `"200"`, 1))
	git("commit", "-q", "-am", "A bigger database")
	git("push", "-q", "origin", "HEAD")
	var note string
	eventually(t, "the note is there", time.Minute, func() error {
		git("fetch", "-q", "origin", "+refs/notes/plumbline:refs/notes/plumbline")
		note = git("log", "-1", "--notes=plumbline")
		if !strings.Contains(note, "database") || !strings.Contains(note, "200") || strings.Contains(note, "⏳") {
			return errors.New(note)
		}
		return nil
	})
	say("git log --notes=plumbline:\n%s", note)

	say("merged, it waits for an approval")
	git("push", "-q", "origin", "HEAD:env/production")
	run := d.await("kind=deploy", "production/live/database", plumbline.StateAwaiting)
	say("plumbline why %s:\n%s", run.ID, d.must("why", run.ID.String()))
	if got := read(t, filepath.Join(dir, "world/production/database/main.conf")); strings.Contains(got, "200") {
		t.Fatalf("applied before anybody approved:\n%s", got)
	}
	say("%s", d.must("runs", "approve", run.ID.String(), "--digest", run.Plan.Digest))
	d.await("kind=deploy", "production/live/database", plumbline.StateApplied)
	if got := read(t, filepath.Join(dir, "world/production/database/main.conf")); !strings.Contains(got, "storage = 200") {
		t.Fatalf("applied, yet:\n%s", got)
	}

	say("somebody edits a resource outside Git")
	zone := filepath.Join(dir, "world/production/dns/zone.conf")
	right := read(t, zone)
	if err := os.WriteFile(zone, []byte("oops\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, code := d.cli("drift", "check", "infra/production", "live/dns")
	if code != 3 {
		t.Fatalf("drift check: exit code %d\n%s", code, out)
	}
	say("plumbline drift list:\n%s", d.must("drift", "list"))
	say("%s", d.must("drift", "ack", "1", "--note", "we are on it"))
	if out := d.must("drift", "show", "1"); !strings.Contains(out, " · acknowledged\n") || !strings.Contains(out, "plumbline env deploy infra/production live/dns") {
		t.Errorf("drift show:\n%s", out)
	}

	say("corrected by deploying what Git says")
	deploy(t, d, "production", []string{"live/dns"}, nil)
	if got := read(t, zone); got != right {
		t.Fatalf("not corrected:\n%s", got)
	}
	if out, code := d.cli("drift", "check", "infra/production", "live/dns"); code != 0 {
		t.Fatalf("drift check after the correction: exit code %d\n%s", code, out)
	}

	report := d.must("drift", "report", "--since", "7d")
	say("plumbline drift report:\n%s", report)
	if !strings.Contains(report, "1 opened, 1 resolved") || !strings.Contains(report, "`deleted outside`: 0 open in 1 stack, 1 opened, 1 resolved") {
		t.Error("it does not tell of what was corrected")
	}

	say("the way back: a proposal that reverts")
	git("checkout", "-q", "-b", "propose/env/production/back", "HEAD")
	git("revert", "--no-edit", "HEAD")
	git("push", "-q", "origin", "HEAD", "HEAD:env/production")
	run = d.await("kind=deploy", "production/live/database", plumbline.StateAwaiting)
	d.must("runs", "approve", run.ID.String(), "--digest", run.Plan.Digest[:12])
	d.await("kind=deploy", "production/live/database", plumbline.StateApplied)
	if got := read(t, filepath.Join(dir, "world/production/database/main.conf")); !strings.Contains(got, "storage = 100") {
		t.Fatalf("rolled back, yet:\n%s", got)
	}
	eventually(t, "both environments are in sync", time.Minute, func() error {
		if out := d.must("env", "list"); strings.Count(out, "in sync") != 2 {
			return fmt.Errorf("env list:\n%s", out)
		}
		return nil
	})
	say("%s", d.must("env", "list"))
}
