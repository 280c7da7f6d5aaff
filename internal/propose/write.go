package propose

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// tokens are the environment variables that hold the forges' tokens.
var tokens = map[string]string{"gitlab": "GITLAB_TOKEN", "github": "GITHUB_TOKEN", "gitea": "GITEA_TOKEN", "bitbucket": "BITBUCKET_TOKEN"}

// Variable is the environment variable that the written configuration reads a secret from; "": it needs none.
func (f Forge) Variable() string {
	if f.Kind == "git" && f.Password {
		return "GIT_PASSWORD"
	}
	return tokens[f.Kind]
}

// HCL writes the proposal down. What it returns was read back by internal/config and means what was proposed; if not, the error says what could not
// be written.
func (p Proposal) HCL() ([]byte, error) {
	src := p.text()
	cfg, err := config.Parse(map[string][]byte{"plumbline.hcl": src}, config.System{
		CPUs:   1,
		Getenv: func(string) (string, bool) { return "set where Plumbline is started", true },
	})
	if err != nil {
		return nil, fmt.Errorf("what was found does not make a configuration that is valid:\n%w", err)
	}
	if err := p.same(cfg); err != nil {
		return nil, err
	}
	return src, nil
}

// same compares what was read back with what was meant.
func (p Proposal) same(cfg *config.Config) error {
	repo, ok := cfg.Repository(p.Repository)
	if !ok || repo.Project != p.Forge.Project || len(repo.Environments) != len(p.Environments) {
		return errors.New("the repository's name cannot be written in plumbline.hcl")
	}
	for i, e := range p.Environments {
		got := repo.Environments[i]
		if got.Name != e.Name || got.Branch != e.Branch || !slices.Equal(got.Include, e.Include) || got.Apply != e.Apply {
			return fmt.Errorf("environment %q cannot be written in plumbline.hcl: its branch or its directories have a name that a configuration cannot hold", e.Name)
		}
	}
	return nil
}

// A writer collects lines; their indentation is left to the formatter.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// comment writes what may hold anything: it stays on its line.
func (w *writer) comment(format string, args ...any) {
	w.line("# %s", diff.Clean(fmt.Sprintf(format, args...)))
}

// quote writes a string as HCL has it, so that it means itself.
func quote(s string) string { return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes()) }

func quoteAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func (p Proposal) text() []byte {
	w := &writer{}
	w.comment("Written by `plumbline init`. `plumbline validate` checks it, `plumbline serve` keeps it. It belongs to whoever runs Plumbline: nothing in it is")
	w.comment("ever read from the repository that it is about, and no secret stands in it.")
	w.line("")
	if len(p.Notes) > 0 {
		w.comment("To know:")
		for _, n := range p.Notes {
			w.comment("- %s", n)
		}
		w.line("")
	}
	if p.DataDir != "" {
		w.line("server {")
		w.line("data_dir = %s # SQLite, sealed plans and logs; keep it out of the checkout", quote(p.DataDir))
		w.line("# public_url = \"https://plumbline.example.com\" # what links on merge requests begin with; needs a sign-in: auth { oidc { … } }")
		w.line("}")
		w.line("")
	}
	p.writeEngine(w)
	p.writeForge(w)
	p.writeAccess(w)
	w.line("repository %s {", quote(p.Repository))
	w.line("forge = %s", quote(p.Forge.Kind))
	w.line("project = %s", quote(p.Forge.Project))
	for i, e := range p.Environments {
		w.line("")
		p.writeEnvironment(w, i, e)
	}
	w.line("}")
	return hclwrite.Format([]byte(w.String()))
}

func (p Proposal) writeEngine(w *writer) {
	if p.Engine != "tofu" && !p.NoVersion {
		return
	}
	w.line("terraform {")
	if p.Engine == "tofu" {
		w.comment("%s.", sentence(p.EngineWhy))
		w.line("engine = \"tofu\"")
	}
	if p.NoVersion {
		w.comment("Some stacks ask for no version themselves: they run with whatever there is, unless it is said here.")
		w.line("# version = \"~> 1.11\"")
	}
	w.line("}")
	w.line("")
}

func (p Proposal) writeForge(w *writer) {
	f := p.Forge
	if !f.Known {
		w.comment("Nothing in the address says what kind of forge this is. A Git remote without an API works with every one, without notes on merge requests; for")
		w.comment("those make it \"gitlab\", \"github\" or \"gitea\", with a token: docs/forges.md.")
	}
	if f.Unread {
		w.comment("Fill in: this is only an example, and so is project below.")
	}
	w.line("forge %s %s {", quote(f.Kind), quote(f.Kind))
	if f.URL != "" {
		w.line("url = %s", quote(f.URL))
	}
	if f.Region != "" {
		w.line("region = %s", quote(f.Region))
	}
	if name := tokens[f.Kind]; name != "" {
		w.line("token = env(%s) # may read code, write comments and commit statuses: docs/forges.md", quote(name))
	}
	if f.Kind == "git" && f.Password {
		w.line("username = \"git\" # the address had a name in it: put it here")
		w.line("password = env(\"GIT_PASSWORD\")")
	}
	if f.SSH {
		w.line("ssh_key = \"/etc/plumbline/ssh_key\" # a private key that may read the repository, and write notes to it")
	}
	w.line("}")
	w.line("")
}

func (p Proposal) writeAccess(w *writer) {
	var asking []string
	for _, e := range p.Environments {
		if e.Apply == plumbline.ApplyApproval {
			asking = append(asking, e.Name)
		}
	}
	if len(asking) == 0 {
		return
	}
	if len(p.Approvers) > 0 {
		users := make([]string, len(p.Approvers))
		for i, name := range p.Approvers {
			users[i] = p.Forge.Kind + "/" + name
		}
		w.line("auth {")
		w.line("role \"approver\" {")
		w.line("users = %s", quoteAll(users))
		w.line("environments = %s", quoteAll(asking))
		w.line("}")
		w.line("}")
		w.line("")
		return
	}
	w.comment("Until somebody is named here, whoever holds this machine's token approves, on the page or with `plumbline runs approve`.")
	if p.Forge.Kind == "git" {
		w.comment("A Git remote without an API has no names of people: they come with a sign-in, auth { oidc { … } }.")
		w.line("")
		return
	}
	w.line("# auth {")
	w.line("#   role \"approver\" {")
	w.line("#     users        = [%s]", quote(p.Forge.Kind+"/alice"))
	w.line("#     environments = %s", comments(quoteAll(asking)))
	w.line("#   }")
	w.line("# }")
	w.line("")
}

func (p Proposal) writeEnvironment(w *writer, i int, e Environment) {
	w.comment("%s: %s", sentence(e.Because), stacksOf(e))
	w.line("environment %s {", quote(e.Name))
	w.line("branch = %s", quote(e.Branch))
	if len(e.Include) > 0 {
		w.line("include = %s", quoteAll(e.Include))
	}
	if e.Apply == plumbline.ApplyAutomatic {
		w.line("apply = \"automatic\" # what lands on the branch is applied at once; \"approval\" asks first")
	} else {
		w.line("apply = \"approval\" # a plan waits until somebody agrees to exactly what it does")
	}
	if p.ByPath && len(p.Environments) > 1 {
		w.line("order = %d # of a commit that changes several", i+1)
	}
	if next := i + 1; !p.ByPath && p.Forge.Kind != "git" && next < len(p.Environments) && p.Environments[next].Branch != e.Branch {
		w.line("# promotes_to = %s # in sync, it has a merge request to the next one open", comments(quote(p.Environments[next].Name)))
	}
	p.writeGiven(w, i, e)
	if e.Apply == plumbline.ApplyApproval && len(p.Approvers) > 0 {
		w.line("")
		w.line("approval {")
		w.line("not = [\"author\"] # nobody agrees to their own change")
		w.line("}")
	}
	if p.AWS {
		w.line("")
		if i == 0 {
			w.comment("The account's two roles: modules/runner-roles makes them. Without this, runs have no credentials of AWS but those in `env`.")
		}
		w.line("# aws {")
		region := "eu-west-1"
		if len(p.Regions) > 0 {
			region = p.Regions[0]
		}
		w.line("#   region      = %s", comments(quote(region)))
		w.line("#   plan_role   = \"arn:aws:iam::111122223333:role/plumbline-plan\"")
		w.line("#   apply_role  = \"arn:aws:iam::111122223333:role/plumbline-apply\"")
		w.line("#   external_id = %s", comments(quote("plumbline-"+e.Name)))
		w.line("# }")
	}
	w.line("")
	w.line("drift {")
	if nearness(e.Name) == production || len(p.Environments) == 1 {
		w.line("schedule = \"0 */6 * * *\" # compares reality with Git")
	} else {
		w.line("schedule = \"30 5 * * *\" # compares reality with Git")
	}
	w.line("}")
	w.line("}")
}

// writeGiven writes what stacks want from their environment, for somebody to fill in.
func (p Proposal) writeGiven(w *writer, i int, e Environment) {
	of := func(dirs []string) (out []string) {
		whole := plumbline.Environment{Include: e.Include}
		for _, d := range dirs {
			if whole.Contains(d) {
				out = append(out, d)
			}
		}
		return out
	}
	var wanted []string
	for _, n := range p.Needs {
		if dirs := of(n.Stacks); len(dirs) > 0 {
			wanted = append(wanted, n.Name+" = "+likely(n.Name, e.Name))
		}
	}
	if len(wanted) > 0 {
		w.line("")
		if i == 0 {
			w.comment("Variables without a default, and without a value in terraform.tfvars. A secret is env(\"NAME\").")
		}
		w.line("# vars = { %s }", comments(strings.Join(wanted, ", ")))
	}
	waiting, shared := of(p.NoBackend), of(p.Shared)
	if len(waiting)+len(shared) > 0 {
		w.line("")
		if len(shared) > 0 {
			w.comment("%s: without this, the state is the same one on every branch.", few(shared))
		}
		if len(waiting) > 0 {
			w.comment("%s: the backend waits for these.", few(waiting))
		}
		region := "eu-west-1"
		if len(p.Regions) > 0 {
			region = p.Regions[0]
		}
		w.line("# backend = { bucket = \"…\", key = %s, region = %s }", comments(quote(e.Name+"/{stack}.tfstate")), comments(quote(region)))
	}
}

// likely is the value of a variable that says which environment it is; of others it is for somebody to say.
func likely(variable, environment string) string {
	switch variable {
	case "environment", "env", "environment_name", "env_name":
		return quote(environment)
	}
	return "…"
}

// comments keeps what was found on its line, inside a comment.
func comments(s string) string { return diff.Clean(s) }

func stacksOf(e Environment) string {
	switch len(e.Stacks) {
	case 0:
		return "no stack yet"
	case 1:
		return "stack " + few(e.Stacks)
	}
	return fmt.Sprintf("%d stacks, %s", len(e.Stacks), few(e.Stacks))
}

// sentence begins with a capital letter, unless it begins with a name of somebody's own making.
func sentence(s string) string {
	for _, word := range []string{"branch ", "branch", "directory ", "directories ", "neither ", "the ", "you ", "there "} {
		if strings.HasPrefix(s, word) {
			return strings.ToUpper(s[:1]) + s[1:]
		}
	}
	return s
}
