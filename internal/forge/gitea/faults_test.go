package gitea_test

import (
	"io"
	"log"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/gitea"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestFaultsOnGitea(t *testing.T) { forgetest.Faults(t, between(t)) }

func TestCostOnGitea(t *testing.T) { forgetest.Cost(t, between(t), forgetest.Unnamed) }

// between returns a repository on a real Gitea that something can be put in front of.
func between(t *testing.T) forgetest.FaultFixture {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	name := p.repo.Project[len(g.AdminUser)+1:] + "-dev"
	p.dev = g.CreateUser(t, name)
	p.repo.AddCollaborator(t, name)
	server, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	return forgetest.FaultFixture{
		Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
			c, err := gitea.New(gitea.Config{URL: url, Project: p.repo.Project, Token: plumbline.NewSecret(g.BotToken), Dial: dial})
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Backend: &httputil.ReverseProxy{
			Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(server) },
			ErrorLog: log.New(io.Discard, "", 0), // of clients that have gone, as they should
		},
		Secret: g.BotToken,
		People: p,
	}
}
