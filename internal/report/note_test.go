package report

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

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

func TestTextGolden(t *testing.T) {
	var plans []NamedPlan
	for _, r := range sample().Rows {
		plans = append(plans, NamedPlan{Name: r.Run.Stack.Name, Plan: r.Plan})
	}
	plans = append(plans, NamedPlan{Name: "live/dead", Err: errors.New("no such engine")})
	var b strings.Builder
	if err := Text(&b, plans, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "plans.txt", b.String())
	golden(t, "plans.md", Markdown(plans))
}

// TestNoteFits makes notes of growing plans for several limits: each fits, is whole Markdown, keeps every destroy in the table.
func TestNoteFits(t *testing.T) {
	for _, limit := range []int{10240, 32768, 65536, 1000000} {
		for _, n := range []int{1, 10, 100, 2000} {
			d := sample()
			d.Rows = nil
			for s := range 3 {
				var p plumbline.Plan
				for i := range n {
					a := []plumbline.Action{plumbline.ActionCreate, plumbline.ActionUpdate, plumbline.ActionDelete}[i%3]
					p.Changes = append(p.Changes, plumbline.Change{Address: fmt.Sprintf("aws_thing.x[%d]", i), Action: a, Attributes: []plumbline.Attribute{{Path: "name", Before: `"a"`, After: `"b"`}, {Path: "arn", Unknown: true}}})
				}
				d.Rows = append(d.Rows, proposal(plumbline.RunID(s+1), "production", fmt.Sprint("live/", s), p))
			}
			got := Note(d, Marker("infra", "42"), limit)
			if len(got) > limit {
				t.Errorf("limit %d, %d changes: %d bytes", limit, n, len(got))
			}
			if !utf8.ValidString(got) {
				t.Errorf("limit %d, %d changes: not UTF-8", limit, n)
			}
			if strings.Count(got, "\n```")%2 != 0 || strings.Count(got, "<details>") != strings.Count(got, "</details>") {
				t.Errorf("limit %d, %d changes: cut in the middle", limit, n)
			}
			for s := range 3 {
				if !strings.Contains(got, fmt.Sprintf("runs/%d)", s+1)) {
					t.Errorf("limit %d, %d changes: stack %d is not in the table", limit, n, s)
				}
			}
		}
	}
}

var hostile = []string{
	"a|b", "`x`", "```\n</details><script>alert(1)</script>", "[link](javascript:alert(1))", "<img src=x onerror=alert(1)>", "@everyone", "a\nb\n# heading", "\u202egnp.exe", "\x1b[31mred", "*bold* _it_ ~~no~~",
	"![i](http://evil.example/x.png)", "http://evil.example/", "</summary></details>", "<!-- plumbline:infra!42 -->", ":rocket:", "#1", "a\r\nb", "&lt;b&gt;", "\\`", "$x$", "--> <b>", "||||", "\x00", "日本語|`",
}

// TestNoteIsSafe puts hostile strings wherever a stranger can, and reads the note with a Markdown parser: no HTML, link or image comes of it.
func TestNoteIsSafe(t *testing.T) {
	md := goldmark.New(goldmark.WithExtensions(extension.GFM))
	for _, h := range hostile {
		checkSafe(t, md, h)
	}
}

func hostileNote(h string) string {
	d := sample()
	d.MR.Target, d.MR.ID = h, h
	d.MR.Findings = []plumbline.Finding{{File: h, Line: 1, Message: h}}
	d.MR.Removed = []string{"production/" + h}
	for i := range d.Rows {
		r := &d.Rows[i]
		r.Run.Stack.Name, r.Run.Stack.Environment = h, h
		if r.Run.Failure != nil {
			r.Run.Failure.Text, r.Run.Failure.Next = h, h
			r.Run.Failure.Diagnostics[0] = plumbline.Diagnostic{Severity: "error", Summary: h, Detail: h, File: h, Snippet: h}
		}
		for j := range r.Plan.Changes {
			c := &r.Plan.Changes[j]
			c.Address, c.Previous, c.Importing, c.ReplacePaths = h, h, h, []string{h}
			c.Attributes = append(c.Attributes, plumbline.Attribute{Path: h, Before: h, After: h})
		}
		r.Plan.Outputs = []plumbline.OutputChange{{Name: h, Before: h, After: h}}
		if r.Run.Plan != nil {
			info := r.Plan.Info()
			r.Run.Plan = &info
		}
	}
	return Note(d, Marker("infra", h), 1<<20)
}

func checkSafe(t *testing.T, md goldmark.Markdown, h string) {
	t.Helper()
	note := hostileNote(h)
	if marker, rest, _ := strings.Cut(note, "\n"); marker != Marker("infra", h) || strings.Count(marker, "<!--") != 1 || strings.Count(marker, "-->") != 1 || !strings.HasPrefix(rest, "### Plumbline") {
		t.Errorf("%q: the marker is %q", h, marker)
	}
	for _, tag := range []string{"script", "img", "iframe", "svg"} {
		if strings.Contains(outsideFences(note), "<"+tag) {
			t.Errorf("%q: a <%s> outside code in\n%s", h, tag, note)
		}
	}
	if open, shut := strings.Count(outsideFences(note), "<details>"), strings.Count(outsideFences(note), "</details>"); open != shut {
		t.Errorf("%q: %d <details>, %d </details>", h, open, shut)
	}
	var html strings.Builder
	if err := md.Convert([]byte(note), &html); err != nil {
		t.Fatal(err)
	}
	out := html.String()
	for _, bad := range []string{"<script", "<img", `href="javascript:`, `href="http://evil`, "<h1", "<del>"} {
		if strings.Contains(strings.ReplaceAll(out, "&lt;", ""), bad) {
			t.Errorf("%q: %s in\n%s", h, bad, out)
		}
	}
	for _, r := range note {
		if r == '\u202e' || r == '\x1b' || r == 0 {
			t.Errorf("%q: a control character is left", h)
		}
	}
}

// outsideFences leaves code blocks out.
func outsideFences(s string) string {
	var out []string
	fence := ""
	for _, l := range strings.Split(s, "\n") {
		switch {
		case fence == "" && strings.HasPrefix(l, "```"):
			fence = l[:longestRun(l, '`')]
		case fence != "" && l == fence:
			fence = ""
		case fence == "":
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func FuzzNote(f *testing.F) {
	for _, h := range hostile {
		f.Add(h)
	}
	md := goldmark.New(goldmark.WithExtensions(extension.GFM))
	f.Fuzz(func(t *testing.T, h string) { checkSafe(t, md, h) })
}
