package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestStacksBelow: a directory of a checkout is planned as the daemon would plan it, with the modules that lie beside it.
func TestStacksBelow(t *testing.T) {
	root := t.TempDir()
	for name, data := range map[string]string{
		"repo/.git/HEAD":          "",
		"repo/live/net/main.tf":   "module \"m\" {\n  source = \"../../modules/m\"\n}\n",
		"repo/live/netz/main.tf":  "",
		"repo/modules/m/main.tf":  "",
		"alone/live/net/main.tf":  "module \"m\" {\n  source = \"../../modules/m\"\n}\n",
		"repo/live/plain/main.tf": "",
		"set/.git":                "gitdir: elsewhere\n", // a worktree
		"set/.plumbline.hcl":      "stack \"n\" {\n  dir       = \"live/net\"\n  workspace = \"blue\"\n}\n",
		"set/live/net/main.tf":    "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(root, "repo"))
	for _, c := range []struct {
		dir, top, below string
		names           []string
		broken          bool
	}{
		{dir: "live/net", top: ".", below: "live/net", names: []string{"live/net"}},
		{dir: "live", top: ".", below: "live", names: []string{"live/net", "live/netz", "live/plain"}},
		{dir: "live/plain", top: "live/plain", below: ".", names: []string{"."}}, // it says all itself
		{dir: ".", top: ".", below: ".", names: []string{"live/net", "live/netz", "live/plain"}},
		{dir: filepath.Join(root, "repo/live/net"), top: filepath.Join(root, "repo"), below: "live/net", names: []string{"live/net"}},
		{dir: "../alone/live/net", top: "../alone/live/net", below: ".", names: []string{"."}, broken: true}, // of what is in no checkout nobody knows the top
		{dir: "../set/live/net", top: "../set", below: "live/net", names: []string{"live/net@blue"}},
	} {
		stacks, top, below, err := stacksBelow(t.Context(), c.dir)
		var names []string
		broken := false
		for _, s := range stacks {
			names = append(names, s.Name)
			broken = broken || len(s.Broken) > 0
		}
		if err != nil || top != c.top || below != c.below || !slices.Equal(names, c.names) || broken != c.broken {
			t.Errorf("%s: %q from %s (%s), broken %t, %v", c.dir, names, top, below, broken, err)
		}
	}
}
