package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// A status that is told as pending stays on its commit until somebody tells another one, although the commit may be no merge request's head by
// then, and its run ended while no daemon was there. So before anything is told as pending, the ledger notes where; and what is noted
// and not told of any more gets one last status:
//
//	noted ── told as pending ── told as ended ── forgotten
//	            └ moved on: the end is noted ── told as ended ── forgotten
//
// A crash between two of these steps repeats the latter one, and says the same.

// pending is a status that is pending on the forge, or may be.
type pending struct {
	Commit  string
	Context string
	State   plumbline.Told `json:",omitempty"` // how it ends, once nobody tells of it any more
	Why     string         `json:",omitempty"`
}

func (p pending) end(url string) plumbline.CommitStatus {
	return plumbline.CommitStatus{Context: p.Context, State: p.State, Description: p.Why, URL: url}
}

// telling is a subject's statuses as they are to be, with what was noted of it.
type telling struct {
	subject string
	commit  string
	all     []plumbline.CommitStatus
	noted   []pending
	over    func(p pending) (verdict, error) // on what is noted and not among all
}

// verdict is what becomes of a status that its subject does not tell of any more. The empty one leaves it as it is.
type verdict struct {
	state plumbline.Told
	why   string
	other *other
}

// other is somebody else who tells of a status of the same context on the same commit.
type other struct {
	subject string
	status  plumbline.CommitStatus
}

func (t telling) tells(p pending) bool {
	return p.Commit == t.commit && slices.ContainsFunc(t.all, func(s plumbline.CommitStatus) bool { return s.Context == p.Context })
}

func (r *Reporter) noted(ctx context.Context, subject string) ([]pending, error) {
	doc, err := r.c.Ledger.Told(ctx, r.c.Repository.Name, "pending "+subject)
	if err != nil || doc == "" {
		return nil, err
	}
	var list []pending
	if err := json.Unmarshal([]byte(doc), &list); err != nil {
		return nil, fmt.Errorf("read what is pending of %s: %w", subject, err)
	}
	return list, nil
}

func (r *Reporter) note(ctx context.Context, subject string, list []pending) error {
	doc := ""
	if len(list) > 0 {
		b, err := json.Marshal(list)
		if err != nil {
			return err
		}
		doc = string(b)
	}
	return r.c.Ledger.Tell(ctx, r.c.Repository.Name, "pending "+subject, doc)
}

// before ends what is not told of any more, and notes what is about to be told as pending. It returns what is noted then.
func (r *Reporter) before(ctx context.Context, t telling) (noted []pending, did bool, err error) {
	var ended []pending
	changed := false
	for _, p := range t.noted {
		if t.tells(p) {
			p.State, p.Why = "", ""
		} else if p.State == "" {
			v, err := t.over(p)
			if err != nil {
				return nil, false, err
			}
			if v.other != nil {
				if err := r.leave(ctx, t.subject, p, *v.other); err != nil {
					return nil, false, err
				}
				changed = true
				continue
			}
			p.State, p.Why = v.state, v.why
			changed = changed || v.state != ""
		}
		if p.State != "" {
			ended = append(ended, p)
		} else {
			noted = append(noted, p)
		}
	}
	if changed && len(ended) > 0 {
		if err := r.note(ctx, t.subject, slices.Concat(noted, ended)); err != nil {
			return nil, false, err
		}
	}
	for len(ended) > 0 {
		commit := ended[0].Commit
		var last []plumbline.CommitStatus
		ended = slices.DeleteFunc(ended, func(p pending) bool {
			if p.Commit == commit {
				last = append(last, p.end(r.c.PublicURL))
			}
			return p.Commit == commit
		})
		one, err := r.tellStatuses(ctx, t.subject, commit, last)
		if err != nil && !gone(err) {
			return nil, did, err
		}
		did, changed = did || one, true
	}
	for _, s := range t.all {
		p := pending{Commit: t.commit, Context: s.Context}
		if s.State == plumbline.ToldPending && !slices.Contains(noted, p) {
			noted, changed = append(noted, p), true
		}
	}
	if changed {
		err = r.note(ctx, t.subject, noted)
	}
	return noted, did, err
}

// after forgets what was told as ended.
func (r *Reporter) after(ctx context.Context, t telling, noted []pending) error {
	left := slices.DeleteFunc(slices.Clone(noted), func(p pending) bool {
		return p.Commit == t.commit && slices.ContainsFunc(t.all, func(s plumbline.CommitStatus) bool {
			return s.Context == p.Context && s.State != plumbline.ToldPending
		})
	})
	if len(left) == len(noted) {
		return nil
	}
	return r.note(ctx, t.subject, left)
}

// leave leaves a status to somebody else: when it is pending, to be ended, else as they told it before ours stood in its place.
func (r *Reporter) leave(ctx context.Context, subject string, p pending, to other) error {
	if to.status.State != plumbline.ToldPending {
		_, err := r.tellStatuses(ctx, subject, p.Commit, []plumbline.CommitStatus{to.status})
		if gone(err) {
			return nil
		}
		return err
	}
	theirs, err := r.noted(ctx, to.subject)
	if err != nil || slices.Contains(theirs, p) {
		return err
	}
	return r.note(ctx, to.subject, append(theirs, p))
}

// overMR says what becomes of the statuses of a merge request that it does not tell of any more.
func (r *Reporter) overMR(ctx context.Context, v view) func(p pending) (verdict, error) {
	known := map[string]map[string]other{} // by commit
	return func(p pending) (verdict, error) {
		others, ok := known[p.Commit]
		if !ok {
			var err error
			if others, err = r.othersOn(ctx, p.Commit, v.MR.ID); err != nil {
				return verdict{}, err
			}
			known[p.Commit] = others
		}
		if o, ok := others[p.Context]; ok {
			return verdict{other: &o}, nil
		}
		switch mr := v.MR; {
		case mr.State == plumbline.MRMerged:
			return verdict{state: plumbline.ToldError, why: "Merged before it was planned."}, nil
		case mr.State != plumbline.MROpen:
			return verdict{state: plumbline.ToldError, why: "Closed before it was planned."}, nil
		case p.Commit != mr.Head:
			return verdict{state: plumbline.ToldError, why: "Superseded by " + plumbline.Short(mr.Head) + "."}, nil
		case mr.Skipped != "" || mr.Conflict:
			return verdict{state: plumbline.ToldError, why: "Not planned any more."}, nil
		}
		return verdict{state: plumbline.ToldSuccess, why: noneOfItsOwn}, nil
	}
}

// noneOfItsOwn is said where a stack is not touched any more, or where there are so many that they have a status together.
const noneOfItsOwn = "Has no status of its own any more."

// overBranch says the same of a commit of a branch. Other commits end by themselves: their runs are told of like this one's. So does what
// belongs to environments of which nothing is known here.
func overBranch(commit string, runs []plumbline.Run) func(p pending) (verdict, error) {
	return func(p pending) (verdict, error) {
		if p.Commit == commit && slices.ContainsFunc(runs, func(run plumbline.Run) bool {
			return strings.HasPrefix(p.Context+"/", "plumbline/"+run.Stack.Environment+"/")
		}) {
			return verdict{state: plumbline.ToldSuccess, why: noneOfItsOwn}, nil
		}
		return verdict{}, nil
	}
}

// othersOn are the statuses that others than a merge request tell of on a commit, by context: those with the same head, and deployments.
func (r *Reporter) othersOn(ctx context.Context, commit, id string) (map[string]other, error) {
	repo := r.c.Repository.Name
	others := map[string]other{}
	add := func(subject string, all []plumbline.CommitStatus) {
		for _, s := range all {
			others[s.Context] = other{subject, s}
		}
	}
	open, err := r.c.Ledger.MergeRequests(ctx, repo, plumbline.MROpen)
	if err != nil {
		return nil, err
	}
	for _, mr := range open {
		if mr.Head != commit || mr.ID == id {
			continue
		}
		v, err := r.view(ctx, mr.ID)
		if err != nil {
			return nil, err
		}
		add(subjectMR(mr.ID), v.statuses(r.c.PublicURL))
	}
	f := flush{Reporter: r, deployments: map[string][]plumbline.Deployment{}}
	for _, branch := range r.c.Repository.Branches() {
		for _, env := range r.c.Repository.OnBranch(branch) {
			list, err := f.recent(ctx, env.Name)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(list, func(d plumbline.Deployment) bool { return d.Commit == commit })
			if i < 0 {
				continue
			}
			runs, err := f.runsOf(ctx, commitOf(env, list[i]))
			if err != nil {
				return nil, err
			}
			if len(runs) > 0 {
				add("branch "+branch, statuses(runs, r.c.PublicURL, r.c.Now()))
			}
		}
	}
	return others, nil
}

// gone reports whether an error will be the same next time: the note's merge request or the commit is not there any more.
func gone(err error) bool {
	return errors.Is(err, plumbline.ErrNotFound) || errors.Is(err, plumbline.ErrInvalid)
}

// worst joins errors. Those that stay the same are left out where others are, which are to be tried again.
func worst(errs ...error) error {
	again := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil || gone(err) })
	if len(again) > 0 {
		return errors.Join(again...)
	}
	return errors.Join(errs...)
}
