variable "parameter_name" {
  description = "The Parameter Store name that the mlops command reads."
  type        = string
  default     = "/ml-ops/settings"
  nullable    = false

  validation {
    condition     = can(regex("^/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.parameter_name))
    error_message = "parameter_name must be a path that begins with a slash."
  }
}

variable "settings" {
  description = "The document, with the fields of scripts/mlops/contracts/platform_settings.py; all of it may be read by every job, so none of it is a secret."
  type = object({
    environment         = string
    region              = string
    bucket              = string
    execution_role_arn  = string
    topic_arn           = string
    trigger_function    = string
    airflow_environment = string
    slack_secret        = string
    log_group_url       = string
    channels            = optional(map(object({ topic_arn = string, slack_secret = string })), {})
  })
  nullable = false

  validation {
    condition     = length(jsonencode(var.settings)) <= 8192
    error_message = "The settings do not fit into a parameter of 8,192 bytes: there are too many channels."
  }
}
