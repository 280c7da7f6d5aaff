package terraform

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// minimalPath is where an engine finds git and what local-exec provisioners run, unless the stack's own PATH says otherwise.
const minimalPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// EnvConfig is what an engine's environment is made of. Nothing is inherited.
type EnvConfig struct {
	Home      string // private to the run
	Tmp       string // private to the run
	CLIConfig string // path of a file with the content that CLIConfig returns
	Vars      []plumbline.EnvVar
}

// Env returns the whole environment for an engine. It refuses variables that would change what is planned behind
// Plumbline's back.
func Env(c EnvConfig) (map[string]string, error) {
	env := map[string]string{"PATH": minimalPath}
	ours := map[string]string{
		"HOME":               c.Home,
		"TMPDIR":             c.Tmp,
		"TF_CLI_CONFIG_FILE": c.CLIConfig,
		"TF_IN_AUTOMATION":   "1",
		"CHECKPOINT_DISABLE": "1",
	}
	for _, v := range c.Vars {
		_, reserved := ours[v.Name]
		if reserved || len(tfexec.ProhibitedEnv(map[string]string{v.Name: ""})) > 0 {
			return nil, fmt.Errorf("the environment variable %s cannot be set; Plumbline sets what it stands for itself", v.Name)
		}
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value.Reveal(), 0) {
			return nil, fmt.Errorf("the environment variable %q cannot be set; it has a bad name or holds a NUL", v.Name)
		}
		env[v.Name] = v.Value.Reveal()
	}
	for k, v := range ours {
		env[k] = v
	}
	return env, nil
}

// CLIConfig returns the content of an engine's CLI configuration: providers come from the mirror as far as it holds them, the others
// from their registry. A provider that the mirror holds is never looked up elsewhere, so that a run needs no network for it.
func CLIConfig(mirror string) ([]byte, error) {
	held, err := mirrored(mirror)
	if err != nil {
		return nil, fmt.Errorf("read the provider mirror: %w", err)
	}
	var b strings.Builder
	b.WriteString("disable_checkpoint = true\n\nprovider_installation {\n")
	if len(held) > 0 {
		fmt.Fprintf(&b, "  filesystem_mirror {\n    path    = %q\n    include = [%s]\n  }\n", mirror, list(held))
		fmt.Fprintf(&b, "  direct {\n    exclude = [%s]\n  }\n", list(held))
	} else {
		b.WriteString("  direct {\n  }\n")
	}
	b.WriteString("}\n")
	return []byte(b.String()), nil
}

// mirrored lists what a filesystem mirror holds, as HOST/NAMESPACE/TYPE, sorted.
func mirrored(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil {
		return nil, err
	}
	var held []string
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil || !info.IsDir() {
			continue
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return nil, err
		}
		held = append(held, filepath.ToSlash(rel))
	}
	slices.Sort(held)
	return held, nil
}

func list(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}
