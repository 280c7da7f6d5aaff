resource "aws_iam_role" "task" {
  name               = "${var.name}-task"
  description        = "Plumbline itself. Terraform does not get it: each run has a role of its own."
  assume_role_policy = jsonencode(local.tasks_trust)
  tags               = var.tags
}

resource "aws_iam_role_policy" "task" {
  name   = "plumbline"
  role   = aws_iam_role.task.name
  policy = jsonencode(local.task_policy)
}

# Apart, since these names are AWS's choice: the other policies are known in full when planned.
resource "aws_iam_role_policy" "task_own" {
  name   = "own-key-and-files"
  role   = aws_iam_role.task.name
  policy = jsonencode(local.task_own_policy)
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution"
  description        = "ECS, while it starts Plumbline: image, secrets, logs"
  assume_role_policy = jsonencode(local.tasks_trust)
  tags               = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "start"
  role   = aws_iam_role.execution.name
  policy = jsonencode(local.execution_policy)
}

resource "aws_iam_role_policy" "execution_keys" {
  name   = "keys-of-secrets"
  role   = aws_iam_role.execution.name
  policy = jsonencode(local.execution_keys_policy)
}

resource "aws_iam_role" "monitoring" {
  name        = "${var.name}-monitoring"
  description = "RDS, which writes the database's figures"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "RDS"
      Effect    = "Allow"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:rds:${local.region}:${local.account}:db:${var.name}" }
      }
    }]
  })
  tags = var.tags
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}
