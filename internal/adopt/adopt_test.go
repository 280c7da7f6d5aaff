package adopt

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const main = `# The network, as people like it.
resource "aws_thing" "a" {
  size        = "small"   # not too large
  count_      = 3
  on          = true
  below       = -1
  ratio       = 0.5
  text_number = 80
  empty       = ""
  tags = {
    Name      = "a"
    "a.b"     = "quoted"
    (local.k) = "computed"
  }
  plain = { Name = "a", "a.b" = "x", Name2 = "y" }
  list  = ["x", "y", { deep = "z" }]
  computed = var.size
  mixed    = "a-${var.size}"
  call     = upper("x")
  long     = <<EOT
several lines
EOT
  none     = null
  paren    = ("x")

  ingress {
    port = 80
    deeper {
      x = 1
    }
  }
  twice {
    port = 1
  }
  twice {
    port = 2
  }
  dynamic "made" {
    for_each = [1]
    content {
      port = 1
    }
  }
}

resource "aws_thing" "many" {
  count = 2
  size  = "small"
}
resource "aws_thing" "each" {
  for_each = {}
  size     = "small"
}
`

func TestLiterals(t *testing.T) {
	for _, tt := range []struct {
		path, before, after string
		was, is             string // what stands there and what comes in its place; "": it is refused
		why                 string
	}{
		{"size", `"small"`, `"large"`, `"small"`, `"large"`, ""},
		{"size", `"small"`, `"${file(\"/etc/passwd\")} %{ if true }\n\"q\" \\ ü"`, `"small"`, `"$${file(\"/etc/passwd\")} %%{ if true }\n\"q\" \\ ü"`, ""},
		{"size", `"small"`, `"$${x} $$ % %%{"`, `"small"`, `"$$${x} $$ % %%%{"`, ""},
		{"size", `"small"`, `""`, `"small"`, `""`, ""},
		{"empty", `""`, `"x"`, `empty       = ""`, `empty       = "x"`, ""},
		{"count_", `3`, `4`, `3`, `4`, ""},
		{"count_", `3`, `12345678901234567890.5`, `3`, `12345678901234567890.5`, ""},
		{"on", `true`, `false`, `true`, `false`, ""},
		{"below", `-1`, `-2`, `-1`, `-2`, ""},
		{"ratio", `0.5`, `1e3`, `0.5`, `1000`, ""},
		{"text_number", `"80"`, `"443"`, `80`, `"443"`, ""},
		{"plain.Name", `"a"`, `"b"`, `{ Name = "a"`, `{ Name = "b"`, ""},
		{`plain["a.b"]`, `"x"`, `"b"`, `"a.b" = "x"`, `"a.b" = "b"`, ""},
		{"list[1]", `"y"`, `"b"`, `["x", "y"`, `["x", "b"`, ""},
		{"list[2].deep", `"z"`, `"b"`, `deep = "z"`, `deep = "b"`, ""},
		{"ingress[0].port", `80`, `443`, `port = 80`, `port = 443`, ""},
		{"ingress.port", `80`, `443`, `port = 80`, `port = 443`, ""},

		{path: "tags.Name", before: `"a"`, after: `"b"`, why: "is in a map whose keys are not all written out"},
		{path: "size", before: `"medium"`, after: `"large"`, why: "is written as another value than the one that was applied"},
		{path: "missing", before: `"a"`, after: `"b"`, why: "is not written out"},
		{path: "plain.Name3", before: `"a"`, after: `"b"`, why: "is not written out"},
		{path: "list[3]", before: `"a"`, after: `"b"`, why: "is not written out"},
		{path: "list.x", before: `"a"`, after: `"b"`, why: "is not written out"},
		{path: "size.x", before: `"a"`, after: `"b"`, why: "is not written out"},
		{path: "computed", before: `"a"`, after: `"b"`, why: "is computed, and not written out"},
		{path: "mixed", before: `"a"`, after: `"b"`, why: "is computed, and not written out"},
		{path: "call", before: `"X"`, after: `"b"`, why: "is computed, and not written out"},
		{path: "paren", before: `"x"`, after: `"b"`, why: "is computed, and not written out"},
		{path: "long", before: `"several lines\n"`, after: `"b"`, why: "is written over several lines"},
		{path: "none", before: `"x"`, after: `"b"`, why: "is no plain value"},
		{path: "list", before: `["x"]`, after: `["b"]`, why: "is no plain value in Git"},
		{path: "size", before: `"small"`, after: `["b"]`, why: "is no plain value in reality"},
		{path: "size", before: `"small"`, after: `null`, why: "is no plain value in reality"},
		{path: "size", before: `"small"`, after: `(12 bytes, hash x)`, why: "is no plain value in reality"},
		{path: "size", before: `"small"`, after: plumbline.Masked, why: "is sensitive"},
		{path: "size", before: `"small"`, after: `"https://bot:` + plumbline.Masked + `@example.com"`, why: "is sensitive"},
		{path: "size", before: `"small"`, after: ``, why: "is there only on one side"},
		{path: "size", before: ``, after: `"b"`, why: "is there only on one side"},
		{path: "twice[0].port", before: `1`, after: `3`, why: "is in a block that stands there more than once"},
		{path: "made[0].port", before: `1`, after: `3`, why: "is in a dynamic block"},
		{path: "ingress[1].port", before: `80`, after: `3`, why: "is not written out"},
		{path: "ingress[0].deeper[0].x", before: `1`, after: `3`, why: "is not written out"},
		{path: "ingress", before: `1`, after: `3`, why: "is not written out"},
		{path: "[0]", before: `1`, after: `3`, why: "names no attribute"},
		{path: "a..b", before: `1`, after: `3`, why: "is a path that cannot be followed"},
	} {
		files := map[string][]byte{"main.tf": []byte(main), "other.tf": []byte("locals {\n  k = \"x\"\n}\n"), "README.md": []byte("# {{{\n")}
		d := plumbline.Difference{Address: "aws_thing.a", Type: "aws_thing", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: tt.path, Before: tt.before, After: tt.after}}}
		got, err := Literals(files, d)
		if tt.is == "" {
			want := tt.path + " of aws_thing.a " + tt.why
			if err == nil || err.Error() != want || !errors.Is(err, plumbline.ErrConflict) || got != nil {
				t.Errorf("%s: %v, want %s", tt.path, err, want)
			}
			continue
		}
		want := strings.Replace(main, tt.was, tt.is, 1)
		if err != nil || len(got) != 1 || string(got["main.tf"]) != want {
			t.Errorf("%s → %s: %v\n%s", tt.path, tt.after, err, diff(main, string(got["main.tf"])))
		}
		if string(files["main.tf"]) != main {
			t.Fatal("the files that were given have changed")
		}
	}
}

// diff shows the lines that differ.
func diff(a, b string) string {
	var out strings.Builder
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			out.WriteString("-" + x[i] + "\n+" + y[i] + "\n")
		}
	}
	return out.String()
}

func TestSeveralAtOnce(t *testing.T) {
	files := map[string][]byte{"main.tf": []byte(main)}
	d := plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{
		{Path: "ingress[0].port", Before: "80", After: "8443"}, {Path: "size", Before: `"small"`, After: `"much larger than before"`}, {Path: "plain.Name", Before: `"a"`, After: `"b"`},
	}}
	got, err := Literals(files, d)
	want := strings.NewReplacer(`"small"   #`, `"much larger than before"   #`, "port = 80", "port = 8443", `{ Name = "a"`, `{ Name = "b"`).Replace(main)
	if err != nil || string(got["main.tf"]) != want {
		t.Errorf("%v\n%s", err, diff(main, string(got["main.tf"])))
	}
	d.Attributes = append(d.Attributes, plumbline.Attribute{Path: "computed", Before: "1", After: "2"})
	if got, err := Literals(files, d); err == nil || got != nil {
		t.Errorf("half of it was adopted: %v", got)
	}
}

func TestNotAdoptable(t *testing.T) {
	size := []plumbline.Attribute{{Path: "size", Before: `"small"`, After: `"large"`}}
	for _, tt := range []struct {
		name  string
		files map[string]string
		d     plumbline.Difference
		why   string
	}{
		{"deleted", nil, plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftDeleted}, "aws_thing.a is deleted outside, which no value in a file makes right"},
		{"deposed", nil, plumbline.Difference{Address: "aws_thing.a", Deposed: "x", Kind: plumbline.DriftChanged}, "aws_thing.a deposed x is changed outside, which no value in a file makes right"},
		{"in a module", nil, plumbline.Difference{Address: "module.m.aws_thing.a", Kind: plumbline.DriftChanged, Attributes: size}, "module.m.aws_thing.a is not a single resource of the stack's own directory"},
		{"one of several", nil, plumbline.Difference{Address: "aws_thing.many[0]", Kind: plumbline.DriftChanged, Attributes: size}, "aws_thing.many[0] is not a single resource of the stack's own directory"},
		{"count", nil, plumbline.Difference{Address: "aws_thing.many", Kind: plumbline.DriftChanged, Attributes: size}, "aws_thing.many is made by count or for_each"},
		{"for_each", nil, plumbline.Difference{Address: "aws_thing.each", Kind: plumbline.DriftChanged, Attributes: size}, "aws_thing.each is made by count or for_each"},
		{"nothing known", nil, plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged}, "it is not known what of aws_thing.a differs"},
		{"sensitive", nil, plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "size", Before: `"small"`, After: `"x"`, Sensitive: true}}}, "size of aws_thing.a is sensitive"},
		{"not declared", nil, plumbline.Difference{Address: "aws_thing.b", Kind: plumbline.DriftChanged, Attributes: size}, "aws_thing.b is not declared in the stack's own directory"},
		{"declared twice", map[string]string{"z_override.tf": "resource \"aws_thing\" \"a\" {\n}\n"}, plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged, Attributes: size}, "aws_thing.a is declared in main.tf and in z_override.tf"},
		{"JSON", map[string]string{"z.tf.json": `{"resource":{"aws_thing":{"a":{}}}}`}, plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged, Attributes: size}, "aws_thing.a may be declared in z.tf.json too, which is JSON"},
		{"broken", map[string]string{"z.tf": "resource {"}, plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged, Attributes: size}, "z.tf cannot be read"},
	} {
		files := map[string][]byte{"main.tf": []byte(main)}
		for name, text := range tt.files {
			files[name] = []byte(text)
		}
		if _, err := Literals(files, tt.d); err == nil || err.Error() != tt.why {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.why)
		}
	}
}

func TestParse(t *testing.T) {
	for path, want := range map[string]int{"a": 1, "a.b": 2, `a["b.c"]`: 2, `a["b\"]"].c[12]`: 4, `a["ü"]`: 2, "": 0, "a.": 0, "a[": 0, "a[1": 0, "a[01]": 0, "a[-1]": 0, `a["b"`: 0, "a[0]b": 0, ".a": 0, "a[x]": 0} {
		got, ok := parse(path)
		if ok != (want > 0) || ok && len(got) != want {
			t.Errorf("%q: %+v, %t", path, got, ok)
		}
	}
}

// FuzzLiterals: whatever the file, the path and the values, what comes out can be read, differs in the bytes of one value only, and reads as reality.
func FuzzLiterals(f *testing.F) {
	f.Add(main, "size", `"small"`, `"large"`)
	f.Add(main, "plain.Name", `"a"`, `"${x}%{y}"`)
	f.Add(main, "ingress[0].port", `80`, `443`)
	f.Add("resource \"aws_thing\" \"a\" {\r\n  size = \"a\\u00fc\"\r\n}", "size", `"aü"`, "\"\\u0000\\u2028\"")
	f.Fuzz(func(t *testing.T, src, path, before, after string) {
		d := plumbline.Difference{Address: "aws_thing.a", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: path, Before: before, After: after}}}
		got, err := Literals(map[string][]byte{"main.tf": []byte(src)}, d)
		if err != nil {
			if !errors.Is(err, plumbline.ErrConflict) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		out := got["main.tf"]
		if _, diags := hclsyntax.ParseConfig(out, "main.tf", hcl.InitialPos); diags.HasErrors() {
			t.Fatalf("it cannot be read any more: %v\n%s", diags, out)
		}
		// The way back leads to where it began, but for how a value is spelled.
		d.Attributes[0].Before, d.Attributes[0].After = after, before
		back, err := Literals(got, d)
		if err != nil {
			t.Fatalf("there is no way back: %v\n%s", err, out)
		}
		d.Attributes[0].Before, d.Attributes[0].After = before, after
		again, err := Literals(back, d)
		if err != nil || !bytes.Equal(again["main.tf"], out) {
			t.Fatalf("a second time it is another file: %v\n%s\n%s", err, out, again["main.tf"])
		}
		tokens := func(b []byte) hclsyntax.Tokens { l, _ := hclsyntax.LexConfig(b, "main.tf", hcl.InitialPos); return l }
		x, y := tokens([]byte(src)), tokens(out)
		begin := 0
		for begin < min(len(x), len(y)) && x[begin].Type == y[begin].Type && bytes.Equal(x[begin].Bytes, y[begin].Bytes) {
			begin++
		}
		end := 0
		for end < min(len(x), len(y))-begin && x[len(x)-1-end].Type == y[len(y)-1-end].Type && bytes.Equal(x[len(x)-1-end].Bytes, y[len(y)-1-end].Bytes) {
			end++
		}
		for _, l := range []hclsyntax.Tokens{x[begin : len(x)-end], y[begin : len(y)-end]} {
			for _, token := range l {
				switch token.Type {
				case hclsyntax.TokenOQuote, hclsyntax.TokenCQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenNumberLit, hclsyntax.TokenIdent, hclsyntax.TokenMinus, hclsyntax.TokenBang:
				default:
					t.Fatalf("%q is no part of a value\n%s\n%s", token.Bytes, src, out)
				}
			}
		}
	})
}
