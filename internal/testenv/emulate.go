package testenv

import (
	"bytes"
	_ "embed" // for what is loaded before emulate
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

//go:embed loopback.cjs
var loopback []byte

// Emulate starts a service of emulate (github, slack, …), which somebody else wrote, with a seed, and returns its address. It ends with the test. The
// service is ready when it answers at the path, whatever it says.
func Emulate(t testing.TB, service string, seed any, path string) string {
	t.Helper()
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	node, program, err := findEmulate()
	if err != nil {
		if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
			t.Fatalf("no emulate to test with (run .ci/tools emulate): %v", err)
		}
		t.Skipf("no emulate to test with (run .ci/tools emulate): %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b, err := json.Marshal(seed) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	file, preload := filepath.Join(dir, "seed.json"), filepath.Join(dir, "loopback.cjs")
	for name, content := range map[string][]byte{file: b, preload: loopback} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	cmd := exec.Command(node, "--require", preload, program, "start", "-p", fmt.Sprint(port), "-s", service, "--seed", file, "--base-url", url)
	cmd.Dir = dir
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe() // its end is the program's end, however this process ends
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = in.Close()
		if err := <-ended; err != nil {
			t.Logf("emulate: %v", err)
		}
	})
	await(t, url+path, ended, &out)
	return url
}

func findEmulate() (node, program string, err error) {
	if node, err = exec.LookPath("node"); err != nil {
		return "", "", err
	}
	cache := os.Getenv("PLUMBLINE_CACHE") // the rule is that of .ci/tools
	if cache == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", "", err
			}
			base = filepath.Join(home, ".cache")
		}
		cache = filepath.Join(base, "plumbline")
	}
	found, err := filepath.Glob(filepath.Join(cache, "emulate", "*", "node_modules", "emulate", "dist", "index.js"))
	if err == nil && len(found) == 0 {
		err = errors.New("it is not in " + cache)
	}
	if err != nil {
		return "", "", err
	}
	return node, found[len(found)-1], nil
}

// await asks until the server answers.
func await(t testing.TB, url string, ended chan error, out *output) {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case how := <-ended:
			ended <- how
			t.Fatalf("emulate: %v\n%s", how, out)
		case <-limit.C:
			t.Fatalf("emulate does not answer: %v\n%s", err, out)
		case <-tick.C:
		}
	}
}

// output is what a program prints.
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
