package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// archive is a test in one file: *.hcl are the configuration, "environ" the environment, "aws" what AWS keeps ("secret NAME=VALUE", "parameter NAME=VALUE"), "want" what comes of it, others are for file().
type archive struct {
	path  string
	txtar *txtar.Archive
	files map[string][]byte
	want  string
	sys   config.System
}

func archives(t testing.TB, pattern string) []archive {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var out []archive
	for _, path := range paths {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, open(path, ar))
	}
	return out
}

func open(file string, ar *txtar.Archive) archive {
	a := archive{path: file, txtar: ar, files: map[string][]byte{}}
	environ, others, kept := map[string]string{}, fstest.MapFS{}, map[string]string{}
	for _, f := range ar.Files {
		switch {
		case f.Name == "want":
			a.want = string(f.Data)
		case f.Name == "environ":
			for _, line := range strings.Split(strings.TrimSpace(string(f.Data)), "\n") {
				name, value, _ := strings.Cut(line, "=")
				environ[name] = value
			}
		case f.Name == "aws":
			for _, line := range strings.Split(strings.TrimSpace(string(f.Data)), "\n") {
				name, value, _ := strings.Cut(line, "=")
				kept[name] = value
			}
		case strings.HasSuffix(f.Name, ".hcl"):
			a.files[f.Name] = f.Data
		default:
			others[path("/etc/plumbline/"+f.Name)] = &fstest.MapFile{Data: f.Data}
		}
	}
	a.sys = config.System{
		Dir:      "/etc/plumbline",
		CPUs:     2,
		Hostname: "Build-1.example.com",
		Getenv: func(name string) (string, bool) {
			v, ok := environ[name]
			return v, ok
		},
		ReadFile: func(name string) ([]byte, error) { return others.ReadFile(path(name)) },
		Stat:     func(name string) (fs.FileInfo, error) { return others.Stat(path(name)) },
	}
	if len(kept) > 0 {
		ask := func(what string) func(string) (string, error) {
			return func(name string) (string, error) {
				v, ok := kept[what+" "+name]
				delete(kept, what+" "+name) // asked for once
				if !ok {
					return "", fmt.Errorf("there is no %s %q in eu-west-1; make it", what, name)
				}
				return v, nil
			}
		}
		a.sys.AWSSecret, a.sys.AWSParameter = ask("secret"), ask("parameter")
	}
	return a
}

// path is an absolute one as fs.FS names it.
func path(name string) string { return strings.TrimPrefix(filepath.Clean(name), "/") }

// golden compares with the archive's want, or rewrites it.
func (a archive) golden(t *testing.T, got string) {
	t.Helper()
	if !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	if got == a.want {
		return
	}
	if !*update {
		t.Fatalf("%s: got\n%s\nwant\n%s", a.path, got, a.want)
	}
	var files []txtar.File
	for _, f := range a.txtar.Files {
		if f.Name != "want" {
			files = append(files, f)
		}
	}
	files = append(files, txtar.File{Name: "want", Data: []byte(got)})
	a.txtar.Files = files
	if err := os.WriteFile(a.path, txtar.Format(a.txtar), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBroken(t *testing.T) {
	all := archives(t, "testdata/broken/*.txtar")
	if len(all) < 30 {
		t.Fatalf("only %d broken configurations", len(all))
	}
	for _, a := range all {
		t.Run(filepath.Base(a.path), func(t *testing.T) {
			_, err := config.Parse(a.files, a.sys)
			if err == nil {
				t.Fatal("accepted")
			}
			if !errors.Is(err, plumbline.ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			places(t, err, a.files)
			a.golden(t, err.Error())
		})
	}
}

// places checks that every mistake names a place that exists.
func places(t *testing.T, err error, files map[string][]byte) {
	t.Helper()
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("%T %v is not a list of mistakes", err, err)
	}
	for _, p := range errs {
		src, ok := files[p.File]
		lines := strings.Count(string(src), "\n") + 1
		if !ok || p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
			t.Fatalf("%#v has no place; %d lines", p, lines)
		}
	}
}

func TestGood(t *testing.T) {
	all := archives(t, "testdata/good/*.txtar")
	if len(all) < 4 {
		t.Fatalf("only %d good configurations", len(all))
	}
	for _, a := range all {
		t.Run(filepath.Base(a.path), func(t *testing.T) {
			cfg, err := config.Parse(a.files, a.sys)
			if err != nil {
				t.Fatal(err)
			}
			a.golden(t, view(t, cfg))
		})
	}
}

// view is a configuration as JSON, then the values that JSON does not show, with secrets masked.
func view(t *testing.T, cfg *config.Config) string {
	t.Helper()
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range cfg.Secrets {
		if strings.Contains(string(b), secret) {
			t.Errorf("JSON holds the secret %q", secret)
		}
	}
	var out strings.Builder
	out.Write(b)
	out.WriteByte('\n')
	show := func(what, name string, v plumbline.Secret, sensitive any) {
		s := v.Reveal()
		for _, secret := range cfg.Secrets {
			s = strings.ReplaceAll(s, secret, plumbline.Masked)
		}
		fmt.Fprintf(&out, "%s %s = %s, sensitive: %v\n", what, name, s, sensitive)
	}
	for _, r := range cfg.Repositories {
		for _, e := range r.Environments {
			for _, v := range e.Vars {
				show(e.Key()+" var", v.Name, v.JSON, len(v.Sensitive))
			}
			for _, v := range e.Backend {
				show(e.Key()+" backend", v.Name, v.JSON, len(v.Sensitive))
			}
			for _, v := range e.Env {
				show(e.Key()+" env", v.Name, v.Value, v.Sensitive)
			}
		}
	}
	fmt.Fprintf(&out, "%d secrets\n", len(cfg.Secrets))
	return out.String()
}

// TestLoad reads a directory from disk, with relative names, a hidden file and a file beside it.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"10-server.hcl":      `server { data_dir = "data" }`,
		"20-git.hcl":         "forge \"git\" \"local\" {\n  url = trimspace(file(\"url.txt\"))\n}",
		".plumbline.hcl":     "broken {",
		"readme.md":          "broken {",
		"url.txt":            "file:///srv/git\n",
		"sub.hcl/ignored.md": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Dir(dir))
	cfg, err := config.Load(filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	// A temporary directory may be behind a symbolic link.
	got, err := filepath.EvalSymlinks(filepath.Dir(cfg.Server.DataDir))
	if err != nil {
		got = filepath.Dir(cfg.Server.DataDir)
	}
	if want, err := filepath.EvalSymlinks(dir); err != nil || got != want || !filepath.IsAbs(cfg.Server.DataDir) {
		t.Errorf("data_dir %s is not in %s", cfg.Server.DataDir, want)
	}
	if f, ok := cfg.Forge("local"); !ok || f.URL != "file:///srv/git" {
		t.Errorf("forge %+v", f)
	}
	want := []string{filepath.Join(filepath.Base(dir), "10-server.hcl"), filepath.Join(filepath.Base(dir), "20-git.hcl")}
	if fmt.Sprint(cfg.Files) != fmt.Sprint(want) {
		t.Errorf("files %v, want %v", cfg.Files, want)
	}
	if !config.ValidName(cfg.Server.Node) || cfg.Server.Workers < 1 {
		t.Errorf("defaults of the machine: %+v", cfg.Server)
	}

	one, err := config.Load(filepath.Join(dir, "10-server.hcl"))
	if err != nil || len(one.Forges) != 0 || len(one.Files) != 1 {
		t.Errorf("one file: %+v, %v", one, err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Load(filepath.Join(dir, "none.hcl")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := config.Load(dir); err == nil || !strings.Contains(err.Error(), "has no *.hcl files") {
		t.Errorf("empty directory: %v", err)
	}
}

// TestExample loads the example that the documentation points to.
func TestExample(t *testing.T) {
	t.Setenv("GITEA_TOKEN", "planted-token")
	cfg, err := config.Load("../../examples/plumbline.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range cfg.Repositories {
		for _, e := range r.Environments {
			got = append(got, fmt.Sprintf("%s %s %s", e.Key(), e.Branch, e.Apply))
		}
	}
	want := []string{"infra/staging env/staging automatic", "infra/production env/production approval"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("environments %v, want %v", got, want)
	}
	if len(cfg.Secrets) != 1 || cfg.Forges[0].Token.Reveal() != "planted-token" {
		t.Error("the token was not read from the environment")
	}
}

// TestExamples loads every other configuration that we hand out.
func TestExamples(t *testing.T) {
	want := map[string][]string{
		"../../examples/aws/branches/plumbline.hcl": {"infra/development env/development automatic", "infra/staging env/staging approval", "infra/production env/production approval"},
		"../../examples/aws/paths/plumbline.hcl":    {"infra/development main automatic", "infra/staging main automatic", "infra/production main approval"},
		"../../examples/aws/accounts/plumbline.hcl": {"accounts/development main automatic", "accounts/production production approval"},
		"../../deploy/compose/plumbline.hcl":        {"infra/production env/production approval"},
	}
	for file, environments := range want {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Parse(map[string][]byte{file: text}, config.System{
			Getenv: func(name string) (string, bool) {
				if strings.HasSuffix(name, "_ISSUER") {
					return "https://sso.example.com", true
				}
				return "planted-" + name, true
			},
			ReadFile: func(name string) ([]byte, error) {
				if !strings.HasPrefix(name, "/run/secrets/") {
					return nil, fs.ErrNotExist
				}
				return []byte("planted-password\n"), nil
			},
			Stat: os.Stat,
		})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		var got []string
		for _, r := range cfg.Repositories {
			for _, e := range r.Environments {
				got = append(got, fmt.Sprintf("%s %s %s", e.Key(), e.Branch, e.Apply))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(environments) {
			t.Errorf("%s: environments %q, want %q", file, got, environments)
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "0": true, "env-1.x_y": true, strings.Repeat("a", 63): true,
		"": false, "A": false, "-a": false, ".a": false, "_a": false, "a/b": false, "a b": false, "é": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if got := config.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

// TestBranchesLikeGit holds the rule for branches against git's own.
func TestBranchesLikeGit(t *testing.T) {
	for _, name := range []string{
		"main", "env/production", "a.b", "a@b", "ünïcode", "a{b", "a-", "@@", "x/@", "a'b", `a"b`, "a;b", "a$b", "release/1.2",
		"-a", "a..b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "/a", "a/", "a//b", "a b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", `a\b`, "a@{b", "@", "HEAD", "a\x7fb", "a\tb",
	} {
		git := exec.Command("git", "check-ref-format", "--branch", name).Run() == nil
		src := fmt.Sprintf("forge \"git\" \"g\" {\n  url = \"file:///srv\"\n}\nrepository \"r\" {\n  forge = \"g\"\n  project = \"p\"\n  environment \"e\" {\n    branch = jsondecode(%s)\n    apply = \"never\"\n  }\n}\n",
			hclQuote(t, name))
		_, err := config.Parse(map[string][]byte{"c.hcl": []byte(src)}, config.System{})
		if (err == nil) != git {
			t.Errorf("branch %q: git accepts it: %v, but: %v", name, git, err)
		}
	}
}

// hclQuote writes a text so that jsondecode() gives it back whatever is in it.
func hclQuote(t *testing.T, s string) string {
	t.Helper()
	inner, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := json.Marshal(string(inner))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(string(outer))
}
