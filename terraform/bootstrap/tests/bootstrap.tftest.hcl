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
    condition = { for statement in jsondecode(module.private.policy).Statement : statement.Sid => statement.Effect } == {
      DenyWithoutTLS              = "Deny"
      DenyOtherRolesOfThePlatform = "Deny"
    }
    error_message = "The policy lets nobody in; IAM does."
  }
  assert {
    condition = jsondecode(module.private.policy).Statement[1].Condition == {
      StringLike    = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/ml-ops-*" }
      StringNotLike = { "aws:PrincipalArn" = ["arn:aws:iam::111122223333:role/ml-ops-plan", "arn:aws:iam::111122223333:role/ml-ops-apply"] }
    }
    error_message = "Of the platform's roles only plan and apply reach the state."
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
    condition = jsondecode(module.private.policy).Statement[2].Condition.StringNotLike["aws:PrincipalArn"] == [
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
