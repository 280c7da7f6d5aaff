package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// concrete fills a route's pattern with things that exist.
var concrete = strings.NewReplacer("{$}", "", "{run}", "9815", "{repo}", "infra", "{env}", "production", "{id...}", "43", "{file}", "style.css", "{forge}", "corp", "{token}", "2")

// signIn opens a session as a browser does and returns its cookie and the token of its forms.
func signIn(t *testing.T, s *web.Server) (cookie, form string) {
	t.Helper()
	c := &client{t, s.Handler(), http.Header{}}
	link := strings.TrimPrefix(s.SignInLink("http://localhost/"), "http://localhost")
	w := c.do("GET", link, "")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
		t.Fatalf("sign-in link: %d to %q", w.Code, w.Header().Get("Location"))
	}
	set := w.Result().Cookies()[0]
	if !set.HttpOnly || set.SameSite != http.SameSiteStrictMode || set.Name != web.CookieName {
		t.Errorf("cookie is %v", set)
	}
	cookie = set.Name + "=" + set.Value
	page := c.do("GET", "/runs/9815", "", "Cookie", cookie)
	m := regexp.MustCompile(`name="` + web.FormField + `" value="([^"]+)"`).FindStringSubmatch(page.Body.String())
	if m == nil {
		t.Fatal("the page has no form token")
	}
	return cookie, m[1]
}

// TestEveryRoute walks the table of routes with every kind of credentials. A new route is in the walk by being in the table; one
// whose action nobody declared is closed.
func TestEveryRoute(t *testing.T) {
	plain, _ := preview.NewServer()
	if len(plain.Routes()) < 30 {
		t.Fatalf("only %d routes", len(plain.Routes()))
	}
	public := map[string]bool{"GET /healthz": true, "GET /readyz": true, "GET /static/{file}": true, "GET /sign-in": true, "POST /sign-in": true,
		"POST /hooks/{forge}": true, "GET /auth/start": true, "GET /auth/callback": true}
	for _, rt := range plain.Routes() {
		pattern := rt.Method + " " + rt.Path
		t.Run(pattern, func(t *testing.T) {
			if (rt.Action == web.ActionPublic) != public[pattern] {
				t.Fatalf("its action is %q; what is public is listed in this test", rt.Action)
			}
			if err := web.Authorize(plumbline.Access{}, web.Local, rt.Action, ""); err != nil {
				t.Fatalf("its action %q is not one that authorize knows: %v", rt.Action, err)
			}
			path, body := concrete.Replace(rt.Path), ""
			if strings.HasPrefix(rt.Path, "/api/") && rt.Method == "POST" {
				body = "{}"
			}
			if rt.Path == "/runs/{run}/events" {
				path = "/runs/9811/events" // one that has ended
			}
			if rt.Path == "/api/v1/why" {
				path += "?run=9815"
			}
			s, store := preview.NewServer()
			for _, tt := range []struct {
				name   string
				header func(cookie, form string) []string
				in     bool
				csrf   bool // refused when it would change something
			}{
				{name: "no credentials", header: func(_, _ string) []string { return nil }},
				{name: "a wrong token", header: func(_, _ string) []string { return []string{"Authorization", "Bearer previeW"} }},
				{name: "an empty token", header: func(_, _ string) []string { return []string{"Authorization", "Bearer "} }},
				{name: "a wrong token with a good cookie", header: func(c, f string) []string {
					return []string{"Authorization", "Bearer x", "Cookie", c, web.FormHeader, f}
				}},
				{name: "a wrong cookie", header: func(_, f string) []string { return []string{"Cookie", web.CookieName + "=x", web.FormHeader, f} }},
				{name: "the token", header: func(_, _ string) []string { return []string{"Authorization", "Bearer " + preview.Token} }, in: true},
				{name: "a session", header: func(c, f string) []string { return []string{"Cookie", c, web.FormHeader, f} }, in: true},
				{name: "a session without its form token", header: func(c, _ string) []string { return []string{"Cookie", c} }, in: true, csrf: true},
				{name: "a session with another's form token", header: func(c, _ string) []string { return []string{"Cookie", c, web.FormHeader, "x"} }, in: true, csrf: true},
				{name: "a session, from another site", header: func(c, f string) []string {
					return []string{"Cookie", c, web.FormHeader, f, "Sec-Fetch-Site", "cross-site"}
				}, in: true, csrf: true},
			} {
				if rt.Method == "POST" {
					s, store = preview.NewServer() // the last one may have been let in
				}
				cookie, form := signIn(t, s)
				c := &client{t, s.Handler(), http.Header{}}
				w := c.do(rt.Method, path, body, tt.header(cookie, form)...)
				refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden
				want := rt.Action != web.ActionPublic && (!tt.in || (tt.csrf && rt.Method == "POST"))
				if pattern == "POST /sign-in" {
					want = true // no token in the form
				}
				if pattern == "POST /hooks/{forge}" {
					want = tt.name == "a session, from another site" // no page has anything to deliver
				}
				if refused != want {
					t.Errorf("with %s: status %d", tt.name, w.Code)
				}
				if r, _ := store.Run(t.Context(), 9815); want && (r.State != plumbline.StateAwaiting || len(store.Filed()) > 0) {
					t.Errorf("with %s: refused, and done all the same", tt.name)
				}
				if h := w.Header(); h.Get("Content-Security-Policy") == "" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("with %s: headers are %v", tt.name, h)
				}
				if w.Header().Get("Cache-Control") != "no-store" && pattern != "GET /static/{file}" {
					t.Errorf("with %s: it may be kept by caches", tt.name)
				}
				if !tt.in && strings.Contains(w.Body.String(), "Plumbline preview") {
					t.Errorf("with %s: strangers are told the version", tt.name)
				}
			}
		})
	}
}

func TestAuthorize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		who    web.Identity
		action web.Action
		want   error
	}{
		{"somebody may what is public", web.Identity{}, web.ActionPublic, nil},
		{"local may approve", web.Local, web.ActionApprove, nil},
		{"another may not", web.Identity{Name: "ops-b"}, web.ActionApprove, plumbline.ErrDenied},
		{"nobody may what was not declared", web.Local, "", plumbline.ErrDenied},
		{"nor what is misspelt", web.Local, "aprove", plumbline.ErrDenied},
	} {
		if err := web.Authorize(plumbline.Access{}, tt.who, tt.action, "infra/production"); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if status, _ := web.Problems(web.Authorize(plumbline.Access{}, web.Identity{}, web.ActionView, "")); status != http.StatusUnauthorized {
		t.Errorf("nobody is answered with %d", status)
	}
}

func TestSignInLink(t *testing.T) {
	now := preview.Now
	store := preview.NewStore()
	s := web.New(web.Config{Store: store, Logs: store, Plans: store, Token: plumbline.NewSecret(preview.Token), Now: func() time.Time { return now }})
	c := &client{t, s.Handler(), http.Header{}}
	link := func() string { return strings.TrimPrefix(s.SignInLink("http://localhost"), "http://localhost") }

	once := link()
	if w := c.do("HEAD", once, ""); w.Code != http.StatusOK {
		t.Errorf("HEAD: %d", w.Code)
	}
	w := c.do("GET", once, "")
	if w.Code != http.StatusSeeOther {
		t.Fatalf("first use, after a HEAD: %d", w.Code)
	}
	cookie := w.Header().Get("Set-Cookie")
	if w := c.do("GET", once, ""); w.Code != http.StatusUnauthorized {
		t.Errorf("second use: %d", w.Code)
	}
	late := link()
	now = now.Add(15 * time.Minute)
	if w := c.do("GET", late, ""); w.Code != http.StatusUnauthorized {
		t.Errorf("after 15 minutes: %d", w.Code)
	}
	if w := c.do("GET", "/runs", "", "Cookie", cookie); w.Code != http.StatusOK {
		t.Errorf("the session after 15 minutes: %d", w.Code)
	}
	now = now.Add(24 * time.Hour)
	if w := c.do("GET", "/runs", "", "Cookie", cookie); w.Code != http.StatusUnauthorized {
		t.Errorf("the session after a day: %d", w.Code)
	}
}

func TestSignInWithToken(t *testing.T) {
	s, _ := preview.NewServer()
	c := &client{t, s.Handler(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	if w := c.do("POST", "/sign-in", "token=wrong"); w.Code != http.StatusUnauthorized || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: %d, %q", w.Code, w.Header().Get("Set-Cookie"))
	}
	if w := c.do("POST", "/sign-in", "token="+preview.Token, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("from another site: %d", w.Code)
	}
	w := c.do("POST", "/sign-in", "token="+preview.Token)
	if w.Code != http.StatusSeeOther || w.Header().Get("Set-Cookie") == "" {
		t.Errorf("the token: %d", w.Code)
	}
	none := web.New(web.Config{Store: preview.NewStore()})
	c.h = none.Handler()
	if w := c.do("POST", "/sign-in", "token="); w.Code != http.StatusUnauthorized {
		t.Errorf("no token where none is configured: %d", w.Code)
	}
}

func TestSession(t *testing.T) {
	s, store := preview.NewServer()
	cookie, form := signIn(t, s)
	c := &client{t, s.Handler(), http.Header{"Cookie": {cookie}, "Content-Type": {"application/x-www-form-urlencoded"}}}
	r, _ := store.Run(t.Context(), 9815)
	send := func(path string, kv ...string) *httptest.ResponseRecorder {
		v := url.Values{web.FormField: {form}}
		for i := 0; i < len(kv); i += 2 {
			v.Add(kv[i], kv[i+1])
		}
		return c.do("POST", path, v.Encode(), "Sec-Fetch-Site", "same-origin")
	}

	if w := send("/runs/9815/approve", "digest", strings.Repeat("0", 64)); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Refused: the plan of run 9815 is b41f9c0e6a7d now") {
		t.Errorf("a stale digest: %d %s", w.Code, w.Body)
	}
	if w := send("/runs/9815/approve", "digest", r.Plan.Digest); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/runs/9815" {
		t.Errorf("approve: %d to %s", w.Code, w.Header().Get("Location"))
	}
	if r, _ := store.Run(t.Context(), 9815); r.State != plumbline.StateApproved {
		t.Errorf("the run is %s", r.State)
	}
	if w := send("/environments/infra/production/deploy", "stack", "live/net"); w.Code != http.StatusSeeOther || len(store.Filed()) != 1 {
		t.Errorf("deploy: %d, %v", w.Code, store.Filed())
	}
	if w := send("/sign-out"); w.Code != http.StatusSeeOther {
		t.Errorf("sign out: %d", w.Code)
	}
	if w := c.do("GET", "/runs", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", w.Code)
	}
}

// TestVisitFromAnotherSite: a browser keeps a strict cookie back when a link on the forge leads here. The page asks again by itself,
// from here, once.
func TestVisitFromAnotherSite(t *testing.T) {
	s, _ := preview.NewServer()
	c := &client{t, s.Handler(), http.Header{}}
	again := func(site string) bool {
		w := c.do("GET", "/runs/9815", "", "Sec-Fetch-Site", site, "Sec-Fetch-Mode", "navigate")
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", site, w.Code)
		}
		return strings.Contains(w.Body.String(), `http-equiv="refresh"`)
	}
	if !again("cross-site") || again("same-origin") || again("none") {
		t.Error("it asks again when it should not, or does not when it should")
	}
}

func TestHost(t *testing.T) {
	store := preview.NewStore()
	s := web.New(web.Config{Store: store, Logs: store, Plans: store, PublicURL: "https://Plumbline.example.com:8443/", Token: plumbline.NewSecret(preview.Token)})
	c := &client{t, s.Handler(), http.Header{"Authorization": {"Bearer " + preview.Token}}}
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "demo.localhost:8080": 200, "127.0.0.1:1": 200, "127.8.8.8": 200, "[::1]:8080": 200, "[::1]": 200,
		"plumbline.example.com": 200, "PLUMBLINE.example.com:8443": 200,
		"evil.example.com": 421, "localhost.evil.com": 421, "plumbline.example.com.evil.com": 421, "10.0.0.1:8080": 421, "": 421, "0.0.0.0": 421,
	} {
		if w := c.do("GET", "/runs", "", "Host", host); w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
		if w := c.do("GET", "/healthz", "", "Host", host); w.Code != 200 || w.Body.String() != "ok\n" {
			t.Errorf("health by Host %q: %d", host, w.Code)
		}
	}
	w := c.do("GET", strings.TrimPrefix(s.SignInLink("http://localhost"), "http://localhost"), "")
	if len(w.Result().Cookies()) != 1 || !w.Result().Cookies()[0].Secure {
		t.Error("behind https, the cookie travels in clear")
	}
}

// FuzzNext: wherever a sign-in is told to go on to, it goes on here.
func FuzzNext(f *testing.F) {
	for _, s := range []string{
		"/runs?stack=live%2Fnet", "", "runs", "//evil.example.com", "/\\evil.example.com", "/\t/evil.example.com", "https://evil.example.com", "javascript:alert(1)", "/%2f/evil.example.com",
		"/%5cevil.example.com", "///evil.example.com", "/..//evil.example.com", "/ /evil", "/auth/start", "/sign-in?next=/", "/runs#x", "/\r\nSet-Cookie: x=y", "/;url=//evil.example.com",
	} {
		f.Add(s)
	}
	base, err := url.Parse(ownURL + "/auth/callback")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := web.LocalPath(next)
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n\t ") {
			t.Fatalf("%q goes on to %q", next, got)
		}
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(u.Path, "/auth/") {
			t.Fatalf("%q goes on to %q, which is %v, %v", next, got, u, err)
		}
		if again := web.LocalPath(got); again != got {
			t.Fatalf("%q becomes %q, then %q", next, got, again)
		}
	})
}

func TestNext(t *testing.T) {
	for next, want := range map[string]string{
		"/runs?stack=live%2Fnet": "/runs?stack=live%2Fnet", "/runs/9815": "/runs/9815", "": "/", "runs": "/", "//evil.example.com": "/", "/\\evil.example.com": "/",
		"https://evil.example.com": "/", "/auth/start": "/", "/sign-in": "/", "/a b": "/", "/" + strings.Repeat("a", 1000): "/", "/merge-requests/infra/tidy/names": "/merge-requests/infra/tidy/names",
	} {
		if got := web.LocalPath(next); got != want {
			t.Errorf("%q goes on to %q, want %q", next, got, want)
		}
	}
}

// told is the audit log.
func told(t *testing.T, store *preview.Store) []plumbline.AuditRow {
	t.Helper()
	rows, err := store.AuditEntries(t.Context(), plumbline.AuditFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

const ownURL = "https://plumbline.example.com"
