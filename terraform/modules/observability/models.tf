# One dashboard and five alarms a model. An endpoint comes with a model's first deployment and may go again, so
# an alarm without data is content: only what an endpoint says can wake somebody.

locals {
  endpoint_dimensions = { for model, endpoint in var.models : model => { EndpointName = endpoint, VariantName = var.variant } }
  endpoint_groups     = { for model, endpoint in var.models : model => "/aws/sagemaker/Endpoints/${endpoint}" }

  # The kinds of alarms of a model. `name` (%s is the endpoint), `says` and `dimensions` make what differs by model; the
  # rest is the input `alarm` of module alarm.
  model_alarms = {
    # SageMaker sends 1 for a 5xx and 0 for everything else: the average is the share.
    errors = {
      name                = "%s-errors"
      says                = "of every 100 requests, more than ${var.thresholds.error_share * 100} end in a 5xx"
      dimensions          = ["EndpointName", "VariantName"]
      namespace           = "AWS/SageMaker"
      metric_name         = "Invocation5XXErrors"
      statistic           = "Average"
      period              = 60
      evaluation_periods  = 5
      datapoints_to_alarm = 3
      threshold           = var.thresholds.error_share
    }

    # InvocationModelErrors counts 4xx, 5xx, and requests without any answer; the last are neither of the former.
    unanswered = {
      name       = "%s-unanswered"
      says       = "requests get no answer: the container is gone, hangs, or breaks the connection"
      dimensions = ["EndpointName", "VariantName"]
      namespace  = "AWS/SageMaker"
      expression = {
        id         = "unanswered"
        label      = "Requests without an answer"
        expression = "failed - FILL(client, 0) - FILL(server, 0)"
        metrics    = { failed = "InvocationModelErrors", client = "Invocation4XXErrors", server = "Invocation5XXErrors" }
      }
      statistic           = "Sum"
      period              = 300
      evaluation_periods  = 3
      datapoints_to_alarm = 2
      threshold           = 0
    }

    latency = {
      name                = "%s-latency"
      says                = "one request in a hundred waits longer than ${var.thresholds.latency_ms} ms for the model"
      dimensions          = ["EndpointName", "VariantName"]
      namespace           = "AWS/SageMaker"
      metric_name         = "ModelLatency"
      statistic           = "p99"
      period              = 60
      evaluation_periods  = 5
      datapoints_to_alarm = 3
      # SageMaker counts microseconds.
      threshold = var.thresholds.latency_ms * 1000
    }

    memory = {
      name                = "%s-memory"
      says                = "its containers fill more than ${var.thresholds.memory_percent} % of an instance's memory and will be killed"
      dimensions          = ["EndpointName", "VariantName"]
      namespace           = "/aws/sagemaker/Endpoints"
      metric_name         = "MemoryUtilization"
      statistic           = "Maximum"
      period              = 300
      evaluation_periods  = 3
      datapoints_to_alarm = 3
      threshold           = var.thresholds.memory_percent
    }

    # Announced to nobody: the DAG model_monitoring notifies the model's channel, and EventBridge gets every alarm's
    # state. It stays up for a day, so a daily schedule sees it; the next run of the DAG says whether it still holds.
    drift = {
      name                = "drift-%s"
      says                = "what its endpoint is asked differs from what it was trained on"
      dimensions          = ["EndpointName"]
      namespace           = var.metric_namespace
      metric_name         = "Drift"
      statistic           = "Maximum"
      period              = 86400
      comparison_operator = "GreaterThanOrEqualToThreshold"
      threshold           = 1
      announced           = []
    }
  }
  # In the order the dashboard shows them.
  model_alarm_kinds = ["errors", "unanswered", "latency", "memory", "drift"]

  endpoint_metrics = { for model, endpoint in var.models : model => ["EndpointName", endpoint, "VariantName", var.variant] }

  # The rows of each model's dashboard, which main.tf renders.
  model_widgets = {
    for model, endpoint in var.models : model => [
      {
        type = "text", x = 0, y = 0, width = 24, height = 2
        markdown = join(" · ", [
          "## ${model}\n[Endpoint](${local.console}/sagemaker/home?region=${local.region}#/endpoints/${endpoint})",
          "[Log of the endpoint](${local.log_link}${replace(local.endpoint_groups[model], "/", "$252F")})",
          "[Logs of training](${local.log_link}$252Faws$252Fsagemaker$252FTrainingJobs)",
          "[Logs of evaluation](${local.log_link}$252Faws$252Fsagemaker$252FProcessingJobs)",
          "[The platform](${local.dashboards}${local.platform_dashboard})",
        ])
      },
      {
        type   = "alarm", x = 0, y = 2, width = 24, height = 2
        title  = "Alarms"
        alarms = [for kind in local.model_alarm_kinds : module.model_alarm[kind].alarms[model].arn]
      },
      {
        type       = "metric", x = 0, y = 4, width = 8, height = 6
        title      = "Requests a second"
        dimensions = local.endpoint_metrics[model]
        stat       = "Sum"
        period     = 60
        metrics = [
          [{ id = "rate", expression = "requests / PERIOD(requests)", label = "Requests a second" }],
          ["AWS/SageMaker", "Invocations", { id = "requests", visible = false }],
        ]
      },
      {
        type       = "metric", x = 8, y = 4, width = 8, height = 6
        title      = "How long the model takes (ms)"
        dimensions = local.endpoint_metrics[model]
        period     = 60
        metrics = [
          [{ id = "median", expression = "p50 / 1000", label = "half are faster (p50)" }],
          [{ id = "slowest", expression = "p99 / 1000", label = "99 of 100 are faster (p99)" }],
          [{ id = "added", expression = "overhead / 1000", label = "added by SageMaker (average)" }],
          ["AWS/SageMaker", "ModelLatency", { id = "p50", stat = "p50", visible = false }],
          ["AWS/SageMaker", "ModelLatency", { id = "p99", stat = "p99", visible = false }],
          ["AWS/SageMaker", "OverheadLatency", { id = "overhead", stat = "Average", visible = false }],
        ]
        annotations = { horizontal = [{ label = "alarm", value = var.thresholds.latency_ms }] }
      },
      {
        type       = "metric", x = 16, y = 4, width = 8, height = 6
        title      = "Errors"
        dimensions = local.endpoint_metrics[model]
        stat       = "Sum"
        period     = 60
        metrics = [
          [{ id = "unanswered", expression = "failed - FILL(client, 0) - FILL(server, 0)", label = "no answer" }],
          ["AWS/SageMaker", "Invocation5XXErrors", { id = "server", label = "5xx" }],
          ["AWS/SageMaker", "Invocation4XXErrors", { id = "client", label = "4xx" }],
          ["AWS/SageMaker", "InvocationModelErrors", { id = "failed", visible = false }],
        ]
      },
      {
        type       = "metric", x = 0, y = 10, width = 8, height = 6
        title      = "CPU, memory, disk and GPU of its instances (%)"
        dimensions = local.endpoint_metrics[model]
        stat       = "Average"
        period     = 60
        metrics = [
          ["/aws/sagemaker/Endpoints", "CPUUtilization", { label = "CPU, 100 a core" }],
          ["/aws/sagemaker/Endpoints", "MemoryUtilization", { label = "memory" }],
          ["/aws/sagemaker/Endpoints", "DiskUtilization", { label = "disk" }],
          ["/aws/sagemaker/Endpoints", "GPUUtilization", { label = "GPU, 100 each" }],
        ]
      },
      {
        type       = "metric", x = 8, y = 10, width = 8, height = 6
        title      = "Requests a minute and instance"
        dimensions = local.endpoint_metrics[model]
        stat       = "Sum"
        period     = 60
        metrics = [
          ["AWS/SageMaker", "InvocationsPerInstance", { label = "requests" }],
        ]
      },
      {
        type       = "metric", x = 16, y = 10, width = 8, height = 6
        title      = "Instances"
        dimensions = local.endpoint_metrics[model]
        period     = 60
        # SageMaker publishes no count. It sends 1/instances with every request, and each instance states its
        # memory once a minute.
        metrics = [
          [{ id = "serving", expression = "requests / share", label = "that serve requests" }],
          ["/aws/sagemaker/Endpoints", "MemoryUtilization", { id = "reporting", stat = "SampleCount", label = "that report" }],
          ["AWS/SageMaker", "Invocations", { id = "requests", stat = "Sum", visible = false }],
          ["AWS/SageMaker", "InvocationsPerInstance", { id = "share", stat = "Sum", visible = false }],
        ]
      },
      {
        type   = "metric", x = 0, y = 16, width = 12, height = 6
        title  = "CPU and memory of its training and evaluation jobs (%)"
        period = 60
        # A job's name holds the model's: versions.job_name().
        metrics = [
          for job in ["Training", "Processing"] :
          [{ id = lower(job), expression = "SEARCH('{\"/aws/sagemaker/${job}Jobs\",Host} MetricName=(\"CPUUtilization\" OR \"MemoryUtilization\") Host=${endpoint}', 'Average', 60)" }]
        ]
      },
      {
        type   = "metric", x = 12, y = 16, width = 12, height = 6
        title  = "Evaluations: challenger and champion"
        period = 3600
        yAxis  = { left = { showUnits = false } }
        metrics = [
          [{ id = "evaluations", expression = "SEARCH('{\"${var.metric_namespace}\",EndpointName,Role} EndpointName=\"${endpoint}\"', 'Average', 3600)" }],
        ]
      },
      {
        type       = "metric", x = 0, y = 22, width = 12, height = 6
        title      = "Drift: columns that differ from training"
        dimensions = ["EndpointName", endpoint]
        stat       = "Maximum"
        period     = 3600
        yAxis      = { left = { min = 0, showUnits = false }, right = { min = 0, showUnits = false } }
        metrics = [
          [var.metric_namespace, "DriftedFeatures", { label = "columns that drifted" }],
          [var.metric_namespace, "WorstPSI", { label = "worst PSI", yAxis = "right" }],
        ]
      },
      {
        type       = "metric", x = 12, y = 22, width = 12, height = 6
        title      = "Requests that monitoring compared (rows)"
        dimensions = ["EndpointName", endpoint]
        stat       = "Maximum"
        period     = 3600
        metrics = [
          [var.metric_namespace, "MonitoredRows", { label = "rows" }],
        ]
      },
      {
        type  = "log", x = 0, y = 28, width = 24, height = 6
        title = "States of its jobs and its endpoint"
        query = join(" | ", [
          "SOURCE '${aws_cloudwatch_log_group.states.name}'",
          "fields @timestamp, coalesce(detail.TrainingJobName, detail.ProcessingJobName, detail.EndpointName) as name, coalesce(detail.TrainingJobStatus, detail.ProcessingJobStatus, detail.EndpointStatus) as state, detail.FailureReason as reason",
          "filter name like /^(.+--)?${endpoint}(--.*|-[0-9a-f]{8})?$/",
          "sort @timestamp desc",
          "limit 50",
        ])
      },
      {
        type  = "log", x = 0, y = 34, width = 24, height = 6
        title = "Errors in the endpoint's log"
        query = join(" | ", [
          "SOURCE '${local.endpoint_groups[model]}'",
          "fields @timestamp, @message",
          "filter @message like /(?i)error|exception|traceback|critical/",
          "sort @timestamp desc",
          "limit 50",
        ])
      },
    ]
  }
}

module "model_alarm" {
  source   = "../alarm"
  for_each = local.model_alarms

  alarm     = each.value
  topic_arn = var.topic_arn
  watched = {
    for model, endpoint in var.models : model => {
      name        = "${var.name}-${format(each.value.name, endpoint)}"
      description = "${model}: ${each.value.says}. Look: ${local.dashboards}${local.model_dashboards[model]}"
      dimensions  = { for dimension in each.value.dimensions : dimension => local.endpoint_dimensions[model][dimension] }
    }
  }
}

resource "aws_cloudwatch_dashboard" "model" {
  for_each = var.models

  dashboard_name = local.model_dashboards[each.key]
  dashboard_body = local.bodies[local.model_dashboards[each.key]]
}
