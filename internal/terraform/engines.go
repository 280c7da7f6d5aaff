// Package terraform finds an engine, runs its commands in a directory.
//
// An engine is the program that plans: Terraform or OpenTofu. terraform-exec runs what changes something (workspaces, apply).
// What only reads (init, plan, show) is run from here, because terraform-exec asks the program for its version once in every
// process that uses it, an eighth of the work of a small plan, and holds the whole output of show in memory.
package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The names of the engines, as in the configuration and on PATH.
const (
	Terraform = "terraform"
	Tofu      = "tofu"
)

// The ways to come to an engine.
const (
	InstallAuto = "auto" // PATH, then a verified download (Terraform only)
	InstallPath = "path" // only what is on PATH
)

// versionTimeout is how long a program may take to tell its version before it counts as broken.
const versionTimeout = 20 * time.Second

// EnginesConfig says where engines come from.
type EnginesConfig struct {
	Default        plumbline.EngineRef // for what a stack leaves open; name default "terraform", constraint default any
	Install        string              // InstallAuto (default) or InstallPath
	Dir            string              // downloads are kept in Dir/terraform/VERSION; "": none
	ProviderMirror string              // unpacked filesystem mirror of providers; "": none
	Path           string              // directories to search, as in PATH; default the PATH of this process
	Timeout        time.Duration       // of a download; default a minute. A machine without network takes 15 s to notice
}

// Engines finds programs. It asks each for its version once, again only when the file has changed.
type Engines struct {
	c EnginesConfig

	mu    sync.Mutex
	known map[fileID]string // versions

	installing sync.Mutex // one download at a time: the second one finds what the first brought

	// A test's own release server.
	releases  string
	publicKey string
}

// fileID is the same as long as a program is.
type fileID struct {
	path string
	ino  uint64
	size int64
	time time.Time
}

// Binary is a program with what it says it is.
type Binary struct {
	Path    string // absolute
	Name    string // "terraform" or "tofu"
	Version string // "1.11.4"
}

// NewEngines returns a finder. It looks at nothing yet.
func NewEngines(c EnginesConfig) *Engines {
	if c.Default.Name == "" {
		c.Default.Name = Terraform
	}
	if c.Install == "" {
		c.Install = InstallAuto
	}
	if c.Path == "" {
		c.Path = os.Getenv("PATH")
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	return &Engines{c: c, known: map[fileID]string{}}
}

// ProviderMirror is the configured mirror, "" for none.
func (e *Engines) ProviderMirror() string { return e.c.ProviderMirror }

// MissingError says that no program satisfies what a stack wants. The stack's name goes before its text.
type MissingError struct {
	Want    plumbline.EngineRef
	Found   []Binary // what is there, but of another version
	Install string   // the mode in force
	Err     error    // why the download failed, or a program could not be asked; nil otherwise
}

func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wants %s", e.Want.Name)
	if e.Want.Constraint != "" {
		fmt.Fprintf(&b, " %s", e.Want.Constraint)
	}
	b.WriteString("; found ")
	if len(e.Found) == 0 {
		b.WriteString("none")
	}
	for i, f := range e.Found {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s (%s)", f.Name, f.Version, f.Path)
	}
	switch {
	case e.Err != nil:
		fmt.Fprintf(&b, "; %v", e.Err)
	case e.Install == InstallPath:
		b.WriteString(`; install = "path" forbids a download`)
	case e.Want.Name != Terraform:
		fmt.Fprintf(&b, "; there is no download of %s, it has to be on PATH", e.Want.Name)
	}
	return b.String()
}

func (e *MissingError) Unwrap() error { return e.Err }

// Find returns the first program on PATH that satisfies ref, else the newest one downloaded earlier, else downloads one. The
// error is a *MissingError when there is none, or the context's.
func (e *Engines) Find(ctx context.Context, ref plumbline.EngineRef) (Binary, error) {
	if ref.Name == "" {
		ref.Name = e.c.Default.Name
	}
	if ref.Constraint == "" && ref.Name == e.c.Default.Name {
		ref.Constraint = e.c.Default.Constraint
	}
	if ref.Name != Terraform && ref.Name != Tofu {
		return Binary{}, &MissingError{Want: ref, Install: e.c.Install, Err: fmt.Errorf(`the engine is "terraform" or "tofu", not %q`, ref.Name)}
	}
	var want version.Constraints
	if ref.Constraint != "" {
		var err error
		if want, err = version.NewConstraint(ref.Constraint); err != nil {
			return Binary{}, &MissingError{Want: ref, Install: e.c.Install, Err: fmt.Errorf("this is no version constraint: %w", err)}
		}
	}

	miss := &MissingError{Want: ref, Install: e.c.Install}
	var broken []error
	look := func(paths []string) (Binary, bool) {
		for _, p := range paths {
			b, err := e.ask(ctx, ref.Name, p)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				broken = append(broken, err)
			case satisfies(b.Version, want):
				return b, true
			default:
				miss.Found = append(miss.Found, b)
			}
		}
		return Binary{}, false
	}
	if b, ok := look(e.onPath(ref.Name)); ok {
		return b, nil
	}
	if ref.Name == Terraform && e.c.Install == InstallAuto && e.c.Dir != "" {
		if b, ok := look(e.downloaded()); ok {
			return b, nil
		}
		if ctx.Err() == nil {
			b, err := e.install(ctx, ref.Constraint, want)
			if err == nil {
				return b, nil
			}
			broken = append(broken, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return Binary{}, fmt.Errorf("find %s: %w", ref.Name, err)
	}
	miss.Err = errors.Join(broken...)
	return Binary{}, miss
}

func satisfies(have string, want version.Constraints) bool {
	v, err := version.NewVersion(have)
	return err == nil && want.Check(v)
}

func (e *Engines) onPath(name string) []string {
	var paths []string
	for _, dir := range filepath.SplitList(e.c.Path) {
		// A relative entry would make the program depend on where the daemon was started.
		if filepath.IsAbs(dir) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return slices.Compact(paths)
}

// downloaded returns the programs downloaded earlier, newest version first.
func (e *Engines) downloaded() []string {
	paths, err := filepath.Glob(filepath.Join(e.c.Dir, Terraform, "*", Terraform))
	if err != nil {
		return nil // the directory's own name is a bad pattern: nothing can be found there
	}
	number := func(p string) *version.Version {
		v, err := version.NewVersion(filepath.Base(filepath.Dir(p)))
		if err != nil {
			v, _ = version.NewVersion("0")
		}
		return v
	}
	slices.SortFunc(paths, func(a, b string) int { return number(b).Compare(number(a)) })
	return paths
}

// ask returns what the program at path is. fs.ErrNotExist: there is no program.
func (e *Engines) ask(ctx context.Context, name, path string) (Binary, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return Binary{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	id := fileID{path: path, size: info.Size(), time: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.ino = st.Ino
	}
	// Asking takes 40 ms, so that all wait for the one who does it.
	e.mu.Lock()
	defer e.mu.Unlock()
	v, ok := e.known[id]
	if !ok {
		if v, err = askVersion(ctx, path); err != nil {
			return Binary{}, err
		}
		e.known[id] = v
	}
	return Binary{Path: path, Name: name, Version: v}, nil
}

func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version", "-json")
	cmd.Dir = filepath.Dir(path)
	cmd.Env = []string{"PATH=" + minimalPath, "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=" + os.DevNull}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	var said struct {
		Version string `json:"terraform_version"` // OpenTofu kept the name
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	if _, err := version.NewVersion(said.Version); err != nil {
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	return said.Version, nil
}
