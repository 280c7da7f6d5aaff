locals {
  # Fargate gives a task two minutes to end. An apply that takes longer is interrupted by an update of the task: Plumbline says so, and repeats nothing.
  stop_seconds = 120

  log_options = {
    for stream in ["configuration", "plumbline"] : stream => {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = local.log_group
        "awslogs-region"        = local.region
        "awslogs-stream-prefix" = stream
      }
    }
  }

  containers = [
    {
      name                   = "configuration"
      image                  = var.copy_image
      essential              = false
      command                = ["s3", "cp", "--recursive", "--no-progress", "s3://${local.bucket}/configuration/${local.revision}/", "/etc/plumbline/"]
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      mountPoints            = [{ sourceVolume = "configuration", containerPath = "/etc/plumbline", readOnly = false }]
      logConfiguration       = local.log_options["configuration"]
    },
    {
      name                   = "plumbline"
      image                  = var.image
      essential              = true
      command                = ["serve", "--config", "/etc/plumbline", "--grace", "${local.stop_seconds - 15}s"]
      user                   = "${local.user}:${local.user}"
      stopTimeout            = local.stop_seconds
      readonlyRootFilesystem = true
      linuxParameters        = { initProcessEnabled = true, capabilities = { drop = ["ALL"] } }
      portMappings           = [{ containerPort = local.port, hostPort = local.port, protocol = "tcp" }]
      dependsOn              = [{ containerName = "configuration", condition = "SUCCESS" }]
      mountPoints = [
        { sourceVolume = "configuration", containerPath = "/etc/plumbline", readOnly = true },
        { sourceVolume = "data", containerPath = "/var/lib/plumbline", readOnly = false },
        { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
      ]
      environment = [
        # Not read by Plumbline: with another password comes another task.
        { name = "DATABASE_PASSWORD_VERSION", value = tostring(var.database_password_version) },
      ]
      secrets = concat(
        [{ name = "PLUMBLINE_DATABASE_PASSWORD", valueFrom = aws_secretsmanager_secret_version.database.arn }],
        [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }],
      )
      logConfiguration = local.log_options["plumbline"]
    },
  ]
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  tags = var.tags

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn
  container_definitions    = jsonencode(local.containers)
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  volume {
    name = "configuration"
  }

  volume {
    name = "tmp"
  }

  volume {
    name = "data"

    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.this.id
      transit_encryption = "ENABLED"

      authorization_config {
        access_point_id = aws_efs_access_point.this.id
        iam             = "ENABLED"
      }
    }
  }
}

# One task: the data directory is one daemon's, so the old one ends before the new one begins.
resource "aws_ecs_service" "this" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this.arn
  launch_type                        = "FARGATE"
  platform_version                   = "1.4.0"
  desired_count                      = 1
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  health_check_grace_period_seconds  = 120
  availability_zone_rebalancing      = "DISABLED" # it would start a second task first
  enable_execute_command             = false
  enable_ecs_managed_tags            = true
  propagate_tags                     = "SERVICE"
  tags                               = var.tags

  network_configuration {
    subnets          = sort(var.service_subnet_ids)
    security_groups  = [aws_security_group.service.id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "plumbline"
    container_port   = local.port
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  depends_on = [
    aws_efs_file_system_policy.this,
    aws_efs_mount_target.this,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.execution_keys,
    aws_iam_role_policy.task,
    aws_iam_role_policy.task_own,
    aws_lb_listener.this,
    aws_s3_bucket_policy.this,
    aws_s3_object.configuration,
  ]
}
