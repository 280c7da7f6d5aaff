package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// someRules is a ledger with rules, that counts when drift is held against them.
type someRules struct {
	set        []plumbline.IgnoreRule
	err        error
	considered []time.Time
}

func (s *someRules) IgnoreRules(context.Context, string, string) ([]plumbline.IgnoreRule, error) {
	return s.set, nil
}

func (s *someRules) Reconsider(_ context.Context, _ plumbline.Environment, now time.Time) (int, error) {
	if s.err == nil {
		s.considered = append(s.considered, now)
	}
	return 1, s.err
}

// TestRuleKeeper: drift is held against the rules at the start, and at the very moment at which one runs out, whoever has set it; not in between.
func TestRuleKeeper(t *testing.T) {
	begin := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	now := begin
	rule := func(until time.Duration) plumbline.IgnoreRule {
		return plumbline.IgnoreRule{Address: "a.b", Until: begin.Add(until)}
	}
	ledger := &someRules{}
	k := ruleKeeper{ledger: ledger, now: func() time.Time { return now }, env: plumbline.Environment{Repository: "infra", Name: "production", Drift: plumbline.DriftPolicy{
		Ignore: []plumbline.IgnoreRule{rule(10 * time.Minute), rule(-time.Hour), {Address: "for.good"}},
	}}}
	for now.Before(begin.Add(time.Hour)) {
		switch now.Sub(begin) {
		case 0:
			ledger.err = errors.New("no database")
			if _, _, err := k.round(t.Context()); err == nil {
				t.Fatal("it went well")
			}
			ledger.err = nil
		case 20 * time.Minute: // somebody sets a rule
			ledger.set = append(ledger.set, rule(20*time.Minute+90*time.Second))
		}
		_, next, err := k.round(t.Context())
		if err != nil || !next.After(now) || next.Sub(now) > time.Minute {
			t.Fatalf("at %s the next look is at %s: %v", now, next, err)
		}
		now = next
	}
	want := []time.Duration{0, 10 * time.Minute, 20*time.Minute + 90*time.Second}
	if len(ledger.considered) != len(want) {
		t.Fatalf("considered at %v", ledger.considered)
	}
	for i, at := range ledger.considered {
		if at.Sub(begin) != want[i] {
			t.Errorf("considered %s after the start, want %s", at.Sub(begin), want[i])
		}
	}
}
