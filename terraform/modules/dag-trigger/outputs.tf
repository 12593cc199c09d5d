output "function_name" {
  description = "The Lambda's name."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "The Lambda's ARN, for policies of those who call it."
  value       = aws_lambda_function.this.arn
}

output "log_group" {
  description = "The Lambda's log group."
  value       = aws_cloudwatch_log_group.this.name
}
