mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

run "real_environment" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name      = "ml-ops-prod-111122223333"
    capture_prefixes = ["web-safety/phishing-url/capture/"]
  }

  assert {
    condition     = aws_s3_bucket.this.force_destroy == false
    error_message = "A bucket with evidence must not be destroyed with what is in it."
  }
  assert {
    condition     = [for statement in jsondecode(module.private.policy).Statement : [statement.Sid, statement.Resource[0]]] == [["DenyWithoutTLS", "arn:aws:s3:::ml-ops-prod-111122223333"]]
    error_message = "The bucket is private, and its policy can be read in a plan."
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this[0].rule[0].noncurrent_version_expiration[0].noncurrent_days == 90
    error_message = "Overwritten versions expire after 90 days."
  }
  assert {
    condition     = { for rule in aws_s3_bucket_lifecycle_configuration.this[0].rule : rule.filter[0].prefix => rule.expiration[0].days if length(rule.expiration) > 0 } == { "web-safety/phishing-url/capture/" = 35 }
    error_message = "No current object may ever expire but what endpoints were asked."
  }

  assert {
    condition     = aws_s3_bucket_notification.this.eventbridge
    error_message = "EventBridge hears of new data."
  }
}

run "access_logs" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name            = "ml-ops-prod-111122223333"
    access_log_bucket_name = "ml-ops-prod-111122223333-logs"
  }

  assert {
    condition     = [for logging in aws_s3_bucket_logging.this : logging.target_prefix] == ["ml-ops-prod-111122223333/"]
    error_message = "Every access is recorded, below the bucket's name."
  }
  assert {
    condition = jsondecode(aws_s3_bucket_policy.logs["ml-ops-prod-111122223333-logs"].policy).Statement == [
      {
        Sid       = "DeliverAccessLogs"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "arn:aws:s3:::ml-ops-prod-111122223333-logs/*"
        Condition = { StringEquals = { "aws:SourceAccount" = "111122223333" } }
      },
      {
        Sid       = "DenyWithoutTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = ["arn:aws:s3:::ml-ops-prod-111122223333-logs", "arn:aws:s3:::ml-ops-prod-111122223333-logs/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
    error_message = "S3 may write logs of this account's buckets, over TLS, and nobody else anything."
  }
  assert {
    condition = alltrue([for block in aws_s3_bucket_public_access_block.logs : alltrue([
      block.block_public_acls, block.block_public_policy, block.ignore_public_acls, block.restrict_public_buckets,
    ])])
    error_message = "All public access must be blocked."
  }
  assert {
    condition     = [for lifecycle in aws_s3_bucket_lifecycle_configuration.logs : lifecycle.rule[0].expiration[0].days] == [365]
    error_message = "Access logs are not kept for ever."
  }
}

run "quick" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name             = "ml-ops-local-111122223333"
    noncurrent_version_days = null
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.this) == 0
    error_message = "Null leaves the lifecycle out."
  }
  assert {
    condition     = length(aws_s3_bucket.logs) == 0 && output.access_log_bucket == null
    error_message = "No name, no access logs."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name             = "ml.ops"
    noncurrent_version_days = 0
    kms_key_arn             = "alias/mine"
    access_log_days         = 0
    capture_prefixes        = ["web-safety/"]
    capture_days            = 30
  }

  expect_failures = [
    var.bucket_name,
    var.noncurrent_version_days,
    var.kms_key_arn,
    var.access_log_days,
    var.capture_prefixes,
    var.capture_days,
  ]
}

run "refuses_to_log_into_itself" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name            = "ml-ops-prod-111122223333"
    access_log_bucket_name = "ml-ops-prod-111122223333"
  }

  expect_failures = [var.access_log_bucket_name]
}

run "refuses_a_bad_name_for_logs" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name            = "ml-ops-prod-111122223333"
    access_log_bucket_name = "Logs"
  }

  expect_failures = [var.access_log_bucket_name]
}
