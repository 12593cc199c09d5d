# One kind of alarm, made for each thing that it watches.

locals {
  # An alarm watches one metric, or what an expression makes of several.
  is_expression = var.alarm.expression != null
  is_percentile = startswith(var.alarm.statistic, "p")
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = var.watched

  alarm_name        = each.value.name
  alarm_description = each.value.description

  namespace                             = local.is_expression ? null : var.alarm.namespace
  metric_name                           = var.alarm.metric_name
  dimensions                            = local.is_expression ? null : each.value.dimensions
  statistic                             = local.is_expression || local.is_percentile ? null : var.alarm.statistic
  extended_statistic                    = local.is_percentile ? var.alarm.statistic : null
  evaluate_low_sample_count_percentiles = local.is_percentile ? "ignore" : null
  period                                = local.is_expression ? null : var.alarm.period

  evaluation_periods  = var.alarm.evaluation_periods
  datapoints_to_alarm = var.alarm.datapoints_to_alarm
  comparison_operator = var.alarm.comparison_operator
  threshold           = var.alarm.threshold
  treat_missing_data  = var.alarm.treat_missing_data

  alarm_actions = contains(var.alarm.announced, "ALARM") ? [var.topic_arn] : null
  ok_actions    = contains(var.alarm.announced, "OK") ? [var.topic_arn] : null

  dynamic "metric_query" {
    for_each = var.alarm.expression[*]

    content {
      id          = metric_query.value.id
      expression  = metric_query.value.expression
      label       = metric_query.value.label
      return_data = true
    }
  }

  dynamic "metric_query" {
    for_each = local.is_expression ? var.alarm.expression.metrics : {}

    content {
      id = metric_query.key

      metric {
        namespace   = var.alarm.namespace
        metric_name = metric_query.value
        dimensions  = each.value.dimensions
        stat        = var.alarm.statistic
        period      = var.alarm.period
      }
    }
  }
}
