package testenv

import (
	"context"
	"crypto/rand"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
)

func TestEngines(t *testing.T) {
	for _, e := range Engines(t) {
		if e.Name != "terraform" && e.Name != "tofu" {
			t.Errorf("name %q", e.Name)
		}
		if !filepath.IsAbs(e.Path) {
			t.Errorf("path %q is not absolute", e.Path)
		}
		if !strings.HasPrefix(e.Version, "1.") {
			t.Errorf("%s: version %q", e.Path, e.Version)
		}
	}
}

func TestCachedPrefersTheNewest(t *testing.T) {
	t.Setenv("PLUMBLINE_CACHE", t.TempDir())
	if _, err := cached("tofu"); err == nil {
		t.Error("found tofu in an empty cache")
	}
	for _, version := range []string{"1.9.1", "1.12.6", "1.12.0"} {
		dir := filepath.Join(os.Getenv("PLUMBLINE_CACHE"), "tofu", version)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tofu"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := cached("tofu")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(os.Getenv("PLUMBLINE_CACHE"), "tofu", "1.12.6", "tofu"); got != want {
		t.Errorf("cached tofu is %s, want %s", got, want)
	}
}

func TestPostgresGivesEachTestItsOwnDatabase(t *testing.T) {
	ctx := t.Context()
	first, second := Postgres(t), Postgres(t)
	if first == second {
		t.Fatalf("the same database twice: %s", first)
	}
	a, b := connect(t, ctx, first), connect(t, ctx, second)
	if _, err := a.Exec(ctx, "CREATE TABLE here (n INT)"); err != nil {
		t.Fatal(err)
	}
	const count = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'here'"
	for _, tt := range []struct {
		conn *pgx.Conn
		want int
	}{{a, 1}, {b, 0}} {
		var got int
		if err := tt.conn.QueryRow(ctx, count).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s has %d such tables, want %d", tt.conn.Config().Database, got, tt.want)
		}
	}
}

func connect(t *testing.T, ctx context.Context, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func TestGitHTTP(t *testing.T) {
	root := t.TempDir()
	Git(t, root, "init", "--quiet", "--bare", "--initial-branch=main", "infra.git")
	server := GitHTTP(t, root)
	remote := server + "/infra.git"

	// Larger than http.postBuffer, so that the push is sent in chunks; random, so that compression leaves it so.
	b := make([]byte, 3<<20)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	big := string(b)
	first := Push(t, remote, Change{Files: map[string]string{"a/main.tf": "# one\n", "big": big}})
	second := Push(t, remote, Change{
		Branch: "feature/x", Message: "second", Author: "Ada <ada@example.com>",
		Files: map[string]string{"a/main.tf": "# two\n", "big": Removed},
	})

	clone := t.TempDir()
	Git(t, clone, "clone", "--quiet", remote, ".")
	if got := Git(t, clone, "rev-parse", "origin/main"); got != first {
		t.Errorf("main is %s, want %s", got, first)
	}
	if got := Git(t, clone, "log", "-1", "--format=%H %P %an %ce %s", "origin/feature/x"); got != second+" "+first+" Ada ada@example.com second" {
		t.Errorf("feature/x is %s", got)
	}
	if got, want := Git(t, clone, "ls-tree", "-r", "--name-only", "origin/feature/x"), "a/main.tf"; got != want {
		t.Errorf("feature/x has %q, want %q", got, want)
	}

	u, err := url.Parse(remote)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []*url.Userinfo{nil, url.UserPassword(u.User.Username(), "wrong")} {
		u.User = who
		cmd := gitCommand(t, clone, "ls-remote", u.String())
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("%v may read: %s", who, out)
		} else if !strings.Contains(string(out), "Authentication failed") && !strings.Contains(string(out), "could not read Username") {
			t.Errorf("%v is refused for another reason: %s", who, out)
		}
	}
}

func TestGitea(t *testing.T) {
	g := Gitea(t)
	repo := g.CreateRepo(t, "testenv")
	repo.Push(t, Change{Files: map[string]string{"main.tf": "# one\n"}})
	repo.Push(t, Change{Branch: "env/change", Files: map[string]string{"main.tf": "# two\n"}})

	pull := repo.OpenPull(t, "env/change", "main", "two")
	head := repo.Push(t, Change{Branch: "env/change", Files: map[string]string{"main.tf": "# three\n"}})
	if now := repo.Pull(t, pull.Number); now.Head.SHA != head || now.State != "open" {
		t.Errorf("pull request %+v, want head %s", now, head)
	}
	ada := g.CreateUser(t, "ada")
	repo.AddCollaborator(t, "ada")
	repo.Comment(t, g.BotToken, pull.Number, "planned")
	repo.Comment(t, ada, pull.Number, "plumbline approve")
	var said []string
	for _, c := range repo.Comments(t, pull.Number) {
		said = append(said, c.User.Login+": "+c.Body)
	}
	if want := []string{g.BotUser + ": planned", "ada: plumbline approve"}; !slices.Equal(said, want) {
		t.Errorf("comments %q, want %q", said, want)
	}
	for _, state := range []string{"pending", "success"} {
		g.Call(t, g.BotToken, "POST", "/repos/"+repo.Project+"/statuses/"+head, map[string]string{"context": "plumbline", "state": state}, nil)
	}
	if got := repo.Statuses(t, head); len(got) != 1 || got["plumbline"].State != "success" {
		t.Errorf("statuses %+v", got)
	}
	merged := repo.Merge(t, pull.Number)
	clone := t.TempDir()
	Git(t, clone, "clone", "--quiet", repo.CloneURL, ".")
	if got := Git(t, clone, "rev-parse", "HEAD"); got != merged {
		t.Errorf("main is %s, want the merge %s", got, merged)
	}
}

// TestMinio holds the server to what state locks stand on: of two who make an object that must not be there yet, one is refused.
func TestMinio(t *testing.T) {
	m := Minio(t)
	bucket, none := aws.String("testenv"), aws.String("*")
	if _, err := m.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	put := func() error {
		_, err := m.S3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: aws.String("lock"), Body: strings.NewReader("mine"), IfNoneMatch: none})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if err := put(); err == nil || !strings.Contains(err.Error(), "PreconditionFailed") {
		t.Errorf("the second got %v", err)
	}
	if host, _, err := net.SplitHostPort(m.Endpoint); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %s", m.Endpoint)
	}
	if Minio(t) != m {
		t.Error("a second server")
	}
}
