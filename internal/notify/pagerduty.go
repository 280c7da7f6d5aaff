package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const pagerDutyEvents = "https://events.pagerduty.com"

// pagerSink sends events to PagerDuty's Events API v2. What is about the same thing is one incident, which ends when the thing is good again.
type pagerSink struct {
	key    plumbline.Secret
	client *pagerduty.Client
}

func newPagerDuty(s Settings, client *http.Client) pagerSink {
	c := pagerduty.NewClient("", pagerduty.WithV2EventsAPIEndpoint(cmp.Or(strings.TrimRight(s.URL.Reveal(), "/"), pagerDutyEvents)))
	c.HTTPClient = client
	return pagerSink{key: s.Secret, client: c}
}

// send sends one event for each notice. When one fails, all are sent again: PagerDuty knows them by their key.
func (s pagerSink) send(ctx context.Context, m plumbline.Message) error {
	for _, n := range m.Notices {
		if _, err := s.client.ManageEventWithContext(ctx, pagerEvent(s.key.Reveal(), n, m.Links[n.ID])); err != nil {
			return err
		}
	}
	return nil
}

func pagerEvent(key string, n plumbline.Notice, link string) *pagerduty.V2Event {
	e := &pagerduty.V2Event{
		RoutingKey: key, Action: "trigger", DedupKey: incident(n.Subject), Client: agent, ClientURL: link,
		Payload: &pagerduty.V2Payload{
			Summary: plain(n.Title(), 1000), Source: plain(n.Stack.Place(), 1000), Severity: string(n.Severity), Timestamp: n.At.UTC().Format(time.RFC3339),
			Component: plain(n.Stack.Name, 1000), Group: plain(n.Stack.Repository+"/"+n.Stack.Environment, 1000), Class: string(n.Occasion),
			Details: facts(n, link),
		},
	}
	if n.Over {
		e.Action = "resolve"
	}
	if link != "" {
		e.Links = []any{map[string]string{"href": link, "text": "Open in Plumbline"}}
	}
	return e
}

// incident is the key of an incident, which has 255 characters at most.
func incident(subject string) string {
	if subject = "plumbline " + subject; len(subject) <= 255 {
		return subject
	}
	sum := sha256.Sum256([]byte(subject))
	return "plumbline " + hex.EncodeToString(sum[:])
}
