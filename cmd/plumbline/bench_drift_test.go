package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// BenchmarkDrift compares a drift check of all stacks, from the wish until it is told, with two at a time of bare `terraform plan -detailed-exitcode`, with
// the same `init` before it and without. Each stack has three parameters of a simulated AWS, and one stack in twenty has drifted. The two take turns.
// PLUMBLINE_BENCH_STACKS sets how many stacks there are.
func BenchmarkDrift(b *testing.B) {
	stacks := setting(b, "PLUMBLINE_BENCH_STACKS", 20, strconv.Atoi)
	b.Run(fmt.Sprintf("stacks=%d", stacks), func(b *testing.B) {
		r := newRig(b, testenv.Engines(b)[0], "cloud", stacks)
		var withInit, alone []float64
		for range b.N {
			for range 3 {
				inits, plans := r.bareDrift(b)
				wall, cpu := measure(func() { r.checkAll(b) })
				withInit, alone = append(withInit, wall/(inits+plans)), append(alone, wall/plans)
				b.Logf("%d stacks: bare init %.1f s and plan %.1f s, drift check %.1f s (%.1f s CPU), %.0f stacks a minute", stacks, inits, plans, wall, cpu, float64(stacks)/wall*60)
			}
		}
		b.ReportMetric(median(withInit), "x-bare-init-and-plan")
		b.ReportMetric(median(alone), "x-bare-plan")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkDriftQueue compares the throughput of a drift check of 1,000 stacks with that of bare init and plan of the same stacks, two at a time on both
// sides: how many are done within a sample of time, the bare ones before and after, so that a machine that changes its mind does not decide. A whole
// check takes a quarter of an hour. PLUMBLINE_BENCH_SAMPLE sets how long a sample is.
func BenchmarkDriftQueue(b *testing.B) {
	const stacks, warm = 1000, 10
	sample := setting(b, "PLUMBLINE_BENCH_SAMPLE", 3*time.Minute, time.ParseDuration)
	r := layRig(b, testenv.Engines(b)[0], "cloud", stacks)
	for range b.N {
		before := r.bareRate(b, sample)
		stop := r.start(b)
		var began, ended int
		r.await(b, func() bool {
			done, all := r.checked(b)
			began = done
			return all == stacks && done >= warm
		})
		_, cpu := measure(func() { <-time.After(sample) })
		ended, _ = r.checked(b)
		stop()
		after := r.bareRate(b, sample)
		ours, bare := float64(ended-began)/sample.Minutes(), (before+after)/2
		b.Logf("of %d stacks, a minute: %.1f checked (%.2f s CPU each), bare %.1f before and %.1f after", stacks, ours, cpu/float64(ended-began), before, after)
		b.ReportMetric(bare/ours, "x-bare-init-and-plan")
		b.ReportMetric(ours, "stacks/min")
		b.ReportMetric(bare, "bare-stacks/min")
	}
	b.ReportMetric(0, "ns/op")
}

// setting is an environment variable, or a default.
func setting[T any](b *testing.B, name string, otherwise T, parse func(string) (T, error)) T {
	b.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	v, err := parse(s)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return v
}

// bareRate is how many stacks a minute are initialized and planned, two at a time, in a sample of time.
func (r *rig) bareRate(b *testing.B, sample time.Duration) float64 {
	b.Helper()
	dir, err := os.MkdirTemp(r.dir, "bare-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var next, done atomic.Int64
	start := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for time.Since(start) < sample {
				n := int(next.Add(1) - 1)
				i, in := n%r.stacks, filepath.Join(dir, strconv.Itoa(n))
				if err := errors.Join(os.MkdirAll(in, 0o755), os.WriteFile(filepath.Join(in, "main.tf"), []byte(r.file(i, 0)), 0o644)); err != nil {
					b.Error(err)
					return
				}
				for _, args := range [][]string{
					{"init", "-input=false", "-no-color", fmt.Sprintf("-backend-config=path=%s/state/live/s%03d.tfstate", r.dir, i)},
					{"plan", "-input=false", "-no-color", "-detailed-exitcode"},
				} {
					cmd := exec.Command(r.engine.Path, args...)
					cmd.Dir, cmd.Env = in, r.bareEnv(dir)
					out, err := cmd.CombinedOutput()
					var exit *exec.ExitError
					if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
						b.Errorf("%s: %v\n%s", args[0], err, out)
						return
					}
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Minutes()
}

func cloudFile(i int) string {
	return fmt.Sprintf("terraform {\n  backend \"local\" {}\n  required_providers {\n    aws = {\n      source  = \"hashicorp/aws\"\n      version = \"6.20.0\"\n    }\n  }\n}\n\nprovider \"aws\" {\n  region = \"eu-west-1\"\n}\n\nresource \"aws_ssm_parameter\" \"x\" {\n  count = 3\n  name  = \"/s%03d/${count.index}\"\n  type  = \"String\"\n  value = \"as configured\"\n}\n", i)
}

// bareEnv is what a bare engine sees.
func (r *rig) bareEnv(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=" + filepath.Join(r.dir, "terraformrc"), "CLOUDSIM_DIR=" + r.cloud}
}

// populate applies the first stack, and makes the states and objects of the others of its: an apply of each would take longer than all that is measured.
func (r *rig) populate(b *testing.B) {
	b.Helper()
	state := func(i int) string { return filepath.Join(r.dir, fmt.Sprintf("state/live/s%03d.tfstate", i)) }
	in := filepath.Join(r.dir, "first")
	if err := errors.Join(os.MkdirAll(in, 0o755), os.MkdirAll(filepath.Dir(state(0)), 0o755), os.WriteFile(filepath.Join(in, "main.tf"), []byte(r.file(0, 0)), 0o644)); err != nil {
		b.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-input=false", "-backend-config=path=" + state(0)}, {"apply", "-input=false", "-auto-approve"},
		{"apply", "-refresh-only", "-input=false", "-auto-approve"}, // what the provider reads back by itself
	} {
		cmd := exec.Command(r.engine.Path, args...)
		cmd.Dir, cmd.Env = in, r.bareEnv(in)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	objects, err := filepath.Glob(filepath.Join(r.cloud, "aws/aws_ssm_parameter/*s000*"))
	if err != nil || len(objects) != 3 {
		b.Fatalf("%d objects: %v", len(objects), err)
	}
	copied := func(from, to string, i int) {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, []byte(strings.ReplaceAll(string(text), "s000", fmt.Sprintf("s%03d", i))), 0o644)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := 1; i < r.stacks; i++ {
		copied(state(0), state(i), i)
		for _, o := range objects {
			copied(o, filepath.Join(filepath.Dir(o), strings.ReplaceAll(filepath.Base(o), "s000", fmt.Sprintf("s%03d", i))), i)
		}
	}
	for i := 0; i < r.stacks; i += 20 { // drift
		path := strings.ReplaceAll(objects[0], "s000", fmt.Sprintf("s%03d", i))
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "as configured", "by hand")), 0o644)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// bareDrift initializes and plans all stacks in a fresh checkout, two at a time.
func (r *rig) bareDrift(b *testing.B) (inits, plans float64) {
	b.Helper()
	dir, err := os.MkdirTemp(r.dir, "bare-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	in := func(i int) string { return filepath.Join(dir, fmt.Sprintf("s%03d", i)) }
	for i := range r.stacks {
		if err := errors.Join(os.MkdirAll(in(i), 0o755), os.WriteFile(filepath.Join(in(i), "main.tf"), []byte(r.file(i, 0)), 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	drifted := 0
	var mu sync.Mutex
	all := func(args func(i int) []string) float64 {
		jobs := make(chan int, r.stacks)
		for i := range r.stacks {
			jobs <- i
		}
		close(jobs)
		start := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for i := range jobs {
					cmd := exec.Command(r.engine.Path, args(i)...)
					cmd.Dir, cmd.Env = in(i), r.bareEnv(dir)
					out, err := cmd.CombinedOutput()
					var exit *exec.ExitError
					switch {
					case errors.As(err, &exit) && exit.ExitCode() == 2:
						mu.Lock()
						drifted++
						mu.Unlock()
					case err != nil:
						b.Errorf("%s: %v\n%s", cmd.Args[1], err, out)
					}
				}
			})
		}
		wg.Wait()
		return time.Since(start).Seconds()
	}
	inits = all(func(i int) []string {
		return []string{"init", "-input=false", "-no-color", fmt.Sprintf("-backend-config=path=%s/state/live/s%03d.tfstate", r.dir, i)}
	})
	plans = all(func(int) []string { return []string{"plan", "-input=false", "-no-color", "-detailed-exitcode"} })
	if want := (r.stacks + 19) / 20; drifted != want {
		b.Fatalf("%d stacks have drifted, want %d", drifted, want)
	}
	return inits, plans
}

// checkAll asks for a check of all stacks and waits until it is told.
func (r *rig) checkAll(b *testing.B) {
	b.Helper()
	ctx := context.Background()
	var last plumbline.RunID
	runs, err := r.d.store.Runs(ctx, plumbline.RunFilter{Limit: 1})
	if err != nil || len(runs) == 0 {
		b.Fatalf("no run yet: %v", err)
	}
	last = runs[0].ID
	if _, err := r.d.store.Request(ctx, plumbline.Request{Repository: "infra", Environment: "main", Kind: plumbline.RequestDrift, By: "bench", At: time.Now()}); err != nil {
		b.Fatal(err)
	}
	r.d.poll["infra"].wake()
	r.await(b, func() bool {
		if report, _, err := r.d.store.Attention(ctx); err != nil || len(report) > 0 {
			return false
		}
		runs, err = r.d.store.Runs(ctx, plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDrift}, Limit: r.stacks})
		return err == nil && len(runs) == r.stacks && runs[len(runs)-1].ID > last && !slices.ContainsFunc(runs, func(r plumbline.Run) bool { return !r.State.Ended() })
	})
	drifted := 0
	for _, run := range runs {
		switch run.State {
		case plumbline.StateDrifted:
			drifted++
		case plumbline.StateClean:
		default:
			b.Fatalf("run %s is %s: %+v", run.ID, run.State, run.Failure)
		}
	}
	if want := (r.stacks + 19) / 20; drifted != want {
		b.Fatalf("%d stacks have drifted, want %d", drifted, want)
	}
}
