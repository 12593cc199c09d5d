# The platform's dashboard, and the alarms of Airflow. The Lambda's alarms are beside it, in module dag-trigger.

locals {
  watched = toset(var.airflow_environment == null ? [] : [var.airflow_environment])
  failing = var.airflow_environment == null ? toset([]) : var.dags
  # For what is made either way and shown only if there is one.
  airflow = coalesce(var.airflow_environment, "none")

  # The kinds of alarms of Airflow, as in models.tf; `watched` has the name, description and dimensions of each alarm.
  airflow_alarms = {
    scheduler = {
      watched = {
        for environment in local.watched : environment => {
          name       = "scheduler"
          says       = "the scheduler gives no sign of life, so no DAG starts"
          dimensions = { Function = "Scheduler", Environment = environment }
        }
      }
      namespace           = "AmazonMWAA"
      metric_name         = "SchedulerHeartbeat"
      statistic           = "Sum"
      period              = 300
      evaluation_periods  = 3
      comparison_operator = "LessThanThreshold"
      threshold           = 1
      # Silence is what it listens for.
      treat_missing_data = "breaching"
    }

    imports = {
      watched = {
        for environment in local.watched : environment => {
          name       = "imports"
          says       = "a DAG's file cannot be imported, so the DAG is gone"
          dimensions = { Function = "DAG Processing", Environment = environment }
        }
      }
      namespace          = "AmazonMWAA"
      metric_name        = "ImportErrors"
      statistic          = "Maximum"
      period             = 300
      evaluation_periods = 2
      threshold          = 0
    }

    # Airflow sends a run's duration when it ends: a duration of a failed run is a failed run. None says that it is over.
    failed_runs = {
      watched = {
        for dag in local.failing : dag => {
          name       = "${dag}-failed"
          says       = "a run of ${dag} failed"
          dimensions = { DAG = dag, Environment = local.airflow }
        }
      }
      namespace   = "AmazonMWAA"
      metric_name = "DAGDurationFailed"
      statistic   = "SampleCount"
      period      = 300
      threshold   = 0
      announced   = ["ALARM"]
    }
  }

  # A widget shows 100 alarms at most; each model's own dashboard has all of its own.
  model_errors = slice(
    [for name in sort(keys(var.models)) : module.model_alarm["errors"].alarms[name].arn],
    0, min(40, length(var.models)),
  )

  platform_alarms = concat(
    flatten([for kind in ["scheduler", "imports", "failed_runs"] : values(module.airflow_alarm[kind].alarms)[*].arn]),
    [for name in var.other_alarms : "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${name}"],
    local.model_errors,
  )

  # https://docs.aws.amazon.com/mwaa/latest/userguide/access-metrics-cw.html
  scheduler = ["Function", "Scheduler", "Environment", local.airflow]
  executor  = ["Function", "Executor", "Environment", local.airflow]
  parsing   = ["Function", "DAG Processing", "Environment", local.airflow]

  airflow_groups = { for part in ["DAGProcessing", "Scheduler", "Task", "WebServer", "Worker"] : part => "airflow-${local.airflow}-${part}" }

  # The rows of the platform's dashboard, which main.tf renders.
  platform_widgets = concat(
    local.widgets_everywhere,
    [for widget in local.alarm_widgets : widget if length(local.platform_alarms) > 0],
    [for widget in local.queue_widgets : widget if length(var.dead_letter_queues) > 0],
    [for widget in local.airflow_widgets : widget if var.airflow_environment != null],
  )

  widgets_everywhere = [
    {
      type     = "text", x = 0, y = 0, width = 6, height = 8
      markdown = "## Models\n${join("\n", [for name in sort(keys(var.models)) : "* [${name}](${local.dashboards}${local.model_dashboards[name]})"])}"
    },
    {
      type   = "metric", x = 6, y = 4, width = 9, height = 4
      title  = "Requests to each model in 5 minutes"
      period = 300
      metrics = [
        [{ id = "requests", expression = "SEARCH('{AWS/SageMaker,EndpointName,VariantName} MetricName=\"Invocations\"', 'Sum', 300)", label = "" }],
      ]
    },
    {
      type   = "metric", x = 15, y = 4, width = 9, height = 4
      title  = "5xx of each model in 5 minutes"
      period = 300
      metrics = [
        [{ id = "errors", expression = "SEARCH('{AWS/SageMaker,EndpointName,VariantName} MetricName=\"Invocation5XXErrors\"', 'Sum', 300)", label = "" }],
      ]
    },
    {
      type       = "metric", x = 0, y = 8, width = 8, height = 6
      title      = "Lambda ${var.trigger_function}: calls"
      dimensions = ["FunctionName", var.trigger_function]
      stat       = "Sum"
      period     = 300
      metrics = [
        ["AWS/Lambda", "Invocations", { label = "calls" }],
        ["AWS/Lambda", "Errors", { label = "errors" }],
        ["AWS/Lambda", "Throttles", { label = "turned away" }],
        ["AWS/Lambda", "ConcurrentExecutions", { label = "at once", stat = "Maximum" }],
      ]
    },
    {
      type       = "metric", x = 8, y = 8, width = 8, height = 6
      title      = "Lambda ${var.trigger_function}: how long it takes (ms)"
      dimensions = ["FunctionName", var.trigger_function]
      period     = 300
      metrics = [
        ["AWS/Lambda", "Duration", { stat = "p50", label = "p50" }],
        ["AWS/Lambda", "Duration", { stat = "p99", label = "p99" }],
      ]
    },
    {
      type  = "log", x = 0, y = 14, width = 24, height = 6
      title = "Jobs and endpoints that failed"
      query = join(" | ", [
        "SOURCE '${aws_cloudwatch_log_group.states.name}'",
        "fields @timestamp, coalesce(detail.TrainingJobName, detail.ProcessingJobName, detail.EndpointName) as name, coalesce(detail.TrainingJobStatus, detail.ProcessingJobStatus, detail.EndpointStatus) as state, detail.FailureReason as reason",
        "filter state like /(?i)fail/",
        "sort @timestamp desc",
        "limit 50",
      ])
    },
  ]

  # The widgets that only some environments have.
  alarm_widgets = [
    {
      type   = "alarm", x = 6, y = 0, width = 18, height = 4
      title  = "Alarms of the platform, and errors of the models"
      alarms = local.platform_alarms
    },
  ]

  queue_widgets = [
    {
      type   = "metric", x = 16, y = 8, width = 8, height = 6
      title  = "Events nobody could handle"
      stat   = "Maximum"
      period = 300
      metrics = concat(
        [for queue in sort(tolist(var.dead_letter_queues)) : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue, { label = queue }]],
        [for queue in sort(tolist(var.dead_letter_queues)) : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", queue, { label = "seconds the oldest waits", yAxis = "right" }]],
      )
    },
  ]

  airflow_widgets = [
    {
      type     = "text", x = 0, y = 20, width = 24, height = 2
      markdown = "## Airflow ${local.airflow}\n[Environment](${local.console}/mwaa/home?region=${local.region}#environments/${local.airflow}) · ${join(" · ", [for part, group in local.airflow_groups : "[Log of ${part}](${local.log_link}${group})"])}"
    },
    {
      type       = "metric", x = 0, y = 22, width = 8, height = 6
      title      = "Tasks"
      dimensions = local.executor
      stat       = "Maximum"
      period     = 60
      metrics = [
        ["AmazonMWAA", "QueuedTasks", { label = "queued" }],
        ["AmazonMWAA", "RunningTasks", { label = "running" }],
      ]
    },
    {
      type       = "metric", x = 8, y = 22, width = 8, height = 6
      title      = "Signs of life of the scheduler in 5 minutes"
      dimensions = local.scheduler
      stat       = "Sum"
      period     = 300
      metrics = [
        ["AmazonMWAA", "SchedulerHeartbeat", { label = "heartbeats" }],
      ]
    },
    {
      type       = "metric", x = 16, y = 22, width = 8, height = 6
      title      = "DAG files"
      dimensions = local.parsing
      stat       = "Maximum"
      period     = 300
      metrics = [
        ["AmazonMWAA", "ImportErrors", { label = "that cannot be imported" }],
        ["AmazonMWAA", "TotalParseTime", { label = "seconds to read all", yAxis = "right" }],
      ]
    },
    {
      type   = "metric", x = 0, y = 28, width = 12, height = 6
      title  = "Runs that ended"
      stat   = "SampleCount"
      period = 3600
      metrics = concat(
        [for dag in sort(tolist(var.dags)) : ["AmazonMWAA", "DAGDurationSuccess", "DAG", dag, "Environment", local.airflow, { label = "${dag} succeeded" }]],
        [for dag in sort(tolist(var.dags)) : ["AmazonMWAA", "DAGDurationFailed", "DAG", dag, "Environment", local.airflow, { label = "${dag} failed" }]],
      )
    },
    {
      type   = "metric", x = 12, y = 28, width = 12, height = 6
      title  = "How long successful runs take (minutes)"
      period = 3600
      metrics = concat(
        [for index, dag in sort(tolist(var.dags)) : [{ id = "e${index}", expression = "m${index} / 60000", label = dag }]],
        [for index, dag in sort(tolist(var.dags)) : ["AmazonMWAA", "DAGDurationSuccess", "DAG", dag, "Environment", local.airflow, { id = "m${index}", stat = "Maximum", visible = false }]],
      )
    },
  ]
}

module "airflow_alarm" {
  source   = "../alarm"
  for_each = local.airflow_alarms

  alarm     = each.value
  topic_arn = var.topic_arn
  watched = {
    for thing, alarm in each.value.watched : thing => {
      name        = "${var.name}-airflow-${alarm.name}"
      description = "${local.airflow}: ${alarm.says}. Look: ${local.dashboards}${local.platform_dashboard}"
      dimensions  = alarm.dimensions
    }
  }
}

resource "aws_cloudwatch_dashboard" "platform" {
  dashboard_name = local.platform_dashboard
  dashboard_body = local.bodies[local.platform_dashboard]
}
