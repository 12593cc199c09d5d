mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/notifications"
  }

  variables {
    topic_name      = "ml-ops-notifications"
    email_addresses = ["team@example.com"]
  }

  assert {
    condition     = aws_sns_topic.this.kms_master_key_id == "alias/aws/sns"
    error_message = "Messages must be encrypted."
  }
  assert {
    condition     = output.topic_arn == "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
    error_message = "The ARN is known before the topic is."
  }
  assert {
    condition     = aws_sns_topic_subscription.email["team@example.com"].protocol == "email"
    error_message = "Every address gets an e-mail subscription."
  }
  assert {
    condition = jsondecode(aws_sns_topic_policy.this.policy).Statement == [
      {
        Sid       = "DenyWithoutTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "PublishAlarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
        Condition = {
          StringEquals = { "aws:SourceAccount" = "111122223333" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:*" }
        }
      },
      {
        Sid       = "PublishBudgets"
        Effect    = "Allow"
        Principal = { Service = "budgets.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
        Condition = {
          StringEquals = { "aws:SourceAccount" = "111122223333" }
          ArnLike      = { "aws:SourceArn" = "arn:aws:budgets::111122223333:*" }
        }
      },
    ]
    error_message = "Only TLS may reach the topic; of AWS's services, alarms and budgets of this account."
  }
  assert {
    condition     = aws_secretsmanager_secret.slack.name == "airflow/connections/slack" && aws_secretsmanager_secret.slack.recovery_window_in_days == 30
    error_message = "The secret lies where Airflow looks for it, and can be restored."
  }
}

run "own_key" {
  command = plan

  module {
    source = "../modules/notifications"
  }

  variables {
    topic_name  = "ml-ops-notifications"
    kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
  }

  assert {
    condition     = toset([aws_sns_topic.this.kms_master_key_id, aws_secretsmanager_secret.slack.kms_key_id]) == toset([var.kms_key_arn])
    error_message = "A key that is given must be used: alarms cannot publish with SNS's own."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/notifications"
  }

  variables {
    topic_name           = "ml ops"
    email_addresses      = ["team"]
    slack_secret_name    = "slack"
    secret_recovery_days = 3
    kms_key_arn          = "alias/mine"
  }

  expect_failures = [
    var.topic_name,
    var.email_addresses,
    var.slack_secret_name,
    var.secret_recovery_days,
    var.kms_key_arn,
  ]
}
