package redact

import (
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/redact/redacttest"
)

func TestSecretName(t *testing.T) {
	for _, name := range strings.Fields(`
		PASSWORD password DB_PASSWORD db_password dbPassword db-password db.password PGPASSWORD MYSQL_PWD ADMIN_PASSWD KEY_PASSPHRASE PASSWORD_PROD
		DB_PASSWORD_2 PASSWORD2 master_password administrator_login_password password_wo MasterUserPassword
		TOKEN GITHUB_TOKEN github_token githubToken GITHUBToken ACCESS_TOKEN api-token X-Vault-Token _authToken NPM_AUTH_TOKEN AWS_SESSION_TOKEN token_value API_TOKENS
		SECRET CLIENT_SECRET clientSecret secret_string SECRET_KEY_BASE AWS_SECRET_ACCESS_KEY aws_secret_access_key secretAccessKey webhook_secret
		API_KEY api_key apikey apiKey APIKey X-API-Key DATADOG_API_KEY DD_APP_KEY STRIPE_KEY access_key storage_account_key primary_access_key
		PRIVATE_KEY private_key privateKey private_key_pem tls_private_key_pem SSH_PRIVATE_KEY ssh_key ENCRYPTION_KEY client_key_data license_key
		CREDENTIALS GOOGLE_CREDENTIALS google_credentials_json db_creds GITHUB_PAT AZURE_DEVOPS_EXT_PAT connection_string DOCKER_AUTH_CONFIG sas_token`) {
		if !SecretName(name) {
			t.Errorf("%s is not taken for a secret's", name)
		}
	}
	for _, name := range strings.Fields(`
		AWS_ACCESS_KEY_ID access_key_id KEY_ID kms_key_id kmsKeyId KEY_NAME key_name keyName key_pair key_pair_id KEY kms_key kms_key_arn kms_master_key_id
		public_key ssh_public_key PUBLIC_KEY publicKey public_key_pem publishable_key partition_key sort_key hash_key range_key primary_key foreign_key cache_key
		SECRET_NAME SECRET_ARN secret_arn secretName master_user_secret_arn TOKEN_URL token_endpoint token_type TOKEN_TTL password_policy password_length
		PASSWORD_FILE password_rotation_days min_password_length token_count creation_token client_request_token next_token
		object_key bucket_key s3_key tag_key tags keys monkey path PATH compat patch author authorization_type secretsmanager credentials_path
		PWD OLDPWD HOME USER TF_VAR_region name id arn tokenizer keyboard "" _ __ 123`) {
		name = strings.Trim(name, `"`)
		if SecretName(name) {
			t.Errorf("%s is taken for a secret's", name)
		}
	}
}

func TestSecretValue(t *testing.T) {
	for _, v := range []string{
		"hunter22", "opensesame", "correct horse battery staple", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "d41d8cd98f00b204e9800998ecf8427e",
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8", "p4ss/w0rd", "Zm9vYmFyYmF6cXV4cXV1eA==", "pässwörd", "postgres://app:hunter22@db.example.com/app",
		"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", `{"type":"service_account","private_key":"x"}`, "!!!!????", "s.k3yW1thD0ts",
		"/abc+def123XYZ/q9==", "AKIAIOSFODNN7EXAMPLE",
	} {
		if !SecretValue(v) {
			t.Errorf("%q is not worth masking", v)
		}
	}
	for _, v := range []string{
		"", "a", "short", "1234567", "true", "false", "disabled", "PASSWORD", "production", "undefined", "12345678", "1.234.5678", "-12345678", "2024-05-01", "2024-05-01T12:00:00Z",
		"arn:aws:iam::123456789012:role/x", "alias/app", "prod/db/master", "/etc/ssl/private/key.pem", "./secrets/db", "~/.aws/credentials", "eu-west-2", "us-gov-west-1",
		"https://example.com/path", "http://user@example.com/", "10.0.0.0/16", "192.168.100.200", "2001:db8::1234", "db.internal.example.com:5432", "1h30m0s500ms",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ops@example.com", "-----BEGIN PUBLIC KEY-----\nMIIB\n",
		"-----BEGIN CERTIFICATE-----\nMIID\n", "${var.password}", "$DB_PASSWORD", "{{ .Password }}", "<password>", "********", "(sensitive)", "(known after apply)", "(sensitive value)", "  true  \n",
	} {
		if SecretValue(v) {
			t.Errorf("%q is worth masking", v)
		}
	}
}

// What is made by chance must not be taken for a name that somebody gave.
func TestSecretValueOfTheCorpus(t *testing.T) {
	for _, s := range redacttest.Secrets() {
		if s.Kind != "database" && len(s.Value) >= MinValue && !SecretValue(s.Value) {
			t.Errorf("%s: %q is not worth masking", s.Name, s.Value)
		}
	}
}
