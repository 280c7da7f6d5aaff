// Package config turns an operator's HCL into settings or into diagnostics that name file, line, remedy.
//
// It walks hclsyntax itself instead of decoding with gohcl: gohcl stops at the first wrong type of a block, loses the place of every
// value it has decoded, and knows neither secrets nor which names are blocks. What is not in force in this version is refused, never
// skipped: a policy that an operator believes in and nobody keeps is worse than none.
package config

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Config is what the operator asked for, checked, with every default filled in.
type Config struct {
	Server       Server
	Terraform    Terraform
	Forges       []Forge
	Repositories []plumbline.Repository
	Notify       []Notify `json:",omitempty"`
	Access       plumbline.Access
	OIDC         *OIDC    // nil: nobody signs in but by this machine's token
	Secrets      []string `json:"-"` // every secret value that was met, the longest first, for masking
	Files        []string // the configuration files that were read, sorted
}

// Server is how this node of the daemon runs.
type Server struct {
	Listen            string // host:port, on loopback unless there is a sign-in
	PublicURL         string // absolute, without a slash at the end; "" when it is not set and the port is 0
	DataDir           string
	Database          string // "sqlite:PATH" or a postgres:// URL, which may hold a password
	Workers           int    // concurrent Terraform processes on this node
	DriftWorkers      int    // how many of them at most compare reality with Git
	EncryptionKeyFile string
	Node              string // name of this node among those that share the database

	EncryptionKey string  `json:",omitempty"` // of AWS KMS, in place of the file
	Artifacts     *Bucket `json:",omitempty"` // nil: in DataDir
}

// String describes the settings without the database's password.
func (s Server) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// MarshalJSON encodes the settings without the database's password.
func (s Server) MarshalJSON() ([]byte, error) {
	type plain Server // without this method, which would call itself
	p := plain(s)
	if !strings.HasPrefix(s.Database, "sqlite:") {
		for _, secret := range addressSecrets(s.Database) {
			p.Database = strings.ReplaceAll(p.Database, secret, plumbline.Masked)
		}
	}
	return json.Marshal(p)
}

// Terraform says which engine runs the stacks and where it comes from.
type Terraform struct {
	Engine         string // "terraform" or "tofu"
	Version        string // constraint for stacks that name none; "": any
	Install        string // "auto": PATH, then a verified download; "path": only PATH
	ProviderMirror string // directory of an unpacked filesystem mirror; "": the registries
}

// Forge is a service that hosts Git, or a bare Git remote.
type Forge struct {
	Kind       string // one of Kinds
	Name       string
	URL        string           // without a slash at the end; codecommit has none
	Token      plumbline.Secret // for the API and for Git
	App        *App             // github: in place of a token
	Region     string           // codecommit
	Queue      string           // codecommit: URL of the SQS queue with its events; "": none
	Approves   bool             // codecommit: a good plan is shown as an approval
	Webhook    plumbline.Secret // of the forge's webhooks; empty: none are taken
	Username   string
	Password   plumbline.Secret // git: over ssh, the passphrase of the key
	SSHKey     string           // path of a private key; ssh always has one
	KnownHosts string           // path; "": those of the user that runs Plumbline
	Notes      bool             // git: push git notes
}

// App is a GitHub App.
type App struct {
	ID           int64
	Installation int64  // 0: the one of each repository
	KeyFile      string // path of its private key
}

// Forge returns the forge with that name.
func (c *Config) Forge(name string) (Forge, bool) {
	for _, f := range c.Forges {
		if f.Name == name {
			return f, true
		}
	}
	return Forge{}, false
}

// Repository returns the repository with that name.
func (c *Config) Repository(name string) (plumbline.Repository, bool) {
	for _, r := range c.Repositories {
		if r.Name == name {
			return r, true
		}
	}
	return plumbline.Repository{}, false
}

// ValidName reports whether s may name a repository, an environment, a forge or a node: 1 to 63 of a-z, 0-9, ".", "_" and "-", the first
// a letter or digit. Such a name is safe as a path component, in a URL and in a label of a metric.
func ValidName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

const (
	defaultDataDir = "/var/lib/plumbline"
	// maxFile is far above any real configuration. It keeps a file that was named by mistake, or made of brackets only, from
	// exhausting the parser's stack.
	maxFile = 1 << 20
)

// Load reads a file, or a directory of *.hcl files as one, on this machine; with says what else there is to ask. Mistakes in them come back as Errors.
func Load(path string, with ...func(*System)) (*Config, error) {
	names := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if info.IsDir() {
		if names, err = inDirectory(path); err != nil {
			return nil, err
		}
	}
	files := make(map[string][]byte, len(names))
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this node: %w", err)
	}
	sys := System{
		Getenv:   os.LookupEnv,
		ReadFile: os.ReadFile,
		Stat:     os.Stat,
		Dir:      dir,
		CPUs:     runtime.NumCPU(),
		Hostname: host,
	}
	for _, f := range with {
		f(&sys)
	}
	return Parse(files, sys)
}

// inDirectory lists the *.hcl files of a directory. Hidden ones are left out: .plumbline.hcl belongs to a repository, and Kubernetes
// keeps the versions of a mounted ConfigMap in hidden directories.
func inDirectory(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".hcl") && !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read the configuration: %s has no *.hcl files; write %s", dir, filepath.Join(dir, "plumbline.hcl"))
	}
	return names, nil
}

// System is what a configuration asks of the machine that it is read on.
type System struct {
	Getenv   func(name string) (value string, set bool) // nil: no variable is set
	ReadFile func(path string) ([]byte, error)          // for file(); nil: there are no files
	Stat     func(path string) (fs.FileInfo, error)     // for directories of policies; nil: there are none
	// AWSSecret and AWSParameter ask AWS for a secret of Secrets Manager and a parameter of the Parameter Store; nil: AWS cannot be asked. Their errors hold
	// no secrets.
	AWSSecret    func(id string) (string, error)
	AWSParameter func(name string) (string, error)
	Dir          string // where relative names of configuration files start; "": they are left relative
	CPUs         int    // default number of workers
	Hostname     string // default name of the node
}

// Parse reads the contents of configuration files, by name, as one configuration. Mistakes come back as Errors, all at once.
func Parse(files map[string][]byte, sys System) (*Config, error) {
	if sys.Getenv == nil {
		sys.Getenv = func(string) (string, bool) { return "", false }
	}
	if sys.ReadFile == nil {
		sys.ReadFile = func(name string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
	}
	if sys.Stat == nil {
		sys.Stat = func(name string) (fs.FileInfo, error) {
			return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
		}
	}
	r := newReader(files, sys)
	cfg := r.read()
	if errs := r.errors(); len(errs) > 0 {
		return nil, errs
	}
	cfg.Secrets = r.secretValues()
	for name := range files {
		cfg.Files = append(cfg.Files, name)
	}
	sort.Strings(cfg.Files)
	return cfg, nil
}
