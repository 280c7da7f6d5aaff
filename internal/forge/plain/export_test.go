package plain

import "github.com/plumbline/plumbline/internal/plumbline"

// ParsePage shows a page to the tests of the package's outside.
func ParsePage(b []byte) (notes []string, statuses []plumbline.CommitStatus, text string) {
	p := parsePage(b)
	for _, n := range p.notes {
		notes = append(notes, n.body)
	}
	return notes, p.statuses, p.text
}
