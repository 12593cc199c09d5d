mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  bucket_name = "ml-ops-terraform-state-111122223333"
  account_id  = "111122223333"
  region      = "eu-west-1"
}

run "closed_to_all_but_pipeline_and_administrators" {
  command = plan

  assert {
    condition = { for statement in jsondecode(aws_s3_bucket_policy.state.policy).Statement : statement.Sid => statement.Effect } == {
      DenyWithoutTLS              = "Deny"
      DenyOtherRolesOfThePlatform = "Deny"
    }
    error_message = "The policy lets nobody in; IAM does."
  }
  assert {
    condition = jsondecode(aws_s3_bucket_policy.state.policy).Statement[1].Condition == {
      StringLike    = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/ml-ops-*" }
      StringNotLike = { "aws:PrincipalArn" = ["arn:aws:iam::111122223333:role/ml-ops-plan", "arn:aws:iam::111122223333:role/ml-ops-apply"] }
    }
    error_message = "Of the platform's roles only plan and apply reach the state."
  }
  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled" && one(aws_s3_bucket_server_side_encryption_configuration.state.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "Versions are kept, and encrypted."
  }
  assert {
    condition     = alltrue([for setting in ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"] : aws_s3_bucket_public_access_block.state[setting]])
    error_message = "No public access."
  }
  assert {
    condition     = one(aws_s3_bucket_lifecycle_configuration.state.rule[0].noncurrent_version_expiration).newer_noncurrent_versions == 20
    error_message = "However old, the last states stay."
  }
}

run "named_administrators_are_the_only_ones" {
  command = plan

  variables {
    administrators = ["arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_Administrator_*"]
  }

  assert {
    condition = jsondecode(aws_s3_bucket_policy.state.policy).Statement[2].Condition.StringNotLike["aws:PrincipalArn"] == [
      "arn:aws:iam::111122223333:root",
      "arn:aws:iam::111122223333:role/ml-ops-plan",
      "arn:aws:iam::111122223333:role/ml-ops-apply",
      "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_Administrator_*",
    ]
    error_message = "Everybody else is denied, but the root user can always mend it."
  }
}

run "refuses_bad_values" {
  command = plan

  variables {
    bucket_name             = "State_Bucket"
    account_id              = "1"
    region                  = "Ireland"
    name                    = "ML"
    administrators          = ["ada"]
    noncurrent_version_days = 0
  }

  expect_failures = [
    var.bucket_name,
    var.account_id,
    var.region,
    var.name,
    var.administrators,
    var.noncurrent_version_days,
  ]
}
