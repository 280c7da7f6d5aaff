package forge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// roundTrip is a forge in memory.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := f(r)
	resp.Request = r
	return resp, nil
}

// says makes an answer with headers, given as name and value.
func says(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// clock is a time that is set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func api(t *testing.T, b *forge.Budget, now func() time.Time, f roundTrip) *forge.API {
	t.Helper()
	a, err := forge.NewAPI(forge.APIConfig{URL: "https://forge.example.com", Dial: forge.Dial{Transport: f, Now: now, Budget: b}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func call(ctx context.Context, a *forge.API, method, path string) error {
	_, err := a.Call(ctx, method, path, nil, nil)
	return err
}

// until returns when an error says to come again; zero: it does not.
func until(err error) time.Time {
	var retry *plumbline.Retry
	if errors.As(err, &retry) {
		return retry.At
	}
	return time.Time{}
}

// TestQuiet: what the forge says to one repository holds for all of the token, and for nobody else.
func TestQuiet(t *testing.T) {
	for _, c := range []struct {
		status  int
		headers []string
		body    string
		wait    time.Duration // 0: it is no request to be left alone
	}{
		{429, []string{"Retry-After", "7"}, "", 7 * time.Second},
		{429, []string{"Retry-After", noon.Add(time.Minute).Format(http.TimeFormat)}, "", time.Minute},
		{429, nil, "", time.Minute},
		{429, []string{"Retry-After", "-9223372036854775808"}, "", time.Minute},
		{429, []string{"Retry-After", "-5"}, "", time.Second},
		{429, []string{"Retry-After", "1000000000"}, "", time.Hour},
		{429, []string{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"}, "", time.Hour},
		{429, []string{"RateLimit-Remaining", "0", "RateLimit-Reset", "30"}, "", 30 * time.Second},
		{429, []string{"RateLimit-Remaining", "0", "RateLimit-Reset", fmt.Sprint(noon.Unix() + 30)}, "", 30 * time.Second},
		{403, []string{"Retry-After", "9"}, "", 9 * time.Second},
		{403, []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", fmt.Sprint(noon.Unix() + 90)}, "", 90 * time.Second},
		{403, []string{"X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "9223372036854775807"}, "", time.Hour},
		{403, nil, `{"message":"You have exceeded a secondary rate limit. Please wait."}`, time.Minute},
		{503, []string{"Retry-After", "120"}, "", 2 * time.Minute},
		{503, nil, "", 0},
		{403, nil, `{"message":"Resource not accessible by integration"}`, 0},
		{404, []string{"Retry-After", "7"}, "", 0},
		{500, []string{"Retry-After", "7"}, "", 0},
	} {
		t.Run(fmt.Sprint(c.status, c.headers), func(t *testing.T) {
			now := &clock{noon}
			b := &forge.Budget{Now: now.now}
			asked, ill := 0, true
			f := func(*http.Request) *http.Response {
				asked++
				if ill {
					return says(c.status, c.body, c.headers...)
				}
				return says(200, "{}")
			}
			one, two, other := api(t, b, now.now, f), api(t, b, now.now, f), api(t, nil, now.now, f)
			err := call(t.Context(), one, "GET", "/repos/a/pulls")
			if c.wait == 0 {
				if err == nil || !until(err).IsZero() || call(t.Context(), two, "GET", "/repos/b/pulls") == nil || asked != 2 {
					t.Errorf("%d requests: %v", asked, err)
				}
				return
			}
			at := noon.Add(c.wait)
			if !until(err).Equal(at) || errors.Is(err, plumbline.ErrDenied) {
				t.Errorf("again at %s, not at %s: %v", until(err), at, err)
			}
			ill = false
			for _, method := range []string{"GET", "POST"} {
				if err := call(forge.Urgent(t.Context()), two, method, "/repos/b/pulls"); !until(err).Equal(at) || errors.Is(err, plumbline.ErrDenied) {
					t.Errorf("%s again at %s, not at %s: %v", method, until(err), at, err)
				}
			}
			if s := b.State(); asked != 1 || s.Asked != 1 || s.Refused != 2 || !s.Quiet.Equal(at) || s.Reason == "" {
				t.Errorf("%d requests, %+v", asked, s)
			}
			if err := call(t.Context(), other, "GET", "/repos/a/pulls"); err != nil {
				t.Errorf("another token: %v", err)
			}
			now.at = at
			if err := call(t.Context(), two, "GET", "/repos/b/pulls"); err != nil {
				t.Errorf("when it is time: %v", err)
			}
			if s := b.State(); !s.Quiet.IsZero() || s.Reason != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestUsedUp: GitHub counts searching apart, and that it is used up stops nothing else.
func TestUsedUp(t *testing.T) {
	now := &clock{noon}
	b := &forge.Budget{Now: now.now}
	reset := fmt.Sprint(noon.Unix() + 50)
	a := api(t, b, now.now, func(r *http.Request) *http.Response {
		if strings.HasPrefix(r.URL.Path, "/search/") {
			return says(403, "", "X-RateLimit-Limit", "30", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset, "X-RateLimit-Resource", "search")
		}
		return says(200, "{}", "X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4999", "X-RateLimit-Reset", reset, "X-RateLimit-Resource", "core")
	})
	for range 2 {
		if err := call(t.Context(), a, "GET", "/search/issues"); !until(err).Equal(noon.Add(50 * time.Second)) {
			t.Errorf("%v", err)
		}
		if err := call(t.Context(), a, "GET", "/repos/a"); err != nil {
			t.Error(err)
		}
	}
	if s := b.State(); s.Asked != 3 || s.Refused != 1 || s.Left != 0 || s.Limit != 30 {
		t.Errorf("%+v", s)
	}
	// What a success says is true as well.
	a = api(t, b, now.now, func(*http.Request) *http.Response {
		return says(201, "{}", "X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", reset, "X-RateLimit-Resource", "core")
	})
	if err := call(t.Context(), a, "POST", "/repos/a"); err != nil {
		t.Error(err)
	}
	if err := call(t.Context(), a, "POST", "/repos/a"); !until(err).Equal(noon.Add(50 * time.Second)) {
		t.Errorf("%v", err)
	}
}

// metered is a forge that counts as GitHub does: a number for an hour.
type metered struct {
	limit, left int
	resets      time.Time
	now         func() time.Time
	over        int // requests that it had to refuse
}

func (m *metered) answer(*http.Request) *http.Response {
	if !m.now().Before(m.resets) {
		m.left, m.resets = m.limit, m.now().Truncate(time.Hour).Add(time.Hour)
	}
	headers := []string{"X-RateLimit-Limit", fmt.Sprint(m.limit), "X-RateLimit-Reset", fmt.Sprint(m.resets.Unix()), "X-RateLimit-Remaining"}
	if m.left == 0 {
		m.over++
		return says(403, "", append(headers, "0")...)
	}
	m.left--
	return says(200, "{}", append(headers, fmt.Sprint(m.left))...)
}

// TestReserve polls 100 repositories each 30 s for three hours, which is 12,000 requests an hour, where 5,000 are allowed.
// What people wait for is written all the same, and each repository is polled all the time.
func TestReserve(t *testing.T) {
	now := &clock{noon}
	m := &metered{limit: 5000, now: now.now}
	b := &forge.Budget{Now: now.now}
	const repos = 100
	var again, last [repos]time.Time
	var longest time.Duration
	var list [repos]*forge.API
	for i := range list {
		list[i] = api(t, b, now.now, m.answer)
		last[i] = noon
	}
	for now.at.Before(noon.Add(3 * time.Hour)) {
		for i, a := range list {
			if now.at.Before(again[i]) {
				continue
			}
			again[i] = now.at.Add(30 * time.Second)
			switch err := call(t.Context(), a, "GET", fmt.Sprintf("/repos/%d/pulls", i)); {
			case err == nil:
				longest = max(longest, now.at.Sub(last[i]))
				last[i] = now.at
			case !until(err).After(now.at) || until(err).After(m.resets):
				t.Fatalf("at %s: again at %s, and a new window begins at %s", now.at, until(err), m.resets)
			default:
				again[i] = until(err)
			}
		}
		if now.at.Second() == 0 { // a note each minute
			ctx := forge.Urgent(t.Context())
			if err := errors.Join(call(ctx, list[0], "GET", "/repos/0/notes"), call(ctx, list[0], "POST", "/repos/0/notes")); err != nil {
				t.Fatalf("at %s: a note: %v", now.at, err)
			}
		}
		now.at = now.at.Add(time.Second)
	}
	for i, at := range last {
		longest = max(longest, now.at.Sub(at))
		if at.Equal(noon) {
			t.Errorf("repository %d was never polled", i)
		}
	}
	t.Logf("a repository waited %s at most; %+v", longest, b.State())
	if m.over != 0 || longest > 15*time.Minute {
		t.Errorf("the forge refused %d requests; a repository waited %s", m.over, longest)
	}
}

// TestSlowed looks at the steps: free, spread, none, with lists that are read to their end.
func TestSlowed(t *testing.T) {
	now := &clock{noon}
	b := &forge.Budget{Now: now.now}
	left := 1000
	a := api(t, b, now.now, func(*http.Request) *http.Response {
		left--
		return says(200, "{}", "RateLimit-Limit", "1000", "RateLimit-Remaining", fmt.Sprint(left), "RateLimit-Reset", fmt.Sprint(noon.Unix()+600), "RateLimit-Name", "throttle_authenticated_api")
	})
	get := func(path string) error { return call(t.Context(), a, "GET", path) }
	for range 10 {
		if err := get("/api/v4/projects/1/merge_requests"); err != nil {
			t.Fatal(err)
		}
	}
	if s := b.State(); s.Limit != 1000 || s.Left != 990 || !s.Resets.Equal(noon.Add(10*time.Minute)) || s.Reason != "" {
		t.Errorf("%+v", s)
	}
	left = 201
	if err := get("/api/v4/projects/1/merge_requests"); err != nil {
		t.Fatal(err)
	}
	// 200 are left, 100 of them to read within 600 s: one each 6 s.
	if err := get("/api/v4/projects/2/merge_requests?page=1"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := errors.Join(get("/api/v4/projects/2/merge_requests?page=2"), get("/api/v4/projects/2/merge_requests/7/notes")); err != nil {
			t.Errorf("a list that was begun: %v", err)
		}
	}
	seen := map[time.Time]bool{}
	for i := range 20 {
		at := until(get(fmt.Sprintf("/api/v4/projects/%d/merge_requests", i+3)))
		if seen[at] || at.Before(noon.Add(6*time.Second)) || at.After(noon.Add(3*time.Minute)) {
			t.Errorf("again at %s", at)
		}
		seen[at] = true
	}
	if s := b.State(); s.Refused != 20 || !strings.Contains(s.Reason, "slowed") || !s.Quiet.IsZero() {
		t.Errorf("%+v", s)
	}
	now.at = noon.Add(7 * time.Second)
	if err := get("/api/v4/projects/3/merge_requests"); err != nil {
		t.Errorf("in its turn: %v", err)
	}
	left = 101
	if err := call(t.Context(), a, "PUT", "/api/v4/projects/1/notes"); err != nil {
		t.Fatal(err)
	}
	if at := until(get("/api/v4/projects/9/merge_requests")); !at.Equal(noon.Add(10 * time.Minute)) {
		t.Errorf("from the reserve: again at %s", at)
	}
	for left > 0 {
		if err := call(t.Context(), a, "PUT", "/api/v4/projects/1/notes"); err != nil {
			t.Fatalf("%d left: %v", left, err)
		}
	}
	if at := until(call(t.Context(), a, "PUT", "/api/v4/projects/1/notes")); !at.Equal(noon.Add(10 * time.Minute)) {
		t.Errorf("when nothing is left: again at %s", at)
	}
	now.at, left = noon.Add(10*time.Minute), 1000
	if err := get("/api/v4/projects/9/merge_requests"); err != nil {
		t.Errorf("in a new window: %v", err)
	}
}

// TestNearLimit: Bitbucket says that four fifths are used, and no number.
func TestNearLimit(t *testing.T) {
	now := &clock{noon}
	b := &forge.Budget{Now: now.now}
	near := "false"
	a := api(t, b, now.now, func(*http.Request) *http.Response {
		return says(200, "{}", "X-RateLimit-Limit", "1000", "X-RateLimit-Resource", "api", "X-RateLimit-NearLimit", near)
	})
	get := func() error { return call(t.Context(), a, "GET", "/2.0/repositories/a/b/pullrequests") }
	for range 10 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	near = "true"
	if err := errors.Join(get(), get()); err != nil { // the second is a turn
		t.Fatal(err)
	}
	err := call(t.Context(), a, "GET", "/2.0/repositories/c/d/pullrequests")
	if at := until(err); !at.Equal(noon.Add(7200 * time.Millisecond)) {
		t.Errorf("again at %s: %v", at, err)
	}
	if err := call(t.Context(), a, "POST", "/2.0/repositories/c/d/pullrequests"); err != nil {
		t.Error(err)
	}
	if s := b.State(); s.Limit != 1000 || s.Left != -1 || s.Reason == "" {
		t.Errorf("%+v", s)
	}
	near, now.at = "false", noon.Add(8*time.Second)
	for range 10 {
		if err := call(t.Context(), a, "GET", "/2.0/repositories/c/d/pullrequests"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeaders reads what forges, and drafts, say about the budget.
func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		headers     []string
		limit, left int
		resets      time.Duration // 0: unknown
	}{
		{nil, -1, -1, 0},
		{[]string{"X-RateLimit-Limit", "5000", "X-RateLimit-Remaining", "4987", "X-RateLimit-Reset", "1795177200", "X-RateLimit-Used", "13", "X-RateLimit-Resource", "core"}, 5000, 4987, 20 * time.Minute},
		{[]string{"RateLimit-Limit", "2000", "RateLimit-Observed", "1", "RateLimit-Remaining", "1999", "RateLimit-Reset", "1795176060"}, 2000, 1999, time.Minute},
		{[]string{"RateLimit-Limit", "100, 100;w=60", "RateLimit-Remaining", "50", "RateLimit-Reset", "30"}, 100, 50, 30 * time.Second},
		{[]string{"RateLimit", "limit=100, remaining=50, reset=30"}, 100, 50, 30 * time.Second},
		{[]string{"RateLimit", `"default";r=50;t=30`, "RateLimit-Policy", `"default";q=100;w=60`}, 100, 50, 30 * time.Second},
		{[]string{"RateLimit", `"hour";r=900;t=3000, "burst";r=5;t=30`}, -1, 5, 30 * time.Second},
		{[]string{"X-RateLimit-Remaining", "7"}, -1, 7, time.Minute},
		{[]string{"X-RateLimit-Limit", "60"}, -1, -1, 0},
		{[]string{"X-RateLimit-Limit", "NaN", "X-RateLimit-Remaining", "NaN", "X-RateLimit-Reset", "NaN"}, -1, -1, 0},
		{[]string{"X-RateLimit-Limit", "-5", "X-RateLimit-Remaining", "-1", "X-RateLimit-Reset", "-1"}, -1, -1, 0},
		{[]string{"X-RateLimit-Limit", "1e3", "X-RateLimit-Remaining", "Inf"}, -1, -1, 0},
		{[]string{"X-RateLimit-Limit", "99999999999999999999", "X-RateLimit-Remaining", "9223372036854775807"}, -1, -1, 0},
		{[]string{"X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "5", "X-RateLimit-Reset", "1795177200000"}, 10, 5, time.Hour},
		{[]string{"X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "5", "X-RateLimit-Reset", "1000000000"}, 10, 5, time.Second},
		{[]string{"X-RateLimit-Limit", "10", "X-RateLimit-Remaining", "5", "X-RateLimit-Reset", ""}, 10, 5, time.Minute},
		{[]string{"RateLimit", `;;,=,r=,"x";r=-4;t=x`}, -1, -1, 0},
	} {
		b := &forge.Budget{Now: func() time.Time { return noon }}
		a := api(t, b, b.Now, func(*http.Request) *http.Response { return says(200, "{}", c.headers...) })
		if err := call(t.Context(), a, "GET", "/x"); err != nil {
			t.Fatal(err)
		}
		var want time.Time
		if c.resets > 0 {
			want = noon.Add(c.resets)
		}
		if s := b.State(); s.Limit != c.limit || s.Left != c.left || !s.Resets.Equal(want) {
			t.Errorf("%q: %+v", c.headers, s)
		}
	}
}

// FuzzBudget: whatever the forge says, an hour later it is asked again.
func FuzzBudget(f *testing.F) {
	f.Add(429, "7", "5000", "0", "1795177200", "core", `"a";r=0;t=1`, "true")
	f.Add(200, "", "10", "1", "99999999999", "", "limit=1, remaining=0, reset=1e9", "")
	f.Add(403, "Fri, 31 Dec 9999 23:59:59 GMT", "-1", "NaN", "-1", "x", ";;=", "TRUE")
	f.Fuzz(func(t *testing.T, status int, after, limit, left, reset, name, draft, near string) {
		if status < 200 || status > 599 || status/100 == 3 {
			return
		}
		now := &clock{noon}
		b := &forge.Budget{Now: now.now}
		asked := 0
		a := api(t, b, now.now, func(*http.Request) *http.Response {
			asked++
			return says(status, "", "Retry-After", after, "X-RateLimit-Limit", limit, "X-RateLimit-Remaining", left, "X-RateLimit-Reset", reset,
				"X-RateLimit-Resource", name, "RateLimit", draft, "X-RateLimit-NearLimit", near)
		})
		for range 3 {
			before := asked
			for range 3 {
				err := call(t.Context(), a, "GET", "/x")
				if at := until(err); !at.IsZero() && (!at.After(now.at) || at.After(now.at.Add(time.Hour))) {
					t.Errorf("again at %s, when it is %s: %v", at, now.at, err)
				}
				s := b.State()
				if s.Limit < -1 || s.Left < -1 || s.Resets.After(now.at.Add(time.Hour)) || s.Quiet.After(now.at.Add(time.Hour)) || len(s.Reason) > 200 {
					t.Errorf("%+v", s)
				}
			}
			if asked == before {
				t.Errorf("not asked for an hour: %+v", b.State())
			}
			now.at = now.at.Add(time.Hour)
		}
	})
}

// held is a body that somebody reads for long.
type held struct{ gate chan struct{} }

func (h held) Read([]byte) (int, error) { <-h.gate; return 0, io.EOF }
func (h held) Close() error             { return nil }

// TestConcurrent: four at once, for all repositories, until their answers are read.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &forge.Budget{}
		gate := make(chan struct{})
		var under atomic.Int64
		f := func(*http.Request) *http.Response {
			under.Add(1)
			resp := says(200, "")
			resp.Body, resp.ContentLength = held{gate}, -1
			return resp
		}
		var wg sync.WaitGroup
		for range 10 {
			a := api(t, b, nil, f)
			wg.Go(func() {
				if err := call(t.Context(), a, "GET", "/x"); err != nil {
					t.Error(err)
				}
				under.Add(-1)
			})
		}
		synctest.Wait()
		if n, s := under.Load(), b.State(); n != 4 || s.Asked != 4 || s.Waited != 6 {
			t.Errorf("%d requests are under way; %+v", n, s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := call(ctx, api(t, b, nil, f), "GET", "/x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits can be told to stop: %v", err)
		}
		close(gate)
		wg.Wait()
		if s := b.State(); s.Asked != 10 {
			t.Errorf("%+v", s)
		}
	})
}

// TestLeak: who never closes an answer holds a place only as long as it may wait.
func TestLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &forge.Budget{Concurrent: 1}
		a := api(t, b, nil, func(*http.Request) *http.Response { return says(200, "{}") })
		resp, err := a.HTTP().Get("https://forge.example.com/x")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }() // much too late
		time.Sleep(59 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if err := call(ctx, a, "GET", "/x"); err == nil {
			t.Error("two at once")
		}
		time.Sleep(time.Second)
		if err := call(t.Context(), a, "GET", "/x"); err != nil {
			t.Error(err)
		}
		if s := b.State(); s.Asked != 2 {
			t.Errorf("%+v", s)
		}
	})
}
