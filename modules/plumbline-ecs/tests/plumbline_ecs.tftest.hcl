# The provider random is the true one: mocks have no ephemeral resources, and it makes nothing anywhere.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "444455556666" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::444455556666:role/a-role" }
  }
  mock_resource "aws_efs_file_system" {
    defaults = { id = "fs-0123456789abcdef0", arn = "arn:aws:elasticfilesystem:eu-west-1:444455556666:file-system/fs-0123456789abcdef0" }
  }
  mock_resource "aws_efs_access_point" {
    defaults = { id = "fsap-0123456789abcdef0", arn = "arn:aws:elasticfilesystem:eu-west-1:444455556666:access-point/fsap-0123456789abcdef0" }
  }
  mock_resource "aws_db_instance" {
    defaults = { endpoint = "plumbline.cabc.eu-west-1.rds.amazonaws.com:5432" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:plumbline/database-AbCdEf" }
  }
  mock_resource "aws_secretsmanager_secret_version" {
    defaults = { arn = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:plumbline/database-AbCdEf" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:444455556666:loadbalancer/app/plumbline/0123456789abcdef" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:444455556666:targetgroup/plumbline/0123456789abcdef" }
  }
  mock_resource "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-west-1:444455556666:listener/app/plumbline/0123456789abcdef/0123456789abcdef" }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:eu-west-1:444455556666:task-definition/plumbline:1" }
  }
}

variables {
  image                    = "registry.example.com/plumbline:1.0.0"
  configuration            = { "plumbline.hcl" = "auth {}" }
  vpc_id                   = "vpc-0a1b2c3d4e5f67890"
  service_subnet_ids       = ["subnet-1", "subnet-2"]
  database_subnet_ids      = ["subnet-3", "subnet-4"]
  load_balancer_subnet_ids = ["subnet-1", "subnet-2"]
  allowed_cidrs            = ["10.0.0.0/8"]
  hostname                 = "plumbline.example.com"
  certificate_arn          = "arn:aws:acm:eu-west-1:444455556666:certificate/12345678-1234-1234-1234-123456789012"
  database_ca_bundle       = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
}

run "protected" {
  command = plan

  assert {
    condition     = aws_db_instance.this.deletion_protection && aws_lb.this.enable_deletion_protection && !aws_db_instance.this.skip_final_snapshot && aws_s3_bucket.this.force_destroy == false
    error_message = "Something that holds data can be destroyed in one go."
  }
  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_efs_file_system.this.encrypted && aws_kms_key.this.enable_key_rotation
    error_message = "Something is not encrypted, or with a key that does not rotate."
  }
  assert {
    condition     = aws_db_instance.this.publicly_accessible == false && aws_lb.this.internal && !aws_ecs_service.this.network_configuration[0].assign_public_ip
    error_message = "Something is on the Internet that nobody asked to be."
  }
  assert {
    condition     = anytrue([for p in aws_db_parameter_group.this.parameter : p.name == "rds.force_ssl" && p.value == "1"])
    error_message = "The database speaks in clear."
  }
  assert {
    condition     = alltrue([for r in aws_vpc_security_group_ingress_rule.load_balancer : r.from_port == 443 && r.to_port == 443 && r.cidr_ipv4 == "10.0.0.0/8"])
    error_message = "The load balancer lets others in than it was told."
  }
  assert {
    condition     = aws_ecs_service.this.deployment_minimum_healthy_percent == 0 && aws_ecs_service.this.deployment_maximum_percent == 100 && aws_ecs_service.this.desired_count == 1
    error_message = "Two daemons could want one data directory."
  }
}

run "roles_are_narrow" {
  command = plan

  variables {
    runner_role_arns = ["arn:aws:iam::111122223333:role/plumbline-plan"]
    secrets          = { GITLAB_TOKEN = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:forge-AbCdEf:token::" }
  }

  assert {
    condition = alltrue([
      for s in concat(jsondecode(aws_iam_role_policy.task.policy).Statement, jsondecode(aws_iam_role_policy.execution.policy).Statement) :
      !anytrue([for r in flatten([s.Resource]) : r == "*"]) && !anytrue([for a in flatten([s.Action]) : endswith(a, "*")])
    ])
    error_message = "A role may do something to everything, or everything to something."
  }
  assert {
    condition = [
      for s in jsondecode(aws_iam_role_policy.task.policy).Statement : s.Resource if contains(flatten([s.Action]), "sts:AssumeRole")
    ] == [["arn:aws:iam::111122223333:role/plumbline-plan"]]
    error_message = "Plumbline may take other roles than those of its runs."
  }
  assert {
    condition = [
      for s in jsondecode(aws_iam_role_policy.execution.policy).Statement : s.Resource if s.Sid == "Secrets"
      ] == [[
        "arn:aws:secretsmanager:eu-west-1:444455556666:secret:plumbline/database-??????",
        "arn:aws:secretsmanager:eu-west-1:444455556666:secret:forge-AbCdEf",
    ]]
    error_message = "Other secrets are read than those that were named."
  }
}

run "task" {
  command = apply

  variables {
    secrets = { GITLAB_TOKEN = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:forge-AbCdEf:token::" }
  }

  assert {
    condition = alltrue([
      for c in jsondecode(aws_ecs_task_definition.this.container_definitions) : c.readonlyRootFilesystem && c.linuxParameters.capabilities.drop == ["ALL"]
    ])
    error_message = "A container may write to its image, or has capabilities."
  }
  assert {
    condition     = [for c in jsondecode(aws_ecs_task_definition.this.container_definitions) : c.user if c.name == "plumbline"] == ["65532:65532"]
    error_message = "Plumbline runs as root."
  }
  assert {
    condition = [for c in jsondecode(aws_ecs_task_definition.this.container_definitions) : c.secrets if c.name == "plumbline"] == [[
      { name = "PLUMBLINE_DATABASE_PASSWORD", valueFrom = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:plumbline/database-AbCdEf" },
      { name = "GITLAB_TOKEN", valueFrom = "arn:aws:secretsmanager:eu-west-1:444455556666:secret:forge-AbCdEf:token::" },
    ]]
    error_message = "Plumbline gets other secrets than those that were named."
  }
  assert {
    condition     = alltrue([for o in aws_s3_object.configuration : startswith(o.key, "configuration/${local.revision}/")]) && toset(keys(aws_s3_object.configuration)) == toset(["plumbline.hcl", "rds.pem", "server.hcl"])
    error_message = "The configuration is not where the task looks for it."
  }
  assert {
    condition     = strcontains(output.server, "s3://plumbline-444455556666-eu-west-1/artifacts?region=eu-west-1") && strcontains(output.server, "aws-kms://arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab")
    error_message = "What Plumbline seals lies elsewhere, or under another key."
  }
  assert {
    condition     = strcontains(output.server, "postgres://plumbline:$${env(\"PLUMBLINE_DATABASE_PASSWORD\")}@plumbline.cabc.eu-west-1.rds.amazonaws.com:5432/plumbline?sslmode=verify-full&sslrootcert=/etc/plumbline/rds.pem")
    error_message = "Plumbline looks for its database elsewhere, or does not check whom it speaks with."
  }
}

run "sign_in_at_the_load_balancer" {
  command = plan

  variables {
    load_balancer_oidc = {
      issuer                 = "https://sso.example.com"
      authorization_endpoint = "https://sso.example.com/authorize"
      token_endpoint         = "https://sso.example.com/token"
      user_info_endpoint     = "https://sso.example.com/userinfo"
      client_id              = "plumbline"
      client_secret          = "not a secret"
    }
  }

  assert {
    condition     = [for a in aws_lb_listener.this.default_action : a.type] == ["authenticate-oidc", "forward"]
    error_message = "People reach Plumbline before they have signed in."
  }
  assert {
    condition     = length(aws_lb_listener_rule.programs) == 1
    error_message = "Programs would have to sign in on a page."
  }
}

run "refuses_the_world" {
  command = plan
  variables {
    allowed_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.allowed_cidrs]
}

run "refuses_an_image_that_changes" {
  command = plan
  variables {
    image = "registry.example.com/plumbline:latest"
  }
  expect_failures = [var.image]
}

run "refuses_a_server_block" {
  command = plan
  variables {
    configuration = { "plumbline.hcl" = "server {\n}\n" }
  }
  expect_failures = [var.configuration]
}

run "refuses_any_role" {
  command = plan
  variables {
    runner_role_arns = ["arn:aws:iam::111122223333:role/*"]
  }
  expect_failures = [var.runner_role_arns]
}

run "refuses_one_zone" {
  command = plan
  variables {
    database_subnet_ids = ["subnet-3"]
  }
  expect_failures = [var.database_subnet_ids]
}
