terraform {
  backend "local" {}
}

variable "world" {
  type        = string
  description = "Directory in which the environment exists."
}

variable "state" {
  type        = string
  description = "Directory of the states."
}

variable "environment" {
  type = string
}

data "terraform_remote_state" "dns" {
  backend = "local"
  config = {
    path = "${var.state}/live/dns.tfstate"
  }
}

module "web" {
  source = "../../modules/cluster"
  root   = "${var.world}/app"
  name   = "web"
  size   = 2
  settings = {
    host   = "app.${data.terraform_remote_state.dns.outputs.zone}"
    memory = "512"
  }
}

output "services" {
  value = module.web.paths
}
