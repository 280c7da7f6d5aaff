package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// many is more runs than an environment has under way.
const many = 10000

// branches queues what moved among the environments' branches. It returns the heads that are dealt with.
func (w *Watcher) branches(ctx context.Context, refs, marks map[string]string, res *Result) map[string]string {
	heads := map[string]string{}
	for _, b := range w.repo.Branches() {
		head := refs["refs/heads/"+b]
		was, looked := marks[plumbline.SubjectBranch(b)]
		switch {
		case head == "":
			res.warn("branch %s of %s does not exist", b, w.repo.Name)
			continue
		case looked:
			if err := w.branch(ctx, b, was, head, res); err != nil {
				res.warn("branch %s of %s: %v", b, w.repo.Name, err)
				continue
			}
		case w.heads[b] != head:
			continue // it moved between the two looks: the next poll's
		}
		heads[b] = head
	}
	return heads
}

// subjectLook is what the ledger keeps of the first look at an environment: one that is added to the configuration later must not have
// everything deployed by the next commit.
func subjectLook(env string) string { return "look " + env }

// branch queues what the new head of an environment branch asks for.
func (w *Watcher) branch(ctx context.Context, branch, was, head string, res *Result) error {
	looked := map[string]string{}
	for _, env := range w.repo.OnBranch(branch) {
		mark, err := w.ledger.Seen(ctx, w.repo.Name, subjectLook(env.Name))
		if err != nil {
			return err
		}
		looked[env.Name] = mark
	}
	isNew := slices.Contains(slices.Collect(maps.Values(looked)), "")
	if was == head && !isNew {
		return nil
	}
	if err := w.git.Fetch(ctx, map[string]string{"refs/heads/" + branch: head}); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	layout, err := w.git.Layout(ctx, head)
	if err != nil {
		return fmt.Errorf("read the files of %s: %w", plumbline.Short(head), err)
	}
	o := plumbline.Observation{
		Repository: w.repo.Name, Subject: plumbline.SubjectBranch(branch), Was: was, Now: head, At: w.now(),
		Branch: branch, Head: head, Findings: layout.Findings,
	}
	for _, env := range w.repo.OnBranch(branch) {
		switch {
		case looked[env.Name] == "":
			if err := w.firstLook(ctx, env, layout, head, res); err != nil {
				return err
			}
		case was == "" && looked[env.Name] == head: // by a poll that ended before it could note the head
		case was == "":
			// The environment has come to another branch: that is no wish to deploy it either.
			known, err := w.ledger.Stacks(ctx, w.repo.Name, env.Name)
			if err != nil {
				return err
			}
			stacks := statuses(env, layout, plumbline.Layout{}, known, "", head)
			o.Stacks = append(o.Stacks, stacks...)
			o.Runs = append(o.Runs, plumbline.DriftChecks(env, head, plumbline.ByPoll, time.Time{}, stacks, nil, nil, o.At)...)
		case was != head:
			if err := w.deploy(ctx, env, layout, was, head, &o, res); err != nil {
				return err
			}
		}
	}
	if was == head {
		return nil
	}
	return w.observe(ctx, o, res)
}

// firstLook compares an environment that is seen for the first time with reality. It is not deployed: nobody asked for that.
func (w *Watcher) firstLook(ctx context.Context, env plumbline.Environment, layout plumbline.Layout, head string, res *Result) error {
	stacks := statuses(env, layout, plumbline.Layout{}, nil, "", head)
	now := w.now()
	ids, err := w.ledger.Observe(ctx, plumbline.Observation{
		Repository: w.repo.Name, Subject: subjectLook(env.Name), Now: head, At: now, Stacks: stacks,
		Runs: plumbline.DriftChecks(env, head, plumbline.ByPoll, time.Time{}, stacks, nil, nil, now),
	})
	if err != nil && !errors.Is(err, plumbline.ErrConflict) {
		return err
	}
	res.Queued += len(ids)
	return nil
}

// deploy adds to an observation what a move of the branch means to an environment.
func (w *Watcher) deploy(ctx context.Context, env plumbline.Environment, layout plumbline.Layout, was, head string, o *plumbline.Observation, res *Result) error {
	before, err := w.git.Layout(ctx, was)
	if err != nil && !errors.Is(err, plumbline.ErrNotFound) {
		return err
	}
	flow, err := w.underWay(ctx, env)
	if err != nil {
		return err
	}
	stacks := statuses(env, layout, before, flow.known, was, head)
	pending, err := w.pending(ctx, env, layout, head, stacks, flow)
	if err != nil {
		return err
	}
	o.Stacks = append(o.Stacks, stacks...)
	o.Deployments = append(o.Deployments, plumbline.Deployment{
		Repository: w.repo.Name, Environment: env.Name, Commit: head, Previous: was, By: plumbline.ByPoll, Created: o.At,
	})
	runs := plumbline.Deploys(env, head, env.Branch+" moved", plumbline.ByPoll, pending, flow.known, o.At)
	for i := range runs {
		runs[i].Deployment = -int64(len(o.Deployments))
	}
	if err := w.known(ctx, env, runs, was, head, res); err != nil {
		return err
	}
	unsigned, err := w.unsigned(ctx, env, was, head)
	if err != nil {
		return err
	}
	plumbline.Refuse(runs, unsigned, o.At)
	o.Runs = append(o.Runs, runs...)
	o.Supersede = append(o.Supersede, plumbline.SubjectDeploy(env.Name))
	o.Supersede = append(o.Supersede, remedies(env, runs)...)

	touched := names(pending)
	var only []string // stacks that the configuration has only now let in: nobody has looked at them
	for _, s := range stacks {
		if _, known := flow.status[s.Stack.Name]; !known && s.Commit != "" && !touched[s.Stack.Name] {
			only = append(only, s.Stack.Name)
		}
	}
	if len(only) > 0 {
		o.Runs = append(o.Runs, plumbline.DriftChecks(env, head, plumbline.ByPoll, time.Time{}, stacks, nil, only, o.At)...)
	}
	return w.redirectChecks(ctx, env, layout, head, stacks, touched, o)
}

// redirectChecks turns drift checks that have not ended to the new head when one of them looks at a stack that is about to be deployed:
// it would compare what is new with what Git asked for before.
func (w *Watcher) redirectChecks(ctx context.Context, env plumbline.Environment, layout plumbline.Layout, head string, stacks []plumbline.StackStatus, touched map[string]bool, o *plumbline.Observation) error {
	checks, err := w.checksUnderWay(ctx, env)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(checks, func(r plumbline.Run) bool { return touched[r.Stack.Name] }) {
		return nil
	}
	o.Supersede = append(o.Supersede, plumbline.SubjectDrift(env.Name))
	footing, err := w.footing(ctx, env, layout, head, stacks)
	if err != nil {
		return err
	}
	for _, r := range checks {
		if !touched[r.Stack.Name] {
			o.Runs = append(o.Runs, plumbline.DriftChecks(env, head, r.By, r.Tick, stacks, footing, []string{r.Stack.Name}, o.At)...)
		}
	}
	return nil
}

// remedies are the subjects of what would put stacks right that runs are about.
func remedies(env plumbline.Environment, runs []plumbline.Run) []string {
	var out []string
	for _, r := range runs {
		out = append(out, plumbline.SubjectRemedy(env.Name, r.Stack.Name))
	}
	return out
}

// flow is what goes on in an environment.
type flow struct {
	known  []plumbline.StackStatus
	runs   map[string][]plumbline.Run // deploys that have not ended by stack, newest first
	status map[string]plumbline.StackStatus
}

// underWay reads what goes on. Runs are read first: one that ends in between is then seen twice, as under way and in its stack's status,
// and never not at all.
func (w *Watcher) underWay(ctx context.Context, env plumbline.Environment) (flow, error) {
	f := flow{runs: map[string][]plumbline.Run{}, status: map[string]plumbline.StackStatus{}}
	runs, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: env.Repository, Environment: env.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy, plumbline.KindDestroy},
		States: []plumbline.State{
			plumbline.StateQueued, plumbline.StatePlanning, plumbline.StateAwaiting, plumbline.StateApproved, plumbline.StateApplying,
		}, Limit: many,
	})
	if err != nil {
		return f, err
	}
	for _, r := range runs {
		if r.Mending != nil && r.State != plumbline.StateApplying {
			continue // it brings nothing that Git did not have before, and gives way to whatever does
		}
		f.runs[r.Stack.Name] = append(f.runs[r.Stack.Name], r)
	}
	if f.known, err = w.ledger.Stacks(ctx, w.repo.Name, env.Name); err != nil {
		return f, err
	}
	for _, s := range f.known {
		f.status[s.Stack.Name] = s
	}
	return f, nil
}

// run returns the newest run of a stack in one of the states, or nil.
func (f flow) run(stack string, states ...plumbline.State) *plumbline.Run {
	for _, r := range f.runs[stack] {
		if slices.Contains(states, r.State) {
			return &r
		}
	}
	return nil
}

func names(list []plumbline.Pending) map[string]bool {
	m := map[string]bool{}
	for _, p := range list {
		m[p.Touch.Stack.Name] = true
	}
	return m
}

// statuses is what the ledger should know of the environment's stacks at head. A stack that is new at the first look counts as in
// sync from there on until the drift check says otherwise, and so does one that was in the branch before but not in the environment; one
// that is new in the branch was never in sync.
func statuses(env plumbline.Environment, layout, before plumbline.Layout, known []plumbline.StackStatus, was, head string) []plumbline.StackStatus {
	old := map[string]plumbline.StackStatus{}
	for _, s := range known {
		old[s.Stack.Name] = s
	}
	had := map[string]bool{}
	for _, spec := range before.Stacks {
		had[spec.Name] = true
	}
	var out []plumbline.StackStatus
	for _, spec := range layout.Stacks {
		if !env.Contains(spec.Dir) {
			continue
		}
		s, ok := old[spec.Name]
		if !ok {
			s = plumbline.StackStatus{Stack: plumbline.StackRef{Repository: env.Repository, Environment: env.Name, Name: spec.Name}}
			switch {
			case was == "":
				s.Commit = head
			case had[spec.Name]:
				s.Commit = was
			}
		}
		s.Spec, s.Removed = spec, false
		delete(old, spec.Name)
		out = append(out, s)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		s := old[name]
		if !s.Removed {
			s.Removed = true
			out = append(out, s)
		}
	}
	return out
}

// pending returns the environment's stacks whose files at head differ from what they are in sync with. Each stack is compared with
// its own last good commit, so that commits which came while others were under way are folded into this one, and nothing that failed is
// forgotten.
func (w *Watcher) pending(ctx context.Context, env plumbline.Environment, after plumbline.Layout, head string, stacks []plumbline.StackStatus, f flow) ([]plumbline.Pending, error) {
	since := map[string]map[string]plumbline.Touch{}
	touchedSince := func(base string) (map[string]plumbline.Touch, error) {
		if m, ok := since[base]; ok {
			return m, nil
		}
		m, err := w.touched(ctx, base, head, after)
		if err == nil {
			since[base] = m
		}
		return m, err
	}
	var out []plumbline.Pending
	add := func(s plumbline.StackStatus, because string) {
		out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: because}, Base: s.Commit})
	}
	for _, s := range stacks {
		if s.Removed {
			continue
		}
		name := s.Stack.Name
		before, known := f.status[name]
		failed := known && (s.LastKind == plumbline.KindDeploy || s.LastKind == plumbline.KindDestroy) &&
			(s.LastState == plumbline.StateFailed || s.LastState == plumbline.StateInterrupted)
		switch {
		case s.Commit == "":
			add(s, "new stack")
			continue
		case known && before.Removed:
			add(s, "the stack is back")
			continue
		case failed:
			add(s, "run "+s.LastRun.String()+" "+string(s.LastState))
			continue
		case s.Unsettled && f.run(name, plumbline.StateApplying) == nil:
			add(s, "what was begun has not ended well")
			continue
		}
		// A run under way may still be applied before this observation is written: what it brings counts as a base too.
		bases := []string{s.Commit}
		for _, r := range f.runs[name] {
			if r.Kind == plumbline.KindDeploy {
				bases = append(bases, r.Commit)
			}
		}
		for _, base := range bases {
			m, err := touchedSince(base)
			if err != nil {
				return nil, err
			}
			if t, ok := m[name]; ok {
				out = append(out, plumbline.Pending{Touch: t, Base: s.Commit})
				break
			}
		}
	}
	out = awaitApplies(out, stacks, f)
	there := map[string]bool{}
	for _, spec := range after.Stacks {
		there[spec.Name] = true
	}
	for _, s := range f.known {
		if there[s.Stack.Name] {
			continue
		}
		base, err := w.destroyFrom(ctx, s, f)
		if err != nil {
			return nil, err
		}
		if base != "" {
			out = append(out, plumbline.Pending{Touch: plumbline.Touch{Stack: s.Spec, Because: "removed", Removed: true}, Base: base})
		}
	}
	return out, nil
}

// awaitApplies adds the stacks that pending ones depend on and that an earlier deployment is applying now: dependents wait for stacks of
// their own deployment only, and would be planned against what is about to change.
func awaitApplies(pending []plumbline.Pending, stacks []plumbline.StackStatus, f flow) []plumbline.Pending {
	in := names(pending)
	for _, p := range pending {
		for _, name := range p.Touch.Stack.DependsOn {
			r := f.run(name, plumbline.StateApplying)
			if r == nil || in[name] {
				continue
			}
			i := slices.IndexFunc(stacks, func(s plumbline.StackStatus) bool { return s.Stack.Name == name && !s.Removed })
			if i < 0 {
				continue
			}
			in[name] = true
			pending = append(pending, plumbline.Pending{
				Touch: plumbline.Touch{Stack: stacks[i].Spec, Because: "run " + r.ID.String() + " applies it, and others wait for it"}, Base: stacks[i].Commit,
			})
		}
	}
	return pending
}

// destroyFrom returns the last commit that is known to have made a removed stack what it is; "" when there is nothing to destroy.
func (w *Watcher) destroyFrom(ctx context.Context, s plumbline.StackStatus, f flow) (string, error) {
	if s.Commit != "" && !s.NeverApplied {
		return s.Commit, nil
	}
	if r := f.run(s.Stack.Name, plumbline.StateApproved); r != nil {
		return r.Commit, nil // a worker may be quicker than this
	}
	if !s.Unsettled {
		return "", nil
	}
	// Its first apply was begun and did not end well: what it made must not be forgotten.
	last, err := w.ledger.Runs(ctx, plumbline.RunFilter{
		Repository: s.Stack.Repository, Environment: s.Stack.Environment, Stack: s.Stack.Name, Kinds: []plumbline.Kind{plumbline.KindDeploy}, Limit: 1,
	})
	if err != nil || len(last) == 0 {
		return "", err
	}
	return last[0].Commit, nil
}

// touched returns the stacks that the change from base to head touches. A base that is gone (history was rewritten) touches all.
func (w *Watcher) touched(ctx context.Context, base, head string, after plumbline.Layout) (map[string]plumbline.Touch, error) {
	m := map[string]plumbline.Touch{}
	changed, err := w.git.Changed(ctx, base, head)
	if errors.Is(err, plumbline.ErrNotFound) {
		for _, s := range after.Stacks {
			m[s.Name] = plumbline.Touch{Stack: s, Because: "history was rewritten: " + plumbline.Short(base) + " is gone"}
		}
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	before, err := w.git.Layout(ctx, base)
	if err != nil {
		return nil, err
	}
	for _, t := range plumbline.Touched(before, after, changed) {
		m[t.Stack.Name] = t
	}
	return m, nil
}
