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

// told has people told of all runs.
func (r *rig) told() {
	r.t.Helper()
	var told []plumbline.RunVersion
	for _, run := range r.runs(plumbline.RunFilter{}) {
		told = append(told, plumbline.RunVersion{ID: run.ID, Version: run.Version, At: r.clock()})
	}
	if err := r.store.MarkReported(r.t.Context(), told); err != nil {
		r.t.Fatal(err)
	}
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
	r.say(id, "ann", "plumbline approve", "refused production does not carry approvals over")
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
	if got := r.answers(); len(got) != 1 || !strings.Contains(got[0], "was shown after the comment was written") {
		t.Errorf("a yes to a plan that nobody has seen: %q", got)
	}
	r.pass(time.Second)
	r.say(id, "ann", "plumbline approve live/net", "was shown after the comment was written") // the forge does not show it yet
	r.told()
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
	if got := r.answers(); len(got) != 1 || !strings.HasSuffix(got[0], "done") {
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
	head := r.head("x")
	r.say(id, "dev", "plumbline plan", "refused corp/dev may not plan")
	if n := len(r.runs(plumbline.RunFilter{MR: id})); n != 0 {
		t.Fatalf("%d runs of a fork", n)
	}
	r.say(id, "olga", "plumbline plan live/net", "refused Its plan runs what its author wrote. Its head is `"+head[:7]+"`")
	r.say(id, "olga", "plumbline plan", "read it, then write `plumbline plan "+head[:7]+"`")
	r.say(id, "olga", "plumbline plan "+head[:7], "plan of corp/olga: done")
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
	if res, err := w.Poll(t.Context()); err != nil || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "disk full") {
		t.Errorf("a poll that could write nothing down: %v %q", err, res.Warnings)
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

func (l *forgetfulLedger) Carry(ctx context.Context, c plumbline.Command, now time.Time, deeds []plumbline.Deed, conclude func([]error) plumbline.Command) error {
	if l.err != nil {
		return l.err
	}
	return l.Ledger.Carry(ctx, c, now, deeds, conclude)
}

// TestForkMoves: what is planned of a fork is what was read, whatever its author pushes meanwhile.
func TestForkMoves(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.forge.Edit(id, func(mr *plumbline.MergeRequest) { mr.Fork = true })
	r.poll()
	read := r.head("x")
	r.forge.Comment(id, "olga", "plumbline plan "+read[:7])
	r.again(id, "x", map[string]string{"live/db/main.tf": state + "# steal\n"})
	r.poll()
	r.poll()
	if got := r.answers(); len(got) != 1 || !strings.Contains(got[0], "refused Its plan runs") {
		t.Errorf("answers: %q", got)
	}
	if n := len(r.runs(plumbline.RunFilter{MR: id})); n != 0 {
		t.Errorf("%d runs of what nobody has read", n)
	}
}

// TestOthersStacks: two merge requests come with one deployment; a word on one is about its own stacks.
func TestOthersStacks(t *testing.T) {
	t.Parallel()
	r := listening(t)
	one := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	two := r.propose("y", map[string]string{"live/db/main.tf": state + "# new\n", "lab/one/main.tf": state + "# new\n"})
	r.poll()
	r.merge("main", "x")
	commit := r.merge("main", "y")
	r.forge.Merge(one, commit)
	r.forge.Merge(two, commit)
	r.poll()
	r.poll()
	net, db := r.newest("production", "live/net"), r.newest("production", "live/db")
	r.plan(net.ID, digest)
	r.plan(db.ID, digest)
	r.told()
	r.pass(time.Second)
	r.say(one, "ann", "plumbline approve live/db", "There is no such stack here; there are: `live/net`.")
	r.say(one, "ann", "plumbline reject live/nett is too much", "reject of corp/ann: done") // there is one stack, so that it is a reason
	r.say(two, "ann", "plumbline reject live/dbb is too much", "There is no such stack here; there are: `lab/one`, `live/db`.")
	r.say(two, "ann", "plumbline approve", "approve of corp/ann: done Done for 1 of 2 stacks. corp/ann may not approve in infra/lab.")
	if a, b := r.run(net.ID).State, r.run(db.ID).State; a != plumbline.StateRejected || b != plumbline.StateApproved {
		t.Errorf("net is %s, db %s", a, b)
	}
}

// TestLaterDeployment: a merge request whose deployment was overtaken is listened to, and its words are for the run that does its work.
func TestLaterDeployment(t *testing.T) {
	t.Parallel()
	r := listening(t)
	one := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.forge.Merge(one, r.merge("main", "x"))
	r.poll()
	r.push("main", map[string]string{"live/net/main.tf": state + "# newer\n"})
	r.poll()
	run := r.newest("production", "live/net")
	r.plan(run.ID, digest)
	r.told()
	r.pass(time.Second)
	r.say(one, "ann", "plumbline approve", "approve of corp/ann: done")
	if now := r.run(run.ID); now.State != plumbline.StateApproved {
		t.Errorf("it is %s", now.State)
	}
}

// TestLateComments: a comment that comes late, with a time before others', is heard; one that could not be carried out for long is not.
func TestLateComments(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.pass(time.Minute)
	r.forge.Comment(id, "eve", "plumbline help")
	r.poll()
	r.forge.CommentAt(id, "olga", "plumbline help", r.clock().Add(-30*time.Second))
	r.poll()
	if got := r.answers(); len(got) != 2 {
		t.Errorf("answers: %q", got)
	}
	r.forge.Comment(id, "olga", "plumbline cancel")
	r.forge.Fault(forgetest.Outage)
	r.pass(2 * time.Hour)
	r.warned("merge requests of infra are not listed")
	r.forge.Fault(nil)
	r.poll()
	if got := r.answers(); len(got) != 1 || !strings.Contains(got[0], "It was written 2 h ago") {
		t.Errorf("answers: %q", got)
	}
}

// TestLastWords: what was written just before the merge is heard after it.
func TestLastWords(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.forge.Comment(id, "olga", "plumbline help")
	r.forge.Close(id)
	r.poll()
	if got := r.answers(); len(got) != 1 {
		t.Errorf("answers: %q", got)
	}
}

// TestSeldomHeard: a merge request whose deployment has failed costs a request each five minutes, not each poll, and is heard.
func TestSeldomHeard(t *testing.T) {
	t.Parallel()
	r := listening(t)
	id := r.propose("x", map[string]string{"live/net/main.tf": state + "# new\n"})
	r.poll()
	r.forge.Merge(id, r.merge("main", "x"))
	r.poll()
	run := r.newest("production", "live/net")
	r.start(run.ID)
	r.finish(run.ID, failure(), nil)
	r.pass(seldom)
	r.poll()
	asked := r.forge.Requests("Comments")
	for range 5 {
		r.pass(30 * time.Second)
		r.poll()
	}
	if n := r.forge.Requests("Comments") - asked; n != 0 {
		t.Errorf("%d requests in 150 s", n)
	}
	r.forge.Comment(id, "olga", "plumbline retry")
	r.pass(seldom)
	r.poll()
	if got := r.answers(); len(got) != 1 || !strings.HasSuffix(got[0], "done") {
		t.Errorf("answers: %q", got)
	}
}
