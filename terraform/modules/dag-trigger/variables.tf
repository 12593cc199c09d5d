variable "function_name" {
  description = "The Lambda's name, and its role's."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.function_name))
    error_message = "function_name must have at most 64 letters, digits, hyphens and underscores."
  }
}

variable "package" {
  description = "The path of the zip that scripts/mlops/platform/lambda_package.py builds."
  type        = string
  nullable    = false

  validation {
    condition     = endswith(var.package, ".zip")
    error_message = "package must be the path of a .zip file."
  }
}

variable "airflow_environment" {
  description = "The name of the MWAA environment to call."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][0-9A-Za-z_-]{0,79}$", var.airflow_environment))
    error_message = "airflow_environment must be a name MWAA allows: a letter, then at most 79 letters, digits, hyphens and underscores."
  }
}

variable "airflow_url" {
  description = "Where people open Airflow, such as https://example.airflow.eu-west-1.amazonaws.com, for links to runs; empty leaves them out."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(https?://[^\\s]+)?$", var.airflow_url))
    error_message = "airflow_url must be an http or https URL."
  }
}

variable "airflow_role" {
  description = "The Airflow role the calls are made with; Op may start runs and read their state."
  type        = string
  default     = "Op"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]+$", var.airflow_role))
    error_message = "airflow_role must name one role, such as Op."
  }
}

variable "allowed_dags" {
  description = "The DAGs that may be started; every other is refused."
  type        = set(string)
  default     = ["model_deployment", "model_monitoring", "model_notice", "model_retraining", "model_training"]
  nullable    = false

  validation {
    condition     = length(var.allowed_dags) > 0 && alltrue([for dag in var.allowed_dags : can(regex("^[A-Za-z_][A-Za-z0-9_-]{0,49}$", dag))])
    error_message = "Name at least one DAG, each a letter or underscore, then at most 49 letters, digits, hyphens and underscores: an alias takes no others."
  }
}

variable "timeout_seconds" {
  description = "How long one call may take: MWAA answers within 10 seconds, and a throttled call is made again."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 30 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must be 30 to 900."
  }
}

variable "reserved_concurrency" {
  description = "How many calls may run at once: MWAA takes about 10 a second. Null reserves none, which new accounts with a quota of 10 need."
  type        = number
  default     = 5

  validation {
    condition     = var.reserved_concurrency == null || try(var.reserved_concurrency >= 1, false)
    error_message = "reserved_concurrency must be 1 or more, or null; 0 would switch the function off."
  }
}

variable "log_retention_days" {
  description = "Days that the Lambda's logs are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days CloudWatch Logs offers, such as 30, 90 or 365."
  }
}

variable "topic_arn" {
  description = "The SNS topic that hears of errors, throttled calls, slow calls and failed events."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "topic_arn must be the ARN of an SNS topic."
  }
}

variable "keep_failed_events" {
  description = "Whether a queue keeps, for 14 days, events that failed for good; without it they are lost."
  type        = bool
  default     = true
  nullable    = false
}

variable "event_age_seconds" {
  description = "How long an event is tried: one that comes later would start a run nobody waits for."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.event_age_seconds >= 60 && var.event_age_seconds <= 21600
    error_message = "event_age_seconds must be 60 to 21600."
  }
}

variable "data_window_seconds" {
  description = "Within how many seconds all new training data of a model is one run, which starts when they are over."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.data_window_seconds >= 1 && var.data_window_seconds <= 86400 && floor(var.data_window_seconds) == var.data_window_seconds
    error_message = "data_window_seconds must be a whole number, 1 to 86400."
  }
}

variable "training_data" {
  description = "Which models train on what arrives below a prefix of the bucket, where it is not data/<project>/<model>/: by prefix, such as data/shared/, the models as project/model."
  type        = map(list(string))
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for prefix, models in var.training_data : can(regex("^data/([A-Za-z0-9._-]+/)+$", prefix)) && length(models) > 0])
    error_message = "Every prefix of training_data must be below data/, end with a slash, and have a model."
  }

  validation {
    condition     = alltrue(flatten([for models in values(var.training_data) : [for model in models : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", model))]]))
    error_message = "Every model of training_data must be <project>/<model>."
  }

  # Lambda takes 4 KB of environment.
  validation {
    condition     = length(jsonencode(var.training_data)) <= 3000
    error_message = "training_data is too long for the function: let the prefixes name their models instead."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts the Lambda's environment, logs and failed events; null for the services' own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
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
