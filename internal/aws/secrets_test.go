package aws_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// TestSecrets holds requests and answers against those that AWS publishes with its SDK.
func TestSecrets(t *testing.T) {
	f := newFake(t)
	f.on("secretsmanager:GetSecretValue", func(c call) reply {
		return reply{body: map[string]any{
			"ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:plumbline/gitlab-AbCdEf", "Name": "plumbline/gitlab", "CreatedDate": 1.7e9,
			"VersionId": "a1b2", "VersionStages": []any{"AWSCURRENT"}, "SecretString": "value of " + c.JSON["SecretId"].(string),
		}}
	})
	f.on("ssm:GetParameter", func(c call) reply {
		return reply{body: map[string]any{"Parameter": map[string]any{
			"ARN": "arn:aws:ssm:eu-west-1:111122223333:parameter/plumbline/x", "Name": c.JSON["Name"], "Type": "SecureString", "Value": "value of " + c.JSON["Name"].(string), "Version": 3.0,
			"LastModifiedDate": 1.7e9, "DataType": "text",
		}}}
	})
	a := f.load(t)
	for _, c := range []struct {
		operation, id, region string
		ask                   func(string) (string, error)
	}{
		{"secretsmanager:GetSecretValue", "plumbline/gitlab", "eu-west-1", func(id string) (string, error) { return a.Secret(t.Context(), id) }},
		{"secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-2:111122223333:secret:x-AbCdEf", "us-east-2", func(id string) (string, error) { return a.Secret(t.Context(), id) }},
		{"ssm:GetParameter", "/plumbline/x", "eu-west-1", func(id string) (string, error) { return a.Parameter(t.Context(), id) }},
		{"ssm:GetParameter", "arn:aws:ssm:us-east-2:111122223333:parameter/x", "us-east-2", func(id string) (string, error) { return a.Parameter(t.Context(), id) }},
	} {
		got, err := c.ask(c.id)
		if err != nil || got != "value of "+c.id {
			t.Errorf("%s: %q, %v", c.id, got, err)
		}
		asked := f.asked(c.operation)
		if len(asked) != 1 || asked[0].Region != c.region || c.operation == "ssm:GetParameter" && asked[0].JSON["WithDecryption"] != true {
			t.Errorf("%s: asked %+v", c.id, asked)
		}
	}
}

// TestSecretRefusals: whoever reads the message knows which secret is meant and what to do; the value is in none.
func TestSecretRefusals(t *testing.T) {
	for _, c := range []struct {
		operation, code, want string
		status                int
		kind                  error
	}{
		{"secretsmanager:GetSecretValue", "ResourceNotFoundException", `the secret "plumbline/x" is not there in eu-west-1; make it, correct its name`, 400, plumbline.ErrNotFound},
		{"secretsmanager:GetSecretValue", "AccessDeniedException", "let Plumbline's role use secretsmanager:GetSecretValue on it, and kms:Decrypt", 400, plumbline.ErrDenied},
		{"secretsmanager:GetSecretValue", "DecryptionFailure", "let Plumbline's role use kms:Decrypt on its key", 400, plumbline.ErrInvalid},
		{"secretsmanager:GetSecretValue", "InvalidRequestException", "it is being deleted, or has no value yet", 400, plumbline.ErrInvalid},
		{"secretsmanager:GetSecretValue", "InvalidParameterException", `the secret "plumbline/x" in eu-west-1 cannot be read: secretsmanager:GetSecretValue: 400 InvalidParameterException: because`, 400, plumbline.ErrInvalid},
		{"ssm:GetParameter", "ParameterNotFound", `the parameter "plumbline/x" is not there in eu-west-1`, 400, plumbline.ErrNotFound},
		{"ssm:GetParameter", "InvalidKeyId", "look whether the key is enabled", 400, plumbline.ErrInvalid},
		{"ssm:GetParameter", "AccessDeniedException", "let Plumbline's role use ssm:GetParameter on it", 400, plumbline.ErrDenied},
	} {
		f := newFake(t)
		f.on(c.operation, func(call) reply { return reply{status: c.status, code: c.code, message: "because"} })
		a := f.load(t)
		ask := a.Secret
		if strings.HasPrefix(c.operation, "ssm") {
			ask = a.Parameter
		}
		_, err := ask(t.Context(), "plumbline/x")
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.code, err, c.want)
		}
	}
	f := newFake(t)
	f.on("secretsmanager:GetSecretValue", func(call) reply { return reply{body: map[string]any{"Name": "x", "SecretBinary": "Ynl0ZXM="}} })
	if _, err := f.load(t).Secret(t.Context(), "x"); !errors.Is(err, plumbline.ErrInvalid) || !strings.Contains(err.Error(), "is binary") {
		t.Errorf("%v", err)
	}
	conf := f.config()
	conf.Region = ""
	if _, err := load(t, conf).Secret(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "set AWS_REGION") {
		t.Errorf("%v", err)
	}
}

// TestLazy: an account that is never asked loads nothing, and one that cannot be loaded says so each time.
func TestLazy(t *testing.T) {
	quiet(t)
	t.Setenv("AWS_PROFILE", "gone")
	l := aws.NewLazy(aws.Config{})
	for range 2 {
		if _, err := l.Account(t.Context()); err == nil || !strings.Contains(err.Error(), `there is no profile "gone"`) {
			t.Errorf("%v", err)
		}
	}
}
