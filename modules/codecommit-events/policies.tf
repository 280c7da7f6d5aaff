# Policies are made from names, not from what AWS answers, so that plans and tests show them in full.
locals {
  # Only these rules, of this account, may send.
  from_rules = {
    ArnEquals    = { "aws:SourceArn" = local.rule_arns }
    StringEquals = { "aws:SourceAccount" = local.account }
  }

  queue_policy = {
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "RulesSend"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = local.queue_arn
        Condition = local.from_rules
      },
      {
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = local.queue_arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      ],
      [
        for readers in [sort(var.readers)] : {
          Sid       = "OtherAccountsRead"
          Effect    = "Allow"
          Principal = { AWS = readers }
          Action    = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
          Resource  = local.queue_arn
        } if length(readers) > 0
    ])
  }

  dead_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "RulesSend"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = "${local.queue_arn}-dead"
        Condition = local.from_rules
      },
      {
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "${local.queue_arn}-dead"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  }
}
