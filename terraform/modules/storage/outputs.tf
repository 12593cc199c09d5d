output "bucket" {
  description = "The bucket's name."
  # Nobody may write before encryption, versioning and access are as they should be.
  value = module.private.bucket
}

output "bucket_arn" {
  description = "The bucket's ARN."
  value       = aws_s3_bucket.this.arn
}

output "access_log_bucket" {
  description = "The bucket of access logs, for other buckets to log to; null if nothing is logged."
  value       = one(values(aws_s3_bucket.logs)[*].id)

  # S3 refuses to log to a bucket whose policy does not let it.
  depends_on = [aws_s3_bucket_policy.logs]
}
