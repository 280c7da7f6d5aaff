package report

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Office sends a message to a sink outside the forge. An error that is plumbline.ErrInvalid is about this message, which the sink will never take; a
// plumbline.Retry says how long the sink wants to be left alone; any other may be better next time.
type Office interface {
	Send(ctx context.Context, sink string, m plumbline.Message) error
}

// Notices is what sinks are to be told, and which of it they were.
type Notices interface {
	ClaimNotices(ctx context.Context, sink plumbline.Sink, now time.Time, lease time.Duration) (plumbline.Parcel, error)
	NoticesSent(ctx context.Context, p plumbline.Parcel, now time.Time) error
	NoticesFailed(ctx context.Context, p plumbline.Parcel, reason string, forGood bool, pause, now time.Time) (until time.Time, lost int, err error)
	SinkStatus(ctx context.Context, name string) (plumbline.SinkStatus, error)
}

// OutboxConfig makes an Outbox.
type OutboxConfig struct {
	Sink      plumbline.Sink
	Office    Office
	Notices   Notices
	PublicURL string                           // for links; "": none
	Lost      func(notices int, reason string) // is told when notices are given up; nil: nobody is
	Lease     time.Duration                    // for sending one message; default 2 minutes, far above what the office takes
	Now       func() time.Time                 // default time.Now
}

// Outbox sends what one sink is to be told.
//
//	noticed ── waiting ──(window, limit)── claimed ── sent
//	               └────────── back-off ──────┘└── given up
//
// Between sending and noting that it was sent, a crash has the same notices sent again when the claim ends: a sink is told at least once, and each
// message and notice has a key by which a receiver knows it.
type Outbox struct{ c OutboxConfig }

// NewOutbox returns an Outbox.
func NewOutbox(c OutboxConfig) *Outbox {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lease == 0 {
		c.Lease = 2 * time.Minute
	}
	return &Outbox{c}
}

// Send sends one message, when one is due. It returns how many notices were in it, and when to come again (zero: when something comes).
func (o *Outbox) Send(ctx context.Context) (sent int, again time.Time, err error) {
	now := o.c.Now()
	p, err := o.c.Notices.ClaimNotices(ctx, o.c.Sink, now, o.c.Lease)
	if err != nil || p.Claim == 0 {
		return 0, p.Again, err
	}
	failed := o.c.Office.Send(ctx, o.c.Sink.Name, compose(p.Notices, o.c.PublicURL, now))
	now = o.c.Now()
	// What became of it must be noted although somebody has had enough meanwhile.
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if failed == nil {
		if err := o.c.Notices.NoticesSent(noting, p, now); err != nil && !errors.Is(err, plumbline.ErrLost) {
			return 0, time.Time{}, err
		}
		return len(p.Notices), now, nil // there may be more
	}
	pause := time.Time{}
	if retry := (*plumbline.Retry)(nil); errors.As(failed, &retry) {
		pause, failed = retry.At, retry.Err // until when it is left alone is said once, by the one who knows
	}
	until, lost, err := o.c.Notices.NoticesFailed(noting, p, failed.Error(), errors.Is(failed, plumbline.ErrInvalid), pause, now)
	if err != nil {
		return 0, time.Time{}, errors.Join(failed, err)
	}
	if lost > 0 && o.c.Lost != nil {
		o.c.Lost(lost, failed.Error())
	}
	return 0, until, &plumbline.Retry{At: until, Err: failed}
}

// Status says in a line how the sink is.
func (o *Outbox) Status(ctx context.Context) (string, error) {
	st, err := o.c.Notices.SinkStatus(ctx, o.c.Sink.Name)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%d waiting, %d sent", st.Waiting, st.Sent)
	if st.GivenUp > 0 {
		text += fmt.Sprintf(", %d given up, the last since %s", st.GivenUp, st.Lost)
	}
	if st.Paused.After(o.c.Now()) {
		text += fmt.Sprintf("; left alone until %s: %s", st.Paused.Format(time.RFC3339), st.Reason)
	}
	return text, nil
}

// Clock is where marks are kept of what the clock has brought.
type Clock interface {
	Seen(ctx context.Context, repo, subject string) (string, error)
	Observe(ctx context.Context, o plumbline.Observation) ([]plumbline.RunID, error)
	DriftItems(ctx context.Context, f plumbline.DriftFilter) ([]plumbline.DriftItem, error)
	Stacks(ctx context.Context, repo, env string) ([]plumbline.StackStatus, error)
	Runs(ctx context.Context, f plumbline.RunFilter) ([]plumbline.Run, error)
	Announce(ctx context.Context, notices []plumbline.Notice, now time.Time) (int, error)
}

// Digest announces to a sink how an environment's drift stands, when a tick of the sink's schedule has passed since the last one that was seen. Ticks
// missed meanwhile are one digest. It returns how many notices are new, and when the next tick is due. However many machines look, and
// however often, a tick announces once: its notice's key is the tick, and is written before the mark is.
func Digest(ctx context.Context, c Clock, sink plumbline.Sink, env plumbline.Environment, now time.Time) (added int, next time.Time, err error) {
	zone := sink.Timezone
	if zone == "" {
		zone = "UTC"
	}
	schedule, err := cron.ParseStandard("CRON_TZ=" + zone + " " + sink.Digest)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("digest of notify %q: %w", sink.Name, err)
	}
	subject := "digest " + sink.Name + " " + env.Name
	was, err := c.Seen(ctx, env.Repository, subject)
	if err != nil {
		return 0, time.Time{}, err
	}
	see := func(mark time.Time) error {
		_, err := c.Observe(ctx, plumbline.Observation{
			Repository: env.Repository, Subject: subject, Was: was, Now: mark.UTC().Format(time.RFC3339), At: now,
		})
		if errors.Is(err, plumbline.ErrConflict) { // somebody else saw it
			return nil
		}
		return err
	}
	if was == "" {
		// Ticks count from the first look.
		return 0, plumbline.NextTick(schedule, now, now), see(now)
	}
	last, err := time.Parse(time.RFC3339, was)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("mark %q of the %s: %w", was, subject, err)
	}
	tick := plumbline.LastTick(schedule, last, now)
	if tick.IsZero() {
		return 0, plumbline.NextTick(schedule, last, now), nil
	}
	items, err := c.DriftItems(ctx, plumbline.DriftFilter{
		Repository: env.Repository, Environment: env.Name, Resolved: true, ResolvedSince: last, Limit: 100_000,
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	d := plumbline.DigestDrift(items, last, now)
	unseen, err := unseen(ctx, c, env, &d)
	if err != nil {
		return 0, time.Time{}, err
	}
	if added, err = c.Announce(ctx, []plumbline.Notice{digestNotice(sink, env, d, unseen, tick, now)}, now); err != nil {
		return 0, time.Time{}, err
	}
	return added, plumbline.NextTick(schedule, tick, now), see(tick)
}

// unseen names the stacks of which nobody knows whether they have drifted: a digest must not say of them that they have not.
func unseen(ctx context.Context, c Clock, env plumbline.Environment, d *plumbline.DriftDigest) (out []string, err error) {
	stacks, err := c.Stacks(ctx, env.Repository, env.Name)
	if err != nil {
		return nil, err
	}
	for _, st := range stacks {
		if st.Removed {
			continue
		}
		d.Known++
		looks, err := c.Runs(ctx, plumbline.RunFilter{
			Repository: env.Repository, Environment: env.Name, Stack: st.Stack.Name, Kinds: []plumbline.Kind{plumbline.KindDrift},
			States: []plumbline.State{plumbline.StateClean, plumbline.StatePlanned, plumbline.StateDrifted}, Limit: 1,
		})
		if err != nil {
			return nil, err
		}
		if len(looks) == 0 || !looks[0].Finished.After(d.Since) {
			out = append(out, st.Stack.Name)
		}
	}
	d.Unseen = len(out)
	return out, nil
}

func digestNotice(sink plumbline.Sink, env plumbline.Environment, d plumbline.DriftDigest, unseen []string, tick, now time.Time) plumbline.Notice {
	n := plumbline.Notice{
		Sink: sink.Name, Key: fmt.Sprintf("digest/%s/%s/%s", env.Key(), sink.Name, tick.UTC().Format(time.RFC3339)), Occasion: plumbline.OccasionDigest,
		Severity: plumbline.SeverityInfo, Subject: "digest " + env.Key(), Stack: plumbline.StackRef{Repository: env.Repository, Environment: env.Name},
		At: tick, Drift: &d,
	}
	since := d.Since.UTC().Format("2 January 15:04 MST")
	switch {
	case d.Open > 0:
		n.What = fmt.Sprintf("has drift: %s open in %s, %d of them new and %d resolved since %s", count(d.Open, "difference"), count(d.Stacks, "stack"), d.New, d.Resolved, since)
		n.Detail = []string{fmt.Sprintf("The oldest is open for %s: %s.", age(now.Sub(d.OldestAt)), d.OldestIs)}
	case d.Unseen == d.Known && d.Known > 0:
		n.What = "was not checked for drift since " + since
	case d.Resolved > 0:
		n.What = fmt.Sprintf("has no drift; %s resolved since %s", count(d.Resolved, "difference"), since)
	case d.Unseen > 0:
		n.What = "has no drift where it was checked since " + since
	default:
		n.What = "has no drift, and had none since " + since
	}
	if d.Open > 0 || d.Unseen > 0 {
		n.Severity = plumbline.SeverityWarning
	}
	if d.Unseen > 0 {
		n.Detail = append(n.Detail, fmt.Sprintf("%d of %s had no check that came to a result: %s.", d.Unseen, count(d.Known, "stack"), list(unseen, noticeNames)))
	}
	return n
}

// age is a time span as people say it.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", max(d, 0)/time.Minute)
}
