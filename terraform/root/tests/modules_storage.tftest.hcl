mock_provider "aws" {
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
    bucket_name = "ml-ops-prod-111122223333"
  }

  assert {
    condition     = aws_s3_bucket.this.force_destroy == false
    error_message = "A bucket with evidence must not be destroyed with what is in it."
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Overwritten evidence must be readable."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "Objects must be encrypted."
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "All public access must be blocked."
  }
  assert {
    condition = jsondecode(aws_s3_bucket_policy.this.policy).Statement == [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::ml-ops-prod-111122223333", "arn:aws:s3:::ml-ops-prod-111122223333/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "Only TLS may reach the bucket."
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this[0].rule[0].noncurrent_version_expiration[0].noncurrent_days == 90
    error_message = "Overwritten versions expire after 90 days."
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.this[0].rule : length(rule.expiration) == 0])
    error_message = "No current object may ever expire."
  }
}

run "own_key" {
  command = plan

  module {
    source = "../modules/storage"
  }

  variables {
    bucket_name = "ml-ops-prod-111122223333"
    kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "A key that is given must be used."
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
  }

  expect_failures = [var.bucket_name, var.noncurrent_version_days, var.kms_key_arn]
}
