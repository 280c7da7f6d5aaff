package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// driftConfig is the daemon's configuration for the stacks in testdata/drift and those below held.
const driftConfig = `
server {
  listen   = "127.0.0.1:0"
  data_dir = "@DIR@/data"
  database = "@DATABASE@"
  workers  = 2
  node     = "node-1"
}
terraform {
  engine  = "@ENGINE@"
  install = "path"
  providers {
    mirror = "@MIRROR@"
  }
}
@FORGE@
repository "infra" {
  forge   = "forge"
  project = "infra.git"
  poll    = "@every 1s"

  environment "production" {
    branch  = "main"
    include = ["live/**"]
    apply   = "automatic"
    vars    = @VARS@
    env     = @ENV@
  }
  environment "held" {
    branch  = "main"
    include = ["held/**"]
    apply   = "approval"
    approval {
      expires = "1h"
    }
    vars = @VARS@
    env  = @ENV@
  }
}
`

// driftWorld is a daemon that deployed the stacks, and the real systems on which they are.
type driftWorld struct {
	t      *testing.T
	engine testenv.Engine
	dir    string
	prefix string // of everything on the servers: each engine has its own
	remote string
	d      *daemon

	dsn    string // of PostgreSQL
	minio  *testenv.MinioServer
	mirror string
	env    []string // of Terraform
	files  map[string]string
	copies map[string]*stateCopy
	kept   map[string]string // what a case keeps from doing to undoing
}

// TestDrift changes real systems behind Plumbline's back with their own clients: 30 changes of ten kinds are found, each as what it is and as one item; 30
// that are no drift are not; a second look makes no noise; what is mended by hand is resolved; and none of that ends when the last deployment failed, was
// interrupted, or waits. What each engine is used with: SQLite and Terraform, PostgreSQL and OpenTofu.
//
// The cases are in driftcases_test.go, and in testdata/drift/cases.md for people. How rules ignore drift until they run out is tested where rules are: internal/plumbline, internal/store.
func TestDrift(t *testing.T) {
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	found, quiet := driftCases(), quietCases()
	driftTable(t, found, quiet)
	keep := databases(t)
	for _, engine := range testenv.Engines(t) {
		database := map[string]string{"terraform": "sqlite", "tofu": "postgres"}[engine.Name]
		t.Run(engine.Name+"/"+database, func(t *testing.T) {
			w := newDriftWorld(t, engine, keep[database])
			w.deployAll()
			w.nothingIsDrift(quiet)
			w.everythingIsFound(found)
			w.secondLook()
			w.mended(found)
			w.notBlind()
		})
	}
}

func newDriftWorld(t *testing.T, engine testenv.Engine, database func(string) string) *driftWorld {
	dir := tempDir(t)
	w := &driftWorld{
		t: t, engine: engine, dir: dir, prefix: "dr" + engine.Name, dsn: testenv.Postgres(t), minio: testenv.Minio(t), mirror: testenv.MinioProvider(t),
		copies: map[string]*stateCopy{}, kept: map[string]string{},
	}
	if mirror := testenv.PostgresProvider(t); mirror != w.mirror {
		t.Fatalf("providers in two places: %s, %s", mirror, w.mirror)
	}
	w.env = append(postgresEnv(t, w.dsn),
		"MINIO_ENDPOINT="+w.minio.Endpoint, "MINIO_USER="+w.minio.User, "MINIO_PASSWORD="+w.minio.Password,
		"AWS_ACCESS_KEY_ID="+w.minio.User, "AWS_SECRET_ACCESS_KEY="+w.minio.Password)
	for _, f := range []string{"clock/source", "clock/shown"} {
		write(t, filepath.Join(dir, "world", f), "first\n")
	}
	w.bucket("tfstate")
	w.sql("", "CREATE ROLE "+w.prefix+"_known")
	t.Cleanup(w.clean)

	w.files = map[string]string{}
	paths, err := filepath.Glob("testdata/drift/*/*.tf")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d files of stacks: %v", len(paths), err)
	}
	fill := strings.NewReplacer("@DIR@", dir, "@S3@", w.minio.Endpoint, "@PREFIX@", w.prefix)
	for _, p := range paths {
		w.files["live/"+strings.TrimPrefix(filepath.ToSlash(p), "testdata/drift/")] = fill.Replace(read(t, p))
	}
	maps.Copy(w.files, w.blindFiles())

	quoted := func(list []string) string {
		var b strings.Builder
		for _, v := range list {
			name, value, _ := strings.Cut(v, "=")
			fmt.Fprintf(&b, "%s = %q, ", name, value)
		}
		return "{ " + strings.TrimSuffix(b.String(), ", ") + " }"
	}
	var forge string
	w.remote, forge = plainForge(t, dir, w.files)
	write(t, filepath.Join(dir, "plumbline.hcl"), strings.NewReplacer("@DIR@", dir, "@DATABASE@", database(dir), "@ENGINE@", engine.Name, "@MIRROR@", w.mirror, "@FORGE@", forge,
		"@VARS@", quoted([]string{"world=" + dir + "/world", "prefix=" + w.prefix, "app_password=" + passwordBefore}), "@ENV@", quoted(w.env)).Replace(driftConfig))
	w.d = start(t, dir, environ(engine), "serve", "--config", "plumbline.hcl")
	return w
}

func (w *driftWorld) deployAll() {
	w.t.Helper()
	w.d.eventually("all stacks were seen", time.Minute, func() error {
		if n := len(w.d.states("kind=drift")); n != 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	deploy(w.t, w.d, "production", nil, nil)
	deploy(w.t, w.d, "held", nil, nil)
	w.check("production")
	w.check("held")
	w.clean0("after everything was deployed")
}

// check looks at an environment, or at some stacks of it, and returns each stack's run.
func (w *driftWorld) check(env string, stacks ...string) map[string]plumbline.State {
	w.t.Helper()
	out, code := w.d.cli(append([]string{"drift", "check", "infra/" + env}, stacks...)...)
	if code != 0 && code != 3 {
		w.t.Fatalf("drift check: exit code %d\n%s", code, out)
	}
	states := map[string]plumbline.State{}
	for name, r := range w.d.states("kind=drift&environment=" + env) {
		states[strings.TrimPrefix(name, env+"/")] = r.State
	}
	return states
}

// items are the drift items as they are kept, those that are resolved too.
func (w *driftWorld) items() []plumbline.DriftItem {
	w.t.Helper()
	items, err := driftItems(read(w.t, filepath.Join(w.dir, "plumbline.hcl")))
	if err != nil {
		w.t.Fatal(err)
	}
	return items
}

func (w *driftWorld) open() (open []plumbline.DriftItem) {
	w.t.Helper()
	for _, it := range w.items() {
		if it.Open() {
			open = append(open, it)
		}
	}
	return open
}

// clean0: nothing is drift, and nothing ever was.
func (w *driftWorld) clean0(when string) {
	w.t.Helper()
	for _, it := range w.items() {
		w.t.Errorf("%s: %s of %s is told as %s: %+v", when, it.Difference.Address, it.Stack.Name, it.Difference.Kind, it.Difference.Attributes)
	}
	for name, r := range w.d.states("kind=drift") {
		if r.State != plumbline.StateClean {
			w.t.Errorf("%s: the check of %s is %s", when, name, r.State)
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func (w *driftWorld) nothingIsDrift(cases []quietCase) {
	w.t.Helper()
	for _, c := range cases {
		if c.do != nil {
			c.do(w)
		}
	}
	w.check("production")
	w.clean0("after what is no drift")
}

func (w *driftWorld) everythingIsFound(cases []driftCase) {
	w.t.Helper()
	for _, c := range cases {
		c.do(w)
	}
	w.check("production")
	open := w.open()
	for _, c := range cases {
		var of []plumbline.Difference
		for _, it := range open {
			if it.Stack.Name == c.stack && it.Difference.Address == c.address {
				of = append(of, it.Difference)
			}
		}
		switch {
		case len(of) != 1:
			w.t.Errorf("%s (%s in %s): %d items, want one", c.what, c.address, c.stack, len(of))
		case of[0].Kind != c.want || of[0].Origin != c.origin:
			w.t.Errorf("%s (%s in %s): told as %s %s, want %s %s: %+v", c.what, c.address, c.stack, of[0].Kind, of[0].Origin, c.want, c.origin, of[0].Attributes)
		case c.attribute != "" && !slices.ContainsFunc(of[0].Attributes, func(a plumbline.Attribute) bool { return strings.HasPrefix(a.Path, c.attribute) }):
			w.t.Errorf("%s: %s is not among %+v", c.what, c.attribute, of[0].Attributes)
		}
	}
	for _, it := range open {
		if !slices.ContainsFunc(cases, func(c driftCase) bool { return it.Stack.Name == c.stack && it.Difference.Address == c.address }) {
			w.t.Errorf("nobody changed %s in %s: %+v", it.Difference.Address, it.Stack.Name, it.Difference)
		}
	}
	if text := fmt.Sprintf("%+v", open); strings.Contains(text, passwordByHand) || strings.Contains(text, passwordBefore) {
		w.t.Error("an item has a password in it")
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// secondLook: no item, no line of a history, nothing to tell people, no note comes of seeing the same again.
func (w *driftWorld) secondLook() {
	w.t.Helper()
	before, news, notes := w.open(), w.rows("drift_event", "drift_news", "notice"), w.refs()
	w.check("production")
	after := w.open()
	if len(before) != len(after) {
		w.t.Errorf("%d items, then %d", len(before), len(after))
	}
	for i := range min(len(before), len(after)) {
		if a, b := before[i], after[i]; a.ID != b.ID || b.Seen != a.Seen+1 || a.Fingerprint != b.Fingerprint || a.Events != b.Events {
			w.t.Errorf("another look made more of it than that: %+v\nthen %+v", a, b)
		}
	}
	if again := w.rows("drift_event", "drift_news", "notice"); !slices.Equal(news, again) {
		w.t.Errorf("there is news:\n%s\nwhere there was\n%s", strings.Join(again, "\n"), strings.Join(news, "\n"))
	}
	if again := w.refs(); notes != again {
		w.t.Errorf("something was written to the repository:\n%s\nwhere there was\n%s", again, notes)
	}
}

func (w *driftWorld) mended(cases []driftCase) {
	w.t.Helper()
	n := len(w.items())
	for _, c := range slices.Backward(cases) {
		c.undo(w)
	}
	w.check("production")
	for _, it := range w.open() {
		w.t.Errorf("%s in %s was mended, and is told as %s: %+v", it.Difference.Address, it.Stack.Name, it.Difference.Kind, it.Difference.Attributes)
	}
	items := w.items()
	if len(items) != n {
		w.t.Errorf("%d items, then %d", n, len(items))
	}
	for _, it := range items {
		if it.How != "reality is again as Git asks for" {
			w.t.Errorf("%s: %q", it.Difference.Address, it.How)
		}
	}
	for name, r := range w.d.states("kind=drift&environment=production") {
		if r.State != plumbline.StateClean {
			w.t.Errorf("mended: the check of %s is %s", name, r.State)
		}
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// rows are the rows of tables, in order.
func (w *driftWorld) rows(tables ...string) (rows []string) {
	w.t.Helper()
	dump, err := dumpDatabase(read(w.t, filepath.Join(w.dir, "plumbline.hcl")))
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(dump) {
		table, _, _ := strings.Cut(line, " ")
		if slices.Contains(tables, table) {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	return rows
}

func (w *driftWorld) refs() string {
	w.t.Helper()
	return testenv.Git(w.t, w.remote, "for-each-ref")
}

// clean leaves nothing on a server that others use.
func (w *driftWorld) clean() {
	w.d.stop()
	for _, db := range w.list("SELECT datname FROM pg_database WHERE datname LIKE '" + w.prefix + "\\_%'") {
		w.sql("", "DROP DATABASE "+db+" WITH (FORCE)")
	}
	for _, role := range w.list("SELECT rolname FROM pg_roles WHERE rolname LIKE '" + w.prefix + "\\_%'") {
		w.sql("", "DROP OWNED BY "+role, "DROP ROLE "+role)
	}
}

// notBlind: the last deployment failed when it was planned, or when it was applied, or was interrupted, or waits for somebody's yes. What is changed outside
// is found all the same, and what Git asks for is not taken for it.
func (w *driftWorld) notBlind() {
	w.t.Helper()
	blind := w.blindCases()
	before := len(w.items())
	for _, c := range blind {
		c.strand(w)
	}
	for _, c := range blind { // what Git asks for, or was half done, is no drift
		states := w.check(c.env, c.stack)
		if states[c.stack] != plumbline.StatePlanned {
			w.t.Errorf("%s: the check is %s, want %s", c.what, states[c.stack], plumbline.StatePlanned)
		}
	}
	if n := len(w.items()); n != before {
		w.t.Errorf("%d items of what was not applied: %+v", n-before, w.open())
	}
	for _, c := range blind {
		c.do(w)
		states := w.check(c.env, c.stack)
		if states[c.stack] != plumbline.StateDrifted {
			w.t.Errorf("%s: the check is %s, want %s", c.what, states[c.stack], plumbline.StateDrifted)
		}
		var of []plumbline.DriftItem
		for _, it := range w.open() {
			if it.Stack.Name == c.stack {
				of = append(of, it)
			}
		}
		if len(of) != 1 || of[0].Difference.Address != c.address || of[0].Difference.Kind != c.want {
			w.t.Errorf("%s: %+v, want %s of %s", c.what, of, c.want, c.address)
		}
		run := w.d.states("kind=drift&environment=" + c.env)[c.env+"/"+c.stack]
		if !run.Unapplied {
			w.t.Errorf("%s: the check does not say that something was not applied", c.what)
		}
	}
}

// blindCase is a stack whose last deployment did not end well, or has not ended.
type blindCase struct {
	what       string
	env, stack string
	address    string
	want       plumbline.DifferenceKind
	strand, do func(w *driftWorld)
}

func (w *driftWorld) blindFiles() map[string]string {
	role := func(stack, name string) string {
		return strings.NewReplacer("@DIR@", w.dir, "@STACK@", stack, "@NAME@", w.prefix+"_"+name).Replace(`terraform {
  backend "local" {
    path = "@DIR@/state/@STACK@.tfstate"
  }
  required_providers {
    postgresql = { source = "cyrilgdn/postgresql" }
  }
}
provider "postgresql" {
  host = ""
}
resource "postgresql_role" "app" {
  name             = "@NAME@"
  connection_limit = 5
}
`)
	}
	return map[string]string{
		"live/unplanned/main.tf": simple(w.dir, "unplanned", "1"), "live/unapplied/main.tf": role("unapplied", "unapplied"),
		"live/slow/main.tf": chained(w.dir, 1), "held/waits/main.tf": role("waits", "waits"),
	}
}

func (w *driftWorld) blindCases() []blindCase {
	push := func(path, old, with string) {
		text := w.files[path]
		if !strings.Contains(text, old) {
			w.t.Fatalf("%s has no %q", path, old)
		}
		w.files[path] = strings.Replace(text, old, with, 1)
		testenv.Push(w.t, w.remote, testenv.Change{Branch: "main", Message: "Change " + path, Files: map[string]string{path: w.files[path]}})
	}
	last := func(env, stack string, want plumbline.State) {
		w.t.Helper()
		w.d.eventually(stack+" is "+string(want), 2*time.Minute, func() error {
			r := w.d.states("kind=deploy&environment=" + env)[env+"/"+stack]
			if r.State != want {
				return fmt.Errorf("run %s is %s", r.ID, r.State)
			}
			return nil
		})
	}
	return []blindCase{
		{
			what: "the last commit cannot be planned", env: "production", stack: "live/unplanned", address: "local_file.x", want: plumbline.DriftDeleted,
			strand: func(w *driftWorld) {
				push("live/unplanned/main.tf", `content  = "1"`, "content  = local.nowhere")
				last("production", "live/unplanned", plumbline.StateFailed)
			},
			do: func(w *driftWorld) { write(w.t, filepath.Join(w.dir, "world/unplanned"), "by hand") },
		},
		{
			what: "the last commit could not be applied", env: "production", stack: "live/unapplied", address: "postgresql_role.app", want: plumbline.DriftChanged,
			strand: func(w *driftWorld) {
				push("live/unapplied/main.tf", "connection_limit = 5\n}\n", "connection_limit = 5\n}\nresource \"postgresql_role\" \"there_is_one\" {\n  name = \""+w.prefix+"_app\"\n}\n")
				last("production", "live/unapplied", plumbline.StateFailed)
			},
			do: func(w *driftWorld) { w.sql("", "ALTER ROLE "+w.prefix+"_unapplied CONNECTION LIMIT 50") },
		},
		{
			what: "the last commit waits for an approval", env: "held", stack: "held/waits", address: "postgresql_role.app", want: plumbline.DriftChanged,
			strand: func(w *driftWorld) {
				push("held/waits/main.tf", "connection_limit = 5", "connection_limit = 7")
				last("held", "held/waits", plumbline.StateAwaiting)
			},
			do: func(w *driftWorld) { w.sql("", "ALTER ROLE "+w.prefix+"_waits CONNECTION LIMIT 50") },
		},
		{
			// The last: the next commit would bring it to its end.
			what: "the last apply was interrupted", env: "production", stack: "live/slow", address: "local_file.x", want: plumbline.DriftDeleted,
			strand: func(w *driftWorld) {
				w.files["live/slow/main.tf"] = chained(w.dir, 30) + "resource \"local_file\" \"x\" {\n  filename = \"${var.world}/slow-file\"\n  content  = \"1\"\n}\n"
				testenv.Push(w.t, w.remote, testenv.Change{Branch: "main", Message: "Slowly", Files: map[string]string{"live/slow/main.tf": w.files["live/slow/main.tf"]}})
				last("production", "live/slow", plumbline.StateApplying)
				w.d.eventually("something was made", time.Minute, func() error {
					if strings.Count(readIf(filepath.Join(w.dir, "world/made")), "\n") < 3 {
						return errors.New("not yet")
					}
					return nil
				})
				r := w.d.states("kind=deploy&environment=production")["production/live/slow"]
				w.d.must("runs", "cancel", r.ID.String())
				last("production", "live/slow", plumbline.StateInterrupted)
			},
			do: func(w *driftWorld) {
				if err := os.Remove(filepath.Join(w.dir, "world/slow-file")); err != nil {
					w.t.Fatal(err)
				}
			},
		},
	}
}
