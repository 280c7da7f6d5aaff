package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

func newDriftCmd(o *options) *cobra.Command {
	cmd := group("drift", "See what was changed outside Git, look again, acknowledge it, ignore it, report on it")
	cmd.AddCommand(
		newDriftListCmd(o), newDriftShowCmd(o), newDriftCheckCmd(o), newDriftAckCmd(o), newDriftIgnoreCmd(o), newDriftUnignoreCmd(o), newDriftRulesCmd(o), newDriftReportCmd(o),
	)
	return cmd
}

func newDriftListCmd(o *options) *cobra.Command {
	var n driftNarrow
	var state, cause string
	cmd := &cobra.Command{
		Use: "list", Short: "List differences between Git and reality", Args: args(0, 0, "no arguments, only flags"),
		Long: "Lists differences between Git and reality that people should do something about, or with --state, others.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			q := n.query()
			set(q, "state", state)
			set(q, "cause", cause)
			if o.JSON {
				return o.pass(cmd, c, "/drift", q)
			}
			var d web.DriftListJSON
			if err := c.get(cmd.Context(), "/drift", q, &d); err != nil {
				return err
			}
			text := d.Text + "."
			if at, ok := onePlace(d, q); ok {
				var e web.EnvironmentDetailJSON
				if err := c.get(cmd.Context(), at.api(""), nil, &e); err != nil {
					return err
				}
				text += standing(e.EnvironmentJSON, d.Open)
			}
			if err := o.driftTable(d.Items); err != nil {
				return err
			}
			return o.say("%s", text)
		},
	}
	n.add(cmd, "only what was opened, changed or resolved since, such as 2026-12-24, or 7d; of what is resolved, a week by default")
	cmd.Flags().StringVar(&state, "state", "", "open, acknowledged, ignored, noise, resolved, with commas between them, or all; default open,acknowledged")
	cmd.Flags().StringVar(&cause, "cause", "", "the key of a cause, as --json has it")
	return cmd
}

// onePlace is the environment that a listing is about, if there is but one.
func onePlace(d web.DriftListJSON, q url.Values) (place, bool) {
	at := place{q.Get("repository"), q.Get("environment")}
	for _, it := range d.Items {
		is := place{it.Repository, it.Environment}
		if at.env != "" && at.repo != "" && at != is {
			return at, false
		}
		at = is
	}
	return at, at.env != "" && at.repo != ""
}

// standing says how an environment stands otherwise.
func standing(e web.EnvironmentJSON, open int) string {
	switch {
	case e.Commit == "" || e.State == plumbline.EnvUnknown:
		return ""
	case e.State == plumbline.EnvInSync && open > 0:
		return fmt.Sprintf(" Environment %s is otherwise in sync at %s.", e.Environment, plumbline.Short(e.Commit))
	case e.State == plumbline.EnvDeploying:
		return fmt.Sprintf(" Environment %s is deploying %s.", e.Environment, plumbline.Short(e.Commit))
	}
	return fmt.Sprintf(" Environment %s is %s at %s.", e.Environment, e.State, plumbline.Short(e.Commit))
}

// driftTable lists items; their state is a column when it is not open for all.
func (o *options) driftTable(items []web.DriftJSON) error {
	if len(items) == 0 {
		return nil
	}
	repos, states := map[string]bool{}, map[plumbline.DriftState]bool{plumbline.DriftOpen: true}
	for _, it := range items {
		repos[it.Repository], states[it.State] = true, true
	}
	head := []string{"ID", "ENVIRONMENT", "STACK", "RESOURCE"}
	if len(states) > 1 {
		head = append(head, "STATE")
	}
	t := newTable(append(head, "CHANGED", "SINCE", "SEEN", "BY")...)
	if len(states) > 1 {
		t.state(4)
	}
	for _, it := range items {
		env := it.Environment
		if len(repos) > 1 {
			env = it.Repository + "/" + env
		}
		row := []any{it.ID, env, it.Stack, it.Address}
		if len(states) > 1 {
			state := string(it.State)
			if it.Ignored != nil {
				state += " " + forHowLong(it.Ignored.Until)
			}
			row = append(row, state)
		}
		t.add(append(row, it.What, o.ago(it.Opened)+" ago", strconv.Itoa(it.Seen)+"×", it.Actor.Text)...)
	}
	return t.write(o)
}

func newDriftCheckCmd(o *options) *cobra.Command {
	var repo string
	var noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "check ENV [STACK…]", Short: "Compare reality with Git now", Args: args(1, -1, oneEnvironment+", then stacks"),
		Long: `Compares reality with Git now, waits for the result and prints what was changed outside.
The exit code is 3 when something was, 1 when a stack could not be checked, 0 when all is as Git wants it.`,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			at, err := c.place(cmd.Context(), given[0], repo)
			if err != nil {
				return err
			}
			var r web.RequestedJSON
			if err := c.post(cmd.Context(), at.api("/drift-check"), web.StacksJSON{Stacks: given[1:]}, &r); err != nil {
				return err
			}
			if noWait {
				if o.JSON {
					return printJSON(o.Out, r)
				}
				return o.say("Asked for a check of %s in %s/%s. `plumbline drift list` shows what was found.", counted(len(r.Stacks), "stack"), at.repo, at.env)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			runs, err := o.awaitChecks(ctx, c, at, r)
			if ctx.Err() != nil && cmd.Context().Err() == nil {
				return fmt.Errorf("the checks did not end within %s\nThey go on; `plumbline runs list --env %s --kind drift` shows them", timeout, at.env)
			}
			if err != nil {
				return err
			}
			return o.checked(cmd.Context(), c, at, runs)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "the repository, where several have an environment of that name")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the result")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait")
	return cmd
}

// awaitChecks waits until the wish is fulfilled, then until the newest check of each stack has ended. A stack that was being checked
// already gets no other check; the one under way counts.
func (o *options) awaitChecks(ctx context.Context, c *client, at place, r web.RequestedJSON) ([]web.RunJSON, error) {
	told := ""
	tell := func(format string, a ...any) {
		if text := fmt.Sprintf(format, a...); isTerminal(o.Err) && text != told {
			told = text
			fmt.Fprintln(o.Err, text)
		}
	}
	fulfilled := false
	for {
		if !fulfilled {
			var pending web.RequestsJSON
			if err := c.get(ctx, at.api("/requests"), nil, &pending); err != nil {
				return nil, err
			}
			fulfilled = !slices.ContainsFunc(pending.Requests, func(p web.RequestJSON) bool { return p.ID == r.Request })
		}
		if fulfilled {
			ended, missing, err := c.checks(ctx, at, r)
			if err != nil || len(ended) == len(r.Stacks) {
				return ended, err
			}
			if len(missing) > 0 {
				return nil, fmt.Errorf("nobody checked %s\nThe daemon's page /debug says what its poll of %s came to", legible(strings.Join(missing, ", ")), at.repo)
			}
			tell("%d of %s checked", len(ended), counted(len(r.Stacks), "stack"))
		} else {
			tell("asked for a check of %s; it begins with the next poll of %s", counted(len(r.Stacks), "stack"), legible(at.repo))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(o.Poll):
		}
	}
}

// checks returns the newest check of each stack of a fulfilled wish where it has ended, and the stacks that nobody has looked at since.
func (c *client) checks(ctx context.Context, at place, r web.RequestedJSON) (ended []web.RunJSON, missing []string, err error) {
	for _, stack := range r.Stacks {
		q := url.Values{"repository": {at.repo}, "environment": {at.env}, "stack": {stack}, "kind": {string(plumbline.KindDrift)}, "limit": {"1"}}
		var list web.RunsJSON
		if err := c.get(ctx, "/runs", q, &list); err != nil {
			return nil, nil, err
		}
		switch {
		case len(list.Runs) == 0:
			missing = append(missing, stack)
		case !list.Runs[0].Ended():
		case list.Runs[0].ID <= r.After && list.Runs[0].Finished.Before(r.At):
			missing = append(missing, stack)
		default:
			ended = append(ended, list.Runs[0])
		}
	}
	return ended, missing, nil
}

// checked prints what the checks found and chooses the exit code.
func (o *options) checked(ctx context.Context, c *client, at place, runs []web.RunJSON) error {
	stacks := map[string]bool{}
	failed := 0
	drifted := false
	for _, r := range runs {
		stacks[r.Stack] = true
		switch r.State {
		case plumbline.StateClean, plumbline.StatePlanned, plumbline.StateDrifted:
			drifted = drifted || r.State == plumbline.StateDrifted
		default:
			failed++
		}
	}
	var d web.DriftListJSON
	q := url.Values{"repository": {at.repo}, "environment": {at.env}}
	if len(stacks) == 1 {
		q.Set("stack", runs[0].Stack)
	}
	if err := c.get(ctx, "/drift", q, &d); err != nil {
		return err
	}
	all := len(d.Items)
	d.Items = slices.DeleteFunc(d.Items, func(it web.DriftJSON) bool { return !stacks[it.Stack] })
	d.Open = len(d.Items)
	text := d.Text + "."
	if d.Open < all {
		text = fmt.Sprintf("%d open in these stacks, %d in others.", d.Open, all-d.Open)
	}
	if o.JSON {
		if err := printJSON(o.Out, struct {
			web.RunsJSON
			web.DriftListJSON
		}{web.RunsJSON{Runs: runs}, d}); err != nil {
			return err
		}
	} else {
		if err := runTable(o, runs); err != nil {
			return err
		}
		fmt.Fprintln(o.Out)
		if err := o.driftTable(d.Items); err != nil {
			return err
		}
		if err := o.say("%s", text); err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%s could not be checked\n`plumbline runs show RUN` says why", counted(failed, "stack"))
	case drifted || d.Open > 0:
		return &exitError{code: exitDifferences}
	}
	return nil
}
