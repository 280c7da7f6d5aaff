package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

// at runs something about one environment that the command line names.
func (o *options) at(repo *string, do func(*cobra.Command, *client, place) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, given []string) error {
		c, err := o.client()
		if err != nil {
			return err
		}
		at, err := c.place(cmd.Context(), given[0], *repo)
		if err != nil {
			return err
		}
		return do(cmd, c, at)
	}
}

// propose files a wish for a merge request.
func (o *options) propose(cmd *cobra.Command, c *client, path string, body any) error {
	var p web.ProposedJSON
	if err := c.post(cmd.Context(), path, body, &p); err != nil {
		return err
	}
	if o.JSON {
		return printJSON(o.Out, p)
	}
	if p.Direct {
		return o.say("%s", p.Text)
	}
	return o.say("%s\n  %s", p.Text, c.page("/merge-requests"))
}

func newEnvPromoteCmd(o *options, repo *string) *cobra.Command {
	return &cobra.Command{
		Use: "promote ENV", Short: "Open a merge request with what an environment has, to the one that it promotes to", Args: args(1, 1, oneEnvironment),
		RunE: o.at(repo, func(cmd *cobra.Command, c *client, at place) error { return o.propose(cmd, c, at.api("/promote"), nil) }),
	}
}

func newEnvRollbackCmd(o *options, repo *string) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "rollback ENV [--to COMMIT]", Short: "Open a merge request that puts an environment's files back to those of an earlier commit", Args: args(1, 1, oneEnvironment),
		RunE: o.at(repo, func(cmd *cobra.Command, c *client, at place) error {
			return o.propose(cmd, c, at.api("/rollback"), web.RollbackJSON{To: to})
		}),
	}
	cmd.Flags().StringVar(&to, "to", "", "the commit, or its first 7 digits or more; default: the newest with which everything was in sync")
	return cmd
}

func newEnvFreezeCmd(o *options, repo *string) *cobra.Command {
	var reason, until string
	cmd := &cobra.Command{
		Use: "freeze ENV --reason TEXT [--until TIME]", Short: "Keep what is approved from being applied", Args: args(1, 1, oneEnvironment),
		Long: "Keeps what is approved in an environment from being applied. What is being applied is left to finish; plans go on.",
		RunE: func(cmd *cobra.Command, given []string) error {
			if strings.TrimSpace(reason) == "" {
				return usageError(fmt.Errorf("a freeze needs a reason\nSay why: plumbline env freeze %s --reason TEXT", given[0]))
			}
			end, err := untilTime(until, o.Now())
			if err != nil {
				return err
			}
			return o.at(repo, func(cmd *cobra.Command, c *client, at place) error {
				var f web.FreezeJSON
				if err := c.post(cmd.Context(), at.api("/freeze"), web.FreezeForJSON{Until: end, Reason: reason}, &f); err != nil {
					return err
				}
				if o.JSON {
					return printJSON(o.Out, f)
				}
				return o.say("%s/%s is frozen (freeze %d) %s. `plumbline env thaw %s/%s --reason TEXT` lifts it.", at.repo, at.env, f.ID, ends(f.Until, o.Now().Location()), at.repo, at.env)
			})(cmd, given)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who wait")
	cmd.Flags().StringVar(&until, "until", "", "2026-12-24T18:00 by this machine's clock, or how long from now, such as 3h; default: until it is lifted")
	return cmd
}

// untilTime reads when something ends: a time by the clock of this machine or with a zone of its own, or how long from now.
func untilTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).Truncate(time.Second), nil
	}
	if n, err := strconv.Atoi(strings.TrimSuffix(text, "d")); err == nil && strings.HasSuffix(text, "d") && n > 0 && n < 100_000 {
		return now.AddDate(0, 0, n).Truncate(time.Second), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError(fmt.Errorf("--until %q is no time to come\nWrite it as 2026-12-24, 2026-12-24T18:00, 2026-12-24T18:00:00Z or, from now on, 3h or 90d", text))
}

// ends is "until Thu 24 Dec 2026 18:00 UTC".
func ends(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return "until it is lifted"
	}
	return "until " + clock(t, zone)
}

func clock(t time.Time, zone *time.Location) string {
	return t.In(zone).Format("Mon 2 Jan 2006 15:04 MST")
}

func newEnvThawCmd(o *options, repo *string) *cobra.Command {
	var reason string
	var id int64
	cmd := &cobra.Command{
		Use: "thaw ENV --reason TEXT", Short: "Lift the freezes that people have set", Args: args(1, 1, oneEnvironment),
		RunE: func(cmd *cobra.Command, given []string) error {
			if strings.TrimSpace(reason) == "" {
				return usageError(fmt.Errorf("a thaw needs a reason\nSay why: plumbline env thaw %s --reason TEXT", given[0]))
			}
			return o.at(repo, func(cmd *cobra.Command, c *client, at place) error {
				var got web.ThawedJSON
				if err := c.post(cmd.Context(), at.api("/thaw"), web.ThawJSON{ID: id, Reason: reason}, &got); err != nil {
					return err
				}
				if o.JSON {
					return printJSON(o.Out, got)
				}
				return o.say("%s lifted. %s/%s: %s", counted(got.Lifted, "freeze"), at.repo, at.env, opensOrCloses(got.Calendar, o.Now()))
			})(cmd, given)
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().Int64Var(&id, "id", 0, "one freeze by its number; default: all that people have set")
	return cmd
}

// zoneOf is the zone in which an environment's times are told: that of its windows.
func zoneOf(c web.CalendarJSON) *time.Location {
	if len(c.Windows) > 0 {
		if zone, err := time.LoadLocation(c.Windows[0].Timezone); err == nil {
			return zone
		}
	}
	return time.UTC
}

// opensOrCloses says in one sentence whether an environment takes changes now, and when that ends.
func opensOrCloses(c web.CalendarJSON, now time.Time) string {
	switch {
	case c.Closed != nil:
		return "It takes no changes now: it is " + c.Closed.Why + "."
	case len(c.Openings) > 0 && !c.Openings[0].Until.IsZero() && !c.Openings[0].From.After(now):
		return "It takes changes until " + clock(c.Openings[0].Until, zoneOf(c)) + "."
	}
	return "It takes changes."
}

func newEnvCalendarCmd(o *options, repo *string) *cobra.Command {
	return &cobra.Command{
		Use: "calendar ENV", Short: "Show when an environment takes changes", Args: args(1, 1, oneEnvironment),
		RunE: o.at(repo, func(cmd *cobra.Command, c *client, at place) error {
			if o.JSON {
				return o.pass(cmd, c, at.api("/calendar"), nil)
			}
			var times web.CalendarJSON
			if err := c.get(cmd.Context(), at.api("/calendar"), nil, &times); err != nil {
				return err
			}
			return o.showCalendar(at, times)
		}),
	}
}

func (o *options) showCalendar(at place, c web.CalendarJSON) error {
	if err := o.say("%s/%s: %s", at.repo, at.env, opensOrCloses(c, o.Now())); err != nil {
		return err
	}
	zone := zoneOf(c)
	windows, freezes, openings := newTable("WINDOW", "OPENS", "FOR", "TIMEZONE"), newTable("FREEZE", "FROM", "UNTIL", "BY", "REASON"), newTable("OPEN FROM", "UNTIL")
	for _, w := range c.Windows {
		windows.add(w.Name, w.Allow, w.For, w.Timezone)
	}
	for _, f := range c.Freezes {
		name, by, until := f.Name, f.By, "it is lifted"
		if f.ID > 0 {
			name = fmt.Sprint(f.ID)
		}
		if by == "" {
			by = "configuration"
		}
		if !f.Until.IsZero() {
			until = clock(f.Until, zone)
		}
		freezes.add(name, clock(f.From, zone), until, by, f.Reason)
	}
	for _, s := range c.Openings {
		until := "no end is known"
		if !s.Until.IsZero() {
			until = clock(s.Until, zone)
		}
		openings.add(clock(s.From, zone), until)
	}
	for _, t := range []*table{windows, freezes, openings} {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintln(o.Out)
		if err := t.write(o); err != nil {
			return err
		}
	}
	if len(c.Openings) == 0 {
		return o.say("\nNo opening is known.")
	}
	return nil
}

// promotes says how far an environment is ahead of the one that it promotes to.
func promotes(p web.PromotionJSON, env string) string {
	var ahead []string
	for _, s := range p.Stacks {
		if s.Ahead {
			text := s.Stack + " at " + plumbline.Short(s.Here)
			if s.Pending > 0 {
				text += fmt.Sprintf(" (run %s there is %s)", s.Pending, s.State)
			}
			ahead = append(ahead, text)
		}
	}
	switch {
	case p.Same || len(ahead) == 0:
		return fmt.Sprintf("It promotes to %s, which has what it has, as far as is known.", p.To)
	case p.MergeRequest != "":
		return fmt.Sprintf("It promotes to %s, which does not have %s; merge request %s brings it.", p.To, strings.Join(ahead, ", "), plumbline.MergeRequest{ID: p.MergeRequest}.Name())
	}
	return fmt.Sprintf("It promotes to %s, which does not have %s; `plumbline env promote %s` opens a merge request.", p.To, strings.Join(ahead, ", "), env)
}
