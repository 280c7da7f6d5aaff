package codecommit_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/codecommit"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// queue is Amazon SQS with one queue, as we read its documentation. A message is handed out until it is deleted.
type queue struct {
	t       *testing.T
	handler http.Handler
	url     string

	mu       sync.Mutex
	messages []string // "" when deleted
	undying  bool     // nothing can be deleted
	fault    error
	waits    []int
}

func newQueue(t *testing.T) *queue {
	q := &queue{t: t}
	// The SDK has no sample of an answer to ReceiveMessage: it is held against the model alone.
	m := load(t, "sqs-2012-11-05.json", "github.com/aws/aws-sdk-go-v2/service/sqs", "ReceiveMessage")
	q.handler = m.serve(t, "sqs", keys, q.handle)
	srv := httptest.NewServer(q.handler)
	t.Cleanup(srv.Close)
	q.url = srv.URL + "/123456789012/plumbline"
	return q
}

func (q *queue) config(k key) codecommit.QueueConfig {
	return codecommit.QueueConfig{Region: region, URL: q.url, Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, k.token)}
}

func openQueue(t *testing.T, c codecommit.QueueConfig) *codecommit.Queue {
	t.Helper()
	out, err := codecommit.NewQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (q *queue) handle(_ key, operation string, raw json.RawMessage) (any, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var in struct {
		QueueURL            string `json:"QueueUrl"`
		MaxNumberOfMessages int
		WaitTimeSeconds     int
		Entries             []struct{ ID, ReceiptHandle string }
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	switch {
	case q.fault != nil:
		return nil, q.fault
	case in.QueueURL != q.url:
		return nil, refuse("QueueDoesNotExist")
	case operation == "ReceiveMessage":
		if in.MaxNumberOfMessages < 1 || in.MaxNumberOfMessages > 10 || in.WaitTimeSeconds < 0 || in.WaitTimeSeconds > 20 {
			q.t.Errorf("SQS allows 1 to 10 messages and 0 to 20 s, not %s", raw)
		}
		q.waits = append(q.waits, in.WaitTimeSeconds)
		out := []any{}
		for i, body := range q.messages {
			if body != "" && len(out) < in.MaxNumberOfMessages {
				sum := md5.Sum([]byte(body))
				out = append(out, object("MessageId", fmt.Sprint("m", i), "ReceiptHandle", fmt.Sprint("r", i), "Body", body, "MD5OfBody", hex.EncodeToString(sum[:])))
			}
		}
		if len(out) == 0 {
			return object(), nil // SQS leaves the list out
		}
		return object("Messages", out), nil
	}
	done, failed := []any{}, []any{}
	seen := map[string]bool{}
	for _, e := range in.Entries {
		var i int
		if _, err := fmt.Sscanf(e.ReceiptHandle, "r%d", &i); err != nil || i >= len(q.messages) || seen[e.ID] {
			return nil, refuse("BatchEntryIdsNotDistinct")
		}
		seen[e.ID] = true
		if q.undying {
			failed = append(failed, object("Id", e.ID, "SenderFault", true, "Code", "ReceiptHandleIsInvalid", "Message", "a\nb"))
			continue
		}
		q.messages[i] = ""
		done = append(done, object("Id", e.ID))
	}
	return object("Successful", done, "Failed", failed), nil
}

// left are the messages that were not deleted.
func (q *queue) left() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(q.messages), func(s string) bool { return s == "" })
}

// event is one of EventBridge's, with the members that "Monitoring CodeCommit events" in the user guide shows.
func event(kind, from string, detail map[string]any) string {
	b, err := json.Marshal(map[string]any{
		"version": "0", "id": "01234567-0123", "detail-type": kind, "source": "aws.codecommit", "account": "123456789012", "time": "2026-11-20T12:00:00Z",
		"region": from, "resources": []string{"arn:aws:codecommit:" + from + ":123456789012:infra"}, "detail": detail,
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

const (
	pullRequestChange = "CodeCommit Pull Request State Change"
	commentChange     = "CodeCommit Comment on Pull Request"
	repositoryChange  = "CodeCommit Repository State Change"
)

func TestQueue(t *testing.T) {
	q := newQueue(t)
	one := func(name string) map[string]any { return map[string]any{"repositoryName": name} }
	q.messages = []string{
		event(pullRequestChange, region, map[string]any{"event": "pullRequestSourceBranchUpdated", "repositoryNames": []string{"infra"}, "pullRequestId": "1"}),
		event(commentChange, region, map[string]any{"event": "commentOnPullRequestCreated", "repositoryName": "infra", "pullRequestId": "1"}),
		event(repositoryChange, region, map[string]any{"event": "referenceUpdated", "repositoryName": "dns", "referenceType": "branch"}),
		event(repositoryChange, "us-east-1", one("elsewhere")),
		event("CodeCommit Comment on Commit", region, one("commit")),
		strings.Replace(event(repositoryChange, region, one("forged")), "aws.codecommit", "mine", 1),
		event(repositoryChange, region, one("../../etc")),
		event(repositoryChange, region, map[string]any{"repositoryName": 7}),
		event(repositoryChange, region, map[string]any{"repositoryName": "big", "notificationBody": strings.Repeat("x", 300<<10)}),
		strings.Repeat("[", 100_000), "null", "7", "hello", "{}", `{"detail":[]}`,
	}
	c := openQueue(t, q.config(daemon))
	for i, want := range [][]string{{"dns", "infra"}, nil, nil} {
		got, err := c.Receive(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("call %d: %q, %v", i+1, got, err)
		}
	}
	if left := q.left(); len(left) != 0 {
		t.Errorf("%d messages are left, %.100q", len(left), left)
	}
	if !slices.Equal(q.waits, []int{20, 20, 20}) {
		t.Errorf("waited %v", q.waits)
	}
}

// TestQueueKeeps: what could not be deleted is named all the same, and again.
func TestQueueKeeps(t *testing.T) {
	q := newQueue(t)
	q.messages = []string{event(repositoryChange, region, map[string]any{"repositoryName": "infra"})}
	q.undying = true
	c := openQueue(t, q.config(daemon))
	for range 2 {
		got, err := c.Receive(t.Context())
		if !slices.Equal(got, []string{"infra"}) || err == nil || !strings.Contains(err.Error(), "ReceiptHandleIsInvalid: a b") {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestQueueRefusals(t *testing.T) {
	q := newQueue(t)
	q.messages = []string{event(repositoryChange, region, map[string]any{"repositoryName": "infra"})}
	if got, err := openQueue(t, q.config(wrong)).Receive(t.Context()); !errors.Is(err, plumbline.ErrDenied) || got != nil || strings.Contains(err.Error(), wrong.token) {
		t.Errorf("wrong secret: %q, %v", got, err)
	}
	gone := q.config(daemon)
	gone.URL += "-2"
	if _, err := openQueue(t, gone).Receive(t.Context()); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("another queue: %v", err)
	}
	q.fault = refuse("RequestThrottled")
	var retry *plumbline.Retry
	if _, err := openQueue(t, q.config(daemon)).Receive(t.Context()); !errors.As(err, &retry) {
		t.Errorf("throttled: %v", err)
	}
	if n := len(q.left()); n != 1 {
		t.Errorf("%d messages are left", n)
	}
	for _, c := range []codecommit.QueueConfig{
		{Region: region, URL: "plumbline", Credentials: q.config(daemon).Credentials},
		{Region: region, URL: "https://sqs.eu-west-1.amazonaws.com", Credentials: q.config(daemon).Credentials},
		{Region: region, URL: "https://me:secret@sqs.eu-west-1.amazonaws.com/1/q", Credentials: q.config(daemon).Credentials},
		{Region: "", URL: q.url, Credentials: q.config(daemon).Credentials},
		{Region: region, URL: q.url},
	} {
		if _, err := codecommit.NewQueue(c); !errors.Is(err, plumbline.ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", c.URL, err)
		}
	}
}

// TestQueueOddAnswers: nothing of an answer that is not whole is used.
func TestQueueOddAnswers(t *testing.T) {
	body := event(repositoryChange, region, map[string]any{"repositoryName": "infra"})
	quoted, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{
		"a wrong checksum": `{"Messages":[{"ReceiptHandle":"r","Body":` + string(quoted) + `,"MD5OfBody":"0123"}]}`,
		"cut off":          `{"Messages":[{"ReceiptHandle":"r","Body":` + string(quoted),
		"wrong types":      `{"Messages":{"Body":7}}`,
		"nothing":          ``,
		"many":             `{"Messages":[` + strings.Repeat(`{"Body":"{}"},`, 1000) + `{"Body":"{}"}]}`,
		"endless":          `{"Messages":[{"Body":"` + strings.Repeat("x", 20<<20) + `"}]}`,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { send(w, 200, answer) }))
		q := queue{url: srv.URL + "/1/q"}
		got, err := openQueue(t, q.config(daemon)).Receive(t.Context())
		if len(got) != 0 || (err == nil && name != "nothing" && name != "many") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		srv.Close()
	}
}

// TestQueueWaits: a call ends when nobody waits for it any more, and is shorter than the time for a request.
func TestQueueWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody sees when the client goes
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	q := queue{url: srv.URL + "/1/q"}
	if got, err := openQueue(t, q.config(daemon)).Receive(ctx); !errors.Is(err, context.Canceled) || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	sqs := newQueue(t)
	for _, d := range []struct {
		wait, timeout time.Duration
		want          int
	}{{0, 10 * time.Second, 5}, {time.Hour, 0, 20}, {3 * time.Second, time.Minute, 3}} {
		c := sqs.config(daemon)
		c.Wait, c.Dial = d.wait, forge.Dial{Timeout: d.timeout}
		if _, err := openQueue(t, c).Receive(t.Context()); err != nil || sqs.waits[len(sqs.waits)-1] != d.want {
			t.Errorf("%v: waited %v, %v", d, sqs.waits, err)
		}
	}
}
