package report

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	xhtml "golang.org/x/net/html"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func pageOf(t testing.TB, plans []NamedPlan) string {
	t.Helper()
	var b strings.Builder
	if err := HTML(&b, plans, PageOptions{At: time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHTMLGolden(t *testing.T) { golden(t, "page.html", pageOf(t, namedOf(rich()))) }

// TestHTMLAnchors checks that each link of a page leads to one place in it, also where one address changes twice.
func TestHTMLAnchors(t *testing.T) {
	plans := namedOf(rich())
	plans[1].Plan.Changes = append(plans[1].Plan.Changes, plumbline.Change{Address: "aws_db_instance.main", Action: plumbline.ActionDelete, Deposed: "0123abcd"})
	ids, hrefs := map[string]int{}, map[string]bool{}
	var visit func(n *xhtml.Node)
	visit = func(n *xhtml.Node) {
		for _, a := range n.Attr {
			switch {
			case a.Key == "id":
				ids[a.Val]++
			case a.Key == "aria-labelledby":
				hrefs[a.Val] = true
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				hrefs[a.Val[1:]] = true
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			visit(c)
		}
	}
	root, err := xhtml.Parse(strings.NewReader(pageOf(t, plans)))
	if err != nil {
		t.Fatal(err)
	}
	visit(root)
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%s is the name of %d places", id, n)
		}
	}
	for id := range hrefs {
		if ids[id] == 0 {
			t.Errorf("a link leads to %s, which is nowhere", id)
		}
	}
	if len(hrefs) < 15 {
		t.Errorf("there are %d links only", len(hrefs))
	}
}

// TestHTMLOrder checks what is unfolded, and what comes first.
func TestHTMLOrder(t *testing.T) {
	page := pageOf(t, namedOf(large(300)))
	last := 0
	for _, heading := range pageGroups[:2] {
		at := strings.Index(page, "<h3>"+heading)
		if at < last {
			t.Errorf("%s is at %d, behind what is less dangerous at %d", heading, at, last)
		}
		last = at
	}
	for _, l := range strings.Split(page, "\n") {
		if !strings.HasPrefix(l, "<details id=") {
			continue
		}
		if red, open := strings.Contains(l, `class="del"`), strings.Contains(l, `" open>`); red != open {
			t.Errorf("destroyed %t, unfolded %t: %.100s", red, open, l)
		}
	}
}

type brokenWriter struct{ after int }

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.after -= len(b); w.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// TestWriteErrors checks that a page or text that cannot be written is not taken for one that is.
func TestWriteErrors(t *testing.T) {
	plans := namedOf(large(1000))
	if err := HTML(&brokenWriter{after: 100_000}, plans, PageOptions{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("HTML returns %v", err)
	}
	if err := Text(&brokenWriter{after: 1000}, plans, false); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Text returns %v", err)
	}
}
