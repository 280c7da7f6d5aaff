data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  account   = data.aws_caller_identity.this.account_id
  region    = data.aws_region.this.region
  partition = data.aws_partition.this.partition
  queue_arn = "arn:${local.partition}:sqs:${local.region}:${local.account}:${var.name}"

  # Every kind of event that Plumbline understands; it lets others lie.
  events = {
    pull-request = "CodeCommit Pull Request State Change"
    comment      = "CodeCommit Comment on Pull Request"
    repository   = "CodeCommit Repository State Change"
  }
  rule_arns = [for kind in sort(keys(local.events)) : "arn:${local.partition}:events:${local.region}:${local.account}:rule/${var.name}-${kind}"]
}

# Encrypted with SQS's own keys: there is nothing in an event but names, and with a key of one's own EventBridge would have to be let in without any of
# the conditions that hold it to these rules.
resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
  tags                      = var.tags
}

resource "aws_sqs_queue" "this" {
  name                       = var.name
  sqs_managed_sse_enabled    = true
  message_retention_seconds  = var.retention_seconds
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 60
  tags                       = var.tags

  # Plumbline deletes whatever it has read, even what means nothing to it. What comes back five times is read by nobody who deletes.
  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn, maxReceiveCount = 5 })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url            = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({ redrivePermission = "byQueue", sourceQueueArns = [local.queue_arn] })
}

resource "aws_sqs_queue_policy" "this" {
  queue_url = aws_sqs_queue.this.id
  policy    = jsonencode(local.queue_policy)
}

resource "aws_sqs_queue_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  policy    = jsonencode(local.dead_policy)
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.events

  name        = "${var.name}-${each.key}"
  description = "${each.value}: Plumbline looks there sooner"
  event_pattern = jsonencode({
    source        = ["aws.codecommit"]
    "detail-type" = [each.value]
    resources     = [for r in sort(var.repositories) : "arn:${local.partition}:codecommit:${local.region}:${local.account}:${r}"]
  })
  tags = var.tags
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.events

  rule      = aws_cloudwatch_event_rule.this[each.key].name
  target_id = "plumbline"
  arn       = aws_sqs_queue.this.arn

  # An event late by more than a few polls is of no use.
  retry_policy {
    maximum_event_age_in_seconds = 300
    maximum_retry_attempts       = 10
  }

  dead_letter_config {
    arn = aws_sqs_queue.dead.arn
  }

  # Before its policy lets the rule in, EventBridge would be refused.
  depends_on = [aws_sqs_queue_policy.this, aws_sqs_queue_policy.dead]
}

resource "aws_cloudwatch_metric_alarm" "unread" {
  alarm_name          = "${var.name}-unread"
  alarm_description   = "Nobody has read the queue for ten minutes: Plumbline is away, or may not read. It still polls."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.this.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 2
  threshold           = 600
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = sort(var.alarm_topic_arns)
  ok_actions          = sort(var.alarm_topic_arns)
  tags                = var.tags
}

resource "aws_cloudwatch_metric_alarm" "dead" {
  alarm_name          = "${var.name}-dead"
  alarm_description   = "Events could not be delivered, or were read five times and never deleted."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = sort(var.alarm_topic_arns)
  ok_actions          = sort(var.alarm_topic_arns)
  tags                = var.tags
}
