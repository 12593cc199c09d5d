# Logs and metrics for a second monitoring system, as they come.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  service = var.log_destination_arn == null ? "none" : split(":", var.log_destination_arn)[2]
  groups  = var.log_destination_arn == null ? {} : var.log_groups

  # A stream is written to with a role. A Lambda is asked by its own policy, a log destination by its.
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
  put = { firehose = "firehose:PutRecord", kinesis = "kinesis:PutRecord" }

  writers  = contains(keys(local.put), local.service) ? toset([local.service]) : toset([])
  invokers = local.service == "lambda" ? local.groups : {}
  streams  = var.metric_destination_arn == null ? toset([]) : toset(["metrics"])
}

resource "aws_iam_role" "logs" {
  for_each = local.writers

  name                 = "${var.name}-log-forwarding"
  description          = "Taken by CloudWatch Logs to write to the second monitoring system"
  permissions_boundary = var.permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringLike = { "aws:SourceArn" = "arn:${local.partition}:logs:${local.region}:${local.account}:*" } }
    }]
  })
}

resource "aws_iam_role_policy" "logs" {
  for_each = local.writers

  name = "write"
  role = aws_iam_role.logs[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "WriteLogs"
      Effect   = "Allow"
      Action   = local.put[each.key]
      Resource = var.log_destination_arn
    }]
  })
}

resource "aws_lambda_permission" "logs" {
  for_each = local.invokers

  statement_id   = "${var.name}-${substr(sha256(each.value), 0, 12)}"
  action         = "lambda:InvokeFunction"
  function_name  = var.log_destination_arn
  principal      = "logs.amazonaws.com"
  source_arn     = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${each.value}:*"
  source_account = local.account
}

resource "aws_cloudwatch_log_subscription_filter" "this" {
  for_each = local.groups

  name            = "${var.name}-forwarding"
  log_group_name  = each.value
  destination_arn = var.log_destination_arn
  role_arn        = one(values(aws_iam_role.logs)[*].arn)
  # everything
  filter_pattern = ""

  # AWS tries the destination when a filter is made.
  depends_on = [aws_iam_role_policy.logs, aws_lambda_permission.logs]
}

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-metric-streams-trustpolicy.html
resource "aws_iam_role" "metrics" {
  for_each = local.streams

  name                 = "${var.name}-metric-forwarding"
  description          = "Taken by CloudWatch to write metrics to the second monitoring system"
  permissions_boundary = var.permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "streams.metrics.cloudwatch.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "metrics" {
  for_each = local.streams

  name = "write"
  role = aws_iam_role.metrics[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "WriteMetrics"
      Effect   = "Allow"
      Action   = ["firehose:PutRecord", "firehose:PutRecordBatch"]
      Resource = var.metric_destination_arn
    }]
  })
}

resource "aws_cloudwatch_metric_stream" "this" {
  for_each = local.streams

  name          = "${var.name}-${each.key}"
  role_arn      = aws_iam_role.metrics[each.key].arn
  firehose_arn  = var.metric_destination_arn
  output_format = var.metric_format

  dynamic "include_filter" {
    for_each = var.metric_namespaces

    content {
      namespace = include_filter.value
    }
  }

  depends_on = [aws_iam_role_policy.metrics]
}
