terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "6.20.0"
    }
    random = {
      source  = "hashicorp/random"
      version = "3.7.2"
    }
  }
}

provider "aws" {
  region = "eu-west-1"

  default_tags {
    tags = local.tags
  }
}

variable "api_key" {
  type      = string
  sensitive = true
}

locals {
  tags = {
    "Environment"      = "staging"
    "example.com/team" = "platform"
  }
}

output "address" {
  value = aws_instance.web.private_ip
}

output "database" {
  value     = "postgres://shop:${aws_ssm_parameter.api_key.value}@${aws_db_instance.shop.address}"
  sensitive = true
}

output "subnets" {
  value = [for s in aws_subnet.private : s.cidr_block]
}
