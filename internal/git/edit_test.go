package git

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestPushEdit(t *testing.T) {
	dir := bare(t)
	base := commit(t, dir, "main", nil,
		file("README", "1"), file("live/net/main.tf", "a"), script("live/net/run", "x"), link("live/net/link", "main.tf"), file("live/net/deep/b.tf", "b"), file("live/db/main.tf", "c"))
	r := open(t, dir)
	pull(t, r)
	c := Edit{
		Onto: base, Ref: "refs/heads/plumbline/drift/production/live/net", Message: "As it is\n", Author: "Plumbline <plumbline@example.com>", When: time.Unix(1_750_000_000, 0).UTC(),
		Files: map[string][]byte{"live/net/main.tf": []byte("a2"), "live/net/run": []byte("x2")},
	}
	got, err := r.PushEdit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	at := func() string { return testenv.Git(t, dir, "rev-parse", c.Ref) }
	if at() != got || testenv.Git(t, dir, "rev-parse", got+"^") != base {
		t.Fatalf("the remote is at %s, not %s on %s", at(), got, base)
	}
	if s := testenv.Git(t, dir, "diff", "--raw", "--abbrev=1", base, got); strings.Count(s, "\n") != 1 || !strings.Contains(s, ":100755 100755") || !strings.Contains(s, "M\tlive/net/main.tf") {
		t.Errorf("changed:\n%s", s)
	}
	if s := testenv.Git(t, dir, "show", got+":live/net/main.tf"); s != "a2" {
		t.Errorf("it holds %q", s)
	}
	// The same again, with or without knowing of it, is the same commit.
	for _, expect := range []string{"", got} {
		c.Expect = expect
		if again, err := r.PushEdit(t.Context(), c); err != nil || again != got {
			t.Errorf("expecting %q: %s, %v", expect, again, err)
		}
	}
	// Another one takes its place, on a newer commit.
	newer := commit(t, dir, "main", []string{base}, file("live/net/main.tf", "a"), file("live/db/main.tf", "c2"))
	if err := r.Fetch(t.Context(), map[string]string{"refs/heads/main": newer}); err != nil {
		t.Fatal(err)
	}
	c.Onto, c.Expect, c.Files = newer, got, map[string][]byte{"live/net/main.tf": []byte("a3")}
	second, err := r.PushEdit(t.Context(), c)
	if err != nil || at() != second {
		t.Fatalf("%s, %v", second, err)
	}
	// Somebody's commit on it is not touched.
	theirs := commit(t, dir, strings.TrimPrefix(c.Ref, "refs/heads/"), []string{second}, file("live/net/main.tf", "a4"))
	c.Expect, c.Files = second, map[string][]byte{"live/net/main.tf": []byte("a5")}
	if _, err := r.PushEdit(t.Context(), c); !errors.Is(err, plumbline.ErrConflict) || at() != theirs {
		t.Errorf("%v, the remote is at %s, want %s", err, at(), theirs)
	}
	for name, kind := range map[string]error{"live/net/other.tf": plumbline.ErrNotFound, "live/net": plumbline.ErrInvalid, "live/net/link": plumbline.ErrInvalid, "README/x": plumbline.ErrInvalid, "nowhere/x": plumbline.ErrNotFound} {
		c.Onto, c.Files = base, map[string][]byte{name: nil}
		if _, err := r.PushEdit(t.Context(), c); !errors.Is(err, kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDirectory(t *testing.T) {
	dir := bare(t)
	base := commit(t, dir, "main", nil, file("top.tf", "0"), file("live/net/main.tf", "a"), script("live/net/run", "x"), link("live/net/link", "main.tf"), file("live/net/deep/b.tf", "b"))
	r := open(t, dir)
	pull(t, r)
	for dir, want := range map[string][]string{"live/net": {"main.tf", "run"}, ".": {"top.tf"}} {
		files, err := r.Directory(base, dir)
		var got []string
		for name := range files {
			got = append(got, name)
		}
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", dir, got, err)
		}
	}
	if _, err := r.Directory(base, "nowhere"); err == nil {
		t.Error("a directory that is not there was read")
	}
}
