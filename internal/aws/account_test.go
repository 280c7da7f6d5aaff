package aws_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestSources loads credentials from everywhere that AWS puts them.
func TestSources(t *testing.T) {
	const answer = `{"AccessKeyId":"ASIACONTAINER","SecretAccessKey":"secret","Token":"token","Expiration":"2099-01-01T00:00:00Z"}`
	serve := func(t *testing.T, pages map[string]string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, ok := pages[r.URL.Path]
			if !ok {
				http.NotFound(w, r)
				return
			}
			if r.URL.Path == "/latest/api/token" {
				w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			}
			_, _ = w.Write([]byte(body)) // the client tells
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	write := func(t *testing.T, name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name, want, region string
		set                func(t *testing.T)
	}{
		{"environment", "AKIAENV", "us-east-2", func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
			t.Setenv("AWS_REGION", "us-east-2")
		}},
		{"profile", "AKIAPROFILE", "eu-central-1", func(t *testing.T) {
			t.Setenv("AWS_CONFIG_FILE", write(t, "config", "[profile ops]\nregion = eu-central-1\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n"))
			t.Setenv("AWS_PROFILE", "ops")
		}},
		{"ECS task or EKS Pod Identity", "ASIACONTAINER", "", func(t *testing.T) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", serve(t, map[string]string{"/creds": answer})+"/creds")
		}},
		{"EC2 instance", "ASIAINSTANCE", "", func(t *testing.T) {
			t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", serve(t, map[string]string{
				"/latest/api/token":                           "token",
				"/latest/meta-data/iam/security-credentials/": "plumbline",
				"/latest/meta-data/iam/security-credentials/plumbline": `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAINSTANCE",` +
					`"SecretAccessKey":"secret","Token":"token","Expiration":"2099-01-01T00:00:00Z"}`,
			}))
		}},
		{"web identity (IRSA)", "ASIAPOD", "eu-west-1", func(t *testing.T) {
			t.Setenv("AWS_REGION", "eu-west-1")
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/plumbline")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, "token", "eyJ.pod.token"))
			t.Setenv("AWS_ENDPOINT_URL_STS", serve(t, map[string]string{"/": `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">` +
				`<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAPOD</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>` +
				`<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			quiet(t)
			c.set(t)
			a, err := aws.Load(t.Context(), aws.Config{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Credentials().Retrieve(t.Context())
			if err != nil || got.AccessKeyID != c.want || a.Region() != c.region {
				t.Errorf("%s in %q, %v, want %s in %q", got.AccessKeyID, a.Region(), err, c.want, c.region)
			}
		})
	}
}

// TestNoCredentials: whoever sets a machine up reads what is missing, not how the SDK is built.
func TestNoCredentials(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(t *testing.T)
	}{
		{"nothing at all", "there are none in the environment nor in ~/.aws", func(*testing.T) {}},
		{"a profile that is not there", `there is no profile "opps"`, func(t *testing.T) { t.Setenv("AWS_PROFILE", "opps") }},
		{"a token that cannot be read", "the web identity of this pod cannot be used", func(t *testing.T) {
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/plumbline")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(t.TempDir(), "gone"))
			t.Setenv("AWS_REGION", region)
		}},
		{"a container without an agent", "the credentials endpoint of this container", func(t *testing.T) {
			srv := httptest.NewServer(http.NotFoundHandler())
			srv.Close()
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", srv.URL)
		}},
		{"a process that fails", "the credential_process of the profile failed", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(path, []byte("[default]\ncredential_process = false\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", path)
		}},
		{"a role that the pod may not have", "AWS gives none for the role of this machine: 403 AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity", func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/xml")
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>`))
			}))
			t.Cleanup(srv.Close)
			token := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(token, []byte("eyJ"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_REGION", region)
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/plumbline")
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
			t.Setenv("AWS_ENDPOINT_URL_STS", srv.URL)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			quiet(t)
			c.set(t)
			a, err := aws.Load(t.Context(), aws.Config{Timeout: 10 * time.Second})
			if err == nil {
				_, err = a.Credentials().Retrieve(t.Context())
			}
			var told *aws.CredentialsError
			if !errors.As(err, &told) || !strings.Contains(told.Error(), c.want) || strings.Contains(told.Error(), "\n") {
				t.Errorf("%v, want %q", err, c.want)
			}
			if !aws.Temporary(err) {
				t.Error("not temporary: a credential that is missing now may come")
			}
		})
	}
}

// TestSlowCredentials: a source that takes a connection and says nothing costs the time that is set, no more.
func TestSlowCredentials(t *testing.T) {
	quiet(t)
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://"+silent.Addr().String()+"/")
	a, err := aws.Load(t.Context(), aws.Config{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Credentials().Retrieve(t.Context())
	var told *aws.CredentialsError
	if !errors.As(err, &told) || !strings.Contains(told.Error(), "does not answer") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Credentials().Retrieve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was given up", err)
	}
}

func TestIdentity(t *testing.T) {
	f := newFake(t)
	f.on("sts:GetCallerIdentity", whoami)
	a := f.load(t)
	for range 2 {
		who, err := a.Identity(t.Context())
		if err != nil || who != "arn:aws:sts::111122223333:assumed-role/plumbline/daemon" {
			t.Fatalf("%s, %v", who, err)
		}
	}
	if got := f.asked("sts:GetCallerIdentity"); len(got) != 1 || got[0].Host != "sts.eu-west-1.amazonaws.com" || got[0].Key != keyID {
		t.Errorf("asked %+v, want once, in the region, as the daemon", got)
	}
}

// TestRefusals: what AWS says gets a kind, and no secret gets out.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		code, message, want string
		status              int
		kind                error
		temporary           bool
	}{
		{code: "AccessDenied", status: 403, message: "User is not authorized", kind: plumbline.ErrDenied, want: "403 AccessDenied: User is not authorized"},
		{code: "InvalidClientTokenId", status: 403, message: "The security token is invalid.", kind: plumbline.ErrDenied, want: "InvalidClientTokenId"},
		{code: "SignatureDoesNotMatch", status: 403, message: "x-amz-security-token:" + session, kind: plumbline.ErrDenied, want: "403 SignatureDoesNotMatch"},
		{code: "SignatureDoesNotMatch", status: 403, message: "Signature expired: 20261101T000000Z is now earlier than 20261101T010000Z", kind: plumbline.ErrDenied, want: "the clock of this machine is wrong"},
		{code: "ExpiredToken", status: 403, message: "The security token included in the request is expired", temporary: true, want: "ExpiredToken"},
		{code: "Throttling", status: 400, message: "Rate exceeded", temporary: true, want: "Rate exceeded (again after "},
		{code: "InternalFailure", status: 500, message: "We are sorry", temporary: true, want: "500 InternalFailure"},
		{code: "ValidationError", status: 400, message: "bad " + secret + "\nin two lines", kind: plumbline.ErrInvalid, want: "bad (sensitive) in two lines"},
	} {
		t.Run(c.code, func(t *testing.T) {
			f := newFake(t)
			f.on("sts:GetCallerIdentity", func(call) reply { return reply{status: c.status, code: c.code, message: c.message} })
			conf := f.config()
			conf.Timeout = time.Minute
			a := load(t, conf)
			var err error
			synctest.Test(t, func(t *testing.T) { _, err = a.Identity(t.Context()) }) // what is temporary is asked for again
			if err == nil || !strings.Contains(err.Error(), c.want) || aws.Temporary(err) != c.temporary || c.kind != nil && !errors.Is(err, c.kind) {
				t.Errorf("%v (temporary: %t), want %q, %v", err, aws.Temporary(err), c.want, c.kind)
			}
			for _, s := range []string{secret, session} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("%v repeats a secret", err)
				}
			}
			var again *plumbline.Retry
			if errors.As(err, &again) != (c.code == "Throttling") {
				t.Errorf("%v names a time: %t", err, again != nil)
			}
		})
	}
}

func TestRegions(t *testing.T) {
	f := newFake(t)
	conf := f.config()
	conf.Region = "Ireland"
	quiet(t)
	if _, err := aws.Load(t.Context(), conf); !errors.Is(err, plumbline.ErrInvalid) {
		t.Errorf("%v, want that it is no region", err)
	}
	conf.Region = ""
	if _, err := load(t, conf).Identity(t.Context()); !errors.Is(err, plumbline.ErrInvalid) || !strings.Contains(err.Error(), "set AWS_REGION") {
		t.Errorf("%v, want what to set", err)
	}
}
