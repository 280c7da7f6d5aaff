package codecommit_test

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/codecommit"
	"github.com/plumbline/plumbline/internal/testenv"
)

// TestGitPassword compares with what the tests of git-remote-codecommit expect (github.com/aws/git-remote-codecommit, test/git_url_test.py).
func TestGitPassword(t *testing.T) {
	at := time.Date(2017, 12, 24, 11, 53, 20, 0, time.UTC)
	for _, c := range []struct{ token, endpoint, username, password string }{
		{"", "", "access", "20171224T115320Zb6df2d758a8023b2f000a546417007b65494f3ce8ad0300fd45fcfa173f1959a"},
		{"token", "", "access%token", "20171224T115320Zb6df2d758a8023b2f000a546417007b65494f3ce8ad0300fd45fcfa173f1959a"},
		{"", "https://land.called.honahlee", "access", "20171224T115320Za14a37a53035bbceb6e1748247b143124fe7326cdffd3d418236a592ce6158a0"},
	} {
		client := newClient(t, codecommit.Config{
			Region: "us-west-2", Project: "test_repo", GitEndpoint: c.endpoint,
			Credentials: credentials.NewStaticCredentialsProvider("access", "secret", c.token), Dial: forge.Dial{Now: func() time.Time { return at }},
		})
		username, password, err := client.GitPassword(t.Context())
		if err != nil || username != c.username || password.Reveal() != c.password {
			t.Errorf("%q, %q: %s %s, %v", c.token, c.endpoint, username, password.Reveal(), err)
		}
		if password.String() == c.password {
			t.Error("the password shows")
		}
	}
	none := newClient(t, codecommit.Config{Region: region, Project: project, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no role\nhere " + strings.Repeat("x", 1000))
	})})
	if _, _, err := none.GitPassword(t.Context()); err == nil || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := none.MergeRequests(t.Context(), nil); err == nil || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
		t.Errorf("without credentials: %v", err)
	}
}

// codeCommitGit is a Git server that lets in who has a signature of the last 15 minutes.
func codeCommitGit(t *testing.T, root string) string {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/", Stderr: t.Output(),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "REMOTE_USER=codecommit"},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		username, password, _ := r.BasicAuth()
		if !signed(r, username, password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="codecommit"`)
			http.Error(w, "no", http.StatusForbidden) // CodeCommit answers 403
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// signed computes a password for Git again. Requests are to files below the repository, the signature is of the repository itself.
func signed(r *http.Request, username, password string) bool {
	id, token, _ := strings.Cut(username, "%")
	stamp, signature, ok := strings.Cut(password, "Z")
	at, err := time.Parse("20060102T150405", stamp)
	k, known := keys[id]
	if !ok || err != nil || !known || token != k.token || time.Since(at).Abs() > 15*time.Minute {
		return false
	}
	part := strings.SplitN(r.URL.Path, "/", 5)
	if len(part) != 5 {
		return false
	}
	scope := []string{stamp[:8], region, "codecommit", "aws4_request"}
	asked := "GIT\n" + strings.Join(part[:4], "/") + "\n\nhost:" + r.Host + "\n\nhost\n"
	text := "AWS4-HMAC-SHA256\n" + stamp + "\n" + strings.Join(scope, "/") + "\n" + hash([]byte(asked))
	return signature == hex.EncodeToString(mac(signingKey(k.secret, scope), text))
}

// TestGit clones and pushes with go-git, as Plumbline does, where a real Git server stands behind the signature.
func TestGit(t *testing.T) {
	root := t.TempDir()
	bare := filepath.Join(root, "v1", "repos", project)
	testenv.Git(t, root, "init", "--quiet", "--bare", "--initial-branch=main", bare)
	head := testenv.Push(t, bare, testenv.Change{Files: map[string]string{"main.tf": "# nothing\n"}})
	endpoint := codeCommitGit(t, root)
	clone := func(k key, now time.Time, change func(*codecommit.Config)) error {
		t.Helper()
		conf := codecommit.Config{
			Region: region, Project: project, GitEndpoint: endpoint, Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, k.token),
			Dial: forge.Dial{Now: func() time.Time { return now }},
		}
		if change != nil {
			change(&conf)
		}
		c := newClient(t, conf)
		username, password, err := c.GitPassword(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		repo, err := gogit.PlainCloneContext(t.Context(), t.TempDir(), true, &gogit.CloneOptions{URL: c.Remote(), Auth: &githttp.BasicAuth{Username: username, Password: password.Reveal()}})
		if err != nil {
			return err
		}
		ref, err := repo.Head()
		if err != nil || ref.Hash().String() != head {
			t.Errorf("cloned %v, %v; the head is %s", ref, err, head)
		}
		return nil
	}
	for _, k := range []key{daemon, someone} {
		if err := clone(k, time.Now(), nil); err != nil {
			t.Errorf("%s: %v", k.id, err)
		}
	}
	for name, c := range map[string]struct {
		key    key
		now    time.Time
		change func(*codecommit.Config)
	}{
		"a wrong secret":  {wrong, time.Now(), nil},
		"a wrong token":   {key{daemon.id, daemon.secret, "other", ""}, time.Now(), nil},
		"an old password": {daemon, time.Now().Add(-time.Hour), nil},
		"another region":  {daemon, time.Now(), func(c *codecommit.Config) { c.Region = "us-east-1" }},
	} {
		if err := clone(c.key, c.now, c.change); !errors.Is(err, transport.ErrAuthorizationFailed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
