// Package forge is the contract that every forge adapter keeps.
//
// An adapter passes the suite in forgetest. What several adapters need beside it is here too: how their HTTP interfaces
// are asked, what an answer that is no success means, how a status is made to fit.
package forge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Client speaks for one repository with its forge. Its methods are safe for concurrent use.
//
// Errors have kinds that callers branch on: plumbline.ErrDenied when the credentials are wrong or not enough,
// plumbline.ErrNotFound, *plumbline.Retry when the forge named a time before which it wants to be left alone. Any other
// error may go away by itself. No error holds a credential or a whole answer.
type Client interface {
	// MergeRequests lists the open ones. refs is what the remote's refs were a moment ago, full name to commit; nil means
	// that nobody looked. HeadRef is what to fetch, Head the commit it is at. A forge without an API reads merge requests
	// off the refs; it cannot tell merged from open and leaves State empty.
	MergeRequests(ctx context.Context, refs map[string]string) ([]plumbline.MergeRequest, error)
	// MergeRequest returns one, whatever its state; plumbline.ErrNotFound when the forge does not know it any more.
	MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error)
	// UpsertNote makes body the one note of ours on a merge request that carries marker, which body contains. It is
	// edited in place. Where there are several of ours, because two daemons were quick, the oldest stays and the others
	// are deleted. Notes of other people are never touched: anybody can paste a marker.
	UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error
	// SetStatus puts a line beside a commit. Context and description are shortened to what the forge takes. Saying what
	// the newest status of the context says already changes nothing.
	SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error
	// NoteLimit is the longest note in bytes, and the longest text of an issue.
	NoteLimit() int
}

// Commenter is a forge that tells what people write on merge requests. A reply is a note with a marker of its own.
type Commenter interface {
	// Comments returns the comments of other people than Plumbline on a merge request that were written at since or later, oldest
	// first: neither what the forge itself notes there, nor drafts that are not sent, nor what was deleted.
	Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error)
}

// Reactor is a forge on which a comment can be reacted to.
type Reactor interface {
	// React makes r the one reaction of ours to a comment. Doing it again changes nothing.
	React(ctx context.Context, mr plumbline.MergeRequest, comment string, r plumbline.Reaction) error
}

// Proposal is a merge request to be opened. Its branches exist.
type Proposal = plumbline.NewMergeRequest

// Proposer is a forge on which a merge request can be opened.
type Proposer interface {
	// OpenMergeRequest opens one, or brings title, body and labels of the one that is open for these branches up to date.
	OpenMergeRequest(ctx context.Context, p Proposal) (plumbline.MergeRequest, error)
}

// Deployment is how one commit on its way to one environment is doing.
type Deployment = plumbline.DeploymentStatus

// DeploymentState is where a deployment is.
type DeploymentState = plumbline.DeploymentState

// The states of a deployment.
const (
	DeploymentRunning  = plumbline.DeploymentRunning
	DeploymentSuccess  = plumbline.DeploymentSuccess
	DeploymentFailed   = plumbline.DeploymentFailed
	DeploymentCanceled = plumbline.DeploymentCanceled
)

// Deployer is a forge that shows environments and what is deployed there.
type Deployer interface {
	// SetDeployment brings the newest deployment of ours of a commit to an environment up to date, or makes it. Saying what it says already
	// changes nothing. One that has ended and runs again is a new one.
	SetDeployment(ctx context.Context, d Deployment) error
}

// Check is a commit status with more to say.
type Check = plumbline.CheckRun

// Checker is a forge that shows findings in the files that they are about. What it cannot do with the credentials that it has is
// errors.ErrUnsupported.
type Checker interface {
	SetCheck(ctx context.Context, commit string, c Check) error
}

// Plainer is a forge whose Markdown shows raw HTML as text: there are no <details> in notes there, and their markers are other than comments of HTML.
type Plainer interface{ Plain() bool }

// CheckNote refuses a note that could not be found again or does not fit.
func CheckNote(marker, body string, limit int) error {
	switch {
	case strings.TrimSpace(marker) == "" || strings.Contains(marker, "\n"):
		return fmt.Errorf("marker %q of a note: %w", marker, plumbline.ErrInvalid)
	case !strings.Contains(body, marker):
		return fmt.Errorf("a note without its marker %s: %w", marker, plumbline.ErrInvalid)
	case len(body) > limit:
		return fmt.Errorf("a note of %d bytes where %d are allowed: %w", len(body), limit, plumbline.ErrInvalid)
	}
	return nil
}

// Fit makes a status fit: one line each of valid UTF-8, with at most that many characters. A context that has to be
// shortened ends in a hash of the whole, so that two with the same beginning stay two.
func Fit(s plumbline.CommitStatus, context, description int) plumbline.CommitStatus {
	s.Context, s.Description = OneLine(s.Context), Shorten(OneLine(s.Description), description)
	if utf8.RuneCountInString(s.Context) > context {
		sum := sha256.Sum256([]byte(s.Context))
		tail := hex.EncodeToString(sum[:4])
		s.Context = Shorten(s.Context, context-len(tail)) + tail
	}
	return s
}

// Shorten returns s with at most max characters, the last of which is "…" when something was cut.
func Shorten(s string, max int) string {
	if utf8.RuneCountInString(s) <= max {
		return s
	}
	if max < 1 {
		return ""
	}
	n := 0
	for i := range s {
		if n == max-1 {
			return strings.TrimRightFunc(s[:i], unicode.IsSpace) + "…"
		}
		n++
	}
	return s
}

// OneLine returns s as valid UTF-8 in one line, words one space apart, without control characters.
func OneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Join(strings.Fields(s), " ")
}
