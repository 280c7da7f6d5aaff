package store

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestCommands: a comment gives one command, which is carried out once and answered once.
func TestCommands(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		give := func(was, now string, comments ...string) {
			t.Helper()
			o := plumbline.Observation{Repository: "infra", Subject: "comments 1", Was: was, Now: now, At: at}
			for _, c := range comments {
				o.Commands = append(o.Commands, plumbline.Command{Repository: "infra", MR: "1", Comment: c, By: "corp/ann", Verb: plumbline.VerbPlan, Args: []string{"live/net"}, At: at})
			}
			if _, err := s.Observe(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		attention := func(report, request []string) {
			t.Helper()
			a, b, err := s.Attention(t.Context())
			if err != nil || !slices.Equal(a, report) || !slices.Equal(b, request) {
				t.Errorf("attention: %q, %q, %v; want %q, %q", a, b, err, report, request)
			}
		}
		give("", "1", "7", "8")
		give("1", "2", "8", "9")
		list, err := s.Commands(t.Context(), "infra")
		if err != nil || len(list) != 3 || list[0].Comment != "7" || list[2].Comment != "9" || list[0].Args[0] != "live/net" || !list[0].At.Equal(at) {
			t.Fatalf("commands: %+v, %v", list, err)
		}
		if other, err := s.Commands(t.Context(), "other"); err != nil || len(other) != 0 {
			t.Errorf("of another repository: %+v, %v", other, err)
		}
		attention(nil, []string{"infra"})
		done := list[0]
		done.Outcome, done.Answer = plumbline.ReactionRefused, "No."
		if err := s.Answered(t.Context(), done.ID); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("answered before it was carried out: %v", err)
		}
		carry := func(c plumbline.Command, deeds ...plumbline.Deed) error {
			return s.Carry(t.Context(), list[0], at, deeds, func([]error) plumbline.Command { return c })
		}
		if err := carry(done); err != nil {
			t.Fatal(err)
		}
		if err := carry(done); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("carried out twice: %v", err)
		}
		attention([]string{"infra"}, []string{"infra"})
		told, err := s.Unanswered(t.Context(), "infra")
		if err != nil || len(told) != 1 || told[0].Answer != "No." || told[0].Outcome != plumbline.ReactionRefused {
			t.Fatalf("unanswered: %+v, %v", told, err)
		}
		if err := s.Answered(t.Context(), done.ID); err != nil {
			t.Fatal(err)
		}
		attention(nil, []string{"infra"})
		give("2", "3", "7")
		if list, err = s.Commands(t.Context(), "infra"); err != nil || len(list) != 2 {
			t.Errorf("a comment that is seen once more after its command was answered: %+v, %v", list, err)
		}
		o := plumbline.Observation{Repository: "infra", Subject: "comments 1", Was: "2", Now: "4", At: at, Commands: []plumbline.Command{{Repository: "infra", MR: "1", Comment: "10"}}}
		if _, err := s.Observe(t.Context(), o); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("a look that came late: %v", err)
		}
		if list, _ = s.Commands(t.Context(), "infra"); len(list) != 2 {
			t.Error("a look that came late left a command")
		}
	})
}

// TestDeeds: what a command does to runs is done once, with what is written of it, or not at all.
func TestDeeds(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		ids := enqueue(t, s, queued(plumbline.KindDeploy, "app", "c1"), queued(plumbline.KindDeploy, "net", "c1"))
		o := plumbline.Observation{Repository: "infra", Subject: "comments 1", Now: "1", At: at, Commands: []plumbline.Command{{Repository: "infra", MR: "1", Comment: "7", Verb: plumbline.VerbCancel, At: at}}}
		if _, err := s.Observe(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		c := must[[]plumbline.Command](t)(s.Commands(t.Context(), "infra"))[0]
		times := 0
		cancel := func(r *plumbline.Run, now time.Time) error { times++; return r.Cancel("ann", now) }
		deeds := []plumbline.Deed{{Run: ids[1], Rule: cancel}, {Run: ids[0], Rule: cancel}}
		failing := errors.New("disk full")
		err := s.Carry(t.Context(), c, at, append(deeds, plumbline.Deed{Run: ids[0], Rule: func(*plumbline.Run, time.Time) error { return failing }}), nil)
		if !errors.Is(err, failing) {
			t.Errorf("a deed that fails: %v", err)
		}
		for _, id := range ids {
			if r := must[plumbline.Run](t)(s.Run(t.Context(), id)); r.State != plumbline.StateQueued {
				t.Errorf("after a command that failed, run %s is %s", id, r.State)
			}
		}
		var wg sync.WaitGroup
		var won atomic.Int64
		times = 0
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				err := s.Carry(t.Context(), c, at, []plumbline.Deed{{Run: ids[1], Rule: func(r *plumbline.Run, now time.Time) error {
					mu.Lock()
					defer mu.Unlock()
					return cancel(r, now)
				}}}, func(refused []error) plumbline.Command {
					c := c
					c.Outcome = plumbline.ReactionDone
					return c
				})
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, plumbline.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || times != 1 {
			t.Errorf("%d daemons carried it out, %d times", won.Load(), times)
		}
	})
}

// TestNoWayBack: a deployment of a stack is not run again when a newer one was queued.
func TestNoWayBack(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		retry := func(id plumbline.RunID) error {
			_, err := s.Update(t.Context(), id, at, func(r *plumbline.Run, now time.Time) error { return r.Retry("ann", now) })
			return err
		}
		first := enqueue(t, s, queued(plumbline.KindDeploy, "app", "c1"))[0]
		if _, err := s.Update(t.Context(), first, at, func(r *plumbline.Run, now time.Time) error { return r.Cancel("ann", now) }); err != nil {
			t.Fatal(err)
		}
		if err := retry(first); err != nil {
			t.Errorf("the newest: %v", err)
		}
		if _, err := s.Update(t.Context(), first, at, func(r *plumbline.Run, now time.Time) error { return r.Cancel("ann", now) }); err != nil {
			t.Fatal(err)
		}
		enqueue(t, s, queued(plumbline.KindDrift, "app", "c1"), queued(plumbline.KindDeploy, "net", "c2"))
		if err := retry(first); err != nil {
			t.Errorf("with a newer look and a newer deployment of another stack: %v", err)
		}
		if _, err := s.Update(t.Context(), first, at, func(r *plumbline.Run, now time.Time) error { return r.Cancel("ann", now) }); err != nil {
			t.Fatal(err)
		}
		enqueue(t, s, queued(plumbline.KindDeploy, "app", "c2"))
		if err := retry(first); !errors.Is(err, plumbline.ErrConflict) || !strings.Contains(err.Error(), "never go back") {
			t.Errorf("an older one: %v", err)
		}
	})
}
