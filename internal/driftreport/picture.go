package driftreport

import (
	"fmt"
	"html"
	"html/template"
	"strings"
)

// Pictures are SVG in the page itself, without scripts and styles of their own: classes take their colours from the page's sheet. Each has a table beside it
// that says the same.

// trendSVG draws how many items were open at the end of each day, with what was opened and resolved in the titles.
func trendSVG(days []Day) template.HTML {
	const width, height, left, top, bottom = 720, 190, 36, 14, 24
	most := 1
	for _, d := range days {
		most = max(most, d.Open)
	}
	step := niceStep(most)
	most = (most + step - 1) / step * step
	plotW, plotH := float64(width-left-10), float64(height-top-bottom)
	x := func(i int) float64 {
		if len(days) == 1 {
			return left + plotW/2
		}
		return left + plotW*float64(i)/float64(len(days)-1)
	}
	y := func(n int) float64 { return top + plotH*(1-float64(n)/float64(most)) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="trend" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Open differences by day; the table below says the same">`, width, height, width, height)
	for n := 0; n <= most; n += step {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="axis end" x="%d" y="%.1f">%d</text>`, left, width-10, y(n), y(n), left-6, y(n)+4, n)
	}
	var line strings.Builder
	for i, d := range days {
		fmt.Fprintf(&line, "%.1f,%.1f ", x(i), y(d.Open))
	}
	points := strings.TrimSpace(line.String())
	fmt.Fprintf(&b, `<polygon class="area" points="%.1f,%.1f %s %.1f,%.1f"/><polyline class="line" points="%s"/>`, x(0), y(0), points, x(len(days)-1), y(0), points)
	half := plotW / float64(max(1, len(days)-1)) / 2
	for i, d := range days {
		if i == len(days)-1 || len(days) <= 45 {
			fmt.Fprintf(&b, `<circle class="dot" cx="%.1f" cy="%.1f" r="2.5"/>`, x(i), y(d.Open))
		}
		fmt.Fprintf(&b, `<rect class="hit" x="%.1f" y="%d" width="%.1f" height="%.1f"><title>%s</title></rect>`, x(i)-half, top, 2*half, plotH, html.EscapeString(d.words()))
	}
	for _, i := range marks(len(days), 6) {
		class := "axis middle"
		switch i {
		case 0:
			class = "axis"
		case len(days) - 1:
			class = "axis end"
		}
		fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%d">%s</text>`, class, x(i), height-7, html.EscapeString(days[i].Day[5:]))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers, dates and escaped text
}

func (d Day) words() string {
	return fmt.Sprintf("%s: %d open at its end, %d opened, %d resolved, %s", d.Day, d.Open, d.Opened, d.Resolved, counted(d.Checks, "check"))
}

// niceStep is the distance of the lines of a grid: few, at numbers that people count in.
func niceStep(most int) int {
	for step := 1; ; step *= 10 {
		for _, by := range []int{1, 2, 5} {
			if most <= 4*step*by {
				return step * by
			}
		}
	}
}

// marks are at most so many places of n that are about as far from each other, the first and the last among them.
func marks(n, most int) []int {
	if n <= most {
		most = n
	}
	if most == 1 {
		return []int{0}
	}
	out := make([]int, 0, most)
	for i := range most {
		out = append(out, i*(n-1)/(most-1))
	}
	return out
}

// heatRows is how many stacks the map shows.
const heatRows = 60

// heatSVG draws stacks × days. A cell's shade and its number say the same, so that nobody needs to tell colours apart.
func heatSVG(rows []Row, days []Day) template.HTML {
	const label, high, top = 250, 20, 22
	wide := min(26, max(7, 660/max(1, len(days))))
	rows = rows[:min(len(rows), heatRows)]
	width, height := label+wide*len(days)+4, top+high*len(rows)+4
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="heat" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Stacks by day; the table below says the same">`, width, height, width, height)
	for _, i := range marks(len(days), max(2, min(8, len(days)*wide/70))) {
		fmt.Fprintf(&b, `<text class="axis middle" x="%d" y="14">%s</text>`, label+wide*i+wide/2, html.EscapeString(days[i].Day[5:]))
	}
	for y, row := range rows {
		name := where(row.Repository, row.Environment, row.Stack)
		short := brief(row.Environment, 14) + " · " + ending(brief(row.Stack, 200), 22)
		fmt.Fprintf(&b, `<text class="name" x="0" y="%d">%s<title>%s</title></text>`, top+high*y+14, html.EscapeString(short), html.EscapeString(name))
		for x, n := range row.Cells {
			if x >= len(days) {
				break
			}
			title := "nobody looked"
			class := "cell none"
			if n != nil {
				title, class = counted(*n, "difference"), "cell "+shade(*n)
			}
			px, py := label+wide*x, top+high*y
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d"><title>%s</title></rect>`, class, px, py, wide-1, high-1, html.EscapeString(name+", "+days[x].Day+": "+title))
			if n != nil && *n > 0 && wide >= 16 {
				fmt.Fprintf(&b, `<text class="num %s" x="%.1f" y="%d">%s</text>`, shade(*n), float64(px)+float64(wide-1)/2, py+14, few(*n))
			}
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers, dates and escaped text
}

// ending is the end of a name, where those of stacks differ.
func ending(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return "…" + string(r[len(r)-most+1:])
	}
	return s
}

func few(n int) string {
	if n > 99 {
		return "99+"
	}
	return fmt.Sprint(n)
}

func shade(n int) string {
	switch {
	case n == 0:
		return "s0"
	case n == 1:
		return "s1"
	case n <= 3:
		return "s2"
	case n <= 9:
		return "s3"
	}
	return "s4"
}
