//go:build linux

package runner

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/testenv"
)

const benchConfig = `
terraform {
  required_providers {
    local = { source = "hashicorp/local" }
  }
}
resource "local_file" "a" {
  filename = "${path.module}/a"
  content  = "a"
}
`

// BenchmarkPlan is a plan of one small stack through a Host; compare with BenchmarkBare.
func BenchmarkPlan(b *testing.B) {
	e := testenv.Engines(b)[0]
	dir := b.TempDir()
	h := NewHost(HostConfig{Dir: dir, Engines: engine(e, testenv.ProviderMirror(b))})
	id := plumbline.RunID(0)
	for b.Loop() {
		id++
		src := filepath.Join(h.Dir(id), srcDir)
		if err := os.MkdirAll(src, 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, "main.tf"), []byte(benchConfig), 0o600); err != nil {
			b.Fatal(err)
		}
		out, err := h.Do(b.Context(), plumbline.Job{Run: id, Phase: plumbline.PhasePlan, Kind: plumbline.KindProposal, Spec: plumbline.StackSpec{Dir: "."}}, nowhere{})
		if err != nil || out.Plan == nil {
			b.Fatalf("%s, %v", describe(out), err)
		}
		if err := h.Clear(id); err != nil {
			b.Fatal(err)
		}
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkBare is what a person would type: init, plan, show.
func BenchmarkBare(b *testing.B) {
	e := testenv.Engines(b)[0]
	rc, err := terraform.CLIConfig(testenv.ProviderMirror(b))
	if err != nil {
		b.Fatal(err)
	}
	rcPath := filepath.Join(b.TempDir(), "rc")
	if err := os.WriteFile(rcPath, rc, 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		dir, err := os.MkdirTemp("", "bare")
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(benchConfig), 0o600); err != nil {
			b.Fatal(err)
		}
		for _, args := range [][]string{{"init", "-input=false"}, {"plan", "-out=tfplan", "-input=false", "-lock=false"}, {"show", "-json", "tfplan"}} {
			cmd := exec.Command(e.Path, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+rcPath, "CHECKPOINT_DISABLE=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
	}
}
