package artifact

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

func openDir(t testing.TB, path string) *Dir {
	t.Helper()
	d, err := OpenDir(DirConfig{Path: path, Key: testKey()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func put(t testing.TB, d *Dir, name string, plain []byte) {
	t.Helper()
	size, sum, err := d.Put(t.Context(), name, bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(plain)
	if size != int64(len(plain)) || sum != hex.EncodeToString(want[:]) {
		t.Errorf("Put of %d bytes returned size %d, SHA-256 %s", len(plain), size, sum)
	}
}

func get(ctx context.Context, d *Dir, name string) (plain []byte, err error) {
	r, err := d.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// files returns the paths of all files and directories below dir, with a slash after those of directories.
func files(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			path += "/"
		}
		if path != "./" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func expectFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("files: %q, want %q", got, want)
	}
}

func TestPutGet(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "x", "blobs"))
	for _, size := range sizes {
		name := fmt.Sprintf("runs/%d/tfplan", size)
		put(t, d, name, data(size))
		if got, err := get(t.Context(), d, name); err != nil || !bytes.Equal(got, data(size)) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	put(t, d, "runs/1/tfplan", []byte("another"))
	if got, err := get(t.Context(), d, "runs/1/tfplan"); err != nil || string(got) != "another" {
		t.Errorf("replaced: %q, %v", got, err)
	}
	if _, err := get(t.Context(), d, "runs/1/missing"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "runs/1/missing") {
		t.Errorf("missing: %v", err)
	}
	if _, err := get(t.Context(), d, "runs/1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a directory: %v", err)
	}
}

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blobs")
	put(t, openDir(t, path), "a/b", []byte("x"))
	for file, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, "a": fs.ModeDir | 0o700, "a/b+sealed": 0o600} {
		info, err := os.Stat(filepath.Join(path, file))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%q: mode %v, want %v", file, info.Mode(), want)
		}
	}
}

// The same content under the same name is sealed in another way each time.
func TestSaltIsNew(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	var kept [2][]byte
	for i := range kept {
		put(t, d, "a", []byte("attack at dawn"))
		var err error
		if kept[i], err = os.ReadFile(filepath.Join(path, "a+sealed")); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(kept[0][:headerSize], kept[1][:headerSize]) || bytes.Equal(kept[0][headerSize:], kept[1][headerSize:]) {
		t.Error("two blobs have the same salt or ciphertext")
	}
}

func TestSwappedFiles(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	put(t, d, "staging", []byte("plan of staging"))
	put(t, d, "production", []byte("plan of production"))
	for _, move := range [][2]string{{"staging", "x"}, {"production", "staging"}, {"x", "production"}} {
		if err := os.Rename(filepath.Join(path, move[0]+sealedSuffix), filepath.Join(path, move[1]+sealedSuffix)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"staging", "production"} {
		if _, err := d.Get(t.Context(), name); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPutThatFailsLeavesNothing(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("connection reset")
	for _, tt := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		want error
	}{
		{"at once", t.Context(), iotest.ErrReader(broken), broken},
		{"half-way", t.Context(), io.MultiReader(bytes.NewReader(data(200_000)), iotest.ErrReader(broken)), broken},
		{"source cut short", t.Context(), io.MultiReader(bytes.NewReader(data(200_000)), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF},
		{"canceled", canceled, bytes.NewReader(data(200_000)), context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			d := openDir(t, path)
			if _, _, err := d.Put(tt.ctx, "a/new", tt.r); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "a/new") {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			expectFiles(t, path)

			put(t, d, "b/old", []byte("old"))
			if _, _, err := d.Put(tt.ctx, "b/old", iotest.ErrReader(broken)); err == nil {
				t.Error("no error")
			}
			expectFiles(t, path, "b/", "b/old+sealed")
			if got, err := get(t.Context(), d, "b/old"); err != nil || string(got) != "old" {
				t.Errorf("the old blob: %q, %v", got, err)
			}
		})
	}
	t.Run("the place is taken", func(t *testing.T) {
		path := t.TempDir()
		d := openDir(t, path)
		if err := os.Mkdir(filepath.Join(path, "a+sealed"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Put(t.Context(), "a", strings.NewReader("x")); err == nil {
			t.Error("no error")
		}
		expectFiles(t, path, "a+sealed/")
	})
}

func TestPutThatIsCanceledAtTheEndKeepsTheOldBlob(t *testing.T) {
	d := openDir(t, t.TempDir())
	put(t, d, "a", []byte("old"))
	ctx, cancel := context.WithCancel(t.Context())
	if _, _, err := d.Put(ctx, "a", spy{strings.NewReader("new"), cancel}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got, err := get(t.Context(), d, "a"); err != nil || string(got) != "old" {
		t.Errorf("the old blob: %q, %v", got, err)
	}
}

func TestReadingEndsWithTheContext(t *testing.T) {
	d := openDir(t, t.TempDir())
	put(t, d, "a", data(3*chunkSize))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := d.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	got, err := io.ReadAll(r)
	if !errors.Is(err, context.Canceled) || len(got) > chunkSize {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("Read after Close: %v", err)
	}
}

// spy looks at the directory while Put reads from it.
type spy struct {
	io.Reader
	look func()
}

func (s spy) Read(p []byte) (int, error) { s.look(); return s.Reader.Read(p) }

func TestNoPlaintextOnDisk(t *testing.T) {
	const planted = "correct horse battery staple"
	path := t.TempDir()
	d := openDir(t, path)
	looks, seen := 0, 0
	scan := func() {
		looks++
		for _, file := range files(t, path) {
			if strings.HasSuffix(file, "/") {
				continue
			}
			content, err := os.ReadFile(filepath.Join(path, file))
			if err != nil {
				t.Fatal(err)
			}
			seen += len(content)
			if bytes.Contains(content, []byte(planted)) || bytes.Contains(content, []byte(planted)[:12]) {
				t.Fatalf("%s shows the plaintext", file)
			}
		}
	}
	plain := strings.Repeat(planted+"\n", 10_000)
	if _, _, err := d.Put(t.Context(), "a/log", spy{iotest.HalfReader(strings.NewReader(plain)), scan}); err != nil {
		t.Fatal(err)
	}
	scan()
	if got, err := get(t.Context(), d, "a/log"); err != nil || string(got) != plain {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if looks < 5 || seen < 2*len(plain) {
		t.Errorf("%d looks at %d bytes prove little", looks, seen)
	}
}

func TestDelete(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	put(t, d, "a/b/c", []byte("1"))
	put(t, d, "a/d", []byte("2"))
	put(t, d, "a/b", []byte("3")) // beside the directory a/b
	for _, step := range []struct {
		name string
		left []string
	}{
		{"a/b/c", []string{"a/", "a/b+sealed", "a/d+sealed"}},
		{"a/b/c", []string{"a/", "a/b+sealed", "a/d+sealed"}},
		{"a/d", []string{"a/", "a/b+sealed"}},
		{"a/b", nil},
	} {
		if err := d.Delete(t.Context(), step.name); err != nil {
			t.Fatal(err)
		}
		expectFiles(t, path, step.left...)
		if _, err := d.Get(t.Context(), step.name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s after Delete: %v", step.name, err)
		}
	}
}

func TestList(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	for _, name := range []string{"runs/2/log", "runs/1/log", "runs/1/tfplan", "runs/12/log", "runs/1", "state", "run.x"} {
		put(t, d, name, nil)
	}
	for _, other := range []string{"README", "bad name+sealed", "runs/+put-X", "runs/1/lost+found"} {
		if err := os.WriteFile(filepath.Join(path, other), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		prefix string
		want   []string
	}{
		{"", []string{"run.x", "runs/1", "runs/1/log", "runs/1/tfplan", "runs/12/log", "runs/2/log", "state"}},
		{"runs/1", []string{"runs/1", "runs/1/log", "runs/1/tfplan", "runs/12/log"}},
		{"runs/1/", []string{"runs/1/log", "runs/1/tfplan"}},
		{"run", []string{"run.x", "runs/1", "runs/1/log", "runs/1/tfplan", "runs/12/log", "runs/2/log"}},
		{"runs/1/log", []string{"runs/1/log"}},
		{"runs/3/", nil},
		{"nothing", nil},
		{".", nil},
	}
	for _, tt := range tests {
		if got, err := d.List(t.Context(), tt.prefix); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("List(%q) = %q, %v, want %q", tt.prefix, got, err, tt.want)
		}
	}
	for _, prefix := range []string{"/", "../", "a/../b", "/etc", "a//b", "a b", "./a"} {
		if got, err := d.List(t.Context(), prefix); !errors.Is(err, ErrName) {
			t.Errorf("List(%q) = %q, %v", prefix, got, err)
		}
	}
}

func TestOpenDirRemovesOldTemporaryFiles(t *testing.T) {
	path := t.TempDir()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, age := range map[string]time.Duration{"+put-OLD": 25 * time.Hour, "+put-NEW": 23 * time.Hour, "old+sealed": 1000 * time.Hour} {
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(path, name), now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDir(DirConfig{Path: path, Key: testKey(), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	expectFiles(t, path, "+put-NEW", "old+sealed")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenDirNeedsItsConfig(t *testing.T) {
	for _, c := range []DirConfig{{Path: t.TempDir()}, {Key: testKey()}} {
		if _, err := OpenDir(c); err == nil {
			t.Errorf("no error for %v", c)
		}
	}
}

func TestSymbolicLinksDoNotLeadOut(t *testing.T) {
	outer := t.TempDir()
	path := filepath.Join(outer, "blobs")
	d := openDir(t, path)
	if err := os.Mkdir(filepath.Join(outer, "other"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../other", filepath.Join(path, "out")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Put(t.Context(), "out/a", strings.NewReader("x")); err == nil {
		t.Error("Put followed the link")
	}
	expectFiles(t, outer, "blobs/", "blobs/out", "other/")
	if err := os.WriteFile(filepath.Join(outer, "other", "a+sealed"), sealed(t, "out/a", nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(t.Context(), "out/a"); err == nil {
		t.Error("Get followed the link")
	}
	if err := d.Delete(t.Context(), "out/a"); err == nil {
		t.Error("Delete followed the link")
	}
}

// Writers and deleters of the same few names, and a reader that must only ever see whole blobs.
func TestConcurrentUse(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	name := func(i int) string { return fmt.Sprintf("runs/%d/log", i%3) }
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			content := bytes.Repeat([]byte{byte('a' + i)}, chunkSize+i)
			for j := range 15 {
				if _, _, err := d.Put(t.Context(), name(j), bytes.NewReader(content)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for j := range 15 {
				if err := d.Delete(t.Context(), name(j)); err != nil {
					t.Error(err)
				}
				if _, err := d.List(t.Context(), "runs/"); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for j := range 60 {
				got, err := get(t.Context(), d, name(j))
				switch {
				case errors.Is(err, ErrNotFound):
				case err != nil:
					t.Error(err)
				case len(got) != chunkSize+int(got[0]-'a') || bytes.Count(got, got[:1]) != len(got):
					t.Errorf("a blob of %d bytes is a mixture", len(got))
				}
			}
		})
	}
	wg.Wait()
	for i := range 3 {
		if err := d.Delete(t.Context(), name(i)); err != nil {
			t.Error(err)
		}
	}
	expectFiles(t, path)
}

// The directory of a blob goes at any moment in which place could look at it, up to fifty times for each blob.
func TestPlaceWhileTheDirectoryGoes(t *testing.T) {
	d := openDir(t, t.TempDir())
	var ended atomic.Bool
	var left atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for !ended.Load() {
			if left.Load() > 0 && d.root.Remove("runs/1") == nil {
				left.Add(-1)
			}
		}
	})
	for range 2000 {
		left.Store(50)
		if err := d.root.WriteFile("temp", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.place("temp", "runs/1/log"); err != nil {
			t.Error(err)
			break
		}
		if err := d.root.Remove("runs/1/log"); err != nil {
			t.Error(err)
			break
		}
	}
	ended.Store(true)
	wg.Wait()
}

func TestNames(t *testing.T) {
	good := []string{"a", "a/b", "A-Z_0.9", "...", "a..b", ".hidden", strings.Repeat("a", 240), strings.Repeat("a/", 255) + "aa"}
	bad := []string{"", ".", "..", "/", "/a", "a/", "a//b", "a/./b", "a/../b", "../a", "a/..", "a b", "a\\b", "a+b", "a\x00", "é", "a\n", "~",
		strings.Repeat("a", 241), strings.Repeat("a/", 256) + "a"}
	d := openDir(t, t.TempDir())
	for _, name := range good {
		put(t, d, name, []byte(name))
		if got, err := get(t.Context(), d, name); err != nil || string(got) != name {
			t.Errorf("%.20q: %.20q, %v", name, got, err)
		}
	}
	if got, err := d.List(t.Context(), ""); err != nil || len(got) != len(good) {
		t.Errorf("List: %d names, %v; want %d", len(got), err, len(good))
	}
	for _, name := range bad {
		if _, _, err := d.Put(t.Context(), name, strings.NewReader("x")); !errors.Is(err, ErrName) {
			t.Errorf("Put(%.20q): %v", name, err)
		}
		if _, err := d.Get(t.Context(), name); !errors.Is(err, ErrName) {
			t.Errorf("Get(%.20q): %v", name, err)
		}
		if err := d.Delete(t.Context(), name); !errors.Is(err, ErrName) {
			t.Errorf("Delete(%.20q): %v", name, err)
		}
	}
}

// FuzzName holds Put to its directory: whatever the name, nothing appears outside, and one that is taken is found again.
func FuzzName(f *testing.F) {
	for _, name := range []string{"a", "a/b", "../a", "/a", "a/../../b", ".", "..", "a//b", "a\x00b", "+put-x", "a+sealed", "C:\\a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		outer := t.TempDir()
		d := openDir(t, filepath.Join(outer, "in", "blobs"))
		_, _, err := d.Put(t.Context(), name, strings.NewReader("x"))
		if err != nil {
			if !errors.Is(err, ErrName) {
				t.Errorf("Put(%q): %v", name, err)
			}
			expectFiles(t, outer, "in/", "in/blobs/")
			return
		}
		for _, file := range files(t, outer) {
			if file != "in/" && !strings.HasPrefix(file, "in/blobs/") {
				t.Errorf("Put(%q) made %q", name, file)
			}
		}
		if got, err := d.List(t.Context(), name); err != nil || !slices.Equal(got, []string{name}) {
			t.Errorf("List(%q) = %q, %v", name, got, err)
		}
		if err := d.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
		expectFiles(t, outer, "in/", "in/blobs/")
	})
}

// FuzzGet gives files made without the key, which is random: none of them may open.
func FuzzGet(f *testing.F) {
	var key Key
	rand.Read(key[:])
	path := f.TempDir()
	d, err := OpenDir(DirConfig{Path: path, Key: key})
	if err != nil {
		f.Fatal(err)
	}
	file := sealed(f, "a", []byte("attack at dawn"))
	for _, seed := range [][]byte{nil, file, file[:headerSize], file[:headerSize+tagSize], []byte(magic), sealed(f, "a", nil), sealed(f, "a", data(chunkSize+1))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := os.WriteFile(filepath.Join(path, "a+sealed"), file, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := get(t.Context(), d, "a"); !errors.Is(err, ErrTampered) || len(got) > 0 {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
