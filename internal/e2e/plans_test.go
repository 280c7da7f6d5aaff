package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/tfplan"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestPlansOfRealProviders reads what real engines plan with a real provider on a real server, and with the schemas of AWS: the plan means
// the same wherever it was made, shows what was done outside, tells no secret, and reads the same whoever made it.
func TestPlansOfRealProviders(t *testing.T) {
	if os.Getenv("PLUMBLINE_E2E") != "1" {
		t.Skip("set PLUMBLINE_E2E=1 (make e2e)")
	}
	for _, engine := range testenv.Engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			t.Run("postgresql", func(t *testing.T) { plansOfPostgres(t, engine) })
			t.Run("aws", func(t *testing.T) { plansOfAWS(t, engine) })
		})
	}
}

// Secrets of the configurations in testdata/plans. The engine has the last one too, but may not put it into a plan.
const (
	passwordBefore = "plum-first/of=two"
	passwordAfter  = `plum-"second" of=two`
	passwordByHand = "plum-set-outside"
	passwordNever  = "plum-never-in-a-plan"
)

func plansOfPostgres(t *testing.T, engine testenv.Engine) {
	dsn := testenv.Postgres(t)
	s := newStack(t, engine, "postgresql", testenv.PostgresProvider(t), append(postgresEnv(t, dsn), "TF_VAR_reporting_password="+passwordNever)...)
	s.set("TF_VAR_app_password", passwordBefore)

	s.lay("create")
	created := s.plan()
	s.golden("create", created)
	if !created.Keyed {
		t.Error("the digest of a plan with passwords was made without the key")
	}
	s.apply()
	t.Cleanup(s.destroy) // roles and databases are the whole server's, and the next engine makes the same
	// The provider writes null where it later reads [], which would look like drift.
	s.run("apply", "-refresh-only", "-input=false", "-auto-approve")

	s.lay("create", "update")
	s.set("TF_VAR_app_password", passwordAfter)
	updated := s.plan()
	s.golden("update", updated)

	elsewhere := s.elsewhere()
	if again := elsewhere.plan(); !reflect.DeepEqual(again, updated) {
		t.Errorf("the same change in another place is another plan:\n%s\nand here:\n%s", asJSON(t, again), asJSON(t, updated))
	}
	elsewhere.set("TF_VAR_app_password", passwordAfter+"!")
	switch other := elsewhere.plan(); {
	case other.Digest == updated.Digest:
		t.Error("another password has the same digest")
	case !reflect.DeepEqual(withoutDigest(other), withoutDigest(updated)):
		t.Errorf("another password shows in more than the digest:\n%s\nand before:\n%s", asJSON(t, other), asJSON(t, updated))
	}

	s.set("TF_VAR_app_password", passwordBefore)
	s.lay("create", "replace")
	s.golden("replace", s.plan())

	execSQL(t, dsn, "", "CREATE ROLE shop_legacy LOGIN CONNECTION LIMIT 7")
	t.Cleanup(func() { execSQL(t, dsn, "", "DROP ROLE shop_legacy") })
	s.lay("create", "refactor")
	s.golden("refactor", s.plan())

	s.lay("create")
	execSQL(t, dsn, "",
		"ALTER ROLE shop_app CONNECTION LIMIT 50 PASSWORD '"+passwordByHand+"'",
		"GRANT pg_monitor TO shop_data_science",
		"DROP ROLE shop_the_others_")
	execSQL(t, dsn, "/shop",
		"DROP EXTENSION citext",
		"REVOKE USAGE ON SCHEMA orders FROM shop_reporting")
	drifted := s.plan()
	s.golden("drift", drifted)
	shows(t, drifted.Drift, "postgresql_role.app", plumbline.ActionUpdate, plumbline.Attribute{Path: "connection_limit", Before: "5", After: "50"})
	shows(t, drifted.Drift, "postgresql_extension.citext", plumbline.ActionDelete, plumbline.Attribute{})
	shows(t, drifted.Changes, "postgresql_role.app", plumbline.ActionUpdate, plumbline.Attribute{Path: "connection_limit", Before: "50", After: "5"})
}

func plansOfAWS(t *testing.T, engine testenv.Engine) {
	cloud := filepath.Join(tempDir(t), "cloud")
	s := newStack(t, engine, "aws", testenv.SimulatedAWS(t), "CLOUDSIM_DIR="+cloud)
	s.set("TF_VAR_api_key", passwordBefore)

	s.lay("create")
	s.golden("create", s.plan())
	s.apply()

	s.lay("create", "update")
	s.set("TF_VAR_api_key", passwordAfter)
	updated := s.plan()
	s.golden("update", updated)
	if again := s.elsewhere().plan(); !reflect.DeepEqual(again, updated) {
		t.Errorf("the same change in another place is another plan:\n%s\nand here:\n%s", asJSON(t, again), asJSON(t, updated))
	}
	s.set("TF_VAR_api_key", passwordBefore)

	s.lay("create", "replace")
	s.golden("replace", s.plan())

	write(t, filepath.Join(cloud, "aws/aws_cloudwatch_log_group/%2Flegacy%2Fshop.json"), `{"id":"/legacy/shop","name":"/legacy/shop","retention_in_days":90}`)
	s.lay("create", "refactor")
	s.golden("refactor", s.plan())

	s.lay("create")
	editObject(t, cloud, "aws_instance/i-*", func(o map[string]any) { o["instance_type"] = "t3.large" })
	editObject(t, cloud, "aws_ssm_parameter/*", func(o map[string]any) { o["value"] = passwordByHand })
	editObject(t, cloud, "aws_security_group/*", func(o map[string]any) {
		o["ingress"] = slices.DeleteFunc(o["ingress"].([]any), func(rule any) bool { return rule.(map[string]any)["description"] == "offices" })
	})
	editObject(t, cloud, "aws_iam_policy/*shop-queue", func(o map[string]any) {
		o["policy"] = strings.Replace(o["policy"].(string), "arn:aws:sqs:eu-west-1:123456789012:receipts", "*", 1)
	})
	if err := os.Remove(object(t, cloud, "aws_iam_role_policy_attachment/*shop-assets")); err != nil {
		t.Fatal(err)
	}
	drifted := s.plan()
	s.golden("drift", drifted)
	shows(t, drifted.Drift, "aws_instance.web", plumbline.ActionUpdate, plumbline.Attribute{Path: "instance_type", Before: `"t3.small"`, After: `"t3.large"`})
	shows(t, drifted.Drift, "aws_ssm_parameter.api_key", plumbline.ActionUpdate,
		plumbline.Attribute{Path: "value", Before: plumbline.Masked, After: plumbline.Masked, Sensitive: true})
	shows(t, drifted.Drift, `aws_iam_role_policy_attachment.web["assets"]`, plumbline.ActionDelete, plumbline.Attribute{})
}

// stack is a root module in a directory of its own, with a state beside it.
type stack struct {
	t      *testing.T
	engine testenv.Engine
	name   string // of the directory in testdata/plans
	mirror string
	dir    string
	env    []string
}

func newStack(t *testing.T, engine testenv.Engine, name, mirror string, env ...string) *stack {
	s := &stack{t: t, engine: engine, name: name, mirror: mirror, dir: tempDir(t)}
	s.env = environ(engine, append(env, "TF_IN_AUTOMATION=1")...)
	s.configure(mirror)
	return s
}

// configure makes the engine take providers from that mirror and from nowhere else.
func (s *stack) configure(mirror string) {
	s.t.Helper()
	config := filepath.Join(tempDir(s.t), "cli.tfrc")
	write(s.t, config, fmt.Sprintf("disable_checkpoint = true\nprovider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
	s.set("TF_CLI_CONFIG_FILE", config)
}

// set sets a variable of the engine's environment, where the last one of a name counts.
func (s *stack) set(name, value string) { s.env = append(s.env, name+"="+value) }

// elsewhere returns the same stack, with a copy of its state, as another machine would have it: in another directory, with another
// environment and mirror, and its configuration in one file, last block first.
func (s *stack) elsewhere() *stack {
	s.t.Helper()
	dir := filepath.Join(tempDir(s.t), "somewhere", "else entirely")
	mirror := filepath.Join(tempDir(s.t), "providers")
	if err := os.Symlink(s.mirror, mirror); err != nil {
		s.t.Fatal(err)
	}
	o := &stack{t: s.t, engine: s.engine, name: s.name, mirror: mirror, dir: dir, env: slices.Clone(s.env)}
	o.configure(mirror)
	o.set("TMPDIR", tempDir(s.t))
	o.set("TZ", "Pacific/Kiritimati")
	o.set("LANG", "de_DE.UTF-8")
	o.set("GOMAXPROCS", "1")
	write(s.t, filepath.Join(dir, "terraform.tfstate"), read(s.t, filepath.Join(s.dir, "terraform.tfstate")))
	var all []string
	for _, path := range configuration(s.t, s.dir) {
		all = append(all, read(s.t, path))
	}
	slices.Reverse(all)
	write(s.t, filepath.Join(dir, "all.tf"), strings.Join(all, "\n"))
	o.run("init", "-input=false")
	return o
}

// lay replaces the configuration by the files of the steps in testdata/plans, a later step's in place of an earlier one's.
func (s *stack) lay(steps ...string) {
	s.t.Helper()
	for _, path := range configuration(s.t, s.dir) {
		if err := os.Remove(path); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, step := range steps {
		for _, path := range configuration(s.t, filepath.Join("testdata", "plans", s.name, step)) {
			write(s.t, filepath.Join(s.dir, filepath.Base(path)), read(s.t, path))
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".terraform")); errors.Is(err, fs.ErrNotExist) {
		s.run("init", "-input=false")
	}
}

// configuration lists the files that an engine reads in dir.
func configuration(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// plan plans and returns what Plumbline reads in it. No secret may be in that, and the one secret must not even be in the engine's.
func (s *stack) plan() plumbline.Plan {
	s.t.Helper()
	file := filepath.Join(tempDir(s.t), "plan")
	s.run("plan", "-input=false", "-out="+file)
	doc := s.run("show", "-json", file)
	p, err := tfplan.Read(bytes.NewReader(doc), tfplan.Options{Key: []byte("the same on every machine")})
	if err != nil {
		s.t.Fatal(err)
	}
	if p.Engine != s.engine.Name || p.Version != s.engine.Version {
		s.t.Errorf("a plan of %s %s", p.Engine, p.Version)
	}
	// The check below could not fail if the engine kept secrets to itself.
	if !bytes.Contains(doc, []byte("plum-")) {
		s.t.Error("the engine's plan has no secret at all")
	}
	if bytes.Contains(doc, []byte(passwordNever)) {
		s.t.Error("the engine's plan has the value of an ephemeral variable")
	}
	s.noSecret(asJSON(s.t, p))
	return p
}

func (s *stack) noSecret(text string) {
	s.t.Helper()
	if i := strings.Index(text, "plum-"); i >= 0 {
		s.t.Errorf("a secret came through: …%s…", text[max(0, i-80):min(len(text), i+40)])
	}
}

func (s *stack) apply() {
	s.t.Helper()
	s.run("apply", "-input=false", "-auto-approve")
}

// destroy cleans up.
func (s *stack) destroy() {
	s.lay("create")
	s.run("destroy", "-input=false", "-auto-approve")
}

// run runs the engine and returns what it prints. It works after the end of the test too, for the cleaning up.
func (s *stack) run(args ...string) []byte {
	s.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), s.engine.Path, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s%s", s.engine.Name, strings.Join(args, " "), err, tail(string(out), 4000), &stderr)
	}
	return out
}

// golden compares what people would read of the plan. It is the same for both engines, apart from their names and the digest: that covers the
// provider's full name, and each engine has a registry of its own.
func (s *stack) golden(step string, p plumbline.Plan) {
	s.t.Helper()
	p.Digest, p.Engine, p.Version = "", "", ""
	plans := []report.NamedPlan{{Name: s.name, Plan: p}}
	var text bytes.Buffer
	if err := report.Text(&text, plans, false); err != nil {
		s.t.Fatal(err)
	}
	for ext, got := range map[string]string{".txt": text.String(), ".md": report.Markdown(plans, 65536)} {
		s.noSecret(got)
		file := filepath.Join("testdata", "plans", s.name, step+ext)
		// The first engine writes, the second has to agree.
		if *update && s.engine == testenv.Engines(s.t)[0] {
			write(s.t, file, got)
		}
		if want := read(s.t, file); got != want {
			s.t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
		}
	}
}

// withoutDigest is for comparing the rest. What a plan was made of has a variable's value in it, as a keyed hash.
func withoutDigest(p plumbline.Plan) plumbline.Plan {
	p.Digest, p.Config = "", ""
	return p
}

func asJSON(t testing.TB, p plumbline.Plan) string {
	t.Helper()
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shows checks that a change is in the list, with that attribute unless it is zero.
func shows(t *testing.T, list []plumbline.Change, address string, action plumbline.Action, a plumbline.Attribute) {
	t.Helper()
	i := slices.IndexFunc(list, func(c plumbline.Change) bool { return c.Address == address && c.Action == action })
	if i < 0 {
		t.Errorf("%s of %s is not among %d changes", action, address, len(list))
		return
	}
	if a != (plumbline.Attribute{}) && !slices.Contains(list[i].Attributes, a) {
		t.Errorf("%s: %+v is not among %+v", address, a, list[i].Attributes)
	}
}

// postgresEnv says where the server is in the variables that its clients know.
func postgresEnv(t testing.TB, dsn string) []string {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	mode := "disable"
	if c.TLSConfig != nil {
		mode = "require"
	}
	return []string{
		"PGHOST=" + c.Host, fmt.Sprintf("PGPORT=%d", c.Port), "PGUSER=" + c.User, "PGPASSWORD=" + c.Password, "PGDATABASE=" + c.Database, "PGSSLMODE=" + mode,
	}
}

// execSQL runs statements in the database of that path, or in that of the DSN.
func execSQL(t testing.TB, dsn, path string, statements ...string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if path != "" {
		u.Path = path
	}
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if err := conn.Close(ctx); err != nil {
		t.Error(err)
	}
}

// object returns the path of the one object of the cloud whose type and id match.
func object(t testing.TB, cloud, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(cloud, "aws", filepath.FromSlash(pattern)+".json"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("objects %s of the cloud: %q, %v", pattern, paths, err)
	}
	return paths[0]
}

// editObject changes an object behind Terraform's back.
func editObject(t testing.TB, cloud, pattern string, edit func(map[string]any)) {
	t.Helper()
	path := object(t, cloud, pattern)
	var o map[string]any
	if err := json.Unmarshal([]byte(read(t, path)), &o); err != nil {
		t.Fatal(err)
	}
	edit(o)
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(b))
}
