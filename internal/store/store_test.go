package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// t0 is when every test begins.
var t0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const lease = 30 * time.Second

// each runs a test on an empty database of every kind.
func each(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "plumbline.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, testenv.Postgres(t))
	})
}

var auditKey = []byte("0123456789abcdef0123456789abcdef")

// config is what every test opens a database with.
func config(dsn string) Config { return Config{DSN: dsn, AuditKey: auditKey} }

func open(t testing.TB, dsn string) *Store {
	t.Helper()
	return openWith(t, config(dsn))
}

func openWith(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// must is for calls that fail only when the test is over anyway.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// sqlExec goes behind the store's back.
func (s *Store) sqlExec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := s.write.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func ref(stack string) plumbline.StackRef {
	return plumbline.StackRef{Repository: "infra", Environment: "production", Name: stack}
}

// queued is a run as the watcher makes it.
func queued(kind plumbline.Kind, stack, commit string) plumbline.Run {
	subject := map[plumbline.Kind]string{
		plumbline.KindProposal: plumbline.SubjectMR("42"),
		plumbline.KindDrift:    plumbline.SubjectDrift("production"),
	}[kind]
	if subject == "" {
		subject = plumbline.SubjectDeploy("production")
	}
	r := plumbline.Run{
		Kind: kind, State: plumbline.StateQueued, Stack: ref(stack), Spec: plumbline.StackSpec{Name: stack, Dir: stack},
		Subject: subject, Commit: commit, Because: stack + "/main.tf", By: plumbline.ByPoll, Queued: t0,
		Policy: plumbline.Policy{Apply: plumbline.ApplyApproval, Approval: plumbline.ApprovalRule{Count: 1, Expires: 24 * time.Hour}},
	}
	if kind == plumbline.KindProposal {
		r.MR = "42"
	}
	return r
}

// enqueue observes runs without comparing anything.
func enqueue(t testing.TB, s *Store, runs ...plumbline.Run) []plumbline.RunID {
	t.Helper()
	return must[[]plumbline.RunID](t)(s.Observe(t.Context(), plumbline.Observation{Repository: "infra", At: t0, Runs: runs}))
}

func changes(digest string) *plumbline.PlanInfo {
	return &plumbline.PlanInfo{Digest: digest, Engine: "terraform", Changes: true, Summary: plumbline.Summary{Create: 2, Update: 1}}
}

const digest = "b41f9c0d5e6f"

func finish(c plumbline.Claim, o plumbline.Outcome, info *plumbline.PlanInfo) plumbline.Rule {
	return func(r *plumbline.Run, now time.Time) error { return r.Finish(c, o, info, now) }
}

func approve(by string) plumbline.Rule {
	return func(r *plumbline.Run, now time.Time) error {
		return r.Approve(plumbline.Person{Name: by}, plumbline.Access{}, digest, now)
	}
}

// planned claims the next run and gives it a plan with changes.
func planned(t testing.TB, s *Store, now time.Time) plumbline.Run {
	t.Helper()
	r := must[plumbline.Run](t)(s.Claim(t.Context(), "worker-1", now, lease))
	return must[plumbline.Run](t)(s.Update(t.Context(), r.ID, now, finish(r.Claim, plumbline.Outcome{}, changes(digest))))
}

func stateOf(t testing.TB, s *Store, id plumbline.RunID) plumbline.State {
	t.Helper()
	return must[plumbline.Run](t)(s.Run(t.Context(), id)).State
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tc := range []struct{ dsn, want string }{
		{"", "sqlite:PATH or postgres://"},
		{"mysql://root@localhost/x", "sqlite:PATH or postgres://"},
		{"sqlite:", "needs the path of a file"},
		{"sqlite::memory:", "needs the path of a file"},
		{"sqlite:" + filepath.Join(t.TempDir(), "missing", "x.db"), "no such file"},
		{"postgres://plumbline:hunter2@[::1/db", "parse"},
	} {
		s, err := Open(t.Context(), config(tc.dsn))
		if err == nil {
			t.Errorf("Open(%q) = %v, want an error", tc.dsn, s)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Open(%q): %v, want it to say %q", tc.dsn, err, tc.want)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Open(%q) tells the password: %v", tc.dsn, err)
		}
	}
}

func TestOpenUnreachableKeepsThePassword(t *testing.T) {
	_, err := Open(t.Context(), config("postgres://plumbline:hunter2@127.0.0.1:1/db?connect_timeout=2"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("error is %v, want one without the password", err)
	}
}

func TestSQLiteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41é.db")
	s := open(t, "sqlite:"+path)
	enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
	for _, name := range []string{path, path + "-wal"} {
		info := must[os.FileInfo](t)(os.Stat(name))
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want it readable by its owner alone", name, info.Mode())
		}
	}
	var journal string
	var synchronous, foreignKeys int
	row := s.write.QueryRowContext(t.Context(), `SELECT (SELECT journal_mode FROM pragma_journal_mode), (SELECT synchronous FROM pragma_synchronous), (SELECT foreign_keys FROM pragma_foreign_keys)`)
	if err := row.Scan(&journal, &synchronous, &foreignKeys); err != nil {
		t.Fatal(err)
	}
	if journal != "wal" || synchronous != 2 || foreignKeys != 1 {
		t.Errorf("journal_mode %s, synchronous %d, foreign_keys %d; want wal, 2 (FULL), 1", journal, synchronous, foreignKeys)
	}
	if _, err := s.read.ExecContext(t.Context(), `DELETE FROM run_event`); err == nil {
		t.Error("a connection of the read pool could write")
	}
}

func TestReopenKeepsAll(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s, err := Open(t.Context(), config(dsn))
		if err != nil {
			t.Fatal(err)
		}
		enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		was := planned(t, s, t0.Add(1234567*time.Microsecond))
		events := must[[]plumbline.Event](t)(s.Events(t.Context(), was.ID))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		again := open(t, dsn)
		is := must[plumbline.Run](t)(again.Run(t.Context(), was.ID))
		if a, b := must[string](t)(encode(was)), must[string](t)(encode(is)); a != b {
			t.Errorf("the run was\n%s\nand is\n%s", a, b)
		}
		if got := must[[]plumbline.Event](t)(again.Events(t.Context(), was.ID)); !slices.Equal(got, events) {
			t.Errorf("the history was %v and is %v", events, got)
		}
		if ids := enqueue(t, again, queued(plumbline.KindDeploy, "app", "c1")); ids[0] != was.ID+1 {
			t.Errorf("the next run is %v, want %v", ids[0], was.ID+1)
		}
	})
}

// Machines that start together migrate once.
func TestOpenTogether(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s, err := Open(t.Context(), config(dsn))
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s := open(t, dsn)
		var n, names int
		if err := s.read.QueryRowContext(t.Context(), `SELECT count(*), count(DISTINCT name) FROM counter`).Scan(&n, &names); err != nil || n != names || n == 0 {
			t.Errorf("%d counters with %d names (%v)", n, names, err)
		}
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		s.sqlExec(t, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)`, 9999, true)
		_, err := Open(t.Context(), config(dsn))
		if err == nil || !strings.Contains(err.Error(), "newer Plumbline") {
			t.Errorf("error is %v, want it to speak of a newer Plumbline", err)
		}
	})
}

// A database of the version before: what waited to be applied is applied, and the log begins.
func TestUpgrade(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		old := &Store{dialect: sqliteDialect}
		var err error
		if path, isSQLite := strings.CutPrefix(dsn, "sqlite:"); isSQLite {
			old.write, old.read, err = openSQLite(path)
		} else {
			old.dialect = postgresDialect
			old.write, _, err = openPostgres(dsn, 2)
			old.read = old.write
		}
		if err != nil {
			t.Fatal(err)
		}
		old.stop = func() {}
		p := must[*goose.Provider](t)(goose.NewProvider(old.dialect.goose, old.write, must[fs.FS](t)(fs.Sub(migrations, "migrations")), goose.WithLogger(goose.NopLogger())))
		must[[]*goose.MigrationResult](t)(p.UpTo(ctx, 2))
		r := queued(plumbline.KindDeploy, "net", "c1")
		r.ID, r.State, r.Plan = 1, plumbline.StateApproved, changes(digest)
		r.Approvals = []plumbline.Approval{{By: "ops-b", Digest: digest, At: t0}}
		old.sqlExec(t, `
			INSERT INTO run (id, repository, environment, stack, kind, state, subject, mr, deployment, head, env_order, priority, due, version, reported, doc)
			VALUES (1, 'infra', 'production', 'net', 'deploy', 'approved', 'deploy production', '', 0, '', 0, 0, NULL, 5, 5, $1)`, must[string](t)(encode(r)))
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}

		s := open(t, dsn)
		if r := must[plumbline.Run](t)(s.Claim(ctx, "worker-1", t0, lease)); r.ID != 1 || r.State != plumbline.StateApplying {
			t.Errorf("claimed run %v, which is %s", r.ID, r.State)
		}
		whole(t, s, 1)
	})
}

func TestSubscribe(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		woken, cancel := s.Subscribe()
		drain(woken)
		for range 3 {
			enqueue(t, s, queued(plumbline.KindDeploy, "net", "c1"))
		}
		<-woken
		cancel()
		drain(woken)
		if err := s.Tell(t.Context(), "infra", "k", "h"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-woken:
			t.Error("woken after the end of the subscription")
		default:
		}
	})
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func TestSubscribeAcrossProcesses(t *testing.T) {
	dsn := testenv.Postgres(t)
	a, b := open(t, dsn), open(t, dsn)
	woken, cancel := b.Subscribe()
	defer cancel()
	<-woken // it listens now

	enqueue(t, a, queued(plumbline.KindDeploy, "net", "c1"))
	<-woken

	// The connection that listens is cut; b takes another one, and first looks whether something went by.
	a.sqlExec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'`)
	<-woken
	enqueue(t, a, queued(plumbline.KindDeploy, "app", "c1"))
	<-woken
}

// A context that has ended leaves nothing behind.
func TestCanceledContext(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Observe(ctx, plumbline.Observation{Repository: "infra", At: t0, Runs: []plumbline.Run{queued(plumbline.KindDeploy, "net", "c1")}})
		wantErr(t, err, context.Canceled)
		if runs := must[[]plumbline.Run](t)(s.Runs(t.Context(), plumbline.RunFilter{})); len(runs) != 0 {
			t.Errorf("there are runs: %v", runs)
		}
	})
}
