# What Airflow and its tasks may do: MWAA's own needs, then each call that dags/ and scripts/mlops make.

locals {
  environment_arn = "arn:${local.partition}:airflow:${local.region}:${local.account}:environment/${var.environment_name}"
  logs            = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group"
  sagemaker       = "arn:${local.partition}:sagemaker:${local.region}:${local.account}"

  # <project>/<model>/<version>/, as locations.evidence_uri() writes it
  evidence = "${var.platform_bucket_arn}/*/*/*"
}

# https://docs.aws.amazon.com/mwaa/latest/userguide/cross-service-confused-deputy-prevention.html
resource "aws_iam_role" "this" {
  name                 = var.role_name
  description          = "Taken by the MWAA environment ${var.environment_name} and the tasks of its DAGs"
  permissions_boundary = var.permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = ["airflow.amazonaws.com", "airflow-env.amazonaws.com"] }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = local.environment_arn }
      }
    }]
  })
}

# https://docs.aws.amazon.com/mwaa/latest/userguide/mwaa-create-role.html
resource "aws_iam_role_policy" "mwaa" {
  name = "mwaa"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "ReportHealth"
        Effect   = "Allow"
        Action   = "airflow:PublishMetrics"
        Resource = local.environment_arn
      },
      {
        Sid    = "ReadItsBucket"
        Effect = "Allow"
        Action = [
          "s3:GetBucketLocation",
          "s3:GetBucketPublicAccessBlock",
          "s3:GetBucketVersioning",
          "s3:GetEncryptionConfiguration",
          "s3:GetObject",
          "s3:GetObjectVersion",
          "s3:ListBucket",
          "s3:ListBucketVersions",
        ]
        Resource = [local.bucket_arn, "${local.bucket_arn}/*"]
      },
      {
        # S3 knows no resource for this action; it reads one setting.
        Sid      = "SeeWhetherBucketsAreClosed"
        Effect   = "Allow"
        Action   = "s3:GetAccountPublicAccessBlock"
        Resource = "*"
      },
      {
        Sid    = "WriteAndShowItsLogs"
        Effect = "Allow"
        Action = [
          "logs:CreateLogGroup",
          "logs:CreateLogStream",
          "logs:GetLogEvents",
          "logs:GetLogGroupFields",
          "logs:GetLogRecord",
          "logs:PutLogEvents",
        ]
        Resource = "${local.logs}:airflow-${var.environment_name}-*"
      },
      {
        Sid      = "FindLogGroups"
        Effect   = "Allow"
        Action   = "logs:DescribeLogGroups"
        Resource = "${local.logs}:*"
      },
      {
        # CloudWatch knows no resource for this action; the namespaces bound it. The last is that of evaluations.
        Sid       = "WriteMetrics"
        Effect    = "Allow"
        Action    = "cloudwatch:PutMetricData"
        Resource  = "*"
        Condition = { StringEquals = { "cloudwatch:namespace" = ["AWS/MWAA", "AmazonMWAA", "ml-ops/models"] } }
      },
      {
        # The queue of tasks is in an account of MWAA.
        Sid    = "QueueTasks"
        Effect = "Allow"
        Action = [
          "sqs:ChangeMessageVisibility",
          "sqs:DeleteMessage",
          "sqs:GetQueueAttributes",
          "sqs:GetQueueUrl",
          "sqs:ReceiveMessage",
          "sqs:SendMessage",
        ]
        Resource = "arn:${local.partition}:sqs:${local.region}:*:airflow-celery-*"
      },
      ], var.kms_key_arn == null ? [] : [
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
        Resource = var.kms_key_arn
        Condition = {
          StringEquals = { "kms:ViaService" = [for service in ["s3", "secretsmanager", "sns", "sqs"] : "${service}.${local.region}.amazonaws.com"] }
        }
      },
      ], var.kms_key_arn != null ? [] : [
      {
        # The queue is then encrypted with a key of MWAA's account.
        Sid      = "UseKeyOfQueue"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
        Resource = "arn:${local.partition}:kms:${local.region}:*:key/*"
        Condition = {
          StringEquals    = { "kms:ViaService" = ["sqs.${local.region}.amazonaws.com"] }
          StringNotEquals = { "aws:ResourceAccount" = local.account }
        }
      },
    ])
  })
}

# Names are those of scripts/mlops/contracts/versions.py. They do not list models: a new one changes nothing here, and the
# policy stays below IAM's limit however many there are.
resource "aws_iam_role_policy" "dags" {
  name = "dags"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadSettings"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter${var.settings_parameter}"
      },
      {
        # The default channel's, and those of the others, which Terraform names after it.
        Sid    = "ReadSlackConnection"
        Effect = "Allow"
        Action = "secretsmanager:GetSecretValue"
        Resource = [
          var.slack_secret_arn,
          "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:airflow/connections/slack_*",
        ]
      },
      {
        Sid      = "TellPeople"
        Effect   = "Allow"
        Action   = "sns:Publish"
        Resource = [var.topic_arn, "${var.topic_arn}-*"]
      },
      {
        Sid      = "KeepWhoWasTold"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = "${var.platform_bucket_arn}/*/told/*.json"
      },
      {
        # What a model's last release was made from, what its endpoint was asked, and what monitoring found.
        Sid      = "ReadRequests"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [for part in ["recipe.json", "capture/*", "monitoring/*"] : "${var.platform_bucket_arn}/*/*/${part}"]
      },
      {
        # How the newest release is trained, for retrainings that no pipeline starts.
        Sid      = "KeepRecipe"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${var.platform_bucket_arn}/*/*/recipe.json"
      },
      {
        # CloudWatch answers for many alarms at once, so it wants a permission for all of them.
        Sid      = "SeeDriftAlarms"
        Effect   = "Allow"
        Action   = "cloudwatch:DescribeAlarms"
        Resource = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:*"
      },
      {
        Sid      = "WriteMonitoring"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = "${var.platform_bucket_arn}/*/*/monitoring/*.json"
      },
      {
        # Without a condition on the prefix: the training operator first asks whether there is such a bucket.
        Sid      = "ListDataAndEvidence"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = var.platform_bucket_arn
      },
      {
        Sid    = "ReadDataAndEvidence"
        Effect = "Allow"
        Action = "s3:GetObject"
        Resource = concat(["${var.platform_bucket_arn}/${var.data_prefix}*"], [
          for part in ["challenger/*", "champion/*", "comparison.json", "conf/*", "deployment.json", "lineage.json", "model/*"] : "${local.evidence}/${part}"
        ])
      },
      {
        Sid      = "WriteEvidence"
        Effect   = "Allow"
        Action   = "s3:PutObject"
        Resource = [for file in ["comparison.json", "deployment.json", "failure.json", "lineage.json", "override.json"] : "${local.evidence}/${file}"]
      },
      {
        # What an earlier try of the same version left; the bucket keeps the versions.
        Sid      = "ClearEvidence"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = [for part in ["challenger/*", "champion/*", "comparison.json", "failure.json", "lineage.json"] : "${local.evidence}/${part}"]
      },
      {
        Sid    = "RunJobs"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags",
          "sagemaker:CreateProcessingJob",
          "sagemaker:CreateTrainingJob",
          "sagemaker:DescribeProcessingJob",
          "sagemaker:DescribeTrainingJob",
          "sagemaker:StopProcessingJob",
          "sagemaker:StopTrainingJob",
        ]
        Resource = [
          "${local.sagemaker}:training-job/train--*",
          "${local.sagemaker}:processing-job/evaluate-challenger--*",
          "${local.sagemaker}:processing-job/evaluate-champion--*",
        ]
      },
      {
        Sid    = "RegisterModels"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags",
          "sagemaker:CreateModel",
          "sagemaker:DeleteModel",
          "sagemaker:DescribeModel",
        ]
        Resource = "${local.sagemaker}:model/*--*--*--r*"
      },
      {
        # A version is made in its group, which Terraform makes; what people approve is approved here too once it is deployed.
        Sid    = "RegisterVersions"
        Effect = "Allow"
        Action = [
          "sagemaker:CreateModelPackage",
          "sagemaker:DeleteModelPackage",
          "sagemaker:DescribeModelPackage",
          "sagemaker:UpdateModelPackage",
        ]
        Resource = ["${local.sagemaker}:model-package-group/*--*", "${local.sagemaker}:model-package/*--*/*"]
      },
      {
        # The resource of one is optional, and the other knows none: a list is of no version yet.
        Sid      = "FindVersions"
        Effect   = "Allow"
        Action   = ["sagemaker:ListModelPackages", "sagemaker:ListModels"]
        Resource = "*"
      },
      {
        # CreateEndpoint and UpdateEndpoint need both: the endpoint and its configuration.
        Sid    = "Deploy"
        Effect = "Allow"
        Action = [
          "sagemaker:AddTags",
          "sagemaker:CreateEndpoint",
          "sagemaker:CreateEndpointConfig",
          "sagemaker:DeleteEndpoint",
          "sagemaker:DescribeEndpoint",
          "sagemaker:DescribeEndpointConfig",
          "sagemaker:InvokeEndpoint",
          "sagemaker:ListTags",
          "sagemaker:UpdateEndpoint",
        ]
        Resource = ["${local.sagemaker}:endpoint/*--*", "${local.sagemaker}:endpoint-config/*--*--*"]
      },
      {
        Sid       = "HandRoleToSageMaker"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = var.sagemaker_role_arn
        Condition = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
      },
      {
        Sid      = "ReadLogsOfFailures"
        Effect   = "Allow"
        Action   = ["logs:DescribeLogStreams", "logs:GetLogEvents"]
        Resource = [for group in ["Endpoints/*", "ProcessingJobs", "TrainingJobs"] : "${local.logs}:/aws/sagemaker/${group}:*"]
      },
    ]
  })
}
