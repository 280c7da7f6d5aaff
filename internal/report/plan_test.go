package report

import (
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func textOf(t *testing.T, plans ...NamedPlan) string {
	t.Helper()
	var b strings.Builder
	if err := Text(&b, plans, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// formats are all that a plan can be rendered as outside any run.
func formats(t *testing.T, plans ...NamedPlan) map[string]string {
	t.Helper()
	return map[string]string{"text": textOf(t, plans...), "markdown": Markdown(plans, 0), "html": pageOf(t, plans)}
}

// TestErrored checks that a plan that could not be finished is nowhere said to be one that can be applied.
func TestErrored(t *testing.T) {
	change := plumbline.Change{Address: "a.b", Action: plumbline.ActionCreate}
	for name, p := range map[string]plumbline.Plan{
		"deferred": {Errored: true, Partial: true, Deferred: []plumbline.Change{change}},
		"partial":  {Errored: true, Partial: true, Changes: []plumbline.Change{change}},
	} {
		named := NamedPlan{Name: "a", Plan: p, Next: "See the wiki."}
		for format, got := range formats(t, named) {
			checkHas(t, name+" "+format, got, "failed", "could not finish this plan")
			if strings.Contains(strings.ToLower(got), "after this apply") {
				t.Errorf("%s, %s: it speaks of an apply in\n%s", name, format, got)
			}
		}
		checkHas(t, name, Markdown([]NamedPlan{named}, 0), "| failed · See the wiki. |")
		if got := pageOf(t, []NamedPlan{named}); strings.Contains(got, "See the wiki.") {
			t.Errorf("%s: the page says what to do with it:\n%s", name, got)
		}
		named.Plan.Errored = false
		checkHas(t, name, pageOf(t, []NamedPlan{named}), "<p class=\"box\">See the wiki.</p>")
		for format, got := range formats(t, named) {
			checkHas(t, name+" "+format, strings.ToLower(got), "after this apply another plan is needed")
		}
	}
}

// TestOnlyEmpties checks that drift that does not count is still said, and how much of it there is.
func TestOnlyEmpties(t *testing.T) {
	empty := plumbline.Change{Address: "a.b", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "tags", After: "{}"}}}
	p := plumbline.Plan{Drift: []plumbline.Change{empty, empty}}
	const quiet = "Not counted: 2 resources of which only empty values"
	for format, got := range formats(t, NamedPlan{Name: "a", Plan: p}) {
		checkHas(t, format, got, quiet)
	}
	d := sample()
	d.Rows = []NoteRow{proposal(9811, "staging", "live/net", p)}
	checkHas(t, "note", Note(d, "", 0), quiet)

	p.Drift = append(p.Drift, plumbline.Change{Address: "a.c", Action: plumbline.ActionDelete})
	for format, got := range formats(t, NamedPlan{Name: "a", Plan: p}) {
		checkHas(t, format, got, quiet, "a.c")
		if n := strings.Count(got, "Not counted"); n != 1 {
			t.Errorf("%s says %d times what is not counted:\n%s", format, n, got)
		}
	}
}

// TestMoreOutputs checks that outputs that a very large plan does not hold are counted.
func TestMoreOutputs(t *testing.T) {
	p := plumbline.Plan{Summary: plumbline.Summary{Output: 41}, Outputs: []plumbline.OutputChange{{Name: "first", Action: plumbline.ActionCreate, After: "1"}}}
	for format, got := range formats(t, NamedPlan{Name: "a", Plan: p}) {
		checkHas(t, format, got, "first", "… 40 more outputs")
	}
	checkHas(t, "heading", pageOf(t, []NamedPlan{{Name: "a", Plan: p}}), "Outputs (41)")
	checkWhole(t, Markdown([]NamedPlan{{Name: "a", Plan: p}}, 0))
	p.Summary.Output = 2
	for format, got := range formats(t, NamedPlan{Name: "a", Plan: p}) {
		checkHas(t, format, got, "… 1 more output")
	}
	p.Summary.Output = 1
	for format, got := range formats(t, NamedPlan{Name: "a", Plan: p}) {
		if strings.Contains(got, "more output") {
			t.Errorf("%s tells of outputs that are not there:\n%s", format, got)
		}
	}
}
