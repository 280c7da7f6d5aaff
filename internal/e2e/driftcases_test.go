package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/jackc/pgx/v5"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// A driftCase is something done outside that has to be found.
type driftCase struct {
	kind      string // of the ten
	what      string
	stack     string
	address   string
	attribute string // that the item has to show; "" any
	want      plumbline.DifferenceKind
	origin    plumbline.DriftOrigin
	do, undo  func(w *driftWorld)
}

// A quietCase is something that is no drift.
type quietCase struct {
	kind string
	what string
	do   func(w *driftWorld) // nil: it is there anyway
}

const (
	scalar     = "a value changed"
	member     = "a member of a list or set changed"
	document   = "a document changed"
	secret     = "a secret changed"
	deleted    = "deleted"
	fileKind   = "a file changed, which its provider tells as deleted"
	appeared   = "imported by hand"
	forgotten  = "taken out of the state"
	fromAfar   = "applied or tainted from elsewhere"
	byTheClock = "asked for anew by the configuration itself"
)

func driftCases() []driftCase {
	const pg, buckets, files, clock, state, far = "live/pg", "live/buckets", "live/files", "live/clock", "live/state", "live/far"
	const changed, gone = plumbline.DriftChanged, plumbline.DriftDeleted
	sql := func(db string, statements ...string) func(*driftWorld) {
		return func(w *driftWorld) { w.sql(db, statements...) }
	}
	file := func(name, content string) func(*driftWorld) {
		return func(w *driftWorld) { write(w.t, w.world(name), content) }
	}
	noFile := func(name string) func(*driftWorld) {
		return func(w *driftWorld) {
			if err := os.Remove(w.world(name)); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	copied := func(stack string, do func(c *stateCopy)) func(*driftWorld) {
		return func(w *driftWorld) { do(w.copy(stack)) }
	}
	restored := func(stack string, also ...func(*driftWorld)) func(*driftWorld) {
		return func(w *driftWorld) {
			for _, f := range also {
				f(w)
			}
			w.copy(stack).restore()
		}
	}
	const allow = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["%s"],"Resource":["arn:aws:s3:::%s/*"]}]}`
	return []driftCase{
		{scalar, "a role's connection limit, by ALTER ROLE", pg, "postgresql_role.app", "connection_limit", changed, "",
			sql("", "ALTER ROLE @_app CONNECTION LIMIT 50"), sql("", "ALTER ROLE @_app CONNECTION LIMIT 5")},
		{scalar, "a database's connection limit, by ALTER DATABASE", pg, "postgresql_database.shop", "connection_limit", changed, "",
			sql("", "ALTER DATABASE @_shop CONNECTION LIMIT 7"), sql("", "ALTER DATABASE @_shop CONNECTION LIMIT 100")},
		{scalar, "a bucket's versioning, suspended", buckets, "minio_s3_bucket_versioning.logs", "versioning_configuration", changed, "",
			func(w *driftWorld) { w.versioning("logs", types.BucketVersioningStatusSuspended) }, func(w *driftWorld) { w.versioning("logs", types.BucketVersioningStatusEnabled) }},
		{scalar, "how long a bucket keeps objects", buckets, "minio_ilm_policy.logs", "rule", changed, "",
			func(w *driftWorld) { w.expire("logs", 1) }, func(w *driftWorld) { w.expire("logs", 7) }},
		{scalar, "an object's content type", buckets, "minio_s3_object.page", "content_type", changed, "",
			func(w *driftWorld) { w.put("site", "index.html", "<p>shop</p>", "text/plain") }, func(w *driftWorld) { w.put("site", "index.html", "<p>shop</p>", "text/html") }},

		{member, "a role granted to a role", pg, "postgresql_role.reader", "roles", changed, "",
			sql("", "GRANT pg_monitor TO @_reader"), sql("", "REVOKE pg_monitor FROM @_reader")},
		{member, "one privilege of two, by REVOKE", pg, "postgresql_grant.connect", "privileges", changed, "",
			sql("", "REVOKE TEMPORARY ON DATABASE @_shop FROM @_app"), sql("", "GRANT TEMPORARY ON DATABASE @_shop TO @_app")},
		{member, "a search path in another order, where order counts", pg, "postgresql_role.path", "search_path", changed, "",
			sql("", "ALTER ROLE @_path SET search_path TO public, orders"), sql("", "ALTER ROLE @_path SET search_path TO orders, public")},

		{document, "a bucket's policy allows more", buckets, "minio_s3_bucket_policy.site", "policy", changed, "",
			func(w *driftWorld) { w.policy("site", fmt.Sprintf(allow, "s3:*", w.prefix+"-site")) },
			func(w *driftWorld) { w.policy("site", fmt.Sprintf(allow, "s3:GetObject", w.prefix+"-site")) }},
		{document, "a function's body, by CREATE OR REPLACE", pg, "postgresql_function.total", "body", changed, "",
			func(w *driftWorld) {
				w.kept["function"] = w.listOf("@_shop", "SELECT pg_get_functiondef('orders.total(integer)'::regprocedure)")[0]
				w.sql("@_shop", strings.Replace(w.kept["function"], "* 2", "* 3", 1))
			},
			func(w *driftWorld) { w.sql("@_shop", w.kept["function"]) }},

		{secret, "a role's password, stored as MD5: of others, a provider cannot tell", pg, "postgresql_role.secret", "password", changed, "",
			sql("", "SET password_encryption = 'md5'", "ALTER ROLE @_secret PASSWORD '"+passwordByHand+"'"),
			sql("", "SET password_encryption = 'md5'", "ALTER ROLE @_secret PASSWORD '"+passwordBefore+"'")},

		{deleted, "a role, by DROP ROLE", pg, "postgresql_role.leaver", "", gone, "", sql("", "DROP ROLE @_leaver"), sql("", "CREATE ROLE @_leaver")},
		{deleted, "a database, by DROP DATABASE", pg, "postgresql_database.spare", "", gone, "",
			sql("", "DROP DATABASE @_spare WITH (FORCE)"), sql("", "CREATE DATABASE @_spare TEMPLATE template0 LC_COLLATE 'C'")},
		{deleted, "an extension, by DROP EXTENSION", pg, "postgresql_extension.citext", "", gone, "", sql("@_shop", "DROP EXTENSION citext"), sql("@_shop", "CREATE EXTENSION citext")},
		{deleted, "an empty bucket", buckets, "minio_s3_bucket.spare", "", gone, "", func(w *driftWorld) { w.noBucket("spare") }, func(w *driftWorld) { w.bucket(w.prefix + "-spare") }},
		{deleted, "an object", buckets, "minio_s3_object.notice", "", gone, "",
			func(w *driftWorld) { w.noObject("site", "notice.txt") }, func(w *driftWorld) { w.put("site", "notice.txt", "open from nine", "text/plain") }},
		{deleted, "a file", files, "local_file.removed", "", gone, "", noFile("files/removed"), file("files/removed", "as configured\n")},

		{fileKind, "a file overwritten", files, "local_file.changed", "", gone, "", file("files/changed", "by hand\n"), file("files/changed", "as configured\n")},

		{appeared, "a role that Git does not have", state, "postgresql_role.stray", "", plumbline.DriftAppeared, plumbline.FromState,
			func(w *driftWorld) {
				w.sql("", "CREATE ROLE @_stray")
				w.copy(state).importing("postgresql_role.stray", fmt.Sprintf("resource \"postgresql_role\" \"stray\" {\n  name = %q\n}\n", w.prefix+"_stray"), w.prefix+"_stray")
			}, restored(state)},
		{appeared, "a bucket that Git does not have, into a state in a bucket", far, "minio_s3_bucket.stray", "", plumbline.DriftAppeared, plumbline.FromState,
			func(w *driftWorld) {
				w.bucket(w.prefix + "-stray")
				w.copy(far).importing("minio_s3_bucket.stray", fmt.Sprintf("resource \"minio_s3_bucket\" \"stray\" {\n  bucket = %q\n}\n", w.prefix+"-stray"), w.prefix+"-stray")
			}, restored(far)},

		{forgotten, "a role, by state rm", state, "postgresql_role.forgotten", "", plumbline.DriftForgotten, plumbline.FromState,
			copied(state, func(c *stateCopy) { c.run("state", "rm", "postgresql_role.forgotten") }), restored(state)},
		{forgotten, "terraform_data, by state rm", state, "terraform_data.forgotten", "", plumbline.DriftForgotten, plumbline.FromState,
			copied(state, func(c *stateCopy) { c.run("state", "rm", "terraform_data.forgotten") }), restored(state)},
		{forgotten, "a bucket, by state rm, of a state in a bucket", far, "minio_s3_bucket.forgotten", "", plumbline.DriftForgotten, plumbline.FromState,
			copied(far, func(c *stateCopy) { c.run("state", "rm", "minio_s3_bucket.forgotten") }), restored(far)},

		{fromAfar, "a role, applied from other files", state, "postgresql_role.elsewhere", "connection_limit", changed, plumbline.FromState,
			copied(state, func(c *stateCopy) {
				c.applying("postgresql_role.elsewhere", "connection_limit = 5", "connection_limit = 9")
			}),
			restored(state, sql("", "ALTER ROLE @_elsewhere CONNECTION LIMIT 5"))},
		{fromAfar, "terraform_data, applied from other files", state, "terraform_data.elsewhere", "input", changed, plumbline.FromState,
			copied(state, func(c *stateCopy) { c.applying("terraform_data.elsewhere", "as configured", "as somebody likes it") }), restored(state)},
		{fromAfar, "a bucket's versioning, applied from other files, a state in a bucket", far, "minio_s3_bucket_versioning.elsewhere", "versioning_configuration", changed, plumbline.FromState,
			copied(far, func(c *stateCopy) { c.applying("minio_s3_bucket_versioning.elsewhere", `"Enabled"`, `"Suspended"`) }),
			restored(far, func(w *driftWorld) { w.versioning("far", types.BucketVersioningStatusEnabled) })},
		{fromAfar, "tainted", state, "terraform_data.tainted", "", changed, plumbline.FromState,
			copied(state, func(c *stateCopy) { c.run("taint", "terraform_data.tainted") }), restored(state)},

		{byTheClock, "a data source reads something else", clock, "terraform_data.copy", "input", plumbline.DriftSelf, "",
			file("clock/source", "second\n"), file("clock/source", "first\n")},
		{byTheClock, "timestamp()", clock, "terraform_data.stamp", "input", plumbline.DriftSelf, "", file("clock/stamp", ""), noFile("clock/stamp")},
		{byTheClock, "plantimestamp()", clock, "terraform_data.planned", "input", plumbline.DriftSelf, "", file("clock/planned", ""), noFile("clock/planned")},
	}
}

func quietCases() []quietCase {
	const (
		reads, noops, order, churn, ignored, beside = "a data source or output", "nothing is to be done", "another order or spelling", "only computed", "ignored by the configuration", "not the stack's"
	)
	sql := func(db string, statements ...string) func(*driftWorld) {
		return func(w *driftWorld) { w.sql(db, statements...) }
	}
	file := func(name, content string) func(*driftWorld) {
		return func(w *driftWorld) { write(w.t, w.world(name), content) }
	}
	const quiet = `{ "Statement": [{ "Resource": "arn:aws:s3:::%[1]s/*", "Action": ["s3:GetObjectTagging", "s3:GetObject"], "Principal": {"AWS": "*"}, "Effect": "Allow" }],
		"Version": "2012-10-17" }`
	return []quietCase{
		{reads, "a table more, which a data source lists", sql("@_shop", "CREATE TABLE orders.line (n INT)")},
		{reads, "a schema more, which a data source lists", sql("@_shop", "CREATE SCHEMA attic")},
		{reads, "an output of what a data source lists", nil},
		{reads, "a file that a data source reads, for an output", file("clock/shown", "second\n")},
		{reads, "an object that a data source reads", nil},
		{reads, "an output with plantimestamp()", file("clock/now", "")},

		{noops, "a check that fails", nil},
		{noops, "a moved block that was applied", nil},
		{noops, "a removed block that was applied", nil},
		{noops, "an import block that was applied", nil},

		{order, "roles granted in another order", sql("", "REVOKE @_app, @_reader, @_path FROM @_team", "GRANT @_path TO @_team", "GRANT @_reader TO @_team", "GRANT @_app TO @_team")},
		{order, "privileges granted in another order", sql("@_shop", "REVOKE ALL ON SCHEMA orders FROM @_reader", "GRANT CREATE ON SCHEMA orders TO @_reader", "GRANT USAGE ON SCHEMA orders TO @_reader")},
		{order, "default privileges granted in another order", sql("@_shop",
			"ALTER DEFAULT PRIVILEGES FOR ROLE @_app IN SCHEMA orders REVOKE ALL ON TABLES FROM @_reader",
			"ALTER DEFAULT PRIVILEGES FOR ROLE @_app IN SCHEMA orders GRANT UPDATE, SELECT ON TABLES TO @_reader")},
		{order, "a bucket's policy with other whitespace and order, one element without its list", func(w *driftWorld) { w.policy("quiet", fmt.Sprintf(quiet, w.prefix+"-quiet")) }},
		{order, "null that is read back as an empty list", nil},

		{churn, "an object written again with the same content: another version", func(w *driftWorld) { w.put("quiet", "again.txt", "the same once more", "text/plain") }},
		{churn, "an object with other content: its hash is only computed, its content never read back", func(w *driftWorld) { w.put("quiet", "churn.txt", "by hand", "text/plain") }},
		{churn, "a file written again with the same content", file("files/rewritten", "as configured\n")},
		{churn, "a file's time", func(w *driftWorld) {
			if err := os.Chtimes(w.world("files/touched"), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
				w.t.Fatal(err)
			}
		}},
		{churn, "a file's mode, which its provider does not look at", func(w *driftWorld) {
			if err := os.Chmod(w.world("files/touched"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}},

		{ignored, "a connection limit", sql("", "ALTER ROLE @_elastic CONNECTION LIMIT 44")},
		{ignored, "a password", sql("", "SET password_encryption = 'md5'", "ALTER ROLE @_rotated PASSWORD '"+passwordByHand+"'")},
		{ignored, "a bucket's versioning", func(w *driftWorld) { w.versioning("quiet", types.BucketVersioningStatusSuspended) }},
		{ignored, "an input that follows a data source", nil},

		{beside, "another role", sql("", "CREATE ROLE @_other")},
		{beside, "another database", sql("", "CREATE DATABASE @_other")},
		{beside, "a comment on a role", sql("", "COMMENT ON ROLE @_app IS 'by hand'")},
		{beside, "another bucket", func(w *driftWorld) { w.bucket(w.prefix + "-other") }},
		{beside, "another object in a bucket", func(w *driftWorld) { w.put("quiet", "other.txt", "by hand", "text/plain") }},
		{beside, "another file", file("files/other", "by hand\n")},
	}
}

// driftTable keeps the table of all cases for people.
func driftTable(t *testing.T, found []driftCase, quiet []quietCase) {
	t.Helper()
	kinds := map[string]bool{}
	var b strings.Builder
	b.WriteString("# What is drift, on real systems\n\nMade of `internal/e2e/driftcases_test.go`; `make e2e` does all of it with Terraform and OpenTofu.\n\n## Found, as one item each\n\n| # | | what is done outside | object | told as |\n|---|---|---|---|---|\n")
	for i, c := range found {
		kinds[c.kind] = true
		told := string(c.want)
		if c.origin == plumbline.FromState {
			told += ", in the state"
		}
		fmt.Fprintf(&b, "| %d | %s | %s | `%s` of %s | %s |\n", i+1, c.kind, c.what, c.address, c.stack, told)
	}
	b.WriteString("\n## Not reported\n\n| # | | what |\n|---|---|---|\n")
	for i, c := range quiet {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", i+1, c.kind, c.what)
	}
	if len(found) < 30 || len(kinds) < 10 || len(quiet) < 30 {
		t.Fatalf("%d changes of %d kinds, and %d that are none", len(found), len(kinds), len(quiet))
	}
	const file = "testdata/drift/cases.md"
	if *update {
		write(t, file, b.String())
	}
	if want := read(t, file); b.String() != want {
		t.Errorf("%s is not the table of the cases: run with -update", file)
	}
}

// The hands that change things outside.

// world is the path of a file that stacks make or read.
func (w *driftWorld) world(name string) string { return filepath.Join(w.dir, "world", name) }

// named puts the prefix in place of "@".
func (w *driftWorld) named(s string) string { return strings.ReplaceAll(s, "@", w.prefix) }

// sql runs statements on one connection to a database, "" being the daemon's own.
func (w *driftWorld) sql(db string, statements ...string) {
	w.t.Helper()
	named := make([]string, len(statements))
	for i, s := range statements {
		named[i] = w.named(s)
	}
	path := ""
	if db != "" {
		path = "/" + w.named(db)
	}
	execSQL(w.t, w.dsn, path, named...)
}

func (w *driftWorld) list(query string) []string { return w.listOf("", query) }

func (w *driftWorld) listOf(db, query string) []string {
	w.t.Helper()
	config, err := pgx.ParseConfig(w.dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	if db != "" {
		config.Database = w.named(db)
	}
	ctx := context.WithoutCancel(w.t.Context())
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := conn.Query(ctx, query)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	if err := conn.Close(ctx); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *driftWorld) s3(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

func (w *driftWorld) bucket(name string) {
	w.t.Helper()
	_, err := w.minio.S3.CreateBucket(w.t.Context(), &s3.CreateBucketInput{Bucket: &name})
	if err != nil && !strings.Contains(err.Error(), "BucketAlreadyOwnedByYou") {
		w.s3("make the bucket "+name, err)
	}
}

func (w *driftWorld) noBucket(name string) {
	w.t.Helper()
	_, err := w.minio.S3.DeleteBucket(w.t.Context(), &s3.DeleteBucketInput{Bucket: aws.String(w.prefix + "-" + name)})
	w.s3("delete the bucket "+name, err)
}

func (w *driftWorld) versioning(bucket string, status types.BucketVersioningStatus) {
	w.t.Helper()
	_, err := w.minio.S3.PutBucketVersioning(w.t.Context(), &s3.PutBucketVersioningInput{
		Bucket: aws.String(w.prefix + "-" + bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: status},
	})
	w.s3("versioning of "+bucket, err)
}

func (w *driftWorld) expire(bucket string, days int32) {
	w.t.Helper()
	_, err := w.minio.S3.PutBucketLifecycleConfiguration(w.t.Context(), &s3.PutBucketLifecycleConfigurationInput{
		Bucket: aws.String(w.prefix + "-" + bucket),
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("expire"), Status: types.ExpirationStatusEnabled, Expiration: &types.LifecycleExpiration{Days: &days}, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
		}}},
	})
	w.s3("lifecycle of "+bucket, err)
}

func (w *driftWorld) policy(bucket, text string) {
	w.t.Helper()
	_, err := w.minio.S3.PutBucketPolicy(w.t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(w.prefix + "-" + bucket), Policy: &text})
	w.s3("policy of "+bucket, err)
}

func (w *driftWorld) put(bucket, name, content, kind string) {
	w.t.Helper()
	_, err := w.minio.S3.PutObject(w.t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(w.prefix + "-" + bucket), Key: &name, Body: bytes.NewReader([]byte(content)), ContentType: &kind,
	})
	w.s3("put "+name, err)
}

func (w *driftWorld) noObject(bucket, name string) {
	w.t.Helper()
	_, err := w.minio.S3.DeleteObject(w.t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(w.prefix + "-" + bucket), Key: &name})
	w.s3("delete "+name, err)
}

// stateCopy is somebody's own checkout of a stack, with the same state.
type stateCopy struct {
	*stack
	before   []byte // the state as it was
	restored bool
}

// copy is the checkout of a stack, which its first call makes.
func (w *driftWorld) copy(name string) *stateCopy {
	w.t.Helper()
	if c := w.copies[name]; c != nil {
		return c
	}
	c := &stateCopy{stack: newStack(w.t, w.engine, name, w.mirror, append(w.env, "TF_VAR_prefix="+w.prefix)...)}
	write(w.t, filepath.Join(c.dir, "main.tf"), w.files[name+"/main.tf"])
	c.run("init", "-input=false")
	c.before = c.run("state", "pull")
	w.copies[name] = c
	return c
}

// applying applies one resource from other files.
func (c *stateCopy) applying(address, old, with string) {
	c.t.Helper()
	main := filepath.Join(c.dir, "main.tf")
	was := read(c.t, main)
	if !strings.Contains(was, old) {
		c.t.Fatalf("%s has no %q", c.name, old)
	}
	write(c.t, main, strings.Replace(was, old, with, 1))
	c.run("apply", "-input=false", "-auto-approve", "-target="+address)
	write(c.t, main, was)
}

// importing takes something into the state that the repository does not have.
func (c *stateCopy) importing(address, block, id string) {
	c.t.Helper()
	file := filepath.Join(c.dir, "stray.tf")
	write(c.t, file, block)
	c.run("import", "-input=false", address, id)
	if err := os.Remove(file); err != nil {
		c.t.Fatal(err)
	}
}

// restore puts the state back as it was.
func (c *stateCopy) restore() {
	c.t.Helper()
	if c.restored {
		return
	}
	c.restored = true
	file := filepath.Join(c.dir, "before.tfstate")
	write(c.t, file, string(c.before))
	c.run("state", "push", "-force", file)
}
