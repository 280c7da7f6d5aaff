package forgetest

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Limit is what a forge lets one token ask.
type Limit struct {
	Requests int // 0: the forge names no number
	Per      time.Duration
	FreeSame bool // an answer that is as before (304) is not counted
}

// The documented limits.
var (
	// GitHubToken: docs.github.com, "Rate limits for the REST API". An App's installation has as many, with 50 more for each
	// repository and each person above 20, up to 12,500.
	GitHubToken = Limit{Requests: 5000, Per: time.Hour, FreeSame: true}
	// GitLabCom: docs.gitlab.com, "GitLab.com rate limits", for authenticated API traffic of one user.
	GitLabCom = Limit{Requests: 2000, Per: time.Minute}
	// BitbucketCloud: support.atlassian.com, "API request limits", for repository data; up to 10,000 for workspaces with more
	// than 100 paid seats that use access tokens.
	BitbucketCloud = Limit{Requests: 1000, Per: time.Hour}
	// Unnamed: Gitea has no limits, AWS names none for CodeCommit.
	Unnamed = Limit{}
)

const (
	costRepositories = 100
	costRequests     = 10 // merge requests that are open in each
	costPoll         = 30 * time.Second
	costHour         = 6 // times ten minutes, which are measured
)

// Cost counts what 100 repositories with 10 open merge requests each, polled each 30 s, ask of a forge in an hour. Nothing
// is waited for: ten minutes of polls of one repository are made one after the other, as the watcher makes them, by a
// daemon that has run for a while.
//
// Idle, nothing moves. Busy, each minute somebody pushes to a merge request, and its note is edited and three statuses are
// set. The result is logged in the format of a benchmark: requests an hour, what they are for, those of them that were
// answered with a 304, and, where the forge has a limit, the share of it that they use and how many repositories would use
// all of it.
//
//	func TestCost(t *testing.T) { forgetest.Cost(t, fixture(t), forgetest.GitHubToken) }
//
// The fixture's repository must have no merge request yet.
func Cost(t *testing.T, f FaultFixture, limit Limit) {
	m := &meter{next: f.Backend, by: map[string]int{}}
	srv := httptest.NewServer(m)
	defer srv.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &costs{FaultFixture: f, client: f.Open(t, srv.URL, forge.Dial{Transport: transport}), meter: m, heard: map[string]string{}}
	for i := range costRequests {
		f.People.OpenMR(t, fmt.Sprintf("cost-%d", i), "main", "change")
	}
	Fixture{Client: c.client, People: f.People}.poll(t, func() bool { return len(c.poll(t, false)) == costRequests },
		func() { t.Fatalf("%d merge requests are not listed", costRequests) })
	for i := range costRequests { // the note and the statuses are there already, as most are
		c.tell(t, i, 0)
	}
	c.poll(t, false)

	rounds := int(time.Hour / costHour / costPoll)
	begun := time.Now()
	m.reset()
	for range rounds {
		c.poll(t, false)
	}
	m.report(t, "Idle", limit, time.Since(begun))

	begun = time.Now()
	m.reset()
	for i := range rounds {
		if i%int(time.Minute/costPoll) != 0 {
			c.poll(t, false)
			continue
		}
		n := i % costRequests
		f.People.Push(t, c.mrs[n].ID)
		c.poll(t, true)
		c.tell(t, n, i+1)
	}
	m.report(t, "Busy", limit, time.Since(begun))
}

// costs is a daemon that watches a repository.
type costs struct {
	FaultFixture
	client forge.Client
	meter  *meter
	mrs    []plumbline.MergeRequest
	heard  map[string]string
}

// poll asks what the watcher asks: for the merge requests, twice when one has moved, and for comments where there may be
// new ones.
func (c *costs) poll(t *testing.T, moved bool) []plumbline.MergeRequest {
	t.Helper()
	f := Fixture{Client: c.client, People: c.People}
	c.meter.of("lists")
	c.mrs = f.list(t)
	if moved {
		c.mrs = f.list(t)
	}
	c.meter.of("comments")
	talks, ok := c.client.(forge.Commenter)
	for _, mr := range c.mrs {
		if !ok || mr.Activity != "" && c.heard[mr.ID] == mr.Activity {
			continue
		}
		if _, err := talks.Comments(t.Context(), mr, time.Now().Add(-10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		c.heard[mr.ID] = mr.Activity
	}
	return c.mrs
}

// tell writes what a plan leads to. What a person waits for is not slowed.
func (c *costs) tell(t *testing.T, n, round int) {
	t.Helper()
	ctx, mr := forge.Urgent(t.Context()), c.mrs[n]
	c.meter.of("notes")
	if err := c.client.UpsertNote(ctx, mr, mark, fmt.Sprintf("%s\nplan %d", mark, round)); err != nil {
		t.Fatal(err)
	}
	c.meter.of("statuses")
	for i := 0; i < 3 && !c.Silent; i++ {
		s := plumbline.CommitStatus{Context: fmt.Sprintf("plumbline/%d", i), State: plumbline.ToldSuccess, Description: fmt.Sprintf("plan %d", round)}
		if err := c.client.SetStatus(ctx, mr.Head, s); err != nil {
			t.Fatal(err)
		}
	}
}

// meter counts requests.
type meter struct {
	next http.Handler

	mu          sync.Mutex
	asked, same int
	purpose     string
	by          map[string]int // requests by purpose
}

// of says what the requests to come are for.
func (m *meter) of(purpose string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.purpose = purpose
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &seen{ResponseWriter: w}
	m.next.ServeHTTP(s, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	m.by[m.purpose]++
	if s.status == http.StatusNotModified {
		m.same++
	}
}

func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked, m.same, m.by = 0, 0, map[string]int{}
}

func (m *meter) report(t *testing.T, name string, limit Limit, took time.Duration) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	asked, same := float64(m.asked*costHour*costRepositories), float64(m.same*costHour*costRepositories)
	r := testing.BenchmarkResult{N: 1, T: took, Extra: map[string]float64{"requests/h": asked, "same/h": same}}
	for purpose, n := range m.by {
		r.Extra[purpose+"/h"] = float64(n * costHour * costRepositories)
	}
	if limit.Requests > 0 {
		counted := asked
		if limit.FreeSame {
			counted -= same
		}
		allowed := float64(limit.Requests) * float64(time.Hour) / float64(limit.Per)
		r.Extra["%of-limit"] = 100 * counted / allowed
		if counted > 0 {
			r.Extra["repositories"] = math.Floor(costRepositories * allowed / counted)
		}
	}
	t.Logf("BenchmarkCost/%s\t%s", name, r)
}

// seen is an answer whose status is looked at.
type seen struct {
	http.ResponseWriter
	status int
}

func (s *seen) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }
