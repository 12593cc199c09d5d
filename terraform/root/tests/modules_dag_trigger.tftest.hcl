mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_iam_role" {
    override_during = plan
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-dag-trigger" }
  }
}

variables {
  function_name       = "ml-ops-dag-trigger"
  package             = "./tests/package.zip"
  airflow_environment = "ml-ops-prod"
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/dag-trigger"
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid => [statement.Action, statement.Resource] } == {
      CallAirflow = ["airflow:InvokeRestApi", "arn:aws:airflow:eu-west-1:111122223333:role/ml-ops-prod/Op"]
      WriteLogs   = [["logs:CreateLogStream", "logs:PutLogEvents"], "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/ml-ops-dag-trigger:*"]
    }
    error_message = "The function may call Airflow in one environment and one role, and write its own log."
  }
  assert {
    condition = aws_lambda_function.this.environment[0].variables == tomap({
      AIRFLOW_ENVIRONMENT = "ml-ops-prod"
      AIRFLOW_URL         = ""
      ALLOWED_DAGS        = "model_deployment,model_training"
    })
    error_message = "The function knows its environment and the DAGs it may start."
  }
  assert {
    condition     = aws_lambda_function.this.runtime == "python3.13" && aws_lambda_function.this.architectures == tolist(["arm64"])
    error_message = "The newest Python that Lambda and this provider know, on arm64."
  }
  assert {
    condition     = aws_lambda_function.this.logging_config[0].log_format == "JSON" && aws_cloudwatch_log_group.this.retention_in_days == 90
    error_message = "Logs are JSON, and not kept for ever."
  }
  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 5
    error_message = "MWAA takes about 10 calls a second."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/dag-trigger"
  }

  variables {
    function_name        = "dag trigger"
    airflow_environment  = "1st"
    airflow_role         = "*"
    allowed_dags         = []
    timeout_seconds      = 5
    reserved_concurrency = 0
    log_retention_days   = 8
  }

  expect_failures = [
    var.function_name,
    var.airflow_environment,
    var.airflow_role,
    var.allowed_dags,
    var.timeout_seconds,
    var.reserved_concurrency,
    var.log_retention_days,
  ]
}
