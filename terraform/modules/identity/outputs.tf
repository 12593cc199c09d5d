output "role_arns" {
  description = "The ARN of each role, by its purpose: build, train, deploy, plan, apply."
  value       = { for purpose, role in merge(aws_iam_role.models, aws_iam_role.platform) : purpose => role.arn }
}

output "boundary_arn" {
  description = "The ARN of the policy that bounds every role of the platform."
  value       = aws_iam_policy.boundary.arn
}

output "provider_arn" {
  description = "The ARN of the identity provider that stands for GitLab."
  value       = aws_iam_openid_connect_provider.gitlab.arn
}

output "people_policy" {
  description = "The name of the read-only policy for people."
  value       = aws_iam_policy.people.name
}

output "approvers_policy" {
  description = "The name of the policy for people who approve models."
  value       = aws_iam_policy.approvers.name
}
