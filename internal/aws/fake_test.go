package aws_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/plumbline/plumbline/internal/aws"
)

const (
	region  = "eu-west-1"
	account = "111122223333"
	keyID   = "ASIADAEMON"
	secret  = "c0ffee/secret+of=daemon"
	session = "session+token/of=daemon"
)

// fake is AWS as far as a test says what it answers. Whatever is asked of it must look like the request that AWS publishes with its SDK for that
// operation, and what it answers like the published answer.
type fake struct {
	t *testing.T

	mu     sync.Mutex
	answer map[string]func(call) reply // by "sns:Publish"
	calls  []call
}

// call is one request.
type call struct {
	Operation string // sns:Publish
	Region    string // that it was signed for
	Host      string
	Key       string            // access key
	Form      map[string]string // of services that speak the query protocol
	JSON      map[string]any    // of those that speak JSON
}

// reply is an answer: a value for JSON, a text for XML. code makes it an error.
type reply struct {
	status  int
	body    any
	code    string
	message string
	err     error // there is no answer
}

func newFake(t *testing.T) *fake { return &fake{t: t, answer: map[string]func(call) reply{}} }

func (f *fake) on(operation string, answer func(call) reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer[operation] = answer
}

// asked are the calls of an operation, and forgets them.
func (f *fake) asked(operation string) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out, rest []call
	for _, c := range f.calls {
		if c.Operation == operation {
			out = append(out, c)
		} else {
			rest = append(rest, c)
		}
	}
	f.calls = rest
	return out
}

func (f *fake) config() aws.Config {
	return aws.Config{Region: region, Transport: f, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, session)}
}

func (f *fake) load(t *testing.T) *aws.Account {
	t.Helper()
	return load(t, f.config())
}

func load(t *testing.T, c aws.Config) *aws.Account {
	t.Helper()
	quiet(t)
	a, err := aws.Load(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// quiet keeps what this machine knows of AWS out of a test.
func quiet(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // puts it back at the end
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

var scope = regexp.MustCompile(`Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request`)

// RoundTrip answers in the process: what waits for it waits for nothing real.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c := call{Host: r.URL.Host}
	m := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		m = []string{"", "", "", ""} // AssumeRoleWithWebIdentity is not signed
		m[3], _, _ = strings.Cut(r.URL.Host, ".")
	}
	c.Key, c.Region = m[1], m[2]
	service := m[3]
	name := r.Header.Get("X-Amz-Target")
	name = name[strings.LastIndex(name, ".")+1:]
	if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
		q, err := url.ParseQuery(string(raw))
		if err != nil {
			f.t.Error(err)
		}
		c.Form = map[string]string{}
		for k := range q {
			c.Form[k] = q.Get(k)
		}
		name = q.Get("Action")
	} else if err := json.Unmarshal(raw, &c.JSON); err != nil {
		f.t.Errorf("%s: %v", name, err)
	}
	c.Operation = service + ":" + name
	f.request(service, name, r, c)
	f.mu.Lock()
	f.calls = append(f.calls, c)
	answer := f.answer[c.Operation]
	f.mu.Unlock()
	if answer == nil {
		f.t.Errorf("nobody answers %s", c.Operation)
		return nil, fmt.Errorf("nobody answers %s", c.Operation)
	}
	out := answer(c)
	if out.err != nil {
		return nil, out.err
	}
	return f.respond(service, name, c, out)
}

func (f *fake) respond(service, name string, c call, out reply) (*http.Response, error) {
	status, body, kind := out.status, "", "text/xml"
	switch {
	case c.JSON != nil:
		kind = "application/x-amz-json-1.1"
		v := out.body
		if out.code != "" {
			v = map[string]any{"__type": out.code, f.messageOf(service, out.code): out.message}
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		body = string(b)
		if out.code == "" {
			f.like(service, "response_snapshot/"+name+".response.snap", b)
		}
	case out.code != "":
		body = fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, out.code, out.message)
	case out.body != nil:
		body = out.body.(string)
	}
	if status == 0 {
		if status = http.StatusOK; out.code != "" {
			status = http.StatusBadRequest
		}
	}
	h := http.Header{}
	h.Set("Content-Type", kind)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1,
	}, nil
}

// messageOf is how the message of an exception is called: the one of AWS's own is in small letters, that of a service as the service wants it.
func (f *fake) messageOf(service, code string) string {
	dir := moduleDir(f.t, service)
	b, err := os.ReadFile(filepath.Join(dir, "response_snapshot", code+".error.snap"))
	if err == nil && strings.Contains(string(b), `"Message"`) {
		return "Message"
	}
	return "message"
}

var moduleDirs sync.Map

func moduleDir(t *testing.T, service string) string {
	module := "github.com/aws/aws-sdk-go-v2/service/" + service
	dir, ok := moduleDirs.Load(module)
	if !ok {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			t.Errorf("go list -m %s: %q, %v", module, out, err)
			return ""
		}
		dir = strings.TrimSpace(string(out))
		moduleDirs.Store(module, dir)
	}
	return dir.(string)
}

// snapshot reads what AWS publishes with its SDK; "": nothing of that name.
func snapshot(t *testing.T, service, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(moduleDir(t, service), file))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

var numbered = regexp.MustCompile(`\.\d+`)

// request holds a request against the sample of its operation.
func (f *fake) request(service, name string, r *http.Request, c call) {
	f.t.Helper()
	text := snapshot(f.t, service, "request_snapshot/"+name+".request.snap")
	first, rest, _ := strings.Cut(text, "\n")
	head, body, _ := strings.Cut(strings.TrimPrefix(rest, "\n"), "\n\n")
	if got := r.Method + " " + r.URL.Path; got != first {
		f.t.Errorf("%s: %q, and %q in the sample", c.Operation, got, first)
	}
	for line := range strings.SplitSeq(head, "\n") {
		if k, v, _ := strings.Cut(line, ": "); r.Header.Get(k) != v {
			f.t.Errorf("%s: %s is %q, and %q in the sample", c.Operation, k, r.Header.Get(k), v)
		}
	}
	if c.JSON != nil {
		var sample any
		if err := json.Unmarshal([]byte(body), &sample); err != nil {
			f.t.Errorf("%s: %v", c.Operation, err)
		}
		for _, bad := range like(c.Operation, c.JSON, sample) {
			f.t.Error(bad)
		}
		return
	}
	q, err := url.ParseQuery(body)
	if err != nil {
		f.t.Error(err)
	}
	known := map[string]bool{}
	for k := range q {
		known[numbered.ReplaceAllString(k, ".N")] = true
	}
	for k := range c.Form {
		if !known[numbered.ReplaceAllString(k, ".N")] {
			f.t.Errorf("%s: the sample has no %s", c.Operation, k)
		}
	}
	if c.Form["Version"] != q.Get("Version") {
		f.t.Errorf("%s: version %q, and %q in the sample", c.Operation, c.Form["Version"], q.Get("Version"))
	}
}

// like holds an answer against its sample.
func (f *fake) like(service, file string, body []byte) {
	f.t.Helper()
	text := snapshot(f.t, service, file)
	i := strings.Index(text, "\n\n")
	if i < 0 {
		f.t.Errorf("%s is no sample", file)
		return
	}
	var got, sample any
	for _, one := range []struct {
		text string
		to   *any
	}{{string(body), &got}, {text[i:], &sample}} {
		if err := json.Unmarshal([]byte(one.text), one.to); err != nil {
			f.t.Errorf("%s: %v", file, err)
		}
	}
	for _, bad := range like(file, got, sample) {
		f.t.Error(bad)
	}
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

// TestLike makes sure that the comparison finds what is wrong: one that accepts everything would make all other tests pass too.
func TestLike(t *testing.T) {
	var sample any
	if err := json.Unmarshal([]byte(`{"Events":[{"Username":"x","EventTime":1}],"NextToken":"x","Tags":{"key0":"x"}}`), &sample); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		`{"Events":[{"Username":"ann"}]}`:                    "",
		`{"Tags":{"any":"x"}}`:                               "",
		`{"Event":[]}`:                                       "has no Event",
		`{"Events":[{"Username":"ann"},{"UserName":"ann"}]}`: "has no UserName",
		`{"Events":[{"EventTime":"2026-11-01T00:00:00Z"}]}`:  "string, and float64",
		`{"NextToken":null}`:                                 "<nil>, and string",
		`{"Tags":{"any":{"x":"y"}}}`:                         "and string in the sample",
	} {
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(like("x", v, sample), "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

func whoami(call) reply {
	return reply{body: `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
		`<Arn>arn:aws:sts::111122223333:assumed-role/plumbline/daemon</Arn><UserId>AROAEXAMPLE:daemon</UserId><Account>111122223333</Account>` +
		`</GetCallerIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>`}
}
