package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/config"
)

// TestDriftIssue: where the forge has issues there is one for drift, unless it is switched off; where it has none the setting may be absent or false.
func TestDriftIssue(t *testing.T) {
	for _, c := range []struct {
		forge, setting string
		off            bool   // switched off
		refused        string // part of the message
	}{
		{"gitlab", "", false, ""}, {"gitlab", "true", false, ""}, {"gitlab", "false", true, ""}, {"github", "", false, ""}, {"github", "false", true, ""},
		{"gitea", "true", false, ""}, {"gitea", "false", true, ""},
		{"bitbucket", "", false, ""}, {"bitbucket", "false", false, ""}, {"bitbucket", "true", false, "a bitbucket forge has no issues"},
		{"codecommit", "true", false, "a codecommit forge has no issues"}, {"git", "true", false, "a git forge has no issues"}, {"git", "", false, ""},
	} {
		settings := map[string]string{"gitea": "url = \"https://gitea.example.com\"\n token = \"x\"", "codecommit": `region = "eu-west-1"`, "git": `url = "file:///srv/git"`}
		of, ok := settings[c.forge]
		if !ok {
			of = `token = "x"`
		}
		issue := ""
		if c.setting != "" {
			issue = "issue = " + c.setting
		}
		project := "a/b"
		if c.forge == "codecommit" {
			project = "b"
		}
		src := fmt.Sprintf(`
forge %q "f" {
  %s
}
repository "infra" {
  forge   = "f"
  project = %q
  environment "production" {
    branch = "main"
    apply  = "automatic"
    drift {
      schedule = "0 * * * *"
      %s
    }
  }
}
`, c.forge, of, project, issue)
		cfg, err := config.Parse(map[string][]byte{"plumbline.hcl": []byte(src)}, config.System{})
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s, %s: %v", c.forge, c.setting, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s, %s: %v", c.forge, c.setting, err)
			continue
		}
		if got := cfg.Repositories[0].Environments[0].Drift.NoIssue; got != c.off {
			t.Errorf("%s, issue = %q: switched off: %t", c.forge, c.setting, got)
		}
	}
}
