package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A GiteaServer is a real Gitea on loopback. Its methods speak its HTTP API directly, so that they are independent of the
// adapter under test. Its administrator owns the repositories.
type GiteaServer struct {
	URL        string // without a slash at the end
	AdminUser  string
	AdminToken string // may do anything
	BotUser    string // stands for Plumbline: may write to every repository
	BotToken   string // scopes write:repository, write:issue and read:user
}

const (
	giteaAdmin = "administrator" // Forgejo keeps "admin" for itself
	giteaBot   = "plumbline-bot"
)

// Gitea returns the Gitea of this test process, which its first call takes some seconds to start. Tests share it; each
// should create a repository of its own. Without PLUMBLINE_E2E=1 the test is skipped, and without Gitea in the cache too.
func Gitea(t testing.TB) *GiteaServer {
	t.Helper()
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	bin, err := cached("gitea")
	if err != nil {
		unavailable(t, "no Gitea to test with (run make e2e): %v", err)
	}
	g, err := gitea(bin)
	if err != nil {
		t.Fatalf("start %s: %v", bin, err)
	}
	return g
}

var giteaOnce struct {
	sync.Once
	server *GiteaServer
	err    error
}

// gitea returns the server of this process; the first call starts it.
func gitea(bin string) (*GiteaServer, error) {
	giteaOnce.Do(func() { giteaOnce.server, giteaOnce.err = startGitea(bin) })
	return giteaOnce.server, giteaOnce.err
}

// startGitea makes a database with an administrator, serves it on a free port and adds the bot and the tokens.
func startGitea(bin string) (_ *GiteaServer, err error) {
	dir, err := os.MkdirTemp("", "plumbline-gitea-")
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
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	ini := filepath.Join(dir, "app.ini")
	if err := os.WriteFile(ini, []byte(giteaINI(dir, filepath.Dir(bin), me.Username, url, port)), 0o600); err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GITEA_WORK_DIR=" + dir, "GIT_CONFIG_NOSYSTEM=1"}

	password := rand.Text()
	for _, args := range [][]string{
		{"migrate"}, // the next command expects the tables
		{"admin", "user", "create", "--admin", "--username", giteaAdmin, "--password", password,
			"--email", giteaAdmin + "@example.com", "--must-change-password=false"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		cmd := exec.CommandContext(ctx, bin, append([]string{"--config", ini}, args...)...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return nil, fmt.Errorf("gitea %s: %w\n%s", args[0], err, out)
		}
	}

	s := server{
		Dir:  dir,
		Args: []string{bin, "--config", ini, "web"},
		Env:  env,
		Stop: syscall.SIGKILL, // SIGTERM would make it wait for its clients
	}
	ended, err := s.start()
	if err != nil {
		return nil, err
	}
	kept = true // by the keeper
	if err := s.await(ended, func() error { return healthy(url + "/api/healthz") }); err != nil {
		return nil, err
	}

	g := &GiteaServer{URL: url, AdminUser: giteaAdmin, BotUser: giteaBot}
	if g.AdminToken, err = g.createToken(giteaAdmin, password, "all"); err != nil {
		return nil, err
	}
	if g.BotToken, err = g.createUser(giteaBot, "write:repository", "write:issue", "read:user"); err != nil {
		return nil, err
	}
	return g, nil
}

// giteaINI returns a configuration that starts quickly and reaches nothing beyond loopback. source holds the templates
// that belong to the program.
func giteaINI(dir, source, runUser, url string, port int) string {
	return strings.NewReplacer(
		"{dir}", dir,
		"{source}", source,
		"{user}", runUser,
		"{url}", url,
		"{port}", fmt.Sprint(port),
		"{secret}", rand.Text(),
		"{internal}", rand.Text(),
	).Replace(`RUN_MODE = prod
RUN_USER = {user}
WORK_PATH = {dir}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true

[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {url}/
LOCAL_ROOT_URL = {url}/
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false
STATIC_ROOT_PATH = {source}
APP_DATA_PATH = {dir}/data

[database]
DB_TYPE = sqlite3
PATH = {dir}/data/gitea.db
SQLITE_JOURNAL_MODE = WAL

[repository]
ROOT = {dir}/repos
DEFAULT_BRANCH = main

[security]
INSTALL_LOCK = true
SECRET_KEY = {secret}
INTERNAL_TOKEN = {internal}
; a costly hash would slow down every request with a password
PASSWORD_HASH_ALGO = pbkdf2$1000$50

[oauth2]
ENABLED = false

[service]
DISABLE_REGISTRATION = true

[openid]
ENABLE_OPENID_SIGNIN = false

[webhook]
; the default refuses to deliver to this machine
ALLOWED_HOST_LIST = loopback

[indexer]
ISSUE_INDEXER_TYPE = db

[actions]
ENABLED = false

[packages]
ENABLED = false

[log]
MODE = console
LEVEL = Warn
`)
}

// healthy asks the URL once.
func healthy(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// freePort returns a TCP port of loopback that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
