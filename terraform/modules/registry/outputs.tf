output "repository_urls" {
  description = "The address of each repository, by its name."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "repository_arns" {
  description = "The ARN of each repository, by its name."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.arn }
}
