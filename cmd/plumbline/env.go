package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

func newEnvCmd(o *options) *cobra.Command {
	cmd := group("env", "See environments, deploy to them")
	var repo string
	cmd.PersistentFlags().StringVar(&repo, "repo", "", "the repository, where several have an environment of that name")
	cmd.AddCommand(newEnvListCmd(o, &repo), newEnvShowCmd(o, &repo), newEnvHistoryCmd(o, &repo), newEnvDeployCmd(o, &repo),
		newEnvPromoteCmd(o, &repo), newEnvRollbackCmd(o, &repo), newEnvFreezeCmd(o, &repo), newEnvThawCmd(o, &repo), newEnvCalendarCmd(o, &repo))
	return cmd
}

const oneEnvironment = "one environment, as ENV or REPOSITORY/ENV"

func newEnvListCmd(o *options, repo *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List environments with their states", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			var list web.EnvironmentsJSON
			if err := c.get(cmd.Context(), "/environments", nil, &list); err != nil {
				return err
			}
			kept := web.EnvironmentsJSON{Environments: []web.EnvironmentJSON{}}
			for _, e := range list.Environments {
				if *repo == "" || *repo == e.Repository {
					kept.Environments = append(kept.Environments, e)
				}
			}
			if o.JSON {
				return printJSON(o.Out, kept)
			}
			if len(kept.Environments) == 0 {
				return o.say("No environment is configured there. plumbline.hcl names them; `plumbline validate` checks it.")
			}
			t := newTable("REPOSITORY", "ENVIRONMENT", "STATE", "COMMIT", "STACKS", "DRIFT", "WAITS FOR A PERSON", "CAUSE")
			t.state(2)
			for _, e := range kept.Environments {
				t.add(e.Repository, e.Environment, e.State, plumbline.Short(e.Commit), e.Stacks, e.Drift, numbers(append(e.Failed, e.Waiting...)), causes(e))
			}
			return t.write(o)
		},
	}
}

func numbers(ids []plumbline.RunID) string {
	var out []string
	for _, id := range ids {
		out = append(out, id.String())
	}
	return strings.Join(out, ", ")
}

// causes is why an environment is not plainly in sync.
func causes(e web.EnvironmentJSON) string {
	var out []string
	if e.Cause != "" {
		out = append(out, e.Cause)
	}
	if e.NeverApplied > 0 {
		out = append(out, fmt.Sprintf("%d never applied", e.NeverApplied))
	}
	if e.OutOfSync > 0 {
		out = append(out, fmt.Sprintf("%d not checked yet", e.OutOfSync))
	}
	return strings.Join(out, "; ")
}

func newEnvShowCmd(o *options, repo *string) *cobra.Command {
	return &cobra.Command{
		Use: "show ENV", Short: "Show an environment: its stacks, its newest deployment", Args: args(1, 1, oneEnvironment),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			at, err := c.place(cmd.Context(), given[0], *repo)
			if err != nil {
				return err
			}
			if o.JSON {
				return o.pass(cmd, c, at.api(""), nil)
			}
			var e web.EnvironmentDetailJSON
			if err := c.get(cmd.Context(), at.api(""), nil, &e); err != nil {
				return err
			}
			return o.showEnvironment(c, e)
		},
	}
}

func (o *options) showEnvironment(c *client, e web.EnvironmentDetailJSON) error {
	where := "not seen yet"
	if e.Commit != "" {
		where = "at " + plumbline.Short(e.Commit)
	}
	fmt.Fprintf(o.Out, "%s is %s; %s\n", legible(e.Repository+"/"+e.Environment), o.state(string(e.State)),
		legible(fmt.Sprintf("%s is %s, apply = %q", e.Branch, where, e.Apply)))
	if why := causes(e.EnvironmentJSON); why != "" {
		fmt.Fprintln(o.Out, legible(why))
	}
	if times := e.Calendar; len(times.Windows)+len(times.Freezes) > 0 {
		if err := o.say("%s", opensOrCloses(times, o.Now())); err != nil {
			return err
		}
	}
	if p := e.Promotion; p != nil {
		if err := o.say("%s", promotes(*p, e.Environment)); err != nil {
			return err
		}
	}
	fmt.Fprintln(o.Out, "  "+c.page("/environments/"+e.Repository+"/"+e.Environment))
	for _, f := range e.Findings {
		fmt.Fprintf(o.Out, "\n%s\n", legible(plumbline.Finding(f).String()))
		if f.Source != "" {
			fmt.Fprintf(o.Out, "  %d │ %s\n", f.Line, legible(f.Source))
		}
	}
	if len(e.StackList) == 0 {
		return o.say("\nNo stack was found yet; `plumbline discover` shows what would be.")
	}
	fmt.Fprintln(o.Out)
	t := newTable("STACK", "STATE", "IN SYNC AT", "DRIFT", "LAST RUN", "DEPENDS ON")
	t.state(1)
	for _, s := range e.StackList {
		at, last := "", ""
		if s.Checked {
			at = plumbline.Short(s.Commit)
		}
		if s.LastRun > 0 {
			last = s.LastRun.String()
		}
		t.add(s.Name, s.State, at, s.Drift, last, strings.Join(s.DependsOn, ", "))
	}
	if err := t.write(o); err != nil {
		return err
	}
	if len(e.Runs) == 0 {
		return nil
	}
	fmt.Fprintf(o.Out, "\nDeployment %d of %s, %s ago by %s\n", e.Deployment.ID, plumbline.Short(e.Deployment.Commit), o.ago(e.Deployment.Created), legible(e.Deployment.By))
	return runTable(o, e.Runs)
}

func newEnvHistoryCmd(o *options, repo *string) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "history ENV", Short: "List an environment's deployments, newest first", Args: args(1, 1, oneEnvironment),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			at, err := c.place(cmd.Context(), given[0], *repo)
			if err != nil {
				return err
			}
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if o.JSON {
				return o.pass(cmd, c, at.api("/history"), q)
			}
			var list web.DeploymentsJSON
			if err := c.get(cmd.Context(), at.api("/history"), q, &list); err != nil {
				return err
			}
			if len(list.Deployments) == 0 {
				return o.say("Nothing was deployed there yet. `plumbline env deploy %s` deploys the head of its branch.", given[0])
			}
			t := newTable("DEPLOYMENT", "COMMIT", "STATE", "RUNS", "AGO", "BY")
			t.state(2)
			for _, d := range list.Deployments {
				t.add(d.ID, plumbline.Short(d.Commit), d.State, tally(d), o.ago(d.Created), d.By)
			}
			return t.write(o)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	return cmd
}

// tally counts a deployment's runs by state, in the order of a journey.
func tally(d web.DeploymentJSON) string {
	var out []string
	for _, s := range plumbline.States {
		if n := d.Counts[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(out, ", ")
}

func newEnvDeployCmd(o *options, repo *string) *cobra.Command {
	return &cobra.Command{
		Use: "deploy ENV [STACK…]", Short: "Deploy the head of an environment's branch, under its rules", Args: args(1, -1, oneEnvironment+", then stacks"),
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			at, err := c.place(cmd.Context(), given[0], *repo)
			if err != nil {
				return err
			}
			var r web.RequestedJSON
			if err := c.post(cmd.Context(), at.api("/deploy"), web.StacksJSON{Stacks: given[1:]}, &r); err != nil {
				return err
			}
			if o.JSON {
				return printJSON(o.Out, r)
			}
			return o.say("Asked for a deployment of %s to %s/%s. `plumbline env show %s/%s` shows how it goes.", counted(len(r.Stacks), "stack"), at.repo, at.env, at.repo, at.env)
		},
	}
}
