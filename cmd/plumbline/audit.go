package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/web"
)

func newAuditCmd(o *options) *cobra.Command {
	cmd := group("audit", "See who decided what, check that nobody has rewritten it")
	cmd.AddCommand(newAuditListCmd(o), newAuditVerifyCmd(o), newAuditExportCmd(o))
	return cmd
}

// auditFlags narrow what is listed or exported.
type auditFlags struct {
	repo, env, stack, who, action, since, until string
	run                                         int64
	limit                                       int
}

func (f *auditFlags) register(cmd *cobra.Command, limit int) {
	s := cmd.Flags()
	s.StringVar(&f.repo, "repo", "", "of one repository")
	s.StringVar(&f.env, "env", "", "of one environment")
	s.StringVar(&f.stack, "stack", "", "of one stack")
	s.StringVar(&f.who, "who", "", "of one person")
	s.StringVar(&f.action, "action", "", "of one kind, such as approve, break-glass, refused")
	s.StringVar(&f.since, "since", "", "from this time on: 2026-12-24T18:00, or how long ago, such as 24h")
	s.StringVar(&f.until, "until", "", "before this time, likewise")
	s.Int64Var(&f.run, "run", 0, "of one run")
	s.IntVar(&f.limit, "limit", limit, "at most so many; 0: the daemon's own limit")
}

func (f *auditFlags) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	set(q, "repository", f.repo)
	set(q, "environment", f.env)
	set(q, "stack", f.stack)
	set(q, "who", f.who)
	set(q, "action", f.action)
	for name, text := range map[string]string{"since": f.since, "until": f.until} {
		if text == "" {
			continue
		}
		at, err := pastTime(text, now)
		if err != nil {
			return nil, usageError(fmt.Errorf("--%s %q is no time\nWrite it as 2026-12-24T18:00, 2026-12-24T18:00:00Z or, before now, 24h", name, text))
		}
		q.Set(name, at.UTC().Format(time.RFC3339))
	}
	if f.run > 0 {
		q.Set("run", strconv.FormatInt(f.run, 10))
	}
	if f.limit > 0 {
		q.Set("limit", strconv.Itoa(f.limit))
	}
	return q, nil
}

// pastTime reads a time by the clock of this machine or with a zone of its own, or how long it is ago.
func pastTime(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return untilTime(text, now)
}

func newAuditListCmd(o *options) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List who decided what, newest first", Args: args(0, 0, "no arguments, only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.client()
			if err != nil {
				return err
			}
			q, err := f.query(o.Now())
			if err != nil {
				return err
			}
			if o.JSON {
				return o.pass(cmd, c, "/audit", q)
			}
			var list web.AuditJSON
			if err := c.get(cmd.Context(), "/audit", q, &list); err != nil {
				return err
			}
			if len(list.Entries) == 0 {
				return o.say("No entry matches.")
			}
			t := newTable("ENTRY", "WHEN (UTC)", "WHO", "BY", "ACTION", "WHERE", "RUN", "OUTCOME", "DETAIL")
			for _, e := range list.Entries {
				run := ""
				if e.Run > 0 {
					run = e.Run.String()
				}
				where := strings.Trim(e.Repository+"/"+e.Environment, "/")
				if e.Stack != "" {
					where += " · " + e.Stack
				}
				t.add(e.Seq, e.At.UTC().Format("2006-01-02 15:04:05"), e.Who, e.Door, e.Action, where, run, e.Outcome, e.Detail)
			}
			return t.write(o)
		},
	}
	f.register(cmd, 30)
	return cmd
}

func newAuditExportCmd(o *options) *cobra.Command {
	var f auditFlags
	var format, output string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the audit log out, oldest first", Args: args(0, 0, "no arguments, only flags"),
		Long: `Writes the audit log out, oldest first. JSON lines can be checked anywhere by ` + "`plumbline audit verify FILE`" + `, as long as no flag leaves entries out
between others. CSV is for spreadsheets: what one would take for a formula has an apostrophe before it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "jsonl" && format != "csv" {
				return usageError(fmt.Errorf("there is no format %q\nFormats: jsonl, csv", format))
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			q, err := f.query(o.Now())
			if err != nil {
				return err
			}
			q.Set("format", format)
			resp, err := c.open(cmd.Context(), http.MethodGet, "/audit/export", q, nil)
			if err != nil {
				return err
			}
			defer func() { _ = resp.Body.Close() }() // read to its end, or given up
			if output != "" {
				return writeWhole(output, resp.Body)
			}
			out := o.Out
			if isTerminal(o.Out) {
				out = &legibleWriter{w: o.Out}
			}
			if _, err := io.Copy(out, resp.Body); err != nil {
				return fmt.Errorf("the export broke off and is not whole: %w", err)
			}
			return nil
		},
	}
	f.register(cmd, 0)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	cmd.Flags().StringVar(&output, "output", "", "write to this file, which only its owner can read, and only if the export is whole")
	return cmd
}

// writeWhole writes a file, or leaves it as it was.
func writeWhole(path string, from io.Reader) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".plumbline-")
	if err != nil {
		return usageError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the export broke off, and %s was not written: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

func newAuditVerifyCmd(o *options) *cobra.Command {
	var anchors []string
	cmd := &cobra.Command{
		Use: "verify [FILE]", Short: "Check that nobody has rewritten the audit log, or an export of it", Args: args(0, 1, "one file at most"),
		Long: `Has the daemon check the whole audit log. With a file, which is an export in JSON lines ("-": standard input), it asks no daemon: it checks that each
entry is what was sealed and follows the one before it. That takes no key, so whoever can write the whole file can also make one that fits; an anchor
that was kept elsewhere excludes it. The last line of a check is an anchor.`,
		RunE: func(cmd *cobra.Command, given []string) error {
			var parsed []plumbline.Anchor
			for _, text := range anchors {
				a, err := plumbline.ParseAnchor(text)
				if err != nil {
					return usageError(err)
				}
				parsed = append(parsed, a)
			}
			var r plumbline.AuditReport
			var err error
			what := "the audit log"
			if len(given) == 1 {
				what = given[0]
				r, err = o.verifyExport(given[0], parsed)
			} else {
				r, err = o.verifyLog(cmd.Context(), parsed)
			}
			if err != nil {
				return err
			}
			return o.verified(r, what)
		},
	}
	cmd.Flags().StringArrayVar(&anchors, "anchor", nil, "an entry that must be there, as NUMBER:HASH from an earlier check")
	return cmd
}

// verifyLog has the daemon check its log, for as long as that takes.
func (o *options) verifyLog(ctx context.Context, anchors []plumbline.Anchor) (r plumbline.AuditReport, err error) {
	c, err := o.client()
	if err != nil {
		return r, err
	}
	q := url.Values{}
	for _, a := range anchors {
		q.Add("anchor", a.String())
	}
	resp, err := c.open(ctx, http.MethodGet, "/audit/verify", q, nil)
	if err != nil {
		return r, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return r, c.unreachable(err)
	}
	if json.Unmarshal(b, &r) != nil {
		return r, c.stranger(resp)
	}
	return r, nil
}

func (o *options) verifyExport(path string, anchors []plumbline.Anchor) (plumbline.AuditReport, error) {
	in := o.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return plumbline.AuditReport{}, usageError(err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	return plumbline.VerifyChain(exported(in, path), anchors...)
}

// maxEntry is the longest line of an export in bytes.
const maxEntry = 16 << 20

// exported reads an export. What the hash of an entry does not cover must not be in it: a field that we do not know, or one that is there twice,
// would be read by others.
func exported(in io.Reader, path string) iter.Seq2[plumbline.AuditRow, error] {
	return func(yield func(plumbline.AuditRow, error) bool) {
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, maxEntry)
		n := 0
		for lines.Scan() {
			n++
			if len(bytes.TrimSpace(lines.Bytes())) == 0 {
				continue
			}
			var row plumbline.AuditRow
			if err := json.Unmarshal(lines.Bytes(), &row, json.RejectUnknownMembers(true)); err != nil {
				yield(row, fmt.Errorf("%s:%d is no entry of the audit log: %w\nOnly JSON lines can be checked: `plumbline audit export` writes them", path, n, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(plumbline.AuditRow{}, fmt.Errorf("%s:%d: %w", path, n+1, err))
		}
	}
}

// verified tells what came of a check; a fault is a failure.
func (o *options) verified(r plumbline.AuditReport, what string) error {
	if o.JSON {
		if err := printJSON(o.Out, r); err != nil {
			return err
		}
		if r.Fault != nil {
			return &exitError{exitFailed, nil}
		}
		return nil
	}
	if f := r.Fault; f != nil {
		sound := "No entry before it is sound."
		if r.Checked > 0 {
			sound = fmt.Sprintf("Entries %d to %d are sound.", r.First, r.Head.Seq)
		}
		return fmt.Errorf("%s is not what was written: %s\n%s Compare it with an export from before", legible(what), legible(f.Text), sound)
	}
	if r.Checked == 0 {
		return o.say("Nothing is in %s.", what)
	}
	return o.say("Sound: %s in %s, %d to %d. To prove later that they are still there, keep this where nobody can rewrite it:\n%s", entries(r.Checked), what, r.First, r.Head.Seq, r.Head)
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
