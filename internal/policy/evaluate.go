package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// maxMessage is how long a message may be in bytes. It is not cut, since half a secret could not be masked any more.
const maxMessage = 64 << 10

// Evaluate holds a plan against the policies. plan is what `terraform show -json PLANFILE` writes, of at most [MaxPlan] bytes; facts must have a
// time. The findings are sorted: what denies, what asks for approval, what warns; then by policy, address, message. None is there twice.
//
// It ends when ctx does. Any error means that the plan must not be applied; that of a rule names its file and line, and may quote values of the
// plan.
func (s *Set) Evaluate(ctx context.Context, plan io.Reader, facts plumbline.Facts) ([]plumbline.PolicyFinding, error) {
	if facts.Time.IsZero() {
		return nil, errors.New("the facts of the run have no time, which policies may ask for")
	}
	input, err := decode(ctx, plan, facts)
	if err != nil {
		return nil, err
	}
	results, err := s.query.Eval(ctx, rego.EvalParsedInput(input), rego.EvalTime(facts.Time),
		rego.EvalRuleIndexing(false), // the index passes over a rule in which startswith is given a number, where the rule itself would fail
	)
	if err != nil {
		return nil, wrong(ctx, err)
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("the policies gave %d answers instead of one", len(results))
	}
	var out []plumbline.PolicyFinding
	for i, d := range s.decisions {
		found, ok := results[0].Bindings[variable(i)].([]any)
		if !ok || len(found) > 1 {
			return nil, fmt.Errorf("%s: gave no answer", d)
		}
		if len(found) == 0 {
			continue
		}
		elements, ok := found[0].([]any)
		if !ok {
			return nil, fmt.Errorf("%s: is %s, not a set; write `%s contains msg if { … }`", d, kindOf(found[0]), d.name)
		}
		for _, e := range elements {
			f, err := finding(d, e)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", d, err)
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, compare)
	return slices.CompactFunc(out, func(a, b plumbline.PolicyFinding) bool { return compare(a, b) == 0 }), nil
}

var order = []plumbline.PolicyLevel{plumbline.PolicyDeny, plumbline.PolicyApprove, plumbline.PolicyWarn}

func compare(a, b plumbline.PolicyFinding) int {
	return cmp.Or(
		slices.Index(order, a.Level)-slices.Index(order, b.Level), strings.Compare(a.Policy, b.Policy), strings.Compare(a.Address, b.Address),
		strings.Compare(a.Message, b.Message), slices.Compare(a.From, b.From),
	)
}

// wrong says why rules could not be evaluated.
func wrong(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the policies were not evaluated to their end: %w", context.Cause(ctx))
	}
	var e *topdown.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("policies: %w", err)
	}
	return errors.New(describe(e))
}

// describe is an error of a rule with its place.
func describe(e *topdown.Error) string {
	message := strings.Join(strings.Fields(e.Message), " ")
	if e.Location == nil {
		return message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Location.File, e.Location.Row, e.Location.Col, message)
}

// finding reads an element of a rule.
func finding(d decision, element any) (plumbline.PolicyFinding, error) {
	f := plumbline.PolicyFinding{Policy: d.pack, Level: d.level}
	var from any
	switch e := element.(type) {
	case string:
		f.Message = e
	case map[string]any:
		var ok bool
		if f.Message, ok = e["msg"].(string); !ok {
			return f, fmt.Errorf(`an element has %s where "msg" must be a string`, kindOf(e["msg"]))
		}
		if address, there := e["address"]; there {
			if f.Address, ok = address.(string); !ok {
				return f, fmt.Errorf(`an element has %s where "address" must be a string`, kindOf(address))
			}
		}
		from = e["from"]
	default:
		return f, fmt.Errorf(`an element is %s; it must be a string, or an object with "msg"`, kindOf(element))
	}
	f.Message = strings.TrimSpace(f.Message)
	switch {
	case f.Message == "":
		return f, errors.New("an element has an empty message")
	case len(f.Message)+len(f.Address) > maxMessage:
		return f, fmt.Errorf("a message has %d bytes; at most %d fit", len(f.Message)+len(f.Address), maxMessage)
	case d.level != plumbline.PolicyApprove && from != nil:
		return f, errors.New(`an element has "from", which only require_approval may have`)
	case d.level != plumbline.PolicyApprove:
		return f, nil
	}
	var err error
	f.From, err = people(from)
	return f, err
}

// people reads the "from" of an element.
func people(from any) ([]string, error) {
	list, ok := from.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf(`an element must say in "from" who may approve, such as ["group:dba"], and has %s there`, kindOf(from))
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		who, ok := v.(string)
		kind, name, _ := strings.Cut(who, ":")
		if !ok || name == "" || !slices.Contains([]string{"group", "user", "role"}, kind) ||
			strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			return nil, fmt.Errorf(`an element has %s in "from"; write group:NAME, user:NAME or role:NAME`, quoted(v))
		}
		out = append(out, who)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", shortened(s, maxSource))
	}
	return kindOf(v)
}

// kindOf names a value without quoting it.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
