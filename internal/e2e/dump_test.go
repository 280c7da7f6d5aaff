package e2e

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// dumpDatabase returns every value of every table of the database that a configuration names.
func dumpDatabase(config string) (string, error) {
	m := regexp.MustCompile(`database = "([^"]+)"`).FindStringSubmatch(config)
	driver, dsn, tables := "pgx", m[1], `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, dsn, tables = "sqlite", "file:"+path+"?mode=ro", `SELECT name FROM sqlite_master WHERE type = 'table'`
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }() // only read
	names, err := column(db, tables)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, name := range names {
		if err := dumpTable(&b, db, name); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func dumpTable(b *strings.Builder, db *sql.DB, name string) error {
	rows, err := db.Query(`SELECT * FROM "` + name + `"`)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for _, v := range values {
			if raw, ok := v.([]byte); ok {
				v = string(raw)
			}
			fmt.Fprintln(b, name, v)
		}
	}
	return rows.Err()
}

func column(db *sql.DB, query string) (out []string, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
