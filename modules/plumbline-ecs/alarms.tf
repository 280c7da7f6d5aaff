locals {
  alarms = {
    away = {
      description = "Plumbline does not answer: nothing is planned, applied or told until it does. Runs that were under way are taken up again."
      namespace   = "AWS/ApplicationELB"
      metric      = "HealthyHostCount"
      dimensions  = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
      statistic   = "Maximum"
      periods     = 5
      below       = true
      threshold   = 1
      missing     = "breaching"
    }
    errors = {
      description = "Plumbline answered more than ten requests within five minutes with an error of its own; its log says which."
      namespace   = "AWS/ApplicationELB"
      metric      = "HTTPCode_Target_5XX_Count"
      dimensions  = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.this.arn_suffix }
      statistic   = "Sum"
      periods     = 5
      below       = false
      threshold   = 10
      missing     = "notBreaching"
    }
    memory = {
      description = "The task is short of memory: Terraform takes up to 1 GiB a run. Give it more, or fewer workers."
      namespace   = "AWS/ECS"
      metric      = "MemoryUtilization"
      dimensions  = { ClusterName = aws_ecs_cluster.this.name, ServiceName = aws_ecs_service.this.name }
      statistic   = "Maximum"
      periods     = 10
      below       = false
      threshold   = 90
      missing     = "notBreaching"
    }
    database-cpu = {
      description = "The database is busy without end."
      namespace   = "AWS/RDS"
      metric      = "CPUUtilization"
      dimensions  = { DBInstanceIdentifier = aws_db_instance.this.identifier }
      statistic   = "Average"
      periods     = 15
      below       = false
      threshold   = 85
      missing     = "breaching"
    }
    database-space = {
      description = "The database has less than 4 GiB left, and has not grown by itself."
      namespace   = "AWS/RDS"
      metric      = "FreeStorageSpace"
      dimensions  = { DBInstanceIdentifier = aws_db_instance.this.identifier }
      statistic   = "Minimum"
      periods     = 5
      below       = true
      threshold   = 4 * 1024 * 1024 * 1024
      missing     = "breaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.below ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = sort(var.alarm_topic_arns)
  ok_actions          = sort(var.alarm_topic_arns)
  tags                = var.tags
}
