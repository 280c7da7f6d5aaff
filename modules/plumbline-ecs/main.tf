data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.region
  bucket    = "${var.name}-${local.account}-${local.region}"
  port      = 8080
  user      = 65532 # of the image
  log_group = "/plumbline/${var.name}"
  db_log    = "/aws/rds/instance/${var.name}/postgresql"
}

resource "aws_kms_key" "this" {
  description             = "Plumbline ${var.name}: database, files, logs, secrets"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = jsonencode(local.key_policy)
  tags                    = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  kms_key_id        = aws_kms_key.this.arn
  retention_in_days = var.log_retention_days
  tags              = var.tags
}
