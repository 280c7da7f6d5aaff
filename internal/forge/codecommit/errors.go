package codecommit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// maxAnswer is for comments, of which a page has a hundred of 10,240 characters.
const (
	maxAnswer  = 8 << 20
	maxRefusal = 64 << 10
)

// side is one service of AWS, with what its refusals mean.
type side struct {
	http  *forge.API
	host  string
	creds *wallet
}

// newSide returns a service at an endpoint. kind is how the Content-Type of its successes begins.
func newSide(endpoint, kind string, creds *wallet, dial forge.Dial) (*side, error) {
	if dial.Transport == nil {
		dial.Transport = http.DefaultTransport
	}
	dial.Transport = wire{dial.Transport, kind}
	a, err := forge.NewAPI(forge.APIConfig{URL: endpoint, MaxAnswer: maxAnswer, Dial: dial})
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	return &side{http: a, host: u.Host, creds: creds}, nil
}

// The protocols of the three services: https://smithy.io/2.0/aws/protocols.
const (
	speaksJSON = "application/x-amz-json-"
	speaksXML  = "text/xml"
)

// wire takes no success from anybody but AWS, since most of what is in an answer may be left out, and JSON of somebody else looks like an empty list.
// It gives an answer that says "too many requests" the status that says so: AWS says 400 and names an exception. Whoever shares the budget sees it
// then.
type wire struct {
	next http.RoundTripper
	kind string
}

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
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		if kind := resp.Header.Get("Content-Type"); resp.ContentLength != 0 && !strings.HasPrefix(kind, t.kind) {
			_ = resp.Body.Close() // nothing in it is for us
			kind = forge.Shorten(forge.OneLine(cmp.Or(kind, "no Content-Type")), maxMessage)
			return nil, fmt.Errorf("unexpected answer: %s, which is not what AWS speaks; is the endpoint right?", kind)
		}
		return resp, nil
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		_ = resp.Body.Close() // it broke already
		return nil, err
	}
	var told struct {
		Type string `json:"__type"`
	}
	if json.Unmarshal(b, &told) == nil {
		code := told.Type[strings.LastIndex(told.Type, "#")+1:] // some services put a namespace before it
		if _, ok := retry.DefaultThrottleErrorCodes[code]; ok {
			resp.StatusCode, resp.Status = http.StatusTooManyRequests, "429 Too Many Requests"
		}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(b), resp.Body}
	resp.ContentLength = int64(len(b))
	return resp, nil
}

// Error is what AWS answered in place of a success.
type Error struct {
	Operation string
	Code      string // PullRequestDoesNotExistException
	Status    int
	Message   string // what AWS says: one line, shortened
	kind      error
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %d %s", e.Operation, e.Status, e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.kind }

// failure is a request that came to nothing. What it says is short and in one line, whatever the SDK makes of an answer.
type failure struct {
	what string
	err  error
}

func (e *failure) Error() string { return e.what }
func (e *failure) Unwrap() error { return e.err }

const maxMessage = 200 // characters

func unexpected(operation, what string) error {
	return fmt.Errorf("%s: unexpected answer: %s", operation, what)
}

// refused translates an error of the SDK.
func (s *side) refused(operation string, err error) error {
	if err == nil {
		return nil
	}
	var answer *smithyhttp.ResponseError
	var resp *http.Response
	if errors.As(err, &answer) && answer.Response != nil {
		resp = answer.Response.Response
	}
	var told smithy.APIError
	if errors.As(err, &told) && resp != nil {
		return s.told(operation, resp, told)
	}
	if resp != nil && resp.StatusCode/100 != 2 && resp.Request != nil {
		return fmt.Errorf("%s on %s: %w", operation, s.host, s.http.Refused(resp, "")) // a page for people, from a proxy
	}
	cause := err
	var broken *smithy.DeserializationError
	var sent *url.Error // repeats method and address
	var made *smithy.OperationError
	switch {
	case errors.Is(err, context.Canceled):
		cause = context.Canceled
	case errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &sent):
		cause = context.DeadlineExceeded
	case errors.As(err, &sent):
		cause = sent.Err
	case errors.As(err, &broken):
		cause = fmt.Errorf("unexpected answer: %w", broken)
	case errors.As(err, &made):
		cause = made.Err
	}
	return &failure{what: fmt.Sprintf("%s on %s: %s", operation, s.host, s.creds.clean(cause.Error())), err: cause}
}

// told gives what AWS says its kind.
func (s *side) told(operation string, resp *http.Response, told smithy.APIError) error {
	code := forge.Shorten(forge.OneLine(told.ErrorCode()), 80)
	out := &Error{Operation: operation, Code: code, Status: resp.StatusCode, kind: kindOf(code, resp.StatusCode)}
	if !aboutSignature[code] { // those repeat what was signed, the session token with it
		out.Message = s.creds.clean(told.ErrorMessage())
	}
	var again *plumbline.Retry
	if resp.Request != nil && errors.As(s.http.Refused(resp, ""), &again) {
		return &plumbline.Retry{At: again.At, Err: out}
	}
	return out
}

var aboutSignature = map[string]bool{
	"InvalidSignatureException": true, "SignatureDoesNotMatch": true,
	"IncompleteSignature": true, "IncompleteSignatureException": true,
}

// kinds is by the names of exceptions: those of the operations as the API's model lists them, and those that all of AWS has
// ("Common Errors" in the API reference).
var kinds = map[string]error{
	"AccessDenied": plumbline.ErrDenied, "AccessDeniedException": plumbline.ErrDenied, "NotAuthorized": plumbline.ErrDenied,
	"UnrecognizedClientException": plumbline.ErrDenied, "InvalidClientTokenId": plumbline.ErrDenied,
	"InvalidSignatureException": plumbline.ErrDenied, "SignatureDoesNotMatch": plumbline.ErrDenied,
	"IncompleteSignature": plumbline.ErrDenied, "IncompleteSignatureException": plumbline.ErrDenied, "InvalidSecurity": plumbline.ErrDenied,
	"MissingAuthenticationToken": plumbline.ErrDenied, "MissingAuthenticationTokenException": plumbline.ErrDenied,
	"ExpiredToken": plumbline.ErrDenied, "ExpiredTokenException": plumbline.ErrDenied, "RequestExpired": plumbline.ErrDenied,
	"OptInRequired": plumbline.ErrDenied, "EncryptionKeyAccessDeniedException": plumbline.ErrDenied, "KmsAccessDenied": plumbline.ErrDenied,
	"PullRequestCannotBeApprovedByAuthorException": plumbline.ErrDenied, codeNotOurs: plumbline.ErrDenied,

	"PullRequestDoesNotExistException": plumbline.ErrNotFound, "InvalidPullRequestIdException": plumbline.ErrNotFound,
	"RepositoryDoesNotExistException": plumbline.ErrNotFound, "RepositoryNotAssociatedWithPullRequestException": plumbline.ErrNotFound,
	"CommentDoesNotExistException": plumbline.ErrNotFound, "CommentDeletedException": plumbline.ErrNotFound,
	"InvalidCommentIdException":      plumbline.ErrNotFound,
	"ReferenceDoesNotExistException": plumbline.ErrNotFound, "CommitDoesNotExistException": plumbline.ErrNotFound,
	"QueueDoesNotExist":                       plumbline.ErrNotFound,
	"AWS.SimpleQueueService.NonExistentQueue": plumbline.ErrNotFound,

	codeOutdated: plumbline.ErrConflict, "PullRequestAlreadyClosedException": plumbline.ErrConflict,
	"IdempotencyParameterMismatchException": plumbline.ErrConflict, "MaximumOpenPullRequestsExceededException": plumbline.ErrConflict,
	"MaximumNumberOfApprovalsExceededException": plumbline.ErrConflict, "ReactionLimitExceededException": plumbline.ErrConflict,

	"CommentContentSizeLimitExceededException": plumbline.ErrInvalid, "BeforeCommitIdAndAfterCommitIdAreSameException": plumbline.ErrInvalid,
	"SourceAndDestinationAreSameException": plumbline.ErrInvalid, "ReferenceTypeNotSupportedException": plumbline.ErrInvalid,
	"MultipleRepositoriesInPullRequestException": plumbline.ErrInvalid, "ValidationException": plumbline.ErrInvalid,
	"SerializationException": plumbline.ErrInvalid,
}

const (
	codeNotOurs  = "CommentNotCreatedByCallerException"
	codeOutdated = "RevisionNotCurrentException"
	codeReaction = "InvalidReactionValueException"
)

func kindOf(code string, status int) error {
	if kind, ok := kinds[code]; ok {
		return kind
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return plumbline.ErrDenied
	case status == http.StatusNotFound:
		return plumbline.ErrNotFound
	case status/100 == 4 && (strings.HasPrefix(code, "Invalid") || strings.HasSuffix(code, "RequiredException")):
		return plumbline.ErrInvalid
	}
	return nil
}

// is reports whether AWS answered with one of these exceptions.
func is(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}
