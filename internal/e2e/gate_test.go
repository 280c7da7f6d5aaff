package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/testenv"
	"github.com/plumbline/plumbline/internal/web"
)

const gateConfig = `
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
  user "ann@example.com" {
    also   = ["corp/gate-ann"]
    groups = ["sre"]
  }
  user "bob@example.com" {
    also = ["corp/gate-bob"]
  }
  role "approver" {
    groups = ["sre"]
    users  = ["bob@example.com"]
  }
  role "operator" {
    groups = ["sre"]
  }
}
repository "infra" {
  forge   = "corp"
  project = "@PROJECT@"
  poll    = "@every 5s"
  environment "production" {
    branch   = "main"
    apply    = "approval"
    checks   = ["fmt", "validate", "test"]
    policies = ["policies"]
    backend  = { path = "@DIR@/state/{stack}.tfstate" }

    approval {
      from  = ["group:sre"]
      not   = ["author"]
      carry = true
    }
  }
}
`

// gatePolicy forbids what is called forbidden, and asks bob about what is called asked.
const gatePolicy = `package gate

deny contains msg if {
	some c in input.resource_changes
	c.name == "forbidden"
	msg := sprintf("%s is forbidden", [c.address])
}

require_approval contains {"msg": "bob wants to know", "from": ["user:bob@example.com"], "address": c.address} if {
	some c in input.resource_changes
	c.name == "asked"
	c.change.actions[0] != "no-op"
}
`

// diamond is five stacks: a is the ground, b, c and d stand on it, e stands on these. c fails to be applied while a file is there.
func diamond(version, marker string, extra map[string]string) map[string]string {
	stack := func(name string) string {
		s := "terraform {\n  backend \"local\" {}\n}\n\nresource \"terraform_data\" \"" + name + "\" {\n  input = \"" + version + "\"\n"
		if name == "c" {
			s += "  triggers_replace = \"" + version + "\"\n\n  provisioner \"local-exec\" {\n    command = \"test ! -e " + marker + "\"\n  }\n"
			s = strings.Replace(s, "  input = ", "  input            = ", 1)
		}
		return s + "}\n" + extra[name]
	}
	files := map[string]string{".plumbline.hcl": ""}
	for name, on := range map[string]string{"a": "", "b": `"a"`, "c": `"a"`, "d": `"a"`, "e": `"b", "c", "d"`} {
		files[name+"/main.tf"] = stack(name)
		files[".plumbline.hcl"] += fmt.Sprintf("stack %q {\n  dir        = %q\n  depends_on = [%s]\n}\n", name, name, on)
	}
	return files
}

// TestGate takes a five-stack diamond through approvals that carry over, somebody else's change, a failure in the middle and the way back, on a real
// Gitea with both databases.
func TestGate(t *testing.T) {
	gitea := testenv.Gitea(t)
	ann, bob, dev := gitea.CreateUser(t, "gate-ann"), gitea.CreateUser(t, "gate-bob"), gitea.CreateUser(t, "gate-dev")
	engines := testenv.Engines(t)
	n := 0
	for name, database := range databases(t) {
		engine := engines[n%len(engines)]
		n++
		t.Run(name+" "+engine.Name, func(t *testing.T) {
			g := newGate(t, gitea, engine, database, ann, bob, dev)
			g.carried()
			g.somebodyElse()
			g.policies()
			g.fails()
			g.back()
			g.audited()
		})
	}
}

type gate struct {
	t              *testing.T
	d              *daemon
	gitea          *testenv.GiteaServer
	repo           *testenv.GiteaRepo
	dir, marker    string
	ann, bob, dev  string
	env            []string
	branches       int
	rollbackCommit string
}

func newGate(t *testing.T, gitea *testenv.GiteaServer, engine testenv.Engine, database func(string) string, ann, bob, dev string) *gate {
	repo := gitea.CreateRepo(t, "gate-"+strings.NewReplacer("/", "-", " ", "-").Replace(strings.ToLower(t.Name())))
	for _, name := range []string{"gate-ann", "gate-bob", "gate-dev"} {
		repo.AddCollaborator(t, name)
	}
	dir := tempDir(t)
	g := &gate{t: t, gitea: gitea, repo: repo, dir: dir, marker: filepath.Join(dir, "broken"), ann: ann, bob: bob, dev: dev}
	repo.Push(t, testenv.Change{Branch: "main", Files: map[string]string{"README.md": "# infra\n"}})
	write(t, filepath.Join(dir, "policies", "gate.rego"), gatePolicy)
	write(t, filepath.Join(dir, "plumbline.hcl"), strings.NewReplacer("@DIR@", dir, "@DATABASE@", database(dir), "@ENGINE@", engine.Name,
		"@URL@", gitea.URL, "@TOKEN@", gitea.BotToken, "@PROJECT@", repo.Project).Replace(gateConfig))
	g.env = environ(engine, "HOOK_SECRET="+hookSecret)
	g.d = start(t, dir, g.env, "serve", "--config", "plumbline.hcl")
	repo.AddHook(t, g.d.url+"/hooks/corp", hookSecret)
	g.d.eventually("the branch was seen", time.Minute, func() error {
		var envs web.EnvironmentsJSON
		if err := g.d.get("environments", &envs); err != nil {
			return err
		}
		if b, _ := json.Marshal(envs); !strings.Contains(string(b), `"commit":"`) {
			return errors.New("not yet")
		}
		return nil
	})
	return g
}

// open pushes files to a branch, opens a merge request, and waits until all its stacks are planned.
func (g *gate) open(title string, files map[string]string, stacks ...string) testenv.GiteaPull {
	g.t.Helper()
	g.branches++
	branch := fmt.Sprintf("change-%d", g.branches)
	g.repo.Push(g.t, testenv.Change{Branch: branch, From: "main", Files: files})
	pull := g.repo.OpenPull(g.t, branch, "main", title)
	for _, s := range stacks {
		g.d.await(fmt.Sprintf("kind=proposal&mr=%d", pull.Number), "production/"+s, plumbline.StatePlanned)
	}
	return pull
}

// say writes a comment, waits until Plumbline has reacted to it, and reports whether it was done.
func (g *gate) say(pull int64, token, text string) (done bool) {
	g.t.Helper()
	c := g.repo.Comment(g.t, token, pull, text)
	eventually(g.t, fmt.Sprintf("%q is answered", text), time.Minute, func() error {
		for _, r := range g.repo.Reactions(g.t, c.ID) {
			switch {
			case r.User.Login != g.gitea.BotUser:
			case r.Content == "-1":
				return nil
			case r.Content == "+1", r.Content == "rocket":
				done = true
				return nil
			}
		}
		return fmt.Errorf("reactions %+v", g.repo.Reactions(g.t, c.ID))
	})
	return done
}

func (g *gate) note(pull int64) string {
	var out []string
	for _, c := range g.repo.Comments(g.t, pull) {
		if c.User.Login == g.gitea.BotUser {
			out = append(out, unescaped(c.Body))
		}
	}
	return strings.Join(out, "\n\n")
}

// yes has somebody agree to a stack's plan, by its digest, so that no clock matters.
func (g *gate) yes(pull int64, token, query, stack string) {
	g.t.Helper()
	g.d.eventually("a plan of "+stack, 3*time.Minute, func() error {
		if r := g.d.states(query)["production/"+stack]; r.Plan == nil || r.State != plumbline.StatePlanned && r.State != plumbline.StateAwaiting {
			return fmt.Errorf("it is %s", r.State)
		}
		return nil
	})
	digest := ""
	g.d.eventually("the note shows the plan of "+stack, time.Minute, func() error {
		digest = g.d.states(query)["production/"+stack].Plan.Digest[:12]
		if note := g.note(pull); !strings.Contains(note, digest) {
			return fmt.Errorf("no %s in %s", digest, note)
		}
		return nil
	})
	// The note is there a moment before it is written down that people were told: a yes of that moment is refused, and written again.
	for try := 0; !g.say(pull, token, "plumbline approve "+stack+" "+digest); try++ {
		if try == 5 {
			g.t.Fatalf("the yes to %s is refused: %s", stack, g.note(pull))
		}
	}
}

// carried: a merge that changes nothing of what was planned is applied without anybody's doing.
func (g *gate) carried() {
	pull := g.open("First", diamond("1", g.marker, nil), "a", "b", "c", "d", "e")
	query := fmt.Sprintf("kind=proposal&mr=%d", pull.Number)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		g.yes(pull.Number, g.ann, query, s)
	}
	for _, want := range []string{"fmt", "validate"} {
		if s := g.repo.Statuses(g.t, g.d.runs(query)[0].Commit); len(s) == 0 {
			g.t.Errorf("no statuses at all, of %s", want)
		}
	}
	g.repo.Merge(g.t, pull.Number)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		run := g.d.await("kind=deploy", "production/"+s, plumbline.StateApplied)
		if len(run.Approvals) != 1 || run.Approvals[0].By != "ann@example.com" || !strings.Contains(run.Approvals[0].Carried, fmt.Sprint("!", pull.Number)) {
			g.t.Errorf("%s was applied with %+v", s, run.Approvals)
		}
	}
	g.order("a", "b", "e")
	g.order("a", "c", "e")
	g.order("a", "d", "e")
}

// order checks that stacks were applied one after the other.
func (g *gate) order(stacks ...string) {
	g.t.Helper()
	states := g.d.states("kind=deploy")
	for i := 1; i < len(stacks); i++ {
		before, after := states["production/"+stacks[i-1]], states["production/"+stacks[i]]
		if !before.Finished.Before(after.Finished) || after.Planned.Before(before.Finished) {
			g.t.Errorf("%s was planned at %s, before %s was applied at %s", stacks[i], after.Planned, stacks[i-1], before.Finished)
		}
	}
}

// somebodyElse: what came to the branch besides makes the plan another, which waits, and shows exactly that.
func (g *gate) somebodyElse() {
	pull := g.open("Second", map[string]string{"b/main.tf": strings.Replace(diamond("1", g.marker, nil)["b/main.tf"], `"1"`, `"2"`, 1)}, "b")
	g.yes(pull.Number, g.ann, fmt.Sprintf("kind=proposal&mr=%d", pull.Number), "b")
	g.repo.Push(g.t, testenv.Change{Branch: "main", Files: map[string]string{"b/more.tf": "resource \"terraform_data\" \"somebody_elses\" {\n  input = \"x\"\n}\n"}})
	g.d.await("kind=deploy", "production/b", plumbline.StateAwaiting)
	g.repo.AwaitMergeable(g.t, pull.Number, true)
	merged := g.repo.Merge(g.t, pull.Number)
	g.d.eventually("the merge waits", 3*time.Minute, func() error {
		if r := g.d.states("kind=deploy")["production/b"]; r.Commit != merged || r.State != plumbline.StateAwaiting || len(r.Approvals) != 1 {
			return fmt.Errorf("run %s at %s is %s with %+v", r.ID, r.Commit, r.State, r.Approvals)
		}
		return nil
	})
	run := g.d.states("kind=deploy")["production/b"]
	if run.Approvals[0].Counts || run.Missing != 1 {
		g.t.Errorf("approvals %+v, %d missing", run.Approvals, run.Missing)
	}
	g.d.eventually("the note shows what came besides, and nothing else", time.Minute, func() error {
		note := g.note(pull.Number)
		if !strings.Contains(note, "1 more change") || !strings.Contains(note, "terraform_data.somebody_elses                            # not in the approved plan") {
			return fmt.Errorf("it says %s", note)
		}
		return nil
	})
	var detail web.RunDetailJSON
	if err := g.d.get("runs/"+run.ID.String(), &detail); err != nil {
		g.t.Fatal(err)
	}
	if s := detail.Since; s == nil || !slices.Equal(s.More, []string{"terraform_data.somebody_elses"}) || len(s.Fewer)+len(s.Different) > 0 {
		g.t.Errorf("the difference: %+v", s)
	}
	g.yes(pull.Number, g.ann, "kind=deploy", "b")
	g.d.await("kind=deploy", "production/b", plumbline.StateApplied)
}

// policies: what a policy forbids fails, what it asks somebody about waits for them besides.
func (g *gate) policies() {
	denied := g.open("Forbidden", map[string]string{"d/more.tf": "resource \"terraform_data\" \"forbidden\" {}\n"}, "d")
	g.d.eventually("the note says that it is forbidden", time.Minute, func() error {
		if note := g.note(denied.Number); !strings.Contains(note, "**Forbidden by policies**\n- `gate`: `terraform_data.forbidden` is forbidden (d)") {
			return fmt.Errorf("it says %s", note)
		}
		return nil
	})
	g.repo.Close(g.t, denied.Number)

	asked := g.open("Asked", map[string]string{"d/more.tf": "resource \"terraform_data\" \"asked\" {}\n"}, "d")
	g.yes(asked.Number, g.ann, fmt.Sprintf("kind=proposal&mr=%d", asked.Number), "d")
	g.repo.Merge(g.t, asked.Number)
	run := g.d.await("kind=deploy", "production/d", plumbline.StateAwaiting)
	if why := g.d.must("why", run.ID.String()); !strings.Contains(why, "bob wants to know") {
		g.t.Errorf("why: %s", why)
	}
	g.yes(asked.Number, g.bob, "kind=deploy", "d")
	g.d.await("kind=deploy", "production/d", plumbline.StateApplied)
}

// fails: c cannot be applied. Its siblings are, what stands on it waits, and goes on when c was tried again.
func (g *gate) fails() {
	files := diamond("3", g.marker, nil)
	pull := g.open("Third", files, "a", "b", "c", "d", "e")
	query := fmt.Sprintf("kind=proposal&mr=%d", pull.Number)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		g.yes(pull.Number, g.ann, query, s)
	}
	write(g.t, g.marker, "x")
	g.repo.Merge(g.t, pull.Number)
	g.d.await("kind=deploy", "production/c", plumbline.StateFailed)
	g.d.await("kind=deploy", "production/b", plumbline.StateApplied)
	g.d.await("kind=deploy", "production/d", plumbline.StateApplied)
	if e := g.d.states("kind=deploy")["production/e"]; e.State != plumbline.StateQueued {
		g.t.Errorf("e, which stands on c, is %s", e.State)
	}
	if show := g.d.must("env", "show", "infra/production"); !strings.Contains(show, "degraded") || !strings.Contains(show, "c failed") {
		g.t.Errorf("env show:\n%s", show)
	}
	if err := os.Remove(g.marker); err != nil {
		g.t.Fatal(err)
	}
	if !g.say(pull.Number, g.ann, "plumbline retry c") {
		g.t.Fatalf("c is not tried again: %s", g.note(pull.Number))
	}
	g.yes(pull.Number, g.ann, "kind=deploy", "c")
	g.d.await("kind=deploy", "production/c", plumbline.StateApplied)
	g.d.await("kind=deploy", "production/e", plumbline.StateApplied)
	g.rollbackCommit = g.d.states("kind=deploy")["production/e"].Commit
	g.order("a", "c", "e")
}

// back: a change that cannot be applied is taken back by the merge request that Plumbline opens.
func (g *gate) back() {
	pull := g.open("Fourth", diamond("4", g.marker, nil), "a", "b", "c", "d", "e")
	query := fmt.Sprintf("kind=proposal&mr=%d", pull.Number)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		g.yes(pull.Number, g.ann, query, s)
	}
	write(g.t, g.marker, "x")
	g.repo.Merge(g.t, pull.Number)
	g.d.await("kind=deploy", "production/c", plumbline.StateFailed)
	g.d.await("kind=deploy", "production/b", plumbline.StateApplied)
	g.d.await("kind=deploy", "production/d", plumbline.StateApplied)
	if err := os.Remove(g.marker); err != nil {
		g.t.Fatal(err)
	}
	g.d.must("env", "rollback", "infra/production")
	var back testenv.GiteaPull
	g.d.eventually("the merge request that takes it back", time.Minute, func() error {
		for _, p := range g.repo.OpenPulls(g.t) {
			if strings.Contains(p.Title, "Roll back production to "+plumbline.Short(g.rollbackCommit)) {
				back = p
				return nil
			}
		}
		return errors.New("it is not open")
	})
	query = fmt.Sprintf("kind=proposal&mr=%d", back.Number)
	for _, s := range []string{"a", "b", "c", "d"} {
		g.d.await(query, "production/"+s, plumbline.StatePlanned)
		g.yes(back.Number, g.ann, query, s)
	}
	g.repo.AwaitMergeable(g.t, back.Number, true)
	g.repo.Merge(g.t, back.Number)
	for _, s := range []string{"a", "b", "c", "d"} {
		g.d.eventually(s+" is as it was", 3*time.Minute, func() error {
			r := g.d.states("kind=deploy")["production/"+s]
			if r.State == plumbline.StateAwaiting {
				g.yes(back.Number, g.ann, "kind=deploy", s)
			}
			if !r.State.Good() || r.MR != "" && r.MR != fmt.Sprint(back.Number) {
				return fmt.Errorf("run %s is %s", r.ID, r.State)
			}
			return nil
		})
	}
	g.d.eventually("production is in sync", time.Minute, func() error {
		if show := g.d.must("env", "show", "infra/production"); !strings.Contains(show, "in sync") {
			return errors.New(show)
		}
		return nil
	})
	plan := g.d.must("drift", "check", "infra/production")
	if !strings.Contains(plan, "no drift") && !strings.Contains(plan, "in sync") && !strings.Contains(plan, "clean") {
		g.t.Logf("drift check:\n%s", plan)
	}
}

// audited: the log tells of all this, and holds.
func (g *gate) audited() {
	if out := g.d.must("audit", "verify"); !strings.Contains(out, "entries") {
		g.t.Errorf("audit verify: %s", out)
	}
	export := filepath.Join(g.dir, "audit.jsonl")
	g.d.must("audit", "export", "--format", "jsonl", "--output", export)
	for _, want := range []string{`"action":"approve"`, `"action":"carry"`, `"action":"apply"`, `"action":"retry"`, `"action":"request"`, `"who":"ann@example.com"`, `"door":"comment"`} {
		if !strings.Contains(read(g.t, export), want) {
			g.t.Errorf("the export says nothing of %s", want)
		}
	}
	if out := g.d.must("audit", "verify", export); !strings.Contains(out, "entries") {
		g.t.Errorf("audit verify of the export: %s", out)
	}
}
