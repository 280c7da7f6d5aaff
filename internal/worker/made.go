package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// madeOf adds to what tells plans of the same changes apart the files that an apply would read: those of the stack and of all that it reaches, the lock
// file with the providers' versions and the modules that init brought among them. The plan's own JSON leaves out what a template in a provisioner says, and what is in the scripts that
// it runs. Where anything runs a program, which may read whatever it likes, it is all files of the checkout. "" stays: nobody could compare it.
func madeOf(config, src string, spec plumbline.StackSpec) (string, error) {
	if config == "" {
		return "", nil
	}
	roots := []string{spec.Dir}
	for _, r := range spec.Reaches {
		root := r.Path
		if r.Kind == plumbline.PathGlob {
			root, _ = doublestar.SplitPattern(r.Path)
		}
		roots = append(roots, root)
	}
	slices.Sort(roots)
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", config)
	runs, err := addFiles(h, src, slices.Compact(roots))
	if err == nil && runs {
		_, err = addFiles(h, src, []string{"."})
	}
	if err != nil {
		return "", fmt.Errorf("look at the files that the plan was made of: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// addFiles hashes files by their paths in src. runs reports whether a configuration among them may run a program.
func addFiles(h hash.Hash, src string, roots []string) (runs bool, err error) {
	for _, root := range roots {
		err := filepath.WalkDir(filepath.Join(src, filepath.FromSlash(root)), func(name string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // what a stack names need not be there
				return nil
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == ".git" || d.Name() != "modules" && filepath.Base(filepath.Dir(name)) == ".terraform"):
				return fs.SkipDir // of what init brings, the modules count
			case d.IsDir(), filepath.Base(filepath.Dir(name)) == ".terraform":
				return nil
			}
			rel, err := filepath.Rel(src, name)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(h, "%q %s\n", filepath.ToSlash(rel), info.Mode())
			if d.Type()&fs.ModeSymlink != 0 {
				target, err := os.Readlink(name)
				fmt.Fprintf(h, "%q\n", target)
				return err
			}
			if !d.Type().IsRegular() {
				return nil
			}
			sum, may, err := addFile(name)
			fmt.Fprintf(h, "%x\n", sum)
			runs = runs || may
			return err
		})
		if err != nil {
			return runs, err
		}
	}
	return runs, nil
}

// program matches configuration that may run one: provisioners, the external data source, a provider's way to get credentials.
var program = regexp.MustCompile(`\b(provisioner|external|exec)\b`)

// addFile hashes one file. runs reports whether it is configuration that may run one.
func addFile(name string) (sum []byte, runs bool, err error) {
	h := sha256.New()
	switch path.Ext(name) {
	case ".tf", ".tofu", ".json":
		b, err := os.ReadFile(name)
		h.Write(b)
		return h.Sum(nil), program.Match(b), err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, false, err
	}
	_, err = io.Copy(h, f)
	return h.Sum(nil), false, errors.Join(err, f.Close())
}
