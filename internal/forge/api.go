package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// APIConfig says where the HTTP interface of a forge is.
type APIConfig struct {
	URL       string              // paths are added to it; nothing but its scheme, host and port is ever asked
	Authorize func(*http.Request) // adds credentials; it sees requests to that host only
	Secret    plumbline.Secret    // masked where the forge repeats it in an error
	MaxAnswer int64               // bytes, decompressed; default 32 MiB
	Dial
}

// Dial is how an adapter reaches its forge. The zero Dial will do.
type Dial struct {
	Transport http.RoundTripper // default http.DefaultTransport
	Timeout   time.Duration     // for one request with all of its answer; default 1 minute
	Now       func() time.Time  // default time.Now
	Budget    *Budget           // what the token may ask, shared by all repositories that use it; nil: one of its own
}

const (
	defaultTimeout   = time.Minute
	defaultMaxAnswer = 32 << 20
	maxRefusal       = 64 << 10 // bytes read of an answer that is no success
	maxRedirects     = 5
)

// API asks the HTTP interface of a forge.
type API struct {
	base   *url.URL
	client *http.Client
	secret plumbline.Secret
	now    func() time.Time
	budget *Budget
}

// NewAPI returns an API. It does not connect.
func NewAPI(c APIConfig) (*API, error) {
	base, err := url.Parse(strings.TrimRight(c.URL, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("the forge's url must be https:// or http:// with a host, and no user in it: %w", plumbline.ErrInvalid)
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.MaxAnswer <= 0 {
		c.MaxAnswer = defaultMaxAnswer
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Budget == nil {
		c.Budget = &Budget{Now: c.Now}
	}
	a := &API{base: base, secret: c.Secret, now: c.Now, budget: c.Budget}
	next := &cached{budget: c.Budget, next: &budgeted{budget: c.Budget, next: c.Transport}}
	a.client = &http.Client{
		Transport:     &pinned{base: base, next: next, authorize: c.Authorize, limit: c.MaxAnswer},
		Timeout:       c.Timeout,
		CheckRedirect: a.redirect,
	}
	return a, nil
}

// HTTP is the client beneath, for a library that wants one: it asks no other host, adds the credentials itself, and
// bounds time and size. What the library makes of a refusal goes through Refused.
func (a *API) HTTP() *http.Client { return a.client }

// Whole is HTTP for a library that takes the first value of an answer for all of it, or nothing for something: each answer with a success has
// been read to its end, and is an object or a list, before the library sees it.
func (a *API) Whole() *http.Client {
	h := *a.client
	h.Transport = wholly{a.client.Transport}
	return &h
}

type wholly struct{ next http.RoundTripper }

func (t wholly) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil || resp.StatusCode/100 != 2 || resp.StatusCode == http.StatusNoContent {
		return resp, err
	}
	if err := whole(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// whole reads an answer to its end: a library may not look at what follows the first value.
func whole(resp *http.Response) error {
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // all of it was read
	if err != nil {
		return err
	}
	if first := bytes.TrimSpace(b); len(first) == 0 || first[0] != '{' && first[0] != '[' || !json.Valid(b) {
		return errors.New("unexpected answer: neither an object nor a list")
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return nil
}

// redirect follows within the host, as after a repository was renamed, but never turns one method into another: a POST
// that becomes a GET looks like a success.
func (a *API) redirect(req *http.Request, via []*http.Request) error {
	switch {
	case !sameOrigin(req.URL, a.base):
		return a.elsewhere(req.URL)
	case len(via) >= maxRedirects:
		return errors.New("the forge redirects in circles")
	case req.Method != via[0].Method:
		return fmt.Errorf("the forge redirects a %s; set its url to where it really is", via[0].Method)
	}
	return nil
}

func (a *API) elsewhere(u *url.URL) error {
	return fmt.Errorf("the forge sends us from %s://%s to %s://%s, which is not followed; set its url to where it really is",
		a.base.Scheme, a.base.Host, u.Scheme, u.Host)
}

// Call sends in as JSON, unless nil, and decodes the answer into out, unless nil. The path is escaped already and may
// have a query.
func (a *API) Call(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, bare(path), err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base.String()+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, bare(path), err)
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		var u *url.Error // repeats method and address
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("%s %s on %s: %w", method, bare(path), a.base.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(resp.Body) // as much of the reason as there is
		return resp.Header, a.Refused(resp, reason(b))
	}
	if out == nil {
		err = acknowledged(resp.Body)
	} else {
		err = decode(resp.Body, out)
	}
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("unexpected answer: %w", err)
		}
		return resp.Header, fmt.Errorf("%s %s on %s: %w", method, bare(path), a.base.Host, err)
	}
	return resp.Header, nil
}

// decode wants one value and then the end: what was cut off behind it was not seen, and only a whole answer is
// remembered.
func decode(r io.Reader, out any) error {
	d := json.NewDecoder(r)
	if err := d.Decode(out); err != nil {
		return err
	}
	switch _, err := d.Token(); {
	case err == nil:
		return errors.New("something follows its end")
	case err != io.EOF:
		return err
	}
	return nil
}

// acknowledged wants nothing, or an object or array: a forge that did something answers so, a proxy that did not may answer
// anything.
func acknowledged(r io.Reader) error {
	var answer json.RawMessage
	err := decode(r, &answer)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && answer[0] != '{' && answer[0] != '[' {
		return errors.New("neither an object nor an array")
	}
	return err
}

func bare(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// reason finds the sentence that most forges put into a refusal.
func reason(body []byte) string {
	var r struct {
		Message any `json:"message"`
		Error   any `json:"error"`
	}
	if json.Unmarshal(body, &r) != nil {
		return "" // a page for people, from a proxy
	}
	for _, v := range []any{r.Message, r.Error} {
		if inner, ok := v.(map[string]any); ok { // Bitbucket's {"error": {"message": …}}
			v = inner["message"]
		}
		if s, ok := v.(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// HTTPError is an answer that is no success.
type HTTPError struct {
	Method  string
	Path    string // without query
	Status  int
	Message string // what the forge says: one line, shortened

	later bool // it is a matter of time, not of credentials
}

func (e *HTTPError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap gives the status its kind.
func (e *HTTPError) Unwrap() error {
	if e.later {
		return nil
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return plumbline.ErrDenied
	case http.StatusNotFound, http.StatusGone:
		return plumbline.ErrNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return plumbline.ErrConflict
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return plumbline.ErrInvalid
	}
	return nil
}

// maxMessage is in characters.
const maxMessage = 200

// Refused returns the error for an answer that is no success: an *HTTPError, inside a *plumbline.Retry when the forge
// says when to come again.
func (a *API) Refused(resp *http.Response, message string) error {
	if s := a.secret.Reveal(); s != "" {
		message = strings.ReplaceAll(message, s, plumbline.Masked)
	}
	err := &HTTPError{Method: resp.Request.Method, Path: resp.Request.URL.Path, Status: resp.StatusCode, Message: Shorten(OneLine(message), maxMessage)}
	at, ok := retryAt(resp.StatusCode, resp.Header, a.now())
	if !ok && err.secondary() {
		at, ok = a.now().Add(unnamed), true
		a.budget.refused(at, err)
	}
	if ok {
		err.later = true
		return &plumbline.Retry{At: at, Err: err}
	}
	return err
}

// secondary reports whether GitHub refused too many requests at once, which it may do with a 403 that names no time. It
// wants to be left alone for a minute then (docs.github.com, "Rate limits for the REST API").
func (e *HTTPError) secondary() bool {
	return e.Status == http.StatusForbidden && strings.Contains(strings.ToLower(e.Message), "secondary rate limit")
}

const (
	unnamed  = time.Minute // how long a forge is left alone that says "too many requests" and no more
	soonest  = time.Second
	farthest = time.Hour // a header that says more is a mistake, or malice
)

// retryAt reads from the headers when the forge wants to be asked again: Retry-After (RFC 9110 §10.2.3), or a spent
// budget as GitHub, GitLab and Gitea's proxies tell it.
func retryAt(status int, h http.Header, now time.Time) (time.Time, bool) {
	at, named := time.Time{}, false
	if v := h.Get("Retry-After"); v != "" {
		if s, err := strconv.ParseInt(v, 10, 32); err == nil {
			at, named = now.Add(time.Duration(s)*time.Second), true
		} else if t, err := http.ParseTime(v); err == nil {
			at, named = t, true
		}
	}
	for _, prefix := range []string{"X-RateLimit-", "RateLimit-"} {
		if !named && h.Get(prefix+"Remaining") == "0" {
			at, named = resetAt(h.Get(prefix+"Reset"), now)
		}
	}
	switch {
	case status == http.StatusTooManyRequests && !named:
		at = now.Add(unnamed)
	case status == http.StatusTooManyRequests:
	case named && (status == http.StatusForbidden || status == http.StatusServiceUnavailable):
	default:
		return time.Time{}, false
	}
	return within(at, now), true
}

// NextPage returns the number of the next page according to the Link header (RFC 8288), 0 at the end. Only the number is
// used: the host in the header is whatever a proxy made of it, or worse.
func NextPage(h http.Header) int {
	for _, header := range h.Values("Link") {
		for link := range strings.SplitSeq(header, ",") {
			target, params, _ := strings.Cut(link, ";")
			if !strings.Contains(params, `rel="next"`) {
				continue
			}
			u, err := url.Parse(strings.Trim(target, " <>"))
			if err != nil {
				continue
			}
			if n, err := strconv.Atoi(u.Query().Get("page")); err == nil && n > 0 {
				return n
			}
		}
	}
	return 0
}

// pinned asks one host, whatever a redirect or a library says. It cuts answers that are too long, and takes no page to sign
// in for a success.
type pinned struct {
	base      *url.URL
	next      http.RoundTripper
	authorize func(*http.Request)
	limit     int64
}

func (p *pinned) RoundTrip(req *http.Request) (*http.Response, error) {
	if !sameOrigin(req.URL, p.base) {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper has to; nothing was read
		}
		return nil, fmt.Errorf("%s is not the forge at %s", req.URL.Host, p.base.Host)
	}
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", "plumbline")
	if p.authorize != nil {
		p.authorize(req)
	}
	resp, err := p.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		resp.Body = body{io.LimitReader(resp.Body, maxRefusal), resp.Body}
		return resp, nil
	}
	if kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) == "text/html" {
		_ = resp.Body.Close() // nothing in it is for us
		return nil, errors.New("unexpected answer: a page for people, where the forge's API was asked; is its url right?")
	}
	resp.Body = body{&limited{r: resp.Body, left: p.limit, limit: p.limit}, resp.Body}
	return resp, nil
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return "80"
}

type body struct {
	io.Reader
	io.Closer
}

// limited fails instead of ending early, as half an answer can look like a whole one.
type limited struct {
	r           io.Reader
	left, limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if int64(n) > l.left {
		return int(l.left), fmt.Errorf("the answer is longer than %d bytes", l.limit)
	}
	l.left -= int64(n)
	return n, err
}
