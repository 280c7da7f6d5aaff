package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestIsAncestorAndLogAgreeWithGit(t *testing.T) {
	dir := bare(t)
	// Two lines with merges both ways, and a line that shares nothing.
	a := commit(t, dir, "main", nil, file("f", "a"))
	b := commit(t, dir, "main", []string{a}, file("f", "b"))
	c := commit(t, dir, "x", []string{a}, file("f", "c"))
	d := commit(t, dir, "x", []string{c, b}, file("f", "d"))
	e := commit(t, dir, "main", []string{b, c}, file("f", "e"))
	f := commit(t, dir, "main", []string{e, d}, file("f", "f"))
	g := commit(t, dir, "alone", nil, file("f", "g"))
	// A commit whose clock is years behind its parent's: the walk must not stop at dates.
	late := clock.Load()
	clock.Store(-5_000_000)
	h := commit(t, dir, "skewed", []string{f}, file("f", "h"))
	clock.Store(late)
	i := commit(t, dir, "skewed", []string{h}, file("f", "i"))
	r := open(t, dir)
	pull(t, r)
	all := []string{a, b, c, d, e, f, g, h, i}
	for m, x := range all {
		for n, y := range all {
			got, err := r.IsAncestor(t.Context(), x, y)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Contains(strings.Fields(testenv.Git(t, dir, "rev-list", y)), x)
			if got != want {
				t.Errorf("commit %d in the history of commit %d: %t, git says %t", m, n, got, want)
			}
			log, err := r.Log(t.Context(), x, y, 0)
			if err != nil {
				t.Fatal(err)
			}
			var hashes []string
			for _, l := range log {
				hashes = append(hashes, l.Hash)
			}
			slices.Sort(hashes)
			in := strings.Fields(testenv.Git(t, dir, "rev-list", x+".."+y))
			slices.Sort(in)
			if !slices.Equal(hashes, in) {
				t.Errorf("log %d..%d has %d commits, git's %d", m, n, len(hashes), len(in))
			}
		}
	}
	log, err := r.Log(t.Context(), "", f, 2)
	if err != nil || len(log) != 2 || log[0].Hash != f || log[1].Hash != e {
		t.Fatalf("log %v, %v", log, err)
	}
	if l := log[0]; l.Author != "A Uthor" || l.Email != "author@example.com" || l.Subject != "Change on main" || l.Body != "With a body." ||
		!slices.Equal(l.Parents, []string{e, d}) || l.When.IsZero() {
		t.Errorf("commit %+v", l)
	}
	gone := strings.Repeat("1", 40)
	_, err = r.IsAncestor(t.Context(), gone, a)
	wantKind(t, err, plumbline.ErrNotFound, "1111111")
	_, err = r.Log(t.Context(), gone, a, 0)
	wantKind(t, err, plumbline.ErrNotFound, "1111111")
	_, err = r.Log(t.Context(), "", "main", 0)
	wantKind(t, err, plumbline.ErrInvalid)
}

func TestChanged(t *testing.T) {
	dir := bare(t)
	a := commit(t, dir, "main", nil,
		file("same", "1"), file("changed", "1"), file("gone", "1"), file("mode", "1"), file("kind", "1"),
		file("old name", "a whole file that moves\n"), file("d/same", "1"), file("d/changed", "1"), file("d-x", "1"), file("d.x", "1"),
		file("tree/a", "1"), file("tree/b", "1"), file("becomes", "1"))
	b := commit(t, dir, "main", []string{a},
		file("same", "1"), file("changed", "2"), file("new", "1"), script("mode", "1"), link("kind", "1"),
		file("new name", "a whole file that moves\n"), file("d/same", "1"), file("d/changed", "2"), file("d-x", "2"), file("d.x", "1"),
		file("tree", "1"), file("becomes/a", "1"), entry{"160000", "sub", a})
	r := open(t, dir)
	pull(t, r)
	want := []string{"becomes", "becomes/a", "changed", "d-x", "d/changed", "gone", "kind", "mode", "new", "new name", "old name", "sub", "tree", "tree/a", "tree/b"}
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		got, err := r.Changed(t.Context(), pair[0], pair[1])
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v\nwant %q", got, err, want)
		}
	}
	tree, err := r.Tree(a)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Changed(t.Context(), a, tree); err != nil || len(got) > 0 {
		t.Errorf("a commit differs from its own tree in %q, %v", got, err)
	}
}

func TestChangedAfterHistoryWasRewritten(t *testing.T) {
	dir := bare(t)
	base := commit(t, dir, "main", nil, file("a", "1"))
	next := commit(t, dir, "main", nil, file("a", "2")) // base is in no history any more
	r := open(t, dir)
	pull(t, r)
	_, err := r.Changed(t.Context(), base, next)
	wantKind(t, err, plumbline.ErrNotFound, plumbline.Short(base), "infra")
	_, err = r.Changed(t.Context(), next, base)
	wantKind(t, err, plumbline.ErrNotFound, plumbline.Short(base))
	_, err = r.FS(base)
	wantKind(t, err, plumbline.ErrNotFound)
}

func TestMerge(t *testing.T) {
	dir := bare(t)
	lines := func(s ...string) string { return strings.Join(s, "\n") + "\n" }
	base := commit(t, dir, "base", nil, file("f", lines("1", "2", "3", "4", "5", "6")), file("d/ä", "x\n"), file("keep", "k\n"))
	ours := commit(t, dir, "main", []string{base}, file("f", lines("one", "2", "3", "4", "5", "6")), file("d/ä", "ours\n"), file("keep", "k\n"))
	good := commit(t, dir, "good", []string{base}, file("f", lines("1", "2", "3", "4", "5", "six")), file("d/ä", "x\n"), file("keep", "k\n"), file("new", "n\n"))
	clash := commit(t, dir, "clash", []string{base}, file("f", lines("uno", "2", "3", "4", "5", "6")), file("d/ä", "theirs\n"), file("keep", "k\n"))
	alone := commit(t, dir, "alone", nil, file("f", "?"))
	r := open(t, dir)
	pull(t, r)
	tree := func(c string) string { return testenv.Git(t, dir, "rev-parse", c+"^{tree}") }

	got, conflicts, err := r.Merge(t.Context(), ours, good)
	if err != nil || len(conflicts) > 0 {
		t.Fatal(conflicts, err)
	}
	f, err := r.FS(got)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"f": lines("one", "2", "3", "4", "5", "six"), "d/ä": "ours\n", "new": "n\n", "keep": "k\n"} {
		if b, err := f.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
	if p, err := r.Changed(t.Context(), ours, got); err != nil || !slices.Equal(p, []string{"f", "new"}) {
		t.Errorf("changed %q, %v", p, err)
	}

	got, conflicts, err = r.Merge(t.Context(), ours, clash)
	wantKind(t, err, plumbline.ErrMergeConflict, "both changed d/ä, f")
	if got != "" || !slices.Equal(conflicts, []string{"d/ä", "f"}) {
		t.Errorf("tree %q, conflicts %q", got, conflicts)
	}
	_, conflicts, err = r.Merge(t.Context(), ours, alone)
	wantKind(t, err, plumbline.ErrMergeConflict, "no commit in common")
	if len(conflicts) > 0 {
		t.Errorf("conflicts %q", conflicts)
	}

	r.program = "/nonexistent/git" // not needed where one contains the other
	for _, c := range []struct{ base, head, want string }{{base, ours, ours}, {ours, base, ours}, {ours, ours, ours}} {
		if got, _, err := r.Merge(t.Context(), c.base, c.head); err != nil || got != tree(c.want) {
			t.Errorf("tree %s, %v", got, err)
		}
	}
	_, _, err = r.Merge(t.Context(), ours, good)
	wantKind(t, err, plumbline.ErrNotFound, "takes the program git", "Install git 2.38")
	_, _, err = r.Merge(t.Context(), ours, strings.Repeat("1", 40))
	wantKind(t, err, plumbline.ErrNotFound)
}

func TestMergeWithAnOldGit(t *testing.T) {
	dir := bare(t)
	base := commit(t, dir, "main", nil, file("f", "1"))
	ours := commit(t, dir, "main", []string{base}, file("f", "2"))
	head := commit(t, dir, "head", []string{base}, file("g", "2"))
	old := filepath.Join(t.TempDir(), "git")
	const program = "#!/bin/sh\ncase \"$*\" in *version) echo git version 2.30.2;; *) echo usage: git merge-tree >&2; exit 129;; esac\n"
	if err := os.WriteFile(old, []byte(program), 0o700); err != nil {
		t.Fatal(err)
	}
	r := openWith(t, Config{Dir: t.TempDir(), Git: old}, Remote{URL: dir})
	pull(t, r)
	_, _, err := r.Merge(t.Context(), ours, head)
	wantKind(t, err, plumbline.ErrNotFound, "this is git version 2.30.2", "Install git 2.38")
}

func TestTooOld(t *testing.T) {
	for v, want := range map[string]bool{
		"git version 2.37.9": true, "git version 1.99": true, "git version 2.38.0": false, "git version 2.39.5 (Apple Git-154)": false,
		"git version 3.0": false, "": false, "git version": false, "git version x.y": false,
	} {
		if tooOld(v) != want {
			t.Errorf("%q: too old is %t", v, !want)
		}
	}
}

func TestMergeCommand(t *testing.T) {
	t.Setenv("PLUMBLINE_SECRET", "hunter2")
	t.Setenv("GIT_DIR", "/elsewhere")
	r := open(t, bare(t))
	cmd := r.mergeCommand(t.Context(), "b", "h")
	want := []string{"git", "--git-dir=" + r.dir, "-c", "core.hooksPath=/dev/null", "merge-tree", "--write-tree", "--name-only", "-z", "--no-messages", "b", "h"}
	if !slices.Equal(cmd.Args, want) {
		t.Errorf("arguments %q", cmd.Args)
	}
	for _, v := range cmd.Env {
		if name, _, _ := strings.Cut(v, "="); !slices.Contains([]string{"PATH", "LC_ALL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL",
			"GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS", "GIT_TERMINAL_PROMPT"}, name) {
			t.Errorf("git gets %s", fmt.Sprintf("%.20s", v))
		}
	}
}

// TestWrote is about one commit alone, whatever stands behind it.
func TestWrote(t *testing.T) {
	remote, dir := filepath.Join(t.TempDir(), "r.git"), t.TempDir()
	testenv.Git(t, t.TempDir(), "init", "--quiet", "--bare", "--initial-branch=main", remote)
	testenv.Git(t, dir, "clone", "--quiet", remote, ".")
	for _, who := range []string{"ann", "bob"} {
		testenv.Git(t, dir, "-c", "user.name="+who, "-c", "user.email="+who+"@example.com", "commit", "--quiet", "--allow-empty", "-m", "x\n\nCo-authored-by: C <CYD@example.com>")
	}
	testenv.Git(t, dir, "push", "--quiet", "origin", "HEAD:refs/heads/main")
	r := open(t, remote)
	head := testenv.Git(t, dir, "rev-parse", "HEAD")
	if err := r.Fetch(t.Context(), map[string]string{"refs/heads/main": head}); err != nil {
		t.Fatal(err)
	}
	got, err := r.Wrote(t.Context(), head)
	if want := []string{"bob@example.com", "cyd@example.com"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}

// TestAuthorsOfPaths: who changed something else is no author, nor is who merged; who changed something in a merge is.
func TestAuthorsOfPaths(t *testing.T) {
	remote, dir := filepath.Join(t.TempDir(), "r.git"), t.TempDir()
	testenv.Git(t, t.TempDir(), "init", "--quiet", "--bare", "--initial-branch=main", remote)
	testenv.Git(t, dir, "clone", "--quiet", remote, ".")
	as := func(who string, args ...string) {
		t.Helper()
		testenv.Git(t, dir, append([]string{"-c", "user.name=" + who, "-c", "user.email=" + who + "@example.com"}, args...)...)
	}
	change := func(who, name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(who), 0o644); err != nil {
			t.Fatal(err)
		}
		testenv.Git(t, dir, "add", "-A")
	}
	commit := func(who, name string) { t.Helper(); change(who, name); as(who, "commit", "--quiet", "-m", "x") }
	commit("old", "a/x")
	base := testenv.Git(t, dir, "rev-parse", "HEAD")
	commit("ann", "a/x")
	testenv.Git(t, dir, "checkout", "--quiet", "-b", "side", base)
	commit("bob", "a/y")
	commit("cyd", "b/z")
	testenv.Git(t, dir, "checkout", "--quiet", "-")
	as("dan", "merge", "--quiet", "--no-ff", "-m", "merge", "side")
	clean := testenv.Git(t, dir, "rev-parse", "HEAD")
	testenv.Git(t, dir, "checkout", "--quiet", "-b", "evil", clean+"^1")
	as("eve", "merge", "--quiet", "--no-ff", "--no-commit", "side")
	change("eve", "a/y")
	as("eve", "commit", "--quiet", "-m", "merge")
	evil := testenv.Git(t, dir, "rev-parse", "HEAD")
	testenv.Git(t, dir, "push", "--quiet", "origin", clean+":refs/heads/main", evil+":refs/heads/evil")
	r := open(t, remote)
	if err := r.Fetch(t.Context(), map[string]string{"refs/heads/main": clean, "refs/heads/evil": evil}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		head  string
		paths []string
		want  string
	}{
		{clean, []string{"a"}, "ann bob"}, {clean, nil, "ann bob cyd"}, {clean, []string{"b", "not/there"}, "cyd"}, {clean, []string{"not/there"}, ""},
		{evil, []string{"a"}, "ann bob eve"}, {evil, []string{"b"}, "cyd"}, {evil, []string{"."}, "ann bob cyd eve"},
	} {
		got, err := r.Authors(t.Context(), base, tt.head, tt.paths, 0)
		if list := strings.ReplaceAll(strings.Join(got, " "), "@example.com", ""); err != nil || list != tt.want {
			t.Errorf("%v of %s: %q %v, want %q", tt.paths, tt.head[:7], list, err, tt.want)
		}
	}
}
