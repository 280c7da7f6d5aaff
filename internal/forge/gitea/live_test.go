package gitea_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/testenv"
)

const liveEnv = "PLUMBLINE_LIVE_GITEA_"

// TestLive runs the suite on somebody's Gitea or Forgejo. The repository has branches main and env/production, and nothing that anybody needs:
// all of its pull requests and of Plumbline's issues are closed, and what the suite merges, comments and opens stays. The variables, each with
// PLUMBLINE_LIVE_GITEA_ before it:
//
//	URL          of the server
//	PROJECT      owner/name
//	TOKEN        Plumbline's, with the scopes write:repository, write:issue and read:user
//	OTHER_TOKEN  of another person, who may write to the repository, with the same scopes
func TestLive(t *testing.T) {
	env := map[string]string{}
	for _, name := range []string{"URL", "PROJECT", "TOKEN", "OTHER_TOKEN"} {
		if env[name] = os.Getenv(liveEnv + name); env[name] == "" {
			t.Skipf("%s%s is not set: nothing is run on a Gitea or Forgejo of yours", liveEnv, name)
		}
	}
	g := &testenv.GiteaServer{URL: strings.TrimRight(env["URL"], "/"), AdminToken: env["OTHER_TOKEN"], BotToken: env["TOKEN"]}
	for token, login := range map[string]*string{g.AdminToken: &g.AdminUser, g.BotToken: &g.BotUser} {
		var u testenv.GiteaUser
		g.Call(t, token, "GET", "/user", nil, &u)
		*login = u.Login
	}
	if g.AdminUser == g.BotUser {
		t.Fatalf("both tokens are %s's; the other one must be somebody else's", g.BotUser)
	}
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		p := &people{g: g, repo: g.Repo(t, env["PROJECT"]), dev: g.AdminToken, branch: map[string]string{}, suffix: fmt.Sprintf("-%d", time.Now().UnixNano())}
		p.connect(t)
		for _, pull := range p.repo.OpenPulls(t) {
			p.repo.Close(t, pull.Number)
		}
		for _, one := range p.repo.Issues(t) {
			p.before = max(p.before, one.Number)
			if one.State == "open" && one.User.Login == g.BotUser {
				p.repo.CloseIssue(t, one.Number)
			}
		}
		p.repo.DropBranch(t, "promote/production") // of a run that was interrupted
		t.Cleanup(func() {
			for _, branch := range append(slices.Collect(maps.Values(p.branch)), "promote/production") {
				p.repo.DropBranch(t, branch)
			}
		})
		return forgetest.Fixture{
			Client: p.client(t, g.BotToken), Second: p.client(t, g.BotToken), Denied: p.client(t, strings.Repeat("0", 40)),
			People: p,
		}
	})
}
