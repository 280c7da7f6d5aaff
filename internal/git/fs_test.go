package git

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestFS(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("main.tf", "# main\n"), file("empty", ""), script("bin/run", "#!\n"), file("a/b/c/deep", "d"),
		file("a.b", "1"), file("a-b", "1"), file("ünï cödé", "u"), file("large", strings.Repeat("x", 100_000)))
	tree := commit(t, dir, "same", nil, file("x/b/c/deep", "d"))
	r := open(t, dir)
	pull(t, r)
	f, err := r.FS(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(f, "main.tf", "empty", "bin/run", "a/b/c/deep", "a.b", "a-b", "ünï cödé", "large"); err != nil {
		t.Error(err)
	}
	if i, err := f.Stat("bin/run"); err != nil || i.Mode() != 0o755 || i.Size() != 3 {
		t.Errorf("%v, %v", i, err)
	}
	other, err := r.FS(tree)
	if err != nil {
		t.Fatal(err)
	}
	one, err := f.TreeHash("a")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := other.TreeHash("x"); err != nil || one != two {
		t.Errorf("equal directories have %s and %s, %v", one, two, err)
	}
	if root, err := f.TreeHash("."); err != nil || root != testenv.Git(t, dir, "rev-parse", c+"^{tree}") {
		t.Errorf("root %s, %v", root, err)
	}
	if _, err := f.TreeHash("main.tf"); err == nil {
		t.Error("a file has a tree hash")
	}
	for _, name := range []string{"nothing", "a/nothing", "main.tf/x"} {
		if _, err := f.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"../x", "/main.tf", "a//b", "a/../main.tf", ""} {
		if _, err := f.Open(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFSDoesNotFollowLinks(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("d/a", "1"), link("l", "d"), link("d/passwd", "/etc/passwd"),
		entry{"160000", "sub", strings.Repeat("1", 40)}, file("big", strings.Repeat("x", 2000)))
	r := openWith(t, Config{Dir: t.TempDir(), MaxFile: 1000}, Remote{URL: dir})
	pull(t, r)
	f, err := r.FS(c)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	err = fs.WalkDir(f, ".", func(p string, d fs.DirEntry, err error) error {
		seen = append(seen, d.Type().String()+" "+p)
		return err
	})
	want := []string{"d--------- .", "---------- big", "d--------- d", "---------- d/a", "L--------- d/passwd", "L--------- l", "?--------- sub"}
	if err != nil || !slices.Equal(seen, want) {
		t.Errorf("%q, %v", seen, err)
	}
	for _, p := range []string{"l", "d/passwd", "sub", "l/a"} {
		if _, err := f.Open(p); err == nil {
			t.Errorf("%s can be opened", p)
		}
		if b, err := f.ReadFile(p); err == nil {
			t.Errorf("%s reads as %q", p, b)
		}
	}
	if to, err := f.ReadLink("d/passwd"); err != nil || to != "/etc/passwd" {
		t.Errorf("link to %q, %v", to, err)
	}
	if _, err := f.ReadLink("d/a"); err == nil {
		t.Error("a file reads as a link")
	}
	_, err = f.ReadFile("big")
	var large *TooLargeError
	if !errors.As(err, &large) || large.Size != 2000 || large.Limit != 1000 || large.File != "big" || !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if i, err := f.Stat("big"); err != nil || i.Size() != 2000 {
		t.Errorf("%v, %v", i, err)
	}
	if g, err := f.Open("big"); err != nil {
		t.Error(err)
	} else if _, err := g.Read(make([]byte, 1)); !errors.As(err, &large) {
		t.Errorf("%v", err)
	}
}

func TestReadFiles(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("one", "1"), file("empty", ""), file("fa/n", "2"), link("l", "one"))
	r := openWith(t, Config{Dir: t.TempDir(), MaxFile: 100}, Remote{URL: dir})
	pull(t, r)
	files, err := r.ReadFiles(t.Context(), c)
	if err != nil || len(files) != 3 || string(files["one"]) != "1" || string(files[path.Join("fa", "n")]) != "2" || files["empty"] == nil {
		t.Errorf("%q, %v", files, err)
	}
	big := commit(t, dir, "main", nil, file("one", strings.Repeat("x", 60)), file("two", strings.Repeat("x", 60)))
	pull(t, r)
	_, err = r.ReadFiles(t.Context(), big)
	var large *TooLargeError
	if !errors.As(err, &large) || large.Size != 120 {
		t.Errorf("%v", err)
	}
}
