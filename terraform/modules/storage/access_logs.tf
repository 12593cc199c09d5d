# Who read or changed which object. S3 delivers these logs to a bucket with S3's own encryption only:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
#
# Written out, although the other buckets use module private-bucket. The addresses of these resources contain the bucket's
# name, which differs in every account, and a moved block takes no variable: in the module they would be replaced.

locals {
  logged         = var.access_log_bucket_name == null ? [] : [var.access_log_bucket_name]
  log_bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${coalesce(var.access_log_bucket_name, "none")}"
}

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV_AWS_18: logs of the bucket of logs would never end
  #checkov:skip=CKV_AWS_144: access logs are for looking back within one region, and expire
  #checkov:skip=CKV_AWS_145: S3 delivers access logs to buckets with its own encryption only
  #checkov:skip=CKV2_AWS_62: nothing reacts to access logs
  for_each = toset(local.logged)

  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_versioning" "logs" {
  for_each = aws_s3_bucket.logs

  bucket = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  for_each = aws_s3_bucket.logs

  bucket = each.value.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "logs" {
  for_each = aws_s3_bucket.logs

  bucket = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "logs" {
  for_each = aws_s3_bucket.logs

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "logs" {
  for_each = aws_s3_bucket.logs

  bucket = each.value.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Of any bucket of this account, below the bucket's name.
        Sid       = "DeliverAccessLogs"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${local.log_bucket_arn}/*"
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
      {
        Sid       = "DenyWithoutTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.log_bucket_arn, "${local.log_bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.logs]
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  for_each = aws_s3_bucket.logs

  bucket = each.value.id

  rule {
    id     = "old-logs"
    status = "Enabled"

    filter {}

    expiration {
      days = var.access_log_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.logs]
}

resource "aws_s3_bucket_logging" "this" {
  for_each = aws_s3_bucket.logs

  bucket        = aws_s3_bucket.this.id
  target_bucket = each.value.id
  target_prefix = "${var.bucket_name}/"

  # Before the policy, S3 would refuse to name this bucket.
  depends_on = [aws_s3_bucket_policy.logs]
}
