package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Error is what AWS answered in place of a success.
type Error struct {
	Operation string // sns:Publish, as IAM policies write it
	Code      string // AccessDenied
	Status    int
	Message   string // what AWS says: one line, shortened, without credentials
	Temporary bool   // the same question may be answered later
	kind      error
}

func (e *Error) Error() string { return e.Operation + ": " + e.what() }

func (e *Error) what() string {
	s := fmt.Sprintf("%d %s", e.Status, e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap returns the kind: plumbline.ErrDenied, plumbline.ErrNotFound, plumbline.ErrInvalid, or nil.
func (e *Error) Unwrap() error { return e.kind }

// Temporary reports whether doing the same again later may succeed: AWS was busy or broken, did not answer, or Plumbline has no credentials just
// now. What was refused for good stays refused until somebody changes something.
func Temporary(err error) bool {
	var told *Error
	if errors.As(err, &told) {
		return told.Temporary
	}
	for _, kind := range []error{plumbline.ErrInvalid, plumbline.ErrDenied, plumbline.ErrNotFound, plumbline.ErrConflict} {
		if errors.Is(err, kind) {
			return false
		}
	}
	return err != nil
}

const (
	maxMessage = 300 // characters
	maxAnswer  = 16 << 20
	unnamed    = 30 * time.Second // how long a service is left alone that says "too many requests"
)

// refused translates an error of the SDK.
func (a *Account) refused(operation string, err error) error {
	err = refusal(operation, err, a.creds.secrets())
	var told *Error
	if errors.As(err, &told) && (throttled(told.Code) || told.Status == http.StatusTooManyRequests) {
		return &plumbline.Retry{At: a.conf.Now().Add(unnamed), Err: told}
	}
	return err
}

// refusal makes an *Error of what AWS says, and of anything else a short line. secrets are masked in it.
func refusal(operation string, err error, secrets []string) error {
	var creds *CredentialsError
	if errors.As(err, &creds) {
		return creds // its own words; the operation came to nothing before it began
	}
	var answer *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &answer) && answer.Response != nil {
		status = answer.HTTPStatusCode()
	}
	var told smithy.APIError
	if errors.As(err, &told) && status != 0 {
		code := shorten(oneLine(told.ErrorCode()), 80)
		e := &Error{Operation: operation, Code: code, Status: status, kind: kindOf(code, status), Temporary: temporary(code, status)}
		if !aboutSignature[code] { // those repeat what was signed, the session token with it
			e.Message = clean(told.ErrorMessage(), secrets)
		} else if skewed(code, told.ErrorMessage()) {
			e.Message = "the clock of this machine is wrong"
		}
		return e
	}
	cause := err
	var sent *url.Error // repeats method and address
	var broken *smithy.DeserializationError
	var made *smithy.OperationError
	switch {
	case errors.Is(err, context.Canceled):
		cause = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		cause = context.DeadlineExceeded
	case errors.As(err, &broken):
		cause = fmt.Errorf("unexpected answer (%d): %w", status, broken)
	case errors.As(err, &sent):
		cause = sent.Err
	case errors.As(err, &made):
		cause = made.Err
	}
	text := clean(cause.Error(), secrets)
	if errors.Is(cause, context.DeadlineExceeded) {
		text = "no answer in time"
	}
	return &failure{what: operation + ": " + text, err: cause}
}

// failure is a request that came to nothing. What it says is short and in one line, whatever the SDK makes of it.
type failure struct {
	what string
	err  error
}

func (e *failure) Error() string { return e.what }
func (e *failure) Unwrap() error { return e.err }

var aboutSignature = map[string]bool{
	"InvalidSignatureException": true, "SignatureDoesNotMatch": true, "IncompleteSignature": true, "IncompleteSignatureException": true,
	"RequestExpired": true, "RequestTimeTooSkewed": true, "InvalidSignature": true,
}

// skewed reports whether a signature was refused for its time.
func skewed(code, message string) bool {
	return code == "RequestExpired" || code == "RequestTimeTooSkewed" ||
		aboutSignature[code] && (strings.Contains(message, "Signature expired") || strings.Contains(message, "Signature not yet current"))
}

func throttled(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok || code == "KMSThrottling" || code == "Throttled" // as SNS says it
}

// expired are codes that go away when the credentials are fetched again.
var expired = []string{"ExpiredToken", "ExpiredTokenException"}

func temporary(code string, status int) bool {
	return throttled(code) || status >= http.StatusInternalServerError || status == http.StatusTooManyRequests || slices.Contains(expired, code)
}

// kinds are of codes that all of AWS has ("Common Errors" in its API references) and whose names do not say it.
var kinds = map[string]error{
	"UnrecognizedClientException": plumbline.ErrDenied, "InvalidClientTokenId": plumbline.ErrDenied, "OptInRequired": plumbline.ErrDenied,
	"MissingAuthenticationToken": plumbline.ErrDenied, "MissingAuthenticationTokenException": plumbline.ErrDenied, "InvalidSecurity": plumbline.ErrDenied,
	"InvalidAccessKeyId": plumbline.ErrDenied, "AuthorizationError": plumbline.ErrDenied, "NotAuthorized": plumbline.ErrDenied,
	"RegionDisabledException": plumbline.ErrDenied, "KMSOptInRequired": plumbline.ErrDenied,
	"EndpointDisabled": plumbline.ErrInvalid, "KMSDisabled": plumbline.ErrInvalid, "KMSInvalidState": plumbline.ErrInvalid,
	"MalformedPolicyDocument": plumbline.ErrInvalid, "PackedPolicyTooLarge": plumbline.ErrInvalid,
}

func kindOf(code string, status int) error {
	if kind, ok := kinds[strings.TrimSuffix(code, "Exception")]; ok {
		return kind
	}
	if kind, ok := kinds[code]; ok {
		return kind
	}
	switch {
	case temporary(code, status):
		return nil
	case strings.Contains(code, "AccessDenied"), aboutSignature[code], status == http.StatusUnauthorized, status == http.StatusForbidden:
		return plumbline.ErrDenied
	case strings.Contains(code, "NotFound"), strings.HasPrefix(code, "NoSuch"), strings.Contains(code, "NonExistent"), status == http.StatusNotFound:
		return plumbline.ErrNotFound
	case status/100 == 4:
		return plumbline.ErrInvalid
	}
	return nil
}

// clean makes text fit to be shown.
func clean(text string, secrets []string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.NewReplacer(s, plumbline.Masked, url.QueryEscape(s), plumbline.Masked).Replace(text)
		}
	}
	return shorten(oneLine(text), maxMessage)
}

// oneLine returns s as valid UTF-8 in one line, without control characters.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Join(strings.Fields(s), " ")
}

func shorten(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// wire is beneath the SDK.
type wire struct{ next http.RoundTripper }

// RoundTrip bounds the answer.
func (t wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		// The body that the SDK (smithy-go v1.28.8) sends answers io.EOF to WriteTo once it is closed, and it is closed as soon as there is an answer.
		// net/http asks it once more whether it has ended, takes that for an error, and drops the connection under an answer that is still read.
		body := req.Body
		req = req.WithContext(req.Context()) // a copy, as a RoundTripper changes nothing
		req.Body = struct {
			io.Reader
			io.Closer
		}{body, body}
	}
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{&bounded{r: resp.Body, left: maxAnswer}, resp.Body}
	}
	return resp, err
}

// bounded fails instead of ending early: half an answer can look like a whole one.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("unexpected answer: it is longer than %d bytes", maxAnswer)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

var _ sdk.CredentialsProvider = (*purse)(nil)
