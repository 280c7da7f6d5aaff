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

module "vpc" {
  source = "../../modules/service"
  root   = "${var.world}/network"
  name   = "vpc"
  settings = {
    cidr        = "10.0.0.0/16"
    environment = var.environment
  }
}

module "subnets" {
  source   = "../../modules/cluster"
  root     = "${var.world}/network"
  name     = "subnet"
  size     = 2
  settings = { cidr = "10.0.0.0/16" }
}

output "cidr" {
  value = "10.0.0.0/16"
}
