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

func TestFaultsOnGitea(t *testing.T) {
	g := testenv.Gitea(t)
	p := newPeople(t, g)
	p.dev = g.CreateUser(t, "faults-dev")
	p.repo.AddCollaborator(t, "faults-dev")
	server, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	forgetest.Faults(t, forgetest.FaultFixture{
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
	})
}
