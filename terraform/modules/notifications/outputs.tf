output "topic_arn" {
  description = "The SNS topic's ARN."
  value       = aws_sns_topic.this.arn
}

output "slack_secret" {
  description = "The name of the Slack connection's secret, whose value a person puts."
  value       = aws_secretsmanager_secret.slack.name
}

output "slack_secret_arn" {
  description = "The ARN of the Slack connection's secret."
  value       = aws_secretsmanager_secret.slack.arn
}
