package report

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// PageOptions are what a page says beside its plans.
type PageOptions struct {
	Title   string    // default "Plan report"
	At      time.Time // when it was made; zero: not said
	Version string    // of the program; "": not said
}

//go:embed page/page.html
var pageSource string

//go:embed page/page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"number": func(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}}).Parse(pageSource))

// pagePolicy lets a browser load nothing, run nothing, send nothing: all that the page needs is in it.
func pagePolicy() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// openChanges is up to how many changes in place of one plan are shown unfolded. What is destroyed always is.
const openChanges = 20

// redNames is how many of what is destroyed the list at the top of a stack names.
const redNames = 100

// HTML writes plans as one page without scripts that needs nothing from elsewhere: what is destroyed or replaced first and unfolded, each
// resource with an anchor. It is written while it is made, so that its length costs no memory.
func HTML(w io.Writer, plans []NamedPlan, o PageOptions) error {
	plans = redFirst(plans)
	out := bufio.NewWriterSize(w, 64<<10)
	p := &pageWriter{w: out}
	p.write("head", p.headOf(plans, o))
	for i, n := range plans {
		p.stack(fmt.Sprintf("s%d", i+1), n)
	}
	p.write("foot", strings.TrimSpace("Made by Plumbline "+diff.Clean(o.Version)))
	if p.err != nil {
		return p.err
	}
	return out.Flush()
}

// pageWriter remembers the first error.
type pageWriter struct {
	w   io.Writer
	err error
}

func (p *pageWriter) write(name string, data any) {
	if p.err == nil {
		p.err = page.ExecuteTemplate(p.w, name, data)
	}
}

type pageHead struct {
	Policy          string
	Style           template.CSS
	Title, Headline string
	At              string
	Rows            []pageRow
}

type pageRow struct {
	ID, Name, Else, Digest string
	Failed                 bool
	Sum                    plumbline.Summary
}

func (*pageWriter) headOf(plans []NamedPlan, o PageOptions) pageHead {
	h := pageHead{
		Policy: pagePolicy(), Style: template.CSS(pageStyle), // part of the program
		Title: brief(cmp.Or(o.Title, "Plan report")), Headline: headlineOf(plans, false),
	}
	if !o.At.IsZero() {
		h.At = o.At.UTC().Format("2006-01-02 15:04 MST")
	}
	for i, n := range plans {
		r := pageRow{ID: fmt.Sprintf("s%d", i+1), Name: diff.Clean(n.Name), Failed: n.failed(), Sum: n.Plan.Summary}
		r.Digest, _ = n.digest()
		rest := n.Plan.Summary
		rest.Replace, rest.Delete, rest.Create, rest.Update = 0, 0, 0, 0
		r.Else = says(rest, false)
		switch {
		case r.Failed:
			r.Else = "failed"
		case !n.Plan.HasChanges():
			r.Else = "no changes"
		}
		h.Rows = append(h.Rows, r)
	}
	return h
}

type pageStack struct {
	ID, Name, What, Digest, DigestNote, Engine, Failure, MoreRed, Differs string

	Bad, Notes []string
	Red        []pageRed
	Checks     []pageCheck
	Since      template.HTML
}

type pageRed struct {
	ID, Address string
	Why         template.HTML
}

type pageCheck struct {
	Address, Verb string
	Problems      []string
}

type pageChange struct {
	ID, Class, Sign, Address, Why string

	Open bool
	Body template.HTML
}

func (p *pageWriter) stack(id string, n NamedPlan) {
	s := pageStack{ID: id, Name: diff.Clean(n.Name), What: orNothing(says(n.Plan.Summary, false)), Engine: diff.Clean(engineName(n.Plan.Engine, n.Plan.Version))}
	if n.Err != nil {
		s.What, s.Failure = "failed", visible(n.Err.Error())
		p.write("stack", s)
		p.write("end", "")
		return
	}
	s.Digest, s.DigestNote = n.digest()
	if n.Plan.Errored {
		s.What = "failed"
		s.Bad = append(s.Bad, notFinished(n.Plan))
	}
	for _, c := range n.Plan.Checks {
		check := pageCheck{Address: diff.Clean(c.Address), Verb: checkVerb(c.Status)}
		for _, problem := range c.Problems {
			check.Problems = append(check.Problems, diff.Clean(fold(problem)))
		}
		s.Checks = append(s.Checks, check)
	}
	s.Notes = toKnow(n.Plan)
	if len(n.Since) > 0 || n.SinceSummary != "" {
		s.Differs, s.Since = differs+diff.Clean(n.SinceSummary), diff.HTML(n.Since)
	}
	changes := byDanger(n.Plan.Changes)
	red := 0
	for _, c := range changes {
		if !c.Action.Destroys() {
			break
		}
		if red++; red <= redNames {
			s.Red = append(s.Red, pageRed{ID: anchor(id, *c), Address: diff.Clean(c.Address), Why: template.HTML(inHTML.because(*c))}) // escaped word by word
		}
	}
	if red > redNames {
		s.MoreRed = countMore(red-redNames, "resource")
	}
	if red == 1 { // it comes right below
		s.Red = nil
	}
	p.write("stack", s)

	sizes := [len(pageGroups)]int{}
	for _, c := range changes {
		sizes[class(c.Action)]++
	}
	p.changes(len(changes), func(p *pageWriter, i int) {
		c := changes[i]
		if g := class(c.Action); i == 0 || g != class(changes[i-1].Action) {
			p.write("group", fmt.Sprintf("%s (%d)", pageGroups[g], sizes[g]))
		}
		p.change(id, *c, c.Action.Destroys() || c.Action != plumbline.ActionCreate && len(changes) <= openChanges)
	})
	if len(n.Plan.Outputs) > 0 {
		p.write("group", fmt.Sprintf("Outputs (%d)", max(len(n.Plan.Outputs), n.Plan.Summary.Output)))
	}
	for i, o := range n.Plan.Outputs {
		lines := diff.Output(o)
		c := pageChange{ID: fmt.Sprintf("%s-output-%d", id, i+1), Class: pageClass(o.Action), Sign: lines[0].Sign, Address: lines[0].Text, Why: lines[0].Note, Open: len(n.Plan.Outputs) <= openChanges}
		if len(lines) > 1 {
			c.Body = diff.HTML(lines[1:])
		}
		p.write("change", c)
	}
	if more := moreOutputs(n.Plan); more != "" {
		p.write("more", more)
	}
	if drift, quiet := outside(n.Plan); len(drift) > 0 {
		p.write("fold", "Changed outside since the last apply: "+count(len(drift), "resource"))
		p.changes(len(drift), func(p *pageWriter, i int) { p.change(id+"-outside", *drift[i], len(drift) <= openChanges) })
		p.write("unfold", strings.TrimSpace(quiet))
	}
	if m := len(n.Plan.Deferred); m > 0 {
		p.write("fold", "Left for another plan: "+count(m, "resource"))
		p.changes(m, func(p *pageWriter, i int) { p.change(id+"-later", n.Plan.Deferred[i], false) })
		p.write("unfold", nil)
	}
	next := ""
	if !n.failed() { // nothing can be done with it
		next = diff.Clean(n.Next)
	}
	p.write("end", next)
}

// changes writes n changes, each with a writer of its own.
func (p *pageWriter) changes(n int, write func(p *pageWriter, i int)) {
	if p.err != nil {
		return
	}
	failed := make(chan error, 1) // the first to come
	p.err = ordered(p.w, n, func(out *bytes.Buffer, from, to int) {
		piece := &pageWriter{w: out}
		for i := from; i < to; i++ {
			write(piece, i)
		}
		if piece.err != nil {
			select {
			case failed <- piece.err:
			default:
			}
		}
	})
	select {
	case p.err = <-failed:
	default:
	}
}

func (p *pageWriter) change(prefix string, c plumbline.Change, open bool) {
	lines := diff.Change(c)
	out := pageChange{ID: anchor(prefix, c), Class: pageClass(c.Action), Sign: lines[0].Sign, Address: lines[0].Text, Why: lines[0].Note, Open: open}
	if len(lines) > 1 {
		out.Body = diff.HTML(lines[1:])
	}
	p.write("change", out)
}

// pageGroups are the headings above changes, in the order of their danger.
var pageGroups = [...]string{"Replaced", "Destroyed", "Forgotten: they stay in reality", "Actions that are run", "Changed in place", "Created", "Moved or imported"}

func pageClass(a plumbline.Action) string {
	switch a {
	case plumbline.ActionCreate:
		return "add"
	case plumbline.ActionDelete, plumbline.ActionReplace, plumbline.ActionReplaceFirst:
		return "del"
	case plumbline.ActionUpdate:
		return "chg"
	}
	return "odd"
}

// anchor is the same for a resource in every page of its stack, whatever else changes.
func anchor(prefix string, c plumbline.Change) string {
	sum := sha256.Sum256([]byte(c.Address + "\x00" + c.Deposed))
	return prefix + "-" + hex.EncodeToString(sum[:6])
}

// visible is a text of several lines in which is to be seen what is in it.
func visible(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, l := range lines {
		lines[i] = diff.Clean(l)
	}
	return strings.Join(lines, "\n")
}
