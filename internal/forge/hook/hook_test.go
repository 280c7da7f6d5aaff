package hook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/hook"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
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

var now = time.Date(2026, 11, 20, 14, 42, 0, 0, time.UTC)

const (
	secret  = "swordfish-9"
	another = "marlin-4"
	// signing is the token of the test vector of the Standard Webhooks libraries.
	signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func receiver(t testing.TB, kind string, secrets ...string) *hook.Receiver {
	t.Helper()
	c := hook.Config{Kind: kind}
	for _, s := range secrets {
		c.Secrets = append(c.Secrets, plumbline.NewSecret(s))
	}
	r, err := hook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// header makes one of pairs.
func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Set(kv[i], kv[i+1])
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	return h
}

func sum256(key string, body []byte) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

func sum1(key string, body []byte) string {
	m := hmac.New(sha1.New, []byte(key))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// standard signs as GitLab does with a signing token.
func standard(token, id string, at int64, body []byte) string {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(token, "whsec_"))
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s.%d.%s", id, at, body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// signed returns the headers that the forge sends with a body, but for the event.
func signed(kind, key string, body []byte) http.Header {
	switch kind {
	case "gitlab":
		return header("X-Gitlab-Token", key)
	case "github":
		return header("X-Hub-Signature-256", "sha256="+sum256(key, body))
	case "bitbucket":
		return header("X-Hub-Signature", "sha256="+sum256(key, body))
	}
	return header("X-Gitea-Signature", sum256(key, body))
}

var (
	gitlabPush = []byte(`{"object_kind":"push","ref":"refs/heads/main","project":{"path_with_namespace":"platform/team/infra"}}`)
	hubPush    = []byte(`{"ref":"refs/heads/main","repository":{"full_name":"platform/infra"}}`)
	bucketPush = []byte(`{"push":{"changes":[{"new":{"type":"branch","name":"main"},"old":null}]},"repository":{"full_name":"platform/infra"}}`)
)

// TestVerify: who gets in, and who does not. What must not get in says only that it is denied.
func TestVerify(t *testing.T) {
	at := strconv.FormatInt(now.Unix(), 10)
	old := strconv.FormatInt(now.Add(-5*time.Minute-time.Second).Unix(), 10)
	v1 := func(token, id string, after time.Duration) string {
		return standard(token, id, now.Add(after).Unix(), gitlabPush)
	}
	const other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	both := []string{secret, another}
	for _, tt := range []struct {
		name    string
		kind    string
		secrets []string
		header  http.Header
		body    []byte
		in      bool
	}{
		{"github", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush)), hubPush, true},
		{"github, the other secret", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(another, hubPush)), hubPush, true},
		{"github, upper case", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+strings.ToUpper(sum256(secret, hubPush))), hubPush, true},
		{"github, a strange secret", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256("x", hubPush)), hubPush, false},
		{"github, an empty secret", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256("", hubPush)), hubPush, false},
		{"github, another body", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush)), append([]byte(" "), hubPush...), false},
		{"github, SHA-1", "github", both, header("X-Github-Event", "push", "X-Hub-Signature", "sha1="+sum1(secret, hubPush)), hubPush, false},
		{"github, SHA-1 in the new header", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha1="+sum1(secret, hubPush)), hubPush, false},
		{"github, SHA-256 in the old header", "github", both, header("X-Github-Event", "push", "X-Hub-Signature", "sha256="+sum256(secret, hubPush)), hubPush, false},
		{"github, no prefix", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", sum256(secret, hubPush)), hubPush, false},
		{"github, half of it", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush)[:32]), hubPush, false},
		{"github, nothing behind the prefix", "github", both, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="), hubPush, false},
		{"github, not signed", "github", both, header("X-Github-Event", "push"), hubPush, false},
		{"github, no secret configured", "github", nil, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256("", hubPush)), hubPush, false},
		{"github, an empty secret configured", "github", []string{""}, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256("", hubPush)), hubPush, false},
		{"github, a secret that looks like GitLab's", "github", []string{signing}, header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(signing, hubPush)), hubPush, true},

		{"gitea", "gitea", both, header("X-Gitea-Event", "push", "X-Gitea-Signature", sum256(secret, hubPush)), hubPush, true},
		{"forgejo", "gitea", both, header("X-Forgejo-Event", "push", "X-Forgejo-Signature", sum256(another, hubPush)), hubPush, true},
		{"gogs", "gitea", both, header("X-Gogs-Event", "push", "X-Gogs-Signature", sum256(secret, hubPush)), hubPush, true},
		{"gitea, signed as GitHub does", "gitea", both, header("X-Gitea-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush)), hubPush, true},
		{"gitea, a bad signature and a good one", "gitea", both, header("X-Gitea-Event", "push", "X-Forgejo-Signature", sum256("x", hubPush), "X-Gitea-Signature", sum256(secret, hubPush)), hubPush, false},
		{"gitea, SHA-1", "gitea", both, header("X-Gitea-Event", "push", "X-Hub-Signature", "sha1="+sum1(secret, hubPush)), hubPush, false},
		{"gitea, without a secret there", "gitea", both, header("X-Gitea-Event", "push", "X-Gitea-Signature", ""), hubPush, false},
		{"gitea, a strange secret", "gitea", both, header("X-Gitea-Event", "push", "X-Gitea-Signature", sum256("x", hubPush)), hubPush, false},

		{"bitbucket", "bitbucket", both, header("X-Event-Key", "repo:push", "X-Hub-Signature", "sha256="+sum256(secret, bucketPush)), bucketPush, true},
		{"bitbucket, a strange secret", "bitbucket", both, header("X-Event-Key", "repo:push", "X-Hub-Signature", "sha256="+sum256("x", bucketPush)), bucketPush, false},
		{"bitbucket, another algorithm", "bitbucket", both, header("X-Event-Key", "repo:push", "X-Hub-Signature", "sha1="+sum1(secret, bucketPush)), bucketPush, false},
		{"bitbucket, not signed", "bitbucket", both, header("X-Event-Key", "repo:push", "X-Hook-Uuid", "{1c2f}"), bucketPush, false},

		{"gitlab, token", "gitlab", both, header("X-Gitlab-Token", secret), gitlabPush, true},
		{"gitlab, the other token", "gitlab", both, header("X-Gitlab-Token", another), gitlabPush, true},
		{"gitlab, half a token", "gitlab", both, header("X-Gitlab-Token", secret[:5]), gitlabPush, false},
		{"gitlab, more than a token", "gitlab", both, header("X-Gitlab-Token", secret+"0"), gitlabPush, false},
		{"gitlab, an empty token", "gitlab", both, header("X-Gitlab-Token", ""), gitlabPush, false},
		{"gitlab, no token", "gitlab", both, header(), gitlabPush, false},
		{"gitlab, no secret configured", "gitlab", nil, header("X-Gitlab-Token", ""), gitlabPush, false},
		{"gitlab, signed, with no signing token here", "gitlab", both, header("X-Gitlab-Token", secret, "Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(signing, "m1", 0)), gitlabPush, true},

		{"gitlab, signed", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(signing, "m1", 0)), gitlabPush, true},
		{"gitlab, signed twice", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(other, "m1", 0)+" "+v1(signing, "m1", 0)), gitlabPush, true},
		{"gitlab, signed, of two signing tokens", "gitlab", []string{other, signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(signing, "m1", 0)), gitlabPush, true},
		{"gitlab, a token, while signing is being set up", "gitlab", []string{signing, secret}, header("X-Gitlab-Token", secret), gitlabPush, true},
		{"gitlab, signed by a stranger", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(other, "m1", 0)), gitlabPush, false},
		{"gitlab, signed by a stranger who has the token", "gitlab", []string{signing, secret}, header("X-Gitlab-Token", secret, "Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(other, "m1", 0)), gitlabPush, false},
		{"gitlab, the signing token as a token", "gitlab", []string{signing}, header("X-Gitlab-Token", signing), gitlabPush, false},
		{"gitlab, signed with another id", "gitlab", []string{signing}, header("Webhook-Id", "m2", "Webhook-Timestamp", at, "Webhook-Signature", v1(signing, "m1", 0)), gitlabPush, false},
		{"gitlab, signed without an id", "gitlab", []string{signing}, header("Webhook-Timestamp", at, "Webhook-Signature", v1(signing, "", 0)), gitlabPush, false},
		{"gitlab, signed, as another version", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", "v2"+v1(signing, "m1", 0)[2:]), gitlabPush, false},
		{"gitlab, signed five minutes ago", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", strconv.FormatInt(now.Unix()-300, 10), "Webhook-Signature", v1(signing, "m1", -5*time.Minute)), gitlabPush, true},
		{"gitlab, signed longer ago", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", old, "Webhook-Signature", v1(signing, "m1", -5*time.Minute-time.Second)), gitlabPush, false},
		{"gitlab, signed in the future", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", strconv.FormatInt(now.Unix()+301, 10), "Webhook-Signature", v1(signing, "m1", 301*time.Second)), gitlabPush, false},
		{"gitlab, old, with a new time", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", v1(signing, "m1", -5*time.Minute-time.Second)), gitlabPush, false},
		{"gitlab, signed at no time", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", "now", "Webhook-Signature", v1(signing, "m1", 0)), gitlabPush, false},
		{"gitlab, too many signatures", "gitlab", []string{signing}, header("Webhook-Id", "m1", "Webhook-Timestamp", at, "Webhook-Signature", strings.Repeat("v1,AAAA ", 16)+v1(signing, "m1", 0)), gitlabPush, false},
	} {
		e, err := receiver(t, tt.kind, tt.secrets...).Receive(tt.header, tt.body, now)
		switch {
		case tt.in && (err != nil || e.Kind != hook.Push || e.Ref != "refs/heads/main" || e.Replayed || !e.Wakes()):
			t.Errorf("%s: %+v, %v", tt.name, e, err)
		case !tt.in && (!errors.Is(err, plumbline.ErrDenied) || e != hook.Event{}):
			t.Errorf("%s: got in with %+v, %v", tt.name, e, err)
		}
		if err != nil {
			for _, s := range append(tt.secrets, "platform", "sha256=") {
				if s != "" && strings.Contains(err.Error(), s) {
					t.Errorf("%s: the error repeats what it should not: %v", tt.name, err)
				}
			}
		}
	}
}

// TestVectors: signatures that others made. Neither body is an event, which shows only after the signature was good.
func TestVectors(t *testing.T) {
	// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries, "Testing the webhook payload validation"
	_, err := receiver(t, "github", "It's a Secret to Everybody").Receive(
		header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),
		[]byte("Hello, World!"), now)
	if !errors.Is(err, plumbline.ErrInvalid) || errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("GitHub's: %v", err)
	}
	// https://developer.atlassian.com/cloud/jira/platform/webhooks/, "Secure admin webhooks"
	_, err = receiver(t, "bitbucket", "It's a Secret to Everybody").Receive(
		header("X-Event-Key", "repo:push", "X-Hub-Signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"),
		[]byte("Hello World!"), now)
	if !errors.Is(err, plumbline.ErrInvalid) || errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("Atlassian's: %v", err)
	}
	// https://github.com/standard-webhooks/standard-webhooks, the libraries' tests
	_, err = receiver(t, "gitlab", signing).Receive(
		header("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "Webhook-Timestamp", "1614265330", "Webhook-Signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
		[]byte(`{"test": 2432232314}`), time.Unix(1614265330, 0))
	if !errors.Is(err, plumbline.ErrInvalid) || errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("that of Standard Webhooks: %v", err)
	}
}

func TestNew(t *testing.T) {
	for _, kind := range []string{"", "git", "codecommit", "Gitea"} {
		if _, err := hook.New(hook.Config{Kind: kind}); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("kind %q: %v", kind, err)
		}
	}
	for _, kind := range []string{"gitlab", "github", "gitea", "bitbucket"} {
		_, err := receiver(t, kind).Receive(signed(kind, "", hubPush), hubPush, now)
		if !errors.Is(err, plumbline.ErrDenied) || !strings.Contains(err.Error(), "no secret is configured") {
			t.Errorf("%s without a secret: %v", kind, err)
		}
	}
	for _, s := range []string{"whsec_", "whsec_not base64"} {
		if _, err := hook.New(hook.Config{Kind: "gitlab", Secrets: []plumbline.Secret{plumbline.NewSecret(s)}}); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), "not base64:") {
			t.Errorf("secret %q: %v", s, err)
		}
	}
}

// TestReplay: the second time, it does nothing, whatever its headers say that nobody signed.
func TestReplay(t *testing.T) {
	for _, tt := range []struct {
		kind, secret string
		body         []byte
		header       func(delivery string, at time.Time) http.Header
		resent       bool // with another id, it is another delivery
	}{
		{"github", secret, hubPush, func(id string, _ time.Time) http.Header {
			return header("X-Github-Event", "push", "X-Github-Delivery", id, "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush))
		}, false},
		{"gitea", secret, hubPush, func(id string, _ time.Time) http.Header {
			return header("X-Gitea-Event", "push", "X-Gitea-Delivery", id, "X-Gitea-Signature", sum256(secret, hubPush))
		}, false},
		{"bitbucket", secret, bucketPush, func(id string, _ time.Time) http.Header {
			return header("X-Event-Key", "repo:push", "X-Request-Uuid", id, "X-Hub-Signature", "sha256="+sum256(secret, bucketPush))
		}, false},
		{"gitlab", secret, gitlabPush, func(id string, _ time.Time) http.Header {
			return header("Idempotency-Key", id, "X-Gitlab-Token", secret)
		}, true},
		{"gitlab", signing, gitlabPush, func(id string, at time.Time) http.Header {
			return header("Webhook-Id", id, "Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10), "Webhook-Signature", standard(signing, id, at.Unix(), gitlabPush))
		}, true},
	} {
		r, again := receiver(t, tt.kind, tt.secret), receiver(t, tt.kind, tt.secret)
		take := func(r *hook.Receiver, id string, at time.Time) hook.Event {
			t.Helper()
			e, err := r.Receive(tt.header(id, at), tt.body, at)
			if err != nil {
				t.Fatalf("%s: %v", tt.kind, err)
			}
			if e.Delivery != id {
				t.Errorf("%s: the delivery is %q, want %q", tt.kind, e.Delivery, id)
			}
			return e
		}
		if e := take(r, "a-1", now); e.Replayed || !e.Wakes() {
			t.Errorf("%s, the first: %+v", tt.kind, e)
		}
		if e := take(r, "a-1", now.Add(time.Hour)); !e.Replayed || e.Wakes() {
			t.Errorf("%s, the second: %+v", tt.kind, e)
		}
		if e := take(r, "a-2", now.Add(time.Hour)); e.Replayed == tt.resent {
			t.Errorf("%s, with another id: %+v", tt.kind, e)
		}
		if e := take(again, "a-1", now); e.Replayed {
			t.Errorf("%s: one forge knows what another was sent", tt.kind)
		}
	}

	// A stranger cannot use the memory up, nor put into it what the forge is going to send.
	r := receiver(t, "github", secret)
	good := header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush))
	if _, err := r.Receive(header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, hubPush)), append(hubPush, ' '), now); err == nil {
		t.Error("a changed body got in")
	}
	if e, err := r.Receive(good, hubPush, now); err != nil || e.Replayed {
		t.Errorf("after a stranger tried: %+v, %v", e, err)
	}
}

// TestRefused: what the forge signed, and still is nothing that it sends. The errors are for the daemon's log.
func TestRefused(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	form := func(kv url.Values) string { return kv.Encode() }
	var out strings.Builder
	for _, tt := range []struct{ name, kind, event, content, body string }{
		{"nothing", "github", "push", "", ""},
		{"text", "github", "push", "text/plain", string(hubPush)},
		{"no content type", "github", "push", "/", string(hubPush)},
		{"a form to gitea", "gitea", "push", "application/x-www-form-urlencoded", form(url.Values{"payload": {string(hubPush)}})},
		{"a form with a payload", "github", "push", "application/x-www-form-urlencoded", form(url.Values{"payload": {string(hubPush)}})},
		{"a form without one", "github", "push", "application/x-www-form-urlencoded", form(url.Values{"payloads": {string(hubPush)}})},
		{"a form with two", "github", "push", "application/x-www-form-urlencoded", form(url.Values{"payload": {string(hubPush), "{}"}})},
		{"no form", "github", "push", "application/x-www-form-urlencoded", "payload=%zz"},
		{"with a character set", "github", "push", "application/json; charset=utf-8", string(hubPush)},
		{"an array", "github", "push", "", "[" + string(hubPush) + "]"},
		{"half of it", "github", "push", "", string(hubPush[:30])},
		{"two", "github", "push", "", string(hubPush) + "{}"},
		{"space around it", "github", "push", "", "\n" + string(hubPush) + "\n"},
		{"a name twice", "github", "push", "", `{"ref":"refs/heads/main","ref":"refs/tags/x","repository":{"full_name":"platform/infra"}}`},
		{"another's case", "github", "push", "", `{"ref":"refs/heads/main","Repository":{"full_name":"platform/infra"}}`},
		{"no UTF-8", "github", "push", "", `{"ref":"refs/heads/` + "\xff" + `","repository":{"full_name":"platform/infra"}}`},
		{"deep", "github", "ping", "", deep(64)},
		{"too deep", "github", "ping", "", deep(65)},
		{"deeper than a parser likes", "github", "ping", "", deep(100_000)},
		{"no event", "github", "", "", string(hubPush)},
		{"an event that nobody knows", "github", "asteroid", "", string(hubPush)},
		{"one with another shape", "github", "asteroid", "", `{"repository":7,"ref":[]}`},
		{"a push with another shape", "github", "push", "", `{"repository":7,"ref":[]}`},
		{"a push to nothing", "github", "push", "", `{"ref":"refs/heads/main"}`},
		{"a project with a line's end", "github", "push", "", `{"repository":{"full_name":"platform/in\nfra"}}`},
		{"a project without an owner", "github", "push", "", `{"repository":{"full_name":"infra"}}`},
		{"a long project", "github", "push", "", `{"repository":{"full_name":"a/` + strings.Repeat("b", 1023) + `"}}`},
		{"a ref with a line's end", "github", "push", "", `{"ref":"refs/heads/a\r\nb","repository":{"full_name":"platform/infra"}}`},
		{"no merge request", "github", "pull_request", "", `{"repository":{"full_name":"platform/infra"}}`},
		{"merge request 0", "github", "pull_request", "", `{"repository":{"full_name":"platform/infra"},"pull_request":{"number":0}}`},
		{"merge request 1.5", "github", "pull_request", "", `{"repository":{"full_name":"platform/infra"},"pull_request":{"number":1.5}}`},
		{"a huge merge request", "github", "pull_request", "", `{"repository":{"full_name":"platform/infra"},"pull_request":{"number":9223372036854775808}}`},
		{"a comment on an issue", "github", "issue_comment", "", `{"repository":{"full_name":"platform/infra"},"issue":{"number":4}}`},
		{"a comment on a pull request", "github", "issue_comment", "", `{"repository":{"full_name":"platform/infra"},"issue":{"number":4,"pull_request":{}}}`},
		{"a tag", "github", "push", "", `{"ref":"refs/tags/v1","repository":{"full_name":"platform/infra"}}`},
		{"gitlab, no event", "gitlab", "", "", `{"project":{"path_with_namespace":"platform/infra"}}`},
		{"gitlab, a null", "gitlab", "", "", `{"object_kind":"push","ref":null,"project":null}`},
		{"gitlab, an unknown event", "gitlab", "", "", `{"object_kind":"asteroid","project":{"path_with_namespace":"platform/infra"}}`},
		{"bitbucket, a new branch", "bitbucket", "repo:push", "", string(bucketPush)},
		{"bitbucket, a branch is gone", "bitbucket", "repo:push", "", `{"push":{"changes":[{"old":{"type":"branch","name":"a"},"new":null}]},"repository":{"full_name":"platform/infra"}}`},
		{"bitbucket, a tag", "bitbucket", "repo:push", "", `{"push":{"changes":[{"old":null,"new":{"type":"tag","name":"v1"}}]},"repository":{"full_name":"platform/infra"}}`},
		{"bitbucket, two", "bitbucket", "repo:push", "", `{"push":{"changes":[{"new":{"type":"tag","name":"v1"}},{"new":{"type":"branch","name":"a"}}]},"repository":{"full_name":"platform/infra"}}`},
		{"bitbucket, none", "bitbucket", "repo:push", "", `{"push":{"changes":[{}]},"repository":{"full_name":"platform/infra"}}`},
		{"bitbucket, no event", "bitbucket", "", "", string(bucketPush)},
		{"gitea, no event", "gitea", "", "", string(hubPush)},
	} {
		h := signed(tt.kind, secret, []byte(tt.body))
		for _, name := range map[string][]string{"github": {"X-Github-Event"}, "gitea": {"X-Gitea-Event"}, "bitbucket": {"X-Event-Key"}}[tt.kind] {
			h.Set(name, tt.event)
		}
		if tt.content != "" {
			h.Set("Content-Type", tt.content)
		}
		e, err := receiver(t, tt.kind, secret).Receive(h, []byte(tt.body), now)
		if err != nil && (!errors.Is(err, plumbline.ErrInvalid) || e != hook.Event{}) {
			t.Errorf("%s: %+v, %v", tt.name, e, err)
		}
		fmt.Fprintf(&out, "%s: %s\n", tt.name, told(e, err))
	}
	golden(t, "refused.golden", out.String())
}

// told is an event or error in one line.
func told(e hook.Event, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	s := string(e.Kind)
	for _, part := range []string{e.Project, e.Ref} {
		if part != "" {
			s += " " + part
		}
	}
	if e.MR != "" {
		s += " !" + e.MR
	}
	if e.Wakes() {
		s += ", wakes"
	}
	return s
}

func TestTooLong(t *testing.T) {
	r := receiver(t, "github", secret)
	body := append(bytes.Clone(hubPush), bytes.Repeat([]byte(" "), hook.MaxBody-len(hubPush))...)
	h := header("X-Github-Event", "push", "X-Hub-Signature-256", "sha256="+sum256(secret, body))
	if e, err := r.Receive(h, body, now); err != nil || e.Kind != hook.Push {
		t.Errorf("at the limit: %+v, %v", e, err)
	}
	var tooLong *http.MaxBytesError
	if _, err := r.Receive(h, append(body, ' '), now); !errors.As(err, &tooLong) {
		t.Errorf("beyond it: %v", err)
	}
}

func TestAbout(t *testing.T) {
	e := hook.Event{Kind: hook.Push, Project: "Platform/Infra"}
	if !e.About("platform/infra") || e.About("platform/infra2") || e.About("") || (hook.Event{}).About("") {
		t.Error("it is about another project than it says")
	}
}

// TestDelivery: what the forge calls a delivery ends up in logs.
func TestDelivery(t *testing.T) {
	for given, want := range map[string]string{
		"72d3162e-cc78-11e3-81ab-4c9367dc0958": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "{8a0f}": "8a0f", "": "",
		"a b": "", "a\x1b[31m": "", "ä": "", strings.Repeat("a", 129): "",
	} {
		h := signed("github", secret, hubPush)
		h.Set("X-Github-Event", "push")
		h["X-Github-Delivery"] = []string{given}
		if e, err := receiver(t, "github", secret).Receive(h, hubPush, now); err != nil || e.Delivery != want {
			t.Errorf("%q: %q, %v", given, e.Delivery, err)
		}
	}
}

// TestConcurrent is for the race detector: of many at once, one is the first.
func TestConcurrent(t *testing.T) {
	r := receiver(t, "github", secret)
	h := signed("github", secret, hubPush)
	h.Set("X-Github-Event", "push")
	fresh := make(chan bool)
	for range 16 {
		go func() {
			e, err := r.Receive(h, hubPush, now)
			fresh <- err == nil && !e.Replayed
		}()
	}
	n := 0
	for range 16 {
		if <-fresh {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 16 were the first", n)
	}
}
