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

# What the stacks of this account need: networks and functions.
resource "aws_iam_policy" "apply" {
  name        = "plumbline-apply"
  description = "What the stacks of this account are made of."
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Networks"
        Effect = "Allow"
        Action = [
          "ec2:*Vpc*", "ec2:*Subnet*", "ec2:*Route*", "ec2:*SecurityGroup*", "ec2:*InternetGateway*", "ec2:*NatGateway*", "ec2:*Address*",
          "ec2:CreateTags", "ec2:DeleteTags", "ec2:Describe*",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = ["eu-west-1", "eu-central-1"] } }
      },
      {
        Sid      = "Functions"
        Effect   = "Allow"
        Action   = "lambda:*"
        Resource = "arn:aws:lambda:eu-west-1:111122223333:function:shop-*"
      },
    ]
  })
}

module "roles" {
  source = "../.."

  daemon_role_arns = ["arn:aws:iam::444455556666:role/plumbline-task"]
  external_id      = "plumbline-6f1d0c"
  repositories     = ["infra"]
  environments     = ["production"]

  state = {
    bucket_arn  = "arn:aws:s3:::acme-terraform-states"
    kms_key_arn = "arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    keys        = ["production/*"]
  }

  plan_readable_objects = ["arn:aws:s3:::acme-releases/functions/*"]
  apply_policy_arns     = { stacks = aws_iam_policy.apply.arn }
  apply_services        = ["ec2", "lambda", "logs"]
  apply_iam_path        = "/workloads/"

  tags = { owner = "platform", service = "plumbline" }
}

output "roles" {
  description = "For the aws block of the environment."
  value = {
    plan_role   = module.roles.plan_role_arn
    apply_role  = module.roles.apply_role_arn
    external_id = module.roles.external_id
  }
}
