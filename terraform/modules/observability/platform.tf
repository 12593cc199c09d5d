# The platform's dashboard, and the alarms of Airflow. The Lambda's alarms are beside it, in module dag-trigger.

locals {
  watched = toset(var.airflow_environment == null ? [] : [var.airflow_environment])
  failing = var.airflow_environment == null ? toset([]) : var.dags
  # For what is made either way and shown only where there is one.
  airflow = coalesce(var.airflow_environment, "none")

  airflow_alarms = concat(
    values(aws_cloudwatch_metric_alarm.scheduler)[*].arn,
    values(aws_cloudwatch_metric_alarm.imports)[*].arn,
    values(aws_cloudwatch_metric_alarm.failed_runs)[*].arn,
  )

  # A widget shows 100 alarms at most; each model's own dashboard has its four.
  model_errors = slice(
    [for name in sort(keys(var.models)) : aws_cloudwatch_metric_alarm.errors[name].arn],
    0, min(40, length(var.models)),
  )

  platform_alarms = concat(
    local.airflow_alarms,
    [for name in var.other_alarms : "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${name}"],
    local.model_errors,
  )

  # https://docs.aws.amazon.com/mwaa/latest/userguide/access-metrics-cw.html
  scheduler = ["Function", "Scheduler", "Environment", local.airflow]
  executor  = ["Function", "Executor", "Environment", local.airflow]
  parsing   = ["Function", "DAG Processing", "Environment", local.airflow]

  airflow_groups = { for part in ["DAGProcessing", "Scheduler", "Task", "WebServer", "Worker"] : part => "airflow-${local.airflow}-${part}" }

  # The widgets that only some environments have.
  alarm_widgets = [
    {
      type       = "alarm", x = 6, y = 0, width = 18, height = 4
      properties = { title = "Alarms of the platform, and errors of the models", alarms = local.platform_alarms }
    },
  ]

  queue_widgets = [
    {
      type = "metric", x = 16, y = 8, width = 8, height = 6
      properties = {
        title  = "Events nobody could handle"
        region = local.region
        view   = "timeSeries"
        stat   = "Maximum"
        period = 300
        yAxis  = { left = { min = 0, showUnits = false } }
        metrics = concat(
          [for queue in sort(tolist(var.dead_letter_queues)) : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue, { label = queue }]],
          [for queue in sort(tolist(var.dead_letter_queues)) : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue, { label = "seconds the oldest waits", yAxis = "right" }]],
        )
      }
    },
  ]

  airflow_widgets = [
    {
      type = "text", x = 0, y = 20, width = 24, height = 2
      properties = {
        markdown = "## Airflow ${local.airflow}\n[Environment](${local.console}/mwaa/home?region=${local.region}#environments/${local.airflow}) · ${join(" · ", [for part, group in local.airflow_groups : "[Log of ${part}](${local.log_link}${group})"])}"
      }
    },
    {
      type = "metric", x = 0, y = 22, width = 8, height = 6
      properties = {
        title  = "Tasks"
        region = local.region
        view   = "timeSeries"
        stat   = "Maximum"
        period = 60
        yAxis  = { left = { min = 0, showUnits = false } }
        metrics = [
          concat(["AmazonMWAA", "QueuedTasks"], local.executor, [{ label = "queued" }]),
          concat(["AmazonMWAA", "RunningTasks"], local.executor, [{ label = "running" }]),
        ]
      }
    },
    {
      type = "metric", x = 8, y = 22, width = 8, height = 6
      properties = {
        title  = "Signs of life of the scheduler in 5 minutes"
        region = local.region
        view   = "timeSeries"
        stat   = "Sum"
        period = 300
        yAxis  = { left = { min = 0, showUnits = false } }
        metrics = [
          concat(["AmazonMWAA", "SchedulerHeartbeat"], local.scheduler, [{ label = "heartbeats" }]),
        ]
      }
    },
    {
      type = "metric", x = 16, y = 22, width = 8, height = 6
      properties = {
        title  = "DAG files"
        region = local.region
        view   = "timeSeries"
        stat   = "Maximum"
        period = 300
        yAxis  = { left = { min = 0, showUnits = false } }
        metrics = [
          concat(["AmazonMWAA", "ImportErrors"], local.parsing, [{ label = "that cannot be imported" }]),
          concat(["AmazonMWAA", "TotalParseTime"], local.parsing, [{ label = "seconds to read all", yAxis = "right" }]),
        ]
      }
    },
    {
      type = "metric", x = 0, y = 28, width = 12, height = 6
      properties = {
        title  = "Runs that ended"
        region = local.region
        view   = "timeSeries"
        stat   = "SampleCount"
        period = 3600
        yAxis  = { left = { min = 0, showUnits = false } }
        metrics = concat(
          [for dag in sort(tolist(var.dags)) : ["AmazonMWAA", "DAGDurationSuccess", "DAG", dag, "Environment", local.airflow, { label = "${dag} succeeded" }]],
          [for dag in sort(tolist(var.dags)) : ["AmazonMWAA", "DAGDurationFailed", "DAG", dag, "Environment", local.airflow, { label = "${dag} failed" }]],
        )
      }
    },
    {
      type = "metric", x = 12, y = 28, width = 12, height = 6
      properties = {
        title  = "How long successful runs take (minutes)"
        region = local.region
        view   = "timeSeries"
        period = 3600
        yAxis  = { left = { min = 0, showUnits = false } }
        metrics = concat(
          [for index, dag in sort(tolist(var.dags)) : [{ id = "e${index}", expression = "m${index} / 60000", label = dag }]],
          [for index, dag in sort(tolist(var.dags)) : ["AmazonMWAA", "DAGDurationSuccess", "DAG", dag, "Environment", local.airflow, { id = "m${index}", stat = "Maximum", visible = false }]],
        )
      }
    },
  ]
}

resource "aws_cloudwatch_metric_alarm" "scheduler" {
  for_each = local.watched

  alarm_name          = "${var.name}-airflow-scheduler"
  alarm_description   = "${each.value}: the scheduler gives no sign of life, so no DAG starts. Look: ${local.dashboards}${local.platform_dashboard}"
  namespace           = "AmazonMWAA"
  metric_name         = "SchedulerHeartbeat"
  dimensions          = { Function = "Scheduler", Environment = each.value }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  # Silence is what it listens for.
  treat_missing_data = "breaching"
  alarm_actions      = [var.topic_arn]
  ok_actions         = [var.topic_arn]
}

resource "aws_cloudwatch_metric_alarm" "imports" {
  for_each = local.watched

  alarm_name          = "${var.name}-airflow-imports"
  alarm_description   = "${each.value}: a DAG's file cannot be imported, so the DAG is gone. Look: ${local.dashboards}${local.platform_dashboard}"
  namespace           = "AmazonMWAA"
  metric_name         = "ImportErrors"
  dimensions          = { Function = "DAG Processing", Environment = each.value }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

# Airflow sends a run's duration when it ends: a duration of a failed run is a failed run.
resource "aws_cloudwatch_metric_alarm" "failed_runs" {
  for_each = local.failing

  alarm_name          = "${var.name}-airflow-${each.value}-failed"
  alarm_description   = "${var.airflow_environment}: a run of ${each.value} failed. Look: ${local.dashboards}${local.platform_dashboard}"
  namespace           = "AmazonMWAA"
  metric_name         = "DAGDurationFailed"
  dimensions          = { DAG = each.value, Environment = var.airflow_environment }
  statistic           = "SampleCount"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
}

resource "aws_cloudwatch_dashboard" "platform" {
  dashboard_name = local.platform_dashboard
  dashboard_body = jsonencode({
    periodOverride = "inherit"
    widgets = concat([
      {
        type = "text", x = 0, y = 0, width = 6, height = 8
        properties = {
          markdown = "## Models\n${join("\n", [for name in sort(keys(var.models)) : "* [${name}](${local.dashboards}${local.model_dashboards[name]})"])}"
        }
      },
      {
        type = "metric", x = 6, y = 4, width = 9, height = 4
        properties = {
          title  = "Requests to each model in 5 minutes"
          region = local.region
          view   = "timeSeries"
          period = 300
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            [{ id = "requests", expression = "SEARCH('{AWS/SageMaker,EndpointName,VariantName} MetricName=\"Invocations\"', 'Sum', 300)", label = "" }],
          ]
        }
      },
      {
        type = "metric", x = 15, y = 4, width = 9, height = 4
        properties = {
          title  = "5xx of each model in 5 minutes"
          region = local.region
          view   = "timeSeries"
          period = 300
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            [{ id = "errors", expression = "SEARCH('{AWS/SageMaker,EndpointName,VariantName} MetricName=\"Invocation5XXErrors\"', 'Sum', 300)", label = "" }],
          ]
        }
      },
      {
        type = "metric", x = 0, y = 8, width = 8, height = 6
        properties = {
          title  = "Lambda ${var.trigger_function}: calls"
          region = local.region
          view   = "timeSeries"
          stat   = "Sum"
          period = 300
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            ["AWS/Lambda", "Invocations", "FunctionName", var.trigger_function, { label = "calls" }],
            ["AWS/Lambda", "Errors", "FunctionName", var.trigger_function, { label = "errors" }],
            ["AWS/Lambda", "Throttles", "FunctionName", var.trigger_function, { label = "turned away" }],
            ["AWS/Lambda", "ConcurrentExecutions", "FunctionName", var.trigger_function, { label = "at once", stat = "Maximum" }],
          ]
        }
      },
      {
        type = "metric", x = 8, y = 8, width = 8, height = 6
        properties = {
          title  = "Lambda ${var.trigger_function}: how long it takes (ms)"
          region = local.region
          view   = "timeSeries"
          period = 300
          yAxis  = { left = { min = 0, showUnits = false } }
          metrics = [
            ["AWS/Lambda", "Duration", "FunctionName", var.trigger_function, { stat = "p50", label = "p50" }],
            ["AWS/Lambda", "Duration", "FunctionName", var.trigger_function, { stat = "p99", label = "p99" }],
          ]
        }
      },
      {
        type = "log", x = 0, y = 14, width = 24, height = 6
        properties = {
          title  = "Jobs and endpoints that failed"
          region = local.region
          view   = "table"
          query = join(" | ", [
            "SOURCE '${aws_cloudwatch_log_group.states.name}'",
            "fields @timestamp, coalesce(detail.TrainingJobName, detail.ProcessingJobName, detail.EndpointName) as name, coalesce(detail.TrainingJobStatus, detail.ProcessingJobStatus, detail.EndpointStatus) as state, detail.FailureReason as reason",
            "filter state like /(?i)fail/",
            "sort @timestamp desc",
            "limit 50",
          ])
        }
      },
      ],
      [for widget in local.alarm_widgets : widget if length(local.platform_alarms) > 0],
      [for widget in local.queue_widgets : widget if length(var.dead_letter_queues) > 0],
      [for widget in local.airflow_widgets : widget if var.airflow_environment != null],
    )
  })
}
