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
}

variables {
  role_name    = "ml-ops-sagemaker-execution"
  bucket_arn   = "arn:aws:s3:::ml-ops-prod-111122223333"
  repositories = { "web-safety/phishing-url" = "arn:aws:ecr:eu-west-1:111122223333:repository/web-safety/phishing-url" }
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/sagemaker"
  }

  assert {
    condition     = jsondecode(aws_iam_role.execution.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "111122223333"
    error_message = "SageMaker may take the role for this account only."
  }
  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Sid => statement.Resource } == {
      ListDataAndModels = "arn:aws:s3:::ml-ops-prod-111122223333"
      ReadDataAndModels = ["arn:aws:s3:::ml-ops-prod-111122223333/data/*", "arn:aws:s3:::ml-ops-prod-111122223333/web-safety/phishing-url/*"]
      WriteModelsEvaluationsAndRequests = [
        "arn:aws:s3:::ml-ops-prod-111122223333/web-safety/phishing-url/*/model/*",
        "arn:aws:s3:::ml-ops-prod-111122223333/web-safety/phishing-url/*/challenger/*",
        "arn:aws:s3:::ml-ops-prod-111122223333/web-safety/phishing-url/*/champion/*",
        "arn:aws:s3:::ml-ops-prod-111122223333/web-safety/phishing-url/capture/*",
      ]
      PullImages      = ["arn:aws:ecr:eu-west-1:111122223333:repository/web-safety/phishing-url"]
      LogInToRegistry = "*"
      WriteLogs = [
        "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/sagemaker/Endpoints/web-safety--phishing-url:*",
        "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/sagemaker/ProcessingJobs:*",
        "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/sagemaker/TrainingJobs:*",
      ]
      WriteMetrics = "*"
    }
    error_message = "The role reaches the data, the listed models, their images and their logs, and nothing else."
  }
  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Condition
      if contains(["ListDataAndModels", "WriteMetrics"], statement.Sid)
      ] == [
      { StringLike = { "s3:prefix" = ["data/", "data/*", "web-safety/phishing-url/*"] } },
      { StringEquals = { "cloudwatch:namespace" = ["/aws/sagemaker/Endpoints", "/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs"] } },
    ]
    error_message = "Listing is bounded by prefix, metrics by namespace."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.this : group.retention_in_days == 365])
    error_message = "No log is kept for ever."
  }
  assert {
    condition     = output.model_package_groups == { "web-safety/phishing-url" = "web-safety--phishing-url" }
    error_message = "One model package group a model, named as its endpoint."
  }
}

run "own_key" {
  command = plan

  module {
    source = "../modules/sagemaker"
  }

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
  }

  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement if statement.Sid == "UseKeyOfBucket"] == [{
      Sid       = "UseKeyOfBucket"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
      Condition = { StringEquals = { "kms:ViaService" = "s3.eu-west-1.amazonaws.com" } }
    }]
    error_message = "The key may be used for the bucket's objects, and for nothing else."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.this : group.kms_key_id == var.kms_key_arn])
    error_message = "Logs are encrypted with the key that is given."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/sagemaker"
  }

  variables {
    role_name          = "two words"
    bucket_arn         = "ml-ops"
    data_prefix        = "/data"
    metric_namespaces  = ["*"]
    kms_key_arn        = "alias/mine"
    log_retention_days = 8
  }

  expect_failures = [
    var.role_name,
    var.bucket_arn,
    var.data_prefix,
    var.metric_namespaces,
    var.kms_key_arn,
    var.log_retention_days,
  ]
}

run "refuses_no_model" {
  command = plan

  module {
    source = "../modules/sagemaker"
  }

  variables {
    repositories = {}
  }

  expect_failures = [var.repositories]
}
