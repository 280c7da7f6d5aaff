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

data "terraform_remote_state" "app" {
  backend = "local"
  config = {
    path = "${var.state}/live/app.tfstate"
  }
}

module "targets" {
  source = "../../modules/service"
  root   = "${var.world}/monitoring"
  name   = "targets"
  settings = {
    targets  = join(",", data.terraform_remote_state.app.outputs.services)
    interval = "30s"
  }
}
