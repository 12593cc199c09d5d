variable "name" {
  description = "What the names of dashboards and alarms begin with."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 20 lower-case letters, digits and hyphens."
  }
}

variable "models" {
  description = "The endpoint of each model, by `<project>/<model>`; it need not be there yet."
  type        = map(string)
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.models) : can(regex("^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$", name))])
    error_message = "Every key must be <project>/<model>, in lower-case letters and digits with single hyphens between them."
  }

  validation {
    condition     = alltrue([for endpoint in values(var.models) : can(regex("^[a-z0-9]+(-{1,2}[a-z0-9]+)*$", endpoint)) && length(endpoint) <= 63])
    error_message = "Every endpoint must have a name SageMaker allows, in lower case, of at most 63 characters."
  }
}

variable "variant" {
  description = "The production variant of every endpoint, as scripts/mlops/clients/aws/sagemaker_requests.py names it."
  type        = string
  default     = "AllTraffic"
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", var.variant))
    error_message = "variant must be a name SageMaker allows."
  }
}

variable "metric_namespace" {
  description = "Where the DAG model_training writes the metrics of evaluations, by EndpointName and Role, and model_monitoring those of drift, by EndpointName."
  type        = string
  default     = "ml-ops/models"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#-]{1,255}$", var.metric_namespace)) && !startswith(var.metric_namespace, "AWS/")
    error_message = "metric_namespace must be a namespace CloudWatch allows, and not one of AWS."
  }
}

variable "thresholds" {
  description = "What raises a model's alarms: the share of requests that end in a 5xx, the 99th percentile of the model's answers in milliseconds, and the memory its containers fill in percent."
  type = object({
    error_share    = optional(number, 0.05)
    latency_ms     = optional(number, 1000)
    memory_percent = optional(number, 90)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.thresholds.error_share > 0 && var.thresholds.error_share < 1
    error_message = "thresholds.error_share must be between 0 and 1, such as 0.05 for 5 percent."
  }

  validation {
    condition     = var.thresholds.latency_ms > 0 && var.thresholds.latency_ms <= 60000
    error_message = "thresholds.latency_ms must be 1 to 60000: SageMaker waits 60 seconds for an answer."
  }

  validation {
    condition     = var.thresholds.memory_percent > 0 && var.thresholds.memory_percent < 100
    error_message = "thresholds.memory_percent must be between 0 and 100."
  }
}

variable "topic_arn" {
  description = "The SNS topic that hears of every alarm, and of its end; its policy must let cloudwatch.amazonaws.com publish."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "topic_arn must be the ARN of a topic."
  }
}

variable "trigger_function" {
  description = "The Lambda that starts DAGs."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.trigger_function))
    error_message = "trigger_function must be the name of a Lambda."
  }
}

variable "dead_letter_queues" {
  description = "The queues that keep events nobody could handle."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for name in var.dead_letter_queues : can(regex("^[A-Za-z0-9_-]{1,80}$", name))])
    error_message = "Every entry must be the name of a queue."
  }
}

variable "airflow_environment" {
  description = "The MWAA environment to watch; null if it is watched elsewhere."
  type        = string
  default     = null

  validation {
    condition     = var.airflow_environment == null || can(regex("^[A-Za-z][0-9A-Za-z_-]{0,79}$", var.airflow_environment))
    error_message = "airflow_environment must be a name MWAA allows."
  }
}

variable "dags" {
  description = "The DAGs whose failed runs raise an alarm."
  type        = set(string)
  default     = ["model_deployment", "model_training"]
  nullable    = false

  validation {
    condition     = alltrue([for dag in var.dags : can(regex("^[A-Za-z0-9_.-]{1,50}$", dag))])
    error_message = "Every DAG's id must have at most 50 letters, digits, dots, hyphens and underscores."
  }
}

variable "other_alarms" {
  description = "The names of alarms that other modules made, to show on the platform's dashboard."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.other_alarms) <= 50 && alltrue([for name in var.other_alarms : can(regex("^[^:]{1,255}$", name))])
    error_message = "other_alarms must be at most 50 names of alarms."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts the log of job states; null for CloudWatch's own."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "log_retention_days" {
  description = "Days that the states of jobs and endpoints are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days CloudWatch Logs offers, such as 30, 90 or 365."
  }
}
