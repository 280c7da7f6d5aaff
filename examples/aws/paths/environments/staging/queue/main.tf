terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  backend "s3" {
    bucket       = "acme-terraform-states"
    key          = "staging/queue.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "eu-west-1"

  default_tags {
    tags = { environment = "staging" }
  }
}

module "orders" {
  source = "../../../modules/queue"

  name = "staging-orders"
}

output "url" {
  description = "Address of the queue."
  value       = module.orders.url
}
