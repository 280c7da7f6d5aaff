package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
)

// maxOutput bounds CheckResult.Output, in bytes; the log has all.
const maxOutput = 8 << 10

// checker makes the checks of a stack in its root module, whoever asks for them: a run, or a person at the command line.
type checker struct {
	dir    *terraform.Dir // nil: not even fmt can be run
	binary terraform.Binary
	spec   plumbline.StackSpec
	module string // path of the root module
	j      *journal
	// unready is why what needs an init cannot be checked, one sentence; "": init was done.
	unready string
	cause   []plumbline.Finding // with its places
}

// all makes checks, one after the other. There is a result for each, whatever happens.
func (c checker) all(ctx context.Context, names []plumbline.CheckName) []plumbline.CheckResult {
	out := make([]plumbline.CheckResult, 0, len(names))
	for _, name := range names {
		r := c.one(ctx, name)
		r.Name = name
		c.j.note("%s: %s", name, r.Text)
		out = append(out, r)
	}
	for i := range out {
		maskCheck(&out[i], c.j.masker().String)
	}
	return out
}

// maskCheck masks all that a result says, and shortens its output afterwards: half a secret could not be masked any more.
func maskCheck(r *plumbline.CheckResult, mask func(string) string) {
	r.Text, r.Output = mask(r.Text), shorten(mask(r.Output))
	for i := range r.Findings {
		f := &r.Findings[i]
		f.File, f.Source, f.Message = mask(f.File), mask(f.Source), mask(f.Message)
	}
}

func (c checker) one(ctx context.Context, name plumbline.CheckName) plumbline.CheckResult {
	switch {
	case ctx.Err() != nil:
		return plumbline.CheckResult{Verdict: plumbline.VerdictError, Text: "not made: " + over(ctx)}
	case c.dir == nil, name != plumbline.CheckFmt && c.unready != "":
		return plumbline.CheckResult{Verdict: plumbline.VerdictError, Text: c.unready, Findings: slices.Clone(c.cause)}
	}
	c.j.listen()
	var r plumbline.CheckResult
	switch name {
	case plumbline.CheckFmt:
		r = c.fmt(ctx)
	case plumbline.CheckValidate:
		r = c.validate(ctx)
	case plumbline.CheckTest:
		r = c.test(ctx)
	default:
		return plumbline.CheckResult{Verdict: plumbline.VerdictError, Text: fmt.Sprintf("there is no check %q", name)}
	}
	if ctx.Err() != nil && r.Verdict != plumbline.VerdictPass {
		// What a program says that was interrupted is about the interruption.
		return plumbline.CheckResult{Verdict: plumbline.VerdictError, Text: "not made to its end: " + over(ctx)}
	}
	return r
}

// over is why nothing more can be done.
func over(ctx context.Context) string {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return "the time for the plan with its checks was up"
	}
	return "it was asked to stop"
}

func (c checker) say(command string) { c.j.note("\n$ %s %s", c.binary.Name, command) }

// fmt looks at the files of the stack alone: those in its directory, its tests, its variable files. A module that many stacks share would fail
// them all.
func (c checker) fmt(ctx context.Context) plumbline.CheckResult {
	targets := []string{"."}
	if info, err := os.Stat(filepath.Join(c.module, testsDir)); err == nil && info.IsDir() {
		targets = append(targets, testsDir)
	}
	for _, f := range c.spec.VarFiles {
		// Those of the directory itself are among its files. One that is not there or outside is for the plan to complain about.
		inRepo := filepath.IsLocal(filepath.FromSlash(path.Join(c.spec.Dir, f)))
		info, err := os.Stat(filepath.Join(c.module, filepath.FromSlash(f)))
		if !path.IsAbs(f) && inRepo && path.Dir(path.Clean(f)) != "." && path.Ext(f) == ".tfvars" && err == nil && info.Mode().IsRegular() {
			targets = append(targets, "./"+f)
		}
	}
	c.say("fmt -check " + strings.Join(targets, " "))
	files, err := c.dir.Fmt(ctx, targets)
	slices.Sort(files)
	r := plumbline.CheckResult{Verdict: plumbline.VerdictPass, Text: "all files are formatted"}
	if len(files) > 0 {
		lines := map[string]plumbline.Finding{}
		if diff, diffErr := c.dir.FmtDiff(ctx, targets); diffErr == nil || diff != "" {
			r.Output, lines = diff, firstChanges(diff)
			c.j.note("%s", diff)
		} else {
			c.j.note("%s", strings.Join(files, "\n")) // a machine without the program that compares: the names must do
		}
		r.Verdict, r.Text = plumbline.VerdictFail, counted(len(files), "file is", "files are")+" not formatted"
		for _, f := range files[:min(len(files), maxDiagnostics)] {
			at := lines[f]
			r.Findings = append(r.Findings, plumbline.Finding{File: path.Join(c.spec.Dir, filepath.ToSlash(f)), Line: at.Line, Source: at.Source, Message: "not formatted"})
		}
	}
	if err == nil {
		return r
	}
	var broken []plumbline.Finding
	for _, d := range stderrOf(err) {
		if f := c.unreadable(d); f.File != "" {
			broken = append(broken, f)
		}
	}
	if len(broken) == 0 {
		return c.broken("fmt", err)
	}
	r.Verdict, r.Text = plumbline.VerdictFail, counted(len(broken), "file cannot", "files cannot")+" be parsed"
	r.Findings = broken
	return r
}

// unreadable is what fmt says, as text, of a file that it cannot parse. Without a file it is about something else.
func (c checker) unreadable(d plumbline.Diagnostic) plumbline.Finding {
	for line := range strings.Lines(d.Detail) {
		at, ok := strings.CutPrefix(strings.TrimSpace(line), "on ")
		file, rest, found := strings.Cut(at, " line ")
		if !ok || !found {
			continue
		}
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		n, err := strconv.Atoi(number)
		if err != nil {
			return plumbline.Finding{}
		}
		return plumbline.Finding{File: path.Join(c.spec.Dir, filepath.ToSlash(file)), Line: n, Message: d.Summary}
	}
	return plumbline.Finding{}
}

// firstChanges finds the first line of each file that a unified diff would change, by the file's name.
func firstChanges(diff string) map[string]plumbline.Finding {
	out := map[string]plumbline.Finding{}
	file, line := "", 0
	for text := range strings.Lines(diff) {
		text = strings.TrimRight(text, "\r\n")
		_, known := out[file]
		switch {
		case strings.HasPrefix(text, "--- old/"):
			file, line = strings.TrimPrefix(text, "--- old/"), 0
		case strings.HasPrefix(text, "@@ -"):
			start := strings.TrimPrefix(text, "@@ -")
			n, err := strconv.Atoi(start[:len(start)-len(strings.TrimLeft(start, "0123456789"))])
			if err != nil {
				n = 0
			}
			line = n
		case file == "" || line == 0 || known:
		case strings.HasPrefix(text, "-"), strings.HasPrefix(text, "+"):
			out[file] = plumbline.Finding{Line: line, Source: text[1:]}
		default:
			line++
		}
	}
	return out
}

func (c checker) validate(ctx context.Context) plumbline.CheckResult {
	c.say("validate")
	list, err := c.dir.Validate(ctx)
	if err != nil {
		return c.broken("validate", err)
	}
	r := plumbline.CheckResult{Verdict: plumbline.VerdictPass, Text: "the configuration is valid"}
	errs, warnings := 0, 0
	slices.SortStableFunc(list, func(a, b plumbline.Diagnostic) int { return strings.Compare(a.Severity, b.Severity) }) // errors first
	for i, d := range list {
		d = c.j.placed(d)
		c.j.note("%s", render(d))
		f := findingOf(d)
		if d.Severity == "error" {
			errs++
		} else {
			warnings++
			f.Message = "Warning: " + f.Message
		}
		if i < maxDiagnostics {
			r.Findings = append(r.Findings, f)
		}
	}
	and := ""
	if warnings > 0 {
		and = ", with " + counted(warnings, "warning", "warnings")
	}
	if errs > 0 {
		r.Verdict, r.Text = plumbline.VerdictFail, "the configuration has "+counted(errs, "error", "errors")+and
	} else if warnings > 0 {
		r.Text += and
	}
	return r
}

// findingOf is a message of the engine's, already masked, as a finding.
func findingOf(d plumbline.Diagnostic) plumbline.Finding {
	first, _, _ := strings.Cut(d.Snippet, "\n")
	message := oneLine(d.Summary)
	if detail := oneLine(d.Detail); detail != "" {
		message = strings.TrimSuffix(message, ".") + ": " + detail
	}
	return plumbline.Finding{File: d.File, Line: d.Line, Source: strings.TrimRight(first, " \t\r"), Message: message}
}

// at is a finding's place.
func at(f plumbline.Finding) string {
	if f.Line == 0 {
		return f.File
	}
	return fmt.Sprintf("%s:%d", f.File, f.Line)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (c checker) test(ctx context.Context) plumbline.CheckResult {
	files, err := readTests(c.module, c.dir.Data(), c.binary.Name)
	switch {
	case err != nil:
		return c.broken("test", err)
	case len(files) == 0:
		return plumbline.CheckResult{Verdict: plumbline.VerdictSkipped, Text: "there are no test files"}
	case !terraform.HasTests(c.binary):
		return plumbline.CheckResult{Verdict: plumbline.VerdictSkipped, Text: fmt.Sprintf("%s %s cannot run test files; 1.6 or newer can", c.binary.Name, c.binary.Version)}
	}
	var run []string
	var left []plumbline.Finding
	for _, f := range files {
		if f.why == "" {
			run = append(run, f.name)
			continue
		}
		left = append(left, plumbline.Finding{File: path.Join(c.spec.Dir, f.name), Line: f.line, Message: "not run: " + f.why})
	}
	c.say("test " + strings.Join(run, " "))
	for _, f := range left {
		c.j.note("%s: %s", at(f), f.Message)
	}
	if len(run) == 0 {
		return plumbline.CheckResult{Verdict: plumbline.VerdictSkipped, Text: notRun(left), Findings: left}
	}
	err = c.dir.Test(ctx, run)
	said := c.j.said()
	r := plumbline.CheckResult{Verdict: plumbline.VerdictPass}
	for _, d := range said.diagnostics {
		if d.Severity == "error" && len(r.Findings) < maxDiagnostics {
			r.Findings = append(r.Findings, findingOf(d))
		}
	}
	switch {
	case said.tests == nil && inFiles(errorsOf(said.diagnostics)):
		r.Verdict, r.Text = plumbline.VerdictFail, "the tests could not be begun"
	case said.tests == nil:
		return c.broken("test", cmp.Or(err, errors.New("it did not say how the tests ended")))
	case err != nil:
		r.Verdict, r.Text = plumbline.VerdictFail, said.tests.String()
		if len(r.Findings) == 0 {
			for _, t := range said.failed {
				r.Findings = append(r.Findings, plumbline.Finding{File: path.Join(c.spec.Dir, t.File), Message: fmt.Sprintf("run %q: %s", t.Run, t.Status)})
			}
		}
	default:
		r.Text = said.tests.String()
	}
	if len(left) > 0 {
		r.Text += "; " + notRun(left)
		r.Findings = append(r.Findings, left...)
	}
	return r
}

// notRun says that files are not, and why not in general.
func notRun(left []plumbline.Finding) string {
	return counted(len(left), "file is", "files are") + " not run, since real resources would be made"
}

func errorsOf(list []plumbline.Diagnostic) []plumbline.Diagnostic {
	return slices.DeleteFunc(slices.Clone(list), func(d plumbline.Diagnostic) bool { return d.Severity != "error" })
}

// stderrOf reads the messages that a command left on its standard error.
func stderrOf(err error) []plumbline.Diagnostic {
	var cmd *terraform.CommandError
	if !errors.As(err, &cmd) {
		return nil
	}
	return terraform.TextDiagnostics(cmd.Stderr)
}

// broken is a check that could not be made.
func (c checker) broken(command string, err error) plumbline.CheckResult {
	r := plumbline.CheckResult{Verdict: plumbline.VerdictError, Text: fmt.Sprintf("%s %s could not be run: %v", c.binary.Name, command, err)}
	var cmd *terraform.CommandError
	switch {
	case terraform.Killed(err):
		r.Text = fmt.Sprintf("%s %s was killed from outside, most likely because memory ran out", c.binary.Name, command)
	case errors.As(err, &cmd):
		r.Output = cmd.Stderr
		if list := append(errorsOf(c.j.said().diagnostics), stderrOf(err)...); len(list) > 0 {
			r.Text = fmt.Sprintf("%s %s could not be run: %s", c.binary.Name, command, strings.TrimSuffix(oneLine(list[0].Summary), "."))
		}
	}
	return r
}

// shorten cuts a text at the end of a line, if it is too long.
func shorten(s string) string {
	const left = "… (shortened; the log has all)\n"
	if len(s) <= maxOutput {
		return s
	}
	s = strings.ToValidUTF8(s[:maxOutput-len(left)], "")
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[:i+1]
	} else {
		s += "\n"
	}
	return s + left
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
