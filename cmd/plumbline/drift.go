package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

func newDriftCmd(o *options) *cobra.Command {
	cmd := group("drift", "See what was changed outside Git, look again")
	cmd.AddCommand(newDriftListCmd(o), newDriftCheckCmd(o))
	return cmd
}

func newDriftListCmd(o *options) *cobra.Command {
	var repo, env, stack string
	cmd := &cobra.Command{
		Use: "list", Short: "List open differences between Git and reality", Args: args(0, 0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			q := url.Values{}
			set(q, "repository", repo)
			set(q, "environment", env)
			set(q, "stack", stack)
			if o.JSON {
				return o.pass(cmd, c, "/drift", q)
			}
			var d web.DriftListJSON
			if err := c.get(cmd.Context(), "/drift", q, &d); err != nil {
				return err
			}
			return o.driftTable(d)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "of one repository")
	cmd.Flags().StringVar(&env, "env", "", "of one environment")
	cmd.Flags().StringVar(&stack, "stack", "", "of one stack")
	return cmd
}

func (o *options) driftTable(d web.DriftListJSON) error {
	if len(d.Items) > 0 {
		repos := map[string]bool{}
		for _, it := range d.Items {
			repos[it.Repository] = true
		}
		t := newTable("ENVIRONMENT", "STACK", "RESOURCE", "CHANGED", "SINCE", "SEEN")
		for _, it := range d.Items {
			env := it.Environment
			if len(repos) > 1 {
				env = it.Repository + "/" + env
			}
			t.add(env, it.Stack, it.Address, changedOutside(it), o.ago(it.Opened)+" ago", strconv.Itoa(it.Seen)+"×")
		}
		if err := t.write(o); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%d open", d.Open)
	if d.Open == 0 {
		text = "Nothing is changed outside Git, as far as was last seen"
	}
	if d.Resolved > 0 {
		text += fmt.Sprintf("; %d resolved this week (mean time to repair %s)", d.Resolved, plumbline.Ago(time.Duration(d.Repair*float64(time.Second))))
	}
	return o.say("%s.", text)
}

// changedOutside says what happened to a resource.
func changedOutside(it web.DriftJSON) string {
	if it.Kind == plumbline.DriftDeleted {
		return "outside: deleted"
	}
	const most = 2
	var parts []string
	for i, a := range it.Attributes {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(it.Attributes)-most))
			break
		}
		parts = append(parts, a.Path+" "+valueOf(a.Before, a.Sensitive)+" → "+valueOf(a.After, a.Sensitive))
	}
	return "outside: " + strings.Join(parts, ", ")
}

func valueOf(value web.ValueJSON, sensitive bool) string {
	const most = 40
	v := string(value)
	switch {
	case sensitive:
		return plumbline.Masked
	case v == "":
		return "nothing"
	case utf8.RuneCountInString(v) > most:
		return string([]rune(v)[:most]) + "…"
	}
	return v
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
	if err := c.get(ctx, "/drift", url.Values{"repository": {at.repo}, "environment": {at.env}}, &d); err != nil {
		return err
	}
	d.Items = slices.DeleteFunc(d.Items, func(it web.DriftJSON) bool { return !stacks[it.Stack] })
	d.Open = len(d.Items)
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
		if err := o.driftTable(d); err != nil {
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
