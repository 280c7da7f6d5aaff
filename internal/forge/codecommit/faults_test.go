package codecommit_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
)

func between(t *testing.T) forgetest.FaultFixture {
	f := newFake(t)
	return forgetest.FaultFixture{
		Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
			c := f.config(daemon)
			c.Endpoint, c.Identity, c.Dial = url, daemon.arn, dial
			return newClient(t, c)
		},
		Backend: f.handler,
		Secret:  daemon.secret,
		People:  f,
		Refusal: func(status int, message string) forgetest.Answer {
			code := map[int]string{
				401: "UnrecognizedClientException", 403: "AccessDeniedException", 404: "PullRequestDoesNotExistException", 409: "IdempotencyParameterMismatchException",
				422: "InvalidTitleException", 429: "ThrottlingException", 500: "EncryptionIntegrityChecksFailedException",
			}[status]
			body, err := json.Marshal(map[string]string{"__type": code, "message": message})
			if err != nil {
				t.Error(err)
			}
			answer := forgetest.Answer{Status: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: string(body)}
			if status == http.StatusInternalServerError {
				answer.Status = status
			}
			return answer
		},
		Untimed: true,
		Silent:  true,
	}
}

// TestFaults: AWS refuses with status 400 and the name of an exception, whatever the reason.
func TestFaults(t *testing.T) { forgetest.Faults(t, between(t)) }

func TestCost(t *testing.T) { forgetest.Cost(t, between(t), forgetest.Unnamed) }
