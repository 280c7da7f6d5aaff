# The bucket holds what Plumbline seals, under artifacts/, and its configuration, under configuration/.
#
# The configuration lies under the hash of all of it. So another configuration is another task definition, which ECS rolls out, and
# back when Plumbline does not come up with it.
locals {
  server = <<-HCL
    # Written by the module plumbline-ecs.
    server {
      listen     = "0.0.0.0:${local.port}"
      public_url = "https://${var.hostname}"
      data_dir   = "/var/lib/plumbline"
      database   = "postgres://${aws_db_instance.this.username}:$${env("PLUMBLINE_DATABASE_PASSWORD")}@${aws_db_instance.this.endpoint}/${aws_db_instance.this.db_name}?sslmode=verify-full&sslrootcert=/etc/plumbline/rds.pem"
      artifacts  = "s3://${local.bucket}/artifacts?region=${local.region}"
      encryption = "aws-kms://${aws_kms_key.this.arn}"
      node       = "${var.name}"
      workers    = ${coalesce(var.workers, max(1, floor(var.memory / 2048)))}
    }
  HCL

  files    = merge(var.configuration, { "server.hcl" = local.server, "rds.pem" = var.database_ca_bundle })
  revision = substr(sha256(jsonencode(local.files)), 0, 16)
}

resource "aws_s3_bucket" "this" {
  bucket        = local.bucket
  force_destroy = !var.deletion_protection
  tags          = var.tags
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket_versioning.this.bucket

  rule {
    id     = "earlier-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 90
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode(local.bucket_policy)

  # A policy and the block of public access cannot be put in place at once: AWS answers with a conflict.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_object" "configuration" {
  for_each = toset(concat(["server.hcl", "rds.pem"], keys(var.configuration)))

  bucket       = aws_s3_bucket_server_side_encryption_configuration.this.bucket
  key          = "configuration/${local.revision}/${each.key}"
  content      = local.files[each.key]
  content_type = "text/plain"
  tags         = var.tags

  # A task that starts meanwhile still finds the earlier ones.
  lifecycle {
    create_before_destroy = true
  }
}
