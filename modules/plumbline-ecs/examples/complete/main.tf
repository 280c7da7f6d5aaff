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

module "plumbline" {
  source = "../.."

  image                = "444455556666.dkr.ecr.eu-west-1.amazonaws.com/plumbline:1.0.0"
  image_repository_arn = "arn:aws:ecr:eu-west-1:444455556666:repository/plumbline"

  configuration = {
    "plumbline.hcl"      = file("${path.module}/plumbline.hcl")
    "policies/tags.rego" = file("${path.module}/policies/tags.rego")
  }
  secrets = {
    OIDC_SECRET  = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:plumbline/oidc-AbCdEf"
    GITLAB_TOKEN = "arn:aws:ssm:eu-west-1:444455556666:parameter/plumbline/gitlab"
  }
  runner_role_arns = [
    "arn:aws:iam::111122223333:role/plumbline-plan",
    "arn:aws:iam::111122223333:role/plumbline-apply",
  ]
  codecommit = {
    repository_arns = ["arn:aws:codecommit:eu-west-1:444455556666:infra"]
  }
  notify_topic_arns = ["arn:aws:sns:eu-west-1:444455556666:plumbline"]
  events_queue_arn  = "arn:aws:sqs:eu-west-1:444455556666:plumbline-codecommit"

  vpc_id                   = "vpc-0a1b2c3d4e5f67890"
  service_subnet_ids       = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
  database_subnet_ids      = ["subnet-0bbbbbbbbbbbbbbb1", "subnet-0bbbbbbbbbbbbbbb2"]
  load_balancer_subnet_ids = ["subnet-0aaaaaaaaaaaaaaa1", "subnet-0aaaaaaaaaaaaaaa2"]
  allowed_cidrs            = ["10.0.0.0/8"]
  hostname                 = "plumbline.example.com"
  certificate_arn          = "arn:aws:acm:eu-west-1:444455556666:certificate/12345678-1234-1234-1234-123456789012"
  zone_id                  = "Z0123456789ABCDEFGHIJ"
  access_log_bucket        = "acme-access-logs"

  # Of a test, whose database nobody misses. Leave it out.
  deletion_protection = false

  # In place of the certificates of https://truststore.pki.rds.amazonaws.com.
  database_ca_bundle = file("${path.module}/rds.pem")

  alarm_topic_arns = ["arn:aws:sns:eu-west-1:444455556666:alarms"]
  tags             = { owner = "platform", service = "plumbline" }
}

output "task_role_arn" {
  description = "For runner-roles."
  value       = module.plumbline.task_role_arn
}

output "server" {
  description = "The server block that the module wrote."
  value       = module.plumbline.server
}
