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

variable "password" {
  type        = string
  sensitive   = true
  description = "Of the owner; set by the operator's configuration, never in Git."
}

data "terraform_remote_state" "network" {
  backend = "local"
  config = {
    path = "${var.state}/live/network.tfstate"
  }
}

module "server" {
  source = "../../modules/service"
  root   = "${var.world}/database"
  name   = "main"
  settings = {
    engine  = "postgres"
    network = data.terraform_remote_state.network.outputs.cidr
    storage = "100"
  }
}

output "owner_password" {
  value     = var.password
  sensitive = true
}
