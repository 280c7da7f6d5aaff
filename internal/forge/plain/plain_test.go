package plain_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/forge/plain"
	"github.com/plumbline/plumbline/internal/git"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

func TestSuiteOnDisk(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		r := newRemote(t)
		return r.fixture(t, r.dir, "")
	})
}

func TestSuiteOverHTTP(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		r := newRemote(t)
		testenv.Git(t, r.dir, "config", "http.receivepack", "true")
		base := testenv.GitHTTP(t, filepath.Dir(r.dir))
		f := r.fixture(t, base+"/"+filepath.Base(r.dir), "")
		f.Denied = r.client(t, base+"/"+filepath.Base(r.dir), "wrong")
		return f
	})
}

// remote is a bare repository, with people who use git.
type remote struct{ dir string }

func newRemote(t *testing.T) *remote {
	dir := filepath.Join(t.TempDir(), "infra.git")
	testenv.Git(t, t.TempDir(), "init", "--quiet", "--bare", "--initial-branch=main", dir)
	r := &remote{dir}
	testenv.Push(t, dir, testenv.Change{Files: map[string]string{"main.tf": "# nothing\n"}})
	testenv.Git(t, dir, "branch", "env/production", "main")
	return r
}

func (r *remote) fixture(t *testing.T, address, password string) forgetest.Fixture {
	return forgetest.Fixture{Client: r.client(t, address, password), Second: r.client(t, address, password), People: r, Bare: true}
}

func (r *remote) client(t *testing.T, address, password string) *plain.Client {
	return plain.New(plain.Config{Branches: []string{"main", "env/production"}, Notes: mirror(t, address, password)})
}

// mirror opens a new mirror of a repository; the password replaces the one in the address.
func mirror(t *testing.T, address, password string) *git.Repo {
	t.Helper()
	rem := git.Remote{URL: address}
	if password != "" {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		rem.Username, rem.Password = u.User.Username(), plumbline.NewSecret(password)
		u.User = nil
		rem.URL = u.String()
	}
	repo, err := git.Open(git.Config{Dir: t.TempDir()}, "infra", rem)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := repo.Close(); err != nil {
			t.Error(err)
		}
	})
	return repo
}

func (r *remote) OpenMR(t *testing.T, name, target, _ string) string {
	id := target + "/" + name
	testenv.Push(t, r.dir, testenv.Change{Branch: "propose/" + id, From: target, Files: map[string]string{"a.tf": "# " + name}})
	return id
}

func (r *remote) Push(t *testing.T, id string) string {
	return testenv.Push(t, r.dir, testenv.Change{Branch: "propose/" + id, Message: "more"})
}

func (r *remote) Merge(t *testing.T, id string) string {
	head := r.Head(t, id)
	testenv.Git(t, r.dir, "update-ref", "refs/heads/"+id[:strings.LastIndex(id, "/")], head)
	r.Close(t, id)
	return head
}

func (r *remote) Close(t *testing.T, id string) {
	testenv.Git(t, r.dir, "update-ref", "-d", "refs/heads/propose/"+id)
}

// asAnn runs git in the repository as somebody with a name.
func (r *remote) asAnn(t *testing.T, args ...string) string {
	return testenv.Git(t, r.dir, append([]string{"-c", "user.name=Ann", "-c", "user.email=ann@example.com"}, args...)...)
}

func (r *remote) Comment(t *testing.T, id, body string) {
	head := r.Head(t, id)
	r.asAnn(t, "notes", "--ref=plumbline", "append", "-m", body, head)
}

func (r *remote) Head(t *testing.T, id string) string {
	return testenv.Git(t, r.dir, "rev-parse", "refs/heads/propose/"+id)
}

func (r *remote) Refs(t *testing.T) map[string]string {
	refs := map[string]string{}
	for line := range strings.SplitSeq(testenv.Git(t, r.dir, "for-each-ref", "--format=%(objectname) %(refname)"), "\n") {
		commit, name, _ := strings.Cut(line, " ")
		refs[name] = commit
	}
	return refs
}

// pages returns the Git notes by commit, as git reads them.
func (r *remote) pages(t *testing.T) map[string]string {
	out := map[string]string{}
	if testenv.Git(t, r.dir, "for-each-ref", "refs/notes/plumbline") == "" {
		return out
	}
	for line := range strings.SplitSeq(testenv.Git(t, r.dir, "notes", "--ref=plumbline", "list"), "\n") {
		if blob, commit, ok := strings.Cut(line, " "); ok {
			out[commit] = testenv.Git(t, r.dir, "cat-file", "blob", blob) + "\n"
		}
	}
	return out
}

func (r *remote) Notes(t *testing.T, _ string) []string {
	var out []string
	for _, page := range r.pages(t) {
		notes, _, _ := plain.ParsePage([]byte(page))
		out = append(out, notes...)
	}
	return out
}

func (r *remote) Comments(t *testing.T, id string) []string {
	_, _, text := plain.ParsePage([]byte(r.pages(t)[r.Head(t, id)]))
	return []string{text}
}

func (r *remote) Statuses(t *testing.T, commit string) []plumbline.CommitStatus {
	_, statuses, _ := plain.ParsePage([]byte(r.pages(t)[commit]))
	return statuses
}

var branches = []string{"env", "env/production", "main"}

func TestProposals(t *testing.T) {
	p := plain.New(plain.Config{Branches: branches})
	refs := map[string]string{
		"refs/heads/main":                                  "m",
		"refs/heads/propose/main/net":                      "1",
		"refs/heads/propose/main/deep/er":                  "2",
		"refs/heads/propose/env/production/net":            "3",
		"refs/heads/propose/env/staging/net":               "4", // to branch env
		"refs/heads/propose/production/net":                "5", // no such environment
		"refs/heads/propose/main":                          "6", // no name
		"refs/heads/propose/mainly/x":                      "7",
		"refs/tags/propose/main/x":                         "8",
		"refs/remotes/origin/refs/heads/propose/main/fake": "9",
	}
	got, err := p.MergeRequests(t.Context(), refs)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, mr := range got {
		lines = append(lines, fmt.Sprintf("%s: %q from %s (%s) at %s to %s%s", mr.ID, mr.Title, mr.Source, mr.HeadRef, mr.Head, mr.Target, mr.State))
	}
	want := []string{
		`env/production/net: "net" from propose/env/production/net (refs/heads/propose/env/production/net) at 3 to env/production`,
		`env/staging/net: "staging/net" from propose/env/staging/net (refs/heads/propose/env/staging/net) at 4 to env`,
		`main/deep/er: "deep/er" from propose/main/deep/er (refs/heads/propose/main/deep/er) at 2 to main`,
		`main/net: "net" from propose/main/net (refs/heads/propose/main/net) at 1 to main`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestDescribe(t *testing.T) {
	p := plain.New(plain.Config{Branches: branches, Describe: func(_ context.Context, commit string) (string, string) {
		if commit == "known" {
			return "Add a subnet", "Ann"
		}
		return "", ""
	}})
	got, err := p.MergeRequests(t.Context(), map[string]string{"refs/heads/propose/main/a": "known", "refs/heads/propose/main/b": "not fetched"})
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Title != "Add a subnet" || got[0].Author != "Ann" || got[1].Title != "b" || got[1].Author != "" {
		t.Errorf("%+v", got)
	}
}

// commitOf returns the head of main.
func (r *remote) commitOf(t *testing.T) string { return testenv.Git(t, r.dir, "rev-parse", "main") }

const mark = "<!-- plumbline:infra!main/x -->"

// TestGitLog is what somebody sees who fetches the notes.
func TestGitLog(t *testing.T) {
	r := newRemote(t)
	c := r.client(t, r.dir, "")
	head := r.commitOf(t)
	if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: "main/x", Head: head}, mark, mark+"\n### Plumbline · 1 stack · 2 to add"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []plumbline.CommitStatus{
		{Context: "plumbline/production/live/net", State: plumbline.ToldSuccess, Description: "+2 ~1", URL: "https://plumbline.example.com/runs/7"},
		{Context: "plumbline", State: plumbline.ToldPending, Description: "Waits for group:sre."},
		{Context: "plumbline/checks", State: plumbline.ToldError},
	} {
		if err := c.SetStatus(t.Context(), head, s); err != nil {
			t.Fatal(err)
		}
	}
	r.asAnn(t, "notes", "--ref=plumbline", "append", "-m", "Seen and liked.", head)
	if err := c.SetStatus(t.Context(), head, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess, Description: "Applied."}); err != nil {
		t.Fatal(err)
	}
	const want = `change

Notes (plumbline):
    Plumbline note ec5e1f195494 of 2 lines:
    <!-- plumbline:infra!main/x -->
    ### Plumbline · 1 stack · 2 to add
` + "    " + `
    Statuses:
    success  plumbline  Applied.
    error  plumbline/checks  -
    success  plumbline/production/live/net  +2 ~1  (https://plumbline.example.com/runs/7)
` + "    " + `
    Seen and liked.
`
	got := testenv.Git(t, r.dir, "log", "-1", "--notes=plumbline", "--format=%B%nNotes (plumbline):%n%w(0,4,4)%N", "main")
	if normal(got) != normal(want) {
		t.Errorf("git log shows\n%s\nwant\n%s", got, want)
	}
	if got := testenv.Git(t, r.dir, "log", "-1", "--notes=plumbline", "main"); !strings.Contains(got, "    success  plumbline  Applied.") {
		t.Errorf("git log --notes=plumbline shows\n%s", got)
	}
	if log := testenv.Git(t, r.dir, "log", "-1", "--format=%an <%ae>%n%s", "refs/notes/plumbline"); log != "Plumbline <plumbline@localhost>\nStatus of "+head {
		t.Errorf("the commit on the ref: %s", log)
	}
	testenv.Git(t, r.dir, "fsck", "--strict")
}

// normal leaves out what git and its versions pad with.
func normal(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.TrimRight(line, " "); line != "" {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// TestFanout edits notes in a tree that git has spread over directories.
func TestFanout(t *testing.T) {
	r := newRemote(t)
	c := r.client(t, r.dir, "")
	head := r.commitOf(t)
	neighbour := head[:2] + strings.Repeat("0", 38)
	// Notes on the head, on one beside it in the same directory, on one elsewhere, and a file that is no note.
	files := map[string]string{
		head[:2] + "/" + head[2:]:      "of the head, spread",
		head[:2] + "/" + neighbour[2:]: "of the neighbour",
		strings.Repeat("f", 40):        "flat",
		"zz/README":                    "no note",
	}
	r.tree(t, files)
	s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess, Description: "ok"}
	if err := c.SetStatus(t.Context(), head, s); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		head:                    "Statuses:\nsuccess  plumbline  ok\n\nof the head, spread\n",
		neighbour:               "of the neighbour",
		strings.Repeat("f", 40): "flat",
		"zz/README":             "no note",
	}
	if got := r.files(t); !mapsEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}

	files[head[:2]+"/README"] = "no note either"
	r.tree(t, files)
	s.Description = "later"
	if err := c.SetStatus(t.Context(), head, s); !errors.Is(err, plumbline.ErrConflict) || !strings.Contains(err.Error(), head[:2]+"/README") {
		t.Errorf("a file that would be lost: %v", err)
	}
	if got := r.files(t); !mapsEqual(got, files) {
		t.Errorf("got %q\nwant %q", got, files)
	}
}

func mapsEqual(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// tree makes refs/notes/plumbline a commit with these files.
func (r *remote) tree(t *testing.T, files map[string]string) {
	testenv.Push(t, r.dir, testenv.Change{Branch: "notes-by-hand", Files: files})
	commit := r.asAnn(t, "commit-tree", "-m", "by hand", "notes-by-hand^{tree}")
	testenv.Git(t, r.dir, "update-ref", "refs/notes/plumbline", commit)
	testenv.Git(t, r.dir, "update-ref", "-d", "refs/heads/notes-by-hand")
}

func (r *remote) files(t *testing.T) map[string]string {
	dir := filepath.Join(t.TempDir(), "tree")
	testenv.Git(t, r.dir, "worktree", "add", "--quiet", "--detach", dir, "refs/notes/plumbline")
	defer testenv.Git(t, r.dir, "worktree", "remove", "--force", dir)
	out := map[string]string{}
	for name := range strings.SplitSeq(testenv.Git(t, r.dir, "ls-tree", "-r", "--name-only", "refs/notes/plumbline"), "\n") {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name != "main.tf" {
			out[name] = string(b)
		}
	}
	return out
}

// TestTwoProposalsOnOneCommit keeps the notes of both.
func TestTwoProposalsOnOneCommit(t *testing.T) {
	r := newRemote(t)
	c := r.client(t, r.dir, "")
	head := r.commitOf(t)
	for _, id := range []string{"main/x", "env/production/x", "main/x"} {
		marker := "<!-- " + id + " -->"
		if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{ID: id, Head: head}, marker, marker+"\nquotes <!-- env/production/x -->"); err != nil {
			t.Fatal(err)
		}
	}
	if notes := r.Notes(t, ""); len(notes) != 2 {
		t.Errorf("notes: %q", notes)
	}
}

// TestManyDaemons sets statuses from several processes' worth of clients at once: none is lost.
func TestManyDaemons(t *testing.T) {
	r := newRemote(t)
	head := r.commitOf(t)
	var wg sync.WaitGroup
	for d := range 3 {
		c := r.client(t, r.dir, "")
		wg.Go(func() {
			for i := range 4 {
				s := plumbline.CommitStatus{Context: fmt.Sprintf("plumbline/%d/%d", d, i), State: plumbline.ToldSuccess, Description: "ok"}
				err := c.SetStatus(t.Context(), head, s)
				for errors.Is(err, plumbline.ErrConflict) { // others were quicker each time
					err = c.SetStatus(t.Context(), head, s)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.Statuses(t, head)); n != 12 {
		t.Errorf("%d statuses of 12", n)
	}
}

// TestReadOnly: the remote takes no pushes, which is said once.
func TestReadOnly(t *testing.T) {
	hook := func(t *testing.T, r *remote) string {
		no, err := exec.LookPath("false")
		if err != nil {
			t.Fatal(err)
		}
		hooks := t.TempDir()
		if err := os.Symlink(no, filepath.Join(hooks, "pre-receive")); err != nil {
			t.Fatal(err)
		}
		testenv.Git(t, r.dir, "config", "core.hooksPath", hooks)
		return r.dir
	}
	for name, forbid := range map[string]func(*testing.T, *remote) string{
		"hook": hook,
		"hidden ref": func(t *testing.T, r *remote) string {
			testenv.Git(t, r.dir, "config", "receive.hideRefs", "refs/notes")
			return r.dir
		},
		"http without receive-pack": func(t *testing.T, r *remote) string {
			testenv.Git(t, r.dir, "config", "http.receivepack", "false")
			return testenv.GitHTTP(t, filepath.Dir(r.dir)) + "/" + filepath.Base(r.dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemote(t)
			c := r.client(t, forbid(t, r), "")
			head := r.commitOf(t)
			s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
			if c.ReadOnly() {
				t.Error("read-only before anything was written")
			}
			err := c.SetStatus(t.Context(), head, s)
			var ro *plain.ReadOnlyError
			if !errors.As(err, &ro) || !errors.Is(err, plumbline.ErrDenied) || !c.ReadOnly() {
				t.Fatalf("first: %v", err)
			}
			if err := c.SetStatus(t.Context(), head, s); err != nil {
				t.Errorf("second: %v", err)
			}
			if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{Head: head}, mark, mark); err != nil {
				t.Errorf("note: %v", err)
			}
		})
	}
}

// outage is a remote that is down for a while.
type outage struct {
	*git.Repo
	down *bool
}

func (o outage) PushCommit(ctx context.Context, c git.NewCommit) (string, error) {
	if *o.down {
		return "", errors.New("connection reset by peer")
	}
	return o.Repo.PushCommit(ctx, c)
}

func TestOutageIsNoRefusal(t *testing.T) {
	r := newRemote(t)
	down := true
	c := plain.New(plain.Config{Branches: branches, Notes: outage{mirror(t, r.dir, ""), &down}})
	s := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
	if err := c.SetStatus(t.Context(), r.commitOf(t), s); err == nil || c.ReadOnly() {
		t.Fatalf("%v, read-only %t", err, c.ReadOnly())
	}
	down = false
	if err := c.SetStatus(t.Context(), r.commitOf(t), s); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Statuses(t, r.commitOf(t))); n != 1 {
		t.Errorf("%d statuses", n)
	}
}

func TestNotesOff(t *testing.T) {
	c := plain.New(plain.Config{Branches: branches})
	head := strings.Repeat("a", 40)
	if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{Head: head}, mark, mark); err != nil {
		t.Error(err)
	}
	if err := c.SetStatus(t.Context(), head, plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}); err != nil {
		t.Error(err)
	}
	if c.ReadOnly() {
		t.Error("off is not refused")
	}
}

func TestBadArguments(t *testing.T) {
	var c forge.Client = plain.New(plain.Config{Branches: branches})
	ok := plumbline.CommitStatus{Context: "plumbline", State: plumbline.ToldSuccess}
	for _, commit := range []string{"", "main", "../../etc/passwd", strings.Repeat("g", 40), strings.Repeat("A", 40), strings.Repeat("a", 41)} {
		if err := c.SetStatus(t.Context(), commit, ok); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("status of %q: %v", commit, err)
		}
		if err := c.UpsertNote(t.Context(), plumbline.MergeRequest{Head: commit}, mark, mark); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("note on %q: %v", commit, err)
		}
	}
	for _, s := range []plumbline.CommitStatus{{State: plumbline.ToldSuccess}, {Context: "a"}, {Context: "a", State: "fine"}} {
		if err := c.SetStatus(t.Context(), strings.Repeat("a", 40), s); !errors.Is(err, plumbline.ErrInvalid) {
			t.Errorf("status %+v: %v", s, err)
		}
	}
}
