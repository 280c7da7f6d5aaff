package report

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"Terraform could not plan live/db": "Terraform could not plan live/db",
		"it takes 50% of 1.5 (or 2)":       "it takes 50% of 1.5 (or 2)",
		"storage_encrypted changes":        "`storage_encrypted` changes",
		"see (main.tf:12).":                "see (`main.tf:12`).",
		"two  words\nand\tmore":            "two words and more",
		"run `make all` first":             "run `` `make all` `` first",
		"an odd ` alone":                   "an odd `` ` `` alone",
		"it's \"quoted\"":                  "it's \"quoted\"",
		"asked @ops":                       "asked `@ops`",
		"fixes #1, !2":                     "fixes `#1`, `!2`",
		"in GH-1 and OPS-12":               "in `GH-1` and `OPS-12`",
		"at 8f31c2d9":                      "at `8f31c2d9`",
		"www.evil.example":                 "`www.evil.example`",
		"a|b":                              "`a`&#124;`b`",
		"1. first":                         "`1.` first",
		"- first":                          "`-` first",
		"/approve now":                     "`/approve` now",
		"then /approve":                    "then /approve",
		"+1":                               "`+1`",
		"a\u202eb":                         "`a\\u202eb`",
		"wie schön":                        "wie schön",
	} {
		if got := text(in); got != want {
			t.Errorf("text(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "(empty)",
		`module.a["x y"].aws_eip.b[0]`: "`module.a[\"x y\"].aws_eip.b[0]`",
		"a`b":                          "``a`b``",
		"`a`":                          "`` `a` ``",
		" a ":                          "`  a  `",
		"|":                            "&#124;",
		`a["b|c"]`:                     "`a[\"b`&#124;`c\"]`",
		"a\nb":                         "`a\\nb`",
		strings.Repeat("a", 500):       "`" + strings.Repeat("a", 400) + "… (500 bytes)`",
	} {
		if got := code(in); got != want {
			t.Errorf("code(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestCell(t *testing.T) {
	for in, want := range map[string]string{
		"waits for an approval (`plumbline runs approve 1`)": "waits for an approval (`plumbline runs approve 1`)",
		"`a_b` and `c` too":         "`a_b` and `c` too",
		"an odd ` *one*":            "an odd `` ` `` `*one*`",
		"queued, after live/a, x_y": "queued, after live/a, `x_y`",
	} {
		if got := inMarkdown.cell(in); got != want {
			t.Errorf("cell(%q) = %s, want %s", in, got, want)
		}
	}
}
