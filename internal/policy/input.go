package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// MaxPlan is the largest plan JSON in bytes that policies are asked about.
const MaxPlan = 64 << 20

// The member of input that holds the facts of the run.
const runMember = "run"

// Bounds of what a plan may hold. Terraform writes neither; a number with a huge exponent would take as much memory as it has digits when a rule rounds it.
const (
	maxExponent = 1000
	maxDigits   = 4000
	maxDepth    = 1000
)

// decode reads a plan as the input document. It is made of Rego's own values at once: a plan that is decoded twice takes twice the memory.
func decode(ctx context.Context, plan io.Reader, facts plumbline.Facts) (ast.Value, error) {
	facts.Time = facts.Time.UTC()
	if facts.Authors == nil {
		facts.Authors = []string{} // a list that is null breaks rules that count it
	}
	if facts.Labels == nil {
		facts.Labels = []string{}
	}
	text, err := json.Marshal(facts)
	if err != nil {
		return nil, err
	}
	run, err := newDecoder(ctx, bytes.NewReader(text)).value(0)
	if err != nil {
		return nil, err
	}
	in := &bounded{r: plan, left: MaxPlan}
	d := newDecoder(ctx, in)
	d.run = run
	v, err := d.plan()
	switch {
	case in.left < 0:
		return nil, fmt.Errorf("the plan JSON has more than %d MiB, so policies cannot be asked about it; split the stack", MaxPlan>>20)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the plan was not read to its end: %w", context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("plan JSON, byte %d: %w", d.dec.InputOffset(), err)
	}
	return v, nil
}

// bounded is a reader that ends with an error after so many bytes; left is then negative.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errors.New("too long")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left+1)])
	b.left -= int64(n)
	return n, err
}

type decoder struct {
	ctx   context.Context
	dec   *jsontext.Decoder
	run   *ast.Term
	names map[string]*ast.Term // each name is there once, however many objects have it
}

func newDecoder(ctx context.Context, r io.Reader) *decoder {
	return &decoder{ctx: ctx, dec: jsontext.NewDecoder(r), names: map[string]*ast.Term{}}
}

// plan reads a whole plan.
func (d *decoder) plan() (ast.Value, error) {
	if d.dec.PeekKind() != '{' {
		if _, err := d.dec.ReadValue(); err != nil {
			return nil, broken(err)
		}
		return nil, errors.New("expected the output of `terraform show -json PLANFILE`, an object")
	}
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the end of the plan")
	}
	plan := v.Value.(ast.Object)
	format := plan.Get(ast.InternedTerm("format_version"))
	switch version, ok := stringOf(format); {
	case !ok:
		return nil, errors.New("no format_version; expected the output of `terraform show -json PLANFILE`")
	case !strings.HasPrefix(version, "1."):
		return nil, fmt.Errorf("format_version %q; policies are written for 1.x", shortened(version, maxSource))
	case plan.Get(ast.InternedTerm("values")) != nil:
		return nil, errors.New("this is a state, not a plan")
	}
	plan.Insert(d.name(runMember), d.run)
	return plan, nil
}

func stringOf(t *ast.Term) (string, bool) {
	if t == nil {
		return "", false
	}
	s, ok := t.Value.(ast.String)
	return string(s), ok
}

// name is a term for a member's name.
func (d *decoder) name(s string) *ast.Term {
	t, ok := d.names[s]
	if !ok {
		s = strings.Clone(s)
		t = ast.StringTerm(s)
		d.names[s] = t
	}
	return t
}

// value reads one value.
func (d *decoder) value(depth int) (*ast.Term, error) {
	tok, err := d.dec.ReadToken()
	if err != nil {
		return nil, broken(err)
	}
	switch tok.Kind() {
	case '{', '[':
		if depth++; depth > maxDepth {
			return nil, fmt.Errorf("nested deeper than %d", maxDepth)
		}
		if err := d.ctx.Err(); err != nil {
			return nil, err
		}
		if tok.Kind() == '{' {
			return d.object(depth)
		}
		return d.list(depth)
	case '"':
		return ast.StringTerm(tok.String()), nil
	case '0':
		s := tok.String()
		if err := usable(s); err != nil {
			return nil, err
		}
		return ast.NumberTerm(json.Number(s)), nil
	case 't', 'f':
		return ast.InternedTerm(tok.Bool()), nil
	default:
		return ast.InternedNullTerm, nil
	}
}

func (d *decoder) object(depth int) (*ast.Term, error) {
	var members [][2]*ast.Term
	for {
		tok, err := d.dec.ReadToken()
		if err != nil {
			return nil, broken(err)
		}
		if tok.Kind() == '}' {
			return ast.ObjectTerm(members...), nil
		}
		name := d.name(tok.String())
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		members = append(members, [2]*ast.Term{name, v})
	}
}

func (d *decoder) list(depth int) (*ast.Term, error) {
	var elements []*ast.Term
	for {
		if d.dec.PeekKind() == ']' {
			_, err := d.dec.ReadToken()
			return ast.ArrayTerm(elements...), err
		}
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		elements = append(elements, v)
	}
}

// usable refuses numbers that are short to write and long to compute with.
func usable(number string) error {
	mantissa, exponent, found := strings.Cut(strings.ToLower(number), "e")
	n := 0
	if found {
		var err error
		if n, err = strconv.Atoi(exponent); err != nil {
			n = maxExponent + 1 // it does not even fit
		}
	}
	if len(mantissa) > maxDigits || n > maxExponent || n < -maxExponent {
		return errors.New("a number that is too long to compute with")
	}
	return nil
}

// broken is what is wrong with JSON, without a quotation of it.
func broken(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("it ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("an object has the same name twice")
	case errors.As(err, &syntax):
		return errors.New("not valid JSON")
	}
	return err
}
