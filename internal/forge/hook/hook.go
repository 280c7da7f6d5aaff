// Package hook reads the webhooks of forges.
//
// A webhook only ever brings the next poll of a repository forward. Nothing that it says is believed beyond "look there": what is planned
// is what Git and the forge's interface show then. One that is lost, late or refused costs a little time, nothing else.
package hook

import (
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// MaxBody is the longest body of a delivery, in bytes. Forges send more when a push has thousands of commits (GitHub and GitLab up to
// 25 MiB); those wait for the next poll.
const MaxBody = 1 << 20

const (
	maxDepth = 64   // of a body's JSON; no payload of any forge has half of that
	maxName  = 1024 // bytes of a project or a ref
	maxID    = 128  // bytes of a delivery's id

	// tolerance is how far the clock of a forge may be off, and how long a signed delivery is good for
	// (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
	tolerance = 5 * time.Minute

	// What a forge sent in the last day is remembered, as far as it fits: 4,096 deliveries are less than 1 MiB.
	remembered = 4096
	memory     = 24 * time.Hour
)

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	Push         Kind = "push"          // a ref moved
	MergeRequest Kind = "merge request" // one was opened, changed, approved, merged, closed
	Comment      Kind = "comment"       // somebody wrote on a merge request
	Other        Kind = "other"         // anything else, known or not
)

// Event is a delivery that the forge sent.
type Event struct {
	Kind     Kind
	Project  string // as in the configuration: "group/sub/name", "owner/name"; "" where an event of another kind is about none
	Ref      string // of a push, in full: "refs/heads/main"; "" when several moved
	MR       string // number of the merge request, of those kinds that have one; "" where an old release does not say
	Delivery string // what the forge calls the delivery, to find it there; "" when it does not say, or says something odd
	Replayed bool   // it was here before
}

// Wakes reports whether the event is a reason to look at its project now.
func (e Event) Wakes() bool {
	switch {
	case e.Replayed:
		return false
	case e.Kind == Push:
		return !strings.HasPrefix(e.Ref, "refs/tags/")
	}
	return e.Kind == MergeRequest || e.Kind == Comment
}

// About reports whether the event is about the project of that name. No forge has two whose names differ in case only, and all find one
// by either.
func (e Event) About(project string) bool {
	return e.Project != "" && strings.EqualFold(e.Project, project)
}

// Config makes a Receiver.
type Config struct {
	Kind string // of the forge: "gitlab", "github", "gitea" (Forgejo, Gogs) or "bitbucket" (Cloud)
	// Secrets are those that the webhooks may have, several while one is exchanged for another. One that begins with "whsec_" is a signing
	// token of GitLab. None: every delivery is refused.
	Secrets []plumbline.Secret
}

// Receiver takes the deliveries of one forge. Its method is safe for concurrent use.
type Receiver struct {
	forge forge
	keys  keys

	mu   sync.Mutex
	seen seen
}

// forge is what differs between them.
type forge struct {
	forms    bool     // sends forms when it is told to
	delivery []string // headers with the delivery's id, of which the first counts that is there
	verify   func(k keys, h http.Header, body []byte, now time.Time) (mark, error)
	read     func(h http.Header, payload []byte) (Event, error)
}

var forges = map[string]forge{
	"gitlab": {
		delivery: []string{"Webhook-Id", "Idempotency-Key", "X-Gitlab-Event-Uuid"},
		verify:   verifyGitLab,
		read:     readGitLab,
	},
	"github": {
		forms:    true,
		delivery: []string{"X-Github-Delivery"},
		verify:   signedBody(signature{"X-Hub-Signature-256", "sha256="}),
		read:     readGitHub,
	},
	"gitea": {
		delivery: []string{"X-Forgejo-Delivery", "X-Gitea-Delivery", "X-Gogs-Delivery"},
		verify: signedBody(signature{"X-Forgejo-Signature", ""}, signature{"X-Gitea-Signature", ""}, signature{"X-Gogs-Signature", ""},
			signature{"X-Hub-Signature-256", "sha256="}),
		read: readGitea,
	},
	"bitbucket": {
		delivery: []string{"X-Request-Uuid"},
		verify:   signedBody(signature{"X-Hub-Signature", "sha256="}),
		read:     readBitbucket,
	},
}

// keys are the secrets by what they are for.
type keys struct {
	plain   []string // tokens, and keys of signatures
	signing [][]byte // GitLab's signing tokens, decoded
}

const signingPrefix = "whsec_"

// New returns a Receiver. A forge that sends no webhooks, or none that can be told from a stranger's, is plumbline.ErrNotFound.
func New(c Config) (*Receiver, error) {
	f, ok := forges[c.Kind]
	if !ok {
		return nil, fmt.Errorf("webhooks of a forge %q: %w", c.Kind, plumbline.ErrNotFound)
	}
	r := &Receiver{forge: f, seen: newSeen(remembered, memory)}
	for _, s := range c.Secrets {
		coded, isSigning := strings.CutPrefix(s.Reveal(), signingPrefix)
		switch {
		case s.IsZero():
		case c.Kind != "gitlab" || !isSigning:
			r.keys.plain = append(r.keys.plain, s.Reveal())
		default:
			key, err := base64.StdEncoding.DecodeString(coded)
			if err != nil || len(key) == 0 {
				return nil, fmt.Errorf("a webhook secret begins with %s and does not go on in base64, as a signing token of GitLab does: %w",
					signingPrefix, plumbline.ErrInvalid)
			}
			r.keys.signing = append(r.keys.signing, key)
		}
	}
	return r, nil
}

// Receive verifies a delivery, then reads it. now is when it came. Errors never hold any of the body, nor what a header says:
//
//   - plumbline.ErrDenied: the forge did not send it, or too long ago, or there is no secret to tell by;
//   - *http.MaxBytesError: it is longer than MaxBody;
//   - plumbline.ErrInvalid: the forge sent it, and it is not what that forge sends.
//
// An event that nobody here knows is no error, nor is a delivery that was here before.
func (r *Receiver) Receive(header http.Header, body []byte, now time.Time) (Event, error) {
	if len(body) > MaxBody {
		return Event{}, &http.MaxBytesError{Limit: MaxBody}
	}
	form, err := r.isForm(header)
	if err != nil {
		return Event{}, err
	}
	if len(r.keys.plain) == 0 && len(r.keys.signing) == 0 {
		return Event{}, denied("no secret is configured")
	}
	mark, err := r.forge.verify(r.keys, header, body, now)
	if err != nil {
		return Event{}, err
	}
	payload := body
	if form {
		if payload, err = formPayload(body); err != nil {
			return Event{}, err
		}
	}
	if err := wellFormed(payload); err != nil {
		return Event{}, err
	}
	e, err := r.forge.read(header, payload)
	if err != nil {
		return Event{}, err
	}
	if e, err = e.checked(); err != nil {
		return Event{}, err
	}
	e.Delivery = plainID(first(header, r.forge.delivery...))

	r.mu.Lock()
	defer r.mu.Unlock()
	e.Replayed = r.seen.again(mark, now)
	return e, nil
}

func denied(format string, args ...any) error {
	return fmt.Errorf("webhook: %s: %w", fmt.Sprintf(format, args...), plumbline.ErrDenied)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("webhook: %s: %w", fmt.Sprintf(format, args...), plumbline.ErrInvalid)
}

// isForm tells forms from JSON. Anything else is nothing that the forge sends.
func (r *Receiver) isForm(h http.Header) (bool, error) {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/json":
		return false, nil
	case err == nil && kind == "application/x-www-form-urlencoded" && r.forge.forms:
		return true, nil
	}
	return false, invalid("its content type is not application/json")
}

// formPayload takes the JSON out of a form (https://docs.github.com/en/webhooks/using-webhooks/creating-webhooks).
func formPayload(body []byte) ([]byte, error) {
	v, err := url.ParseQuery(string(body))
	if err != nil || len(v["payload"]) != 1 {
		return nil, invalid("it is a form without a payload")
	}
	return []byte(v.Get("payload")), nil
}

// checked refuses events that name nothing to look at, or with names that nobody can have.
func (e Event) checked() (Event, error) {
	if e.Kind == Other {
		if !isName(e.Project) {
			e.Project = ""
		}
		return Event{Kind: Other, Project: e.Project}, nil
	}
	switch {
	case e.Project == "" || !isName(e.Project) || !strings.Contains(e.Project, "/"):
		return Event{}, invalid("it names no project")
	case !isName(e.Ref):
		return Event{}, invalid("its ref is none")
	}
	return e, nil
}

func isName(s string) bool {
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// plainID lets nothing through that could be mistaken for something else in a log.
func plainID(s string) string {
	s = strings.Trim(s, "{}") // Bitbucket's
	odd := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-_", r)
	}
	if len(s) > maxID || strings.ContainsFunc(s, odd) {
		return ""
	}
	return s
}

// first returns the first of these headers that says something.
func first(h http.Header, names ...string) string {
	if i := slices.IndexFunc(names, func(name string) bool { return h.Get(name) != "" }); i >= 0 {
		return h.Get(names[i])
	}
	return ""
}
