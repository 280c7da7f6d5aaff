package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// issuer is a forge with issues. Where there are none, the status of the commit says what there is to say of drift.
type issuer interface {
	UpsertIssue(ctx context.Context, i plumbline.Issue) (url string, err error)
}

const (
	driftSpan  = 7 * 24 * time.Hour // of what was resolved, how long it is told of
	driftItems = 10_000             // more are not read
	driftLabel = "drift"
)

// tellIssue keeps the issue of an environment's drift: opened when something drifts, kept up to date in place, closed when nothing counts any more.
//
// It is written when something happened, and only when it would say something else. One that somebody has closed while something is different stays
// closed until other things are different than before: that somebody has taken note of one of them opens nothing again.
func (r *Reporter) tellIssue(ctx context.Context, env, commit string) (bool, error) {
	repo := r.c.Repository.Name
	f, ok := r.c.Forge.(issuer)
	e, known := r.c.Repository.Environment(env)
	if !ok || !known || e.Drift.NoIssue {
		return false, nil
	}
	now := r.c.Now()
	items, err := r.c.Ledger.DriftItems(ctx, plumbline.DriftFilter{
		Repository: repo, Environment: env, Resolved: true, ResolvedSince: now.Add(-driftSpan), Limit: driftItems,
	})
	if err != nil {
		return false, err
	}
	d := DriftData{Repository: repo, Environment: env, Items: items, Commit: commit, PublicURL: r.c.PublicURL, Now: now}
	key := "issue " + env
	was, err := r.c.Ledger.Told(ctx, repo, key)
	if err != nil || was == "" && len(d.counting()) == 0 {
		return false, err // there was never one, and none is needed
	}
	if was == "" {
		// Before it is made: a daemon that dies right behind that, and drift that goes away meanwhile, would leave it open for good.
		if err := r.c.Ledger.Tell(ctx, repo, key, "begun"); err != nil {
			return false, err
		}
	}
	newsKey, news := "issue news "+env, d.news()
	told, err := r.c.Ledger.Told(ctx, repo, newsKey)
	if err != nil {
		return false, err
	}
	limit := r.c.Forge.NoteLimit()
	still := DriftIssue(d.still(), limit)
	did, err := r.once(ctx, key, fmt.Sprintln(still.Open, still.Title, still.Body), func() error {
		i := DriftIssue(d, limit)
		i.Stay = told == news
		_, err := f.UpsertIssue(ctx, i)
		return err
	})
	if err == nil && told != news {
		return did, r.c.Ledger.Tell(ctx, repo, newsKey, news)
	}
	switch {
	case errors.Is(err, plumbline.ErrDenied) || errors.Is(err, plumbline.ErrNotFound):
		// The next news will be told again; until somebody does something about it, trying more often would change nothing.
		err = issuesRefused{fmt.Errorf("the issue about drift in %s could not be written: %w; let the token write issues, turn them on, or set issue = false in drift of the environment", env, err)}
	case err != nil:
		err = fmt.Errorf("issue about drift in %s: %w", env, err)
	}
	return did, err
}

// issuesRefused is that the forge lets us write no issues, which stays so.
type issuesRefused struct{ error }

// Unwrap makes it an error that is not tried again.
func (e issuesRefused) Unwrap() []error { return []error{e.error, plumbline.ErrInvalid} }

// DriftData is what the issue of one environment is made of.
type DriftData struct {
	Repository, Environment string
	Items                   []plumbline.DriftItem // those that are not resolved, and those that were within a week
	Commit                  string                // that reality was compared with last; "": not said
	PublicURL               string
	Now                     time.Time

	unseen bool // how often something was seen is left out
}

// still is the data less what moves by itself from check to check.
func (d DriftData) still() DriftData {
	d.Commit, d.unseen = "", true
	return d
}

// news changes when other things are different than before.
func (d DriftData) news() string {
	h := sha256.New()
	for _, it := range d.counting() {
		fmt.Fprintln(h, it.Fingerprint, it.Flapping)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// counting are the items that people should do something about, the worst first.
func (d DriftData) counting() (out []plumbline.DriftItem) {
	for _, it := range d.Items {
		if it.Counts(d.Now) {
			out = append(out, it)
		}
	}
	slices.SortStableFunc(out, func(a, b plumbline.DriftItem) int {
		return cmp.Or(cmp.Compare(slices.Index(plumbline.DriftKinds, a.Difference.Kind), slices.Index(plumbline.DriftKinds, b.Difference.Kind)),
			strings.Compare(a.Stack.Name, b.Stack.Name), strings.Compare(a.Difference.Key(), b.Difference.Key()), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// DriftMarker is the hidden line by which the issue of an environment is found again.
func DriftMarker(repo, env string) string {
	return "<!-- plumbline:drift:" + safeMarker(repo) + "!" + safeMarker(env) + " -->"
}

// DriftIssue renders the issue of an environment, at most limit bytes long (0: as long as it likes). The worst comes first; what there is no room
// for is the least dangerous, and counted.
func DriftIssue(d DriftData, limit int) plumbline.Issue {
	items := d.counting()
	i := plumbline.Issue{Marker: DriftMarker(d.Repository, d.Environment), Labels: []string{driftLabel}, Open: len(items) > 0}
	i.Title = "Drift in " + diff.Clean(d.Environment) + ": " + cmp.Or(kindsOf(items, false), "none")
	s := d.sheet(items)
	body, ok := s.fit(limit)
	if !ok { // a limit that no forge has
		body = cutLines(s.head+s.foot, limit)
	}
	i.Body = body
	return i
}

// driftWords are how kinds are counted.
var driftWords = map[plumbline.DifferenceKind]string{
	plumbline.DriftDeleted: "deleted", plumbline.DriftForgotten: "out of the state", plumbline.DriftAppeared: "not in Git",
	plumbline.DriftChanged: "changed", plumbline.DriftSelf: "changed by the configuration itself",
}

// kindsOf counts items by what happened to them, the worst first.
func kindsOf(items []plumbline.DriftItem, bold bool) string {
	var parts []string
	for _, k := range plumbline.DriftKinds {
		n := 0
		for _, it := range items {
			if it.Difference.Kind == k {
				n++
			}
		}
		if n == 0 {
			continue
		}
		part := fmt.Sprintf("%d %s", n, driftWords[k])
		if bold && grave(k) {
			part = "**" + part + "**"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// grave reports whether something that Git asks for is gone.
func grave(k plumbline.DifferenceKind) bool {
	return k == plumbline.DriftDeleted || k == plumbline.DriftForgotten
}

func (d DriftData) sheet(items []plumbline.DriftItem) *sheet {
	s := &sheet{head: DriftMarker(d.Repository, d.Environment) + "\n", left: d.left}
	if len(items) == 0 {
		s.head += "### No drift in " + text(d.Environment) + "\n\n" + d.over()
		s.foot = "This issue is opened again when something drifts.\n" + d.origin()
		if done := d.done(); len(done.pieces) > 0 {
			s.sections = append(s.sections, done)
		}
		return s
	}
	stacks := map[string]bool{}
	for _, it := range items {
		stacks[it.Stack.Name] = true
	}
	s.head += fmt.Sprintf("### Drift in %s · %s, in %s\n\n", text(d.Environment), kindsOf(items, true), count(len(stacks), "stack"))
	s.foot = d.tallies() + d.next() + d.origin()
	s.sections = append(s.sections, d.table(items))
	if causes := d.causes(items); len(causes.pieces) > 0 {
		s.sections = append(s.sections, causes)
	}
	s.sections = append(s.sections, d.details(items)...)
	return s
}

// where says where all of it is.
func (d DriftData) where() string {
	if d.PublicURL == "" {
		return code("plumbline drift list --env " + d.Environment)
	}
	return linkTo(d.PublicURL, "the drift page", "drift") + " has all"
}

func (d DriftData) left(t tally) string {
	if n := t[kindDrifted] + t[kindAttributes]; n > 0 {
		return fmt.Sprintf("Shortened to fit: all attributes of %s are left out (%s).\n\n", count(n, "resource"), d.where())
	}
	return ""
}

func (d DriftData) table(items []plumbline.DriftItem) *section {
	s := &section{open: "| | stack | resource | what is different | since | seen | by | what is done |\n|---|---|---|---|---|--:|---|---|\n"}
	for _, it := range items {
		r := rankRow
		if grave(it.Difference.Kind) {
			r = rankRedRow
		}
		s.add(r, kindRow, d.row(it))
	}
	s.close = func(left tally) string {
		if n := left[kindRow]; n > 0 {
			return fmt.Sprintf("\n… and %d more, less dangerous ones (%s).\n\n", n, d.where())
		}
		return "\n"
	}
	return s
}

func (d DriftData) row(it plumbline.DriftItem) string {
	light := "🟠"
	if grave(it.Difference.Kind) {
		light = "🔴"
	}
	seen := fmt.Sprintf("%d×", it.Seen)
	if d.unseen {
		seen = ""
	}
	by := "not known"
	if a := it.Actor; a != nil {
		by = text(a.String())
		if a.Unknown != "" {
			by += ": " + text(a.Unknown)
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s |\n", light, cmp.Or(text(it.Stack.Name), nameless), code(it.Difference.Key()), what(it),
		minute(it.Opened), seen, by, d.remedy(it))
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// manyAttributes is how many of an item's attributes a row names.
const manyAttributes = 3

// what says in a cell what is different. Before is what Git has, after what was found.
func what(it plumbline.DriftItem) string {
	shown := it.Shown()
	said := shown.Kind.Words()
	if grave(shown.Kind) {
		said = "**" + said + "**"
	}
	if shown.Kind == plumbline.DriftChanged || shown.Kind == plumbline.DriftSelf {
		var turns []string
		for _, a := range shown.Attributes[:min(len(shown.Attributes), manyAttributes)] {
			turns = append(turns, inMarkdown.turn(a))
		}
		if n := len(shown.Attributes) - len(turns); n > 0 {
			turns = append(turns, fmt.Sprintf("%d more", n))
		}
		if len(turns) > 0 {
			said += ": " + strings.Join(turns, ", ")
		}
	}
	if shown.Origin == plumbline.FromState {
		said += "; by a Terraform of somebody's own"
	}
	if n := len(it.Hidden); n > 0 && it.Ignored == nil {
		said += fmt.Sprintf("; %s ignored", count(n, "attribute"))
	}
	if it.Flapping {
		said += "; comes and goes"
	}
	return said
}

// remedy says in a cell who knows, and what is done about it.
func (d DriftData) remedy(it plumbline.DriftItem) string {
	var parts []string
	if a := it.Acknowledged; a != nil {
		known := "known to " + text(a.By)
		if a.Note != "" {
			known += ": " + text(a.Note)
		}
		parts = append(parts, known)
	}
	if m := it.Remedy; m != nil {
		if m.Run != 0 {
			verb := "would put it right"
			if m.What == plumbline.RemediateApply {
				verb = "puts it right"
			}
			parts = append(parts, linkTo(d.PublicURL, "run "+m.Run.String(), "runs/"+m.Run.String())+" "+verb)
		}
		if m.MR != "" {
			parts = append(parts, "merge request "+code(m.MR)+" would have Git say so")
		}
		if m.Why != "" {
			parts = append(parts, text(m.Why))
		}
	}
	return strings.Join(parts, "; ")
}

// causes are what items of several stacks have in common.
func (d DriftData) causes(items []plumbline.DriftItem) *section {
	s := &section{open: inMarkdown.title("In several stacks"), close: listEnd(0)}
	type cause struct {
		text   string
		stacks []string
	}
	var all []*cause
	byKey := map[string]*cause{}
	for _, it := range items {
		if it.Cause.Key == "" {
			continue
		}
		c := byKey[it.Cause.Key]
		if c == nil {
			c = &cause{text: it.Cause.Text}
			byKey[it.Cause.Key] = c
			all = append(all, c)
		}
		if !slices.Contains(c.stacks, it.Stack.Name) {
			c.stacks = append(c.stacks, it.Stack.Name)
		}
	}
	slices.SortStableFunc(all, func(a, b *cause) int { return cmp.Compare(len(b.stacks), len(a.stacks)) })
	for _, c := range all {
		if len(c.stacks) > 1 {
			s.add(rankAct, kindName, fmt.Sprintf("- %d stacks: %s\n", len(c.stacks), text(c.text)))
		}
	}
	return s
}

// details are the attributes of what a row has no room for, folded by stack.
func (d DriftData) details(items []plumbline.DriftItem) (out []*section) {
	var stacks []string
	byStack := map[string][]plumbline.Difference{}
	for _, it := range items {
		if shown := it.Shown(); !whole(shown) {
			if byStack[it.Stack.Name] == nil {
				stacks = append(stacks, it.Stack.Name)
			}
			byStack[it.Stack.Name] = append(byStack[it.Stack.Name], shown)
		}
	}
	for _, name := range stacks {
		all := byStack[name]
		s := inMarkdown.fold("diff", name, "all attributes of "+count(len(all), "resource")+", as Git has them and as found", "", d.where())
		for _, one := range all {
			unit(s, func() []diff.Line { return diff.Change(asChange(one)) }, rankUpdate, rankUpdated, kindDrifted)
		}
		out = append(out, s)
	}
	return out
}

// whole reports whether a row says all of a difference.
func whole(d plumbline.Difference) bool {
	if d.Kind != plumbline.DriftChanged && d.Kind != plumbline.DriftSelf {
		return len(d.Attributes) == 0
	}
	return len(d.Attributes) <= manyAttributes && !slices.ContainsFunc(d.Attributes, func(a plumbline.Attribute) bool {
		return !a.Sensitive && inMarkdown.turn(a) == code(a.Path)
	})
}

// asChange shows what somebody did outside as a change that they made.
func asChange(d plumbline.Difference) plumbline.Change {
	c := plumbline.Change{Address: d.Address, Deposed: d.Deposed, Type: d.Type, Action: plumbline.ActionUpdate, Attributes: d.Attributes}
	switch d.Kind {
	case plumbline.DriftDeleted:
		c.Action = plumbline.ActionDelete
	case plumbline.DriftForgotten:
		c.Action = plumbline.ActionForget
	case plumbline.DriftAppeared:
		c.Action = plumbline.ActionCreate
	}
	return c
}

// over says why nothing counts any more.
func (d DriftData) over() string {
	var last time.Time
	for _, it := range d.Items {
		if it.Resolved.After(last) {
			last = it.Resolved
		}
	}
	said := "Nothing that counts is different from what Git asks for."
	if !last.IsZero() && !slices.ContainsFunc(d.Items, plumbline.DriftItem.Open) {
		said = "In sync again since " + minute(last) + "."
	}
	return said + "\n\n" + d.tallies()
}

// done are the items that were resolved within the week, the newest first.
func (d DriftData) done() *section {
	s := &section{open: inMarkdown.title("Resolved within a week"), close: listEnd(0)}
	resolved := d.resolved()
	slices.SortStableFunc(resolved, func(a, b plumbline.DriftItem) int { return b.Resolved.Compare(a.Resolved) })
	for _, it := range resolved {
		line := fmt.Sprintf("- %s, %s, after %s", minute(it.Resolved), code(it.Difference.Key()), plumbline.Ago(it.Resolved.Sub(it.Opened)))
		if it.How != "" {
			line += ": " + text(it.How)
		}
		s.add(rankInfo, kindName, line+" ("+cmp.Or(text(it.Stack.Name), nameless)+")\n")
	}
	return s
}

// resolved are the items that were: noise is nothing that anybody repaired.
func (d DriftData) resolved() (out []plumbline.DriftItem) {
	for _, it := range d.Items {
		if !it.Open() && it.Noise == "" {
			out = append(out, it)
		}
	}
	return out
}

// tallies counts what is kept from people, and what was resolved.
func (d DriftData) tallies() string {
	var parts []string
	ignored, noise := 0, 0
	var next time.Time
	for _, it := range d.Items {
		switch it.State(d.Now) {
		case plumbline.DriftIgnored:
			ignored++
			if until := it.Ignored.Until; !until.IsZero() && (next.IsZero() || until.Before(next)) {
				next = until
			}
		case plumbline.DriftNoise:
			noise++
		}
	}
	if ignored > 0 {
		until := "for good"
		if !next.IsZero() {
			until = "until " + next.UTC().Format(time.DateOnly)
			if ignored > 1 {
				until = "the first " + until
			}
		}
		parts = append(parts, fmt.Sprintf("%d ignored (%s)", ignored, until))
	}
	if noise > 0 {
		parts = append(parts, fmt.Sprintf("%d that providers make up by themselves", noise))
	}
	if all := d.resolved(); len(all) > 0 {
		var sum time.Duration
		for _, it := range all {
			sum += it.Resolved.Sub(it.Opened)
		}
		parts = append(parts, fmt.Sprintf("%d resolved within a week (mean time to repair %s)", len(all), plumbline.Ago(sum/time.Duration(len(all)))))
	}
	if len(parts) == 0 {
		return ""
	}
	return "Besides: " + strings.Join(parts, ", ") + ".\n\n"
}

// next says what to do.
func (d DriftData) next() string {
	return inMarkdown.title("What to do") +
		"- Git is right: the next apply of the stack puts reality back.\n" +
		"- Reality is right: change the files so that they say so, and merge that.\n" +
		"- See more: " + code("plumbline drift list --env "+d.Environment) + "; look again: " + code("plumbline drift check "+d.Environment) + "\n"
}

// origin says what reality was compared with.
func (d DriftData) origin() string {
	var parts []string
	if d.Commit != "" {
		parts = append(parts, "Compared with "+code(plumbline.Short(d.Commit))+", as of "+minute(d.Now))
	}
	if d.PublicURL != "" {
		parts = append(parts, linkTo(d.PublicURL, "all drift", "drift"))
	}
	if len(parts) == 0 {
		return ""
	}
	return "\n" + strings.Join(parts, " · ") + "\n"
}
