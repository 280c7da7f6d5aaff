package report

import (
	"cmp"
	"fmt"
	"net/url"

	"github.com/plumbline/plumbline/internal/diff"
	"github.com/plumbline/plumbline/internal/plumbline"
)

// Some forges show raw HTML as text: Bitbucket Cloud, where Python-Markdown escapes it ("we don't support arbitrary HTML", says
// bitbucket.org/tutorials/markdowndemo), and CodeCommit. There a note keeps to what Markdown had from its beginning, and to fenced blocks:
// no elements, no entities, no tables, and a blank line before each list, without which Python-Markdown sees none.

// plainText is a string in running Markdown without entities.
func plainText(s string) string { return words(brief(fold(s)), asIs, diff.Ticked) }

// plainCode is a code span without entities.
func plainCode(s string) string { return codeWith(diff.Ticked, s) }

// What cannot be folded has to be scrolled past. So a plain note tells of each change only as long as it has no more than unfoldedChanges
// bytes, some four screens, and what only says more of it (the attributes of what is new or gone, the end of long changes) only while
// it is short. What must not be missed has all the room that the forge gives.
const (
	unfoldedChanges = 16 << 10
	unfoldedMore    = 6 << 10
)

// title begins a list.
func (v voice) title(s string) string {
	if v.plain {
		return "**" + s + "**\n\n"
	}
	return "**" + s + "**\n"
}

// shortened begins what is said of what was left out.
func (v voice) shortened() string {
	if v.plain {
		return "Shortened"
	}
	return "Shortened to fit"
}

// PlainMarker is what Marker is, where comments of HTML would be seen: a link reference definition that nothing refers to. CommonMark and
// Python-Markdown leave it out, when it stands after a blank line.
func PlainMarker(repo, id string) string {
	return "[plumbline]: # (" + url.QueryEscape(repo) + "!" + url.QueryEscape(id) + ")"
}

// item is a stack where there are no tables. name and next are Markdown.
func item(light, name string, s plumbline.Summary, next string) string {
	said := says(s, true)
	if said != "" && next != "" {
		said += " · "
	}
	return fmt.Sprintf("- %s %s: %s\n", light, name, cmp.Or(said+next, "changes"))
}
