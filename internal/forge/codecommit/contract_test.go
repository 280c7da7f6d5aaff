package codecommit_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// model is a service of AWS that speaks JSON, as AWS describes it. What goes to a fake of the service and what comes from it is held against the
// model, and against the samples of requests and answers that come with the SDK.
type model struct {
	Metadata struct {
		JSONVersion  string `json:"jsonVersion"`
		TargetPrefix string `json:"targetPrefix"`
	} `json:"metadata"`
	Operations map[string]struct {
		Input, Output *ref
		Errors        []ref
	} `json:"operations"`
	Shapes map[string]shape `json:"shapes"`

	samples string // directory
	without []string
}

type ref struct {
	Shape string `json:"shape"`
}

type shape struct {
	Type               string         `json:"type"`
	Required           []string       `json:"required"`
	Members            map[string]ref `json:"members"`
	Member, Key, Value *ref
	Enum               []string `json:"enum"`
	Min, Max           *float64
	Pattern            string `json:"pattern"`
}

// load reads a model. without are operations for whose answers the SDK has no sample.
func load(t *testing.T, file, module string, without ...string) *model {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	m := &model{samples: moduleDir(t, module), without: without}
	if err := json.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

var moduleDirs sync.Map

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	if dir, ok := moduleDirs.Load(module); ok {
		return dir.(string)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		t.Fatalf("go list -m %s: %q, %v", module, dir, err)
	}
	moduleDirs.Store(module, dir)
	return dir
}

// check holds a value against a shape and returns what is wrong with it.
func (m *model) check(at, name string, v any) []string {
	s, ok := m.Shapes[name]
	if !ok {
		return []string{at + ": no shape " + name}
	}
	var bad []string
	wrong := func(format string, args ...any) { bad = append(bad, at+": "+fmt.Sprintf(format, args...)) }
	limits := func(what string, n float64) {
		if (s.Min != nil && n < *s.Min) || (s.Max != nil && n > *s.Max) {
			wrong("%s %g is outside of the limits of %s", what, n, name)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if s.Type == "map" {
			for k, one := range v {
				bad = append(bad, m.check(at+" key", s.Key.Shape, k)...)
				bad = append(bad, m.check(at+"."+k, s.Value.Shape, one)...)
			}
			break
		}
		if s.Type != "structure" {
			wrong("an object where %s is a %s", name, s.Type)
		}
		for _, k := range s.Required {
			if _, ok := v[k]; !ok {
				wrong("%s is required", k)
			}
		}
		for k, one := range v {
			member, ok := s.Members[k]
			if !ok {
				wrong("%s has no member %s", name, k)
				continue
			}
			bad = append(bad, m.check(at+"."+k, member.Shape, one)...)
		}
	case []any:
		if s.Type != "list" {
			wrong("a list where %s is a %s", name, s.Type)
			break
		}
		limits("length", float64(len(v)))
		for i, one := range v {
			bad = append(bad, m.check(fmt.Sprintf("%s[%d]", at, i), s.Member.Shape, one)...)
		}
	case string:
		if s.Type != "string" && s.Type != "blob" {
			wrong("a string where %s is a %s", name, s.Type)
		}
		limits("length", float64(utf8.RuneCountInString(v)))
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			wrong("%q is none of %q", v, s.Enum)
		}
		if s.Pattern != "" && !regexp.MustCompile("^(?:"+s.Pattern+")$").MatchString(v) {
			wrong("%q does not match %s", v, s.Pattern)
		}
	case float64:
		whole := s.Type == "integer" || s.Type == "long"
		if !whole && s.Type != "timestamp" && s.Type != "double" && s.Type != "float" {
			wrong("a number where %s is a %s", name, s.Type)
		}
		if whole && v != float64(int64(v)) {
			wrong("%g where %s is an integer", v, name)
		}
		limits("number", v)
	case bool:
		if s.Type != "boolean" {
			wrong("a boolean where %s is a %s", name, s.Type)
		}
	default:
		wrong("%v", v)
	}
	return bad
}

// like compares the members and the kinds of values with those of a sample.
func like(at string, got, sample any) []string {
	if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", sample) {
		return []string{fmt.Sprintf("%s: %T, and %T in the sample", at, got, sample)}
	}
	var bad []string
	switch got := got.(type) {
	case map[string]any:
		all := sample.(map[string]any)
		each, isMap := all["key0"]
		for k, v := range got {
			one, ok := all[k]
			if isMap {
				one, ok = each, true
			}
			if !ok {
				bad = append(bad, at+": the sample has no "+k)
				continue
			}
			bad = append(bad, like(at+"."+k, v, one)...)
		}
	case []any:
		for i, v := range got {
			if first := sample.([]any); len(first) > 0 {
				bad = append(bad, like(fmt.Sprintf("%s[%d]", at, i), v, first[0])...)
			}
		}
	}
	return bad
}

// sample is a request or an answer as the SDK's authors froze it: a first line, headers, an empty line, a body.
type sample struct {
	first  string
	header http.Header
	body   any
}

func (m *model) sample(t *testing.T, path string) sample {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.samples, path))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	first, rest, _ := strings.Cut(text, "\n")
	rest = strings.TrimPrefix(rest, "\n") // requests have an empty line there
	head, body, ok := strings.Cut(rest, "\n\n")
	if !ok {
		t.Fatalf("%s is no sample", path)
	}
	s := sample{first: first, header: http.Header{}}
	for line := range strings.SplitSeq(head, "\n") {
		k, v, _ := strings.Cut(line, ": ")
		s.header.Set(k, v)
	}
	if err := json.Unmarshal([]byte(body), &s.body); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return s
}

// everywhere are exceptions of AWS that models do not list: "Common Errors" in the API reference.
var everywhere = []string{"AccessDeniedException", "ExpiredTokenException", "InvalidSignatureException", "ThrottlingException", "UnrecognizedClientException"}

// refusal is an exception.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.code }

// errLost is a request that was carried out and whose answer was lost.
var errLost = errors.New("the answer is lost")

// serve makes an HTTP handler of a fake of the service. handle gets who asks, and what; it returns an answer, a *refusal or errLost.
func (m *model) serve(t *testing.T, service string, secrets map[string]key, handle func(who key, operation string, in json.RawMessage) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client gave up
		}
		operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), m.Metadata.TargetPrefix+".")
		op, ok := m.Operations[operation]
		if !ok {
			t.Errorf("no operation %q", r.Header.Get("X-Amz-Target"))
			http.Error(w, "no such operation", http.StatusBadRequest)
			return
		}
		m.request(t, r, operation, op.Input.Shape, raw)
		var out any
		who, err := verify(r, raw, service, secrets)
		if err == nil {
			out, err = handle(who, operation, raw)
		}
		if errors.Is(err, errLost) {
			panic(http.ErrAbortHandler)
		}
		var no *refusal
		status := http.StatusOK
		if errors.As(err, &no) {
			status, out = m.status(t, no.code), map[string]any{"__type": no.code, "message": no.message}
		} else if err != nil {
			t.Errorf("%s: %v", operation, err)
		}
		if out == nil {
			out = map[string]any{}
		}
		body, err := json.Marshal(out)
		if err != nil {
			t.Error(err)
		}
		m.answer(t, operation, body, no)
		w.Header().Set("Content-Type", "application/x-amz-json-"+m.Metadata.JSONVersion)
		w.WriteHeader(status)
		_, _ = w.Write(body) // the client may have gone
	})
}

// status is with which an exception comes.
func (m *model) status(t *testing.T, code string) int {
	if slices.Contains(everywhere, code) {
		return http.StatusBadRequest
	}
	n, err := strconv.Atoi(m.sample(t, "response_snapshot/"+code+".error.snap").first)
	if err != nil {
		t.Error(err)
	}
	return n
}

func (m *model) request(t *testing.T, r *http.Request, operation, input string, raw []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Errorf("request %s: %v", operation, err)
	}
	bad := m.check("request "+operation, input, v)
	s := m.sample(t, "request_snapshot/"+operation+".request.snap")
	bad = append(bad, like("request "+operation, v, s.body)...)
	if got := r.Method + " " + r.URL.Path; got != s.first {
		bad = append(bad, fmt.Sprintf("request %s: %s, and %s in the sample", operation, got, s.first))
	}
	for k := range s.header {
		if r.Header.Get(k) != s.header.Get(k) {
			bad = append(bad, fmt.Sprintf("request %s: %s is %q, and %q in the sample", operation, k, r.Header.Get(k), s.header.Get(k)))
		}
	}
	for _, one := range bad {
		t.Error(one)
	}
}

func (m *model) answer(t *testing.T, operation string, body []byte, no *refusal) {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("answer %s: %v", operation, err)
	}
	op := m.Operations[operation]
	var bad []string
	switch {
	case no != nil && slices.Contains(everywhere, no.code):
	case no != nil:
		if !slices.Contains(op.Errors, ref{no.code}) {
			bad = append(bad, "answer "+operation+": the model has no "+no.code+" there")
		}
		s := m.sample(t, "response_snapshot/"+no.code+".error.snap")
		bad = append(bad, like("answer "+operation, v, s.body)...)
		if got := s.body.(map[string]any)["__type"]; got != no.code {
			bad = append(bad, fmt.Sprintf("answer %s: %s is called %v in the sample", operation, no.code, got))
		}
	default:
		if op.Output == nil {
			if len(v.(map[string]any)) > 0 {
				bad = append(bad, "answer "+operation+": it has none")
			}
		} else {
			bad = append(bad, m.check("answer "+operation, op.Output.Shape, v)...)
		}
		if !slices.Contains(m.without, operation) {
			bad = append(bad, like("answer "+operation, v, m.sample(t, "response_snapshot/"+operation+".response.snap").body)...)
		}
	}
	for _, one := range bad {
		t.Error(one)
	}
}

// key is an access key, with whom it belongs to.
type key struct{ id, secret, token, arn string }

// verify computes the Signature Version 4 of a request again, from its description in "Create a signed AWS API request" in the IAM user guide.
func verify(r *http.Request, body []byte, service string, keys map[string]key) (key, error) {
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	part := map[string]string{}
	for one := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(one), "=")
		part[k] = v
	}
	scope := strings.Split(part["Credential"], "/")
	if scheme != "AWS4-HMAC-SHA256" || len(scope) != 5 || scope[2] != region || scope[3] != service || scope[4] != "aws4_request" {
		return key{}, &refusal{"InvalidSignatureException", "Credential should be scoped to a valid region and service."}
	}
	k, ok := keys[scope[0]]
	if !ok || r.Header.Get("X-Amz-Security-Token") != k.token {
		return key{}, &refusal{"UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	names := strings.Split(part["SignedHeaders"], ";")
	for _, must := range []string{"host", "x-amz-date", "x-amz-target"} {
		if !slices.Contains(names, must) && (must != "x-amz-target" || r.Header.Get(must) != "") {
			return key{}, &refusal{"InvalidSignatureException", must + " is not signed."}
		}
	}
	canonical := "POST\n/\n\n"
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = fmt.Sprint(len(body))
		}
		canonical += name + ":" + strings.TrimSpace(value) + "\n"
	}
	canonical += "\n" + part["SignedHeaders"] + "\n" + hash(body)
	at := r.Header.Get("X-Amz-Date")
	if !strings.HasPrefix(at, scope[1]) {
		return key{}, &refusal{"InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."}
	}
	signed := "AWS4-HMAC-SHA256\n" + at + "\n" + strings.Join(scope[1:], "/") + "\n" + hash([]byte(canonical))
	if got := hex.EncodeToString(mac(signingKey(k.secret, scope[1:]), signed)); got != part["Signature"] {
		// AWS repeats what should have been signed, with the session token in it.
		return key{}, &refusal{"InvalidSignatureException", "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method.\n\nThe Canonical String for this request should have been\n'" + canonical + "'"}
	}
	return k, nil
}

func signingKey(secret string, scope []string) []byte {
	k := []byte("AWS4" + secret)
	for _, part := range scope {
		k = mac(k, part)
	}
	return k
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestContract makes sure that the checks find what is wrong: a validator that accepts everything would make all other tests pass too.
func TestContract(t *testing.T) {
	m := load(t, "codecommit-2015-04-13.json", "github.com/aws/aws-sdk-go-v2/service/codecommit")
	for _, c := range []struct{ shape, value, want string }{
		{"ListPullRequestsInput", `{"repositoryName":"infra","pullRequestStatus":"OPEN"}`, ""},
		{"ListPullRequestsInput", `{}`, "repositoryName is required"},
		{"ListPullRequestsInput", `{"repositoryName":"in fra"}`, "does not match"},
		{"ListPullRequestsInput", `{"repositoryName":""}`, "outside of the limits"},
		{"ListPullRequestsInput", `{"repositoryName":"infra","pullRequestStatus":"open"}`, "is none of"},
		{"ListPullRequestsInput", `{"repositoryName":"infra","maxResults":1.5}`, "is an integer"},
		{"ListPullRequestsInput", `{"repositoryName":"infra","nextToken":7}`, "a number where"},
		{"ListPullRequestsInput", `{"repositoryName":"infra","other":7}`, "has no member other"},
		{"ListPullRequestsInput", `{"repositoryName":["infra"]}`, "a list where"},
		{"CreatePullRequestInput", `{"title":"` + strings.Repeat("x", 151) + `","targets":[]}`, "outside of the limits"},
		{"CreatePullRequestInput", `{"title":"x","targets":[{"repositoryName":"infra"}]}`, "sourceReference is required"},
		{"GetPullRequestOutput", `{"pullRequest":{"creationDate":"today"}}`, "a string where"},
		{"GetPullRequestOutput", `{"pullRequest":null}`, "<nil>"},
		{"Comment", `{"deleted":"no"}`, "a string where"},
		{"Comment", `{"reactionCounts":{"THUMBSUP":"1"}}`, "a string where"},
	} {
		var v any
		if err := json.Unmarshal([]byte(c.value), &v); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(m.check("x", c.shape, v), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s %.80s: %q, want %q", c.shape, c.value, got, c.want)
		}
	}
	s := m.sample(t, "response_snapshot/GetPullRequest.response.snap")
	for value, want := range map[string]string{
		`{"pullRequest":{"title":"x"}}`:                 "",
		`{"pullRequest":{"titel":"x"}}`:                 "has no titel",
		`{"pullRequest":{"creationDate":"1"}}`:          "float64 in the sample",
		`{"pullRequest":{"pullRequestTargets":[null]}}`: "in the sample",
	} {
		var v any
		if err := json.NewDecoder(bytes.NewReader([]byte(value))).Decode(&v); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(like("x", v, s.body), "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}
