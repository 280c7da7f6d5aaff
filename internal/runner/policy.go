package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
)

// policies is what plans are held against; *policy.Set is one.
type policies interface {
	Evaluate(ctx context.Context, plan io.Reader, facts plumbline.Facts) ([]plumbline.PolicyFinding, error)
	Rules() int
}

// loadPolicies compiles the policies of directories; nil: there are none.
func loadPolicies(dirs []string) (policies, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	set, err := policy.Load(dirs)
	if err != nil {
		return nil, err
	}
	return set, nil
}

// asked is what policies say of a plan, not masked yet.
type asked struct {
	findings []plumbline.PolicyFinding
	err      error
}

// ask holds the plan JSON against policies while read reads it. The JSON has secrets in clear, so it goes from one to the other in memory: both
// see the same plan, no file of it is left behind, and Terraform has to show it only once.
func ask(ctx context.Context, set policies, facts plumbline.Facts, plan io.Reader, read func(io.Reader) error) (asked, error) {
	if set == nil {
		return asked{}, read(plan)
	}
	out, in := io.Pipe()
	answer := make(chan asked, 1)
	go func() {
		var a asked
		defer func() {
			if p := recover(); p != nil {
				a = asked{err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
			}
			// Policies that stop listening must not keep the plan from being read.
			_, _ = io.Copy(io.Discard, out)
			answer <- a
		}()
		a.findings, a.err = set.Evaluate(ctx, out, facts)
	}()
	err := read(io.TeeReader(plan, in))
	if err == nil {
		_, err = io.Copy(in, plan) // what comes behind the document, if anything
	}
	_ = in.CloseWithError(err) // never fails; nil: the end of the plan
	a := <-answer
	return a, err
}

// policyCheck is what the findings come to, as a check.
func policyCheck(rules int, list []plumbline.PolicyFinding) plumbline.CheckResult {
	r := plumbline.CheckResult{Name: plumbline.CheckPolicy, Verdict: plumbline.VerdictPass}
	count := map[plumbline.PolicyLevel]int{}
	for _, f := range list {
		count[f.Level]++
	}
	said := []string{counted(rules, "rule", "rules")}
	for _, l := range []struct {
		level     plumbline.PolicyLevel
		one, many string
	}{{plumbline.PolicyDeny, "denial", "denials"}, {plumbline.PolicyApprove, "approval asked for", "approvals asked for"}, {plumbline.PolicyWarn, "warning", "warnings"}} {
		if n := count[l.level]; n > 0 {
			said = append(said, counted(n, l.one, l.many))
		}
	}
	if len(said) == 1 {
		said = append(said, "no objection")
	}
	r.Text = strings.Join(said, ", ")
	if count[plumbline.PolicyDeny] > 0 {
		r.Verdict = plumbline.VerdictFail
	}
	return r
}

// maskFindings masks what policies say: a rule may print a value of the plan.
func maskFindings(list []plumbline.PolicyFinding, mask func(string) string) {
	for i := range list {
		f := &list[i]
		f.Policy, f.Message, f.Address = mask(f.Policy), mask(f.Message), mask(f.Address)
	}
}

// policyFailed is a plan that could not be held against its policies: there is no verdict, so there is no plan.
func (c *child) policyFailed(ctx context.Context, err error) stop {
	name := c.Job.Stack.Name
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeout):
		return c.fail(plumbline.FailTimeout, fmt.Sprintf("The policies of %s took longer than what was left of %v.", name, c.Timeout),
			"Look for a rule that goes over all resources for each of them.", nil)
	case cause != nil:
		return stop{plumbline.Outcome{Interrupted: true}}
	}
	next := "Correct the policies on the server, then retry the run; no plan goes on without them."
	var mistakes policy.Errors
	if !errors.As(err, &mistakes) {
		return c.fail(plumbline.FailPolicy, fmt.Sprintf("The policies of %s could not be asked: %s.", name, strings.TrimSuffix(oneLine(err.Error()), ".")), next, nil)
	}
	mask := c.j.masker().String
	var list []plumbline.Diagnostic
	for _, m := range mistakes[:min(len(mistakes), maxDiagnostics)] {
		list = append(list, plumbline.Diagnostic{Severity: "error", Summary: mask(m.Message), File: m.File, Line: m.Line, Snippet: mask(m.Source)})
		c.j.note("%s", render(list[len(list)-1]))
	}
	return c.fail(plumbline.FailPolicy, fmt.Sprintf("The policies of %s cannot be loaded: %s.", name, strings.TrimSuffix(list[0].Summary, ".")), next, list)
}
