package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var t0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// planted are secrets that stand in addresses and settings; none may come out anywhere.
const (
	plantedPath  = "T0PLANTED/B0PLANTED/s3cretPlantedInThePath"
	plantedQuery = "s3cretPlantedInTheQuery"
	plantedKey   = "r0utingKeyPlantedHere0123456789a"
	plantedSign  = "whsec-planted-0123456789"
	plantedMail  = "mailPasswordPlanted"
)

var allPlanted = []string{plantedPath, "s3cretPlantedInThePath", plantedQuery, plantedKey, plantedSign, plantedMail}

func clean(t *testing.T, what string, text string) {
	t.Helper()
	for _, s := range allPlanted {
		if strings.Contains(text, s) {
			t.Errorf("%s gives %s away: %s", what, s, text)
		}
	}
}

func aNotice(id int64) plumbline.Notice {
	return plumbline.Notice{
		ID: id, Sink: "sre", Key: fmt.Sprintf("run/%d/failed/1", id), Occasion: plumbline.OccasionFailed, Severity: plumbline.SeverityError,
		Subject: "deploy infra/production/live/net", Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: "live/net"},
		Run: plumbline.RunID(id), MR: "42", Commit: "5d0c1aa", What: "failed", Detail: []string{"AccessDenied."}, At: t0,
	}
}

func aMessage() plumbline.Message {
	n := aNotice(7)
	return plumbline.Message{
		Key: n.Key, Occasion: n.Occasion, Severity: n.Severity, Title: n.Title(), Lines: n.Detail, Link: "https://p.example.com/runs/7", At: t0,
		Notices: []plumbline.Notice{n}, Links: map[int64]string{7: "https://p.example.com/runs/7"},
	}
}

// server answers as it is told to, and keeps what it was asked.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []*http.Request
	bodies [][]byte
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.asked, s.bodies = append(s.asked, r), append(s.bodies, body)
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// overHTTP are the kinds that go over HTTP, at a server that stands for all of them.
func overHTTP(base string) []Settings {
	at := plumbline.NewSecret(base + "/services/" + plantedPath + "?sig=" + plantedQuery)
	return []Settings{
		{Kind: Slack, Name: "slack", URL: at},
		{Kind: Teams, Name: "teams", URL: at},
		{Kind: PagerDuty, Name: "pagerduty", URL: plumbline.NewSecret(base), Secret: plumbline.NewSecret(plantedKey)},
		{Kind: Webhook, Name: "webhook", URL: at, Secret: plumbline.NewSecret(plantedSign)},
	}
}

func office(t *testing.T, c Config) *Office {
	t.Helper()
	if c.Now == nil {
		c.Now = func() time.Time { return t0 }
	}
	o, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAnswers: of whatever kind a sink is, its answers mean the same, and an error has no secret in it.
func TestAnswers(t *testing.T) {
	const again = "again"
	for _, c := range []struct {
		status int
		header string
		body   string
		want   string // "": none; "invalid", again, or a time
	}{
		{status: 200, body: "ok"},
		{status: 202, body: `{"status":"success","message":"Event processed","dedup_key":"x"}`},
		{status: 400, body: "invalid_payload", want: "invalid"},
		{status: 413, want: "invalid"},
		{status: 422, want: "invalid"},
		{status: 401, body: "no " + plantedKey, want: again},
		{status: 403, body: "for " + plantedPath, want: again},
		{status: 404, body: "no_service " + plantedSign, want: again},
		{status: 302, header: "Location: https://elsewhere.example.com/" + plantedPath, want: again},
		{status: 429, header: "Retry-After: 90", body: "rate_limited", want: t0.Add(90 * time.Second).Format(time.RFC3339)},
		{status: 503, header: "Retry-After: Fri, 20 Nov 2026 12:05:00 GMT", want: t0.Add(5 * time.Minute).Format(time.RFC3339)},
		{status: 429, header: "Retry-After: 99999999999", want: t0.Add(maxWait).Format(time.RFC3339)},
		{status: 429, header: "Retry-After: soon", want: again},
		{status: 500, body: strings.Repeat("a long story ", 1<<16), want: again},
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if name, value, ok := strings.Cut(c.header, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		sinks := overHTTP(s.URL)
		o := office(t, Config{Sinks: sinks})
		for _, sink := range sinks {
			t.Run(fmt.Sprint(c.status, c.header, sink.Kind), func(t *testing.T) {
				err := o.Send(t.Context(), sink.Name, aMessage())
				retry := (*plumbline.Retry)(nil)
				got := ""
				switch {
				case err == nil:
				case errors.Is(err, plumbline.ErrInvalid):
					got = "invalid"
				case errors.As(err, &retry):
					got = retry.At.Format(time.RFC3339)
				default:
					got = again
				}
				if got != c.want {
					t.Errorf("%v is %q, want %q", err, got, c.want)
				}
				if err != nil {
					clean(t, "an error", fmt.Sprintf("%v %+v %#v", err, err, err))
					if len(err.Error()) > 600 {
						t.Errorf("an error of %d bytes", len(err.Error()))
					}
					if !strings.Contains(err.Error(), fmt.Sprint(c.status)) {
						t.Errorf("%v does not say what was answered", err)
					}
				}
			})
		}
	}
}

// TestUnreachable: what cannot be reached, does not answer, or answers nonsense is an error without secrets, within the time.
func TestUnreachable(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	stop := make(chan struct{})
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	})
	t.Cleanup(func() { close(stop) })
	drips := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("x", 1<<16))); err != nil {
				return
			}
		}
	})
	secured := httptest.NewUnstartedServer(http.NotFoundHandler()) // by nobody whom anybody knows
	secured.Config.ErrorLog = log.New(io.Discard, "", 0)
	secured.StartTLS()
	t.Cleanup(secured.Close)
	for name, base := range map[string]string{
		"gone": gone.URL, "hangs": hangs.URL, "drips": drips.URL, "unknown authority": secured.URL, "no such host": "https://nowhere.invalid",
	} {
		sinks := overHTTP(base)
		o := office(t, Config{Sinks: sinks, Timeout: 2 * time.Second})
		for _, sink := range sinks {
			t.Run(name+" "+sink.Kind, func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				err := o.Send(t.Context(), sink.Name, aMessage())
				if err == nil || errors.Is(err, plumbline.ErrInvalid) {
					t.Errorf("%v, want an error that may be better next time", err)
				}
				clean(t, "an error", fmt.Sprintf("%v %+v %#v", err, err, err))
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		}
	}
}

func TestNoRedirect(t *testing.T) {
	thief := serve(t, func(http.ResponseWriter, *http.Request) {})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	sinks := overHTTP(s.URL)
	o := office(t, Config{Sinks: sinks})
	for _, sink := range sinks {
		if err := o.Send(t.Context(), sink.Name, aMessage()); err == nil {
			t.Errorf("%s follows a redirect", sink.Kind)
		}
	}
	if len(thief.asked) > 0 {
		t.Errorf("%d messages went elsewhere", len(thief.asked))
	}
}

// TestWebhook checks the signature as docs/notifications.md tells receivers to, and the document against its schema.
func TestWebhook(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	now := t0
	o := office(t, Config{Sinks: overHTTP(s.URL), Now: func() time.Time { return now }})
	for range 2 {
		if err := o.Send(t.Context(), "webhook", aMessage()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	for i, r := range s.asked {
		at := r.Header.Get("Plumbline-Timestamp")
		if want := strconv.FormatInt(t0.Add(time.Duration(i)*time.Minute).Unix(), 10); at != want {
			t.Errorf("timestamp %s, want %s", at, want)
		}
		if want := "v1=" + byPython(plantedSign, at, s.bodies[i]); r.Header.Get("Plumbline-Signature") != want {
			t.Errorf("signature %s, want %s", r.Header.Get("Plumbline-Signature"), want)
		}
		if r.Header.Get("Plumbline-Message") != "run/7/failed/1" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != agent {
			t.Errorf("headers %v", r.Header)
		}
		clean(t, "a body", string(s.bodies[i]))
		conforms(t, s.bodies[i])
	}
	if s.asked[0].Header.Get("Plumbline-Signature") == s.asked[1].Header.Get("Plumbline-Signature") {
		t.Error("the signature does not cover the time")
	}
}

// conforms holds a document against the published schema.
func conforms(t *testing.T, doc []byte) {
	t.Helper()
	f, err := os.Open("../../docs/notification.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	schema, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("notification.schema.json", schema); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("notification.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(doc)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%v\n%s", err, doc)
	}
}

func TestDocumentSchema(t *testing.T) {
	digest := plumbline.Notice{
		ID: 9, Key: "digest/x", Occasion: plumbline.OccasionDigest, Severity: plumbline.SeverityWarning, Subject: "digest infra/production", What: "has drift", At: t0,
		Stack: plumbline.StackRef{Repository: "infra", Environment: "production"},
		Drift: &plumbline.DriftDigest{Since: t0, Open: 3, New: 1, Resolved: 2, Stacks: 2, OldestAt: t0, OldestIs: "net: a.b"},
	}
	m := aMessage()
	for _, notices := range [][]plumbline.Notice{{}, {digest}, {aNotice(1), aNotice(2), digest}} {
		m.Notices = notices
		doc, err := json.Marshal(document(m))
		if err != nil {
			t.Fatal(err)
		}
		conforms(t, doc)
	}
	for _, o := range append(plumbline.Occasions, plumbline.OccasionDigest) {
		for _, s := range plumbline.Severities {
			m.Occasion, m.Severity = o, s
			doc, err := json.Marshal(document(m))
			if err != nil {
				t.Fatal(err)
			}
			conforms(t, doc)
		}
	}
}

// TestPagerDuty: what is sent is what the Events API v2 asks for; one incident for one thing, which ends when it is good again.
func TestPagerDuty(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"status":"success","message":"Event processed","dedup_key":"x"}`)
	})
	o := office(t, Config{Sinks: overHTTP(s.URL)})
	m := aMessage()
	failed, applied := aNotice(7), aNotice(8)
	applied.Occasion, applied.Severity, applied.Over, applied.What = plumbline.OccasionApplied, plumbline.SeverityInfo, true, "is applied"
	long := aNotice(9)
	long.Subject, long.What, long.Occasion = strings.Repeat("s", 400), strings.Repeat("w", 3000), plumbline.OccasionDrift
	m.Notices = []plumbline.Notice{failed, applied, long}
	if err := o.Send(t.Context(), "pagerduty", m); err != nil {
		t.Fatal(err)
	}
	if len(s.bodies) != 3 {
		t.Fatalf("%d events", len(s.bodies))
	}
	keys := map[string]string{}
	for i, body := range s.bodies {
		if got := s.asked[i].URL.Path; got != "/v2/enqueue" {
			t.Errorf("asked %s", got)
		}
		eventsV2(t, body)
		var e struct {
			Action string `json:"event_action"`
			Key    string `json:"dedup_key"`
		}
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatal(err)
		}
		keys[e.Action+" "+strconv.Itoa(i)] = e.Key
	}
	if keys["trigger 0"] == "" || keys["trigger 0"] != keys["resolve 1"] || keys["trigger 2"] == keys["trigger 0"] {
		t.Errorf("incidents %v", keys)
	}
}

// eventsV2 holds an event against what https://developer.pagerduty.com/docs/send-alert-event documents: fields, what is required, values, lengths.
func eventsV2(t *testing.T, body []byte) {
	t.Helper()
	const schema = `{
		"type": "object", "additionalProperties": false, "required": ["routing_key", "event_action", "payload"],
		"properties": {
			"routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
			"event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
			"dedup_key": {"type": "string", "maxLength": 255},
			"client": {"type": "string"}, "client_url": {"type": "string"},
			"links": {"type": "array", "items": {"type": "object", "required": ["href"], "additionalProperties": false,
				"properties": {"href": {"type": "string"}, "text": {"type": "string"}}}},
			"images": {"type": "array"},
			"payload": {"type": "object", "required": ["summary", "source", "severity"], "additionalProperties": false, "properties": {
				"summary": {"type": "string", "minLength": 1, "maxLength": 1024}, "source": {"type": "string", "minLength": 1},
				"severity": {"enum": ["critical", "error", "warning", "info"]}, "timestamp": {"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\dT"},
				"component": {"type": "string"}, "group": {"type": "string"}, "class": {"type": "string"}, "custom_details": {"type": "object"}}}}}`
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("v2.json", doc); err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MustCompile("v2.json").Validate(v); err != nil {
		t.Errorf("%v\n%s", err, body)
	}
	if len(body) > 512<<10 {
		t.Errorf("%d bytes; 512 KB are taken", len(body))
	}
}

func TestSNS(t *testing.T) {
	type published struct {
		topic, subject, message string
		attributes              map[string]string
	}
	var got []published
	var fail error
	o := office(t, Config{
		Sinks: []Settings{{Kind: SNS, Name: "audit", Topic: "arn:aws:sns:eu-west-1:111122223333:plumbline"}},
		Publish: func(_ context.Context, topic, subject, message string, attributes map[string]string) error {
			got = append(got, published{topic, subject, message, attributes})
			return fail
		},
	})
	m := aMessage()
	m.Title = "live/net of infra/production awaits approval: +2 −1 ±3 → " + strings.Repeat("é", 200)
	if err := o.Send(t.Context(), "audit", m); err != nil {
		t.Fatal(err)
	}
	p := got[0]
	if p.topic != "arn:aws:sns:eu-west-1:111122223333:plumbline" || len(p.subject) > 100 || strings.ContainsFunc(p.subject, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.Errorf("%+v", p)
	}
	if want := map[string]string{"event": "failed", "severity": "error", "key": "run/7/failed/1", "repository": "infra", "environment": "production"}; fmt.Sprint(p.attributes) != fmt.Sprint(want) {
		t.Errorf("attributes %v, want %v", p.attributes, want)
	}
	conforms(t, []byte(p.message))
	fail = errors.New("throttled")
	if err := o.Send(t.Context(), "audit", m); err == nil || errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, s := range map[string]Settings{
		"sns without a publisher": {Kind: SNS, Name: "a", Topic: "arn:aws:sns:eu-west-1:111122223333:x"},
		"no such kind":            {Kind: "pigeon", Name: "a"},
		"no address":              {Kind: Slack, Name: "a", URL: plumbline.NewSecret(plantedPath)},
	} {
		_, err := Open(Config{Sinks: []Settings{s}})
		if !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		clean(t, name, fmt.Sprint(err))
	}
	if err := office(t, Config{}).Send(t.Context(), "nobody", aMessage()); !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestDocumentedVerification runs what docs/notifications.md tells receivers to do, in the language that it is written in.
func TestDocumentedVerification(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to run the documentation's example with")
	}
	doc, err := os.ReadFile("../../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(doc), "```python\n")
	code, _, closed := strings.Cut(code, "```")
	if !ok || !closed {
		t.Fatal("the documentation has no example")
	}
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	o := office(t, Config{Sinks: overHTTP(s.URL), Now: time.Now})
	if err := o.Send(t.Context(), "webhook", aMessage()); err != nil {
		t.Fatal(err)
	}
	old := office(t, Config{Sinks: overHTTP(s.URL), Now: func() time.Time { return time.Now().Add(-6 * time.Minute) }})
	if err := old.Send(t.Context(), "webhook", aMessage()); err != nil {
		t.Fatal(err)
	}
	verify := func(n int, secret string, body []byte) string {
		t.Helper()
		h := s.asked[n].Header
		headers, err := json.Marshal(map[string]string{"Plumbline-Timestamp": h.Get("Plumbline-Timestamp"), "Plumbline-Signature": h.Get("Plumbline-Signature")})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), python, "-c", code+"\nimport sys, json\nprint(verify(sys.argv[1], json.loads(sys.argv[2]), sys.stdin.buffer.read()))", secret, string(headers))
		cmd.Stdin = bytes.NewReader(body)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := verify(0, plantedSign, s.bodies[0]); got != "True" {
		t.Errorf("a message of ours: %s", got)
	}
	if got := verify(0, "another-secret-0123456789", s.bodies[0]); got != "False" {
		t.Errorf("another secret: %s", got)
	}
	if got := verify(0, plantedSign, append(bytes.Clone(s.bodies[0]), ' ')); got != "False" {
		t.Errorf("another body: %s", got)
	}
	if got := verify(1, plantedSign, s.bodies[1]); got != "False" {
		t.Errorf("an old message: %s", got)
	}
}
