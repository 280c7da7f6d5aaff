package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

const oneItem = "one drift item's number"

// itemPath is where a drift item is in the API.
func itemPath(arg string) (string, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(arg, "#"), 10, 64)
	if err != nil || id < 1 {
		return "", usageError(fmt.Errorf("%q is not a drift item's number\n`plumbline drift list` shows them", arg))
	}
	return "/drift/" + strconv.FormatInt(id, 10), nil
}

func newDriftShowCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a difference: what, since when, by whom, what is being done, its history", Args: args(1, 1, oneItem),
		RunE: func(cmd *cobra.Command, given []string) error {
			path, err := itemPath(given[0])
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
			var d web.DriftDetailJSON
			if err := c.get(cmd.Context(), path, nil, &d); err != nil {
				return err
			}
			return o.showItem(c, d)
		},
	}
}

func (o *options) showItem(c *client, d web.DriftDetailJSON) error {
	it := d.Item
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	fact := func(name, format string, a ...any) { line("  %-7s %s", name, legible(fmt.Sprintf(format, a...))) }
	line("Drift %d · %s · %s · %s", it.ID, legible(it.Repository+"/"+it.Environment), legible(it.Stack), o.state(string(it.State)))
	line("%s  %s", legible(it.Address), legible(it.What))
	line("  %s", c.page(fmt.Sprintf("/drift/%d", it.ID)))
	if lines := differences(it); len(lines) > 0 {
		line("\nAs Git has it -> as found")
		for _, l := range lines {
			line("  %s", legible(l))
		}
	}
	if len(it.Hidden) > 0 {
		line("  ignored by rules: %s", legible(strings.Join(it.Hidden, ", ")))
	}
	line("")
	fact("since", "%s ago (%s)", o.ago(it.Opened), stamped(it.Opened))
	if !it.Changed.IsZero() {
		fact("", "other values since %s", stamped(it.Changed))
	}
	fact("seen", "%d×, last %s ago in run %s", it.Seen, o.ago(it.LastSeen), it.LastRun)
	if it.Returned > 0 {
		fact("", "it was resolved and came back %s", times(it.Returned))
	}
	if it.Flapping {
		fact("", "it comes and goes")
	}
	fact("by", "%s", actor(it.Actor))
	if it.Cause.Text != "" {
		fact("cause", "%s", it.Cause.Text)
	}
	if !it.Resolved.IsZero() {
		fact("ended", "%s ago (%s): %s", o.ago(it.Resolved), stamped(it.Resolved), it.How)
	}
	if a := it.Acknowledged; a != nil {
		fact("known", "%s", strings.TrimSuffix(fmt.Sprintf("%s acknowledged it %s ago: %s", a.By, o.ago(a.At), a.Note), ": "))
	}
	if i := it.Ignored; i != nil {
		by := "the configuration"
		if i.Rule != 0 {
			by = fmt.Sprintf("rule %d", i.Rule)
		}
		fact("ignored", "%s by %s: %s (%s answers for it)", forHowLong(i.Until), by, i.Reason, i.Owner)
	}
	if it.Noise != "" {
		fact("noise", "%s", it.Noise)
	}
	if it.State == plumbline.DriftOpen || it.State == plumbline.DriftAcknowledged {
		doing := "nothing by itself: people are told"
		if it.Remedy != nil {
			doing = it.Remedy.Text
		}
		fact("doing", "%s", doing)
	}
	if len(d.History) > 0 {
		line("\nHistory")
		for _, e := range d.History {
			text := fmt.Sprintf("  %s  %-12s  %s", e.At.UTC().Format("2006-01-02 15:04:05"), e.What, legible(strings.TrimSpace(e.Who+" "+e.Text)))
			line("%s", strings.TrimRight(text, " "))
		}
	}
	if next := next(it); len(next) > 0 {
		line("\nNext:")
		for _, n := range next {
			line("  %s", legible(n))
		}
	}
	_, err := io.WriteString(o.Out, b.String())
	return err
}

// differences are the attributes of an item as people read them.
func differences(it web.DriftJSON) []string {
	c := plumbline.Change{Address: it.Address, Type: it.Type, Action: plumbline.ActionUpdate}
	switch it.Kind {
	case plumbline.DriftDeleted:
		c.Action = plumbline.ActionDelete
	case plumbline.DriftAppeared:
		c.Action = plumbline.ActionCreate
	}
	for _, a := range it.Attributes {
		c.Attributes = append(c.Attributes, plumbline.Attribute{
			Path: a.Path, Before: string(a.Before), After: string(a.After), Sensitive: a.Sensitive, Unknown: a.Unknown, Forces: a.Forces, Beside: a.Beside, Whole: a.Whole,
		})
	}
	var out []string
	for _, l := range diff.Change(c)[1:] {
		out = append(out, strings.Repeat("  ", max(0, l.Depth-1))+strings.TrimRight(l.Sign+" "+l.Text, " "))
		if l.Note != "" {
			out[len(out)-1] += "  # " + l.Note
		}
	}
	return out
}

func stamped(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// forHowLong is "until 2027-03-01".
func forHowLong(until time.Time) string {
	if until.IsZero() {
		return "for good"
	}
	return "until " + until.UTC().Format(time.DateOnly)
}

// actor is who changed something, with all that is known of it.
func actor(a web.ActorJSON) string {
	text := a.Text
	if a.From != "" {
		text += " at " + a.From
	}
	if a.Event != "" {
		text += ", " + a.Event
	}
	if !a.At.IsZero() {
		text += ", " + stamped(a.At)
	}
	if a.Source != "" {
		text += ", says " + a.Source
	}
	if a.Unknown != "" {
		text += " (" + a.Unknown + ")"
	}
	return text
}

// next is what can be done about an item, as commands.
func next(it web.DriftJSON) []string {
	env := it.Repository + "/" + it.Environment
	var out []string
	switch it.State {
	case plumbline.DriftResolved:
		return nil
	case plumbline.DriftIgnored:
		if it.Ignored != nil && it.Ignored.Rule != 0 {
			return []string{fmt.Sprintf("tell people again          plumbline drift unignore %s %d", env, it.Ignored.Rule)}
		}
		return []string{"tell people again          take the rule out of the configuration of " + env}
	case plumbline.DriftNoise:
		return nil
	case plumbline.DriftOpen:
		out = append(out, fmt.Sprintf("say that you know          plumbline drift ack %d --note TEXT", it.ID))
	}
	return append(out,
		fmt.Sprintf("have reality follow Git    plumbline env deploy %s %s", env, it.Stack),
		"keep what was changed      put it into Git; the next check finds nothing",
		fmt.Sprintf("it is nobody's business    plumbline drift ignore %d --owner WHO --reason TEXT --until DATE", it.ID),
	)
}

// itemsJSON is what programs get of several items.
type itemsJSON struct {
	Items []web.DriftDetailJSON `json:"items"`
}

func newDriftAckCmd(o *options) *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: "ack ID…", Short: "Acknowledge differences: somebody knows", Args: args(1, -1, "numbers of drift items"),
		Long: "Acknowledges differences: somebody knows, and nobody else need be told. They stay open until they are resolved.",
		RunE: func(cmd *cobra.Command, given []string) error {
			paths := make([]string, len(given))
			for i, g := range given {
				var err error
				if paths[i], err = itemPath(g); err != nil {
					return err
				}
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			out := itemsJSON{Items: []web.DriftDetailJSON{}}
			var failed error
			for _, p := range paths {
				var d web.DriftDetailJSON
				if err := c.post(cmd.Context(), p+"/acknowledge", web.AcknowledgeJSON{Note: note}, &d); err != nil {
					failed = errors.Join(failed, err) // the others are acknowledged all the same
					continue
				}
				out.Items = append(out.Items, d)
				if o.JSON {
					continue
				}
				if err := o.say("Acknowledged: %s in %s/%s %s.", d.Item.Address, d.Item.Repository, d.Item.Environment, d.Item.Stack); err != nil {
					return err
				}
			}
			if o.JSON {
				failed = errors.Join(failed, printJSON(o.Out, out))
			}
			return failed
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "what others should know")
	return cmd
}

func newDriftIgnoreCmd(o *options) *cobra.Command {
	var repo, until string
	var rule web.IgnoreJSON
	cmd := &cobra.Command{
		Use: "ignore ID | ENV ADDRESS --owner WHO --reason TEXT [--until DATE]", Short: "Ignore a difference, or all that a rule matches, until a day", Args: args(1, 2, "a drift item's number, or an environment and an address"),
		Long: `Sets a rule that hides differences of an environment, at once and in all later checks, until it runs out.

With a drift item's number the rule is about its object in its stack. With an environment, ADDRESS is the address of a resource, in which * stands for
any text: aws_autoscaling_group.* is all of a type, in modules as well. --attribute narrows it to attributes, and to what is inside of them: tags is
tags["a"], too.`,
		RunE: func(cmd *cobra.Command, given []string) error {
			if strings.TrimSpace(rule.Owner) == "" || strings.TrimSpace(rule.Reason) == "" {
				return usageError(fmt.Errorf("a rule needs an owner, who is asked when it ends, and a reason\nSay both: plumbline drift ignore %s --owner WHO --reason TEXT", strings.Join(given, " ")))
			}
			var err error
			if rule.Until, err = untilTime(until, o.Now()); err != nil {
				return err
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			var at place
			want := rule
			if len(given) == 1 {
				path, err := itemPath(given[0])
				if err != nil {
					return err
				}
				var d web.DriftDetailJSON
				if err := c.get(cmd.Context(), path, nil, &d); err != nil {
					return err
				}
				at, want.Address = place{d.Item.Repository, d.Item.Environment}, d.Item.Address
				if !cmd.Flags().Changed("stack") {
					want.Stack = d.Item.Stack
				}
			} else {
				if at, err = c.place(cmd.Context(), given[0], repo); err != nil {
					return err
				}
				want.Address = given[1]
			}
			var out web.IgnoringJSON
			if err := c.post(cmd.Context(), at.api("/drift-rules"), want, &out); err != nil {
				return err
			}
			if o.JSON {
				return printJSON(o.Out, out)
			}
			hides := "It hides " + counted(out.Hides, "difference") + " that was open."
			if out.Hides == 0 {
				hides = "It hides nothing that is open now; is the address right?"
			}
			return o.say("Rule %d of %s/%s ignores %s %s. %s\n`plumbline drift unignore %s/%s %d` takes it back.",
				out.Rule.ID, at.repo, at.env, ruleText(out.Rule), forHowLong(out.Rule.Until), hides, at.repo, at.env, out.Rule.ID)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "the repository, where several have an environment of that name")
	cmd.Flags().StringVar(&rule.Attribute, "attribute", "", "only these attributes, * being any text; default: the whole object")
	cmd.Flags().StringVar(&rule.Stack, "stack", "", "only in these stacks, * being any text; default: that of the drift item, or all")
	cmd.Flags().StringVar(&rule.Owner, "owner", "", "who answers for it")
	cmd.Flags().StringVar(&rule.Reason, "reason", "", "why, for whoever wonders")
	cmd.Flags().StringVar(&until, "until", "", "2027-03-01 by this machine's clock, or how long from now, such as 90d; default: for good")
	return cmd
}

func ruleText(r web.DriftRuleJSON) string {
	return plumbline.IgnoreRule{Stack: r.Stack, Address: r.Address, Attribute: r.Attribute}.String()
}

func newDriftRulesCmd(o *options) *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use: "rules ENV", Short: "List what an environment ignores: by its configuration, and by rules that people have set", Args: args(1, 1, oneEnvironment),
		RunE: o.at(&repo, func(cmd *cobra.Command, c *client, at place) error {
			if o.JSON {
				return o.pass(cmd, c, at.api("/drift-rules"), nil)
			}
			var list web.DriftRulesJSON
			if err := c.get(cmd.Context(), at.api("/drift-rules"), nil, &list); err != nil {
				return err
			}
			if len(list.Rules) == 0 {
				return o.say("%s/%s ignores nothing.", at.repo, at.env)
			}
			t := newTable("RULE", "IGNORES", "UNTIL", "OWNER", "REASON", "BY")
			expired := 0
			for _, r := range list.Rules {
				id, by, until := "–", "configuration", "for good"
				if r.ID != 0 {
					id, by = strconv.FormatInt(r.ID, 10), r.By
				}
				if !r.Until.IsZero() {
					until = r.Until.UTC().Format(time.DateOnly)
				}
				if r.Expired {
					until += ", ran out"
					expired++
				}
				t.add(id, ruleText(r), until, r.Owner, r.Reason, by)
			}
			if err := t.write(o); err != nil || expired == 0 {
				return err
			}
			return o.say("What has run out hides nothing any more; what it hid has come back.")
		}),
	}
	cmd.Flags().StringVar(&repo, "repo", "", "the repository, where several have an environment of that name")
	return cmd
}

func newDriftUnignoreCmd(o *options) *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use: "unignore ENV RULE", Short: "Take back a rule that somebody has set: what it hid comes back", Args: args(2, 2, oneEnvironment+" and a rule's number"),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := strconv.ParseInt(strings.TrimPrefix(given[1], "#"), 10, 64)
			if err != nil || id < 1 {
				return usageError(fmt.Errorf("%q is not a rule's number\n`plumbline drift rules %s` shows them; what stands in the configuration is changed there", given[1], given[0]))
			}
			return o.at(&repo, func(cmd *cobra.Command, c *client, at place) error {
				var left web.DriftRulesJSON
				if err := c.post(cmd.Context(), at.api(fmt.Sprintf("/drift-rules/%d/lift", id)), struct{}{}, &left); err != nil {
					return err
				}
				if o.JSON {
					return printJSON(o.Out, left)
				}
				return o.say("Rule %d of %s/%s is taken back; what it hid is open again. `plumbline drift list --env %s` shows it.", id, at.repo, at.env, at.env)
			})(cmd, given[:1])
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "the repository, where several have an environment of that name")
	return cmd
}

// driftNarrow are the flags that narrow what is told of drift.
type driftNarrow struct{ repo, env, stack, since string }

func (n *driftNarrow) add(cmd *cobra.Command, since string) {
	cmd.Flags().StringVar(&n.repo, "repo", "", "of one repository")
	cmd.Flags().StringVar(&n.env, "env", "", "of one environment")
	cmd.Flags().StringVar(&n.stack, "stack", "", "of one stack")
	cmd.Flags().StringVar(&n.since, "since", "", since)
}

func (n driftNarrow) query() url.Values {
	q := url.Values{}
	repo, env, ok := strings.Cut(n.env, "/")
	if !ok {
		repo, env = n.repo, n.env
	}
	set(q, "repository", repo)
	set(q, "environment", env)
	set(q, "stack", n.stack)
	set(q, "since", n.since)
	return q
}
