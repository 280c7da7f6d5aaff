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
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"
	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/tfplan"
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
	var markdown bool
	var engine engineFlags
	cmd := &cobra.Command{
		Use:   "plan [DIR…]",
		Short: "Plan the stacks of the working tree, print the report the daemon would post",
		Long: `Plans every stack below the directories (default: this one) where it is, with your own credentials and Terraform settings, and prints the
report that the daemon would post. The exit code is 3 when there are differences.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			plans, err := planTrees(cmd.Context(), o, args, &engine)
			if err != nil {
				return err
			}
			return printPlans(o, plans, markdown)
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print Markdown")
	engine.add(cmd)
	return cmd
}

// printPlans ends with exit code 3 when there are differences, 1 when a plan failed.
func printPlans(o *options, plans []report.NamedPlan, markdown bool) error {
	var err error
	switch {
	case o.JSON:
		type named struct {
			Name  string
			Error string `json:",omitempty"`
			Plan  plumbline.Plan
		}
		out := []named{}
		for _, p := range plans {
			n := named{Name: p.Name, Plan: p.Plan}
			if p.Err != nil {
				n.Error = p.Err.Error()
			}
			out = append(out, n)
		}
		err = printJSON(o.Out, out)
	case markdown:
		_, err = io.WriteString(o.Out, report.Markdown(plans))
	default:
		err = report.Text(o.Out, plans, o.Color)
	}
	if err != nil {
		return err
	}
	code := exitDone
	for _, p := range plans {
		switch {
		case p.Err != nil:
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

func planTrees(ctx context.Context, o *options, dirs []string, engine *engineFlags) ([]report.NamedPlan, error) {
	var out []report.NamedPlan
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, usageError(err)
		}
		if !info.IsDir() {
			return nil, usageError(fmt.Errorf("%s is not a directory", dir))
		}
		layout, err := discover.Stacks(ctx, os.DirFS(dir), discover.Options{})
		if err != nil {
			return nil, err
		}
		if len(layout.Stacks) == 0 {
			return nil, usageError(fmt.Errorf("%s holds no stack; `plumbline discover %s --explain` says why", dir, dir))
		}
		for _, s := range layout.Stacks {
			name := filepath.ToSlash(filepath.Join(dir, s.Name))
			if isTerminal(o.Err) {
				fmt.Fprintf(o.Err, "planning %s …\n", name)
			}
			p := report.NamedPlan{Name: name}
			if len(s.Broken) > 0 {
				p.Err = errors.New(s.Broken[0].String())
			} else {
				p.Plan, p.Err = planStack(ctx, filepath.Join(dir, filepath.FromSlash(s.Dir)), s, engine)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func planStack(ctx context.Context, dir string, spec plumbline.StackSpec, engine *engineFlags) (plan plumbline.Plan, err error) {
	tmp, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	var said bytes.Buffer
	d, binary, err := engine.dir(ctx, dir, spec.Version, tmp, &said)
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
	err = d.Show(ctx, file, func(r io.Reader) (err error) {
		plan, err = tfplan.Read(r, tfplan.Options{})
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

func newReportCmd(o *options) *cobra.Command {
	var markdown bool
	var engine engineFlags
	cmd := &cobra.Command{
		Use:   "report PLAN.json|tfplan|-",
		Short: "Render a plan: the JSON of `terraform show -json`, a saved plan file, or standard input",
		Long: `Renders a plan as text, Markdown or JSON, without the daemon. A saved plan file is read with Terraform, so it must lie in its root module's
directory, after an init. Values that the plan marks as sensitive are masked. The exit code is 3 when there are differences.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := readPlan(cmd.Context(), o, args[0], &engine)
			if err != nil {
				return err
			}
			return printPlans(o, []report.NamedPlan{{Name: args[0], Plan: plan}}, markdown)
		},
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print Markdown")
	engine.add(cmd)
	return cmd
}

func readPlan(ctx context.Context, o *options, name string, engine *engineFlags) (plan plumbline.Plan, err error) {
	if name == "-" {
		return tfplan.Read(o.In, tfplan.Options{})
	}
	f, err := os.Open(name)
	if err != nil {
		return plan, usageError(err)
	}
	defer func() { _ = f.Close() }() // only read
	magic := make([]byte, 2)
	if _, err := io.ReadFull(f, magic); err != nil {
		return plan, usageError(fmt.Errorf("%s is empty or cannot be read: %w", name, err))
	}
	if string(magic) != "PK" { // a saved plan is a zip file
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return plan, err
		}
		plan, err = tfplan.Read(f, tfplan.Options{})
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return plan, err
	}
	tmp, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	var said bytes.Buffer
	d, binary, err := engine.dir(ctx, filepath.Dir(name), "", tmp, &said)
	if err != nil {
		return plan, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = d.Show(ctx, filepath.Base(name), func(r io.Reader) (err error) {
		plan, err = tfplan.Read(r, tfplan.Options{})
		return err
	})
	plan.Engine, plan.Version = binary.Name, binary.Version
	return plan, err
}
