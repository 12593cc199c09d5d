# What MWAA reads. The content of DAGs and requirements is in the plan, so what is applied is what was reviewed, from
# whatever folder. The plan shows its hash alone: which file changes, not every line of it.

locals {
  # Known before the bucket is, so the policies can be read in a plan.
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket_name}"
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144: it is made of this repository, in every environment anew
  #checkov:skip=CKV2_AWS_62: MWAA looks into it by itself
  bucket        = var.bucket_name
  force_destroy = var.force_destroy
}

# MWAA names requirements and plugins by their versions.
resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# MWAA refuses a bucket without it.
resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "DenyWithoutTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # S3 refuses two changes of one bucket's access at the same time.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_logging" "this" {
  count = var.access_log_bucket == null ? 0 : 1

  bucket        = aws_s3_bucket.this.id
  target_bucket = var.access_log_bucket
  target_prefix = "${var.bucket_name}/"
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count  = var.noncurrent_version_days == null ? 0 : 1
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    # The version that MWAA uses is the current one, unless an update failed.
    noncurrent_version_expiration {
      noncurrent_days           = var.noncurrent_version_days
      newer_noncurrent_versions = 3
    }
  }

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_object" "dags" {
  for_each = fileset("${var.package}/dags", "**")

  bucket         = aws_s3_bucket.this.id
  key            = "dags/${each.value}"
  content_base64 = sensitive(filebase64("${var.package}/dags/${each.value}"))
  source_hash    = filesha256("${var.package}/dags/${each.value}")
  kms_key_id     = var.kms_key_arn

  depends_on = [aws_s3_bucket_server_side_encryption_configuration.this, aws_s3_bucket_versioning.this]
}

resource "aws_s3_object" "requirements" {
  bucket         = aws_s3_bucket.this.id
  key            = "requirements.txt"
  content_base64 = sensitive(filebase64("${var.package}/requirements.txt"))
  source_hash    = filesha256("${var.package}/requirements.txt")
  kms_key_id     = var.kms_key_arn

  # An object from before versioning has no version to give MWAA.
  depends_on = [aws_s3_bucket_server_side_encryption_configuration.this, aws_s3_bucket_versioning.this]
}

# Fifty megabytes of wheels: with their content in plans and states, Terraform takes gigabytes of memory and minutes. So
# they are read from the package when they are uploaded, under a name made of their content: the folder of another checkout
# is not a change, and an apply takes only packages with the hashes of the reviewed plan.
resource "aws_s3_object" "plugins" {
  for_each = toset([substr(filesha256("${var.package}/plugins.zip"), 0, 16)])

  bucket     = aws_s3_bucket.this.id
  key        = "plugins/${each.value}.zip"
  source     = "${var.package}/plugins.zip"
  kms_key_id = var.kms_key_arn

  lifecycle {
    # The environment has the new ones before the old ones go.
    create_before_destroy = true
    ignore_changes        = [source]
  }

  depends_on = [aws_s3_bucket_server_side_encryption_configuration.this, aws_s3_bucket_versioning.this]
}
