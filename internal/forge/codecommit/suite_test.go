package codecommit_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/plumbline/plumbline/internal/forge/forgetest"
)

func readSample(t *testing.T, m *model, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.samples, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSuite(t *testing.T) {
	forgetest.Suite(t, func(t *testing.T) forgetest.Fixture {
		f := newFake(t)
		return forgetest.Fixture{Client: f.client(t, daemon), Second: f.client(t, daemon), Denied: f.client(t, wrong), People: f, Silent: true}
	})
}
