# The bucket of an account's Terraform state: made once, by an administrator, before anything else.

provider "aws" {
  region = var.region
  # The wrong profile or role cannot change another account.
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      "ml-ops:managed-by" = "terraform-bootstrap"
    }
  }
}

data "aws_partition" "current" {}

locals {
  # Known before the bucket is, so the policy can be read in a plan.
  bucket_arn = "arn:${data.aws_partition.current.partition}:s3:::${var.bucket_name}"
  iam        = "arn:${data.aws_partition.current.partition}:iam::${var.account_id}"
  pipeline   = [for purpose in ["plan", "apply"] : "${local.iam}:role/${var.name}-${purpose}"]

  # Where no administrators are named, they are those whom IAM lets in; no role of the platform is one.
  only_administrators = length(var.administrators) == 0 ? [] : [{
    Sid       = "OnlyAdministratorsAndPipeline"
    Effect    = "Deny"
    Principal = "*"
    Action    = "s3:*"
    Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
    # The account's root user is the way back in for those who locked themselves out.
    Condition = { StringNotLike = { "aws:PrincipalArn" = concat(["${local.iam}:root"], local.pipeline, sort(tolist(var.administrators))) } }
  }]
}

resource "aws_s3_bucket" "state" {
  #checkov:skip=CKV_AWS_18: CloudTrail records who changed the state; a bucket of logs would need the same care as this one
  #checkov:skip=CKV_AWS_144: an account is one region; a state that is lost can be imported from what it describes
  #checkov:skip=CKV_AWS_145: holds no secret, and must stay readable when the environment's key is destroyed with the rest
  #checkov:skip=CKV2_AWS_62: nothing reacts to a new state
  bucket = var.bucket_name

  lifecycle {
    prevent_destroy = true
  }
}

# An apply that went wrong, or a state that was broken, is taken back to an earlier version.
module "private" {
  source = "../modules/private-bucket"

  bucket      = aws_s3_bucket.state.id
  bucket_name = var.bucket_name
  statements = concat([
    {
      # Neither jobs of models, nor Airflow, nor a model's own code.
      Sid       = "DenyOtherRolesOfThePlatform"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
      Condition = {
        StringLike    = { "aws:PrincipalArn" = "${local.iam}:role/${var.name}-*" }
        StringNotLike = { "aws:PrincipalArn" = local.pipeline }
      }
    },
  ], local.only_administrators)
}

# Old versions go after a time, but never the last few: an environment may stay as it is for a year.
resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = var.noncurrent_version_days
      newer_noncurrent_versions = 20
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # S3 knows old versions only once it keeps any.
  depends_on = [module.private]
}
