// Package forgetest is a forge in memory with the suite that every forge adapter passes.
package forgetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Forge is a forge in memory that behaves: notes have authors, statuses are only ever added, merge requests are numbered.
// Its fields are set before it is used. Its methods are safe for concurrent use.
type Forge struct {
	User             string           // whom Plumbline is here; default "plumbline"
	Limit            int              // bytes of a note; default 64 KiB
	ContextLimit     int              // characters; default 255
	DescriptionLimit int              // characters; default 140
	Now              func() time.Time // default time.Now

	// Head is the commit at the head of a branch; "": there is no such branch. Default: the branches that Branch has made.
	Head func(branch string) string

	mu       sync.Mutex
	mrs      []plumbline.MergeRequest // the first has ID 1
	notes    map[string][]Note        // by merge request, oldest first
	statuses map[string][]plumbline.CommitStatus
	comments int // that were ever written
	deployed []forge.Deployment
	checks   map[string]map[string]forge.Check // by commit and name
	issues   []Issue                           // the first has number 1
	requests map[string]int
	fault    func(ctx context.Context, method string) error
	lose     func(method string) error
	branches map[string]string
}

// Branch makes a branch, or moves it.
func (f *Forge) Branch(name, commit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.branches == nil {
		f.branches = map[string]string{}
	}
	f.branches[name] = commit
}

// head is the commit of a branch. The caller holds f.mu.
func (f *Forge) head(branch string) string {
	if f.Head != nil {
		return f.Head(branch)
	}
	return f.branches[branch]
}

// Note is a comment on a merge request.
type Note struct {
	ID       string // unique in the forge
	Author   string
	Body     string
	At       time.Time
	Edited   bool
	Reaction plumbline.Reaction // Plumbline's
}

// Fault makes f decide about each request to come: before anything else it is asked with the name of the Client method,
// and an error of it is returned. Nil ends it. RateLimit, Outage and Slow make some.
func (f *Forge) Fault(decide func(ctx context.Context, method string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = decide
}

// RateLimit answers that all requests are to wait until at.
func RateLimit(at time.Time) func(context.Context, string) error {
	return func(context.Context, string) error {
		return &plumbline.Retry{At: at, Err: &forge.HTTPError{Method: "GET", Path: "/", Status: 429}}
	}
}

// Outage answers as a proxy whose forge is down.
func Outage(context.Context, string) error {
	return &forge.HTTPError{Method: "GET", Path: "/", Status: 502}
}

// Denied answers as to a wrong token.
func Denied(context.Context, string) error {
	return &forge.HTTPError{Method: "GET", Path: "/", Status: 401}
}

// Slow lets a request through when a value can be received from gate, or its context ends it.
func Slow(gate <-chan struct{}) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Requests returns how often a method of Client was called, faults included.
func (f *Forge) Requests(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[method]
}

// Client returns the forge as Plumbline sees it.
func (f *Forge) Client() forge.Client { return client{f} }

// OpenMR opens a merge request and returns its ID. Zero fields are filled in: the head is an invented commit.
func (f *Forge) OpenMR(mr plumbline.MergeRequest) (id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	mr.ID = strconv.Itoa(len(f.mrs) + 1)
	mr.State = plumbline.MROpen
	mr.Author = cmp.Or(mr.Author, "dev")
	mr.URL = cmp.Or(mr.URL, "https://forge.example.com/mr/"+mr.ID)
	mr.HeadRef = cmp.Or(mr.HeadRef, "refs/heads/"+mr.Source)
	mr.Head = cmp.Or(mr.Head, commit())
	mr.UpdatedAt = f.now()
	f.mrs = append(f.mrs, mr)
	f.touch(mr.ID)
	return mr.ID
}

// Push moves a merge request's head to a commit.
func (f *Forge) Push(id, commit string) {
	f.change(id, func(mr *plumbline.MergeRequest) { mr.Head = commit })
}

// Merge merges it; commit is what the target's branch is at then.
func (f *Forge) Merge(id, commit string) {
	f.change(id, func(mr *plumbline.MergeRequest) { mr.State, mr.MergeCommit = plumbline.MRMerged, commit })
}

// Close closes it without merging.
func (f *Forge) Close(id string) {
	f.change(id, func(mr *plumbline.MergeRequest) { mr.State = plumbline.MRClosed })
}

// Edit changes anything else about it.
func (f *Forge) Edit(id string, edit func(*plumbline.MergeRequest)) { f.change(id, edit) }

// Comment writes a note as somebody and returns its ID.
func (f *Forge) Comment(id, author, body string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.comment(id, author, body)
}

// CommentAt is Comment with the time at which it was written.
func (f *Forge) CommentAt(id, author, body string, at time.Time) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	comment := f.comment(id, author, body)
	f.note(id, comment).At = at
	return comment
}

// EditComment changes the text of a note. It panics on one that is not there.
func (f *Forge) EditComment(id, comment, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.note(id, comment)
	n.Body, n.Edited = body, true
	f.touch(id)
}

func (f *Forge) note(id, comment string) *Note {
	for i := range f.notes[id] {
		if f.notes[id][i].ID == comment {
			return &f.notes[id][i]
		}
	}
	return nil
}

// touch notes that something happened on a merge request.
func (f *Forge) touch(id string) {
	if mr := f.find(id); mr != nil {
		mr.UpdatedAt = f.now()
		mr.Activity = fmt.Sprint(f.comments, " ", mr.UpdatedAt.UnixNano(), " ", f.edits(id))
	}
}

func (f *Forge) edits(id string) (n int) {
	for _, note := range f.notes[id] {
		if note.Edited {
			n++
		}
	}
	return n
}

// Notes returns all notes of a merge request, oldest first.
func (f *Forge) Notes(id string) []Note {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.notes[id])
}

// Statuses returns all that was ever said about a commit, oldest first.
func (f *Forge) Statuses(commit string) []plumbline.CommitStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.statuses[commit])
}

// Newest returns what counts among the statuses of a commit, by context.
func (f *Forge) Newest(commit string) map[string]plumbline.CommitStatus {
	out := map[string]plumbline.CommitStatus{}
	for _, s := range f.Statuses(commit) {
		out[s.Context] = s
	}
	return out
}

// Commits returns those that have statuses, sorted.
func (f *Forge) Commits() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.statuses))
}

// MR returns a merge request. It panics on an ID that was never given out.
func (f *Forge) MR(id string) plumbline.MergeRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	mr := f.find(id)
	if mr == nil {
		panic("forgetest: no merge request " + id)
	}
	return *mr
}

func (f *Forge) change(id string, edit func(*plumbline.MergeRequest)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	mr := f.find(id)
	if mr == nil {
		panic("forgetest: no merge request " + id)
	}
	edit(mr)
	mr.UpdatedAt = f.now()
}

func (f *Forge) find(id string) *plumbline.MergeRequest {
	n, err := strconv.Atoi(id)
	if err != nil || n < 1 || n > len(f.mrs) {
		return nil
	}
	return &f.mrs[n-1]
}

func (f *Forge) comment(id, author, body string) string {
	if f.notes == nil {
		f.notes = map[string][]Note{}
	}
	f.comments++
	n := Note{ID: strconv.Itoa(f.comments), Author: author, Body: body, At: f.now()}
	f.notes[id] = append(f.notes[id], n)
	f.touch(id)
	return n.ID
}

func (f *Forge) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

func (f *Forge) user() string { return cmp.Or(f.User, "plumbline") }

// commit invents a commit's hash.
func commit() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// client is Plumbline's side of a Forge.
type client struct{ f *Forge }

// begin counts a request and lets the fault decide. The caller unlocks f.mu unless there is an error.
func (c client) begin(ctx context.Context, method string) error {
	c.f.mu.Lock()
	if c.f.requests == nil {
		c.f.requests = map[string]int{}
	}
	c.f.requests[method]++
	fault := c.f.fault
	c.f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if fault != nil {
		if err := fault(ctx, method); err != nil {
			return err
		}
	}
	c.f.mu.Lock()
	return nil
}

func (c client) NoteLimit() int { return cmp.Or(c.f.Limit, 64<<10) }

func (c client) MergeRequests(ctx context.Context, _ map[string]string) ([]plumbline.MergeRequest, error) {
	if err := c.begin(ctx, "MergeRequests"); err != nil {
		return nil, err
	}
	defer c.f.mu.Unlock()
	var out []plumbline.MergeRequest
	for _, mr := range c.f.mrs {
		if mr.State == plumbline.MROpen {
			if mr.Author == c.f.user() { // of a branch that we know
				mr.Head = cmp.Or(c.f.head(mr.Source), mr.Head)
			}
			out = append(out, mr)
		}
	}
	return out, nil
}

func (c client) MergeRequest(ctx context.Context, id string) (plumbline.MergeRequest, error) {
	if err := c.begin(ctx, "MergeRequest"); err != nil {
		return plumbline.MergeRequest{}, err
	}
	defer c.f.mu.Unlock()
	mr := c.f.find(id)
	if mr == nil {
		return plumbline.MergeRequest{}, fmt.Errorf("merge request %q: %w", id, plumbline.ErrNotFound)
	}
	return *mr, nil
}

func (c client) OpenMergeRequest(ctx context.Context, p forge.Proposal) (plumbline.MergeRequest, error) {
	if err := c.begin(ctx, "OpenMergeRequest"); err != nil {
		return plumbline.MergeRequest{}, err
	}
	defer c.f.mu.Unlock()
	head := c.f.head(p.Source)
	if head == "" {
		return plumbline.MergeRequest{}, fmt.Errorf("branch %q: %w", p.Source, plumbline.ErrInvalid)
	}
	for i := range c.f.mrs {
		mr := &c.f.mrs[i]
		if mr.State == plumbline.MROpen && mr.Source == p.Source && mr.Target == p.Target {
			mr.Title, mr.Head, mr.UpdatedAt = p.Title, head, c.f.now()
			return *mr, nil
		}
	}
	id := strconv.Itoa(len(c.f.mrs) + 1)
	c.f.mrs = append(c.f.mrs, plumbline.MergeRequest{
		ID: id, Title: p.Title, Author: c.f.user(), URL: "https://forge.example.com/mr/" + id, Source: p.Source, HeadRef: "refs/heads/" + p.Source, Head: head,
		Target: p.Target, Draft: p.Draft, State: plumbline.MROpen, UpdatedAt: c.f.now(), Labels: p.Labels,
	})
	return c.f.mrs[len(c.f.mrs)-1], nil
}

func (c client) UpsertNote(ctx context.Context, mr plumbline.MergeRequest, marker, body string) error {
	if err := forge.CheckNote(marker, body, c.NoteLimit()); err != nil {
		return err
	}
	if err := c.begin(ctx, "UpsertNote"); err != nil {
		return err
	}
	defer c.f.mu.Unlock()
	if c.f.find(mr.ID) == nil {
		return fmt.Errorf("merge request %q: %w", mr.ID, plumbline.ErrNotFound)
	}
	written := false
	kept := c.f.notes[mr.ID][:0]
	for _, n := range c.f.notes[mr.ID] {
		if n.Author == c.f.user() && strings.Contains(n.Body, marker) {
			if written {
				continue
			}
			n.Edited = n.Edited || n.Body != body
			n.Body, written = body, true
		}
		kept = append(kept, n)
	}
	if written {
		c.f.notes[mr.ID] = kept
	} else {
		c.f.comment(mr.ID, c.f.user(), body)
	}
	return nil
}

func (c client) SetStatus(ctx context.Context, commit string, s plumbline.CommitStatus) error {
	if err := c.begin(ctx, "SetStatus"); err != nil {
		return err
	}
	defer c.f.mu.Unlock()
	s = forge.Fit(s, cmp.Or(c.f.ContextLimit, 255), cmp.Or(c.f.DescriptionLimit, 140))
	for _, was := range slices.Backward(c.f.statuses[commit]) {
		if was.Context == s.Context {
			if was == s {
				return nil
			}
			break
		}
	}
	if c.f.statuses == nil {
		c.f.statuses = map[string][]plumbline.CommitStatus{}
	}
	c.f.statuses[commit] = append(c.f.statuses[commit], s)
	return nil
}

// Comments returns what others wrote.
func (c client) Comments(ctx context.Context, mr plumbline.MergeRequest, since time.Time) ([]plumbline.Comment, error) {
	if err := c.begin(ctx, "Comments"); err != nil {
		return nil, err
	}
	defer c.f.mu.Unlock()
	var out []plumbline.Comment
	for _, n := range c.f.notes[mr.ID] {
		if n.Author != c.f.user() && !n.At.Before(since) {
			out = append(out, plumbline.Comment{ID: n.ID, Author: n.Author, Body: n.Body, At: n.At, Edited: n.Edited})
		}
	}
	return out, nil
}

// React reacts to a comment.
func (c client) React(ctx context.Context, mr plumbline.MergeRequest, comment string, r plumbline.Reaction) error {
	if err := c.begin(ctx, "React"); err != nil {
		return err
	}
	defer c.f.mu.Unlock()
	n := c.f.note(mr.ID, comment)
	if n == nil {
		return fmt.Errorf("comment %q: %w", comment, plumbline.ErrNotFound)
	}
	n.Reaction = r
	return nil
}

// SetDeployment says how a deployment is doing.
func (c client) SetDeployment(ctx context.Context, d forge.Deployment) error {
	if err := c.begin(ctx, "SetDeployment"); err != nil {
		return err
	}
	defer c.f.mu.Unlock()
	for i, was := range slices.Backward(c.f.deployed) {
		if was.Environment != d.Environment || was.Commit != d.Commit {
			continue
		}
		if was.State != forge.DeploymentRunning && d.State == forge.DeploymentRunning {
			break
		}
		c.f.deployed[i] = d
		return nil
	}
	c.f.deployed = append(c.f.deployed, d)
	return nil
}

// Deployments returns those to an environment, oldest first.
func (f *Forge) Deployments(environment string) (out []forge.Deployment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.deployed {
		if d.Environment == environment {
			out = append(out, d)
		}
	}
	return out
}

// SetCheck shows findings beside a commit.
func (c client) SetCheck(ctx context.Context, commit string, check forge.Check) error {
	if err := c.begin(ctx, "SetCheck"); err != nil {
		return err
	}
	defer c.f.mu.Unlock()
	if c.f.checks == nil {
		c.f.checks = map[string]map[string]forge.Check{}
	}
	if c.f.checks[commit] == nil {
		c.f.checks[commit] = map[string]forge.Check{}
	}
	c.f.checks[commit][check.Context] = check
	return nil
}

// Checks returns those of a commit, by name.
func (f *Forge) Checks(commit string) map[string]forge.Check {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.checks[commit])
}
