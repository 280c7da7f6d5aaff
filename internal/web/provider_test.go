package web_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/web"
	"github.com/plumbline/plumbline/internal/web/preview"
)

// TestRealProvider signs in through the form of a provider that somebody else wrote.
func TestRealProvider(t *testing.T) {
	o := testenv.OIDC(t)
	own := strings.TrimSuffix(testenv.OIDCRedirect, "/auth/callback")
	host := strings.TrimPrefix(own, "http://")
	serve := func(secret string) (func(user, password string) (page, body string), *preview.Store) {
		store := preview.NewStore()
		srv := httptest.NewServer(web.New(web.Config{
			Store: store, Logs: store, Plans: store, Repositories: store.Repositories(), PublicURL: own, Tokens: store,
			Access: plumbline.Access{Roles: []plumbline.Role{{Name: plumbline.RoleViewer, Users: []string{o.User + "@example.com"}}}},
			OIDC:   &web.OIDC{Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: plumbline.NewSecret(secret)},
		}).Handler())
		t.Cleanup(srv.Close)
		return func(user, password string) (string, string) {
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			// The provider knows us by one address; whoever goes there is brought here.
			transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr == host {
					addr = srv.Listener.Addr().String()
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}}
			defer transport.CloseIdleConnections()
			b := &surfer{t: t, c: &http.Client{Jar: jar, Transport: transport}}
			b.get(own + "/runs/9815")
			b.get(own + b.find(`href="(/sign-in\?[^"]+)"`))
			b.get(b.find(`href="(http://localhost[^"]+/auth/start[^"]*)"`))
			if !strings.HasPrefix(b.at.String(), o.Issuer+"login/username") {
				t.Fatalf("the sign-in leads to %s: %s", b.at, b.body)
			}
			b.post(b.at.ResolveReference(&url.URL{Path: b.find(`action="([^"]+)"`)}).String(),
				url.Values{"id": {b.find(`name="id" value="([^"]+)"`)}, "username": {user}, "password": {password}})
			if next := regexp.MustCompile(`content="0; url=([^"]+)"`).FindStringSubmatch(b.body); next != nil {
				b.get(own + next[1])
			}
			return b.at.String(), b.body
		}, store
	}

	signIn, store := serve(o.ClientSecret)
	if at, body := signIn(o.User, o.Password); at != own+"/runs/9815" || !strings.Contains(body, ">alice@example.com</a>") {
		t.Errorf("after signing in: %s %s", at, body)
	}
	if log := told(t, store); len(log) != 1 || log[0].Action != plumbline.AuditSignIn || log[0].Who != "alice@example.com" {
		t.Errorf("the audit log has %+v", log)
	}
	if at, body := signIn(o.User, "wrong"); !strings.HasPrefix(at, o.Issuer) || !strings.Contains(body, "username or password wrong") {
		t.Errorf("with a wrong password: %s %s", at, body)
	}
	if at, body := signIn(o.Other, o.Password); at != own+"/runs/9815" || !strings.Contains(body, "bob@example.com may not view in infra/production.") {
		t.Errorf("somebody who has no role: %s %s", at, body)
	}
	if log := told(t, store); len(log) != 2 || log[1].Action != plumbline.AuditSignIn || log[1].Who != "bob@example.com" {
		t.Errorf("the audit log has %+v", log)
	}
	signIn, _ = serve("not-" + o.ClientSecret)
	if at, body := signIn(o.User, o.Password); !strings.HasPrefix(at, own+"/auth/callback?") || !strings.Contains(body, "client_id and client_secret") {
		t.Errorf("with a wrong client secret: %s %s", at, body)
	}
}

// surfer is a browser without JavaScript.
type surfer struct {
	t    *testing.T
	c    *http.Client
	at   *url.URL
	body string
}

func (s *surfer) get(address string) {
	s.t.Helper()
	resp, err := s.c.Get(address)
	s.look(resp, err)
}

func (s *surfer) post(address string, form url.Values) {
	s.t.Helper()
	resp, err := s.c.PostForm(address, form)
	s.look(resp, err)
}

func (s *surfer) look(resp *http.Response, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.at, s.body = resp.Request.URL, string(b)
}

// find is what an expression catches on the page.
func (s *surfer) find(expression string) string {
	s.t.Helper()
	m := regexp.MustCompile(expression).FindStringSubmatch(s.body)
	if m == nil {
		s.t.Fatalf("%s has no %s: %s", s.at, expression, s.body)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}
