package report

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var t0 = time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", path, got)
	}
}

func proposal(id plumbline.RunID, env, stack string, p plumbline.Plan) NoteRow {
	for _, c := range p.Changes {
		switch c.Action {
		case plumbline.ActionCreate:
			p.Summary.Create++
		case plumbline.ActionUpdate:
			p.Summary.Update++
		case plumbline.ActionDelete:
			p.Summary.Delete++
		case plumbline.ActionReplace, plumbline.ActionReplaceFirst:
			p.Summary.Replace++
		}
		if c.Previous != "" {
			p.Summary.Move++
		}
		if c.Importing != "" {
			p.Summary.Import++
		}
	}
	p.Digest, p.Engine, p.Version = strings.Repeat("b41f", 16), "terraform", "1.11.4"
	info := p.Info()
	r := plumbline.Run{
		ID: id, Kind: plumbline.KindProposal, State: plumbline.StatePlanned, Stack: plumbline.StackRef{Repository: "infra", Environment: env, Name: stack},
		Commit: "8f31c2d000", Base: "3a9be01000", MR: "42", Plan: &info, Queued: t0, Planned: t0.Add(6200 * time.Millisecond), Policy: plumbline.Policy{Apply: plumbline.ApplyApproval},
	}
	if !info.Changes {
		r.State = plumbline.StateClean
	}
	return NoteRow{Run: r, Plan: p, Next: "waits for an approval"}
}

func sample() NoteData {
	failed := proposal(9814, "staging", "live/broken", plumbline.Plan{})
	failed.Run.State, failed.Run.Plan, failed.Next = plumbline.StateFailed, nil, "failed"
	failed.Run.Failure = &plumbline.Failure{Kind: plumbline.FailPlan, Text: "Terraform could not plan live/broken.", Next: "`plumbline runs retry 9814` tries again.", Diagnostics: []plumbline.Diagnostic{
		{Severity: "error", Summary: "Invalid reference", Detail: "A reference to a resource type must be followed by at least one attribute access.", File: "main.tf", Line: 12, Snippet: "  vpc_id = aws_vpc"},
	}}
	clean := proposal(9811, "staging", "live/net", plumbline.Plan{})
	clean.Next = "no changes"
	return NoteData{
		MR:   plumbline.MergeRequest{Repository: "infra", ID: "42", Head: "8f31c2d000", Base: "3a9be01000", Target: "env/production", State: plumbline.MROpen},
		Base: "https://plumbline.example.com", Now: t0.Add(20 * time.Second),
		Rows: []NoteRow{
			failed,
			proposal(9812, "production", "live/db", plumbline.Plan{Changes: []plumbline.Change{
				{Address: "aws_db_instance.main", Action: plumbline.ActionReplace, ReplacePaths: []string{"storage_encrypted"}, Attributes: []plumbline.Attribute{
					{Path: "endpoint", Before: `"main.c9x.rds.amazonaws.com:5432"`, Unknown: true}, {Path: "password", Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true},
					{Path: "storage_encrypted", Before: "false", After: "true", Forces: true}}},
				{Address: "aws_db_parameter_group.main", Action: plumbline.ActionUpdate, Attributes: []plumbline.Attribute{{Path: "family", Before: `"pg15"`, After: `"pg16"`}}},
			}}),
			proposal(9813, "production", "live/net", plumbline.Plan{Changes: []plumbline.Change{
				{Address: "aws_eip.old", Action: plumbline.ActionDelete, Reason: "delete_because_no_resource_config", Attributes: []plumbline.Attribute{{Path: "id", Before: `"eipalloc-1"`}}},
				{Address: `aws_route.nat["a"]`, Action: plumbline.ActionCreate, Attributes: []plumbline.Attribute{{Path: "gateway", Unknown: true}}},
				{Address: "aws_subnet.b", Previous: "aws_subnet.a", Action: plumbline.ActionNoOp},
			}}),
			clean,
		},
	}
}

func TestNoteGolden(t *testing.T) {
	golden(t, "note.md", Note(sample(), Marker("infra", "42"), 65536))

	golden(t, "rich.md", Note(rich(), Marker("infra", "42"), 65536))

	conflict := sample()
	conflict.Rows, conflict.MR.Conflict, conflict.MR.Findings = nil, true, []plumbline.Finding{{File: "live/net/main.tf", Message: "conflicts"}}
	golden(t, "conflict.md", Note(conflict, Marker("infra", "42"), 65536))

	skipped := sample()
	skipped.Rows, skipped.MR.Skipped = nil, plumbline.ProposalPolicy{}.Skips(plumbline.MergeRequest{Fork: true})
	golden(t, "skipped.md", Note(skipped, Marker("infra", "42"), 65536))

	removed := sample()
	removed.Rows, removed.MR.Removed = removed.Rows[3:], []string{"production/live/old"}
	golden(t, "removed.md", Note(removed, Marker("infra", "42"), 65536))

	merged := sample()
	merged.MR.State, merged.MR.MergeCommit = plumbline.MRMerged, "5d0c1aa000"
	merged.Rows = merged.Rows[1:]
	merged.Rows[0].Run.Kind, merged.Rows[0].Run.State, merged.Rows[0].Next = plumbline.KindDeploy, plumbline.StateAwaiting, "waits for an approval"
	merged.Rows[1].Run.Kind, merged.Rows[1].Run.State, merged.Rows[1].Next = plumbline.KindDeploy, plumbline.StateApplied, "applied"
	golden(t, "merged.md", Note(merged, Marker("infra", "42"), 65536))
}

// TestNoteWithoutPlan: plans are kept shorter than merge requests live. What is destroyed is still named.
func TestNoteWithoutPlan(t *testing.T) {
	d := rich()
	for i := range d.Rows {
		d.Rows[i].Plan = plumbline.Plan{}
	}
	got := Note(d, Marker("infra", "42"), 65536)
	for _, want := range []string{
		"- `aws_db_instance.main`: `storage_encrypted` forces a new one (", "- `aws_db_proxy.reader[\"eu`&#124;`1\"]`: tainted", "- `aws_eip.old`: not in the configuration any more (",
		"the plan is not kept any more",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestTextGolden(t *testing.T) {
	plans := namedOf(rich())
	plans[2].DigestKey, plans[2].Next = true, "Nothing was changed."
	text := func(colour bool) string {
		var b strings.Builder
		if err := Text(&b, plans, colour); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	golden(t, "plans.txt", text(false))
	golden(t, "plans-colour.txt", strings.ReplaceAll(text(true), "\x1b", "␛"))
	golden(t, "plans.md", Markdown(plans, 0))
}

// TestNoteWithoutPlanCounts checks that what a run's row does not name any more is counted, destroyed and replaced apart.
func TestNoteWithoutPlanCounts(t *testing.T) {
	note := func(deleted, replaced int) string {
		var p plumbline.Plan
		for i := range replaced {
			p.Changes = append(p.Changes, plumbline.Change{Address: fmt.Sprintf("a.r%d", i), Action: plumbline.ActionReplace})
		}
		for i := range deleted {
			p.Changes = append(p.Changes, plumbline.Change{Address: fmt.Sprintf("b.d%d", i), Action: plumbline.ActionDelete})
		}
		r := proposal(9812, "production", "live/db", p)
		r.Plan = plumbline.Plan{}
		d := sample()
		d.Rows = []NoteRow{r}
		return Note(d, "", 0)
	}
	for _, c := range []struct {
		deleted, replaced int
		want              []string
	}{
		{3, 2, []string{"- `a.r1` ([live/db](", "**Will be destroyed**\n- `b.d0` ([live/db]("}},
		{90, 0, []string{"**Will be destroyed**\n- `b.d0`", "- … and 70 more\n"}},
		{30, 45, []string{"- `a.r19` (live/db)\n- … and 25 more\n", "- `b.d4` ([live/db](https://plumbline.example.com/runs/9812))\n- … and 25 more\n"}},
		{7, 60, []string{"- … and 40 more\n", "**Will be destroyed**\n- 7 resources, whose names are not kept any more ([live/db]("}},
	} {
		got := note(c.deleted, c.replaced)
		if c.deleted+c.replaced < openNames && strings.Contains(got, "more\n") {
			t.Errorf("something is left out of\n%s", got)
		}
		checkHas(t, fmt.Sprintf("%d destroyed, %d replaced", c.deleted, c.replaced), got, c.want...)
	}
}
