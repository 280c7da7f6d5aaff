output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = local.bucket_arn
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the states."
  value       = aws_kms_key.this.arn
}

output "backend" {
  description = "What a stack's backend \"s3\" block has besides its key."
  value = {
    bucket       = aws_s3_bucket.this.id
    region       = data.aws_region.this.region
    encrypt      = true
    kms_key_id   = aws_kms_key.this.arn
    use_lockfile = true
  }
}
