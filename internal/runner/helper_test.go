//go:build linux

package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/testenv"
)

// The test program is also the runner, a daemon to be killed, and an engine that misbehaves.
func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == terraform.Terraform:
		os.Exit(fakeEngine(filepath.Dir(os.Args[0]), os.Args[1:]))
	case len(os.Args) > 1 && os.Args[1] == "runner":
		os.Exit(Main(context.Background(), os.Args[2:], os.Stdin))
	case len(os.Args) > 1 && os.Args[1] == "daemon":
		os.Exit(daemon(os.Stdin))
	}
	os.Exit(m.Run())
}

// patience bounds every wait of a test; nothing waits that long unless it is broken.
const patience = 2 * time.Minute

// site is where a test's runs work.
type site struct {
	t    *testing.T
	host *Host
	conf HostConfig
	next plumbline.RunID
}

func newSite(t *testing.T, c HostConfig) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "run") // t.TempDir's names are too long for the sockets of providers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c.Dir = dir
	c.DigestKey = []byte("key")
	return &site{t: t, host: NewHost(c), conf: c}
}

// engine finds one of the machine's engines and nothing else.
func engine(e testenv.Engine, mirror string) *terraform.Engines {
	return terraform.NewEngines(terraform.EnginesConfig{
		Default: plumbline.EngineRef{Name: e.Name}, Install: terraform.InstallPath, Path: filepath.Dir(e.Path), ProviderMirror: mirror,
	})
}

// job is the first phase of a new run of a stack with these files.
func (s *site) job(files map[string]string) plumbline.Job {
	s.t.Helper()
	s.next++
	j := plumbline.Job{
		Run: s.next, Attempt: 1, Claim: plumbline.Claim{Worker: "w", Fence: 1}, Phase: plumbline.PhasePlan, Kind: plumbline.KindDeploy,
		Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: "live/net"},
		Spec:  plumbline.StackSpec{Name: "live/net", Dir: "live/net"},
	}
	for name, text := range files {
		path := filepath.Join(s.host.Dir(j.Run), srcDir, "live", "net", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return j
}

// backend makes a state outside of the run's directory.
func (s *site) backend() []plumbline.Variable {
	dir := s.t.TempDir()
	return []plumbline.Variable{
		{Name: "path", JSON: plumbline.NewSecret(fmt.Sprintf("%q", dir+"/{stack}/terraform.tfstate"))},
		{Name: "workspace_dir", JSON: plumbline.NewSecret(fmt.Sprintf("%q", dir+"/{stack}/workspaces"))},
	}
}

func applyOf(j plumbline.Job) plumbline.Job {
	j.Phase = plumbline.PhaseApply
	j.Claim.Fence++
	return j
}

// do carries a phase out and returns its log.
func (s *site) do(j plumbline.Job) (plumbline.Outcome, string) {
	s.t.Helper()
	var log strings.Builder
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	out, err := s.host.Do(ctx, j, &log)
	if err != nil {
		s.t.Fatalf("Do: %v\n%s", err, log.String())
	}
	if out.Started.IsZero() && out.Failure == nil || out.Finished.Before(out.Started) {
		s.t.Errorf("started %v, finished %v", out.Started, out.Finished)
	}
	return out, log.String()
}

// applied plans and applies.
func (s *site) applied(j plumbline.Job) plumbline.Outcome {
	s.t.Helper()
	if out, log := s.do(j); out.Plan == nil {
		s.t.Fatalf("plan: %s\n%s", describe(out), log)
	}
	out, log := s.do(applyOf(j))
	if !out.Applied {
		s.t.Fatalf("apply: %s\n%s", describe(out), log)
	}
	return out
}

func describe(o plumbline.Outcome) string {
	b, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// started is a phase that is going on.
type started struct {
	t    *testing.T
	out  plumbline.Outcome
	err  error
	done chan struct{}

	mu   sync.Mutex
	log  strings.Builder
	grew chan struct{}
}

// begin starts a phase without waiting for its end.
func begin(t *testing.T, h *Host, j plumbline.Job) *started {
	s := &started{t: t, done: make(chan struct{}), grew: make(chan struct{}, 1)}
	go func() {
		defer close(s.done)
		s.out, s.err = h.Do(context.WithoutCancel(t.Context()), j, s)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			_ = h.Interrupt(j.Run) // a test that gave up half-way must not wait for what it has left running
		}
		<-s.done
	})
	return s
}

// until polls for what tells nobody when it happens.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("not in %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func (s *started) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Write(p)
	select {
	case s.grew <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *started) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// await waits until the log has the text.
func (s *started) await(text string) {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !strings.Contains(s.text(), text) {
		select {
		case <-s.grew:
		case <-s.done:
			if !strings.Contains(s.text(), text) {
				s.t.Fatalf("ended without %q: %s, %v\n%s", text, describe(s.out), s.err, s.text())
			}
		case <-timer.C:
			s.t.Fatalf("no %q in\n%s", text, s.text())
		}
	}
}

func (s *started) end() (plumbline.Outcome, error) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("it does not end:\n%s", s.text())
	}
	return s.out, s.err
}

// session lists what is alive of a run's session.
func session(t *testing.T, p process) []int {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, s := range all {
		if s.session == p.pid && !s.zombie {
			pids = append(pids, s.pid)
		}
	}
	return pids
}

// daemonJob is what the daemon to be killed does.
type daemonJob struct {
	Dir, Engine string
	Name        string
	Job         plumbline.Job
	Backend     string
}

// daemon follows one job until it is killed. It tells its log on the standard output.
func daemon(stdin io.Reader) int {
	var d daemonJob
	if err := json.NewDecoder(stdin).Decode(&d); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d.Job.Backend = []plumbline.Variable{{Name: "path", JSON: plumbline.NewSecret(d.Backend)}}
	h := NewHost(HostConfig{Dir: d.Dir, Engines: engine(testenv.Engine{Name: d.Name, Path: d.Engine}, "")})
	if _, err := h.Do(context.Background(), d.Job, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// misbehaving finds the fake engine, which does in plan and apply as it is told.
func misbehaving(t *testing.T, how string) *terraform.Engines {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, terraform.Terraform)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "how"), []byte(how), 0o600); err != nil {
		t.Fatal(err)
	}
	return terraform.NewEngines(terraform.EnginesConfig{Install: terraform.InstallPath, Path: dir})
}

func fakeEngine(dir string, args []string) int {
	how, err := os.ReadFile(filepath.Join(dir, "how"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	switch args[0] {
	case "version":
		fmt.Println(`{"terraform_version":"1.11.4"}`)
		return 0
	case "init":
		return 0
	case "show":
		if string(how) == "tests" {
			fmt.Println(`{"format_version":"1.2","terraform_version":"1.11.4","resource_changes":[]}`)
			return 0
		}
		// A plan that is cut off.
		fmt.Println(`{"format_version":"1.2","resource_changes":[{"address":`)
		return 0
	}
	if string(how) == "tests" && args[0] == "plan" {
		if err := os.WriteFile(strings.TrimPrefix(args[5], "-out="), nil, 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return 0
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt)
	fmt.Println("at work")
	switch string(how) {
	case "hang": // deaf, with a child that holds the output open
		child := exec.Command("sleep", "3600")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		select {}
	case "stop", "tests": // until it is asked
		<-signals
		fmt.Println("stopping")
		return 1
	case "finish": // what it does, although it was asked to stop
		<-signals
		fmt.Println(`{"@level":"info","@message":"Apply complete!","type":"change_summary","changes":{"operation":"apply"}}`)
		return 0
	case "crash":
		fmt.Fprintln(os.Stderr, "panic: runtime error: index out of range")
		return 11
	case "kill":
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		select {}
	case "chatter":
		fmt.Println(`{"@level":"info","@message":"` + strings.Repeat("long ", 200_000) + `"}`)
		fmt.Println("\x00\xff{{{ not JSON")
		if err := os.WriteFile(strings.TrimPrefix(args[5], "-out="), nil, 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		fmt.Print(`{"@level":"info","@message":"cut of`)
		return 2
	case "upload": // an apply that cannot save its state
		if err := os.WriteFile("errored.tfstate", []byte(`{"version":4}`), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		fmt.Println(`{"@level":"info","@message":"x.y: Creation complete","type":"apply_complete","hook":{"resource":{"addr":"x.y"},"action":"create","id_key":"id","id_value":"i-1"}}`)
		fmt.Println(`{"@level":"error","@message":"Error: Failed to save state","type":"diagnostic","diagnostic":{"severity":"error","summary":"Failed to save state","detail":"gone"}}`)
		return 1
	}
	return 1
}
