# Policies are made from names wherever there is one, so that plans and tests show them in full.
locals {
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"
  root_arn   = "arn:${local.partition}:iam::${local.account}:root"

  tasks_trust = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TasksOfThisAccount"
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:ecs:${local.region}:${local.account}:*" }
      }
    }]
  }

  # What the CodeCommit forge asks for: docs/forges.md.
  codecommit_actions = var.codecommit == null ? [] : concat(
    [
      "codecommit:DeleteCommentContent",
      "codecommit:DescribePullRequestEvents",
      "codecommit:GetCommentsForPullRequest",
      "codecommit:GetMergeConflicts",
      "codecommit:GetPullRequest",
      "codecommit:GetPullRequestApprovalStates",
      "codecommit:GitPull",
      "codecommit:ListPullRequests",
      "codecommit:PostCommentForPullRequest",
      "codecommit:PutCommentReaction",
      "codecommit:UpdateComment",
    ],
    var.codecommit.promote ? [
      "codecommit:CreatePullRequest",
      "codecommit:GitPush",
      "codecommit:UpdatePullRequestDescription",
      "codecommit:UpdatePullRequestTitle",
    ] : [],
    var.codecommit.approve ? ["codecommit:UpdatePullRequestApprovalState"] : [],
  )

  task_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          # Of all of it: to whoever may not list, S3 says 403 in place of 404 of what is not there.
          Sid      = "ListBucket"
          Effect   = "Allow"
          Action   = "s3:ListBucket"
          Resource = local.bucket_arn
        },
        {
          Sid      = "Artifacts"
          Effect   = "Allow"
          Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
          Resource = "${local.bucket_arn}/artifacts/*"
        },
        {
          Sid      = "ReadConfiguration"
          Effect   = "Allow"
          Action   = "s3:GetObject"
          Resource = "${local.bucket_arn}/configuration/*"
        },
      ],
      [
        for arns in [sort(var.runner_role_arns)] : {
          Sid      = "RolesOfRuns"
          Effect   = "Allow"
          Action   = ["sts:AssumeRole", "sts:TagSession"]
          Resource = arns
        } if length(arns) > 0
      ],
      [
        for c in var.codecommit[*] : {
          Sid      = "Repositories"
          Effect   = "Allow"
          Action   = local.codecommit_actions
          Resource = sort(c.repository_arns)
        }
      ],
      [
        for arns in [sort(var.notify_topic_arns)] : {
          Sid      = "Notices"
          Effect   = "Allow"
          Action   = "sns:Publish"
          Resource = arns
        } if length(arns) > 0
      ],
      [
        for arn in var.events_queue_arn[*] : {
          Sid      = "Events"
          Effect   = "Allow"
          Action   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
          Resource = arn
        }
      ],
    )
  }

  task_own_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "KeyOfBucket"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = aws_kms_key.this.arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${local.region}.amazonaws.com" } }
      },
      {
        # Plumbline seals what it keeps before it gives it to S3, under a key that this one wraps.
        Sid       = "KeyOfArtifacts"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = aws_kms_key.this.arn
        Condition = { StringEquals = { "kms:EncryptionContext:plumbline" = "artifacts" } }
      },
      {
        Sid       = "Files"
        Effect    = "Allow"
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        Resource  = aws_efs_file_system.this.arn
        Condition = { StringEquals = { "elasticfilesystem:AccessPointArn" = aws_efs_access_point.this.arn } }
      },
    ]
  }

  # AWS ends a secret's ARN with six characters of its own choice.
  database_secret_arn = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:${var.name}/database-??????"
  secret_arns         = [for a in distinct(values(var.secrets)) : join(":", slice(split(":", a), 0, 7)) if strcontains(a, ":secretsmanager:")]
  parameter_arns      = [for a in distinct(values(var.secrets)) : a if strcontains(a, ":ssm:")]

  execution_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "Logs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"
        },
        {
          Sid      = "Secrets"
          Effect   = "Allow"
          Action   = "secretsmanager:GetSecretValue"
          Resource = concat([local.database_secret_arn], sort(local.secret_arns))
        },
      ],
      [
        for arns in [sort(local.parameter_arns)] : {
          Sid      = "Parameters"
          Effect   = "Allow"
          Action   = "ssm:GetParameters"
          Resource = arns
        } if length(arns) > 0
      ],
      flatten([
        for arn in var.image_repository_arn[*] : [
          {
            Sid      = "Image"
            Effect   = "Allow"
            Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
            Resource = arn
          },
          {
            # It has no resource that it could be narrowed to.
            Sid      = "SignInToRegistry"
            Effect   = "Allow"
            Action   = "ecr:GetAuthorizationToken"
            Resource = "*"
          },
        ]
      ]),
    )
  }

  execution_keys_policy = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "KeysOfSecrets"
      Effect    = "Allow"
      Action    = "kms:Decrypt"
      Resource  = concat([aws_kms_key.this.arn], sort(var.secret_key_arns))
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.${local.region}.amazonaws.com", "ssm.${local.region}.amazonaws.com"] } }
    }]
  }

  bucket_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "OnlyTLS12"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  }

  # In policies of a file system and of a key "*" is the file system and the key.
  files_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Plumbline"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:role/${var.name}-task" }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        Resource  = "*"
        Condition = { Bool = { "elasticfilesystem:AccessedViaMountTarget" = "true" } }
      },
      {
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "*"
        Resource  = "*"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  }

  key_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        # Without it nobody could ever change this policy again. It grants nothing by itself: what a role may do with the key stands in the
        # role's own policies.
        Sid       = "AccountDecides"
        Effect    = "Allow"
        Principal = { AWS = local.root_arn }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        Resource  = "*"
        Condition = {
          ArnEquals = {
            "kms:EncryptionContext:aws:logs:arn" = [for g in [local.log_group, local.db_log] : "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${g}"]
          }
        }
      },
    ]
  }
}
