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
  mock_resource "aws_kms_key" {
    override_during = plan
    defaults        = { key_id = "0a1b2c3d-0000-1111-2222-333344445555" }
  }
}

variables {
  name = "ml-ops"
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/encryption"
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key rotates."
  }
  assert {
    condition     = aws_kms_key.this.deletion_window_in_days == 30
    error_message = "What it encrypted can be had back for a month."
  }
  assert {
    condition     = aws_kms_alias.this.name == "alias/ml-ops" && output.alias == "alias/ml-ops"
    error_message = "People find the key by its alias."
  }
  assert {
    condition     = output.key_arn == "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
    error_message = "The ARN is the key's."
  }
  assert {
    condition = { for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Sid => [statement.Principal, try(statement.Condition, null)] } == {
      LetIamDecide     = [{ AWS = "arn:aws:iam::111122223333:root" }, null]
      EncryptLogGroups = [{ Service = "logs.eu-west-1.amazonaws.com" }, { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:eu-west-1:111122223333:log-group:*" } }]
      PublishToEncryptedTopics = [
        { Service = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"] },
        { StringEquals = { "aws:SourceAccount" = "111122223333" } },
      ]
    }
    error_message = "Beside the account, only named services may use the key, and only for this account."
  }
  assert {
    condition     = [for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Sid if contains(flatten([statement.Action]), "kms:*")] == ["LetIamDecide"]
    error_message = "Only the account's own statement allows every action."
  }
  assert {
    condition     = [for statement in jsondecode(aws_kms_key.this.policy).Statement : statement.Action if statement.Sid == "PublishToEncryptedTopics"] == [["kms:Decrypt", "kms:GenerateDataKey"]]
    error_message = "A publisher may do what SNS's encryption takes, and no more."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/encryption"
  }

  variables {
    name                 = "aws/ml-ops"
    publishers           = ["*.amazonaws.com"]
    deletion_window_days = 1
  }

  expect_failures = [
    var.name,
    var.publishers,
    var.deletion_window_days,
  ]
}

run "refuses_a_publisher_without_account" {
  command = plan

  module {
    source = "../modules/encryption"
  }

  variables {
    publishers = ["events.amazonaws.com"]
  }

  expect_failures = [var.publishers]
}
