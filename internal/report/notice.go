package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Of a list in a notice: how many are named, and how long a line is.
const (
	noticeNames = 10
	noticeLine  = 500
)

// announce writes what sinks outside the forge are to be told of runs. It comes before anything is marked as reported, and before the forge is
// asked: a forge that is away keeps no pager silent.
func (r *Reporter) announce(ctx context.Context, runs []plumbline.Run) error {
	if len(r.c.Sinks) == 0 {
		return nil
	}
	now := r.c.Now()
	var all []plumbline.Notice
	for _, run := range runs {
		env, _ := r.c.Repository.Environment(run.Stack.Environment)
		sinks := r.sinks(env)
		if len(sinks) == 0 {
			continue
		}
		var items []plumbline.DriftItem
		if run.Kind == plumbline.KindDrift && run.DriftNews {
			var err error
			items, err = r.c.Ledger.DriftItems(ctx, plumbline.DriftFilter{
				Repository: run.Stack.Repository, Environment: run.Stack.Environment, Stack: run.Stack.Name, Resolved: true, ResolvedSince: run.Finished,
			})
			if err != nil {
				return err
			}
		}
		n, ok := noticeOf(run, items, now)
		if !ok {
			continue
		}
		r.mask(&n)
		for _, s := range sinks {
			if s.Wants(n.Occasion) && (s.Incidents() || !quiet(n)) {
				n.Sink = s.Name
				all = append(all, n)
			}
		}
	}
	added, err := r.c.Ledger.Announce(ctx, all, now)
	if err == nil && added > 0 && r.c.Announced != nil {
		r.c.Announced()
	}
	return err
}

// sinks are those that are told of an environment.
func (r *Reporter) sinks(env plumbline.Environment) []plumbline.Sink {
	var out []plumbline.Sink
	for _, name := range env.Notify {
		if i := slices.IndexFunc(r.c.Sinks, func(s plumbline.Sink) bool { return s.Name == name }); i >= 0 {
			out = append(out, r.c.Sinks[i])
		}
	}
	return out
}

// mask is the second line of defence: what a run says of itself was masked where it was written.
func (r *Reporter) mask(n *plumbline.Notice) {
	if r.c.Mask == nil {
		return
	}
	n.What = r.c.Mask(n.What)
	for i := range n.Detail {
		n.Detail[i] = r.c.Mask(n.Detail[i])
	}
}

// noticeOf says what people outside the forge are to be told of a run as it is now; nothing, mostly. What is proposed is its author's business, who is
// told on the merge request. Items are the drift items of its stack.
func noticeOf(run plumbline.Run, items []plumbline.DriftItem, now time.Time) (plumbline.Notice, bool) {
	n := plumbline.Notice{
		Severity: plumbline.SeverityInfo, Subject: "deploy " + run.Stack.String(), Stack: run.Stack, Run: run.ID, MR: run.MR, Commit: run.Commit, At: run.Finished,
	}
	switch {
	case run.Kind == plumbline.KindProposal:
		return n, false
	case run.State == plumbline.StateAwaiting:
		n.Occasion, n.At = plumbline.OccasionAwaiting, run.Planned
		n.Key = fmt.Sprintf("run/%s/awaiting-approval/%d", run.ID, run.PlanVersion)
		n.What = "awaits approval" + amounts(run)
		n.Detail = append(n.Detail, "Needs "+needs(run, now)+".")
		if run.Plan != nil {
			n.Detail = append(n.Detail, fmt.Sprintf("plumbline runs approve %s --digest %s", run.ID, plumbline.ShortDigest(run.Plan.Digest)))
		}
	case run.State == plumbline.StateFailed:
		n.Occasion, n.Severity = plumbline.OccasionFailed, plumbline.SeverityError
		n.Key = fmt.Sprintf("run/%s/failed/%d", run.ID, run.Claim.Fence)
		n.What, n.Detail = "failed", failure(run)
		if run.Kind == plumbline.KindDrift {
			n.Subject, n.What = "drift check "+run.Stack.String(), "could not be checked for drift"
		}
	case run.State == plumbline.StateInterrupted:
		n.Occasion, n.Severity = plumbline.OccasionInterrupted, plumbline.SeverityCritical
		n.Key = fmt.Sprintf("run/%s/interrupted/%d", run.ID, run.Claim.Fence)
		n.What, n.Detail = "was interrupted while it was applied", failure(run)
	case run.State == plumbline.StateApplied:
		n.Occasion, n.Over = plumbline.OccasionApplied, true
		n.Key = fmt.Sprintf("run/%s/applied/%d", run.ID, run.Claim.Fence)
		n.What = "is applied" + amounts(run)
		n.Detail = append(n.Detail, "Commit "+plumbline.Short(run.Commit)+".")
	case run.State == plumbline.StateClean && run.Kind != plumbline.KindDrift:
		n.Occasion, n.Over = plumbline.OccasionApplied, true
		n.Key, n.What = fmt.Sprintf("run/%s/in-sync/%d", run.ID, run.Claim.Fence), inSync
	case run.Kind == plumbline.KindDrift && run.DriftNews:
		n.Occasion, n.Subject = plumbline.OccasionDrift, "drift "+run.Stack.String()
		n.Key = fmt.Sprintf("run/%s/drift/%d", run.ID, run.Claim.Fence)
		tellsDrift(&n, run, items, now)
	default:
		return n, false
	}
	if n.At.IsZero() {
		n.At = now
	}
	n.What = cut(n.What)
	for i := range n.Detail {
		n.Detail[i] = cut(n.Detail[i])
	}
	return n, true
}

// inSync is what a stack is whose plan has nothing to do.
const inSync = "is in sync"

// quiet reports whether a notice is no news to people: that a stack is in sync is the rule. It ends what was wrong, where that is kept.
func quiet(n plumbline.Notice) bool { return n.What == inSync }

func cut(s string) string {
	if runes := []rune(s); len(runes) > noticeLine {
		return string(runes[:noticeLine]) + "…"
	}
	return s
}

// amounts is ": +2 ~3 −1".
func amounts(run plumbline.Run) string {
	if run.Plan == nil || run.Plan.Summary.IsZero() {
		return ""
	}
	return ": " + strings.ReplaceAll(run.Plan.Summary.String(), "-", "−")
}

// failure is what went wrong, Terraform's own words to it, and what to do.
func failure(run plumbline.Run) []string {
	f := run.Failure
	if f == nil {
		return nil
	}
	out := []string{f.Text}
	for i, d := range f.Diagnostics {
		if i == 3 {
			out = append(out, fmt.Sprintf("and %d more messages of Terraform", len(f.Diagnostics)-i))
			break
		}
		words := strings.Join(strings.Fields(d.Detail), " ")
		if !strings.Contains(f.Text, d.Summary) {
			words = strings.TrimSuffix(d.Summary+": "+words, ": ")
		}
		if place := fmt.Sprintf("%s:%d", d.File, d.Line); d.File != "" && words != "" && !strings.Contains(f.Text, place) {
			words = place + ": " + words
		}
		out = append(out, words)
	}
	return slices.DeleteFunc(append(out, f.Next), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// tellsDrift says what a check has found that is news.
func tellsDrift(n *plumbline.Notice, run plumbline.Run, items []plumbline.DriftItem, now time.Time) {
	var found, others, back, gone []plumbline.DriftItem
	open := 0
	for _, it := range items {
		mine := it.LastRun == run.ID
		if it.Counts(now) {
			open++
		}
		switch {
		case it.Counts(now) && it.FirstRun == run.ID:
			found = append(found, it)
		case it.Counts(now) && mine && !it.Changed.IsZero() && it.Changed.Equal(it.LastSeen):
			others = append(others, it)
		case it.Counts(now) && mine && !it.Back.IsZero() && it.Back.Equal(it.LastSeen):
			back = append(back, it)
		case it.State(now) == plumbline.DriftResolved && mine && it.Noise == "" && it.Ignored == nil:
			gone = append(gone, it)
		}
	}
	switch {
	case len(found) > 0:
		n.Severity = plumbline.SeverityWarning
		n.What = "has drifted: " + count(len(found), "new difference")
		if rest := open - len(found); rest > 0 {
			n.What += fmt.Sprintf(", beside %d known", rest)
		}
	case len(others) > 0:
		n.Severity = plumbline.SeverityWarning
		n.What = "has drifted further: " + count(len(others), "difference") + " with other values than before"
	case len(back) > 0:
		n.Severity = plumbline.SeverityWarning
		n.What = "has drift that is not ignored any more: " + count(len(back), "difference")
	case open > 0 && len(gone) == 0:
		n.What = "has drift: " + count(open, "difference")
	case open > 0:
		n.What = fmt.Sprintf("has less drift: %s left", count(open, "difference"))
	default:
		n.What, n.Over = "has no drift any more", true
	}
	was := func(it plumbline.DriftItem) string {
		text := it.Difference.Key() + ": " + it.Difference.Kind.Words()
		if who := it.Actor.String(); who != "unknown" {
			text += " by " + who
		}
		if it.Flapping {
			text += "; it comes and goes"
		}
		return text
	}
	n.Detail = named(n.Detail, found, was)
	n.Detail = named(n.Detail, others, was)
	n.Detail = named(n.Detail, back, func(it plumbline.DriftItem) string { return was(it) + "; not ignored any more" })
	n.Detail = named(n.Detail, gone, func(it plumbline.DriftItem) string { return it.Difference.Key() + ": resolved, " + it.How })
}

func named(out []string, items []plumbline.DriftItem, say func(plumbline.DriftItem) string) []string {
	slices.SortFunc(items, func(a, b plumbline.DriftItem) int { return strings.Compare(a.Difference.Key(), b.Difference.Key()) })
	for i, it := range items {
		if i == noticeNames {
			return append(out, fmt.Sprintf("and %d more", len(items)-i))
		}
		out = append(out, say(it))
	}
	return out
}

// noticed are the words for several of an occasion.
var noticed = map[plumbline.Occasion][2]string{
	plumbline.OccasionAwaiting:    {"awaits approval", "await approval"},
	plumbline.OccasionFailed:      {"failed", "failed"},
	plumbline.OccasionInterrupted: {"was interrupted while it was applied", "were interrupted while they were applied"},
	plumbline.OccasionDrift:       {"has news of drift", "have news of drift"},
	plumbline.OccasionApplied:     {"is applied", "are applied"},
}

// compose makes one message of what a sink is told at once. One thing is told with all that is known of it; several get a line each, the most urgent
// first.
func compose(notices []plumbline.Notice, base string, now time.Time) plumbline.Message {
	m := plumbline.Message{Key: plumbline.MessageKey(notices), At: now, Links: map[int64]string{}}
	notices = slices.Clone(notices)
	rank := func(o plumbline.Occasion) int {
		return slices.Index(append(slices.Clone(plumbline.Occasions), plumbline.OccasionDigest), o)
	}
	slices.SortStableFunc(notices, func(a, b plumbline.Notice) int {
		return cmp.Or(
			cmp.Compare(rank(a.Occasion), rank(b.Occasion)),
			strings.Compare(a.Stack.Repository+"/"+a.Stack.Environment, b.Stack.Repository+"/"+b.Stack.Environment),
			strings.Compare(a.Stack.Name, b.Stack.Name), cmp.Compare(a.ID, b.ID))
	})
	m.Notices = notices
	for _, n := range notices {
		m.Links[n.ID] = noticeLink(n, base)
		if slices.Index(plumbline.Severities, n.Severity) > slices.Index(plumbline.Severities, m.Severity) {
			m.Severity = n.Severity
		}
	}
	first := notices[0]
	m.Occasion, m.Link = first.Occasion, m.Links[first.ID]
	if len(notices) == 1 {
		m.Title, m.Lines = first.Title(), first.Detail
		return m
	}
	m.Link = link(base)
	// By occasion and environment.
	var heads []string
	for i := 0; i < len(notices); {
		j := i
		for j < len(notices) && same(notices[i], notices[j]) {
			j++
		}
		group := notices[i:j]
		heads = append(heads, tells(group))
		for _, n := range group {
			line := n.Stack.Place() + " " + n.What
			if len(group) == len(notices) && n.Stack.Name != "" { // the title says where
				line = n.Stack.Name + " " + n.What
			}
			if n.Occasion == plumbline.OccasionFailed || n.Occasion == plumbline.OccasionInterrupted {
				line = strings.TrimSuffix(line, ".") + ". " + strings.Join(n.Detail[:min(len(n.Detail), 1)], "")
			}
			if n.Run != 0 {
				line += fmt.Sprintf(" (run %s)", n.Run)
			}
			m.Lines = append(m.Lines, line)
		}
		i = j
	}
	m.Title = strings.Join(heads[:min(len(heads), 3)], "; ")
	if n := len(heads) - 3; n > 0 {
		m.Title += fmt.Sprintf("; and %d more", n)
	}
	if extra := len(m.Lines) - messageLines; extra > 0 {
		m.Lines = append(m.Lines[:messageLines], fmt.Sprintf("and %d more", extra))
	}
	return m
}

// messageLines is how many things are named in one message.
const messageLines = 30

func same(a, b plumbline.Notice) bool {
	return a.Occasion == b.Occasion && a.Stack.Repository == b.Stack.Repository && a.Stack.Environment == b.Stack.Environment
}

// tells says what several notices of an occasion and an environment have in common.
func tells(group []plumbline.Notice) string {
	if len(group) == 1 {
		return group[0].Title()
	}
	n := group[0]
	words := noticed[n.Occasion]
	if n.Occasion == plumbline.OccasionDigest { // one environment has one each time
		return n.Title()
	}
	return fmt.Sprintf("%s of %s/%s %s", count(len(group), "stack"), n.Stack.Repository, n.Stack.Environment, words[1])
}

func noticeLink(n plumbline.Notice, base string) string {
	switch {
	case n.Occasion == plumbline.OccasionDrift, n.Occasion == plumbline.OccasionDigest:
		return link(base, "drift")
	case n.Run != 0:
		return link(base, "runs", n.Run.String())
	}
	return link(base)
}
