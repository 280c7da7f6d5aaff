package terraform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hc-install/product"
	"github.com/hashicorp/hc-install/releases"
)

// install downloads the newest Terraform that satisfies the constraint.
//
// hc-install verifies the signature and the checksum, but reports success for a bad archive when its directory already
// holds a program. So it gets a fresh directory, the program is asked what it is, and only then moved to its place.
func (e *Engines) install(ctx context.Context, constraint string, want version.Constraints) (Binary, error) {
	e.installing.Lock()
	defer e.installing.Unlock()
	for _, p := range e.downloaded() {
		if b, err := e.ask(ctx, Terraform, p); err == nil && satisfies(b.Version, want) {
			return b, nil
		}
	}

	ctx, cancel := context.WithTimeout(ctx, e.c.Timeout)
	defer cancel()
	home := filepath.Join(e.c.Dir, Terraform)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return Binary{}, fmt.Errorf("download terraform: %w", err)
	}
	fresh, err := os.MkdirTemp(home, ".download-")
	if err != nil {
		return Binary{}, fmt.Errorf("download terraform: %w", err)
	}
	defer func() { _ = os.RemoveAll(fresh) }() // what stays is swept by nobody, but found by nobody either

	if err := e.download(ctx, constraint, want, fresh); err != nil {
		return Binary{}, fmt.Errorf("download terraform %s: %w", constraint, err)
	}
	got := filepath.Join(fresh, Terraform)
	if _, err := os.Stat(got); err != nil {
		return Binary{}, fmt.Errorf("download terraform %s: the archive was refused or holds no program: %w", constraint, err)
	}
	v, err := askVersion(ctx, got)
	if err != nil {
		return Binary{}, fmt.Errorf("download terraform %s: %w", constraint, err)
	}
	if !satisfies(v, want) {
		return Binary{}, fmt.Errorf("download terraform %s: the program says that it is %s", constraint, v)
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return Binary{}, fmt.Errorf("download terraform %s: %w", constraint, err)
	}
	place := filepath.Join(home, v)
	if err := os.Rename(fresh, place); err != nil {
		// Another daemon on the same directory was first; its program is as good if it answers.
		if b, askErr := e.ask(ctx, Terraform, filepath.Join(place, Terraform)); askErr == nil && b.Version == v {
			return b, nil
		}
		return Binary{}, fmt.Errorf("download terraform %s: %w", constraint, err)
	}
	return e.ask(ctx, Terraform, filepath.Join(place, Terraform))
}

func (e *Engines) download(ctx context.Context, constraint string, want version.Constraints, dir string) error {
	if v, err := version.NewVersion(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(constraint), "="))); err == nil {
		exact := &releases.ExactVersion{
			Product: product.Terraform, Version: v, InstallDir: dir, Timeout: e.c.Timeout,
			ApiBaseURL: e.releases, ArmoredPublicKey: e.publicKey,
		}
		_, err := exact.Install(ctx)
		return err
	}
	latest := &releases.LatestVersion{
		Product: product.Terraform, Constraints: want, InstallDir: dir, Timeout: e.c.Timeout,
		ApiBaseURL: e.releases, ArmoredPublicKey: e.publicKey,
	}
	_, err := latest.Install(ctx)
	return err
}
