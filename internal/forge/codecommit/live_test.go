package codecommit_test

import (
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	api "github.com/aws/aws-sdk-go-v2/service/codecommit"
	"github.com/aws/aws-sdk-go-v2/service/codecommit/types"
	"github.com/go-git/go-billy/v5/memfs"
	gogit "github.com/go-git/go-git/v5"
	gitconfig "github.com/go-git/go-git/v5/config"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/forge/codecommit"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestLive runs against the real CodeCommit: it pushes a branch to a repository with a branch "main" and a commit, proposes it, writes on it, closes
// it and deletes the branch. PLUMBLINE_LIVE_CODECOMMIT_REGION and PLUMBLINE_LIVE_CODECOMMIT_PROJECT say where, credentials are what the AWS SDK finds
// in the environment. They need codecommit:UpdatePullRequestStatus beside what Config says.
func TestLive(t *testing.T) {
	region, project := os.Getenv("PLUMBLINE_LIVE_CODECOMMIT_REGION"), os.Getenv("PLUMBLINE_LIVE_CODECOMMIT_PROJECT")
	if region == "" || project == "" {
		t.Skip("PLUMBLINE_LIVE_CODECOMMIT_REGION and PLUMBLINE_LIVE_CODECOMMIT_PROJECT name no repository to try this on")
	}
	env, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(region))
	if err != nil {
		t.Fatal(err)
	}
	open := func() *codecommit.Client {
		return newClient(t, codecommit.Config{Region: region, Project: project, Credentials: env.Credentials})
	}
	c, branch := open(), "plumbline-live-"+strings.ToLower(rand.Text()[:8])
	head := liveBranch(t, c, branch)

	mr, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: branch, Target: "main", Title: "Live test of Plumbline", Body: "It is closed again at once."})
	if err != nil {
		t.Fatal(err)
	}
	raw := api.NewFromConfig(env)
	closed := false
	finish := func() {
		if closed {
			return
		}
		closed = true
		if _, err := raw.UpdatePullRequestStatus(t.Context(), &api.UpdatePullRequestStatusInput{PullRequestId: &mr.ID, PullRequestStatus: types.PullRequestStatusEnumClosed}); err != nil {
			t.Errorf("pull request %s stays open: %v", mr.ID, err)
		}
		if _, err := raw.DeleteBranch(t.Context(), &api.DeleteBranchInput{RepositoryName: &project, BranchName: &branch}); err != nil {
			t.Errorf("branch %s stays: %v", branch, err)
		}
	}
	defer finish()
	if again, err := c.OpenMergeRequest(t.Context(), forge.Proposal{Source: branch, Target: "main", Title: "Live test", Body: "Changed."}); err != nil || again.ID != mr.ID || again.Title != "Live test" {
		t.Errorf("again: %+v, %v", again, err)
	}
	listed, err := c.MergeRequests(t.Context(), map[string]string{"refs/heads/" + branch: head})
	if i := slices.IndexFunc(listed, func(one plumbline.MergeRequest) bool { return one.ID == mr.ID }); err != nil || i < 0 || listed[i].Head != head || listed[i].Activity == "" {
		t.Errorf("listed: %+v, %v", listed, err)
	}
	if one, err := c.MergeRequest(t.Context(), mr.ID); err != nil || one.Head != head || one.Conflicts || one.State != plumbline.MROpen {
		t.Errorf("alone: %+v, %v", one, err)
	}
	status := []plumbline.CommitStatus{{Context: "plumbline", State: plumbline.ToldSuccess, Description: "1 stack planned."}}
	for _, body := range []string{mark + "\nfirst", mark + "\nsecond", mark + strings.Repeat("x", c.NoteLimit()-len(mark))} {
		for range 2 { // each time as a daemon that was just started
			if err := open().Tell(t.Context(), mr, mark, body, status); err != nil {
				t.Fatal(err)
			}
		}
	}
	note := liveNote(t, raw, mr.ID)
	if err := c.React(t.Context(), mr, note, plumbline.ReactionSeen); err != nil {
		t.Errorf("seen: %v", err)
	}
	if err := c.React(t.Context(), mr, note, plumbline.ReactionDone); err != nil {
		t.Errorf("done: %v", err)
	}
	if got, err := c.Comments(t.Context(), mr, time.Now().Add(-time.Hour)); err != nil || len(got) != 0 {
		t.Errorf("comments of others: %+v, %v", got, err)
	}
	if _, err := raw.DeleteCommentContent(t.Context(), &api.DeleteCommentContentInput{CommentId: &note}); err != nil {
		t.Fatal(err)
	}
	if err := open().UpsertNote(t.Context(), mr, mark, mark+"\nfirst"); err != nil { // the words, and so the token, of a comment that is there no more
		t.Errorf("after it was deleted: %v", err)
	}
	liveNote(t, raw, mr.ID)
	finish()
	if one, err := c.MergeRequest(t.Context(), mr.ID); err != nil || one.State != plumbline.MRClosed {
		t.Errorf("closed: %+v, %v", one, err)
	}
}

// liveNote returns the one comment that is there.
func liveNote(t *testing.T, raw *api.Client, id string) string {
	t.Helper()
	out, err := raw.GetCommentsForPullRequest(t.Context(), &api.GetCommentsForPullRequestInput{PullRequestId: &id})
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, data := range out.CommentsForPullRequestData {
		for _, one := range data.Comments {
			if !one.Deleted && one.CommentId != nil {
				notes = append(notes, *one.CommentId)
			}
		}
	}
	if len(notes) != 1 {
		t.Fatalf("%d notes, not 1", len(notes))
	}
	return notes[0]
}

// liveBranch pushes a commit on top of main to a new branch.
func liveBranch(t *testing.T, c *codecommit.Client, branch string) string {
	t.Helper()
	auth := func() *githttp.BasicAuth {
		username, password, err := c.GitPassword(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return &githttp.BasicAuth{Username: username, Password: password.Reveal()}
	}
	repo, err := gogit.CloneContext(t.Context(), memory.NewStorage(), memfs.New(), &gogit.CloneOptions{URL: c.Remote(), Auth: auth(), ReferenceName: "refs/heads/main", SingleBranch: true})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := repo.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	f, err := tree.Filesystem.Create(branch + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Add(branch + ".txt"); err != nil {
		t.Fatal(err)
	}
	commit, err := tree.Commit("Live test", &gogit.CommitOptions{Author: &gitobject.Signature{Name: "Plumbline", Email: "plumbline@example.com", When: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	spec := gitconfig.RefSpec(commit.String() + ":refs/heads/" + branch)
	if err := repo.PushContext(t.Context(), &gogit.PushOptions{Auth: auth(), RefSpecs: []gitconfig.RefSpec{spec}}); err != nil {
		t.Fatal(err)
	}
	return commit.String()
}
