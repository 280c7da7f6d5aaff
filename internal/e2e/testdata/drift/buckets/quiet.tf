# What differs here is no drift.

resource "minio_s3_bucket" "quiet" {
  bucket = "${var.prefix}-quiet"
}

resource "minio_s3_bucket_policy" "quiet" {
  bucket = minio_s3_bucket.quiet.bucket
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = ["*"] }
      Action    = ["s3:GetObject", "s3:GetObjectTagging"]
      Resource  = ["arn:aws:s3:::${var.prefix}-quiet/*"]
    }]
  })
}

resource "minio_s3_bucket_versioning" "quiet" {
  bucket = minio_s3_bucket.quiet.bucket
  versioning_configuration {
    status = "Enabled"
  }
  lifecycle {
    ignore_changes = [versioning_configuration]
  }
  depends_on = [minio_s3_bucket_policy.quiet]
}

# Its etag and version are only computed.
resource "minio_s3_object" "churn" {
  bucket_name  = minio_s3_bucket.quiet.bucket
  object_name  = "churn.txt"
  content      = "as configured"
  content_type = "text/plain"
  depends_on   = [minio_s3_bucket_versioning.quiet]
}

resource "minio_s3_object" "again" {
  bucket_name  = minio_s3_bucket.quiet.bucket
  object_name  = "again.txt"
  content      = "the same once more"
  content_type = "text/plain"
  depends_on   = [minio_s3_bucket_versioning.quiet]
}

data "minio_s3_object" "churn" {
  bucket_name = minio_s3_object.churn.bucket_name
  object_name = minio_s3_object.churn.object_name
}

output "churn" {
  value = data.minio_s3_object.churn.content
}
