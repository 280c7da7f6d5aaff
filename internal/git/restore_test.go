package git

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// listing is what git says of a tree: modes, hashes and names, as they are.
func listing(t testing.TB, dir, treeish string, paths ...string) string {
	t.Helper()
	return testenv.Git(t, dir, append([]string{"ls-tree", "-r", "-z", "--full-tree", treeish, "--"}, paths...)...)
}

// odd is a name in which not all is UTF-8, as fast-import wants it quoted.
func odd(dir string) string { return `"` + dir + `/o\303\244\377\001d"` }

func restore(onto, to string, dirs ...string) Restore {
	return Restore{
		Onto: onto, To: to, Dirs: dirs, Ref: "refs/heads/main", Expect: onto, Message: "Roll back\n",
		Author: "Plumbline <plumbline@example.com>", When: time.Unix(1_750_000_000, 0).UTC(),
	}
}

func TestPushRestore(t *testing.T) {
	for _, over := range []string{"path", "http"} {
		t.Run(over, func(t *testing.T) {
			dir := bare(t)
			url := dir
			if over == "http" {
				url = testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"
				testenv.Git(t, dir, "config", "http.receivepack", "true")
			}
			sub := strings.Repeat("5", 40)
			good := commit(t, dir, "main", nil,
				file("README", "1"), file("live/prod/main.tf", "good"), script("live/prod/run", "good"), link("live/prod/link", "main.tf"),
				entry{"160000", "live/prod/module", sub}, file("live/prod-x/a", "good"), file("live/prod.x", "good"), file("live/gone/deep/a", "good"),
				file("live/kind/a", "good"), file("live/single/a", "good"),
				file(odd("live/prod"), "good"), file(odd("live"), "good"))
			bad := commit(t, dir, "main", []string{good},
				file("README", "2"), file("live/prod/main.tf", "bad"), file("live/prod/run", "good"), file("live/prod/link", "main.tf"),
				file("live/prod/new/deep", "bad"), file("live/prod-x/a", "bad"), file("live/prod.x", "bad"), file("live/added/a", "bad"),
				file("live/kind", "bad"), file("live/single/a", "bad"), file("top/a", "bad"), file(odd("live"), "bad"))
			r := open(t, url)
			pull(t, r)
			dirs := []string{"live/prod", "live/gone", "live/added", "live/kind", "top", "nowhere/at/all", "live/prod/new"}
			c := restore(bad, good, dirs...)
			got, changed, err := r.PushRestore(t.Context(), c)
			if err != nil || !changed {
				t.Fatal(changed, err)
			}
			if at := testenv.Git(t, dir, "rev-parse", "main"); at != got {
				t.Fatalf("the remote is at %s, not %s", at, got)
			}
			testenv.Git(t, dir, "fsck", "--full", "--strict")
			if s := testenv.Git(t, dir, "log", "-1", "--format=%P|%an <%ae>|%ct|%B", got); s != bad+"|Plumbline <plumbline@example.com>|1750000000|Roll back\n" {
				t.Errorf("commit %q", s)
			}
			for _, d := range dirs {
				if have, want := listing(t, dir, got, d), listing(t, dir, good, d); have != want {
					t.Errorf("%s is %q, was %q", d, have, want)
				}
			}
			others := []string{"README", "live/prod-x", "live/prod.x", "live/single"}
			if have, want := listing(t, dir, got, others...), listing(t, dir, bad, others...); have != want {
				t.Errorf("outside is %q, was %q", have, want)
			}
			if n := strings.Count(listing(t, dir, got), "\x00"); n != 12 {
				t.Errorf("%d entries in %q", n, listing(t, dir, got))
			}
			for _, d := range []string{"live/prod", "live"} {
				if !strings.Contains(listing(t, dir, got), "\t"+d+"/o\xc3\xa4\xff\x01d\x00") {
					t.Errorf("the odd name in %s is another", d)
				}
			}

			// The same once more: the answer may have been lost.
			again, changed, err := r.PushRestore(t.Context(), c)
			if err != nil || !changed || again != got {
				t.Errorf("%s, %t, %v", again, changed, err)
			}
			// Nothing would differ.
			pull(t, r)
			c.Onto, c.Expect = got, got
			same, changed, err := r.PushRestore(t.Context(), c)
			if err != nil || changed || same != got {
				t.Errorf("%s, %t, %v", same, changed, err)
			}
			// The whole tree, to another branch.
			c = restore(bad, good)
			c.Ref, c.Expect = "refs/heads/propose/rollback", ""
			whole, changed, err := r.PushRestore(t.Context(), c)
			if err != nil || !changed || testenv.Git(t, dir, "rev-parse", whole+"^{tree}") != testenv.Git(t, dir, "rev-parse", good+"^{tree}") {
				t.Errorf("%s, %t, %v", whole, changed, err)
			}
			// Somebody was first.
			c = restore(bad, good)
			_, _, err = r.PushRestore(t.Context(), c)
			wantKind(t, err, plumbline.ErrConflict, "refs/heads/main")
			if at := testenv.Git(t, dir, "rev-parse", "main"); at != got {
				t.Errorf("the remote is at %s, not %s", at, got)
			}
		})
	}
}

func TestPushRestoreEmpties(t *testing.T) {
	dir := bare(t)
	empty := commit(t, dir, "main", nil)
	one := commit(t, dir, "main", []string{empty}, file("a/b/c/main.tf", "1"))
	r := open(t, dir)
	pull(t, r)
	got, changed, err := r.PushRestore(t.Context(), restore(one, empty, "a/b/c"))
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	if top := testenv.Git(t, dir, "rev-parse", got+"^{tree}"); top != testenv.Git(t, dir, "rev-parse", empty+"^{tree}") {
		t.Errorf("tree %s", top)
	}
	testenv.Git(t, dir, "fsck", "--full", "--strict")
	pull(t, r)
	back, changed, err := r.PushRestore(t.Context(), restore(got, one, "a/b/c"))
	if err != nil || !changed || listing(t, dir, back) != listing(t, dir, one) {
		t.Errorf("%q, %t, %v", listing(t, dir, back), changed, err)
	}
}

// TestPushRestoreOfForgottenCommit: history was rewritten, and the remote has thrown the good commit away.
func TestPushRestoreOfForgottenCommit(t *testing.T) {
	dir := bare(t)
	good := commit(t, dir, "main", nil, file("live/a/main.tf", "good"), file("live/a/b/main.tf", "good too"), file("live/c/main.tf", "good three"))
	r := open(t, dir)
	pull(t, r)
	bad := commit(t, dir, "main", nil, file("live/a/main.tf", "bad"))
	testenv.Git(t, dir, "gc", "--quiet", "--prune=now")
	testenv.Git(t, dir, "prune", "--expire=now")
	if exec.CommandContext(t.Context(), "git", "-C", dir, "cat-file", "-e", good).Run() == nil {
		t.Fatal("the remote still has the commit")
	}
	pull(t, r)
	got, changed, err := r.PushRestore(t.Context(), restore(bad, good, "live"))
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	testenv.Git(t, dir, "fsck", "--full", "--strict")
	if s := testenv.Git(t, dir, "show", got+":live/a/b/main.tf"); s != "good too" {
		t.Errorf("%q", s)
	}
}

func TestPushRestoreRefusesNonsense(t *testing.T) {
	dir := bare(t)
	a := commit(t, dir, "main", nil, file("a/b/main.tf", "1"), file("x", "1"))
	b := commit(t, dir, "main", []string{a}, file("a", "2"), file("x", "1"))
	other := commit(t, dir, "other", nil, file("a", "2"))
	r := open(t, dir)
	pull(t, r)
	gone := strings.Repeat("1", 40)
	for name, c := range map[string]struct {
		change func(*Restore)
		kind   error
		text   string
	}{
		"ref":            {func(c *Restore) { c.Ref = "main" }, plumbline.ErrInvalid, "not the full name of a ref"},
		"author":         {func(c *Restore) { c.Author = "nobody" }, plumbline.ErrInvalid, "author"},
		"dir":            {func(c *Restore) { c.Dirs = []string{"a/../x"} }, plumbline.ErrInvalid, `directory "a/../x"`},
		"absolute dir":   {func(c *Restore) { c.Dirs = []string{"/a"} }, plumbline.ErrInvalid, "its name is empty"},
		"empty dir":      {func(c *Restore) { c.Dirs = []string{""} }, plumbline.ErrInvalid, "its name is empty"},
		"dot":            {func(c *Restore) { c.Dirs = []string{"."} }, plumbline.ErrInvalid, "its name"},
		"no parent":      {func(c *Restore) { c.Onto = "" }, plumbline.ErrInvalid, "commit without parent"},
		"other line":     {func(c *Restore) { c.Expect = other }, plumbline.ErrInvalid, "does not follow"},
		"unknown commit": {func(c *Restore) { c.To = gone }, plumbline.ErrNotFound, "1111111"},
		"unknown parent": {func(c *Restore) { c.Onto, c.Expect = gone, "" }, plumbline.ErrNotFound, "1111111"},
		"file above it":  {func(c *Restore) { c.Dirs = []string{"a/b"} }, plumbline.ErrInvalid, "a is no directory, and outside of what comes back"},
	} {
		re := restore(b, a)
		c.change(&re)
		commit, changed, err := r.PushRestore(t.Context(), re)
		if commit != "" || changed {
			t.Errorf("%s: %s, %t", name, commit, changed)
		}
		if err == nil {
			t.Errorf("%s: done", name)
			continue
		}
		wantKind(t, err, c.kind, c.text)
	}
	if at := testenv.Git(t, dir, "rev-parse", "main"); at != b {
		t.Errorf("the remote is at %s", at)
	}
	// Removing below a file removes nothing.
	if _, changed, err := r.PushRestore(t.Context(), restore(b, other, "a/b", "x/y")); err != nil || changed {
		t.Error(changed, err)
	}
}

func TestAuthors(t *testing.T) {
	dir := bare(t)
	raw := func(author, message string, parents ...string) string {
		text := "tree " + testenv.Git(t, dir, "rev-parse", commit(t, dir, "tree", nil, file("f", message))+"^{tree}") + "\n"
		for _, p := range parents {
			text += "parent " + p + "\n"
		}
		return store(t, dir, "main", []byte(text+"author "+author+" 1750000000 +0000\ncommitter Forge <NoReply@forge.example> 1750000000 +0000\n\n"+message))
	}
	base := raw("Old <old@example.com>", "Old\n")
	one := raw("Alice <Alice@Example.com>", "One\n\nCo-authored-by: Bob <bob@example.com>\nCO-AUTHORED-BY: carol@example.com \n", base)
	side := raw("Nobody <>", "Side\n\nco-authored-by: Dr. D <x> <Dave@example.com>\n\nNot the last paragraph.\nSay Co-authored-by: not me <me@example.com>", base)
	head := raw("Alice <alice@example.com>", "Merge\n\nCo-authored-by: \n", one, side)
	r := open(t, dir)
	pull(t, r)
	want := []string{"alice@example.com", "bob@example.com", "carol@example.com", "dave@example.com"}
	for _, max := range []int{0, 3} {
		if got, err := r.Authors(t.Context(), base, head, nil, max); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v", got, err)
		}
	}
	if got, err := r.Authors(t.Context(), head, head, nil, 1); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
	_, err := r.Authors(t.Context(), base, head, nil, 2)
	wantKind(t, err, plumbline.ErrInvalid, "has more than 2 commits", "Compare with a newer commit.")
	_, err = r.Authors(t.Context(), strings.Repeat("1", 40), head, nil, 2)
	wantKind(t, err, plumbline.ErrNotFound)
}

func TestContainsAgreesWithIsAncestor(t *testing.T) {
	dir := bare(t)
	a := commit(t, dir, "main", nil, file("f", "a"))
	b := commit(t, dir, "main", []string{a}, file("f", "b"))
	c := commit(t, dir, "x", []string{a}, file("f", "c"))
	d := commit(t, dir, "x", []string{c, b}, file("f", "d"))
	e := commit(t, dir, "main", []string{b, c}, file("f", "e"))
	alone := commit(t, dir, "alone", nil, file("f", "g"))
	late := clock.Load()
	clock.Store(-5_000_000)
	skewed := commit(t, dir, "skewed", []string{e}, file("f", "h"))
	clock.Store(late)
	top := commit(t, dir, "skewed", []string{skewed}, file("f", "i"))
	r := open(t, dir)
	pull(t, r)
	all := []string{a, b, c, d, e, alone, skewed, top}
	gone := strings.Repeat("1", 40)
	for n, head := range all {
		got, err := r.Contains(t.Context(), head, append([]string{gone, "main", testenv.Git(t, dir, "rev-parse", a+"^{tree}")}, all...))
		if err != nil || len(got) != len(all)+3 {
			t.Fatal(got, err)
		}
		for m, commit := range all {
			want, err := r.IsAncestor(t.Context(), commit, head)
			if err != nil || got[commit] != want {
				t.Errorf("commit %d in commit %d: %t, want %t, %v", m, n, got[commit], want, err)
			}
		}
		if got[gone] || got["main"] {
			t.Error("contains what is not there")
		}
	}
	_, err := r.Contains(t.Context(), gone, all)
	wantKind(t, err, plumbline.ErrNotFound)
	if got, err := r.Contains(t.Context(), top, nil); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
}
