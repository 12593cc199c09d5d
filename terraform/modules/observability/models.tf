# One dashboard and five alarms a model. An endpoint comes with a model's first deployment and may go again, so
# an alarm without data is content: only what an endpoint says can wake somebody.

locals {
  endpoint_metrics = { for name, endpoint in var.models : name => ["EndpointName", endpoint, "VariantName", var.variant] }
  endpoint_groups  = { for name, endpoint in var.models : name => "/aws/sagemaker/Endpoints/${endpoint}" }

  # In the order the dashboard shows them.
  model_alarms = {
    for name in keys(var.models) : name => [
      aws_cloudwatch_metric_alarm.errors[name].arn,
      aws_cloudwatch_metric_alarm.unanswered[name].arn,
      aws_cloudwatch_metric_alarm.latency[name].arn,
      aws_cloudwatch_metric_alarm.memory[name].arn,
      aws_cloudwatch_metric_alarm.drift[name].arn,
    ]
  }
}

# SageMaker sends 1 for a 5xx and 0 for everything else: the average is the share.
resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = var.models

  alarm_name          = "${var.name}-${each.value}-errors"
  alarm_description   = "${each.key}: of every 100 requests, more than ${var.thresholds.error_share * 100} end in a 5xx. Look: ${local.dashboards}${local.model_dashboards[each.key]}"
  namespace           = "AWS/SageMaker"
  metric_name         = "Invocation5XXErrors"
  dimensions          = { EndpointName = each.value, VariantName = var.variant }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.thresholds.error_share
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

# InvocationModelErrors counts 4xx, 5xx, and requests without any answer; the last are neither of the former.
resource "aws_cloudwatch_metric_alarm" "unanswered" {
  for_each = var.models

  alarm_name          = "${var.name}-${each.value}-unanswered"
  alarm_description   = "${each.key}: requests get no answer: the container is gone, hangs, or breaks the connection. Look: ${local.dashboards}${local.model_dashboards[each.key]}"
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]

  metric_query {
    id          = "unanswered"
    expression  = "failed - FILL(client, 0) - FILL(server, 0)"
    label       = "Requests without an answer"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { failed = "InvocationModelErrors", client = "Invocation4XXErrors", server = "Invocation5XXErrors" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SageMaker"
        metric_name = metric_query.value
        dimensions  = { EndpointName = each.value, VariantName = var.variant }
        stat        = "Sum"
        period      = 300
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "latency" {
  for_each = var.models

  alarm_name          = "${var.name}-${each.value}-latency"
  alarm_description   = "${each.key}: one request in a hundred waits longer than ${var.thresholds.latency_ms} ms for the model. Look: ${local.dashboards}${local.model_dashboards[each.key]}"
  namespace           = "AWS/SageMaker"
  metric_name         = "ModelLatency"
  dimensions          = { EndpointName = each.value, VariantName = var.variant }
  extended_statistic  = "p99"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  # SageMaker counts microseconds.
  threshold                             = var.thresholds.latency_ms * 1000
  treat_missing_data                    = "notBreaching"
  evaluate_low_sample_count_percentiles = "ignore"
  alarm_actions                         = [var.topic_arn]
  ok_actions                            = [var.topic_arn]
}

resource "aws_cloudwatch_metric_alarm" "memory" {
  for_each = var.models

  alarm_name          = "${var.name}-${each.value}-memory"
  alarm_description   = "${each.key}: its containers fill more than ${var.thresholds.memory_percent} % of an instance's memory and will be killed. Look: ${local.dashboards}${local.model_dashboards[each.key]}"
  namespace           = "/aws/sagemaker/Endpoints"
  metric_name         = "MemoryUtilization"
  dimensions          = { EndpointName = each.value, VariantName = var.variant }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.thresholds.memory_percent
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

# Without actions: the DAG model_monitoring notifies the model's channel, and EventBridge gets every alarm's state. It
# stays up for a day, so a daily schedule sees it; the next run of the DAG says whether it still holds.
resource "aws_cloudwatch_metric_alarm" "drift" {
  for_each = var.models

  alarm_name          = "${var.name}-drift-${each.value}"
  alarm_description   = "${each.key}: what its endpoint is asked differs from what it was trained on. Look: ${local.dashboards}${local.model_dashboards[each.key]}"
  namespace           = var.metric_namespace
  metric_name         = "Drift"
  dimensions          = { EndpointName = each.value }
  statistic           = "Maximum"
  period              = 86400
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
}

resource "aws_cloudwatch_dashboard" "model" {
  for_each = var.models

  dashboard_name = local.model_dashboards[each.key]
  dashboard_body = jsonencode({
    periodOverride = "inherit"
    widgets = [
      {
        type = "text", x = 0, y = 0, width = 24, height = 2
        properties = {
          markdown = join(" · ", [
            "## ${each.key}\n[Endpoint](${local.console}/sagemaker/home?region=${local.region}#/endpoints/${each.value})",
            "[Log of the endpoint](${local.log_link}${replace(local.endpoint_groups[each.key], "/", "$252F")})",
            "[Logs of training](${local.log_link}$252Faws$252Fsagemaker$252FTrainingJobs)",
            "[Logs of evaluation](${local.log_link}$252Faws$252Fsagemaker$252FProcessingJobs)",
            "[The platform](${local.dashboards}${local.platform_dashboard})",
          ])
        }
      },
      {
        type       = "alarm", x = 0, y = 2, width = 24, height = 2
        properties = { title = "Alarms", alarms = local.model_alarms[each.key] }
      },
      {
        type = "metric", x = 0, y = 4, width = 8, height = 6
        properties = {
          title  = "Requests a second"
          region = local.region
          view   = "timeSeries"
          stat   = "Sum"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            [{ id = "rate", expression = "requests / PERIOD(requests)", label = "Requests a second" }],
            concat(["AWS/SageMaker", "Invocations"], local.endpoint_metrics[each.key], [{ id = "requests", visible = false }]),
          ]
        }
      },
      {
        type = "metric", x = 8, y = 4, width = 8, height = 6
        properties = {
          title  = "How long the model takes (ms)"
          region = local.region
          view   = "timeSeries"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            [{ id = "median", expression = "p50 / 1000", label = "half are faster (p50)" }],
            [{ id = "slowest", expression = "p99 / 1000", label = "99 of 100 are faster (p99)" }],
            [{ id = "added", expression = "overhead / 1000", label = "added by SageMaker (average)" }],
            concat(["AWS/SageMaker", "ModelLatency"], local.endpoint_metrics[each.key], [{ id = "p50", stat = "p50", visible = false }]),
            concat(["AWS/SageMaker", "ModelLatency"], local.endpoint_metrics[each.key], [{ id = "p99", stat = "p99", visible = false }]),
            concat(["AWS/SageMaker", "OverheadLatency"], local.endpoint_metrics[each.key], [{ id = "overhead", stat = "Average", visible = false }]),
          ]
          annotations = { horizontal = [{ label = "alarm", value = var.thresholds.latency_ms }] }
        }
      },
      {
        type = "metric", x = 16, y = 4, width = 8, height = 6
        properties = {
          title  = "Errors"
          region = local.region
          view   = "timeSeries"
          stat   = "Sum"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            [{ id = "unanswered", expression = "failed - FILL(client, 0) - FILL(server, 0)", label = "no answer" }],
            concat(["AWS/SageMaker", "Invocation5XXErrors"], local.endpoint_metrics[each.key], [{ id = "server", label = "5xx" }]),
            concat(["AWS/SageMaker", "Invocation4XXErrors"], local.endpoint_metrics[each.key], [{ id = "client", label = "4xx" }]),
            concat(["AWS/SageMaker", "InvocationModelErrors"], local.endpoint_metrics[each.key], [{ id = "failed", visible = false }]),
          ]
        }
      },
      {
        type = "metric", x = 0, y = 10, width = 8, height = 6
        properties = {
          title  = "CPU, memory, disk and GPU of its instances (%)"
          region = local.region
          view   = "timeSeries"
          stat   = "Average"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            concat(["/aws/sagemaker/Endpoints", "CPUUtilization"], local.endpoint_metrics[each.key], [{ label = "CPU, 100 a core" }]),
            concat(["/aws/sagemaker/Endpoints", "MemoryUtilization"], local.endpoint_metrics[each.key], [{ label = "memory" }]),
            concat(["/aws/sagemaker/Endpoints", "DiskUtilization"], local.endpoint_metrics[each.key], [{ label = "disk" }]),
            concat(["/aws/sagemaker/Endpoints", "GPUUtilization"], local.endpoint_metrics[each.key], [{ label = "GPU, 100 each" }]),
          ]
        }
      },
      {
        type = "metric", x = 8, y = 10, width = 8, height = 6
        properties = {
          title  = "Requests a minute and instance"
          region = local.region
          view   = "timeSeries"
          stat   = "Sum"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            concat(["AWS/SageMaker", "InvocationsPerInstance"], local.endpoint_metrics[each.key], [{ label = "requests" }]),
          ]
        }
      },
      {
        type = "metric", x = 16, y = 10, width = 8, height = 6
        properties = {
          title  = "Instances"
          region = local.region
          view   = "timeSeries"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          # SageMaker publishes no count. It sends 1/instances with every request, and each instance states its
          # memory once a minute.
          metrics = [
            [{ id = "serving", expression = "requests / share", label = "that serve requests" }],
            concat(["/aws/sagemaker/Endpoints", "MemoryUtilization"], local.endpoint_metrics[each.key], [{ id = "reporting", stat = "SampleCount", label = "that report" }]),
            concat(["AWS/SageMaker", "Invocations"], local.endpoint_metrics[each.key], [{ id = "requests", stat = "Sum", visible = false }]),
            concat(["AWS/SageMaker", "InvocationsPerInstance"], local.endpoint_metrics[each.key], [{ id = "share", stat = "Sum", visible = false }]),
          ]
        }
      },
      {
        type = "metric", x = 0, y = 16, width = 12, height = 6
        properties = {
          title  = "CPU and memory of its training and evaluation jobs (%)"
          region = local.region
          view   = "timeSeries"
          period = 60
          yAxis  = { left = { min = 0, showUnits = false } }
          # A job's name holds the model's: versions.job_name().
          metrics = [
            for job in ["Training", "Processing"] :
            [{ id = lower(job), expression = "SEARCH('{\"/aws/sagemaker/${job}Jobs\",Host} MetricName=(\"CPUUtilization\" OR \"MemoryUtilization\") Host=${each.value}', 'Average', 60)" }]
          ]
        }
      },
      {
        type = "metric", x = 12, y = 16, width = 12, height = 6
        properties = {
          title  = "Evaluations: challenger and champion"
          region = local.region
          view   = "timeSeries"
          period = 3600
          yAxis  = { left = { showUnits = false } }
          metrics = [
            [{ id = "evaluations", expression = "SEARCH('{\"${var.metric_namespace}\",EndpointName,Role} EndpointName=\"${each.value}\"', 'Average', 3600)" }],
          ]
        }
      },
      {
        type = "metric", x = 0, y = 22, width = 12, height = 6
        properties = {
          title  = "Drift: columns that differ from training"
          region = local.region
          view   = "timeSeries"
          stat   = "Maximum"
          period = 3600
          yAxis  = { left = { min = 0, showUnits = false }, right = { min = 0, showUnits = false } }
          metrics = [
            [var.metric_namespace, "DriftedFeatures", "EndpointName", each.value, { label = "columns that drifted" }],
            [var.metric_namespace, "WorstPSI", "EndpointName", each.value, { label = "worst PSI", yAxis = "right" }],
          ]
        }
      },
      {
        type = "metric", x = 12, y = 22, width = 12, height = 6
        properties = {
          title  = "Requests that monitoring compared (rows)"
          region = local.region
          view   = "timeSeries"
          stat   = "Maximum"
          period = 3600
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            [var.metric_namespace, "MonitoredRows", "EndpointName", each.value, { label = "rows" }],
          ]
        }
      },
      {
        type = "log", x = 0, y = 28, width = 24, height = 6
        properties = {
          title  = "States of its jobs and its endpoint"
          region = local.region
          view   = "table"
          query = join(" | ", [
            "SOURCE '${aws_cloudwatch_log_group.states.name}'",
            "fields @timestamp, coalesce(detail.TrainingJobName, detail.ProcessingJobName, detail.EndpointName) as name, coalesce(detail.TrainingJobStatus, detail.ProcessingJobStatus, detail.EndpointStatus) as state, detail.FailureReason as reason",
            "filter name like /^(.+--)?${each.value}(--.*|-[0-9a-f]{8})?$/",
            "sort @timestamp desc",
            "limit 50",
          ])
        }
      },
      {
        type = "log", x = 0, y = 34, width = 24, height = 6
        properties = {
          title  = "Errors in the endpoint's log"
          region = local.region
          view   = "table"
          query = join(" | ", [
            "SOURCE '${local.endpoint_groups[each.key]}'",
            "fields @timestamp, @message",
            "filter @message like /(?i)error|exception|traceback|critical/",
            "sort @timestamp desc",
            "limit 50",
          ])
        }
      },
    ]
  })
}
