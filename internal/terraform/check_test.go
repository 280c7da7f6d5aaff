package terraform

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/testenv"
)

func TestChecksOfEngines(t *testing.T) {
	t.Parallel()
	for _, e := range testenv.Engines(t) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			var events []Event
			d := engineDir(t, e, "variable \"size\" {\n  type = number\n    default = 1\n}\n", func(line []byte) {
				if ev, ok := ParseEvent(line); ok {
					events = append(events, ev)
				}
			})
			test := "run \"one\" {\n  command = plan\n}\n\nrun \"two\" {\n  command = plan\n  assert {\n    condition     = var.size == 2\n    error_message = \"size is ${var.size}\"\n  }\n}\n"
			write(t, filepath.Join(d.c.Path, "main.tftest.hcl"), test)
			write(t, filepath.Join(d.c.Path, "good.tf"), "output \"size\" {\n  value = var.size\n}\n")

			before, err := os.ReadFile(filepath.Join(d.c.Path, "main.tf"))
			if err != nil {
				t.Fatal(err)
			}
			files, err := d.Fmt(t.Context(), []string{"."})
			if err != nil || !slices.Equal(files, []string{"main.tf"}) {
				t.Errorf("Fmt = %q, %v", files, err)
			}
			diff, err := d.FmtDiff(t.Context(), []string{"."})
			if err != nil || !strings.Contains(diff, "-    default = 1\n") {
				t.Errorf("FmtDiff = %s, %v", diff, err)
			}
			if after, err := os.ReadFile(filepath.Join(d.c.Path, "main.tf")); err != nil || string(after) != string(before) {
				t.Errorf("fmt changed the file: %s, %v", after, err)
			}

			if err := d.Init(t.Context(), InitOptions{NoBackend: true}); err != nil {
				t.Fatal(err)
			}
			if list, err := d.Validate(t.Context()); err != nil || len(list) != 0 {
				t.Errorf("Validate = %v, %v", list, err)
			}
			events = nil
			if err := d.Test(t.Context(), []string{"main.tftest.hcl"}); err == nil {
				t.Error("Test: no error of a run that failed")
			}
			var runs []TestRun
			var count *TestCount
			var said string
			for _, ev := range events {
				if ev.Test != nil {
					runs = append(runs, *ev.Test)
				}
				if ev.Tests != nil {
					count = ev.Tests
				}
				if ev.Diagnostic != nil {
					said = ev.Diagnostic.Detail
				}
			}
			want := []TestRun{{"main.tftest.hcl", "one", "pass"}, {"main.tftest.hcl", "two", "fail"}}
			if !slices.Equal(runs, want) || count == nil || *count != (TestCount{Passed: 1, Failed: 1}) || said != "size is 1" {
				t.Errorf("runs %v, count %v, said %q", runs, count, said)
			}

			write(t, filepath.Join(d.c.Path, "bad.tf"), "output \"other\" {\n  value = var.absent\n}\n")
			list, err := d.Validate(t.Context())
			if err != nil || len(list) != 1 || list[0].File != "bad.tf" || list[0].Line != 2 || list[0].Severity != "error" || !strings.Contains(list[0].Snippet, "var.absent") {
				t.Errorf("Validate = %+v, %v", list, err)
			}

			write(t, filepath.Join(d.c.Path, "bad.tf"), "output \"other\" {\n")
			files, err = d.Fmt(t.Context(), []string{"."})
			var cmd *CommandError
			if !errors.As(err, &cmd) || !strings.Contains(cmd.Stderr, "bad.tf line 1") || len(files) != 0 {
				t.Errorf("Fmt of a file that cannot be parsed = %q, %v", files, err)
			}
		})
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{"": "/stack/.terraform", "data": "/stack/data", "/data": "/data"} {
		if got := (&Dir{c: DirConfig{Path: "/stack", Env: map[string]string{"TF_DATA_DIR": set}}}).Data(); got != want {
			t.Errorf("TF_DATA_DIR=%q: %s", set, got)
		}
	}
}

func TestHasTests(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"1.5.7": false, "1.6.0-beta1": true, "1.6.0": true, "1.11.4": true, "": false, "0.15.0": false} {
		if got := HasTests(Binary{Name: Terraform, Version: version}); got != want {
			t.Errorf("HasTests(%q) = %v", version, got)
		}
	}
}

func TestTestCount(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]TestCount{
		"3 passed": {Passed: 3}, "0 passed, 3 failed": {Failed: 1, Errored: 2}, "1 passed, 1 failed, 2 skipped": {Passed: 1, Failed: 1, Skipped: 2},
	} {
		if got := c.String(); got != want {
			t.Errorf("%+v = %q, want %q", c, got, want)
		}
	}
}
