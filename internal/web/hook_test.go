package web_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// takes is what Config.Hooks is.
type takes func(ctx context.Context, forge string, header http.Header, body []byte) error

// hooked is a server for the forges corp and hub, whose clock is now.
func hooked(t *testing.T, now *time.Time, hooks takes) (*client, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	store := preview.NewStore()
	s := web.New(web.Config{
		Store: store, Logs: store, Plans: store, Token: plumbline.NewSecret(preview.Token), Log: zap.New(core), Hooks: hooks,
		Repositories: []plumbline.Repository{{Name: "a", Forge: "corp"}, {Name: "b", Forge: "corp"}, {Name: "c", Forge: "hub"}},
		Now:          func() time.Time { return *now },
	})
	return &client{t, s.Handler(), http.Header{}}, logs
}

// TestHook: what a forge is answered, which is all that a stranger learns.
func TestHook(t *testing.T) {
	now := preview.Now
	long := strings.Repeat("x", 1<<20+1)
	var got []string
	var out bytes.Buffer
	for _, tt := range []struct {
		name   string
		forge  string
		body   string
		err    error
		header []string
	}{
		{name: "good", forge: "corp", body: `{"zen":"plumb"}`},
		{name: "another forge", forge: "hub"},
		{name: "at the limit", forge: "corp", body: long[1:]},
		{name: "too long", forge: "corp", body: long},
		{name: "a forge without repositories", forge: "nowhere"},
		{name: "a strange name", forge: "..%2f..%2fcorp"},
		{name: "a forge that sends none", forge: "corp", err: fmt.Errorf("webhooks of a forge \"git\": %w", plumbline.ErrNotFound)},
		{name: "not signed", forge: "corp", err: fmt.Errorf("it is not signed: %w", plumbline.ErrDenied)},
		{name: "signed by another", forge: "corp", err: fmt.Errorf("signed with another secret: %w", plumbline.ErrDenied)},
		{name: "signed long ago", forge: "corp", err: fmt.Errorf("five minutes: %w", plumbline.ErrDenied)},
		{name: "no secret is configured", forge: "corp", err: fmt.Errorf("no secret: %w", plumbline.ErrDenied)},
		{name: "no JSON", forge: "corp", err: fmt.Errorf("it is no JSON at byte 7: %w", plumbline.ErrInvalid)},
		{name: "the receiver finds it too long", forge: "corp", err: &http.MaxBytesError{Limit: 1 << 20}},
		{name: "from a page elsewhere", forge: "corp", header: []string{"Sec-Fetch-Site", "cross-site"}},
		{name: "by another name", forge: "corp", header: []string{"Host", "evil.example.com"}},
		{name: "with a wrong token, as a proxy might add it", forge: "corp", header: []string{"Authorization", "Bearer x"}},
	} {
		got = nil
		c, logs := hooked(t, &now, func(_ context.Context, forge string, header http.Header, body []byte) error {
			got = append(got, fmt.Sprintf("%s %s %d", forge, header.Get("X-Event"), len(body)))
			return tt.err
		})
		w := c.do("POST", "/hooks/"+tt.forge, tt.body, append(tt.header, "X-Event", "push")...)
		fmt.Fprintf(&out, "%s\n%d %s\n%v\n\n", tt.name, w.Code, strings.Join(strings.Fields(w.Body.String()), " "), got)
		if answer := w.Body.String(); tt.err != nil && strings.Contains(answer, strings.SplitN(tt.err.Error(), ":", 2)[0]) {
			t.Errorf("%s: a stranger is told why: %s", tt.name, answer)
		}
		for _, line := range logs.All() {
			if line.Level > zapcore.WarnLevel || !errors.Is(tt.err, plumbline.ErrDenied) && !errors.Is(tt.err, plumbline.ErrInvalid) {
				t.Errorf("%s: the log says %v", tt.name, line)
			}
		}
	}
	golden(t, "hooks.txt", out.Bytes())
}

func TestNoHooks(t *testing.T) {
	now := preview.Now
	c, _ := hooked(t, &now, nil)
	if w := c.do("POST", "/hooks/corp", "{}"); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := c.do("GET", "/hooks/corp", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("GET: %d", w.Code)
	}
}

// TestHookInside: what goes wrong on our side leads to the log.
func TestHookInside(t *testing.T) {
	now := preview.Now
	for _, hooks := range []takes{
		func(context.Context, string, http.Header, []byte) error { return errors.New("dial hunter2") },
		func(context.Context, string, http.Header, []byte) error { panic("hunter2") },
	} {
		c, logs := hooked(t, &now, hooks)
		w := c.do("POST", "/hooks/corp", "{}")
		if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "hunter2") || logs.Len() != 1 {
			t.Errorf("%d %s, %v", w.Code, w.Body, logs.All())
		}
		if w := c.do("POST", "/hooks/corp", "{}"); w.Code != http.StatusInternalServerError {
			t.Errorf("once more: %d", w.Code)
		}
	}
}

// TestHookFlood: a forge may deliver so many at once and so many a second; another is not kept waiting by it.
func TestHookFlood(t *testing.T) {
	now, taken := preview.Now, 0
	c, logs := hooked(t, &now, func(context.Context, string, http.Header, []byte) error {
		taken++
		return plumbline.ErrDenied // a stranger's: what is refused counts as well
	})
	flood := func(n int) (let int, last *httptest.ResponseRecorder) {
		taken = 0
		for range n {
			last = c.do("POST", "/hooks/corp", "{}")
		}
		return taken, last
	}
	let, last := flood(web.HookBurst + 5)
	if let != web.HookBurst || last.Code != http.StatusTooManyRequests || last.Header().Get("Retry-After") != "1" {
		t.Errorf("%d were let in, then %d %v", let, last.Code, last.Header())
	}
	golden(t, "hooks-flood.txt", last.Body.Bytes())
	if w := c.do("POST", "/hooks/hub", "{}"); w.Code != http.StatusUnauthorized {
		t.Errorf("another forge: %d", w.Code)
	}
	now = now.Add(time.Second)
	if let, _ := flood(web.HookBurst); let != web.HookRate {
		t.Errorf("a second later, %d", let)
	}
	now = now.Add(-time.Hour) // the clock is set
	if let, _ := flood(1); let != 0 {
		t.Errorf("an hour before, %d", let)
	}
	now = now.Add(time.Hour) // and set right again
	if let, _ := flood(2 * web.HookBurst); let != web.HookBurst {
		t.Errorf("an hour after that, %d", let)
	}
	if logs.Len() != 2 { // once a forge
		t.Errorf("the log was told %d times: %v", logs.Len(), logs.All())
	}
}

// TestHookLog: a wrong secret is told once a while, not at each delivery.
func TestHookLog(t *testing.T) {
	now := preview.Now
	c, logs := hooked(t, &now, func(context.Context, string, http.Header, []byte) error {
		return fmt.Errorf("made with another secret: %w", plumbline.ErrDenied)
	})
	for range 3 {
		c.do("POST", "/hooks/corp", `{"secret":"hunter2"}`, "X-Gitlab-Token", "hunter2")
	}
	now = now.Add(web.HookQuiet)
	c.do("POST", "/hooks/corp", `{"secret":"hunter2"}`)
	if logs.Len() != 2 || strings.Contains(fmt.Sprint(logs.All()), "hunter2") || !strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()), "another secret") {
		t.Errorf("%d: %v", logs.Len(), logs.All())
	}
}

// TestHooksAtOnce: strangers cannot make the server keep more bodies than a few.
func TestHooksAtOnce(t *testing.T) {
	now := preview.Now
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan int)
	c, _ := hooked(t, &now, func(context.Context, string, http.Header, []byte) error {
		entered <- struct{}{}
		<-leave
		return nil
	})
	post := func() { done <- c.do("POST", "/hooks/corp", "{}").Code }
	for range web.HooksAtOnce {
		go post()
		<-entered
	}
	if w := c.do("POST", "/hooks/hub", "{}"); w.Code != http.StatusTooManyRequests {
		t.Errorf("one too many: %d", w.Code)
	}
	close(leave)
	for range web.HooksAtOnce {
		if code := <-done; code != http.StatusOK {
			t.Errorf("one of those that were in: %d", code)
		}
	}
	go post()
	<-entered
	if code := <-done; code != http.StatusOK {
		t.Errorf("afterwards: %d", code)
	}
}

// pipes is a listener whose connections are net.Pipe's, which know the time of a bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error { return nil }
func (pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// TestSlowHook: a body that does not come ends its connection; one that came leaves no deadline behind.
func TestSlowHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := preview.Now
		c, _ := hooked(t, &now, func(ctx context.Context, _ string, _ http.Header, _ []byte) error {
			select {
			case <-ctx.Done():
				return errors.New("the deadline of the body ended what was done with it")
			case <-time.After(2 * web.HookWait):
				return nil
			}
		})
		in := make(pipes)
		srv := &http.Server{Handler: c.h}
		served := make(chan struct{})
		go func() {
			defer close(served)
			if err := srv.Serve(in); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}()
		post := func(body string) (status int, answer string, rest *bufio.Reader) {
			t.Helper()
			conn, far := net.Pipe()
			t.Cleanup(func() { _ = conn.Close() })
			in <- far
			if _, err := io.WriteString(conn, "POST /hooks/corp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n"+body); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close() // it was read to its end
			return resp.StatusCode, string(b), r
		}
		start := time.Now()
		status, answer, r := post("half")
		if took := time.Since(start); status != http.StatusRequestTimeout || !strings.Contains(answer, "did not come to its end") || took != web.HookWait {
			t.Errorf("half of it: %d %s after %s", status, answer, took)
		}
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("the connection is still open: %v", err)
		}
		if status, answer, _ := post("all of i"); status != http.StatusOK || answer != "ok\n" {
			t.Errorf("all of it: %d %s", status, answer)
		}
		close(in)
		<-served
		_ = srv.Close() // connections are the test's
	})
}

// TestHalfHook: a client that goes away has delivered nothing.
func TestHalfHook(t *testing.T) {
	now := preview.Now
	c, _ := hooked(t, &now, func(context.Context, string, http.Header, []byte) error {
		t.Error("half a delivery was taken")
		return nil
	})
	r := httptest.NewRequest("POST", "http://localhost/hooks/corp", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "ended early") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
