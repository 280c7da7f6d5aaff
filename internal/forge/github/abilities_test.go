package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func (h *hub) review(login, state, commit string) object {
	r := example(h.t, "pull-request-review-items")
	r["id"], r["user"], r["state"], r["commit_id"], r["submitted_at"] = h.id(), h.user(login), state, commit, stamp(h.tick())
	return r
}

// TestMergeRequest is what is told of one pull request.
func TestMergeRequest(t *testing.T) {
	h := newHub(t)
	h.users["ann"], h.users["bob"], h.users["cid"], h.users["dan"] = 201, 202, 203, 204
	c := h.client(t, token)
	c.SetPageSize(2)
	id := h.OpenMR(t, "x", "main", "change")
	first := h.Head(t, id)
	h.locked(func() {
		p := h.get(id)
		p.labels, p.draft = []string{"zeta", "alpha"}, true
		for _, r := range [][2]string{
			{"ann", "APPROVED"}, {"bob", "APPROVED"}, {"cid", "CHANGES_REQUESTED"}, {"dan", "APPROVED"},
			{"ann", "COMMENTED"}, {"bob", "CHANGES_REQUESTED"}, {"cid", "APPROVED"}, {"dan", "DISMISSED"}, {"eve", "COMMENTED"},
		} {
			p.reviews = append(p.reviews, h.review(r[0], r[1], first))
		}
	})
	h.locked(func() { p := h.get(id); p.sha, p.updated = h.push(p.head, "eve"), h.tick() })
	mr, err := c.MergeRequest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(mr.Labels, []string{"alpha", "zeta"}) || !mr.Draft || mr.Fork || mr.Conflicts || mr.LastPusher != "eve" || mr.Author != dev || mr.MergeRef != "refs/pull/1/merge" {
		t.Errorf("%+v", mr)
	}
	if !slices.Equal(mr.ApprovedBy, []string{"ann", "cid"}) {
		t.Errorf("approved by %q", mr.ApprovedBy)
	}
	h.locked(func() { h.get(id).conflicts, h.get(id).fork = true, true })
	if mr, err = c.MergeRequest(t.Context(), id); err != nil || !mr.Conflicts || mr.MergeRef != "" || !mr.Fork || mr.LastPusher != "" {
		t.Errorf("%+v, %v", mr, err)
	}
	all, err := c.MergeRequests(t.Context(), h.Refs(t))
	if err != nil || len(all) != 1 || !all[0].Fork || all[0].MergeRef != "" || !slices.Equal(all[0].Labels, []string{"alpha", "zeta"}) {
		t.Errorf("%+v, %v", all, err)
	}
	// What is not shown is not gone.
	h.private = true
	if _, err := c.MergeRequest(t.Context(), id); !errors.Is(err, plumbline.ErrDenied) || errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("in a repository that is not shown: %v", err)
	}
}

// TestHead: what can be fetched is what counts.
func TestHead(t *testing.T) {
	h := newHub(t)
	one, two := h.OpenMR(t, "x", "main", "one"), h.OpenMR(t, "y", "main", "two")
	mrs, err := h.client(t, token).MergeRequests(t.Context(), map[string]string{"refs/pull/" + one + "/head": "fetchable"})
	if err != nil || len(mrs) != 2 || mrs[1].Head != "fetchable" || mrs[0].Head != h.Head(t, two) {
		t.Errorf("%+v, %v", mrs, err)
	}
}

// TestPages reads more than a page of everything that comes in pages.
func TestPages(t *testing.T) {
	h := newHub(t)
	c := h.client(t, token)
	c.SetPageSize(2)
	for i := range 5 {
		h.OpenMR(t, fmt.Sprint(i), "main", "change")
	}
	mrs, err := c.MergeRequests(t.Context(), nil)
	if err != nil || len(mrs) != 5 {
		t.Fatalf("%d pull requests, %v", len(mrs), err)
	}
	for range 2 {
		for i := range 5 {
			s := plumbline.CommitStatus{Context: fmt.Sprint("plumbline/", i), State: plumbline.ToldSuccess}
			if err := c.SetStatus(t.Context(), mrs[0].Head, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(h.Statuses(t, mrs[0].Head)); n != 5 {
		t.Errorf("%d statuses", n)
	}
	for i := range 5 {
		h.Comment(t, mrs[0].ID, fmt.Sprint(i))
	}
	if got, err := c.Comments(t.Context(), mrs[0], time.Now().Add(-time.Hour)); err != nil || len(got) != 5 || got[4].Body != "4" {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if err := c.UpsertNote(t.Context(), mrs[0], "m", "m note"); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.Notes(t, mrs[0].ID); len(got) != 1 {
		t.Errorf("%q", got)
	}
	for i := range 5 {
		marker := fmt.Sprintf("<!-- %d -->", i)
		for range 2 {
			if _, err := c.UpsertIssue(t.Context(), forge.Issue{Marker: marker, Title: "t", Body: marker, Open: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := h.Issues(t); len(got) != 5 {
		t.Errorf("%+v", got)
	}
}

// TestLostAnswers: what was done although the answer did not come is not done twice.
func TestLostAnswers(t *testing.T) {
	mr := plumbline.MergeRequest{ID: "1"}
	for name, do := range map[string]func(*github.Client) error{
		"note": func(c *github.Client) error { return c.UpsertNote(t.Context(), mr, "m", "m note") },
		"status": func(c *github.Client) error {
			return c.SetStatus(t.Context(), commit, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess})
		},
		"issue": func(c *github.Client) error {
			_, err := c.UpsertIssue(t.Context(), forge.Issue{Marker: "m", Title: "t", Body: "m", Labels: []string{"drift"}, Open: true})
			return err
		},
		"proposal": func(c *github.Client) error {
			_, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: "promote", Target: "main", Title: "t", Labels: []string{"l"}})
			return err
		},
		"deployment": func(c *github.Client) error {
			return c.SetDeployment(t.Context(), forge.Deployment{Environment: "e", Commit: commit, State: forge.DeploymentRunning})
		},
		"check": func(c *github.Client) error {
			return c.SetCheck(t.Context(), commit, forge.Check{CommitStatus: plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldFailure}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.install(time.Now)
			h.OpenMR(t, "x", "main", "change")
			h.Branch(t, "promote", "main")
			c := h.appClient(t, nil)
			password(t, c)
			lost := 0
			h.lose = func(r *http.Request) bool {
				if r.Method == "POST" && lost < 3 {
					lost++
					return true
				}
				return false
			}
			for range 4 {
				if err := do(c); err == nil {
					break
				}
			}
			if lost == 0 {
				t.Fatal("no answer was lost")
			}
			if err := do(c); err != nil {
				t.Fatal(err)
			}
			h.locked(func() {
				said := 0
				for _, s := range h.said {
					said += len(s)
				}
				pulls, issues := 0, 0
				for _, x := range h.things {
					if x.pull {
						pulls++
					} else {
						issues++
					}
				}
				got := []int{len(h.comments), len(h.statuses), issues, pulls - 1, len(h.deploys), said, len(h.checks)}
				want := map[string][]int{
					"note": {1, 0, 0, 0, 0, 0, 0}, "status": {0, 1, 0, 0, 0, 0, 0}, "issue": {0, 0, 1, 0, 0, 0, 0}, "proposal": {0, 0, 0, 1, 0, 0, 0},
					"deployment": {0, 0, 0, 0, 1, 1, 0}, "check": {0, 0, 0, 0, 0, 0, 1},
				}[name]
				if !slices.Equal(got, want) {
					t.Errorf("comments, statuses, issues, pull requests, deployments, their statuses, checks: %v, want %v", got, want)
				}
			})
		})
	}
}

// TestRaces lets another daemon be quick, and a list be late.
func TestRaces(t *testing.T) {
	mr := plumbline.MergeRequest{ID: "1"}
	open := func(t *testing.T) *hub {
		h := newHub(t)
		h.OpenMR(t, "x", "main", "change")
		return h
	}
	t.Run("notes that were there", func(t *testing.T) {
		h := open(t)
		h.locked(func() {
			for _, n := range [][2]string{{dev, "m pasted"}, {bot, "m theirs"}, {bot, "m twice"}, {bot, "ours without"}} {
				h.comment(h.things[0], n[0], n[1])
			}
		})
		if err := h.client(t, token).UpsertNote(t.Context(), mr, "m ", "m new"); err != nil {
			t.Fatal(err)
		}
		if got := h.Notes(t, "1"); !slices.Equal(got, []string{"m new", "ours without"}) || !slices.Equal(h.Comments(t, "1"), []string{"m pasted"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("deleted while it is edited", func(t *testing.T) {
		h := open(t)
		h.locked(func() { h.comment(h.things[0], bot, "m old") })
		h.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == "PATCH" {
				h.locked(func() { h.comments = nil })
			}
			return false
		}
		if err := h.client(t, token).UpsertNote(t.Context(), mr, "m", "m new"); err != nil {
			t.Fatal(err)
		}
		if got := h.Notes(t, "1"); !slices.Equal(got, []string{"m new"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("a list that is late", func(t *testing.T) {
		h := open(t)
		h.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != "GET" || !strings.HasSuffix(r.URL.Path, "/comments") {
				return false
			}
			_, err := w.Write([]byte("[]"))
			return err == nil
		}
		if err := h.client(t, token).UpsertNote(t.Context(), mr, "m", "m new"); err != nil {
			t.Fatal(err)
		}
		if got := h.Notes(t, "1"); !slices.Equal(got, []string{"m new"}) {
			t.Errorf("%q", got)
		}
	})
	t.Run("proposed at the same time", func(t *testing.T) {
		h := open(t)
		h.Branch(t, "promote", "main")
		done := false
		h.before = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == "POST" && !done {
				done = true
				h.locked(func() {
					h.add(&thing{pull: true, login: bot, title: "theirs", head: "promote", base: "main", sha: h.branches["promote"]})
				})
			}
			return false
		}
		got, err := h.client(t, token).OpenMergeRequest(t.Context(), forge.Proposal{Source: "promote", Target: "main", Title: "ours"})
		if err != nil || got.ID != "2" || got.Title != "ours" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestLocked(t *testing.T) {
	h := newHub(t)
	id := h.OpenMR(t, "x", "main", "change")
	h.locked(func() { h.get(id).locked = true })
	err := h.client(t, token).UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, "m", "m")
	if !errors.Is(err, plumbline.ErrDenied) || !strings.Contains(err.Error(), "issue is locked") {
		t.Errorf("%v", err)
	}
}

// TestSameSecond: a comment in the second in which the pull request was listed is not overlooked.
func TestSameSecond(t *testing.T) {
	h := newHub(t)
	id := h.OpenMR(t, "x", "main", "change")
	c := h.client(t, token)
	activity := func() string {
		t.Helper()
		mr, err := c.MergeRequest(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return mr.Activity
	}
	fresh := activity()
	h.locked(func() { h.clock = h.clock.Add(time.Second) }) // somebody may have written before
	later := activity()
	h.locked(func() { h.clock = h.clock.Add(time.Minute) })
	settled := activity()
	if fresh == later || later == settled || settled != activity() {
		t.Errorf("%q, %q, %q", fresh, later, settled)
	}
}

// TestDeployments: what GitHub adds to a deployment by itself is not taken for ours.
func TestDeployments(t *testing.T) {
	h := newHub(t)
	c := h.client(t, token)
	set := func(commit string, s forge.DeploymentState) {
		t.Helper()
		d := forge.Deployment{Environment: "production", Commit: commit, State: s, Description: strings.Repeat("long ", 100), URL: "https://plumbline.example.com/d/1"}
		for range 2 {
			if err := c.SetDeployment(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
	set(one, forge.DeploymentSuccess)
	set(two, forge.DeploymentSuccess)
	set(one, forge.DeploymentSuccess)
	set(two, forge.DeploymentCanceled)
	var got []string
	h.locked(func() {
		for _, d := range h.deploys {
			for _, s := range h.said[d["id"].(int64)] {
				got = append(got, fmt.Sprint(d["sha"].(string)[:1], s["state"]))
			}
		}
	})
	if strings.Join(got, " ") != "1success 1inactive 2success 2inactive" {
		t.Errorf("%q", got)
	}
	for _, d := range []forge.Deployment{{Commit: "main", Environment: "e", State: forge.DeploymentRunning}, {Commit: one, Environment: "e", State: "flying"}} {
		if err := c.SetDeployment(t.Context(), d); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

func TestChecks(t *testing.T) {
	h := newHub(t)
	if err := h.client(t, token).SetCheck(t.Context(), commit, forge.Check{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without an App: %v", err)
	}
	h.install(time.Now)
	c := h.appClient(t, nil)
	check := forge.Check{CommitStatus: plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldPending, URL: "https://plumbline.example.com/runs/1"}}
	set := func() {
		t.Helper()
		for range 2 {
			if err := c.SetCheck(t.Context(), commit, check); err != nil {
				t.Fatal(err)
			}
		}
	}
	runs := func() (out []string) {
		h.locked(func() {
			for _, r := range h.checks {
				out = append(out, fmt.Sprintf("%v %v %d", r["status"], r["conclusion"], h.notes[r["id"].(int64)]))
			}
		})
		return out
	}
	expect := func(want ...string) {
		t.Helper()
		if got := runs(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	set()
	expect("in_progress <nil> 0")
	check.State, check.Description, check.Summary = plumbline.ToldFailure, "120 findings", "### Findings\n"+strings.Repeat("日本", 40_000)
	for i := range 120 {
		check.Findings = append(check.Findings, plumbline.Finding{File: "main.tf", Line: i, Column: 3, Message: "no such module"})
	}
	check.Findings = append(check.Findings, plumbline.Finding{Message: "of no file"})
	set()
	expect("completed failure 120")
	check.State, check.Description, check.Summary, check.Findings = plumbline.ToldSuccess, "ok", "", nil
	set()
	expect("completed failure 120", "completed success 0")
	for i := range 700 {
		check.Findings = append(check.Findings, plumbline.Finding{File: fmt.Sprint(i), Message: "odd"})
	}
	set()
	expect("completed failure 120", "completed success 0", "completed success 500")
	h.locked(func() {
		if summary := h.checks[2]["output"].(object)["summary"]; summary != "- 200 more findings are not shown in the files." {
			t.Errorf("summary %q", summary)
		}
	})
	// Broken off between two parts, it is done again.
	check.Findings = check.Findings[:60]
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "PATCH" {
			w.WriteHeader(http.StatusBadGateway)
		}
		return r.Method == "PATCH"
	}
	if err := c.SetCheck(t.Context(), commit, check); err == nil {
		t.Error("no error")
	}
	h.before = nil
	set()
	if got := runs(); got[len(got)-1] != "completed success 60" {
		t.Errorf("%q", got)
	}
}

// TestReactionsOfOthers stay, and so do ours that mean something else.
func TestReactionsOfOthers(t *testing.T) {
	h := newHub(t)
	id := h.OpenMR(t, "x", "main", "change")
	h.Comment(t, id, "plumbline plan")
	h.locked(func() {
		c := h.comments[0].id
		h.signs = []*sign{{1, c, dev, "eyes"}, {2, c, bot, "heart"}, {3, c, bot, "eyes"}}
	})
	if err := h.client(t, token).React(t.Context(), plumbline.MergeRequest{ID: id}, fmt.Sprint(h.comments[0].id), plumbline.ReactionDone); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range h.signs {
		got = append(got, s.login+" "+s.content)
	}
	if want := []string{"dev eyes", "plumbline heart", "plumbline +1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
