output "queue_url" {
  description = "queue of the forge \"codecommit\" block."
  value       = aws_sqs_queue.this.url
}

output "queue_arn" {
  description = "ARN of the queue: events_queue_arn of plumbline-ecs."
  value       = local.queue_arn
}
