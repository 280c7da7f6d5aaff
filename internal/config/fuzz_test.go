package config_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/config"
)

func FuzzParse(f *testing.F) {
	for _, dir := range []string{"broken", "good"} {
		for _, a := range archives(f, "testdata/"+dir+"/*.txtar") {
			for _, src := range a.files {
				f.Add(src)
			}
		}
	}
	example, err := os.ReadFile("../../examples/plumbline.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{"", "\xff", "\ufeffserver {}", "a = <<", "a = \"${", "a = ((((", strings.Repeat("[", 200), strings.Repeat("a{", 200), "a = " + strings.Repeat("-", 200) + "1", "server {\r\n}\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		files := map[string][]byte{"fuzz.hcl": src}
		cfg, err := config.Parse(files, config.System{CPUs: 1, Getenv: func(n string) (string, bool) { return "value of " + n, n != "UNSET" }})
		if err != nil {
			places(t, err, files)
			return
		}
		if _, err := json.Marshal(cfg); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTooDeep nests what, in a file of the size that is allowed, would exhaust the parser's stack, which no recover can catch.
func TestTooDeep(t *testing.T) {
	for _, s := range []string{"[", "-", "!", "a{\n", "\"${", "1?", "f(", "{a=", "[for a in ", "<<A\n${"} {
		_, err := config.Parse(map[string][]byte{"deep.hcl": []byte("a = " + strings.Repeat(s, 1000))}, config.System{})
		if err == nil || !strings.Contains(err.Error(), "nested more than 100 deep") {
			t.Errorf("%s… : %v", s, err)
		}
	}
	_, err := config.Parse(map[string][]byte{"big.hcl": []byte(strings.Repeat("\n", 1<<20+1))}, config.System{})
	if err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("a file of more than 1 MiB: %v", err)
	}
}
