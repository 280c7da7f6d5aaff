package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	api "github.com/google/go-github/v89/github"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// library returns the client library over the API's own HTTP client, with a token that is asked for at each request.
func library(a *forge.API, base string, token func(context.Context) (plumbline.Secret, error)) (*api.Client, error) {
	h := *a.Whole()
	h.Transport = &authorized{next: h.Transport, token: token}
	base += "/"
	// The library would hold back requests by itself, and as errors of its own; who asks again, and when, is decided elsewhere.
	return api.NewClient(api.WithHTTPClient(&h), api.WithURLs(&base, &base), api.WithDisableRateLimitCheck())
}

// authorized adds the token. It stands in front of the transport that asks one host only.
type authorized struct {
	next  http.RoundTripper
	token func(context.Context) (plumbline.Secret, error)
}

func (t *authorized) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := t.token(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper has to; nothing was read
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	return t.next.RoundTrip(req)
}

// pages calls get with one page after the other until there is no next one. Only the number of the next page is used. A list that does not
// end is an error, and no list.
func (c *Client) pages(get func(api.ListOptions) (*api.Response, error)) error {
	o := api.ListOptions{Page: 1, PerPage: c.limit}
	for range maxPages {
		resp, err := get(o)
		if err != nil {
			return c.explain(err)
		}
		if resp == nil {
			return nil // enough
		}
		next := forge.NextPage(resp.Header)
		if next == 0 && !strings.Contains(strings.Join(resp.Header.Values("Link"), ","), `rel="next"`) {
			return nil
		}
		if next != o.Page+1 {
			return fmt.Errorf("%s: unexpected answer: the page after %d is %d", resp.Request.URL.Path, o.Page, next)
		}
		o.Page = next
	}
	return fmt.Errorf("github: a list of more than %d pages", maxPages)
}

// listed is err, or an error when an answer is no list.
func listed[T any](all []T, err error) error {
	if err == nil && all == nil {
		return errors.New("unexpected answer: no list")
	}
	return err
}

// explain turns what the library makes of a refusal into what the house makes of it.
func (c *Client) explain(err error) error {
	if c.app != nil {
		return c.app.explain(err)
	}
	return explain(c.api, err)
}

// explain does so; secrets are masked beside the one that the API knows.
func explain(a *forge.API, err error, secrets ...plumbline.Secret) error {
	if err == nil {
		return nil
	}
	var u *url.Error // has the whole address
	if errors.As(err, &u) {
		where, parseErr := url.Parse(u.URL)
		if parseErr != nil {
			return fmt.Errorf("github: %w", u.Err)
		}
		return fmt.Errorf("%s %s on %s: %w", strings.ToUpper(u.Op), where.Path, where.Host, u.Err)
	}
	resp, message, later := refusal(err) //nolint:bodyclose // the library has read and closed it
	if resp == nil {
		return fmt.Errorf("github: %w", brief{err})
	}
	for _, s := range secrets {
		if s.Reveal() != "" {
			message = strings.ReplaceAll(message, s.Reveal(), plumbline.Masked)
		}
	}
	if later && !strings.Contains(strings.ToLower(message), secondary) {
		message = secondary + ": " + message // by which it is recognised
	}
	return a.Refused(resp, message)
}

// refusal returns the answer that is behind an error of the library, what it says, and whether it says that we ask too much.
func refusal(err error) (resp *http.Response, message string, later bool) {
	var (
		plain    *api.ErrorResponse
		limit    *api.RateLimitError
		abuse    *api.AbuseRateLimitError
		password *api.TwoFactorAuthError
	)
	switch {
	case errors.As(err, &limit):
		return limit.Response, limit.Message, false // its headers say so
	case errors.As(err, &abuse):
		return abuse.Response, abuse.Message, true
	case errors.As(err, &password):
		return password.Response, "GitHub asks for a second factor; give it a token", false
	case errors.As(err, &plain):
		return plain.Response, sentence(plain), asksTooMuch(plain)
	}
	return nil, "", false
}

// secondary is what GitHub calls a limit that is about more than a number of requests in an hour
// (https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits).
const secondary = "secondary rate limit"

// asksTooMuch recognises such a limit as older servers word it, which do not link to the page about it.
func asksTooMuch(e *api.ErrorResponse) bool {
	return e.Response.StatusCode == http.StatusForbidden && strings.Contains(strings.ToLower(e.Message), "abuse detection mechanism")
}

// sentence is the message with what it says about single fields
// (https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api#validation-failed).
func sentence(e *api.ErrorResponse) string {
	var details []string
	for _, d := range e.Errors {
		switch {
		case d.Message != "":
			details = append(details, d.Message)
		case d.Field != "" && d.Code != "":
			details = append(details, d.Field+": "+d.Code)
		case d.Code != "":
			details = append(details, d.Code)
		}
	}
	if len(details) == 0 {
		return e.Message
	}
	return strings.TrimPrefix(e.Message+": "+strings.Join(details, ", "), ": ")
}

// brief is an error whose text may have a part of an answer in it.
type brief struct{ error }

func (b brief) Error() string { return forge.Shorten(forge.OneLine(b.error.Error()), 200) }
func (b brief) Unwrap() error { return b.error }
