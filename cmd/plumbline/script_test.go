package main

import (
	"context"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/plumbline/plumbline/internal/web/preview"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"jsonscan": jsonScan,
		"plumbline": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs the program as people do: command, output and exit code stand in one file, in testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "../../testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			canned, _ := preview.NewServer()
			daemon := httptest.NewServer(canned.Handler())
			env.Defer(daemon.Close)
			env.Vars = append(env.Vars,
				"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com", "GIT_COMMITTER_NAME=Dev",
				"GIT_COMMITTER_EMAIL=dev@example.com", "PLUMBLINE_URL=http://127.0.0.1:9", "PREVIEW_URL="+daemon.URL,
			)
			return nil
		},
	})
}
