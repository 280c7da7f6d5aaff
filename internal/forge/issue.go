package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Issue is what the one issue of Plumbline's that carries a marker is to be.
type Issue = plumbline.Issue

// Issuer is a forge with issues.
type Issuer interface {
	// UpsertIssue makes the one issue of ours that carries i.Marker what i says, and returns its page; "" where none is wanted and there is none.
	// Doing it again changes nothing. KeepIssue has the rules. A text may be as long as a note.
	UpsertIssue(ctx context.Context, i Issue) (url string, err error)
}

// OwnIssue is an issue that the token's user opened, as the forge has it.
type OwnIssue struct {
	Number      int64
	Title, Body string
	Labels      []string
	Open        bool
	Locked      bool // somebody wants no more of it
	URL         string
}

// IssueEdit is what changes about an issue. Nil stays as it is.
type IssueEdit struct {
	Title, Body *string
	Open        *bool
	Labels      []string // that are added
}

func (e IssueEdit) empty() bool {
	return e.Title == nil && e.Body == nil && e.Open == nil && len(e.Labels) == 0
}

// Issues is what an adapter does with the issues of a repository.
type Issues interface {
	// Own returns those issues of the token's user that carry marker and are open, or closed: the author tells them from those of others, since
	// anybody can paste a marker. They are read from a list of the user's issues, never from a search by words, which goes through an index that is
	// behind. All that are open are there; of those that are closed the newest few hundred of the user's are looked through.
	Own(ctx context.Context, marker string, open bool) ([]OwnIssue, error)
	Make(ctx context.Context, title, body string, labels []string) (OwnIssue, error)
	// Change returns the issue as it is then; plumbline.ErrNotFound when it is gone.
	Change(ctx context.Context, was OwnIssue, e IssueEdit) (OwnIssue, error)
}

// issueTries is how often an issue is looked for that is deleted, or changed by somebody else, before it can be changed.
const issueTries = 3

// KeepIssue is UpsertIssue by what an adapter can do. Texts are as the forge keeps them already.
//
// There is never more than one open issue with the marker. Each call begins by looking for it, so that one whose answer was lost is found, and
// nothing has to be remembered of where it is. When none is open, the oldest closed one that is not locked is opened again, or told how it ended;
// with i.Stay it is told and stays closed.
// When there is none of those, because there never was one or somebody locked or deleted it, one is made; then they are listed once more, since
// another daemon may have been as quick: the oldest stays, and the others are closed and point to it. Two daemons choose the same.
func KeepIssue(ctx context.Context, f Issues, i Issue) (url string, err error) {
	ctx = Urgent(ctx)
	var old outdated
	for range issueTries {
		url, err = keepIssue(ctx, f, i)
		if !errors.As(err, &old) {
			return url, err
		}
	}
	if errors.Is(old, plumbline.ErrNotFound) {
		return "", fmt.Errorf("the issue %q is listed, and gone each time it is to be changed: %w", i.Title, plumbline.ErrConflict)
	}
	return "", old.error
}

// outdated is why an issue could not be changed that is not any more as it was listed: it is gone, or another daemon changes it in this very moment
// (Gitea answers 409 then).
type outdated struct{ error }

func (o outdated) Unwrap() error { return o.error }

func keepIssue(ctx context.Context, f Issues, i Issue) (string, error) {
	open, err := own(ctx, f, i.Marker, true)
	if err != nil {
		return "", err
	}
	if len(open) == 0 {
		url, done, err := keepClosed(ctx, f, i)
		if err != nil || done {
			return url, err
		}
		made, err := f.Make(ctx, i.Title, i.Body, i.Labels)
		if err != nil {
			return "", err
		}
		if open, err = own(ctx, f, i.Marker, true); err != nil {
			return "", err
		}
		open = byNumber(append(open, made)) // a list may come from a copy that is late
	}
	for _, extra := range open[1:] {
		if err := closeDuplicate(ctx, f, extra, open[0].Number); err != nil {
			return "", err
		}
	}
	now, err := change(ctx, f, open[0], i)
	return now.URL, err
}

// keepClosed does what can be done with an issue that is closed. done means that no other is wanted.
func keepClosed(ctx context.Context, f Issues, i Issue) (url string, done bool, err error) {
	closed, err := own(ctx, f, i.Marker, false)
	if err != nil {
		return "", false, err
	}
	i.Open = i.Open && !i.Stay
	for _, one := range closed {
		if one.Locked {
			continue
		}
		now, err := change(ctx, f, one, i)
		if err != nil {
			return "", false, err
		}
		if now.Open == i.Open { // some forges do not open one again, and do not say so
			return now.URL, true, nil
		}
	}
	return "", !i.Open, nil
}

// change brings an issue to what is wanted, in one request or none. Labels that are missing are added while it is open; those that people added
// stay.
func change(ctx context.Context, f Issues, was OwnIssue, i Issue) (OwnIssue, error) {
	var e IssueEdit
	if was.Title != i.Title {
		e.Title = &i.Title
	}
	if was.Body != i.Body {
		e.Body = &i.Body
	}
	if was.Open != i.Open {
		e.Open = &i.Open
	}
	if i.Open {
		e.Labels = lacking(i.Labels, was.Labels)
	}
	if e.empty() {
		return was, nil
	}
	now, err := f.Change(ctx, was, e)
	if errors.Is(err, plumbline.ErrNotFound) || errors.Is(err, plumbline.ErrConflict) {
		err = outdated{err}
	}
	return now, err
}

// closeDuplicate closes an issue that another daemon opened in the same moment. It loses the marker: it is never to be opened again.
func closeDuplicate(ctx context.Context, f Issues, extra OwnIssue, kept int64) error {
	body, open := fmt.Sprintf("The same as #%d.", kept), false
	_, err := f.Change(ctx, extra, IssueEdit{Body: &body, Open: &open})
	switch {
	case errors.Is(err, plumbline.ErrNotFound):
		return nil // somebody deleted it
	case errors.Is(err, plumbline.ErrConflict):
		return outdated{err}
	}
	return err
}

func own(ctx context.Context, f Issues, marker string, open bool) ([]OwnIssue, error) {
	all, err := f.Own(ctx, marker, open)
	if err != nil {
		return nil, err
	}
	return byNumber(all), nil
}

func byNumber(all []OwnIssue) []OwnIssue {
	slices.SortStableFunc(all, func(a, b OwnIssue) int { return cmp.Compare(a.Number, b.Number) })
	return slices.CompactFunc(all, func(a, b OwnIssue) bool { return a.Number == b.Number })
}

// lacking returns those of wanted that are not there. No forge can be relied on to tell upper case from lower in labels.
func lacking(wanted, there []string) (out []string) {
	for _, w := range wanted {
		if !slices.ContainsFunc(there, func(l string) bool { return strings.EqualFold(l, w) }) {
			out = append(out, w)
		}
	}
	return out
}

// CheckIssue refuses an issue that could not be found again or does not fit.
func CheckIssue(i Issue, limit int) error {
	if strings.TrimSpace(i.Title) == "" {
		return fmt.Errorf("an issue without title: %w", plumbline.ErrInvalid)
	}
	return CheckNote(i.Marker, i.Body, limit)
}
