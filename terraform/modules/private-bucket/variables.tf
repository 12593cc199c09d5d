variable "bucket" {
  description = "The id of the bucket's resource, which is known when the bucket is there."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9.-]+$", var.bucket))
    error_message = "bucket must be the id of a bucket."
  }
}

variable "bucket_name" {
  description = "The bucket's name, known before: so a plan shows the policy."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits, dots and hyphens."
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

variable "statements" {
  description = "What the bucket's policy says beside that only TLS may reach it."
  type        = any
  default     = []
  nullable    = false

  validation {
    condition     = can([for statement in var.statements : [statement.Sid, statement.Effect, statement.Resource]])
    error_message = "Every statement must have a Sid, an Effect and a Resource."
  }
}
