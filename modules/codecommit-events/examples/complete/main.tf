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

module "events" {
  source = "../.."

  repositories     = ["infra", "shared-services"]
  readers          = ["arn:aws:iam::444455556666:role/plumbline-task"]
  alarm_topic_arns = ["arn:aws:sns:eu-west-1:111122223333:alarms"]

  tags = { owner = "platform", service = "plumbline" }
}

output "queue" {
  description = "For the forge block."
  value       = module.events.queue_url
}
