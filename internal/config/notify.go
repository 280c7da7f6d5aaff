package config

import (
	"cmp"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// SinkKinds are the kinds of sinks.
var SinkKinds = []string{"slack", "teams", "email", "pagerduty", "webhook", "sns"}

// Notify is a sink outside the forge.
type Notify struct {
	plumbline.Sink
	URL    plumbline.Secret // slack, teams, webhook; pagerduty: where its Events API is, default the American one
	Secret plumbline.Secret // webhook: messages are signed with it; pagerduty: the routing key
	Topic  string           `json:",omitempty"` // sns
	Mail   *Mail            `json:",omitempty"` // email
}

// Mail says how mail is handed over.
type Mail struct {
	Host     string
	Port     int
	TLS      string // "starttls", "implicit" or "none"
	Username string
	Password plumbline.Secret
	From     string
	To       []string
}

// What is taken unless something else is asked for.
const (
	gatherFor  = 30 * time.Second
	perHour    = 30
	maxGather  = time.Hour
	maxHourly  = 3600
	recipients = 50
)

// ownSettings are those that one kind has and not every other, by kind.
var ownSettings = map[string][]string{
	"slack":     {"url"},
	"teams":     {"url"},
	"webhook":   {"url", "secret"},
	"pagerduty": {"url", "routing_key"},
	"sns":       {"topic"},
	"email":     {"host", "port", "tls", "username", "password", "from", "to"},
}

func (r *reader) notify(b *body) (Notify, bool) {
	n := Notify{Sink: plumbline.Sink{Kind: b.labels[0], Name: r.name(b, "a notify block")}}
	fresh := r.declare(fmt.Sprintf("notify %q", n.Name), b.label, "give one another name")
	if !slices.Contains(SinkKinds, n.Kind) {
		if near := nearest(n.Kind, slices.Sorted(slices.Values(SinkKinds))); near != "" {
			r.problem(b.at, "unknown kind of notify block %q; did you mean %q?", n.Kind, near)
		} else {
			r.problem(b.at, "unknown kind of notify block %q; there are %s", n.Kind, strings.Join(SinkKinds, ", "))
		}
		return n, fresh
	}
	r.told(b, &n.Sink)
	switch n.Kind {
	case "slack":
		n.URL = r.hookURL(b, `env("SLACK_URL")`)
	case "teams":
		n.URL = r.hookURL(b, `env("TEAMS_URL")`)
	case "webhook":
		n.URL = r.hookURL(b, `env("WEBHOOK_URL")`)
		n.Secret = b.confidential("secret")
		switch {
		case !b.has("secret"):
			r.problem(b.at, "%s has no secret, without which nobody can tell a message of Plumbline from another; add secret = env(\"WEBHOOK_SECRET\")", b.what)
		case !n.Secret.IsZero() && len(n.Secret.Reveal()) < 16:
			r.problem(b.place("secret"), "secret in %s is shorter than 16 characters, so it could be found by trying; take what `openssl rand -hex 32` prints", b.what)
		}
	case "pagerduty":
		n.Secret = b.confidential("routing_key")
		switch {
		case !b.has("routing_key"):
			r.problem(b.at, "%s has no routing_key; add routing_key = env(\"PAGERDUTY_KEY\"), the integration key of an Events API v2 integration", b.what)
		case !n.Secret.IsZero() && !routingKey.MatchString(n.Secret.Reveal()):
			r.problem(b.place("routing_key"), "routing_key in %s is not 32 letters and digits, which the integration key of an Events API v2 integration is", b.what)
		}
		n.URL = r.eventsURL(b)
	case "sns":
		n.Topic = r.topic(b)
	case "email":
		n.Mail = r.mail(b)
	}
	for kind, names := range ownSettings {
		for _, name := range names {
			if kind != n.Kind && b.has(name) && !slices.Contains(ownSettings[n.Kind], name) && !slices.Contains(b.attrs, name) {
				r.secret(b.text(name).value) // it may be one in the wrong place
				r.problem(b.nameAt(name), "%s in %s has no effect with kind %q; take it out", name, b.what, n.Kind)
			}
		}
	}
	b.done()
	return n, fresh
}

// routingKey is what PagerDuty documents.
var routingKey = regexp.MustCompile(`^[0-9A-Za-z]{32}$`)

// told reads of what a sink is told, and how often.
func (r *reader) told(b *body, s *plumbline.Sink) {
	s.On = r.occasions(b, s.Incidents())
	group, limit := b.text("group"), b.number("limit", perHour, 1, maxHourly)
	digest, zone := b.text("digest"), b.text("timezone")
	if s.Incidents() {
		for _, name := range []string{"group", "limit"} {
			if b.has(name) {
				r.problem(b.nameAt(name), "%s in %s has no effect: PagerDuty is told of each thing, and puts together by itself what is about the same; take it out", name, b.what)
			}
		}
		if b.has("digest") {
			r.problem(b.nameAt("digest"), "digest in %s would be an incident each time; give it to another notify block", b.what)
		}
		return
	}
	s.Group, s.Limit = gatherFor, limit
	if group.ok {
		d, err := time.ParseDuration(group.value)
		switch {
		case err != nil:
			r.problem(group.at, "group %s in %s is not a duration; write minutes and seconds: \"30s\", \"2m\"", group, b.what)
		case d < 0 || d > maxGather:
			r.problem(group.at, "group %s in %s must be from \"0s\", which tells of each thing at once, to \"1h\"", group, b.what)
		default:
			s.Group = d
		}
	}
	if digest.ok {
		r.schedule("digest", digest)
		s.Digest = digest.value
	}
	_ = r.zone(b, zone)
	switch {
	case zone.ok && !b.has("digest"):
		r.problem(zone.at, "timezone in %s has no effect without a digest; take it out", b.what)
	case zone.ok && strings.HasPrefix(digest.value, "@every"):
		r.problem(zone.at, "timezone in %s has no effect on %s, which counts from the start; take it out", b.what, digest)
	case zone.ok:
		s.Timezone = zone.value
	}
}

// occasions reads what a sink is told of: everything, unless something is said. What waits for people is no incident.
func (r *reader) occasions(b *body, incidents bool) []plumbline.Occasion {
	list := b.texts("on")
	if !b.has("on") {
		return slices.DeleteFunc(slices.Clone(plumbline.Occasions), func(o plumbline.Occasion) bool {
			return incidents && o == plumbline.OccasionAwaiting
		})
	}
	var known []string
	for _, o := range plumbline.Occasions {
		known = append(known, string(o))
	}
	var out []plumbline.Occasion
	for _, t := range list {
		near := nearest(t.value, known)
		switch o := plumbline.Occasion(t.value); {
		case o == plumbline.OccasionDigest:
			r.problem(t.at, "on in %s has %s, which comes on a schedule; write digest = \"0 8 * * MON\"", b.what, t)
		case !slices.Contains(known, t.value) && near != "" && !t.secret:
			r.problem(t.at, "on in %s has %s, which is no occasion; did you mean %q?", b.what, t, near)
		case !slices.Contains(known, t.value):
			r.problem(t.at, "on in %s has %s, which is no occasion; there are %s", b.what, t, strings.Join(known, ", "))
		case slices.Contains(out, o):
			r.problem(t.at, "on in %s has %s twice; keep one", b.what, t)
		default:
			out = append(out, o)
		}
	}
	if list != nil && len(list) == 0 && !b.has("digest") {
		r.problem(b.nameAt("on"), "on in %s is empty, so it would be told nothing; leave it out to mean everything, or give it a digest", b.what)
	}
	return out
}

// hookURL is an address with which alone somebody can send.
func (r *reader) hookURL(b *body, example string) plumbline.Secret {
	s := b.confidential("url")
	if !b.has("url") {
		r.problem(b.at, "%s has no url; add url = %s", b.what, example)
	}
	if s.IsZero() {
		return s
	}
	u, err := url.Parse(s.Reveal())
	if err == nil {
		// Where it is written without its scheme or host, it is as secret.
		for _, part := range append(strings.Split(u.EscapedPath(), "/"), u.Query().Get("sig")) {
			if len(part) >= 16 {
				r.secret(part)
			}
		}
	}
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		r.problem(b.place("url"), "url in %s is not an absolute address that begins with https://", b.what)
	case u.User != nil:
		r.problem(b.place("url"), "url in %s has a user in it, which is not sent; take it out", b.what)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.problem(b.place("url"), "url in %s is http, so what is told would travel in clear, and so would what lets anybody tell more; write https", b.what)
	case strings.Trim(u.Path, "/") == "" && b.labels[0] != "webhook":
		r.problem(b.place("url"), "url in %s has no path, so it is not the address of a webhook; copy all of it", b.what)
	}
	return s
}

// eventsURL is where PagerDuty takes events, for those whose service region is not the American one.
func (r *reader) eventsURL(b *body) plumbline.Secret {
	t := b.text("url")
	if !t.ok {
		return plumbline.Secret{}
	}
	u, err := url.Parse(t.value)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		r.secret(t.value)
		r.problem(t.at, "url of %s is where PagerDuty takes events, and only needed in other regions than the American one; write url = \"https://events.eu.pagerduty.com\"", b.what)
	}
	return plumbline.NewSecret(t.value)
}

var topicARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}$`)

func (r *reader) topic(b *body) string {
	const example = `"arn:aws:sns:eu-west-1:111122223333:plumbline"`
	t := b.required("topic", example)
	switch {
	case !t.ok:
	case strings.HasSuffix(t.value, ".fifo"):
		r.problem(t.at, "topic %s of %s is a FIFO topic; name a standard one: each message has a key by which receivers know it", t, b.what)
	case !topicARN.MatchString(t.value):
		r.problem(t.at, "topic %s of %s is not the ARN of an SNS topic; write topic = %s", t, b.what, example)
	}
	return t.value
}

func (r *reader) mail(b *body) *Mail {
	m := &Mail{
		Host: b.required("host", `"smtp.example.com"`).value, Username: b.text("username").value, Password: b.confidential("password"),
		TLS: b.oneOf("tls", b.text("tls"), "starttls", "implicit", "none"),
	}
	m.Port = b.number("port", map[string]int{"implicit": 465, "none": 25}[m.TLS], 1, 65535)
	m.Port = cmp.Or(m.Port, 587)
	if m.Host != "" && (strings.ContainsAny(m.Host, "/@ :") || hasControl(m.Host)) && !strings.HasPrefix(m.Host, "::") {
		r.problem(b.place("host"), "host in %s must be the name or the address of a mail server alone: \"smtp.example.com\"", b.what)
	}
	from := b.required("from", `"plumbline@example.com"`)
	if from.ok {
		m.From = r.mailbox(b, "from", from)
	}
	to := b.texts("to")
	switch {
	case !b.has("to"):
		r.problem(b.at, "%s has nobody whom it could write to; add to = [\"sre@example.com\"]", b.what)
	case to != nil && len(to) == 0:
		r.problem(b.place("to"), "to in %s is empty; write to = [\"sre@example.com\"]", b.what)
	case len(to) > recipients:
		r.problem(b.place("to"), "to in %s has %d addresses; %d are the most, beyond that use a mailing list", b.what, len(to), recipients)
	}
	for i, t := range to {
		if slices.Contains(values(to[:i]), t.value) {
			r.problem(t.at, "to in %s has %s twice; keep one", b.what, t)
		}
		m.To = append(m.To, r.mailbox(b, "to", t))
	}
	switch {
	case b.has("username") && !b.has("password"):
		r.problem(b.nameAt("username"), "%s has a username and nothing to prove it; add password = env(\"…\")", b.what)
	case b.has("password") && !b.has("username"):
		r.problem(b.nameAt("password"), "%s has a password and no username; add username = \"…\"", b.what)
	case b.has("password") && m.TLS == "none" && !loopback(m.Host):
		r.problem(b.place("tls"), "tls in %s is \"none\", so the password would travel in clear for anybody on the way to read; leave tls out", b.what)
	}
	return m
}

// mailbox is one address without a name.
func (r *reader) mailbox(b *body, name string, t text) string {
	a, err := mail.ParseAddress(t.value)
	if err != nil || a.Address != t.value || a.Name != "" || hasControl(t.value) {
		r.problem(t.at, "%s in %s has %s, which is not a mail address; write \"sre@example.com\", without a name", name, b.what, t)
	}
	return t.value
}

// notifies reads which sinks are told of an environment.
func (r *reader) notifies(b *body) []string {
	var out []string
	for _, t := range b.texts("notify") {
		_, declared := r.declared[fmt.Sprintf("notify %q", t.value)]
		near := nearest(t.value, r.sinks)
		switch {
		case slices.Contains(out, t.value):
			r.problem(t.at, "notify in %s names %s twice; keep one", b.what, t)
		case declared || r.broken:
			out = append(out, t.value)
		case near != "" && !t.secret:
			r.problem(t.at, "notify in %s names %s, which is not declared; did you mean %q?", b.what, t, near)
		case len(r.sinks) == 0:
			r.problem(t.at, "notify in %s names %s, which is not declared; add notify \"slack\" %s { url = env(\"SLACK_URL\") }", b.what, t, t)
		default:
			r.problem(t.at, "notify in %s names %s, which is not declared; declared are %s", b.what, t, strings.Join(r.sinks, ", "))
		}
	}
	return out
}

// everywhere has those sinks told of every environment that no environment names.
func everywhere(cfg *Config) {
	named := map[string]bool{}
	for _, repo := range cfg.Repositories {
		for _, env := range repo.Environments {
			for _, name := range env.Notify {
				named[name] = true
			}
		}
	}
	for _, n := range cfg.Notify {
		if named[n.Name] {
			continue
		}
		for _, repo := range cfg.Repositories {
			for i := range repo.Environments {
				repo.Environments[i].Notify = append(repo.Environments[i].Notify, n.Name)
			}
		}
	}
}
