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

// Planted secrets: an input variable from the daemon's environment that Terraform does not know to be one, and a sensitive one.
const (
	password = "pl4nted-Passw0rd+/=x"
	pin      = "pl4nted-sensitive-9417"
)

// TestJourney is the main job end to end on a real Gitea, with each engine and each database: push, one note with the touched stacks, an
// edit in place after the second push, merge, deploy in order, approval bound to the digest, notes and statuses that end as applied, drift found
// once and resolved. No planted secret is anywhere in clear.
func TestJourney(t *testing.T) {
	mirror := testenv.ProviderMirror(t)
	for _, engine := range testenv.Engines(t) {
		for name, database := range databases(t) {
			t.Run(engine.Name+"/"+name, func(t *testing.T) { journey(t, engine, database, mirror) })
		}
	}
}

func journey(t *testing.T, engine testenv.Engine, database func(string) string, mirror string) {
	gitea := testenv.Gitea(t)
	repo := gitea.CreateRepo(t, "fleet-"+strings.ReplaceAll(strings.ToLower(t.Name()), "/", "-"))
	dir := tempDir(t)
	first := repo.Push(t, testenv.Change{Branch: "main", Files: fleet(dir)})
	forge := fmt.Sprintf("forge \"gitea\" \"forge\" {\n  url   = %q\n  token = %q\n}\n", gitea.URL, gitea.BotToken)
	write(t, filepath.Join(dir, "plumbline.hcl"), fleetConfig(dir, database(dir), engine.Name, mirror, forge, repo.Project))
	env := environ(engine, "DB_PASSWORD="+password, "DB_PIN="+pin)
	d := start(t, dir, env, "serve", "--config", "plumbline.hcl")

	// First sight: compared with reality, nothing deployed. A stack without state says so; a broken one is a finding that hides no other.
	d.await("kind=drift", "production/live/net", plumbline.StatePlanned)
	d.await("kind=drift", "production/live/broken", plumbline.StateFailed)
	if n := len(d.runs("kind=deploy")); n != 0 {
		t.Fatalf("%d deploy runs at first sight", n)
	}
	if out, _ := d.cli("env", "show", "infra/production"); !strings.Contains(out, "never applied here") {
		t.Errorf("env show does not say what was never applied:\n%s", out)
	}

	// Everything is deployed because an operator asks for it; the broken stack fails, its siblings do not.
	deploy(t, d, "lab", nil, nil)
	deploy(t, d, "production", nil, []string{"live/broken"})
	for name, r := range d.states("kind=deploy&environment=production") {
		want := plumbline.StateApplied
		if name == "production/live/broken" {
			want = plumbline.StateFailed
		}
		if r.State != want {
			t.Errorf("%s is %s, want %s", name, r.State, want)
		}
	}
	if got := read(t, filepath.Join(dir, "world/net/a.subnet")); got != "owner=sre name=a" {
		t.Errorf("world: %q", got)
	}
	if out := d.must("env", "list"); !strings.Contains(out, "degraded") {
		t.Errorf("an environment with a failed stack is degraded:\n%s", out)
	}

	// A proposal touches a module three levels deep, one var file, one stack of the other environment, and nothing else.
	repo.Push(t, testenv.Change{Branch: "bigger", From: "main", Message: "Bigger", Files: map[string]string{
		"modules/tags/main.tf":  strings.Replace(fleet(dir)["modules/tags/main.tf"], "owner=sre", "owner=platform", 1),
		"live/app/green.tfvars": "size = 3\n",
		"lab/one/main.tf":       simple(dir, "lab-one", "2"),
		"docs/notes.md":         "nothing\n",
	}})
	pull := repo.OpenPull(t, "bigger", "main", "Bigger")
	var note testenv.GiteaComment
	eventually(t, "one note has all touched stacks", 3*time.Minute, func() error {
		comments := repo.Comments(t, pull.Number)
		if len(comments) == 0 {
			return errors.New("no note yet")
		}
		note = comments[0]
		for _, want := range []string{"production · live/net", "live/app@green", "lab · lab/one"} {
			if !strings.Contains(unescaped(note.Body), want) || strings.Contains(note.Body, "⏳") {
				return fmt.Errorf("%q is not in the note, or it is not the last:\n%s", want, note.Body)
			}
		}
		return nil
	})
	if n := len(repo.Comments(t, pull.Number)); n != 1 {
		t.Fatalf("%d notes", n)
	}
	for _, other := range []string{"live/db", "live/queue", "lab/two", "broken"} {
		if strings.Contains(unescaped(note.Body), other) {
			t.Errorf("the note tells of %s, which is not touched:\n%s", other, note.Body)
		}
	}
	eventually(t, "statuses are green", time.Minute, func() error {
		return statusesAre(repo.Statuses(t, repo.Pull(t, pull.Number).Head.SHA), "success", "plumbline", "plumbline/production/live/net", "plumbline/lab/lab/one")
	})

	// The second push edits the note in place; the first push's plans are not shown any more.
	head := repo.Push(t, testenv.Change{Branch: "bigger", Message: "Not so big", Files: map[string]string{"live/app/green.tfvars": "size = 2\n"}})
	eventually(t, "the note is of the second push", 3*time.Minute, func() error {
		note = repo.Comments(t, pull.Number)[0]
		if !strings.Contains(note.Body, plumbline.Short(head)) || strings.Contains(note.Body, "green") || strings.Contains(note.Body, "⏳") {
			return fmt.Errorf("it is\n%s", note.Body)
		}
		return nil
	})
	if n := len(repo.Comments(t, pull.Number)); n != 1 {
		t.Fatalf("%d notes after the second push", n)
	}

	// Merge: the automatic environment applies, the other waits; a digest that is not the plan's is refused.
	merged := repo.Merge(t, pull.Number)
	d.await("kind=deploy", "lab/lab/one", plumbline.StateApplied)
	waiting := d.await("kind=deploy", "production/live/net", plumbline.StateAwaiting)
	if waiting.Commit != merged {
		t.Errorf("deploys %s, want %s", waiting.Commit, merged)
	}
	if out, code := d.cli("runs", "approve", waiting.ID.String(), "--digest", "77aa01"); code == 0 || !strings.Contains(out, "Refused") {
		t.Errorf("a stale digest: exit code %d\n%s", code, out)
	}
	if out := d.must("why", waiting.ID.String()); !strings.Contains(out, "modules/tags/main.tf → modules/tags → modules/subnet → modules/vpc → live/net") {
		t.Errorf("why:\n%s", out)
	}
	d.must("runs", "approve", waiting.ID.String(), "--digest", waiting.Plan.Digest)
	d.await("kind=deploy", "production/live/net", plumbline.StateApplied)
	if got := read(t, filepath.Join(dir, "world/net/a.subnet")); got != "owner=platform name=a" {
		t.Errorf("world: %q", got)
	}
	eventually(t, "the note ends as applied", time.Minute, func() error {
		note = repo.Comments(t, pull.Number)[0]
		if strings.Count(note.Body, "| applied |") != 2 {
			return fmt.Errorf("it is\n%s", note.Body)
		}
		return nil
	})
	eventually(t, "the merge commit's statuses tell it", time.Minute, func() error {
		have := repo.Statuses(t, merged)
		for _, context := range []string{"plumbline/production/live/net", "plumbline/lab/lab/one"} {
			if !strings.HasPrefix(have[context].Description, "applied") {
				return fmt.Errorf("%s says %q", context, have[context].Description)
			}
		}
		return statusesAre(have, "success", "plumbline/production/live/net", "plumbline/lab/lab/one")
	})
	if n := len(repo.Comments(t, pull.Number)); n != 1 {
		t.Fatalf("%d notes after the merge", n)
	}

	issue := drift(t, d, dir, repo)
	scanForSecrets(t, d, dir, note.Body+issue)
	_ = first
}

// deploy asks for a deployment and approves its plans as they come up, until all runs but those named have been applied.
func deploy(t *testing.T, d *daemon, env string, stacks, but []string) {
	t.Helper()
	var last plumbline.RunID
	for _, r := range d.runs("environment=" + env) {
		last = max(last, r.ID)
	}
	d.must(append([]string{"env", "deploy", "infra/" + env}, stacks...)...)
	d.eventually("everything in "+env+" is applied", 5*time.Minute, func() error {
		left, seen := []string{}, 0
		for name, r := range d.states("kind=deploy&environment=" + env) {
			if r.ID <= last {
				continue
			}
			seen++
			switch {
			case r.State == plumbline.StateAwaiting:
				d.must("runs", "approve", r.ID.String(), "--digest", r.Plan.Digest)
				left = append(left, name)
			case !r.State.Ended():
				left = append(left, name+" "+string(r.State))
			case !r.State.Good() && !slices.Contains(but, r.Stack):
				t.Fatalf("%s %s: %+v\n%s", name, r.State, r.Failure, d.must("runs", "logs", r.ID.String()))
			}
		}
		if len(left) > 0 || seen == 0 {
			return fmt.Errorf("%d runs, left: %v", seen, left)
		}
		return nil
	})
}

// drift changes something outside Git: it is found, apart from what was never applied, told once, and resolved when it goes away. The one issue about it
// is opened, and closed. It returns what the issue said.
func drift(t *testing.T, d *daemon, dir string, repo *testenv.GiteaRepo) (said string) {
	issue := func(state, title, says string) {
		t.Helper()
		d.eventually("the issue about drift is "+state, time.Minute, func() error {
			all := repo.Issues(t)
			if len(all) != 1 || all[0].State != state || all[0].Title != title || !strings.Contains(all[0].Body, says) {
				return fmt.Errorf("issues: %+v", all)
			}
			said += all[0].Body
			return nil
		})
	}
	zone := filepath.Join(dir, "world/dns/zone")
	right := read(t, zone)
	write(t, zone, "hacked\n")
	out, code := d.cli("drift", "check", "infra/production", "live/dns")
	if code != 3 || !strings.Contains(out, "local_file.zone") {
		t.Fatalf("drift check: exit code %d\n%s", code, out)
	}
	issue("open", "Drift in production: 1 deleted", "local_file.zone") // the provider takes a file with another content for one that is gone
	list := d.must("drift", "list")
	if strings.Count(list, "local_file.zone") != 1 {
		t.Errorf("drift list:\n%s", list)
	}
	before := d.driftItems()
	if _, code = d.cli("drift", "check", "infra/production", "live/dns"); code != 3 {
		t.Errorf("second check: exit code %d", code)
	}
	after := d.driftItems()
	if len(before) != 1 || len(after) != 1 || after[0].ID != before[0].ID || after[0].Seen != before[0].Seen+1 {
		t.Errorf("a second identical check opened something: %+v then %+v", before, after)
	}
	write(t, zone, right)
	if out, code = d.cli("drift", "check", "infra/production", "live/dns"); code != 0 {
		t.Errorf("after it was mended: exit code %d\n%s", code, out)
	}
	if items := d.driftItems(); len(items) != 0 {
		t.Errorf("not resolved: %+v", items)
	}
	issue("closed", "Drift in production: none", "In sync again since")
	return said
}

func (d *daemon) driftItems() []web.DriftJSON {
	d.t.Helper()
	var list web.DriftListJSON
	if err := d.get("drift", &list); err != nil {
		d.t.Fatal(err)
	}
	return list.Items
}

func statusesAre(have map[string]testenv.GiteaStatus, want string, contexts ...string) error {
	for _, c := range contexts {
		if have[c].State != want {
			return fmt.Errorf("status %s is %q (%s), want %s; there are %v", c, have[c].State, have[c].Description, want, have)
		}
	}
	return nil
}

func unescaped(s string) string { return strings.ReplaceAll(s, "\\", "") }

// scanForSecrets looks for the planted values in everything that Plumbline keeps, prints, posts or answers. The stacks' own states,
// which are not Plumbline's, hold them.
func scanForSecrets(t *testing.T, d *daemon, dir string, notes ...string) {
	t.Helper()
	look := func(where, s string) {
		for _, secret := range []string{password, pin} {
			for _, form := range forms(secret) {
				if i := strings.Index(s, form); i >= 0 {
					t.Errorf("a planted secret is in %s: …%q…", where, s[max(0, i-80):min(len(s), i+len(form)+20)])
				}
			}
		}
	}
	// A scan that looked for values which never went through would find nothing either.
	state := read(t, filepath.Join(dir, "state/db.tfstate"))
	for _, secret := range []string{password, pin} {
		if !strings.Contains(state, secret) {
			t.Errorf("%q never reached Terraform: the scan proves nothing", secret)
		}
	}
	for i, n := range notes {
		look(fmt.Sprint("note ", i), n)
	}
	look("the daemon's output", d.output.String())
	looked := 0
	err := filepath.WalkDir(filepath.Join(dir, "data"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !e.Type().IsRegular() {
			return err
		}
		looked++
		look(path, read(t, path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if looked < 20 {
		t.Errorf("only %d files were looked at", looked)
	}
	for _, r := range d.runs("") {
		id := r.ID.String()
		for _, path := range []string{"/api/v1/runs/" + id, "/api/v1/runs/" + id + "/log", "/api/v1/runs/" + id + "/plan", "/runs/" + id} {
			body, err := d.fetch(path)
			if err != nil && r.Plan != nil {
				t.Error(err)
			}
			look(path, body)
		}
		if r.Stack == "live/db" {
			for _, args := range [][]string{{"runs", "show", id}, {"runs", "logs", id}, {"why", id}} {
				out, _ := d.cli(args...)
				look("plumbline "+strings.Join(args, " "), out)
			}
		}
	}
	dump, err := dumpDatabase(read(t, filepath.Join(dir, "plumbline.hcl")))
	if err != nil {
		t.Fatal(err)
	}
	if len(dump) < 1000 {
		t.Errorf("the database's dump has %d bytes only", len(dump))
	}
	look("the database", dump)
}

func forms(s string) []string {
	j, _ := json.Marshal(s)
	return []string{s, strings.Trim(string(j), `"`)}
}
