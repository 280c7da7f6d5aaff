package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/propose"
)

// initFlags are what init is told beside where to look.
type initFlags struct {
	out          string
	yes, force   bool
	forge        string
	environments []string
	approvers    []string
	dataDir      string
}

func newInitCmd(o *options) *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init [DIR|URL]",
		Short: "Look at a repository, ask little, write a first plumbline.hcl",
		Long: `Looks at a checkout (default: this directory), or at a repository that your own Git credentials can read, for stacks, environments, backends,
providers and the forge; asks what the files cannot tell; writes a plumbline.hcl that validates, with comments on what was found and what to fill in.

It asks no forge and no cloud for anything, and never for a token.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where := "."
			if len(args) == 1 {
				where = args[0]
			}
			return initialise(cmd.Context(), o, where, flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.out, "out", "plumbline.hcl", `the file to write; "-" is standard output`)
	f.BoolVar(&flags.yes, "yes", false, "take what is proposed, ask nothing")
	f.BoolVar(&flags.force, "force", false, "overwrite the file")
	f.StringVar(&flags.forge, "forge", "", "the forge: "+strings.Join(config.Kinds, ", "))
	f.StringArrayVar(&flags.environments, "environment", nil, "an environment, as NAME=BRANCH or NAME=BRANCH:GLOB; several times; in place of those that are found")
	f.StringArrayVar(&flags.approvers, "approver", nil, "who may approve, by name on the forge; several times")
	f.StringVar(&flags.dataDir, "data-dir", "", "where the daemon keeps its things; default: a directory of yours, or "+systemDataDir+" for root")
	return cmd
}

const systemDataDir = "/var/lib/plumbline"

func (flags initFlags) answers() (propose.Answers, error) {
	a := propose.Answers{Forge: flags.forge, Approvers: flags.approvers, DataDir: flags.dataDir}
	if a.Forge != "" && !slices.Contains(config.Kinds, a.Forge) {
		return a, usageError(fmt.Errorf("%q is no kind of forge; there are %s", a.Forge, strings.Join(config.Kinds, ", ")))
	}
	for _, s := range flags.environments {
		e, err := propose.ParseEnvironment(s)
		if err != nil {
			return a, usageError(fmt.Errorf("--environment %w", err))
		}
		a.Environments = append(a.Environments, e)
	}
	if a.DataDir == "" {
		a.DataDir = dataDir()
	}
	return a, nil
}

// dataDir is a directory that whoever tries Plumbline can write to.
func dataDir() string {
	state := os.Getenv("XDG_STATE_HOME")
	home, err := os.UserHomeDir()
	switch {
	case os.Getuid() == 0 || state == "" && err != nil:
		return systemDataDir
	case filepath.IsAbs(state):
		return filepath.Join(state, "plumbline")
	}
	return filepath.Join(home, ".local", "state", "plumbline")
}

func initialise(ctx context.Context, o *options, where string, flags initFlags) error {
	answers, err := flags.answers()
	if err != nil {
		return err
	}
	if err := free(flags); err != nil { // before anybody waits for a clone
		return err
	}
	look := lookAt
	if looksRemote(where) {
		look = lookFrom
	}
	f, err := look(ctx, o, where)
	if err != nil {
		return err
	}
	// With - the file alone is on standard output.
	tell := o.Out
	if flags.out == "-" {
		tell = o.Err
	}
	quiet := o.JSON && flags.out != "-"
	if open := propose.Questions(f.Facts, answers); len(open) > 0 && !flags.yes {
		if !canAsk(o) {
			return usageError(propose.Open(open))
		}
		if answers, err = ask(bufio.NewReader(o.In), o.Err, f.Facts, answers); err != nil {
			return err
		}
	}
	p := propose.Make(f.Facts, answers)
	src, err := p.HCL()
	if err != nil {
		return usageError(fmt.Errorf("%w\nNothing was written. --environment and --forge say it in other words", err))
	}
	if flags.out == "-" {
		if _, err := o.Out.Write(src); err != nil {
			return err
		}
	} else if err := writeNew(flags.out, src, flags.force); err != nil {
		return err
	}
	if quiet {
		return printJSON(o.Out, struct {
			File     string
			Found    propose.Facts
			Proposed propose.Proposal
		}{flags.out, f.Facts, p})
	}
	if err := p.Tell(tell, f.Facts); err != nil {
		return err
	}
	if flags.out == "-" {
		return nil
	}
	fmt.Fprintf(tell, "\nWrote %s. Read it: what to fill in stands in its comments.\n\n", diff.Clean(flags.out))
	return p.Next(tell, flags.out, f.at)
}

// canAsk tells whether somebody is there to answer.
func canAsk(o *options) bool {
	in, ok := o.In.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && isTerminal(o.Err)
}

// ask puts the open questions, one after the other: what is answered can open another, or close it.
func ask(in *bufio.Reader, out io.Writer, f propose.Facts, a propose.Answers) (propose.Answers, error) {
	for {
		open := propose.Questions(f, a)
		if len(open) == 0 {
			fmt.Fprintln(out)
			return a, nil
		}
		q := open[0]
		fmt.Fprintf(out, "%s\n  [%s] ", diff.Clean(q.Text), diff.Clean(q.Default))
		line, err := in.ReadString('\n')
		if err != nil && line == "" {
			fmt.Fprintln(out)
			return a, usageError(errors.New("the answer was not given; nothing was written"))
		}
		if err := q.Answer(&a, strings.TrimSpace(line)); err != nil {
			fmt.Fprintf(out, "  %s\n", diff.Clean(err.Error()))
		}
	}
}

// free refuses a file that is there already.
func free(flags initFlags) error {
	if flags.force || flags.out == "-" {
		return nil
	}
	if _, err := os.Lstat(flags.out); err == nil {
		return taken(flags.out)
	}
	return nil
}

func taken(name string) error {
	return usageError(fmt.Errorf("%s is there already and was not touched\n--force overwrites it, --out FILE writes another, --out - shows what would be written", name))
}

// writeNew writes a file so that there is all of it or nothing, under its name only when it is whole.
func writeNew(name string, data []byte, force bool) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".plumbline-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if e := os.Remove(tmp.Name()); err == nil && e != nil && !errors.Is(e, os.ErrNotExist) {
			err = e
		}
	}()
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if force {
		err = os.Rename(tmp.Name(), name)
	} else if err = os.Link(tmp.Name(), name); errors.Is(err, os.ErrExist) { // a link takes no name that somebody has taken meanwhile
		return taken(name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
