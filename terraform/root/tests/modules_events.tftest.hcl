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
  mock_resource "aws_iam_role" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-schedules" }
  }
  mock_resource "aws_sqs_queue" {
    override_during = plan
    defaults        = { arn = "arn:aws:sqs:eu-west-1:111122223333:ml-ops-events-failed", url = "https://sqs.eu-west-1.amazonaws.com/111122223333/ml-ops-events-failed" }
  }
  mock_resource "aws_cloudwatch_event_rule" {
    override_during = plan
    defaults        = { arn = "arn:aws:events:eu-west-1:111122223333:rule/ml-ops-drift" }
  }
}

variables {
  name          = "ml-ops"
  function_name = "ml-ops-dag-trigger"
  function_arn  = "arn:aws:lambda:eu-west-1:111122223333:function:ml-ops-dag-trigger"
  bucket        = "ml-ops-prod-111122223333"
  models        = ["fraud/cards", "web-safety/phishing-url"]
  topic_arn     = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/events"
  }

  assert {
    condition     = keys(aws_cloudwatch_event_rule.this) == ["approvals", "drift", "endpoints", "training-data", "training-jobs"]
    error_message = "These are what Lambda and DAGs know how to answer."
  }
  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.this["drift"].event_pattern) == {
      source      = ["aws.cloudwatch"]
      detail-type = ["CloudWatch Alarm State Change"]
      detail      = { alarmName = [{ prefix = "ml-ops-drift-" }], state = { value = ["ALARM"] } }
    }
    error_message = "Of all alarms, only those of drift, and only when they go off."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["training-data"].event_pattern).detail == { bucket = { name = ["ml-ops-prod-111122223333"] }, object = { key = [{ prefix = "data/" }] } }
    error_message = "Evidence and models land in the same bucket, and start nothing."
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["training-jobs"].event_pattern).detail == { TrainingJobStatus = ["Failed", "Stopped"] }
    error_message = "Jobs that go well need nobody."
  }
  assert {
    condition     = alltrue([for rule in values(aws_cloudwatch_event_rule.this) : length(jsondecode(rule.event_pattern).source) == 1 && can(jsondecode(rule.event_pattern).detail)])
    error_message = "Every rule is narrow: one source, and a condition on its detail."
  }
  assert {
    condition     = alltrue([for target in values(aws_cloudwatch_event_target.this) : target.arn == var.function_arn && target.dead_letter_config[0].arn == "arn:aws:sqs:eu-west-1:111122223333:ml-ops-events-failed" && target.retry_policy[0].maximum_event_age_in_seconds == 3600])
    error_message = "Every event goes to the function, is tried for an hour, and then kept."
  }
  assert {
    condition     = alltrue([for name, permission in aws_lambda_permission.this : permission.principal == "events.amazonaws.com" && permission.source_arn == aws_cloudwatch_event_rule.this[name].arn && permission.qualifier == null])
    error_message = "Each rule may call the function itself, and nothing else of EventBridge may."
  }
  assert {
    condition     = keys(aws_scheduler_schedule.this) == ["fraud--cards--monitoring", "web-safety--phishing-url--monitoring"]
    error_message = "Each model is monitored on schedule; GitLab's schedules retrain."
  }
  assert {
    condition     = aws_scheduler_schedule.this["web-safety--phishing-url--monitoring"].target[0].input == "{\"event\":\"monitoring\",\"model\":\"phishing-url\",\"project\":\"web-safety\",\"time\":\"<aws.scheduler.scheduled-time>\"}"
    error_message = "A schedule says which model, what for, and its own time, which is the same at every try."
  }
  assert {
    condition = alltrue([
      for schedule in values(aws_scheduler_schedule.this) :
      schedule.schedule_expression == "rate(1 day)" && schedule.group_name == "ml-ops" && schedule.flexible_time_window[0].maximum_window_in_minutes == 15
      && schedule.target[0].arn == var.function_arn && schedule.target[0].dead_letter_config[0].arn == "arn:aws:sqs:eu-west-1:111122223333:ml-ops-events-failed"
    ])
    error_message = "Daily, not all at once, and kept where they fail."
  }
  assert {
    condition     = { for statement in jsondecode(aws_iam_role_policy.schedules.policy).Statement : statement.Sid => [statement.Action, statement.Resource] } == { CallTheFunction = ["lambda:InvokeFunction", var.function_arn], KeepUndelivered = ["sqs:SendMessage", "arn:aws:sqs:eu-west-1:111122223333:ml-ops-events-failed"] }
    error_message = "Schedules may call the one function, and keep what failed."
  }
  assert {
    condition     = jsondecode(aws_iam_role.schedules.assume_role_policy).Statement[0].Condition == { StringEquals = { "aws:SourceAccount" = "111122223333", "aws:SourceArn" = "arn:aws:scheduler:eu-west-1:111122223333:schedule-group/ml-ops" } }
    error_message = "Only schedules of this group take the role."
  }
  assert {
    condition     = aws_sqs_queue.failed["ml-ops-events-failed"].message_retention_seconds == 14 * 24 * 3600 && aws_sqs_queue.failed["ml-ops-events-failed"].sqs_managed_sse_enabled
    error_message = "Undelivered events are kept for 14 days, encrypted."
  }
  assert {
    condition = { for statement in jsondecode(aws_sqs_queue_policy.failed["ml-ops-events-failed"].policy).Statement : statement.Sid => statement.Condition } == {
      KeepUndelivered = { ArnEquals = { "aws:SourceArn" = [for name in ["approvals", "drift", "endpoints", "training-data", "training-jobs"] : "arn:aws:events:eu-west-1:111122223333:rule/ml-ops-${name}"] } }
      DenyWithoutTLS  = { Bool = { "aws:SecureTransport" = "false" } }
    }
    error_message = "Of EventBridge only these rules may write to the queue, and nobody without TLS."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.failed["ml-ops-events-failed"].alarm_actions == toset([var.topic_arn]) && output.alarm_names == ["ml-ops-events-failed"]
    error_message = "Somebody hears of events that did not arrive."
  }
  assert {
    condition     = output.schedule_names == ["ml-ops/fraud--cards--monitoring", "ml-ops/web-safety--phishing-url--monitoring"]
    error_message = "The outputs name what can be looked at."
  }
}

run "retraining_by_schedule" {
  command = plan

  module {
    source = "../modules/events"
  }

  variables {
    monitoring_schedule = null
    retraining_schedule = "cron(0 3 * * ? *)"
  }

  assert {
    condition     = { for name, schedule in aws_scheduler_schedule.this : name => [schedule.schedule_expression, jsondecode(schedule.target[0].input).event] } == { fraud--cards--retraining = ["cron(0 3 * * ? *)", "retraining"], web-safety--phishing-url--retraining = ["cron(0 3 * * ? *)", "retraining"] }
    error_message = "Each purpose has a schedule of its own, or none."
  }
}

run "quick" {
  command = plan

  module {
    source = "../modules/events"
  }

  variables {
    keep_failed_events = false
  }

  assert {
    condition     = length(aws_sqs_queue.failed) == 0 && length(aws_cloudwatch_metric_alarm.failed) == 0 && output.failed_events_queue == null && alltrue([for target in values(aws_cloudwatch_event_target.this) : length(target.dead_letter_config) == 0])
    error_message = "There is no queue, and nothing points to one."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.schedules.policy).Statement : statement.Sid] == ["CallTheFunction"]
    error_message = "The role may not send to a queue that is not there."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/events"
  }

  variables {
    name                = "ML"
    function_name       = "dag trigger"
    function_arn        = "arn:aws:lambda:eu-west-1:111122223333:function:ml-ops-dag-trigger:model_training"
    bucket              = "B"
    models              = ["phishing-url"]
    monitoring_schedule = "daily"
    retraining_schedule = "rate()"
    spread_minutes      = 0
    event_age_seconds   = 5
    topic_arn           = "ml-ops-notifications"
  }

  expect_failures = [
    var.name,
    var.function_name,
    var.function_arn,
    var.bucket,
    var.models,
    var.monitoring_schedule,
    var.retraining_schedule,
    var.spread_minutes,
    var.event_age_seconds,
    var.topic_arn,
  ]
}
