package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/tfplan"
)

const (
	deployLock = 30 * time.Second // how long the plan of a deployment waits for the state's lock; others plan without
	applyLock  = time.Minute      // how long an apply waits for it

	// What a plan marks as sensitive is masked in text, too. Short values are left out: they would mask half the log.
	minSensitive  = 6
	maxSensitives = 50_000
	maxEncoded    = 1_000 // of them that are masked in every form, the others as they are
)

// stop is an error that already is an outcome.
type stop struct{ plumbline.Outcome }

func (stop) Error() string { return "the phase has ended" }

// finish turns an error of a phase into its outcome.
func (c *child) finish(out plumbline.Outcome, err error) plumbline.Outcome {
	if err == nil {
		return out
	}
	var s stop
	if errors.As(err, &s) {
		return s.Outcome
	}
	return c.internal(err)
}

func (c *child) plan(ctx context.Context) plumbline.Outcome {
	out, err := c.makePlan(ctx)
	ended := c.finish(out, err)
	if !ended.Interrupted {
		ended.Checks = append(c.check(ctx), c.policyChecks(ended)...)
		if cause := context.Cause(ctx); len(c.Job.Checks) > 0 && cause != nil && !errors.Is(cause, errTimeout) {
			ended = plumbline.Outcome{Interrupted: true} // whoever stops the checks does not want the plan either
		}
	}
	if ended.Plan == nil {
		// A saved plan holds the state in clear; nobody will ask for this one.
		for _, name := range []string{planFile, masksFile} {
			if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				fmt.Fprintln(os.Stderr, "plumbline runner:", err)
			}
		}
	}
	return ended
}

// check makes the checks that the job asks for. It comes after the plan, since that is what people wait for and what must not lack the time
// that tests take; and whatever came of the plan, as far as init got.
func (c *child) check(ctx context.Context) []plumbline.CheckResult {
	if len(c.Job.Checks) == 0 {
		return nil
	}
	k := checker{dir: c.dir, binary: c.Binary, spec: c.Job.Spec, module: c.module, j: c.j}
	if !c.ready {
		k.unready = "not made: the stack could not be initialized"
	}
	return k.all(ctx, c.Job.Checks)
}

// policyChecks is the check of the policies, if there are any.
func (c *child) policyChecks(ended plumbline.Outcome) []plumbline.CheckResult {
	switch {
	case len(c.Job.Policies) == 0:
		return nil
	case ended.Plan != nil:
		return []plumbline.CheckResult{policyCheck(c.rules, ended.Findings)}
	case ended.Failure != nil && ended.Failure.Kind == plumbline.FailPolicy:
		return []plumbline.CheckResult{{Name: plumbline.CheckPolicy, Verdict: plumbline.VerdictError, Text: ended.Failure.Text}}
	}
	return []plumbline.CheckResult{{Name: plumbline.CheckPolicy, Verdict: plumbline.VerdictError, Text: "not made: there is no plan"}}
}

func (c *child) makePlan(ctx context.Context) (plumbline.Outcome, error) {
	dir, err := c.prepare(ctx, false)
	if err != nil {
		return plumbline.Outcome{}, err
	}
	set, err := loadPolicies(c.Job.Policies)
	if err != nil {
		return plumbline.Outcome{}, c.policyFailed(ctx, err)
	}
	o := terraform.PlanOptions{Out: c.path(planFile), Destroy: c.Job.Destroy}
	if c.Job.Kind == plumbline.KindDeploy || c.Job.Kind == plumbline.KindDestroy {
		o.LockTimeout = deployLock
	}
	if o.VarFiles, err = c.varFiles(); err != nil {
		return plumbline.Outcome{}, err
	}
	defer c.remove(varsFile)
	full, findings, err := c.planOnce(ctx, dir, o, set)
	if err != nil && c.Job.Kind == plumbline.KindDrift {
		return c.outsideAlone(ctx, dir, o, err)
	}
	if err != nil {
		return plumbline.Outcome{}, err
	}
	if c.Job.HadState && full.NoState {
		return plumbline.Outcome{}, c.fail(plumbline.FailState,
			fmt.Sprintf("%s had a state, and now there is none: the plan would create everything once more.", c.Job.Stack.Name),
			"Look at the backend's configuration and bring the state back from its history; nothing was changed.", nil)
	}
	out := plumbline.Outcome{Plan: &full, PlanFile: o.Out, Findings: findings}
	if len(c.sensitive) > 0 {
		// Providers quote values in their errors whatever the plan says of them, and the apply reads the plan nowhere but inside Terraform.
		if err := writeJSON(c.path(masksFile), c.sensitive, false); err != nil {
			return plumbline.Outcome{}, err
		}
		out.MasksFile = c.path(masksFile)
	}
	if c.Job.Kind == plumbline.KindDrift && full.HasChanges() {
		if err := c.classify(ctx, dir, o, &out); err != nil {
			return plumbline.Outcome{}, err
		}
	}
	tfplan.Mask(&full, c.j.masker().String)
	maskFindings(out.Findings, c.j.masker().String)
	if set != nil {
		c.rules = set.Rules()
		c.j.policies(policyCheck(c.rules, out.Findings), out.Findings)
	}
	return out, nil
}

// planOnce makes one plan and reads it back, not masked yet, with what policies say of it.
func (c *child) planOnce(ctx context.Context, dir *terraform.Dir, o terraform.PlanOptions, set policies) (plumbline.Plan, []plumbline.PolicyFinding, error) {
	switch {
	case o.NoRefresh:
		c.say("plan -refresh=false")
	case o.RefreshOnly:
		c.say("plan -refresh-only")
	default:
		c.say("plan")
	}
	if _, err := dir.Plan(ctx, o); err != nil {
		return plumbline.Plan{}, nil, c.failed(ctx, plumbline.FailPlan, "plan", err)
	}
	// It holds the state in clear, and Terraform makes it readable for all.
	if err := os.Chmod(o.Out, 0o600); err != nil {
		return plumbline.Plan{}, nil, err
	}
	var p plumbline.Plan
	var say asked
	err := dir.Show(ctx, o.Out, func(r io.Reader) (err error) {
		say, err = ask(ctx, set, c.Job.Facts, r, func(r io.Reader) (err error) {
			p, err = tfplan.Read(r, planOptions(c.DigestKey, &c.sensitive))
			return err
		})
		return err
	})
	c.j.hide(c.sensitive)
	if err != nil {
		return p, nil, c.failed(ctx, plumbline.FailPlan, "show", err)
	}
	if say.err != nil {
		return p, nil, c.policyFailed(ctx, say.err)
	}
	p.Engine = c.Binary.Name
	if p.Providers, err = terraform.Locked(c.module); err != nil {
		return p, nil, err
	}
	if p.Version == "" {
		p.Version = c.Binary.Version
	}
	return p, say.findings, nil
}

// planOptions reads a plan and adds what it marks as sensitive to a list.
func planOptions(key []byte, sensitive *[]string) tfplan.Options {
	seen := map[string]bool{}
	for _, s := range *sensitive {
		seen[s] = true
	}
	return tfplan.Options{Key: key, SecretName: redact.SecretName, SecretValue: redact.SecretValue, Secrets: func(s string) {
		if len(s) >= minSensitive && len(*sensitive) < maxSensitives && !seen[s] {
			seen[s] = true
			*sensitive = append(*sensitive, s)
		}
	}}
}

func (c *child) apply(ctx context.Context) plumbline.Outcome {
	return c.finish(c.applyPlan(ctx))
}

func (c *child) applyPlan(ctx context.Context) (plumbline.Outcome, error) {
	if _, err := os.Stat(c.path(planFile)); err != nil {
		return plumbline.Outcome{}, c.fail(plumbline.FailArtifact, "The saved plan of "+c.Job.Stack.Name+" is missing.", "Retry the run: it plans again.", nil)
	}
	switch err := readJSON(c.path(masksFile), &c.sensitive); {
	case err == nil:
		if err := os.Remove(c.path(masksFile)); err != nil {
			return plumbline.Outcome{}, err
		}
	case !errors.Is(err, os.ErrNotExist):
		return plumbline.Outcome{}, err
	}
	c.j.hide(c.sensitive)
	dir, err := c.prepare(ctx, c.initialized())
	if err != nil {
		return plumbline.Outcome{}, err
	}
	// One that came with the checkout says nothing about this apply.
	errored := filepath.Join(c.module, "errored.tfstate")
	if err := os.Remove(errored); err != nil && !errors.Is(err, os.ErrNotExist) {
		return plumbline.Outcome{}, err
	}
	c.say("apply")
	err = dir.Apply(ctx, c.path(planFile), applyLock)
	said := c.j.said()
	out := plumbline.Outcome{Created: said.created}
	if _, statErr := os.Stat(errored); statErr == nil {
		out.StateFile = errored
	}
	switch {
	case err == nil, said.completed && out.StateFile == "" && !hasError(said.diagnostics):
		// Terraform was told to stop when it had already done everything.
		out.Applied = true
		return out, nil
	case stale(said.diagnostics):
		out.Stale = true
		return out, nil
	}
	ended := c.failed(ctx, plumbline.FailApply, "apply", err)
	ended.Created, ended.StateFile = out.Created, out.StateFile
	if f := ended.Failure; f != nil && out.StateFile != "" {
		f.Text += " The new state could not be saved; it is kept."
		f.Next = "Push the kept state (`terraform state push`) once the backend is back, before anything else."
	}
	return plumbline.Outcome{}, ended
}

// stale reports whether Terraform refused a saved plan because of the state, not of the plan. Both engines use these words.
func stale(list []plumbline.Diagnostic) bool {
	for _, d := range list {
		if d.Summary == "Saved plan is stale" || d.Summary == "Saved plan does not match the given state" {
			return true
		}
	}
	return false
}

func hasError(list []plumbline.Diagnostic) bool {
	for _, d := range list {
		if d.Severity == "error" {
			return true
		}
	}
	return false
}

// ready is what init was done with.
type ready struct {
	Binary terraform.Binary
	Module string
}

// initialized reports whether a plan in this very directory has left everything that an apply needs.
func (c *child) initialized() bool {
	var r ready
	if readJSON(c.path(readyFile), &r) != nil || r != (ready{c.Binary, c.module}) {
		return false
	}
	_, err := os.Stat(filepath.Join(c.module, ".terraform"))
	return err == nil
}

// prepare makes Terraform ready in the root module: configuration, init, workspace.
func (c *child) prepare(ctx context.Context, initialized bool) (*terraform.Dir, error) {
	if !filepath.IsLocal(filepath.FromSlash(c.Job.Spec.Dir)) {
		return nil, c.fail(plumbline.FailConfig, fmt.Sprintf("The directory %q of the stack is outside of the repository.", c.Job.Spec.Dir), "", nil)
	}
	if info, err := os.Stat(c.module); err != nil || !info.IsDir() {
		return nil, c.fail(plumbline.FailConfig, fmt.Sprintf("There is no directory %q in the commit.", c.Job.Spec.Dir), "", nil)
	}
	rc, err := terraform.CLIConfig(c.Mirror)
	if err != nil {
		return nil, c.fail(plumbline.FailInit, upper(err.Error())+".", "Look at terraform.providers.mirror in the configuration.", nil)
	}
	if err := writeWhole(c.path(rcFile), rc, false); err != nil {
		return nil, err
	}
	var vars []plumbline.EnvVar
	for _, v := range c.Env {
		vars = append(vars, plumbline.EnvVar{Name: v.Name, Value: plumbline.NewSecret(v.Value), Sensitive: v.Sensitive})
	}
	env, err := terraform.Env(terraform.EnvConfig{Home: c.path(homeDir), Tmp: c.path(tmpDir), CLIConfig: c.path(rcFile), Vars: vars})
	if err != nil {
		return nil, c.fail(plumbline.FailConfig, upper(err.Error())+".", "Take it out of env in the configuration.", nil)
	}
	dir, err := terraform.NewDir(terraform.DirConfig{Binary: c.Binary, Path: c.module, Env: env, Line: c.j.line, ErrLine: c.j.errLine})
	if err != nil {
		return nil, err
	}
	c.dir = dir
	if initialized {
		return dir, nil
	}
	if err := c.init(ctx, dir); err != nil {
		return nil, err
	}
	c.ready = true
	return dir, writeJSON(c.path(readyFile), ready{c.Binary, c.module}, false)
}

func (c *child) init(ctx context.Context, dir *terraform.Dir) error {
	// What a commit brings along in this place is nothing that Terraform itself has verified.
	if err := os.RemoveAll(filepath.Join(c.module, ".terraform")); err != nil {
		return err
	}
	var o terraform.InitOptions
	if len(c.Backend) > 0 {
		o.BackendConfig = c.path(backendFile)
		b, err := settings(c.Backend, map[string]string{"{stack}": c.Job.Stack.Name})
		if err != nil {
			return c.fail(plumbline.FailConfig, upper(err.Error())+".", "Look at backend in the configuration.", nil)
		}
		if err := writeWhole(o.BackendConfig, b, false); err != nil {
			return err
		}
		defer c.remove(backendFile)
	}
	c.say("init")
	if err := dir.Init(ctx, o); err != nil {
		return c.failed(ctx, plumbline.FailInit, "init", err)
	}
	if ws := c.Job.Spec.Workspace; ws != "" && ws != "default" {
		c.j.listen()
		c.j.note("Workspace %s", ws)
		if err := dir.Workspace(ctx, ws); err != nil {
			return c.failed(ctx, plumbline.FailInit, "workspace", err)
		}
	}
	return nil
}

// varFiles lists the variable files: the stack's own, then the operator's values, which win.
func (c *child) varFiles() ([]string, error) {
	var files []string
	for _, f := range c.Job.Spec.VarFiles {
		rel := path.Join(c.Job.Spec.Dir, f)
		if path.IsAbs(f) || !filepath.IsLocal(filepath.FromSlash(rel)) {
			return nil, c.fail(plumbline.FailConfig, fmt.Sprintf("The variable file %q is outside of the repository.", f), "", nil)
		}
		files = append(files, filepath.Join(c.run0, srcDir, filepath.FromSlash(rel)))
	}
	if len(c.Vars) == 0 {
		return files, nil
	}
	b, err := settings(c.Vars, nil)
	if err != nil {
		return nil, c.fail(plumbline.FailConfig, upper(err.Error())+".", "Look at vars in the configuration.", nil)
	}
	if err := writeWhole(c.path(varsFile), b, false); err != nil {
		return nil, err
	}
	return append(files, c.path(varsFile)), nil
}

// settings is a file of values in Terraform's JSON syntax. Tokens are replaced inside of strings.
func settings(vars []wireVar, tokens map[string]string) ([]byte, error) {
	doc := map[string]json.RawMessage{}
	for _, v := range vars {
		text := v.JSON
		for token, value := range tokens {
			quoted, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			text = strings.ReplaceAll(text, token, string(quoted[1:len(quoted)-1]))
		}
		if !json.Valid([]byte(text)) {
			return nil, fmt.Errorf("the value of %s is not JSON", v.Name) // the value itself may be a secret
		}
		doc[v.Name] = json.RawMessage(text)
	}
	return json.Marshal(doc)
}

// say begins a command in the log.
func (c *child) say(command string) {
	c.j.listen()
	c.j.note("$ %s %s", c.Binary.Name, command)
}

func (c *child) remove(name string) {
	if err := os.Remove(c.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "plumbline runner:", err) // Clear removes it with the directory
	}
}

// fail is a failure found by ourselves.
func (c *child) fail(kind plumbline.FailureKind, text, next string, list []plumbline.Diagnostic) stop {
	m := c.j.masker()
	f := &plumbline.Failure{Kind: kind, Text: m.String(text), Next: m.String(next), Diagnostics: list}
	c.j.note("\n%s", f.Text)
	return stop{plumbline.Outcome{Failure: f}}
}

// internal is a failure that is nobody's fault but Plumbline's or the machine's.
func (c *child) internal(err error) plumbline.Outcome {
	return c.fail(plumbline.FailInternal, fmt.Sprintf("Plumbline itself failed while it worked on %s: %v.", c.Job.Stack.Name, err),
		"Retry the run; if it fails again, look at the daemon's log and the disk.", nil).Outcome
}

// failed is a command that did not do what it was told: because it was stopped, because it was killed, or for reasons of its own.
func (c *child) failed(ctx context.Context, kind plumbline.FailureKind, command string, err error) stop {
	said := c.j.said()
	list := said.diagnostics
	var cmd *terraform.CommandError
	if errors.As(err, &cmd) && !hasError(list) {
		for _, d := range terraform.TextDiagnostics(cmd.Stderr) {
			list = append(list, c.j.placed(d))
		}
	}
	slices.SortStableFunc(list, func(a, b plumbline.Diagnostic) int { return strings.Compare(a.Severity, b.Severity) }) // errors first
	if len(list) > maxDiagnostics {
		list = list[:maxDiagnostics]
	}
	name := c.Job.Stack.Name
	step := c.Binary.Name + " " + command
	uncertain := ""
	if kind == plumbline.FailApply {
		uncertain = " What it had done by then is listed; more may have been done."
	}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errTimeout):
		how := "was interrupted"
		if c.killed.Load() {
			how = "did not stop when asked, and was killed"
		}
		return c.fail(plumbline.FailTimeout, fmt.Sprintf("%s of %s took longer than %v and %s.%s", step, name, c.Timeout, how, uncertain),
			"Look at the log for what it waited for.", list)
	case cause != nil:
		if c.Job.Phase == plumbline.PhasePlan {
			return stop{plumbline.Outcome{Interrupted: true}}
		}
		if kind != plumbline.FailApply {
			s := c.fail(plumbline.FailApply, fmt.Sprintf("%s of %s was asked to stop; nothing was applied.", step, name), "", list)
			s.Interrupted = true
			return s
		}
		text := fmt.Sprintf("%s of %s was asked to stop, and stopped.", step, name)
		next := "Look at what was done; a retry plans the rest."
		if c.killed.Load() {
			text = fmt.Sprintf("%s of %s was asked to stop, did not within %v, and was killed.%s", step, name, c.Grace, uncertain)
			next = "Make sure that the state knows what was created, and release its lock, before the run is retried."
		}
		s := c.fail(kind, text, next, list)
		s.Interrupted = true
		return s
	case terraform.Killed(err):
		return c.fail(kind, fmt.Sprintf("%s of %s was killed from outside, most likely because memory ran out.%s", step, name, uncertain),
			"Give this machine more memory or fewer workers.", list)
	}
	text := fmt.Sprintf("%s of %s failed", step, name)
	if d, ok := firstError(list); ok {
		text += ": " + strings.TrimSuffix(strings.Join(strings.Fields(d.Summary), " "), ".")
		if d.File != "" {
			text += fmt.Sprintf(" (%s:%d)", d.File, d.Line)
		}
	} else {
		text += fmt.Sprintf(": %v", err)
	}
	if kind == plumbline.FailInit && inFiles(list) {
		kind = plumbline.FailConfig
	}
	return c.fail(kind, text+".", "", list)
}

// maxDiagnostics is how many messages a failure keeps; the log has all.
const maxDiagnostics = 50

func firstError(list []plumbline.Diagnostic) (plumbline.Diagnostic, bool) {
	for _, d := range list {
		if d.Severity == "error" {
			return d, true
		}
	}
	return plumbline.Diagnostic{}, false
}

// inFiles reports whether the first error is about a place in the stack's files.
func inFiles(list []plumbline.Diagnostic) bool {
	d, ok := firstError(list)
	return ok && d.File != ""
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
