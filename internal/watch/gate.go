package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// History answers about who made commits.
type History interface {
	// Authors returns the addresses of those who wrote the commits of head that base does not have and that change one of the paths. More than max commits are
	// an error.
	Authors(ctx context.Context, base, head string, paths []string, max int) ([]string, error)
	// Wrote returns the addresses of those who wrote one commit.
	Wrote(ctx context.Context, commit string) ([]string, error)
	// Unsigned returns those of the same commits that carry no signature by one of the keys, or head alone if it does not and mergeOnly is set.
	Unsigned(ctx context.Context, base, head string, keys map[string]string, mergeOnly bool) ([]plumbline.Unsigned, error)
}

// writers is through how many commits the authors of a change are looked for.
const writers = 1000

// paths are where a change of a stack is made.
func paths(spec plumbline.StackSpec) []string {
	out := []string{spec.Dir}
	for _, r := range spec.Reaches {
		p := r.Path
		if r.Kind == plumbline.PathGlob {
			p, _ = doublestar.SplitPattern(r.Path)
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// authors returns who wrote what the commits between two change of a stack, where an environment wants to know. all is false where it cannot be told of every commit: a yes by
// anybody is then refused where authors are not to agree with themselves.
func (w *Watcher) authors(ctx context.Context, env plumbline.Environment, spec plumbline.StackSpec, base, head string, res *Result) (list []string, all bool) {
	if !slices.Contains(env.Approval.Not, plumbline.NotAuthor) {
		return nil, true
	}
	var err error
	if base == "" || base == head { // it is deployed for the first time: nobody's change, but its head is somebody's
		list, err = w.git.Wrote(ctx, head)
	} else {
		list, err = w.git.Authors(ctx, base, head, paths(spec), writers)
	}
	if err != nil {
		res.warn("who wrote %s..%s of %s is not known: %v", plumbline.Short(base), plumbline.Short(head), w.repo.Name, err)
		return nil, false
	}
	return w.named(list), true
}

// named leaves out the addresses that are nobody's, with which forges commit, and takes logins out of those that forges make for people who hide theirs.
func (w *Watcher) named(addresses []string) []string {
	var out []string
	for _, a := range addresses {
		local, host, _ := strings.Cut(a, "@")
		switch _, plus, isPlus := strings.Cut(local, "+"); {
		case local == "noreply", local == "no-reply":
		case strings.HasPrefix(host, "users.noreply.") && isPlus: // GitHub: 123+ann
			out = append(out, plumbline.ForgeUser(w.repo.Forge, plus))
		case strings.HasPrefix(host, "users.noreply."): // GitLab: 123-ann; GitHub's older: ann
			if number, login, ok := strings.Cut(local, "-"); ok && strings.Trim(number, "0123456789") == "" {
				local = login
			}
			out = append(out, plumbline.ForgeUser(w.repo.Forge, local))
		case strings.HasPrefix(host, "noreply."): // Gitea: ann
			out = append(out, plumbline.ForgeUser(w.repo.Forge, local))
		default:
			out = append(out, a)
		}
	}
	return out
}

// known notes on new runs who is behind what they bring: what came since their stacks were in sync; since was, for a stack that is new.
func (w *Watcher) known(ctx context.Context, env plumbline.Environment, runs []plumbline.Run, was, head string, res *Result) error {
	if len(env.Approval.Not) == 0 {
		return nil
	}
	since := map[string][]plumbline.MergeRequest{}
	for i, r := range runs {
		base := r.Base
		if base == "" {
			base = was
		}
		if _, ok := since[base]; !ok {
			brought, err := w.brings(ctx, env, base, head)
			if err != nil {
				return err
			}
			since[base] = brought
		}
		authors, all := w.authors(ctx, env, r.Spec, base, head, res)
		runs[i].Anonymous = !all
		runs[i].Concern(authors, nil, r.Queued)
		for _, mr := range since[base] {
			proposed, err := w.ledger.RunsOfMR(ctx, w.repo.Name, mr.ID)
			if err != nil {
				return err
			}
			if len(proposed) > 0 && !slices.ContainsFunc(proposed, func(p plumbline.Run) bool { return p.Stack == r.Stack }) {
				continue // it is about other stacks
			}
			authors, pushers := w.written(mr)
			runs[i].Concern(authors, pushers, r.Queued)
		}
	}
	return nil
}

// subjectSigned is where the ledger keeps the newest commit of an environment up to which all are signed, and the one from which signatures were asked for.
func subjectSigned(env string) string { return "signed " + env }

// unsigned returns what is not signed between the newest commit that was found to be and head. A commit that is not signed stays in the way until it is
// out of the branch: signed ones on top of it do not make it good. from is where the environment is when it begins to ask for signatures: what is before
// it is not asked about, and it is only when it is deployed itself.
//
// Where history was rewritten and the newest signed commit is gone, all is looked at that came since signatures were asked for, and all of history if that
// is gone too. Where the branch was last is no place to begin: it may be what was refused. What cannot be looked at counts as unsigned.
func (w *Watcher) unsigned(ctx context.Context, env plumbline.Environment, from, head string) ([]plumbline.Unsigned, error) {
	if env.Signed.Commits == plumbline.SignedNone {
		return nil, nil
	}
	subject := subjectSigned(env.Name)
	mark, err := w.ledger.Seen(ctx, w.repo.Name, subject)
	if err != nil {
		return nil, err
	}
	signed, began, _ := strings.Cut(mark, " ")
	if signed == head {
		return nil, nil
	}
	bases := []string{signed, began, ""}
	headOnly := env.Signed.Commits == plumbline.SignedMerge
	first := mark == "" && (from == "" || from == head)
	if mark == "" {
		began, bases = from, []string{from, ""}
		headOnly = headOnly || first
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + env.Branch: head}); err != nil {
		return nil, fmt.Errorf("fetch: %w", err) // else a head that is not here would be taken for a base that is gone
	}
	var list []plumbline.Unsigned
	for _, base := range bases {
		if list, err = w.git.Unsigned(ctx, base, head, env.Signed.Keys, headOnly); !errors.Is(err, plumbline.ErrNotFound) {
			break
		}
	}
	switch {
	case errors.Is(err, plumbline.ErrInvalid):
		list = []plumbline.Unsigned{{Commit: head, Author: "unknown", Why: strings.TrimSuffix(err.Error(), ".")}}
	case err != nil:
		return nil, fmt.Errorf("look for signatures: %w", err)
	}
	next := head + " " + began
	if len(list) > 0 {
		if mark != "" || first {
			return list, nil
		}
		next = from + " " + from // so that what is found now is found again, whatever comes on top
	}
	_, err = w.ledger.Observe(ctx, plumbline.Observation{Repository: w.repo.Name, Subject: subject, Was: mark, Now: next, At: w.now()})
	if errors.Is(err, plumbline.ErrConflict) { // another machine has looked
		err = nil
	}
	return list, err
}

// written notes on runs who wrote a merge request, who pushed its head.
func (w *Watcher) written(mr plumbline.MergeRequest) (authors, pushers []string) {
	if mr.Author != "" {
		authors = []string{plumbline.ForgeUser(w.repo.Forge, mr.Author)}
	}
	if mr.LastPusher != "" {
		pushers = []string{plumbline.ForgeUser(w.repo.Forge, mr.LastPusher)}
	}
	return authors, pushers
}

// merges is through how many merged requests the people behind a change are looked for, the newest.
const mergedThrough = 200

// brings lists the merge requests that head has and base does not, open ones whose merge the forge has not told of yet among them: it may do so later
// than the first yes.
func (w *Watcher) brings(ctx context.Context, env plumbline.Environment, base, head string) (out []plumbline.MergeRequest, err error) {
	open, err := w.ledger.MergeRequests(ctx, w.repo.Name, plumbline.MROpen)
	if err != nil {
		return nil, err
	}
	merged, err := w.ledger.MergeRequests(ctx, w.repo.Name, plumbline.MRMerged)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(merged, func(a, b plumbline.MergeRequest) int { return b.UpdatedAt.Compare(a.UpdatedAt) })
	for _, mr := range append(open, merged[:min(len(merged), mergedThrough)]...) {
		commit := mr.Head
		if mr.MergeCommit != "" {
			commit = mr.MergeCommit
		}
		if mr.Target != env.Branch || commit == "" {
			continue
		}
		in, err := w.contains(ctx, head, commit)
		if err != nil {
			return nil, err
		}
		before, err := w.contains(ctx, base, commit)
		if err != nil {
			return nil, err
		}
		if in && (!before || base == head && commit == head) {
			out = append(out, mr)
		}
	}
	return out, nil
}

// carried brings to the runs of a deployment what people agreed to on the merge request that it contains, and who wrote that. It is done before the
// merge request is written down as merged, so that a daemon that dies in between does it again.
func (w *Watcher) carried(ctx context.Context, mr plumbline.MergeRequest) error {
	if mr.Deployment == 0 {
		return nil
	}
	proposed, err := w.ledger.RunsOfMR(ctx, w.repo.Name, mr.ID)
	if err != nil {
		return err
	}
	touched := map[plumbline.StackRef]bool{}
	for _, r := range proposed {
		touched[r.Stack] = true
	}
	proposed = slices.DeleteFunc(proposed, func(r plumbline.Run) bool {
		return r.Commit != mr.Head || r.State == plumbline.StateSuperseded || r.State == plumbline.StateRejected
	})
	authors, pushers := w.written(mr)
	for _, env := range w.repo.OnBranch(mr.Target) {
		live, err := w.underWay(ctx, env)
		if err != nil {
			return err
		}
		for _, runs := range live.runs {
			for _, r := range runs {
				if r.Deployment < mr.Deployment {
					continue
				}
				_, err := w.ledger.Update(ctx, r.ID, w.now(), func(r *plumbline.Run, now time.Time) error {
					news := (len(touched) == 0 || touched[r.Stack]) && r.Concern(authors, pushers, now)
					for _, p := range proposed {
						if p.Stack == r.Stack && r.Kind == plumbline.KindDeploy && r.Carry(p, now) {
							news = true
						}
					}
					r.Adapt(env, w.access, now) // whoever agreed then may not be let in any more
					if !news {
						return errNothing
					}
					return nil
				})
				if err != nil && !errors.Is(err, errNothing) && !errors.Is(err, plumbline.ErrConflict) {
					return err
				}
			}
		}
	}
	return nil
}

var errNothing = errors.New("nothing to write")

func subjectApproved(mr string) string { return "approved " + mr }

// forgeApprovals takes approvals of open merge requests on their forge for a yes to the plans that were shown there, where an environment says so. A
// forge tells who has approved and not when, nor what: a yes counts only if its giver was not among those who approved when the plans had
// been shown already and this was looked at last.
func (w *Watcher) forgeApprovals(ctx context.Context, open []plumbline.MergeRequest, res *Result) error {
	for _, mr := range open {
		envs := w.repo.OnBranch(mr.Target)
		if !slices.ContainsFunc(envs, func(e plumbline.Environment) bool { return e.Approval.Forge }) || w.asked() != nil {
			continue
		}
		if err := w.forgeApproval(ctx, mr); err != nil {
			var retry *plumbline.Retry
			res.warn("approvals of merge request %s of %s: %v", mr.Name(), w.repo.Name, w.heed(err))
			if errors.As(err, &retry) {
				return nil
			}
		}
	}
	return nil
}

func (w *Watcher) forgeApproval(ctx context.Context, listed plumbline.MergeRequest) error {
	runs, err := w.ledger.RunsOfMR(ctx, w.repo.Name, listed.ID)
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, func(r plumbline.Run) bool {
		return r.State != plumbline.StatePlanned || r.Commit != listed.Head || !r.Policy.Approval.Forge
	})
	if len(runs) == 0 {
		return nil
	}
	mark, err := w.ledger.Seen(ctx, w.repo.Name, subjectApproved(listed.ID))
	if err != nil {
		return err
	}
	mr, err := w.forge.MergeRequest(ctx, listed.ID)
	if err != nil {
		return err
	}
	if mr.Head != listed.Head {
		return nil // the next poll's
	}
	now := w.now()
	approved := slices.Sorted(slices.Values(mr.ApprovedBy))
	if err := w.takenBack(ctx, runs, approved); err != nil {
		return err
	}
	shown := time.Time{} // when people were told last of one of them
	for _, r := range runs {
		if !r.Shown() {
			return nil // nobody can have meant it
		}
		if r.Told.After(shown) {
			shown = r.Told
		}
	}
	next := strings.Join(append([]string{mr.Head, now.UTC().Format(time.RFC3339Nano)}, approved...), "\n")
	was := strings.Split(mark, "\n")
	var looked time.Time
	if len(was) >= 2 && was[0] == mr.Head {
		looked, _ = time.Parse(time.RFC3339Nano, was[1]) // it was written below; zero counts as never
	}
	if looked.After(shown) && slices.Equal(was[2:], approved) {
		return nil
	}
	if looked.After(shown) {
		for _, login := range approved {
			if slices.Contains(was[2:], login) {
				continue
			}
			if err := w.forgeYes(ctx, runs, login); err != nil {
				return err
			}
		}
	}
	_, err = w.ledger.Observe(ctx, plumbline.Observation{Repository: w.repo.Name, Subject: subjectApproved(mr.ID), Was: mark, Now: next, At: now})
	if errors.Is(err, plumbline.ErrConflict) {
		return nil
	}
	return err
}

// takenBack withdraws what people have agreed to on the forge who are not among those any more who approve the merge request there.
func (w *Watcher) takenBack(ctx context.Context, runs []plumbline.Run, approved []string) error {
	names := make([]plumbline.Person, len(approved))
	for i, login := range approved {
		names[i] = w.access.Person(plumbline.ForgeUser(w.repo.Forge, login), nil, plumbline.DoorForge)
	}
	for _, r := range runs {
		for _, a := range r.Approvals {
			if a.Door != plumbline.DoorForge || slices.ContainsFunc(names, func(p plumbline.Person) bool { return p.Is(a.By) }) {
				continue
			}
			_, err := w.ledger.Update(ctx, r.ID, w.now(), func(r *plumbline.Run, now time.Time) error {
				if !r.Withdraw(plumbline.Person{Name: a.By}, now) {
					return errNothing
				}
				return nil
			})
			if err != nil && !errors.Is(err, errNothing) && !errors.Is(err, plumbline.ErrConflict) {
				return err
			}
		}
	}
	return nil
}

// forgeYes records a yes that was given on the forge. Where it does not count, it is none: the forge shows it all the same.
func (w *Watcher) forgeYes(ctx context.Context, runs []plumbline.Run, login string) error {
	who := w.access.Person(plumbline.ForgeUser(w.repo.Forge, login), nil, plumbline.DoorForge)
	for _, r := range runs {
		if w.access.Allow(who, plumbline.MayApprove, w.repo.Name+"/"+r.Stack.Environment) != nil {
			continue
		}
		digest := r.Plan.Digest
		_, err := w.ledger.Update(ctx, r.ID, w.now(), func(r *plumbline.Run, now time.Time) error {
			return r.Approve(who, w.access, digest, now)
		})
		var refusal *plumbline.Refusal
		if err != nil && !errors.As(err, &refusal) {
			return err
		}
	}
	return nil
}
