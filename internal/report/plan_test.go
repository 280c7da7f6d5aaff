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
		named.Plan.Errored = false
		for format, got := range formats(t, named) {
			checkHas(t, name+" "+format, strings.ToLower(got), "after this apply another plan is needed")
		}
	}
}
