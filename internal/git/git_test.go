package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// entry is a file of a commit to make: its mode as Git writes it.
type entry struct{ mode, path, content string }

func file(path, content string) entry   { return entry{"100644", path, content} }
func script(path, content string) entry { return entry{"100755", path, content} }
func link(path, target string) entry    { return entry{"120000", path, target} }

var clock atomic.Int64 // each commit is a minute after the one before

// commit puts a commit with exactly these files on a branch of a bare repository, on top of parents, moving the branch
// whatever was there, and returns its hash.
func commit(t testing.TB, bare, branch string, parents []string, entries ...entry) string {
	t.Helper()
	var in bytes.Buffer
	ref := "refs/import/" + fmt.Sprint(clock.Load())
	fmt.Fprintf(&in, "commit %s\nmark :1\nauthor A Uthor <author@example.com> %d +0100\ncommitter C Ommitter <committer@example.com> %[2]d +0000\n",
		ref, 1_750_000_000+60*clock.Add(1))
	msg := "Change on " + branch + "\n\nWith a body.\n"
	fmt.Fprintf(&in, "data %d\n%s\n", len(msg), msg)
	for i, p := range parents {
		word := "from"
		if i > 0 {
			word = "merge"
		}
		fmt.Fprintf(&in, "%s %s\n", word, p)
	}
	in.WriteString("deleteall\n")
	for _, e := range entries {
		if e.mode == "160000" {
			fmt.Fprintf(&in, "M 160000 %s %s\n", e.content, e.path)
			continue
		}
		fmt.Fprintf(&in, "M %s inline %s\ndata %d\n%s\n", e.mode, e.path, len(e.content), e.content)
	}
	cmd := exec.CommandContext(t.Context(), "git", "-C", bare, "fast-import", "--quiet", "--force")
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("fast-import: %v\n%s", err, out)
	}
	h := testenv.Git(t, bare, "rev-parse", ref)
	testenv.Git(t, bare, "update-ref", "-d", ref)
	testenv.Git(t, bare, "update-ref", "refs/heads/"+branch, h)
	return h
}

func bare(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "infra.git")
	testenv.Git(t, filepath.Dir(dir), "init", "--quiet", "--bare", "--initial-branch=main", dir)
	return dir
}

func open(t testing.TB, url string) *Repo {
	t.Helper()
	return openWith(t, Config{Dir: filepath.Join(t.TempDir(), "mirrors")}, Remote{URL: url})
}

func openWith(t testing.TB, c Config, rem Remote) *Repo {
	t.Helper()
	r, err := Open(c, "infra", rem)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pull brings the mirror up to date.
func pull(t testing.TB, r *Repo) map[string]string {
	t.Helper()
	refs, err := r.Refs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Fetch(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	return refs
}

func wantKind(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v; want kind %q", err, kind)
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

func TestValidName(t *testing.T) {
	for name, ok := range map[string]bool{
		"infra": true, "a": true, "Infra_2.x-y": true, "_x": true, strings.Repeat("a", 100): true,
		"": false, ".": false, "..": false, ".git": false, "-x": false, "a/b": false, `a\b`: false, "../x": false,
		"a b": false, "a\x00": false, "ü": false, strings.Repeat("a", 101): false,
	} {
		if err := ValidName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
		_, err := Open(Config{Dir: t.TempDir()}, name, Remote{URL: "/nowhere"})
		if (err == nil) != ok {
			t.Errorf("Open %q: %v", name, err)
		}
	}
}

func TestEmptyRepositoryHasNoRefs(t *testing.T) {
	dir := bare(t)
	for _, url := range []string{dir, "file://" + dir, testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"} {
		r := open(t, url)
		refs, err := r.Refs(t.Context())
		if err != nil || refs == nil || len(refs) > 0 {
			t.Errorf("refs %v, error %v", refs, err)
		}
		if err := r.Fetch(t.Context(), refs); err != nil {
			t.Error(err)
		}
	}
}

func TestRefsLeaveOutHeadAndPeeledTags(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("a", "1"))
	testenv.Git(t, dir, "-c", "user.name=T", "-c", "user.email=t@example.com", "tag", "-a", "-m", "one", "v1", c)
	tag := testenv.Git(t, dir, "rev-parse", "v1")
	r := open(t, dir)
	refs := pull(t, r)
	if len(refs) != 2 || refs["refs/heads/main"] != c || refs["refs/tags/v1"] != tag {
		t.Fatalf("refs %v", refs)
	}
	if tree, err := r.Tree(tag); err != nil || tree != testenv.Git(t, dir, "rev-parse", "v1^{tree}") {
		t.Errorf("tree of the tag %s, %v", tree, err)
	}
}

func TestRepositoryGoesAwayBetweenPolls(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("a", "1"))
	web := testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"
	for _, url := range []string{dir, web} {
		r := open(t, url)
		pull(t, r)
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		_, err := r.Refs(t.Context())
		wantKind(t, err, plumbline.ErrNotFound, "infra is not at", "Check its URL")
		err = r.Fetch(t.Context(), map[string]string{"refs/heads/new": strings.Repeat("1", 40)})
		wantKind(t, err, plumbline.ErrNotFound, "infra is not at")
		if !r.Has(c) {
			t.Error("what was fetched is not there any more")
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		pull(t, r)
	}
}

// TestCredentialsPerConnection: credentials that end soon are asked for each time, and stay out of errors like others.
func TestCredentialsPerConnection(t *testing.T) {
	dir := bare(t)
	commit(t, dir, "main", nil, file("a", "1"))
	good := testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	right, _ := u.User.Password()
	name := u.User.Username()
	u.User = nil
	asked := 0
	password, fail := right, error(nil)
	r := openWith(t, Config{Dir: t.TempDir()}, Remote{URL: u.String(), Credentials: func(context.Context) (string, plumbline.Secret, error) {
		asked++
		return name, plumbline.NewSecret(password), fail
	}})
	for n := range 3 {
		if _, err := r.Refs(t.Context()); err != nil || asked != n+1 {
			t.Fatalf("after %d connections: asked %d times, %v", n+1, asked, err)
		}
	}
	password = "hunter2-hunter2"
	_, err = r.Refs(t.Context())
	wantKind(t, err, plumbline.ErrDenied)
	if got := r.remote.explain(t.Context(), "fetch", errors.New("bad password hunter2-hunter2")).Error(); strings.Contains(got, "hunter2") {
		t.Errorf("what a server repeats shows: %s", got)
	}
	fail = errors.New("no installation")
	if _, err := r.Refs(t.Context()); !errors.Is(err, fail) {
		t.Errorf("without credentials: %v", err)
	}
}

func TestCredentialsStayOutOfErrorsAndMirror(t *testing.T) {
	const secret = "hunter2-s%cret/+"
	dir := bare(t)
	commit(t, dir, "main", nil, file("a", "1"))
	good := testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"
	_, host, _ := strings.Cut(good, "@")
	for name, rem := range map[string]Remote{
		"wrong password":  {URL: "http://" + host, Username: "plumbline", Password: plumbline.NewSecret(secret)},
		"password in URL": {URL: "http://me:hunter2-s%25cret%2F+@" + host},
		"none":            {URL: "http://" + host},
	} {
		t.Run(name, func(t *testing.T) {
			r := openWith(t, Config{Dir: t.TempDir()}, rem)
			_, err := r.Refs(t.Context())
			wantKind(t, err, plumbline.ErrDenied, "http://"+host)
			if s := fmt.Sprintf("%v %+v %#v %+v %#v", err, err, err, r, r); strings.Contains(s, "hunter2") {
				t.Errorf("the password shows: %s", s)
			}
			_, err = r.PushCommit(t.Context(), NewCommit{Ref: "refs/notes/x", Author: "P <p@example.com>", When: time.Unix(0, 0)})
			wantKind(t, err, plumbline.ErrDenied)
		})
	}
	user, _, _ := strings.Cut(strings.TrimPrefix(good, "http://plumbline:"), "@")
	mirrors := t.TempDir()
	pull(t, openWith(t, Config{Dir: mirrors}, Remote{URL: good}))
	err := filepath.WalkDir(mirrors, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if bytes.Contains(b, []byte(user)) {
			t.Errorf("%s holds the password", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := openWith(t, Config{Dir: t.TempDir()}, Remote{URL: good})
	if got := r.remote.explain(t.Context(), "fetch", fmt.Errorf("the server says: bad token %s", user)).Error(); strings.Contains(got, user) {
		t.Errorf("what a server repeats shows: %s", got)
	}
}

func TestBadURLs(t *testing.T) {
	for _, url := range []string{"", "https://", "git://host/x", "ext::sh -c id", "https://me:hunter2@host/%zz", "ssh://host/x", "me@host:x"} {
		_, err := Open(Config{Dir: t.TempDir()}, "infra", Remote{URL: url})
		wantKind(t, err, plumbline.ErrInvalid, "repository infra")
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password shows: %v", err)
		}
	}
}

// TestAnotherOwner shows what happens when Plumbline reads a local repository that belongs to somebody else: git refuses,
// and the error says what to do about it.
func TestAnotherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("changing a directory's owner takes root")
	}
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("a", "1"))
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, 65534, 65534))
	})
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, dir)
	_, err = r.Refs(t.Context())
	wantKind(t, err, plumbline.ErrDenied, "belongs to another user", "safe.directory")

	global := filepath.Join(t.TempDir(), "gitconfig")
	if err := os.WriteFile(global, []byte("[safe]\n\tdirectory = "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", global)
	if refs := pull(t, r); refs["refs/heads/main"] != c {
		t.Errorf("refs %v", refs)
	}
}

func TestFetch(t *testing.T) {
	for _, over := range []string{"path", "http"} {
		t.Run(over, func(t *testing.T) {
			dir := bare(t)
			url := dir
			if over == "http" {
				url = testenv.GitHTTP(t, filepath.Dir(dir)) + "/infra.git"
			}
			first := commit(t, dir, "main", nil, file("a", "1"))
			commit(t, dir, "other", nil, file("b", "1"))
			r := open(t, url)
			if r.Has(first) {
				t.Fatal("has a commit before the fetch")
			}
			refs, err := r.Refs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Fetch(t.Context(), map[string]string{"refs/heads/main": refs["refs/heads/main"]}); err != nil {
				t.Fatal(err)
			}
			if !r.Has(first) || r.Has(refs["refs/heads/other"]) {
				t.Error("fetched other refs than were asked for")
			}

			forced := commit(t, dir, "main", nil, file("a", "2")) // no parent: history is rewritten
			pull(t, r)
			if !r.Has(forced) || !r.Has(first) {
				t.Error("after a force-push the old and the new commit are to be had")
			}

			testenv.Git(t, dir, "branch", "-D", "other")
			commit(t, dir, "other/below", nil, file("c", "1")) // a directory where there was a file
			refs = pull(t, r)
			if _, ok := refs["refs/heads/other"]; ok || !r.Has(refs["refs/heads/other/below"]) {
				t.Errorf("refs %v", refs)
			}
		})
	}
}

func TestFetchDoesNotConnectForWhatIsThere(t *testing.T) {
	dir := bare(t)
	commit(t, dir, "main", nil, file("a", "1"))
	r := open(t, dir)
	refs := pull(t, r)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := r.Fetch(t.Context(), refs); err != nil {
		t.Error(err)
	}
}

func TestFetchAfterTheRemoteMovedOn(t *testing.T) {
	dir := bare(t)
	commit(t, dir, "main", nil, file("a", "1"))
	gone := commit(t, dir, "gone", nil, file("b", "1"))
	commit(t, dir, "deleted", nil, file("c", "1"))
	r := open(t, dir)
	refs, err := r.Refs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	commit(t, dir, "gone", nil, file("b", "2"))
	commit(t, dir, "main", []string{refs["refs/heads/main"]}, file("a", "2"))
	testenv.Git(t, dir, "branch", "-D", "deleted")
	err = r.Fetch(t.Context(), refs)
	wantKind(t, err, plumbline.ErrNotFound, "refs/heads/deleted", "moved or went away")
	if !r.Has(refs["refs/heads/main"]) {
		t.Error("the ref that only moved forward is not fetched at the listed commit")
	}
	if r.Has(gone) {
		t.Error("has a commit that nobody could send")
	}
	pull(t, r)
}

func TestOddRefNames(t *testing.T) {
	dir := bare(t)
	r := open(t, testenv.GitHTTP(t, filepath.Dir(dir))+"/infra.git")
	base := commit(t, dir, "main", nil, file("a", "1"))
	names := []string{"feature/ünï#1%20x", "-x", "x;id", "$(id)", "a'b\"c", "{x}", "@x", strings.Repeat("long", 60), "x/" + strings.Repeat("y/", 60) + "z"}
	for _, n := range names {
		commit(t, dir, n, []string{base}, file("n", n))
	}
	refs := pull(t, r)
	for _, n := range names {
		c := refs["refs/heads/"+n]
		if !r.Has(c) {
			t.Errorf("%q is not fetched", n)
			continue
		}
		f, err := r.FS(c)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := f.ReadFile("n"); err != nil || string(b) != n {
			t.Errorf("%q: %q, %v", n, b, err)
		}
	}
	for _, n := range []string{"main", "refs/heads/*", "refs/heads/a:refs/heads/b", ""} {
		wantKind(t, r.Fetch(t.Context(), map[string]string{n: base}), plumbline.ErrInvalid)
	}
	wantKind(t, r.Fetch(t.Context(), map[string]string{"refs/heads/main": "HEAD"}), plumbline.ErrInvalid)
}

func TestForgetsRefsThatAreGone(t *testing.T) {
	dir := bare(t)
	base := commit(t, dir, "main", nil, file("a", "1"))
	commit(t, dir, "mr", []string{base}, file("a", "2"))
	r := open(t, dir)
	pull(t, r)
	testenv.Git(t, dir, "branch", "-D", "mr")
	commit(t, dir, "main", []string{base}, file("a", "3"))
	pull(t, r)
	if out := testenv.Git(t, r.dir, "for-each-ref", "--format=%(refname)"); out != local("refs/heads/main") {
		t.Errorf("refs of the mirror: %s", out)
	}
}

func TestFetchWhileReading(t *testing.T) {
	dir := bare(t)
	last := commit(t, dir, "main", nil, file("d/a", "0"))
	mirrors := t.TempDir()
	// Two Repos on one directory stand for two processes.
	a := openWith(t, Config{Dir: mirrors}, Remote{URL: dir})
	b := openWith(t, Config{Dir: mirrors}, Remote{URL: dir})
	pull(t, a)
	var running sync.WaitGroup
	defer running.Wait()
	for i := range 8 {
		last = commit(t, dir, "main", []string{last}, file("d/a", fmt.Sprint(i)), file("big", strings.Repeat(fmt.Sprint(i), 1<<17)))
		c := last
		for _, r := range []*Repo{a, b} {
			running.Go(func() {
				if err := r.Fetch(t.Context(), map[string]string{"refs/heads/main": c}); err != nil && !errors.Is(err, plumbline.ErrNotFound) {
					t.Error(err)
				}
				if !a.Has(c) || !b.Has(c) {
					t.Errorf("%s is not seen", c)
					return
				}
				f, err := r.FS(c)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := f.ReadFile("d/a"); err != nil || string(got) != fmt.Sprint(i) {
					t.Errorf("read %q, %v", got, err)
				}
				if got, err := f.ReadFile("big"); err != nil || len(got) != 1<<17 {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

func TestCanceled(t *testing.T) {
	dir := bare(t)
	c := commit(t, dir, "main", nil, file("a", "1"))
	r := open(t, testenv.GitHTTP(t, filepath.Dir(dir))+"/infra.git")
	pull(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Refs(ctx)
	wantKind(t, err, context.Canceled)
	_, err = r.Checkout(ctx, c, t.TempDir())
	wantKind(t, err, context.Canceled)
	_, err = r.Log(ctx, "", c, 0)
	wantKind(t, err, context.Canceled)
}
