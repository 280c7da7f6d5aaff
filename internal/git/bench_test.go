package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/testenv"
)

func BenchmarkRefs5000(b *testing.B) {
	dir := bare(b)
	c := commit(b, dir, "main", nil, file("a", "1"))
	var packed strings.Builder
	packed.WriteString("# pack-refs with: peeled fully-peeled sorted \n")
	for i := range 5000 {
		fmt.Fprintf(&packed, "%s refs/heads/b%05d\n", c, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "packed-refs"), []byte(packed.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for name, url := range map[string]string{"path": dir, "http": testenv.GitHTTP(b, filepath.Dir(dir)) + "/infra.git"} {
		b.Run(name, func(b *testing.B) {
			r := open(b, url)
			for b.Loop() {
				refs, err := r.Refs(b.Context())
				if err != nil || len(refs) != 5001 {
					b.Fatal(len(refs), err)
				}
			}
		})
	}
}

// many returns n files in directories of 20.
func many(n int, content func(i int) string) []entry {
	out := make([]entry, n)
	for i := range out {
		out[i] = file(fmt.Sprintf("live/r%02d/s%03d/f%02d.tf", i/20/50, i/20, i%20), content(i))
	}
	return out
}

func stackFile(i int) string {
	return fmt.Sprintf("resource \"null_resource\" \"r%d\" {\n%s}\n", i, strings.Repeat("  # a line of configuration\n", 12))
}

func BenchmarkChanged50of20000(b *testing.B) {
	dir := bare(b)
	one := commit(b, dir, "main", nil, many(20000, stackFile)...)
	two := commit(b, dir, "main", []string{one}, many(20000, func(i int) string {
		if i%400 == 7 {
			return "changed"
		}
		return stackFile(i)
	})...)
	r := open(b, dir)
	pull(b, r)
	for b.Loop() {
		r.objects.cache.Clear() // every round as cold as the first
		paths, err := r.Changed(b.Context(), one, two)
		if err != nil || len(paths) != 50 || !slices.IsSorted(paths) {
			b.Fatal(len(paths), err)
		}
	}
}

func BenchmarkCheckout20000(b *testing.B) {
	dir := bare(b)
	c := commit(b, dir, "main", nil, many(20000, stackFile)...)
	r := open(b, dir)
	pull(b, r)
	// Nothing is removed in between: ext4 looks for an inode for milliseconds while many were given back a minute ago.
	work, rounds := b.TempDir(), 0
	for _, warm := range []bool{false, true} {
		b.Run(fmt.Sprintf("warm=%t", warm), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if !warm {
					r.objects.cache.Clear()
				}
				rounds++
				into := filepath.Join(work, fmt.Sprint(rounds))
				b.StartTimer()
				if found, err := r.Checkout(b.Context(), c, into); err != nil || len(found) > 0 {
					b.Fatal(found, err)
				}
			}
		})
	}
}
