package diff

import (
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		path string
		want string // steps with their kind: n name, i index, o opaque
		ends []int
	}{
		{`a`, "n:a", []int{1}},
		{`a.b-c._d`, "n:a n:b-c n:_d", []int{1, 5, 8}},
		{`ingress[0].from_port`, "n:ingress i:[0] n:from_port", []int{7, 10, 20}},
		{`tags["a.b"]`, `n:tags n:"a.b"`, []int{4, 11}},
		{`a.b[2]["x\"]y"].z`, `n:a n:b i:[2] n:"x\"]y" n:z`, []int{1, 3, 6, 15, 17}},
		{`["top level"][1]`, `n:"top level" i:[1]`, []int{13, 16}},
		{`[""]`, `n:""`, []int{4}},
		{`["\u540d"]`, `n:"名"`, []int{10}},
		{`[3]`, "i:[3]", []int{3}},
		{``, "o:(the whole object)", []int{0}},
		{`.a`, "o:.a", []int{2}},
		{`a.`, "o:a.", []int{2}},
		{`a..b`, "o:a..b", []int{4}},
		{`a b`, "o:a b", []int{3}},
		{`a[`, "o:a[", []int{2}},
		{`a[]`, "o:a[]", []int{3}},
		{`a[-1]`, "o:a[-1]", []int{5}},
		{`a[01]`, "o:a[01]", []int{5}},
		{`a[12345678901]`, "o:a[12345678901]", []int{14}},
		{`a["b]`, `o:a["b]`, []int{5}},
		{`a["b\`, `o:a["b\`, []int{5}},
		{`a["b"`, `o:a["b"`, []int{5}},
		{`a["\x"]`, `o:a["\x"]`, []int{7}},
		{`a[0]b`, "o:a[0]b", []int{5}},
		{`1a`, "o:1a", []int{2}},
		{`a.1`, "o:a.1", []int{3}},
	} {
		var got []string
		steps := split(c.path)
		for i, s := range steps {
			got = append(got, "nio"[s.kind:s.kind+1]+":"+s.label())
			if i >= len(c.ends) || s.end != c.ends[i] {
				t.Errorf("split(%q): step %d ends at %d, want %v", c.path, i, s.end, c.ends)
			}
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("split(%q) = %s, want %s", c.path, g, c.want)
		}
	}
	if s := split(strings.Repeat("a.", maxSteps-1) + "a"); len(s) != maxSteps {
		t.Errorf("%d steps, want %d", len(s), maxSteps)
	}
	if s := split(strings.Repeat("a.", maxSteps) + "a"); len(s) != 1 || s[0].kind != opaque {
		t.Errorf("a path that is too deep was taken apart into %d steps", len(s))
	}
}

// FuzzPath checks that steps put together again are the same steps.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", `tags["a.b"]`, "ingress[0].from_port", `a.b[2]["x\"]y"].z`, `["\u0041\\"]`, "a..b", "[01]", `["\ud800"]`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		steps, ok := parsePath(path)
		if !ok {
			if s := split(path); len(s) != 1 || s[0].name != path {
				t.Fatalf("an opaque path became %v", s)
			}
			return
		}
		var again string
		last := 0
		for _, s := range steps {
			if s.end <= last || s.end > len(path) {
				t.Fatalf("a step of %q ends at %d after %d", path, s.end, last)
			}
			last = s.end
			if s.kind == member && identifier(s.name) != len(s.name) || s.kind == member && s.name == "" {
				again += "[" + string(appendQuoted(nil, s.name)) + "]"
			} else {
				again = join(again, s)
			}
		}
		if last != len(path) {
			t.Fatalf("%q was read up to %d", path, last)
		}
		twice, ok := parsePath(again)
		if !ok || len(twice) != len(steps) {
			t.Fatalf("%q became %q, which reads as %v", path, again, twice)
		}
		for i := range steps {
			if steps[i].name != twice[i].name || steps[i].index != twice[i].index || steps[i].kind != twice[i].kind {
				t.Fatalf("step %d of %q: %v, then %v", i, path, steps[i], twice[i])
			}
		}
	})
}
