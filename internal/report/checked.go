package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	// manyFound is up to how many findings of one kind stand before the names of what is destroyed, so that a policy which says the same of
	// everything keeps nothing out.
	manyFound = 5
	// manyPlaces is how many resources one finding names, when a policy says the same of several.
	manyPlaces = 3
	// manyOutput is how many bytes of what a check's program said are shown.
	manyOutput = 4 << 10
)

// found is what a policy says of some resources of a stack.
type found struct {
	plumbline.PolicyFinding
	row       NoteRow
	addresses []string
}

// policies are the findings of policies of some levels: what is forbidden, whose approval is asked for, what people are warned of.
func policies(d NoteData, levels ...plumbline.PolicyLevel) []*section {
	var out []*section
	v := d.voice()
	for _, l := range []struct {
		level       plumbline.PolicyLevel
		title       string
		first, rest rank
	}{
		{plumbline.PolicyDeny, "Forbidden by policies", rankDenied, rankWarned},
		{plumbline.PolicyApprove, "Approvals that policies ask for", rankCheck, rankWarned},
		{plumbline.PolicyWarn, "Warnings of policies", rankWarned, rankInfo},
	} {
		if !slices.Contains(levels, l.level) {
			continue
		}
		groups := findings(d, l.level)
		if len(groups) == 0 {
			continue
		}
		s := &section{open: v.title(l.title)}
		for i, g := range groups[:min(len(groups), openNames)] {
			at := l.first
			if i >= manyFound {
				at = l.rest
			}
			s.add(at, kindName, v.found(d, g))
		}
		beyond := len(groups) - len(s.pieces)
		where := linkTo(d.Base, "all of them", "runs/"+groups[0].row.Run.ID.String())
		if slices.ContainsFunc(groups, func(g found) bool { return g.row.Run.ID != groups[0].row.Run.ID }) {
			where = linkTo(d.Base, "all of them", "")
		}
		s.close = func(left tally) string {
			if n := left[kindName] + beyond; n > 0 {
				return fmt.Sprintf("- … and %d more (%s)\n\n", n, where)
			}
			return "\n"
		}
		out = append(out, s)
	}
	return out
}

// findings are those of a level, by policy. What is not known to be anything else is a warning.
func findings(d NoteData, level plumbline.PolicyLevel) []found {
	var out []found
	for _, r := range d.Rows {
		if level == plumbline.PolicyApprove && r.Run.State.Good() {
			continue // they were given
		}
		from := len(out)
		for _, f := range r.Run.Findings {
			is := f.Level
			if is != plumbline.PolicyDeny && is != plumbline.PolicyApprove {
				is = plumbline.PolicyWarn
			}
			if is != level {
				continue
			}
			i := slices.IndexFunc(out[from:], func(g found) bool {
				return g.Policy == f.Policy && g.Message == f.Message && slices.Equal(g.From, f.From)
			})
			if i < 0 {
				out = append(out, found{PolicyFinding: f, row: r})
				i = len(out) - 1 - from
			}
			if f.Address != "" {
				out[from+i].addresses = append(out[from+i].addresses, f.Address)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b found) int { return strings.Compare(a.Policy, b.Policy) })
	return out
}

func (v voice) found(d NoteData, g found) string {
	line := "- " + v.code(g.Policy)
	if g.Level == plumbline.PolicyApprove {
		line += " asks for " + v.text(plumbline.Demand{Count: 1, From: g.From}.String())
	}
	line += ": " + cmp.Or(v.text(g.Message), nameless)
	var places []string
	for _, a := range g.addresses {
		places = append(places, v.code(a))
	}
	if len(places) > 0 {
		return line + " (" + list(places, manyPlaces) + "; " + stackLink(d, g.row) + ")\n"
	}
	return line + " (" + stackLink(d, g.row) + ")\n"
}

// failed reports whether a check found fault, or could not be made.
func failed(c plumbline.CheckResult) bool {
	return c.Verdict == plumbline.VerdictFail || c.Verdict == plumbline.VerdictError
}

// verdicts are how a check's verdict is said.
var verdicts = map[plumbline.Verdict]string{
	plumbline.VerdictPass: "passed", plumbline.VerdictFail: "failed", plumbline.VerdictError: "could not be made", plumbline.VerdictSkipped: "skipped",
}

var verdictSigns = map[plumbline.Verdict]string{plumbline.VerdictPass: "✅", plumbline.VerdictFail: "❌", plumbline.VerdictSkipped: "⚪"}

// checkSays is what a check came to, and what stands between that and its name: " ", "failed: 2 files are not formatted". Why one could not be made
// says that it could not.
func checkSays(c plumbline.CheckResult) (between, says string) {
	words := cmp.Or(verdicts[c.Verdict], string(c.Verdict))
	switch {
	case c.Text == "":
		return " ", words
	case c.Verdict == plumbline.VerdictError:
		return ": ", c.Text
	}
	return " ", words + ": " + c.Text
}

// checks are what was checked beside the plans, in a line each: what failed first. After the merge only that is of interest.
func checks(d NoteData) *section {
	v := d.voice()
	s := &section{open: v.title("Checked beside the plan")}
	beyond := 0
	for _, well := range []bool{false, true} {
		n := 0
		for _, r := range d.Rows {
			for _, c := range r.Run.Checks {
				if failed(c) == well || well && d.MR.State == plumbline.MRMerged {
					continue
				}
				if n++; n > openNames {
					beyond++
					continue
				}
				sign := cmp.Or(verdictSigns[c.Verdict], "⚠")
				between, says := checkSays(c)
				line := "- " + sign + " " + v.code(string(c.Name)) + between + v.text(says)
				at := rankCheck
				if well {
					at = rankInfo
				}
				s.add(at, kindName, line+" ("+stackLink(d, r)+")\n")
			}
		}
	}
	s.close = listEnd(beyond)
	return s
}

// faults are what the checks of a stack found, with places, where they did not pass.
func faults(d NoteData, r NoteRow) []*section {
	var out []*section
	v := d.voice()
	for _, c := range r.Run.Checks {
		if !failed(c) || len(c.Findings) == 0 && strings.TrimSpace(c.Output) == "" {
			continue
		}
		between, says := checkSays(c)
		what := v.summary(string(c.Name) + between + says)
		s := v.fold("", r.Run.Stack.Environment+" · "+r.Run.Stack.Name, what, "", linkTo(d.Base, "all of it", "runs/"+r.Run.ID.String()))
		for i, f := range c.Findings {
			lines := []string{strings.TrimRight(bar+brief(fold(f.String())), " ")}
			if strings.TrimSpace(f.Source) != "" {
				lines = append(lines, barred("  "+strings.ReplaceAll(f.Source, "\n", "\n  "))...)
			}
			at := rankFound
			if i >= manyFound {
				at = rankRest
			}
			s.add(at, kindFinding, strings.Join(lines, "\n")+"\n")
		}
		if strings.TrimSpace(c.Output) != "" {
			at := rankFound
			if len(c.Findings) > 0 {
				at = rankRest
			}
			s.add(at, kindNone, clipped(barred(c.Output), manyOutput))
		}
		out = append(out, s)
	}
	return out
}

// clipped are whole lines of at most that many bytes, and a sign that there are more.
func clipped(lines []string, most int) string {
	var b strings.Builder
	for _, l := range lines {
		if b.Len()+len(l)+1 > most && b.Len() > 0 {
			b.WriteString(bar + "…\n")
			break
		}
		b.WriteString(l + "\n")
	}
	return b.String()
}
