package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/plumbline/plumbline/internal/aws"
	"github.com/plumbline/plumbline/internal/config"
	"github.com/plumbline/plumbline/internal/notify"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/redact"
	"github.com/plumbline/plumbline/internal/report"
)

// noticesKept is for how long what was told is remembered. A notice is written once for as long.
const noticesKept = 14 * 24 * time.Hour

// telling is what tells people outside the forge.
type telling struct {
	sinks []plumbline.Sink
	mask  func(text string) string
	loops []*loop // one for each sink, so that one that hangs holds up no other
}

// wake has every sink looked after.
func (t *telling) wake() {
	for _, l := range t.loops {
		l.wake()
	}
}

// newOffice is where messages are handed over.
func newOffice(ctx context.Context, cfg *config.Config) (*notify.Office, error) {
	var all []notify.Settings
	var publish notify.Publisher
	if slices.ContainsFunc(cfg.Notify, func(n config.Notify) bool { return n.Kind == notify.SNS }) {
		account, err := aws.Load(ctx, aws.Config{})
		if err != nil {
			return nil, err
		}
		publish = aws.NewPublisher(account).Publish
	}
	for _, n := range cfg.Notify {
		s := notify.Settings{Kind: n.Kind, Name: n.Name, URL: n.URL, Secret: n.Secret, Topic: n.Topic}
		if m := n.Mail; m != nil {
			s.Mail = notify.Mail{Host: m.Host, Port: m.Port, TLS: m.TLS, Username: m.Username, Password: m.Password, From: m.From, To: m.To}
		}
		all = append(all, s)
	}
	return notify.Open(notify.Config{Sinks: all, Publish: publish, Mask: redact.New(cfg.Secrets...).WithShapes().String})
}

// newTelling makes what the reporters need to know, and the loops that send what they notice.
func (d *daemon) newTelling(ctx context.Context) (*telling, error) {
	t := &telling{}
	if len(d.cfg.Notify) == 0 {
		return t, nil
	}
	office, err := newOffice(ctx, d.cfg)
	if err != nil {
		return nil, err
	}
	t.mask = redact.New(append([]string{d.token.Reveal()}, d.cfg.Secrets...)...).WithShapes().String
	for _, n := range d.cfg.Notify {
		t.sinks = append(t.sinks, n.Sink)
		log := d.log.With(zap.String("notify", n.Name))
		box := report.NewOutbox(report.OutboxConfig{
			Sink: n.Sink, Office: office, Notices: d.store, PublicURL: d.cfg.Server.PublicURL,
			Lost: func(notices int, reason string) {
				log.Error("notices given up", zap.Int("notices", notices), zap.String("reason", reason))
			},
		})
		l := newLoop("notify "+n.Name, func(ctx context.Context) (string, time.Time, error) {
			_, again, err := box.Send(ctx)
			if err != nil {
				return "", again, err
			}
			// Other nodes notice, too, and wake nobody here.
			if next := time.Now().Add(30 * time.Second); again.IsZero() || again.After(next) {
				again = next
			}
			status, err := box.Status(ctx)
			return status, again, err
		})
		t.loops = append(t.loops, l)
	}
	return t, nil
}

// digests announces how drift stands, by the schedules of sinks. A sink that is told of no environment has none.
func (d *daemon) digests() []*loop {
	var out []*loop
	for _, n := range d.cfg.Notify {
		if n.Digest == "" {
			continue
		}
		var envs []plumbline.Environment
		for _, repo := range d.cfg.Repositories {
			for _, env := range repo.Environments {
				if slices.Contains(env.Notify, n.Name) {
					envs = append(envs, env)
				}
			}
		}
		sink := n.Sink
		out = append(out, newLoop("digest "+n.Name, func(ctx context.Context) (string, time.Time, error) {
			var (
				told int
				next time.Time
				errs []error
			)
			for _, env := range envs {
				added, at, err := report.Digest(ctx, d.store, sink, env, time.Now())
				if told += added; err != nil {
					errs = append(errs, err)
				} else if next.IsZero() || !at.IsZero() && at.Before(next) {
					next = at
				}
			}
			if told > 0 {
				d.telling.wake()
			}
			return fmt.Sprintf("%d digests", told), next, errors.Join(errs...)
		}))
	}
	return out
}

// forgetting clears the outbox of what has ended, or nobody will ever send.
func (d *daemon) forgetting() *loop {
	return newLoop("notices", func(ctx context.Context) (string, time.Time, error) {
		now := time.Now()
		lost, forgotten, err := d.store.SweepNotices(ctx, now, now.Add(-noticesKept))
		if lost > 0 {
			d.log.Error("notices given up that nobody has sent", zap.Int("notices", lost), zap.Duration("after", plumbline.NoticeStale))
		}
		return fmt.Sprintf("%d given up, %d forgotten", lost, forgotten), now.Add(time.Hour), err
	})
}

func newNotifyCmd(o *options) *cobra.Command {
	cmd := group("notify", "Sinks outside the forge")
	cmd.AddCommand(newNotifyTestCmd(o))
	return cmd
}

func newNotifyTestCmd(o *options) *cobra.Command {
	path := ""
	cmd := &cobra.Command{
		Use:   "test [NAME …]",
		Short: "Send a test message to sinks",
		Long: `Sends a test message to the sinks of the configuration with these names, or to all of them, and says of each whether it was taken. It needs no
daemon, and nothing is kept of it. To PagerDuty it sends the end of an incident that there never was, which pages nobody.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			cfg, err := loadConfig(cmd.Context(), path)
			if err != nil {
				return err
			}
			var known []string
			for _, n := range cfg.Notify {
				known = append(known, n.Name)
			}
			if len(known) == 0 {
				return usageError(&plumbline.Refusal{Kind: plumbline.ErrNotFound, What: path + " has no notify block.", Next: "docs/notifications.md shows some."})
			}
			for _, name := range names {
				if !slices.Contains(known, name) {
					return usageError(&plumbline.Refusal{Kind: plumbline.ErrNotFound, What: fmt.Sprintf("There is no notify block %q.", name), Next: "There are " + strings.Join(known, ", ") + "."})
				}
			}
			office, err := newOffice(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			var errs []error
			for _, n := range cfg.Notify {
				if len(names) > 0 && !slices.Contains(names, n.Name) {
					continue
				}
				if err := office.Send(cmd.Context(), n.Name, testMessage(n.Name, cfg.Server.PublicURL, time.Now())); err != nil {
					errs = append(errs, err)
					continue
				}
				if _, err := fmt.Fprintf(o.Out, "%s (%s) has taken the test message.\n", n.Name, n.Kind); err != nil {
					return err
				}
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringVar(&path, "config", "plumbline.hcl", "a file, or a directory of *.hcl files")
	return cmd
}

// testMessage is one that calls for nothing.
func testMessage(sink, link string, now time.Time) plumbline.Message {
	n := plumbline.Notice{
		ID: 1, Sink: sink, Key: "test/" + sink + "/" + now.UTC().Format(time.RFC3339Nano), Occasion: plumbline.OccasionApplied, Severity: plumbline.SeverityInfo,
		Subject: "test " + sink, Over: true, Stack: plumbline.StackRef{Repository: "plumbline", Environment: "test"}, What: "can tell you things here", At: now,
		Detail: []string{"This is a test message of `plumbline notify test`. Nothing has happened."},
	}
	return plumbline.Message{
		Key: n.Key, Occasion: n.Occasion, Severity: n.Severity, Title: "Plumbline can tell you things here", Lines: n.Detail, Link: link, At: now,
		Notices: []plumbline.Notice{n}, Links: map[int64]string{n.ID: link},
	}
}
