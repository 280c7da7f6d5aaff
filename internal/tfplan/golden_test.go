package tfplan

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testKey = []byte("a key for tests")

// TestReal reads plans that Terraform 1.11 and OpenTofu 1.12 made.
func TestReal(t *testing.T) {
	for _, name := range samples(t) {
		t.Run(name, func(t *testing.T) {
			golden := "testdata/real/" + name + ".golden"
			got := read(t, sampleJSON(t, name))
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, string(want), got)
		})
	}
}

// samples are the names of the real plans.
func samples(t testing.TB) (names []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/real/*.json*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".json")
		names = append(names, name)
	}
	return names
}

// sampleJSON is one of them, which may be compressed.
func sampleJSON(t testing.TB, name string) []byte {
	t.Helper()
	file := "testdata/real/" + name + ".json"
	doc, err := os.ReadFile(file)
	if err == nil {
		return doc
	}
	f, err := os.Open(file + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if doc, err = io.ReadAll(z); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestCases reads plans made by hand, each in one file with what must come of it.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) != 2 || a.Files[0].Name != "plan.json" || a.Files[1].Name != "want" {
				t.Fatal("expected the files plan.json and want")
			}
			got := read(t, a.Files[0].Data)
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			compare(t, string(a.Files[1].Data), got)
		})
	}
}

func compare(t *testing.T, want, got string) {
	t.Helper()
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// read returns what a golden file holds: the plan and the secrets that were told, or the error.
func read(t *testing.T, in []byte) string {
	t.Helper()
	var secrets []string
	p, err := Read(bytes.NewReader(in), Options{
		Key:        testKey,
		Secrets:    func(s string) { secrets = append(secrets, s) },
		SecretName: func(name string) bool { return strings.Contains(name, "password") },
	})
	if err != nil {
		noSecret(t, err.Error())
		return "error: " + err.Error() + "\n"
	}
	doc, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	noSecret(t, string(doc))
	var b strings.Builder
	b.WriteString(dump(p))
	slices.Sort(secrets)
	for _, s := range slices.Compact(secrets) {
		fmt.Fprintf(&b, "secret %s\n", s)
	}
	return b.String()
}

// noSecret looks for the sensitive values of the samples ("hunter2") and the cases ("plum-…").
func noSecret(t *testing.T, s string) {
	t.Helper()
	if strings.Contains(s, "hunter") || strings.Contains(s, "plum-") {
		t.Errorf("a sensitive value got through:\n%s", s)
	}
}

func dump(p plumbline.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\ndigest %s\n", p.Engine, p.Version, p.Summary, p.Digest)
	summary, err := json.Marshal(p.Summary)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(&b, "summary %s\n", summary)
	for _, f := range []struct {
		on   bool
		name string
	}{{p.NoState, "no state"}, {p.Errored, "errored"}, {p.Truncated, "truncated"}, {p.Partial, "partial"}, {p.Keyed, "keyed"}} {
		if f.on {
			fmt.Fprintln(&b, f.name)
		}
	}
	for _, list := range []struct {
		name    string
		changes []plumbline.Change
	}{{"change", p.Changes}, {"drift", p.Drift}, {"deferred", p.Deferred}} {
		for _, c := range list.changes {
			fmt.Fprintf(&b, "%s %s: %s, %s of %s", list.name, c.Address, c.Action, c.Type, c.Provider)
			for _, f := range [][2]string{
				{"previous", c.Previous}, {"reason", c.Reason}, {"deposed", c.Deposed}, {"importing", c.Importing},
				{"replace", strings.Join(c.ReplacePaths, " ")},
			} {
				if f[1] != "" {
					fmt.Fprintf(&b, ", %s %s", f[0], f[1])
				}
			}
			if c.Omitted > 0 {
				fmt.Fprintf(&b, ", %d omitted", c.Omitted)
			}
			b.WriteByte('\n')
			writeAttributes(&b, c.Attributes)
		}
	}
	for _, c := range p.Checks {
		fmt.Fprintf(&b, "check %s: %s %q\n", c.Address, c.Status, c.Problems)
	}
	for _, o := range p.Outputs {
		fmt.Fprintf(&b, "output %s: %s", o.Name, o.Action)
		writeValues(&b, plumbline.Attribute{Before: o.Before, After: o.After, Sensitive: o.Sensitive, Unknown: o.Unknown})
	}
	return b.String()
}

func writeAttributes(b *strings.Builder, list []plumbline.Attribute) {
	for _, a := range list {
		fmt.Fprintf(b, "\t%s:", a.Path)
		writeValues(b, a)
	}
}

func writeValues(b *strings.Builder, a plumbline.Attribute) {
	orNothing := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	fmt.Fprintf(b, " %s => %s", orNothing(a.Before), orNothing(a.After))
	for _, f := range []struct {
		on   bool
		name string
	}{{a.Sensitive, "sensitive"}, {a.Unknown, "unknown"}, {a.Forces, "forces"}} {
		if f.on {
			fmt.Fprintf(b, " [%s]", f.name)
		}
	}
	if a.Whole > 0 {
		fmt.Fprintf(b, " [whole %s]", a.Path[:a.Whole])
	}
	if a.Beside != "" {
		fmt.Fprintf(b, " [beside %s]", a.Beside)
	}
	b.WriteByte('\n')
}
