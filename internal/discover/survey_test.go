package discover

import (
	"reflect"
	"testing"
	"testing/fstest"

	"github.com/plumbline/plumbline/internal/plumbline"
)

func TestSurvey(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string // in the directory s
		spec  plumbline.StackSpec
		want  Traits
	}{
		"everything": {
			files: map[string]string{
				"main.tf": `
terraform {
  required_providers {
    aws    = { source = "hashicorp/aws", version = "~> 6.0" }
    random = ">= 3"
    cf     = { source = "cloudflare/cloudflare" }
  }
  backend "s3" {
    bucket       = "states"
    key          = "s.tfstate"
    region       = "eu-west-1"
    use_lockfile = true
    access_key   = "AKIA"
  }
}
provider "aws" { region = "eu-central-1" }
provider "aws" {
  alias  = "us"
  region = "us-east-1"
}
variable "set" {}
variable "unset" {}
variable "by_default" { default = 1 }
`,
				"terraform.tfvars": "set = 1\n",
				"other.tfvars":     "unset = 1\n", // nothing reads it by itself
			},
			want: Traits{
				Backend: Backend{Kind: "s3", Bucket: "states", Key: "s.tfstate", Region: "eu-west-1", Lock: "lock file"},
				Providers: []Provider{
					{Source: "hashicorp/aws", Version: "~> 6.0", Region: "eu-central-1"}, {Source: "cloudflare/cloudflare"}, {Source: "hashicorp/random", Version: ">= 3"},
				},
				Needs: []string{"unset"},
			},
		},
		"json": {
			files: map[string]string{
				"main.tf.json":       `{"terraform": {"backend": {"s3": {"bucket": "b", "dynamodb_table": "locks"}}}, "provider": {"aws": {"region": "eu-west-1"}}, "variable": {"a": {}, "b": {}}}`,
				"x.auto.tfvars.json": `{"b": 1}`,
			},
			want: Traits{Backend: Backend{Kind: "s3", Bucket: "b", Lock: "DynamoDB"}, Providers: []Provider{{Source: "hashicorp/aws", Region: "eu-west-1"}}, Needs: []string{"a"}},
		},
		"var files of .plumbline.hcl": {
			files: map[string]string{"main.tf": "variable \"a\" {}\n", "vars/a.tfvars": "a = 1\n"},
			spec:  plumbline.StackSpec{VarFiles: []string{"vars/a.tfvars"}},
			want:  Traits{},
		},
		"what is computed is not said": {
			files: map[string]string{"main.tf": "provider \"aws\" {\n  region = var.region\n}\nterraform {\n  backend \"local\" {\n    path = \"${path.module}/x\"\n  }\n}\n"},
			want:  Traits{Backend: Backend{Kind: "local"}, Providers: []Provider{{Source: "hashicorp/aws"}}},
		},
		"tofu by a file":      {files: map[string]string{"main.tofu": ""}, want: Traits{Tofu: true}},
		"tofu by a lock file": {files: map[string]string{"main.tf": "", ".terraform.lock.hcl": `provider "registry.opentofu.org/hashicorp/aws" {}`}, want: Traits{Tofu: true}},
		"terraform's lock":    {files: map[string]string{"main.tf": "", ".terraform.lock.hcl": `provider "registry.terraform.io/hashicorp/aws" {}`}, want: Traits{}},
		"cloud":               {files: map[string]string{"main.tf": "terraform {\n  cloud {\n    organization = \"x\"\n  }\n}\n"}, want: Traits{Backend: Backend{Kind: "cloud"}}},
		"broken files are passed over": {
			files: map[string]string{"a.tf": "resource {", "b.tf": "variable \"x\" {}\n", "c.tf.json": "{"},
			want:  Traits{Needs: []string{"x"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for file, data := range c.files {
				fsys["s/"+file] = &fstest.MapFile{Data: []byte(data)}
			}
			c.spec.Dir, c.want.Dir = "s", "s"
			got, err := Survey(t.Context(), fsys, []plumbline.StackSpec{c.spec, c.spec}) // two workspaces of one directory are one
			if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
				t.Errorf("%+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}
