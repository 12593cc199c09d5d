# For data scientists: to look at everything they need to explain a model, in production too, and to change nothing.
# IAM Identity Center attaches it to a permission set by its name (docs/operate/permissions.md).

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
          "sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup", "sagemaker:DescribeProcessingJob",
          "sagemaker:DescribeTrainingJob",
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
        # None of these knows a resource: they list. A query's results are found by its id.
        Sid    = "List"
        Effect = "Allow"
        Action = [
          "cloudwatch:GetMetricData", "cloudwatch:ListDashboards", "logs:GetQueryResults", "sagemaker:ListEndpoints",
          "sagemaker:ListModelPackageGroups", "sagemaker:ListModelPackages", "sagemaker:ListModels", "sagemaker:ListProcessingJobs", "sagemaker:ListTrainingJobs",
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

# For those who decide what goes into production, beside the policy above: to approve and reject versions in
# SageMaker's model registry. Not to change what a version is deployed as, which stands in its metadata.
resource "aws_iam_policy" "approvers" {
  name        = "${var.name}-approver"
  description = "For people who approve models: an approval deploys the version"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ApproveVersions"
        Effect   = "Allow"
        Action   = "sagemaker:UpdateModelPackage"
        Resource = [for project in local.projects : "${local.sagemaker}:model-package/${project}--*/*"]
        Condition = {
          StringEquals = { "sagemaker:ModelApprovalStatus" = ["Approved", "PendingManualApproval", "Rejected"] }
          Null = merge(
            { for key in local.metadata : "sagemaker:CustomerMetadataProperties/${key}" => "true" },
            { "sagemaker:CustomerMetadataPropertiesToRemove" = "true" },
          )
        }
      },
    ]
  })
}

locals {
  # What scripts/mlops/deployment/approval.py reads of a version.
  metadata = ["mlops:deployed-at", "mlops:deployment-sha256", "mlops:deployment-uri", "mlops:model-version"]
}
