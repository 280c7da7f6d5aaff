package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the drill must not depend on what this machine knows of zones

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
	"github.com/plumbline/plumbline/internal/testenv"
)

// shaky is a ledger that is cut off from a node now and then: before it writes an observation, or after.
type shaky struct {
	Ledger
	random *rand.Rand
}

var errCut = errors.New("the node died")

func (s *shaky) Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error) {
	switch s.random.IntN(25) {
	case 0:
		return nil, errCut
	case 1:
		_, _ = s.Ledger.Observe(ctx, o) // whatever it answers, nobody hears it
		return nil, errCut
	}
	return s.Ledger.Observe(ctx, o)
}

// drilled is an environment whose schedule a person can follow without cron: at some minutes of a day, on some days of a week.
type drilled struct {
	env      plumbline.Environment
	zone     *time.Location
	at       []int // minutes since midnight
	weekdays []time.Weekday
}

// ticks follows the clocks of the zone minute by minute: each time that it names is met once a day, when the clocks show it first or have jumped over it.
func (d drilled) ticks(from, until time.Time) []time.Time {
	var out []time.Time
	shown := func(t time.Time) (day string, minute int, weekday time.Weekday) {
		l := t.In(d.zone)
		return l.Format(time.DateOnly), 60*l.Hour() + l.Minute(), l.Weekday()
	}
	today, reached := "", -1 // the day, and how far its clocks have come
	for t := from.Add(-24 * time.Hour).Truncate(time.Minute); t.Before(until); t = t.Add(time.Minute) {
		day, minute, weekday := shown(t)
		if day != today {
			today, reached = day, -1
		}
		due := slices.ContainsFunc(d.at, func(m int) bool { return reached < m && m <= minute }) && slices.Contains(d.weekdays, weekday)
		reached = max(reached, minute)
		if due && !t.Before(from) {
			out = append(out, t)
		}
	}
	return out
}

// TestScheduleDrill is a year of two schedules in two time zones on two nodes that are late, die in the middle and sleep for days: each tick queues each
// stack once, and of ticks that nobody was awake for, the last one does.
func TestScheduleDrill(t *testing.T) {
	for name, dsn := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "" },
		"postgres": func(t *testing.T) string { return testenv.Postgres(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drill(t, dsn(t))
		})
	}
}

func drill(t *testing.T, dsn string) {
	r := newRig(t)
	if dsn != "" {
		r.dsn = dsn
		r.store = r.open()
	}
	begin := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	end := begin.AddDate(1, 0, 0)
	r.now = begin
	zone := func(name string) *time.Location {
		l, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	every := []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	list := []drilled{
		{zone: zone("Europe/London"), at: []int{90, 810}, weekdays: every}, // 01:30 is left out in March, and comes twice in October
		{zone: zone("America/New_York"), at: []int{150}, weekdays: every},  // 02:30 is left out in March
	}
	environments := r.repo.Environments[1:] // lab and staging
	environments[1].Include = []string{"lab/**", "live/net"}
	environments[0].Drift = plumbline.DriftPolicy{Schedule: "30 1,13 * * *", Timezone: "Europe/London"}
	environments[1].Drift = plumbline.DriftPolicy{Schedule: "30 2 * * *", Timezone: "America/New_York"}
	for i := range list {
		list[i].env = environments[i]
	}
	r.w = r.watcher()
	r.poll()
	r.finishChecks()

	random := rand.New(rand.NewPCG(6, 26))
	type node struct {
		w    *Watcher
		due  time.Time
		what int // of list
	}
	var nodes []*node
	for range 2 {
		c := r.config()
		c.Ledger = &shaky{r.store, random}
		w := New(c)
		for i := range list {
			nodes = append(nodes, &node{w: w, due: begin, what: i})
		}
	}
	looks := make([][]time.Time, len(list)) // that went through
	queued := make([]map[time.Time][]plumbline.Run, len(list))
	for i := range queued {
		queued[i] = map[time.Time][]plumbline.Run{}
	}
	last, rounds := r.last(), 0
	for {
		n := slices.MinFunc(nodes, func(a, b *node) int { return a.due.Compare(b.due) })
		if !n.due.Before(end) {
			break
		}
		rounds++
		r.now = n.due
		_, next, err := n.w.CheckDrift(t.Context(), list[n.what].env)
		switch {
		case errors.Is(err, errCut):
			next = n.due.Add(time.Duration(1+random.IntN(600)) * time.Second) // somebody starts it again
		case err != nil:
			t.Fatal(err)
		default:
			looks[n.what] = append(looks[n.what], n.due)
			if !next.After(n.due) {
				t.Fatalf("at %s it is next due at %s", n.due, next)
			}
		}
		n.due = next.Add(time.Duration(random.IntN(90)) * time.Second)
		switch random.IntN(200) {
		case 0: // it sleeps for days
			n.due = n.due.Add(time.Duration(random.IntN(10*24)) * time.Hour)
		case 1: // both do, and everything is missed
			for _, other := range nodes {
				other.due = other.due.Add(3 * 24 * time.Hour)
			}
		}
		for _, run := range fresh(t, r.store, last) {
			last = max(last, run.ID)
			i := slices.IndexFunc(list, func(d drilled) bool { return d.env.Name == run.Stack.Environment })
			queued[i][run.Tick.UTC()] = append(queued[i][run.Tick.UTC()], run)
			r.update(run.ID, func(run *plumbline.Run, now time.Time) error { return run.Cancel("ann", now) })
		}
	}
	missed, all := 0, 0
	for i, d := range list {
		stacks, err := r.store.Stacks(t.Context(), "infra", d.env.Name)
		if err != nil {
			t.Fatal(err)
		}
		ticks := d.ticks(begin.Add(time.Minute), looks[i][len(looks[i])-1].Add(time.Minute))
		all += len(ticks)
		for k, tick := range ticks {
			next := end
			if k+1 < len(ticks) {
				next = ticks[k+1]
			}
			seen := slices.ContainsFunc(looks[i], func(at time.Time) bool { return !at.Before(tick) && at.Before(next) })
			var names []string
			for _, run := range queued[i][tick.UTC()] {
				names = append(names, run.Stack.Name)
			}
			slices.Sort(names)
			switch want := len(stacks); {
			case len(slices.Compact(slices.Clone(names))) != len(names):
				t.Errorf("the tick %s of %s queued %q", tick.In(d.zone), d.env.Name, names)
			case seen && len(names) != want:
				t.Errorf("the tick %s of %s queued %q, want all %d stacks", tick.In(d.zone), d.env.Name, names, want)
			case !seen && len(names) != 0:
				t.Errorf("the tick %s of %s queued %q, although nobody looked", tick.In(d.zone), d.env.Name, names)
			case !seen:
				missed++
			}
			delete(queued[i], tick.UTC())
		}
		for tick, runs := range queued[i] {
			t.Errorf("%s of %s is no tick, and queued %d runs", tick.In(d.zone), d.env.Name, len(runs))
		}
	}
	if missed == 0 || missed > all/5 || all < 1000 || rounds < all {
		t.Errorf("the drill had %d rounds for %d ticks, and nobody was awake for %d of them", rounds, all, missed)
	}
	t.Logf("%d ticks, %d looks, nobody was awake for %d", all, rounds, missed)
}

// fresh are the runs that came after another.
func fresh(t *testing.T, s *store.Store, after plumbline.RunID) []plumbline.Run {
	t.Helper()
	list, err := s.Runs(t.Context(), plumbline.RunFilter{Repository: "infra", Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 20 && list[19].ID > after {
		t.Fatal("more runs than are looked at")
	}
	return slices.DeleteFunc(list, func(r plumbline.Run) bool { return r.ID <= after })
}
