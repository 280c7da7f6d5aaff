package store

import (
	"context"
	"fmt"
	"time"
)

// Lease takes or prolongs a named lease until now+ttl and reports whether the holder has it.
func (s *Store) Lease(ctx context.Context, name, holder string, now time.Time, ttl time.Duration) (bool, error) {
	var n int64
	err := s.inTx(ctx, func(t *tx) (err error) {
		n, err = t.exec(ctx, `
			INSERT INTO lease (name, holder, until) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
			WHERE lease.holder = excluded.holder OR lease.until <= $4`,
			name, holder, now.Add(ttl).UnixMicro(), now.UnixMicro())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("take the lease %s: %w", name, err)
	}
	return n == 1, nil
}

// ReleaseLease gives a lease up, if the holder has it.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	return s.inTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, `DELETE FROM lease WHERE name = $1 AND holder = $2`, name, holder); err != nil {
			return fmt.Errorf("release the lease %s: %w", name, err)
		}
		return nil
	})
}
