package bitbucket_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/bitbucket"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestFaults: Bitbucket's reasons are one level deeper than others', and its rate limits name no time.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, username string
		me             user
	}{{"access token", "", bot}, {"API token", "robin@example.com", robin}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			forgetest.Faults(t, forgetest.FaultFixture{
				Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
					client, err := bitbucket.New(bitbucket.Config{
						URL: url + "/2.0", Project: project, Token: plumbline.NewSecret(token), Username: c.username, Dial: dial,
					})
					if err != nil {
						t.Fatal(err)
					}
					return client
				},
				Backend: f,
				Secret:  token,
				People:  people{f, c.me},
				Refusal: func(status int, message string) forgetest.Answer {
					return forgetest.Answer{Status: status, Body: fmt.Sprintf(`{"type":"error","error":{"message":%q}}`, message)}
				},
				Tolerates: func(_, fault string, r *http.Request) string {
					if fault == "404" && r.Method == "GET" && strings.Contains(r.URL.Path, "/commit/") {
						return "a pull request stays when its commits are gone, and has twelve digits of them"
					}
					return ""
				},
			})
		})
	}
}
