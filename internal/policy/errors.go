package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Errors is every mistake in policies, in order of place. It is never empty.
type Errors []plumbline.Finding

// Error lists the mistakes, each with its source line, and ends with their number.
func (e Errors) Error() string {
	var b strings.Builder
	for i, f := range e {
		if i == maxShown {
			break
		}
		if f.File != "" {
			b.WriteString(f.File)
			if f.Line > 0 {
				fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
			}
			b.WriteString(": ")
		}
		b.WriteString(f.Message)
		if f.Source != "" {
			fmt.Fprintf(&b, "\n  %d │ %s", f.Line, f.Source)
		}
		b.WriteByte('\n')
	}
	b.WriteString(count(len(e), "mistake") + " in the policies")
	if len(e) > maxShown {
		fmt.Fprintf(&b, ", of which these are the first %d", maxShown)
	}
	return b.String()
}

// Is makes mistakes a kind of plumbline.ErrInvalid.
func (e Errors) Is(target error) bool { return target == plumbline.ErrInvalid }

func (e *Errors) add(file string, line, column int, format string, args ...any) {
	*e = append(*e, plumbline.Finding{File: file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}

// How many mistakes are shown, and how many characters of a source line and of a message.
const (
	maxShown   = 50
	maxSource  = 160
	maxProblem = 600
)

// errors is what is wrong so far, sorted, each once, with the source lines; nil if nothing is.
func (s *sources) errors() error {
	if len(s.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(s.errs, func(a, b plumbline.Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Message, b.Message))
	})
	s.errs = slices.Compact(s.errs)
	for i := range s.errs {
		f := &s.errs[i]
		f.Message = shortened(strings.Join(strings.Fields(f.Message), " "), maxProblem)
		if lines := bytes.Split(s.text[f.File], []byte("\n")); f.Line > 0 && f.Line <= len(lines) {
			f.Source = shortened(strings.TrimRight(string(lines[f.Line-1]), " \t\r"), maxSource)
		}
	}
	return s.errs
}

func shortened(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

var undefinedFunction = regexp.MustCompile(`undefined function (\S+)`)

// rego notes what the parser or the compiler says.
func (s *sources) rego(err error) {
	var list ast.Errors
	if !errors.As(err, &list) {
		s.errs.add(s.someFile(), 0, 0, "%v", err)
		return
	}
	for _, e := range list {
		at := ast.Location{}
		if e.Location != nil {
			at = *e.Location
		}
		message := e.Message
		if m := undefinedFunction.FindStringSubmatch(message); m != nil && absent[m[1]] != "" {
			message = fmt.Sprintf("policies do not have %s: %s; they see the plan, the run and their own data", m[1], absent[m[1]])
		} else if e.Details != nil && e.Code != ast.ParseErr { // the parser's details are the source line
			message += ": " + strings.Join(e.Details.Lines(), "; ")
		}
		s.errs.add(at.File, at.Row, at.Col, "%s", message)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
