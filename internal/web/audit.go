package web

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// auditFilter reads a filter of the audit log from a query.
func auditFilter(q url.Values, more ...string) (plumbline.AuditFilter, error) {
	var f plumbline.AuditFilter
	names := []string{"repository", "environment", "stack", "who", "action", "run", "since", "until", "after", "before", "limit", "order"}
	if err := known(q, append(names, more...)...); err != nil {
		return f, err
	}
	f.Repository, f.Environment, f.Stack, f.Who = q.Get("repository"), q.Get("environment"), q.Get("stack"), q.Get("who")
	if v := q.Get("action"); v != "" {
		actions, err := among("action", []string{v}, plumbline.AuditActions)
		if err != nil || len(actions) != 1 {
			return f, refuse(plumbline.ErrInvalid, choices("There are", convert(plumbline.AuditActions, func(a plumbline.AuditAction) string { return string(a) })), "There is no action %q.", v)
		}
		f.Action = actions[0]
	}
	var err error
	for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if v := q.Get(name); v != "" {
			if *to, err = time.Parse(time.RFC3339, v); err != nil {
				return f, refuse(plumbline.ErrInvalid, "", "%s is a time such as 2026-12-24T18:00:00Z, not %q.", name, v)
			}
		}
	}
	var run, limit int64
	for name, to := range map[string]*int64{"run": &run, "after": &f.After, "before": &f.Before, "limit": &limit} {
		if *to, err = number(q, name, 0); err != nil {
			return f, err
		}
	}
	f.Run, f.Limit = plumbline.RunID(run), int(limit)
	switch v := q.Get("order"); v {
	case "", "oldest":
	case "newest":
		f.Newest = true
	default:
		return f, refuse(plumbline.ErrInvalid, "There are: oldest, newest.", "There is no order %q.", v)
	}
	return f, nil
}

func (s *Server) apiAudit(w http.ResponseWriter, r *http.Request, _ Identity) error {
	q := r.URL.Query()
	f, err := auditFilter(q)
	if err != nil {
		return err
	}
	f.Newest = q.Get("order") != "oldest"
	if f.Limit == 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, maxListing)
	rows, err := s.c.Store.AuditEntries(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, AuditJSON{append([]plumbline.AuditRow{}, rows...)})
}

// apiAuditExport sends entries as they are read: oldest first and all of them, unless the query narrows it. Half an answer breaks off, so that nobody
// takes it for whole.
func (s *Server) apiAuditExport(w http.ResponseWriter, r *http.Request, _ Identity) error {
	q := r.URL.Query()
	f, err := auditFilter(q, "format")
	if err != nil {
		return err
	}
	format, kind, add, end := q.Get("format"), "application/jsonl", addJSONL, func(*bufio.Writer) error { return nil }
	buffer := bufio.NewWriterSize(w, 64<<10)
	switch format {
	case "", "jsonl":
		format = "jsonl"
	case "csv":
		table := csv.NewWriter(buffer)
		if err := table.Write(auditColumns); err != nil {
			return gone(err)
		}
		kind = "text/csv; charset=utf-8"
		add = func(_ io.Writer, row plumbline.AuditRow) error { return table.Write(auditCells(row)) }
		end = func(*bufio.Writer) error { table.Flush(); return table.Error() }
	default:
		return refuse(plumbline.ErrInvalid, "There are: jsonl, csv.", "There is no format %q.", format)
	}
	if err := endless(w); err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="plumbline-audit.`+format+`"`)
	if err := s.c.Store.AuditEach(r.Context(), f, func(row plumbline.AuditRow) error { return add(buffer, row) }); err != nil {
		return err
	}
	if err := end(buffer); err != nil {
		return gone(err)
	}
	return gone(buffer.Flush())
}

// addJSONL writes an entry in the form that its hash can be checked from.
func addJSONL(w io.Writer, row plumbline.AuditRow) error {
	row.At = row.At.UTC()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(row)
}

var auditColumns = []string{
	"seq", "at", "who", "door", "action", "repository", "environment", "stack", "run", "merge_request", "commit", "digest", "credentials", "outcome", "detail", "prev", "hash",
}

func auditCells(r plumbline.AuditRow) []string {
	number := func(n int64) string { return plumbline.RunID(n).String() }
	run := ""
	if r.Run != 0 {
		run = r.Run.String()
	}
	cells := []string{
		number(r.Seq), r.At.UTC().Format(time.RFC3339Nano), r.Who, string(r.Door), string(r.Action), r.Repository, r.Environment, r.Stack, run, r.MR, r.Commit, r.Digest,
		r.Credentials, r.Outcome, r.Detail, r.Prev, r.Hash,
	}
	for i, c := range cells {
		cells[i] = diff.Cell(c)
	}
	return cells
}

// apiAuditVerify checks the whole log, however long that takes. What is wrong is in the answer, which is a good one.
func (s *Server) apiAuditVerify(w http.ResponseWriter, r *http.Request, _ Identity) error {
	q := r.URL.Query()
	if err := known(q, "anchor"); err != nil {
		return err
	}
	var anchors []plumbline.Anchor
	for _, v := range q["anchor"] {
		a, err := plumbline.ParseAnchor(v)
		if err != nil {
			return refuse(plumbline.ErrInvalid, "One is an entry's number, a colon and its hash of 64 digits.", "%q is not an anchor.", v)
		}
		anchors = append(anchors, a)
	}
	if err := endless(w); err != nil {
		return err
	}
	report, err := s.c.Store.VerifyAudit(r.Context(), anchors...)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}
