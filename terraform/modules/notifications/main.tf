# Two ways to people: a topic for e-mail, and the connection that Airflow's Slack notifier and `mlops notify` read.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # Known before the topic is, so a plan shows every policy that names it.
  topic_arn = "arn:${local.partition}:sns:${local.region}:${local.account}:${var.topic_name}"
}

resource "aws_sns_topic" "this" {
  name = var.topic_name
  # SNS's own key serves everyone but CloudWatch and Budgets: where those publish, there is a key of ours.
  kms_master_key_id = coalesce(var.kms_key_arn, "alias/aws/sns")
}

# Roles publish by their own policies. Alarms and budgets have no role, so the topic lets them.
resource "aws_sns_topic_policy" "this" {
  arn = aws_sns_topic.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyWithoutTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
        Sid       = "PublishAlarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:*" }
        }
      },
      {
        # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
        Sid       = "PublishBudgets"
        Effect    = "Allow"
        Principal = { Service = "budgets.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = local.topic_arn
        Condition = {
          StringEquals = { "aws:SourceAccount" = local.account }
          ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:budgets::${local.account}:*" }
        }
      },
    ]
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
  #checkov:skip=CKV2_AWS_57: Slack offers no call that makes a new webhook, so a person replaces it
  name                    = var.slack_secret_name
  description             = "Airflow connection to Slack, as JSON: conn_type slackwebhook, host, password"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.secret_recovery_days
}
