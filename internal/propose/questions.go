package propose

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Question is what the files cannot tell.
type Question struct {
	Text    string
	Default string // what no answer means; "": nothing
	Flag    string // how it is answered on the command line

	Answer func(a *Answers, said string) error // takes down what was said; "" is the default
}

// Questions are those that are open, in the order in which they are asked.
func Questions(f Facts, a Answers) []Question {
	p := Make(f, a)
	var out []Question
	if !p.Forge.Known {
		out = append(out, Question{
			Text:    fmt.Sprintf("What is %s? gitlab, github, gitea (also Forgejo), or git: a remote without an API", p.Forge.Host),
			Default: "git",
			Flag:    "--forge gitlab|github|gitea|git",
			Answer: func(a *Answers, said string) error {
				if !slices.Contains(config.Kinds, said) && said != "" {
					return fmt.Errorf("%q is no kind of forge; there are %s", said, strings.Join(config.Kinds, ", "))
				}
				if a.Forge = said; said == "" {
					a.Forge = "git"
				}
				return nil
			},
		})
	}
	if len(a.Environments) == 0 && !a.AsFound {
		var found []string
		for _, e := range p.Environments {
			found = append(found, shortForm(e))
		}
		out = append(out, Question{
			Text:    "Which environments are there? NAME=BRANCH, or NAME=BRANCH:GLOB for those of some directories only, with spaces between",
			Default: strings.Join(found, " "),
			Flag:    "--environment NAME=BRANCH[:GLOB]",
			Answer: func(a *Answers, said string) error {
				a.Environments, a.AsFound = nil, said == ""
				for _, s := range strings.Fields(said) {
					e, err := ParseEnvironment(s)
					if err != nil {
						return err
					}
					a.Environments = append(a.Environments, e)
				}
				return nil
			},
		})
	}
	asks := slices.ContainsFunc(p.Environments, func(e Environment) bool { return e.Apply == plumbline.ApplyApproval })
	if asks && len(a.Approvers) == 0 && !a.NobodyApproves && p.Forge.Kind != "git" {
		out = append(out, Question{
			Text: "Who may approve? Names on the forge, with spaces between; nobody: whoever holds this machine's token",
			Flag: "--approver NAME",
			Answer: func(a *Answers, said string) error {
				a.Approvers = strings.Fields(said)
				a.NobodyApproves = len(a.Approvers) == 0
				return nil
			},
		})
	}
	return out
}

func shortForm(e Environment) string {
	s := e.Name + "=" + e.Branch
	if len(e.Include) > 0 {
		s += ":" + strings.Join(e.Include, ",")
	}
	return s
}

// ParseEnvironment reads NAME=BRANCH[:GLOB,…].
func ParseEnvironment(s string) (Environment, error) {
	name, rest, ok := strings.Cut(s, "=")
	branch, globs, some := strings.Cut(rest, ":") // no branch has a colon
	if !ok || name == "" || branch == "" || some && globs == "" {
		return Environment{}, fmt.Errorf("%q is not NAME=BRANCH or NAME=BRANCH:GLOB, as in production=main:live/production/**", s)
	}
	if !config.ValidName(name) {
		return Environment{}, fmt.Errorf("%q cannot name an environment: names are 1 to 63 of a-z, 0-9, \".\", \"_\" and \"-\", and begin with a letter or digit", name)
	}
	e := Environment{Name: name, Branch: branch}
	if some {
		e.Include = strings.Split(globs, ",")
	}
	return e, nil
}

// Open says which questions nobody has answered, and how to.
func Open(questions []Question) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s open, and this is no terminal to ask on:\n", map[bool]string{true: "1 question is", false: fmt.Sprintf("%d questions are", len(questions))}[len(questions) == 1])
	for _, q := range questions {
		fmt.Fprintf(&b, "  %s\n      %s", q.Text, q.Flag)
		if q.Default != "" {
			fmt.Fprintf(&b, "   (--yes takes %s)", q.Default)
		}
		b.WriteByte('\n')
	}
	b.WriteString("Answer with these, or take what is proposed with --yes")
	return errors.New(b.String())
}
