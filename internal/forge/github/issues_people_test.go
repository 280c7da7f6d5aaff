package github_test

import (
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
)

func (h *hub) Issues(*testing.T) (out []forgetest.Issue) {
	h.locked(func() {
		for _, i := range h.things {
			if !i.pull && strings.HasPrefix(i.login, bot) {
				out = append(out, forgetest.Issue{Title: i.title, Body: i.body, Labels: i.labels, Open: i.state == "open"})
			}
		}
	})
	return out
}
