package bitbucket_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/plumbline/plumbline/internal/forge/bitbucket"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// description is Atlassian's, once for requests and once for answers: testdata/README.md tells what is changed in it.
type description struct{ requests, answers routers.Router }

var described = sync.OnceValues(func() (description, error) {
	requests, err := describe(true)
	if err != nil {
		return description{}, err
	}
	answers, err := describe(false)
	return description{requests, answers}, err
})

func describe(requests bool) (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("testdata/bitbucket.json")
	if err != nil {
		return nil, err
	}
	schemas := doc.Components.Schemas
	boolean := openapi3.NewBoolSchema().NewRef()
	property(schemas["pullrequest"])["draft"] = boolean
	property(schemas["pullrequest_comment"])["pending"] = boolean
	schemas["error"].Value.Properties["error"].Value.Properties["fields"] = openapi3.NewObjectSchema().WithAnyAdditionalProperties().NewRef()
	if requests {
		schemas["object"].Value.Required = nil
	}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, status := range []int{400, 401, 403, 429} {
				reason := &openapi3.SchemaRef{Ref: "#/components/schemas/error", Value: schemas["error"].Value}
				refusal := openapi3.NewResponse().WithDescription("refused").WithJSONSchemaRef(reason)
				op.Responses.Set(strconv.Itoa(status), &openapi3.ResponseRef{Value: refusal})
			}
		}
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	doc.Servers = openapi3.Servers{{URL: "/2.0"}}
	return gorillamux.NewRouter(doc)
}

// property returns the properties of a schema that extends another.
func property(s *openapi3.SchemaRef) openapi3.Schemas { return s.Value.AllOf[1].Value.Properties }

// user is somebody on the forge. Tokens of repositories are users too, of a type of their own
// (https://developer.atlassian.com/cloud/bitbucket/announcement-introducing-app-user/).
type user struct{ kind, uuid, account, name string }

var (
	bot   = user{"app_user", "{b0700000-0000-4000-8000-000000000001}", "712020:b07", "plumbline"}
	robin = user{"user", "{20b10000-0000-4000-8000-000000000002}", "557058:20b1", "robin"} // Plumbline by an API token
	dev   = user{"user", "{dec00000-0000-4000-8000-000000000003}", "5a539884409b5e1fb4487632", "plumbline"}
)

type obj = map[string]any

func (u user) json() obj {
	o := obj{"type": u.kind, "uuid": u.uuid, "account_id": u.account, "display_name": u.name}
	if u.kind == "user" {
		o["nickname"] = u.name
	} else {
		o["kind"] = "repository_access_token"
	}
	return o
}

type note struct {
	id               int64
	by               user
	raw              string
	created, updated time.Time
	deleted, pending bool
	line             int   // of a file; 0: a general comment
	parent           int64 // 0: none
}

type pull struct {
	id                      int64
	title, text, state      string
	source, target          string
	fork                    string // UUID of the source's repository, if it is not ours
	head, merge             string
	draft                   bool
	updated                 time.Time
	by                      user
	notes                   []*note
	reviewers, participants []user // participants have approved
}

type status struct {
	key, name, state, url, text string
	by                          user
}

// fake is a repository on Bitbucket Cloud.
type fake struct {
	t     *testing.T
	desc  description
	url   string
	users map[string]user // by Authorization header

	mu       sync.Mutex
	branches map[string]string
	commits  map[string]bool // of this repository
	pulls    []*pull
	statuses map[string][]*status // by commit
	last     int64                // ID of a comment
	asked    []string             // requests, as method and path with query
	lose     string               // method of the next request whose answer does not arrive
}

const project = "acme/infra"

func newFake(t *testing.T) *fake {
	t.Helper()
	desc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		t: t, desc: desc, branches: map[string]string{}, commits: map[string]bool{}, statuses: map[string][]*status{}, last: 573568541,
		users: map[string]user{"Bearer " + token: bot, "Basic " + basic("robin@example.com", token): robin},
	}
	f.branches["main"] = f.commit()
	f.branches["env/production"] = f.commit()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

func (f *fake) client(t *testing.T, token, username string) *bitbucket.Client {
	t.Helper()
	c, err := bitbucket.New(bitbucket.Config{URL: f.url + "/2.0", Project: project, Token: plumbline.NewSecret(token), Username: username})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fake) commit() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	f.commits[hex.EncodeToString(b)] = true
	return hex.EncodeToString(b)
}

// ServeHTTP answers, and holds what it was asked and what it answers against the description.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
	input, err := f.request(r)
	if err != nil {
		f.t.Errorf("%s %s is not as described: %v", r.Method, r.URL.RequestURI(), err)
		http.Error(w, "not as described", http.StatusTeapot)
		return
	}
	rec := httptest.NewRecorder()
	f.answer(rec, r)
	if err := f.answered(input, r, rec); err != nil {
		f.t.Errorf("the answer %d to %s %s is not as described: %v\n%.2000s", rec.Code, r.Method, r.URL.RequestURI(), err, rec.Body)
	}
	if f.lose == r.Method {
		f.lose = ""
		panic(http.ErrAbortHandler)
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()) // the client may have gone
}

func (f *fake) request(r *http.Request) (*openapi3filter.RequestValidationInput, error) {
	route, params, err := f.desc.requests.FindRoute(r)
	if err != nil {
		return nil, err
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	return input, openapi3filter.ValidateRequest(r.Context(), input)
}

func (f *fake) answered(input *openapi3filter.RequestValidationInput, r *http.Request, rec *httptest.ResponseRecorder) error {
	route, params, err := f.desc.answers.FindRoute(r)
	if err != nil {
		return err
	}
	asked := *input
	asked.Route, asked.PathParams = route, params
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &asked, Status: rec.Code, Header: rec.Header(),
		Body:    io.NopCloser(bytes.NewReader(rec.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	})
}

// refusal is an answer that is no success.
type refusal struct {
	status  int
	message string
	field   string
}

func (e *refusal) Error() string { return e.message }

var (
	missing = &refusal{status: 404, message: "Resource not found"}
	denied  = &refusal{status: 401, message: "Token is invalid, expired, or not supported for this endpoint."}
)

func invalid(field, message string) error { return &refusal{400, field + ": " + message, field} }

var (
	onUser     = regexp.MustCompile(`^/user$`)
	onPulls    = regexp.MustCompile(`^/repositories/acme/infra/pullrequests$`)
	onPull     = regexp.MustCompile(`^/repositories/acme/infra/pullrequests/(\d+)$`)
	onComments = regexp.MustCompile(`^/repositories/acme/infra/pullrequests/(\d+)/comments$`)
	onComment  = regexp.MustCompile(`^/repositories/acme/infra/pullrequests/(\d+)/comments/(\d+)$`)
	onCommits  = regexp.MustCompile(`^/repositories/acme/infra/pullrequests/(\d+)/commits$`)
	onCommit   = regexp.MustCompile(`^/repositories/acme/infra/commit/([0-9a-f]+)$`)
	onStatuses = regexp.MustCompile(`^/repositories/acme/infra/commit/([0-9a-f]+)/statuses/build$`)
)

func (f *fake) answer(w http.ResponseWriter, r *http.Request) {
	code, v, err := f.decide(r)
	var refused *refusal
	if errors.As(err, &refused) {
		inner := obj{"message": refused.message}
		if refused.field != "" {
			inner["fields"] = obj{refused.field: []string{refused.message}}
		}
		code, v = refused.status, obj{"type": "error", "error": inner}
	} else if err != nil {
		f.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		code, v = 500, obj{"type": "error", "error": obj{"message": "internal"}}
	}
	if v == nil {
		w.WriteHeader(code)
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		b, err = fields(b, r.URL.Query().Get("fields"))
	}
	if err != nil {
		f.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b) // into memory
}

func (f *fake) decide(r *http.Request) (int, any, error) {
	me, ok := f.users[r.Header.Get("Authorization")]
	if !ok {
		return 0, nil, denied
	}
	path := strings.TrimPrefix(r.URL.Path, "/2.0")
	match := func(method string, re *regexp.Regexp) []string {
		if r.Method != method {
			return nil
		}
		return re.FindStringSubmatch(path)
	}
	if match("GET", onUser) != nil {
		if me.kind != "user" {
			return 0, nil, denied // BCLOUD-23528
		}
		return 200, me.json(), nil
	}
	if match("GET", onPulls) != nil {
		return f.list(r)
	}
	if match("POST", onPulls) != nil {
		return f.create(me, r)
	}
	if m := match("GET", onCommit); m != nil {
		c := f.find(m[1])
		if c == "" {
			return 0, nil, missing
		}
		return 200, obj{"type": "commit", "hash": c, "message": "change", "date": stamp(time.Now())}, nil
	}
	if m := match("POST", onStatuses); m != nil {
		return f.build(m[1], me, r)
	}
	for _, on := range []*regexp.Regexp{onPull, onComments, onComment, onCommits} {
		m := on.FindStringSubmatch(path)
		if m == nil {
			continue
		}
		p := f.pull(m[1])
		if p == nil {
			return 0, nil, missing
		}
		switch {
		case on == onPull && r.Method == "GET":
			return 200, f.json(p, true), nil
		case on == onPull:
			return f.mutate(p, r)
		case on == onCommits:
			if p.head == "" {
				return 0, nil, missing
			}
			return 200, obj{"pagelen": 50, "values": []any{obj{"type": "commit", "hash": p.head}, obj{"type": "commit", "hash": f.branches["main"]}}}, nil
		case on == onComments && r.Method == "GET":
			var all []any
			for _, n := range p.notes {
				all = append(all, f.note(p, n))
			}
			return f.page(r, all, 100)
		case on == onComments:
			return f.comment(p, me, r)
		default:
			return f.change(p, m[2], me, r)
		}
	}
	return 0, nil, fmt.Errorf("no such operation")
}

// page cuts a listing into pages. Pull requests have at most 50 on one.
func (f *fake) page(r *http.Request, all []any, most int) (int, any, error) {
	q := r.URL.Query()
	size, err := strconv.Atoi(cmp.Or(q.Get("pagelen"), "10"))
	if err != nil || size < 1 || size > most {
		return 0, nil, &refusal{status: 400, message: "Invalid pagelen"}
	}
	n, err := strconv.Atoi(cmp.Or(q.Get("page"), "1"))
	if err != nil || n < 1 {
		return 0, nil, &refusal{status: 400, message: "Invalid page"}
	}
	from, to := min((n-1)*size, len(all)), min(n*size, len(all))
	out := obj{"page": n, "pagelen": size, "size": len(all), "values": append([]any{}, all[from:to]...)}
	if to < len(all) {
		q.Set("page", strconv.Itoa(n+1))
		out["next"] = f.url + r.URL.Path + "?" + q.Encode()
	}
	return 200, out, nil
}

// list is in the order of the last update. Participants are left out unless they are asked for.
func (f *fake) list(r *http.Request) (int, any, error) {
	var all []any
	for _, p := range slices.Backward(f.pulls) {
		if p.state == cmp.Or(r.URL.Query().Get("state"), "OPEN") {
			all = append(all, f.json(p, strings.Contains(r.URL.Query().Get("fields"), "+values.participants")))
		}
	}
	return f.page(r, all, 50)
}

// json is a pull request. Hashes are shortened (the API's pull requests have twelve digits).
func (f *fake) json(p *pull, participants bool) obj {
	short := func(hash string) any {
		if hash == "" {
			return nil
		}
		return obj{"hash": hash[:12]}
	}
	repo := obj{"type": "repository", "uuid": "{4e900000-0000-4000-8000-000000000000}", "full_name": project, "name": "infra"}
	from := obj{"branch": obj{"name": p.source}, "repository": repo}
	if p.head != "" {
		from["commit"] = short(p.head)
	}
	if p.fork != "" {
		from["repository"] = obj{"type": "repository", "uuid": p.fork, "full_name": "else/infra", "name": "infra"}
	}
	count := 0
	for _, n := range p.notes {
		if !n.deleted {
			count++
		}
	}
	o := obj{
		"type": "pullrequest", "id": p.id, "title": p.title, "description": p.text, "state": p.state, "draft": p.draft, "author": p.by.json(),
		"source": from, "destination": obj{"branch": obj{"name": p.target}, "commit": short(f.branches[p.target]), "repository": repo},
		"comment_count": count, "created_on": stamp(p.updated), "updated_on": stamp(p.updated), "close_source_branch": false,
		"summary": obj{"raw": p.text, "markup": "markdown", "html": "<p>" + p.text + "</p>"},
		"links":   obj{"html": obj{"href": fmt.Sprintf("https://bitbucket.org/%s/pull-requests/%d", project, p.id)}},
	}
	if p.merge != "" {
		o["merge_commit"] = short(p.merge)
	}
	if participants {
		approved, reviewers := []any{}, []any{}
		for _, u := range p.participants {
			approved = append(approved, obj{"type": "participant", "user": u.json(), "role": "REVIEWER", "approved": true, "state": "approved"})
		}
		for _, u := range p.reviewers {
			reviewers = append(reviewers, u.json())
		}
		o["participants"], o["reviewers"] = approved, reviewers
	}
	return o
}

// note is a comment. A deleted one stays, without its text; the two times of a new one are a tenth of a millisecond apart.
func (f *fake) note(p *pull, n *note) obj {
	o := obj{
		"type": "pullrequest_comment", "id": n.id, "created_on": stamp(n.created), "updated_on": stamp(n.updated.Add(83 * time.Microsecond)),
		"content": obj{"raw": n.raw, "markup": "markdown", "html": "<p>" + n.raw + "</p>"},
		"user":    n.by.json(), "deleted": n.deleted, "pending": n.pending,
		"links": obj{"html": obj{"href": fmt.Sprintf("https://bitbucket.org/%s/pull-requests/%d/_/diff#comment-%d", project, p.id, n.id)}},
	}
	if n.line > 0 {
		o["inline"] = obj{"path": "main.tf", "to": n.line}
	}
	if n.parent > 0 {
		o["parent"] = obj{"type": "pullrequest_comment", "id": n.parent}
	}
	return o
}

func (f *fake) pull(id string) *pull {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 1 || n > int64(len(f.pulls)) {
		return nil
	}
	return f.pulls[n-1]
}

// find returns the whole name of a commit.
func (f *fake) find(short string) string {
	for c := range f.commits {
		if strings.HasPrefix(c, short) {
			return c
		}
	}
	return ""
}

// decode reads a request, in which there is nothing that is not known: recorded refusals say "extra keys not allowed".
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return invalid("body", "extra keys not allowed: "+err.Error())
	}
	return nil
}

type branch struct{ Branch struct{ Name string } }

func (f *fake) create(me user, r *http.Request) (int, any, error) {
	var in struct {
		Title, Description  string
		Source, Destination branch
		Draft               bool
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	switch from, to := in.Source.Branch.Name, in.Destination.Branch.Name; {
	case in.Title == "" || utf8.RuneCountInString(in.Title) > 255:
		return 0, nil, invalid("title", "required")
	case f.branches[from] == "":
		return 0, nil, invalid("source", "branch not found: "+from)
	case f.branches[to] == "":
		return 0, nil, invalid("destination", "branch not found: "+to)
	default:
		p := f.open(me, from, to, in.Title)
		p.text, p.draft, p.reviewers = in.Description, in.Draft, []user{dev} // a default reviewer
		return 201, f.json(p, true), nil
	}
}

func (f *fake) open(by user, from, to, title string) *pull {
	p := &pull{id: int64(len(f.pulls)) + 1, title: title, state: "OPEN", source: from, target: to, head: f.branches[from], by: by, updated: time.Now()}
	f.pulls = append(f.pulls, p)
	return p
}

// mutate takes off reviewers that are not named.
func (f *fake) mutate(p *pull, r *http.Request) (int, any, error) {
	var in struct {
		Title, Description string
		Reviewers          []struct{ UUID string }
	}
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	if p.state != "OPEN" || in.Title == "" {
		return 0, nil, invalid("title", "required of an open pull request")
	}
	p.title, p.text, p.updated = in.Title, in.Description, time.Now()
	p.reviewers = slices.DeleteFunc(p.reviewers, func(u user) bool {
		return !slices.ContainsFunc(in.Reviewers, func(r struct{ UUID string }) bool { return r.UUID == u.uuid })
	})
	return 200, f.json(p, true), nil
}

type writing struct{ Content struct{ Raw string } }

func (w writing) check() error {
	if n := utf8.RuneCountInString(w.Content.Raw); strings.TrimSpace(w.Content.Raw) == "" || n >= 32768 {
		return invalid("content", "a non-empty value less than 32768 characters")
	}
	return nil
}

func (f *fake) comment(p *pull, me user, r *http.Request) (int, any, error) {
	var in writing
	if err := cmp.Or(decode(r, &in), in.check()); err != nil {
		return 0, nil, err
	}
	return 201, f.note(p, f.write(p, note{by: me, raw: in.Content.Raw})), nil
}

func (f *fake) write(p *pull, n note) *note {
	f.last += 22
	n.id, n.created = f.last, time.Now()
	n.updated, p.updated = n.created, n.created
	p.notes = append(p.notes, &n)
	return &n
}

// change edits or deletes a comment. Only its author may edit it; an administrator's token may delete everybody's.
func (f *fake) change(p *pull, id string, me user, r *http.Request) (int, any, error) {
	i := slices.IndexFunc(p.notes, func(n *note) bool { return strconv.FormatInt(n.id, 10) == id && !n.deleted })
	if i < 0 {
		return 0, nil, missing
	}
	n := p.notes[i]
	if r.Method == "DELETE" {
		n.deleted, n.raw = true, ""
		return 204, nil, nil
	}
	if n.by != me {
		return 0, nil, &refusal{status: 403, message: "You do not have access to edit this comment."}
	}
	var in writing
	if err := cmp.Or(decode(r, &in), in.check()); err != nil {
		return 0, nil, err
	}
	n.raw, n.updated = in.Content.Raw, time.Now()
	return 200, f.note(p, n), nil
}

// build keeps one status of each key. Only its author overwrites one
// (https://developer.atlassian.com/cloud/bitbucket/bitbucket-api-changes-commit-status/).
func (f *fake) build(commit string, me user, r *http.Request) (int, any, error) {
	var in struct{ Key, Name, State, URL, Description string }
	if err := decode(r, &in); err != nil {
		return 0, nil, err
	}
	commit = f.find(commit)
	u, err := url.Parse(in.URL)
	switch n := utf8.RuneCountInString(in.Key); {
	case commit == "":
		return 0, nil, missing
	case n == 0 || n > 40:
		return 0, nil, invalid("key", fmt.Sprintf("Ensure this value has at most 40 characters (it has %d).", n))
	case utf8.RuneCountInString(in.Name) >= 255:
		return 0, nil, invalid("name", "Ensure this value has at most 254 characters.")
	case err != nil || !strings.Contains(u.Hostname(), ".") || strings.ContainsAny(in.URL, "{}"):
		return 0, nil, invalid("url", "Enter a valid URL.")
	}
	i := slices.IndexFunc(f.statuses[commit], func(s *status) bool { return s.key == in.Key })
	if i < 0 {
		i = len(f.statuses[commit])
		f.statuses[commit] = append(f.statuses[commit], &status{by: me})
	}
	if f.statuses[commit][i].by != me {
		return 0, nil, &refusal{status: 403, message: "You are not the author of this status."}
	}
	f.statuses[commit][i] = &status{in.Key, in.Name, in.State, in.URL, in.Description, me}
	return 201, obj{
		"type": "build", "key": in.Key, "name": in.Name, "state": in.State, "url": in.URL, "description": in.Description, "created_on": stamp(time.Now()),
	}, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000+00:00") }

// fields answers in part (https://developer.atlassian.com/cloud/bitbucket/rest/intro/#partial-response): "-a.b" leaves out, "a.b" keeps
// nothing else. What "+" adds is there already.
func fields(answer []byte, spec string) ([]byte, error) {
	if spec == "" {
		return answer, nil
	}
	var v any
	if err := json.Unmarshal(answer, &v); err != nil {
		return nil, err
	}
	var keep [][]string
	for f := range strings.SplitSeq(spec, ",") {
		switch path := strings.Split(strings.TrimLeft(f, "+-"), "."); f[0] {
		case '-':
			without(v, path)
		case '+':
		default:
			keep = append(keep, path)
		}
	}
	if o, ok := v.(obj); len(keep) > 0 && ok && o["type"] != "error" {
		v = only(v, keep)
	}
	return json.Marshal(v)
}

func without(v any, path []string) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			without(one, path)
		}
	case obj:
		if len(path) == 1 {
			delete(v, path[0])
		} else {
			without(v[path[0]], path[1:])
		}
	}
}

func only(v any, keep [][]string) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, one := range v {
			out = append(out, only(one, keep))
		}
		return out
	case obj:
		out := obj{}
		for k, inner := range v {
			var below [][]string
			for _, path := range keep {
				if path[0] == k && len(path) == 1 {
					out[k] = inner
				} else if path[0] == k {
					below = append(below, path[1:])
				}
			}
			if len(below) > 0 {
				out[k] = only(inner, below)
			}
		}
		return out
	}
	return v
}
