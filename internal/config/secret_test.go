package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/config"
)

// whole is a configuration with %s where one setting comes, by the name of its block.
var whole = map[string]string{
	"server":      "server {\n  %s\n}\n",
	"terraform":   "terraform {\n  %s\n}\n",
	"providers":   "terraform {\n  providers {\n    %s\n  }\n}\n",
	"gitea":       "forge \"gitea\" \"corp\" {\n  %s\n}\n",
	"git":         "forge \"git\" \"corp\" {\n  %s\n}\n",
	"repository":  "repository \"infra\" {\n  %s\n}\n",
	"proposals":   "repository \"infra\" {\n  proposals {\n    %s\n  }\n}\n",
	"environment": "repository \"infra\" {\n  environment \"e\" {\n    %s\n  }\n}\n",
	"approval":    "repository \"infra\" {\n  environment \"e\" {\n    approval {\n      %s\n    }\n  }\n}\n",
	"oidc":        "auth {\n  oidc {\n    %s\n  }\n}\n",
	"role":        "auth {\n  role \"approver\" {\n    %s\n  }\n}\n",
	"user":        "auth {\n  user \"alice\" {\n    %s\n  }\n}\n",
	"window":      "repository \"infra\" {\n  environment \"e\" {\n    window \"w\" {\n      %s\n    }\n  }\n}\n",
	"freeze":      "repository \"infra\" {\n  environment \"e\" {\n    freeze \"f\" {\n      %s\n    }\n  }\n}\n",
	"signed":      "repository \"infra\" {\n  environment \"e\" {\n    signed {\n      %s\n    }\n  }\n}\n",
	"drift":       "repository \"infra\" {\n  environment \"e\" {\n    drift {\n      %s\n    }\n  }\n}\n",
}

var settings = map[string][]string{
	"server":      {"listen", "public_url", "data_dir", "database", "workers", "encryption", "node", "artifacts", "nonsense"},
	"terraform":   {"engine", "version", "install"},
	"providers":   {"mirror"},
	"gitea":       {"url", "token", "username", "password", "ssh_key", "known_hosts", "notes"},
	"git":         {"url", "token", "username", "password", "ssh_key", "known_hosts", "notes"},
	"repository":  {"forge", "project", "poll"},
	"proposals":   {"drafts", "forks", "signed"},
	"environment": {"branch", "include", "exclude", "apply", "order", "promotes_to", "checks", "policies", "vars", "backend", "env"},
	"approval":    {"count", "from", "not", "expires", "carry", "forge", "scope"},
	"oidc":        {"issuer", "client_id", "client_secret", "scopes", "groups_claim", "name_claim", "redirect_url"},
	"role":        {"users", "groups", "environments"},
	"user":        {"also", "groups"},
	"window":      {"allow", "for", "timezone"},
	"freeze":      {"from", "until", "reason", "timezone"},
	"signed":      {"commits", "keys"},
	"drift":       {"schedule", "timezone"},
}

// TestNoSecretInDiagnostics puts a secret from the environment wherever a value can stand, in ways that are mistakes nearly everywhere.
// The secrets are also shorter than what is masked by value, so that a message that quotes one is found.
func TestNoSecretInDiagnostics(t *testing.T) {
	secrets := []string{"Zq9", "Zq9 hunter2", "-Zq9", "https://user:Zq9@host/x?Zq9=1#Zq9", "user:Zq9@host", "postgres://u:Zq9@/db?password=Zq9", "0 99 Zq9 * *",
		`{"Zq9 Zq9":"Zq9"}`, `["Zq9","Zq9 *["]`, "/Zq9", "../Zq9", "Zq9[", "-----BEGIN Zq9\n", "@Zq9", "@every Zq9", "{Zq9}", " Zq9\n", "sqlite:Zq9", "file://Zq9", "aws-kms://Zq9",
		"http://Zq9", "group:Zq9", "user:Zq9/x", "role:Zq9", "Zq9:x", "Zq9/Zq9", "Zq9.pub", "ssh-Zq9", "-----BEGIN PGP PUBLIC KEY BLOCK-----\nZq9"}
	expressions := []string{`env("S")`, `"x ${env("S")}"`, `[env("S")]`, `{ (env("S")) = 1 }`, `{ x = env("S") }`, `{ "a b" = env("S") }`, `{ TF_LOG = env("S") }`,
		`tonumber(env("S"))`, `tobool(env("S"))`, `jsondecode(env("S"))`, `regex(env("S"), "a")`, `regex("a", env("S"))`, `file(env("S"))`, `env(env("S"))`, `format("%d", env("S"))`, `format(env("S"), 1)`,
		`{}[env("S")]`, `lookup({}, env("S"))`, `env("S") + 1`, `env("S") ? 1 : 2`, `env("S").x`, `[for x in env("S") : x]`, `{ for x in [env("S"), env("S")] : x => 1 }`, `upper(env("S"), 1)`,
		`trimspace(nosuch(env("S")))`, `keys(env("S"))`, `jsondecode("{\"a\": ${env("S")}}")`, `substr(env("S"), 99, "x")`}
	mistakes := 0
	for block, names := range settings {
		for _, name := range names {
			for i, e := range expressions {
				values := secrets
				if i >= 7 { // from here on the call fails, whatever the setting
					values = secrets[:3]
				}
				for _, secret := range values {
					src := fmt.Sprintf(whole[block], name+" = "+e)
					sys := config.System{Getenv: func(n string) (string, bool) { return secret, n == "S" }}
					_, err := config.Parse(map[string][]byte{"c.hcl": []byte(src)}, sys)
					if err == nil {
						continue
					}
					mistakes++
					if strings.Contains(strings.ToLower(err.Error()), "zq9") {
						t.Fatalf("S=%q\n%s\n%v", secret, src, err)
					}
				}
			}
		}
	}
	if mistakes < 5000 {
		t.Errorf("only %d mistakes were provoked", mistakes)
	}
}

// TestNoLiteralSecretInSource writes secrets into the file itself, beside mistakes of all degrees.
func TestNoLiteralSecretInSource(t *testing.T) {
	for _, src := range []string{
		"forge \"gitea\" \"c\" {\n  token = \"Zq9\n}\n",
		"forge \"gitea\" \"c\" {\n  token = \"Zq9\" nonsense\n}\n",
		"forge \"gitea\" \"c\" {\n  token = \"\n  Zq9 =\" = {\n}\n",
		"forge \"gitea\" \"c\" {\n  token = \" Zq9\"\n}\n",
		"forge \"gitea\" \"c\" {\n  token = \"Zq9\"\n  token = \"Zq9\"\n}\n",
		"forge \"gitea\" \"c\" {\n  token = <<E\nZq9${nosuch}\nE\n}\n",
		"forge \"gitea\" \"c\" {\n  token = <<E\nZq9\nZq9 ${\nE\n}\n",
		"forge \"gitea\" \"c\" {\n  token = <<E\nZq9\n",
		"forge \"gitea\" \"c\" { token = \"Zq9\", x }\n",
		"forge \"gitea\" \"c\" {\n  url = \"https://u:Zq9@host\"\n}\n",
		"forge \"git\" \"c\" {\n  url = \"u:Zq9@host\"\n}\n",
		"forge \"git\" \"c\" {\n  url = \"ssh://u:Zq9@host/%zz\"\n}\n",
		"forge \"git\" \"c\" {\n  ssh_key = \"-----BEGIN KEY-----\\nZq9 and more\"\n}\n",
		"server {\n  database = \"postgres://u:Zq9@/db\"\n}\n",
		"server {\n  database = \"postgres://u:Zq9@h:port/%zz\"\n}\n",
		"server {\n  database = \"mysql://h/db?password=Zq9\"\n}\n",
		"forge \"gitea\" \"c\" {\n  token = Zq9\n}\n",
		"forge \"gitea\" \"c\" {\n  token = Zq9.x\n}\n",
		"forge \"gitea\" \"c\" {\n  token = trimspac(\"Zq9\")\n}\n",
		"forge \"gitea\" \"c\" {\n  token = format(\"%s%d\", env(\"NONE\"), \"Zq9\")\n}\n",
		"server {\n  public_url = \"ftp://u:Zq9@host\"\n}\n",
		"server {\n  encryption = \"aws-kms://u:Zq9@host\"\n}\n",
		"repository \"r\" {\n  project = \"https://u:Zq9@host\"\n}\n",
		"server {\n  artifacts = \"https://u:Zq9@host\"\n}\n",
		"auth {\n  oidc {\n    client_secret = \"Zq9\"\n    client_secret = \"Zq9\"\n  }\n}\n",
		"auth {\n  oidc {\n    issuer = \"https://u:Zq9@host\"\n  }\n}\n",
		"repository \"r\" {\n  environment \"e\" {\n    signed {\n      keys = [\"-----BEGIN OPENSSH PRIVATE KEY-----\\nZq9\"]\n    }\n  }\n}\n",
		"repository \"r\" {\n  environment \"e\" {\n    signed {\n      keys = [<<K\n-----BEGIN OPENSSH PRIVATE KEY-----\nZq9\nK\n      ]\n    }\n  }\n}\n",
		"auth {\n  client_secret = \"Zq9\"\n}\nforge \"gitea\" \"c\" {\n  webhook_secret = \"Zq9\"\n}\n",
		"repository \"r\" {\n  environment \"e\" {\n    vars = { \"a b\" = 1, db_password = \"Zq9\" }\n  }\n}\n",
	} {
		_, err := config.Parse(map[string][]byte{"c.hcl": []byte(src)}, config.System{})
		if err == nil {
			t.Errorf("accepted:\n%s", src)
		} else if strings.Contains(err.Error(), "Zq9") {
			t.Errorf("%s\n%v", src, err)
		}
	}
}

// TestConfigPrintsNoSecret prints a good configuration in every common way.
func TestConfigPrintsNoSecret(t *testing.T) {
	src := `
server { database = "postgres://u:planted%40dsn@db/plumbline?sslpassword=planted-ssl" }
auth {
  oidc {
    issuer        = "http://localhost"
    client_id     = "c"
    client_secret = "planted-client"
  }
}
forge "gitea" "c" {
  url   = "https://gitea.example.com"
  token = "planted-literal"
}
repository "r" {
  forge   = "c"
  project = "o/n"
  environment "e" {
    branch = "main"
    apply  = "approval"
    vars   = { password = format("x-%s", env("S")), nested = [{ a = env("S") }] }
    env    = { KEY = env("S") }
  }
}
`
	sys := config.System{Getenv: func(string) (string, bool) { return "planted-env", true }}
	cfg, err := config.Parse(map[string][]byte{"c.hcl": []byte(src)}, sys)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{string(b), fmt.Sprint(cfg.Server), fmt.Sprintf("%+v", cfg.Server), fmt.Sprintf("%+v", cfg.Forges), fmt.Sprintf("%#v", cfg.Forges), fmt.Sprintf("%+v", cfg.OIDC), fmt.Sprintf("%#v", cfg.OIDC)}
	for _, s := range printed {
		if strings.Contains(s, "planted") {
			t.Errorf("a secret in %s", s)
		}
	}
	all := strings.Join(cfg.Secrets, " | ")
	for _, want := range []string{"planted%40dsn", "planted@dsn", "planted-ssl", "planted-literal", "planted-client", "planted-env", "x-planted-env"} {
		if !strings.Contains(" | "+all+" | ", " | "+want+" | ") {
			t.Errorf("%q is not among the secrets %q", want, all)
		}
	}
	vars := cfg.Repositories[0].Environments[0].Vars
	if got := fmt.Sprintf("%s %q, %s %q", vars[0].Name, vars[0].Sensitive, vars[1].Name, vars[1].Sensitive); got != `nested ["planted-env"], password ["x-planted-env"]` {
		t.Errorf("secrets inside of variables: %s", got)
	}
}
