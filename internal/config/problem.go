package config

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Problem is one mistake in a configuration.
type Problem struct {
	File    string
	Line    int    // 1-based
	Column  int    // 1-based, in characters
	Source  string // the line, with secrets masked
	Message string // what is wrong, then what to write instead
}

func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s\n  %d │ %s", p.File, p.Line, p.Column, p.Message, p.Line, p.Source)
}

// Errors is every mistake of a configuration in order of place. It is never empty.
type Errors []Problem

// Error lists the mistakes, one per two lines, and ends with what came of it.
func (e Errors) Error() string {
	var b strings.Builder
	files := map[string]bool{}
	for _, p := range e {
		files[p.File] = true
		b.WriteString(p.String())
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s in %s. Nothing was changed.", count(len(e), "mistake"), count(len(files), "file"))
	return b.String()
}

// Is makes mistakes a kind of plumbline.ErrInvalid.
func (e Errors) Is(target error) bool { return target == plumbline.ErrInvalid }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// problem notes a mistake. Values from the configuration come into a message only by way of text.String, which hides secrets.
func (r *reader) problem(at hcl.Range, format string, args ...any) {
	r.problems = append(r.problems, Problem{
		File:    at.Filename,
		Line:    max(at.Start.Line, 1),
		Column:  max(at.Start.Column, 1),
		Message: fmt.Sprintf(format, args...),
	})
}

// errors returns the mistakes sorted by place, each once, with their source lines.
func (r *reader) errors() Errors {
	sort.SliceStable(r.problems, func(i, j int) bool {
		a, b := r.problems[i], r.problems[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	var out Errors
	for _, p := range r.problems {
		p.Message = shortened(r.masked(p.Message), maxMessage)
		p.Source = r.source(p.File, p.Line)
		if len(out) == 0 || out[len(out)-1] != p {
			out = append(out, p)
		}
	}
	return out
}

var (
	secretName   = regexp.MustCompile(`(?i)token|password|passwd|secret|routing_key`)
	secretAssign = regexp.MustCompile(`(?i)(?:token|password|passwd|secret|routing_key)\w*"?\s*[=:]\s*`)
	fromOutside  = regexp.MustCompile(`^(?:\w+\()*(?:(?:env|file)\("[^"]*"|aws_(?:secret|ssm)\("[^"]*"(?:, *"[^"]*")?)\)*\s*(?:#.*)?$`)
	userinfo     = regexp.MustCompile(`(://)[^\s"]*:[^\s"]*@|(")[^\s":/@]+:[^\s"/][^\s"]*@`)
	keyMaterial  = regexp.MustCompile(`-----BEGIN.*`)
	hookPath     = regexp.MustCompile(`(?i)(https?://[^\s"/]+/)(?:services|workflows|webhook\w*|hooks?)/[^\s"]+`)
	queryAssign  = regexp.MustCompile(`([?&](?:ssl)?password=)[^&\s"]*`)
)

// How many characters are shown of a source line and of a message, into either of which a mistake can put a whole file.
const (
	maxSource  = 160
	maxMessage = 400
)

// source is a line of a file as it may be shown. A secret that was written into the file as a literal is masked by where it stands,
// since a file with a mistake may be too broken for its value to be known.
func (r *reader) source(file string, line int) string {
	lines := r.lines[file]
	if line > len(lines) {
		return ""
	}
	if from := r.hidden[file]; from > 0 && line > from {
		return plumbline.Masked
	}
	for _, s := range r.secretLines[file] {
		if line > s.Start.Line && line <= s.End.Line {
			return plumbline.Masked
		}
	}
	s := lines[line-1]
	if before, _, found := cutSecret(s); found {
		s = before + plumbline.Masked
	}
	s = userinfo.ReplaceAllString(s, "${1}${2}"+plumbline.Masked+"@")
	s = keyMaterial.ReplaceAllString(s, plumbline.Masked)
	s = queryAssign.ReplaceAllString(s, "${1}"+plumbline.Masked)
	s = hookPath.ReplaceAllString(s, "${1}"+plumbline.Masked)
	s = r.masked(s)
	return strings.Map(func(c rune) rune {
		if c != '\t' && !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, shortened(s, maxSource))
}

func shortened(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// cutSecret splits a source line where a secret is set to anything but the name of what holds it.
func cutSecret(line string) (before, value string, found bool) {
	at := secretAssign.FindStringIndex(line)
	if at == nil || fromOutside.MatchString(line[at[1]:]) {
		return line, "", false
	}
	return line[:at[1]], line[at[1]:], true
}

// masked replaces the secrets that are known. It is the second line of defence; values too short to be told from ordinary words are
// left to the first, which never lets a secret into a message.
func (r *reader) masked(s string) string {
	for _, secret := range r.secretValues() {
		if len(secret) >= 4 {
			s = strings.ReplaceAll(s, secret, plumbline.Masked)
		}
	}
	return s
}

// redefined is how the HCL parser names an attribute that is set twice.
const redefined = "Attribute redefined"

// syntax notes what the HCL parser says, once per line: what it says after that follows from the first mistake.
func (r *reader) syntax(diags hcl.Diagnostics, src []byte) {
	seen := map[int]bool{}
	for _, d := range diags {
		if d.Severity != hcl.DiagError || d.Subject == nil || seen[d.Subject.Start.Line] {
			continue
		}
		seen[d.Subject.Start.Line] = true
		if d.Summary == redefined {
			r.problem(*d.Subject, "%q is set twice in the same block; keep one", d.Subject.SliceBytes(src))
			continue
		}
		r.problem(*d.Subject, "%s", sentence(d))
	}
}

// evaluation notes why an expression has no value. HCL's own words may quote values, so they are kept back where a secret takes part.
func (r *reader) evaluation(e hclsyntax.Expression, diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		at := e.Range()
		if d.Subject != nil {
			at = *d.Subject
		}
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok && call.FunctionCallError() != nil {
			name := call.CalledFunctionName()
			switch {
			case slices.Contains(confidants, name) || (name == "file" && !mentionsEnv(e)):
				r.problem(at, "%v", call.FunctionCallError())
				continue
			case !mentionsEnv(e):
				r.problem(at, "%s() does not accept this: %v", name, call.FunctionCallError())
				continue
			}
		}
		if mentionsEnv(e) {
			r.problem(at, "%s (not said in more detail, since a value from env() or a secret takes part)", lowerFirst(d.Summary))
			continue
		}
		r.problem(at, "%s", sentence(d))
	}
}

// confidants are functions whose values are secrets, and whose own errors hold none.
var confidants = []string{"env", "aws_secret", "aws_ssm"}

func mentionsEnv(e hclsyntax.Expression) bool {
	found := false
	visit(e, func(n hclsyntax.Node) {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok && slices.Contains(confidants, call.Name) {
			found = true
		}
	})
	return found
}

// visit calls f for every node of an expression.
func visit(e hclsyntax.Expression, f func(hclsyntax.Node)) {
	// VisitAll only hands back what the callback returns.
	_ = hclsyntax.VisitAll(e, func(n hclsyntax.Node) hcl.Diagnostics {
		f(n)
		return nil
	})
}

func sentence(d *hcl.Diagnostic) string {
	return lowerFirst(d.Summary) + ": " + lowerFirst(strings.TrimSuffix(strings.Join(strings.Fields(d.Detail), " "), "."))
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	if second, _ := utf8.DecodeRuneInString(s[size:]); unicode.IsUpper(second) {
		return s // an abbreviation
	}
	return string(unicode.ToLower(first)) + s[size:]
}
