package propose

import (
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Tell prints what was found and what is made of it, for people.
func (p Proposal) Tell(out io.Writer, f Facts) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\n", name, diff.Clean(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(w, "Found in %s\n", diff.Clean(f.Dir))
	var stacks []string
	for _, s := range f.Layout.Stacks {
		stacks = append(stacks, s.Name)
	}
	row("stacks", "%d: %s", len(stacks), few(stacks))
	row("backends", "%s", strings.Join(p.Backends, "; "))
	if len(p.Providers) > 0 {
		row("providers", "%s", few(p.Providers))
	}
	if len(p.Regions) > 0 {
		row("regions", "%s", strings.Join(p.Regions, ", "))
	}
	engine := "Terraform"
	if p.Engine == "tofu" {
		engine = "OpenTofu"
	}
	if len(p.Versions) > 0 {
		engine += " " + few(p.Versions)
	}
	if p.Engine == "tofu" {
		engine += ": " + p.EngineWhy
	}
	row("engine", "%s", engine)
	row("forge", "%s, project %s%s", p.Forge.Kind, p.Forge.Project, where(p.Forge))
	fmt.Fprintf(w, "\nProposed\n")
	for _, e := range p.Environments {
		how := "applied after an approval"
		if e.Apply == plumbline.ApplyAutomatic {
			how = "applied at once"
		}
		row(e.Name, "branch %s, %s, %s (%s)", e.Branch, count(len(e.Stacks), "stack"), how, e.Because)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(p.Notes) > 0 {
		fmt.Fprintf(out, "\nTo know\n")
		for _, n := range p.Notes {
			fmt.Fprintf(out, "  - %s\n", diff.Clean(n))
		}
	}
	return nil
}

func where(f Forge) string {
	switch {
	case f.URL != "":
		return " at " + f.URL
	case f.Region != "":
		return " in " + f.Region
	}
	return ""
}

// Next is what to do after the configuration was written to file: one command a line, with what it is for.
func (p Proposal) Next(out io.Writer, file, checkout string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	flag := ""
	if file != "plumbline.hcl" {
		flag = " --config " + word(file)
	}
	var fill []string
	if len(p.Needs) > 0 {
		fill = append(fill, "vars")
	}
	if len(p.NoBackend)+len(p.Shared) > 0 {
		fill = append(fill, "backend")
	}
	if p.AWS {
		fill = append(fill, "aws")
	}
	fmt.Fprintf(w, "Next\n")
	switch {
	case checkout != "" && p.Ready:
		fmt.Fprintf(w, "  plumbline plan %s\tthe first plan, as Plumbline shows it: your own credentials, no daemon, nothing is changed\n", word(under(checkout, p.First)))
	case checkout != "" && p.First != "":
		dir := under(checkout, p.First)
		fmt.Fprintf(w, "  plumbline report %s\tthe first plan, as Plumbline shows it, once you have made it: %s -chdir=%s plan -out tfplan, with what it wants\n", word(path.Join(dir, "tfplan")), p.Engine, word(dir))
	default:
		fmt.Fprintf(w, "  plumbline plan DIR\tin a checkout: the first plan, as Plumbline shows it; your own credentials, no daemon, nothing is changed\n")
	}
	with := ""
	if name := p.Forge.Variable(); name != "" {
		with = name + "=… "
	}
	fmt.Fprintf(w, "  %splumbline validate%s\tevery mistake at once, with its line\n", with, flag)
	served := "the daemon, and its page; it reads the branches, and applies as said above"
	if len(fill) > 0 {
		served = fmt.Sprintf("the daemon, and its page; first fill in %s", and(fill))
	}
	fmt.Fprintf(w, "  %splumbline serve%s\t%s\n", with, flag, served)
	return w.Flush()
}

func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// under is a stack's directory as seen from where the checkout was named.
func under(checkout, dir string) string {
	switch {
	case checkout == ".":
		return dir
	case dir == ".":
		return checkout
	}
	return strings.TrimSuffix(checkout, "/") + "/" + dir
}

// word is an argument as a shell takes it.
func word(s string) string {
	s = diff.Clean(s)
	if strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-+@:,=%", c)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
