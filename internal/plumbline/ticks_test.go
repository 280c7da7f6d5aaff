package plumbline

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// ticked watches the clocks of a zone for n minutes as a person would, and tells at which of them a schedule ticks.
func ticked(f fields, zone *time.Location, from time.Time, n int) []int {
	shows := func(i int) int {
		_, offset := from.Add(time.Duration(i) * time.Minute).In(zone).Zone()
		return int(from.Unix()/60) + i + offset/60
	}
	seen := shows(-1)
	for i := -3 * 24 * 60; i < -1; i++ {
		seen = max(seen, shows(i))
	}
	var out []int
	for i := range n {
		now, tick := shows(i), false
		if f.hours == nil { // by elapsed time
			tick = f.names(now)
		}
		for m := seen + 1; m <= now && f.hours != nil; m++ {
			tick = tick || f.names(m) && (m == now || now-seen <= 24*60)
		}
		seen = max(seen, now)
		if tick {
			out = append(out, i)
		}
	}
	return out
}

// TestTicks compares a year of ticks with what somebody saw who watched the clocks every minute of it.
func TestTicks(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const n = 365 * 24 * 60
	for _, f := range []fields{
		{minutes: []int{30}, hours: []int{1}},                                  // daily, in the hour that comes twice or not at all in London
		{minutes: []int{15}, hours: []int{2}},                                  // the same in New York
		{minutes: []int{0}, hours: []int{0, 6, 12, 18}},                        // */6
		{minutes: []int{0, 20, 40}, hours: []int{1, 2, 3}},                     // several of those that are left out
		{minutes: []int{5}},                                                    // every hour
		{minutes: []int{0, 30}, weekdays: []int{0, 1}},                         // every half hour of two days
		{minutes: []int{0}, hours: []int{3}, days: []int{1, 29}},               // by date
		{minutes: []int{45}, hours: []int{23}, weekdays: []int{1, 2, 3, 4}},    // by weekday
		{minutes: []int{30}, hours: []int{1}, months: []int{3, 10}, days: nil}, // in months that have a change
	} {
		for _, name := range []string{"Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"} {
			zone, err := time.LoadLocation(name)
			must(t, err)
			ticks, err := DriftPolicy{Schedule: f.String(), Timezone: name}.Ticks()
			must(t, err)
			at, count := from.Add(-time.Nanosecond), 0
			for _, i := range ticked(f, zone, from, n) {
				want := from.Add(time.Duration(i) * time.Minute)
				if got := ticks.Next(at); !got.Equal(want) {
					t.Fatalf("%s in %s: after %s comes %s, want %s", f, name, at.In(zone), got.In(zone), want.In(zone))
				}
				at = want
				count++
			}
			if last := ticks.Next(at); last.Before(from.Add(n * time.Minute)) {
				t.Errorf("%s in %s: %s is one too many", f, name, last.In(zone))
			}
			if len(f.hours) == 1 && f.days == nil && f.months == nil && f.weekdays == nil && count != 365 {
				t.Errorf("%s in %s: %d ticks in a year of a daily check", f, name, count)
			}
		}
	}
}

func TestTicksRefused(t *testing.T) {
	for _, p := range []DriftPolicy{
		{Schedule: ""}, {Schedule: "0 25 * * *"}, {Schedule: ", * * * *"}, {Schedule: "TZ="}, {Schedule: "CRON_TZ=Europe/London @daily"},
		{Schedule: "@daily", Timezone: "Mars/Olympus"},
	} {
		if _, err := p.Ticks(); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	every, err := DriftPolicy{Schedule: "@every 90m"}.Ticks()
	must(t, err)
	if got := every.Next(t0); !got.Equal(t0.Add(90 * time.Minute)) {
		t.Errorf("@every: %s", got)
	}
}

func stacks(n int) []StackStatus {
	var out []StackStatus
	for i := range n {
		name := "live/stack-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + RunID(i).String()
		out = append(out, StackStatus{Stack: StackRef{"infra", "production", name}, Spec: StackSpec{Name: name, Dir: name}, Checked: true})
	}
	return out
}

// TestSpread: the checks of a tick are begun evenly over a while, each stack at its own place in it at each tick.
func TestSpread(t *testing.T) {
	noon := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		policy DriftPolicy
		late   time.Duration // when the tick is seen
		from   time.Duration // after the tick
		over   time.Duration
	}{
		{"by default a tenth", DriftPolicy{Schedule: "0 * * * *"}, 0, 0, 6 * time.Minute},
		{"at most a quarter of an hour", DriftPolicy{Schedule: "0 12 * * *"}, 0, 0, 15 * time.Minute},
		{"as the configuration says", DriftPolicy{Schedule: "0 12 * * *", Spread: 3 * time.Hour}, 0, 0, 3 * time.Hour},
		{"not beyond the next tick", DriftPolicy{Schedule: "*/10 * * * *", Spread: time.Hour}, 0, 0, 10 * time.Minute},
		{"seen a little late", DriftPolicy{Schedule: "0 * * * *"}, 30 * time.Second, 0, 6 * time.Minute},
		{"seen at the end of it", DriftPolicy{Schedule: "0 * * * *"}, 6 * time.Minute, 0, 6 * time.Minute},
		{"caught up", DriftPolicy{Schedule: "0 * * * *"}, 20 * time.Minute, 20 * time.Minute, 6 * time.Minute},
		{"caught up just before the next", DriftPolicy{Schedule: "0 * * * *"}, 58 * time.Minute, 58 * time.Minute, 2 * time.Minute},
		{"of another schedule by now", DriftPolicy{Schedule: "mistaken", Spread: time.Hour}, time.Minute, 0, 0},
	} {
		env := Environment{Repository: "infra", Name: "production", Drift: tt.policy}
		list := stacks(1000)
		runs := DriftChecks(env, "c1", BySchedule, noon, list, nil, nil, noon.Add(tt.late))
		from, tenths := noon.Add(tt.from), [10]int{}
		for _, r := range runs {
			after := r.NotBefore.Sub(from)
			if after < 0 || after > tt.over || tt.over > 0 && after == tt.over {
				t.Fatalf("%s: %s is begun %s after it, want within %s", tt.name, r.Stack.Name, after, tt.over)
			}
			if tt.over > 0 {
				tenths[int(10*after/tt.over)]++
			}
		}
		for i, k := range tenths {
			if tt.over > 0 && math.Abs(float64(k)-100) > 40 {
				t.Errorf("%s: %d of 1000 in tenth %d", tt.name, k, i)
			}
		}
		again := DriftChecks(env, "c2", BySchedule, noon, list, nil, nil, noon.Add(tt.late))
		for i := range runs {
			if !again[i].NotBefore.Equal(runs[i].NotBefore) {
				t.Fatalf("%s: %s has another place", tt.name, runs[i].Stack.Name)
			}
		}
	}
	env := Environment{Repository: "infra", Name: "production", Drift: DriftPolicy{Schedule: "@daily"}}
	for _, by := range []string{ByPoll, "ann"} {
		for _, r := range DriftChecks(env, "c1", by, time.Time{}, stacks(5), nil, nil, noon) {
			if !r.NotBefore.IsZero() {
				t.Errorf("what %s asks for waits until %s", by, r.NotBefore)
			}
		}
	}
}

func TestNotBefore(t *testing.T) {
	due := t0.Add(3*time.Minute + 7*time.Second)
	run := func() Run {
		r := inState(StateQueued, KindDrift, ApplyApproval)
		r.NotBefore, r.Because = due, "the schedule of production"
		return r
	}
	r := run()
	var notYet *NotYet
	if err := r.Start("w", due.Add(-1), time.Minute); !errors.As(err, &notYet) || !notYet.Until.Equal(due) || r.State != StateQueued {
		t.Errorf("begun before its time: %v, %s", err, r.State)
	}
	if got := Explain(r, nil, t0); !strings.Contains(got, "It is due at 12:03:07 UTC") {
		t.Error(got)
	}
	if got := Reasons(r, nil, nil, t0); got[len(got)-1].What != "run 7 is due at 12:03:07 UTC" {
		t.Errorf("%+v", got)
	}
	must(t, r.Start("w", due, time.Minute))
	if err := r.Hurry("ann", t0); !errors.Is(err, ErrConflict) {
		t.Errorf("hurried although it has begun: %v", err)
	}
	r = run()
	must(t, r.Hurry("ann", t0))
	must(t, r.Start("w", t0, time.Minute))
	if r.By != "ann" || r.Because != "asked for by ann" {
		t.Errorf("%s, %s", r.By, r.Because)
	}
	if err := r.Hurry("ann", t0); !errors.Is(err, ErrConflict) {
		t.Errorf("hurried twice: %v", err)
	}
	r = run()
	must(t, r.Cancel("ann", t0))
	must(t, r.Retry("ann", t0))
	must(t, r.Start("w", t0, time.Minute))
}
