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

func newTokenCmd(o *options) *cobra.Command {
	cmd := group("token", "Make, list and revoke API tokens")
	cmd.AddCommand(newTokenCreateCmd(o), newTokenListCmd(o), newTokenRevokeCmd(o))
	return cmd
}

func newTokenCreateCmd(o *options) *cobra.Command {
	var wish web.TokenWishJSON
	var role string
	cmd := &cobra.Command{
		Use: "create NAME --role ROLE", Short: "Make a token for a program, and print it once",
		Long: `The token acts in your name, as far as its role and environments say and never further than you may at that moment. It is printed once, alone on
standard output. A token makes no tokens: this needs the token in the daemon's data directory. Everybody else makes theirs on the page /tokens.`,
		Args: args(1, 1, "what the token is for, in one word or in quotes"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if role == "" {
				return usageError(fmt.Errorf("say what the token may do: plumbline token create %s --role viewer\nRoles: viewer, operator, approver, admin", legible(strconv.Quote(given[0]))))
			}
			wish.Name, wish.Role = given[0], plumbline.RoleName(role)
			c, err := o.client()
			if err != nil {
				return err
			}
			var made web.TokenMadeJSON
			if err := c.post(cmd.Context(), "/tokens", wish, &made); err != nil {
				return err
			}
			if o.JSON {
				return printJSON(o.Out, made)
			}
			fmt.Fprintf(o.Err, "Token %d (%s) of %s is good until %s. Keep it now: it is not shown again.\n", made.Token.ID, legible(made.Token.Name), legible(made.Token.By),
				made.Token.Expires.UTC().Format("2006-01-02"))
			return o.say("%s", made.Secret)
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "viewer, operator, approver or admin")
	cmd.Flags().StringSliceVar(&wish.Environments, "env", nil, "only in this environment, as ENV or REPOSITORY/ENV; may be given several times")
	cmd.Flags().IntVar(&wish.Days, "days", 90, "how long it is good for, at most 365")
	return cmd
}

func newTokenListCmd(o *options) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "list", Short: "List your tokens", Args: args(0, 0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			q := url.Values{}
			if all {
				q.Set("all", "true")
			}
			if o.JSON {
				return o.pass(cmd, c, "/tokens", q)
			}
			var list web.TokensJSON
			if err := c.get(cmd.Context(), "/tokens", q, &list); err != nil {
				return err
			}
			if len(list.Tokens) == 0 {
				return o.say("There are no tokens. `plumbline token create` makes one.")
			}
			head := []string{"TOKEN", "NAME"}
			if all {
				head = append(head, "OF")
			}
			t := newTable(append(head, "ROLE", "WHERE", "STATE", "GOOD UNTIL", "LAST USED")...)
			for _, tok := range list.Tokens {
				row := []any{tok.ID, tok.Name}
				if all {
					row = append(row, tok.By)
				}
				where, used := "wherever its owner may", "never"
				if len(tok.Environments) > 0 {
					where = strings.Join(tok.Environments, ", ")
				}
				if !tok.LastUsed.IsZero() {
					used = o.ago(tok.LastUsed) + " ago"
				}
				t.add(append(row, tok.Role, where, tok.State, tok.Expires.UTC().Format("2006-01-02"), used)...)
			}
			return t.write(o)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "those of everybody, for admins")
	return cmd
}

func newTokenRevokeCmd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "End a token for good", Args: args(1, 1, "one token's number"),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := strconv.ParseInt(given[0], 10, 64)
			if err != nil || id < 1 {
				return usageError(fmt.Errorf("%q is not a token's number\n`plumbline token list` shows them", given[0]))
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			var t web.TokenJSON
			if err := c.post(cmd.Context(), fmt.Sprintf("/tokens/%d/revoke", id), nil, &t); err != nil {
				return err
			}
			if o.JSON {
				return printJSON(o.Out, t)
			}
			return o.say("Token %d (%s) of %s is revoked.", t.ID, t.Name, t.By)
		},
	}
}
