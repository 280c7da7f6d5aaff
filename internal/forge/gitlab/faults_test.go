package gitlab_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/gitlab"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func between(t *testing.T) forgetest.FaultFixture {
	f := newFake(t)
	return forgetest.FaultFixture{
		Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
			c, err := gitlab.New(gitlab.Config{URL: url, Project: projectPath, Token: plumbline.NewSecret(token), Dial: dial})
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Backend: f,
		Secret:  token,
		People:  people{f},
		Tolerates: func(_, fault string, r *http.Request) string {
			hidden := fault == "403" || fault == "404"
			switch {
			case hidden && strings.HasSuffix(r.URL.Path, "/approvals"):
				return "approvals are not in every tier"
			case hidden && strings.HasSuffix(r.URL.Path, "/events"):
				return "who pushed is not told to everybody"
			}
			return ""
		},
	}
}

func TestFaults(t *testing.T) { forgetest.Faults(t, between(t)) }

func TestCost(t *testing.T) { forgetest.Cost(t, between(t), forgetest.GitLabCom) }
