package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := open(t, dsn)
		want := plumbline.Token{
			Name: "ci", By: "corp/bob", Groups: []string{"sre"}, Limit: plumbline.Limit{Role: plumbline.RoleOperator, Environments: []string{"staging"}},
			Hash: "h1", Created: t0, Expires: t0.Add(time.Hour),
		}
		want.ID = must[int64](t)(s.CreateToken(ctx, want))
		same := func(want plumbline.Token) {
			t.Helper()
			got := must[plumbline.Token](t)(s.TokenByHash(ctx, want.Hash))
			if a, b := must[string](t)(encode(got)), must[string](t)(encode(want)); a != b {
				t.Errorf("the token is\n%s\nwant\n%s", a, b)
			}
		}
		same(want)
		for _, tok := range []plumbline.Token{{Name: "no hash", By: "corp/bob"}, {Name: "nobody's", Hash: "h"}, {By: "a\x00b", Hash: "h"}} {
			if _, err := s.CreateToken(ctx, tok); !errors.Is(err, plumbline.ErrInvalid) {
				t.Errorf("created %q: %v", tok.Name, err)
			}
		}
		if _, err := s.CreateToken(ctx, plumbline.Token{Name: "again", By: "corp/bob", Hash: "h1", Created: t0}); !errors.Is(err, plumbline.ErrConflict) {
			t.Errorf("two tokens with one hash: %v", err)
		}
		second := must[int64](t)(s.CreateToken(ctx, plumbline.Token{Name: "laptop", By: "corp/alice", Hash: "h2", Created: t0}))
		if _, err := s.TokenByHash(ctx, "h"); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("a token that there is not: %v", err)
		}

		for _, at := range []struct{ now, used time.Duration }{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}, {30 * time.Second, time.Minute}} {
			if err := s.TouchToken(ctx, want.ID, t0.Add(at.now)); err != nil {
				t.Fatal(err)
			}
			want.LastUsed = t0.Add(at.used)
			same(want)
		}
		if err := s.TouchToken(ctx, 99, t0); err != nil {
			t.Errorf("touch a token that there is not: %v", err)
		}

		for _, by := range []plumbline.Person{alice, {Name: "corp/late"}} {
			if err := s.RevokeToken(ctx, want.ID, by, t0.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		want.Revoked, want.Revoker = t0.Add(time.Minute), alice.Name
		same(want)
		if err := s.TouchToken(ctx, want.ID, t0.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		want.LastUsed = t0.Add(time.Hour)
		same(want)
		if err := s.RevokeToken(ctx, 99, alice, t0); !errors.Is(err, plumbline.ErrNotFound) {
			t.Errorf("revoked a token that there is not: %v", err)
		}

		for by, want := range map[string]string{"": fmt.Sprint([]int64{second, want.ID}), "corp/bob": fmt.Sprint([]int64{want.ID}), "corp/eve": "[]"} {
			ids := []int64{}
			for _, tok := range must[[]plumbline.Token](t)(s.Tokens(ctx, by)) {
				ids = append(ids, tok.ID)
			}
			if got := fmt.Sprint(ids); got != want {
				t.Errorf("tokens of %q are %s, want %s", by, got, want)
			}
		}
		wantLines(t, told(t, s, plumbline.AuditFilter{}), []string{
			"1 token|corp/bob|||run 0|done|token 1 (ci) was made",
			fmt.Sprintf("2 token|corp/alice|||run 0|done|token %d (laptop) was made", second),
			"3 token|corp/alice|web||run 0|done|token 1 (ci) of corp/bob was revoked",
		})
	})
}
