package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/forge/plain"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/watch"
)

// program is the real program, built once.
var program = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), "plumbline-bench") // the next run builds over it
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "plumbline")
	out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// BenchmarkOverhead compares a proposal that touches every stack, from the wake-up of the poll to the finished note, with bare
// `init && plan && show -json` of the same stacks, two at a time. The two take turns, so that a noisy machine is noisy for both. The stacks
// of "builtin" need no provider and are the least that Terraform can be given; those of "provider" have three resources of hashicorp/local.
func BenchmarkOverhead(b *testing.B) {
	for _, kind := range []string{"builtin", "provider"} {
		for _, stacks := range []int{1, 20, 100} {
			b.Run(fmt.Sprintf("%s/stacks=%d", kind, stacks), func(b *testing.B) { overhead(b, kind, stacks) })
		}
	}
}

func overhead(b *testing.B, kind string, stacks int) {
	r := newRig(b, testenv.Engines(b)[0], kind, stacks)
	n := 5
	switch {
	case stacks == 1:
		n = 15
	case stacks >= 100:
		n = 3
	}
	var wall, cpu []float64
	for range b.N {
		for i := range n {
			bareWall, bareCPU := measure(func() { r.bare(b, i) })
			head := r.push(b, i)
			own := usage(syscall.RUSAGE_SELF)
			ourWall, ourCPU := measure(func() { r.propose(b, head) })
			own = usage(syscall.RUSAGE_SELF) - own
			r.check(b, head)
			wall, cpu = append(wall, ourWall/bareWall), append(cpu, ourCPU/bareCPU)
			b.Logf("%s, %d stacks: bare %.2f s (%.2f s CPU), event to note %.2f s (%.2f s CPU, of it %.2f s in the daemon)", kind, stacks, bareWall, bareCPU, ourWall, ourCPU, own)
		}
	}
	b.ReportMetric(median(wall), "x-bare-wall")
	b.ReportMetric(median(cpu), "x-bare-cpu")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// measure returns wall and CPU seconds of this process and of its children that have ended.
func measure(f func()) (wall, cpu float64) {
	both := []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN}
	before, start := usage(both...), time.Now()
	f()
	return time.Since(start).Seconds(), usage(both...) - before
}

func usage(whose ...int) float64 {
	sum := 0.0
	for _, who := range whose {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			panic(err)
		}
		for _, t := range []syscall.Timeval{u.Utime, u.Stime} {
			sum += float64(t.Sec) + float64(t.Usec)/1e6
		}
	}
	return sum
}

// rig is a daemon in this process on a repository of n stacks.
type rig struct {
	dir, remote, work string
	engine            testenv.Engine
	mirror            string // "": the stacks need no provider
	cloud             string // directory of the simulated AWS; "": the stacks have none
	stacks            int
	cfg               *config.Config
	d                 *daemon
}

func (r *rig) file(i, version int) string {
	if r.cloud != "" {
		return cloudFile(i)
	}
	if r.mirror == "" {
		return stackFile(i, version)
	}
	return fmt.Sprintf("terraform {\n  backend \"local\" {}\n  required_providers {\n    local = { source = \"hashicorp/local\" }\n  }\n}\n\nresource \"local_file\" \"x\" {\n  count    = 3\n  filename = \"%s/world/%d-${count.index}\"\n  content  = \"stack %d version %d\"\n}\n", r.dir, i, i, version)
}

func stackFile(i, version int) string {
	return fmt.Sprintf("terraform {\n  backend \"local\" {}\n}\n\nresource \"terraform_data\" \"x\" {\n  count = 3\n  input = \"stack %d version %d\"\n}\n\noutput \"id\" {\n  value = terraform_data.x[0].output\n}\n", i, version)
}

// newRig is one whose daemon has looked at everything once.
func newRig(b *testing.B, engine testenv.Engine, kind string, n int) *rig {
	r := layRig(b, engine, kind, n)
	b.Cleanup(r.start(b))
	r.await(b, func() bool {
		ended, all := r.checked(b)
		return all == n && ended == n
	})
	return r
}

// checked counts the drift checks that have ended, and all.
func (r *rig) checked(b *testing.B) (ended, all int) {
	runs, err := r.d.store.Runs(context.Background(), plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDrift}, Limit: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	for _, run := range runs {
		if run.State.Ended() {
			ended++
		}
	}
	return ended, len(runs)
}

// layRig lays out everything that a daemon needs. None is started.
func layRig(b *testing.B, engine testenv.Engine, kind string, n int) *rig {
	dir, err := os.MkdirTemp("", "pl-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &rig{dir: dir, engine: engine, stacks: n, remote: filepath.Join(dir, "git", "infra.git"), work: filepath.Join(dir, "clone")}
	providers := ""
	env := ""
	switch kind {
	case "provider":
		r.mirror = testenv.ProviderMirror(b)
	case "cloud":
		r.mirror, r.cloud = testenv.SimulatedAWS(b), filepath.Join(dir, "cloud")
		env = fmt.Sprintf("    env     = { CLOUDSIM_DIR = %q }\n", r.cloud)
	}
	if r.mirror != "" {
		providers = fmt.Sprintf("  providers {\n    mirror = %q\n  }\n", r.mirror)
		rc, err := terraform.CLIConfig(r.mirror)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "terraformrc"), rc, 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.MkdirAll(r.remote, 0o755); err != nil {
		b.Fatal(err)
	}
	testenv.Git(b, r.remote, "init", "-q", "--bare", "--initial-branch=main")
	testenv.Git(b, dir, "clone", "-q", r.remote, r.work)
	testenv.Git(b, r.work, "config", "user.name", "Bench")
	testenv.Git(b, r.work, "config", "user.email", "bench@example.com")
	testenv.Git(b, r.work, "checkout", "-q", "-B", "main")
	r.write(b, 0)
	testenv.Git(b, r.work, "add", "-A")
	testenv.Git(b, r.work, "commit", "-q", "-m", "all")
	testenv.Git(b, r.work, "push", "-q", "origin", "main")
	if r.cloud != "" {
		r.populate(b)
	}
	conf := fmt.Sprintf(`
server {
  listen   = "127.0.0.1:0"
  data_dir = "%[1]s/data"
  workers  = 2

  drift_workers = 2 # as many at a time as on the other side; a daemon keeps one for proposals
}
terraform {
  engine  = %[2]q
  install = "path"
%[3]s}
forge "git" "local" { url = "file://%[1]s/git" }
repository "infra" {
  forge   = "local"
  project = "infra.git"
  poll    = "@every 1h"
  environment "main" {
    branch  = "main"
    apply   = "never"
    backend = { path = "%[1]s/state/{stack}.tfstate" }
%[4]s  }
}
`, dir, engine.Name, providers, env)
	b.Setenv("PATH", filepath.Dir(engine.Path)+":"+os.Getenv("PATH"))
	r.cfg, err = config.Parse(map[string][]byte{filepath.Join(dir, "plumbline.hcl"): []byte(conf)}, config.System{CPUs: 2, Hostname: "bench", Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	if runnerProgram, err = program(); err != nil {
		b.Fatal(err)
	}
	return r
}

// start starts the daemon, which begins with a drift check of every stack.
func (r *rig) start(b *testing.B) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if r.d, err = build(ctx, r.cfg, zap.NewNop()); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.d.run(ctx, ctx) }()
	return func() { cancel(); <-ended; _ = r.d.close() }
}

func (r *rig) write(b *testing.B, version int) {
	for i := range r.stacks {
		path := filepath.Join(r.work, fmt.Sprintf("live/s%03d/main.tf", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(r.file(i, version)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func (r *rig) await(b *testing.B, done func() bool) {
	limit := time.After(10*time.Minute + time.Duration(r.stacks)*3*time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			b.Fatal("not done in time")
		}
	}
}

// bare plans all stacks in a fresh checkout, two at a time.
func (r *rig) bare(b *testing.B, round int) {
	dir, err := os.MkdirTemp(r.dir, "bare-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	jobs := make(chan int, r.stacks)
	for i := range r.stacks {
		jobs <- i
		path := filepath.Join(dir, fmt.Sprintf("s%03d/main.tf", i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(r.file(i, round+1)), 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	close(jobs)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range jobs {
				in := filepath.Join(dir, fmt.Sprintf("s%03d", i))
				for _, args := range [][]string{
					{"init", "-input=false", "-no-color", fmt.Sprintf("-backend-config=path=%s/state/live/s%03d.tfstate", r.dir, i)},
					{"plan", "-input=false", "-no-color", "-out=tfplan"}, {"show", "-json", "tfplan"},
				} {
					cmd := exec.Command(r.engine.Path, args...)
					cmd.Dir, cmd.Env = in, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "CHECKPOINT_DISABLE=1"}
					if r.mirror != "" {
						cmd.Env = append(cmd.Env, "TF_CLI_CONFIG_FILE="+filepath.Join(r.dir, "terraformrc"))
					}
					if out, err := cmd.CombinedOutput(); err != nil {
						b.Errorf("%s: %v\n%s", args[0], err, out)
					}
				}
			}
		})
	}
	wg.Wait()
}

// push proposes a change of all stacks.
func (r *rig) push(b *testing.B, round int) (head string) {
	name := fmt.Sprintf("p%d", round)
	testenv.Git(b, r.work, "checkout", "-q", "-B", name, "main")
	r.write(b, round+1)
	testenv.Git(b, r.work, "commit", "-q", "-am", name)
	testenv.Git(b, r.work, "push", "-q", "origin", "HEAD:refs/heads/propose/main/"+name)
	return strings.TrimSpace(testenv.Git(b, r.work, "rev-parse", "HEAD"))
}

// propose wakes the poll and waits until all is told.
func (r *rig) propose(b *testing.B, head string) {
	ctx := context.Background()
	r.d.poll["infra"].wake()
	r.await(b, func() bool {
		// The cheapest question first: what is asked here costs CPU that is counted.
		if report, _, err := r.d.store.Attention(ctx); err != nil || len(report) > 0 {
			return false
		}
		mrs, err := r.d.store.MergeRequests(ctx, "infra", plumbline.MROpen)
		if err != nil {
			b.Fatal(err)
		}
		for _, mr := range mrs {
			if mr.Head != head {
				continue
			}
			runs, err := r.d.store.RunsOfMR(ctx, "infra", mr.ID)
			if err != nil {
				b.Fatal(err)
			}
			return len(runs) == r.stacks && !slices.ContainsFunc(runs, func(r plumbline.Run) bool { return r.State != plumbline.StatePlanned || r.Version != r.Reported })
		}
		return false
	})
}

func (r *rig) check(b *testing.B, head string) {
	if note := testenv.Git(b, r.remote, "notes", "--ref=plumbline", "show", head); strings.Count(note, "waits for")+strings.Count(note, "is not applied") < min(r.stacks, 20) {
		b.Fatalf("the note is not whole:\n%s", note)
	}
}

// BenchmarkIdlePolls polls 1,000 repositories in which nothing is new: requests and CPU for each.
func BenchmarkIdlePolls(b *testing.B) {
	const repos = 1000
	ctx := context.Background()
	bare := filepath.Join(b.TempDir(), "infra.git")
	if err := os.MkdirAll(bare, 0o755); err != nil {
		b.Fatal(err)
	}
	testenv.Git(b, bare, "init", "-q", "--bare", "--initial-branch=main")
	head := testenv.Push(b, bare, testenv.Change{Branch: "main", Files: map[string]string{"live/a/main.tf": stackFile(0, 0)}})
	advert, err := exec.Command("git", "upload-pack", "--http-backend-info-refs", bare).Output()
	if err != nil {
		b.Fatal(err)
	}
	const service = "# service=git-upload-pack\n"
	advert = append(fmt.Appendf(nil, "%04x%s0000", len(service)+4, service), advert...)
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		requests.Add(1)
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		_, _ = w.Write(advert)
	}))
	defer server.Close()
	dir := b.TempDir()
	ledger, err := store.Open(ctx, store.Config{DSN: "sqlite:" + filepath.Join(dir, "plumbline.db"), AuditKey: make([]byte, 32)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := ledger.Close(); err != nil {
			b.Error(err)
		}
	}()
	cache := git.NewCache(1 << 20)
	var watchers []*watch.Watcher
	for i := range repos {
		name := fmt.Sprintf("r%d", i)
		m, err := git.Open(git.Config{Dir: dir, Cache: cache}, name, git.Remote{URL: server.URL + "/" + name + ".git"})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := m.Close(); err != nil {
				b.Error(err)
			}
		})
		repo := plumbline.Repository{Name: name, Environments: []plumbline.Environment{{Repository: name, Name: "main", Branch: "main", Apply: plumbline.ApplyNever}}}
		// The branch is known: fetching it is not what is measured.
		for _, subject := range []string{plumbline.SubjectBranch("main"), "look main"} {
			if _, err := ledger.Observe(ctx, plumbline.Observation{Repository: name, Subject: subject, Now: head, Branch: "main", Head: head, At: time.Now()}); err != nil {
				b.Fatal(err)
			}
		}
		watchers = append(watchers, watch.New(watch.Config{Repository: repo, Git: repoGit{Repo: m}, Forge: plain.New(plain.Config{Branches: repo.Branches()}), Ledger: ledger}))
	}
	poll := func() {
		for _, w := range watchers {
			if res, err := w.Poll(ctx); err != nil || res.Moved != 0 || len(res.Warnings) != 0 {
				b.Fatalf("%+v, %v", res, err)
			}
		}
	}
	poll() // a daemon's first
	for b.Loop() {
		requests.Store(0)
		_, cpu := measure(poll)
		b.ReportMetric(float64(requests.Load())/repos, "requests/poll")
		b.ReportMetric(cpu/repos*1000, "cpu-ms/poll")
	}
}

// BenchmarkIdleMemory starts the program with 100 repositories and reads its resident memory when all have been polled.
func BenchmarkIdleMemory(b *testing.B) {
	const repos = 100
	dir, err := os.MkdirTemp("", "pl-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, err := program()
	if err != nil {
		b.Fatal(err)
	}
	conf := fmt.Sprintf("server {\n  listen = \"127.0.0.1:0\"\n  data_dir = \"%[1]s/data\"\n}\nforge \"git\" \"local\" { url = \"file://%[1]s/git\" }\n", dir)
	for i := range repos {
		bare := filepath.Join(dir, "git", fmt.Sprintf("r%d.git", i))
		if err := os.MkdirAll(bare, 0o755); err != nil {
			b.Fatal(err)
		}
		testenv.Git(b, bare, "init", "-q", "--bare", "--initial-branch=main")
		if i == 0 {
			testenv.Push(b, bare, testenv.Change{Branch: "main", Files: map[string]string{"README.md": "nothing to plan\n"}})
		} else {
			testenv.Git(b, bare, "fetch", "-q", filepath.Join(dir, "git", "r0.git"), "main:main")
		}
		conf += fmt.Sprintf("repository \"r%[1]d\" {\n  forge = \"local\"\n  project = \"r%[1]d.git\"\n  poll = \"@every 5s\"\n  environment \"main\" {\n    branch = \"main\"\n    apply = \"never\"\n  }\n}\n", i)
	}
	file := filepath.Join(dir, "plumbline.hcl")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cmd := exec.Command(program, "serve", "--config", file)
		cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		// Long enough for every repository to be polled some times; what is measured is the memory, not the time.
		<-time.After(20 * time.Second)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		var kb float64
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(kb/1024, "rss-MiB")
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
			b.Fatal(err)
		}
	}
}
