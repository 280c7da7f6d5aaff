package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Store is an open database. Its methods may be called by many goroutines at once.
type Store struct {
	dialect dialect
	write   *sql.DB // SQLite: one connection, since SQLite has one writer
	read    *sql.DB // PostgreSQL: the same as write
	log     *zap.Logger
	hub     hub

	auditKey []byte

	stop      context.CancelFunc
	listening sync.WaitGroup
}

// minAuditKey is how many bytes the audit log's key has at least: as many as its macs.
const minAuditKey = 32

// Config says which database is opened, and how.
type Config struct {
	DSN string // "sqlite:PATH" or "postgres://…"; no default

	// AuditKey seals the audit log, at least 32 bytes, the same on all machines; no default. Whoever can write to the database should not
	// be able to read it.
	AuditKey []byte
	// AuditKeyLost goes on where another key has sealed the log, which is lost. The entries before stay as they are: VerifyAudit says from then on
	// that they were made with another key. Default: such a database is refused.
	AuditKeyLost bool

	Log      *zap.Logger // where the store tells what it has nobody to return to; default: nowhere
	MaxConns int         // connections to PostgreSQL, beside the one that listens for changes; default 16
}

// Open opens a database and brings its tables up to date. It makes a SQLite file that is not there, readable by its owner alone. A
// database that a newer Plumbline has migrated is refused.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if len(cfg.AuditKey) < minAuditKey {
		return nil, fmt.Errorf("%w: the key of the audit log has %d bytes; it needs %d", plumbline.ErrInvalid, len(cfg.AuditKey), minAuditKey)
	}
	s := &Store{auditKey: slices.Clone(cfg.AuditKey), log: cfg.Log, stop: func() {}}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	dsn := cfg.DSN
	var listenTo *pgx.ConnConfig
	switch path, isSQLite := strings.CutPrefix(dsn, "sqlite:"); {
	case isSQLite:
		var err error
		if s.write, s.read, err = openSQLite(path); err != nil {
			return nil, fmt.Errorf("open %s: %w", dsn, err)
		}
		s.dialect = sqliteDialect
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		var err error
		// The error names the address; pgx leaves the password out of it.
		if s.write, listenTo, err = openPostgres(dsn, limit(cfg.MaxConns, 16)); err != nil {
			return nil, fmt.Errorf("open the database: %w", err)
		}
		s.read = s.write
		s.dialect = postgresDialect
	default:
		return nil, fmt.Errorf("%w: a database is named sqlite:PATH or postgres://…", plumbline.ErrInvalid)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate the database: %w", err), s.Close())
	}
	if err := s.takeOver(ctx, cfg.AuditKeyLost); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if listenTo != nil {
		listenCtx, stop := context.WithCancel(context.Background())
		s.stop = stop
		s.listening.Go(func() { s.listen(listenCtx, listenTo) })
	}
	return s, nil
}

// Close waits for what is under way and closes the database.
func (s *Store) Close() error {
	s.stop()
	s.listening.Wait()
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	return err
}

// tx is one transaction that writes.
type tx struct {
	*sql.Tx
	dialect dialect
	changed bool // something that others wait for: subscribers are woken

	auditKey []byte
	entries  []plumbline.AuditEntry // for the audit log
}

// tries is how often a transaction is attempted that the database sends back through no fault of its own.
const tries = 8

// inTx runs f in a transaction and commits it when f returns nil. f may run more than once.
func (s *Store) inTx(ctx context.Context, f func(*tx) error) error {
	for try := 1; ; try++ {
		err := s.once(ctx, f)
		if err == nil || try == tries || !s.dialect.transient(err) {
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(try) * 5 * time.Millisecond))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

func (s *Store) once(ctx context.Context, f func(*tx) error) error {
	sqlTx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	t := &tx{Tx: sqlTx, dialect: s.dialect, auditKey: s.auditKey}
	defer func() { _ = sqlTx.Rollback() }() // after a commit it does nothing; before, f's error matters more
	if err := f(t); err != nil {
		return err
	}
	if err := t.appendAudit(ctx); err != nil {
		return err
	}
	if t.changed && s.dialect.notify != "" {
		if _, err := t.ExecContext(ctx, s.dialect.notify); err != nil {
			return fmt.Errorf("notify of changes: %w", err)
		}
	}
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if t.changed {
		s.hub.wake()
	}
	return nil
}

// next takes n identifiers and returns the first. Whoever else wants some waits until this transaction ends.
func (t *tx) next(ctx context.Context, counter string, n int) (int64, error) {
	var last int64
	err := t.QueryRowContext(ctx, `UPDATE counter SET value = value + $1 WHERE name = $2 RETURNING value`, n, counter).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("count %ss: %w", counter, err)
	}
	return last - int64(n) + 1, nil
}

// exec runs a statement and returns how many rows it wrote.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := t.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// querier is what *sql.DB and *sql.Tx have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// collect reads all rows with scan.
func collect[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) (list []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// scanner is a *sql.Row or the current row of *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// scanDoc scans a row of (key, document); the key is only for the error.
func scanDoc[T any](table string) func(scanner) (T, error) {
	return func(row scanner) (v T, err error) {
		var key, doc string
		if err := row.Scan(&key, &doc); err != nil {
			return v, err
		}
		err = decode(table, key, doc, &v)
		return v, err
	}
}

// decode reads a document.
func decode(table, key, doc string, v any) error {
	if err := json.Unmarshal([]byte(doc), v); err != nil {
		return damagedError{table, key, err}
	}
	return nil
}

// damagedError tells the place of a document that cannot be read: only a person with the database at hand can mend it.
type damagedError struct {
	table, key string
	err        error
}

func (e damagedError) Error() string {
	return fmt.Sprintf("the document of %s in table %s is damaged: %v", e.key, e.table, e.err)
}

func (e damagedError) Unwrap() error { return e.err }

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode a %T: %w", v, err)
	}
	return string(b), nil
}

// micros is a time as columns hold it: NULL for the zero time.
func micros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func fromMicros(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMicro(n.Int64).UTC()
}

// exact is a time as both columns and documents can hold it.
func exact(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// names refuses what PostgreSQL cannot keep in a text and JSON would silently alter, so that both databases refuse the same.
func names(values ...string) error {
	for _, v := range values {
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return fmt.Errorf("%w: %q is not UTF-8 text", plumbline.ErrInvalid, v)
		}
	}
	return nil
}

// limit is the size of a listing: what was asked for, or a default.
func limit(asked, otherwise int) int {
	if asked > 0 {
		return asked
	}
	return otherwise
}
