package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/propose"
)

func TestInitAsks(t *testing.T) {
	f := propose.Facts{
		Remote: "https://git.example.com/a/b", Branches: []string{"main"}, Default: "main",
		Layout: plumbline.Layout{Stacks: []plumbline.StackSpec{{Name: "net", Dir: "net"}}},
	}
	for name, c := range map[string]struct {
		said string
		want string // "": it ends without an answer
	}{
		"everything":          {"gitlab\nlive=main\nann bob\n", "gitlab live ann,bob"},
		"defaults":            {"\n\n", "git production "}, // nobody can be asked who approves on a bare remote
		"a mistake":           {"gitlub\ngitlab\n\nann\n", "gitlab production ann"},
		"last line unended":   {"gitlab\n\nann", "gitlab production ann"},
		"the end":             {"gitlab\n", ""},
		"nothing at all":      {"", ""},
		"nobody is an answer": {"gitlab\n\n\n", "gitlab production "},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a, err := ask(bufio.NewReader(strings.NewReader(c.said)), &out, f, propose.Answers{})
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "nothing was written") {
					t.Errorf("%v", err)
				}
				return
			}
			p := propose.Make(f, a)
			if got := p.Forge.Kind + " " + p.Environments[0].Name + " " + strings.Join(p.Approvers, ","); err != nil || got != c.want {
				t.Errorf("%q, %v, want %q\n%s", got, err, c.want, &out)
			}
			if !strings.Contains(out.String(), "[production=main]") {
				t.Errorf("no default is shown:\n%s", &out)
			}
		})
	}
}

func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "plumbline.hcl")
	if err := writeNew(name, []byte("one"), false); err != nil {
		t.Fatal(err)
	}
	// Between the first look and the writing somebody else has written one.
	if err := writeNew(name, []byte("two"), false); err == nil || !strings.Contains(err.Error(), "is there already and was not touched") {
		t.Errorf("%v", err)
	}
	if err := writeNew(name, []byte("three"), true); err != nil {
		t.Fatal(err)
	}
	// A directory cannot be replaced.
	if err := writeNew(dir, []byte("four"), true); err == nil {
		t.Error("a directory was overwritten")
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != "three" {
		t.Errorf("%q, %v", got, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLooksRemote(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("a:b", 0o755); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]bool{
		".": false, "a:b": false, "x/y": false, "x/y:z": false, "c:d": true, "git@host:a/b": true, "https://x/y": true, "file:///x": true, "codecommit::eu-west-1://x": true, ":x": false,
	} {
		if got := looksRemote(arg); got != want {
			t.Errorf("%s: %t", arg, got)
		}
	}
}
