package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/driftreport"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// view is what every page is made of.
type view struct {
	Title       string
	Section     string // the entry of the navigation that it belongs to
	Who         string // "": nobody is signed in
	Form        string // what forms must carry
	Browser     bool   // it is a session, which can be ended
	Audit       bool   // they may read the audit log
	Version     string
	Live        string // address of the page's events; "": it does not change by itself
	LiveVersion string
	Body        any
}

// pages are the templates by name.
type pages map[string]*template.Template

//go:embed templates
var templateFiles embed.FS

func (s *Server) parsePages() pages {
	base := template.Must(template.New("").Funcs(s.funcs()).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	names, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // they are part of the program
	}
	out := pages{}
	for _, f := range names {
		if name := strings.TrimSuffix(f.Name(), filepath.Ext(f.Name())); name != "layout" && name != "parts" {
			out[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, "templates/"+f.Name()))
		}
	}
	return out
}

// show renders a page for somebody.
func (s *Server) show(w http.ResponseWriter, who Identity, name string, v view) error {
	return s.render(w, http.StatusOK, name, s.signed(who, v))
}

func (s *Server) signed(who Identity, v view) view {
	v.Who = who.Name
	if who.Name != "" {
		v.Version = s.c.Version
		v.Audit = authorize(s.c.Access, who, plumbline.MayAudit, "") == nil
	}
	if who.session != nil {
		v.Form, v.Browser = who.session.form, true
	}
	return v
}

// render makes the whole page before its first byte is written.
func (s *Server) render(w http.ResponseWriter, status int, name string, v view) error {
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "layout", v); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return gone(err)
}

// errorBody is the body of an error's page.
type errorBody struct {
	Problem
	Status int
	SignIn string // address of the sign-in page that leads back here
	Again  bool   // the browser kept its cookie back because the visit began on another site; asking again from here brings it
}

func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, who Identity, status int, p Problem) {
	b := errorBody{Problem: p, Status: status, SignIn: signInHere(r)}
	if status == http.StatusUnauthorized {
		b.Again = r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
	}
	v := s.signed(who, view{Title: http.StatusText(status), Body: b})
	if err := s.render(w, status, "error", v); err != nil {
		http.Error(w, p.What, status)
	}
}

func (s *Server) funcs() template.FuncMap {
	return template.FuncMap{
		"ago":       func(t time.Time) template.HTML { return timeHTML(t, s.c.Now(), false) },
		"when":      func(t time.Time) template.HTML { return timeHTML(t, s.c.Now(), true) },
		"stamp":     func(t time.Time) template.HTML { return timeTag(t, t.UTC().Format("2006-01-02 15:04:05")) },
		"minute":    func(t time.Time) template.HTML { return timeTag(t, t.UTC().Format("2006-01-02 15:04")) },
		"begun":     func(t time.Time) bool { return !t.After(s.c.Now()) },
		"since":     func(r plumbline.Run) template.HTML { return timeHTML(since(r), s.c.Now(), false) },
		"duration":  plumbline.Ago,
		"took":      took,
		"short":     plumbline.Short,
		"digest":    plumbline.ShortDigest,
		"tone":      tone,
		"label":     func(r plumbline.Run) string { return r.Label() },
		"stack":     stackLabel,
		"deployed":  deploymentState,
		"summary":   summary,
		"words":     words,
		"path":      path,
		"asset":     func(name string) string { return "/static/" + name + "?v=" + assets[name] },
		"anchor":    anchor,
		"diff":      diffHTML,
		"outside":   outside,
		"outputs":   outputsHTML,
		"open":      func(i int, c plumbline.Change) bool { return i < 20 && c.Action != plumbline.ActionCreate },
		"drifted":   func(d plumbline.DriftItem) string { return driftreport.What(d.Shown()) },
		"remedy":    remedyText,
		"date":      func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"driftDiff": driftDiff,
		"pathKey":   pathKey,
		"lines":     diff.HTML,
		"event":     eventText,
		"counted":   counted,
		"what":      what,
		"who":       func(r plumbline.Run) string { return onWhoseWord(r, s.c.Now()) },
		"mr":        func(id string) string { return plumbline.MergeRequest{ID: id}.Name() },
		"sum":       sum,
		"upper":     sentence,
		"prose":     prose,
		"plain":     plain,
		"output":    output,
		"door":      door,
		"compared":  compared,
		"verdict":   verdict,
		"checked":   checked,
		"auditTone": auditTone,
		"span":      func(from, until time.Time) string { return span(from, until, s.c.Now()) },
		"moment":    func(t time.Time) string { return moment(t, s.c.Now()) },
		"place":     func(f plumbline.Finding) string { return f.String() },
		"diagPlace": diagnosticPlace,
	}
}

// assets are hashes of the static files, by name.
var assets = func() map[string]string {
	out := map[string]string{}
	for name := range staticTypes {
		b, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			panic(err) // they are part of the program
		}
		h := sha256.Sum256(b)
		out[name] = hex.EncodeToString(h[:6])
	}
	return out
}()

// timeHTML is a time as people say it, with the exact one behind it.
func timeHTML(t, now time.Time, exact bool) template.HTML {
	if t.IsZero() {
		return "—"
	}
	t = t.UTC()
	stamp := t.Format("2006-01-02 15:04:05 MST")
	text := stamp
	if !exact {
		text = plumbline.Ago(now.Sub(t))
		if t.After(now) {
			text = "in " + plumbline.Ago(t.Sub(now))
		}
	}
	return timeTag(t, text)
}

// timeTag shows a time by a text that is made of it.
func timeTag(t time.Time, text string) template.HTML {
	t = t.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 MST"), text)) // made of times alone
}

// plain is what people, forges, policies have written, in one line on which is to be seen what is in it.
func plain(text string) string { return diff.Clean(strings.Join(strings.Fields(text), " ")) }

// output is what a program said, each line as plain text; tabs and indentation stay.
func output(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for i, l := range lines {
		lines[i] = diff.Clean(strings.TrimRight(l, "\r"))
	}
	return strings.Join(lines, "\n")
}

// prose sets what stands between backquotes as code.
func prose(text string) template.HTML {
	parts := strings.Split(plain(text), "`")
	var b strings.Builder
	for i, p := range parts {
		p = template.HTMLEscapeString(p)
		switch {
		case i%2 == 0:
			b.WriteString(p)
		case i == len(parts)-1:
			b.WriteString("`" + p) // one without its partner
		default:
			b.WriteString("<code>" + p + "</code>")
		}
	}
	return template.HTML(b.String()) // every part is escaped above
}

// tone is the colour of a state: bad, wait, busy, good or mute. The state is always worded beside it.
func tone(state any) string {
	switch fmt.Sprint(state) {
	case "failed", "interrupted", "drifted", "open", "degraded", "cannot be read", "check failed", "removed, not destroyed":
		return "bad"
	case "awaiting", "awaiting approval", "acknowledged", "waiting", "frozen", "rejected", "expired", "not yet applied", "never applied here":
		return "wait"
	case "queued", "planning", "approved", "applying", "deploying", "stopping", "being checked":
		return "busy"
	case "applied", "clean", "resolved", "in sync", "no changes":
		return "good"
	case "planned":
		return "info"
	}
	return "mute"
}

// verdict is the colour of what a check came to.
func verdict(v plumbline.Verdict) string {
	switch v {
	case plumbline.VerdictPass:
		return "good"
	case plumbline.VerdictFail:
		return "bad"
	case plumbline.VerdictError:
		return "wait"
	}
	return "mute"
}

// checked is what the checks and the policies of a run came to, in a few words; "" when none were made.
func checked(r plumbline.Run) string {
	var failed, odd, denied []string
	for _, c := range r.Checks {
		switch {
		case c.Name == plumbline.CheckPolicy: // its findings tell
		case c.Verdict == plumbline.VerdictFail:
			failed = append(failed, string(c.Name))
		case c.Verdict == plumbline.VerdictError:
			odd = append(odd, string(c.Name))
		}
	}
	for _, f := range r.Findings {
		if f.Level == plumbline.PolicyDeny && !slices.Contains(denied, f.Policy) {
			denied = append(denied, f.Policy)
		}
	}
	var parts []string
	add := func(names []string, what string) {
		if len(names) > 0 {
			parts = append(parts, strings.Join(names, ", ")+" "+what)
		}
	}
	add(denied, "forbids it")
	add(failed, "failed")
	add(odd, "could not be checked")
	switch {
	case len(parts) > 0:
		return plain(strings.Join(parts, "; "))
	case len(r.Checks) > 0:
		return "passed"
	}
	return ""
}

// auditTone is the colour of what somebody did.
func auditTone(r plumbline.AuditRow) string {
	switch r.Action {
	case plumbline.AuditBreakGlass, plumbline.AuditReject, plumbline.AuditRefused:
		return "bad"
	case plumbline.AuditFreeze, plumbline.AuditThaw, plumbline.AuditCancel:
		return "wait"
	case plumbline.AuditApprove, plumbline.AuditCarry:
		return "good"
	case plumbline.AuditApply:
		return tone(r.Outcome)
	}
	return "mute"
}

// door says where somebody came in.
func door(d plumbline.Door) string {
	switch d {
	case plumbline.DoorWeb:
		return "on a page here"
	case plumbline.DoorAPI:
		return "through the API"
	case plumbline.DoorComment:
		return "in a comment"
	case plumbline.DoorForge:
		return "on the forge"
	}
	return ""
}

// compared lays out the lines that tell one plan from another; the sign at their beginning gives each its colour.
func compared(lines []string) template.HTML {
	var b strings.Builder
	for _, l := range lines {
		class := "ctx"
		switch sign, _, _ := strings.Cut(l, " "); sign {
		case "+", "<=", ">":
			class = "add"
		case "-", "-/+", "+/-":
			class = "del"
		case "~", ".", "./+":
			class = "chg"
		}
		text, note, _ := strings.Cut(l, " # ")
		fmt.Fprintf(&b, `<span class="%s">%s`, class, template.HTMLEscapeString(diff.Clean(strings.TrimRight(text, " "))))
		if note != "" {
			fmt.Fprintf(&b, `  <em class="note"># %s</em>`, template.HTMLEscapeString(diff.Clean(note)))
		}
		b.WriteString("</span>\n")
	}
	return template.HTML(b.String()) // every part is escaped above
}

// moment is a time in its zone as people write it: with the weekday while that can only be one day, with the date otherwise.
func moment(t, now time.Time) string {
	layout := "Mon 2 Jan 2006 15:04"
	if t.Sub(now) < 6*24*time.Hour {
		layout = "Mon 15:04"
	}
	return t.Format(layout)
}

// span is a time in which changes can be applied.
func span(from, until, now time.Time) string {
	start := moment(from, now) + from.Format(" MST")
	if !from.After(now) {
		start = "now"
	}
	switch {
	case until.IsZero():
		return "from " + start + " on"
	case from.Format(time.DateOnly) == until.Format(time.DateOnly) && from.After(now):
		return moment(from, now) + "–" + until.Format("15:04 MST")
	}
	return start + " – " + moment(until, now) + until.Format(" MST")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

// what a run would do or did, in short.
func what(r plumbline.Run) string {
	switch {
	case r.State == plumbline.StateDrifted:
		return counted(r.DriftOpen, "difference")
	case r.Plan != nil && r.Plan.Changes:
		return summary(r.Plan.Summary)
	case r.Plan != nil:
		return "no changes"
	case r.Failure != nil:
		return string(r.Failure.Kind) + " error"
	}
	return ""
}

// summary is a plan's counts with a minus sign that is as wide as the plus.
func summary(s plumbline.Summary) string { return strings.ReplaceAll(s.String(), "-", "−") }

// words is a plan's counts for whoever does not know the signs yet, red first.
func words(s plumbline.Summary) string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(s.Replace, "to replace")
	add(s.Delete, "to destroy")
	add(s.Create, "to add")
	add(s.Update, "to change")
	add(s.Move, "to move")
	add(s.Import, "to import")
	add(s.Forget, "to forget")
	if len(parts) == 0 {
		return s.String()
	}
	return strings.Join(parts, ", ")
}

// took is a duration with as many digits as anybody reads.
func took(d time.Duration) string {
	for unit := time.Second; unit > time.Microsecond; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.Round(time.Microsecond).String()
}

func sum(runs []plumbline.Run) plumbline.Summary {
	var out plumbline.Summary
	for _, r := range runs {
		if r.Plan != nil {
			out = out.Add(r.Plan.Summary)
		}
	}
	return out
}

// onWhoseWord says on whose word a run is where it is.
func onWhoseWord(r plumbline.Run, now time.Time) string {
	var by []string
	for _, a := range r.Approvals {
		if r.Plan != nil && a.Digest == r.Plan.Digest && a.Config == r.Plan.Config && (r.State != plumbline.StateApproved || r.Counts(a, now)) {
			by = append(by, plain(a.By))
		}
	}
	cause, _, _ := strings.Cut(plain(r.Because), ": ")
	switch {
	case r.Glass != nil && r.Plan != nil && r.Glass.Digest == r.Plan.Digest:
		return "against the rules, by " + plain(r.Glass.By)
	case len(by) > 0 && r.State != plumbline.StateAwaiting && r.State != plumbline.StatePlanned: // until then it takes more than these
		return "approved by " + strings.Join(by, ", ")
	case r.Kind == plumbline.KindProposal:
		name := plumbline.MergeRequest{ID: r.MR}.Name()
		if r.By == "" { // plain Git names no author before the commit was fetched
			return name
		}
		return name + " by " + plain(r.By)
	case r.Kind == plumbline.KindDrift && r.By == plumbline.BySchedule:
		return "drift check"
	case r.Kind == plumbline.KindDrift:
		return "drift check, " + cause
	}
	return cause
}

func diagnosticPlace(d plumbline.Diagnostic) string {
	switch {
	case d.File == "":
		return d.Address
	case d.Line == 0:
		return d.File
	}
	return fmt.Sprintf("%s:%d", d.File, d.Line)
}

// anchor is the id of a resource on a run's page. An address may have spaces in a key, an id may not.
func anchor(c plumbline.Change) string {
	id := "r-" + strings.Join(strings.Fields(c.Address), "_")
	if c.Deposed != "" {
		id += "-" + c.Deposed
	}
	return id
}

// outside is what changed outside, without what providers do by themselves.
func outside(p *plumbline.Plan) []plumbline.Change {
	return slices.DeleteFunc(slices.Clone(p.Drift), plumbline.Change.OnlyEmpties)
}

// diffHTML is the body of a change's diff.
func diffHTML(c plumbline.Change) template.HTML { return diff.HTML(diff.Change(c)[1:]) }

func outputsHTML(outputs []plumbline.OutputChange) template.HTML {
	var lines []diff.Line
	for _, o := range outputs {
		lines = append(lines, diff.Output(o)...)
	}
	return diff.HTML(lines)
}

// tail keeps the end of what is written to it.
type tail struct {
	most int
	buf  []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - t.most; over > t.most {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	return len(p), nil
}

// String returns the end in whole lines, and whether something came before it.
func (t *tail) String() (string, bool) {
	b := t.buf
	if over := len(b) - t.most; over > 0 {
		b, t.cut = b[over:], true
	}
	if t.cut {
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			b = b[i+1:]
		}
	}
	return strings.ToValidUTF8(string(b), "\uFFFD"), t.cut
}
