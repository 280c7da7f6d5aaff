terraform {
  backend "s3" {
    bucket                      = "tfstate"
    key                         = "@PREFIX@/far.tfstate"
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

resource "minio_s3_bucket" "forgotten" {
  bucket = "${var.prefix}-forgotten"
}

resource "minio_s3_bucket" "far" {
  bucket = "${var.prefix}-far"
}

resource "minio_s3_bucket_versioning" "elsewhere" {
  bucket = minio_s3_bucket.far.bucket
  versioning_configuration {
    status = "Enabled"
  }
}
