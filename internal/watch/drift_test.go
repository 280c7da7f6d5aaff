package watch

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// check looks at the schedule of production.
func (r *rig) check(w *Watcher, schedule, zone string) (queued int, next time.Time) {
	r.t.Helper()
	env := r.repo.Environments[0]
	env.Drift = plumbline.DriftPolicy{Schedule: schedule, Timezone: zone}
	res, next, err := w.CheckDrift(r.t.Context(), env)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Queued, next
}

// finishChecks ends the drift checks that wait.
func (r *rig) finishChecks() {
	r.t.Helper()
	for _, run := range r.runs(plumbline.RunFilter{Kinds: []plumbline.Kind{plumbline.KindDrift}, States: []plumbline.State{plumbline.StateQueued}}) {
		r.plan(run.ID, "")
	}
}

func TestCheckDrift(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	type look struct {
		at     string
		queued int
		next   string
		tick   string // of the runs, if any
	}
	for _, tt := range []struct {
		name, schedule, zone string
		looks                []look
	}{
		{"every six hours", "0 */6 * * *", "", []look{
			{"2026-11-20T12:10:00Z", 0, "2026-11-20T18:00:00Z", ""}, // the first look: ticks count from here
			{"2026-11-20T17:59:59Z", 0, "2026-11-20T18:00:00Z", ""},
			{"2026-11-20T18:00:00Z", 3, "2026-11-21T00:00:00Z", "2026-11-20T18:00:00Z"},
			{"2026-11-20T18:00:01Z", 0, "2026-11-21T00:00:00Z", ""},
			{"2026-11-25T07:00:00Z", 3, "2026-11-25T12:00:00Z", "2026-11-25T06:00:00Z"}, // many missed: one check
			{"2026-11-25T07:00:01Z", 0, "2026-11-25T12:00:00Z", ""},
		}},
		{"@every counts from the last tick, whoever looks in between", "@every 1h", "", []look{
			{"2026-11-20T12:00:00Z", 0, "2026-11-20T13:00:00Z", ""},
			{"2026-11-20T12:50:00Z", 0, "2026-11-20T13:00:00Z", ""},
			{"2026-11-20T13:00:30Z", 3, "2026-11-20T14:00:00Z", "2026-11-20T13:00:00Z"},
		}},
		{"London leaves summer time: the hour that comes twice", "30 1 * * *", "Europe/London", []look{
			{"2026-10-24T12:00:00Z", 0, "2026-10-25T00:30:00Z", ""},
			{"2026-10-25T00:30:00Z", 3, "2026-10-26T01:30:00Z", "2026-10-25T00:30:00Z"}, // the first time only
			{"2026-10-25T12:00:00Z", 0, "2026-10-26T01:30:00Z", ""},
		}},
		{"London enters summer time: the hour that does not come", "30 1 * * *", "Europe/London", []look{
			{"2026-03-28T12:00:00Z", 0, "2026-03-29T01:00:00Z", ""}, // when the clocks jump
			{"2026-03-29T01:00:00Z", 3, "2026-03-30T00:30:00Z", "2026-03-29T01:00:00Z"},
			{"2026-03-30T00:30:00Z", 3, "2026-03-31T00:30:00Z", "2026-03-30T00:30:00Z"},
		}},
		{"every half hour in the hour that comes twice", "*/30 * * * *", "Europe/London", []look{
			{"2026-10-25T00:00:00Z", 0, "2026-10-25T00:30:00Z", ""},
			{"2026-10-25T00:30:00Z", 3, "2026-10-25T01:00:00Z", "2026-10-25T00:30:00Z"},
			{"2026-10-25T01:00:00Z", 3, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z"},
			{"2026-10-25T01:30:00Z", 3, "2026-10-25T02:00:00Z", "2026-10-25T01:30:00Z"},
		}},
		{"noon stays noon", "0 12 * * *", "America/New_York", []look{
			{"2026-10-31T20:00:00Z", 0, "2026-11-01T17:00:00Z", ""},
			{"2026-11-01T17:00:00Z", 3, "2026-11-02T17:00:00Z", "2026-11-01T17:00:00Z"},
		}},
		{"never", "", "", []look{{"2026-11-20T12:00:00Z", 0, "0001-01-01T00:00:00Z", ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := sighted(t)
			for _, l := range tt.looks {
				since := r.last()
				r.now = at(l.at)
				queued, next := r.check(r.w, tt.schedule, tt.zone)
				if queued != l.queued || !next.Equal(at(l.next)) {
					t.Errorf("at %s: %d queued, next %s; want %d, %s", l.at, queued, next.UTC().Format(time.RFC3339), l.queued, l.next)
				}
				for _, run := range r.runs(plumbline.RunFilter{}) {
					if run.ID > since && !run.Tick.Equal(at(l.tick)) {
						t.Errorf("at %s: tick %s, want %s", l.at, run.Tick, l.tick)
					}
				}
				r.finishChecks()
			}
		})
	}
}

func TestCheckDriftOnce(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	var nodes []*Watcher
	for range 8 {
		nodes = append(nodes, r.watcher())
	}
	for hour := range 4 {
		var wg sync.WaitGroup
		queued := make([]int, len(nodes))
		for i, w := range nodes {
			wg.Go(func() { queued[i], _ = r.check(w, "@hourly", "") })
		}
		wg.Wait()
		sum := 0
		for _, n := range queued {
			sum += n
		}
		if want := min(hour, 1) * 3; sum != want {
			t.Errorf("hour %d: %d queued, want %d", hour, sum, want)
		}
		r.finishChecks()
		r.pass(time.Hour)
	}
}

func TestCheckDriftBusy(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	r.check(r.w, "@hourly", "")
	r.ask(plumbline.RequestDrift, "production", "live/db")
	r.poll()
	r.start(r.newest("production", "live/db").ID)
	since := r.last()
	r.pass(time.Hour)
	if queued, _ := r.check(r.w, "@hourly", ""); queued != 2 {
		t.Errorf("%d queued beside the one that is being checked, want 2", queued)
	}
	at := "@" + plumbline.Short(r.head("main"))
	equal(t, "runs", r.news(&since), []string{"drift production/live/app" + at, "drift production/live/net" + at})
	if n := r.newest("production", "live/app"); n.By != plumbline.BySchedule || n.Because != "the schedule of production" {
		t.Errorf("run: %+v", n)
	}
}

// TestCheckDriftUnseen: a tick before the branch was ever read is made up for.
func TestCheckDriftUnseen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.check(r.w, "@hourly", "")
	r.pass(time.Hour)
	if queued, _ := r.check(r.w, "@hourly", ""); queued != 0 {
		t.Errorf("%d queued for a branch that nobody has read", queued)
	}
	r.poll()
	r.finishChecks()
	if queued, _ := r.check(r.w, "@hourly", ""); queued != 3 {
		t.Errorf("%d queued once it was read, want 3", queued)
	}
}

func TestCheckDriftBadSchedule(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	env := r.repo.Environments[0]
	for _, d := range []plumbline.DriftPolicy{{Schedule: "0 25 * * *"}, {Schedule: "@hourly", Timezone: "Mars/Olympus"}} {
		env.Drift = d
		if _, _, err := r.w.CheckDrift(t.Context(), env); err == nil || !strings.Contains(err.Error(), "infra/production") {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// TestLastTick compares with the walk through every tick, and does not take one after a long time.
func TestLastTick(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{"* * * * *", "*/7 3 * * *", "0 0 1 * *", "30 1 * * SUN", "@yearly", "@every 90s"} {
		s, err := cron.ParseStandard("CRON_TZ=Europe/London " + spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, gap := range []time.Duration{0, time.Second, time.Minute, time.Hour, 25 * time.Hour, 31 * 24 * time.Hour} {
			now := t0.Add(gap)
			var want time.Time
			for n := s.Next(t0); !n.IsZero() && !n.After(now); n = s.Next(n) {
				want = n
			}
			got := plumbline.LastTick(s, t0, now)
			if strings.HasPrefix(spec, "@every") {
				// It has no grid of its own: any tick less than a period ago is as good.
				if got.IsZero() != want.IsZero() || got.After(now) || !want.IsZero() && now.Sub(got) >= 2*90*time.Second {
					t.Errorf("%s after %s: %s, want about %s", spec, gap, got, want)
				}
				continue
			}
			if !got.Equal(want) {
				t.Errorf("%s after %s: %s, want %s", spec, gap, got, want)
			}
		}
	}
	every, err := cron.ParseStandard("@every 1s")
	if err != nil {
		t.Fatal(err)
	}
	counted := &counting{Schedule: every}
	if got := plumbline.LastTick(counted, t0, t0.AddDate(40, 0, 0)); t0.AddDate(40, 0, 0).Sub(got) > 2*time.Minute || counted.n > 1000 {
		t.Errorf("forty years of seconds: %s after %d steps", got, counted.n)
	}
}

type counting struct {
	cron.Schedule
	n int
}

func (c *counting) Next(t time.Time) time.Time { c.n++; return c.Schedule.Next(t) }
