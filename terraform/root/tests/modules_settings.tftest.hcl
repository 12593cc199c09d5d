mock_provider "aws" {}

variables {
  settings = {
    environment         = "prod"
    region              = "eu-west-1"
    bucket              = "ml-ops-prod-111122223333"
    execution_role_arn  = "arn:aws:iam::111122223333:role/execution"
    topic_arn           = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
    trigger_function    = "ml-ops-dag-trigger"
    airflow_environment = "ml-ops-prod"
    slack_secret        = "slack"
    log_group_url       = "https://logs.example.com/{group}"
  }
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/settings"
  }

  assert {
    condition     = aws_ssm_parameter.this.name == "/ml-ops/settings" && aws_ssm_parameter.this.type == "String"
    error_message = "The mlops command reads /ml-ops/settings."
  }
  assert {
    condition     = jsondecode(aws_ssm_parameter.this.value) == jsondecode(jsonencode(var.settings)) && jsondecode(aws_ssm_parameter.this.value).channels == {}
    error_message = "The parameter holds the settings as JSON."
  }
}

run "many_channels_fit" {
  command = plan

  module {
    source = "../modules/settings"
  }

  variables {
    settings = {
      environment         = "prod"
      region              = "eu-west-1"
      bucket              = "ml-ops-prod-111122223333"
      execution_role_arn  = "arn:aws:iam::111122223333:role/execution"
      topic_arn           = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
      trigger_function    = "ml-ops-dag-trigger"
      airflow_environment = "ml-ops-prod"
      slack_secret        = "slack"
      log_group_url       = "https://logs.example.com/{group}"
      channels = { for number in range(40) : "team-${number}" => {
        topic_arn    = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications-team-${number}"
        slack_secret = "airflow/connections/slack_team-${number}"
      } }
    }
  }

  assert {
    condition     = length(jsondecode(aws_ssm_parameter.this.value).channels) == 40 && aws_ssm_parameter.this.tier == "Intelligent-Tiering"
    error_message = "Forty channels fit, into an advanced parameter."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/settings"
  }

  variables {
    parameter_name = "ml-ops"
  }

  expect_failures = [var.parameter_name]
}
