# The most that any role of this platform can ever do, whatever its own policy says: the pipeline makes no role
# without it, and cannot change it. No IAM but to hand SageMaker its role, no network, never Terraform's state.

locals {
  boundary_statements = [
    {
      # These know no resource, and change nothing but traces in X-Ray.
      Sid    = "WithoutResource"
      Effect = "Allow"
      Action = [
        "ecr:GetAuthorizationToken", "s3:GetAccountPublicAccessBlock", "sagemaker:ListModelPackages", "sagemaker:ListModels",
        "xray:PutTelemetryRecords", "xray:PutTraceSegments",
      ]
      Resource = "*"
    },
    {
      # Nor does this; the namespaces are those of SageMaker, MWAA and our models.
      Sid       = "WriteMetrics"
      Effect    = "Allow"
      Action    = "cloudwatch:PutMetricData"
      Resource  = "*"
      Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/MWAA", "AmazonMWAA", "ml-ops/models"] } }
    },
    {
      Sid    = "ThePlatform"
      Effect = "Allow"
      Action = [
        "airflow:InvokeRestApi", "airflow:PublishMetrics",
        "cloudwatch:DescribeAlarms",
        "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages",
        "ecr:DescribeRepositories", "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:ListTagsForResource", "ecr:PutImage",
        "ecr:UploadLayerPart",
        "firehose:PutRecord", "firehose:PutRecordBatch",
        "kinesis:PutRecord", "kinesis:PutRecords",
        "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey",
        "lambda:InvokeFunction",
        "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:GetLogEvents",
        "logs:GetLogGroupFields", "logs:GetLogRecord", "logs:PutLogEvents",
        "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetBucketLocation", "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketVersioning", "s3:GetEncryptionConfiguration", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket",
        "s3:ListBucketVersions", "s3:PutObject",
        "sagemaker:AddTags", "sagemaker:CreateEndpoint", "sagemaker:CreateEndpointConfig", "sagemaker:CreateModel",
        "sagemaker:CreateModelPackage", "sagemaker:DeleteModelPackage", "sagemaker:DescribeModelPackage",
        "sagemaker:UpdateModelPackage",
        "sagemaker:CreateProcessingJob", "sagemaker:CreateTrainingJob", "sagemaker:DeleteEndpoint",
        "sagemaker:DeleteEndpointConfig", "sagemaker:DeleteModel", "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel", "sagemaker:DescribeProcessingJob",
        "sagemaker:DescribeTrainingJob", "sagemaker:InvokeEndpoint", "sagemaker:ListTags", "sagemaker:StopProcessingJob",
        "sagemaker:StopTrainingJob", "sagemaker:UpdateEndpoint",
        "secretsmanager:GetSecretValue",
        "sns:Publish",
        "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "ssm:GetParameter",
      ]
      Resource = [
        "arn:${local.partition}:airflow:${local.suffix}:environment/${var.airflow_environment}",
        "arn:${local.partition}:airflow:${local.suffix}:role/${var.airflow_environment}/Op",
        "arn:${local.partition}:cloudwatch:${local.suffix}:alarm:*",
        "arn:${local.partition}:ecr:${local.suffix}:repository/*",
        "arn:${local.partition}:firehose:${local.suffix}:deliverystream/*",
        "arn:${local.partition}:kinesis:${local.suffix}:stream/*",
        # The queue of MWAA's workers, and its key, are in an account of AWS.
        "arn:${local.partition}:kms:${local.region}:*:key/*",
        "arn:${local.partition}:sqs:${local.region}:*:airflow-celery-*",
        "arn:${local.partition}:lambda:${local.suffix}:function:${var.name}-*",
        "arn:${local.partition}:logs:${local.suffix}:log-group:*",
        local.buckets,
        "${local.buckets}/*",
        "${local.sagemaker}:*",
        local.owned.secrets,
        local.owned.topics,
        local.owned.queues,
        local.owned.parameters,
      ]
    },
    {
      Sid       = "HandSageMakerItsRole"
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = "${local.iam}:role/${var.name}-sagemaker-execution"
      Condition = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
    },
    {
      Sid      = "NeverTheState"
      Effect   = "Deny"
      Action   = "s3:*"
      Resource = [local.state, "${local.state}/*"]
    },
  ]
}

resource "aws_iam_policy" "boundary" {
  name        = "${var.name}-boundary"
  description = "The most that a role of the platform can ever do"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.boundary_statements })

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.boundary_statements)) <= 6000
      error_message = "IAM takes 6,144 characters of a policy."
    }
  }
}
