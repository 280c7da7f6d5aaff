package report

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// limits are those of GitHub, GitLab, Bitbucket and CodeCommit.
var limits = map[string]int{"github": 65536, "gitlab": 1000000, "bitbucket": 32768, "codecommit": 10240}

// TestFitGolden shows what is left of one very large note at the smaller limits.
func TestFitGolden(t *testing.T) {
	d := large(400)
	golden(t, "large-10240.md", Note(d, Marker("infra", "42"), 10240))
	golden(t, "large-32768.md", Note(d, Marker("infra", "42"), 32768))
}

// TestFits makes notes of growing plans for each forge.
func TestFits(t *testing.T) {
	for forge, limit := range limits {
		for _, n := range []int{0, 1, 10, 100, 2000} {
			got := Note(large(n), Marker("infra", "42"), limit)
			checkWhole(t, got)
			if len(got) > limit {
				t.Errorf("%s, %d changes: %d bytes", forge, n, len(got))
			}
			for s := range 3 {
				if !strings.Contains(got, fmt.Sprintf("runs/%d)", 9900+s)) {
					t.Errorf("%s, %d changes: stack %d is not in the table", forge, n, s)
				}
			}
			if all := Note(large(n), Marker("infra", "42"), 0); len(all) <= limit && got != all {
				t.Errorf("%s, %d changes: something is left out of %d bytes", forge, n, len(all))
			} else if len(all) > limit && len(got) < limit-3*firstBytes {
				t.Errorf("%s, %d changes: %d bytes only", forge, n, len(got))
			}
			markdown := Markdown(namedOf(large(n)), limit)
			checkWhole(t, markdown)
			if len(markdown) > limit {
				t.Errorf("%s, %d changes: %d bytes of Markdown", forge, n, len(markdown))
			}
		}
	}
}

// TestFitsLittle makes the shortest notes.
func TestFitsLittle(t *testing.T) {
	d := rich()
	marker := Marker("infra", "42")
	for limit := 1; limit < 3*LeastLimit; limit += 1 + limit/100 {
		got := Note(d, marker, limit)
		if len(got) > limit {
			t.Fatalf("limit %d: %d bytes", limit, len(got))
		}
		if got != "" && !strings.HasSuffix(got, "\n") {
			t.Fatalf("limit %d: %q ends in the middle of a line", limit, got)
		}
		if limit >= LeastLimit && (!strings.HasPrefix(got, marker+"\n### Plumbline · 5 stacks") || !strings.Contains(got, "https://plumbline.example.com/")) {
			t.Fatalf("limit %d: no headline or no link in\n%s", limit, got)
		}
		checkWhole(t, got)
	}
}

// TestFitOrder takes random notes at random limits.
func TestFitOrder(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		less := 200 + r.IntN(20000)
		d := random(r)
		d.Plain = seed%2 == 1
		checkFit(t, d, less, less+1+r.IntN(8000))
	}
}

func FuzzFit(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint16(1000*seed), uint16(100))
	}
	f.Fuzz(func(t *testing.T, seed uint64, less, more uint16) {
		for _, plain := range []bool{false, true} {
			d := random(rand.New(rand.NewPCG(seed, 4)))
			d.Plain = plain
			checkFit(t, d, int(less)+1, int(less)+1+int(more))
		}
	})
}

// TestSinceLeavesRoom checks that a long difference from an earlier plan keeps out neither what is destroyed, nor a failed check, nor what to do.
func TestSinceLeavesRoom(t *testing.T) {
	var since []diff.Line
	for i := range 100 {
		since = append(since, diff.Line{Sign: "~", Text: fmt.Sprintf("aws_x.u%03d", i), Note: "not in the approved plan"},
			diff.Line{Sign: "~", Depth: 1, Text: "a = " + strings.Repeat("o", 60)}, diff.Line{Sign: "~", Depth: 1, Text: "b = " + strings.Repeat("n", 60)})
	}
	alone := []diff.Line{{Sign: "~", Text: "aws_x.long", Note: "not in the approved plan"}}
	for i := range 300 {
		alone = append(alone, diff.Line{Sign: "~", Depth: 1, Text: fmt.Sprintf("a%03d = %s", i, strings.Repeat("o", 60))})
	}
	for name, c := range map[string]struct {
		since []diff.Line
		first []string // which lines of the difference are there
		rest  string
	}{
		"many": {since, []string{"!   aws_x.u000 ", "!   aws_x.u003 "}, "differences"},
		"one":  {alone, []string{"!   aws_x.long ", "a018 ="}, " more lines\n"},
	} {
		d := sample()
		d.Rows = d.Rows[2:3]
		r := &d.Rows[0]
		r.Since, r.SinceSummary, r.Run.State = c.since, "100 more changes", plumbline.StateAwaiting
		r.Plan.Checks = []plumbline.Check{{Address: "check.a", Status: plumbline.CheckFailed}}
		r.Plan.Changes = append(r.Plan.Changes, plumbline.Change{Address: "aws_x.left", Action: plumbline.ActionForget}, plumbline.Change{Address: "action.a.b", Action: plumbline.ActionInvoke})
		named := []string{"**Will be destroyed**\n- `aws_eip.old`", "- `aws_x.left`", "- `action.a.b`", "- `check.a` failed"}
		summary := "from what was approved: 100 more changes</summary>"
		for _, limit := range []int{2500, 10240} {
			want := append([]string{summary, "plumbline runs approve 9813"}, named...)
			if limit > 5000 {
				want = append(append(want, c.first...), c.rest)
			}
			checkHas(t, name, Note(d, "", limit), want...)
		}
		plan := NamedPlan{Name: "a", Plan: r.Plan, Since: r.Since, SinceSummary: r.SinceSummary}
		got := Markdown([]NamedPlan{plan}, 10240)
		checkWhole(t, got)
		checkHas(t, name, got, append(append(named, "from the earlier plan: 100 more changes</summary>"), c.first...)...)
		all := Markdown([]NamedPlan{plan}, 0)
		for _, l := range c.since {
			if !strings.Contains(all, l.Text) {
				t.Errorf("%s: %q is nowhere", name, l.Text)
			}
		}
	}
}

func checkHas(t *testing.T, name, got string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", name, want, got)
		}
	}
}

// checkFit checks the promises of a fitted note, at two limits.
func checkFit(t *testing.T, d NoteData, less, more int) {
	t.Helper()
	marker := markerOf(d, "infra", "42")
	shown := map[int]map[int]bool{}
	for _, limit := range []int{less, more} {
		got := Note(d, marker, limit)
		if len(got) > limit {
			t.Errorf("limit %d: %d bytes", limit, len(got))
		}
		checkWhole(t, got)

		s := sheetOf(d, marker)
		out, ok := s.fit(limit)
		shown[limit] = map[int]bool{}
		if !ok {
			continue
		}
		if out != got {
			t.Fatalf("limit %d: it differs from time to time", limit)
		}
		var gone, last rank = 1 << 20, -1
		n := 0
		for _, in := range s.sections {
			for _, p := range in.pieces {
				n++
				text := p.String()
				if text == "" {
					continue
				}
				if !strings.HasSuffix(text, "\n") {
					t.Errorf("%q ends in the middle of a line", text)
				}
				if p.shown {
					shown[limit][n] = true
					last = max(last, p.rank)
					if !strings.Contains(out, text) {
						t.Errorf("limit %d: %q is said to be shown", limit, text)
					}
				} else {
					gone = min(gone, p.rank)
				}
				if p.shown && p.of != nil && !p.of.shown {
					t.Errorf("limit %d: %q is shown without what it belongs to", limit, text)
				}
			}
		}
		if last > gone {
			t.Errorf("limit %d: something of danger %d is shown, something of danger %d is not", limit, last, gone)
		}
		if gone < 1<<20 && !strings.Contains(out, "\n"+d.voice().shortened()) {
			t.Errorf("limit %d: nothing is said of what is left out", limit)
		}
		checkCounts(t, d, out)
	}
	for n := range shown[less] {
		if !shown[more][n] {
			t.Errorf("piece %d is shown at %d bytes and not at %d", n, less, more)
		}
	}
}

// checkCounts checks that each resource is shown or counted.
func checkCounts(t *testing.T, d NoteData, note string) {
	t.Helper()
	var gone, created int
	for _, l := range strings.Split(note, "\n") {
		list, ok := strings.CutPrefix(l, d.voice().shortened()+": ")
		if !ok {
			continue
		}
		for _, part := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
			var n int
			var what string
			if _, err := fmt.Sscan(part, &n, &what); err == nil {
				switch what {
				case "replaced", "destroyed":
					gone += n
				case "created":
					created = n
				}
			}
		}
	}
	fenced := inFences(note)
	for _, r := range d.Rows {
		for _, c := range r.Plan.Changes {
			shows := strings.Contains(fenced, " "+c.Address+" ") || strings.Contains(fenced, " "+c.Address+"\n") || strings.Contains(note, "\n- `"+c.Address+"`")
			switch {
			case shows:
			case c.Action.Destroys():
				gone--
			case c.Action == plumbline.ActionCreate:
				created--
			}
		}
	}
	if gone != 0 || created != 0 {
		t.Errorf("the note is wrong by %d destroyed, %d created in what it says to leave out:\n%s", gone, created, note)
	}
}

// checkWhole checks that nothing is cut in the middle.
func checkWhole(t *testing.T, note string) {
	t.Helper()
	if !utf8.ValidString(note) {
		t.Error("not UTF-8")
	}
	fence, open := false, 0
	for _, l := range strings.Split(note, "\n") {
		switch {
		case fence && l == "```":
			fence = false
		case fence:
			if l == "" || !strings.ContainsAny(l[:1], "+-! "+bar[:1]) || strings.HasPrefix(strings.TrimLeft(l, " "), "```") && !strings.HasPrefix(l, "    ") {
				t.Errorf("a line of code is %q", l)
			}
		case strings.HasPrefix(l, "```"):
			fence = true
		case strings.HasPrefix(l, "<details>"):
			open++
			if !strings.HasSuffix(l, "</summary>") || open > 1 {
				t.Errorf("%q", l)
			}
		case l == "</details>":
			open--
		case strings.HasPrefix(l, "|"):
			if strings.Count(l, "|") != 8 || !strings.HasSuffix(l, "|") {
				t.Errorf("a row is %q", l)
			}
		}
	}
	if fence || open != 0 {
		t.Errorf("cut in the middle: fence %t, details %d in\n%s", fence, open, note)
	}
}

// inFences are the code blocks of a note.
func inFences(note string) string {
	var b strings.Builder
	fence := false
	for _, l := range strings.Split(note, "\n") {
		if strings.HasPrefix(l, "```") {
			fence = !fence
		} else if fence {
			b.WriteString(l + "\n")
		}
	}
	return b.String()
}

// random is a note of some stacks with changes of all kinds and sizes.
func random(r *rand.Rand) NoteData {
	d := sample()
	d.Rows = d.Rows[:r.IntN(2)]
	if r.IntN(8) == 0 {
		d.Base = ""
	}
	actions := []plumbline.Action{
		plumbline.ActionCreate, plumbline.ActionCreate, plumbline.ActionUpdate, plumbline.ActionUpdate, plumbline.ActionDelete, plumbline.ActionReplace,
		plumbline.ActionReplaceFirst, plumbline.ActionForget, plumbline.ActionForgetCreate, plumbline.ActionInvoke, plumbline.ActionNoOp,
	}
	serial := 0
	change := func(a plumbline.Action) plumbline.Change {
		serial++
		c := plumbline.Change{Address: fmt.Sprintf("t%d.n%d", r.IntN(9), serial) + strings.Repeat("x", r.IntN(30)), Action: a, Type: "aws_thing"}
		for i := range r.IntN(1 << r.IntN(7)) {
			c.Attributes = append(c.Attributes, plumbline.Attribute{Path: fmt.Sprint("a", i), Before: `"` + strings.Repeat("b", r.IntN(60)) + `"`, After: `"` + strings.Repeat("c", r.IntN(60)) + `"`, Forces: r.IntN(9) == 0})
		}
		if a == plumbline.ActionNoOp {
			c.Previous = "old"
		}
		return c
	}
	for s := range r.IntN(1 << r.IntN(6)) {
		var p plumbline.Plan
		mix := actions[:1+r.IntN(len(actions))]
		for range r.IntN(1 << r.IntN(8)) {
			p.Changes = append(p.Changes, change(mix[r.IntN(len(mix))]))
		}
		for i := range r.IntN(3) {
			p.Outputs = append(p.Outputs, plumbline.OutputChange{Name: fmt.Sprint("o", i), Action: plumbline.ActionUpdate, Before: "1", After: "2"})
			p.Drift = append(p.Drift, change(plumbline.ActionUpdate))
			p.Deferred = append(p.Deferred, change(plumbline.ActionCreate))
			p.Checks = append(p.Checks, plumbline.Check{Address: fmt.Sprint("check.c", i), Status: []plumbline.CheckStatus{plumbline.CheckFailed, plumbline.CheckUnknown}[r.IntN(2)], Problems: []string{"no"}})
		}
		p.NoState, p.Errored, p.Partial = r.IntN(9) == 0, r.IntN(9) == 0, r.IntN(5) == 0
		row := proposal(plumbline.RunID(9800+s), "production", fmt.Sprint("live/", s), p)
		if r.IntN(5) == 0 {
			row.Run.State = plumbline.StateAwaiting
		}
		if r.IntN(9) == 0 {
			row.Run.Kind, row.Run.State, row.Held = plumbline.KindDeploy, plumbline.StateInterrupted, []string{"live/a", "live/b"}
		}
		if r.IntN(9) == 0 {
			row.Run.Glass = &plumbline.Glass{By: "root", Reason: "the site is down", Digest: row.Run.Plan.Digest}
		}
		for range r.IntN(1 << r.IntN(6)) {
			levels := []plumbline.PolicyLevel{plumbline.PolicyDeny, plumbline.PolicyApprove, plumbline.PolicyWarn}
			row.Run.Findings = append(row.Run.Findings, plumbline.PolicyFinding{Policy: fmt.Sprint("a.b", r.IntN(3)), Level: levels[r.IntN(3)], Message: strings.Repeat("no ", 1+r.IntN(30)), Address: "a.b"})
		}
		for range r.IntN(1 << r.IntN(4)) {
			c := plumbline.CheckResult{Name: plumbline.CheckFmt, Verdict: []plumbline.Verdict{plumbline.VerdictPass, plumbline.VerdictFail, plumbline.VerdictError}[r.IntN(3)], Text: "so it is"}
			for i := range r.IntN(1 << r.IntN(6)) {
				c.Findings = append(c.Findings, plumbline.Finding{File: "a.tf", Line: i, Message: strings.Repeat("m", r.IntN(99)), Source: "x = 1\ny"})
			}
			c.Output = strings.Repeat("said\n", r.IntN(1<<r.IntN(12)))
			row.Run.Checks = append(row.Run.Checks, c)
		}
		if r.IntN(4) == 0 {
			row.SinceSummary = "more changes"
			for range 1 + r.IntN(40) {
				row.Since = append(row.Since, diff.Line{Sign: "~", Text: fmt.Sprint("since.n", len(row.Since)), Note: "not in the approved plan"})
				for range r.IntN(1 << r.IntN(6)) {
					row.Since = append(row.Since, diff.Line{Sign: "~", Depth: 1, Text: fmt.Sprintf("s%d = %s", len(row.Since), strings.Repeat("b", r.IntN(99)))})
				}
			}
		}
		d.Rows = append(d.Rows, row)
	}
	return d
}

func BenchmarkNote(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		d := large(n / 3)
		for forge, limit := range map[string]int{"github": 65536, "gitlab": 1000000, "none": 0} {
			b.Run(fmt.Sprintf("%d/%s", n, forge), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if Note(d, "<!-- -->", limit) == "" {
						b.Fatal("no note")
					}
				}
			})
		}
	}
}

func BenchmarkHTML(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		plans := namedOf(large(n / 3))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := HTML(countWriter{new(int)}, plans, PageOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type countWriter struct{ n *int }

func (w countWriter) Write(b []byte) (int, error) {
	*w.n += len(b)
	return len(b), nil
}
