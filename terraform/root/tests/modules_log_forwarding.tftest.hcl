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
    defaults        = { arn = "arn:aws:iam::111122223333:role/ml-ops-log-forwarding" }
  }
}

variables {
  name       = "ml-ops"
  log_groups = { trigger = "/aws/lambda/ml-ops-dag-trigger", training = "/aws/sagemaker/TrainingJobs" }
}

run "nowhere" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  assert {
    condition     = length(output.log_groups) == 0 && length(output.metric_namespaces) == 0 && length(aws_iam_role.logs) == 0 && length(aws_iam_role.metrics) == 0
    error_message = "Without a destination nothing is made."
  }
}

run "to_firehose" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    log_destination_arn    = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/logs"
    metric_destination_arn = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/metrics"
    metric_namespaces      = ["AWS/SageMaker"]
  }

  assert {
    condition     = output.log_groups == tolist(["/aws/lambda/ml-ops-dag-trigger", "/aws/sagemaker/TrainingJobs"])
    error_message = "Every group is forwarded."
  }
  assert {
    condition     = alltrue([for filter in values(aws_cloudwatch_log_subscription_filter.this) : filter.filter_pattern == "" && filter.role_arn == "arn:aws:iam::111122223333:role/ml-ops-log-forwarding"])
    error_message = "Everything is forwarded, with the role."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.logs["firehose"].policy).Statement : [statement.Action, statement.Resource]] == [
      ["firehose:PutRecord", "arn:aws:firehose:eu-west-1:111122223333:deliverystream/logs"],
    ]
    error_message = "The role may write to the one stream."
  }
  assert {
    condition     = jsondecode(aws_iam_role.logs["firehose"].assume_role_policy).Statement[0].Condition == { StringLike = { "aws:SourceArn" = "arn:aws:logs:eu-west-1:111122223333:*" } }
    error_message = "Only this account's logs take the role."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.metrics["metrics"].policy).Statement : [statement.Action, statement.Resource]] == [
      [["firehose:PutRecord", "firehose:PutRecordBatch"], "arn:aws:firehose:eu-west-1:111122223333:deliverystream/metrics"],
    ]
    error_message = "The metric stream may write to its stream, not to that of the logs."
  }
  assert {
    condition     = [for filter in aws_cloudwatch_metric_stream.this["metrics"].include_filter : filter.namespace] == ["AWS/SageMaker"] && aws_cloudwatch_metric_stream.this["metrics"].output_format == "json"
    error_message = "Only the namespaces asked for are forwarded."
  }
}

run "to_kinesis" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    log_destination_arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/logs"
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.logs["kinesis"].policy).Statement[0].Action == "kinesis:PutRecord"
    error_message = "A Kinesis stream is written to with its own action."
  }
}

run "to_lambda" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    log_destination_arn = "arn:aws:lambda:eu-west-1:111122223333:function:logs"
  }

  assert {
    condition     = length(aws_iam_role.logs) == 0 && length(aws_cloudwatch_log_subscription_filter.this) == 2
    error_message = "A Lambda is called by its own permission, without a role."
  }
  assert {
    condition = { for name, permission in aws_lambda_permission.logs : name => [permission.principal, permission.source_account, permission.source_arn] } == {
      trigger  = ["logs.amazonaws.com", "111122223333", "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/ml-ops-dag-trigger:*"]
      training = ["logs.amazonaws.com", "111122223333", "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/sagemaker/TrainingJobs:*"]
    }
    error_message = "Each log group may call it, and no other."
  }
}

run "to_another_account" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    log_destination_arn = "arn:aws:logs:eu-west-1:444455556666:destination:central"
  }

  assert {
    condition     = length(aws_iam_role.logs) == 0 && length(aws_lambda_permission.logs) == 0 && length(aws_cloudwatch_log_subscription_filter.this) == 2
    error_message = "A log destination has a policy of its own."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    name                = "ML"
    log_destination_arn = "arn:aws:s3:::logs"
    log_groups          = { bad = "a group" }
    metric_format       = "xml"
    metric_namespaces   = ["AWS/*"]
  }

  expect_failures = [
    var.name,
    var.log_destination_arn,
    var.log_groups,
    var.metric_format,
    var.metric_namespaces,
  ]
}

run "refuses_metrics_to_anything_but_firehose" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    metric_destination_arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/metrics"
  }

  expect_failures = [var.metric_destination_arn]
}

run "refuses_one_stream_for_both" {
  command = plan

  module {
    source = "../modules/log-forwarding"
  }

  variables {
    log_destination_arn    = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/all"
    metric_destination_arn = "arn:aws:firehose:eu-west-1:111122223333:deliverystream/all"
  }

  expect_failures = [var.metric_destination_arn]
}
