package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
)

// talkConfig polls once a day: what happens in this test happens because a webhook says so.
const talkConfig = `
server {
  listen   = "127.0.0.1:0"
  data_dir = "@DIR@/data"
  database = "@DATABASE@"
}
terraform {
  engine  = "@ENGINE@"
  install = "path"
}
forge "gitea" "corp" {
  url            = "@URL@"
  token          = "@TOKEN@"
  webhook_secret = env("HOOK_SECRET")
}
auth {
  role "operator" {
    users = ["corp/talk-olga"]
  }
  role "approver" {
    users        = ["corp/talk-ann"]
    environments = ["production"]
  }
}
repository "infra" {
  forge   = "corp"
  project = "@PROJECT@"
  poll    = "@every 24h"
  environment "production" {
    branch = "main"
    apply  = "approval"
  }
}
`

const hookSecret = "pl4nted-hook-Secret-77"

// TestCommands: people on a real Gitea write comments, and its webhooks alone bring them to a daemon that else looks once a day. Whoever may not is
// told so; a yes is for the plan that was there; a merge is applied. A delivery that somebody else makes up changes nothing.
func TestCommands(t *testing.T) {
	gitea := testenv.Gitea(t)
	olga, ann, eve := gitea.CreateUser(t, "talk-olga"), gitea.CreateUser(t, "talk-ann"), gitea.CreateUser(t, "talk-eve")
	for name, database := range databases(t) {
		t.Run(name, func(t *testing.T) { talk(t, gitea, testenv.Engines(t)[0], database, olga, ann, eve) })
	}
}

func talk(t *testing.T, gitea *testenv.GiteaServer, engine testenv.Engine, database func(string) string, olga, ann, eve string) {
	repo := gitea.CreateRepo(t, "talk-"+strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"))
	for _, name := range []string{"talk-olga", "talk-ann", "talk-eve"} {
		repo.AddCollaborator(t, name)
	}
	files := func(v string) map[string]string {
		return map[string]string{
			"net/main.tf": "terraform {\n  backend \"local\" {}\n}\nresource \"terraform_data\" \"a\" {\n  input = \"" + v + "\"\n}\n",
		}
	}
	repo.Push(t, testenv.Change{Branch: "main", Files: files("1")})
	dir := tempDir(t)
	write(t, filepath.Join(dir, "plumbline.hcl"), strings.NewReplacer("@DIR@", dir, "@DATABASE@", database(dir), "@ENGINE@", engine.Name,
		"@URL@", gitea.URL, "@TOKEN@", gitea.BotToken, "@PROJECT@", repo.Project).Replace(talkConfig))
	d := start(t, dir, environ(engine, "HOOK_SECRET="+hookSecret), "serve", "--config", "plumbline.hcl")
	d.await("kind=drift", "production/net", plumbline.StatePlanned)
	repo.AddHook(t, d.url+"/hooks/corp", hookSecret)

	repo.Push(t, testenv.Change{Branch: "more", From: "main", Files: files("2")})
	pull := repo.OpenPull(t, "more", "main", "More")
	d.await("kind=proposal", "production/net", plumbline.StatePlanned)

	// answer waits for the bot's newest comment beside the note.
	answers := func() (out []string) {
		for _, c := range repo.Comments(t, pull.Number) {
			if c.User.Login == gitea.BotUser && strings.Contains(c.Body, " answer ") {
				out = append(out, unescaped(c.Body))
			}
		}
		return out
	}
	say := func(token, text, want string) {
		t.Helper()
		before := len(answers())
		repo.Comment(t, token, pull.Number, text)
		eventually(t, fmt.Sprintf("%q is answered", text), time.Minute, func() error {
			all := answers()
			if len(all) == before {
				return errors.New("no answer")
			}
			if last := all[len(all)-1]; !strings.Contains(last, want) {
				return fmt.Errorf("the answer is %q, want %q", last, want)
			}
			return nil
		})
	}
	say(eve, "plumbline plan", "may not plan in infra/production")
	say(olga, "plumbline plna", "There is no command")
	say(ann, "plumbline approve", "does not carry approvals over")
	attempt := d.runs("kind=proposal")[0].Attempt
	repo.Comment(t, olga, pull.Number, "> plumbline plan\n\nShall we?")
	repo.Comment(t, olga, pull.Number, "plumbline plan net")
	d.eventually("the stack is planned again", time.Minute, func() error {
		if r := d.runs("kind=proposal")[0]; r.Attempt != attempt+1 || r.State != plumbline.StatePlanned {
			return fmt.Errorf("it is %s, attempt %d", r.State, r.Attempt)
		}
		return nil
	})

	repo.Merge(t, pull.Number)
	d.await("kind=deploy", "production/net", plumbline.StateAwaiting)
	eventually(t, "the note shows the plan", time.Minute, func() error {
		for _, c := range repo.Comments(t, pull.Number) {
			if c.User.Login == gitea.BotUser && strings.Contains(unescaped(c.Body), "a comment with `plumbline approve net ") {
				return nil
			}
		}
		return errors.New("it does not")
	})
	shown := time.Now()
	say(olga, "plumbline approve", "may not approve in infra/production")
	// Gitea's comments know the second: one of the second in which the plan was shown counts as written before that.
	eventually(t, "two seconds have passed", 10*time.Second, func() error {
		if time.Since(shown) < 2100*time.Millisecond {
			return errors.New("not yet")
		}
		return nil
	})
	repo.Comment(t, ann, pull.Number, "plumbline approve net")
	run := d.await("kind=deploy", "production/net", plumbline.StateApplied)
	if len(run.Approvals) != 1 || run.Approvals[0].By != "corp/talk-ann" {
		t.Errorf("approvals: %+v", run.Approvals)
	}
	if n := len(answers()); n != 4 {
		t.Errorf("%d answers in words, not 4: %q", n, answers())
	}

	// A delivery without the right signature is refused, and tells nothing.
	resp, err := http.Post(d.url+"/hooks/corp", "application/json", strings.NewReader(`{"repository":{"full_name":"`+repo.Project+`"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a forged delivery is answered with %d", resp.StatusCode)
	}
	if out := d.output.String(); strings.Contains(out, hookSecret) {
		t.Error("the webhook's secret is in the log")
	}
}
