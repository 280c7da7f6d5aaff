package propose_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/plumbline/plumbline/internal/discover"
	"github.com/plumbline/plumbline/internal/propose"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// facts looks at files as the program does.
func facts(t testing.TB, f propose.Facts, files map[string]string) propose.Facts {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	var err error
	if f.Layout, err = discover.Stacks(t.Context(), fsys, discover.Options{}); err != nil {
		t.Fatal(err)
	}
	if f.Traits, err = discover.Survey(t.Context(), fsys, f.Layout.Stacks); err != nil {
		t.Fatal(err)
	}
	if f.Dir == "" {
		f.Dir = "."
	}
	return f
}

// example is what is in one of the repositories that are handed out.
func example(t *testing.T, name string) map[string]string {
	t.Helper()
	files := map[string]string{}
	fsys := os.DirFS("../../examples/aws/" + name)
	err := fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path.Ext(file) != ".tf" {
			return err
		}
		data, err := fs.ReadFile(fsys, file)
		files[file] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// stack is a main.tf with a backend that is written out.
func stack(key string) string {
	return fmt.Sprintf("terraform {\n  required_version = \">= 1.11\"\n  backend \"s3\" {\n    bucket       = \"states\"\n    key          = %q\n    region       = \"eu-west-1\"\n    use_lockfile = true\n  }\n}\nprovider \"aws\" {\n  region = \"eu-west-1\"\n}\n", key)
}

const plain = "resource \"terraform_data\" \"a\" {}\n"

func TestProposals(t *testing.T) {
	branchy := map[string]string{
		"live/net/main.tf": "terraform {\n  required_version = \">= 1.11\"\n  backend \"s3\" {\n    use_lockfile = true\n  }\n}\nprovider \"aws\" {\n  region = \"eu-west-1\"\n}\nvariable \"environment\" {}\nvariable \"cidr\" {}\n",
		"live/db/main.tf":  stack("db.tfstate"),
	}
	for name, c := range map[string]struct {
		facts   propose.Facts
		files   map[string]string
		answers propose.Answers
	}{
		"example of branches": {
			facts: propose.Facts{Remote: "git@gitlab.com:acme/infra.git", Branches: []string{"env/development", "env/staging", "env/production"}},
			files: example(t, "branches"),
		},
		"example of paths":    {facts: propose.Facts{Remote: "git@github.com:acme/infra.git", Branches: []string{"main"}}, files: example(t, "paths")},
		"example of accounts": {facts: propose.Facts{Remote: "codecommit::eu-west-1://accounts", Branches: []string{"main", "production"}}, files: example(t, "accounts")},
		"branches": {
			facts:   propose.Facts{Remote: "git@gitlab.example.com:platform/infra.git", Branches: []string{"main", "env/dev", "env/staging", "env/production", "env/staging"}, Default: "main"},
			files:   branchy,
			answers: propose.Answers{Approvers: []string{"ann", "bob"}, DataDir: "/home/ann/.local/state/plumbline"},
		},
		"paths": {
			facts: propose.Facts{Remote: "https://github.com/acme/infra", Branches: []string{"trunk", "feature/x"}, Default: "trunk"},
			files: map[string]string{
				"live/prod/net/main.tf": stack("prod"), "live/staging/net/main.tf": stack("staging"), "live/dev/net/main.tf": stack("dev"),
				"apps/web/prod/main.tf": stack("web"), "bootstrap/main.tf": plain,
			},
		},
		"one branch": {
			facts: propose.Facts{Remote: "/srv/git/infra.git", Branches: []string{"main"}, Default: "main"},
			files: map[string]string{"net/main.tf": stack("net")},
		},
		"no remote": {
			facts: propose.Facts{Checkout: "/home/ann/my infra"},
			files: map[string]string{"main.tf": plain},
		},
		"branches by name": {
			facts: propose.Facts{Remote: "https://codeberg.org/acme/infra.git", Branches: []string{"main", "staging", "fix"}},
			files: map[string]string{"net/main.tf": plain, "db/main.tf": "resource {"},
		},
		"tofu": {
			facts: propose.Facts{Remote: "ssh://git@git.example.com:2222/~x/infra", Branches: []string{"main"}},
			files: map[string]string{"net/main.tofu": plain},
		},
		"codecommit": {
			facts: propose.Facts{Remote: "https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/accounts", Branches: []string{"main"}},
			files: map[string]string{"environments/red/main.tf": stack("red"), "environments/blue/main.tf": stack("blue")},
		},
		"unknown host": {
			facts: propose.Facts{Remote: "https://ann:hunter2secret@git.example.com/infra/live.git", Branches: []string{"main"}},
			files: map[string]string{"net/main.tf": plain},
		},
		"hostile": {
			facts: propose.Facts{
				Remote:   "https://gitlab.com/a/${env(\"HOME\")}\"b.git",
				Branches: []string{"env/${file(\"/etc/passwd\")}", "env/a\"b", "env/%{if(true)}", "env/e\u0301", "env/\xff", "env/\u202eevil", "main"},
				Default:  "main",
			},
			files: map[string]string{"x/\"}\nenvironment \"evil\" {/main.tf": plain, "${env(\"X\")}/prod/main.tf": plain, "a*[b]{c}/prod/main.tf": "variable \"x\" {}\n"},
		},
		"hostile paths": {
			facts: propose.Facts{Remote: "https://gitlab.com/a/b.git", Branches: []string{"main"}},
			files: map[string]string{"a*[b]{c}/prod/main.tf": plain, "${x}\"/staging/main.tf": plain, "a\nb/dev/main.tf": plain, "a\\b/test/main.tf": plain},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts(t, c.facts, c.files)
			p := propose.Make(f, c.answers)
			var out bytes.Buffer
			if err := p.Tell(&out, f); err != nil {
				t.Fatal(err)
			}
			out.WriteString("\n=== plumbline.hcl ===\n")
			src, err := p.HCL()
			if err != nil {
				fmt.Fprintf(&out, "error: %v\n", err)
			}
			out.Write(src)
			out.WriteString("\n=== next ===\n")
			if err := p.Next(&out, "plumbline.hcl", "."); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.ReplaceAll(name, " ", "-"), out.Bytes())
			if bytes.Contains(out.Bytes(), []byte("hunter2")) {
				t.Error("a password is shown")
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s (-update rewrites it): %v\n%s", file, err, got)
	}
}

func TestForge(t *testing.T) {
	for _, c := range []struct{ remote, answer, want string }{
		{"https://gitlab.com/a/b/c.git", "", "gitlab  a/b/c"},
		{"git@gitlab.com:a/b.git", "", "gitlab  a/b"},
		{"https://gitlab.corp.example:8443/a/b/", "", "gitlab https://gitlab.corp.example:8443 a/b"},
		{"ssh://git@gitlab.corp.example:2222/a/b.git", "", "gitlab https://gitlab.corp.example a/b"},
		{"https://github.com/a/b", "", "github  a/b"},
		{"git@github.com:a/b.git", "", "github  a/b"},
		{"https://github.example.com/a/b", "", "github https://github.example.com a/b"},
		{"https://codeberg.org/a/b", "", "gitea https://codeberg.org a/b"},
		{"https://example.com/gitea/a/b", "gitea", "gitea https://example.com/gitea a/b"},
		{"http://gitea.example.com:3000/a/b", "", "gitea https://gitea.example.com:3000 a/b"},
		{"https://bitbucket.org/a/b.git", "", "bitbucket  a/b"},
		{"https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/x", "", "codecommit eu-west-1 x"},
		{"ssh://git-codecommit.eu-west-1.amazonaws.com/v1/repos/x", "", "codecommit eu-west-1 x"},
		{"codecommit::eu-central-1://profile@x", "", "codecommit eu-central-1 x"},
		{"https://git.example.com/a/b.git", "", "git? https://git.example.com/a b.git"},
		{"https://git.example.com/a/b.git", "gitlab", "gitlab https://git.example.com a/b"},
		{"git@git.example.com:a/b.git", "git", "git ssh://git@git.example.com/a b.git"},
		{"[::1]:a/b", "git", "git ssh://git@[::1]/a b"},
		{"https://mygitlab.evil.example/a/b", "", "git? https://mygitlab.evil.example/a b"}, // a part of a word is no word
		{"https://github.com/just-one", "", "git https://github.com just-one"},
		{"/srv/git/x.git", "", "git file:///srv/git x.git"},
		{"/srv/with space/x%y", "", "git file:///srv/with%20space x%25y"},
		{"file:///srv/git/x.git", "", "git file:///srv/git x.git"},
	} {
		f := propose.Make(propose.Facts{Remote: c.remote}, propose.Answers{Forge: c.answer}).Forge
		kind := f.Kind
		if !f.Known {
			kind += "?"
		}
		if got := fmt.Sprintf("%s %s %s", kind, f.URL+f.Region, f.Project); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.remote, c.answer, got, c.want)
		}
	}
}

func TestNoSecretOfAnAddressIsShown(t *testing.T) {
	for _, address := range []string{
		"https://ann:S3CRET@gitlab.com/a/b.git", "https://S3CRET@github.com/a/b", "https://x:S3CRET@git.example.com/a/b?token=S3CRET#S3CRET",
		"ssh://git:S3CRET@git.example.com/a/b", "https://x:S3CR%45T@codeberg.org/a/b", "https://x:S3CRET@host with spaces/a/b", "ftp://x:S3CRET@host/a", "x:S3CRET@host:a/b",
		"codecommit::eu-west-1://S3CRET@x", "https://x:S3CRET@y@git.example.com/a/b",
	} {
		f := facts(t, propose.Facts{Remote: address, Branches: []string{"main"}, Dir: propose.Shown(address)}, map[string]string{"main.tf": plain})
		p := propose.Make(f, propose.Answers{})
		var out bytes.Buffer
		if err := p.Tell(&out, f); err != nil {
			t.Fatal(err)
		}
		src, err := p.HCL()
		fmt.Fprintf(&out, "%s%v", src, err)
		if strings.Contains(out.String(), "S3CR") {
			t.Errorf("%s: %s", address, out.String())
		}
		if !strings.Contains(address, "codecommit") && !slices.ContainsFunc(propose.Secrets(address), func(s string) bool { return strings.HasPrefix(s, "S3CR") }) {
			t.Errorf("%s: secrets %q", address, propose.Secrets(address))
		}
	}
}

func TestQuestions(t *testing.T) {
	f := facts(t, propose.Facts{Remote: "https://git.example.com/a/b", Branches: []string{"main"}}, map[string]string{"main.tf": plain})
	var a propose.Answers
	for i, c := range []struct{ flag, said, refused string }{
		{"--forge", "gitlub", `"gitlub" is no kind of forge`},
		{"--forge", "gitlab", ""},
		{"--environment", "production", "is not NAME=BRANCH"},
		{"--environment", "Prod=main", "cannot name an environment"},
		{"--environment", "dev=main:dev/** prod=main:prod/**,live/**", ""},
		{"--approver", "ann bob", ""},
	} {
		open := propose.Questions(f, a)
		if len(open) == 0 || !strings.HasPrefix(open[0].Flag, c.flag) {
			t.Fatalf("question %d is %+v, want %s", i, open, c.flag)
		}
		err := open[0].Answer(&a, c.said)
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("answer %q: %v", c.said, err)
		}
	}
	if open := propose.Questions(f, a); len(open) != 0 {
		t.Errorf("still open: %+v", open)
	}
	p := propose.Make(f, a)
	if p.Forge.Kind != "gitlab" || len(p.Environments) != 2 || p.Environments[1].Include[1] != "live/**" || p.Environments[0].Apply != "automatic" || p.Environments[1].Apply != "approval" {
		t.Errorf("%+v", p)
	}
	// Defaults close questions as well.
	a = propose.Answers{}
	for n := 0; ; n++ {
		open := propose.Questions(f, a)
		if len(open) == 0 {
			break
		}
		if err := open[0].Answer(&a, ""); err != nil || n > 5 {
			t.Fatalf("%+v: %v", open[0], err)
		}
	}
}

// FuzzHCL: whatever a repository is called and holds, what is written validates, or there is an error that says why.
func FuzzHCL(f *testing.F) {
	f.Add("https://gitlab.com/a/b", "env/production", "live/prod", "ann", "var", "")
	f.Add("git@host:a/b", "env/${x}", "live/\"prod", "%{if}", "a\nb", "git")
	f.Add("/srv/\x00", "staging", "environments/*/x", "*", "…", "bitbucket")
	f.Add("http://u:p@gitea.x/a/b/c", "env/e\u0301", "dev/\xff", "a/b", "environment", "codecommit")
	f.Fuzz(func(t *testing.T, remote, branch, dir, person, variable, kind string) {
		file := strings.Trim(dir, "/") + "/main.tf"
		fsys := fstest.MapFS{}
		if !strings.Contains(file, "\x00") && filepath.IsLocal(file) && filepath.Clean(file) == file {
			fsys[file] = &fstest.MapFile{Data: []byte("variable \"" + variable + "\" {}\n")}
		}
		facts := propose.Facts{Dir: ".", Remote: remote, Branches: []string{"main", branch}, Checkout: "/" + dir}
		layout, err := discover.Stacks(t.Context(), fsys, discover.Options{})
		if err != nil {
			t.Skip(err)
		}
		facts.Layout = layout
		if facts.Traits, err = discover.Survey(t.Context(), fsys, layout.Stacks); err != nil {
			t.Skip(err)
		}
		facts.Traits = append(facts.Traits, discover.Traits{Dir: dir, Needs: []string{variable}, Backend: discover.Backend{Kind: "s3", Region: variable},
			Providers: []discover.Provider{{Source: "hashicorp/aws", Version: variable, Region: dir}}})
		a := propose.Answers{Forge: kind, DataDir: "/" + dir}
		if person != "" {
			a.Approvers = []string{person}
		}
		p := propose.Make(facts, a)
		src, err := p.HCL() // parses, validates, compares
		if err != nil && err.Error() == "" || err == nil && len(src) == 0 {
			t.Fatalf("neither a configuration nor a reason: %v", err)
		}
		// With nothing of a stranger's but the tree and its branches, there is always one.
		own := facts
		own.Remote = "https://gitlab.com/a/b"
		if src, err := propose.Make(own, propose.Answers{}).HCL(); err != nil && !strings.Contains(err.Error(), "branch") {
			t.Fatalf("%v\n%s", err, src)
		}
		var out bytes.Buffer
		if err := p.Tell(&out, facts); err != nil {
			t.Fatal(err)
		}
		if err := p.Next(&out, "plumbline.hcl", "."); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexFunc(out.String(), func(c rune) bool { return c < ' ' && c != '\n' || c == '\u202e' }); i >= 0 {
			t.Fatalf("a terminal would obey this: %q", out.String()[i:])
		}
	})
}
