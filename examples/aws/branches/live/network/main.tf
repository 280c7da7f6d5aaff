terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # bucket, key and region are the environment's: plumbline.hcl.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "eu-west-1"

  default_tags {
    tags = { environment = var.environment, stack = "network" }
  }
}

variable "environment" {
  description = "Which environment this is."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network."
  type        = string
}

variable "zones" {
  description = "How many availability zones it spans."
  type        = number
}

module "network" {
  source = "../../modules/network"

  name  = var.environment
  cidr  = var.cidr
  zones = var.zones
}

output "vpc_id" {
  description = "The network."
  value       = module.network.vpc_id
}

output "private_subnet_ids" {
  description = "Its private subnets."
  value       = module.network.private_subnet_ids
}
