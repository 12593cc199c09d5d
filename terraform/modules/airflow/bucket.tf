# What MWAA reads. The content of DAGs and requirements is in the plan, so what is applied is what was reviewed, from
# whatever folder. The plan shows its hash alone: which file changes, not every line of it.

locals {
  # Known before the bucket is, so the policies can be read in a plan.
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket_name}"
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144: it is made of this repository, in every environment anew
  #checkov:skip=CKV2_AWS_62: MWAA looks into it by itself
  #checkov:skip=CKV_AWS_21: module private-bucket does, which checkov cannot follow from a call with other modules' outputs
  #checkov:skip=CKV_AWS_145: module private-bucket does; tests/contract/terraform/test_planned_policies.py looks
  #checkov:skip=CKV2_AWS_6: module private-bucket does; tests/contract/terraform/test_planned_policies.py looks
  bucket        = var.bucket_name
  force_destroy = var.force_destroy
}

# MWAA refuses a bucket that is open to the public, and names requirements and plugins by their versions.
module "private" {
  source = "../private-bucket"

  bucket      = aws_s3_bucket.this.id
  bucket_name = var.bucket_name
  kms_key_arn = var.kms_key_arn
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

  # S3 knows old versions only once it keeps any.
  depends_on = [module.private]
}

# Written after the bucket is private: an object from before versioning has no version to give MWAA.
resource "aws_s3_object" "dags" {
  for_each = fileset("${var.package}/dags", "**")

  bucket         = module.private.bucket
  key            = "dags/${each.value}"
  content_base64 = sensitive(filebase64("${var.package}/dags/${each.value}"))
  source_hash    = filesha256("${var.package}/dags/${each.value}")
  kms_key_id     = var.kms_key_arn
}

resource "aws_s3_object" "requirements" {
  bucket         = module.private.bucket
  key            = "requirements.txt"
  content_base64 = sensitive(filebase64("${var.package}/requirements.txt"))
  source_hash    = filesha256("${var.package}/requirements.txt")
  kms_key_id     = var.kms_key_arn
}

# Fifty megabytes of wheels: with their content in plans and states, Terraform takes gigabytes of memory and minutes. So
# they are read from the package when they are uploaded, under a name made of their content: the folder of another checkout
# is not a change, and an apply takes only packages with the hashes of the reviewed plan.
resource "aws_s3_object" "plugins" {
  for_each = toset([substr(filesha256("${var.package}/plugins.zip"), 0, 16)])

  bucket     = module.private.bucket
  key        = "plugins/${each.value}.zip"
  source     = "${var.package}/plugins.zip"
  kms_key_id = var.kms_key_arn

  lifecycle {
    # The environment has the new ones before the old ones go.
    create_before_destroy = true
    ignore_changes        = [source]
  }
}
