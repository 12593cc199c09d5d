output "execution_role_arn" {
  description = "The role to name in jobs and models."
  value       = aws_iam_role.execution.arn

  # A role without its policy would fail the first job.
  depends_on = [aws_iam_role_policy.execution]
}

output "log_groups" {
  description = "The log groups of jobs and endpoints, by their names."
  value       = { for name, group in aws_cloudwatch_log_group.this : name => group.name }
}

output "model_package_groups" {
  description = "The name of each model's package group, by `<project>/<model>`."
  value       = { for name, group in aws_sagemaker_model_package_group.this : name => group.model_package_group_name }
}
