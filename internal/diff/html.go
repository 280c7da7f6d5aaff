package diff

import (
	"fmt"
	"html/template"
	"strings"
)

// HTML is lines for a <pre>, one span each. The classes are "add", "del", "chg" or "ctx" by sign, with "res" for the line of a resource or
// output and "forces" for what forces a replacement; the remark is an <em class="note">.
func HTML(lines []Line) template.HTML {
	var b strings.Builder
	for _, l := range lines {
		class := "ctx"
		switch l.Sign {
		case "+", "<=", ">":
			class = "add"
		case "-", "-/+", "+/-":
			class = "del"
		case "~", ".", "./+":
			class = "chg"
		}
		if l.Depth == 0 {
			class += " res"
		}
		if strings.Contains(l.Note, forcesNote) && l.Depth > 0 {
			class += " forces"
		}
		text := Line{Sign: l.Sign, Depth: l.Depth, Text: Clean(l.Text)}.String()
		fmt.Fprintf(&b, `<span class="%s">%s`, class, template.HTMLEscapeString(text))
		if l.Note != "" {
			fmt.Fprintf(&b, `  <em class="note"># %s</em>`, template.HTMLEscapeString(Clean(l.Note)))
		}
		b.WriteString("</span>\n")
	}
	return template.HTML(b.String()) // every part is escaped above
}
