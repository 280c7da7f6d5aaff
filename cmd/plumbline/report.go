package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/tfplan"
	"github.com/plumbline/plumbline/internal/web"
)

// digestKeyVariable names the key by which a digest covers sensitive values outside a daemon.
const digestKeyVariable = "PLUMBLINE_DIGEST_KEY"

// noteLimits are how long a note may be, in bytes, by forge: what the adapters keep to.
var noteLimits = map[string]int{"github": 65000, "gitlab": 1000000, "gitea": 262144, "bitbucket": 32767, "codecommit": 10240}

// plainForges show raw HTML as text.
var plainForges = []string{"bitbucket", "codecommit"}

// formats choose what plan and report print.
type formats struct {
	markdown bool
	html     string
	limit    string
}

func (f *formats) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.markdown, "markdown", false, "print Markdown, as it stands in a merge request's note")
	cmd.Flags().StringVar(&f.html, "html", "", "write a self-contained page to this file, besides what is printed")
	cmd.Flags().StringVar(&f.limit, "limit", "", "with --markdown: at most that many bytes, or as many as the notes of github, gitlab, gitea, bitbucket or codecommit have, in the Markdown that these show")
}

// bytes is the limit; 0: there is none.
func (f *formats) bytes() (int, error) {
	switch n, ok := noteLimits[f.limit]; {
	case f.limit == "":
		return 0, nil
	case !f.markdown:
		return 0, usageError(errors.New("--limit is for --markdown"))
	case ok:
		return n, nil
	}
	n, err := strconv.Atoi(f.limit)
	if err != nil || n < report.LeastLimit {
		return 0, usageError(fmt.Errorf("--limit %s: write a number of bytes, at least %d, or github, gitlab, gitea, bitbucket or codecommit", f.limit, report.LeastLimit))
	}
	return n, nil
}

// check finds what is wrong with the flags before any work is done.
func (f *formats) check(o *options) error {
	if f.markdown && o.JSON {
		return usageError(errors.New("--markdown and --json are two formats; choose one"))
	}
	_, err := f.bytes()
	return err
}

// reportJSON is what programs get; docs/report.schema.json describes it.
type reportJSON struct {
	Version int         `json:"report_version"`
	Stacks  []stackJSON `json:"stacks"`
}

type stackJSON struct {
	Name  string          `json:"name"`
	Error string          `json:"error,omitempty"`
	Plan  *web.PlanJSON   `json:"plan,omitempty"`
	Since *comparisonJSON `json:"since,omitempty"`
}

type comparisonJSON struct {
	Same    bool     `json:"same"`
	Digest  string   `json:"digest"` // the earlier plan's
	Summary string   `json:"summary"`
	Lines   []string `json:"lines,omitempty"`
}

// named is a plan with what it is compared with.
type named struct {
	report.NamedPlan
	since *plumbline.Plan
}

// print writes the plans in the format that was asked for.
func (f *formats) print(o *options, plans []named) error {
	list := make([]report.NamedPlan, 0, len(plans))
	for _, p := range plans {
		if p.since != nil {
			c := diff.Compare(*p.since, p.Plan)
			switch {
			case p.Plan.Errored:
			case c.Equal:
				p.Next = "It would do the same as the earlier plan."
			default:
				p.Since, p.SinceSummary = c.Lines(), c.Summary()
			}
		}
		list = append(list, p.NamedPlan)
	}
	limit, err := f.bytes()
	if err != nil {
		return err
	}
	// Both only read the plans, and big ones take as long for the one as for the other.
	var g errgroup.Group
	if f.html != "" {
		g.Go(func() error { return writePage(f.html, list) })
	}
	g.Go(func() error { return f.say(o, plans, list, limit) })
	return g.Wait()
}

// say prints the plans.
func (f *formats) say(o *options, plans []named, list []report.NamedPlan, limit int) error {
	switch {
	case o.JSON:
		return newReportJSON(plans).write(o.Out)
	case f.markdown:
		render := report.Markdown
		if slices.Contains(plainForges, f.limit) {
			render = report.PlainMarkdown
		}
		_, err := io.WriteString(o.Out, render(list, limit))
		return err
	}
	return report.Text(o.Out, list, o.Color)
}

// write writes what printJSON would, which has all of it in memory twice.
func (r reportJSON) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	err := json.MarshalWrite(out, r, jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false), jsontext.WithIndent("  "))
	return errors.Join(err, out.WriteByte('\n'), out.Flush())
}

func newReportJSON(plans []named) reportJSON {
	out := reportJSON{Version: 1, Stacks: []stackJSON{}}
	for _, p := range plans {
		s := stackJSON{Name: p.Name}
		if p.Err != nil {
			s.Error = p.Err.Error()
			out.Stacks = append(out.Stacks, s)
			continue
		}
		plan := web.NewPlanJSON(p.Plan)
		s.Plan = &plan
		if p.since != nil {
			c := diff.Compare(*p.since, p.Plan)
			s.Since = &comparisonJSON{Same: c.Equal, Digest: p.since.Digest, Summary: c.Summary()}
			for _, l := range c.Lines() {
				line := strings.Repeat("  ", l.Depth) + strings.TrimRight(l.Sign+" "+l.Text, " ")
				if l.Note != "" {
					line += "  # " + l.Note
				}
				s.Since.Lines = append(s.Since.Lines, line)
			}
		}
		out.Stacks = append(out.Stacks, s)
	}
	return out
}

// writePage writes an HTML page.
func writePage(path string, plans []report.NamedPlan) error {
	return writeTo(path, func(w io.Writer) error {
		return report.HTML(w, plans, report.PageOptions{At: time.Now(), Version: version()})
	})
}

func newReportCmd(o *options) *cobra.Command {
	var f formats
	var engine engineFlags
	var since string
	cmd := &cobra.Command{
		Use:   "report PLAN.json|tfplan|- …",
		Short: "Render plans: the JSON of `terraform show -json`, saved plan files, or standard input",
		Long: `Renders plans as text, Markdown, JSON or a page, without the daemon: in any CI. A saved plan file is read with Terraform, so it must lie in its root
module's directory, after an init; one on standard input is read in this directory. What the plan marks as sensitive is masked, and so are values of
environment and plan variables whose names say secret, and what looks like a well-known token.

The exit code is 1 for a plan that could not be finished; differences are no failure here.

With --since, the difference from an earlier plan is shown: what would happen now and was not in it, and what was and would not.

PLUMBLINE_DIGEST_KEY, if set, is the key by which the digest covers sensitive values, so that digests of different machines compare.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(o); err != nil {
				return err
			}
			if since != "" && len(args) > 1 {
				return usageError(errors.New("--since compares with one plan; give one plan"))
			}
			if in := slices.DeleteFunc(append([]string{since}, args...), func(s string) bool { return s != "-" }); len(in) > 1 {
				return usageError(errors.New("standard input can be read once"))
			}
			forgetStart()
			// It lives for a second, on whatever machine runs somebody's CI: a tenth more time for a tenth less memory.
			defer debug.SetGCPercent(debug.SetGCPercent(60))
			r := newPlanReader(o, &engine, &f)
			var plans []named
			for _, name := range args {
				plan, err := r.read(cmd.Context(), name)
				if err != nil {
					return err
				}
				n := named{NamedPlan: report.NamedPlan{Name: display(name), Plan: plan, DigestKey: r.given}}
				if since != "" {
					earlier, err := r.read(cmd.Context(), since)
					if err != nil {
						return err
					}
					n.since = &earlier
				}
				plans = append(plans, n)
			}
			r.mask(plans)
			if err := f.print(o, plans); err != nil {
				return err
			}
			if slices.ContainsFunc(plans, func(n named) bool { return n.Plan.Errored }) {
				return &exitError{code: exitFailed} // the report says it
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&since, "since", "", "an earlier plan of the same stack, to show the difference from")
	engine.add(cmd)
	return cmd
}

// display is the name of an input as people read it.
func display(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// planReader reads plans for the commands without a daemon.
type planReader struct {
	o      *options
	engine *engineFlags
	key    []byte
	given  bool           // the key was given: digests compare with those of other runs
	masker *redact.Masker // of what is known before any plan is read
	most   int            // attributes of a plan that are kept

	secrets []string // that the plans told, each once
	seen    map[string]bool
}

// Attributes of a plan that are kept: as many as anybody would read, or as a note under a limit can show.
const (
	pageAttributes = 20_000
	noteAttributes = tfplan.DefaultMaxAttributes
	maxBytes       = 1 << 20 // of what is kept of them
)

func newPlanReader(o *options, engine *engineFlags, f *formats) *planReader {
	r := &planReader{
		o: o, engine: engine, key: []byte(os.Getenv(digestKeyVariable)), masker: redact.New(environmentSecrets(os.Environ())...).WithShapes(), most: pageAttributes,
		seen: map[string]bool{},
	}
	if f.limit != "" && f.html == "" {
		r.most = noteAttributes
	}
	if r.given = len(r.key) > 0; !r.given {
		r.key = make([]byte, 32) // for all plans of this run, so that they compare with one another
		_, _ = rand.Read(r.key)  // never fails, says its documentation
	}
	return r
}

// environmentSecrets are the values of variables whose names say that they are secrets.
func environmentSecrets(environ []string) []string {
	var out []string
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if redact.SecretName(strings.TrimPrefix(name, "TF_VAR_")) && redact.SecretValue(value) {
			out = append(out, value)
		}
	}
	return out
}

// How many values that a plan marks as sensitive are masked wherever else they stand: the first in every form, the others as they are. In their own
// places all are.
const (
	encodedSecrets = 1_000
	maxSecrets     = 50_000
)

// parse reads plan JSON. What comes out is to be masked when all plans have been read: what one of them marks can stand in another.
func (r *planReader) parse(in io.Reader) (plumbline.Plan, error) {
	return tfplan.Read(in, tfplan.Options{
		Key: r.key, MaxAttributes: r.most, MaxBytes: maxBytes, SecretName: redact.SecretName, SecretValue: redact.SecretValue,
		Secrets: func(s string) {
			if len(r.secrets) < maxSecrets && !r.seen[s] {
				r.seen[s] = true
				r.secrets = append(r.secrets, s)
			}
		},
	})
}

// mask hides the secrets of all plans in all plans, and in what is said where there is none.
func (r *planReader) mask(plans []named) {
	some := min(len(r.secrets), encodedSecrets)
	m := r.masker.WithPlain(r.secrets[some:]...).With(r.secrets[:some]...) // in this order the dear ones are built once
	for i := range plans {
		p := &plans[i]
		tfplan.Mask(&p.Plan, m.String)
		if p.since != nil {
			tfplan.Mask(p.since, m.String)
		}
		if p.Err != nil {
			p.Err = maskedError{p.Err, m.String(p.Err.Error())}
		}
	}
}

// maskedError is an error whose words had a secret in them, perhaps.
type maskedError struct {
	error
	text string
}

func (e maskedError) Error() string { return e.text }
func (e maskedError) Unwrap() error { return e.error }

// read reads plan JSON or a saved plan from a file, or from standard input for "-".
func (r *planReader) read(ctx context.Context, name string) (plumbline.Plan, error) {
	in := r.o.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return plumbline.Plan{}, usageError(err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	magic := make([]byte, 2)
	if _, err := io.ReadFull(in, magic); err != nil {
		return plumbline.Plan{}, usageError(fmt.Errorf("%s is empty or cannot be read: %w", display(name), err))
	}
	whole := io.MultiReader(bytes.NewReader(magic), in)
	if string(magic) == "PK" { // a saved plan is a zip file
		return r.show(ctx, name, whole)
	}
	plan, err := r.parse(whole)
	if err != nil {
		// It names the place, which can be an address with a secret for a key.
		return plan, fmt.Errorf("%s: %w", display(name), maskedError{err, r.masker.With(r.secrets...).String(err.Error())})
	}
	return plan, nil
}

// show has Terraform read a saved plan.
func (r *planReader) show(ctx context.Context, name string, in io.Reader) (plan plumbline.Plan, err error) {
	tmp, err := os.MkdirTemp("", "plumbline-")
	if err != nil {
		return plan, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	dir, file := filepath.Split(name)
	if name == "-" {
		file = filepath.Join(tmp, "tfplan")
		if err := writeFile(file, in); err != nil {
			return plan, err
		}
	}
	var said bytes.Buffer
	d, binary, err := r.engine.dir(ctx, filepath.Join(dir, "."), "", tmp, &said)
	if err != nil {
		return plan, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = d.Show(ctx, file, func(out io.Reader) (err error) {
		plan, err = r.parse(out)
		return err
	})
	plan.Engine, plan.Version = binary.Name, binary.Version
	return plan, err
}

// writeFile writes what must be read by its owner alone: a saved plan holds the state in clear.
func writeFile(path string, in io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}
