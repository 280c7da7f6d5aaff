package discover

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"sort"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/plumbline/plumbline/internal/plumbline"
)

const settingsName = ".plumbline.hcl"

// settings are what .plumbline.hcl at the repository's root says.
type settings struct {
	src    []byte
	blocks []stackBlock
	// doubts are mistakes after which nobody can know which directories the file speaks of. They break every stack: to
	// plan one in its default workspace because the line that names another is misspelt would be worse.
	doubts []plumbline.Finding
}

type stackBlock struct {
	alias     string
	dir       string
	workspace string // "" the default one
	version   string
	varFiles  []located
	dependsOn []located
	watch     []located
	rng       hcl.Range // of the word stack
	bad       bool      // it cannot be made a stack, see findings
	findings  []plumbline.Finding
}

// located is a string with its place in .plumbline.hcl.
type located struct {
	text string
	rng  hcl.Range
}

func readSettings(fsys fs.FS, maxFile int64) (settings, error) {
	info, err := fs.Stat(fsys, settingsName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return settings{}, nil
	case err != nil:
		return settings{}, fmt.Errorf("read %s: %w", settingsName, err)
	case info.Size() > maxFile || !info.Mode().IsRegular():
		return settings{doubts: []plumbline.Finding{{File: settingsName, Message: fmt.Sprintf("this must be a regular file of at most %d bytes", maxFile)}}}, nil
	}
	src, err := fs.ReadFile(fsys, settingsName)
	if err != nil {
		return settings{}, fmt.Errorf("read %s: %w", settingsName, err)
	}
	return parseSettings(src), nil
}

func (s *settings) finding(at hcl.Range, format string, args ...any) plumbline.Finding {
	return plumbline.Finding{
		File: settingsName, Line: at.Start.Line, Column: at.Start.Column,
		Source: sourceLine(s.src, at.Start.Line), Message: fmt.Sprintf(format, args...),
	}
}

// settingsReader collects findings in the file.
type settingsReader struct {
	settings
	found []plumbline.Finding
}

func (r *settingsReader) find(at hcl.Range, format string, args ...any) {
	r.found = append(r.found, r.finding(at, format, args...))
}

// take returns what was found since the last call.
func (r *settingsReader) take() []plumbline.Finding {
	out := r.found
	r.found = nil
	return out
}

func parseSettings(src []byte) settings {
	r := &settingsReader{settings: settings{src: src}}
	out := &r.settings
	if at, deep := tooDeep(src, hclsyntax.LexConfig, hcl.InitialPos); deep {
		r.find(hcl.Range{Start: at}, "expressions are nested deeper than %d here", maxNesting)
		out.doubts = r.take()
		return *out
	}
	file, diags := hclsyntax.ParseConfig(src, settingsName, hcl.InitialPos)
	if diags.HasErrors() { // what follows the first error is mostly its echo
		out.doubts = append(out.doubts, findingOf(settingsName, src, diags[0]))
	}
	body := file.Body.(*hclsyntax.Body)
	for _, a := range inOrder(body.Attributes) {
		r.find(a.NameRange, "unknown attribute %q; this file has only stack blocks", a.Name)
	}
	for _, b := range body.Blocks {
		if b.Type != "stack" {
			r.find(b.TypeRange, "unknown block %q%s", b.Type, didYouMean(b.Type, "stack"))
			continue
		}
		doubts := r.take()
		s := r.stack(b)
		s.findings = r.take()
		r.found = doubts
		if s.dir == "" { // whose block it is stays unknown
			r.found = append(r.found, s.findings...)
			continue
		}
		out.blocks = append(out.blocks, s)
	}
	out.doubts = append(out.doubts, r.take()...)
	sortFindings(out.doubts)
	return *out
}

var stackAttributes = []string{"dir", "workspace", "var_files", "version", "depends_on", "watch"}

var workspaceName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (r *settingsReader) stack(b *hclsyntax.Block) stackBlock {
	s := stackBlock{rng: b.TypeRange}
	if len(b.Labels) == 1 && b.Labels[0] != "" {
		s.alias = b.Labels[0]
	} else {
		r.find(b.TypeRange, `a stack block has one label, its name: stack "network" { … }`)
	}
	for _, n := range b.Body.Blocks {
		r.find(n.TypeRange, "unknown block %q in stack %q%s", n.Type, s.alias, didYouMean(n.Type, stackAttributes...))
	}
	for _, a := range inOrder(b.Body.Attributes) {
		switch a.Name {
		case "dir":
			if t, ok := r.text(a.Name, a.Expr); ok {
				s.dir = path.Clean(t.text)
				if t.text == "" || path.IsAbs(t.text) || escapes(s.dir) || !fs.ValidPath(s.dir) {
					s.dir = ""
					r.find(t.rng, "dir %q is not a directory of this repository; write it from the repository's root, such as \"live/network\"", t.text)
				}
			}
		case "workspace":
			t, ok := r.text(a.Name, a.Expr)
			if ok && !workspaceName.MatchString(t.text) {
				ok = false
				r.find(t.rng, "workspace %q is not a name; names are made of letters, digits, '.', '_' and '-'", t.text)
			}
			s.bad = s.bad || !ok
			if s.workspace = t.text; t.text == "default" {
				s.workspace = ""
			}
		case "version":
			if t, ok := r.text(a.Name, a.Expr); ok {
				if _, err := version.NewConstraint(t.text); err != nil {
					r.find(t.rng, "version %q is not a version constraint such as \"1.11.4\" or \"~> 1.11\"", t.text)
				} else {
					s.version = t.text
				}
			}
		case "var_files":
			s.varFiles = r.list(a)
		case "depends_on":
			s.dependsOn = r.list(a)
		case "watch":
			s.watch = r.list(a)
		default:
			r.find(a.NameRange, "unknown attribute %q in stack %q%s", a.Name, s.alias, didYouMean(a.Name, stackAttributes...))
		}
	}
	if b.Body.Attributes["dir"] == nil {
		r.find(b.TypeRange, "stack %q has no dir", s.alias)
	}
	if s.dir != "" {
		s.varFiles = r.inside(s.dir, s.varFiles, "var file %q is not in this repository; write it relative to %s")
		s.watch = r.inside(s.dir, s.watch, "watch %q is no pattern for files in this repository; write it relative to %s, such as \"../../shared/*.json\"")
	}
	return s
}

// inside keeps the paths, or patterns, that stay in the repository when read relative to dir.
func (r *settingsReader) inside(dir string, paths []located, format string) (out []located) {
	for _, p := range paths {
		full := path.Join(dir, p.text)
		up := strings.LastIndex(p.text, "..")
		if p.text == "" || path.IsAbs(p.text) || strings.ContainsRune(p.text, 0) || escapes(full) || !doublestar.ValidatePattern(p.text) ||
			up >= 0 && strings.ContainsAny(p.text[:up], "*?[{") { // "*/.." cannot be cleaned away
			r.find(p.rng, format, p.text, dir)
			continue
		}
		out = append(out, p)
	}
	return out
}

func (r *settingsReader) text(name string, e hclsyntax.Expression) (located, bool) {
	rng := e.Range()
	var b strings.Builder
	for _, p := range parts(e) {
		if p == nil || strings.ContainsRune(*p, 0) {
			r.find(rng, "%s must be plain text", name)
			return located{rng: rng}, false
		}
		b.WriteString(*p)
	}
	return located{b.String(), rng}, true
}

func (r *settingsReader) list(a *hclsyntax.Attribute) (out []located) {
	t, ok := a.Expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		r.find(a.Expr.Range(), "%s must be a list of texts, such as [\"a\", \"b\"]", a.Name)
		return nil
	}
	for _, e := range t.Exprs {
		if l, ok := r.text(a.Name, e); ok {
			out = append(out, l)
		}
	}
	return out
}

func inOrder(attrs hclsyntax.Attributes) []*hclsyntax.Attribute {
	out := make([]*hclsyntax.Attribute, 0, len(attrs))
	for _, a := range attrs {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].SrcRange.Start.Byte < out[j].SrcRange.Start.Byte })
	return out
}

// didYouMean returns "; did you mean …?" for the known name that is at most two keystrokes away.
func didYouMean(given string, known ...string) string {
	best, least := "", min(3, 1+len(given)/2)
	for _, k := range known {
		if d := levenshtein.Distance(given, k, nil); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// escapes says whether a cleaned path leads out of the repository.
func escapes(p string) bool { return p == ".." || strings.HasPrefix(p, "../") }
