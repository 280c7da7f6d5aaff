package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/runner"
	"github.com/plumbline/plumbline/internal/worker"
)

// clouds lends runs the credentials that their environment asks for.
type clouds struct {
	account     *aws.Account
	environment func(plumbline.StackRef) (plumbline.Environment, bool)
	program     string // this one
	log         *zap.Logger
}

// How long credentials live. A plan that outlives the daemon's absence is made again; an apply has to get through the daemon's replacement.
const (
	planCredentials  = 15 * time.Minute
	applyCredentials = time.Hour
)

// newClouds returns nil when no environment asks for credentials.
func newClouds(ctx context.Context, cfg *config.Config, environment func(plumbline.StackRef) (plumbline.Environment, bool), log *zap.Logger) (*clouds, error) {
	wanted := false
	for _, repo := range cfg.Repositories {
		for _, env := range repo.Environments {
			wanted = wanted || len(env.AWS.Roles()) > 0
		}
	}
	if !wanted {
		return nil, nil
	}
	account, err := aws.Load(ctx, aws.Config{})
	if err != nil {
		return nil, err
	}
	program := runnerProgram
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	return &clouds{account: account, environment: environment, program: program, log: log}, nil
}

// Lend gives a phase of a run the role that is meant for it.
func (c *clouds) Lend(ctx context.Context, run plumbline.Run, job plumbline.Job) (worker.Loan, error) {
	env, ok := c.environment(run.Stack)
	if !ok {
		return nil, fmt.Errorf("%s is not in the configuration any more: %w", run.Stack, plumbline.ErrInvalid)
	}
	a := env.AWS.For(run.Stack.Name)
	role := a.Role(job.Phase)
	switch {
	case len(a.Roles()) == 0:
		return nil, nil
	case role == "":
		return nil, &plumbline.Refusal{
			Kind: plumbline.ErrDenied, What: fmt.Sprintf("There is no role for what the %s of %s would do on AWS.", job.Phase, run.Stack), Next: "Add apply_role to the aws block of the environment.",
		}
	}
	lifetime := planCredentials
	if job.Phase == plumbline.PhaseApply {
		lifetime = applyCredentials
	}
	loan, err := c.account.Lend(ctx, aws.Order{
		Role: aws.Role{
			ARN: role, ExternalID: a.ExternalID, Region: cmp.Or(a.Region, said(job.Env, "AWS_REGION", "AWS_DEFAULT_REGION"), c.account.Region()), TokenFile: a.WebIdentity, Lifetime: lifetime,
			Session: "plumbline-run-" + run.ID.String(),
			Tags: map[string]string{
				"repository": run.Stack.Repository, "environment": run.Stack.Environment, "stack": run.Stack.Name, "commit": run.Commit, "kind": string(run.Kind),
			},
		},
		Dir: job.Dir, File: runner.CredentialsFile, Home: runner.Home, Program: []string{c.program, "runner", "credentials", job.Dir},
	}, func(err error) { c.log.Warn("credentials", zap.Stringer("run", run.ID), zap.Error(err)) })
	if err != nil {
		return nil, err
	}
	return loan, nil
}

// said is the value of the first of these variables that an environment has; "": it has none of them.
func said(env []plumbline.EnvVar, names ...string) string {
	for _, name := range names {
		for _, v := range env {
			if v.Name == name && !v.Value.IsZero() {
				return v.Value.Reveal()
			}
		}
	}
	return ""
}
