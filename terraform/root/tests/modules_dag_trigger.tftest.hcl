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
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-dag-trigger" }
  }
}

variables {
  function_name       = "ml-ops-dag-trigger"
  package             = "./tests/package.zip"
  airflow_environment = "ml-ops-prod"
  topic_arn           = "arn:aws:sns:eu-west-1:111122223333:ml-ops-notifications"
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/dag-trigger"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid => [statement.Action, statement.Resource] } == {
      CallAirflow      = ["airflow:InvokeRestApi", "arn:aws:airflow:eu-west-1:111122223333:role/ml-ops-prod/Op"]
      WriteLogs        = [["logs:CreateLogStream", "logs:PutLogEvents"], "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/ml-ops-dag-trigger:*"]
      WriteTraces      = [["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "*"]
      KeepFailedEvents = ["sqs:SendMessage", "arn:aws:sqs:eu-west-1:111122223333:ml-ops-dag-trigger-failed"]
    }
    error_message = "The function may call Airflow in one environment and one role, write its own log and traces, and keep what failed."
  }
  assert {
    condition = aws_lambda_function.this.environment[0].variables == tomap({
      AIRFLOW_ENVIRONMENT = "ml-ops-prod"
      AIRFLOW_URL         = ""
      ALLOWED_DAGS        = "model_deployment,model_monitoring,model_notice,model_retraining,model_training"
      DATA_WINDOW_SECONDS = "3600"
      TRAINING_DATA       = "{}"
    })
    error_message = "The function knows its environment and the DAGs it may start."
  }
  assert {
    condition     = aws_lambda_function.this.runtime == "python3.13" && aws_lambda_function.this.architectures == tolist(["arm64"])
    error_message = "The newest Python that Lambda and this provider know, on arm64."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_format == "JSON" && aws_cloudwatch_log_group.this.retention_in_days == 365
    error_message = "Logs are JSON, and not kept for ever."
  }
  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 5
    error_message = "MWAA takes about 10 calls a second."
  }
  assert {
    condition     = join(",", keys(aws_lambda_alias.dag)) == aws_lambda_function.this.environment[0].variables["ALLOWED_DAGS"] && toset(values(aws_lambda_alias.dag)[*].function_version) == toset(["$LATEST"])
    error_message = "Each DAG has an alias, so that a role may start one and not the other."
  }
  assert {
    condition     = aws_lambda_function.this.tracing_config[0].mode == "Active"
    error_message = "Slow calls are traced."
  }
  assert {
    condition = (aws_lambda_function_event_invoke_config.this.maximum_retry_attempts == 2
      && aws_lambda_function_event_invoke_config.this.maximum_event_age_in_seconds == 3600
    && length(aws_lambda_function_event_invoke_config.this.destination_config) == 1)
    error_message = "An event is tried three times within an hour, then kept."
  }
  assert {
    condition     = aws_sqs_queue.failed["ml-ops-dag-trigger-failed"].message_retention_seconds == 14 * 24 * 3600 && aws_sqs_queue.failed["ml-ops-dag-trigger-failed"].sqs_managed_sse_enabled
    error_message = "Failed events are kept for 14 days, encrypted."
  }
  assert {
    condition = jsondecode(aws_sqs_queue.failed["ml-ops-dag-trigger-failed"].policy).Statement == [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "arn:aws:sqs:eu-west-1:111122223333:ml-ops-dag-trigger-failed"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "Only TLS may reach the queue."
  }
  assert {
    condition     = { for name, alarm in aws_cloudwatch_metric_alarm.lambda : alarm.alarm_name => [alarm.metric_name, alarm.threshold] } == { ml-ops-dag-trigger-errors = ["Errors", 1], ml-ops-dag-trigger-throttles = ["Throttles", 1], ml-ops-dag-trigger-duration = ["Duration", 48000] }
    error_message = "Errors, throttled calls and calls near the time limit of 60 s raise an alarm."
  }
  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.lambda), values(aws_cloudwatch_metric_alarm.failed_events)) :
      alarm.alarm_actions == toset([var.topic_arn]) && alarm.treat_missing_data == "notBreaching"
    ])
    error_message = "Every alarm reaches people, and silence is no alarm."
  }
  assert {
    condition     = length(output.alarm_names) == 4 && output.failed_events_queue == "ml-ops-dag-trigger-failed"
    error_message = "Three alarms on the function, one on its queue."
  }
}

run "own_key" {
  command = plan

  module {
    source = "../modules/dag-trigger"
  }

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
  }

  assert {
    condition = toset([
      aws_lambda_function.this.kms_key_arn,
      aws_cloudwatch_log_group.this.kms_key_id,
      aws_sqs_queue.failed["ml-ops-dag-trigger-failed"].kms_master_key_id,
    ]) == toset([var.kms_key_arn])
    error_message = "Environment, logs and failed events are encrypted with the key that is given."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : [statement.Action, statement.Resource] if statement.Sid == "UseKey"] == [[["kms:Decrypt", "kms:GenerateDataKey"], var.kms_key_arn]]
    error_message = "The function may use that key, and no other."
  }
}

run "quick" {
  command = plan

  module {
    source = "../modules/dag-trigger"
  }

  variables {
    keep_failed_events = false
  }

  assert {
    condition     = length(aws_sqs_queue.failed) == 0 && length(aws_lambda_function_event_invoke_config.this.destination_config) == 0 && output.failed_events_queue == null
    error_message = "There is no queue, and nothing points to one."
  }
  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid] == ["CallAirflow", "WriteLogs", "WriteTraces"]
    error_message = "The role may not send to a queue that is not there."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/dag-trigger"
  }

  variables {
    function_name        = "dag trigger"
    airflow_environment  = "1st"
    airflow_role         = "*"
    allowed_dags         = []
    timeout_seconds      = 5
    reserved_concurrency = 0
    log_retention_days   = 8
    topic_arn            = "ml-ops-notifications"
    event_age_seconds    = 5
    data_window_seconds  = 0.5
    training_data        = { "data" = ["penguins"] }
    kms_key_arn          = "alias/mine"
  }

  expect_failures = [
    var.function_name,
    var.airflow_environment,
    var.airflow_role,
    var.allowed_dags,
    var.timeout_seconds,
    var.reserved_concurrency,
    var.log_retention_days,
    var.topic_arn,
    var.event_age_seconds,
    var.data_window_seconds,
    var.training_data,
    var.kms_key_arn,
  ]
}
