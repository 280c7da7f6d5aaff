package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Secret returns the current value of a secret of Secrets Manager by its name or ARN. Plumbline's role needs secretsmanager:GetSecretValue on it and, where it is
// encrypted with a key of its owner's, kms:Decrypt on the key.
func (a *Account) Secret(ctx context.Context, id string) (string, error) {
	what := fmt.Sprintf("the secret %q", text(id))
	region, err := a.in(regionIn(id, "secretsmanager"))
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	out, err := secretsmanager.NewFromConfig(a.config(region)).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", a.notRead("secretsmanager:GetSecretValue", what, region, err)
	}
	if out.SecretString == nil {
		return "", fmt.Errorf("%s is binary, and a text is needed; store it as one: %w", what, plumbline.ErrInvalid)
	}
	return *out.SecretString, nil
}

// Parameter returns a parameter of the Parameter Store by its name or ARN, decrypted. Plumbline's role needs ssm:GetParameter on it and, where it is encrypted
// with a key of its owner's, kms:Decrypt on the key.
func (a *Account) Parameter(ctx context.Context, name string) (string, error) {
	what := fmt.Sprintf("the parameter %q", text(name))
	region, err := a.in(regionIn(name, "ssm"))
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := a.within(ctx)
	defer cancel()
	out, err := ssm.NewFromConfig(a.config(region)).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: sdk.Bool(true)})
	if err != nil {
		return "", a.notRead("ssm:GetParameter", what, region, err)
	}
	if out.Parameter == nil || out.Parameter.Value == nil {
		return "", fmt.Errorf("%s: unexpected answer: it has no value", what)
	}
	return *out.Parameter.Value, nil
}

// regionIn is the region that an ARN names; "": it is none.
func regionIn(id, service string) string {
	if part := strings.SplitN(id, ":", 6); len(part) == 6 && part[0] == "arn" && part[2] == service {
		return part[3]
	}
	return ""
}

// notRead says why a value could not be had, and what to do.
func (a *Account) notRead(operation, what, region string, err error) error {
	err = a.refused(operation, err)
	var told *Error
	if !errors.As(err, &told) {
		return fmt.Errorf("%s in %s cannot be read: %w", what, region, err)
	}
	next := ""
	switch code := told.Code; {
	case code == "ResourceNotFoundException", code == "ParameterNotFound", code == "ParameterVersionNotFound":
		return &failure{what: fmt.Sprintf("%s is not there in %s; make it, correct its name, or write its ARN for another region", what, region), err: told}
	case strings.Contains(code, "AccessDenied"):
		next = "let Plumbline's role use " + operation + " on it, and kms:Decrypt on its key if that is one of yours"
	case code == "DecryptionFailure", code == "InvalidKeyId":
		next = "let Plumbline's role use kms:Decrypt on its key, and look whether the key is enabled"
	case code == "InvalidRequestException":
		next = "it is being deleted, or has no value yet; restore it, or give it one"
	default:
		return fmt.Errorf("%s in %s cannot be read: %w", what, region, err)
	}
	return &failure{what: fmt.Sprintf("%s in %s cannot be read (%s); %s", what, region, told.what(), next), err: told}
}

// Lazy is an account that is loaded when something is first asked of it.
type Lazy struct {
	conf Config
	once sync.Once
	a    *Account
	err  error
}

// NewLazy returns an account that asks nobody until it is needed.
func NewLazy(c Config) *Lazy { return &Lazy{conf: c} }

// Account loads it.
func (l *Lazy) Account(ctx context.Context) (*Account, error) {
	l.once.Do(func() { l.a, l.err = Load(ctx, l.conf) })
	return l.a, l.err
}
