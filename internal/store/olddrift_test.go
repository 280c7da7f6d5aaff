package store

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// beforeDrift makes a database as it was before drift items had a history, with open items in it by their fingerprints.
func beforeDrift(t *testing.T, dsn string, differences map[string]string) {
	t.Helper()
	const last = 4
	s := &Store{dialect: sqliteDialect}
	var err error
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		s.write, s.read, err = openSQLite(path)
	} else {
		s.dialect = postgresDialect
		s.write, _, err = openPostgres(dsn, 4)
		s.read = s.write
	}
	if err != nil {
		t.Fatal(err)
	}
	s.stop = func() {}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir := must[fs.FS](t)(fs.Sub(migrations, "migrations"))
	p := must[*goose.Provider](t)(goose.NewProvider(s.dialect.goose, s.write, dir, goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(goose.NewGoMigration(guardVersion, &goose.GoFunc{RunTx: s.guardAudit}, nil))))
	if _, err := p.UpTo(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	id := 0
	for _, fingerprint := range slices.Sorted(maps.Keys(differences)) {
		id++
		doc := fmt.Sprintf(`{"ID":%d,"Stack":{"Repository":"infra","Environment":"production","Name":"net"},"Fingerprint":%q,"Difference":%s,
			"Opened":"2026-01-02T03:04:05Z","LastSeen":"2026-01-02T03:04:05Z","Seen":1,"Resolved":"0001-01-01T00:00:00Z","FirstRun":1,"LastRun":1}`,
			id, fingerprint, differences[fingerprint])
		if _, err := s.write.ExecContext(t.Context(), `INSERT INTO drift (id, repository, environment, stack, fingerprint, resolved, doc) VALUES ($1, 'infra', 'production', 'net', $2, NULL, $3)`,
			id, fingerprint, doc); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.write.ExecContext(t.Context(), `UPDATE counter SET value = $1 WHERE name = 'drift'`, id); err != nil {
		t.Fatal(err)
	}
}

// Items that were open before live on: nothing is said to have changed that has not, people are told of them, and none stays open for good.
func TestDriftItemsOfAnOlderDatabase(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		const route = `{"Address":"aws_route.nat","Type":"aws_route","Kind":"changed","Attributes":[{"Path":"gateway","Before":"\"a\"","After":"\"b\""}]}`
		beforeDrift(t, dsn, map[string]string{
			"f1": route,
			"f2": `{"Address":"aws_eip.nat","Type":"aws_eip","Kind":"deleted","Attributes":null}`,
			"f3": `{"Address":"aws_eip.nat","Type":"aws_eip","Kind":"changed","Attributes":[{"Path":"tags","After":"\"x\""}]}`, // of a deposed object
		})
		l := &driftLife{t: t, s: open(t, dsn), env: plumbline.Environment{Repository: "infra", Name: "production"}, now: t0.Add(100 * 24 * time.Hour)}
		if n := must[int](t)(l.s.Reconsider(t.Context(), l.env, l.now)); n != 0 {
			t.Errorf("%d items are others by the same rules", n)
		}
		found := plumbline.Difference{Address: "aws_route.nat", Type: "aws_route", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "gateway", Before: `"a"`, After: `"b"`}}}
		gone := plumbline.Difference{Address: "aws_eip.nat", Type: "aws_eip", Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "tags", After: `"x"`}}}
		if run := l.check(found, gone); run.DriftOpen != 2 || l.drifted() != 2 || l.version() == 0 {
			t.Errorf("%d open, the stack has %d, version %d", run.DriftOpen, l.drifted(), l.version())
		}
		if got, want := l.history(1), []string{"opened"}; !slices.Equal(got, want) {
			t.Errorf("history of what is as it was: %q, want %q", got, want)
		}
		l.check()
		if left := must[[]plumbline.DriftItem](t)(l.s.DriftItems(t.Context(), plumbline.DriftFilter{})); len(left) != 0 {
			t.Errorf("open for good: %+v", left)
		}
	})
}
