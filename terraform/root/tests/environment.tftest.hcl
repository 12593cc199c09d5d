# The root, as a real environment has it.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
}

variables {
  environment         = "prod"
  account_id          = "111122223333"
  region              = "eu-central-1"
  airflow_environment = "companys-own"
  dag_trigger_package = "./tests/package.zip"
  models              = { web-safety = { phishing-url = "models/phishing-url" }, fraud = { card-payments = "models/fraud", chargebacks = "models/fraud" } }
  extra_models        = { fraud = ["refunds"] }
}

# Every plan of the whole root takes seconds: one holds all that can be seen with the same values.
run "beside_a_gitlab_and_an_airflow_of_others" {
  command = plan

  variables {
    channels = { fraud-team = { email_addresses = ["fraud@example.com"] } }
  }

  assert {
    condition     = keys(output.repositories) == ["fraud/card-payments", "fraud/chargebacks", "fraud/refunds", "web-safety/phishing-url"]
    error_message = "Listed and extra models each get a repository."
  }
  assert {
    condition     = local.gitlab_projects == { "fraud/card-payments" = "models/fraud", "fraud/chargebacks" = "models/fraud", "web-safety/phishing-url" = "models/phishing-url" }
    error_message = "A listed model is its GitLab project's; an extra one is nobody's."
  }
  assert {
    condition     = length(module.encryption) == 1 && local.kms_key_arn != null
    error_message = "A real environment has a key of its own, known to be there before it is."
  }
  assert {
    condition     = output.slack_secrets == { fraud-team = "airflow/connections/slack_fraud-team" } && output.topic_arn == "arn:aws:sns:eu-central-1:111122223333:ml-ops-notifications"
    error_message = "Each channel gets a secret beside the default one, whose topic keeps its name."
  }
  assert {
    condition     = module.channels["fraud-team"].topic_arn == "arn:aws:sns:eu-central-1:111122223333:ml-ops-notifications-fraud-team"
    error_message = "And a topic that roles may publish to, because of its name."
  }
  assert {
    condition     = length(module.network) == 0 && length(module.airflow) == 0 && output.airflow_environment == "companys-own" && output.airflow_url == "" && output.network == null
    error_message = "Nothing is made where an MWAA environment is there."
  }
  assert {
    condition     = length(output.role_arns) == 0 && length(module.identity) == 0
    error_message = "Without a GitLab, no job takes a role."
  }
}

run "quick_leaves_out_what_takes_long" {
  command = plan

  variables {
    quick = true
  }

  assert {
    condition     = length(module.encryption) == 0 && local.kms_key_arn == null && module.dag_trigger.failed_events_queue == null && module.storage.access_log_bucket == null
    error_message = "No key, no queue and no bucket of logs in the local stack."
  }
}

run "refuses_bad_values" {
  command = plan

  variables {
    environment         = "Prod"
    account_id          = "1"
    region              = "Frankfurt"
    models              = { web-safety = { Phishing = "models/*" } }
    extra_models        = { a-project-with-a-long-name = ["and-a-long-model-name"] }
    dag_trigger_package = "./no.zip"
    email_addresses     = ["team"]
    log_group_url       = "https://logs.example.com/"
    log_retention_days  = 8
    channels            = { default = {}, "Fraud team" = {} }

    log_destination_arn    = "arn:aws:s3:::logs"
    metric_destination_arn = "arn:aws:kinesis:eu-central-1:111122223333:stream/metrics"
  }

  expect_failures = [
    var.environment,
    var.account_id,
    var.region,
    var.models,
    var.extra_models,
    var.dag_trigger_package,
    var.email_addresses,
    var.log_group_url,
    var.log_retention_days,
    var.channels,
    var.log_destination_arn,
    var.metric_destination_arn,
  ]
}
