package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// DataKeys has keys made and opened by a key of KMS that never leaves it. Plumbline's role needs kms:GenerateDataKey once, and kms:Decrypt with each start.
type DataKeys struct {
	account *Account
	key     string
	region  string
}

// DataKeys returns those of a key: its ARN, its ID, or alias/NAME.
func (a *Account) DataKeys(key string) (*DataKeys, error) {
	named := ""
	if part := strings.SplitN(key, ":", 6); len(part) == 6 && part[2] == "kms" {
		named = part[3]
	}
	region, err := a.in(named)
	if err != nil {
		return nil, err
	}
	return &DataKeys{account: a, key: key, region: region}, nil
}

// Generate makes a key of 32 bytes, in clear and wrapped. place is the encryption context.
func (d *DataKeys) Generate(ctx context.Context, place map[string]string) (plain, wrapped []byte, err error) {
	ctx, cancel := d.account.within(ctx)
	defer cancel()
	out, err := d.client().GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &d.key, KeySpec: types.DataKeySpecAes256, EncryptionContext: place})
	if err != nil {
		return nil, nil, d.explain("kms:GenerateDataKey", err)
	}
	return out.Plaintext, out.CiphertextBlob, nil
}

// Unwrap opens one that Generate has wrapped in the same place. Only the key that is configured is asked: who can write where the wrapped key lies could
// otherwise put one there that a key of theirs opens.
func (d *DataKeys) Unwrap(ctx context.Context, wrapped []byte, place map[string]string) ([]byte, error) {
	ctx, cancel := d.account.within(ctx)
	defer cancel()
	out, err := d.client().Decrypt(ctx, &kms.DecryptInput{KeyId: &d.key, CiphertextBlob: wrapped, EncryptionContext: place})
	if err != nil {
		return nil, d.explain("kms:Decrypt", err)
	}
	return out.Plaintext, nil
}

func (d *DataKeys) client() *kms.Client { return kms.NewFromConfig(d.account.config(d.region)) }

// explain adds what to do.
func (d *DataKeys) explain(operation string, err error) error {
	err = d.account.refused(operation, err)
	var told *Error
	if !errors.As(err, &told) {
		return err
	}
	next := ""
	switch told.Code {
	case "AccessDeniedException":
		next = "let the key's policy and Plumbline's role allow " + operation
	case "NotFoundException":
		next = "there is no such key or alias in " + d.region + "; correct encryption in the server block"
	case "DisabledException", "KMSInvalidStateException":
		next = "enable the key again, or cancel its deletion: without it nothing that is sealed can be read"
	case "IncorrectKeyException":
		next = "the artifacts were sealed under another key; point the alias back, or name that key"
	case "InvalidCiphertextException":
		next = "the wrapped key was made for another place, or was changed; restore it from where it was saved"
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, next)
}

// SDK is what a client of another service of AWS needs. region: default the account's.
func (a *Account) SDK(region string) (sdk.Config, error) {
	region, err := a.in(region)
	if err != nil {
		return sdk.Config{}, err
	}
	return a.config(region), nil
}
