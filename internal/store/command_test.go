package store

import (
	"errors"
	"slices"
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
		if err := s.Carried(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		if err := s.Carried(t.Context(), done); !errors.Is(err, plumbline.ErrConflict) {
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
