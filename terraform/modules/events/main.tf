# What starts DAGs without a push: events of AWS, and schedules. All of them go to the function of dag-trigger, whose
# lambda_trigger/events.py says what each means; the patterns here only keep out what it would ignore.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  suffix    = "${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"

  # Known before they are made, so a plan shows the policies that name them.
  queue_name   = "${var.name}-events-failed"
  queue_arn    = "arn:${local.partition}:sqs:${local.suffix}:${local.queue_name}"
  rule_arns    = [for name in sort(keys(local.patterns)) : "arn:${local.partition}:events:${local.suffix}:rule/${var.name}-${name}"]
  dead_letters = [for queue in values(aws_sqs_queue.failed) : queue.arn]

  # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
  patterns = {
    drift = {
      description = "A model's drift alarm goes off"
      pattern = {
        source      = ["aws.cloudwatch"]
        detail-type = ["CloudWatch Alarm State Change"]
        detail = {
          alarmName = [{ prefix = "${var.name}-drift-" }]
          state     = { value = ["ALARM"] }
        }
      }
    }
    training-data = {
      description = "New training data of a model arrives"
      pattern = {
        source      = ["aws.s3"]
        detail-type = ["Object Created"]
        detail = {
          bucket = { name = [var.bucket] }
          object = { key = [{ prefix = "data/" }] }
        }
      }
    }
    training-jobs = {
      description = "A training job fails or is stopped"
      pattern = {
        source      = ["aws.sagemaker"]
        detail-type = ["SageMaker Training Job State Change"]
        detail      = { TrainingJobStatus = ["Failed", "Stopped"] }
      }
    }
    endpoints = {
      description = "An endpoint fails or is rolled back"
      pattern = {
        source      = ["aws.sagemaker"]
        detail-type = ["SageMaker Endpoint Deployment State Change", "SageMaker Endpoint State Change"]
        # The documents write states in both ways.
        detail = { EndpointStatus = [
          "FAILED", "Failed", "OUT_OF_SERVICE", "OutOfService", "ROLLING_BACK", "RollingBack",
          "UPDATE_ROLLBACK_FAILED", "UpdateRollbackFailed",
        ] }
      }
    }
    approvals = {
      description = "A model package is approved"
      pattern = {
        source      = ["aws.sagemaker"]
        detail-type = ["SageMaker Model Package State Change"]
        detail      = { ModelApprovalStatus = ["Approved"] }
      }
    }
  }
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.patterns

  name          = "${var.name}-${each.key}"
  description   = each.value.description
  event_pattern = jsonencode(each.value.pattern)
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = aws_cloudwatch_event_rule.this

  rule      = each.value.name
  target_id = "dag-trigger"
  arn       = var.function_arn

  # How long EventBridge tries to hand an event over; what Airflow does not take, Lambda tries again.
  retry_policy {
    maximum_event_age_in_seconds = var.event_age_seconds
    maximum_retry_attempts       = 185 # the most there are: the age decides
  }

  dynamic "dead_letter_config" {
    for_each = local.dead_letters

    content {
      arn = dead_letter_config.value
    }
  }

  # Without it the first events would be refused.
  depends_on = [aws_lambda_permission.this, aws_sqs_queue_policy.failed]
}

# The function itself, not an alias: it starts several DAGs, and says which.
resource "aws_lambda_permission" "this" {
  for_each = aws_cloudwatch_event_rule.this

  statement_id  = each.value.name
  action        = "lambda:InvokeFunction"
  function_name = var.function_name
  principal     = "events.amazonaws.com"
  source_arn    = each.value.arn
}

# Events that the function never got. What it got and Airflow did not take lies in the queue of dag-trigger.
resource "aws_sqs_queue" "failed" {
  for_each = toset(var.keep_failed_events ? [local.queue_name] : [])

  name                      = each.value
  message_retention_seconds = 1209600 # 14 days, the longest SQS knows
  # EventBridge could not use a key that is bound to this account, and an event holds names alone.
  sqs_managed_sse_enabled = true
}

resource "aws_sqs_queue_policy" "failed" {
  for_each = aws_sqs_queue.failed

  queue_url = each.value.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "KeepUndelivered"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = local.queue_arn
        Condition = { ArnEquals = { "aws:SourceArn" = local.rule_arns } }
      },
      {
        Sid       = "DenyWithoutTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = local.queue_arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  for_each = aws_sqs_queue.failed

  alarm_name          = each.value.name
  alarm_description   = "${each.value.name}: events never reached ${var.function_name}; each message says why"
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
