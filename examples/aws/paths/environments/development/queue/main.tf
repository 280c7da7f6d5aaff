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
    key          = "development/queue.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "eu-west-1"

  default_tags {
    tags = { environment = "development" }
  }
}

module "orders" {
  source = "../../../modules/queue"

  name = "development-orders"
}

output "url" {
  description = "Address of the queue."
  value       = module.orders.url
}
