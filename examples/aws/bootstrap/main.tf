terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # By hand, with a state beside it: terraform init && terraform apply -var account=… -var name=…
  backend "local" {
    path = "bootstrap.tfstate"
  }
}

provider "aws" {
  region              = "eu-west-1"
  allowed_account_ids = [var.account]
}

variable "account" {
  description = "The account that this is for."
  type        = string
}

variable "name" {
  description = "Name of the environment."
  type        = string
}

resource "aws_iam_policy" "stacks" {
  name        = "plumbline-stacks"
  description = "What the stacks in live are made of."
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      # Settings of the account: none of them has a resource.
      Sid    = "AccountSettings"
      Effect = "Allow"
      Action = [
        "access-analyzer:CreateAnalyzer",
        "access-analyzer:DeleteAnalyzer",
        "access-analyzer:GetAnalyzer",
        "access-analyzer:TagResource",
        "ec2:DisableEbsEncryptionByDefault",
        "ec2:EnableEbsEncryptionByDefault",
        "ec2:GetEbsEncryptionByDefault",
        "s3:GetAccountPublicAccessBlock",
        "s3:PutAccountPublicAccessBlock",
      ]
      Resource = "*"
    }]
  })
}

module "roles" {
  source = "../../../modules/runner-roles"

  daemon_role_arns = ["arn:aws:iam::444455556666:role/plumbline-task"]
  external_id      = "plumbline-${var.name}"
  repositories     = ["accounts"]
  environments     = [var.name]

  state = {
    bucket_arn  = "arn:aws:s3:::acme-terraform-states"
    kms_key_arn = "arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    keys        = ["${var.name}/*"]
  }

  apply_policy_arns = { stacks = aws_iam_policy.stacks.arn }
  apply_services    = ["access-analyzer", "ec2", "s3"]
}

output "roles" {
  description = "For the environment's aws block."
  value = {
    plan_role   = module.roles.plan_role_arn
    apply_role  = module.roles.apply_role_arn
    external_id = module.roles.external_id
  }
}
