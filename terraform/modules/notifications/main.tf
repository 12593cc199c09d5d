# Two ways to people: a topic for e-mail, and the connection that Airflow's Slack notifier and `mlops notify` read.

resource "aws_sns_topic" "this" {
  name              = var.topic_name
  kms_master_key_id = var.kms_key_id
}

# Publishing takes an identity that may; over plain HTTP nobody may.
resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.this.arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

# Each person confirms by a click in the message AWS sends.
resource "aws_sns_topic_subscription" "email" {
  for_each = var.email_addresses

  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.value
}

# The container only. A value given here would lie in Terraform's state: a person puts it once.
resource "aws_secretsmanager_secret" "slack" {
  name                    = var.slack_secret_name
  description             = "Airflow connection to Slack, as JSON: conn_type slackwebhook, host, password"
  kms_key_id              = var.secret_kms_key_id
  recovery_window_in_days = var.secret_recovery_days
}
