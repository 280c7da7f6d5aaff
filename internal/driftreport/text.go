package driftreport

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// headline says in one sentence how things stand.
func (r Report) headline() string {
	return sentence(r.Totals.String("in "+counted(len(r.Trend), "day"))) + "."
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// about says what the report is of, and of which days.
func (r Report) about() string {
	var of []string
	for _, s := range []string{r.Scope.Repository, r.Scope.Environment, r.Scope.Stack} {
		if s != "" {
			of = append(of, brief(s, 100))
		}
	}
	text := "all environments"
	if len(of) > 0 {
		text = strings.Join(of, " · ")
	}
	return fmt.Sprintf("%s, %s to %s", text, day(r.Since), day(r.At))
}

// looked says how closely anybody looked.
func (r Report) looked() string {
	t := r.Totals
	text := fmt.Sprintf("%s watched, %s", counted(t.Stacks, "stack"), counted(t.Checks, "check"))
	if t.Failed > 0 {
		text += fmt.Sprintf(", %d of them failed", t.Failed)
	}
	if t.Unseen > 0 {
		text += fmt.Sprintf("; nobody looked at %s", counted(t.Unseen, "stack"))
	}
	return text + "."
}

// moved says what came and went.
func (r Report) moved() string {
	t := r.Totals
	text := fmt.Sprintf("%d opened, %d resolved", t.Opened, t.Resolved)
	if t.Mean > 0 {
		text += fmt.Sprintf(", after %s on average, half of them within %s", lasting(t.Mean), lasting(t.Median))
	}
	if t.Returned > 0 {
		text += fmt.Sprintf("; %d of those open had been put right before", t.Returned)
	}
	return text + "."
}

// find returns the items with these IDs, in their order.
func (r Report) find(ids []int64) []Item {
	byID := make(map[int64]Item, len(r.Items))
	for _, it := range r.Items {
		byID[it.ID] = it
	}
	var out []Item
	for _, id := range ids {
		if it, ok := byID[id]; ok {
			out = append(out, it)
		}
	}
	return out
}

// where is a stack as people read it.
func where(repo, env, stack string) string {
	return brief(repo, 100) + " · " + brief(env, 100) + " · " + brief(stack, 200)
}

// ends says until when something is ignored, who answers for it, why.
func (it Item) ends() string {
	text := "for good"
	if !it.Until.IsZero() {
		text = "until " + day(it.Until)
	}
	return text
}

// listed is how many lines of each list Markdown shows at first; where they do not fit, fewer.
const listed = 20

// LeastLimit is the number of bytes in which the Markdown has its numbers.
const LeastLimit = 1000

// Markdown is a report in at most so many bytes, at least LeastLimit; 0: however many it takes. It has lists and code alone, which every forge shows, and
// whatever was written by others stands in code, where no forge finds names or links.
func Markdown(r Report, limit int) string {
	for n := listed; ; n /= 2 {
		text := r.markdown(n)
		if limit <= 0 || len(text) <= limit {
			return text
		}
		if n == 0 {
			return text[:strings.LastIndex(text[:limit], "\n")+1]
		}
	}
}

func (r Report) markdown(most int) string {
	var b strings.Builder
	code := func(s string) string {
		if s = brief(s, 200); s == "" {
			return "–"
		}
		return diff.Ticked(s)
	}
	fmt.Fprintf(&b, "### Drift: %s\n\n%s\n\n%s %s\n", strings.TrimSuffix(r.headline(), "."), code(r.about()), r.moved(), r.looked())
	list := func(title string, n int, line func(i int) string) {
		if n == 0 || most == 0 {
			return
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", title)
		for i := range min(n, most) {
			b.WriteString("- " + line(i) + "\n")
		}
		if n > most {
			fmt.Fprintf(&b, "- … %d more\n", n-most)
		}
	}
	item := func(it Item) string {
		return fmt.Sprintf("%s %s, %s", code(where(it.Repository, it.Environment, it.Stack)), code(it.Address), code(it.What))
	}
	group := func(groups []Group, stacks bool) func(int) string {
		return func(i int) string {
			g := groups[i]
			in := ""
			if stacks {
				in = " in " + counted(g.Stacks, "stack")
			}
			text := fmt.Sprintf("%s: %d open%s, %d opened, %d resolved", code(g.Name), g.Open, in, g.Opened, g.Resolved)
			if g.Quiet > 0 {
				text += fmt.Sprintf(", %d ignored or noise", g.Quiet)
			}
			if g.Mean > 0 {
				text += ", put right after " + lasting(g.Mean)
			}
			return text
		}
	}
	oldest, flapping, ignored := r.find(r.Oldest), r.find(r.Flapping), r.find(r.Ignored)
	list("Open, the oldest first", len(oldest), func(i int) string {
		it := oldest[i]
		return fmt.Sprintf("%s, for %s, by %s", item(it), lasting(it.Seconds), code(it.Actor))
	})
	list("By cause", len(r.Causes), group(r.Causes, true))
	list("By stack", len(r.Stacks), group(r.Stacks, false))
	list("By class", len(r.Kinds), group(r.Kinds, true))
	list("Come and go", len(flapping), func(i int) string {
		return fmt.Sprintf("%s, became different %d times", item(flapping[i]), flapping[i].Openings)
	})
	list("Ignored, what ends first", len(ignored), func(i int) string {
		it := ignored[i]
		text := fmt.Sprintf("%s %s %s by %s: %s", code(where(it.Repository, it.Environment, it.Stack)), code(it.Address), it.ends(), code(it.Owner), code(it.Reason))
		if it.Soon {
			text = "**ends soon:** " + text
		}
		return text
	})
	list("Rules that have run out", len(r.Expired), func(i int) string {
		e := r.Expired[i]
		return fmt.Sprintf("%s on %s, of %s: %s", code(e.name()), day(e.Until), code(e.Owner), code(e.Reason))
	})
	if most < listed {
		b.WriteString("\nShortened to fit; `plumbline drift report --html` has all of it.\n")
	}
	return b.String()
}

func (e Rule) name() string {
	return e.Repository + "/" + e.Environment + " " + plumbline.IgnoreRule{Stack: e.Stack, Address: e.Address, Attribute: e.Attribute}.String()
}

var columns = []string{
	"id", "repository", "environment", "stack", "address", "type", "kind", "state", "what", "cause", "by", "opened", "last_seen", "seen", "resolved", "how", "seconds",
	"acknowledged_by", "ignored_owner", "ignored_until", "ignored_reason", "noise", "flapping", "returned",
}

// CSV writes the items of a report, one a line.
func CSV(w io.Writer, r Report) error {
	out := csv.NewWriter(w)
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	if err := out.Write(columns); err != nil {
		return err
	}
	for _, it := range r.Items {
		cells := []string{
			strconv.FormatInt(it.ID, 10), it.Repository, it.Environment, it.Stack, it.Address, it.Type, string(it.Kind), string(it.State), it.What, it.Cause, it.Actor,
			stamp(it.Opened), stamp(it.LastSeen), strconv.Itoa(it.Seen), stamp(it.Resolved), it.How, strconv.FormatFloat(it.Seconds, 'f', 0, 64),
			it.Acknowledged, it.Owner, stamp(it.Until), it.Reason, it.Noise, strconv.FormatBool(it.Flapping), strconv.Itoa(it.Returned),
		}
		for i, c := range cells {
			cells[i] = diff.Cell(diff.Clean(c))
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
