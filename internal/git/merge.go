package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Merge returns the tree that merging head into base gives. Where they cannot be merged the error is
// plumbline.ErrMergeConflict, and conflicts has the paths in which they clash, none when the two share no history.
//
// When one contains the other, nothing has to be merged. Else the program git does it, in the mirror, without a work
// tree: go-git cannot.
func (r *Repo) Merge(ctx context.Context, base, head string) (tree string, conflicts []string, err error) {
	if done, err := r.IsAncestor(ctx, base, head); err != nil {
		return "", nil, err
	} else if done {
		tree, err := r.Tree(head)
		return tree, nil, err
	}
	if done, err := r.IsAncestor(ctx, head, base); err != nil {
		return "", nil, err
	} else if done {
		tree, err := r.Tree(base)
		return tree, nil, err
	}
	cmd := r.mergeCommand(ctx, base, head)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	fields := strings.Split(strings.TrimRight(stdout.String(), "\x00"), "\x00")
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", nil, fmt.Errorf("merge in %s: %w", r.name, ctx.Err())
	case err == nil:
		if _, err := parseHash(fields[0]); err != nil {
			return "", nil, fmt.Errorf("merge in %s: git answers %.80q", r.name, stdout.String())
		}
		return fields[0], nil, nil
	case errors.As(err, &exit) && exit.ExitCode() == 1 && hashForm.MatchString(fields[0]):
		conflicts = fields[1:]
		for i, p := range conflicts {
			conflicts[i] = strings.ToValidUTF8(p, "\uFFFD")
		}
		slices.Sort(conflicts)
		conflicts = slices.Compact(conflicts)
		return "", conflicts, fmt.Errorf("%s cannot be merged into %s: both changed %s: %w",
			plumbline.Short(head), plumbline.Short(base), some(conflicts), plumbline.ErrMergeConflict)
	case strings.Contains(stderr.String(), "unrelated histories"):
		return "", nil, fmt.Errorf("%s cannot be merged into %s: they have no commit in common: %w",
			plumbline.Short(head), plumbline.Short(base), plumbline.ErrMergeConflict)
	}
	return "", nil, r.mergeFailed(ctx, err, stderr.String())
}

// some names a few paths for a sentence.
func some(paths []string) string {
	const few = 5
	if len(paths) <= few {
		return strings.Join(paths, ", ")
	}
	return fmt.Sprintf("%s, %d more", strings.Join(paths[:few], ", "), len(paths)-few)
}

func (r *Repo) mergeCommand(ctx context.Context, base, head string) *exec.Cmd {
	return r.gitCommand(ctx, "merge-tree", "--write-tree", "--name-only", "-z", "--no-messages", base, head)
}

// gitCommand runs git in the mirror. It sees no configuration but the mirror's, which we wrote, none of the daemon's
// environment, no replaced objects, and starts neither hooks nor helpers. Naming the directory keeps git from refusing
// a mirror that belongs to another user.
func (r *Repo) gitCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.program, append([]string{"--git-dir=" + r.dir, "-c", "core.hooksPath=" + os.DevNull}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_TERMINAL_PROMPT=0",
	}
	return cmd
}

// mergeFailed finds out whether git is missing or too old to merge without a work tree.
func (r *Repo) mergeFailed(ctx context.Context, err error, stderr string) error {
	const next = "Install git 2.38 or newer where Plumbline runs, or use a forge that gives merge results itself."
	version, verr := r.gitCommand(ctx, "version").Output()
	if verr != nil {
		return &plumbline.Refusal{Kind: plumbline.ErrNotFound, Next: next,
			What: fmt.Sprintf("The merge request of %s cannot be planned: its merge takes the program git, which does not start: %v.", r.name, verr)}
	}
	if v := strings.TrimSpace(string(version)); tooOld(v) {
		return &plumbline.Refusal{Kind: plumbline.ErrNotFound, Next: next,
			What: fmt.Sprintf("The merge request of %s cannot be planned: its merge takes git 2.38, and this is %s.", r.name, v)}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	return fmt.Errorf("merge in %s: %w: %s", r.name, err, first)
}

// tooOld reads the output of "git version"; what it cannot read is not too old.
func tooOld(version string) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "git version "), ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	minor, err := strconv.Atoi(parts[1])
	return err == nil && (major < 2 || major == 2 && minor < 38)
}
