output "parameter" {
  description = "The parameter's name."
  value       = aws_ssm_parameter.this.name
}

output "parameter_arn" {
  description = "The parameter's ARN, for policies of those who read it."
  value       = aws_ssm_parameter.this.arn
}
