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

func between(t *testing.T) forgetest.FaultFixture {
	f := newFake(t)
	return forgetest.FaultFixture{
		Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
			c, err := bitbucket.New(bitbucket.Config{URL: url + "/2.0", Project: project, Token: plumbline.NewSecret(token), Dial: dial})
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Backend: f,
		Secret:  token,
		People:  people{f, bot},
		// The reason stands one level deeper than with others.
		Refusal: func(status int, message string) forgetest.Answer {
			return forgetest.Answer{Status: status, Body: fmt.Sprintf(`{"type":"error","error":{"message":%q}}`, message)}
		},
		Tolerates: func(_, fault string, r *http.Request) string {
			if fault == "404" && r.Method == "GET" && strings.Contains(r.URL.Path, "/commit/") {
				return "a pull request stays when its commits are gone, and has twelve digits of them"
			}
			return ""
		},
	}
}

// TestFaults: with an access token, which asks for more than an API token does.
func TestFaults(t *testing.T) { forgetest.Faults(t, between(t)) }

func TestCost(t *testing.T) { forgetest.Cost(t, between(t), forgetest.BitbucketCloud) }
