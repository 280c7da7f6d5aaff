package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	mdtext "github.com/yuin/goldmark/text"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func markerOf(d NoteData, repo, id string) string {
	if d.Plain {
		return PlainMarker(repo, id)
	}
	return Marker(repo, id)
}

func plain(d NoteData) NoteData {
	d.Plain = true
	return d
}

// TestPlainGolden shows a small note and a very large one at the limits of the forges that show raw HTML as text.
func TestPlainGolden(t *testing.T) {
	for _, limit := range []int{10240, 32768} {
		golden(t, fmt.Sprintf("plain-%d.md", limit), Note(plain(sample()), PlainMarker("infra", "42"), limit))
		golden(t, fmt.Sprintf("plain-large-%d.md", limit), Note(plain(large(400)), PlainMarker("infra", "42"), limit))
	}
	golden(t, "plain-rich.md", Note(plain(rich()), PlainMarker("infra", "42"), 32768))
	golden(t, "plain-plans.md", PlainMarkdown(namedOf(rich()), 32768))
	for name, change := range map[string]func(*plumbline.MergeRequest){
		"conflict": func(mr *plumbline.MergeRequest) { mr.Conflict = true },
		"skipped": func(mr *plumbline.MergeRequest) {
			mr.Skipped = "It is a draft; it is planned when it is marked as ready."
		},
	} {
		d := plain(sample())
		d.Rows, d.MR.Findings = nil, []plumbline.Finding{{File: "live/net/main.tf"}}
		change(&d.MR)
		golden(t, "plain-"+name+".md", Note(d, PlainMarker("infra", "42"), 10240))
	}
}

// TestPlainFits makes notes of growing plans: what can only be scrolled past does not grow with the forge's limit.
func TestPlainFits(t *testing.T) {
	for _, limit := range []int{10240, 32768, 1000000} {
		for _, n := range []int{0, 1, 10, 100, 2000} {
			d := plain(large(n))
			got := Note(d, PlainMarker("infra", "42"), limit)
			checkPlainWhole(t, got)
			if len(got) > min(limit, unfoldedChanges) {
				t.Errorf("limit %d, %d changes: %d bytes", limit, n, len(got))
			}
			if !strings.HasSuffix(got, "\n\n[plumbline]: # (infra!42)\n") {
				t.Errorf("limit %d, %d changes: no marker in\n%s", limit, n, got)
			}
			if n >= 100 && len(got) < min(limit, unfoldedChanges)-3*firstBytes {
				t.Errorf("limit %d, %d changes: %d bytes only", limit, n, len(got))
			}
			report := PlainMarkdown(namedOf(d), limit)
			checkPlainWhole(t, report)
			if len(report) > limit {
				t.Errorf("limit %d, %d changes: %d bytes of a report", limit, n, len(report))
			}
		}
	}
	// Many stacks that fail have all the room there is.
	d := plain(sample())
	for i := range 100 {
		r := sample().Rows[0]
		r.Run.Stack.Name = fmt.Sprint("live/", i)
		d.Rows = append(d.Rows, r)
	}
	if got := Note(d, PlainMarker("infra", "42"), 32768); len(got) < 30000 || len(got) > 32768 {
		t.Errorf("100 failures: %d bytes", len(got))
	}
}

// TestPlainFitsLittle makes the shortest notes.
func TestPlainFitsLittle(t *testing.T) {
	d, marker := plain(rich()), PlainMarker("infra", "42")
	for limit := 1; limit < 3*LeastLimit; limit += 1 + limit/100 {
		got := Note(d, marker, limit)
		if len(got) > limit {
			t.Fatalf("limit %d: %d bytes", limit, len(got))
		}
		checkPlainWhole(t, got)
		if limit >= LeastLimit && (!strings.Contains(got, marker+"\n") || !strings.Contains(got, "### Plumbline · 5 stacks") || !strings.Contains(got, "https://plumbline.example.com/")) {
			t.Fatalf("limit %d: no marker, no headline or no link in\n%s", limit, got)
		}
	}
}

func TestPlainMarker(t *testing.T) {
	seen := map[string]string{}
	for _, names := range [][2]string{{"infra", "4"}, {"infra", "42"}, {"infra!4", "2"}, {"a/b", "1"}, {"a%2Fb", "1"}, {"a b", "1"}, {"a)b", "1"}, {"a\\", "1"}, {"a\nb", "1"}, {"é", "1"}, {"", ""}} {
		m := PlainMarker(names[0], names[1])
		if was, ok := seen[m]; ok {
			t.Errorf("%q and %q are both %s", was, names, m)
		}
		for other := range seen {
			if strings.Contains(m, other) || strings.Contains(other, m) {
				t.Errorf("%s is part of %s, or the other way", m, other)
			}
		}
		seen[m] = names[0] + "!" + names[1]
	}
}

var plainRules = rules{
	elements: map[string][]string{
		"html": nil, "head": nil, "body": nil, "p": nil, "h3": {"id"}, "strong": nil, "br": nil, "ul": nil, "li": nil, "a": {"href"}, "code": {"class"}, "pre": nil,
	},
	inside: []string{"li", "pre"},
}

// plainNotes are a plain note and report with h in all places that take strings from outside, and notes of other kinds.
func plainNotes(h string) []string {
	d := plain(poisoned(h))
	conflict, skipped, merged := d, d, d
	conflict.MR.Conflict, skipped.MR.Skipped, merged.MR.State = true, h, plumbline.MRMerged
	out := []string{Note(d, PlainMarker(h, h), 1<<20), PlainMarkdown(namedOf(d), 1<<20)}
	for _, other := range []NoteData{conflict, skipped, merged} {
		out = append(out, Note(other, PlainMarker("infra", "42"), 1<<20))
	}
	return out
}

func checkPlain(t *testing.T, h string) {
	t.Helper()
	for _, note := range plainNotes(h) {
		for name, md := range readers {
			var b strings.Builder
			if err := md.Convert([]byte(note), &b); err != nil {
				t.Fatal(err)
			}
			checkPlainRead(t, name, h, note, b.String())
		}
		checkSource(t, h, note)
	}
	cut := Note(plain(poisoned(h)), PlainMarker("infra", "42"), 3000)
	if len(cut) > 3000 {
		t.Errorf("%q: %d bytes of 3000", h, len(cut))
	}
	checkSource(t, h, cut)
}

// checkPlainRead checks what a forge made of a plain note. Long ones are shortened, with what was put in: its place is not looked for then.
func checkPlainRead(t *testing.T, name, h, note, source string) {
	t.Helper()
	may := plainRules
	if strings.Contains(note, "\nShortened") {
		h, may.inside = "", nil
	}
	checkRead(t, name, h, note, source, may)
	if strings.Contains(source, "[plumbline]") {
		t.Errorf("%s, %q: the marker is to be seen in\n%s", name, h, source)
	}
}

// checkSource checks that the source has neither elements nor entities.
func checkSource(t *testing.T, h, note string) {
	t.Helper()
	source := []byte(note)
	root := goldmark.New().Parser().Parse(mdtext.NewReader(source))
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.RawHTML, *ast.HTMLBlock, *ast.AutoLink, *ast.Image:
			t.Errorf("%q: %s in\n%s", h, n.Kind(), note)
		case *ast.CodeSpan:
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			if s := n.Segment.Value(source); bytes.ContainsAny(s, "<>&") {
				t.Errorf("%q: %q is no text", h, s)
			}
		}
		return ast.WalkContinue, nil
	})
	checkPlainWhole(t, note)
}

// checkPlainWhole checks that nothing is cut in the middle, and that lists and blocks have the blank lines that they need.
func checkPlainWhole(t *testing.T, note string) {
	t.Helper()
	fence, before := false, ""
	for _, l := range strings.Split(note, "\n") {
		switch {
		case fence && l == "```":
			fence = false
		case fence:
			if l == "" || !strings.ContainsAny(l[:1], "+-! "+bar[:1]) {
				t.Errorf("a line of code is %q", l)
			}
			continue
		case strings.HasPrefix(l, "```") && !strings.Contains(strings.TrimLeft(l, "`"), "`"):
			fence = true
			if before != "" {
				t.Errorf("a block directly after %q", before)
			}
		case strings.HasPrefix(l, "|"), strings.HasPrefix(l, "<"):
			t.Errorf("a line is %q", l)
		case strings.HasPrefix(l, "- ") && before != "" && !strings.HasPrefix(before, "- "):
			t.Errorf("a list directly after %q", before)
		case strings.HasPrefix(l, "[plumbline]") && before != "":
			t.Errorf("the marker directly after %q", before)
		case before == "```" && l != "":
			t.Errorf("%q directly after a block", l)
		}
		before = l
	}
	if fence || note != "" && !strings.HasSuffix(note, "\n") {
		t.Errorf("cut in the middle:\n%s", note)
	}
}

// readLikeBitbucket reads notes as Bitbucket Cloud does: with Python-Markdown, the extensions that bitbucket.org/tutorials/markdowndemo names, and
// raw HTML escaped as python-markdown.github.io/change_log/release-3.0 says to do it.
const readLikeBitbucket = `
import json, sys, markdown
out = []
for note in json.load(sys.stdin):
    md = markdown.Markdown(extensions=["codehilite", "tables", "def_list", "footnotes", "sane_lists", "abbr", "fenced_code", "toc", "wikilinks", "attr_list"],
        extension_configs={"codehilite": {"use_pygments": False}})
    md.preprocessors.deregister("html_block")
    md.inlinePatterns.deregister("html")
    out.append(md.convert(note))
json.dump(out, sys.stdout)
`

// TestPlainPythonMarkdown reads plain notes with the very library that Bitbucket uses.
func TestPlainPythonMarkdown(t *testing.T) {
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import markdown").Run(); err != nil {
		t.Skipf("no Python-Markdown here, with which Bitbucket reads notes: %v", err)
	}
	type read struct{ h, note string }
	var notes []read
	for _, h := range hostile(t) {
		notes = append(notes, read{h, plainNotes(h)[0]})
	}
	notes = append(notes, read{"", Note(plain(rich()), PlainMarker("infra", "42"), 32768)}, read{"", PlainMarkdown(namedOf(rich()), 32768)})
	texts := make([]string, 0, len(notes))
	for _, n := range notes {
		texts = append(texts, n.note)
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "-c", readLikeBitbucket)
	cmd.Stdin = bytes.NewReader(in)
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	if err := json.Unmarshal(got, &pages); err != nil {
		t.Fatal(err)
	}
	for i, n := range notes {
		// its blocks stand in a <div> to be coloured
		checkPlainRead(t, "Python-Markdown", n.h, n.note, strings.NewReplacer(`<div class="codehilite">`, "", "</div>", "").Replace(pages[i]))
	}
}

// showsHTML is a forge that shows raw HTML as text.
type showsHTML struct{ forge.Client }

func (showsHTML) Plain() bool { return true }

// TestPlainForge tells such a forge of a merge request, in one note however often.
func TestPlainForge(t *testing.T) {
	r := newRig(t)
	r.r = New(Config{Repository: r.repo, Forge: showsHTML{r.forge.Client()}, Ledger: r.store, Plans: r.plans, PublicURL: "https://p.example.com", Now: func() time.Time { return r.now }})
	mr := plumbline.MergeRequest{}
	ids := r.open(&mr, "production/a")
	r.settle()
	r.plan(ids...)
	r.settle()
	if n := r.note(mr.ID); !strings.HasSuffix(n, "\n\n"+PlainMarker("infra", mr.ID)+"\n") || !strings.Contains(n, "🟠 [production · a]") || strings.Contains(n, "<") {
		t.Errorf("note:\n%s", n)
	}
}
