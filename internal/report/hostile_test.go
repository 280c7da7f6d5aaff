package report

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer/html"
	xhtml "golang.org/x/net/html"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// hostile are the strings of testdata/hostile.txt.
func hostile(t testing.TB) []string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "hostile.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if s.Text() == "" || s.Text()[0] == '#' {
			continue
		}
		h, err := strconv.Unquote(s.Text())
		if err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		out = append(out, h)
	}
	return out
}

// longest is how long a string is that fuzzing tries: a note has it in a hundred places and is read five times, and a fuzzer gives up on what takes ten
// seconds on a busy machine. TestLongStrings has longer ones.
const longest = 1 << 10

func TestLongStrings(t *testing.T) {
	for _, h := range []string{strings.Repeat("<b>|`@x` ", 2000), strings.Repeat("a", 5000), strings.Repeat("é\n", 1000), strings.Repeat("[", 3000)} {
		checkNote(t, h)
		checkPage(t, h)
	}
}

// readers are what a note may be read with.
var readers = map[string]goldmark.Markdown{
	"GFM":        goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote, extension.DefinitionList), goldmark.WithRendererOptions(html.WithUnsafe())),
	"CommonMark": goldmark.New(goldmark.WithRendererOptions(html.WithUnsafe())),
	"hard wraps": goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(html.WithUnsafe(), html.WithHardWraps())),
}

func TestHostileCorpus(t *testing.T) {
	if n := len(hostile(t)); n < 150 {
		t.Errorf("the corpus has %d strings only", n)
	}
}

// FuzzNote puts hostile strings wherever a stranger can, and reads note and report as forges do: nothing comes of them but text, and all of it
// is there. Without -fuzz it takes the corpus.
func FuzzNote(f *testing.F) {
	for _, h := range hostile(f) {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, h string) {
		if len(h) <= longest {
			checkNote(t, h)
		}
	})
}

// FuzzPage does the same with the page.
func FuzzPage(f *testing.F) {
	for _, h := range hostile(f) {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, h string) {
		if len(h) <= longest {
			checkPage(t, h)
		}
	})
}

// poisoned is a note with h in all places that take strings from outside.
func poisoned(h string) NoteData {
	d := rich()
	d.MR.Target, d.MR.ID, d.MR.Head, d.MR.Base = h, h, h, h
	d.MR.Findings = []plumbline.Finding{{File: h, Line: 1, Message: h}}
	d.MR.Removed = []string{"production/" + h}
	d.Talks = len(h)%2 == 0
	for i := range d.Rows {
		r := &d.Rows[i]
		r.Run.Stack.Name, r.Run.Stack.Environment, r.Next, r.SinceSummary, r.Held = h, h, h, h, []string{h}
		r.Run.RejectedBy, r.Run.Reason = h, h
		r.Run.Policy.Approval = plumbline.ApprovalRule{Count: 2, From: []string{h}, Not: []plumbline.Exclusion{plumbline.Exclusion(h)}, Carry: true, Forge: true}
		for _, level := range []plumbline.PolicyLevel{plumbline.PolicyDeny, plumbline.PolicyApprove, plumbline.PolicyWarn, plumbline.PolicyLevel(h)} {
			if level != plumbline.PolicyDeny || i%2 == 0 {
				r.Run.Findings = append(r.Run.Findings, plumbline.PolicyFinding{Policy: h, Level: level, Message: h, Address: h, From: []string{h, h}})
			}
		}
		for _, verdict := range []plumbline.Verdict{plumbline.VerdictFail, plumbline.VerdictPass, plumbline.Verdict(h)} {
			r.Run.Checks = append(r.Run.Checks, plumbline.CheckResult{
				Name: plumbline.CheckName(h), Verdict: verdict, Text: h, Findings: []plumbline.Finding{{File: h, Line: 3, Column: 5, Source: h, Message: h}}, Output: h + "\n" + h,
			}, plumbline.CheckResult{Name: plumbline.CheckTest, Verdict: plumbline.VerdictError, Output: h})
		}
		if r.Run.Failure != nil {
			r.Run.Failure.Text, r.Run.Failure.Next = h, h
			r.Run.Failure.Diagnostics[0] = plumbline.Diagnostic{Severity: "error", Summary: h, Detail: h, File: h, Snippet: h}
		}
		for _, list := range [][]plumbline.Change{r.Plan.Changes, r.Plan.Drift, r.Plan.Deferred} {
			for j := range list {
				c := &list[j]
				c.Address, c.Type, c.Previous, c.Importing, c.Deposed, c.Reason, c.ReplacePaths = h, h, h, h, h, h, []string{h}
				c.Attributes = append(c.Attributes, plumbline.Attribute{Path: h, Before: h, After: h, Forces: c.Action.Replaces()}, plumbline.Attribute{Path: "value", Before: strconv.Quote("x"), After: jsonOf(h)})
			}
		}
		for j := range r.Since {
			r.Since[j].Text, r.Since[j].Note = h, h
		}
		for j := range r.Plan.Checks {
			c := &r.Plan.Checks[j]
			c.Address, c.Problems = h, []string{h, h}
		}
		r.Plan.Outputs = append(r.Plan.Outputs, plumbline.OutputChange{Name: h, Action: plumbline.ActionUpdate, Before: h, After: h})
		r.Plan.Engine, r.Plan.Version = h, h
		if r.Run.Plan != nil {
			info := r.Plan.Info()
			r.Run.Plan = &info
			r.Run.Approvals = []plumbline.Approval{{By: h, Carried: h, Digest: info.Digest, Groups: []string{h}}, {By: h, Digest: h}}
			r.Run.Glass = &plumbline.Glass{By: h, Reason: h, Digest: info.Digest}
			if i == 1 {
				r.Run.Kind, r.Run.State = plumbline.KindDeploy, plumbline.StateRejected
			}
			if i == 2 {
				r.Run.Glass = nil
				r.Run.Policy.Calendar.Freezes = []plumbline.Freeze{{Name: h, Reason: h, By: h}}
				r.Next = next(d.MR, r.Run, nil, d.Now)
			}
		}
	}
	return d
}

// jsonOf is a JSON string, as far as s can be one.
func jsonOf(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			b.WriteString(`\u00` + strconv.FormatInt(int64(r)+0x100, 16)[1:])
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// seen is what is to be seen of h in running text, and in code.
func seen(h string) (text, code string) {
	long := func(s string) string {
		if len(s) > maxText {
			return squash(diff.Clean(head(s, maxText)))
		}
		return squash(diff.Clean(s))
	}
	return long(squash(h)), long(h)
}

// squash is white space as a browser shows it.
func squash(s string) string { return strings.Join(strings.Fields(s), " ") }

func checkNote(t *testing.T, h string) {
	t.Helper()
	d := poisoned(h)
	checkPlain(t, h)
	note := Note(d, Marker(h, h), 0)
	report := Markdown(namedOf(d), 0)
	for name, md := range readers {
		checkMarkdown(t, name, md, h, note)
	}
	checkMarkdown(t, "GFM", readers["GFM"], h, report)
	marker, rest, _ := strings.Cut(note, "\n")
	if strings.Count(marker, "<!--") != 1 || strings.Count(marker, "-->") != 1 || strings.Contains(marker, "--!>") || !strings.HasPrefix(rest, "### Plumbline") {
		t.Errorf("%q: the marker is %q", h, marker)
	}
	conflict := d
	conflict.MR.Conflict = true
	skipped := d
	skipped.MR.Skipped = h
	merged := d
	merged.MR.State = plumbline.MRMerged
	for _, other := range []NoteData{conflict, skipped, merged} {
		checkMarkdown(t, "GFM", readers["GFM"], h, Note(other, Marker("infra", "42"), 0))
	}
	const limit = 3000
	cut := Note(d, Marker("infra", "42"), limit)
	if len(cut) > limit {
		t.Errorf("%q: %d bytes of %d", h, len(cut), limit)
	}
	checkMarkdown(t, "GFM", readers["GFM"], "", cut)
}

// touchy is what forges make links, pictures or formulas of, in text that is not code.
var touchy = regexp.MustCompile(`@\w|#\w|!\d|\$|~\w|%["\w]|&\w|\^|:\w+:|:\+1:|GH-\d|\b[0-9a-f]{7,64}\b|://|(?i:www\.)|\[\[|\[\w+:|==|\{\+|\[\+|\{\{|\{%|` + "`")

// rules are what a note may be made of.
type rules struct {
	elements map[string][]string
	comments int
	inside   []string // elements in which what was put in is to be seen
}

var foldedRules = rules{elements: inNotes, comments: 1, inside: []string{"li", "summary", "pre", "td"}}

func checkMarkdown(t *testing.T, name string, md goldmark.Markdown, h, note string) {
	t.Helper()
	var b strings.Builder
	if err := md.Convert([]byte(note), &b); err != nil {
		t.Fatal(err)
	}
	checkRead(t, name, h, note, b.String(), foldedRules)
}

// checkRead checks what a forge made of a note.
func checkRead(t *testing.T, name, h, note, source string, may rules) {
	t.Helper()
	for _, l := range strings.Split(note, "\n") {
		if strings.HasPrefix(strings.TrimLeft(l, " "), "/") || strings.HasPrefix(strings.ToLower(l), "plumbline") {
			t.Errorf("%q: a line looks like a command: %q", h, l)
		}
	}
	root, err := xhtml.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	page := walk(root)
	for element, attributes := range page.elements {
		allowed, ok := may.elements[element]
		if !ok {
			t.Errorf("%s, %q: <%s> in\n%s\nof\n%s", name, h, element, source, note)
			return
		}
		for _, a := range attributes {
			if !slices.Contains(allowed, a) {
				t.Errorf("%s, %q: <%s %s>", name, h, element, a)
			}
		}
	}
	for _, href := range page.links {
		if href != "https://plumbline.example.com/" && href != "https://plumbline.example.com/drift" && !strings.HasPrefix(href, "https://plumbline.example.com/runs/98") {
			t.Errorf("%s, %q: a link to %s", name, h, href)
		}
	}
	if page.comments > may.comments {
		t.Errorf("%s, %q: %d comments", name, h, page.comments)
	}
	for _, s := range page.plain {
		if m := touchy.FindString(s); m != "" {
			t.Errorf("%s, %q: %q stands outside code in %q", name, h, m, s)
		}
	}
	if strings.ContainsFunc(note, invisible) {
		t.Errorf("%s, %q: something that cannot be seen is left in\n%q", name, h, note)
	}
	text, code := seen(h)
	if all := squash(page.text.String()); !strings.Contains(all, text) && !strings.Contains(all, code) {
		t.Errorf("%s, %q: %q is not in the text:\n%s\nof\n%s", name, h, text, all, note)
	}
	// pre: what diff makes of a long name is diff's
	for _, element := range may.inside {
		want := map[string]string{"li": code, "summary": text, "pre": code, "td": text}[element]
		if len(h) < 150 && len(page.inside[element]) > 0 && !slices.ContainsFunc(page.inside[element], func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("%s, %q: %q is in no <%s> of\n%s", name, h, want, element, note)
		}
	}
}

// invisible reports whether nothing is to be seen of a character, or something else than it is.
func invisible(r rune) bool {
	return r < ' ' && r != '\n' || r > '~' && r != '\ufffd' && diff.Clean(string(r)) != string(r)
}

// inNotes are the elements that a note consists of, with their attributes.
var inNotes = map[string][]string{
	"html": nil, "head": nil, "body": nil,
	"p": nil, "h3": {"id"}, "strong": nil, "em": nil, "b": nil, "br": nil, "ul": nil, "li": nil, "a": {"href"}, "code": {"class"}, "pre": nil, "details": nil, "summary": nil,
	"table": nil, "thead": nil, "tbody": nil, "tr": nil, "th": {"style"}, "td": {"style"},
}

// read is what a page consists of.
type read struct {
	elements map[string][]string // with all attributes that any has
	links    []string
	comments int
	text     strings.Builder
	plain    []string            // texts outside code
	inside   map[string][]string // texts by element
}

func walk(root *xhtml.Node) *read {
	r := &read{elements: map[string][]string{}, inside: map[string][]string{}}
	var visit func(n *xhtml.Node, code bool)
	visit = func(n *xhtml.Node, code bool) {
		switch n.Type {
		case xhtml.CommentNode:
			r.comments++
		case xhtml.TextNode:
			r.text.WriteString(n.Data)
			if !code {
				r.plain = append(r.plain, n.Data)
			}
		case xhtml.ElementNode:
			if _, ok := r.elements[n.Data]; !ok {
				r.elements[n.Data] = nil
			}
			for _, a := range n.Attr {
				r.elements[n.Data] = append(r.elements[n.Data], a.Key)
				if a.Key == "href" {
					r.links = append(r.links, a.Val)
				}
			}
			code = code || n.Data == "code" || n.Data == "pre"
		}
		from := r.text.Len()
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			visit(c, code)
		}
		if n.Type == xhtml.ElementNode && slices.Contains([]string{"li", "summary", "pre", "td", "th", "h2", "title"}, n.Data) {
			r.inside[n.Data] = append(r.inside[n.Data], squash(r.text.String()[from:]))
		}
	}
	visit(root, false)
	return r
}

// inPages are the elements that a page consists of, with their attributes.
var inPages = map[string][]string{
	"html": {"lang"}, "head": nil, "body": nil, "meta": {"charset", "http-equiv", "content", "name"}, "title": nil, "link": {"rel", "href"}, "style": nil,
	"header": nil, "main": {"id"}, "footer": nil, "section": {"aria-labelledby"}, "h1": nil, "h2": {"id"}, "h3": nil, "p": {"class"}, "div": {"class", "id"}, "span": {"class"},
	"b": nil, "em": {"class"}, "ul": nil, "li": nil, "a": {"class", "href", "aria-label"}, "code": nil, "pre": {"class"}, "details": {"class", "id", "open"}, "summary": nil,
	"table": nil, "caption": nil, "thead": nil, "tbody": nil, "tr": nil, "th": {"scope", "class"}, "td": {"class"},
}

func checkPage(t *testing.T, h string) {
	t.Helper()
	plans := namedOf(poisoned(h))
	for i := range plans {
		plans[i].Name, plans[i].Next = h, h
	}
	source := pageOf(t, plans)
	root, err := xhtml.Parse(strings.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	page := walk(root)
	for element, attributes := range page.elements {
		allowed, ok := inPages[element]
		if !ok {
			t.Errorf("%q: <%s> in\n%s", h, element, source)
			return
		}
		for _, a := range attributes {
			if !slices.Contains(allowed, a) {
				t.Errorf("%q: <%s %s>", h, element, a)
			}
		}
	}
	if n := strings.Count(source, "<style"); n != 1 || page.comments > 0 {
		t.Errorf("%q: %d styles, %d comments", h, n, page.comments)
	}
	for _, href := range page.links {
		if href != "data:," && !strings.HasPrefix(href, "#") {
			t.Errorf("%q: a link to %s", h, href)
		}
	}
	if strings.ContainsFunc(source, invisible) {
		t.Errorf("%q: something that cannot be seen is left", h)
	}
	name := squash(diff.Clean(h))
	for _, element := range []string{"th", "h2"} {
		if !slices.ContainsFunc(page.inside[element], func(s string) bool { return strings.Contains(s, name) }) {
			t.Errorf("%q: %q is in no <%s>", h, name, element)
		}
	}
	_, code := seen(h)
	if len(h) < 150 {
		for _, element := range []string{"li", "summary", "pre"} {
			if !slices.ContainsFunc(page.inside[element], func(s string) bool { return strings.Contains(s, code) }) {
				t.Errorf("%q: %q is in no <%s> of\n%s", h, code, element, strings.Join(page.inside[element], "\n"))
			}
		}
	}
}
