package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/plumbline/plumbline/examples"
	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func newDemoCmd(o *options) *cobra.Command {
	var dir, providers, listen string
	cmd := &cobra.Command{
		Use:   "demo [--dir DIR]",
		Short: "Try everything on this machine: no forge, no cloud, nothing to configure",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				var err error
				if dir, err = os.MkdirTemp("", "plumbline-demo-"); err != nil {
					return err
				}
			}
			dir, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			if providers != "" {
				if providers, err = filepath.Abs(providers); err != nil {
					return err
				}
			}
			return demo(cmd.Context(), o, dir, providers, listen)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "where everything is kept; default: a new temporary directory")
	cmd.Flags().StringVar(&providers, "providers", "", "a filesystem mirror that has hashicorp/local; default: the registry")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address of the page")
	return cmd
}

// demoConfig is also what a newcomer reads to learn what a configuration looks like.
const demoConfig = `# Written by plumbline demo.

server {
  listen   = %[1]q
  data_dir = "%[2]s/data"
  node     = "demo"
}

terraform {
  engine  = %[3]q
  install = "path"
%[4]s}

forge "git" "local" {
  url = "file://%[2]s/git"
}

repository "infra" {
  forge   = "local"
  project = "infra.git"
  poll    = "@every 2s"

  environment "staging" {
    branch  = "env/staging"
    apply   = "automatic"
    backend = { path = "%[2]s/state/staging/{stack}.tfstate" }
    vars = {
      environment = "staging"
      world       = "%[2]s/world/staging"
      state       = "%[2]s/state/staging"
      password    = env("DEMO_PASSWORD", "correct-horse-battery")
    }
    drift {
      schedule = "@every 1m"
    }
  }

  environment "production" {
    branch  = "env/production"
    apply   = "approval"
    backend = { path = "%[2]s/state/production/{stack}.tfstate" }
    approval {
      expires = "24h"
    }
    vars = {
      environment = "production"
      world       = "%[2]s/world/production"
      state       = "%[2]s/state/production"
      password    = env("DEMO_PASSWORD", "correct-horse-battery")
    }
    drift {
      schedule = "@every 1m"
    }
  }
}
`

func demo(ctx context.Context, o *options, dir, providers, listen string) error {
	engine := ""
	for _, name := range []string{"terraform", "tofu"} {
		if _, err := exec.LookPath(name); err == nil {
			engine = name
			break
		}
	}
	if engine == "" {
		return errors.New("the demo needs terraform or tofu on PATH; `make demo` builds OpenTofu when neither is there")
	}
	if err := demoRepository(ctx, dir); err != nil {
		return err
	}
	mirror := ""
	if providers != "" {
		mirror = fmt.Sprintf("  providers {\n    mirror = %q\n  }\n", providers)
	}
	file := filepath.Join(dir, "plumbline.hcl")
	if err := os.WriteFile(file, fmt.Appendf(nil, demoConfig, listen, dir, engine, mirror), 0o600); err != nil {
		return err
	}
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	return serve(ctx, o, cfg, 10*time.Second, func(d *daemon) error {
		for _, env := range []string{"staging", "production"} {
			stacks, err := d.store.Stacks(ctx, "infra", env)
			if err != nil {
				return err
			}
			if len(stacks) > 0 {
				continue // an earlier demo's directory
			}
			if _, err := d.store.Request(ctx, plumbline.Request{Repository: "infra", Environment: env, Kind: plumbline.RequestDeploy, By: "demo", At: time.Now()}); err != nil {
				return err
			}
		}
		go d.approveFirst(ctx)
		_, err := fmt.Fprintf(o.Out, demoText, d.web.SignInLink(cfg.Server.PublicURL), dir, cfg.Server.PublicURL)
		return err
	})
}

const demoText = `
Plumbline is looking after a small infrastructure in %[2]s: five stacks, two environments.
Both are being created now; what you change from here on waits for you.

  page         %[1]s   (works once, within 15 minutes)
  repository   %[2]s/infra
  "cloud"      %[2]s/world   (each resource is a file)

In another terminal:

  export PLUMBLINE_URL=%[3]s PLUMBLINE_TOKEN_FILE=%[2]s/data/token
  bin/plumbline env list                            both environments, in sync after some seconds
  cd %[2]s/infra
  git checkout -b propose/env/production/bigger env/production
  sed -i 's/"100"/"200"/' live/database/main.tf
  git commit -am "A bigger database" && git push origin HEAD
  git fetch origin refs/notes/plumbline:refs/notes/plumbline && git log -1 --notes=plumbline
                                                    the plan, as a note
  git push origin HEAD:env/production               merge it; it waits for an approval on the page
  echo oops > %[2]s/world/production/dns/zone.conf
                                                    change something outside Git; within a minute: plumbline drift list
                                                    (this provider takes a changed file for a deleted one)

Ctrl-C ends it. The directory stays.
`

// approveFirst agrees to the very first deployment of production, so that a newcomer finds an infrastructure and not an empty page. It is
// the only approval in the program that no person gives.
func (d *daemon) approveFirst(ctx context.Context) {
	changed, cancel := d.store.Subscribe()
	defer cancel()
	for {
		runs, err := d.store.Runs(ctx, plumbline.RunFilter{Repository: "infra", Environment: "production", Kinds: []plumbline.Kind{plumbline.KindDeploy}})
		if err != nil {
			return
		}
		left := len(runs) == 0
		for _, r := range runs {
			if r.By != "demo" {
				return
			}
			left = left || !r.State.Ended()
			if r.State != plumbline.StateAwaiting {
				continue
			}
			if _, err := d.store.Update(ctx, r.ID, time.Now(), func(r *plumbline.Run, now time.Time) error {
				return r.Approve(plumbline.Person{Name: "demo"}, plumbline.Access{}, r.Plan.Digest, now)
			}); err != nil {
				d.log.Warn("approve the first deployment", zap.Error(err))
			}
		}
		if !left {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// demoRepository makes DIR/git/infra.git with both environments' branches, and a clone of it in DIR/infra, unless they are there.
func demoRepository(ctx context.Context, dir string) error {
	bare, clone := filepath.Join(dir, "git", "infra.git"), filepath.Join(dir, "infra")
	if _, err := os.Stat(bare); err == nil {
		return nil
	}
	for _, d := range []string{bare, clone} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	files := examples.Demo()
	err := fs.WalkDir(files, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(clone, filepath.FromSlash(p))
		if e.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	if err != nil {
		return err
	}
	for _, c := range []struct {
		in   string
		args string
	}{
		{bare, "init -q --bare --initial-branch=env/staging"},
		{clone, "init -q --initial-branch=env/staging"},
		{clone, "config user.name Newcomer"},
		{clone, "config user.email newcomer@example.com"},
		{clone, "add -A"},
		{clone, "commit -q -m Infrastructure"},
		{clone, "branch env/production"},
		{clone, "remote add origin ../git/infra.git"},
		{clone, "push -q origin env/staging env/production"},
	} {
		if err := gitIn(ctx, c.in, strings.Fields(c.args)...); err != nil {
			return err
		}
	}
	return nil
}

func gitIn(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
