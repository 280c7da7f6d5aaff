package forgetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Issue is one on the forge.
type Issue struct {
	Number       int64
	Author       string // of a Forge
	Title, Body  string
	Labels       []string
	Open, Locked bool
	Deleted      bool // of a Forge
	Edits        int  // of a Forge: how often Plumbline changed it
}

// Lose makes f decide about each change of an issue that it has made: with an error it is made, and nobody hears of it. The methods are MakeIssue
// and ChangeIssue. Nil ends it.
func (f *Forge) Lose(decide func(method string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = decide
}

// Issues returns all that are there, oldest first.
func (f *Forge) Issues() (out []Issue) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.issues {
		if !i.Deleted {
			out = append(out, i)
		}
	}
	return out
}

// OpenIssue opens one as somebody and returns its number.
func (f *Forge) OpenIssue(author, title, body string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.openIssue(Issue{Author: author, Title: title, Body: body}).Number
}

// EditIssue changes one as somebody. It panics on a number that was never given out.
func (f *Forge) EditIssue(number int64, edit func(*Issue)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(&f.issues[number-1])
}

func (f *Forge) openIssue(i Issue) *Issue {
	i.Number, i.Open = int64(len(f.issues)+1), true
	f.issues = append(f.issues, i)
	return &f.issues[i.Number-1]
}

// UpsertIssue keeps the one issue of ours with a marker.
func (c client) UpsertIssue(ctx context.Context, i forge.Issue) (string, error) {
	if err := forge.CheckIssue(i, c.NoteLimit()); err != nil {
		return "", err
	}
	if err := c.begin(ctx, "UpsertIssue"); err != nil {
		return "", err
	}
	c.f.mu.Unlock()
	return forge.KeepIssue(ctx, issues(c), i)
}

type issues client

func (s issues) Own(ctx context.Context, marker string, open bool) (out []forge.OwnIssue, err error) {
	if err := client(s).begin(ctx, "Issues"); err != nil {
		return nil, err
	}
	defer s.f.mu.Unlock()
	for _, i := range slices.Backward(s.f.issues) {
		if !i.Deleted && i.Author == s.f.user() && i.Open == open && strings.Contains(i.Body, marker) {
			out = append(out, ownIssue(i))
		}
	}
	return out, nil
}

func ownIssue(i Issue) forge.OwnIssue {
	return forge.OwnIssue{
		Number: i.Number, Title: i.Title, Body: i.Body, Labels: i.Labels, Open: i.Open, Locked: i.Locked,
		URL: fmt.Sprint("https://forge.example.com/issues/", i.Number),
	}
}

func (s issues) Make(ctx context.Context, title, body string, labels []string) (forge.OwnIssue, error) {
	if err := client(s).begin(ctx, "MakeIssue"); err != nil {
		return forge.OwnIssue{}, err
	}
	defer s.f.mu.Unlock()
	return s.done("MakeIssue", s.f.openIssue(Issue{Author: s.f.user(), Title: title, Body: body, Labels: slices.Clone(labels)}))
}

func (s issues) Change(ctx context.Context, was forge.OwnIssue, e forge.IssueEdit) (forge.OwnIssue, error) {
	if err := client(s).begin(ctx, "ChangeIssue"); err != nil {
		return forge.OwnIssue{}, err
	}
	defer s.f.mu.Unlock()
	i := &s.f.issues[was.Number-1]
	if i.Deleted {
		return forge.OwnIssue{}, fmt.Errorf("issue %d: %w", was.Number, plumbline.ErrNotFound)
	}
	if e.Title != nil {
		i.Title = *e.Title
	}
	if e.Body != nil {
		i.Body = *e.Body
	}
	if e.Open != nil && (!*e.Open || !i.Locked) { // as GitLab does
		i.Open = *e.Open
	}
	i.Labels = append(i.Labels, e.Labels...)
	i.Edits++
	return s.done("ChangeIssue", i)
}

// done answers, unless the answer is lost.
func (s issues) done(method string, i *Issue) (forge.OwnIssue, error) {
	if s.f.lose != nil {
		if err := s.f.lose(method); err != nil {
			return forge.OwnIssue{}, err
		}
	}
	return ownIssue(*i), nil
}
