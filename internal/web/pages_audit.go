package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// auditList is the body of the audit log's page.
type auditList struct {
	Rows         []plumbline.AuditRow
	Who          string
	Action       plumbline.AuditAction
	Environment  string // "repository/environment"
	Run          string
	Actions      []plumbline.AuditAction
	Environments []string
	Older        string // address of the next page; "": none
	Newest       string // address of the first page; "": this is it
	JSONL, CSV   string // addresses of what the filter finds, as files
	Verify       string // address of this page with the check
	Report       *auditReport
}

// auditReport is what came of checking the log, in words.
type auditReport struct {
	Good   bool
	Text   string
	Anchor string
}

// auditShown is how many entries a page shows.
const auditShown = 100

func (s *Server) auditPage(w http.ResponseWriter, r *http.Request, who Identity) error {
	q := r.URL.Query()
	if err := known(q, "who", "action", "environment", "run", "before", "verify"); err != nil {
		return err
	}
	narrow := url.Values{}
	for _, k := range []string{"who", "action", "run"} {
		if v := strings.TrimSpace(q.Get(k)); v != "" {
			narrow.Set(k, v)
		}
	}
	l := auditList{Who: narrow.Get("who"), Action: plumbline.AuditAction(narrow.Get("action")), Run: narrow.Get("run"), Environment: q.Get("environment"), Actions: plumbline.AuditActions}
	for _, repo := range s.c.Repositories {
		for _, e := range repo.Environments {
			l.Environments = append(l.Environments, e.Key())
		}
	}
	ours := url.Values{} // the page names an environment in one word, the API in two
	for k, v := range narrow {
		ours[k] = v
	}
	if l.Environment != "" {
		repo, env, _ := strings.Cut(l.Environment, "/")
		narrow.Set("repository", repo)
		narrow.Set("environment", env)
		ours.Set("environment", l.Environment)
	}
	f, err := auditFilter(narrow)
	if err != nil {
		return err
	}
	if f.Before, err = number(q, "before", 0); err != nil {
		return err
	}
	f.Newest, f.Limit = true, auditShown+1
	if l.Rows, err = s.c.Store.AuditEntries(r.Context(), f); err != nil {
		return err
	}
	address := func(base string, q url.Values, more ...string) string {
		all := url.Values{}
		for k, v := range q {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all.Set(more[i], more[i+1])
		}
		if len(all) == 0 {
			return base
		}
		return base + "?" + all.Encode()
	}
	if f.Before != 0 {
		l.Newest = address("/audit", ours)
	}
	if len(l.Rows) > auditShown {
		l.Rows = l.Rows[:auditShown]
		l.Older = address("/audit", ours, "before", strconv.FormatInt(l.Rows[auditShown-1].Seq, 10))
	}
	l.JSONL, l.CSV = address("/api/v1/audit/export", narrow, "format", "jsonl"), address("/api/v1/audit/export", narrow, "format", "csv")
	l.Verify = address("/audit", ours, "verify", "1")
	if q.Get("verify") != "" {
		// The check reads the whole log, however long that takes.
		if err := endless(w); err != nil {
			return err
		}
		report, err := s.c.Store.VerifyAudit(r.Context())
		if err != nil {
			return err
		}
		l.Report = reportOf(report)
	}
	return s.show(w, who, "audit", view{Title: "Audit log", Section: "/audit", Body: l})
}

// reportOf puts what came of a check of the audit log in words.
func reportOf(r plumbline.AuditReport) *auditReport {
	switch {
	case r.Fault != nil:
		text := r.Fault.Text + " Nothing after it proves anything."
		if r.Checked > 0 {
			text += fmt.Sprintf(" The %s before it %s sound.", numbered(r.Checked), isAre(r.Checked))
		}
		return &auditReport{Text: text}
	case r.Checked == 0:
		return &auditReport{Good: true, Text: "The log is empty; there is nothing to check."}
	}
	return &auditReport{
		Good:   true,
		Text:   fmt.Sprintf("The chain is whole: %s, from %d to %d, each with the hash of the one before it.", numbered(r.Checked), r.First, r.Head.Seq),
		Anchor: r.Head.String(),
	}
}

func numbered(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func isAre(n int64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
