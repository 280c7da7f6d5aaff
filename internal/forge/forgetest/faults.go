package forgetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// FaultFixture is a repository on a healthy forge with HTTP, that Faults then makes ill. Its branch "main" has a commit.
type FaultFixture struct {
	// Open returns an adapter of the repository that finds its forge at url. It must use the whole of dial.
	Open func(t *testing.T, url string, dial forge.Dial) forge.Client
	// Backend is the healthy forge: a fake, or a reverse proxy to a real one. It is asked concurrently.
	Backend http.Handler
	// Secret is the token that Open uses. No error may hold it, even where the forge repeats it.
	Secret string
	// People act on Backend. For what the adapter can beside the contract they are those that Suite wants too.
	People People
	// Refusal is how the forge answers when it refuses with an HTTP status and says message, which is to be put where its
	// reason stands. A Status of 0 means that it never refuses so. Default: that status with {"message":"…"}.
	Refusal func(status int, message string) Answer
	// Untimed means that the forge never says when to come again.
	Untimed bool
	// Silent means that the forge has no statuses of commits.
	Silent bool
	// Tolerates returns why a call may succeed, or fail with another kind, although r was answered with the fault; "" when
	// it may not. The fault ends with the call then as it does else.
	Tolerates func(call, fault string, r *http.Request) string
}

// Answer is one of HTTP.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Faults checks what an adapter makes of a forge that is ill. For each of its calls, each request that the call needs, and
// each fault, the forge works up to that request and has the fault from there on. The call must fail with the right kind of
// error, that tells no secret and is one short line; when the fault is gone the same call must work, and leave one note.
//
//	func TestFaults(t *testing.T) {
//		srv := newFake(t) // with a repository and somebody who acts on it
//		forgetest.Faults(t, forgetest.FaultFixture{
//			Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
//				c, err := New(Config{URL: url, Project: "acme/infra", Token: plumbline.NewSecret(token), Dial: dial})
//				if err != nil {
//					t.Fatal(err)
//				}
//				return c
//			},
//			Backend: srv, Secret: token, People: srv.people,
//		})
//	}
func Faults(t *testing.T, f FaultFixture) {
	if f.Refusal == nil {
		f.Refusal = func(status int, message string) Answer {
			return Answer{Status: status, Body: fmt.Sprintf(`{"message":%q}`, message)}
		}
	}
	s := &sick{FaultFixture: f}
	s.healthy, _ = s.client(t, time.Minute, newClock())
	for _, call := range calls() {
		if call.can != nil && !call.can(s) {
			continue
		}
		t.Run(call.name, func(t *testing.T) {
			n := s.requests(t, call)
			if n == 0 {
				t.Skip("it asks the forge nothing")
			}
			for _, fault := range faults() {
				for _, k := range positions(n, call.dear) {
					if fault.only != nil && !fault.only(call.name, k, n) {
						continue
					}
					t.Run(fmt.Sprintf("%s at request %d of %d", fault.name, k, n), func(t *testing.T) {
						if !fault.slow {
							s.try(t, call, fault, k, time.Minute)
							return
						}
						t.Parallel()
						for p := patience; p < time.Minute && !s.try(t, call, fault, k, p); p *= 4 {
							t.Logf("the machine is too busy for a patience of %s", p)
						}
					})
				}
			}
		})
	}
}

// positions are the requests of a call at which a fault begins: all, or those at both ends.
func positions(n int, dear bool) []int {
	if dear && n > 2 {
		return []int{1, n}
	}
	if n <= 6 {
		var all []int
		for k := range n {
			all = append(all, k+1)
		}
		return all
	}
	return []int{1, 2, 3, n - 2, n - 1, n}
}

// sick is the forge with what is shared between the parts of Faults.
type sick struct {
	FaultFixture
	healthy forge.Client
	cases   atomic.Int64

	mu       sync.Mutex
	mr       plumbline.MergeRequest
	uses     int      // of mr
	branches []string // that nothing proposes now
}

const (
	patience = 150 * time.Millisecond // of an adapter with a fault that ends never
	crowd    = 20                     // calls to one merge request, so that lists of notes stay short
)

// clock is what an adapter takes for the time.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// client opens an adapter with a way to make its forge ill.
func (s *sick) client(t *testing.T, timeout time.Duration, now *clock) (forge.Client, *ward) {
	t.Helper()
	w := &ward{backend: s.Backend, stop: make(chan struct{})}
	srv := httptest.NewServer(w)
	transport := &http.Transport{}
	t.Cleanup(func() {
		close(w.stop)
		transport.CloseIdleConnections()
		srv.Close()
	})
	return s.Open(t, srv.URL, forge.Dial{Transport: transport, Timeout: timeout, Now: now.now}), w
}

// ward stands between an adapter and its forge.
type ward struct {
	backend http.Handler
	stop    chan struct{} // closed at the end

	mu      sync.Mutex
	fault   func(w http.ResponseWriter, r *http.Request)
	from    int // the first request that has the fault
	once    bool
	asked   int
	hit     *http.Request // the first that had it
	healed  bool
	refused int // requests that had it
}

func (w *ward) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.asked++
	ill := w.fault != nil && !w.healed && (w.asked == w.from || w.asked > w.from && !w.once)
	if ill {
		w.refused++
		if w.hit == nil {
			w.hit = r
		}
	}
	fault := w.fault
	w.mu.Unlock()
	if ill {
		fault(rw, r)
		return
	}
	w.backend.ServeHTTP(rw, r)
}

func (w *ward) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.healed = true
}

func (w *ward) seen() (asked int, hit *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked, w.hit
}

// requests counts what a call needs when all is well.
func (s *sick) requests(t *testing.T, call faultCall) int {
	t.Helper()
	do, check := call.prepare(t, s)
	c, w := s.client(t, time.Minute, newClock())
	if err := do(t.Context(), c); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	n, _ := w.seen()
	check(t)
	return n
}

// try lets a call run into a fault, and again when it is gone. It reports whether the fault was met.
func (s *sick) try(t *testing.T, call faultCall, fault fault, k int, timeout time.Duration) bool {
	t.Helper()
	do, check := call.prepare(t, s)
	now := newClock()
	c, w := s.client(t, timeout, now)
	e := &illness{sick: s, ward: w, now: now.now()}
	w.from, w.once = k, fault.once
	serve, verify := fault.begin(t, e)
	if serve == nil {
		t.Skip("the forge never answers so")
	}
	w.fault = serve
	err := do(t.Context(), c)
	asked, hit := w.seen()
	why := ""
	if hit != nil && s.Tolerates != nil {
		why = s.Tolerates(call.name, fault.name, hit)
	}
	s.readable(t, err)
	switch {
	case hit == nil && fault.slow:
		return false
	case hit == nil && err == nil: // as where a label was made the first time
		t.Logf("%d requests were enough this time, and the fault was not met", asked)
	case hit == nil:
		t.Errorf("without a fault in %d requests: %v", asked, err)
	case fault.once: // whether it is seen is the adapter's business
	case why != "":
		t.Logf("%s %s: %v is right: %s", hit.Method, hit.URL.Path, err, why)
	case err == nil:
		t.Errorf("it is taken for a success that %s %s met the fault", hit.Method, hit.URL.Path)
	default:
		s.kind(t, err, fault, e)
	}
	if fault.later != nil && errors.As(err, new(*plumbline.Retry)) {
		s.quiet(t, c, w, do, err)
	}
	if verify != nil {
		verify()
	}
	w.heal()
	now.wait(2 * time.Hour)
	if fault.slow { // its patience is too short for a busy machine
		c = s.healthy
	}
	if err := do(t.Context(), c); err != nil {
		t.Errorf("when the fault is gone: %v", err)
	}
	check(t)
	return true
}

var kinds = []error{plumbline.ErrDenied, plumbline.ErrNotFound, plumbline.ErrConflict, plumbline.ErrInvalid}

func (s *sick) kind(t *testing.T, err error, fault fault, e *illness) {
	t.Helper()
	var retry *plumbline.Retry
	isRetry := errors.As(err, &retry)
	for _, kind := range kinds {
		if errors.Is(err, kind) != errors.Is(fault.kind, kind) {
			t.Errorf("its kind is %v, is it %v? %t: %v", fault.kind, kind, errors.Is(err, kind), err)
		}
	}
	if isRetry != (fault.later != nil) {
		t.Fatalf("does it name a time? %t: %v", isRetry, err)
	}
	switch {
	case !isRetry:
	case s.Untimed:
		if !retry.At.After(e.now) || retry.At.After(e.now.Add(time.Hour)) {
			t.Errorf("again at %s, when it is %s", retry.At, e.now)
		}
	case !retry.At.Equal(fault.later(e.now)):
		t.Errorf("again at %s, not at %s", retry.At, fault.later(e.now))
	}
}

// readable checks that an error can be shown and logged.
func (s *sick) readable(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case strings.Contains(err.Error(), s.Secret):
		t.Errorf("the token is in the error: %v", err)
	case len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n"):
		t.Errorf("an error of %d bytes and %d lines: %.1000s", len(err.Error()), 1+strings.Count(err.Error(), "\n"), err)
	}
}

// quiet checks that a forge which named a time is not asked before.
func (s *sick) quiet(t *testing.T, c forge.Client, w *ward, do func(context.Context, forge.Client) error, first error) {
	t.Helper()
	before, _ := w.seen()
	err := do(t.Context(), c)
	after, _ := w.seen()
	var a, b *plumbline.Retry
	if after != before || !errors.As(err, &a) || !errors.As(first, &b) || !a.At.Equal(b.At) {
		t.Errorf("asked %d times while the forge wants to be left alone: %v", after-before, err)
	}
	s.readable(t, err)
}

// illness is one case.
type illness struct {
	*sick
	*ward
	now time.Time
}

// fault is something that can be wrong with a forge.
type fault struct {
	name  string
	kind  error                     // of plumbline, nil: none of them
	later func(time.Time) time.Time // nil: no time is named
	slow  bool                      // it ends by the adapter's patience
	once  bool                      // at one request only
	only  func(call string, k, n int) bool
	// begin returns how a request is answered, nil when the forge never does so, and what is checked after the call.
	begin func(t *testing.T, e *illness) (serve http.HandlerFunc, verify func())
}

func faults() []fault {
	at := func(d time.Duration) func(time.Time) time.Time {
		return func(now time.Time) time.Time { return now.Add(d) }
	}
	all := []fault{
		{name: "401", kind: plumbline.ErrDenied, begin: refusal(401, nil)},
		{name: "403", kind: plumbline.ErrDenied, begin: refusal(403, nil)},
		{name: "404", kind: plumbline.ErrNotFound, begin: refusal(404, nil)},
		{name: "409", kind: plumbline.ErrConflict, begin: refusal(409, nil)},
		{name: "422", kind: plumbline.ErrInvalid, begin: refusal(422, nil)},
		{name: "429 for seconds", later: at(7 * time.Second), begin: refusal(429, func(time.Time) string { return "7" })},
		{name: "429 until a date", later: at(90 * time.Second), begin: refusal(429, func(now time.Time) string {
			return now.Add(90 * time.Second).UTC().Format(http.TimeFormat)
		})},
		{name: "500", begin: refusal(500, nil)},
		{name: "502", begin: answer(502, "text/html", "<html><body>Bad Gateway</body></html>")},
		{name: "malformed JSON", begin: answer(200, "application/json", `{"id":1,"number":1,,"values":[}`)},
		{name: "JSON that ends early", begin: answer(200, "application/json", `[{"id":1,"title":"cha`)},
		{name: "JSON of a wrong type", begin: answer(200, "application/json", `"yes"`)},
		{name: "a page", begin: answer(200, "text/html; charset=utf-8", "<!DOCTYPE html><html><body>Sign in</body></html>")},
		{name: "cut off", begin: always(cutOff)},
		{name: "cut off chunks", begin: always(cutOffChunks)},
		{name: "reset", begin: always(reset)},
		{name: "100 MB", begin: huge, only: func(call string, k, n int) bool { return k == 1 || call == "note" && k == n }},
		{name: "302 elsewhere", begin: elsewhere(302)},
		{name: "307 elsewhere", begin: elsewhere(307)},
		{name: "answer lost", once: true, begin: lost},
		{name: "never an answer", slow: true, begin: never},
		{name: "drip", slow: true, begin: drip},
	}
	object := fault{name: "an object for a list", begin: answer(200, "application/json", `{"message":"hello"}`)}
	object.only = func(call string, k, n int) bool { return (call == "list" || call == "comments") && k == n }
	return append(all, object)
}

type begin = func(*testing.T, *illness) (http.HandlerFunc, func())

// always is a fault that needs to know nothing.
func always(h http.HandlerFunc) begin {
	return func(*testing.T, *illness) (http.HandlerFunc, func()) { return h, nil }
}

func answer(status int, kind, body string) begin {
	return always(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("ETag", `"1"`) // nothing of this may be remembered
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // who has gone has gone
	})
}

// refusal repeats the token, and says too much.
func refusal(status int, after func(now time.Time) string) begin {
	return func(_ *testing.T, e *illness) (http.HandlerFunc, func()) {
		a := e.Refusal(status, "No, "+e.Secret+"\nis not enough. "+strings.Repeat("Really. ", 500))
		if a.Status == 0 {
			return nil, nil
		}
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for name, values := range a.Header {
				w.Header()[name] = values
			}
			if after != nil && !e.Untimed {
				w.Header().Set("Retry-After", after(e.now))
			}
			w.WriteHeader(a.Status)
			_, _ = io.WriteString(w, a.Body) // who has gone has gone
		}, nil
	}
}

func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `[]`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func cutOffChunks(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":1,`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func reset(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a RST in place of a FIN
	}
	_ = conn.Close()
}

// lost lets the forge do what it was asked, and nobody hears of it.
func lost(_ *testing.T, e *illness) (http.HandlerFunc, func()) {
	return func(w http.ResponseWriter, r *http.Request) {
		e.backend.ServeHTTP(httptest.NewRecorder(), r)
		reset(w, r)
	}, nil
}

func never(_ *testing.T, e *illness) (http.HandlerFunc, func()) {
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody sees when the client goes
		select {
		case <-r.Context().Done():
		case <-e.stop:
		}
	}, nil
}

// drip begins a JSON document that never ends.
func drip(_ *testing.T, e *illness) (http.HandlerFunc, func()) {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		tick := time.NewTicker(patience / 20)
		defer tick.Stop()
		for {
			_, err := io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-e.stop:
				return
			case <-tick.C:
			}
		}
	}, nil
}

// elsewhere sends the client to a host that must see nothing of it.
func elsewhere(status int) begin {
	return func(t *testing.T, _ *illness) (http.HandlerFunc, func()) {
		var asked atomic.Int64
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		t.Cleanup(other.Close)
		serve := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+r.URL.Path, status) }
		return serve, func() {
			if n := asked.Load(); n != 0 {
				t.Errorf("another host was asked %d times", n)
			}
		}
	}
}

const (
	hugeAnswer = 100 << 20
	hugeRead   = 80 << 20  // the limit of an answer is 32 MiB; more is on its way on a busy machine
	hugeHeap   = 256 << 20 // that read twice over into buffers that grow
)

// huge is an answer that nobody must hold.
func huge(t *testing.T, e *illness) (http.HandlerFunc, func()) {
	var most, heap atomic.Int64
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ended := make(chan struct{}, 100)
	serve := func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		w.Header().Set("Content-Type", "application/json")
		chunk := []byte(strings.Repeat("x", 1<<20))
		begin := `[{"title":"`
		var sent int64
		for sent < hugeAnswer {
			n, err := w.Write([]byte(begin))
			m, err2 := w.Write(chunk[n:])
			begin = ""
			sent += int64(n + m)
			if errors.Join(err, err2) != nil {
				break
			}
		}
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		most.Store(max(most.Load(), sent))
		heap.Store(max(heap.Load(), int64(now.HeapAlloc)-int64(before.HeapAlloc)))
	}
	return serve, func() {
		e.ward.mu.Lock()
		n := e.refused
		e.ward.mu.Unlock()
		for range n {
			<-ended
		}
		if most.Load() > hugeRead || heap.Load() > hugeHeap {
			t.Errorf("%d MiB of the answer were read, and %d MiB held", most.Load()>>20, heap.Load()>>20)
		}
	}
}

// faultCall is something that Plumbline asks of a forge.
type faultCall struct {
	name string
	can  func(s *sick) bool // nil: every forge
	dear bool               // a real forge takes seconds for it
	// prepare returns what is done, which can be done again, and what is checked in the end.
	prepare func(t *testing.T, s *sick) (do func(context.Context, forge.Client) error, check func(t *testing.T))
}

// can reports whether an adapter has an ability.
func can[T any](s *sick) bool {
	_, ok := s.healthy.(T)
	return ok
}

func calls() []faultCall {
	return []faultCall{
		{name: "list", prepare: doList},
		{name: "get", prepare: doGet},
		{name: "note", prepare: doNote},
		{name: "note again", prepare: doNoteAgain},
		{name: "status", can: func(s *sick) bool { return !s.Silent }, prepare: doStatus},
		{name: "comments", can: can[forge.Commenter], prepare: doComments},
		{name: "reaction", can: can[forge.Reactor], prepare: doReaction},
		{name: "issue", can: can[forge.Issuer], prepare: doIssue},
		{name: "issue changed", can: can[forge.Issuer], prepare: doIssueAgain(true, true)},
		{name: "issue closed", can: can[forge.Issuer], prepare: doIssueAgain(true, false)},
		{name: "issue opened again", can: can[forge.Issuer], prepare: doIssueAgain(false, true)},
		{name: "proposal", dear: true, can: can[forge.Proposer], prepare: doProposal},
		{name: "deployment", can: can[forge.Deployer], prepare: doDeployment},
		{name: "check", can: can[forge.Checker], prepare: doCheck},
	}
}

// fresh returns a merge request that has not many notes, and the number of the case.
func (s *sick) fresh(t *testing.T) (plumbline.MergeRequest, int64) {
	t.Helper()
	n := s.cases.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uses%crowd == 0 {
		f := Fixture{Client: s.healthy, People: s.People}
		id := s.People.OpenMR(t, fmt.Sprintf("faults-%d", n), "main", "change")
		head := s.People.Head(t, id)
		s.mr = f.await(t, id, func(mr plumbline.MergeRequest) bool { return mr.Head == head })
	}
	s.uses++
	return s.mr, n
}

func doList(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, _ := s.fresh(t)
	var got []plumbline.MergeRequest
	refs := s.People.Refs(t)
	return func(ctx context.Context, c forge.Client) (err error) {
			got, err = c.MergeRequests(ctx, refs)
			if err != nil && len(got) > 0 {
				t.Errorf("half a list beside the error %v", err)
			}
			return err
		}, func(t *testing.T) {
			if !slices.ContainsFunc(got, func(o plumbline.MergeRequest) bool { return o.ID == mr.ID }) {
				t.Errorf("merge request %s is not listed: %+v", mr.ID, got)
			}
		}
}

func doGet(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, _ := s.fresh(t)
	var got plumbline.MergeRequest
	return func(ctx context.Context, c forge.Client) (err error) {
			got, err = c.MergeRequest(ctx, mr.ID)
			return err
		}, func(t *testing.T) {
			if got.ID != mr.ID || got.Head != mr.Head || got.State != plumbline.MROpen {
				t.Errorf("merge request: %+v, not %+v", got, mr)
			}
		}
}

func doNote(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	marker := fmt.Sprintf("<!-- plumbline:faults!%d. -->", n)
	body := marker + "\nplan"
	return func(ctx context.Context, c forge.Client) error { return c.UpsertNote(ctx, mr, marker, body) },
		func(t *testing.T) {
			var ours []string
			for _, note := range s.People.Notes(t, mr.ID) {
				if strings.Contains(note, marker) {
					ours = append(ours, note)
				}
			}
			if !slices.Equal(ours, []string{body}) {
				t.Errorf("notes: %q, not one with %q", ours, body)
			}
		}
}

func doNoteAgain(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	marker := fmt.Sprintf("<!-- plumbline:faults!%d. -->", n)
	if err := s.healthy.UpsertNote(t.Context(), mr, marker, marker+"\nfirst"); err != nil {
		t.Fatal(err)
	}
	body := marker + "\nsecond"
	return func(ctx context.Context, c forge.Client) error { return c.UpsertNote(ctx, mr, marker, body) },
		func(t *testing.T) {
			var ours []string
			for _, note := range s.People.Notes(t, mr.ID) {
				if strings.Contains(note, marker) {
					ours = append(ours, note)
				}
			}
			if !slices.Equal(ours, []string{body}) {
				t.Errorf("notes: %q, not one with %q", ours, body)
			}
		}
}

func doStatus(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	status := plumbline.CommitStatus{Context: fmt.Sprintf("plumbline/faults-%d", n), State: plumbline.ToldSuccess, Description: "1 stack planned."}
	return func(ctx context.Context, c forge.Client) error { return c.SetStatus(ctx, mr.Head, status) },
		func(t *testing.T) {
			var got []plumbline.CommitStatus
			for _, one := range s.People.Statuses(t, mr.Head) {
				if one.Context == status.Context {
					got = append(got, one)
				}
			}
			if !slices.Equal(got, []plumbline.CommitStatus{status}) {
				t.Errorf("statuses: %+v, not one %+v", got, status)
			}
		}
}

func doComments(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	body := fmt.Sprintf("plumbline plan %d.", n)
	since := time.Now().Add(-time.Hour)
	s.People.Comment(t, mr.ID, body)
	var got []plumbline.Comment
	return func(ctx context.Context, c forge.Client) (err error) {
			got, err = c.(forge.Commenter).Comments(ctx, mr, since)
			if err != nil && len(got) > 0 {
				t.Errorf("half a list beside the error %v", err)
			}
			return err
		}, func(t *testing.T) {
			if !slices.ContainsFunc(got, func(c plumbline.Comment) bool { return c.Body == body }) {
				t.Errorf("the comment %q is not among %+v", body, got)
			}
		}
}

func doReaction(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	body := fmt.Sprintf("plumbline plan %d.", n)
	s.People.Comment(t, mr.ID, body)
	all, err := s.healthy.(forge.Commenter).Comments(t.Context(), mr, time.Now().Add(-time.Hour))
	i := slices.IndexFunc(all, func(c plumbline.Comment) bool { return c.Body == body })
	if err != nil || i < 0 {
		t.Fatalf("the comment %q is not among %+v: %v", body, all, err)
	}
	return func(ctx context.Context, c forge.Client) error {
			return c.(forge.Reactor).React(ctx, mr, all[i].ID, plumbline.ReactionDone)
		}, func(t *testing.T) {
			got := peopleAs[ReactionReader](t, Fixture{Client: s.healthy, People: s.People}).Reactions(t, mr.ID, all[i].ID)
			if !slices.Equal(got, []plumbline.Reaction{plumbline.ReactionDone}) {
				t.Errorf("reactions: %q", got)
			}
		}
}

// issue wants one of a case, as it should be.
func (s *sick) issue(t *testing.T, want forge.Issue) {
	t.Helper()
	var got []Issue
	for _, one := range peopleAs[IssueReader](t, Fixture{Client: s.healthy, People: s.People}).Issues(t) {
		if strings.Contains(one.Body, want.Marker) {
			got = append(got, one)
		}
	}
	if len(got) != 1 || got[0].Open != want.Open || got[0].Title != want.Title || got[0].Body != want.Body {
		t.Errorf("issues: %+v\nwant one: %+v", got, want)
	}
}

// newIssue is one of a case of its own. The next case finds lists that are as short.
func (s *sick) newIssue(t *testing.T) forge.Issue {
	marker := fmt.Sprintf("<!-- plumbline:faults!%d. -->", s.cases.Add(1))
	t.Cleanup(func() {
		for _, one := range peopleAs[IssueReader](t, Fixture{Client: s.healthy, People: s.People}).Issues(t) {
			if strings.Contains(one.Body, marker) {
				peopleAs[IssueDeleter](t, Fixture{Client: s.healthy, People: s.People}).DeleteIssue(t, one.Number)
			}
		}
	})
	return forge.Issue{Marker: marker, Title: "Drift", Body: marker + "\n2 items", Labels: []string{"drift"}, Open: true}
}

func doIssue(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	i := s.newIssue(t)
	return func(ctx context.Context, c forge.Client) error {
		_, err := c.(forge.Issuer).UpsertIssue(ctx, i)
		return err
	}, func(t *testing.T) { s.issue(t, i) }
}

// doIssueAgain writes an issue that is there already.
func doIssueAgain(was, open bool) func(*testing.T, *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	return func(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
		i := s.newIssue(t)
		if _, err := s.healthy.(forge.Issuer).UpsertIssue(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		if i.Open = was; !was {
			if _, err := s.healthy.(forge.Issuer).UpsertIssue(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		i.Title, i.Body, i.Open = "Drift again", i.Marker+"\n3 items", open
		return func(ctx context.Context, c forge.Client) error {
			_, err := c.(forge.Issuer).UpsertIssue(ctx, i)
			return err
		}, func(t *testing.T) { s.issue(t, i) }
	}
}

// branch returns one that nothing proposes.
func (s *sick) branch(t *testing.T) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.branches); n > 0 {
		name := s.branches[n-1]
		s.branches = s.branches[:n-1]
		return name
	}
	name := fmt.Sprintf("promote/%d", s.cases.Add(1))
	peopleAs[Brancher](t, Fixture{Client: s.healthy, People: s.People}).Branch(t, name, "main")
	return name
}

func doProposal(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	p := forge.Proposal{Source: s.branch(t), Target: "main", Title: fmt.Sprintf("Promote %d", s.cases.Add(1)), Body: "From there."}
	return func(ctx context.Context, c forge.Client) error {
			_, err := c.(forge.Proposer).OpenMergeRequest(ctx, p)
			return err
		}, func(t *testing.T) {
			all, err := s.healthy.MergeRequests(t.Context(), s.People.Refs(t))
			n := 0
			for _, mr := range all {
				if mr.Source == p.Source {
					n++
					s.People.Close(t, mr.ID)
				}
			}
			if err != nil || n != 1 {
				t.Errorf("%d merge requests of %s: %v", n, p.Source, err)
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.branches = append(s.branches, p.Source)
		}
}

func doDeployment(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	d := forge.Deployment{Environment: fmt.Sprintf("faults-%d", n), Branch: "main", Commit: mr.Head, State: forge.DeploymentSuccess, Description: "3 stacks"}
	return func(ctx context.Context, c forge.Client) error { return c.(forge.Deployer).SetDeployment(ctx, d) },
		func(t *testing.T) {
			got := peopleAs[DeploymentReader](t, Fixture{Client: s.healthy, People: s.People}).Deployments(t, d.Environment)
			if len(got) != 1 || got[0].State != d.State || got[0].Commit != d.Commit {
				t.Errorf("deployments: %+v, not one %+v", got, d)
			}
		}
}

func doCheck(t *testing.T, s *sick) (func(context.Context, forge.Client) error, func(*testing.T)) {
	mr, n := s.fresh(t)
	check := forge.Check{CommitStatus: plumbline.CommitStatus{Context: fmt.Sprintf("plumbline/faults-%d", n), State: plumbline.ToldSuccess, Description: "ok"}, Summary: "ok"}
	if err := s.healthy.(forge.Checker).SetCheck(t.Context(), mr.Head, check); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("with these credentials: %v", err)
	}
	check.State = plumbline.ToldFailure
	return func(ctx context.Context, c forge.Client) error {
			return c.(forge.Checker).SetCheck(ctx, mr.Head, check)
		},
		func(*testing.T) {} // People see statuses; the suite looks at checks
}
