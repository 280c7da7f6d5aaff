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
    key          = "production/queue.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "eu-west-1"

  default_tags {
    tags = { environment = "production" }
  }
}

module "orders" {
  source = "../../../modules/queue"

  name           = "production-orders"
  retention_days = 14
}

output "url" {
  description = "Address of the queue."
  value       = module.orders.url
}
