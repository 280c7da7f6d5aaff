output "plan_role_arn" {
  description = "plan_role of the environment's aws block."
  value       = aws_iam_role.plan.arn
}

output "apply_role_arn" {
  description = "apply_role of the environment's aws block."
  value       = aws_iam_role.apply.arn
}

output "external_id" {
  description = "external_id of the environment's aws block."
  value       = var.external_id
}

output "boundary_arn" {
  description = "The boundary, which roles that stacks make must have."
  value       = aws_iam_policy.boundary.arn
}
