package git

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// laidOut describes every file below dir: its mode and content.
func laidOut(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[rel+"/"] = "directory"
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(p)
			out[rel] = "link to " + to
			return err
		default:
			i, err := d.Info()
			if err != nil {
				return err
			}
			b, err := os.ReadFile(p)
			out[rel] = fmt.Sprintf("%v %q", i.Mode(), b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %.80s; want %.80s", k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s is there as well", k)
		}
	}
}

func TestCheckoutEqualsGitArchive(t *testing.T) {
	dir := bare(t)
	entries := []entry{file("README", "hello\n"), file("empty", ""), script("bin/run", "#!/bin/sh\n"), link("latest", "live/a"),
		link("live/up", "../README"), link("dangling", "not/there"), link("chain", "latest"), file("ünï cödé/f", "u"), file("-x", "dash"), file(`back\slash`, "b"),
		file("medium", strings.Repeat("medium\n", 60_000)), file("large", strings.Repeat("larger than is kept in memory\n", 200_000))}
	for i := range 300 {
		entries = append(entries, file(fmt.Sprintf("live/s%d/main.tf", i), stackFile(i)))
	}
	entries = append(entries, file("live/a/x", "x"))
	c := commit(t, dir, "main", nil, entries...)
	want := map[string]string{}
	cmd := exec.CommandContext(t.Context(), "git", "-C", dir, "-c", "tar.umask=022", "archive", "--format=tar", c)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			want[h.Name] = "directory"
		case tar.TypeSymlink:
			want[h.Name] = "link to " + h.Linkname
		case tar.TypeReg:
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			want[h.Name] = fmt.Sprintf("%v %q", fs.FileMode(h.Mode).Perm(), b)
		}
	}
	r := open(t, dir)
	pull(t, r)
	for range 2 { // inflated, then from memory
		into := filepath.Join(t.TempDir(), "new", "src")
		found, err := r.Checkout(t.Context(), c, into)
		if err != nil || len(found) > 0 {
			t.Fatal(found, err)
		}
		same(t, laidOut(t, into), want)
		if i, err := os.Stat(into); err != nil || i.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", i.Mode(), err)
		}
		_, err = r.Checkout(t.Context(), c, into)
		wantKind(t, err, plumbline.ErrConflict, "not empty")
	}
}

func TestCheckoutLeavesOutLinksThatLeadOut(t *testing.T) {
	dir := bare(t)
	bad := map[string]string{ // link, what its finding says
		"abs": "/etc/passwd", "up": "out of the repository", "d/up": "out of the repository", "d/second": "out of the repository",
		"d/third": "out of the repository", "via": "absolute", "loop": "circle", "pair": "circle", "d/e/deep": "out of the repository",
		"ghost": "out of the repository", "sneaky": "out of the repository",
	}
	c := commit(t, dir, "main", nil,
		file("d/f", "1"), file("d/e/g", "1"),
		link("abs", "/etc/passwd"), link("up", "../x"), link("d/up", "../../x"),
		link("d/here", ".."),                 // the root of the tree: inside
		link("d/second", "here/../x"),        // by name in d, in truth above the root
		link("d/third", "../d/here/../../x"), // the same, a way round
		link("via", "abs"), link("loop", "loop"), link("pair", "riap"), link("riap", "pair"),
		link("d/e/deep", "../.././/../x"), link("ghost", "no/../../x"), link("sneaky", "d/here/d/here/.."),
		link("good", "d/f"), link("d/e/good", "../../d//./f"), link("d/twice", "here/d/here/d/f"))
	bad["riap"] = "circle"
	r := open(t, dir)
	pull(t, r)
	into := t.TempDir()
	found, err := r.Checkout(t.Context(), c, into)
	if err != nil {
		t.Fatal(err)
	}
	same(t, laidOut(t, into), map[string]string{
		"d/": "directory", "d/e/": "directory", "d/f": `-rw-r--r-- "1"`, "d/e/g": `-rw-r--r-- "1"`,
		"d/here": "link to ..", "good": "link to d/f", "d/e/good": "link to ../../d//./f", "d/twice": "link to here/d/here/d/f",
	})
	for _, f := range found {
		if want, ok := bad[f.File]; !ok || !strings.Contains(f.Message, want) || !strings.HasPrefix(f.Message, "Symbolic link is left out: ") {
			t.Errorf("finding %+v; want %q", f, want)
		}
		delete(bad, f.File)
	}
	if len(bad) > 0 {
		t.Errorf("no finding for %v", bad)
	}
}

func TestCheckoutFindings(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("ok", "1"), file("big", strings.Repeat("x", 2000)), file("middle", strings.Repeat("y", 999)),
		entry{"160000", "sub", strings.Repeat("1", 40)})
	r := openWith(t, Config{Dir: t.TempDir(), MaxFile: 1000}, Remote{URL: dir})
	pull(t, r)
	into := t.TempDir()
	found, err := r.Checkout(t.Context(), c, into)
	if err != nil {
		t.Fatal(err)
	}
	want := []plumbline.Finding{
		{File: "big", Message: "File is left out: it has 2000 bytes, more than the 1000 bytes that are laid out."},
		{File: "sub", Message: "Submodule is left empty: submodules are not fetched."},
	}
	if fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("findings %+v", found)
	}
	same(t, laidOut(t, into), map[string]string{"ok": `-rw-r--r-- "1"`, "middle": fmt.Sprintf("-rw-r--r-- %q", strings.Repeat("y", 999)), "sub/": "directory"})
}

// rawEntry is an entry of a tree that no Git tool would make.
type rawEntry struct {
	mode, name string
	hash       plumbing.Hash
}

func put(t testing.TB, r *Repo, kind plumbing.ObjectType, content []byte) plumbing.Hash {
	t.Helper()
	var h plumbing.Hash
	err := r.objects.do(func(st *filesystem.Storage) error {
		obj := st.NewEncodedObject()
		obj.SetType(kind)
		w, err := obj.Writer()
		if err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
		h, err = st.SetEncodedObject(obj)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func rawTree(t testing.TB, r *Repo, entries ...rawEntry) plumbing.Hash {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s\x00%s", e.mode, e.name, e.hash[:])
	}
	return put(t, r, plumbing.TreeObject, b.Bytes())
}

func TestCheckoutRefusesOddNames(t *testing.T) {
	r := open(t, bare(t))
	blob := put(t, r, plumbing.BlobObject, []byte("x"))
	out := put(t, r, plumbing.BlobObject, []byte("elsewhere"))
	inner := rawTree(t, r, rawEntry{"100644", "config", blob})
	names := []string{".", "..", "../x", "a/b", "a//b", "/abs", "a\x01b", "a\nb", "a\x7f", "a\u0085b", "\xff\xfe", strings.Repeat("n", 256),
		".git", ".GIT", ".Git", ".git ", ".git.", ".git . .", ".git::$INDEX_ALLOCATION", "git~1", "GIT~1", ".g\u200cit", "\ufeff.git", `a\.git`, `.git\config`}
	var entries []rawEntry
	for _, n := range names {
		entries = append(entries, rawEntry{"100644", n, blob}, rawEntry{"40000", n, inner}, rawEntry{"120000", n, out})
	}
	fine := []string{".gitignore", ".gitmodules", "git", "git~2", "x.git", "...", "-", "CON", "a:b", " ", `a\b`, "ſ.git"}
	for _, n := range fine {
		entries = append(entries, rawEntry{"100644", n, blob})
	}
	// The old trick: a link, then a directory of the same name that would be written through it.
	entries = append(entries, rawEntry{"120000", "twice", out}, rawEntry{"40000", "twice", inner})
	tree := rawTree(t, r, entries...).String()
	into := t.TempDir()
	found, err := r.Checkout(t.Context(), tree, into)
	if err != nil {
		t.Fatal(err)
	}
	if want := 3*len(names) + 1; len(found) != want {
		t.Errorf("%d findings, want %d", len(found), want)
	}
	for _, f := range found {
		if strings.ContainsAny(f.File, "\n\x01\x7f") {
			t.Errorf("finding shows %q", f.File)
		}
	}
	want := map[string]string{"twice": "link to elsewhere"}
	for _, n := range fine {
		want[n] = `-rw-r--r-- "x"`
	}
	same(t, laidOut(t, into), want)
	f, err := r.FS(tree)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := f.ReadDir(".")
	if err != nil || len(shown) != len(want) {
		t.Errorf("FS shows %v, %v", shown, err)
	}
}

func TestCheckoutCountsFindings(t *testing.T) {
	r := open(t, bare(t))
	blob := put(t, r, plumbing.BlobObject, []byte("x"))
	var entries []rawEntry
	for range 1000 {
		entries = append(entries, rawEntry{"100644", "..", blob})
	}
	deep := rawTree(t, r, rawEntry{"100644", "f", blob})
	for range maxDepth + 5 {
		deep = rawTree(t, r, rawEntry{"40000", "d", deep})
	}
	found, err := r.Checkout(t.Context(), rawTree(t, r, entries...).String(), t.TempDir())
	if err != nil || len(found) != maxFindings+1 || found[maxFindings].Message != "800 more entries are left out." {
		t.Errorf("%d findings, %v", len(found), err)
	}
	found, err = r.Checkout(t.Context(), deep.String(), t.TempDir())
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Message, "200 directories deep") {
		t.Errorf("%+v, %v", found, err)
	}
}

// FuzzCheckoutPaths lays out trees with arbitrary names and link targets: nothing may ever come to lie, or lead, outside.
func FuzzCheckoutPaths(f *testing.F) {
	for _, s := range [][3]string{
		{"../x", "a", ".."}, {".git/config", ".git", "."}, {"a//b", "..", "../.."}, {"d", "d", "/etc"}, {"x", "l", "d/../../x"}, {"l", "l", "l"}, {"a\x00b", "", ""},
		{"f", "..\\x", "l2/.."}, {".gi\u200ct", "...", "d/l2/../.."}, {"f", "l", "./d/l2/l2/../x"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	r := open(f, bare(f))
	work := f.TempDir()
	f.Fuzz(func(t *testing.T, name, linkName, target string) {
		if name == "" || linkName == "" || strings.Contains(name+linkName, "\x00") {
			return // cannot be written down
		}
		blob := put(t, r, plumbing.BlobObject, []byte("planted"))
		to := put(t, r, plumbing.BlobObject, []byte(target))
		up := put(t, r, plumbing.BlobObject, []byte(".."))
		inner := rawTree(t, r, rawEntry{"100644", name, blob}, rawEntry{"120000", linkName, to}, rawEntry{"120000", "l2", up}, rawEntry{"40000", name, rawTree(t, r, rawEntry{"100644", "f", blob})})
		tree := rawTree(t, r, rawEntry{"120000", linkName, to}, rawEntry{"40000", linkName, inner}, rawEntry{"40000", "d", inner}, rawEntry{"100644", name, blob})
		outer, err := os.MkdirTemp(work, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.RemoveAll(outer); err != nil {
				t.Error(err)
			}
		}()
		into := filepath.Join(outer, "in")
		if _, err := r.Checkout(t.Context(), tree.String(), into); err != nil {
			t.Fatalf("%q %q %q: %v", name, linkName, target, err)
		}
		if left, err := os.ReadDir(outer); err != nil || len(left) != 1 {
			t.Fatalf("%q %q %q: outside lies %v, %v", name, linkName, target, left, err)
		}
		root, err := os.OpenRoot(into)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := root.Close(); err != nil {
				t.Error(err)
			}
		}()
		err = filepath.WalkDir(into, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(into, p)
			if err != nil {
				return err
			}
			if isDotGit(d.Name()) {
				t.Errorf("%q is laid out", rel)
			}
			if d.Type() != fs.ModeSymlink {
				return nil
			}
			// The kernel and os.Root must agree with us: following it ends inside, or nowhere.
			if _, err := root.Stat(rel); err != nil && strings.Contains(err.Error(), "escapes") {
				t.Errorf("%q -> %q leads out", rel, target)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestCheckoutOfALargeFile holds what the daemon must survive: somebody commits a disk image.
func TestCheckoutOfALargeFile(t *testing.T) {
	const size = 200 << 20
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("disk.img", strings.Repeat("0123456789abcdef", size/16)), file("main.tf", "x"))
	r := openWith(t, Config{Dir: t.TempDir(), MaxFile: 512 << 20}, Remote{URL: dir})
	pull(t, r)
	runtime.GC() // the fetch needed the file in memory: go-git's pools let go of it
	runtime.GC() // at the second collection
	peak := watchHeap(t)
	into := t.TempDir()
	found, err := r.Checkout(t.Context(), c, into)
	if p := peak(); p > 100<<20 {
		t.Errorf("the heap grew to %d MiB", p>>20)
	}
	if err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	if i, err := os.Stat(filepath.Join(into, "disk.img")); err != nil || i.Size() != size {
		t.Errorf("%v, %v", i, err)
	}
	r.maxFile = defaultMaxFile
	found, err = r.Checkout(t.Context(), c, t.TempDir())
	if err != nil || len(found) != 1 || found[0].File != "disk.img" || !strings.Contains(found[0].Message, "200.0 MiB, more than the 64.0 MiB") {
		t.Errorf("%+v, %v", found, err)
	}
}

// watchHeap measures the largest heap until the returned function is called.
func watchHeap(t *testing.T) (peak func() uint64) {
	var most uint64
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	stop := sync.OnceFunc(func() { close(done); running.Wait() })
	t.Cleanup(stop)
	return func() uint64 { stop(); return most }
}

func TestPeelRefusesWhatIsNoTree(t *testing.T) {
	r := open(t, bare(t))
	blob := put(t, r, plumbing.BlobObject, []byte("x"))
	_, err := r.Tree(hex.EncodeToString(blob[:]))
	wantKind(t, err, plumbline.ErrNotFound)
}
