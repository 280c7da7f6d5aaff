package diff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The fuzzed form of attributes: fields are separated by fieldEnd, attributes by attributeEnd.
const (
	fieldEnd     = "\x1f"
	attributeEnd = "\x1e"
)

var fuzzActions = []plumbline.Action{
	plumbline.ActionCreate, plumbline.ActionUpdate, plumbline.ActionDelete, plumbline.ActionReplace, plumbline.ActionReplaceFirst,
	plumbline.ActionForget, plumbline.ActionForgetCreate, plumbline.ActionInvoke, plumbline.ActionNoOp, plumbline.ActionRead, "unheard of",
}

func pack(list []plumbline.Attribute) string {
	var parts []string
	for _, a := range list {
		flags := 'A' + rune(a.Whole)<<3
		for i, on := range []bool{a.Sensitive, a.Unknown, a.Forces} {
			if on {
				flags += 1 << i
			}
		}
		parts = append(parts, strings.Join([]string{a.Path, a.Before, a.After, string(flags)}, fieldEnd))
	}
	return strings.Join(parts, attributeEnd)
}

func unpack(s string) (list []plumbline.Attribute) {
	for _, part := range strings.Split(s, attributeEnd) {
		f := append(strings.Split(part, fieldEnd), "", "", "", "A")
		flags := []rune(f[3] + "A")[0] - 'A'
		list = append(list, plumbline.Attribute{
			Path: f[0], Before: f[1], After: f[2],
			Sensitive: flags&1 > 0, Unknown: flags&2 > 0, Forces: flags&4 > 0, Whole: int(flags >> 3),
		})
	}
	return list
}

func goldenChanges(f *testing.F) (list []plumbline.Change) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, in := range txtar.Parse(data).Files {
			var s sample
			if strings.HasSuffix(in.Name, ".json") && json.Unmarshal(in.Data, &s) == nil {
				list = append(list, s.Changes...)
			}
		}
	}
	return list
}

// FuzzChange checks what holds for each change, whatever is in it.
func FuzzChange(f *testing.F) {
	for _, c := range goldenChanges(f) {
		f.Add(uint8(slices.Index(fuzzActions, c.Action)), c.Address, pack(c.Attributes))
	}
	f.Fuzz(func(t *testing.T, action uint8, address, packed string) {
		c := plumbline.Change{Address: address, Action: fuzzActions[int(action)%len(fuzzActions)], Attributes: unpack(packed)}
		lines := Change(c)
		check(t, lines)
		checkBounds(t, c, lines)
		checkAccount(t, c, lines)
		checkHTML(t, lines)
		if again := Change(c); !slices.Equal(lines, again) {
			t.Fatal("the same change was laid out in two ways")
		}
		other := plumbline.Plan{Digest: "b", Changes: []plumbline.Change{c}}
		c.Attributes = c.Attributes[len(c.Attributes)/2:]
		comparison := Compare(plumbline.Plan{Digest: "a", Changes: []plumbline.Change{c}}, other)
		check(t, comparison.Lines())
		if n := len(comparison.Lines()); n > maxLines || n == 0 && len(comparison.More)+len(comparison.Different) > 0 {
			t.Fatalf("a comparison of different plans has %d lines", n)
		}
		if s := comparison.Summary(); s == "" || s != Clean(s) {
			t.Fatalf("summary %q", s)
		}
	})
}

func checkBounds(t *testing.T, c plumbline.Change, lines []Line) {
	t.Helper()
	most := maxLines
	if modeOf(c.Action) == modeDelete {
		most = maxDeleteLines + 1
	}
	if len(lines) == 0 || len(lines) > most {
		t.Fatalf("%d lines, want 1 to %d", len(lines), most)
	}
	depths := []int{0}
	for i, l := range lines {
		if i > 0 && l.Depth == 0 {
			t.Fatalf("line %d is another resource: %v", i, l)
		}
		if l.Depth > depths[len(depths)-1]+1 {
			t.Fatalf("line %d is at depth %d after %d", i, l.Depth, depths[len(depths)-1])
		}
		depths = append(depths, l.Depth)
		if n := len(l.Text) + len(l.Note); n > 30*maxText {
			t.Fatalf("line %d has %d bytes: %q", i, n, l.Text)
		}
	}
}

var moreLine = regexp.MustCompile(`^… [\d,]+ more attributes?$`)

// checkAccount checks that each attribute is on a line, or counted among those that are not.
func checkAccount(t *testing.T, c plumbline.Change, lines []Line) {
	t.Helper()
	l := &layout{mode: modeOf(c.Action), max: maxLines - 1}
	if l.mode == modeDelete {
		l.max = maxDeleteLines
	}
	l.attributes(c.Attributes)
	if l.told+l.more != len(c.Attributes) {
		t.Fatalf("%d attributes are shown, %d are said to be left out, of %d", l.told, l.more, len(c.Attributes))
	}
	var all []string
	for _, l := range lines[1:] {
		if l.Depth == 1 && (moreLine.MatchString(l.Text) || strings.HasPrefix(l.Text, knownAfterApply) || strings.HasPrefix(l.Text, emptyText)) {
			return
		}
		all = append(all, l.Text)
	}
	text := strings.Join(all, "\n")
	for _, a := range c.Attributes {
		first := split(a.Path)[0].label()
		if shown := Clean(head(first, maxText/4)); !strings.Contains(text, shown) {
			t.Fatalf("%q is not shown in:\n%s", a.Path, text)
		}
	}
}

var markup = regexp.MustCompile(`<span class="(add|del|chg|ctx)( res)?( forces)?">|</span>|<em class="note">|</em>`)

func checkHTML(t *testing.T, lines []Line) {
	t.Helper()
	html := string(HTML(lines))
	if n := strings.Count(html, "\n"); n != len(lines) || strings.Count(html, "</span>") != n {
		t.Fatalf("%d lines of HTML for %d", n, len(lines))
	}
	if rest := markup.ReplaceAllString(html, ""); strings.ContainsAny(rest, `<>"'`) {
		t.Fatalf("something is not escaped: %s", rest)
	}
}

// FuzzInside looks into two strings, and asks the parsers that others use whether it is right that nothing but the layout differs.
func FuzzInside(f *testing.F) {
	for _, c := range goldenChanges(f) {
		for _, a := range c.Attributes {
			before, _ := unquote(a.Before)
			after, _ := unquote(a.After)
			f.Add(before, after)
		}
	}
	f.Add("a: 1\nb: [x, 2]\n", "b:\n- x\n- 2\na: 1\n")
	f.Add("a: .nan\nb: 0x10\nc: ~\n", "a: .NaN\nb: 16\nc:\n")
	f.Add("a: &x [1]\nb: [*x, *x]\n", "<<: {a: 1}\nb: 1\n")
	f.Fuzz(func(t *testing.T, before, after string) {
		if len(before)+len(after) > 1<<16 {
			return
		}
		value := func(s string) string { return string(appendQuoted(nil, s)) }
		before, after = strings.ToValidUTF8(before, "?"), strings.ToValidUTF8(after, "?")
		for _, action := range []plumbline.Action{plumbline.ActionCreate, plumbline.ActionUpdate, plumbline.ActionDelete} {
			a := plumbline.Attribute{Path: "x", Before: value(before), After: value(after)}
			switch action {
			case plumbline.ActionCreate:
				a.Before = ""
			case plumbline.ActionDelete:
				a.After = ""
			}
			c := plumbline.Change{Address: "a.b", Action: action, Attributes: []plumbline.Attribute{a}}
			lines := Change(c)
			check(t, lines)
			checkBounds(t, c, lines)
			checkAccount(t, c, lines)
			if action != plumbline.ActionUpdate && len(lines) > maxNewLines+3 {
				t.Fatalf("%d lines for one value that is %sd", len(lines), action)
			}
			if action == plumbline.ActionUpdate && before != after {
				checkInside(t, before, after, lines)
			}
		}
	})
}

func checkInside(t *testing.T, before, after string, lines []Line) {
	t.Helper()
	b, isJSON := decodeJSON(before)
	a, bothJSON := decodeJSON(after)
	bothJSON = bothJSON && isJSON
	switch strings.TrimSuffix(lines[1].Note, ", or what is sensitive") {
	case layoutNote, escapesNote:
		if !bothJSON || !reflect.DeepEqual(b, a) {
			t.Fatalf("more than the layout differs:\n%s\n%s", before, after)
		}
	case yamlNote:
		var b, a any
		if err := yaml.Unmarshal([]byte(before), &b); err != nil {
			t.Fatalf("not YAML: %q: %v", before, err)
		}
		if err := yaml.Unmarshal([]byte(after), &a); err != nil {
			t.Fatalf("not YAML: %q: %v", after, err)
		}
		if spell(b) != spell(a) {
			t.Fatalf("more than the layout differs:\n%s\n%s", before, after)
		}
	default:
		if strings.HasSuffix(lines[1].Text, "(") && len(lines) < 4 {
			t.Fatalf("it is not said what differs:\n%s", text(lines))
		}
		if len(lines) < 2 || lines[1].Text == "x" {
			t.Fatalf("nothing is shown:\n%s", text(lines))
		}
	}
}

// decodeJSON reads one JSON value with the standard library.
func decodeJSON(s string) (v any, ok bool) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return v, err == io.EOF
}

// spell is a value as JSON or, where that is not possible (not a number), as Go prints it. NaN equals itself there.
func spell(v any) string {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return b.String()
}
