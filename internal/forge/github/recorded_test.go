package github_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// exchange is a request with the answer that GitHub once gave to it.
type exchange struct {
	Method, Path string
	Status       int
	Response     json.RawMessage
}

// TestRecorded reads what GitHub really said: a combined status, a new status, a validation error, and that a repository was renamed.
func TestRecorded(t *testing.T) {
	b, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	made, combined, invalid, moved, movedPatch := all[0], all[1], all[2], all[3], all[4]
	posted := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		e := combined
		if r.Method == "POST" {
			posted++
			e = made
		}
		if strings.HasPrefix(r.URL.Path, "/repos/acme/infra/pulls") {
			e = invalid
		}
		w.WriteHeader(e.Status)
		if _, err := w.Write(e.Response); err != nil {
			t.Error(err)
		}
	})
	sha := "0000000000000000000000000000000000000001"
	s := plumbline.CommitStatus{Context: "example/2", State: plumbline.ToldSuccess, Description: "create-status success test", URL: "https://example.com"}
	if err := c.SetStatus(t.Context(), sha, s); err != nil || posted != 0 {
		t.Errorf("what is said already: %v, %d posts", err, posted)
	}
	s.State = plumbline.ToldFailure
	if err := c.SetStatus(t.Context(), sha, s); err != nil || posted != 1 {
		t.Errorf("what is new: %v, %d posts", err, posted)
	}
	if err := list(t, c); !errors.Is(err, plumbline.ErrInvalid) || !strings.Contains(err.Error(), "Validation Failed: color: invalid") {
		t.Errorf("%v", err)
	}
	if moved.Status != 301 || movedPatch.Status != 307 {
		t.Errorf("a renamed repository: %d to a GET, %d to a PATCH; TestRenamed answers otherwise", moved.Status, movedPatch.Status)
	}
}
