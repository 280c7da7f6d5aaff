package github_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// pace is how long GitHub wants to be left alone between two writes
// (https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#pause-between-mutative-requests).
const pace = time.Second

// slow waits before each write.
type slow struct{}

func (slow) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != "GET" {
		select {
		case <-time.After(pace):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestSuiteLive runs the suite on a GitHub. The repository is there for this test alone: its open issues and pull requests are closed, its
// branches feature/* and promote/* deleted. It has a branch main with a commit, and both users may write to it.
//
//	PLUMBLINE_LIVE_GITHUB_URL          https://github.com, or another
//	PLUMBLINE_LIVE_GITHUB_PROJECT      owner/name
//	PLUMBLINE_LIVE_GITHUB_TOKEN        Plumbline's
//	PLUMBLINE_LIVE_GITHUB_OTHER_TOKEN  of another user
func TestSuiteLive(t *testing.T) {
	get := func(name string) string {
		v := os.Getenv("PLUMBLINE_LIVE_GITHUB_" + name)
		if v == "" {
			t.Skipf("set PLUMBLINE_LIVE_GITHUB_%s to run the suite on a real GitHub", name)
		}
		return v
	}
	url, project, token, other := get("URL"), get("PROJECT"), get("TOKEN"), get("OTHER_TOKEN")
	client := func(token string) *github.Client {
		c, err := github.New(github.Config{URL: url, Project: project, Token: plumbline.NewSecret(token), Dial: forge.Dial{Transport: slow{}}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	p := &people{api: github.APIOf(client(token)), repo: project, token: token}
	var me struct{ Login string }
	p.call(t, "GET", "/user", nil, &me)
	p.us, p.token = me.Login, other
	if status, body := p.try(t, "GET", "/user", nil); status != 200 || strings.Contains(string(body), `"login":"`+me.Login+`"`) {
		t.Fatalf("the other token is of the same user, or of none: %d", status)
	}
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		t.Helper()
		p.branch = map[string]string{}
		p.clear(t)
		return forgetest.Fixture{Client: client(token), Second: client(token), Denied: client("ghp_" + strings.Repeat("0", 36)), People: since{p, p.marks(t)}}
	})
}

// since shows only what a part of the suite made itself: GitHub keeps closed issues, and deployments.
type since struct {
	*people
	before marks
}

type marks struct{ issues, deployments int }

func (p *people) marks(t testing.TB) marks {
	t.Helper()
	var deployments []json.RawMessage
	p.call(t, "GET", p.path("/deployments?environment=production&per_page=100"), nil, &deployments)
	return marks{len(p.Issues(t.(*testing.T))), len(deployments)}
}

func (s since) Issues(t *testing.T) []forgetest.Issue {
	t.Helper()
	return s.people.Issues(t)[s.before.issues:]
}

func (s since) Deployments(t *testing.T, environment string) []forge.Deployment {
	t.Helper()
	return s.people.Deployments(t, environment)[s.before.deployments:]
}
