package report

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// command files a command that was carried out.
func (r *rig) command(mr, comment string, outcome plumbline.Reaction, answer string) {
	r.t.Helper()
	r.observe(plumbline.Observation{Repository: "infra", At: t0, Commands: []plumbline.Command{{
		Repository: "infra", MR: mr, Comment: comment, By: "corp/ann", Login: "ann", Verb: plumbline.VerbPlan, At: t0,
	}}})
	list, err := r.store.Commands(r.t.Context(), "infra")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range list {
		if c.Comment == comment {
			pending := c
			c.Outcome, c.Answer = outcome, answer
			if err := r.store.Carry(r.t.Context(), pending, t0, nil, func([]error) plumbline.Command { return c }); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// TestAnswers: each command is answered once, with a sign, and in words where there are some, whatever happens between.
func TestAnswers(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.open(mr, "production/net")
	done := r.forge.Comment(mr.ID, "ann", "plumbline plan")
	no := r.forge.Comment(mr.ID, "eve", "plumbline plan")
	r.command(mr.ID, done, plumbline.ReactionDone, "")
	r.command(mr.ID, no, plumbline.ReactionRefused, "corp/eve may not plan in `infra/production`.")

	failing := errors.New("cut off")
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "UpsertNote" {
			return failing
		}
		return nil
	})
	told, err := r.r.answers(t.Context())
	if told != 1 || !errors.Is(err, failing) {
		t.Errorf("%d told, %v", told, err)
	}
	r.forge.Fault(nil)
	for range 2 {
		if _, err := r.r.answers(t.Context()); err != nil {
			t.Error(err)
		}
	}
	var notes []string
	reactions := map[string]plumbline.Reaction{}
	for _, n := range r.forge.Notes(mr.ID) {
		if n.Author == "plumbline" {
			notes = append(notes, n.Body)
		}
		reactions[n.ID] = n.Reaction
	}
	want := []string{"<!-- plumbline:infra!" + mr.ID + " answer " + no + " -->\n@ann\n\ncorp/eve may not plan in `infra/production`."}
	if !slices.Equal(notes, want) {
		t.Errorf("notes %q\nwant %q", notes, want)
	}
	if reactions[done] != plumbline.ReactionDone || reactions[no] != plumbline.ReactionRefused {
		t.Errorf("reactions: %v", reactions)
	}
	if list, err := r.store.Unanswered(t.Context(), "infra"); err != nil || len(list) != 0 {
		t.Errorf("unanswered: %+v, %v", list, err)
	}
}

// TestAnswerToNobody: a comment that was deleted needs no answer, and holds up no other.
func TestAnswerToNobody(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.open(mr, "production/net")
	r.command(mr.ID, "4711", plumbline.ReactionDone, "")
	here := r.forge.Comment(mr.ID, "ann", "plumbline plan")
	r.command(mr.ID, here, plumbline.ReactionDone, "")
	if told, err := r.r.answers(t.Context()); told != 1 || !errors.Is(err, plumbline.ErrNotFound) {
		t.Errorf("%d told, %v", told, err)
	}
	if told, err := r.r.answers(t.Context()); told != 0 || err != nil {
		t.Errorf("again: %d told, %v", told, err)
	}
}

// TestAnswerWithoutReactions: where nobody may react, words say that it was done.
func TestAnswerWithoutReactions(t *testing.T) {
	r := newRig(t)
	mr := &plumbline.MergeRequest{}
	r.open(mr, "production/net")
	r.command(mr.ID, r.forge.Comment(mr.ID, "ann", "plumbline plan"), plumbline.ReactionDone, "")
	r.forge.Fault(func(ctx context.Context, method string) error {
		if method == "React" {
			return forgetest.Denied(ctx, method)
		}
		return nil
	})
	if told, err := r.r.answers(t.Context()); told != 1 || err != nil {
		t.Fatalf("%d told, %v", told, err)
	}
	if notes := r.forge.Notes(mr.ID); !strings.Contains(notes[len(notes)-1].Body, "Done: `plumbline plan`.") {
		t.Errorf("notes: %+v", notes)
	}
}

func TestAnswerText(t *testing.T) {
	for _, c := range []struct{ to, says, want string }{
		{"ann", "No.", "M\n@ann\n\nNo."},
		{"x y", "No.", "M\nNo."},
		{"github-actions[bot]", "No.", "M\nNo."},
		{"ann", "One.\n\nTwo `a b`.", "M\n@ann\n\nOne.\n\nTwo `a b`."},
		{"ann", plumbline.CommandHelp, "M\n@ann\n\n" + plumbline.CommandHelp},
		{"ann", strings.Repeat("word ", 3000), ""},
	} {
		got := Answer(c.to, c.says, "M", false)
		if c.want != "" && got != c.want {
			t.Errorf("%q: %q\nwant %q", c.says, got, c.want)
		}
		if len(got) > maxAnswer+200 {
			t.Errorf("%d bytes", len(got))
		}
	}
	for _, hostile := range []string{"<img src=x onerror=alert(1)>", "@everyone", "[a](javascript:x)", "![x](http://e.example.com)", "`</code><b>`", "a\n# b", "--> x"} {
		for _, plain := range []bool{false, true} {
			got := Answer("ann", "Rejected by eve: "+hostile, "M", plain)
			for line := range strings.SplitSeq(got, "\n") {
				rest := line
				for rest != "" { // outside of code spans there is nothing of it
					before, after, _ := strings.Cut(rest, "`")
					if strings.ContainsAny(before, "<>[]") || strings.Contains(before, "@everyone") || strings.HasPrefix(before, "#") {
						t.Errorf("%q shows as %q", hostile, got)
					}
					_, rest, _ = strings.Cut(after, "`")
				}
			}
		}
	}
}
