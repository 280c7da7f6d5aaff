output "url" {
  description = "Where people find Plumbline."
  value       = "https://${var.hostname}"
}

output "load_balancer" {
  description = "Name and zone of the load balancer, for a record of your own."
  value       = { dns_name = aws_lb.this.dns_name, zone_id = aws_lb.this.zone_id }
}

output "task_role_arn" {
  description = "Role that Plumbline runs with: daemon_role_arns of runner-roles."
  value       = aws_iam_role.task.arn
}

output "service_security_group_id" {
  description = "Security group of Plumbline, for whoever it shall reach."
  value       = aws_security_group.service.id
}

output "log_group" {
  description = "Log group of Plumbline."
  value       = aws_cloudwatch_log_group.this.name
}

output "kms_key_arn" {
  description = "The key of everything here."
  value       = aws_kms_key.this.arn
}

output "server" {
  description = "The server block that the module wrote."
  value       = local.server
}
