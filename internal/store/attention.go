package store

import (
	"context"
)

// Attention names the repositories that have something to tell people, and those of which people want something. One look at it
// after a change spares a look at every repository.
func (s *Store) Attention(ctx context.Context) (report, request []string, err error) {
	scan := func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}
	report, err = collect(ctx, s.read, scan, `
		SELECT DISTINCT repository FROM run WHERE version > reported
		UNION SELECT DISTINCT repository FROM merge_request WHERE version > reported
		UNION SELECT DISTINCT repository FROM drift_news WHERE version > reported
		UNION SELECT DISTINCT repository FROM command WHERE state = 'carried'`)
	if err != nil {
		return nil, nil, err
	}
	request, err = collect(ctx, s.read, scan, `SELECT DISTINCT repository FROM request UNION SELECT DISTINCT repository FROM command WHERE state = 'pending'`)
	return report, request, err
}
