package driftreport

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strconv"
	"strings"

	"github.com/plumbline/plumbline/internal/diff"
)

// PageOptions are what a page says beside its report.
type PageOptions struct {
	Items   string // what the address of an item's page begins with; "": it has no links
	Home    string // address of the daemon's own page; "": none
	Version string // of the program; "": not said
}

//go:embed page/page.html
var pageSource string

//go:embed page/page.css
var pageStyle string

var page = template.Must(template.New("page").Parse(pageSource))

// PagePolicy lets a browser load nothing, run nothing, send nothing: all that the page needs is in it.
func PagePolicy() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}

// HTML writes a report as one page without scripts that needs nothing from elsewhere.
func HTML(w io.Writer, r Report, o PageOptions) error {
	p := pageData{
		Policy: PagePolicy(), Style: template.CSS(pageStyle), // part of the program
		About: r.about(), Headline: r.headline(), Looked: r.looked(), At: r.At.UTC().Format("2006-01-02 15:04 MST"), Home: o.Home,
		Made: strings.TrimSpace("Made by Plumbline " + diff.Clean(o.Version)), Report: r, Trend: trendSVG(r.Trend),
		Tables: []pageGroups{{"By class", "Class", r.Kinds}, {"By cause", "Cause", r.Causes}, {"By stack", "Stack", r.Stacks}},
	}
	if len(r.Heat) > 0 {
		p.Heat, p.HeatMore = heatSVG(r.Heat, r.Trend), max(0, len(r.Heat)-heatRows)
	}
	rows := func(ids []int64) pageItems {
		const most = 100
		var out pageItems
		for _, it := range r.find(ids[:min(len(ids), most)]) {
			out.Rows = append(out.Rows, pageItem{
				Item: it, Address: brief(it.Address, 300), What: brief(it.What, 400), Where: where(it.Repository, it.Environment, it.Stack), By: brief(it.Actor, 200), For: lasting(it.Seconds),
				Ends: it.ends(), Who: brief(it.Owner, 100), Why: brief(it.Reason, 400), Link: link(o.Items, it.ID),
			})
		}
		out.More = len(ids) - len(out.Rows)
		return out
	}
	p.Oldest, p.Flapping, p.Ignored = rows(r.Oldest), rows(r.Flapping), rows(r.Ignored)
	for i, g := range p.Tables {
		const most = 50
		p.Tables[i].Groups = g.Groups[:min(len(g.Groups), most)]
	}
	for _, e := range r.Expired {
		p.Expired = append(p.Expired, pageRule{Name: brief(e.name(), 300), On: day(e.Until), Who: brief(e.Owner, 100), Why: brief(e.Reason, 400)})
	}
	return page.Execute(w, p)
}

func link(items string, id int64) string {
	if items == "" {
		return ""
	}
	return items + strconv.FormatInt(id, 10)
}

type pageData struct {
	Policy                                  string
	Style                                   template.CSS
	About, Headline, Looked, At, Home, Made string
	Report                                  Report
	Trend, Heat                             template.HTML
	HeatMore                                int
	Oldest, Flapping, Ignored               pageItems
	Tables                                  []pageGroups
	Expired                                 []pageRule
}

type pageItems struct {
	Rows []pageItem
	More int
}

type pageItem struct {
	Item
	Address, What, Where, By, For, Ends, Who, Why, Link string
}

type pageGroups struct {
	Title, Of string
	Groups    []Group
}

// Name is a group's name on a page.
func (g pageGroups) Name(of Group) string { return brief(of.Name, 300) }

// Took is how long a group's items took to be put right, "" where none was.
func (g pageGroups) Took(of Group) string {
	if of.Mean == 0 {
		return ""
	}
	return lasting(of.Mean)
}

type pageRule struct{ Name, On, Who, Why string }

// Took is a number of seconds in words.
func (p pageData) Took(seconds float64) string {
	if seconds == 0 {
		return "–"
	}
	return lasting(seconds)
}

// Stack is a row's stack in words.
func (p pageData) Stack(r Row) string { return where(r.Repository, r.Environment, r.Stack) }

// Rows are those of the map that are shown.
func (p pageData) Rows() []Row { return p.Report.Heat[:min(len(p.Report.Heat), heatRows)] }

// Cell is a number of the map, "–" where nobody looked.
func (p pageData) Cell(n *int) string {
	if n == nil {
		return "–"
	}
	return strconv.Itoa(*n)
}
