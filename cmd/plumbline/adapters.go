package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/artifact"
	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
)

// repoGit is a repository's mirror that also reads what its files amount to.
type repoGit struct {
	*git.Repo
	cache *discover.Cache
	memo  *layouts
}

// layouts remembers the last few trees as a whole: a poll reads a handful, and every run of a commit asks for the same one again.
type layouts struct {
	mu    sync.Mutex
	trees []string
	byID  map[string]plumbline.Layout
}

const rememberedLayouts = 16

func (r repoGit) Layout(ctx context.Context, treeish string) (plumbline.Layout, error) {
	tree, err := r.Tree(treeish)
	if err != nil {
		return plumbline.Layout{}, err
	}
	r.memo.mu.Lock()
	l, ok := r.memo.byID[tree]
	r.memo.mu.Unlock()
	if ok {
		return l, nil
	}
	fsys, err := r.FS(tree)
	if err != nil {
		return plumbline.Layout{}, err
	}
	if l, err = discover.Stacks(ctx, fsys, discover.Options{Cache: r.cache}); err != nil {
		return l, err
	}
	r.memo.mu.Lock()
	defer r.memo.mu.Unlock()
	if _, ok := r.memo.byID[tree]; !ok {
		r.memo.byID[tree] = l
		r.memo.trees = append(r.memo.trees, tree)
		if len(r.memo.trees) > rememberedLayouts {
			delete(r.memo.byID, r.memo.trees[0])
			r.memo.trees = r.memo.trees[1:]
		}
	}
	return l, nil
}

// Unsigned tells which commits do not carry a signature by one of the keys, now.
func (r repoGit) Unsigned(ctx context.Context, base, head string, keys map[string]string, mergeOnly bool) ([]plumbline.Unsigned, error) {
	parsed, err := git.ParseKeys(keys)
	if err != nil {
		return nil, err
	}
	list, err := r.Verify(ctx, base, head, parsed, mergeOnly, time.Now())
	var out []plumbline.Unsigned
	for _, u := range list {
		out = append(out, plumbline.Unsigned{Commit: u.Commit, Author: u.Author, Why: u.Reason})
	}
	return out, err
}

// author is who commits that Plumbline makes are by.
const author = "Plumbline <plumbline@noreply.invalid>"

// Restore pushes a commit that puts files back.
func (r repoGit) Restore(ctx context.Context, p plumbline.Restoration) (commit string, changed bool, err error) {
	return r.PushRestore(ctx, git.Restore{
		Onto: p.Onto, To: p.To, Dirs: p.Dirs, Ref: "refs/heads/" + p.Branch, Expect: p.Expect, Message: p.Message, Author: author, When: p.When,
	})
}

// Edit pushes a commit that changes files.
func (r repoGit) Edit(ctx context.Context, e plumbline.Edition) (commit string, err error) {
	return r.PushEdit(ctx, git.Edit{
		Onto: e.Onto, Files: e.Files, Ref: "refs/heads/" + e.Branch, Expect: e.Expect, Message: e.Message, Author: author, When: e.When,
	})
}

// source lays out what a run plans: for a proposal the merge of its head into the target, else its commit.
type source struct {
	repos map[string]repoGit
	store *store.Store
	envs  func(plumbline.StackRef) (plumbline.Environment, bool)
}

func (s source) Checkout(ctx context.Context, run plumbline.Run, dir string) ([]plumbline.Finding, error) {
	repo, ok := s.repos[run.Stack.Repository]
	env, ok2 := s.envs(run.Stack)
	if !ok || !ok2 {
		return nil, fmt.Errorf("%s is not in the configuration any more: %w", run.Stack, plumbline.ErrInvalid)
	}
	// On another node than the one that saw the commit first, the mirror may not have it yet.
	refs := map[string]string{}
	treeish := run.Commit
	if run.Kind == plumbline.KindProposal {
		mr, err := s.store.MergeRequest(ctx, run.Stack.Repository, run.MR)
		if err != nil {
			return nil, err
		}
		if !repo.Has(run.Commit) {
			refs[mr.HeadRef] = run.Commit
		}
		if !repo.Has(run.Base) {
			refs["refs/heads/"+env.Branch] = run.Base
		}
	} else if !repo.Has(run.Commit) {
		refs["refs/heads/"+env.Branch] = run.Commit
	}
	if len(refs) > 0 {
		if err := repo.Fetch(ctx, refs); err != nil {
			return nil, err
		}
	}
	if run.Kind == plumbline.KindProposal {
		tree, conflicts, err := repo.Merge(ctx, run.Base, run.Commit)
		if err != nil {
			return nil, fmt.Errorf("merge %s into %s (%s): %w", plumbline.Short(run.Commit), env.Branch, strings.Join(conflicts, ", "), err)
		}
		treeish = tree
	}
	layout, err := repo.Layout(ctx, treeish)
	if err != nil {
		return nil, err
	}
	foreign := layout.Foreign(run.Spec)
	return repo.CheckoutWithout(ctx, treeish, dir, func(d string) bool { return foreign[d] })
}

// plans reads plan documents, and logs, back from the sealed artifacts.
type plans struct {
	dir   blobs
	store *store.Store
}

func (p plans) Plan(ctx context.Context, run plumbline.Run) (plan plumbline.Plan, err error) {
	if run.Plan == nil || run.Plan.Doc.Name == "" {
		return plan, fmt.Errorf("run %s has no plan: %w", run.ID, plumbline.ErrNotFound)
	}
	if plan, err = p.PlanDocument(ctx, run.Plan.Doc); err != nil {
		return plan, fmt.Errorf("plan of run %s: %w", run.ID, err)
	}
	return plan, nil
}

// PlanDocument reads a plan by the artifact that holds it.
func (p plans) PlanDocument(ctx context.Context, doc plumbline.Blob) (plan plumbline.Plan, err error) {
	if doc.Name == "" {
		return plan, fmt.Errorf("a plan without a document: %w", plumbline.ErrNotFound)
	}
	b, err := p.read(ctx, doc.Name)
	if err != nil {
		return plan, err
	}
	return plan, json.Unmarshal(b, &plan)
}

func (p plans) read(ctx context.Context, name string) ([]byte, error) {
	r, err := p.dir.Get(ctx, name)
	if errors.Is(err, artifact.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", name, plumbline.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// WriteLog writes a run's log from a byte on: all attempts one after the other, each attempt's plan first.
func (p plans) WriteLog(ctx context.Context, w io.Writer, run plumbline.Run, from int64) (written int64, err error) {
	for attempt := 1; attempt <= run.Attempt; attempt++ {
		for _, phase := range []plumbline.Phase{plumbline.PhasePlan, plumbline.PhaseApply} {
			chunks, err := p.store.LogChunks(ctx, run.ID, attempt, phase)
			if err != nil {
				return written, err
			}
			for _, c := range chunks {
				if from >= c.Size {
					from -= c.Size
					continue
				}
				b, err := p.read(ctx, c.Name)
				if errors.Is(err, plumbline.ErrNotFound) {
					return written, nil // replaced while we read; the next look finds it
				}
				if err != nil {
					return written, err
				}
				n, err := w.Write(b[from:])
				written += int64(n)
				if err != nil {
					return written, err
				}
				from = 0
			}
		}
	}
	return written, nil
}
