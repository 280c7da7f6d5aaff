package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
	"github.com/plumbline/plumbline/internal/runner"
)

// checkFlags say what is checked.
type checkFlags struct {
	only     []string
	policies []string
	plan     bool
	engine   engineFlags
}

// checkNames are the checks in the order in which they are made and shown.
var checkNames = []plumbline.CheckName{plumbline.CheckFmt, plumbline.CheckValidate, plumbline.CheckTest, plumbline.CheckPolicy}

func newCheckCmd(o *options) *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check [DIR…]",
		Short: "Check the stacks of the working tree as a proposal would be: fmt, validate, test, policies",
		Long: `Makes the checks of a proposal for every stack below the directories (default: this one) where it is.

fmt looks at the files of the stack's directory, its tests and its variable files, and changes none. validate and test come after an init without the
backend, which leaves .terraform and the lock file as an init does. test runs the test files that make nothing real: those whose runs all
have command = plan, and those in which every provider is a mock and nothing has a provisioner; it says which it leaves out.

With --plan and --policies, each stack is planned too, with your own credentials, backend and Terraform settings, and the plan is held against the
policies.

The exit code is 1 when a check fails or cannot be made.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			names, set, err := f.choose()
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), o, args, names, set)
		},
	}
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "some of fmt, validate, test, policy, separated by commas; default: all")
	cmd.Flags().StringArrayVar(&f.policies, "policies", nil, "a directory of policies to hold plans against; may be given several times; needs --plan")
	cmd.Flags().BoolVar(&f.plan, "plan", false, "plan each stack, for --policies")
	f.engine.add(cmd)
	return cmd
}

// choose finds out what is to be checked, before any work is done.
func (f *checkFlags) choose() ([]plumbline.CheckName, *policy.Set, error) {
	var names []plumbline.CheckName
	for _, s := range f.only {
		name := plumbline.CheckName(s)
		if !slices.Contains(checkNames, name) {
			return nil, nil, usageError(fmt.Errorf("--only %s: there are the checks fmt, validate, test and policy", s))
		}
		names = append(names, name)
	}
	switch {
	case len(f.policies) > 0 && !f.plan:
		return nil, nil, usageError(errors.New("--policies needs a plan: add --plan, which plans every stack with your own credentials"))
	case len(f.policies) == 0 && f.plan:
		return nil, nil, usageError(errors.New("--plan is for policies: add --policies DIR, or leave it out"))
	case !f.plan && slices.Contains(names, plumbline.CheckPolicy):
		return nil, nil, usageError(errors.New("--only policy needs policies: add --plan --policies DIR"))
	}
	if len(names) == 0 {
		names = checkNames
	}
	var set *policy.Set
	if len(f.policies) > 0 && slices.Contains(names, plumbline.CheckPolicy) {
		var err error
		if set, err = policy.Load(f.policies); err != nil {
			return nil, nil, usageError(err)
		}
	}
	var chosen []plumbline.CheckName
	for _, n := range checkNames {
		if n != plumbline.CheckPolicy && slices.Contains(names, n) {
			chosen = append(chosen, n)
		}
	}
	return chosen, set, nil
}

// checked is what the checks of one stack came to.
type checked struct {
	name     string
	results  []plumbline.CheckResult
	findings []plumbline.PolicyFinding
}

func (f *checkFlags) run(ctx context.Context, o *options, dirs []string, names []plumbline.CheckName, set *policy.Set) error {
	var all []checked
	var unread error
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil {
			return usageError(err)
		}
		if !info.IsDir() {
			return usageError(fmt.Errorf("%s is not a directory", dir))
		}
		layout, err := discover.Stacks(ctx, os.DirFS(dir), discover.Options{})
		if err != nil {
			return err
		}
		if len(layout.Stacks) == 0 {
			return usageError(fmt.Errorf("%s holds no stack; `plumbline discover %s --explain` says why", dir, dir))
		}
		for _, s := range layout.Stacks {
			c, err := f.stack(ctx, o, dir, s, names, set)
			if err != nil {
				return err
			}
			all = append(all, c)
		}
		layout.Stacks = nil // what is broken in one of them, its checks have said
		unread = errors.Join(unread, findings(o, layout))
	}
	if o.JSON {
		if err := printJSON(o.Out, newChecksJSON(all)); err != nil {
			return err
		}
	} else if err := printChecks(o, all); err != nil {
		return err
	}
	if unread != nil || slices.ContainsFunc(all, checked.bad) {
		return &exitError{code: exitFailed}
	}
	return nil
}

// stack makes the checks of one stack.
func (f *checkFlags) stack(ctx context.Context, o *options, dir string, spec plumbline.StackSpec, names []plumbline.CheckName, set *policy.Set) (c checked, err error) {
	c.name = filepath.ToSlash(filepath.Join(dir, spec.Name))
	if isTerminal(o.Err) {
		fmt.Fprintf(o.Err, "checking %s …\n", legible(c.name))
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return c, err
	}
	tmp, err := os.MkdirTemp("", "plumbline-") // mode 0700
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	env, err := f.engine.env(tmp)
	if err != nil {
		return c, err
	}
	binary, err := f.engine.find(ctx, spec.Version)
	if err != nil {
		if ctx.Err() != nil {
			return c, err
		}
		for _, n := range names {
			c.results = append(c.results, plumbline.CheckResult{Name: n, Verdict: plumbline.VerdictError, Text: "not made: " + err.Error()})
		}
		return c, nil
	}
	c.results, c.findings = runner.Check(ctx, runner.CheckConfig{
		Binary: binary, Root: root, Spec: spec, Env: env, Checks: names, Policies: set, Tmp: tmp, Secrets: environmentSecrets(os.Environ()),
		Facts: plumbline.Facts{Kind: plumbline.KindProposal, Stack: spec.Name, Directory: spec.Dir, Time: o.Now()},
	})
	for i := range c.results {
		for j := range c.results[i].Findings {
			if at := &c.results[i].Findings[j]; at.File != "" && !path.IsAbs(at.File) {
				at.File = filepath.ToSlash(filepath.Join(dir, at.File)) // as it is called from here
			}
		}
	}
	return c, ctx.Err()
}

func (c checked) bad() bool {
	return slices.ContainsFunc(c.results, func(r plumbline.CheckResult) bool {
		return r.Verdict == plumbline.VerdictFail || r.Verdict == plumbline.VerdictError
	})
}

func printChecks(o *options, all []checked) error {
	t := newTable("STACK", "CHECK", "VERDICT", "WHAT")
	t.paint[2] = func(v string) string {
		return map[plumbline.Verdict]string{plumbline.VerdictPass: "32", plumbline.VerdictFail: "31", plumbline.VerdictError: "31", plumbline.VerdictSkipped: "33"}[plumbline.Verdict(v)]
	}
	count := map[plumbline.Verdict]int{}
	for _, c := range all {
		for _, r := range c.results {
			t.add(c.name, r.Name, r.Verdict, r.Text)
			count[r.Verdict]++
		}
	}
	if err := t.write(o); err != nil {
		return err
	}
	var b strings.Builder
	for _, c := range all {
		for _, r := range c.results {
			c.details(&b, r)
		}
	}
	var ends []string
	for _, v := range []struct {
		verdict plumbline.Verdict
		text    string
	}{{plumbline.VerdictPass, "passed"}, {plumbline.VerdictFail, "failed"}, {plumbline.VerdictError, "could not be made"}, {plumbline.VerdictSkipped, "skipped"}} {
		if n := count[v.verdict]; n > 0 {
			ends = append(ends, fmt.Sprintf("%d %s", n, v.text))
		}
	}
	fmt.Fprintf(&b, "\n%s: %s.\n", counted(len(all), "stack"), strings.Join(ends, ", "))
	_, err := io.WriteString(o.Out, legible(b.String()))
	return err
}

// details tell what a check found, with its places.
func (c checked) details(b *strings.Builder, r plumbline.CheckResult) {
	policies := r.Name == plumbline.CheckPolicy && len(c.findings) > 0
	if len(r.Findings) == 0 && r.Output == "" && !policies {
		return
	}
	fmt.Fprintf(b, "\n%s: %s\n", c.name, r.Name)
	for _, f := range r.Findings {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if place != "" {
			place += ": "
		}
		fmt.Fprintf(b, "  %s%s\n", place, f.Message)
		if f.Source != "" && r.Output == "" {
			fmt.Fprintf(b, "    %d │ %s\n", f.Line, f.Source)
		}
	}
	if policies {
		for _, p := range c.findings {
			at := ""
			if p.Address != "" {
				at = p.Address + ": "
			}
			from := ""
			if len(p.From) > 0 {
				from = " from " + strings.Join(p.From, " or ")
			}
			fmt.Fprintf(b, "  %s%s (%s): %s%s\n", p.Level, from, p.Policy, at, p.Message)
		}
	}
	for line := range strings.Lines(r.Output) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
}

// checksJSON is what programs get.
type checksJSON struct {
	Stacks []checkedJSON `json:"stacks"`
}

type checkedJSON struct {
	Name     string              `json:"name"`
	Checks   []checkedResultJSON `json:"checks"`
	Policies []checkedPolicyJSON `json:"policies,omitempty"`
}

type checkedResultJSON struct {
	Name     plumbline.CheckName `json:"name"`
	Verdict  plumbline.Verdict   `json:"verdict"`
	Text     string              `json:"text"`
	Findings []checkedPlaceJSON  `json:"findings,omitempty"`
	Output   string              `json:"output,omitempty"`
}

type checkedPlaceJSON struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Source  string `json:"source,omitempty"`
	Message string `json:"message"`
}

type checkedPolicyJSON struct {
	Policy  string                `json:"policy"`
	Level   plumbline.PolicyLevel `json:"level"`
	Message string                `json:"message"`
	Address string                `json:"address,omitempty"`
	From    []string              `json:"from,omitempty"`
}

func newChecksJSON(all []checked) checksJSON {
	out := checksJSON{Stacks: []checkedJSON{}}
	for _, c := range all {
		s := checkedJSON{Name: c.name, Checks: []checkedResultJSON{}}
		for _, r := range c.results {
			j := checkedResultJSON{Name: r.Name, Verdict: r.Verdict, Text: r.Text, Output: r.Output}
			for _, f := range r.Findings {
				j.Findings = append(j.Findings, checkedPlaceJSON{File: f.File, Line: f.Line, Source: f.Source, Message: f.Message})
			}
			s.Checks = append(s.Checks, j)
		}
		for _, p := range c.findings {
			s.Policies = append(s.Policies, checkedPolicyJSON(p))
		}
		out.Stacks = append(out.Stacks, s)
	}
	return out
}
