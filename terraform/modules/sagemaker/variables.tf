variable "role_name" {
  description = "The execution role's name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]{1,64}$", var.role_name))
    error_message = "role_name must be a name IAM allows, of at most 64 characters."
  }
}

variable "bucket_arn" {
  description = "The bucket of data, models and evidence."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:s3:::[a-z0-9-]+$", var.bucket_arn))
    error_message = "bucket_arn must be the ARN of a bucket."
  }
}

variable "data_prefix" {
  description = "Where in the bucket the data lies; jobs read it and never write there."
  type        = string
  default     = "data/"
  nullable    = false

  validation {
    condition     = can(regex("^([A-Za-z0-9_-]+/)+$", var.data_prefix))
    error_message = "data_prefix must end with a slash and not begin with one."
  }
}

variable "repositories" {
  description = "The ARN of each model's repository, by `<project>/<model>`; results go below that prefix of the bucket."
  type        = map(string)
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.repositories) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", name))])
    error_message = "Every key must be <project>/<model>, in lower-case letters and digits with single hyphens between them."
  }

  validation {
    condition     = length(var.repositories) > 0
    error_message = "There must be one model at least."
  }
}

variable "metric_namespaces" {
  description = "The CloudWatch namespaces that jobs and endpoints may write metrics to."
  type        = set(string)
  default     = ["/aws/sagemaker/Endpoints", "/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs"]
  nullable    = false

  validation {
    condition     = length(var.metric_namespaces) > 0 && alltrue([for name in var.metric_namespaces : can(regex("^[^*?]{1,255}$", name))])
    error_message = "Name at least one namespace, each without wildcards."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts the bucket and the logs; null if the services' own keys do."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "log_retention_days" {
  description = "Days that the logs of jobs and endpoints are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days CloudWatch Logs offers, such as 30, 90 or 365."
  }
}

variable "permissions_boundary" {
  description = "The ARN of the policy that bounds every role made here; null leaves them to their own policies."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:policy/[A-Za-z0-9/_+=,.@-]+$", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of a policy."
  }
}
