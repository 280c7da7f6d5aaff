package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// load writes one policy and compiles it.
func load(tb testing.TB, text string) (*Set, error) {
	tb.Helper()
	dir := tb.TempDir()
	write(tb, filepath.Join(dir, "a.rego"), text)
	return Load([]string{dir})
}

func write(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

const rule = "package a\n\ndeny contains \"x\"\n"

// TestNothingReachesOut: whatever Rego has that answers differently the second time, or asks somebody, is gone.
func TestNothingReachesOut(t *testing.T) {
	// time.now_ns is the time of the facts, and decode_verify goes by the same clock.
	known := []string{"time.now_ns", "io.jwt.decode_verify"}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if b.Nondeterministic && absent[b.Name] == "" && !slices.Contains(known, b.Name) {
			t.Errorf("policies have %s", b.Name)
		}
	}
	for name := range absent {
		var of *ast.Builtin
		for _, b := range ast.CapabilitiesForThisVersion().Builtins {
			if b.Name == name {
				of = b
			}
		}
		if of == nil {
			t.Errorf("Rego has no %s", name)
			continue
		}
		args := strings.TrimSuffix(strings.Repeat("input, ", len(of.Decl.FuncArgs().Args)), ", ")
		_, err := load(t, fmt.Sprintf("package a\n\ndeny contains \"x\" if %s(%s)\n", name, args))
		if err == nil || !strings.Contains(err.Error(), "a.rego:3:22: policies do not have "+name) {
			t.Errorf("%s: %v", name, err)
		}
		// Nor under another name.
		if _, err := load(t, fmt.Sprintf("package a\n\ndeny contains \"x\" if count(\"a\") == 1 with count as %s\n", name)); err == nil {
			t.Errorf("%s can replace a function", name)
		}
	}
}

// TestEnds: evaluation ends with its context, whatever a rule is doing.
func TestEnds(t *testing.T) {
	for name, body := range map[string]string{
		"loops":         `count([1 | some a in xs; some b in xs; some c in xs; some d in xs; a + b + c + d < 0]) > 0`,
		"a range":       `count(numbers.range(1, 1000000000000)) > 0`,
		"addresses":     `count(net.cidr_expand("::/0")) > 0`,
		"walks":         `count([1 | walk([xs, xs], [_, a]); walk([xs, xs], [_, b]); walk([xs, xs], [_, c]); a == [b, c]]) > 0`,
		"a long string": `count([1 | some a in xs; some b in xs; some c in xs; contains(concat(",", ys), sprintf("%d %d %d", [a, b, c]))]) > 0`,
		"objects":       `count([1 | some a in xs; some b in xs; some c in xs; object.union({"a": a}, {"b": b}) == {"c": c}]) > 0`,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := load(t, "package a\n\nxs := numbers.range(1, 5000)\n\nys := [sprintf(\"%d\", [x]) | some x in xs]\n\ndeny contains \"x\" if "+body+"\n")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err = s.Evaluate(ctx, strings.NewReader(`{"format_version":"1.2"}`), testFacts)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("it went on for %s", d)
			}
		})
	}
	t.Run("reading", func(t *testing.T) {
		s, err := load(t, rule)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the daemon stops")
		in := io.MultiReader(strings.NewReader(`{"format_version":"1.2","a":[`), readerFunc(func(p []byte) (int, error) {
			cancel(why)
			return copy(p, `[],`), nil
		}))
		if _, err := s.Evaluate(ctx, in, testFacts); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTooLarge(t *testing.T) {
	s, err := load(t, rule)
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"format_version":"1.2"`
	blanks := func(n int64) io.Reader {
		return io.LimitReader(readerFunc(func(p []byte) (int, error) {
			for i := range p {
				p[i] = ' '
			}
			return len(p), nil
		}), n)
	}
	exactly := io.MultiReader(strings.NewReader(head), blanks(MaxPlan-int64(len(head))-1), strings.NewReader("}"))
	if _, err := s.Evaluate(t.Context(), exactly, testFacts); err != nil {
		t.Errorf("a plan of %d bytes: %v", MaxPlan, err)
	}
	more := io.MultiReader(strings.NewReader(head), blanks(MaxPlan-int64(len(head))), strings.NewReader("}"))
	if _, err := s.Evaluate(t.Context(), more, testFacts); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("a plan of %d bytes: %v", MaxPlan+1, err)
	}
	deep := strings.NewReader(head + `,"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}")
	if _, err := s.Evaluate(t.Context(), deep, testFacts); err == nil || !strings.Contains(err.Error(), "nested deeper than 1000") {
		t.Errorf("a deep plan: %v", err)
	}
	wordy, err := load(t, "package a\n\ndeny contains input.long\n")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]string{maxMessage: "", maxMessage + 1: "a.deny"} {
		_, err := wordy.Evaluate(t.Context(), strings.NewReader(head+`,"long":"`+strings.Repeat("x", n)+`"}`), testFacts)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("a message of %d bytes: %v", n, err)
		}
	}
}

func TestReaderFails(t *testing.T) {
	s, err := load(t, rule)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is gone")
	in := io.MultiReader(strings.NewReader(`{"format_version":"1.2",`), readerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := s.Evaluate(t.Context(), in, testFacts); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestNoTime(t *testing.T) {
	s, err := load(t, rule)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Evaluate(t.Context(), strings.NewReader(`{"format_version":"1.2"}`), plumbline.Facts{}); err == nil || !strings.Contains(err.Error(), "no time") {
		t.Errorf("got %v", err)
	}
}

// TestManyAtOnce: one set, many plans, the same findings for the same plan.
func TestManyAtOnce(t *testing.T) {
	s, err := Load([]string{starter})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := os.ReadFile("testdata/plans/change.json")
	if err != nil {
		t.Fatal(err)
	}
	all := make([][]plumbline.PolicyFinding, 4)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = s.Evaluate(context.Background(), strings.NewReader(string(plan)), testFacts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, got := range all[1:] {
		if len(got) == 0 || !reflect.DeepEqual(got, all[0]) {
			t.Errorf("%v\nand\n%v", all[0], got)
		}
	}
}

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "elsewhere/secret.json"), `{"secret": "hunter2"}`)
	write(t, filepath.Join(dir, "elsewhere/b.rego"), "package b\n\ndeny contains \"y\"\n")

	// As Kubernetes mounts a ConfigMap.
	mounted := filepath.Join(dir, "mounted")
	write(t, filepath.Join(mounted, "..2026/a.rego"), rule)
	link(t, "..2026", filepath.Join(mounted, "..data"))
	link(t, "..data/a.rego", filepath.Join(mounted, "a.rego"))
	if s, err := Load([]string{mounted}); err != nil || s.Rules() != 1 {
		t.Errorf("a mounted ConfigMap: %v", err)
	}

	out := filepath.Join(dir, "out")
	write(t, filepath.Join(out, "a.rego"), rule)
	link(t, "../elsewhere/secret.json", filepath.Join(out, "data.json"))
	if _, err := Load([]string{out}); err == nil || !strings.Contains(err.Error(), "out/data.json: ") || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a link out of the directory: %v", err)
	}

	whole := filepath.Join(dir, "whole")
	write(t, filepath.Join(whole, "a.rego"), rule)
	link(t, "../elsewhere", filepath.Join(whole, "sub"))
	if s, err := Load([]string{whole}); err != nil || s.Rules() != 1 {
		t.Errorf("a link to a directory: %v", err)
	}

	// The same directory twice is the same policies.
	if s, err := Load([]string{mounted, mounted + "/."}); err != nil || s.Rules() != 1 {
		t.Errorf("twice: %v", err)
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

func TestOddFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.rego"), rule)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	large, err := os.Create(filepath.Join(dir, "large.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(large.Truncate(maxFile+1), large.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Load([]string{dir, filepath.Join(dir, "a.rego"), filepath.Join(dir, "none")})
	for _, want := range []string{"pipe.json: this is not a file", "large.yaml: the file has more than 16 MiB", "a.rego: not a directory", "none: no such file or directory", "4 mistakes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := Load(nil); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("without directories: %v", err)
	}
}

// TestManyMistakes: what is shown of them has an end.
func TestManyMistakes(t *testing.T) {
	_, err := load(t, "package a\n\n"+strings.Repeat("deny if true\n", 60))
	if err == nil || strings.Count(err.Error(), "one value") != maxShown || !strings.HasSuffix(err.Error(), "60 mistakes in the policies, of which these are the first 50") {
		t.Errorf("got %v", err)
	}
}

func TestTestEnds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.rego"), rule)
	write(t, filepath.Join(dir, "a_test.rego"), "package a_test\n\ntest_x if count(numbers.range(1, 1000000000000)) > 0\n")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Test(ctx, []string{dir}, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := Test(t.Context(), []string{dir}, "("); err == nil {
		t.Error("a filter that is none is accepted")
	}
}

// BenchmarkEvaluate tells the memory of large plans: run it with -benchtime 1x.
func BenchmarkEvaluate(b *testing.B) {
	s, err := Load([]string{starter})
	if err != nil {
		b.Fatal(err)
	}
	for _, mb := range []int{10, 60} {
		plan := string(grown(b, mb*1_000_000))
		b.Run(fmt.Sprintf("%dMB", mb), func(b *testing.B) {
			var peak uint64
			for b.Loop() {
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					tick := time.NewTicker(20 * time.Millisecond)
					defer tick.Stop()
					for {
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak = max(peak, m.HeapInuse)
						select {
						case <-stop:
							return
						case <-tick.C:
						}
					}
				}()
				if _, err := s.Evaluate(b.Context(), strings.NewReader(plan), testFacts); err != nil {
					b.Fatal(err)
				}
				close(stop)
				<-stopped
			}
			b.ReportMetric(float64(len(plan))/1e6, "plan-MB")
			b.ReportMetric(float64(peak)/1e6, "peak-MB") // the plan's text among it
		})
	}
}

// FuzzEvaluate: whatever the plan is, there are findings in order or an error, twice the same.
func FuzzEvaluate(f *testing.F) {
	for _, file := range []string{"testdata/plans/change.json", "testdata/plans/destroy.json", "../tfplan/testdata/real/13-replace.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var plan struct {
			Changes []json.RawMessage `json:"resource_changes"`
		}
		if err := json.Unmarshal(text, &plan); err != nil {
			f.Fatal(err)
		}
		for _, change := range plan.Changes { // one in each: small inputs are mutated more often
			f.Add(fmt.Sprintf(`{"format_version":"1.2","resource_changes":[%s]}`, change))
		}
	}
	for _, plan := range []string{
		`{"format_version":"1.2","run":1,"resource_changes":[{"mode":"managed","type":"aws_security_group","address":"a","change":{"actions":["create"],"after":{"ingress":[{"cidr_blocks":["0.0.0.0/0"],"protocol":"tcp","from_port":null,"to_port":1e9}]}}}]}`,
		`{"format_version":"1.2","resource_changes":[{"mode":"managed","type":"aws_s3_bucket_policy","address":"a","change":{"actions":["create"],"after":{"policy":"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Condition\":[1]}}"}}}]}`,
		`{"format_version":"1.2","resource_changes":{"a":null}}`,
		`{"format_version":"1.2","resource_changes":[null,1,{"change":null},{"mode":"managed","change":{"actions":"delete"}}]}`,
	} {
		f.Add(plan)
	}
	s, err := Load([]string{starter})
	if err != nil {
		f.Fatal(err)
	}
	anything, err := load(f, "package a\n\nwarn contains json.marshal(v) if walk(input, [_, v])\n\nrequire_approval contains {\"msg\": p, \"address\": v, \"from\": [v]} if {\n\twalk(input, [path, v])\n\tp := concat(\".\", [x | some x in path; is_string(x)])\n}\n")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, plan string) {
		for _, set := range []*Set{s, anything} {
			got, err := set.Evaluate(t.Context(), strings.NewReader(plan), testFacts)
			again, err2 := set.Evaluate(t.Context(), strings.NewReader(plan), testFacts)
			if fmt.Sprint(err) != fmt.Sprint(err2) || !reflect.DeepEqual(got, again) {
				t.Fatalf("%v, %v and then %v, %v", got, err, again, err2)
			}
			if err != nil {
				continue
			}
			for i, x := range got {
				if i > 0 && compare(got[i-1], x) >= 0 {
					t.Errorf("%v before %v", got[i-1], x)
				}
				if x.Message == "" || x.Policy == "" || (x.Level == plumbline.PolicyApprove) != (len(x.From) > 0) {
					t.Errorf("%+v", x)
				}
			}
		}
	})
}
