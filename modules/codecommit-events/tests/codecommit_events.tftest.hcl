mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }
}

variables {
  repositories = ["infra", "shared"]
}

run "events" {
  command = plan

  assert {
    condition = toset(flatten([for r in aws_cloudwatch_event_rule.this : jsondecode(r.event_pattern)["detail-type"]])) == toset([
      "CodeCommit Pull Request State Change", "CodeCommit Comment on Pull Request", "CodeCommit Repository State Change",
    ])
    error_message = "The rules are for other events than Plumbline reads."
  }
  assert {
    condition = alltrue([
      for r in aws_cloudwatch_event_rule.this : jsondecode(r.event_pattern).resources == ["arn:aws:codecommit:eu-west-1:111122223333:infra", "arn:aws:codecommit:eu-west-1:111122223333:shared"]
    ])
    error_message = "The rules take events of other repositories."
  }
}

run "only_these_rules_send" {
  command = plan

  assert {
    condition = alltrue([
      for s in concat(jsondecode(aws_sqs_queue_policy.this.policy).Statement, jsondecode(aws_sqs_queue_policy.dead.policy).Statement) :
      s.Principal == { Service = "events.amazonaws.com" } && s.Action == "sqs:SendMessage" && s.Condition.ArnEquals["aws:SourceArn"] == [
        "arn:aws:events:eu-west-1:111122223333:rule/plumbline-codecommit-comment",
        "arn:aws:events:eu-west-1:111122223333:rule/plumbline-codecommit-pull-request",
        "arn:aws:events:eu-west-1:111122223333:rule/plumbline-codecommit-repository",
      ] if s.Effect == "Allow"
    ])
    error_message = "Somebody else than the rules may send."
  }
  assert {
    condition     = toset([for r in aws_cloudwatch_event_rule.this : r.name]) == toset([for a in jsondecode(aws_sqs_queue_policy.this.policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] : element(split("/", a), 1)])
    error_message = "The policy names other rules than there are."
  }
}

run "readers_only_read" {
  command = plan

  variables {
    readers = ["arn:aws:iam::444455556666:role/plumbline-task"]
  }

  assert {
    condition = [
      for s in jsondecode(aws_sqs_queue_policy.this.policy).Statement : s.Action if s.Sid == "OtherAccountsRead"
    ] == [["sqs:ReceiveMessage", "sqs:DeleteMessage"]]
    error_message = "A reader may do something else than read, or not read."
  }
}

run "refuses_anybody" {
  command = plan
  variables {
    readers = ["*"]
  }
  expect_failures = [var.readers]
}

run "refuses_no_repository" {
  command = plan
  variables {
    repositories = []
  }
  expect_failures = [var.repositories]
}
