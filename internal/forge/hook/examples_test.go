package hook_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge/hook"
)

// example is a payload that somebody else wrote down; testdata/README.md says who.
type example struct {
	Forge   string
	Event   string
	Times   int // 0: it is whole, and there once more, cut down
	Payload json.RawMessage
}

func examples(t *testing.T) []example {
	t.Helper()
	f, err := os.Open("testdata/examples.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []example
	s := bufio.NewScanner(z)
	s.Buffer(nil, hook.MaxBody)
	for s.Scan() {
		var e example
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// deliver signs a payload and hands it over with the headers of its forge.
func deliver(t *testing.T, e example) (hook.Event, error) {
	t.Helper()
	kind, name := e.Forge, map[string]string{"github": "X-Github-Event", "gitea": "X-Gitea-Event", "gogs": "X-Gogs-Event", "bitbucket": "X-Event-Key"}[e.Forge]
	if kind == "gogs" {
		kind = "gitea"
	}
	h := signed(kind, secret, e.Payload)
	if name != "" {
		h.Set(name, e.Event)
	}
	return receiver(t, kind, secret).Receive(h, e.Payload, now)
}

// TestExamples reads payloads that the forges' users and documentation show: none is an error, and each is what its name says.
func TestExamples(t *testing.T) {
	times, total := map[string]int{}, map[string]int{}
	for _, e := range examples(t) {
		got, err := deliver(t, e)
		if err != nil {
			t.Errorf("%s %s: %v\n%s", e.Forge, e.Event, err, e.Payload)
			continue
		}
		line := fmt.Sprintf("%s %s: %s", e.Forge, e.Event, got.Kind)
		if got.Kind != hook.Other {
			line = fmt.Sprintf("%s %s: %s", e.Forge, e.Event, told(got, nil))
		}
		if times[line] += e.Times; e.Times == 0 {
			times[line+" (whole)"]++
		}
		total[e.Forge] += e.Times
	}
	var out strings.Builder
	for _, line := range slices.Sorted(maps.Keys(times)) {
		fmt.Fprintf(&out, "%s ×%d\n", line, times[line])
	}
	fmt.Fprintln(&out, total)
	golden(t, "examples.golden", out.String())
}

// TestWholeExamples reads the whole payloads of the package that TestExamples has extracts of.
func TestWholeExamples(t *testing.T) {
	dir := os.Getenv("PLUMBLINE_WEBHOOK_EXAMPLES")
	if dir == "" {
		t.Skip("PLUMBLINE_WEBHOOK_EXAMPLES names no directory with @octokit/webhooks-examples; testdata/README.md tells how to get it")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "index.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no index.json in the directories of %s (%v)", dir, err)
	}
	kinds := map[hook.Kind]int{}
	for _, file := range files {
		var events []struct {
			Name     string
			Examples []json.RawMessage
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &events); err != nil {
			t.Fatal(err)
		}
		for _, event := range events {
			for i, payload := range event.Examples {
				got, err := deliver(t, example{Forge: "github", Event: event.Name, Payload: payload})
				if err != nil {
					t.Errorf("%s: example %d of %s: %v", file, i, event.Name, err)
				}
				kinds[got.Kind]++
			}
		}
	}
	t.Log(kinds)
}

// TestGitLabExamples reads the payloads that GitLab's own client for Go is tested with.
func TestGitLabExamples(t *testing.T) {
	const client = "gitlab.com/gitlab-org/api/client-go/v2"
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", client).Output()
	if err != nil || len(dir) < 2 {
		t.Fatalf("where is %s? %q, %v", client, dir, err)
	}
	testdata := filepath.Join(strings.TrimSpace(string(dir)), "testdata")
	var out strings.Builder
	for _, pattern := range []string{"webhooks/*.json", "systemhooks/*.json"} {
		files, err := filepath.Glob(filepath.Join(testdata, pattern))
		if err != nil || len(files) < 20 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for _, file := range files {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := deliver(t, example{Forge: "gitlab", Payload: payload})
			name, _ := filepath.Rel(testdata, file)
			fmt.Fprintf(&out, "%s: %s\n", filepath.ToSlash(name), told(got, err))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	golden(t, "gitlab.golden", out.String())
}

// FuzzReceive signs whatever it is given, so that it gets past the signature.
func FuzzReceive(f *testing.F) {
	kinds := []string{"gitlab", "github", "gitea", "bitbucket"}
	add := func(kind byte, event, content string, body []byte) { f.Add(kind, event, content, "a-1", "", body) }
	add(0, "Push Hook", "application/json", gitlabPush)
	add(1, "push", "application/json", hubPush)
	add(1, "push", "application/x-www-form-urlencoded", []byte("payload=%7B%22ref%22%3A%22refs%2Fheads%2Fa%22%2C%22repository%22%3A%7B%22full_name%22%3A%22a%2Fb%22%7D%7D"))
	add(1, "issue_comment", "application/json; charset=utf-8", []byte(`{"repository":{"full_name":"a/b"},"issue":{"number":4,"pull_request":{}}}`))
	add(2, "pull_request_approved", "application/json", []byte(`{"repository":{"full_name":"a/b"},"pull_request":{"number":4}}`))
	add(3, "repo:push", "application/json", bucketPush)
	add(3, "pullrequest:comment_created", "application/json", []byte(`{"repository":{"full_name":"a/b"},"pullrequest":{"id":4}}`))
	f.Add(byte(0), "Note Hook", "application/json", "m1", "v1,AAAA v1a,BBBB", []byte(`{"object_kind":"note","project":{"path_with_namespace":"a/b"},"object_attributes":{"id":7},"merge_request":{"iid":1}}`))
	f.Fuzz(func(t *testing.T, kind byte, event, content, id, signature string, body []byte) {
		k := kinds[int(kind)%len(kinds)]
		h := http.Header{"Content-Type": {content}}
		for _, name := range []string{"X-Github-Event", "X-Gitea-Event", "X-Event-Key"} {
			h.Set(name, event)
		}
		for _, name := range []string{"X-Github-Delivery", "X-Gitea-Delivery", "X-Request-Uuid", "Idempotency-Key", "Webhook-Id"} {
			h.Set(name, id)
		}
		h.Set("Webhook-Signature", signature)
		h.Set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
		if e, err := receiver(t, k, secret, signing).Receive(h, body, now); err == nil {
			t.Fatalf("not signed, and in it is: %+v", e)
		}
		h.Del("Webhook-Signature")
		for name, v := range signed(k, secret, body) {
			if name != "Content-Type" {
				h[name] = v
			}
		}
		r := receiver(t, k, secret, signing)
		e, err := r.Receive(h, body, now)
		if err != nil {
			if e != (hook.Event{}) {
				t.Fatalf("an event beside an error: %+v, %v", e, err)
			}
			return
		}
		if e.Replayed || (e.Wakes() && e.Project == "") || strings.ContainsAny(e.Project+e.Ref+e.MR+e.Delivery, "\x00\n\r\x1b") {
			t.Fatalf("%+v", e)
		}
		if again, err := r.Receive(h, body, now); err != nil || !again.Replayed || again.Wakes() {
			t.Fatalf("again: %+v, %v", again, err)
		}
	})
}
