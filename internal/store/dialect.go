package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// dialect is what differs between the databases.
type dialect struct {
	goose     goose.Dialect
	forUpdate string // ends a SELECT whose rows are about to be written
	skip      string // ends a SELECT of "run r" that passes over rows others are about to write
	notify    string // tells other processes of a change when the transaction commits
	transient func(error) bool
	duplicate func(error) bool // a unique index refused the row
	guard     []string         // statements after which the audit log only grows
}

// SQLite needs no row locks: a transaction that writes is alone from its first statement on (_txlock=immediate).
var sqliteDialect = dialect{
	goose: goose.DialectSQLite3,
	transient: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
	},
	duplicate: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
	},
	guard: []string{
		`CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END`,
		`CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END`,
		// INSERT OR REPLACE takes a row away without asking the trigger above.
		`CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
			BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END`,
	},
}

var postgresDialect = dialect{
	goose:     goose.DialectPostgres,
	forUpdate: ` FOR UPDATE`,
	skip:      ` FOR UPDATE OF r SKIP LOCKED`,
	notify:    `NOTIFY ` + channel,
	transient: func(err error) bool {
		code := postgresCode(err)
		return code == "40001" || code == "40P01" // serialization failure, deadlock
	},
	duplicate: func(err error) bool { return postgresCode(err) == "23505" },
	guard: []string{
		`CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$`,
		`CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()`,
	},
}

func postgresCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// openSQLite returns a pool of the one writer and a pool of readers.
func openSQLite(path string) (write, read *sql.DB, err error) {
	if path == "" || path == ":memory:" {
		return nil, nil, fmt.Errorf("%w: it needs the path of a file", plumbline.ErrInvalid)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, err
	}
	// SQLite would let the umask decide who may read it; its journals take the file's mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	if write, err = sql.Open("sqlite", sqliteURI(path, false)); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if read, err = sql.Open("sqlite", sqliteURI(path, true)); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(4)
	read.SetMaxIdleConns(4)
	return write, read, nil
}

// sqliteURI names the file with the settings of a connection.
//
// synchronous=FULL, because in WAL mode NORMAL may lose the last commits with the power: a run would be "approved" again
// whose apply had begun, and be applied twice. It costs one fsync a commit.
func sqliteURI(path string, readOnly bool) string {
	q := url.Values{
		"_busy_timeout": {"10000"}, // another process, such as a command line beside the daemon
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"1"},
		"_dqs":          {"0"},
	}
	if readOnly {
		q.Set("_query_only", "1")
	} else {
		q.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

func openPostgres(dsn string, conns int) (*sql.DB, *pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, err
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "plumbline"
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, cfg, nil
}
