// Package e2e runs the real program against real Terraform, real Git, a real forge.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/web"
)

// binary is the program under test, built once with the race detector.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "plumbline-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "plumbline")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../../cmd/plumbline")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == makeSlowly {
		if err := slowly(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func program(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tempDir is short: a provider's socket below it has to fit into 107 bytes.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pl-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		} else {
			t.Logf("kept %s", dir)
		}
	})
	return dir
}

// daemon is a running `plumbline serve` or `plumbline demo`.
type daemon struct {
	t      testing.TB
	dir    string // working directory; data_dir is dir/data
	args   []string
	url    string
	token  string
	cmd    *exec.Cmd
	ended  chan struct{}
	output *output
}

// output is what the program printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// quickExit spares a program with the race detector the second that it waits for late reports when it ends. The daemon is told to stop, and
// has time enough.
const quickExit = "GORACE=atexit_sleep_ms=20"

// environ is what a test's program sees: the engine first on PATH, nothing of Terraform's own settings.
func environ(engine testenv.Engine, extra ...string) []string {
	env := []string{
		"HOME=" + os.TempDir(), "PATH=" + filepath.Dir(engine.Path) + ":/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_GLOBAL=/dev/null", "NO_COLOR=1", quickExit,
		"GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com", "GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com",
	}
	return append(env, extra...)
}

// start runs the program and waits until it answers.
func start(t testing.TB, dir string, env []string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: dir, args: args, output: &output{}}
	t.Cleanup(func() {
		d.stop()
		if t.Failed() {
			t.Logf("the daemon said:\n%s", tail(d.output.String(), 12000))
		}
	})
	d.again(env)
	return d
}

// again starts the same program once more, after it has ended.
func (d *daemon) again(env []string) {
	d.t.Helper()
	d.cmd = exec.Command(program(d.t), d.args...)
	d.cmd.Dir, d.cmd.Env = d.dir, env
	d.cmd.Stdout, d.cmd.Stderr = d.output, d.output
	// The daemon's end must not depend on the test's: what it leaves running is part of what is tested.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	before := strings.Count(d.output.String(), `ready`)
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { _ = cmd.Wait(); close(ended) }(d.cmd, d.ended)
	d.eventually("the daemon is ready", time.Minute, func() error {
		select {
		case <-d.ended:
			d.t.Fatalf("the daemon ended:\n%s", d.output)
		default:
		}
		out := d.output.String()
		if strings.Count(out, "ready") <= before {
			return errors.New("no sign yet")
		}
		_, after, _ := strings.Cut(out[strings.LastIndex(out, "ready"):], `"url":"`)
		d.url, _, _ = strings.Cut(after, `"`)
		b, err := os.ReadFile(filepath.Join(d.dir, "data", "token"))
		d.token = strings.TrimSpace(string(b))
		return err
	})
}

// kill is kill -9 of the daemon alone.
func (d *daemon) kill() {
	d.t.Helper()
	if err := d.cmd.Process.Kill(); err != nil {
		d.t.Fatal(err)
	}
	<-d.ended
}

func (d *daemon) stop() {
	if d.cmd == nil || d.cmd.Process == nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.ended:
	case <-time.After(30 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
}

// alive fails the test when the daemon has ended.
func (d *daemon) alive() {
	d.t.Helper()
	select {
	case <-d.ended:
		d.t.Fatalf("the daemon ended:\n%s", d.output)
	default:
	}
}

// cli runs a client command.
func (d *daemon) cli(args ...string) (out string, code int) {
	d.t.Helper()
	cmd := exec.Command(program(d.t), args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "PLUMBLINE_URL="+d.url, "PLUMBLINE_TOKEN="+d.token, "NO_COLOR=1", quickExit)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// must runs a client command that has to succeed.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	out, code := d.cli(args...)
	if code != 0 {
		d.t.Fatalf("plumbline %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// fetch gets a page or an answer of the API.
func (d *daemon) fetch(path string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, d.url+path, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return string(b), fmt.Errorf("%s: %s: %s", path, res.Status, b)
	}
	return string(b), nil
}

// get asks the API.
func (d *daemon) get(path string, into any) error {
	body, err := d.fetch("/api/v1/" + path)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), into)
}

// runs lists runs, newest first.
func (d *daemon) runs(query string) []web.RunJSON {
	d.t.Helper()
	var out web.RunsJSON
	if err := d.get("runs?limit=1000&"+query, &out); err != nil {
		d.t.Fatal(err)
	}
	return out.Runs
}

// states is each stack's newest run of a query, as "stack: state".
func (d *daemon) states(query string) map[string]web.RunJSON {
	d.t.Helper()
	out := map[string]web.RunJSON{}
	for _, r := range d.runs(query) {
		if r.ID > out[r.Environment+"/"+r.Stack].ID {
			out[r.Environment+"/"+r.Stack] = r
		}
	}
	return out
}

// await waits until the newest run of a stack, of those that the query gives, is in a state.
func (d *daemon) await(query, stack string, want plumbline.State) web.RunJSON {
	d.t.Helper()
	var run web.RunJSON
	d.eventually(stack+" is "+string(want), 3*time.Minute, func() error {
		run = d.states(query)[stack]
		if run.State == want {
			return nil
		}
		if run.State == plumbline.StateFailed && want != plumbline.StateFailed && run.Failure != nil {
			d.t.Fatalf("run %s of %s failed: %+v\n%s", run.ID, stack, run.Failure, d.must("runs", "logs", run.ID.String()))
		}
		return fmt.Errorf("run %s is %q", run.ID, run.State)
	})
	return run
}

// eventually polls until f is content.
func (d *daemon) eventually(what string, within time.Duration, f func() error) {
	d.t.Helper()
	eventually(d.t, what, within, f)
}

func eventually(t testing.TB, what string, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s: %v", within, what, err)
		}
		<-tick.C
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// databases are where a journey keeps its runs.
func databases(t *testing.T) map[string]func(dir string) string {
	return map[string]func(dir string) string{
		"sqlite":   func(dir string) string { return "sqlite:" + filepath.Join(dir, "data", "plumbline.db") },
		"postgres": func(string) string { return testenv.Postgres(t) },
	}
}
