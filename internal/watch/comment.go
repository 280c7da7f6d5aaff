package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// commenter is a forge on which people can write to Plumbline.
type commenter interface {
	Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error)
}

const (
	// firstWords is how old a comment may be that is seen when its merge request is: somebody who has just opened one may write at once. What is older
	// was not written for this Plumbline.
	firstWords = 10 * time.Minute
	// lasting is how long after a deployment has ended its merge requests are still listened to: somebody may want to try again.
	lasting = 24 * time.Hour
	// seldom is how often those are listened to whose deployment has ended, badly.
	seldom = 5 * time.Minute
	// listened is how many merged requests are listened to, the newest.
	listened = 20
	// overlap is how far back comments are looked for that were written before others and came later: the ledger knows each by its ID.
	overlap = 2 * time.Minute
	// touchy is how long after something happened a merge request is listened to whatever its activity: GitLab notes that something happened once a
	// minute at most.
	touchy = 2 * time.Minute
	// atOnce is how many commands of a merge request are taken at one look; the others are the next look's.
	atOnce = 20
)

func subjectComments(mr string) string { return "comments " + mr }

// comments takes down the commands that people wrote since the last look. Only merge requests on which something happened are asked about, and those
// whose deployment somebody may have to decide about.
func (w *Watcher) comments(ctx context.Context, open []plumbline.MergeRequest, res *Result) error {
	c, ok := w.forge.(commenter)
	if !ok || w.asked() != nil {
		return nil // what was asked before has said so
	}
	deployed, err := w.deployed(ctx)
	if err != nil {
		return err
	}
	next := map[string]string{}
	for _, mr := range open {
		if mr.Activity != "" && w.heard[mr.ID] == mr.Activity {
			next[mr.ID] = mr.Activity
			continue
		}
		all, err := w.listen(ctx, c, mr)
		if err != nil {
			if w.hush(mr, err, res) {
				break
			}
			continue
		}
		if all && w.now().Sub(mr.UpdatedAt) > touchy {
			next[mr.ID] = mr.Activity
		}
	}
	for _, mr := range deployed {
		if w.visited == nil {
			w.visited = map[string]time.Time{}
		}
		w.visited[mr.ID] = w.now()
		if _, err := w.listen(ctx, c, mr); err != nil && w.hush(mr, err, res) {
			break
		}
	}
	w.heard = next
	return nil
}

// hush notes why nothing was heard. It reports whether the forge wants to be left alone.
func (w *Watcher) hush(mr plumbline.MergeRequest, err error, res *Result) bool {
	var retry *plumbline.Retry
	if errors.Is(err, plumbline.ErrNotFound) {
		return false // it was deleted
	}
	res.warn("comments on merge request %s of %s: %v", mr.Name(), w.repo.Name, w.heed(err))
	return errors.As(err, &retry)
}

// deployed returns the merged requests that somebody may have to decide about: those that came with the newest deployment of an environment or before,
// while it is under way, and now and then for a day when it ended badly. What an older deployment did not come to is the newest's.
func (w *Watcher) deployed(ctx context.Context) ([]plumbline.MergeRequest, error) {
	newest, live := int64(0), int64(0)
	for _, env := range w.repo.Environments {
		list, err := w.ledger.Deployments(ctx, w.repo.Name, env.Name, 1)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			runs, err := w.ledger.RunsOfDeployment(ctx, d.ID)
			if err != nil {
				return nil, err
			}
			for _, r := range runs {
				switch {
				case !r.State.Ended():
					newest, live = max(newest, d.ID), max(live, d.ID)
				case !r.State.Good() && w.now().Sub(r.Finished) < lasting:
					newest = max(newest, d.ID)
				}
			}
		}
	}
	if newest == 0 {
		return nil, nil
	}
	merged, err := w.brought(ctx, newest)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(merged), func(mr plumbline.MergeRequest) bool {
		return mr.Deployment > live && w.now().Sub(w.visited[mr.ID]) < seldom
	}), nil
}

// brought returns the newest merged requests that a deployment or an older one brought. It is remembered for a minute: there may be thousands.
func (w *Watcher) brought(ctx context.Context, deployment int64) ([]plumbline.MergeRequest, error) {
	if w.merges.deployment == deployment && w.now().Sub(w.merges.at) < time.Minute {
		return w.merges.list, nil
	}
	list, err := w.ledger.MergeRequests(ctx, w.repo.Name, plumbline.MRMerged)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(mr plumbline.MergeRequest) bool { return mr.Deployment == 0 || mr.Deployment > deployment })
	slices.SortFunc(list, func(a, b plumbline.MergeRequest) int { return cmp.Compare(b.Deployment, a.Deployment) })
	w.merges = merges{w.now(), deployment, slices.Clone(list[:min(len(list), listened)])}
	return w.merges.list, nil
}

// merges are what brought returned.
type merges struct {
	at         time.Time
	deployment int64
	list       []plumbline.MergeRequest
}

// listen takes down what is new on one merge request. It reports whether that was all there is.
//
// The mark is the time of the newest comment that was looked at; the forge's resolution may be a second, so comments of that same time are
// looked at again, and the ledger knows them by their IDs.
func (w *Watcher) listen(ctx context.Context, c commenter, mr plumbline.MergeRequest) (all bool, err error) {
	subject := subjectComments(mr.ID)
	was, err := w.ledger.Seen(ctx, w.repo.Name, subject)
	if err != nil {
		return false, err
	}
	mark := w.now()
	if mr.UpdatedAt.Before(mark) { // by the forge's clock, as comments are
		mark = mr.UpdatedAt
	}
	mark = mark.Add(-firstWords)
	since := mark
	if was != "" {
		if mark, err = time.Parse(time.RFC3339Nano, was); err != nil {
			return false, fmt.Errorf("%w: the mark %q of %s is no time", plumbline.ErrInvalid, was, subject)
		}
		since = mark.Add(-overlap)
	}
	list, err := c.Comments(ctx, mr, since)
	if err != nil {
		return false, err
	}
	o := plumbline.Observation{Repository: w.repo.Name, Subject: subject, Was: was, At: w.now()}
	until, taken, all := mark, 0, true
	for _, one := range list {
		if taken >= atOnce && one.At.After(until) {
			all = false
			break
		}
		cmd, ok := plumbline.ParseCommand(one.Body)
		if ok && one.Author != "" && !one.At.Before(since) {
			cmd.Repository, cmd.MR, cmd.Comment, cmd.At, cmd.Edited = w.repo.Name, mr.ID, one.ID, one.At, one.Edited
			cmd.Login, cmd.By = one.Author, plumbline.ForgeUser(w.repo.Forge, one.Author)
			o.Commands = append(o.Commands, cmd)
			if one.At.After(mark) {
				taken++
			}
		}
		if one.At.After(until) {
			until = one.At
		}
	}
	o.Now = until.UTC().Format(time.RFC3339Nano)
	if o.Now == was && len(o.Commands) == 0 {
		return all, nil
	}
	if _, err := w.ledger.Observe(ctx, o); err != nil && !errors.Is(err, plumbline.ErrConflict) {
		return false, err
	}
	return all, nil
}

// commands carries out what people wrote. A command's deeds and what its author is to be told are written in one transaction.
func (w *Watcher) commands(ctx context.Context, heads map[string]string, res *Result) error {
	list, err := w.ledger.Commands(ctx, w.repo.Name)
	if err != nil {
		return err
	}
	for _, c := range list {
		err := w.carry(ctx, c, heads, res)
		var no *plumbline.Refusal
		if errors.As(err, &no) {
			err = w.conclude(ctx, c, plumbline.ReactionRefused, no.Error())
		}
		if err != nil && !errors.Is(err, plumbline.ErrConflict) { // else somebody else has carried it out
			// It stays: the next poll tries again.
			res.warn("%s of merge request %s of %s asked for by %s: %v", c.Verb, c.MR, w.repo.Name, c.By, err)
		}
	}
	return nil
}

// conclude writes what came of a command that did nothing to any run.
func (w *Watcher) conclude(ctx context.Context, c plumbline.Command, outcome plumbline.Reaction, answer string) error {
	return w.ledger.Carry(ctx, c, w.now(), nil, func([]error) plumbline.Command {
		c.Outcome, c.Answer = outcome, answer
		return c
	})
}

func refused(kind error, format string, args ...any) error {
	return &plumbline.Refusal{Kind: kind, What: fmt.Sprintf(format, args...)}
}

// carry does what a command asks for, or returns a Refusal.
func (w *Watcher) carry(ctx context.Context, c plumbline.Command, heads map[string]string, res *Result) error {
	if why := c.Impossible(); why != "" {
		return refused(plumbline.ErrInvalid, "%s", why)
	}
	if c.Late(w.now()) {
		return refused(plumbline.ErrConflict, "It was written %s ago and could not be done then; write a new comment if it still holds.", plumbline.Ago(w.now().Sub(c.At)))
	}
	if c.Verb == plumbline.VerbHelp {
		return w.conclude(ctx, c, plumbline.ReactionDone, plumbline.CommandHelp)
	}
	mr, err := w.ledger.MergeRequest(ctx, w.repo.Name, c.MR)
	if err != nil {
		return err
	}
	if c.Verb == plumbline.VerbPlan && mr.State == plumbline.MROpen && (mr.Skipped != "" || mr.Conflict) {
		return w.planSkipped(ctx, c, mr, heads, res)
	}
	runs, err := w.runsOf(ctx, mr)
	if err != nil {
		return err
	}
	chosen, rest := c.Chosen(runs)
	if len(chosen) == 0 {
		if len(c.Args) > 0 {
			return refused(plumbline.ErrNotFound, "There is no such stack here; there are: %s.", stackNames(runs))
		}
		return refused(plumbline.ErrConflict, "No stack is touched, so there is nothing to %s.", c.Verb)
	}
	if c.Verb == plumbline.VerbWhy {
		var out []string
		for _, r := range chosen {
			out = append(out, plumbline.Explain(r, runs, w.now()))
		}
		return w.conclude(ctx, c, plumbline.ReactionDone, strings.Join(out, "\n\n"))
	}
	return w.each(ctx, c, mr, chosen, rest)
}

// runsOf returns the runs that a merge request's note shows, one of a stack: its plans while it is open, and the runs that deploy the same
// stacks when it is merged. A deployment may have brought other merge requests as well, of whose stacks this one's readers know nothing.
func (w *Watcher) runsOf(ctx context.Context, mr plumbline.MergeRequest) ([]plumbline.Run, error) {
	proposed, err := w.ledger.RunsOfMR(ctx, w.repo.Name, mr.ID)
	if err != nil {
		return nil, err
	}
	slices.Reverse(proposed)
	head := mr.Head
	if len(proposed) > 0 && mr.State == plumbline.MRMerged {
		head = proposed[0].Commit // the last that was planned of it
	}
	proposed = slices.DeleteFunc(proposed, func(r plumbline.Run) bool { return r.Commit != head })
	switch {
	case mr.State == plumbline.MROpen:
		return plumbline.NewestPerStack(proposed), nil
	case mr.State != plumbline.MRMerged || mr.Deployment == 0:
		return nil, nil
	}
	var out []plumbline.Run
	add := func(environment, stack string, kind plumbline.Kind) error {
		runs, err := w.ledger.Runs(ctx, plumbline.RunFilter{
			Repository: w.repo.Name, Environment: environment, Stack: stack, Kinds: []plumbline.Kind{kind}, Limit: listened,
		})
		if r, ok := plumbline.DeployOf(mr, runs); ok {
			out = append(out, r)
		}
		return err
	}
	for _, r := range plumbline.NewestPerStack(proposed) {
		if err := add(r.Stack.Environment, r.Stack.Name, plumbline.KindDeploy); err != nil {
			return nil, err
		}
	}
	for _, name := range mr.Removed {
		environment, stack, _ := strings.Cut(name, "/")
		if err := add(environment, stack, plumbline.KindDestroy); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func stackNames(runs []plumbline.Run) string {
	var out []string
	for _, r := range plumbline.NewestPerStack(runs) {
		out = append(out, "`"+strings.ReplaceAll(r.Stack.Name, "`", "")+"`")
	}
	if len(out) == 0 {
		return "none"
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// each does to every chosen run what a command asks for. What was done counts: where no stack was named, those are meant to which it can be done. One
// refusal is the answer when it could be done to none.
func (w *Watcher) each(ctx context.Context, c plumbline.Command, mr plumbline.MergeRequest, chosen []plumbline.Run, rest []string) error {
	rule, err := w.rule(c, mr, rest)
	if err != nil {
		return err
	}
	var deeds []plumbline.Deed
	var denied error
	for _, r := range chosen {
		if err := w.allow(c, r.Stack.Environment); err != nil {
			denied = err
			if err := w.ledger.Audit(ctx, plumbline.AuditEntry{
				At: w.now(), Who: w.person(c).Name, Door: plumbline.DoorComment, Action: plumbline.AuditRefused, Repository: w.repo.Name,
				Environment: r.Stack.Environment, Stack: r.Stack.Name, Run: r.ID, MR: mr.ID, Outcome: "refused", Detail: string(c.Verb) + ": " + err.Error(),
			}); err != nil {
				return err
			}
			continue
		}
		deeds = append(deeds, plumbline.Deed{Run: r.ID, Rule: plumbline.Through(plumbline.DoorComment, rule)})
	}
	if len(deeds) == 0 {
		return denied
	}
	return w.ledger.Carry(ctx, c, w.now(), deeds, func(refused []error) plumbline.Command {
		done, first := 0, denied // who may not should hear that, whatever else is wrong
		for _, err := range refused {
			if err == nil {
				done++
			} else if first == nil {
				first = err
			}
		}
		c.Outcome, c.Answer = plumbline.ReactionDone, ""
		switch {
		case done == 0:
			c.Outcome, c.Answer = plumbline.ReactionRefused, first.Error()
		case denied != nil:
			c.Answer = fmt.Sprintf("Done for %d of %d stacks. %s", done, len(chosen), denied)
		}
		return c
	})
}

// person is who wrote a command.
func (w *Watcher) person(c plumbline.Command) plumbline.Person {
	return w.access.Person(c.By, nil, plumbline.DoorComment)
}

func (w *Watcher) allow(c plumbline.Command, environment string) error {
	return w.access.Allow(w.person(c), c.Permission(), w.repo.Name+"/"+environment)
}

// rule is what a command does to a run.
func (w *Watcher) rule(c plumbline.Command, mr plumbline.MergeRequest, rest []string) (plumbline.Rule, error) {
	open, who := mr.State == plumbline.MROpen, w.person(c)
	switch c.Verb {
	case plumbline.VerbPlan:
		if !open {
			return nil, refused(plumbline.ErrConflict, "It is not open any more; `plumbline retry` plans again what failed.")
		}
		return func(r *plumbline.Run, now time.Time) error { return r.Replan(who.Name, now) }, nil
	case plumbline.VerbApprove, plumbline.VerbApply:
		if open && c.Verb == plumbline.VerbApply {
			return nil, refused(plumbline.ErrConflict, "Nothing is applied before the merge; what needs an approval asks for it then.")
		}
		digest := ""
		if len(rest) > 0 {
			digest = rest[0]
		}
		return c.Agree(who, w.access, digest), nil
	case plumbline.VerbReject:
		reason := strings.Join(rest, " ")
		if reason == "" {
			return nil, refused(plumbline.ErrInvalid, "A rejection needs a reason: `plumbline reject STACK REASON`.")
		}
		return func(r *plumbline.Run, now time.Time) error { return r.Reject(who.Name, reason, now) }, nil
	case plumbline.VerbRetry:
		return func(r *plumbline.Run, now time.Time) error { return r.Retry(who.Name, now) }, nil
	case plumbline.VerbCancel:
		return func(r *plumbline.Run, now time.Time) error { return r.Cancel(who.Name, now) }, nil
	}
	return nil, refused(plumbline.ErrInvalid, "There is no such command.")
}

// leastCommit is how much of a commit people must write down.
const leastCommit = 7

// planSkipped plans a merge request that policy leaves out, such as one of a fork, because somebody who may has read it: they name the commit that
// they have read. It is good for that commit only.
func (w *Watcher) planSkipped(ctx context.Context, c plumbline.Command, mr plumbline.MergeRequest, heads map[string]string, res *Result) error {
	for _, env := range w.repo.OnBranch(mr.Target) {
		if err := w.allow(c, env.Name); err != nil {
			return err
		}
	}
	target := heads[mr.Target]
	switch {
	case target == "":
		return fmt.Errorf("branch %s could not be read this time", mr.Target)
	case mr.Conflict:
		return refused(plumbline.ErrConflict, "It cannot be merged into %s; resolve the conflict first.", mr.Target)
	case mr.HeadRef == "":
		return refused(plumbline.ErrConflict, "The forge shows the head of this fork in no ref that could be fetched; push its branch to this repository.")
	case len(c.Args) != 1 || len(c.Args[0]) < leastCommit || !strings.HasPrefix(mr.Head, c.Args[0]):
		return refused(plumbline.ErrConflict, "Its plan runs what its author wrote. Its head is `%s`: read it, then write `plumbline plan %s`.", plumbline.Short(mr.Head), plumbline.Short(mr.Head))
	}
	was, err := w.ledger.Seen(ctx, w.repo.Name, plumbline.SubjectMR(mr.ID))
	if err != nil {
		return err
	}
	if was != mr.Mark() {
		return refused(plumbline.ErrConflict, "It has moved meanwhile; read it and write a new comment.")
	}
	if err := w.git.Fetch(ctx, map[string]string{mr.HeadRef: mr.Head, "refs/heads/" + mr.Target: target}); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	mr.Skipped, mr.Findings, mr.Removed, mr.Base = "", nil, nil, target
	tree, _, err := w.git.Merge(ctx, target, mr.Head)
	if errors.Is(err, plumbline.ErrMergeConflict) {
		return refused(plumbline.ErrConflict, "It cannot be merged into %s; resolve the conflict first.", mr.Target)
	}
	if err != nil {
		return err
	}
	c.Outcome = plumbline.ReactionDone
	o := plumbline.Observation{
		Repository: w.repo.Name, Subject: plumbline.SubjectMR(mr.ID), Was: was, Now: was, At: w.now(),
		MergeRequest: &mr, Supersede: []string{plumbline.SubjectMR(mr.ID)}, Carries: &c,
	}
	if o.Runs, err = w.proposals(ctx, &mr, target, tree, o.At, res); err != nil {
		return err
	}
	ids, err := w.ledger.Observe(ctx, o)
	if err != nil {
		return err
	}
	res.add(ids)
	return nil
}
