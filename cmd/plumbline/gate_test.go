package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web/preview"
)

func TestGateVerbs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines [][]string // each starts on fresh data unless it begins with "then"
	}{
		{"gate-runs", [][]string{
			{"runs", "show", "9815"}, {"runs", "show", "9814"}, {"runs", "approve", "9808"}, {"runs", "approve", "9815", "--digest", "b41f9c"},
			{"runs", "reject", "9808", "--reason", "not like this"}, {"runs", "break-glass", "9815"}, {"runs", "break-glass", "9815", "--digest", "b41f9c", "--reason", " "},
			{"runs", "break-glass", "9815", "--digest", "77aa01", "--reason", "the site is down"},
			{"runs", "break-glass", "9815", "--digest", "b41f9c", "--reason", "the site is down"}, {"then", "runs", "show", "9815"}, {"then", "why", "9815"},
			{"runs", "break-glass", "9814", "--digest", "0c5e71", "--reason", "the site is down"}, {"runs", "break-glass", "net", "--digest", "0c5e71", "--reason", "x"},
		}},
		{"gate-env", [][]string{
			{"env", "show", "staging"}, {"env", "show", "production"}, {"env", "calendar", "production"}, {"env", "calendar", "staging"}, {"env", "calendar", "prod"},
			{"env", "freeze", "production", "--reason", "the auditors are here", "--until", "2026-12-24T18:00"}, {"then", "env", "calendar", "production"}, {"then", "env", "show", "production"},
			{"then", "why", "9815"}, {"then", "env", "thaw", "production", "--reason", "they left"}, {"then", "env", "thaw", "production", "--reason", "they left"},
			{"env", "freeze", "infra/staging", "--reason", "x"}, {"then", "env", "calendar", "staging"}, {"then", "env", "thaw", "staging", "--reason", "x", "--id", "7"},
			{"env", "freeze", "production", "--reason", "x", "--until", "3h"}, {"env", "freeze", "production", "--reason", "x", "--until", "2026-11-20T14:00"},
			{"env", "freeze", "production", "--reason", "x", "--until", "tomorrow"}, {"env", "freeze", "production", "--reason", "x", "--until", "-3h"},
			{"env", "freeze", "production"}, {"env", "thaw", "production"}, {"env", "freeze", "production", "--reason", "x", "--json"},
			{"env", "promote", "staging"}, {"env", "promote", "production"}, {"env", "rollback", "production"}, {"env", "rollback", "production", "--to", "3a9be01"},
			{"env", "rollback", "production", "--to", "7777777"}, {"env", "rollback", "production", "--to", "HEAD~1"}, {"env", "rollback", "production", "--json"},
		}},
		{"gate-why", [][]string{{"why", "9816"}, {"why", "#9814"}, {"why", "live/net", "--env", "production"}, {"why", "9816", "--json"}}},
		{"gate-audit", [][]string{
			{"audit", "list"}, {"audit", "list", "--who", "mallory", "--json"}, {"audit", "list", "--who", "nobody"}, {"audit", "list", "--action", "aprove"},
			{"audit", "list", "--since", "49m", "--until", "2026-11-20T13:53:30Z"}, {"audit", "list", "--since", "yesterday"},
			{"audit", "verify"}, {"audit", "verify", "--json"}, {"audit", "verify", "--anchor", "3"}, {"audit", "verify", "--anchor", "1:" + strings.Repeat("0", 64)},
			{"audit", "export", "--format", "csv"}, {"audit", "export", "--run", "9806"}, {"audit", "export", "--format", "xlsx"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []string
			var c *terminal
			for _, line := range tt.lines {
				if line[0] == "then" {
					line = line[1:]
				} else {
					c = terminalOf(t, preview.NewGatedServer)
				}
				all = append(all, c.transcript(line...))
			}
			checkGolden(t, tt.name+".txt", strings.Join(all, "\n"))
		})
	}
}

// TestExportVerifies: what is exported can be checked without the daemon; what was changed on the way, or in the daemon, is found.
func TestExportVerifies(t *testing.T) {
	c := terminalOf(t, preview.NewGatedServer)
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	if out, errOut, code := c.run("audit", "export", "--output", file); code != exitDone || out != "" {
		t.Fatalf("export: %d %q %s", code, out, errOut)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	out, errOut, code := c.run("audit", "verify", file)
	if code != exitDone || !strings.Contains(out, "3 entries") {
		t.Fatalf("verify: %d %q %s", code, out, errOut)
	}
	anchor := strings.TrimSpace(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	if _, errOut, code := c.run("audit", "verify", "--anchor", anchor); code != exitDone {
		t.Errorf("the daemon does not know its anchor: %d %s", code, errOut)
	}
	c.store.Rewrite(2, func(r *plumbline.AuditRow) { r.Who = "nobody" })
	if _, errOut, code := c.run("audit", "verify"); code != exitFailed || !strings.Contains(errOut, "Entry 2 was altered") {
		t.Errorf("a rewritten log: %d %s", code, errOut)
	}
	if out, _, code := c.run("audit", "verify", "--json"); code != exitFailed || !strings.Contains(out, `"altered"`) {
		t.Errorf("a rewritten log as JSON: %d %s", code, out)
	}
}

// TestBrokenExportLeavesNoFile: half an export is no export, and an older one stays.
func TestBrokenExportLeavesNoFile(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{\"seq\":1}\n")) // the test reads it, or fails
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "audit.jsonl")
	if err := os.WriteFile(file, []byte("older\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLUMBLINE_URL", srv.URL)
	t.Setenv("PLUMBLINE_TOKEN", "x")
	for _, args := range [][]string{{"audit", "export", "--output", file}, {"audit", "export"}} {
		var out, errOut strings.Builder
		if code := run(context.Background(), args, strings.NewReader(""), &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), "the export broke off") {
			t.Errorf("%v: %d %s", args, code, errOut.String())
		}
	}
	left, err := os.ReadDir(dir)
	if b, _ := os.ReadFile(file); err != nil || len(left) != 1 || string(b) != "older\n" {
		t.Errorf("%v, %q, %v", left, b, err)
	}
}

func TestUntil(t *testing.T) {
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 500, london)
	for in, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "3h": "2026-07-01T14:00:00Z", "90m": "2026-07-01T12:30:00Z", "2026-07-02T18:00": "2026-07-02T17:00:00Z", "2026-12-24 18:00": "2026-12-24T18:00:00Z",
		"2026-07-02T18:00:00+02:00": "2026-07-02T16:00:00Z", "0s": "", "-1h": "", "tomorrow": "", "2026-02-30T00:00": "", "18:00": "",
	} {
		got, err := untilTime(in, now)
		if text := got.UTC().Format(time.RFC3339); (err != nil) != (want == "") || err == nil && text != want {
			t.Errorf("%q is %s, %v; want %q", in, text, err, want)
		}
	}
}
