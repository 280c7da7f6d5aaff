package diff

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/plumbline/plumbline/internal/plumbline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is what a golden file holds: changes or outputs, or two plans to compare.
type sample struct {
	Changes       []plumbline.Change
	Outputs       []plumbline.OutputChange
	Approved, Now *plumbline.Plan
}

func (s sample) lines() []Line {
	var lines []Line
	for _, c := range s.Changes {
		lines = append(lines, Change(c)...)
	}
	for _, o := range s.Outputs {
		lines = append(lines, Output(o)...)
	}
	return lines
}

// TestGolden reads testdata/*.txtar. A file X.json in it is a sample, the file X.txt behind it how it reads.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, f := range a.Files {
				want[f.Name] = string(f.Data)
			}
			out := &txtar.Archive{Comment: a.Comment}
			for _, f := range a.Files {
				name, isInput := strings.CutSuffix(f.Name, ".json")
				if !isInput {
					continue
				}
				var in sample
				d := json.NewDecoder(strings.NewReader(string(f.Data)))
				d.DisallowUnknownFields()
				if err := d.Decode(&in); err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
				lines := in.lines()
				check(t, lines)
				got := text(lines)
				if in.Now != nil {
					c := Compare(*in.Approved, *in.Now)
					check(t, c.Lines())
					got += c.Summary() + "\n\n" + text(c.Lines())
				}
				if want := want[name+".txt"]; got != want && !*update {
					t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
				}
				out.Files = append(out.Files, f, txtar.File{Name: name + ".txt", Data: []byte(got)})
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func text(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// check holds lines to what is promised of all lines.
func check(t *testing.T, lines []Line) {
	t.Helper()
	open := 0
	for i, l := range lines {
		if Clean(l.Text) != l.Text || Clean(l.Note) != l.Note {
			t.Errorf("line %d is not clean: %q %q", i, l.Text, l.Note)
		}
		if strings.ContainsAny(l.Text+l.Note+l.Sign, "\n\r") {
			t.Errorf("line %d is more than one: %q", i, l)
		}
		if l.Depth < 0 || l.Depth > open+maxSteps+2*maxLevels+4 {
			t.Errorf("line %d has depth %d", i, l.Depth)
		}
		switch {
		case l.Depth == 0:
		case l.Sign != "+" && l.Sign != "-" && l.Sign != "~" && l.Sign != " ":
			t.Errorf("line %d has sign %q", i, l.Sign)
		}
	}
}
