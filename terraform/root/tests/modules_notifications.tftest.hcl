mock_provider "aws" {
  mock_resource "aws_sns_topic" {
    override_during = plan
    defaults        = { arn = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications" }
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
    condition     = aws_sns_topic_subscription.email["team@example.com"].protocol == "email"
    error_message = "Every address gets an e-mail subscription."
  }
  assert {
    condition = jsondecode(aws_sns_topic_policy.this.policy).Statement == [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sns:Publish"
      Resource  = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "Only TLS may reach the topic."
  }
  assert {
    condition     = aws_secretsmanager_secret.slack.name == "airflow/connections/slack" && aws_secretsmanager_secret.slack.recovery_window_in_days == 30
    error_message = "The secret lies where Airflow looks for it, and can be restored."
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
    kms_key_id           = ""
  }

  expect_failures = [
    var.topic_name,
    var.email_addresses,
    var.slack_secret_name,
    var.secret_recovery_days,
    var.kms_key_id,
  ]
}
