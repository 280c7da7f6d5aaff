package hook_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/hook"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// delivery is what a forge sent, as it came.
type delivery struct {
	header http.Header
	body   []byte
}

// deliveries takes what is delivered to its URL.
func deliveries(t *testing.T) (string, <-chan delivery) {
	t.Helper()
	came := make(chan delivery, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		came <- delivery{r.Header, body}
	}))
	t.Cleanup(srv.Close)
	return srv.URL, came
}

// TestGitea reads what a real Gitea sends of pushes, a pull request, a comment, a review, the merge.
func TestGitea(t *testing.T) {
	g := testenv.Gitea(t)
	repo := g.CreateRepo(t, "hooked")
	target, came := deliveries(t)
	repo.AddHook(t, target, secret)
	g.Call(t, g.AdminToken, "POST", "/repos/"+repo.Project+"/hooks", map[string]any{
		"type": "gogs", "active": true, "events": []string{"push"},
		"config": map[string]string{"url": target + "/gogs", "content_type": "json", "secret": secret},
	}, nil)
	r, stranger := receiver(t, "gitea", another, secret), receiver(t, "gitea", another)

	// await returns the next event of a kind; others on the way are verified all the same.
	await := func(kind hook.Kind) hook.Event {
		t.Helper()
		limit := time.NewTimer(time.Minute)
		defer limit.Stop()
		for {
			select {
			case <-limit.C:
				t.Fatalf("a minute went by without a %s", kind)
			case d := <-came:
				e, err := r.Receive(d.header, d.body, time.Now())
				if err != nil {
					t.Fatalf("%v\n%v\n%s", err, d.header, d.body)
				}
				if again, err := r.Receive(d.header, d.body, time.Now()); err != nil || !again.Replayed {
					t.Errorf("again: %+v, %v", again, err)
				}
				if _, err := stranger.Receive(d.header, d.body, time.Now()); !errors.Is(err, plumbline.ErrDenied) {
					t.Errorf("with another secret: %v", err)
				}
				if e.Delivery == "" || !e.About(repo.Project) {
					t.Errorf("%+v", e)
				}
				if e.Kind == kind && !e.Replayed {
					return e
				}
			}
		}
	}
	repo.Push(t, testenv.Change{Files: map[string]string{"main.tf": "# nothing\n"}})
	if e := await(hook.Push); e.Ref != "refs/heads/main" || !e.Wakes() {
		t.Errorf("a push: %+v", e)
	}
	repo.Push(t, testenv.Change{Branch: "change", From: "main", Files: map[string]string{"main.tf": "# more\n"}})
	if e := await(hook.Push); e.Ref != "refs/heads/change" {
		t.Errorf("another: %+v", e)
	}
	pull := repo.OpenPull(t, "change", "main", "More")
	want := strconv.FormatInt(pull.Number, 10)
	if e := await(hook.MergeRequest); e.MR != want || !e.Wakes() {
		t.Errorf("a pull request: %+v", e)
	}
	repo.Comment(t, g.AdminToken, pull.Number, "plumbline plan")
	if e := await(hook.Comment); e.MR != want || !e.Wakes() {
		t.Errorf("a comment: %+v", e)
	}
	g.Call(t, g.BotToken, "POST", "/repos/"+repo.Project+"/pulls/"+want+"/reviews", map[string]any{"event": "COMMENT", "body": "hm"}, nil)
	if e := await(hook.Comment); e.MR != want {
		t.Errorf("a review: %+v", e)
	}
	repo.Merge(t, pull.Number)
	if e := await(hook.MergeRequest); e.MR != want {
		t.Errorf("a merge: %+v", e)
	}
}
