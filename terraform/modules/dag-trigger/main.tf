# The one way from CI into Airflow: starts allowed DAGs and returns how they are doing.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  account   = data.aws_caller_identity.current.account_id

  # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmanagedworkflowsforapacheairflow.html
  airflow_role_arn = "arn:${local.partition}:airflow:${local.region}:${local.account}:role/${var.airflow_environment}/${var.airflow_role}"
  log_group        = "/aws/lambda/${var.function_name}"

  # Known before the queue is, so a plan shows the policies that name it.
  queue_name = "${var.function_name}-failed"
  queue_arn  = "arn:${local.partition}:sqs:${local.region}:${local.account}:${local.queue_name}"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_iam_role" "this" {
  name                 = var.function_name
  description          = "Taken by the Lambda ${var.function_name}"
  permissions_boundary = var.permissions_boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "dag-trigger"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "CallAirflow"
        Effect   = "Allow"
        Action   = "airflow:InvokeRestApi"
        Resource = local.airflow_role_arn
      },
      {
        # The group is Terraform's, so the function may not make one.
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"
      },
      {
        # X-Ray knows no resource for these actions.
        Sid      = "WriteTraces"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
      ], var.keep_failed_events ? [
      {
        Sid      = "KeepFailedEvents"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = local.queue_arn
      },
      ] : [], var.kms_key_arn == null ? [] : [
      {
        # Its own environment, and the queue's messages.
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.kms_key_arn
      },
    ])
  })
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_116: failed events go to the queue by aws_lambda_function_event_invoke_config, which adds the error
  #checkov:skip=CKV_AWS_117: calls AWS's API and nothing else; in a network of ours it would need an endpoint for it
  #checkov:skip=CKV_AWS_272: the reviewed plan holds the hash of the zip, and only that zip is applied
  function_name                  = var.function_name
  description                    = "Starts an Airflow DAG by name and reports the state of its runs"
  role                           = aws_iam_role.this.arn
  filename                       = var.package
  source_code_hash               = filebase64sha256(var.package)
  handler                        = "handler.handler"
  runtime                        = "python3.13"
  architectures                  = ["arm64"]
  memory_size                    = 256
  timeout                        = var.timeout_seconds
  reserved_concurrent_executions = var.reserved_concurrency
  kms_key_arn                    = var.kms_key_arn

  tracing_config {
    mode = "Active"
  }

  environment {
    variables = {
      AIRFLOW_ENVIRONMENT = var.airflow_environment
      AIRFLOW_URL         = var.airflow_url
      ALLOWED_DAGS        = join(",", sort(tolist(var.allowed_dags)))
      DATA_WINDOW_SECONDS = tostring(var.data_window_seconds)
      TRAINING_DATA       = jsonencode(var.training_data)
    }
  }

  logging_config {
    log_format            = "JSON"
    log_group             = aws_cloudwatch_log_group.this.name
    application_log_level = "INFO"
    system_log_level      = "WARN"
  }

  # Its first invocation may come at once.
  depends_on = [aws_iam_role_policy.this]
}

# The function starts one DAG alone when it is called by the alias of that name. So IAM decides who starts which:
# jobs that train may not deploy.
resource "aws_lambda_alias" "dag" {
  for_each = var.allowed_dags

  name             = each.value
  description      = "Starts ${each.value}"
  function_name    = aws_lambda_function.this.function_name
  function_version = "$LATEST"
}
