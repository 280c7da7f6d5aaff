package report

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// deployer is a forge that shows environments and what is deployed there.
type deployer interface {
	SetDeployment(ctx context.Context, d plumbline.DeploymentStatus) error
}

// checker is a forge that shows findings in the files that they are about. What it cannot do with its credentials is errors.ErrUnsupported.
type checker interface {
	SetCheck(ctx context.Context, commit string, c plumbline.CheckRun) error
}

// deploying tells how the deployments of a commit to the environments of its branch are doing. runs are the newest of each stack.
func (r *Reporter) deploying(ctx context.Context, c commit, runs []plumbline.Run) (bool, error) {
	f, ok := r.c.Forge.(deployer)
	if !ok {
		return false, nil
	}
	did := false
	for _, env := range r.c.Repository.OnBranch(c.branch) {
		of := slices.DeleteFunc(slices.Clone(runs), func(run plumbline.Run) bool { return run.Stack.Environment != env.Name })
		if len(of) == 0 {
			continue
		}
		d := plumbline.DeploymentStatus{Environment: env.Name, Branch: c.branch, Commit: c.id}
		d.State, d.Description = plumbline.Deploying(of)
		if r.c.PublicURL != "" {
			d.URL = r.c.PublicURL + "/environments/" + r.c.Repository.Name + "/" + env.Name
		}
		one, err := r.once(ctx, "deployment "+env.Name, fmt.Sprint(d), func() error { return f.SetDeployment(ctx, d) })
		if err := optional(err); err != nil {
			return did, fmt.Errorf("deployment of %s to %s: %w", plumbline.Short(c.id), env.Name, err)
		}
		did = did || one
	}
	return did, nil
}

// optional forgets that a token may not do what is beside the point: the note and the statuses say the same.
func optional(err error) error {
	if errors.Is(err, plumbline.ErrDenied) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// findingsCheck is the name of the check with findings in files. It is another than that of any status, which would take its place.
const findingsCheck = "plumbline findings"

// findings shows what is wrong with a merge request's files where they are read. A later head has checks of its own.
func (r *Reporter) findings(ctx context.Context, v view) error {
	f, ok := r.c.Forge.(checker)
	if !ok {
		return nil
	}
	all := slices.Clone(v.MR.Findings)
	for _, run := range v.Proposals {
		if run.Commit != v.MR.Head {
			continue
		}
		for _, c := range run.Checks {
			for _, f := range c.Findings {
				if c.Verdict == plumbline.VerdictFail && f.File != "" {
					f.Message = string(c.Name) + ": " + f.Message
					all = append(all, f)
				}
			}
		}
		if run.Failure == nil {
			continue
		}
		for _, d := range run.Failure.Diagnostics {
			if d.File != "" && d.Severity == "error" { // as seen from the stack's directory
				all = append(all, plumbline.Finding{File: path.Join(run.Spec.Dir, d.File), Line: d.Line, Message: strings.TrimSpace(d.Summary + ". " + d.Detail)})
			}
		}
	}
	key := "findings " + v.MR.ID
	c := plumbline.CheckRun{Findings: all}
	c.Context, c.State, c.URL = findingsCheck, plumbline.ToldFailure, r.c.PublicURL
	c.Description = fmt.Sprintf("%d findings", len(all))
	if len(all) == 0 { // to be said only where something else was
		if was, err := r.c.Ledger.Told(ctx, r.c.Repository.Name, key); err != nil || was == "" {
			return err
		}
		c.State, c.Description = plumbline.ToldSuccess, "no findings"
	}
	if len(all) == 1 {
		c.Description = "1 finding"
	}
	var lines []string
	for _, one := range all {
		lines = append(lines, "- "+inMarkdown.cell(one.String()))
	}
	c.Summary = strings.Join(lines, "\n")
	_, err := r.once(ctx, key, v.MR.Head+fmt.Sprint(all), func() error { return f.SetCheck(ctx, v.MR.Head, c) })
	if err := optional(err); err != nil {
		return fmt.Errorf("findings of %s: %w", v.MR.Name(), err)
	}
	return nil
}
