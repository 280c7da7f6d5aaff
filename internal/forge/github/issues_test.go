package github_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
)

var drift = forge.Issue{Marker: "<!-- m -->", Title: "Drift", Body: "<!-- m -->\n2 items", Labels: []string{"drift"}, Open: true}

// TestIssueLateList: an issue that was made is not made again although the list does not have it yet.
func TestIssueLateList(t *testing.T) {
	h := newHub(t)
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != "GET" || !strings.HasSuffix(r.URL.Path, "/issues") {
			return false
		}
		_, err := w.Write([]byte("[]"))
		return err == nil
	}
	c := h.client(t, token)
	page, err := c.UpsertIssue(t.Context(), drift)
	if err != nil || !strings.HasSuffix(page, "/issues/1") {
		t.Fatalf("%q, %v", page, err)
	}
	h.before = nil
	h.locked(func() { h.add(&thing{login: bot, title: "by a quick daemon", body: drift.Body}) })
	if page, err = c.UpsertIssue(t.Context(), drift); err != nil || !strings.HasSuffix(page, "/issues/1") {
		t.Errorf("%q, %v", page, err)
	}
	if all := h.Issues(t); len(all) != 2 || !all[0].Open || all[1].Open || all[1].Body != "The same as #1." {
		t.Errorf("%+v", all)
	}
}

// TestIssueLongAgo: the newest of our closed issues and pull requests are looked through, and no more. What was closed before is left alone.
func TestIssueLongAgo(t *testing.T) {
	for others, again := range map[int]bool{3: true, 20: false} {
		h := newHub(t)
		c := h.client(t, token)
		c.SetPageSize(2)
		closed := drift
		closed.Open = false
		for _, i := range []forge.Issue{drift, closed} {
			if _, err := c.UpsertIssue(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		h.locked(func() {
			for range others {
				x := h.add(&thing{login: bot, pull: true, title: "Promote", head: "a", base: "main", sha: commit, body: drift.Marker})
				x.state, x.updated = "closed", h.tick()
			}
		})
		if _, err := c.UpsertIssue(t.Context(), drift); err != nil {
			t.Fatal(err)
		}
		open := 0
		all := h.Issues(t)
		for _, i := range all {
			if i.Open {
				open++
			}
		}
		if open != 1 || all[0].Open != again {
			t.Errorf("after %d others: %+v", others, all)
		}
	}
}
