variable "environment_name" {
  description = "The MWAA environment's name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][0-9A-Za-z_-]{0,79}$", var.environment_name))
    error_message = "environment_name must be a name MWAA allows: a letter, then at most 79 letters, digits, hyphens and underscores."
  }
}

variable "role_name" {
  description = "The name of the role that Airflow and its tasks have."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.role_name))
    error_message = "role_name must have at most 64 letters, digits, hyphens and underscores."
  }
}

variable "bucket_name" {
  description = "The name of the bucket that MWAA reads DAGs, plugins and requirements from."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "package" {
  description = "The folder that scripts/mlops/platform/airflow_package.py builds: dags/, plugins.zip and requirements.txt."
  type        = string
  nullable    = false

  validation {
    condition     = alltrue([for name in ["dags/model_training.py", "dags/model_deployment.py", "plugins.zip", "requirements.txt"] : fileexists("${var.package}/${name}")])
    error_message = "package must be a folder with dags/, plugins.zip and requirements.txt; mlops terraform plan builds it."
  }
}

variable "airflow_version" {
  description = "The version of Airflow; a change updates the environment in place, docs/operate/airflow.md says how."
  type        = string
  default     = "3.2.1"
  nullable    = false

  # https://docs.aws.amazon.com/mwaa/latest/userguide/airflow-versions.html
  validation {
    condition     = contains(["3.2.1"], var.airflow_version)
    error_message = "airflow_version must be one that MWAA offers and the package is locked to: 3.2.1."
  }
}

variable "environment_class" {
  description = "The size of schedulers, web servers and workers, from mw1.micro to mw1.2xlarge."
  type        = string
  default     = "mw1.small"
  nullable    = false

  validation {
    condition     = can(regex("^mw1\\.(micro|small|medium|large|xlarge|2xlarge)$", var.environment_class))
    error_message = "environment_class must be mw1.micro, small, medium, large, xlarge or 2xlarge."
  }
}

variable "min_workers" {
  description = "Workers that are always there."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.min_workers >= 1 && var.min_workers <= var.max_workers && floor(var.min_workers) == var.min_workers
    error_message = "min_workers must be a whole number from 1 to max_workers."
  }
}

variable "max_workers" {
  description = "Workers there are at most, when many tasks wait."
  type        = number
  default     = 4
  nullable    = false

  validation {
    condition     = var.max_workers <= 25 && floor(var.max_workers) == var.max_workers
    error_message = "max_workers must be a whole number up to 25."
  }
}

variable "maintenance_start" {
  description = "When AWS may begin its weekly maintenance, in UTC."
  type        = string
  default     = "SUN:03:30"
  nullable    = false

  validation {
    condition     = can(regex("^(MON|TUE|WED|THU|FRI|SAT|SUN):([01][0-9]|2[0-3]):[03]0$", var.maintenance_start))
    error_message = "maintenance_start must be a day and a half hour, such as SUN:03:30."
  }
}

variable "check_interval" {
  description = "Seconds between two looks at a job or an endpoint. At least 5, so that waiting tasks give their worker back."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.check_interval >= 5 && var.check_interval <= 300
    error_message = "check_interval must be 5 to 300 seconds."
  }
}

variable "min_heartbeat_interval" {
  description = "Seconds that the supervisor of a task waits for it at a time; Airflow's own default is 5."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.min_heartbeat_interval >= 1 && var.min_heartbeat_interval <= 30 && floor(var.min_heartbeat_interval) == var.min_heartbeat_interval
    error_message = "min_heartbeat_interval must be a whole number of seconds from 1 to 30."
  }
}

variable "configuration_options" {
  description = "Further options of Airflow, such as `celery.worker_autoscale`; those that the DAGs need are set."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.configuration_options) : can(regex("^[a-z_]+\\.[a-z_]+$", name)) && !startswith(name, "secrets.")])
    error_message = "Every name must be <section>.<option>; those of secrets are not to be changed."
  }
}

variable "subnet_ids" {
  description = "Two private subnets in two availability zones. MWAA cannot move: a change replaces the environment."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) == 2
    error_message = "MWAA takes exactly two subnets."
  }
}

variable "security_group_ids" {
  description = "The security groups of the environment."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.security_group_ids) >= 1 && length(var.security_group_ids) <= 5
    error_message = "MWAA takes one to five security groups."
  }
}

variable "platform_bucket_arn" {
  description = "The bucket of data, models and evidence."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:s3:::[a-z0-9.-]+$", var.platform_bucket_arn))
    error_message = "platform_bucket_arn must be the ARN of a bucket."
  }
}

variable "data_prefix" {
  description = "Where in it the data is."
  type        = string
  default     = "data/"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/$", var.data_prefix))
    error_message = "data_prefix must end with a slash, such as data/."
  }
}

variable "sagemaker_role_arn" {
  description = "The role that jobs and endpoints take; Airflow may hand it to SageMaker, and to nobody else."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/.+$", var.sagemaker_role_arn))
    error_message = "sagemaker_role_arn must be the ARN of a role."
  }
}

variable "settings_parameter" {
  description = "The name of the parameter with the platform's settings."
  type        = string
  nullable    = false

  # A name, not an ARN: the parameter refers to the Lambda, which refers to this environment.
  validation {
    condition     = can(regex("^/[A-Za-z0-9_./-]+$", var.settings_parameter))
    error_message = "settings_parameter must be a path such as /ml-ops/settings."
  }
}

variable "slack_secret_arn" {
  description = "The secret with the connection to Slack."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:.+$", var.slack_secret_arn))
    error_message = "slack_secret_arn must be the ARN of a secret."
  }
}

variable "topic_arn" {
  description = "The SNS topic that reaches e-mail."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+$", var.topic_arn))
    error_message = "topic_arn must be the ARN of an SNS topic."
  }
}

variable "permissions_boundary" {
  description = "The policy that bounds the role whatever its own policy says; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:policy/.+$", var.permissions_boundary))
    error_message = "permissions_boundary must be the ARN of a policy."
  }
}

variable "kms_key_arn" {
  description = "The KMS key of bucket, logs, queue and database; null for keys of AWS. Fixed once the environment is there: another key replaces it."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key."
  }
}

variable "log_retention_days" {
  description = "Days that Airflow's logs are kept."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days CloudWatch Logs offers, such as 30, 90 or 365."
  }
}

variable "access_log_bucket" {
  description = "The bucket that S3 logs every access to; null logs none."
  type        = string
  default     = null

  validation {
    condition     = var.access_log_bucket == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.access_log_bucket))
    error_message = "access_log_bucket must be the name of a bucket."
  }
}

variable "noncurrent_version_days" {
  description = "Days until overwritten DAGs, plugins and requirements expire; null leaves the lifecycle out, for which the provider waits about a minute."
  type        = number
  default     = 90

  validation {
    condition     = var.noncurrent_version_days == null || try(var.noncurrent_version_days >= 1 && floor(var.noncurrent_version_days) == var.noncurrent_version_days, false)
    error_message = "noncurrent_version_days must be a whole number from 1, or null."
  }
}

variable "force_destroy" {
  description = "Whether destroying the bucket deletes what is in it; only if nothing must last."
  type        = bool
  default     = false
  nullable    = false
}
