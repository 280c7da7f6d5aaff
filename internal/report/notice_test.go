package report

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/store"
)

// office is a sink that keeps what it is sent, or fails as it is told to.
type office struct {
	mu   sync.Mutex
	sent []plumbline.Message
	fail func(n int) error // the n-th message, from 1
	n    int
	did  func() // is called with each message
}

func (o *office) Send(_ context.Context, sink string, m plumbline.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if sink != "sre" {
		return fmt.Errorf("notify %q: %w", sink, plumbline.ErrNotFound)
	}
	o.n++
	if o.fail != nil {
		if err := o.fail(o.n); err != nil {
			return err
		}
	}
	o.sent = append(o.sent, m)
	if o.did != nil {
		o.did()
	}
	return nil
}

func (o *office) keys() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, m := range o.sent {
		for _, n := range m.Notices {
			out = append(out, n.Key)
		}
	}
	slices.Sort(out)
	return out
}

var sre = plumbline.Sink{Name: "sre", Kind: "slack", On: plumbline.Occasions, Group: 30 * time.Second, Limit: 30}

// told gives the rig sinks, of which production tells them all.
func (r *rig) told(sinks ...plumbline.Sink) {
	r.sinks = sinks
	for _, s := range sinks {
		r.repo.Environments[0].Notify = append(r.repo.Environments[0].Notify, s.Name)
	}
	r.restart(nil)
}

func (r *rig) outbox(o *office) *Outbox {
	return NewOutbox(OutboxConfig{Sink: sre, Office: o, Notices: r.store, PublicURL: "https://p.example.com", Now: func() time.Time { return r.now }})
}

// send sends until nothing more is due.
func (r *rig) send(b *Outbox) {
	r.t.Helper()
	for range 20 {
		sent, again, err := b.Send(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if sent == 0 && again.IsZero() {
			return
		}
		if again.After(r.now) {
			r.now = again
		}
	}
	r.t.Fatal("it never comes to rest")
}

func (r *rig) drift(stack string, found ...plumbline.Difference) {
	r.t.Helper()
	r.check(stack, plumbline.DriftLook{Found: found})
}

func (r *rig) check(stack string, look plumbline.DriftLook) {
	r.t.Helper()
	run := r.newRun(plumbline.KindDrift, "production", stack, "c1")
	run.Subject = plumbline.SubjectDrift("production")
	id := r.observe(plumbline.Observation{Runs: []plumbline.Run{run}})[0]
	r.start(id)
	_, err := r.store.FinishDrift(r.t.Context(), id, r.now, func(run *plumbline.Run, now time.Time) error {
		return run.Finish(run.Claim, plumbline.Outcome{Plan: &plumbline.Plan{}, Differences: look.Found}, &plumbline.PlanInfo{Digest: digest}, now)
	}, look)
	if err != nil {
		r.t.Fatal(err)
	}
}

func differing(address, value string) plumbline.Difference {
	return plumbline.Difference{Address: address, Kind: plumbline.DriftChanged, Attributes: []plumbline.Attribute{{Path: "x", Before: `"a"`, After: value}}}
}

func shown(list []plumbline.Message) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintf(&b, "%s (%s)\n  %s\n", m.Title, m.Severity, m.Link)
		for _, l := range m.Lines {
			fmt.Fprintf(&b, "  - %s\n", l)
		}
		for _, n := range m.Notices {
			fmt.Fprintf(&b, "  [%s; %s; over: %t]\n", n.Key, n.Subject, n.Over)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// TestNoticesGolden is what people read, one after the other.
func TestNoticesGolden(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	b := r.outbox(o)
	step := func(do func()) {
		do()
		r.settle()
		r.send(b)
		r.now = r.now.Add(time.Hour)
	}
	var ids []plumbline.RunID
	step(func() { ids = r.deploy("c1c1c1c1c1", "production/net"); r.plan(ids...) })
	step(func() { r.apply(ids[0]) })
	step(func() {
		ids = r.deploy("c2c2c2c2c2", "production/a", "production/b", "production/c")
		r.plan(ids...)
	})
	step(func() {
		r.apply(ids[0])
		for _, id := range ids[1:2] {
			r.update(id, func(run *plumbline.Run, now time.Time) error {
				return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, digest, now)
			})
			r.start(id)
			r.finish(id, plumbline.Outcome{Failure: &plumbline.Failure{
				Kind: plumbline.FailApply, Text: "Terraform could not apply b.", Next: "Correct it, then `plumbline runs retry 3`.",
				Diagnostics: []plumbline.Diagnostic{{Severity: "error", Summary: "AccessDenied with hunter2", File: "b/main.tf", Line: 3}},
			}}, nil)
		}
	})
	step(func() {
		id := ids[2]
		r.update(id, func(run *plumbline.Run, now time.Time) error {
			return run.Approve(plumbline.Person{Name: "ops"}, plumbline.Access{}, digest, now)
		})
		r.start(id)
		r.finish(id, plumbline.Outcome{Interrupted: true, Failure: &plumbline.Failure{Kind: plumbline.FailApply, Text: "The machine went away.", Next: "Look at the log."}}, nil)
	})
	step(func() { r.drift("net", differing("aws_route.nat", `"b"`), differing("aws_route.other", `"b"`)) })
	step(func() { r.drift("net", differing("aws_route.nat", `"b"`), differing("aws_route.other", `"b"`)) }) // nothing new
	step(func() { r.drift("net", differing("aws_route.nat", `"c"`)) })
	step(func() { r.drift("net") })
	step(func() {
		r.drift("net", differing("aws_route.nat", `"d"`))
		r.drift("db", differing("aws_db_instance.main", `"d"`))
		id := r.deploy("c3c3c3c3c3", "production/z")[0]
		r.start(id)
		r.finish(id, plumbline.Outcome{Failure: &plumbline.Failure{Kind: plumbline.FailPlan, Text: "Terraform could not plan z."}}, nil)
	})
	golden(t, "notices.txt", shown(o.sent))
	if all := fmt.Sprint(o.sent); strings.Contains(all, "hunter2") || !strings.Contains(all, "AccessDenied with "+plumbline.Masked) {
		t.Error("a secret in a run's words is told")
	}
}

// TestNoticesOfARuleThatRanOut: that drift counts again is no good news, although nothing was found that was not known.
func TestNoticesOfARuleThatRanOut(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	b := r.outbox(o)
	rule := plumbline.IgnoreRule{Address: "aws_route.*", Owner: "sre", Reason: "a migration", Until: r.now.Add(time.Hour)}
	look := plumbline.DriftLook{Found: []plumbline.Difference{differing("aws_route.nat", `"b"`)}, Rules: []plumbline.IgnoreRule{rule}}
	r.check("net", look)
	r.settle()
	r.send(b)
	if len(o.sent) != 0 {
		t.Fatalf("told of what is ignored:\n%s", shown(o.sent))
	}
	r.now = rule.Until
	r.check("net", look)
	r.settle()
	r.send(b)
	if len(o.sent) != 1 || !strings.HasSuffix(o.sent[0].Title, " has drift that is not ignored any more: 1 difference") || o.sent[0].Severity != plumbline.SeverityWarning {
		t.Errorf("told:\n%s", shown(o.sent))
	}
}

// TestNoticesWhom: who is told follows from the environment and from the sink; what is proposed is told on the merge request alone.
func TestNoticesWhom(t *testing.T) {
	r, o := newRig(t), &office{}
	only := plumbline.Sink{Name: "sre", On: []plumbline.Occasion{plumbline.OccasionFailed}}
	r.told(only, plumbline.Sink{Name: "nobody"})
	mr := &plumbline.MergeRequest{Head: "h"}
	r.fail(r.open(mr, "production/p")[0])
	ids := r.deploy("c1", "production/a", "production/b", "lab/a", "lab/b")
	r.plan(ids[0])
	r.fail(ids[1])
	for _, id := range ids[2:] {
		r.fail(id)
	}
	r.drift("net")
	r.settle()
	pager := plumbline.Sink{Name: "pager", Kind: "pagerduty", On: plumbline.Occasions}
	r.told(only, pager)
	clean := r.deploy("c3", "production/a")[0]
	r.start(clean)
	r.finish(clean, plumbline.Outcome{Plan: &plumbline.Plan{}}, &plumbline.PlanInfo{Digest: digest})
	r.settle()
	// That a stack is in sync ends what the pager keeps, and is told nobody else.
	if p, err := r.store.ClaimNotices(t.Context(), pager, r.now, time.Minute); err != nil || len(p.Notices) != 1 || !p.Notices[0].Over {
		t.Errorf("%+v, %v", p, err)
	}
	b := NewOutbox(OutboxConfig{Sink: only, Office: o, Notices: r.store, Now: func() time.Time { return r.now }})
	r.send(b)
	if got, want := o.keys(), []string{fmt.Sprintf("run/%s/failed/1", ids[1])}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
}

// TestNoticesWithoutForge: a forge that is away keeps nobody in the dark, and when it is back nobody is told twice.
func TestNoticesWithoutForge(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	b := r.outbox(o)
	r.forge.Fault(func(context.Context, string) error { return errors.New("away") })
	r.apply(r.deploy("c1", "production/a")[0])
	if _, _, err := r.r.Flush(r.t.Context()); err == nil {
		t.Fatal("the forge is not away")
	}
	r.send(b)
	if len(o.sent) != 1 {
		t.Fatalf("%d messages", len(o.sent))
	}
	r.forge.Fault(nil)
	r.settle()
	r.send(b)
	if len(o.sent) != 1 || r.unreported() != 0 {
		t.Errorf("%d messages, %d unreported", len(o.sent), r.unreported())
	}
}

// mute is a ledger that fails at one step.
type mute struct {
	Ledger
	announce, mark bool
}

func (m mute) Announce(ctx context.Context, n []plumbline.Notice, now time.Time) (int, error) {
	if m.announce {
		return 0, errors.New("crash before the notice is written")
	}
	return m.Ledger.Announce(ctx, n, now)
}

func (m mute) MarkReported(ctx context.Context, runs []plumbline.RunVersion) error {
	if m.mark {
		return errors.New("crash before the run is marked")
	}
	return m.Ledger.MarkReported(ctx, runs)
}

// TestNoticesCrash: wherever a reporter ends, its successor tells each sink once.
func TestNoticesCrash(t *testing.T) {
	for name, m := range map[string]mute{"before the notice": {announce: true}, "before the mark": {mark: true}} {
		t.Run(name, func(t *testing.T) {
			r, o := newRig(t), &office{}
			r.told(sre)
			r.plan(r.deploy("c1", "production/a")...)
			r.restart(func(l Ledger) Ledger { m.Ledger = l; return m })
			if _, _, err := r.r.Flush(t.Context()); err == nil {
				t.Fatal("no crash")
			}
			if r.unreported() == 0 {
				t.Fatal("marked as reported all the same")
			}
			r.restart(nil)
			r.settle()
			r.settle()
			r.send(r.outbox(o))
			if len(o.sent) != 1 {
				t.Errorf("%d messages", len(o.sent))
			}
		})
	}
}

// TestOutboxCrash: a message may come twice when its sender ends between sending and noting; it has the same key then.
func TestOutboxCrash(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	r.plan(r.deploy("c1", "production/a")...)
	r.settle()
	r.now = r.now.Add(sre.Group)
	p, err := r.store.ClaimNotices(t.Context(), sre, r.now, 2*time.Minute)
	if err != nil || p.Claim == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	first := compose(p.Notices, "", r.now) // sent, and then the machine ends
	r.send(r.outbox(o))
	if len(o.sent) != 1 || o.sent[0].Key != first.Key {
		t.Errorf("%+v", o.sent)
	}
}

func TestOutboxFails(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	b := r.outbox(o)
	r.plan(r.deploy("c1", "production/a")...)
	r.settle()
	r.now = r.now.Add(sre.Group)

	asked := r.now.Add(17 * time.Minute)
	o.fail = func(int) error { return &plumbline.Retry{At: asked, Err: errors.New("it answers 429")} }
	_, again, err := b.Send(t.Context())
	retry := (*plumbline.Retry)(nil)
	if !errors.As(err, &retry) || !retry.At.Equal(asked) || !again.Equal(asked) || strings.Count(err.Error(), "again after") != 1 {
		t.Fatalf("again %s, %v", again, err)
	}
	if status, err := b.Status(t.Context()); err != nil || !strings.Contains(status, "1 waiting") || !strings.HasSuffix(status, ": it answers 429") {
		t.Errorf("%q, %v", status, err)
	}
	if _, again, err := b.Send(t.Context()); err != nil || !again.Equal(asked) || o.n != 1 {
		t.Fatalf("%d messages, again %s, %v; it is to be left alone until %s", o.n, again, err, asked)
	}
	r.now, o.fail = asked, nil
	r.send(b)
	if len(o.sent) != 1 {
		t.Fatalf("%d messages", len(o.sent))
	}

	var lost []string
	b.c.Lost = func(n int, why string) { lost = append(lost, fmt.Sprint(n, " ", why)) }
	o.fail = func(int) error { return fmt.Errorf("it answers 400: %w", plumbline.ErrInvalid) }
	r.plan(r.deploy("c2", "production/a", "production/b")...)
	r.settle()
	r.now = r.now.Add(sre.Group)
	for range 3 { // together, then each by itself
		if _, _, err := b.Send(t.Context()); err == nil {
			t.Fatal("no error")
		}
	}
	if !slices.Equal(lost, []string{"1 it answers 400: invalid", "1 it answers 400: invalid"}) {
		t.Errorf("given up %q", lost)
	}
	o.fail = nil
	r.send(b)
	if status, err := b.Status(t.Context()); err != nil || status != "0 waiting, 1 sent, 2 given up, the last since it answers 400: invalid" {
		t.Errorf("%q, %v", status, err)
	}
}

// TestOutboxTwo: two daemons that send at the same time tell everything once.
func TestOutboxTwo(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	const n = 40
	var all []plumbline.Notice
	for i := range n {
		all = append(all, plumbline.Notice{Sink: "sre", Key: fmt.Sprintf("k%02d", i), Occasion: plumbline.OccasionFailed, Stack: plumbline.StackRef{Repository: "infra", Environment: "production", Name: "a"}})
	}
	sink := plumbline.Sink{Name: "sre"}
	var wg sync.WaitGroup
	for range 4 {
		b := NewOutbox(OutboxConfig{Sink: sink, Office: o, Notices: r.store, Now: func() time.Time { return t0 }})
		wg.Go(func() {
			for i := range n {
				if _, err := r.store.Announce(t.Context(), all[:i+1], t0); err != nil {
					t.Error(err)
				}
				if _, _, err := b.Send(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r.send(NewOutbox(OutboxConfig{Sink: sink, Office: o, Notices: r.store, Now: func() time.Time { return r.now }}))
	if keys := o.keys(); len(keys) != n || len(slices.Compact(keys)) != n {
		t.Errorf("%d told of %d things", len(o.keys()), n)
	}
}

// TestOutboxStops: what became of a message is noted although the daemon is told to stop meanwhile.
func TestOutboxStops(t *testing.T) {
	r, o := newRig(t), &office{}
	r.told(sre)
	r.plan(r.deploy("c1", "production/a")...)
	r.settle()
	r.now = r.now.Add(sre.Group)
	ctx, stop := context.WithCancel(t.Context())
	o.did = stop
	if sent, _, err := r.outbox(o).Send(ctx); err != nil || sent != 1 {
		t.Fatalf("%d sent, %v", sent, err)
	}
	r.now = r.now.Add(time.Hour)
	r.send(r.outbox(o))
	if len(o.sent) != 1 {
		t.Errorf("%d messages", len(o.sent))
	}
}

func TestDigest(t *testing.T) {
	r, o := newRig(t), &office{}
	daily := sre
	daily.Digest, daily.Timezone, daily.On = "0 8 * * *", "Europe/London", nil
	r.told(daily)
	env := r.repo.Environments[0]
	look := func() (int, time.Time) {
		t.Helper()
		// Four daemons look at once, and one of them again.
		var (
			mu    sync.Mutex
			added int
			next  time.Time
			wg    sync.WaitGroup
		)
		for range 4 {
			wg.Go(func() {
				for range 2 {
					n, at, err := Digest(t.Context(), r.store, daily, env, r.now)
					mu.Lock()
					if err != nil {
						t.Error(err)
					}
					added, next = added+n, at
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return added, next
	}
	if n, next := look(); n != 0 || !next.Equal(time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)) {
		t.Fatalf("%d at the first look, next %s", n, next)
	}
	b := NewOutbox(OutboxConfig{Sink: daily, Office: o, Notices: r.store, PublicURL: "https://p.example.com", Now: func() time.Time { return r.now }})
	day := func(want int) {
		t.Helper()
		r.now = time.Date(2026, 11, r.now.Day()+1, 8, 0, 1, 0, time.UTC)
		if n, _ := look(); n != want {
			t.Fatalf("%d digests on %s, want %d", n, r.now, want)
		}
		r.send(b)
	}
	day(1)
	r.drift("net", differing("aws_route.nat", `"b"`), differing("aws_route.other", `"b"`))
	r.drift("db", differing("aws_db_instance.main", `"b"`))
	day(1)
	r.drift("db")
	r.now = r.now.AddDate(0, 0, 2) // the ticks between are one
	day(1)
	r.drift("net")
	day(1)
	day(1) // nobody has looked
	r.settle()
	golden(t, "digest.txt", shown(o.sent))

	bad := daily
	bad.Digest = "never"
	if _, _, err := Digest(t.Context(), r.store, bad, env, r.now); err == nil {
		t.Error("a schedule that cannot be read is accepted")
	}
}

// TestMessagesAreBounded: however much there is to tell, a message can be read, and says how much it leaves out.
func TestMessagesAreBounded(t *testing.T) {
	var many []plumbline.Notice
	for i := range 200 {
		many = append(many, plumbline.Notice{
			ID: int64(i + 1), Key: fmt.Sprint(i), Occasion: plumbline.Occasions[i%5], Severity: plumbline.SeverityInfo, What: "did something",
			Stack: plumbline.StackRef{Repository: "infra", Environment: fmt.Sprint("e", i%3), Name: fmt.Sprint("s", i)}, Run: plumbline.RunID(i),
		})
	}
	m := compose(many, "", t0)
	if len(m.Lines) != messageLines+1 || m.Lines[messageLines] != fmt.Sprintf("and %d more", 200-messageLines) || len(m.Notices) != 200 || !strings.HasSuffix(m.Title, "; and 12 more") {
		t.Errorf("%d lines, %q, %q", len(m.Lines), m.Lines[len(m.Lines)-1], m.Title)
	}
}

var _ Notices = (*store.Store)(nil)
