terraform {
  backend "s3" {
    bucket                      = "tfstate"
    key                         = "@PREFIX@/buckets.tfstate"
    region                      = "us-east-1"
    endpoints                   = { s3 = "http://@S3@" }
    use_path_style              = true
    use_lockfile                = true
    skip_credentials_validation = true
    skip_metadata_api_check     = true
    skip_requesting_account_id  = true
    skip_region_validation      = true
  }
  required_providers {
    minio = { source = "aminueza/minio" }
  }
}

variable "prefix" { type = string }

resource "minio_s3_bucket" "logs" {
  bucket = "${var.prefix}-logs"
}

resource "minio_s3_bucket_versioning" "logs" {
  bucket = minio_s3_bucket.logs.bucket
  versioning_configuration {
    status = "Enabled"
  }
}

resource "minio_ilm_policy" "logs" {
  bucket = minio_s3_bucket.logs.bucket
  rule {
    id         = "expire"
    expiration = "7d"
  }
  # MinIO may lose one of two settings of a bucket that are made at the same time.
  depends_on = [minio_s3_bucket_versioning.logs]
}

resource "minio_s3_bucket" "site" {
  bucket = "${var.prefix}-site"
}

resource "minio_s3_bucket_policy" "site" {
  bucket = minio_s3_bucket.site.bucket
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = ["*"] }
      Action    = ["s3:GetObject"]
      Resource  = ["arn:aws:s3:::${var.prefix}-site/*"]
    }]
  })
}

resource "minio_s3_object" "page" {
  bucket_name  = minio_s3_bucket.site.bucket
  object_name  = "index.html"
  content      = "<p>shop</p>"
  content_type = "text/html"
}

resource "minio_s3_object" "notice" {
  bucket_name  = minio_s3_bucket.site.bucket
  object_name  = "notice.txt"
  content      = "open from nine"
  content_type = "text/plain"
}

resource "minio_s3_bucket" "spare" {
  bucket = "${var.prefix}-spare"
}
