# What people look at, and what wakes them: dashboards and alarms of every model and of the platform.
# models.tf has the models', platform.tf the platform's.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  console    = "https://${local.region}.console.aws.amazon.com"
  cloudwatch = "${local.console}/cloudwatch/home?region=${local.region}"
  # CloudWatch's console wants a group's name encoded twice, with $ for %.
  log_link   = "${local.cloudwatch}#logsV2:log-groups/log-group/"
  dashboards = "${local.cloudwatch}#dashboards/dashboard/"

  platform_dashboard = "${var.name}-platform"
  model_dashboards   = { for name, endpoint in var.models : name => "${var.name}-${endpoint}" }

  # The widgets of each dashboard, as rows: type and place, then the properties, without those that `alike` has for the
  # type. `dimensions` are inserted into every metric of the row that has a namespace, a name and options only.
  widgets = merge(
    { (local.platform_dashboard) = local.platform_widgets },
    { for name, rows in local.model_widgets : local.model_dashboards[name] => rows },
  )
  alike = {
    alarm  = {}
    log    = { region = local.region, view = "table" }
    metric = { region = local.region, view = "timeSeries", yAxis = { left = { min = 0, showUnits = false } } }
    text   = {}
  }

  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
  bodies = {
    for dashboard, rows in local.widgets : dashboard => jsonencode({
      periodOverride = "inherit"
      widgets = [
        for row in rows : {
          type   = row.type
          x      = row.x
          y      = row.y
          width  = row.width
          height = row.height
          properties = merge(
            local.alike[row.type],
            { for key, value in row : key => value if !contains(["type", "x", "y", "width", "height", "dimensions"], key) },
            # a metric is a namespace, a name, dimensions and options; an expression is options only
            { for key, metrics in row : key => [
              for metric in metrics : concat(
                slice(metric, 0, length(metric) - 1),
                length(metric) == 3 ? lookup(row, "dimensions", []) : [],
                slice(metric, length(metric) - 1, length(metric)),
              )
            ] if key == "metrics" },
          )
        }
      ]
    })
  }
}

# SageMaker publishes no metric of a job's state, so its events are kept for the dashboards to list.
resource "aws_cloudwatch_log_group" "states" {
  name              = "/aws/events/${var.name}-sagemaker"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_cloudwatch_event_rule" "states" {
  name        = "${var.name}-sagemaker-states"
  description = "Every change of state of a SageMaker job or endpoint"
  event_pattern = jsonencode({
    source = ["aws.sagemaker"]
    detail-type = [
      "SageMaker Endpoint State Change",
      "SageMaker Processing Job State Change",
      "SageMaker Training Job State Change",
    ]
  })
}

resource "aws_cloudwatch_event_target" "states" {
  rule = aws_cloudwatch_event_rule.states.name
  arn  = aws_cloudwatch_log_group.states.arn

  # Without it the first events would be lost.
  depends_on = [aws_cloudwatch_log_resource_policy.states]
}

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-cloudwatchlogs-permissions
resource "aws_cloudwatch_log_resource_policy" "states" {
  policy_name = "${var.name}-sagemaker-states"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "KeepStates"
      Effect    = "Allow"
      Principal = { Service = ["delivery.logs.amazonaws.com", "events.amazonaws.com"] }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = "${aws_cloudwatch_log_group.states.arn}:*"
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.states.arn } }
    }]
  })
}
