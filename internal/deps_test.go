package internal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/plumbline/plumbline/"

// edges is who imports whom among our packages, tests apart, with the reason. An import that is not here is a decision that somebody has to
// make: a stage that calls another, or an adapter that knows a stage, cannot be taken apart again.
var edges = map[string]map[string]string{
	"internal/plumbline": {}, // the domain: everybody may know it, it knows nobody

	"internal/diff": {"internal/plumbline": "lays out its changes; as pure as the domain"},
	"internal/driftreport": {
		"internal/plumbline": "what becomes of its drift items; as pure as the domain",
		"internal/diff":      "what is shown is on one line, and can deceive nobody",
	},

	// The stages meet in the store, which each sees through an interface of its own.
	"internal/watch":  {"internal/plumbline": "the domain"},
	"internal/worker": {"internal/plumbline": "the domain"},
	"internal/report": {"internal/plumbline": "the domain", "internal/diff": "a change reads the same wherever it is shown"},
	"internal/web": {
		"internal/plumbline":   "the domain",
		"internal/diff":        "a change reads the same wherever it is shown",
		"internal/driftreport": "drift reads the same on a page, in the API, on a terminal; likewise pure",
	},
	"internal/web/preview": {
		"internal/plumbline": "canned domain values",
		"internal/web":       "shows its pages",
	},

	// The adapters speak the domain's language to the outside.
	"internal/adopt":             {"internal/plumbline": "rewrites files so that they ask for what a Difference found"},
	"internal/artifact":          {}, // bytes under names: it need not know what they mean
	"internal/redact":            {}, // text in, text out
	"internal/redact/redacttest": {}, // secrets and ordinary text for the tests of whoever masks
	"internal/config":            {"internal/plumbline": "its result are domain values"},
	"internal/discover":          {"internal/plumbline": "its result is a Layout"},
	"internal/propose": {
		"internal/config":    "what it writes is read back before anybody gets it",
		"internal/diff":      "names from a repository stay on their line, and can deceive nobody",
		"internal/discover":  "what the files of stacks say",
		"internal/plumbline": "stacks, environments",
	},
	"internal/git":    {"internal/plumbline": "kinds of errors, findings"},
	"internal/store":  {"internal/plumbline": "what it keeps, and the rules that change it"},
	"internal/tfplan": {"internal/plumbline": "its result is a Plan"},
	"internal/terraform": {
		"internal/plumbline": "engines, diagnostics",
	},
	"internal/notify": {"internal/plumbline": "what it sends are messages of the domain"},
	"internal/policy": {"internal/plumbline": "its result are findings, what it knows of a run are facts"},
	"internal/runner": {
		"internal/plumbline": "jobs and outcomes",
		"internal/policy":    "holds the plan against policies where its JSON is in clear, and nowhere else",
		"internal/redact":    "masks the log where it is written: nothing behind it sees a secret",
		"internal/terraform": "runs the commands",
		"internal/tfplan":    "reads the plan in the sandbox: raw plan JSON does not leave it",
	},
	"internal/forge":            {"internal/plumbline": "the contract is about domain values"},
	"internal/forge/gitea":      {"internal/forge": "keeps the contract", "internal/plumbline": "domain values"},
	"internal/forge/gitlab":     {"internal/forge": "keeps the contract", "internal/plumbline": "domain values"},
	"internal/forge/github":     {"internal/forge": "keeps the contract", "internal/plumbline": "domain values"},
	"internal/forge/bitbucket":  {"internal/forge": "keeps the contract", "internal/plumbline": "domain values"},
	"internal/forge/codecommit": {"internal/forge": "keeps the contract", "internal/plumbline": "domain values"},
	"internal/forge/hook":       {"internal/plumbline": "kinds of errors, secrets"},
	"internal/forge/plain": {
		"internal/forge":     "keeps the contract",
		"internal/git":       "its notes are Git's: the remote is the forge",
		"internal/plumbline": "domain values",
	},
	"internal/forge/forgetest": {"internal/forge": "keeps the contract, and checks it", "internal/plumbline": "domain values"},

	"internal/aws": {"internal/plumbline": "kinds of errors, who changed something"},

	"internal/testenv": {},
	"internal/e2e":     {},
	"examples":         {},
	"cmd/plumbline":    nil, // the composition root: whatever it composes
}

// forbidden is what the domain must not import: it neither reads, nor writes, nor waits.
var forbidden = []string{"context", "io", "os", "net", "net/http", "database/sql", "os/exec", "time/tzdata", "sync"}

// ofAWS are the packages that may import the SDK of AWS: each of the others would bring a way of its own to find credentials.
var ofAWS = []string{"internal/aws", "internal/artifact", "internal/forge/codecommit"}

// testOnly is what only tests may import.
var testOnly = []string{"internal/testenv", "internal/forge/forgetest", "internal/redact/redacttest", "internal/e2e", "testing"}

type pkg struct {
	ImportPath, Dir                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImports(t *testing.T) {
	list := packages(t)
	if len(list) < len(edges)/2 {
		t.Fatalf("go list knows %d packages", len(list))
	}
	for _, p := range list {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := edges[name]
		if !known {
			if name != "internal" { // this directory, which has nothing but tests
				t.Errorf("%s is not in the table: say what it may import, and why", name)
			}
			continue
		}
		used := map[string]bool{}
		for _, path := range p.Imports {
			if slices.Contains(testOnly, strings.TrimPrefix(path, module)) && !slices.Contains(testOnly, name) {
				t.Errorf("%s imports %s, which is for tests", name, path)
			}
			if name == "internal/plumbline" && slices.Contains(forbidden, path) {
				t.Errorf("the domain imports %s", path)
			}
			if strings.HasPrefix(path, "github.com/aws/") && !slices.Contains(ofAWS, name) && !slices.Contains(testOnly, name) {
				t.Errorf("%s imports %s: AWS is asked by %s", name, path, strings.Join(ofAWS, " or "))
			}
			our, ok := strings.CutPrefix(path, module)
			if !ok {
				continue
			}
			used[our] = true
			switch {
			case strings.HasPrefix(our, "cmd/"):
				t.Errorf("%s imports %s: nothing imports a command", name, our)
			case name != "cmd/plumbline" && allowed[our] == "":
				t.Errorf("%s imports %s, which the table gives no reason for", name, our)
			}
		}
		for our := range allowed {
			if !used[our] {
				t.Errorf("%s does not import %s any more: take it out of the table", name, our)
			}
		}
	}
}

var and = regexp.MustCompile(`(?i)\band\b`)

// TestPackageComments: a package is one sentence, in one place. One that needs an "and" is two.
func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		files := p.GoFiles
		if len(files) == 0 {
			files = append(slices.Clone(p.TestGoFiles), p.XTestGoFiles...)
		}
		var at []string
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Error(err)
				continue
			}
			if f.Doc == nil {
				continue
			}
			at = append(at, file)
			first := new(doc.Package).Synopsis(f.Doc.Text())
			if !strings.HasPrefix(first, "Package ") && !strings.HasPrefix(first, "Command ") {
				t.Errorf("%s begins its comment with %q", filepath.Join(name, file), first)
			}
			if and.MatchString(first) {
				t.Errorf("%s needs an \"and\": %s", name, first)
			}
		}
		if len(at) != 1 && name != "internal" {
			t.Errorf("the comment of %s is in %q, want it in one file", name, at)
		}
	}
}
