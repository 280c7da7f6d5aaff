locals {
  state_objects = [for k in sort(var.state.keys) : "${var.state.bucket_arn}/${k}"]
  state_locks   = [for k in sort(var.state.keys) : "${var.state.bucket_arn}/${k}.tflock"]

  list_states = {
    # Not narrowed to the keys: the backend lists workspaces wherever it begins, and to whoever may not list S3 says 403 in place of 404 of a
    # state that is not there yet.
    Sid      = "ListStates"
    Effect   = "Allow"
    Action   = "s3:ListBucket"
    Resource = var.state.bucket_arn
  }

  lock_states = {
    # use_lockfile: the lock of KEY is the object KEY.tflock.
    Sid      = "LockStates"
    Effect   = "Allow"
    Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    Resource = local.state_locks
  }

  use_key = {
    # The lock is encrypted too, hence GenerateDataKey for whoever only plans.
    Sid      = "KeyOfStates"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = var.state.kms_key_arn
  }

  plan_policy = {
    Version = "2012-10-17"
    Statement = [
      local.list_states,
      {
        Sid      = "ReadStates"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = local.state_objects
      },
      local.lock_states,
      local.use_key,
      {
        # ReadOnlyAccess reads every object of every bucket.
        Sid         = "NoOtherObjects"
        Effect      = "Deny"
        Action      = ["s3:GetObject", "s3:GetObjectVersion"]
        NotResource = concat(local.state_objects, local.state_locks, sort(var.plan_readable_objects))
      },
      {
        # A merge request's plan can send what it reads to anybody.
        Sid      = "NoData"
        Effect   = "Deny"
        Action   = sort(var.plan_denied_actions)
        Resource = "*"
      },
    ]
  }

  apply_policy = {
    Version = "2012-10-17"
    Statement = [
      local.list_states,
      {
        Sid      = "WriteStates"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = local.state_objects
      },
      local.lock_states,
      local.use_key,
    ]
  }
}
