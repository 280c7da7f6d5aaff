package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/plumbline/plumbline/internal/driftreport"
)

func newDriftReportCmd(o *options) *cobra.Command {
	var n driftNarrow
	var markdown, csv bool
	var html, limit string
	cmd := &cobra.Command{
		Use: "report", Short: "Report on drift over some time: trend, stacks by day, oldest, causes, what is ignored", Args: args(0, 0, "no arguments, only flags"),
		Long: `Reports on drift over some time, 30 days unless --since says otherwise: how many differences were open, day by day; which stacks differed when; what has
been open longest; causes, classes, time to repair; what comes and goes; what is ignored, by whom and until when; rules that have run out.

It is Markdown unless another format is asked for. docs/drift-report.schema.json describes the JSON. The page that --html writes has pictures, needs
nothing from elsewhere, and can be sent and printed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			chosen := 0
			for _, f := range []bool{markdown, csv, o.JSON} {
				if f {
					chosen++
				}
			}
			if chosen > 1 {
				return usageError(errors.New("--markdown, --csv and --json are three formats; choose one"))
			}
			most := 0
			if limit != "" {
				var err error
				if most, err = (&formats{markdown: true, limit: limit}).bytes(); err != nil {
					return err
				}
				if csv || o.JSON {
					return usageError(errors.New("--limit is for Markdown"))
				}
			}
			c, err := o.client()
			if err != nil {
				return err
			}
			var raw []byte
			if err := c.get(cmd.Context(), "/drift/report", n.query(), &raw); err != nil {
				return err
			}
			var r driftreport.Report
			if err := json.Unmarshal(raw, &r); err != nil || r.Version != 1 {
				return fmt.Errorf("the report of %s cannot be read\nIs the daemon of another version than this program? `plumbline version` says which it is", c.base.Redacted())
			}
			if html != "" {
				if err := writeTo(html, func(w io.Writer) error {
					return driftreport.HTML(w, r, driftreport.PageOptions{Items: c.page("/drift/"), Version: version()})
				}); err != nil {
					return err
				}
			}
			switch {
			case o.JSON:
				_, err = o.Out.Write(raw)
			case csv:
				err = driftreport.CSV(o.Out, r)
			case html != "" && !markdown:
				err = o.say("%s: %s.", html, r.Totals.String(fmt.Sprintf("in %d days", len(r.Trend))))
			default:
				_, err = io.WriteString(o.Out, driftreport.Markdown(r, most))
			}
			return err
		},
	}
	n.add(cmd, "from this day on, such as 2026-12-24, or so far back, such as 7d; default 30 days, at most a year")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print Markdown; the default")
	cmd.Flags().BoolVar(&csv, "csv", false, "print the differences as CSV")
	cmd.Flags().StringVar(&html, "html", "", "write a self-contained page to this file, besides what is printed")
	cmd.Flags().StringVar(&limit, "limit", "", "Markdown of at most that many bytes, or as many as the notes of github, gitlab, gitea, bitbucket or codecommit have")
	return cmd
}

// writeTo writes a file. One that was there stays as it was if the new one cannot be written whole.
func writeTo(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".plumbline-")
	if err != nil {
		return usageError(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriter(f)
	if err = errors.Join(write(w), w.Flush(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
