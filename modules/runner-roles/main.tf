data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

locals {
  account      = data.aws_caller_identity.this.account_id
  partition    = data.aws_partition.this.partition
  plan_name    = "${var.name}-plan"
  apply_name   = "${var.name}-apply"
  boundary     = "${var.name}-boundary"
  plan_arn     = "arn:${local.partition}:iam::${local.account}:role${var.path}${local.plan_name}"
  apply_arn    = "arn:${local.partition}:iam::${local.account}:role${var.path}${local.apply_name}"
  boundary_arn = "arn:${local.partition}:iam::${local.account}:policy${var.path}${local.boundary}"
}

resource "aws_iam_role" "plan" {
  name                 = local.plan_name
  path                 = var.path
  description          = "Plumbline plans with it: merge requests, deployments, drift. It reads."
  assume_role_policy   = jsonencode(local.trust["plan"])
  max_session_duration = var.plan_max_session
  tags                 = var.tags
}

resource "aws_iam_role_policy_attachment" "plan" {
  for_each = var.plan_policy_arns == null ? { read = "arn:${local.partition}:iam::aws:policy/ReadOnlyAccess" } : var.plan_policy_arns

  role       = aws_iam_role.plan.name
  policy_arn = each.value
}

resource "aws_iam_role_policy" "plan" {
  name   = "state-and-limits"
  role   = aws_iam_role.plan.name
  policy = jsonencode(local.plan_policy)
}

resource "aws_iam_policy" "boundary" {
  name        = local.boundary
  path        = var.path
  description = "The most that ${local.apply_name}, and any role that it makes, can ever do."
  policy      = jsonencode(local.boundary_policy)
  tags        = var.tags
}

resource "aws_iam_role" "apply" {
  name                 = local.apply_name
  path                 = var.path
  description          = "Plumbline applies with it what was approved, and nothing else."
  assume_role_policy   = jsonencode(local.trust["apply"])
  max_session_duration = var.apply_max_session
  permissions_boundary = aws_iam_policy.boundary.arn
  tags                 = var.tags
}

resource "aws_iam_role_policy_attachment" "apply" {
  for_each = var.apply_policy_arns

  role       = aws_iam_role.apply.name
  policy_arn = each.value
}

resource "aws_iam_role_policy" "apply" {
  name   = "state"
  role   = aws_iam_role.apply.name
  policy = jsonencode(local.apply_policy)
}
