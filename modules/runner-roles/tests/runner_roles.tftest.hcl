mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  daemon_role_arns = ["arn:aws:iam::444455556666:role/plumbline-task"]
  external_id      = "plumbline-6f1d0c"
  repositories     = ["infra"]
  environments     = ["production"]
  state = {
    bucket_arn  = "arn:aws:s3:::acme-terraform-states"
    kms_key_arn = "arn:aws:kms:eu-west-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    keys        = ["production/*", "shared/dns"]
  }
  apply_policy_arns = { stacks = "arn:aws:iam::111122223333:policy/stacks" }
  apply_services    = ["ec2", "s3"]
}

run "trust" {
  command = plan

  assert {
    condition = alltrue([
      for s in concat(jsondecode(aws_iam_role.plan.assume_role_policy).Statement, jsondecode(aws_iam_role.apply.assume_role_policy).Statement) :
      s.Principal == { AWS = ["arn:aws:iam::444455556666:role/plumbline-task"] }
    ])
    error_message = "Somebody else than Plumbline may have a role."
  }
  assert {
    condition = alltrue([
      for s in concat(jsondecode(aws_iam_role.plan.assume_role_policy).Statement, jsondecode(aws_iam_role.apply.assume_role_policy).Statement) :
      s.Condition.StringEquals["sts:ExternalId"] == "plumbline-6f1d0c" && (
        s.Sid == "PlumblineAsksWho" ? s.Condition.StringEquals["sts:RoleSessionName"] == ["plumbline-who"] : s.Condition.StringLike["sts:RoleSessionName"] == "plumbline-run-*"
      ) if s.Action == "sts:AssumeRole"
    ])
    error_message = "A role can be had without the external ID, or under another name than a run's."
  }
  assert {
    condition = alltrue([
      for s in concat(jsondecode(aws_iam_role.plan.assume_role_policy).Statement, jsondecode(aws_iam_role.apply.assume_role_policy).Statement) :
      s.Condition.StringEquals["aws:RequestTag/repository"] == ["infra"] && s.Condition.StringEquals["aws:RequestTag/environment"] == ["production"]
      if s.Sid != "PlumblineAsksWho"
    ])
    error_message = "A run of another repository or environment may have a role."
  }
  assert {
    condition = alltrue([
      for s in jsondecode(aws_iam_role.apply.assume_role_policy).Statement :
      toset(s.Condition.StringEquals["aws:RequestTag/kind"]) == toset(["deploy", "destroy"])
    ])
    error_message = "A proposal or a drift check may have the apply role."
  }
  assert {
    condition = length([
      for s in jsondecode(aws_iam_role.plan.assume_role_policy).Statement : s
      if s.Action == "sts:TagSession" && toset(try(s.Condition["ForAllValues:StringEquals"]["aws:TagKeys"], [])) == toset(["repository", "environment", "stack", "commit", "kind"])
    ]) == 1
    error_message = "Sessions cannot be tagged, or with other tags than Plumbline's."
  }
}

run "plan_reads" {
  command = plan

  assert {
    condition     = [for a in aws_iam_role_policy_attachment.plan : a.policy_arn] == ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
    error_message = "The plan role has something else than ReadOnlyAccess."
  }
  assert {
    condition = toset(flatten([
      for s in jsondecode(aws_iam_role_policy.plan.policy).Statement : s.Resource
      if s.Effect == "Allow" && contains(flatten([s.Action]), "s3:PutObject")
      ])) == toset([
      "arn:aws:s3:::acme-terraform-states/production/*.tflock",
      "arn:aws:s3:::acme-terraform-states/shared/dns.tflock",
    ])
    error_message = "The plan role may write something else than its locks."
  }
  assert {
    condition = anytrue([
      for s in jsondecode(aws_iam_role_policy.plan.policy).Statement :
      s.Effect == "Deny" && contains(flatten([s.Action]), "s3:GetObject") && contains(try(s.NotResource, []), "arn:aws:s3:::acme-terraform-states/production/*")
    ])
    error_message = "The plan role reads every object there is."
  }
  assert {
    condition = anytrue([
      for s in jsondecode(aws_iam_role_policy.plan.policy).Statement :
      s.Effect == "Deny" && contains(flatten([s.Action]), "secretsmanager:GetSecretValue")
    ])
    error_message = "The plan role reads secrets."
  }
}

run "apply_is_bound" {
  command = apply

  assert {
    condition     = aws_iam_role.apply.permissions_boundary == aws_iam_policy.boundary.arn && aws_iam_role.plan.permissions_boundary == null
    error_message = "The apply role is without its boundary."
  }
  assert {
    condition = alltrue([
      for s in jsondecode(aws_iam_policy.boundary.policy).Statement :
      !anytrue([for a in flatten([s.Action]) : a == "*" || a == "iam:*"]) if s.Effect == "Allow"
    ])
    error_message = "The boundary allows everything, or all of IAM."
  }
  assert {
    condition = !anytrue([
      for s in jsondecode(aws_iam_policy.boundary.policy).Statement : contains(flatten([s.Action]), "iam:CreateRole") if s.Effect == "Allow"
    ])
    error_message = "Without apply_iam_path the apply role may make roles."
  }
  assert {
    condition = anytrue([
      for s in jsondecode(aws_iam_policy.boundary.policy).Statement :
      s.Effect == "Deny" && s.Action == "iam:*" && toset(flatten([s.Resource])) == toset([
        "arn:aws:iam::111122223333:role/plumbline-plan",
        "arn:aws:iam::111122223333:role/plumbline-apply",
        "arn:aws:iam::111122223333:policy/plumbline-boundary",
      ])
    ])
    error_message = "The apply role may change its own boundary or roles."
  }
}

run "roles_of_stacks_have_the_boundary" {
  command = plan

  variables {
    apply_iam_path = "/workloads/"
  }

  assert {
    condition = alltrue([
      for s in jsondecode(aws_iam_policy.boundary.policy).Statement :
      s.Condition.StringEquals["iam:PermissionsBoundary"] == "arn:aws:iam::111122223333:policy/plumbline-boundary" && s.Resource == "arn:aws:iam::111122223333:role/workloads/*"
      if s.Effect == "Allow" && anytrue([for a in ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"] : contains(flatten([s.Action]), a)])
    ])
    error_message = "A stack may make a role that can do more than the apply role."
  }
}

run "refuses_anybody" {
  command = plan
  variables {
    daemon_role_arns = ["*"]
  }
  expect_failures = [var.daemon_role_arns]
}

run "refuses_every_state" {
  command = plan
  variables {
    state = { bucket_arn = "arn:aws:s3:::a-bucket", kms_key_arn = "arn:aws:kms:eu-west-1:444455556666:key/x", keys = ["*"] }
  }
  expect_failures = [var.state]
}

run "refuses_a_plan_role_that_writes" {
  command = plan
  variables {
    plan_policy_arns = { stacks = "arn:aws:iam::aws:policy/AmazonS3FullAccess" }
  }
  expect_failures = [var.plan_policy_arns]
}

run "refuses_an_administrator" {
  command = plan
  variables {
    apply_policy_arns = { stacks = "arn:aws:iam::aws:policy/AdministratorAccess" }
  }
  expect_failures = [var.apply_policy_arns]
}

run "refuses_iam_as_a_service" {
  command = plan
  variables {
    apply_services = ["ec2", "iam"]
  }
  expect_failures = [var.apply_services]
}

run "refuses_roles_that_could_change_these" {
  command = plan
  variables {
    path           = "/workloads/plumbline/"
    apply_iam_path = "/workloads/"
  }
  expect_failures = [var.apply_iam_path]
}
