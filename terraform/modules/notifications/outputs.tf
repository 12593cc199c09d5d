output "topic_arn" {
  description = "The SNS topic's ARN."
  value       = local.topic_arn

  # Who publishes before the topic's policy is there is refused.
  depends_on = [aws_sns_topic.this, aws_sns_topic_policy.this]
}

output "slack_secret" {
  description = "The name of the Slack connection's secret, whose value a person puts."
  value       = aws_secretsmanager_secret.slack.name
}

output "slack_secret_arn" {
  description = "The ARN of the Slack connection's secret."
  value       = aws_secretsmanager_secret.slack.arn
}
