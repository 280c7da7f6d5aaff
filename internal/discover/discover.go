// Package discover reads a commit's Terraform files to tell which directories are stacks, with what each of them reaches.
//
// # What is a stack
//
// A directory with Terraform files (.tf, .tf.json, .tofu, .tofu.json; test files do not count) is a stack when the first of
// these rules that says anything says so; Rule in the result names it:
//
//  1. .plumbline.hcl at the root has stack blocks for it: it is exactly those stacks.
//  2. It lies under a directory named tests: it is not.
//  3. It has a backend or cloud block: it is.
//  4. A module block elsewhere calls it, or it lies under a directory named modules: it is not, though it may configure a
//     provider, as old modules do. To apply a bare module by mistake would be worse than to miss a stack, which discover --explain shows.
//  5. Otherwise it is, whether its files can be read or not.
//
// # What a stack reaches
//
// Its own directory; every local module it calls, at any depth; its var files; its watch globs; the nearest
// .terraform-version or .opentofu-version at or above it; every file that its code names by a constant path. Constant
// means made of plain text, path.module, path.root and path.cwd. Such a path counts as an argument of file, templatefile
// and their relatives (where a relative path without path.module starts at the stack's directory, as in Terraform), as
// fileset's directory with its pattern, and anywhere else where it starts with path.module or path.root, because
// archive_file and its like take it as plain text. What is not constant in a path with a constant beginning becomes a
// "*": "${path.module}/policies/${var.name}.json" reaches the glob policies/*.json beside its module. Paths out of the
// repository are not reached. x.tf and x.tofu are both read, because the engine is not known here.
//
// Symbolic links are not followed: what a link in a commit points to is not part of the directory's hash. A link named
// like a Terraform file, or in a module's source, is a finding.
package discover

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
	"golang.org/x/sync/errgroup"
)

// Options are the limits of one discovery.
type Options struct {
	Cache   *Cache // results of earlier commits, used when the file system knows its trees' hashes; nil: none
	MaxFile int64  // bytes; a larger Terraform file is a finding. Default 4 MiB
}

// treeHasher is a file system that knows a content hash of each directory: equal hashes mean equal trees.
type treeHasher interface {
	TreeHash(dir string) (string, error)
}

const (
	defaultMaxFile = 4 << 20
	maxDirs        = 500_000 // with Terraform files, in one commit; a tree may name the same subtree many times over
	maxDepth       = 200     // of directories
	versionFileMax = 4 << 10
)

// Stacks reads the tree and returns its stacks. Mistakes in files are findings; an error means that the tree itself could
// not be read, or is beyond the limits, or that ctx is done. fsys is used from one goroutine at a time.
func Stacks(ctx context.Context, fsys fs.FS, o Options) (plumbline.Layout, error) {
	if o.MaxFile <= 0 {
		o.MaxFile = defaultMaxFile
	}
	root, err := scan(ctx, fsys, o)
	if err != nil {
		return plumbline.Layout{}, err
	}
	set, err := readSettings(fsys, o.MaxFile)
	if err != nil {
		return plumbline.Layout{}, err
	}
	return newBuilder(fsys, root, set).layout()
}

// A node is what one tree holds, wherever in a repository it stands. It is never changed once its scan is over.
type node struct {
	hash     string // "" when the file system knows none
	facts    *facts // nil: nothing of interest directly in it
	children []child
	dirs     int // directories with facts in it, itself included
}

type child struct {
	name string
	node *node
}

// A scanner walks the tree in its own goroutine, which also does all reading, while others parse. So a file system need
// not be safe for concurrent use.
type scanner struct {
	fsys   fs.FS
	o      Options
	hasher treeHasher
	ctx    context.Context
	parse  chan parseJob
	fresh  map[string]*node // by tree hash, made by this scan
	dirs   int
}

type parseJob struct {
	files []sourceFile
	into  *facts
}

type sourceFile struct {
	name string
	data []byte
}

func scan(ctx context.Context, fsys fs.FS, o Options) (*node, error) {
	g, ctx := errgroup.WithContext(ctx)
	s := &scanner{fsys: fsys, o: o, ctx: ctx, parse: make(chan parseJob, 32), fresh: map[string]*node{}}
	s.hasher, _ = fsys.(treeHasher)
	for range min(2, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			for j := range s.parse {
				for _, f := range j.files {
					if err := ctx.Err(); err != nil {
						return err
					}
					j.into.read(f.name, f.data)
				}
				j.into.tidy()
			}
			return nil
		})
	}
	var root *node
	g.Go(func() (err error) {
		defer close(s.parse)
		root, err = s.walk(".", 0)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if root.dirs > maxDirs {
		return nil, errTooMany
	}
	if o.Cache != nil && s.hasher != nil {
		o.Cache.add(o.MaxFile, root)
	}
	return root, nil
}

var errTooMany = fmt.Errorf("more than %d directories with Terraform files", maxDirs)

func (s *scanner) walk(dir string, depth int) (*node, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("directories nested deeper than %d: %.100s…", maxDepth, dir)
	}
	var hash string
	if s.hasher != nil {
		var err error
		if hash, err = s.hasher.TreeHash(dir); err != nil {
			return nil, fmt.Errorf("hash of directory %s: %w", dir, err)
		}
		if n := s.fresh[hash]; n != nil {
			return n, nil
		}
		if n := s.o.Cache.get(s.o.MaxFile, hash); n != nil {
			s.fresh[hash] = n
			return n, nil
		}
	}
	entries, err := fs.ReadDir(s.fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	n := &node{hash: hash}
	job := parseJob{into: &facts{}}
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			if name == ".git" || name == ".terraform" || name == ".terragrunt-cache" {
				continue
			}
			c, err := s.walk(path.Join(dir, name), depth+1)
			if err != nil {
				return nil, err
			}
			n.children = append(n.children, child{name, c})
			n.dirs = min(n.dirs+c.dirs, maxDirs+1)
			continue
		}
		if err := s.file(dir, e, &job); err != nil {
			return nil, err
		}
	}
	if job.into.files > 0 || job.into.versionFile != "" {
		n.facts = job.into
		n.dirs++
		if s.dirs++; s.dirs > maxDirs {
			return nil, errTooMany
		}
	}
	if len(job.files) > 0 {
		select {
		case s.parse <- job:
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
	}
	if hash != "" {
		s.fresh[hash] = n
	}
	return n, nil
}

// file reads one directory entry into the job if it is one that counts.
func (s *scanner) file(dir string, e fs.DirEntry, job *parseJob) error {
	name := e.Name()
	versions := name == ".terraform-version" || name == ".opentofu-version"
	if !versions && !isTerraform(name) {
		return nil
	}
	if !e.Type().IsRegular() {
		if e.Type()&fs.ModeSymlink != 0 && !versions {
			job.into.files++
			job.into.skip(name, 0, 0, nil, "this is a symbolic link, which Plumbline does not follow; put a copy or a module here instead")
		}
		return nil
	}
	full := path.Join(dir, name)
	info, err := e.Info()
	if err != nil {
		return fmt.Errorf("size of %s: %w", full, err)
	}
	limit := s.o.MaxFile
	if versions {
		limit = versionFileMax
	}
	if info.Size() > limit {
		if versions {
			return nil
		}
		job.into.files++
		job.into.skip(name, 0, 0, nil, fmt.Sprintf("this file has %d bytes; Terraform files of more than %d are not read", info.Size(), limit))
		return nil
	}
	data, err := fs.ReadFile(s.fsys, full)
	if err != nil {
		return fmt.Errorf("read %s: %w", full, err)
	}
	if versions {
		job.into.pin(name, string(data))
		return nil
	}
	job.into.files++
	job.files = append(job.files, sourceFile{name, data})
	return nil
}

// isTerraform says whether Terraform or OpenTofu reads a file of this name as configuration. Like them it leaves out
// hidden files and editors' leftovers; tests (.tftest.hcl, .tofutest.hcl) have another ending anyway.
func isTerraform(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") {
		return false
	}
	return strings.HasSuffix(name, ".tf") || strings.HasSuffix(name, ".tofu") || isJSON(name)
}

func isJSON(name string) bool {
	return strings.HasSuffix(name, ".tf.json") || strings.HasSuffix(name, ".tofu.json")
}

// isOverride: files that are merged over the others, and so have the last word.
func isOverride(name string) bool {
	for _, ending := range []string{".tf", ".tofu", ".tf.json", ".tofu.json"} {
		if base, ok := strings.CutSuffix(name, ending); ok {
			return base == "override" || strings.HasSuffix(base, "_override")
		}
	}
	return false
}
