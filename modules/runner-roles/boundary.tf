# A boundary grants nothing: what a role may do is what both its policies and its boundary allow. So whole services on every resource are right
# here, and would be wrong in a policy.
locals {
  boundary_policy = {
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "Services"
        Effect   = "Allow"
        Action   = [for s in sort(var.apply_services) : "${s}:*"]
        Resource = "*"
      },
      {
        Sid      = "States"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = concat([var.state.bucket_arn], local.state_objects, local.state_locks)
      },
      local.use_key,
      {
        # These have no resource that they could be narrowed to.
        Sid      = "WhoAmI"
        Effect   = "Allow"
        Action   = ["sts:GetCallerIdentity", "iam:GetAccountSummary", "iam:ListAccountAliases"]
        Resource = "*"
      },
      {
        # The service makes a role of its own when it is used first. AWS writes what that role may do.
        Sid      = "RolesOfServices"
        Effect   = "Allow"
        Action   = ["iam:CreateServiceLinkedRole", "iam:GetRole"]
        Resource = "arn:${local.partition}:iam::${local.account}:role/aws-service-role/*"
      },
      ],
      [for s in local.boundary_iam : s if var.apply_iam_path != null],
      [
        {
          # Whatever the services above allow: nobody frees himself, nor hides what he did.
          Sid      = "NoWayOut"
          Effect   = "Deny"
          Action   = "iam:*"
          Resource = [local.plan_arn, local.apply_arn, local.boundary_arn]
        },
        {
          Sid    = "NoTrailErased"
          Effect = "Deny"
          Action = [
            "cloudtrail:DeleteTrail",
            "cloudtrail:StopLogging",
            "cloudtrail:UpdateTrail",
            "config:DeleteConfigurationRecorder",
            "config:StopConfigurationRecorder",
            "guardduty:DeleteDetector",
            "iam:DeleteRolePermissionsBoundary",
            "iam:DeleteUserPermissionsBoundary",
            "organizations:LeaveOrganization",
          ]
          Resource = "*"
        },
        {
          # The states' bucket and key stay as they are, whichever services are named.
          Sid    = "StatesStay"
          Effect = "Deny"
          Action = [
            "kms:DisableKey",
            "kms:PutKeyPolicy",
            "kms:ScheduleKeyDeletion",
            "s3:DeleteBucket",
            "s3:DeleteBucketPolicy",
            "s3:PutBucketPolicy",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketVersioning",
            "s3:PutEncryptionConfiguration",
            "s3:PutLifecycleConfiguration",
          ]
          Resource = [var.state.bucket_arn, var.state.kms_key_arn]
        },
    ])
  }

  boundary_iam = [
    {
      # A role that the apply role makes can do no more than the apply role itself.
      Sid    = "RolesWithThisBoundary"
      Effect = "Allow"
      Action = [
        "iam:AttachRolePolicy",
        "iam:CreateRole",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:PutRolePermissionsBoundary",
        "iam:PutRolePolicy",
      ]
      Resource  = "arn:${local.partition}:iam::${local.account}:role${coalesce(var.apply_iam_path, "/")}*"
      Condition = { StringEquals = { "iam:PermissionsBoundary" = local.boundary_arn } }
    },
    {
      Sid    = "Roles"
      Effect = "Allow"
      Action = [
        "iam:DeleteRole",
        "iam:GetRole",
        "iam:GetRolePolicy",
        "iam:ListAttachedRolePolicies",
        "iam:ListInstanceProfilesForRole",
        "iam:ListRolePolicies",
        "iam:ListRoleTags",
        "iam:PassRole",
        "iam:TagRole",
        "iam:UntagRole",
        "iam:UpdateAssumeRolePolicy",
        "iam:UpdateRole",
        "iam:UpdateRoleDescription",
      ]
      Resource = "arn:${local.partition}:iam::${local.account}:role${coalesce(var.apply_iam_path, "/")}*"
    },
    {
      Sid    = "Policies"
      Effect = "Allow"
      Action = [
        "iam:CreatePolicy",
        "iam:CreatePolicyVersion",
        "iam:DeletePolicy",
        "iam:DeletePolicyVersion",
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:ListEntitiesForPolicy",
        "iam:ListPolicyTags",
        "iam:ListPolicyVersions",
        "iam:TagPolicy",
        "iam:UntagPolicy",
      ]
      Resource = "arn:${local.partition}:iam::${local.account}:policy${coalesce(var.apply_iam_path, "/")}*"
    },
    {
      Sid    = "Profiles"
      Effect = "Allow"
      Action = [
        "iam:AddRoleToInstanceProfile",
        "iam:CreateInstanceProfile",
        "iam:DeleteInstanceProfile",
        "iam:GetInstanceProfile",
        "iam:RemoveRoleFromInstanceProfile",
        "iam:TagInstanceProfile",
        "iam:UntagInstanceProfile",
      ]
      Resource = "arn:${local.partition}:iam::${local.account}:instance-profile${coalesce(var.apply_iam_path, "/")}*"
    },
  ]
}
