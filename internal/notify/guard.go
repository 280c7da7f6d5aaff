package notify

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

const (
	maxAnswer = 64 << 10 // bytes read of an answer
	maxSaid   = 300      // characters of an error
	maxWait   = 24 * time.Hour
	agent     = "Plumbline"
)

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// guard stands beneath the clients of all sinks, ours and others': it reads an answer up to a bound, and makes an error of our own of every answer that
// is no success, so that what becomes of it does not depend on what a library makes of it.
type guard struct {
	next http.RoundTripper
	now  func() time.Time
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("User-Agent") != agent {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", agent)
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close() // as much as is wanted was read
	switch {
	case resp.StatusCode/100 != 2:
		return nil, g.refused(resp, body)
	case err != nil:
		// It has taken the message: only what it says about it is lost.
		body = nil
	case len(body) > maxAnswer:
		body = body[:maxAnswer]
	}
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// answer is an answer that is no success.
type answer struct {
	status int
	said   string
	kind   error // nil: it may be better next time
}

func (a *answer) Error() string {
	text := fmt.Sprintf("it answers %d %s", a.status, http.StatusText(a.status))
	if a.said != "" {
		text += ": " + a.said
	}
	return text
}

func (a *answer) Unwrap() error { return a.kind }

func (g *guard) refused(resp *http.Response, body []byte) error {
	a := &answer{status: resp.StatusCode, said: plain(string(body), maxSaid)}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		a.kind = plumbline.ErrInvalid
		return a
	}
	// A sink that is not there, or does not know who sends, may be put right by somebody within the hours for which a message is tried again.
	if at := g.after(resp.Header.Get("Retry-After")); !at.IsZero() {
		return &plumbline.Retry{At: at, Err: a}
	}
	return a
}

// after reads a Retry-After: seconds, or a date.
func (g *guard) after(value string) time.Time {
	now := g.now()
	at := time.Time{}
	if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n >= 0 {
		at = now.Add(time.Duration(min(n, int64(maxWait/time.Second))) * time.Second)
	} else if date, err := http.ParseTime(value); err == nil {
		at = date
	}
	if at.After(now.Add(maxWait)) {
		at = now.Add(maxWait)
	}
	return at
}
