// Package notify sends messages to where people are outside the forge: chat, mail, pagers, webhooks, topics.
//
// Each sink is given a bounded time, whatever it answers is read up to a bound, and every error is of one of three kinds: plumbline.ErrInvalid, when the
// sink will never take this message; plumbline.Retry, when it says how long it wants to be left alone; anything else may be better next time. No error
// has the sink's address or credentials in it: what libraries say is taken apart and told anew.
package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// The kinds of sinks.
const (
	Slack     = "slack"
	Teams     = "teams"
	Email     = "email"
	PagerDuty = "pagerduty"
	Webhook   = "webhook"
	SNS       = "sns"
)

// Settings say where a sink is and what proves to it who sends.
type Settings struct {
	Kind, Name string
	URL        plumbline.Secret // slack, teams, webhook; pagerduty: of its Events API, default the American one
	Secret     plumbline.Secret // webhook: that messages are signed with; pagerduty: the integration's routing key
	Topic      string           // sns
	Mail       Mail             // email
}

// Mail says how mail is handed over.
type Mail struct {
	Host     string
	Port     int
	TLS      string // TLSStart, TLSImplicit or TLSNone
	Username string
	Password plumbline.Secret
	From     string
	To       []string
}

// How a connection to a mail server is protected. Nothing is sent where the protection asked for cannot be had.
const (
	TLSStart    = "starttls"
	TLSImplicit = "implicit"
	TLSNone     = "none"
)

// Publisher publishes a message to a topic of SNS.
type Publisher func(ctx context.Context, topicARN, subject, message string, attributes map[string]string) error

// Config makes an Office.
type Config struct {
	Sinks     []Settings
	Publish   Publisher                // no default: without it, a sink of kind sns is refused
	Mask      func(text string) string // masks secrets in what sinks answer; default: nothing but the sink's own
	Timeout   time.Duration            // for one message with its answer; default 20 s
	Transport http.RoundTripper        // default: one that keeps to the proxy of the environment
	Roots     *tls.Config              // for mail servers; default: the system's roots
	Now       func() time.Time         // default time.Now
}

// Office sends messages.
type Office struct {
	c     Config
	sinks map[string]sink
	masks []string // what must not be in an error
}

// sink is one place to which a message goes.
type sink func(ctx context.Context, m plumbline.Message) error

// Open makes an Office. It does not connect.
func Open(c Config) (*Office, error) {
	if c.Mask == nil {
		c.Mask = func(text string) string { return text }
	}
	if c.Timeout <= 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	o := &Office{c: c, sinks: map[string]sink{}}
	client := &http.Client{
		Transport: &guard{next: c.Transport, now: c.Now},
		// A redirect would carry the message, and what proves who sends it, to where nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, s := range c.Sinks {
		made, err := o.open(s, client)
		if err != nil {
			return nil, fmt.Errorf("notify %q: %w", s.Name, err)
		}
		o.sinks[s.Name] = made
	}
	return o, nil
}

func (o *Office) open(s Settings, client *http.Client) (sink, error) {
	o.hide(s.URL.Reveal(), s.Secret.Reveal(), s.Mail.Password.Reveal())
	if !s.URL.IsZero() {
		u, err := url.Parse(s.URL.Reveal())
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("its url is not absolute: %w", plumbline.ErrInvalid)
		}
		// Where the address alone lets somebody send, its path is the secret.
		o.hide(u.RequestURI(), u.EscapedPath(), u.Path)
		for _, part := range strings.Split(u.Path, "/") {
			if len(part) >= 8 {
				o.hide(part)
			}
		}
		for _, values := range u.Query() {
			o.hide(values...)
		}
		if password, ok := u.User.Password(); ok {
			o.hide(password)
		}
	}
	switch s.Kind {
	case Slack:
		return slackSink{url: s.URL, client: client}.send, nil
	case Teams:
		return teamsSink{url: s.URL, client: client}.send, nil
	case PagerDuty:
		return newPagerDuty(s, client).send, nil
	case Webhook:
		return webhookSink{url: s.URL, secret: s.Secret, client: client, now: o.c.Now}.send, nil
	case Email:
		return mailSink{mail: s.Mail, tls: o.c.Roots, now: o.c.Now}.send, nil
	case SNS:
		if o.c.Publish == nil {
			return nil, fmt.Errorf("there is nothing that publishes to SNS: %w", plumbline.ErrInvalid)
		}
		return snsSink{topic: s.Topic, publish: o.c.Publish}.send, nil
	}
	return nil, fmt.Errorf("kind %q is not known: %w", s.Kind, plumbline.ErrInvalid)
}

// hide keeps texts out of errors, the longest first, so that no remainder is left. What is too short would hide ordinary words.
func (o *Office) hide(texts ...string) {
	for _, s := range texts {
		if len(s) >= 4 {
			o.masks = append(o.masks, s)
		}
	}
	slices.SortFunc(o.masks, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	o.masks = slices.Compact(o.masks)
}

// Send sends a message to a sink.
func (o *Office) Send(ctx context.Context, name string, m plumbline.Message) error {
	s, ok := o.sinks[name]
	if !ok {
		return fmt.Errorf("notify %q: %w", name, plumbline.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, o.c.Timeout)
	defer cancel()
	err := s(ctx, bounded(m))
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("notify %q: no answer within %s", name, o.c.Timeout)
	}
	return o.told(name, err)
}

// told tells an error anew: its kind is kept, of its words what can be said.
func (o *Office) told(name string, err error) error {
	var (
		said  = words(err)
		retry *plumbline.Retry
	)
	for _, mask := range o.masks {
		said = strings.ReplaceAll(said, mask, plumbline.Masked)
	}
	said = plain(o.c.Mask(said), maxSaid)
	switch kept := fmt.Errorf("notify %q: %s", name, said); {
	case errors.As(err, &retry):
		return &plumbline.Retry{At: retry.At, Err: kept}
	case errors.Is(err, plumbline.ErrInvalid):
		return invalid{kept}
	default:
		return kept
	}
}

// invalid is an error about a message that its sink will never take.
type invalid struct{ error }

func (invalid) Unwrap() error { return plumbline.ErrInvalid }

// words are those of an error without the address that was asked, which http puts in front.
func words(err error) string {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	var said *answer
	if errors.As(err, &said) {
		return said.Error()
	}
	return err.Error()
}
