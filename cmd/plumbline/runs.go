package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/report"
	"github.com/plumbline/plumbline/internal/web"
)

func newRunsCmd(o *options) *cobra.Command {
	cmd := group("runs", "See runs, decide about them")
	cmd.AddCommand(
		newRunsListCmd(o), newRunsShowCmd(o), newRunsLogsCmd(o), newRunsApproveCmd(o), newRunsRejectCmd(o), newRunsBreakGlassCmd(o),
		newRunsDoCmd(o, "retry", "Queue a run again that failed, was interrupted, rejected, canceled, or expired"),
		newRunsDoCmd(o, "cancel", "End a run, or ask its Terraform to stop"),
	)
	return cmd
}

// group is a verb that only has verbs below it.
func group(name, short string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: args(0, 0, ""), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
}

// args demands a number of arguments; most < 0: no limit.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) > 0 && cmd.HasSubCommands():
			return usageError(fmt.Errorf("there is no %s %s\n`%s --help` lists what there is", cmd.CommandPath(), given[0], cmd.CommandPath()))
		case len(given) < least, most >= 0 && len(given) > most:
			return usageError(fmt.Errorf("%s takes %s\nUsage: %s", cmd.CommandPath(), what, cmd.UseLine()))
		}
		return nil
	}
}

const oneRun = "one run's number"

// runPath is where a run is in the API.
func runPath(arg string) (string, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(arg, "#"), 10, 64)
	if err != nil || id < 1 {
		return "", usageError(fmt.Errorf("%q is not a run's number\n`plumbline runs list` shows them", arg))
	}
	return "/runs/" + strconv.FormatInt(id, 10), nil
}

func newRunsListCmd(o *options) *cobra.Command {
	var repo, env, stack, mr string
	var states, kinds []string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: args(0, 0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			set(q, "repository", repo)
			set(q, "environment", env)
			set(q, "stack", stack)
			set(q, "mr", strings.TrimPrefix(mr, "!"))
			set(q, "state", strings.Join(states, ","))
			set(q, "kind", strings.Join(kinds, ","))
			if o.JSON {
				return o.pass(cmd, c, "/runs", q)
			}
			var list web.RunsJSON
			if err := c.get(cmd.Context(), "/runs", q, &list); err != nil {
				return err
			}
			if len(list.Runs) == 0 {
				return o.say("No run matches. `plumbline env list` shows the environments; a push or a merge request there makes runs.")
			}
			return runTable(o, list.Runs)
		},
	}
	f := cmd.Flags()
	f.StringVar(&repo, "repo", "", "of one repository")
	f.StringVar(&env, "env", "", "of one environment")
	f.StringVar(&stack, "stack", "", "of one stack")
	f.StringVar(&mr, "mr", "", "of one merge request")
	f.StringSliceVar(&states, "state", nil, "in these states, such as awaiting,failed")
	f.StringSliceVar(&kinds, "kind", nil, "of these kinds: proposal, deploy, drift, destroy")
	f.IntVar(&limit, "limit", 30, "at most so many")
	return cmd
}

func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

// say prints a line.
func (o *options) say(format string, a ...any) error {
	_, err := io.WriteString(o.Out, legible(fmt.Sprintf(format, a...))+"\n")
	return err
}

// pass hands the daemon's JSON on as it is.
func (o *options) pass(cmd *cobra.Command, c *client, path string, q url.Values) error {
	var raw []byte
	if err := c.get(cmd.Context(), path, q, &raw); err != nil {
		return err
	}
	_, err := o.Out.Write(raw)
	return err
}

func newRunsShowCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show a run: why it is, what it would do, what became of it", Args: args(1, 1, oneRun),
		RunE: func(cmd *cobra.Command, given []string) error {
			path, err := runPath(given[0])
			if err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			if o.JSON {
				return o.pass(cmd, c, path, nil)
			}
			var d web.RunDetailJSON
			if err := c.get(cmd.Context(), path, nil, &d); err != nil {
				return err
			}
			var p *web.PlanJSON
			if d.Run.Plan != nil {
				p = &web.PlanJSON{}
				var e *apiError
				if err := c.get(cmd.Context(), path+"/plan", nil, p); errors.As(err, &e) && e.status == http.StatusNotFound {
					p = nil // not kept any more
				} else if err != nil {
					return err
				}
			}
			return o.showRun(c, d, p)
		},
	}
}

func (o *options) showRun(c *client, d web.RunDetailJSON, p *web.PlanJSON) error {
	r := d.Run
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Run %s · %s · %s · %s", r.ID, legible(r.Repository+"/"+r.Environment), legible(r.Stack), o.state(r.Label))
	line("%s", legible(d.Explanation))
	line("  %s", c.page("/runs/"+r.ID.String()))
	if f := r.Failure; f != nil {
		for _, g := range f.Diagnostics {
			where := g.File
			if g.File != "" && g.Line > 0 {
				where = fmt.Sprintf("%s:%d", g.File, g.Line)
			} else if g.File == "" {
				where = g.Address
			}
			line("\n%s: %s  %s", legible(g.Severity), legible(g.Summary), legible(where))
			for _, text := range []string{g.Snippet, g.Detail} {
				if text != "" {
					line("  %s", strings.ReplaceAll(legible(text), "\n", "\n  "))
				}
			}
		}
	}
	if _, err := io.WriteString(o.Out, b.String()); err != nil {
		return err
	}
	b.Reset()
	if len(r.Created) > 0 {
		line("\nWhat was done, as Terraform reported it:")
		for _, m := range r.Created {
			line("  %s was %s%s", legible(m.Address), m.Action.Verb(), legible(idOf(m)))
		}
		if blocks := r.ImportBlocks(); blocks != "" {
			line("\nIf the state does not know them, these blocks bring them in:\n%s", legible(strings.TrimSuffix(blocks, "\n")))
		}
	}
	gateLines(line, d)
	if p != nil {
		line("")
		if err := report.Text(&b, []report.NamedPlan{{Name: r.Stack, Plan: domainPlan(*p)}}, o.Color); err != nil {
			return err
		}
	}
	if len(d.Events) > 0 {
		line("\nHistory")
		for _, e := range d.Events {
			to := fmt.Sprintf("%-11s", e.To)
			if o.Color {
				to = paintText(colourOf(string(e.To)), to)
			}
			line("  %s  %s  %s", e.At.UTC().Format("2006-01-02 15:04:05"), to, legible(strings.TrimSpace(e.Who+" "+e.Text)))
		}
	}
	if _, err := io.WriteString(o.Out, b.String()); err != nil {
		return err
	}
	if len(d.Siblings) > 0 {
		if err := o.say("\nThe rest of deployment %d", r.Deployment); err != nil {
			return err
		}
		return runTable(o, d.Siblings)
	}
	return nil
}

// gateLines are what checks and policies say, and how the plan differs from one that somebody has agreed to.
func gateLines(line func(string, ...any), d web.RunDetailJSON) {
	if len(d.Checks) > 0 {
		line("\nChecks")
		for _, c := range d.Checks {
			line("  %-8s  %-7s  %s", legible(string(c.Name)), legible(string(c.Verdict)), legible(c.Text))
			for _, f := range c.Findings {
				line("    %s", legible(plumbline.Finding(f).String()))
			}
		}
	}
	if len(d.Findings) > 0 {
		line("\nPolicies")
		for _, f := range d.Findings {
			where := ""
			if f.Address != "" {
				where = " (" + f.Address + ")"
			}
			line("  %-16s  %s", legible(string(f.Level)), legible(f.Policy+": "+f.Message+where))
		}
	}
	if s := d.Since; s != nil {
		line("\n%s", legible(s.Text))
		for _, l := range s.Lines {
			line("  %s", legible(l))
		}
	}
}

func idOf(m web.CreatedJSON) string {
	if m.ID == "" {
		return ""
	}
	return " (" + m.ID + ")"
}

func domainPlan(p web.PlanJSON) plumbline.Plan {
	attributes := func(in []web.AttributeJSON) []plumbline.Attribute {
		var out []plumbline.Attribute
		for _, a := range in {
			out = append(out, plumbline.Attribute{
				Path: a.Path, Before: string(a.Before), After: string(a.After), Sensitive: a.Sensitive, Unknown: a.Unknown, Forces: a.Forces, Beside: a.Beside, Whole: a.Whole,
			})
		}
		return out
	}
	out := plumbline.Plan{Digest: p.Digest, Keyed: p.Keyed, Engine: p.Engine, Version: p.Version, Summary: p.Summary, NoState: p.NoState, Errored: p.Errored, Partial: p.Partial, Truncated: p.Truncated}
	changes := func(in []web.ChangeJSON) []plumbline.Change {
		var out []plumbline.Change
		for _, c := range in {
			out = append(out, plumbline.Change{
				Address: c.Address, Previous: c.Previous, Type: c.Type, Provider: c.Provider, Action: c.Action, Reason: c.Reason, Deposed: c.Deposed,
				Importing: c.Importing, ReplacePaths: c.ReplacePaths, Attributes: attributes(c.Attributes), Omitted: c.Omitted,
			})
		}
		return out
	}
	out.Changes, out.Drift, out.Deferred = changes(p.Changes), changes(p.Drift), changes(p.Deferred)
	for _, c := range p.Checks {
		out.Checks = append(out.Checks, plumbline.Check(c))
	}
	for _, c := range p.Outputs {
		out.Outputs = append(out.Outputs, plumbline.OutputChange{
			Name: c.Name, Action: c.Action, Before: string(c.Before), After: string(c.After), Sensitive: c.Sensitive, Unknown: c.Unknown,
		})
	}
	return out
}

func newRunsLogsCmd(o *options) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs RUN", Short: "Print what Terraform said", Args: args(1, 1, oneRun),
		RunE: func(cmd *cobra.Command, given []string) error {
			path, err := runPath(given[0])
			if err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			q := url.Values{}
			if follow {
				q.Set("follow", "1")
			}
			resp, err := c.open(cmd.Context(), http.MethodGet, path+"/log", q, nil)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }() // read to its end, or given up
			w := o.Out
			if isTerminal(o.Out) {
				w = &legibleWriter{w: o.Out}
			}
			if _, err := io.Copy(w, resp.Body); err != nil && cmd.Context().Err() == nil {
				return fmt.Errorf("the log broke off: %w\n`plumbline runs logs %s` prints it again", err, given[0])
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run has ended or waits for a person")
	return cmd
}

func newRunsApproveCmd(o *options) *cobra.Command {
	var digest string
	cmd := &cobra.Command{
		Use: "approve RUN --digest DIGEST", Short: "Approve the plan that you have read", Args: args(1, 1, oneRun),
		RunE: func(cmd *cobra.Command, given []string) error {
			path, err := runPath(given[0])
			if err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			if digest == "" {
				return o.refuseBlind(cmd, c, path)
			}
			var r web.RunJSON
			if err := c.post(cmd.Context(), path+"/approve", web.ApproveJSON{Digest: digest}, &r); err != nil {
				var e *apiError
				if errors.As(err, &e) && e.status == http.StatusConflict {
					e.page = c.page(path)
				}
				return err
			}
			if o.JSON {
				return printJSON(o.Out, r)
			}
			return o.approved(r)
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "the plan's digest, or its first 6 characters or more")
	return cmd
}

// approved says what came of a yes.
func (o *options) approved(r web.RunJSON) error {
	text := fmt.Sprintf("Approved the plan %s of run %s", plumbline.ShortDigest(r.Plan.Digest), r.ID)
	switch {
	case r.Kind == plumbline.KindProposal && r.Needs != "":
		return o.say("%s. After the merge it counts if the plan is the same; it still needs %s.", text, r.Needs)
	case r.Kind == plumbline.KindProposal:
		return o.say("%s. After the merge it counts if the plan is the same.", text)
	case r.Needs != "":
		return o.say("%s; it still needs %s.", text, r.Needs)
	}
	return o.say("Approved: %s", applies(r))
}

// applies says what an approved run does, and when.
func applies(r web.RunJSON) string {
	text := fmt.Sprintf("run %s applies %s to %s in %s", r.ID, minus(r.Plan.Text), r.Stack, r.Environment)
	if r.Closed != nil {
		return fmt.Sprintf("%s when that takes changes; it is %s.", text, r.Closed.Why)
	}
	return fmt.Sprintf("%s. `plumbline runs logs -f %s` follows it.", text, r.ID)
}

// refuseBlind shows what would be approved, and approves nothing: an approval names the plan that was read.
func (o *options) refuseBlind(cmd *cobra.Command, c *client, path string) error {
	var d web.RunDetailJSON
	if err := c.get(cmd.Context(), path, nil, &d); err != nil {
		return err
	}
	r := d.Run
	if r.Plan == nil || r.State != plumbline.StateAwaiting && (r.State != plumbline.StatePlanned || r.Kind != plumbline.KindProposal) {
		return fmt.Errorf("run %s of %s is %s; there is nothing to approve\n`plumbline why %s` says what it waits for", r.ID, legible(r.Stack), legible(r.Label), r.ID)
	}
	if err := o.say("Run %s would do this to %s in %s: %s", r.ID, r.Stack, r.Environment, minus(r.Plan.Text)); err != nil {
		return err
	}
	for _, n := range r.Plan.Destroys {
		if err := o.say("  %s will be %s", n.Address, n.Action.Verb()); err != nil {
			return err
		}
	}
	return usageError(fmt.Errorf("nothing was approved: say which plan you have read.\n  read it:    plumbline runs show %s\n  approve it: plumbline runs approve %s --digest %s",
		r.ID, r.ID, plumbline.ShortDigest(r.Plan.Digest)))
}

func newRunsRejectCmd(o *options) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "reject RUN --reason TEXT", Short: "Say no to a plan", Args: args(1, 1, oneRun),
		RunE: func(cmd *cobra.Command, given []string) error {
			if strings.TrimSpace(reason) == "" {
				return usageError(fmt.Errorf("a rejection needs a reason\nSay why: plumbline runs reject %s --reason TEXT", given[0]))
			}
			return o.decide(cmd, given[0], "reject", web.RejectJSON{Reason: reason})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the change's author")
	return cmd
}

func newRunsBreakGlassCmd(o *options) *cobra.Command {
	var digest, reason string
	cmd := &cobra.Command{
		Use: "break-glass RUN --digest DIGEST --reason TEXT", Short: "Have the plan that you have read applied against the rules", Args: args(1, 1, oneRun),
		Long: `Has the plan that you have read applied although others should have agreed to it, or although it is not the time for it. Everybody is told, and the
reason stays in the audit log. What a policy forbids stays forbidden.`,
		RunE: func(cmd *cobra.Command, given []string) error {
			path, err := runPath(given[0])
			if err != nil {
				return err
			}
			if digest == "" || strings.TrimSpace(reason) == "" {
				return usageError(fmt.Errorf("breaking the glass needs the plan that you have read, and a reason\n  read it:         plumbline runs show %s\n  break the glass: plumbline runs break-glass %s --digest DIGEST --reason TEXT", given[0], given[0]))
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			var r web.RunJSON
			if err := c.post(cmd.Context(), path+"/break-glass", web.BreakGlassJSON{Digest: digest, Reason: reason}, &r); err != nil {
				var e *apiError
				if errors.As(err, &e) && e.status == http.StatusConflict {
					e.page = c.page(path)
				}
				return err
			}
			if o.JSON {
				return printJSON(o.Out, r)
			}
			return o.say("The glass is broken: %s", applies(r))
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "the plan's digest, or its first 6 characters or more")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for everybody")
	return cmd
}

func newRunsDoCmd(o *options, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " RUN", Short: short, Args: args(1, 1, oneRun),
		RunE: func(cmd *cobra.Command, given []string) error { return o.decide(cmd, given[0], verb, nil) },
	}
}

func (o *options) decide(cmd *cobra.Command, run, verb string, body any) error {
	path, err := runPath(run)
	if err != nil {
		return err
	}
	c, err := o.client()
	if err != nil {
		return err
	}
	var r web.RunJSON
	if err := c.post(cmd.Context(), path+"/"+verb, body, &r); err != nil {
		return err
	}
	if o.JSON {
		return printJSON(o.Out, r)
	}
	return o.say("Run %s of %s in %s is %s.", r.ID, r.Stack, r.Environment, r.Label)
}
