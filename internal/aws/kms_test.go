package aws_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/plumbline/plumbline/internal/artifact"
	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// TestDataKeys wraps the key of the artifacts with a KMS that nobody here wrote.
func TestDataKeys(t *testing.T) {
	k := testenv.KMS(t)
	a := load(t, aws.Config{Region: k.Region, Endpoint: k.URL, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, session)})
	keys := func(name string) *aws.DataKeys {
		t.Helper()
		d, err := a.DataKeys(name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	file, place := artifact.LocalFile(filepath.Join(t.TempDir(), "key.kms")), map[string]string{"plumbline": "artifacts", "store": "s3://acme/artifacts"}
	one, err := artifact.LoadWrapped(t.Context(), keys(k.Alias), file, place)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := artifact.LoadWrapped(t.Context(), keys(k.Alias), file, place); err != nil || again != one {
		t.Errorf("another key after a restart: %v", err)
	}
	// Carried to another store, it does not open.
	if _, err := artifact.LoadWrapped(t.Context(), keys(k.Alias), file, map[string]string{"plumbline": "artifacts", "store": "s3://evil/artifacts"}); !errors.Is(err, plumbline.ErrInvalid) ||
		!strings.Contains(err.Error(), "the wrapped key was made for another place") {
		t.Errorf("%v", err)
	}
	// Another key of KMS does not open it, whoever may use that one.
	if _, err := artifact.LoadWrapped(t.Context(), keys(k.Other), file, place); err == nil || !strings.Contains(err.Error(), "kms:Decrypt") {
		t.Errorf("%v", err)
	}
	if _, err := artifact.LoadWrapped(t.Context(), keys("alias/gone"), file, place); !errors.Is(err, plumbline.ErrNotFound) || !strings.Contains(err.Error(), "there is no such key or alias in eu-west-1") {
		t.Errorf("%v", err)
	}
}

// TestKMSRequests holds what is sent against the requests that AWS publishes with its SDK, and gives each refusal its next step.
func TestKMSRequests(t *testing.T) {
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	f := newFake(t)
	plain := bytes.Repeat([]byte{7}, 32)
	f.on("kms:GenerateDataKey", func(call) reply {
		return reply{body: map[string]any{"KeyId": arn, "Plaintext": base64.StdEncoding.EncodeToString(plain), "CiphertextBlob": base64.StdEncoding.EncodeToString([]byte("wrapped"))}}
	})
	f.on("kms:Decrypt", func(call) reply {
		return reply{body: map[string]any{"KeyId": arn, "Plaintext": base64.StdEncoding.EncodeToString(plain), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}
	})
	a := f.load(t)
	d, err := a.DataKeys(arn)
	if err != nil {
		t.Fatal(err)
	}
	place := map[string]string{"store": "here"}
	got, wrapped, err := d.Generate(t.Context(), place)
	if err != nil || !bytes.Equal(got, plain) || string(wrapped) != "wrapped" {
		t.Errorf("%q, %q, %v", got, wrapped, err)
	}
	if got, err = d.Unwrap(t.Context(), wrapped, place); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	for operation, want := range map[string]map[string]any{
		"kms:GenerateDataKey": {"KeyId": arn, "KeySpec": "AES_256"},
		"kms:Decrypt":         {"KeyId": arn, "CiphertextBlob": base64.StdEncoding.EncodeToString([]byte("wrapped"))},
	} {
		asked := f.asked(operation)
		if len(asked) != 1 || asked[0].Host != "kms.eu-central-1.amazonaws.com" {
			t.Fatalf("%s: %+v", operation, asked)
		}
		if where, ok := asked[0].JSON["EncryptionContext"].(map[string]any); !ok || where["store"] != "here" {
			t.Errorf("%s in %v", operation, asked[0].JSON["EncryptionContext"])
		}
		delete(asked[0].JSON, "EncryptionContext")
		if !maps.Equal(asked[0].JSON, want) {
			t.Errorf("%s: %v, want %v", operation, asked[0].JSON, want)
		}
	}
	for code, want := range map[string]string{
		"AccessDeniedException": "let the key's policy and Plumbline's role allow kms:Decrypt", "DisabledException": "enable the key again", "KMSInvalidStateException": "cancel its deletion",
		"IncorrectKeyException": "point the alias back", "InvalidCiphertextException": "restore it", "NotFoundException": "no such key or alias in eu-central-1", "DependencyTimeoutException": "DependencyTimeoutException",
	} {
		f.on("kms:Decrypt", func(call) reply { return reply{code: code, message: "no"} })
		_, err := d.Unwrap(t.Context(), wrapped, place)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", code, err, want)
		}
	}
}
