package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// What stands in the addresses and settings of sinks, and may stand nowhere else.
const (
	hookPath      = "pl4nted-hook-path-0001"
	chatPath      = "T0PL4NT/B0PL4NT/pl4ntedChatPath0002xxxx"
	signingSecret = "pl4nted-hook-secret-0003"
)

// receiver keeps what it is sent; it is away for the first so many messages.
type receiver struct {
	mu     sync.Mutex
	away   int
	bodies []string
	bad    []string // why a message is not to be believed
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away > 0 {
		r.away--
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "not now; you asked "+req.URL.Path) // as indiscreet as servers are
		return
	}
	if err != nil {
		r.bad = append(r.bad, err.Error())
	}
	if req.URL.Path == "/"+hookPath {
		mac := hmac.New(sha256.New, []byte(signingSecret))
		fmt.Fprintf(mac, "v1.%s.%s", req.Header.Get("Plumbline-Timestamp"), body)
		if got := req.Header.Get("Plumbline-Signature"); got != "v1="+hex.EncodeToString(mac.Sum(nil)) {
			r.bad = append(r.bad, "signature "+got)
		}
	}
	r.bodies = append(r.bodies, string(body))
	_, _ = io.WriteString(w, "ok")
}

// seen counts, by key, what a webhook was told.
func (r *receiver) seen() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]int{}
	for _, b := range r.bodies {
		var m struct {
			Notices []struct{ Event, Stack, Key string }
		}
		if err := json.Unmarshal([]byte(b), &m); err != nil {
			r.bad = append(r.bad, err.Error())
		}
		for _, n := range m.Notices {
			out[n.Event+" "+n.Stack+" "+n.Key]++
		}
	}
	return out
}

func (r *receiver) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(append(r.bodies, r.bad...), "\n")
}

// TestNotify has a daemon tell a webhook and a chat of what became of two stacks, while the chat is away at first and the daemon is killed with -9 as
// soon as a run has ended. Each thing is told once; no secret of the sinks or of a run comes out anywhere.
func TestNotify(t *testing.T) {
	mirror := testenv.ProviderMirror(t)
	engine := testenv.Engines(t)[0]
	hook, chat := &receiver{}, &receiver{away: 1}
	hookServer, chatServer := httptest.NewServer(hook), httptest.NewServer(chat)
	t.Cleanup(hookServer.Close)
	t.Cleanup(chatServer.Close)
	dir := tempDir(t)
	write(t, filepath.Join(dir, "world/.keep"), "")
	write(t, filepath.Join(dir, "state/.keep"), "")
	files := func(content string) map[string]string {
		return map[string]string{
			"lab/a/main.tf": simple(dir, "a", content),
			"live/db/main.tf": backend(dir, "db") + `variable "password" { type = string }
resource "terraform_data" "x" {
  input = "` + content + `"
  lifecycle {
    precondition {
      condition     = var.password == ""
      error_message = "The database does not take ${var.password}."
    }
  }
}
`,
		}
	}
	remote, forge := plainForge(t, dir, map[string]string{"lab/a/main.tf": simple(dir, "a", "one")})
	config := fleetConfig(dir, "sqlite:"+dir+"/data/plumbline.db", engine.Name, mirror, forge, "infra.git") + `
notify "webhook" "hook" {
  url    = env("HOOK_URL")
  secret = env("HOOK_SECRET")
  group  = "1s"
}
notify "slack" "chat" {
  url   = env("CHAT_URL")
  group = "1s"
}
`
	write(t, filepath.Join(dir, "plumbline.hcl"), config)
	env := environ(engine, "DB_PASSWORD="+password, "DB_PIN="+pin, "HOOK_URL="+hookServer.URL+"/"+hookPath, "HOOK_SECRET="+signingSecret,
		"CHAT_URL="+chatServer.URL+"/services/"+chatPath)
	d := start(t, dir, env, "serve", "--config", "plumbline.hcl")
	d.await("kind=drift", "lab/lab/a", plumbline.StatePlanned)

	testenv.Push(t, remote, testenv.Change{Branch: "main", From: "main", Files: files("two")})
	d.await("kind=deploy", "lab/lab/a", plumbline.StateApplied)
	d.await("kind=deploy", "production/live/db", plumbline.StateFailed)
	d.kill()
	d.again(env)
	told := func() error {
		seen := hook.seen()
		if len(seen) < 2 || !strings.Contains(chat.all(), "lab/a") || !strings.Contains(chat.all(), "live/db") {
			return fmt.Errorf("the hook has %v, the chat %s", seen, chat.all())
		}
		return nil
	}
	eventually(t, "both are told of both", 2*time.Minute, told)
	var debug string
	eventually(t, "the lamps say so", time.Minute, func() (err error) {
		if debug, err = d.fetch("/debug"); err == nil && strings.Count(debug, "0 waiting, 2 sent") != 2 {
			err = errors.New(debug)
		}
		return err
	})
	d.stop()
	if err := told(); err != nil {
		t.Error(err)
	}
	for what, times := range hook.seen() {
		event, rest, _ := strings.Cut(what, " ")
		stack, _, _ := strings.Cut(rest, " ")
		if times != 1 || event+" "+stack != "applied lab/a" && event+" "+stack != "failed live/db" {
			t.Errorf("the hook was told %d times: %s", times, what)
		}
	}
	if len(hook.bad)+len(chat.bad) > 0 {
		t.Errorf("not to be believed: %q %q", hook.bad, chat.bad)
	}
	if all := hook.all(); !strings.Contains(all, "does not take "+plumbline.Masked) {
		t.Errorf("the hook is not told why: %s", all)
	}
	dump, err := dumpDatabase(config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump, "failed/") {
		t.Error("the database has no notice: the scan proves nothing")
	}
	if !strings.Contains(d.output.String(), "503") {
		t.Error("nobody says that the chat was away")
	}
	where := map[string]string{"/debug": debug, "the database": dump, "the output": d.output.String(), "the hook": hook.all(), "the chat": chat.all()}
	err = filepath.WalkDir(filepath.Join(dir, "data"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			where[path] = read(t, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for name, text := range where {
		for _, secret := range []string{hookPath, chatPath, "pl4ntedChatPath0002xxxx", signingSecret, password} {
			for _, form := range forms(secret) {
				if strings.Contains(text, form) {
					t.Errorf("%s has %s", name, secret)
				}
			}
		}
	}
}
