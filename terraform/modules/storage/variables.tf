variable "bucket_name" {
  description = "The bucket's name, unique in all of AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits and hyphens (a dot would break TLS certificates)."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts objects; null for S3's own key."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "noncurrent_version_days" {
  description = "Days until overwritten and deleted versions of objects expire; null leaves the lifecycle out, for which the provider waits about a minute."
  type        = number
  default     = 90

  validation {
    condition     = var.noncurrent_version_days == null || try(var.noncurrent_version_days >= 1 && floor(var.noncurrent_version_days) == var.noncurrent_version_days, false)
    error_message = "noncurrent_version_days must be a whole number from 1, or null."
  }
}

variable "capture_prefixes" {
  description = "Where in the bucket endpoints keep what they are asked, each ending with a slash; S3 takes 1,000 rules a bucket."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for prefix in var.capture_prefixes : can(regex("^[a-z0-9-]+/[a-z0-9-]+/capture/$", prefix))])
    error_message = "Every prefix must be <project>/<model>/capture/."
  }

  validation {
    condition     = length(var.capture_prefixes) <= 990
    error_message = "There may be 990 prefixes: S3 takes 1,000 lifecycle rules a bucket."
  }
}

variable "capture_days" {
  description = "Days that requests and answers of endpoints are kept; monitoring looks back at most 30."
  type        = number
  default     = 35
  nullable    = false

  validation {
    condition     = var.capture_days >= 31 && floor(var.capture_days) == var.capture_days
    error_message = "capture_days must be a whole number from 31."
  }
}

variable "force_destroy" {
  description = "Whether destroying the bucket deletes what is in it; only if nothing must last."
  type        = bool
  default     = false
  nullable    = false
}

variable "access_log_bucket_name" {
  description = "The name of the bucket that records every access to the other one; null records none."
  type        = string
  default     = null

  validation {
    condition     = var.access_log_bucket_name == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.access_log_bucket_name))
    error_message = "access_log_bucket_name must have 3 to 63 lower-case letters, digits and hyphens."
  }

  validation {
    condition     = var.access_log_bucket_name == null || var.access_log_bucket_name != var.bucket_name
    error_message = "access_log_bucket_name must be another bucket: S3 would log its own logs for ever."
  }
}

variable "access_log_days" {
  description = "Days that access logs are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.access_log_days >= 1 && floor(var.access_log_days) == var.access_log_days
    error_message = "access_log_days must be a whole number from 1."
  }
}
