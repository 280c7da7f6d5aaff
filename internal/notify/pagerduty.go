package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const pagerDutyEvents = "https://events.pagerduty.com"

// pagerSink sends events to PagerDuty's Events API v2. What is about the same thing is one incident, which ends when the thing is good again.
type pagerSink struct {
	url    string
	key    plumbline.Secret
	client *http.Client
}

func newPagerDuty(s Settings, client *http.Client) pagerSink {
	return pagerSink{url: cmp.Or(strings.TrimRight(s.URL.Reveal(), "/"), pagerDutyEvents) + "/v2/enqueue", key: s.Secret, client: client}
}

// send sends one event for each notice. When one fails, all are sent again: PagerDuty knows them by their key.
func (s pagerSink) send(ctx context.Context, m plumbline.Message) error {
	for _, n := range m.Notices {
		if err := post(ctx, s.client, s.url, pagerEvent(s.key.Reveal(), n, m.Links[n.ID]), nil); err != nil {
			return err
		}
	}
	return nil
}

type (
	pagerEventV2 struct {
		RoutingKey string       `json:"routing_key"`
		Action     string       `json:"event_action"`
		DedupKey   string       `json:"dedup_key"`
		Client     string       `json:"client"`
		ClientURL  string       `json:"client_url,omitempty"`
		Links      []pagerLink  `json:"links,omitempty"`
		Payload    pagerPayload `json:"payload"`
	}
	pagerLink struct {
		Href string `json:"href"`
		Text string `json:"text"`
	}
	pagerPayload struct {
		Summary   string `json:"summary"`
		Source    string `json:"source"`
		Severity  string `json:"severity"`
		Timestamp string `json:"timestamp"`
		Component string `json:"component,omitempty"`
		Group     string `json:"group,omitempty"`
		Class     string `json:"class,omitempty"`
		Details   Fact   `json:"custom_details"`
	}
)

func pagerEvent(key string, n plumbline.Notice, link string) pagerEventV2 {
	e := pagerEventV2{
		RoutingKey: key, Action: "trigger", DedupKey: incident(n.Subject), Client: agent, ClientURL: link,
		Payload: pagerPayload{
			Summary: plain(n.Title(), 1000), Source: plain(n.Stack.Place(), 1000), Severity: string(n.Severity), Timestamp: n.At.UTC().Format(time.RFC3339),
			Component: plain(n.Stack.Name, 1000), Group: plain(n.Stack.Repository+"/"+n.Stack.Environment, 1000), Class: string(n.Occasion),
			Details: facts(n, link),
		},
	}
	if n.Over {
		e.Action = "resolve"
	}
	if link != "" {
		e.Links = []pagerLink{{Href: link, Text: "Open in Plumbline"}}
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
