// Package git keeps a bare mirror of each repository, from which it answers questions about commits.
//
// The listing of a remote's refs needs no clone; only refs that moved are fetched, each at the commit the caller saw. The
// mirror holds no credentials: they are handed to each connection. Its own refs are named after a hash of the remote's,
// so that "a" may be deleted and "a/b" created, and no name a remote can think of becomes a path here.
//
// Nothing is ever removed from a mirror: a commit that was fetched once stays readable after a force-push. Deleting the
// mirror's directory while no process uses it is safe, it is fetched again.
package git

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config is where mirrors live, with the limits on what is read from them.
type Config struct {
	Dir        string // mirrors are Dir/<name>.git; created 0700
	MaxFile    int64  // bytes; a larger file is neither read nor laid out; default 64 MiB
	CacheBytes int64  // inflated objects kept in memory for each repository; default 64 MiB
	Cache      *Cache // one memory for several repositories; default: one of its own, of CacheBytes
	Git        string // program for merges; default "git" from PATH
}

const (
	defaultMaxFile    = 64 << 20
	defaultCacheBytes = 64 << 20
)

// Cache keeps the objects that were inflated last. It is safe for concurrent use.
type Cache struct{ lru cache.Object }

// NewCache returns a cache of that many bytes.
func NewCache(bytes int64) *Cache {
	return &Cache{cache.NewObjectLRU(cache.FileSize(bytes))}
}

// Repo is a mirror of one repository. Its methods are safe for concurrent use; other processes may use the same mirror.
type Repo struct {
	name    string
	dir     string
	maxFile int64
	program string
	remote  remote
	objects objects

	listing sync.Mutex
	listed  map[string]bool // mirror refs that the last listing accounts for; nil before the first
}

// Open returns the mirror of a repository, creating it empty when it is not there. It does not connect.
func Open(c Config, name string, r Remote) (*Repo, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	rem, err := r.parse(name)
	if err != nil {
		return nil, err
	}
	if c.MaxFile <= 0 {
		c.MaxFile = defaultMaxFile
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.Cache == nil {
		c.Cache = NewCache(c.CacheBytes)
	}
	if c.Git == "" {
		c.Git = "git"
	}
	root, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name+".git")
	if err := create(dir); err != nil {
		return nil, fmt.Errorf("create the mirror of %s: %w", name, err)
	}
	return &Repo{
		name: name, dir: dir, maxFile: c.MaxFile, program: c.Git, remote: rem,
		objects: objects{dir: dir, cache: c.Cache.lru},
	}, nil
}

// Close gives back open files. The Repo stays usable.
func (r *Repo) Close() error { return r.objects.close() }

// Has reports whether the commit, with all its history, is in the mirror.
func (r *Repo) Has(commit string) bool {
	h, err := parseHash(commit)
	if err != nil {
		return false
	}
	_, err = r.objects.commit(h)
	return err == nil
}

// Tree returns the hash of a commit's tree, which is the same for commits with the same files.
func (r *Repo) Tree(commit string) (string, error) {
	h, err := r.tree(commit)
	if err != nil {
		return "", err
	}
	return h.String(), nil
}

// tree resolves a commit, tree or tag to a tree.
func (r *Repo) tree(treeish string) (plumbing.Hash, error) {
	h, err := parseHash(treeish)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	t, err := r.objects.peel(h)
	if err != nil {
		return plumbing.ZeroHash, r.missing(treeish, err)
	}
	return t, nil
}

// missing names the object that an error is about, and gives its absence the kind that callers branch on.
func (r *Repo) missing(hash string, err error) error {
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return fmt.Errorf("commit %s is not in the mirror of %s: %w", plumbline.Short(hash), r.name, plumbline.ErrNotFound)
	}
	return fmt.Errorf("read %s in the mirror of %s: %w", plumbline.Short(hash), r.name, err)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`)

// ValidName reports whether a repository's name can stand in a path: letters, digits, "_", "-" and ".", the first none of
// the last two, at most 100.
func ValidName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf(`repository name %q: use 1 to 100 letters, digits, "_", "-" or ".", beginning with a letter, digit or "_": %w`, name, plumbline.ErrInvalid)
	}
	return nil
}

var hashForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

func parseHash(s string) (plumbing.Hash, error) {
	if !hashForm.MatchString(s) {
		return plumbing.ZeroHash, fmt.Errorf("%.60q is not a full commit hash: %w", s, plumbline.ErrInvalid)
	}
	return plumbing.NewHash(s), nil
}

// create makes an empty bare repository. It is made beside its place then renamed, so that of two processes that create
// the same one, neither sees half of it.
func create(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // gone already when the rename went well; litter at worst
	st := filesystem.NewStorage(osfs.New(temp), cache.NewObjectLRU(0))
	repo, err := gogit.Init(st, nil)
	if err != nil {
		return err
	}
	conf, err := repo.Config()
	if err != nil {
		return err
	}
	conf.Raw.SetOption("gc", "", "auto", "0") // commits that no ref names any more are still asked for
	if err := repo.SetConfig(conf); err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		if errors.Is(err, fs.ErrExist) { // another process was first
			return nil
		}
		return err
	}
	return nil
}
