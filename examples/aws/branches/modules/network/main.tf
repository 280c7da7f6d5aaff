terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "name" {
  description = "Name of the network."
  type        = string
}

variable "cidr" {
  description = "Its addresses."
  type        = string

  validation {
    condition     = can(cidrsubnet(var.cidr, 8, 0))
    error_message = "A range of addresses with room for subnets, such as \"10.10.0.0/16\"."
  }
}

variable "zones" {
  description = "How many availability zones it spans."
  type        = number

  validation {
    condition     = var.zones >= 2 && var.zones <= 3
    error_message = "Two zones or three."
  }
}

locals {
  zones = slice(["eu-west-1a", "eu-west-1b", "eu-west-1c"], 0, var.zones)
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = var.name }
}

resource "aws_subnet" "private" {
  for_each = { for i, zone in local.zones : zone => i }

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.cidr, 8, each.value)
  tags              = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-unused" }
}

output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Its private subnets."
  value       = [for s in aws_subnet.private : s.id]
}
