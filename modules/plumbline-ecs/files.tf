# Plumbline's data directory: what is under way, mirrors of repositories, engines, how far the audit log was seen. It outlives a task, so that what an
# apply did that was cut off is still to be read; one task at a time has it.
resource "aws_efs_file_system" "this" {
  creation_token   = var.name
  encrypted        = true
  kms_key_id       = aws_kms_key.this.arn
  performance_mode = "generalPurpose"
  throughput_mode  = "elastic"
  tags             = merge(var.tags, { Name = var.name })
}

resource "aws_efs_backup_policy" "this" {
  file_system_id = aws_efs_file_system.this.id

  backup_policy {
    status = "ENABLED"
  }
}

resource "aws_efs_file_system_policy" "this" {
  file_system_id = aws_efs_file_system.this.id
  policy         = jsonencode(local.files_policy)

  # AWS refuses a policy that names a role that is not there yet.
  depends_on = [aws_iam_role.task]
}

resource "aws_efs_mount_target" "this" {
  for_each = var.service_subnet_ids

  file_system_id  = aws_efs_file_system.this.id
  subnet_id       = each.value
  security_groups = [aws_security_group.files.id]
}

resource "aws_efs_access_point" "this" {
  file_system_id = aws_efs_file_system.this.id
  tags           = merge(var.tags, { Name = var.name })

  posix_user {
    uid = local.user
    gid = local.user
  }

  root_directory {
    path = "/plumbline"

    creation_info {
      owner_uid   = local.user
      owner_gid   = local.user
      permissions = "0700"
    }
  }
}
