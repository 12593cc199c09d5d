# The role that training, processing and endpoints take: the data, the models listed, and nothing else.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  logs    = "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.name}:${local.account}:log-group"

  # As versions.endpoint_name() writes them.
  endpoints = { for name in keys(var.repositories) : name => replace(name, "/", "--") }

  log_groups = toset(concat(
    ["/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs"],
    [for endpoint in values(local.endpoints) : "/aws/sagemaker/Endpoints/${endpoint}"],
  ))

  results = [for name in sort(keys(var.repositories)) : "${name}/*"]

  # What jobs make, by `<version>/`, and what endpoints keep of their requests. Not comparison.json and lineage.json beside it: a model's own code takes this
  # role, and a deployment rests on them.
  written = flatten([
    for name in sort(keys(var.repositories)) : [for part in ["*/model", "*/challenger", "*/champion", "capture"] : "${name}/${part}/*"]
  ])
}

resource "aws_iam_role" "execution" {
  name                 = var.role_name
  description          = "Taken by SageMaker's jobs and endpoints"
  permissions_boundary = var.permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "execution" {
  name = "execution"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid       = "ListDataAndModels"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = var.bucket_arn
        Condition = { StringLike = { "s3:prefix" = concat([var.data_prefix, "${var.data_prefix}*"], local.results) } }
      },
      {
        Sid      = "ReadDataAndModels"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [for prefix in concat(["${var.data_prefix}*"], local.results) : "${var.bucket_arn}/${prefix}"]
      },
      {
        Sid      = "WriteModelsEvaluationsAndRequests"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
        Resource = [for prefix in local.written : "${var.bucket_arn}/${prefix}"]
      },
      {
        Sid    = "PullImages"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
        ]
        Resource = [for name in sort(keys(var.repositories)) : var.repositories[name]]
      },
      {
        # ECR knows no resource for this action: the token opens only what PullImages allows.
        Sid      = "LogInToRegistry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = [for group in sort(tolist(local.log_groups)) : "${local.logs}:${group}:*"]
      },
      {
        # CloudWatch knows no resource for this action; the namespace bounds it.
        Sid       = "WriteMetrics"
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringEquals = { "cloudwatch:namespace" = sort(tolist(var.metric_namespaces)) } }
      },
      ], var.kms_key_arn == null ? [] : [
      {
        # Of the bucket's objects, and for nothing else the key encrypts.
        Sid       = "UseKeyOfBucket"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${data.aws_region.current.name}.amazonaws.com" } }
      },
    ])
  })
}

# SageMaker would make these itself, and keep their logs for ever.
resource "aws_cloudwatch_log_group" "this" {
  for_each = local.log_groups

  name              = each.value
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# Where SageMaker's console lists the versions of a model, from any source.
resource "aws_sagemaker_model_package_group" "this" {
  for_each = local.endpoints

  model_package_group_name        = each.value
  model_package_group_description = "Versions of ${each.key}"
}
