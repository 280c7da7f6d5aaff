package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares what was made with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and look at the difference. Got:\n%s", file, got)
	}
}

var version = regexp.MustCompile(`\?v=[0-9a-f]+`)

func TestPages(t *testing.T) {
	h := preview.Handler()
	for _, p := range preview.Pages {
		t.Run(p.Name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+p.Path, nil))
			want := http.StatusOK
			if p.Name == "not-found" {
				want = http.StatusNotFound
			}
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
			golden(t, p.Name+".html", version.ReplaceAll(w.Body.Bytes(), nil))
		})
	}
}

// client talks to a server as a program with the token, unless a test changes its header.
type client struct {
	t      *testing.T
	h      http.Handler
	header http.Header
}

func newClient(t *testing.T) (*client, *web.Server, *preview.Store) {
	t.Helper()
	s, store := preview.NewServer()
	return &client{t, s.Handler(), http.Header{"Authorization": {"Bearer " + preview.Token}}}, s, store
}

func (c *client) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	for k, v := range c.header {
		r.Header[k] = v
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	return w
}

func TestAPI(t *testing.T) {
	c, _, _ := newClient(t)
	for _, tt := range []struct{ name, path string }{
		{"runs", "/api/v1/runs?environment=production&kind=deploy&state=awaiting,applying"},
		{"run", "/api/v1/runs/9815"},
		{"run-failed", "/api/v1/runs/9818"},
		{"plan", "/api/v1/runs/9814/plan"},
		{"environments", "/api/v1/environments"},
		{"environment", "/api/v1/environments/infra/production"},
		{"requests", "/api/v1/environments/edge/live/requests"},
		{"history", "/api/v1/environments/infra/production/history"},
		{"drift", "/api/v1/drift?environment=production"},
		{"merge-requests", "/api/v1/merge-requests?repository=infra&state=all"},
		{"why-run", "/api/v1/why?run=9816"},
		{"why-stack", "/api/v1/why?stack=app"},
		{"debug", "/api/v1/debug"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := c.do("GET", tt.path, "")
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("status %d, %s", w.Code, w.Header().Get("Content-Type"))
			}
			golden(t, "api-"+tt.name+".json", w.Body.Bytes())
		})
	}
}

// TestRefusals pins what programs and people are told when something cannot be done.
func TestRefusals(t *testing.T) {
	c, _, _ := newClient(t)
	var b bytes.Buffer
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/api/v1/runs/1", ""},
		{"GET", "/api/v1/runs/net", ""},
		{"GET", "/api/v1/runs?envronment=x", ""},
		{"GET", "/api/v1/runs?state=waiting", ""},
		{"GET", "/api/v1/runs?limit=0", ""},
		{"GET", "/api/v1/runs/9816/plan", ""},
		{"GET", "/api/v1/runs/9820/plan", ""},
		{"GET", "/api/v1/environments/infra/prod", ""},
		{"GET", "/api/v1/merge-requests?repository=x", ""},
		{"GET", "/api/v1/merge-requests?state=x", ""},
		{"GET", "/api/v1/why", ""},
		{"GET", "/api/v1/why?stack=nat", ""},
		{"GET", "/api/v1/why?stack=live/broken", ""},
		{"GET", "/api/v1/nothing", ""},
		{"POST", "/api/v1/runs/9815/approve", `{"digest":"b4"}`},
		{"POST", "/api/v1/runs/9815/approve", `{"digest":"77aa01"}`},
		{"POST", "/api/v1/runs/9811/approve", `{"digest":"77aa01"}`},
		{"POST", "/api/v1/runs/9815/approve", `{"digest":`},
		{"POST", "/api/v1/runs/9815/approve", `{"digest":"b41f9c"} {}`},
		{"POST", "/api/v1/runs/9815/approve", `{"digets":"b41f9c"}`},
		{"POST", "/api/v1/runs/9815/reject", `{}`},
		{"POST", "/api/v1/runs/9811/retry", ""},
		{"POST", "/api/v1/runs/9811/cancel", ""},
		{"POST", "/api/v1/environments/infra/production/deploy", `{"stacks":["live/nett"]}`},
		{"POST", "/api/v1/environments/edge/sandbox/drift-check", ``},
		{"POST", "/api/v1/environments/infra/production/deploy", `{"stacks":["` + strings.Repeat("x", 1<<20) + `"]}`},
	} {
		w := c.do(tt.method, tt.path, tt.body)
		fmt.Fprintf(&b, "%s %s %.40s\n%d ", tt.method, tt.path, tt.body, w.Code)
		if err := json.Compact(&b, w.Body.Bytes()); err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.path, err)
		}
		b.WriteString("\n\n")
	}
	golden(t, "refusals.txt", b.Bytes())
}

func TestDecisions(t *testing.T) {
	ctx := context.Background()
	c, _, store := newClient(t)
	state := func(id plumbline.RunID) plumbline.State {
		r, err := store.Run(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return r.State
	}

	if w := c.do("POST", "/api/v1/runs/9815/approve", `{"digest":"B41F9C"}`); w.Code != http.StatusOK || state(9815) != plumbline.StateApproved {
		t.Errorf("approve: %d, run is %s: %s", w.Code, state(9815), w.Body)
	}
	r, _ := store.Run(ctx, 9815)
	if a := r.Approvals[len(r.Approvals)-1]; a.By != "local" || a.Digest != r.Plan.Digest || !a.At.Equal(preview.Now) {
		t.Errorf("approval is %+v", a)
	}
	if w := c.do("POST", "/api/v1/runs/9818/retry", ""); w.Code != http.StatusOK || state(9818) != plumbline.StateQueued {
		t.Errorf("retry: %d, run is %s", w.Code, state(9818))
	}
	if w := c.do("POST", "/api/v1/runs/9818/cancel", ""); w.Code != http.StatusOK || state(9818) != plumbline.StateCanceled {
		t.Errorf("cancel: %d, run is %s", w.Code, state(9818))
	}
	c, _, store = newClient(t)
	if w := c.do("POST", "/api/v1/runs/9815/reject", `{"reason":" not\n today "}`); w.Code != http.StatusOK || state(9815) != plumbline.StateRejected {
		t.Errorf("reject: %d, run is %s", w.Code, state(9815))
	}
	if r, _ := store.Run(ctx, 9815); r.RejectedBy != "local" || r.Reason != "not today" {
		t.Errorf("rejected by %q for %q", r.RejectedBy, r.Reason)
	}
}

func TestRequests(t *testing.T) {
	c, _, store := newClient(t)
	w := c.do("POST", "/api/v1/environments/infra/production/drift-check", `{"stacks":["app","live/app","live/net"]}`)
	var got web.RequestedJSON
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusAccepted {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	if fmt.Sprint(got.Stacks) != "[live/app live/net]" || got.After != 9820 || got.Request != 1 {
		t.Errorf("got %+v", got)
	}
	if w := c.do("POST", "/api/v1/environments/infra/production/deploy", ""); w.Code != http.StatusAccepted {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var filed []string
	for _, q := range store.Filed() {
		filed = append(filed, fmt.Sprintf("%d %s/%s %s %s by %s", q.ID, q.Repository, q.Environment, q.Kind, q.Stacks, q.By))
	}
	if want := []string{"1 infra/production drift [live/app live/net] by local", "2 infra/production deploy [] by local"}; !slices.Equal(filed, want) {
		t.Errorf("filed %q", filed)
	}
}

// TestInsideStaysInside: what an error tells of the inside goes to the log, with a number that leads there.
func TestInsideStaysInside(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	h := web.New(web.Config{Store: broken{}, Token: plumbline.NewSecret(preview.Token), Log: zap.New(core)}).Handler()
	for _, path := range []string{"/api/v1/runs", "/runs", "/api/v1/runs/7", "/readyz"} {
		r := httptest.NewRequest("GET", "http://localhost"+path, nil)
		r.Header.Set("Authorization", "Bearer "+preview.Token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		last := logs.All()[logs.Len()-1]
		if id := last.ContextMap()["id"].(string); !strings.Contains(w.Body.String(), id) || !strings.Contains(fmt.Sprint(last.ContextMap()), "hunter2") {
			t.Errorf("%s: the answer does not lead to the log: %s, %v", path, w.Body, last)
		}
	}
}

// broken is a store whose database has gone away, or worse.
type broken struct{ web.Store }

func (broken) Runs(context.Context, plumbline.RunFilter) ([]plumbline.Run, error) {
	return nil, errors.New("dial postgres://plumbline:hunter2@db")
}

func (broken) Run(context.Context, plumbline.RunID) (plumbline.Run, error) { panic("hunter2") }

func TestLargePlan(t *testing.T) {
	c, _, store := newClient(t)
	r, _ := store.Run(context.Background(), 9815)
	p := plumbline.Plan{Digest: r.Plan.Digest}
	for i := range 10_000 {
		p.Changes = append(p.Changes, plumbline.Change{Address: fmt.Sprintf("aws_eip.a[%d]", i), Action: plumbline.ActionCreate,
			Attributes: []plumbline.Attribute{{Path: "tags", After: `"x"`}}})
	}
	p.Changes[9_999].Action = plumbline.ActionDelete
	store.PlanOf[9815] = p
	w := c.do("GET", "/runs/9815", "")
	for _, want := range []string{"9000 more changes", `<details id="r-aws_eip.a[9999]" class="a-delete" open>`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if got := strings.Count(c.do("GET", "/runs/9815?all=1", "").Body.String(), `<details id="r-`); got != 10_000 {
		t.Errorf("all=1 shows %d changes", got)
	}
}

func TestWhatCannotBeSeenCannotBeApproved(t *testing.T) {
	c, _, store := newClient(t)
	if body := c.do("GET", "/runs/9815", "").Body.String(); !strings.Contains(body, `name="digest" value="b41f9c0e6a7d5c3b2a190807f6e5d4c3b2a1f0e9d8c7b6a5948372615f4e3d2c"`) {
		t.Error("the form does not carry the full digest")
	}
	delete(store.PlanOf, 9815)
	if body := c.do("GET", "/runs/9815", "").Body.String(); strings.Contains(body, "/approve") {
		t.Error("a plan that is not kept any more can be approved")
	}
}

// live serves over a real connection, which streams need.
func live(t *testing.T) (*httptest.Server, *preview.Store) {
	t.Helper()
	s, store := preview.NewServer()
	srv := httptest.NewUnstartedServer(s.Handler())
	srv.Config.WriteTimeout = 50 * time.Millisecond // a stream outlives it
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, store
}

func open(t *testing.T, url string) io.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+preview.Token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return resp.Body
}

// until reads a stream until it has said want.
func until(t *testing.T, stream io.Reader, want string) {
	t.Helper()
	var got strings.Builder
	buf := make([]byte, 1024)
	for !strings.Contains(got.String(), want) {
		n, err := stream.Read(buf)
		got.Write(buf[:n])
		if err != nil && !strings.Contains(got.String(), want) {
			t.Fatalf("%v after %q; want %q", err, got.String(), want)
		}
	}
}

func finish(t *testing.T, store *preview.Store, id plumbline.RunID) {
	t.Helper()
	_, err := store.Update(t.Context(), id, preview.Now, func(r *plumbline.Run, now time.Time) error {
		return r.Finish(r.Claim, plumbline.Outcome{Applied: true}, nil, now)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFollowLog(t *testing.T) {
	srv, store := live(t)
	stream := open(t, srv.URL+"/api/v1/runs/9814/log?follow=1")
	until(t, stream, "20s elapsed]\n")
	store.Say(9814, "aws_db_instance.main: Creation complete\n")
	until(t, stream, "Creation complete\n")
	store.Say(9814, "Apply complete!\n")
	finish(t, store, 9814)
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(stream); err != nil || rest.String() != "Apply complete!\n" {
		t.Errorf("the stream ends with %q, %v", rest.String(), err)
	}
}

func TestEvents(t *testing.T) {
	srv, store := live(t)
	stream := open(t, srv.URL+"/runs/9814/events")
	until(t, stream, "event: version\ndata: 4-")
	finish(t, store, 9814)
	until(t, stream, "event: version\ndata: 5-358\n\nevent: end\n")
	page := open(t, srv.URL+"/runs/9814")
	var body bytes.Buffer
	if _, err := body.ReadFrom(page); err != nil || strings.Contains(body.String(), "data-live") {
		t.Errorf("the page of a run that has ended waits for events (%v)", err)
	}
}

func TestTail(t *testing.T) {
	for _, tt := range []struct {
		most   int
		pieces []string
		want   string
		cut    bool
	}{
		{10, nil, "", false},
		{10, []string{"ab\n", "cd\n"}, "ab\ncd\n", false},
		{5, []string{"one\ntwo\nthree\nx\n"}, "x\n", true},
		{4, strings.SplitAfter("aa\nbb\ncc\ndd\nee\nff\n", "\n"), "ff\n", true},
		{5, []string{"no newline at all"}, "t all", true},
		{3, []string{"\nä"}, "\nä", false},
	} {
		if got, cut := web.Tail(tt.most, tt.pieces...); got != tt.want || cut != tt.cut {
			t.Errorf("the last %d bytes of %q are %q, %t; want %q, %t", tt.most, tt.pieces, got, cut, tt.want, tt.cut)
		}
	}
}

func TestProse(t *testing.T) {
	for in, want := range map[string]string{
		"plain <b>":          "plain &lt;b&gt;",
		"`a <b>` then":       "<code>a &lt;b&gt;</code> then",
		"odd ` one":          "odd ` one",
		"`a` and `b` and `c": "<code>a</code> and <code>b</code> and `c",
	} {
		if got := string(web.Prose(in)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestImportBlocks(t *testing.T) {
	r := web.RunJSON{State: plumbline.StateInterrupted, Created: []web.CreatedJSON{
		{Address: `aws_eip.a["x"]`, Action: plumbline.ActionCreate, ID: `a"${x}%{y}\`},
		{Address: "aws_eip.gone", Action: plumbline.ActionDelete, ID: "b"},
		{Address: "aws_eip.nameless", Action: plumbline.ActionCreate},
	}}
	want := "import {\n  to = aws_eip.a[\"x\"]\n  id = \"a\\\"$${x}%%{y}\\\\\"\n}\n"
	if got := r.ImportBlocks(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if r.State = plumbline.StateApplied; r.ImportBlocks() != "" {
		t.Error("what is in the state is imported again")
	}
}
