package runner

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/plumbline/plumbline/internal/plumbline"
	"github.com/plumbline/plumbline/internal/terraform"
	"github.com/plumbline/plumbline/internal/tfplan"
)

// classify says what the full plan of a drift check means. Only a plan that does not look at reality tells what Git asks for apart from what has
// changed outside.
func (c *child) classify(ctx context.Context, dir *terraform.Dir, o terraform.PlanOptions, out *plumbline.Outcome) error {
	o.Out, o.NoRefresh = c.path(storedFile), true
	defer c.remove(storedFile)
	c.j.note("")
	stored, _, err := c.planOnce(ctx, dir, o, nil)
	if err != nil {
		return err
	}
	around := tfplan.Circumstances{InSync: c.Job.InSync && c.Job.Given == out.Plan.Config}
	if around.InSync && stored.HasChanges() {
		files, err := c.read()
		if err != nil {
			return err
		}
		around.ByItself = files.byItself
	}
	v := tfplan.Classify(*out.Plan, stored, around)
	tfplan.MaskDifferences(v.Differences, c.j.masker().String)
	out.Undecided = c.Job.InSync && !around.InSync
	out.Differences, out.Pending, out.Unapplied = v.Differences, len(v.Pending), v.Unapplied
	return nil
}

// outsideAlone is what is left of a drift check whose configuration cannot be planned: reality against the state. That is when drift matters most:
// it may be why the plan fails. Where nothing is found the check has failed, since it could have found less than there is.
func (c *child) outsideAlone(ctx context.Context, dir *terraform.Dir, o terraform.PlanOptions, failed error) (plumbline.Outcome, error) {
	var s stop
	if !errors.As(failed, &s) || s.Failure == nil || s.Failure.Kind != plumbline.FailPlan || ctx.Err() != nil {
		return plumbline.Outcome{}, failed
	}
	c.j.note("\nThe configuration cannot be planned. What is known to have been made is compared with reality all the same.\n")
	o.RefreshOnly = true
	refreshed, _, err := c.planOnce(ctx, dir, o, nil)
	if err != nil {
		if ctx.Err() != nil {
			return plumbline.Outcome{}, err
		}
		return plumbline.Outcome{}, failed
	}
	files, err := c.read()
	if err != nil {
		return plumbline.Outcome{}, err
	}
	found := tfplan.OutsideAlone(refreshed, files.mayIgnore)
	if !slices.ContainsFunc(found, plumbline.Difference.Counts) {
		return plumbline.Outcome{}, failed
	}
	tfplan.MaskDifferences(found, c.j.masker().String)
	tfplan.Mask(&refreshed, c.j.masker().String)
	return plumbline.Outcome{Plan: &refreshed, PlanFile: o.Out, Differences: found, Partial: s.Failure.Text}, nil
}

// contents is what a stack's own files, and those of its modules, say that a plan does not.
type contents struct {
	byItself bool            // they may ask for something else today than they did yesterday
	ignoring map[string]bool // resources, as in aws_instance.web, that have ignore_changes in some module
	unread   bool            // a file could not be understood: any resource may ignore something
}

// mayIgnore reports whether the configuration may ignore changes of a resource. Modules are not told apart: two that call a resource alike share the answer.
func (f contents) mayIgnore(address string) bool { return f.unread || f.ignoring[resource(address)] }

var index = regexp.MustCompile(`\[[^\]]*\]$`)

// resource is the type and name at the end of an address: aws_instance.web of module.a["x.y"].aws_instance.web[0].
func resource(address string) string {
	parts := strings.Split(index.ReplaceAllString(address, ""), ".")
	return strings.Join(parts[max(0, len(parts)-2):], ".")
}

// read reads the stack's directory, what else it reaches, and the modules that init has fetched.
func (c *child) read() (contents, error) {
	out := contents{ignoring: map[string]bool{}}
	src := filepath.Join(c.run0, srcDir)
	seen := map[string]bool{}
	add := func(file string) error {
		if seen[file] || !isConfiguration(file) {
			return nil
		}
		seen[file] = true
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		out.add(file, b)
		return nil
	}
	dirs := []string{c.module}
	for _, r := range c.Job.Spec.Reaches {
		if p := path.Clean(r.Path); r.Kind == plumbline.PathDir && filepath.IsLocal(filepath.FromSlash(p)) {
			dirs = append(dirs, filepath.Join(src, filepath.FromSlash(p)))
		}
	}
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return out, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() {
				if err := add(filepath.Join(d, e.Name())); err != nil {
					return out, err
				}
			}
		}
	}
	err := filepath.WalkDir(filepath.Join(c.dir.Data(), "modules"), func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		return add(p)
	})
	return out, err
}

func isConfiguration(file string) bool {
	for _, ext := range []string{".tf", ".tofu", ".tf.json", ".tofu.json"} {
		if strings.HasSuffix(file, ext) {
			return true
		}
	}
	return false
}

// changing are the functions whose result is another one each time, by https://developer.hashicorp.com/terraform/language/functions.
var changing = []string{"timestamp", "plantimestamp", "uuid", "bcrypt"}

var changingJSON = regexp.MustCompile(`\b(` + strings.Join(changing, "|") + `)\s*\(|"data"\s*:`)

func (f *contents) add(file string, b []byte) {
	if strings.HasSuffix(file, ".json") {
		f.byItself = f.byItself || changingJSON.Match(b)
		f.unread = f.unread || bytes.Contains(b, []byte("ignore_changes"))
		return
	}
	parsed, diags := hclsyntax.ParseConfig(b, file, hcl.InitialPos)
	if diags.HasErrors() {
		f.unread, f.byItself = true, true
		return
	}
	body, ok := parsed.Body.(*hclsyntax.Body)
	if !ok {
		f.unread, f.byItself = true, true
		return
	}
	// Its error is that of the function given, which has none.
	_ = hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
		if call, ok := n.(*hclsyntax.FunctionCallExpr); ok && slices.Contains(changing, call.Name) {
			f.byItself = true
		}
		return nil
	})
	for _, blk := range body.Blocks {
		switch {
		case blk.Type == "data":
			f.byItself = true
		case blk.Type == "resource" && len(blk.Labels) == 2:
			for _, inner := range blk.Body.Blocks {
				if _, ok := inner.Body.Attributes["ignore_changes"]; ok && inner.Type == "lifecycle" {
					f.ignoring[strings.Join(blk.Labels, ".")] = true
				}
			}
		}
	}
}
