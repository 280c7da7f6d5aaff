package report

import (
	"strings"
	"testing"
	"time"
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
