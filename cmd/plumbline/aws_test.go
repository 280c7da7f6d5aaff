package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestValidateAsksAWS: a configuration whose token AWS keeps is read with what this machine knows of AWS, and the token is shown nowhere.
func TestValidateAsksAWS(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || !strings.Contains(r.Header.Get("Authorization"), "Credential=AKIATEST/") {
			t.Errorf("%s, %s, %v", r.Header, b, err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if strings.Contains(string(b), "gone") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"ResourceNotFoundException","Message":"no"}`))
			return
		}
		_, _ = w.Write([]byte(`{"Name":"x","SecretString":"{\"token\":\"glpat-kept-by-aws\"}"}`))
	}))
	defer srv.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_SECRETS_MANAGER": srv.URL,
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	validate := func(id string) (string, int) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "plumbline.hcl")
		text := "forge \"gitlab\" \"corp\" {\n  token = aws_secret(\"" + id + "\", \"token\")\n}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		code := run(t.Context(), []string{"validate", "--config", file, "--json"}, nil, &out, &errOut)
		return out.String() + errOut.String(), code
	}
	if out, code := validate("plumbline/gitlab"); code != exitDone || asked != 1 || strings.Contains(out, "glpat-kept-by-aws") {
		t.Errorf("exit code %d, asked %d times:\n%s", code, asked, out)
	}
	if out, code := validate("plumbline/gone"); code != exitUsage || !strings.Contains(out, `:2:11: the secret "plumbline/gone" is not there in eu-west-1; make it`) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// TestLendKeepsTheRegion: where the aws block names no region, the one in env of the environment holds, not the daemon's. In another region
// Terraform would find nothing of what it has made.
func TestLendKeepsTheRegion(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIATEST</AccessKeyId>
			<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer srv.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_STS": srv.URL,
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	account, err := aws.Load(t.Context(), aws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ block, env, want string }{{"", "us-east-1", "us-east-1"}, {"", "", "eu-west-1"}, {"eu-central-1", "", "eu-central-1"}} {
		clouds := &clouds{account: account, program: "/bin/false", log: zap.NewNop(), environment: func(plumbline.StackRef) (plumbline.Environment, bool) {
			return plumbline.Environment{AWS: plumbline.AWS{Region: c.block, PlanRole: "arn:aws:iam::111122223333:role/plan"}}, true
		}}
		job := plumbline.Job{Phase: plumbline.PhasePlan, Dir: t.TempDir()}
		if c.env != "" {
			job.Env = []plumbline.EnvVar{{Name: "AWS_REGION", Value: plumbline.NewSecret(c.env)}}
		}
		loan, err := clouds.Lend(t.Context(), plumbline.Run{ID: 1}, job)
		if err != nil {
			t.Fatal(err)
		}
		// The last of a name counts.
		got := map[string]string{}
		for _, v := range append(job.Env, loan.Env()...) {
			got[v.Name] = v.Value.Reveal()
		}
		if got["AWS_REGION"] != c.want || got["AWS_DEFAULT_REGION"] != c.want {
			t.Errorf("aws { region = %q }, env %q: Terraform is in %q, %q; want %q", c.block, c.env, got["AWS_REGION"], got["AWS_DEFAULT_REGION"], c.want)
		}
		if err := loan.End(); err != nil {
			t.Error(err)
		}
	}
}
