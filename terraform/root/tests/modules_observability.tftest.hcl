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
  mock_resource "aws_cloudwatch_log_group" {
    override_during = plan
    defaults        = { arn = "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/events/ml-ops-sagemaker" }
  }
  mock_resource "aws_cloudwatch_event_rule" {
    override_during = plan
    defaults        = { arn = "arn:aws:events:eu-west-1:111122223333:rule/ml-ops-sagemaker-states" }
  }
  mock_resource "aws_cloudwatch_metric_alarm" {
    override_during = plan
    defaults        = { arn = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:one" }
  }
}

variables {
  name             = "ml-ops"
  models           = { "web-safety/phishing-url" = "web-safety--phishing-url", "fraud/cards" = "fraud--cards" }
  topic_arn        = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
  trigger_function = "ml-ops-dag-trigger"
}

run "models" {
  command = plan

  module {
    source = "../modules/observability"
  }

  assert {
    condition = output.model_alarms["web-safety/phishing-url"] == [
      "ml-ops-web-safety--phishing-url-errors",
      "ml-ops-web-safety--phishing-url-unanswered",
      "ml-ops-web-safety--phishing-url-latency",
      "ml-ops-web-safety--phishing-url-memory",
    ]
    error_message = "The names of alarms are what docs/operate/observability.md says: deployments refer to them."
  }
  assert {
    condition = alltrue([
      for alarm in flatten([for kind in ["errors", "unanswered", "latency", "memory"] : values(module.model_alarm[kind].alarms)]) : alarm.treat_missing_data == "notBreaching" && alarm.alarm_actions == toset([var.topic_arn]) && alarm.ok_actions == toset([var.topic_arn])
    ])
    error_message = "A model that is not deployed raises no alarm; one that is announces the alarm and its end."
  }
  assert {
    condition     = [for alarm in values(module.model_alarm["drift"].alarms) : alarm.alarm_name] == ["ml-ops-drift-fraud--cards", "ml-ops-drift-web-safety--phishing-url"]
    error_message = "A model's drift alarm has the name that lambda_trigger/events.py and due.py know."
  }
  assert {
    condition     = alltrue([for alarm in values(module.model_alarm["drift"].alarms) : alarm.treat_missing_data == "notBreaching" && length(alarm.alarm_actions == null ? [] : alarm.alarm_actions) == 0 && length(alarm.dimensions) == 1])
    error_message = "Without a run there is no drift; the DAG tells the channels, EventBridge hears of the alarm by itself."
  }
  assert {
    condition     = module.model_alarm["errors"].alarms["fraud/cards"].dimensions == tomap({ EndpointName = "fraud--cards", VariantName = "AllTraffic" })
    error_message = "An alarm watches its own model's endpoint."
  }
  assert {
    condition     = module.model_alarm["latency"].alarms["fraud/cards"].threshold == 1000000 && module.model_alarm["latency"].alarms["fraud/cards"].extended_statistic == "p99"
    error_message = "SageMaker counts latency in microseconds."
  }
  assert {
    condition     = keys(output.model_dashboard_urls) == ["fraud/cards", "web-safety/phishing-url"] && endswith(output.model_dashboard_urls["fraud/cards"], "#dashboards/dashboard/ml-ops-fraud--cards")
    error_message = "Every model has a dashboard."
  }
  assert {
    condition     = length(module.airflow_alarm["scheduler"].alarms) == 0 && length(module.airflow_alarm["failed_runs"].alarms) == 0 && !strcontains(aws_cloudwatch_dashboard.platform.dashboard_body, "AmazonMWAA")
    error_message = "Without Airflow nothing of it is watched."
  }
  assert {
    condition = jsondecode(aws_cloudwatch_log_resource_policy.states.policy_document).Statement[0] == {
      Sid       = "KeepStates"
      Effect    = "Allow"
      Principal = { Service = ["delivery.logs.amazonaws.com", "events.amazonaws.com"] }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/events/ml-ops-sagemaker:*"
      Condition = { ArnEquals = { "aws:SourceArn" = "arn:aws:events:eu-west-1:111122223333:rule/ml-ops-sagemaker-states" } }
    }
    error_message = "EventBridge may write this log for this rule, and no other."
  }
}

run "airflow" {
  command = plan

  module {
    source = "../modules/observability"
  }

  variables {
    airflow_environment = "ml-ops-prod"
    dead_letter_queues  = ["ml-ops-dag-trigger-dead-letters"]
    other_alarms        = ["ml-ops-dag-trigger-errors"]
    thresholds          = { latency_ms = 250 }
  }

  assert {
    condition     = module.airflow_alarm["scheduler"].alarms["ml-ops-prod"].treat_missing_data == "breaching" && module.airflow_alarm["scheduler"].alarms["ml-ops-prod"].dimensions == tomap({ Function = "Scheduler", Environment = "ml-ops-prod" })
    error_message = "A scheduler that says nothing is the alarm."
  }
  assert {
    condition     = [for alarm in values(module.airflow_alarm["failed_runs"].alarms) : alarm.alarm_name] == ["ml-ops-airflow-model_deployment-failed", "ml-ops-airflow-model_training-failed"]
    error_message = "Each DAG's failed runs raise an alarm of their own."
  }
  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.platform.dashboard_body, "ml-ops-dag-trigger-dead-letters") && strcontains(aws_cloudwatch_dashboard.platform.dashboard_body, "SchedulerHeartbeat")
    error_message = "The platform's dashboard shows Airflow and the queue of lost events."
  }
  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.platform.dashboard_body, "\"arn:aws:cloudwatch:eu-west-1:111122223333:alarm:ml-ops-dag-trigger-errors\"")
    error_message = "The platform's dashboard shows other modules' alarms."
  }
  assert {
    condition     = module.model_alarm["latency"].alarms["fraud/cards"].threshold == 250000 && module.model_alarm["memory"].alarms["fraud/cards"].threshold == 90
    error_message = "A threshold can be changed without giving the others."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/observability"
  }

  variables {
    name                = "ML"
    models              = { "phishing" = "web-safety" }
    variant             = "All Traffic"
    metric_namespace    = "AWS/SageMaker"
    thresholds          = { error_share = 5 }
    topic_arn           = "ml-ops-notifications"
    trigger_function    = "dag trigger"
    dead_letter_queues  = ["dead letters"]
    airflow_environment = "1st"
    dags                = ["a dag"]
    other_alarms        = ["arn:aws:cloudwatch"]
    kms_key_arn         = "alias/ml-ops"
    log_retention_days  = 8
  }

  expect_failures = [
    var.name,
    var.models,
    var.variant,
    var.metric_namespace,
    var.thresholds,
    var.topic_arn,
    var.trigger_function,
    var.dead_letter_queues,
    var.airflow_environment,
    var.dags,
    var.other_alarms,
    var.kms_key_arn,
    var.log_retention_days,
  ]
}
