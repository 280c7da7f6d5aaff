package runner

import (
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/tfplan"
)

// journal writes down what Terraform says: masked, for people and for machines. Nothing it does fails, since a Terraform whose
// output is not taken stops in the middle of its work; what cannot be written is lost.
type journal struct {
	log, events io.Writer
	src, dir    string // the checkout; the root module within it, slash-separated
	ownVars     string // path of the variable file that Plumbline writes

	mu    sync.Mutex
	mask  *redact.Masker
	out   *redact.Writer // masks what goes to log; nil: a new one is to be made
	heard                // since the last call of listen
}

// heard is what one command said.
type heard struct {
	diagnostics []plumbline.Diagnostic // masked, with files relative to the repository
	created     []plumbline.Created
	completed   bool                 // an apply came to a good end
	failed      []terraform.TestRun  // runs of tests that did not pass, masked
	tests       *terraform.TestCount // how all runs of tests ended; nil: that was not said
}

// listen forgets what was heard before.
func (j *journal) listen() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.heard = heard{}
}

func (j *journal) said() heard {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.heard
}

// hide masks more from now on.
func (j *journal) hide(secrets []string) {
	if len(secrets) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	some := min(len(secrets), maxEncoded)
	j.mask, j.out = j.mask.WithPlain(secrets[some:]...).With(secrets[:some]...), nil
}

func (j *journal) masker() *redact.Masker {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mask
}

// note writes a line of our own for people.
func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text(fmt.Sprintf(format, args...))
}

func (j *journal) text(s string) {
	if j.out == nil {
		j.out = j.mask.Writer(j.log)
	}
	_, _ = io.WriteString(j.out, strings.TrimRight(s, "\n")+"\n")
	_ = j.out.Flush() // a private key goes on over messages all the same
}

// line takes a line of Terraform's standard output.
func (j *journal) line(b []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := terraform.ParseEvent(b)
	if !ok {
		if len(b) > 0 {
			j.text(string(b))
		}
		return
	}
	// What provisioners print is in the log, and says nothing of what was made. Line by line, a private key cannot be told from other text.
	if e.Type != "provision_progress" {
		_, _ = io.WriteString(j.events, tfplan.MaskJSON(string(b), j.mask.String)+"\n")
	}
	if e.Done != nil {
		j.created = append(j.created, plumbline.Created{Address: j.mask.String(e.Done.Address), Action: e.Done.Action, ID: j.mask.String(e.Done.ID)})
	}
	if e.Operation == "apply" {
		j.completed = true
	}
	if t := e.Test; t != nil && (t.Status == "fail" || t.Status == "error") && len(j.failed) < maxDiagnostics {
		j.failed = append(j.failed, terraform.TestRun{File: j.mask.String(t.File), Run: j.mask.String(t.Run), Status: t.Status})
	}
	if e.Tests != nil {
		j.tests = e.Tests
	}
	if e.Diagnostic != nil {
		if d := *e.Diagnostic; !j.noise(d) {
			d = j.place(d)
			j.diagnostics = append(j.diagnostics, d)
			j.text(render(d))
		}
		return
	}
	// What to do next on a terminal is no news here.
	if !strings.HasPrefix(e.Message, "You may now begin working with ") {
		j.text(e.Message)
	}
}

// policies writes down what they say of a plan, already masked.
func (j *journal) policies(r plumbline.CheckResult, list []plumbline.PolicyFinding) {
	j.note("\nPolicies: %s", r.Text)
	for _, f := range list {
		at := ""
		if f.Address != "" {
			at = f.Address + ": "
		}
		j.note("  %s (%s): %s%s", f.Level, f.Policy, at, f.Message)
	}
}

// errLine takes a line of Terraform's standard error.
func (j *journal) errLine(b []byte) {
	if len(b) > 0 {
		j.note("%s", b)
	}
}

// noise reports whether a message is about nothing but that a stack does not use every variable of its environment.
func (j *journal) noise(d plumbline.Diagnostic) bool {
	return d.Severity == "warning" &&
		(d.Summary == "Value for undeclared variable" && strings.Contains(d.Detail, j.ownVars) || d.Summary == "Values for undeclared variables")
}

// place masks a message and makes its file relative to the repository.
func (j *journal) place(d plumbline.Diagnostic) plumbline.Diagnostic {
	if base := filepath.Base(d.File); base == varsFile || base == backendFile {
		// Nobody can look there; it is the operator's configuration, written down for Terraform.
		d.File, d.Line, d.Snippet = "", 0, ""
		d.Detail += " (This is about vars or backend in Plumbline's configuration.)"
	}
	if d.File != "" {
		file := filepath.ToSlash(d.File)
		if rel, err := filepath.Rel(j.src, d.File); err == nil && filepath.IsAbs(d.File) && filepath.IsLocal(rel) {
			d.File = filepath.ToSlash(rel)
		} else if !path.IsAbs(file) {
			d.File = path.Join(j.dir, file)
		}
	}
	for _, s := range []*string{&d.Summary, &d.Detail, &d.Address, &d.File, &d.Snippet} {
		*s = j.mask.String(*s)
	}
	return d
}

// placed is place for whoever does not hold the journal.
func (j *journal) placed(d plumbline.Diagnostic) plumbline.Diagnostic {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.place(d)
}

// render is a message as people read it in the log.
func render(d plumbline.Diagnostic) string {
	var b strings.Builder
	title := "Error"
	if d.Severity == "warning" {
		title = "Warning"
	}
	fmt.Fprintf(&b, "\n%s: %s\n", title, d.Summary)
	if d.File != "" {
		fmt.Fprintf(&b, "  %s:%d", d.File, d.Line)
		if d.Address != "" {
			fmt.Fprintf(&b, ", %s", d.Address)
		}
		b.WriteString("\n")
		for line := range strings.Lines(d.Snippet) {
			b.WriteString("    | " + strings.TrimRight(line, "\n") + "\n")
		}
	} else if d.Address != "" {
		fmt.Fprintf(&b, "  %s\n", d.Address)
	}
	for line := range strings.Lines(d.Detail) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}
