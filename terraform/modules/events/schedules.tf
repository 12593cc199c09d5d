# One schedule a model and purpose, in EventBridge Scheduler: it knows a million of them, a bus 300 rules, and a
# function's policy only as many as fit 20 KB.

locals {
  expressions = { for purpose, expression in { monitoring = var.monitoring_schedule, retraining = var.retraining_schedule } : purpose => expression if expression != null }
  schedules = merge([
    for purpose, expression in local.expressions : {
      for model in var.models : "${replace(model, "/", "--")}--${purpose}" => {
        expression = expression
        input = {
          event   = purpose
          project = split("/", model)[0]
          model   = split("/", model)[1]
          # The same however often it is tried: a second delivery finds the run of the first.
          # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
          time = "<aws.scheduler.scheduled-time>"
        }
      }
    }
  ]...)
}

resource "aws_scheduler_schedule_group" "this" {
  name = var.name
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297: a schedule holds the name of a model and no data
  for_each = local.schedules

  name                = each.key
  group_name          = aws_scheduler_schedule_group.this.name
  schedule_expression = each.value.expression

  # Not all models in one moment: MWAA takes about 10 calls a second.
  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = var.spread_minutes
  }

  target {
    arn      = var.function_arn
    role_arn = aws_iam_role.schedules.arn
    # Scheduler looks for the attribute in angle brackets, which jsonencode would write as codes.
    input = replace(replace(jsonencode(each.value.input), "\\u003c", "<"), "\\u003e", ">")

    retry_policy {
      maximum_event_age_in_seconds = var.event_age_seconds
      maximum_retry_attempts       = 185
    }

    dynamic "dead_letter_config" {
      for_each = local.dead_letters

      content {
        arn = dead_letter_config.value
      }
    }
  }

  depends_on = [aws_iam_role_policy.schedules]
}

resource "aws_iam_role" "schedules" {
  name                 = "${var.name}-schedules"
  description          = "Taken by EventBridge Scheduler to call ${var.function_name}"
  permissions_boundary = var.permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
      Condition = { StringEquals = {
        "aws:SourceAccount" = data.aws_caller_identity.current.account_id
        "aws:SourceArn"     = "arn:${local.partition}:scheduler:${local.suffix}:schedule-group/${var.name}"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "schedules" {
  name = "call-dag-trigger"
  role = aws_iam_role.schedules.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "CallTheFunction"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = "arn:${local.partition}:lambda:${local.suffix}:function:${var.function_name}" # known before it is
      },
      ], var.keep_failed_events ? [
      {
        Sid      = "KeepUndelivered"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = local.queue_arn
      },
    ] : [])
  })
}
