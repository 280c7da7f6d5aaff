package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
