variable "topic_name" {
  description = "The SNS topic's name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,256}$", var.topic_name))
    error_message = "topic_name must have at most 256 letters, digits, hyphens and underscores."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts messages and the secret; null for the services' own keys, with which CloudWatch alarms and AWS Budgets cannot publish."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "email_addresses" {
  description = "Who gets every message by e-mail."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.email_addresses : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "Every entry must be an e-mail address."
  }
}

variable "slack_secret_name" {
  description = "The secret of the Slack connection. Airflow finds connections below `airflow/connections/`."
  type        = string
  default     = "airflow/connections/slack"
  nullable    = false

  validation {
    condition     = can(regex("^airflow/connections/[A-Za-z0-9_-]+$", var.slack_secret_name))
    error_message = "slack_secret_name must be airflow/connections/<connection id>."
  }
}

variable "secret_recovery_days" {
  description = "Days a deleted secret can be restored; 0 deletes at once."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.secret_recovery_days == 0 || (var.secret_recovery_days >= 7 && var.secret_recovery_days <= 30)
    error_message = "secret_recovery_days must be 0, or 7 to 30."
  }
}
