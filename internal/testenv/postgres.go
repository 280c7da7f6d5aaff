package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres returns the URL of a new, empty PostgreSQL database that is dropped when the test ends. All tests of a process
// share one server, which nobody else can reach. Without PostgreSQL on the machine the test is skipped.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	server := os.Getenv("PLUMBLINE_TEST_POSTGRES")
	if server == "" {
		bin, err := postgresBin()
		if err != nil {
			unavailable(t, "no PostgreSQL to test with (run make tools, or set PLUMBLINE_TEST_POSTGRES): %v", err)
		}
		if server, err = postgres(bin); err != nil {
			t.Fatalf("start PostgreSQL from %s: %v", bin, err)
		}
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme == "" {
		t.Fatalf("PLUMBLINE_TEST_POSTGRES must be a URL, as in postgres://user@host/postgres: %v", err)
	}
	name := "plumbline_test_" + strings.ToLower(rand.Text())
	if err := postgresExec(server, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database %s: %v", name, err)
	}
	t.Cleanup(func() {
		// Connections that the test left open would otherwise keep the database.
		if err := postgresExec(server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

// postgresExec runs one statement on a connection of its own. Neither of the statements above takes parameters.
func postgresExec(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}

// postgresBin returns the directory of the newest PostgreSQL server on the machine. Debian keeps it off PATH.
func postgresBin() (string, error) {
	const pattern = "/usr/lib/postgresql/*/bin/initdb"
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", pattern, err)
	}
	if len(paths) == 0 {
		path, err := exec.LookPath("initdb")
		if err != nil {
			return "", fmt.Errorf("%s has no match: %w", pattern, err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", err
		}
		return filepath.Dir(path), nil
	}
	major := func(path string) int {
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			return 0 // a version before 10, such as 9.6
		}
		return n
	}
	return filepath.Dir(slices.MaxFunc(paths, func(a, b string) int { return major(a) - major(b) })), nil
}

var postgresOnce struct {
	sync.Once
	dsn string
	err error
}

// postgres returns the URL of the server of this process; the first call starts it.
func postgres(bin string) (string, error) {
	postgresOnce.Do(func() { postgresOnce.dsn, postgresOnce.err = startPostgres(bin) })
	return postgresOnce.dsn, postgresOnce.err
}

// startPostgres makes a cluster and serves it on a Unix socket. The socket's directory admits its owner alone, so no
// password is needed and no port is taken.
func startPostgres(bin string) (dsn string, err error) {
	dir, err := os.MkdirTemp(socketDir(), "plumbline-postgres-")
	if err != nil {
		return "", err
	}
	kept := false
	defer func() {
		if !kept {
			_ = os.RemoveAll(dir) // the error that is being returned matters more
		}
	}()
	acc, err := ordinary("postgres", "nobody") // the server refuses to run as root
	if err != nil {
		return "", err
	}
	if acc != nil {
		if err := os.Chown(dir, int(acc.UID), int(acc.GID)); err != nil {
			return "", err
		}
	}

	data := filepath.Join(dir, "data")
	env := []string{"PATH=" + bin, "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), initdbArgs(data)...)
	initdb.Dir, initdb.Env, initdb.SysProcAttr = dir, env, acc.attr()
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}

	s := server{
		Dir:  dir,
		Args: append([]string{filepath.Join(bin, "postgres")}, postgresArgs(data, dir)...),
		Env:  env,
		User: acc,
		Stop: syscall.SIGQUIT, // "immediate shutdown"
	}
	ended, err := s.start()
	if err != nil {
		return "", err
	}
	kept = true // by the keeper
	dsn = (&url.URL{
		Scheme:   "postgres",
		User:     url.User("plumbline"),
		Path:     "/postgres",
		RawQuery: url.Values{"host": {dir}}.Encode(),
	}).String()
	return dsn, s.await(ended, func() error { return postgresExec(dsn, "SELECT 1") })
}

// socketDir returns the directory for temporary files, or a shorter one where the path of a socket would exceed the 107
// bytes that the kernel allows.
func socketDir() string {
	if dir := os.TempDir(); len(dir) <= 60 {
		return dir
	}
	return "/tmp"
}

func initdbArgs(data string) []string {
	return []string{
		"--pgdata", data,
		"--username", "plumbline",
		"--auth", "trust",
		"--encoding", "UTF8",
		"--locale", "C",
		"--no-sync",
	}
}

// postgresArgs trades all safety against a power cut for speed. What transactions promise each other is as ever.
func postgresArgs(data, socketDir string) []string {
	return []string{
		"-D", data,
		"-k", socketDir,
		"-c", "listen_addresses=",
		"-c", "fsync=off",
		"-c", "full_page_writes=off",
		"-c", "max_connections=200",
		"-c", "shared_buffers=64MB",
	}
}
