mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  bucket      = "ml-ops-prod-111122223333"
  bucket_name = "ml-ops-prod-111122223333"
}

run "private" {
  command = plan

  module {
    source = "../modules/private-bucket"
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
    condition     = one(aws_s3_bucket_ownership_controls.this.rule).object_ownership == "BucketOwnerEnforced"
    error_message = "Objects belong to the account, whoever wrote them."
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
    condition     = output.bucket == "ml-ops-prod-111122223333"
    error_message = "Whoever writes there gets the bucket's name from here."
  }
}

run "own_key_and_statements" {
  command = plan

  module {
    source = "../modules/private-bucket"
  }

  variables {
    kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-0000-1111-2222-333344445555"
    statements = [
      { Sid = "One", Effect = "Deny", Principal = "*", Action = "s3:*", Resource = "*", Condition = { Bool = { "aws:ViaAWSService" = "false" } } },
      { Sid = "Two", Effect = "Deny", Principal = "*", Action = "s3:DeleteBucket", Resource = ["arn:aws:s3:::ml-ops-prod-111122223333"] },
    ]
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default) == one([{ sse_algorithm = "aws:kms", kms_master_key_id = var.kms_key_arn }]) && one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled
    error_message = "A key that is given must be used, and asked for once a bucket rather than once an object."
  }
  assert {
    condition     = jsonencode([for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement.Sid]) == jsonencode(["DenyWithoutTLS", "One", "Two"]) && jsondecode(aws_s3_bucket_policy.this.policy).Statement[2].Action == "s3:DeleteBucket"
    error_message = "Statements of one bucket come after the one of all."
  }
}

run "refuses_bad_values" {
  command = plan

  module {
    source = "../modules/private-bucket"
  }

  variables {
    bucket      = "ML_ops"
    bucket_name = "ML_ops"
    kms_key_arn = "alias/mine"
    statements  = [{ Effect = "Allow" }]
  }

  expect_failures = [var.bucket, var.bucket_name, var.kms_key_arn, var.statements]
}
