package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// touchEvery is how exact the time is at which a token was last used: a program that asks all the time must not keep the database busy with that.
const touchEvery = time.Minute

const tokenColumns = `id, last_used, doc`

func scanToken(row scanner) (tok plumbline.Token, err error) {
	var (
		id, doc string
		used    sql.NullInt64
	)
	if err := row.Scan(&id, &used, &doc); err != nil {
		return tok, err
	}
	err = decode("token", id, doc, &tok)
	tok.LastUsed = fromMicros(used)
	return tok, err
}

// CreateToken keeps a new token and returns its ID. ErrConflict: there is one with that hash.
func (s *Store) CreateToken(ctx context.Context, tok plumbline.Token) (int64, error) {
	if err := names(tok.By, tok.Hash); err != nil {
		return 0, err
	}
	if tok.Hash == "" || tok.By == "" {
		return 0, fmt.Errorf("create a token: %w: it needs a person and a hash", plumbline.ErrInvalid)
	}
	tok.Created, tok.Expires = exact(tok.Created), exact(tok.Expires)
	err := s.inTx(ctx, func(t *tx) (err error) {
		if tok.ID, err = t.next(ctx, "token", 1); err != nil {
			return err
		}
		doc, err := encode(tok)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO token (id, person, hash, doc) VALUES ($1, $2, $3, $4)`, tok.ID, tok.By, tok.Hash, doc)
		if err != nil && t.dialect.duplicate(err) {
			return fmt.Errorf("%w: %w", plumbline.ErrConflict, err)
		}
		t.tell(tok.Created, plumbline.AuditEntry{
			Who: tok.By, Action: plumbline.AuditToken, Outcome: done, Detail: fmt.Sprintf("token %d (%s) was made", tok.ID, tok.Name),
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("create a token: %w", err)
	}
	return tok.ID, nil
}

// TokenByHash returns the token with that hash, whether it is good or not. ErrNotFound: there is none.
func (s *Store) TokenByHash(ctx context.Context, hash string) (plumbline.Token, error) {
	tok, err := scanToken(s.read.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE hash = $1`, hash))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("the token: %w", plumbline.ErrNotFound)
	}
	return tok, err
}

// TouchToken notes that a token was used, at most once a minute.
func (s *Store) TouchToken(ctx context.Context, id int64, now time.Time) error {
	var stale bool
	const want = `SELECT count(*) > 0 FROM token WHERE id = $1 AND (last_used IS NULL OR last_used <= $2)`
	since := now.Add(-touchEvery).UnixMicro()
	if err := s.read.QueryRowContext(ctx, want, id, since).Scan(&stale); err != nil || !stale {
		return err
	}
	return s.inTx(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE token SET last_used = $1 WHERE id = $2 AND (last_used IS NULL OR last_used <= $3)`, now.UnixMicro(), id, since)
		return err
	})
}

// RevokeToken ends a token for good. One that was revoked before stays as it is.
func (s *Store) RevokeToken(ctx context.Context, id int64, by plumbline.Person, now time.Time) error {
	err := s.inTx(ctx, func(t *tx) error {
		tok, err := scanToken(t.QueryRowContext(ctx, `SELECT `+tokenColumns+` FROM token WHERE id = $1`+t.dialect.forUpdate, id))
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return plumbline.ErrNotFound
		case err != nil:
			return err
		case !tok.Revoked.IsZero():
			return nil
		}
		tok.Revoked, tok.Revoker = exact(now), by.Name
		doc, err := encode(tok)
		if err != nil {
			return err
		}
		t.tell(now, plumbline.AuditEntry{
			Who: by.Name, Door: by.Door, Action: plumbline.AuditToken, Outcome: done, Detail: fmt.Sprintf("token %d (%s) of %s was revoked", id, tok.Name, tok.By),
		})
		_, err = t.exec(ctx, `UPDATE token SET doc = $1 WHERE id = $2`, doc, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke token %d: %w", id, err)
	}
	return nil
}

// Tokens lists the tokens of a person, or all for "", the newest first.
func (s *Store) Tokens(ctx context.Context, by string) ([]plumbline.Token, error) {
	var w where
	w.eq("person", by)
	return collect(ctx, s.read, scanToken, `SELECT `+tokenColumns+` FROM token`+w.String()+` ORDER BY id DESC`, w.args...)
}
