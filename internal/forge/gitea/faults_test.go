package gitea_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
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
	// Else the first of many issues would need two requests more than the others.
	g.Call(t, g.AdminToken, "POST", "/repos/"+p.repo.Project+"/labels", map[string]any{"name": "drift", "color": "#ff0000"}, nil)
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
		Secret:    g.BotToken,
		People:    p,
		Tolerates: tolerates,
	}
}

// tolerates says what is not as the fault would have it, and why.
func tolerates(call, fault string, r *http.Request) string {
	switch {
	case strings.HasPrefix(call, "issue") && strings.HasSuffix(r.URL.Path, "/labels") && fault == "403":
		return "a label that Plumbline may not set is left out"
	case call == "proposal" && r.Method == "POST" && fault == "409":
		return "somebody else opened it, says the forge"
	}
	return ""
}
