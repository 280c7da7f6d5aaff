package discover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDeepNesting: given enough of it, each of these overflows the stack of a recursive parser or walk, which no recover
// can catch.
func TestDeepNesting(t *testing.T) {
	const n = 1 << 16
	for name, src := range map[string]string{
		"x.tf":        "locals {\n  x = " + strings.Repeat("(", n) + "\n}\n",
		"closed.tf":   "locals {\n  x = file(" + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) + ")\n}\n",
		"not.tf":      "module x {\n  source = " + strings.Repeat("!", n) + "true\n}\n",
		"minus.tf":    "module x {\n  source = " + strings.Repeat("-", n) + "1\n}\n",
		"plus.tf":     "module x {\n  source = 1" + strings.Repeat("+1", n) + "\n}\n",
		"ternary.tf":  "module x {\n  source = " + strings.Repeat("true?1:", n) + "1\n}\n",
		"index.tf":    "module x {\n  source = a" + strings.Repeat("[a]", n) + "\n}\n",
		"call.tf":     "module x {\n  source = " + strings.Repeat("f(", n) + strings.Repeat(")", n) + "\n}\n",
		"template.tf": "module x {\n  source = " + strings.Repeat("\"${", n) + strings.Repeat("}\"", n) + "\n}\n",
		"if.tf":       "module x {\n  source = \"" + strings.Repeat("%{if a}", n) + strings.Repeat("%{endif}", n) + "\"\n}\n",
		"heredoc.tf":  "module x {\n  source = " + strings.Repeat("<<A\n${", n) + "\n}\n",
		"blocks.tf":   "module x {\n" + strings.Repeat("b {\n", n) + strings.Repeat("}\n", n) + "}\n",
		"x.tf.json":   "{\"locals\": {\"x\": " + strings.Repeat("[", n) + strings.Repeat("]", n) + "}}",
	} {
		t.Run(name, func(t *testing.T) {
			l := mustStacks(t, newTree().with(name, []byte(src)), Options{MaxFile: 1 << 30})
			if len(l.Stacks) != 1 || len(l.Stacks[0].Broken) != 1 || !strings.Contains(l.Stacks[0].Broken[0].Message, "nested deeper") {
				t.Errorf("%.1000s", render(l))
			}
		})
	}
	deep := "stack \"a\" {\n  dir = " + strings.Repeat("(", n) + "\n}\n"
	l := mustStacks(t, newTree().with("a/main.tf", []byte("#")).with(settingsName, []byte(deep)), Options{})
	if len(l.Stacks[0].Broken) != 1 || !strings.Contains(l.Stacks[0].Broken[0].Message, "nested deeper") {
		t.Errorf("%.1000s", render(l))
	}
	// A template inside JSON is parsed a second time.
	in := newTree().with("x.tf.json", []byte(`{"locals": {"x": "${file(`+strings.Repeat("(", n)+`"}}`))
	mustStacks(t, in, Options{MaxFile: 1 << 30})
}

func TestWideFilesAreNotDeep(t *testing.T) {
	src := "locals {\n  a = [" + strings.Repeat("-1, (2 + 3), a[0], ", 5000) + "]\n" + strings.Repeat("  b {\n    c = !true && d ? 1 : 2\n  }\n", 5000) +
		"  e = <<EOT\n" + strings.Repeat("${a} ${b[0]}\n", 5000) + "EOT\n  f = file(\"x\")\n}\n"
	l := mustStacks(t, newTree().with("main.tf", []byte(src)), Options{})
	if len(l.Stacks[0].Broken) != 0 || len(l.Stacks[0].Reaches) != 2 {
		t.Errorf("%.1000s", render(l))
	}
}

// TestTreeBomb: 40 levels that each name the level below twice are a trillion directories in 41 trees.
func TestTreeBomb(t *testing.T) {
	e := (&entry{}).set([]string{"main.tf"}, 0o644, []byte("#"))
	for range 40 {
		a, b := *e, *e
		a.name, b.name = "a", "b"
		e = dirEntry("", []*entry{&a, &b})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := Stacks(ctx, tree{e, new(int)}, Options{}); !errors.Is(err, errTooMany) {
		t.Errorf("error %v", err)
	}
}

func TestDeepDirectories(t *testing.T) {
	_, err := Stacks(context.Background(), newTree().with(strings.Repeat("d/", 1000)+"main.tf", []byte("#")), Options{})
	if err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("error %v", err)
	}
}

// TestReachBomb: stacks in a chain reach the square of their number, and their chains the cube.
func TestReachBomb(t *testing.T) {
	in := newTree()
	for n := range 1000 {
		in = in.with(fmt.Sprintf("d%d/main.tf", n), fmt.Appendf(nil, "terraform {\n  backend \"s3\" {}\n}\nmodule \"m\" {\n  source = \"../d%d\"\n}\n", (n+1)%1000))
	}
	_, err := Stacks(context.Background(), in, Options{})
	if err == nil || !strings.Contains(err.Error(), "reach more than") {
		t.Errorf("error %v", err)
	}
}

func TestManyCycles(t *testing.T) {
	in := newTree()
	var hcl strings.Builder
	for n := range 400 {
		fmt.Fprintf(&hcl, "stack \"s%d\" {\n  dir        = \"d%d\"\n  depends_on = [\"s%d\"]\n}\n", n, n, n^1)
		in = in.with(fmt.Sprintf("d%d/main.tf", n), []byte("#"))
	}
	l := mustStacks(t, in.with(settingsName, []byte(hcl.String())), Options{})
	if len(l.Findings) != maxCycles {
		t.Errorf("%d cycles told", len(l.Findings))
	}
}
