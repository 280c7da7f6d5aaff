terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
}

module "state" {
  source = "../.."

  bucket                  = "acme-terraform-states"
  noncurrent_version_days = 180

  # The production account's roles, which live elsewhere. They have to be there first.
  readers = {
    production-plan = { role_arn = "arn:aws:iam::111122223333:role/plumbline-plan", keys = ["production/*"] }
  }
  writers = {
    production-apply = { role_arn = "arn:aws:iam::111122223333:role/plumbline-apply", keys = ["production/*"] }
  }

  tags = { owner = "platform", service = "plumbline" }
}

output "backend" {
  description = "For the backend block of every stack."
  value       = module.state.backend
}
