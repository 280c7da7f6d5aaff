package testenv

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// An OIDCServer is a real OpenID Connect provider on loopback, with a form to sign in.
type OIDCServer struct {
	Issuer       string // "http://localhost:40123/"
	ClientID     string
	ClientSecret string
	Password     string // of everybody
	User, Other  string // their e-mail addresses are these and "@example.com"
}

// OIDCRedirect is where the provider sends people back to. Nobody listens there: a test's browser must know better.
const OIDCRedirect = "http://localhost:59321/auth/callback"

// OIDC returns the OpenID Connect provider of this test process, which its first call starts. Without it in the cache the test is skipped.
func OIDC(t testing.TB) *OIDCServer {
	t.Helper()
	bin, err := cached("oidc-provider")
	if err != nil {
		unavailable(t, "no OpenID Connect provider to test with (run make tools): %v", err)
	}
	oidcOnce.Do(func() { oidcOnce.server, oidcOnce.err = startOIDC(bin) })
	if oidcOnce.err != nil {
		t.Fatalf("start %s: %v", bin, oidcOnce.err)
	}
	return oidcOnce.server
}

var oidcOnce struct {
	sync.Once
	server *OIDCServer
	err    error
}

func startOIDC(bin string) (_ *OIDCServer, err error) {
	dir, err := os.MkdirTemp("", "plumbline-oidc-")
	if err != nil {
		return nil, err
	}
	kept := false
	defer func() {
		if !kept {
			_ = os.RemoveAll(dir) // the error that is being returned matters more
		}
	}()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	o := &OIDCServer{
		Issuer: fmt.Sprintf("http://localhost:%d/", port), ClientID: "web", ClientSecret: "secret", Password: "correct horse", User: "alice", Other: "bob",
	}
	users := map[string]any{}
	for i, name := range []string{o.User, o.Other} {
		id := fmt.Sprintf("id%d", i+1)
		users[id] = map[string]any{
			"ID": id, "Username": name, "Password": o.Password, "FirstName": name, "LastName": "Example", "Email": name + "@example.com", "EmailVerified": true,
			"PreferredLanguage": "en",
		}
	}
	b, err := json.Marshal(users)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "users.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return nil, err
	}
	s := server{
		Dir: dir, Args: []string{bin}, Stop: syscall.SIGKILL,
		Env: []string{fmt.Sprintf("PORT=%d", port), "USERS_FILE=" + file, "REDIRECT_URI=" + OIDCRedirect},
	}
	ended, err := s.start()
	if err != nil {
		return nil, err
	}
	kept = true // by the keeper
	if err := s.await(ended, func() error { return healthy(strings.TrimSuffix(o.Issuer, "/") + "/.well-known/openid-configuration") }); err != nil {
		return nil, err
	}
	return o, nil
}
