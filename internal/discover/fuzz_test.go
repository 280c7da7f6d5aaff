package discover

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// sameFacts holds the skeleton to its promise: for any file that the HCL parser accepts, reading by skeleton and reading the
// whole file tell the same.
func sameFacts(t *testing.T, src []byte) {
	t.Helper()
	if _, deep := tooDeep(src, hclsyntax.LexConfig, hcl.InitialPos); deep {
		return
	}
	_, diags := hclsyntax.ParseConfig(src, "x.tf", hcl.InitialPos)
	var quick, whole facts
	quick.read("x.tf", src)
	quick.tidy()
	whole.readWhole("x.tf", src)
	whole.tidy()
	if diags.HasErrors() {
		// A skeleton may miss mistakes in what it leaves out, never make one up.
		return
	}
	if len(whole.refs) > len(quick.refs) || !reflect.DeepEqual(quick, whole) {
		t.Errorf("by skeleton:\n%+v\nwhole:\n%+v\nof\n%s", quick, whole, src)
	}
}

func TestSkeletonOnFixtures(t *testing.T) {
	files, quick := 0, 0
	for _, a := range archives(t) {
		for _, f := range a.Files {
			if isTerraform(f.Name) && !isJSON(f.Name) {
				sameFacts(t, f.Data)
				files++
				if _, ok := skeleton(f.Data); ok {
					quick++
				}
			}
		}
	}
	if files < 60 || quick < files*8/10 {
		t.Errorf("skeleton accepts %d of %d files", quick, files)
	}
}

// TestSkeletonGivesUp: what is lexically wrong anywhere, also in blocks that discovery does not want, must be handed on.
func TestSkeletonGivesUp(t *testing.T) {
	for _, src := range []string{
		"resource \"a\" \"b\" {\n", "resource \"a\" \"b\" {\n}}\n", "resource \"a\" \"b\" {\n x = (1]\n}\n", "resource \"a\" \"b\" {\n x = \"\n}\n",
		"resource \"a\" \"b\" {\n x = \"${\"\n}\n", "resource \"a\" \"b\" {\n x = <<EOT\n}\n", "resource \"a\" \"b\" {\n x = <<EOT\nEOT", "resource \"a\" {\n /* \n}\n",
		"resource \"a\" \"b\" {\n x = 'a'\n}\n", "a {\n x = `a`\n}\n", "a {\n x = 1;\n}\n", "a = 1\n", "a {} b {}\n", "a\n{\n}\n", "a {\n} }\n", "\xff", "a {\n \xff\n}\n",
		"a {\n x = <<\n}\n", "}\n", "\"a\" {\n}\n", "a \"b {\n}\n", "a {\n x = \"$$$\"\n}\n", "a \"\\\"\" {\n}\n", "a {\n x = \"\\\n\"\n}\n", "a {\r x = 1\n}\n",
	} {
		if items, ok := skeleton([]byte(src)); ok {
			t.Errorf("accepted %q: %v", src, items)
		}
	}
}

func TestSkeletonFinds(t *testing.T) {
	src := strings.ReplaceAll(`# comment { "
// another {
/* and
{ a third */ resource "a" "b" {
  x = "} ${ { a = "}" }["a"] } $${ %%{ \" "
  y = <<-EOT
    } " ${ "}" } $${
    EOTX
    EOT
  z = a / b /* } */ // }
}
  module "m" { # with a comment
  source = "./m"
}

terraform {}
data terraform_remote_state "s" {
}
data "other" "s" {
}
locals { x = template~file ("x") }
locals {
  y = path.module
}
provider aws {
}`, "~", "")
	items, ok := skeleton([]byte(src))
	if !ok {
		t.Fatal("not accepted")
	}
	var got []string
	for _, it := range items {
		line, _, _ := strings.Cut(src[it.start:it.end], "\n")
		got = append(got, line)
		if n := 1 + strings.Count(src[:it.start], "\n"); it.line != n {
			t.Errorf("%q: line %d, want %d", line, it.line, n)
		}
	}
	want := []string{`module "m" { # with a comment`, `terraform {}`, `data terraform_remote_state "s" {`, `locals { x = templatefile ("x") }`, `locals {`, `provider aws {`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if items[0].column != 3 {
		t.Errorf("column %d", items[0].column)
	}
	sameFacts(t, []byte(src))
}

func FuzzSkeleton(f *testing.F) {
	for _, a := range archives(f) {
		for _, file := range a.Files {
			if isTerraform(file.Name) {
				f.Add(file.Data)
			}
		}
	}
	for _, s := range []string{
		"module m { source = \"./$${x}\" }", "locals {\n x = \"$$$${\"\n}\nterraform {}", "a {\n x = <<A\n$\nA\n}\nmodule x { source = \"./a\" }\n",
		"a {\n x = <<A\n%{ if true }\nA\n%{ endif }\nA\n}\nmodule x { source = \"./a\" }\n", "a {\n x = \"$\"\n}\nmodule x { source = \"./a\" }",
		"a {\n x = <<A\n\u00a0A\u00a0\n}\nmodule x { source = \"./a\" }\n", "\xef\xbb\xbfmodule x { source = \"./a\" }", "a {\r\n x = <<A\r\n A\r\n}\r\nterraform {}\r\n",
		"locals { x = file/* */(\"x\") }", "locals { x = (file\n# c\n(\"x\")) }", "locals { x = path # c\n}", "locals { x = [path\n.module, \"${path\n.module}/x\"] }",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) { sameFacts(t, src) })
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"module": {"m": {"source": "./m"}}, "locals": {"x": "${file(\"x\")}"}}`))
	f.Add([]byte(`{"terraform": [{"backend": {"s3": {"workspaces": [{"name": "x"}]}}, "required_version": 1}], "provider": {"a": [{}]}}`))
	f.Add([]byte(`{"data": {"terraform_remote_state": {"s": {"backend": "s3", "config": {"key": "${path.module}"}}}}}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		var x facts
		x.read("x.tf.json", src)
		x.tidy()
	})
}

func FuzzPlumblineHCL(f *testing.F) {
	for _, a := range archives(f) {
		for _, file := range a.Files {
			if file.Name == settingsName {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		in := newTree().with(settingsName, append(src, '\n')).with("a/main.tf", []byte("#")).with("live/a/main.tf", []byte("#"))
		for _, s := range mustStacks(t, in, Options{}).Stacks {
			if s.Dir != "a" && s.Dir != "live/a" {
				t.Errorf("a stack in %q", s.Dir)
			}
			if s.Workspace != "" && !workspaceName.MatchString(s.Workspace) {
				t.Errorf("a workspace %q", s.Workspace)
			}
			for _, r := range s.Reaches {
				if escapes(r.Path) || strings.HasPrefix(r.Path, "/") {
					t.Errorf("reaches %q", r.Path)
				}
			}
		}
	})
}

// TestSkeletonOnRandomSource makes files of pieces that are awkward to scan. Blind mutation seldom finds valid ones.
func TestSkeletonOnRandomSource(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pick := func(n int, from ...string) string {
		var b strings.Builder
		for range rng.IntN(n) {
			b.WriteString(from[rng.IntN(len(from))])
		}
		return b.String()
	}
	clean, quick := 0, 0
	for range 30_000 {
		quoted := func() string {
			return `"` + pick(6, "$", "%", "$$", "%%", "$${", "%%{", "${1}", "${ \"}\" }", "${{a = \"{\"}.a}", "~", "{", "}", "#", "//", "/*", `\"`, `\\`, "é", "'", "`", "<<A", " ", "${~ 1 ~}", "%{ if true }", "%{ endif }") + `"`
		}
		doc := func() string {
			return pick(2, "-") + "A" + pick(2, "\r") + "\n" +
				pick(8, "\n", "\r\n", "A", "AA", " ", "A\n", " A \n", "$", "%", "$$", "$${", "${1}", "${\n1\n}", "\"", "{", "}", "\\", "#", "\u00a0A\n", "%{ if true }", "%{ endif }", "${<<B\nA\nB\n}") + "\nA\n"
		}
		expr := []string{quoted(), "<<" + doc(), "[1, 2] /* } */", "{\n a = " + quoted() + " // }\n}", "(1\n+ 2)", "file(" + quoted() + ")", "a < b", "a / b # {", `path.module`, `"${path.module}/` + pick(3, "a", "$", "${b}", "/..", "/") + `"`}
		var src strings.Builder
		for range 1 + rng.IntN(3) {
			header := []string{"locals", "module \"m\"", "a b \"c\"", "provider x", "data terraform_remote_state \"s\"", "/* é */ terraform"}[rng.IntN(6)]
			name := []string{"source", "x", "required_version", "backend"}[rng.IntN(4)]
			src.WriteString(pick(2, " ", "\t", "# {\n", "\r\n", "/* \" */") + header + " {\n  " + name + " = " + expr[rng.IntN(len(expr))] + "\n}" + pick(2, " ", " # }", "\r") + "\n")
		}
		src.WriteString("module \"last\" {\n  source = \"./last\"\n}\n")
		if _, diags := hclsyntax.ParseConfig([]byte(src.String()), "x.tf", hcl.InitialPos); !diags.HasErrors() {
			clean++
			if _, ok := skeleton([]byte(src.String())); ok {
				quick++
			}
			sameFacts(t, []byte(src.String()))
			if t.Failed() {
				return
			}
		}
	}
	if clean < 5000 || quick < clean/2 {
		t.Errorf("of 30000 files %d are valid, skeleton accepts %d", clean, quick)
	}
	t.Logf("of 30000 files %d are valid, skeleton accepts %d", clean, quick)
}
