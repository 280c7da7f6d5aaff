package discover

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"

	"github.com/plumbline/plumbline/internal/plumbline"
)

// Traits are what the files of a stack's directory say of where it runs, as far as they say it in plain text. What a deployment does not turn on,
// such as addresses with passwords in a backend, is left out.
type Traits struct {
	Dir       string
	Backend   Backend
	Providers []Provider // in order of the directory's names for them
	Needs     []string   `json:",omitempty"` // variables that have no default, nor a value in a file that is read by itself, sorted
	Tofu      bool       `json:",omitempty"` // only OpenTofu reads all of it: it has .tofu files, or a lock file of OpenTofu's registry
}

// Backend is where a stack keeps its state.
type Backend struct {
	Kind   string // "": none is named, so Terraform keeps it in the directory
	Bucket string `json:",omitempty"`
	Key    string `json:",omitempty"`
	Region string `json:",omitempty"`
	Lock   string `json:",omitempty"` // "lock file" or "DynamoDB"; "": nothing says so
}

// Provider is a provider that a stack names.
type Provider struct {
	Source  string // such as "hashicorp/aws"
	Version string `json:",omitempty"`
	Region  string `json:",omitempty"`
}

// Survey reads the directories of stacks once more, for what a first configuration can be made of. Files that cannot be read were found by Stacks
// already, and are passed over.
func Survey(ctx context.Context, fsys fs.FS, stacks []plumbline.StackSpec) ([]Traits, error) {
	var out []Traits
	seen := map[string]bool{}
	for _, s := range stacks {
		if seen[s.Dir] {
			continue
		}
		seen[s.Dir] = true
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := survey(fsys, s)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func survey(fsys fs.FS, spec plumbline.StackSpec) (Traits, error) {
	entries, err := fs.ReadDir(fsys, spec.Dir)
	if err != nil {
		return Traits{}, fmt.Errorf("read directory %s: %w", spec.Dir, err)
	}
	s := surveyor{traits: Traits{Dir: spec.Dir}, providers: map[string]*Provider{}, needs: map[string]bool{}, given: map[string]bool{}}
	for _, e := range entries {
		name := e.Name()
		values := name == "terraform.tfvars" || name == "terraform.tfvars.json" || strings.HasSuffix(name, ".auto.tfvars") || strings.HasSuffix(name, ".auto.tfvars.json")
		if !isTerraform(name) && !values && name != ".terraform.lock.hcl" || !e.Type().IsRegular() {
			continue
		}
		s.read(fsys, path.Join(spec.Dir, name), values)
	}
	for _, f := range spec.VarFiles {
		s.read(fsys, path.Join(spec.Dir, f), true)
	}
	for name := range s.given {
		delete(s.needs, name)
	}
	s.traits.Needs = slices.Sorted(maps.Keys(s.needs))
	for _, name := range slices.Sorted(maps.Keys(s.providers)) {
		s.traits.Providers = append(s.traits.Providers, *s.providers[name])
	}
	return s.traits, nil
}

// A surveyor collects the traits of one stack.
type surveyor struct {
	traits       Traits
	providers    map[string]*Provider // by the directory's name for them
	needs, given map[string]bool      // names of variables
}

var (
	surveySchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "terraform"}, {Type: "provider", LabelNames: []string{"name"}}, {Type: "variable", LabelNames: []string{"name"}},
	}}
	surveyTerraformSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}, {Type: "required_providers"},
	}}
	regionSchema  = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "region"}}}
	defaultSchema = &hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "default"}}}
	lockSchema    = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "provider", LabelNames: []string{"source"}}}}
)

func (s *surveyor) read(fsys fs.FS, name string, values bool) {
	info, err := fs.Stat(fsys, name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > defaultMaxFile {
		return
	}
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return
	}
	body := parsed(name, src)
	switch {
	case body == nil:
	case values:
		attrs, _ := body.JustAttributes()
		for k := range attrs {
			s.given[k] = true
		}
	case path.Base(name) == ".terraform.lock.hcl":
		content, _, _ := body.PartialContent(lockSchema)
		for _, b := range content.Blocks {
			s.traits.Tofu = s.traits.Tofu || strings.HasPrefix(b.Labels[0], "registry.opentofu.org/")
		}
	default:
		s.traits.Tofu = s.traits.Tofu || strings.HasSuffix(name, ".tofu") || strings.HasSuffix(name, ".tofu.json")
		s.blocks(body)
	}
}

// parsed returns a file's body, or nil when it cannot be read.
func parsed(name string, src []byte) hcl.Body {
	var file *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		if tooDeepJSON(src) {
			return nil
		}
		file, diags = hcljson.Parse(src, name)
	} else {
		if _, deep := tooDeep(src, hclsyntax.LexConfig, hcl.InitialPos); deep {
			return nil
		}
		file, diags = hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	}
	if diags.HasErrors() {
		return nil
	}
	return file.Body
}

func (s *surveyor) blocks(body hcl.Body) {
	content, _, _ := body.PartialContent(surveySchema)
	for _, b := range content.Blocks {
		switch b.Type {
		case "terraform":
			s.terraform(b.Body)
		case "provider":
			c, _, _ := b.Body.PartialContent(regionSchema)
			p := s.provider(b.Labels[0])
			if a := c.Attributes["region"]; a != nil && p.Region == "" {
				p.Region = plainText(a.Expr)
			}
		case "variable":
			c, _, _ := b.Body.PartialContent(defaultSchema)
			if c.Attributes["default"] == nil {
				s.needs[b.Labels[0]] = true
			}
		}
	}
}

// provider finds a provider by the name that the directory has for it.
func (s *surveyor) provider(name string) *Provider {
	p := s.providers[name]
	if p == nil {
		p = &Provider{Source: "hashicorp/" + name}
		s.providers[name] = p
	}
	return p
}

func (s *surveyor) terraform(body hcl.Body) {
	content, _, _ := body.PartialContent(surveyTerraformSchema)
	for _, b := range content.Blocks {
		attrs := map[string]string{}
		bodyConstants(attrs, "", b.Body)
		for k, v := range attrs {
			if strings.ContainsRune(v, 0) { // path.module and its like
				delete(attrs, k)
			}
		}
		switch b.Type {
		case "backend":
			s.traits.Backend = Backend{Kind: b.Labels[0], Bucket: attrs["bucket"], Key: attrs["key"], Region: attrs["region"]}
			switch {
			case attrs["use_lockfile"] == "true":
				s.traits.Backend.Lock = "lock file"
			case attrs["dynamodb_table"] != "":
				s.traits.Backend.Lock = "DynamoDB"
			}
		case "cloud":
			s.traits.Backend = Backend{Kind: "cloud"}
		case "required_providers":
			names, _ := b.Body.JustAttributes()
			for _, name := range slices.Sorted(maps.Keys(names)) {
				p := s.provider(name)
				p.Source = cmp.Or(attrs[name+".source"], p.Source)
				p.Version = cmp.Or(attrs[name+".version"], attrs[name], p.Version)
			}
		}
	}
}

// plainText returns a constant, or "" when there is none.
func plainText(e hcl.Expression) string {
	text, ok := constant(e)
	if !ok || strings.ContainsRune(text, 0) {
		return ""
	}
	return text
}
