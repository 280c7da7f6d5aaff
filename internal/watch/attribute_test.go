package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// knower is a Trail that knows what it is told.
type knower struct {
	asked  []string
	actor  plumbline.Actor
	failed map[string]error // by address
}

func (k *knower) Attribute(_ context.Context, _ plumbline.Environment, it plumbline.DriftItem, since, until time.Time) (plumbline.Actor, error) {
	k.asked = append(k.asked, fmt.Sprintf("%s %s %s", it.Difference.Address, since.Sub(t0), until.Sub(t0)))
	return k.actor, k.failed[it.Difference.Address]
}

// shelf is a DriftLedger in memory.
type shelf struct {
	items []plumbline.DriftItem
	runs  []plumbline.Run
	moves func(*plumbline.DriftItem) // happens between reading and writing
}

func (s *shelf) DriftItems(context.Context, plumbline.DriftFilter) ([]plumbline.DriftItem, error) {
	return slices.Clone(s.items), nil
}
func (s *shelf) Runs(context.Context, plumbline.RunFilter) ([]plumbline.Run, error) {
	return s.runs, nil
}
func (s *shelf) UpdateDrift(_ context.Context, id int64, now time.Time, rule func(plumbline.DriftItem, time.Time) (plumbline.DriftWrite, error)) (plumbline.DriftItem, error) {
	i := slices.IndexFunc(s.items, func(it plumbline.DriftItem) bool { return it.ID == id })
	if s.moves != nil {
		s.moves(&s.items[i])
	}
	w, err := rule(s.items[i], now)
	if err == nil {
		s.items[i] = w.Item
	}
	return s.items[i], err
}

func driftedAt(id int64, address string, opened, changed time.Duration) plumbline.DriftItem {
	it := plumbline.DriftItem{ID: id, Fingerprint: address, Difference: plumbline.Difference{Address: address, Kind: plumbline.DriftChanged}, Opened: t0.Add(opened)}
	if changed > 0 {
		it.Changed = t0.Add(changed)
	}
	return it
}

func TestAttribute(t *testing.T) {
	look := func(kind plumbline.Kind, state plumbline.State, at time.Duration) plumbline.Run {
		return plumbline.Run{Kind: kind, State: state, Finished: t0.Add(at)}
	}
	s := &shelf{
		items: []plumbline.DriftItem{
			driftedAt(1, "aws_a.opened", 3*time.Hour, 0), driftedAt(2, "aws_b.changed", time.Hour, 4*time.Hour), driftedAt(3, "aws_c.first", 30*time.Minute, 0),
		},
		runs: []plumbline.Run{
			look(plumbline.KindDrift, plumbline.StateDrifted, 4*time.Hour), look(plumbline.KindDeploy, plumbline.StatePlanned, 170*time.Minute),
			look(plumbline.KindDeploy, plumbline.StateApplied, 150*time.Minute), look(plumbline.KindDrift, plumbline.StateDrifted, time.Hour), look(plumbline.KindDrift, plumbline.StateClean, 40*time.Minute),
		},
	}
	known := driftedAt(4, "aws_d.known", time.Hour, 0)
	known.Actor = &plumbline.Actor{Unknown: "two people were there"}
	itself := driftedAt(5, "time_static.t", time.Hour, 0)
	itself.Difference.Kind = plumbline.DriftSelf
	ignored := driftedAt(6, "aws_e.ignored", time.Hour, 0)
	ignored.Ignored = &plumbline.Ignored{}
	s.items = append(s.items, known, itself, ignored)
	k := &knower{actor: plumbline.Actor{Who: "ops-k", How: "the console"}}
	told, again, err := Attribute(t.Context(), k, s, plumbline.Environment{}, t0.Add(5*time.Hour))
	if told != 3 || !again.IsZero() || err != nil {
		t.Errorf("%d told, again at %v, %v", told, again, err)
	}
	// After the apply, since what the apply found changed outside it has put right; of a first look nobody knows since when.
	first := time.Time{}.Sub(t0).String()
	want := []string{"aws_a.opened 2h30m0s 3h0m0s", "aws_b.changed 2h30m0s 4h0m0s", "aws_c.first " + first + " 30m0s"}
	if !slices.Equal(k.asked, want) {
		t.Errorf("asked %q, want %q", k.asked, want)
	}
	if s.items[0].Actor.String() != "ops-k from the console" {
		t.Errorf("%+v", s.items[0].Actor)
	}
	if _, _, err := Attribute(t.Context(), k, s, plumbline.Environment{}, t0.Add(6*time.Hour)); err != nil || len(k.asked) != 3 {
		t.Errorf("asked again of what is known: %q (%v)", k.asked, err)
	}
}

func TestAttributeLater(t *testing.T) {
	s := &shelf{items: []plumbline.DriftItem{driftedAt(1, "aws_a.early", time.Hour, 0), driftedAt(2, "aws_b.broken", time.Hour, 0), driftedAt(3, "aws_c.denied", time.Hour, 0), driftedAt(4, "aws_d.fine", time.Hour, 0)}}
	broken := errors.New("no answer")
	k := &knower{actor: plumbline.Actor{Unknown: "nobody was there"}, failed: map[string]error{
		"aws_a.early": &plumbline.Retry{At: t0.Add(2 * time.Hour), Err: errors.New("too early")}, "aws_b.broken": broken, "aws_c.denied": fmt.Errorf("no: %w", plumbline.ErrDenied),
	}}
	told, again, err := Attribute(t.Context(), k, s, plumbline.Environment{}, t0.Add(90*time.Minute))
	if told != 2 || !again.Equal(t0.Add(2*time.Hour)) || !errors.Is(err, broken) || !errors.Is(err, plumbline.ErrDenied) {
		t.Errorf("%d told, again at %v, %v", told, again, err)
	}
	for i, decided := range []bool{false, false, true, true} {
		if (s.items[i].Actor != nil) != decided {
			t.Errorf("%s: %+v", s.items[i].Difference.Address, s.items[i].Actor)
		}
	}
	s.moves = func(it *plumbline.DriftItem) { it.Fingerprint = "other values" }
	k.failed = nil
	if told, _, err := Attribute(t.Context(), k, s, plumbline.Environment{}, t0.Add(3*time.Hour)); told != 0 || err != nil || s.items[0].Actor != nil {
		t.Errorf("who made the values before has not made these: %d told, %v", told, err)
	}
}

// TestAttributeTooMuch: what will be the same whenever it is asked is asked once; again and again, it would use up what others may ask.
func TestAttributeTooMuch(t *testing.T) {
	s := &shelf{items: []plumbline.DriftItem{driftedAt(1, "aws_a.busy", time.Hour, 0)}}
	k := &knower{actor: plumbline.Actor{Unknown: "more than 200 events name it"}, failed: map[string]error{"aws_a.busy": fmt.Errorf("too much: %w", plumbline.ErrInvalid)}}
	if _, _, err := Attribute(t.Context(), k, s, plumbline.Environment{}, t0.Add(2*time.Hour)); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("nobody is told: %v", err)
	}
	if _, _, err := Attribute(t.Context(), k, s, plumbline.Environment{}, t0.Add(3*time.Hour)); err != nil || len(k.asked) != 1 || s.items[0].Actor == nil {
		t.Errorf("asked %d times, %+v, %v", len(k.asked), s.items[0].Actor, err)
	}
}
