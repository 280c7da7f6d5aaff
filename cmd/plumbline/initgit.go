package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/propose"
	"github.com/plumbline/plumbline/internal/redact"
)

// looksRemote tells an address from a directory. A directory that exists is one, whatever its name.
func looksRemote(arg string) bool {
	if _, err := os.Stat(arg); err == nil {
		return false
	}
	if strings.Contains(arg, "://") {
		return true
	}
	host, rest, ok := strings.Cut(arg, ":")
	return ok && host != "" && rest != "" && !strings.ContainsAny(host, `/\`)
}

// ownGit runs git as its user would, with the user's own credentials, and returns what it printed. It asks for a password only on a terminal. hide is
// an address that may hold one: what Git says of it is masked.
func ownGit(ctx context.Context, o *options, dir, hide string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_LFS_SKIP_SMUDGE=1")
	if !isTerminal(o.Err) {
		cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0")
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		text := strings.TrimSpace(said.String())
		if hide != "" {
			text = strings.ReplaceAll(text, hide, propose.Shown(hide))
		}
		text = redact.New(propose.Secrets(hide)...).WithShapes().String(text)
		return "", fmt.Errorf("git %s: %s", args[0], text)
	}
	if err != nil {
		return "", fmt.Errorf("git cannot be run: %w", err)
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// found is what init looks at, and where.
type found struct {
	propose.Facts
	at string // the checkout as it was named, for commands that are printed; "": there is none that stays
}

// lookAt collects the facts of a checkout, without a network.
func lookAt(ctx context.Context, o *options, dir string) (found, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return found{}, usageError(err)
	}
	if !info.IsDir() {
		return found{}, usageError(fmt.Errorf("%s is not a directory", dir))
	}
	top, err := ownGit(ctx, o, dir, "", "rev-parse", "--show-toplevel")
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return found{}, ctx.Err()
		}
		if bare, err := ownGit(ctx, o, dir, "", "rev-parse", "--is-bare-repository"); err == nil && bare == "true" {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return found{}, err
			}
			return lookFrom(ctx, o, abs)
		}
		return found{}, usageError(fmt.Errorf("%s is not in a Git checkout, and Plumbline keeps infrastructure true to Git\n"+
			"Name a checkout or an address: plumbline init DIR|URL. A new repository begins with git init\n  %w", dir, err))
	}
	f := found{at: dir, Facts: propose.Facts{Dir: dir, Checkout: top}}
	if abs, err := filepath.Abs(dir); err == nil {
		if real, err := filepath.EvalSymlinks(abs); err == nil && real != top {
			f.Dir, f.at = top, top // what is in it is named from its top
		}
	}
	if f.Remote, err = remoteOf(ctx, o, top); err != nil {
		return found{}, err
	}
	refs, err := ownGit(ctx, o, top, f.Remote, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes/origin")
	if err != nil {
		return found{}, err
	}
	for _, ref := range strings.Split(refs, "\n") {
		name, ok := strings.CutPrefix(ref, "refs/heads/")
		if !ok {
			if name, ok = strings.CutPrefix(ref, "refs/remotes/origin/"); !ok || name == "HEAD" {
				continue
			}
		}
		f.Branches = append(f.Branches, name)
	}
	// A detached HEAD, or a clone that was never told the remote's, has neither: then the main branch is guessed by its name.
	if head, err := ownGit(ctx, o, top, f.Remote, "symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"); err == nil {
		f.Default = strings.TrimPrefix(head, "refs/remotes/origin/")
	} else if head, err := ownGit(ctx, o, top, f.Remote, "symbolic-ref", "--quiet", "HEAD"); err == nil && !hasMain(f.Branches) {
		f.Default = strings.TrimPrefix(head, "refs/heads/")
	}
	return f, f.read(ctx, top)
}

func hasMain(branches []string) bool {
	return slices.Contains(branches, "main") || slices.Contains(branches, "master")
}

// remoteOf is where a checkout is fetched from: origin, or the only remote that it has.
func remoteOf(ctx context.Context, o *options, top string) (string, error) {
	names, err := ownGit(ctx, o, top, "", "remote")
	if err != nil || names == "" {
		return "", err
	}
	list := strings.Split(names, "\n")
	name := list[0]
	if slices.Contains(list, "origin") {
		name = "origin"
	}
	address, err := ownGit(ctx, o, top, "", "remote", "get-url", name)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(address) && !looksRemote(address) {
		address = filepath.Join(top, address)
	}
	return address, nil
}

// lookFrom collects the facts of a repository elsewhere, by a clone that is thrown away.
func lookFrom(ctx context.Context, o *options, address string) (found, error) {
	f := found{Facts: propose.Facts{Dir: propose.Shown(address), Remote: address}}
	fmt.Fprintf(o.Err, "reading %s …\n", legible(f.Dir))
	heads, err := ownGit(ctx, o, "", address, "ls-remote", "--symref", "--", address, "HEAD", "refs/heads/*")
	if err != nil {
		return f, fmt.Errorf("%s cannot be read with your own Git credentials\n  %w", f.Dir, err)
	}
	for _, line := range strings.Split(heads, "\n") {
		what, ref, _ := strings.Cut(line, "\t")
		if to, ok := strings.CutPrefix(what, "ref: refs/heads/"); ok && ref == "HEAD" {
			f.Default = to
		} else if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
			f.Branches = append(f.Branches, name)
		}
	}
	if len(f.Branches) == 0 {
		return f, usageError(fmt.Errorf("%s has no branch yet. Push a first commit, then try again", f.Dir))
	}
	if !slices.Contains(f.Branches, f.Default) { // HEAD can name a branch that nobody has made
		f.Default = ""
	}
	tmp, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return f, err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what stays behind is a copy in a directory for such
	tree := filepath.Join(tmp, "tree")
	if _, err := ownGit(ctx, o, "", address, "clone", "--quiet", "--depth=1", "--no-tags", "--branch="+f.MainBranch(), "--", address, tree); err != nil {
		return f, fmt.Errorf("%s cannot be cloned with your own Git credentials\n  %w", f.Dir, err)
	}
	return f, f.read(ctx, tree)
}

// read looks at the files.
func (f *found) read(ctx context.Context, top string) error {
	fsys := os.DirFS(top)
	var err error
	if f.Layout, err = discover.Stacks(ctx, fsys, discover.Options{}); err != nil {
		return err
	}
	if len(f.Layout.Stacks) == 0 {
		return usageError(fmt.Errorf("%s holds no stack: no directory with Terraform files that is not a module of another. Nothing was written\n"+
			"In a checkout, `plumbline discover --explain` says of each directory why it is none", f.Dir))
	}
	if f.Traits, err = discover.Survey(ctx, fsys, f.Layout.Stacks); err != nil {
		return err
	}
	// A version file counts for the stacks at and below it.
	for _, s := range f.Layout.Stacks {
		for dir := s.Dir; ; dir = filepath.ToSlash(filepath.Dir(dir)) {
			f.PinsTofu = f.PinsTofu || isFile(fsys, filepath.ToSlash(filepath.Join(dir, ".opentofu-version")))
			f.PinsOthers = f.PinsOthers || isFile(fsys, filepath.ToSlash(filepath.Join(dir, ".terraform-version")))
			if dir == "." {
				break
			}
		}
	}
	return nil
}

func isFile(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}
