package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// cloud is STS, and S3 with one bucket of states, in which whoever has the plan role may read and only the apply role may write.
type cloud struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	n       int
	refuse  bool              // no roles any more
	roles   map[string]string // access key to the name of its session
	assumed []string          // role, session and tags
	asked   []string          // "GET plan", "PUT apply" of S3
	objects map[string][]byte
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t, roles: map[string]string{}, objects: map[string][]byte{}}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

var accessKey = regexp.MustCompile(`Credential=([^/]+)/`)

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := ""
	if m := accessKey.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		key = m[1]
	}
	if r.URL.Path == "/" && r.Method == http.MethodPost {
		c.sts(w, r, key)
		return
	}
	role := c.roles[key]
	c.asked = append(c.asked, r.Method+" "+role)
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<Error><Code>%s</Code><Message>no</Message></Error>`, code)
	}
	body, ok := c.objects[r.URL.Path]
	switch {
	case role == "", r.Method != http.MethodGet && r.Method != http.MethodHead && role != "apply":
		refuse(http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodPut:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			c.t.Error(err)
		}
		c.objects[r.URL.Path] = b
	case r.URL.Query().Has("list-type"):
		fmt.Fprint(w, `<ListBucketResult><Name>states</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>`)
	case !ok:
		refuse(http.StatusNotFound, "NoSuchKey")
	default:
		_, _ = w.Write(body) // the client tells
	}
}

func (c *cloud) sts(w http.ResponseWriter, r *http.Request, key string) {
	if err := r.ParseForm(); err != nil {
		c.t.Error(err)
	}
	w.Header().Set("Content-Type", "text/xml")
	if key != "AKIADAEMON" {
		c.t.Errorf("%q asks STS for %s, which is the daemon's", key, r.Form.Get("Action"))
	}
	if r.Form.Get("Action") != "AssumeRole" || c.refuse {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
		return
	}
	arn := r.Form.Get("RoleArn")
	c.n++
	id := fmt.Sprintf("ASIARUN%06d", c.n)
	c.roles[id] = arn[strings.LastIndex(arn, "/")+1:]
	tags := map[string]string{}
	for i := 1; r.Form.Get(fmt.Sprintf("Tags.member.%d.Key", i)) != ""; i++ {
		tags[r.Form.Get(fmt.Sprintf("Tags.member.%d.Key", i))] = r.Form.Get(fmt.Sprintf("Tags.member.%d.Value", i))
	}
	c.assumed = append(c.assumed, fmt.Sprintf("%s %s %s %v", c.roles[id], r.Form.Get("RoleSessionName"), r.Form.Get("ExternalId"), tags))
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
		`<SecretAccessKey>lent-secret-%d-0123456789</SecretAccessKey><SessionToken>lent-token-%d-0123456789</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		id, c.n, c.n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func (c *cloud) config(dir string, engine testenv.Engine, mirror, forge string) string {
	return fmt.Sprintf(`
server {
  listen   = "127.0.0.1:0"
  data_dir = %q
}
terraform {
  engine = %q
  providers { mirror = %q }
}
%s
repository "infra" {
  forge   = "forge"
  project = "infra.git"
  poll    = "@every 1s"

  environment "production" {
    branch = "main"
    apply  = "approval"
    approval { count = 1 }
    aws {
      region      = "eu-west-1"
      plan_role   = "arn:aws:iam::111122223333:role/plan"
      apply_role  = "arn:aws:iam::111122223333:role/apply"
      external_id = "plumbline"
    }
  }
}
`, filepath.Join(dir, "data"), engine.Name, mirror, forge)
}

// TestRoles is the wall between plans and applies, with the real engine and its own AWS SDK: its S3 backend gets the plan role's credentials from
// `plumbline runner credentials` and reads the state, the apply role's and writes it. The daemon's own are nowhere.
func TestRoles(t *testing.T) {
	mirror := testenv.ProviderMirror(t)
	for _, engine := range testenv.Engines(t) {
		t.Run(engine.Name, func(t *testing.T) {
			c := newCloud(t)
			dir := tempDir(t)
			seen := filepath.Join(dir, "seen")
			stack := fmt.Sprintf(`
terraform {
  backend "s3" {
    bucket                      = "states"
    key                         = "net.tfstate"
    endpoints                   = { s3 = %q }
    use_path_style              = true
    skip_credentials_validation = true
    skip_requesting_account_id  = true
    skip_metadata_api_check     = true
    skip_region_validation      = true
    skip_s3_checksum            = true
  }
}
resource "terraform_data" "a" {
  input = "1"
  provisioner "local-exec" {
    command = "env > %s; cat $HOME/.aws/config >> %s"
  }
}
`, c.url, seen, seen)
			remote, forge := plainForge(t, dir, map[string]string{"live/net/main.tf": stack})
			write(t, filepath.Join(dir, "plumbline.hcl"), c.config(dir, engine, mirror, forge))
			env := environ(engine, "AWS_ACCESS_KEY_ID=AKIADAEMON", "AWS_SECRET_ACCESS_KEY=daemon-secret-0123456789", "AWS_ENDPOINT_URL_STS="+c.url, "AWS_EC2_METADATA_DISABLED=true")
			d := start(t, dir, env, "serve", "--config", "plumbline.hcl")
			d.await("kind=drift", "production/live/net", plumbline.StatePlanned)
			d.must("env", "deploy", "infra/production")
			run := d.await("kind=deploy", "production/live/net", plumbline.StateAwaiting)
			c.mu.Lock()
			for _, a := range c.asked {
				if a != "GET plan" && a != "HEAD plan" {
					t.Errorf("a plan asks for %q", a)
				}
			}
			c.asked = nil
			c.mu.Unlock()
			d.must("runs", "approve", run.ID.String(), "--digest", run.Plan.Digest)
			d.await("kind=deploy", "production/live/net", plumbline.StateApplied)
			c.mu.Lock()
			wrote := false
			for _, a := range c.asked {
				wrote = wrote || a == "PUT apply"
				if !strings.HasSuffix(a, " apply") {
					t.Errorf("an apply asks for %q", a)
				}
			}
			if want := fmt.Sprintf("apply plumbline-run-%s plumbline map[commit:%s environment:production kind:deploy repository:infra stack:live/net]", run.ID, run.Commit); !wrote || c.assumed[len(c.assumed)-1] != want {
				t.Errorf("wrote the state: %t, as %q, want %q", wrote, c.assumed[len(c.assumed)-1], want)
			}
			for _, a := range c.assumed[:len(c.assumed)-1] {
				if !strings.HasPrefix(a, "plan ") {
					t.Errorf("before the apply somebody took %q", a)
				}
			}
			c.refuse = true
			c.mu.Unlock()

			// What Terraform sees of it.
			got := read(t, seen)
			for _, secret := range []string{"AKIADAEMON", "daemon-secret", "lent-secret", "lent-token", "AWS_ACCESS_KEY_ID"} {
				if strings.Contains(got, secret) {
					t.Errorf("Terraform sees %s:\n%s", secret, got)
				}
			}
			for _, want := range []string{"AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=eu-west-1", " runner credentials "} {
				if !strings.Contains(got, want) {
					t.Errorf("Terraform does not see %s:\n%s", want, got)
				}
			}
			if out := d.must("audit", "list", "--json"); !strings.Contains(out, "arn:aws:iam::111122223333:role/apply/plumbline-run-"+run.ID.String()) {
				t.Errorf("the audit log does not say as whom it was applied:\n%s", out)
			}
			for _, secret := range []string{"daemon-secret", "lent-secret", "lent-token"} {
				if out := grep(t, filepath.Join(dir, "data"), secret); out != "" {
					t.Errorf("%s is left in %s", secret, out)
				}
			}

			// A role that is not given any more is a failure with the next step.
			testenv.Push(t, remote, testenv.Change{Branch: "main", Files: map[string]string{"live/net/main.tf": strings.Replace(stack, `"1"`, `"2"`, 1)}})
			failed := d.await("kind=deploy", "production/live/net", plumbline.StateFailed)
			if f := failed.Failure; f.Kind != plumbline.FailCredentials || !strings.Contains(f.Text, "AWS does not give the role arn:aws:iam::111122223333:role/plan") || !strings.Contains(f.Next, "sts:TagSession") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestArtifactsInS3: what runs leave behind is sealed in a bucket, under a key that KMS wraps, and read again by the next daemon.
func TestArtifactsInS3(t *testing.T) {
	mirror, kms, engine := testenv.ProviderMirror(t), testenv.KMS(t), testenv.Engines(t)[0]
	c := newCloud(t)
	c.roles["AKIADAEMON"] = "apply"
	dir := tempDir(t)
	_, forge := plainForge(t, dir, map[string]string{"live/net/main.tf": "resource \"terraform_data\" \"a\" {\n  input = \"a planted value\"\n}\n"})
	write(t, filepath.Join(dir, "plumbline.hcl"), fmt.Sprintf(`
server {
  listen     = "127.0.0.1:0"
  data_dir   = %q
  artifacts  = "s3://acme-plumbline/artifacts?region=eu-west-1"
  encryption = "aws-kms://arn:aws:kms:eu-west-1:111122223333:%s"
}
terraform {
  engine = %q
  providers { mirror = %q }
}
%s
repository "infra" {
  forge   = "forge"
  project = "infra.git"
  poll    = "@every 1s"

  environment "production" {
    branch = "main"
    apply  = "automatic"
  }
}
`, filepath.Join(dir, "data"), kms.Alias, engine.Name, mirror, forge))
	env := environ(engine, "AWS_ACCESS_KEY_ID=AKIADAEMON", "AWS_SECRET_ACCESS_KEY=daemon-secret-0123456789", "AWS_ENDPOINT_URL_S3="+c.url, "AWS_ENDPOINT_URL_KMS="+kms.URL, "AWS_EC2_METADATA_DISABLED=true")
	d := start(t, dir, env, "serve", "--config", "plumbline.hcl")
	run := d.await("kind=drift", "production/live/net", plumbline.StatePlanned)
	d.stop()
	d.again(env)
	if out := d.must("runs", "show", run.ID.String()); !strings.Contains(out, "a planted value") {
		t.Errorf("the plan cannot be read any more:\n%s", out)
	}
	if out := d.must("runs", "logs", run.ID.String()); !strings.Contains(out, "terraform_data.a") {
		t.Errorf("the log cannot be read any more:\n%s", out)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	sealed, keys := 0, 0
	for name, object := range c.objects {
		switch {
		case strings.HasSuffix(name, "+sealed") && strings.HasPrefix(name, "/acme-plumbline/artifacts/") && strings.HasPrefix(string(object), "plumseal"):
			sealed++
		case name == "/acme-plumbline/artifacts/key.kms":
			keys++
		default:
			t.Errorf("%s is in the bucket: %.80q", name, object)
		}
		if strings.Contains(string(object), "planted") {
			t.Errorf("%s is in clear", name)
		}
	}
	if sealed < 2 || keys != 1 {
		t.Errorf("%d blobs and %d wrapped keys", sealed, keys)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key file was made: %v", err)
	}
}

// grep returns the first file below a directory that has a text in it.
func grep(t *testing.T, dir, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || found != "" {
			return err
		}
		if strings.Contains(readIf(path), text) {
			found = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
