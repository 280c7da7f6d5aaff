package discover

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

const wantName = "WANT"

// TestGolden reads each archive in testdata as a tree, and compares the layout with the archive's last file.
func TestGolden(t *testing.T) {
	for name, archive := range archives(t) {
		t.Run(name, func(t *testing.T) {
			files, want := archive.Files, []byte(nil)
			if n := len(files) - 1; files[n].Name == wantName {
				files, want = files[:n], files[n].Data
			}
			in := parseTree(t, txtar.Format(&txtar.Archive{Files: files}))
			o := Options{}
			if name == "findings" {
				o.MaxFile = 800
			}
			l := mustStacks(t, in, o)
			got := []byte(render(l))
			if *update {
				out := &txtar.Archive{Comment: archive.Comment, Files: append(files, txtar.File{Name: wantName, Data: got})}
				if err := os.WriteFile(filepath.Join("testdata", name+".txtar"), txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s\n(go test -update rewrites it)", got, want)
			}
			if again := render(mustStacks(t, plain{in}, o)); again != string(got) {
				t.Errorf("without hashes:\n%s", again)
			}
		})
	}
}

func archives(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 5 {
		t.Fatalf("archives %v: %v", names, err)
	}
	out := map[string]*txtar.Archive{}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(name), ".txtar")] = a
	}
	return out
}

func estate(t testing.TB) tree {
	t.Helper()
	a := archives(t)["estate"]
	return parseTree(t, txtar.Format(&txtar.Archive{Files: a.Files[:len(a.Files)-1]}))
}

func mustStacks(t testing.TB, fsys fs.FS, o Options) plumbline.Layout {
	t.Helper()
	l, err := Stacks(context.Background(), fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func render(l plumbline.Layout) string {
	var b strings.Builder
	finding := func(indent string, f plumbline.Finding) {
		fmt.Fprintf(&b, "%s%s:%d:%d: %s\n", indent, f.File, f.Line, f.Column, f.Message)
		if f.Source != "" {
			fmt.Fprintf(&b, "%s  | %s\n", indent, f.Source)
		}
	}
	for _, s := range l.Stacks {
		fmt.Fprintf(&b, "stack %s: %s\n", s.Name, s.Rule)
		for _, line := range [][2]string{
			{"alias", s.Alias}, {"workspace", s.Workspace}, {"version", s.Version},
			{"var files", strings.Join(s.VarFiles, " ")}, {"depends on", strings.Join(s.DependsOn, " ")},
		} {
			if line[1] != "" {
				fmt.Fprintf(&b, "  %s %s\n", line[0], line[1])
			}
		}
		for _, r := range s.Reaches {
			fmt.Fprintf(&b, "  %s %s", r.Kind, r.Path)
			if len(r.Via) > 0 {
				fmt.Fprintf(&b, " via %s", strings.Join(r.Via, ", "))
			}
			b.WriteString("\n")
		}
		for _, f := range s.Broken {
			finding("  broken ", f)
		}
	}
	for _, o := range l.Others {
		fmt.Fprintf(&b, "no stack %s: %s\n", o.Dir, o.Rule)
	}
	for _, f := range l.Findings {
		finding("finding ", f)
	}
	return b.String()
}

func TestTouched(t *testing.T) {
	in := estate(t)
	before := mustStacks(t, in, Options{})
	for _, c := range []struct {
		name string
		edit map[string]string // "" removes
		want []string
	}{
		{"own file", map[string]string{"live/net/extra.tf": "locals {}\n"}, []string{"live/net: live/net/extra.tf"}},
		{"not a Terraform file, elsewhere", map[string]string{"README.md": "x"}, nil},
		{"lock file", map[string]string{"live/dns/.terraform.lock.hcl": "#"}, []string{"live/dns: live/dns/.terraform.lock.hcl"}},
		{"called module", map[string]string{"modules/vpc/main.tf": "module \"subnet\" {\n  source = \"../subnet\"\n}\n#\n"}, []string{
			"live/broken: modules/vpc/main.tf → modules/vpc → live/broken",
			"live/net: modules/vpc/main.tf → modules/vpc → live/net"}},
		{"module of a module", map[string]string{"modules/subnet/main.tf": "#"}, []string{
			"live/broken: modules/subnet/main.tf → modules/subnet → modules/vpc → live/broken",
			"live/mail: modules/subnet/main.tf → modules/subnet → live/mail",
			"live/net: modules/subnet/main.tf → modules/subnet → modules/vpc → live/net"}},
		{"file of another directory", map[string]string{"shared/init.sh.tftpl": "x"}, []string{"live/app: shared/init.sh.tftpl → live/app"}},
		{"glob", map[string]string{"live/app/policies/write.json": "{}"}, []string{"live/app: live/app/policies/write.json → live/app"}},
		{"watched", map[string]string{"shared/new.json": "{}"}, []string{"live/edge: shared/new.json → live/edge"}},
		{"var file", map[string]string{"live/common.tfvars": "x = 1"}, []string{"live/db@staging: live/common.tfvars → live/db"}},
		{"call removed with a change of the module", map[string]string{"live/mail/main.tf": "", "live/mail/other.tf": "#", "modules/subnet/main.tf": ""}, []string{
			"live/broken: modules/subnet/main.tf → modules/subnet → modules/vpc → live/broken",
			"live/mail: live/mail/", "live/net: modules/subnet/main.tf → modules/subnet → modules/vpc → live/net"}},
		{"stack removed", map[string]string{"live/logs/archive/main.tf": ""}, []string{"live/logs/archive: removed"}},
		{"stack added", map[string]string{"live/new/main.tf": "#"}, []string{"live/new: new stack|live/new/main.tf"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := in
			var changed []string
			for name, data := range c.edit {
				var content []byte
				if data != "" {
					content = []byte(data)
				}
				now = now.with(name, content)
				changed = append(changed, name)
			}
			touches := plumbline.Touched(before, mustStacks(t, now, Options{}), changed)
			if len(touches) != len(c.want) {
				t.Fatalf("touched: %+v, want %q", touches, c.want)
			}
			for i, touch := range touches {
				got := touch.Stack.Name + ": " + touch.Because
				name, ways, _ := strings.Cut(c.want[i], ": ")
				ok := false
				for way := range strings.SplitSeq(ways, "|") {
					ok = ok || got == name+": "+way || strings.HasSuffix(way, "/") && strings.HasPrefix(got, name+": "+way)
				}
				if !ok {
					t.Errorf("got %q, want %q", got, c.want[i])
				}
			}
		})
	}
}

// TestCacheMakesNoDifference edits a tree at random, and compares what is found with a cache that has seen all earlier
// trees, with a cache far too small, and with none.
func TestCacheMakesNoDifference(t *testing.T) {
	snippets := []string{
		"", "locals {}\n", "terraform {\n  backend \"s3\" {\n    key = \"k\"\n  }\n}\n", "provider \"p\" {\n  x = 1\n}\n",
		"module \"m\" {\n  source = \"../b\"\n}\n", "module \"m\" {\n  source = \"./a\"\n}\n", "module \"m\" {\n  source = \"../../c/a\"\n}\n",
		"locals {\n  x = file(\"${path.module}/../x.txt\")\n}\n", "resource \"broken\" {\n", "data \"terraform_remote_state\" \"s\" {\n  backend = \"s3\"\n  config = { key = \"k\" }\n}\n",
	}
	dirs := []string{"", "a/", "b/", "a/a/", "a/b/", "c/a/", "c/a/b/", "modules/a/"}
	names := []string{"main.tf", "x.tf", "x.tofu", "main_override.tf", ".terraform-version", "x.txt", "main.tf@"}
	rng := rand.New(rand.NewPCG(1, 2))
	big, small := NewCache(0), NewCache(3)
	now := newTree()
	for step := range 500 {
		name := dirs[rng.IntN(len(dirs))] + names[rng.IntN(len(names))]
		data := []byte(snippets[rng.IntN(len(snippets))])
		if len(data) == 0 {
			data = nil
		} else if strings.HasSuffix(name, "-version") {
			data = fmt.Appendf(nil, "1.%d.0\n", rng.IntN(10))
		}
		now = now.with(name, data)
		want := render(mustStacks(t, plain{now}, Options{}))
		for which, c := range map[string]*Cache{"big": big, "small": small, "none": nil} {
			if got := render(mustStacks(t, now, Options{Cache: c})); got != want {
				t.Fatalf("step %d, cache %s, after %s:\n%s\nwithout hashes:\n%s", step, which, name, got, want)
			}
		}
	}
}

func TestCacheReadsOnlyWhatChanged(t *testing.T) {
	in := estate(t)
	c := NewCache(0)
	first := mustStacks(t, in, Options{Cache: c})
	*in.reads = 0
	if again := mustStacks(t, in, Options{Cache: c}); !reflect.DeepEqual(first, again) {
		t.Error("another layout from the cache")
	}
	if *in.reads != 1 { // .plumbline.hcl
		t.Errorf("%d reads for a tree that is known", *in.reads)
	}
	changed := in.with("modules/tags/main.tf", []byte("locals {}\n"))
	*in.reads = 0
	mustStacks(t, changed, Options{Cache: c})
	if *in.reads > 2+3+1 { // .plumbline.hcl and .terraform-version; the directories ".", modules, modules/tags; the file
		t.Errorf("%d reads after one file changed", *in.reads)
	}
}

func TestCacheForgets(t *testing.T) {
	c := NewCache(10)
	for n := range 200 {
		mustStacks(t, newTree().with(fmt.Sprintf("d%d/main.tf", n), []byte("#")), Options{Cache: c})
	}
	if n := len(c.young) + len(c.old); n > 24 {
		t.Errorf("%d entries in a cache of two generations of 10", n)
	}
}

// TestCacheKnowsItsLimits: the same tree under another limit is another result.
func TestCacheKnowsItsLimits(t *testing.T) {
	in := newTree().with("main.tf", []byte("locals {}\n"))
	c := NewCache(0)
	if l := mustStacks(t, in, Options{Cache: c}); len(l.Stacks[0].Broken) != 0 {
		t.Error(l.Stacks[0].Broken)
	}
	if l := mustStacks(t, in, Options{Cache: c, MaxFile: 3}); len(l.Stacks[0].Broken) != 1 {
		t.Error("a file above the limit came from the cache")
	}
}

func TestWorkingTree(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{
		"live/a/main.tf": "module \"m\" {\n  source = \"../../modules/m\"\n}\n", "modules/m/main.tf": "#",
		"live/a/.terraform/modules/x/main.tf": "terraform {\n  backend \"s3\" {}\n}\n", ".git/x/main.tf": "#",
	} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "live", "b")); err != nil {
		t.Fatal(err)
	}
	got := render(mustStacks(t, os.DirFS(dir), Options{Cache: NewCache(0)}))
	want := "stack live/a: no module block calls it\n  dir live/a\n  dir modules/m\nno stack modules/m: live/a calls it as a module (live/a/main.tf:2)\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEmpty(t *testing.T) {
	if l := mustStacks(t, newTree(), Options{}); !reflect.DeepEqual(l, plumbline.Layout{Stacks: []plumbline.StackSpec{}}) {
		t.Errorf("%+v", l)
	}
}

// failing is a file system whose named file cannot be read.
type failing struct {
	fstest.MapFS
	name string
}

var errDisk = errors.New("disk on fire")

func (f failing) ReadFile(name string) ([]byte, error) {
	if name == f.name {
		return nil, errDisk
	}
	return f.MapFS.ReadFile(name)
}

func (f failing) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == f.name {
		return nil, errDisk
	}
	return f.MapFS.ReadDir(name)
}

func TestUnreadable(t *testing.T) {
	in := fstest.MapFS{"a/main.tf": {Data: []byte("#")}, ".plumbline.hcl": {Data: []byte("#")}}
	for _, name := range []string{"a", "a/main.tf", ".plumbline.hcl"} {
		_, err := Stacks(context.Background(), failing{in, name}, Options{})
		if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Stacks(ctx, in, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
}
