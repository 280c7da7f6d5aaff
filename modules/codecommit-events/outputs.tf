output "queue_url" {
  description = "queue of the forge \"codecommit\" block."
  value       = aws_sqs_queue.this.url
}

output "queue_arn" {
  description = "ARN of the queue, for the policy of whoever reads it."
  value       = local.queue_arn
}

output "kms_key_arn" {
  description = "ARN of the key that whoever reads the queue must be allowed to decrypt with."
  value       = aws_kms_key.this.arn
}
