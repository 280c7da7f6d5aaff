package plumbline

import (
	"fmt"
	"testing"
	"time"
)

// TestPace: whatever comes, no hour sees more messages than the limit, and nobody waits longer than a step once the burst is used up.
func TestPace(t *testing.T) {
	for _, limit := range []int{1, 2, 3, 4, 5, 30, 31, 600} {
		for _, every := range []time.Duration{time.Second, 7 * time.Second, time.Minute, 61 * time.Minute} {
			now := t0
			var mark time.Time
			var sent []time.Time
			for range 3000 {
				after, ok, when := Pace{limit}.Take(mark, now)
				if ok {
					mark, sent = after, append(sent, now)
				} else if !when.After(now) || when.Sub(now) > time.Hour {
					t.Fatalf("limit %d: come again at %s, asked at %s", limit, when, now)
				} else if _, ok, _ := (Pace{limit}).Take(mark, when); !ok {
					t.Fatalf("limit %d: not at %s either", limit, when)
				}
				now = now.Add(every)
			}
			from := 0
			for i, at := range sent {
				for at.Sub(sent[from]) >= time.Hour {
					from++
				}
				if n := i - from + 1; n > limit {
					t.Fatalf("limit %d, one every %s: %d messages in an hour", limit, every, n)
				}
			}
			hours := int(now.Sub(t0) / time.Hour)
			if least := min(limit*hours*4/10, 3000); len(sent) < least && every < time.Minute {
				t.Errorf("limit %d, one every %s: only %d messages in %d hours", limit, every, len(sent), hours)
			}
		}
	}
	if _, ok, _ := (Pace{}).Take(t0.AddDate(1, 0, 0), t0); !ok {
		t.Error("no limit keeps something back")
	}
}

func TestMessageKey(t *testing.T) {
	a, b := Notice{Key: "a"}, Notice{Key: "b"}
	if MessageKey([]Notice{a}) != "a" {
		t.Error("one notice's message has another key")
	}
	if ab, ba := MessageKey([]Notice{a, b}), MessageKey([]Notice{b, a}); ab != ba || ab == "a" || ab == "b" {
		t.Errorf("%s, %s", ab, ba)
	}
	if MessageKey([]Notice{{Key: "a"}, {Key: "bc"}}) == MessageKey([]Notice{{Key: "ab"}, {Key: "c"}}) {
		t.Error("keys run into each other")
	}
}

func TestDigestDrift(t *testing.T) {
	item := func(id int64, stack string, opened, resolved time.Duration) DriftItem {
		it := DriftItem{ID: id, Stack: StackRef{"infra", "production", stack}, Difference: Difference{Address: fmt.Sprint("a.", id)}, Opened: t0.Add(opened)}
		if resolved != 0 {
			it.Resolved = t0.Add(resolved)
		}
		return it
	}
	noise, ignored, gone := item(6, "db", -9*time.Hour, 0), item(7, "db", -9*time.Hour, 0), item(8, "db", 0, time.Minute)
	noise.Noise, ignored.Ignored, gone.Noise = "the same in another order", &Ignored{Reason: "autoscaled"}, "so was this"
	got := DigestDrift([]DriftItem{
		item(4, "net", time.Hour, 0), item(3, "db", -2*time.Hour, time.Minute), item(2, "net", -time.Hour, 0), item(1, "db", -5*time.Hour, -time.Hour),
		item(5, "app", 0, 0), noise, ignored, gone,
	}, t0, t0.Add(2*time.Hour))
	want := DriftDigest{Since: t0, Open: 3, New: 1, Resolved: 1, Stacks: 2, OldestAt: t0.Add(-time.Hour), OldestIs: "net: a.2"}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := DigestDrift(nil, t0, t0); got != (DriftDigest{Since: t0}) {
		t.Errorf("%+v of nothing", got)
	}
}

func TestSinkPause(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 10 * time.Second, 1: 10 * time.Second, 2: 20 * time.Second, 4: 80 * time.Second, 10: time.Hour, 1 << 40: time.Hour} {
		if got := SinkPause(failures); got != want {
			t.Errorf("%s after %d failures, want %s", got, failures, want)
		}
	}
}
