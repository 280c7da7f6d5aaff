package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// holdEnv makes this test binary start PostgreSQL, print its URL and wait to be killed.
const holdEnv = "PLUMBLINE_TESTENV_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(holdEnv) == "" {
		os.Exit(m.Run())
	}
	bin, err := postgresBin()
	if err == nil {
		var dsn string
		if dsn, err = postgres(bin); err == nil {
			fmt.Println(dsn)
			_, err = io.Copy(io.Discard, os.Stdin)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestKilledTestsLeaveNoServerBehind(t *testing.T) {
	if _, err := postgresBin(); err != nil {
		unavailable(t, "no PostgreSQL to test with (run make tools): %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := exec.CommandContext(t.Context(), self)
	tests.Env = append(os.Environ(), holdEnv+"=1")
	if _, err := tests.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := tests.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tests.Start(); err != nil {
		t.Fatal(err)
	}
	dsn, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(strings.TrimSpace(dsn))
	if err != nil {
		t.Fatal(err)
	}
	dir := u.Query().Get("host")
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}

	if err := tests.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var killed *exec.ExitError
	if err := tests.Wait(); !errors.As(err, &killed) {
		t.Fatalf("the test process ended with %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := conn.WaitForNotification(ctx); ctx.Err() != nil {
		t.Fatalf("the server still has its connection after 30 s: %v", err)
	}
	// To remove the directory is the keeper's last act.
	gone := server{Dir: dir, Args: []string{"keeper"}}.await(nil, func() error {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is still there: %w", dir, err)
		}
		return nil
	})
	if gone != nil {
		t.Error(gone)
	}
}

func TestServerThatEndsEarlyIsReportedWithItsOutput(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	s := server{Dir: t.TempDir(), Args: []string{git, "no-such-command"}, Stop: syscall.SIGKILL}
	ended, err := s.start()
	if err != nil {
		t.Fatal(err)
	}
	err = s.await(ended, func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "no-such-command' is not a git command") {
		t.Errorf("error %v, want how it ended with what it printed", err)
	}
}
