package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Outcome is what became of a test.
type Outcome string

// The outcomes of tests.
const (
	Passed  Outcome = "pass"
	Failed  Outcome = "fail"
	Errored Outcome = "error" // a rule or a function that it called failed
	Skipped Outcome = "skip"  // its name begins with todo_
)

// Result is what became of one test.
type Result struct {
	Name    string // "plumbline.storage.test_public_acl"
	File    string
	Line    int
	Outcome Outcome
	Why     string   // with the place, as far as that is known: what did not hold, or what the error is
	Cases   []string // of a test with cases: those that failed, sorted
	Output  string   // what it printed
}

// Results are those of tests in order of place.
type Results []Result

// Count is how many had one of the outcomes.
func (r Results) Count(outcomes ...Outcome) int {
	n := 0
	for _, t := range r {
		if slices.Contains(outcomes, t.Outcome) {
			n++
		}
	}
	return n
}

// ErrNoTests is that of [Test] when there is nothing to run.
var ErrNoTests = errors.New("no tests")

// testPatience is how long one test may take.
const testPatience = 30 * time.Second

// Test runs the rules named test_… in the *_test.rego files of the directories, whose names ("plumbline.storage.test_acl") the regular expression
// filter matches; "" matches all. Tests see what rules see of Rego, and no plan but what they say with `with input as`.
//
// An error is one of reading or compiling, as of [Load], or that there are no such tests; tests that fail are in the results.
func Test(ctx context.Context, dirs []string, filter string) (Results, error) {
	match, err := regexp.Compile(filter)
	if err != nil {
		return nil, err
	}
	s, err := read(dirs, true)
	if err != nil {
		return nil, err
	}
	s.decisions() // notes rules that could never say anything
	return s.test(ctx, match)
}

func (s *sources) test(ctx context.Context, match *regexp.Regexp) (Results, error) {
	if err := s.errors(); err != nil {
		return nil, err
	}
	results, err := s.run(ctx, "", false)
	if err != nil {
		return nil, err
	}
	results = slices.DeleteFunc(results, func(t *tester.Result) bool { return !match.MatchString(testName(t)) })
	if len(results) == 0 {
		return nil, ErrNoTests
	}
	var failed []string
	for _, t := range results {
		if t.Fail {
			failed = append(failed, regexp.QuoteMeta(t.Package+"."+t.Name))
		}
	}
	places := map[string]string{}
	if len(failed) > 0 { // once more, to see where: a trace of all would take much memory
		again, err := s.run(ctx, "^("+strings.Join(failed, "|")+")$", true)
		if err != nil {
			return nil, err
		}
		for _, t := range again {
			places[testName(t)] = failedAt(t)
		}
	}
	out := make(Results, 0, len(results))
	for _, t := range results {
		out = append(out, result(t, places[testName(t)]))
	}
	slices.SortFunc(out, func(a, b Result) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// run has the tests run whose full names match a pattern.
func (s *sources) run(ctx context.Context, pattern string, trace bool) ([]*tester.Result, error) {
	ch, err := tester.NewRunner().SetCompiler(s.compiler(true)).SetModules(s.modules).SetStore(s.store()).Filter(pattern).
		RaiseBuiltinErrors(true).CapturePrintOutput(true).EnableTracing(trace).SetTimeout(testPatience).RunTests(ctx, nil)
	if err != nil {
		s.rego(err)
		return nil, s.errors()
	}
	var out []*tester.Result
	for t := range ch {
		out = append(out, t)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the tests were not run to their end: %w", context.Cause(ctx))
	}
	return out, nil
}

func testName(t *tester.Result) string { return strings.TrimPrefix(t.Package, "data.") + "." + t.Name }

func result(t *tester.Result, place string) Result {
	r := Result{Name: testName(t), Outcome: Passed, Output: string(t.Output)}
	if t.Location != nil {
		r.File, r.Line = t.Location.File, t.Location.Row
	}
	var e *topdown.Error
	switch {
	case t.Skip:
		r.Outcome = Skipped
	case errors.As(t.Error, &e):
		r.Outcome, r.Why = Errored, describe(e)
		if e.Code == topdown.CancelErr {
			r.Why = fmt.Sprintf("it took more than %s", testPatience)
		}
	case t.Error != nil:
		r.Outcome, r.Why = Errored, first(t.Error)
	case t.Fail:
		r.Outcome, r.Why = Failed, place
		for name, sub := range t.SubResults.Iter {
			if sub.Fail && len(sub.SubResults) == 0 {
				r.Cases = append(r.Cases, strings.Join(name, "."))
			}
		}
	}
	return r
}

// failedAt is the last expression in the file of a test that did not hold while it was run.
func failedAt(t *tester.Result) string {
	for _, e := range slices.Backward(t.Trace) {
		if e.Op != topdown.FailOp || e.Location == nil || t.Location == nil || e.Location.File != t.Location.File {
			continue
		}
		text := strings.Join(strings.Fields(string(e.Location.Text)), " ")
		return fmt.Sprintf("%s:%d: `%s` does not hold", e.Location.File, e.Location.Row, shortened(text, maxSource))
	}
	return ""
}

// several is how the runner writes the errors of one test if there is more than one.
var several = regexp.MustCompile(`^\[\{\w+ (.*?) (\S+:\d+) `)

// first is the first of them.
func first(err error) string {
	if m := several.FindStringSubmatch(err.Error()); m != nil {
		return m[2] + ": " + m[1]
	}
	return shortened(err.Error(), maxProblem)
}
