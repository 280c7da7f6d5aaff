package e2e

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// dumpDatabase returns every value of every table of the database that a configuration names.
func dumpDatabase(config string) (string, error) {
	db, driver, err := openDatabase(config)
	if err != nil {
		return "", err
	}
	tables := `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`
	if driver == "sqlite" {
		tables = `SELECT name FROM sqlite_master WHERE type = 'table'`
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

// openDatabase opens the database that a configuration names, to read it.
func openDatabase(config string) (db *sql.DB, driver string, err error) {
	m := regexp.MustCompile(`database = "([^"]+)"`).FindStringSubmatch(config)
	driver, dsn := "pgx", m[1]
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, dsn = "sqlite", "file:"+path+"?mode=ro"
	}
	db, err = sql.Open(driver, dsn)
	return db, driver, err
}

// driftItems returns all drift items as the database has them, oldest first.
func driftItems(config string) (items []plumbline.DriftItem, err error) {
	db, _, err := openDatabase(config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // only read
	docs, err := column(db, `SELECT doc FROM drift ORDER BY id`)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		var it plumbline.DriftItem
		if err := json.Unmarshal([]byte(doc), &it); err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
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
