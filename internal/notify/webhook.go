package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The headers of a webhook. docs/notifications.md says how to check them.
const (
	headerKey       = "Plumbline-Message"
	headerTime      = "Plumbline-Timestamp"
	headerSignature = "Plumbline-Signature"
)

// webhookSink posts a Document, signed.
type webhookSink struct {
	url, secret plumbline.Secret
	client      *http.Client
	now         func() time.Time
}

func (s webhookSink) send(ctx context.Context, m plumbline.Message) error {
	return post(ctx, s.client, s.url.Reveal(), document(m), func(body []byte, h http.Header) {
		at := strconv.FormatInt(s.now().Unix(), 10)
		h.Set(headerKey, plain(m.Key, 1000))
		h.Set(headerTime, at)
		h.Set(headerSignature, "v1="+signature(s.secret.Reveal(), at, body))
	})
}

// signature covers the time, so that what somebody recorded cannot be sent again later, and the version, so that another one can be told from it.
func signature(secret, at string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v1." + at + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// snsSink publishes a Document to a topic.
type snsSink struct {
	topic   string
	publish Publisher
}

func (s snsSink) send(ctx context.Context, m plumbline.Message) error {
	body, err := json.Marshal(document(m))
	if err != nil {
		return err
	}
	attributes := map[string]string{"event": string(m.Occasion), "severity": string(m.Severity), "key": m.Key}
	if place := commonPlace(m.Notices); place.Repository != "" {
		attributes["repository"] = place.Repository
		if place.Environment != "" {
			attributes["environment"] = place.Environment
		}
	}
	return s.publish(ctx, s.topic, subject(m.Title), string(body), attributes)
}

// subject is what SNS takes for one: ASCII without control characters, up to 100.
func subject(title string) string {
	ascii := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, strings.NewReplacer("−", "-", "±", "+-", "→", "->", "…", "...").Replace(title))
	if len(ascii) > 100 {
		ascii = ascii[:97] + "..."
	}
	return ascii
}

func commonPlace(notices []plumbline.Notice) plumbline.StackRef {
	if len(notices) == 0 {
		return plumbline.StackRef{}
	}
	place := plumbline.StackRef{Repository: notices[0].Stack.Repository, Environment: notices[0].Stack.Environment}
	for _, n := range notices[1:] {
		if n.Stack.Repository != place.Repository {
			return plumbline.StackRef{}
		}
		if n.Stack.Environment != place.Environment {
			place.Environment = ""
		}
	}
	return place
}

// Document is a message as programs read it: docs/notification.schema.json.
type Document struct {
	Version  int       `json:"version"` // 1; fields may be added to it
	Key      string    `json:"key"`
	Event    string    `json:"event"`
	Severity string    `json:"severity"`
	Title    string    `json:"title"`
	Lines    []string  `json:"lines"`
	URL      string    `json:"url,omitempty"`
	At       time.Time `json:"at"`
	Notices  []Fact    `json:"notices"`
	Omitted  int       `json:"omitted,omitempty"` // notices that there was no room for
}

// Fact is one thing that a message tells of.
type Fact struct {
	Key         string    `json:"key"`
	Event       string    `json:"event"`
	Severity    string    `json:"severity"`
	Subject     string    `json:"subject"`
	Over        bool      `json:"over"`
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Stack       string    `json:"stack,omitempty"`
	Run         int64     `json:"run,omitempty"`
	MR          string    `json:"merge_request,omitempty"`
	Commit      string    `json:"commit,omitempty"`
	What        string    `json:"what"`
	Detail      []string  `json:"detail,omitempty"`
	URL         string    `json:"url,omitempty"`
	At          time.Time `json:"at"`
	Drift       *Drift    `json:"drift,omitempty"`
}

// Drift is what a digest says of an environment.
type Drift struct {
	Since    time.Time  `json:"since"`
	Open     int        `json:"open"`
	New      int        `json:"new"`
	Resolved int        `json:"resolved"`
	Stacks   int        `json:"stacks"`
	Known    int        `json:"known_stacks"`
	Unseen   int        `json:"unchecked_stacks"`
	Oldest   string     `json:"oldest,omitempty"`
	OldestAt *time.Time `json:"oldest_since,omitempty"`
}

// document is a message as programs get it, not larger than maxDocument: details go first, then the least urgent notices, which are counted.
func document(m plumbline.Message) Document {
	d := whole(within(m, maxDocument/8, 1))
	size := func(v any) int {
		b, err := json.Marshal(v)
		if err != nil { // of these types: never
			return 0
		}
		return len(b)
	}
	total := size(d)
	for i := len(d.Notices) - 1; i >= 0 && total > maxDocument; i-- {
		before := size(d.Notices[i])
		d.Notices[i].Detail = nil
		total += size(d.Notices[i]) - before
	}
	for total += len(`,"omitted":999`); total > maxDocument && len(d.Notices) > 0; d.Omitted++ {
		last := len(d.Notices) - 1
		total -= size(d.Notices[last]) + 1
		d.Notices = d.Notices[:last]
	}
	return d
}

// maxDocument is how many bytes a document has: SNS takes 256 KB, attributes included.
const maxDocument = 200 << 10

func whole(m plumbline.Message) Document {
	d := Document{
		Version: 1, Key: m.Key, Event: string(m.Occasion), Severity: string(m.Severity), Title: m.Title, Lines: m.Lines, URL: m.Link, At: m.At.UTC(), Notices: []Fact{},
	}
	if d.Lines == nil {
		d.Lines = []string{}
	}
	for _, n := range m.Notices {
		d.Notices = append(d.Notices, facts(n, m.Links[n.ID]))
	}
	return d
}

func facts(n plumbline.Notice, link string) Fact {
	f := Fact{
		Key: n.Key, Event: string(n.Occasion), Severity: string(n.Severity), Subject: n.Subject, Over: n.Over, Repository: n.Stack.Repository,
		Environment: n.Stack.Environment, Stack: n.Stack.Name, Run: int64(n.Run), MR: n.MR, Commit: n.Commit, What: plain(n.What, maxLine), URL: link, At: n.At.UTC(),
	}
	for _, l := range n.Detail {
		f.Detail = append(f.Detail, plain(l, maxLine))
	}
	if d := n.Drift; d != nil {
		f.Drift = &Drift{Since: d.Since.UTC(), Open: d.Open, New: d.New, Resolved: d.Resolved, Stacks: d.Stacks, Known: d.Known, Unseen: d.Unseen, Oldest: plain(d.OldestIs, maxLine)}
		if !d.OldestAt.IsZero() {
			at := d.OldestAt.UTC()
			f.Drift.OldestAt = &at
		}
	}
	return f
}
