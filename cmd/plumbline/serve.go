package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/config"
)

func newServeCmd(o *options) *cobra.Command {
	var path string
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the daemon",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Context(), path)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), o, cfg, grace, nil)
		},
	}
	cmd.Flags().StringVar(&path, "config", "plumbline.hcl", "a file, or a directory of *.hcl files")
	cmd.Flags().DurationVar(&grace, "grace", 30*time.Minute, "how long running applies may go on after SIGTERM before they are interrupted")
	return cmd
}

func loadConfig(ctx context.Context, path string) (*config.Config, error) {
	// AWS is asked for credentials only if the configuration asks it for something.
	account := aws.NewLazy(aws.Config{})
	cfg, err := config.Load(path, func(s *config.System) {
		s.AWSSecret = func(id string) (string, error) {
			a, err := account.Account(ctx)
			if err != nil {
				return "", err
			}
			return a.Secret(ctx, id)
		}
		s.AWSParameter = func(name string) (string, error) {
			a, err := account.Account(ctx)
			if err != nil {
				return "", err
			}
			return a.Parameter(ctx, name)
		}
	})
	if err != nil {
		return nil, usageError(err)
	}
	return cfg, nil
}

// serve runs a daemon until ctx ends, which drains it: applies finish, within grace. A second signal interrupts them at once.
func serve(ctx context.Context, o *options, cfg *config.Config, grace time.Duration, ready func(*daemon) error) error {
	log := newLogger(o.Err, cfg.Secrets, isTerminal(o.Err))
	d, err := build(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := d.close(); err != nil {
			log.Warn("close", zap.Error(err))
		}
	}()
	hard, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	go func() {
		select {
		case <-hard.Done():
			return
		case <-ctx.Done():
		}
		log.Info("stopping: no new runs; plans are given back, applies finish", zap.Duration("within", grace))
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(again)
		select {
		case <-hard.Done():
		case <-again:
			stop(fmt.Errorf("told twice to stop"))
		case <-time.After(grace):
			stop(fmt.Errorf("applies were still running after %s", grace))
		}
	}()
	log.Info("ready", zap.String("url", cfg.Server.PublicURL), zap.Int("repositories", len(cfg.Repositories)), zap.String("version", version()))
	if ready != nil {
		if err := ready(d); err != nil {
			return err
		}
	} else if cfg.OIDC != nil {
		fmt.Fprintf(o.Out, "Sign in at %s\n", cfg.Server.PublicURL)
	} else {
		fmt.Fprintf(o.Out, "Sign in once, within 15 minutes: %s\n", d.web.SignInLink(cfg.Server.PublicURL))
	}
	return d.run(hard, ctx)
}
