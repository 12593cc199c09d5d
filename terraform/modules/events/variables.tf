variable "name" {
  description = "What the names of all resources begin with."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "function_name" {
  description = "The Lambda that takes the events."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.function_name))
    error_message = "function_name must have at most 64 letters, digits, hyphens and underscores."
  }
}

variable "function_arn" {
  description = "That Lambda's ARN, without an alias: an alias starts one DAG alone."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]+$", var.function_arn))
    error_message = "function_arn must be the ARN of a function, without alias or version."
  }
}

variable "bucket" {
  description = "The bucket whose new objects below data/ are events; it must send its events to EventBridge."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket must be the name of a bucket."
  }
}

variable "models" {
  description = "The models to monitor and retrain on schedule, each as <project>/<model>."
  type        = set(string)
  nullable    = false

  validation {
    condition     = alltrue([for model in var.models : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", model))])
    error_message = "Every model must be <project>/<model>, in lower-case letters and digits with single hyphens between them."
  }
}

variable "monitoring_schedule" {
  description = "How often each endpoint is compared with its baseline, as rate(1 day) or cron(0 3 * * ? *); null leaves that to those who call mlops monitor."
  type        = string
  default     = "rate(1 day)"

  validation {
    condition     = var.monitoring_schedule == null || can(regex("^(rate|cron)\\([^()]+\\)$", var.monitoring_schedule))
    error_message = "monitoring_schedule must be a rate(...) or cron(...) of EventBridge."
  }
}

variable "retraining_schedule" {
  description = "How often each model is asked whether it is due, beside the GitLab schedules that run mlops retrain; null for never."
  type        = string
  default     = null

  validation {
    condition     = var.retraining_schedule == null || can(regex("^(rate|cron)\\([^()]+\\)$", var.retraining_schedule))
    error_message = "retraining_schedule must be a rate(...) or cron(...) of EventBridge."
  }
}

variable "spread_minutes" {
  description = "Within how many minutes of their time schedules begin, so that they do not all begin at once."
  type        = number
  default     = 15
  nullable    = false

  validation {
    condition     = var.spread_minutes >= 1 && var.spread_minutes <= 1440 && floor(var.spread_minutes) == var.spread_minutes
    error_message = "spread_minutes must be a whole number, 1 to 1440."
  }
}

variable "event_age_seconds" {
  description = "How long EventBridge tries to hand an event over."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.event_age_seconds >= 60 && var.event_age_seconds <= 86400
    error_message = "event_age_seconds must be 60 to 86400."
  }
}

variable "keep_failed_events" {
  description = "Whether a queue keeps, for 14 days, events that never reached the function; without it they are lost."
  type        = bool
  default     = true
  nullable    = false
}

variable "topic_arn" {
  description = "The SNS topic that hears of events that were not delivered."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "topic_arn must be the ARN of an SNS topic."
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
