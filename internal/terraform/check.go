package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// maxSaid is how much of the output of fmt or validate is kept, in bytes.
const maxSaid = 4 << 20

// Fmt lists the files that are not in the engine's canonical form, relative to the root module. It needs no init and changes nothing.
// Targets are files, or directories whose own files are meant; no path may begin with a dash. A file that cannot be parsed is an
// error whose text says so, and then none is listed.
func (d *Dir) Fmt(ctx context.Context, targets []string) ([]string, error) {
	out, err := d.said(ctx, fmtArgs(false, targets), fmtDiffers)
	var files []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			files = append(files, line)
		}
	}
	return files, err
}

// FmtDiff is what the canonical form would change in the targets, as a unified diff. The engine has a program do it, "diff", that a small
// machine may lack.
func (d *Dir) FmtDiff(ctx context.Context, targets []string) (string, error) {
	return d.said(ctx, fmtArgs(true, targets), fmtDiffers)
}

// fmtDiffers is the exit code by which `fmt -check` says that there is something to change.
const fmtDiffers = 3

func fmtArgs(diff bool, targets []string) []string {
	args := []string{"fmt", "-no-color", "-write=false"}
	if diff {
		args = append(args, "-list=false", "-diff") // beside -check, no list means no diff either
	} else {
		args = append(args, "-check")
	}
	return append(args, targets...)
}

// Validate has the configuration checked for itself, without variables, state or anybody's API. Messages of severity "error" make
// it invalid; the error is for a command that did not answer.
func (d *Dir) Validate(ctx context.Context) ([]plumbline.Diagnostic, error) {
	const invalid = 1
	out, err := d.said(ctx, validateArgs(), invalid)
	if err != nil {
		return nil, err
	}
	var in struct {
		Valid       *bool        `json:"valid"`
		Diagnostics []diagnostic `json:"diagnostics"`
	}
	if err := json.Unmarshal([]byte(out), &in); err != nil || in.Valid == nil {
		return nil, d.failed("validate", errors.Join(errors.New("it gave no answer that can be read"), err))
	}
	list := make([]plumbline.Diagnostic, 0, len(in.Diagnostics))
	for _, m := range in.Diagnostics {
		list = append(list, m.domain())
	}
	return list, nil
}

func validateArgs() []string { return []string{"validate", "-no-color", "-json"} }

// Test runs test files, given relative to the root module. It speaks in events (Event.Test, Event.Tests). Whoever calls it has made sure of what the
// files do: what they apply is created in reality.
func (d *Dir) Test(ctx context.Context, files []string) error {
	return d.run(ctx, testArgs(files), nil)
}

func testArgs(files []string) []string {
	args := []string{"test", "-no-color", "-json"}
	for _, f := range files {
		args = append(args, "-filter="+f)
	}
	return args
}

// HasTests reports whether test of this program means what it says: until 1.6 Terraform had an experiment of that name, which applied.
func HasTests(b Binary) bool {
	v, err := version.NewVersion(b.Version)
	return err == nil && v.Core().GreaterThanOrEqual(version.Must(version.NewVersion("1.6.0")))
}

// said runs a command and returns the beginning of its standard output. One exit code besides 0 is no error.
func (d *Dir) said(ctx context.Context, args []string, good int) (string, error) {
	var b []byte
	err := d.run(ctx, args, func(r io.Reader) (err error) {
		b, err = io.ReadAll(io.LimitReader(r, maxSaid))
		return err
	})
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == good {
		err = nil
	}
	return string(b), err
}

// diagnostic is a message as engines write it in JSON.
type diagnostic struct {
	Severity string `json:"severity"`
	Summary  string `json:"summary"`
	Detail   string `json:"detail"`
	Address  string `json:"address"`
	Range    *struct {
		Filename string `json:"filename"`
		Start    struct {
			Line int `json:"line"`
		} `json:"start"`
	} `json:"range"`
	Snippet *struct {
		Code string `json:"code"`
	} `json:"snippet"`
}

func (m diagnostic) domain() plumbline.Diagnostic {
	d := plumbline.Diagnostic{Severity: m.Severity, Summary: m.Summary, Detail: m.Detail, Address: m.Address}
	if m.Range != nil {
		d.File, d.Line = m.Range.Filename, m.Range.Start.Line
	}
	if m.Snippet != nil {
		d.Snippet = m.Snippet.Code
	}
	return d
}

// TestRun is one run of a test file that has ended.
type TestRun struct {
	File   string // relative to the root module
	Run    string
	Status string // "pass", "fail", "error" or "skip"
}

// TestCount is how the runs of all test files ended.
type TestCount struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Errored int `json:"errored"`
	Skipped int `json:"skipped"`
}

// String is the count for people: "3 passed, 1 failed".
func (t TestCount) String() string {
	s := fmt.Sprintf("%d passed", t.Passed)
	if n := t.Failed + t.Errored; n > 0 {
		s += fmt.Sprintf(", %d failed", n)
	}
	if t.Skipped > 0 {
		s += fmt.Sprintf(", %d skipped", t.Skipped)
	}
	return s
}
