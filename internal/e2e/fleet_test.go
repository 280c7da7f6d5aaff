package e2e

import (
	"fmt"
	"strings"
)

const local = `terraform {
  required_providers {
    local = { source = "hashicorp/local" }
  }
}
`

// fleet is a repository of 14 stacks: modules three levels deep, workspaces, var files, remote state between stacks, one broken stack.
// dir is where its states and files are.
func fleet(dir string) map[string]string {
	files := map[string]string{
		"README.md": "# Fleet\n",
		"modules/tags/main.tf": `variable "name" { type = string }
output "tags" { value = "owner=sre name=${var.name}" }
`,
		"modules/subnet/main.tf": local + `variable "name" { type = string }
variable "dir" { type = string }
module "tags" {
  source = "../tags"
  name   = var.name
}
resource "local_file" "subnet" {
  filename = "${var.dir}/${var.name}.subnet"
  content  = module.tags.tags
}
`,
		"modules/vpc/main.tf": local + `variable "dir" { type = string }
module "subnet" {
  source   = "../subnet"
  for_each = toset(["a", "b"])
  name     = each.key
  dir      = var.dir
}
output "cidr" { value = "10.0.0.0/16" }
`,
		"shared/policy.json": `{"allow": ["read"]}` + "\n",
		"live/net/main.tf": backend(dir, "net") + `variable "world" { type = string }
module "vpc" {
  source = "../../modules/vpc"
  dir    = "${var.world}/net"
}
output "cidr" { value = module.vpc.cidr }
`,
		"live/dns/main.tf": backend(dir, "dns") + remote(dir, "net") + `variable "world" { type = string }
resource "local_file" "zone" {
  filename = "${var.world}/dns/zone"
  content  = "net ${data.terraform_remote_state.net.outputs.cidr}\n"
}
`,
		"live/db/main.tf": backend(dir, "db") + remote(dir, "net") + `variable "world" { type = string }
variable "password" { type = string }
variable "pin" {
  type      = string
  sensitive = true
}
resource "local_file" "db" {
  filename = "${var.world}/db/main"
  content  = "storage 100 in ${data.terraform_remote_state.net.outputs.cidr}\n"
}
resource "terraform_data" "owner" {
  input = var.password
}
output "pin" {
  value     = var.pin
  sensitive = true
}
output "password_of_owner" { value = terraform_data.owner.output }
`,
		"live/app/main.tf": strings.Replace(backend(dir, "app"), "\n  }", "\n    workspace_dir = \""+dir+"/state/app\"\n  }", 1) + `variable "world" { type = string }
variable "size" { type = number }
resource "local_file" "app" {
  count    = var.size
  filename = "${var.world}/app-${terraform.workspace}/${count.index}"
  content  = file("${path.module}/../../shared/policy.json")
}
`,
		"live/app/blue.tfvars":  "size = 1\n",
		"live/app/green.tfvars": "size = 2\n",
		"live/broken/main.tf":   "resource \"local_file\" \"x\" {\n  filename = \"x\"\n",
		".plumbline.hcl": `stack "blue" {
  dir       = "live/app"
  workspace = "blue"
  var_files = ["blue.tfvars"]
}
stack "green" {
  dir        = "live/app"
  workspace  = "green"
  var_files  = ["green.tfvars"]
  depends_on = ["blue"]
}
`,
	}
	for _, s := range []string{"queue", "cache", "cdn", "mail", "logs", "jobs"} {
		files["live/"+s+"/main.tf"] = simple(dir, s, "1")
	}
	for _, s := range []string{"one", "two"} {
		files["lab/"+s+"/main.tf"] = simple(dir, "lab-"+s, "1")
	}
	return files
}

func backend(dir, name string) string {
	return fmt.Sprintf("terraform {\n  backend \"local\" {\n    path = \"%s/state/%s.tfstate\"\n  }\n  required_providers {\n    local = { source = \"hashicorp/local\" }\n  }\n}\n", dir, name)
}

func remote(dir, name string) string {
	return fmt.Sprintf("data \"terraform_remote_state\" %q {\n  backend = \"local\"\n  config  = { path = \"%s/state/%s.tfstate\" }\n}\n", name, dir, name)
}

func simple(dir, name, content string) string {
	return backend(dir, name) + fmt.Sprintf("variable \"world\" { type = string }\nresource \"local_file\" \"x\" {\n  filename = \"${var.world}/%s\"\n  content  = \"%s\"\n}\n", name, content)
}

// fleetConfig is the daemon's configuration for the fleet: two environments on one branch, by path.
func fleetConfig(dir, database, engine, mirror, forge, project string) string {
	return strings.NewReplacer("@DIR@", dir, "@DATABASE@", database, "@ENGINE@", engine, "@MIRROR@", mirror, "@FORGE@", forge, "@PROJECT@", project).Replace(`
server {
  listen   = "127.0.0.1:0"
  data_dir = "@DIR@/data"
  database = "@DATABASE@"
  workers  = 2
  node     = "node-1"
}
terraform {
  engine  = "@ENGINE@"
  install = "path"
  providers {
    mirror = "@MIRROR@"
  }
}
@FORGE@
repository "infra" {
  forge   = "forge"
  project = "@PROJECT@"
  poll    = "@every 1s"

  environment "production" {
    branch  = "main"
    include = ["live/**"]
    apply   = "approval"
    approval {
      expires = "1h"
    }
    vars = {
      world    = "@DIR@/world"
      password = env("DB_PASSWORD")
      pin      = env("DB_PIN")
    }
    drift {
      schedule = "0 3 * * *"
    }
  }
  environment "lab" {
    branch  = "main"
    include = ["lab/**"]
    apply   = "automatic"
    vars    = { world = "@DIR@/world" }
  }
}
`)
}
