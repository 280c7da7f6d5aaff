package terraform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxLock is how much of a dependency lock file is read: a provider takes a kilobyte or two.
const maxLock = 1 << 20

// Locked returns the providers' versions that the dependency lock file of a root module names, by source address. A file that is missing or cannot be
// read names none: init is what judges it. (https://developer.hashicorp.com/terraform/language/files/dependency-lock)
func Locked(module string) (map[string]string, error) {
	name := filepath.Join(module, ".terraform.lock.hcl")
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > maxLock) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, _ := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if file == nil {
		return nil, nil
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return nil, nil
	}
	versions := map[string]string{}
	for _, b := range body.Blocks {
		a := b.Body.Attributes["version"]
		if b.Type != "provider" || len(b.Labels) != 1 || a == nil {
			continue
		}
		// A literal: nothing in this file can be computed.
		if v, diags := a.Expr.Value(nil); !diags.HasErrors() && !v.IsNull() && v.IsKnown() && v.Type().FriendlyName() == "string" {
			versions[b.Labels[0]] = v.AsString()
		}
	}
	return versions, nil
}
