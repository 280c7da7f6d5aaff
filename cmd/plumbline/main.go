// Command plumbline keeps Terraform-managed infrastructure true to Git.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules name time zones; a container may have none

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/runner"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // usage or configuration
	exitDifferences = 3 // plan, drift check: differences were found
)

// exitError ends the program with a code; err may be nil when all was said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprint("exit code ", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }

func main() {
	// The runner is started once for each plan and apply: it goes the short way.
	if len(os.Args) > 1 && os.Args[1] == "runner" {
		os.Exit(runner.Main(context.Background(), os.Args[2:], os.Stdin))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program without the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot(in, out, errOut)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		if exit.err != nil {
			complain(errOut, exit.err)
		}
		return exit.code
	}
	complain(errOut, err)
	// cobra's own complaints about the number of arguments have no type.
	if s := err.Error(); strings.HasPrefix(s, "accepts ") || strings.HasPrefix(s, "requires ") || strings.HasPrefix(s, "unknown command") {
		return exitUsage
	}
	return exitFailed
}

// complain prints an error. What stands in it can come from a file or a name that nobody has looked at: a terminal must not obey it.
func complain(w io.Writer, err error) {
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintln(w, diff.Clean(line))
	}
}

func newRoot(in io.Reader, out, errOut io.Writer) *cobra.Command {
	o := newOptions(in, out, errOut)
	root := &cobra.Command{
		Use:   "plumbline",
		Short: "Keeps Terraform-managed infrastructure true to Git",
		Long: `Plumbline polls infrastructure repositories, plans merge requests and answers on them, applies when a change lands on an
environment's branch and the right people have agreed to that very plan, and finds drift on a schedule.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := "`plumbline --help` lists the commands"
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, " or ") + "?"
			}
			return usageError(fmt.Errorf("unknown command %q\n%s", args[0], hint))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w\n`%s --help` lists the flags", err, cmd.CommandPath()))
	})
	root.PersistentFlags().BoolVar(&o.JSON, "json", false, "print JSON")
	root.PersistentFlags().StringVar(&o.URL, "url", o.URL, "the daemon's address (PLUMBLINE_URL)")
	root.AddCommand(
		newServeCmd(o), newDemoCmd(o), newValidateCmd(o), newDiscoverCmd(o), newPlanCmd(o), newReportCmd(o), newCheckCmd(o),
		newRunsCmd(o), newEnvCmd(o), newDriftCmd(o), newWhyCmd(o), newTokenCmd(o), newVersionCmd(o),
		newPolicyCmd(o), newAuditCmd(o), newNotifyCmd(o), newInitCmd(o),
	)
	return root
}

// version is what the build was stamped with.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "development"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			v += " (" + s.Value[:7] + ")"
		}
	}
	return v
}

func newVersionCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(o.Out, "plumbline", version())
			return err
		},
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
