package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
	"github.com/plumbline/plumbline/internal/redact"
)

func newPolicyCmd(o *options) *cobra.Command {
	cmd := group("policy", "Test policies, hold a plan against them")
	cmd.AddCommand(newPolicyCheckCmd(o), newPolicyTestCmd(o))
	return cmd
}

// checkJSON is what programs get of policy check.
type checkJSON struct {
	Applicable bool                `json:"applicable"` // no rule denies the plan
	Findings   []policyFindingJSON `json:"findings"`
}

type policyFindingJSON struct {
	Level   plumbline.PolicyLevel `json:"level"`
	Policy  string                `json:"policy"`
	Address string                `json:"address,omitempty"`
	Message string                `json:"message"`
	From    []string              `json:"from,omitempty"`
}

// kinds are the runs that a plan can be of.
var kinds = []string{string(plumbline.KindProposal), string(plumbline.KindDeploy), string(plumbline.KindDrift), string(plumbline.KindDestroy)}

func newPolicyCheckCmd(o *options) *cobra.Command {
	var facts plumbline.Facts
	var plan, kind, at string
	cmd := &cobra.Command{
		Use:   "check DIR … --plan PLAN.json|-",
		Short: "Hold the JSON of `terraform show -json` against policies",
		Long: `Holds a plan against the policies in directories of Rego files and prints what they say, without the daemon. What the plan marks as sensitive is
masked in it.

The exit code is 1 when a rule denies the plan, or could not be evaluated, which counts as much; 2 when the policies cannot be compiled. Approvals that
are asked for, and warnings, are no failure here.

The flags about the run are what rules see as input.run.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if plan == "" {
				return usageError(errors.New("--plan names the plan: a file with the output of `terraform show -json PLANFILE`, or - for standard input"))
			}
			if !slices.Contains(kinds, kind) {
				return usageError(fmt.Errorf("--kind %s: write one of %s", kind, strings.Join(kinds, ", ")))
			}
			facts.Kind, facts.Time = plumbline.Kind(kind), o.Now()
			if at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return usageError(fmt.Errorf("--time %s: write it like 2026-07-10T15:04:05Z", at))
				}
				facts.Time = t
			}
			set, err := policy.Load(dirs)
			if err != nil {
				return usageError(err)
			}
			return o.checkPlan(cmd.Context(), set, plan, facts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&plan, "plan", "", "the plan's JSON, - for standard input")
	f.StringVar(&kind, "kind", string(plumbline.KindDeploy), "what the run is: "+strings.Join(kinds, ", "))
	f.StringVar(&facts.Repository, "repository", "", "the repository's name")
	f.StringVar(&facts.Environment, "environment", "", "the environment's name")
	f.StringVar(&facts.Stack, "stack", "", "the stack's name")
	f.StringVar(&facts.Directory, "directory", "", "the stack's directory")
	f.StringVar(&facts.Branch, "branch", "", "the environment's branch")
	f.StringVar(&facts.Commit, "commit", "", "the commit that was planned")
	f.StringVar(&facts.MergeRequest, "merge-request", "", "the merge request's number")
	f.StringArrayVar(&facts.Authors, "author", nil, "who wrote the change, once for each")
	f.StringArrayVar(&facts.Labels, "label", nil, "a label of the merge request, once for each")
	f.StringVar(&facts.By, "by", "", "who asked for the plan")
	f.IntVar(&facts.Drift, "drift", 0, "open drift items of the stack")
	f.StringVar(&at, "time", "", "when the plan was asked for (RFC 3339; default: now)")
	return cmd
}

// checkPlan evaluates, prints and judges.
func (o *options) checkPlan(ctx context.Context, set *policy.Set, name string, facts plumbline.Facts) error {
	in := o.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return usageError(err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, policy.MaxPlan+1))
	if err != nil {
		return usageError(err)
	}
	// The report's reader learns what is secret in the plan; rules may quote it.
	r := newPlanReader(o, &engineFlags{}, &formats{})
	if len(text) <= policy.MaxPlan {
		if _, err := r.parse(bytes.NewReader(text)); err != nil {
			return fmt.Errorf("%s: %w", display(name), maskedError{err, secretsOf(r).String(err.Error())})
		}
	}
	findings, err := set.Evaluate(ctx, bytes.NewReader(text), facts)
	mask := secretsOf(r).String
	if err != nil {
		return fmt.Errorf("%s: %w\nA plan that the policies cannot be asked about is not applied", display(name), maskedError{err, mask(err.Error())})
	}
	out := checkJSON{Applicable: true, Findings: []policyFindingJSON{}}
	for _, f := range findings {
		out.Applicable = out.Applicable && f.Level != plumbline.PolicyDeny
		out.Findings = append(out.Findings, policyFindingJSON{Level: f.Level, Policy: f.Policy, Address: mask(f.Address), Message: mask(f.Message), From: f.From})
	}
	if o.JSON {
		err = printJSON(o.Out, out)
	} else {
		err = o.findings(set, out)
	}
	if err == nil && !out.Applicable {
		return &exitError{code: exitFailed} // the findings say it
	}
	return err
}

// levelWords are the levels as people read them, with their colours.
var levelWords = map[plumbline.PolicyLevel][2]string{
	plumbline.PolicyDeny:    {"denied", "31"},
	plumbline.PolicyApprove: {"approve", "33"},
	plumbline.PolicyWarn:    {"warning", "33"},
}

// findings prints what policies say: a line for what it is about, one for what is said.
func (o *options) findings(set *policy.Set, c checkJSON) error {
	var b strings.Builder
	n := map[plumbline.PolicyLevel]int{}
	for _, f := range c.Findings {
		n[f.Level]++
		word := fmt.Sprintf("%-8s", levelWords[f.Level][0])
		if o.Color {
			word = paintText(levelWords[f.Level][1], word)
		}
		about := "the plan as a whole"
		if f.Address != "" {
			about = diff.Clean(f.Address)
		}
		fmt.Fprintf(&b, "%s  %s  (%s)\n          %s\n", word, about, diff.Clean(f.Policy), diff.Clean(f.Message))
		if len(f.From) > 0 {
			fmt.Fprintf(&b, "          Needs %s.\n", diff.Clean(strings.Join(f.From, " or ")))
		}
	}
	var parts []string
	for _, p := range []struct {
		level plumbline.PolicyLevel
		what  string
	}{{plumbline.PolicyDeny, "denial"}, {plumbline.PolicyApprove, "approval"}, {plumbline.PolicyWarn, "warning"}} {
		if n[p.level] > 0 {
			parts = append(parts, counted(n[p.level], p.what))
		}
	}
	verdict := "It would be applied."
	switch {
	case n[plumbline.PolicyDeny] > 0:
		verdict = "It would not be applied."
	case n[plumbline.PolicyApprove] > 0:
		verdict = "It would wait until they agree."
	}
	if len(parts) == 0 {
		parts = []string{"nothing to say"}
	}
	_, err := fmt.Fprintf(o.Out, "%s%s asked about the plan: %s. %s\n", &b, counted(set.Rules(), "rule"), strings.Join(parts, ", "), verdict)
	return err
}

// secretsOf masks what a reader learned.
func secretsOf(r *planReader) *redact.Masker {
	some := min(len(r.secrets), encodedSecrets)
	return r.masker.WithPlain(r.secrets[some:]...).With(r.secrets[:some]...)
}

// testJSON is what programs get of policy test.
type testJSON struct {
	Passed  int              `json:"passed"`
	Failed  int              `json:"failed"` // errors are among them
	Skipped int              `json:"skipped"`
	Tests   []policyTestJSON `json:"tests"`
}

type policyTestJSON struct {
	Name    string         `json:"name"`
	File    string         `json:"file"`
	Line    int            `json:"line"`
	Outcome policy.Outcome `json:"outcome"`
	Why     string         `json:"why,omitempty"`
	Cases   []string       `json:"cases,omitempty"`
	Output  string         `json:"output,omitempty"`
}

func newPolicyTestCmd(o *options) *cobra.Command {
	var filter string
	cmd := &cobra.Command{
		Use:   "test DIR …",
		Short: "Run the tests of policies",
		Long: `Runs the rules named test_… in the files *_test.rego of the directories.

The exit code is 1 when a test fails, and 2 when the policies cannot be compiled or there is no test.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			results, err := policy.Test(cmd.Context(), dirs, filter)
			switch {
			case errors.Is(err, policy.ErrNoTests) && filter != "":
				return usageError(fmt.Errorf("no test in %s has a name that matches %s", strings.Join(dirs, ", "), filter))
			case errors.Is(err, policy.ErrNoTests):
				return usageError(fmt.Errorf("there are no tests in %s: rules named test_… in files named *_test.rego", strings.Join(dirs, ", ")))
			case err != nil:
				return usageError(err)
			}
			out := testJSON{
				Passed: results.Count(policy.Passed), Failed: results.Count(policy.Failed, policy.Errored), Skipped: results.Count(policy.Skipped),
			}
			for _, t := range results {
				out.Tests = append(out.Tests, policyTestJSON(t))
			}
			if o.JSON {
				err = printJSON(o.Out, out)
			} else {
				err = o.tests(out)
			}
			if err == nil && out.Failed > 0 {
				return &exitError{code: exitFailed} // the list says it
			}
			return err
		},
	}
	cmd.Flags().StringVar(&filter, "run", "", "only tests whose names match this regular expression")
	return cmd
}

// tests prints what did not pass, then the counts.
func (o *options) tests(r testJSON) error {
	var b strings.Builder
	for _, t := range r.Tests {
		if t.Outcome != policy.Failed && t.Outcome != policy.Errored {
			continue
		}
		word := fmt.Sprintf("%-5s", t.Outcome)
		if o.Color {
			word = paintText("31", word)
		}
		fmt.Fprintf(&b, "%s  %s  (%s:%d)\n", word, diff.Clean(t.Name), diff.Clean(t.File), t.Line)
		for _, c := range t.Cases {
			fmt.Fprintf(&b, "       in the case %s\n", diff.Clean(c))
		}
		if t.Why != "" {
			fmt.Fprintf(&b, "       %s\n", diff.Clean(t.Why))
		}
		for line := range strings.Lines(t.Output) {
			fmt.Fprintf(&b, "       │ %s\n", diff.Clean(strings.TrimRight(line, "\n")))
		}
	}
	b.WriteString(counted(r.Passed+r.Failed, "test"))
	if r.Failed > 0 {
		fmt.Fprintf(&b, ", %d failed", r.Failed)
	} else {
		b.WriteString(", all passed")
	}
	if r.Skipped > 0 {
		fmt.Fprintf(&b, ", %d left for later", r.Skipped)
	}
	_, err := io.WriteString(o.Out, b.String()+"\n")
	return err
}
