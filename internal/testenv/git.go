package testenv

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Change is a commit to push. Its zero fields have useful meanings.
type Change struct {
	Branch  string            // to push to; "main" when empty, created when it is not there
	From    string            // start of a branch that is not there: a branch or commit; "main" when empty
	Message string            // "change" when empty
	Author  string            // "Name <address>"
	When    time.Time         // of author and committer; now when zero
	Files   map[string]string // path to content; Removed removes the file
}

// Removed is the content of a file that a Change removes.
const Removed = "\x00removed"

// Push commits the change on top of a branch of the remote, which may be empty, pushes it and returns the commit's ID.
// The remote is a path or a URL with credentials.
func Push(t testing.TB, remote string, c Change) (commit string) {
	t.Helper()
	c.Branch = orDefault(c.Branch, "main")
	c.From = orDefault(c.From, "main")
	dir := t.TempDir()
	Git(t, dir, "clone", "--quiet", "--no-checkout", remote, ".")
	switch {
	case Git(t, dir, "branch", "--remotes", "--list", "origin/"+c.Branch) != "":
		Git(t, dir, "checkout", "--quiet", "-B", c.Branch, "origin/"+c.Branch)
	case Git(t, dir, "branch", "--remotes") == "":
		Git(t, dir, "symbolic-ref", "HEAD", "refs/heads/"+c.Branch)
	default:
		from := c.From
		if Git(t, dir, "branch", "--remotes", "--list", "origin/"+from) != "" {
			from = "origin/" + from
		}
		Git(t, dir, "checkout", "--quiet", "--no-track", "-B", c.Branch, from)
	}
	for path, content := range c.Files {
		full := filepath.Join(dir, filepath.FromSlash(path))
		if content == Removed {
			if err := os.Remove(full); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if c.When.IsZero() {
		c.When = time.Now()
	}
	Git(t, dir, "add", "--all")
	author := orDefault(c.Author, "Test <test@example.com>")
	name, address, _ := strings.Cut(strings.TrimSuffix(author, ">"), " <")
	date := c.When.Format(time.RFC3339)
	Git(t, dir, "-c", "user.name="+name, "-c", "user.email="+address,
		"commit", "--quiet", "--allow-empty", "--date", date, "--message", orDefault(c.Message, "change"))
	Git(t, dir, "push", "--quiet", "origin", "HEAD:refs/heads/"+c.Branch)
	return Git(t, dir, "rev-parse", "HEAD")
}

// Git runs a git command in dir, unaffected by the configuration of the machine or its user, and returns what it prints
// without the last line's end.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := gitCommand(t, dir, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func gitCommand(t testing.TB, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_TERMINAL_PROMPT=0",
		"LC_ALL=C",
	)
	return cmd
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
