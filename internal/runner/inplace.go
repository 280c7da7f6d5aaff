package runner

import (
	"context"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/policy"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/tfplan"
)

// CheckConfig is a stack to be checked where it lies, by somebody who trusts its files: there is no process and no directory of its own.
type CheckConfig struct {
	Binary   terraform.Binary
	Root     string // absolute path of the checkout; findings name files relative to it
	Spec     plumbline.StackSpec
	Env      map[string]string // the engine's whole environment; see terraform.Env
	Checks   []plumbline.CheckName
	Policies *policy.Set // nil: none, and so no plan, no backend
	Facts    plumbline.Facts
	Secrets  []string  // masked in all that is returned or logged
	Tmp      string    // a directory that only this user can read, for the saved plan; whoever made it removes it
	Log      io.Writer // what the engine says, masked; default nowhere
}

// Check makes the checks as a run would, in their order, and then, with Policies, plans and holds the plan against them. There is a result for each
// check and one for the policies. Init leaves .terraform and the lock file beside the stack's files, as it does for people.
func Check(ctx context.Context, c CheckConfig) ([]plumbline.CheckResult, []plumbline.PolicyFinding) {
	// The engine is killed with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c.Log == nil {
		c.Log = io.Discard
	}
	k := checker{
		binary: c.Binary, spec: c.Spec, module: filepath.Join(c.Root, filepath.FromSlash(c.Spec.Dir)),
		j: &journal{log: c.Log, events: io.Discard, src: c.Root, dir: c.Spec.Dir, mask: redact.New(c.Secrets...).WithShapes()},
	}
	dir, err := terraform.NewDir(terraform.DirConfig{Binary: c.Binary, Path: k.module, Env: c.Env, Line: k.j.line, ErrLine: k.j.errLine})
	if err != nil {
		k.unready = "not made: " + err.Error()
	} else {
		k.dir = dir
		if c.Policies != nil || slices.ContainsFunc(c.Checks, func(n plumbline.CheckName) bool { return n != plumbline.CheckFmt }) {
			k.init(ctx, c.Policies == nil)
		}
	}
	if c.Policies == nil {
		return k.all(ctx, c.Checks), nil
	}
	// The plan comes first: it tells what is sensitive.
	r, findings := k.policies(ctx, c)
	return append(k.all(ctx, c.Checks), r), findings
}

// init makes the stack ready, or says why it is not.
func (c *checker) init(ctx context.Context, noBackend bool) {
	c.say("init")
	c.j.listen()
	if err := c.dir.Init(ctx, terraform.InitOptions{NoBackend: noBackend}); err != nil {
		c.unready = "not made: init failed"
		if list := append(errorsOf(c.j.said().diagnostics), stderrOf(err)...); len(list) > 0 {
			c.unready += ": " + strings.TrimSuffix(oneLine(list[0].Summary), ".")
			if list[0].File != "" {
				c.cause = []plumbline.Finding{findingOf(list[0])}
			}
		}
	}
}

// policies makes a plan and holds it against policies.
func (c *checker) policies(ctx context.Context, in CheckConfig) (plumbline.CheckResult, []plumbline.PolicyFinding) {
	fail := func(text string, r plumbline.CheckResult) (plumbline.CheckResult, []plumbline.PolicyFinding) {
		r.Name, r.Verdict, r.Text = plumbline.CheckPolicy, plumbline.VerdictError, text
		maskCheck(&r, c.j.masker().String)
		return r, nil
	}
	if c.unready != "" {
		return fail(c.unready, plumbline.CheckResult{Findings: slices.Clone(c.cause)})
	}
	if ws := c.spec.Workspace; ws != "" && ws != "default" {
		c.j.listen()
		if err := c.dir.Workspace(ctx, ws); err != nil {
			r := c.broken("workspace", err)
			return fail("not made: "+r.Text, r)
		}
	}
	c.say("plan")
	c.j.listen()
	file := filepath.Join(in.Tmp, planFile)
	if _, err := c.dir.Plan(ctx, terraform.PlanOptions{Out: file, VarFiles: in.Spec.VarFiles}); err != nil {
		r := c.broken("plan", err)
		for _, d := range errorsOf(c.j.said().diagnostics) {
			r.Findings = append(r.Findings, findingOf(d))
		}
		return fail("not made: "+r.Text, r)
	}
	var say asked
	var sensitive []string
	err := c.dir.Show(ctx, file, func(r io.Reader) (err error) {
		say, err = ask(ctx, in.Policies, in.Facts, r, func(r io.Reader) error {
			_, err := tfplan.Read(r, planOptions(nil, &sensitive))
			return err
		})
		return err
	})
	c.j.hide(sensitive)
	if err != nil {
		r := c.broken("show", err)
		return fail("not made: "+r.Text, r)
	}
	if say.err != nil {
		return fail("the policies could not be asked: "+oneLine(say.err.Error()), plumbline.CheckResult{})
	}
	maskFindings(say.findings, c.j.masker().String)
	r := policyCheck(in.Policies.Rules(), say.findings)
	c.j.policies(r, say.findings)
	return r, say.findings
}
