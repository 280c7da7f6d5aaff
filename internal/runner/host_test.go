//go:build linux

package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/tfplan"
)

func TestKilledDaemon(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.job(map[string]string{"main.tf": slow("3")})
		j.Backend = s.backend()
		if out, log := s.do(j); out.Plan == nil {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		j = applyOf(j)
		in, err := json.Marshal(daemonJob{Dir: s.conf.Dir, Engine: e.Path, Name: e.Name, Job: bare(j), Backend: j.Backend[0].JSON.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		d := exec.Command(self, "daemon")
		d.Stdin = bytes.NewReader(in)
		said := &started{t: t, done: make(chan struct{}), grew: make(chan struct{}, 1)}
		d.Stdout, d.Stderr = said, said
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		said.await("Provisioning with 'local-exec'")
		if err := d.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := d.Wait(); err == nil {
			t.Fatal("the daemon ended by itself")
		}

		h := NewHost(s.conf)
		left, err := h.Leftovers(t.Context())
		if err != nil || len(left) != 1 || !same(left[0], j) || left[0].Dir != h.Dir(j.Run) {
			t.Fatalf("Leftovers = %+v, %v", left, err)
		}
		if alive, err := held(h.Dir(j.Run)); err != nil || !alive {
			t.Fatalf("the apply died with the daemon: %v", err)
		}
		var log strings.Builder
		out, err := h.Do(t.Context(), left[0], &log)
		if err != nil || !out.Applied || len(out.Created) != 2 {
			t.Fatalf("Do = %s, %v\n%s", describe(out), err, log.String())
		}
		if text := log.String(); !strings.Contains(text, "terraform_data.first: Creating...") || !strings.Contains(text, "Apply complete!") {
			t.Errorf("the log is not whole:\n%s", text)
		}
		// The state is whole, its lock free.
		again := s.job(map[string]string{"main.tf": slow("3")})
		again.Backend, again.HadState = j.Backend, true
		if out, log := s.do(again); out.Plan == nil || out.Plan.HasChanges() {
			t.Errorf("plan: %s\n%s", describe(out), log)
		}
	})
}

func TestKilledRunner(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.job(map[string]string{"main.tf": slow("3600")})
		j.Backend = s.backend()
		if out, log := s.do(j); out.Plan == nil {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		run := begin(t, s.host, applyOf(j))
		run.await("Provisioning with 'local-exec'")
		p, ok := holder(s.host.Dir(j.Run))
		if !ok {
			t.Fatal("nobody holds the lock")
		}
		// The runner, the engine, sleep, which is started just after it is announced.
		until(t, "three processes are at work", func() bool { return len(session(t, p)) >= 3 })
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if out, err := run.end(); !errors.Is(err, plumbline.ErrLost) {
			t.Errorf("Do = %s, %v", describe(out), err)
		}
		if got := session(t, p); len(got) != 0 {
			t.Errorf("still alive: %v", got)
		}
		if out, err := s.host.Do(t.Context(), applyOf(j), &strings.Builder{}); !errors.Is(err, plumbline.ErrLost) {
			t.Errorf("Do again = %s, %v", describe(out), err)
		}
		events := filepath.Join(s.host.Dir(j.Run), "events.jsonl")
		f, err := os.OpenFile(events, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		done := `{"@level":"info","@message":"x.y: Creation complete","type":"apply_complete","hook":{"resource":{"addr":"x.y"},"action":"create","id_key":"id","id_value":"i-1"}}`
		_, err = fmt.Fprint(f, done, "\n", done[:40])
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		if out, _ := s.host.Do(t.Context(), applyOf(j), &strings.Builder{}); len(out.Created) != 2 || out.Created[0].Address != "terraform_data.first" || out.Created[1] != (plumbline.Created{Address: "x.y", Action: plumbline.ActionCreate, ID: "i-1"}) {
			t.Errorf("what the lost apply had made: %+v", out.Created)
		}
		if err := s.host.Clear(j.Run); err != nil {
			t.Error(err)
		}
	})
}

func TestInterruptedApply(t *testing.T) {
	each(t, func(t *testing.T, e testenv.Engine) {
		s := newSite(t, HostConfig{Engines: engine(e, "")})
		j := s.job(map[string]string{"main.tf": slow("3600")})
		j.Backend = s.backend()
		if out, log := s.do(j); out.Plan == nil {
			t.Fatalf("plan: %s\n%s", describe(out), log)
		}
		j = applyOf(j)
		run := begin(t, s.host, j)
		run.await("Provisioning with 'local-exec'")
		p, _ := holder(s.host.Dir(j.Run))

		// While it is at work nothing else can begin there.
		other := j
		other.Claim.Fence++
		if _, err := s.host.Do(t.Context(), other, &strings.Builder{}); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("another phase: %v", err)
		}
		if err := s.host.Clear(j.Run); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("Clear: %v", err)
		}
		if err := s.host.Interrupt(j.Run); err != nil {
			t.Fatal(err)
		}
		out, err := run.end()
		if err != nil || !out.Interrupted || out.Applied || out.Failure == nil || out.Failure.Kind != plumbline.FailApply {
			t.Errorf("Do = %s, %v\n%s", describe(out), err, run.text())
		}
		if len(out.Created) != 1 || out.Created[0].Address != "terraform_data.first" {
			t.Errorf("created: %+v", out.Created)
		}
		if got := session(t, p); len(got) != 0 {
			t.Errorf("still alive: %v", got)
		}
		if err := s.host.Interrupt(j.Run); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("Interrupt after the end: %v", err)
		}
		// The state has what was done, its lock is free.
		again := s.job(map[string]string{"main.tf": slow("3600")})
		again.Backend, again.HadState = j.Backend, true
		if out, log := s.do(again); out.Plan == nil || out.Plan.NoState || out.Plan.Summary.Create+out.Plan.Summary.Replace != 1 {
			t.Errorf("plan: %s\n%s", describe(out), log)
		}
	})
}

func TestDetach(t *testing.T) {
	t.Parallel()
	s := newSite(t, HostConfig{Engines: misbehaving(t, "stop")})
	j := s.job(map[string]string{"main.tf": ""})
	ctx, detach := context.WithCancel(t.Context())
	var log strings.Builder
	first := &cancelAt{text: "at work", cancel: detach, log: &log}
	if _, err := s.host.Do(ctx, j, first); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do: %v", err)
	}
	if alive, err := held(s.host.Dir(j.Run)); err != nil || !alive {
		t.Fatalf("detaching stopped it: %v", err)
	}
	if err := s.host.Interrupt(j.Run); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the result stays until the run is cleared
		out, err := s.host.Do(t.Context(), j, &log)
		if err != nil || !out.Interrupted {
			t.Fatalf("Do = %s, %v", describe(out), err)
		}
	}
	if text := log.String(); strings.Count(text, "at work") != 1 || strings.Count(text, "stopping") != 1 {
		t.Errorf("each part of the log is passed on once:\n%s", text)
	}
	var anew strings.Builder
	if out, err := NewHost(s.conf).Do(t.Context(), j, &anew); err != nil || !out.Interrupted || anew.String() != log.String() {
		t.Errorf("a new host: %s, %v\n%s", describe(out), err, anew.String())
	}
	if ids, err := s.host.Runs(); err != nil || !slices.Equal(ids, []plumbline.RunID{1}) {
		t.Errorf("Runs = %v, %v", ids, err)
	}
}

type cancelAt struct {
	text   string
	cancel func()
	log    *strings.Builder
}

func (c *cancelAt) Write(p []byte) (int, error) {
	n, err := c.log.Write(p)
	if strings.Contains(c.log.String(), c.text) {
		c.cancel()
	}
	return n, err
}

func TestMisbehavingEngine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		how       string
		conf      HostConfig
		apply     bool
		interrupt bool
		kind      plumbline.FailureKind
		text      string
		check     func(*testing.T, plumbline.Outcome, string)
	}{
		{how: "hang", conf: HostConfig{PlanTimeout: 8 * time.Second, Grace: time.Second}, kind: plumbline.FailTimeout, text: "terraform plan of live/net took longer than 8s and did not stop when asked, and was killed."},
		{how: "stop", conf: HostConfig{PlanTimeout: 8 * time.Second}, kind: plumbline.FailTimeout, text: "took longer than 8s and was interrupted."},
		{how: "hang", conf: HostConfig{Grace: time.Second}, apply: true, interrupt: true, kind: plumbline.FailApply, text: "was asked to stop, did not within 1s, and was killed.",
			check: func(t *testing.T, out plumbline.Outcome, _ string) {
				if !out.Interrupted {
					t.Error("not interrupted")
				}
			}},
		{how: "finish", apply: true, interrupt: true, check: func(t *testing.T, out plumbline.Outcome, _ string) {
			if !out.Applied || out.Interrupted {
				t.Errorf("it had done everything: %s", describe(out))
			}
		}},
		{how: "stop", interrupt: true, check: func(t *testing.T, out plumbline.Outcome, _ string) {
			if !out.Interrupted {
				t.Errorf("not interrupted: %s", describe(out))
			}
		}},
		{how: "crash", kind: plumbline.FailPlan, text: "terraform plan of live/net failed: panic: runtime error: index out of range."},
		{how: "kill", kind: plumbline.FailPlan, text: "terraform plan of live/net was killed from outside, most likely because memory ran out."},
		{how: "chatter", kind: plumbline.FailPlan, text: "terraform show of live/net failed", check: func(t *testing.T, _ plumbline.Outcome, log string) {
			for _, want := range []string{strings.Repeat("long ", 199_999) + "long", "{{{ not JSON", `cut of`} {
				if !strings.Contains(log, want) {
					t.Errorf("no %.40q in %d bytes of log", want, len(log))
				}
			}
		}},
		{how: "upload", apply: true, kind: plumbline.FailApply, text: "Failed to save state. The new state could not be saved; it is kept.", check: func(t *testing.T, out plumbline.Outcome, _ string) {
			if b, err := os.ReadFile(out.StateFile); err != nil || string(b) != `{"version":4}` {
				t.Errorf("state: %s, %v", b, err)
			}
			if len(out.Created) != 1 || out.Created[0] != (plumbline.Created{Address: "x.y", Action: plumbline.ActionCreate, ID: "i-1"}) {
				t.Errorf("created: %+v", out.Created)
			}
		}},
	} {
		t.Run(fmt.Sprintf("%s,apply=%v,interrupt=%v", tc.how, tc.apply, tc.interrupt), func(t *testing.T) {
			t.Parallel()
			tc.conf.Engines = misbehaving(t, tc.how)
			s := newSite(t, tc.conf)
			j := s.job(map[string]string{"main.tf": ""})
			if tc.apply {
				j = applyOf(j)
				if err := os.WriteFile(filepath.Join(s.host.Dir(j.Run), planFile), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := begin(t, s.host, j)
			if tc.interrupt {
				run.await("at work")
				if err := s.host.Interrupt(j.Run); err != nil {
					t.Fatal(err)
				}
			}
			out, err := run.end()
			if err != nil {
				t.Fatalf("Do: %v\n%s", err, run.text())
			}
			if tc.kind != "" && (out.Failure == nil || out.Failure.Kind != tc.kind || !strings.Contains(out.Failure.Text, tc.text)) {
				t.Errorf("want %s: %s\ngot %s\n%.2000s", tc.kind, tc.text, describe(out), run.text())
			}
			if tc.check != nil {
				tc.check(t, out, run.text())
			}
			if p, ok := holder(s.host.Dir(j.Run)); !ok || len(session(t, p)) != 0 {
				t.Errorf("still alive: %v, %v", p, session(t, p))
			}
		})
	}
}

func TestPanicIsAFailure(t *testing.T) {
	t.Parallel()
	c := newChild(t.TempDir(), wire{Job: plumbline.Job{Stack: plumbline.StackRef{Name: "live/net"}}, Secrets: []string{"hunter2-secret"}})
	out := c.run(t.Context(), func(context.Context) plumbline.Outcome { panic("with hunter2-secret in it") })
	if f := out.Failure; f == nil || f.Kind != plumbline.FailInternal || !strings.Contains(f.Text, "panic: with (sensitive) in it") || out.Finished.IsZero() {
		t.Errorf("run = %s", describe(out))
	}
}

func TestMainRefuses(t *testing.T) {
	t.Parallel()
	if got := Main(t.Context(), nil, strings.NewReader("")); got != 2 {
		t.Errorf("without a directory: %d", got)
	}
	dir := t.TempDir()
	if got := Main(t.Context(), []string{dir}, strings.NewReader("{")); got != 1 {
		t.Errorf("with half a job: %d", got)
	}
	lock, taken, err := openLock(dir)
	if err != nil || !taken {
		t.Fatalf("openLock = %v, %v", taken, err)
	}
	defer func() { _ = lock.Close() }() // lets go of the lock
	if got := Main(t.Context(), []string{dir}, strings.NewReader("{}")); got != 1 {
		t.Errorf("in a locked directory: %d", got)
	}
}

func TestHostRefusesLongDir(t *testing.T) {
	t.Parallel()
	h := NewHost(HostConfig{Dir: "/" + strings.Repeat("x", dirLimit), Engines: misbehaving(t, "stop")})
	if _, err := h.Do(t.Context(), plumbline.Job{Run: 1}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "at most 70 bytes") {
		t.Errorf("Do: %v", err)
	}
}

// A result that was cut off, by a full disk or a power cut, is none.
func TestHalfResultIsLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, HostConfig{Engines: misbehaving(t, "crash")})
	j := s.job(map[string]string{"main.tf": ""})
	s.do(j)
	if err := os.WriteFile(filepath.Join(s.host.Dir(j.Run), resultFile), []byte(`{"Failure":{"Ki`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewHost(s.conf).Do(t.Context(), j, &strings.Builder{}); !errors.Is(err, plumbline.ErrLost) {
		t.Errorf("Do: %v", err)
	}
}

func TestJobFileHoldsNoSecret(t *testing.T) {
	t.Parallel()
	j := plumbline.Job{Run: 7, Vars: []plumbline.Variable{{Name: "x", JSON: plumbline.NewSecret("hunter2")}}, Env: []plumbline.EnvVar{{Name: "y", Value: plumbline.NewSecret("hunter2")}}}
	path := filepath.Join(t.TempDir(), jobFile)
	if err := writeJSON(path, bare(j), true); err != nil {
		t.Fatal(err)
	}
	var got plumbline.Job
	if err := readJSON(path, &got); err != nil || !same(got, j) || got.Vars != nil || got.Env != nil {
		t.Errorf("read %+v, %v", got, err)
	}
	if cmd := command("/bin/plumbline", []string{"runner"}, "/run/7"); strings.Join(cmd.Args, " ") != "/bin/plumbline runner /run/7" || len(cmd.Env) != 2 || !cmd.SysProcAttr.Setsid {
		t.Errorf("command: %+v", cmd)
	}
}

func TestLeftOf(t *testing.T) {
	t.Parallel()
	p := process{pid: 25, start: 1000}
	ours, other := []string{"PATH=/bin", "HOME=/work/7/home"}, []string{"HOME=/work/71/home"}
	env := map[int][]string{30: ours, 31: ours, 32: other, 33: ours, 34: ours, 36: {""}}
	members := []stat{
		{pid: 30, session: 25, start: 1001},
		{pid: 31, session: 25, start: 1002, zombie: true},
		{pid: 32, session: 25, start: 1003}, // of somebody who has the number now
		{pid: 33, session: 25, start: 999},  // older than the run
		{pid: 34, session: 26, start: 1004}, // another session
		{pid: 35, session: 25, start: 1005}, // somebody else's: its environment cannot be read
		{pid: 36, session: 25, start: 1006}, // just ending
	}
	environ := func(pid int) []string { return env[pid] }
	if got := leftOf(p, "/work/7", members, environ); !slices.Equal(got, []int{30, 36}) {
		t.Errorf("leftOf = %v", got)
	}
	if got := leftOf(p, "/work/7", append(members, stat{pid: 25, session: 25, start: 2000}), environ); got != nil {
		t.Errorf("with a living leader: %v", got)
	}
}

func TestMaskJSON(t *testing.T) {
	t.Parallel()
	m := redact.New(`pa"ss\word`)
	for in, want := range map[string]string{
		"":               "",
		`"pa\"ss\\word"`: `"(sensitive)"`,
		`{"a":["x pa\"ss\\word y",1.50,true],"<b>":null}`: `{"<b>":null,"a":["x (sensitive) y",1.50,true]}`,
		`"{\"k\":\"pa\\\"ss\\\\word\"}"`:                  `"{\"k\":\"(sensitive)\"}"`, // JSON in JSON
		`{"pa\"ss\\word":1}`:                              `{"(sensitive)":1}`,
		`{"b":1, "a":2}`:                                  `{"b":1, "a":2}`, // as it was
		`not JSON pa"ss\word`:                             `not JSON (sensitive)`,
		plumbline.Masked:                                  plumbline.Masked,
	} {
		if got := tfplan.MaskJSON(in, m.String); got != want {
			t.Errorf("MaskJSON(%s) = %s; want %s", in, got, want)
		}
	}
}
