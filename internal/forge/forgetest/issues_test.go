package forgetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

var wanted = forge.Issue{Marker: "<!-- m -->", Title: "Drift", Body: "<!-- m -->\n2 items", Labels: []string{"drift"}, Open: true}

func upsertIssue(t *testing.T, f *Forge, i forge.Issue) error {
	t.Helper()
	_, err := f.Client().(forge.Issuer).UpsertIssue(t.Context(), i)
	return err
}

// one wants the forge to have exactly one issue.
func one(t *testing.T, f *Forge, want forge.Issue) Issue {
	t.Helper()
	all := f.Issues()
	if len(all) != 1 || all[0].Title != want.Title || all[0].Body != want.Body || all[0].Open != want.Open {
		t.Fatalf("issues: %+v\nwant %+v", all, want)
	}
	return all[0]
}

// TestIssueLost: what was done and not heard of is found by whoever asks next, at each step of an issue's life.
func TestIssueLost(t *testing.T) {
	f := &Forge{}
	lost := errors.New("no answer")
	i := wanted
	for _, step := range []struct {
		name, method string
		change       func()
	}{
		{"made", "MakeIssue", func() {}},
		{"changed", "ChangeIssue", func() { i.Body += ", 3 items" }},
		{"closed", "ChangeIssue", func() { i.Body, i.Open = i.Marker+"\nIn sync.", false }},
		{"opened again", "ChangeIssue", func() { i.Body, i.Open = i.Marker+"\n1 item", true }},
	} {
		step.change()
		n := 0
		f.Lose(func(method string) error {
			if method != step.method {
				t.Errorf("%s: %s", step.name, method)
			}
			n++
			return lost
		})
		if err := upsertIssue(t, f, i); !errors.Is(err, lost) || n != 1 {
			t.Errorf("%s: %v, %d answers lost", step.name, err, n)
		}
		edits := one(t, f, i).Edits
		f.Lose(nil)
		for range 2 {
			if err := upsertIssue(t, f, i); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
		}
		if got := one(t, f, i); got.Edits != edits {
			t.Errorf("%s: what was done already was done again", step.name)
		}
	}
}

// TestIssueOnce: who says what is the case already changes nothing.
func TestIssueOnce(t *testing.T) {
	f := &Forge{}
	for range 3 {
		if err := upsertIssue(t, f, wanted); err != nil {
			t.Fatal(err)
		}
	}
	if got := one(t, f, wanted); got.Edits != 0 || f.Requests("MakeIssue") != 1 || f.Requests("ChangeIssue") != 0 {
		t.Errorf("%+v, made %d times, changed %d times", got, f.Requests("MakeIssue"), f.Requests("ChangeIssue"))
	}
	f.EditIssue(1, func(i *Issue) { i.Labels = []string{"Drift", "ours"} })
	if err := upsertIssue(t, f, wanted); err != nil || one(t, f, wanted).Edits != 0 {
		t.Errorf("a label in upper case, and one of somebody's: %v", err)
	}
	f.EditIssue(1, func(i *Issue) { i.Labels = nil })
	if err := upsertIssue(t, f, wanted); err != nil || fmt.Sprint(one(t, f, wanted).Labels) != "[drift]" {
		t.Errorf("a label that is missing: %v, %+v", err, f.Issues())
	}
}

// TestIssueDeleted: an issue that goes away between being listed and being changed.
func TestIssueDeleted(t *testing.T) {
	f := &Forge{}
	if err := upsertIssue(t, f, wanted); err != nil {
		t.Fatal(err)
	}
	f.Fault(func(_ context.Context, method string) error {
		if method == "ChangeIssue" {
			f.EditIssue(1, func(i *Issue) { i.Deleted = true })
		}
		return nil
	})
	news := wanted
	news.Body += ", 3 items"
	if err := upsertIssue(t, f, news); err != nil {
		t.Fatal(err)
	}
	if got := one(t, f, news); got.Number != 2 {
		t.Errorf("%+v", got)
	}
	// Something takes each one away.
	f.Fault(func(_ context.Context, method string) error {
		if method == "ChangeIssue" {
			return fmt.Errorf("issue: %w", plumbline.ErrNotFound)
		}
		return nil
	})
	if err := upsertIssue(t, f, wanted); !errors.Is(err, plumbline.ErrConflict) || len(f.Issues()) != 1 {
		t.Errorf("%v, %+v", err, f.Issues())
	}
}

// TestIssueConflict: a forge that says that somebody else is changing the issue is asked again, and not forever.
func TestIssueConflict(t *testing.T) {
	f := &Forge{}
	for range 2 {
		f.OpenIssue("plumbline", "Drift", wanted.Marker)
	}
	n, conflicts := 0, 2
	f.Fault(func(_ context.Context, method string) error {
		if method != "ChangeIssue" {
			return nil
		}
		if n++; n > conflicts {
			return nil
		}
		return fmt.Errorf("already changed: %w", plumbline.ErrConflict)
	})
	if err := upsertIssue(t, f, wanted); err != nil || n != 4 {
		t.Errorf("%v after %d changes", err, n)
	}
	n, conflicts = 0, 100
	news := wanted
	news.Body += ", 3 items"
	if err := upsertIssue(t, f, news); !errors.Is(err, plumbline.ErrConflict) || n != 3 {
		t.Errorf("%v after %d changes", err, n)
	}
}

// TestIssueDuplicates: of several the oldest stays. The others point to it, are not found again, and are closed once.
func TestIssueDuplicates(t *testing.T) {
	f := &Forge{}
	for range 3 {
		f.OpenIssue("plumbline", "Drift", wanted.Marker)
	}
	f.OpenIssue("somebody", "Drift", wanted.Marker)
	for range 2 {
		if err := upsertIssue(t, f, wanted); err != nil {
			t.Fatal(err)
		}
	}
	all := f.Issues()
	for n, want := range []Issue{{Open: true, Body: wanted.Body, Edits: 1}, {Body: "The same as #1.", Edits: 1}, {Body: "The same as #1.", Edits: 1}, {Open: true, Body: wanted.Marker}} {
		if all[n].Open != want.Open || all[n].Body != want.Body || all[n].Edits != want.Edits {
			t.Errorf("issue %d: %+v, not %+v", n+1, all[n], want)
		}
	}
}

// TestIssueRace: however two daemons' requests follow each other, one issue is open when they have come to their end.
func TestIssueRace(t *testing.T) {
	for range 200 {
		f := &Forge{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := upsertIssue(t, f, wanted); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		open, found := 0, 0
		for _, i := range f.Issues() {
			if i.Open {
				open++
			}
			if strings.Contains(i.Body, wanted.Marker) {
				found++
			}
		}
		if open != 1 || found != 1 {
			t.Fatalf("%d are open, %d carry the marker: %+v", open, found, f.Issues())
		}
	}
}
