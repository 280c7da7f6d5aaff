package github_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/github"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// clock is moved by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

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

func password(t *testing.T, c *github.Client) string {
	t.Helper()
	s, err := c.Password(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Reveal()
}

func TestAppToken(t *testing.T) {
	h := newHub(t)
	k := &clock{at: now}
	h.install(k.now)
	c := h.appClient(t, k.now)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := password(t, c); got != "ghs_1_secret" {
				t.Errorf("password %s", got)
			}
		})
	}
	wg.Wait()
	if h.app.made != 1 {
		t.Errorf("%d tokens for all", h.app.made)
	}
	for _, claims := range h.app.claims {
		if claims.Issuer != "4242" || !claims.IssuedAt.Equal(now.Add(-time.Minute)) || !claims.ExpiresAt.Equal(now.Add(9*time.Minute)) || len(claims.Audience) > 0 || claims.Subject != "" {
			t.Errorf("claims %+v", claims)
		}
	}
	k.wait(54 * time.Minute)
	if got := password(t, c); got != "ghs_1_secret" {
		t.Errorf("six minutes before its end: %s", got)
	}
	k.wait(time.Minute)
	if got := password(t, c); got != "ghs_2_secret" {
		t.Errorf("five minutes before its end: %s", got)
	}
	k.wait(24 * time.Hour)
	if err := list(t, c); err != nil || h.app.made != 3 {
		t.Errorf("a day later: %v, %d tokens", err, h.app.made)
	}
	// The token is taken away, as when the App's permissions change.
	h.locked(func() { delete(h.tokens, "ghs_3_secret") })
	if err := list(t, c); !errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("with a token that was taken away: %v", err)
	}
	if err := list(t, c); err != nil || h.app.made != 4 {
		t.Errorf("afterwards: %v, %d tokens", err, h.app.made)
	}
}

func TestAppRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*hub)
		text  string
	}{
		"not installed": {func(h *hub) { h.app.installation = 0 }, "app 4242 is not installed on acme/infra"},
		"another app":   {func(h *hub) { h.app.id = 1 }, "A JSON web token could not be decoded"},
		"ended at once": {func(h *hub) { h.app.life = -time.Second }, "has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t)
			h.install(time.Now)
			id := h.OpenMR(t, "x", "main", "change")
			c.spoil(h)
			client := h.appClient(t, nil)
			_, err := client.MergeRequest(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), c.text) || errors.Is(err, plumbline.ErrNotFound) || strings.Contains(err.Error(), "ghs_") {
				t.Errorf("%v", err)
			}
			if name != "ended at once" && !errors.Is(err, plumbline.ErrDenied) {
				t.Errorf("%v is not %v", err, plumbline.ErrDenied)
			}
			if _, err := client.Password(t.Context()); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("password: %v", err)
			}
		})
	}
}

// TestAppLimited: what GitHub says about time is not taken for a missing permission.
func TestAppLimited(t *testing.T) {
	h := newHub(t)
	h.install(time.Now)
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	var wait *plumbline.Retry
	if err := list(t, h.appClient(t, nil)); !errors.As(err, &wait) || errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("%v", err)
	}
}

// TestAppGivenUp: who does not want to wait any more does not take the token from the others.
func TestAppGivenUp(t *testing.T) {
	h := newHub(t)
	h.install(time.Now)
	asked, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.before = func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(asked) })
		<-gate
		return false
	}
	c := h.appClient(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := c.Password(ctx)
		first <- err
	}()
	<-asked
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(gate)
	if got := password(t, c); got != "ghs_1_secret" || h.app.made != 1 {
		t.Errorf("password %s, %d tokens", got, h.app.made)
	}
}

// TestAppMasked: a token that GitHub repeats is not in the error.
func TestAppMasked(t *testing.T) {
	h := newHub(t)
	h.install(time.Now)
	c := h.appClient(t, nil)
	secret := password(t, c)
	h.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		_, err := w.Write([]byte(`{"message":"not with ` + secret + `"}`))
		return err == nil
	}
	if err := list(t, c); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), plumbline.Masked) {
		t.Errorf("%v", err)
	}
}

func fixture(t *testing.T) forgetest.FaultFixture {
	h := newHub(t)
	return forgetest.FaultFixture{
		Open: func(t *testing.T, url string, dial forge.Dial) forge.Client {
			c, err := github.New(github.Config{API: url, Project: "acme/infra", Token: plumbline.NewSecret(token), Dial: dial})
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Backend: h, Secret: token, People: h, // the suite checks what is asked
		Tolerates: func(call, fault string, r *http.Request) string {
			switch {
			case strings.HasSuffix(r.URL.Path, "/activity") && (fault == "403" || fault == "404" || fault == "422"):
				return "who pushed is not told everywhere"
			case call == "get" && fault == "404":
				return "all is not found, the repository as well: it is hidden"
			}
			return ""
		},
	}
}

func TestFaults(t *testing.T) { forgetest.Faults(t, fixture(t)) }

func TestCost(t *testing.T) { forgetest.Cost(t, fixture(t), forgetest.GitHubToken) }
