package watch

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Editor makes commits that change what is in files.
type Editor interface {
	// Directory returns the files of one directory by name.
	Directory(treeish, dir string) (map[string][]byte, error)
	// Edit makes such a commit and pushes it. plumbline.ErrConflict: the branch is not where it was expected, and stays there.
	Edit(ctx context.Context, e plumbline.Edition) (commit string, err error)
}

// Adopter returns those of a directory's files that must change, as they must be, so that they ask for an object as it was found. plumbline.ErrConflict: that
// cannot be done, and the text is one phrase that says why.
type Adopter func(files map[string][]byte, d plumbline.Difference) (map[string][]byte, error)

// subjectAdopt is where the ledger keeps the commit that was pushed last so that Git says what is the case in a stack.
func subjectAdopt(env, stack string) string { return "adopt " + env + "/" + stack }

// adoption opens or refreshes the merge request by which Git says what is the case in a stack. A commit on its branch that is not the one that was pushed
// last is a person's, and not touched. A Refusal says in one phrase why there is none.
func (w *Watcher) adoption(ctx context.Context, env plumbline.Environment, refs map[string]string, head string, a plumbline.Ailing, c plumbline.Cure) (mr string, err error) {
	no := func(format string, args ...any) (string, error) {
		return "", refused(plumbline.ErrConflict, format, args...)
	}
	if w.adopt == nil {
		return no("this Plumbline cannot")
	}
	if err := w.signable(env, head); err != nil {
		return no("its commits carry no signature, and %s takes none without", env.Name)
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + env.Branch: head}); err != nil {
		return "", fmt.Errorf("fetch: %w", err)
	}
	dir := a.Stack.Spec.Dir
	files, err := w.git.Directory(head, dir)
	if err != nil {
		return "", err
	}
	changed := map[string][]byte{}
	var lines []string
	for _, it := range c.Items {
		d := it.Shown()
		now, err := w.adopt(files, d)
		if errors.Is(err, plumbline.ErrConflict) {
			return no("%s", strings.TrimSuffix(err.Error(), "."))
		}
		if err != nil {
			return "", err
		}
		for name, text := range now {
			files[name], changed[path.Join(dir, name)] = text, text
		}
		for _, at := range d.Attributes {
			lines = append(lines, fmt.Sprintf("- `%s`: `%s`", d.Address, strings.ReplaceAll(at.Path, "`", "'")))
		}
	}
	stack := a.Stack.Stack.Name
	p, ok := w.forge.(proposer)
	branch := "plumbline/drift/" + env.Name + "/" + branchPart(stack)
	if !ok {
		branch = path.Join("propose", env.Branch, "drift-"+env.Name+"-"+branchPart(stack))
	}
	was, err := w.ledger.Seen(ctx, w.repo.Name, subjectAdopt(env.Name, stack))
	if err != nil {
		return "", err
	}
	expect := refs["refs/heads/"+branch]
	if expect != was {
		expect = "" // right only if it is the very commit that is pushed now: the answer to that was lost
	}
	title := fmt.Sprintf("Adopt what %s is in %s", stack, env.Name)
	message := fmt.Sprintf("%s\n\nIt was changed outside Git, as run %s found. This has Git ask for what is the case:\n\n%s\n", title, a.Check.ID, strings.Join(lines, "\n"))
	commit, err := w.git.Edit(ctx, plumbline.Edition{Onto: head, Files: changed, Branch: branch, Expect: expect, Message: message, When: a.Check.Finished})
	switch {
	case errors.Is(err, plumbline.ErrConflict) && refs["refs/heads/"+branch] != "":
		return no("branch %s has commits that are not Plumbline's", branch)
	case err != nil:
		return "", err
	}
	if commit != was {
		_, err := w.ledger.Observe(ctx, plumbline.Observation{Repository: w.repo.Name, Subject: subjectAdopt(env.Name, stack), Was: was, Now: commit, At: w.now()})
		if err != nil && !errors.Is(err, plumbline.ErrConflict) { // another machine has
			return "", err
		}
	}
	if !ok {
		return strings.TrimPrefix(branch, "propose/"), nil
	}
	body := fmt.Sprintf("**%s** in **%s** was changed outside Git, as run %s found. Merging this has Git ask for what is the case:\n\n%s\n\nIts plan says whether that is all: it should have no changes. "+
		"To put reality right instead, close this and run `plumbline env deploy %s %s`.\n\nPlumbline opened this and brings it up to date when something else is found.",
		stack, env.Name, a.Check.ID, strings.Join(slices.Compact(lines), "\n"), env.Name, stack)
	opened, err := p.OpenMergeRequest(ctx, plumbline.NewMergeRequest{Source: branch, Target: env.Branch, Title: title, Body: body, Labels: []string{"plumbline", "drift"}})
	if errors.Is(err, errors.ErrUnsupported) {
		return no("this forge has no merge requests that could be opened")
	}
	if err != nil {
		return "", w.heed(err)
	}
	return opened.ID, nil
}

// branchPart is a stack's name as one part of a branch's: Git has no branch "a/b" beside a branch "a".
func branchPart(stack string) string {
	if stack == "." {
		return "root"
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.Trim(stack, "."), "-", "--"), "/", "-")
}
