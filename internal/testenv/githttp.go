package testenv

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
)

// GitHTTP serves the bare repositories under dir over Git's smart HTTP protocol, for reading and writing, until the test
// ends. The URL carries the user and password that it demands; a repository is at URL + "/name.git".
func GitHTTP(t testing.TB, dir string) (rawURL string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	const user = "plumbline"
	password := rand.Text()
	backend := &cgi.Handler{
		Path:   git,
		Args:   []string{"http-backend"},
		Root:   "/",
		Env:    []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "REMOTE_USER=" + user},
		Stderr: t.Output(),
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if u != user || subtle.ConstantTimeCompare([]byte(p), []byte(password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="plumbline test"`)
			http.Error(w, "wrong user or password", http.StatusUnauthorized)
			return
		}
		if r.ContentLength < 0 { // a large push is sent in chunks; CGI wants the length first
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}
