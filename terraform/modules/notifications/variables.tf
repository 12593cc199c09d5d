variable "topic_name" {
  description = "The SNS topic's name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,256}$", var.topic_name))
    error_message = "topic_name must have at most 256 letters, digits, hyphens and underscores."
  }
}

variable "kms_key_id" {
  description = "The KMS key that encrypts messages. SNS's own key serves publishers of this account; CloudWatch alarms need a key of yours."
  type        = string
  default     = "alias/aws/sns"
  nullable    = false

  validation {
    condition     = length(var.kms_key_id) > 0
    error_message = "kms_key_id must name a key: messages are always encrypted."
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

variable "secret_kms_key_id" {
  description = "The KMS key that encrypts the secret; null for Secrets Manager's own key."
  type        = string
  default     = null
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
