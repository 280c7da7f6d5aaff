package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// listening is a sighted rig on the forge corp, where olga may operate, ann approve in production and eve nothing.
func listening(t *testing.T) *rig {
	t.Helper()
	r := sighted(t)
	r.repo.Forge = "corp"
	r.w = r.listener()
	r.poll()
	return r
}

func (r *rig) listener() *Watcher {
	c := r.config()
	c.Access = plumbline.Access{Roles: []plumbline.Role{
		{Name: plumbline.RoleOperator, Users: []string{"corp/olga"}},
		{Name: plumbline.RoleApprover, Users: []string{"corp/ann"}, Environments: []string{"production"}},
	}}
	return New(c)
}

// answers returns what came of the commands so far, as "verb of author: outcome answer".
func (r *rig) answers() []string {
	r.t.Helper()
	list, err := r.store.Unanswered(r.t.Context(), "infra")
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, c := range list {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s of %s: %s %s", c.Verb, c.By, c.Outcome, c.Answer)))
		if err := r.store.Answered(r.t.Context(), c.ID); err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

// say has somebody write a comment, has the watcher look, and checks the only answer.
func (r *rig) say(mr, who, text, want string) {
	r.t.Helper()
	r.forge.Comment(mr, who, text)
	r.poll()
	got := r.answers()
	if len(got) != 1 || !strings.Contains(got[0], want) {
		r.t.Errorf("%s writes %q: %q, want %q", who, text, got, want)
	}
	r.pass(time.Second)
}

func TestCommandsBeforeMerge(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n", "live/db/main.tf": state + "# new\n"})
	r.poll()
	for _, run := range r.runs(plumbline.RunFilter{MR: id}) {
		r.plan(run.ID, digest)
	}
	r.pass(time.Minute)
	since := r.last()
	states := func() (out []string) {
		for _, run := range r.runs(plumbline.RunFilter{MR: id}) {
			out = append(out, run.Stack.Name+" "+string(run.State))
		}
		return out
	}
	planned := []string{"live/db planned", "live/net planned"}

	r.say(id, "eve", "plumbline plan", "refused corp/eve may not plan in infra/production.")
	r.say(id, "eve", "plumbline help", "done Write one of these")
	r.say(id, "eve", "plumbline plna", "refused There is no command `plna`; `plumbline help` lists")
	r.say(id, "olga", "plumbline plan live/nothing", "refused There is no such stack here; there are: `live/db`, `live/net`.")
	r.say(id, "ann", "plumbline approve", "refused Nothing is applied before the merge")
	r.say(id, "olga", "plumbline retry live/net", "refused Run")
	r.say(id, "olga", "plumbline why live/net", "done Run")
	equal(t, "after what cannot be done", states(), planned)

	r.say(id, "olga", "plumbline plan live/net", "plan of corp/olga: done")
	equal(t, "after planning one again", states(), []string{"live/db planned", "live/net queued"})
	r.say(id, "olga", "plumbline cancel", "cancel of corp/olga: done")
	equal(t, "after canceling what can be", states(), []string{"live/db planned", "live/net canceled"})
	r.say(id, "ann", "plumbline plan", "plan of corp/ann: done")
	equal(t, "after planning all", states(), []string{"live/db queued", "live/net queued"})
	if r.last() != since {
		t.Error("planning again made other runs")
	}
}

// TestQuietComments: what is no command makes no answer and no work.
func TestQuietComments(t *testing.T) {
	t.Parallel()
	r := listening(t)
	r.pass(time.Hour)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.pass(touchy + time.Second)
	r.poll()
	asked := r.forge.Requests("Comments")
	for range 3 {
		r.poll()
	}
	if n := r.forge.Requests("Comments"); n != asked {
		t.Errorf("%d idle polls asked for comments %d times", 3, n-asked)
	}
	for _, body := range []string{"> plumbline plan", "```\nplumbline plan\n```", "LGTM", "plumbline is nice, is it not? I like it"} {
		r.forge.Comment(id, "olga", body)
	}
	done := r.forge.Comment(id, "olga", "plumbline plan")
	r.poll()
	if got := r.answers(); len(got) != 1 {
		t.Errorf("answers: %q", got)
	}
	r.forge.EditComment(id, done, "plumbline cancel")
	r.poll()
	if got := r.answers(); len(got) != 0 {
		t.Errorf("to a command that was edited when it was done: %q", got)
	}
	r.pass(time.Second)
	late := r.forge.Comment(id, "olga", "hello")
	r.forge.EditComment(id, late, "plumbline cancel")
	r.poll()
	if got := r.answers(); len(got) != 1 || !strings.Contains(got[0], "edited gives no command") {
		t.Errorf("to a comment that became a command: %q", got)
	}
	if run := r.runs(plumbline.RunFilter{MR: id})[0]; run.State != plumbline.StateQueued {
		t.Errorf("the run is %s", run.State)
	}
}

// TestOldComments: what was written before Plumbline came is not for it.
func TestOldComments(t *testing.T) {
	t.Parallel()
	r := sighted(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.forge.Comment(id, "olga", "plumbline plan")
	r.pass(firstWords + time.Second)
	r.forge.Comment(id, "olga", "plumbline help")
	r.repo.Forge = "corp"
	r.w = r.listener()
	r.poll()
	if got := r.answers(); len(got) != 1 || !strings.HasPrefix(got[0], "help") {
		t.Errorf("answers: %q", got)
	}
}

func TestCommandsAfterMerge(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n", "live/db/main.tf": state + "# new\n"})
	r.poll()
	r.forge.Merge(id, r.merge("main", "x"))
	r.poll()
	r.poll()
	net, db := r.newest("production", "live/net"), r.newest("production", "live/db")
	r.forge.Comment(id, "ann", "plumbline approve live/net") // before there is a plan
	r.pass(time.Second)
	r.plan(net.ID, digest)
	r.plan(db.ID, digest)
	r.poll()
	if got := r.answers(); len(got) != 1 || !strings.Contains(got[0], "was made after the comment was written") {
		t.Errorf("a yes to a plan that nobody has seen: %q", got)
	}
	r.pass(time.Second)
	r.say(id, "olga", "plumbline approve", "corp/olga may not approve in infra/production")
	r.say(id, "ann", "plumbline approve live/net aaaaaaaa", "refused Refused: the plan of run")
	r.say(id, "ann", "plumbline approve live/net "+digest[:8], "approve of corp/ann: done")
	if run := r.run(net.ID); run.State != plumbline.StateApproved || run.Approvals[0].By != "corp/ann" || run.Approvals[0].Digest != digest {
		t.Errorf("approved: %s %+v", run.State, run.Approvals)
	}
	r.say(id, "ann", "plumbline approve", "approve of corp/ann: done")
	if run := r.run(db.ID); run.State != plumbline.StateApproved {
		t.Errorf("the other is %s", run.State)
	}
	r.say(id, "ann", "plumbline reject live/db too late", "refused Run")
	r.say(id, "ann", "plumbline plan", "refused It is not open any more")
}

// TestCommandOnce: however many daemons see a comment, and however often they die, it is carried out once.
func TestCommandOnce(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	run := r.runs(plumbline.RunFilter{MR: id})[0]
	r.plan(run.ID, digest)
	r.pass(time.Second)
	r.forge.Comment(id, "olga", "plumbline plan")
	others := []*Watcher{r.w, r.listener(), r.listener(), r.listener()}
	errs := make(chan error, len(others))
	for _, w := range others {
		go func() {
			_, err := w.Poll(context.Background())
			errs <- err
		}()
	}
	for range others {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := r.answers(); len(got) != 1 || !strings.HasSuffix(got[0], "done") && !strings.Contains(got[0], "refused") {
		t.Errorf("answers: %q", got)
	}
	if now := r.run(run.ID); now.State != plumbline.StateQueued {
		t.Errorf("the run is %s", now.State)
	}
	if n := len(r.runs(plumbline.RunFilter{MR: id})); n != 1 {
		t.Errorf("%d runs", n)
	}
	r.w = r.listener() // a daemon that remembers nothing
	r.poll()
	if got := r.answers(); len(got) != 0 {
		t.Errorf("after a restart: %q", got)
	}
}

// TestForkOnWish: a fork is planned when somebody who may says so, and its next head is not.
func TestForkOnWish(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Fork = true })
	r.poll()
	r.say(id, "dev", "plumbline plan", "refused corp/dev may not plan")
	if n := len(r.runs(plumbline.RunFilter{MR: id})); n != 0 {
		t.Fatalf("%d runs of a fork", n)
	}
	r.say(id, "olga", "plumbline plan live/net", "refused It was not planned yet")
	r.say(id, "olga", "plumbline plan", "plan of corp/olga: done")
	equal(t, "proposals", r.proposals(id), []string{"production/live/net@" + plumbline.Short(r.head("x"))})
	r.w = r.listener()
	r.poll()
	if n := len(r.runs(plumbline.RunFilter{MR: id})); n != 1 {
		t.Errorf("%d runs after a restart", n)
	}
	r.again(id, "x", map[string]string{"live/db/main.tf": state + "# steal\n"})
	r.poll()
	if n := len(r.runs(plumbline.RunFilter{MR: id})); n != 1 || r.mr(id).Skipped == "" {
		t.Errorf("%d runs after the next push, skipped: %q", n, r.mr(id).Skipped)
	}
}

// TestDeafForge: a forge that does not tell of comments for a while loses none.
func TestDeafForge(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.forge.Comment(id, "olga", "plumbline help")
	r.forge.Fault(func(_ context.Context, method string) error {
		if method == "Comments" {
			return forgetest.Outage(context.Background(), method)
		}
		return nil
	})
	r.warned("comments on merge request !1 of infra")
	r.pass(2 * time.Hour)
	r.forge.Fault(nil)
	r.poll()
	if got := r.answers(); len(got) != 1 {
		t.Errorf("answers: %q", got)
	}
}

// TestManyCommands: no more than some are taken at one look, and none is lost.
func TestManyCommands(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	for range 3*atOnce + 1 {
		r.forge.Comment(id, "eve", "plumbline help")
		r.pass(time.Millisecond)
	}
	var got []int
	sum := 0
	for range 5 {
		r.poll()
		got = append(got, len(r.answers()))
		sum += got[len(got)-1]
	}
	if sum != 3*atOnce+1 || slices.Max(got) != atOnce || got[4] != 0 {
		t.Errorf("answers at each look: %v", got)
	}
}

func TestCommandLedgerAway(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.forge.Comment(id, "olga", "plumbline help")
	c := r.config()
	c.Access = plumbline.Access{}
	broken := &forgetfulLedger{Ledger: c.Ledger, err: errors.New("disk full")}
	c.Ledger = broken
	w := New(c)
	if _, err := w.Poll(t.Context()); err == nil {
		t.Error("a poll that could write nothing down succeeded")
	}
	broken.err = nil
	if res, err := w.Poll(t.Context()); err != nil || len(res.Warnings) > 0 {
		t.Errorf("%v %q", err, res.Warnings)
	}
	if got := r.answers(); len(got) != 1 {
		t.Errorf("answers: %q", got)
	}
}

// forgetfulLedger fails to write down what came of a command.
type forgetfulLedger struct {
	Ledger
	err error
}

func (l *forgetfulLedger) Carried(ctx context.Context, c plumbline.Command) error {
	if l.err != nil {
		return l.err
	}
	return l.Ledger.Carried(ctx, c)
}
