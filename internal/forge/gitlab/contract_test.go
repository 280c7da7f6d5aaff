package gitlab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	api "gitlab.com/gitlab-org/api/client-go/v2"
)

// contract is what somebody else says about an endpoint's answers.
type contract struct {
	schema   string     // one of GitLab's; "": there is none
	items    bool       // the schema is of a list
	recorded []string   // payloads of GitLab's client library: a file of its testdata, or test file and test
	into     func() any // its type for one of the things answered
	newer    []string   // keys that schema and recordings are too old for; the type has them
	older    []string   // keys that the type does not have any more
	reads    []string   // keys that the adapter reads
}

// Types without their own decoding, which would not be strict.
type (
	plainMergeRequest api.MergeRequest
	plainIssue        api.Issue
)

func into[T any]() any { return new(T) }

var contracts = func() map[string]contract {
	mr := contract{
		schema: "merge_request.json", recorded: []string{"get_merge_requests.json", "get_merge_request.json", "commits_test.go TestCommitsService_ListMergeRequestsByCommit"},
		into: into[plainMergeRequest], older: []string{"merge_status"},
		reads: []string{
			"iid", "title", "state", "web_url", "source_branch", "target_branch", "source_project_id", "target_project_id", "sha", "draft", "labels", "author",
			"updated_at", "user_notes_count", "has_conflicts", "detailed_merge_status", "merge_commit_sha", "squash_commit_sha", "description",
		},
	}
	note := contract{
		schema: "notes.json", items: true, recorded: []string{"notes_test.go TestNotes_ListIssueNotes", "notes_test.go TestNotes_ListMergeRequestNotes"},
		into: into[api.Note], reads: []string{"id", "body", "author", "system", "created_at", "updated_at"},
	}
	award := contract{
		recorded: []string{"award_emojis_test.go TestAwardEmojiService_ListMergeRequestAwardEmojiOnNote"}, into: into[api.AwardEmoji],
		newer: []string{"created_at", "updated_at"}, reads: []string{"id", "name", "user"},
	}
	status := contract{
		schema: "commit_status.json", into: into[api.CommitStatus], older: []string{"author.avatar_url", "author.web_url"},
		reads: []string{"id", "name", "status", "description", "target_url", "pipeline_id", "author"},
	}
	issue := contract{
		schema: "issue.json", recorded: []string{"issues_test.go TestCreateIssue"}, into: into[plainIssue],
		reads: []string{"iid", "title", "description", "state", "author", "web_url", "labels", "discussion_locked"},
	}
	deployment := contract{
		schema: "deployment.json", recorded: []string{"deployments_test.go TestDeploymentsService_ListProjectDeployments"}, into: into[api.Deployment],
		reads: []string{"id", "sha", "status", "user", "environment", "deployable"},
	}
	return map[string]contract{
		"GET /api/v4/user":          {recorded: []string{"get_user.json"}, into: into[api.User], reads: []string{"id"}},
		"GET ":                      {into: into[api.Project], newer: []string{"id", "path", "path_with_namespace", "http_url_to_repo"}},
		"GET /merge_requests":       mr,
		"POST /merge_requests":      mr,
		"GET /merge_requests/{iid}": mr,
		"PUT /merge_requests/{iid}": mr,
		"GET /repository/commits/{sha}/merge_requests":        mr,
		"GET /merge_requests/{iid}/approvals":                 {recorded: []string{"get_merge_request_approvals.json"}, into: into[api.MergeRequestApprovals], newer: []string{"approved_by.user.avatar_url", "approved_by.user.state", "approved_by.user.web_url"}, reads: []string{"approved_by"}},
		"GET /merge_requests/{iid}/notes":                     note,
		"POST /merge_requests/{iid}/notes":                    note,
		"PUT /merge_requests/{iid}/notes/{note}":              note,
		"GET /merge_requests/{iid}/notes/{note}/award_emoji":  award,
		"POST /merge_requests/{iid}/notes/{note}/award_emoji": award,
		"GET /events":                            {recorded: []string{"events_test.go TestEventsService_ListProjectVisibleEvents"}, into: into[api.ProjectEvent], newer: []string{"created_at"}, reads: []string{"push_data", "author_username"}},
		"GET /repository/commits/{sha}":          {schema: "commit/basic.json", recorded: []string{"get_commit.json"}, into: into[api.Commit], reads: []string{"last_pipeline"}},
		"GET /repository/commits/{sha}/statuses": status,
		"POST /statuses/{sha}":                   status,
		"GET /issues":                            issue,
		"POST /issues":                           issue,
		"PUT /issues/{iid}":                      issue,
		"GET /deployments":                       deployment,
		"POST /deployments":                      deployment,
		"PUT /deployments/{id}":                  deployment,
	}
}()

// module is where GitLab's client library is, with its tests.
var module = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gitlab.com/gitlab-org/api/client-go/v2").Output()
	return strings.TrimSpace(string(out)), err
})

var (
	recordings sync.Map // source to []any
	schemas    sync.Map // file to *jsonschema.Schema
)

// recording returns the payloads that a source has.
func recording(source string) ([]any, error) {
	if have, ok := recordings.Load(source); ok {
		return have.([]any), nil
	}
	dir, err := module()
	if err != nil {
		return nil, fmt.Errorf("where is the client library: %w", err)
	}
	texts := []string{}
	if file, test, ok := strings.Cut(source, " "); ok {
		texts, err = literals(filepath.Join(dir, file), test)
	} else {
		var b []byte
		b, err = os.ReadFile(filepath.Join(dir, "testdata", source))
		texts = append(texts, string(b))
	}
	if err != nil {
		return nil, err
	}
	var out []any
	for _, text := range texts {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err == nil {
			out = append(out, things(v)...)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no payload", source)
	}
	recordings.Store(source, out)
	return out, nil
}

// literals returns the strings in a test.
func literals(file, test string) ([]string, error) {
	f, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == test {
			ast.Inspect(fn, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == gotoken.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						out = append(out, s)
					}
				}
				return true
			})
		}
	}
	return out, nil
}

// things returns the objects of an answer: one, or those of a list.
func things(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case map[string]any:
		return []any{v}
	}
	return nil
}

func compiled(file string) (*jsonschema.Schema, error) {
	if have, ok := schemas.Load(file); ok {
		return have.(*jsonschema.Schema), nil
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("testdata/schemas/" + file)
	if err == nil {
		schemas.Store(file, s)
	}
	return s, err
}

// properties are the keys that a schema names, with what it says of them.
func properties(file string) (map[string]any, error) {
	b, err := os.ReadFile("testdata/schemas/" + file)
	if err != nil {
		return nil, err
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	return below(s), nil
}

// below are the keys of what a schema allows, or of what it allows in a list.
func below(schema any) map[string]any {
	s, _ := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		p, _ := properties(ref) // those that refer to another are beside it
		return p
	}
	if items := s["items"]; items != nil {
		return below(items)
	}
	p, _ := s["properties"].(map[string]any)
	return p
}

// conform holds an answer of the fake against what somebody else says about it.
func conform(t *testing.T, route string, status int, body []byte) {
	if status == 429 || status == 204 {
		return // text, or nothing
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s: %d: %v", route, status, err)
		return
	}
	switch {
	case status/100 != 2:
		conformError(t, route, status, v)
	case route != "POST /api/graphql": // for which there is nothing recorded
		c, ok := contracts[route]
		if !ok {
			t.Errorf("%s: nobody says how its answer looks", route)
			return
		}
		if err := c.check(v); err != nil {
			t.Errorf("%s: %v", route, err)
		}
	}
}

// conformError allows what https://docs.gitlab.com/api/rest/troubleshooting/ shows.
func conformError(t *testing.T, route string, status int, v any) {
	m, _ := v.(map[string]any)
	text, isText := m["message"].(string)
	_, isFields := m["message"].(map[string]any)
	_, isList := m["message"].([]any)
	_, isError := m["error"].(string)
	known := status == 400 || status == 401 || status == 403 || status == 404 || status == 409 || status >= 500
	if len(m) != 1 || !known || (!isFields && !isList && !isError && !isText) || (isText && status != 400 && !strings.HasPrefix(text, strconv.Itoa(status))) {
		t.Errorf("%s: a refusal of %d says %v", route, status, v)
	}
}

func (c contract) check(v any) error {
	var samples []any
	for _, source := range c.recorded {
		some, err := recording(source)
		if err != nil {
			return err
		}
		samples = append(samples, some...)
	}
	var inSchema map[string]any
	if c.schema != "" {
		s, err := compiled(c.schema)
		if err != nil {
			return err
		}
		if inSchema, err = properties(c.schema); err != nil {
			return err
		}
		instances := things(v)
		if c.items {
			instances = []any{instances}
		}
		for _, one := range instances {
			if err := s.Validate(one); err != nil {
				return err
			}
		}
	}
	for _, one := range things(v) {
		for key, value := range one.(map[string]any) {
			if slices.Contains(c.newer, key) {
				continue
			}
			if err := c.like(key, value, values(samples, key), inSchema[key]); err != nil {
				return err
			}
		}
		if err := c.decodes(one); err != nil {
			return err
		}
	}
	return nil
}

// values are what the recordings have for a key.
func values(samples []any, key string) (out []any) {
	for _, s := range samples {
		if m, ok := s.(map[string]any); ok {
			if v, ok := m[key]; ok {
				out = append(out, v)
			}
		}
	}
	return out
}

// like tells whether a value is of a type that was recorded. What only a schema knows was validated by it.
func (c contract) like(path string, v any, samples []any, schema any) error {
	if len(samples) == 0 && schema == nil {
		return fmt.Errorf("%s is in no recording and in no schema", path)
	}
	fits := len(samples) == 0 || v == nil
	for _, s := range samples {
		fits = fits || s == nil || fmt.Sprintf("%T", s) == fmt.Sprintf("%T", v)
	}
	if !fits {
		return fmt.Errorf("%s is %T, where %T was recorded", path, v, samples[0])
	}
	objects, inRecording := []any{}, []any{}
	for _, s := range samples {
		inRecording = append(inRecording, things(s)...)
	}
	objects = append(objects, things(v)...)
	for _, o := range objects {
		m, ok := o.(map[string]any)
		for key, value := range m {
			sub := path + "." + key
			if ok && !slices.Contains(c.newer, sub) {
				if err := c.like(sub, value, values(inRecording, key), below(schema)[key]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// decodes refuses keys that the library's type does not have, but for those that it had.
func (c contract) decodes(one any) error {
	b, err := json.Marshal(one)
	if err != nil {
		return err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for _, key := range c.older {
		in, of, nested := strings.Cut(key, ".")
		if sub, ok := m[in].(map[string]any); nested && ok {
			delete(sub, of)
		} else if !nested {
			delete(m, key)
		}
	}
	if b, err = json.Marshal(m); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(c.into())
}

// TestReads: all that the adapter reads is in a recording or in one of GitLab's schemas.
func TestReads(t *testing.T) {
	for route, c := range contracts {
		var samples []any
		for _, source := range c.recorded {
			some, err := recording(source)
			if err != nil {
				t.Fatal(err)
			}
			samples = append(samples, some...)
		}
		var inSchema map[string]any
		if c.schema != "" {
			var err error
			if inSchema, err = properties(c.schema); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range c.reads {
			if len(values(samples, key)) == 0 && inSchema[key] == nil {
				t.Errorf("%s: nobody shows the key %s", route, key)
			}
		}
	}
}

// TestConform: the check finds what it is there for.
func TestConform(t *testing.T) {
	f := newFake(t)
	f.mu.Lock()
	mr := f.open("main", "env/production", "x", "", nil, dev)
	good := f.showMR(mr, false)
	f.mu.Unlock()
	for name, spoil := range map[string]func(map[string]any){
		"":                    func(map[string]any) {},
		"a key of our own":    func(m map[string]any) { m["colour"] = "red" },
		"a number for a text": func(m map[string]any) { m["title"] = 1 },
		"a text for a number": func(m map[string]any) { m["iid"] = "1" },
		"no key":              func(m map[string]any) { delete(m, "sha") },
		"no time":             func(m map[string]any) { m["updated_at"] = "yesterday" },
		"a strange author":    func(m map[string]any) { m["author"].(map[string]any)["age"] = 7 },
	} {
		b, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		spoil(m)
		if err := contracts["GET /merge_requests"].check([]any{any(m)}); (err != nil) != (name != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
