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
}

variables {
  bucket = "acme-terraform-states"
}

run "private_by_default" {
  command = plan

  assert {
    condition     = alltrue([for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Effect == "Deny"])
    error_message = "Without readers and writers the bucket's policy lets somebody in."
  }
  assert {
    condition     = length(jsondecode(aws_kms_key.this.policy).Statement) == 1
    error_message = "Without readers and writers the key's policy has more than the account's statement."
  }
  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_s3_bucket.this.force_destroy == false
    error_message = "The key does not rotate, or the states can be destroyed with the bucket."
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Earlier states are not kept."
  }
  assert {
    condition     = length(aws_s3_bucket_logging.this) == 0
    error_message = "There is an access log that nobody asked for."
  }
}

run "readers_never_write_states" {
  command = plan

  variables {
    readers = {
      production-plan = { role_arn = "arn:aws:iam::111122223333:role/plumbline-plan", keys = ["production/*"] }
    }
  }

  assert {
    condition = alltrue(flatten([
      for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : [
        for r in flatten([s.Resource]) : endswith(r, "/production/*.tflock")
      ] if s.Effect == "Allow" && contains(flatten([s.Action]), "s3:PutObject")
    ]))
    error_message = "A reader may write more than locks."
  }
  assert {
    condition = anytrue([
      for s in jsondecode(aws_kms_key.this.policy).Statement : try(s.Condition.StringEquals["kms:ViaService"], "") == "s3.eu-west-1.amazonaws.com"
    ])
    error_message = "The key's policy does not let the reader in, or not only through S3."
  }
}

run "writers_write_their_own_states" {
  command = plan

  variables {
    writers = {
      apply = { role_arn = "arn:aws:iam::111122223333:role/plumbline-apply", keys = ["production/*", "shared/dns"] }
    }
  }

  assert {
    condition = toset(flatten([
      for s in jsondecode(aws_s3_bucket_policy.this.policy).Statement : s.Resource
      if s.Effect == "Allow" && s.Sid == "WriteApply"
    ])) == toset(["arn:aws:s3:::acme-terraform-states/production/*", "arn:aws:s3:::acme-terraform-states/shared/dns"])
    error_message = "A writer may write other states than its own."
  }
}

run "refuses_dots" {
  command = plan
  variables {
    bucket = "acme.states"
  }
  expect_failures = [var.bucket]
}

run "refuses_anybody" {
  command = plan
  variables {
    writers = {
      all = { role_arn = "*", keys = ["*"] }
    }
  }
  expect_failures = [var.writers]
}

run "refuses_a_whole_account" {
  command = plan
  variables {
    readers = {
      all = { role_arn = "arn:aws:iam::111122223333:role/*", keys = ["*"] }
    }
  }
  expect_failures = [var.readers]
}
