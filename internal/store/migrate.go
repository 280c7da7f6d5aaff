package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// guardVersion is the number of the one migration that is not in a file.
const guardVersion = 4

// guardAudit has the database refuse whatever changes the audit log but at its end. It stops mistakes, and those who may write to the tables but
// do not own them; VerifyAudit finds what the others do.
func (s *Store) guardAudit(ctx context.Context, tx *sql.Tx) error {
	for _, statement := range s.dialect.guard {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// migrate brings the tables up to date. Many machines may start at once: PostgreSQL has a lock for that; on SQLite the
// loser of the race fails on a table that is there already, and finds nothing left to do when it looks again.
func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	guard := goose.NewGoMigration(guardVersion, &goose.GoFunc{RunTx: s.guardAudit}, nil)
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()), goose.WithGoMigrations(guard)}
	attempts := 3
	if s.dialect.goose == goose.DialectPostgres {
		attempts = 1
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(s.dialect.goose, s.write, dir, opts...)
	if err != nil {
		return err
	}
	for ; attempts > 0; attempts-- {
		if _, err = p.Up(ctx); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	if knows := sources[len(sources)-1].Version; has > knows {
		return fmt.Errorf("it has schema %d, which a newer Plumbline made; this one knows %d", has, knows)
	}
	return nil
}
