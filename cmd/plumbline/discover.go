package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func newDiscoverCmd(o *options) *cobra.Command {
	var changed string
	var explain bool
	cmd := &cobra.Command{
		Use:   "discover [DIR] [--changed A..B]",
		Short: "Find the stacks of a checkout, or those that a change touches",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			if changed == "" {
				return discoverTree(cmd, o, dir, explain)
			}
			return discoverChange(cmd, o, dir, changed, explain)
		},
	}
	cmd.Flags().StringVar(&changed, "changed", "", "only what the commits A..B touch")
	cmd.Flags().BoolVar(&explain, "explain", false, "say which rule decided, or how a change reaches a stack")
	return cmd
}

func discoverTree(cmd *cobra.Command, o *options, dir string, explain bool) error {
	info, err := os.Stat(dir)
	if err != nil {
		return usageError(err)
	}
	if !info.IsDir() {
		return usageError(fmt.Errorf("%s is not a directory", dir))
	}
	layout, err := discover.Stacks(cmd.Context(), os.DirFS(dir), discover.Options{})
	if err != nil {
		return err
	}
	if o.JSON {
		return printJSON(o.Out, layout)
	}
	w := tabwriter.NewWriter(o.Out, 0, 8, 2, ' ', 0)
	for _, s := range layout.Stacks {
		switch {
		case len(s.Broken) > 0:
			fmt.Fprintf(w, "%s\tcannot be read: %s\n", s.Name, s.Broken[0])
		case explain:
			fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Rule)
		default:
			fmt.Fprintf(w, "%s\t%s\n", s.Name, after(s.DependsOn))
		}
	}
	if explain {
		for _, other := range layout.Others {
			fmt.Fprintf(w, "%s\tnot a stack: %s\n", other.Dir, other.Rule)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return findings(o, layout)
}

func after(deps []string) string {
	if len(deps) == 0 {
		return ""
	}
	return "after " + strings.Join(deps, ", ")
}

// findings prints what could not be read; with any the command has failed.
func findings(o *options, layout plumbline.Layout) error {
	bad := len(layout.Findings) > 0
	for _, f := range layout.Findings {
		fmt.Fprintf(o.Err, "%s\n", f)
		if f.Source != "" {
			fmt.Fprintf(o.Err, "  %d │ %s\n", f.Line, f.Source)
		}
	}
	for _, s := range layout.Stacks {
		bad = bad || len(s.Broken) > 0
	}
	if bad {
		return &exitError{code: exitFailed}
	}
	return nil
}

// repoAt opens the Git repository that dir is in, through a throw-away mirror of it.
func repoAt(cmd *cobra.Command, dir string) (*git.Repo, func(), error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	root := abs
	for {
		if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
			break
		}
		if parent := filepath.Dir(root); parent != root {
			root = parent
			continue
		}
		return nil, nil, usageError(fmt.Errorf("%s is not in a Git checkout", dir))
	}
	tmp, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return nil, nil, err
	}
	repo, err := git.Open(git.Config{Dir: tmp}, "checkout", git.Remote{URL: root})
	if err != nil {
		return nil, nil, err
	}
	refs, err := repo.Refs(cmd.Context())
	if err == nil {
		err = repo.Fetch(cmd.Context(), refs)
	}
	done := func() { _ = repo.Close(); _ = os.RemoveAll(tmp) }
	if err != nil {
		done()
		return nil, nil, err
	}
	return repo, done, nil
}

// resolve turns what people write (a branch, HEAD~3, a tag, a short commit) into a commit, as Git itself would.
func resolve(ctx context.Context, dir, name string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", usageError(fmt.Errorf("there is no commit %q in %s", name, dir))
	}
	return strings.TrimSpace(string(out)), nil
}

func layoutAt(cmd *cobra.Command, repo *git.Repo, treeish string) (plumbline.Layout, error) {
	var fsys fs.FS
	fsys, err := repo.FS(treeish)
	if err != nil {
		return plumbline.Layout{}, err
	}
	return discover.Stacks(cmd.Context(), fsys, discover.Options{})
}

// touchedBy reads a change off a checkout's commits.
func touchedBy(cmd *cobra.Command, dir, changed string) ([]plumbline.Touch, plumbline.Layout, error) {
	a, b, ok := strings.Cut(changed, "..")
	if !ok || a == "" {
		return nil, plumbline.Layout{}, usageError(fmt.Errorf("--changed %q is not of the form A..B", changed))
	}
	if b = strings.TrimPrefix(b, "."); b == "" {
		b = "HEAD"
	}
	repo, done, err := repoAt(cmd, dir)
	if err != nil {
		return nil, plumbline.Layout{}, err
	}
	defer done()
	from, err := resolve(cmd.Context(), dir, a)
	if err != nil {
		return nil, plumbline.Layout{}, err
	}
	to, err := resolve(cmd.Context(), dir, b)
	if err != nil {
		return nil, plumbline.Layout{}, err
	}
	paths, err := repo.Changed(cmd.Context(), from, to)
	if err != nil {
		return nil, plumbline.Layout{}, err
	}
	before, err := layoutAt(cmd, repo, from)
	if err != nil {
		return nil, plumbline.Layout{}, err
	}
	layout, err := layoutAt(cmd, repo, to)
	if err != nil {
		return nil, plumbline.Layout{}, err
	}
	return plumbline.Touched(before, layout, paths), layout, nil
}

func discoverChange(cmd *cobra.Command, o *options, dir, changed string, explain bool) error {
	touched, layout, err := touchedBy(cmd, dir, changed)
	if err != nil {
		return err
	}
	if o.JSON {
		return printJSON(o.Out, touched)
	}
	w := tabwriter.NewWriter(o.Out, 0, 8, 2, ' ', 0)
	in := map[string]bool{}
	for _, t := range touched {
		in[t.Stack.Name] = true
		what := "touched: " + t.Because
		switch {
		case t.Removed:
			what = "removed"
		case len(t.Stack.Broken) > 0:
			what = "cannot be read: " + t.Stack.Broken[0].String()
		case !explain:
			what = ""
		}
		fmt.Fprintf(w, "%s\t%s\n", t.Stack.Name, what)
	}
	if explain {
		for _, s := range layout.Stacks {
			for _, d := range s.DependsOn {
				if in[d] && !in[s.Name] {
					fmt.Fprintf(w, "%s\tnot touched (depends on %s)\n", s.Name, d)
				}
			}
		}
	}
	return w.Flush()
}
