package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/terraform"
)

// engineFlags choose the program that the commands without a daemon run.
type engineFlags struct{ name, providers string }

func (e *engineFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.name, "engine", "", `"terraform" or "tofu"; default: the first of them on PATH`)
	cmd.Flags().StringVar(&e.providers, "providers", "", "a filesystem mirror of providers; default: what Terraform itself is configured with")
}

func (e *engineFlags) find(ctx context.Context, constraint string) (terraform.Binary, error) {
	name := e.name
	if name == "" {
		name = terraform.Terraform
		if _, err := exec.LookPath(name); err != nil {
			name = terraform.Tofu
		}
	}
	return terraform.NewEngines(terraform.EnginesConfig{Install: terraform.InstallPath}).Find(ctx, plumbline.EngineRef{Name: name, Constraint: constraint})
}

// env is the caller's own environment, as Terraform would have it, without what terraform-exec keeps for itself.
func (e *engineFlags) env(tmp string) (map[string]string, error) {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		if k != "" && len(tfexec.ProhibitedEnv(map[string]string{k: ""})) == 0 {
			env[k] = v
		}
	}
	env["CHECKPOINT_DISABLE"] = "1"
	if e.providers == "" {
		return env, nil
	}
	mirror, err := filepath.Abs(e.providers)
	if err != nil {
		return nil, err
	}
	rc, err := terraform.CLIConfig(mirror)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(tmp, "terraformrc")
	env["TF_CLI_CONFIG_FILE"] = file
	return env, os.WriteFile(file, rc, 0o600)
}

func newPlanCmd(o *options) *cobra.Command {
	var f formats
	var engine engineFlags
	cmd := &cobra.Command{
		Use:   "plan [DIR…]",
		Short: "Plan the stacks of the working tree, print the report the daemon would post",
		Long: `Plans every stack below the directories (default: this one) where it is, with your own credentials and Terraform settings, and prints the
report that the daemon would post. The exit code is 3 when there are differences.

PLUMBLINE_DIGEST_KEY, if set, is the key by which digests cover sensitive values, so that those of different machines compare.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			if err := f.check(o); err != nil {
				return err
			}
			r := newPlanReader(o, &engine, &f)
			plans, err := planTrees(cmd.Context(), o, args, r)
			if err != nil {
				return err
			}
			r.mask(plans)
			if err := f.print(o, plans); err != nil {
				return err
			}
			return verdict(plans)
		},
	}
	f.add(cmd)
	engine.add(cmd)
	return cmd
}

// verdict ends with exit code 3 when there are differences, 1 when a plan failed.
func verdict(plans []named) error {
	code := exitDone
	for _, p := range plans {
		switch {
		case p.Err != nil || p.Plan.Errored:
			return &exitError{code: exitFailed}
		case p.Plan.HasChanges():
			code = exitDifferences
		}
	}
	if code != exitDone {
		return &exitError{code: code}
	}
	return nil
}

func planTrees(ctx context.Context, o *options, dirs []string, r *planReader) ([]named, error) {
	var out []named
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, usageError(err)
		}
		if !info.IsDir() {
			return nil, usageError(fmt.Errorf("%s is not a directory", dir))
		}
		stacks, top, below, err := stacksBelow(ctx, dir)
		if err != nil {
			return nil, err
		}
		if len(stacks) == 0 {
			return nil, usageError(fmt.Errorf("%s holds no stack; `plumbline discover %s --explain` says why", dir, dir))
		}
		for _, s := range stacks {
			name := filepath.ToSlash(filepath.Join(dir, s.Name))
			if below != "." {
				name = filepath.ToSlash(filepath.Clean(dir + strings.TrimPrefix(s.Name, below)))
			}
			if isTerminal(o.Err) {
				fmt.Fprintf(o.Err, "planning %s …\n", name)
			}
			p := named{NamedPlan: report.NamedPlan{Name: name, DigestKey: r.given}}
			if len(s.Broken) > 0 {
				p.Err = errors.New(s.Broken[0].String())
			} else {
				p.Plan, p.Err = r.plan(ctx, filepath.Join(top, filepath.FromSlash(s.Dir)), s)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// stacksBelow finds the stacks of a directory, with the directory that they are named from, and the way from there to the first. What lies in a checkout is read from its top, as the daemon
// reads it, when the directory alone does not say all: a stack calls modules beside it, or .plumbline.hcl has settings for it.
func stacksBelow(ctx context.Context, dir string) (stacks []plumbline.StackSpec, top, below string, err error) {
	layout, err := discover.Stacks(ctx, os.DirFS(dir), discover.Options{})
	if err != nil {
		return nil, "", "", err
	}
	top, below = checkoutTop(dir)
	if below == "." {
		return layout.Stacks, dir, ".", nil
	}
	_, err = os.Stat(filepath.Join(top, ".plumbline.hcl"))
	broken := slices.ContainsFunc(layout.Stacks, func(s plumbline.StackSpec) bool { return len(s.Broken) > 0 })
	if err != nil && !broken && len(layout.Findings) == 0 {
		return layout.Stacks, dir, ".", nil
	}
	if layout, err = discover.Stacks(ctx, os.DirFS(top), discover.Options{}); err != nil {
		return nil, "", "", err
	}
	return slices.DeleteFunc(layout.Stacks, func(s plumbline.StackSpec) bool {
		return s.Dir != below && !strings.HasPrefix(s.Dir, below+"/")
	}), top, below, nil
}

// checkoutTop is the top of the checkout that a directory is in, with the way from there to it; "." when it is the top, or in none. The top is written
// as the directory is, relative or not.
func checkoutTop(dir string) (top, below string) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir, "."
	}
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			rel, err := filepath.Rel(at, abs)
			if err != nil || rel == "." {
				return dir, "."
			}
			if filepath.IsAbs(dir) {
				return at, filepath.ToSlash(rel)
			}
			up := strings.Repeat("../", strings.Count(filepath.ToSlash(rel), "/")+1)
			return filepath.Join(dir, up), filepath.ToSlash(rel)
		}
		if at == filepath.Dir(at) {
			return dir, "."
		}
	}
}

// plan plans one stack where it is.
func (r *planReader) plan(ctx context.Context, dir string, spec plumbline.StackSpec) (plan plumbline.Plan, err error) {
	tmp, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	var said bytes.Buffer
	d, binary, err := r.engine.dir(ctx, dir, spec.Version, tmp, &said)
	if err != nil {
		return plan, err
	}
	explain := func(err error) error {
		if err == nil {
			return nil
		}
		var lines []string
		for _, l := range strings.Split(said.String(), "\n") {
			if ev, ok := terraform.ParseEvent([]byte(l)); ok && ev.Diagnostic != nil && ev.Diagnostic.Severity == "error" {
				lines = append(lines, fmt.Sprintf("%s:%d: %s. %s", ev.Diagnostic.File, ev.Diagnostic.Line, ev.Diagnostic.Summary, ev.Diagnostic.Detail))
			}
		}
		if len(lines) == 0 {
			return err
		}
		return fmt.Errorf("%w\n  %s", err, strings.Join(lines, "\n  "))
	}
	// terraform-exec's commands die with the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := d.Init(ctx, terraform.InitOptions{}); err != nil {
		return plan, explain(err)
	}
	if spec.Workspace != "" && spec.Workspace != "default" {
		if err := d.Workspace(ctx, spec.Workspace); err != nil {
			return plan, explain(err)
		}
	}
	file := filepath.Join(tmp, "tfplan")
	if _, err := d.Plan(ctx, terraform.PlanOptions{Out: file, VarFiles: spec.VarFiles}); err != nil {
		return plan, explain(err)
	}
	err = d.Show(ctx, file, func(out io.Reader) (err error) {
		plan, err = r.parse(out)
		return err
	})
	plan.Engine, plan.Version = binary.Name, binary.Version
	return plan, explain(err)
}

func (e *engineFlags) dir(ctx context.Context, dir, constraint, tmp string, said *bytes.Buffer) (*terraform.Dir, terraform.Binary, error) {
	binary, err := e.find(ctx, constraint)
	if err != nil {
		return nil, binary, err
	}
	env, err := e.env(tmp)
	if err != nil {
		return nil, binary, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, binary, err
	}
	line := func(b []byte) { said.Write(b); said.WriteByte('\n') }
	d, err := terraform.NewDir(terraform.DirConfig{Binary: binary, Path: abs, Env: env, Line: line, ErrLine: func([]byte) {}})
	return d, binary, err
}
