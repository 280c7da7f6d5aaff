package github_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// uncovered are the parts of the suite that emulate cannot show, and why.
var uncovered = map[string]string{
	"statuses":               "emulate has no commit statuses",
	"long_statuses":          "emulate has no commit statuses",
	"statuses_beside_a_note": "emulate has no commit statuses",
	"reactions":              "emulate has no reactions",
	"deployments":            "emulate has no deployments",
	"wrong_token":            "emulate shows a public repository to a token that it does not know, where GitHub answers 401",
	"opened_merge_request":   "emulate opens pull requests of branches that are not there; the rest is in TestEmulate",
}

// TestSuiteOnEmulate runs the suite on a GitHub that somebody else wrote, as far as that goes.
func TestSuiteOnEmulate(t *testing.T) {
	api := emulate(t)
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		t.Helper()
		part := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		if why := uncovered[part]; why != "" {
			t.Skip(why)
		}
		p := newEmulated(t, api)
		return forgetest.Fixture{Client: still{p.client(t)}, Second: p.client(t), People: p}
	})
}

// TestEmulate is what is left of the suite where emulate differs, and the work of an App.
func TestEmulate(t *testing.T) {
	api := emulate(t)
	t.Run("opened merge request", func(t *testing.T) {
		p := newEmulated(t, api)
		p.Branch(t, "promote/production", "env/production")
		want := forge.Proposal{Source: "promote/production", Target: "env/production", Title: "Promote", Body: "From main.", Labels: []string{"promotion"}}
		first, err := p.client(t).OpenMergeRequest(t.Context(), want)
		if err != nil || first.Source != want.Source || first.Target != want.Target || first.Title != want.Title {
			t.Fatalf("%+v, %v", first, err)
		}
		want.Title = "Promote more"
		if again, err := p.client(t).OpenMergeRequest(t.Context(), want); err != nil || again.ID != first.ID || again.Title != want.Title || len(again.Labels) != 1 {
			t.Errorf("%+v, %v", again, err)
		}
	})
	t.Run("app", func(t *testing.T) {
		p := newEmulated(t, api)
		c, err := github.New(github.Config{API: api, Project: p.repo, App: &github.App{ID: 4242, Key: plumbline.NewSecret(pemOf(key()))}})
		if err != nil {
			t.Fatal(err)
		}
		check := forge.Check{
			CommitStatus: plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldFailure, Description: "2 findings"},
			Findings:     []plumbline.Finding{{File: "main.tf", Line: 3, Message: "no such module"}, {File: "b.tf", Message: "not read"}},
		}
		commit := p.tip(t, "main")
		for range 2 {
			if err := c.SetCheck(t.Context(), commit, check); err != nil {
				t.Fatal(err)
			}
		}
		var runs struct {
			CheckRuns []struct {
				ID                       int64
				Name, Status, Conclusion string
			} `json:"check_runs"`
		}
		p.call(t, "GET", p.path("/commits/%s/check-runs", commit), nil, &runs)
		if n := len(runs.CheckRuns); n != 1 || runs.CheckRuns[0].Conclusion != "failure" {
			t.Fatalf("%+v", runs)
		}
		var notes struct { // GitHub answers with the bare list
			All []struct{ Path, Message string } `json:"check_annotations"`
		}
		p.call(t, "GET", p.path("/check-runs/%d/annotations", runs.CheckRuns[0].ID), nil, &notes)
		if len(notes.All) != 2 || notes.All[0].Path != "main.tf" || notes.All[1].Message != "not read" {
			t.Errorf("%+v", notes)
		}
		id := p.OpenMR(t, "x", "main", "change")
		for _, body := range []string{"m first", "m second"} {
			if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: id}, "m", body); err != nil {
				t.Fatal(err)
			}
		}
		p.us = "plumbline-app[bot]"
		if got := p.Notes(t, id); !slices.Equal(got, []string{"m second"}) {
			t.Errorf("%q", got)
		}
	})
}

// still leaves out the activity: emulate does not say of a pull request that somebody wrote on it.
type still struct{ *github.Client }

func (s still) MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error) {
	mrs, err := s.Client.MergeRequests(ctx, refs)
	for i := range mrs {
		mrs[i].Activity = ""
	}
	return mrs, err
}

// emulated are people on emulate.
type emulated struct{ *people }

// Push merges the target into the branch: a pull request of emulate follows nothing else.
func (p emulated) Push(t *testing.T, id string) string {
	t.Helper()
	p.call(t, "PUT", p.path("/pulls/%s/update-branch", id), map[string]string{}, nil)
	return p.Head(t, id)
}

func newEmulated(t *testing.T, api string) emulated {
	t.Helper()
	p := &people{api: api, token: "dev-token", us: "plumbline", branch: map[string]string{}}
	name := fmt.Sprintf("suite-%d", counter.Add(1))
	p.call(t, "POST", "/user/repos", map[string]any{"name": name, "auto_init": true}, nil)
	p.repo = "dev/" + name
	p.call(t, "PUT", p.path("/collaborators/plumbline"), map[string]string{"permission": "push"}, nil)
	p.create(t, "env/production", p.tip(t, "main"))
	return emulated{p}
}

func (p emulated) client(t *testing.T) *github.Client {
	t.Helper()
	c, err := github.New(github.Config{API: p.api, Project: p.repo, Token: plumbline.NewSecret("plumbline-token")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seed is what emulate begins with.
func seed() object {
	return object{
		"tokens": object{
			"plumbline-token": object{"login": "plumbline", "scopes": []string{"repo", "user"}},
			"dev-token":       object{"login": "dev", "scopes": []string{"repo", "user"}},
		},
		"github": object{
			"users": []object{{"login": "plumbline"}, {"login": "dev"}},
			"apps": []object{{
				"app_id": 4242, "slug": "plumbline-app", "name": "Plumbline", "private_key": pemOf(key()),
				"permissions":   object{"metadata": "read", "contents": "write", "pull_requests": "write", "issues": "write", "checks": "write"},
				"installations": []object{{"installation_id": 77, "account": "dev", "repository_selection": "all"}},
			}},
		},
	}
}

// emulate returns the address of the API of an emulate that ends with the test.
func emulate(t *testing.T) string {
	t.Helper()
	return testenv.Emulate(t, "github", seed(), "/zen")
}
