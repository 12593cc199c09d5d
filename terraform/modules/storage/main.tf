# One bucket for data, models and evidence: a training reads the first and writes the others, and one
# policy, one encryption and one retention hold for all three.

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144: an environment is one region; versions cover mistakes, and a model can be trained again
  bucket        = var.bucket_name
  force_destroy = var.force_destroy
}

# A comparison.json that was overwritten can be read again: deployments rest on it.
module "private" {
  source = "../private-bucket"

  bucket      = aws_s3_bucket.this.id
  bucket_name = var.bucket_name
  kms_key_arn = var.kms_key_arn
}

# EventBridge hears of every object; its rules say of which somebody else does.
resource "aws_s3_bucket_notification" "this" {
  bucket      = aws_s3_bucket.this.id
  eventbridge = true
}

# The current version of an object never expires: evidence must last as long as its model. What endpoints were asked
# does: it may be about people, and monitoring looks back at most 30 days.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count  = var.noncurrent_version_days == null ? 0 : 1
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_version_days
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

  dynamic "rule" {
    for_each = var.capture_prefixes

    content {
      id     = "captured-${replace(trimsuffix(rule.value, "/"), "/", "-")}"
      status = "Enabled"

      filter {
        prefix = rule.value
      }

      expiration {
        days = var.capture_days
      }

      # A copy of them must not outlive them.
      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  # S3 knows old versions only once it keeps any.
  depends_on = [module.private]
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
