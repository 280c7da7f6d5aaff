package forgetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/forge"
	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestSuite(t *testing.T) {
	Suite(t, func(*testing.T) Fixture {
		f := &Forge{}
		denied := &Forge{}
		denied.Fault(Denied)
		return Fixture{Client: f.Client(), Second: f.Client(), Denied: denied.Client(), People: people{f}}
	})
}

// people act on a Forge.
type people struct{ f *Forge }

func (p people) OpenMR(_ *testing.T, name, target, title string) string {
	return p.f.OpenMR(plumbline.MergeRequest{Source: name, Target: target, Title: title})
}

func (p people) Push(_ *testing.T, id string) string {
	c := commit()
	p.f.Push(id, c)
	return c
}

func (p people) Merge(_ *testing.T, id string) string {
	c := commit()
	p.f.Merge(id, c)
	return c
}

func (p people) Close(_ *testing.T, id string)               { p.f.Close(id) }
func (p people) Comment(_ *testing.T, id, body string)       { p.f.Comment(id, "somebody", body) }
func (p people) Edit(_ *testing.T, id, comment, body string) { p.f.EditComment(id, comment, body) }

func (p people) Reactions(_ *testing.T, id, comment string) (out []plumbline.Reaction) {
	for _, n := range p.f.Notes(id) {
		if n.ID == comment && n.Reaction != "" {
			out = append(out, n.Reaction)
		}
	}
	return out
}

func (p people) Deployments(_ *testing.T, environment string) []forge.Deployment {
	return p.f.Deployments(environment)
}

func (p people) Issues(*testing.T) (out []Issue) {
	for _, i := range p.f.Issues() {
		if i.Author == "plumbline" {
			out = append(out, i)
		}
	}
	return out
}

func (p people) Issue(_ *testing.T, number int64) Issue { return p.f.Issues()[number-1] }

func (p people) OpenIssue(_ *testing.T, title, body string) int64 {
	return p.f.OpenIssue("somebody", title, body)
}

func (p people) CloseIssue(_ *testing.T, number int64) {
	p.f.EditIssue(number, func(i *Issue) { i.Open = false })
}

func (p people) LockIssue(_ *testing.T, number int64) {
	p.f.EditIssue(number, func(i *Issue) { i.Locked = true })
}

func (p people) DeleteIssue(_ *testing.T, number int64) {
	p.f.EditIssue(number, func(i *Issue) { i.Deleted = true })
}

func (p people) Branch(_ *testing.T, name, _ string) { p.f.Branch(name, commit()) }

func (p people) Head(_ *testing.T, id string) string { return p.f.MR(id).Head }
func (p people) Refs(*testing.T) map[string]string   { return nil }

func (p people) Notes(_ *testing.T, id string) []string {
	return p.by(id, func(author string) bool { return author == "plumbline" })
}

func (p people) Comments(_ *testing.T, id string) []string {
	return p.by(id, func(author string) bool { return author != "plumbline" })
}

func (p people) by(id string, want func(author string) bool) (out []string) {
	for _, n := range p.f.Notes(id) {
		if want(n.Author) {
			out = append(out, n.Body)
		}
	}
	return out
}

func (p people) Statuses(_ *testing.T, commit string) []plumbline.CommitStatus {
	return p.f.Statuses(commit)
}

func TestFaults(t *testing.T) {
	f := &Forge{}
	c := f.Client()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	f.Fault(RateLimit(at))
	_, err := c.MergeRequests(t.Context(), nil)
	var retry *plumbline.Retry
	if !errors.As(err, &retry) || !retry.At.Equal(at) {
		t.Errorf("rate limit: %v", err)
	}
	f.Fault(Outage)
	if _, err := c.MergeRequests(t.Context(), nil); err == nil || errors.As(err, &retry) {
		t.Errorf("outage: %v", err)
	}
	f.Fault(nil)
	if _, err := c.MergeRequests(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if n := f.Requests("MergeRequests"); n != 3 {
		t.Errorf("%d requests were counted, not 3", n)
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Forge{}
		gate := make(chan struct{})
		f.Fault(Slow(gate))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Client().MergeRequests(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request that is never let through: %v", err)
		}
		done := make(chan error)
		go func() {
			_, err := f.Client().MergeRequests(t.Context(), nil)
			done <- err
		}()
		gate <- struct{}{}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
