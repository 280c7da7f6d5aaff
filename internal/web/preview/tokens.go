package preview

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// tokens are canned API tokens.
func tokens() []plumbline.Token {
	week := 7 * 24 * time.Hour
	return []plumbline.Token{
		{ID: 1, Name: "laptop of ops-b", By: "ops-b@example.com", Limit: plumbline.Limit{Role: plumbline.RoleViewer}, Hash: "1", Created: Now.Add(-20 * week), Expires: Now.Add(-7 * week)},
		{ID: 2, Name: "nightly deploys", By: plumbline.Local, Limit: plumbline.Limit{Role: plumbline.RoleAdmin, Environments: []string{"staging"}}, Hash: "2", Created: Now.Add(-3 * week),
			Expires: Now.Add(9 * week), LastUsed: Now.Add(-11 * time.Hour)},
		{ID: 3, Name: "chat bot", By: plumbline.Local, Limit: plumbline.Limit{Role: plumbline.RoleOperator}, Hash: "3", Created: Now.Add(-2 * week), Expires: Now.Add(10 * week),
			Revoked: Now.Add(-week), Revoker: "ops-b@example.com"},
	}
}

// CreateToken keeps a token.
func (s *Store) CreateToken(_ context.Context, t plumbline.Token) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.ID = int64(len(s.tokens) + 1)
	s.tokens = append(s.tokens, t)
	return t.ID, s.tell(plumbline.AuditEntry{At: t.Created, Who: t.By, Action: plumbline.AuditToken, Outcome: "done", Detail: fmt.Sprintf("token %d (%s) was made", t.ID, t.Name)})
}

// TokenByHash returns a token, good or not.
func (s *Store) TokenByHash(_ context.Context, hash string) (plumbline.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.Hash == hash {
			return t, nil
		}
	}
	return plumbline.Token{}, plumbline.ErrNotFound
}

// TouchToken notes that a token was used.
func (s *Store) TouchToken(_ context.Context, id int64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if 0 < id && id <= int64(len(s.tokens)) {
		s.tokens[id-1].LastUsed = now
	}
	return nil
}

// RevokeToken ends a token, once.
func (s *Store) RevokeToken(_ context.Context, id int64, by plumbline.Person, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < 1 || id > int64(len(s.tokens)) {
		return plumbline.ErrNotFound
	}
	t := &s.tokens[id-1]
	if !t.Revoked.IsZero() {
		return nil
	}
	t.Revoked, t.Revoker = now, by.Name
	return s.tell(plumbline.AuditEntry{
		At: now, Who: by.Name, Door: by.Door, Action: plumbline.AuditToken, Outcome: "done", Detail: fmt.Sprintf("token %d (%s) of %s was revoked", id, t.Name, t.By),
	})
}

// Tokens lists tokens, newest first.
func (s *Store) Tokens(_ context.Context, by string) ([]plumbline.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(s.tokens), func(t plumbline.Token) bool { return by != "" && t.By != by })
	slices.Reverse(out)
	return out, nil
}
