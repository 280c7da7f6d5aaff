package watch

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// proposer is a forge on which a merge request can be opened.
type proposer interface {
	OpenMergeRequest(ctx context.Context, p plumbline.NewMergeRequest) (plumbline.MergeRequest, error)
}

// Restorer makes commits that put files back.
type Restorer interface {
	// Restore makes such a commit and pushes it. changed is false, and nothing is pushed, where it would change nothing.
	Restore(ctx context.Context, r plumbline.Restoration) (commit string, changed bool, err error)
}

func subjectPromote(env string) string { return "promote " + env }

// promote keeps a merge request open from each environment that promotes to the next, as long as it is in sync and the next one does not have what
// it has.
func (w *Watcher) promote(ctx context.Context, heads map[string]string, res *Result) error {
	p, ok := w.forge.(proposer)
	for _, env := range w.repo.Environments {
		if env.PromotesTo == "" || w.asked() != nil {
			continue
		}
		if !ok {
			res.warn("%s of %s promotes to %s, for which its forge has no merge requests; merge %s yourself", env.Name, w.repo.Name, env.PromotesTo, env.Branch)
			continue
		}
		if err := w.promotion(ctx, p, env, heads, false); err != nil {
			var refusal *plumbline.Refusal
			if errors.As(err, &refusal) {
				continue // there is nothing to promote
			}
			res.warn("promote %s of %s: %v", env.Name, w.repo.Name, w.heed(err))
		}
	}
	return nil
}

// promotion opens or refreshes one. asked: somebody wants it although not everything is in sync, or people had it before.
//
// The mark is the source's head: one that was opened, or that the next environment had, is not opened again by itself. People may have closed it, or
// taken out again what it brought.
func (w *Watcher) promotion(ctx context.Context, p proposer, env plumbline.Environment, heads map[string]string, asked bool) error {
	next, ok := w.repo.Environment(env.PromotesTo)
	if !ok || next.Branch == env.Branch {
		return refused(plumbline.ErrConflict, "%s promotes to no environment with a branch of its own.", env.Name)
	}
	head, there := heads[env.Branch], heads[next.Branch]
	if head == "" || there == "" {
		return refused(plumbline.ErrConflict, "The branches of %s and %s could not be read this time.", env.Name, next.Name)
	}
	mark, err := w.ledger.Seen(ctx, w.repo.Name, subjectPromote(env.Name))
	if err != nil {
		return err
	}
	if mark == head && !asked {
		return nil
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + env.Branch: head, "refs/heads/" + next.Branch: there}); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	done, err := w.has(ctx, there, head)
	if err != nil {
		return err
	}
	if done {
		if err := w.promoted(ctx, env, mark, head); err != nil {
			return err
		}
		return refused(plumbline.ErrConflict, "%s has everything that %s has.", next.Name, env.Name)
	}
	status, err := w.status(ctx, env, head)
	if err != nil {
		return err
	}
	if !asked && status.State != plumbline.EnvInSync {
		return nil
	}
	body := fmt.Sprintf("Everything in **%s** is in sync with %s. Merging this brings it to **%s**.\n\nPlumbline opened this and keeps it up to date.", env.Name, plumbline.Short(head), next.Name)
	if status.State != plumbline.EnvInSync {
		body = fmt.Sprintf("**%s is %s at %s.** Merging this brings what its branch has to **%s** all the same.\n\nPlumbline opened this because somebody asked for it.", env.Name, status.State, plumbline.Short(head), next.Name)
	}
	if _, err := p.OpenMergeRequest(ctx, plumbline.NewMergeRequest{
		Source: env.Branch, Target: next.Branch, Title: fmt.Sprintf("Promote %s to %s", env.Name, next.Name), Body: body, Labels: []string{"plumbline"},
	}); err != nil {
		return err
	}
	return w.promoted(ctx, env, mark, head)
}

// has reports whether merging a commit into another would change nothing: its history is there, or its changes are, as after a squash.
func (w *Watcher) has(ctx context.Context, there, commit string) (bool, error) {
	in, err := w.contains(ctx, there, commit)
	if err != nil || in {
		return in, err
	}
	tree, _, err := w.git.Merge(ctx, there, commit)
	if errors.Is(err, plumbline.ErrMergeConflict) {
		return false, nil // people see it on the merge request
	}
	if err != nil {
		return false, fmt.Errorf("merge %s into %s: %w", plumbline.Short(commit), plumbline.Short(there), err)
	}
	changed, err := w.git.Changed(ctx, there, tree)
	return len(changed) == 0, err
}

// promoted notes the head that needs no merge request any more.
func (w *Watcher) promoted(ctx context.Context, env plumbline.Environment, was, head string) error {
	if was == head {
		return nil
	}
	_, err := w.ledger.Observe(ctx, plumbline.Observation{Repository: w.repo.Name, Subject: subjectPromote(env.Name), Was: was, Now: head, At: w.now()})
	if errors.Is(err, plumbline.ErrConflict) {
		return nil // another machine has
	}
	return err
}

// status is what an environment is at its head.
func (w *Watcher) status(ctx context.Context, env plumbline.Environment, head string) (plumbline.EnvironmentStatus, error) {
	runs, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: w.repo.Name, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy}, Limit: many,
	})
	if err != nil {
		return plumbline.EnvironmentStatus{}, err
	}
	stacks, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
	if err != nil {
		return plumbline.EnvironmentStatus{}, err
	}
	s := plumbline.StatusOf(env, head, plumbline.NewestPerStack(runs), stacks)
	if s.OutOfSync > 0 && s.State == plumbline.EnvInSync {
		s.State = plumbline.EnvUnknown
	}
	return s, nil
}

// goodThrough is how many deployments are looked through for one that ended well.
const goodThrough = 100

// lastGood is the commit of the newest deployment before the present head after which everything was as Git said. One that a person asked for does not
// tell: it may have been about one stack only.
func (w *Watcher) lastGood(ctx context.Context, env plumbline.Environment, head string) (string, error) {
	list, err := w.ledger.Deployments(ctx, w.repo.Name, env.Name, goodThrough)
	if err != nil {
		return "", err
	}
	for _, d := range list {
		if d.Commit == head || d.By != plumbline.ByPoll {
			continue
		}
		runs, err := w.ledger.RunsOfDeployment(ctx, d.ID)
		if err != nil {
			return "", err
		}
		good := func(r plumbline.Run) bool { return r.State.Good() }
		if len(runs) > 0 && !slices.ContainsFunc(plumbline.NewestPerStack(newestFirst(runs)), func(r plumbline.Run) bool { return !good(r) }) {
			return d.Commit, nil
		}
	}
	if n := len(list); n > 0 && n < goodThrough && list[n-1].Previous != "" && list[n-1].Previous != head {
		return list[n-1].Previous, nil // where the first deployment began
	}
	return "", refused(plumbline.ErrConflict, "No earlier commit is known with which everything in %s was in sync; name one.", env.Name)
}

func newestFirst(runs []plumbline.Run) []plumbline.Run {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b plumbline.Run) int { return int(b.ID - a.ID) })
	return runs
}

// rollback opens a merge request that puts an environment's files back, or pushes that where the environment says so.
func (w *Watcher) rollback(ctx context.Context, q plumbline.Request, env plumbline.Environment, refs map[string]string, head string) error {
	if head == "" {
		return fmt.Errorf("branch %s could not be read this time", env.Branch)
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + env.Branch: head}); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	to := q.To
	if to == "" {
		var err error
		if to, err = w.lastGood(ctx, env, head); err != nil {
			return err
		}
	}
	in, err := w.contains(ctx, head, to)
	if err != nil {
		return err
	}
	if !in || to == head {
		return refused(plumbline.ErrConflict, "%s is no earlier commit of %s.", plumbline.Short(to), env.Branch)
	}
	if err := w.signable(env, to); err != nil {
		return err
	}
	dirs, err := w.dirs(ctx, env, head, to)
	if err != nil {
		return err
	}
	title := fmt.Sprintf("Roll back %s to %s", env.Name, plumbline.Short(to))
	by := inTrailer(q.By)
	message := fmt.Sprintf("%s\n\nThe files are those of %s again. Asked for by %s.\n\nCo-authored-by: %s <%s>\n", title, to, by, by, by)
	r := plumbline.Restoration{Onto: head, To: to, Dirs: dirs, Branch: env.Branch, Expect: head, Message: message, When: q.At}
	p, ok := w.forge.(proposer)
	if env.Rollback != plumbline.RollbackDirect {
		name := fmt.Sprintf("rollback-%s-%s-to-%s", env.Name, plumbline.Short(head), plumbline.Short(to))
		r.Branch, r.Expect = "plumbline/"+name, ""
		if !ok {
			r.Branch = path.Join("propose", env.Branch, name)
		}
	}
	if refs["refs/heads/"+r.Branch] == "" || r.Expect != "" { // else it was pushed before
		_, changed, err := w.git.Restore(ctx, r)
		if err != nil {
			return err
		}
		if !changed {
			return refused(plumbline.ErrConflict, "The files of %s are those of %s already.", env.Name, plumbline.Short(to))
		}
	}
	if !ok || env.Rollback == plumbline.RollbackDirect {
		return nil
	}
	scope := "The whole tree is"
	if len(dirs) > 0 {
		scope = "The directories `" + strings.Join(dirs, "`, `") + "` are"
	}
	_, err = p.OpenMergeRequest(ctx, plumbline.NewMergeRequest{
		Source: r.Branch, Target: env.Branch, Title: title, Labels: []string{"plumbline"},
		Body: fmt.Sprintf("%s put back to commit %s. Plumbline plans it as any other change: read what it would do, since what was destroyed does not come back by it.\n\nAsked for by %s.", scope, to, by),
	})
	return err
}

// inTrailer is a name as a commit's trailer can hold it: whoever asks for a rollback counts as its author, under a name that adds no other.
func inTrailer(name string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '<' || c == '>' {
			return -1
		}
		return c
	}, name)
}

// signable refuses a rollback whose commit would keep its branch from being deployed: Plumbline has no key to sign it with.
func (w *Watcher) signable(env plumbline.Environment, to string) error {
	who := ""
	if w.repo.Proposals.Signed {
		who = "repository " + w.repo.Name
	}
	for _, e := range w.repo.OnBranch(env.Branch) {
		if e.Signed.Commits == plumbline.SignedAll || (e.Signed.Commits == plumbline.SignedMerge && env.Rollback == plumbline.RollbackDirect) {
			who = "environment " + e.Name
		}
	}
	if who == "" {
		return nil
	}
	return &plumbline.Refusal{
		Kind: plumbline.ErrConflict,
		What: fmt.Sprintf("Plumbline's commits carry no signature, and %s takes none without.", who),
		Next: fmt.Sprintf("Put the files back yourself, by git revert --no-commit %s.. or git restore --source=%[1]s --staged --worktree -- DIRECTORY, then git commit -S.", plumbline.Short(to)),
	}
}

// dirs are the directories that a rollback of an environment is about: all, unless the environment is a part of its branch. Then they are those of its
// stacks, before and after; what they share with others stays. A directory comes back with all that is in it: where that would be a change to a stack that
// is not the environment's, the rollback is refused.
func (w *Watcher) dirs(ctx context.Context, env plumbline.Environment, head, to string) ([]string, error) {
	if len(env.Include) == 0 && len(env.Exclude) == 0 {
		return nil, nil
	}
	var out, others []string
	for _, c := range []string{head, to} {
		layout, err := w.git.Layout(ctx, c)
		if err != nil {
			return nil, err
		}
		for _, s := range layout.Stacks {
			if env.Contains(s.Dir) {
				out = append(out, s.Dir)
			} else {
				others = append(others, s.Dir)
			}
		}
	}
	if len(out) == 0 {
		return nil, refused(plumbline.ErrConflict, "%s has no stacks.", env.Name)
	}
	changed, err := w.git.Changed(ctx, head, to)
	if err != nil {
		return nil, err
	}
	for _, ours := range out {
		for _, other := range others {
			if below(other, ours) && slices.ContainsFunc(changed, func(file string) bool { return below(file, other) }) {
				return nil, &plumbline.Refusal{
					Kind: plumbline.ErrConflict,
					What: fmt.Sprintf("Directory %s of %s holds stack %s, which is not this environment's and would be put back with it.", ours, env.Name, other),
					Next: fmt.Sprintf("Put the files back yourself, without %s: git restore --source=%s --staged --worktree -- FILES.", other, plumbline.Short(to)),
				}
			}
		}
	}
	if slices.Contains(out, ".") {
		return nil, nil
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// below reports whether a path is a directory or in it.
func below(file, dir string) bool {
	return dir == "." || file == dir || strings.HasPrefix(file, dir+"/")
}
