package github_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// description is GitHub's own of its API, as far as the adapter uses it.
type description struct {
	doc    *openapi3.T
	router routers.Router
}

var described = sync.OnceValues(func() (*description, error) {
	raw, err := os.ReadFile("testdata/api.github.com.trimmed.json")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // the fake is elsewhere
	router, err := gorillamux.NewRouter(doc)
	return &description{doc, router}, err
})

func describe(t testing.TB) *description {
	t.Helper()
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// example returns an example of GitHub's, to be filled in.
func example(t testing.TB, name string) object {
	t.Helper()
	b, ok := examples.Load(name)
	if !ok {
		ref := describe(t).doc.Components.Examples[name]
		if ref == nil {
			t.Fatalf("no example %s", name)
		}
		value := ref.Value.Value
		if list, ok := value.([]any); ok {
			value = list[0]
		}
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		examples.Store(name, raw)
		b = raw
	}
	var out object
	if err := json.Unmarshal(b.([]byte), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

var examples sync.Map // by name

// TestExamples shows that the description is consistent where the fake relies on it, and that the check is one.
func TestExamples(t *testing.T) {
	d := describe(t)
	schema := func(name string) *openapi3.Schema { return d.doc.Components.Schemas[name].Value }
	for name, s := range map[string]string{
		"pull-request": "pull-request", "pull-request-simple-items": "pull-request-simple", "issue-comment": "issue-comment", "issue": "issue",
		"reaction": "reaction", "status": "status", "check-run": "check-run", "installation": "installation", "installation-token": "installation-token",
	} {
		value := map[string]any(example(t, name))
		if err := schema(s).VisitJSON(value, openapi3.EnableFormatValidation()); err != nil {
			t.Logf("GitHub's own example %s is not as its description says: %.200s", name, err)
		}
	}
	broken := example(t, "issue-comment")
	broken["user"] = "octocat"
	if schema("issue-comment").VisitJSON(map[string]any(broken)) == nil {
		t.Error("a comment whose user is a string passes")
	}
}

// everywhere are the refusals that GitHub documents for the API as a whole, not for each operation: authentication, permissions, what is
// not shown, limits (https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api).
var everywhere = []int{401, 403, 404, 429}

// short leaves the pages of schema out of an error.
func short(err error) string {
	text, _, _ := strings.Cut(err.Error(), "Schema:")
	return fmt.Sprintf("%.500s", strings.TrimSpace(text))
}

// checked answers with what h does, and fails the test where a request or its answer is not as described.
func (d *description) checked(t testing.TB, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		input, err := d.request(r, body)
		if err != nil {
			t.Errorf("request %s %s %.300s: %s", r.Method, r.URL, body, short(err))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if input != nil {
			if err := d.answer(r, input, rec); err != nil {
				t.Errorf("answer %d to %s %s: %s", rec.Code, r.Method, r.URL, short(err))
			}
		}
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		if _, err := w.Write(rec.Body.Bytes()); err != nil {
			return // the client has gone
		}
	})
}

var options = &openapi3filter.Options{
	AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true,
}

func (d *description) request(r *http.Request, body []byte) (*openapi3filter.RequestValidationInput, error) {
	route, params, err := d.router.FindRoute(r)
	if err != nil {
		return nil, err
	}
	input := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	if err := openapi3filter.ValidateRequest(r.Context(), input); err != nil {
		return input, err
	}
	for name := range r.URL.Query() {
		if route.Operation.Parameters.GetByInAndName("query", name) == nil {
			return input, fmt.Errorf("parameter %s is not in the description", name)
		}
	}
	return input, known(route, body)
}

// known refuses keys of a body that the description does not have, which GitHub would ignore.
func known(route *routers.Route, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	if route.Operation.RequestBody == nil {
		return fmt.Errorf("a body where none is described")
	}
	var sent map[string]any
	if err := json.Unmarshal(body, &sent); err != nil {
		return err
	}
	schema := route.Operation.RequestBody.Value.Content["application/json"].Schema.Value
	names := openapi3.Schemas{}
	maps.Copy(names, schema.Properties)
	for _, variants := range []openapi3.SchemaRefs{schema.OneOf, schema.AnyOf} {
		for _, v := range variants {
			maps.Copy(names, v.Value.Properties)
		}
	}
	for name := range sent {
		if names[name] == nil {
			return fmt.Errorf("key %s is not in the description", name)
		}
	}
	return nil
}

func (d *description) answer(r *http.Request, input *openapi3filter.RequestValidationInput, rec *httptest.ResponseRecorder) error {
	if rec.Code == http.StatusNotModified { // documented for the API as a whole as well; it says nothing
		return nil
	}
	if input.Route.Operation.Responses.Status(rec.Code) == nil && slices.Contains(everywhere, rec.Code) {
		var v map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
			return err
		}
		return d.doc.Components.Schemas["basic-error"].Value.VisitJSON(v)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: rec.Code, Header: rec.Header(), Body: io.NopCloser(bytes.NewReader(rec.Body.Bytes())), Options: options,
	}
	return openapi3filter.ValidateResponse(r.Context(), out)
}
