variable "bucket_name" {
  description = "The bucket, as backend.hcl of the environment names it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "account_id" {
  description = "The AWS account; no other account is ever changed."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must have 12 digits."
  }
}

variable "region" {
  description = "The AWS region of the bucket."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be one such as eu-west-1."
  }
}

variable "name" {
  description = "What the names of the platform's roles begin with."
  type        = string
  default     = "ml-ops"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "administrators" {
  description = "The ARNs of those who may use the bucket beside the pipeline, with * for any part; empty for everybody whom IAM lets in but the platform's other roles."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.administrators : can(regex("^arn:[a-z-]+:(iam|sts)::[0-9]{12}:[^\\s]+$", arn))])
    error_message = "Every administrator must be an ARN of IAM or STS, such as arn:aws:iam::111111111111:role/admin."
  }
}

variable "noncurrent_version_days" {
  description = "Days that overwritten states are kept; the last 20 are kept for ever."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.noncurrent_version_days >= 1
    error_message = "noncurrent_version_days must be 1 or more."
  }
}
