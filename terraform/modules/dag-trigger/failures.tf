# What becomes of events nobody waits for (a schedule's retraining), and who hears of trouble.

# CI waits for its answer and tries again itself; this is for asynchronous calls.
resource "aws_lambda_function_event_invoke_config" "this" {
  function_name = aws_lambda_function.this.function_name
  # The run's id is made from the event, so a second try finds the run of the first.
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = var.event_age_seconds

  dynamic "destination_config" {
    for_each = aws_sqs_queue.failed

    content {
      on_failure {
        destination = destination_config.value.arn
      }
    }
  }

  # Lambda checks that the role may send there.
  depends_on = [aws_iam_role_policy.this]
}

resource "aws_sqs_queue" "failed" {
  for_each = toset(var.keep_failed_events ? [local.queue_name] : [])

  name                      = each.value
  message_retention_seconds = 1209600 # 14 days, the longest SQS knows
  kms_master_key_id         = var.kms_key_arn
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = local.queue_arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

locals {
  lambda_alarms = {
    errors = {
      description = "calls ended in an error, which is never an answer of Airflow: read ${local.log_group}"
      metric      = "Errors"
      statistic   = "Sum"
      threshold   = 1
    }
    throttles = {
      description = "calls were refused because ${var.function_name} was busy: raise its reserved concurrency"
      metric      = "Throttles"
      statistic   = "Sum"
      threshold   = 1
    }
    duration = {
      description = "a call came near its time limit of ${var.timeout_seconds} s: Airflow answers slowly"
      metric      = "Duration"
      statistic   = "Maximum"
      threshold   = var.timeout_seconds * 1000 * 0.8
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "lambda" {
  for_each = local.lambda_alarms

  alarm_name          = "${var.function_name}-${each.key}"
  alarm_description   = "${var.function_name}: ${each.value.description}"
  namespace           = "AWS/Lambda"
  metric_name         = each.value.metric
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

resource "aws_cloudwatch_metric_alarm" "failed_events" {
  for_each = aws_sqs_queue.failed

  alarm_name          = "${var.function_name}-failed-events"
  alarm_description   = "${var.function_name}: events failed for good and lie in the queue ${each.key}"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}
