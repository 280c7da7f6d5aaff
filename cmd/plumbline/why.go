package main

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/web"
)

func newWhyCmd(o *options) *cobra.Command {
	var repo, env, changed, dir string
	cmd := &cobra.Command{
		Use: "why RUN|STACK", Short: "Say why a run exists, what it waits for, or why a change touches a stack", Args: args(1, 1, "a run's number or a stack's name"),
		Long: `Says why a run exists and what it waits for. Of a stack, it explains the newest run in each environment that has it.
With --changed A..B it asks no daemon: it says how the commits between A and B in this checkout touch the stack.`,
		RunE: func(cmd *cobra.Command, given []string) error {
			if changed != "" {
				return o.whyTouched(cmd, dir, given[0], changed)
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			var why web.WhyJSON
			if _, err := strconv.ParseInt(strings.TrimPrefix(given[0], "#"), 10, 64); err == nil {
				path, err := runPath(given[0])
				if err != nil {
					return err
				}
				if o.JSON {
					return o.pass(cmd, c, path+"/why", nil)
				}
				why.Answers = make([]web.AnswerJSON, 1)
				if err := c.get(cmd.Context(), path+"/why", nil, &why.Answers[0]); err != nil {
					return err
				}
			} else {
				q := url.Values{"stack": {given[0]}}
				set(q, "repository", repo)
				set(q, "environment", env)
				if o.JSON {
					return o.pass(cmd, c, "/why", q)
				}
				if err := c.get(cmd.Context(), "/why", q, &why); err != nil {
					return err
				}
			}
			for i, a := range why.Answers {
				if i > 0 {
					fmt.Fprintln(o.Out)
				}
				if err := o.say("%s\n  %s", a.Text, c.page("/runs/"+a.Run.ID.String())); err != nil {
					return err
				}
				for i, r := range a.Chain {
					if i == 0 {
						continue // the paragraph begins with it
					}
					text := r.What
					if r.Because != "" {
						text += ": " + r.Because
					}
					if err := o.say("  · %s", text); err != nil {
						return err
					}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "the stack's repository")
	cmd.Flags().StringVar(&env, "env", "", "the stack's environment")
	cmd.Flags().StringVar(&changed, "changed", "", "say how the commits A..B of this checkout touch the stack")
	cmd.Flags().StringVar(&dir, "dir", ".", "the checkout, with --changed")
	return cmd
}

// whyTouched says by which chain a change touches a stack, from the checkout alone.
func (o *options) whyTouched(cmd *cobra.Command, dir, stack, changed string) error {
	touched, layout, err := touchedBy(cmd, dir, changed)
	if err != nil {
		return err
	}
	for _, t := range touched {
		if t.Stack.Name != stack && (t.Stack.Alias == "" || t.Stack.Alias != stack) {
			continue
		}
		if o.JSON {
			return printJSON(o.Out, t)
		}
		if t.Removed {
			return o.say("%s is removed by %s.", stack, changed)
		}
		return o.say("%s is touched: %s", stack, t.Because)
	}
	if _, ok := layout.Stack(stack); !ok {
		var names []string
		for _, s := range layout.Stacks {
			names = append(names, s.Name)
		}
		return usageError(fmt.Errorf("there is no stack %s\nStacks: %s", stack, legible(strings.Join(names, ", "))))
	}
	if o.JSON {
		return printJSON(o.Out, nil)
	}
	return o.say("%s is not touched by %s.", stack, changed)
}
