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

data "terraform_remote_state" "network" {
  backend = "local"
  config = {
    path = "${var.state}/live/network.tfstate"
  }
}

module "zone" {
  source   = "../../modules/service"
  root     = "${var.world}/dns"
  name     = "zone"
  settings = yamldecode(file("${path.module}/zone.yaml"))
}

output "zone" {
  value = "${var.environment}.example.com"
}

output "network" {
  value = data.terraform_remote_state.network.outputs.cidr
}
