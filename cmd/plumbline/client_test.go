package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// terminal runs verbs against the canned daemon at its own time.
type terminal struct {
	t     *testing.T
	url   string
	store *preview.Store
	o     options
}

func newTerminal(t *testing.T) *terminal { return terminalOf(t, preview.NewServer) }

func terminalOf(t *testing.T, canned func() (*web.Server, *preview.Store)) *terminal {
	t.Helper()
	server, store := canned()
	srv := httptest.NewServer(server.Handler())
	t.Cleanup(srv.Close)
	return &terminal{t, srv.URL, store, options{URL: srv.URL, Token: preview.Token, Now: func() time.Time { return preview.Now }, Poll: time.Millisecond}}
}

// run returns what a command line prints, with the daemon's address made steady, and its exit code.
func (c *terminal) run(args ...string) (out, errOut string, code int) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	o := c.o
	o.Out, o.Err = &stdout, &stderr
	root := newRoot(strings.NewReader(""), &stdout, &stderr)
	root.RemoveCommand(root.Commands()...)
	root.ResetFlags()
	root.PersistentFlags().BoolVar(&o.JSON, "json", false, "")
	root.AddCommand(newRunsCmd(&o), newEnvCmd(&o), newDriftCmd(&o), newWhyCmd(&o), newAuditCmd(&o))
	root.SetArgs(args)
	err := root.ExecuteContext(c.t.Context())
	code = exitDone
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		code = exit.code
		if exit.err != nil {
			fmt.Fprintln(&stderr, exit.err)
		}
	case err != nil:
		code = exitFailed
		fmt.Fprintln(&stderr, err)
	}
	steady := func(b bytes.Buffer) string { return strings.ReplaceAll(b.String(), c.url, "http://127.0.0.1:8080") }
	return steady(stdout), steady(stderr), code
}

// transcript is a command line with all it prints, as a person sees it.
func (c *terminal) transcript(args ...string) string {
	c.t.Helper()
	out, errOut, code := c.run(args...)
	if strings.Contains(out+errOut, preview.Token+" ") || strings.Contains(out+errOut, "Bearer") {
		c.t.Errorf("the token is printed by %v", args)
	}
	text := "$ plumbline " + strings.Join(args, " ") + "\n" + out + errOut
	if code != exitDone {
		text += fmt.Sprintf("(exit code %d)\n", code)
	}
	return text
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", file, got)
	}
}

func TestClientVerbs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines [][]string // each starts on fresh data unless it begins with "then"
	}{
		{"runs-list", [][]string{
			{"runs", "list"}, {"runs", "list", "--env", "production", "--kind", "deploy,destroy"}, {"runs", "list", "--stack", "live/none"},
			{"runs", "list", "--mr", "!43", "--state", "failed"}, {"runs", "list", "--state", "waiting"}, {"runs", "list", "--json", "--state", "applying"},
		}},
		{"runs-show", [][]string{{"runs", "show", "9815"}, {"runs", "show", "9820"}, {"runs", "show", "9818"}, {"runs", "show", "1"}, {"runs", "show", "net"}}},
		{"runs-logs", [][]string{{"runs", "logs", "9814"}, {"runs", "logs", "-f", "9815"}, {"runs", "logs", "9816"}, {"runs", "logs"}}},
		{"runs-decide", [][]string{
			{"runs", "approve", "9815"}, {"runs", "approve", "9815", "--digest", "77aa01"}, {"runs", "approve", "9815", "--digest", "b4"},
			{"runs", "approve", "9811"}, {"runs", "approve", "9815", "--digest", "b41f9c"}, {"then", "runs", "approve", "9815", "--digest", "b41f9c"},
			{"runs", "reject", "9815"}, {"runs", "reject", "9815", "--reason", "not today"},
			{"runs", "retry", "9820"}, {"runs", "retry", "9811"}, {"runs", "cancel", "9814"}, {"runs", "cancel", "9815"},
			{"runs", "aprove", "9815"}, {"runs", "approve", "9815", "--digets", "b41f9c"},
		}},
		{"env", [][]string{
			{"env", "list"}, {"env", "list", "--repo", "edge"}, {"env", "show", "production"}, {"env", "show", "live"}, {"env", "show", "edge/sandbox"},
			{"env", "show", "prod"}, {"env", "history", "production"}, {"env", "history", "sandbox"},
			{"env", "deploy", "production"}, {"env", "deploy", "production", "live/net", "app"}, {"env", "deploy", "production", "live/nett"},
			{"env", "deploy", "edge/sandbox"},
		}},
		{"drift-list", [][]string{
			{"drift", "list"}, {"drift", "list", "--env", "staging"}, {"drift", "list", "--stack", "live/net"}, {"drift", "list", "--state", "all"},
			{"drift", "list", "--state", "resolved", "--since", "3d"}, {"drift", "list", "--env", "infra/production", "--state", "ignored"}, {"drift", "list", "--env", "prod"},
			{"drift", "list", "--state", "closed"}, {"drift", "list", "--envronment", "x"},
		}},
		{"drift-show", [][]string{
			{"drift", "show", "3"}, {"drift", "show", "4"}, {"drift", "show", "1"}, {"drift", "show", "99"}, {"drift", "show", "net"}, {"drift", "show"}, {"drift", "show", "2", "--json"},
		}},
		{"drift-decide", [][]string{
			{"drift", "ack", "3", "2", "--note", "ops-k is asked"}, {"then", "drift", "list"}, {"then", "drift", "show", "3"}, {"then", "drift", "ack", "1", "2"}, {"drift", "ack", "x"}, {"drift", "ack"},
			{"drift", "ack", "2", "--json"},
			{"drift", "ignore", "3", "--owner", "net", "--reason", "the failover", "--until", "90d"}, {"then", "drift", "show", "3"}, {"then", "drift", "rules", "production"},
			{"then", "drift", "unignore", "production", "1"}, {"then", "drift", "unignore", "production", "1"}, {"then", "drift", "list"},
			{"drift", "ignore", "production", "aws_ecs_service.*", "--attribute", "desired_count", "--stack", "live/*", "--owner", "sre", "--reason", "autoscaled", "--until", "2027-01-01"},
			{"drift", "ignore", "production", "aws_nothing.*", "--owner", "sre", "--reason", "autoscaled"},
			{"drift", "ignore", "3"}, {"drift", "ignore", "3", "--owner", "sre", "--reason", "x", "--until", "soon"}, {"drift", "ignore", "3", "--owner", "sre", "--reason", "x", "--until", "2026-01-01"},
			{"drift", "ignore", "prod", "a.b", "--owner", "sre", "--reason", "x"}, {"drift", "ignore", "production", "*", "--owner", "sre", "--reason", "x"}, {"drift", "ignore", "net", "--owner", "sre", "--reason", "x"},
			{"drift", "ignore", "2", "--owner", "sre", "--reason", "x", "--json"},
			{"drift", "rules", "staging"}, {"drift", "rules", "production", "--json"}, {"drift", "unignore", "production", "one"},
		}},
		{"drift-report", [][]string{
			{"drift", "report", "--since", "7d"}, {"drift", "report", "--env", "staging", "--markdown"}, {"drift", "report", "--csv"}, {"drift", "report", "--limit", "1000"},
			{"drift", "report", "--csv", "--json"}, {"drift", "report", "--csv", "--limit", "2000"}, {"drift", "report", "--limit", "10"}, {"drift", "report", "--since", "yesterday"}, {"drift", "report", "--env", "prod"},
		}},
		{"why", [][]string{{"why", "9815"}, {"why", "#9816"}, {"why", "app"}, {"why", "live/net", "--env", "staging"}, {"why", "live/nett"}, {"why"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []string
			var c *terminal
			for _, line := range tt.lines {
				if line[0] == "then" {
					line = line[1:]
				} else {
					c = newTerminal(t)
				}
				all = append(all, c.transcript(line...))
			}
			checkGolden(t, tt.name+".txt", strings.Join(all, "\n"))
		})
	}
}

// TestDriftCheck: the wish is fulfilled by runs that somebody else ends, as the watcher and a worker do.
func TestDriftCheck(t *testing.T) {
	check := func(id plumbline.RunID, stack string, state plumbline.State) plumbline.Run {
		r := plumbline.Run{
			ID: id, Kind: plumbline.KindDrift, State: state, Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: stack},
			Commit: "5d0c1aa4c19f", By: "local", Because: "asked for by local", Queued: preview.Now,
		}
		if state.Ended() {
			r.Finished = preview.Now
		}
		if state == plumbline.StateDrifted {
			r.DriftOpen = 1
		}
		return r
	}
	for _, tt := range []struct {
		name     string
		args     []string
		found    map[string]plumbline.State
		underWay string // a stack that is being checked already and gets no other check
		deaf     bool   // no watcher fulfils the wish
		code     int
	}{
		{name: "drift", args: []string{"live/net", "live/dns"}, found: map[string]plumbline.State{"live/net": plumbline.StateDrifted, "live/dns": plumbline.StateClean}, code: exitDifferences},
		{name: "clean", args: []string{"live/dns"}, found: map[string]plumbline.State{"live/dns": plumbline.StateClean}},
		{name: "under-way", args: []string{"live/dns", "live/db"}, found: map[string]plumbline.State{"live/dns": plumbline.StateClean, "live/db": plumbline.StateClean}, underWay: "live/dns"},
		{name: "unapplied", args: []string{"live/cache"}, found: map[string]plumbline.State{"live/cache": plumbline.StatePlanned}},
		{name: "failed", args: []string{"live/net", "live/db"}, found: map[string]plumbline.State{"live/net": plumbline.StateDrifted, "live/db": plumbline.StateFailed}, code: exitFailed},
		{name: "json", args: []string{"live/dns", "--json"}, found: map[string]plumbline.State{"live/dns": plumbline.StateClean}},
		{name: "ignored", args: []string{"live/dns"}, code: exitFailed},
		{name: "no-wait", args: []string{"live/dns", "--no-wait"}, deaf: true},
		{name: "too-long", args: []string{"live/dns", "--timeout", "20ms"}, deaf: true, code: exitFailed},
		{name: "unknown", args: []string{"live/nett"}, code: exitFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newTerminal(t)
			if tt.underWay != "" {
				c.store.Put(check(9795, tt.underWay, plumbline.StatePlanning))
			}
			if !tt.deaf {
				c.store.OnRequest = func(r plumbline.Request) {
					id := plumbline.RunID(9900)
					for _, stack := range r.Stacks {
						state, ok := tt.found[stack]
						if !ok {
							continue
						}
						this := plumbline.RunID(9795)
						if stack != tt.underWay {
							id++
							this = id
							c.store.Put(check(this, stack, plumbline.StateQueued))
						}
						go c.store.Put(check(this, stack, state))
					}
				}
			}
			text := c.transcript(append([]string{"drift", "check", "production"}, tt.args...)...)
			if want := fmt.Sprintf("(exit code %d)\n", tt.code); tt.code != exitDone && !strings.HasSuffix(text, want) || tt.code == exitDone && strings.Contains(text, "(exit code") {
				t.Errorf("want exit code %d:\n%s", tt.code, text)
			}
			checkGolden(t, "drift-check-"+tt.name+".txt", text)
		})
	}
}

// TestStrangers: what is not there, does not know us, or is not a daemon, is said with the way out of it.
func TestStrangers(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<h1>It works!</h1>") }))
	t.Cleanup(other.Close)
	var leaked string
	trap := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("Authorization") }))
	t.Cleanup(trap.Close)
	moved := httptest.NewServer(http.RedirectHandler(trap.URL, http.StatusTemporaryRedirect))
	t.Cleanup(moved.Close)
	server, _ := preview.NewServer()
	good := httptest.NewServer(server.Handler())
	t.Cleanup(good.Close)
	t.Setenv("PLUMBLINE_TOKEN", "")
	t.Setenv("PLUMBLINE_TOKEN_FILE", "")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(preview.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name, url string
		env       map[string]string
		code      int
		says      []string
	}{
		{"nobody there", gone.URL, nil, exitFailed, []string{"no answer from " + gone.URL, "plumbline serve", "PLUMBLINE_URL"}},
		{"another server", other.URL, nil, exitFailed, []string{"not an answer of Plumbline", "PLUMBLINE_URL"}},
		{"a redirect", moved.URL, map[string]string{"PLUMBLINE_TOKEN": "secret-token"}, exitFailed, []string{"307", "not an answer of Plumbline"}},
		{"no token", good.URL, nil, exitFailed, []string{"does not know you", "PLUMBLINE_TOKEN_FILE"}},
		{"a wrong token", good.URL, map[string]string{"PLUMBLINE_TOKEN": "secret-token"}, exitFailed, []string{"does not know you"}},
		{"the token", good.URL, map[string]string{"PLUMBLINE_TOKEN": preview.Token}, exitDone, nil},
		{"the token's file", good.URL, map[string]string{"PLUMBLINE_TOKEN_FILE": file}, exitDone, nil},
		{"a file that is not there", good.URL, map[string]string{"PLUMBLINE_TOKEN_FILE": file + "x"}, exitUsage, []string{"the token cannot be read", "PLUMBLINE_TOKEN_FILE"}},
		{"in clear over the network", "http://plumbline.example.com", map[string]string{"PLUMBLINE_TOKEN": "secret-token"}, exitUsage, []string{"in clear", "https"}},
		{"no address", "plumbline.example.com", nil, exitUsage, []string{"PLUMBLINE_URL"}},
		{"a password in the address", strings.Replace(gone.URL, "//", "//u:secret-token@", 1), nil, exitFailed, []string{"no answer from"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("PLUMBLINE_URL", tt.url)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			var out, errOut bytes.Buffer
			if code := run(context.Background(), []string{"env", "list"}, strings.NewReader(""), &out, &errOut); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(errOut.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, errOut.String())
				}
			}
			if strings.Contains(out.String()+errOut.String(), "secret-token") {
				t.Errorf("the token is printed:\n%s", errOut.String())
			}
		})
	}
	if leaked != "" {
		t.Error("the token went to where a redirect pointed")
	}
}

// TestFollowedLogEnds: a followed log goes on until its run has ended.
func TestFollowedLogEnds(t *testing.T) {
	c := newTerminal(t)
	go func() {
		c.store.Say(9814, "Apply complete!\n")
		_, err := c.store.Update(context.Background(), 9814, preview.Now, func(r *plumbline.Run, now time.Time) error {
			return r.Finish(r.Claim, plumbline.Outcome{Applied: true}, nil, now)
		})
		if err != nil {
			t.Error(err)
		}
	}()
	out, errOut, code := c.run("runs", "logs", "-f", "9814")
	if code != exitDone || !strings.HasSuffix(out, "20s elapsed]\nApply complete!\n") {
		t.Errorf("exit code %d, %s, %q", code, errOut, out)
	}
}

func TestTableColours(t *testing.T) {
	for _, colour := range []bool{false, true} {
		var b bytes.Buffer
		table := newTable("STACK", "STATE", "BY")
		table.state(1)
		table.add("live/net", "failed", "örtlich")
		table.add("live/a", "in sync", "evil\x1b]0;title\a\u202Eback")
		if err := table.write(&options{Out: &b, Color: colour}); err != nil {
			t.Fatal(err)
		}
		want := "STACK      STATE     BY\nlive/net   failed    örtlich\nlive/a     in sync   evil]0;titleback\n"
		if colour {
			want = "\x1b[2mSTACK\x1b[0m      \x1b[2mSTATE\x1b[0m     \x1b[2mBY\x1b[0m\nlive/net   \x1b[31mfailed\x1b[0m    örtlich\nlive/a     \x1b[32min sync\x1b[0m   evil]0;titleback\n"
		}
		if b.String() != want {
			t.Errorf("colour %t:\n%q\nwant\n%q", colour, b.String(), want)
		}
	}
}

func TestLegibleWriter(t *testing.T) {
	in := "a\x1b[31mä→\r\n\x00b\xff"
	for size := 1; size <= len(in); size++ {
		var b bytes.Buffer
		w := &legibleWriter{w: &b}
		for i := 0; i < len(in); i += size {
			if _, err := w.Write([]byte(in[i:min(i+size, len(in))])); err != nil {
				t.Fatal(err)
			}
		}
		if want := "a[31mä→\nb\uFFFD"; b.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, b.String(), want)
		}
	}
}
