# For data scientists: to look at everything they need to explain a model, in production too, and to change nothing.
# IAM Identity Center attaches it to a permission set by its name (docs/permissions.md).

resource "aws_iam_policy" "people" {
  name        = "${var.name}-read-only"
  description = "For people: evidence, logs, models and endpoints, read only"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadDataModelsAndEvidence"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:ListBucket"]
        Resource = [local.objects, "${local.objects}/*"]
      },
      {
        Sid    = "SeeModels"
        Effect = "Allow"
        Action = [
          "ecr:DescribeImages", "ecr:DescribeRepositories",
          "sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel",
          "sagemaker:DescribeProcessingJob", "sagemaker:DescribeTrainingJob",
        ]
        Resource = [
          "arn:${local.partition}:ecr:${local.suffix}:repository/*",
          "${local.sagemaker}:*",
        ]
      },
      {
        Sid    = "ReadLogsAndDashboards"
        Effect = "Allow"
        Action = [
          "cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "logs:DescribeLogStreams", "logs:FilterLogEvents",
          "logs:GetLogEvents", "logs:StartQuery", "ssm:GetParameter",
        ]
        # The dashboards query what they show as the person who looks.
        Resource = concat(
          [for group in ["/aws/events/${var.name}-sagemaker*", "/aws/sagemaker/*", "airflow-${var.airflow_environment}-*"] : "arn:${local.partition}:logs:${local.suffix}:log-group:${group}"],
          [local.owned.alarms, local.owned.dashboards, local.owned.parameters],
        )
      },
      {
        # None of these knows a resource: they list. A query's results are told by its id.
        Sid    = "List"
        Effect = "Allow"
        Action = [
          "cloudwatch:GetMetricData", "cloudwatch:ListDashboards", "logs:GetQueryResults", "sagemaker:ListEndpoints",
          "sagemaker:ListModels", "sagemaker:ListProcessingJobs", "sagemaker:ListTrainingJobs",
        ]
        Resource = "*"
      },
      {
        Sid      = "ListLogGroups"
        Effect   = "Allow"
        Action   = "logs:DescribeLogGroups"
        Resource = "arn:${local.partition}:logs:${local.suffix}:log-group:*"
      },
      {
        Sid      = "WatchAirflow"
        Effect   = "Allow"
        Action   = "airflow:CreateWebLoginToken"
        Resource = "arn:${local.partition}:airflow:${local.suffix}:role/${var.airflow_environment}/Viewer"
      },
      local.use_key_to_read,
    ]
  })
}

locals {
  use_key_to_read = merge(local.use_key, { Action = "kms:Decrypt" })
}
